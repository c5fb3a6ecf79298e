//! What is wrong with the machine, its ports and its neighbours, and with what it was told.

use std::collections::BTreeSet;

use super::{Finding, Grade, Seen};

/// Loops that do not turn.
pub(super) fn workers(seen: &Seen, found: &mut Vec<Finding>) {
    for worker in seen.workers.workers.iter().filter(|worker| worker.stalled) {
        let cpu = worker.cpu.map_or(String::new(), |cpu| format!(" on CPU {cpu}"));
        found.push(Finding::new(
            Grade::Fault,
            format!("worker {}{cpu} does not turn: what its queues receive is lost", worker.id),
            "its CPU is taken by something else, or the process is stopped by a debugger",
            "keep its CPU free of other work (isolcpus, a cpuset); `journalctl -u tidegate` has what it said last",
        ));
    }
}

/// Ports without a link.
pub(super) fn links(seen: &Seen, found: &mut Vec<Finding>) {
    for port in seen.ports.ports.iter().filter(|port| !port.link_up) {
        found.push(Finding::new(
            Grade::Fault,
            format!("the link of port {} ({}) is down", port.name, port.device),
            "a cable, a switch's port that is shut, or the other end of a virtual device that is not up",
            "see to the other end: `ip link set DEV up` there, or the switch's port",
        ));
    }
}

/// Next hops that do not answer.
pub(super) fn next_hops(seen: &Seen, found: &mut Vec<Finding>) {
    let silent: BTreeSet<(&str, &str)> = seen
        .neighbors
        .neighbors
        .iter()
        .filter(|neighbor| neighbor.state == "incomplete")
        .map(|neighbor| (neighbor.port.as_str(), neighbor.address.as_str()))
        .collect();
    for (port, address) in silent {
        let asks = if address.contains(':') { "neighbour discovery" } else { "ARP" };
        found.push(Finding::new(
            Grade::Fault,
            format!("next hop {address} on port {port} does not answer {asks}: packets for it are dropped"),
            "a gateway or backend address that is wrong or of another network, a host that is down, another VLAN",
            format!(
                "`tidegate capture --port {port} arp` shows what is asked; compare `gateway` and `vlan` of the port"
            ),
        ));
    }
}

/// Packet buffers and receive queues.
pub(super) fn buffers(seen: &Seen, found: &mut Vec<Finding>) {
    for port in &seen.ports.ports {
        if port.mbufs_total > 0 && port.mbufs_in_use * 10 > port.mbufs_total * 9 {
            found.push(Finding::new(
                Grade::Fault,
                format!("{} of {} packet buffers are in use", port.mbufs_in_use, port.mbufs_total),
                "queues that are full, many packets that wait for next hops, or too few buffers for the queues",
                "raise `dataplane.mbufs` and restart",
            ));
            // All ports share one pool.
            break;
        }
    }
    for port in &seen.ports.ports {
        if port.rx_no_mbuf > 0 {
            found.push(Finding::new(
                Grade::Warning,
                format!("port {}: {} packets were lost because no buffer was free", port.name, port.rx_no_mbuf),
                "too few packet buffers for the ports' queues",
                "raise `dataplane.mbufs` and restart",
            ));
        }
        if port.rx_missed > 0 && port.rx_missed * 10_000 > port.rx_packets {
            found.push(Finding::new(
                Grade::Warning,
                format!("port {}: the NIC lost {} packets that no worker took in time", port.name, port.rx_missed),
                "more packets than the workers can do, or a worker that shares its CPU",
                "`tidegate show workers` says how busy they are; raise `dataplane.workers`, or free their CPUs",
            ));
        }
    }
}

/// Reloads, commands and files.
pub(super) fn configuration(seen: &Seen, found: &mut Vec<Finding>) {
    let status = &seen.status;
    if let Some(error) = &status.reload_error {
        let first = error.lines().next().unwrap_or_default();
        found.push(Finding::new(
            Grade::Warning,
            format!("the last reload was refused or taken back: {first}"),
            "the configuration before it is still in use",
            format!("`tidegate check {}`, then `tidegate reload`", status.config),
        ));
    }
    if let Some(waits) = &status.unconfirmed {
        found.push(Finding::new(
            Grade::Note,
            format!("{} is taken back in {:.0} s unless it is confirmed", waits.path, waits.left_s.ceil()),
            "it was loaded with --confirm",
            "`tidegate confirm`, or `tidegate rollback`",
        ));
    }
    if status.edits > 0 {
        found.push(Finding::new(
            Grade::Note,
            format!("{} changes over the API are in no file: a reload or a restart undoes them", status.edits),
            "they were made without ?write",
            "`tidegate show config > FILE` prints what runs",
        ));
    }
    if let Some(plan) = seen.plan.as_ref().filter(|plan| !plan.is_empty() && status.edits == 0) {
        found.push(Finding::new(
            Grade::Note,
            format!("{} is not what runs: {}", plan.path, plan.summary),
            "it was edited and not loaded, or another file was",
            format!("`tidegate plan {}`, then `tidegate reload`", plan.path),
        ));
    }
}
