//! Backends that drain: since when they do, and what becomes of their last connections.

use std::time::{Duration, Instant};

use super::by_backend::ByBackend;
use super::config::{Backend, Config, DrainAction, Service, State};
use super::overrides::Overrides;
use super::text;

/// See the module.
#[derive(Debug, Default)]
pub struct Drains(ByBackend<Drain>);

#[derive(Clone, Copy, Debug, PartialEq)]
struct Drain {
    since: Instant,
    is_empty: bool,
    is_over: bool,
}

impl Drains {
    /// Finds out who drains and whose time is over, which `overrides` gets; what there is to say of it, by backend.
    /// `connections` are those of a backend.
    pub fn look(
        &mut self,
        config: &Config,
        overrides: &mut Overrides,
        connections: impl Fn(&Service, &Backend) -> u64,
        now: Instant,
    ) -> Vec<(String, String, String)> {
        let mut all = ByBackend::default();
        let mut notes = Vec::new();
        for service in &config.services {
            let draining = service.backends.iter().filter(|b| overrides.wanted(service, b) == State::Drain);
            for backend in draining {
                let before = self.0.get(&service.name, &backend.name).copied();
                let left = connections(service, backend);
                // Who has no connection from the first was never waited for.
                let mut drain = before.unwrap_or(Drain { since: now, is_empty: left == 0, is_over: false });
                let elapsed = now.saturating_duration_since(drain.since);
                let said = drain.look(service, elapsed, left);
                notes.extend(said.map(|said| (service.name.clone(), backend.name.clone(), said)));
                all.set(&service.name, &backend.name, Some(drain));
            }
        }
        let over = all.iter().filter(|(.., drain)| drain.is_over).map(|(service, backend, _)| (service, backend));
        overrides.set_drained(over, config);
        self.0 = all;
        notes
    }
}

impl Drain {
    fn look(&mut self, service: &Service, elapsed: Duration, left: u64) -> Option<String> {
        let was = *self;
        self.is_over = !service.drain_timeout.is_zero() && elapsed >= service.drain_timeout;
        self.is_empty = left == 0;
        let after = text::duration(elapsed);
        let left = text::counted(left, "connection");
        match (was.is_over, self.is_over) {
            (false, true) if !self.is_empty => Some(match service.drain_action {
                DrainAction::Close => format!("drained for {after}: {left} closed"),
                DrainAction::Leave => format!("drained for {after}: {left} left, and may stay"),
            }),
            (false, _) if self.is_empty && !was.is_empty => Some(format!("drained after {after}: no connection left")),
            _ => None,
        }
    }
}
