//! The connection table of each family, filled with a number of connections.
//!
//! Connections are looked up one by one in random order, without the prefetching of the packet path, so from the size
//! on that no cache holds, a figure is the time that the memory takes, as far as the processor does not overlap it.

use std::cell::RefCell;
use std::hint::black_box;
use std::net::{Ipv4Addr, Ipv6Addr};

use divan::Bencher;
use divan::counter::ItemsCount;
use tidegate::lb::clock::Tick;
use tidegate::lb::connection::{Direction, Phase, State};
use tidegate::lb::hash::{HashKey, hash_words, reduce};
use tidegate::lb::ids::BackendId;
use tidegate::lb::memory::Place;
use tidegate::lb::table::{Entry, Slot, Table, TableHasher};
use tidegate::wire::parse::FiveTuple;

use crate::hash::{Known, tuple};
use crate::is_test;

const KEY: HashKey = HashKey::from_bytes([9; 16]);
const SIZES: [usize; 4] = [1 << 10, 1 << 16, 1 << 20, 1 << 24];
/// Largest size that is tried where no figures are wanted.
const TEST_MAX: usize = 1 << 16;
/// Connections looked up until the same come again: of a large table more than the caches hold.
const LOOKUPS: usize = 1 << 20;
const BORN: Tick = Tick(0);
const DEADLINE: Tick = Tick(10);
const LATER: Tick = Tick(20);

/// The sizes whose table of the larger family has room in memory; says which have not.
fn sizes() -> Vec<usize> {
    let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let available = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:")?.split_whitespace().next());
    let available_kib: Option<u64> = available.and_then(|kib| kib.parse().ok());
    let fits = |&size: &usize| {
        // A quarter more, for what runs beside it.
        let needed_kib = Table::<Ipv6Addr>::bytes_for(size) / 1024 * 5 / 4;
        let fits = available_kib.is_none_or(|kib| kib >= needed_kib);
        if !fits {
            eprintln!("SKIPPED: {size} connections need {needed_kib} KiB of memory, {available_kib:?} are available");
        }
        fits
    };
    SIZES.into_iter().filter(|&size| size <= TEST_MAX || !is_test()).filter(fits).collect()
}

/// A table, and how its connections are made.
struct Filled<A: Known> {
    table: Table<A>,
    hasher: TableHasher,
    size: usize,
}

impl<A: Known> Filled<A> {
    /// `count` connections in a table for `size`.
    fn new(size: usize, count: usize) -> Self {
        let mut filled =
            Self { table: Table::new(size, Place::default()).unwrap(), hasher: TableHasher::new(KEY), size };
        for n in 0..count {
            filled.insert(n);
        }
        filled
    }

    fn key(&self, n: usize) -> (u64, FiveTuple<A>) {
        let key = tuple(n);
        (self.hasher.hash(&key), key)
    }

    fn insert(&mut self, n: usize) -> Slot {
        let (hash, key) = self.key(n);
        put(&mut self.table, hash, &key)
    }

    /// Connections with numbers from `from` on, in random order, `count` of the `size` that there are.
    fn some(&self, from: usize, count: usize) -> Vec<(u64, FiveTuple<A>)> {
        (0..count as u64).map(|n| self.key(from + reduce(hash_words(KEY, &[n]), self.size))).collect()
    }
}

fn put<A: Known>(table: &mut Table<A>, hash: u64, key: &FiveTuple<A>) -> Slot {
    let entry = Entry {
        src: key.src,
        dst: key.dst,
        sport: key.sport,
        dport: key.dport,
        protocol: key.protocol,
        state: State::new(Phase::TcpEstablished, Direction::Request),
        backend: BackendId::new(1, 0),
        ..Entry::empty()
    };
    table.insert(hash, entry, DEADLINE, false, false, BORN).unwrap().slot
}

