//! `tidegate show`: the API's answers as tables.

use std::net::IpAddr;
use std::time::Duration;

use serde::de::DeserializeOwned;

use super::args::{Show, What};
use super::client::Client;
use super::failure::Failure;
use super::output;
use super::table::Table;
use crate::control::checksums::PARTIAL_CURE;
use crate::control::status::*;
use crate::control::text;

/// Asks and prints.
///
/// # Errors
/// Why there is no answer.
pub fn show(args: &Show, client: &Client) -> Result<(), Failure> {
    let path = match args.what {
        What::Services => "/v1/services".to_owned(),
        What::Backends => "/v1/backends".to_owned(),
        What::Connections { limit } => format!("/v1/connections?limit={limit}"),
        What::Ports => "/v1/ports".to_owned(),
        What::Workers => "/v1/workers".to_owned(),
        What::Drops { all } => format!("/v1/drops{}", if all { "?all" } else { "" }),
        What::Latency => "/v1/latency".to_owned(),
        What::Neighbors => "/v1/neighbors".to_owned(),
        What::Status => "/v1/status".to_owned(),
        What::Config { secrets } => format!("/v1/config{}", if secrets { "?secrets" } else { "" }),
    };
    let body = client.get(&path)?;
    let text = if args.json { body + "\n" } else { render(args.what, &body)? };
    output::print(&text)
}

fn render(what: What, body: &str) -> Result<String, Failure> {
    Ok(match what {
        What::Services => services(&read::<Services>(body)?),
        What::Backends => backends(&read::<Backends>(body)?),
        What::Connections { .. } => connections(&read::<Connections>(body)?),
        What::Ports => ports(&read::<Ports>(body)?),
        What::Workers => workers(&read::<Workers>(body)?),
        What::Drops { .. } => drops(&read::<Drops>(body)?),
        What::Latency => latency(&read::<Latency>(body)?),
        What::Neighbors => neighbors(&read::<Neighbors>(body)?),
        What::Status => status(&read::<Status>(body)?),
        What::Config { .. } => read::<ConfigText>(body)?.text,
    })
}

fn read<T: DeserializeOwned>(body: &str) -> Result<T, Failure> {
    serde_json::from_str(body).map_err(|error| {
        Failure::running(format!(
            "error: the running tidegate answers in another way than this one expects ({error}); use its own version"
        ))
    })
}

/// Of what [`backend_cells`] gives.
const BACKEND_HEADINGS: &[&str] =
    &["STATE", "SINCE", ">WEIGHT", ">CONNECTIONS", ">PACKETS", ">BYTES", ">RESPONSE", "REASON"];

fn services(answer: &Services) -> String {
    let mut table = Table::new(&[&["SERVICE, BACKENDS", "NAME"], BACKEND_HEADINGS].concat());
    for service in &answer.services {
        let ServiceStatus { name, vip, port, protocol, mode, scheduler, .. } = service;
        table.line(format!("{protocol} {} {scheduler} {mode}  {name}", socket(vip, *port)));
        for backend in &service.backends {
            let place = format!("  {}", socket(&backend.address, backend.port));
            table.row([place, backend.name.clone()].into_iter().chain(backend_cells(backend)));
        }
    }
    table.render()
}

fn backends(answer: &Backends) -> String {
    let mut table = Table::new(&[&["BACKEND", "ADDRESS"], BACKEND_HEADINGS].concat());
    for backend in &answer.backends {
        let name = format!("{}/{}", backend.service, backend.name);
        let place = socket(&backend.address, backend.port);
        table.row([name, place].into_iter().chain(backend_cells(backend)));
    }
    table.render()
}

fn backend_cells(backend: &BackendStatus) -> [String; 8] {
    [
        backend.state.clone(),
        seconds(backend.since_s),
        backend.weight.to_string(),
        backend.connections.to_string(),
        backend.packets.to_string(),
        backend.bytes.to_string(),
        or_dash(backend.response_time_ns.map(|ns| format!("{:.3} ms", ns as f64 / 1e6))),
        backend.reason.clone(),
    ]
}

fn connections(answer: &Connections) -> String {
    let mut table = Table::new(&["PROTOCOL", "CLIENT", "VIP", "BACKEND", "ADDRESS", "STATE", ">LEFT", ">WORKER"]);
    for row in &answer.connections {
        let backend = match (&row.service, &row.backend) {
            (Some(service), Some(backend)) => format!("{service}/{backend}"),
            _ => "(gone)".to_owned(),
        };
        table.row([
            row.protocol.clone(),
            row.client.clone(),
            row.vip.clone(),
            backend,
            or_dash(row.backend_address.as_ref()),
            row.state.clone(),
            format!("{} s", row.left_s),
            row.worker.to_string(),
        ]);
    }
    if answer.truncated {
        table.line(format!("There are more than these {}; see --limit.", answer.connections.len()));
    }
    table.render()
}

