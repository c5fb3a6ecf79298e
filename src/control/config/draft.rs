//! The file's tables as the model's values, each with its place, before they are checked against each other.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use toml::Spanned;
use toml::de::DeTable;

use super::check_api::ApiSpans;
use super::draft_service::{self, ServiceSpans};
use super::keys::{self, Kind, LCORE_MAX, PORTS_MAX, SERVICES_MAX, WORKERS_MAX};
use super::model::{Config, Control, Dataplane, Port, Workers};
use super::model_api::Api;
use super::net::IpNet;
use super::reader::{Reader, is_text, is_usable, shown};
use super::source::{Findings, Span};
use super::values::{hash_key, integer, station_mac};
use super::words::{HostPath, Idle, Spread};
use crate::lb::punt::{PuntClass, PuntRates};

/// A configuration that may be bad: what is bad has its default and no place, so that checks pass it by.
pub struct Draft {
    pub config: Config,
    pub workers: Option<Span>,
    pub api: ApiSpans,
    /// Whether networks and gateways are as the file wants them, so that next hops are known.
    pub ways_are_known: bool,
    /// One for each of `config.ports`.
    pub ports: Vec<PortSpans>,
    /// One for each of `config.services`.
    pub services: Vec<ServiceSpans>,
}

/// Places of a port's values; `None` where a value is left out or bad.
pub struct PortSpans {
    pub header: Span,
    /// Whether every value is good by itself.
    pub is_good: bool,
    pub name: Option<Span>,
    pub device: Option<Span>,
    /// One for each of the port's addresses.
    pub addresses: Vec<Span>,
    pub gateway: Option<Span>,
    pub gateway6: Option<Span>,
    pub mtu: Option<Span>,
    pub neighbors: Vec<(IpAddr, Span)>,
}

/// Reads every table, and notes everything that is wrong with a value by itself.
pub fn read(root: &Spanned<DeTable<'_>>, findings: &mut Findings) -> Draft {
    let mut root = Reader::new(root.get_ref(), 0..0, &keys::ROOT, findings);
    let port_tables = root.tables("port", PORTS_MAX);
    if port_tables.is_empty() && root.findings.is_good() {
        root.findings.error_of_file("there is no [[port]]; at least one is needed");
    }
    let root_is_good = root.findings.is_good();
    let (dataplane, workers) = read_dataplane(&mut root);
    let (control, api) = read_control(&mut root);
    let host = read_host(&mut root);
    let service_tables = root.tables("service", SERVICES_MAX);
    let findings = root.findings;
    let read_one_port = |(table, span)| {
        let errors_before = findings.error_count();
        let (port, mut spans) = read_port(Reader::new(table, span, &keys::PORT, findings));
        spans.is_good = findings.error_count() == errors_before;
        (port, spans)
    };
    let (ports, port_spans): (_, Vec<PortSpans>) = port_tables.into_iter().map(read_one_port).unzip();
    let (services, service_spans) = service_tables
        .into_iter()
        .map(|(table, span)| draft_service::read(Reader::new(table, span, &keys::SERVICE, findings)))
        .unzip();
    let config = Config { dataplane, control, ports, host, services, warnings: Vec::new() };
    let ways_are_known = root_is_good && port_spans.iter().all(|spans| spans.is_good);
    Draft { config, workers, api, ways_are_known, ports: port_spans, services: service_spans }
}

/// Splits a value that may have been left out from its place.
pub fn split<T>(value: Option<Spanned<T>>) -> (Option<T>, Option<Span>) {
    match value {
        Some(value) => {
            let span = value.span();
            (Some(value.into_inner()), Some(span))
        }
        None => (None, None),
    }
}

fn read_dataplane(root: &mut Reader<'_, '_, '_>) -> (Dataplane, Option<Span>) {
    let mut dataplane = Dataplane::default();
    let Some(mut table) = root.table("dataplane", &keys::DATAPLANE) else { return (dataplane, None) };
    let workers = read_workers(&mut table);
    if let Some(workers) = &workers {
        dataplane.workers = workers.get_ref().clone();
    }
    if let Some(connections) = table.int("connections") {
        dataplane.connections = connections.into_inner();
    }
    if let Some(rest) = table.duration_ms("local_port_rest") {
        dataplane.local_port_rest_s = u16::try_from(rest.into_inner() / 1000).unwrap_or(dataplane.local_port_rest_s);
    }
    if let Some(mbufs) = table.int("mbufs") {
        dataplane.mbufs = mbufs.into_inner();
    }
    if let Some(fragments) = table.int("fragments") {
        dataplane.fragments = fragments.into_inner();
    }
    if let Some(clients) = table.int("persistence_clients") {
        dataplane.persistence_clients = clients.into_inner();
    }
    // EAL stops at `--` and would silently pass over the arguments after it.
    let eal = |text: &str| (is_text(text, keys::TEXT_BYTES_MAX) && text != "--").then(|| text.to_owned());
    dataplane.eal = table.parsed_items("eal", keys::EAL_ARGS_MAX, eal).into_iter().map(Spanned::into_inner).collect();
    dataplane.hash_key = table.parsed("hash_key", hash_key).map(Spanned::into_inner);
    dataplane.idle = table.word("idle").map_or(Idle::Auto, Spanned::into_inner);
    (dataplane, workers.map(|workers| workers.span()))
}

