//! The table's hashes against a slow AES from its definition, and against whoever would aim at a bucket.

use std::net::{Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

use super::*;
use crate::lb::clock::Tick;
use crate::lb::hash::hash_bytes;
use crate::lb::memory::Place;
use crate::lb::table::{Entry, Table, ends};
use crate::lb::toeplitz::{MICROSOFT_KEY, Toeplitz};

/// The key of the golden vectors: bytes 0, 1, ... 15.
const KEY: HashKey = HashKey::from_bytes([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);

type Key4 = FiveTuple<Ipv4Addr>;
type Block = [u8; 16];

/// Product in GF(2^8) modulo x^8 + x^4 + x^3 + x + 1 (FIPS 197 section 4.2).
fn times(a: u8, b: u8) -> u8 {
    let double = |x: u8| x << 1 ^ if x & 0x80 != 0 { 0x1b } else { 0 };
    let powers = std::iter::successors(Some(a), |&x| Some(double(x)));
    powers.take(8).enumerate().filter(|(bit, _)| b >> bit & 1 == 1).fold(0, |sum, (_, x)| sum ^ x)
}

/// The inverse, and an affine map of its bits (FIPS 197 section 5.1.1).
fn substitute(x: u8) -> u8 {
    let inverse = (0..=255).find(|&y| times(x, y) == 1).unwrap_or(0);
    (0..5).fold(0x63, |sum, n| sum ^ inverse.rotate_left(n))
}

/// All of [`substitute`], worked out once.
fn s_box() -> [u8; 256] {
    std::array::from_fn(|x| substitute(x as u8))
}

/// One round: SubBytes, ShiftRows, MixColumns, AddRoundKey. Byte `n` of a block is row `n % 4` of column `n / 4`.
fn round(s_box: &[u8; 256], state: Block, key: Block) -> Block {
    let shifted: Block = std::array::from_fn(|n| s_box[usize::from(state[(n + 4 * (n % 4)) % 16])]);
    std::array::from_fn(|n| {
        let column = |row: usize| shifted[n / 4 * 4 + row % 4];
        let row = n % 4;
        times(column(row), 2) ^ times(column(row + 1), 3) ^ column(row + 2) ^ column(row + 3) ^ key[n]
    })
}

/// What the table's AES hash is defined as.
struct Oracle {
    s_box: [u8; 256],
    keys: [Block; 17],
}

impl Oracle {
    fn new(key: HashKey) -> Self {
        let word = |n: usize| hash_bytes(key, &(n as u64).to_le_bytes());
        Self { s_box: s_box(), keys: std::array::from_fn(|n| block(word(2 * n + 1), word(2 * n))) }
    }

    fn rounds(&self, keys: &[Block], block: Block) -> Block {
        let whitened = xor(block, keys[0]);
        keys[1..].iter().fold(whitened, |state, &key| round(&self.s_box, state, key))
    }

    fn hash(&self, words: &Words, is_v6: bool) -> u64 {
        let [a, b, c, d] = words.addresses;
        let state = if is_v6 {
            let parts = [block(a, b), block(c, d), block(words.ends, 0)];
            let sum = (0..3).map(|n| self.rounds(&self.keys[n * 5..n * 5 + 5], parts[n])).fold([0; 16], xor);
            self.keys[15..].iter().fold(sum, |state, &key| round(&self.s_box, state, key))
        } else {
            self.rounds(&self.keys[..5], block(a, words.ends))
        };
        u64::from_le_bytes(state[..8].try_into().unwrap())
    }
}

fn block(low: u64, high: u64) -> Block {
    (u128::from(low) | u128::from(high) << 64).to_le_bytes()
}

fn xor(a: Block, b: Block) -> Block {
    std::array::from_fn(|n| a[n] ^ b[n])
}

fn hex(text: &str) -> Block {
    u128::from_str_radix(text, 16).unwrap().to_be_bytes()
}

/// Every form that some machine takes; that of this one first.
fn hashers(key: HashKey) -> Vec<TableHasher> {
    let mut all = vec![TableHasher::new(key)];
    if !matches!(all[0], TableHasher::Portable(_)) {
        all.push(TableHasher::Portable(key));
    }
    all
}

/// A hasher of AES rounds, where the processor has them.
fn aes(key: HashKey) -> Option<TableHasher> {
    Some(TableHasher::new(key)).filter(|hasher| !matches!(hasher, TableHasher::Portable(_)))
}

#[test]
fn the_oracle_knows_the_standards_example() {
    // FIPS 197 appendix B, from the start of the first round to that of the second.
    let s_box = s_box();
    assert_eq!((s_box[0], s_box[0x53], s_box[0xff]), (0x63, 0xed, 0x16));
    let (state, key) = (hex("193de3bea0f4e22b9ac68d2ae9f84808"), hex("a0fafe1788542cb123a339392a6c7605"));
    assert_eq!(round(&s_box, state, key), hex("a49c7ff2689f352b6b5bea43026a5049"));
}

fn hash_all(hasher: &TableHasher, is_v6: bool, probes: &mut [Probe]) {
    if is_v6 {
        hasher.hash_all::<Ipv6Addr>(probes.iter_mut());
    } else {
        hasher.hash_all::<Ipv4Addr>(probes.iter_mut());
    }
}

proptest! {
    #[test]
    fn aes_rounds_are_those_of_the_standard(
        key: [u8; 16], addresses: [u64; 4], sport: u16, dport: u16, protocol: u8, is_v6: bool,
    ) {
        let key = HashKey::from_bytes(key);
        let words = Words { addresses, ends: ends(sport, dport, protocol) };
        if let Some(hasher) = aes(key) {
            let mut probes = [Probe { words, hash: 0 }];
            hash_all(&hasher, is_v6, &mut probes);
            prop_assert_eq!(probes[0].hash, Oracle::new(key).hash(&words, is_v6));
        }
    }

    #[test]
    fn a_burst_hashes_as_its_tuples_do_one_by_one(
        key: [u8; 16],
        tuples in prop::collection::vec(any::<([u8; 16], [u8; 16], (u16, u16, u8))>(), 0..40),
        rest: [u64; 3],
    ) {
        for hasher in hashers(HashKey::from_bytes(key)) {
            let (mut v4, mut singly4, mut v6, mut singly6) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
            for &(src, dst, (sport, dport, protocol)) in &tuples {
                let mut probe = Probe { hash: rest[0], ..Probe::default() };
                let tuple = FiveTuple { src: Ipv6Addr::from(src), dst: Ipv6Addr::from(dst), sport, dport, protocol };
                probe.of(&tuple);
                v6.push(probe);
                singly6.push(hasher.hash(&tuple));
                let [src, dst] = [src, dst].map(|a| Ipv4Addr::from(*a.first_chunk::<4>().unwrap()));
                let tuple = FiveTuple { src, dst, sport, dport, protocol };
                probe.of(&tuple);
                // What a packet of the other family left behind in a probe has no say.
                probe.words.addresses[1..].copy_from_slice(&rest);
                v4.push(probe);
                singly4.push(hasher.hash(&tuple));
            }
            for (is_v6, mut probes, singly) in [(false, v4, singly4), (true, v6, singly6)] {
                hash_all(&hasher, is_v6, &mut probes);
                prop_assert_eq!(probes.iter().map(|p| p.hash).collect::<Vec<_>>(), singly);
            }
        }
    }
}

fn tuple4(src: [u8; 4], dst: [u8; 4], sport: u16, dport: u16) -> Key4 {
    FiveTuple { src: src.into(), dst: dst.into(), sport, dport, protocol: 6 }
}

#[test]
fn golden_vectors_never_change() {
    let v4 = tuple4([198, 51, 100, 7], [192, 0, 2, 10], 40_000, 80);
    let [src, dst] = [7, 0x80].map(|low| Ipv6Addr::from_bits(0x2001_0db8 << 96 | low));
    let v6 = FiveTuple { src, dst, sport: 40_000, dport: 80, protocol: 6 };
    let portable = TableHasher::Portable(KEY);
    let found = [portable.hash(&v4), portable.hash(&v6)];
    assert_eq!(found, GOLDEN_PORTABLE, "{found:#x?}");
    let oracle = Oracle::new(KEY);
    let found = [oracle.hash(&Words::of(&v4), false), oracle.hash(&Words::of(&v6), true)];
    assert_eq!(found, GOLDEN_AES, "{found:#x?}");
    if let Some(aes) = aes(KEY) {
        assert_eq!([aes.hash(&v4), aes.hash(&v6)], GOLDEN_AES);
    }
}

const GOLDEN_PORTABLE: [u64; 2] = [0xc5bc_36d8_5159_5b09, 0x2286_1e9e_dc6b_c5a4];
const GOLDEN_AES: [u64; 2] = [0x4e74_d8b0_fab7_6c99, 0xd878_4552_b2cf_ed63];

/// Every bit of the input changes every bit of the hash in half of the cases; the bound is six standard deviations.
#[test]
fn every_input_bit_changes_every_hash_bit() {
    const TUPLES: u64 = 1024;
    for hasher in hashers(KEY) {
        for is_v6 in [false, true] {
            let bits = if is_v6 { 256 + 40 } else { 64 + 40 };
            let probes = |flipped: Option<usize>| {
                let all = (0..TUPLES).map(move |n| {
                    let word = |place: u64| hash_bytes(KEY, &[n, place].map(u64::to_le_bytes).concat());
                    let ends = word(4) & 0xff_ffff_ffff;
                    let mut probe = Probe { words: Words { addresses: [0, 1, 2, 3].map(word), ends }, hash: 0 };
                    let flip = |word: usize| flipped.filter(|bit| bit / 64 == word).map_or(0, |bit| 1 << (bit % 64));
                    let address_words = if is_v6 { 4 } else { 1 };
                    for at in 0..address_words {
                        probe.words.addresses[at] ^= flip(at);
                    }
                    probe.words.ends ^= flip(address_words);
                    probe
                });
                let mut all: Vec<_> = all.collect();
                hash_all(&hasher, is_v6, &mut all);
                all.into_iter().map(|p| p.hash).collect::<Vec<_>>()
            };
            let plain = probes(None);
            for bit in 0..bits {
                let changed = probes(Some(bit));
                for out in 0..64 {
                    let count = plain.iter().zip(&changed).filter(|(a, b)| (*a ^ *b) >> out & 1 == 1).count();
                    assert!(count.abs_diff(512) < 96, "bit {bit} changes bit {out} in {count} of {TUPLES} cases");
                }
            }
        }
    }
}

/// CRC-32C, bit by bit; many programs place connections by it, with an instruction.
fn crc32c(input: &[u8; 12]) -> u32 {
    let bit = |crc: u32| crc >> 1 ^ if crc & 1 == 1 { 0x82f6_3b78 } else { 0 };
    !input.iter().fold(!0, |crc, &byte| (0..8).fold(crc ^ u32::from(byte), |crc, _| bit(crc)))
}

fn toeplitz(input: &[u8; 12]) -> u32 {
    let key = tuple_of(input);
    let toeplitz = Toeplitz::new(&MICROSOFT_KEY).unwrap();
    toeplitz.hash_v4(key.src.to_bits(), key.dst.to_bits(), key.sport, key.dport)
}

/// All words of the tuple into one.
fn folded(input: &[u8; 12]) -> u32 {
    input.as_chunks::<4>().0.iter().fold(0, |sum, word| sum ^ u32::from_be_bytes(*word))
}

fn tuple_of(input: &[u8; 12]) -> Key4 {
    let [a, b, c, d, e, f, g, h, i, j, k, l] = *input;
    tuple4([a, b, c, d], [e, f, g, h], u16::from_be_bytes([i, j]), u16::from_be_bytes([k, l]))
}

/// Inputs whose `hash`, which must be linear but for a constant, is the same: what somebody sends who knows it. The
/// differences that do not show are found by elimination.
fn colliding(hash: fn(&[u8; 12]) -> u32, count: u64) -> Vec<Key4> {
    let input = |bits: u128| *bits.to_le_bytes().first_chunk::<12>().unwrap();
    let linear = |bits: u128| hash(&input(bits)) ^ hash(&[0; 12]);
    let (mut basis, mut unseen) = (Vec::<(u32, u128)>::new(), Vec::new());
    for bit in 0..96 {
        let mut candidate = (linear(1 << bit), 1u128 << bit);
        for &(out, bits) in &basis {
            // The leading bits of a basis differ.
            if candidate.0 ^ out < candidate.0 {
                candidate = (candidate.0 ^ out, candidate.1 ^ bits);
            }
        }
        if candidate.0 == 0 {
            unseen.push(candidate.1);
        } else {
            basis.push(candidate);
            basis.sort_by_key(|&(out, _)| std::cmp::Reverse(out));
        }
    }
    assert!(unseen.len() >= 64, "{}", unseen.len());
    let base = u128::from_le_bytes(*b"\xc6\x33\x64\x07\xc0\x00\x02\x0a\x9c\x40\x00\x50\0\0\0\0");
    let wanted = hash(&input(base));
    let member = |n: u64| {
        // One to one, and all of the differences take part.
        let n = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let chosen = unseen.iter().take(64).enumerate().filter(|(bit, _)| n >> bit & 1 == 1);
        let input = input(chosen.fold(base, |sum, (_, bits)| sum ^ bits));
        assert!(!n.is_multiple_of(64) || hash(&input) == wanted);
        tuple_of(&input)
    };
    (0..count).map(member).collect()
}

/// Flows as they come in practice and as they do not by chance.
fn patterns(count: u64) -> Vec<(&'static str, Vec<Key4>)> {
    let vip = [192, 0, 2, 10];
    let client = |n: u32| n.to_be_bytes();
    let all = |make: &dyn Fn(u32) -> Key4| (0..count as u32).map(make).collect::<Vec<_>>();
    vec![
        ("ports in turn", all(&|n| tuple4(client(0xc633_6400 + (n >> 16)), vip, n as u16, 80))),
        ("clients in turn", all(&|n| tuple4(client(0x0a00_0000 + n), vip, 40_000, 80))),
        ("every 256th client", all(&|n| tuple4(client(n << 8), vip, 40_000, 80))),
        ("port as address", all(&|n| tuple4(client(n), vip, n as u16, 80))),
        ("equal sums", all(&|n| tuple4(client(0x0a00_0000 + n), client(0xc000_0200 - n), n as u16, !(n as u16)))),
        ("equal under crc32c", colliding(crc32c, count)),
        ("equal under toeplitz", colliding(toeplitz, count)),
        ("equal when folded", colliding(folded, count)),
    ]
}

/// Pearson's statistic in standard deviations from its mean, for counts that should all be equal.
fn unevenness(counts: &[u32]) -> f64 {
    let expected = counts.iter().map(|&n| f64::from(n)).sum::<f64>() / counts.len() as f64;
    let chi2 = counts.iter().map(|&n| (f64::from(n) - expected).powi(2) / expected).sum::<f64>();
    let degrees = (counts.len() - 1) as f64;
    (chi2 - degrees) / (2.0 * degrees).sqrt()
}

#[test]
fn buckets_and_tags_are_even_whatever_the_flows_have_in_common() {
    const FLOWS: u64 = 1 << 17;
    assert!(unevenness(&[100; 64]) < -5.0 && unevenness(&[150, 50].repeat(32)) > 100.0);
    for (name, flows) in patterns(FLOWS) {
        for hasher in hashers(KEY) {
            // The number of buckets is no power of two, and a tag of 0 stands for a free place.
            let (mut buckets, mut tags, mut pairs) = (vec![0u32; 3001], vec![0u32; 1 << 12], vec![0u32; 1 << 12]);
            for flow in &flows {
                let hash = hasher.hash(flow);
                buckets[(((hash >> 32) * 3001) >> 32) as usize] += 1;
                tags[(hash & 0xfff) as usize] += 1;
                // Places and tags must not go together.
                pairs[(hash >> 58 << 6 | hash >> 10 & 63) as usize] += 1;
            }
            for (what, counts) in [("bucket", buckets), ("tag", tags), ("bucket and tag", pairs)] {
                let sigmas = unevenness(&counts);
                assert!(sigmas.abs() < 6.0, "{what} of {name}: {sigmas} standard deviations");
            }
        }
    }
}

#[test]
fn no_choice_of_flows_fills_some_buckets_more_than_others() {
    const FLOWS: usize = 10_000;
    for (name, flows) in patterns(FLOWS as u64) {
        for hasher in hashers(KEY) {
            let mut table = Table::<Ipv4Addr>::new(FLOWS, Place::default()).unwrap();
            let mut displaced = 0;
            for flow in &flows {
                let entry = Entry {
                    src: flow.src,
                    dst: flow.dst,
                    sport: flow.sport,
                    dport: flow.dport,
                    protocol: flow.protocol,
                    ..Entry::empty()
                };
                let hash = hasher.hash(flow);
                let inserted = table.insert(hash, entry, Tick(100), false, false, Tick(0)).unwrap();
                assert!(inserted.removed.is_none(), "{name}");
                displaced += usize::from(inserted.slot.bucket() != table.home(hash));
            }
            // As for keys by chance.
            assert!(displaced < 1200, "{displaced} of {FLOWS} are not where they belong: {name}");
        }
    }
}
