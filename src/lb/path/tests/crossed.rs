//! Full-NAT from one IP version to the other and back.

use super::nat::ends;
use crate::lb::connection::flags::*;
use crate::lb::snapshot::ClientAddress;
use crate::lb::testing::*;
use crate::lb::verdict::DropReason;

/// VIP, client and protocol.
const SERVICES: [(&str, &str, u8); 4] = [
    ("192.0.2.51:80", "198.51.100.7:40000", 6),
    ("192.0.2.51:53", "198.51.100.7:40000", 17),
    ("[2001:db8::51]:80", "[2001:db8:c::7]:40000", 6),
    ("[2001:db8::51]:53", "[2001:db8:c::7]:40000", 17),
];

fn packet(src: &str, dst: &str, protocol: u8, flags: u8) -> Frame {
    if protocol == 6 { Frame::tcp(src, dst, flags) } else { Frame::udp(src, dst) }
}

fn data(frame: &[u8], protocol: u8) -> &[u8] {
    let l4 = if frame[14] >> 4 == 4 { 34 } else { 54 };
    &frame[l4 + if protocol == 6 { 20 } else { 8 }..]
}

#[test]
fn requests_and_replies_change_their_version() {
    for (vip, client, protocol) in SERVICES {
        let mut net = Net::new(all_modes());
        let is_v4 = end(vip).0.is_ipv4();
        let request = packet(client, vip, protocol, SYN);
        let sent = net.expect(0, &request.build(), &[("tx", 1), ("created", 1), ("active", 1)]);
        let (port, out) = sent.tx();
        checksums_are_right(out);
        let (local, backend) = ends(out);
        assert_eq!((port, backend.is_ipv4(), backend.port()), (1, !is_v4, 8080));
        assert_eq!(local.ip(), ip(if is_v4 { "fd01::100" } else { "10.1.0.100" }));
        assert_eq!(data(out, protocol), b"payload");
        assert_eq!(out[12..14], if is_v4 { [0x86, 0xdd] } else { [8, 0] });
        for n in 0..2 {
            let answer = packet(&backend.to_string(), &local.to_string(), protocol, ACK | if n == 0 { SYN } else { 0 });
            let sent = net.expect(1, &answer.on_lan(backend_mac(1)).build(), &[("tx", 1)]);
            let (port, out) = sent.tx();
            checksums_are_right(out);
            assert_eq!((port, ends(out)), (0, (vip.parse().unwrap(), client.parse().unwrap())));
            assert_eq!(data(out, protocol), b"payload");
            let again = net.expect(0, &packet(client, vip, protocol, ACK).build(), &[("tx", 1)]);
            checksums_are_right(again.tx().1);
            assert_eq!(ends(again.tx().1), (local, backend));
        }
        // TTL and size.
        let expired = net.send(0, &packet(client, vip, protocol, ACK).with(|f| f.ttl = 1).build());
        checksums_are_right(expired.reply());
        if is_v4 {
            // 1481 bytes are 1501 in IPv6.
            let fits = packet(client, vip, 17, 0).with(|f| f.payload = vec![7; 1480 - 28]);
            let not = packet(client, vip, 17, 0).with(|f| f.payload = vec![7; 1481 - 28]);
            if protocol == 17 {
                net.send(0, &fits.build()).tx();
                let told = net.send(0, &not.build());
                assert_eq!((&told.reply()[34..36], &told.reply()[40..42]), (&[3, 4][..], &1480u16.to_be_bytes()[..]));
            }
        }
        let rows = net.shards[0].connections(0, usize::MAX / 2, net.now).0;
        assert_eq!(rows.len(), 1);
        assert_eq!((rows[0].client, rows[0].vip), (end(client), end(vip)));
    }
}

#[test]
fn they_end_like_others_and_give_their_ports_back() {
    for (vip, client, protocol) in SERVICES {
        let mut all = all_modes();
        all.services.iter_mut().for_each(|s| s.local_ports = 7000..=7000);
        all.services.iter_mut().for_each(|s| s.backends.truncate(1));
        let mut net = Net::new(all);
        let other = client.replace("40000", "40001");
        net.send(0, &packet(client, vip, protocol, SYN).build()).tx();
        net.expect_drop(0, &packet(&other, vip, protocol, SYN).build(), DropReason::PortsExhausted);
        net.pass_s(62);
        net.pass_s(1);
        assert_eq!(net.active(), 0);
        net.pass_s(121);
        net.pass_s(1);
        let (local, _) = ends(net.send(0, &packet(&other, vip, protocol, SYN).build()).tx().1);
        assert_eq!(local.port(), 7000);
    }
}

#[test]
fn several_workers_find_each_other() {
    for n in 2..6 {
        for (vip, client, protocol) in SERVICES {
            let mut all = all_modes();
            all.workers = n;
            let mut net = Net::new(all);
            let request = net.send_to(1, 0, &packet(client, vip, protocol, SYN).build());
            let (local, backend) = ends(request.tx().1);
            let answer = packet(&backend.to_string(), &local.to_string(), protocol, ACK).on_lan(backend_mac(1));
            for at in 0..n {
                let reply = net.send_to(at, 1, &answer.build());
                assert_eq!((reply.worker, ends(reply.tx().1).1), (request.worker, client.parse().unwrap()));
            }
        }
    }
}

