//! What a worker does while nothing comes: polls on, lets others run, or sleeps in naps that grow with the silence.

use std::num::NonZeroU64;
use std::time::Duration;

use dpdk_ffi::clock;

use super::worker::TurnClock;
use crate::lb::counters::Counters;

/// What a worker does while there is no traffic; docs/decisions/idle.md has the figures.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Idle {
    /// Polls on: the lowest latency, and a whole CPU.
    Spin,
    /// Polls on through gaps between packets, then lets others run, then naps.
    Auto,
    /// Naps after some microseconds: for machines that have other things to do.
    Sleep,
}

/// How a worker slows down, by how long nothing has come.
#[derive(Clone, Copy)]
struct Pace {
    /// Polls without a break until then.
    poll_ns: u64,
    /// Gives the CPU to whoever else wants it, turn by turn, until then.
    yield_ns: u64,
    /// From then on it naps for this part of the time since then, so that the next packet, whenever it comes, waits a
    /// small part of the gap that it ends.
    nap_part: u64,
    nap_max_ns: u64,
}

/// A shorter nap costs more than it saves.
const NAP_MIN_NS: u64 = 5_000;

impl Idle {
    fn pace(self) -> Option<Pace> {
        match self {
            Self::Spin => None,
            // A port has 1,024 descriptors, which hold what comes within the longest nap up to 9 Mpps a queue.
            Self::Auto => Some(Pace { poll_ns: 100_000, yield_ns: 200_000, nap_part: 8, nap_max_ns: 100_000 }),
            Self::Sleep => Some(Pace { poll_ns: 10_000, yield_ns: 10_000, nap_part: 4, nap_max_ns: 200_000 }),
        }
    }
}

/// What to do after one turn without packets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    Poll,
    Yield,
    Nap(Duration),
}

impl Pace {
    fn step(&self, silent_ns: u64) -> Step {
        if silent_ns < self.poll_ns {
            Step::Poll
        } else if silent_ns < self.yield_ns {
            Step::Yield
        } else {
            let nap_ns = (silent_ns - self.yield_ns) / self.nap_part;
            Step::Nap(Duration::from_nanos(nap_ns.clamp(NAP_MIN_NS, self.nap_max_ns)))
        }
    }
}

/// See the module.
pub(super) struct Rest {
    pace: Option<Pace>,
    clock: TurnClock,
    /// TSC at the end of the first turn without packets, while there are none.
    silent_since: Option<u64>,
    is_napping: bool,
}

impl Rest {
    /// For the calling thread, whose timers it makes precise.
    pub(super) fn new(idle: Idle, clock: TurnClock) -> Self {
        // By default the kernel may wake a thread 50 us late to spare a timer. Where it refuses, naps are that much longer.
        let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
        Self { pace: idle.pace(), clock, silent_since: None, is_napping: false }
    }

    /// A turn found packets.
    #[inline]
    pub(super) fn wake(&mut self) {
        self.silent_since = None;
        self.is_napping = false;
    }

    /// A turn found nothing and ended at `end` of the TSC.
    #[inline]
    pub(super) fn rest(&mut self, end: u64, counters: &Counters) {
        let Some(pace) = self.pace else { return std::hint::spin_loop() };
        let silent_ns = self.clock.ns(end.wrapping_sub(*self.silent_since.get_or_insert(end)));
        match pace.step(silent_ns) {
            Step::Poll => std::hint::spin_loop(),
            Step::Yield => std::thread::yield_now(),
            Step::Nap(nap) => {
                std::thread::sleep(nap);
                self.is_napping = true;
                counters.sleep_cycles.add(clock::tsc().wrapping_sub(end));
            }
        }
    }

    /// True if turns have become so rare that each one should look at everything.
    #[inline]
    pub(super) fn is_napping(&self) -> bool {
        self.is_napping
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nap_ns(step: Step) -> u64 {
        match step {
            Step::Nap(nap) => nap.as_nanos() as u64,
            _ => 0,
        }
    }

    #[test]
    fn silence_slows_down_in_steps() {
        let pace = Idle::Auto.pace().unwrap();
        assert_eq!((pace.step(0), pace.step(99_999)), (Step::Poll, Step::Poll));
        assert_eq!((pace.step(100_000), pace.step(199_999)), (Step::Yield, Step::Yield));
        assert_eq!(nap_ns(pace.step(200_000)), 5_000);
        assert_eq!(nap_ns(pace.step(600_000)), 50_000);
        assert_eq!(nap_ns(pace.step(1_000_000)), 100_000);
        assert_eq!(nap_ns(pace.step(u64::MAX)), 100_000);
        assert!(Idle::Spin.pace().is_none());
    }

    #[test]
    fn naps_grow_and_stay_a_small_part_of_the_silence() {
        for pace in [Idle::Auto, Idle::Sleep].map(|idle| idle.pace().unwrap()) {
            let naps: Vec<_> = (0..2_000_000).step_by(1_000).map(|ns| (ns, nap_ns(pace.step(ns)))).collect();
            assert!(naps.is_sorted_by_key(|&(_, nap)| nap));
            let bound = |silent_ns: u64| (silent_ns / pace.nap_part).max(NAP_MIN_NS);
            assert!(naps.iter().all(|&(ns, nap)| nap <= bound(ns)), "{naps:?}");
        }
    }

    #[test]
    fn a_packet_ends_the_naps() {
        let counters = Counters::new(1);
        // One cycle a nanosecond.
        let mut rest = Rest::new(Idle::Sleep, TurnClock::new(1_000_000_000));
        rest.rest(1_000, &counters);
        rest.rest(1_000_000, &counters);
        assert!(rest.is_napping());
        assert!(counters.sleep_cycles.get() > 0);
        rest.wake();
        assert!(!rest.is_napping());
        let slept = counters.sleep_cycles.get();
        rest.rest(2_000_000, &counters);
        assert_eq!(counters.sleep_cycles.get(), slept, "the silence begins anew");
    }
}
