//! Errors about our own tunnel packets: what is believed, what is learned from them, and who is told (rules 8, 22 and 24).

use crate::lb::news::News;
use crate::lb::testing::*;
use crate::lb::verdict::{DropReason, Verdict};

const C4: &str = "198.51.100.7:40000";
const C6: &str = "[2001:db8:c::7]:40000";

/// VIP, client, bytes of the tunnel headers, and whether inner and outer packets are IPv4.
const TUNNELS: [(&str, &str, usize, bool, bool); 4] = [
    ("192.0.2.20:80", C4, 24, true, true),
    ("192.0.2.21:80", C4, 44, true, false),
    ("[2001:db8::20]:80", C6, 24, false, true),
    ("[2001:db8::21]:80", C6, 44, false, false),
];

/// A packet of `len` bytes.
fn of_len(client: &str, vip: &str, len: usize) -> Frame {
    let headers = if vip.starts_with('[') { 60 } else { 40 };
    Frame::ack(client, vip).with(|f| f.payload = vec![7; len - headers])
}

/// Opens a connection and sends a packet of `len` bytes through its tunnel; the outer packet as a router sees it.
fn sent(net: &mut Net, client: &str, vip: &str, len: usize) -> Vec<u8> {
    net.send(0, &Frame::syn(client, vip).build()).tx();
    net.send(0, &of_len(client, vip, len).build()).tx().1[14..].to_vec()
}

/// The most that a router quotes (RFC 1812 4.3.2.3, RFC 4443 2.4 c).
fn quote_max(v4: bool) -> usize {
    if v4 { 548 } else { 1232 }
}

/// From a router on the backends' side, to us.
fn error(v4: bool, kind: [u8; 2], word: u32, quote: &[u8]) -> Frame {
    let (word, quote) = (word.to_be_bytes(), &quote[..quote.len().min(quote_max(v4))]);
    let frame = if v4 {
        icmp4("10.1.0.99", "10.1.0.254", kind, word, quote)
    } else {
        icmp6("fd01::99", "fd01::fe", kind, word, quote)
    };
    frame.on_lan(backend_mac(9))
}

fn too_big(v4: bool, mtu: u32, quote: &[u8]) -> Vec<u8> {
    error(v4, if v4 { [3, 4] } else { [2, 0] }, mtu, quote).build()
}

/// What the client gets: type and code, second word, and the quote.
fn told(frame: &[u8], client: &str) -> ([u8; 2], u32, Vec<u8>) {
    checksums_are_right(frame);
    let v4 = !client.starts_with('[');
    let to = end(client).0;
    let (l4, from, dst) = if v4 {
        (34, ip("10.0.0.2"), Frame::syn(client, "192.0.2.1:1").with(|f| f.dst = f.src).packet()[16..20].to_vec())
    } else {
        (54, ip("fd00::2"), Frame::syn(client, "[fd00::2]:1").with(|f| f.dst = f.src).packet()[24..40].to_vec())
    };
    assert_eq!(frame[..12], [ROUTER.0, WAN.0].concat(), "to the next hop to {to}");
    let (src_at, dst_at) = if v4 { (26..30, 30..34) } else { (22..38, 38..54) };
    assert_eq!(frame[dst_at], dst, "to {to}");
    match from {
        std::net::IpAddr::V4(a) => assert_eq!(frame[src_at], a.octets()),
        std::net::IpAddr::V6(a) => assert_eq!(frame[src_at], a.octets()),
    }
    assert!(frame.len() - 14 <= if v4 { 576 } else { 1280 });
    ([frame[l4], frame[l4 + 1]], u32::from_be_bytes(*frame[l4 + 4..].first_chunk().unwrap()), frame[l4 + 8..].to_vec())
}

