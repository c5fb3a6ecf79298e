//! The table against a map that keeps everything, its invariants after every step, and how full it gets.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use proptest::prelude::*;

use super::bucket::PLACES;
use super::*;
use crate::lb::connection::{Direction, Phase, State};
use crate::lb::hash::{self, HashKey};
use crate::lb::ids::BackendId;

type Key = FiveTuple<Ipv4Addr>;

fn key(n: u32) -> Key {
    let [a, b, c, d] = n.to_be_bytes();
    FiveTuple { src: [198, a, b, c].into(), dst: [192, 0, 2, 1].into(), sport: d.into(), dport: 80, protocol: 6 }
}

fn entry(key: &Key) -> Entry<Ipv4Addr> {
    Entry {
        src: key.src,
        dst: key.dst,
        sport: key.sport,
        dport: key.dport,
        protocol: key.protocol,
        state: State::new(Phase::TcpEstablished, Direction::Request),
        backend: BackendId::new(1, 1),
        ..Entry::empty()
    }
}

fn hash_of(seed: u8, key: &Key) -> u64 {
    hash::tuple4(HashKey::from_bytes([seed; 16]), key.src.into(), key.dst.into(), key.sport, key.dport, key.protocol)
}

/// Works the redundant parts of every bucket out anew.
fn check_invariants(table: &Table<Ipv4Addr>, seed: u8) {
    let mut overflow = vec![0u16; table.buckets()];
    let mut pairs = 0;
    for (at, Group { bucket, .. }) in table.groups.iter().enumerate() {
        assert_eq!(bucket.used().count(), bucket.used_count() as usize);
        for place in bucket.used() {
            let slot = Slot::new(at, place);
            let entry = table.entry(slot).unwrap();
            let key = FiveTuple {
                src: entry.src,
                dst: entry.dst,
                sport: entry.sport,
                dport: entry.dport,
                protocol: entry.protocol,
            };
            let hash = hash_of(seed, &key);
            assert_eq!(bucket.tag(place), tag(hash));
            let home = table.home(hash);
            assert_eq!(bucket.is_displaced(place), home != at);
            if home != at {
                assert_eq!(table.other(home, tag(hash)), at);
                assert_eq!(table.other(at, tag(hash)), home);
                overflow[home] += 1;
            }
            if entry.pair.is_some() {
                assert_eq!(table.entry(entry.pair).unwrap().pair, slot, "pairs point to each other");
                pairs += 1;
            }
        }
        let free: Vec<_> = (0..PLACES).filter(|&p| bucket.tag(p) == 0).collect();
        assert!(free.iter().all(|&p| !bucket.is_displaced(p)));
        assert!(bucket.evictable().all(|p| bucket.tag(p) != 0));
    }
    for (bucket, count) in table.groups.iter().map(|g| &g.bucket).zip(overflow) {
        assert_eq!(bucket.has_overflow(), count != 0);
        // Taken down by exactly the recount, the counter is at zero.
        let mut copy = *bucket;
        copy.change_overflow(-(count as i16));
        assert!(!copy.has_overflow());
        if count > 0 {
            let mut copy = *bucket;
            copy.change_overflow(-(count as i16) + 1);
            assert!(copy.has_overflow());
        }
    }
    assert_eq!(pairs % 2, 0);
}

/// What the model knows of an entry.
#[derive(Clone, Copy, Debug)]
struct Known {
    slot: Slot,
    deadline: u64,
    evictable: bool,
    pair: Option<u32>,
}

#[derive(Clone, Debug)]
enum Step {
    Insert { n: u32, timeout: u16, evictable: bool, replace: bool },
    InsertPair { n: u32, timeout: u16, evictable: bool },
    Refresh { n: u32, timeout: u16, evictable: bool },
    Remove { n: u32 },
    Pass { s: u16 },
    Sweep { count: usize },
}

