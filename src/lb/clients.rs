//! Which backend each client address was sent to last, for services that keep clients where they are.
//!
//! One table for all workers: a fixed number of words, each a whole entry that is read and written at once, so there is
//! nothing to lock. It is touched by packets that open a connection, and by no others.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use super::arch::prefetch;
use super::clock::Tick;
use super::hash::{HashKey, hash_words, reduce};
use super::ids::BackendId;

/// Entries of a bucket: a cache line.
const PLACES: usize = 8;
/// A word that no entry is: tags are never 0.
const FREE: u64 = 0;

#[derive(Debug, Default)]
#[repr(align(64))]
struct Bucket([AtomicU64; PLACES]);

/// See the module.
#[derive(Debug)]
pub struct Clients {
    key: HashKey,
    buckets: Box<[Bucket]>,
}

/// What [`Clients::keep`] did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kept {
    /// The client is sent to the backend that it was to be sent to, and that is noted.
    New,
    /// The same, and another client's entry had to go for it.
    Evicting,
    /// Another worker was faster: the client has this backend.
    Other(BackendId),
}

/// A client of a service.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ClientKey(u64);

/// A word taken apart: 16 bits of the hash, the second in which it is over, and the backend.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Entry {
    tag: u16,
    until: Tick,
    backend: BackendId,
}

impl Entry {
    fn word(self) -> u64 {
        u64::from(self.tag) << 48 | u64::from(self.until.0) << 32 | u64::from(self.backend.bits())
    }

    fn of(word: u64) -> Option<Self> {
        let entry = Self {
            tag: (word >> 48) as u16,
            until: Tick((word >> 32) as u16),
            backend: BackendId::from_bits(word as u32),
        };
        (word != FREE).then_some(entry)
    }
}

impl Clients {
    /// Room for at least so many clients; allocated once.
    pub fn new(clients_max: usize, key: HashKey) -> Self {
        let buckets = clients_max.div_ceil(PLACES).max(1);
        Self { key, buckets: (0..buckets).map(|_| Bucket::default()).collect() }
    }

    /// Another one of the same size, under the same key, with nobody in it.
    pub fn emptied(&self) -> Self {
        Self::new(self.capacity(), self.key)
    }

    /// How many clients there is room for.
    pub fn capacity(&self) -> usize {
        self.buckets.len() * PLACES
    }

    /// The client with this address, of the service that `service` stands for.
    pub fn key_of(&self, service: u64, client: IpAddr) -> ClientKey {
        let bits = match client.to_canonical() {
            IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
            IpAddr::V6(address) => address.to_bits(),
        };
        ClientKey(hash_words(self.key, &[service, bits as u64, (bits >> 64) as u64]))
    }

    /// Fetches what a look for the client reads.
    pub fn prefetch(&self, client: ClientKey) {
        if let Some(bucket) = self.bucket(client) {
            prefetch(bucket);
        }
    }

    /// The client's backend, if it is one of those that `is_ours` says are the service's, and the time is not over.
    pub fn find(&self, client: ClientKey, now: Tick, is_ours: impl Fn(BackendId) -> bool) -> Option<BackendId> {
        let mut words = self.bucket(client)?.0.iter().filter_map(|word| Entry::of(word.load(Ordering::Relaxed)));
        let is_it = |entry: &Entry| entry.tag == client.tag() && !entry.until.reached(now) && is_ours(entry.backend);
        words.find(is_it).map(|entry| entry.backend)
    }

    /// Sends the client to `backend` for `timeout_s` more seconds; `was` is what [`Self::find`] said just now.
    ///
    /// Where two workers do this at once for one client that was unknown, the second one is told of the first one's choice.
    pub fn keep(
        &self,
        client: ClientKey,
        was: Option<BackendId>,
        backend: BackendId,
        (now, timeout_s): (Tick, u16),
        is_ours: impl Fn(BackendId) -> bool,
    ) -> Kept {
        let Some(bucket) = self.bucket(client) else { return Kept::New };
        let new = Entry { tag: client.tag(), until: now.plus(timeout_s), backend }.word();
        // Others may change the bucket meanwhile; they cannot do so for ever.
        for _ in 0..PLACES {
            let Some((place, old, evicts)) = place_for(bucket, client, now, &is_ours) else { return Kept::New };
            let found = Entry::of(old)
                .filter(|entry| entry.tag == client.tag() && !entry.until.reached(now))
                .map(|e| e.backend);
            if let Some(other) = found.filter(|&found| is_ours(found) && Some(found) != was && found != backend) {
                return Kept::Other(other);
            }
            // Within the same second there is nothing new to write.
            if old == new || place.compare_exchange(old, new, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
                return if evicts { Kept::Evicting } else { Kept::New };
            }
        }
        Kept::New
    }

