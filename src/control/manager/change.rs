//! How what is known of backends gets into service, and what is said about it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use serde_json::json;
use tracing::{info, warn};

use super::{Manager, publish};
use crate::control::compile::CompileError;
use crate::control::config::{Backend, Role, Service, State, Word};
use crate::control::events::EventKind;
use crate::control::ghosts::{self, Note};
use crate::control::overrides::Overrides;
use crate::control::passive::Handshakes;
use crate::control::text;

impl Manager {
    /// Puts `overrides` into service, with a snapshot if that is anything new to the packet path; gives those before, and the
    /// services of which something is said anew, by place.
    ///
    /// # Errors
    /// Why no snapshot could be made; nothing has changed then.
    pub(super) fn put(&mut self, mut overrides: Overrides) -> Result<(Overrides, Vec<usize>), CompileError> {
        let touched = overrides.touched(&self.overrides, &self.config);
        let service = |place: &usize| self.config.services.get(*place);
        overrides.judge_these(touched.iter().filter_map(service));
        let differs = |place: &usize| service(place).is_some_and(|s| overrides.differs(&self.overrides, s));
        let changed: Vec<usize> = touched.iter().copied().filter(differs).collect();
        if overrides.ghosts != self.overrides.ghosts {
            publish(&mut self.compiler, &self.published, &self.config, &overrides)?;
        } else if !changed.is_empty() {
            let previous = self.published.current();
            let snapshot = self.compiler.amend(&self.config, &overrides, &previous, &changed)?;
            self.published.publish(Arc::new(snapshot));
        }
        Ok((std::mem::replace(&mut self.overrides, overrides), touched))
    }

    /// Does what is a matter of time: weights grow, holds end, drains come to their end, and what clients' connections say is
    /// looked at. To be called once a second.
    ///
    /// # Errors
    /// Why no snapshot could be made; it is tried again the next time.
    pub fn pass_time(&mut self) -> Result<(), CompileError> {
        let now = Instant::now();
        let mut overrides = self.overrides.clone();
        let mut notes = Vec::new();
        self.recoveries.grow(&self.config, &mut overrides, now);
        self.look_at_connections(now);
        self.hold(&mut overrides, now);
        let drains = self.drain(&mut overrides, now);
        if let Some((left, gone)) = ghosts::look(&overrides.ghosts, |s, b| self.connections_of(s, b), now) {
            overrides.ghosts = left;
            notes = gone;
        }
        let (before, touched) = self.put(overrides)?;
        for (service, backend, said) in drains {
            info!(service, backend, state = "drain", reason = said, "backend {service}/{backend} {said}");
        }
        self.note_ghosts(&notes);
        self.note_changes(&before);
        self.update_standings_of(&touched);
        Ok(())
    }

    /// Counts how backends answer clients, and who does not is held down.
    fn look_at_connections(&mut self, now: Instant) {
        let evicted = self.workers.iter().map(|worker| worker.counters.connections_evicted.get()).sum();
        let handshakes = |service: &Service, backend: &Backend| {
            let mut sum = Handshakes::default();
            let Some(id) = self.compiler.id(service, backend) else { return sum };
            for counters in self.workers.iter().filter_map(|worker| worker.counters.handshakes(id)) {
                sum.opened += counters.opened.get();
                sum.answered += counters.answered.get();
                sum.refused += counters.refused.get();
            }
            sum
        };
        self.passive.look(&self.config, &self.overrides, handshakes, evicted, now);
    }

    /// Notes who is held down now.
    pub(super) fn hold(&self, overrides: &mut Overrides, now: Instant) {
        overrides.set_held(self.passive.holds.held(now).chain(self.flaps.holds.held(now)));
    }

    /// Notes who has drained for as long as it may; what there is to say of it.
    pub(super) fn drain(&mut self, overrides: &mut Overrides, now: Instant) -> Vec<(String, String, String)> {
        let mut drains = std::mem::take(&mut self.drains);
        let notes = drains.look(&self.config, overrides, |s, b| self.connections_of(s, b), now);
        self.drains = drains;
        notes
    }

    /// Connections of a backend over all workers.
    pub(in crate::control) fn connections_of(&self, service: &Service, backend: &Backend) -> u64 {
        let Some(id) = self.compiler.id(service, backend) else { return 0 };
        self.workers.iter().map(|worker| u64::from(worker.counters.connections(id))).sum()
    }

    /// Says what else has changed with what is in service since `before`.
    pub(super) fn note_changes(&mut self, before: &Overrides) {
        self.note_held(before);
        self.note_panics(before);
        self.note_roles(before);
    }

