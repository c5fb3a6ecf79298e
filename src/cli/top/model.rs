//! From rounds of answers to what is shown of them: totals, and the rows of each view.

use std::collections::VecDeque;

use super::grid::{Cell, Grid, Key, Tone};
use super::round::Round;
use crate::cli::rates::{BackendsBefore, Flow, of_drop, per_second};
use crate::cli::units;
use crate::control::status::{BackendStatus, Quantiles, ServiceStatus, WorkerStatus};
use crate::control::text;

/// Seconds of packets per second that are remembered: the widest terminal has no room for more.
const HISTORY_MAX: usize = 400;

/// See the module.
#[derive(Debug, Default)]
pub struct Model {
    now: Option<Round>,
    before: Option<Round>,
    history: VecDeque<f64>,
}

/// Of the whole balancer; a rate is `None` until there are two rounds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Totals {
    /// Packets received a second.
    pub rx_per_s: Option<f64>,
    /// Packets sent a second, answers of the balancer's own included.
    pub tx_per_s: Option<f64>,
    /// Packets dropped a second.
    pub drops_per_s: Option<f64>,
    /// What all backends get.
    pub flow: Option<Flow>,
    /// Connections open now.
    pub connections: u64,
    /// Connections that may be.
    pub connections_max: u64,
}

impl Model {
    /// One more round. Nothing is compared with what another process said.
    pub fn take(&mut self, round: Round) {
        self.before = self.now.take().filter(|before| before.status.pid == round.status.pid);
        self.now = Some(round);
        if let Some(rate) = self.totals().rx_per_s {
            self.history.push_back(rate);
            self.history.drain(..self.history.len().saturating_sub(HISTORY_MAX));
        }
    }

    /// The newest round.
    pub fn now(&self) -> Option<&Round> {
        self.now.as_ref()
    }

    /// Packets per second of the last rounds, the newest last.
    pub fn history(&self) -> &VecDeque<f64> {
        &self.history
    }

    /// See [`Totals`].
    pub fn totals(&self) -> Totals {
        let Some(now) = &self.now else { return Totals::default() };
        let rate = |of: fn(&WorkerStatus) -> u64| {
            let before = self.before.as_ref()?;
            let sum = |round: &Round| round.workers.workers.iter().map(of).sum::<u64>();
            Some(per_second(sum(before), sum(now), self.seconds()))
        };
        let sum = |of: fn(&WorkerStatus) -> u64| now.workers.workers.iter().map(of).sum::<u64>();
        let flow = self.flows().map(|before| now.backends().filter_map(|backend| before.flow(backend)).sum());
        Totals {
            rx_per_s: rate(|worker| worker.rx_packets),
            tx_per_s: rate(|worker| worker.tx_packets + worker.replies),
            drops_per_s: rate(|worker| worker.drops),
            flow,
            connections: sum(|worker| worker.connections),
            connections_max: sum(|worker| worker.connections_max),
        }
    }

    /// What each service gets, all its backends together.
    pub fn services(&self) -> Grid {
        let columns = [
            ("SERVICE", 0),
            ("VIP", 4),
            ("MODE", 6),
            ("SCHEDULER", 7),
            ("STATE", 0),
            (">UP", 0),
            (">OPEN", 3),
            (">NEW/S", 2),
            (">PACKETS/S", 0),
            (">BYTES/S", 1),
        ];
        let mut grid = Grid::new(&columns);
        let before = self.flows();
        for service in self.now.iter().flat_map(|now| &now.services.services) {
            let flow = before.as_ref().map(|before| service.backends.iter().filter_map(|b| before.flow(b)).sum());
            let vip = format!("{} {}", service.protocol, socket(&service.vip, service.port));
            let up = format!("{}/{}", service.backends_up, service.backends.len());
            let cells = [
                Cell::from(service.name.as_str()),
                Cell::from(vip.as_str()),
                Cell::from(service.mode.as_str()),
                Cell::from(service.scheduler.as_str()),
                service_state(service),
                Cell::number(service.backends_up as f64, up),
                count(service.connections),
            ];
            grid.row(Key::Service(service.name.clone()), cells.into_iter().chain(flow_cells(flow)));
        }
        grid
    }

