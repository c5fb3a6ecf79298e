//! A five-tuple as the table hashes and compares it: a few whole words.

use super::Address;
use crate::wire::parse::FiveTuple;

/// The words of a five-tuple. For IPv4 only the first address word means anything.
#[derive(Clone, Copy, Debug, Default)]
pub struct Words {
    /// Source and destination address as they lie in the packet, read as little-endian words.
    pub addresses: [u64; 4],
    /// Ports and protocol, see [`ends`].
    pub ends: u64,
}

impl Words {
    /// The words of `tuple`.
    #[inline]
    pub fn of<A: Address>(tuple: &FiveTuple<A>) -> Self {
        Self { addresses: A::join(tuple.src, tuple.dst), ends: ends(tuple.sport, tuple.dport, tuple.protocol) }
    }
}

impl Words {
    /// The five-tuple that these are the words of.
    #[inline]
    pub fn tuple<A: Address>(&self) -> FiveTuple<A> {
        let (src, dst) = A::split(&self.addresses);
        let [dport, sport] = [self.ends as u16, (self.ends >> 16) as u16];
        FiveTuple { src, dst, sport, dport, protocol: (self.ends >> 32) as u8 }
    }
}

/// Ports, given in host order, and the protocol in one word: the first four bytes of the transport header as a number,
/// and the protocol above.
#[inline(always)]
pub fn ends(sport: u16, dport: u16, protocol: u8) -> u64 {
    u64::from(dport) | u64::from(sport) << 16 | u64::from(protocol) << 32
}
