//! Tables of ports, workers, drops, latency, next hops and of the process.

use super::look::{self, Look};
use crate::cli::color;
use crate::cli::rates::{self, PortFlow};
use crate::cli::table::{Cell, Table};
use crate::control::checksums::PARTIAL_CURE;
use crate::control::status::{
    Drops, HostClass, Latency, Neighbors, PortStatus, Ports, Quantiles, Status, Unconfirmed, WorkerStatus, Workers,
};
use crate::control::text;

const PORT_HEADINGS: &[&str] = &[
    "PORT",
    "DRIVER",
    "MAC",
    "LINK",
    ">MTU",
    ">VLAN",
    ">QUEUES",
    "RSS",
    ">RX PACKETS",
    ">RX BYTES",
    ">MISSED",
    ">NO MBUF",
    ">RX ERRORS",
    ">TX PACKETS",
    ">TX BYTES",
    ">TX ERRORS",
    ">MBUFS",
    "HOST",
    ">TO HOST",
    ">FROM HOST",
    "DEVICE",
];
const PORTS_DISPENSABLE: &[&str] = &[
    "MAC",
    "RSS",
    "VLAN",
    "MTU",
    "FROM HOST",
    "TO HOST",
    "HOST",
    "QUEUES",
    "MBUFS",
    "NO MBUF",
    "RX BYTES",
    "TX BYTES",
    "TX ERRORS",
    "RX ERRORS",
    "DRIVER",
];

/// Devices and what their drivers count.
pub fn ports(answer: &Ports, look: Look) -> Table {
    let mut table = Table::new(PORT_HEADINGS).dispensable(PORTS_DISPENSABLE);
    for port in &answer.ports {
        let word = |text: &str| Cell::from(text.to_owned());
        let trouble = |number: u64| look.count(number).styled(if number > 0 { color::ODD } else { Default::default() });
        table.row([
            word(&port.name),
            word(&port.driver),
            word(&port.mac),
            link(port),
            look::plain(port.mtu),
            look::or_dash(port.vlan, |vlan| vlan.to_string()),
            word(&format!("{}/{}", port.rx_queues, port.tx_queues)),
            word(if port.rss { "yes" } else { "no" }),
            look.count(port.rx_packets),
            look.count(port.rx_bytes),
            trouble(port.rx_missed),
            trouble(port.rx_no_mbuf),
            trouble(port.rx_errors),
            look.count(port.tx_packets),
            look.count(port.tx_bytes),
            trouble(port.tx_errors),
            Cell::number(port.mbufs_in_use as f64, format!("{}/{}", port.mbufs_in_use, port.mbufs_total)),
            word(port.host.device.as_deref().unwrap_or("off")),
            look.count(port.host.to_host),
            look.count(port.host.from_host),
            word(&port.device),
        ]);
    }
    table
}

/// What ports do in a second.
pub fn port_rates(flows: &[(&PortStatus, Option<PortFlow>)], look: Look) -> Table {
    let headings =
        ["PORT", "DRIVER", "LINK", ">RX PACKETS/S", ">RX BYTES/S", ">TX PACKETS/S", ">TX BYTES/S", ">LOST/S"];
    let mut table = Table::new(&headings).dispensable(&["DRIVER"]);
    for (port, flow) in flows {
        let rate = |of: fn(&PortFlow) -> f64| look.rate(flow.as_ref().map(of));
        table.row([
            port.name.clone().into(),
            port.driver.clone().into(),
            link(port),
            rate(|flow| flow.rx_packets_per_s),
            rate(|flow| flow.rx_bytes_per_s),
            rate(|flow| flow.tx_packets_per_s),
            rate(|flow| flow.tx_bytes_per_s),
            rate(|flow| flow.lost_per_s),
        ]);
    }
    table
}

fn link(port: &PortStatus) -> Cell {
    match (port.link_up, port.speed_mbps) {
        (false, _) => Cell::from("down".to_owned()).styled(color::BAD),
        (true, None) => Cell::from("up".to_owned()).styled(color::GOOD),
        (true, Some(mbps)) => Cell::from(format!("up {mbps} Mbit/s")).styled(color::GOOD),
    }
}

/// The poll loops.
pub fn workers(answer: &Workers, look: Look) -> Table {
    const HEADINGS: &[&str] = &[
        ">WORKER",
        ">CPU",
        ">PACKETS/S",
        ">PACKETS/BURST",
        ">CYCLES/PACKET",
        ">BUSY",
        ">BUSY TURNS",
        ">ASLEEP",
        ">CONNECTIONS",
        ">OF",
        ">RECEIVED",
        ">FORWARDED",
        ">REPLIES",
        ">DROPPED",
        ">HANDED OVER",
        "STATE",
    ];
    const DISPENSABLE: &[&str] = &[
        "REPLIES",
        "OF",
        "BUSY TURNS",
        "HANDED OVER",
        "RECEIVED",
        "FORWARDED",
        "ASLEEP",
        "CONNECTIONS",
        "DROPPED",
        "CPU",
    ];
    let mut table = Table::new(HEADINGS).dispensable(DISPENSABLE);
    for worker in &answer.workers {
        table.row(worker_cells(worker, look));
    }
    table.line(format!("The rates are over the last {:.1} s.", answer.seconds));
    let partial: u64 = answer.workers.iter().map(|worker| worker.partial_checksums).sum();
    if partial > 0 {
        table.line(format!("{partial} packets came with partial checksums: {PARTIAL_CURE}."));
    }
    table
}

