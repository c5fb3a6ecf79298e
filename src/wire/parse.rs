//! A frame to header offsets and its five-tuple, in one pass.

mod extension;
mod general;
mod quote;
#[cfg(test)]
mod tests;

use std::net::{Ipv4Addr, Ipv6Addr};

use super::bytes::{v4_at, v6_at};
use super::checksum;
use super::protocol::{TCP, UDP};

pub use extension::fragment_data;
pub use extension::{EXTENSION_BYTES_MAX, EXTENSION_HEADERS_MAX, ExtensionError};
pub use quote::{Quote, QuoteError, parse_quote};

/// The most VLAN tags a frame may carry.
pub const TAGS_MAX: u8 = 4;

/// What a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// An IPv4 packet.
    V4,
    /// An IPv6 packet.
    V6,
    /// An ARP packet, of which only the offset is given; see [`Arp::parse`](super::arp::Arp::parse).
    Arp,
}

/// Whether a packet is whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Fragment {
    /// The whole packet, which includes IPv6 atomic fragments (RFC 6946).
    #[default]
    None,
    /// The first fragment, with the upper-layer header.
    First,
    /// A later fragment, without an upper-layer header, so without ports.
    Later,
}

/// Where the headers of a frame are and what they say. Offsets are in bytes from the start of the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parsed {
    /// Identification of the fragmented packet, 16 bits in IPv4; 0 unless this is a fragment.
    pub fragment_id: u32,
    /// The VLAN: the first VID that is not 0, as a tag with VID 0 only carries a priority. 0 means untagged.
    pub vlan: u16,
    /// Offset of the IP or ARP header.
    pub l3: u16,
    /// Offset of the upper-layer header, behind options and extension headers; of the data in a later fragment.
    pub l4: u16,
    /// Length of the IP packet in bytes, its header included and Ethernet padding not; 28 for ARP.
    pub ip_len: u16,
    /// The IPv4 identification field; 0 for IPv6.
    pub ip_id: u16,
    /// Where the data of a fragment belongs, in bytes from the start of the fragmentable part.
    pub fragment_offset: u16,
    /// Source port; 0 for protocols other than TCP and UDP and for later fragments.
    pub sport: u16,
    /// Destination port; 0 as for `sport`.
    pub dport: u16,
    /// What the frame carries.
    pub kind: Kind,
    /// How many VLAN tags there are, those with VID 0 included.
    pub tags: u8,
    /// How many VLAN tags have a VID other than 0: more than one is a stack.
    pub vids: u8,
    /// The upper layer, behind IPv6 extension headers; in a later IPv6 fragment what the fragment header names. 0 for ARP.
    pub protocol: u8,
    /// TTL or hop limit.
    pub ttl: u8,
    /// DSCP (upper six bits) and ECN.
    pub traffic_class: u8,
    /// Whether routers must not fragment the packet: the DF bit, and always true for IPv6.
    pub df: bool,
    /// Whether this is a fragment.
    pub fragment: Fragment,
    /// Whether a later fragment follows.
    pub more_fragments: bool,
    /// TCP flags; 0 for everything else.
    pub tcp_flags: u8,
}

