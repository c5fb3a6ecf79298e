//! Services and backends checked against each other and against the ports.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use super::check_local;
use super::check_ports::unique;
use super::draft::Draft;
use super::draft_service::{BackendSpans, ServiceSpans};
use super::model::{Backend, Config, Service};
use super::net::same_family;
use super::source::{Findings, Span};
use super::words::{ClientAddress, Echo, Mode, MtuPolicy, Protocol, Role, State};

/// Addresses that have an owner.
pub struct Owners<'d> {
    pub config: &'d Config,
    ways_are_known: bool,
    /// Own address to port.
    own: HashMap<IpAddr, &'d str>,
    /// Gateway to port.
    pub gateways: HashMap<IpAddr, &'d str>,
    /// VIP to service.
    vips: HashMap<IpAddr, &'d str>,
    /// The same, of services that have every port of their VIP.
    pub whole_vips: HashMap<IpAddr, &'d str>,
    /// Backend to service and name.
    pub backends: HashMap<IpAddr, (&'d str, &'d str)>,
}

/// Notes each fault of services and backends.
pub fn check(draft: &Draft, findings: &mut Findings) {
    let services = || draft.config.services.iter().zip(&draft.services);
    unique(services().map(|(service, spans)| (&service.name, &spans.name)), "service name", findings);
    let owners = Owners::new(draft);
    let mut seen: HashMap<(IpAddr, Option<u16>, Protocol), &str> = HashMap::new();
    let mut pinged = HashMap::new();
    for (service, spans) in services() {
        if let (Some(span), true) = (&spans.vip, spans.port_is_good) {
            let vip = (service.vip, service.port, service.protocol);
            if let Some(first) = seen.get(&vip) {
                let vip = vip_text(service);
                let at = spans.port.as_ref().unwrap_or(span);
                findings.error(at, format!("{vip} is already the VIP of service `{first}`"));
            } else {
                seen.insert(vip, &service.name);
            }
        }
        check_vip(service, spans, &owners, findings);
        check_service(service, spans, findings);
        check_client_address(service, spans, findings);
        check_echo(service, spans, &mut pinged, findings);
        check_passive(service, spans, findings);
        check_local::check(service, spans, &owners, findings);
        check_backends(service, spans, &owners, findings);
    }
    check_local::check_shared(draft, findings);
    if draft.config.services.is_empty() && findings.is_good() {
        findings.warning_of_file("there is no [[service]]: nothing is balanced");
    }
}

impl<'d> Owners<'d> {
    fn new(draft: &'d Draft) -> Self {
        let config = &draft.config;
        let ports = || config.ports.iter();
        let own = ports().flat_map(|port| port.addresses.iter().map(|net| (net.address(), port.name.as_str())));
        let gateways = ports().flat_map(|port| {
            let gateways = [port.gateway.map(IpAddr::V4), port.gateway6.map(IpAddr::V6)];
            gateways.into_iter().flatten().map(|gateway| (gateway, port.name.as_str()))
        });
        let services = || config.services.iter().zip(&draft.services);
        let vips = || {
            let good = services().filter(|(_, spans)| spans.vip.is_some());
            good.map(|(service, spans)| (service, spans, (service.vip, service.name.as_str())))
        };
        let is_whole = |service: &Service, spans: &ServiceSpans| service.port.is_none() && spans.port_is_good;
        let whole_vips = vips().filter(|(service, spans, _)| is_whole(service, spans)).map(|(.., vip)| vip);
        let backends = services().flat_map(|(service, spans)| {
            let good = service.backends.iter().zip(&spans.backends).filter(|(_, spans)| spans.address.is_some());
            good.map(|(backend, _)| (backend.address, (service.name.as_str(), backend.name.as_str())))
        });
        Self {
            config,
            ways_are_known: draft.ways_are_known,
            own: own.collect(),
            gateways: gateways.collect(),
            vips: vips().map(|(.., vip)| vip).collect(),
            whole_vips: whole_vips.collect(),
            backends: backends.collect(),
        }
    }

