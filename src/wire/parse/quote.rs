//! The packet that an ICMP error quotes, which may be cut anywhere (RFC 792, RFC 4443 section 2.4, RFC 1812 section 4.3.2.3).

use std::net::{Ipv4Addr, Ipv6Addr};

use super::super::bytes::{array, u8_at, u16_at, v4_at, v6_at};
use super::super::protocol::{ICMP, ICMPV6, TCP, UDP};
use super::super::{checksum, icmp, icmpv6};
use super::{ExtensionError, FiveTuple, Fragment, Kind, extension};

/// Where the headers of a quoted packet are and what they say. Offsets are in bytes from the start of the quote, where its IP
/// header is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quote {
    /// [`Kind::V4`] or [`Kind::V6`].
    pub kind: Kind,
    /// The upper layer, behind IPv6 extension headers.
    pub protocol: u8,
    /// Whether the quoted packet was a fragment; a later one has no ports.
    pub fragment: Fragment,
    /// Offset of the upper-layer header, behind options and extension headers.
    pub l4: u16,
    /// How many bytes of the upper layer the quote holds.
    pub l4_available: u16,
    /// Length of the packet as its IP header says, in bytes; the quote is usually shorter.
    pub ip_len: u32,
    /// Whether this is an ICMP echo request, whose identifier is then `sport`, or reply, whose identifier is `dport`.
    pub is_echo: bool,
    /// Source port; 0 for other protocols and for later fragments.
    pub sport: u16,
    /// Destination port; 0 as for `sport`.
    pub dport: u16,
    /// TTL or hop limit at the router that quotes.
    pub ttl: u8,
}

/// Why a quoted packet cannot be used. Lengths are in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuoteError {
    /// The quote ends in the IP header.
    #[error("quote of {0} bytes ends in its ip header")]
    Truncated(usize),
    /// The IP version is neither 4 nor 6.
    #[error("quoted ip version {0}: 4 or 6 is needed")]
    Version(u8),
    /// The IPv4 header length is below five words.
    #[error("quoted ipv4 header of {0} words: at least 5 are needed")]
    HeaderLength(u8),
    /// The IPv4 total length is below that of the header.
    #[error("quoted ipv4 total length {0} is shorter than the header")]
    TotalLength(u16),
    /// The IPv4 header checksum is wrong (RFC 5508 REQ-3).
    #[error("quoted ipv4 header checksum 0x{0:04x} is wrong")]
    Checksum(u16),
    /// The IPv6 extension headers cannot be walked.
    #[error(transparent)]
    Extension(#[from] ExtensionError),
    /// The quote ends before the ports, or before the identifier of an ICMP message.
    #[error("quote holds {len} bytes of protocol {protocol}, too few to tell the connection")]
    L4Truncated {
        /// The upper layer.
        protocol: u8,
        /// How many bytes of it the quote has.
        len: u16,
    },
}

/// Parses the packet quoted in an ICMP error; `quote` begins at its IP header and holds what is there of it, of which at most the
/// first 65535 bytes count.
///
/// The IPv4 header checksum is verified, upper-layer checksums are not (they usually cannot be).
pub fn parse_quote(quote: &[u8]) -> Result<Quote, QuoteError> {
    let quote = quote.get(..usize::from(u16::MAX)).unwrap_or(quote);
    match quote.first().map(|first| first >> 4) {
        None => Err(QuoteError::Truncated(0)),
        Some(4) => parse_v4(quote),
        Some(6) => parse_v6(quote),
        Some(version) => Err(QuoteError::Version(version)),
    }
}

impl Quote {
    /// The five-tuple of a quoted IPv4 packet; `quote` must be the one that was parsed.
    #[inline]
    pub fn five_tuple_v4(&self, quote: &[u8]) -> FiveTuple<Ipv4Addr> {
        self.five_tuple(v4_at(quote, 12), v4_at(quote, 16))
    }

    /// The five-tuple of a quoted IPv6 packet; `quote` must be the one that was parsed.
    #[inline]
    pub fn five_tuple_v6(&self, quote: &[u8]) -> FiveTuple<Ipv6Addr> {
        self.five_tuple(v6_at(quote, 8), v6_at(quote, 24))
    }

    /// Whether the ports are known: TCP or UDP, and not a later fragment.
    #[inline]
    pub fn has_ports(&self) -> bool {
        matches!(self.protocol, TCP | UDP) && self.fragment != Fragment::Later
    }

