//! How far a TCP connection through NAT has come, of which both directions are seen here.

use super::At;
use super::family::Family;
use super::segment::Segment;
use crate::lb::connection::{Direction, Phase, flags, next_tcp};
use crate::lb::table::{Entry, Notes, Slot};
use crate::wire::parse::Parsed;

/// The phase after one more TCP packet where both directions are seen, whose numbers are noted.
#[inline]
pub(super) fn next_seen<A: Family>(at: &mut At, frame: &[u8], parsed: &Parsed, slot: Slot, entry: &Entry<A>) -> Phase {
    let (phase, direction) = (entry.state.phase(), entry.state.direction());
    let table = A::table_mut(at.shard);
    let Some(segment) = Segment::of(frame, parsed) else { return phase };
    if parsed.tcp_flags & flags::RST != 0 {
        // What is not right is forwarded all the same: its receiver knows better.
        if !segment.resets(entry, table.entry(entry.pair)) {
            return phase;
        }
        if phase == Phase::TcpSyn {
            first_word(at, entry, true);
        }
        return Phase::TcpFin;
    }
    if let Some(entry) = table.entry_mut(slot) {
        segment.note(entry, phase == Phase::TcpSyn);
    }
    if phase == Phase::TcpSyn {
        first_word(at, entry, false);
    }
    next_tcp(phase, direction, parsed.tcp_flags)
}

/// Counts the first that a backend says to a client's SYN; `entry` is as it was before.
#[inline(never)]
fn first_word<A: Family>(at: &At, entry: &Entry<A>, refuses: bool) {
    if entry.state.direction() == Direction::Reply
        && !entry.notes.has(Notes::SENT)
        && let Some(handshakes) = at.shard.counters.handshakes(entry.backend)
    {
        let counter = if refuses { &handshakes.refused } else { &handshakes.answered };
        counter.add(1);
    }
}
