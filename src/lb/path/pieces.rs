//! Frames in several pieces: brings together what has to lie in one to be read.

use crate::lb::packet::Packet;
use crate::wire::ethernet::{HEADER_LEN, TAG_LEN};
use crate::wire::parse::{EXTENSION_BYTES_MAX, TAGS_MAX, parse};
use crate::wire::protocol;

/// All headers that are walked: tags, IPv6 with its extensions, which is longer than IPv4 with options, and the longest
/// TCP header.
const HEADERS_MAX: usize = HEADER_LEN + TAG_LEN * TAGS_MAX as usize + 40 + EXTENSION_BYTES_MAX + 60;

/// Brings all headers into the first piece, and with them a whole message where more than its header is looked at. Where
/// the buffer has no room for that, the packet is dropped later, by whoever misses the bytes.
#[cold]
pub(super) fn gather<P: Packet>(packet: &mut P) {
    let mut parsed = parse(packet.bytes(), packet.frame_len());
    if parsed.is_err() && packet.pull(HEADERS_MAX) {
        parsed = parse(packet.bytes(), packet.frame_len());
    }
    let Ok(parsed) = parsed else { return };
    let l4 = usize::from(parsed.l4);
    match parsed.protocol {
        // With its options.
        protocol::TCP => {
            let words = packet.bytes().get(l4 + 12).map_or(0, |at| usize::from(at >> 4));
            packet.pull(l4 + 4 * words)
        }
        protocol::UDP => true,
        // The checksum of a message covers all of it, and an error's quote may be long.
        _ => packet.pull(parsed.ip_end()),
    };
}
