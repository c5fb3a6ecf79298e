//! What the management side holds of a worker: counters to read, and questions that only the worker can answer.

use std::sync::Arc;

use crossbeam::channel::Sender;
use crossbeam::queue::ArrayQueue;

use super::capture::Eye;
use super::clock::Now;
use super::counters::Counters;
use super::excerpt::{Excerpt, Question};
use super::ids::WorkerId;
use super::latency::Latency;
use super::memory::Footprint;
use super::neighbor::NeighborRow;
use super::shard::ConnectionRow;
use super::team::Team;

/// A question to a worker, answered between two bursts. An answer that nobody waits for is dropped.
pub enum Request {
    /// Connections of `buckets` table buckets from `from` on; the answer's second part is where to go on.
    Connections {
        /// First bucket.
        from: usize,
        /// How many buckets; the worker looks at 4,096 at most.
        buckets: usize,
        /// Where the answer goes.
        reply: Sender<(Vec<ConnectionRow>, Option<usize>)>,
    },
    /// What the worker knows that bears on a packet.
    Excerpt {
        /// What may do so.
        question: Arc<Question>,
        /// Where the answer goes.
        reply: Sender<Box<Excerpt>>,
    },
    /// Somebody wants to look at packets, or no more.
    Capture {
        /// What to look with from now on.
        eye: Option<Box<Eye>>,
        /// Where what it looked with until now goes, and the time by its clock.
        reply: Sender<(Option<Box<Eye>>, Now)>,
    },
    /// The worker's neighbours.
    Neighbors {
        /// Where the answer goes.
        reply: Sender<Vec<NeighborRow>>,
    },
}

/// See the module.
#[derive(Clone)]
pub struct WorkerHandle {
    /// Which worker.
    pub id: WorkerId,
    /// The CPU that it is pinned to, if it runs on one.
    pub cpu: Option<u32>,
    /// Its counters.
    pub counters: Arc<Counters>,
    /// What it knows of the other workers, and they of it.
    pub team: Arc<Team>,
    /// Nanoseconds from the receive burst to the transmit burst, sampled.
    pub latency: Arc<Latency>,
    /// Connections it may track.
    pub connections_max: u64,
    /// Memory of its connection tables in bytes.
    pub table_bytes: u64,
    /// What backs it; `None` where that is no part of the result, as in a replay.
    pub table_memory: Option<Footprint>,
    /// Its inbox; full means that it is not running.
    pub requests: Arc<ArrayQueue<Request>>,
}

/// Questions that may wait at a worker.
pub const REQUESTS_MAX: usize = 64;
