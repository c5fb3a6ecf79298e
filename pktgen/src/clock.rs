//! Ticks of the time stamp counter as nanoseconds of a run.

/// Nanoseconds of one second.
pub const NS_PER_SECOND: u64 = 1_000_000_000;

/// Turns ticks into nanoseconds since a tick.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: u64,
    hz: u64,
    /// Nanoseconds of a tick, in units of 2^-32.
    ns_per_tick: u64,
}

impl Clock {
    /// Zero is at tick `start`; a second has `hz` ticks.
    #[must_use]
    pub fn new(start: u64, hz: u64) -> Self {
        let hz = hz.max(1);
        let ns_per_tick = (u128::from(NS_PER_SECOND) << 32) / u128::from(hz);
        Self { start, hz, ns_per_tick: ns_per_tick as u64 }
    }

    /// Nanoseconds at a tick; 0 before the start.
    #[inline]
    #[must_use]
    pub fn ns(&self, tick: u64) -> u64 {
        let elapsed = tick.saturating_sub(self.start);
        ((u128::from(elapsed) * u128::from(self.ns_per_tick)) >> 32) as u64
    }

    /// Ticks of one second.
    #[must_use]
    pub const fn hz(&self) -> u64 {
        self.hz
    }

    /// Ticks of a duration.
    #[must_use]
    pub fn ticks(&self, duration: std::time::Duration) -> u64 {
        (duration.as_nanos().saturating_mul(u128::from(self.hz)) / u128::from(NS_PER_SECOND)) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_second_is_a_second() {
        for hz in [1_000_000, 2_494_139_000, 3_000_000_000] {
            let clock = Clock::new(7, hz);
            let hour = clock.ns(7 + hz * 3600);
            assert!(hour.abs_diff(3600 * NS_PER_SECOND) < 1_000_000, "{hour} at {hz}");
            assert_eq!((clock.ns(0), clock.ticks(Duration::from_millis(500))), (0, hz / 2));
        }
    }
}
