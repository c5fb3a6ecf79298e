//! Full-NAT: both ends replaced, local ports used once, given back and told apart (rules 13 to 15, P7).

use std::collections::HashSet;
use std::sync::Arc;

use proptest::prelude::*;

use super::nat::ends;
use crate::lb::connection::flags::*;
use crate::lb::ids::WorkerId;
use crate::lb::snapshot::{Mode, ServiceSpec, SnapshotSpec};
use crate::lb::steer::Rss;
use crate::lb::testing::*;
use crate::lb::toeplitz::{MICROSOFT_KEY, Reta, Toeplitz};
use crate::lb::verdict::DropReason;

const C4: &str = "198.51.100.7:40000";
const C6: &str = "[2001:db8:c::7]:40000";
/// VIP, client and protocol of each service.
const SERVICES: [(&str, &str, u8); 4] =
    [("192.0.2.50:80", C4, 6), ("192.0.2.50:53", C4, 17), ("[2001:db8::50]:80", C6, 6), ("[2001:db8::50]:53", C6, 17)];

fn packet(src: &str, dst: &str, protocol: u8, flags: u8) -> Frame {
    if protocol == 6 { Frame::tcp(src, dst, flags) } else { Frame::udp(src, dst) }
}

/// One service with one backend, whose pool has these ports.
fn one(ports: std::ops::RangeInclusive<u16>) -> SnapshotSpec {
    let service = full_nat(service("s", Mode::FullNat, 17, ("192.0.2.50", 53), 0, &["10.1.0.1:53"]));
    spec(vec![ServiceSpec { local_ports: ports, local_addresses: vec![ip("10.1.0.100")], ..service }])
}

fn udp(n: u16) -> Vec<u8> {
    Frame::udp(&format!("198.51.100.7:{}", 10_000 + n), "192.0.2.50:53").build()
}

#[test]
fn backends_see_a_local_address_and_clients_the_vip() {
    for (vip, client, protocol) in SERVICES {
        let mut net = Net::new(all_modes());
        let request = packet(client, vip, protocol, SYN).build();
        let sent = net.expect(0, &request, &[("tx", 1), ("created", 1), ("active", 1)]);
        let (port, out) = sent.tx();
        checksums_are_right(out);
        let (local, backend) = ends(out);
        let is_v4 = backend.is_ipv4();
        assert_eq!((port, local.ip()), (1, ip(if is_v4 { "10.1.0.100" } else { "fd01::100" })));
        assert!(local.port() >= 1024 && backend.port() == 8080, "{local} {backend}");
        assert_eq!(out[if is_v4 { 22 } else { 21 }], 63, "the TTL is one less");

        let answer = packet(&backend.to_string(), &local.to_string(), protocol, SYN | ACK);
        let answer = answer.on_lan(backend_mac(1)).build();
        let sent = net.expect(1, &answer, &[("tx", 1)]);
        let (port, out) = sent.tx();
        checksums_are_right(out);
        assert_eq!((port, ends(out)), (0, (vip.parse().unwrap(), client.parse().unwrap())));
        // The same way again, and back.
        let again = net.send(0, &packet(client, vip, protocol, ACK).build());
        assert_eq!(ends(again.tx().1), (local, backend));
        assert_eq!(net.shards[0].counters.local_replies.get(), 1);
        assert_eq!(net.shards[0].counters.local_handoffs.get(), 0);
    }
}