#[test]
fn a_narrow_path_is_learned_and_the_sender_told_at_once() {
    for (vip, client, overhead, inner4, outer4) in TUNNELS {
        let mut net = Net::new(all_modes());
        let fits = 1500 - overhead;
        let outer = sent(&mut net, client, vip, fits);
        for cut in [quote_max(outer4), 500, overhead + if inner4 { 28 } else { 48 }] {
            let answer = net.expect(1, &too_big(outer4, 1400, &outer[..cut]), &[("tx", 1)]);
            let (kind, mtu, quote) = told(answer.tx().1, client);
            assert_eq!((kind, mtu), (if inner4 { [3, 4] } else { [2, 0] }, 1400 - overhead as u32));
            assert_eq!(
                quote,
                outer[overhead..cut.min(overhead + quote_max(inner4))],
                "the inner packet, and no tunnel"
            );
        }
        // From now on, for this connection and for others, by the short way as by the long one.
        let narrow = 1400 - overhead;
        let mut backend_of = |client: &str| net.send(0, &Frame::syn(client, vip).build()).tx().1[..6].to_vec();
        let meant = backend_of(client);
        let others = (41_000..42_000).map(|port: u16| client.replace("40000", &port.to_string()));
        let other = others.into_iter().find(|other| backend_of(other) == meant).unwrap();
        for client in [client.to_owned(), other] {
            for _ in 0..3 {
                net.send(0, &of_len(&client, vip, narrow).build()).tx();
                let answer = net.expect(0, &of_len(&client, vip, narrow + 1).build(), &[("replies", 1)]);
                assert_eq!(told(answer.reply(), &client).1, narrow as u32);
            }
        }
        // Ten minutes later it may have become wider (RFC 1191 6.3).
        net.pass_s(599);
        net.send(0, &of_len(client, vip, narrow + 1).build()).reply();
        net.pass_s(1);
        for _ in 0..3 {
            net.send(0, &of_len(client, vip, fits).build()).tx();
        }
    }
}

#[test]
fn only_the_backend_that_is_meant_gets_narrower_in_all_its_services() {
    let mut net = Net::new(all_modes());
    let outer = sent(&mut net, C4, "192.0.2.20:80", 1476);
    let meant = tunnel_of(&[&[0; 12][..], &[8, 0], &outer].concat()).1;
    net.send(1, &too_big(true, 1400, &outer)).tx();
    let mut seen = [0; 2];
    for port in 1..60 {
        let client = format!("198.51.100.8:{port}");
        for (vip, frame) in [
            ("192.0.2.20:80", of_len(&client, "192.0.2.20:80", 1476)),
            ("192.0.2.20:53", Frame::udp(&client, "192.0.2.20:53").with(|f| f.payload = vec![7; 1448])),
        ] {
            let small = if vip.ends_with("53") { Frame::udp(&client, vip) } else { Frame::syn(&client, vip) };
            let to = tunnel_of(net.send(0, &small.build()).tx().1).1;
            let big = net.send(0, &frame.build());
            net.pass_s(1);
            assert_eq!(matches!(big.verdict, Verdict::Reply(_)), to == meant, "{vip} {to}");
            seen[usize::from(to == meant)] += 1;
        }
    }
    assert!(seen[0] > 10 && seen[1] > 10, "{seen:?}");
}

#[test]
fn quotes_of_tunnel_packets_may_be_cut_anywhere() {
    for (vip, client, overhead, inner4, outer4) in TUNNELS {
        let (outer_header, enough) = (if outer4 { 20 } else { 40 }, overhead + if inner4 { 28 } else { 48 });
        for cut in 0..enough + 40 {
            let mut net = Net::new(all_modes());
            let outer = sent(&mut net, client, vip, 1400);
            let error = too_big(outer4, 1300, &outer[..cut]);
            if cut < outer_header {
                net.expect_drop(1, &error, DropReason::IcmpQuote);
                continue;
            }
            if cut < enough {
                net.expect_drop(1, &error, DropReason::IcmpTunnel);
            } else {
                net.expect(1, &error, &[("tx", 1)]);
            }
            // Learned, however little was quoted.
            net.send(0, &of_len(client, vip, 1400).build()).reply();
            assert_eq!(net.active(), 1);
        }
    }
}

