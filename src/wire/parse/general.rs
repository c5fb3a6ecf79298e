//! The parser for every frame: VLAN tags, options, extension headers, fragments, and the exact reason of a refusal.

use super::super::arp;
use super::super::bytes::{array, u8_at, u16_at};
use super::super::checksum;
use super::super::ethernet::{EtherType, HEADER_LEN, TAG_LEN};
use super::super::protocol::{ICMP, ICMPV6, TCP, UDP};
use super::{Fragment, Kind, L4, PLAIN, ParseError, Parsed, TAGS_MAX, extension};

/// [`parse`](super::parse) without the short way.
#[cold]
#[inline(never)]
pub(super) fn parse(frame: &[u8], frame_len: usize) -> Result<Parsed, ParseError> {
    let frame = Frame { bytes: frame.get(..frame_len).unwrap_or(frame), len: frame_len };
    let (ethertype, parsed) = frame.ethernet()?;
    match ethertype {
        EtherType::IPV4 => frame.ipv4(parsed),
        EtherType::IPV6 => frame.ipv6(parsed),
        EtherType::ARP => frame.arp(parsed),
        EtherType(other) => Err(ParseError::UnknownEtherType(other)),
    }
}

/// A frame of `len` bytes, of which the first segment is here.
struct Frame<'a> {
    bytes: &'a [u8],
    len: usize,
}

