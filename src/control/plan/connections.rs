//! Which live connections a configuration would end, and why.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::control::config::Config;
use crate::lb::handle::WorkerHandle;
use crate::lb::ids::BackendId;
use crate::lb::snapshot::{Backend, Snapshot};

/// Live connections, and those that would not go on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Touched {
    /// All that there are.
    pub total: u64,
    /// Those of `backends`; all of them if a restart is needed.
    pub touched: u64,
    /// Backends that have connections which a reload would end.
    pub backends: Vec<TouchedBackend>,
}

/// One backend whose connections end: their next packet is as the first of a new connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TouchedBackend {
    /// The service's name, before.
    pub service: String,
    /// The backend's name, before.
    pub backend: String,
    /// How many connections it has.
    pub connections: u64,
    /// Why they end.
    pub why: Why,
}

/// Why a backend's connections end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Why {
    /// It is not in the configuration any more.
    Removed,
    /// It is not the same one any more: another address or port, or its service has another VIP, port, protocol, mode or
    /// `client_address`.
    Replaced,
    /// Nothing is sent to it any more.
    Down,
}

impl Why {
    /// As the end of a sentence.
    pub fn text(self) -> &'static str {
        match self {
            Self::Removed => "it is removed",
            Self::Replaced => "it becomes another server, or its service another one",
            Self::Down => "it goes down",
        }
    }
}

/// Connections of a backend over all workers.
pub(super) fn of(workers: &[WorkerHandle], id: BackendId) -> u64 {
    workers.iter().map(|worker| u64::from(worker.counters.connections(id))).sum()
}

impl Touched {
    /// What going from `before` to `after`, the snapshot of `config`, does to the connections of `workers`.
    pub(super) fn of(
        before: &Snapshot,
        after: &Snapshot,
        config: &Config,
        workers: &[WorkerHandle],
        restarts: bool,
    ) -> Self {
        let touched = |backend: &Backend| {
            let service = before.service(backend.service).map_or("", |service| &*service.name);
            let connections = of(workers, backend.id);
            let why = why(service, backend, after, config).filter(|_| connections > 0)?;
            let (service, backend) = (service.to_owned(), backend.name.to_string());
            Some(TouchedBackend { service, backend, connections, why })
        };
        let order = before.services().iter().flat_map(|service| service.backends.iter());
        let backends: Vec<_> = order.filter_map(|&id| before.backend(id)).filter_map(touched).collect();
        let total = workers.iter().map(|worker| worker.counters.connections_active.get()).sum();
        let ended = backends.iter().map(|backend| backend.connections).sum();
        Self { total, touched: if restarts { total } else { ended }, backends }
    }
}

/// Why the connections that `backend` has in its snapshot do not go on in `after`; `None` if they do.
fn why(service: &str, backend: &Backend, after: &Snapshot, config: &Config) -> Option<Why> {
    match after.backend(backend.id) {
        // Those of a backend that is down already end without any reload.
        Some(next) => (backend.serves && !next.serves).then_some(Why::Down),
        None => {
            let service = config.services.iter().find(|other| other.name == service);
            let stays = service.is_some_and(|service| service.backends.iter().any(|b| *b.name == *backend.name));
            Some(if stays { Why::Replaced } else { Why::Removed })
        }
    }
}
