//! A balancer with its workers in memory, which counts as the poll loop does.

use std::collections::BTreeMap;

use super::super::clock::Now;
use super::super::hash::HashKey;
use super::super::ids::{BackendId, PortId, WorkerId};
use super::super::memory::Place;
use super::super::packet::{HeapPacket, Packet};
use super::super::path::{BURST, Origin, process};
use super::super::pieces::Pieces;
use super::super::punt::PuntRates;
use super::super::shard::{Shard, ShardConfig};
use super::super::snapshot::{Snapshot, SnapshotSpec};
use super::super::team::Team;
use super::super::verdict::{DropReason, Verdict};
use super::super::waiting::Waiting;
use super::onlooker::Onlooker;

/// A frame and the port that it came in by.
#[derive(Clone, Debug)]
pub struct TestPacket {
    pub heap: HeapPacket,
    pub port: PortId,
}

impl TestPacket {
    pub fn new(port: u8, frame: &[u8]) -> Self {
        Self { heap: HeapPacket::new(frame), port: PortId(port) }
    }
}

impl Packet for TestPacket {
    fn bytes(&self) -> &[u8] {
        self.heap.bytes()
    }
    fn bytes_mut(&mut self) -> &mut [u8] {
        self.heap.bytes_mut()
    }
    fn frame_len(&self) -> usize {
        self.heap.frame_len()
    }
    fn grow_front(&mut self, n: usize) -> bool {
        self.heap.grow_front(n)
    }
    fn shrink_front(&mut self, n: usize) {
        self.heap.shrink_front(n);
    }
    fn truncate(&mut self, len: usize) {
        self.heap.truncate(len);
    }
}

/// What became of one packet, and who gave it its verdict.
#[derive(Clone, Debug)]
pub struct Sent {
    pub verdict: Verdict,
    pub frame: Vec<u8>,
    pub worker: u16,
    /// By which the packet came.
    pub port: PortId,
}

impl Sent {
    pub fn tx(&self) -> (u8, &[u8]) {
        match self.verdict {
            Verdict::Tx(port) => (port.0, &self.frame),
            other => panic!("{other:?} instead of tx"),
        }
    }

    /// The frames that a packet is sent in, and the port.
    pub fn pieces(&self, mtu: u16) -> (u8, Vec<Vec<u8>>) {
        let Verdict::Fragment(port) = self.verdict else { panic!("{:?} instead of fragments", self.verdict) };
        let pieces = Pieces::new(&self.frame, mtu, 0x0102_0304).unwrap();
        (port.0, pieces.map(|piece| [piece.header(), &self.frame[piece.data.clone()]].concat()).collect())
    }

    pub fn reply(&self) -> &[u8] {
        match self.verdict {
            Verdict::Reply(_) => &self.frame,
            other => panic!("{other:?} instead of reply"),
        }
    }

    pub fn dropped(&self) -> DropReason {
        match self.verdict {
            Verdict::Drop(reason) => reason,
            other => panic!("{other:?} instead of a drop"),
        }
    }
}

const BACKENDS_MAX: usize = 100;

/// Every counter that is not 0, by name.
pub type Figures = BTreeMap<String, i64>;

/// See the module.
pub struct Net {
    pub snapshot: Snapshot,
    pub shards: Vec<Shard>,
    pub now: Now,
    /// Fragments without their first one, by worker.
    pub waiting: Vec<Waiting<TestPacket>>,
}

impl Net {
    pub fn new(spec: SnapshotSpec) -> Self {
        Self::with_connections(spec, 1000)
    }

    /// With room for so many connections a worker.
    pub fn with_connections(spec: SnapshotSpec, connections_max: usize) -> Self {
        let nat = spec.services.iter().any(|s| s.mode.is_nat());
        let snapshot = Snapshot::build(spec, None).unwrap();
        let shard = |worker| {
            let mut shard = Shard::new(&ShardConfig {
                worker: WorkerId(worker),
                connections_max,
                v4: true,
                v6: true,
                nat,
                backends_max: BACKENDS_MAX,
                clients_max: 1024,
                neighbors_max: 64,
                local_port_rest_s: 120,
                punt_rates: PuntRates::default(),
                fragments_max: 64,
                place: Place::default(),
                boot_key: HashKey::from_bytes([9; 16]),
            })
            .unwrap();
            shard.adopt(&snapshot, None);
            shard
        };
        let mut shards: Vec<_> = (0..snapshot.workers).map(shard).collect();
        Team::form(shards.iter_mut());
        let waiting = shards.iter().map(|_| Waiting::default()).collect();
        Self { snapshot, shards, now: Now::from_ns(1_000_000_000), waiting }
    }

