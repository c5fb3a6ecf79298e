//! NAT: addresses, ports, TTL and checksums change, nothing else does (rules 12, 13 and predicates P4, P7, P8).

use std::net::{IpAddr, SocketAddr};

use proptest::prelude::*;

use crate::lb::connection::flags::*;
use crate::lb::testing::*;
use crate::lb::verdict::{DropReason, Verdict};

const C4: &str = "198.51.100.7:40000";
const C6: &str = "[2001:db8:c::7]:40000";

/// Ends of an IP packet in a frame without options.
pub(super) fn ends(frame: &[u8]) -> (SocketAddr, SocketAddr) {
    let port = |at: usize| u16::from_be_bytes([frame[at], frame[at + 1]]);
    if frame[14] >> 4 == 4 {
        let l4 = 14 + usize::from(frame[14] & 15) * 4;
        let addr = |at: usize| IpAddr::from(*frame[at..].first_chunk::<4>().unwrap());
        (SocketAddr::new(addr(26), port(l4)), SocketAddr::new(addr(30), port(l4 + 2)))
    } else {
        let addr = |at: usize| IpAddr::from(*frame[at..].first_chunk::<16>().unwrap());
        (SocketAddr::new(addr(22), port(54)), SocketAddr::new(addr(38), port(56)))
    }
}

fn text(end: SocketAddr) -> String {
    end.to_string()
}

/// VIP and protocol of each NAT service.
const SERVICES: [(&str, &str, u8); 4] =
    [("192.0.2.10:80", C4, 6), ("192.0.2.10:53", C4, 17), ("[2001:db8::10]:80", C6, 6), ("[2001:db8::10]:53", C6, 17)];

fn first(client: &str, vip: &str, protocol: u8) -> Frame {
    if protocol == 6 { Frame::syn(client, vip) } else { Frame::udp(client, vip) }
}

#[test]
fn requests_go_to_the_backend_and_replies_come_from_the_vip() {
    for (vip, client, protocol) in SERVICES {
        let mut net = Net::new(all_modes());
        let request = first(client, vip, protocol).build();
        let sent = net.expect(0, &request, &[("tx", 1), ("created", 1), ("active", 1)]);
        let (port, out) = sent.tx();
        checksums_are_right(out);
        let (src, dst) = ends(out);
        assert_eq!((port, text(src)), (1, client.to_owned()), "the client's end stays");
        let backends = ["10.1.0.1:8080", "10.1.0.2:8080", "[fd01::1]:8080", "[fd01::2]:8080"];
        let n = backends.iter().position(|&b| b == text(dst)).unwrap() as u8 % 2 + 1;
        assert_eq!(out[..12], [backend_mac(n).0, LAN.0].concat());

        let answer = Frame { flags: SYN | ACK, ..first(&text(dst), client, protocol) }.on_lan(backend_mac(n)).build();
        let sent = net.expect(1, &answer, &[("tx", 1)]);
        let (port, out) = sent.tx();
        checksums_are_right(out);
        assert_eq!((port, ends(out)), (0, (vip.parse().unwrap(), client.parse().unwrap())));
        assert_eq!(out[..12], [ROUTER.0, WAN.0].concat());
        let figures = net.figures();
        let slot = figures.keys().find_map(|k| k.strip_prefix("packets ")).unwrap();
        assert_eq!(figures[&format!("packets {slot}")], 2);
        assert_eq!(figures[&format!("bytes {slot}")], (request.len() + answer.len()) as i64);
        assert_eq!(figures[&format!("connections {slot}")], 1);
    }
}

#[test]
fn replies_without_a_connection_are_not_ours() {
    let mut net = Net::new(all_modes());
    let stray = Frame::tcp("10.1.0.1:8080", C4, SYN | ACK).on_lan(backend_mac(1)).build();
    net.expect_drop(1, &stray, DropReason::NotOurs);
    net.send(0, &Frame::syn(C4, "192.0.2.10:80").build()).tx();
    for other in ["198.51.100.7:40001", "198.51.100.8:40000"] {
        net.expect_drop(1, &Frame::ack("10.1.0.1:8080", other).on_lan(backend_mac(1)).build(), DropReason::NotOurs);
    }
    net.expect_drop(1, &Frame::ack("10.1.0.1:8081", C4).on_lan(backend_mac(1)).build(), DropReason::NotOurs);
    net.expect_drop(1, &Frame::udp("10.1.0.1:8080", C4).on_lan(backend_mac(1)).build(), DropReason::NotOurs);
}