    /// What each backend gets; those of one service, or all.
    pub fn backends(&self, service: Option<&str>) -> Grid {
        let columns = [
            ("BACKEND", 0),
            ("ADDRESS", 5),
            ("STATE", 0),
            ("SINCE", 7),
            (">WEIGHT", 6),
            (">OPEN", 3),
            (">NEW/S", 2),
            (">PACKETS/S", 0),
            (">BYTES/S", 1),
            ("REASON", 4),
        ];
        let mut grid = Grid::new(&columns);
        let before = self.flows();
        let backends = self.now.iter().flat_map(Round::backends);
        for backend in backends.filter(|backend| service.is_none_or(|service| service == backend.service)) {
            let flow = before.as_ref().and_then(|before| before.flow(backend));
            let name = match service {
                Some(_) => backend.name.clone(),
                None => format!("{}/{}", backend.service, backend.name),
            };
            let cells = [
                Cell::from(name.as_str()),
                Cell::from(socket(&backend.address, backend.port).as_str()),
                backend_state(backend),
                Cell::number(backend.since_s, duration(backend.since_s)),
                Cell::number(backend.weight.into(), backend.weight.to_string()),
                count(backend.connections),
            ];
            let reason = Cell::from(backend.reason.as_str()).toned(Tone::Faint);
            let key = Key::Backend(backend.service.clone(), backend.name.clone());
            grid.row(key, cells.into_iter().chain(flow_cells(flow)).chain([reason]));
        }
        grid
    }

    /// How busy each poll loop is.
    pub fn workers(&self) -> Grid {
        let columns = [
            ("WORKER", 0),
            (">CPU", 5),
            (">PACKETS/S", 0),
            (">PACKETS/BURST", 2),
            (">CYCLES/PACKET", 1),
            (">BUSY", 0),
            ("", 4),
            (">ASLEEP", 3),
            (">CONNECTIONS", 6),
            (">DROPS/S", 7),
            ("STATE", 0),
        ];
        let mut grid = Grid::new(&columns);
        for worker in self.now.iter().flat_map(|now| &now.workers.workers) {
            let optional = |value: Option<f64>, digits: usize| match value {
                Some(value) => Cell::number(value, format!("{value:.digits$}")),
                None => Cell::from("-"),
            };
            let state = if worker.stalled { Cell::from("stalled").toned(Tone::Bad) } else { Cell::from("turning") };
            let cells = [
                Cell::number(worker.id.into(), worker.id.to_string()),
                optional(worker.cpu.map(f64::from), 0),
                rate(Some(worker.rates.packets_per_s)),
                optional(worker.rates.packets_per_burst, 1),
                optional(worker.rates.cycles_per_packet, 0),
                percent(worker.rates.busy_share),
                Cell::from(bar(worker.rates.busy_share.unwrap_or(0.0), 10).as_str()).toned(Tone::Good),
                percent(worker.rates.sleep_share),
                count(worker.connections),
                rate(self.drops_of_worker(worker)),
                state,
            ];
            grid.row(Key::Other(worker.id.to_string()), cells);
        }
        grid
    }

    /// Why packets are dropped.
    pub fn drops(&self) -> Grid {
        let mut grid = Grid::new(&[("REASON", 0), (">PER SECOND", 0), (">SINCE START", 0), ("MEANING", 1)]);
        for drop in self.now.iter().flat_map(|now| &now.drops.drops) {
            let before = self.before.as_ref().map(|before| of_drop(&before.drops.drops, drop, self.seconds()));
            let tone = if before.is_some_and(|rate| rate > 0.0) { Tone::Odd } else { Tone::Plain };
            let cells = [
                Cell::from(drop.reason.as_str()),
                rate(before).toned(tone),
                count(drop.count),
                Cell::from(drop.meaning.as_str()).toned(Tone::Faint),
            ];
            grid.row(Key::Other(drop.reason.clone()), cells);
        }
        grid
    }

    /// All that is known of one reason of drops.
    pub fn about_drops(&self, reason: &str) -> Option<Vec<(&'static str, String)>> {
        let drop = self.now.as_ref()?.drops.drops.iter().find(|drop| drop.reason == reason)?;
        Some(vec![("means", drop.meaning.clone()), ("cause", drop.cause.clone()), ("cure", drop.cure.clone())])
    }

    /// What a backend does, and why.
    pub fn about_backend(&self, service: &str, name: &str) -> Option<Vec<(&'static str, String)>> {
        let backend = self.now.as_ref()?.backends().find(|b| b.service == service && b.name == name)?;
        let BackendStatus { state, weight, wanted, health, .. } = backend;
        let since = duration(backend.since_s);
        let place = socket(&backend.address, backend.port);
        let state = format!("{state} for {since}; wanted {wanted}, health {health}; weight {weight}; {place}");
        let reason: String = backend.reason.chars().filter(|c| !c.is_control()).collect();
        Some(vec![("state", state), ("why", reason)])
    }

