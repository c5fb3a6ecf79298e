//! Cuts a frame that is too long for its port into fragments (RFC 791 3.2, RFC 8200 4.5).
//!
//! The packet path allocates nothing, so it only says that a frame is to be sent in pieces; whoever holds the buffers asks here
//! what goes into each.

use std::ops::Range;

use crate::wire::checksum;
use crate::wire::ethernet::{EtherType, HEADER_LEN as ETHERNET_LEN, TAG_LEN};
use crate::wire::protocol;

const IP4_LEN: usize = 20;
const IP6_LEN: usize = 40;
/// IPv6's fragment header.
const FRAGMENT_LEN: usize = 8;
/// Longest header of a piece in bytes.
pub const HEADER_MAX: usize = ETHERNET_LEN + TAG_LEN + IP6_LEN + FRAGMENT_LEN;
/// Most pieces of one frame: what a port takes in is at most 9,600 bytes, and the smallest MTU is 576.
pub const PIECES_MAX: usize = 32;

const MORE_FRAGMENTS: u16 = 0x2000;
const DONT_FRAGMENT: u16 = 0x4000;
const OFFSET: u16 = 0x1fff;

/// The fragments of one frame, in order.
#[derive(Clone, Debug)]
pub struct Pieces {
    header: [u8; HEADER_MAX],
    l3: usize,
    is_v4: bool,
    /// What is left of the frame's data.
    left: Range<usize>,
    /// Where the data begins.
    start: usize,
    /// Data of every piece but the last: a multiple of 8 bytes.
    step: usize,
    /// The frame's own place in a larger packet, if it is a fragment itself: in units of 8 bytes, and whether more follows.
    offset: u16,
    more: bool,
}

/// One fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    header: [u8; HEADER_MAX],
    header_len: usize,
    /// What of the frame follows its header.
    pub data: Range<usize>,
}

impl Piece {
    /// The Ethernet and IP headers.
    pub fn header(&self) -> &[u8] {
        self.header.get(..self.header_len).unwrap_or_default()
    }
}

/// Whether a frame of `frame_len` bytes carries more than a port with this MTU takes.
pub fn is_too_long(frame: &[u8], frame_len: usize, mtu: u16) -> bool {
    frame_len > l3_of(frame) + usize::from(mtu)
}

fn ethertype(frame: &[u8], at: usize) -> EtherType {
    EtherType(frame.get(at..).and_then(|tail| tail.first_chunk()).map_or(0, |bytes| u16::from_be_bytes(*bytes)))
}

fn l3_of(frame: &[u8]) -> usize {
    if ethertype(frame, ETHERNET_LEN - 2).is_tag() { ETHERNET_LEN + TAG_LEN } else { ETHERNET_LEN }
}

impl Pieces {
    /// The fragments for a port with this MTU, in bytes. `frame` is the first part of the frame, with its headers; `id` is the
    /// identification of IPv6 fragments, those of IPv4 have the packet's own.
    ///
    /// `None` if it cannot be cut: it is neither IPv4 without options and DF, nor IPv6 without extension headers.
    pub fn new(frame: &[u8], mtu: u16, id: u32) -> Option<Self> {
        let l3 = l3_of(frame);
        let is_v4 = match ethertype(frame, l3 - 2) {
            EtherType::IPV4 => true,
            EtherType::IPV6 => false,
            _ => return None,
        };
        let ip_len = if is_v4 { IP4_LEN } else { IP6_LEN };
        let mut header = [0; HEADER_MAX];
        header.get_mut(..l3 + ip_len)?.copy_from_slice(frame.get(..l3 + ip_len)?);
        let ip = header.get_mut(l3..)?;
        let word = |at: usize| u16::from_be_bytes([ip[at], ip[at + 1]]);
        let (start, step) = (l3 + ip_len, usize::from(mtu).checked_sub(ip_len)?);
        let (mut offset, mut more) = (0, false);
        let (end, step) = if is_v4 {
            let field = word(6);
            if ip[0] != 0x45 || field & DONT_FRAGMENT != 0 {
                return None;
            }
            (offset, more) = (field & OFFSET, field & MORE_FRAGMENTS != 0);
            (l3 + usize::from(word(2)), step & !7)
        } else {
            let end = start + usize::from(word(4));
            if ip[6] == protocol::FRAGMENT {
                return None;
            }
            ip[IP6_LEN] = std::mem::replace(&mut ip[6], protocol::FRAGMENT);
            ip[IP6_LEN + 4..IP6_LEN + 8].copy_from_slice(&id.to_be_bytes());
            (end, step.checked_sub(FRAGMENT_LEN)? & !7)
        };
        (step > 0 && end > start).then_some(Self { header, l3, is_v4, left: start..end, start, step, offset, more })
    }
}

impl Iterator for Pieces {
    type Item = Piece;

