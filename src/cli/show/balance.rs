//! Tables of services, backends and connections.

use super::look::{self, Look, socket};
use crate::cli::color;
use crate::cli::names;
use crate::cli::rates::{BackendsBefore, Flow};
use crate::cli::table::{Cell, Table};
use crate::control::status::{BackendStatus, Connections, ServiceStatus};
use crate::control::text::counted;

/// Of what [`cells`] gives.
const HEADINGS: &[&str] = &["STATE", "SINCE", ">WEIGHT", ">CONNECTIONS", ">PACKETS", ">BYTES", ">RESPONSE", "REASON"];
/// Of what [`flow_cells`] gives.
const FLOW_HEADINGS: &[&str] = &["STATE", ">WEIGHT", ">CONNECTIONS", ">NEW/S", ">PACKETS/S", ">BYTES/S"];
const DISPENSABLE: &[&str] = &["RESPONSE", "BYTES", "PACKETS", "WEIGHT", "ADDRESS", "SINCE"];

/// As `ipvsadm -ln` does it: a line for the VIP, and its backends below.
pub fn services(services: &[ServiceStatus], look: Look, before: Option<&BackendsBefore<'_>>) -> Table {
    let headings = if before.is_some() { FLOW_HEADINGS } else { HEADINGS };
    let mut table = Table::new(&[&["SERVICE, BACKENDS", "NAME"], headings].concat()).dispensable(DISPENSABLE);
    for service in services {
        table.group(vip_line(service));
        for backend in &service.backends {
            let place = format!("  {}", socket(&backend.address, backend.port)).into();
            table.row([place, backend.name.clone().into()].into_iter().chain(row(backend, look, before)));
        }
    }
    let all: Vec<&BackendStatus> = services.iter().flat_map(|service| &service.backends).collect();
    total(&mut table, &all, look, before);
    let services = counted(services.len() as u64, "service");
    table.line(format!("{services}, {}", states(&all)));
    table
}

/// All in one list.
pub fn backends(backends: &[BackendStatus], look: Look, before: Option<&BackendsBefore<'_>>) -> Table {
    let headings = if before.is_some() { FLOW_HEADINGS } else { HEADINGS };
    let mut table = Table::new(&[&["BACKEND", "ADDRESS"], headings].concat()).dispensable(DISPENSABLE);
    for backend in backends {
        let place = socket(&backend.address, backend.port).into();
        table.row([names::full(backend).into(), place].into_iter().chain(row(backend, look, before)));
    }
    let all: Vec<&BackendStatus> = backends.iter().collect();
    total(&mut table, &all, look, before);
    table.line(states(&all));
    table
}

/// Who talks to whom, up to `limit`.
pub fn connections(answer: &Connections, limit: usize) -> Table {
    let headings = ["PROTOCOL", "CLIENT", "VIP", "BACKEND", "ADDRESS", "STATE", ">LEFT", ">WORKER"];
    let mut table = Table::new(&headings).dispensable(&["WORKER", "ADDRESS", "LEFT"]);
    for row in answer.connections.iter().take(limit) {
        let backend = match (&row.service, &row.backend) {
            (Some(service), Some(backend)) => format!("{service}/{backend}"),
            _ => "(gone)".to_owned(),
        };
        let address = row.backend_address.clone().unwrap_or_else(|| "-".to_owned());
        let words =
            [&row.protocol, &row.client, &row.vip, &backend, &address, &row.state].map(|word| word.clone().into());
        let left = Cell::number(row.left_s.into(), format!("{} s", row.left_s));
        table.row(words.into_iter().chain([left, look::plain(row.worker)]));
    }
    if answer.connections.is_empty() {
        table.line("There are none.".to_owned());
    }
    if answer.truncated || answer.connections.len() > limit {
        table.line(format!("There are more than these {}; see --limit.", answer.connections.len().min(limit)));
    }
    table
}

fn vip_line(service: &ServiceStatus) -> String {
    let ServiceStatus { name, vip, port, protocol, mode, scheduler, .. } = service;
    let line = format!("{protocol} {} {scheduler} {mode}  {}", socket(vip, *port), color::paint(name, color::STRONG));
    let trouble = match service {
        ServiceStatus { removed: true, .. } => "  (removed)",
        ServiceStatus { backends_up: 0, .. } => "  (no backend takes new connections)",
        _ => return line,
    };
    line + &color::paint(trouble, color::BAD)
}

fn row(backend: &BackendStatus, look: Look, before: Option<&BackendsBefore<'_>>) -> Vec<Cell> {
    match before {
        None => cells(backend, look),
        Some(before) => {
            let flow = before.flow(backend);
            let mut cells =
                vec![look::state(&backend.state), look::plain(backend.weight), look.count(backend.connections)];
            cells.extend(flow_cells(flow, look));
            cells
        }
    }
}

fn cells(backend: &BackendStatus, look: Look) -> Vec<Cell> {
    let response = backend.response_time_ns.map(|ns| ns as f64);
    vec![
        look::state(&backend.state),
        look::since(backend.since_s),
        look::plain(backend.weight),
        look.count(backend.connections),
        look.count(backend.packets),
        look.count(backend.bytes),
        look::or_dash(response, |ns| format!("{:.3} ms", ns / 1e6)),
        backend.reason.clone().into(),
    ]
}

