//! One poll loop: receive, decide, transmit, and now and then the little that is not a packet.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use crossbeam::queue::ArrayQueue;
use dpdk_ffi::{Mbuf, MbufBurst, Mempool, MpProducer, RingConsumer, clock};

use super::host::HostEnd;
use super::idle::{Idle, Rest};
use super::sample::{self, Sampler};
use super::shared::{self, Inlet};
use super::tx::{Class, Wires, retry};
use crate::lb::clock::Now;
use crate::lb::handle::Request;
use crate::lb::ids::{PortId, WorkerId};
use crate::lb::news::News;
use crate::lb::path::{self, BURST, Origin, Processed};
use crate::lb::pending::Pending;
use crate::lb::pieces::is_too_long;
use crate::lb::publish::Published;
use crate::lb::shard::{Outgoing, Shard};
use crate::lb::snapshot::Snapshot;
use crate::lb::verdict::{DropReason, Verdict};

/// What all workers are to do, set by the management thread.
#[derive(Debug, Default)]
pub(super) struct Order(AtomicU8);

impl Order {
    const RUN: u8 = 0;
    const DRAIN: u8 = 1;
    const STOP: u8 = 2;

    /// Take no more from the ports; finish what is in the rings.
    pub(super) fn drain(&self) {
        self.0.store(Self::DRAIN, Ordering::Release);
    }

    /// End.
    pub(super) fn stop(&self) {
        self.0.store(Self::STOP, Ordering::Release);
    }
}

/// What a worker is made of.
pub(super) struct Worker {
    pub shard: Shard,
    pub published: Arc<Published>,
    pub order: Arc<Order>,
    pub idle: Idle,
    /// Receive queues, each with the port it belongs to.
    pub rx: Vec<Inlet>,
    /// The ways out.
    pub tx: Wires,
    /// Packets that other workers received and this one owns.
    pub inbox: RingConsumer,
    /// Rings to the other workers, by worker; `None` at its own place.
    pub rings: Vec<Option<MpProducer>>,
    /// What of a burst goes to whom, by worker; empty between bursts.
    pub sorted: Vec<MbufBurst<BURST>>,
    /// What other workers learned.
    pub heard: Arc<ArrayQueue<News>>,
    /// Where to tell the others.
    pub tell: Vec<Arc<ArrayQueue<News>>>,
    pub requests: Arc<ArrayQueue<Request>>,
    pub sampler: Sampler,
    /// Largest IP packet of each port, in bytes.
    pub mtus: Vec<u16>,
    /// For frames of our own.
    pub pool: Mempool,
    /// The way to the host and from there, if a port has one.
    pub host: Option<HostEnd>,
    /// Ports on which addresses are announced.
    pub announce: Vec<PortId>,
    pub clock: TurnClock,
}

/// Time from the TSC, read once a turn.
#[derive(Clone, Copy)]
pub(super) struct TurnClock {
    start: u64,
    /// Nanoseconds a cycle, as a binary fraction of 32 bits.
    ns_per_cycle: u64,
}

impl TurnClock {
    /// Starts at zero now.
    pub(super) fn new(tsc_hz: u64) -> Self {
        let ns_per_cycle = ((1_000_000_000u128 << 32) / u128::from(tsc_hz.max(1))) as u64;
        Self { start: clock::tsc(), ns_per_cycle }
    }

    #[inline]
    pub(super) fn ns(&self, cycles: u64) -> u64 {
        ((u128::from(cycles) * u128::from(self.ns_per_cycle)) >> 32) as u64
    }

    #[inline]
    fn now(&self, tsc: u64) -> Now {
        Now::from_ns(self.ns(tsc.wrapping_sub(self.start)))
    }
}

/// Turns between two looks at questions and at what the other workers say.
const CHORES_EVERY: u64 = 64;
/// Buckets that one question may look at.
const REQUEST_BUCKETS: usize = 4096;
/// Announcements sent in one round of chores, so that many VIPs do not fill a queue at once.
const ANNOUNCE_AT_ONCE: usize = 16;

