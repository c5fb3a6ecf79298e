//! Network addresses as the configuration writes them.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An address with the length of its network's prefix, such as `10.0.0.2/24`; host bits are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IpNet {
    address: IpAddr,
    prefix_len: u8,
}

impl IpNet {
    /// `None` where `prefix_len` is longer than the address (32 or 128 bits).
    pub fn new(address: IpAddr, prefix_len: u8) -> Option<Self> {
        (prefix_len <= address_bits(address)).then_some(Self { address, prefix_len })
    }

    /// Reads `ADDRESS/LENGTH`; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let (address, prefix_len) = text.split_once('/')?;
        if prefix_len.is_empty() || prefix_len.len() > 3 || !prefix_len.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        Self::new(address.parse().ok()?, prefix_len.parse().ok()?)
    }

    /// The address with its host bits, as it was written.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// Bits of the network part: 0..=32 or 0..=128.
    pub fn prefix_len(&self) -> u8 {
        self.prefix_len
    }

    /// The first address of the network: all host bits zero.
    pub fn network(&self) -> IpAddr {
        mask(self.address, self.prefix_len)
    }

    /// The last address of an IPv4 network; `None` for IPv6 and for networks of one or two addresses (RFC 3021).
    pub fn broadcast(&self) -> Option<Ipv4Addr> {
        match self.address {
            IpAddr::V4(v4) if self.prefix_len < 31 => {
                Some(Ipv4Addr::from_bits(v4.to_bits() | (u32::MAX >> self.prefix_len)))
            }
            _ => None,
        }
    }

    /// Whether `address` is of this family and inside this network.
    pub fn contains(&self, address: IpAddr) -> bool {
        same_family(self.address, address) && mask(address, self.prefix_len) == self.network()
    }
}

impl fmt::Display for IpNet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix_len)
    }
}

/// Whether both are IPv4 or both are IPv6.
pub fn same_family(a: IpAddr, b: IpAddr) -> bool {
    a.is_ipv4() == b.is_ipv4()
}

fn address_bits(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn mask(address: IpAddr, prefix_len: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix_len.min(32))).unwrap_or(0);
            Ipv4Addr::from_bits(v4.to_bits() & mask).into()
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix_len.min(128))).unwrap_or(0);
            Ipv6Addr::from_bits(v6.to_bits() & mask).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_what_it_prints_and_nothing_else() {
        for text in ["10.0.0.2/24", "0.0.0.0/0", "10.0.0.2/32", "fd00::2/64", "::/0", "fe80::1/128"] {
            assert_eq!(IpNet::parse(text).expect(text).to_string(), text);
        }
        for text in
            ["", "/", "10.0.0.2", "10.0.0.2/", "10.0.0.2/33", "::/129", "10.0.0.2/+8", "10.0.0.2/-1", "10.0.0.2/024 "]
        {
            assert_eq!(IpNet::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn broadcast_only_where_there_is_one() {
        let broadcast = |text| IpNet::parse(text).and_then(|net| net.broadcast()).map(|b| b.to_string());
        assert_eq!(broadcast("10.0.0.2/24").as_deref(), Some("10.0.0.255"));
        assert_eq!(broadcast("10.0.0.2/31"), None);
        assert_eq!(broadcast("fd00::2/64"), None);
    }

    proptest! {
        #[test]
        fn contains_agrees_with_comparing_bits(a: u32, b: u32, len in 0u8..=32) {
            let net = IpNet::new(Ipv4Addr::from_bits(a).into(), len).unwrap();
            let equal = (0..u32::from(len)).all(|bit| (a ^ b) >> (31 - bit) & 1 == 0);
            prop_assert_eq!(net.contains(Ipv4Addr::from_bits(b).into()), equal);
            prop_assert!(net.contains(net.network()));
            prop_assert!(!net.contains(Ipv6Addr::from_bits(b.into()).into()));
        }

        #[test]
        fn contains_agrees_with_comparing_bits_in_ipv6(a: u128, flip in 0u8..128, len in 0u8..=128) {
            let net = IpNet::new(Ipv6Addr::from_bits(a).into(), len).unwrap();
            let other = Ipv6Addr::from_bits(a ^ (1 << (127 - flip)));
            prop_assert_eq!(net.contains(other.into()), flip >= len);
        }
    }
}
