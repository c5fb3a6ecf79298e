//! The frames of the generated traffic, one after another.

use crate::conversation::{Conversation, Kind, Segment};
use crate::flows::Flows;
use crate::frame::{FRAME_LEN_MIN, Frame, Link, headers_len};
use crate::rng::Rng;
use tidegate::wire::protocol;
use tidegate::wire::tcp::flags::{ACK, SYN};

/// The simple Internet mix as frame lengths without the frame check sequence: of twelve frames seven are short, four
/// of 576 and one of 1500 bytes of IP, spread over the cycle.
pub const IMIX: [usize; 12] = [60, 590, 60, 60, 590, 1514, 60, 590, 60, 60, 590, 60];
/// Payload in the frames of the default length where headers alone take more than 60 bytes.
const PAYLOAD_LEN_DEFAULT: usize = 4;
/// The seed's stream for the order of flows.
const STREAM_ORDER: u64 = 1;
/// The seed's stream for payloads.
const STREAM_PAYLOAD: u64 = 2;

/// Length of the frames that have payload, in bytes without the frame check sequence. Others have the least length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Size {
    /// 60 bytes, or a little more than the headers take.
    Least,
    /// All the same.
    Fixed(usize),
    /// The simple Internet mix 7:4:1 of 60, 590 and 1514 bytes.
    Imix,
}

/// The order of flows. Either way each flow has one packet a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Order {
    /// The same in each round.
    #[default]
    RoundRobin,
    /// Another random order in each round.
    Random,
}

/// What the payload is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Payload {
    /// The number of the flow and the number of the packet, 8 bytes each, most significant first, then zeros.
    #[default]
    Numbered,
    /// Zeros.
    Zeros,
    /// Seeded random bytes.
    Random,
}

/// Everything that decides the frames.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The five-tuples; their protocol decides between TCP and UDP.
    pub flows: Flows,
    /// What TCP flows do.
    pub kind: Kind,
    /// Data segments of a whole connection.
    pub data_segments: u32,
    /// How many frames there are.
    pub packets: u64,
    /// How long they are.
    pub size: Size,
    /// The order of flows.
    pub order: Order,
    /// What the payload is.
    pub payload: Payload,
    /// The link layer.
    pub link: Link,
    /// Decides all that is random.
    pub seed: u64,
}

impl Plan {
    /// Length in bytes of the longest headers that payload comes behind: no fixed size may be less.
    #[must_use]
    pub fn frame_len_min(&self) -> usize {
        let syns_have_payload = matches!(self.kind, Kind::Syn | Kind::Mixed);
        let flags = if syns_have_payload { SYN } else { ACK };
        let segment = Segment { seq: 0, ack: 0, flags, has_data: true };
        headers_len(self.link.vlan, self.flows.is_ipv6(), self.is_tcp().then_some(&segment)).max(FRAME_LEN_MIN)
    }

    fn is_tcp(&self) -> bool {
        self.flows.protocol() == protocol::TCP
    }

    /// Length of the frame of packet `round` of a flow, if it has payload.
    fn frame_len(&self, flow: u32, round: u64, segment: Option<&Segment>) -> usize {
        let headers_len = headers_len(self.link.vlan, self.flows.is_ipv6(), segment);
        let least = if headers_len < FRAME_LEN_MIN { FRAME_LEN_MIN } else { headers_len + PAYLOAD_LEN_DEFAULT };
        match self.size {
            Size::Least => least,
            Size::Fixed(len) => len,
            Size::Imix => {
                let place = (u64::from(flow) + round) % IMIX.len() as u64;
                IMIX.get(place as usize).map_or(least, |&len| len.max(least))
            }
        }
    }

    /// Length of the payload of packet `round` of a flow.
    fn payload_len(&self, flow: u32, round: u64, segment: Option<&Segment>) -> usize {
        if segment.is_some_and(|segment| !segment.has_data) {
            return 0;
        }
        let frame_len = self.frame_len(flow, round, segment);
        let is_syn = segment.is_some_and(Segment::is_syn);
        // A short SYN is padded as the Ethernet does; only one that is asked to be longer carries data.
        if is_syn && (self.size == Size::Least || frame_len <= FRAME_LEN_MIN) {
            return 0;
        }
        frame_len.saturating_sub(headers_len(self.link.vlan, self.flows.is_ipv6(), segment))
    }
}

/// The frames of a plan. After the first its memory no longer grows.
#[derive(Debug)]
pub struct Traffic {
    plan: Plan,
    conversation: Conversation,
    packet: u64,
    /// The flows of this round in their order; empty if it is the order of numbers.
    order: Vec<u32>,
    /// By flow, the next sequence number; empty without TCP.
    next_seq: Vec<u32>,
    order_rng: Rng,
    payload_rng: Rng,
    payload: Vec<u8>,
}

impl Traffic {
    /// Begins with the first frame. Takes four bytes of memory a flow for TCP and four for the random order.
    #[must_use]
    pub fn new(plan: Plan) -> Self {
        let flows = plan.flows.count();
        Self {
            conversation: Conversation { kind: plan.kind, data_segments: plan.data_segments, seed: plan.seed },
            packet: 0,
            order: if plan.order == Order::Random { (0..flows).collect() } else { Vec::new() },
            next_seq: if plan.is_tcp() { vec![0; flows as usize] } else { Vec::new() },
            order_rng: Rng::new(plan.seed, STREAM_ORDER),
            payload_rng: Rng::new(plan.seed, STREAM_PAYLOAD),
            payload: Vec::new(),
            plan,
        }
    }

    /// Writes the next frame into `frame` in place of what was there. False, with `frame` without meaning, behind the
    /// last.
    pub fn next_frame(&mut self, frame: &mut Vec<u8>) -> bool {
        if self.packet >= self.plan.packets {
            return false;
        }
        let flows = u64::from(self.plan.flows.count().max(1));
        let (round, place) = (self.packet / flows, self.packet % flows);
        if place == 0 {
            self.order_rng.shuffle(&mut self.order);
        }
        let flow = self.order.get(place as usize).copied().unwrap_or(place as u32);
        let segment = self.next_seq.get(flow as usize).map(|&seq| self.conversation.segment(flow, round, seq));
        self.fill_payload(flow, self.plan.payload_len(flow, round, segment.as_ref()));
        if let (Some(next_seq), Some(segment)) = (self.next_seq.get_mut(flow as usize), &segment) {
            *next_seq = segment.next_seq(self.payload.len() as u32);
        }
        let tuple = self.plan.flows.tuple(flow);
        let ip_id = self.packet as u16;
        self.packet += 1;
        Frame { link: self.plan.link, tuple, segment, ip_id, payload: &self.payload }.build(frame)
    }

    fn fill_payload(&mut self, flow: u32, len: usize) {
        self.payload.clear();
        self.payload.resize(len, 0);
        match self.plan.payload {
            Payload::Zeros => {}
            Payload::Random => self.payload_rng.fill(&mut self.payload),
            Payload::Numbered => {
                let numbers = u64::from(flow).to_be_bytes().into_iter().chain(self.packet.to_be_bytes());
                for (to, from) in self.payload.iter_mut().zip(numbers) {
                    *to = from;
                }
            }
        }
    }
}
