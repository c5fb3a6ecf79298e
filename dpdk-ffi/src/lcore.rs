//! The pinned threads of EAL.

use std::any::Any;
use std::ffi::{c_int, c_void};
use std::fmt;
use std::iter;
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use thiserror::Error;

use crate::{Eal, Errno, ffi};

/// Number of an lcore, as in EAL's `--lcores`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LcoreId(pub u32);

/// A closure could not be launched, or it panicked.
#[derive(Debug, Error)]
pub enum LcoreError {
    /// The lcore does not exist, or is the main one.
    #[error("lcore {lcore} is not a worker; the workers are {workers:?}")]
    NotAWorker {
        /// What was asked for.
        lcore: LcoreId,
        /// What there is.
        workers: Vec<u32>,
    },
    /// DPDK refused: `EBUSY` while another closure runs there.
    #[error("cannot launch on lcore {lcore}: {errno}")]
    Launch {
        /// What was asked for.
        lcore: LcoreId,
        /// Why.
        errno: Errno,
    },
    /// The closure panicked.
    #[error("lcore {lcore} panicked: {message}")]
    Panicked {
        /// Where it ran.
        lcore: LcoreId,
        /// What it said.
        message: String,
    },
}

/// A closure that runs on a worker lcore; it goes on when the handle is dropped.
#[derive(Debug)]
pub struct LcoreHandle<T> {
    lcore: LcoreId,
    slot: Arc<Slot<T>>,
    /// Dropped last, so that EAL outlives the closure that is waited for.
    _eal: Eal,
}

/// Where the closure leaves its result.
#[derive(Debug)]
struct Slot<T> {
    result: Mutex<Option<Result<T, Box<dyn Any + Send>>>>,
    done: Condvar,
}

/// What travels to the worker.
struct Job<F, T> {
    run: F,
    slot: Arc<Slot<T>>,
    eal: Eal,
}

impl Eal {
    /// Runs a closure on a worker lcore that has none.
    ///
    /// # Errors
    /// When the lcore is no worker, or is busy.
    pub fn launch<F, T>(&self, lcore: LcoreId, run: F) -> Result<LcoreHandle<T>, LcoreError>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let control = self.control();
        if !workers().any(|worker| worker == lcore) {
            return Err(LcoreError::NotAWorker { lcore, workers: workers().map(|worker| worker.0).collect() });
        }
        let slot = Arc::new(Slot { result: Mutex::new(None), done: Condvar::new() });
        let job = Box::into_raw(Box::new(Job { run, slot: Arc::clone(&slot), eal: self.clone() }));
        // SAFETY: the lcore is a worker, and the lock keeps others from launching on it meanwhile. The worker gets the
        // job that `trampoline` of the same types expects, and becomes its owner.
        let result = unsafe { ffi::rte_eal_remote_launch(Some(trampoline::<F, T>), job.cast(), lcore.0) };
        if let Err(errno) = Errno::check(result) {
            drop(control);
            // SAFETY: the worker did not get the job, so it is still ours.
            drop(unsafe { Box::from_raw(job) });
            return Err(LcoreError::Launch { lcore, errno });
        }
        Ok(LcoreHandle { lcore, slot, _eal: self.clone() })
    }
}

impl LcoreId {
    /// Socket that the lcore's CPU is on.
    pub fn socket(self) -> u32 {
        // SAFETY: DPDK checks the range of the number.
        unsafe { ffi::rte_lcore_to_socket_id(self.bounded()) }
    }

    /// Whether a closure runs on it; to be asked of workers only.
    pub(crate) fn is_running(self) -> bool {
        // SAFETY: the number is within DPDK's table.
        unsafe { ffi::rte_eal_get_lcore_state(self.bounded()) != ffi::WAIT }
    }

    fn bounded(self) -> u32 {
        self.0.min(ffi::RTE_MAX_LCORE - 1)
    }
}

impl fmt::Display for LcoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<T> LcoreHandle<T> {
    /// The lcore it runs on.
    pub fn lcore(&self) -> LcoreId {
        self.lcore
    }

    /// Whether the closure has returned or panicked.
    pub fn is_finished(&self) -> bool {
        self.slot.result.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Waits for the closure, without spinning, and returns what it returned.
    ///
    /// # Errors
    /// When the closure panicked.
    pub fn join(self) -> Result<T, LcoreError> {
        let mut guard = self.slot.result.lock().unwrap_or_else(PoisonError::into_inner);
        let result = loop {
            match guard.take() {
                Some(result) => break result,
                None => guard = self.slot.done.wait(guard).unwrap_or_else(PoisonError::into_inner),
            }
        };
        drop(guard);
        // The closure is over, but the worker has still to go back to waiting, which the next launch asks for.
        // SAFETY: the lcore is a worker.
        unsafe { ffi::rte_eal_wait_lcore(self.lcore.0) };
        result.map_err(|payload| LcoreError::Panicked { lcore: self.lcore, message: message_of(payload.as_ref()) })
    }
}

/// The worker lcores, in order.
pub(crate) fn workers() -> impl Iterator<Item = LcoreId> {
    // SAFETY: DPDK's iteration: starts behind u32::MAX, skips the main lcore, does not wrap.
    let next = |after: u32| unsafe { ffi::rte_get_next_lcore(after, 1, 0) };
    iter::successors(Some(next(u32::MAX)), move |lcore| Some(next(*lcore)))
        .take_while(|lcore| *lcore < ffi::RTE_MAX_LCORE)
        .map(LcoreId)
}

unsafe extern "C" fn trampoline<F: FnOnce() -> T, T>(job: *mut c_void) -> c_int {
    // SAFETY: launch made the job with these types and gave it away to this call.
    let Job { run, slot, eal } = *unsafe { Box::from_raw(job.cast::<Job<F, T>>()) };
    // Unwinding must not reach C. What the closure owned is dropped by then, and its result is not looked at.
    let result = panic::catch_unwind(AssertUnwindSafe(run));
    // Given back before the result is seen, so that after join the last Eal goes on the main lcore.
    drop(eal);
    *slot.result.lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
    slot.done.notify_all();
    0
}

fn message_of(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| String::from("without a message"))
}