#[test]
fn errors_are_translated_at_both_ends() {
    for (vip, client, protocol) in SERVICES {
        let mut net = Net::new(all_modes());
        let sent = net.send(0, &packet(client, vip, protocol, SYN).build());
        let (local, backend) = ends(sent.tx().1);
        let is_v4 = backend.is_ipv4();
        let error = |from: &str, to: &str, quote: &[u8]| {
            let to = end(to).0.to_string();
            if is_v4 {
                icmp4(from, &to, [3, 4], [0, 0, 5, 0], quote)
            } else {
                icmp6(from, &to, [2, 0], [0, 0, 5, 0], quote)
            }
        };
        let (l4, quote_at) = if is_v4 { (34, 42) } else { (54, 62) };
        // A router at the client's side about the VIP's packet.
        let about_reply = packet(vip, client, protocol, ACK);
        let router = if is_v4 { "203.0.113.9" } else { "2001:db8:9::9" };
        let sent = net.send(0, &error(router, vip, &about_reply.packet()).build());
        let (port, out) = sent.tx();
        assert_eq!(port, 1);
        checksums_are_right(out);
        let (from, to) = ends(&[&out[..14], &out[14..]].concat());
        assert_eq!((from.ip(), to.ip()), (local.ip(), backend.ip()));
        let inner = [&out[..14], &out[quote_at..]].concat();
        assert_eq!(ends(&inner), (backend, local));
        checksums_are_right(&inner);
        // A router at the backend's side about the balancer's.
        let about_request = packet(&local.to_string(), &backend.to_string(), protocol, ACK);
        let sent = net.send(
            1,
            &error(&backend.ip().to_string(), &local.to_string(), &about_request.packet())
                .on_lan(backend_mac(1))
                .build(),
        );
        let (port, out) = sent.tx();
        assert_eq!(port, 0);
        checksums_are_right(out);
        assert_eq!(out[l4..l4 + 2], if is_v4 { [3, 4] } else { [2, 0] });
        let inner = [&out[..14], &out[quote_at..]].concat();
        assert_eq!(ends(&inner), (client.parse().unwrap(), vip.parse().unwrap()));
        checksums_are_right(&inner);
    }
}

#[test]
fn ports_run_out_and_come_back_after_their_rest() {
    let mut net = Net::new(one(7000..=7009));
    let locals: HashSet<u16> = (0..10).map(|n| ends(net.send(0, &udp(n)).tx().1).0.port()).collect();
    assert_eq!((locals.len(), locals.iter().all(|port| (7000..7010).contains(port))), (10, true));
    net.expect_drop(0, &udp(10), DropReason::PortsExhausted);
    // Those that have one go on.
    net.expect(0, &udp(3), &[("tx", 1)]);
    // One-way UDP ends after 60 s; then the ports rest for 120 s more.
    net.pass_s(62);
    net.pass_s(1);
    assert_eq!(net.active(), 0);
    net.expect_drop(0, &udp(11), DropReason::PortsExhausted);
    net.pass_s(119);
    net.expect_drop(0, &udp(11), DropReason::PortsExhausted);
    net.pass_s(2);
    net.pass_s(1);
    (20..30).for_each(|n| assert!(locals.contains(&ends(net.send(0, &udp(n)).tx().1).0.port())));
    net.expect_drop(0, &udp(31), DropReason::PortsExhausted);
    assert_eq!(net.active(), 10);
}

#[test]
fn the_whole_pool_is_handed_out_and_no_tuple_twice() {
    let mut net = Net::with_connections(one(1024..=65_535), 70_000);
    let mut seen = HashSet::new();
    for n in 0..64_512u32 {
        let client = format!("198.51.{}.{}:{}", 100 + n / 60_000, 1 + n % 2, 1000 + n % 60_000);
        assert!(seen.insert(ends(net.send(0, &Frame::udp(&client, "192.0.2.50:53").build()).tx().1).0));
    }
    net.expect_drop(0, &udp(0), DropReason::PortsExhausted);
}

#[test]
fn a_port_of_a_vip_is_never_a_local_port() {
    // The VIP itself is the local address, and has a service on one of the two ports.
    let mut all = one(53..=54);
    all.services[0].local_addresses = vec![ip("192.0.2.50")];
    let mut net = Net::new(all);
    let sent = net.send(0, &udp(0));
    let (local, _) = ends(sent.tx().1);
    assert_eq!(local, "192.0.2.50:54".parse().unwrap());
    net.expect_drop(0, &udp(1), DropReason::PortsExhausted);
    let back = net.send(1, &Frame::udp("10.1.0.1:53", "192.0.2.50:54").on_lan(backend_mac(1)).build());
    assert_eq!(ends(back.tx().1).1, "198.51.100.7:10000".parse().unwrap());
}

