//! Shards without threads: the packet path as the poll loops run it, in virtual time.
//!
//! What packets are made of is the caller's: those that are to be explained take their own decisions down.

use std::sync::Arc;

use crossbeam::queue::ArrayQueue;

use super::ReplayError;
use super::captures::Outputs;
use super::frame::Frame;
use crate::control::stats::Stats;
use crate::lb::clock::Now;
#[cfg(test)]
use crate::lb::excerpt::{Excerpt, Question};
use crate::lb::handle::WorkerHandle;
use crate::lb::ids::PortId;
use crate::lb::latency::Latency;
use crate::lb::news::News;
use crate::lb::packet::Packet;
use crate::lb::path::{self, BURST, Origin};
use crate::lb::pending::Pending;
use crate::lb::pieces::{PIECES_MAX, Pieces, is_too_long};
use crate::lb::publish::Published;
use crate::lb::response_times::{Keeper, Measured};
use crate::lb::shard::{Shard, ShardConfig};
use crate::lb::snapshot::Snapshot;
use crate::lb::table::OutOfMemory;
use crate::lb::team::Team;
use crate::lb::trace::Step;
use crate::lb::verdict::{DropReason, Verdict};

/// All workers of a replay.
pub(in crate::control) struct Engine<F> {
    workers: Vec<Worker<F>>,
    snapshot: Arc<Snapshot>,
    times: Keeper,
    /// The second in which they were last looked at.
    looked_s: u64,
    /// Where time begins on the shards' clock.
    epoch_ns: u64,
    now_ns: u64,
    last_packet_ns: u64,
}

struct Worker<F> {
    shard: Shard,
    pending: Pending<F>,
    handle: WorkerHandle,
}

/// Virtual time between two looks at the timers while something waits for them.
const STEP_NS: u64 = 100_000_000;
/// After this long nothing can still be waiting for a next hop.
const SETTLE_NS: u64 = 5_000_000_000;

impl<F: Frame> Engine<F> {
    pub(in crate::control) fn new(shards: &[ShardConfig], published: &Published) -> Result<Self, OutOfMemory> {
        let snapshot = published.current();
        let mut shards = shards.iter().map(Shard::new).collect::<Result<Vec<_>, _>>()?;
        Team::form(shards.iter_mut());
        shards.iter_mut().for_each(|shard| shard.adopt(&snapshot, None));
        // Virtual time does not begin at zero, so that the first packet's timers are due like any other's.
        Ok(Self::of(shards, snapshot, Now::from_ns(1_000_000_000)))
    }

    /// With these shards, a team that has adopted the snapshot, from `now` on.
    pub(in crate::control) fn of(shards: Vec<Shard>, snapshot: Arc<Snapshot>, now: Now) -> Self {
        let workers = shards.into_iter().map(Worker::of).collect();
        let (times, epoch_ns) = (Keeper::default(), now.ns());
        Self { workers, snapshot, times, looked_s: 0, epoch_ns, now_ns: 0, last_packet_ns: 0 }
    }

    /// Goes over to the newest snapshot, as every worker does at a burst boundary.
    pub(in crate::control) fn adopt(&mut self, published: &Published) {
        let next = published.current();
        for worker in &mut self.workers {
            worker.shard.adopt(&next, Some(&self.snapshot));
        }
        self.snapshot = next;
    }

    /// Lets time pass up to `to_ns` after the first packet.
    pub(in crate::control) fn advance(
        &mut self,
        to_ns: u64,
        outputs: &mut Outputs,
        start_ns: u64,
    ) -> Result<(), ReplayError> {
        let settled_ns = self.now_ns + SETTLE_NS;
        while self.now_ns + STEP_NS < to_ns.min(settled_ns) && self.workers.iter().any(|w| !w.pending.is_empty()) {
            self.now_ns += STEP_NS;
            self.turn(outputs, start_ns + self.now_ns)?;
        }
        if to_ns > self.now_ns {
            self.now_ns = to_ns;
            self.turn(outputs, start_ns + self.now_ns)?;
        }
        Ok(())
    }

    /// One receive burst, by this worker.
    pub(in crate::control) fn feed(
        &mut self,
        worker: usize,
        frames: Vec<F>,
        outputs: &mut Outputs,
        timestamp_ns: u64,
    ) -> Result<(), ReplayError> {
        self.last_packet_ns = self.now_ns;
        if let Some(first) = self.workers.get(worker) {
            first.shard.counters.rx_packets.add(frames.len() as u64);
            first.shard.counters.rx_bytes.add(frames.iter().map(|f| f.frame_len() as u64).sum());
        }
        self.process(worker, Origin::Port, frames, outputs, timestamp_ns)?;
        self.turn(outputs, timestamp_ns)
    }

