//! Which ICMP error of the one version is which of the other (RFC 7915 sections 4.2 and 5.2).

use super::{GROWTH, IPV4_MTU_MIN, IPV6_MTU_MIN};
use crate::wire::icmp::{self, IcmpPacket};
use crate::wire::icmpv6::{self, Icmpv6Packet};
use crate::wire::parse::Quote;

/// The first eight bytes of a message, with no checksum yet.
pub(super) type Head = [u8; 8];

/// Path MTUs that are likely where a router does not tell, largest first (RFC 1191 section 7.1), as far as IPv6 has them.
const PLATEAUS: [u16; 7] = [65_535, 32_000, 17_914, 8_166, 4_352, 2_002, 1_492];

/// Codes of ICMPv4 that have no name elsewhere.
mod code4 {
    pub const SOURCE_ROUTE_FAILED: u8 = 5;
    pub const NET_PROHIBITED: u8 = 9;
    pub const HOST_PROHIBITED: u8 = 10;
    pub const HOST_UNREACHABLE_FOR_TOS: u8 = 12;
    pub const PRECEDENCE_CUTOFF: u8 = 15;
    /// Parameter problem: the pointer says where.
    pub const POINTER: u8 = 0;
    /// Parameter problem: a wrong length, which the pointer shows too.
    pub const BAD_LENGTH: u8 = 2;
}

/// Codes of ICMPv6 that have no name elsewhere.
mod code6 {
    pub const BEYOND_SCOPE: u8 = 2;
    /// Parameter problem: a wrong field in a header.
    pub const FIELD: u8 = 0;
    /// Parameter problem: an unknown next header.
    pub const NEXT_HEADER: u8 = 1;
}

/// Offset of the IPv6 next header field.
const NEXT_HEADER_AT: u32 = 6;

/// The ICMPv6 error for one of ICMPv4 about a packet that is not longer than `mtu` bytes on the other side's link.
pub(super) fn to_v6(message: &IcmpPacket<&[u8]>, quote: &Quote, mtu: u16) -> Option<Head> {
    use icmp::code;
    let (code, pointer) = (message.code(), message_pointer(message));
    match message.kind() {
        icmp::kind::DESTINATION_UNREACHABLE => {
            let code = match code {
                code::PROTOCOL_UNREACHABLE => {
                    return Some(head6(icmpv6::kind::PARAMETER_PROBLEM, code6::NEXT_HEADER, NEXT_HEADER_AT));
                }
                code::FRAGMENTATION_NEEDED => {
                    return Some(head6(icmpv6::kind::PACKET_TOO_BIG, 0, mtu6(message.mtu(), quote, mtu).into()));
                }
                code::NET_UNREACHABLE | code::HOST_UNREACHABLE => icmpv6::code::NO_ROUTE,
                code::PORT_UNREACHABLE => icmpv6::code::PORT_UNREACHABLE,
                code4::NET_PROHIBITED | code4::HOST_PROHIBITED | code::PROHIBITED | code4::PRECEDENCE_CUTOFF => {
                    icmpv6::code::PROHIBITED
                }
                code4::SOURCE_ROUTE_FAILED..=code4::HOST_UNREACHABLE_FOR_TOS => icmpv6::code::NO_ROUTE,
                _ => return None,
            };
            Some(head6(icmpv6::kind::DESTINATION_UNREACHABLE, code, 0))
        }
        icmp::kind::TIME_EXCEEDED => Some(head6(icmpv6::kind::TIME_EXCEEDED, code, 0)),
        icmp::kind::PARAMETER_PROBLEM if matches!(code, code4::POINTER | code4::BAD_LENGTH) => {
            Some(head6(icmpv6::kind::PARAMETER_PROBLEM, code6::FIELD, pointer6(pointer)?))
        }
        _ => None,
    }
}

/// The ICMPv4 error for one of ICMPv6 about a packet that is not longer than `mtu` bytes on the other side's link;
/// `has_fragment_header` says whether the packet had one.
pub(super) fn to_v4(message: &Icmpv6Packet<&[u8]>, has_fragment_header: bool, mtu: u16) -> Option<Head> {
    use icmpv6::code;
    const UNREACHABLE: u8 = icmp::kind::DESTINATION_UNREACHABLE;
    match (message.kind(), message.code()) {
        (icmpv6::kind::DESTINATION_UNREACHABLE, code) => {
            let code = match code {
                code::NO_ROUTE | code6::BEYOND_SCOPE | code::ADDRESS_UNREACHABLE => icmp::code::HOST_UNREACHABLE,
                code::PROHIBITED => code4::HOST_PROHIBITED,
                code::PORT_UNREACHABLE => icmp::code::PORT_UNREACHABLE,
                _ => return None,
            };
            Some([UNREACHABLE, code, 0, 0, 0, 0, 0, 0])
        }
        (icmpv6::kind::PACKET_TOO_BIG, _) => {
            // The backend's link needs 20 bytes more, and eight for the fragment header that its packet had.
            let growth = if has_fragment_header { GROWTH + 8 } else { GROWTH };
            let told = u16::try_from(message.mtu()).unwrap_or(u16::MAX).saturating_sub(growth);
            let [high, low] = told.min(mtu).max(IPV4_MTU_MIN).to_be_bytes();
            Some([UNREACHABLE, icmp::code::FRAGMENTATION_NEEDED, 0, 0, 0, 0, high, low])
        }
        (icmpv6::kind::TIME_EXCEEDED, code) => Some([icmp::kind::TIME_EXCEEDED, code, 0, 0, 0, 0, 0, 0]),
        (icmpv6::kind::PARAMETER_PROBLEM, code6::FIELD) => {
            // The pointer is where packets too big have their MTU.
            let pointer = pointer4(message.mtu())?;
            Some([icmp::kind::PARAMETER_PROBLEM, code4::POINTER, 0, 0, pointer, 0, 0, 0])
        }
        (icmpv6::kind::PARAMETER_PROBLEM, code6::NEXT_HEADER) => {
            Some([UNREACHABLE, icmp::code::PROTOCOL_UNREACHABLE, 0, 0, 0, 0, 0, 0])
        }
        _ => None,
    }
}

fn head6(kind: u8, code: u8, word: u32) -> Head {
    let [a, b, c, d] = word.to_be_bytes();
    [kind, code, 0, 0, a, b, c, d]
}

/// The MTU that an IPv6 sender is told: never below what it may always send.
fn mtu6(told: u16, quote: &Quote, mtu: u16) -> u16 {
    // A router that does not know RFC 1191 says 0.
    let told = match told {
        0 => PLATEAUS.into_iter().find(|&plateau| u32::from(plateau) < quote.ip_len).unwrap_or(0),
        told => told,
    };
    told.saturating_add(GROWTH).min(mtu).max(IPV6_MTU_MIN)
}

/// The first byte behind the checksum, which has the pointer of a parameter problem.
fn message_pointer(message: &IcmpPacket<&[u8]>) -> u8 {
    message.identifier().to_be_bytes()[0]
}

/// RFC 7915 figure 3.
fn pointer6(pointer: u8) -> Option<u32> {
    Some(match pointer {
        0 | 1 => pointer.into(),
        2 | 3 => 4,
        8 => 7,
        9 => 6,
        12..=15 => 8,
        16..=19 => 24,
        _ => return None,
    })
}

/// RFC 7915 figure 6.
fn pointer4(pointer: u32) -> Option<u8> {
    Some(match pointer {
        0 => 0,
        1 => 1,
        4 | 5 => 2,
        6 => 9,
        7 => 8,
        8..=23 => 12,
        24..=39 => 16,
        _ => return None,
    })
}
