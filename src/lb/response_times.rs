//! How long backends take to answer, put together from what all workers and the health checks have seen.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::counters::{Counter, Counters};
use super::ids::BackendId;
use super::snapshot::{Service, Snapshot};

/// What the packet path reads: nanoseconds by backend slot; 0 where nothing is known.
#[derive(Debug)]
pub struct ResponseTimes(Box<[AtomicU32]>);

impl ResponseTimes {
    /// Nothing is known yet.
    pub fn new(backends_max: usize) -> Self {
        Self((0..backends_max).map(|_| AtomicU32::new(0)).collect())
    }

    /// Of a backend, in nanoseconds; 0 if nothing is known of its whole service.
    #[inline]
    pub fn of(&self, id: BackendId) -> u32 {
        self.0.get(id.slot()).map_or(0, |time| time.load(Ordering::Relaxed))
    }

    /// Takes over what is known of a backend elsewhere.
    pub(super) fn copy(&self, id: BackendId, other: &Self) {
        self.set(id, other.of(id).into());
    }

    fn set(&self, id: BackendId, ns: u64) {
        if let Some(time) = self.0.get(id.slot()) {
            time.store(u32::try_from(ns).unwrap_or(u32::MAX), Ordering::Relaxed);
        }
    }
}

/// Answers that were measured, ever: their number, and the sum of their times.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Measured {
    /// How many.
    pub count: u64,
    /// Nanoseconds, all added up.
    pub sum_ns: u64,
}

/// Measures answers; written by one thread, read by any.
#[derive(Debug, Default)]
pub struct Meter {
    count: Counter,
    sum_ns: Counter,
}

impl Meter {
    /// Takes in an answer that took this long.
    pub fn add(&self, ns: u64) {
        self.sum_ns.add(ns);
        self.count.add(1);
    }

    /// All of them.
    pub fn measured(&self) -> Measured {
        Measured { count: self.count.get(), sum_ns: self.sum_ns.get() }
    }

    /// Forgets them.
    pub fn reset(&self) {
        self.count.set(0);
        self.sum_ns.set(0);
    }
}

impl Measured {
    /// The mean of what has come since `before`; `None` if nothing has.
    fn mean_since(self, before: Self) -> Option<u64> {
        let count = self.count.checked_sub(before.count)?;
        self.sum_ns.checked_sub(before.sum_ns)?.checked_div(count)
    }
}

/// What is known of one backend.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    /// Smoothed; 0 before the first answer.
    ns: u64,
    seen: Measured,
    probed: Measured,
    /// Looks since the last answer.
    quiet_looks: u32,
}

/// Looks without an answer after which a time is slowly forgotten.
const QUIET_LOOKS_MAX: u32 = 10;
/// How much a look changes: a quarter of what differs from the answers since the last one, and an eighth where there were none.
const WEIGHT: u64 = 4;
const FORGET: u64 = 8;

/// Puts the times together; to be asked once a second, by one thread. Allocates, and is not for the packet path.
#[derive(Debug, Default)]
pub struct Keeper {
    known: HashMap<BackendId, Known>,
}

impl Keeper {
    /// Takes in what there is to know and tells the packet path, for each service whose scheduler wants it. `probed` is what the
    /// health checks measured of a backend; it counts where the packet path does not see answers.
    pub fn look(
        &mut self,
        snapshot: &Snapshot,
        workers: &[Arc<Counters>],
        probed: impl Fn(BackendId) -> Measured,
        times: &ResponseTimes,
    ) {
        let services = || snapshot.services().iter().filter(|service| service.wants_times());
        self.known.retain(|&id, _| snapshot.backend(id).is_some());
        for service in services() {
            for &id in &service.backends {
                let seen = workers.iter().map(|worker| worker.responses(id)).fold(Measured::default(), |all, one| {
                    Measured { count: all.count + one.count, sum_ns: all.sum_ns + one.sum_ns }
                });
                self.known.entry(id).or_default().take_in(seen, probed(id), service.sees_answers());
            }
            self.publish(service, times);
        }
    }

    /// The smoothed time of a backend in nanoseconds, if there was any answer.
    pub fn of(&self, id: BackendId) -> Option<u64> {
        self.known.get(&id).map(|known| known.ns).filter(|&ns| ns > 0)
    }

    fn publish(&mut self, service: &Service, times: &ResponseTimes) {
        let known = |id: &BackendId| self.of(*id);
        // Of whom nothing is known, the best is assumed, so that it gets connections by which to find out.
        let least = service.backends.iter().filter_map(known).min().unwrap_or(0);
        for &id in &service.backends {
            let Some(known) = self.known.get_mut(&id) else { continue };
            if known.ns > least && known.quiet_looks > QUIET_LOOKS_MAX {
                // Who was slow once gets no connections on a quiet service, and could never show that it is not any more.
                known.ns -= ((known.ns - least) / FORGET).max(1);
            }
            times.set(id, if known.ns == 0 { least } else { known.ns });
        }
    }
}

