//! A keyed hash of five-tuples out of AES rounds, which most processors have as an instruction.
//!
//! A tuple's blocks each go through four rounds under round keys of their own, and their sum through two more. Four
//! rounds are the least after which no difference of inputs survives with a usable probability (at least 25 active
//! S-boxes; Daemen and Rijmen, "The Design of Rijndael", 9.5), and an outsider sees no output to learn from. What it is
//! compared with, SipHash-1-3, takes three times as long; see `docs/decisions/connection-table.md`.
#![allow(unsafe_code)]

use std::arch::x86_64::{__m128i, _mm_aesenc_si128, _mm_cvtsi128_si64, _mm_set_epi64x, _mm_xor_si128};

use crate::lb::hash::{HashKey, hash_words};
use crate::lb::table::Probe;

/// Whitening key and four round keys of one block.
type Block = [__m128i; 5];

/// Round keys. There is one only where the processor has the instructions.
#[derive(Clone)]
pub struct AesHasher {
    blocks: [Block; 3],
    finish: [__m128i; 2],
}

impl AesHasher {
    /// Round keys derived from `key`; `None` on a processor without AES instructions.
    pub fn new(key: HashKey) -> Option<Self> {
        if !std::arch::is_x86_feature_detected!("aes") {
            return None;
        }
        // SAFETY: the instructions are there.
        Some(unsafe { Self::derive(key) })
    }

    #[target_feature(enable = "aes")]
    fn derive(key: HashKey) -> Self {
        let word = |n: u64| hash_words(key, &[n]) as i64;
        let block = |n: u64| _mm_set_epi64x(word(2 * n), word(2 * n + 1));
        Self {
            blocks: std::array::from_fn(|b| std::array::from_fn(|r| block((b * 5 + r) as u64))),
            finish: std::array::from_fn(|r| block((15 + r) as u64)),
        }
    }

    /// Hashes five-tuples, all of one family.
    #[inline]
    pub fn hash_all<'a>(&self, is_v6: bool, probes: impl Iterator<Item = &'a mut Probe>) {
        // SAFETY: an AesHasher exists only where `new` has found the instructions.
        unsafe { self.rounds(is_v6, probes) }
    }

    #[target_feature(enable = "aes")]
    fn rounds<'a>(&self, is_v6: bool, probes: impl Iterator<Item = &'a mut Probe>) {
        for probe in probes {
            let [a, b, c, d] = probe.words.addresses.map(|word| word as i64);
            let ends = probe.words.ends as i64;
            let state = if is_v6 {
                let sources = four_rounds(&self.blocks[0], _mm_set_epi64x(b, a));
                let destinations = four_rounds(&self.blocks[1], _mm_set_epi64x(d, c));
                let ends = four_rounds(&self.blocks[2], _mm_set_epi64x(0, ends));
                let sum = _mm_xor_si128(_mm_xor_si128(sources, destinations), ends);
                _mm_aesenc_si128(_mm_aesenc_si128(sum, self.finish[0]), self.finish[1])
            } else {
                four_rounds(&self.blocks[0], _mm_set_epi64x(ends, a))
            };
            probe.hash = _mm_cvtsi128_si64(state) as u64;
        }
    }
}

#[inline]
#[target_feature(enable = "aes")]
fn four_rounds(keys: &Block, block: __m128i) -> __m128i {
    let [whitening, rounds @ ..] = keys;
    rounds.iter().fold(_mm_xor_si128(block, *whitening), |state, key| _mm_aesenc_si128(state, *key))
}
