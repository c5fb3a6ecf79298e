//! The running configuration: takes over new files and health results, and publishes what follows from them.

mod change;
mod edits;
mod operate;
mod reloads;
mod standing;

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use serde_json::json;
use tracing::{debug, error, info, warn};

use change::Left;
pub use operate::CommandError;
pub(super) use reloads::Reloads;
pub(super) use standing::Standing;

use super::checksums::Partial;
use super::commands::{self, Commands};
use super::compile::{CompileError, Compiler};
use super::config::{self, Config, Errors, KeyChange, diff};
use super::confirm::Pending;
use super::drains::Drains;
use super::events::{EventKind, Events};
use super::flaps::Flaps;
use super::floods::{Floods, Line};
use super::gauge::Gauges;
use super::ghosts::{self, Ghosts};
use super::history::Recorder;
use super::links::{LinkChange, Links};
use super::overrides::Overrides;
use super::passive::Passive;
use super::plan::Basis;
use super::recovery::Recoveries;
use super::state_file::StateFile;
use super::status::{PortStatus, ReloadReport, Unconfirmed};
use super::text;
use crate::lb::handle::WorkerHandle;
use crate::lb::hash::HashKey;
use crate::lb::publish::Published;
use crate::lb::response_times::{Keeper, Measured};

/// Answers with the ports as they are now, in the order of the configuration.
pub type PortsCallback = Arc<dyn Fn() -> Vec<PortStatus> + Send + Sync>;

/// What a manager is made of.
pub struct Parts {
    /// The file given at start.
    pub config_path: PathBuf,
    /// What was in it.
    pub config: Config,
    /// The one that made the snapshot in `published`.
    pub compiler: Compiler,
    /// What that snapshot was made of beside the file: commands from before the start.
    pub overrides: Overrides,
    /// Where commands are kept.
    pub state_file: StateFile,
    /// Where the workers get their snapshots.
    pub published: Arc<Published>,
    /// All workers, in order of number.
    pub workers: Vec<WorkerHandle>,
    /// Asks the drivers.
    pub ports: PortsCallback,
    /// TSC cycles a second, for the busy share; `None` if not known.
    pub tsc_hz: Option<u64>,
    /// The key that the workers' tables derive theirs from.
    pub boot_key: HashKey,
}

/// See the module.
pub struct Manager {
    pub(super) config_path: PathBuf,
    pub(super) loaded: PathBuf,
    pub(super) loaded_at: Instant,
    pub(super) reload_error: Option<String>,
    pub(super) config: Arc<Config>,
    pub(super) reloads: Reloads,
    /// Changes over the API that are in no file.
    pub(super) edits: u64,
    pub(super) events: Arc<Events>,
    pub(super) overrides: Overrides,
    pub(super) published: Arc<Published>,
    pub(super) workers: Vec<WorkerHandle>,
    pub(super) ports: PortsCallback,
    pub(super) tsc_hz: Option<u64>,
    pub(super) boot_key: HashKey,
    pub(super) history: Recorder,
    pub(super) started: Instant,
    pub(super) standings: HashMap<Key, Standing>,
    pub(super) progress: Vec<Progress>,
    pub(super) gauges: Gauges,
    pub(super) pending: Option<Pending>,
    partial: Partial,
    state_file: StateFile,
    /// What is in the state file.
    kept: Commands,
    pub(super) compiler: Compiler,
    healths: HashMap<Key, Health>,
    recoveries: Recoveries,
    flaps: Flaps,
    floods: Floods,
    links: Links,
    passive: Passive,
    drains: Drains,
    /// Since when the backends of this role get a service's new connections; the start where there was no other yet.
    roles_since: HashMap<String, Instant>,
    times: Keeper,
}

/// Service and backend.
pub type Key = (String, String);

/// One result of health checks, to be taken over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthChange {
    /// The service's name.
    pub service: String,
    /// The backend's name.
    pub backend: String,
    /// What the checks say now.
    pub healthy: bool,
    /// Why: `connection refused`.
    pub reason: String,
}

