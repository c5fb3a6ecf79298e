//! Random and mutated frames: each gets exactly one verdict, and what comes out is sound.

use proptest::prelude::*;

use crate::lb::connection::flags::*;
use crate::lb::packet::Packet;
use crate::lb::path::{Origin, process};
use crate::lb::testing::*;
use crate::lb::verdict::{DropReason, Verdict};

const C4: &str = "198.51.100.7:40000";
const C6: &str = "[2001:db8:c::7]:40000";

/// Frames of every kind that the packet path knows.
pub(super) fn seeds() -> Vec<(u8, Vec<u8>)> {
    let mut frames = Vec::new();
    for (client, vips) in [
        (C4, ["192.0.2.10:80", "192.0.2.10:53", "192.0.2.20:80", "192.0.2.30:80"]),
        (C6, ["[2001:db8::10]:80", "[2001:db8::10]:53", "[2001:db8::21]:80", "[2001:db8::30]:80"]),
    ] {
        let v4 = client == C4;
        for vip in vips {
            let flow =
                |flags| if vip.ends_with(":53") { Frame::udp(client, vip) } else { Frame::tcp(client, vip, flags) };
            for flags in [SYN, ACK, FIN | ACK, RST] {
                frames.push((0, flow(flags).build()));
            }
            frames.push((0, flow(ACK).with(|f| f.payload = vec![1; 1460]).build()));
            frames.push((0, flow(ACK).with(|f| f.ttl = 1).build()));
            let options = if v4 { (0, vec![1; 8]) } else { (60, vec![6, 0, 1, 4, 0, 0, 0, 0]) };
            frames.push((0, flow(ACK).with(|f| (f.options, f.vlan) = (options, vec![0])).build()));
            let quote = Frame::ack(vip, client).packet();
            let host = |text: &str| end(text).0.to_string();
            frames.push((
                0,
                if v4 {
                    icmp4("203.0.113.9", &host(vip), [3, 4], [0, 0, 5, 0], &quote).build()
                } else {
                    icmp6("2001:db8:9::9", &host(vip), [2, 0], [0, 0, 5, 0], &quote).build()
                },
            ));
        }
        for n in [1, 2] {
            let backend = if v4 { format!("10.1.0.{n}:8080") } else { format!("[fd01::{n}]:8080") };
            frames.push((1, Frame::tcp(&backend, client, SYN | ACK).on_lan(backend_mac(n)).build()));
            frames.push((1, Frame::udp(&backend, client).on_lan(backend_mac(n)).build()));
            let quote = Frame::tcp(client, &backend, SYN).packet();
            frames.push((
                1,
                if v4 {
                    icmp4("10.1.0.1", "198.51.100.7", [3, 3], [0; 4], &quote).on_lan(backend_mac(n)).build()
                } else {
                    icmp6("fd01::1", "2001:db8:c::7", [1, 4], [0; 4], &quote).on_lan(backend_mac(n)).build()
                },
            ));
        }
    }
    frames.push((0, icmp4("198.51.100.7", "192.0.2.10", [8, 0], [0; 4], b"ping").build()));
    frames.push((0, icmp6("2001:db8:c::7", "2001:db8::10", [128, 0], [0; 4], b"ping").build()));
    frames.push((0, arp(1, ROUTER, "10.0.0.1", "10.0.0.2")));
    frames.push((0, arp(2, ROUTER, "10.0.0.1", "10.0.0.2")));
    frames.push((0, neighbor_message("fd00::77", "ff02::1:ff00:2", 135, 0, "fd00::2", Some((1, ROUTER))).build()));
    frames.push((0, neighbor_message("fd00::77", "fd00::2", 136, 0x60, "fd00::77", Some((2, ROUTER))).build()));
    frames
}

/// What is done to a frame.
#[derive(Clone, Debug)]
pub(super) enum Change {
    Byte(usize, u8),
    Cut(usize),
    Insert(usize, Vec<u8>),
    Remove(usize, usize),
    MendIpv4,
}

