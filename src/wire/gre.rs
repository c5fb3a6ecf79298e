//! GRE headers without keys or sequence numbers (RFC 2784).

use super::bytes::{put_u16, u16_at};
use super::checksum;
use super::ethernet::EtherType;

/// Length of the header that [`emit`] writes, in bytes.
pub const HEADER_LEN: usize = 4;

const CHECKSUM_PRESENT: u16 = 0x8000;
/// Bits 1 to 5, which say that the packet is of RFC 1701 (section 2.3).
const OLD_FLAGS: u16 = 0x7C00;

/// A GRE header that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gre {
    /// [`EtherType::IPV4`] or [`EtherType::IPV6`].
    pub protocol: EtherType,
    /// Length of the header in bytes: 8 with a checksum, 4 without.
    pub header_len: usize,
}

/// Why a GRE packet is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GreError {
    /// The header is cut.
    #[error("gre packet of {0} bytes ends in its header")]
    Truncated(usize),
    /// Routing, key, sequence number, source route or recursion bits of RFC 1701 are set.
    #[error("gre flags 0x{0:04x}: only a checksum is known")]
    Flags(u16),
    /// The version is not 0.
    #[error("gre version {0}: 0 is needed")]
    Version(u8),
    /// It carries neither IPv4 nor IPv6.
    #[error("gre protocol 0x{0:04x}: 0x0800 or 0x86dd is needed")]
    Protocol(u16),
    /// The checksum is wrong.
    #[error("gre checksum 0x{0:04x} is wrong")]
    Checksum(u16),
}

impl Gre {
    /// Reads the header at the start of `packet`, which must be the whole GRE packet where it has a checksum.
    pub fn parse(packet: &[u8]) -> Result<Self, GreError> {
        let (flags, protocol) = (u16_at(packet, 0), u16_at(packet, 2));
        let header_len = if flags & CHECKSUM_PRESENT == 0 { HEADER_LEN } else { HEADER_LEN + 4 };
        if packet.len() < header_len {
            return Err(GreError::Truncated(packet.len()));
        }
        if flags & OLD_FLAGS != 0 {
            return Err(GreError::Flags(flags));
        }
        if flags & 7 != 0 {
            return Err(GreError::Version((flags & 7) as u8));
        }
        if flags & CHECKSUM_PRESENT != 0 && !checksum::is_valid(checksum::sum(packet)) {
            return Err(GreError::Checksum(u16_at(packet, 4)));
        }
        match EtherType(protocol) {
            protocol @ (EtherType::IPV4 | EtherType::IPV6) => Ok(Self { protocol, header_len }),
            EtherType(other) => Err(GreError::Protocol(other)),
        }
    }
}

/// Writes a header without a checksum at the start of `buf` and returns its length, 4 bytes.
#[inline]
pub fn emit(buf: &mut [u8], protocol: EtherType) -> Option<usize> {
    let header = buf.get_mut(..HEADER_LEN)?;
    put_u16(header, 0, 0);
    put_u16(header, 2, protocol.0);
    Some(HEADER_LEN)
}
