//! DPDK's environment: started once per process, shut down after everything that needs it.

use std::ffi::{CStr, CString, c_char, c_int};
use std::fmt;
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use thiserror::Error;

use crate::lcore::{self, LcoreId};
use crate::mempool::RawPool;
use crate::{Errno, ffi};

/// Whether rte_eal_init was called in this process; it must not be called again, whatever it said.
static CALLED: AtomicBool = AtomicBool::new(false);

/// EAL did not start.
#[derive(Debug, Error)]
pub enum EalError {
    /// It is started at most once per process, also when the first start failed or the first [`Eal`] is gone.
    #[error("EAL was started before in this process, which can be done only once")]
    AlreadyStarted,
    /// The argument cannot be given to C.
    #[error("EAL argument {0:?} must have no NUL byte")]
    Argument(String),
    /// With this argument DPDK prints a text and exits the process.
    #[error("EAL argument {0:?} would end the process: leave it out")]
    WouldExit(String),
    /// DPDK refused; what exactly was wrong is in its log, on standard error.
    #[error("EAL does not start with {args:?}: {errno}")]
    Init {
        /// The arguments.
        args: Vec<String>,
        /// Why, in a word.
        errno: Errno,
    },
}

/// Proof that EAL is up, and a handle to it; clones are the same.
///
/// Everything that needs EAL holds one. EAL is cleaned up when the last one goes, provided that this happens on the
/// thread that started it, no worker runs, and all mbufs are back in their pools; otherwise the memory stays mapped
/// until the process ends, since something may still use it.
#[derive(Clone, Debug)]
pub struct Eal(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// Held by whatever changes DPDK's own tables, which DPDK does not protect from concurrent changes.
    control: Mutex<Control>,
}

/// What the wrappers know of DPDK's tables.
#[derive(Debug, Default)]
pub(crate) struct Control {
    /// Numbers of the ports that a `Port` owns.
    pub(crate) ports: Vec<u16>,
    /// Pools without handles that had mbufs out.
    retired: Vec<RawPool>,
}

/// What DPDK logs, from the least to the most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
pub enum LogLevel {
    /// The system is unusable.
    Emergency = 1,
    /// Action must be taken at once.
    Alert = 2,
    /// Critical conditions.
    Critical = 3,
    /// Errors.
    Error = 4,
    /// Warnings.
    Warning = 5,
    /// What is normal but matters.
    Notice = 6,
    /// Information.
    Info = 7,
    /// Everything.
    Debug = 8,
}

impl Eal {
    /// Starts EAL with `args`, the program's name not among them; the calling thread becomes the main lcore and is
    /// pinned to its CPU, and so are threads that it makes from then on: make the management threads before.
    ///
    /// In a few cases (a thread or the main lcore's affinity cannot be set up) DPDK itself aborts the process.
    ///
    /// # Errors
    /// When it was called before, an argument has a NUL byte or asks for the help text, or DPDK refuses.
    pub fn init(args: &[String]) -> Result<Self, EalError> {
        if let Some(arg) = args.iter().find(|arg| asks_for_help(arg)) {
            return Err(EalError::WouldExit(arg.clone()));
        }
        let mut argv = Vec::with_capacity(args.len() + 2);
        argv.push(c"tidegate".to_owned());
        for arg in args {
            argv.push(CString::new(arg.as_str()).map_err(|_| EalError::Argument(arg.clone()))?);
        }
        if CALLED.swap(true, Ordering::SeqCst) {
            return Err(EalError::AlreadyStarted);
        }
        // DPDK keeps pointers into the arguments, so they stay for the life of the process.
        let mut pointers: Vec<*mut c_char> = argv.into_iter().map(CString::into_raw).collect();
        let argc = pointers.len() as c_int;
        pointers.push(ptr::null_mut());
        // SAFETY: argv is argc strings and a null pointer, writable and never freed; this is the only call.
        let result = unsafe { ffi::rte_eal_init(argc, Vec::leak(pointers).as_mut_ptr()) };
        if result < 0 {
            return Err(EalError::Init { args: args.to_vec(), errno: Errno::last() });
        }
        Ok(Self(Arc::new(Inner { control: Mutex::default() })))
    }

    /// The lcore that EAL was started on.
    pub fn main_lcore(&self) -> LcoreId {
        // SAFETY: reads an integer that rte_eal_init has set.
        LcoreId(unsafe { ffi::rte_get_main_lcore() })
    }

