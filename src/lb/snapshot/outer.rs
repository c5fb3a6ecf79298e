//! The header that a tunnel puts before a packet, prepared once per backend.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::lb::table::Words;
use crate::wire::checksum;
use crate::wire::packet_sum::packet_sum;
use crate::wire::parse::{Kind, Parsed};
use crate::wire::protocol;

/// Bytes of the GRE header without options (RFC 2784 2).
const GRE_LEN: usize = 4;
/// Bytes of a UDP header.
const UDP_LEN: usize = 8;
const IP4_LEN: usize = 20;
const IP6_LEN: usize = 40;
/// As much of an outer IPv4 header is written anew for each packet, and its checksum.
const VARIED4: usize = 8;
/// Longest outer header in bytes.
pub const OUTER_MAX: usize = IP6_LEN + UDP_LEN;
/// Source ports of GUE are from here on (RFC 6335 6: dynamic ports).
const SOURCE_PORT_MIN: u16 = 49_152;

/// What stands between the outer IP header and the packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Encap {
    /// A GRE header (RFC 2784).
    #[default]
    Gre,
    /// Nothing (RFC 2003, RFC 2473, RFC 4213).
    Ipip,
    /// A UDP header: GUE variant 1, which carries IP packets directly.
    Gue,
}

impl Encap {
    /// Bytes between the outer IP header and the packet.
    #[inline(always)]
    pub const fn header_len(self) -> usize {
        match self {
            Encap::Gre => GRE_LEN,
            Encap::Ipip => 0,
            Encap::Gue => UDP_LEN,
        }
    }
}

/// How a service tunnels.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TunnelSpec {
    /// The UDP port of GUE.
    pub gue_port: u16,
    /// TTL and hop limit of outer headers, at least 1.
    pub ttl: u8,
    /// DSCP of outer headers, 0 to 63; `None` for the packet's own.
    pub dscp: Option<u8>,
}

impl Default for TunnelSpec {
    fn default() -> Self {
        Self { gue_port: 6080, ttl: 64, dscp: None }
    }
}

/// Outer IP header and tunnel header to one backend, but for what differs from packet to packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outer {
    bytes: [u8; OUTER_MAX],
    len: u8,
    vary: Vary,
}

/// What it takes to write what differs from packet to packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vary {
    /// What stands between the outer IP header and the packet.
    pub encap: Encap,
    /// Over IPv4 the one's complement sum, as little-endian words, of what [`vary4`] leaves as it is; of GUE over IPv6 that of the
    /// fixed part of what the UDP checksum covers, as big-endian words.
    pub sum: u32,
    /// Makes the entropy of outer headers differ from one balancer to another, and hard to foretell.
    pub seed: u32,
    /// DSCP, or [`Vary::COPY`].
    pub dscp: u8,
}

impl Outer {
    /// A tunnel from `source` to `backend` for packets of one family; `None` unless both ends are of one family.
    pub fn new(
        encap: Encap,
        spec: &TunnelSpec,
        (source, backend): (IpAddr, IpAddr),
        inner_is_v6: bool,
        seed: u32,
    ) -> Option<Self> {
        let carried = match encap {
            Encap::Gre => protocol::GRE,
            Encap::Gue => protocol::UDP,
            Encap::Ipip if inner_is_v6 => protocol::IPV6,
            Encap::Ipip => protocol::IPV4,
        };
        let (mut bytes, ip_len, sum) = match (source, backend) {
            (IpAddr::V4(source), IpAddr::V4(backend)) => header4(source, backend, carried, spec.ttl),
            (IpAddr::V6(source), IpAddr::V6(backend)) => header6(source, backend, carried, spec.ttl, spec.gue_port),
            _ => return None,
        };
        if encap == Encap::Gue {
            bytes.get_mut(ip_len + 2..ip_len + 4)?.copy_from_slice(&spec.gue_port.to_be_bytes());
        }
        let vary = Vary { encap, sum, seed, dscp: spec.dscp.unwrap_or(Vary::COPY) };
        Some(Self { bytes, len: (ip_len + encap.header_len()) as u8, vary })
    }

    /// Bytes that the tunnel adds.
    #[inline]
    pub fn overhead(&self) -> usize {
        usize::from(self.len)
    }

    /// The prepared headers; what differs from packet to packet is zero in them.
    pub fn prepared(&self) -> &[u8] {
        self.bytes.get(..self.overhead()).unwrap_or_default()
    }

    /// True if the outer header is IPv4.
    #[inline]
    pub fn is_v4(&self) -> bool {
        self.bytes[0] == 0x45
    }

    /// The ethertype of the frame that carries the tunnel.
    #[inline]
    pub fn ethertype(&self) -> u16 {
        if self.is_v4() { 0x0800 } else { 0x86dd }
    }

