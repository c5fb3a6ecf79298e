//! ARP and neighbour discovery for our addresses and VIPs (rule 26).

use std::net::IpAddr;

use crate::lb::ids::PortId;
use crate::lb::neighbor::NeighborRow;
use crate::lb::path::{announcements, solicit};
use crate::lb::snapshot::SnapshotSpec;
use crate::lb::testing::*;
use crate::lb::verdict::DropReason;
use crate::wire::arp::Arp;
use crate::wire::ethernet::MacAddr;

const HOST: MacAddr = MacAddr([2, 0, 0, 0, 9, 9]);

fn rows(net: &Net) -> Vec<NeighborRow> {
    net.shards[0].neighbors.rows().filter(|row| row.state != "static").collect()
}

/// All modes, and a service whose VIP is on the first port's network.
fn with_near_vip() -> SnapshotSpec {
    let mut all = all_modes();
    let mut near = all.services[0].clone();
    (near.name, near.vip) = ("near".into(), ip("10.0.0.50"));
    all.services.push(near);
    all
}

#[test]
fn arp_is_answered_for_own_addresses_and_vips() {
    let mut net = Net::new(all_modes());
    for target in ["10.0.0.2", "192.0.2.10", "192.0.2.20", "192.0.2.30"] {
        // With the padding that a short frame has on the wire.
        let ask = [arp(1, HOST, "10.0.0.77", target), vec![0; 18]].concat();
        let sent = net.expect(0, &ask, &[("replies", 1)]);
        let reply = sent.reply();
        assert_eq!(reply[..14], [&HOST.0[..], &WAN.0, &[8, 6]].concat());
        let answer = Arp::parse(&reply[14..]).unwrap();
        assert_eq!((answer.operation, answer.sha, answer.tha), (Arp::REPLY, WAN, HOST));
        assert_eq!((IpAddr::from(answer.spa), IpAddr::from(answer.tpa)), (ip(target), ip("10.0.0.77")));
    }
    // The host that asked will be spoken to.
    assert_eq!(rows(&net).iter().map(|r| (r.addr, r.mac)).collect::<Vec<_>>(), [(ip("10.0.0.77"), Some(HOST))]);
    // Another port's own address is not answered for here; nor is anybody else's.
    for target in ["10.1.0.254", "10.0.0.1", "10.0.0.78", "0.0.0.0"] {
        net.expect_drop(0, &arp(1, HOST, "10.0.0.77", target), DropReason::NotOurs);
    }
    assert_eq!(net.shards[0].outbox.len(), 0);
}

#[test]
fn probes_for_our_addresses_are_defended() {
    let mut net = Net::new(all_modes());
    let sent = net.expect(0, &arp(1, HOST, "0.0.0.0", "10.0.0.2"), &[("replies", 1)]);
    let answer = Arp::parse(&sent.reply()[14..]).unwrap();
    assert_eq!((answer.spa.octets(), answer.tpa.octets()), ([10, 0, 0, 2], [0; 4]));
    assert!(rows(&net).is_empty(), "0.0.0.0 is nobody");
}

#[test]
fn conflicts_are_counted_and_defended_seldom() {
    let mut net = Net::new(with_near_vip());
    let claims = [
        arp(1, HOST, "10.0.0.2", "10.0.0.2"),
        arp(2, HOST, "10.0.0.50", "10.0.0.2"),
        neighbor_message("fd00::2", "ff02::1", 136, 0x20, "fd00::2", Some((2, HOST)))
            .with(|f| f.src_mac = HOST)
            .build(),
        neighbor_message("fd00::2", "ff02::1:ff00:1", 135, 0, "fd00::1", Some((1, HOST)))
            .with(|f| f.src_mac = HOST)
            .build(),
    ];
    for claim in &claims {
        let (sent, changes) = net.changes(|net| net.send(0, claim));
        assert_eq!(sent.dropped(), DropReason::AddressConflict);
        assert_eq!(changes, [("drop address_conflict".into(), 1), ("originated".into(), 1)].into());
    }
    let first = net.shards[0].outbox[0].frame;
    let announced = Arp::parse(&first.as_bytes()[14..]).unwrap();
    assert!(announced.is_gratuitous() && announced.sha == WAN);
    // Two that defend the same address must not talk for ever.
    for _ in 0..1000 {
        net.send(0, &claims[0]);
    }
    assert!(net.shards[0].outbox.len() <= 10);
    net.shards[0].outbox.clear();
    net.pass_s(1);
    for _ in 0..1000 {
        net.send(0, &claims[0]);
    }
    assert_eq!(net.shards[0].outbox.len(), 1);
    assert!(rows(&net).is_empty());
}

