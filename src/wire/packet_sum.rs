//! The sum of a whole IP packet, worked out from the checksum that it carries instead of from all of its bytes.

use super::bytes::{array, u8_at, u16_at};
use super::checksum;
use super::protocol::{TCP, UDP};

/// The one's complement sum of an IP packet of `len` bytes, of which `packet` holds the first; `None` if it can only be had by
/// adding up bytes that are not in `packet`.
///
/// A right TCP or UDP checksum makes the transport part add up to the complement of its pseudo-header, so that a few words of
/// headers tell the sum of all. A wrong one makes the result wrong by the same amount.
pub fn packet_sum(packet: &[u8], len: usize) -> Option<u32> {
    from_checksum(packet, len).or_else(|| packet.get(..len).map(checksum::sum))
}

fn from_checksum(packet: &[u8], len: usize) -> Option<u32> {
    let (header, protocol) = match u8_at(packet, 0) {
        0x45 if u16_at(packet, 6) & 0x3FFF == 0 => (packet.first_chunk::<20>()?.as_slice(), u8_at(packet, 9)),
        first if first >> 4 == 6 => (packet.first_chunk::<40>()?.as_slice(), u8_at(packet, 6)),
        _ => return None,
    };
    let data_len = u16::try_from(len.checked_sub(header.len())?).ok()?;
    let is_covered = match protocol {
        TCP => true,
        // Nothing is known where there is no checksum, nor of bytes behind those that it covers.
        UDP => {
            let [udp_len, check] = [u16_at(packet, header.len() + 4), u16_at(packet, header.len() + 6)];
            udp_len == data_len && check != 0
        }
        _ => false,
    };
    if !is_covered || packet.len() < header.len() + 8 {
        return None;
    }
    if header.len() == 20 {
        // A right IPv4 header adds up to nothing.
        let (src, dst) = (array::<4>(packet, 12).into(), array::<4>(packet, 16).into());
        return Some(checksum::finish(checksum::pseudo_v4(src, dst, protocol, data_len)).into());
    }
    // The addresses are in the header and in the pseudo-header, so they cancel out.
    let start = checksum::sum(header.get(..8)?);
    Some(checksum::combine(start, checksum::finish(u32::from(protocol) + u32::from(data_len)).into()))
}
