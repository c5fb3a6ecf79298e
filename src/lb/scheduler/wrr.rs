//! `wrr`: each backend in turn, as often as its weight says, its turns spread evenly over the round.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::turns::Turns;
use super::{Asked, Member, Schedule};

/// Turns in a round at most, but for one more a backend: weights that need more are rounded.
const ROUND_MAX: u64 = 1 << 16;

/// See the module.
#[derive(Debug)]
pub struct Wrr(Turns);

impl Schedule for Wrr {
    fn build(members: &[Member], workers: u16, previous: Option<&Self>) -> Self {
        let weights: Vec<u32> = members.iter().map(|member| member.weight).collect();
        Self(Turns::new(interleave(&turns(&weights)), workers, previous.map(|previous| &previous.0)))
    }

    fn pick(&self, asked: &Asked<'_>) -> Option<usize> {
        self.0.pick(asked)
    }

    fn opened(&self, asked: &Asked<'_>, index: usize) {
        self.0.opened(asked, index);
    }
}

/// How many turns of a round each backend gets: one at least where it has a weight.
fn turns(weights: &[u32]) -> Vec<u64> {
    let divisor = weights.iter().fold(0, |divisor, &weight| gcd(divisor, u64::from(weight))).max(1);
    let reduced: Vec<u64> = weights.iter().map(|&weight| u64::from(weight) / divisor).collect();
    let total: u64 = reduced.iter().sum();
    if total <= ROUND_MAX {
        return reduced;
    }
    let round = |weight: u64| (weight * ROUND_MAX + total / 2) / total;
    reduced.into_iter().map(|weight| if weight == 0 { 0 } else { round(weight).max(1) }).collect()
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// A round in which at every moment each backend has had its exact share to within one turn.
///
/// This is the chairman assignment of Tijdeman (1980): of those whose share is ahead of their turns by `1 / margin`, the one
/// goes first whose next turn is due first.
fn interleave(turns: &[u64]) -> Vec<u16> {
    let round: u64 = turns.iter().sum();
    let margin = (2 * turns.iter().filter(|turns| **turns > 0).count() as u64).saturating_sub(2).max(1);
    let turns_of = |index: u16| turns.get(usize::from(index)).copied().unwrap_or(1);
    // The turn of the round, counted from 1, at which a backend that had `taken` turns may have the next one.
    let opens = |taken: u64, index| (round * (taken * margin + 1)).div_ceil(turns_of(index) * margin);
    let due = |taken: u64, index| {
        (u128::from(round * ((taken + 1) * margin - 1)) << 32) / u128::from(turns_of(index) * margin)
    };
    let with_turns = (0..).zip(turns).filter(|(_, turns)| **turns > 0);
    let mut waiting: BinaryHeap<Reverse<(u64, u16, u64)>> =
        with_turns.map(|(index, _)| Reverse((opens(0, index), index, 0))).collect();
    let mut ready: BinaryHeap<Reverse<(u128, u16, u64)>> = BinaryHeap::new();
    let mut order = Vec::with_capacity(round as usize);
    for now in 1..=round {
        while let Some(&Reverse((opens_at, index, taken))) = waiting.peek()
            && opens_at <= now
        {
            waiting.pop();
            ready.push(Reverse((due(taken, index), index, taken)));
        }
        let Some(Reverse((_, index, taken))) = ready.pop() else { continue };
        order.push(index);
        if taken + 1 < turns_of(index) {
            waiting.push(Reverse((opens(taken + 1, index), index, taken + 1)));
        }
    }
    order
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn counts(order: &[u16], backends: usize) -> Vec<u64> {
        let mut counts = vec![0; backends];
        order.iter().for_each(|&index| counts[usize::from(index)] += 1);
        counts
    }

    #[test]
    fn turns_of_a_heavy_backend_are_spread_over_the_round() {
        let order = |weights: &[u32]| interleave(&turns(weights));
        assert_eq!(order(&[100, 100, 100]), [0, 1, 2]);
        assert_eq!(order(&[200, 100]), [0, 1, 0]);
        assert_eq!(order(&[5, 1, 1]), [0, 0, 1, 0, 0, 2, 0]);
        assert_eq!(order(&[0, 0]), Vec::<u16>::new());
        assert_eq!(order(&[0, 7, 0]), [1]);
        let mut heavy = vec![10];
        heavy.extend([1; 10]);
        assert!(order(&heavy).windows(3).all(|turns| turns.contains(&0)), "about every other turn");
    }

    #[test]
    fn rounds_are_bounded_and_shares_stay_within_a_percent() {
        let weights: Vec<u32> = (0..300).map(|n| 65_535 - 211 * n).collect();
        let turns = turns(&weights);
        let (round, total): (u64, u64) = (turns.iter().sum(), weights.iter().copied().map(u64::from).sum());
        assert!(round <= ROUND_MAX + 300, "{round}");
        assert_eq!(interleave(&turns).len() as u64, round);
        for (&turns, &weight) in turns.iter().zip(&weights).filter(|(turns, _)| **turns >= 50) {
            let off = turns as f64 / round as f64 / (f64::from(weight) / total as f64) - 1.0;
            assert!(off.abs() < 0.011, "weight {weight} is off by {off}");
        }
        assert_eq!(super::turns(&[65_535, 65_534, 1]).last(), Some(&1), "nobody is left out");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn at_every_moment_each_has_had_its_share_to_within_one_turn(weights in prop::collection::vec(0u32..40, 1..30)) {
            let turns = turns(&weights);
            let order = interleave(&turns);
            let round: u64 = turns.iter().sum();
            prop_assume!(round > 0);
            prop_assert_eq!(counts(&order, turns.len()), turns.clone());
            for end in 0..=order.len() {
                for (had, &turns) in counts(&order[..end], turns.len()).into_iter().zip(&turns) {
                    let off = had as f64 - end as f64 * turns as f64 / round as f64;
                    prop_assert!(off.abs() < 1.0, "{} of {} after {} turns", had, turns, end);
                }
            }
        }
    }
}
