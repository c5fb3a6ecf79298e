//! Why a packet does not get to the other IP version.

use std::net::IpAddr;

use crate::lb::verdict::DropReason;
use crate::wire::parse::QuoteError;

/// Lengths and MTUs are in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::lb::path) enum TranslateError {
    /// The packet and the new addresses are not of one family each, and of two.
    #[error("from {src} to {dst}: both must be of the other family than the packet")]
    Families {
        /// The new source.
        src: IpAddr,
        /// The new destination.
        dst: IpAddr,
    },
    /// Only TCP and UDP go over, and ICMP errors that quote them; each has its function.
    #[error("protocol {0}: tcp or udp is needed, or an icmp error that quotes them")]
    Protocol(u8),
    /// The packet would not fit the link, and its sender can do something about it.
    #[error("the packet would not fit: its sender must keep to {mtu} bytes")]
    TooBig {
        /// What the sender is to be told, as the length of packets of its own family.
        mtu: u16,
    },
    /// The packet would not fit the link, and its sender has left it to others to fragment it.
    #[error("{len} bytes on the other side do not fit {mtu}, and the sender need not send less")]
    MustFragment {
        /// Length on the other side.
        len: u32,
        /// What fits.
        mtu: u16,
    },
    /// An IPv4 source route that has not come to its end (RFC 7915 section 4.1).
    #[error("ipv4 source route option {0} with addresses left")]
    SourceRoute(u8),
    /// An IPv6 routing header that still routes (RFC 7915 section 5.1).
    #[error("ipv6 routing header with {left} segments left, at {pointer}")]
    SegmentsLeft {
        /// How many.
        left: u8,
        /// Where the packet says so, from the start of its IPv6 header: the pointer of a parameter problem.
        pointer: u16,
    },
    /// A fragment with extension headers in its fragmentable part, which would shift all offsets (RFC 7915 section 5.1.1).
    #[error("fragment with extension header {0} behind its fragment header")]
    ExtensionInFragment(u8),
    /// A fragment of a UDP datagram without a checksum, which IPv6 needs (RFC 7915 section 4.5).
    #[error("fragment of a udp datagram without checksum")]
    FragmentWithoutChecksum,
    /// What has to be read is not in the first segment of the buffer.
    #[error("the first {0} bytes are not in one segment")]
    NotContiguous(usize),
    /// The buffer has no room before the packet.
    #[error("no {0} bytes of headroom")]
    NoHeadroom(usize),
    /// An ICMP message that came in fragments (RFC 7915 section 1.2).
    #[error("fragmented icmp message")]
    FragmentedMessage,
    /// An ICMP message that has no counterpart (RFC 7915 sections 4.2 and 5.2).
    #[error("icmp type {kind} code {code} has no counterpart")]
    NoCounterpart {
        /// Its type.
        kind: u8,
        /// Its code.
        code: u8,
    },
    /// The quoted packet cannot be read.
    #[error(transparent)]
    Quote(#[from] QuoteError),
    /// The quoted packet is of the other family than the message.
    #[error("the quoted packet is not of the message's family")]
    QuoteFamily,
}

impl TranslateError {
    /// What a packet is counted under that is dropped for this, and whose sender hears nothing.
    #[cold]
    pub(in crate::lb::path) fn reason(&self) -> DropReason {
        match self {
            Self::TooBig { .. } | Self::MustFragment { .. } => DropReason::TooBig,
            Self::NotContiguous(_) => DropReason::Runt,
            Self::NoHeadroom(_) => DropReason::NoHeadroom,
            Self::Quote(QuoteError::Checksum(_)) => DropReason::IcmpChecksum,
            Self::Quote(_) | Self::QuoteFamily => DropReason::IcmpQuote,
            Self::Families { .. }
            | Self::Protocol(_)
            | Self::SourceRoute(_)
            | Self::SegmentsLeft { .. }
            | Self::ExtensionInFragment(_)
            | Self::FragmentWithoutChecksum
            | Self::FragmentedMessage
            | Self::NoCounterpart { .. } => DropReason::Untranslatable,
        }
    }
}