#[test]
fn every_port_of_a_vip_keeps_the_port() {
    let mut net = Net::new(all_modes());
    for port in [1u16, 53, 8080, 65_535] {
        let out = net.send(0, &Frame::udp(C4, &format!("192.0.2.40:{port}")).build());
        assert_eq!(text(ends(out.tx().1).1), format!("10.1.0.5:{port}"));
        let back = net.send(1, &Frame::udp(&format!("10.1.0.5:{port}"), C4).on_lan(backend_mac(5)).build());
        assert_eq!(text(ends(back.tx().1).0), format!("192.0.2.40:{port}"));
    }
}

#[test]
fn used_up_ttl_is_told_to_the_sender_and_leaves_nothing_behind() {
    for (vip, client, protocol) in SERVICES {
        let mut net = Net::new(all_modes());
        for ttl in [0, 1] {
            let frame = first(client, vip, protocol).with(|f| f.ttl = ttl);
            let sent = net.expect(0, &frame.build(), &[("replies", 1)]);
            let reply = sent.reply();
            checksums_are_right(reply);
            let icmp = if client == C4 { 34 } else { 54 };
            assert_eq!(&reply[icmp..icmp + 2], if client == C4 { [11, 0] } else { [3, 0] });
            assert_eq!(reply[icmp + 8..], frame.packet());
        }
        let sent = net.send(0, &first(client, vip, protocol).with(|f| f.ttl = 2).build());
        let (_, dst) = ends(sent.tx().1);
        assert_eq!(sent.frame[if client == C4 { 22 } else { 21 }], 1);
        // Replies too, with our address on the backend's side.
        let back = first(&text(dst), client, protocol).with(|f| f.ttl = 1).on_lan(backend_mac(1)).build();
        let sent = net.expect(1, &back, &[("replies", 1)]);
        checksums_are_right(sent.reply());
        let source = IpAddr::from(if client == C4 { [10, 1, 0, 254] } else { [0; 4] });
        if client == C4 {
            assert_eq!(IpAddr::from(*sent.frame[26..].first_chunk::<4>().unwrap()), source);
        }
    }
}

#[test]
fn what_does_not_fit_is_told_in_both_directions() {
    let mut all = all_modes();
    all.ports[1].mtu = 1400;
    let mut net = Net::new(all);
    let of_len = |len: usize| Frame::udp(C4, "192.0.2.10:53").with(|f| f.payload = vec![0; len - 28]);
    let sent = net.send(0, &of_len(1401).build());
    checksums_are_right(sent.reply());
    assert_eq!((&sent.frame[34..36], &sent.frame[40..42]), (&[3, 4][..], &1400u16.to_be_bytes()[..]));
    let sent = net.send(0, &of_len(1400).build());
    let dst = text(ends(sent.tx().1).1);
    // The client's side takes 1500.
    let back = |len: usize| Frame::udp(&dst, C4).with(|f| f.payload = vec![0; len - 28]).on_lan(backend_mac(1)).build();
    net.send(1, &back(1500)).tx();
    let sent = net.send(1, &back(1501));
    assert_eq!((&sent.reply()[34..36], &sent.frame[40..42]), (&[3, 4][..], &1500u16.to_be_bytes()[..]));
}

#[test]
fn udp_without_a_checksum_stays_without() {
    let mut net = Net::new(all_modes());
    let out = net.send(0, &Frame::udp(C4, "192.0.2.10:53").with(|f| f.l4_checksum = Some(0)).build());
    assert_eq!(out.tx().1[40..42], [0, 0]);
    let dst = text(ends(out.tx().1).1);
    let back = Frame::udp(&dst, C4).with(|f| f.l4_checksum = Some(0)).on_lan(backend_mac(1)).build();
    assert_eq!(net.send(1, &back).tx().1[40..42], [0, 0]);
    net.expect_drop(
        0,
        &Frame::udp(C6, "[2001:db8::10]:53").with(|f| f.l4_checksum = Some(0)).build(),
        DropReason::UdpNoChecksum,
    );
}