impl Worker {
    /// Polls until told to stop. Every packet taken has its verdict counted when this returns.
    pub(super) fn run(mut self) {
        let mut snapshot = self.published.current();
        self.shard.adopt(&snapshot, None);
        let mut announcements = self.announcements(&snapshot, None);
        let mut held = Pending::default();
        let mut burst = MbufBurst::<BURST>::new();
        let mut taken_over = MbufBurst::<BURST>::new();
        let mut turn = 0u64;
        let mut rest = Rest::new(self.idle, self.clock);
        let mut tsc = clock::tsc();
        loop {
            let order = self.order.0.load(Ordering::Acquire);
            let now = self.clock.now(tsc);
            if let Some(next) = self.published.newer_than(snapshot.generation) {
                self.shard.adopt(&next, Some(&snapshot));
                announcements.extend(self.announcements(&next, Some(&snapshot)));
                snapshot = next;
            }
            let received = self.turn(&snapshot, now, order == Order::RUN, &mut burst, &mut taken_over, &mut held);
            self.shard.tick(&snapshot, now);
            if !held.fragments.is_empty() {
                self.reunite(&snapshot, now, &mut burst, &mut held);
            }
            if turn.is_multiple_of(CHORES_EVERY) || self.has_chores() || rest.is_napping() {
                self.chores(&snapshot, now, &mut held, &mut announcements);
            }
            for tx in self.tx.iter_mut() {
                tx.flush(&self.shard.counters);
            }
            let end = clock::tsc();
            turn += 1;
            self.sampler.turn_ends(end, received > 0);
            if received > 0 {
                self.shard.counters.busy_turns.add(1);
                self.shard.counters.busy_packets.add(received);
                self.shard.counters.busy_cycles.add(end.wrapping_sub(tsc));
                rest.wake();
            } else if order == Order::STOP {
                break;
            } else {
                rest.rest(end, &self.shard.counters);
            }
            // Last, so that whoever sees it also sees what else this turn has counted.
            self.shard.counters.turns.add(1);
            tsc = if received > 0 { end } else { clock::tsc() };
        }
        held.fragments.clear(&self.shard.counters, drop);
        for _packet in held.drain() {
            self.shard.counters.held.sub(1);
            self.shard.counters.drop_one(DropReason::NeighborUnresolved);
        }
    }

    /// One round over all queues and rings; the number of packets handled.
    #[inline]
    pub(super) fn turn(
        &mut self,
        snapshot: &Snapshot,
        now: Now,
        receive: bool,
        burst: &mut MbufBurst<BURST>,
        taken_over: &mut MbufBurst<BURST>,
        held: &mut Pending<Mbuf>,
    ) -> u64 {
        let mut handled = 0;
        // These lie in another CPU's cache; they are on their way while the own packets are worked on.
        if self.rings.len() > 1 && self.inbox.dequeue_burst(taken_over) > 0 {
            taken_over.as_slice().iter().for_each(Mbuf::prefetch_header);
        }
        let queues = if receive { self.rx.len() } else { 0 };
        for index in 0..queues {
            let Some(Inlet { port, queue, vlans }) = self.rx.get_mut(index) else { break };
            let port = *port;
            if queue.burst(burst) == 0 {
                continue;
            }
            handled += burst.len() as u64;
            if let Some(vlans) = vlans {
                shared::sort(vlans, burst.as_mut_slice());
                self.received(snapshot, now, burst, sample::port_of, held);
            } else {
                self.received(snapshot, now, burst, move |_| port, held);
            }
        }
        if !taken_over.is_empty() {
            handled += taken_over.len() as u64;
            taken_over.as_slice().iter().for_each(Mbuf::prefetch);
            let mut verdicts = [Verdict::Drop(DropReason::NotOurs); BURST];
            let packets = taken_over.as_mut_slice();
            let shard = &mut self.shard;
            let done = path::process(shard, snapshot, now, Origin::Ring, sample::port_of, packets, &mut verdicts);
            self.sampler.taken_over(taken_over.as_slice(), &verdicts);
            self.carry_out(taken_over, done, &verdicts, sample::port_of, now, held);
        }
        for tx in self.tx.iter_mut() {
            handled += u64::from(tx.relay(&self.shard.counters));
        }
        handled
    }

