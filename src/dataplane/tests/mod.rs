//! Workers on real packet buffers and rings, turned by hand: what happens when something is used up.

mod drops;
mod exhaustion;

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use crossbeam::queue::ArrayQueue;
use dpdk_ffi::{DATA_ROOM_DEFAULT, Eal, Mbuf, MbufBurst, Mempool, RingConsumer, clock, mpsc};

use super::idle::Idle;
use super::sample::{self, Sampler};
use super::tx::{Tx, Way, Wires};
use super::worker::{Order, TurnClock, Worker};
use crate::lb::clock::Now;
use crate::lb::hash::HashKey;
use crate::lb::ids::{PortId, WorkerId};
use crate::lb::latency::Latency;
use crate::lb::memory::Place;
use crate::lb::path::BURST;
use crate::lb::pending::Pending;
use crate::lb::publish::Published;
use crate::lb::punt::PuntRates;
use crate::lb::shard::{Shard, ShardConfig};
use crate::lb::snapshot::{Snapshot, SnapshotSpec};
use crate::lb::verdict::DropReason;

/// Packet buffers of a bench.
const POOL_LEN: u32 = 511;
/// Packets that fit into the ring between two workers.
const RING_LEN: u32 = 127;

fn eal() -> &'static Eal {
    static EAL: OnceLock<Eal> = OnceLock::new();
    let args = ["--no-huge", "-m", "128", "--no-pci", "--no-shconf", "--no-telemetry", "--lcores=0@0"];
    EAL.get_or_init(|| Eal::init(&args.map(String::from)).unwrap())
}

/// One bench at a time, all with the same pool: DPDK gives the memory of pools back on its main thread only.
fn shared_pool() -> (MutexGuard<'static, ()>, Mempool) {
    static TURN: Mutex<()> = Mutex::new(());
    static POOL: OnceLock<Mempool> = OnceLock::new();
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let new = || Mempool::new(eal(), "shared", POOL_LEN, 32, DATA_ROOM_DEFAULT, None).unwrap();
    (turn, POOL.get_or_init(new).clone())
}

