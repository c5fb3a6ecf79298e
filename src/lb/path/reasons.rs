//! Which drop reason a parse error is counted under.

use crate::lb::verdict::DropReason;
use crate::wire::parse::{ExtensionError, ParseError};

/// One reason for each kind of error.
#[cold]
pub(super) fn of(error: ParseError) -> DropReason {
    match error {
        ParseError::EthernetTruncated(_) | ParseError::Runt(_) | ParseError::NotContiguous(_) => DropReason::Runt,
        ParseError::UnknownEtherType(_) => DropReason::UnknownEthertype,
        ParseError::TooManyTags => DropReason::VlanStack,
        ParseError::Ipv4Version(_) | ParseError::Ipv6Version(_) => DropReason::IpVersion,
        ParseError::Ipv4HeaderLength(_) => DropReason::IpHeaderLength,
        ParseError::Ipv4TotalLengthShort(_) => DropReason::IpTotalShort,
        ParseError::Ipv4TotalLengthLong(_) | ParseError::Ipv6PayloadLong(_) | ParseError::Ipv6TooLong(_) => {
            DropReason::IpTotalLong
        }
        ParseError::Ipv4Checksum(_) => DropReason::IpChecksum,
        ParseError::Ipv6Jumbo(_) => DropReason::Ip6Jumbo,
        ParseError::Extension(ExtensionError::NotContiguous(_)) => DropReason::Runt,
        ParseError::Extension(_) => DropReason::Ip6Extension,
        ParseError::L4Truncated { .. } => DropReason::L4Truncated,
        ParseError::TcpDataOffset(_) => DropReason::TcpOffset,
        ParseError::UdpLength(_) => DropReason::UdpLength,
        ParseError::UdpChecksumZero => DropReason::UdpNoChecksum,
        ParseError::TinyFragment(_) | ParseError::FragmentOffsetOne => DropReason::TinyFragment,
        ParseError::FragmentBeyond(_) => DropReason::FragmentInvalid,
    }
}
