//! IPv4 headers (RFC 791).

use std::net::Ipv4Addr;

use super::bytes::{Truncated, put, put_u16, require, tail, u8_at, u16_at, v4_at};
use super::checksum::{self, Delta};

/// Length of a header without options in bytes.
pub const HEADER_LEN: usize = 20;

const DF: u16 = 0x4000;
const MF: u16 = 0x2000;

/// Bytes that begin with an IPv4 header, all of which is there; the payload may be cut.
#[derive(Clone, Copy, Debug)]
pub struct Ipv4Packet<T> {
    data: T,
}

/// Why bytes do not begin with an IPv4 header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Ipv4Error {
    /// The header is cut.
    #[error(transparent)]
    Truncated(#[from] Truncated),
    /// The version is not 4.
    #[error("ip version {0}: 4 is needed")]
    Version(u8),
    /// The header length is below five words.
    #[error("ipv4 header of {0} words: at least 5 are needed")]
    HeaderLength(u8),
}

impl<T: AsRef<[u8]>> Ipv4Packet<T> {
    /// Checks that the whole header is in `data`; its checksum and total length are left to [`parse`](super::parse::parse).
    #[inline]
    pub fn new_checked(data: T) -> Result<Self, Ipv4Error> {
        let bytes = data.as_ref();
        require(bytes, HEADER_LEN, "ipv4")?;
        let (version, ihl) = (u8_at(bytes, 0) >> 4, u8_at(bytes, 0) & 0x0F);
        if version != 4 {
            return Err(Ipv4Error::Version(version));
        }
        if ihl < 5 {
            return Err(Ipv4Error::HeaderLength(ihl));
        }
        require(bytes, usize::from(ihl) * 4, "ipv4")?;
        Ok(Self { data })
    }

    /// Length of the header in bytes, options included.
    #[inline]
    pub fn header_len(&self) -> usize {
        usize::from(u8_at(self.bytes(), 0) & 0x0F) * 4
    }