    /// What came from a device.
    #[inline(always)]
    pub(super) fn received(
        &mut self,
        snapshot: &Snapshot,
        now: Now,
        burst: &mut MbufBurst<BURST>,
        port_of: impl Fn(&Mbuf) -> PortId + Copy,
        held: &mut Pending<Mbuf>,
    ) {
        self.sampler.received(&self.shard.counters);
        let mut verdicts = [Verdict::Drop(DropReason::NotOurs); BURST];
        let packets = burst.as_mut_slice();
        let done = path::process(&mut self.shard, snapshot, now, Origin::Port, port_of, packets, &mut verdicts);
        self.shard.counters.rx_packets.add(done.count as u64);
        self.shard.counters.rx_bytes.add(done.bytes);
        self.sampler.decided(&verdicts, &self.shard.counters);
        self.carry_out(burst, done, &verdicts, port_of, now, held);
    }

    #[inline]
    fn carry_out(
        &mut self,
        burst: &mut MbufBurst<BURST>,
        done: Processed,
        verdicts: &[Verdict; BURST],
        port_of: impl Fn(&Mbuf) -> PortId,
        now: Now,
        held: &mut Pending<Mbuf>,
    ) {
        let Some(port) = done.all_to.filter(|&port| self.tx.has(port)) else {
            return self.carry_out_each(burst, verdicts, port_of, now, held);
        };
        if done.handed {
            self.sort(burst, verdicts, port_of);
            let own = self.shard.worker.index();
            if let (Some(tx), Some(burst)) = (self.tx.get_mut(port), self.sorted.get_mut(own)) {
                tx.send_all(burst, &self.shard.counters);
            }
            self.hand_over_sorted();
        } else if let Some(tx) = self.tx.get_mut(port) {
            tx.send_all(burst, &self.shard.counters);
        }
    }

    /// Sorts a burst by the workers that its packets belong to. Without a branch for each, because nobody could foretell
    /// it.
    #[inline(never)]
    fn sort(&mut self, burst: &mut MbufBurst<BURST>, verdicts: &[Verdict; BURST], port_of: impl Fn(&Mbuf) -> PortId) {
        let own = self.shard.worker;
        for (mut mbuf, verdict) in burst.drain().zip(verdicts) {
            let owner = if let Verdict::Handoff(owner) = *verdict { owner } else { own };
            // The ring does not carry the port, so the mbuf does.
            let port = port_of(&mbuf);
            self.sampler.address(&mut mbuf, port);
            if let Some(list) = self.sorted.get_mut(owner.index()) {
                // It has room for a whole burst.
                let _ = list.push(mbuf);
            } else {
                self.shard.counters.drop_one(DropReason::RingFull);
            }
        }
    }

    /// Passes on what belongs to other workers; a ring that stays full is a counted drop.
    fn hand_over_sorted(&mut self) {
        let counters = &self.shard.counters;
        for (list, ring) in self.sorted.iter_mut().zip(&mut self.rings) {
            if list.is_empty() {
                continue;
            }
            counters.handoffs.add(list.len() as u64);
            if let Some(ring) = ring {
                retry(list, |burst| ring.enqueue_burst(burst));
            }
            for _unsent in list.drain() {
                counters.drop_one(DropReason::RingFull);
            }
        }
    }