fn flow_cells(flow: Option<Flow>, look: Look) -> [Cell; 3] {
    [
        look.rate(flow.map(|flow| flow.connections_per_s)),
        look.rate(flow.map(|flow| flow.packets_per_s)),
        look.rate(flow.map(|flow| flow.bytes_per_s)),
    ]
}

fn total(table: &mut Table, all: &[&BackendStatus], look: Look, before: Option<&BackendsBefore<'_>>) {
    if all.len() < 2 {
        return;
    }
    let none = || Cell::from(String::new());
    let sum = |of: fn(&BackendStatus) -> u64| look.count(all.iter().map(|backend| of(backend)).sum());
    let mut cells = vec![Cell::from("total".to_owned()), none(), none()];
    match before {
        None => {
            cells.extend([
                none(),
                none(),
                sum(|b| b.connections),
                sum(|b| b.packets),
                sum(|b| b.bytes),
                none(),
                none(),
            ]);
        }
        Some(before) => {
            let flow = all.iter().filter_map(|backend| before.flow(backend)).sum();
            cells.extend([none(), sum(|b| b.connections)].into_iter().chain(flow_cells(Some(flow), look)));
        }
    }
    table.total(cells);
}

/// `3 backends: 2 up, 1 drain`.
fn states(all: &[&BackendStatus]) -> String {
    let counts = ["up", "drain", "down"].map(|state| (state, all.iter().filter(|b| b.state == state).count()));
    let counts: Vec<String> = counts.iter().filter(|(_, n)| *n > 0).map(|(state, n)| format!("{n} {state}")).collect();
    let backends = counted(all.len() as u64, "backend");
    if counts.is_empty() { backends } else { format!("{backends}: {}", counts.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::table::Layout;

    fn service(name: &str, backends: &[(&str, &str, u64)]) -> ServiceStatus {
        let backend = |(n, (backend, state, packets)): (usize, &(&str, &str, u64))| BackendStatus {
            service: name.into(),
            name: (*backend).into(),
            address: format!("10.1.0.{}", n + 1),
            port: Some(80),
            weight: 100,
            state: (*state).into(),
            since_s: 11_520.0,
            reason: "health check passes again after it has failed for long".into(),
            packets: *packets,
            bytes: packets * 1000,
            connections_total: packets / 10,
            ..Default::default()
        };
        ServiceStatus {
            name: name.into(),
            vip: "192.0.2.10".into(),
            port: Some(80),
            protocol: "tcp".into(),
            mode: "nat".into(),
            scheduler: "maglev".into(),
            backends_up: backends.iter().filter(|(_, state, _)| *state == "up").count(),
            backends: backends.iter().enumerate().map(backend).collect(),
            ..Default::default()
        }
    }

    fn plain(table: Table, layout: &Layout) -> String {
        anstream::adapter::strip_str(&table.render_with(layout).unwrap()).to_string()
    }

    #[test]
    fn services_fit_eighty_columns_with_wide_numbers() {
        let all = [
            service("web", &[("b1", "up", 123_456_789_012), ("b2", "drain", 5)]),
            service("dns", &[("d1", "down", 0)]),
        ];
        let text = plain(services(&all, Look::default(), None), &Layout { width: Some(80), sort: None });
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[1], "tcp 192.0.2.10:80 maglev nat  web");
        assert!(lines[2].starts_with("  10.1.0.1:80      b1    up     3 h 12 min     100 "), "{text}");
        assert!(
            text.contains(" failed for long\n") && !text.contains("PACKETS  "),
            "no word of the reason is lost: {text}"
        );
        assert!(text.contains("tcp 192.0.2.10:80 maglev nat  dns  (no backend takes new connections)\n"), "{text}");
        assert!(text.contains("\n2 services, 3 backends: 1 up, 1 drain, 1 down\n"), "{text}");
        let text = plain(services(&all, Look::default(), None), &Layout { width: Some(120), sort: None });
        assert!(text.contains(" 123G  ") && text.contains("\ntotal ") && text.contains("REASON"), "{text}");
        let wide = plain(services(&all, Look { exact: true }, None), &Layout::default());
        assert!(wide.contains(" 123456789012  123456789012000  ") && wide.contains("failed for long\n"), "{wide}");
    }

    #[test]
    fn rates_stand_in_the_place_of_counts() {
        let (old, now) = (service("web", &[("b1", "up", 100)]), service("web", &[("b1", "up", 300), ("b2", "up", 9)]));
        let before = BackendsBefore::new(old.backends.iter(), 2.0);
        let text = plain(backends(&now.backends, Look::default(), Some(&before)), &Layout::default());
        let words = |n: usize| text.lines().nth(n).unwrap().split_whitespace().skip(1).collect::<Vec<_>>().join(" ");
        assert_eq!(words(1), "10.1.0.1:80 up 100 0 10 100 100K");
        assert_eq!(words(2), "10.1.0.2:80 up 100 0 - - -");
        assert_eq!(words(3), "0 10 100 100K");
        let sorted = Layout { sort: Some("new/s".into()), width: None };
        assert!(plain(backends(&now.backends, Look::default(), Some(&before)), &sorted).contains("NEW/S"));
    }
}
