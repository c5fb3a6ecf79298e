//! Hands snapshots from control to the workers: control never waits for a worker, nor a worker for control.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::snapshot::Snapshot;

/// The newest snapshot, and the older ones until no worker uses them.
pub struct Published {
    generation: AtomicU64,
    newest: Mutex<Arc<Snapshot>>,
    /// Kept so that the last reference is never a worker's: freeing a snapshot takes longer than a burst.
    retired: Mutex<Vec<Arc<Snapshot>>>,
}

impl Published {
    /// Starts with `first`.
    pub fn new(first: Arc<Snapshot>) -> Self {
        Self {
            generation: AtomicU64::new(first.generation),
            newest: Mutex::new(first),
            retired: Mutex::new(Vec::new()),
        }
    }

    /// The newest snapshot, for control.
    pub fn current(&self) -> Arc<Snapshot> {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Makes `next` the newest. Its generation must be above the present one. Frees what no worker uses any more.
    pub fn publish(&self, next: Arc<Snapshot>) {
        let generation = next.generation;
        let old = std::mem::replace(&mut *self.newest.lock().unwrap_or_else(PoisonError::into_inner), next);
        self.generation.store(generation, Ordering::Release);
        let mut retired = self.retired.lock().unwrap_or_else(PoisonError::into_inner);
        retired.push(old);
        retired.retain(|snapshot| Arc::strong_count(snapshot) > 1);
    }

    /// The newest snapshot if it is not the one of `generation`; one atomic load when it is. `None` also while control
    /// is just publishing: the next burst will get it.
    #[inline]
    pub fn newer_than(&self, generation: u64) -> Option<Arc<Snapshot>> {
        if self.generation.load(Ordering::Acquire) == generation {
            return None;
        }
        self.newest.try_lock().ok().map(|newest| newest.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lb::hash::HashKey;
    use crate::lb::snapshot::SnapshotSpec;

    fn snapshot(generation: u64) -> Arc<Snapshot> {
        let hash_key = HashKey::from_bytes([0; 16]);
        let spec = SnapshotSpec { generation, workers: 1, hash_key, ports: Vec::new(), services: Vec::new() };
        Arc::new(Snapshot::build(spec, None).unwrap())
    }

    #[test]
    fn workers_get_the_newest_and_old_ones_are_freed_by_control() {
        let published = Published::new(snapshot(1));
        assert!(published.newer_than(1).is_none());
        let first = published.current();
        published.publish(snapshot(2));
        assert_eq!(published.newer_than(1).map(|s| s.generation), Some(2));
        let watch = Arc::downgrade(&first);
        drop(first);
        assert!(watch.upgrade().is_some(), "a worker's drop never frees");
        published.publish(snapshot(3));
        assert!(watch.upgrade().is_none());
    }

    #[test]
    fn many_readers_see_generations_only_grow() {
        let published = Arc::new(Published::new(snapshot(1)));
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    let mut seen = 1;
                    while seen < 200 {
                        if let Some(next) = published.newer_than(seen) {
                            assert!(next.generation > seen);
                            seen = next.generation;
                        }
                        std::hint::spin_loop();
                    }
                });
            }
            for generation in 2..=200 {
                published.publish(snapshot(generation));
            }
        });
    }
}
