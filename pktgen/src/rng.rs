//! A small seeded generator of numbers whose sequence never changes.
//!
//! It is our own because a capture must come out the same in every version: the random number crates keep the right to
//! change their sequences and distributions. SplitMix64 (Steele, Lea and Flood, OOPSLA 2014) is even enough for traffic;
//! it keeps no secrets.

/// What a step adds to the state: the golden ratio, as the paper has it.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// The generator.
#[derive(Debug, Clone)]
pub struct Rng {
    state: u64,
}

impl Rng {
    /// The sequence of a seed. Different streams of one seed are unrelated.
    #[must_use]
    pub fn new(seed: u64, stream: u64) -> Self {
        Self { state: hash(seed, stream) }
    }

    /// The next number.
    pub fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(STEP);
        finish(self.state)
    }

    /// A number in `0..limit`, 0 if `limit` is 0.
    pub fn below(&mut self, limit: u64) -> u64 {
        ((u128::from(self.next_u64()) * u128::from(limit)) >> 64) as u64
    }

    /// Puts the items into a random order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last as u64 + 1) as usize);
        }
    }

    /// Overwrites all bytes.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            for (to, from) in chunk.iter_mut().zip(self.next_u64().to_le_bytes()) {
                *to = from;
            }
        }
    }
}

/// A number that depends on a seed and an index alone, so that nothing needs to be remembered.
#[must_use]
pub fn hash(seed: u64, index: u64) -> u64 {
    finish(finish(seed.wrapping_add(STEP)) ^ finish(index.wrapping_mul(STEP).wrapping_add(1)))
}

/// The mixing function of SplitMix64.
fn finish(state: u64) -> u64 {
    let state = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let state = (state ^ state >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    state ^ state >> 31
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn step_is_splitmix64() {
        // The first outputs of the published reference code for seed 1234567.
        let mut rng = Rng { state: 1_234_567 };
        let found = [rng.next_u64(), rng.next_u64(), rng.next_u64()];
        assert_eq!(found, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]);
    }

    #[test]
    fn shuffle_keeps_every_item() {
        let mut items: Vec<u32> = (0..1000).collect();
        Rng::new(1, 2).shuffle(&mut items);
        let in_place = items.iter().enumerate().filter(|(place, item)| *place == **item as usize).count();
        assert!(in_place < 10, "{in_place} items were not moved");
        items.sort_unstable();
        assert!(items.into_iter().eq(0..1000));
    }

    #[test]
    fn below_is_even_and_inside() {
        let mut rng = Rng::new(7, 0);
        let mut counts = [0; 10];
        (0..10_000).for_each(|_| counts[rng.below(10) as usize] += 1);
        assert!(counts.iter().all(|count| (850..1150).contains(count)), "{counts:?}");
        assert_eq!(rng.below(0), 0);
    }

    #[test]
    fn seeds_and_streams_differ() {
        let first = |seed, stream| Rng::new(seed, stream).next_u64();
        let mut firsts = vec![first(0, 0), first(0, 1), first(1, 0), first(1, 1)];
        firsts.dedup();
        assert_eq!(firsts.len(), 4);
    }
}
