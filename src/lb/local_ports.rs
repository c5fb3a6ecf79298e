//! The local ports that full-NAT connects to backends from, as one worker hands them out.
//!
//! A pool is a local address towards one remote end: two connections share an outside tuple only if they share all of
//! that and the port, so each pool has every port (RFC 4787 REQ-3). Which one comes next is hard to guess (RFC 6056),
//! and one that was given back rests a while before another client may have it (RFC 6888 REQ-8).

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::ops::RangeInclusive;

use super::clock::Tick;
use super::hash::{self, HashKey};
use crate::wire::parse::FiveTuple;

/// What a pool is of.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct PoolKey {
    /// The address that connections come from.
    pub local: IpAddr,
    /// The backend's address.
    pub remote: IpAddr,
    /// The backend's port; 0 if it has every port of the VIP.
    pub remote_port: u16,
    /// TCP or UDP.
    pub protocol: u8,
}

impl PoolKey {
    /// The pool that the local port of a reply is from.
    pub fn of<A: Copy + Into<IpAddr>>(reply: &FiveTuple<A>) -> Self {
        let FiveTuple { src, dst, sport, protocol, .. } = *reply;
        // The other side of the connection may be of the other IP version, see `path::crossed`.
        let (local, remote) = (dst.into().to_canonical(), src.into().to_canonical());
        Self { local, remote, remote_port: sport, protocol }
    }
}

/// See the module.
#[derive(Debug)]
pub struct LocalPorts {
    pools: Vec<Pool>,
    index: HashMap<PoolKey, u32>,
    /// Given back, but not to be handed out yet, in the order of their time.
    resting: VecDeque<Resting>,
    resting_max: usize,
    rest_s: u16,
    key: HashKey,
    drawn: u64,
    in_use: u64,
}

#[derive(Clone, Copy, Debug)]
struct Resting {
    pool: u32,
    port: u16,
    until: Tick,
}

const WORDS: usize = (1 << 16) / 64;

/// One bit a port, set if it cannot be handed out, and one bit a word, set if all of its are.
struct Pool {
    key: PoolKey,
    ports: RangeInclusive<u16>,
    taken: Box<[u64]>,
    full: [u64; WORDS / 64],
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool").field("key", &self.key).field("ports", &self.ports).finish_non_exhaustive()
    }
}

impl LocalPorts {
    /// No pools yet. Ports rest for `rest_s` seconds, and `resting_max` of them at most: beyond that the one that has
    /// rested longest goes first. `key` makes the choice hard to guess.
    pub fn new(key: HashKey, resting_max: usize, rest_s: u16) -> Self {
        Self {
            pools: Vec::new(),
            index: HashMap::new(),
            resting: VecDeque::with_capacity(resting_max),
            resting_max,
            rest_s,
            key,
            drawn: 0,
            in_use: 0,
        }
    }

    /// Goes over to the pools of a new snapshot, by their numbers there. What a pool knows stays with it if its key and
    /// ports do; this allocates, so it is for the moment between two snapshots.
    pub fn adopt(&mut self, wanted: impl Iterator<Item = (PoolKey, RangeInclusive<u16>)>) {
        let mut old: Vec<Option<Pool>> = std::mem::take(&mut self.pools).into_iter().map(Some).collect();
        let mut moved: Vec<Option<u32>> = vec![None; old.len()];
        let mut index = HashMap::new();
        for (number, (key, ports)) in wanted.enumerate() {
            let before = self.index.get(&key).map(|&number| number as usize);
            let kept = before.and_then(|at| old.get_mut(at)).and_then(|pool| pool.take_if(|pool| pool.ports == ports));
            if let (Some(_), Some(place)) = (&kept, before.and_then(|at| moved.get_mut(at))) {
                *place = Some(number as u32);
            }
            index.insert(key, number as u32);
            self.pools.push(kept.unwrap_or_else(|| Pool::new(key, ports)));
        }
        self.index = index;
        self.resting.retain_mut(|resting| match moved.get(resting.pool as usize).copied().flatten() {
            Some(pool) => {
                resting.pool = pool;
                true
            }
            None => false,
        });
    }

