//! A capture beside every burst of a test, held against what a look at whole packets says.
//!
//! Captures save themselves nearly all of their looks; whatever a test sends is therefore also a test of what they show.

use std::cell::Cell;
use std::sync::Arc;

use super::ip;
use super::net::TestPacket;
use crate::lb::capture::filter::{End, Expression, Filter, Net, Test, kind, kind_of};
use crate::lb::capture::{Eye, Shot, Tap};
use crate::lb::clock::Now;
use crate::lb::ids::WorkerId;
use crate::lb::packet::Packet;
use crate::lb::path::BURST;
use crate::lb::shard::Shard;
use crate::lb::snapshot::Snapshot;
use crate::lb::verdict::{DropReason, Verdict};

/// Bytes of each packet that are kept, and compared.
const BYTES: usize = 200;
/// Addresses that tests use: clients, VIPs, backends, ports.
const ADDRESSES: [&str; 16] = [
    "198.51.100.7",
    "198.51.100.1",
    "2001:db8:c::7",
    "2001:db8:c::1",
    "192.0.2.10",
    "192.0.2.20",
    "192.0.2.50",
    "2001:db8::10",
    "2001:db8::20",
    "2001:db8::51",
    "10.1.0.1",
    "10.1.0.2",
    "10.0.0.2",
    "fd01::1",
    "fd01::2",
    "fd00::2",
];
const PORTS: [u16; 7] = [80, 8080, 53, 40_000, 40_001, 6080, 9];
const PROTOCOLS: [u8; 7] = [1, 4, 6, 17, 41, 47, 58];

/// Bursts of a test that are looked at; some tests have a million.
const TURNS: usize = 20_000;

thread_local! {
    /// Bursts so far.
    static TURN: Cell<usize> = const { Cell::new(0) };
}

/// See the module.
pub struct Onlooker {
    filter: Filter,
    expression: Expression,
    tap: Arc<Tap>,
    before: Vec<TestPacket>,
}

impl Onlooker {
    /// Gives a worker an eye, each time for something else; `None` when the test has had enough of them.
    pub fn begin(shard: &mut Shard, snapshot: &Snapshot, packets: &[TestPacket]) -> Option<Self> {
        let turn = TURN.replace(TURN.get() + 1);
        if turn > TURNS {
            return None;
        }
        let expression = expression(turn);
        let filter = Filter::new(&expression).unwrap();
        let tap = Arc::new(Tap::new(filter.clone(), None, BURST + 1, BYTES));
        tap.allow(BURST as u64, BURST as u64);
        if !turn.is_multiple_of(4) {
            tap.adopt(snapshot);
        }
        shard.eye = Some(Box::new(Eye::new(tap.clone(), WorkerId(7))));
        Some(Self { filter, expression, tap, before: packets.to_vec() })
    }

    /// Takes it back, and looks at what it has seen.
    pub fn end(self, shard: &mut Shard, now: Now, after: &[TestPacket], verdicts: &[Verdict]) {
        shard.eye.take().unwrap().close();
        let shots: Vec<Box<Shot>> = std::iter::from_fn(|| self.tap.next_shot()).collect();
        let mut left = shots.iter();
        for ((before, after), &verdict) in self.before.iter().zip(after).zip(verdicts) {
            let said = || format!("{:?} {verdict:?}\n{:02x?}\n{:02x?}", self.expression, before.bytes(), after.bytes());
            let is_of_kind = kind_of(verdict) & self.filter.kinds != 0;
            let matches = |packet: &TestPacket| self.filter.matches(packet.bytes(), packet.frame_len(), verdict);
            let stays = kind_of(verdict) & kind::UNCHANGED != 0;
            // What is dropped when it was rewritten already is shown as one likes.
            if stays && before.bytes() != after.bytes() {
                return;
            }
            if !is_of_kind || !(matches(before) || matches(after)) {
                continue;
            }
            let shot = left.next().unwrap_or_else(|| panic!("not shown: {}", said()));
            assert_eq!(
                (shot.verdict, shot.at, shot.worker, shot.came_by),
                (verdict, now, WorkerId(7), before.port),
                "{}",
                said()
            );
            let (first, kept) = (before.bytes(), shot.before.bytes());
            assert_eq!(shot.before.frame_len, first.len(), "{}", said());
            assert!(kept.len() >= first.len().min(80) && first.starts_with(kept), "{kept:02x?} of {}", said());
            let leaves = if stays { &[][..] } else { after.bytes() };
            assert_eq!(
                (shot.after.frame_len, shot.after.bytes()),
                (leaves.len(), &leaves[..leaves.len().min(BYTES)]),
                "{}",
                said()
            );
        }
        assert!(left.next().is_none(), "{:?} shows what does not match", self.expression);
        assert_eq!((self.tap.lost(), self.tap.limited()), (0, 0));
    }
}

/// A filter of any kind; the next one differs.
fn expression(turn: usize) -> Expression {
    let test = |n: usize| {
        let end = [End::Source, End::Destination, End::Either, End::Both][n / 16 % 4];
        Expression::Test(match n % 5 {
            0 | 1 => {
                let address = ip(ADDRESSES[n / 7 % ADDRESSES.len()]);
                Test::Host(end, Net { address, prefix: if address.is_ipv4() { 32 } else { 128 } })
            }
            2 | 3 => {
                let port = PORTS[n / 11 % PORTS.len()];
                Test::Port(end, port, port)
            }
            _ => Test::Protocol(PROTOCOLS[n / 3 % PROTOCOLS.len()]),
        })
    };
    let both = |a, b| (Box::new(a), Box::new(b));
    let (one, two) = (test(turn / 3), test(turn / 5 + 13));
    match turn % 9 {
        0..3 => one,
        3 => {
            let (a, b) = both(one, two);
            Expression::And(a, b)
        }
        4 => {
            let (a, b) = both(one, two);
            Expression::Or(a, b)
        }
        5 => Expression::Test(Test::Verdict(1 << (turn / 9 % 7))),
        6 => {
            let (a, b) = both(one, Expression::Test(Test::Verdict(1 << (turn / 9 % 7))));
            Expression::And(a, b)
        }
        7 => {
            let (a, b) = both(Expression::Test(Test::Reason(DropReason::NoService)), two);
            Expression::Or(a, b)
        }
        _ => Expression::Not(Box::new(one)),
    }
}
