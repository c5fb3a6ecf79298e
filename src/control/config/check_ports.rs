//! Workers and ports checked against each other.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use super::draft::{Draft, PortSpans};
use super::model::Port;
use super::net::IpNet;
use super::source::{Findings, Span};
use super::values::is_link_local;
use super::words::HostPath;

/// Notes each fault of workers and ports.
pub fn check(draft: &Draft, findings: &mut Findings) {
    let workers = draft.config.dataplane.workers.count();
    if let Some(span) = &draft.workers
        && u64::from(draft.config.dataplane.connections) < workers as u64
    {
        let connections = draft.config.dataplane.connections;
        findings.error(span, format!("{workers} workers need at least as many `connections`, not {connections}"));
    }
    let ports = || draft.config.ports.iter().zip(&draft.ports);
    unique(ports().map(|(port, spans)| (&port.name, &spans.name)), "port name", findings);
    check_devices(draft, findings);
    check_networks(draft, findings);
    let mut families = [None, None];
    for (port, spans) in ports() {
        check_port(port, spans, findings);
        check_gateways(port, spans, &mut families, findings);
    }
}

/// Notes each value that was there before.
pub fn unique<'v>(values: impl Iterator<Item = (&'v String, &'v Option<Span>)>, what: &str, findings: &mut Findings) {
    let mut seen = HashMap::new();
    for (value, span) in values {
        let Some(span) = span else { continue };
        if seen.insert(value, ()).is_some() {
            findings.error(span, format!("{what} `{value}` is there twice"));
        }
    }
}

/// What must be unique of a device: a vdev's name without its arguments, a PCI address with its domain.
fn device_id(device: &str) -> String {
    let name = device.split(',').next().unwrap_or(device).trim().to_ascii_lowercase();
    let is_short_pci = name.len() == 7 && name.is_char_boundary(2) && name.get(2..3) == Some(":");
    if is_short_pci { format!("0000:{name}") } else { name }
}

/// Ports may share a device if their VLANs tell them apart; what the device has but once, they have alike.
fn check_devices(draft: &Draft, findings: &mut Findings) {
    let ports = draft.config.ports.iter().zip(&draft.ports);
    let mut first_of: HashMap<String, &Port> = HashMap::new();
    let mut vlans = HashSet::new();
    for (port, spans) in ports {
        let Some(span) = &spans.device else { continue };
        let id = device_id(&port.device);
        let is_new = vlans.insert((id.clone(), port.vlan));
        let first = match first_of.entry(id) {
            Entry::Occupied(first) => *first.get(),
            Entry::Vacant(free) => {
                free.insert(port);
                continue;
            }
        };
        let (device, name) = (&port.device, &first.name);
        if !is_new {
            let which = port.vlan.map_or("no `vlan`".to_owned(), |vlan| format!("`vlan` {vlan}"));
            let message = format!(
                "device `{device}` is there twice with {which}; ports that share a device need a `vlan` each, one of them may have none"
            );
            findings.error(span, message);
        }
        let mut differs = |key: &str, place: &Span, own: &str, wanted: &str| {
            if own != wanted {
                let message = format!("`{key}` is {own}, but {wanted} on port `{name}`, which has the same device");
                findings.error(place, message);
            }
        };
        let mac = |port: &Port| port.mac.map_or("left out".to_owned(), |mac| mac.to_string());
        differs("device", span, device, &first.device);
        differs("mtu", spans.mtu.as_ref().unwrap_or(span), &port.mtu.to_string(), &first.mtu.to_string());
        differs("mac", span, &mac(port), &mac(first));
        differs("spread", span, &port.spread.to_string(), &first.spread.to_string());
    }
}

/// Own addresses and networks must be of one port only, or the way out is ambiguous.
fn check_networks(draft: &Draft, findings: &mut Findings) {
    let mut addresses: HashMap<IpAddr, &str> = HashMap::new();
    let mut networks: HashMap<(IpAddr, u8), usize> = HashMap::new();
    for (index, (port, spans)) in draft.config.ports.iter().zip(&draft.ports).enumerate() {
        for (net, span) in port.addresses.iter().zip(&spans.addresses) {
            // Every port may have fe80::/64, and the same address in it.
            if matches!(net.address(), IpAddr::V6(v6) if is_link_local(v6)) {
                continue;
            }
            match addresses.entry(net.address()) {
                Entry::Occupied(owner) => {
                    let message = format!("address {} is already on port `{}`", net.address(), owner.get());
                    findings.error(span, message);
                    continue;
                }
                Entry::Vacant(free) => free.insert(&port.name),
            };
            if let Some((port, other)) = overlapping(draft, index, *net) {
                let message = format!(
                    "network {net} overlaps {other} of port `{port}`; a packet to what is in both leaves by one port only"
                );
                findings.error(span, message);
            }
            let owner = *networks.entry((net.network(), net.prefix_len())).or_insert(index);
            if owner != index {
                let name = draft.config.ports.get(owner).map_or("", |port| &port.name);
                let (network, length) = (net.network(), net.prefix_len());
                let message = format!(
                    "network {network}/{length} is already on port `{name}`; a packet to it leaves by one port only"
                );
                findings.error(span, message);
            }
        }
    }
}