#[test]
fn a_vip_off_link_is_not_defended() {
    let mut net = Net::new(all_modes());
    let claims = [
        arp(1, HOST, "192.0.2.10", "192.0.2.10"),
        neighbor_message("2001:db8::10", "ff02::1", 136, 0x20, "2001:db8::10", Some((2, HOST)))
            .with(|f| f.src_mac = HOST)
            .build(),
    ];
    for claim in &claims {
        net.expect_drop(0, claim, DropReason::AddressConflict);
    }
    assert!(net.shards[0].outbox.is_empty());
}

#[test]
fn our_own_frames_sent_back_are_no_conflict() {
    let mut net = Net::new(all_modes());
    let mut frames: Vec<Vec<u8>> = announcements(&net.snapshot, None)
        .iter()
        .filter(|out| out.port == PortId(0))
        .map(|out| out.frame.as_bytes().to_vec())
        .collect();
    frames.push(solicit(&net.snapshot, PortId(0), ip("fd00::1"), None).unwrap().frame.as_bytes().to_vec());
    frames.push(solicit(&net.snapshot, PortId(0), ip("10.0.0.1"), None).unwrap().frame.as_bytes().to_vec());
    assert!(frames.len() > 4);
    for frame in frames {
        net.expect_drop(0, &frame, DropReason::NeighborInvalid);
    }
}

#[test]
fn announcements_name_own_addresses_and_vips_where_they_may_be_looked_for() {
    let net = Net::new(with_near_vip());
    let mut seen = Vec::new();
    for out in announcements(&net.snapshot, None) {
        let frame = out.frame.as_bytes();
        let mac = net.snapshot.port(out.port).unwrap().mac;
        assert_eq!(frame[6..12], mac.0);
        if frame[12..14] == [8, 6] {
            let message = Arp::parse(&frame[14..]).unwrap();
            assert!(message.is_gratuitous() && message.sha == mac && frame[..6] == [0xff; 6]);
            seen.push((out.port.0, IpAddr::from(message.spa)));
        } else {
            checksums_are_right(frame);
            assert_eq!((frame[21], frame[54], &frame[..6]), (255, 136, &[0x33, 0x33, 0, 0, 0, 1][..]));
            assert_eq!(frame[58] & 0xe0, 0x20, "override, not solicited");
            seen.push((out.port.0, IpAddr::from(*frame[62..].first_chunk::<16>().unwrap())));
        }
    }
    seen.sort();
    let lan = crate::lb::snapshot::link_local(LAN).to_string();
    let expected = [
        (0, "10.0.0.2"),
        (0, "10.0.0.50"),
        (0, "fd00::2"),
        (0, "fe80::ff:fe00:2"),
        (1, "10.1.0.254"),
        (1, "fd01::fe"),
        (1, "10.1.0.100"),
        (1, "fd01::100"),
        (1, &lan),
    ];
    let off_link: Vec<IpAddr> = net.snapshot.vips().filter(|&vip| !net.snapshot.is_on_link(vip)).collect();
    assert!(off_link.contains(&ip("192.0.2.10")) && off_link.contains(&ip("2001:db8::10")));
    let mut expected: Vec<_> = expected.iter().map(|&(port, addr)| (port, ip(addr))).collect();
    expected.extend([0, 1].iter().flat_map(|&port| off_link.iter().map(move |&vip| (port, vip))));
    expected.sort();
    assert_eq!(seen, expected);
}