    /// Frees the entries whose time is over in `count` buckets from `from` on, and says where to go on. Ticks compare rightly for
    /// nine hours only, so that what is over must be gone by then.
    pub fn sweep(&self, from: usize, count: usize, now: Tick) -> usize {
        let count = count.min(self.buckets.len());
        for at in (0..count).map(|n| (from + n) % self.buckets.len()) {
            for word in self.buckets.get(at).iter().flat_map(|bucket| &bucket.0) {
                let old = word.load(Ordering::Relaxed);
                if Entry::of(old).is_some_and(|entry| entry.until.reached(now)) {
                    // Unless somebody has just renewed it.
                    _ = word.compare_exchange(old, FREE, Ordering::Relaxed, Ordering::Relaxed);
                }
            }
        }
        (from + count) % self.buckets.len()
    }

    /// Buckets in all, for [`Self::sweep`].
    pub fn buckets(&self) -> usize {
        self.buckets.len()
    }

    fn bucket(&self, client: ClientKey) -> Option<&Bucket> {
        self.buckets.get(reduce(client.0, self.buckets.len()))
    }
}

impl ClientKey {
    fn tag(self) -> u16 {
        (self.0 as u16).max(1)
    }
}

/// Where a client's entry belongs, what is there, and whether that is another client's: its own one, else a free one or one
/// whose time is over, else the one whose time is over first.
fn place_for<'b>(
    bucket: &'b Bucket,
    client: ClientKey,
    now: Tick,
    is_ours: &impl Fn(BackendId) -> bool,
) -> Option<(&'b AtomicU64, u64, bool)> {
    let rank = |word: u64| match Entry::of(word) {
        Some(entry) if entry.until.reached(now) => 1,
        Some(entry) if entry.tag == client.tag() && is_ours(entry.backend) => 0,
        Some(entry) => 2 + u32::from(entry.until.left_s(now)),
        None => 1,
    };
    let words = bucket.0.iter().map(|place| (place, place.load(Ordering::Relaxed)));
    let (place, word) = words.min_by_key(|&(_, word)| rank(word))?;
    Some((place, word, rank(word) >= 2))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use std::collections::HashMap;

    use super::*;

    fn table(clients_max: usize) -> Clients {
        Clients::new(clients_max, HashKey::from_bytes([3; 16]))
    }

    fn backend(n: usize) -> BackendId {
        BackendId::new(n, n as u32)
    }

    fn address(n: u32) -> IpAddr {
        if n.is_multiple_of(2) {
            IpAddr::V4((0xc633_6400 + n).into())
        } else {
            IpAddr::V6((0x2001_0db8_u128 << 96 | u128::from(n)).into())
        }
    }

    const NOW: Tick = Tick(65_500);

    #[test]
    fn words_hold_what_was_put_in() {
        for entry in [
            Entry { tag: 1, until: Tick(0), backend: BackendId::new(0, 0) },
            Entry { tag: u16::MAX, until: Tick(u16::MAX), backend: BackendId::new(BackendId::SLOTS_MAX - 1, 4095) },
        ] {
            assert_eq!(Entry::of(entry.word()), Some(entry));
        }
        assert_eq!(Entry::of(FREE), None);
        assert_eq!(size_of::<Bucket>(), 64);
    }

    #[test]
    fn a_client_is_known_until_its_time_is_over() {
        let clients = table(100);
        let key = clients.key_of(7, address(1));
        assert_eq!(clients.find(key, NOW, |_| true), None);
        assert_eq!(clients.keep(key, None, backend(5), (NOW, 100), |_| true), Kept::New);
        assert_eq!(clients.find(key, NOW.plus(99), |_| true), Some(backend(5)));
        assert_eq!(clients.find(key, NOW.plus(100), |_| true), None);
        // Refreshed, it stays longer; sent elsewhere, it is there.
        clients.keep(key, Some(backend(5)), backend(5), (NOW.plus(50), 100), |_| true);
        assert_eq!(clients.find(key, NOW.plus(149), |_| true), Some(backend(5)));
        assert_eq!(clients.keep(key, Some(backend(5)), backend(6), (NOW, 100), |_| true), Kept::New);
        assert_eq!(clients.find(key, NOW, |_| true), Some(backend(6)));
        // Of another service it is another client.
        assert_eq!(clients.find(clients.key_of(8, address(1)), NOW, |_| true), None);
        assert_eq!(clients.find(key, NOW, |id| id != backend(6)), None, "another service's with the same tag");
    }

    #[test]
    fn ipv4_clients_are_the_same_in_either_form() {
        let clients = table(10);
        let mapped: IpAddr = "::ffff:198.51.100.7".parse().unwrap();
        assert_eq!(clients.key_of(1, mapped), clients.key_of(1, "198.51.100.7".parse().unwrap()));
        assert_ne!(clients.key_of(1, mapped), clients.key_of(1, "::198.51.100.7".parse().unwrap()));
    }

    #[test]
    fn whoever_comes_second_goes_where_the_first_one_went() {
        let clients = table(100);
        let key = clients.key_of(1, address(4));
        assert_eq!(clients.keep(key, None, backend(1), (NOW, 60), |_| true), Kept::New);
        assert_eq!(clients.keep(key, None, backend(2), (NOW, 60), |_| true), Kept::Other(backend(1)));
        assert_eq!(clients.keep(key, None, backend(1), (NOW, 60), |_| true), Kept::New);
    }

    #[test]
    fn a_full_bucket_loses_the_one_that_ends_first() {
        let clients = table(PLACES);
        let key = |n| clients.key_of(1, address(n));
        for n in 0..PLACES as u32 {
            assert_eq!(clients.keep(key(n), None, backend(1), (NOW, 100 - n as u16), |_| true), Kept::New);
        }
        assert_eq!(clients.keep(key(50), None, backend(2), (NOW, 10), |_| true), Kept::Evicting);
        assert_eq!(clients.find(key(7), NOW, |_| true), None);
        assert!((0..7).all(|n| clients.find(key(n), NOW, |_| true) == Some(backend(1))));
        // What is over is taken before anybody has to go.
        assert_eq!(clients.keep(key(51), None, backend(2), (NOW.plus(10), 10), |_| true), Kept::New);
    }

    #[test]
    fn sweeping_frees_what_is_over_and_nothing_else() {
        let clients = table(1000);
        let key = |n| clients.key_of(1, address(n));
        (0..400).for_each(|n| {
            _ = clients.keep(key(n), None, backend(3), (NOW, if n % 2 == 0 { 5 } else { 500 }), |_| true)
        });
        let mut at = 0;
        for _ in 0..clients.buckets().div_ceil(7) {
            at = clients.sweep(at, 7, NOW.plus(5));
        }
        // Ten hours later, long after ticks compare rightly.
        let later = NOW.plus(32_768 + 100);
        assert!((0..400).step_by(2).all(|n| clients.find(key(n), later, |_| true).is_none()));
        assert!((1..400).step_by(2).all(|n| clients.find(key(n), NOW, |_| true) == Some(backend(3))));
    }

    #[test]
    fn threads_that_meet_a_client_at_once_agree() {
        let clients = table(4096);
        for round in 0..200 {
            let choices: Vec<BackendId> = std::thread::scope(|scope| {
                let choose = |n: usize| {
                    let clients = &clients;
                    scope.spawn(move || {
                        let key = clients.key_of(1, address(round));
                        if let Some(known) = clients.find(key, NOW, |_| true) {
                            return known;
                        }
                        match clients.keep(key, None, backend(n), (NOW, 60), |_| true) {
                            Kept::Other(other) => other,
                            _ => backend(n),
                        }
                    })
                };
                let threads: Vec<_> = (1..=3).map(choose).collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).collect()
            });
            assert!(choices.iter().all(|&choice| choice == choices[0]), "{choices:?}");
        }
    }

    proptest! {
        #[test]
        fn it_says_what_was_put_in_or_nothing(steps in prop::collection::vec((0u32..60, 0usize..5, 1u16..50, 0u16..8), 1..200)) {
            let clients = table(64);
            let (mut now, mut model) = (NOW, HashMap::new());
            for (n, to, timeout_s, passes_s) in steps {
                now = now.plus(passes_s);
                let key = clients.key_of(1, address(n));
                let was = clients.find(key, now, |_| true);
                let known = model.get(&n).filter(|(_, until): &&(BackendId, Tick)| !until.reached(now)).map(|(id, _)| *id);
                prop_assert!(was.is_none() || was == known, "{:?} for {:?}", was, known);
                prop_assert!(!matches!(clients.keep(key, was, backend(to), (now, timeout_s), |_| true), Kept::Other(_)));
                prop_assert_eq!(clients.find(key, now, |_| true), Some(backend(to)));
                model.insert(n, (backend(to), now.plus(timeout_s)));
            }
        }
    }
}