/// Why a frame is not taken further. Lengths are in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// The Ethernet header or a VLAN tag is cut.
    #[error("frame of {0} bytes ends in its ethernet header")]
    EthernetTruncated(usize),
    /// The frame ends in the fixed part of the IP or ARP header.
    #[error("frame of {0} bytes ends in its ip or arp header")]
    Runt(usize),
    /// The headers do not lie in the first segment of the buffer.
    #[error("headers of at least {0} bytes are not in one segment")]
    NotContiguous(usize),
    /// The frame carries neither IP nor ARP.
    #[error("unknown ethertype 0x{0:04x}")]
    UnknownEtherType(u16),
    /// More VLAN tags than [`TAGS_MAX`].
    #[error("more than 4 vlan tags")]
    TooManyTags,
    /// The version in an IPv4 header is not 4.
    #[error("ip version {0} in an ipv4 frame")]
    Ipv4Version(u8),
    /// The IPv4 header length is below five words (RFC 791 section 3.1).
    #[error("ipv4 header of {0} words: at least 5 are needed")]
    Ipv4HeaderLength(u8),
    /// The IPv4 total length is below that of the header.
    #[error("ipv4 total length {0} is shorter than the header")]
    Ipv4TotalLengthShort(u16),
    /// The IPv4 total length is beyond the frame.
    #[error("ipv4 total length {0} goes beyond the frame")]
    Ipv4TotalLengthLong(u16),
    /// The IPv4 header checksum is wrong.
    #[error("ipv4 header checksum 0x{0:04x} is wrong")]
    Ipv4Checksum(u16),
    /// The version in an IPv6 header is not 6.
    #[error("ip version {0} in an ipv6 frame")]
    Ipv6Version(u8),
    /// The IPv6 payload length is beyond the frame.
    #[error("ipv6 payload length {0} goes beyond the frame")]
    Ipv6PayloadLong(u16),
    /// A payload length of 0 with a next header: a jumbogram (RFC 2675), or nothing where a header was promised.
    #[error("ipv6 payload length 0 with next header {0}: jumbograms are not taken")]
    Ipv6Jumbo(u8),
    /// An IPv6 packet of more than 65535 bytes with its header.
    #[error("ipv6 payload length {0}: packets are at most 65535 bytes with their header")]
    Ipv6TooLong(u16),
    /// The IPv6 extension headers cannot be walked.
    #[error(transparent)]
    Extension(#[from] ExtensionError),
    /// The upper-layer header is cut.
    #[error("{len} bytes for protocol {protocol} are fewer than its header")]
    L4Truncated {
        /// The upper layer.
        protocol: u8,
        /// How many bytes of it the IP packet has.
        len: u16,
    },
    /// The TCP data offset is below five words, or beyond the packet.
    #[error("tcp data offset of {0} words: it is 5 to 15 and within the packet")]
    TcpDataOffset(u8),
    /// The UDP length is below 8 or beyond the IP payload.
    #[error("udp length {0}: it is at least 8 and within the packet")]
    UdpLength(u16),
    /// UDP over IPv6 without a checksum (RFC 8200 section 8.1).
    #[error("udp checksum 0 over ipv6")]
    UdpChecksumZero,
    /// A first fragment that does not hold the TCP header (RFC 1858 section 3.2.1).
    #[error("first fragment has {0} bytes of tcp: its header of 20 is needed")]
    TinyFragment(u16),
    /// A TCP fragment at offset 8, which would overwrite the flags (RFC 1858 section 3.2.2, RFC 3128).
    #[error("tcp fragment at offset 8")]
    FragmentOffsetOne,
    /// A fragment that ends beyond the largest packet.
    #[error("fragment at {0} ends beyond 65535 bytes")]
    FragmentBeyond(u16),
}

/// Protocol, addresses and ports as on the wire, in one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FiveTuple<A> {
    /// Source address.
    pub src: A,
    /// Destination address.
    pub dst: A,
    /// Source port, 0 where the protocol has none.
    pub sport: u16,
    /// Destination port, 0 where the protocol has none.
    pub dport: u16,
    /// The upper layer.
    pub protocol: u8,
}

impl<A> FiveTuple<A> {
    /// The other direction.
    #[inline]
    pub fn reversed(self) -> Self {
        Self { src: self.dst, dst: self.src, sport: self.dport, dport: self.sport, protocol: self.protocol }
    }
}

