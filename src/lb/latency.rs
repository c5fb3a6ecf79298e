//! A histogram with one writer and any number of readers, for the time that packets spend in the balancer.

use super::counters::Counter;

/// Sub-buckets of each power of two: values are kept to about 6 %.
const SUB: usize = 16;
const SUB_BITS: u32 = SUB.trailing_zeros();
/// Values up to 2^40 ns (18 minutes) are told apart.
const BUCKETS: usize = (40 - SUB_BITS as usize + 1) * SUB;

/// Counts of values by size, log-linear.
#[derive(Debug)]
pub struct Latency {
    counts: Box<[Counter]>,
}

impl Default for Latency {
    fn default() -> Self {
        Self { counts: (0..BUCKETS).map(|_| Counter::default()).collect() }
    }
}

impl Latency {
    /// Counts `packets` packets that took `ns` nanoseconds; only the owning worker may call this.
    #[inline]
    pub fn record(&self, ns: u64, packets: u64) {
        if let Some(count) = self.counts.get(Self::bucket(ns).min(BUCKETS - 1)) {
            count.add(packets);
        }
    }

    /// Highest value of each bucket in nanoseconds, and its count, where there are any.
    pub fn counts(&self) -> impl Iterator<Item = (u64, u64)> {
        self.counts.iter().enumerate().map(|(i, c)| (Self::highest(i), c.get())).filter(|&(_, n)| n > 0)
    }

    fn bucket(ns: u64) -> usize {
        if ns < SUB as u64 {
            return ns as usize;
        }
        let shift = 63 - ns.leading_zeros() - SUB_BITS;
        (shift as usize + 1) * SUB + (ns >> shift) as usize - SUB
    }

    fn highest(bucket: usize) -> u64 {
        if bucket < SUB {
            return bucket as u64;
        }
        let shift = bucket / SUB - 1;
        (((bucket % SUB + SUB + 1) as u64) << shift) - 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_falls_into_a_bucket_that_holds_it_within_7_percent() {
        for ns in (0..5000).chain((1..40).flat_map(|b| [(1 << b) - 1, 1 << b, (1 << b) + 1])) {
            let bucket = Latency::bucket(ns);
            let highest = Latency::highest(bucket);
            assert!(highest >= ns && (highest - ns) as f64 <= 0.07 * ns as f64, "{ns} in {bucket} up to {highest}");
            assert_eq!(Latency::bucket(highest), bucket);
            assert_eq!(Latency::bucket(highest + 1), bucket + 1);
        }
    }

    #[test]
    fn counts_packets() {
        let latency = Latency::default();
        latency.record(5, 32);
        latency.record(5, 1);
        latency.record(u64::MAX, 2);
        assert_eq!(latency.counts().map(|(_, n)| n).sum::<u64>(), 35);
        assert_eq!(latency.counts().next(), Some((5, 33)));
    }
}
