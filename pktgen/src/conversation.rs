//! What the client's side of a TCP connection sends, segment by segment.

use crate::rng::hash;
use tidegate::wire::tcp::flags::{ACK, FIN, PSH, SYN};

/// What the flows of TCP traffic do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Kind {
    /// SYNs only, as a flood: a flow that comes again repeats its SYN.
    Syn,
    /// Data segments of connections whose start nobody has seen.
    Established,
    /// Whole connections: SYN, ACK, data, FIN, ACK; then the flow opens its next connection from the same port.
    #[default]
    Handshake,
    /// Of ten flows one is `syn`, three are `handshake` and six are `established`.
    Mixed,
}

impl Kind {
    /// The kind of one flow: itself, unless it is mixed.
    #[must_use]
    pub const fn of_flow(self, flow: u32) -> Self {
        match (self, flow % 10) {
            (Self::Mixed, 0) => Self::Syn,
            (Self::Mixed, 1..=3) => Self::Handshake,
            (Self::Mixed, _) => Self::Established,
            (kind, _) => kind,
        }
    }

    /// Segments of a flow until it begins anew, the longest kind of flow if they are mixed.
    #[must_use]
    pub const fn segments(self, data_segments: u32) -> u64 {
        match self {
            Self::Syn | Self::Established => 1,
            Self::Handshake | Self::Mixed => data_segments as u64 + 4,
        }
    }
}

/// The fields of a segment, apart from its ports and data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Sequence number of the first byte.
    pub seq: u32,
    /// Acknowledgement number, 0 in a SYN.
    pub ack: u32,
    /// TCP flags.
    pub flags: u8,
    /// Whether it carries data.
    pub has_data: bool,
}

impl Segment {
    /// Whether this segment opens a connection.
    #[must_use]
    pub const fn is_syn(&self) -> bool {
        self.flags & SYN != 0
    }

    /// The sequence number behind this segment with `data_len` bytes of data (SYN and FIN count as one each).
    #[must_use]
    pub const fn next_seq(&self, data_len: u32) -> u32 {
        let syn_or_fin = (self.flags & (SYN | FIN) != 0) as u32;
        self.seq.wrapping_add(syn_or_fin).wrapping_add(data_len)
    }
}

/// The connections of all flows.
#[derive(Debug, Clone, Copy)]
pub struct Conversation {
    /// What the flows do.
    pub kind: Kind,
    /// Data segments in each connection of kind [`Kind::Handshake`].
    pub data_segments: u32,
    /// Decides the initial sequence numbers.
    pub seed: u64,
}

impl Conversation {
    /// The segment that flow `flow` sends as its number `count`, from 0. `next_seq` is what
    /// [`Segment::next_seq`] gave for the one before.
    #[must_use]
    pub fn segment(&self, flow: u32, count: u64, next_seq: u32) -> Segment {
        let kind = self.kind.of_flow(flow);
        let (connection, step) = match kind {
            Kind::Syn | Kind::Established => (0, count),
            Kind::Handshake | Kind::Mixed => {
                (count / kind.segments(self.data_segments), count % kind.segments(self.data_segments))
            }
        };
        let initial = hash(hash(self.seed, u64::from(flow)), connection);
        let (client_initial, server_initial) = (initial as u32, (initial >> 32) as u32);
        // The server sends no data: its SYN is the one byte to acknowledge, and its FIN in the end another.
        let ack = server_initial.wrapping_add(1);
        let syn = Segment { seq: client_initial, ack: 0, flags: SYN, has_data: false };
        let segment = |flags, has_data| Segment { seq: next_seq, ack, flags, has_data };
        let data_segments = u64::from(self.data_segments);
        match kind {
            Kind::Syn => Segment { has_data: true, ..syn },
            Kind::Established if step == 0 => Segment { seq: client_initial, ..segment(PSH | ACK, true) },
            Kind::Established => segment(PSH | ACK, true),
            Kind::Handshake | Kind::Mixed => match step {
                0 => syn,
                1 => segment(ACK, false),
                step if step < 2 + data_segments => segment(PSH | ACK, true),
                step if step == 2 + data_segments => segment(FIN | ACK, false),
                _ => Segment { ack: ack.wrapping_add(1), ..segment(ACK, false) },
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first segments of flow 1, each with 100 bytes if it has data.
    fn segments(kind: Kind, data_segments: u32, count: u64) -> Vec<Segment> {
        let conversation = Conversation { kind, data_segments, seed: 5 };
        let mut next_seq = 0;
        let step = |number| {
            let segment = conversation.segment(1, number, next_seq);
            next_seq = segment.next_seq(if segment.has_data { 100 } else { 0 });
            segment
        };
        (0..count).map(step).collect()
    }

    #[test]
    fn a_handshake_is_what_a_client_sends() {
        let found = segments(Kind::Handshake, 2, 7);
        let (seq, ack) = (found[0].seq, found[1].ack);
        let relative: Vec<_> = found[..6]
            .iter()
            .map(|s| (s.flags, s.seq.wrapping_sub(seq), s.ack.wrapping_sub(ack), s.has_data))
            .collect();
        let syn_ack = 0_u32.wrapping_sub(ack);
        assert_eq!(
            relative,
            [
                (SYN, 0, syn_ack, false),
                (ACK, 1, 0, false),
                (PSH | ACK, 1, 0, true),
                (PSH | ACK, 101, 0, true),
                (FIN | ACK, 201, 0, false),
                (ACK, 202, 1, false),
            ]
        );
        assert_eq!((found[6].flags, found[6].ack), (SYN, 0));
        assert_ne!(found[6].seq, seq, "the next connection has a sequence number of its own");
    }

    #[test]
    fn established_flows_go_on_and_syn_flows_repeat() {
        let found = segments(Kind::Established, 1, 3);
        assert!(found.iter().all(|segment| segment.flags == PSH | ACK && segment.ack == found[0].ack));
        assert_eq!(found[2].seq.wrapping_sub(found[0].seq), 200);
        let found = segments(Kind::Syn, 1, 3);
        assert!(found.iter().all(|segment| *segment == found[0] && segment.is_syn()));
    }

    #[test]
    fn mixed_flows_are_of_all_kinds() {
        let count = |kind| (0..1000).filter(|&flow| Kind::Mixed.of_flow(flow) == kind).count();
        assert_eq!([Kind::Syn, Kind::Handshake, Kind::Established, Kind::Mixed].map(count), [100, 300, 600, 0]);
    }
}
