//! Metrics of services and backends.

use super::basis::{BackendRow, Basis, ServiceRow};
use super::family::{Family, Source, Value};
use crate::control::config::State;
use crate::lb::counters::BackendCounters;

const fn service(name: &'static str, help: &'static str, of: fn(&ServiceRow) -> Option<Value>) -> Family {
    Family { name, labels: &["service"], help, source: Source::Service(of) }
}

const fn backend(name: &'static str, help: &'static str, of: fn(&Basis, &BackendRow) -> Option<Value>) -> Family {
    Family { name, labels: &["service", "backend"], help, source: Source::Backend(of) }
}

/// By service.
pub(super) static SERVICES: [Family; 5] = [
    service("tidegate_service_backends", "Backends of the configuration", |s| Some(s.backends.into())),
    service("tidegate_service_backends_up", "Backends that take new connections", |s| Some(s.admitting.into())),
    service(
        "tidegate_service_backends_removed",
        "Backends that a reload has removed and that keep their connections",
        |s| Some(s.removed.into()),
    ),
    service("tidegate_service_panic", "1 if so few backends are healthy that all of them serve", |s| {
        Some(s.panics.into())
    }),
    service("tidegate_service_backups_serve", "1 if backups or last resorts take the connections", |s| {
        Some(s.stands_in.into())
    }),
];

/// By backend.
pub(super) static BACKENDS: [Family; 14] = [
    backend("tidegate_backend_up", "1 if it is up, all taken together: administrator, health checks, holds", |_, b| {
        Some((b.state == State::Up).into())
    }),
    backend("tidegate_backend_draining", "1 if it takes no new connections and keeps the old ones", |_, b| {
        Some((b.state == State::Drain).into())
    }),
    backend("tidegate_backend_admits", "1 if it gets new connections now", |_, b| Some(b.admits.into())),
    backend(
        "tidegate_backend_healthy",
        "1 if its health checks pass; none if it is not checked, or there is no result yet",
        |_, b| b.healthy.map(Into::into),
    ),
    backend("tidegate_backend_held", "1 if it is held down for flapping or for not answering clients", |_, b| {
        Some(b.is_held.into())
    }),
    backend(
        "tidegate_backend_weight",
        "Share of new connections that is wanted, by command or by the configuration",
        |_, b| Some(u64::from(b.weight).into()),
    ),
    backend("tidegate_backend_connections", "Connections open now", |basis, b| {
        Some(basis.workers().iter().map(|w| u64::from(w.counters.connections(b.id))).sum::<u64>().into())
    }),
    backend("tidegate_backend_connections_total", "Connections opened", |basis, b| {
        Some(sum(basis, b, |counters| counters.connections_total.get()))
    }),
    backend("tidegate_backend_packets_total", "Packets to it and, through NAT, from it", |basis, b| {
        Some(sum(basis, b, |counters| counters.packets.get()))
    }),
    backend("tidegate_backend_bytes_total", "Bytes of those packets", |basis, b| {
        Some(sum(basis, b, |counters| counters.bytes.get()))
    }),
    backend(
        "tidegate_backend_handshakes_total",
        "TCP connections through NAT that a client's SYN has opened",
        |basis, b| handshakes(basis, b).map(|[opened, ..]| opened.into()),
    ),
    backend(
        "tidegate_backend_handshakes_answered_total",
        "Those of them to which the backend has said something",
        |basis, b| handshakes(basis, b).map(|[_, answered, _]| answered.into()),
    ),
    backend(
        "tidegate_backend_handshakes_refused_total",
        "Those of them to which the backend has said RST",
        |basis, b| handshakes(basis, b).map(|[.., refused]| refused.into()),
    ),
    backend(
        "tidegate_backend_response_time_seconds",
        "What the scheduler lrt goes by: how long it takes to answer, smoothed",
        |basis, b| {
            let time_ns = basis.workers().first().filter(|_| b.is_timed).map_or(0, |w| w.team.times.of(b.id));
            (time_ns > 0).then(|| (f64::from(time_ns) / 1e9).into())
        },
    ),
];

fn sum(basis: &Basis, row: &BackendRow, of: fn(&BackendCounters) -> u64) -> Value {
    basis.workers().iter().filter_map(|worker| worker.counters.backend(row.id)).map(of).sum::<u64>().into()
}

/// Opened, answered and refused; `None` where the replies do not come by here.
fn handshakes(basis: &Basis, row: &BackendRow) -> Option<[u64; 3]> {
    basis.config.services.get(row.service).filter(|service| service.mode.is_nat())?;
    let mut counts = [0; 3];
    for counters in basis.workers().iter().filter_map(|worker| worker.counters.handshakes(row.id)) {
        let [opened, answered, refused] = &mut counts;
        *opened += counters.opened.get();
        *answered += counters.answered.get();
        *refused += counters.refused.get();
    }
    Some(counts)
}