    /// Hands out a port of the pool with this number. `is_usable` says which may be: those that it refuses, because they
    /// are another worker's or a VIP's, are never asked about again, and those of a connection that the pool does not know
    /// of not before that gives them back. `None` once the pool is truly empty.
    ///
    /// Takes a look at each word of the pool at most once, and at each refused port once for ever.
    pub fn take(&mut self, pool: u32, mut is_usable: impl FnMut(&PoolKey, u16) -> bool) -> Option<u16> {
        let mut at = self.draw() as u16;
        let pool = self.pools.get_mut(pool as usize)?;
        while let Some(port) = pool.free_from(at) {
            pool.set(port);
            if is_usable(&pool.key, port) {
                self.in_use += 1;
                return Some(port);
            }
            at = port;
        }
        None
    }

    /// Whether all ports of a pool are in use or rest.
    pub fn is_empty(&self, pool: u32) -> bool {
        self.pools.get(pool as usize).is_none_or(|pool| pool.free_from(0).is_none())
    }

    /// Takes all ports out of a pool.
    pub fn exhaust(&mut self, pool: u32) {
        if let Some(pool) = self.pools.get_mut(pool as usize) {
            pool.taken.fill(u64::MAX);
            pool.full.fill(u64::MAX);
        }
    }

    /// A number that nobody can foretell.
    pub fn draw(&mut self) -> u64 {
        self.drawn = self.drawn.wrapping_add(1);
        hash::hash_words(self.key, &[self.drawn])
    }

    /// Takes a port back whose connection is over; it rests from `now` on.
    pub fn give_back(&mut self, key: &PoolKey, port: u16, now: Tick) {
        self.in_use = self.in_use.saturating_sub(1);
        // One more, because time is cut to whole seconds.
        let until = now.plus(self.rest_s.saturating_add(1));
        // A service with every port has one pool for all ports of a backend. Another service may have one towards the same
        // end besides: from neither may the next connection come too early, and either may have refused the port for this one.
        let of_every_port = (key.remote_port != 0).then_some(PoolKey { remote_port: 0, ..*key });
        for key in [Some(*key), of_every_port].into_iter().flatten() {
            // A pool that is gone took its ports with it, and one that came since may have others.
            let Some(&number) = self.index.get(&key) else { continue };
            if !self.pools.get(number as usize).is_some_and(|pool| pool.ports.contains(&port)) {
                continue;
            }
            if self.resting.len() >= self.resting_max
                && let Some(first) = self.resting.pop_front()
            {
                self.free(first);
            }
            // It does not know of connections from before it came.
            if let Some(pool) = self.pools.get_mut(number as usize) {
                pool.set(port);
            }
            self.resting.push_back(Resting { pool: number, port, until });
        }
    }

    /// Makes those free that have rested long enough, `count` at most.
    pub fn wake(&mut self, now: Tick, count: usize) {
        for _ in 0..count {
            match self.resting.front() {
                Some(first) if first.until.reached(now) => {
                    let first = *first;
                    self.resting.pop_front();
                    self.free(first);
                }
                _ => break,
            }
        }
    }

    /// Ports that connections have now.
    pub fn in_use(&self) -> u64 {
        self.in_use
    }

    /// Ports that rest now.
    pub fn resting(&self) -> usize {
        self.resting.len()
    }

    fn free(&mut self, resting: Resting) {
        if let Some(pool) = self.pools.get_mut(resting.pool as usize) {
            pool.clear(resting.port);
        }
    }
}

