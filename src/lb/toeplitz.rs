//! The Toeplitz hash that NICs use for receive-side scaling, in software.
//!
//! It is linear, `hash(a ^ b) == hash(a) ^ hash(b)`: whoever searches a port that gives a wanted hash computes the rest
//! of the tuple once (with port 0) and combines it with the hash of each port (all else 0). It is no protection
//! against chosen input; for that there is [`hash`](super::hash).

use thiserror::Error;

/// The key that Microsoft's RSS specification verifies with, and that many drivers take by default.
pub const MICROSOFT_KEY: [u8; 40] = [
    0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3, 0x8f, 0xb0, 0xd0, 0xca, 0x2b,
    0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30, 0xf2, 0x0c, 0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac,
    0x01, 0xfa,
];

/// Bytes of the longest input: two IPv6 addresses and two ports.
const INPUT_BYTES_MAX: usize = 36;
/// Shortest usable key in bytes: each input bit takes the 32 key bits that start at it.
const KEY_BYTES_MIN: usize = INPUT_BYTES_MAX + 4;
/// Largest redirection table, as DPDK bounds it (`RTE_ETH_RSS_RETA_SIZE_512`) with room for coming NICs.
const RETA_LEN_MAX: usize = 65_536;

/// Why a key or a redirection table cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ToeplitzError {
    /// Fewer bytes than an IPv6 tuple takes.
    #[error("RSS key of {0} bytes is too short, at least 40 are needed")]
    KeyTooShort(usize),
    /// The table cannot be indexed with the low bits of a hash.
    #[error("redirection table of {0} entries cannot be used, its size must be a power of two up to 65536")]
    TableSize(usize),
}

/// The hash under one key.
///
/// Addresses and ports are given in host byte order. As in a NIC, the protocol is not part of the input.
#[derive(Clone)]
pub struct Toeplitz {
    positions: Box<[Position; INPUT_BYTES_MAX]>,
}

/// What a byte at one position of the input adds to the hash, by its halves.
///
/// Halves and not whole bytes, because 36 tables of 256 would fill the L1 cache (36 KB) that the packets need; these
/// take 4.6 KB, of which IPv4 touches a third.
#[derive(Clone, Copy)]
struct Position {
    high: [u32; 16],
    low: [u32; 16],
}

impl Toeplitz {
    /// Prepares a key as the driver reports it. Bytes behind the 40th (some NICs have 52) are never reached.
    ///
    /// # Errors
    /// A key of fewer than 40 bytes.
    pub fn new(key: &[u8]) -> Result<Self, ToeplitzError> {
        let Some(key) = key.first_chunk::<KEY_BYTES_MIN>() else {
            return Err(ToeplitzError::KeyTooShort(key.len()));
        };
        let mut positions = Box::new([Position { high: [0; 16], low: [0; 16] }; INPUT_BYTES_MAX]);
        for (position, window) in positions.iter_mut().zip(key.windows(5)) {
            // The 40 key bits from this byte on; bit i of the byte, counted from its top, takes 32 of them from i on.
            let bits = window.iter().fold(0_u64, |bits, &byte| bits << 8 | u64::from(byte));
            let part = |first_bit: u32, half: usize| {
                (0..4)
                    .filter(|i| half >> (3 - i) & 1 == 1)
                    .fold(0, |hash, i| hash ^ (bits >> (8 - first_bit - i)) as u32)
            };
            position.high = std::array::from_fn(|half| part(0, half));
            position.low = std::array::from_fn(|half| part(4, half));
        }
        Ok(Self { positions })
    }

    /// Hash of an IPv4 packet with ports (TCP or UDP).
    #[inline]
    #[must_use]
    pub fn hash_v4(&self, src: u32, dst: u32, sport: u16, dport: u16) -> u32 {
        self.part(0, src.to_be_bytes()) ^ self.part(4, dst.to_be_bytes()) ^ self.ports(8, sport, dport)
    }

