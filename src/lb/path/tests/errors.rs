//! ICMP errors of our own: to whom they are due, and that they are right (rules 2, 8 and 25).

use crate::lb::testing::*;
use crate::lb::verdict::DropReason;
use crate::wire::ethernet::MacAddr;

const C4: &str = "198.51.100.7:40000";
const C6: &str = "[2001:db8:c::7]:40000";

#[test]
fn long_packets_are_quoted_up_to_the_limit() {
    let mut net = Net::new(all_modes());
    for len in [0, 1, 8, 500, 520, 521, 1200, 1228, 1229, 1400] {
        for (client, vip, ip_len, error_max) in [(C4, "192.0.2.10:53", 20, 576), (C6, "[2001:db8::10]:53", 40, 1280)] {
            let frame = Frame::udp(client, vip).with(|f| (f.ttl, f.payload, f.padding) = (1, vec![3; len], 9));
            let sent = net.send(0, &frame.build());
            let reply = sent.reply();
            checksums_are_right(reply);
            let quote = &reply[14 + ip_len + 8..];
            let original = frame.packet();
            assert_eq!(quote.len(), original.len().min(error_max - ip_len - 8), "no padding, and not too much");
            assert_eq!(quote, &original[..quote.len()]);
        }
    }
}

#[test]
fn errors_come_from_the_address_nearest_to_the_sender_or_the_vip() {
    let source = |net: &mut Net, port: u8, frame: Frame| -> [u8; 4] {
        let sent = net.send(port, &frame.build());
        *sent.reply()[26..].first_chunk::<4>().unwrap()
    };
    let dying = || Frame::syn(C4, "192.0.2.10:80").with(|f| f.ttl = 1);
    let mut all = all_modes();
    all.ports[0].addresses.push((ip("198.51.100.1"), 24));
    let mut net = Net::new(all);
    assert_eq!(source(&mut net, 0, dying()), [198, 51, 100, 1]);
    let mut net = Net::new(all_modes());
    assert_eq!(source(&mut net, 0, dying()), [10, 0, 0, 2]);
    let mut all = all_modes();
    all.ports[0].addresses.clear();
    let mut net = Net::new(all);
    assert_eq!(source(&mut net, 0, dying()), [192, 0, 2, 10], "a port without an address speaks as the VIP");
}

#[test]
fn they_go_back_to_the_host_that_the_packet_came_from() {
    let mut net = Net::new(all_modes());
    let other = MacAddr([2, 9, 9, 9, 9, 9]);
    let sent = net.send(0, &Frame::syn(C4, "192.0.2.10:80").with(|f| (f.ttl, f.src_mac) = (1, other)).build());
    assert_eq!(sent.reply()[..12], [other.0, WAN.0].concat());
}

#[test]
fn packets_too_big_for_the_tunnel_leave_no_connection_half_made() {
    let mut net = Net::new(all_modes());
    let big = Frame::syn(C4, "192.0.2.20:80").with(|f| f.payload = vec![0; 1460]).build();
    let sent = net.send(0, &big);
    sent.reply();
    // Whether or not it opened a connection, the next SYN that fits is served.
    net.send(0, &Frame::syn(C4, "192.0.2.20:80").build()).tx();
    assert_eq!(net.active(), 1);
    let figures = net.figures();
    let packets: i64 = figures.iter().filter(|(k, _)| k.starts_with("packets")).map(|(_, n)| *n).sum();
    assert_eq!(packets, 1, "only what was sent counts for the backend");
}

#[test]
fn our_own_mac_address_gets_no_answer() {
    let mut net = Net::new(all_modes());
    let expired = Frame::syn("198.51.100.7:40000", "192.0.2.10:80").with(|f| f.ttl = 1);
    let ping = icmp4("198.51.100.7", "192.0.2.10", [8, 0], [0; 4], b"x");
    for frame in [expired, ping] {
        net.expect(0, &frame.build(), &[("replies", 1)]);
        net.expect_drop(0, &frame.with(|f| f.src_mac = WAN).build(), DropReason::Looped);
    }
}

