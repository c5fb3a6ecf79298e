//! The consistent-hash table: building it, off the packet path, and asking it, for each new connection.

use std::hint::black_box;

use divan::Bencher;
use divan::counter::ItemsCount;
use tidegate::lb::hash::{HashKey, hash_words};
use tidegate::lb::maglev::{DEFAULT_SIZE, Entry, Maglev};

const KEY: HashKey = HashKey::from_bytes([7; 16]);
const BACKENDS: [usize; 3] = [10, 100, 1000];

fn table(backends: usize) -> Maglev {
    let identities: Vec<_> = (0..backends as u32).map(|n| (0x0a01_0000 + n).to_be_bytes()).collect();
    let entries: Vec<_> = identities.iter().map(|identity| Entry { identity, weight: 100 }).collect();
    Maglev::build(KEY, &entries, DEFAULT_SIZE).unwrap()
}

/// The whole table of 65,537 slots.
#[divan::bench(args = BACKENDS)]
fn build(bencher: Bencher<'_, '_>, backends: usize) {
    bencher.bench_local(|| table(black_box(backends)));
}

/// 1024 lookups by hashes all over the table.
#[divan::bench(args = BACKENDS)]
fn lookup(bencher: Bencher<'_, '_>, backends: usize) {
    let table = table(backends);
    let hashes: Vec<_> = (0..1024).map(|n| hash_words(KEY, &[n])).collect();
    bencher.counter(ItemsCount::new(hashes.len())).bench_local(|| {
        for &hash in &hashes {
            black_box(table.lookup(black_box(hash)));
        }
    });
}
