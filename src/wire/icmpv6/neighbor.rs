//! Neighbour solicitations and advertisements (RFC 4861 sections 4.3, 4.4 and 7.1).

use std::net::Ipv6Addr;

use super::super::bytes::{array, tail, u8_at, v6_at};
use super::super::checksum;
use super::super::ethernet::MacAddr;
use super::{emit, kind, message_sum};

/// Length of a message without options in bytes.
const FIXED_LEN: usize = 24;
const SOURCE_LINK_ADDRESS: u8 = 1;
const TARGET_LINK_ADDRESS: u8 = 2;
const ROUTER: u8 = 0x80;
const SOLICITED: u8 = 0x40;
const OVERRIDE: u8 = 0x20;

/// Asks who has `target`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NeighborSolicit {
    /// The address that is looked for.
    pub target: Ipv6Addr,
    /// Link-layer address of the sender; none in duplicate address detection.
    pub source_link: Option<MacAddr>,
}

/// Tells that `target` is here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NeighborAdvert {
    /// The sender is a router.
    pub router: bool,
    /// This answers a solicitation.
    pub solicited: bool,
    /// This replaces a link-layer address that is already known.
    pub replace: bool,
    /// The address that was asked for, or that is announced.
    pub target: Ipv6Addr,
    /// Link-layer address of the target.
    pub target_link: Option<MacAddr>,
}

/// Why a message fails the checks of RFC 4861 section 7.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NeighborError {
    /// A router has forwarded the message.
    #[error("neighbour discovery with hop limit {0}: 255 is needed")]
    HopLimit(u8),
    /// The message is shorter than 24 bytes.
    #[error("neighbour discovery message of {0} bytes: at least 24 are needed")]
    Truncated(usize),
    /// The type is another one.
    #[error("icmpv6 type {0} is not the neighbour discovery message that was expected")]
    Type(u8),
    /// The ICMPv6 checksum is wrong.
    #[error("icmpv6 checksum is wrong")]
    Checksum,
    /// The code is not 0.
    #[error("neighbour discovery with code {0}: 0 is needed")]
    Code(u8),
    /// The target is a multicast address.
    #[error("neighbour discovery for multicast target {0}")]
    MulticastTarget(Ipv6Addr),
    /// An option of length 0, or beyond the message.
    #[error("neighbour discovery option {0} has length 0 or goes beyond the message")]
    OptionLength(u8),
    /// Duplicate address detection that is not sent to a solicited-node address.
    #[error("duplicate address detection sent to {0}: a solicited-node address is needed")]
    ProbeDestination(Ipv6Addr),
    /// Duplicate address detection with a source link-layer address.
    #[error("duplicate address detection with a source link-layer address")]
    ProbeSourceLink,
    /// An advertisement to a group that says it was asked for.
    #[error("solicited advertisement sent to multicast address {0}")]
    SolicitedMulticast(Ipv6Addr),
}

/// The group that `addr` listens on for solicitations (RFC 4291 section 2.7.1).
pub const fn solicited_node(addr: Ipv6Addr) -> Ipv6Addr {
    Ipv6Addr::from_bits(0xFF02_0000_0000_0000_0000_0001_FF00_0000 | addr.to_bits() & 0x00FF_FFFF)
}

impl NeighborSolicit {
    /// Reads an ICMPv6 message that came from `src` to `dst` with `hop_limit`, with all checks of RFC 4861 section 7.1.1.
    pub fn parse(message: &[u8], src: Ipv6Addr, dst: Ipv6Addr, hop_limit: u8) -> Result<Self, NeighborError> {
        let target = check(message, kind::NEIGHBOR_SOLICIT, src, dst, hop_limit)?;
        let source_link = link_address(message, SOURCE_LINK_ADDRESS)?;
        if src.is_unspecified() {
            if solicited_node(dst) != dst {
                return Err(NeighborError::ProbeDestination(dst));
            }
            if source_link.is_some() {
                return Err(NeighborError::ProbeSourceLink);
            }
        }
        Ok(Self { target, source_link })
    }

    /// Writes the ICMPv6 message from `src` to `dst` and returns its length, 24 or 32 bytes.
    pub fn emit(&self, buf: &mut [u8], src: Ipv6Addr, dst: Ipv6Addr) -> Option<usize> {
        let body = body(self.target, SOURCE_LINK_ADDRESS, self.source_link);
        emit(buf, src, dst, [kind::NEIGHBOR_SOLICIT, 0], [0; 4], body.as_slice())
    }

