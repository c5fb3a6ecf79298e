//! The running configuration: takes over new files and health results, and publishes what follows from them.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::{debug, error, info, warn};

use super::checksums::Partial;
use super::compile::{CompileError, Compiler, Overrides};
use super::config::{self, Config, Errors, KeyChange, State, diff};
use super::gauge::Gauges;
use super::recovery::Recoveries;
use super::status::{PortStatus, ReloadReport};
use super::text;
use crate::lb::handle::WorkerHandle;
use crate::lb::publish::Published;

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
    /// Where the workers get their snapshots.
    pub published: Arc<Published>,
    /// All workers, in order of number.
    pub workers: Vec<WorkerHandle>,
    /// Asks the drivers.
    pub ports: PortsCallback,
    /// TSC cycles a second, for the busy share; `None` if not known.
    pub tsc_hz: Option<u64>,
}

/// See the module.
pub struct Manager {
    pub(super) config_path: PathBuf,
    pub(super) loaded: PathBuf,
    pub(super) loaded_at: Instant,
    pub(super) reload_error: Option<String>,
    pub(super) config: Config,
    pub(super) overrides: Overrides,
    pub(super) published: Arc<Published>,
    pub(super) workers: Vec<WorkerHandle>,
    pub(super) ports: PortsCallback,
    pub(super) tsc_hz: Option<u64>,
    pub(super) started: Instant,
    pub(super) standings: HashMap<Key, Standing>,
    pub(super) progress: Vec<Progress>,
    pub(super) gauges: Gauges,
    partial: Partial,
    compiler: Compiler,
    healths: HashMap<Key, Health>,
    recoveries: Recoveries,
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

/// What a backend does, since when and why.
pub(super) struct Standing {
    pub(super) state: State,
    pub(super) since: Instant,
    pub(super) reason: String,
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
        let Parts { config_path, config, compiler, published, workers, ports, tsc_hz } = parts;
        let started = Instant::now();
        let mut manager = Self {
            loaded: config_path.clone(),
            loaded_at: started,
            reload_error: None,
            overrides: Overrides::default(),
            standings: HashMap::new(),
            healths: HashMap::new(),
            recoveries: Recoveries::default(),
            progress: vec![Progress::default(); workers.len()],
            gauges: Gauges::start(started),
            partial: Partial::default(),
            started,
            config_path,
            config,
            compiler,
            published,
            workers,
            ports,
            tsc_hz,
        };
        manager.update_standings();
        manager
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
        self.take_over(&path, loaded)
    }

    /// The second half of a reload: `loaded` is what [`load`] made of the file at `path`.
    ///
    /// # Errors
    /// Why nothing has changed.
    pub fn take_over(&mut self, path: &Path, loaded: Result<Config, ReloadError>) -> Result<ReloadReport, ReloadError> {
        match loaded.and_then(|config| self.apply(path, config)) {
            Ok(report) => {
                info!("reload of {}: {} (generation {})", report.path, report.summary, report.generation);
                report.warnings.iter().for_each(|warning| warn!("{warning}"));
                self.reload_error = None;
                Ok(report)
            }
            Err(error) => {
                error!("reload refused, the running configuration stays: {error}");
                self.reload_error = Some(error.to_string());
                Err(error)
            }
        }
    }

