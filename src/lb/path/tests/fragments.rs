//! Datagrams in fragments: one backend for all of each, whatever their order and whichever workers they come to.

use std::sync::Arc;

use proptest::prelude::*;

use crate::lb::clock::Now;
use crate::lb::fragments::Fragments;
use crate::lb::hash::HashKey;
use crate::lb::ids::{PortId, WorkerId};
use crate::lb::path::Origin;
use crate::lb::snapshot::SnapshotSpec;
use crate::lb::steer::Rss;
use crate::lb::testing::*;
use crate::lb::toeplitz::{MICROSOFT_KEY, Reta, Toeplitz};
use crate::lb::verdict::{DropReason, Verdict};

const C4: &str = "198.51.100.7:40000";
const C6: &str = "[2001:db8:c::7]:40000";
const NAT4: &str = "192.0.2.10:53";
const NAT6: &str = "[2001:db8::10]:53";
const GRE4: &str = "192.0.2.20:53";

/// Whether the NIC has a say in who gets a packet: not at all, as it tells, or as it does not tell.
#[derive(Clone, Copy, Debug)]
enum Nic {
    Plain,
    Tells,
    Silent,
}

fn network(workers: u16, nic: Nic) -> SnapshotSpec {
    let mut spec = all_modes();
    spec.workers = workers;
    for port in &mut spec.ports {
        port.is_placed = !matches!(nic, Nic::Plain);
        port.rss = matches!(nic, Nic::Tells).then(|| {
            Arc::new(Rss {
                toeplitz: Toeplitz::new(&MICROSOFT_KEY).unwrap(),
                reta: Reta::in_turn(128, workers).unwrap(),
                queue_workers: (0..workers).map(WorkerId).collect(),
            })
        });
    }
    spec
}

/// Where the NIC gives whole packets of a flow to, if that matters.
fn queue(spec: &SnapshotSpec, frame: &Frame, anywhere: u16) -> u16 {
    let rss = spec.ports[0].rss.as_ref();
    let worker = rss.and_then(|rss| rss.worker(frame.src.0, frame.dst.0, frame.src.1, frame.dst.1));
    worker.map_or(anywhere % spec.workers, |worker| worker.0)
}

/// The IP packet in a frame that came out, or in its tunnel.
fn inner(sent: &Sent) -> Vec<u8> {
    let (_, frame) = sent.tx();
    match frame[14] >> 4 {
        4 if frame[23] == 47 => frame[38..].to_vec(),
        6 if frame[20] == 47 => frame[58..].to_vec(),
        _ => frame[14..].to_vec(),
    }
}

/// The MAC address, and in a tunnel the outer destination: what differs between backends.
fn backend(sent: &Sent) -> Vec<u8> {
    let (_, frame) = sent.tx();
    let outer = match frame[14] >> 4 {
        4 if frame[23] == 47 => &frame[30..34],
        6 if frame[20] == 47 => &frame[38..54],
        _ => &[],
    };
    [&frame[..6], outer].concat()
}

fn payload(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 7 + i / 251) as u8).collect()
}