impl Pool {
    fn new(key: PoolKey, ports: RangeInclusive<u16>) -> Self {
        let mut pool = Self { key, ports, taken: vec![0; WORDS].into_boxed_slice(), full: [0; WORDS / 64] };
        // Word by word: there may be thousands of pools.
        let (first, last) = (u32::from(*pool.ports.start()), u32::from(*pool.ports.end()));
        for (word, start) in pool.taken.iter_mut().zip((0..).step_by(64)) {
            *word = below(first, start) | !below(last + 1, start);
        }
        for (number, &word) in pool.taken.iter().enumerate() {
            if word == u64::MAX
                && let Some(full) = pool.full.get_mut(number / 64)
            {
                *full |= 1 << (number % 64);
            }
        }
        pool
    }

    /// The first port that is free from `start` on, going round.
    fn free_from(&self, start: u16) -> Option<u16> {
        let (word, bit) = (usize::from(start) / 64, u32::from(start) % 64);
        let in_word = |word: usize, mask: u64| {
            let free = !*self.taken.get(word)? & mask;
            (free != 0).then(|| (word * 64) as u16 + free.trailing_zeros() as u16)
        };
        in_word(word, u64::MAX << bit).or_else(|| {
            // All words in turn, the one that it began in once more.
            let next = |from: usize| {
                let (group, bit) = (from / 64, from % 64);
                let first = !self.full.get(group)? & (u64::MAX << bit);
                if first != 0 {
                    return Some(group * 64 + first.trailing_zeros() as usize);
                }
                let group = (group + 1..self.full.len()).find(|&g| self.full.get(g).is_some_and(|&f| f != u64::MAX))?;
                Some(group * 64 + (!*self.full.get(group)?).trailing_zeros() as usize)
            };
            let found = if word + 1 < WORDS { next(word + 1) } else { None };
            found.or_else(|| next(0)).and_then(|word| in_word(word, u64::MAX))
        })
    }

    fn set(&mut self, port: u16) {
        let word = usize::from(port) / 64;
        if let (Some(taken), Some(full)) = (self.taken.get_mut(word), self.full.get_mut(word / 64)) {
            *taken |= 1 << (port % 64);
            if *taken == u64::MAX {
                *full |= 1 << (word % 64);
            }
        }
    }

    fn clear(&mut self, port: u16) {
        let word = usize::from(port) / 64;
        if let (Some(taken), Some(full)) = (self.taken.get_mut(word), self.full.get_mut(word / 64)) {
            *taken &= !(1 << (port % 64));
            *full &= !(1 << (word % 64));
        }
    }
}