fn read_workers(table: &mut Reader<'_, '_, '_>) -> Option<Spanned<Workers>> {
    let (value, key) = table.value("workers")?;
    let Some(items) = value.get_ref().as_array() else {
        let count = integer(value.get_ref()).and_then(|n| u16::try_from(n).ok());
        let good = count.filter(|count| (1..=WORKERS_MAX).contains(&usize::from(*count)));
        if good.is_none() {
            table.refuse("workers", value, &key.kind);
        }
        return good.map(|count| Spanned::new(value.span(), Workers::Count(count)));
    };
    if items.is_empty() || items.len() > WORKERS_MAX {
        let message = format!("`workers` must be {}, not {} lcores", key.kind.expected(), items.len());
        table.findings.error(&value.span(), message);
        return None;
    }
    let mut lcores = Vec::new();
    for item in items.iter() {
        let lcore = integer(item.get_ref()).and_then(|n| u16::try_from(n).ok()).filter(|lcore| *lcore <= LCORE_MAX);
        match lcore {
            Some(lcore) if lcores.contains(&lcore) => {
                table.findings.error(&item.span(), format!("lcore {lcore} is in `workers` twice"));
            }
            Some(lcore) => lcores.push(lcore),
            None => table.refuse("workers", item, &key.kind),
        }
    }
    (lcores.len() == items.len()).then(|| Spanned::new(value.span(), Workers::Lcores(lcores)))
}

fn read_control(root: &mut Reader<'_, '_, '_>) -> (Control, ApiSpans) {
    let mut control = Control::default();
    let Some(mut table) = root.table("control", &keys::CONTROL) else { return (control, ApiSpans::default()) };
    if let Some(socket) = table.text("socket") {
        control.socket = PathBuf::from(socket.into_inner());
    }
    if let Some(grace_ms) = table.duration_ms("grace") {
        control.grace = Duration::from_millis(grace_ms.into_inner());
    }
    let is_path = |text: &str| text.starts_with('/') && !text.ends_with('/') && is_text(text, keys::TEXT_BYTES_MAX);
    let state_file = |text: &str| (is_path(text) || text == "none").then(|| PathBuf::from(text));
    if let Some(path) = table.parsed("state_file", state_file) {
        control.state_file = Some(path.into_inner()).filter(|path| path.is_absolute());
    }
    let (api, spans) = read_api(&mut table);
    control.api = api;
    (control, spans)
}

fn read_api(control: &mut Reader<'_, '_, '_>) -> (Api, ApiSpans) {
    let mut api = Api::default();
    let mut spans = ApiSpans::default();
    let Some(mut table) = control.table("api", &keys::API) else { return (api, spans) };
    (api.listen, spans.listen) = split(table.parsed("listen", |text| text.parse().ok()));
    let mut path = |name| {
        let (path, span) = split(table.text(name));
        (path.map(PathBuf::from), span)
    };
    (api.token_file, spans.token_file) = path("token_file");
    (api.tls_cert, spans.tls_cert) = path("tls_cert");
    (api.tls_key, spans.tls_key) = path("tls_key");
    let (open_reads, span) = split(table.flag("open_reads"));
    api.open_reads = open_reads.unwrap_or(api.open_reads);
    spans.open_reads = span;
    (api, spans)
}

fn read_host(root: &mut Reader<'_, '_, '_>) -> PuntRates {
    let mut rates = PuntRates::default();
    let Some(mut table) = root.table("host", &keys::HOST) else { return rates };
    for (class, rate) in PuntClass::ALL.iter().zip(&mut rates.0) {
        if let Some(wanted) = table.int(class.label()) {
            *rate = wanted.into_inner();
        }
    }
    rates
}

/// The kernel takes other names for devices than we take for ports.
fn read_host_device(table: &mut Reader<'_, '_, '_>) -> Option<String> {
    let name = table.text("host_device")?;
    let is_good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if !name.get_ref().chars().all(is_good) || matches!(name.get_ref().as_str(), "." | "..") {
        let message = format!("`host_device` must be of the characters A-Z a-z 0-9 . _ -, not \"{}\"", name.get_ref());
        table.findings.error(&name.span(), message);
        return None;
    }
    Some(name.into_inner())
}

