//! One `[[service]]` with its tables as the model's values.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use toml::Spanned;

use super::draft::split;
use super::draft_health::{self, HealthSpans};
use super::keys;
use super::model::{Backend, Service, Timeouts};
use super::reader::{Reader, is_usable};
use super::source::Span;
use super::values::{dscp, ports};
use super::words::{ClientAddress, DrainAction, Echo, Mode, MtuPolicy, OnRemove, Protocol, Role, Scheduler, State};

/// Places of a service's values; `None` where a value is left out or bad.
pub struct ServiceSpans {
    pub header: Span,
    pub name: Option<Span>,
    pub vip: Option<Span>,
    pub port: Option<Span>,
    /// Whether protocol and port are as the file wants them, be it by default.
    pub port_is_good: bool,
    pub mode: Option<Span>,
    pub tunnel_source: Option<Span>,
    /// The keys, where they are there.
    pub tunnel_dscp: Option<Span>,
    pub tunnel_ttl: Option<Span>,
    pub gue_port: Option<Span>,
    pub mtu_policy: Option<Span>,
    /// The key, where there is one.
    pub local_addresses: Option<Span>,
    pub client_address: Option<Span>,
    /// One for each of the local addresses; `None` where one is bad.
    pub local_address_spans: Option<Vec<Span>>,
    pub maglev_size: Option<Span>,
    pub echo: Option<Span>,
    /// The key, where there is one.
    pub passive: Option<Span>,
    pub health: HealthSpans,
    /// One for each of the service's backends.
    pub backends: Vec<BackendSpans>,
}

/// Places of a backend's values; `None` where a value is left out or bad.
pub struct BackendSpans {
    pub name: Option<Span>,
    pub address: Option<Span>,
    pub port: Option<Span>,
    /// Whether the port is as the file wants it, be it by default.
    pub port_is_good: bool,
}

/// Stands for an address that is bad; it never gets out, since the file is refused.
const NO_ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// Reads the table, and notes everything that is wrong with a value by itself.
pub fn read(mut table: Reader<'_, '_, '_>) -> (Service, ServiceSpans) {
    ["name", "vip", "mode"].into_iter().for_each(|name| table.require(name));
    let (name, name_span) = split(table.name("name"));
    let (vip, vip_span) = split(table.address("vip"));
    let (port, port_span) = split(table.int("port"));
    let (protocol, protocol_span) = split(table.word("protocol"));
    let (mode, mode_span) = split(table.word("mode"));
    let (tunnel_source, tunnel_source_span) = split(table.address("tunnel_source"));
    let (client_address, client_address_span) = split(table.word("client_address"));
    let tunnel_dscp = table.read("tunnel_dscp", |value, _| dscp(value)).and_then(Spanned::into_inner);
    let (maglev_size, maglev_size_span) = split(table.int("maglev_size"));
    let (echo, echo_span) = split(table.word("echo"));
    let port_is_good = table.has("port") == port.is_some() && table.has("protocol") == protocol_span.is_some();
    let (local_addresses, local_address_spans) = read_local_addresses(&mut table);
    let (drain_timeout, drain_action, on_remove) = read_drain(&mut table);
    let (health, health_spans) = draft_health::read(&mut table).unzip();
    let (backends, backend_spans) = read_backends(&mut table);
    let service = Service {
        name: name.unwrap_or_default(),
        vip: vip.unwrap_or(NO_ADDRESS),
        port,
        protocol: protocol.unwrap_or(Protocol::Tcp),
        mode: mode.unwrap_or(Mode::Gre),
        scheduler: table.word("scheduler").map_or(Scheduler::Maglev, Spanned::into_inner),
        persistence_s: table.duration_ms("persistence").and_then(|ms| u16::try_from(ms.into_inner() / 1000).ok()),
        tunnel_source,
        tunnel_dscp,
        tunnel_ttl: table.int("tunnel_ttl").map_or(64, Spanned::into_inner),
        gue_port: table.int("gue_port").map_or(6080, Spanned::into_inner),
        mtu_policy: table.word("mtu_policy").map_or(MtuPolicy::Signal, Spanned::into_inner),
        local_addresses,
        local_ports: table.parsed("local_ports", ports).map_or(1024..=65_535, Spanned::into_inner),
        reset_idle: table.flag("reset_idle").is_some_and(Spanned::into_inner),
        reset_unknown: table.flag("reset_unknown").is_some_and(Spanned::into_inner),
        client_address: client_address.unwrap_or(ClientAddress::None),
        maglev_size: maglev_size.unwrap_or(65_537),
        unreachable: table.flag("unreachable").is_some_and(Spanned::into_inner),
        echo: echo.unwrap_or(Echo::Answer),
        drain_timeout,
        drain_action,
        on_remove,
        timeouts: read_timeouts(&mut table),
        health,
        passive: draft_health::read_passive(&mut table),
        backends,
    };
    let spans = ServiceSpans {
        header: table.header(),
        name: name_span,
        vip: vip_span,
        port: port_span,
        port_is_good,
        mode: mode_span,
        tunnel_source: tunnel_source_span,
        tunnel_dscp: table.key_span("tunnel_dscp"),
        tunnel_ttl: table.key_span("tunnel_ttl"),
        gue_port: table.key_span("gue_port"),
        mtu_policy: table.key_span("mtu_policy"),
        local_addresses: table.key_span("local_addresses"),
        client_address: client_address_span,
        local_address_spans,
        maglev_size: maglev_size_span,
        echo: echo_span,
        passive: table.key_span("passive"),
        health: health_spans.unwrap_or_default(),
        backends: backend_spans,
    };
    (service, spans)
}

