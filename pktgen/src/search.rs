//! The binary search for the highest rate without loss (RFC 2544 section 26.1).

/// What a trial found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Trial {
    /// Packets a second that were wanted.
    pub target_pps: f64,
    /// Packets a second that were sent.
    pub offered_pps: f64,
    /// Packets sent.
    pub sent: u64,
    /// Packets of them that did not come back.
    pub lost: u64,
}

impl Trial {
    /// Share of the packets that was lost.
    #[must_use]
    pub fn loss_ratio(&self) -> f64 {
        if self.sent == 0 { 1.0 } else { self.lost as f64 / self.sent as f64 }
    }

    /// Whether the generator sent about what was wanted.
    #[must_use]
    pub fn is_on_target(&self) -> bool {
        self.offered_pps >= self.target_pps * (1.0 - TARGET_MISSED_MAX)
    }
}

/// Share of the wanted rate that a trial may be short of and still count for it.
const TARGET_MISSED_MAX: f64 = 0.02;

/// A search that goes on.
#[derive(Clone, Debug)]
pub struct Search {
    max_pps: f64,
    resolution_pps: f64,
    loss_tolerance: f64,
    /// The highest rate that was good, as it was sent.
    good: Option<Trial>,
    /// A rate that was bad, or the highest there is.
    above_pps: f64,
    next_pps: Option<f64>,
    trials: u32,
}

/// Trials of one search at most; the resolution needs fewer.
const TRIALS_MAX: u32 = 40;

impl Search {
    /// Begins at `max_pps`, and ends when good and bad rates are within `resolution` of it, as a share.
    #[must_use]
    pub fn new(max_pps: f64, resolution: f64, loss_tolerance: f64) -> Self {
        Self {
            max_pps,
            resolution_pps: max_pps * resolution,
            loss_tolerance,
            good: None,
            above_pps: max_pps,
            next_pps: Some(max_pps),
            trials: 0,
        }
    }

    /// The rate to try next, in packets a second; `None` when the search is over.
    #[must_use]
    pub const fn next_pps(&self) -> Option<f64> {
        self.next_pps
    }

    /// Takes the result of the trial at [`next_pps`](Self::next_pps); returns whether it was good.
    pub fn take(&mut self, trial: Trial) -> bool {
        self.trials += 1;
        let is_good = trial.sent > 0 && trial.loss_ratio() <= self.loss_tolerance;
        if is_good {
            if self.good.is_none_or(|good| trial.offered_pps > good.offered_pps) {
                self.good = Some(trial);
            }
            // The generator cannot do more, so nothing above can be tried.
            if !trial.is_on_target() {
                self.above_pps = self.above_pps.min(trial.target_pps).min(trial.offered_pps);
            }
        } else {
            // What was really sent was too much, which may be less than what was wanted.
            self.above_pps = self.above_pps.min(trial.target_pps).min(trial.offered_pps);
        }
        let below_pps = self.good.map_or(0.0, |good| good.offered_pps.min(good.target_pps));
        let is_over = self.above_pps - below_pps <= self.resolution_pps || self.trials >= TRIALS_MAX;
        self.next_pps = (!is_over).then(|| below_pps.midpoint(self.above_pps));
        is_good
    }

    /// The best trial without too much loss.
    #[must_use]
    pub const fn good(&self) -> Option<Trial> {
        self.good
    }

    /// Whether it was not the device that set the limit.
    #[must_use]
    pub fn is_limited_by_generator(&self) -> bool {
        self.good.is_some_and(|good| !good.is_on_target() || good.target_pps >= self.max_pps)
    }

    /// Trials so far.
    #[must_use]
    pub const fn trials(&self) -> u32 {
        self.trials
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A device that forwards up to a rate, behind a generator that sends up to another.
    struct Device {
        capacity_pps: f64,
        generator_pps: f64,
    }

    impl Device {
        fn trial(&self, target_pps: f64) -> Trial {
            let offered_pps = target_pps.min(self.generator_pps);
            let lost = (offered_pps - self.capacity_pps).max(0.0) as u64;
            Trial { target_pps, offered_pps, sent: offered_pps as u64, lost }
        }

        fn search(&self, mut search: Search) -> Search {
            while let Some(pps) = search.next_pps() {
                search.take(self.trial(pps));
            }
            search
        }
    }

    #[test]
    fn the_capacity_is_found_within_the_resolution() {
        for capacity_pps in [10_000.0, 333_333.0, 999_000.0] {
            let device = Device { capacity_pps, generator_pps: 2e6 };
            let search = device.search(Search::new(1e6, 0.01, 0.0));
            let found = search.good().unwrap().offered_pps;
            assert!(found <= capacity_pps + 1.0 && found > capacity_pps - 10_000.0, "{found} of {capacity_pps}");
            assert!(search.trials() <= 9 && !search.is_limited_by_generator(), "{}", search.trials());
        }
    }

    #[test]
    fn a_device_that_takes_all_needs_one_trial() {
        let search = Device { capacity_pps: 2e6, generator_pps: 2e6 }.search(Search::new(1e6, 0.01, 0.0));
        assert_eq!((search.trials(), search.good().unwrap().offered_pps), (1, 1e6));
        assert!(search.is_limited_by_generator());
    }

    #[test]
    fn a_slow_generator_is_not_taken_for_the_device() {
        let search = Device { capacity_pps: 2e6, generator_pps: 4e5 }.search(Search::new(1e6, 0.01, 0.0));
        assert_eq!((search.trials(), search.good().unwrap().offered_pps), (1, 4e5));
        assert!(search.is_limited_by_generator());
        let search = Device { capacity_pps: 3e5, generator_pps: 4e5 }.search(Search::new(1e6, 0.01, 0.0));
        assert!((290_000.0..=300_001.0).contains(&search.good().unwrap().offered_pps));
        assert!(!search.is_limited_by_generator());
    }

    #[test]
    fn tolerance_allows_some_loss_and_a_dead_device_ends_without_a_rate() {
        let device = Device { capacity_pps: 500_000.0, generator_pps: 2e6 };
        let found = device.search(Search::new(1e6, 0.001, 0.1)).good().unwrap().offered_pps;
        assert!((554_000.0..=556_000.0).contains(&found), "{found}");
        let dead = Device { capacity_pps: -1e9, generator_pps: 2e6 }.search(Search::new(1e6, 0.01, 0.0));
        assert_eq!(dead.good(), None);
        let silent = Device { capacity_pps: 1e9, generator_pps: 0.0 }.search(Search::new(1e6, 0.01, 0.0));
        assert_eq!(silent.good(), None);
    }

    proptest! {
        #[test]
        fn always_ends_and_never_answers_more_than_was_good(
            capacity_pps in 1.0..1e8_f64, generator_pps in 1.0..1e8_f64, resolution in 0.0001..0.5_f64,
        ) {
            let search = Device { capacity_pps, generator_pps }.search(Search::new(1e7, resolution, 0.0));
            let trials = search.trials();
            prop_assert!(trials <= TRIALS_MAX);
            if let Some(good) = search.good() {
                prop_assert!(good.offered_pps <= capacity_pps + 1.0);
            }
        }
    }
}
