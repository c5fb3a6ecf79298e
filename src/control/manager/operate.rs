//! What the administrator does to backends by command.

use std::collections::HashSet;
use std::time::Instant;

use serde_json::json;
use tracing::{info, warn};

use super::{Key, Manager};
use crate::control::commands::{self, Command, Commands, Unknown};
use crate::control::compile::CompileError;
use crate::control::config::{Backend, Config, Service, State, Word};
use crate::control::events::EventKind;
use crate::control::state_file::StateFile;
use crate::control::status::{Action, BackendReport, BackendRequest};

/// Why a command changed nothing.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// It is about nobody.
    #[error(transparent)]
    Unknown(#[from] Unknown),
    /// It says too little or too much.
    #[error("{0}")]
    Meaning(&'static str),
    /// The packet path cannot do it.
    #[error(transparent)]
    Compile(#[from] CompileError),
}

impl Manager {
    /// Does what a command says, at once. To last beyond a restart, it must be kept: see [`Self::unkept`].
    ///
    /// # Errors
    /// Why nothing has changed.
    pub fn command(&mut self, request: &BackendRequest) -> Result<BackendReport, CommandError> {
        let (service, backend) = commands::find(&self.config, &request.backend)?;
        let (service, backend) = (service.clone(), backend.clone());
        let before = self.overrides.command(&service.name, &backend.name);
        let after = after(request, before)?.beside(&backend);
        let mut overrides = self.overrides.clone();
        overrides.set_command(&service.name, &backend.name, after);
        let connections = self.connections_of(&service, &backend);
        // A drain that is over counts anew if it begins again; the rest of what is said of it is said in its time.
        self.drain(&mut overrides, Instant::now());
        let (before, touched) = self.put(overrides)?;
        self.update_standings_of(&touched);
        let changes = self.changes(&service, &backend, &before, connections);
        let (service_name, name) = (service.name.as_str(), backend.name.as_str());
        let (state, reason) = (self.overrides.effective(&service, &backend).word(), "by command");
        for change in &changes {
            info!(service = service_name, backend = name, state, reason, "backend {change}");
            let fields = json!({ "service": service_name, "backend": name, "state": state });
            self.events.push(EventKind::Command, &format!("backend {change}"), fields);
        }
        self.note_changes(&before);
        let has_some = service.backends.iter().any(|b| self.overrides.admits(&service, b));
        let mut warnings = Vec::new();
        if !has_some && !changes.is_empty() {
            warnings.push(format!("no backend of service {} takes new connections now", service.name));
        }
        warnings.iter().for_each(|warning| warn!(service = service_name, "{warning}"));
        Ok(BackendReport {
            service: service.name.clone(),
            backend: backend.name.clone(),
            generation: self.published.current().generation,
            changes,
            warnings,
        })
    }

    /// The commands that are not in the state file yet, and that file; they count as kept from now on.
    pub fn unkept(&mut self) -> Option<(StateFile, Commands)> {
        let commands = self.overrides.commands();
        if !self.state_file.is_wanted() || self.kept == *commands {
            return None;
        }
        self.kept = commands.clone();
        Some((self.state_file.clone(), commands.clone()))
    }

    /// What has changed for a backend since `before`, in lines for the operator; empty if nothing has.
    fn changes(
        &self,
        service: &Service,
        backend: &Backend,
        before: &super::Overrides,
        connections: u64,
    ) -> Vec<String> {
        let name = format!("{}/{}", service.name, backend.name);
        let command = self.overrides.command(&service.name, &backend.name);
        let mut lines = Vec::new();
        let (was, is) = (before.wanted(service, backend), self.overrides.wanted(service, backend));
        if was != is {
            let why = if command.state.is_some() { "by command" } else { "as the file says" };
            lines.push(format!("{name}: {was} -> {is}, {why}{}", self.consequence(service, backend, is, connections)));
        }
        let (was, is) = (before.weight(service, backend), self.overrides.weight(service, backend));
        if was != is {
            let why = match command.weight {
                Some(_) => format!("by command; the file says {}", backend.weight),
                None => "as the file says".to_owned(),
            };
            lines.push(format!("{name}: weight {was} -> {is}, {why}"));
        }
        lines
    }

    fn consequence(&self, service: &Service, backend: &Backend, wanted: State, connections: u64) -> String {
        let counted = match connections {
            1 => "1 connection".to_owned(),
            n => format!("{n} connections"),
        };
        let plural = if connections == 1 { "s" } else { "" };
        match (wanted, self.overrides.effective(service, backend)) {
            (State::Drain, State::Drain) => format!("; {counted} stay{plural}"),
            (State::Down, _) => format!("; {counted} end{plural}"),
            (State::Up, State::Up) => String::new(),
            (_, state) => {
                let key = (service.name.clone(), backend.name.clone());
                let reason = self.standings.get(&key).map_or("", |standing| standing.reason.as_str());
                format!("; it is {state}: {reason}")
            }
        }
    }

    /// Says which commands a reload has ended, and which still differ from the file; `before` was known of `old`.
    pub(super) fn note_commands(&self, before: &Commands, old: &Config) -> Vec<String> {
        let now = self.overrides.commands();
        let is_there: HashSet<Key> = self
            .config
            .services
            .iter()
            .flat_map(|s| s.backends.iter().map(|b| (s.name.clone(), b.name.clone())))
            .collect();
        let mut notes = Vec::new();
        for (key, command) in before.iter() {
            let (service, backend) = key;
            if now.get(service, backend) == command {
                continue;
            }
            let known = old.services.iter().find(|s| s.name == *service);
            let known = known.and_then(|s| s.backends.iter().find(|b| b.name == *backend));
            let said = known.map_or_else(String::new, |backend| command.against(backend));
            let why = if is_there.contains(key) { "the new file says the same" } else { "it is gone" };
            notes.push(format!("the command about backend {service}/{backend} ({said}) is over: {why}"));
        }
        let differences = now.differences(&self.config);
        if !differences.is_empty() {
            notes.push(commands::summary(&differences));
        }
        notes
    }
}

/// What is said of a backend after a request.
fn after(request: &BackendRequest, before: Command) -> Result<Command, CommandError> {
    let state = |state| Command { state: Some(state), ..before };
    match (request.action, request.weight) {
        (Action::Weight, None) => Err(CommandError::Meaning(
            "`weight` needs the new weight, from 0 to 65535; `reset` goes back to the file's",
        )),
        (Action::Weight, weight) => Ok(Command { weight, ..before }),
        (_, Some(_)) => Err(CommandError::Meaning("a weight is for the action `weight` only")),
        (Action::Drain, None) => Ok(state(State::Drain)),
        (Action::Up, None) => Ok(state(State::Up)),
        (Action::Down, None) => Ok(state(State::Down)),
        (Action::Reset, None) => Ok(Command::default()),
    }
}
