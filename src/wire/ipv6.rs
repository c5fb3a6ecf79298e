//! IPv6 headers (RFC 8200 section 3).

use std::net::Ipv6Addr;

use super::bytes::{Truncated, array, put, put_u16, require, tail, u8_at, u16_at, u32_at, v6_at};
use super::checksum::Delta;

/// Length of a header without extension headers in bytes.
pub const HEADER_LEN: usize = 40;

/// Bytes that begin with an IPv6 header, all of which is there; the payload may be cut.
#[derive(Clone, Copy, Debug)]
pub struct Ipv6Packet<T> {
    data: T,
}

/// Why bytes do not begin with an IPv6 header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Ipv6Error {
    /// The header is cut.
    #[error(transparent)]
    Truncated(#[from] Truncated),
    /// The version is not 6.
    #[error("ip version {0}: 6 is needed")]
    Version(u8),
}

impl<T: AsRef<[u8]>> Ipv6Packet<T> {
    /// Checks that the whole header is in `data`; its payload length is left to [`parse`](super::parse::parse).
    #[inline]
    pub fn new_checked(data: T) -> Result<Self, Ipv6Error> {
        let bytes = data.as_ref();
        require(bytes, HEADER_LEN, "ipv6")?;
        match u8_at(bytes, 0) >> 4 {
            6 => Ok(Self { data }),
            version => Err(Ipv6Error::Version(version)),
        }
    }

    /// DSCP (upper six bits) and ECN.
    #[inline]
    pub fn traffic_class(&self) -> u8 {
        let [first, second] = array(self.bytes(), 0);
        first << 4 | second >> 4
    }

    /// Differentiated services code point (RFC 2474).
    #[inline]
    pub fn dscp(&self) -> u8 {
        self.traffic_class() >> 2
    }

    /// Explicit congestion notification (RFC 3168).
    #[inline]
    pub fn ecn(&self) -> u8 {
        self.traffic_class() & 3
    }

    /// Flow label, 20 bits (RFC 6437).
    #[inline]
    pub fn flow_label(&self) -> u32 {
        u32_at(self.bytes(), 0) & 0x000F_FFFF
    }

    /// Length of what follows the header, in bytes.
    #[inline]
    pub fn payload_len(&self) -> u16 {
        u16_at(self.bytes(), 4)
    }

    /// The upper layer or the first extension header.
    #[inline]
    pub fn next_header(&self) -> u8 {
        u8_at(self.bytes(), 6)
    }

    /// Hop limit.
    #[inline]
    pub fn hop_limit(&self) -> u8 {
        u8_at(self.bytes(), 7)
    }

    /// Source address.
    #[inline]
    pub fn src(&self) -> Ipv6Addr {
        v6_at(self.bytes(), 8)
    }

    /// Destination address.
    #[inline]
    pub fn dst(&self) -> Ipv6Addr {
        v6_at(self.bytes(), 24)
    }

    /// What of the payload is there, extension headers included, without what lies behind the payload length.
    #[inline]
    pub fn payload(&self) -> &[u8] {
        let payload = tail(self.bytes(), HEADER_LEN);
        payload.get(..usize::from(self.payload_len())).unwrap_or(payload)
    }

    #[inline]
    fn bytes(&self) -> &[u8] {
        self.data.as_ref()
    }
}

impl<T: AsRef<[u8]> + AsMut<[u8]>> Ipv6Packet<T> {
    /// Sets DSCP (upper six bits) and ECN.
    #[inline]
    pub fn set_traffic_class(&mut self, traffic_class: u8) {
        let [_, second] = array(self.bytes(), 0);
        self.put(0, [0x60 | traffic_class >> 4, traffic_class << 4 | second & 0x0F]);
    }

    /// Sets the low six bits as DSCP.
    #[inline]
    pub fn set_dscp(&mut self, dscp: u8) {
        self.set_traffic_class(dscp << 2 | self.ecn());
    }

    /// Sets the low two bits as ECN.
    #[inline]
    pub fn set_ecn(&mut self, ecn: u8) {
        self.set_traffic_class(self.dscp() << 2 | ecn & 3);
    }

    /// Sets the low 20 bits as flow label.
    #[inline]
    pub fn set_flow_label(&mut self, flow_label: u32) {
        let others = u32_at(self.bytes(), 0) & !0x000F_FFFF;
        self.put(0, (others | flow_label & 0x000F_FFFF).to_be_bytes());
    }

    /// Sets the length of what follows the header, in bytes.
    #[inline]
    pub fn set_payload_len(&mut self, payload_len: u16) {
        self.put(4, payload_len.to_be_bytes());
    }

    /// Sets the upper layer or the first extension header.
    #[inline]
    pub fn set_next_header(&mut self, next_header: u8) {
        self.put(6, [next_header]);
    }

    /// Sets the hop limit.
    #[inline]
    pub fn set_hop_limit(&mut self, hop_limit: u8) {
        self.put(7, [hop_limit]);
    }

    /// Takes one off the hop limit, which stays 0 at 0, and returns the new one.
    #[inline]
    pub fn decrement_hop_limit(&mut self) -> u8 {
        let new = self.hop_limit().saturating_sub(1);
        self.set_hop_limit(new);
        new
    }

    /// Sets the source address.
    #[inline]
    pub fn set_src(&mut self, src: Ipv6Addr) {
        self.put(8, src.octets());
    }

    /// Sets the destination address.
    #[inline]
    pub fn set_dst(&mut self, dst: Ipv6Addr) {
        self.put(24, dst.octets());
    }

    /// Sets the source address and returns what the change adds to the upper layer's checksum.
    #[inline]
    pub fn replace_src(&mut self, src: Ipv6Addr) -> Delta {
        let delta = Delta::default().replace_v6(self.src(), src);
        self.set_src(src);
        delta
    }

    /// Sets the destination address and returns what the change adds to the upper layer's checksum.
    #[inline]
    pub fn replace_dst(&mut self, dst: Ipv6Addr) -> Delta {
        let delta = Delta::default().replace_v6(self.dst(), dst);
        self.set_dst(dst);
        delta
    }

    #[inline]
    fn put<const N: usize>(&mut self, at: usize, bytes: [u8; N]) {
        put(self.data.as_mut(), at, bytes);
    }
}

/// The fields of a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipv6Repr {
    /// Source address.
    pub src: Ipv6Addr,
    /// Destination address.
    pub dst: Ipv6Addr,
    /// The upper layer or the first extension header.
    pub next_header: u8,
    /// Hop limit.
    pub hop_limit: u8,
    /// DSCP (upper six bits) and ECN.
    pub traffic_class: u8,
    /// Flow label, of which the low 20 bits count.
    pub flow_label: u32,
    /// Length of what follows the header, in bytes.
    pub payload_len: u16,
}

impl Ipv6Repr {
    /// Writes the header at the start of `buf` and returns its length, 40 bytes.
    #[inline]
    pub fn emit(&self, buf: &mut [u8]) -> Option<usize> {
        let header = buf.get_mut(..HEADER_LEN)?;
        let first = 6 << 28 | u32::from(self.traffic_class) << 20 | self.flow_label & 0x000F_FFFF;
        put(header, 0, first.to_be_bytes());
        put_u16(header, 4, self.payload_len);
        put(header, 6, [self.next_header, self.hop_limit]);
        put(header, 8, self.src.octets());
        put(header, 24, self.dst.octets());
        Some(HEADER_LEN)
    }
}
