//! Packets from one IP version to the other, as RFC 7915 has them: the header by sections 4.1 and 5.1, ICMP errors by 4.2, 4.3, 5.2
//! and 5.3.

use std::net::IpAddr;

use crate::packet::{self, TCP, UDP, checksum_at, fix_header, fix_l4, octets};
use crate::read::{Ip, Quote, word};
use crate::rewrite::{self, Socket};

/// Why a packet does not go over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// It has no counterpart.
    Untranslatable,
    /// It does not fit; so many bytes of its sender's would, if that can be told.
    TooBig(Option<usize>),
}

/// What of a header goes over.
struct Header {
    class: u8,
    ttl: u8,
    protocol: u8,
    /// Bytes behind the header.
    len: usize,
    /// Of a fragment: identification, offset in bytes, and whether more follow.
    piece: Option<(u32, usize, bool)>,
}

impl Header {
    fn bytes(&self, src: IpAddr, dst: IpAddr, id: u16) -> Vec<u8> {
        let mut header = if src.is_ipv4() { self.v4(id) } else { self.v6() };
        let (at, addresses) = (if src.is_ipv4() { 12 } else { 8 }, [octets(src), octets(dst)].concat());
        header[at..at + addresses.len()].copy_from_slice(&addresses);
        if src.is_ipv4() {
            fix_header(&mut header);
        }
        header
    }

