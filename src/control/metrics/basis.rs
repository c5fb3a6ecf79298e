//! What metrics are made from, taken from the manager in a moment: afterwards nobody has to wait for them.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::control::api::DoorCounts;
use crate::control::config::{Config, Role, State};
use crate::control::manager::{Manager, PortsCallback, Reloads};
use crate::control::overrides::Overrides;
use crate::control::status::PortStatus;
use crate::lb::handle::WorkerHandle;
use crate::lb::ids::BackendId;
use crate::lb::snapshot::Snapshot;

/// What is taken while the manager waits: shared data, and a few numbers.
pub(in crate::control) struct Sources {
    config: Arc<Config>,
    overrides: Overrides,
    snapshot: Arc<Snapshot>,
    ports: PortsCallback,
    rest: Rest,
}

/// What is small.
pub(super) struct Rest {
    pub(super) workers: Vec<WorkerHandle>,
    pub(super) stalled: Vec<bool>,
    pub(super) tsc_hz: Option<u64>,
    pub(super) uptime: Duration,
    pub(super) loaded: Duration,
    pub(super) generation: u64,
    pub(super) reloads: Reloads,
    pub(super) has_reload_error: bool,
    pub(super) unconfirmed: bool,
    pub(super) by_command: usize,
    pub(super) floods: Vec<(&'static str, u64)>,
    pub(super) door: DoorCounts,
}

/// Everything that metrics are made from.
pub struct Basis {
    pub(super) config: Arc<Config>,
    pub(super) ports: Vec<PortStatus>,
    pub(super) services: Vec<ServiceRow>,
    pub(super) backends: Vec<BackendRow>,
    pub(super) rest: Rest,
    /// When it was taken, since 1970.
    pub(super) now: Duration,
}

/// What is shown of a service.
pub(super) struct ServiceRow {
    /// Its place in the configuration.
    pub(super) place: usize,
    pub(super) backends: u64,
    pub(super) admitting: u64,
    pub(super) removed: u64,
    pub(super) panics: bool,
    pub(super) stands_in: bool,
}

/// What is shown of a backend.
pub(super) struct BackendRow {
    /// The places of its service, and of itself in that.
    pub(super) service: usize,
    pub(super) place: usize,
    pub(super) id: BackendId,
    pub(super) state: State,
    pub(super) admits: bool,
    pub(super) weight: u16,
    /// `None` if it is not checked, or there is no result yet.
    pub(super) healthy: Option<bool>,
    pub(super) is_held: bool,
    /// Whether the service goes by how long backends take to answer.
    pub(super) is_timed: bool,
}

impl Manager {
    /// For `/metrics`.
    pub(in crate::control) fn metric_sources(&self, door: DoorCounts) -> Sources {
        let snapshot = self.snapshot();
        Sources {
            ports: self.ports_callback(),
            rest: Rest {
                workers: self.workers.clone(),
                stalled: self.progress.iter().map(|progress| progress.is_stalled()).collect(),
                tsc_hz: self.tsc_hz,
                uptime: self.uptime(),
                loaded: self.loaded_at.elapsed(),
                generation: snapshot.generation,
                reloads: self.reloads,
                has_reload_error: self.reload_error.is_some(),
                unconfirmed: self.unconfirmed().is_some(),
                by_command: self.overrides.commands().iter().count(),
                floods: self.floods(),
                door,
            },
            config: self.config.clone(),
            overrides: self.overrides.clone(),
            snapshot,
        }
    }
}

impl Sources {
    /// The rest of the work, which asks drivers and may take a while with many backends.
    pub(in crate::control) fn prepare(self) -> Basis {
        let Self { config, overrides, snapshot, ports, rest } = self;
        let mut backends = Vec::with_capacity(config.services.iter().map(|s| s.backends.len()).sum());
        let mut services = Vec::with_capacity(config.services.len());
        // The newest snapshot has the services of the configuration in its order, and their backends in theirs.
        for (at, (service, known)) in config.services.iter().zip(snapshot.services()).enumerate() {
            let first = backends.len();
            let is_timed = known.wants_times();
            for (place, (backend, &id)) in service.backends.iter().zip(&known.backends).enumerate() {
                let health = overrides.health(&service.name, &backend.name);
                backends.push(BackendRow {
                    service: at,
                    place,
                    id,
                    state: overrides.effective(service, backend),
                    admits: overrides.admits(service, backend),
                    weight: overrides.weight(service, backend),
                    healthy: health.filter(|_| service.health.is_some()),
                    is_held: overrides.held(&service.name, &backend.name).is_some(),
                    is_timed,
                });
            }
            let own = backends.get(first..).unwrap_or_default();
            services.push(ServiceRow {
                place: at,
                backends: own.len() as u64,
                admitting: own.iter().filter(|row| row.admits).count() as u64,
                removed: overrides.ghosts.iter().filter(|ghost| ghost.service.name == service.name).count() as u64,
                panics: overrides.panics(&service.name),
                stands_in: overrides.role(&service.name) != Role::Primary,
            });
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Basis { config, ports: ports(), services, backends, rest, now }
    }
}

impl Basis {
    pub(super) fn workers(&self) -> &[WorkerHandle] {
        &self.rest.workers
    }
}
