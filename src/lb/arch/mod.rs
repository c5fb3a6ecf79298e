//! What this processor does better than portable code; each piece has a portable form, and a test that both agree.

#[cfg(target_arch = "x86_64")]
mod aes;
mod deadlines;
mod prefetch;
mod tags;

#[cfg(target_arch = "x86_64")]
pub use aes::AesHasher;
pub use deadlines::{first, reached};
pub use prefetch::prefetch;
pub use tags::matches;