    /// Up to 1260 bytes may be fragmented on their way, because an IPv6 host counts on 1280 to get through.
    fn v4(&self, id: u16) -> Vec<u8> {
        let total = 20 + self.len;
        let (id, field) = match self.piece {
            Some((id, offset, more)) => (id as u16, u16::from(more) << 13 | (offset / 8) as u16),
            None => (id, if total > 1260 { 0x4000 } else { 0 }),
        };
        let mut header = vec![0x45, self.class];
        for word in [total as u16, id, field] {
            header.extend(word.to_be_bytes());
        }
        header.extend([self.ttl, self.protocol, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        header
    }

    /// The flow label is zero; a fragment gets a fragment header (RFC 8200 section 4.5).
    fn v6(&self) -> Vec<u8> {
        let more = if self.piece.is_some() { 8 } else { 0 };
        let mut header = vec![0x60 | self.class >> 4, self.class << 4, 0, 0];
        header.extend(((self.len + more) as u16).to_be_bytes());
        header.extend([if self.piece.is_some() { 44 } else { self.protocol }, self.ttl]);
        header.extend([0; 32]);
        if let Some((id, offset, more)) = self.piece {
            header.extend([self.protocol, 0]);
            header.extend((offset as u16 | u16::from(more)).to_be_bytes());
            header.extend(id.to_be_bytes());
        }
        header
    }
}

/// A TCP or UDP packet on the other side, between these ends; `id` is for an IPv4 packet that brings none along.
pub fn packet(ip: &Ip, src: Socket, dst: Socket, mtu: usize, id: u16) -> Result<Vec<u8>, Refusal> {
    if still_routes(ip) || (ip.is_fragment && has_headers_in_pieces(ip)) {
        return Err(Refusal::Untranslatable);
    }
    let header = Header {
        class: ip.class(),
        ttl: ip.ttl() - 1,
        protocol: ip.protocol,
        len: ip.upper().len(),
        piece: ip.piece().map(|piece| (piece.id, piece.offset, piece.more)),
    };
    let mut bytes = header.bytes(src.0, dst.0, id);
    if bytes.len() + header.len > mtu {
        return Err(Refusal::TooBig(fitting(ip, bytes.len(), mtu)));
    }
    let lacks_checksum = ip.protocol == UDP && !ip.is_later() && word(ip.upper(), 6) == 0;
    // Nobody here has all of its bytes (RFC 7915 section 4.5).
    if lacks_checksum && ip.is_fragment {
        return Err(Refusal::Untranslatable);
    }
    let mut upper = ip.upper().to_vec();
    if lacks_checksum {
        let covered = ip.covered().len();
        put_ports(&mut upper, src, dst);
        fix_l4(src.0, dst.0, UDP, &mut upper[..covered]);
    } else if ip.is_fragment && !ip.is_later() {
        put_ports(&mut upper, src, dst);
        rewrite::follow(&mut upper, ip.protocol, ip.ends(), (src, dst));
    } else if !ip.is_fragment {
        put_ports(&mut upper, src, dst);
        rewrite::keep_error(&mut upper[..ip.covered().len()], ip, src.0, dst.0);
    }
    bytes.extend(upper);
    Ok(bytes)
}

/// What the sender is told: in terms of its own packets, and only what it can do something about.
fn fitting(ip: &Ip, header_len: usize, mtu: usize) -> Option<usize> {
    match ip.is_v4 {
        true => ip.df().then(|| mtu - (header_len - 20)),
        false => (ip.bytes.len() > 1280).then(|| (mtu + 20).max(1280)),
    }
}

fn put_ports(upper: &mut [u8], src: Socket, dst: Socket) {
    upper[..4].copy_from_slice(&[src.1.to_be_bytes(), dst.1.to_be_bytes()].concat());
}

/// Whether a source route or routing header has not come to its end: nobody could follow it on the other side.
fn still_routes(ip: &Ip) -> bool {
    if !ip.is_v4 {
        return ip.extensions().iter().any(|&(number, at)| number == 43 && ip.bytes[at + 3] != 0);
    }
    let mut options = &ip.bytes[20..ip.l4];
    while let [kind, rest @ ..] = options {
        let len = match (kind, rest) {
            (0, _) => return false,
            (1, _) => 1,
            (_, [len, ..]) if *len >= 2 => usize::from(*len),
            _ => return false,
        };
        if matches!(kind, 131 | 137) && usize::from(rest.get(1).copied().unwrap_or(0)) <= len {
            return true;
        }
        options = options.get(len..).unwrap_or_default();
    }
    false
}

/// Whether there are headers behind the fragment header: without them all offsets would be others.
fn has_headers_in_pieces(ip: &Ip) -> bool {
    !ip.is_v4 && ip.extensions().last().is_some_and(|(number, _)| *number != 44)
        || ip.is_later() && !matches!(ip.protocol, TCP | UDP)
}

/// An ICMP error on the other side, from `src` to `dst`; it quotes a packet between `quoted`. `None` where there is none.
pub fn error(
    ip: &Ip,
    quote: &Quote,
    (src, dst): (IpAddr, IpAddr),
    quoted: (Socket, Socket),
    mtu: usize,
    id: u16,
) -> Option<Vec<u8>> {
    let message = ip.upper();
    let mut head = if ip.is_v4 { head_v6(message, mtu)? } else { head_v4(message, quote, mtu)? }.to_vec();
    head.extend(quoted_packet(&message[8..], quote, quoted));
    // As long as errors may be (RFC 1812 section 4.3.2.3, RFC 4443 section 2.4 c).
    let (protocol, most) = if src.is_ipv4() { (packet::ICMP, 576 - 20) } else { (packet::ICMP6, 1280 - 40) };
    head.truncate(most);
    fix_l4(src, dst, protocol, &mut head);
    let header = Header { class: ip.class(), ttl: ip.ttl() - 1, protocol, len: head.len(), piece: None };
    Some([header.bytes(src, dst, id), head].concat())
}

/// The quoted packet as its sender knows it, as far as it is there.
fn quoted_packet(bytes: &[u8], quote: &Quote, (src, dst): (Socket, Socket)) -> Vec<u8> {
    let (class, total) = match quote.is_v4 {
        true => (bytes[1], word(bytes, 2)),
        false => (bytes[0] << 4 | bytes[1] >> 4, 40 + word(bytes, 4)),
    };
    let ttl = bytes[if quote.is_v4 { 8 } else { 7 }];
    let header = Header { class, ttl, protocol: quote.protocol, len: total - quote.l4, piece: quote.piece };
    let mut upper = bytes[quote.l4..quote.end].to_vec();
    put_ports(&mut upper, src, dst);
    let at = checksum_at(quote.protocol);
    let mut packet = header.bytes(src.0, dst.0, 0);
    let room = if src.0.is_ipv4() { 576 - 28 } else { 1280 - 48 } - packet.len();
    upper.truncate(room);
    // Half a checksum cannot be changed, and tells nobody anything.
    if upper.len() == at + 1 {
        upper.truncate(at);
    }
    if let Some(ends) = quote.ends.filter(|_| upper.len() >= at + 2) {
        rewrite::follow(&mut upper, quote.protocol, ends, (src, dst));
    }
    packet.extend(upper);
    packet
}

/// Type, code, room for the checksum, and the second word, by section 4.2.
fn head_v6(message: &[u8], mtu: usize) -> Option<[u8; 8]> {
    let told = match word(message, 6) {
        // A router older than RFC 1191: the next common size below the packet's (section 7.1 there).
        0 => [65_535, 32_000, 17_914, 8166, 4352, 2002, 1492, 1006, 508, 296, 68]
            .into_iter()
            .find(|plateau| *plateau < word(message, 10))
            .unwrap_or(68),
        told => told,
    };
    let [high, low] = ((told + 20).min(mtu).max(1280) as u16).to_be_bytes();
    let pointer = |pointer| match pointer {
        0 => Some(0),
        1 => Some(1),
        2 | 3 => Some(4),
        8 => Some(7),
        9 => Some(6),
        12..=15 => Some(8),
        16..=19 => Some(24),
        _ => None,
    };
    Some(match (message[0], message[1]) {
        (3, 0 | 1 | 5..=8 | 11 | 12) => [1, 0, 0, 0, 0, 0, 0, 0],
        (3, 2) => [4, 1, 0, 0, 0, 0, 0, 6],
        (3, 3) => [1, 4, 0, 0, 0, 0, 0, 0],
        (3, 4) => [2, 0, 0, 0, 0, 0, high, low],
        (3, 9 | 10 | 13 | 15) => [1, 1, 0, 0, 0, 0, 0, 0],
        (11, code) => [3, code, 0, 0, 0, 0, 0, 0],
        (12, 0 | 2) => [4, 0, 0, 0, 0, 0, 0, pointer(message[4])?],
        _ => return None,
    })
}

/// The same by section 5.2.
fn head_v4(message: &[u8], quote: &Quote, mtu: usize) -> Option<[u8; 8]> {
    let second = word(message, 4) << 16 | word(message, 6);
    // The fragment header that the packet had is one more thing that it will not need.
    let growth = if quote.piece.is_some() { 28 } else { 20 };
    let [high, low] = (second.min(65_535).saturating_sub(growth).min(mtu).max(68) as u16).to_be_bytes();
    let pointer = |pointer| match pointer {
        0 => Some(0),
        1 => Some(1),
        4 | 5 => Some(2),
        6 => Some(9),
        7 => Some(8),
        8..=23 => Some(12),
        24..=39 => Some(16),
        _ => None,
    };
    Some(match (message[0], message[1]) {
        (1, 0 | 2 | 3) => [3, 1, 0, 0, 0, 0, 0, 0],
        (1, 1) => [3, 10, 0, 0, 0, 0, 0, 0],
        (1, 4) => [3, 3, 0, 0, 0, 0, 0, 0],
        (2, _) => [3, 4, 0, 0, 0, 0, high, low],
        (3, code) => [11, code, 0, 0, 0, 0, 0, 0],
        (4, 0) => [12, 0, 0, 0, pointer(second)?, 0, 0, 0],
        (4, 1) => [3, 2, 0, 0, 0, 0, 0, 0],
        _ => return None,
    })
}
