//! Very many frames through the whole packet path in little time: several workers, time that moves, configurations that
//! follow on each other, and every burst's verdicts added up.
//!
//! Frames come in rounds. A round begins with empty tables and follows from its own seed alone, so a fault is met again
//! without the rounds before it.

use std::sync::Arc;

use tidegate::control::compile::{Compiler, PortFacts, shard_config};
use tidegate::control::overrides::Overrides;
use tidegate::lb::clock::Now;
use tidegate::lb::hash::HashKey;
use tidegate::lb::ids::{PortId, WorkerId};
use tidegate::lb::path::{self, BURST, Origin};
use tidegate::lb::pending::Pending;
use tidegate::lb::pieces::{Pieces, is_too_long};
use tidegate::lb::shard::{Shard, ShardConfig};
use tidegate::lb::snapshot::Snapshot;
use tidegate::lb::verdict::{DropReason, Verdict};

use super::buffer::Buffer;
use super::chance::Chance;
use super::check;
use super::mutate::Maker;
use super::network::{FAMILIES, LAN, VARIANTS, WAN, config};
use super::path::connections;

/// Frames of a round.
pub const ROUND: u64 = 1 << 16;

/// How many frames came to each end.
#[derive(Clone, Debug)]
pub struct Ends {
    pub frames: u64,
    pub sent: u64,
    pub answered: u64,
    /// Sent on to another worker on the way; not an end.
    pub handed: u64,
    /// Waiting for a next hop at the end of their round.
    pub held: u64,
    pub dropped: Vec<u64>,
}

impl Default for Ends {
    fn default() -> Self {
        Self { frames: 0, sent: 0, answered: 0, handed: 0, held: 0, dropped: vec![0; DropReason::COUNT] }
    }
}

impl Ends {
    pub fn add(&mut self, other: &Ends) {
        self.frames += other.frames;
        self.sent += other.sent;
        self.answered += other.answered;
        self.handed += other.handed;
        self.held += other.held;
        self.dropped.iter_mut().zip(&other.dropped).for_each(|(sum, n)| *sum += n);
    }

    /// Every frame has come to one end.
    pub fn sum(&self) -> u64 {
        self.sent + self.answered + self.held + self.dropped.iter().sum::<u64>()
    }

    /// Reasons under which frames were dropped, with how many, the most frequent first.
    pub fn reasons(&self) -> Vec<(&'static str, u64)> {
        let mut all: Vec<_> = DropReason::ALL.iter().map(|r| (r.label(), self.dropped[r.index()])).collect();
        all.retain(|(_, n)| *n > 0);
        all.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
        all
    }
}

struct Worker {
    shard: Shard,
    pending: Pending<Buffer>,
    /// What was handed to it.
    ring: Vec<Buffer>,
}

struct Round<'a> {
    maker: Maker,
    chance: Chance,
    family: usize,
    compiler: Compiler,
    snapshot: Arc<Snapshot>,
    workers: Vec<Worker>,
    now_ns: u64,
    pool: &'a mut Vec<Buffer>,
    ends: Ends,
}

/// Runs the round of a seed with up to `frames` frames. `pool` keeps the buffers from round to round.
pub fn round(seed: u64, frames: u64, pool: &mut Vec<Buffer>) -> Ends {
    let mut round = Round::new(seed, pool);
    while round.ends.frames < frames {
        round.burst(frames - round.ends.frames);
        round.turn();
        if round.chance.one_in(600) {
            round.reload();
        }
    }
    round.finish()
}

impl<'a> Round<'a> {
    fn new(seed: u64, pool: &'a mut Vec<Buffer>) -> Self {
        let mut chance = Chance(seed);
        let (family, count) = (chance.below(FAMILIES), 1 + chance.below(4));
        let boot_key = HashKey::from_bytes(seed.to_le_bytes().repeat(2).try_into().unwrap());
        let fact = |mac| PortFacts { mac, host: false, rss: None };
        let mut compiler = Compiler::new(count as u16, vec![fact(WAN), fact(LAN)], HashKey::from_bytes([3; 16]));
        let first = compiler.compile(config(family, 0), &Overrides::default(), None).unwrap();
        // Small tables get full, and large ones hold all there is.
        let (connections_max, neighbors_max) = (chance.pick(&[3, 40, 500, 4000]), chance.pick(&[8, 64, 64]));
        let worker = |index| {
            let sizes = shard_config(config(family, 0), WorkerId(index as u16), boot_key);
            let sizes = ShardConfig { connections_max, backends_max: 64, neighbors_max, ..sizes };
            let mut shard = Shard::new(&sizes).unwrap();
            shard.adopt(&first, None);
            Worker { shard, pending: Pending::default(), ring: Vec::with_capacity(BURST) }
        };
        Self {
            maker: Maker::new(seed ^ 0x5555, family),
            workers: (0..count).map(worker).collect(),
            snapshot: Arc::new(first),
            now_ns: 1_000_000_000 + chance.next() % 100_000_000_000_000,
            chance,
            family,
            compiler,
            pool,
            ends: Ends::default(),
        }
    }