/// Parses a frame. `frame` is its first contiguous segment and `frame_len` the length of the whole frame in bytes.
///
/// Every length derives from the IP header, so Ethernet padding never counts. The IPv4 header checksum is verified,
/// upper-layer checksums are not. Whether the addresses make sense is not checked.
#[inline(always)]
pub fn parse(frame: &[u8], frame_len: usize) -> Result<Parsed, ParseError> {
    // What most packets are takes the short way; the general one also names what is wrong with a packet.
    match parse_plain(frame, frame_len) {
        Some(parsed) => Ok(parsed),
        None => parse_uncommon(frame, frame_len),
    }
}

impl Default for Parsed {
    /// Of no frame.
    fn default() -> Self {
        PLAIN
    }
}

impl Parsed {
    /// The VLAN, or `None` for an untagged frame.
    #[inline]
    pub fn vlan_id(&self) -> Option<u16> {
        if self.vlan == 0 { None } else { Some(self.vlan) }
    }

    /// The five-tuple of an IPv4 packet; `frame` must be the one that was parsed.
    #[inline]
    pub fn five_tuple_v4(&self, frame: &[u8]) -> FiveTuple<Ipv4Addr> {
        let l3 = usize::from(self.l3);
        self.five_tuple(v4_at(frame, l3 + 12), v4_at(frame, l3 + 16))
    }

    /// The five-tuple of an IPv6 packet; `frame` must be the one that was parsed.
    #[inline]
    pub fn five_tuple_v6(&self, frame: &[u8]) -> FiveTuple<Ipv6Addr> {
        let l3 = usize::from(self.l3);
        self.five_tuple(v6_at(frame, l3 + 8), v6_at(frame, l3 + 24))
    }

    /// Length from the upper-layer header to the end of the IP packet, in bytes.
    #[inline]
    pub fn l4_len(&self) -> u16 {
        self.ip_len.saturating_sub(self.l4.saturating_sub(self.l3))
    }

    /// Offset of the end of the IP packet, where Ethernet padding would begin.
    #[inline]
    pub fn ip_end(&self) -> usize {
        usize::from(self.l3) + usize::from(self.ip_len)
    }

    #[inline]
    fn five_tuple<A>(&self, src: A, dst: A) -> FiveTuple<A> {
        FiveTuple { src, dst, sport: self.sport, dport: self.dport, protocol: self.protocol }
    }
}

/// Ports and flags of an upper-layer header.
#[derive(Clone, Copy, Default)]
struct L4 {
    sport: u16,
    dport: u16,
    tcp_flags: u8,
}

/// Parses what is untagged, whole, right, TCP or UDP, and without options or extension headers.
#[inline(always)]
fn parse_plain(frame: &[u8], frame_len: usize) -> Option<Parsed> {
    let (ethernet, packet) = frame.split_first_chunk::<14>()?;
    let available = frame_len.saturating_sub(14);
    match [ethernet[12], ethernet[13]] {
        [0x08, 0x00] => plain_v4(packet, available),
        [0x86, 0xDD] => plain_v6(packet, available),
        _ => None,
    }
}

/// Everything else, out of line so that the result of the short way stays in registers.
#[inline(never)]
fn parse_uncommon(frame: &[u8], frame_len: usize) -> Result<Parsed, ParseError> {
    match plain_tagged(frame, frame_len) {
        Some(parsed) => Ok(parsed),
        None => general::parse(frame, frame_len),
    }
}

/// [`parse_plain`] behind one tag.
#[inline(always)]
fn plain_tagged(frame: &[u8], frame_len: usize) -> Option<Parsed> {
    let (ethernet, packet) = frame.split_first_chunk::<18>()?;
    let available = frame_len.saturating_sub(18);
    let parsed = match [ethernet[12], ethernet[13], ethernet[16], ethernet[17]] {
        [0x81, 0x00, 0x08, 0x00] => plain_v4(packet, available)?,
        [0x81, 0x00, 0x86, 0xDD] => plain_v6(packet, available)?,
        _ => return None,
    };
    let vlan = u16::from_be_bytes([ethernet[14], ethernet[15]]) & 0x0FFF;
    Some(Parsed { vlan, tags: 1, vids: u8::from(vlan != 0), l3: parsed.l3 + 4, l4: parsed.l4 + 4, ..parsed })
}