    /// Hash of an IPv4 packet without ports (fragments, other protocols).
    #[inline]
    #[must_use]
    pub fn hash_v4_addresses(&self, src: u32, dst: u32) -> u32 {
        self.part(0, src.to_be_bytes()) ^ self.part(4, dst.to_be_bytes())
    }

    /// Hash of an IPv6 packet with ports (TCP or UDP). Addresses as `Ipv6Addr::to_bits` gives them.
    #[inline]
    #[must_use]
    pub fn hash_v6(&self, src: u128, dst: u128, sport: u16, dport: u16) -> u32 {
        self.part(0, src.to_be_bytes()) ^ self.part(16, dst.to_be_bytes()) ^ self.ports(32, sport, dport)
    }

    /// Hash of an IPv6 packet without ports (fragments, other protocols).
    #[inline]
    #[must_use]
    pub fn hash_v6_addresses(&self, src: u128, dst: u128) -> u32 {
        self.part(0, src.to_be_bytes()) ^ self.part(16, dst.to_be_bytes())
    }

    /// What the two ports add, the first of them at byte `offset` of the input.
    #[inline]
    fn ports(&self, offset: usize, sport: u16, dport: u16) -> u32 {
        self.part(offset, sport.to_be_bytes()) ^ self.part(offset + 2, dport.to_be_bytes())
    }

    /// What the bytes that begin at `offset` of the input add to the hash.
    #[inline]
    fn part<const N: usize>(&self, offset: usize, bytes: [u8; N]) -> u32 {
        self.positions.iter().skip(offset).zip(bytes).fold(0, |hash, (position, byte)| {
            hash ^ position.high[usize::from(byte >> 4)] ^ position.low[usize::from(byte & 15)]
        })
    }
}

/// A port's redirection table: the low bits of the hash select an entry, the entry is the queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reta {
    queues: Box<[u16]>,
}

impl Reta {
    /// The table as the driver reports it.
    ///
    /// # Errors
    /// A size that is no power of two, or above 65536.
    pub fn new(queues: &[u16]) -> Result<Self, ToeplitzError> {
        if !queues.len().is_power_of_two() || queues.len() > RETA_LEN_MAX {
            return Err(ToeplitzError::TableSize(queues.len()));
        }
        Ok(Self { queues: queues.into() })
    }

    /// A table of `len` entries that deals the queues `0..queues` out in turn, as drivers do by default.
    ///
    /// # Errors
    /// A size that is no power of two, or above 65536. No queue counts as one.
    pub fn in_turn(len: usize, queues: u16) -> Result<Self, ToeplitzError> {
        if len > RETA_LEN_MAX {
            return Err(ToeplitzError::TableSize(len));
        }
        let in_turn: Vec<u16> = (0..queues.max(1)).cycle().take(len).collect();
        Self::new(&in_turn)
    }

    /// The queue for a packet with this hash.
    #[inline]
    #[must_use]
    pub fn queue(&self, hash: u32) -> u16 {
        // The mask cannot leave the table, whose size is a power of two; the compiler cannot know.
        self.queues.get(hash as usize & (self.queues.len() - 1)).copied().unwrap_or(0)
    }

