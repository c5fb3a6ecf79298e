//! Metrics of the packet path: each worker's counters, and what they count by reason and by class.

use super::basis::Basis;
use super::family::{Family, Samples, Source, Value};
use crate::lb::counters::{Counter, Counters};
use crate::lb::handle::WorkerHandle;
use crate::lb::latency::PacketClass;
use crate::lb::punt::PuntClass;
use crate::lb::verdict::DropReason;

type Of = fn(&Basis, &WorkerHandle) -> Option<Value>;

const fn worker(name: &'static str, help: &'static str, of: Of) -> Family {
    Family { name, labels: &["worker"], help, source: Source::Worker(of) }
}

/// The metric of one counter.
macro_rules! count {
    ($name:literal, $counter:ident, $help:literal) => {
        worker($name, $help, |_, worker| Some(worker.counters.$counter.get().into()))
    };
}

/// By worker.
pub(super) static FAMILIES: [Family; 42] = [
    count!("tidegate_received_packets_total", rx_packets, "Packets taken from ports"),
    count!("tidegate_received_bytes_total", rx_bytes, "Bytes of packets taken from ports, from the Ethernet header on"),
    count!("tidegate_transmitted_packets_total", tx_packets, "Packets forwarded, counted when the port took them"),
    count!("tidegate_transmitted_bytes_total", tx_bytes, "Bytes of packets forwarded"),
    count!(
        "tidegate_replies_total",
        replies,
        "Packets answered by the balancer itself: ARP, neighbour discovery, echo, ICMP errors"
    ),
    count!("tidegate_punts_total", punts, "Packets handed to the host's network stack"),
    count!("tidegate_host_transmitted_packets_total", host_tx, "Frames of the host's that left by a port"),
    count!("tidegate_host_unsent_packets_total", host_tx_dropped, "Frames of the host's that did not get out"),
    count!(
        "tidegate_held_packets",
        held,
        "Packets that wait now for a next hop's MAC address or for the first fragment of their datagram"
    ),
    count!("tidegate_handoffs_total", handoffs, "Packets passed to the worker that owns their connection"),
    count!(
        "tidegate_originated_packets_total",
        originated,
        "Frames sent unasked: ARP requests, solicitations, announcements"
    ),
    count!(
        "tidegate_originated_unsent_packets_total",
        unsent,
        "Of those, frames that found no packet buffer or no room in a transmit queue"
    ),
    count!(
        "tidegate_icmp_errors_limited_total",
        errors_limited,
        "ICMP errors that were due to senders and not sent, because there were too many"
    ),
    count!(
        "tidegate_stateless_packets_total",
        stateless,
        "Packets that tunnel modes forwarded by the hash, without a connection"
    ),
    count!("tidegate_adopted_connections_total", adopted, "Connections taken over in their middle, in tunnel modes"),
    count!(
        "tidegate_partial_checksums_total",
        partial_checksums,
        "Packets that opened or changed a connection, at most one a burst, and came with a partial checksum"
    ),
    count!("tidegate_fragments_total", fragments, "Fragments of TCP and UDP that were looked at"),
    count!(
        "tidegate_fragments_waiting",
        fragments_waiting,
        "Fragments that wait for the first one of their datagram now"
    ),
    count!(
        "tidegate_fragments_sent_total",
        fragments_sent,
        "Frames that packets were sent in that were too long for their port"
    ),
    count!("tidegate_connections", connections_active, "Connections open now"),
    worker("tidegate_connections_max", "Connections that may be open", |_, w| Some(w.connections_max.into())),
    count!("tidegate_connections_created_total", connections_created, "Connections opened"),
    count!("tidegate_connections_expired_total", connections_expired, "Connections ended by their timeout"),
    count!(
        "tidegate_connections_evicted_total",
        connections_evicted,
        "Half-open connections that gave their place to newer ones"
    ),
    worker("tidegate_connection_table_bytes", "Memory of the connection tables", |_, w| Some(w.table_bytes.into())),
    count!(
        "tidegate_clients_evicted_total",
        clients_evicted,
        "Clients whose backend was forgotten before its time, for want of room"
    ),
    count!("tidegate_local_ports", local_ports, "Full-NAT: local ports that connections have now"),
    count!(
        "tidegate_local_ports_resting",
        local_ports_resting,
        "Full-NAT: local ports that rest after their connection"
    ),
    count!("tidegate_local_replies_total", local_replies, "Full-NAT: replies to local ports"),
    count!(
        "tidegate_local_handoffs_total",
        local_handoffs,
        "Full-NAT: replies that arrived at another worker than their connection's"
    ),
    count!("tidegate_worker_turns_total", turns, "Turns of the poll loop"),
    count!("tidegate_worker_busy_turns_total", busy_turns, "Turns of the poll loop that found packets"),
    count!(
        "tidegate_worker_busy_packets_total",
        busy_packets,
        "Packets that busy turns found, in ports and in the rings of other workers"
    ),
    worker("tidegate_worker_busy_seconds_total", "Time spent in turns that found packets", |basis, w| {
        seconds(basis, &w.counters.busy_cycles)
    }),
    worker("tidegate_worker_sleep_seconds_total", "Time asleep for want of packets", |basis, w| {
        seconds(basis, &w.counters.sleep_cycles)
    }),
    worker("tidegate_worker_stalled", "1 if the loop has not turned for 5 seconds", stalled),
    count!("tidegate_worker_generation", generation, "Number of the snapshot that the worker uses"),
    worker("tidegate_worker_cpu", "The CPU that the worker is pinned to", |_, w| {
        w.cpu.map(|cpu| u64::from(cpu).into())
    }),
    worker("tidegate_table_hugepage_bytes", "Memory of the connection tables in reserved hugepages", |_, w| {
        w.table_memory.map(|m| m.hugepage_bytes.into())
    }),
    worker(
        "tidegate_table_transparent_bytes",
        "Memory of the connection tables in hugepages that the kernel made by itself",
        |_, w| w.table_memory.map(|m| m.transparent_bytes.into()),
    ),
    worker("tidegate_table_plain_bytes", "Memory of the connection tables in pages of the usual size", |_, w| {
        w.table_memory.map(|m| m.plain_bytes.into())
    }),
    worker("tidegate_drops_by_worker_total", "Packets dropped, for any reason", |_, w| {
        Some(w.counters.drops_total().into())
    }),
];

