//! The keyed hash of addresses and ports: SipHash-1-3, specialised for inputs of fixed length.
//!
//! Everything that an outsider could aim at (a bucket of the connection table, a backend of a consistent-hash table) is
//! reached through this hash under a secret key. The output is frozen by tests: nodes of a group, possibly of
//! different versions, must agree on it.
//!
//! Tuples are hashed as the bytes on the wire (network byte order, without gaps): addresses, ports, protocol. Lengths
//! differ between the families and between whole tuples and one side, so no input of one kind equals one of another.

use std::fmt;
use std::net::IpAddr;

/// A secret 128-bit key. It is printed nowhere, not by `Debug` either.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct HashKey {
    k0: u64,
    k1: u64,
}

impl HashKey {
    /// The key with these bytes, read as two little-endian words as SipHash does.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        let both = u128::from_le_bytes(bytes);
        Self { k0: both as u64, k1: (both >> 64) as u64 }
    }

    /// A key for one purpose, so that equal inputs in different places hash unrelated.
    ///
    /// The same master key and label give the same key on every node; the master cannot be computed back from it. A
    /// master key is for deriving only: hash under derived keys.
    #[must_use]
    pub fn derive(&self, label: &[u8]) -> Self {
        let k0 = hash_bytes(*self, label);
        let k1 = hash_words(*self, &[k0, u64::from_le_bytes(*b"subkey-1")]);
        Self { k0, k1 }
    }
}

impl fmt::Debug for HashKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HashKey(secret)")
    }
}

/// Hash of `N` words, that is of their `8 * N` little-endian bytes.
#[inline]
#[must_use]
pub fn hash_words<const N: usize>(key: HashKey, words: &[u64; N]) -> u64 {
    hash_words_and_tail(key, words, 0, 0)
}

/// Hash of bytes of any length: off the packet path (identities, labels).
#[must_use]
pub fn hash_bytes(key: HashKey, bytes: &[u8]) -> u64 {
    let mut state = State::new(key);
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        state.absorb(u64::from_le_bytes(*word));
    }
    let tail = rest.iter().rev().fold(0, |tail, &byte| (tail << 8) | u64::from(byte));
    state.finish(tail, bytes.len())
}

/// Hash of an IPv4 five-tuple in one direction. Arguments in host byte order.
#[inline]
#[must_use]
pub fn tuple4(key: HashKey, src: u32, dst: u32, sport: u16, dport: u16, protocol: u8) -> u64 {
    hash_words_and_tail(key, &[address4(src) | address4(dst) << 32], ports_and_protocol(sport, dport, protocol), 5)
}

/// Hash of an IPv6 five-tuple in one direction. Arguments in host byte order, as `Ipv6Addr::to_bits` gives them.
#[inline]
#[must_use]
pub fn tuple6(key: HashKey, src: u128, dst: u128, sport: u16, dport: u16, protocol: u8) -> u64 {
    let ([a, b], [c, d]) = (address6(src), address6(dst));
    hash_words_and_tail(key, &[a, b, c, d], ports_and_protocol(sport, dport, protocol), 5)
}

/// Hash of the client's side alone, for steering in software: both directions of a NAT connection know it.
///
/// An IPv4 address and its IPv4-mapped IPv6 address (RFC 4291 section 2.5.5.2) are two different clients here.
#[inline]
#[must_use]
pub fn client(key: HashKey, address: IpAddr, port: u16, protocol: u8) -> u64 {
    let side = u64::from(port.swap_bytes()) | u64::from(protocol) << 16;
    match address {
        IpAddr::V4(address) => hash_words_and_tail(key, &[], address4(address.to_bits()) | side << 32, 7),
        IpAddr::V6(address) => hash_words_and_tail(key, &address6(address.to_bits()), side, 3),
    }
}

/// An even share of `0..len` from the high bits of a hash, without a division. 0 if `len` is 0.
#[inline]
#[must_use]
pub fn reduce(hash: u64, len: usize) -> usize {
    ((u128::from(hash) * len as u128) >> 64) as usize
}