fn step() -> impl Strategy<Value = Step> {
    let n = 0u32..120;
    let timeout = prop_oneof![1u16..40, 1u16..=32_001];
    prop_oneof![
        6 => (n.clone(), timeout.clone(), any::<bool>(), prop::bool::weighted(0.2))
            .prop_map(|(n, timeout, evictable, replace)| Step::Insert { n, timeout, evictable, replace }),
        3 => (n.clone(), timeout.clone(), any::<bool>())
            .prop_map(|(n, timeout, evictable)| Step::InsertPair { n, timeout, evictable }),
        2 => (n.clone(), timeout, any::<bool>()).prop_map(|(n, timeout, evictable)| Step::Refresh { n, timeout, evictable }),
        2 => n.prop_map(|n| Step::Remove { n }),
        2 => (0u16..30).prop_map(|s| Step::Pass { s }),
        1 => (0usize..5).prop_map(|count| Step::Sweep { count }),
    ]
}

/// The table and its model, side by side.
struct Both {
    table: Table<Ipv4Addr>,
    model: HashMap<u32, Known>,
    seed: u8,
    now_s: u64,
}

/// Pairs take this key of the second half.
const REPLY: u32 = 1000;

impl Both {
    fn new(entries: usize, seed: u8) -> Self {
        // The clock starts shortly before it wraps.
        Self { table: Table::new(entries, Place::default()).unwrap(), model: HashMap::new(), seed, now_s: 65_000 }
    }

    fn tick(&self) -> Tick {
        Tick(self.now_s as u16)
    }

    fn is_alive(&self, known: &Known) -> bool {
        let pair = known.pair.map_or(0, |p| self.model[&p].deadline);
        known.deadline.max(pair) > self.now_s
    }

    fn forget(&mut self, n: u32) -> Known {
        let known = self.model.remove(&n).unwrap();
        if let Some(pair) = known.pair {
            self.model.remove(&pair);
        }
        known
    }

    fn number_of(entry: &Entry<Ipv4Addr>) -> u32 {
        let [_, a, b, c] = entry.src.octets();
        u32::from_be_bytes([a, b, c, entry.sport as u8])
    }

    /// As the packet path does it: what is dead goes first, and the removed one's other direction with it.
    fn insert(&mut self, n: u32, timeout: u16, evictable: bool, replace: bool) -> Option<Slot> {
        let (key, tick) = (key(n), self.tick());
        let hash = hash_of(self.seed, &key);
        if self.model.get(&n).is_some_and(|k| self.is_alive(k)) {
            return None;
        }
        if let Some(slot) = self.table.find_dead(hash, &key, tick) {
            let dead = self.table.remove(slot).unwrap();
            if dead.pair.is_some() {
                self.table.remove(dead.pair).unwrap();
            }
            self.forget(n);
        }
        assert!(!self.model.contains_key(&n), "the dead one was found");
        let has_victim = self.table.has_victim(hash, tick);
        match self.table.insert(hash, entry(&key), tick.plus(timeout), evictable, replace, tick) {
            Ok(Inserted { slot, removed }) => {
                if replace {
                    assert!(removed.is_some());
                }
                if let Some(removed) = removed {
                    assert!(has_victim);
                    let victim = Self::number_of(&removed.entry);
                    let alive = self.is_alive(&self.model[&victim]);
                    assert_eq!(removed.expired, !alive);
                    let known = self.forget(victim);
                    assert!(!alive || known.evictable, "{victim} was established");
                    assert_eq!(known.slot, slot, "its place is what was wanted");
                    if removed.entry.pair.is_some() {
                        self.table.remove(removed.entry.pair).unwrap();
                    }
                }
                let deadline = self.now_s + u64::from(timeout);
                self.model.insert(n, Known { slot, deadline, evictable, pair: None });
                Some(slot)
            }
            Err(Full) => {
                assert!(!has_victim);
                if !replace {
                    // Both buckets hold what is alive and may not leave.
                    let home = self.table.home(hash);
                    for bucket in [home, self.table.other(home, tag(hash))] {
                        let stay = |k: &&Known| k.slot.bucket() == bucket && !k.evictable && self.is_alive(k);
                        assert_eq!(self.model.values().filter(stay).count(), PLACES);
                    }
                }
                None
            }
        }
    }

