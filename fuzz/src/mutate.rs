//! Makes frames fast: right ones of every kind, what answers to earlier ones look like, and all of them changed by chance.

use std::net::IpAddr;

use tidegate::wire::arp::Arp;
use tidegate::wire::checksum::{combine, finish, finish_udp, sum};
use tidegate::wire::ethernet::{EtherType, MacAddr};
use tidegate::wire::icmpv6::NeighborSolicit;
use tidegate::wire::parse::{Fragment, Kind, parse};
use tidegate::wire::protocol;
use tidegate::wire::tcp::flags;

use super::buffer::FRAME_MAX;
use super::chance::Chance;
use super::frames::{Flow, Link, echo, icmp_error, ip_frame, link_frame, pseudo, v4};
use super::network::{LAN, PEER, WAN, client, link, services};

/// A right frame and the port that it comes in by.
struct Template {
    port: usize,
    frame: Vec<u8>,
    /// Its source port may be another one.
    is_flow: bool,
}

/// The last frames that were sent on.
const RECENT: usize = 64;

pub struct Maker {
    pub chance: Chance,
    templates: Vec<Template>,
    flows: usize,
    recent: Vec<(usize, Vec<u8>)>,
    next: usize,
    frame: Vec<u8>,
    /// The configurations' family, which decides about tags.
    family: usize,
}

impl Maker {
    pub fn new(seed: u64, family: usize) -> Self {
        let mut templates = flows(family);
        let flows = templates.len();
        templates.extend(others(family));
        let recent = (0..RECENT).map(|_| (0, Vec::with_capacity(FRAME_MAX))).collect();
        Self { chance: Chance(seed), templates, flows, recent, next: 0, frame: Vec::with_capacity(FRAME_MAX), family }
    }

    /// Takes notice of a frame that was sent on.
    pub fn note(&mut self, port: usize, frame: &[u8]) {
        let place = &mut self.recent[self.next % RECENT];
        self.next += 1;
        place.0 = port;
        place.1.clear();
        place.1.extend_from_slice(frame);
    }

    /// The next frame, and the port that it comes in by.
    pub fn make(&mut self) -> (usize, &[u8]) {
        self.frame.clear();
        let port = match self.chance.below(32) {
            0..16 => self.template(0..self.flows),
            16..20 => self.template(self.flows..self.templates.len()),
            20..28 => self.answer(),
            28..30 => self.error(),
            _ => self.noise(),
        };
        if self.chance.one_in(4) {
            self.change();
        }
        self.frame.truncate(FRAME_MAX - 64);
        (port, &self.frame)
    }

    fn template(&mut self, which: std::ops::Range<usize>) -> usize {
        let (first, count) = (which.start, which.len());
        let template = &self.templates[first + self.chance.below(count)];
        let port = template.port;
        self.frame.clear();
        self.frame.extend_from_slice(&template.frame);
        if template.is_flow {
            let at = upper_at(&self.frame);
            let (flag_bits, port_bits) = (self.chance.next(), self.chance.next());
            if let Some(l4) = self.frame.get_mut(at..) {
                l4[1] = port_bits as u8 & if port_bits & 0x700 == 0 { 0xff } else { 7 };
                // Now and then other flags and numbers.
                if l4.len() >= 20 && flag_bits & 7 == 0 {
                    l4[13] = (flag_bits >> 8) as u8;
                    l4[4..12].copy_from_slice(&(flag_bits >> 16).to_be_bytes());
                }
            }
            mend(&mut self.frame);
        }
        port
    }

    /// What the receiver of an earlier frame says.
    fn answer(&mut self) -> usize {
        let (port, bits) = (self.pick_recent(), self.chance.next());
        if self.frame.len() < 42 {
            return self.template(0..self.flows);
        }
        self.turn_round(port);
        let at = upper_at(&self.frame);
        let network = network_at(&self.frame);
        let is_v4 = self.frame[network] >> 4 == 4;
        let is_tcp = self.frame.get(network + if is_v4 { 9 } else { 6 }) == Some(&protocol::TCP);
        if let Some(l4) = self.frame.get_mut(at..).filter(|l4| l4.len() >= 8 + 12 * usize::from(is_tcp)) {
            let (ports, rest) = l4.split_at_mut(4);
            let (src, dst) = ports.split_at_mut(2);
            src.swap_with_slice(dst);
            let all =
                [flags::SYN | flags::ACK, flags::ACK, flags::FIN | flags::ACK, flags::RST, flags::RST | flags::ACK];
            if is_tcp {
                let (sequence, acknowledged) = rest[..8].split_at_mut(4);
                sequence.swap_with_slice(acknowledged);
                rest[9] = all[(bits >> 8) as usize % all.len()];
            }
        }
        mend(&mut self.frame);
        port
    }

