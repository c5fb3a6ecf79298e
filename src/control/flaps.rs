//! Backends whose health changes too often: who falls again and again is held down until it is steady.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::by_backend::ByBackend;
use super::config::Config;
use super::holds::Holds;
use super::text;

/// So many falls within [`WINDOW`] are too many.
const FALLS_MAX: usize = 3;
const WINDOW: Duration = Duration::from_secs(60);

/// See the module.
#[derive(Debug, Default)]
pub struct Flaps {
    falls: ByBackend<VecDeque<Instant>>,
    /// Who is held.
    pub holds: Holds,
}

impl Flaps {
    /// Takes in that the health checks of a backend that was healthy have failed.
    pub fn fall(&mut self, config: &Config, service: &str, backend: &str, now: Instant) {
        let health = config.services.iter().find(|s| s.name == service).and_then(|s| s.health.as_ref());
        let Some(health) = health.filter(|health| !health.flap_hold.is_zero()) else { return };
        if self.holds.holds(service, backend, now) {
            return;
        }
        let mut falls = self.falls.get(service, backend).cloned().unwrap_or_default();
        falls.push_back(now);
        while falls.front().is_some_and(|fall| now.duration_since(*fall) >= WINDOW) {
            falls.pop_front();
        }
        let (count, again) = (falls.len(), self.holds.remembers(service, backend, now));
        if count < FALLS_MAX && !again {
            self.falls.set(service, backend, Some(falls));
            return;
        }
        self.falls.set(service, backend, None);
        let why = if again { "down again".to_owned() } else { format!("down {count} times in a minute") };
        let limits = [health.flap_hold, health.flap_hold_max];
        let reason = |length| format!("flapping: {why}, held for {}", text::duration(length));
        self.holds.begin((service, backend), limits, reason, now);
    }

    /// Forgets backends that `config` does not have, and what it does not want held.
    pub fn retain(&mut self, config: &Config) {
        self.falls.retain(config);
        self.holds.retain(config);
        for service in config.services.iter().filter(|s| s.health.as_ref().is_none_or(|h| h.flap_hold.is_zero())) {
            service.backends.iter().for_each(|backend| self.holds.end(&service.name, &backend.name));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::fixture::edited;

    #[test]
    fn the_third_fall_within_a_minute_is_held_and_the_next_one_for_longer() {
        let config = Config::parse(&edited(&[]), "test").unwrap();
        let (mut flaps, start) = (Flaps::default(), Instant::now());
        let at = |second| start + Duration::from_secs(second);
        let fall = |flaps: &mut Flaps, second| {
            flaps.fall(&config, "web", "b1", at(second));
            flaps.holds.held(at(second)).map(|(.., reason)| reason.to_owned()).next()
        };
        let seldom: Vec<_> = [0, 40, 80, 120, 160].map(|second| fall(&mut flaps, second)).into();
        assert_eq!(seldom, vec![None; 5]);
        assert_eq!(fall(&mut flaps, 170).as_deref(), Some("flapping: down 3 times in a minute, held for 10 s"));
        assert!(flaps.holds.holds("web", "b1", at(179)) && !flaps.holds.holds("web", "b1", at(180)));
        assert_eq!(fall(&mut flaps, 190).as_deref(), Some("flapping: down again, held for 20 s"));
        let unmoved = fall(&mut flaps, 195);
        assert_eq!(unmoved.as_deref(), Some("flapping: down again, held for 20 s"), "a fall while held is none");
        assert!(!flaps.holds.holds("web", "b1", at(210)));
        assert_eq!(fall(&mut flaps, 300), None, "forgotten");
        let off = Config::parse(&edited(&[("type = \"tcp\"", "type = \"tcp\"\nflap_hold = 0")]), "test").unwrap();
        (301..310).for_each(|second| flaps.fall(&off, "web", "b1", at(second)));
        assert_eq!(flaps.holds.held(at(310)).count(), 0);
    }
}
