//! Reads frames as the RFCs say, without the product's code, and says why one cannot be read in the words of the counters.

use std::net::IpAddr;

use crate::packet::{ICMP, ICMP6, TCP, UDP, l4_sum, ones_sum};

pub const ETHERTYPE_IPV4: usize = 0x0800;
pub const ETHERTYPE_ARP: usize = 0x0806;
pub const ETHERTYPE_IPV6: usize = 0x86dd;

/// The two bytes at `at` as a number.
pub fn word(bytes: &[u8], at: usize) -> usize {
    usize::from(bytes[at]) << 8 | usize::from(bytes[at + 1])
}

/// What is behind the Ethernet header and its tags.
#[derive(Clone, Debug)]
pub enum Content {
    Arp(Vec<u8>),
    Ip(Ip),
}

/// A frame.
#[derive(Clone, Debug)]
pub struct Frame {
    pub dst_mac: [u8; 6],
    pub src_mac: [u8; 6],
    /// The identifiers of all tags that are for more than a priority.
    pub vids: Vec<usize>,
    /// Where the content begins.
    pub start: usize,
    /// What Ethernet put behind the packet.
    pub trailer: Vec<u8>,
    pub content: Content,
}

/// A packet that is what its headers say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ip {
    /// Without what Ethernet puts behind it.
    pub bytes: Vec<u8>,
    pub is_v4: bool,
    pub src: IpAddr,
    pub dst: IpAddr,
    /// Behind options or extension headers.
    pub protocol: u8,
    /// Where that begins.
    pub l4: usize,
    pub is_fragment: bool,
    /// Of a later fragment, once its datagram's first one has told them.
    pub ports: Option<(u16, u16)>,
}

/// What a fragment says of its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    pub id: u32,
    /// In bytes.
    pub offset: usize,
    pub more: bool,
    /// The bytes of the datagram that are here, in IPv6 with the headers behind the fragment header.
    pub len: usize,
}

impl Ip {
    pub fn ttl_at(&self) -> usize {
        if self.is_v4 { 8 } else { 7 }
    }

    pub fn ttl(&self) -> u8 {
        self.bytes[self.ttl_at()]
    }

    /// DSCP and ECN.
    pub fn class(&self) -> u8 {
        if self.is_v4 { self.bytes[1] } else { self.bytes[0] << 4 | self.bytes[1] >> 4 }
    }

    /// Whether routers must not fragment it.
    pub fn df(&self) -> bool {
        !self.is_v4 || self.bytes[6] & 0x40 != 0
    }

    /// The extension headers, by number, with where they begin.
    pub fn extensions(&self) -> Vec<(u8, usize)> {
        let (mut next, mut at, mut all) = (self.bytes[6], 40, Vec::new());
        while !self.is_v4 && at < self.l4 {
            all.push((next, at));
            let len = if next == 44 { 8 } else { 8 + 8 * usize::from(self.bytes[at + 1]) };
            (next, at) = (self.bytes[at], at + len);
        }
        all
    }

    /// The place of a fragment in its datagram; also of one that is all of it, which IPv6 has (RFC 6946).
    pub fn piece(&self) -> Option<Piece> {
        if self.is_v4 {
            let field = word(&self.bytes, 6);
            let (id, offset, more) = (word(&self.bytes, 4) as u32, (field & 0x1fff) * 8, field & 0x2000 != 0);
            return self.is_fragment.then(|| Piece { id, offset, more, len: self.bytes.len() - self.l4 });
        }
        let at = self.extensions().into_iter().find(|(number, _)| *number == 44)?.1;
        let field = word(&self.bytes, at + 2);
        let id = (word(&self.bytes, at + 4) as u32) << 16 | word(&self.bytes, at + 6) as u32;
        Some(Piece { id, offset: field & 0xfff8, more: field & 1 != 0, len: self.bytes.len() - at - 8 })
    }

    /// Whether the upper layer's header is in another fragment.
    pub fn is_later(&self) -> bool {
        self.is_fragment && self.piece().is_some_and(|piece| piece.offset != 0)
    }

    pub fn upper(&self) -> &[u8] {
        &self.bytes[self.l4..]
    }

    pub fn has_ports(&self) -> bool {
        matches!(self.protocol, TCP | UDP)
    }

    /// Source and destination with their ports.
    pub fn ends(&self) -> ((IpAddr, u16), (IpAddr, u16)) {
        let own = || (word(self.upper(), 0) as u16, word(self.upper(), 2) as u16);
        let (source, destination) = self.ports.unwrap_or_else(own);
        ((self.src, source), (self.dst, destination))
    }

    pub fn tcp_flags(&self) -> u8 {
        if self.protocol == TCP && !self.is_later() { self.upper()[13] } else { 0 }
    }

    /// What the upper layer's checksum covers besides the pseudo-header: a UDP datagram may end before the packet does.
    pub fn covered(&self) -> &[u8] {
        let upper = self.upper();
        if self.protocol == UDP { &upper[..word(upper, 4)] } else { upper }
    }

