//! The figures that `--stats` writes and the API serves: sums over all workers.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::gauge::Seen;
use super::host::Host;
use super::memory::TableMemory;
use crate::lb::handle::WorkerHandle;
use crate::lb::memory::Footprint;
use crate::lb::snapshot::{self, Backend, Snapshot};
use crate::lb::verdict::DropReason;

pub use super::gauge::Rates;
pub use super::quantiles::{Classes, LatencyNs, Quantiles};

/// Everything, at one moment. Bytes count from the Ethernet header; `rx_packets` is the sum of `tx_packets`,
/// `replies`, `punts`, `drops` and `held`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Stats {
    /// Since start; in a replay, from the first packet to the last.
    pub seconds: f64,
    /// Packets taken from ports.
    pub rx_packets: u64,
    /// Their bytes.
    pub rx_bytes: u64,
    /// Packets forwarded.
    pub tx_packets: u64,
    /// Their bytes.
    pub tx_bytes: u64,
    /// Packets answered by the balancer itself.
    pub replies: u64,
    /// Packets handed to the host's network stack.
    pub punts: u64,
    /// Those by class, what was beyond their limits, and what the host sent itself.
    #[serde(default)]
    pub host: Host,
    /// Packets that wait now: for their next hop's MAC address, and fragments for the first one of their datagram.
    pub held: u64,
    /// Fragments of TCP and UDP that were looked at.
    #[serde(default)]
    pub fragments: u64,
    /// Those of them that wait for the first one of their datagram now; part of `held`.
    #[serde(default)]
    pub fragments_waiting: u64,
    /// Packets passed from one worker to another on their way.
    pub handoffs: u64,
    /// Frames sent unasked: ARP requests, solicitations, announcements. Not part of `tx_packets`.
    pub originated: u64,
    /// Of those, frames that found no packet buffer or no room in a transmit queue.
    #[serde(default)]
    pub unsent: u64,
    /// ICMP errors that were due to a sender and not sent, because there were too many.
    #[serde(default)]
    pub errors_limited: u64,
    /// Full-NAT: replies to local ports, and those of them that another worker had to hand over.
    #[serde(default)]
    pub local_replies: u64,
    /// See `local_replies`; none where a NIC tells how it spreads packets.
    #[serde(default)]
    pub local_handoffs: u64,
    /// Full-NAT: local ports that connections have now.
    #[serde(default)]
    pub local_ports: u64,
    /// Full-NAT: local ports that rest after their connection.
    #[serde(default)]
    pub local_ports_resting: u64,
    /// Packets that tunnel modes forwarded by the hash, without a connection.
    pub stateless: u64,
    /// Connections taken over in their middle, in tunnel modes.
    pub adopted: u64,
    /// Packets that opened or changed a connection, at most one a burst, and came with a partial checksum, which no receiver takes.
    #[serde(default)]
    pub partial_checksums: u64,
    /// Clients whose backend was forgotten before its time, for want of room; left out while there are none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub clients_evicted: u64,
    /// Frames that packets were sent in that were too long for their port; each such packet counts once in `tx_packets`.
    #[serde(default)]
    pub fragments_sent: u64,
    /// Packet buffers out of the pool; after the end of `run`, when the ports are closed, 0 unless some were lost
    /// or stayed with AF_XDP sockets.
    #[serde(default)]
    pub mbufs_in_use: u64,
    /// Packet buffers in all; 0 in a replay, which has no pool.
    #[serde(default)]
    pub mbufs_total: u64,
    /// Packets dropped, by reason; reasons that never occurred are left out.
    pub drops: BTreeMap<String, u64>,
    /// Connection table.
    pub connections: Connections,
    /// One entry a worker.
    pub workers: Vec<Worker>,
    /// One entry a service, in the order of the configuration.
    pub services: Vec<Service>,
    /// Time in the balancer, from the receive burst to the transmit burst, sampled.
    pub latency_ns: LatencyNs,
}

