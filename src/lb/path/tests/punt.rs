//! What goes to the host's own network stack, and what does not (P9, rule 26).

use proptest::prelude::*;

use super::fuzz::{apply, change, seeds};
use crate::lb::clock::Now;
use crate::lb::connection::flags::*;
use crate::lb::ids::PortId;
use crate::lb::path::Origin;
use crate::lb::punt::PuntClass;
use crate::lb::snapshot::SnapshotSpec;
use crate::lb::testing::*;
use crate::lb::verdict::{DropReason, Verdict};
use crate::wire::ethernet::MacAddr;

const C4: &str = "198.51.100.7:40000";
const C6: &str = "[2001:db8:c::7]:40000";

/// All modes, on ports that have a host.
fn hosted() -> SnapshotSpec {
    let mut spec = all_modes();
    spec.ports.iter_mut().for_each(|port| port.host = true);
    spec
}

/// A packet of another protocol.
fn other(protocol: u8, src: &str, dst: &str) -> Frame {
    Frame::udp(src, dst).with(|f| f.protocol = protocol)
}

/// To the MAC address of the group that it is for.
fn to_group(frame: Frame) -> Frame {
    frame.with(|f| {
        f.dst_mac = match f.dst.0 {
            std::net::IpAddr::V4(a) => MacAddr([1, 0, 0x5e, a.octets()[1] & 0x7f, a.octets()[2], a.octets()[3]]),
            std::net::IpAddr::V6(a) => MacAddr::ipv6_multicast(a),
        }
    })
}

/// Frames for the host, the class of each, and why it is dropped without a host; `None` if it is answered then.
fn for_host() -> Vec<(PuntClass, Option<DropReason>, Frame)> {
    use DropReason as R;
    use PuntClass as C;
    let echo4 = |dst: &str| icmp4("198.51.100.7", dst, [8, 0], [0, 1, 0, 1], b"ping");
    let echo6 = |dst: &str| icmp6("2001:db8:c::7", dst, [128, 0], [0, 1, 0, 1], b"ping");
    // About what the host itself has sent.
    let quote = Frame::syn("10.0.0.2:50000", "203.0.113.5:443").packet();
    let ping = icmp4("10.0.0.2", "203.0.113.5", [8, 0], [0; 4], b"ping").packet();
    vec![
        (C::Management, Some(R::NoService), Frame::syn(C4, "10.0.0.2:22")),
        (C::Management, Some(R::NoService), Frame::tcp("10.1.0.1:80", "10.0.0.2:50000", SYN | ACK)),
        (
            C::Management,
            Some(R::NoService),
            Frame::ack(C6, "[fd00::2]:22").with(|f| f.options = (60, vec![6, 0, 1, 4, 0, 0, 0, 0])),
        ),
        // The other port's address is ours, too.
        (C::Management, Some(R::NoService), Frame::syn(C4, "10.1.0.254:22")),
        (C::Control, Some(R::NoService), Frame::syn("10.0.0.1:40000", "10.0.0.2:179")),
        (C::Control, Some(R::NoService), Frame::ack("[fd00::1]:179", "[fd00::2]:40000")),
        (C::Control, Some(R::NoService), Frame::udp("10.0.0.1:49152", "10.0.0.2:3784")),
        (C::Control, Some(R::NoService), other(89, "10.0.0.1:0", "10.0.0.2:0")),
        (C::Control, Some(R::NotOurs), to_group(other(89, "10.0.0.1:0", "224.0.0.5:0"))),
        (C::Control, Some(R::NotOurs), to_group(other(89, "[fe80::1]:0", "[ff02::5]:0"))),
        (C::Control, Some(R::NotOurs), to_group(other(112, "10.0.0.1:0", "224.0.0.18:0"))),
        (C::Control, Some(R::NotOurs), to_group(Frame::udp("10.0.0.1:520", "224.0.0.9:520"))),
        (C::Neighbor, Some(R::NotOurs), to_group(other(2, "0.0.0.0:0", "224.0.0.1:0"))),
        (C::Neighbor, Some(R::NotOurs), to_group(icmp6("fe80::1", "ff02::1", [130, 0], [0; 4], &[0; 16]))),
        (C::Icmp, None, echo4("10.0.0.2")),
        (C::Icmp, None, echo6("fd00::2")),
        (C::Icmp, None, echo6("fe80::ff:fe00:2")),
        (C::Icmp, Some(R::IcmpNotServed), icmp4("198.51.100.7", "10.0.0.2", [0, 0], [0; 4], b"a reply")),
        (C::Icmp, Some(R::IcmpNotServed), icmp4("198.51.100.7", "10.0.0.2", [13, 0], [0; 4], &[0; 12])),
        (C::Icmp, Some(R::IcmpNoConnection), icmp4("203.0.113.9", "10.0.0.2", [3, 4], [0, 0, 5, 0], &quote)),
        (C::Icmp, Some(R::IcmpNoConnection), icmp4("203.0.113.9", "10.0.0.2", [11, 0], [0; 4], &ping)),
        (C::Other, Some(R::NoService), Frame::udp(C4, "10.0.0.2:53")),
        (C::Other, Some(R::NoService), other(47, C4, "10.0.0.2:0")),
        (C::Other, Some(R::NoService), other(132, C6, "[fd00::2]:0")),
        (C::Other, Some(R::Fragment), Frame::udp(C4, "10.0.0.2:53").with(|f| f.fragment = 0x2000)),
        (C::Other, Some(R::Fragment), other(17, C4, "10.0.0.2:0").with(|f| f.fragment = 0x0010)),
        (C::Other, Some(R::Fragment), echo4("10.0.0.2").with(|f| f.fragment = 0x2000)),
        (C::Other, Some(R::Fragment), Frame::syn(C4, "10.0.0.2:179").with(|f| f.fragment = 0x2000)),
    ]
}

