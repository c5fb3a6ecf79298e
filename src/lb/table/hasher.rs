//! The keyed hash that decides where a connection lives.
//!
//! Nobody but this process ever sees it, so it may differ from machine to machine: four AES rounds where the processor
//! has them, SipHash-1-3 elsewhere. Both are keyed at every start, so nobody outside can aim at a bucket.

use super::Address;
use super::key::Words;
use crate::lb::hash::{HashKey, hash_words};
use crate::wire::parse::FiveTuple;

/// What the stages of a burst know of one packet's place in the table.
#[derive(Clone, Copy, Debug, Default)]
pub struct Probe {
    /// The packet's five-tuple.
    pub words: Words,
    /// Its hash.
    pub hash: u64,
}

impl Probe {
    /// Takes in a five-tuple; the hash is [`TableHasher::hash_all`]'s.
    #[inline(always)]
    pub fn of<A: Address>(&mut self, tuple: &FiveTuple<A>) {
        self.words = Words::of(tuple);
    }
}

/// A hash under one key, in the form that this machine computes fastest.
pub enum TableHasher {
    /// AES instructions.
    #[cfg(target_arch = "x86_64")]
    Aes(Box<crate::lb::arch::AesHasher>),
    /// Any machine.
    Portable(HashKey),
}

impl TableHasher {
    /// The fastest one of this machine.
    pub fn new(key: HashKey) -> Self {
        #[cfg(target_arch = "x86_64")]
        if let Some(aes) = crate::lb::arch::AesHasher::new(key) {
            return Self::Aes(Box::new(aes));
        }
        Self::Portable(key)
    }

    /// The hash of one five-tuple.
    #[inline]
    pub fn hash<A: Address>(&self, tuple: &FiveTuple<A>) -> u64 {
        let mut probe = Probe::default();
        probe.of(tuple);
        self.hash_all::<A>(std::iter::once(&mut probe));
        probe.hash
    }

    /// Hashes five-tuples, all of one family.
    #[inline]
    pub fn hash_all<'a, A: Address>(&self, probes: impl Iterator<Item = &'a mut Probe>) {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Aes(aes) => aes.hash_all(A::IS_V6, probes),
            Self::Portable(key) => {
                for probe in probes {
                    let Words { addresses: [a, b, c, d], ends } = probe.words;
                    probe.hash =
                        if A::IS_V6 { hash_words(*key, &[a, b, c, d, ends]) } else { hash_words(*key, &[a, ends]) };
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
