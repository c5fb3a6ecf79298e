//! What an eye shows of bursts.

use std::sync::Arc;

use super::filter::{End, Expression, Filter, Net, Test, kind};
use super::view::{Carries, View};
use super::{Eye, Shot, Tap};
use crate::lb::clock::Now;
use crate::lb::ids::{PortId, WorkerId};
use crate::lb::packet::{HeapPacket, Packet};
use crate::lb::snapshot::Snapshot;
use crate::lb::testing::{Frame, all_modes};
use crate::lb::verdict::{DropReason, Verdict};

const CLIENT: &str = "198.51.100.7:40000";
const VIP: &str = "192.0.2.10:80";
const TX: Verdict = Verdict::Tx(PortId(1));
const DROP: Verdict = Verdict::Drop(DropReason::NoBackend);

fn host(address: &str) -> Expression {
    Expression::Test(Test::Host(End::Either, Net { address: address.parse().unwrap(), prefix: 32 }))
}

struct Bench {
    tap: Arc<Tap>,
    eye: Eye,
}

impl Bench {
    fn new(expression: &Expression, slots: usize) -> Self {
        let tap = Arc::new(Tap::new(Filter::new(expression).unwrap(), None, slots, 2000));
        tap.allow(1000, 1000);
        Self { eye: Eye::new(tap.clone(), WorkerId(3)), tap }
    }

    /// A burst whose packets the path changes to those behind them.
    #[expect(clippy::vec_box, reason = "they are slots, which are given back")]
    fn burst(&mut self, packets: &[(&[u8], &[u8], Verdict)]) -> Vec<Box<Shot>> {
        let mut burst: Vec<HeapPacket> = packets.iter().map(|(before, ..)| HeapPacket::new(before)).collect();
        let snapshot = Snapshot::build(all_modes(), None).unwrap();
        if self.eye.glance().is_some() {
            self.eye.before(&snapshot, &burst, u32::MAX);
        }
        for (packet, (_, after, _)) in burst.iter_mut().zip(packets) {
            *packet = HeapPacket::new(after);
        }
        let verdicts: Vec<Verdict> = packets.iter().map(|&(.., verdict)| verdict).collect();
        self.eye.after(Now::from_ns(77), &burst, &verdicts, false, |_| PortId(0));
        std::iter::from_fn(|| self.tap.next_shot()).collect()
    }

    fn free(&self) -> usize {
        self.tap.free.len()
    }
}

#[test]
fn packets_are_shown_as_they_came_and_as_they_left() {
    let [came, left, other] = [VIP, "10.1.0.11:8080", "192.0.2.11:80"]
        .map(|dst| Frame::syn(CLIENT, dst).with(|f| f.payload = vec![7; 200]).build());
    for address in ["192.0.2.10", "10.1.0.11"] {
        let mut bench = Bench::new(&host(address), 8);
        let shots = bench.burst(&[(&other, &other, TX), (&came, &left, TX), (&other, &other, DROP)]);
        let [shot] = &shots[..] else { panic!("{address}: {shots:?}") };
        assert_eq!((shot.at, shot.came_by, shot.worker, shot.verdict), (Now::from_ns(77), PortId(0), WorkerId(3), TX));
        assert_eq!((shot.before.frame_len, shot.after.bytes()), (came.len(), &left[..]));
        // Of what matches only as it leaves, the beginning is kept.
        let kept = if address == "192.0.2.10" { came.len() } else { 96 };
        assert_eq!(shot.before.bytes(), &came[..kept], "{address}");
    }
}

#[test]
fn verdicts_decide_with_or_without_the_frame() {
    let [a, b] = [VIP, "192.0.2.11:80"].map(|dst| Frame::syn(CLIENT, dst).build());
    let dropped = Expression::Test(Test::Verdict(kind::DROP));
    let and = |x: &Expression, y: &Expression| Expression::And(Box::new(x.clone()), Box::new(y.clone()));
    let or = |x: &Expression, y: &Expression| Expression::Or(Box::new(x.clone()), Box::new(y.clone()));
    let no_backend = Expression::Test(Test::Reason(DropReason::NoBackend));
    let runt = Expression::Test(Test::Reason(DropReason::Runt));
    let vip = host("192.0.2.10");
    for (expression, expected) in [
        (dropped.clone(), vec![1, 2]),
        (and(&dropped, &vip), vec![1]),
        (and(&vip, &no_backend), vec![1]),
        (and(&vip, &runt), vec![]),
        (or(&vip, &dropped), vec![0, 1, 2]),
        (Expression::Not(Box::new(dropped.clone())), vec![0]),
        (and(&vip, &Expression::Not(Box::new(dropped.clone()))), vec![0]),
    ] {
        let mut bench = Bench::new(&expression, 8);
        let shots = bench.burst(&[(&a, &a, TX), (&a, &a, DROP), (&b, &b, DROP)]);
        let all = [(&a, TX), (&a, DROP), (&b, DROP)];
        let found: Vec<usize> = shots
            .iter()
            .map(|shot| all.iter().position(|(frame, v)| **frame == shot.before.bytes() && *v == shot.verdict).unwrap())
            .collect();
        assert_eq!(found, expected, "{expression:?}");
        shots.into_iter().for_each(|shot| bench.tap.give_back(shot));
        let Bench { tap, eye } = bench;
        eye.close();
        assert_eq!(tap.free.len(), 8, "every slot is back: {expression:?}");
    }
}