#[test]
fn own_addresses_are_the_hosts_where_there_is_one() {
    let (mut with, mut without) = (Net::new(hosted()), Net::new(all_modes()));
    for (class, reason, frame) in for_host() {
        let frame = frame.build();
        let sent = with.expect(0, &frame, &[("punts", 1)]);
        assert_eq!(sent.verdict, Verdict::Punt(PortId(0), class), "{frame:02x?}");
        assert_eq!(sent.frame, frame, "as it came");
        match reason {
            Some(reason) => without.expect_drop(0, &frame, reason),
            None => _ = without.expect(0, &frame, &[("replies", 1)]),
        }
    }
    let classes = PuntClass::ALL.iter().map(|&class| with.shards[0].counters.punted(class));
    assert_eq!(classes.sum::<u64>(), for_host().len() as u64);
}

#[test]
fn a_port_without_a_host_keeps_its_packets_from_that_of_another() {
    let mut spec = all_modes();
    spec.ports[1].host = true;
    let mut net = Net::new(spec);
    let frame = Frame::syn(C4, "10.1.0.254:22");
    net.expect_drop(0, &frame.build(), DropReason::NoService);
    assert!(matches!(net.send(1, &frame.on_lan(backend_mac(1)).build()).verdict, Verdict::Punt(PortId(1), _)));
}