#[test]
fn solicitations_are_answered_as_rfc_4861_says() {
    let mut net = Net::new(all_modes());
    for (target, group) in [
        ("fd00::2", "ff02::1:ff00:2"),
        ("2001:db8::10", "ff02::1:ff00:10"),
        ("2001:db8::21", "ff02::1:ff00:21"),
        ("fe80::ff:fe00:2", "ff02::1:ff00:2"),
    ] {
        for dst in [group, target] {
            let ask = neighbor_message("fd00::77", dst, 135, 0, target, Some((1, HOST)));
            let sent = net.expect(0, &ask.build(), &[("replies", 1)]);
            let reply = sent.reply();
            let expected = neighbor_message(target, "fd00::77", 136, 0x60, target, Some((2, WAN)))
                .with(|f| (f.dst_mac, f.src_mac) = (HOST, WAN));
            assert_eq!(reply, expected.build());
            checksums_are_right(reply);
        }
    }
    assert_eq!(rows(&net).iter().map(|r| (r.addr, r.mac)).collect::<Vec<_>>(), [(ip("fd00::77"), Some(HOST))]);
    // Duplicate address detection: answered to all nodes.
    let probe = neighbor_message("::", "ff02::1:ff00:2", 135, 0, "fd00::2", None);
    let sent = net.expect(0, &probe.build(), &[("replies", 1)]);
    let expected =
        neighbor_message("fd00::2", "ff02::1", 136, 0x20, "fd00::2", Some((2, WAN))).with(|f| f.src_mac = WAN);
    assert_eq!(sent.reply(), expected.build());
    // Without a link-layer option the answer goes to who sent the frame.
    let unicast = neighbor_message("fd00::77", "fd00::2", 135, 0, "fd00::2", None).with(|f| f.src_mac = HOST);
    assert_eq!(net.send(0, &unicast.build()).reply()[..6], HOST.0);
    for (frame, reason) in [
        (neighbor_message("fd00::77", "ff02::1:ff00:3", 135, 0, "fd00::3", Some((1, HOST))), DropReason::NotOurs),
        (neighbor_message("fd00::77", "ff02::1:ff00:fe", 135, 0, "fd01::fe", Some((1, HOST))), DropReason::NotOurs),
        (unicast.clone().with(|f| f.ttl = 254), DropReason::NeighborInvalid),
        (unicast.clone().with(|f| f.payload[5] ^= 1), DropReason::NeighborInvalid),
        (neighbor_message("ff02::5", "fd00::2", 135, 0, "fd00::2", None), DropReason::NeighborInvalid),
        (neighbor_message("fd00::77", "fd00::2", 135, 0, "ff02::2", None), DropReason::NeighborInvalid),
        (neighbor_message("::", "ff02::1:ff00:2", 135, 0, "fd00::2", Some((1, HOST))), DropReason::NeighborInvalid),
        (neighbor_message("fd00::77", "ff02::1", 136, 0x60, "fd00::77", Some((2, HOST))), DropReason::NeighborInvalid),
    ] {
        net.expect_drop(0, &frame.build(), reason);
    }
}

/// A network whose IPv6 next hop for clients is not configured, after a first packet to it.
fn asking() -> Net {
    let mut all = all_modes();
    all.ports[1].neighbors.clear();
    let mut net = Net::new(all);
    for n in 1..=20 {
        net.send(0, &Frame::syn(&format!("[2001:db8:c::7]:{n}"), "[2001:db8::21]:80").build());
    }
    net
}