    /// Copies one of the last frames that were sent on.
    fn pick_recent(&mut self) -> usize {
        let place = &self.recent[self.chance.below(RECENT)];
        self.frame.extend_from_slice(&place.1);
        place.0
    }

    /// From the neighbour to the balancer, with the addresses the other way round.
    fn turn_round(&mut self, port: usize) {
        let link = link(port, self.family);
        self.frame[..6].copy_from_slice(&link.dst.0);
        self.frame[6..12].copy_from_slice(&link.src.0);
        let at = network_at(&self.frame);
        let (first, len) = if self.frame.get(at).is_some_and(|b| b >> 4 == 4) { (12, 4) } else { (8, 16) };
        if let Some(addresses) = self.frame.get_mut(at + first..at + first + 2 * len) {
            let (src, dst) = addresses.split_at_mut(len);
            src.swap_with_slice(dst);
        }
        let ttl = if first == 12 { 8 } else { 7 };
        if let Some(ttl) = self.frame.get_mut(at + ttl) {
            *ttl = 64;
        }
    }

    /// An ICMP error about an earlier frame, cut anywhere.
    fn error(&mut self) -> usize {
        let port = self.pick_recent();
        let at = network_at(&self.frame);
        let Ok(parsed) = parse(&self.frame, self.frame.len()) else { return self.template(0..self.flows) };
        let (src, dst): (IpAddr, IpAddr) = match parsed.kind {
            Kind::V4 => {
                let tuple = parsed.five_tuple_v4(&self.frame);
                (tuple.src.into(), tuple.dst.into())
            }
            Kind::V6 => {
                let tuple = parsed.five_tuple_v6(&self.frame);
                (tuple.src.into(), tuple.dst.into())
            }
            Kind::Arp => return port,
        };
        let from = if self.chance.one_in(2) { dst } else { client(self.chance.below(8), src.is_ipv4()) };
        let quote_max = self.chance.pick(&[0, 7, 20, 27, 28, 36, 40, 44, 48, 60, 61, 80, 128, 600, 1400]);
        let choice = self.chance.next() as u8;
        let about = &self.frame[at..parsed.ip_end()];
        let frame = icmp_error(link(port, self.family), from, src, about, quote_max, choice);
        self.frame.clear();
        self.frame.extend_from_slice(&frame);
        port
    }

    /// Nothing but chance, most often behind a head that gets it past the first look.
    fn noise(&mut self) -> usize {
        let port = self.chance.below(2);
        let len = self.chance.below(160);
        for _ in 0..len / 8 {
            let bytes = self.chance.next().to_le_bytes();
            self.frame.extend_from_slice(&bytes);
        }
        let head =
            self.chance.pick(&[[8, 0, 0x45], [0x86, 0xdd, 0x60], [8, 6, 0], [0x81, 0, 0], [8, 0, 0x4f], [0, 0, 0]]);
        if self.frame.len() > 20 && head[0] != 0 {
            self.frame[..6].copy_from_slice(&link(port, self.family).dst.0);
            self.frame[12..15].copy_from_slice(&head);
            if self.frame.len() > 34 {
                let total = (self.frame.len() - 14) as u16;
                self.frame[16..18].copy_from_slice(&total.to_be_bytes());
            }
            mend(&mut self.frame);
        }
        port
    }

    /// Up to four changes, after which half of the frames get right checksums again: else every one would end there.
    fn change(&mut self) {
        for _ in 0..1 + self.chance.below(4) {
            let len = self.frame.len().max(1);
            let at = if self.chance.one_in(8) { self.chance.below(len) } else { self.chance.below(len.min(72)) };
            let bits = self.chance.next();
            match bits & 15 {
                0..6 => self.frame.get_mut(at).into_iter().for_each(|byte| *byte = (bits >> 8) as u8),
                6..10 => self.frame.get_mut(at).into_iter().for_each(|byte| *byte ^= 1 << (bits >> 8 & 7)),
                10 => self.frame.truncate(at),
                11 => self.frame.extend_from_slice(&bits.to_le_bytes()),
                12 => drop(self.frame.splice(at.min(self.frame.len())..at.min(self.frame.len()), bits.to_le_bytes())),
                13 => drop(self.frame.drain(at.min(self.frame.len())..(at + 4).min(self.frame.len()))),
                // A length, a count or an offset at its edge.
                14 => self
                    .frame
                    .get_mut(at)
                    .into_iter()
                    .for_each(|byte| *byte = [0, 1, 0x7f, 0xff][(bits >> 8 & 3) as usize]),
                _ => {
                    if self.frame.len() > 14 {
                        self.frame
                            .splice(12..12, [0x81, 0, (bits >> 8) as u8, [0, 100, 7, 1][(bits >> 16 & 3) as usize]]);
                    }
                }
            }
        }
        if self.chance.one_in(2) {
            mend(&mut self.frame);
        }
    }
}