const SERVICES: [(&str, &str, u8); 8] = [
    (C4, NAT4, 17),
    (C6, NAT6, 17),
    (C4, GRE4, 17),
    (C6, "[2001:db8::21]:53", 17),
    (C4, "192.0.2.10:80", 6),
    (C6, "[2001:db8::20]:80", 6),
    (C4, "192.0.2.30:80", 6),
    (C6, "[2001:db8::30]:80", 6),
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn all_fragments_of_a_datagram_go_with_its_connection(
        workers in 1u16..6,
        nic in prop_oneof![Just(Nic::Plain), Just(Nic::Tells), Just(Nic::Silent)],
        service in 0usize..SERVICES.len(),
        (order, arrivals) in (2usize..9).prop_flat_map(|n| {
            let order = (0..n).collect::<Vec<_>>();
            (Just(order).prop_shuffle(), prop::collection::vec(0u16..64, n))
        }),
        again in prop::option::of(0usize..9),
        known: bool,
        anywhere: u16,
    ) {
        let (client, vip, protocol) = SERVICES[service];
        let spec = network(workers, nic);
        let of_flow = |flags| {
            if protocol == 6 { Frame::tcp(client, vip, flags) } else { Frame::udp(client, vip) }
        };
        let step = 1200;
        let whole = of_flow(0x10).with(|f| f.payload = payload(step * order.len() - 321));
        let queue = queue(&spec, &whole, anywhere);
        let mut net = Net::new(spec);
        // NAT knows of TCP connections only from their beginning.
        let known = known || protocol == 6;
        let before = known.then(|| net.send_to(queue, 0, &of_flow(2).build()));
        let pieces = fragments(&whole, step, 77);
        prop_assert_eq!(pieces.len(), order.len());
        let mut sent = Vec::new();
        for (at, (&which, &worker)) in order.iter().zip(&arrivals).enumerate() {
            sent.extend(net.fragment(worker % workers, 0, &pieces[which]));
            if again == Some(at) {
                sent.extend(net.fragment(anywhere % workers, 0, &pieces[which]));
            }
        }
        let expected = pieces.len() + usize::from(again.is_some_and(|at| at < pieces.len()));
        prop_assert_eq!(sent.len(), expected);
        prop_assert!(net.waiting.iter().all(|w| w.is_empty()));
        // A connection that opened with its fragments is where those were, unless the NIC's own choice is unknown.
        let after = if matches!(nic, Nic::Silent) { None } else { Some(net.send_to(queue, 0, &of_flow(0x10).build())) };
        let (first, sent_by) = (backend(&sent[0]), sent[0].worker);
        for sent in &sent {
            for whole in before.iter().chain(&after) {
                prop_assert_eq!(backend(sent), backend(whole));
                prop_assert_eq!(sent.worker, whole.worker);
            }
            prop_assert_eq!((backend(sent), sent.worker), (first.clone(), sent_by));
        }
        let out: Vec<Vec<u8>> = sent.iter().map(inner).collect();
        let together = reassembled(&out);
        prop_assert!(l4_checksum_is_right(&whole.frame_with(&together)));
        let is_nat = vip == NAT4 || vip == NAT6 || vip == "192.0.2.10:80";
        if !is_nat {
            for packet in &out {
                prop_assert!(pieces.iter().any(|piece| piece.ends_with(packet)), "changed");
            }
        }
        prop_assert!(together.ends_with(&whole.payload));
        let figures = net.figures();
        prop_assert_eq!((figures["created"], figures.get("held")), (1, None));
    }

    /// Answers through NAT come in fragments as well, and are from the VIP.
    #[test]
    fn replies_in_fragments_come_from_the_vip(
        workers in 1u16..6, v6: bool, reverse: bool, arrivals in prop::array::uniform4(0u16..64),
    ) {
        let mut net = Net::new(network(workers, Nic::Plain));
        let (client, vip) = if v6 { (C6, NAT6) } else { (C4, NAT4) };
        let request = net.send(0, &Frame::udp(client, vip).build());
        let number = if v6 { request.tx().1[53] } else { request.tx().1[33] };
        let from = if v6 { format!("[fd01::{number}]:8080") } else { format!("10.1.0.{number}:8080") };
        let answer = Frame::udp(&from, client).with(|f| f.payload = payload(4000)).on_lan(backend_mac(number));
        let mut pieces = fragments(&answer, 1400, 9);
        if reverse {
            pieces.reverse();
        }
        let mut sent = Vec::new();
        for (piece, worker) in pieces.iter().zip(arrivals) {
            sent.extend(net.fragment(worker % workers, 1, piece));
        }
        prop_assert!(sent.iter().all(|sent| sent.worker == request.worker && sent.tx().0 == 0));
        let together = reassembled(&sent.iter().map(inner).collect::<Vec<_>>());
        let expected = Frame::udp(vip, client).with(|f| {
            (f.payload, f.df, f.ttl, f.id) = (payload(4000), false, 63, 9);
        });
        prop_assert_eq!(together, expected.packet());
    }
}

fn one_worker() -> Net {
    Net::new(network(1, Nic::Plain))
}

