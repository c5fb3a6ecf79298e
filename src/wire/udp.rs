//! UDP headers (RFC 768).

use super::bytes::{Truncated, put, put_u16, require, tail, u16_at};
use super::checksum::{self, Delta};

/// Length of a header in bytes.
pub const HEADER_LEN: usize = 8;

/// Bytes that begin with a UDP header; the payload may be cut.
#[derive(Clone, Copy, Debug)]
pub struct UdpPacket<T> {
    data: T,
}

impl<T: AsRef<[u8]>> UdpPacket<T> {
    /// Checks that the header is in `data`; its length field is left to [`parse`](super::parse::parse).
    #[inline]
    pub fn new_checked(data: T) -> Result<Self, Truncated> {
        require(data.as_ref(), HEADER_LEN, "udp")?;
        Ok(Self { data })
    }

    /// Source port.
    #[inline]
    pub fn sport(&self) -> u16 {
        u16_at(self.bytes(), 0)
    }

    /// Destination port.
    #[inline]
    pub fn dport(&self) -> u16 {
        u16_at(self.bytes(), 2)
    }

    /// Length in bytes, header included.
    #[inline]
    pub fn total_len(&self) -> u16 {
        u16_at(self.bytes(), 4)
    }

    /// Checksum; 0 says that there is none.
    #[inline]
    pub fn checksum(&self) -> u16 {
        u16_at(self.bytes(), 6)
    }

    /// What of the payload is there, without what lies behind the length field.
    #[inline]
    pub fn payload(&self) -> &[u8] {
        let payload = tail(self.bytes(), HEADER_LEN);
        payload.get(..usize::from(self.total_len()).saturating_sub(HEADER_LEN)).unwrap_or(payload)
    }

    /// Whether the checksum is right or absent; `pseudo` is the sum of the pseudo-header, and the whole packet must be there.
    #[inline]
    pub fn is_checksum_valid(&self, pseudo: u32) -> bool {
        let packet = self.bytes().get(..usize::from(self.total_len())).unwrap_or(self.bytes());
        self.checksum() == 0 || checksum::is_valid(checksum::combine(pseudo, checksum::sum(packet)))
    }

    #[inline]
    fn bytes(&self) -> &[u8] {
        self.data.as_ref()
    }
}

/// Setters leave the checksum as it is; [`update_checksum`](Self::update_checksum) and
/// [`fill_checksum`](Self::fill_checksum) mend it.
impl<T: AsRef<[u8]> + AsMut<[u8]>> UdpPacket<T> {
    /// Sets the source port.
    #[inline]
    pub fn set_sport(&mut self, sport: u16) {
        self.put_u16(0, sport);
    }

    /// Sets the destination port.
    #[inline]
    pub fn set_dport(&mut self, dport: u16) {
        self.put_u16(2, dport);
    }

    /// Sets the checksum.
    #[inline]
    pub fn set_checksum(&mut self, checksum: u16) {
        self.put_u16(6, checksum);
    }

    /// Adds `delta` to the checksum, where there is one.
    #[inline]
    pub fn update_checksum(&mut self, delta: Delta) {
        let check = delta.apply_udp(self.checksum());
        self.set_checksum(check);
    }

    /// Works the checksum out anew; `pseudo` is the sum of the pseudo-header, and the whole packet must be there.
    pub fn fill_checksum(&mut self, pseudo: u32) {
        self.set_checksum(0);
        let packet = self.bytes().get(..usize::from(self.total_len())).unwrap_or(self.bytes());
        let check = checksum::finish_udp(checksum::combine(pseudo, checksum::sum(packet)));
        self.set_checksum(check);
    }

    #[inline]
    fn put_u16(&mut self, at: usize, value: u16) {
        put_u16(self.data.as_mut(), at, value);
    }
}

/// The fields of a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UdpRepr {
    /// Source port.
    pub sport: u16,
    /// Destination port.
    pub dport: u16,
    /// Length of what follows the header, in bytes.
    pub payload_len: u16,
}

impl UdpRepr {
    /// Writes the header without a checksum at the start of `buf` and returns its length, 8 bytes. `None` also where the
    /// payload makes the packet longer than 65535 bytes.
    #[inline]
    pub fn emit(&self, buf: &mut [u8]) -> Option<usize> {
        let total_len = self.payload_len.checked_add(HEADER_LEN as u16)?;
        let header = buf.get_mut(..HEADER_LEN)?;
        put_u16(header, 0, self.sport);
        put_u16(header, 2, self.dport);
        put_u16(header, 4, total_len);
        put(header, 6, [0, 0]);
        Some(HEADER_LEN)
    }
}