fn read_port(mut table: Reader<'_, '_, '_>) -> (Port, PortSpans) {
    table.require("name");
    table.require("device");
    let (name, name_span) = split(table.name("name"));
    let (device, device_span) = split(table.text("device"));
    let (addresses, address_spans) = read_addresses(&mut table);
    let (gateway, gateway_span) = split(table.address("gateway"));
    let (gateway6, gateway6_span) = split(table.address("gateway6"));
    let (mtu, mtu_span) = split(table.int("mtu"));
    let (mac, _) = split(table.parsed("mac", station_mac));
    let (vlan, _) = split(table.int("vlan"));
    let decapsulate_from = read_outer_tier(&mut table);
    let spread = table.word("spread").map_or(Spread::Auto, Spanned::into_inner);
    let mut port = Port {
        name: name.unwrap_or_default(),
        device: device.unwrap_or_default(),
        addresses,
        gateway,
        gateway6,
        mtu: mtu.unwrap_or(1500),
        mac,
        vlan,
        decapsulate_from,
        spread,
        neighbors: Default::default(),
        host: table.word("host").map_or(HostPath::Auto, Spanned::into_inner),
        host_device: read_host_device(&mut table),
    };
    let neighbors = read_neighbors(&mut table, &mut port);
    let spans = PortSpans {
        header: table.header(),
        is_good: true,
        name: name_span,
        device: device_span,
        addresses: address_spans,
        gateway: gateway_span,
        gateway6: gateway6_span,
        mtu: mtu_span,
        neighbors,
    };
    (port, spans)
}

fn read_addresses(table: &mut Reader<'_, '_, '_>) -> (Vec<IpNet>, Vec<Span>) {
    let mut good = Vec::new();
    for net in table.parsed_items("addresses", keys::ADDRESSES_MAX, IpNet::parse) {
        let (span, net) = (net.span(), net.into_inner());
        let is_host = net.prefix_len() >= if net.address().is_ipv4() { 31 } else { 127 };
        if !is_usable(table.findings, "addresses", net.address(), &span) {
            continue;
        }
        let fault = if net.prefix_len() == 0 {
            "prefix length 0 would make every address a neighbour; use `gateway`"
        } else if !is_host && net.address() == net.network() {
            "that is the address of the network, not of a host in it"
        } else if net.broadcast().is_some_and(|broadcast| net.address() == broadcast) {
            "that is the network's broadcast address"
        } else {
            good.push((net, span));
            continue;
        };
        table.findings.error(&span, format!("`addresses` cannot hold {net}: {fault}"));
    }
    good.into_iter().unzip()
}

/// Networks, whose addresses may also be written with host bits.
fn read_outer_tier(table: &mut Reader<'_, '_, '_>) -> Vec<IpNet> {
    let mut good = Vec::new();
    for net in table.parsed_items("decapsulate_from", keys::ADDRESSES_MAX, IpNet::parse) {
        let (span, net) = (net.span(), net.into_inner());
        if net.prefix_len() == 0 {
            let message =
                format!("`decapsulate_from` cannot hold {net}: anybody could send packets past the edge then");
            table.findings.error(&span, message);
        } else if is_usable(table.findings, "decapsulate_from", net.address(), &span) {
            good.push(net);
        }
    }
    good
}

fn read_neighbors(table: &mut Reader<'_, '_, '_>, port: &mut Port) -> Vec<(IpAddr, Span)> {
    let mut spans = Vec::new();
    let Some((value, key)) = table.value("neighbors") else { return spans };
    let neighbors = value.get_ref().as_table().filter(|neighbors| neighbors.len() <= keys::NEIGHBORS_MAX);
    let Some(neighbors) = neighbors else {
        table.refuse("neighbors", value, &key.kind);
        return spans;
    };
    for (address, mac) in neighbors.iter() {
        let span = address.span();
        let Ok(ip) = address.get_ref().parse::<IpAddr>() else {
            let shown = super::source::printable(address.get_ref());
            table.findings.error(&span, format!("`neighbors` must be of IPv4 or IPv6 addresses, not \"{shown}\""));
            continue;
        };
        let station = mac.get_ref().as_str().and_then(station_mac);
        if !is_usable(table.findings, "neighbors", ip, &span) {
            continue;
        }
        match station {
            None => {
                let (expected, shown) = (Kind::Mac.expected(), shown(mac.get_ref()));
                table.findings.error(&mac.span(), format!("neighbor {ip} must have {expected}, not {shown}"));
            }
            Some(station) if port.neighbors.insert(ip, station).is_some() => {
                table.findings.error(&span, format!("neighbor {ip} is there twice"));
            }
            Some(_) => spans.push((ip, span)),
        }
    }
    spans
}
