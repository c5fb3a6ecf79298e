//! What the traffic says: that there is none, what it is dropped for, and how it is spread.

use super::{Finding, Grade, Seen};
use crate::control::checksums::PARTIAL_CURE;
use crate::control::status::{DropStatus, Drops};
use crate::lb::verdict::DropReason;

/// Uptime after which silence means something, in seconds.
const SILENCE_S: f64 = 10.0;
/// Packets from which on their spread means something.
const SPREAD_MIN: u64 = 10_000;

/// Ports that nothing comes by.
pub(super) fn silence(seen: &Seen, found: &mut Vec<Finding>) {
    if seen.status.uptime_s < SILENCE_S {
        return;
    }
    for port in seen.ports.ports.iter().filter(|port| port.link_up && port.rx_packets == 0) {
        found.push(Finding::new(
            Grade::Warning,
            format!("port {} has received nothing since the start", port.name),
            "nobody sends here: the router has no route to the VIPs by this port, or the NIC is bound elsewhere",
            "on the router: `ip route replace VIP via ADDRESS-OF-THE-PORT`; `ping` the port's address from its network",
        ));
    }
}

/// Checksums that senders leave to a NIC that is not there.
pub(super) fn partial(seen: &Seen, found: &mut Vec<Finding>) {
    let count: u64 = seen.workers.workers.iter().map(|worker| worker.partial_checksums).sum();
    if count > 0 {
        found.push(Finding::new(
            Grade::Fault,
            format!("{count} connections came with partial checksums, which no receiver takes"),
            "the sender leaves checksums to a NIC, and its packets never pass one (veth, virtio)",
            PARTIAL_CURE,
        ));
    }
}

/// Connection tables that are nearly full.
pub(super) fn tables(seen: &Seen, found: &mut Vec<Finding>) {
    for worker in seen.workers.workers.iter().filter(|w| w.connections_max > 0) {
        let percent = worker.connections * 100 / worker.connections_max;
        if percent >= 90 {
            let grade = if percent >= 100 { Grade::Fault } else { Grade::Warning };
            found.push(Finding::new(
                grade,
                format!("worker {}: {percent} % of the connection table are in use", worker.id),
                "more connections than were planned for, or a flood; half-open ones give way to new ones",
                "raise `dataplane.connections` and restart, or shorten `[service.timeouts]`",
            ));
        }
    }
}

/// Workers that do nothing while one does all.
pub(super) fn one_worker(seen: &Seen, found: &mut Vec<Finding>) {
    let workers = &seen.workers.workers;
    let total: u64 = workers.iter().map(|worker| worker.rx_packets).sum();
    let Some(busiest) = workers.iter().max_by_key(|worker| worker.rx_packets) else { return };
    if workers.len() < 2 || total < SPREAD_MIN || busiest.rx_packets * 100 < total * 95 {
        return;
    }
    let without_rss: Vec<_> = seen.ports.ports.iter().filter(|port| !port.rss).map(|port| port.name.as_str()).collect();
    let why = if without_rss.is_empty() {
        "few flows, or one that is larger than all others: the NIC keeps a flow on one queue".to_owned()
    } else {
        format!("port {} has no RSS, so that one worker receives everything and hands it over", without_rss.join(", "))
    };
    found.push(Finding::new(
        Grade::Warning,
        format!("worker {} receives {} % of all packets", busiest.id, busiest.rx_packets * 100 / total.max(1)),
        why,
        "a NIC or device with several queues (`tidegate show ports` has them); `spread = \"queues\"` where the device keeps flows together",
    ));
}

/// What packets are dropped for, but for what is meant to be.
pub(super) fn drops(seen: &Seen, found: &mut Vec<Finding>) {
    let [before, now] = &seen.drops;
    let mut rows: Vec<(u64, &DropStatus)> =
        now.drops.iter().map(|drop| (drop.count.saturating_sub(count(before, &drop.reason)), drop)).collect();
    rows.sort_by_key(|(recent, drop)| std::cmp::Reverse((*recent, drop.count)));
    for (recent, drop) in rows.into_iter().filter(|(_, drop)| drop.count > 0) {
        if drop.cure.starts_with(DropReason::NOTHING) && recent == 0 {
            continue;
        }
        let rate = if seen.between_s > 0.0 { recent as f64 / seen.between_s } else { 0.0 };
        let (grade, when) = match (recent, drop.cure.starts_with(DropReason::NOTHING)) {
            (0, _) => (Grade::Note, "none of them now".to_owned()),
            (_, true) => (Grade::Note, format!("{rate:.0} a second now")),
            (_, false) => (Grade::Warning, format!("{rate:.0} a second now")),
        };
        let what = format!("{} packets dropped as {}, {when}: {}", drop.count, drop.reason, drop.meaning);
        found.push(Finding::new(grade, what, drop.cause.clone(), drop.cure.clone()));
    }
}

fn count(drops: &Drops, reason: &str) -> u64 {
    drops.drops.iter().find(|drop| drop.reason == reason).map_or(0, |drop| drop.count)
}
