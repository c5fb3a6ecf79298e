//! Wrong tokens: who has tried, so that guessing is slow for one address and for all of them together.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

/// Wrong tokens that an address may send at once, and how long each one takes to be forgotten.
const BURST: f64 = 5.0;
const FORGOTTEN_AFTER: Duration = Duration::from_secs(2);
/// The same for all addresses together.
const BURST_OF_ALL: f64 = 100.0;
const FORGOTTEN_OF_ALL_AFTER: Duration = Duration::from_millis(50);
/// Addresses that are remembered.
const SOURCES_MAX: usize = 1024;
/// The least time between two log lines.
const PAUSE: Duration = Duration::from_secs(60);

/// Where clients come from that have much in common: an IPv4 address, or a network of IPv6, which one machine may have all of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Source(IpAddr);

impl Source {
    /// That of a client.
    pub fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                Self(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into())
            }
            address => Self(address),
        }
    }
}

/// See the module.
#[derive(Debug)]
pub struct Attempts {
    sources: HashMap<Source, Bucket>,
    all: Bucket,
    unsaid: u64,
    said: Option<Instant>,
}

/// Fills with wrong tokens and leaks.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    level: f64,
    at: Instant,
}

impl Bucket {
    fn leak(&mut self, now: Instant, forgotten_after: Duration) {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.level = (self.level - passed / forgotten_after.as_secs_f64()).max(0.0);
        self.at = now;
    }
}

impl Attempts {
    /// Nobody has tried.
    pub fn new(now: Instant) -> Self {
        Self { sources: HashMap::new(), all: Bucket { level: 0.0, at: now }, unsaid: 0, said: None }
    }

    /// Whether a token from there is looked at; if not, right or wrong, how long to wait.
    ///
    /// # Errors
    /// The time until it is.
    pub fn may_try(&mut self, source: Source, now: Instant) -> Result<(), Duration> {
        let Some(bucket) = self.sources.get_mut(&source) else { return Ok(()) };
        bucket.leak(now, FORGOTTEN_AFTER);
        self.all.leak(now, FORGOTTEN_OF_ALL_AFTER);
        if bucket.level > BURST - 1.0 {
            return Err(FORGOTTEN_AFTER);
        }
        // Who has never been wrong gets in whatever others do.
        if self.all.level > BURST_OF_ALL - 1.0 && bucket.level > 0.0 {
            return Err(FORGOTTEN_AFTER);
        }
        Ok(())
    }

    /// Notes a wrong token; how many to say in the log now, if it is time.
    pub fn failed(&mut self, source: Source, now: Instant) -> Option<u64> {
        self.all.leak(now, FORGOTTEN_OF_ALL_AFTER);
        self.all.level = (self.all.level + 1.0).min(BURST_OF_ALL);
        if self.sources.len() >= SOURCES_MAX && !self.sources.contains_key(&source) {
            self.make_room(now);
        }
        let bucket = self.sources.entry(source).or_insert(Bucket { level: 0.0, at: now });
        bucket.leak(now, FORGOTTEN_AFTER);
        bucket.level = (bucket.level + 1.0).min(BURST);
        self.unsaid += 1;
        let is_due = self.said.is_none_or(|said| now.saturating_duration_since(said) >= PAUSE);
        is_due.then(|| {
            self.said = Some(now);
            std::mem::take(&mut self.unsaid)
        })
    }

    /// Forgets who has been quiet, and at least one.
    fn make_room(&mut self, now: Instant) {
        self.sources.retain(|_, bucket| {
            bucket.leak(now, FORGOTTEN_AFTER);
            bucket.level > 0.0
        });
        if self.sources.len() >= SOURCES_MAX {
            let lowest = self.sources.iter().min_by(|(_, a), (_, b)| a.level.total_cmp(&b.level));
            let lowest = lowest.map(|(source, _)| *source);
            lowest.and_then(|source| self.sources.remove(&source));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(n: u32) -> Source {
        Source::of(IpAddr::from(n.to_be_bytes()))
    }

    #[test]
    fn an_address_has_five_wrong_ones_and_then_one_in_two_seconds() {
        let start = Instant::now();
        let mut attempts = Attempts::new(start);
        for _ in 0..5 {
            assert_eq!(attempts.may_try(source(1), start), Ok(()));
            attempts.failed(source(1), start);
        }
        assert!(attempts.may_try(source(1), start).is_err());
        assert!(attempts.may_try(source(2), start).is_ok(), "others are not to blame");
        assert!(attempts.may_try(source(1), start + Duration::from_millis(1900)).is_err());
        assert!(attempts.may_try(source(1), start + Duration::from_millis(2100)).is_ok());
    }

    #[test]
    fn many_addresses_share_a_limit_and_need_bounded_memory() {
        let start = Instant::now();
        let mut attempts = Attempts::new(start);
        for n in 0..5000 {
            attempts.failed(source(n), start);
        }
        assert_eq!(attempts.sources.len(), SOURCES_MAX);
        assert!(attempts.may_try(source(4999), start).is_err(), "its second one, while a hundred are under way");
        assert!(attempts.may_try(source(9999), start).is_ok(), "it was never wrong");
        let later = start + Duration::from_secs(10);
        attempts.failed(source(9999), later);
        assert_eq!(attempts.sources.len(), 1, "all others are forgotten");
    }

    #[test]
    fn the_log_has_a_line_a_minute() {
        let start = Instant::now();
        let mut attempts = Attempts::new(start);
        let said: Vec<_> = (0..100).map(|n| attempts.failed(source(1), start + Duration::from_secs(n))).collect();
        let lines: Vec<_> = said.iter().enumerate().filter_map(|(at, said)| said.map(|said| (at, said))).collect();
        assert_eq!(lines, [(0, 1), (60, 60)]);
    }

    #[test]
    fn a_network_of_ipv6_is_one_source() {
        let of = |text: &str| Source::of(text.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
    }
}
