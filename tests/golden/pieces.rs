//! A packet that comes out in fragments, put together again.

use crate::oracle::{rule, same};
use crate::packet::fix_header;

/// A frame without what differs from start to start: the identification of what is or may be in fragments, with `drawn` of every
/// IPv4 packet, since what comes from IPv6 has one that is drawn; and the checksum over it.
pub fn without_identification(frame: &[u8], drawn: bool) -> Vec<u8> {
    let mut frame = frame.to_vec();
    match frame[12..14] {
        [8, 0] if drawn || frame[20] & 0x40 == 0 => {
            frame[18..20].fill(0);
            frame[24..26].fill(0);
        }
        [0x86, 0xdd] if frame[20] == 44 => frame[58..62].fill(0),
        _ => {}
    }
    frame
}

/// The frame that these are the fragments of, each with what a fragment has.
pub fn whole(pieces: &[&Vec<u8>]) -> Result<Vec<u8>, String> {
    let first = pieces.first().ok_or("nothing came out")?;
    let v4 = first[12..14] == [8, 0];
    let start = if v4 { 34 } else { 62 };
    let (mut data, mut id) = (Vec::<u8>::new(), None);
    for (number, piece) in pieces.iter().enumerate() {
        rule(piece.len() > start && piece.len() <= 1514, "a piece of a wrong length")?;
        let (field, this_id) = match v4 {
            true => (u16::from_be_bytes([piece[20], piece[21]]), piece[18..20].to_vec()),
            false => (u16::from_be_bytes([piece[56], piece[57]]), piece[58..62].to_vec()),
        };
        let (offset, more) = if v4 { ((field & 0x1fff) * 8, field >> 13) } else { (field & 0xfff8, field & 7) };
        same("a piece's offset", usize::from(offset), data.len())?;
        same("a piece's flags", more, u16::from(number + 1 < pieces.len()))?;
        same("a piece's identification", &this_id, id.get_or_insert(this_id.clone()))?;
        data.extend(&piece[start..]);
    }
    let mut frame = first[..if v4 { 34 } else { 54 }].to_vec();
    if v4 {
        frame[16..18].copy_from_slice(&(20 + data.len() as u16).to_be_bytes());
        frame[20..22].fill(0);
        fix_header(&mut frame[14..34]);
    } else {
        same("the fragments' next header", first[20], 44)?;
        frame[20] = first[54];
        frame[18..20].copy_from_slice(&(data.len() as u16).to_be_bytes());
    }
    frame.extend(data);
    Ok(frame)
}
