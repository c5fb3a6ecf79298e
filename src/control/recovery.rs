//! Backends that come back: how much of its weight each one has by now.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::config::Config;
use super::manager::{HealthChange, Key};
use super::overrides::Overrides;

/// Steps from nothing to the whole weight: each one costs a snapshot.
const STEPS: u32 = 10;

/// Since when backends are on their way back.
#[derive(Default)]
pub struct Recoveries {
    since: HashMap<Key, Instant>,
}

impl Recoveries {
    /// Takes in health results before they are put into service: who was down and is up begins small. `overrides` has
    /// what was known before, and gets the shares.
    pub fn begin(&mut self, config: &Config, changes: &[HealthChange], overrides: &mut Overrides, now: Instant) {
        for change in changes {
            let key = (change.service.clone(), change.backend.clone());
            let was_down = overrides.health(&key.0, &key.1) == Some(false);
            if change.healthy && was_down && slow_start(config, &key.0).is_some() {
                overrides.set_share(&key.0, &key.1, Some(percent(0)));
                self.since.insert(key, now);
            } else if !change.healthy {
                overrides.set_share(&key.0, &key.1, None);
                self.since.remove(&key);
            }
        }
    }

    /// Gives each backend on its way the share that it has earned by now; whether that has changed anything.
    pub fn grow(&mut self, config: &Config, overrides: &mut Overrides, now: Instant) -> bool {
        let mut has_changed = false;
        self.since.retain(|key, since| {
            // A reload may have ended it, or the backend's part in the service.
            let whole = slow_start(config, &key.0).filter(|_| overrides.health(&key.0, &key.1) == Some(true));
            let step = whole.map_or(STEPS, |whole| step(now.saturating_duration_since(*since), whole));
            let share = (step < STEPS).then(|| percent(step));
            has_changed |= overrides.share(&key.0, &key.1) != share;
            overrides.set_share(&key.0, &key.1, share);
            share.is_some()
        });
        has_changed
    }
}

fn slow_start(config: &Config, service: &str) -> Option<Duration> {
    let service = config.services.iter().find(|known| known.name == service)?;
    service.health.as_ref().map(|health| health.slow_start).filter(|whole| !whole.is_zero())
}

/// How many of [`STEPS`] are done.
fn step(elapsed: Duration, whole: Duration) -> u32 {
    let done = elapsed.as_millis() * u128::from(STEPS) / whole.as_millis().max(1);
    u32::try_from(done).unwrap_or(STEPS).min(STEPS)
}

/// The share of a backend that has done so many steps and is at the next: never nothing.
fn percent(step: u32) -> u8 {
    u8::try_from((step + 1).min(STEPS) * 100 / STEPS).unwrap_or(100)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::fixture::edited;

    const MINUTE: Duration = Duration::from_secs(60);

    fn change(healthy: bool) -> HealthChange {
        HealthChange { service: "web".into(), backend: "b1".into(), healthy, reason: String::new() }
    }

    fn config(slow_start: &str) -> Config {
        let text = edited(&[("type = \"tcp\"", &format!("type = \"tcp\"\n{slow_start}"))]);
        Config::parse(&text, "test.toml").unwrap_or_else(|errors| panic!("{errors}"))
    }

    #[test]
    fn who_comes_back_grows_in_steps_to_its_whole_weight() {
        let config = config("slow_start = \"1m\"");
        let (mut recoveries, mut overrides) = (Recoveries::default(), Overrides::default());
        let start = Instant::now();
        recoveries.begin(&config, &[change(true)], &mut overrides, start);
        assert_eq!(overrides.share("web", "b1"), None, "a first result is no return");
        overrides.set_health("web", "b1", Some(false));
        recoveries.begin(&config, &[change(true)], &mut overrides, start);
        overrides.set_health("web", "b1", Some(true));
        assert_eq!(overrides.share("web", "b1"), Some(10));
        let mut shares = Vec::new();
        for second in 0..=60 {
            if recoveries.grow(&config, &mut overrides, start + Duration::from_secs(second)) {
                shares.push((second, overrides.share("web", "b1")));
            }
        }
        let expected: Vec<_> = (1..=10_u8)
            .map(|n| (u64::from(n) * 6, (n < 9).then(|| 10 * (n + 1)).or((n == 9).then_some(100))))
            .collect();
        assert_eq!(shares.last(), Some(&(60, None)));
        assert_eq!(shares, expected);
        assert!(!recoveries.grow(&config, &mut overrides, start + 2 * MINUTE) && recoveries.since.is_empty());
    }

    #[test]
    fn who_goes_down_again_or_has_no_slow_start_any_more_is_forgotten() {
        let slow = config("slow_start = \"1m\"");
        let (mut recoveries, mut overrides) = (Recoveries::default(), Overrides::default());
        let start = Instant::now();
        let come_back = |recoveries: &mut Recoveries, overrides: &mut Overrides| {
            overrides.set_health("web", "b1", Some(false));
            recoveries.begin(&slow, &[change(true)], overrides, start);
            overrides.set_health("web", "b1", Some(true));
            assert_eq!(overrides.share("web", "b1"), Some(10));
        };
        come_back(&mut recoveries, &mut overrides);
        recoveries.begin(&slow, &[change(false)], &mut overrides, start);
        assert!(overrides.share("web", "b1").is_none() && recoveries.since.is_empty());
        come_back(&mut recoveries, &mut overrides);
        assert!(recoveries.grow(&config(""), &mut overrides, start), "a reload has taken it away");
        assert!(overrides.share("web", "b1").is_none() && recoveries.since.is_empty());
        overrides.set_health("web", "b1", Some(false));
        recoveries.begin(&config(""), &[change(true)], &mut overrides, start);
        assert_eq!(overrides.share("web", "b1"), None);
    }
}