#[test]
fn what_no_connection_knows_at_a_local_address_is_told_apart() {
    let mut net = Net::new(all_modes());
    let stray = Frame::ack("10.1.0.1:8080", "10.1.0.100:5000").on_lan(backend_mac(1)).build();
    net.expect_drop(1, &stray, DropReason::NoConnection);
    net.expect_drop(0, &Frame::ack(C4, "192.0.2.50:80").build(), DropReason::NoConnection);
    // It answers for local addresses.
    let asked = arp(1, backend_mac(1), "10.1.0.1", "10.1.0.100");
    net.expect(1, &asked, &[("replies", 1)]);
}

#[test]
fn connections_and_ports_survive_a_reload() {
    let mut net = Net::new(one(7000..=7001));
    let (local, backend) = ends(net.send(0, &udp(0)).tx().1);
    let mut more = one(7000..=7001);
    more.services.insert(0, full_nat(service("t", Mode::FullNat, 6, ("192.0.2.51", 80), 5, &["10.1.0.2:80"])));
    net.reload(more);
    let back = net.send(1, &Frame::udp(&backend.to_string(), &local.to_string()).on_lan(backend_mac(1)).build());
    assert_eq!(ends(back.tx().1).0, "192.0.2.50:53".parse().unwrap());
    assert_ne!(ends(net.send(0, &udp(1)).tx().1).0, local);
    net.expect_drop(0, &udp(2), DropReason::PortsExhausted);
}

fn rss(n: u16) -> Arc<Rss> {
    Arc::new(Rss {
        toeplitz: Toeplitz::new(&MICROSOFT_KEY).unwrap(),
        reta: Reta::in_turn(128, n).unwrap(),
        queue_workers: (0..n).map(WorkerId).collect(),
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn replies_come_back_to_the_owner(
        n in 2u16..9, which in 0usize..4, port in 1u16.., arrivals in prop::array::uniform3(0u16..64), with_rss: bool, stray: bool,
    ) {
        let (vip, client, protocol) = SERVICES[which];
        let client = client.replace("40000", &port.to_string());
        let mut all = all_modes();
        all.workers = n;
        if with_rss {
            all.ports.iter_mut().for_each(|port| port.rss = Some(rss(n)));
        }
        let mut net = Net::new(all);
        let [a, b, c] = arrivals.map(|a| a % n);
        let arrival = |src: &str, dst: &str, any: u16| {
            let ((src, sport), (dst, dport)) = (end(src), end(dst));
            if with_rss { rss(n).worker(src, dst, sport, dport).unwrap().0 } else { any }
        };
        let request = net.send_to(arrival(&client, vip, a), 0, &packet(&client, vip, protocol, SYN).build());
        let (local, backend) = ends(request.tx().1);
        let (local, backend) = (local.to_string(), backend.to_string());
        let answer = packet(&backend, &local, protocol, ACK).on_lan(backend_mac(1)).build();
        // A NIC that does as it told brings the reply to its owner by itself.
        let at = if stray { c } else { arrival(&backend, &local, b) };
        let reply = net.send_to(at, 1, &answer);
        prop_assert_eq!(reply.worker, request.worker);
        prop_assert_eq!(ends(reply.tx().1), (vip.parse().unwrap(), client.parse().unwrap()));
        if with_rss && !stray {
            prop_assert!(net.shards.iter().all(|shard| shard.counters.handoffs.get() == 0));
        }
        let figure = |of: fn(&crate::lb::counters::Counters) -> u64| net.shards.iter().map(|s| of(&s.counters)).sum::<u64>();
        prop_assert_eq!(figure(|c| c.local_replies.get()), 1);
        prop_assert_eq!(figure(|c| c.local_handoffs.get()), u64::from(at != request.worker));
    }
}