#[inline(always)]
fn plain_v4(packet: &[u8], available: usize) -> Option<Parsed> {
    let (header, data) = packet.split_first_chunk::<20>()?;
    let ip_len = u16::from_be_bytes([header[2], header[3]]);
    let flags = u16::from_be_bytes([header[6], header[7]]);
    let fragmented = flags & 0x3FFF != 0;
    if header[0] != 0x45 || fragmented || usize::from(ip_len) > available || !checksum::is_header_valid(header) {
        return None;
    }
    let l4 = plain_l4::<false>(header[9], data, usize::from(ip_len).saturating_sub(20))?;
    Some(Parsed {
        kind: Kind::V4,
        l4: 14 + 20,
        ip_len,
        ip_id: u16::from_be_bytes([header[4], header[5]]),
        protocol: header[9],
        ttl: header[8],
        traffic_class: header[1],
        df: flags & 0x4000 != 0,
        sport: l4.sport,
        dport: l4.dport,
        tcp_flags: l4.tcp_flags,
        ..PLAIN
    })
}

#[inline(always)]
fn plain_v6(packet: &[u8], available: usize) -> Option<Parsed> {
    let (header, data) = packet.split_first_chunk::<40>()?;
    let payload_len = u16::from_be_bytes([header[4], header[5]]);
    let ip_len = payload_len.checked_add(40)?;
    if header[0] >> 4 != 6 || usize::from(ip_len) > available {
        return None;
    }
    let l4 = plain_l4::<true>(header[6], data, usize::from(payload_len))?;
    Some(Parsed {
        kind: Kind::V6,
        l4: 14 + 40,
        ip_len,
        protocol: header[6],
        ttl: header[7],
        traffic_class: header[0] << 4 | header[1] >> 4,
        df: true,
        sport: l4.sport,
        dport: l4.dport,
        tcp_flags: l4.tcp_flags,
        ..PLAIN
    })
}

/// The header at the start of `data` in a packet with `len` bytes of upper layer.
#[inline(always)]
fn plain_l4<const V6: bool>(protocol: u8, data: &[u8], len: usize) -> Option<L4> {
    match protocol {
        TCP => {
            let tcp = data.first_chunk::<20>()?;
            let header_len = usize::from(tcp[12] >> 4) * 4;
            if header_len < 20 || header_len > len {
                return None;
            }
            Some(L4 { tcp_flags: tcp[13], ..L4::ports([tcp[0], tcp[1], tcp[2], tcp[3]]) })
        }
        UDP => {
            let udp = data.first_chunk::<8>()?;
            let udp_len = usize::from(u16::from_be_bytes([udp[4], udp[5]]));
            let unchecked = V6 && [udp[6], udp[7]] == [0, 0];
            if udp_len < 8 || udp_len > len || unchecked {
                return None;
            }
            Some(L4::ports([udp[0], udp[1], udp[2], udp[3]]))
        }
        _ => None,
    }
}

impl L4 {
    #[inline(always)]
    fn ports([a, b, c, d]: [u8; 4]) -> Self {
        Self { sport: u16::from_be_bytes([a, b]), dport: u16::from_be_bytes([c, d]), tcp_flags: 0 }
    }
}

/// The fields that are alike in all untagged, whole packets, and stand-ins for the others.
const PLAIN: Parsed = Parsed {
    fragment_id: 0,
    vlan: 0,
    l3: 14,
    l4: 14,
    ip_len: 0,
    ip_id: 0,
    fragment_offset: 0,
    sport: 0,
    dport: 0,
    kind: Kind::Arp,
    tags: 0,
    vids: 0,
    protocol: 0,
    ttl: 0,
    traffic_class: 0,
    df: false,
    fragment: Fragment::None,
    more_fragments: false,
    tcp_flags: 0,
};
