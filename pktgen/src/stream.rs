//! The packets that are sent without regard to what comes back: flows, or a flood of SYNs.

use tidegate::wire::tcp::flags::{ACK, PSH, SYN};

use crate::flows::Flows;
use crate::frame::{Link, Protocol};
use crate::profile::{Traffic, TrafficKind};
use crate::rng::{Rng, hash};
use crate::stamp::Stamp;
use crate::template::{Numbers, Source, Template};
use crate::traffic::Order;

/// The seed's stream for random order and random sources.
const STREAM_RANDOM: u64 = 3;

/// Makes packet after packet; after it was made its memory no longer grows.
#[derive(Debug)]
pub struct Stream {
    kind: Kind,
    /// By server.
    templates: Vec<Templates>,
    /// Lengths of frames, taken in turn.
    frame_lens: Vec<u16>,
    len_at: usize,
    rng: Rng,
    run: u16,
}

#[derive(Debug)]
enum Kind {
    Flows { flows: Vec<Flow>, at: usize, order: Order, open: bool },
    SynFlood { flows: Flows },
}

#[derive(Debug)]
struct Templates {
    /// Of a SYN with its option; of UDP the same as the other.
    syn: Template,
    plain: Template,
}

/// What is remembered of a flow.
#[derive(Clone, Copy, Debug)]
struct Flow {
    source: Source,
    /// The server, by number.
    server: u16,
    /// Packets sent, modulo 2^32.
    seq: u32,
    /// Sequence number of the next TCP segment.
    tcp_seq: u32,
}

impl Stream {
    /// The stream of a profile's traffic; `run` is the mark of its stamps. `None` for connections, which are not made
    /// here, and where headers do not fit.
    #[must_use]
    pub fn new(traffic: &Traffic, link: Link, seed: u64, run: u16) -> Option<Self> {
        let protocol = traffic.protocol.number();
        let templates = traffic.servers.iter().map(|&server| {
            let is_tcp = traffic.protocol == Protocol::Tcp;
            let syn = Template::new(link, server, protocol, is_tcp)?;
            Some(Templates { syn, plain: Template::new(link, server, protocol, false)? })
        });
        let templates: Vec<Templates> = templates.collect::<Option<_>>()?;
        let kind = match traffic.kind {
            TrafficKind::Connections => return None,
            TrafficKind::SynFlood => Kind::SynFlood { flows: traffic.flows.clone() },
            TrafficKind::Packets => {
                let flow = |flow: u32| {
                    let tuple = traffic.flows.tuple(flow);
                    Flow {
                        source: Source::new(tuple.src, tuple.sport),
                        server: (flow as usize % templates.len().max(1)) as u16,
                        seq: 0,
                        tcp_seq: hash(seed, u64::from(flow)) as u32,
                    }
                };
                let flows = (0..traffic.flows.count()).map(flow).collect();
                Kind::Flows { flows, at: 0, order: traffic.order, open: traffic.open }
            }
        };
        let frame_lens = traffic.frame_lens.clone();
        Some(Self { kind, templates, frame_lens, len_at: 0, rng: Rng::new(seed, STREAM_RANDOM), run })
    }

    /// Length in bytes of the frame that [`write`](Self::write) writes next.
    #[inline]
    #[must_use]
    pub fn next_len(&self) -> usize {
        self.frame_lens.get(self.len_at).copied().map_or(0, usize::from)
    }