    /// The port on whose network `address` is the broadcast address.
    fn broadcast(&self, address: IpAddr) -> Option<&'d str> {
        let mut ports = self.config.ports.iter();
        let is_broadcast = |broadcast| address == IpAddr::V4(broadcast);
        let port = ports.find(|port| port.addresses.iter().any(|net| net.broadcast().is_some_and(is_broadcast)));
        port.map(|port| port.name.as_str())
    }

    /// Why `address` can be neither a VIP nor a backend, nor what full-nat connects from.
    pub fn fault(&self, address: IpAddr) -> Option<String> {
        if let Some(port) = self.own.get(&address) {
            return Some(format!("the own address of port `{port}`"));
        }
        Some(format!("the broadcast address of port `{}`", self.broadcast(address)?))
    }
}

fn check_vip(service: &Service, spans: &ServiceSpans, owners: &Owners<'_>, findings: &mut Findings) {
    let (vip, Some(span)) = (service.vip, &spans.vip) else { return };
    let gateway = || Some(format!("the gateway of port `{}`", owners.gateways.get(&vip)?));
    if let Some(fault) = owners.fault(vip).or_else(gateway) {
        findings.error(span, format!("`vip` cannot be {vip}: that is {fault}"));
    }
}

fn check_service(service: &Service, spans: &ServiceSpans, findings: &mut Findings) {
    let Service { name, mode, backends, .. } = service;
    if service.port.is_none()
        && spans.port_is_good
        && let Some(span) = &spans.health.without_port
    {
        let message = format!("[service.health] needs `port`: service `{name}` has every port of its VIP");
        findings.error(span, message);
    }
    if let (Some(span), Some(_)) = (&spans.health.vip, &spans.mode)
        && mode.is_nat()
    {
        let message =
            format!("`target = \"vip\"` is for tunnel modes and dsr: in mode {mode} backends do not have the VIP");
        findings.error(span, message);
    }
    if let (Some(span), Some(_)) = (&spans.local_addresses, &spans.mode)
        && *mode != Mode::FullNat
        && !service.local_addresses.is_empty()
    {
        findings.warning(span, format!("`local_addresses` is for mode full-nat; mode {mode} does not use it"));
    }
    if let (Some(source), Some(span), Some(_)) = (service.tunnel_source, &spans.tunnel_source, &spans.mode) {
        if !mode.is_tunnel() {
            findings.warning(span, format!("`tunnel_source` is for tunnel modes; mode {mode} does not use it"));
        } else if !backends.is_empty() && !backends.iter().any(|backend| same_family(backend.address, source)) {
            findings.warning(span, format!("`tunnel_source` {source} is not of the family of any backend"));
        }
    }
    check_tunnel(service, spans, findings);
    let slots = service.maglev_size as usize;
    if slots < backends.len() {
        let at = spans.maglev_size.as_ref().unwrap_or(&spans.header);
        findings.error(at, format!("`maglev_size` must be at least the {} backends, not {slots}", backends.len()));
    } else if backends.len() > 1 && slots / 65 < backends.len() {
        let at = spans.maglev_size.as_ref().unwrap_or(&spans.header);
        let message = format!("`maglev_size` {slots} is less than 65 slots a backend: shares will be uneven");
        findings.warning(at, message);
    }
    let at = spans.name.as_ref().unwrap_or(&spans.header);
    if backends.is_empty() {
        findings.warning(at, format!("service `{name}` has no backends"));
    } else if backends.iter().all(|backend| backend.role != Role::Primary) {
        let message = format!("service `{name}` has no backend with role primary: the others have nobody to wait for");
        findings.warning(at, message);
    } else if backends.iter().all(|backend| backend.state != State::Up) {
        findings.warning(at, format!("service `{name}` has no backend with state up: no new connections"));
    } else if backends.iter().all(|backend| backend.weight == 0 || backend.state != State::Up) {
        findings
            .warning(at, format!("service `{name}` has no weight above 0 on a backend that is up: no new connections"));
    }
}

/// Only where replies pass here can be seen whether there are any, and only TCP must answer.
fn check_passive(service: &Service, spans: &ServiceSpans, findings: &mut Findings) {
    let Some(span) = spans.passive.as_ref().filter(|_| service.passive.is_some()) else { return };
    let (mode, protocol) = (service.mode, service.protocol);
    if spans.mode.is_some() && !mode.is_nat() {
        let message = format!(
            "[service.passive] is for modes nat and full-nat: in mode {mode} backends answer clients directly, and \
             whether they do is not seen here; use [service.health]"
        );
        findings.error(span, message);
    }
    if protocol != Protocol::Tcp {
        let message = format!("[service.passive] is for protocol tcp: in {protocol} no answer is due to a packet");
        findings.error(span, message);
    }
}