/// The address's four bytes on the wire, read as a little-endian number.
#[inline]
fn address4(address: u32) -> u64 {
    u64::from(address.swap_bytes())
}

/// The address's sixteen bytes on the wire, read as two little-endian words.
#[inline]
fn address6(address: u128) -> [u64; 2] {
    [((address >> 64) as u64).swap_bytes(), (address as u64).swap_bytes()]
}

/// The last five bytes of a tuple, read as a little-endian number.
#[inline]
fn ports_and_protocol(sport: u16, dport: u16, protocol: u8) -> u64 {
    u64::from(sport.swap_bytes()) | u64::from(dport.swap_bytes()) << 16 | u64::from(protocol) << 32
}

/// Hash of whole words, then of the `tail_len` (at most 7) lowest bytes of `tail`, whose other bytes are 0.
#[inline]
fn hash_words_and_tail<const N: usize>(key: HashKey, words: &[u64; N], tail: u64, tail_len: usize) -> u64 {
    debug_assert!(tail_len < 8 && tail >> (8 * tail_len) == 0);
    let mut state = State::new(key);
    for &word in words {
        state.absorb(word);
    }
    state.finish(tail, 8 * N + tail_len)
}

/// The four words of SipHash (Aumasson and Bernstein, 2012), here with one round a word and three to finish.
struct State {
    v0: u64,
    v1: u64,
    v2: u64,
    v3: u64,
}

impl State {
    #[inline]
    fn new(key: HashKey) -> Self {
        // The paper's constants: the ASCII bytes of "somepseudorandomlygeneratedbytes".
        Self {
            v0: key.k0 ^ 0x736f_6d65_7073_6575,
            v1: key.k1 ^ 0x646f_7261_6e64_6f6d,
            v2: key.k0 ^ 0x6c79_6765_6e65_7261,
            v3: key.k1 ^ 0x7465_6462_7974_6573,
        }
    }

    #[inline]
    fn absorb(&mut self, word: u64) {
        self.v3 ^= word;
        self.round();
        self.v0 ^= word;
    }

    /// The hash, with the last block holding the bytes left over below and the length, modulo 256, on top.
    #[inline]
    fn finish(mut self, tail: u64, len: usize) -> u64 {
        self.absorb(tail | (len as u64) << 56);
        self.v2 ^= 0xff;
        self.round();
        self.round();
        self.round();
        self.v0 ^ self.v1 ^ self.v2 ^ self.v3
    }

