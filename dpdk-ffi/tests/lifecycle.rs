//! EAL from start to cleanup, in one test, as it can be started once in a process.
#![allow(clippy::unwrap_used, clippy::panic, reason = "steps of the test, which clippy knows by their attribute only")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use dpdk_ffi::{DATA_ROOM_DEFAULT, Eal, EalError, Errno, LcoreError, LcoreId, LogLevel, MbufBurst, Mempool, clock};

mod common;

#[test]
fn eal_starts_once_runs_workers_and_cleans_up() {
    let eal = Eal::init(&common::eal_args()).unwrap();
    assert!(matches!(Eal::init(&common::eal_args()), Err(EalError::AlreadyStarted)));
    assert_eq!(eal.main_lcore(), LcoreId(0));
    assert_eq!(eal.worker_lcores(), [LcoreId(1)]);
    assert_eq!(LcoreId(1).socket(), 0);
    assert!(!eal.has_hugepages());
    assert!(eal.dpdk_version().contains(dpdk_ffi::DPDK_VERSION), "{} was loaded", eal.dpdk_version());
    eal.set_log_level(LogLevel::Warning);
    the_clock_runs(&eal);
    a_worker_returns_its_result(&eal);
    a_worker_runs_one_closure_at_a_time(&eal);
    a_panic_stays_on_this_side(&eal);
    only_workers_are_launched_on(&eal);
    a_pool_outlives_its_mbufs(&eal);
    too_little_memory_is_an_error(&eal);
    drop(eal);
    assert!(matches!(Eal::init(&common::eal_args()), Err(EalError::AlreadyStarted)), "not even after cleanup");
}

fn the_clock_runs(eal: &Eal) {
    let hz = clock::tsc_hz(eal);
    assert!(hz > 1_000_000, "{hz}");
    let before = clock::tsc();
    std::thread::sleep(std::time::Duration::from_millis(20));
    let ticks = clock::tsc() - before;
    assert!(ticks > hz / 100 && ticks < hz, "{ticks} ticks in 20 ms at {hz} Hz");
}

fn a_worker_returns_its_result(eal: &Eal) {
    let main = std::thread::current().id();
    let numbers = vec![1, 2, 3];
    let handle = eal.launch(LcoreId(1), move || (numbers, std::thread::current().id())).unwrap();
    assert_eq!(handle.lcore(), LcoreId(1));
    let (numbers, worker) = handle.join().unwrap();
    assert_eq!(numbers, [1, 2, 3]);
    assert_ne!(worker, main);
}

fn a_worker_runs_one_closure_at_a_time(eal: &Eal) {
    let stop = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&stop);
    let handle = eal
        .launch(LcoreId(1), move || {
            while !seen.load(Ordering::Acquire) {
                std::thread::yield_now();
            }
        })
        .unwrap();
    assert!(!handle.is_finished());
    let error = eal.launch(LcoreId(1), || ()).unwrap_err();
    assert!(matches!(error, LcoreError::Launch { lcore: LcoreId(1), errno: Errno::EBUSY }), "{error}");
    stop.store(true, Ordering::Release);
    handle.join().unwrap();
}

fn a_panic_stays_on_this_side(eal: &Eal) {
    let pool = Mempool::new(eal, "panic", 63, 0, DATA_ROOM_DEFAULT, None).unwrap();
    let mbuf = pool.alloc().unwrap();
    let error = eal
        .launch(LcoreId(1), move || {
            let _held = mbuf;
            panic!("on purpose {}", 7);
        })
        .unwrap()
        .join()
        .unwrap_err();
    assert_eq!(error.to_string(), "lcore 1 panicked: on purpose 7");
    assert_eq!(pool.in_use(), 0, "unwinding has freed what the closure owned");
    assert_eq!(eal.launch(LcoreId(1), || 5).unwrap().join().unwrap(), 5, "the worker goes on");
}

fn only_workers_are_launched_on(eal: &Eal) {
    for lcore in [0, 2, 127, 128, u32::MAX] {
        let error = eal.launch(LcoreId(lcore), || ()).unwrap_err();
        assert_eq!(error.to_string(), format!("lcore {lcore} is not a worker; the workers are [1]"));
    }
}

fn a_pool_outlives_its_mbufs(eal: &Eal) {
    let make = || Mempool::new(eal, "outlived", 127, 0, DATA_ROOM_DEFAULT, None);
    let pool = make().unwrap();
    let mut burst = MbufBurst::<8>::new();
    assert!(pool.alloc_burst(&mut burst));
    drop(pool);
    assert!(burst.as_mut_slice().iter_mut().all(|mbuf| mbuf.extend_from_slice(b"still there")));
    let error = make().unwrap_err();
    assert!(error.to_string().contains("File exists (errno 17)"), "the memory must not be freed yet: {error}");
    drop(burst);
    let pool = make().unwrap();
    assert_eq!((pool.available(), pool.in_use(), pool.capacity()), (127, 0, 127));
}

fn too_little_memory_is_an_error(eal: &Eal) {
    let error = Mempool::new(eal, "memory", 1 << 20, 0, DATA_ROOM_DEFAULT, None).unwrap_err().to_string();
    assert!(error.contains("1048576 mbufs") && error.ends_with("Cannot allocate memory (errno 12)"), "{error}");
    // What was taken on the way is given back.
    Mempool::new(eal, "memory", 8191, 0, DATA_ROOM_DEFAULT, None).unwrap();
}