/// Pings say which VIP, and not which of its services.
fn check_echo<'d>(
    service: &'d Service,
    spans: &ServiceSpans,
    pinged: &mut HashMap<IpAddr, &'d str>,
    findings: &mut Findings,
) {
    let Some(span) = spans.echo.as_ref().filter(|_| service.echo == Echo::Backend) else { return };
    let (mode, vip) = (service.mode, service.vip);
    if spans.mode.is_some() && mode != Mode::Nat {
        let message =
            format!("`echo` \"backend\" is for mode nat, not {mode}; leave it out, and tidegate answers pings");
        findings.error(span, message);
    }
    if spans.vip.is_some()
        && let Some(first) = pinged.insert(vip, &service.name)
    {
        let message = format!("pings of {vip} go to the backends of service `{first}` already: leave one `echo` out");
        findings.error(span, message);
    }
}

/// Only where the source is replaced, and only in TCP, is there something to tell and a place to tell it.
fn check_client_address(service: &Service, spans: &ServiceSpans, findings: &mut Findings) {
    let Service { client_address, mode, protocol, .. } = service;
    let Some(span) = spans.client_address.as_ref().filter(|_| *client_address != ClientAddress::None) else { return };
    if spans.mode.is_some() && *mode != Mode::FullNat {
        let message = format!(
            "`client_address` \"{client_address}\" is for mode full-nat: in mode {mode} backends see the client's own \
             address; leave it out"
        );
        findings.error(span, message);
    }
    if *protocol != Protocol::Tcp {
        let message = format!(
            "`client_address` \"{client_address}\" is for protocol tcp, not {protocol}; leave it out or write \"none\""
        );
        findings.error(span, message);
    }
}

/// Notes tunnel keys that the mode does not use.
fn check_tunnel(service: &Service, spans: &ServiceSpans, findings: &mut Findings) {
    let mode = service.mode;
    if spans.mode.is_none() {
        return;
    }
    for (key, span) in [("tunnel_dscp", &spans.tunnel_dscp), ("tunnel_ttl", &spans.tunnel_ttl)] {
        if let (Some(span), false) = (span, mode.is_tunnel()) {
            findings.warning(span, format!("`{key}` is for tunnel modes; mode {mode} does not use it"));
        }
    }
    if let (Some(span), true) = (&spans.gue_port, mode != Mode::Gue) {
        findings.warning(span, format!("`gue_port` is for mode gue; mode {mode} does not use it"));
    }
    let Some(span) = &spans.mtu_policy else { return };
    if service.mtu_policy == MtuPolicy::Fragment && !mode.is_tunnel() {
        findings.warning(span, format!("`mtu_policy` fragment is for tunnel modes; in mode {mode} it is signal"));
    }
    if service.mtu_policy == MtuPolicy::Clamp && service.protocol == Protocol::Udp {
        findings.warning(span, "`mtu_policy` clamp is for TCP; for udp it is signal");
    }
}

fn check_backends(service: &Service, spans: &ServiceSpans, owners: &Owners<'_>, findings: &mut Findings) {
    let backends = || service.backends.iter().zip(&spans.backends);
    unique(backends().map(|(backend, spans)| (&backend.name, &spans.name)), "backend name", findings);
    let mut seen = HashSet::new();
    for (backend, backend_spans) in backends() {
        let Some(span) = &backend_spans.address else { continue };
        // Only NAT changes the port: elsewhere two ports of an address are one server, of which there is no second.
        let changes_port = service.mode.is_nat() || spans.mode.is_none();
        let port = if changes_port { service.backend_port(backend) } else { service.port };
        let ports_are_good = spans.port_is_good && backend_spans.port_is_good;
        if ports_are_good && !seen.insert((backend.address, port)) {
            let at = port.map_or(backend.address.to_string(), |port| socket_text(backend.address, port));
            findings.error(span, format!("{at} is already a backend of service `{}`", service.name));
        }
        check_backend_address(backend, span, owners, findings);
        if spans.mode.is_some() {
            check_backend_port(service, spans, backend, backend_spans, findings);
            check_backend_family(service, spans, backend, span, findings);
            if owners.ways_are_known {
                check_backend_way(service, backend, span, owners.config, findings);
            }
        }
    }
}