#[test]
fn a_computed_udp_checksum_of_0_is_sent_as_ffff() {
    let mut net = Net::new(all_modes());
    let out = net.send(0, &Frame::udp(C4, "192.0.2.10:53").with(|f| f.payload = vec![0, 0]).build());
    let check = u16::from_be_bytes([out.tx().1[40], out.frame[41]]);
    // A payload that takes the sum to all ones makes the checksum 0.
    let payload = check.to_be_bytes().to_vec();
    let out = net.send(0, &Frame::udp(C4, "192.0.2.10:53").with(|f| f.payload = payload).build());
    assert_eq!(out.tx().1[40..42], [0xff, 0xff]);
    checksums_are_right(&out.frame);
}

#[test]
fn options_and_extension_headers_are_stepped_over() {
    let mut net = Net::new(all_modes());
    let frame = Frame::syn(C4, "192.0.2.10:80").with(|f| f.options.1 = vec![1; 12]);
    let out = net.send(0, &frame.build());
    checksums_are_right(out.tx().1);
    assert_eq!(text(ends(&out.frame).1).split(':').nth(1), Some("8080"));
    assert_eq!(out.frame[34..46], [1; 12]);

    let frame = Frame::syn(C6, "[2001:db8::10]:80").with(|f| f.options = (60, vec![6, 0, 1, 4, 0, 0, 0, 0]));
    let out = net.send(0, &frame.build());
    checksums_are_right(out.tx().1);
    assert_eq!(out.frame[54..62], [6, 0, 1, 4, 0, 0, 0, 0]);
    assert_eq!(out.frame[64..66], 8080u16.to_be_bytes());
}

/// Puts a packet's ends, TTL and checksum aside, to compare the rest.
fn rest(packet: &[u8], protocol: u8) -> Vec<u8> {
    let mut rest = packet.to_vec();
    let l4 = if packet[0] >> 4 == 4 {
        rest[8] = 0;
        rest[10..20].fill(0);
        usize::from(packet[0] & 15) * 4
    } else {
        rest[7] = 0;
        rest[8..40].fill(0);
        40
    };
    rest[l4..l4 + 4].fill(0);
    let check = l4 + if protocol == 6 { 16 } else { 6 };
    rest[check..check + 2].fill(0);
    rest
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn there_and_back_gives_the_packet_again(
        which in 0usize..4,
        client_v4: u32,
        client_v6: u64,
        port: u16,
        ttl in 3u8..,
        tos: u8,
        id: u16,
        df: bool,
        payload in prop::collection::vec(any::<u8>(), 0..200),
        error in prop_oneof![3 => Just(0u16), 1 => 1u16..0xffff],
        options in 0usize..10,
    ) {
        let (vip, client, protocol) = SERVICES[which];
        let v4 = client == C4;
        let [_, b, c, d] = client_v4.to_be_bytes();
        let client = if v4 { format!("198.{b}.{c}.{d}:{port}") } else {
            let [.., w, x, y, z] = client_v6.to_be_bytes().map(u16::from);
            format!("[2001:db8:c::{w:x}:{x:x}:{y:x}:{z:x}]:{port}")
        };
        let mut net = Net::new(all_modes());
        let mut request = first(&client, vip, protocol).with(|f| {
            (f.ttl, f.tos, f.id, f.df, f.payload) = (ttl, tos, id, df, payload);
            if v4 {
                f.options.1 = vec![1; options * 4];
            }
        });
        let l4 = if v4 { 20 + options * 4 } else { 40 };
        let check_at = l4 + if protocol == 6 { 16 } else { 6 };
        let check_of = |packet: &[u8]| u16::from_be_bytes([packet[check_at], packet[check_at + 1]]);
        if error != 0 {
            // Wrong by some amount, but neither 0 nor the other form of right.
            let right = check_of(&request.packet());
            let wrong = right.wrapping_add(error);
            prop_assume!(wrong != 0 && wrong != 0xffff && right != 0 && right != 0xffff);
            request.l4_checksum = Some(wrong);
        }
        let original = request.packet();
        let sent = net.send(0, &request.build());
        let out = sent.tx().1.to_vec();
        prop_assert_eq!(l4_checksum_is_right(&out), error == 0, "a wrong checksum stays wrong");
        prop_assert_eq!(rest(&out[14..], protocol), rest(&original, protocol), "nothing else changes");
        prop_assert_eq!(out[if v4 { 22 } else { 21 }], ttl - 1);
        if error == 0 {
            checksums_are_right(&out);
        }

        // The backend sends the same bytes back, ends exchanged.
        let (src, dst) = ends(&out);
        let mut back = request.clone().on_lan(backend_mac(1));
        (back.src, back.dst) = ((dst.ip(), dst.port()), (src.ip(), src.port()));
        back.flags = SYN | ACK;
        back.l4_checksum = None;
        let right = check_of(&back.packet());
        let wrong = right.wrapping_add(error);
        let ends_of_range = [0, 0xffff];
        prop_assume!(error == 0 || !ends_of_range.contains(&right) && !ends_of_range.contains(&wrong));
        back.l4_checksum = (error != 0).then_some(wrong);
        let sent = net.send(1, &back.build());
        let out = sent.tx().1.to_vec();
        prop_assert_eq!(l4_checksum_is_right(&out), error == 0);
        prop_assert_eq!(ends(&out), (vip.parse().unwrap(), client.parse().unwrap()));
        // Turned round once more it is what the client sent, but for TTL and flags.
        let mut expected = request.clone();
        (expected.src, expected.dst) = (request.dst, request.src);
        (expected.ttl, expected.flags, expected.l4_checksum) = (ttl - 1, SYN | ACK, None);
        if error == 0 {
            prop_assert_eq!(&out[14..], expected.packet());
        }
    }
}