#[test]
fn advertisements_settle_what_was_asked_for() {
    let mut net = asking();
    let question = net.shards[0].outbox[0].frame;
    checksums_are_right(question.as_bytes());
    assert_eq!((question.as_bytes()[54], question.as_bytes()[21]), (135, 255));
    let advert = |bits, target: &str, mac| {
        neighbor_message(target, "fd01::fe", 136, bits, target, Some((2, mac))).on_lan(mac).build()
    };
    net.expect_drop(1, &advert(0x60, "fd01::3", HOST), DropReason::NeighborUpdate);
    assert_eq!(net.shards[0].settled.len(), 1);
    let mac_of = |net: &Net, addr: &str| rows(net).iter().find(|r| r.addr == ip(addr)).and_then(|r| r.mac);
    assert_eq!(mac_of(&net, "fd01::3"), Some(HOST));
    // Without the override flag the known one stays; with it, the new one counts.
    net.expect_drop(1, &advert(0x40, "fd01::3", backend_mac(3)), DropReason::NeighborUpdate);
    assert_eq!(mac_of(&net, "fd01::3"), Some(HOST));
    net.expect_drop(1, &advert(0x60, "fd01::3", backend_mac(3)), DropReason::NeighborUpdate);
    assert_eq!(mac_of(&net, "fd01::3"), Some(backend_mac(3)));
    // Nobody asked for this one.
    net.expect_drop(1, &advert(0x60, "fd01::99", HOST), DropReason::NeighborUpdate);
    assert_eq!(mac_of(&net, "fd01::99"), None);
}

#[test]
fn gratuitous_arp_updates_what_is_known_and_adds_nothing() {
    let mut net = Net::new(all_modes());
    net.send(0, &arp(1, HOST, "10.0.0.77", "10.0.0.2")).reply();
    let moved = MacAddr([2, 0, 0, 0, 9, 10]);
    net.expect_drop(0, &arp(1, moved, "10.0.0.77", "10.0.0.77"), DropReason::NeighborUpdate);
    net.expect_drop(0, &arp(1, moved, "10.0.0.78", "10.0.0.78"), DropReason::NeighborUpdate);
    assert_eq!(rows(&net).iter().map(|r| (r.addr, r.mac)).collect::<Vec<_>>(), [(ip("10.0.0.77"), Some(moved))]);
    // What the administrator set stays.
    net.expect_drop(0, &arp(2, HOST, "10.0.0.1", "10.0.0.2"), DropReason::NeighborUpdate);
    let slot = net.shards[0].neighbors.find(PortId(0), ip("10.0.0.1")).unwrap();
    assert_eq!(net.shards[0].neighbors.mac(slot), Some(ROUTER));
}

#[test]
fn a_flood_of_askers_does_not_crowd_out_next_hops() {
    let mut net = Net::new(all_modes());
    for n in 3..250 {
        net.send(0, &arp(1, HOST, &format!("10.0.0.{n}"), "10.0.0.2")).reply();
    }
    let free = net.shards[0].neighbors.capacity() - net.shards[0].neighbors.rows().count();
    assert!(free >= net.shards[0].neighbors.capacity() / 3, "{free}");
    // Off-link askers are answered and not remembered.
    let before = rows(&net).len();
    net.send(0, &arp(1, HOST, "203.0.113.5", "10.0.0.2")).reply();
    assert_eq!(rows(&net).len(), before);
}

#[test]
fn what_one_worker_learned_the_others_take_in() {
    let mut all = all_modes();
    all.ports[1].neighbors.clear();
    all.workers = 2;
    let mut net = Net::new(all);
    for n in 1..100 {
        net.send(0, &Frame::syn(&format!("198.51.100.7:{n}"), "192.0.2.20:80").build());
    }
    let known = |net: &Net, worker: usize| net.shards[worker].neighbors.rows().filter(|r| r.mac.is_some()).count();
    let before = (known(&net, 0), known(&net, 1));
    let answer = [&LAN.0[..], &arp(2, backend_mac(3), "10.1.0.3", "10.1.0.254")[6..]].concat();
    net.send(1, &answer);
    let now = net.now;
    let learned = std::mem::take(&mut net.shards[0].learned);
    for learned in learned {
        net.shards[1].hear(learned, now);
    }
    assert_eq!((known(&net, 0), known(&net, 1)), (before.0 + 1, before.1 + 1));
    assert_eq!(net.shards[1].settled.len(), 1);
}