    fn note_held(&self, before: &Overrides) {
        let mut counts = Left::default();
        for (service, backend, reason) in self.overrides.all_held() {
            if before.held(service, backend) != Some(reason) {
                let (left, all) = counts.of(self, service);
                let message = format!("backend {service}/{backend} held down: {reason}, {left} of {all} left");
                warn!(service, backend, state = "down", reason, left, all, "{message}");
                let fields = json!({ "service": service, "backend": backend, "state": "down", "reason": reason });
                self.events.push(EventKind::Hold, &message, fields);
            }
        }
        for (service, backend, reason) in before.all_held() {
            if self.overrides.held(service, backend).is_none() {
                let now = self.standings.get(&(service.to_owned(), backend.to_owned()));
                let held_s = now.map_or(0, |standing| standing.since.elapsed().as_secs());
                let (left, all) = counts.of(self, service);
                let message = format!(
                    "backend {service}/{backend} is tried again after its hold: {reason}, {left} of {all} left"
                );
                info!(service, backend, reason, held_s, left, all, "{message}");
                let fields = json!({ "service": service, "backend": backend, "state": "tried", "reason": reason });
                self.events.push(EventKind::Hold, &message, fields);
            }
        }
    }

    fn note_panics(&self, before: &Overrides) {
        for service in &self.config.services {
            let name = &service.name;
            let (did, does) = (before.panics(name), self.overrides.panics(name));
            if did == does {
                continue;
            }
            let (healthy, wanted) = self.overrides.healthy(service);
            let message = if does {
                let why = "less than `panic_threshold`: all of them serve";
                let message = format!("service {name}: only {healthy} of {wanted} backends healthy, {why}");
                warn!(service = name, left = healthy, all = wanted, "{message}");
                message
            } else {
                let message = format!("service {name}: {healthy} of {wanted} backends healthy, they serve alone again");
                info!(service = name, left = healthy, all = wanted, "{message}");
                message
            };
            let fields = json!({ "service": name, "panic": does, "left": healthy, "all": wanted });
            self.events.push(EventKind::Service, &message, fields);
        }
    }

    fn note_roles(&mut self, before: &Overrides) {
        let now = Instant::now();
        for service in &self.config.services {
            let name = &service.name;
            let (was, is) = (before.role(name), self.overrides.role(name));
            if was == is {
                continue;
            }
            let since = self.roles_since.insert(name.clone(), now).unwrap_or(self.started);
            let held = now.saturating_duration_since(since);
            let (held_s, held, role) = (held.as_secs(), text::duration(held), is.word());
            let left = service.backends.iter().filter(|b| self.overrides.admits(service, b)).count();
            let message = match is {
                Role::Primary => {
                    let message = format!(
                        "service {name}: primary backends take connections again after {held} of {was}, {left} of them"
                    );
                    info!(service = name, role, held_s, left, "{message}");
                    message
                }
                Role::Backup | Role::LastResort => {
                    let message =
                        format!("service {name}: no {was} backend takes connections after {held}: {left} {is} now");
                    warn!(service = name, role, held_s, left, "{message}");
                    message
                }
            };
            self.events.push(EventKind::Service, &message, json!({ "service": name, "role": role, "left": left }));
        }
        self.roles_since.retain(|name, _| self.config.services.iter().any(|service| service.name == *name));
    }

    /// Says what becomes of backends that a reload has removed.
    pub(super) fn note_ghosts(&self, notes: &[Note]) {
        for note in notes {
            let Note { service, backend, said } = note;
            info!(service, backend, state = "drain", reason = said, "{note}");
            let fields = json!({ "service": service, "backend": backend, "reason": said });
            self.events.push(EventKind::Removed, &note.to_string(), fields);
        }
    }

    /// Connections of a backend that gets packets; `None` if it is down.
    pub(super) fn serving(&self, service: &Service, backend: &Backend) -> Option<u64> {
        let is_down = self.overrides.effective(service, backend) == State::Down;
        (!is_down).then(|| self.connections_of(service, backend))
    }
}

/// How many backends of services are healthy and wanted up, and how many there are, each counted once: all of a thousand
/// may change together.
#[derive(Default)]
pub(super) struct Left(HashMap<String, (usize, usize)>);

impl Left {
    /// Of this service.
    pub(super) fn of(&mut self, manager: &Manager, service: &str) -> (usize, usize) {
        if let Some(known) = self.0.get(service) {
            return *known;
        }
        let found = manager.config.services.iter().find(|s| s.name == service);
        let counts = found.map_or((0, 0), |s| (manager.overrides.fit(s), s.backends.len()));
        self.0.insert(service.to_owned(), counts);
        counts
    }
}
