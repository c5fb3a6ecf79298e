//! The backend with the least load, and a fair choice between those that have the same.

use std::sync::atomic::{AtomicUsize, Ordering};

use crossbeam::utils::CachePadded;

use super::{Asked, Member};

/// A load as a fraction, which is never divided: loads are compared by multiplication across.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// What a backend has to do.
    pub work: u64,
    /// What it can do; not 0.
    pub weight: u64,
}

impl Load {
    fn is_less_than(self, other: Self) -> bool {
        u128::from(self.work) * u128::from(other.weight) < u128::from(other.work) * u128::from(self.weight)
    }
}

/// See the module.
#[derive(Debug)]
pub struct Least {
    /// Who is looked at first, by worker: the one behind the last that was taken, so that those with equal load take turns.
    first: Box<[CachePadded<AtomicUsize>]>,
}

impl Least {
    /// Every worker begins at another place, or about where it was before.
    pub fn new(members: &[Member], workers: u16, previous: Option<&Self>) -> Self {
        let first = |worker: usize| {
            let before = previous.and_then(|previous| previous.first.get(worker));
            let begin = || worker * members.len() / usize::from(workers.max(1));
            before.map_or_else(begin, |first| first.load(Ordering::Relaxed) % members.len().max(1))
        };
        Self {
            first: (0..usize::from(workers)).map(|worker| CachePadded::new(AtomicUsize::new(first(worker)))).collect(),
        }
    }

    /// The backend with the least load of those that take one more connection. `load` is asked for it with the connections
    /// that a backend has open over all workers.
    #[inline]
    pub fn pick(&self, asked: &Asked<'_>, load: impl Fn(&Member, u64) -> Load) -> Option<usize> {
        let first = self.first.get(asked.worker.index()).map_or(0, |first| first.load(Ordering::Relaxed));
        let (behind, ahead) = asked.members.split_at_checked(first).unwrap_or((&[], asked.members));
        let all = ahead.iter().zip(asked.members.len() - ahead.len()..).chain(behind.iter().zip(0..));
        let mut best: Option<(usize, Load)> = None;
        for (member, index) in all.filter(|(member, _)| member.weight > 0) {
            let open = asked.team.connections(member.id);
            if !member.has_room(|| open) {
                continue;
            }
            let load = load(member, open);
            if best.is_none_or(|(_, least)| load.is_less_than(least)) {
                best = Some((index, load));
            }
        }
        best.map(|(index, _)| index)
    }

    /// Begins behind `index` from now on.
    pub fn opened(&self, asked: &Asked<'_>, index: usize) {
        if let Some(first) = self.first.get(asked.worker.index()) {
            first.store(if index + 1 < asked.members.len() { index + 1 } else { 0 }, Ordering::Relaxed);
        }
    }
}