    #[inline]
    fn round(&mut self) {
        self.v0 = self.v0.wrapping_add(self.v1);
        self.v2 = self.v2.wrapping_add(self.v3);
        self.v1 = self.v1.rotate_left(13) ^ self.v0;
        self.v3 = self.v3.rotate_left(16) ^ self.v2;
        self.v0 = self.v0.rotate_left(32);
        self.v2 = self.v2.wrapping_add(self.v1);
        self.v0 = self.v0.wrapping_add(self.v3);
        self.v1 = self.v1.rotate_left(17) ^ self.v2;
        self.v3 = self.v3.rotate_left(21) ^ self.v0;
        self.v2 = self.v2.rotate_left(32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use siphasher::sip::SipHasher13;
    use std::net::{Ipv4Addr, Ipv6Addr};

    /// The key of the golden vectors: bytes 0, 1, ... 15.
    const KEY: HashKey = HashKey::from_bytes([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);

    fn oracle(key: [u8; 16], parts: &[&[u8]]) -> u64 {
        SipHasher13::new_with_key(&key).hash(&parts.concat())
    }

    proptest! {
        #[test]
        fn bytes_hash_as_siphasher_does(key: [u8; 16], bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            prop_assert_eq!(hash_bytes(HashKey::from_bytes(key), &bytes), oracle(key, &[&bytes]));
        }

        #[test]
        fn words_hash_as_their_little_endian_bytes(key: [u8; 16], words: [u64; 5]) {
            let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
            prop_assert_eq!(hash_words(HashKey::from_bytes(key), &words), oracle(key, &[&bytes]));
        }

        #[test]
        fn tuples_hash_as_their_bytes_on_the_wire(
            key: [u8; 16], a: [u8; 16], b: [u8; 16], sport: u16, dport: u16, protocol: u8,
        ) {
            let hash_key = HashKey::from_bytes(key);
            let ports: &[u8] = &[sport.to_be_bytes(), dport.to_be_bytes()].concat();
            let (a4, b4) = ([a[0], a[1], a[2], a[3]], [b[0], b[1], b[2], b[3]]);
            prop_assert_eq!(
                tuple4(hash_key, u32::from_be_bytes(a4), u32::from_be_bytes(b4), sport, dport, protocol),
                oracle(key, &[&a4, &b4, ports, &[protocol]])
            );
            prop_assert_eq!(
                tuple6(hash_key, u128::from_be_bytes(a), u128::from_be_bytes(b), sport, dport, protocol),
                oracle(key, &[&a, &b, ports, &[protocol]])
            );
            prop_assert_eq!(
                client(hash_key, Ipv4Addr::from(a4).into(), sport, protocol),
                oracle(key, &[&a4, &sport.to_be_bytes(), &[protocol]])
            );
            prop_assert_eq!(
                client(hash_key, Ipv6Addr::from(a).into(), sport, protocol),
                oracle(key, &[&a, &sport.to_be_bytes(), &[protocol]])
            );
        }

        #[test]
        fn reduction_stays_inside(hash: u64, len in 1_usize..1 << 40) {
            prop_assert!(reduce(hash, len) < len);
        }
    }

    #[test]
    fn golden_vectors_never_change() {
        let (c4, v4) = (u32::from_be_bytes([198, 51, 100, 7]), u32::from_be_bytes([192, 0, 2, 10]));
        let (c6, v6) = (0x2001_0db8 << 96 | 7, 0x2001_0db8 << 96 | 0x80);
        let client4 = IpAddr::from([198, 51, 100, 7]);
        let found = [
            hash_bytes(KEY, b""),
            // The SipHash paper's input; its value for 1-3 is in the test vectors of several implementations.
            hash_bytes(KEY, &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14]),
            hash_words(KEY, &[1, 2, 3]),
            tuple4(KEY, c4, v4, 40_000, 80, 6),
            tuple6(KEY, c6, v6, 40_000, 80, 6),
            client(KEY, client4, 40_000, 6),
            client(KEY, Ipv6Addr::from_bits(c6).into(), 40_000, 6),
            hash_words(KEY.derive(b"maglev"), &[]),
            hash_words(KEY.derive(b"connections"), &[]),
        ];
        let expected = [
            0xabac_0158_050f_c4dc,
            0xd320_d86d_2a51_9956,
            0x8294_b6c0_dcf2_4ece,
            0xfa43_b87d_e3e4_a666,
            0x8a7d_9a34_3ed8_2284,
            0x054a_3826_90e7_cbe9,
            0x4c57_6979_24d8_457d,
            0x638e_bf11_434a_63db,
            0xb318_d203_89d4_79bf,
        ];
        assert_eq!(found, expected, "{found:#x?}");
    }

    #[test]
    fn labels_and_masters_separate_keys() {
        let other = HashKey::from_bytes([1; 16]);
        let keys = [KEY, other, KEY.derive(b"a"), KEY.derive(b"b"), KEY.derive(b""), other.derive(b"a")];
        for (i, a) in keys.iter().enumerate() {
            for b in &keys[i + 1..] {
                assert_ne!(hash_words(*a, &[0]), hash_words(*b, &[0]));
                assert!(a.k0 != b.k0 && a.k1 != b.k1);
            }
        }
    }

    #[test]
    fn debug_output_does_not_hold_the_key() {
        let shown = format!("{:?} {:#?}", HashKey::from_bytes([7; 16]), HashKey::from_bytes([8; 16]));
        assert_eq!(shown, "HashKey(secret) HashKey(secret)");
    }
}
