//! How far a connection has come, and how long each state may stay idle.

use serde::{Deserialize, Serialize};

/// Which way a packet goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// From the client to the VIP.
    Request,
    /// From the backend to the client; seen in NAT modes only.
    Reply,
}

/// How far a connection has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, Hash)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Phase {
    /// TCP: the client's SYN was seen, its ACK not yet. May be pushed out by newer connections.
    TcpSyn,
    /// TCP: open.
    TcpEstablished,
    /// TCP: a FIN was seen.
    TcpFin,
    /// UDP: packets in one direction only. May be pushed out by newer connections.
    UdpOneway,
    /// UDP: both directions seen, or a second packet where replies do not pass here.
    Udp,
    /// A ping through NAT. May be pushed out by newer connections.
    IcmpEcho,
}

impl Phase {
    /// Number of phases, for per-phase arrays.
    pub const COUNT: usize = 6;
    /// Every phase, in index order.
    pub const ALL: [Phase; Self::COUNT] =
        [Phase::TcpSyn, Phase::TcpEstablished, Phase::TcpFin, Phase::UdpOneway, Phase::Udp, Phase::IcmpEcho];

    /// The word in outputs.
    pub fn label(self) -> &'static str {
        match self {
            Phase::TcpSyn => "syn",
            Phase::TcpEstablished => "established",
            Phase::TcpFin => "fin",
            Phase::UdpOneway => "udp_oneway",
            Phase::Udp => "udp",
            Phase::IcmpEcho => "icmp_echo",
        }
    }

    /// True if a newer connection may take the place of one that came no further.
    #[inline]
    pub fn is_evictable(self) -> bool {
        matches!(self, Phase::TcpSyn | Phase::UdpOneway | Phase::IcmpEcho)
    }
}

/// Phase and direction of an entry, in one byte.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct State(u8);

const REPLY: u8 = 8;

impl State {
    /// Of an entry for packets in `direction`.
    pub fn new(phase: Phase, direction: Direction) -> Self {
        State(phase as u8 | if direction == Direction::Reply { REPLY } else { 0 })
    }

    /// How far the connection has come.
    #[inline]
    pub fn phase(self) -> Phase {
        match self.0 & !REPLY {
            0 => Phase::TcpSyn,
            1 => Phase::TcpEstablished,
            2 => Phase::TcpFin,
            3 => Phase::UdpOneway,
            4 => Phase::Udp,
            _ => Phase::IcmpEcho,
        }
    }

    /// Which packets the entry is for.
    #[inline]
    pub fn direction(self) -> Direction {
        if self.0 & REPLY == 0 { Direction::Request } else { Direction::Reply }
    }

    /// Number of values of [`Self::index`].
    pub const COUNT: usize = 16;

    /// A number for every state, for per-state arrays.
    #[inline(always)]
    pub fn index(self) -> usize {
        usize::from(self.0) % Self::COUNT
    }

    /// The same direction, in another phase.
    #[inline]
    pub fn with_phase(self, phase: Phase) -> Self {
        State(phase as u8 | (self.0 & REPLY))
    }
}

/// Seconds that a connection may stay idle, by phase.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Timeouts([u16; Phase::COUNT]);

impl Timeouts {
    /// Longest timeout; half the range in which deadlines compare rightly is left to the sweep.
    pub const MAX_S: u16 = 32_000;

    /// Values in the order of [`Phase::ALL`], in seconds.
    pub fn new(seconds: [u16; Phase::COUNT]) -> Self {
        // One more, because time is cut to whole seconds: a connection never ends before its time.
        Self(seconds.map(|s| s.min(Self::MAX_S) + 1))
    }

    /// Seconds to add to the present tick.
    #[inline]
    pub fn of(&self, phase: Phase) -> u16 {
        self.0[phase as usize]
    }
}

impl Default for Timeouts {
    /// RFC 5382 REQ-5 and RFC 4787 REQ-5, rounded as `docs/configuration.md` says.
    fn default() -> Self {
        Self::new([30, 7440, 10, 60, 300, 60])
    }
}