    fn apply(&mut self, path: &Path, config: Config) -> Result<ReloadReport, ReloadError> {
        let name = path.display().to_string();
        let keys = self.config.needs_restart(&config);
        if !keys.is_empty() {
            return Err(ReloadError::NeedsRestart { path: name, keys });
        }
        let mut overrides = self.overrides.clone();
        let forgotten = unproven(&self.config, &config);
        for (service, backend) in &forgotten {
            overrides.set_health(service, backend, None);
        }
        overrides.retain(&config);
        overrides.judge(&config);
        let generation = publish(&mut self.compiler, &self.published, &config, &overrides)
            .map_err(|source| ReloadError::Compile { path: name.clone(), source })?;
        let changes = diff(&self.config, &config);
        let before = std::mem::replace(&mut self.overrides, overrides);
        self.config = config;
        self.loaded = path.to_owned();
        self.loaded_at = Instant::now();
        self.healths.retain(|key, _| !forgotten.contains(key));
        self.note_panics(&before);
        self.update_standings();
        Ok(ReloadReport {
            path: name,
            generation,
            summary: changes.to_string(),
            changes: changes.lines(),
            warnings: self.config.warnings.iter().map(ToString::to_string).collect(),
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
        self.recoveries.begin(&self.config, changes, &mut overrides, Instant::now());
        for change in changes {
            overrides.set_health(&change.service, &change.backend, Some(change.healthy));
        }
        overrides.judge(&self.config);
        let differs = self.config.services.iter().any(|service| {
            let differs = |b| overrides.effective(service, b) != self.overrides.effective(service, b);
            service.backends.iter().any(differs)
        });
        if differs {
            publish(&mut self.compiler, &self.published, &self.config, &overrides)?;
        }
        let before = std::mem::replace(&mut self.overrides, overrides);
        for change in changes {
            self.note_health(change, before.health(&change.service, &change.backend));
        }
        self.note_panics(&before);
        self.update_standings();
        Ok(())
    }

    /// Gives backends that come back more of their weight; to be called once a second.
    ///
    /// # Errors
    /// Why no snapshot could be made; it is tried again at the next step.
    pub fn grow_weights(&mut self) -> Result<(), CompileError> {
        let mut overrides = self.overrides.clone();
        if self.recoveries.grow(&self.config, &mut overrides, Instant::now()) {
            publish(&mut self.compiler, &self.published, &self.config, &overrides)?;
            self.overrides = overrides;
            self.update_standings();
        }
        Ok(())
    }

    fn note_panics(&self, before: &Overrides) {
        for service in &self.config.services {
            let name = &service.name;
            let (did, does) = (before.panics(name), self.overrides.panics(name));
            if did == does {
                continue;
            }
            let (healthy, wanted) = self.overrides.healthy(service);
            if does {
                warn!(
                    "service {name}: only {healthy} of {wanted} backends healthy, less than `panic_threshold`: all of them serve"
                );
            } else {
                info!("service {name}: {healthy} of {wanted} backends healthy, they serve alone again");
            }
        }
    }

    fn note_health(&mut self, change: &HealthChange, before: Option<bool>) {
        let HealthChange { service, backend, healthy, reason } = change;
        if before == Some(*healthy) {
            return;
        }
        let key = (service.clone(), backend.clone());
        let now = Instant::now();
        // Before the first result, good health was taken for granted since the backend came.
        let came = self.standings.get(&key).map_or(now, |standing| standing.since);
        let last_since = self.healths.get(&key).map_or(came, |health| health.since);
        let held = text::duration(now.duration_since(last_since));
        let (left, all) = self.taking_connections(service);
        match (before, *healthy) {
            (None, true) => debug!("backend {service}/{backend} passes its health check"),
            (_, true) => info!("backend {service}/{backend} up after {held}: {reason}, {left} of {all} up"),
            (_, false) => warn!("backend {service}/{backend} down after {held}: {reason}, {left} of {all} left"),
        }
        let since = if before.is_none() && *healthy { last_since } else { now };
        self.healths.insert(key, Health { since, reason: reason.clone() });
    }

    /// How many backends of a service are healthy and wanted up, and how many it has.
    fn taking_connections(&self, service: &str) -> (usize, usize) {
        let Some(service) = self.config.services.iter().find(|s| s.name == service) else { return (0, 0) };
        (self.overrides.healthy(service).0, service.backends.len())
    }

    /// Looks how busy the workers are and whether they turn, and logs it where that has changed; to be called once a second.
    pub fn watch_workers(&mut self) {
        self.gauges.look(Instant::now(), &self.workers, self.tsc_hz);
        if let Some(warning) = self.partial.look(&self.config, &self.workers) {
            warn!("{warning}");
        }
        for (worker, progress) in self.workers.iter().zip(&mut self.progress) {
            let turns = worker.counters.turns.get();
            let was_stalled = progress.is_stalled();
            progress.quiet_looks = if turns == progress.turns { progress.quiet_looks.saturating_add(1) } else { 0 };
            progress.turns = turns;
            let id = worker.id.0;
            match (was_stalled, progress.is_stalled()) {
                (false, true) => error!("worker {id} has not turned for {QUIET_LOOKS_MAX} s; its packets are lost"),
                (true, false) => info!("worker {id} turns again"),
                _ => {}
            }
        }
    }

    fn update_standings(&mut self) {
        let mut before = std::mem::take(&mut self.standings);
        let now = Instant::now();
        for service in &self.config.services {
            for backend in &service.backends {
                let key = (service.name.clone(), backend.name.clone());
                let state = self.overrides.effective(service, backend);
                let since = before.remove(&key).filter(|s| s.state == state).map_or(now, |s| s.since);
                let reason = self.reason(service, backend, &key);
                self.standings.insert(key, Standing { state, since, reason });
            }
        }
        self.healths.retain(|key, _| self.standings.contains_key(key));
    }

    fn reason(&self, service: &config::Service, backend: &config::Backend, key: &Key) -> String {
        let health = self.overrides.health(&service.name, &backend.name);
        let said = self.healths.get(key).map_or("", |health| health.reason.as_str());
        let grows = match self.overrides.share(&service.name, &backend.name) {
            Some(percent) => format!("; {percent} % of its weight for now"),
            None => String::new(),
        };
        match (health, self.overrides.state(&service.name, &backend.name), backend.state) {
            (Some(false), ..) if self.overrides.panics(&service.name) => {
                format!("health check: {said}; serves all the same, too few are healthy")
            }
            (Some(false), ..) => format!("health check: {said}"),
            (_, Some(_), _) => "by command".to_owned(),
            (_, None, State::Drain | State::Down) => "configuration".to_owned(),
            (Some(true), None, State::Up) => format!("health check: {said}{grows}"),
            (None, None, State::Up) if service.health.is_some() => "no health check result yet".to_owned(),
            (None, None, State::Up) => "not checked".to_owned(),
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

#[cfg(test)]
mod tests;
