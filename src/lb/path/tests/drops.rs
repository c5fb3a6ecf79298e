//! Every reason that the packet path drops for is met by a frame that earns it, and only that counter moves.

use std::collections::BTreeSet;

use crate::lb::connection::flags::*;
use crate::lb::ids::PortId;
use crate::lb::packet::{HEADROOM, Packet};
use crate::lb::path::{Origin, process};
use crate::lb::snapshot::Mode;
use crate::lb::testing::*;
use crate::lb::verdict::{DropReason as R, Verdict};
use crate::wire::ethernet::MacAddr;

const C4: &str = "198.51.100.7:40000";
const C6: &str = "[2001:db8:c::7]:40000";
const NAT4: &str = "192.0.2.10:80";
const GRE4: &str = "192.0.2.20:80";
const GRE6: &str = "[2001:db8::21]:80";

/// A frame with one byte of its IP packet changed and its header checksum made right again.
fn changed(frame: &Frame, at: usize, value: u8) -> Vec<u8> {
    let mut packet = frame.packet();
    packet[at] = value;
    if packet[0] >> 4 == 4 {
        let header_len = usize::from(packet[0] & 15).max(5) * 4;
        packet[10..12].fill(0);
        let check = internet_checksum(&[&packet[..header_len]]);
        packet[10..12].copy_from_slice(&check.to_be_bytes());
    }
    frame.frame_with(&packet)
}

/// Malformed or foreign frames, each with its reason.
pub(crate) fn malformed() -> Vec<(R, Vec<u8>)> {
    let syn = Frame::syn(C4, NAT4);
    let syn6 = Frame::syn(C6, GRE6);
    let udp = Frame::udp(C4, "192.0.2.10:53");
    let udp6 = Frame::udp(C6, "[2001:db8::21]:53");
    let extension = |kind: u8, bytes: Vec<u8>| syn6.clone().with(|f| f.options = (kind, bytes)).build();
    let mut stacked = syn.build();
    for _ in 0..5 {
        stacked.splice(12..12, [0x81, 0, 0, 7]);
    }
    let mut ipx = syn.build();
    ipx[12..14].copy_from_slice(&[0x81, 0x37]);
    let mut wrong_check = syn.build();
    wrong_check[24] ^= 1;
    vec![
        (R::Runt, syn.build()[..13].to_vec()),
        (R::Runt, syn.build()[..33].to_vec()),
        (R::Runt, syn6.build()[..53].to_vec()),
        (R::UnknownEthertype, ipx),
        (R::VlanStack, stacked),
        (R::VlanMismatch, syn.clone().with(|f| f.vlan = vec![5]).build()),
        (R::VlanMismatch, syn.clone().with(|f| f.vlan = vec![5, 6]).build()),
        (R::ForeignMac, syn.clone().with(|f| f.dst_mac = LAN).build()),
        (R::NotOurs, syn.clone().with(|f| f.dst_mac = MacAddr::BROADCAST).build()),
        (R::IpVersion, changed(&syn, 0, 0x55)),
        (R::IpVersion, changed(&syn6, 0, 0x40)),
        (R::IpHeaderLength, changed(&syn, 0, 0x44)),
        (R::IpTotalShort, changed(&syn, 3, 19)),
        (R::IpTotalLong, changed(&syn, 3, 41)),
        (R::IpTotalLong, changed(&syn6, 5, 21)),
        (R::IpChecksum, wrong_check),
        (R::Ip6Extension, extension(43, vec![6, 0, 0, 1, 0, 0, 0, 0])),
        (R::Ip6Extension, extension(60, [60, 0, 0, 0, 0, 0, 0, 0].repeat(9))),
        (R::Ip6Jumbo, changed(&syn6, 5, 0)),
        (R::L4Truncated, changed(&syn, 3, 39)),
        (R::L4Truncated, changed(&udp, 3, 27)),
        (
            R::L4Truncated,
            icmp4("198.51.100.7", "192.0.2.10", [8, 0], [0; 4], b"").with(|f| f.payload.truncate(7)).build(),
        ),
        (R::TcpOffset, changed(&syn, 20 + 12, 0x40)),
        (R::TcpOffset, changed(&syn, 20 + 12, 0x60)),
        (R::UdpLength, changed(&udp, 20 + 5, 7)),
        (R::UdpLength, changed(&udp, 20 + 5, 100)),
        (R::UdpNoChecksum, udp6.clone().with(|f| f.l4_checksum = Some(0)).build()),
        (R::TinyFragment, syn.clone().with(|f| f.fragment = 0x0001).build()),
        (R::TinyFragment, changed(&syn.clone().with(|f| f.fragment = 0x2000), 3, 36)),
        (R::FragmentInvalid, udp.clone().with(|f| f.fragment = 0x2000).build()),
        (R::FragmentInvalid, udp6.clone().with(|f| f.options = (44, vec![17, 0, 0, 1, 0, 0, 0, 9])).build()),
        (R::Fragment, icmp4("198.51.100.7", "192.0.2.10", [8, 0], [0; 4], b"x").with(|f| f.fragment = 0x2000).build()),
    ]
}

