//! Services that are gone and keep their connections, in every mode, and what is counted of handshakes.

use super::nat::ends;
use crate::lb::connection::flags::*;
use crate::lb::snapshot::{ServiceSpec, SnapshotSpec};
use crate::lb::testing::*;
use crate::lb::verdict::DropReason;

/// As a reload leaves services behind that it has removed.
fn retired(spec: SnapshotSpec) -> SnapshotSpec {
    let services = spec.services.into_iter().map(|mut service| {
        service.backends.iter_mut().for_each(|backend| backend.admits = false);
        ServiceSpec { is_retired: true, passes_echo: false, ..service }
    });
    SnapshotSpec { services: services.collect(), ..spec }
}

#[test]
fn connections_of_a_removed_service_go_on_and_nothing_new_comes_to_it() {
    for service in all_modes().services {
        let (vip, port) = (service.vip, service.port.unwrap_or(7));
        let client =
            |n: u16| std::net::SocketAddr::new(ip(if vip.is_ipv4() { "198.51.100.7" } else { "2001:db8:c::7" }), n);
        let to = std::net::SocketAddr::new(vip, port).to_string();
        let frame = |n: u16, flags: u8| match service.protocol {
            6 => Frame { flags, ..Frame::syn(&client(n).to_string(), &to) }.build(),
            _ => Frame::udp(&client(n).to_string(), &to).build(),
        };
        let mut net = Net::new(spec(vec![service.clone()]));
        let (out_port, before) = {
            let sent = net.send(0, &frame(40_000, SYN));
            (sent.tx().0, sent.tx().1.to_vec())
        };
        net.reload(retired(spec(vec![service.clone()])));
        for _ in 0..3 {
            let sent = net.send(0, &frame(40_000, ACK));
            let (port, out) = sent.tx();
            // The MAC address says which backend it is, whatever the mode.
            assert_eq!((port, &out[..12]), (out_port, &before[..12]), "{}", service.name);
        }
        net.expect_drop(0, &frame(40_001, SYN), DropReason::NoService);
        assert_eq!(net.active(), 1, "{}", service.name);
        net.reload(spec(Vec::new()));
        assert!(matches!(net.send(0, &frame(40_000, ACK)).dropped(), DropReason::NotOurs), "{}", service.name);
    }
}

#[test]
fn a_tunnel_in_the_place_of_a_removed_service_leaves_connections_across_alone() {
    let services = |name| all_modes().services.into_iter().filter(move |service| &*service.name == name);
    let across = spec(services("full46").collect());
    let mut left = retired(across.clone());
    let (vip, port) = (left.services[0].vip, left.services[0].port);
    left.services.extend(services("gre44").map(|service| ServiceSpec { vip, port, ..service }));
    let mut net = Net::new(across);
    let frame = |n: u16, flags: u8| Frame::tcp(&format!("198.51.100.7:{n}"), "192.0.2.51:80", flags).build();
    let before: Vec<_> = (0..20).map(|n| ends(net.send(0, &frame(40_000 + n, SYN)).tx().1)).collect();
    net.reload(left);
    // The new one's backends are known to be reached, so that what is new to it takes the shortest way.
    for n in 0..20 {
        net.send(0, &frame(50_000 + n, SYN)).tx();
    }
    for (n, ends_before) in (0..).zip(before) {
        let sent = net.expect(0, &frame(40_000 + n, ACK), &[("tx", 1)]);
        assert_eq!(ends(sent.tx().1), ends_before, "client {n}");
    }
    assert_eq!(net.active(), 40);
}

#[test]
fn replies_of_a_removed_service_go_on_coming_from_the_vip() {
    for (vip, name) in [("192.0.2.10:80", "nat4"), ("192.0.2.50:80", "full4"), ("[2001:db8::51]:80", "full64")] {
        let services: Vec<_> = all_modes().services.into_iter().filter(|s| &*s.name == name).collect();
        let client = if vip.starts_with('[') { "[2001:db8:c::7]:40000" } else { "198.51.100.7:40000" };
        let mut net = Net::new(spec(services.clone()));
        let sent = net.send(0, &Frame::syn(client, vip).build());
        let (peer, backend) = ends(sent.tx().1);
        net.reload(retired(spec(services)));
        let answer = Frame { flags: SYN | ACK, ..Frame::syn(&backend.to_string(), &peer.to_string()) };
        let sent = net.send(1, &answer.on_lan(backend_mac(1)).build());
        assert_eq!(ends(sent.tx().1), (vip.parse().unwrap(), client.parse().unwrap()), "{name}");
    }
}

/// Opened, answered and refused, over all backends.
fn handshakes(net: &Net) -> [u64; 3] {
    let counters = &net.shards[0].counters;
    let all = net.snapshot.backends().filter_map(|backend| counters.handshakes(backend.id));
    all.fold([0; 3], |[o, a, r], h| [o + h.opened.get(), a + h.answered.get(), r + h.refused.get()])
}

#[test]
fn the_first_word_of_a_backend_is_counted_once_for_each_connection_through_nat() {
    for vip in ["192.0.2.10:80", "192.0.2.50:80"] {
        let mut net = Net::new(all_modes());
        let open = |net: &mut Net, port: u16| {
            let client = format!("198.51.100.7:{port}");
            let syn = Frame { seq: 999, ..Frame::syn(&client, vip) }.build();
            let (peer, backend) = ends(net.send(0, &syn).tx().1);
            // Again, as a client does that hears nothing.
            net.send(0, &syn).tx();
            (client, peer.to_string(), backend.to_string())
        };
        let say = |net: &mut Net, (_, peer, backend): &(String, String, String), flags: u8, seq: u32, ack: u32| {
            let frame = Frame { seq, ack, ..Frame::tcp(backend, peer, flags) };
            net.send(1, &frame.on_lan(backend_mac(1)).build()).tx();
        };
        let answered = open(&mut net, 40_000);
        assert_eq!(handshakes(&net), [1, 0, 0], "{vip}");
        for _ in 0..3 {
            say(&mut net, &answered, SYN | ACK, 5000, 1000);
        }
        assert_eq!(handshakes(&net), [1, 1, 0]);
        let refused = open(&mut net, 40_001);
        say(&mut net, &refused, RST | ACK, 0, 77);
        assert_eq!(handshakes(&net), [2, 1, 0], "not an answer to this SYN");
        for _ in 0..2 {
            say(&mut net, &refused, RST | ACK, 0, 1000);
        }
        assert_eq!(handshakes(&net), [2, 1, 1]);
        // What comes later is no first word.
        net.send(0, &Frame { seq: 1000, ack: 5001, ..Frame::tcp(&answered.0, vip, ACK) }.build()).tx();
        say(&mut net, &answered, RST | ACK, 5001, 1000);
        let ignored = open(&mut net, 40_002);
        assert_eq!(handshakes(&net), [3, 1, 1], "{ignored:?}");
    }
    let mut net = Net::new(all_modes());
    net.send(0, &Frame::syn("198.51.100.7:40000", "192.0.2.20:80").build()).tx();
    net.send(0, &Frame::udp("198.51.100.7:40000", "192.0.2.10:53").build()).tx();
    assert_eq!(handshakes(&net), [0; 3], "neither through a tunnel nor of UDP");
}