fn lookups<A: Known>(bencher: Bencher<'_, '_>, size: usize, from: usize) {
    const BATCH: usize = 256;
    let filled = Filled::<A>::new(size, size);
    let keys = filled.some(from, LOOKUPS.min(size));
    let found = keys.iter().filter(|(hash, key)| filled.table.find(*hash, key, BORN).is_some()).count();
    assert_eq!(found, if from == 0 { keys.len() } else { 0 });
    let mut batches = keys.chunks_exact(BATCH).cycle();
    bencher.counter(ItemsCount::new(BATCH)).bench_local(|| {
        for (hash, key) in batches.next().unwrap_or_default() {
            black_box(filled.table.find(*hash, key, BORN));
        }
    });
}

/// 256 connections that are in the table.
#[divan::bench(types = [Ipv4Addr, Ipv6Addr], args = sizes())]
fn hit<A: Known>(bencher: Bencher<'_, '_>, size: usize) {
    lookups::<A>(bencher, size, 0);
}

/// 256 connections that are not.
#[divan::bench(types = [Ipv4Addr, Ipv6Addr], args = sizes())]
fn miss<A: Known>(bencher: Bencher<'_, '_>, size: usize) {
    lookups::<A>(bencher, size, size);
}

/// The last 32nd of the connections, up to 4 K, into a table that has all others.
///
/// They were removed just before, so caches may still have their places.
#[divan::bench(types = [Ipv4Addr, Ipv6Addr], args = sizes(), sample_size = 1)]
fn insert<A: Known>(bencher: Bencher<'_, '_>, size: usize) {
    let count = (size / 32).min(1 << 12);
    let filled = Filled::<A>::new(size, size - count);
    let keys: Vec<_> = (size - count..size).map(|n| filled.key(n)).collect();
    let state = RefCell::new((filled.table, Vec::with_capacity(count)));
    let empty = || {
        let (table, slots) = &mut *state.borrow_mut();
        slots.drain(..).for_each(|slot| assert!(table.remove(slot).is_some()));
    };
    let fill = |()| {
        let (table, slots) = &mut *state.borrow_mut();
        slots.extend(keys.iter().map(|(hash, key)| put(table, *hash, key)));
    };
    bencher.counter(ItemsCount::new(count)).with_inputs(empty).bench_local_values(fill);
}

/// Looks at up to 4096 buckets, all of whose connections have timed out.
#[divan::bench(types = [Ipv4Addr, Ipv6Addr], args = sizes(), sample_size = 1)]
fn expire<A: Known>(bencher: Bencher<'_, '_>, size: usize) {
    let filled = Filled::<A>::new(size, size);
    let buckets = filled.table.buckets().min(4096);
    let turns = filled.table.buckets() / buckets;
    let gone = size * buckets / filled.table.buckets();
    let state = RefCell::new((filled, turns));
    let refill = || {
        let (filled, left) = &mut *state.borrow_mut();
        if *left == 0 {
            filled.table.sweep(usize::MAX, LATER, |_, _| ());
            (0..size).for_each(|n| _ = filled.insert(n));
            *left = turns;
        }
        *left -= 1;
    };
    bencher
        .counter(ItemsCount::new(gone))
        .with_inputs(refill)
        .bench_local_values(|()| state.borrow_mut().0.table.sweep(buckets, LATER, |entry, _| _ = black_box(entry)));
}

/// Looks at up to 4096 buckets, none of whose connections has timed out.
#[divan::bench(types = [Ipv4Addr, Ipv6Addr], args = sizes())]
fn sweep<A: Known>(bencher: Bencher<'_, '_>, size: usize) {
    let mut filled = Filled::<A>::new(size, size);
    let buckets = filled.table.buckets().min(4096);
    let seen = size * buckets / filled.table.buckets();
    bencher.counter(ItemsCount::new(seen)).bench_local(|| {
        filled.table.sweep(buckets, BORN, |_, _| panic!("a connection ended before its time"));
    });
}