    #[inline(never)]
    fn carry_out_each(
        &mut self,
        burst: &mut MbufBurst<BURST>,
        verdicts: &[Verdict; BURST],
        port_of: impl Fn(&Mbuf) -> PortId,
        now: Now,
        held: &mut Pending<Mbuf>,
    ) {
        for (mbuf, verdict) in burst.drain().zip(verdicts) {
            let counters = &self.shard.counters;
            match *verdict {
                Verdict::Tx(port) => match self.tx.get_mut(port) {
                    Some(tx) => tx.send(Class::Forward, mbuf, counters),
                    None => counters.drop_one(DropReason::NoRoute),
                },
                Verdict::Drop(reason) => counters.drop_one(reason),
                Verdict::Punt(port, class) => {
                    let full = Err(DropReason::PuntFull);
                    match self.host.as_mut().map_or(full, |host| host.punt(port, class, &mbuf)) {
                        Ok(()) => counters.punt_one(class),
                        Err(reason) => counters.drop_one(reason),
                    }
                }
                Verdict::Fragment(port) => {
                    let id = self.shard.fragment_id();
                    match (self.tx.get_mut(port), self.mtus.get(port.index())) {
                        (Some(tx), Some(&mtu)) => tx.send_in_pieces(&mbuf, mtu, &self.pool, id, &self.shard.counters),
                        _ => self.shard.counters.drop_one(DropReason::NoRoute),
                    }
                }
                Verdict::Reply(port) => match self.tx.get_mut(port) {
                    Some(tx) => tx.send(Class::Reply, mbuf, counters),
                    None => counters.drop_one(DropReason::NoRoute),
                },
                Verdict::Handoff(owner) => {
                    let (port, mut mbuf) = (port_of(&mbuf), mbuf);
                    self.sampler.address(&mut mbuf, port);
                    match self.sorted.get_mut(owner.index()) {
                        Some(list) => _ = list.push(mbuf),
                        None => counters.drop_one(DropReason::RingFull),
                    }
                }
                Verdict::Await(tag) => {
                    let port = port_of(&mbuf);
                    drop(held.fragments.hold(counters, tag, port, now, mbuf));
                }
                Verdict::Hold(slot) => {
                    let port = self.shard.neighbors.port(slot).unwrap_or_else(|| port_of(&mbuf));
                    match held.hold(slot, port, sample::note_now(mbuf)) {
                        Ok(()) => counters.held.add(1),
                        Err(_) => counters.drop_one(DropReason::NeighborQueueFull),
                    }
                }
            }
        }
        self.hand_over_sorted();
    }

    /// Puts fragments through the packet path again once their datagram's first one has come, and drops those for which it
    /// did not come in time.
    #[cold]
    pub(super) fn reunite(
        &mut self,
        snapshot: &Snapshot,
        now: Now,
        burst: &mut MbufBurst<BURST>,
        held: &mut Pending<Mbuf>,
    ) {
        while let Some(tag) = self.shard.fragments.woken() {
            let Self { shard, sampler, .. } = self;
            let more = held.fragments.take(&shard.counters, tag, BURST, |port, mut mbuf| {
                sampler.address(&mut mbuf, port);
                // It has room for a whole burst.
                let _ = burst.push(mbuf);
            });
            if !more {
                self.shard.fragments.is_awake();
            }
            let mut verdicts = [Verdict::Drop(DropReason::NotOurs); BURST];
            let packets = burst.as_mut_slice();
            let done =
                path::process(&mut self.shard, snapshot, now, Origin::Ring, sample::port_of, packets, &mut verdicts);
            self.carry_out(burst, done, &verdicts, sample::port_of, now, held);
        }
        held.fragments.expire(&self.shard.counters, now, drop);
    }

    fn has_chores(&self) -> bool {
        !self.shard.outbox.is_empty() || !self.shard.settled.is_empty() || !self.shard.learned.is_empty()
    }