fn check_backend_address(backend: &Backend, span: &Span, owners: &Owners<'_>, findings: &mut Findings) {
    let address = backend.address;
    let vip =
        || Some(format!("the VIP of service `{}`, and packets to it would come back", owners.vips.get(&address)?));
    if let Some(fault) = owners.fault(address).or_else(vip) {
        findings.error(span, format!("backend `{}` cannot be {address}: that is {fault}", backend.name));
    }
}

/// Only NAT can change the port, and only if the VIP has one.
fn check_backend_port(
    service: &Service,
    spans: &ServiceSpans,
    backend: &Backend,
    backend_spans: &BackendSpans,
    findings: &mut Findings,
) {
    let (Some(port), Some(span), true) = (backend.port, &backend_spans.port, spans.port_is_good) else { return };
    let (name, mode) = (&backend.name, service.mode);
    if mode.is_nat() && service.port.is_none() {
        let message =
            format!("backend `{name}` cannot have a port: service `{}` has every port of its VIP", service.name);
        findings.error(span, message);
    } else if !mode.is_nat() && service.port != Some(port) {
        let vip_port = service.port.map_or("leave it out".into(), |port| format!("leave it out or write {port}"));
        // Not an error: the port may be there for another mode, and packets do arrive, on the VIP's port.
        let message = format!("backend `{name}`: port {port} has no effect, mode {mode} never changes it; {vip_port}");
        findings.warning(span, message);
    }
}

/// Full-NAT and the tunnels may go from one family to the other.
fn check_backend_family(
    service: &Service,
    spans: &ServiceSpans,
    backend: &Backend,
    span: &Span,
    findings: &mut Findings,
) {
    let (Backend { name, address, .. }, Service { mode, vip, .. }) = (backend, service);
    if matches!(mode, Mode::Nat | Mode::Dsr) && spans.vip.is_some() && !same_family(*address, *vip) {
        let family = family(*address);
        let message = format!("backend `{name}` must be of the family of the VIP {vip} in mode {mode}, not {family}");
        findings.error(span, message);
    }
}

/// The next hop, and what the mode needs of it.
fn check_backend_way(service: &Service, backend: &Backend, span: &Span, config: &Config, findings: &mut Findings) {
    let (Backend { name, address, .. }, mode) = (backend, service.mode);
    let Some(route) = config.route(*address) else {
        let key = if address.is_ipv4() { "gateway" } else { "gateway6" };
        let message =
            format!("backend `{name}` has no next hop: {address} is in no port's network, and no port has a `{key}`");
        findings.error(span, message);
        return;
    };
    if mode == Mode::Dsr && !route.is_on_link(*address) {
        let message = format!("backend `{name}` must be in a port's network in mode dsr, which {address} is not");
        findings.error(span, message);
    }
    let Some(port) = config.ports.get(route.port).filter(|_| mode.is_tunnel()) else { return };
    let from_service = service.tunnel_source.filter(|source| same_family(*source, *address));
    if from_service == Some(*address) {
        findings.error(span, format!("backend `{name}` cannot be {address}: that is the tunnel's source"));
    } else if from_service.or_else(|| port.first_address_for(*address)).is_none() {
        let (port, family) = (&port.name, family(*address));
        let message = format!(
            "the tunnel to backend `{name}` has no source: port `{port}` has no {family} address; add one, or set \
             `tunnel_source`"
        );
        findings.error(span, message);
    }
}

pub fn family(address: IpAddr) -> &'static str {
    if address.is_ipv4() { "IPv4" } else { "IPv6" }
}

fn vip_text(service: &Service) -> String {
    match service.port {
        Some(port) => format!("{} {}", service.protocol, socket_text(service.vip, port)),
        None => format!("{} {} (every port)", service.protocol, service.vip),
    }
}

fn socket_text(address: IpAddr, port: u16) -> String {
    std::net::SocketAddr::new(address, port).to_string()
}