    /// Whether something in the header is to differ from flow to flow, so that the way to the backend can be spread.
    #[inline]
    pub fn has_entropy(&self) -> bool {
        match self.vary.encap {
            // Their headers are what nearly all packets get, and are left at what they need.
            Encap::Gre => false,
            Encap::Ipip => !self.is_v4(),
            Encap::Gue => true,
        }
    }

    /// The whole outer header for a packet, which `packet` begins with; only the first [`Self::overhead`] bytes count.
    ///
    /// ECN is the inner packet's (RFC 6040 4.1, normal mode), and so is DSCP, unless the service sets it, and DF (RFC 2003 3.1); an
    /// IPv6 packet has DF, because routers may not fragment it.
    #[inline]
    pub fn header(&self, inner: &Inner, packet: &[u8]) -> [u8; OUTER_MAX] {
        let mut h = self.bytes;
        self.vary.write(&mut h, inner, packet);
        h
    }

    /// See [`Vary`].
    #[inline]
    pub fn vary(&self) -> Vary {
        self.vary
    }
}

fn header4(source: Ipv4Addr, backend: Ipv4Addr, carried: u8, ttl: u8) -> ([u8; OUTER_MAX], usize, u32) {
    let mut bytes = [0; OUTER_MAX];
    bytes[0] = 0x45;
    bytes[8] = ttl;
    bytes[9] = carried;
    bytes[12..16].copy_from_slice(&source.octets());
    bytes[16..20].copy_from_slice(&backend.octets());
    let sum = bytes[VARIED4..IP4_LEN].as_chunks::<2>().0.iter().map(|&w| u32::from(u16::from_le_bytes(w))).sum();
    (bytes, IP4_LEN, sum)
}

fn header6(source: Ipv6Addr, backend: Ipv6Addr, carried: u8, ttl: u8, port: u16) -> ([u8; OUTER_MAX], usize, u32) {
    let mut bytes = [0; OUTER_MAX];
    bytes[0] = 0x60;
    bytes[6] = carried;
    bytes[7] = ttl;
    bytes[8..24].copy_from_slice(&source.octets());
    bytes[24..40].copy_from_slice(&backend.octets());
    // Both lengths, in the pseudo-header and in the header, are added for each packet.
    (bytes, IP6_LEN, checksum::combine(checksum::pseudo_v6(source, backend, carried, 0), port.into()))
}

impl Vary {
    /// In the place of a DSCP: it is the packet's own.
    pub const COPY: u8 = u8::MAX;

    /// Writes what differs from packet to packet into a prepared header; `packet` is what follows it, as much as there is in one
    /// piece.
    pub fn write(&self, h: &mut [u8], inner: &Inner, packet: &[u8]) {
        let mut inner = *inner;
        if self.dscp != Self::COPY {
            inner.traffic_class = self.dscp << 2 | inner.traffic_class & 3;
        }
        let upper = self.encap.header_len() as u16;
        let is_v4 = h.first() == Some(&0x45);
        if let Some(outer) = h.first_chunk_mut().filter(|_| is_v4) {
            vary4(outer, self.sum, &inner, upper);
        } else if let Some(outer) = h.first_chunk_mut() {
            vary6(outer, &inner, upper);
            if self.encap != Encap::Gre {
                // RFC 6438 3: routers spread by the flow label where there are no ports that they could read.
                let [_, high, middle, low] = (inner.entropy & 0x000f_ffff).to_be_bytes();
                (outer[1], outer[2], outer[3]) = (outer[1] & 0xf0 | high, middle, low);
            }
        }
        let upper = h.get_mut(if is_v4 { IP4_LEN } else { IP6_LEN }..).unwrap_or_default();
        match self.encap {
            Encap::Ipip => {}
            Encap::Gre => {
                let ethertype: u16 = if packet.first().is_some_and(|first| first >> 4 == 6) { 0x86dd } else { 0x0800 };
                put_u16(upper, 2, ethertype);
            }
            Encap::Gue => self.write_udp(upper, is_v4, &inner, packet),
        }
    }

    /// Source port, length and checksum of a UDP header.
    fn write_udp(&self, h: &mut [u8], is_v4: bool, inner: &Inner, packet: &[u8]) {
        let sport = SOURCE_PORT_MIN | (inner.entropy >> 16) as u16;
        let udp_len = inner.ip_len.saturating_add(UDP_LEN as u16);
        put_u16(h, 0, sport);
        put_u16(h, 4, udp_len);
        let check = match packet_sum(packet, inner.ip_len.into()) {
            // Over IPv4 it may be left out, and costs the backend nothing then (RFC 768).
            _ if is_v4 => 0,
            Some(sum) => {
                let fields = u32::from(sport) + 2 * u32::from(udp_len);
                checksum::finish_udp(checksum::combine(checksum::combine(self.sum, fields), sum))
            }
            // Tunnels may leave it out over IPv6 as well (RFC 6935 5), where it would take all of a packet in pieces.
            None => 0,
        };
        put_u16(h, 6, check);
    }

