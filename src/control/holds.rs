//! Backends that are held down for a time, each time for longer, until they have been good for a while.

use std::time::{Duration, Instant};

use super::by_backend::ByBackend;
use super::config::Config;

/// Who is held again within this time of its last hold, or within the length of that if it was longer, is held twice as long.
const MEMORY_MIN: Duration = Duration::from_secs(60);

/// See the module.
#[derive(Debug, Default)]
pub struct Holds(ByBackend<Hold>);

#[derive(Debug, Clone, PartialEq)]
struct Hold {
    length: Duration,
    until: Instant,
    reason: String,
}

impl Hold {
    fn is_remembered(&self, now: Instant) -> bool {
        now < self.until + self.length.max(MEMORY_MIN)
    }
}

impl Holds {
    /// Holds a backend, for `first` if it has been good for a while, else for twice as long as the last time, at most for
    /// `max`.
    pub fn begin(
        &mut self,
        (service, backend): (&str, &str),
        [first, max]: [Duration; 2],
        reason: impl FnOnce(Duration) -> String,
        now: Instant,
    ) {
        let last = self.0.get(service, backend).filter(|hold| hold.is_remembered(now));
        let length = last.map_or(first, |hold| hold.length.saturating_mul(2)).min(max.max(first));
        let hold = Hold { length, until: now + length, reason: reason(length) };
        self.0.set(service, backend, Some(hold));
    }

    /// Whether a backend is held.
    pub fn holds(&self, service: &str, backend: &str, now: Instant) -> bool {
        self.0.get(service, backend).is_some_and(|hold| now < hold.until)
    }

    /// Whether a backend was held not long ago, and is not now.
    pub fn remembers(&self, service: &str, backend: &str, now: Instant) -> bool {
        self.0.get(service, backend).is_some_and(|hold| now >= hold.until && hold.is_remembered(now))
    }

    /// All who are held, and why.
    pub fn held(&self, now: Instant) -> impl Iterator<Item = (&str, &str, &str)> {
        let held = self.0.iter().filter(move |(.., hold)| now < hold.until);
        held.map(|(service, backend, hold)| (service, backend, hold.reason.as_str()))
    }

    /// Forgets backends that `config` does not have.
    pub fn retain(&mut self, config: &Config) {
        self.0.retain(config);
    }

    /// Ends the hold of a backend and forgets it.
    pub fn end(&mut self, service: &str, backend: &str) {
        self.0.set(service, backend, None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_hold_is_twice_as_long_until_the_backend_has_been_good() {
        let (mut holds, mut now) = (Holds::default(), Instant::now());
        let second = Duration::from_secs(1);
        let mut lengths = Vec::new();
        for _ in 0..5 {
            holds.begin(("web", "b1"), [10 * second, 60 * second], |length| format!("{}", length.as_secs()), now);
            let length =
                holds.held(now).next().map(|(.., reason)| Duration::from_secs(reason.parse().unwrap())).unwrap();
            lengths.push(length.as_secs());
            assert!(holds.holds("web", "b1", now + length - second) && !holds.holds("web", "b2", now));
            now += length;
            assert!(!holds.holds("web", "b1", now) && holds.remembers("web", "b1", now + 59 * second));
        }
        assert_eq!(lengths, [10, 20, 40, 60, 60]);
        now += 60 * second;
        assert!(!holds.remembers("web", "b1", now));
        holds.begin(("web", "b1"), [10 * second, 60 * second], |length| format!("{length:?}"), now);
        assert_eq!(holds.held(now).collect::<Vec<_>>(), [("web", "b1", "10s")]);
        holds.end("web", "b1");
        assert_eq!(holds.held(now).count(), 0);
    }
}
