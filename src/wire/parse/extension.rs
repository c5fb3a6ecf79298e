//! The walk along IPv6 extension headers (RFC 8200 section 4), bounded.

use super::super::bytes::{u8_at, u16_at, u32_at};
use super::super::protocol::{DESTINATION_OPTIONS, FRAGMENT, HOP_BY_HOP, ROUTING};
use super::{Fragment, Kind, Parsed};

/// The most extension headers that are walked.
pub const EXTENSION_HEADERS_MAX: usize = 8;
/// The most bytes of extension headers that are walked.
pub const EXTENSION_BYTES_MAX: usize = 512;

/// Why the extension headers of an IPv6 packet cannot be walked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExtensionError {
    /// More headers than [`EXTENSION_HEADERS_MAX`] or more bytes than [`EXTENSION_BYTES_MAX`].
    #[error("ipv6 extension headers beyond 8, or beyond 512 bytes")]
    TooLong,
    /// The packet ends in an extension header.
    #[error("ipv6 packet ends in extension header {0}")]
    Truncated(u8),
    /// The extension header does not lie in the first segment of the buffer.
    #[error("ipv6 extension header {0} is not in the first segment")]
    NotContiguous(u8),
    /// A hop-by-hop header is not directly behind the IPv6 header (RFC 8200 section 4.1).
    #[error("ipv6 hop-by-hop header is not the first")]
    HopByHopNotFirst,
    /// A routing header of type 0 that still routes (RFC 5095).
    #[error("ipv6 routing header of type 0 with {0} segments left")]
    RoutingType0(u8),
    /// A second fragment header.
    #[error("second ipv6 fragment header")]
    FragmentTwice,
}

/// What lies behind the extension headers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chain {
    /// The upper layer, or what the fragment header of a later fragment names.
    pub protocol: u8,
    /// Length of the extension headers in bytes.
    pub len: usize,
    pub fragment: Fragment,
    pub fragment_id: u32,
    pub fragment_offset: u16,
    pub more_fragments: bool,
}

/// Walks from `next` over `data`, the bytes behind the IPv6 header as far as they are there, in a payload of `payload_len` bytes.
pub(super) fn walk(mut next: u8, data: &[u8], payload_len: usize) -> Result<Chain, ExtensionError> {
    let mut at = 0;
    let mut fragment = None;
    for count in 0.. {
        if !matches!(next, HOP_BY_HOP | ROUTING | FRAGMENT | DESTINATION_OPTIONS) {
            break;
        }
        if count == EXTENSION_HEADERS_MAX {
            return Err(ExtensionError::TooLong);
        }
        if next == HOP_BY_HOP && count != 0 {
            return Err(ExtensionError::HopByHopNotFirst);
        }
        require(next, at + 8, data, payload_len)?;
        // A fragment header has a reserved byte where the others have their length.
        let len = if next == FRAGMENT { 8 } else { 8 + 8 * usize::from(u8_at(data, at + 1)) };
        // Before it is asked for: nobody has to gather what is longer than is walked.
        if at + len <= payload_len && at + len > EXTENSION_BYTES_MAX {
            return Err(ExtensionError::TooLong);
        }
        require(next, at + len, data, payload_len)?;
        let segments_left = u8_at(data, at + 3);
        if next == ROUTING && u8_at(data, at + 2) == 0 && segments_left != 0 {
            return Err(ExtensionError::RoutingType0(segments_left));
        }
        if next == FRAGMENT && fragment.is_some() {
            return Err(ExtensionError::FragmentTwice);
        }
        if next == FRAGMENT {
            fragment = Some((u16_at(data, at + 2), u32_at(data, at + 4)));
        }
        next = u8_at(data, at);
        at += len;
        // Behind the header of a later fragment comes data, whatever it names.
        if fragment.is_some_and(|(field, _)| field & 0xFFF8 != 0) {
            break;
        }
    }
    Ok(Chain::new(next, at, fragment))
}

/// How many bytes a fragment holds of what was fragmented; `frame` must be the one that was parsed. `None` if it is no
/// fragment.
///
/// In IPv6 that is all behind the fragment header, so in a first fragment also the options before the upper layer.
pub fn fragment_data(parsed: &Parsed, frame: &[u8]) -> Option<u16> {
    if parsed.kind == Kind::V4 || parsed.fragment != Fragment::First {
        return (parsed.fragment != Fragment::None).then(|| parsed.l4_len());
    }
    let (mut next, mut at) = (u8_at(frame, usize::from(parsed.l3) + 6), usize::from(parsed.l3) + 40);
    while next != FRAGMENT {
        if at >= usize::from(parsed.l4) {
            return None;
        }
        next = u8_at(frame, at);
        at += 8 + 8 * usize::from(u8_at(frame, at + 1));
    }
    u16::try_from(parsed.ip_end().checked_sub(at + 8)?).ok()
}

impl Chain {
    fn new(protocol: u8, len: usize, fragment: Option<(u16, u32)>) -> Self {
        let (field, id) = fragment.unwrap_or_default();
        let (offset, more_fragments) = (field & 0xFFF8, field & 1 != 0);
        let kind = match (offset, more_fragments) {
            (0, false) => Fragment::None,
            (0, true) => Fragment::First,
            _ => Fragment::Later,
        };
        let fragment_id = if kind == Fragment::None { 0 } else { id };
        Self { protocol, len, fragment: kind, fragment_id, fragment_offset: offset, more_fragments }
    }
}

fn require(header: u8, end: usize, data: &[u8], payload_len: usize) -> Result<(), ExtensionError> {
    if end > payload_len {
        Err(ExtensionError::Truncated(header))
    } else if end > data.len() {
        Err(ExtensionError::NotContiguous(header))
    } else {
        Ok(())
    }
}
