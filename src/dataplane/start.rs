//! Puts the data plane together: EAL, buffers, ports, rings, workers; and takes it apart again without losing a packet.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam::queue::ArrayQueue;
use dpdk_ffi::{
    Eal, EalError, HEADROOM, LcoreError, LcoreHandle, MbufBurst, Mempool, MempoolError, MpProducer, Port, PortError,
    PortStats, RingConsumer, RingError, RxQueue, TxQueue, clock, mpsc,
};

use super::arguments::is_pci;
use super::devices::{self, Needs, PortReport, PortSetup, Started};
use super::host::{self, Choice, Ferry, HostEnd, HostTraffic, Tap, TapError};
use super::idle::Idle;
use super::sample::Sampler;
use super::shared::{self, Inlet};
use super::tx::{Tx, Way, Wires};
use super::worker::{Order, TurnClock, Worker};
use crate::lb::handle::{REQUESTS_MAX, WorkerHandle};
use crate::lb::ids::PortId;
use crate::lb::latency::Latency;
use crate::lb::news::News;
use crate::lb::probe::ProbePorts;
use crate::lb::publish::Published;
use crate::lb::shard::{Shard, ShardConfig};
use crate::lb::table::OutOfMemory;
use crate::lb::team::Team;
use crate::lb::vlan::Vlans;

/// What the data plane is built from.
#[derive(Clone, Debug)]
pub struct Setup {
    /// In the order of the configuration.
    pub ports: Vec<PortSetup>,
    /// The CPU of each worker.
    pub worker_cpus: Vec<u32>,
    /// Packet buffers.
    pub mbufs: u32,
    /// What workers do without traffic.
    pub idle: Idle,
}