/// The bits of a word of ports from `start` on that are of ports below `port`.
fn below(port: u32, start: u32) -> u64 {
    match port.saturating_sub(start) {
        count @ 0..64 => (1 << count) - 1,
        _ => u64::MAX,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    fn key(n: u8) -> PoolKey {
        PoolKey { local: [10, 0, 0, n].into(), remote: [10, 1, 0, 1].into(), remote_port: 80, protocol: 6 }
    }

    fn ports(pools: &[(u8, RangeInclusive<u16>)]) -> LocalPorts {
        let mut ports = LocalPorts::new(HashKey::from_bytes([3; 16]), 1000, 120);
        ports.adopt(pools.iter().map(|(n, range)| (key(*n), range.clone())));
        ports
    }

    #[test]
    fn every_port_is_handed_out_once_and_then_none() {
        let mut ports = ports(&[(1, 1024..=65_535), (2, 2000..=2000)]);
        let mut seen = HashSet::new();
        while let Some(port) = ports.take(0, |_, _| true) {
            assert!(port >= 1024 && seen.insert(port));
        }
        assert_eq!((seen.len(), ports.in_use()), (64_512, 64_512));
        assert_eq!((ports.take(1, |_, _| true), ports.take(1, |_, _| true)), (Some(2000), None));
        assert_eq!(ports.take(2, |_, _| true), None, "no such pool");
    }

    #[test]
    fn what_is_given_back_rests_for_its_time() {
        let mut ports = ports(&[(1, 5000..=5001)]);
        let (first, second) = (ports.take(0, |_, _| true).unwrap(), ports.take(0, |_, _| true).unwrap());
        ports.give_back(&key(1), first, Tick(100));
        for now in 100..221 {
            ports.wake(Tick(now), 10);
            assert_eq!(ports.take(0, |_, _| true), None, "second {now}");
        }
        ports.wake(Tick(221), 10);
        assert_eq!(ports.take(0, |_, _| true), Some(first));
        assert_eq!((ports.in_use(), ports.resting()), (2, 0));
        ports.give_back(&key(9), second, Tick(0));
        assert_eq!((ports.in_use(), ports.resting()), (1, 0), "of no pool");
    }

    #[test]
    fn no_more_rest_than_there_is_room_for() {
        let mut ports = ports(&[(1, 1024..=65_535)]);
        let taken: Vec<u16> = (0..1001).map(|_| ports.take(0, |_, _| true).unwrap()).collect();
        taken.iter().for_each(|&port| ports.give_back(&key(1), port, Tick(0)));
        assert_eq!((ports.resting(), ports.in_use()), (1000, 0));
    }

    #[test]
    fn refused_ports_are_asked_about_once() {
        let mut ports = ports(&[(1, 1024..=65_535)]);
        let mut asked = 0u32;
        let mut taken = 0;
        while ports
            .take(0, |_, port| {
                asked += 1;
                port % 4 == 0
            })
            .is_some()
        {
            taken += 1;
        }
        assert_eq!((taken, asked), (64_512 / 4, 64_512));
    }

    #[test]
    fn pools_keep_what_they_know_over_a_reload() {
        let mut ports = ports(&[(1, 5000..=5001), (2, 6000..=6001)]);
        let of_second = ports.take(1, |_, _| true).unwrap();
        let of_first = ports.take(0, |_, _| true).unwrap();
        ports.give_back(&key(1), of_first, Tick(0));
        // The second comes first now, and the first one's ports are others.
        ports.adopt([(key(2), 6000..=6001), (key(1), 7000..=7000)].into_iter());
        assert_eq!((ports.in_use(), ports.resting()), (1, 0));
        assert_ne!(ports.take(0, |_, _| true), Some(of_second));
        assert_eq!(ports.take(0, |_, _| true), None);
        assert_eq!(ports.take(1, |_, _| true), Some(7000));
    }

    #[test]
    fn the_order_tells_nothing() {
        // Neighbouring connections get ports far apart: less than one in a hundred is next to the one before.
        let mut ports = ports(&[(1, 1024..=65_535)]);
        let taken: Vec<u16> = (0..2000).map(|_| ports.take(0, |_, _| true).unwrap()).collect();
        let near = taken.windows(2).filter(|w| w[0].abs_diff(w[1]) < 64).count();
        assert!(near < 20, "{near}");
        let mut other = LocalPorts::new(HashKey::from_bytes([4; 16]), 10, 120);
        other.adopt([(key(1), 1024..=65_535)].into_iter());
        assert_ne!(taken[..10], (0..10).map(|_| other.take(0, |_, _| true).unwrap()).collect::<Vec<_>>());
    }

    proptest! {
        #[test]
        fn a_new_pool_has_its_range_and_no_other(first: u16, last: u16) {
            let range = first.min(last)..=first.max(last);
            let pool = Pool::new(key(1), range.clone());
            for port in (0..=u16::MAX).step_by(61).chain([*range.start(), *range.end()]) {
                let is_free = pool.taken[usize::from(port) / 64] >> (port % 64) & 1 == 0;
                prop_assert_eq!(is_free, range.contains(&port), "{}", port);
            }
        }

        #[test]
        fn a_free_port_is_always_found(free in prop::collection::hash_set(any::<u16>(), 0..5), start: u16) {
            let mut pool = Pool::new(key(1), 0..=65_535);
            (0..=65_535u16).for_each(|port| pool.set(port));
            free.iter().for_each(|&port| pool.clear(port));
            let expected = free.iter().copied().min_by_key(|port| port.wrapping_sub(start));
            prop_assert_eq!(pool.free_from(start), expected);
        }
    }
}