/// A name that nothing in this process has yet.
fn name(what: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("{what}{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// What a bench is made of.
struct Plan {
    spec: SnapshotSpec,
    /// Of each worker.
    connections: usize,
    neighbors: usize,
    /// Bytes before each frame.
    headroom: usize,
    /// Packet buffers, if not the usual ones.
    pool: Option<Mempool>,
    /// The ways out of the first worker by port, if not into a ring that is emptied after each burst.
    ways: Vec<Way>,
}

impl Plan {
    fn new(spec: SnapshotSpec) -> Self {
        Self { spec, connections: 1000, neighbors: 64, headroom: 128, pool: None, ways: Vec::new() }
    }
}

/// Workers with their snapshot, and where their packets come out.
struct Bench {
    workers: Vec<Worker>,
    held: Vec<Pending<Mbuf>>,
    snapshot: Arc<Snapshot>,
    now: Now,
    pool: Mempool,
    sinks: Vec<RingConsumer>,
    headroom: usize,
    _turn: MutexGuard<'static, ()>,
}

impl Bench {
    fn new(plan: Plan) -> Self {
        let Plan { spec, connections, neighbors, headroom, pool, ways } = plan;
        let (turn, shared) = shared_pool();
        let pool = pool.unwrap_or(shared);
        assert_eq!(pool.in_use(), 0, "left by another bench");
        let (nat, ports) = (spec.services.iter().any(|s| s.mode.is_nat()), spec.ports.len());
        let snapshot = Arc::new(Snapshot::build(spec, None).unwrap());
        let published = Arc::new(Published::new(snapshot.clone()));
        let count = usize::from(snapshot.workers);
        let ring = |what: &str| mpsc(eal(), &name(what), RING_LEN + 1, None).unwrap();
        let (rings, inboxes): (Vec<_>, Vec<_>) = (0..count).map(|_| ring("inbox")).unzip();
        let (sources, sinks): (Vec<_>, Vec<_>) = (0..ports).map(|_| ring("sink")).unzip();
        let mut ways = Some(ways).filter(|ways| !ways.is_empty());
        let workers = inboxes.into_iter().enumerate().map(|(own, inbox)| {
            let sunk = || sources.iter().map(|sink| Way::Ring(sink.clone())).collect();
            let mut shard = Shard::new(&ShardConfig {
                worker: WorkerId(own as u16),
                connections_max: connections,
                v4: true,
                v6: true,
                nat,
                backends_max: 100,
                clients_max: 1024,
                neighbors_max: neighbors,
                fragments_max: 64,
                place: Place::default(),
                local_port_rest_s: 120,
                punt_rates: PuntRates::default(),
                boot_key: HashKey::from_bytes([9; 16]),
            })
            .unwrap();
            shard.adopt(&snapshot, None);
            let tx = ways.take().unwrap_or_else(sunk).into_iter().map(Tx::new).collect();
            let others = rings.iter().enumerate();
            let clock = TurnClock::new(clock::tsc_hz(eal()));
            Worker {
                shard,
                published: published.clone(),
                order: Arc::new(Order::default()),
                idle: Idle::Spin,
                rx: Vec::new(),
                tx: Wires::new(tx, &(0..ports).collect::<Vec<_>>()),
                inbox,
                rings: others.map(|(i, ring)| (i != own).then(|| ring.clone())).collect(),
                sorted: rings.iter().map(|_| MbufBurst::new()).collect(),
                heard: Arc::new(ArrayQueue::new(16)),
                tell: Vec::new(),
                requests: Arc::new(ArrayQueue::new(1)),
                sampler: Sampler::new(Arc::new(Latency::default()), clock, 1),
                pool: pool.clone(),
                host: None,
                mtus: snapshot.ports().map(|(_, port)| port.mtu).collect(),
                announce: Vec::new(),
                clock,
            }
        });
        let workers: Vec<Worker> = workers.collect();
        let held = workers.iter().map(|_| Pending::default()).collect();
        Self { workers, held, snapshot, now: Now::from_ns(1_000_000_000), pool, sinks, headroom, _turn: turn }
    }

    /// A packet buffer with this frame; `None` if there is none left.
    fn mbuf(&self, frame: &[u8]) -> Option<Mbuf> {
        let mut mbuf = self.pool.alloc()?;
        assert!(mbuf.prepend(mbuf.headroom() - self.headroom));
        mbuf.truncate(0);
        assert!(mbuf.extend_from_slice(frame));
        Some(mbuf)
    }

    /// Frames into the first worker, as they come from a port, and then what it does between bursts.
    fn send(&mut self, port: u8, frames: &[&[u8]]) {
        for frames in frames.chunks(BURST) {
            let mut burst = MbufBurst::new();
            frames.iter().for_each(|frame| burst.push(self.mbuf(frame).expect("a buffer")).unwrap());
            self.receive(port, burst);
        }
    }

    /// The same for one packet.
    fn send_mbuf(&mut self, port: u8, mbuf: Mbuf) {
        let mut burst = MbufBurst::new();
        burst.push(mbuf).unwrap();
        self.receive(port, burst);
    }

    fn receive(&mut self, port: u8, mut burst: MbufBurst<BURST>) {
        let (worker, held) = (&mut self.workers[0], &mut self.held[0]);
        let port = PortId(port);
        worker.received(&self.snapshot, self.now, &mut burst, |_| port, held);
        assert!(burst.is_empty());
        self.turn(0);
    }

    /// One turn of a worker that finds nothing at ports; how many packets it found in its ring.
    fn turn(&mut self, worker: usize) -> u64 {
        let (w, held) = (&mut self.workers[worker], &mut self.held[worker]);
        let (mut burst, mut taken_over) = (MbufBurst::new(), MbufBurst::new());
        let found = w.turn(&self.snapshot, self.now, true, &mut burst, &mut taken_over, held);
        w.shard.tick(&self.snapshot, self.now);
        w.reunite(&self.snapshot, self.now, &mut burst, held);
        w.chores(&self.snapshot, self.now, held, &mut Vec::new());
        for tx in w.tx.iter_mut() {
            tx.flush(&w.shard.counters);
        }
        w.sampler.turn_ends(clock::tsc(), true);
        let mut sunk = MbufBurst::<BURST>::new();
        for sink in &mut self.sinks {
            while sink.dequeue_burst(&mut sunk) > 0 {
                sunk.clear();
            }
        }
        found
    }

    fn pass_ms(&mut self, ms: u64) {
        self.now = Now::from_ns(self.now.ns() + ms * 1_000_000);
        (0..self.workers.len()).for_each(|worker| _ = self.turn(worker));
    }

    /// Of all workers.
    fn drops(&self, reason: DropReason) -> u64 {
        self.workers.iter().map(|w| w.shard.counters.drops(reason)).sum()
    }

    /// Lets everything that waits come to its end, and checks that every buffer is back.
    #[track_caller]
    fn assert_level(&mut self, what: &str) {
        (0..60).for_each(|_| self.pass_ms(100));
        while (1..self.workers.len()).map(|worker| self.turn(worker)).sum::<u64>() > 0 {}
        assert_eq!(self.pool.in_use(), 0, "{what}: packet buffers that are not back");
    }
}

/// The port that `sample::port_of` reads is the one that was noted, whatever else the note says.
#[test]
fn the_port_goes_along_with_a_packet_in_every_turn() {
    let bench = Bench::new(Plan::new(crate::lb::testing::all_modes()));
    let mut mbuf = bench.mbuf(b"frame").unwrap();
    for port in [0, 1, 31] {
        bench.workers[0].sampler.address(&mut mbuf, PortId(port));
        assert_eq!(sample::port_of(&mbuf), PortId(port));
    }
}