/// Offset of what is behind the Ethernet header and up to one tag.
fn network_at(frame: &[u8]) -> usize {
    if frame.get(12..14) == Some(&[0x81, 0]) { 18 } else { 14 }
}

/// Offset of the upper layer, IPv4 options skipped and extension headers not.
fn upper_at(frame: &[u8]) -> usize {
    let at = network_at(frame);
    match frame.get(at) {
        Some(first) if first >> 4 == 4 => at + usize::from(first & 15) * 4,
        _ => at + 40,
    }
}

/// Makes the checksums of a frame right, as far as it can be read.
fn mend(frame: &mut [u8]) {
    let at = network_at(frame);
    if frame.get(at).is_some_and(|first| first >> 4 == 4) {
        let len = usize::from(frame[at] & 15) * 4;
        if let Some(header) = frame.get_mut(at..at + len).filter(|header| header.len() >= 20) {
            header[10..12].fill(0);
            let check = finish(sum(header));
            header[10..12].copy_from_slice(&check.to_be_bytes());
        }
    }
    let Ok(parsed) = parse(frame, frame.len()) else { return };
    if parsed.fragment != Fragment::None {
        return;
    }
    let (src, dst): (IpAddr, IpAddr) = match parsed.kind {
        Kind::V4 => (parsed.five_tuple_v4(frame).src.into(), parsed.five_tuple_v4(frame).dst.into()),
        Kind::V6 => (parsed.five_tuple_v6(frame).src.into(), parsed.five_tuple_v6(frame).dst.into()),
        Kind::Arp => return,
    };
    let place = match parsed.protocol {
        protocol::TCP => 16,
        protocol::UDP => 6,
        protocol::ICMP | protocol::ICMPV6 => 2,
        _ => return,
    };
    let l4 = &mut frame[usize::from(parsed.l4)..parsed.ip_end()];
    let len = if parsed.protocol == protocol::UDP { usize::from(u16::from_be_bytes([l4[4], l4[5]])) } else { l4.len() };
    let l4 = &mut l4[..len];
    l4[place..place + 2].fill(0);
    let head = if parsed.protocol == protocol::ICMP { 0 } else { pseudo(src, dst, parsed.protocol, len) };
    let total = combine(head, sum(l4));
    let check = if parsed.protocol == protocol::UDP { finish_udp(total) } else { finish(total) };
    l4[place..place + 2].copy_from_slice(&check.to_be_bytes());
}

/// Requests to every service, from clients and from some who cannot be.
fn flows(family: usize) -> Vec<Template> {
    let mut all = Vec::new();
    for (vip, port, is_tcp) in services() {
        for from in [0, 0, 1, 2, 3, 0, 1, 2, 3, 4, 5, 6, 7] {
            let src = (client(from, vip.is_ipv4()), 1024);
            let kinds: &[u8] =
                if is_tcp { &[flags::SYN, flags::ACK, flags::FIN | flags::ACK, flags::RST] } else { &[0] };
            for &bits in kinds {
                for payload in if bits == flags::ACK || !is_tcp { &[0, 1, 6, 700, 1400, 1460][..] } else { &[0] } {
                    let tcp_flags = is_tcp.then_some(bits);
                    let ttl = if all.len().is_multiple_of(23) { 1 } else { 64 };
                    let flow = Flow { src, dst: (vip, port), tcp_flags, ttl };
                    let frame = flow.frame(link(0, family), *payload);
                    all.push(Template { port: 0, frame, is_flow: true });
                }
            }
        }
    }
    all
}