/// Why a reload changed nothing.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// The file cannot be read, or something in it is wrong.
    #[error("{0}")]
    Config(#[from] Errors),
    /// Reading it might never end.
    #[error("{0}: not a regular file; name a file that can be read again")]
    NotAFile(String),
    /// One reload at a time can be taken back, and it is clear to what.
    #[error(
        "a reload of {} waits for confirmation for {:.0} s more; `tidegate confirm` lets it stay, `tidegate rollback` \
         takes it back, and then the next one is possible",
        .0.path, .0.left_s
    )]
    Unconfirmed(Unconfirmed),
    /// Something that is fixed at start differs.
    #[error(
        "{path}: these keys cannot change without a restart: {}; restart tidegate, or set them back",
        config::listed(keys)
    )]
    NeedsRestart {
        /// The file.
        path: String,
        /// What differs.
        keys: Vec<KeyChange>,
    },
    /// The packet path cannot do it.
    #[error("{path}: {source}")]
    Compile {
        /// The file.
        path: String,
        /// Why.
        source: CompileError,
    },
}

/// What the checks of a backend said last, and since when they say so.
struct Health {
    since: Instant,
    reason: String,
}

/// Whether a worker's loop turns.
#[derive(Clone, Copy, Default)]
pub(super) struct Progress {
    turns: u64,
    quiet_looks: u32,
}

/// Looks, a second apart, without a turn after which a worker counts as stalled.
const QUIET_LOOKS_MAX: u32 = 5;

impl Progress {
    pub(super) fn is_stalled(self) -> bool {
        self.quiet_looks >= QUIET_LOOKS_MAX
    }
}

impl Manager {
    /// Takes over what is running already.
    pub fn new(parts: Parts) -> Self {
        let Parts { config_path, config, compiler, overrides, state_file, .. } = parts;
        let Parts { published, workers, ports, tsc_hz, boot_key, .. } = parts;
        let started = Instant::now();
        let mut manager = Self {
            loaded: config_path.clone(),
            loaded_at: started,
            reload_error: None,
            kept: overrides.commands().clone(),
            overrides,
            state_file,
            standings: HashMap::new(),
            healths: HashMap::new(),
            recoveries: Recoveries::default(),
            flaps: Flaps::default(),
            floods: Floods::default(),
            links: Links::default(),
            passive: Passive::default(),
            drains: Drains::default(),
            roles_since: HashMap::new(),
            times: Keeper::default(),
            progress: vec![Progress::default(); workers.len()],
            gauges: Gauges::start(started),
            pending: None,
            partial: Partial::default(),
            started,
            config_path,
            config: Arc::new(config),
            reloads: Reloads::default(),
            edits: 0,
            events: Arc::default(),
            compiler,
            published,
            workers,
            ports,
            tsc_hz,
            boot_key,
            history: Recorder::default(),
        };
        manager.update_standings();
        let differences = manager.overrides.commands().differences(&manager.config);
        if !differences.is_empty() {
            warn!("{}", commands::summary(&differences));
        }
        manager
    }

    /// Takes down what happened in this second.
    pub fn keep_history(&mut self) {
        self.history.look(self.started.elapsed(), SystemTime::now(), &self.workers);
    }

    /// The configuration in use.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The file that a reload reads: `path`, or the one given at start.
    pub fn reload_path(&self, path: Option<&Path>) -> PathBuf {
        path.unwrap_or(&self.config_path).to_owned()
    }

    /// Checks a whole file and takes it over, or changes nothing. Connections of backends that stay are not touched.
    ///
    /// # Errors
    /// Why nothing has changed.
    pub fn reload(&mut self, path: Option<&Path>) -> Result<ReloadReport, ReloadError> {
        let path = self.reload_path(path);
        let loaded = load(&path);
        self.take_over(&path, loaded, None)
    }

