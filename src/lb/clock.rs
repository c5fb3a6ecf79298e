//! Time as the packet path sees it: an argument, never a clock read.

/// Time since an arbitrary start, the same for all workers; one value serves a whole burst.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Now(u64);

impl Now {
    /// From nanoseconds since the start.
    #[inline]
    pub fn from_ns(ns: u64) -> Self {
        Self(ns)
    }

    /// Nanoseconds since the start.
    #[inline]
    pub fn ns(self) -> u64 {
        self.0
    }

    /// Whole seconds, as the connection table counts them.
    #[inline]
    pub fn tick(self) -> Tick {
        Tick((self.0 / 1_000_000_000) as u16)
    }
}

/// Seconds modulo 65,536. Two ticks compare rightly while they are less than 32,768 s (9 h) apart, which the
/// configuration's longest timeout and the table's sweep keep.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Tick(pub u16);

impl Tick {
    /// This time plus `timeout_s`.
    #[inline]
    pub fn plus(self, timeout_s: u16) -> Tick {
        Tick(self.0.wrapping_add(timeout_s))
    }

    /// True once `self` lies in the past of `now`, or is `now`.
    #[inline]
    pub fn reached(self, now: Tick) -> bool {
        (now.0.wrapping_sub(self.0) as i16) >= 0
    }

    /// Seconds from `now` to `self`; 0 when it is past.
    pub fn left_s(self, now: Tick) -> u16 {
        if self.reached(now) { 0 } else { self.0.wrapping_sub(now.0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_compare_over_the_wrap() {
        let now = Tick(65_530);
        let deadline = now.plus(10);
        assert_eq!(deadline, Tick(4));
        assert!(!deadline.reached(now));
        assert!(deadline.reached(now.plus(10)));
        assert!(deadline.reached(now.plus(11)));
        assert_eq!(deadline.left_s(now), 10);
        assert_eq!(deadline.left_s(now.plus(20)), 0);
    }
}