impl Frame<'_> {
    /// Walks the VLAN tags; what comes back has the fields of the link layer set.
    fn ethernet(&self) -> Result<(EtherType, Parsed), ParseError> {
        let mut parsed = PLAIN;
        loop {
            let l3 = HEADER_LEN + TAG_LEN * usize::from(parsed.tags);
            if l3 > self.len {
                return Err(ParseError::EthernetTruncated(self.len));
            }
            self.require_contiguous(l3)?;
            parsed.l3 = offset(l3)?;
            let ethertype = EtherType(u16_at(self.bytes, l3 - 2));
            if !ethertype.is_tag() {
                return Ok((ethertype, parsed));
            }
            if parsed.tags == TAGS_MAX {
                return Err(ParseError::TooManyTags);
            }
            if l3 + TAG_LEN > self.len {
                return Err(ParseError::EthernetTruncated(self.len));
            }
            self.require_contiguous(l3 + TAG_LEN)?;
            let id = u16_at(self.bytes, l3) & 0x0FFF;
            parsed.tags += 1;
            parsed.vids += u8::from(id != 0);
            if parsed.vlan == 0 {
                parsed.vlan = id;
            }
        }
    }

    fn arp(&self, parsed: Parsed) -> Result<Parsed, ParseError> {
        self.fixed_header(&parsed, arp::LEN)?;
        Ok(Parsed { kind: Kind::Arp, l4: parsed.l3, ip_len: 28, ..parsed })
    }

    fn ipv4(&self, parsed: Parsed) -> Result<Parsed, ParseError> {
        let l3 = self.fixed_header(&parsed, 20)?;
        let [version_ihl, traffic_class] = array(self.bytes, l3);
        let (version, ihl) = (version_ihl >> 4, version_ihl & 0x0F);
        if version != 4 {
            return Err(ParseError::Ipv4Version(version));
        }
        if ihl < 5 {
            return Err(ParseError::Ipv4HeaderLength(ihl));
        }
        let header_len = usize::from(ihl) * 4;
        let ip_len = u16_at(self.bytes, l3 + 2);
        if usize::from(ip_len) < header_len {
            return Err(ParseError::Ipv4TotalLengthShort(ip_len));
        }
        if l3 + usize::from(ip_len) > self.len {
            return Err(ParseError::Ipv4TotalLengthLong(ip_len));
        }
        let l4 = l3 + header_len;
        self.require_contiguous(l4)?;
        let header = self.bytes.get(l3..l4).unwrap_or_default();
        if !checksum::is_valid(checksum::sum(header)) {
            return Err(ParseError::Ipv4Checksum(u16_at(self.bytes, l3 + 10)));
        }
        let ip_id = u16_at(self.bytes, l3 + 4);
        let field = u16_at(self.bytes, l3 + 6);
        // The offset counts units of eight bytes (RFC 791 section 3.1).
        let (fragment_offset, more_fragments) = ((field & 0x1FFF) << 3, field & 0x2000 != 0);
        let fragment = match (fragment_offset, more_fragments) {
            (0, false) => Fragment::None,
            (0, true) => Fragment::First,
            _ => Fragment::Later,
        };
        let parsed = Parsed {
            kind: Kind::V4,
            l4: offset(l4)?,
            ip_len,
            ip_id,
            protocol: u8_at(self.bytes, l3 + 9),
            ttl: u8_at(self.bytes, l3 + 8),
            traffic_class,
            df: field & 0x4000 != 0,
            fragment,
            fragment_id: if fragment == Fragment::None { 0 } else { u32::from(ip_id) },
            fragment_offset,
            more_fragments,
            ..parsed
        };
        self.upper_layer(parsed)
    }

    fn ipv6(&self, parsed: Parsed) -> Result<Parsed, ParseError> {
        let l3 = self.fixed_header(&parsed, 40)?;
        let [first, second] = array(self.bytes, l3);
        if first >> 4 != 6 {
            return Err(ParseError::Ipv6Version(first >> 4));
        }
        let payload_len = u16_at(self.bytes, l3 + 4);
        let next = u8_at(self.bytes, l3 + 6);
        if payload_len == 0 && next != super::super::protocol::NO_NEXT_HEADER {
            return Err(ParseError::Ipv6Jumbo(next));
        }
        if l3 + 40 + usize::from(payload_len) > self.len {
            return Err(ParseError::Ipv6PayloadLong(payload_len));
        }
        let ip_len = payload_len.checked_add(40).ok_or(ParseError::Ipv6TooLong(payload_len))?;
        let data = self.bytes.get(l3 + 40..).unwrap_or_default();
        let chain = extension::walk(next, data, usize::from(payload_len))?;
        let parsed = Parsed {
            kind: Kind::V6,
            l4: offset(l3 + 40 + chain.len)?,
            ip_len,
            protocol: chain.protocol,
            ttl: u8_at(self.bytes, l3 + 7),
            traffic_class: first << 4 | second >> 4,
            df: true,
            fragment: chain.fragment,
            fragment_id: chain.fragment_id,
            fragment_offset: chain.fragment_offset,
            more_fragments: chain.more_fragments,
            ..parsed
        };
        self.upper_layer(parsed)
    }

    /// Adds ports and flags, where the packet is not a later fragment.
    fn upper_layer(&self, parsed: Parsed) -> Result<Parsed, ParseError> {
        let len = parsed.l4_len();
        if parsed.fragment != Fragment::None && parsed.fragment_offset.checked_add(len).is_none() {
            return Err(ParseError::FragmentBeyond(parsed.fragment_offset));
        }
        if parsed.fragment == Fragment::Later {
            // Eight bytes in are the flags of TCP, which a first fragment has already shown to a filter.
            let hides_flags = parsed.protocol == TCP && parsed.fragment_offset == 8;
            return if hides_flags { Err(ParseError::FragmentOffsetOne) } else { Ok(parsed) };
        }
        let l4 = match parsed.protocol {
            TCP => self.tcp(&parsed, len)?,
            UDP => self.udp(&parsed, len)?,
            ICMP | ICMPV6 => {
                self.upper_header(&parsed, len, 8)?;
                L4::default()
            }
            _ => L4::default(),
        };
        Ok(Parsed { sport: l4.sport, dport: l4.dport, tcp_flags: l4.tcp_flags, ..parsed })
    }

    fn tcp(&self, parsed: &Parsed, len: u16) -> Result<L4, ParseError> {
        // A first fragment must hold the checksum too, so the sixteen bytes of RFC 1858 are not enough.
        if parsed.fragment == Fragment::First && len < 20 {
            return Err(ParseError::TinyFragment(len));
        }
        let at = self.upper_header(parsed, len, 20)?;
        let [data_offset, tcp_flags] = array(self.bytes, at + 12);
        let words = data_offset >> 4;
        // The options of a first fragment may go on in the next one.
        let beyond = parsed.fragment == Fragment::None && u16::from(words) * 4 > len;
        if words < 5 || beyond {
            return Err(ParseError::TcpDataOffset(words));
        }
        Ok(L4 { tcp_flags, ..L4::ports(array(self.bytes, at)) })
    }

    fn udp(&self, parsed: &Parsed, len: u16) -> Result<L4, ParseError> {
        let at = self.upper_header(parsed, len, 8)?;
        let udp_len = u16_at(self.bytes, at + 4);
        let beyond = parsed.fragment == Fragment::None && udp_len > len;
        if udp_len < 8 || beyond {
            return Err(ParseError::UdpLength(udp_len));
        }
        if parsed.kind == Kind::V6 && u16_at(self.bytes, at + 6) == 0 {
            return Err(ParseError::UdpChecksumZero);
        }
        Ok(L4::ports(array(self.bytes, at)))
    }

    /// The offset of the IP or ARP header, of which `len` bytes are here.
    fn fixed_header(&self, parsed: &Parsed, len: usize) -> Result<usize, ParseError> {
        let l3 = usize::from(parsed.l3);
        if l3 + len > self.len {
            return Err(ParseError::Runt(self.len));
        }
        self.require_contiguous(l3 + len)?;
        Ok(l3)
    }

    /// The offset of the upper-layer header, of which `header_len` bytes are here, in an upper layer of `len` bytes.
    fn upper_header(&self, parsed: &Parsed, len: u16, header_len: u16) -> Result<usize, ParseError> {
        if len < header_len {
            return Err(ParseError::L4Truncated { protocol: parsed.protocol, len });
        }
        let l4 = usize::from(parsed.l4);
        self.require_contiguous(l4 + usize::from(header_len))?;
        Ok(l4)
    }

    fn require_contiguous(&self, end: usize) -> Result<(), ParseError> {
        if end > self.bytes.len() { Err(ParseError::NotContiguous(end)) } else { Ok(()) }
    }
}

/// An offset of headers, which the bounds on tags, options and extension headers keep far below 65536.
fn offset(at: usize) -> Result<u16, ParseError> {
    u16::try_from(at).map_err(|_| ParseError::NotContiguous(at))
}