/// Well-formed frames that nobody wants.
pub(crate) fn unwanted() -> Vec<(R, Vec<u8>)> {
    let echo = |src: &str, dst: &str| icmp4(src, dst, [8, 0], [0, 1, 0, 1], b"ping");
    let quote = Frame::ack(NAT4, C4).packet();
    let error = |dst: &str, quote: &[u8]| icmp4("203.0.113.9", dst, [3, 1], [0; 4], quote);
    let mut wrong_quote = quote.clone();
    wrong_quote[8] ^= 1;
    let other = |dst: &str| Frame::udp(C4, dst).with(|f| f.protocol = 132).build();
    vec![
        (R::TtlExceeded, Frame::syn(C4, GRE4).with(|f| f.ttl = 0).build()),
        (R::Martian, Frame::syn("127.0.0.1:1", NAT4).build()),
        (R::Martian, Frame::syn("0.0.0.0:1", NAT4).build()),
        (R::Martian, Frame::syn("224.0.0.5:1", GRE4).build()),
        (R::Martian, Frame::syn("255.255.255.255:1", GRE4).build()),
        (R::Martian, Frame::syn("[ff02::1]:1", GRE6).build()),
        (R::Martian, Frame::syn("[::]:1", GRE6).build()),
        (R::Martian, Frame::syn("[::1]:1", GRE6).build()),
        (R::Martian, echo("127.0.0.1", "192.0.2.10").build()),
        (R::Looped, Frame::syn("192.0.2.20:80", GRE4).build()),
        (R::Looped, Frame::syn("10.0.0.2:1", GRE4).build()),
        (R::Looped, Frame::syn("10.1.0.254:1", NAT4).build()),
        (R::NotOurs, Frame::syn(C4, "203.0.113.1:80").build()),
        (R::NotOurs, echo("198.51.100.7", "203.0.113.1").build()),
        (R::NotOurs, other("203.0.113.1:0")),
        (R::NoService, Frame::syn(C4, "192.0.2.10:81").build()),
        (R::NoService, Frame::udp(C4, "192.0.2.10:80").build()),
        (R::NoService, Frame::syn(C4, "10.0.0.2:22").build()),
        (R::NoService, other("192.0.2.10:0")),
        (R::NoConnection, Frame::ack(C4, NAT4).build()),
        (R::NoConnection, Frame::tcp(C4, NAT4, RST).build()),
        (R::NoConnection, Frame::tcp(C4, NAT4, SYN | ACK).build()),
        (R::NoConnection, Frame::tcp(C4, NAT4, 0).build()),
        (R::IcmpChecksum, echo("198.51.100.7", "192.0.2.10").with(|f| f.payload[4] ^= 1).build()),
        (
            R::IcmpChecksum,
            icmp6("2001:db8:c::7", "2001:db8::10", [128, 0], [0; 4], b"").with(|f| f.payload[4] ^= 1).build(),
        ),
        (R::IcmpChecksum, error("192.0.2.10", &quote).with(|f| f.payload[30] ^= 1).build()),
        (R::IcmpChecksum, error("192.0.2.10", &wrong_quote).build()),
        (R::IcmpQuote, error("192.0.2.10", &quote[..19]).build()),
        (R::IcmpQuote, error("192.0.2.10", b"").build()),
        (R::IcmpQuote, error("192.0.2.10", &quote[..23]).build()),
        (R::IcmpNoConnection, error("192.0.2.10", &quote).build()),
        (R::IcmpNoConnection, error("10.0.0.2", &quote).build()),
        (R::IcmpNotServed, icmp4("198.51.100.7", "192.0.2.10", [0, 0], [0; 4], b"").build()),
        (R::IcmpNotServed, icmp4("198.51.100.7", "192.0.2.10", [13, 0], [0; 4], &[0; 12]).build()),
        (R::IcmpNotServed, icmp4("198.51.100.7", "192.0.2.10", [5, 1], [10, 0, 0, 9], &quote).build()),
        (R::IcmpNotServed, icmp4("198.51.100.7", "192.0.2.10", [4, 0], [0; 4], &quote).build()),
        (R::IcmpNotServed, icmp6("2001:db8:c::7", "2001:db8::10", [129, 0], [0; 4], b"").build()),
        (R::NeighborUpdate, arp(2, ROUTER, "10.0.0.1", "10.0.0.2")),
        (R::NeighborInvalid, arp(1, WAN, "10.0.0.1", "10.0.0.2")),
        (R::NeighborInvalid, arp(1, MacAddr([1; 6]), "10.0.0.1", "10.0.0.2")),
        (R::NotOurs, arp(1, ROUTER, "10.0.0.1", "10.0.0.77")),
    ]
}