/// What became of each.
fn verdicts(net: &mut Net, frames: &[Vec<u8>]) -> Vec<Verdict> {
    frames.iter().flat_map(|frame| net.fragment(0, 0, frame)).map(|sent| sent.verdict).collect()
}

fn udp(vip: &str, len: usize) -> Frame {
    let client = if vip.starts_with('[') { C6 } else { C4 };
    Frame::udp(client, vip).with(|f| f.payload = payload(len))
}

#[test]
fn what_waits_goes_out_in_order_as_soon_as_the_first_fragment_has_come() {
    for vip in [NAT4, NAT6, GRE4] {
        let mut net = one_worker();
        let mut pieces = fragments(&udp(vip, 6900), 1200, 5);
        pieces.rotate_left(1);
        for piece in &pieces[..5] {
            let (sent, changes) = net.changes(|net| net.send(0, piece));
            assert!(matches!(sent.verdict, Verdict::Await(_)), "{:?}", sent.verdict);
            assert_eq!(changes, [("held".to_owned(), 1)].into());
        }
        let sent = net.fragment(0, 0, &pieces[5]);
        let data = |packet: Vec<u8>| packet[packet.len() - 100..].to_vec();
        let got: Vec<_> = sent.iter().map(|sent| data(inner(sent))).collect();
        pieces.rotate_right(1);
        assert_eq!(got, pieces.iter().map(|piece| data(piece.clone())).collect::<Vec<_>>());
        assert_eq!(net.shards[0].counters.fragments_waiting.get(), 0);
    }
}

#[test]
fn fragments_whose_first_one_never_comes_time_out() {
    let mut net = one_worker();
    let pieces = fragments(&udp(GRE4, 6000), 1200, 5);
    assert!(verdicts(&mut net, &pieces[1..]).is_empty());
    net.pass_s(1);
    assert_eq!(net.figures()["drop fragment_timeout"], 5);
    assert_eq!(net.figures().get("held"), None);
    // The first one is welcome all the same, and what comes behind it.
    assert!(net.send(0, &pieces[0]).tx().0 == 1);
    assert!(net.send(0, &pieces[1]).tx().0 == 1);
    net.pass_s(16);
    assert!(matches!(net.send(0, &pieces[2]).verdict, Verdict::Await(_)), "15 seconds are over");
}

#[test]
fn overlaps_end_a_datagram() {
    for (vip, client, rests_s) in [(GRE4, C4, 2), ("[2001:db8::21]:53", C6, 61)] {
        let pieces = fragments(&udp(vip, 6000), 1200, 5);
        let cross = |at, len, more| Frame::later(client, vip, 5, at, len, more);
        for bad in [cross(1208, 1200, true), cross(0, 8, true), cross(2400, 1208, true), cross(1200, 1200, false)] {
            let mut net = one_worker();
            assert_eq!(verdicts(&mut net, &pieces[..3]).len(), 3);
            // At offset 0 it would have ports, and cannot be short of them.
            if bad[34..] == cross(0, 8, true)[34..] {
                continue;
            }
            net.expect_drop(0, &bad, DropReason::FragmentOverlap);
            net.expect_drop(0, &pieces[3], DropReason::FragmentOverlap);
            net.expect_drop(0, &pieces[0], DropReason::FragmentOverlap);
            // Other datagrams do not suffer.
            assert_eq!(verdicts(&mut net, &fragments(&udp(vip, 6000), 1200, 6)).len(), 6);
            net.pass_s(rests_s);
            assert!(matches!(net.send(0, &pieces[0]).verdict, Verdict::Tx(_)));
        }
    }
}

#[test]
fn what_waits_is_dropped_with_its_datagram() {
    let mut net = one_worker();
    let pieces = fragments(&udp(NAT6, 6000), 1200, 5);
    assert!(verdicts(&mut net, &pieces[2..]).is_empty());
    let sent = net.fragment(0, 0, &Frame::later(C6, NAT6, 5, 2408, 1200, true));
    assert_eq!(sent.len(), 5);
    assert!(sent.iter().all(|sent| sent.dropped() == DropReason::FragmentOverlap));
    net.expect_drop(0, &pieces[0], DropReason::FragmentOverlap);
}

