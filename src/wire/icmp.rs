//! ICMP for IPv4 (RFC 792).

use super::bytes::{Truncated, array, put, put_u16, require, tail, u8_at, u16_at};
use super::checksum::{self, Delta};

/// Length of the header of every message that is known here, in bytes.
pub const HEADER_LEN: usize = 8;
/// The most bytes of a packet that an error quotes: the error fits 576 bytes with an IPv4 header (RFC 1812 section 4.3.2.3).
pub const QUOTE_MAX: usize = 576 - 20 - HEADER_LEN;

/// Fewest bytes of a packet that an error with extensions quotes, in ICMPv6 as well (RFC 4884 section 3).
pub const EXTENDED_QUOTE_MIN: usize = 128;

/// Message types.
pub mod kind {
    /// Answer to an echo request.
    pub const ECHO_REPLY: u8 = 0;
    /// The destination cannot be reached, see [`code`](super::code).
    pub const DESTINATION_UNREACHABLE: u8 = 3;
    /// Congestion (deprecated by RFC 6633).
    pub const SOURCE_QUENCH: u8 = 4;
    /// A better router.
    pub const REDIRECT: u8 = 5;
    /// Asks for an echo reply.
    pub const ECHO_REQUEST: u8 = 8;
    /// The TTL or the time for reassembly ran out.
    pub const TIME_EXCEEDED: u8 = 11;
    /// A field of the header is wrong.
    pub const PARAMETER_PROBLEM: u8 = 12;
    /// Asks for a timestamp.
    pub const TIMESTAMP_REQUEST: u8 = 13;
    /// Answer to a timestamp request.
    pub const TIMESTAMP_REPLY: u8 = 14;
}

/// Codes of destination unreachable, and of time exceeded.
pub mod code {
    /// No route to the network.
    pub const NET_UNREACHABLE: u8 = 0;
    /// The host does not answer.
    pub const HOST_UNREACHABLE: u8 = 1;
    /// The host does not have the protocol.
    pub const PROTOCOL_UNREACHABLE: u8 = 2;
    /// Nobody is at the port.
    pub const PORT_UNREACHABLE: u8 = 3;
    /// The packet does not fit the next hop and has DF (RFC 1191).
    pub const FRAGMENTATION_NEEDED: u8 = 4;
    /// The route that the packet names cannot be taken.
    pub const SOURCE_ROUTE_FAILED: u8 = 5;
    /// Forbidden by an administrator (RFC 1812 section 5.2.7.1).
    pub const PROHIBITED: u8 = 13;
    /// Time exceeded: the TTL ran out on the way.
    pub const TTL_EXCEEDED: u8 = 0;
    /// Time exceeded: fragments did not all come.
    pub const REASSEMBLY_TIME_EXCEEDED: u8 = 1;
}

/// Whether a message of this type reports an error and quotes a packet (RFC 1122 section 3.2.2).
#[inline]
pub const fn is_error(kind: u8) -> bool {
    matches!(
        kind,
        kind::DESTINATION_UNREACHABLE
            | kind::SOURCE_QUENCH
            | kind::REDIRECT
            | kind::TIME_EXCEEDED
            | kind::PARAMETER_PROBLEM
    )
}

/// Bytes that begin with an ICMP header; what follows may be cut.
#[derive(Clone, Copy, Debug)]
pub struct IcmpPacket<T> {
    data: T,
}

