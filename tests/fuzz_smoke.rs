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
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use targets::long::{Ends, ROUND};

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

/// `FRAMES` frames in rounds that follow from `SEED`; the long run of `fuzz/long.sh`, which no other test is.
#[test]
#[ignore = "takes some minutes for every hundred million frames"]
fn long() {
    long_run(number("FRAMES", 100_000_000), number("SEED", 1));
}

/// The same, short.
#[test]
fn not_so_long() {
    long_run(200_000, 1);
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

fn number(name: &str, otherwise: u64) -> u64 {
    let parse = |text: String| text.replace('_', "").parse().unwrap_or_else(|_| panic!("{name}={text} is no number"));
    std::env::var(name).map_or(otherwise, parse)
}

/// Rounds of frames until there were as many as asked for. A fault is met again with `SEED` set to the round's seed, which is
/// printed, and `FRAMES` to those of one round.
fn long_run(frames: u64, first: u64) {
    let (started, mut told) = (Instant::now(), Instant::now());
    let (mut pool, mut ends, mut seed, mut memory) = (Vec::new(), Ends::default(), first, 0);
    watch(HANG);
    while ends.frames < frames {
        ROUND_NOW.store(seed, Ordering::Relaxed);
        let count = ROUND.min(frames - ends.frames);
        let round = catch_unwind(AssertUnwindSafe(|| targets::long::round(seed, count, &mut pool)));
        let Ok(round) = round else { panic!("a fault in the round of SEED={seed} FRAMES={count}") };
        assert!(pool.len() <= BUFFERS_MAX, "SEED={seed}: {} buffers are in use at once", pool.len());
        ends.add(&round);
        seed = seed.wrapping_add(1);
        // All tables have been as large as they get by then.
        if ends.frames <= frames.clamp(ROUND, MEASURE_AT) {
            memory = resident_kib();
        }
        if told.elapsed() > Duration::from_secs(10) {
            told = Instant::now();
            println!("{} frames, {:.0} s, {} KiB", ends.frames, started.elapsed().as_secs_f64(), resident_kib());
        }
    }
    ROUND_NOW.store(IDLE, Ordering::Relaxed);
    let (seconds, now) = (started.elapsed().as_secs_f64(), resident_kib());
    println!(
        "{} frames in {seconds:.1} s ({:.2} M/s), SEED={first}: {} sent, {} answered, {} handed on, {} still held, dropped {:?}",
        ends.frames,
        ends.frames as f64 / seconds / 1e6,
        ends.sent,
        ends.answered,
        ends.handed,
        ends.held,
        ends.reasons()
    );
    println!("verdicts {} of {} frames; memory {memory} KiB at first, {now} KiB at the end", ends.sum(), ends.frames);
    assert_eq!(ends.sum(), ends.frames);
    assert!(now <= memory + GROWTH_MAX_KIB, "memory grew from {memory} to {now} KiB");
}

/// A round takes a fraction of a second; on a machine that does much else at once, some.
const HANG: Duration = Duration::from_secs(60);
/// Buffers that one round can have out at once, over all workers' queues.
const BUFFERS_MAX: usize = 2000;
const MEASURE_AT: u64 = 5_000_000;
const GROWTH_MAX_KIB: u64 = 16 * 1024;
/// The round that runs now.
static ROUND_NOW: AtomicU64 = AtomicU64::new(IDLE);
const IDLE: u64 = u64::MAX;

/// Ends the process when one round runs for longer than `limit`: a hang cannot be caught from within.
fn watch(limit: Duration) {
    std::thread::spawn(move || {
        let (mut round, mut since) = (IDLE, Instant::now());
        loop {
            std::thread::sleep(Duration::from_secs(1));
            let now = ROUND_NOW.load(Ordering::Relaxed);
            if now != round || now == IDLE {
                (round, since) = (now, Instant::now());
            }
            if since.elapsed() > limit {
                eprintln!("the round of SEED={round} hangs");
                std::process::abort();
            }
        }
    });
}

/// Memory of this process that is in use.
fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
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
