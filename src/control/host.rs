//! What went to the host's network stack and came from there, over all workers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::lb::handle::WorkerHandle;
use crate::lb::punt::PuntClass;

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Host {
    /// Frames of the host's that left by a port; not part of `tx_packets`.
    pub tx: u64,
    /// Frames of the host's that did not get out: a port did not take them, or there was no packet buffer.
    pub tx_dropped: u64,
    /// By class, `control`, `management`, `neighbor`, `icmp` and `other`; those that never occurred are left out.
    pub classes: BTreeMap<String, HostClass>,
}

/// One class of packets for the host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HostClass {
    /// Handed over.
    pub punts: u64,
    /// Dropped as `punt_limited`.
    pub limited: u64,
}

impl Host {
    /// Adds up all workers' counters.
    pub fn of(workers: &[WorkerHandle]) -> Self {
        let class = |&class: &PuntClass| {
            let punts = workers.iter().map(|w| w.counters.punted(class)).sum();
            let limited = workers.iter().map(|w| w.counters.punt_limited(class).get()).sum();
            (punts + limited > 0).then(|| (class.label().to_owned(), HostClass { punts, limited }))
        };
        Self {
            tx: workers.iter().map(|w| w.counters.host_tx.get()).sum(),
            tx_dropped: workers.iter().map(|w| w.counters.host_tx_dropped.get()).sum(),
            classes: PuntClass::ALL.iter().filter_map(class).collect(),
        }
    }
}
