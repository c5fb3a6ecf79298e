//! Looks at all deadlines of a bucket at once: which have passed, and which comes first.
#![allow(unsafe_code)]

/// One bit for each of the 16 deadlines that `now` has reached, the first one in the lowest bit.
#[inline(always)]
pub fn reached(deadlines: &[u16; 16], now: u16) -> u16 {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: SSE2 is part of every x86-64 processor.
    unsafe {
        reached_sse2(deadlines, now)
    }
    #[cfg(not(target_arch = "x86_64"))]
    reached_portable(deadlines, now)
}

/// The place of the deadline that comes first, or came, among those whose bit is set; the lowest of equal ones.
#[inline(always)]
pub fn first(deadlines: &[u16; 16], now: u16, among: u16) -> Option<usize> {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("sse4.1") {
        // SAFETY: the instructions are there.
        return unsafe { first_sse41(deadlines, now, among) };
    }
    first_portable(deadlines, now, among)
}

#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "sse2")]
fn reached_sse2(deadlines: &[u16; 16], now: u16) -> u16 {
    use std::arch::x86_64::{_mm_movemask_epi8, _mm_packs_epi16, _mm_set1_epi16, _mm_sub_epi16};
    let [low, high] = halves(deadlines);
    let now = _mm_set1_epi16(now as i16);
    // The sign of now - deadline; saturation keeps it.
    !(_mm_movemask_epi8(_mm_packs_epi16(_mm_sub_epi16(now, low), _mm_sub_epi16(now, high))) as u16)
}

/// One instruction finds the smallest of eight values and where it is.
#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "sse4.1")]
fn first_sse41(deadlines: &[u16; 16], now: u16, among: u16) -> Option<usize> {
    use std::arch::x86_64::{
        _mm_and_si128, _mm_andnot_si128, _mm_cmpeq_epi16, _mm_cvtsi128_si32, _mm_max_epi16, _mm_minpos_epu16,
        _mm_or_si128, _mm_set1_epi16, _mm_setr_epi16, _mm_setzero_si128, _mm_sub_epi16,
    };
    let (now, zero, ones) = (_mm_set1_epi16(now as i16), _mm_setzero_si128(), _mm_set1_epi16(-1));
    let bits = _mm_setr_epi16(1, 2, 4, 8, 16, 32, 64, 128);
    let [low, high] = halves(deadlines);
    let smallest = |half, among: u16| {
        let left = _mm_max_epi16(_mm_sub_epi16(half, now), zero);
        let counts = _mm_cmpeq_epi16(_mm_and_si128(_mm_set1_epi16(among as i16), bits), bits);
        let found = _mm_cvtsi128_si32(_mm_minpos_epu16(_mm_or_si128(left, _mm_andnot_si128(counts, ones)))) as u32;
        (found as u16, (found >> 16 & 7) as usize)
    };
    let (low, high) = (smallest(low, among & 0xff), smallest(high, among >> 8));
    match (low.0 <= high.0, low.0.min(high.0)) {
        (_, u16::MAX) => None,
        (true, _) => Some(low.1),
        (false, _) => Some(high.1 + 8),
    }
}

#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "sse2")]
fn halves(values: &[u16; 16]) -> [std::arch::x86_64::__m128i; 2] {
    // SAFETY: 16 bytes from each of the two halves of the array.
    unsafe {
        [
            std::arch::x86_64::_mm_loadu_si128(values.as_ptr().cast()),
            std::arch::x86_64::_mm_loadu_si128(values.as_ptr().add(8).cast()),
        ]
    }
}

#[cfg(any(test, not(target_arch = "x86_64")))]
fn reached_portable(deadlines: &[u16; 16], now: u16) -> u16 {
    let reached = |deadline: u16| now.wrapping_sub(deadline) as i16 >= 0;
    deadlines.iter().enumerate().fold(0, |mask, (place, &d)| mask | u16::from(reached(d)) << place)
}

fn first_portable(deadlines: &[u16; 16], now: u16, among: u16) -> Option<usize> {
    let left = |place: &usize| deadlines.get(*place).map_or(0, |d| (d.wrapping_sub(now) as i16).max(0));
    (0..16).filter(|place| among >> place & 1 == 1).min_by_key(left)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn agree_with_the_portable_forms(far: [u16; 16], near in 0u16..8, mix: u16, now: u16, among: u16) {
            // Many deadlines are alike in practice, and many are just now.
            let deadlines: [u16; 16] = std::array::from_fn(|place| {
                if mix >> place & 1 == 1 { now.wrapping_add(far[place] % 8).wrapping_sub(near) } else { far[place] }
            });
            prop_assert_eq!(reached(&deadlines, now), reached_portable(&deadlines, now));
            for among in [among, 0, u16::MAX] {
                prop_assert_eq!(first(&deadlines, now, among), first_portable(&deadlines, now, among));
            }
        }
    }
}
