//! The time stamp counter.

use crate::Eal;
use crate::ffi;

/// Reads the time stamp counter, in ticks; not a serialising read.
#[inline]
pub fn tsc() -> u64 {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: every x86-64 CPU has RDTSC, and Linux leaves it enabled for user space.
    let ticks = unsafe { core::arch::x86_64::_rdtsc() };
    #[cfg(not(target_arch = "x86_64"))]
    // SAFETY: reads a counter register and has no other effect.
    let ticks = unsafe { ffi::dpdk_ffi_rdtsc() };
    ticks
}

/// Ticks of [`tsc`] in one second; DPDK measures it once, when EAL starts.
pub fn tsc_hz(_eal: &Eal) -> u64 {
    // SAFETY: reads an integer that rte_eal_init has set.
    unsafe { ffi::rte_get_tsc_hz() }
}
