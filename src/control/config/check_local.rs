//! The addresses that full-nat connects from, checked against backends, services and ports.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;

use super::check_services::{Owners, family};
use super::draft::Draft;
use super::draft_service::ServiceSpans;
use super::model::Service;
use super::net::same_family;
use super::source::Findings;
use super::words::Mode;
use super::written::socket;

/// Notes each fault of a service's local addresses.
pub fn check(service: &Service, spans: &ServiceSpans, owners: &Owners<'_>, findings: &mut Findings) {
    let is_full_nat = service.mode == Mode::FullNat && spans.mode.is_some();
    let Some(address_spans) = spans.local_address_spans.as_ref().filter(|_| is_full_nat) else { return };
    check_families(service, spans, findings);
    for (&address, span) in service.local_addresses.iter().zip(address_spans) {
        if let Some(fault) = fault(address, owners) {
            findings.error(span, format!("`local_addresses` cannot have {address}: that is {fault}"));
        }
    }
}

/// Notes services that connect from one address to one end, and not by the same ports: what they take from is one pool.
pub fn check_shared(draft: &Draft, findings: &mut Findings) {
    let mut by_end: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (service, spans) in draft.config.services.iter().zip(&draft.services) {
        let is_full_nat = service.mode == Mode::FullNat && spans.mode.is_some();
        if !(is_full_nat && spans.port_is_good && spans.local_address_spans.is_some()) {
            continue;
        }
        let backends = service.backends.iter().zip(&spans.backends);
        for (backend, _) in backends.filter(|(_, spans)| spans.address.is_some() && spans.port_is_good) {
            let end = (backend.address, service.backend_port(backend), service.protocol);
            by_end.entry(end).or_default().push((service, spans));
        }
    }
    let mut told = HashSet::new();
    for ((address, port, _), users) in by_end.into_iter().filter(|(_, users)| users.len() > 1) {
        let mut first_of: HashMap<IpAddr, &Service> = HashMap::new();
        for (service, spans) in users {
            for local in service.local_addresses.iter().filter(|&&local| same_family(local, address)) {
                let first = *first_of.entry(*local).or_insert(service);
                if first.local_ports == service.local_ports || !told.insert(&service.name) {
                    continue;
                }
                let (name, end) = (&first.name, socket(address, port));
                let message = format!(
                    "`local_ports` must be those of service `{name}`, which connects from {local} to {end} as well"
                );
                findings.error(spans.local_addresses.as_ref().unwrap_or(&spans.header), message);
            }
        }
    }
}

/// A backend is connected to from an address of its own family, whatever the VIP's is.
fn check_families(service: &Service, spans: &ServiceSpans, findings: &mut Findings) {
    let Service { mode, backends, local_addresses, .. } = service;
    let at = spans.local_addresses.as_ref().or(spans.mode.as_ref()).unwrap_or(&spans.header);
    let good = backends.iter().zip(&spans.backends).filter(|(_, spans)| spans.address.is_some());
    let is_reached = |address| local_addresses.iter().any(|&local| same_family(local, address));
    let (v4, v6): (Vec<_>, Vec<_>) =
        good.map(|(backend, _)| backend).filter(|b| !is_reached(b.address)).partition(|b| b.address.is_ipv4());
    let missing = [v4.first(), v6.first()];
    for backend in missing.into_iter().flatten() {
        let (name, family) = (&backend.name, family(backend.address));
        let message =
            format!("mode {mode} needs an {family} address in `local_addresses`: backend `{name}` is {family}");
        findings.error(at, message);
    }
    if local_addresses.is_empty() && missing.iter().all(|backend| backend.is_none()) {
        findings.error(at, format!("mode {mode} needs an address in `local_addresses` to connect from"));
    }
}

/// Why replies to `address` would not get back to the connection: somebody else gets or answers them.
fn fault(address: IpAddr, owners: &Owners<'_>) -> Option<String> {
    let port = |port: &str, what: &str| format!("{what} of port `{port}`");
    let gateway = || owners.gateways.get(&address).map(|name| port(name, "the gateway"));
    let neighbor = || {
        let found = owners.config.ports.iter().find(|port| port.neighbors.contains_key(&address))?;
        Some(port(&found.name, "a neighbor"))
    };
    let backend = || {
        let (service, backend) = owners.backends.get(&address)?;
        Some(format!("backend `{backend}` of service `{service}`"))
    };
    let vip = || Some(format!("the VIP of service `{}`, which has every port of it", owners.whole_vips.get(&address)?));
    owners.fault(address).or_else(gateway).or_else(neighbor).or_else(backend).or_else(vip)
}