    /// The second half of a reload: `loaded` is what [`load`] made of the file at `path`. It is taken back after `window`
    /// unless it is confirmed before.
    ///
    /// # Errors
    /// Why nothing has changed.
    pub fn take_over(
        &mut self,
        path: &Path,
        loaded: Result<Config, ReloadError>,
        window: Option<Duration>,
    ) -> Result<ReloadReport, ReloadError> {
        let before = window.map(|window| (self.before(), window));
        let free = self.unconfirmed().map_or(Ok(()), |waits| Err(ReloadError::Unconfirmed(waits)));
        match free.and(loaded).and_then(|config| self.apply(path, config)) {
            Ok(mut report) => {
                let ReloadReport { path, summary, generation, .. } = &report;
                let message = format!("reload of {path}: {summary} (generation {generation})");
                info!(path, summary, generation, "{message}");
                let fields = json!({ "path": path, "summary": summary, "generation": generation });
                self.events.push(EventKind::Reload, &message, fields);
                report.warnings.iter().for_each(|warning| warn!("{warning}"));
                self.reload_error = None;
                self.reloads.note(|counts| &mut counts.done);
                if let Some((before, window)) = before {
                    self.wait_for_confirmation(before, window);
                    report.unconfirmed = self.unconfirmed();
                }
                Ok(report)
            }
            Err(error) => {
                let path = path.display().to_string();
                let message = format!("reload refused, the running configuration stays: {error}");
                error!(path, reason = %error, "{message}");
                self.events.push(EventKind::ReloadFailed, &message, json!({ "path": path }));
                self.reload_error = Some(error.to_string());
                self.reloads.note(|counts| &mut counts.refused);
                Err(error)
            }
        }
    }

    pub(super) fn apply(&mut self, path: &Path, config: Config) -> Result<ReloadReport, ReloadError> {
        let name = path.display().to_string();
        let keys = self.config.needs_restart(&config);
        if !keys.is_empty() {
            return Err(ReloadError::NeedsRestart { path: name, keys });
        }
        let serving = |s: &config::Service, b: &config::Backend| self.serving(s, b);
        let carried = carry_over(&self.config, &self.overrides, &config, serving, Instant::now());
        let Carried { mut overrides, forgotten, mut notes } = carried;
        let refused = |source| ReloadError::Compile { path: name.clone(), source };
        let generation = match publish(&mut self.compiler, &self.published, &config, &overrides) {
            Err(CompileError::Backends(_)) if !overrides.ghosts.is_empty() => {
                notes = Vec::new();
                warn!("there is no room for the connections of removed backends: they are closed");
                overrides.ghosts = Ghosts::default();
                publish(&mut self.compiler, &self.published, &config, &overrides).map_err(refused)?
            }
            published => published.map_err(refused)?,
        };
        let changes = diff(&self.config, &config);
        let before = std::mem::replace(&mut self.overrides, overrides);
        let old = std::mem::replace(&mut self.config, Arc::new(config));
        self.loaded = path.to_owned();
        self.loaded_at = Instant::now();
        self.edits = 0;
        self.healths.retain(|key, _| !forgotten.contains(key));
        self.flaps.retain(&self.config);
        for (service, backend) in moved(&old, &self.config) {
            self.flaps.holds.end(&service, &backend);
            self.passive.holds.end(&service, &backend);
        }
        self.note_changes(&before);
        self.update_standings();
        let mut warnings: Vec<String> = self.config.warnings.iter().map(ToString::to_string).collect();
        warnings.extend(self.note_commands(before.commands(), &old));
        self.note_ghosts(&notes);
        let lines = changes.lines().into_iter().chain(notes.iter().map(|note| format!("~ {note}")));
        Ok(ReloadReport {
            path: name,
            generation,
            edits: 0,
            summary: changes.to_string(),
            changes: lines.collect(),
            warnings,
            unconfirmed: None,
        })
    }

    /// What the checks say of a backend; `None` before their first result.
    pub fn health(&self, service: &str, backend: &str) -> Option<bool> {
        self.overrides.health(service, backend)
    }

    /// Takes over results of health checks, with one snapshot for all of them, and logs what they change.
    ///
    /// # Errors
    /// Why no snapshot could be made; nothing has changed then.
    pub fn set_health(&mut self, changes: &[HealthChange]) -> Result<(), CompileError> {
        let mut overrides = self.overrides.clone();
        let now = Instant::now();
        self.recoveries.begin(&self.config, changes, &mut overrides, now);
        for HealthChange { service, backend, healthy, .. } in changes {
            if !healthy && overrides.health(service, backend) == Some(true) {
                self.flaps.fall(&self.config, service, backend, now);
            }
            overrides.set_health(service, backend, Some(*healthy));
        }
        self.hold(&mut overrides, now);
        let (before, mut touched) = self.put(overrides)?;
        let mut left = Left::default();
        for change in changes {
            let left = left.of(self, &change.service);
            self.note_health(change, before.health(&change.service, &change.backend), left);
        }
        self.note_changes(&before);
        // The reason may be new where nothing else is.
        let named: HashSet<&str> = changes.iter().map(|change| change.service.as_str()).collect();
        let places = self.config.services.iter().enumerate().filter(|(_, s)| named.contains(s.name.as_str()));
        touched.extend(places.map(|(place, _)| place));
        touched.sort_unstable();
        touched.dedup();
        self.update_standings_of(&touched);
        Ok(())
    }

