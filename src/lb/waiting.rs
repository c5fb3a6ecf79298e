//! Fragments that wait for the first one of their datagram, which alone has the ports; bounded in number and time.

use std::collections::VecDeque;

use super::clock::Now;
use super::counters::Counters;
use super::fragments::DatagramTag;
use super::ids::PortId;
use super::verdict::DropReason;

/// Fragments that may wait at a worker. When one more comes the oldest is dropped: networks put fragments out of order by
/// microseconds, so what has waited longest is what will wait in vain, and a flood cannot keep the others out.
const TOTAL_MAX: usize = 256;
/// How long one waits, in nanoseconds. Fragments that a router or a NIC has put out of order are this close by far.
pub const WAIT_NS: u64 = 1_000_000_000;

/// Waiting fragments, in the order in which they came, and the port by which.
pub struct Waiting<P> {
    packets: VecDeque<Waits<P>>,
}

struct Waits<P> {
    tag: DatagramTag,
    until: Now,
    port: PortId,
    packet: P,
}

impl<P> Default for Waiting<P> {
    fn default() -> Self {
        Self { packets: VecDeque::with_capacity(TOTAL_MAX) }
    }
}

impl<P> Waiting<P> {
    /// Lets a fragment wait that came by `port`. The oldest one comes back, counted, if there are too many.
    pub fn hold(&mut self, counters: &Counters, tag: DatagramTag, port: PortId, now: Now, packet: P) -> Option<P> {
        let oldest = if self.packets.len() >= TOTAL_MAX { self.packets.pop_front() } else { None };
        match oldest {
            Some(_) => counters.drop_one(DropReason::FragmentQueueFull),
            None => self.count(counters, 1),
        }
        let until = Now::from_ns(now.ns() + WAIT_NS);
        self.packets.push_back(Waits { tag, until, port, packet });
        oldest.map(|waits| waits.packet)
    }

    /// Takes out at most `max` of those that wait for the first fragment of a datagram, in order; true if there are more.
    pub fn take(&mut self, counters: &Counters, tag: DatagramTag, max: usize, mut each: impl FnMut(PortId, P)) -> bool {
        let (mut taken, mut more) = (0, false);
        for _ in 0..self.packets.len() {
            match self.packets.pop_front() {
                Some(waits) if waits.tag == tag && taken < max => {
                    taken += 1;
                    each(waits.port, waits.packet);
                }
                Some(other) => {
                    more |= other.tag == tag;
                    self.packets.push_back(other);
                }
                None => break,
            }
        }
        self.uncount(counters, taken);
        more
    }

    /// Takes out those that have waited too long, counted as drops.
    pub fn expire(&mut self, counters: &Counters, now: Now, mut each: impl FnMut(P)) {
        while self.packets.front().is_some_and(|waits| waits.until <= now)
            && let Some(waits) = self.packets.pop_front()
        {
            self.uncount(counters, 1);
            counters.drop_one(DropReason::FragmentTimeout);
            each(waits.packet);
        }
    }

    /// Takes out all, at the end, counted as drops.
    pub fn clear(&mut self, counters: &Counters, each: impl FnMut(P)) {
        self.expire(counters, Now::from_ns(u64::MAX), each);
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.packets.len()
    }

    /// True if none waits.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.packets.is_empty()
    }

    fn count(&self, counters: &Counters, n: usize) {
        counters.held.add(n as u64);
        counters.fragments_waiting.add(n as u64);
    }

    fn uncount(&self, counters: &Counters, n: usize) {
        counters.held.sub(n as u64);
        counters.fragments_waiting.sub(n as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: DatagramTag = DatagramTag::of(1);
    const B: DatagramTag = DatagramTag::of(2);

    fn at_ms(ms: u64) -> Now {
        Now::from_ns(ms * 1_000_000)
    }

    #[test]
    fn order_time_and_sums_are_kept() {
        let (mut waiting, counters) = (Waiting::default(), Counters::new(1));
        for k in 0..10u64 {
            assert_eq!(waiting.hold(&counters, if k % 2 == 0 { A } else { B }, PortId(3), at_ms(k), k), None);
        }
        assert_eq!((counters.held.get(), counters.fragments_waiting.get()), (10, 10));
        let mut got = Vec::new();
        assert!(waiting.take(&counters, A, 3, |port, k| got.push((port.0, k))));
        assert!(!waiting.take(&counters, A, 3, |port, k| got.push((port.0, k))));
        assert_eq!(got, [(3, 0), (3, 2), (3, 4), (3, 6), (3, 8)]);
        waiting.expire(&counters, at_ms(1002), drop);
        assert_eq!((waiting.len(), counters.drops(DropReason::FragmentTimeout)), (4, 1));
        waiting.clear(&counters, drop);
        assert_eq!((counters.held.get(), counters.drops(DropReason::FragmentTimeout)), (0, 5));
        assert!(waiting.is_empty() && !waiting.take(&counters, B, 3, |_, _| panic!("there is none")));
    }

    #[test]
    fn one_too_many_pushes_the_oldest_out() {
        let (mut waiting, counters) = (Waiting::default(), Counters::new(1));
        let out: Vec<_> = (0..300u64).filter_map(|k| waiting.hold(&counters, A, PortId(0), at_ms(0), k)).collect();
        assert_eq!(out, (0..300 - TOTAL_MAX as u64).collect::<Vec<_>>());
        assert_eq!(counters.held.get(), TOTAL_MAX as u64);
        assert_eq!(counters.drops(DropReason::FragmentQueueFull), out.len() as u64);
        assert_eq!(waiting.packets.capacity(), Waiting::<u64>::default().packets.capacity(), "never grows");
    }
}