    fn burst(&mut self, most: u64) {
        let len = if self.chance.one_in(4) { 1 + self.chance.below(BURST) } else { BURST };
        let mut burst: Vec<Buffer> = Vec::with_capacity(BURST);
        for _ in 0..len.min(most as usize) {
            let mut buffer = self.pool.pop().unwrap_or_default();
            let how = self.maker.chance.next();
            let (port, frame) = self.maker.make();
            let seen = if how & 15 == 0 { (how >> 8) as usize & 0xff } else { usize::MAX };
            let room = if how >> 4 & 31 == 0 { (how >> 16) as usize & 63 } else { usize::MAX };
            buffer.fill(frame, port, seen, room);
            burst.push(buffer);
        }
        self.ends.frames += burst.len() as u64;
        // The NIC may give a frame to any worker.
        let first = self.chance.below(self.workers.len());
        self.dispatch(first, Origin::Port, burst);
        self.empty_rings();
        let waiting = self.workers.iter().map(|w| w.pending.len() as u64).sum::<u64>();
        assert_eq!(self.ends.sum() + waiting, self.ends.frames, "the verdicts do not add up");
    }

    /// Fragments go on from their home worker to the owner, so one round over the rings may fill others.
    fn empty_rings(&mut self) {
        for rounds in 0.. {
            assert!(rounds < 64, "packets are handed round and round");
            let mut any = false;
            for worker in 0..self.workers.len() {
                while !self.workers[worker].ring.is_empty() {
                    any = true;
                    let ring = &mut self.workers[worker].ring;
                    let handed: Vec<Buffer> = ring.drain(..ring.len().min(BURST)).collect();
                    self.dispatch(worker, Origin::Ring, handed);
                }
            }
            if !any {
                return;
            }
        }
    }

    fn dispatch(&mut self, worker: usize, origin: Origin, mut burst: Vec<Buffer>) {
        // Nobody can own it, so that a place that was left out shows.
        const UNSET: Verdict = Verdict::Handoff(WorkerId(u16::MAX));
        let mut verdicts = [UNSET; BURST];
        let now = Now::from_ns(self.now_ns);
        let shard = &mut self.workers[worker].shard;
        let done = path::process(shard, &self.snapshot, now, origin, Buffer::port, &mut burst, &mut verdicts);
        assert!(done.count == burst.len() && verdicts[done.count..].iter().all(|&v| v == UNSET));
        for (buffer, verdict) in burst.into_iter().zip(verdicts) {
            self.carry_out(worker, buffer, verdict);
        }
    }

    fn carry_out(&mut self, worker: usize, buffer: Buffer, verdict: Verdict) {
        let now = Now::from_ns(self.now_ns);
        match verdict {
            Verdict::Tx(port) => self.sent(buffer, port),
            Verdict::Reply(port) => {
                assert_eq!(port, buffer.port());
                check::ours(buffer.whole());
                self.ends.answered += 1;
                self.pool.push(buffer);
            }
            Verdict::Drop(reason) => self.dropped(buffer, reason),
            Verdict::Fragment(port) => self.sent_in_pieces(buffer, port),
            Verdict::Punt(..) => unreachable!("no port has a host"),
            Verdict::Await(tag) => {
                let w = &mut self.workers[worker];
                let port = buffer.port();
                if let Some(oldest) = w.pending.fragments.hold(&w.shard.counters, tag, port, now, buffer) {
                    self.dropped(oldest, DropReason::FragmentQueueFull);
                }
            }
            Verdict::Hold(slot) => {
                let w = &mut self.workers[worker];
                let port = w.shard.neighbors.port(slot).expect("held for nobody");
                if let Err(buffer) = w.pending.hold(slot, port, buffer) {
                    self.dropped(buffer, DropReason::NeighborQueueFull);
                }
            }
            Verdict::Handoff(owner) => {
                assert!(owner.index() != worker, "{owner:?}");
                self.ends.handed += 1;
                self.workers[owner.index()].ring.push(buffer);
            }
        }
    }

    fn dropped(&mut self, buffer: Buffer, reason: DropReason) {
        self.ends.dropped[reason.index()] += 1;
        self.pool.push(buffer);
    }

    fn sent(&mut self, buffer: Buffer, port: PortId) {
        let out = self.snapshot.port(port).expect("sent by a port that is not there");
        let whole = buffer.whole();
        assert_eq!(whole[6..12], out.mac.0);
        check::forwarded(buffer.came(), whole, out.mtu, &self.snapshot);
        if self.chance.one_in(8) {
            self.maker.note(port.index(), whole);
        }
        self.ends.sent += 1;
        self.pool.push(buffer);
    }