fn ports(answer: &Ports) -> String {
    let headings = [
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
    let mut table = Table::new(&headings);
    for port in &answer.ports {
        let link = match (port.link_up, port.speed_mbps) {
            (false, _) => "down".to_owned(),
            (true, None) => "up".to_owned(),
            (true, Some(mbps)) => format!("up {mbps} Mbit/s"),
        };
        table.row([
            port.name.clone(),
            port.driver.clone(),
            port.mac.clone(),
            link,
            port.mtu.to_string(),
            or_dash(port.vlan),
            format!("{}/{}", port.rx_queues, port.tx_queues),
            if port.rss { "yes" } else { "no" }.to_owned(),
            port.rx_packets.to_string(),
            port.rx_bytes.to_string(),
            port.rx_missed.to_string(),
            port.rx_no_mbuf.to_string(),
            port.rx_errors.to_string(),
            port.tx_packets.to_string(),
            port.tx_bytes.to_string(),
            port.tx_errors.to_string(),
            format!("{}/{}", port.mbufs_in_use, port.mbufs_total),
            port.host.device.clone().unwrap_or_else(|| "off".to_owned()),
            port.host.to_host.to_string(),
            port.host.from_host.to_string(),
            port.device.clone(),
        ]);
    }
    table.render()
}

fn workers(answer: &Workers) -> String {
    let headings = [
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
    let mut table = Table::new(&headings);
    for worker in &answer.workers {
        table.row([
            worker.id.to_string(),
            or_dash(worker.cpu),
            format!("{:.0}", worker.rates.packets_per_s),
            or_dash(worker.rates.packets_per_burst.map(|n| format!("{n:.1}"))),
            or_dash(worker.rates.cycles_per_packet.map(|n| format!("{n:.0}"))),
            percent(worker.rates.busy_share),
            percent(worker.rates.busy_turns_share),
            percent(worker.rates.sleep_share),
            worker.connections.to_string(),
            worker.connections_max.to_string(),
            worker.rx_packets.to_string(),
            worker.tx_packets.to_string(),
            worker.replies.to_string(),
            worker.drops.to_string(),
            worker.handoffs.to_string(),
            if worker.stalled { "stalled" } else { "turning" }.to_owned(),
        ]);
    }
    table.line(format!("The rates are over the last {:.1} s.", answer.seconds));
    let partial: u64 = answer.workers.iter().map(|worker| worker.partial_checksums).sum();
    if partial > 0 {
        table.line(format!("{partial} packets came with partial checksums: {PARTIAL_CURE}."));
    }
    table.render()
}

fn drops(answer: &Drops) -> String {
    let mut table = Table::new(&["REASON", ">PACKETS", "MEANING"]);
    for drop in &answer.drops {
        table.row([drop.reason.clone(), drop.count.to_string(), drop.meaning.clone()]);
    }
    if answer.drops.is_empty() {
        table.line("Nothing has been dropped.".to_owned());
    }
    for (name, HostClass { punts, limited }) in &answer.host.classes {
        table.line(format!(
            "To the host, {name}: {punts} packets; {limited} beyond the limit, dropped as punt_limited."
        ));
    }
    table.render()
}

fn latency(answer: &Latency) -> String {
    let mut table = Table::new(&["CLASS", ">MEASURED", ">P50", ">P90", ">P99", ">P99.9", ">MAX"]);
    let mut row = |name: String, q: &Quantiles| {
        let ns = |value: u64| if q.count == 0 { "-".to_owned() } else { text::nanoseconds(value) };
        table.row([name, q.count.to_string(), ns(q.p50), ns(q.p90), ns(q.p99), ns(q.p999), ns(q.max)]);
    };
    for (class, quantiles) in answer.latency_ns.classes.rows() {
        row(class.to_owned(), quantiles);
    }
    row("all but held".to_owned(), &answer.latency_ns.all);
    for worker in &answer.workers {
        row(format!("sent by worker {}", worker.id), &worker.latency_ns);
    }
    table.line(format!("From the receive burst to the transmit burst, in one busy turn of {}.", answer.sample_every));
    table.render()
}

fn neighbors(answer: &Neighbors) -> String {
    let mut table = Table::new(&["PORT", "ADDRESS", "MAC", "STATE", ">WORKER"]);
    for row in &answer.neighbors {
        table.row([
            row.port.clone(),
            row.address.clone(),
            or_dash(row.mac.as_ref()),
            row.state.clone(),
            row.worker.to_string(),
        ]);
    }
    table.render()
}

fn status(answer: &Status) -> String {
    let Status { version, revision, dpdk, pid, uptime_s, generation, config, loaded, loaded_s, workers, .. } = answer;
    let mut text = format!(
        "version     {version} (git {revision}, DPDK {dpdk})\nprocess     {pid}, for {}\nworkers     {workers}\n\
         config      {config}\nloaded      {loaded}, {} ago\ngeneration  {generation}\n",
        seconds(*uptime_s),
        seconds(*loaded_s),
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

/// `10.0.0.1:80`, `[2001:db8::1]:80`; `*` for every port.
fn socket(address: &str, port: Option<u16>) -> String {
    let port = port.map_or_else(|| "*".to_owned(), |port| port.to_string());
    match address.parse::<IpAddr>() {
        Ok(IpAddr::V6(address)) => format!("[{address}]:{port}"),
        _ => format!("{address}:{port}"),
    }
}

fn seconds(seconds: f64) -> String {
    text::duration(Duration::try_from_secs_f64(seconds).unwrap_or_default())
}

fn percent(share: Option<f64>) -> String {
    or_dash(share.map(|share| format!("{:.1}%", share * 100.0)))
}

fn or_dash(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}
