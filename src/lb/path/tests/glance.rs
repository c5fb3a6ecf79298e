//! The first look that reads a few words, against the one that parses everything.

use std::slice;

use proptest::prelude::*;

use super::fuzz::{Change, Pieces, apply, change, seeds};
use crate::lb::connection::flags::*;
use crate::lb::ids::PortId;
use crate::lb::packet::Packet;
use crate::lb::path::glance::Inlet;
use crate::lb::path::{Came, Meta, Work, first_look};
use crate::lb::snapshot::SnapshotSpec;
use crate::lb::testing::*;
use crate::lb::verdict::{DropReason, Verdict};
use crate::wire::parse::parse;

const ENDS4: (&str, &str) = ("198.51.100.7:40000", "192.0.2.20:80");
const ENDS6: (&str, &str) = ("[2001:db8:c::7]:40000", "[2001:db8::21]:80");

/// The first port on this VLAN; neither look asks for services.
fn spec(vlan: Option<u16>) -> SnapshotSpec {
    let mut spec = all_modes();
    spec.services.truncate(1);
    spec.ports[0].vlan = vlan;
    spec
}

/// What the glance says, after checking it against the first look wherever it says anything.
fn glanced<P: Packet + Clone>(net: &Net, port: PortId, packet: &P) -> Work {
    // What an earlier packet of the burst left behind must not show.
    let mut quick = Meta { start: 0xab, ip_len: 0xabcd, ttl: 0xef, came: Came { port, l3: 99 }, ..Meta::default() };
    quick.probe.words.addresses = [0x1234_5678_9abc_def0; 4];
    let mut slow = quick;
    let inlet = net.snapshot.port(port).map_or(Inlet::NONE, Inlet::of);
    let looked = inlet.glance(port, slice::from_ref(packet), slice::from_mut(&mut quick));
    let work = quick.work;
    assert_eq!((looked.bytes, looked.kinds), (packet.frame_len() as u64, work as u8));
    let verdict = first_look(&net.shards[0], &net.snapshot, &mut packet.clone(), false, &mut slow);
    // Both ways from here on are the same but for what may take the short way.
    let (is_v6, is_within) = match work {
        Work::Done => return work,
        Work::Plain4 => (false, true),
        Work::Plain6 => (true, true),
        Work::Flow4 => (false, false),
        Work::Flow6 => (true, false),
        Work::Rare | Work::Handed | Work::Send4 | Work::Send6 => panic!("{work:?} is not for a glance"),
    };
    let long = if is_v6 { Work::Flow6 } else { Work::Flow4 };
    assert_eq!(slow.work, long, "{work:?} by a glance, {verdict:?} by parsing");
    let parsed = parse(packet.bytes(), packet.frame_len()).unwrap();
    assert_eq!((quick.ip_len, quick.ttl, u16::from(quick.came.l3)), (parsed.ip_len, parsed.ttl, parsed.l3));
    assert_eq!(quick.came.port, port);
    let start = &packet.bytes()[usize::from(parsed.l3)..][..8];
    assert_eq!(quick.start.to_le_bytes(), start);
    assert_eq!(parsed.tcp_flags & (SYN | FIN | RST) == 0, is_within, "it opens or ends a connection");
    let header_len = if is_v6 { 40 } else { 20 };
    assert_eq!(parsed.l4, parsed.l3 + header_len, "NAT rewrites what lies right behind the header");
    let used = if is_v6 { 4 } else { 1 };
    assert_eq!(quick.probe.words.addresses[..used], slow.probe.words.addresses[..used]);
    assert_eq!(quick.probe.words.ends, slow.probe.words.ends);
    work
}

fn glanced_at(net: &Net, frame: &[u8]) -> Work {
    glanced(net, PortId(0), &TestPacket::new(0, frame))
}

