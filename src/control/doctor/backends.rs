//! What is wrong with backends, the ways to them, and the ways back.

use std::collections::HashMap;

use super::{Finding, Grade, Seen};
use crate::control::status::{BackendStatus, ServiceStatus};

/// Fewer connections than this say nothing of the way back.
const CONNECTIONS_MIN: usize = 8;

/// Services whose clients get nothing.
pub(super) fn services(seen: &Seen, found: &mut Vec<Finding>) {
    for service in seen.services.services.iter().filter(|service| !service.removed && service.backends_up == 0) {
        let reasons: Vec<_> =
            service.backends.iter().take(3).map(|b| format!("{}: {}, {}", b.name, b.state, b.reason)).collect();
        let why = if service.backends.is_empty() { "it has none".to_owned() } else { reasons.join("; ") };
        found.push(Finding::new(
            Grade::Fault,
            format!("service {} has no backend that takes new connections", service.name),
            why,
            format!(
                "`tidegate show backends {}`; `tidegate backend up {}/BACKEND` where a command said otherwise",
                service.name, service.name
            ),
        ));
    }
}

/// Backends that are down though nobody wants it.
pub(super) fn down(seen: &Seen, found: &mut Vec<Finding>) {
    for (service, backend) in backends(seen).filter(|(_, b)| b.wanted == "up" && b.health == "down") {
        let name = format!("{}/{}", backend.service, backend.name);
        let asked = seen.answers.get(&(backend.service.clone(), backend.name.clone()));
        let by_vip = backend.reason.contains("(VIP ");
        let mode = service.mode.as_str();
        let finding = if by_vip && asked == Some(&true) {
            Finding::new(
                Grade::Warning,
                format!("backend {name} answers on its own address, but not on the VIP {} by {mode}", service.vip),
                format!(
                    "{}: the server has not got the VIP, the tunnel's end, or a filter is in the way",
                    backend.reason
                ),
                format!("on the server: `config/backend-check.sh {mode} {}` says what is missing", service.vip),
            )
        } else {
            Finding::new(
                Grade::Warning,
                format!("backend {name} at {} is down", backend.address),
                backend.reason.clone(),
                format!("see to the server; `tidegate backend drain {name}` while you do"),
            )
        };
        found.push(finding);
    }
}

/// Requests that nobody answers by way of this balancer, which in NAT all answers take.
pub(super) fn replies(seen: &Seen, found: &mut Vec<Finding>) {
    let mut by_service: HashMap<&str, (usize, usize)> = HashMap::new();
    for connection in &seen.connections.connections {
        let Some(service) = &connection.service else { continue };
        let (all, alone) = by_service.entry(service.as_str()).or_default();
        *all += 1;
        *alone += usize::from(matches!(connection.state.as_str(), "syn" | "udp_oneway"));
    }
    let is_nat = |service: &&ServiceStatus| service.mode == "nat" || service.mode == "full-nat";
    for service in seen.services.services.iter().filter(is_nat) {
        let Some(&(all, alone)) = by_service.get(service.name.as_str()) else { continue };
        if all < CONNECTIONS_MIN || alone < all {
            continue;
        }
        let mend = if service.mode == "nat" {
            "on each server: `ip route replace default via ADDRESS` with the address of the port that it is behind, or mode `full-nat`"
        } else {
            "on each server: a route to `local_addresses` by the port that it is behind"
        };
        found.push(Finding::new(
            Grade::Fault,
            format!("service {}: requests go out and no reply comes back ({all} connections, none open)", service.name),
            "the servers answer past the balancer (asymmetric routing), or do not answer at all",
            mend,
        ));
    }
}

/// Ports that a tunnel's packets of full size do not fit.
pub(super) fn tunnels(seen: &Seen, found: &mut Vec<Finding>) {
    const ETHERNET: u16 = 1500;
    let Some(mtu) = seen.ports.ports.iter().map(|port| port.mtu).min() else { return };
    let tunnelled: Vec<_> = seen
        .services
        .services
        .iter()
        .filter_map(|service| {
            let is_v6 = service.backends.iter().any(|backend| backend.address.contains(':'));
            let bytes = overhead(&service.mode, is_v6)?;
            (mtu < ETHERNET + bytes).then_some((service.name.as_str(), bytes))
        })
        .collect();
    let Some(bytes) = tunnelled.iter().map(|(_, bytes)| *bytes).max() else { return };
    let names: Vec<_> = tunnelled.iter().map(|(name, _)| *name).collect();
    let too_big =
        seen.drops.last().is_some_and(|drops| drops.drops.iter().any(|d| d.reason == "too_big" && d.count > 0));
    found.push(Finding::new(
        if too_big { Grade::Warning } else { Grade::Note },
        format!(
            "packets of {ETHERNET} bytes do not fit the tunnel of {} (MTU {mtu}, headers {bytes} bytes)",
            names.join(", ")
        ),
        "clients are told what fits, which those behind filters that drop ICMP do not hear",
        format!(
            "raise the MTU of the network behind to {} and `mtu` of the port with it, or set `mtu_policy = \"clamp\"`",
            ETHERNET + bytes
        ),
    ));
}

/// Bytes of a mode's tunnel headers; `None` without a tunnel.
fn overhead(mode: &str, is_v6: bool) -> Option<u16> {
    let ip = if is_v6 { 40 } else { 20 };
    match mode {
        "gre" => Some(ip + 4),
        "ipip" => Some(ip),
        "gue" => Some(ip + 8),
        _ => None,
    }
}

fn backends(seen: &Seen) -> impl Iterator<Item = (&ServiceStatus, &BackendStatus)> {
    seen.services.services.iter().flat_map(|service| service.backends.iter().map(move |backend| (service, backend)))
}