impl<T: AsRef<[u8]>> IcmpPacket<T> {
    /// Checks that the header is in `data`.
    #[inline]
    pub fn new_checked(data: T) -> Result<Self, Truncated> {
        require(data.as_ref(), HEADER_LEN, "icmp")?;
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

    /// Identifier of an echo or timestamp message.
    #[inline]
    pub fn identifier(&self) -> u16 {
        u16_at(self.bytes(), 4)
    }

    /// Sequence number of an echo or timestamp message.
    #[inline]
    pub fn sequence(&self) -> u16 {
        u16_at(self.bytes(), 6)
    }

    /// Next-hop MTU in bytes of a fragmentation needed message; 0 from routers that do not tell (RFC 1191 section 4).
    #[inline]
    pub fn mtu(&self) -> u16 {
        u16_at(self.bytes(), 6)
    }

    /// What follows the header.
    #[inline]
    pub fn payload(&self) -> &[u8] {
        tail(self.bytes(), HEADER_LEN)
    }

    /// The packet that an error quotes, without the extensions behind it (RFC 4884 section 4). A length below
    /// [`EXTENDED_QUOTE_MIN`] is what older senders leave in a field that they do not know.
    #[inline]
    pub fn quote(&self) -> &[u8] {
        let [_, words] = array(self.bytes(), 4);
        match self.kind() {
            kind::DESTINATION_UNREACHABLE | kind::TIME_EXCEEDED | kind::PARAMETER_PROBLEM
                if usize::from(words) * 4 >= EXTENDED_QUOTE_MIN =>
            {
                self.payload().get(..usize::from(words) * 4).unwrap_or(self.payload())
            }
            _ => self.payload(),
        }
    }

    /// Whether the checksum is right; the view must be on the whole message without padding.
    #[inline]
    pub fn is_checksum_valid(&self) -> bool {
        checksum::is_valid(checksum::sum(self.bytes()))
    }

    #[inline]
    fn bytes(&self) -> &[u8] {
        self.data.as_ref()
    }
}

impl<T: AsRef<[u8]> + AsMut<[u8]>> IcmpPacket<T> {
    /// Sets the identifier of an echo message and updates the checksum.
    #[inline]
    pub fn replace_identifier(&mut self, identifier: u16) {
        let delta = Delta::default().replace_u16(self.identifier(), identifier);
        put_u16(self.data.as_mut(), 4, identifier);
        self.update_checksum(delta);
    }

    /// Turns an echo request into its reply, payload kept. A wrong checksum stays wrong.
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
        // A message of nothing but zeros is the one whose sum differences cannot tell from all ones (RFC 1624 3); what
        // completes it is all ones, which is as good as 0 for every other message of that sum.
        if check == 0 && !self.is_checksum_valid() {
            self.set_checksum(0xFFFF);
        }
    }

    /// Works the checksum out anew; the view must be on the whole message without padding.
    pub fn fill_checksum(&mut self) {
        self.set_checksum(0);
        let check = checksum::checksum(self.bytes());
        self.set_checksum(check);
    }
}

/// An error that we report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IcmpError {
    /// The packet has DF and does not fit `mtu` bytes (RFC 1191).
    FragmentationNeeded {
        /// The largest packet that does fit, in bytes.
        mtu: u16,
    },
    /// The TTL ran out (RFC 792).
    TimeExceeded,
    /// The destination cannot be reached, with one of the codes in [`code`].
    Unreachable {
        /// Why.
        code: u8,
    },
}

/// Writes an error that quotes `packet`, from its IP header on and cut to [`QUOTE_MAX`] bytes, and returns its length.
pub fn emit_error(buf: &mut [u8], error: IcmpError, packet: &[u8]) -> Option<usize> {
    let (kind, code, mtu) = match error {
        IcmpError::FragmentationNeeded { mtu } => (kind::DESTINATION_UNREACHABLE, code::FRAGMENTATION_NEEDED, mtu),
        IcmpError::TimeExceeded => (kind::TIME_EXCEEDED, code::TTL_EXCEEDED, 0),
        IcmpError::Unreachable { code } => (kind::DESTINATION_UNREACHABLE, code, 0),
    };
    let [mtu_high, mtu_low] = mtu.to_be_bytes();
    let quote = packet.get(..QUOTE_MAX).unwrap_or(packet);
    emit(buf, [kind, code, 0, 0, 0, 0, mtu_high, mtu_low], quote)
}

/// Writes an echo message, [`kind::ECHO_REQUEST`] or [`kind::ECHO_REPLY`], and returns its length.
pub fn emit_echo(buf: &mut [u8], kind: u8, identifier: u16, sequence: u16, payload: &[u8]) -> Option<usize> {
    let ([a, b], [c, d]) = (identifier.to_be_bytes(), sequence.to_be_bytes());
    emit(buf, [kind, 0, 0, 0, a, b, c, d], payload)
}

fn emit(buf: &mut [u8], header: [u8; HEADER_LEN], payload: &[u8]) -> Option<usize> {
    let message = buf.get_mut(..HEADER_LEN + payload.len())?;
    let (start, rest) = message.split_at_mut(HEADER_LEN);
    put(start, 0, header);
    rest.copy_from_slice(payload);
    let check = checksum::checksum(message);
    put_u16(message, 2, check);
    Some(message.len())
}