/// Puts a tag into a frame, as an application on a VLAN would not see it.
fn tag(frame: &mut Vec<u8>, tci: u16) {
    if frame.len() >= 12 {
        let [high, low] = tci.to_be_bytes();
        frame.splice(12..12, [0x81, 0, high, low]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn mutated_frames_are_seen_as_parsing_sees_them(
        which: prop::sample::Index,
        changes in prop::collection::vec(change(), 0..5),
        vlan in prop_oneof![Just(None), (1u16..4095).prop_map(Some)],
        tags in prop::collection::vec(prop_oneof![Just(0u16), any::<u16>()], 0..2),
        own_tag in prop_oneof![3 => Just(Some(0u16)), 1 => any::<u16>().prop_map(Some), 1 => Just(None)],
        cut in prop_oneof![3 => Just(usize::MAX), 1 => 0usize..100],
    ) {
        let net = Net::with_connections(spec(vlan), 1);
        let seeds = seeds();
        let (port, seed) = &seeds[which.index(seeds.len())];
        let mut frame = seed.clone();
        if let (0, Some(id), Some(class)) = (*port, vlan, own_tag) {
            tag(&mut frame, id | class & 0xf000);
        }
        for tci in tags {
            tag(&mut frame, tci);
        }
        for change in &changes {
            apply(&mut frame, change);
        }
        let cut = cut.min(frame.len());
        let pieces = Pieces { first: TestPacket::new(*port, &frame[..cut]), more: frame.len() - cut };
        glanced(&net, PortId(*port), &pieces);
    }

    #[test]
    fn arbitrary_bytes_are_seen_as_parsing_sees_them(
        mut frame in prop::collection::vec(any::<u8>(), 0..120),
        head in 0usize..6,
        port in 0u8..4,
        vlan in prop_oneof![Just(None), (1u16..4095).prop_map(Some)],
        more in 0usize..100,
        protocol in prop_oneof![Just(6u8), Just(17), any::<u8>()],
        len in 0u8..120,
    ) {
        let net = Net::with_connections(spec(vlan), 1);
        let heads: [&[u8]; 4] = [&[8, 0, 0x45], &[0x86, 0xdd, 0x60], &[0x81, 0], &[]];
        if frame.len() > 60 {
            // Most with what gets them further than the first word.
            let own = if port == 1 { LAN } else { WAN };
            frame[..6].copy_from_slice(&own.0);
            let (at, kind) = (12 + 4 * usize::from(head > 3), heads[head % 4]);
            if let (Some(id), true) = (vlan, head > 3) {
                frame[12..16].copy_from_slice(&[0x81, 0, (id >> 8) as u8, id as u8]);
            }
            frame[at..at + kind.len()].copy_from_slice(kind);
            match kind.first() {
                Some(8) => {
                    frame[at + 4..at + 6].copy_from_slice(&[0, len]);
                    frame[at + 8] &= 0x40;
                    frame[at + 9] = 0;
                    frame[at + 11] = protocol;
                    frame[at + 12..at + 14].fill(0);
                    let check = internet_checksum(&[&frame[at + 2..at + 22]]);
                    frame[at + 12..at + 14].copy_from_slice(&check.to_be_bytes());
                }
                Some(0x86) => {
                    frame[at + 6..at + 8].copy_from_slice(&[0, len]);
                    frame[at + 8] = protocol;
                }
                _ => {}
            }
        }
        glanced(&net, PortId(port), &Pieces { first: TestPacket::new(port, &frame), more });
    }
}

/// Else it would be of no use: a glance is enough for every plain packet, tagged as its port is.
#[test]
fn a_glance_is_enough_for_plain_packets() {
    for vlan in [None, Some(1), Some(4094)] {
        let net = Net::with_connections(spec(vlan), 1);
        for (work, (client, vip)) in [(Work::Plain4, ENDS4), (Work::Plain6, ENDS6)] {
            for class in [0, 0xb000] {
                let tagged = |f: &mut Frame| f.vlan = vlan.map(|id| id | class).into_iter().collect();
                for flags in 0..=255 {
                    let opens_or_ends = flags & (SYN | FIN | RST) != 0;
                    let expected = match (opens_or_ends, work) {
                        (false, work) => work,
                        (true, Work::Plain6) => Work::Flow6,
                        (true, _) => Work::Flow4,
                    };
                    let frame = Frame::tcp(client, vip, flags).with(tagged).build();
                    assert_eq!(glanced_at(&net, &frame), expected, "{flags:#x}");
                }
                for payload in [0, 1, 18, 1200] {
                    let frame = |f: Frame| f.with(tagged).with(|f| f.payload = vec![7; payload]);
                    for frame in [frame(Frame::udp(client, vip)), frame(Frame::ack(client, vip))] {
                        for padding in [0, 6] {
                            for ttl in [0, 1, 255] {
                                let bytes = frame.clone().with(|f| (f.padding, f.ttl) = (padding, ttl)).build();
                                assert_eq!(glanced_at(&net, &bytes), work);
                            }
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn nothing_is_decided_by_a_glance_that_a_closer_look_would_refuse() {
    let net = Net::with_connections(spec(None), 1);
    let seven = Net::with_connections(spec(Some(7)), 1);
    for (client, vip) in [ENDS4, ENDS6] {
        let ack = || Frame::ack(client, vip);
        let wrong = [
            ack().with(|f| f.dst_mac = ROUTER),
            ack().with(|f| f.dst_mac.0[5] ^= 1),
            ack().with(|f| f.dst_mac.0 = [0xff; 6]),
            ack().with(|f| f.vlan = vec![0]),
            ack().with(|f| f.vlan = vec![7, 7]),
            ack().with(|f| f.vlan = vec![0, 7]),
            ack().with(|f| {
                f.options = if client == ENDS4.0 { (0, vec![1; 4]) } else { (60, vec![6, 0, 1, 4, 0, 0, 0, 0]) }
            }),
        ];
        for frame in wrong {
            assert_eq!(glanced_at(&net, &frame.build()), Work::Done, "{frame:?}");
            assert_eq!(glanced_at(&seven, &frame.build()), Work::Done, "{frame:?}");
        }
        assert_eq!(glanced_at(&seven, &ack().build()), Work::Done);
        assert_eq!(
            glanced_at(&seven, &ack().with(|f| f.vlan = vec![0x1007]).build()),
            glanced_at(&net, &ack().build())
        );
        assert_eq!(glanced_at(&seven, &ack().with(|f| f.vlan = vec![0x107]).build()), Work::Done);
    }
    let (client, vip) = ENDS4;
    for fragment in [0x2000, 0x0001, 0x1fff, 0x8000, 0x4001, 0x6000] {
        let frame = Frame::ack(client, vip).with(|f| f.fragment = fragment).build();
        assert_eq!(glanced_at(&net, &frame) == Work::Done, fragment != 0x8000, "{fragment:#x}");
    }
}

/// Every byte of the headers, with every value.
#[test]
fn one_wrong_byte_is_seen_as_parsing_sees_it() {
    for vlan in [None, Some(0x123)] {
        let net = Net::with_connections(spec(vlan), 1);
        for (client, vip) in [ENDS4, ENDS6] {
            for frame in [Frame::ack(client, vip), Frame::udp(client, vip)] {
                let frame = frame.with(|f| f.vlan.extend(vlan)).build();
                for at in 0..frame.len() {
                    for value in 0..=255 {
                        for mend in [false, true] {
                            let mut bad = frame.clone();
                            bad[at] = value;
                            if mend && vlan.is_none() {
                                apply(&mut bad, &Change::MendIpv4);
                            }
                            glanced_at(&net, &bad);
                        }
                    }
                }
                for len in 0..frame.len() {
                    glanced_at(&net, &frame[..len]);
                }
            }
        }
    }
}

#[test]
fn a_port_that_there_is_not_lets_nothing_pass() {
    let net = Net::with_connections(spec(None), 1);
    for mac in [[0; 6], [0xff; 6], WAN.0] {
        let frame = Frame::ack(ENDS4.0, ENDS4.1).with(|f| f.dst_mac.0 = mac).build();
        let mut packet = TestPacket::new(9, &frame);
        assert_eq!(glanced(&net, PortId(9), &packet), Work::Done);
        let mut meta = Meta { came: Came { port: PortId(9), l3: 0 }, ..Meta::default() };
        let verdict = first_look(&net.shards[0], &net.snapshot, &mut packet, false, &mut meta);
        assert_eq!(verdict, Verdict::Drop(DropReason::ForeignMac));
    }
}