    fn process(
        &mut self,
        worker: usize,
        origin: Origin,
        mut packets: Vec<F>,
        outputs: &mut Outputs,
        timestamp_ns: u64,
    ) -> Result<(), ReplayError> {
        let now = self.now();
        let snapshot = self.snapshot.clone();
        let mut verdicts = [Verdict::Drop(DropReason::NotOurs); BURST];
        let Some(w) = self.workers.get_mut(worker) else { return Ok(()) };
        packets.iter().for_each(|packet| packet.note(|| Step::Worker(w.shard.worker)));
        path::process(&mut w.shard, &snapshot, now, origin, F::port, &mut packets, &mut verdicts);
        for (packet, verdict) in packets.into_iter().zip(verdicts) {
            self.carry_out(worker, packet, verdict, outputs, timestamp_ns)?;
        }
        Ok(())
    }

    fn carry_out(
        &mut self,
        worker: usize,
        packet: F,
        verdict: Verdict,
        outputs: &mut Outputs,
        timestamp_ns: u64,
    ) -> Result<(), ReplayError> {
        let now = self.now();
        let Some(w) = self.workers.get_mut(worker) else { return Ok(()) };
        let counters = &w.shard.counters;
        let port = packet.port();
        packet.note(|| Step::Verdict(verdict));
        match verdict {
            Verdict::Tx(out) => {
                counters.tx_packets.add(1);
                counters.tx_bytes.add(packet.frame_len() as u64);
                packet.leaves(out, packet.bytes());
                outputs.write(out, timestamp_ns, packet.bytes())?;
            }
            Verdict::Fragment(out) => {
                let mtu = self.snapshot.port(out).map_or(0, |port| port.mtu);
                w.send_in_pieces(out, mtu, &packet, outputs, timestamp_ns)?;
            }
            Verdict::Reply(out) => {
                counters.replies.add(1);
                packet.leaves(out, packet.bytes());
                outputs.write(out, timestamp_ns, packet.bytes())?;
            }
            // There is no host in a replay; what would go there is only counted.
            Verdict::Punt(_, class) => counters.punt_one(class),
            Verdict::Drop(reason) => counters.drop_one(reason),
            Verdict::Hold(slot) => {
                let out = w.shard.neighbors.port(slot).unwrap_or(port);
                packet.waits(out, packet.bytes());
                match w.pending.hold(slot, out, packet) {
                    Ok(()) => counters.held.add(1),
                    Err(packet) => {
                        dropped(&packet, DropReason::NeighborQueueFull);
                        counters.drop_one(DropReason::NeighborQueueFull);
                    }
                }
            }
            Verdict::Await(tag) => {
                let oldest = w.pending.fragments.hold(counters, tag, port, now, packet);
                oldest.iter().for_each(|oldest| dropped(oldest, DropReason::FragmentQueueFull));
            }
            Verdict::Handoff(owner) => {
                counters.handoffs.add(1);
                self.process(owner.index(), Origin::Ring, vec![packet], outputs, timestamp_ns)?;
            }
        }
        Ok(())
    }

    /// What each worker knows that bears on a packet, and their team.
    #[cfg(test)]
    pub(in crate::control) fn excerpts(&self, question: &Question) -> (Vec<Excerpt>, Arc<Team>) {
        let of = |worker: &Worker<F>| worker.shard.excerpt(question, self.now());
        let team = self.workers.first().map(|worker| worker.shard.team.clone()).unwrap_or_default();
        (self.workers.iter().map(of).collect(), team)
    }

    /// What a poll loop does between bursts.
    fn turn(&mut self, outputs: &mut Outputs, timestamp_ns: u64) -> Result<(), ReplayError> {
        self.look_at_times();
        let now = self.now();
        let snapshot = self.snapshot.clone();
        let mut news: Vec<(usize, News)> = Vec::new();
        for (index, w) in self.workers.iter_mut().enumerate() {
            w.shard.tick(&snapshot, now);
            news.extend(w.shard.learned.drain(..).map(|n| (index, n)));
        }
        for (from, news) in news {
            for (_, w) in self.workers.iter_mut().enumerate().filter(|&(index, _)| index != from) {
                w.shard.hear(news, now);
            }
        }
        self.reunite(outputs, timestamp_ns)?;
        for w in &mut self.workers {
            w.settle(&snapshot, outputs, timestamp_ns)?;
            for out in w.shard.outbox.drain(..) {
                outputs.write(out.port, timestamp_ns, out.frame.as_bytes())?;
            }
        }
        Ok(())
    }

    /// What the management thread does once a second.
    fn look_at_times(&mut self) {
        let second = self.now_ns / 1_000_000_000;
        if let Some(first) = self.workers.first().filter(|_| second != self.looked_s) {
            let team = &first.shard.team;
            self.times.look(&self.snapshot, team.workers(), |_| Measured::default(), &team.times);
            self.looked_s = second;
        }
    }

    /// Puts fragments through the packet path again once their datagram's first one has come, and drops those for which it
    /// did not come in time.
    fn reunite(&mut self, outputs: &mut Outputs, timestamp_ns: u64) -> Result<(), ReplayError> {
        while let Some((worker, packets)) =
            self.workers.iter_mut().enumerate().find_map(|(at, w)| Some((at, w.woken()?)))
        {
            self.process(worker, Origin::Ring, packets, outputs, timestamp_ns)?;
        }
        let now = self.now();
        for w in &mut self.workers {
            w.pending.fragments.expire(&w.shard.counters, now, |packet| dropped(&packet, DropReason::FragmentTimeout));
        }
        Ok(())
    }