/// Everything else that is right.
fn others(family: usize) -> Vec<Template> {
    let mut all = Vec::new();
    let mut push = |port: usize, frame: Vec<u8>| all.push(Template { port, frame, is_flow: false });
    let (wan, lan) = (link(0, family), link(1, family));
    for (vip, port, is_tcp) in services() {
        push(0, echo(wan, client(0, vip.is_ipv4()), vip, 24));
        let flow = Flow {
            src: (client(1, vip.is_ipv4()), 1025),
            dst: (vip, port),
            tcp_flags: is_tcp.then_some(flags::ACK),
            ttl: 64,
        };
        let whole = flow.frame(wan, 64);
        let packet = &whole[14..];
        // To the VIP, in a tunnel to us, and cut to pieces.
        let (own, outside) = (client(6, vip.is_ipv4()), client(2, vip.is_ipv4()));
        let inner = if vip.is_ipv4() { 4 } else { 41 };
        push(0, ip_frame(wan, outside, own, inner, 64, packet));
        let gre = [&[0, 0][..], if vip.is_ipv4() { &[8, 0] } else { &[0x86, 0xdd] }, packet].concat();
        push(0, ip_frame(wan, outside, own, protocol::GRE, 64, &gre));
        pieces(wan, packet).into_iter().for_each(|piece| push(0, piece));
        for number in [0, 43, 50, 132] {
            push(0, ip_frame(wan, outside, vip, number, 64, &packet[20..]));
        }
        let quoted = Flow { src: flow.dst, dst: flow.src, ..flow }.frame(wan, 8);
        push(0, icmp_error(wan, outside, vip, &quoted[14..], 576, port as u8));
    }
    for (port, mac, link, hosts) in
        [(0, WAN, wan, [v4(10, 0, 0, 1), v4(10, 0, 0, 2)]), (1, LAN, lan, [v4(10, 1, 0, 12), v4(10, 1, 0, 2)])]
    {
        neighbors(link, mac, hosts).into_iter().for_each(|frame| push(port, frame));
    }
    all
}

/// Fragments of a packet: in three pieces, and with one that lies over another.
fn pieces(link: Link, packet: &[u8]) -> Vec<Vec<u8>> {
    let is_v4 = packet[0] >> 4 == 4;
    let (header, data) = packet.split_at(if is_v4 { 20 } else { 40 });
    let ethertype = if is_v4 { EtherType::IPV4 } else { EtherType::IPV6 };
    let piece = |from: usize, to: usize, more: bool| {
        let to = to.min(data.len());
        let mut head = header.to_vec();
        let field =
            (from as u16 & 0xfff8) >> if is_v4 { 3 } else { 0 } | if more { if is_v4 { 0x2000 } else { 1 } } else { 0 };
        if is_v4 {
            head[2..4].copy_from_slice(&((20 + to - from) as u16).to_be_bytes());
            head[6..8].copy_from_slice(&field.to_be_bytes());
        } else {
            head[4..6].copy_from_slice(&((8 + to - from) as u16).to_be_bytes());
            let next = std::mem::replace(&mut head[6], 44);
            head.extend([next, 0]);
            head.extend(field.to_be_bytes());
            head.extend([0, 0, 0, 9]);
        }
        head.extend_from_slice(&data[from..to]);
        let mut frame = link_frame(link, ethertype, &head);
        mend(&mut frame);
        frame
    };
    vec![piece(0, 32, true), piece(32, 48, true), piece(48, usize::MAX, false), piece(40, 56, true), piece(0, 8, true)]
}

/// ARP and neighbour discovery: questions, answers and claims.
fn neighbors(link: Link, mac: MacAddr, hosts: [IpAddr; 2]) -> Vec<Vec<u8>> {
    let [IpAddr::V4(host), IpAddr::V4(own)] = hosts else { return Vec::new() };
    let mut all = Vec::new();
    for (operation, spa, tpa) in [(1, host, own), (2, host, own), (1, host, host), (1, own, host)] {
        let mut bytes = [0; 28];
        Arp { operation, sha: PEER, spa, tha: MacAddr::ZERO, tpa }.emit(&mut bytes);
        all.push(link_frame(link, EtherType::ARP, &bytes));
        all.push(link_frame(Link { dst: MacAddr::BROADCAST, ..link }, EtherType::ARP, &bytes));
    }
    let net = if mac == WAN { 0xfd00 } else { 0xfd01 };
    let (from, to) = ([net, 0, 0, 0, 0, 0, 0, 0x11], [net, 0, 0, 0, 0, 0, 0, 2]);
    let (from, to) = (std::net::Ipv6Addr::from(from), std::net::Ipv6Addr::from(to));
    let mut message = [0; 32];
    let len = NeighborSolicit { target: to, source_link: Some(PEER) }.emit(&mut message, from, to);
    all.push(ip_frame(link, from.into(), to.into(), protocol::ICMPV6, 255, &message[..len.unwrap_or(0)]));
    // The answer to a question of ours: solicited and final.
    let mut advert = vec![136, 0, 0, 0, 0x60, 0, 0, 0];
    advert.extend(from.octets());
    advert.extend([2, 1]);
    advert.extend(PEER.0);
    let mut frame = ip_frame(link, from.into(), to.into(), protocol::ICMPV6, 255, &advert);
    mend(&mut frame);
    all.push(frame);
    all
}