    /// What is to differ from flow to flow: a number made of the flow's addresses, ports and protocol.
    #[inline]
    pub fn entropy(&self, words: &Words, is_v6: bool) -> u32 {
        const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
        let [a, b, c, d] = words.addresses;
        let addresses = if is_v6 { a ^ b.rotate_left(17) ^ c.rotate_left(31) ^ d.rotate_left(47) } else { a };
        let mixed = (addresses ^ u64::from(self.seed)).wrapping_mul(ODD);
        let mixed = (mixed ^ mixed >> 32 ^ words.ends).wrapping_mul(ODD);
        (mixed >> 32) as u32
    }
}

fn put_u16(bytes: &mut [u8], at: usize, value: u16) {
    if let Some(place) = bytes.get_mut(at..at + 2) {
        place.copy_from_slice(&value.to_be_bytes());
    }
}

/// What the outer header takes from the inner one.
#[derive(Clone, Copy, Debug)]
pub struct Inner {
    /// DSCP and ECN.
    pub traffic_class: u8,
    /// Length of the packet in bytes.
    pub ip_len: u16,
    /// IPv4 identification as it lies in the packet; without meaning where fragmenting is forbidden.
    pub id: [u8; 2],
    /// Whether routers must not fragment it; always for IPv6.
    pub df: bool,
    /// See [`Vary::entropy`]; 0 where [`Outer::has_entropy`] is false.
    pub entropy: u32,
}

impl Inner {
    /// Of a packet of `ip_len` bytes, from the first eight of its header read as a little-endian word.
    #[inline(always)]
    pub fn read(start: u64, ip_len: u16, is_v6: bool) -> Self {
        let [a, b, _, _, c, d, flags, _] = start.to_le_bytes();
        if is_v6 {
            Self { traffic_class: a << 4 | b >> 4, ip_len, id: [0; 2], df: true, entropy: 0 }
        } else {
            Self { traffic_class: b, ip_len, id: [c, d], df: flags & 0x40 != 0, entropy: 0 }
        }
    }

    /// Of a parsed packet.
    #[inline]
    pub fn of(parsed: &Parsed) -> Self {
        Self {
            traffic_class: parsed.traffic_class,
            ip_len: parsed.ip_len,
            id: parsed.ip_id.to_be_bytes(),
            df: parsed.df || parsed.kind != Kind::V4,
            entropy: 0,
        }
    }
}

/// Writes what differs from packet to packet into a prepared IPv4 header; `upper` bytes are between it and the packet.
#[inline(always)]
pub fn vary4(h: &mut [u8; IP4_LEN], sum: u32, inner: &Inner, upper: u16) {
    let (first, check) = varied4(sum, inner, upper);
    h[..VARIED4].copy_from_slice(&first.to_le_bytes());
    h[10..12].copy_from_slice(&check.to_le_bytes());
}

/// The first eight bytes of an outer IPv4 header, and its checksum, both as little-endian words.
#[inline(always)]
pub fn varied4(sum: u32, inner: &Inner, upper: u16) -> (u64, u16) {
    let total = (IP4_LEN as u16 + upper).wrapping_add(inner.ip_len);
    // The inner identification keeps fragments of different packets apart without any state (RFC 6864 4.1).
    let id_and_flags = if inner.df { 0x0040_0000 } else { u32::from(u16::from_le_bytes(inner.id)) };
    let first = 0x45
        | u64::from(inner.traffic_class) << 8
        | u64::from(total.swap_bytes()) << 16
        | u64::from(id_and_flags) << 32;
    // The sum is the same in either byte order but for a swap (RFC 1071 2 B), so nothing is swapped here.
    let sum = (first & 0xffff_ffff) + (first >> 32) + u64::from(sum);
    let sum = (sum & 0xffff) + (sum >> 16);
    (first, checksum::finish_short(sum as u32))
}

/// Writes what differs from packet to packet into a prepared IPv6 header; `upper` bytes are between it and the packet.
#[inline(always)]
pub fn vary6(h: &mut [u8; IP6_LEN], inner: &Inner, upper: u16) {
    h[0] = 0x60 | inner.traffic_class >> 4;
    h[1] = inner.traffic_class << 4;
    h[4..6].copy_from_slice(&upper.wrapping_add(inner.ip_len).to_be_bytes());
}

#[cfg(test)]
mod tests;
