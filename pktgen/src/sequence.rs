//! Which packets came in order, late, or twice, by their numbers within a flow.
//!
//! Reordering is as RFC 4737 section 3.3 defines it: a packet is reordered if its number is less than the next one that
//! was expected, which is one more than the greatest that was seen. A packet is duplicated if its number was seen before
//! (RFC 5560 section 3.4); that is known for as many numbers back as the window of the flow has, and what comes later
//! than that counts as reordered.

/// Bits that all windows take together at least, as memory allows: 128 KiB.
const BITS_WANTED: u64 = 1 << 20;
/// Window of one flow at least and at most, in packets.
const WINDOW: (u64, u64) = (64, 1 << 16);

/// What a packet is among those of its flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The one that was expected, or one after a gap.
    InOrder,
    /// After one with a greater number.
    Reordered,
    /// Seen before.
    Duplicate,
}

/// What was seen of all flows.
#[derive(Clone, Debug)]
pub struct Sequence {
    /// By flow, one more than the greatest number that was seen.
    expected: Vec<u32>,
    /// By flow, whether each number of the window was seen; the bit of a number is its remainder.
    seen: Vec<u64>,
    /// Numbers in a window, a power of two of 64 at least.
    window: u32,
    in_order: u64,
    reordered: u64,
    duplicates: u64,
    distance_max: u32,
}

impl Sequence {
    /// Nothing seen of `flows` flows.
    #[must_use]
    pub fn new(flows: u32) -> Self {
        let (least, most) = WINDOW;
        let window = (BITS_WANTED / u64::from(flows.max(1))).clamp(least, most).next_power_of_two().min(most) as u32;
        let words = flows as usize * (window / 64) as usize;
        Self {
            expected: vec![0; flows as usize],
            seen: vec![0; words],
            window,
            in_order: 0,
            reordered: 0,
            duplicates: 0,
            distance_max: 0,
        }
    }

    /// Takes the packet with number `seq` of a flow; `None` for a flow that there is not.
    #[inline]
    pub fn take(&mut self, flow: u32, seq: u32) -> Option<Fate> {
        let words = (self.window / 64) as usize;
        let expected = self.expected.get_mut(flow as usize)?;
        let seen = self.seen.get_mut(flow as usize * words..)?.get_mut(..words)?;
        // Numbers wrap, so what is less than half of them ahead is ahead.
        let ahead = seq.wrapping_sub(*expected);
        let fate = if ahead < 1 << 31 {
            forget(seen, *expected, ahead, self.window);
            *expected = seq.wrapping_add(1);
            Fate::InOrder
        } else {
            let distance = expected.wrapping_sub(seq);
            if distance <= self.window && is_marked(seen, seq, self.window) {
                Fate::Duplicate
            } else {
                self.distance_max = self.distance_max.max(distance);
                Fate::Reordered
            }
        };
        if expected.wrapping_sub(seq) <= self.window {
            mark(seen, seq, self.window);
        }
        match fate {
            Fate::InOrder => self.in_order += 1,
            Fate::Reordered => self.reordered += 1,
            Fate::Duplicate => self.duplicates += 1,
        }
        Some(fate)
    }

    /// Packets seen, each once.
    #[must_use]
    pub const fn unique(&self) -> u64 {
        self.in_order + self.reordered
    }

    /// Packets that came after one with a greater number.
    #[must_use]
    pub const fn reordered(&self) -> u64 {
        self.reordered
    }

    /// Packets that came again.
    #[must_use]
    pub const fn duplicates(&self) -> u64 {
        self.duplicates
    }

    /// How far behind the expected number the latest packet was, in numbers.
    #[must_use]
    pub const fn distance_max(&self) -> u32 {
        self.distance_max
    }
}

/// Clears the bits of the numbers from `expected` on that were jumped over, and of the one that follows them.
#[inline]
fn forget(seen: &mut [u64], expected: u32, ahead: u32, window: u32) {
    if ahead >= window {
        seen.fill(0);
        return;
    }
    for seq in (0..=ahead).map(|step| expected.wrapping_add(step)) {
        let (word, bit) = place(seq, window);
        if let Some(word) = seen.get_mut(word) {
            *word &= !bit;
        }
    }
}

