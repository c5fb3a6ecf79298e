//! The endless check of one backend, and when its results count.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::Instant;
use tracing::{debug, warn};

use super::check::{self, Outcome};
use crate::control::config::{Backend, Health, Service};
use crate::control::manager::Key;

/// Longest wait before the first check: checks of many backends are spread over it.
const FIRST_WAIT_MAX: Duration = Duration::from_secs(1);

/// What is checked, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Where checks connect to.
    pub address: SocketAddr,
    /// As configured.
    pub health: Health,
}

impl Target {
    /// Of a backend; `None` if its service has no checks.
    pub fn of(service: &Service, backend: &Backend) -> Option<Self> {
        let health = service.health.clone()?;
        // The configuration's checks see to it that there is a port.
        let port = health.port.or_else(|| service.backend_port(backend))?;
        Some(Self { address: SocketAddr::new(backend.address, port), health })
    }
}

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
    target: Target,
    known: Option<bool>,
    permits: Arc<Semaphore>,
    report: impl Fn(bool, String) -> F,
) {
    let Target { address, health } = target;
    let mut standing = Standing::new(known.unwrap_or(true), health.rise, health.fall);
    let mut unknown = known.is_none();
    let mut next = Instant::now() + spread(&key, 0, health.interval.min(FIRST_WAIT_MAX));
    for turn in 1_u64.. {
        tokio::time::sleep_until(next).await;
        let Ok(permit) = permits.acquire().await else { return };
        let started = Instant::now();
        let outcome = check::run(&health.check, address, health.timeout).await;
        drop(permit);
        debug!("check of {}/{} at {address}: {outcome:?}", key.0, key.1);
        let (good, reason) = match outcome {
            Outcome::Good(how) => (Some(true), how),
            Outcome::Failed(how) => (Some(false), how),
            Outcome::NotRun(why) => {
                warn!("the check of {}/{} could not be run: {why}; nothing is concluded from it", key.0, key.1);
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
        // A twentieth sooner or later, so that checks that once coincide do not do so for ever.
        let swing = health.interval / 10;
        next = started + health.interval - swing / 2 + spread(&key, turn, swing);
    }
}

/// A wait below `range`, always the same for the same backend and turn.
fn spread(key: &Key, turn: u64, range: Duration) -> Duration {
    let mut hasher = DefaultHasher::new();
    (key, turn).hash(&mut hasher);
    let share = (hasher.finish() >> 40) as f64 / (1_u64 << 24) as f64;
    range.mul_f64(share)
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
    fn waits_are_spread_and_repeatable() {
        let range = Duration::from_secs(1);
        let wait = |name: &str, turn| spread(&("web".to_owned(), name.to_owned()), turn, range);
        assert_eq!(wait("b1", 1), wait("b1", 1));
        let waits: Vec<_> = (0..1000).map(|turn| wait("b1", turn)).collect();
        assert!(waits.iter().all(|wait| *wait < range));
        let early = waits.iter().filter(|wait| **wait < range / 2).count();
        assert!((400..600).contains(&early), "{early} of 1000 in the first half");
    }
}
