//! Who is connected over TCP: at the limit, the newest client gets in and one of those with the most connections goes.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::task::AbortHandle;

use super::attempts::Source;

/// See the module.
#[derive(Debug)]
pub struct Slots {
    max: usize,
    inner: Mutex<Inner>,
    evicted: AtomicU64,
}

#[derive(Debug, Default)]
struct Inner {
    next: u64,
    /// The oldest first.
    taken: BTreeMap<u64, Taken>,
}

#[derive(Debug)]
struct Taken {
    source: Source,
    is_trusted: Arc<AtomicBool>,
    /// `None` until its task runs.
    task: Option<AbortHandle>,
}

/// The place of one connection, given back with it.
#[derive(Debug)]
pub struct Slot {
    slots: Arc<Slots>,
    id: u64,
    /// Set once the client has shown the token: it is not closed for clients that have not.
    pub is_trusted: Arc<AtomicBool>,
}

impl Slots {
    /// None is taken of `max`.
    pub fn new(max: usize) -> Self {
        Self { max, inner: Mutex::default(), evicted: AtomicU64::new(0) }
    }

    /// A place for a new connection; `None` if all are taken by clients with the token.
    pub fn take(self: &Arc<Self>, source: Source) -> Option<Slot> {
        let mut inner = self.inner();
        if inner.taken.len() >= self.max {
            let victim = inner.victim()?;
            if let Some(taken) = inner.taken.remove(&victim) {
                self.evicted.fetch_add(1, Ordering::Relaxed);
                taken.task.inspect(AbortHandle::abort);
            }
        }
        let id = inner.next;
        inner.next += 1;
        let is_trusted = Arc::new(AtomicBool::new(false));
        inner.taken.insert(id, Taken { source, is_trusted: is_trusted.clone(), task: None });
        Some(Slot { slots: self.clone(), id, is_trusted })
    }

    /// The task that serves it, to be ended if it has to go.
    pub fn runs(&self, id: u64, task: AbortHandle) {
        match self.inner().taken.get_mut(&id) {
            Some(taken) => taken.task = Some(task),
            // It has ended, or had to go in the meantime.
            None => task.abort(),
        }
    }

    /// Connections now, and how many had to go for others.
    pub fn counts(&self) -> (u64, u64) {
        (self.inner().taken.len() as u64, self.evicted.load(Ordering::Relaxed))
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slot {
    /// For [`Slots::runs`].
    pub fn id(&self) -> u64 {
        self.id
    }
}

impl Inner {
    /// The oldest connection without the token of the source that has most of those.
    fn victim(&self) -> Option<u64> {
        let open = || self.taken.iter().filter(|(_, taken)| !taken.is_trusted.load(Ordering::Relaxed));
        let mut counts: HashMap<Source, usize> = HashMap::new();
        for (_, taken) in open() {
            *counts.entry(taken.source).or_default() += 1;
        }
        let most = counts.values().max()?;
        open().find(|(_, taken)| counts.get(&taken.source) == Some(most)).map(|(id, _)| *id)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.slots.inner().taken.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(last: u8) -> Source {
        Source::of([192, 0, 2, last].into())
    }

    #[test]
    fn who_has_most_connections_gives_one_up() {
        let slots = Arc::new(Slots::new(4));
        let one = slots.take(source(1)).unwrap();
        let many: Vec<Slot> = (0..3).map(|_| slots.take(source(2)).unwrap()).collect();
        let newest = slots.take(source(3)).unwrap();
        let left = || slots.inner().taken.keys().copied().collect::<Vec<_>>();
        assert_eq!(left(), [one.id, many[1].id, many[2].id, newest.id]);
        assert_eq!(slots.counts(), (4, 1));
        drop(many);
        drop(one);
        assert_eq!(left(), [newest.id]);
    }

    #[test]
    fn who_has_the_token_stays() {
        let slots = Arc::new(Slots::new(2));
        let trusted: Vec<Slot> = (0..2).map(|_| slots.take(source(1)).unwrap()).collect();
        trusted[0].is_trusted.store(true, Ordering::Relaxed);
        let other = slots.take(source(2)).unwrap();
        assert!(!slots.inner().taken.contains_key(&trusted[1].id));
        other.is_trusted.store(true, Ordering::Relaxed);
        assert!(slots.take(source(3)).is_none());
    }

    #[tokio::test]
    async fn the_task_of_who_has_to_go_is_ended() {
        let slots = Arc::new(Slots::new(1));
        let slot = slots.take(source(1)).unwrap();
        let id = slot.id();
        let task = tokio::spawn(async move {
            std::future::pending::<()>().await;
            drop(slot);
        });
        slots.runs(id, task.abort_handle());
        let _newer = slots.take(source(1)).unwrap();
        assert!(task.await.unwrap_err().is_cancelled());
    }
}