    fn insert_pair(&mut self, n: u32, timeout: u16, evictable: bool) {
        if self.model.get(&n).is_some_and(|k| self.is_alive(k))
            || self.model.get(&(n + REPLY)).is_some_and(|k| self.is_alive(k))
        {
            return;
        }
        let Some(reply) = self.insert(n + REPLY, timeout, false, false) else { return };
        let Some(request) = self.insert(n, timeout, evictable, false) else {
            self.table.remove(reply).unwrap();
            self.forget(n + REPLY);
            return;
        };
        assert_ne!(reply, request);
        self.table.entry_mut(reply).unwrap().pair = request;
        self.table.entry_mut(request).unwrap().pair = reply;
        self.table.refresh(reply, self.table.deadline(reply), evictable);
        let known = self.model.get_mut(&(n + REPLY)).unwrap();
        (known.pair, known.evictable) = (Some(n), evictable);
        self.model.get_mut(&n).unwrap().pair = Some(n + REPLY);
    }

    fn run(&mut self, step: Step) {
        match step {
            Step::Insert { n, timeout, evictable, replace } => {
                self.insert(n, timeout, evictable, replace);
            }
            Step::InsertPair { n, timeout, evictable } => self.insert_pair(n, timeout, evictable),
            Step::Refresh { n, timeout, evictable } => {
                let (now_s, tick) = (self.now_s, self.tick());
                let Some(known) = self.model.get_mut(&n) else { return };
                known.deadline = now_s + u64::from(timeout);
                known.evictable = evictable;
                self.table.refresh(known.slot, tick.plus(timeout), evictable);
            }
            Step::Remove { n } => {
                if self.model.contains_key(&n) {
                    let known = self.forget(n);
                    let removed = self.table.remove(known.slot).unwrap();
                    assert_eq!(removed.pair.is_some(), known.pair.is_some());
                    if removed.pair.is_some() {
                        self.table.remove(removed.pair).unwrap();
                    }
                    assert_eq!(self.table.remove(known.slot), None, "only once");
                }
            }
            Step::Pass { s } => {
                self.now_s += u64::from(s);
            }
            Step::Sweep { count } => {
                let mut gone = Vec::new();
                self.table.sweep(count, Tick(self.now_s as u16), |e, _| gone.push(Self::number_of(e)));
                for n in gone {
                    assert!(!self.is_alive(&self.model[&n]));
                    self.forget(n);
                }
            }
        }
    }