    /// Whether the packet can be told to be of one connection: its ports are known, or it is an echo.
    #[inline]
    pub fn names_flow(&self) -> bool {
        self.has_ports() || self.is_echo
    }

    fn five_tuple<A>(&self, src: A, dst: A) -> FiveTuple<A> {
        FiveTuple { src, dst, sport: self.sport, dport: self.dport, protocol: self.protocol }
    }

    /// Adds the ports, as `data` from the upper-layer header on holds them.
    fn with_upper_layer(self, data: &[u8]) -> Result<Self, QuoteError> {
        let needed = match self.protocol {
            _ if self.fragment == Fragment::Later => 0,
            TCP | UDP => 4,
            ICMP | ICMPV6 => 8,
            _ => 0,
        };
        if data.len() < needed {
            return Err(QuoteError::L4Truncated { protocol: self.protocol, len: self.l4_available });
        }
        if self.has_ports() {
            return Ok(Self { sport: u16_at(data, 0), dport: u16_at(data, 2), ..self });
        }
        if needed == 0 {
            return Ok(self);
        }
        let id = u16_at(data, 4);
        Ok(match (self.kind, self.protocol, u8_at(data, 0)) {
            (Kind::V4, ICMP, icmp::kind::ECHO_REQUEST) | (Kind::V6, ICMPV6, icmpv6::kind::ECHO_REQUEST) => {
                Self { is_echo: true, sport: id, ..self }
            }
            (Kind::V4, ICMP, icmp::kind::ECHO_REPLY) | (Kind::V6, ICMPV6, icmpv6::kind::ECHO_REPLY) => {
                Self { is_echo: true, dport: id, ..self }
            }
            _ => self,
        })
    }
}

fn parse_v4(quote: &[u8]) -> Result<Quote, QuoteError> {
    let truncated = QuoteError::Truncated(quote.len());
    let [version_ihl, _, len_high, len_low] = *quote.first_chunk::<4>().ok_or(truncated)?;
    let ihl = version_ihl & 0x0F;
    if ihl < 5 {
        return Err(QuoteError::HeaderLength(ihl));
    }
    let (header, data) = quote.split_at_checked(usize::from(ihl) * 4).ok_or(truncated)?;
    if !checksum::is_valid(checksum::sum(header)) {
        return Err(QuoteError::Checksum(u16_at(header, 10)));
    }
    let total_len = u16::from_be_bytes([len_high, len_low]);
    let payload_len = usize::from(total_len).checked_sub(header.len()).ok_or(QuoteError::TotalLength(total_len))?;
    let data = data.get(..payload_len).unwrap_or(data);
    let field = u16_at(header, 6);
    let fragment = match (field & 0x1FFF, field & 0x2000 != 0) {
        (0, false) => Fragment::None,
        (0, true) => Fragment::First,
        _ => Fragment::Later,
    };
    let [ttl, protocol] = array(header, 8);
    let quote = Quote {
        kind: Kind::V4,
        protocol,
        fragment,
        l4: u16::from(ihl) * 4,
        l4_available: clamp(data.len()),
        ip_len: u32::from(total_len),
        is_echo: false,
        sport: 0,
        dport: 0,
        ttl,
    };
    quote.with_upper_layer(data)
}

fn parse_v6(quote: &[u8]) -> Result<Quote, QuoteError> {
    let Some((header, data)) = quote.split_first_chunk::<40>() else {
        return Err(QuoteError::Truncated(quote.len()));
    };
    let payload_len = u16_at(header, 4);
    let data = data.get(..usize::from(payload_len)).unwrap_or(data);
    // The end of the quote is the end of what can be walked, so it counts as the end of the packet.
    let chain = extension::walk(u8_at(header, 6), data, data.len())?;
    let data = data.get(chain.len..).unwrap_or_default();
    let quote = Quote {
        kind: Kind::V6,
        protocol: chain.protocol,
        fragment: chain.fragment,
        l4: clamp(40 + chain.len),
        l4_available: clamp(data.len()),
        ip_len: 40 + u32::from(payload_len),
        is_echo: false,
        sport: 0,
        dport: 0,
        ttl: u8_at(header, 7),
    };
    quote.with_upper_layer(data)
}

/// A length within the quote, which is at most 65535 bytes.
fn clamp(len: usize) -> u16 {
    u16::try_from(len).unwrap_or(u16::MAX)
}