    /// All entries, by index.
    #[must_use]
    pub fn queues(&self) -> &[u16] {
        &self.queues
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

    /// The definition, bit by bit.
    fn by_definition(key: &[u8], input: &[u8]) -> u32 {
        let key_bit = |i: usize| u32::from(key[i / 8] >> (7 - i % 8) & 1);
        let mut hash = 0;
        for i in (0..input.len() * 8).filter(|i| input[i / 8] >> (7 - i % 8) & 1 == 1) {
            hash ^= (0..32).fold(0, |window, j| window << 1 | key_bit(i + j));
        }
        hash
    }

    fn toeplitz() -> Toeplitz {
        Toeplitz::new(&MICROSOFT_KEY).unwrap()
    }

    #[test]
    fn microsoft_vectors_v4() {
        // Source and destination with ports, hash of the addresses alone, hash with ports.
        let vectors = [
            ("66.9.149.187", 2794, "161.142.100.80", 1766, 0x323e_8fc2, 0x51cc_c178),
            ("199.92.111.2", 14230, "65.69.140.83", 4739, 0xd718_262a, 0xc626_b0ea),
            ("24.19.198.95", 12898, "12.22.207.184", 38024, 0xd2d0_a5de, 0x5c2b_394a),
            ("38.27.205.30", 48228, "209.142.163.6", 2217, 0x8298_9176, 0xafc7_327f),
            ("153.39.163.191", 44251, "202.188.127.2", 1303, 0x5d18_09c5, 0x10e8_28a2),
        ];
        for (src, sport, dst, dport, addresses, ports) in vectors {
            let (src, dst) = (src.parse::<Ipv4Addr>().unwrap().to_bits(), dst.parse::<Ipv4Addr>().unwrap().to_bits());
            assert_eq!(toeplitz().hash_v4_addresses(src, dst), addresses);
            assert_eq!(toeplitz().hash_v4(src, dst, sport, dport), ports);
        }
    }

    #[test]
    fn microsoft_vectors_v6() {
        let vectors = [
            ("3ffe:2501:200:1fff::7", 2794, "3ffe:2501:200:3::1", 1766, 0x2cc1_8cd5, 0x4020_7d3d),
            ("3ffe:501:8::260:97ff:fe40:efab", 14230, "ff02::1", 4739, 0x0f0c_461c, 0xdde5_1bbf),
            ("3ffe:1900:4545:3:200:f8ff:fe21:67cf", 44251, "fe80::200:f8ff:fe21:67cf", 38024, 0x4b61_e985, 0x02d1_feef),
        ];
        for (src, sport, dst, dport, addresses, ports) in vectors {
            let (src, dst) = (src.parse::<Ipv6Addr>().unwrap().to_bits(), dst.parse::<Ipv6Addr>().unwrap().to_bits());
            assert_eq!(toeplitz().hash_v6_addresses(src, dst), addresses);
            assert_eq!(toeplitz().hash_v6(src, dst, sport, dport), ports);
        }
    }

    proptest! {
        #[test]
        fn tables_equal_the_definition(
            key in prop::collection::vec(any::<u8>(), 40..=52), src: u128, dst: u128, sport: u16, dport: u16,
        ) {
            let input = [&src.to_be_bytes()[..], &dst.to_be_bytes(), &sport.to_be_bytes(), &dport.to_be_bytes()].concat();
            let toeplitz = Toeplitz::new(&key).unwrap();
            prop_assert_eq!(toeplitz.hash_v6(src, dst, sport, dport), by_definition(&key, &input));
        }

        #[test]
        fn hash_is_linear_in_the_ports(src: u32, dst: u32, sport: u16, dport: u16) {
            let port_alone = toeplitz().hash_v4(0, 0, sport, 0);
            prop_assert_eq!(toeplitz().hash_v4(src, dst, sport, dport), toeplitz().hash_v4(src, dst, 0, dport) ^ port_alone);
        }

        #[test]
        fn low_bits_select_the_entry(hash: u32, exponent in 0_u32..=9) {
            let queues: Vec<u16> = (0..1_u16 << exponent).rev().collect();
            let reta = Reta::new(&queues).unwrap();
            prop_assert_eq!(reta.queue(hash), queues[hash as usize % queues.len()]);
        }
    }

    #[test]
    fn unusable_keys_and_tables_are_refused() {
        assert_eq!(Toeplitz::new(&[0; 39]).err(), Some(ToeplitzError::KeyTooShort(39)));
        for len in [0, 3, 96, 65_537, 131_072] {
            assert_eq!(Reta::in_turn(len, 4), Err(ToeplitzError::TableSize(len)));
            assert_eq!(Reta::new(&vec![0; len]), Err(ToeplitzError::TableSize(len)));
        }
    }

    #[test]
    fn queues_are_dealt_out_in_turn() {
        assert_eq!(Reta::in_turn(8, 3).unwrap().queues(), [0, 1, 2, 0, 1, 2, 0, 1]);
        assert_eq!(Reta::in_turn(2, 0).unwrap().queues(), [0, 0]);
    }
}