    /// Goes over to another configuration, as a reload does.
    pub fn reload(&mut self, mut spec: SnapshotSpec) {
        spec.generation = self.snapshot.generation + 1;
        let next = Snapshot::build(spec, Some(&self.snapshot)).unwrap();
        for shard in &mut self.shards {
            shard.adopt(&next, Some(&self.snapshot));
        }
        self.snapshot = next;
    }

    /// Lets time pass and the timers run.
    pub fn pass_s(&mut self, s: u64) {
        self.now = Now::from_ns(self.now.ns() + s * 1_000_000_000);
        for (shard, waiting) in self.shards.iter_mut().zip(&mut self.waiting) {
            shard.tick(&self.snapshot, self.now);
            waiting.expire(&shard.counters, self.now, drop);
        }
    }

    /// One packet into worker 0, handed on where it belongs to another.
    pub fn send(&mut self, port: u8, frame: &[u8]) -> Sent {
        self.send_to(0, port, frame)
    }

    /// One packet into the worker that the NIC chose.
    pub fn send_to(&mut self, worker: u16, port: u8, frame: &[u8]) -> Sent {
        let mut sent = self.burst(worker, Origin::Port, &[TestPacket::new(port, frame)]).remove(0);
        let mut hops = 0;
        while let Verdict::Handoff(owner) = sent.verdict {
            hops += 1;
            assert!(hops <= self.snapshot.workers, "handed on and on");
            assert_ne!(owner.0, sent.worker, "handed to itself");
            assert_eq!(sent.frame, frame, "changed before it was handed on");
            sent = self.burst(owner.0, Origin::Ring, &[TestPacket::new(port, frame)]).remove(0);
        }
        sent
    }

    /// Packets into one worker; checks that each has one verdict that counts, and counts it as the poll loop does.
    pub fn burst(&mut self, worker: u16, origin: Origin, packets: &[TestPacket]) -> Vec<Sent> {
        assert!(packets.len() <= BURST);
        let mut packets = packets.to_vec();
        let shard = &mut self.shards[usize::from(worker)];
        // A verdict that no packet gets, so that a place left out would show.
        let unset = Verdict::Drop(DropReason::RingFull);
        let mut verdicts = vec![unset; packets.len()];
        let bytes = packets.iter().map(|p| p.frame_len() as u64).sum::<u64>();
        let onlooker = Onlooker::begin(shard, &self.snapshot, &packets);
        let processed =
            process(shard, &self.snapshot, self.now, origin, |p: &TestPacket| p.port, &mut packets, &mut verdicts);
        if let Some(onlooker) = onlooker {
            onlooker.end(shard, self.now, &packets, &verdicts);
        }
        assert_eq!((processed.count, processed.bytes), (packets.len(), bytes));
        if let Some(port) = processed.all_to {
            let is_all = verdicts.iter().all(|&v| v == Verdict::Tx(port) || matches!(v, Verdict::Handoff(_)));
            assert!(verdicts.contains(&Verdict::Tx(port)) && is_all, "{port:?} {verdicts:?}");
            let any_handed = verdicts.iter().any(|v| matches!(v, Verdict::Handoff(_)));
            assert!(processed.handed || !any_handed, "{verdicts:?}");
        }
        for verdict in &verdicts {
            assert_ne!(*verdict, unset);
            let counters = &shard.counters;
            match *verdict {
                Verdict::Tx(port) => {
                    assert!(self.snapshot.port(port).is_some());
                    counters.tx_packets.add(1);
                }
                Verdict::Fragment(port) => {
                    assert!(self.snapshot.port(port).is_some());
                    counters.tx_packets.add(1);
                }
                Verdict::Reply(_) => counters.replies.add(1),
                Verdict::Hold(slot) => {
                    assert!(shard.neighbors.is_current(slot));
                    counters.held.add(1);
                }
                Verdict::Await(_) => {}
                Verdict::Handoff(owner) => {
                    assert!(owner.0 < self.snapshot.workers);
                    counters.handoffs.add(1);
                }
                Verdict::Punt(port, class) => {
                    assert!(self.snapshot.port(port).is_some_and(|p| p.host));
                    counters.punt_one(class);
                }
                Verdict::Drop(reason) => counters.drop_one(reason),
            }
            counters.rx_packets.add(1);
        }
        for (packet, verdict) in packets.iter().zip(&verdicts) {
            if let (Verdict::Await(tag), Some(waiting)) = (*verdict, self.waiting.get_mut(usize::from(worker))) {
                waiting.hold(&shard.counters, tag, packet.port, self.now, packet.clone());
            }
        }
        let sent =
            |(p, &verdict): (&TestPacket, &Verdict)| Sent { verdict, frame: p.bytes().to_vec(), worker, port: p.port };
        packets.iter().zip(&verdicts).map(sent).collect()
    }

