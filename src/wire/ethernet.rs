//! Ethernet II headers with at most one VLAN tag (IEEE 802.3, 802.1Q).

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use super::bytes::{put, put_u16};

/// Length of an untagged header in bytes.
pub const HEADER_LEN: usize = 14;
/// Length of a VLAN tag in bytes.
pub const TAG_LEN: usize = 4;

/// A 48-bit hardware address, in the order of the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MacAddr(pub [u8; 6]);

impl MacAddr {
    /// Every station on the link.
    pub const BROADCAST: Self = Self([0xFF; 6]);

    /// The address with all bits zero, which no station has.
    pub const ZERO: Self = Self([0; 6]);

    /// Whether this is a group address, broadcast included.
    #[inline]
    pub const fn is_multicast(self) -> bool {
        self.0[0] & 1 == 1
    }

    /// Whether a station can have this address: neither a group nor zero.
    #[inline]
    pub fn is_unicast(self) -> bool {
        !self.is_multicast() && self != Self::ZERO
    }

    /// The group address that carries an IPv4 multicast address: its low 23 bits (RFC 1112 section 6.4).
    pub const fn ipv4_multicast(addr: Ipv4Addr) -> Self {
        let [_, b, c, d] = addr.octets();
        Self([0x01, 0x00, 0x5E, b & 0x7F, c, d])
    }

    /// The group address that carries an IPv6 multicast address: its low 32 bits (RFC 2464 section 7).
    pub const fn ipv6_multicast(addr: Ipv6Addr) -> Self {
        let octets = addr.octets();
        Self([0x33, 0x33, octets[12], octets[13], octets[14], octets[15]])
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// A text that is not a hardware address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not a MAC address: six hexadecimal pairs are needed, as in 02:00:00:00:00:01")]
pub struct MacAddrError(String);

impl FromStr for MacAddr {
    type Err = MacAddrError;

    /// Reads six pairs of hexadecimal digits with `:` or `-` between them.
    fn from_str(text: &str) -> Result<Self, MacAddrError> {
        let wrong = || MacAddrError(text.to_owned());
        let separator = if text.contains('-') { '-' } else { ':' };
        let mut pairs = text.split(separator);
        let mut octets = [0; 6];
        for octet in &mut octets {
            let pair = pairs.next().ok_or_else(wrong)?;
            // The digits are checked first because the number parser also takes a sign.
            if pair.len() != 2 || !pair.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                return Err(wrong());
            }
            *octet = u8::from_str_radix(pair, 16).map_err(|_| wrong())?;
        }
        if pairs.next().is_some() { Err(wrong()) } else { Ok(Self(octets)) }
    }
}

/// What an Ethernet frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EtherType(pub u16);

impl EtherType {
    /// IPv4 (RFC 894).
    pub const IPV4: Self = Self(0x0800);
    /// ARP (RFC 826).
    pub const ARP: Self = Self(0x0806);
    /// A VLAN tag follows (IEEE 802.1Q).
    pub const VLAN: Self = Self(0x8100);
    /// IPv6 (RFC 2464).
    pub const IPV6: Self = Self(0x86DD);
    /// A service VLAN tag follows (IEEE 802.1ad).
    pub const SERVICE_VLAN: Self = Self(0x88A8);
    /// The service tag of equipment older than 802.1ad.
    pub const OLD_SERVICE_VLAN: Self = Self(0x9100);

    /// Whether a VLAN tag follows.
    #[inline]
    pub const fn is_tag(self) -> bool {
        matches!(self, Self::VLAN | Self::SERVICE_VLAN | Self::OLD_SERVICE_VLAN)
    }
}

impl fmt::Display for EtherType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:04x}", self.0)
    }
}

/// Writes a header at the start of `buf` and returns its length, 14 or 18 bytes. Only the low 12 bits of `vlan` count; its
/// priority is 0.
#[inline]
pub fn emit(buf: &mut [u8], dst: MacAddr, src: MacAddr, vlan: Option<u16>, ethertype: EtherType) -> Option<usize> {
    let len = header_len(vlan);
    let header = buf.get_mut(..len)?;
    put(header, 0, dst.0);
    put(header, 6, src.0);
    if let Some(id) = vlan {
        put_u16(header, 12, EtherType::VLAN.0);
        put_u16(header, 14, id & 0x0FFF);
    }
    put_u16(header, len - 2, ethertype.0);
    Some(len)
}

/// Length of the header that [`emit`] writes, in bytes.
#[inline]
pub const fn header_len(vlan: Option<u16>) -> usize {
    if vlan.is_some() { HEADER_LEN + TAG_LEN } else { HEADER_LEN }
}

/// The destination address of a frame, or `None` where it is shorter than a header.
#[inline]
pub fn dst(frame: &[u8]) -> Option<MacAddr> {
    frame.first_chunk::<HEADER_LEN>().map(|&[a, b, c, d, e, f, ..]| MacAddr([a, b, c, d, e, f]))
}

/// The source address of a frame, or `None` where it is shorter than a header.
#[inline]
pub fn src(frame: &[u8]) -> Option<MacAddr> {
    frame.first_chunk::<HEADER_LEN>().map(|&[_, _, _, _, _, _, a, b, c, d, e, f, ..]| MacAddr([a, b, c, d, e, f]))
}
