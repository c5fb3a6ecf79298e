//! The stamp that test packets carry at the start of their payload.

/// Length of a stamp in bytes: what a UDP datagram over IPv4 has room for in the smallest frame.
pub const LEN: usize = 18;
/// What a stamp begins with.
const MAGIC: [u8; 2] = *b"tg";
/// Times are kept modulo 2^48 ns, 78 hours.
const NS_BITS: u32 = 48;

/// What a packet tells about itself; on the wire in this order, most significant byte first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Tells runs apart, so that a late packet of an earlier one does not count.
    pub run: u16,
    /// Flow that it belongs to.
    pub flow: u32,
    /// Number within the flow, from 0; it wraps.
    pub seq: u32,
    /// When it was made, in nanoseconds since the start of the run, modulo 2^48.
    pub ns: u64,
}

impl Stamp {
    /// The bytes in a packet.
    #[inline]
    #[must_use]
    pub fn to_bytes(self) -> [u8; LEN] {
        let [m, n] = MAGIC;
        let [r, s] = self.run.to_be_bytes();
        let [f0, f1, f2, f3] = self.flow.to_be_bytes();
        let [s0, s1, s2, s3] = self.seq.to_be_bytes();
        let [_, _, t0, t1, t2, t3, t4, t5] = self.ns.to_be_bytes();
        [m, n, r, s, f0, f1, f2, f3, s0, s1, s2, s3, t0, t1, t2, t3, t4, t5]
    }

    /// The stamp at the start of a payload, if there is one.
    #[inline]
    #[must_use]
    pub fn read(payload: &[u8]) -> Option<Self> {
        let &[m, n, r, s, f0, f1, f2, f3, s0, s1, s2, s3, t0, t1, t2, t3, t4, t5] = payload.first_chunk::<LEN>()?;
        ([m, n] == MAGIC).then(|| Self {
            run: u16::from_be_bytes([r, s]),
            flow: u32::from_be_bytes([f0, f1, f2, f3]),
            seq: u32::from_be_bytes([s0, s1, s2, s3]),
            ns: u64::from_be_bytes([0, 0, t0, t1, t2, t3, t4, t5]),
        })
    }

    /// Nanoseconds from when it was made until `now_ns`; 0 where the clocks of two cores disagree.
    #[inline]
    #[must_use]
    pub const fn age_ns(self, now_ns: u64) -> u64 {
        let age = now_ns.wrapping_sub(self.ns) & ((1 << NS_BITS) - 1);
        // More than half of the range is a time that has not come yet.
        if age >> (NS_BITS - 1) == 0 { age } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_was_written_is_read(run: u16, flow: u32, seq: u32, ns in 0_u64..1 << 48, rest: Vec<u8>) {
            let stamp = Stamp { run, flow, seq, ns };
            let payload = [&stamp.to_bytes()[..], &rest].concat();
            prop_assert_eq!(Stamp::read(&payload), Some(stamp));
        }
    }

    #[test]
    fn the_layout_is_fixed() {
        let stamp = Stamp { run: 0x0102, flow: 0x0304_0506, seq: 0x0708_090a, ns: 0x0b0c_0d0e_0f10 };
        assert_eq!(stamp.to_bytes(), [116, 103, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]);
    }

    #[test]
    fn what_is_no_stamp_is_none() {
        let bytes = Stamp { run: 1, flow: 2, seq: 3, ns: 4 }.to_bytes();
        assert_eq!(Stamp::read(&bytes[..LEN - 1]), None);
        assert_eq!(Stamp::read(&[0; 64]), None);
    }

    #[test]
    fn ages_wrap_and_never_are_negative() {
        let stamp = Stamp { run: 0, flow: 0, seq: 0, ns: (1 << 48) - 10 };
        assert_eq!((stamp.age_ns((1 << 48) + 5), stamp.age_ns((1 << 48) - 10)), (15, 0));
        assert_eq!(stamp.age_ns((1 << 48) - 20), 0);
    }
}
