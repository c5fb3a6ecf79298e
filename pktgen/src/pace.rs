//! A token bucket over a counter of ticks: how many packets are due.

use crate::profile::Rate;

/// Seconds of the rate that a sender which was held up may make good for.
const BEHIND_SECONDS: f64 = 0.1;
/// Bounds of that in packets: a burst at least, and no more than the usual receive queue takes at once.
const BEHIND_PACKETS: (f64, f64) = (32.0, 512.0);

/// A token bucket. Tokens come evenly, so the rate does not drift however the calls fall.
#[derive(Clone, Debug)]
pub struct Pace {
    /// Tokens a tick, as a fraction of 2^64; `None` without a limit.
    tokens_per_tick: Option<u64>,
    start: u64,
    /// Tokens given out or lost since `start`.
    spent: u64,
    depth: u64,
    lost: u64,
}

impl Pace {
    /// A bucket that is empty at tick `start` of a clock with `hz` ticks a second.
    #[must_use]
    pub fn new(rate: Rate, hz: u64, start: u64) -> Self {
        let per_tick = rate.per_second().map(|rate| rate / hz.max(1) as f64);
        // A token a tick or more is no limit.
        let tokens_per_tick =
            per_tick.filter(|per_tick| *per_tick < 1.0).map(|per_tick| (per_tick * 2_f64.powi(64)) as u64);
        let (least, most) = BEHIND_PACKETS;
        let depth = rate.per_second().map_or(most, |rate| (rate * BEHIND_SECONDS).clamp(least, most)) as u64;
        Self { tokens_per_tick, start, spent: 0, depth, lost: 0 }
    }

    /// Takes up to `wanted` tokens at tick `now`; returns how many there were.
    #[inline]
    pub fn take(&mut self, now: u64, wanted: u64) -> u64 {
        let Some(tokens_per_tick) = self.tokens_per_tick else { return wanted };
        let elapsed = now.saturating_sub(self.start);
        let earned = ((u128::from(elapsed) * u128::from(tokens_per_tick)) >> 64) as u64;
        let mut due = earned.saturating_sub(self.spent);
        if due > self.depth {
            self.lost += due - self.depth;
            self.spent += due - self.depth;
            due = self.depth;
        }
        let taken = due.min(wanted);
        self.spent += taken;
        taken
    }

    /// Tokens that nobody took in time.
    #[must_use]
    pub const fn lost(&self) -> u64 {
        self.lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HZ: u64 = 2_500_000_000;

    #[test]
    fn the_rate_is_met_whatever_the_steps_are() {
        for rate in [1.0, 999.0, 14_880_952.0, 123_456_789.0] {
            for step in [1_000, 77_777, 1_250_000] {
                let mut pace = Pace::new(Rate::PerSecond(rate), HZ, 5);
                let taken: u64 = (0..=HZ * 2 / step).map(|turn| pace.take(5 + turn * step, 1 << 20)).sum();
                let expected = (HZ * 2 / step * step) as f64 / HZ as f64 * rate;
                let held = (taken + pace.lost()) as f64;
                assert!((held - expected).abs() <= 1.0, "{rate} in steps of {step}: {held}, not {expected}");
                // Half a millisecond is what the bucket is made for.
                assert!(step > 77_777 || rate > 1e7 || pace.lost() == 0, "{rate} in steps of {step}");
            }
        }
    }

    #[test]
    fn a_long_pause_is_not_made_good_for() {
        let mut pace = Pace::new(Rate::PerSecond(1e6), HZ, 0);
        assert_eq!(pace.take(HZ, u64::MAX), 512);
        assert_eq!((pace.lost(), pace.take(HZ, 1)), (1_000_000 - 512, 0));
        assert_eq!(pace.take(HZ + HZ / 1000, u64::MAX), 512, "the rate goes on from here");
        let mut slow = Pace::new(Rate::PerSecond(10.0), HZ, 0);
        assert_eq!((slow.take(HZ + 1, 4), slow.take(HZ + 1, 100)), (4, 6), "what was left stays in the bucket");
    }

    #[test]
    fn without_a_limit_all_is_given() {
        let mut pace = Pace::new(Rate::Max, HZ, 0);
        assert_eq!((pace.take(0, 32), pace.take(0, 32), pace.lost()), (32, 32, 0));
        assert_eq!(Pace::new(Rate::PerSecond(3e9), HZ, 0).take(0, 32), 32, "more than a token a tick");
    }

    proptest! {
        #[test]
        fn never_ahead_of_the_rate(rate in 1.0..1e9_f64, steps in prop::collection::vec((0_u64..10_000_000, 0_u64..64), 1..50)) {
            let mut pace = Pace::new(Rate::PerSecond(rate), HZ, 0);
            let (mut now, mut taken) = (0, 0);
            for (step, wanted) in steps {
                now += step;
                taken += pace.take(now, wanted);
                prop_assert!(taken as f64 <= now as f64 / HZ as f64 * rate + 1.0);
            }
        }
    }
}
