//! DPDK's error numbers.

use std::ffi::{CStr, c_int};
use std::fmt;

use crate::ffi;

/// An error number of DPDK, always positive; prints as its text and number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Errno(c_int);

impl Errno {
    /// No such file or directory.
    pub const ENOENT: Self = Self(2);
    /// Out of memory.
    pub const ENOMEM: Self = Self(12);
    /// Device or resource busy.
    pub const EBUSY: Self = Self(16);
    /// File exists.
    pub const EEXIST: Self = Self(17);
    /// No such device.
    pub const ENODEV: Self = Self(19);
    /// Invalid argument.
    pub const EINVAL: Self = Self(22);
    /// Operation not supported.
    pub const ENOTSUP: Self = Self(95);

    /// The calling thread's `rte_errno`; to be read at once after the call that failed.
    pub(crate) fn last() -> Self {
        // SAFETY: reads a thread-local integer.
        Self(unsafe { ffi::dpdk_ffi_errno() })
    }

    /// Takes the result of a function that returns a negative error number.
    pub(crate) fn check(result: c_int) -> Result<c_int, Self> {
        if result < 0 { Err(Self(result.saturating_neg())) } else { Ok(result) }
    }

    /// The number, as in `errno.h`.
    pub fn number(self) -> i32 {
        self.0
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // SAFETY: rte_strerror returns a string that ends in NUL, in a buffer of this thread that only its next call
        // overwrites; it is copied out before that.
        let text = unsafe { CStr::from_ptr(ffi::rte_strerror(self.0)) };
        write!(f, "{} (errno {})", text.to_string_lossy(), self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_text_and_number() {
        assert_eq!(Errno::ENODEV.to_string(), "No such device (errno 19)");
    }

    #[test]
    fn takes_negative_results_only() {
        assert_eq!(Errno::check(-22), Err(Errno::EINVAL));
        assert_eq!(Errno::check(7), Ok(7));
        assert_eq!(Errno::check(c_int::MIN), Err(Errno(c_int::MAX)));
    }
}