    /// Whether the upper layer's checksum is right.
    pub fn is_l4_right(&self) -> bool {
        l4_sum(self.src, self.dst, self.protocol, self.covered()) == 0xffff
    }

    /// Whether there is a checksum over the upper layer.
    pub fn has_checksum(&self) -> bool {
        !self.is_fragment && (self.protocol == TCP || self.protocol == UDP && word(self.upper(), 6) != 0)
    }

    /// How far the upper layer's checksum is from right: 0 if it is.
    pub fn l4_error(&self) -> u16 {
        l4_sum(self.src, self.dst, self.protocol, self.covered()) % 0xffff
    }
}

/// Reads a frame, or says under which reason it is dropped.
pub fn frame(bytes: &[u8]) -> Result<Frame, &'static str> {
    let (mut start, mut vids, mut tags) = (14, Vec::new(), 0);
    if bytes.len() < start {
        return Err("runt");
    }
    while matches!(word(bytes, start - 2), 0x8100 | 0x88a8 | 0x9100) {
        if tags == 4 {
            return Err("vlan_stack");
        }
        if bytes.len() < start + 4 {
            return Err("runt");
        }
        let vid = word(bytes, start) & 0xfff;
        vids.extend((vid != 0).then_some(vid));
        (start, tags) = (start + 4, tags + 1);
    }
    let data = &bytes[start..];
    let content = match word(bytes, start - 2) {
        ETHERTYPE_ARP if data.len() < 28 => return Err("runt"),
        ETHERTYPE_ARP => Content::Arp(data[..28].to_vec()),
        ETHERTYPE_IPV4 => Content::Ip(ipv4(data)?),
        ETHERTYPE_IPV6 => Content::Ip(ipv6(data)?),
        _ => return Err("unknown_ethertype"),
    };
    let mac = |at: usize| [0, 1, 2, 3, 4, 5].map(|byte| bytes[at + byte]);
    let len = match &content {
        Content::Arp(message) => message.len(),
        Content::Ip(ip) => ip.bytes.len(),
    };
    let trailer = data[len..].to_vec();
    Ok(Frame { dst_mac: mac(0), src_mac: mac(6), vids, start, trailer, content })
}

fn ipv4(data: &[u8]) -> Result<Ip, &'static str> {
    if data.len() < 20 {
        return Err("runt");
    }
    if data[0] >> 4 != 4 {
        return Err("ip_version");
    }
    let (header_len, total) = (usize::from(data[0] & 15) * 4, word(data, 2));
    if header_len < 20 {
        return Err("ip_header_length");
    }
    if total < header_len {
        return Err("ip_total_short");
    }
    if total > data.len() {
        return Err("ip_total_long");
    }
    if ones_sum(&data[..header_len]) != 0xffff {
        return Err("ip_checksum");
    }
    let ip = Ip {
        bytes: data[..total].to_vec(),
        is_v4: true,
        src: v4(data, 12),
        dst: v4(data, 16),
        protocol: data[9],
        l4: header_len,
        is_fragment: word(data, 6) & 0x3fff != 0,
        ports: None,
    };
    upper(&ip)?;
    Ok(ip)
}

fn ipv6(data: &[u8]) -> Result<Ip, &'static str> {
    if data.len() < 40 {
        return Err("runt");
    }
    if data[0] >> 4 != 6 {
        return Err("ip_version");
    }
    let len = word(data, 4);
    if len == 0 && data[6] != 59 {
        return Err("ip6_jumbo");
    }
    if 40 + len > data.len() {
        return Err("ip_total_long");
    }
    let bytes = data[..40 + len].to_vec();
    let (protocol, l4, is_fragment) = extensions(&bytes).ok_or("ip6_extension")?;
    let ip = Ip { is_v4: false, src: v6(data, 8), dst: v6(data, 24), protocol, l4, is_fragment, ports: None, bytes };
    upper(&ip)?;
    Ok(ip)
}

/// The upper layer's protocol behind the extension headers of an IPv6 packet that may be cut, where it begins, and whether
/// the packet is a fragment; `None` if they cannot be walked.
fn extensions(bytes: &[u8]) -> Option<(u8, usize, bool)> {
    let (mut next, mut at, mut fragment) = (bytes[6], 40, None);
    for count in 0.. {
        if !matches!(next, 0 | 43 | 44 | 60) {
            break;
        }
        // Hop-by-hop comes first; nobody needs more than eight.
        if count == 8 || (next == 0 && count != 0) {
            return None;
        }
        let header = bytes.get(at..).filter(|header| header.len() >= 8)?;
        let len = if next == 44 { 8 } else { 8 + 8 * usize::from(header[1]) };
        if header.len() < len || at + len - 40 > 512 || (next == 43 && header[2] == 0 && header[3] != 0) {
            return None;
        }
        if next == 44 && fragment.replace(word(header, 2)).is_some() {
            return None;
        }
        (next, at) = (header[0], at + len);
        if fragment.is_some_and(|field| field & 0xfff8 != 0) {
            break;
        }
    }
    Some((next, at, fragment.is_some_and(|field| field & 0xfff9 != 0)))
}

