//! The states of a connection, and what moves it from one to the next.

use crate::packet::{ACK, FIN, RST, SYN};
use crate::read::{Ip, word};
use crate::world::Idle;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    Syn,
    Established,
    Fin,
    UdpOneway,
    Udp,
}

impl Phase {
    pub fn idle_s(self, idle: &Idle) -> u64 {
        match self {
            Phase::Syn => idle.syn,
            Phase::Established => idle.established,
            Phase::Fin => idle.fin,
            Phase::UdpOneway => idle.udp_oneway,
            Phase::Udp => idle.udp,
        }
    }
}

/// Which way a packet goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// From the client.
    Request,
    /// From the backend; seen in NAT modes alone.
    Reply,
}

/// True for a SYN that asks for a new connection.
pub fn is_syn(flags: u8) -> bool {
    flags & (SYN | ACK | RST | FIN) == SYN
}

/// True for a packet out of the middle of a connection.
pub fn is_middle(flags: u8) -> bool {
    flags & (SYN | ACK | RST | FIN) == ACK
}

/// The phase after one more UDP packet. Where replies do not pass here, a second packet is all that shows life.
pub fn after_udp(phase: Phase, direction: Direction, sees_replies: bool) -> Phase {
    if direction == Direction::Reply || !sees_replies { Phase::Udp } else { phase }
}

/// How far one segment may be ahead of all before it to be believed: a forged one must not move the mark for forged RSTs.
const AHEAD_MAX: u32 = 1 << 20;

/// What one side has said.
#[derive(Clone, Copy, Default, Debug)]
struct Side {
    /// The number that follows what it has sent.
    next: Option<u32>,
    /// The number that it expects of the other side.
    expects: Option<u32>,
}

/// What both sides have said.
#[derive(Clone, Copy, Default, Debug)]
pub struct Sequences {
    client: Side,
    server: Side,
}

impl Sequences {
    /// The phase after one more TCP packet; `sees_replies` where both directions pass here.
    pub fn after(&mut self, phase: Phase, direction: Direction, ip: &Ip, sees_replies: bool) -> Phase {
        let flags = ip.tcp_flags();
        // A fragment does not have all that a state could be told by.
        if ip.is_fragment && sees_replies {
            return phase;
        }
        if flags & RST != 0 {
            // One that is not right is sent on as well: its receiver knows better (rule 19).
            return if sees_replies && self.is_right(direction, ip) { Phase::Fin } else { phase };
        }
        if !ip.is_fragment {
            self.note(phase, direction, ip);
        }
        match phase {
            // Only the client's ACK shows that its address is real (rule 33).
            Phase::Syn if direction == Direction::Request && flags & (SYN | ACK) == ACK => {
                if flags & FIN != 0 {
                    Phase::Fin
                } else {
                    Phase::Established
                }
            }
            Phase::Established if flags & (FIN | SYN) == FIN => Phase::Fin,
            other => other,
        }
    }

    /// Whether a RST has exactly the next number of its side, or refuses the other side's SYN (RFC 5961 3.2).
    fn is_right(&self, direction: Direction, ip: &Ip) -> bool {
        let (own, other) = match direction {
            Direction::Request => (self.client, self.server),
            Direction::Reply => (self.server, self.client),
        };
        let at = number(ip, 4);
        let refuses = own.next.is_none() && ip.tcp_flags() & ACK != 0 && other.next == Some(number(ip, 8));
        own.next == Some(at) || other.expects == Some(at) || refuses
    }

    fn note(&mut self, phase: Phase, direction: Direction, ip: &Ip) {
        let flags = ip.tcp_flags();
        let data = ip.upper().len() - usize::from(ip.upper()[12] >> 4) * 4;
        let marks = u32::from(flags & SYN != 0) + u32::from(flags & FIN != 0);
        let end = number(ip, 4).wrapping_add(data as u32).wrapping_add(marks);
        // Until the connection is open, a SYN may come again under another number.
        let begins = flags & SYN != 0 && phase == Phase::Syn;
        let own = if direction == Direction::Request { &mut self.client } else { &mut self.server };
        let goes_on = |next: u32| (1..=AHEAD_MAX).contains(&end.wrapping_sub(next));
        if begins || own.next.is_none_or(goes_on) {
            own.next = Some(end);
        }
        let acknowledges = number(ip, 8);
        let is_later = |before: u32| (1..1 << 31).contains(&acknowledges.wrapping_sub(before));
        if flags & ACK != 0 && (begins || own.expects.is_none_or(is_later)) {
            own.expects = Some(acknowledges);
        }
    }
}

/// The 32 bits at `at` of the TCP header.
fn number(ip: &Ip, at: usize) -> u32 {
    (word(ip.upper(), at) as u32) << 16 | word(ip.upper(), at + 2) as u32
}
