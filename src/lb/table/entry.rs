//! What the table keeps for one direction of a connection.

use std::fmt::Debug;
use std::hash::Hash;

use super::Slot;
use super::key::{Words, ends};
use crate::lb::connection::State;
use crate::lb::ids::BackendId;

/// An IP address that connections are keyed by.
pub trait Address: Copy + Eq + Hash + Debug + 'static {
    /// A value that fills a free entry.
    const UNSPECIFIED: Self;
    /// Whether this is IPv6.
    const IS_V6: bool;

    /// Both addresses in words, see [`Words`].
    fn join(src: Self, dst: Self) -> [u64; 4];
    /// The addresses that [`Self::join`] put together.
    fn split(words: &[u64; 4]) -> (Self, Self);
    /// 0 if the words are of the same addresses.
    fn differ(a: &[u64; 4], b: &[u64; 4]) -> u64;
}

impl Address for std::net::Ipv4Addr {
    const UNSPECIFIED: Self = std::net::Ipv4Addr::UNSPECIFIED;
    const IS_V6: bool = false;

    #[inline(always)]
    fn join(src: Self, dst: Self) -> [u64; 4] {
        let word = |a: Self| u64::from(u32::from_le_bytes(a.octets()));
        [word(src) | word(dst) << 32, 0, 0, 0]
    }

    #[inline(always)]
    fn split(words: &[u64; 4]) -> (Self, Self) {
        let [a, b, c, d, e, f, g, h] = words[0].to_le_bytes();
        (Self::new(a, b, c, d), Self::new(e, f, g, h))
    }

    #[inline(always)]
    fn differ(a: &[u64; 4], b: &[u64; 4]) -> u64 {
        a[0] ^ b[0]
    }
}

impl Address for std::net::Ipv6Addr {
    const UNSPECIFIED: Self = std::net::Ipv6Addr::UNSPECIFIED;
    const IS_V6: bool = true;

    #[inline(always)]
    fn join(src: Self, dst: Self) -> [u64; 4] {
        let words = |a: Self| {
            let bits = u128::from_le_bytes(a.octets());
            [bits as u64, (bits >> 64) as u64]
        };
        let ([a, b], [c, d]) = (words(src), words(dst));
        [a, b, c, d]
    }

    #[inline(always)]
    fn split(words: &[u64; 4]) -> (Self, Self) {
        let address = |low: u64, high: u64| Self::from((u128::from(low) | u128::from(high) << 64).to_le_bytes());
        (address(words[0], words[1]), address(words[2], words[3]))
    }

    #[inline(always)]
    fn differ(a: &[u64; 4], b: &[u64; 4]) -> u64 {
        (a[0] ^ b[0]) | (a[1] ^ b[1]) | (a[2] ^ b[2]) | (a[3] ^ b[3])
    }
}

/// One direction of a connection: 32 bytes for IPv4, 64 for IPv6, the whole key included.
///
/// A connection in a tunnel mode is one entry. A connection through NAT is two, each found by its own direction's
/// five-tuple and pointing to the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, align(32))]
pub struct Entry<A> {
    /// Source address on the wire.
    pub src: A,
    /// Destination address on the wire.
    pub dst: A,
    /// Destination port on the wire, host order.
    pub dport: u16,
    /// Source port on the wire, host order.
    pub sport: u16,
    /// TCP or UDP.
    pub protocol: u8,
    /// State, and which direction this is.
    pub state: State,
    /// What else is known of the connection.
    pub notes: Notes,
    /// Who serves the connection.
    pub backend: BackendId,
    /// NAT: the entry of the other direction, else [`Slot::NONE`].
    pub pair: Slot,
    /// TCP through NAT: the sequence number that follows what was sent in this direction so far, if [`Notes::SENT`].
    pub next: u32,
    /// TCP through NAT: the last acknowledgment number that was sent in this direction, if [`Notes::ACKED`].
    pub ack: u32,
}

/// Facts about a connection that are either so or not, in one byte of an entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Notes(u8);

impl Notes {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// `next` says something.
    pub const SENT: Self = Self(1);
    /// `ack` says something.
    pub const ACKED: Self = Self(2);
    /// Full-NAT: the other side of the reply is a local address and port, to be given back in the end.
    pub const LOCAL: Self = Self(4);
    /// The backend is still to be told who the client is, or has not shown that it knows. Until then `next` of the
    /// request is the number of the client's first byte.
    pub const TELLS: Self = Self(8);
    /// It was told once.
    pub const TOLD: Self = Self(16);
    /// The client's numbers grow by the length of a PROXY header.
    pub const SHIFTS: Self = Self(32);

    /// Whether all of `other` is so.
    #[inline]
    pub fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Adds `other`.
    #[inline]
    pub fn add(&mut self, other: Self) {
        self.0 |= other.0;
    }

    /// Takes `other` away.
    #[inline]
    pub fn remove(&mut self, other: Self) {
        self.0 &= !other.0;
    }
}

impl<A: Address> Entry<A> {
    /// A free entry.
    pub fn empty() -> Self {
        Self {
            src: A::UNSPECIFIED,
            dst: A::UNSPECIFIED,
            sport: 0,
            dport: 0,
            notes: Notes::NONE,
            protocol: 0,
            state: State::default(),
            backend: BackendId::default(),
            pair: Slot::NONE,
            next: 0,
            ack: 0,
        }
    }

    /// The five-tuple of the packets that the entry is for.
    #[inline]
    pub fn key(&self) -> crate::wire::parse::FiveTuple<A> {
        crate::wire::parse::FiveTuple {
            src: self.src,
            dst: self.dst,
            sport: self.sport,
            dport: self.dport,
            protocol: self.protocol,
        }
    }

    /// True if the five-tuple is this entry's.
    #[inline]
    pub fn is(&self, key: &crate::wire::parse::FiveTuple<A>) -> bool {
        self.src == key.src
            && self.dst == key.dst
            && self.sport == key.sport
            && self.dport == key.dport
            && self.protocol == key.protocol
    }

    /// As [`Self::is`], a few whole words at a time.
    #[inline(always)]
    pub fn has(&self, words: &Words) -> bool {
        let addresses = A::differ(&A::join(self.src, self.dst), &words.addresses);
        addresses | (ends(self.sport, self.dport, self.protocol) ^ words.ends) == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_keep_their_size() {
        assert_eq!(size_of::<Entry<std::net::Ipv4Addr>>(), 32);
        assert_eq!(size_of::<Entry<std::net::Ipv6Addr>>(), 64);
    }
}
