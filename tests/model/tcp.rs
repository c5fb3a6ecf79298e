//! The states of a connection, and what moves it from one to the next.

use crate::packet::{ACK, FIN, RST, SYN};
use crate::read::{Ip, word};
use crate::world::Idle;

/// Whether NAT, which sees both directions, believes a RST whose sequence number is exactly the next one (RFC 5961 3.2).
/// Without it a RST changes nothing.
pub const RST_IS_CHECKED: bool = false;

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

/// What is known of one side's sequence numbers.
#[derive(Clone, Copy, Default, Debug)]
struct Side {
    /// Behind the last byte that it has sent in order.
    end: Option<u32>,
    /// What the other side has acknowledged of it.
    acknowledged: Option<u32>,
}

/// What both sides have sent.
#[derive(Clone, Copy, Default, Debug)]
pub struct Sequences {
    client: Side,
    server: Side,
    /// Whether the backend has answered the SYN.
    is_answered: bool,
}

impl Sequences {
    /// The phase after one more TCP packet; `sees_replies` where both directions pass here.
    pub fn after(&mut self, phase: Phase, direction: Direction, ip: &Ip, sees_replies: bool) -> Phase {
        let flags = ip.tcp_flags();
        if flags & RST != 0 {
            let ends = RST_IS_CHECKED && sees_replies && self.believes(direction, ip);
            return if ends { Phase::Fin } else { phase };
        }
        self.note(direction, ip);
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

    /// Whether a RST is of the side that it claims to be of.
    fn believes(&self, direction: Direction, ip: &Ip) -> bool {
        let (own, other) = match direction {
            Direction::Request => (self.client, self.server),
            Direction::Reply => (self.server, self.client),
        };
        let _ = other;
        let refuses_syn = direction == Direction::Reply && !self.is_answered && ip.tcp_flags() & ACK != 0;
        if refuses_syn {
            return self.client.end == Some(number(ip, 8));
        }
        let at = Some(number(ip, 4));
        own.end == at || own.acknowledged == at
    }

    fn note(&mut self, direction: Direction, ip: &Ip) {
        let (flags, at) = (ip.tcp_flags(), number(ip, 4));
        let header = usize::from(ip.upper()[12] >> 4) * 4;
        let counted = (flags & SYN != 0) as u32 + (flags & FIN != 0) as u32;
        let end = at.wrapping_add((ip.upper().len() - header) as u32).wrapping_add(counted);
        let (own, other) = match direction {
            Direction::Request => (&mut self.client, &mut self.server),
            Direction::Reply => (&mut self.server, &mut self.client),
        };
        if flags & SYN != 0 || own.end.is_none_or(|expected| expected == at) {
            own.end = Some(end);
        }
        if flags & ACK != 0 {
            other.acknowledged = Some(number(ip, 8));
        }
        self.is_answered |= direction == Direction::Reply && flags & (SYN | ACK) == SYN | ACK;
    }
}

/// The 32 bits at `at` of the TCP header.
fn number(ip: &Ip, at: usize) -> u32 {
    (word(ip.upper(), at) as u32) << 16 | word(ip.upper(), at + 2) as u32
}