    /// Everything that the model knows is found, and nothing else.
    fn check(&self) {
        check_invariants(&self.table, self.seed);
        let used: usize = self.table.groups.iter().map(|g| &g.bucket).map(|b| b.used().count()).sum();
        assert_eq!(used, self.model.len());
        for n in (0..120).chain(REPLY..REPLY + 120) {
            let (key, tick) = (key(n), self.tick());
            let hash = hash_of(self.seed, &key);
            let known = self.model.get(&n);
            let alive = known.filter(|k| self.is_alive(k)).map(|k| k.slot);
            let dead = known.filter(|k| !self.is_alive(k)).map(|k| k.slot);
            assert_eq!(self.table.find(hash, &key, tick), alive, "{n}");
            assert_eq!(self.table.find_dead(hash, &key, tick), dead, "{n}");
            let hint = self.table.candidate(hash, tick);
            assert_eq!(self.table.find_at(hint, hash, &key, tick), alive);
            assert_eq!(self.table.find_at(Slot::NONE, hash, &key, tick), alive);
            assert_eq!(self.table.find_at(Slot::new(0, 3), hash, &key, tick), alive, "an outdated hint does no harm");
        }
        let listed = self.table.entries_from(0, usize::MAX, self.tick()).count();
        assert_eq!(listed, self.model.values().filter(|k| self.is_alive(k)).count());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn behaves_as_a_map_that_forgets(
        seed: u8,
        entries in prop_oneof![Just(1usize), Just(20), Just(40), Just(150)],
        steps in prop::collection::vec(step(), 1..200),
    ) {
        let mut both = Both::new(entries, seed);
        for step in steps {
            both.run(step);
            check_invariants(&both.table, seed);
        }
        both.check();
        both.now_s += 32_002;
        both.run(Step::Sweep { count: usize::MAX });
        prop_assert!(both.model.is_empty());
        both.check();
    }
}

#[test]
fn takes_as_many_entries_as_it_was_made_for() {
    for (entries, seeds) in [(1usize, 50u8), (14, 50), (100, 50), (1000, 20), (100_000, 2)] {
        for seed in 0..seeds {
            let mut table = Table::new(entries, Place::default()).unwrap();
            for n in 0..entries as u32 {
                let key = key(n);
                let inserted = table.insert(hash_of(seed, &key), entry(&key), Tick(100), false, false, Tick(0));
                assert!(inserted.is_ok_and(|i| i.removed.is_none()), "{n} of {entries}, seed {seed}");
            }
            assert_eq!(table.groups.iter().map(|g| &g.bucket).map(|b| b.used().count()).sum::<usize>(), entries);
        }
    }
}

#[test]
fn stays_even_while_entries_come_and_go() {
    let (entries, seed) = (10_000u32, 3);
    let mut table = Table::new(entries as usize, Place::default()).unwrap();
    let mut slots: Vec<Slot> = Vec::new();
    for n in 0..entries * 10 {
        if n >= entries {
            // Any of them, by a sequence that repeats nothing.
            let gone = hash::reduce(hash_of(77, &key(n)), slots.len());
            assert!(table.remove(slots.swap_remove(gone)).is_some());
        }
        let key = key(n);
        let inserted = table.insert(hash_of(seed, &key), entry(&key), Tick(100), false, false, Tick(0));
        slots.push(inserted.unwrap().slot);
    }
    check_invariants(&table, seed);
}

#[test]
fn most_connections_are_in_the_bucket_that_is_looked_at_first() {
    let mut table = Table::new(10_000, Place::default()).unwrap();
    for n in 0..10_000 {
        let key = key(n);
        table.insert(hash_of(1, &key), entry(&key), Tick(100), false, false, Tick(0)).unwrap();
    }
    let displaced =
        table.groups.iter().map(|g| &g.bucket).flat_map(|b| b.used().filter(|&p| b.is_displaced(p))).count();
    assert!(displaced < 1200, "{displaced} of 10,000");
}

#[test]
fn a_flood_of_half_open_ones_moves_no_established_one() {
    let mut table = Table::new(1000, Place::default()).unwrap();
    let established: Vec<u32> = (0..700).collect();
    for &n in &established {
        let key = key(n);
        table.insert(hash_of(5, &key), entry(&key), Tick(1000), false, false, Tick(0)).unwrap();
    }
    let mut pushed_out = 0;
    for n in 1000..50_000 {
        let key = key(n);
        if let Ok(Inserted { removed: Some(removed), .. }) =
            table.insert(hash_of(5, &key), entry(&key), Tick(30), true, false, Tick(0))
        {
            assert!(!removed.expired);
            pushed_out += 1;
        }
    }
    assert!(pushed_out > 10_000);
    for n in established {
        assert!(table.find(hash_of(5, &key(n)), &key(n), Tick(0)).is_some(), "{n}");
    }
    check_invariants(&table, 5);
}

#[test]
fn the_half_open_one_that_ends_first_leaves() {
    let mut table = Table::new(1, Place::default()).unwrap();
    let mut n = 0;
    // Deadlines wind round the end of the clock.
    let now = Tick(65_530);
    let mut full = |table: &mut Table<Ipv4Addr>| loop {
        let key = key(n);
        let deadline = now.plus(100 + (n as u16 * 7) % 50);
        let inserted = table.insert(hash_of(2, &key), entry(&key), deadline, true, false, now).unwrap();
        n += 1;
        if let Some(removed) = inserted.removed {
            break (key, removed);
        }
    };
    let (new, removed) = full(&mut table);
    let hash = hash_of(2, &new);
    let home = table.home(hash);
    let left = |slot: Slot| table.deadline(slot).left_s(now);
    let soonest =
        (0..PLACES).map(|p| Slot::new(home, p)).filter(|&slot| !table.entry(slot).unwrap().is(&new)).map(left).min();
    let gone = 100 + (Both::number_of(&removed.entry) as u16 * 7) % 50;
    assert!(Some(gone) <= soonest, "{gone} {soonest:?}");
}

#[test]
fn a_connection_lives_as_long_as_its_later_direction() {
    let mut both = Both::new(20, 1);
    both.insert_pair(1, 10, false);
    both.now_s += 8;
    both.run(Step::Refresh { n: 1 + REPLY, timeout: 10, evictable: false });
    both.now_s += 9;
    let both_found =
        |both: &Both| [1, 1 + REPLY].map(|n| both.table.find(hash_of(1, &key(n)), &key(n), both.tick()).is_some());
    assert_eq!(both_found(&both), [true, true]);
    both.now_s += 1;
    assert_eq!(both_found(&both), [false, false]);
    let mut gone = 0;
    both.table.sweep(usize::MAX, both.tick(), |_, _| gone += 1);
    assert_eq!(gone, 1, "one connection, though two entries");
}

#[test]
fn memory_is_known_before_and_asked_for_politely() {
    let table: Table<Ipv4Addr> = Table::new(10_000, Place::default()).unwrap();
    assert_eq!(table.bytes() as u64, Table::<Ipv4Addr>::bytes_for(10_000));
    let error = Table::<std::net::Ipv6Addr>::new(1 << 50, Place::default()).err().unwrap();
    assert!(error.bytes > 1 << 50, "{error}");
}

#[test]
fn a_slot_is_one_place_of_one_bucket() {
    for (bucket, place) in [(0, 0), (0, 13), (1, 0), (77, 5), ((1 << 28) - 2, 13)] {
        let slot = Slot::new(bucket, place);
        assert_eq!((slot.bucket(), slot.place()), (bucket, place));
        assert!(slot.is_some());
    }
    assert!(!Slot::NONE.is_some() && !Slot::default().is_some());
    let mut table: Table<Ipv4Addr> = Table::new(100, Place::default()).unwrap();
    let buckets = table.buckets();
    assert_eq!(table.groups().len(), buckets);
    // No hint, and hints beyond the end, lead nowhere.
    assert!(table.entry(Slot::NONE).is_none() && table.groups().get(Slot::NONE.bucket()).is_none());
    assert!(table.entry(Slot::new(buckets, 0)).is_none() && table.entry(Slot::new(buckets - 1, 0)).is_some());
}

/// Where the cache sets of all buckets' lines are the same few, they push each other out.
#[test]
fn groups_are_an_odd_number_of_cache_lines() {
    assert_eq!(size_of::<Group<Ipv4Addr>>() / 64 % 2, 1);
    assert_eq!(size_of::<Group<std::net::Ipv6Addr>>() / 64 % 2, 1);
    assert_eq!((size_of::<Group<Ipv4Addr>>() % 64, size_of::<Group<std::net::Ipv6Addr>>() % 64), (0, 0));
}

/// In either bucket, alive or over: whoever opens a connection without looking further would enter it twice.
#[test]
fn only_what_has_no_entry_at_all_is_unknown() {
    // So full that many live in their other bucket.
    let mut table = Table::new(200, Place::default()).unwrap();
    let mut known = Vec::new();
    for n in 0..400 {
        let key = key(n);
        let deadline = Tick(10 + (n % 3) as u16 * 10);
        if table
            .insert(hash_of(4, &key), entry(&key), deadline, false, false, Tick(0))
            .is_ok_and(|i| i.removed.is_none())
        {
            known.push(n);
        }
    }
    assert!(table.groups.iter().any(|group| group.bucket.has_overflow()));
    for n in 0..1000 {
        let key = key(n);
        assert_eq!(table.is_unknown(hash_of(4, &key), &key), !known.contains(&n), "{n}");
        let (alive, dead) =
            (table.find(hash_of(4, &key), &key, Tick(15)), table.find_dead(hash_of(4, &key), &key, Tick(15)));
        assert_eq!(alive.is_some() || dead.is_some(), known.contains(&n), "{n}");
    }
}

#[test]
fn a_hint_is_worth_nothing_once_its_connection_is_gone() {
    let mut table = Table::new(100, Place::default()).unwrap();
    for n in 0..100 {
        let key = key(n);
        table.insert(hash_of(4, &key), entry(&key), Tick(50 + n as u16), n % 2 == 0, false, Tick(0)).unwrap();
    }
    let words = |n| Words::of(&key(n));
    let hints: Vec<_> = (0..100).map(|n| table.find(hash_of(4, &key(n)), &key(n), Tick(0)).unwrap()).collect();
    // Gone by removal, by the sweep, and pushed out by the one that takes the place.
    assert_eq!(table.remove(hints[0]).map(|e| (e.src, e.sport)), Some((key(0).src, key(0).sport)));
    table.sweep(usize::MAX, Tick(60), |_, _| {});
    for n in 0..100u32 {
        let (gone, hint) = (n <= 10, hints[n as usize]);
        assert_eq!(table.entry(hint).unwrap().has(&words(n)), !gone, "{n}");
        assert_eq!(table.entry(hint).is_some_and(|e| e.is(&key(n))), !gone, "{n}");
        assert_eq!(table.find_at(hint, hash_of(4, &key(n)), &key(n), Tick(60)), (!gone).then_some(hint), "{n}");
        if gone {
            assert_eq!(*table.entry(hint).unwrap(), Entry::empty());
            assert_eq!(table.groups()[hint.bucket()].bucket.deadline(hint.place()), Tick(0));
            assert!(table.remove(hint).is_none(), "gone once");
        }
    }
    let mut n = 1000;
    let removed = loop {
        let key = key(n);
        if let Ok(Inserted { removed: Some(removed), slot }) =
            table.insert(hash_of(4, &key), entry(&key), Tick(200), false, false, Tick(60))
        {
            break (Both::number_of(&removed.entry), slot);
        }
        n += 1;
    };
    let (old, hint) = (key(removed.0), removed.1);
    assert!(!table.entry(hint).unwrap().has(&Words::of(&old)));
    assert!(table.entry(hint).unwrap().has(&words(n)));
    assert_eq!(table.find_at(hint, hash_of(4, &old), &old, Tick(60)), None);
}

/// The short way finds an entry by its words and sets the deadline in the bucket itself.
#[test]
fn a_deadline_is_extended_without_another_change() {
    let mut table = Table::new(30, Place::default()).unwrap();
    let mut slots = Vec::new();
    for n in 0..30 {
        let key = key(n);
        slots.push(table.insert(hash_of(6, &key), entry(&key), Tick(10), n % 3 == 0, false, Tick(0)).unwrap().slot);
    }
    let evictable =
        |table: &Table<Ipv4Addr>, slot: Slot| table.groups[slot.bucket()].bucket.evictable().any(|p| p == slot.place());
    for (n, &slot) in (0u16..).zip(&slots) {
        let bucket = &mut table.groups()[slot.bucket()].bucket;
        bucket.set_deadline(slot.place(), Tick(20 + n));
        assert_eq!(evictable(&table, slot), n % 3 == 0, "as it was");
    }
    for (n, &slot) in (0u16..).zip(&slots) {
        assert_eq!(table.deadline(slot), Tick(20 + n));
        assert!(table.is_alive(slot, Tick(19 + n)) && !table.is_alive(slot, Tick(20 + n)));
        table.refresh(slot, Tick(100 + n), n % 2 == 0);
        assert_eq!((table.deadline(slot), evictable(&table, slot)), (Tick(100 + n), n % 2 == 0));
    }
    check_invariants(&table, 6);
}

#[test]
fn words_are_equal_only_for_equal_tuples() {
    let base = key(0x0102_0304);
    let kept = entry(&base);
    assert!(kept.has(&Words::of(&base)));
    let [src, dst] = [base.src, base.dst].map(u32::from);
    for bit in 0..32 {
        let other = FiveTuple { src: (src ^ 1 << bit).into(), ..base };
        assert!(!kept.has(&Words::of(&other)));
        let other = FiveTuple { dst: (dst ^ 1 << bit).into(), ..base };
        assert!(!kept.has(&Words::of(&other)));
    }
    for bit in 0..16 {
        assert!(!kept.has(&Words::of(&FiveTuple { sport: base.sport ^ 1 << bit, ..base })));
        assert!(!kept.has(&Words::of(&FiveTuple { dport: base.dport ^ 1 << bit, ..base })));
        assert!(!kept.has(&Words::of(&FiveTuple { protocol: base.protocol ^ 1 << (bit % 8), ..base })));
    }
    let [src, dst] = [1, 2].map(|n| std::net::Ipv6Addr::from_bits(0x2001_0db8 << 96 | n));
    let base = FiveTuple { src, dst, sport: 1, dport: 2, protocol: 17 };
    let kept = Entry { src, dst, sport: 1, dport: 2, protocol: 17, ..Entry::empty() };
    assert!(kept.has(&Words::of(&base)));
    for bit in 0..128 {
        let flipped = |a: std::net::Ipv6Addr| std::net::Ipv6Addr::from_bits(a.to_bits() ^ 1 << bit);
        assert!(!kept.has(&Words::of(&FiveTuple { src: flipped(src), ..base })));
        assert!(!kept.has(&Words::of(&FiveTuple { dst: flipped(dst), ..base })));
    }
}
