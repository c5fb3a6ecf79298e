//! The manager's answers to the API.

use std::collections::HashMap;
use std::time::Instant;

use super::config::{Backend, Printing, Service, State};
use super::explain::Live;
use super::ghosts::Ghost;
use super::manager::{Manager, Progress};
use super::stats::{BackendStats, table_memory};
use super::status::*;
use super::text;
use crate::lb;
use crate::lb::handle::WorkerHandle;
use crate::lb::publish::Published;
use crate::lb::snapshot::Snapshot;
use crate::lb::verdict::DropReason;

impl Manager {
    /// `GET /v1/status`.
    pub fn status(&self) -> Status {
        Status {
            version: env!("TIDEGATE_VERSION").to_owned(),
            revision: env!("GIT_REVISION").to_owned(),
            dpdk: env!("DPDK_VERSION").to_owned(),
            pid: std::process::id(),
            uptime_s: self.uptime().as_secs_f64(),
            generation: self.published.current().generation,
            config: self.config_path.display().to_string(),
            loaded: self.loaded.display().to_string(),
            loaded_s: self.loaded_at.elapsed().as_secs_f64(),
            workers: self.workers.len().try_into().unwrap_or(u16::MAX),
            tables: table_memory(&self.workers),
            edits: self.edits,
            reload_error: self.reload_error.clone(),
            unconfirmed: self.unconfirmed(),
        }
    }

    /// `GET /v1/config`.
    pub fn config_text(&self, secrets: bool) -> ConfigText {
        let notes = |service: &Service, backend: &Backend| {
            let said = self.overrides.command(&service.name, &backend.name).against(backend);
            if said.is_empty() { Vec::new() } else { vec![format!("by command: {said}")] }
        };
        let text = self.config.print(&Printing { secrets, notes: &notes });
        let loaded = self.loaded.display().to_string();
        let edited = match self.edits {
            0 => String::new(),
            edits => format!(", with changes over the API that it does not have: {edits}"),
        };
        ConfigText {
            config: toml::from_str(&text).unwrap_or_default(),
            text: format!("# What runs, of {loaded}{edited}\n\n{text}"),
            by_command: self.overrides.commands().differences(&self.config),
            loaded,
        }
    }

    /// What `POST /v1/explain` needs.
    pub fn live(&self) -> Live {
        let states = self.config.services.iter().flat_map(|service| {
            service.backends.iter().map(|backend| {
                let status = self.backend(service, backend, None);
                let reason = if status.reason.is_empty() { String::new() } else { format!(" ({})", status.reason) };
                ((service.name.clone(), backend.name.clone()), format!("{}{reason}", status.state))
            })
        });
        Live {
            states: states.collect(),
            config: self.config.clone(),
            snapshot: self.snapshot(),
            workers: self.worker_handles(),
            boot_key: self.boot_key,
        }
    }

    /// `GET /v1/stats`.
    pub fn stats(&self) -> Stats {
        let stats = Stats::collect(self.uptime().as_secs_f64(), &self.published.current(), &self.workers);
        // All ports share one pool.
        let (in_use, total) = (self.ports)().first().map_or((0, 0), |port| (port.mbufs_in_use, port.mbufs_total));
        stats.with_mbufs(in_use, total).with_rates(&self.workers, self.tsc_hz)
    }

    /// `GET /v1/services`.
    pub fn services(&self) -> Services {
        let stats = self.stats();
        let figures: HashMap<&str, HashMap<&str, &BackendStats>> = stats
            .services
            .iter()
            .map(|s| (s.name.as_str(), s.backends.iter().map(|b| (b.name.as_str(), b)).collect()))
            .collect();
        let services = self.config.services.iter();
        let mut services: Vec<_> = services.map(|s| self.service(s, figures.get(s.name.as_str()))).collect();
        for ghost in self.overrides.ghosts.iter() {
            let name = &ghost.service.name;
            let at = services.iter().position(|service| service.name == *name).unwrap_or(services.len());
            if at == services.len() {
                services.push(ServiceStatus { removed: true, ..self.service(&ghost.service, None) });
            }
            let row = self.ghost(ghost);
            if let Some(service) = services.get_mut(at) {
                service.packets += row.packets;
                service.bytes += row.bytes;
                service.connections += row.connections;
                service.backends.push(row);
            }
        }
        Services { services }
    }

