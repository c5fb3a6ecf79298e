//! The endless check of one backend, and when its results count.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::debug;

use super::check::Check;
use super::fault::Outcome;
use super::limits::Limits;
use crate::control::config::Health;
use crate::control::manager::Key;
use crate::lb::response_times::Meter;

/// Longest wait before the first check: checks of many backends are spread over it.
const FIRST_WAIT_MAX: Duration = Duration::from_secs(1);

/// Whether a backend counts as healthy: it changes after `rise` good or `fall` failed checks in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    healthy: bool,
    against: u16,
    rise: u16,
    fall: u16,
}

impl Standing {
    /// Starts as `healthy`; the counts are at least 1.
    pub fn new(healthy: bool, rise: u16, fall: u16) -> Self {
        Self { healthy, against: 0, rise: rise.max(1), fall: fall.max(1) }
    }

    /// Takes in a result; the new standing if that has changed it.
    pub fn observe(&mut self, good: bool) -> Option<bool> {
        if good == self.healthy {
            self.against = 0;
            return None;
        }
        self.against += 1;
        if self.against < if self.healthy { self.fall } else { self.rise } {
            return None;
        }
        *self = Self { healthy: good, against: 0, ..*self };
        Some(good)
    }
}

/// Checks until it is aborted. `report` gets every change of standing, and the first good result where nothing was
/// known before.
pub async fn run<F: Future<Output = ()>>(
    key: Key,
    check: Check,
    known: Option<bool>,
    (limits, times): (Arc<Limits>, Arc<Meter>),
    report: impl Fn(bool, String) -> F,
) {
    let Health { interval, rise, fall, .. } = check.target().health;
    let mut standing = Standing::new(known.unwrap_or(true), rise, fall);
    let mut unknown = known.is_none();
    let mut next = Instant::now() + interval.min(FIRST_WAIT_MAX).mul_f64(share(&key, 0));
    for turn in 1_u64.. {
        tokio::time::sleep_until(next).await;
        let Ok(permit) = check.permits(&limits).acquire().await else { return };
        let started = Instant::now();
        let outcome = check.run().await;
        drop(permit);
        debug!("check of {}/{}: {outcome:?}", key.0, key.1);
        let (good, reason) = match outcome {
            Outcome::Good(how) => {
                times.add(started.elapsed().as_nanos().try_into().unwrap_or(u64::MAX));
                (Some(true), how)
            }
            Outcome::Failed(how) => (Some(false), how),
            Outcome::NotRun(why) => {
                limits.not_run(&key.0, &key.1, &why);
                (None, why)
            }
        };
        if let Some(good) = good {
            let changed = standing.observe(good).is_some();
            if changed || (unknown && good) {
                unknown = false;
                report(good, reason).await;
            }
        }
        next = if turn == 1 && interval > FIRST_WAIT_MAX {
            // The first ones came close together; from now on they are spread over the whole interval.
            started + interval.mul_f64(share(&key, turn))
        } else {
            check.next_after(started, share(&key, turn))
        };
    }
}

/// From 0 to 1, always the same for the same backend and turn.
fn share(key: &Key, turn: u64) -> f64 {
    let mut hasher = DefaultHasher::new();
    (key, turn).hash(&mut hasher);
    (hasher.finish() >> 40) as f64 / (1_u64 << 24) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rise_and_fall_count_results_in_a_row() {
        let mut standing = Standing::new(true, 2, 3);
        let results = [false, false, true, false, false, false, false, true, false, true, true, false];
        let changes: Vec<_> = results.into_iter().map(|good| standing.observe(good)).collect();
        let mut expected = vec![None; 12];
        expected[5] = Some(false);
        expected[10] = Some(true);
        assert_eq!(changes, expected);
    }

    #[test]
    fn one_is_the_least_count() {
        let mut standing = Standing::new(true, 0, 0);
        assert_eq!(standing.observe(false), Some(false));
        assert_eq!(standing.observe(true), Some(true));
    }

    #[test]
    fn shares_are_spread_and_repeatable() {
        let of = |name: &str, turn| share(&("web".to_owned(), name.to_owned()), turn);
        assert_eq!(of("b1", 1), of("b1", 1));
        let shares: Vec<_> = (0..1000).map(|turn| of("b1", turn)).collect();
        assert!(shares.iter().all(|share| (0.0..1.0).contains(share)));
        let early = shares.iter().filter(|share| **share < 0.5).count();
        assert!((400..600).contains(&early), "{early} of 1000 in the first half");
    }
}
