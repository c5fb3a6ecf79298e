//! What has come with which generation, so that a worker that goes over to a later snapshot looks at the new alone.
//!
//! A worker may miss generations between, and must not go through 100,000 backends while packets wait.

use std::sync::Arc;

/// Items with the generation that they came with, the oldest first, complete after some generation.
#[derive(Clone, Debug)]
pub struct Arrivals<T> {
    after: u64,
    items: Arc<[(u64, T)]>,
}

/// Generations that are remembered: those of seconds, even where snapshots come by the hundred.
const GENERATIONS_MAX: u64 = 256;
/// Items that are remembered beyond those of the newest generation.
const ITEMS_MAX: usize = 4096;

impl<T> Default for Arrivals<T> {
    fn default() -> Self {
        Self { after: 0, items: Arc::new([]) }
    }
}

impl<T: Copy> Arrivals<T> {
    /// Of a first snapshot, in which all is new.
    pub fn first(generation: u64, new: impl Iterator<Item = T>) -> Self {
        Self { after: generation.saturating_sub(1), items: new.map(|item| (generation, item)).collect() }
    }

    /// With what comes with the next generation. What is too long ago is forgotten, a whole generation at a time.
    pub fn then(&self, generation: u64, new: &[T]) -> Self {
        if new.is_empty() {
            return self.clone();
        }
        let oldest = self.items.len().saturating_sub(ITEMS_MAX.saturating_sub(new.len()));
        let cut = oldest.checked_sub(1).and_then(|last| self.items.get(last)).map_or(0, |&(of, _)| of);
        let after = self.after.max(cut).max(generation.saturating_sub(GENERATIONS_MAX));
        let kept = self.items.iter().copied().filter(|&(of, _)| of > after);
        Self { after, items: kept.chain(new.iter().map(|&item| (generation, item))).collect() }
    }

    /// What came after a generation, the latest first; `None` if that is too long ago to be known.
    pub fn since(&self, generation: u64) -> Option<impl Iterator<Item = T>> {
        let is_later = move |&&(of, _): &&(u64, T)| of > generation;
        (generation >= self.after).then(|| self.items.iter().rev().take_while(is_later).map(|&(_, item)| item))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn since(arrivals: &Arrivals<u32>, generation: u64) -> Option<Vec<u32>> {
        arrivals.since(generation).map(Iterator::collect)
    }

    #[test]
    fn whoever_missed_generations_hears_of_all_that_came_meanwhile() {
        let arrivals = Arrivals::first(1, [1, 2].into_iter()).then(2, &[]).then(3, &[3]).then(4, &[4, 5]);
        assert_eq!(since(&arrivals, 0), Some(vec![5, 4, 3, 2, 1]));
        assert_eq!(since(&arrivals, 1), Some(vec![5, 4, 3]));
        assert_eq!(since(&arrivals, 2), Some(vec![5, 4, 3]));
        assert_eq!(since(&arrivals, 3), Some(vec![5, 4]));
        assert_eq!(since(&arrivals, 4), Some(vec![]));
    }

    #[test]
    fn what_is_too_long_ago_is_not_known_rather_than_known_in_part() {
        let mut arrivals = Arrivals::first(1, [0].into_iter());
        for generation in 2..=1000 {
            arrivals = arrivals.then(generation, &[generation as u32]);
        }
        assert_eq!((since(&arrivals, 1), since(&arrivals, 743)), (None, None));
        assert_eq!(since(&arrivals, 744).map(|all| all.len()), Some(256));
        let many = vec![7; 3000];
        let crowded = arrivals.then(1001, &many).then(1002, &many);
        assert_eq!(since(&crowded, 1000), None);
        assert_eq!(since(&crowded, 1001), Some(many));
        assert!(crowded.items.len() <= ITEMS_MAX);
    }

    proptest::proptest! {
        #[test]
        fn what_is_known_is_complete(sizes in proptest::collection::vec(0usize..2500, 1..40), from in 0u64..40) {
            let mut all: Vec<(u64, u32)> = vec![(1, 0)];
            let mut arrivals = Arrivals::first(1, [0].into_iter());
            for (generation, &len) in (2..).zip(&sizes) {
                let new: Vec<u32> = (0..len as u32).map(|n| n + 10_000 * generation as u32).collect();
                all.extend(new.iter().map(|&item| (generation, item)));
                arrivals = arrivals.then(generation, &new);
            }
            let expected: Vec<u32> = all.iter().rev().filter(|(of, _)| *of > from).map(|&(_, item)| item).collect();
            let known = since(&arrivals, from);
            proptest::prop_assert!(known.is_none() || known == Some(expected));
            let last = 1 + sizes.len() as u64;
            proptest::prop_assert!(since(&arrivals, last - 1).is_some(), "the newest generation is always known");
        }
    }
}
