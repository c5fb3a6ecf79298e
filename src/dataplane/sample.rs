//! Measures the time that packets spend in the balancer, in one busy turn of many.
//!
//! What a measured packet waits for is known when its burst has its verdicts; how long it took is known when the turn
//! has transmitted. A packet that goes to another worker takes the time of its reception along. All that an unmeasured
//! turn pays is a few branches that always go the same way.

use std::sync::Arc;

use dpdk_ffi::{Mbuf, clock};

use super::worker::TurnClock;
use crate::lb::counters::Counters;
use crate::lb::ids::PortId;
use crate::lb::latency::{Latency, PacketClass};
use crate::lb::path::BURST;
use crate::lb::verdict::Verdict;

/// See the module.
pub(super) struct Sampler {
    latency: Arc<Latency>,
    clock: TurnClock,
    /// Whether the packets of this turn are measured.
    on: bool,
    /// Busy turns until the next one that is.
    left: u32,
    /// The TSC when the current burst had come from its port.
    received: u64,
    /// Connections ever opened at that time.
    created: u64,
    /// What waits for this turn's transmission.
    open: Vec<Open>,
}

/// Packets of one class that came at the same time.
struct Open {
    since: u64,
    class: PacketClass,
    packets: u64,
}

/// In an mbuf's port field, above the port's number: its mark is the time of its reception.
const MEASURED: u16 = 1 << 15;

/// A moment in the 32 bits of an mbuf's mark: units of 16 cycles, which tell 13 seconds apart at 5 GHz two ways.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Stamp(u32);

impl Stamp {
    const SHIFT: u32 = 4;

    fn at(tsc: u64) -> Self {
        Self((tsc >> Self::SHIFT) as u32)
    }

    /// Cycles from then to `tsc`; none if the other CPU's counter is ahead.
    fn cycles_until(self, tsc: u64) -> u64 {
        let units = Self::at(tsc).0.wrapping_sub(self.0) as i32;
        (units.max(0) as u64) << Self::SHIFT
    }
}

impl Sampler {
    /// For a worker with `queues` receive queues. The first busy turn is measured.
    pub(super) fn new(latency: Arc<Latency>, clock: TurnClock, queues: usize) -> Self {
        Self {
            latency,
            clock,
            on: true,
            left: Latency::SAMPLE_EVERY - 1,
            received: 0,
            created: 0,
            open: Vec::with_capacity(queues * PacketClass::COUNT + BURST),
        }
    }

    /// Where the measurements go.
    pub(super) fn latency(&self) -> Arc<Latency> {
        self.latency.clone()
    }

    /// A burst has come from a port.
    #[inline]
    pub(super) fn received(&mut self, counters: &Counters) {
        if self.on {
            self.received = clock::tsc();
            self.created = counters.connections_created.get();
        }
    }

    /// The packets of that burst have their verdicts, and the connections that they opened are counted.
    #[inline]
    pub(super) fn decided(&mut self, verdicts: &[Verdict], counters: &Counters) {
        if self.on {
            self.classify(verdicts, counters.connections_created.get().wrapping_sub(self.created));
        }
    }

    #[cold]
    fn classify(&mut self, verdicts: &[Verdict], created: u64) {
        let (mut forwarded, mut answered, mut held) = (0u64, 0u64, 0u64);
        for verdict in verdicts {
            match verdict {
                Verdict::Tx(_) | Verdict::Fragment(_) => forwarded += 1,
                Verdict::Reply(_) => answered += 1,
                Verdict::Hold(_) => held += 1,
                // The owner measures it, or it does not leave.
                Verdict::Handoff(_) | Verdict::Await(_) | Verdict::Punt(..) | Verdict::Drop(_) => {}
            }
        }
        // Who is held is nearly always the first of a connection: the others find the next hop known.
        let new = created.saturating_sub(held).min(forwarded);
        self.push(self.received, PacketClass::New, new);
        self.push(self.received, PacketClass::Forward, forwarded - new);
        self.push(self.received, PacketClass::Answer, answered);
    }

    /// Notes on a packet for another worker which port it came by and, in a measured turn, when. The port is read by
    /// [`port_of`].
    #[inline]
    pub(super) fn address(&self, mbuf: &mut Mbuf, port: PortId) {
        let mut note = u16::from(port.0);
        if self.on {
            note |= MEASURED;
            mbuf.set_mark(Stamp::at(self.received).0);
        }
        mbuf.set_port(note);
    }

    /// Packets that other workers have received have their verdicts.
    #[inline]
    pub(super) fn taken_over(&mut self, packets: &[Mbuf], verdicts: &[Verdict]) {
        if packets.iter().fold(0, |notes, mbuf| notes | mbuf.port()) & MEASURED != 0 {
            self.take_over(packets, verdicts);
        }
    }

    #[cold]
    fn take_over(&mut self, packets: &[Mbuf], verdicts: &[Verdict]) {
        let now = clock::tsc();
        for (mbuf, verdict) in packets.iter().zip(verdicts) {
            if mbuf.port() & MEASURED != 0 && matches!(verdict, Verdict::Tx(_) | Verdict::Reply(_)) {
                let since = now.wrapping_sub(Stamp(mbuf.mark()).cycles_until(now));
                self.push(since, PacketClass::Handoff, 1);
            }
        }
    }

