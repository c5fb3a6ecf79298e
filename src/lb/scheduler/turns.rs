//! A round of turns that every worker goes through by itself, beginning at another place.

use std::sync::atomic::{AtomicUsize, Ordering};

use crossbeam::utils::CachePadded;

use super::Asked;

/// Turns that are looked at for one that somebody takes; after that any backend will do, so that a long round of backends
/// that take nothing costs no more than each of them once.
const LOOK_MAX: usize = 64;

/// See the module.
#[derive(Debug)]
pub struct Turns {
    /// Indices of members.
    order: Box<[u16]>,
    /// Whose turn it is, by worker: written by that worker alone, and so without a locked instruction.
    places: Box<[CachePadded<AtomicUsize>]>,
}

impl Turns {
    /// A round in this order. Where there was one before, every worker stays about where it was, so that a reload now and
    /// then does not favour those at the beginning.
    pub fn new(order: Vec<u16>, workers: u16, previous: Option<&Self>) -> Self {
        let len = order.len().max(1);
        let place = |worker: usize| {
            let before = previous.and_then(|previous| previous.places.get(worker));
            before.map_or(worker * len / usize::from(workers.max(1)), |place| place.load(Ordering::Relaxed) % len)
        };
        let places =
            (0..usize::from(workers)).map(|worker| CachePadded::new(AtomicUsize::new(place(worker)))).collect();
        Self { order: order.into(), places }
    }

    /// Whose turn it is, passing by those who take nothing.
    pub fn pick(&self, asked: &Asked<'_>) -> Option<usize> {
        self.look(asked).map(|(_, index)| index).or_else(|| if self.order.is_empty() { None } else { asked.any() })
    }

    /// Goes on behind the turn that was taken, if it was a turn that was taken.
    pub fn opened(&self, asked: &Asked<'_>, index: usize) {
        if let Some((place, found)) = self.look(asked)
            && found == index
            && let Some(own) = self.places.get(asked.worker.index())
        {
            own.store(if place + 1 < self.order.len() { place + 1 } else { 0 }, Ordering::Relaxed);
        }
    }

    /// The next turn that somebody takes: its place in the round, and whose it is.
    fn look(&self, asked: &Asked<'_>) -> Option<(usize, usize)> {
        let own = self.places.get(asked.worker.index())?.load(Ordering::Relaxed);
        let places = (own..self.order.len()).chain(0..own.min(self.order.len())).take(LOOK_MAX);
        let mut turns = places.filter_map(|place| Some((place, usize::from(*self.order.get(place)?))));
        turns.find(|&(_, index)| asked.takes(index))
    }
}
