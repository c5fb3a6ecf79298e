//! The fuzz targets without a fuzzer: their seeds, and random inputs that grow out of them.
//!
//! `FUZZ_SECONDS` is how long each target is tried, `FUZZ_SEED` what the random inputs follow from, and `UPDATE_SEEDS=1` writes
//! the seeds anew.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests, which clippy knows by their attribute only"
)]

#[path = "../fuzz/src/lib.rs"]
mod targets;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Without a wish: enough for some ten thousand inputs.
const SECONDS: f64 = 2.0;
const LEN_MAX: usize = 2048;

#[test]
fn parse() {
    smoke("parse", targets::parse::run);
}

#[test]
fn path() {
    smoke("path", targets::path::run);
}

#[test]
fn config() {
    smoke("config", targets::config::run);
}

#[test]
fn seeds_are_what_their_generator_makes() {
    let top = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds");
    let update = std::env::var_os("UPDATE_SEEDS").is_some();
    if update {
        let _ = std::fs::remove_dir_all(&top);
    }
    let seeds = targets::seeds::all();
    for (target, name, bytes) in &seeds {
        let path = top.join(target).join(name);
        if update {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, bytes).unwrap();
        }
        let is_same = std::fs::read(&path).is_ok_and(|found| &found == bytes);
        assert!(is_same, "{} is not what seeds.rs makes; run this test with UPDATE_SEEDS=1", path.display());
    }
    let files = ["parse", "path", "config"].map(|target| std::fs::read_dir(top.join(target)).unwrap().count());
    assert_eq!(files.iter().sum::<usize>(), seeds.len(), "a file that seeds.rs does not make");
}

/// Runs a target on its seeds, and on what becomes of them by chance, until its time is over.
fn smoke(target: &str, run: fn(&[u8])) {
    let number = |name: &str| std::env::var(name).ok()?.parse::<f64>().ok();
    let seed = number("FUZZ_SEED").map_or_else(|| u64::from(std::process::id()), |seed| seed as u64);
    let end = Instant::now() + Duration::from_secs_f64(number("FUZZ_SECONDS").unwrap_or(SECONDS));
    let seeds: Vec<Vec<u8>> = targets::seeds::all().into_iter().filter(|s| s.0 == target).map(|s| s.2).collect();
    assert!(!seeds.is_empty());
    seeds.iter().for_each(|input| try_one(target, run, input));
    let mut chance = Chance(seed.wrapping_mul(2).wrapping_add(1));
    let mut inputs = 0;
    while Instant::now() < end {
        try_one(target, run, &chance.input(&seeds));
        inputs += 1;
    }
    println!("{target}: {} seeds and {inputs} random inputs, FUZZ_SEED={seed}", seeds.len());
}

/// Runs one input; keeps it, if it fails, as a file for `cargo fuzz run`.
fn try_one(target: &str, run: fn(&[u8]), input: &[u8]) {
    if catch_unwind(AssertUnwindSafe(|| run(input))).is_err() {
        let path = std::env::temp_dir().join(format!("tidegate-fuzz-{target}-{}", std::process::id()));
        std::fs::write(&path, input).unwrap();
        panic!("{target} fails on the input in {}", path.display());
    }
}

/// Random numbers that a seed decides (xorshift64).
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    /// A seed, changed a little, a lot, or joined with another; now and then nothing but noise.
    fn input(&mut self, seeds: &[Vec<u8>]) -> Vec<u8> {
        let mut input = seeds[self.below(seeds.len())].clone();
        if self.below(8) == 0 {
            input = (0..self.below(512)).map(|_| self.next() as u8).collect();
        }
        for _ in 0..1 + self.below(12) {
            let at = self.below(input.len());
            let other = &seeds[self.below(seeds.len())];
            match self.below(6) {
                0 => input.insert(at, self.next() as u8),
                1 => drop(input.drain(at..(at + self.below(9)).min(input.len()))),
                2 => input.truncate(input.len().min(at + 64)),
                3 => {
                    let from = self.below(other.len());
                    input.splice(at..at, other[from..].iter().copied());
                }
                _ if at < input.len() => input[at] = self.next() as u8,
                _ => {}
            }
        }
        input.truncate(LEN_MAX);
        input
    }
}