/// The connection table's figures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = ConnectionStats)]
pub struct Connections {
    /// Open now.
    pub active: u64,
    /// Ever opened.
    pub created: u64,
    /// Ended by their timeout.
    pub expired: u64,
    /// Half-open ones that gave their place to newer ones.
    pub evicted: u64,
    /// Most that may be open.
    pub capacity: u64,
    /// Memory of the tables.
    pub bytes: u64,
    /// What backs it; left out in a replay, whose result does not depend on the machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<TableMemory>,
}

/// One worker's figures, all since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = WorkerStats)]
pub struct Worker {
    /// Its number.
    pub id: u16,
    /// The CPU it is pinned to.
    pub cpu: Option<u32>,
    /// Packets taken from ports.
    pub rx_packets: u64,
    /// Packets forwarded.
    pub tx_packets: u64,
    /// Packets answered.
    pub replies: u64,
    /// Packets dropped.
    pub drops: u64,
    /// Packets passed to other workers.
    pub handoffs: u64,
    /// Connections open now.
    pub connections: u64,
    /// Turns of the poll loop.
    pub turns: u64,
    /// Turns that found packets.
    pub busy_turns: u64,
    /// Packets that they found, in ports and in the rings of other workers.
    #[serde(default)]
    pub busy_packets: u64,
    /// TSC cycles spent in them.
    pub busy_cycles: u64,
    /// TSC cycles spent asleep for want of packets.
    #[serde(default)]
    pub sleep_cycles: u64,
    /// From these.
    #[serde(flatten)]
    pub rates: Rates,
    /// Time in the balancer of the packets that this worker sent.
    #[serde(default)]
    pub latency_ns: Quantiles,
}

/// One service's figures.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = ServiceStats)]
pub struct Service {
    /// As configured.
    pub name: String,
    /// In the order of the configuration.
    pub backends: Vec<BackendStats>,
}