/// A network of a port before the one at `index` that has a part of `net`, or the whole of it, but is another one. Single
/// addresses are no networks.
fn overlapping(draft: &Draft, index: usize, net: IpNet) -> Option<(&str, IpNet)> {
    let is_network = |net: &IpNet| net.prefix_len() < if net.address().is_ipv4() { 32 } else { 128 };
    let overlaps = |other: &&IpNet| {
        let is_other = net.prefix_len() != other.prefix_len();
        is_other && is_network(other) && (net.contains(other.network()) || other.contains(net.network()))
    };
    let before = draft.config.ports.iter().take(index).filter(|_| is_network(&net));
    before
        .flat_map(|port| port.addresses.iter().map(move |other| (port, other)))
        .find_map(|(port, other)| Some((port.name.as_str(), *other)).filter(|_| overlaps(&other)))
}

fn check_port(port: &Port, spans: &PortSpans, findings: &mut Findings) {
    const MTU6_MIN: u16 = 1280;
    let has_v6 = port.gateway6.is_some() || port.addresses.iter().any(|net| net.address().is_ipv6());
    if let Some(span) = &spans.mtu
        && has_v6
        && port.mtu < MTU6_MIN
    {
        let message =
            format!("`mtu` must be {MTU6_MIN} or more on a port with IPv6 (RFC 8200 section 5), not {}", port.mtu);
        findings.error(span, message);
    }
    if let Some(span) = &spans.device
        && port.device.bytes().all(|b| b.is_ascii_alphanumeric())
    {
        let device = &port.device;
        let message = format!(
            "`{device}` is not a PCI address or vdev; for a kernel interface of that name write \
             \"net_af_packet0,iface={device}\""
        );
        findings.warning(span, message);
    }
    if port.host == HostPath::On && port.addresses.is_empty() && spans.name.is_some() && spans.is_good {
        let message = format!("port `{}` has `host` = \"on\" and no `addresses` that the host could have", port.name);
        findings.error(&spans.header, message);
    }
    if port.addresses.is_empty() && spans.name.is_some() {
        let message = format!("port `{}` has no addresses: nothing is sent out of it but to a gateway", port.name);
        findings.warning(&spans.header, message);
    }
    for (address, span) in &spans.neighbors {
        let own = port.addresses.iter().any(|net| net.address() == *address);
        let on_link = port.addresses.iter().any(|net| net.contains(*address));
        let link_local = matches!(address, IpAddr::V6(v6) if is_link_local(*v6));
        if own {
            findings.error(span, format!("neighbor {address} is the port's own address"));
        } else if !on_link && !link_local {
            let message = format!("neighbor {address} is in no network of port `{}`, so it is never used", port.name);
            findings.warning(span, message);
        }
    }
}

/// `families` holds the port that has the IPv4 and the IPv6 gateway so far.
fn check_gateways<'d>(port: &'d Port, spans: &PortSpans, families: &mut [Option<&'d str>; 2], findings: &mut Findings) {
    let gateways = [
        ("gateway", port.gateway.map(IpAddr::V4), &spans.gateway),
        ("gateway6", port.gateway6.map(IpAddr::V6), &spans.gateway6),
    ];
    for ((key, gateway, span), first) in gateways.into_iter().zip(families) {
        let (Some(gateway), Some(span)) = (gateway, span) else { continue };
        let nets = || port.addresses.iter().filter(|net| net.contains(gateway));
        let link_local = matches!(gateway, IpAddr::V6(v6) if is_link_local(v6));
        if nets().next().is_none() && !link_local && spans.is_good {
            let message = format!("`{key}` {gateway} is in no network of port `{}`", port.name);
            findings.error(span, message);
        } else if port.addresses.iter().any(|net| net.address() == gateway) {
            findings.error(span, format!("`{key}` {gateway} is the port's own address"));
        } else if nets().any(|net| net.broadcast().is_some_and(|broadcast| gateway == broadcast)) {
            findings.error(span, format!("`{key}` {gateway} is the network's broadcast address"));
        }
        match first {
            Some(first) => {
                let message = format!("`{key}` is not used: port `{first}` has one already, and the first one wins");
                findings.warning(span, message);
            }
            None => *first = Some(&port.name),
        }
    }
}
