//! Histograms with one writer and any number of readers, for the time that packets spend in the balancer.

use super::counters::Counter;

/// What happened to a packet, as far as its time in the balancer depends on it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum PacketClass {
    /// Forwarded by the worker that received it, on a connection that was known, in either direction.
    Forward,
    /// Forwarded by the worker that received it, and opened its connection.
    New,
    /// Forwarded or answered by another worker than the one that received it; the wait between the two is included.
    Handoff,
    /// Answered by the balancer itself: ARP, neighbour discovery, echo, ICMP errors.
    Answer,
    /// Waited until its next hop's MAC address was known. Measured always, not by samples, and no part of the total: it
    /// waits for another host, not for the balancer.
    Held,
}

impl PacketClass {
    /// Every class, in the order of the histograms.
    pub const ALL: &[Self] = &[Self::Forward, Self::New, Self::Handoff, Self::Answer, Self::Held];
    /// Number of classes.
    pub const COUNT: usize = Self::ALL.len();

    /// True if the class is a part of the total.
    pub fn is_sampled(self) -> bool {
        self != Self::Held
    }

    /// Index into the histograms.
    #[inline]
    pub fn index(self) -> usize {
        self as usize
    }
}

/// The histograms of one worker, by class, in nanoseconds.
#[derive(Debug, Default)]
pub struct Latency {
    classes: [Histogram; PacketClass::COUNT],
}

impl Latency {
    /// Of one busy turn of the poll loop in this many, every packet is measured. A prime, so that it shares no rhythm with
    /// what the loop does every 64 turns, which would then be in every sample or in none.
    pub const SAMPLE_EVERY: u32 = 61;

    /// Counts `packets` packets that took `ns` nanoseconds; only the owning worker may call this.
    #[inline]
    pub fn record(&self, class: PacketClass, ns: u64, packets: u64) {
        if let Some(histogram) = self.classes.get(class.index()) {
            histogram.record(ns, packets);
        }
    }

    /// Highest value of each bucket of a class in nanoseconds, and its count, where there are any.
    pub fn counts(&self, class: PacketClass) -> impl Iterator<Item = (u64, u64)> {
        self.classes.get(class.index()).into_iter().flat_map(Histogram::counts)
    }
}

/// Sub-buckets of each power of two: values are kept to about 6 %.
const SUB: usize = 16;
const SUB_BITS: u32 = SUB.trailing_zeros();
/// Values up to 2^40 ns (18 minutes) are told apart.
const BUCKETS: usize = (40 - SUB_BITS as usize + 1) * SUB;

/// Counts of values by size, log-linear.
#[derive(Debug)]
struct Histogram {
    counts: Box<[Counter]>,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: (0..BUCKETS).map(|_| Counter::default()).collect() }
    }
}

impl Histogram {
    #[inline]
    fn record(&self, ns: u64, packets: u64) {
        if let Some(count) = self.counts.get(Self::bucket(ns).min(BUCKETS - 1)) {
            count.add(packets);
        }
    }

    fn counts(&self) -> impl Iterator<Item = (u64, u64)> {
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
            let bucket = Histogram::bucket(ns);
            let highest = Histogram::highest(bucket);
            assert!(highest >= ns && (highest - ns) as f64 <= 0.07 * ns as f64, "{ns} in {bucket} up to {highest}");
            assert_eq!(Histogram::bucket(highest), bucket);
            assert_eq!(Histogram::bucket(highest + 1), bucket + 1);
        }
    }

    #[test]
    fn counts_packets_by_class() {
        let latency = Latency::default();
        latency.record(PacketClass::New, 5, 32);
        latency.record(PacketClass::New, 5, 1);
        latency.record(PacketClass::Held, u64::MAX, 2);
        assert_eq!(latency.counts(PacketClass::New).collect::<Vec<_>>(), [(5, 33)]);
        assert_eq!(latency.counts(PacketClass::Held).map(|(_, n)| n).sum::<u64>(), 2);
        assert_eq!(latency.counts(PacketClass::Forward).count(), 0);
    }

    #[test]
    fn classes_are_in_the_order_of_the_histograms() {
        for (index, class) in PacketClass::ALL.iter().enumerate() {
            assert_eq!(class.index(), index);
        }
    }
}