    /// Everything that is not a packet of the current burst.
    #[cold]
    pub(super) fn chores(
        &mut self,
        snapshot: &Snapshot,
        now: Now,
        held: &mut Pending<Mbuf>,
        announcements: &mut Vec<Outgoing>,
    ) {
        while let Some(news) = self.heard.pop() {
            self.shard.hear(news, now);
        }
        for news in self.shard.learned.drain(..) {
            for other in &self.tell {
                // An inbox that is full belongs to a worker that will ask for itself.
                let _ = other.push(news);
            }
        }
        self.settle(now, held);
        for out in announcements.drain(..announcements.len().min(ANNOUNCE_AT_ONCE)) {
            self.shard.originate(out);
        }
        let mut outbox = std::mem::take(&mut self.shard.outbox);
        for out in outbox.drain(..) {
            let mbuf =
                self.pool.alloc().and_then(|mut mbuf| mbuf.extend_from_slice(out.frame.as_bytes()).then_some(mbuf));
            match (mbuf, self.tx.get_mut(out.port)) {
                (Some(mbuf), Some(tx)) => tx.send(Class::Own, mbuf, &self.shard.counters),
                _ => self.shard.counters.unsent.add(1),
            }
        }
        // Given back with its room, so that nothing is allocated here.
        self.shard.outbox = outbox;
        if let Some(host) = &mut self.host {
            let mut probes = MbufBurst::new();
            host.send(snapshot, &self.pool, &mut self.tx, &self.shard.counters, &mut probes);
            if !probes.is_empty() {
                self.send_probes(snapshot, now, &mut probes, held);
            }
        }
        while let Some(request) = self.requests.pop() {
            self.answer(request, now);
        }
    }

    /// Sends what waited for next hops that answered, and drops what waited for those that did not.
    fn settle(&mut self, now: Now, held: &mut Pending<Mbuf>) {
        let Self { shard, tx, sampler, pool, mtus, .. } = self;
        let counters = &shard.counters.clone();
        while let Some((slot, answered)) = shard.settled.pop() {
            let mac = if answered { shard.neighbors.mac(slot) } else { None };
            held.release(slot, |port, mut mbuf| {
                counters.held.sub(1);
                match (mac, tx.get_mut(port)) {
                    (Some(mac), Some(tx)) => {
                        path::complete(&mut mbuf, mac);
                        sampler.release(&mbuf);
                        let mtu = mtus.get(port.index()).copied().unwrap_or(u16::MAX);
                        if is_too_long(mbuf.data(), mbuf.frame_len(), mtu) {
                            tx.send_in_pieces(&mbuf, mtu, pool, shard.fragment_id(), counters);
                        } else {
                            tx.send(Class::Forward, mbuf, counters);
                        }
                    }
                    _ => {
                        let reason = DropReason::NeighborUnresolved;
                        counters.drop_one(reason);
                        if let Some(eye) = &mut shard.eye {
                            eye.dropped(now, &mbuf, Verdict::Drop(reason), port);
                        }
                    }
                }
            });
        }
    }

    fn answer(&mut self, request: Request, now: Now) {
        // Whoever asked may have given up; that is no concern of a worker.
        match request {
            Request::Connections { from, buckets, reply } => {
                let _ = reply.try_send(self.shard.connections(from, buckets.clamp(1, REQUEST_BUCKETS), now));
            }
            Request::Excerpt { question, reply } => {
                let _ = reply.try_send(Box::new(self.shard.excerpt(&question, now)));
            }
            Request::Capture { eye, reply } => {
                let before = std::mem::replace(&mut self.shard.eye, eye);
                let _ = reply.try_send((before, now));
            }
            Request::Neighbors { reply } => _ = reply.try_send(self.shard.neighbors.rows().collect()),
        }
    }

    /// What is to be announced when `next` takes the place of `previous`; one worker speaks for all.
    fn announcements(&self, next: &Snapshot, previous: Option<&Snapshot>) -> Vec<Outgoing> {
        if self.shard.worker != WorkerId(0) {
            return Vec::new();
        }
        let mut new = path::announcements(next, previous);
        new.retain(|out| self.announce.contains(&out.port));
        new
    }
}
