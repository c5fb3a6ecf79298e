//! Bursts of 32 packets through the whole packet path.
//!
//! Before each burst its frames are copied into its packets, as a driver does; `copy` is what that alone takes.

use std::cell::RefCell;
use std::hint::black_box;

use divan::Bencher;
use divan::counter::ItemsCount;
use tidegate::lb::path::BURST;
use tidegate::lb::snapshot::Mode;

use crate::is_test;
use crate::support::{Case, Kind, Rig, cases};

/// Connections opened in one turn.
const NEW: usize = 16_384;

fn established_cases() -> Vec<Case> {
    [cases(Kind::Established), cases(Kind::Reply)].concat()
}

fn rounds(bencher: Bencher<'_, '_>, case: Case, flows: usize) {
    let mut rig = Rig::new(case, flows);
    let mut burst = 0;
    bencher.counter(ItemsCount::new(BURST)).bench_local(|| {
        rig.load(burst);
        burst = (burst + 1) % rig.bursts();
        black_box(rig.run())
    });
    // The last burst speaks for all: their packets differ in the client alone.
    rig.check();
}

/// A burst out of 1 K connections.
#[divan::bench(args = established_cases())]
fn flows_1k(bencher: Bencher<'_, '_>, case: Case) {
    rounds(bencher, case, 1 << 10);
}

/// A burst out of 64 K connections.
#[divan::bench(args = established_cases())]
fn flows_64k(bencher: Bencher<'_, '_>, case: Case) {
    rounds(bencher, case, if is_test() { 1 << 10 } else { 1 << 16 });
}

/// 16 K connections, one after the other, through a table that is empty at first.
#[divan::bench(args = cases(Kind::New), sample_size = 1)]
fn new(bencher: Bencher<'_, '_>, case: Case) {
    let rig = RefCell::new(Rig::new(case, NEW));
    let run = || {
        let mut rig = rig.borrow_mut();
        for burst in 0..rig.bursts() {
            rig.load(burst);
            black_box(rig.run());
        }
    };
    bencher.counter(ItemsCount::new(NEW)).with_inputs(|| rig.borrow_mut().forget()).bench_local_values(|()| run());
    rig.borrow_mut().check();
}

fn lengths() -> Vec<Case> {
    cases(Kind::New).into_iter().filter(|case| case.mode == Mode::Gre).collect()
}

/// Copying the frames of a burst alone.
#[divan::bench(args = lengths())]
fn copy(bencher: Bencher<'_, '_>, case: Case) {
    let mut rig = Rig::new(case, 1 << 10);
    let mut burst = 0;
    bencher.counter(ItemsCount::new(BURST)).bench_local(|| {
        rig.load(burst);
        burst = (burst + 1) % rig.bursts();
    });
}