#[test]
fn two_connections_never_share_an_outside_tuple() {
    let mut all = all_modes();
    all.services.push(service(
        "twin",
        crate::lb::snapshot::Mode::Nat,
        6,
        ("192.0.2.11", 80),
        60,
        &["10.1.0.1:8080", "10.1.0.2:8080"],
    ));
    let mut net = Net::new(all);
    let to = |net: &mut Net, client: &str, vip: &str| match net.send(0, &Frame::syn(client, vip).build()).verdict {
        Verdict::Drop(reason) => Err(reason),
        _ => Ok(()),
    };
    let mut conflicts = 0;
    for port in 1000..1100 {
        let client = format!("198.51.100.7:{port}");
        to(&mut net, &client, "192.0.2.10:80").unwrap();
        match to(&mut net, &client, "192.0.2.11:80") {
            Ok(()) => {}
            Err(reason) => {
                assert_eq!(reason, DropReason::TupleConflict);
                conflicts += 1;
            }
        }
        // Replies of the first one still find their way.
        let n = net.figures();
        assert_eq!(n["active"], n["created"]);
    }
    assert!((20..80).contains(&conflicts), "{conflicts} of 100 met the same backend");
    // Every outside tuple belongs to one VIP.
    let mut seen = std::collections::HashSet::new();
    for row in net.shards[0].connections(0, usize::MAX, net.now).0 {
        let backend = net.snapshot.backend(row.backend).unwrap();
        assert!(seen.insert((row.client, backend.address)));
    }
    // Once the first is closing, or its backend is down, the second may have it.
    let mut all = all_modes();
    all.services[0].backends.truncate(1);
    all.services.push(service("twin", crate::lb::snapshot::Mode::Nat, 6, ("192.0.2.11", 80), 60, &["10.1.0.1:8080"]));
    let mut net = Net::new(all.clone());
    to(&mut net, C4, "192.0.2.10:80").unwrap();
    assert_eq!(to(&mut net, C4, "192.0.2.11:80"), Err(DropReason::TupleConflict));
    net.send(0, &Frame::tcp(C4, "192.0.2.10:80", FIN | ACK).build()).tx();
    to(&mut net, C4, "192.0.2.11:80").unwrap();
    assert_eq!(net.active(), 1);
    if let Some(twin) = all.services.last_mut() {
        twin.backends[0].serves = false;
    }
    net.reload(all);
    to(&mut net, C4, "192.0.2.10:80").unwrap();
    assert_eq!(net.active(), 1);
}