#[test]
fn what_is_served_or_nobodys_does_not_get_there() {
    let (mut with, mut without) = (Net::new(hosted()), Net::new(all_modes()));
    let advert = icmp6("fe80::1", "ff02::1", [134, 0], [64, 0, 7, 8], &[0; 8]);
    for frame in [
        Frame::syn(C4, "192.0.2.10:80"),
        Frame::syn(C4, "192.0.2.10:22"),
        icmp4("198.51.100.7", "192.0.2.10", [8, 0], [0; 4], b"ping"),
        icmp4("198.51.100.7", "192.0.2.10", [13, 0], [0; 4], &[0; 12]),
        Frame::syn(C4, "192.0.2.99:22"),
        other(89, C4, "192.0.2.10:0"),
        Frame::udp(C4, "192.0.2.10:53").with(|f| f.fragment = 0x2000),
        // Neither group and one host at once, nor groups beyond the link, nor all hosts of the network.
        Frame::syn(C4, "10.0.0.2:22").with(|f| f.dst_mac = MacAddr::BROADCAST),
        Frame::udp(C4, "224.0.0.9:520"),
        to_group(Frame::udp(C4, "224.0.1.1:123")),
        to_group(Frame::udp(C6, "[ff05::2]:123")),
        Frame::udp(C4, "255.255.255.255:67").with(|f| f.dst_mac = MacAddr::BROADCAST),
        // From nobody.
        Frame::syn("127.0.0.1:1", "10.0.0.2:22"),
        Frame::syn("224.0.0.1:1", "10.0.0.2:22"),
        Frame::syn("0.0.0.0:1", "10.0.0.2:22"),
        to_group(other(89, "127.0.0.1:0", "224.0.0.5:0")),
        // Another host's.
        Frame::syn(C4, "10.0.0.2:22").with(|f| f.dst_mac = LAN),
        // What we sent ourselves.
        to_group(other(2, "10.0.0.2:0", "224.0.0.22:0")).with(|f| f.src_mac = WAN),
        // Who wants to tell us the way.
        icmp4("10.0.0.1", "10.0.0.2", [5, 1], [10, 0, 0, 9], &[0x45; 28]),
        icmp6("fe80::1", "fd00::2", [137, 0], [0; 4], &[0; 32]),
        icmp6("fe80::1", "fd00::2", [134, 0], [64, 0, 7, 8], &[0; 8]),
        to_group(advert),
        // Broken.
        icmp4("198.51.100.7", "10.0.0.2", [8, 0], [0; 4], b"ping").with(|f| f.payload[2] ^= 1),
        Frame::syn(C4, "10.0.0.2:22").with(|f| f.vlan = vec![7]),
        Frame::udp(C6, "[fd00::2]:53").with(|f| f.l4_checksum = Some(0)),
    ] {
        let (with, without) = (with.send(0, &frame.build()), without.send(0, &frame.build()));
        assert_eq!(with.verdict, without.verdict, "{frame:?}");
        assert!(!matches!(with.verdict, Verdict::Punt(..)) && with.frame == without.frame, "{frame:?}");
    }
}

#[test]
fn answers_to_arp_and_nd_are_learned_and_passed_on() {
    let mut net = Net::new(hosted());
    let mac = MacAddr([2, 0, 0, 0, 9, 9]);
    let advert = |to: &str, bits| neighbor_message("fd00::77", to, 136, bits, "fd00::77", Some((2, mac))).build();
    // Somebody must have asked before.
    net.expect(0, &arp(1, MacAddr([2, 0, 0, 0, 9, 8]), "10.0.0.77", "10.0.0.2"), &[("replies", 1)]);
    for frame in [
        arp(2, mac, "10.0.0.77", "10.0.0.2"),
        arp(1, mac, "10.0.0.77", "10.0.0.77"),
        advert("fd00::2", 0x60),
        advert("ff02::1", 0x20),
    ] {
        let sent = net.expect(0, &frame, &[("punts", 1)]);
        assert_eq!(sent.verdict, Verdict::Punt(PortId(0), PuntClass::Neighbor));
        assert_eq!(sent.frame, frame);
    }
    let known = net.shards[0].neighbors.rows().find(|row| row.addr == ip("10.0.0.77")).unwrap();
    assert_eq!(known.mac, Some(mac));
    // Those for VIPs, and what is asked, stay here: the kernel would answer a second time.
    net.expect_drop(0, &arp(2, mac, "10.0.0.77", "192.0.2.10"), DropReason::NeighborUpdate);
    net.expect(0, &arp(1, mac, "10.0.0.77", "10.0.0.2"), &[("replies", 1)]);
    let ask = neighbor_message("fd00::77", "ff02::1:ff00:2", 135, 0, "fd00::2", Some((1, mac)));
    net.expect(0, &ask.build(), &[("replies", 1)]);
    net.expect(0, &arp(2, mac, "10.0.0.2", "10.0.0.1"), &[("drop address_conflict", 1), ("originated", 1)]);
}