/// What cannot be provoked by one frame into the usual network, as a list of what the other tests of this directory and
/// the poll loop provoke.
const ELSEWHERE: [(R, &str); 23] = [
    (R::NoBackend, "below"),
    (R::NoRoute, "below"),
    (R::NoHeadroom, "below"),
    (R::NeighborTableFull, "below"),
    (R::TooBig, "below"),
    (R::TunnelInvalid, "untunnel"),
    (R::TunnelNotVip, "untunnel"),
    (R::TunnelCongested, "untunnel"),
    (R::BackendsFull, "choice"),
    (R::TableFull, "connections"),
    (R::PortsExhausted, "full_nat"),
    (R::ProxyForged, "tell"),
    (R::Untranslatable, "crossed"),
    (R::TupleConflict, "connections"),
    (R::AddressConflict, "neighbor"),
    (R::EchoLimited, "icmp"),
    (R::PuntLimited, "punt"),
    (R::IcmpMtu, "quotes"),
    (R::IcmpTunnel, "path_mtu"),
    (R::FragmentOverlap, "fragments"),
    (R::FragmentTimeout, "fragments"),
    (R::FragmentQueueFull, "fragments"),
    (R::FragmentTableFull, "fragments"),
];
/// The poll loop's own.
const DATAPLANE: [R; 6] =
    [R::NoBuffer, R::NeighborUnresolved, R::NeighborQueueFull, R::PuntFull, R::TxFull, R::RingFull];

#[test]
fn every_frame_has_its_reason() {
    let mut net = Net::new(all_modes());
    for (reason, frame) in malformed().into_iter().chain(unwanted()) {
        net.expect_drop(0, &frame, reason);
    }
    assert_eq!(net.active(), 0, "none of them left a connection");
}

#[test]
fn no_reason_is_left_out() {
    let mut met: BTreeSet<&str> = malformed().iter().chain(&unwanted()).map(|(r, _)| r.label()).collect();
    met.extend(ELSEWHERE.iter().map(|(r, _)| r.label()));
    met.extend(DATAPLANE.iter().map(|r| r.label()));
    let all: BTreeSet<&str> = R::ALL.iter().map(|r| r.label()).collect();
    assert_eq!(all.difference(&met).collect::<Vec<_>>(), Vec::<&&str>::new());
}