    /// A frame that is too long for its port: right as a whole, and its pieces fit.
    fn sent_in_pieces(&mut self, buffer: Buffer, port: PortId) {
        let out = self.snapshot.port(port).expect("sent by a port that is not there");
        let whole = buffer.whole();
        assert!(is_too_long(whole, whole.len(), out.mtu));
        check::forwarded(buffer.came(), whole, u16::MAX, &self.snapshot);
        let pieces = Pieces::new(whole, out.mtu, 7).expect("sent in pieces, but cannot be cut");
        let len = pieces.map(|piece| {
            assert!(piece.header().len() + piece.data.len() <= usize::from(out.mtu) + 18);
            piece.data.end
        });
        assert_eq!(len.last(), Some(whole.len()));
        self.ends.sent += 1;
        self.pool.push(buffer);
    }

    /// Lets go on what waited for first fragments that have come, and drops what waited for too long.
    fn reunite(&mut self, worker: usize) {
        while let Some(tag) = self.workers[worker].shard.fragments.woken() {
            let Worker { shard, pending, .. } = &mut self.workers[worker];
            let mut burst = Vec::new();
            if !pending.fragments.take(&shard.counters, tag, BURST, |_, buffer| burst.push(buffer)) {
                shard.fragments.is_awake();
            }
            self.dispatch(worker, Origin::Ring, burst);
        }
        let now = Now::from_ns(self.now_ns);
        let Worker { shard, pending, .. } = &mut self.workers[worker];
        let before = pending.fragments.len();
        pending.fragments.expire(&shard.counters, now, drop);
        self.ends.dropped[DropReason::FragmentTimeout.index()] += (before - pending.fragments.len()) as u64;
    }

    /// What a poll loop does between bursts, and time that passes.
    fn turn(&mut self) {
        self.now_ns += match self.chance.below(512) {
            0 => 1_000_000_000 * (1 + self.chance.next() % 90),
            1..64 => 10_000_000,
            _ => 20_000,
        };
        let now = Now::from_ns(self.now_ns);
        for index in 0..self.workers.len() {
            let w = &mut self.workers[index];
            w.shard.tick(&self.snapshot, now);
            w.shard.outbox.drain(..).for_each(|out| check::ours(out.frame.as_bytes()));
            while let Some(learned) = self.workers[index].shard.learned.pop() {
                let others = self.workers.iter_mut().enumerate().filter(|(other, _)| *other != index);
                others.for_each(|(_, other)| other.shard.hear(learned, now));
            }
        }
        (0..self.workers.len()).for_each(|worker| self.reunite(worker));
        self.empty_rings();
        for index in 0..self.workers.len() {
            while let Some((slot, answered)) = self.workers[index].shard.settled.pop() {
                self.settle(index, slot, answered);
            }
        }
    }

    /// A next hop has answered, or has not: what waited for it leaves, or is dropped.
    fn settle(&mut self, worker: usize, slot: tidegate::lb::neighbor::NeighborSlot, answered: bool) {
        let Self { workers, pool, ends, .. } = self;
        let w = &mut workers[worker];
        let mac = if answered { w.shard.neighbors.mac(slot) } else { None };
        w.pending.release(slot, |_, mut buffer| {
            match mac {
                Some(mac) => {
                    path::complete(&mut buffer, mac);
                    ends.sent += 1;
                }
                None => ends.dropped[DropReason::NeighborUnresolved.index()] += 1,
            }
            pool.push(buffer);
        });
    }

    fn reload(&mut self) {
        let next = config(self.family, self.chance.below(VARIANTS));
        let next = self.compiler.compile(next, &Overrides::default(), Some(&self.snapshot)).unwrap();
        self.workers.iter_mut().for_each(|w| w.shard.adopt(&next, Some(&self.snapshot)));
        self.snapshot = Arc::new(next);
        self.turn();
    }

    /// Everything is given back, and what is counted is what is there.
    fn finish(mut self) -> Ends {
        let now = Now::from_ns(self.now_ns);
        for w in &mut self.workers {
            w.shard.sweep_all(&self.snapshot, now);
            connections(&w.shard, &self.snapshot, now);
            self.ends.held += w.pending.len() as u64;
            self.pool.extend(w.pending.drain());
            // After the longest timeout nothing is left.
            let late = Now::from_ns(self.now_ns + 40_000_000_000_000);
            w.shard.sweep_all(&self.snapshot, Now::from_ns(self.now_ns + 20_000_000_000_000));
            w.shard.sweep_all(&self.snapshot, late);
            assert_eq!(w.shard.counters.connections_active.get(), 0, "connections that never end");
        }
        assert_eq!(self.ends.sum(), self.ends.frames, "the verdicts do not add up");
        self.ends
    }
}