    fn next(&mut self) -> Option<Piece> {
        if self.left.is_empty() {
            return None;
        }
        let data = self.left.start..self.left.end.min(self.left.start + self.step);
        self.left.start = data.end;
        let offset = self.offset + ((data.start - self.start) / 8) as u16;
        let more = self.more || !self.left.is_empty();
        let mut header = self.header;
        let ip = header.get_mut(self.l3..)?;
        let header_len = if self.is_v4 {
            let field = offset | if more { MORE_FRAGMENTS } else { 0 };
            ip[2..4].copy_from_slice(&((IP4_LEN + data.len()) as u16).to_be_bytes());
            ip[6..8].copy_from_slice(&field.to_be_bytes());
            ip[10..12].copy_from_slice(&[0, 0]);
            let check = checksum::checksum(&ip[..IP4_LEN]);
            ip[10..12].copy_from_slice(&check.to_be_bytes());
            self.l3 + IP4_LEN
        } else {
            let field = offset << 3 | u16::from(more);
            ip[4..6].copy_from_slice(&((FRAGMENT_LEN + data.len()) as u16).to_be_bytes());
            ip[IP6_LEN + 2..IP6_LEN + 4].copy_from_slice(&field.to_be_bytes());
            self.l3 + IP6_LEN + FRAGMENT_LEN
        };
        Some(Piece { header, header_len, data })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lb::testing::{Frame, checksums_are_right, internet_checksum};
    use crate::wire::parse::{Fragment, parse};
    use proptest::prelude::*;

    /// The frames of all pieces.
    pub fn cut(frame: &[u8], mtu: u16, id: u32) -> Option<Vec<Vec<u8>>> {
        let pieces = Pieces::new(frame, mtu, id)?;
        Some(pieces.map(|piece| [piece.header(), &frame[piece.data.clone()]].concat()).collect())
    }

    proptest! {
        #[test]
        fn pieces_fit_and_are_the_packet_again_when_put_together(
            v6: bool, vlan in prop::option::of(1u16..4095), len in 0usize..9000, mtu in 576u16..2000, id: u32,
        ) {
            let (src, dst) = if v6 { ("[2001:db8::7]:1", "[2001:db8::1]:2") } else { ("198.51.100.7:1", "192.0.2.1:2") };
            let payload = (0..len).map(|n| (n * 7) as u8).collect();
            let frame = Frame::udp(src, dst).with(|f| (f.df, f.id, f.vlan, f.payload) = (false, 77, vlan.into_iter().collect(), payload));
            let l3 = 14 + 4 * frame.vlan.len();
            let (frame, packet) = (frame.build(), frame.packet());
            let pieces = cut(&frame, mtu, id).unwrap();
            prop_assert_eq!(is_too_long(&frame, frame.len(), mtu), packet.len() > usize::from(mtu));
            prop_assert!(pieces.len() <= PIECES_MAX);
            let header_len = if v6 { 40 } else { 20 };
            let mut data: Vec<u8> = Vec::new();
            for (n, piece) in pieces.iter().enumerate() {
                prop_assert_eq!(&piece[..l3], &frame[..l3]);
                prop_assert!(!is_too_long(piece, piece.len(), mtu));
                // Ports are looked for in the first one, which is long enough for them.
                let parsed = parse(piece, piece.len()).unwrap();
                let is_last = n + 1 == pieces.len();
                if v6 || pieces.len() > 1 {
                    prop_assert_eq!(parsed.more_fragments, !is_last);
                    prop_assert_eq!(usize::from(parsed.fragment_offset), data.len());
                    let wanted = match (n, is_last) { (0, true) => Fragment::None, (0, _) => Fragment::First, _ => Fragment::Later };
                    prop_assert_eq!(parsed.fragment, wanted);
                    prop_assert_eq!(parsed.fragment_id, match (v6, wanted) { (_, Fragment::None) => 0, (true, _) => id, _ => 77 });
                }
                let at = l3 + header_len + if v6 { 8 } else { 0 };
                if !v6 {
                    prop_assert_eq!(internet_checksum(&[&piece[l3..l3 + 20]]), 0);
                }
                data.extend(&piece[at..]);
            }
            prop_assert_eq!(&data[..], &packet[header_len..]);
            if pieces.len() == 1 && !v6 {
                checksums_are_right(&pieces[0]);
            }
        }
    }

    #[test]
    fn a_fragment_is_cut_into_fragments_of_its_packet() {
        let whole = Frame::udp("198.51.100.7:1", "192.0.2.1:2")
            .with(|f| (f.fragment, f.payload) = (0x2000 | 100, vec![5; 1472]));
        let pieces = cut(&whole.build(), 1000, 0).unwrap();
        let fields: Vec<_> = pieces.iter().map(|p| u16::from_be_bytes([p[20], p[21]])).collect();
        assert_eq!(fields, [0x2000 | 100, 0x2000 | (100 + 976 / 8)]);
    }

    #[test]
    fn what_cannot_be_cut_is_left_alone() {
        let frame = Frame::udp("198.51.100.7:1", "192.0.2.1:2");
        assert!(cut(&frame.build(), 576, 0).is_none(), "DF");
        assert!(cut(&frame.clone().with(|f| (f.df, f.options) = (false, (0, vec![1; 4]))).build(), 576, 0).is_none());
        assert!(cut(&frame.clone().with(|f| f.df = false).build(), 27, 0).is_none(), "not even 8 bytes fit");
        assert!(cut(&[0; 60], 576, 0).is_none());
        assert!(cut(&[], 576, 0).is_none());
    }
}
