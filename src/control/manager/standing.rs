//! What each backend does, since when, and why, in the words of the operator.

use std::time::Instant;

use super::{Key, Manager};
use crate::control::config::{self, Role, State};
use crate::control::text;

/// See the module.
pub(in crate::control) struct Standing {
    pub(in crate::control) state: State,
    pub(in crate::control) since: Instant,
    pub(in crate::control) reason: String,
}

impl Manager {
    /// Notes for who asks what all backends do.
    pub(super) fn update_standings(&mut self) {
        let mut before = std::mem::take(&mut self.standings);
        let now = Instant::now();
        for service in &self.config.services {
            for backend in &service.backends {
                let key = (service.name.clone(), backend.name.clone());
                let standing = self.standing(service, backend, &key, before.remove(&key), now);
                self.standings.insert(key, standing);
            }
        }
        self.healths.retain(|key, _| self.standings.contains_key(key));
    }

    /// The same of the backends of these services, where the configuration is as it was.
    pub(super) fn update_standings_of(&mut self, places: &[usize]) {
        let now = Instant::now();
        for service in places.iter().filter_map(|&place| self.config.services.get(place)) {
            for backend in &service.backends {
                let key = (service.name.clone(), backend.name.clone());
                let before = self.standings.remove(&key);
                let standing = self.standing(service, backend, &key, before, now);
                self.standings.insert(key, standing);
            }
        }
    }

    fn standing(
        &self,
        service: &config::Service,
        backend: &config::Backend,
        key: &Key,
        before: Option<Standing>,
        now: Instant,
    ) -> Standing {
        let state = self.overrides.effective(service, backend);
        let since = before.filter(|s| s.state == state).map_or(now, |s| s.since);
        Standing { state, since, reason: self.reason(service, backend, key) }
    }

    fn reason(&self, service: &config::Service, backend: &config::Backend, key: &Key) -> String {
        let command = self.overrides.command(&service.name, &backend.name);
        let reason = self.reason_of_state(service, backend, key, command.state);
        let role = match (backend.role, self.overrides.role(&service.name)) {
            (Role::Primary, _) => String::new(),
            (own, turn) if own == turn => format!("; {own}, takes connections"),
            (own, _) => format!("; {own}, stands by"),
        };
        match command.weight {
            Some(_) => format!("{reason}{role}; weight by command, the file says {}", backend.weight),
            None => reason + &role,
        }
    }

    fn reason_of_state(
        &self,
        service: &config::Service,
        backend: &config::Backend,
        key: &Key,
        command: Option<State>,
    ) -> String {
        let health = self.overrides.health(&service.name, &backend.name);
        let said = self.healths.get(key).map_or("", |health| health.reason.as_str());
        let grows = match self.overrides.share(&service.name, &backend.name) {
            Some(percent) => format!("; {percent} % of its weight for now"),
            None => String::new(),
        };
        let (service_name, name) = (service.name.as_str(), backend.name.as_str());
        if backend.role != Role::LastResort
            && !self.overrides.panics(service_name)
            && let Some(held) = self.overrides.held(service_name, name)
        {
            return held.to_owned();
        }
        if self.overrides.is_drained(service, backend) {
            return format!("drained for {}", text::duration(service.drain_timeout));
        }
        let by_command = match command {
            Some(_) => format!("by command, the file says {}", backend.state),
            None => String::new(),
        };
        match (health, command, backend.state) {
            (Some(false), ..) if self.overrides.panics(&service.name) => {
                format!("health check: {said}; serves all the same, too few are healthy")
            }
            (Some(false), ..) if backend.role == Role::LastResort => {
                format!("health check: {said}; serves all the same, it is the last resort")
            }
            (Some(false), Some(wanted), _) => format!("health check: {said}; {wanted} {by_command}"),
            (Some(false), None, _) => format!("health check: {said}"),
            (_, Some(_), _) => by_command,
            (_, None, State::Drain | State::Down) => "configuration".to_owned(),
            (Some(true), None, State::Up) => format!("health check: {said}{grows}"),
            (None, None, State::Up) if service.health.is_some() => "no health check result yet".to_owned(),
            (None, None, State::Up) => "not checked".to_owned(),
        }
    }
}
