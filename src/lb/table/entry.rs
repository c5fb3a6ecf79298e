//! What the table keeps for one direction of a connection.

use std::fmt::Debug;
use std::hash::Hash;

use super::Slot;
use crate::lb::connection::State;
use crate::lb::ids::BackendId;

/// An IP address that connections are keyed by.
pub trait Address: Copy + Eq + Hash + Debug + 'static {
    /// A value that fills a free entry.
    const UNSPECIFIED: Self;
}

impl Address for std::net::Ipv4Addr {
    const UNSPECIFIED: Self = std::net::Ipv4Addr::UNSPECIFIED;
}

impl Address for std::net::Ipv6Addr {
    const UNSPECIFIED: Self = std::net::Ipv6Addr::UNSPECIFIED;
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
    /// NAT: the address that replaces the destination (requests) or the source (replies).
    pub translated: A,
    /// Source port on the wire, host order.
    pub sport: u16,
    /// Destination port on the wire, host order.
    pub dport: u16,
    /// NAT: the port that goes with `translated`, host order.
    pub translated_port: u16,
    /// TCP or UDP.
    pub protocol: u8,
    /// State, and which direction this is.
    pub state: State,
    /// Who serves the connection.
    pub backend: BackendId,
    /// NAT: the entry of the other direction, else [`Slot::NONE`].
    pub pair: Slot,
}

impl<A: Address> Entry<A> {
    /// A free entry.
    pub fn empty() -> Self {
        Self {
            src: A::UNSPECIFIED,
            dst: A::UNSPECIFIED,
            translated: A::UNSPECIFIED,
            sport: 0,
            dport: 0,
            translated_port: 0,
            protocol: 0,
            state: State::default(),
            backend: BackendId::default(),
            pair: Slot::NONE,
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