fn read_drain(table: &mut Reader<'_, '_, '_>) -> (Duration, DrainAction, OnRemove) {
    let timeout_ms = table.duration_ms("drain_timeout").map_or(0, Spanned::into_inner);
    let action = table.word("drain_action").map_or(DrainAction::Close, Spanned::into_inner);
    let on_remove = table.word("on_remove").map_or(OnRemove::Close, Spanned::into_inner);
    (Duration::from_millis(timeout_ms), action, on_remove)
}

fn read_local_addresses(table: &mut Reader<'_, '_, '_>) -> (Vec<IpAddr>, Option<Vec<Span>>) {
    let errors_before = table.findings.error_count();
    let (mut good, mut spans) = (Vec::new(), Vec::new());
    for address in table.parsed_items("local_addresses", keys::ADDRESSES_MAX, |text| text.parse().ok()) {
        let (span, address) = (address.span(), address.into_inner());
        if good.contains(&address) {
            table.findings.error(&span, format!("local address {address} is there twice"));
        } else if is_usable(table.findings, "local_addresses", address, &span) {
            good.push(address);
            spans.push(span);
        }
    }
    let all_are_good = table.findings.error_count() == errors_before;
    (good, all_are_good.then_some(spans))
}

fn read_timeouts(table: &mut Reader<'_, '_, '_>) -> Timeouts {
    let mut timeouts = Timeouts::default();
    let Some(mut table) = table.table("timeouts", &keys::TIMEOUTS) else { return timeouts };
    let keys = [
        ("tcp_syn", &mut timeouts.tcp_syn_s),
        ("tcp_established", &mut timeouts.tcp_established_s),
        ("tcp_fin", &mut timeouts.tcp_fin_s),
        ("udp", &mut timeouts.udp_s),
        ("udp_oneway", &mut timeouts.udp_oneway_s),
        ("icmp_echo", &mut timeouts.icmp_echo_s),
    ];
    for (name, seconds) in keys {
        let read = table.duration_ms(name).and_then(|ms| u16::try_from(ms.into_inner() / 1000).ok());
        *seconds = read.unwrap_or(*seconds);
    }
    timeouts
}

fn read_backends(table: &mut Reader<'_, '_, '_>) -> (Vec<Backend>, Vec<BackendSpans>) {
    let tables = table.tables("backend", keys::BACKENDS_MAX);
    tables
        .into_iter()
        .map(|(backend, span)| read_backend(Reader::new(backend, span, &keys::BACKEND, table.findings)))
        .unzip()
}

fn read_backend(mut table: Reader<'_, '_, '_>) -> (Backend, BackendSpans) {
    table.require("name");
    table.require("address");
    let (name, name_span) = split(table.name("name"));
    let (address, address_span) = split(table.address("address"));
    let (port, port_span) = split(table.int("port"));
    let (weight, _) = split(table.int("weight"));
    let (state, _) = split(table.word("state"));
    let spans = BackendSpans {
        name: name_span,
        address: address_span,
        port_is_good: table.has("port") == port_span.is_some(),
        port: port_span,
    };
    let backend = Backend {
        name: name.unwrap_or_default(),
        address: address.unwrap_or(NO_ADDRESS),
        port,
        weight: weight.unwrap_or(100),
        connections_max: table.int("connections_max").map(Spanned::into_inner),
        state: state.unwrap_or(State::Up),
        role: table.word("role").map_or(Role::Primary, Spanned::into_inner),
    };
    (backend, spans)
}