    fn note_health(&mut self, change: &HealthChange, before: Option<bool>, (left, all): (usize, usize)) {
        let HealthChange { service, backend, healthy, reason } = change;
        if before == Some(*healthy) {
            return;
        }
        let key = (service.clone(), backend.clone());
        let now = Instant::now();
        // Before the first result, good health was taken for granted since the backend came.
        let came = self.standings.get(&key).map_or(now, |standing| standing.since);
        let last_since = self.healths.get(&key).map_or(came, |health| health.since);
        let held = now.duration_since(last_since);
        let (held_s, held) = (held.as_secs(), text::duration(held));
        let fields = |state| {
            json!({ "service": service, "backend": backend, "state": state, "reason": reason, "held_s": held_s,
                    "left": left, "all": all })
        };
        match (before, *healthy) {
            (None, true) => debug!(service, backend, reason, "backend {service}/{backend} passes its health check"),
            (_, true) => {
                let message = format!("backend {service}/{backend} up after {held}: {reason}, {left} of {all} up");
                info!(service, backend, state = "up", reason, held_s, left, all, "{message}");
                self.events.push(EventKind::Health, &message, fields("up"));
            }
            (_, false) => {
                let message = format!("backend {service}/{backend} down after {held}: {reason}, {left} of {all} left");
                warn!(service, backend, state = "down", reason, held_s, left, all, "{message}");
                self.events.push(EventKind::Health, &message, fields("down"));
            }
        }
        let since = if before.is_none() && *healthy { last_since } else { now };
        self.healths.insert(key, Health { since, reason: reason.clone() });
    }

    /// Looks how busy the workers are and whether they turn, and logs it where that has changed; to be called once a second.
    pub fn watch_workers(&mut self) {
        self.gauges.look(Instant::now(), &self.workers, self.tsc_hz);
        if let Some(warning) = self.partial.look(&self.config, &self.workers) {
            warn!("{warning}");
        }
        for Line { kind, count, seconds, over, text } in self.floods.look(&self.workers, Instant::now()) {
            if over {
                info!(kind, count, seconds, over, "{text}");
            } else {
                warn!(kind, count, seconds, over, "{text}");
            }
            let fields = json!({ "reason": kind, "count": count, "seconds": seconds, "over": over });
            self.events.push(EventKind::Flood, &text, fields);
        }
        for LinkChange { port, up, text } in self.links.look(&(self.ports)()) {
            if up {
                info!(port, up, "{text}");
            } else {
                warn!(port, up, "{text}");
            }
            self.events.push(EventKind::Link, &text, json!({ "port": port, "up": up }));
        }
        for (worker, progress) in self.workers.iter().zip(&mut self.progress) {
            let turns = worker.counters.turns.get();
            let was_stalled = progress.is_stalled();
            progress.quiet_looks = if turns == progress.turns { progress.quiet_looks.saturating_add(1) } else { 0 };
            progress.turns = turns;
            let id = worker.id.0;
            match (was_stalled, progress.is_stalled()) {
                (false, true) => {
                    let message = format!("worker {id} has not turned for {QUIET_LOOKS_MAX} s; its packets are lost");
                    error!(worker = id, "{message}");
                    self.events.push(EventKind::Worker, &message, json!({ "worker": id, "state": "stalled" }));
                }
                (true, false) => {
                    let message = format!("worker {id} turns again");
                    info!(worker = id, "{message}");
                    self.events.push(EventKind::Worker, &message, json!({ "worker": id, "state": "turns" }));
                }
                _ => {}
            }
        }
    }

    /// Tells the workers how long backends take to answer; `probed` is what the health checks measured. To be called once a
    /// second.
    pub fn keep_times(&mut self, probed: impl Fn(&Key) -> Measured) {
        let Some(team) = self.workers.first().map(|worker| worker.team.clone()) else { return };
        let snapshot = self.published.current();
        let key = |id| {
            let backend = snapshot.backend(id)?;
            Some((snapshot.service(backend.service)?.name.to_string(), backend.name.to_string()))
        };
        let of = |id| key(id).as_ref().map_or_else(Measured::default, &probed);
        self.times.look(&snapshot, team.workers(), of, &team.times);
    }