    /// Every counter, all workers together; input packets are the sum of verdicts.
    pub fn figures(&self) -> Figures {
        let mut figures = Figures::new();
        let mut add = |name: String, n: u64| {
            if n != 0 {
                *figures.entry(name).or_default() += n as i64;
            }
        };
        let mut verdicts = 0;
        for shard in &self.shards {
            let c = &shard.counters;
            for (name, counter) in [
                ("tx", &c.tx_packets),
                ("replies", &c.replies),
                ("punts", &c.punts),
                ("held", &c.held),
                ("handoffs", &c.handoffs),
                ("originated", &c.originated),
                ("errors_limited", &c.errors_limited),
                ("stateless", &c.stateless),
                ("adopted", &c.adopted),
                ("fragments_sent", &c.fragments_sent),
                ("active", &c.connections_active),
                ("created", &c.connections_created),
                ("expired", &c.connections_expired),
                ("evicted", &c.connections_evicted),
            ] {
                add(name.into(), counter.get());
            }
            for &reason in DropReason::ALL {
                add(format!("drop {}", reason.label()), c.drops(reason));
            }
            for slot in 0..BACKENDS_MAX {
                let b = c.backend(BackendId::new(slot, 0)).unwrap();
                add(format!("packets {slot}"), b.packets.get());
                add(format!("bytes {slot}"), b.bytes.get());
                add(format!("connections {slot}"), c.connections(BackendId::new(slot, 0)).into());
                add(format!("connections_total {slot}"), b.connections_total.get());
            }
            verdicts += c.tx_packets.get()
                + c.replies.get()
                + c.punts.get()
                + c.held.get()
                + c.handoffs.get()
                + c.drops_total();
            assert_eq!(
                verdicts,
                self.shards
                    .iter()
                    .take(usize::from(shard.worker.0) + 1)
                    .map(|s| s.counters.rx_packets.get())
                    .sum::<u64>()
            );
        }
        figures
    }

    /// What `act` changes, backend counters left out.
    pub fn changes<T>(&mut self, act: impl FnOnce(&mut Self) -> T) -> (T, Figures) {
        let before = self.figures();
        let result = act(self);
        let mut changes = self.figures();
        for (name, n) in before {
            *changes.entry(name).or_default() -= n;
        }
        let is_backend = |name: &str| name.split_once(' ').is_some_and(|(_, slot)| slot.parse::<u16>().is_ok());
        changes.retain(|name, n| *n != 0 && !is_backend(name));
        (result, changes)
    }

    /// Sends a frame and checks that exactly these counters changed.
    #[track_caller]
    pub fn expect(&mut self, port: u8, frame: &[u8], expected: &[(&str, i64)]) -> Sent {
        let (sent, changes) = self.changes(|net| net.send(port, frame));
        let expected: Figures = expected.iter().map(|&(name, n)| (name.to_owned(), n)).collect();
        assert_eq!(changes, expected, "{:?}", sent.verdict);
        sent
    }

    /// Sends a frame that must be dropped for this reason, without any other trace.
    #[track_caller]
    pub fn expect_drop(&mut self, port: u8, frame: &[u8], reason: DropReason) {
        self.expect(port, frame, &[(&format!("drop {}", reason.label()), 1)]);
    }

    pub fn active(&self) -> u64 {
        self.shards.iter().map(|s| s.counters.connections_active.get()).sum()
    }
}