    /// Writes the next packet to `frame`, which must have [`next_len`](Self::next_len) bytes, as made at `ns`
    /// nanoseconds of the run. Returns whether it carries a stamp.
    #[inline]
    pub fn write(&mut self, frame: &mut [u8], ns: u64) -> bool {
        self.len_at += 1;
        if self.len_at >= self.frame_lens.len() {
            self.len_at = 0;
        }
        match &mut self.kind {
            Kind::Flows { flows, at, order, open } => {
                let number = match order {
                    Order::RoundRobin => *at,
                    Order::Random => self.rng.below(flows.len() as u64) as usize,
                };
                *at = if *at + 1 >= flows.len() { 0 } else { *at + 1 };
                let Some(flow) = flows.get_mut(number) else { return false };
                let Some(templates) = self.templates.get(usize::from(flow.server)) else { return false };
                let is_syn = *open && flow.seq == 0;
                let template = if is_syn { &templates.syn } else { &templates.plain };
                // A SYN carries no data here, as many a network drops those that do.
                let payload_len = if is_syn { 0 } else { frame.len().saturating_sub(template.head_len()) };
                let flags = if is_syn { SYN } else { PSH | ACK };
                let numbers =
                    Numbers { seq: flow.tcp_seq, ack: if is_syn { 0 } else { flow.tcp_seq ^ u32::MAX }, flags };
                let stamp = Stamp { run: self.run, flow: number as u32, seq: flow.seq, ns };
                template.write(frame, &flow.source, numbers, payload_len, Some(stamp));
                flow.tcp_seq = flow.tcp_seq.wrapping_add(if is_syn { 1 } else { payload_len as u32 });
                flow.seq = flow.seq.wrapping_add(1);
                payload_len >= crate::stamp::LEN
            }
            Kind::SynFlood { flows } => {
                let (address, port) = flows.random_source(&mut self.rng);
                let random = self.rng.next_u64();
                let servers = self.templates.len() as u64;
                let Some(templates) = self.templates.get(((random >> 32) % servers.max(1)) as usize) else {
                    return false;
                };
                let numbers = Numbers { seq: random as u32, ack: 0, flags: SYN };
                templates.syn.write(frame, &Source::new(address, port), numbers, 0, None);
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::Profile;
    use std::collections::{BTreeMap, HashSet};
    use tidegate::wire::ethernet::MacAddr;
    use tidegate::wire::parse::parse;

    const LINK: Link = Link { dst: MacAddr([2, 0, 0, 0, 0, 2]), src: MacAddr([2, 0, 0, 0, 0, 1]), vlan: None };

    fn stream(traffic: &str) -> Stream {
        let port = "[[port]]\ndevice = 'net_null0'\ngateway_mac = '02:00:00:00:00:02'\n[traffic]\n";
        let profile = Profile::parse(&format!("{port}{traffic}"), "f").unwrap_or_else(|errors| panic!("{errors}"));
        Stream::new(&profile.traffic.unwrap(), LINK, 1, 9).unwrap()
    }

    fn frames(stream: &mut Stream, count: usize) -> Vec<Vec<u8>> {
        let frame = |ns| {
            let mut frame = vec![0xee; stream.next_len()];
            stream.write(&mut frame, ns);
            frame
        };
        (0..count as u64).map(frame).collect()
    }

    #[test]
    fn flows_take_turns_and_each_counts_its_packets() {
        let mut stream = stream("servers = ['192.0.2.1:80', '192.0.2.2:81']\nflows = 10");
        for (number, frame) in frames(&mut stream, 30).iter().enumerate() {
            let parsed = parse(frame, frame.len()).unwrap();
            let tuple = parsed.five_tuple_v4(frame);
            assert_eq!(tuple.dst.octets()[3], 1 + (number % 2) as u8);
            assert_eq!(usize::from(tuple.dport), 80 + number % 2);
            let stamp = Stamp::read(&frame[usize::from(parsed.l4) + 8..]).unwrap();
            assert_eq!(
                (stamp.run, stamp.flow, stamp.seq, stamp.ns),
                (9, number as u32 % 10, number as u32 / 10, number as u64)
            );
        }
    }

    #[test]
    fn the_mix_is_seven_four_one() {
        let mut stream = stream("servers = ['192.0.2.1:80']\npacket_size = 'imix'");
        let mut lens = BTreeMap::new();
        frames(&mut stream, 120).iter().for_each(|frame| *lens.entry(frame.len()).or_insert(0) += 1);
        assert_eq!(lens, BTreeMap::from([(60, 70), (590, 40), (1514, 10)]));
    }

    #[test]
    fn opened_flows_begin_with_a_syn_and_go_on_in_sequence() {
        let mut stream =
            stream("servers = ['192.0.2.1:80']\nprotocol = 'tcp'\nopen = true\nflows = 2\npacket_size = 100");
        let found: Vec<_> = frames(&mut stream, 6)
            .iter()
            .map(|frame| {
                let parsed = parse(frame, frame.len()).unwrap();
                let seq = u32::from_be_bytes(frame[38..42].try_into().unwrap());
                (parsed.tcp_flags, seq, parsed.l4_len())
            })
            .collect();
        let flow: Vec<_> = found.iter().step_by(2).collect();
        assert_eq!((flow[0].0, flow[0].2), (SYN, 24), "no data in the SYN");
        assert_eq!((flow[1].0, flow[1].1.wrapping_sub(flow[0].1)), (PSH | ACK, 1));
        assert_eq!((flow[2].0, flow[2].1.wrapping_sub(flow[1].1)), (PSH | ACK, 42));
    }

    #[test]
    fn a_flood_has_random_sources() {
        let mut stream = stream("servers = ['[2001:db8::1]:80']\nkind = 'syn_flood'");
        let mut sources = HashSet::new();
        for frame in frames(&mut stream, 1000) {
            let parsed = parse(&frame, frame.len()).unwrap();
            assert_eq!(parsed.tcp_flags, SYN);
            let tuple = parsed.five_tuple_v6(&frame);
            sources.insert((tuple.src, tuple.sport));
        }
        assert!(sources.len() > 990, "{}", sources.len());
    }

    #[test]
    fn random_order_takes_every_flow() {
        let mut stream = stream("servers = ['192.0.2.1:80']\nflows = 8\norder = 'random'");
        let flows = frames(&mut stream, 400).iter().map(|f| Stamp::read(&f[42..]).unwrap().flow).collect::<Vec<_>>();
        assert_ne!(flows[..8], flows[8..16]);
        assert_eq!(flows.iter().collect::<HashSet<_>>().len(), 8);
    }
}
