//! The Internet checksum, whole (RFC 1071) and incremental (RFC 1624).
//!
//! A partial sum is a `u32` whose value modulo 0xFFFF counts; partial sums of pieces add up with [`combine`], and [`finish`]
//! makes the field value of one.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The one's complement sum of `data` as big-endian 16-bit words, an odd last byte padded with zero. At most 0xFFFF, and 0 only
/// for data that is all zero.
#[inline]
pub fn sum(data: &[u8]) -> u32 {
    // The sum is the same in either byte order but for a swap (RFC 1071 section 2 B), so words are added as the machine
    // loads them; two accumulators keep the additions independent.
    let (blocks, tail) = data.as_chunks::<8>();
    let (mut low, mut high) = (0u64, 0u64);
    for block in blocks {
        let word = u64::from_ne_bytes(*block);
        low += word & 0xFFFF_FFFF;
        high += word >> 32;
    }
    let (words, tail) = tail.as_chunks::<2>();
    for word in words {
        low += u64::from(u16::from_ne_bytes(*word));
    }
    if let Some(&last) = tail.first() {
        low += u64::from(u16::from_ne_bytes([last, 0]));
    }
    u32::from(u16::from_be(fold(low + high)))
}

/// Adds two partial sums, of which the first must not cover an odd number of bytes unless it is the last piece.
/// [`combine_at`] is for pieces of any length.
#[inline]
pub fn combine(first: u32, second: u32) -> u32 {
    u32::from(fold(u64::from(first) + u64::from(second)))
}

/// Adds the partial sum of a piece that begins `offset` bytes into the data: behind an odd number of bytes its words sit across
/// the others, so its sum is swapped.
#[inline]
pub fn combine_at(sum_before: u32, offset: usize, piece: u32) -> u32 {
    let piece = fold(u64::from(piece));
    let piece = if offset.is_multiple_of(2) { piece } else { piece.swap_bytes() };
    combine(sum_before, u32::from(piece))
}

/// The checksum field for a partial sum: its one's complement.
#[inline]
pub fn finish(sum: u32) -> u16 {
    !fold(u64::from(sum))
}

/// [`finish`] for a sum of at most 65,536 words, which two additions fold.
#[inline(always)]
pub fn finish_short(sum: u32) -> u16 {
    let once = (sum & 0xFFFF) + (sum >> 16);
    !((once + (once >> 16)) as u16)
}

/// [`finish`] for UDP, where a computed 0 is sent as 0xFFFF because 0 means no checksum (RFC 768).
#[inline]
pub fn finish_udp(sum: u32) -> u16 {
    match finish(sum) {
        0 => 0xFFFF,
        check => check,
    }
}

/// The checksum field for `data`, in which the field itself must be zero.
#[inline]
pub fn checksum(data: &[u8]) -> u16 {
    finish(sum(data))
}

/// Whether a sum that includes the checksum field is right.
#[inline]
pub fn is_valid(sum: u32) -> bool {
    finish(sum) == 0
}

/// Whether the checksum of an IPv4 header without options is right.
#[inline(always)]
pub fn is_header_valid(header: &[u8; 20]) -> bool {
    // All ones is the same in either byte order, so the sum needs no swap.
    let (words, _) = header.as_chunks::<4>();
    let sum = words.iter().map(|word| u64::from(u32::from_ne_bytes(*word))).sum();
    sum != 0 && is_header_sum(sum)
}

/// Whether a sum of wider words, in either byte order, that includes the checksum field is right. It must not be 0, which no
/// sum over a version field is.
#[inline(always)]
pub fn is_header_sum(sum: u64) -> bool {
    is_multiple_of_ffff(sum)
}

/// Whether `n` folds to all ones, or is 0: a multiplication by the inverse of the odd 0xFFFF modulo 2^64 takes its
/// multiples, and only them, to the numbers up to (2^64 - 1) / 0xFFFF.
#[inline(always)]
fn is_multiple_of_ffff(n: u64) -> bool {
    const QUOTIENT_MAX: u64 = u64::MAX / 0xFFFF;
    n.wrapping_mul(QUOTIENT_MAX.wrapping_neg()) <= QUOTIENT_MAX
}

/// The partial sum of the IPv4 pseudo-header; `len` is that of the upper-layer packet in bytes (RFC 9293 section 3.1).
#[inline]
pub fn pseudo_v4(src: Ipv4Addr, dst: Ipv4Addr, protocol: u8, len: u16) -> u32 {
    let addresses = u64::from(src.to_bits()) + u64::from(dst.to_bits());
    u32::from(fold(addresses + u64::from(protocol) + u64::from(len)))
}