/// Why the data plane did not start.
#[derive(Debug, thiserror::Error)]
pub enum DataplaneError {
    /// EAL did not start.
    #[error("{0}; DPDK's lines above say why: correct `dataplane.eal`, or what stands behind `--`")]
    Eal(#[from] EalError),
    /// No memory for packet buffers.
    #[error("packet buffers: {0}; lower dataplane.mbufs or give EAL more memory (`-m` in MiB)")]
    Buffers(#[from] MempoolError),
    /// No memory for connections.
    #[error(transparent)]
    Connections(#[from] OutOfMemory),
    /// A port did not come up.
    #[error("port {port}: {source}; DPDK's lines above say why: correct `device = \"{device}\"` in the configuration")]
    Port {
        /// As configured.
        port: String,
        /// As configured.
        device: String,
        /// Why.
        source: PortError,
    },
    /// A port's end in the host could not be made.
    #[error("port {port}: {source}, or set `host = \"off\"`")]
    Host {
        /// As configured.
        port: String,
        /// Why.
        source: TapError,
    },
    /// The thread that serves the host's ends of ports did not start.
    #[error("the thread between ports and host did not start: {0}")]
    HostThread(std::io::Error),
    /// A ring between workers could not be made.
    #[error(transparent)]
    Ring(#[from] RingError),
    /// A worker did not start, or ended in a panic.
    #[error(transparent)]
    Lcore(#[from] LcoreError),
    /// EAL's arguments leave fewer lcores than workers.
    #[error(
        "EAL has {have} worker lcores for {want} workers; leave `-l` and `--lcores` out of the EAL arguments, or give it {want} more than one"
    )]
    TooFewLcores {
        /// Lcores there are.
        have: usize,
        /// Workers wanted.
        want: usize,
    },
}

/// Ports that are up, before the workers run: what the first snapshot needs to know.
pub struct Dataplane {
    setup: Setup,
    started: Vec<Started>,
    /// By port.
    reports: Vec<PortReport>,
    taps: Vec<Tap>,
    pool: Mempool,
    eal: Eal,
}

/// The workers run.
pub struct Running {
    /// One a worker.
    pub workers: Vec<WorkerHandle>,
    /// TSC cycles a second.
    pub tsc_hz: u64,
    /// Whose health check of a VIP is sent from which port number, for whoever checks.
    pub probes: Arc<ProbePorts>,
    threads: Vec<LcoreHandle<()>>,
    order: Arc<Order>,
    host: Option<Ferry>,
    ports: Vec<Port>,
    pool: Mempool,
    // Last, so that it goes after everything that stands on it.
    _eal: Eal,
}

/// Packets that may wait between two workers; a power of two.
const RING_SIZE: u32 = 4096;
/// Neighbours that may wait for a worker to hear of them.
const HEARD_MAX: usize = 256;
/// Buffers that each lcore keeps at hand.
const POOL_CACHE: u32 = 256;
/// Ethernet header, two VLAN tags and FCS beside the largest IP packet.
const FRAME_OVERHEAD: u16 = 26;
/// How long the workers may take to empty their rings; they need far less, unless somebody else has their CPUs.
const DRAIN_MAX: Duration = Duration::from_secs(2);
/// Between two looks at how far they are.
const DRAIN_LOOK: Duration = Duration::from_millis(1);

/// Bytes that each packet buffer takes with its bookkeeping, for a port's MTU.
fn data_room(mtu: u16) -> u16 {
    let len = mtu.saturating_add(FRAME_OVERHEAD);
    // Of few sizes, because AF_PACKET refuses buffers that are shorter than its own, which part a block evenly.
    let room = [2048, 4096, 10_240].into_iter().find(|&room| room >= len).unwrap_or(len);
    HEADROOM.saturating_add(room)
}

impl Setup {
    /// Memory of all packet buffers in bytes.
    pub fn buffer_bytes(&self) -> u64 {
        // mbuf header, pool object header and padding.
        u64::from(self.mbufs) * (u64::from(self.room()) + 128 + 128)
    }

    fn room(&self) -> u16 {
        self.ports.iter().map(|p| data_room(p.mtu)).max().unwrap_or(data_room(0))
    }
}

impl Dataplane {
    /// Starts EAL and the ports. Must be called on the thread that will stop them, once per process.
    ///
    /// # Errors
    /// See [`DataplaneError`]; what was started has been stopped again.
    pub fn start(setup: Setup, eal_args: &[String]) -> Result<Self, DataplaneError> {
        let eal = Eal::init(eal_args)?;
        let (have, want) = (eal.worker_lcores().len(), setup.worker_cpus.len());
        if have < want {
            return Err(DataplaneError::TooFewLcores { have, want });
        }
        let pool = Mempool::new(&eal, "mbufs", setup.mbufs, POOL_CACHE, setup.room(), None)?;
        // NICs fill one buffer a packet, but what is no NIC may give packets in pieces, and those may leave anywhere.
        let needs = Needs { workers: want as u16, chains: setup.ports.iter().any(|port| !is_pci(&port.device)) };
        let mut started = Vec::with_capacity(setup.ports.len());
        for ids in shared::by_device(&setup.ports) {
            let Some(port) = ids.first().and_then(|id| setup.ports.get(id.index())) else { continue };
            let failed = |source| DataplaneError::Port { port: port.name.clone(), device: port.device.clone(), source };
            started.push(Started { ports: ids, ..devices::start(&eal, port, needs, &pool).map_err(failed)? });
        }
        let mut dataplane = Self { setup, started, reports: Vec::new(), taps: Vec::new(), pool, eal };
        let mut reports: Vec<PortReport> = dataplane.described().collect();
        for (id, (port, report)) in (0..).zip(dataplane.setup.ports.iter().zip(&mut reports)) {
            let failed = |source| DataplaneError::Host { port: port.name.clone(), source };
            match host::choose(PortId(id), &port.host, report).map_err(failed)? {
                Choice::Device(tap) => dataplane.taps.push(tap),
                Choice::None(reason) => report.host_reason = Some(reason),
            }
        }
        dataplane.reports = reports;
        Ok(dataplane)
    }

    /// What the ports turned out to be, in the order of the configuration.
    pub fn reports(&self) -> &[PortReport] {
        &self.reports
    }

    /// The reports of the ports by those of their devices.
    fn described(&self) -> impl Iterator<Item = PortReport> {
        let places = self.places();
        self.setup.ports.iter().zip(places).filter_map(|(setup, place)| {
            let first = &self.started.get(place)?.report;
            let notes = if first.name == setup.name {
                first.notes.clone()
            } else {
                vec![format!("shares its device with port {}, and the device's counters", first.name)]
            };
            Some(PortReport { name: setup.name.clone(), place, notes, ..first.clone() })
        })
    }

    /// Which device each port is on.
    fn places(&self) -> Vec<usize> {
        let place = |id| self.started.iter().position(|device| device.ports.contains(&PortId(id))).unwrap_or_default();
        (0..self.setup.ports.len() as u8).map(place).collect()
    }

    /// True if packet buffers are in hugepages.
    pub fn has_hugepages(&self) -> bool {
        self.eal.has_hugepages()
    }

    /// DPDK's version, such as `DPDK 22.11.11`.
    pub fn dpdk_version(&self) -> String {
        self.eal.dpdk_version()
    }

    /// Starts the workers, each with the shard of its place in `shards`.
    ///
    /// # Errors
    /// See [`DataplaneError`]; nothing runs then.
    pub fn run(self, published: &Arc<Published>, shards: &[ShardConfig]) -> Result<Running, DataplaneError> {
        let places = self.places();
        let Self { setup, started, taps, pool, eal, .. } = self;
        let count = setup.worker_cpus.len();
        let lcores = eal.worker_lcores();
        let tsc_hz = clock::tsc_hz(&eal);
        let announce = started.iter().filter(|s| s.announces).flat_map(|s| s.ports.iter().copied()).collect();
        let (ports, queues) = started.into_iter().map(|s| queues_of(s, &setup)).unzip();
        let shares = share_out(&eal, queues, count)?;
        let (rings, inboxes): (Vec<_>, Vec<_>) = (0..count)
            .map(|worker| mpsc(&eal, &format!("inbox{worker}"), RING_SIZE, None))
            .collect::<Result<Vec<_>, _>>()?
            .into_iter()
            .unzip();
        let (host, ends) = connect_host(taps, &setup, count)?;
        let common = Common {
            published: published.clone(),
            order: Arc::new(Order::default()),
            idle: setup.idle,
            rings,
            heard: (0..count).map(|_| Arc::new(ArrayQueue::new(HEARD_MAX))).collect(),
            pool: pool.clone(),
            announce,
            places,
            mtus: setup.ports.iter().map(|port| port.mtu).collect(),
            clock: TurnClock::new(tsc_hz),
            probes: Arc::default(),
        };
        let mut running = Running {
            workers: Vec::new(),
            tsc_hz,
            threads: Vec::new(),
            order: common.order.clone(),
            probes: common.probes.clone(),
            host,
            ports,
            pool,
            _eal: eal.clone(),
        };
        // All before the first one runs, because memory may be short.
        let workers = shards.iter().zip(ends).zip(inboxes.into_iter().zip(shares));
        let workers = workers.map(|((config, end), (inbox, share))| {
            common.worker(config, inbox, share).map(|worker| Worker { host: end, ..worker })
        });
        let mut workers = workers.collect::<Result<Vec<_>, _>>()?;
        Team::form(workers.iter_mut().map(|worker| &mut worker.shard));
        for ((&cpu, lcore), worker) in setup.worker_cpus.iter().zip(lcores).zip(workers) {
            running.workers.push(handle(&worker, cpu));
            match eal.launch(lcore, move || worker.run()) {
                Ok(thread) => running.threads.push(thread),
                Err(error) => {
                    // Those that run already must not go on without anybody who could end them.
                    let _ = running.stop();
                    return Err(error.into());
                }
            }
        }
        Ok(running)
    }
}

/// Starts what serves the host, and gives each worker its end of it, if any port has a host.
fn connect_host(
    taps: Vec<Tap>,
    setup: &Setup,
    workers: usize,
) -> Result<(Option<Ferry>, Vec<Option<HostEnd>>), DataplaneError> {
    if taps.is_empty() {
        return Ok((None, (0..workers).map(|_| None).collect()));
    }
    let mtu_max = setup.ports.iter().map(|port| port.mtu).max().unwrap_or(0);
    let (ferry, ends) = host::connect(taps, setup.ports.len(), workers, mtu_max).map_err(DataplaneError::HostThread)?;
    Ok((Some(ferry), ends.into_iter().map(Some).collect()))
}

/// What all workers are made of alike.
struct Common {
    published: Arc<Published>,
    order: Arc<Order>,
    idle: Idle,
    /// The way to each worker, by worker.
    rings: Vec<MpProducer>,
    /// What each worker hears from the others, by worker.
    heard: Vec<Arc<ArrayQueue<News>>>,
    pool: Mempool,
    announce: Vec<PortId>,
    /// Which device each port is on.
    places: Vec<usize>,
    /// Of each port, in bytes.
    mtus: Vec<u16>,
    clock: TurnClock,
    probes: Arc<ProbePorts>,
}

impl Common {
    fn worker(&self, config: &ShardConfig, inbox: RingConsumer, share: Share) -> Result<Worker, OutOfMemory> {
        let own = config.worker.index();
        let ring_to = |(i, ring): (usize, &MpProducer)| (i != own).then(|| ring.clone());
        let (latency, queues) = (Arc::new(Latency::default()), share.rx.len());
        let others = self.heard.iter().enumerate().filter(|&(i, _)| i != own);
        let mut shard = Shard::new(config)?;
        shard.probes = self.probes.clone();
        Ok(Worker {
            shard,
            published: self.published.clone(),
            order: self.order.clone(),
            idle: self.idle,
            rx: share.rx,
            tx: Wires::new(share.tx, &self.places),
            inbox,
            rings: self.rings.iter().enumerate().map(ring_to).collect(),
            sorted: self.rings.iter().map(|_| MbufBurst::new()).collect(),
            tell: others.map(|(_, heard)| heard.clone()).collect(),
            heard: self.heard.get(own).cloned().unwrap_or_else(|| Arc::new(ArrayQueue::new(1))),
            requests: Arc::new(ArrayQueue::new(REQUESTS_MAX)),
            sampler: Sampler::new(latency, self.clock, queues),
            mtus: self.mtus.clone(),
            pool: self.pool.clone(),
            host: None,
            announce: self.announce.clone(),
            clock: self.clock,
        })
    }
}

fn handle(worker: &Worker, cpu: u32) -> WorkerHandle {
    WorkerHandle {
        id: worker.shard.worker,
        cpu: Some(cpu),
        counters: worker.shard.counters.clone(),
        team: worker.shard.team.clone(),
        latency: worker.sampler.latency(),
        connections_max: worker.shard.capacity(),
        table_bytes: worker.shard.table_bytes() as u64,
        table_memory: Some(worker.shard.table_footprint()),
        requests: worker.requests.clone(),
    }
}

/// What one worker polls, and its way to each device's wire, by device.
#[derive(Default)]
struct Share {
    rx: Vec<Inlet>,
    tx: Vec<Tx>,
}

/// The queues of one device.
struct Queues {
    /// Its first port.
    port: PortId,
    /// Where several ports share it.
    vlans: Option<Vlans>,
    rx: Vec<RxQueue>,
    tx: Vec<TxQueue>,
}

fn queues_of(device: Started, setup: &Setup) -> (Port, Queues) {
    let vlan = |id: &PortId| (setup.ports.get(id.index()).and_then(|port| port.vlan), *id);
    let vlans = Vlans::new(device.ports.iter().map(vlan));
    let port = device.ports.first().copied().unwrap_or_default();
    (device.port, Queues { port, vlans, rx: device.rx, tx: device.tx })
}

/// Gives every worker its receive queues, and its way to every device's wire.
fn share_out(eal: &Eal, queues: Vec<Queues>, workers: usize) -> Result<Vec<Share>, DataplaneError> {
    let mut shares: Vec<Share> = (0..workers).map(|_| Share::default()).collect();
    for (device, Queues { port, vlans, rx, tx }) in queues.into_iter().enumerate() {
        for (place, queue) in rx.into_iter().enumerate() {
            if let Some(share) = shares.get_mut(place % workers.max(1)) {
                share.rx.push(Inlet { port, queue, vlans: vlans.clone() });
            }
        }
        let have = tx.len();
        let mut rings = Vec::new();
        for (place, queue) in tx.into_iter().enumerate().take(workers) {
            // Only where workers go without a queue do the others take packets from them.
            let ring = if have < workers {
                let (producer, consumer) = mpsc(eal, &format!("tx{device}_{place}"), RING_SIZE, None)?;
                rings.push(producer);
                Some(consumer)
            } else {
                None
            };
            if let Some(share) = shares.get_mut(place) {
                share.tx.push(Tx::new(Way::Queue(queue, ring)));
            }
        }
        for (place, share) in shares.iter_mut().enumerate().skip(have) {
            let ring = if have == 0 { None } else { rings.get(place % have) };
            share.tx.push(Tx::new(ring.cloned().map_or(Way::Nowhere, Way::Ring)));
        }
    }
    Ok(shares)
}

impl Running {
    /// Stops receiving, lets the workers finish what is in their rings, and ends them.
    ///
    /// # Errors
    /// If a worker ended in a panic.
    pub fn stop(self) -> Result<(), DataplaneError> {
        self.order.drain();
        self.wait_until_quiet();
        self.order.stop();
        for thread in self.threads {
            thread.join()?;
        }
        Ok(())
    }

    /// Waits until no packet is on its way between workers: each has made a whole turn, and none found anything.
    fn wait_until_quiet(&self) {
        let end = Instant::now() + DRAIN_MAX;
        let turns = |w: &WorkerHandle| w.counters.turns.get();
        let busy_turns = || self.workers.iter().map(|w| w.counters.busy_turns.get()).sum::<u64>();
        loop {
            let busy_before = busy_turns();
            // The turn that a worker is in has begun before; only the one after it is whole.
            let whole: Vec<u64> = self.workers.iter().map(|w| turns(w) + 2).collect();
            while self.workers.iter().zip(&whole).any(|(w, &whole)| turns(w) < whole) {
                if Instant::now() >= end || self.has_lost_a_worker() {
                    return;
                }
                std::thread::sleep(DRAIN_LOOK);
            }
            if busy_turns() == busy_before {
                return;
            }
        }
    }

    /// True if a worker has ended though nobody told it to.
    pub fn has_lost_a_worker(&self) -> bool {
        self.threads.iter().any(LcoreHandle::is_finished)
    }

    /// What went between ports and host, by port; empty if no port has a host.
    pub fn host_traffic(&self) -> Arc<[HostTraffic]> {
        self.host.as_ref().map(|host| host.traffic.clone()).unwrap_or_default()
    }

    /// The devices, for figures; in the order of their first ports.
    pub fn take_ports(&mut self) -> Vec<Port> {
        std::mem::take(&mut self.ports)
    }

    /// Packet buffers in use and in all.
    pub fn buffers(&self) -> Mempool {
        self.pool.clone()
    }
}

/// Counters of a port, all zero if it does not tell.
pub fn port_stats(port: &Port) -> PortStats {
    port.stats().unwrap_or_default()
}
