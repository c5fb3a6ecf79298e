//! What the connections of clients say of backends: who does not answer them, or refuses them, is held down for a time.

use std::time::{Duration, Instant};

use super::by_backend::ByBackend;
use super::config::{self, Backend, Config, Service, State};
use super::holds::Holds;
use super::overrides::Overrides;
use super::text;

/// Fewer openings than it takes to judge within this time are forgotten.
const WINDOW_MAX: Duration = Duration::from_secs(30);

/// Connections of one backend since its counters began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Handshakes {
    /// That clients have opened.
    pub opened: u64,
    /// To which the backend has answered.
    pub answered: u64,
    /// Which it has refused.
    pub refused: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Passive {
    windows: ByBackend<Window>,
    /// Who is held.
    pub holds: Holds,
    evicted: u64,
}

/// What is judged: openings up to the last look, since an answer to the newest ones may be on its way.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Window {
    began: Instant,
    first: Handshakes,
    last: Handshakes,
    /// Whether half-open connections were given up for newer ones, whose answers nobody could count.
    has_evictions: bool,
}

/// How many of how many connections came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Verdict {
    opened: u64,
    unanswered: u64,
    refused: u64,
}

impl Passive {
    /// Judges all backends by their counters of now; to be called about once a second. `evicted` is how many half-open
    /// connections have given way to others so far.
    pub fn look(
        &mut self,
        config: &Config,
        overrides: &Overrides,
        handshakes: impl Fn(&Service, &Backend) -> Handshakes,
        evicted: u64,
        now: Instant,
    ) {
        let has_evictions = std::mem::replace(&mut self.evicted, evicted) != evicted;
        self.windows.retain(config);
        self.holds.retain(config);
        for service in &config.services {
            match &service.passive {
                Some(settings) => {
                    let look = |b: &Backend| handshakes(service, b);
                    self.look_at(service, settings, overrides, look, has_evictions, now);
                }
                None => service.backends.iter().for_each(|b| self.holds.end(&service.name, &b.name)),
            }
        }
    }

    fn look_at(
        &mut self,
        service: &Service,
        settings: &config::Passive,
        overrides: &Overrides,
        handshakes: impl Fn(&Backend) -> Handshakes,
        has_evictions: bool,
        now: Instant,
    ) {
        let wanted = service.backends.iter().filter(|b| overrides.wanted(service, b) == State::Up).count();
        let held_max = wanted * usize::from(settings.held_max_percent) / 100;
        let is_held = |holds: &Holds, b: &Backend| holds.holds(&service.name, &b.name, now);
        let mut held = service.backends.iter().filter(|b| is_held(&self.holds, b)).count();
        for backend in &service.backends {
            let count = handshakes(backend);
            let begin = Window { began: now, first: count, last: count, has_evictions: false };
            let known = self.windows.get(&service.name, &backend.name).copied();
            // Counters that went back are of another backend.
            let known = known.filter(|window| window.last.opened <= count.opened);
            let mut window = known.filter(|_| !is_held(&self.holds, backend)).unwrap_or(begin);
            window.has_evictions |= has_evictions;
            if let Some(verdict) = window.look(count, settings, now)
                && held < held_max
            {
                held += 1;
                let reason = |length| format!("passive check: {verdict}, held for {}", text::duration(length));
                let limits = [settings.hold, settings.hold_max];
                self.holds.begin((&service.name, &backend.name), limits, reason, now);
            }
            self.windows.set(&service.name, &backend.name, Some(window));
        }
    }
}

