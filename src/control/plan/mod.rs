//! What a configuration would change, worked out before anything happens.

mod connections;
mod slots;

use std::sync::Arc;
use std::time::Instant;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::compile::{CompileError, Compiler};
use super::config::{Backend, Change, Config, KeyChange, Service, State, diff};
use super::manager::{Carried, carry_over};
use super::overrides::Overrides;
use crate::lb::handle::WorkerHandle;
use crate::lb::hash::HashKey;
use crate::lb::snapshot::Snapshot;
pub use connections::{Touched, TouchedBackend, Why};
pub use slots::MovedSlots;

/// What would change; stable as JSON, and documented in `docs/reload.md`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Plan {
    /// The file that was looked at.
    pub path: String,
    /// What it was compared with.
    pub from: String,
    /// One line, such as `+1 service, -2 backends, 3 weights`.
    pub summary: String,
    /// The keys that only a restart can change; not empty means that a reload would be refused.
    pub restart: Vec<KeyChange>,
    /// Services and backends that differ.
    pub changes: Vec<Change>,
    /// Services of before and after whose lookup table differs.
    pub slots: Vec<MovedSlots>,
    /// Live connections; `null` where two files were compared.
    pub connections: Option<Touched>,
    /// What else to know of the figures.
    pub notes: Vec<String>,
    /// What is allowed in the file but probably not meant.
    pub warnings: Vec<String>,
}

impl Plan {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.restart.is_empty() && self.changes.is_empty()
    }
}

/// What a plan starts from.
pub struct Basis {
    /// Its name.
    pub from: String,
    /// The configuration before.
    pub config: Config,
    /// What health checks and commands say beside it.
    pub overrides: Overrides,
    /// A copy of the one that made the snapshot.
    pub compiler: Compiler,
    /// What follows from all that.
    pub snapshot: Arc<Snapshot>,
    /// Who has the live connections; `None` where nothing runs.
    pub workers: Option<Vec<WorkerHandle>>,
}

/// Stands for the random key of a process that does not run: moves are alike under every key.
const SAMPLE_KEY: [u8; 16] = *b"tidegate's plans";

impl Basis {
    /// A file that nobody runs: its backends are as it says, and there are no connections.
    ///
    /// # Errors
    /// Why it could not be put into service.
    pub fn of_file(config: Config, name: &str) -> Result<Self, CompileError> {
        let workers = config.dataplane.workers.count().try_into().unwrap_or(u16::MAX);
        let mut compiler = Compiler::new(workers, Vec::new(), HashKey::from_bytes(SAMPLE_KEY)).look_ahead(&config);
        let mut overrides = Overrides::default();
        overrides.judge(&config);
        let snapshot = Arc::new(compiler.compile(&config, &overrides, None)?);
        Ok(Self { from: name.to_owned(), config, overrides, compiler, snapshot, workers: None })
    }

    /// What putting `new`, the file at `path`, in the place of this would change.
    ///
    /// # Errors
    /// Why it could not be put into service.
    pub fn plan(&self, path: &str, new: &Config) -> Result<Plan, CompileError> {
        let changes = diff(&self.config, new);
        let restart = self.config.needs_restart(new);
        let Carried { overrides, notes, .. } = self.carried(new);
        let after = self.compiler.look_ahead(new).compile(new, &overrides, Some(&self.snapshot))?;
        let touched =
            |workers: &Vec<WorkerHandle>| Touched::of(&self.snapshot, &after, new, workers, !restart.is_empty());
        Ok(Plan {
            path: path.to_owned(),
            from: self.from.clone(),
            summary: changes.to_string(),
            slots: slots::moved(&self.snapshot, &after, [&self.config, new]),
            connections: self.workers.as_ref().map(touched),
            notes: notes.iter().map(ToString::to_string).chain(self.notes(new, !restart.is_empty())).collect(),
            restart,
            changes: changes.changes().to_vec(),
            warnings: new.warnings.iter().map(ToString::to_string).collect(),
        })
    }

    /// What a reload to `new` starts with.
    fn carried(&self, new: &Config) -> Carried {
        let serving = |service: &Service, backend: &Backend| {
            let id = self.compiler.id(service, backend);
            let of = |workers: &Vec<WorkerHandle>| Some(connections::of(workers, id?));
            let is_down = self.overrides.effective(service, backend) == State::Down;
            (!is_down).then(|| self.workers.as_ref().and_then(of).unwrap_or(0))
        };
        carry_over(&self.config, &self.overrides, new, serving, Instant::now())
    }

    fn notes(&self, new: &Config, restarts: bool) -> Vec<String> {
        let is_keyed = new.dataplane.hash_key.is_some();
        let mut notes = Vec::new();
        if self.workers.is_none() && !is_keyed {
            let note = "without `hash_key` each start draws a key: the moves are those under a sample key";
            notes.push(note.to_owned());
        } else if self.workers.is_some() && restarts && !is_keyed {
            let note = "without `hash_key` the restart draws another key, and nearly every slot moves; see the \
                        moves as those of a reload";
            notes.push(note.to_owned());
        }
        if self.workers.is_none() {
            notes.push("nothing runs: backends are taken to be healthy, and no command is known of".to_owned());
        }
        notes
    }
}

#[cfg(test)]
mod tests;