    /// `GET /v1/backends`.
    pub fn backends(&self) -> Backends {
        Backends { backends: self.services().services.into_iter().flat_map(|service| service.backends).collect() }
    }

    fn service(&self, service: &Service, figures: Option<&HashMap<&str, &BackendStats>>) -> ServiceStatus {
        let figures_of = |b: &Backend| figures.and_then(|figures| figures.get(b.name.as_str()).copied());
        let backends: Vec<_> = service.backends.iter().map(|b| self.backend(service, b, figures_of(b))).collect();
        let up = service.backends.iter().filter(|b| self.overrides.admits(service, b));
        ServiceStatus {
            name: service.name.clone(),
            vip: service.vip.to_string(),
            port: service.port,
            protocol: service.protocol.to_string(),
            mode: service.mode.to_string(),
            scheduler: service.scheduler.to_string(),
            backends_up: up.count(),
            packets: backends.iter().map(|b| b.packets).sum(),
            bytes: backends.iter().map(|b| b.bytes).sum(),
            connections: backends.iter().map(|b| b.connections).sum(),
            removed: false,
            backends,
        }
    }

    fn backend(&self, service: &Service, backend: &Backend, figures: Option<&BackendStats>) -> BackendStatus {
        let standing = self.standings.get(&(service.name.clone(), backend.name.clone()));
        let health = match (&service.health, self.overrides.health(&service.name, &backend.name)) {
            (None, _) => "unchecked",
            (Some(_), None) => "unknown",
            (Some(_), Some(true)) => "up",
            (Some(_), Some(false)) => "down",
        };
        let figures = figures.cloned().unwrap_or_default();
        BackendStatus {
            service: service.name.clone(),
            name: backend.name.clone(),
            address: backend.address.to_string(),
            port: service.backend_port(backend),
            weight: self.overrides.weight(service, backend),
            state: self.overrides.effective(service, backend).to_string(),
            since_s: standing.map_or(0.0, |standing| standing.since.elapsed().as_secs_f64()),
            reason: standing.map(|standing| standing.reason.clone()).unwrap_or_default(),
            wanted: self.overrides.wanted(service, backend).to_string(),
            by_command: !self.overrides.command(&service.name, &backend.name).is_empty(),
            role: backend.role.to_string(),
            admits: self.overrides.admits(service, backend),
            removed: false,
            health: health.to_owned(),
            packets: figures.packets,
            bytes: figures.bytes,
            connections: figures.connections,
            connections_total: figures.connections_total,
            response_time_ns: figures.response_time_ns,
        }
    }

    /// A backend that a reload has removed.
    fn ghost(&self, ghost: &Ghost) -> BackendStatus {
        let (service, backend) = (&ghost.service, &ghost.backend);
        let now = Instant::now();
        let end = ghost.closes_at.map(|end| text::duration(end.saturating_duration_since(now)));
        let end = end.map_or_else(String::new, |left| format!(", for {left} at most"));
        let mut row = BackendStatus {
            service: service.name.clone(),
            name: backend.name.clone(),
            address: backend.address.to_string(),
            port: service.backend_port(backend),
            state: State::Drain.to_string(),
            since_s: now.saturating_duration_since(ghost.since).as_secs_f64(),
            reason: format!("removed by reload{end}"),
            wanted: State::Drain.to_string(),
            removed: true,
            health: "unchecked".to_owned(),
            ..BackendStatus::default()
        };
        let id = self.compiler.id(service, backend);
        for counters in self.workers.iter().filter_map(|worker| worker.counters.backend(id?)) {
            row.packets += counters.packets.get();
            row.bytes += counters.bytes.get();
            row.connections_total += counters.connections_total.get();
        }
        row.connections = self.connections_of(service, backend);
        row
    }