#[inline]
fn mark(seen: &mut [u64], seq: u32, window: u32) {
    let (word, bit) = place(seq, window);
    if let Some(word) = seen.get_mut(word) {
        *word |= bit;
    }
}

#[inline]
fn is_marked(seen: &[u64], seq: u32, window: u32) -> bool {
    let (word, bit) = place(seq, window);
    seen.get(word).is_some_and(|word| word & bit != 0)
}

#[inline]
fn place(seq: u32, window: u32) -> (usize, u64) {
    let at = seq & (window - 1);
    ((at / 64) as usize, 1 << (at % 64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use Fate::{Duplicate, InOrder, Reordered};
    use proptest::prelude::*;
    use std::collections::HashSet;

    fn fates(seqs: &[u32]) -> Vec<Fate> {
        let mut sequence = Sequence::new(3);
        seqs.iter().map(|&seq| sequence.take(1, seq).unwrap()).collect()
    }

    #[test]
    fn the_examples_of_rfc_4737_come_out() {
        // Section 7.1: packet 4 comes after 6, and then two that were overtaken by more (counted from 0 here).
        assert_eq!(
            fates(&[0, 1, 2, 4, 5, 3, 6, 7]),
            [InOrder, InOrder, InOrder, InOrder, InOrder, Reordered, InOrder, InOrder]
        );
        assert_eq!(
            fates(&[0, 4, 5, 1, 2, 3, 6]),
            [InOrder, InOrder, InOrder, Reordered, Reordered, Reordered, InOrder]
        );
        // A loss is not a reordering.
        assert_eq!(fates(&[0, 2, 3]), [InOrder, InOrder, InOrder]);
    }

    #[test]
    fn duplicates_are_told_from_late_ones() {
        assert_eq!(fates(&[0, 0, 2, 1, 1, 2]), [InOrder, Duplicate, InOrder, Reordered, Duplicate, Duplicate]);
    }

    #[test]
    fn numbers_wrap() {
        let mut sequence = Sequence::new(1);
        sequence.expected[0] = u32::MAX;
        let fates: Vec<_> = [u32::MAX, 1, 0, 0].into_iter().map(|seq| sequence.take(0, seq).unwrap()).collect();
        assert_eq!(fates, [InOrder, InOrder, Reordered, Duplicate]);
    }

    #[test]
    fn flows_are_apart_and_strangers_refused() {
        let mut sequence = Sequence::new(2);
        assert_eq!([(0, 0), (1, 0), (0, 1), (1, 1)].map(|(f, s)| sequence.take(f, s)), [Some(InOrder); 4]);
        assert_eq!((sequence.take(2, 0), sequence.unique()), (None, 4));
    }

    #[test]
    fn memory_is_bounded() {
        assert_eq!((Sequence::new(1).window, Sequence::new(1 << 20).window), (1 << 16, 64));
        assert!(Sequence::new(1000).seen.len() * 8 < 300_000);
    }

    proptest! {
        #[test]
        fn agrees_with_a_set(mut seqs in prop::collection::vec(0_u32..2000, 0..500)) {
            seqs.sort_by_key(|seq| seq / 40);
            let mut sequence = Sequence::new(1);
            let (mut seen, mut next) = (HashSet::new(), 0);
            for &seq in &seqs {
                let expected = match (seen.insert(seq), seq >= next) {
                    (false, _) => Duplicate,
                    (true, true) => InOrder,
                    (true, false) => Reordered,
                };
                next = next.max(seq + 1);
                prop_assert_eq!(sequence.take(0, seq), Some(expected));
            }
            prop_assert_eq!(sequence.unique(), seen.len() as u64);
            prop_assert_eq!(sequence.duplicates(), (seqs.len() - seen.len()) as u64);
        }
    }
}