    /// Lets what still waits be answered or given up, ends what has timed out, and adds up.
    pub(in crate::control) fn finish(mut self, outputs: &mut Outputs, start_ns: u64) -> Result<Stats, ReplayError> {
        let end_ns = self.now_ns;
        while self.workers.iter().any(|w| !w.pending.is_empty()) && self.now_ns < end_ns + SETTLE_NS {
            self.advance(self.now_ns + STEP_NS, outputs, start_ns)?;
        }
        let end = Now::from_ns(self.epoch_ns + end_ns);
        for w in &mut self.workers {
            w.pending.fragments.clear(&w.shard.counters, |packet| dropped(&packet, DropReason::FragmentTimeout));
            for packet in w.pending.drain() {
                dropped(&packet, DropReason::NeighborUnresolved);
                w.shard.counters.held.sub(1);
                w.shard.counters.drop_one(DropReason::NeighborUnresolved);
            }
            w.shard.sweep_all(&self.snapshot, end);
        }
        let handles: Vec<WorkerHandle> = self.workers.iter().map(|w| w.handle.clone()).collect();
        Ok(Stats::collect(self.last_packet_ns as f64 / 1e9, &self.snapshot, &handles))
    }

    fn now(&self) -> Now {
        Now::from_ns(self.epoch_ns + self.now_ns)
    }
}

/// Lets a packet know of a drop that is decided behind the packet path.
fn dropped(packet: &impl Packet, reason: DropReason) {
    packet.note(|| Step::Verdict(Verdict::Drop(reason)));
}

impl<F: Frame> Worker<F> {
    fn of(shard: Shard) -> Self {
        let handle = WorkerHandle {
            id: shard.worker,
            cpu: None,
            counters: shard.counters.clone(),
            team: shard.team.clone(),
            latency: Arc::new(Latency::default()),
            connections_max: shard.capacity(),
            table_bytes: shard.table_bytes() as u64,
            table_memory: None,
            requests: Arc::new(ArrayQueue::new(1)),
        };
        Self { shard, pending: Pending::default(), handle }
    }

    /// A burst of fragments that need not wait any longer.
    fn woken(&mut self) -> Option<Vec<F>> {
        let tag = self.shard.fragments.woken()?;
        let mut packets = Vec::new();
        let put = |_port, packet| packets.push(packet);
        if !self.pending.fragments.take(&self.shard.counters, tag, BURST, put) {
            self.shard.fragments.is_awake();
        }
        Some(packets)
    }

    /// Sends what waited for next hops that answered, and drops what waited for those that did not.
    fn settle(&mut self, snapshot: &Snapshot, outputs: &mut Outputs, timestamp_ns: u64) -> Result<(), ReplayError> {
        let Self { shard, pending, .. } = self;
        let mut failed = None;
        let mut too_long = Vec::new();
        while let Some((slot, answered)) = shard.settled.pop() {
            let mac = if answered { shard.neighbors.mac(slot) } else { None };
            let counters = &shard.counters;
            pending.release(slot, |port, mut packet| {
                counters.held.sub(1);
                let Some(mac) = mac else {
                    dropped(&packet, DropReason::NeighborUnresolved);
                    return counters.drop_one(DropReason::NeighborUnresolved);
                };
                path::complete(&mut packet, mac);
                let mtu = snapshot.port(port).map_or(u16::MAX, |port| port.mtu);
                if is_too_long(packet.bytes(), packet.frame_len(), mtu) {
                    return too_long.push((port, mtu, packet));
                }
                counters.tx_packets.add(1);
                counters.tx_bytes.add(packet.frame_len() as u64);
                packet.note(|| Step::Verdict(Verdict::Tx(port)));
                packet.leaves(port, packet.bytes());
                failed = outputs.write(port, timestamp_ns, packet.bytes()).err().or(failed.take());
            });
        }
        for (port, mtu, packet) in too_long {
            self.send_in_pieces(port, mtu, &packet, outputs, timestamp_ns)?;
        }
        failed.map_or(Ok(()), Err)
    }

    /// Sends a packet that does not fit the port in fragments that do.
    fn send_in_pieces(
        &mut self,
        port: PortId,
        mtu: u16,
        packet: &F,
        outputs: &mut Outputs,
        timestamp_ns: u64,
    ) -> Result<(), ReplayError> {
        let frame = packet.bytes();
        let pieces = Pieces::new(frame, mtu, self.shard.fragment_id());
        let counters = &self.shard.counters;
        let Some(pieces) = pieces.filter(|pieces| pieces.clone().count() <= PIECES_MAX) else {
            dropped(packet, DropReason::TooBig);
            counters.drop_one(DropReason::TooBig);
            return Ok(());
        };
        counters.tx_packets.add(1);
        for piece in pieces {
            let fragment = [piece.header(), frame.get(piece.data.clone()).unwrap_or_default()].concat();
            counters.tx_bytes.add(fragment.len() as u64);
            counters.fragments_sent.add(1);
            packet.leaves(port, &fragment);
            outputs.write(port, timestamp_ns, &fragment)?;
        }
        Ok(())
    }
}
