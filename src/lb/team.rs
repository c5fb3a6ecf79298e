//! What the workers of one appliance know of each other, and what they share.

use std::sync::Arc;

use super::clients::Clients;
use super::counters::Counters;
use super::hash::HashKey;
use super::ids::BackendId;
use super::response_times::ResponseTimes;
use super::shard::Shard;

/// See the module. Nothing in it is locked: each word has one writer, or is a whole entry by itself. Until [`Team::form`], a
/// worker is a team by itself.
#[derive(Debug)]
pub struct Team {
    workers: Box<[Arc<Counters>]>,
    /// Written by the management thread.
    pub times: ResponseTimes,
    /// Written by all workers.
    pub clients: Clients,
}

impl Default for Team {
    /// Nobody.
    fn default() -> Self {
        Self::new(Vec::new(), Clients::new(0, HashKey::from_bytes([0; 16])))
    }
}

impl Team {
    /// Of the workers with these counters, all of one size.
    pub fn new(workers: Vec<Arc<Counters>>, clients: Clients) -> Self {
        let backends_max = workers.iter().map(|worker| worker.backends().len()).max().unwrap_or(0);
        Self { workers: workers.into(), times: ResponseTimes::new(backends_max), clients }
    }

    /// Makes a team of the workers with these shards, before they start.
    pub fn form<'a>(shards: impl Iterator<Item = &'a mut Shard>) {
        let shards: Vec<_> = shards.collect();
        let Some(clients) = shards.first().map(|shard| shard.team.clients.emptied()) else { return };
        let counters = shards.iter().map(|shard| shard.counters.clone()).collect();
        let team = Arc::new(Self::new(counters, clients));
        shards.into_iter().for_each(|shard| shard.team = team.clone());
    }

    /// The counters of all workers.
    pub fn workers(&self) -> &[Arc<Counters>] {
        &self.workers
    }

    /// Connections that a backend has open, over all workers.
    ///
    /// Each worker's part is read without waiting for it, so what others open at this very moment may be missing.
    #[inline]
    pub fn connections(&self, id: BackendId) -> u64 {
        self.workers.iter().map(|worker| u64::from(worker.connections(id))).sum()
    }
}