#[test]
fn mapped_addresses_on_the_wire_get_nowhere() {
    let mut net = Net::new(all_modes());
    let sent = net.send(0, &packet(SERVICES[2].1, SERVICES[2].0, 6, SYN).build());
    let (local, backend) = ends(sent.tx().1);
    let mapped = |end: std::net::SocketAddr| match end {
        std::net::SocketAddr::V4(end) => format!("[{}]:{}", end.ip().to_ipv6_mapped(), end.port()),
        std::net::SocketAddr::V6(_) => panic!("an IPv4 backend"),
    };
    let forged = packet(&mapped(backend), &mapped(local), 6, ACK).build();
    net.expect_drop(0, &forged, DropReason::Martian);
}

#[test]
fn the_header_names_the_client_in_its_own_version() {
    let mut all = all_modes();
    all.services.iter_mut().filter(|s| s.protocol == 6).for_each(|s| s.client_address = ClientAddress::ProxyV2);
    for (vip, client, protocol) in SERVICES.into_iter().filter(|s| s.2 == 6) {
        let mut net = Net::new(all.clone());
        let syn = Frame { seq: 1000, payload: Vec::new(), ..packet(client, vip, protocol, SYN) };
        let (local, backend) = ends(net.send(0, &syn.build()).tx().1);
        let answer = Frame {
            seq: 9000,
            ack: 1001,
            payload: Vec::new(),
            ..packet(&backend.to_string(), &local.to_string(), 6, SYN | ACK)
        };
        net.send(1, &answer.on_lan(backend_mac(1)).build()).tx();
        let first = net.send(0, &Frame { seq: 1001, ack: 9001, ..packet(client, vip, 6, ACK) }.build());
        let out = first.tx().1;
        checksums_are_right(out);
        let is_v4 = end(vip).0.is_ipv4();
        let got = data(out, 6);
        assert_eq!((got.len(), got[13]), if is_v4 { (28 + 7, 0x11) } else { (52 + 7, 0x21) });
    }
}

#[test]
fn what_the_other_version_cannot_say_is_dropped() {
    let (vip, client, protocol) = SERVICES[0];
    let mut net = Net::new(all_modes());
    net.send(0, &packet(client, vip, protocol, SYN).build()).tx();
    // A loose source route with an address left (RFC 791 3.1).
    let route = vec![0x83, 7, 4, 198, 51, 100, 1, 0];
    let routed = packet(client, vip, protocol, ACK).with(|f| f.options = (0, route));
    net.expect_drop(0, &routed.build(), DropReason::Untranslatable);
}

#[test]
fn errors_change_their_version_and_name_what_their_receiver_knows() {
    for (vip, client, protocol) in SERVICES {
        let mut net = Net::new(all_modes());
        let (local, backend) = ends(net.send(0, &packet(client, vip, protocol, SYN).build()).tx().1);
        let is_v4 = end(vip).0.is_ipv4();
        let error = |from: &str, to: std::net::IpAddr, quote: &[u8]| {
            let to = to.to_string();
            if to.contains(':') {
                icmp6(from, &to, [2, 0], [0, 0, 5, 0x78], quote)
            } else {
                icmp4(from, &to, [3, 4], [0, 0, 5, 0x78], quote)
            }
        };
        // About the VIP's packet, from a router at the client's side.
        let quote = packet(vip, client, protocol, ACK).packet();
        let router = if is_v4 { "203.0.113.9" } else { "2001:db8:9::9" };
        let sent = net.send(0, &error(router, end(vip).0, &quote).build());
        let (port, out) = sent.tx();
        checksums_are_right(out);
        let (quote_at, told) = if is_v4 { (62, [2, 0]) } else { (42, [3, 4]) };
        assert_eq!((port, &out[quote_at - 8..quote_at - 6]), (1, &told[..]));
        assert_eq!(ends(&[&out[..14], &out[quote_at..]].concat()), (backend, local));
        // The MTU counts the other header (RFC 7915 4.2, 5.2).
        let mtu = u16::from_be_bytes([out[quote_at - 2], out[quote_at - 1]]);
        assert_eq!(mtu, if is_v4 { 1400 + 20 } else { 1400 - 20 });
        // About the balancer's packet, from the backend's side.
        let quote = packet(&local.to_string(), &backend.to_string(), protocol, ACK).packet();
        let sent = net.send(1, &error(&backend.ip().to_string(), local.ip(), &quote).on_lan(backend_mac(1)).build());
        let (port, out) = sent.tx();
        checksums_are_right(out);
        let quote_at = if is_v4 { 42 } else { 62 };
        assert_eq!(port, 0);
        assert_eq!(ends(&[&out[..14], &out[quote_at..]].concat()), (client.parse().unwrap(), vip.parse().unwrap()));
    }
}