    /// The answer that the target is at `mac`, for a solicitation from `src`: to it, or to all nodes where it is a probe
    /// (RFC 4861 section 7.2.4).
    pub fn reply(&self, src: Ipv6Addr, mac: MacAddr) -> (NeighborAdvert, Ipv6Addr) {
        let probe = src.is_unspecified();
        let advert = NeighborAdvert { solicited: !probe, ..NeighborAdvert::announce(self.target, mac) };
        (advert, if probe { ALL_NODES } else { src })
    }
}

/// Every node on the link.
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xFF02, 0, 0, 0, 0, 0, 0, 1);

impl NeighborAdvert {
    /// An unsolicited announcement that `target` is at `mac` (RFC 4861 section 7.2.6).
    pub const fn announce(target: Ipv6Addr, mac: MacAddr) -> Self {
        Self { router: false, solicited: false, replace: true, target, target_link: Some(mac) }
    }

    /// Reads an ICMPv6 message that came from `src` to `dst` with `hop_limit`, with all checks of RFC 4861 section 7.1.2.
    pub fn parse(message: &[u8], src: Ipv6Addr, dst: Ipv6Addr, hop_limit: u8) -> Result<Self, NeighborError> {
        let target = check(message, kind::NEIGHBOR_ADVERT, src, dst, hop_limit)?;
        let flags = u8_at(message, 4);
        let target_link = link_address(message, TARGET_LINK_ADDRESS)?;
        let solicited = flags & SOLICITED != 0;
        if solicited && dst.is_multicast() {
            return Err(NeighborError::SolicitedMulticast(dst));
        }
        Ok(Self { router: flags & ROUTER != 0, solicited, replace: flags & OVERRIDE != 0, target, target_link })
    }

    /// Writes the ICMPv6 message from `src` to `dst` and returns its length, 24 or 32 bytes.
    pub fn emit(&self, buf: &mut [u8], src: Ipv6Addr, dst: Ipv6Addr) -> Option<usize> {
        let set = |on: bool, flag: u8| if on { flag } else { 0 };
        let flags = set(self.router, ROUTER) | set(self.solicited, SOLICITED) | set(self.replace, OVERRIDE);
        let body = body(self.target, TARGET_LINK_ADDRESS, self.target_link);
        emit(buf, src, dst, [kind::NEIGHBOR_ADVERT, 0], [flags, 0, 0, 0], body.as_slice())
    }
}

/// The checks that both messages share; returns the target.
fn check(message: &[u8], kind: u8, src: Ipv6Addr, dst: Ipv6Addr, hop_limit: u8) -> Result<Ipv6Addr, NeighborError> {
    if hop_limit != 255 {
        return Err(NeighborError::HopLimit(hop_limit));
    }
    if message.len() < FIXED_LEN {
        return Err(NeighborError::Truncated(message.len()));
    }
    let [found, code] = array(message, 0);
    if found != kind {
        return Err(NeighborError::Type(found));
    }
    if !checksum::is_valid(message_sum(message, src, dst)) {
        return Err(NeighborError::Checksum);
    }
    if code != 0 {
        return Err(NeighborError::Code(code));
    }
    let target = v6_at(message, 8);
    if target.is_multicast() { Err(NeighborError::MulticastTarget(target)) } else { Ok(target) }
}

/// Walks all options, as each must have a length, and returns the last link-layer address of `wanted` kind.
fn link_address(message: &[u8], wanted: u8) -> Result<Option<MacAddr>, NeighborError> {
    let mut options = tail(message, FIXED_LEN);
    let mut found = None;
    while let Some(&option) = options.first() {
        // The length counts units of eight bytes, kind and length included.
        let len = usize::from(options.get(1).copied().unwrap_or_default()) * 8;
        if len == 0 || len > options.len() {
            return Err(NeighborError::OptionLength(option));
        }
        // An address of another length is not of this kind of link.
        if option == wanted && len == 8 {
            found = Some(MacAddr(array(options, 2)));
        }
        options = tail(options, len);
    }
    Ok(found)
}

/// The target and the link-layer address option, in a buffer for the longest of them.
struct Body {
    bytes: [u8; 24],
    len: usize,
}

impl Body {
    fn as_slice(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

fn body(target: Ipv6Addr, option: u8, link: Option<MacAddr>) -> Body {
    let mut bytes = [0; 24];
    let (address, rest) = bytes.split_at_mut(16);
    address.copy_from_slice(&target.octets());
    if let Some(MacAddr([a, b, c, d, e, f])) = link {
        rest.copy_from_slice(&[option, 1, a, b, c, d, e, f]);
    }
    Body { bytes, len: if link.is_some() { 24 } else { 16 } }
}
