//! Sequence numbers of TCP through NAT, where both directions are seen: what a RST is held against (RFC 5961 3.2).

use crate::lb::connection::flags;
use crate::lb::table::{Entry, Notes};
use crate::wire::parse::{Fragment, Parsed};
use crate::wire::protocol;

/// The numbers of one segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Segment {
    /// Of its first byte.
    pub seq: u32,
    /// What follows its last one, SYN and FIN counted.
    pub end: u32,
    /// What its sender expects next.
    pub ack: u32,
    pub flags: u8,
}

/// How far one segment may be ahead of all before it: whoever forges data must not move the number that a forged RST is
/// held against to where he wants it.
const AHEAD_MAX: u32 = 1 << 20;

impl Segment {
    /// Of a TCP packet that is whole.
    #[inline]
    pub(super) fn of(frame: &[u8], parsed: &Parsed) -> Option<Self> {
        let is_tcp = parsed.protocol == protocol::TCP && parsed.fragment == Fragment::None;
        is_tcp.then(|| Self::at(frame, usize::from(parsed.l4), usize::from(parsed.l4_len()))).flatten()
    }

    /// Of the TCP header at `l4`, with its payload of `len` bytes in all.
    #[inline(always)]
    pub(super) fn at(frame: &[u8], l4: usize, len: usize) -> Option<Self> {
        let header = frame.get(l4..)?.first_chunk::<20>()?;
        let word = |at: usize| u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let (seq, ack, flags) = (word(4), word(8), header[13]);
        let payload = len.saturating_sub(usize::from(header[12] >> 4) * 4) as u32;
        let marks = u32::from(flags & flags::SYN != 0) + u32::from(flags & flags::FIN != 0);
        Some(Self { seq, ack, end: seq.wrapping_add(payload).wrapping_add(marks), flags })
    }

    /// Whether a RST is right: its number is exactly the next one of its direction, by what its sender has sent so far
    /// or by what the other end has said to expect; or it refuses the SYN that the other end has sent (RFC 9293 3.10.7.3).
    pub(super) fn resets<A>(&self, own: &Entry<A>, other: Option<&Entry<A>>) -> bool {
        let sent = own.notes.has(Notes::SENT);
        let is_next = sent && self.seq == own.next;
        let is_expected = other.is_some_and(|other| other.notes.has(Notes::ACKED) && self.seq == other.ack);
        let refuses = !sent
            && self.flags & flags::ACK != 0
            && other.is_some_and(|other| other.notes.has(Notes::SENT) && self.ack == other.next);
        is_next || is_expected || refuses
    }

    /// Notes what a segment says about its direction. `is_opening` as long as a SYN may still come again with another
    /// number.
    #[inline(always)]
    pub(super) fn note<A>(&self, entry: &mut Entry<A>, is_opening: bool) {
        if self.flags & flags::RST != 0 {
            return;
        }
        let begins = self.flags & flags::SYN != 0 && is_opening;
        if entry.notes.has(Notes::TELLS) {
            if begins {
                entry.next = self.seq.wrapping_add(1);
                entry.notes.add(Notes::SENT);
            }
            return self.note_ack(entry, begins);
        }
        let ahead = self.end.wrapping_sub(entry.next);
        if begins || !entry.notes.has(Notes::SENT) || ahead.wrapping_sub(1) < AHEAD_MAX {
            entry.next = self.end;
            entry.notes.add(Notes::SENT);
        }
        self.note_ack(entry, begins);
    }

    #[inline(always)]
    fn note_ack<A>(&self, entry: &mut Entry<A>, begins: bool) {
        if self.flags & flags::ACK != 0 {
            let is_later = (self.ack.wrapping_sub(entry.ack) as i32) > 0;
            if is_later || begins || !entry.notes.has(Notes::ACKED) {
                entry.ack = self.ack;
                entry.notes.add(Notes::ACKED);
            }
        }
    }
}