/// TCP flag bits that matter here (RFC 9293 3.1).
pub mod flags {
    /// No more data from sender.
    pub const FIN: u8 = 0x01;
    /// Synchronise sequence numbers.
    pub const SYN: u8 = 0x02;
    /// Reset.
    pub const RST: u8 = 0x04;
    /// Acknowledgement is significant.
    pub const ACK: u8 = 0x10;
}

/// The phase after one more TCP packet.
///
/// A RST changes nothing: without sequence tracking its rightness cannot be told (RFC 5961), and an off-path sweep
/// must not end a connection; the idle timeout ends it.
#[inline]
pub fn next_tcp(phase: Phase, direction: Direction, tcp_flags: u8) -> Phase {
    if tcp_flags & flags::RST != 0 {
        return phase;
    }
    match phase {
        // Only the client's ACK shows that its address is real, so only that ends the half-open state.
        Phase::TcpSyn if direction == Direction::Request && tcp_flags & (flags::SYN | flags::ACK) == flags::ACK => {
            if tcp_flags & flags::FIN != 0 {
                Phase::TcpFin
            } else {
                Phase::TcpEstablished
            }
        }
        Phase::TcpEstablished if tcp_flags & (flags::FIN | flags::SYN) == flags::FIN => Phase::TcpFin,
        other => other,
    }
}

/// The phase after one more UDP packet; `replies_pass_here` is true in NAT modes.
#[inline]
pub fn next_udp(phase: Phase, direction: Direction, replies_pass_here: bool) -> Phase {
    if direction == Direction::Reply || !replies_pass_here { Phase::Udp } else { phase }
}

/// True for a packet that asks for a new TCP connection.
#[inline]
pub fn is_syn(tcp_flags: u8) -> bool {
    tcp_flags & (flags::SYN | flags::ACK | flags::RST | flags::FIN) == flags::SYN
}

#[cfg(test)]
mod tests {
    use super::*;
    use flags::*;

    #[test]
    fn handshake_and_close() {
        use Direction::*;
        let mut phase = Phase::TcpSyn;
        for (direction, tcp_flags, expected) in [
            (Request, SYN, Phase::TcpSyn),
            (Reply, SYN | ACK, Phase::TcpSyn),
            (Request, ACK, Phase::TcpEstablished),
            (Reply, ACK, Phase::TcpEstablished),
            (Reply, RST, Phase::TcpEstablished),
            (Request, SYN | FIN, Phase::TcpEstablished),
            (Reply, FIN | ACK, Phase::TcpFin),
            (Request, FIN | ACK, Phase::TcpFin),
            (Request, ACK, Phase::TcpFin),
        ] {
            phase = next_tcp(phase, direction, tcp_flags);
            assert_eq!(phase, expected, "after {direction:?} {tcp_flags:#x}");
        }
    }

    #[test]
    fn state_packs_phase_and_direction() {
        for phase in Phase::ALL {
            for direction in [Direction::Request, Direction::Reply] {
                let state = State::new(phase, direction);
                assert_eq!((state.phase(), state.direction()), (phase, direction));
                assert_eq!(state.with_phase(Phase::TcpFin), State::new(Phase::TcpFin, direction));
            }
        }
    }

    #[test]
    fn only_a_bare_syn_opens() {
        assert!(is_syn(SYN));
        assert!(is_syn(SYN | 0xc0), "ECN-setup SYN (RFC 3168 6.1.1)");
        for other in [SYN | ACK, SYN | FIN, SYN | RST, ACK, FIN, RST, 0] {
            assert!(!is_syn(other), "{other:#x}");
        }
    }

    #[test]
    fn timeouts_never_end_early() {
        assert_eq!(Timeouts::default().of(Phase::TcpFin), 11);
        assert_eq!(Timeouts::new([u16::MAX; 6]).of(Phase::Udp), Timeouts::MAX_S + 1);
    }
}
