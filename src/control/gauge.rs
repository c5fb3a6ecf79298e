//! How busy workers are: rates from two looks at their counters.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::lb::counters::Counters;
use crate::lb::handle::WorkerHandle;

/// What one worker did in some time; `null` where there is nothing to take it from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Rates {
    /// Packets received a second.
    pub packets_per_s: f64,
    /// Packets in a turn of the poll loop that found any, in ports or in rings.
    pub packets_per_burst: Option<f64>,
    /// TSC cycles spent on a packet, all in: those of the turns that found any.
    pub cycles_per_packet: Option<f64>,
    /// Share of the time with packets at hand, 0 to 1; `null` where the clock's rate is not known.
    pub busy_share: Option<f64>,
    /// Share of the turns that found packets, 0 to 1.
    pub busy_turns_share: Option<f64>,
    /// Share of the time asleep, 0 to 1; the rest is neither busy nor asleep, but polling. `null` as `busy_share`.
    pub sleep_share: Option<f64>,
}

/// A worker's counters at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    rx_packets: u64,
    turns: u64,
    busy_turns: u64,
    busy_packets: u64,
    busy_cycles: u64,
    sleep_cycles: u64,
}

impl Seen {
    pub(super) fn of(counters: &Counters) -> Self {
        Self {
            rx_packets: counters.rx_packets.get(),
            turns: counters.turns.get(),
            busy_turns: counters.busy_turns.get(),
            busy_packets: counters.busy_packets.get(),
            busy_cycles: counters.busy_cycles.get(),
            sleep_cycles: counters.sleep_cycles.get(),
        }
    }

    /// What happened since `before`, which is `seconds` ago.
    pub(super) fn rates_since(&self, before: &Self, seconds: f64, tsc_hz: Option<u64>) -> Rates {
        let difference = |of: fn(&Self) -> u64| of(self).saturating_sub(of(before)) as f64;
        let (turns, busy_turns) = (difference(|s| s.turns), difference(|s| s.busy_turns));
        let (packets, cycles) = (difference(|s| s.busy_packets), difference(|s| s.busy_cycles));
        let cycles_passed = tsc_hz.map(|hz| hz as f64 * seconds).filter(|&passed| passed > 0.0);
        let share = |part: f64, of: f64| (part / of).min(1.0);
        Rates {
            packets_per_s: if seconds > 0.0 { difference(|s| s.rx_packets) / seconds } else { 0.0 },
            packets_per_burst: (busy_turns > 0.0).then(|| packets / busy_turns),
            cycles_per_packet: (packets > 0.0).then(|| cycles / packets),
            busy_share: cycles_passed.map(|passed| share(cycles, passed)),
            busy_turns_share: (turns > 0.0).then(|| share(busy_turns, turns)),
            sleep_share: cycles_passed.map(|passed| share(difference(|s| s.sleep_cycles), passed)),
        }
    }
}

/// All workers' rates over the last second, whoever asks and however often.
#[derive(Debug)]
pub(super) struct Gauges {
    at: Instant,
    seen: Vec<Seen>,
    /// Of the last whole interval, with its length in seconds.
    last: Option<(f64, Vec<Rates>)>,
}

/// Looks that follow closer than this, as the first one does the start, are not taken: their rates would say little.
const INTERVAL_MIN: Duration = Duration::from_millis(500);

impl Gauges {
    /// All counters are zero at `at`.
    pub(super) fn start(at: Instant) -> Self {
        Self { at, seen: Vec::new(), last: None }
    }

    /// Ends an interval; to be called once a second.
    pub(super) fn look(&mut self, now: Instant, workers: &[WorkerHandle], tsc_hz: Option<u64>) {
        if now.duration_since(self.at) >= INTERVAL_MIN {
            self.last = Some(self.since_last_look(now, workers, tsc_hz));
            self.seen = workers.iter().map(|worker| Seen::of(&worker.counters)).collect();
            self.at = now;
        }
    }

    /// The last interval's length in seconds and the workers' rates in it; until the first one has ended, those since the
    /// start.
    pub(super) fn rates(&self, now: Instant, workers: &[WorkerHandle], tsc_hz: Option<u64>) -> (f64, Vec<Rates>) {
        self.last.clone().unwrap_or_else(|| self.since_last_look(now, workers, tsc_hz))
    }

    fn since_last_look(&self, now: Instant, workers: &[WorkerHandle], tsc_hz: Option<u64>) -> (f64, Vec<Rates>) {
        let seconds = now.duration_since(self.at).as_secs_f64();
        let rates = workers.iter().enumerate().map(|(index, worker)| {
            let before = self.seen.get(index).copied().unwrap_or_default();
            Seen::of(&worker.counters).rates_since(&before, seconds, tsc_hz)
        });
        (seconds, rates.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HZ: u64 = 1_000_000_000;

    fn seen(scale: u64) -> Seen {
        Seen {
            rx_packets: 900 * scale,
            turns: 1_000 * scale,
            busy_turns: 100 * scale,
            busy_packets: 3_200 * scale,
            busy_cycles: 160_000 * scale,
            sleep_cycles: 500_000 * scale,
        }
    }

    #[test]
    fn rates_follow_from_what_lies_between_two_looks() {
        let rates = seen(3).rates_since(&seen(1), 0.002, Some(HZ));
        let expected = Rates {
            packets_per_s: 900_000.0,
            packets_per_burst: Some(32.0),
            cycles_per_packet: Some(50.0),
            busy_share: Some(0.16),
            busy_turns_share: Some(0.1),
            sleep_share: Some(0.5),
        };
        assert_eq!(rates, expected);
        let unknown = seen(3).rates_since(&seen(1), 0.002, None);
        assert_eq!(unknown, Rates { busy_share: None, sleep_share: None, ..expected });
    }

    #[test]
    fn nothing_is_no_division_by_zero() {
        assert_eq!(seen(1).rates_since(&seen(1), 0.0, Some(HZ)), Rates::default());
        let idle = seen(1).rates_since(&seen(1), 1.0, Some(HZ));
        assert_eq!(idle, Rates { busy_share: Some(0.0), sleep_share: Some(0.0), ..Rates::default() });
        // A clock that was measured a little slow must not make more than all of it.
        assert_eq!(seen(1_000).rates_since(&seen(0), 0.000_1, Some(HZ)).busy_share, Some(1.0));
    }
}
