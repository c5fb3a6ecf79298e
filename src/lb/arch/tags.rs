//! Compares all tags of a bucket with one.
#![allow(unsafe_code)]

/// One bit for each of the 16 tags that equals `tag`, the first tag in the lowest bit.
#[inline(always)]
pub fn matches(tags: &[u16; 16], tag: u16) -> u16 {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: SSE2 is part of every x86-64 processor.
    unsafe {
        matches_sse2(tags, tag)
    }
    #[cfg(not(target_arch = "x86_64"))]
    matches_portable(tags, tag)
}

/// Two comparisons of eight lanes, and one instruction that gathers a bit of each. What the compiler makes of the loop
/// below is three times as long.
#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "sse2")]
fn matches_sse2(tags: &[u16; 16], tag: u16) -> u16 {
    use std::arch::x86_64::{_mm_cmpeq_epi16, _mm_loadu_si128, _mm_movemask_epi8, _mm_packs_epi16, _mm_set1_epi16};
    let wanted = _mm_set1_epi16(tag as i16);
    // SAFETY: 16 bytes from each of the two halves of the array.
    let (low, high) = unsafe { (_mm_loadu_si128(tags.as_ptr().cast()), _mm_loadu_si128(tags.as_ptr().add(8).cast())) };
    let equal = _mm_packs_epi16(_mm_cmpeq_epi16(low, wanted), _mm_cmpeq_epi16(high, wanted));
    _mm_movemask_epi8(equal) as u16
}

#[cfg(any(test, not(target_arch = "x86_64")))]
fn matches_portable(tags: &[u16; 16], tag: u16) -> u16 {
    tags.iter().enumerate().fold(0, |mask, (lane, &t)| mask | u16::from(t == tag) << lane)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn agrees_with_the_portable_form(tags: [u16; 16], tag: u16, copies: u16) {
            let tags: [u16; 16] =
                std::array::from_fn(|lane| if copies >> lane & 1 == 1 { tag } else { tags[lane] });
            prop_assert_eq!(matches(&tags, tag), matches_portable(&tags, tag));
            prop_assert_eq!(matches(&tags, 0), matches_portable(&tags, 0));
            prop_assert_eq!(matches(&tags, tag) & copies, copies);
        }
    }
}
