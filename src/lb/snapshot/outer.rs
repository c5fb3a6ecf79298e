//! The header that a tunnel puts before a packet, prepared once per backend.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::wire::checksum;
use crate::wire::parse::{Kind, Parsed};

/// Bytes of the GRE header without options (RFC 2784 2).
const GRE_LEN: usize = 4;
const IP4_LEN: usize = 20;
const IP6_LEN: usize = 40;
const PROTOCOL_GRE: u8 = 47;
/// TTL and hop limit of outer headers (RFC 1700's default; the inner one is left as it is).
const TTL: u8 = 64;
/// As much of an outer IPv4 header is written anew for each packet, and its checksum.
const VARIED4: usize = 8;
/// Longest outer header in bytes.
pub const OUTER_MAX: usize = IP6_LEN + GRE_LEN;

/// Outer IP header and GRE header of a tunnel to one backend, but for what differs from packet to packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outer {
    bytes: [u8; OUTER_MAX],
    len: u8,
    /// See [`Outer::sum`].
    sum: u32,
}

impl Outer {
    /// A GRE tunnel from `source` to `backend`; `None` unless both are of one family.
    pub fn gre(source: IpAddr, backend: IpAddr) -> Option<Self> {
        match (source, backend) {
            (IpAddr::V4(source), IpAddr::V4(backend)) => Some(Self::gre4(source, backend)),
            (IpAddr::V6(source), IpAddr::V6(backend)) => Some(Self::gre6(source, backend)),
            _ => None,
        }
    }

    fn gre4(source: Ipv4Addr, backend: Ipv4Addr) -> Self {
        let mut bytes = [0; OUTER_MAX];
        bytes[0] = 0x45;
        bytes[8] = TTL;
        bytes[9] = PROTOCOL_GRE;
        bytes[12..16].copy_from_slice(&source.octets());
        bytes[16..20].copy_from_slice(&backend.octets());
        let sum = bytes[VARIED4..IP4_LEN].as_chunks::<2>().0.iter().map(|&w| u32::from(u16::from_le_bytes(w))).sum();
        Self { bytes, len: (IP4_LEN + GRE_LEN) as u8, sum }
    }

    fn gre6(source: Ipv6Addr, backend: Ipv6Addr) -> Self {
        let mut bytes = [0; OUTER_MAX];
        bytes[0] = 0x60;
        bytes[6] = PROTOCOL_GRE;
        bytes[7] = TTL;
        bytes[8..24].copy_from_slice(&source.octets());
        bytes[24..40].copy_from_slice(&backend.octets());
        Self { bytes, len: (IP6_LEN + GRE_LEN) as u8, sum: 0 }
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

    /// The whole outer header for a packet; only the first [`Self::overhead`] bytes count.
    ///
    /// DSCP and ECN are the inner packet's (RFC 6040 4.1, normal mode), and so is DF (RFC 2003 3.1); an IPv6 packet
    /// has DF, because routers may not fragment it.
    #[inline]
    pub fn header(&self, inner: &Parsed) -> [u8; OUTER_MAX] {
        let mut h = self.bytes;
        let inner_is_v4 = inner.kind == Kind::V4;
        let ethertype: u16 = if inner_is_v4 { 0x0800 } else { 0x86dd };
        if self.is_v4() {
            if let Some(outer) = h.first_chunk_mut() {
                vary4(outer, self.sum, &Inner::of(inner));
            }
            h[22..24].copy_from_slice(&ethertype.to_be_bytes());
        } else {
            if let Some(outer) = h.first_chunk_mut() {
                vary6(outer, &Inner::of(inner));
            }
            h[42..44].copy_from_slice(&ethertype.to_be_bytes());
        }
        h
    }

    /// One's complement sum, as little-endian words, of what [`vary4`] leaves as it is in an IPv4 header, for its use.
    #[inline]
    pub fn sum(&self) -> u32 {
        self.sum
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
}

impl Inner {
    /// Of a packet of `ip_len` bytes, from the first eight of its header read as a little-endian word.
    #[inline(always)]
    pub fn read(start: u64, ip_len: u16, is_v6: bool) -> Self {
        let [a, b, _, _, c, d, flags, _] = start.to_le_bytes();
        if is_v6 {
            Self { traffic_class: a << 4 | b >> 4, ip_len, id: [0; 2], df: true }
        } else {
            Self { traffic_class: b, ip_len, id: [c, d], df: flags & 0x40 != 0 }
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
        }
    }
}

/// Writes what differs from packet to packet into a prepared IPv4 header before GRE.
#[inline(always)]
pub fn vary4(h: &mut [u8; IP4_LEN], sum: u32, inner: &Inner) {
    let total = (IP4_LEN + GRE_LEN) as u16 + inner.ip_len;
    // The inner identification keeps fragments of different packets apart without any state (RFC 6864 4.1).
    let id_and_flags = if inner.df { 0x0040_0000 } else { u32::from(u16::from_le_bytes(inner.id)) };
    let first = 0x45
        | u64::from(inner.traffic_class) << 8
        | u64::from(total.swap_bytes()) << 16
        | u64::from(id_and_flags) << 32;
    h[..VARIED4].copy_from_slice(&first.to_le_bytes());
    // The sum is the same in either byte order but for a swap (RFC 1071 2 B), so nothing is swapped here.
    let sum = (first & 0xffff_ffff) + (first >> 32) + u64::from(sum);
    let sum = (sum & 0xffff) + (sum >> 16);
    h[10..12].copy_from_slice(&checksum::finish_short(sum as u32).to_le_bytes());
}

/// Writes what differs from packet to packet into a prepared IPv6 header before GRE.
#[inline(always)]
pub fn vary6(h: &mut [u8; IP6_LEN], inner: &Inner) {
    h[0] = 0x60 | inner.traffic_class >> 4;
    h[1] = inner.traffic_class << 4;
    h[4..6].copy_from_slice(&(GRE_LEN as u16 + inner.ip_len).to_be_bytes());
}