#[test]
fn what_cannot_be_true_is_not_believed() {
    for (vip, client, overhead, inner4, outer4) in TUNNELS {
        let mut net = Net::new(all_modes());
        let outer = sent(&mut net, client, vip, 1400);
        let quoted_len = outer.len() as u32;
        let min = if outer4 { 576 } else { 1280 };
        for mtu in [1, 68, min - 1, quoted_len, quoted_len + 1, 65_535] {
            net.expect_drop(1, &too_big(outer4, mtu, &outer), DropReason::IcmpMtu);
        }
        let mend = |mut packet: Vec<u8>| {
            if outer4 {
                packet[10..12].fill(0);
                let check = internet_checksum(&[&packet[..20]]);
                packet[10..12].copy_from_slice(&check.to_be_bytes());
            }
            packet
        };
        let with = |at: usize, value: u8| {
            let mut packet = outer.clone();
            packet[at] ^= value;
            mend(packet)
        };
        let (src, dst, gre) = if outer4 { (15, 19, 20) } else { (23, 39, 40) };
        let inner_dst = overhead + if inner4 { 19 } else { 39 };
        let inner_len = overhead + if inner4 { 3 } else { 5 };
        let inner_port = overhead + if inner4 { 23 } else { 43 };
        for (what, at, value) in [
            ("another source than the error goes to", src, 0x40),
            ("to nobody", dst, 0x40),
            ("not a version of gre that we send", gre + 1, 1),
            ("flags that we do not set", gre, 0x80),
            ("another ip version inside", overhead, 0x20),
            ("another vip inside", inner_dst, 1),
            ("another length inside", inner_len, 1),
            ("another service's port inside", inner_port, 1),
        ] {
            let error = too_big(outer4, 1300, &with(at, value));
            let before = net.figures();
            assert_eq!(net.send(1, &error).dropped(), DropReason::IcmpNoConnection, "{vip}: {what}");
            assert_eq!(net.figures().get("active"), before.get("active"));
        }
        // Longer than we may send, or, in IPv4, sent without DF or as a fragment.
        let mut long = outer.clone();
        long[if outer4 { 2..4 } else { 4..6 }].copy_from_slice(&1501u16.to_be_bytes());
        assert_eq!(net.send(1, &too_big(outer4, 1300, &mend(long))).dropped(), DropReason::IcmpNoConnection);
        if outer4 {
            assert_eq!(net.send(1, &too_big(true, 1300, &with(6, 0x40))).dropped(), DropReason::IcmpMtu);
            assert_eq!(net.send(1, &too_big(true, 1300, &with(6, 0x20))).dropped(), DropReason::IcmpNoConnection);
        }
        // To another address of ours than it was sent from.
        let (elsewhere, word) = (if outer4 { "10.0.0.2" } else { "fd00::2" }, 1300u32.to_be_bytes());
        let error = if outer4 {
            icmp4("10.1.0.99", elsewhere, [3, 4], word, &outer)
        } else {
            icmp6("fd01::99", elsewhere, [2, 0], word, &outer)
        };
        assert_eq!(net.send(1, &error.on_lan(backend_mac(9)).build()).dropped(), DropReason::IcmpNoConnection);
        net.send(0, &of_len(client, vip, 1400).build()).tx();
    }
}

#[test]
fn routers_that_do_not_tell_an_mtu_get_the_next_common_one() {
    let mut net = Net::new(all_modes());
    let outer = sent(&mut net, C4, "192.0.2.20:80", 1476);
    let answer = net.send(1, &too_big(true, 0, &outer[..28 + 24]));
    assert_eq!(told(answer.tx().1, C4).1, 1492 - 24);
    net.send(0, &of_len(C4, "192.0.2.20:80", 1469).build()).reply();
    let outer = net.send(0, &of_len(C4, "192.0.2.20:80", 1468).build()).tx().1[14..].to_vec();
    assert_eq!(told(net.send(1, &too_big(true, 0, &outer)).tx().1, C4).1, 1006 - 24);
    // In IPv6 0 is no MTU (RFC 8201 4).
    let outer = sent(&mut net, C6, "[2001:db8::21]:80", 1400);
    net.expect_drop(1, &too_big(false, 0, &outer), DropReason::IcmpMtu);
}

#[test]
fn ipv6_clients_are_never_told_less_than_1280() {
    for (vip, outer4, overhead) in [("[2001:db8::20]:80", true, 24), ("[2001:db8::21]:80", false, 44)] {
        let mut net = Net::new(all_modes());
        let outer = sent(&mut net, C6, vip, 1400);
        let answer = net.send(1, &too_big(outer4, 1280, &outer));
        assert_eq!(told(answer.tx().1, C6).1, 1280);
        net.send(0, &of_len(C6, vip, 1281).build()).reply();
        let outer = net.send(0, &of_len(C6, vip, 1280).build()).tx().1[14..].to_vec();
        assert_eq!(outer.len(), 1280 + overhead);
        // The tunnel has to take these, so their sender hears nothing.
        net.expect_drop(1, &too_big(outer4, 1280, &outer), DropReason::IcmpTunnel);
    }
}

#[test]
fn broken_paths_are_told_of_as_unreachable_hosts() {
    for (vip, client, overhead, inner4, outer4) in TUNNELS {
        let relayed: &[[u8; 2]] = if outer4 {
            &[[3, 0], [3, 1], [3, 2], [3, 9], [3, 13], [11, 0]]
        } else {
            &[[1, 0], [1, 1], [1, 3], [1, 4], [3, 0], [4, 1]]
        };
        let kept: &[[u8; 2]] =
            if outer4 { &[[3, 3], [3, 5], [11, 1], [12, 0]] } else { &[[3, 1], [4, 0], [4, 2], [100, 0]] };
        let mut net = Net::new(all_modes());
        let outer = sent(&mut net, client, vip, 500);
        for &kind in relayed {
            let answer = net.expect(1, &error(outer4, kind, 0, &outer).build(), &[("tx", 1)]);
            let unreachable = if inner4 { [3, 1] } else { [1, 3] };
            assert_eq!(told(answer.tx().1, client), (unreachable, 0, outer[overhead..].to_vec()), "{kind:?}");
        }
        for &kind in kept {
            net.expect_drop(1, &error(outer4, kind, 0, &outer).build(), DropReason::IcmpTunnel);
        }
        assert_eq!(net.active(), 1);
    }
}