pub(super) fn change() -> impl Strategy<Value = Change> {
    let at = || prop_oneof![4 => 0usize..80, 1 => 0usize..1600];
    prop_oneof![
        6 => (at(), any::<u8>()).prop_map(|(at, value)| Change::Byte(at, value)),
        1 => at().prop_map(Change::Cut),
        1 => (at(), prop::collection::vec(any::<u8>(), 0..12)).prop_map(|(at, bytes)| Change::Insert(at, bytes)),
        1 => (at(), 0usize..12).prop_map(|(at, n)| Change::Remove(at, n)),
        4 => Just(Change::MendIpv4),
    ]
}

pub(super) fn apply(frame: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Byte(at, value) => {
            if let Some(byte) = frame.get_mut(*at) {
                *byte = *value;
            }
        }
        Change::Cut(at) => frame.truncate(*at),
        Change::Insert(at, bytes) => {
            let at = (*at).min(frame.len());
            frame.splice(at..at, bytes.iter().copied());
        }
        Change::Remove(at, n) => {
            let at = (*at).min(frame.len());
            frame.drain(at..(at + n).min(frame.len()));
        }
        // Else nearly every change would end at the header checksum.
        Change::MendIpv4 => {
            if frame.len() >= 34 && frame[12..14] == [8, 0] {
                let header_len = (usize::from(frame[14] & 15) * 4).clamp(20, frame.len() - 14);
                frame[24..26].fill(0);
                let check = internet_checksum(&[&frame[14..14 + header_len]]);
                frame[24..26].copy_from_slice(&check.to_be_bytes());
            }
        }
    }
}