/// Whether the upper layer's header is there and right.
fn upper(ip: &Ip) -> Result<(), &'static str> {
    let l4 = ip.upper();
    if let Some(piece) = ip.piece().filter(|_| ip.is_fragment) {
        return match ip.protocol {
            _ if piece.offset + l4.len() > 65_535 => Err("fragment_invalid"),
            // The flags of TCP, which a first fragment has already shown to a filter (RFC 3128).
            TCP if piece.offset == 8 => Err("tiny_fragment"),
            _ if piece.offset != 0 => Ok(()),
            // The checksum has to be there as well (RFC 1858).
            TCP if l4.len() < 20 => Err("tiny_fragment"),
            TCP if l4[12] >> 4 < 5 => Err("tcp_offset"),
            UDP | ICMP | ICMP6 if l4.len() < 8 => Err("l4_truncated"),
            UDP if word(l4, 4) < 8 => Err("udp_length"),
            UDP if !ip.is_v4 && word(l4, 6) == 0 => Err("udp6_no_checksum"),
            _ => Ok(()),
        };
    }
    match ip.protocol {
        TCP if l4.len() < 20 => Err("l4_truncated"),
        TCP if l4[12] >> 4 < 5 || usize::from(l4[12] >> 4) * 4 > l4.len() => Err("tcp_offset"),
        UDP | ICMP | ICMP6 if l4.len() < 8 => Err("l4_truncated"),
        UDP if word(l4, 4) < 8 || word(l4, 4) > l4.len() => Err("udp_length"),
        UDP if !ip.is_v4 && word(l4, 6) == 0 => Err("udp6_no_checksum"),
        _ => Ok(()),
    }
}

/// What an ICMP error quotes.
#[derive(Clone, Debug)]
pub struct Quote {
    pub is_v4: bool,
    /// With ports, where the quoted packet has them.
    pub ends: Option<((IpAddr, u16), (IpAddr, u16))>,
    pub protocol: u8,
    pub l4: usize,
    /// Of a fragment: identification, offset in bytes, and whether more follow.
    pub piece: Option<(u32, usize, bool)>,
    /// Where what is there of the packet ends.
    pub end: usize,
}

/// Reads a quote, which may be cut anywhere, or says under which reason the error is dropped.
pub fn quote(bytes: &[u8]) -> Result<Quote, &'static str> {
    let cut = "icmp_quote";
    let quote = match bytes.first().ok_or(cut)? >> 4 {
        4 => {
            let header_len = usize::from(bytes[0] & 15) * 4;
            if bytes.len() < 4 || header_len < 20 || bytes.len() < header_len {
                return Err(cut);
            }
            if ones_sum(&bytes[..header_len]) != 0xffff {
                return Err("icmp_checksum");
            }
            let data = word(bytes, 2).checked_sub(header_len).ok_or(cut)?;
            let there = data.min(bytes.len() - header_len);
            let is_later = word(bytes, 6) & 0x1fff != 0;
            (v4(bytes, 12), v4(bytes, 16), bytes[9], header_len, there, is_later)
        }
        6 => {
            if bytes.len() < 40 {
                return Err(cut);
            }
            let end = (40 + word(bytes, 4)).min(bytes.len());
            let (protocol, l4, _) = extensions(&bytes[..end]).ok_or(cut)?;
            let is_later = piece_of(&bytes[..end], l4).is_some_and(|(_, offset, _)| offset != 0);
            (v6(bytes, 8), v6(bytes, 24), protocol, l4, end - l4, is_later)
        }
        _ => return Err(cut),
    };
    let (src, dst, protocol, l4, there, is_later) = quote;
    let needed = match protocol {
        _ if is_later => 0,
        TCP | UDP => 4,
        ICMP | ICMP6 => 8,
        _ => 0,
    };
    if there < needed {
        return Err(cut);
    }
    let ports = || (word(bytes, l4) as u16, word(bytes, l4 + 2) as u16);
    let ends = (matches!(protocol, TCP | UDP) && !is_later).then(|| ((src, ports().0), (dst, ports().1)));
    Ok(Quote { is_v4: src.is_ipv4(), ends, protocol, l4, piece: piece_of(bytes, l4), end: l4 + there })
}

/// What the IP header before `l4` says of a fragment.
fn piece_of(bytes: &[u8], l4: usize) -> Option<(u32, usize, bool)> {
    let is_v4 = bytes[0] >> 4 == 4;
    let (src, dst) = if is_v4 { (v4(bytes, 12), v4(bytes, 16)) } else { (v6(bytes, 8), v6(bytes, 24)) };
    let is_fragment = !is_v4 || word(bytes, 6) & 0x3fff != 0;
    let ip = Ip { bytes: bytes.to_vec(), is_v4, src, dst, protocol: 0, l4, is_fragment, ports: None };
    ip.piece().map(|piece| (piece.id, piece.offset, piece.more))
}

fn v4(bytes: &[u8], at: usize) -> IpAddr {
    IpAddr::from([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn v6(bytes: &[u8], at: usize) -> IpAddr {
    let mut address = [0u8; 16];
    address.copy_from_slice(&bytes[at..at + 16]);
    IpAddr::from(address)
}