#[test]
fn exact_duplicates_pass() {
    for vip in [NAT4, NAT6] {
        let mut net = one_worker();
        let pieces = fragments(&udp(vip, 6000), 1200, 5);
        let mut twice: Vec<_> = pieces.iter().flat_map(|piece| [piece.clone(), piece.clone()]).collect();
        twice.extend(pieces[3..].iter().cloned());
        assert_eq!(verdicts(&mut net, &twice), vec![Verdict::Tx(PortId(1)); 15]);
    }
}

/// IPv4 identifications come round within seconds at a high rate (RFC 4963).
#[test]
fn an_identification_may_come_again() {
    let mut net = one_worker();
    for port in 1..200 {
        let client = format!("198.51.100.7:{port}");
        let whole = Frame::udp(&client, NAT4).with(|f| f.payload = payload(3000 + port * 8));
        let pieces = fragments(&whole, 1200, 5);
        // Every third datagram loses its last fragment on the way.
        let some = &pieces[..pieces.len() - usize::from(port % 3 == 0)];
        let sent: Vec<_> = some.iter().flat_map(|piece| net.fragment(0, 0, piece)).collect();
        assert_eq!(sent.len(), some.len());
        let first = backend(&sent[0]);
        assert!(sent.iter().all(|sent| backend(sent) == first), "{port}");
    }
}

#[test]
fn fragments_that_are_not_for_services_are_dropped() {
    let mut net = one_worker();
    let later = |dst: &str| Frame::later(if dst.starts_with('[') { C6 } else { C4 }, dst, 5, 1200, 64, true);
    net.expect_drop(0, &later("10.0.0.2:53"), DropReason::Fragment);
    let ping = icmp4("198.51.100.7", "192.0.2.10", [8, 0], [0; 4], &payload(3000));
    for piece in fragments(&ping, 1200, 5) {
        net.expect_drop(0, &piece, DropReason::Fragment);
    }
    let ping = icmp6("2001:db8:c::7", "2001:db8::10", [128, 0], [0; 4], &payload(3000));
    for piece in fragments(&ping, 1200, 5) {
        net.expect_drop(0, &piece, DropReason::Fragment);
    }
    let other = Frame::udp(C4, NAT4).with(|f| (f.protocol, f.payload) = (132, payload(3000)));
    for piece in fragments(&other, 1200, 5) {
        net.expect_drop(0, &piece, DropReason::Fragment);
    }
    // Nothing is served on the port, as the first fragment shows.
    let pieces = fragments(&udp("192.0.2.10:99", 3000), 1200, 5);
    assert!(verdicts(&mut net, &pieces[1..]).is_empty());
    let sent = net.fragment(0, 0, &pieces[0]);
    assert_eq!(sent.iter().map(Sent::dropped).collect::<Vec<_>>(), [DropReason::NoService; 3]);
    let mut spec = network(1, Nic::Plain);
    spec.services.retain(|service| !service.mode.is_nat());
    let mut net = Net::new(spec);
    net.expect_drop(0, &later("203.0.113.1:53"), DropReason::NotOurs);
}

#[test]
fn fragments_that_nobody_makes_are_dropped() {
    let mut net = one_worker();
    for frame in [
        Frame::later(C4, NAT4, 5, 1200, 60, true),
        Frame::later(C6, NAT6, 5, 1200, 60, true),
        Frame::later(C4, NAT4, 5, 1200, 0, false),
        Frame::later(C4, NAT4, 5, 65_528, 8, false),
        Frame::later(C6, NAT6, 5, 65_528, 8, true),
    ] {
        net.expect_drop(0, &frame, DropReason::FragmentInvalid);
    }
    for run in 0..32 {
        assert!(matches!(net.send(0, &Frame::later(C4, NAT4, 6, 16 + run * 16, 8, true)).verdict, Verdict::Await(_)));
    }
    net.expect_drop(0, &Frame::later(C4, NAT4, 6, 1200, 8, true), DropReason::FragmentInvalid);
}

