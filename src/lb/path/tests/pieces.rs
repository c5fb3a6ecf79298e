//! Frames in pieces, split anywhere: the same verdicts, bytes and counters as in one piece.

use proptest::prelude::*;

use super::fuzz::{apply, change, seeds};
use crate::lb::packet::Packet;
use crate::lb::path::{BURST, Origin, process};
use crate::lb::testing::*;
use crate::lb::verdict::{DropReason, Verdict};

/// What came of some frames: verdicts, and the bytes of what is sent.
type Fates = Vec<(Verdict, Vec<u8>)>;

/// Frames through worker 0 in one burst, each cut at its places.
fn burst(net: &mut Net, frames: &[(u8, Vec<u8>, Vec<usize>)]) -> Fates {
    let mut packets: Vec<_> = frames.iter().map(|(port, frame, cuts)| Chain::new(*port, frame, cuts)).collect();
    let mut verdicts = [Verdict::Drop(DropReason::RingFull); BURST];
    let shard = &mut net.shards[0];
    let done = process(shard, &net.snapshot, net.now, Origin::Port, |p| p.port, &mut packets, &mut verdicts);
    assert_eq!(done.count, frames.len());
    let fate = |(packet, verdict): (&Chain, &Verdict)| {
        let is_gone = matches!(verdict, Verdict::Drop(_));
        (*verdict, if is_gone { Vec::new() } else { packet.whole() })
    };
    packets.iter().zip(&verdicts).map(fate).collect()
}

/// Counters that the packet path itself counts, of both.
fn counters(net: &Net) -> [u64; 6] {
    let c = &net.shards[0].counters;
    [&c.connections_created, &c.connections_active, &c.stateless, &c.adopted, &c.originated, &c.connections_expired]
        .map(crate::lb::counters::Counter::get)
}

/// The frames whole through one balancer, in pieces through another.
fn both_ways(frames: &[(u8, Vec<u8>, Vec<usize>)], workers: u16) {
    let net = || {
        let mut all = all_modes();
        all.workers = workers;
        Net::new(all)
    };
    let (mut whole, mut split) = (net(), net());
    for frames in frames.chunks(BURST) {
        let uncut: Vec<_> = frames.iter().map(|(port, frame, _)| (*port, frame.clone(), Vec::new())).collect();
        let (a, b) = (burst(&mut whole, &uncut), burst(&mut split, frames));
        for ((a, b), frame) in a.iter().zip(&b).zip(frames) {
            assert_eq!(a, b, "{frame:02x?}");
        }
    }
    assert_eq!(counters(&whole), counters(&split));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_split_of_any_frame_makes_no_difference(
        steps in prop::collection::vec(
            (
                any::<prop::sample::Index>(),
                prop::collection::vec(change(), 0..3),
                prop::collection::vec(prop_oneof![6 => 0usize..90, 2 => 0usize..1600], 0..8),
            ),
            1..60,
        ),
        workers in 1u16..3,
    ) {
        let seeds = seeds();
        let frames: Vec<_> = steps
            .into_iter()
            .map(|(which, changes, cuts)| {
                let (port, mut frame) = seeds[which.index(seeds.len())].clone();
                changes.iter().for_each(|change| apply(&mut frame, change));
                (port, frame, cuts)
            })
            .collect();
        both_ways(&frames, workers);
    }
}

#[test]
fn every_seed_is_the_same_at_every_split() {
    for (port, frame) in seeds() {
        let cuts = 0..=frame.len().min(120);
        let one_cut = cuts.clone().map(|cut| vec![cut]);
        let both = cuts.map(|cut| vec![cut, cut, cut + 1]);
        let frames: Vec<_> = one_cut.chain(both).map(|cuts| (port, frame.clone(), cuts)).collect();
        // The first is cut nowhere, so that all find the same state.
        both_ways(&[&[(port, frame.clone(), Vec::new())][..], &frames].concat(), 1);
    }
}

/// More than is walked is not gathered either, and has the same reason.
#[test]
fn headers_that_are_too_long_are_so_in_pieces() {
    let options = [&[6, 0xb8, 1, 4][..], &[0; 1476]].concat();
    let frame = Frame::ack("[2001:db8:c::7]:40000", "[2001:db8::10]:80").with(|f| f.options = (0, options)).build();
    let whole = burst(&mut Net::new(all_modes()), &[(0, frame.clone(), Vec::new())]);
    assert_eq!(whole[0].0, Verdict::Drop(DropReason::Ip6Extension));
    both_ways(&[(0, frame.clone(), vec![0]), (0, frame, vec![60])], 1);
}

#[test]
fn single_bytes_are_enough() {
    let every_byte: Vec<usize> = (0..200).collect();
    let frames: Vec<_> = seeds().into_iter().map(|(port, frame)| (port, frame, every_byte.clone())).collect();
    both_ways(&frames, 1);
}

#[test]
fn jumbo_frames_in_pieces_of_a_buffer_keep_their_content() {
    let mut all = all_modes();
    all.ports.iter_mut().for_each(|port| port.mtu = 9000);
    let payload: Vec<u8> = (0..8700_u32).map(|n| (n / 7) as u8).collect();
    for vip in ["192.0.2.10:53", "192.0.2.20:53", "[2001:db8::10]:53", "[2001:db8::21]:53"] {
        let client = if vip.starts_with('[') { "[2001:db8:c::7]:40000" } else { "198.51.100.7:40000" };
        let frame = Frame::udp(client, vip).with(|f| f.payload.clone_from(&payload)).build();
        let (mut whole, mut split) = (Net::new(all.clone()), Net::new(all.clone()));
        for cuts in [vec![2048, 4096, 6144, 8192], vec![14, 2000], vec![0, 3, 20, 20, 44, 8000]] {
            let a = burst(&mut whole, &[(0, frame.clone(), Vec::new())]);
            let b = burst(&mut split, &[(0, frame.clone(), cuts)]);
            assert!(matches!(a[0].0, Verdict::Tx(_)), "{vip}: {:?}", a[0].0);
            assert_eq!(a, b);
            assert!(b[0].1.ends_with(&payload));
        }
    }
}

#[test]
fn a_message_that_no_buffer_holds_is_dropped() {
    let mut all = all_modes();
    all.ports.iter_mut().for_each(|port| port.mtu = 9000);
    let mut net = Net::new(all);
    let ping = icmp4("198.51.100.7", "192.0.2.10", [8, 0], [0, 1, 0, 1], &[7; 5000]).build();
    let fates = burst(&mut net, &[(0, ping.clone(), vec![2048, 4096]), (0, ping, Vec::new())]);
    assert_eq!(fates[0].0, Verdict::Drop(DropReason::Runt), "its checksum cannot be looked at");
    assert!(matches!(fates[1].0, Verdict::Reply(_)));
}

#[test]
fn pieces_that_hold_the_headers_are_not_copied_together() {
    let mut net = Net::new(all_modes());
    let frame = Frame::ack("198.51.100.7:40000", "192.0.2.20:80").with(|f| f.payload = vec![1; 900]).build();
    let mut packets = [Chain::new(0, &frame, &[54, 500])];
    let mut verdicts = [Verdict::Drop(DropReason::RingFull)];
    process(&mut net.shards[0], &net.snapshot, net.now, Origin::Port, |p| p.port, &mut packets, &mut verdicts);
    assert!(matches!(verdicts[0], Verdict::Tx(_)));
    assert_eq!(packets[0].bytes().len(), 14 + 24 + 40);
}