    /// Time of packets in the balancer, since its start.
    pub fn latency(&self) -> Grid {
        let columns =
            [("PACKETS", 0), (">MEASURED", 1), (">P50", 0), (">P90", 3), (">P99", 0), (">P99.9", 0), (">MAX", 2)];
        let mut grid = Grid::new(&columns);
        let Some(now) = &self.now else { return grid };
        let mut row = |name: String, q: &Quantiles| {
            let time = |ns: u64| match q.count {
                0 => Cell::from("-"),
                _ => Cell::number(ns as f64, text::nanoseconds(ns)),
            };
            let quantiles = [q.p50, q.p90, q.p99, q.p999, q.max].map(time);
            let cells = [Cell::from(name.as_str()), count(q.count)].into_iter().chain(quantiles);
            grid.row(Key::Other(name), cells);
        };
        row("all but held".to_owned(), &now.latency.latency_ns.all);
        for (class, quantiles) in now.latency.latency_ns.classes.rows() {
            row(class.to_owned(), quantiles);
        }
        for worker in &now.latency.workers {
            row(format!("sent by worker {}", worker.id), &worker.latency_ns);
        }
        grid
    }

    /// Between the last two rounds.
    fn seconds(&self) -> f64 {
        let times = self.before.as_ref().zip(self.now.as_ref());
        times.map_or(0.0, |(before, now)| now.at.saturating_duration_since(before.at).as_secs_f64())
    }

    fn flows(&self) -> Option<BackendsBefore<'_>> {
        self.before.as_ref().map(|before| BackendsBefore::new(before.backends(), self.seconds()))
    }

    fn drops_of_worker(&self, now: &WorkerStatus) -> Option<f64> {
        let before = self.before.as_ref()?.workers.workers.iter().find(|worker| worker.id == now.id)?;
        Some(per_second(before.drops, now.drops, self.seconds()))
    }
}

/// `10.0.0.1:80`, `[2001:db8::1]:80`; `*` for every port.
pub fn socket(address: &str, port: Option<u16>) -> String {
    let port = port.map_or_else(|| "*".to_owned(), |port| port.to_string());
    if address.contains(':') { format!("[{address}]:{port}") } else { format!("{address}:{port}") }
}

/// Seconds as people read them.
pub fn duration(seconds: f64) -> String {
    text::duration(std::time::Duration::try_from_secs_f64(seconds).unwrap_or_default())
}

/// A rate that may not be known yet.
pub fn rate_text(rate: Option<f64>) -> String {
    rate.map_or_else(|| "-".to_owned(), units::rate)
}

/// A share as a bar of so many characters.
fn bar(share: f64, width: usize) -> String {
    let filled = (share.clamp(0.0, 1.0) * width as f64).round() as usize;
    "█".repeat(filled) + &"░".repeat(width - filled)
}

fn rate(rate: Option<f64>) -> Cell {
    rate.map_or_else(|| Cell::from("-"), |rate| Cell::number(rate, units::rate(rate)))
}

fn count(number: u64) -> Cell {
    Cell::number(number as f64, units::count(number))
}

fn percent(share: Option<f64>) -> Cell {
    share.map_or_else(|| Cell::from("-"), |share| Cell::number(share, format!("{:.0}%", share * 100.0)))
}

fn flow_cells(flow: Option<Flow>) -> [Cell; 3] {
    let part = |of: fn(&Flow) -> f64| rate(flow.as_ref().map(of));
    [part(|flow| flow.connections_per_s), part(|flow| flow.packets_per_s), part(|flow| flow.bytes_per_s)]
}

fn backend_state(backend: &BackendStatus) -> Cell {
    let tone = match backend.state.as_str() {
        "up" => Tone::Good,
        "down" => Tone::Bad,
        _ => Tone::Odd,
    };
    Cell::from(backend.state.as_str()).toned(tone)
}

/// `up` with all of its backends, `partly`, or `down`.
fn service_state(service: &ServiceStatus) -> Cell {
    let (word, tone) = match service.backends_up {
        _ if service.removed => ("removed", Tone::Odd),
        0 => ("down", Tone::Bad),
        up if up < service.backends.len() => ("partly", Tone::Odd),
        _ => ("up", Tone::Good),
    };
    Cell::from(word).toned(tone)
}