    /// DSCP (upper six bits) and ECN.
    #[inline]
    pub fn traffic_class(&self) -> u8 {
        u8_at(self.bytes(), 1)
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

    /// Length of the packet in bytes, header included.
    #[inline]
    pub fn total_len(&self) -> u16 {
        u16_at(self.bytes(), 2)
    }

    /// Identification.
    #[inline]
    pub fn id(&self) -> u16 {
        u16_at(self.bytes(), 4)
    }

    /// Whether the packet must not be fragmented.
    #[inline]
    pub fn df(&self) -> bool {
        self.fragment_field() & DF != 0
    }

    /// Whether a later fragment follows.
    #[inline]
    pub fn more_fragments(&self) -> bool {
        self.fragment_field() & MF != 0
    }

    /// Where the payload belongs in the whole packet, in bytes.
    #[inline]
    pub fn fragment_offset(&self) -> u16 {
        (self.fragment_field() & 0x1FFF) << 3
    }

    /// Time to live.
    #[inline]
    pub fn ttl(&self) -> u8 {
        u8_at(self.bytes(), 8)
    }

    /// The upper layer.
    #[inline]
    pub fn protocol(&self) -> u8 {
        u8_at(self.bytes(), 9)
    }

    /// Header checksum.
    #[inline]
    pub fn checksum(&self) -> u16 {
        u16_at(self.bytes(), 10)
    }

    /// Source address.
    #[inline]
    pub fn src(&self) -> Ipv4Addr {
        v4_at(self.bytes(), 12)
    }

    /// Destination address.
    #[inline]
    pub fn dst(&self) -> Ipv4Addr {
        v4_at(self.bytes(), 16)
    }

    /// Whether the header checksum is right.
    #[inline]
    pub fn is_checksum_valid(&self) -> bool {
        checksum::is_valid(checksum::sum(self.header()))
    }

    /// The header, options included.
    #[inline]
    pub fn header(&self) -> &[u8] {
        self.bytes().get(..self.header_len()).unwrap_or_default()
    }

    /// The options, padded to words.
    #[inline]
    pub fn options(&self) -> &[u8] {
        tail(self.header(), HEADER_LEN)
    }

    /// What of the payload is there, without what lies behind the total length.
    #[inline]
    pub fn payload(&self) -> &[u8] {
        let payload = tail(self.bytes(), self.header_len());
        let len = usize::from(self.total_len()).saturating_sub(self.header_len());
        payload.get(..len).unwrap_or(payload)
    }

    #[inline]
    fn fragment_field(&self) -> u16 {
        u16_at(self.bytes(), 6)
    }

    #[inline]
    fn bytes(&self) -> &[u8] {
        self.data.as_ref()
    }
}

/// Setters leave the header checksum as it is unless they say otherwise; [`fill_checksum`](Self::fill_checksum) mends it.
impl<T: AsRef<[u8]> + AsMut<[u8]>> Ipv4Packet<T> {
    /// Sets DSCP (upper six bits) and ECN.
    #[inline]
    pub fn set_traffic_class(&mut self, traffic_class: u8) {
        self.put(1, [traffic_class]);
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

    /// Sets the length of the packet in bytes, header included.
    #[inline]
    pub fn set_total_len(&mut self, total_len: u16) {
        self.put(2, total_len.to_be_bytes());
    }

    /// Sets the identification.
    #[inline]
    pub fn set_id(&mut self, id: u16) {
        self.put(4, id.to_be_bytes());
    }

    /// Sets whether the packet must not be fragmented.
    #[inline]
    pub fn set_df(&mut self, df: bool) {
        let others = self.fragment_field() & !DF;
        self.put(6, (others | if df { DF } else { 0 }).to_be_bytes());
    }

    /// Sets whether a later fragment follows, and where the payload belongs in bytes, of which the low three bits are lost.
    #[inline]
    pub fn set_fragment(&mut self, offset: u16, more_fragments: bool) {
        let flags = self.fragment_field() & 0xC000 | if more_fragments { MF } else { 0 };
        self.put(6, (flags | offset >> 3).to_be_bytes());
    }

    /// Sets the time to live.
    #[inline]
    pub fn set_ttl(&mut self, ttl: u8) {
        self.put(8, [ttl]);
    }

    /// Sets the upper layer.
    #[inline]
    pub fn set_protocol(&mut self, protocol: u8) {
        self.put(9, [protocol]);
    }

    /// Sets the header checksum.
    #[inline]
    pub fn set_checksum(&mut self, checksum: u16) {
        self.put(10, checksum.to_be_bytes());
    }

    /// Sets the source address.
    #[inline]
    pub fn set_src(&mut self, src: Ipv4Addr) {
        self.put(12, src.octets());
    }

    /// Sets the destination address.
    #[inline]
    pub fn set_dst(&mut self, dst: Ipv4Addr) {
        self.put(16, dst.octets());
    }

    /// Works the header checksum out anew.
    #[inline]
    pub fn fill_checksum(&mut self) {
        self.set_checksum(0);
        let check = checksum::checksum(self.header());
        self.set_checksum(check);
    }

    /// Adds `delta` to the header checksum.
    #[inline]
    pub fn update_checksum(&mut self, delta: Delta) {
        let check = delta.apply(self.checksum());
        self.set_checksum(check);
    }

    /// Takes one off the TTL, which stays 0 at 0, updates the checksum, and returns the new TTL (RFC 1812 section 5.3.1).
    #[inline]
    pub fn decrement_ttl(&mut self) -> u8 {
        let old = self.ttl();
        let new = old.saturating_sub(1);
        self.set_ttl(new);
        self.update_checksum(Delta::default().replace_u16(u16::from(old) << 8, u16::from(new) << 8));
        new
    }

    /// Sets the source address, updates the header checksum, and returns what the change adds to the upper layer's.
    #[inline]
    pub fn replace_src(&mut self, src: Ipv4Addr) -> Delta {
        let delta = Delta::default().replace_v4(self.src(), src);
        self.set_src(src);
        self.update_checksum(delta);
        delta
    }

    /// Sets the destination address as [`replace_src`](Self::replace_src) does the source.
    #[inline]
    pub fn replace_dst(&mut self, dst: Ipv4Addr) -> Delta {
        let delta = Delta::default().replace_v4(self.dst(), dst);
        self.set_dst(dst);
        self.update_checksum(delta);
        delta
    }

    #[inline]
    fn put<const N: usize>(&mut self, at: usize, bytes: [u8; N]) {
        put(self.data.as_mut(), at, bytes);
    }
}

/// The fields of a header without options of a packet that is no fragment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipv4Repr {
    /// Source address.
    pub src: Ipv4Addr,
    /// Destination address.
    pub dst: Ipv4Addr,
    /// The upper layer.
    pub protocol: u8,
    /// Time to live.
    pub ttl: u8,
    /// DSCP (upper six bits) and ECN.
    pub traffic_class: u8,
    /// Identification.
    pub id: u16,
    /// Whether the packet must not be fragmented.
    pub df: bool,
    /// Length of what follows the header, in bytes.
    pub payload_len: u16,
}

impl Ipv4Repr {
    /// Writes the header with its checksum at the start of `buf` and returns its length, 20 bytes. `None` also where the payload
    /// makes the packet longer than 65535 bytes.
    #[inline]
    pub fn emit(&self, buf: &mut [u8]) -> Option<usize> {
        let total_len = self.payload_len.checked_add(HEADER_LEN as u16)?;
        let header = buf.get_mut(..HEADER_LEN)?;
        put(header, 0, [0x45, self.traffic_class]);
        put_u16(header, 2, total_len);
        put_u16(header, 4, self.id);
        put_u16(header, 6, if self.df { DF } else { 0 });
        put(header, 8, [self.ttl, self.protocol, 0, 0]);
        put(header, 12, self.src.octets());
        put(header, 16, self.dst.octets());
        let check = checksum::checksum(header);
        put_u16(header, 10, check);
        Some(HEADER_LEN)
    }
}