    /// The lcores that closures can be launched on, in order.
    pub fn worker_lcores(&self) -> Vec<LcoreId> {
        lcore::workers().collect()
    }

    /// Whether memory comes from hugepages.
    pub fn has_hugepages(&self) -> bool {
        // SAFETY: reads an integer that rte_eal_init has set.
        unsafe { ffi::rte_eal_has_hugepages() != 0 }
    }

    /// Sets how much DPDK logs to standard error.
    pub fn set_log_level(&self, level: LogLevel) {
        // SAFETY: writes an integer that the log functions read.
        unsafe { ffi::rte_log_set_global_level(level as u32) };
    }

    /// The DPDK that was loaded, such as `DPDK 22.11.11`.
    pub fn dpdk_version(&self) -> String {
        // SAFETY: returns a string that is never changed once it is made, and EAL has made it.
        unsafe { CStr::from_ptr(ffi::rte_version()) }.to_string_lossy().into_owned()
    }

    /// Locks DPDK's tables against changes by other users of this crate.
    pub(crate) fn control(&self) -> MutexGuard<'_, Control> {
        // A panic while it was held leaves lists that are still true, so the lock stays usable.
        self.0.control.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a pool that has no handle left, and frees it as soon as that is safe.
    pub(crate) fn retire_pool(&self, pool: RawPool) {
        self.control().retired.push(pool);
        self.sweep_pools();
    }

    /// Frees the retired pools that have all their mbufs back.
    pub(crate) fn sweep_pools(&self) {
        self.control().sweep_pools();
    }
}

impl Control {
    fn sweep_pools(&mut self) {
        // The caller holds the lock, so no worker can be launched meanwhile.
        if !is_quiet() {
            return;
        }
        for pool in std::mem::take(&mut self.retired) {
            if pool.in_use() > 0 {
                self.retired.push(pool);
            } else {
                // SAFETY: no handle is left to take mbufs, all are back, and no lcore is in the middle of giving one
                // back: this thread is the main lcore and the workers wait. Other threads have no cache, and they
                // are through with a pool at the moment it counts their mbuf.
                unsafe { pool.free() };
            }
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let control = self.control.get_mut().unwrap_or_else(PoisonError::into_inner);
        control.sweep_pools();
        if is_quiet() && control.retired.is_empty() {
            // SAFETY: ports, pools and rings hold an Eal, so none is left; neither is an mbuf; and no worker runs.
            unsafe { ffi::rte_eal_cleanup() };
        }
    }
}

impl fmt::Display for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Emergency => "emergency",
            Self::Alert => "alert",
            Self::Critical => "critical",
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Notice => "notice",
            Self::Info => "info",
            Self::Debug => "debug",
        })
    }
}

/// A socket number as DPDK takes it, where -1 is any.
pub(crate) fn socket_arg(socket: Option<u32>) -> c_int {
    socket.and_then(|socket| c_int::try_from(socket).ok()).unwrap_or(-1)
}

/// Whether this is the main lcore's thread and no worker runs.
fn is_quiet() -> bool {
    // SAFETY: reads a thread-local and a global integer.
    let is_main = unsafe { ffi::dpdk_ffi_lcore_id() == ffi::rte_get_main_lcore() };
    is_main && lcore::workers().all(|worker| !worker.is_running())
}

/// Whether getopt_long takes the argument for `-h` or `--help`, which it also knows by their beginnings.
fn asks_for_help(arg: &str) -> bool {
    matches!(arg, "-h" | "--h" | "--he" | "--hel" | "--help")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_arguments_before_dpdk_sees_them() {
        let help = Eal::init(&["--no-huge".into(), "--help".into()]);
        assert!(matches!(help, Err(EalError::WouldExit(arg)) if arg == "--help"));
        let nul = Eal::init(&["a\0b".into()]);
        assert!(matches!(nul, Err(EalError::Argument(arg)) if arg == "a\0b"));
        assert!(!CALLED.load(Ordering::SeqCst), "neither counts as a start");
    }

    #[test]
    fn options_that_begin_alike_are_not_help() {
        assert!(!asks_for_help("--huge-dir"));
        assert!(!asks_for_help("help"));
    }

    #[test]
    fn any_socket_is_minus_one() {
        assert_eq!(socket_arg(None), -1);
        assert_eq!(socket_arg(Some(1)), 1);
    }
}