/// In IPv6 the first fragment may have options before the upper layer, which the later ones do not show.
#[test]
fn options_behind_the_fragment_header_are_walked() {
    let mut net = one_worker();
    let options = [&[17, 1, 1, 12][..], &[0; 12]].concat();
    let whole = udp(NAT6, 3000).with(|f| f.options = (60, options));
    let mut pieces = fragments(&whole, 1200, 5);
    pieces.rotate_left(1);
    let sent: Vec<_> = pieces.iter().flat_map(|piece| net.fragment(0, 0, piece)).collect();
    assert_eq!(sent.len(), 3);
    let together = reassembled(&sent.iter().map(inner).collect::<Vec<_>>());
    checksums_are_right(&whole.frame_with(&together));
}

#[test]
fn a_fragment_that_does_not_fit_is_told_of_once() {
    let mut net = one_worker();
    let vip = "[2001:db8::21]:53";
    let pieces = fragments(&udp(vip, 4000), 1440, 5);
    assert_eq!(net.send(0, &pieces[0]).reply()[54], 2, "packet too big");
    net.expect_drop(0, &pieces[1], DropReason::TooBig);
    let pieces = fragments(&udp(GRE4, 4000), 1480, 5);
    // Without DF a fragment is sent in pieces itself.
    assert_eq!(verdicts(&mut net, &pieces[..2]), [Verdict::Fragment(PortId(1)); 2]);
}

#[test]
fn no_error_is_sent_about_a_later_fragment_whose_ttl_is_over() {
    let mut net = one_worker();
    let pieces = fragments(&udp(NAT4, 4000).with(|f| f.ttl = 1), 1200, 5);
    assert_eq!(net.send(0, &pieces[0]).reply()[34], 11, "time exceeded");
    net.expect_drop(0, &pieces[1], DropReason::TtlExceeded);
}

#[test]
fn without_the_map_all_fragments_are_dropped() {
    let mut net = one_worker();
    net.shards[0].fragments = Fragments::new(0, HashKey::from_bytes([1; 16]));
    for piece in fragments(&udp(NAT4, 4000), 1200, 5) {
        net.expect_drop(0, &piece, DropReason::Fragment);
    }
}

/// A million fragments without their first ones: whole packets, and datagrams that come in order or nearly so, go their way,
/// and nothing grows.
#[test]
fn a_flood_of_orphans_leaves_other_traffic_alone() {
    let mut net = one_worker();
    net.shards[0].fragments = Fragments::new(4096, HashKey::from_bytes([1; 16]));
    let template = Frame::later("203.0.113.1:0", NAT4, 1, 1480, 64, true);
    // Another sender each, and another identification.
    let orphan = |k: u32| {
        let mut frame = template.clone();
        frame[18..20].copy_from_slice(&((k >> 16) as u16).to_be_bytes());
        frame[28..30].copy_from_slice(&(k as u16).to_be_bytes());
        frame[24..26].fill(0);
        let check = internet_checksum(&[&frame[14..34]]);
        frame[24..26].copy_from_slice(&check.to_be_bytes());
        frame
    };
    let is_tx = |verdict: &Verdict| matches!(verdict, Verdict::Tx(_));
    let established: Vec<_> = (1..64).map(|port| format!("198.51.100.8:{port}")).collect();
    for client in &established {
        net.send(0, &Frame::syn(client, "192.0.2.10:80").build()).tx();
    }
    let flood = |net: &mut Net, from: u32, n: u32| {
        for start in (from..from + n).step_by(32) {
            let orphans: Vec<_> = (start..start + 32).map(|k| TestPacket::new(0, &orphan(k))).collect();
            for sent in net.burst(0, Origin::Port, &orphans) {
                assert!(matches!(
                    sent.verdict,
                    Verdict::Await(_) | Verdict::Drop(DropReason::FragmentTableFull | DropReason::FragmentQueueFull)
                ));
            }
        }
    };
    let begun = fragments(&udp(NAT4, 4000), 1200, 50_000);
    net.send(0, &begun[0]).tx();
    let (rounds, mut late) = (1_000_000 / 16_384, 0);
    for round in 0..rounds {
        flood(&mut net, round * 16_384, 16_384);
        assert!(net.waiting[0].len() <= 256);
        for client in &established {
            net.send(0, &Frame::ack(client, "192.0.2.10:80").build()).tx();
        }
        assert!(verdicts(&mut net, &fragments(&udp(NAT4, 4000), 1200, 20_000 + round)).iter().all(is_tx));
        // Two fragments change places, with a burst of the flood between them. It may push out what waits, but rarely.
        let mut pieces = fragments(&udp(NAT4, 4000), 1200, 30_000 + round);
        pieces.swap(0, 1);
        let mut sent = verdicts(&mut net, &pieces[..1]);
        flood(&mut net, 0x4000_0000 + round * 32, 32);
        sent.extend(verdicts(&mut net, &pieces[1..]));
        assert!(sent.iter().all(is_tx), "round {round}");
        late += pieces.len() - sent.len();
    }
    assert!(late <= 6, "{late} of {rounds} fragments that came too early are lost");
    // A datagram that had begun before the flood.
    assert!(verdicts(&mut net, &begun[1..]).iter().all(is_tx));
    assert_eq!(net.shards[0].fragments.capacity(), 4096);
    net.pass_s(2);
    let figures = net.figures();
    assert_eq!(figures.get("held"), None);
    let lost: i64 = ["timeout", "queue_full", "table_full"]
        .iter()
        .filter_map(|reason| figures.get(&format!("drop fragment_{reason}")))
        .sum();
    assert_eq!(lost, i64::from(rounds * (16_384 + 32)) + late as i64);
}