#[test]
fn tags_stay_outside() {
    let mut spec = hosted();
    spec.ports[0].vlan = Some(7);
    let mut net = Net::new(spec);
    for vlan in [vec![7], vec![0, 7]] {
        let tagged = Frame::syn(C4, "10.0.0.2:22").with(|f| (f.vlan, f.padding) = (vlan, 6));
        let plain = tagged.clone().with(|f| f.vlan.clear());
        assert_eq!(net.expect(0, &tagged.build(), &[("punts", 1)]).frame, plain.build());
    }
    let mut reply = arp(2, ROUTER, "10.0.0.1", "10.0.0.2");
    let plain = reply.clone();
    reply.splice(12..12, [0x81, 0, 0x20, 7]);
    assert_eq!(net.expect(0, &reply, &[("punts", 1)]).frame, plain);
}

#[test]
fn a_flood_of_one_class_leaves_the_others_and_the_services_alone() {
    let mut net = Net::new(hosted());
    let ping = icmp4("198.51.100.7", "10.0.0.2", [8, 0], [0; 4], b"ping").build();
    let bgp = Frame::ack("10.0.0.1:40000", "10.0.0.2:179").build();
    let served = Frame::syn(C4, "192.0.2.10:80").build();
    for _ in 0..100 {
        net.now = Now::from_ns(net.now.ns() + 10_000_000);
        let flood: Vec<TestPacket> = (0..30).map(|_| TestPacket::new(0, &ping)).collect();
        for _ in 0..10 {
            net.burst(0, Origin::Port, &flood);
        }
        assert!(matches!(net.send(0, &bgp).verdict, Verdict::Punt(_, PuntClass::Control)));
        assert!(matches!(net.send(0, &served).verdict, Verdict::Tx(_)));
    }
    let counters = &net.shards[0].counters;
    // The bucket, and ten for each hundredth of a second behind the first.
    assert_eq!((counters.punted(PuntClass::Icmp), counters.punted(PuntClass::Control)), (250 + 990, 100));
    assert_eq!(counters.punt_limited(PuntClass::Icmp).get(), 30_000 - 1240);
    assert_eq!(counters.drops(DropReason::PuntLimited), 30_000 - 1240);
    // Packets to VIPs have their own limit, and it was not touched.
    let echo = icmp4("198.51.100.7", "192.0.2.10", [8, 0], [0; 4], b"ping").build();
    net.expect(0, &echo, &[("replies", 1)]);
}

#[test]
fn whoever_receives_it_passes_it_on() {
    let mut spec = hosted();
    spec.workers = 3;
    let mut net = Net::new(spec);
    for worker in 0..3 {
        for (class, _, frame) in for_host() {
            let sent = net.send_to(worker, 0, &frame.build());
            assert_eq!((sent.verdict, sent.worker), (Verdict::Punt(PortId(0), class), worker), "{frame:?}");
        }
    }
}

fn frames() -> impl Strategy<Value = (u8, Vec<u8>)> {
    let mut all = seeds();
    all.extend(for_host().into_iter().map(|(_, _, frame)| (0, frame.build())));
    (prop::sample::select(all), prop::collection::vec(change(), 0..3)).prop_map(|((port, mut frame), changes)| {
        changes.iter().for_each(|change| apply(&mut frame, change));
        (port, frame)
    })
}

proptest! {
    /// A host changes the fate of what was dropped or answered on an own address's behalf, and of nothing else.
    #[test]
    fn nothing_else_changes(frames in prop::collection::vec(frames(), 1..40)) {
        let (mut with, mut without) = (Net::new(hosted()), Net::new(all_modes()));
        for (port, frame) in frames {
            let (with, without) = (with.send(port, &frame), without.send(port, &frame));
            if with.verdict == without.verdict {
                prop_assert_eq!(with.frame, without.frame);
                continue;
            }
            let Verdict::Punt(by, _) = with.verdict else { panic!("{:?} {:?}", with.verdict, without.verdict) };
            prop_assert_eq!(by, PortId(port));
            prop_assert!(matches!(without.verdict, Verdict::Drop(_) | Verdict::Reply(_)), "{:?}", without.verdict);
        }
    }
}