/// The partial sum of the IPv6 pseudo-header; `len` is that of the upper-layer packet in bytes (RFC 8200 section 8.1).
#[inline]
pub fn pseudo_v6(src: Ipv6Addr, dst: Ipv6Addr, protocol: u8, len: u32) -> u32 {
    let addresses = words_v6(src).iter().chain(&words_v6(dst)).map(|&word| u64::from(word)).sum::<u64>();
    u32::from(fold(addresses + u64::from(protocol) + u64::from(len)))
}

/// The checksum field after one 16-bit word that it covers changed from `old` to `new` (RFC 1624 equation 3).
#[inline]
pub fn update(check: u16, old: u16, new: u16) -> u16 {
    Delta::default().replace_u16(old, new).apply(check)
}

/// What the replacement of some fields adds to every sum that covers them: worked out once, applied to each checksum.
///
/// The fields must begin at even offsets of the data summed, as the fields of IP, TCP and UDP do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Delta {
    // The sum of ~old + new over the fields. A field adds less than 2^33, so more than 2^30 of them fit.
    sum: u64,
}

impl Delta {
    /// Replaces a 16-bit field.
    #[inline]
    pub fn replace_u16(self, old: u16, new: u16) -> Self {
        Self { sum: self.sum + u64::from(!old) + u64::from(new) }
    }

    /// Replaces a 16-bit field that begins `offset` bytes into the data: at an odd offset its bytes are in two words.
    #[inline]
    pub fn replace_u16_at(self, offset: usize, old: u16, new: u16) -> Self {
        if offset.is_multiple_of(2) {
            self.replace_u16(old, new)
        } else {
            self.replace_u16(old.swap_bytes(), new.swap_bytes())
        }
    }

    /// Replaces a 32-bit field.
    #[inline]
    pub fn replace_u32(self, old: u32, new: u32) -> Self {
        Self { sum: self.sum + u64::from(!old) + u64::from(new) }
    }

    /// Replaces an IPv4 address.
    #[inline]
    pub fn replace_v4(self, old: Ipv4Addr, new: Ipv4Addr) -> Self {
        self.replace_u32(old.to_bits(), new.to_bits())
    }

    /// Replaces an IPv6 address.
    #[inline]
    pub fn replace_v6(self, old: Ipv6Addr, new: Ipv6Addr) -> Self {
        words_v6(old).iter().zip(words_v6(new)).fold(self, |delta, (&old, new)| delta.replace_u32(old, new))
    }

    /// Replaces an address by one of either version: the other fields of the two pseudo-headers have the same sums.
    #[inline]
    pub fn replace_ip(self, old: IpAddr, new: IpAddr) -> Self {
        words(old).iter().zip(words(new)).fold(self, |delta, (&old, new)| delta.replace_u32(old, new))
    }

    /// Adds what another delta replaces.
    #[inline]
    pub fn and(self, other: Self) -> Self {
        Self { sum: u64::from(fold(self.sum)) + u64::from(fold(other.sum)) }
    }

    /// The checksum field after the replacements. A wrong checksum stays wrong by the same amount.
    #[inline]
    pub fn apply(self, check: u16) -> u16 {
        !fold(self.sum + u64::from(!check))
    }

    /// [`apply`](Self::apply) for UDP over IPv4: 0 stays 0, no checksum, and a computed 0 becomes 0xFFFF (RFC 768).
    #[inline]
    pub fn apply_udp(self, check: u16) -> u16 {
        match (check, self.apply(check)) {
            (0, _) => 0,
            (_, 0) => 0xFFFF,
            (_, new) => new,
        }
    }
}

/// Folds a sum to 16 bits with end-around carry; only 0 folds to 0.
#[inline]
fn fold(sum: u64) -> u16 {
    let sum = (sum & 0xFFFF_FFFF) + (sum >> 32);
    let sum = (sum & 0xFFFF) + (sum >> 16);
    let sum = (sum & 0xFFFF) + (sum >> 16);
    let sum = (sum & 0xFFFF) + (sum >> 16);
    sum as u16
}

/// An IPv6 address as four big-endian 32-bit words.
#[inline]
fn words_v6(address: Ipv6Addr) -> [u32; 4] {
    let bits = address.to_bits();
    [(bits >> 96) as u32, (bits >> 64) as u32, (bits >> 32) as u32, bits as u32]
}

/// An address of either version as four words, the unused ones zero, which no sum notices.
#[inline]
fn words(address: IpAddr) -> [u32; 4] {
    match address {
        IpAddr::V4(v4) => [v4.to_bits(), 0, 0, 0],
        IpAddr::V6(v6) => words_v6(v6),
    }
}