/// One backend's figures, both directions where both pass here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BackendStats {
    /// As configured.
    pub name: String,
    /// Packets.
    pub packets: u64,
    /// Bytes, as received.
    pub bytes: u64,
    /// Connections open now.
    pub connections: u64,
    /// Connections ever opened.
    pub connections_total: u64,
    /// What the scheduler `lrt` goes by: how long the backend takes to answer, smoothed; the best of the service's where it
    /// has not answered yet. Left out for other schedulers, and before the first answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_time_ns: Option<u64>,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl Stats {
    /// Adds up all workers' counters.
    pub fn collect(seconds: f64, snapshot: &Snapshot, workers: &[WorkerHandle]) -> Self {
        let sum = |of: fn(&WorkerHandle) -> u64| workers.iter().map(of).sum::<u64>();
        let drops = DropReason::ALL.iter().filter_map(|&reason| {
            let count: u64 = workers.iter().map(|w| w.counters.drops(reason)).sum();
            (count > 0).then(|| (reason.label().to_owned(), count))
        });
        Self {
            seconds,
            rx_packets: sum(|w| w.counters.rx_packets.get()),
            rx_bytes: sum(|w| w.counters.rx_bytes.get()),
            tx_packets: sum(|w| w.counters.tx_packets.get()),
            tx_bytes: sum(|w| w.counters.tx_bytes.get()),
            replies: sum(|w| w.counters.replies.get()),
            punts: sum(|w| w.counters.punts.get()),
            host: Host::of(workers),
            held: sum(|w| w.counters.held.get()),
            fragments: sum(|w| w.counters.fragments.get()),
            fragments_waiting: sum(|w| w.counters.fragments_waiting.get()),
            handoffs: sum(|w| w.counters.handoffs.get()),
            originated: sum(|w| w.counters.originated.get()),
            unsent: sum(|w| w.counters.unsent.get()),
            local_replies: sum(|w| w.counters.local_replies.get()),
            local_handoffs: sum(|w| w.counters.local_handoffs.get()),
            local_ports: sum(|w| w.counters.local_ports.get()),
            local_ports_resting: sum(|w| w.counters.local_ports_resting.get()),
            errors_limited: sum(|w| w.counters.errors_limited.get()),
            stateless: sum(|w| w.counters.stateless.get()),
            adopted: sum(|w| w.counters.adopted.get()),
            partial_checksums: sum(|w| w.counters.partial_checksums.get()),
            clients_evicted: sum(|w| w.counters.clients_evicted.get()),
            fragments_sent: sum(|w| w.counters.fragments_sent.get()),
            mbufs_in_use: 0,
            mbufs_total: 0,
            drops: drops.collect(),
            connections: Connections {
                active: sum(|w| w.counters.connections_active.get()),
                created: sum(|w| w.counters.connections_created.get()),
                expired: sum(|w| w.counters.connections_expired.get()),
                evicted: sum(|w| w.counters.connections_evicted.get()),
                capacity: sum(|w| w.connections_max),
                bytes: sum(|w| w.table_bytes),
                memory: table_memory(workers),
            },
            workers: workers.iter().map(worker).collect(),
            services: snapshot
                .services()
                .iter()
                .filter(|s| !s.is_retired)
                .map(|s| service(snapshot, s, workers))
                .collect(),
            latency_ns: LatencyNs::of(workers),
        }
    }

    /// Adds what only the data plane knows: packet buffers in use and in all.
    pub fn with_mbufs(self, in_use: u64, total: u64) -> Self {
        Self { mbufs_in_use: in_use, mbufs_total: total, ..self }
    }

    /// Adds the workers' rates since the start, for which one must know how many TSC cycles a second has.
    pub fn with_rates(mut self, workers: &[WorkerHandle], tsc_hz: Option<u64>) -> Self {
        for (row, worker) in self.workers.iter_mut().zip(workers) {
            row.rates = Seen::of(&worker.counters).rates_since(&Seen::default(), self.seconds, tsc_hz);
        }
        self
    }

    /// Packets dropped for any reason.
    pub fn drops_total(&self) -> u64 {
        self.drops.values().sum()
    }

    /// True if every packet that came in has its one verdict.
    pub fn balances(&self) -> bool {
        self.rx_packets == self.tx_packets + self.replies + self.punts + self.held + self.drops_total()
    }

    /// Finds out whether [`Self::write`] can write there, before there is something to lose. Leaves no trace.
    ///
    /// # Errors
    /// Whatever the file system says.
    pub fn check_path(path: &Path) -> io::Result<()> {
        let is_new = !path.exists();
        std::fs::OpenOptions::new().append(true).create(true).open(path)?;
        if is_new { std::fs::remove_file(path) } else { Ok(()) }
    }

    /// Writes the figures as JSON.
    ///
    /// # Errors
    /// Whatever the file system says.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let mut text = serde_json::to_string_pretty(self)?;
        text.push('\n');
        std::fs::write(path, text)
    }
}

/// What backs the connection tables of all workers, if they say so.
pub fn table_memory(workers: &[WorkerHandle]) -> Option<TableMemory> {
    let each: Option<Vec<_>> = workers.iter().map(|w| w.table_memory).collect();
    each.filter(|each| !each.is_empty()).map(|each| each.into_iter().sum::<Footprint>().into())
}

fn worker(w: &WorkerHandle) -> Worker {
    let c = &w.counters;
    Worker {
        id: w.id.0,
        cpu: w.cpu,
        rx_packets: c.rx_packets.get(),
        tx_packets: c.tx_packets.get(),
        replies: c.replies.get(),
        drops: c.drops_total(),
        handoffs: c.handoffs.get(),
        connections: c.connections_active.get(),
        turns: c.turns.get(),
        busy_turns: c.busy_turns.get(),
        busy_packets: c.busy_packets.get(),
        busy_cycles: c.busy_cycles.get(),
        sleep_cycles: c.sleep_cycles.get(),
        rates: Rates::default(),
        latency_ns: Quantiles::of_worker(w),
    }
}