    /// `GET /v1/workers`.
    pub fn workers(&self) -> Workers {
        let (seconds, rates) = self.gauges.rates(Instant::now(), &self.workers, self.tsc_hz);
        let rows = self.workers.iter().zip(&self.progress).zip(rates);
        Workers {
            seconds,
            workers: rows.map(|((worker, &progress), rates)| worker_row(worker, progress, rates)).collect(),
        }
    }

    /// `GET /v1/drops`; `all` has the reasons that never occurred, too.
    pub fn drops(&self, all: bool) -> Drops {
        let rows = DropReason::ALL.iter().map(|&reason| DropStatus {
            reason: reason.label().to_owned(),
            meaning: reason.meaning().to_owned(),
            cause: reason.cause().to_owned(),
            cure: reason.cure().to_owned(),
            count: self.workers.iter().map(|worker| worker.counters.drops(reason)).sum(),
        });
        Drops { drops: rows.filter(|row| all || row.count > 0).collect(), host: Host::of(&self.workers) }
    }

    /// `GET /v1/latency`.
    pub fn latency(&self) -> Latency {
        let of_worker = |w: &WorkerHandle| WorkerLatency { id: w.id.0, latency_ns: Quantiles::of_worker(w) };
        Latency {
            latency_ns: LatencyNs::of(&self.workers),
            sample_every: lb::latency::Latency::SAMPLE_EVERY,
            workers: self.workers.iter().map(of_worker).collect(),
        }
    }

    /// `GET /v1/ports`, as a question that may be asked without the manager: drivers may take their time.
    pub fn ports_callback(&self) -> super::manager::PortsCallback {
        self.ports.clone()
    }

    /// Why packets would not be balanced, as far as the configuration and the workers say.
    pub fn unready(&self) -> Vec<String> {
        let idle = self.workers.iter().filter(|worker| worker.counters.generation.get() == 0);
        let mut reasons: Vec<String> =
            idle.map(|worker| format!("worker {} has not taken the configuration yet", worker.id.0)).collect();
        let services = &self.config.services;
        let has_one = |s: &Service| s.backends.iter().any(|b| self.overrides.admits(s, b));
        if !services.is_empty() && !services.iter().any(has_one) {
            reasons.push("no service has a backend that takes new connections".to_owned());
        }
        reasons
    }

    /// Numbers of the workers whose loops do not turn.
    pub fn stalled(&self) -> Vec<u16> {
        let stalled = self.workers.iter().zip(&self.progress).filter(|(_, progress)| progress.is_stalled());
        stalled.map(|(worker, _)| worker.id.0).collect()
    }

    /// The workers, for questions that only they can answer.
    pub fn worker_handles(&self) -> Vec<WorkerHandle> {
        self.workers.clone()
    }

    /// Where workers find the snapshot that is in service.
    pub fn published(&self) -> std::sync::Arc<Published> {
        self.published.clone()
    }

    /// The newest snapshot.
    pub fn snapshot(&self) -> std::sync::Arc<Snapshot> {
        self.published.current()
    }
}

fn worker_row(worker: &WorkerHandle, progress: Progress, rates: Rates) -> WorkerStatus {
    let c = &worker.counters;
    WorkerStatus {
        id: worker.id.0,
        cpu: worker.cpu,
        rx_packets: c.rx_packets.get(),
        tx_packets: c.tx_packets.get(),
        replies: c.replies.get(),
        drops: c.drops_total(),
        handoffs: c.handoffs.get(),
        partial_checksums: c.partial_checksums.get(),
        connections: c.connections_active.get(),
        connections_max: worker.connections_max,
        rates,
        generation: c.generation.get(),
        stalled: progress.is_stalled(),
    }
}