#[test]
fn no_errors_about_errors_that_went_through_the_tunnel() {
    let mut net = Net::new(all_modes());
    net.send(0, &Frame::syn(C4, "192.0.2.20:80").build()).tx();
    let quote = Frame::ack("192.0.2.20:80", C4).with(|f| f.payload = vec![1; 1000]).packet();
    let passed_on = net.send(0, &icmp4("203.0.113.9", "192.0.2.20", [3, 4], [0, 0, 5, 0], &quote[..1000]).build());
    let outer = &passed_on.tx().1[14..];
    net.expect_drop(1, &too_big(true, 700, outer), DropReason::IcmpTunnel);
    net.send(0, &of_len(C4, "192.0.2.20:80", 700).build()).reply();
}

#[test]
fn all_workers_get_to_know() {
    let mut all = all_modes();
    all.workers = 2;
    let mut net = Net::new(all);
    let (client, vip) = (C4, "192.0.2.20:80");
    let owner = net.send(0, &Frame::syn(client, vip).build()).worker;
    let outer = net.send(0, &of_len(client, vip, 1476).build()).tx().1[14..].to_vec();
    let other = 1 - owner;
    // It has no ports to tell the owner by, so whoever received it keeps it.
    let relayed = net.send_to(other, 1, &too_big(true, 1400, &outer));
    assert_eq!(relayed.worker, other);
    relayed.tx();
    net.send(0, &of_len(client, vip, 1476).build()).tx();
    let news = std::mem::take(&mut net.shards[usize::from(other)].learned);
    assert!(!news.is_empty() && news.iter().all(|news| matches!(news, News::PathMtu(_, 1400))), "{news:?}");
    let now = net.now;
    for news in news {
        net.shards[usize::from(owner)].hear(news, now);
    }
    net.send(0, &of_len(client, vip, 1476).build()).reply();
    // The same once more is no news.
    net.send_to(other, 1, &too_big(true, 1400, &outer)).tx();
    assert_eq!(net.shards[usize::from(other)].learned, []);
}

#[test]
fn what_is_passed_on_is_rate_limited_what_is_learned_is_not() {
    let mut net = Net::new(all_modes());
    let outer = sent(&mut net, C4, "192.0.2.20:80", 1476);
    for _ in 0..100 {
        net.send(1, &too_big(true, 1450, &outer)).tx();
    }
    net.expect(1, &too_big(true, 1400, &outer), &[("drop icmp_tunnel", 1), ("errors_limited", 1)]);
    net.pass_s(1);
    let answer = net.send(0, &of_len(C4, "192.0.2.20:80", 1476).build());
    assert_eq!(told(answer.reply(), C4).1, 1376);
}

#[test]
fn a_tunnel_source_of_its_own_is_known_again() {
    let mut all = all_modes();
    all.services[4].tunnel_source = Some(ip("10.0.0.100"));
    let mut net = Net::new(all);
    let outer = sent(&mut net, C4, "192.0.2.20:80", 1476);
    let error = |to| icmp4("10.1.0.99", to, [3, 4], [0, 0, 5, 0x78], &outer[..500]).on_lan(backend_mac(9)).build();
    net.expect_drop(1, &error("10.1.0.254"), DropReason::IcmpNoConnection);
    net.expect(1, &error("10.0.0.100"), &[("tx", 1)]);
}

#[test]
fn services_of_both_families_behind_one_backend_each_get_what_they_can_use() {
    let mut net = Net::new(all_modes());
    for port in 1..30 {
        let (four, six) = (format!("198.51.100.8:{port}"), format!("[2001:db8:c::8]:{port}"));
        let (vip4, vip6) = ("192.0.2.20:80", "[2001:db8::20]:80");
        let outer = sent(&mut net, &four, vip4, 1276);
        net.send(1, &too_big(true, 1290, &outer)).tx();
        net.send(0, &of_len(&four, vip4, 1267).build()).reply();
        net.send(0, &of_len(&four, vip4, 1266).build()).tx();
        // 1266 bytes would be too few for IPv6.
        net.send(0, &of_len(&six, vip6, 1280).build()).tx();
        net.send(0, &of_len(&six, vip6, 1400).build());
        net.pass_s(601);
    }
}
