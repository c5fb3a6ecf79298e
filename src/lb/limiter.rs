//! Token bucket for what we send on our own account.

use super::clock::Now;

/// At most `rate_per_s` events a second, and `burst` at once.
#[derive(Clone, Debug)]
pub struct Limiter {
    tokens_ns: u64,
    cost_ns: u64,
    capacity_ns: u64,
    last: Now,
}

impl Limiter {
    /// Starts full. A rate of 0 lets nothing pass after the burst.
    pub fn new(rate_per_s: u32, burst: u32) -> Self {
        // Tokens are kept as nanoseconds of credit, so no division is needed on the packet path.
        let cost_ns = if rate_per_s == 0 { u64::MAX / 1_000_000 } else { 1_000_000_000 / u64::from(rate_per_s) };
        let capacity_ns = cost_ns.saturating_mul(u64::from(burst));
        Self { tokens_ns: capacity_ns, cost_ns, capacity_ns, last: Now::default() }
    }

    /// True if one more event may happen now; takes its token.
    pub fn allow(&mut self, now: Now) -> bool {
        let gained = now.ns().saturating_sub(self.last.ns());
        self.last = now;
        self.tokens_ns = self.tokens_ns.saturating_add(gained).min(self.capacity_ns);
        if self.tokens_ns < self.cost_ns {
            return false;
        }
        self.tokens_ns -= self.cost_ns;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passes_the_burst_and_then_the_rate() {
        let mut limiter = Limiter::new(100, 10);
        let at = |ms: u64| Now::from_ns(ms * 1_000_000);
        assert_eq!((0..50).filter(|_| limiter.allow(at(0))).count(), 10);
        assert!(!limiter.allow(at(9)));
        assert!(limiter.allow(at(10)));
        assert_eq!((0..1000).filter(|i| limiter.allow(at(1000 + i))).count(), 10 + 99);
    }
}
