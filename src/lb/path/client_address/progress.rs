//! How far a connection's PROXY header has come, and what that means for a segment.

use super::Refused;
use crate::wire::parse::{Fragment, Parsed};
use crate::wire::protocol;
use crate::wire::tcp::{TcpPacket, flags};

/// How far the header has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(u8)]
pub enum Stage {
    /// No segment has carried it yet.
    #[default]
    Unsent = 0,
    /// It was sent; whether it arrived is not known.
    Sent = 1,
    /// The backend has acknowledged all of it. Final.
    Taken = 2,
}

/// What a connection has to remember of its header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Progress {
    /// How far the header has come.
    pub stage: Stage,
    /// Sequence number of the client's first byte, one more than that of its SYN; without meaning once the header is taken.
    pub first: u32,
}

/// What matters of a TCP segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Segment {
    /// Sequence number.
    pub seq: u32,
    /// Bytes of data.
    pub data_len: u32,
    /// The flags byte, see [`flags`].
    pub flags: u8,
}

/// What is to be done with a client's segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// Nothing.
    Plain,
    /// Its data is to be taken away.
    Bare,
    /// Its sequence number grows by the header's length.
    Shift,
    /// The header goes before its data; the sequence number stays.
    Insert,
    /// It must not reach the backend.
    Refuse {
        /// How many bytes of it lie where the header belongs, or behind.
        beyond: u32,
    },
}

impl Segment {
    /// Of a parsed frame.
    ///
    /// # Errors
    /// [`Refused::NotTcp`], [`Refused::NotContiguous`].
    pub fn of(frame: &[u8], parsed: &Parsed) -> Result<Self, Refused> {
        if parsed.protocol != protocol::TCP || parsed.fragment != Fragment::None {
            return Err(Refused::NotTcp(parsed.protocol));
        }
        let bytes = frame.get(usize::from(parsed.l4)..).unwrap_or_default();
        let tcp = TcpPacket::new_checked(bytes).map_err(|_| Refused::NotContiguous(frame.len()))?;
        let data_len = usize::from(parsed.l4_len()).saturating_sub(tcp.header_len()) as u32;
        Ok(Self { seq: tcp.seq(), data_len, flags: tcp.flags() })
    }

    /// How many sequence numbers it takes beside SYN.
    fn span(self) -> u32 {
        self.data_len + u32::from(self.flags & flags::FIN != 0)
    }
}

impl Progress {
    /// Of a connection that begins with this SYN.
    pub fn new(syn_seq: u32) -> Self {
        Self { stage: Stage::Unsent, first: syn_seq.wrapping_add(1) }
    }

    /// What is to be done with a segment of the client's.
    pub fn request(&self, segment: Segment) -> Action {
        // A SYN comes before every byte, those of the header among them.
        if segment.flags & flags::SYN != 0 {
            return Action::Bare;
        }
        if self.stage == Stage::Taken {
            return Action::Shift;
        }
        let offset = segment.seq.wrapping_sub(self.first) as i32;
        // A RST carries no stream. It counts only if its number is the one that the backend expects next (RFC 5961
        // section 3.2), so it goes by whether the header is likely to be there.
        if segment.flags & flags::RST != 0 {
            let is_behind = offset > 0 || offset == 0 && self.stage == Stage::Sent;
            return if is_behind { Action::Shift } else { Action::Plain };
        }
        match offset {
            1.. => Action::Shift,
            0 => Action::Insert,
            // Probes repeat old numbers (RFC 9293 section 3.8.4) with at most a byte that is old as well.
            _ => match (i64::from(offset) + i64::from(segment.span())).try_into() {
                Ok(beyond @ 1..) => Action::Refuse { beyond },
                _ => Action::Plain,
            },
        }
    }

    /// Notes that the header has left.
    pub fn header_was_sent(&mut self) {
        if self.stage == Stage::Unsent {
            self.stage = Stage::Sent;
        }
    }

    /// Notes what a segment of the backend's acknowledges, and returns the number below which no acknowledgment may get on its
    /// way to the client.
    pub fn reply(&mut self, tcp_flags: u8, ack: u32, header_len: u32) -> Option<u32> {
        // A backend that answers a SYN has nothing yet, whatever it had: it may have been started anew, or the client have begun
        // again with another number.
        let answers_syn = tcp_flags & (flags::SYN | flags::ACK) == flags::SYN | flags::ACK;
        if answers_syn && (self.stage == Stage::Taken || ack != self.first) {
            *self = Self { stage: Stage::Unsent, first: ack };
        }
        if self.stage == Stage::Taken {
            return None;
        }
        // Whatever is acknowledged beyond the first byte began with the header, since nothing else gets there.
        if tcp_flags & flags::ACK != 0 && ack.wrapping_sub(self.first) as i32 >= header_len as i32 {
            self.stage = Stage::Taken;
        }
        Some(self.first)
    }

    /// Whether the TCP option is to go with a segment of the client's: with each that may complete the handshake, because
    /// that is the one that a TOA module reads, until the backend has shown that it has completed it.
    pub fn wants_option(&self, tcp_flags: u8) -> bool {
        self.stage != Stage::Taken && tcp_flags & (flags::ACK | flags::SYN | flags::RST) == flags::ACK
    }

    /// Notes whether a segment of the backend's shows that its side of the handshake is complete: it sends or acknowledges
    /// data. An empty acknowledgment may as well come from a socket that is still waiting.
    pub fn reply_to_option(&mut self, segment: Segment, ack: u32) {
        let is_ack = segment.flags & (flags::ACK | flags::SYN | flags::RST) == flags::ACK;
        if is_ack && (segment.span() > 0 || ack.wrapping_sub(self.first) as i32 > 0) {
            self.stage = Stage::Taken;
        }
    }
}
