//! Receive side scaling: what the NIC hashes, and which queue follows.

use std::fmt;
use std::ops::{BitAnd, BitOr};

use crate::ffi;

/// Header fields that a NIC hashes, as a set.
#[derive(Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct RssFields(u64);

/// What is wanted of a port's RSS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RssConfig {
    /// Fields to hash; those that the device lacks are left out.
    pub fields: RssFields,
    /// Hash key of the device's own length; `None` for the driver's key.
    pub key: Option<Vec<u8>>,
}

/// What a port does for RSS, as the device says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RssState {
    /// Fields that are hashed.
    pub fields: RssFields,
    /// The Toeplitz key.
    pub key: Vec<u8>,
    /// The redirection table: the queue of each value of the hash modulo the table's length.
    pub reta: Vec<u16>,
}

#[allow(clippy::unnecessary_cast, reason = "the constants' types follow from their values in the release at hand")]
impl RssFields {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// Addresses of IPv4, for packets that are not one of the more special kinds.
    pub const IPV4: Self = Self(ffi::RTE_ETH_RSS_IPV4 as u64);
    /// Addresses of IPv4 fragments.
    pub const IPV4_FRAG: Self = Self(ffi::RTE_ETH_RSS_FRAG_IPV4 as u64);
    /// Addresses and ports of TCP over IPv4.
    pub const IPV4_TCP: Self = Self(ffi::RTE_ETH_RSS_NONFRAG_IPV4_TCP as u64);
    /// Addresses and ports of UDP over IPv4.
    pub const IPV4_UDP: Self = Self(ffi::RTE_ETH_RSS_NONFRAG_IPV4_UDP as u64);
    /// Addresses of IPv6, for packets that are not one of the more special kinds.
    pub const IPV6: Self = Self(ffi::RTE_ETH_RSS_IPV6 as u64);
    /// Addresses of IPv6 fragments.
    pub const IPV6_FRAG: Self = Self(ffi::RTE_ETH_RSS_FRAG_IPV6 as u64);
    /// Addresses and ports of TCP over IPv6.
    pub const IPV6_TCP: Self = Self(ffi::RTE_ETH_RSS_NONFRAG_IPV6_TCP as u64);
    /// Addresses and ports of UDP over IPv6.
    pub const IPV6_UDP: Self = Self(ffi::RTE_ETH_RSS_NONFRAG_IPV6_UDP as u64);
    /// Of the addresses only the source.
    pub const L3_SRC_ONLY: Self = Self(ffi::RTE_ETH_RSS_L3_SRC_ONLY as u64);
    /// Of the addresses only the destination.
    pub const L3_DST_ONLY: Self = Self(ffi::RTE_ETH_RSS_L3_DST_ONLY as u64);
    /// Of the ports only the source.
    pub const L4_SRC_ONLY: Self = Self(ffi::RTE_ETH_RSS_L4_SRC_ONLY as u64);
    /// Of the ports only the destination.
    pub const L4_DST_ONLY: Self = Self(ffi::RTE_ETH_RSS_L4_DST_ONLY as u64);

    /// The set of DPDK's `RTE_ETH_RSS_*` bits.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// DPDK's `RTE_ETH_RSS_*` bits.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// Whether all of `other` are among these.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether there is none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl BitOr for RssFields {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitAnd for RssFields {
    type Output = Self;

    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl fmt::Debug for RssFields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RssFields({:#x})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_those_of_dpdk() {
        assert_eq!(RssFields::IPV4_TCP.bits(), 1 << 4);
        assert_eq!(RssFields::IPV6_UDP.bits(), 1 << 11);
        assert_eq!(RssFields::L3_SRC_ONLY.bits(), 1 << 63);
        assert_eq!(RssFields::L4_DST_ONLY.bits(), 1 << 60);
    }

    #[test]
    fn a_set_contains_its_parts_only() {
        let both = RssFields::IPV4_TCP | RssFields::IPV6_TCP;
        assert!(both.contains(RssFields::IPV6_TCP));
        assert!(!both.contains(RssFields::IPV6_TCP | RssFields::IPV4));
        assert_eq!(both & RssFields::IPV4_TCP, RssFields::IPV4_TCP);
        assert!((both & RssFields::IPV4).is_empty());
    }
}
