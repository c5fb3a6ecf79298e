//! The race of backends of one weight, which is what most services have: no clock, and its end in one reckoning.
//!
//! Each lap every backend tries one slot. More than a third of all tries are for the last 128 free slots, which nearly all of
//! them miss; for these it is worked out which backend comes by which slot first. The table is the same.

use super::{NONE, Racer};

/// Free slots from which on the end is worked out.
const LAST: usize = 128;

/// See the module. All racers have a slot left to take, and one weight.
pub(super) fn race(mut racers: Vec<Racer>, size: u32) -> Box<[u16]> {
    let mut slots = vec![NONE; size as usize].into_boxed_slice();
    // Most tries meet a taken slot. A bit each keeps that question in the L1 cache.
    let mut taken = vec![0_u64; size.div_ceil(64) as usize];
    let mut free = slots.len();
    while free > LAST {
        let before = free;
        for racer in &mut racers {
            free -= usize::from(racer.try_one(size, &mut slots, &mut taken));
        }
        if free < before {
            racers.retain(|racer| racer.left > 0);
        }
    }
    finish(racers, size, &mut slots);
    slots
}

impl Racer {
    /// Tries the next slot; true if it was free.
    #[inline]
    fn try_one(&mut self, size: u32, slots: &mut [u16], taken: &mut [u64]) -> bool {
        let slot = self.position as usize;
        let (word, bit) = (slot / 64, 1 << (slot % 64));
        self.position += self.skip;
        if self.position >= size {
            self.position -= size;
        }
        let Some(word) = taken.get_mut(word).filter(|word| **word & bit == 0) else { return false };
        *word |= bit;
        self.left -= 1;
        if let Some(owner) = slots.get_mut(slot) {
            *owner = self.index;
        }
        true
    }
}

/// Gives the last slots to those that would come by them first, were they to walk on.
fn finish(mut racers: Vec<Racer>, size: u32, slots: &mut [u16]) {
    racers.retain(|racer| racer.left > 0);
    let mut free: Vec<u32> = (0..size).filter(|&slot| slots.get(slot as usize) == Some(&NONE)).collect();
    // By racer: in which lap it comes by each of the free slots, in their order.
    let mut laps: Vec<Vec<u32>> = racers.iter().map(|racer| racer.laps_to(&free, size)).collect();
    let soonest = |laps: &Vec<u32>| laps.iter().copied().zip(0..).min();
    let mut next: Vec<Option<(u32, usize)>> = laps.iter().map(soonest).collect();
    // In one lap, the racers try in their order.
    while let Some(((_, place), racer)) = next
        .iter()
        .zip(0..)
        .filter_map(|(next, racer)| Some(((*next)?, racer)))
        .min_by_key(|&((lap, _), racer)| (lap, racer))
    {
        let (Some(winner), true) = (racers.get_mut(racer), place < free.len()) else { return };
        if let Some(owner) = slots.get_mut(free.swap_remove(place) as usize) {
            *owner = winner.index;
        }
        winner.left -= 1;
        let is_done = winner.left == 0;
        let last = free.len();
        for (at, (laps, next)) in laps.iter_mut().zip(&mut next).enumerate() {
            laps.swap_remove(place);
            *next = match *next {
                None => None,
                _ if at == racer && is_done => None,
                // Whoever was on the way to this slot goes on to another.
                Some((_, on_way)) if on_way == place => soonest(laps),
                // The last of the list has moved to the gap.
                Some((lap, on_way)) if on_way == last => Some((lap, place)),
                other => other,
            };
        }
    }
}

impl Racer {
    /// After how many further tries it comes by each of `slots`; 0 for the very next.
    fn laps_to(&self, slots: &[u32], size: u32) -> Vec<u32> {
        let size = u64::from(size);
        let back = inverse(self.skip, size as u32);
        let away = |slot: u64| (slot + size - u64::from(self.position)) % size;
        slots.iter().map(|&slot| (away(slot.into()) * u64::from(back) % size) as u32).collect()
    }
}

/// What `number` has to be multiplied by to give 1 modulo a prime, which it is smaller than; by Euclid's algorithm.
fn inverse(number: u32, prime: u32) -> u32 {
    let (mut a, mut b) = (i64::from(prime), i64::from(number));
    let (mut x, mut y) = (0_i64, 1_i64);
    while b > 1 {
        let quotient = a / b;
        (a, b) = (b, a - quotient * b);
        (x, y) = (y, x - quotient * y);
    }
    y.rem_euclid(prime.into()) as u32
}

#[cfg(test)]
mod tests {
    use super::super::{Entry, line_up, race_by_clock, set_quotas};
    use super::*;
    use crate::lb::hash::HashKey;
    use proptest::prelude::*;

    fn racers(key: u8, backends: u32, size: u32) -> Vec<Racer> {
        let names: Vec<[u8; 4]> = (0..backends).map(u32::to_be_bytes).collect();
        let entries: Vec<_> = names.iter().map(|identity| Entry { identity, weight: 100 }).collect();
        let mut racers = line_up(HashKey::from_bytes([key; 16]), &entries, size).unwrap();
        set_quotas(&mut racers, size);
        racers.retain(|racer| racer.left > 0);
        racers
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]
        #[test]
        fn the_table_is_the_same_as_by_the_clock(
            key: u8,
            backends in prop_oneof![1u32..12, 12u32..700],
            size in prop::sample::select(vec![2u32, 3, 7, 127, 131, 251, 709, 4099, 65_537]),
        ) {
            let by_clock = race_by_clock(racers(key, backends, size), size);
            prop_assert!(race(racers(key, backends, size), size) == by_clock);
            prop_assert!(!by_clock.contains(&NONE));
        }

        #[test]
        fn inverses_undo(prime in prop::sample::select(vec![3u32, 7, 251, 65_537, 8_388_593]), number: u32) {
            let number = 1 + number % (prime - 1);
            prop_assert_eq!(u64::from(number) * u64::from(inverse(number, prime)) % u64::from(prime), 1);
        }
    }
}