#[test]
fn services_without_backends_or_ways_say_so() {
    let mut all = all_modes();
    for service in &mut all.services {
        for backend in &mut service.backends {
            backend.admits = false;
        }
    }
    all.ports[0].gateways.clear();
    all.services.push(service("far", Mode::Dsr, 6, ("192.0.2.50", 80), 40, &["203.0.113.1"]));
    all.services.push(service("farnat", Mode::Nat, 6, ("192.0.2.51", 80), 41, &["203.0.113.1"]));
    all.services.push(service("fartunnel", Mode::Gre, 6, ("192.0.2.52", 80), 42, &["203.0.113.1"]));
    all.services.push(service("other", Mode::Nat, 6, ("192.0.2.53", 80), 43, &["10.1.0.1"]));
    let mut net = Net::new(all);
    for vip in [NAT4, GRE4, "192.0.2.30:80"] {
        net.expect_drop(0, &Frame::syn(C4, vip).build(), R::NoBackend);
    }
    net.expect_drop(0, &Frame::syn(C6, GRE6).build(), R::NoBackend);
    for vip in ["192.0.2.50:80", "192.0.2.51:80", "192.0.2.52:80"] {
        assert_eq!(net.send(0, &Frame::syn(C4, vip).build()).dropped(), R::NoRoute, "{vip}");
    }
    // The way to the backend is there, the way back to the client is not.
    net.send(0, &Frame::syn(C4, "192.0.2.53:80").build()).tx();
    let reply = Frame::tcp("10.1.0.1:80", C4, SYN | ACK).on_lan(backend_mac(1)).build();
    net.expect_drop(1, &reply, R::NoRoute);
    let slots: Vec<_> = net.figures().keys().filter(|k| k.starts_with("packets")).cloned().collect();
    assert_eq!(slots, ["packets 43"], "only what went to a backend counts for it");
}

#[test]
fn a_nat_backend_of_another_family_gets_nothing() {
    let mut net = Net::new(spec(vec![service("s", Mode::Nat, 6, ("192.0.2.1", 80), 0, &["fd01::1"])]));
    net.expect_drop(0, &Frame::syn(C4, "192.0.2.1:80").build(), R::NoBackend);
}

#[test]
fn a_port_that_does_not_exist_gets_nothing() {
    let mut net = Net::new(all_modes());
    net.expect_drop(7, &Frame::syn(C4, NAT4).build(), R::ForeignMac);
}

#[test]
fn buffers_without_headroom_are_dropped_not_overrun() {
    let mut net = Net::new(all_modes());
    let mut packets = [TestPacket::new(0, &Frame::syn(C4, GRE4).build())];
    // The tunnel takes 24 bytes.
    for (room, expected) in [(23, Verdict::Drop(R::NoHeadroom)), (24, Verdict::Tx(PortId(1)))] {
        let mut packet = TestPacket::new(0, &Frame::syn(C4, GRE4).build());
        let frame = packet.bytes().to_vec();
        assert!(packet.grow_front(HEADROOM - room));
        packet.bytes_mut()[..frame.len()].copy_from_slice(&frame);
        packet.truncate(frame.len());
        packets[0] = packet;
        let mut verdicts = [Verdict::Drop(R::RingFull)];
        process(&mut net.shards[0], &net.snapshot, net.now, Origin::Port, |p| p.port, &mut packets, &mut verdicts);
        assert_eq!(verdicts, [expected]);
    }
}