impl Window {
    /// The verdict if it is bad.
    fn look(&mut self, count: Handshakes, settings: &config::Passive, now: Instant) -> Option<Verdict> {
        let (first, last) = (self.first, self.last);
        let opened = last.opened.saturating_sub(first.opened);
        // Answers up to now, for openings up to the last look: whatever is still on its way speaks for the backend.
        let said = (count.answered + count.refused).saturating_sub(first.answered + first.refused);
        let unanswered = if self.has_evictions { 0 } else { opened.saturating_sub(said) };
        let refused = last.refused.saturating_sub(first.refused).min(opened);
        let is_enough = opened >= u64::from(settings.openings);
        if is_enough || now.saturating_duration_since(self.began) >= WINDOW_MAX {
            *self = Self { began: now, first: last, last: count, has_evictions: false };
        } else {
            self.last = count;
        }
        let is_bad = (unanswered + refused) * 100 >= opened * u64::from(settings.share_percent);
        (is_enough && is_bad).then_some(Verdict { opened, unanswered, refused })
    }
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { opened, unanswered, refused } = self;
        match (unanswered, refused) {
            (_, 0) => write!(f, "{unanswered} of {opened} connections not answered"),
            (0, _) => write!(f, "{refused} of {opened} connections refused"),
            _ => write!(f, "{unanswered} of {opened} connections not answered, {refused} refused"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::fixture::edited;

    /// A service with two backends that are wanted up, and the counters of both, looked at once a second.
    struct Bench {
        config: Config,
        passive: Passive,
        counts: [Handshakes; 2],
        evicted: u64,
        now: Instant,
    }

    impl Bench {
        fn of(keys: &str) -> Self {
            let text = edited(&[("[[service.backend]]", &format!("[service.passive]\n{keys}\n[[service.backend]]"))]);
            let config = Config::parse(&text, "test").unwrap();
            let counts = [Handshakes::default(); 2];
            let mut bench = Self { config, passive: Passive::default(), counts, evicted: 0, now: Instant::now() };
            bench.look();
            bench
        }

        fn add(&mut self, backend: usize, opened: u64, answered: u64, refused: u64) {
            let count = &mut self.counts[backend];
            count.opened += opened;
            count.answered += answered;
            count.refused += refused;
        }

        /// Who is held a second later, and why.
        fn look(&mut self) -> Vec<String> {
            self.now += Duration::from_secs(1);
            let counts = self.counts;
            let of = |_: &Service, b: &Backend| match b.name.as_str() {
                "b1" => counts[0],
                "b2" => counts[1],
                _ => Handshakes::default(),
            };
            self.passive.look(&self.config, &Overrides::default(), of, self.evicted, self.now);
            self.passive.holds.held(self.now).map(|(_, b, reason)| format!("{b}: {reason}")).collect()
        }
    }

    #[test]
    fn who_does_not_answer_or_refuses_is_held_for_longer_each_time() {
        let mut bench = Bench::of("");
        bench.add(0, 50, 2, 0);
        bench.add(1, 50, 50, 0);
        assert_eq!(bench.look(), [""; 0], "answers may be on their way");
        assert_eq!(bench.look(), ["b1: passive check: 48 of 50 connections not answered, held for 10 s"]);
        bench.now += Duration::from_secs(8);
        assert_eq!(bench.look().len(), 1);
        assert_eq!(bench.look().len(), 0, "tried again");
        bench.add(0, 30, 0, 30);
        bench.look();
        assert_eq!(bench.look(), ["b1: passive check: 30 of 30 connections refused, held for 20 s"]);
        bench.now += Duration::from_secs(200);
        bench.add(0, 20, 5, 5);
        bench.look();
        let mixed = "b1: passive check: 10 of 20 connections not answered, 5 refused, held for 10 s";
        assert_eq!(bench.look(), [mixed], "forgotten after good time");
    }

    #[test]
    fn who_answers_is_left_alone_however_the_load_jumps() {
        let mut bench = Bench::of("openings = 5\nshare = 10");
        for opened in [20, 1000, 0, 7, 100_000, 3, 0, 0, 50] {
            bench.add(0, opened, opened, 0);
            assert_eq!(bench.look(), [""; 0], "{opened}");
        }
        // A flood of SYNs from clients that do not exist is answered as well, but each answer comes a second late.
        let mut late = 0;
        for opened in [10_000, 500_000, 500_000, 10, 0, 0] {
            bench.add(0, opened, late, 0);
            late = opened;
            assert_eq!(bench.look(), [""; 0], "{opened}");
        }
    }

    #[test]
    fn what_gave_way_to_a_flood_is_not_held_against_anybody() {
        let mut bench = Bench::of("");
        for _ in 0..5 {
            bench.evicted += 1000;
            bench.add(0, 5000, 4000, 0);
            bench.add(1, 5000, 10, 0);
            assert_eq!(bench.look(), [""; 0]);
        }
        bench.evicted += 1000;
        bench.add(1, 100, 0, 100);
        bench.look();
        bench.add(1, 200, 0, 200);
        bench.look();
        assert_eq!(bench.look().len(), 1, "a refusal is one, flood or not");
    }

    #[test]
    fn never_more_than_the_share_of_a_service_is_held_and_little_is_no_proof() {
        let mut bench = Bench::of("");
        bench.add(0, 50, 0, 0);
        bench.add(1, 50, 0, 0);
        bench.look();
        assert_eq!(bench.look().len(), 1, "half of two");
        let mut none = Bench::of("held_max = 49");
        none.add(0, 50, 0, 0);
        none.look();
        assert_eq!(none.look(), [""; 0]);
        let mut few = Bench::of("");
        for _ in 0..100 {
            few.add(0, 1, 0, 0);
            few.look();
            few.now += Duration::from_secs(2);
        }
        assert_eq!(few.look(), [""; 0], "less than 20 in half a minute");
        few.counts[0] = Handshakes::default();
        few.look();
    }
}
