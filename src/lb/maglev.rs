//! Consistent hashing: a lookup table that gives every hash a backend, in proportion to the weights.
//!
//! As in Maglev (Eisenbud et al., NSDI 2016, section 3.4) every backend walks the table's slots in an order of its own,
//! `position, position + skip, position + 2 * skip ...` modulo a prime size. Two things differ, and both keep slots
//! where they are when a backend comes or goes:
//!
//! - A backend's number of slots is fixed beforehand: its exact share by weight, fractions by largest remainder.
//! - The walk is a race by the clock, not by turns. At each tick a backend tries one slot and gets it or not; it does
//!   not search on until it finds a free one. So the moment at which a backend tries a slot does not depend on the
//!   luck of the others, and a removed backend sets off no chain of later finds.
//!
//! `docs/decisions/maglev.md` has the measured figures. The table depends on the key and the set of (identity, weight)
//! alone, in integer arithmetic, so all nodes with the same key agree on it.

mod even;

use super::arch::prefetch;
use super::hash::{HashKey, hash_bytes, reduce};
use thiserror::Error;

/// The usual table size: a prime that holds 100 slots for each of 655 backends.
pub const DEFAULT_SIZE: u32 = 65_537;
/// Largest table size, which keeps the race's clock within 64 bits.
pub const SIZE_MAX: u32 = 1 << 23;
/// Most entries of one table. The next index is reserved.
pub const ENTRIES_MAX: usize = u16::MAX as usize;

/// Ticks in which a backend of weight 1 tries one slot.
const TICKS: u64 = 1 << 40;
/// The index of no entry.
const NONE: u16 = u16::MAX;

/// One backend as the table sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry<'a> {
    /// What tells it from the others on every node alike, such as the bytes of its address and port.
    pub identity: &'a [u8],
    /// Share of the hashes, relative to the sum of all weights. 0: none.
    pub weight: u32,
}

/// Why a table cannot be built.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum MaglevError {
    /// The walk would not reach every slot, or the clock would overflow.
    #[error("maglev table size {0} cannot be used, it must be a prime up to 8388608, such as 65537")]
    Size(u32),
    /// Indices are 16 bits wide.
    #[error("{0} backends are too many for one maglev table, at most 65535 are possible")]
    TooManyEntries(usize),
    /// Two entries could not be told apart on every node alike.
    #[error("maglev entries {0} and {1} have the same identity, each backend may be there once")]
    Duplicate(usize, usize),
}

/// The lookup table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Maglev {
    /// Indices into the entries; empty if no entry has a weight.
    slots: Box<[u16]>,
}

