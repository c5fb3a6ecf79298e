//! Measures how long backends take from a client's SYN to their SYN-ACK: one connection of each backend at a time.

use super::clock::Now;
use super::ids::BackendId;
use super::table::Slot;

/// After this long without an answer another connection is measured, and the time counts as this.
const GIVE_UP_NS: u64 = 1_000_000_000;

/// A SYN that waits for its answer.
#[derive(Clone, Copy, Debug, Default)]
struct Running {
    /// Where the connection is; [`Slot::NONE`] if nothing is measured.
    slot: Slot,
    since: Now,
}

/// See the module. One of each worker.
#[derive(Debug)]
pub struct Stopwatch(Box<[Running]>);

impl Stopwatch {
    /// For so many backend slots.
    pub fn new(backends_max: usize) -> Self {
        Self(vec![Running::default(); backends_max].into())
    }

    /// A connection to a backend has begun with a SYN; its entry is at `slot`. Says how long the one before has taken if its
    /// answer is given up.
    pub fn start(&mut self, id: BackendId, slot: Slot, now: Now) -> Option<u64> {
        let running = self.0.get_mut(id.slot())?;
        let passed_ns = now.ns().saturating_sub(running.since.ns());
        let given_up = running.slot.is_some() && passed_ns >= GIVE_UP_NS;
        if given_up || !running.slot.is_some() {
            *running = Running { slot, since: now };
        }
        given_up.then_some(GIVE_UP_NS)
    }

    /// The SYN of the connection at `slot` was sent again: an answer would not tell to which of them.
    pub fn forget(&mut self, id: BackendId, slot: Slot) {
        if let Some(running) = self.0.get_mut(id.slot()).filter(|running| running.slot == slot) {
            running.slot = Slot::NONE;
        }
    }

    /// The connection at `slot` is answered: how long that has taken, if it was the one that is measured.
    pub fn stop(&mut self, id: BackendId, slot: Slot, now: Now) -> Option<u64> {
        let running = self.0.get_mut(id.slot()).filter(|running| running.slot.is_some() && running.slot == slot)?;
        running.slot = Slot::NONE;
        Some(now.ns().saturating_sub(running.since.ns()).min(GIVE_UP_NS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lb::clock::Tick;
    use crate::lb::table::{Entry, Table};
    use std::net::Ipv4Addr;

    fn id() -> BackendId {
        BackendId::new(0, 3)
    }

    fn slots() -> [Slot; 2] {
        let mut table: Table<Ipv4Addr> = Table::new(64, Default::default()).unwrap();
        [1, 2].map(|n: u16| {
            let entry = Entry { sport: n, protocol: 6, ..Entry::empty() };
            table.insert(u64::from(n) << 40 | 1, entry, Tick(100), false, false, Tick(1)).ok().unwrap().slot
        })
    }

    fn at(us: u64) -> Now {
        Now::from_ns(us * 1000)
    }

    #[test]
    fn one_connection_at_a_time_is_measured() {
        let (mut watch, [a, b]) = (Stopwatch::new(1), slots());
        assert_eq!(watch.start(id(), a, at(10)), None);
        assert_eq!(watch.start(id(), b, at(20)), None);
        assert_eq!(watch.stop(id(), b, at(30)), None, "another one is being measured");
        assert_eq!(watch.stop(id(), a, at(40)), Some(30_000));
        assert_eq!(watch.stop(id(), a, at(50)), None, "a second answer");
        assert_eq!(watch.start(BackendId::new(5, 0), a, at(60)), None, "beyond the size");
    }

    #[test]
    fn what_was_sent_again_tells_nothing() {
        let (mut watch, [a, b]) = (Stopwatch::new(1), slots());
        watch.start(id(), a, at(10));
        watch.forget(id(), b);
        watch.forget(id(), a);
        assert_eq!(watch.stop(id(), a, at(20)), None);
        assert_eq!(watch.start(id(), b, at(30)), None);
        assert_eq!(watch.stop(id(), b, at(35)), Some(5_000));
    }

    #[test]
    fn silence_counts_as_slow() {
        let (mut watch, [a, b]) = (Stopwatch::new(1), slots());
        watch.start(id(), a, at(0));
        assert_eq!(watch.start(id(), b, at(999_999)), None);
        assert_eq!(watch.start(id(), b, at(1_000_000)), Some(GIVE_UP_NS));
        assert_eq!(watch.stop(id(), b, at(1_000_007)), Some(7_000));
    }
}