impl Known {
    fn take_in(&mut self, seen: Measured, probed: Measured, sees_answers: bool) {
        let (by_packets, by_probes) = (seen.mean_since(self.seen), probed.mean_since(self.probed));
        (self.seen, self.probed) = (seen, probed);
        match if sees_answers { by_packets } else { by_probes } {
            Some(mean_ns) => {
                let mean_ns = mean_ns.max(1);
                self.ns = if self.ns == 0 { mean_ns } else { (self.ns * (WEIGHT - 1) + mean_ns) / WEIGHT };
                self.ns = self.ns.max(1);
                self.quiet_looks = 0;
            }
            None => self.quiet_looks = self.quiet_looks.saturating_add(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lb::scheduler;
    use crate::lb::snapshot::Mode;
    use crate::lb::testing::{service, spec};

    const BACKENDS: [&str; 3] = ["10.1.0.1", "10.1.0.2", "10.1.0.3"];

    fn snapshot(mode: Mode, kind: scheduler::Kind) -> Snapshot {
        let mut service = service("s", mode, 6, ("192.0.2.1", 80), 0, &BACKENDS);
        service.scheduler = kind;
        Snapshot::build(spec(vec![service]), None).unwrap()
    }

    struct Bench {
        snapshot: Snapshot,
        keeper: Keeper,
        times: ResponseTimes,
        workers: Vec<Arc<Counters>>,
        probed: [Measured; 3],
    }

    impl Bench {
        fn new(mode: Mode) -> Self {
            Self {
                snapshot: snapshot(mode, scheduler::Kind::Lrt),
                keeper: Keeper::default(),
                times: ResponseTimes::new(8),
                workers: vec![Arc::new(Counters::new(8)), Arc::new(Counters::new(8))],
                probed: Default::default(),
            }
        }

        fn look(&mut self) -> [u32; 3] {
            let probed = self.probed;
            self.keeper.look(&self.snapshot, &self.workers, |id| probed[id.slot()], &self.times);
            [0, 1, 2].map(|slot| self.times.of(BackendId::new(slot, 0)))
        }
    }

    fn id(slot: usize) -> BackendId {
        BackendId::new(slot, 0)
    }

    #[test]
    fn answers_of_all_workers_are_put_together_and_smoothed() {
        let mut bench = Bench::new(Mode::Nat);
        assert_eq!(bench.look(), [0; 3]);
        bench.workers[0].responded(id(0), 1000);
        bench.workers[1].responded(id(0), 3000);
        bench.workers[1].responded(id(1), 500);
        // Of the third nothing is known, so it gets the best one's.
        assert_eq!(bench.look(), [2000, 500, 500]);
        bench.workers[0].responded(id(0), 6000);
        assert_eq!(bench.look(), [3000, 500, 500]);
        assert_eq!((bench.keeper.of(id(0)), bench.keeper.of(id(2))), (Some(3000), None));
        assert_eq!(bench.times.of(BackendId::new(7, 0)), 0);
    }

    #[test]
    fn checks_count_only_where_answers_do_not_pass() {
        for (mode, expected) in [(Mode::Nat, [0; 3]), (Mode::Gre, [400, 400, 400])] {
            let mut bench = Bench::new(mode);
            bench.probed[1] = Measured { count: 5, sum_ns: 2000 };
            assert_eq!(bench.look(), expected, "{mode:?}");
        }
    }

    #[test]
    fn who_was_slow_once_gets_another_chance() {
        let mut bench = Bench::new(Mode::Nat);
        bench.workers[0].responded(id(0), 1_000);
        bench.workers[0].responded(id(1), 1_000_000);
        for _ in 0..=QUIET_LOOKS_MAX {
            assert_eq!(bench.look(), [1_000, 1_000_000, 1_000]);
        }
        let mut last = 1_000_000;
        for _ in 0..100 {
            let now = bench.look()[1];
            assert!(now < last || now == 1_000, "{now}");
            last = now;
        }
        assert_eq!(last, 1_000);
        // Slow again, it is so again.
        bench.workers[0].responded(id(1), 1_000_000);
        assert!(bench.look()[1] > 200_000);
    }

    #[test]
    fn a_worker_that_forgets_counts_disturbs_nothing() {
        let mut bench = Bench::new(Mode::Nat);
        bench.workers[0].responded(id(0), 1_000);
        assert_eq!(bench.look()[0], 1_000);
        bench.workers[0].reset_backend(id(0));
        assert_eq!(bench.look()[0], 1_000);
        bench.workers[0].responded(id(0), 9_000);
        assert_eq!(bench.look()[0], 3_000);
    }

    #[test]
    fn other_schedulers_have_no_times() {
        let mut bench = Bench::new(Mode::Nat);
        bench.snapshot = snapshot(Mode::Nat, scheduler::Kind::Lc);
        bench.workers[0].responded(id(0), 1_000);
        assert_eq!(bench.look(), [0; 3]);
    }
}
