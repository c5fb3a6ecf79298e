//! Opens TCP connections at their rate, and sends what the connections want sent.

use dpdk_ffi::Mempool;
use tidegate::wire::protocol;
use tidegate::wire::tcp::{TcpPacket, flags};

use crate::clock::Clock;
use crate::connect::{Connect, SegmentIn, SegmentOut};
use crate::flows::Flows;
use crate::frame::Link;
use crate::lane::{BURST, Out};
use crate::live::{Control, EndedBy};
use crate::pace::Pace;
use crate::profile::{Rate, Traffic};
use crate::seen::Seen;
use crate::template::{Source, Template};

/// Connections whose answer is late that are looked after in a turn.
const LATE_MAX: usize = 64;

/// See the module.
#[derive(Debug)]
pub struct ClientLane {
    /// The connections.
    pub connect: Connect,
    /// Nanoseconds from the first turn to the end of opening.
    pub ns: u64,
    /// Segments that came with a wrong checksum.
    pub bad_checksums: u64,
    flows: Flows,
    sources: Vec<Source>,
    /// By server: of a SYN, and of all other segments.
    templates: Vec<(Template, Template)>,
    rate: Rate,
    duration_ticks: Option<u64>,
    connections_left: u64,
    verify: bool,
    started: Option<(u64, Pace)>,
    has_ended: bool,
    /// What is to be sent, kept for its memory.
    segments: Vec<SegmentOut>,
}

impl ClientLane {
    /// Connections of a profile's traffic; `None` where headers do not fit.
    #[must_use]
    pub fn new(traffic: &Traffic, connect: Connect, link: Link, duration_ticks: Option<u64>) -> Option<Self> {
        let template = |&server| {
            let syn = Template::new(link, server, protocol::TCP, true)?;
            Some((syn, Template::new(link, server, protocol::TCP, false)?))
        };
        let source = |flow| {
            let tuple = traffic.flows.tuple(flow);
            Source::new(tuple.src, tuple.sport)
        };
        Some(Self {
            connect,
            ns: 0,
            bad_checksums: 0,
            sources: (0..traffic.flows.count()).map(source).collect(),
            flows: traffic.flows.clone(),
            templates: traffic.servers.iter().map(template).collect::<Option<_>>()?,
            rate: traffic.rate,
            duration_ticks,
            connections_left: traffic.packets_max.unwrap_or(u64::MAX),
            verify: traffic.verify,
            started: None,
            has_ended: false,
            segments: Vec::with_capacity(2 * BURST),
        })
    }

    /// Bytes of data in the segments of a profile's connections.
    #[must_use]
    pub fn data_len(traffic: &Traffic, link: Link) -> u16 {
        let server = traffic.servers.first();
        let template = server.and_then(|&server| Template::new(link, server, protocol::TCP, false));
        let head_len = template.map_or(0, |template| template.head_len() as u16);
        traffic.frame_lens.first().map_or(0, |len| len.saturating_sub(head_len))
    }

    /// Opens the connections that are due and repeats what is late; whether there was anything.
    pub fn turn(
        &mut self,
        out: &mut Out,
        pool: &Mempool,
        clock: &Clock,
        now: u64,
        is_sending: bool,
        control: &Control,
    ) -> bool {
        let now_ns = clock.ns(now);
        let (start, pace) = self.started.get_or_insert_with(|| (now, Pace::new(self.rate, clock.hz(), now)));
        if !self.has_ended {
            self.ns = now_ns - clock.ns(*start);
        }
        let is_over = self.duration_ticks.is_some_and(|duration| now.saturating_sub(*start) >= duration);
        if !is_sending || is_over || self.connections_left == 0 {
            self.has_ended = true;
            control.drain(if is_over { EndedBy::Duration } else { EndedBy::Packets });
        } else {
            for _ in 0..pace.take(now, self.connections_left.min(BURST as u64)) {
                let Some(syn) = self.connect.open(now_ns) else { break };
                self.segments.push(syn);
                self.connections_left -= 1;
            }
        }
        self.connect.look_after(now_ns, LATE_MAX, &mut self.segments);
        let any = !self.segments.is_empty();
        self.send(out, pool);
        any
    }

    /// Takes a packet that came at `now_ns`; false when it is of none of the connections.
    pub fn take(&mut self, frame: &[u8], seen: &Seen, now_ns: u64) -> bool {
        if seen.tuple.protocol != protocol::TCP {
            return false;
        }
        let Some(flow) = self.flows.flow_of(seen.tuple.dst, seen.tuple.dport) else { return false };
        let Ok(tcp) = TcpPacket::new_checked(seen.l4(frame)) else { return false };
        if self.verify && seen.is_checksum_right(frame) == Some(false) {
            self.bad_checksums += 1;
            return true;
        }
        let data_len = seen.payload(frame).len() as u32;
        let segment = SegmentIn { seq: tcp.seq(), ack: tcp.ack(), flags: tcp.flags(), data_len };
        self.connect.take(flow, segment, now_ns, &mut self.segments);
        true
    }

    fn send(&mut self, out: &mut Out, pool: &Mempool) {
        for segment in self.segments.drain(..) {
            let Some(source) = self.sources.get(segment.flow as usize) else { continue };
            let servers = self.templates.len().max(1);
            let Some((syn, plain)) = self.templates.get(segment.flow as usize % servers) else { continue };
            let template = if segment.numbers.flags & flags::SYN != 0 { syn } else { plain };
            let data_len = usize::from(segment.data_len);
            let Some(mut mbuf) = pool.alloc() else {
                out.dropped += 1;
                continue;
            };
            let Some(frame) = mbuf.append(template.frame_len(data_len)) else { continue };
            template.write(frame, source, segment.numbers, data_len, None);
            out.send(mbuf);
        }
    }
}
