//! ICMP for IPv6 (RFC 4443), neighbour discovery included (RFC 4861).

mod neighbor;

use std::net::Ipv6Addr;

use super::bytes::{Truncated, array, put, put_u16, require, tail, u8_at, u16_at, u32_at};
use super::checksum::{self, Delta};
use super::icmp::EXTENDED_QUOTE_MIN;
use super::protocol;

pub use neighbor::{NeighborAdvert, NeighborError, NeighborSolicit, solicited_node};

/// Length of the header of every message that is known here, in bytes.
pub const HEADER_LEN: usize = 8;
/// The most bytes of a packet that an error quotes: the error fits 1280 bytes with an IPv6 header (RFC 4443 section 2.4 c).
pub const QUOTE_MAX: usize = 1280 - 40 - HEADER_LEN;

/// Message types.
pub mod kind {
    /// The destination cannot be reached, see [`code`](super::code).
    pub const DESTINATION_UNREACHABLE: u8 = 1;
    /// The packet does not fit the next hop.
    pub const PACKET_TOO_BIG: u8 = 2;
    /// The hop limit or the time for reassembly ran out.
    pub const TIME_EXCEEDED: u8 = 3;
    /// A field of the headers is wrong.
    pub const PARAMETER_PROBLEM: u8 = 4;
    /// Asks for an echo reply.
    pub const ECHO_REQUEST: u8 = 128;
    /// Answer to an echo request.
    pub const ECHO_REPLY: u8 = 129;
    /// Asks routers to announce themselves.
    pub const ROUTER_SOLICIT: u8 = 133;
    /// A router announces itself.
    pub const ROUTER_ADVERT: u8 = 134;
    /// Asks for the link-layer address of a neighbour.
    pub const NEIGHBOR_SOLICIT: u8 = 135;
    /// Tells a link-layer address.
    pub const NEIGHBOR_ADVERT: u8 = 136;
    /// A better router.
    pub const REDIRECT: u8 = 137;
}

/// Codes of destination unreachable, of time exceeded and of parameter problem.
pub mod code {
    /// No route to the destination.
    pub const NO_ROUTE: u8 = 0;
    /// Forbidden by an administrator.
    pub const PROHIBITED: u8 = 1;
    /// The address does not answer.
    pub const ADDRESS_UNREACHABLE: u8 = 3;
    /// Nobody is at the port.
    pub const PORT_UNREACHABLE: u8 = 4;
    /// Time exceeded: the hop limit ran out on the way.
    pub const HOP_LIMIT_EXCEEDED: u8 = 0;
    /// Time exceeded: fragments did not all come.
    pub const REASSEMBLY_TIME_EXCEEDED: u8 = 1;
    /// Parameter problem: the host does not know what follows a header.
    pub const UNKNOWN_NEXT_HEADER: u8 = 1;
}

/// Whether a message of this type reports an error and quotes a packet, unknown errors included (RFC 4443 section 2.1).
#[inline]
pub const fn is_error(kind: u8) -> bool {
    kind < 128
}

/// Bytes that begin with an ICMPv6 header; what follows may be cut.
#[derive(Clone, Copy, Debug)]
pub struct Icmpv6Packet<T> {
    data: T,
}

impl<T: AsRef<[u8]>> Icmpv6Packet<T> {
    /// Checks that the header is in `data`.
    #[inline]
    pub fn new_checked(data: T) -> Result<Self, Truncated> {
        require(data.as_ref(), HEADER_LEN, "icmpv6")?;
        Ok(Self { data })
    }

    /// The type, see [`kind`].
    #[inline]
    pub fn kind(&self) -> u8 {
        u8_at(self.bytes(), 0)
    }

    /// The code, see [`code`].
    #[inline]
    pub fn code(&self) -> u8 {
        u8_at(self.bytes(), 1)
    }

    /// Checksum.
    #[inline]
    pub fn checksum(&self) -> u16 {
        u16_at(self.bytes(), 2)
    }

    /// Identifier of an echo message.
    #[inline]
    pub fn identifier(&self) -> u16 {
        u16_at(self.bytes(), 4)
    }

    /// Sequence number of an echo message.
    #[inline]
    pub fn sequence(&self) -> u16 {
        u16_at(self.bytes(), 6)
    }

    /// MTU in bytes of a packet too big message.
    #[inline]
    pub fn mtu(&self) -> u32 {
        u32_at(self.bytes(), 4)
    }

    /// What follows the header.
    #[inline]
    pub fn payload(&self) -> &[u8] {
        tail(self.bytes(), HEADER_LEN)
    }

    /// The packet that an error quotes, without the extensions behind it (RFC 4884 section 4), as in
    /// [`IcmpPacket::quote`](super::icmp::IcmpPacket::quote).
    #[inline]
    pub fn quote(&self) -> &[u8] {
        let [units] = array(self.bytes(), 4);
        match self.kind() {
            kind::DESTINATION_UNREACHABLE | kind::TIME_EXCEEDED if usize::from(units) * 8 >= EXTENDED_QUOTE_MIN => {
                self.payload().get(..usize::from(units) * 8).unwrap_or(self.payload())
            }
            _ => self.payload(),
        }
    }

