//! Fixed-size reads and writes that cannot panic, for callers that have checked the length.

use std::net::{Ipv4Addr, Ipv6Addr};

/// A header that does not fit into the bytes that are there. Lengths are in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{header} header of {needed} bytes in {len} bytes")]
pub struct Truncated {
    /// Which header.
    pub header: &'static str,
    /// How many bytes the header needs.
    pub needed: usize,
    /// How many bytes there are.
    pub len: usize,
}

/// Checks that `data` holds the `needed` bytes of a header.
#[inline]
pub(super) fn require(data: &[u8], needed: usize, header: &'static str) -> Result<(), Truncated> {
    if data.len() < needed { Err(Truncated { header, needed, len: data.len() }) } else { Ok(()) }
}

/// The `N` bytes at `at`, or zeros where the data ends before them (which a length check has ruled out).
#[inline(always)]
pub(super) fn array<const N: usize>(data: &[u8], at: usize) -> [u8; N] {
    match data.get(at..).and_then(|tail| tail.first_chunk::<N>()) {
        Some(bytes) => *bytes,
        None => [0; N],
    }
}

/// The byte at `at`.
#[inline(always)]
pub(super) fn u8_at(data: &[u8], at: usize) -> u8 {
    array::<1>(data, at)[0]
}

/// The big-endian 16-bit field at `at`.
#[inline(always)]
pub(super) fn u16_at(data: &[u8], at: usize) -> u16 {
    u16::from_be_bytes(array(data, at))
}

/// The big-endian 32-bit field at `at`.
#[inline(always)]
pub(super) fn u32_at(data: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(array(data, at))
}

/// The bytes from `at` to the end, none where the data ends before it.
#[inline(always)]
pub(super) fn tail(data: &[u8], at: usize) -> &[u8] {
    data.get(at..).unwrap_or_default()
}

/// The IPv4 address at `at`.
#[inline(always)]
pub(super) fn v4_at(data: &[u8], at: usize) -> Ipv4Addr {
    Ipv4Addr::from(array::<4>(data, at))
}

/// The IPv6 address at `at`.
#[inline(always)]
pub(super) fn v6_at(data: &[u8], at: usize) -> Ipv6Addr {
    Ipv6Addr::from(array::<16>(data, at))
}

/// Writes `bytes` at `at`, and nothing where the data ends before them (which a length check has ruled out).
#[inline(always)]
pub(super) fn put<const N: usize>(data: &mut [u8], at: usize, bytes: [u8; N]) {
    if let Some(slot) = data.get_mut(at..).and_then(|tail| tail.first_chunk_mut::<N>()) {
        *slot = bytes;
    }
}

/// Writes a big-endian 16-bit field at `at`.
#[inline(always)]
pub(super) fn put_u16(data: &mut [u8], at: usize, value: u16) {
    put(data, at, value.to_be_bytes());
}