fn service(snapshot: &Snapshot, service: &snapshot::Service, workers: &[WorkerHandle]) -> Service {
    let backends = service.backends.iter().filter_map(|&id| snapshot.backend(id));
    Service { name: service.name.to_string(), backends: backends.map(|b| backend(b, service, workers)).collect() }
}

fn backend(backend: &Backend, service: &snapshot::Service, workers: &[WorkerHandle]) -> BackendStats {
    let mut stats = BackendStats { name: backend.name.to_string(), ..Default::default() };
    stats.connections = workers.iter().map(|w| u64::from(w.counters.connections(backend.id))).sum();
    let time_ns = workers.first().filter(|_| service.wants_times()).map_or(0, |w| w.team.times.of(backend.id));
    stats.response_time_ns = Some(u64::from(time_ns)).filter(|&ns| ns > 0);
    for counters in workers.iter().filter_map(|w| w.counters.backend(backend.id)) {
        stats.packets += counters.packets.get();
        stats.bytes += counters.bytes.get();
        stats.connections_total += counters.connections_total.get();
    }
    stats
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crossbeam::queue::ArrayQueue;

    use super::*;
    use crate::lb::counters::Counters;
    use crate::lb::ids::WorkerId;

    fn worker(id: u16) -> WorkerHandle {
        WorkerHandle {
            id: WorkerId(id),
            cpu: None,
            counters: Arc::new(Counters::new(1)),
            team: Arc::default(),
            latency: Arc::default(),
            connections_max: 10,
            table_bytes: 64,
            table_memory: None,
            requests: Arc::new(ArrayQueue::new(1)),
        }
    }

    #[test]
    fn the_memory_of_the_tables_is_told_only_if_all_workers_know_it() {
        let knows = |plain_bytes| WorkerHandle {
            table_memory: Some(Footprint { plain_bytes, ..Footprint::default() }),
            ..worker(0)
        };
        assert_eq!(table_memory(&[knows(5), knows(6)]).map(|m| m.plain_bytes), Some(11));
        assert_eq!(table_memory(&[knows(5), worker(1)]), None);
        assert_eq!(table_memory(&[]), None);
        let text = serde_json::to_string(&Connections::default()).unwrap();
        assert!(!text.contains("memory"), "{text}");
    }

    #[test]
    fn figures_are_sums_and_balance() {
        let workers = [worker(0), worker(1)];
        for w in &workers {
            w.counters.rx_packets.add(5);
            w.counters.tx_packets.add(2);
            w.counters.replies.add(1);
            w.counters.held.add(1);
            w.counters.drop_one(DropReason::Runt);
        }
        let key = crate::lb::hash::HashKey::from_bytes([0; 16]);
        let spec = snapshot::SnapshotSpec {
            generation: 1,
            workers: 2,
            hash_key: key,
            ports: Vec::new(),
            services: Vec::new(),
        };
        let stats = Stats::collect(1.0, &Snapshot::build(spec, None).unwrap(), &workers);
        assert_eq!((stats.rx_packets, stats.drops_total(), stats.connections.capacity), (10, 2, 20));
        assert!(stats.balances());
        workers[1].counters.busy_turns.add(2);
        workers[1].counters.busy_packets.add(10);
        workers[1].counters.busy_cycles.add(500);
        let stats = stats.with_rates(&workers, Some(1_000));
        assert_eq!(stats.workers[1].rates.busy_share, Some(0.5));
        assert_eq!(stats.workers[1].rates.packets_per_burst, Some(5.0));
        let json = serde_json::to_value(&stats).unwrap();
        assert_eq!(
            (&json["workers"][1]["cycles_per_packet"], &json["workers"][0]["busy_share"]),
            (&50.0.into(), &0.0.into())
        );
        assert_eq!(serde_json::from_value::<Stats>(json).unwrap(), stats);
        assert_eq!(stats.drops.into_iter().collect::<Vec<_>>(), [("runt".to_owned(), 2)]);
    }
}