    /// Whether the checksum is right between these addresses; the view must be on the whole message without padding.
    #[inline]
    pub fn is_checksum_valid(&self, src: Ipv6Addr, dst: Ipv6Addr) -> bool {
        checksum::is_valid(message_sum(self.bytes(), src, dst))
    }

    #[inline]
    fn bytes(&self) -> &[u8] {
        self.data.as_ref()
    }
}

impl<T: AsRef<[u8]> + AsMut<[u8]>> Icmpv6Packet<T> {
    /// Sets the identifier of an echo message and updates the checksum.
    #[inline]
    pub fn replace_identifier(&mut self, identifier: u16) {
        let delta = Delta::default().replace_u16(self.identifier(), identifier);
        put_u16(self.data.as_mut(), 4, identifier);
        self.update_checksum(delta);
    }

    /// Turns an echo request into its reply, payload kept. The checksum stays as right as it was where the reply has the
    /// addresses of the request the other way round.
    #[inline]
    pub fn turn_into_reply(&mut self) {
        let delta = Delta::default().replace_u16(u16::from(self.kind()) << 8, u16::from(kind::ECHO_REPLY) << 8);
        put(self.data.as_mut(), 0, [kind::ECHO_REPLY]);
        self.update_checksum(delta);
    }

    /// Sets the checksum.
    #[inline]
    pub fn set_checksum(&mut self, checksum: u16) {
        put_u16(self.data.as_mut(), 2, checksum);
    }

    /// Adds `delta` to the checksum.
    #[inline]
    pub fn update_checksum(&mut self, delta: Delta) {
        let check = delta.apply(self.checksum());
        self.set_checksum(check);
    }

    /// Works the checksum out anew; the view must be on the whole message without padding.
    pub fn fill_checksum(&mut self, src: Ipv6Addr, dst: Ipv6Addr) {
        self.set_checksum(0);
        let check = checksum::finish(message_sum(self.bytes(), src, dst));
        self.set_checksum(check);
    }
}

/// An error that we report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Icmpv6Error {
    /// The packet does not fit `mtu` bytes.
    PacketTooBig {
        /// The largest packet that does fit, in bytes.
        mtu: u32,
    },
    /// The hop limit ran out.
    TimeExceeded,
    /// The destination cannot be reached, with one of the codes in [`code`].
    Unreachable {
        /// Why.
        code: u8,
    },
}

/// Writes an error from `src` to `dst` that quotes `packet`, from its IP header on and cut to [`QUOTE_MAX`] bytes, and
/// returns its length.
pub fn emit_error(buf: &mut [u8], src: Ipv6Addr, dst: Ipv6Addr, error: Icmpv6Error, packet: &[u8]) -> Option<usize> {
    let (kind, code, mtu) = match error {
        Icmpv6Error::PacketTooBig { mtu } => (kind::PACKET_TOO_BIG, 0, mtu),
        Icmpv6Error::TimeExceeded => (kind::TIME_EXCEEDED, code::HOP_LIMIT_EXCEEDED, 0),
        Icmpv6Error::Unreachable { code } => (kind::DESTINATION_UNREACHABLE, code, 0),
    };
    let quote = packet.get(..QUOTE_MAX).unwrap_or(packet);
    emit(buf, src, dst, [kind, code], mtu.to_be_bytes(), quote)
}

/// Writes an echo message, [`kind::ECHO_REQUEST`] or [`kind::ECHO_REPLY`], from `src` to `dst` and returns its length.
pub fn emit_echo(
    buf: &mut [u8],
    (src, dst): (Ipv6Addr, Ipv6Addr),
    kind: u8,
    identifier: u16,
    sequence: u16,
    payload: &[u8],
) -> Option<usize> {
    let ([a, b], [c, d]) = (identifier.to_be_bytes(), sequence.to_be_bytes());
    emit(buf, src, dst, [kind, 0], [a, b, c, d], payload)
}

/// Writes a message with its checksum: type and code, the four bytes behind the checksum, and the rest.
fn emit(
    buf: &mut [u8],
    src: Ipv6Addr,
    dst: Ipv6Addr,
    kind_code: [u8; 2],
    word: [u8; 4],
    payload: &[u8],
) -> Option<usize> {
    let message = buf.get_mut(..HEADER_LEN + payload.len())?;
    let (header, rest) = message.split_at_mut(HEADER_LEN);
    put(header, 0, kind_code);
    put(header, 2, [0, 0]);
    put(header, 4, word);
    rest.copy_from_slice(payload);
    let check = checksum::finish(message_sum(message, src, dst));
    put_u16(message, 2, check);
    Some(message.len())
}

/// The sum of a message and its pseudo-header (RFC 4443 section 2.3).
fn message_sum(message: &[u8], src: Ipv6Addr, dst: Ipv6Addr) -> u32 {
    let pseudo = checksum::pseudo_v6(src, dst, protocol::ICMPV6, message.len() as u32);
    checksum::combine(pseudo, checksum::sum(message))
}