impl Maglev {
    /// Builds the table. Takes time in proportion to `size * ln(size)`, hardly more with more entries.
    ///
    /// Every entry gets its exact share of the `size` slots to within one slot, so shares are even to 1 % where each
    /// has at least 100 slots. An entry with less than a slot's weight may get none.
    ///
    /// # Errors
    /// A `size` that is not prime or above [`SIZE_MAX`], more than [`ENTRIES_MAX`] entries, an identity that occurs twice.
    pub fn build(key: HashKey, entries: &[Entry<'_>], size: u32) -> Result<Self, MaglevError> {
        if size > SIZE_MAX || !is_prime(size) {
            return Err(MaglevError::Size(size));
        }
        if entries.len() > ENTRIES_MAX {
            return Err(MaglevError::TooManyEntries(entries.len()));
        }
        let mut racers = line_up(key, entries, size)?;
        set_quotas(&mut racers, size);
        Ok(Self { slots: race(racers, size) })
    }

    /// The index, in the order of the entries given to [`build`](Self::build), that this hash belongs to. The hash's
    /// high bits decide. `None` if no entry has a weight.
    #[inline]
    #[must_use]
    pub fn lookup(&self, hash: u64) -> Option<u16> {
        self.slots.get(self.slot_of(hash)).copied()
    }

    /// The slot that a hash falls into; 0 if there is none.
    #[inline]
    #[must_use]
    pub fn slot_of(&self, hash: u64) -> usize {
        reduce(hash, self.slots.len())
    }

    /// Fetches what [`lookup`](Self::lookup) of this hash reads.
    #[inline]
    pub fn prefetch(&self, hash: u64) {
        if let Some(slot) = self.slots.get(reduce(hash, self.slots.len())) {
            prefetch(slot);
        }
    }

    /// All slots by position, each an index into the entries.
    #[must_use]
    pub fn slots(&self) -> &[u16] {
        &self.slots
    }
}

/// A backend on its walk through the slots.
struct Racer {
    /// Where it is in the caller's entries.
    index: u16,
    weight: u32,
    /// Slots that it may still take.
    left: u32,
    /// The slot that it tries next, and how far it then goes on.
    position: u32,
    skip: u32,
    /// When it tries next, and in ticks how long it then waits.
    next: u64,
    step: u64,
}

/// The entries with a weight as racers at their start, in an order that depends on the set alone.
fn line_up(key: HashKey, entries: &[Entry<'_>], size: u32) -> Result<Vec<Racer>, MaglevError> {
    let (start_key, skip_key) = (key.derive(b"maglev start"), key.derive(b"maglev skip"));
    let mut ordered: Vec<_> = entries
        .iter()
        .enumerate()
        .map(|(index, entry)| (hash_bytes(start_key, entry.identity), index, entry))
        .collect();
    ordered.sort_unstable_by_key(|&(hash, index, entry)| (hash, entry.identity, index));
    let mut racers = Vec::with_capacity(entries.len());
    let mut last: Option<(usize, &[u8])> = None;
    for (start, index, entry) in ordered {
        match last {
            Some((before, identity)) if identity == entry.identity => {
                return Err(MaglevError::Duplicate(before, index));
            }
            _ => last = Some((index, entry.identity)),
        }
        if entry.weight == 0 {
            continue;
        }
        let skip = reduce(hash_bytes(skip_key, entry.identity), size as usize - 1) as u32 + 1;
        let step = TICKS / u64::from(entry.weight);
        let position = reduce(start, size as usize) as u32;
        racers.push(Racer { index: index as u16, weight: entry.weight, left: 0, position, skip, next: step, step });
    }
    Ok(racers)
}

/// Shares `size` slots out by weight: whole numbers first, then one each by largest remainder.
fn set_quotas(racers: &mut [Racer], size: u32) {
    let weights: u64 = racers.iter().map(|racer| u64::from(racer.weight)).sum();
    let mut left = size;
    let mut remainders = Vec::with_capacity(racers.len());
    for (place, racer) in racers.iter_mut().enumerate() {
        let share = u64::from(size) * u64::from(racer.weight);
        racer.left = (share / weights) as u32;
        left -= racer.left;
        remainders.push((std::cmp::Reverse(share % weights), place));
    }
    remainders.sort_unstable();
    for (_, place) in remainders.into_iter().take(left as usize) {
        if let Some(racer) = racers.get_mut(place) {
            racer.left += 1;
        }
    }
}

/// Lets all racers walk until every slot is taken.
///
/// It ends: the quotas sum up to `size`, so as long as a racer may take a slot there is a free one, and within `size`
/// steps it comes by all of them.
fn race(mut racers: Vec<Racer>, size: u32) -> Box<[u16]> {
    racers.retain(|racer| racer.left > 0);
    if racers.is_empty() {
        return Box::default();
    }
    if racers.windows(2).all(|pair| matches!(pair, [a, b] if a.weight == b.weight)) {
        return even::race(racers, size);
    }
    race_by_clock(racers, size)
}

/// The race whatever the weights are.
fn race_by_clock(mut racers: Vec<Racer>, size: u32) -> Box<[u16]> {
    let mut slots = vec![NONE; size as usize].into_boxed_slice();
    // Most tries meet a taken slot. A bit each keeps that question in the L1 cache.
    let mut taken = vec![0_u64; size.div_ceil(64) as usize];
    let mut horizon = 0;
    while !racers.is_empty() {
        // One try each on average, however the weights are spread, and exactly one if they are equal.
        let weights: u64 = racers.iter().map(|racer| u64::from(racer.weight)).sum();
        let lap = (racers.len() as u64 * TICKS / weights).max(1);
        let mut finished = false;
        while !finished {
            horizon += lap;
            for racer in &mut racers {
                finished |= racer.advance(horizon, size, &mut slots, &mut taken);
            }
        }
        racers.retain(|racer| racer.left > 0);
    }
    slots
}

impl Racer {
    /// Makes all tries that are due. True if the racer has all its slots.
    #[inline]
    fn advance(&mut self, horizon: u64, size: u32, slots: &mut [u16], taken: &mut [u64]) -> bool {
        while self.next <= horizon && self.left > 0 {
            let slot = self.position as usize;
            let (word, bit) = (slot / 64, 1 << (slot % 64));
            if let Some(word) = taken.get_mut(word)
                && *word & bit == 0
            {
                *word |= bit;
                self.left -= 1;
                if let Some(owner) = slots.get_mut(slot) {
                    *owner = self.index;
                }
            }
            self.next += self.step;
            self.position += self.skip;
            if self.position >= size {
                self.position -= size;
            }
        }
        self.left == 0
    }
}

/// Trial division: the size is at most [`SIZE_MAX`].
fn is_prime(number: u32) -> bool {
    number >= 2
        && (2..).take_while(|divisor| divisor * divisor <= number).all(|divisor| !number.is_multiple_of(divisor))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lb::hash::tuple4;
    use proptest::prelude::*;

    const M: u32 = DEFAULT_SIZE;

    fn key(number: u8) -> HashKey {
        HashKey::from_bytes([number; 16])
    }

    /// Backends by number, with their weights.
    type Set = Vec<(u32, u32)>;

    fn even(backends: u32) -> Set {
        (0..backends).map(|number| (number, 100)).collect()
    }

    /// The table's slots as backend numbers, whatever the order of the set.
    fn owners(key: HashKey, set: &Set, size: u32) -> Vec<u32> {
        let identities: Vec<[u8; 6]> = set.iter().map(|&(number, _)| identity(number)).collect();
        let entries: Vec<Entry<'_>> =
            set.iter().zip(&identities).map(|(&(_, weight), identity)| Entry { identity, weight }).collect();
        let table = Maglev::build(key, &entries, size).unwrap();
        table.slots().iter().map(|&index| set[usize::from(index)].0).collect()
    }

    /// Address 10.1.x.y and port 80.
    fn identity(number: u32) -> [u8; 6] {
        [10, 1, (number >> 8) as u8, number as u8, 0, 80]
    }

    /// Slots by backend number.
    fn shares(owners: &[u32], backends: usize) -> Vec<u32> {
        let mut shares = vec![0; backends];
        owners.iter().for_each(|&owner| shares[owner as usize] += 1);
        shares
    }

    /// Share of the table, in percent, that moved between backends which are in both sets.
    fn moved_percent(before: &[u32], after: &[u32], gone: &[u32]) -> f64 {
        let moved = before.iter().zip(after).filter(|(old, new)| old != new && !gone.contains(old)).count();
        100.0 * moved as f64 / before.len() as f64
    }

    fn without(set: &Set, gone: &[u32]) -> Set {
        set.iter().copied().filter(|(number, _)| !gone.contains(number)).collect()
    }

    #[test]
    fn even_weights_get_even_shares() {
        for (backends, size) in [(1, M), (3, M), (7, 709), (100, M), (100, 10_007), (655, M), (1000, M)] {
            let shares = shares(&owners(key(1), &even(backends), size), backends as usize);
            let average = f64::from(size) / f64::from(backends);
            for share in shares {
                assert!(
                    (f64::from(share) / average - 1.0).abs() < 0.01,
                    "{share} of {average} with {backends} in {size}"
                );
            }
        }
    }

    #[test]
    fn removing_one_of_a_hundred_moves_little() {
        let set = even(100);
        for key in (0..3).map(key) {
            let before = owners(key, &set, M);
            for gone in (0..100).step_by(11) {
                let moved = moved_percent(&before, &owners(key, &without(&set, &[gone]), M), &[gone]);
                assert!(moved <= 0.55, "{moved} % moved without {gone}");
            }
        }
    }

    #[test]
    fn removing_ten_of_a_hundred_moves_little() {
        let set = even(100);
        for key in (0..3).map(key) {
            let before = owners(key, &set, M);
            for first in [0, 3, 7] {
                let gone: Vec<u32> = (first..100).step_by(10).take(10).collect();
                let moved = moved_percent(&before, &owners(key, &without(&set, &gone), M), &gone);
                assert!(moved <= 0.95, "{moved} % moved without {gone:?}");
            }
        }
    }

    #[test]
    fn removing_a_weighted_backend_moves_little() {
        let set: Set = (0..100).map(|number| (number, 1 + number % 10)).collect();
        let before = owners(key(4), &set, M);
        for gone in [9, 10, 55, 99] {
            let moved = moved_percent(&before, &owners(key(4), &without(&set, &[gone]), M), &[gone]);
            assert!(moved <= 0.70, "{moved} % moved without {gone}");
        }
    }

    #[test]
    fn a_backend_of_weight_zero_is_as_good_as_absent() {
        let mut set = even(20);
        set[7].1 = 0;
        assert_eq!(owners(key(1), &set, 10_007), owners(key(1), &without(&set, &[7]), 10_007));
    }

    #[test]
    fn without_any_weight_there_is_no_backend() {
        let zero = Entry { identity: b"a", weight: 0 };
        for entries in [&[][..], &[zero]] {
            let table = Maglev::build(key(1), entries, 7).unwrap();
            assert_eq!([0, 1 << 63, u64::MAX].map(|hash| table.lookup(hash)), [None; 3]);
        }
    }

    #[test]
    fn lookup_covers_all_slots_evenly() {
        let identities: Vec<[u8; 1]> = (0..7).map(|number| [number]).collect();
        let entries: Vec<Entry<'_>> = identities.iter().map(|identity| Entry { identity, weight: 1 }).collect();
        let table = Maglev::build(key(1), &entries, 7).unwrap();
        let found: Vec<u16> = (0..7).map(|i| table.lookup(u64::MAX / 7 * i + 7).unwrap()).collect();
        assert_eq!(found, table.slots());
        assert_eq!(table.lookup(u64::MAX), table.slots().last().copied());
    }

    #[test]
    fn ports_chosen_under_another_key_hit_nobody() {
        // An attacker who knows the backends and the code, but not the key, collects the client ports and addresses
        // that all belong to one backend under a key of his own.
        let (own, secret) = (key(1), key(2));
        let (own_table, secret_table) = (owners(own, &even(10), M), owners(secret, &even(10), M));
        let slot = |key: HashKey, i: u32| {
            let hash =
                tuple4(key.derive(b"tuple"), 0xc612_0000 + (i >> 14), 0xc000_020a, 1024 + (i & 0x3fff) as u16, 80, 6);
            reduce(hash, M as usize)
        };
        let chosen: Vec<u32> = (0..200_000).filter(|&i| own_table[slot(own, i)] == 3).collect();
        let hits: Vec<u32> = chosen.iter().map(|&i| secret_table[slot(secret, i)]).collect();
        let worst = shares(&hits, 10).into_iter().max().unwrap();
        assert!(f64::from(worst) < 1.2 * hits.len() as f64 / 10.0, "{worst} of {}", hits.len());
    }

    #[test]
    fn small_tables_are_filled() {
        for size in [2, 3, 5, 7, 11] {
            assert_eq!(owners(key(1), &even(1), size), vec![0; size as usize]);
            assert_eq!(shares(&owners(key(1), &even(size), size), size as usize), vec![1; size as usize]);
        }
    }

    #[test]
    fn keys_give_unrelated_tables() {
        let (a, b) = (owners(key(1), &even(10), M), owners(key(2), &even(10), M));
        let equal = a.iter().zip(&b).filter(|(a, b)| a == b).count();
        assert!((0.09..0.11).contains(&(equal as f64 / f64::from(M))), "{equal} slots are equal");
    }

    #[test]
    fn tables_never_change_between_versions() {
        let uneven: Set = (0..50).map(|number| (number, 1 + number * number)).collect();
        let found = [owners(key(9), &even(10), M), owners(key(9), &uneven, M), owners(key(9), &even(1000), 10_007)]
            .map(|owners| {
                let bytes: Vec<u8> = owners.iter().flat_map(|owner| owner.to_le_bytes()).collect();
                hash_bytes(key(0), &bytes)
            });
        assert_eq!(found, [0x0cca_5364_51d4_493a, 0xb4af_8163_c957_37ce, 0x35e0_0688_46b9_31d1], "{found:#x?}");
    }

    #[test]
    fn impossible_input_is_refused() {
        let entry = |identity| Entry { identity, weight: 1 };
        for size in [0, 1, 4, 65_536, 66_049, SIZE_MAX + 9] {
            assert_eq!(Maglev::build(key(1), &[entry(b"a")], size), Err(MaglevError::Size(size)));
        }
        let twice = [entry(b"a"), entry(b"b"), Entry { identity: b"a", weight: 0 }];
        assert_eq!(Maglev::build(key(1), &twice, 7), Err(MaglevError::Duplicate(0, 2)));
        let many = vec![entry(b"a"); ENTRIES_MAX + 1];
        assert_eq!(Maglev::build(key(1), &many, 7), Err(MaglevError::TooManyEntries(65_536)));
    }

    #[test]
    fn extreme_weights_and_numbers_of_backends_are_served() {
        let set: Set = vec![(0, u32::MAX), (1, 1), (2, u32::MAX), (3, u32::MAX / 2)];
        let found = shares(&owners(key(1), &set, 10_007), 4);
        assert_eq!(found.iter().sum::<u32>(), 10_007);
        assert_eq!((found[1], found[3]), (0, 2001));
        // More backends than slots: nobody gets two.
        assert_eq!(shares(&owners(key(1), &even(3000), 1009), 3000).into_iter().max(), Some(1));
        let heaviest_first: Set = (0..300).map(|number| (number, if number == 0 { 1_000_000 } else { 1 })).collect();
        assert_eq!(shares(&owners(key(1), &heaviest_first, 10_007), 300)[0], 10_004);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn order_and_history_do_not_matter(
            set in prop::collection::btree_map(0_u32..2000, 0_u32..1000, 1..60).prop_map(|set| set.into_iter().collect::<Set>()),
            shuffled_by: u64, key: [u8; 16],
        ) {
            let key = HashKey::from_bytes(key);
            let mut shuffled = set.clone();
            shuffled.sort_by_key(|&(number, _)| hash_bytes(key, &(u64::from(number) ^ shuffled_by).to_le_bytes()));
            prop_assert_eq!(owners(key, &set, 4099), owners(key, &shuffled, 4099));
        }

        #[test]
        fn shares_are_exact_to_within_one_slot(weights in prop::collection::vec(0_u32..100_000, 1..200), key: [u8; 16]) {
            let set: Set = (0..).zip(weights.iter().copied()).collect();
            let total: u64 = weights.iter().copied().map(u64::from).sum();
            prop_assume!(total > 0);
            let shares = shares(&owners(HashKey::from_bytes(key), &set, 4099), weights.len());
            for (share, weight) in shares.into_iter().zip(weights) {
                let exact = f64::from(weight) * 4099.0 / total as f64;
                prop_assert!((f64::from(share) - exact).abs() < 1.0, "{} slots for {}", share, exact);
            }
        }
    }
}
