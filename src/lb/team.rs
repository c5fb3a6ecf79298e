//! What the workers of one appliance know of each other.

use std::sync::Arc;

use super::counters::Counters;
use super::ids::BackendId;
use super::shard::Shard;

/// See the module. Until [`Team::form`], a worker is a team by itself.
#[derive(Debug)]
pub struct Team {
    workers: Box<[Arc<Counters>]>,
}

impl Team {
    /// Of the workers with these counters.
    pub fn new(workers: Vec<Arc<Counters>>) -> Self {
        Self { workers: workers.into() }
    }

    /// Makes a team of the workers with these shards.
    pub fn form<'a>(shards: impl Iterator<Item = &'a mut Shard>) {
        let shards: Vec<_> = shards.collect();
        let team = Arc::new(Self::new(shards.iter().map(|shard| shard.counters.clone()).collect()));
        shards.into_iter().for_each(|shard| shard.team = team.clone());
    }

    /// Connections that a backend has open, over all workers.
    ///
    /// Each worker's part is read without waiting for it, so what others open at this very moment may be missing.
    #[inline]
    pub fn connections(&self, id: BackendId) -> u64 {
        self.workers.iter().map(|worker| u64::from(worker.connections(id))).sum()
    }
}