/// More datagrams begin than there is room for: the oldest give way, whole packets do not notice.
#[test]
fn a_flood_of_first_fragments_pushes_out_the_oldest() {
    let mut net = one_worker();
    let first = |k: u32| {
        let client = format!("203.0.113.{}:{}", k % 250, 1000 + k);
        fragments(&Frame::udp(&client, GRE4).with(|f| f.payload = payload(3000)), 1200, k)
    };
    for k in 0..5_000 {
        net.now = Now::from_ns(net.now.ns() + 100_000);
        let pieces = first(k);
        assert_eq!(verdicts(&mut net, &pieces[..2]).len(), 2);
    }
    assert!(matches!(net.send(0, &first(10)[2]).verdict, Verdict::Await(_) | Verdict::Drop(_)));
    net.send(0, &first(4_999)[2]).tx();
}

/// The memory of the buffers behind the map does not depend on what comes.
#[test]
fn a_datagram_may_have_only_so_many_waiting() {
    let mut net = one_worker();
    let mut reasons = Vec::new();
    for k in 0..70 {
        // Twice the same, so that there are few runs.
        let frame = Frame::later(C4, NAT4, 5, 1200 + k / 2 * 8, 8, true);
        if let Verdict::Drop(reason) = net.send(0, &frame).verdict {
            reasons.push(reason);
        }
    }
    assert_eq!(reasons, [DropReason::FragmentQueueFull; 6]);
    let first = fragments(&udp(NAT4, 4000), 1200, 5).remove(0);
    assert_eq!(net.fragment(0, 0, &first).len(), 65);
    assert!(net.waiting[0].is_empty());
}

/// A backend goes while a datagram is on its way: the rest goes with the connection, to where that went.
#[test]
fn a_datagram_goes_with_its_connection_over_a_reload() {
    let mut net = one_worker();
    let pieces = fragments(&udp(GRE4, 6000), 1200, 5);
    let first = net.send(0, &pieces[0]);
    let slot = usize::from(first.tx().1[33]) - 3;
    // A new backend changes the choice for new connections, not this one.
    let mut spec = all_modes();
    spec.services[5] =
        service("gre44u", spec.services[5].mode, 17, ("192.0.2.20", 53), 10, &["10.1.0.3", "10.1.0.4", "10.1.0.6"]);
    net.reload(spec.clone());
    assert_eq!(backend(&net.send(0, &pieces[1])), backend(&first));
    spec.services[5].backends[slot].serves = false;
    spec.services[5].backends[slot].admits = false;
    net.reload(spec);
    let moved = net.send(0, &pieces[2]);
    assert_ne!(backend(&moved), backend(&first));
    let whole = net.send(0, &udp(GRE4, 10).build());
    assert_eq!((backend(&moved), backend(&net.send(0, &pieces[3]))), (backend(&whole), backend(&whole)));
}