fn seconds(basis: &Basis, cycles: &Counter) -> Option<Value> {
    let hz = basis.rest.tsc_hz.filter(|&hz| hz > 0)?;
    Some((cycles.get() as f64 / hz as f64).into())
}

fn stalled(basis: &Basis, worker: &WorkerHandle) -> Option<Value> {
    Some(basis.rest.stalled.get(worker.id.index()).copied()?.into())
}

/// Over all workers, by reason or class.
pub(super) static BY_CLASS: [Family; 4] = [
    Family {
        name: "tidegate_drops_total",
        labels: &["reason"],
        help: "Packets dropped, by reason; docs/drops.md says what each means",
        source: Source::Few(drops),
    },
    Family {
        name: "tidegate_host_packets_total",
        labels: &["class"],
        help: "Packets handed to the host's network stack, by class",
        source: Source::Few(|basis, samples| by_punt_class(basis, samples, Counters::punted)),
    },
    Family {
        name: "tidegate_host_limited_packets_total",
        labels: &["class"],
        help: "Packets for the host's network stack beyond the rate of their class",
        source: Source::Few(|basis, samples| by_punt_class(basis, samples, |c, class| c.punt_limited(class).get())),
    },
    Family {
        name: "tidegate_latency_seconds",
        labels: &["class", "le"],
        help: "Time of packets in the balancer, from the receive burst to the end of the transmit burst, sampled",
        source: Source::Histogram(latency),
    },
];

fn drops(basis: &Basis, samples: &mut Samples<'_>) {
    for &reason in DropReason::ALL {
        let count: u64 = basis.workers().iter().map(|worker| worker.counters.drops(reason)).sum();
        samples.put(&[("reason", reason.label())], count);
    }
}

fn by_punt_class(basis: &Basis, samples: &mut Samples<'_>, of: fn(&Counters, PuntClass) -> u64) {
    for &class in PuntClass::ALL {
        let count: u64 = basis.workers().iter().map(|worker| of(&worker.counters, class)).sum();
        samples.put(&[("class", class.label())], count);
    }
}

/// Upper bounds in nanoseconds, and as the label says them in seconds.
const BOUNDS: [(u64, &str); 16] = [
    (250, "0.00000025"),
    (500, "0.0000005"),
    (1_000, "0.000001"),
    (2_000, "0.000002"),
    (4_000, "0.000004"),
    (8_000, "0.000008"),
    (16_000, "0.000016"),
    (32_000, "0.000032"),
    (64_000, "0.000064"),
    (125_000, "0.000125"),
    (250_000, "0.00025"),
    (500_000, "0.0005"),
    (1_000_000, "0.001"),
    (10_000_000, "0.01"),
    (100_000_000, "0.1"),
    (1_000_000_000, "1"),
];

fn latency(basis: &Basis, samples: &mut Samples<'_>) {
    for &class in PacketClass::ALL {
        let label = label(class);
        // How many are at most as large as each bound and larger than the one before.
        let mut counts = [0_u64; BOUNDS.len() + 1];
        let mut sum_ns = 0_u128;
        for (ns, count) in basis.workers().iter().flat_map(|worker| worker.latency.counts(class)) {
            let at = BOUNDS.partition_point(|(bound, _)| *bound < ns);
            if let Some(counted) = counts.get_mut(at) {
                *counted += count;
            }
            sum_ns += u128::from(ns) * u128::from(count);
        }
        let mut total = 0;
        for (count, le) in counts.iter().zip(BOUNDS.iter().map(|(_, le)| *le).chain(["+Inf"])) {
            total += count;
            samples.put_part("_bucket", &[("class", label), ("le", le)], total);
        }
        samples.put_part("_sum", &[("class", label)], sum_ns as f64 / 1e9);
        samples.put_part("_count", &[("class", label)], total);
    }
}

/// As in `show latency`.
fn label(class: PacketClass) -> &'static str {
    match class {
        PacketClass::Forward => "forward",
        PacketClass::New => "new",
        PacketClass::Handoff => "handoff",
        PacketClass::Answer => "answer",
        PacketClass::Held => "held",
    }
}
