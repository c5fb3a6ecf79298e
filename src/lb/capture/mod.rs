//! Copies of packets for whoever looks on: as they came, as they leave, and what was decided.
//!
//! A worker with an [`Eye`] looks at each burst before and after the packet path. Copies go into slots that were made
//! beforehand and are passed around by two queues, so nothing is allocated and nobody waits: without a free slot a copy
//! is lost, and counted.

mod eye;
pub mod filter;
mod glance;
mod needs;
#[cfg(test)]
mod tests;
pub mod view;
mod written;

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use crossbeam::queue::ArrayQueue;

pub use eye::Eye;
use filter::Filter;
pub(in crate::lb) use glance::{Glance, Lanes, Word};
use written::Rewritten;

use super::clock::Now;
use super::ids::{PortId, WorkerId};
use super::packet::Packet;
use super::snapshot::Snapshot;
use super::verdict::{DropReason, Verdict};

/// A frame at one time, or its beginning.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frame {
    /// Length of the whole frame in bytes.
    pub frame_len: usize,
    copied: usize,
    room: Box<[u8]>,
}

impl Frame {
    fn with_room(bytes: usize) -> Self {
        Self { frame_len: 0, copied: 0, room: vec![0; bytes].into() }
    }

    /// What was copied of it.
    pub fn bytes(&self) -> &[u8] {
        self.room.get(..self.copied).unwrap_or_default()
    }

    fn copy(&mut self, packet: &impl Packet) {
        self.frame_len = packet.frame_len();
        self.copied = packet.copy_out(&mut self.room);
    }

    fn copy_bytes(&mut self, bytes: &[u8], frame_len: usize) {
        self.frame_len = frame_len;
        self.copied = bytes.len().min(self.room.len());
        for (to, from) in self.room.iter_mut().zip(bytes) {
            *to = *from;
        }
    }
}

/// A packet, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shot {
    /// When the turn began that it was taken in.
    pub at: Now,
    /// The port that it came in by.
    pub came_by: PortId,
    /// Who decided.
    pub worker: WorkerId,
    /// What was decided.
    pub verdict: Verdict,
    /// As it came.
    pub before: Frame,
    /// As it leaves; as long as nothing if it does not.
    pub after: Frame,
}

impl Shot {
    fn with_room(bytes: usize) -> Self {
        let (at, came_by, worker) = (Now::default(), PortId::default(), WorkerId(0));
        let verdict = Verdict::Drop(DropReason::Runt);
        Self { at, came_by, worker, verdict, before: Frame::with_room(bytes), after: Frame::with_room(bytes) }
    }
}

/// What the workers and whoever looks on have in common.
#[derive(Debug)]
pub struct Tap {
    /// Which packets are shown.
    pub filter: Filter,
    /// Only what comes in or leaves by this port.
    pub port: Option<PortId>,
    /// Taken shots, for whoever looks on, who gives them back with [`give_back`](Tap::give_back).
    taken: ArrayQueue<Box<Shot>>,
    free: ArrayQueue<Box<Shot>>,
    rewritten: Rewritten,
    /// Shots that may still be taken before the next [`allow`](Tap::allow).
    allowed: AtomicI64,
    lost: AtomicU64,
    limited: AtomicU64,
}

impl Tap {
    /// With `slots` slots for shots of frames of up to `frame_bytes` bytes.
    pub fn new(filter: Filter, port: Option<PortId>, slots: usize, frame_bytes: usize) -> Self {
        let slots = slots.max(1);
        let tap = Self {
            filter,
            port,
            taken: ArrayQueue::new(slots),
            free: ArrayQueue::new(slots),
            rewritten: Rewritten::default(),
            allowed: AtomicI64::new(0),
            lost: AtomicU64::new(0),
            limited: AtomicU64::new(0),
        };
        for _ in 0..slots {
            _ = tap.free.push(Box::new(Shot::with_room(frame_bytes)));
        }
        tap
    }

    /// Looks what a snapshot makes of packets, so that workers which have it need not look at all of them twice. They do
    /// so until this is called with the same one.
    pub fn adopt(&self, snapshot: &Snapshot) {
        self.rewritten.adopt(snapshot, self.filter.glance());
    }

    /// Allows `count` more shots, but never more than `at_once` before the next call.
    pub fn allow(&self, count: u64, at_once: u64) {
        let (count, most) = (count as i64, at_once as i64);
        // Below zero stands what was refused at the same time, which is nobody's debt.
        let next = self.allowed.load(Ordering::Relaxed).max(0).saturating_add(count).min(most);
        self.allowed.store(next, Ordering::Relaxed);
    }

    /// The next shot.
    pub fn next_shot(&self) -> Option<Box<Shot>> {
        self.taken.pop()
    }

    /// Gives a slot back.
    pub fn give_back(&self, shot: Box<Shot>) {
        // It came from there, so there is room.
        _ = self.free.push(shot);
    }

    /// Matching packets that found no free slot.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Matching packets beyond what was allowed.
    pub fn limited(&self) -> u64 {
        self.limited.load(Ordering::Relaxed)
    }

    /// A free slot.
    fn slot(&self) -> Option<Box<Shot>> {
        self.free.pop()
    }

    /// Counts a matching packet that has no slot.
    fn lose(&self) {
        self.lost.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether one more may be shown; counts it if not.
    fn is_allowed(&self) -> bool {
        // A look first, so that a flood does not count down to the end of the number.
        let allowed = self.allowed.load(Ordering::Relaxed) > 0 && self.allowed.fetch_sub(1, Ordering::Relaxed) > 0;
        if !allowed {
            self.limited.fetch_add(1, Ordering::Relaxed);
        }
        allowed
    }

    fn show(&self, shot: Box<Shot>) {
        // As many fit as there are slots.
        _ = self.taken.push(shot);
    }
}