/// What must hold for whatever leaves.
fn check(net: &Net, sent: &Sent) {
    let (port, frame) = match sent.verdict {
        Verdict::Tx(port) | Verdict::Reply(port) => (port, &sent.frame),
        _ => return,
    };
    let own = net.snapshot.port(port).unwrap();
    assert_eq!(frame[6..12], own.mac.0, "from our MAC address");
    assert_ne!(frame[..6], own.mac.0, "not to ourselves");
    if frame[12..14] == [8, 0] {
        let header_len = usize::from(frame[14] & 15) * 4;
        assert_eq!(internet_checksum(&[&frame[14..14 + header_len]]), 0);
        assert!(usize::from(u16::from_be_bytes([frame[16], frame[17]])) <= usize::from(own.mtu));
        assert_ne!(frame[22], 0, "TTL 0 is never sent");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn mutated_frames_have_one_verdict_each(
        steps in prop::collection::vec((any::<prop::sample::Index>(), prop::collection::vec(change(), 0..6), 0u64..40), 1..60),
        n in 1u16..4,
        connections in prop_oneof![Just(3usize), Just(1000)],
    ) {
        let seeds = seeds();
        let mut all = all_modes();
        all.workers = n;
        all.ports[1].neighbors.truncate(10);
        let mut net = Net::with_connections(all, connections);
        for (which, changes, pause) in steps {
            let (port, seed) = &seeds[which.index(seeds.len())];
            let mut frame = seed.clone();
            for change in &changes {
                apply(&mut frame, change);
            }
            if pause > 30 {
                net.pass_s(pause);
            }
            let sent = net.send(*port, &frame);
            check(&net, &sent);
            for shard in &mut net.shards {
                prop_assert!(shard.counters.connections_active.get() <= connections as u64);
                shard.outbox.clear();
                shard.settled.clear();
                shard.learned.clear();
            }
        }
        net.figures();
        net.pass_s(40_000);
        prop_assert_eq!(net.active(), 0);
        prop_assert!(net.figures().keys().all(|k| !k.starts_with("connections ")));
    }

    #[test]
    fn random_bytes_have_one_verdict_each(
        frames in prop::collection::vec((0u8..3, prop::collection::vec(any::<u8>(), 0..200), 0usize..8), 1..32),
    ) {
        let mut net = Net::new(all_modes());
        let packets: Vec<_> = frames
            .into_iter()
            .map(|(port, mut bytes, head)| {
                // Most with a head that gets them past the first look.
                let types = [[8, 0, 0x45], [0x86, 0xdd, 0x60], [8, 6, 0], [0x81, 0, 0]];
                if let (Some(kind), true) = (types.get(head), bytes.len() > 20) {
                    bytes[..6].copy_from_slice(&WAN.0);
                    bytes[12..15].copy_from_slice(kind);
                    apply(&mut bytes, &Change::MendIpv4);
                }
                TestPacket::new(port, &bytes)
            })
            .collect();
        for sent in net.burst(0, Origin::Port, &packets) {
            check(&net, &sent);
        }
        net.figures();
    }

    #[test]
    fn headers_in_the_first_piece_alone_are_enough(which in any::<prop::sample::Index>(), cut in 0usize..200) {
        let seeds = seeds();
        let (port, seed) = &seeds[which.index(seeds.len())];
        let mut net = Net::new(all_modes());
        let whole = Pieces { first: TestPacket::new(*port, seed), more: 0 };
        let cut = cut.min(seed.len());
        let pieces = Pieces { first: TestPacket::new(*port, &seed[..cut]), more: seed.len() - cut };
        let mut packets = [whole, pieces];
        let mut verdicts = [Verdict::Drop(DropReason::RingFull); 2];
        let n = process(&mut net.shards[0], &net.snapshot, net.now, Origin::Port, |p| p.first.port, &mut packets, &mut verdicts).count;
        prop_assert_eq!(n, 2);
        let [whole, pieces] = &packets;
        if let (Verdict::Tx(_), Verdict::Tx(_)) = (verdicts[0], verdicts[1]) {
            prop_assert_eq!(whole.frame_len(), pieces.frame_len());
            let have = pieces.bytes().len();
            prop_assert_eq!(&whole.bytes()[..have], pieces.bytes());
        }
        prop_assert_ne!(verdicts[1], Verdict::Drop(DropReason::RingFull));
    }
}

/// A frame of which only the first piece can be read, as a chained mbuf is.
#[derive(Clone)]
pub(super) struct Pieces {
    pub(super) first: TestPacket,
    pub(super) more: usize,
}

impl Packet for Pieces {
    fn bytes(&self) -> &[u8] {
        self.first.bytes()
    }
    fn bytes_mut(&mut self) -> &mut [u8] {
        self.first.bytes_mut()
    }
    fn frame_len(&self) -> usize {
        self.first.frame_len() + self.more
    }
    fn grow_front(&mut self, n: usize) -> bool {
        self.first.grow_front(n)
    }
    fn shrink_front(&mut self, n: usize) {
        self.first.shrink_front(n);
    }
    fn truncate(&mut self, len: usize) {
        let have = self.first.frame_len();
        self.more = self.more.min(len.saturating_sub(have));
        self.first.truncate(len);
    }
}

#[test]
fn no_more_packets_are_taken_than_there_are_places_for_verdicts() {
    let mut net = Net::new(all_modes());
    let mut packets: Vec<_> = (0..40)
        .map(|n| TestPacket::new(0, &Frame::syn(&format!("198.51.100.7:{}", 1000 + n), "192.0.2.20:80").build()))
        .collect();
    let mut verdicts = vec![Verdict::Drop(DropReason::RingFull); 40];
    let run = |net: &mut Net, packets: &mut [TestPacket], verdicts: &mut [Verdict]| {
        process(&mut net.shards[0], &net.snapshot, net.now, Origin::Port, |p| p.port, packets, verdicts).count
    };
    assert_eq!(run(&mut net, &mut packets, &mut verdicts), 32);
    assert!(verdicts[..32].iter().all(|v| matches!(v, Verdict::Tx(_))));
    assert!(verdicts[32..].iter().all(|&v| v == Verdict::Drop(DropReason::RingFull)));
    assert_eq!(run(&mut net, &mut packets[32..], &mut verdicts[..3]), 3);
    assert_eq!(net.active(), 35);
    assert_eq!(run(&mut net, &mut [], &mut verdicts), 0);
    assert_eq!(run(&mut net, &mut packets, &mut []), 0);
}