fn worker_cells(worker: &WorkerStatus, look: Look) -> Vec<Cell> {
    let state = match worker.stalled {
        true => Cell::from("stalled".to_owned()).styled(color::BAD),
        false => Cell::from("turning".to_owned()),
    };
    vec![
        look::plain(worker.id),
        look::or_dash(worker.cpu, |cpu| cpu.to_string()),
        look.count(worker.rates.packets_per_s.round() as u64),
        look::or_dash(worker.rates.packets_per_burst, |n| format!("{n:.1}")),
        look::or_dash(worker.rates.cycles_per_packet, |n| format!("{n:.0}")),
        look::percent(worker.rates.busy_share),
        look::percent(worker.rates.busy_turns_share),
        look::percent(worker.rates.sleep_share),
        look.count(worker.connections),
        look.count(worker.connections_max),
        look.count(worker.rx_packets),
        look.count(worker.tx_packets),
        look.count(worker.replies),
        look.count(worker.drops),
        look.count(worker.handoffs),
        state,
    ]
}

/// Why packets were dropped: how many, or how many a second since there were those of `before`.
pub fn drops(answer: &Drops, look: Look, before: Option<(&Drops, f64)>) -> Table {
    let count = if before.is_some() { ">PACKETS/S" } else { ">PACKETS" };
    let mut table = Table::new(&["REASON", count, "MEANING"]);
    for drop in &answer.drops {
        let count = match before {
            None => look.count(drop.count),
            Some((before, seconds)) => look.rate(Some(rates::of_drop(&before.drops, drop, seconds))),
        };
        table.row([drop.reason.clone().into(), count, drop.meaning.clone().into()]);
    }
    if answer.drops.is_empty() {
        table.line("Nothing has been dropped.".to_owned());
    }
    for (name, HostClass { punts, limited }) in &answer.host.classes {
        table.line(format!(
            "To the host, {name}: {punts} packets; {limited} beyond the limit, dropped as punt_limited."
        ));
    }
    table
}

/// Time in the balancer.
pub fn latency(answer: &Latency, look: Look) -> Table {
    let headings = ["CLASS", ">MEASURED", ">P50", ">P90", ">P99", ">P99.9", ">MAX"];
    let mut table = Table::new(&headings).dispensable(&["P90"]);
    let mut row = |name: String, q: &Quantiles| {
        let ns = |value: u64| match q.count {
            0 => look::dash(),
            _ => Cell::number(value as f64, text::nanoseconds(value)),
        };
        let quantiles = [q.p50, q.p90, q.p99, q.p999, q.max].map(ns);
        table.row([name.into(), look.count(q.count)].into_iter().chain(quantiles));
    };
    for (class, quantiles) in answer.latency_ns.classes.rows() {
        row(class.to_owned(), quantiles);
    }
    row("all but held".to_owned(), &answer.latency_ns.all);
    for worker in &answer.workers {
        row(format!("sent by worker {}", worker.id), &worker.latency_ns);
    }
    table.line(format!("From the receive burst to the transmit burst, in one busy turn of {}.", answer.sample_every));
    table
}

/// Next hops.
pub fn neighbors(answer: &Neighbors) -> Table {
    let mut table = Table::new(&["PORT", "ADDRESS", "MAC", "STATE", ">WORKER"]);
    for row in &answer.neighbors {
        let state = Cell::from(row.state.clone());
        let state = if row.state == "incomplete" { state.styled(color::ODD) } else { state };
        table.row([
            row.port.clone().into(),
            row.address.clone().into(),
            row.mac.clone().map_or_else(look::dash, Cell::from),
            state,
            look::plain(row.worker),
        ]);
    }
    table
}

/// The process.
pub fn status(answer: &Status) -> String {
    let Status { version, revision, dpdk, pid, uptime_s, generation, config, loaded, loaded_s, workers, .. } = answer;
    let mut text = format!(
        "version     {version} (git {revision}, DPDK {dpdk})\nprocess     {pid}, for {}\nworkers     {workers}\n\
         config      {config}\nloaded      {loaded}, {} ago\ngeneration  {generation}\n",
        look::seconds(*uptime_s),
        look::seconds(*loaded_s),
    );
    if let Some(tables) = &answer.tables {
        text.push_str(&format!("tables      {tables}\n"));
    }
    if let Some(Unconfirmed { path, before, left_s }) = &answer.unconfirmed {
        let left_s = left_s.ceil();
        text.push_str(&format!(
            "unconfirmed {path}: taken back in {left_s} s unless confirmed, then {before} runs again\n"
        ));
    }
    if let Some(error) = &answer.reload_error {
        text.push_str(&format!("the last reload did not stay:\n{error}\n"));
    }
    text
}