#[test]
fn martians_are_dropped_and_told_nothing() {
    let mut net = Net::new(all_modes());
    for src in ["0.0.0.0:1", "127.0.0.1:1", "239.1.1.1:1", "255.255.255.255:1"] {
        net.expect_drop(0, &Frame::syn(src, "192.0.2.10:80").with(|f| f.ttl = 1).build(), DropReason::Martian);
    }
    for src in ["[::]:1", "[::1]:1", "[ff0e::1]:1"] {
        net.expect_drop(0, &Frame::syn(src, "[2001:db8::10]:80").with(|f| f.ttl = 1).build(), DropReason::Martian);
    }
}

/// A service that has lost its backends, and says so or not.
fn without_backends(unreachable: bool) -> Net {
    let mut all = all_modes();
    for service in &mut all.services {
        service.unreachable = unreachable;
        service.backends.iter_mut().for_each(|backend| (backend.serves, backend.admits) = (false, false));
    }
    Net::new(all)
}

/// A VIP of each mode and family, and its protocol.
const VIPS: [(&str, &str, u8); 8] = [
    (C4, "192.0.2.10:80", 6),
    (C4, "192.0.2.10:53", 17),
    (C4, "192.0.2.20:80", 6),
    (C4, "192.0.2.30:80", 6),
    (C6, "[2001:db8::10]:53", 17),
    (C6, "[2001:db8::20]:80", 6),
    (C6, "[2001:db8::21]:53", 17),
    (C6, "[2001:db8::30]:80", 6),
];

fn first(client: &str, vip: &str, protocol: u8) -> Frame {
    if protocol == 6 { Frame::syn(client, vip) } else { Frame::udp(client, vip) }
}

#[test]
fn clients_of_a_service_without_backends_are_told_if_that_is_wanted() {
    for (client, vip, protocol) in VIPS {
        let frame = first(client, vip, protocol);
        without_backends(false).expect_drop(0, &frame.build(), DropReason::NoBackend);
        let mut net = without_backends(true);
        let sent = net.expect(0, &frame.build(), &[("replies", 1)]);
        checksums_are_right(sent.reply());
        let (from, to) = (end(vip).0.to_string(), end(client).0.to_string());
        let quote = frame.packet();
        let expected = if client == C4 {
            icmp4(&from, &to, [3, 3], [0; 4], &quote).with(|f| (f.tos, f.df, f.id) = (0xc0, false, 0))
        } else {
            icmp6(&from, &to, [1, 4], [0; 4], &quote)
        };
        let expected = expected.with(|f| (f.src_mac, f.dst_mac) = (WAN, ROUTER));
        assert_eq!(sent.frame, expected.build(), "as from the host that the VIP stands for");
        assert_eq!(net.active(), 0);
    }
}

#[test]
fn nobody_is_told_who_must_not_be() {
    for (client, vip, protocol) in VIPS {
        let frame = first(client, vip, protocol);
        let mut net = without_backends(true);
        let v4 = client == C4;
        let own = if v4 { "10.0.0.2:1" } else { "[fd00::2]:1" };
        net.expect_drop(0, &first(own, vip, protocol).build(), DropReason::Looped);
        let nobody = if v4 { "0.0.0.0:1" } else { "[ff02::1]:1" };
        net.expect_drop(0, &first(nobody, vip, protocol).build(), DropReason::Martian);
        let to_all = frame.clone().with(|f| f.dst_mac = MacAddr::BROADCAST);
        net.expect_drop(0, &to_all.build(), DropReason::NotOurs);
        for _ in 0..100 {
            net.send(0, &frame.build()).reply();
        }
        net.expect(0, &frame.build(), &[("drop no_backend", 1), ("errors_limited", 1)]);
        net.pass_s(1);
        net.send(0, &frame.build()).reply();
    }
}