#[test]
fn what_comes_again_is_shown_when_it_does() {
    let frame = Frame::syn(CLIENT, VIP).build();
    let handoff = Verdict::Handoff(WorkerId(1));
    assert!(Bench::new(&Expression::Test(Test::Any), 4).burst(&[(&frame, &frame, handoff)]).is_empty());
    let asked = Expression::Test(Test::Verdict(kind::HANDOFF));
    assert_eq!(Bench::new(&asked, 4).burst(&[(&frame, &frame, handoff)]).len(), 1);
}

#[test]
fn full_buffers_and_rates_are_counted_and_nothing_waits() {
    let frame = Frame::syn(CLIENT, VIP).build();
    let mut bench = Bench::new(&Expression::Test(Test::Any), 2);
    let many = vec![(&frame[..], &frame[..], TX); 30];
    assert_eq!(bench.burst(&many).len(), 2);
    assert_eq!((bench.tap.lost(), bench.tap.limited(), bench.free()), (28, 0, 0));
    let mut bench = Bench::new(&Expression::Test(Test::Any), 40);
    bench.tap.allow(0, 5);
    assert_eq!(bench.burst(&many).len(), 5);
    assert_eq!((bench.tap.lost(), bench.tap.limited()), (0, 25));
    bench.tap.allow(1000, 7);
    assert_eq!(bench.burst(&many).len(), 7);
}

#[test]
fn a_port_is_one_that_packets_come_or_leave_by() {
    let frame = Frame::syn(CLIENT, VIP).build();
    let burst = [(&frame[..], &frame[..], TX), (&frame, &frame, Verdict::Tx(PortId(2))), (&frame, &frame, DROP)];
    for (port, shown) in [(0, 3), (1, 1), (2, 1), (3, 0)] {
        let tap = Arc::new(Tap::new(Filter::new(&Expression::Test(Test::Any)).unwrap(), Some(PortId(port)), 8, 100));
        tap.allow(8, 8);
        let mut bench = Bench { eye: Eye::new(tap.clone(), WorkerId(0)), tap };
        assert_eq!(bench.burst(&burst).len(), shown, "port {port}");
    }
}

#[test]
fn headers_are_found_behind_tags_options_and_extensions() {
    let frame = Frame::syn(CLIENT, VIP).with(|f| f.vlan = vec![100]).build();
    let view = View::of(&frame, frame.len());
    assert_eq!((view.vlan, view.carries, view.ports()), (Some(100), Carries::V4, Some((40_000, 80))));
    assert_eq!(view.tcp_flags(), Some(2));
    // Hop-by-hop options, then a first and a later fragment of UDP.
    let v6 = |offset: u8| {
        let mut frame = vec![0; 14 + 40 + 8 + 8 + 8];
        frame[12..14].copy_from_slice(&[0x86, 0xDD]);
        frame[14] = 0x60;
        frame[14 + 6] = 0;
        frame[54] = 44;
        frame[62..66].copy_from_slice(&[17, 0, 0, offset]);
        frame[70..74].copy_from_slice(&[0, 53, 0, 54]);
        frame
    };
    let (first, later) = (v6(1), v6(9));
    let (first, later) = (View::of(&first, first.len()), View::of(&later, later.len()));
    assert_eq!((first.protocol, first.ports()), (17, Some((53, 54))));
    assert_eq!((later.protocol, later.ports()), (17, None));
    // Every cut of a frame is looked at without a fault.
    for len in 0..frame.len() {
        let view = View::of(&frame[..len], frame.len());
        _ = (view.addresses(), view.ports(), view.tcp_flags(), view.ip_len());
    }
    assert_eq!(HeapPacket::new(&frame).copy_out(&mut [0; 10]), 10);
}