    /// Each kind of flood, and how often one began.
    pub(super) fn floods(&self) -> Vec<(&'static str, u64)> {
        self.floods.begun().collect()
    }

    /// What runs, for a look ahead on another thread.
    pub fn basis(&self) -> Basis {
        let from = format!("what runs, of {}", self.loaded.display());
        Basis {
            from,
            config: Config::clone(&self.config),
            overrides: self.overrides.clone(),
            compiler: self.compiler.look_ahead(&self.config),
            snapshot: self.published.current(),
            workers: Some(self.workers.clone()),
        }
    }

    /// Time since the start.
    pub fn uptime(&self) -> Duration {
        self.started.elapsed()
    }
}

fn publish(
    compiler: &mut Compiler,
    published: &Published,
    config: &Config,
    overrides: &Overrides,
) -> Result<u64, CompileError> {
    let snapshot = compiler.compile(config, overrides, Some(&published.current()))?;
    let generation = snapshot.generation;
    published.publish(Arc::new(snapshot));
    Ok(generation)
}

/// The first half of a reload: reads and checks the file. May take long, so it needs nothing of the manager.
///
/// # Errors
/// What is wrong with the file.
pub fn load(path: &Path) -> Result<Config, ReloadError> {
    // A pipe or a device would keep the reader waiting, and gives its content once only.
    if std::fs::metadata(path).is_ok_and(|metadata| !metadata.is_file() && !metadata.is_dir()) {
        return Err(ReloadError::NotAFile(path.display().to_string()));
    }
    Ok(Config::load(path)?)
}

/// What goes on from one configuration to the next.
pub(super) struct Carried {
    /// What is known of backends beside the file.
    pub(super) overrides: Overrides,
    /// Backends whose health is unknown again.
    pub(super) forgotten: HashSet<Key>,
    /// What becomes of connections of backends that are removed or back.
    pub(super) notes: Vec<ghosts::Note>,
}

/// What is left of `overrides` when `new` takes the place of `old`; `serving` has the connections of a backend, if they get
/// packets.
pub(super) fn carry_over(
    old: &Config,
    overrides: &Overrides,
    new: &Config,
    serving: impl Fn(&config::Service, &config::Backend) -> Option<u64>,
    now: Instant,
) -> Carried {
    let mut overrides = overrides.clone();
    let forgotten = unproven(old, new);
    for (service, backend) in &forgotten {
        overrides.set_health(service, backend, None);
    }
    overrides.retain(new);
    // What another server did is no fault of the one that has its name now.
    overrides.set_free(&moved(old, new));
    let (ghosts, notes) = ghosts::after(&overrides.ghosts, old, new, serving, now);
    overrides.ghosts = ghosts;
    overrides.judge(new);
    Carried { overrides, forgotten, notes }
}

/// Backends of `old` about which its checks say nothing any more under `new`: gone, elsewhere, or no longer checked.
fn unproven(old: &Config, new: &Config) -> HashSet<Key> {
    let place = |service: &config::Service, backend: &config::Backend| {
        (service.name.clone(), backend.name.clone(), backend.address, service.backend_port(backend))
    };
    let checked = new.services.iter().filter(|service| service.health.is_some());
    let proven: HashSet<_> =
        checked.flat_map(|service| service.backends.iter().map(move |backend| place(service, backend))).collect();
    let before = old.services.iter().flat_map(|service| service.backends.iter().map(move |b| place(service, b)));
    before.filter(|place| !proven.contains(place)).map(|(service, backend, ..)| (service, backend)).collect()
}

/// Backends that have the same name in `old` and `new`, and are at another address or port.
fn moved(old: &Config, new: &Config) -> Vec<Key> {
    let place = |service: &config::Service, backend: &config::Backend| {
        ((service.name.clone(), backend.name.clone()), (backend.address, service.backend_port(backend)))
    };
    let all = |config: &Config| -> HashMap<_, _> {
        config.services.iter().flat_map(|service| service.backends.iter().map(move |b| place(service, b))).collect()
    };
    let (old, new) = (all(old), all(new));
    old.into_iter().filter(|(key, at)| new.get(key).is_some_and(|now| now != at)).map(|(key, _)| key).collect()
}

#[cfg(test)]
mod tests;