    /// A packet leaves that has waited for its next hop, since [`note_now`].
    pub(super) fn release(&self, mbuf: &Mbuf) {
        let cycles = Stamp(mbuf.mark()).cycles_until(clock::tsc());
        self.latency.record(PacketClass::Held, self.clock.ns(cycles), 1);
    }

    /// All that this turn had to transmit is transmitted, at `end` of the TSC.
    #[inline]
    pub(super) fn turn_ends(&mut self, end: u64, is_busy: bool) {
        if !self.open.is_empty() {
            self.record(end);
        }
        if is_busy {
            self.on = self.left == 0;
            self.left = if self.on { Latency::SAMPLE_EVERY - 1 } else { self.left - 1 };
        }
    }

    #[cold]
    fn record(&mut self, end: u64) {
        for Open { since, class, packets } in self.open.drain(..) {
            self.latency.record(class, self.clock.ns(end.wrapping_sub(since)), packets);
        }
    }

    fn push(&mut self, since: u64, class: PacketClass, packets: u64) {
        // Its capacity is what one turn can need; it must never grow here.
        if packets > 0 && self.open.len() < self.open.capacity() {
            self.open.push(Open { since, class, packets });
        }
    }
}

/// The port that a packet from another worker came in by.
#[inline]
pub(super) fn port_of(mbuf: &Mbuf) -> PortId {
    PortId(mbuf.port() as u8)
}

/// Notes on a packet that it begins to wait for its next hop. That is rare and long, so each one is measured.
///
/// Takes the packet by value: a reference would keep every packet of the caller's loop in memory instead of in a register.
#[cold]
pub(super) fn note_now(mut mbuf: Mbuf) -> Mbuf {
    mbuf.set_mark(Stamp::at(clock::tsc()).0);
    mbuf
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lb::verdict::DropReason;

    const TX: Verdict = Verdict::Tx(PortId(0));
    const REPLY: Verdict = Verdict::Reply(PortId(0));
    const DROP: Verdict = Verdict::Drop(DropReason::Runt);

    struct Bench {
        sampler: Sampler,
        counters: Counters,
        latency: Arc<Latency>,
    }

    impl Bench {
        fn new() -> Self {
            let latency = Arc::new(Latency::default());
            let sampler = Sampler::new(latency.clone(), TurnClock::new(1_000_000_000), 2);
            Self { sampler, counters: Counters::new(1), latency }
        }

        /// One turn with a burst that opens `created` connections; it ends 1,000 cycles, or nanoseconds, after it came.
        fn turn(&mut self, verdicts: &[Verdict], created: u64) {
            self.sampler.received(&self.counters);
            self.counters.connections_created.add(created);
            self.sampler.decided(verdicts, &self.counters);
            self.sampler.turn_ends(self.sampler.received + 1_000, true);
        }

        /// Packets of each class, and that all of them took the microsecond.
        fn counts(&self) -> [u64; PacketClass::COUNT] {
            let of = |i: usize| {
                let counts = self.latency.counts(PacketClass::ALL[i]);
                counts.inspect(|(ns, _)| assert!((1_000..1_070).contains(ns), "{ns}")).map(|(_, n)| n).sum()
            };
            std::array::from_fn(of)
        }
    }

    #[test]
    fn packets_count_by_what_happened_to_them() {
        let mut bench = Bench::new();
        bench.turn(&[TX, TX, REPLY, DROP, TX, TX, Verdict::Handoff(crate::lb::ids::WorkerId(1)), REPLY, REPLY], 1);
        assert_eq!(bench.counts(), [3, 1, 0, 3, 0]);
    }

    #[test]
    fn one_busy_turn_of_many_is_measured() {
        let mut bench = Bench::new();
        for turn in 0..u64::from(Latency::SAMPLE_EVERY) * 5 {
            bench.turn(&[TX], 0);
            // Turns without packets do not count.
            bench.sampler.turn_ends(0, false);
            assert_eq!(bench.counts()[0], turn / u64::from(Latency::SAMPLE_EVERY) + 1, "turn {turn}");
        }
    }

    #[test]
    fn connections_that_are_not_forwarded_make_nothing_new() {
        let mut bench = Bench::new();
        // Opened, but the next hop is not resolved, or no route leads there.
        bench.turn(&[DROP, TX], 2);
        assert_eq!(bench.counts(), [0, 1, 0, 0, 0]);
    }

    #[test]
    fn a_turn_measures_within_its_bound() {
        let mut bench = Bench::new();
        for _ in 0..1000 {
            bench.sampler.push(0, PacketClass::Handoff, 1);
        }
        assert!(bench.sampler.open.len() >= 2 * PacketClass::COUNT + BURST);
        assert_eq!(bench.sampler.open.len(), bench.sampler.open.capacity());
    }

    #[test]
    fn stamps_survive_the_end_of_their_bits() {
        let wrap = 1u64 << (32 + Stamp::SHIFT);
        for start in [0, 5_000, wrap - 1_600, wrap / 2 - 1_600, 7 * wrap - 16] {
            let stamp = Stamp::at(start);
            assert_eq!(stamp.cycles_until(start + 3_200), 3_200, "{start}");
            assert_eq!(stamp.cycles_until(start.wrapping_sub(3_200)), 0, "a counter that is ahead: {start}");
        }
    }
}