#[test]
fn a_full_neighbour_table_is_a_reason() {
    let mut all = all_modes();
    let names: Vec<String> = (1..=60).map(|n| format!("10.1.0.{}", 100 + n)).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    all.services.push(service("many", Mode::Nat, 6, ("192.0.2.60", 80), 30, &names));
    let mut net = Net::new(all);
    let mut full = 0;
    for port in 1..500 {
        match net.send(0, &Frame::syn(&format!("198.51.100.7:{port}"), "192.0.2.60:80").build()).verdict {
            Verdict::Drop(reason) => {
                assert_eq!(reason, R::NeighborTableFull);
                full += 1;
            }
            verdict => assert!(matches!(verdict, Verdict::Hold(_))),
        }
    }
    assert!(full > 0, "18 static and 60 new ones do not fit into 64");
}

#[test]
fn what_does_not_fit_and_may_be_fragmented_is_sent_in_pieces_by_tunnels_and_else_dropped() {
    let mut net = Net::new(all_modes());
    let big = |vip: &str, len| Frame::udp(C4, vip).with(|f| (f.payload, f.df) = (vec![0; len], false)).build();
    let gre = net.send(0, &big("192.0.2.20:53", 1500 - 24 - 28 + 1));
    assert_eq!(gre.pieces(1500).1.len(), 2);
    net.send(0, &big("192.0.2.20:53", 1500 - 24 - 28)).tx();
    assert_eq!(net.send(0, &big("192.0.2.10:53", 1500 - 28 + 1)).dropped(), R::TooBig);
    net.send(0, &big("192.0.2.10:53", 1500 - 28)).tx();
}

#[test]
fn priority_tags_are_no_vlan_and_tagged_ports_want_their_own() {
    let mut net = Net::new(all_modes());
    let tagged = |ids: Vec<u16>| Frame::syn(C4, GRE4).with(|f| f.vlan = ids).build();
    let plain = net.send(0, &Frame::syn(C4, GRE4).build());
    let priority = net.send(0, &tagged(vec![0xe000]));
    assert_eq!(plain.tx(), priority.tx(), "the tag does not go along");

    let mut all = all_modes();
    all.ports[0].vlan = Some(100);
    all.ports[1].vlan = Some(200);
    let mut net = Net::new(all);
    net.expect_drop(0, &Frame::syn(C4, GRE4).build(), R::VlanMismatch);
    net.expect_drop(0, &tagged(vec![101]), R::VlanMismatch);
    for ids in [vec![100], vec![0xe064], vec![0, 100]] {
        let sent = net.send(0, &tagged(ids));
        let (port, frame) = sent.tx();
        assert_eq!((port, &frame[12..18]), (1, &[0x81, 0, 0, 200, 8, 0][..]));
        assert_eq!(frame[18..], plain.frame[14..]);
    }
    // Our own answers carry the tag too.
    let echo = icmp4("198.51.100.7", "192.0.2.10", [8, 0], [0; 4], b"ping").with(|f| f.vlan = vec![100]).build();
    assert_eq!(net.send(0, &echo).reply()[12..16], [0x81, 0, 0, 100]);
    let exceeded = net.send(0, &Frame::syn(C4, NAT4).with(|f| (f.ttl, f.vlan) = (1, vec![100])).build());
    assert_eq!(exceeded.reply()[12..18], [0x81, 0, 0, 100, 8, 0]);
}

#[test]
fn all_256_protocols_and_short_frames_have_one_fate() {
    let mut net = Net::new(all_modes());
    for protocol in 0..=255u8 {
        for (src, dst) in [("198.51.100.7:0", "192.0.2.10:0"), ("[2001:db8:c::7]:0", "[2001:db8::10]:0")] {
            let frame = Frame::udp(src, dst).with(|f| (f.protocol, f.payload) = (6, vec![0; 40]));
            let packet = frame.with(|f| f.protocol = protocol);
            net.send(0, &packet.frame_with(&packet.packet_with(&[0; 40])));
        }
    }
    for frame in [Frame::syn(C4, NAT4).build(), Frame::udp(C6, "[2001:db8::21]:53").build()] {
        for len in 0..frame.len() {
            assert!(matches!(net.send(0, &frame[..len]).verdict, Verdict::Drop(_)), "{len}");
        }
    }
    assert_eq!(net.active(), 0);
    net.figures();
}
