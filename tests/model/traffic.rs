//! Random traffic around the services: requests, answers to what was sent on, errors about it, and what does not belong.

mod fragments;
mod neighbors;

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use crate::chance::Chance;
use crate::packet::{
    self, ACK, ARP, BROADCAST, FIN, ICMP, ICMP6, Ip, RST, SYN, TCP, UDP, arp, ethernet, ethertype, fix_header, fix_l4,
    icmp, ip, mac_of, own_mac,
};
use crate::read::{self, Content, word};
use crate::rewrite::Socket;
use crate::tunnel;
use crate::world::{Service, World};

/// One step of a sequence. The number in it decides everything else about it, so that steps can be taken out and the
/// others stay what they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A client's packet to a service.
    Request(u64),
    /// What the receiver of a packet that was sent on answers.
    Answer(u64),
    /// An ICMP error about a packet that came in or was sent on.
    Error(u64),
    /// A ping, or another ICMP message that is no error.
    Ping(u64),
    /// ARP or neighbour discovery.
    Neighbor(u64),
    /// One fragment of a datagram, which the first number decides; the last one says what may be odd about it.
    Fragment { datagram: u64, piece: usize, odd: u64 },
    /// A packet of another protocol, or another kind of frame.
    Other(u64),
    /// Time passes, in milliseconds.
    Wait(u64),
    /// Another configuration.
    Reload(usize),
    /// What came so far is taken in as one burst.
    Process,
}

/// A sequence of steps that a seed decides.
pub fn steps(seed: u64, variants: usize) -> Vec<Step> {
    let mut chance = Chance(seed);
    let len = 20 + chance.below(60);
    let wait =
        |chance: &mut Chance| chance.pick(&[10, 500, 1000, 1900, 2999, 4000, 9999, 20_000, 31_000, 65_000, 400_000]);
    let mut steps: Vec<Step> = (0..len)
        .map(|_| match chance.below(40) {
            0..17 => Step::Request(chance.next()),
            17..24 => Step::Answer(chance.next()),
            24..28 => Step::Error(chance.next()),
            28 => Step::Ping(chance.next()),
            29 => Step::Other(chance.next()),
            30 => Step::Neighbor(chance.next()),
            31 | 32 => Step::Wait(wait(&mut chance)),
            33 => Step::Reload(chance.below(variants)),
            _ => Step::Process,
        })
        .collect();
    for _ in 0..chance.pick(&[0, 0, 1, 2, 5]) {
        fragments::scatter(&mut chance, &mut steps);
    }
    steps
}

/// What the other ends remember.
pub struct Traffic {
    /// The services that most of it is for, so that connections go through several packets.
    focus: Vec<&'static str>,
    ports: u16,
    /// The last frames that came in and that were sent on, with their ports.
    came: Vec<(usize, Vec<u8>)>,
    sent: Vec<(usize, Vec<u8>)>,
    /// The next sequence number of whoever sends from the first to the second, and what it has acknowledged.
    sequences: HashMap<(Socket, Socket), (u32, u32)>,
}

const REMEMBERED: usize = 24;

/// Services that are met together more often than by chance: their connections can meet, too.
const TOGETHER: &[&[&str]] = &[
    &["nat4", "twin4"],
    &["nat4u", "every"],
    &["nat6", "gre64"],
    &["gre44", "gre44u"],
    &["full4", "full4u"],
    &["full46", "full64"],
    &["full46u", "full64u"],
];

impl Traffic {
    pub fn new(seed: u64, world: &World) -> Self {
        let mut chance = Chance(!seed);
        let focus = match chance.below(8) {
            0 => world.services.iter().map(|service| service.name).collect(),
            1..4 => chance.pick(TOGETHER).to_vec(),
            _ => (0..2).map(|_| chance.pick(&world.services).name).collect(),
        };
        let ports = chance.pick(&[1, 2, 4]);
        Self { focus, ports, came: Vec::new(), sent: Vec::new(), sequences: HashMap::new() }
    }

    fn service(&self, chance: &mut Chance, world: &World) -> Service {
        let near = || world.services.iter().filter(|service| self.focus.contains(&service.name));
        match near().count() {
            0 => chance.pick(&world.services),
            _ if chance.one_in(12) => chance.pick(&world.services),
            count => near().nth(chance.below(count)).cloned().unwrap_or_else(|| chance.pick(&world.services)),
        }
    }

    fn client_port(&self, chance: &mut Chance) -> u16 {
        40_000 + (chance.next() % u64::from(self.ports)) as u16
    }

    /// The frame of a step, and the port that it comes in by; `None` if there is nothing yet that it could be about.
    pub fn frame(&mut self, step: Step, world: &World) -> Option<(usize, Vec<u8>)> {
        let (mut chance, make): (_, fn(&mut Self, &mut Chance, &World) -> _) = match step {
            Step::Request(seed) => (Chance(seed), Self::request),
            Step::Answer(seed) => (Chance(seed), Self::answer),
            Step::Error(seed) => (Chance(seed), Self::error),
            Step::Ping(seed) => (Chance(seed), Self::ping),
            Step::Neighbor(seed) => (Chance(seed), Self::neighbor),
            Step::Other(seed) => (Chance(seed), Self::other),
            Step::Fragment { datagram, piece, odd } => {
                let frame = self.fragment(datagram, piece, odd, world)?;
                remember(&mut self.came, frame.clone());
                return Some(frame);
            }
            Step::Wait(_) | Step::Reload(_) | Step::Process => return None,
        };
        let (port, frame) = make(self, &mut chance, world)?;
        let frame = spoil(frame, &mut chance);
        remember(&mut self.came, (port, frame.clone()));
        Some((port, frame))
    }

    /// Takes notice of a frame that was sent on.
    pub fn note(&mut self, port: usize, frame: &[u8]) {
        if let Some(ip) = whole(frame).filter(|ip| ip.protocol == TCP && !ip.is_fragment) {
            // Whoever receives it will acknowledge it.
            let (src, dst) = ip.ends();
            self.sequences.entry((dst, src)).or_insert((isn(dst), 0)).1 = end_of(&ip);
        }
        remember(&mut self.sent, (port, frame.to_vec()));
    }

    fn request(&mut self, chance: &mut Chance, world: &World) -> Option<(usize, Vec<u8>)> {
        let service = self.service(chance, world);
        let src = (client(chance, service.vip.is_ipv4()), self.client_port(chance));
        let port = match service.port {
            Some(port) if !chance.one_in(60) => port,
            _ => chance.pick(&[80, 53, 443, 8080, 0]),
        };
        let packet = if service.is_tcp != chance.one_in(80) {
            let flags = [
                SYN,
                SYN,
                SYN,
                SYN,
                ACK,
                ACK,
                ACK,
                ACK | 8,
                ACK | 8,
                FIN | ACK,
                RST,
                RST | ACK,
                SYN | ACK,
                FIN,
                0,
                0xff,
            ];
            let flags = chance.pick(&flags);
            self.segment(chance, src, (service.vip, port), flags)
        } else {
            datagram(chance, src, (service.vip, port))
        };
        let at = if chance.one_in(30) { chance.below(world.ports.len()) } else { 0 };
        Some(enter(world, at, &packet))
    }

    fn answer(&mut self, chance: &mut Chance, world: &World) -> Option<(usize, Vec<u8>)> {
        let (port, frame) = self.pick_sent(chance)?;
        let about = whole(&frame).filter(|ip| ip.has_ports() && !ip.is_later())?;
        let (src, dst) = about.ends();
        // Without NAT, answers pass here by mistake alone.
        if is_vip(world, dst.0) && !chance.one_in(8) {
            return None;
        }
        let packet = if about.protocol == TCP {
            let flags = [SYN | ACK, SYN | ACK, ACK, ACK, ACK | 8, FIN | ACK, RST, RST | ACK, SYN, 0];
            let flags = chance.pick(&flags);
            self.segment(chance, dst, src, flags)
        } else {
            datagram(chance, dst, src)
        };
        Some(enter(world, port, &packet))
    }

    /// A TCP segment, most often with the numbers that come next.
    fn segment(&mut self, chance: &mut Chance, src: Socket, dst: Socket, flags: u8) -> Ip {
        let payload = if flags & (SYN | RST) == 0 || chance.one_in(20) { payload(chance, src.0, 20) } else { 0 };
        let (mut at, mut acknowledged) = *self.sequences.entry((src, dst)).or_insert((isn(src), 0));
        match chance.below(12) {
            0 => at = at.wrapping_add(chance.pick(&[1, u32::MAX, 1000, 0x8000_0000])),
            1 => acknowledged = acknowledged.wrapping_add(chance.pick(&[1, u32::MAX, 1460])),
            2 => (at, acknowledged) = (chance.next() as u32, 0),
            _ => {}
        }
        let mut l4 = [src.1.to_be_bytes(), dst.1.to_be_bytes()].concat();
        l4.extend(at.to_be_bytes());
        l4.extend(acknowledged.to_be_bytes());
        let options: &[u8] = if chance.one_in(3) { &[2, 4, 5, 0xb4, 1, 3, 3, 7, 4, 2, 0, 0] } else { &[] };
        l4.extend([(5 + options.len() as u8 / 4) << 4, flags, 0xfa, 0xf0, 0, 0, 0, 0]);
        l4.extend(options);
        l4.extend((0..payload.saturating_sub(options.len())).map(|i| (i as u8).wrapping_mul(31)));
        fix_l4(src.0, dst.0, TCP, &mut l4);
        let packet = dress(chance, Ip::new(src.0, dst.0, TCP, l4));
        // A segment out of order may have come before: only what follows on it moves on.
        if let Some(whole) = whole(&packet.frame())
            && word32(whole.upper(), 4) == self.sequences[&(src, dst)].0
            && flags & RST == 0
        {
            self.sequences.entry((src, dst)).and_modify(|entry| entry.0 = end_of(&whole));
        }
        packet
    }

    fn error(&mut self, chance: &mut Chance, world: &World) -> Option<(usize, Vec<u8>)> {
        let (port, about) = self.something(chance, world)?;
        // For whom it is, which is most often who sent it.
        let dst = match chance.below(12) {
            0 => about.dst,
            1 => ip(if about.is_v4 { "192.0.2.10" } else { "2001:db8::10" }),
            _ => about.src,
        };
        let src = match chance.below(8) {
            0 => about.dst,
            1 => client(chance, about.is_v4),
            _ => ip(if about.is_v4 { "203.0.113.9" } else { "2001:db8:9::9" }),
        };
        let mut quote = about.bytes.clone();
        // A router has taken one from its TTL, and sometimes more was changed on the way.
        quote[about.ttl_at()] = quote[about.ttl_at()].saturating_sub(1);
        if about.is_v4 {
            fix_header(&mut quote);
        }
        if chance.one_in(8) {
            let at = chance.below(quote.len().min(64));
            quote[at] ^= 1 << chance.below(8);
        }
        let most = quote.len();
        let cut = match chance.below(4) {
            0 => chance.below(most + 1),
            1 => about.l4 + 8,
            2 => about.l4 + chance.below(24),
            _ => most,
        };
        quote.truncate(cut.min(1400));
        // Whom the hash chooses can be asked with a packet of the client's, so it has to be one.
        let ends = read::quote(&quote).ok().and_then(|quote| quote.ends);
        if ends.is_some_and(|(sender, receiver)| is_vip(world, sender.0) && !is_client(receiver.0)) {
            return None;
        }
        let kinds: &[[u8; 2]] = if about.is_v4 {
            &[[3, 4], [3, 4], [3, 3], [3, 1], [3, 2], [3, 10], [3, 14], [11, 0], [12, 0], [12, 1], [5, 1], [4, 0]]
        } else {
            &[[2, 0], [2, 0], [1, 4], [1, 0], [1, 1], [1, 5], [3, 0], [4, 0], [4, 1], [4, 2], [100, 0]]
        };
        let [kind, code] = chance.pick(kinds);
        let rest = chance.pick(&[0, 1400, 1280, 1500, 576, 100, 6, 9, 40]);
        // The pointer of ICMPv4 is the first byte of the word, and no other error has one.
        let rest = if about.is_v4 && kind == 12 { rest << 24 } else { rest };
        let packet = icmp(&src.to_string(), &dst.to_string(), kind, code, rest, &quote);
        let packet = dress(chance, packet);
        let at = if chance.one_in(10) { chance.below(world.ports.len()) } else { port };
        Some(enter(world, at, &packet))
    }

    /// A packet that an error could be about, and the port that such an error comes in by.
    fn something(&self, chance: &mut Chance, world: &World) -> Option<(usize, read::Ip)> {
        let service = self.service(chance, world);
        let remembered = match chance.below(3) {
            0 => self.pick_sent(chance),
            1 if !self.came.is_empty() => Some(chance.pick(&self.came)),
            _ => None,
        };
        if let Some((port, frame)) = remembered {
            let about = whole(&frame).filter(read::Ip::has_ports)?;
            // Nobody sends about packets of senders that cannot be.
            let is_plain = [about.src, about.dst].iter().all(|addr| is_plain(*addr));
            return is_plain.then_some((port, about));
        }
        // What a backend sends to a client past the balancer.
        let host = chance.below(3);
        let client = (plain_client(host, service.vip.is_ipv4()), self.client_port(chance));
        let vip = (service.vip, service.port.unwrap_or(80));
        let text = |(addr, port)| SocketAddr::new(addr, port).to_string();
        let packet = match service.is_tcp {
            true => packet::tcp(&text(vip), &text(client), ACK, &[7; 100]),
            false => packet::udp(&text(vip), &text(client), &[7; 100]),
        };
        Some((0, whole(&packet.frame())?))
    }

    fn ping(&mut self, chance: &mut Chance, world: &World) -> Option<(usize, Vec<u8>)> {
        let vip = chance.pick(&world.services).vip;
        let to = match chance.below(4) {
            0 => ip(if vip.is_ipv4() { "10.0.0.2" } else { "fd00::2" }),
            1 => ip(if vip.is_ipv4() { "198.51.100.1" } else { "2001:db8:c::1" }),
            _ => vip,
        };
        let request = if vip.is_ipv4() { 8 } else { 128 };
        let kind = if chance.one_in(4) { chance.pick(&[0, 13, 129, 17]) } else { request };
        let from = client(chance, vip.is_ipv4());
        let rest = chance.pick(&[0, 1, 0x0007_0001, 0xffff_ffff]);
        let fill = chance.pick(&[0, 0x5a, 0xff]);
        let packet = icmp(&from.to_string(), &to.to_string(), kind, 0, rest, &vec![fill; chance.below(64)]);
        let packet = dress(chance, packet);
        let at = if chance.one_in(8) { chance.below(world.ports.len()) } else { 0 };
        Some(enter(world, at, &packet))
    }

    /// A question for an address, an answer, or what says who has one.
    fn neighbor(&mut self, chance: &mut Chance, world: &World) -> Option<(usize, Vec<u8>)> {
        let port = chance.below(world.ports.len());
        if chance.one_in(2) {
            return Some((port, neighbors::discovery(chance, world, port)));
        }
        let hosts = [
            "10.0.0.1",
            "10.0.0.77",
            "10.1.0.11",
            "10.0.0.2",
            "192.0.2.10",
            "192.0.2.99",
            "10.1.0.2",
            "10.1.0.100",
            "192.0.2.26",
            "0.0.0.0",
        ];
        let (from, about) = (chance.pick(&hosts), chance.pick(&hosts));
        let mac = mac_of(ip(from));
        let message = arp(1 + chance.below(2) as u16, (mac, from), ([0; 6], about));
        let tags: Vec<u16> = world.ports[port].vlan.into_iter().collect();
        let to = if chance.one_in(2) { BROADCAST } else { own_mac(port) };
        Some((port, ethernet(to, mac, &tags, ARP, &message)))
    }

    fn other(&mut self, chance: &mut Chance, world: &World) -> Option<(usize, Vec<u8>)> {
        let vip = chance.pick(&world.services).vip;
        let to = if chance.one_in(3) { ip("192.0.2.99") } else { vip };
        // Not fragments, and nothing that a neighbour could have sent.
        let protocol = chance.pick(&[0, 2, 4, 41, 47, 50, 59, 89, 132, 255]);
        let protocol = if to.is_ipv6() && protocol == 0 { 59 } else { protocol };
        let from = client(chance, to.is_ipv4());
        let packet = Ip::new(from, to, protocol, vec![0; chance.below(60)]);
        Some(enter(world, 0, &packet))
    }

    fn pick_sent(&self, chance: &mut Chance) -> Option<(usize, Vec<u8>)> {
        let newest = if chance.one_in(2) { self.sent.len().min(3) } else { self.sent.len() };
        (newest > 0).then(|| self.sent[self.sent.len() - 1 - chance.below(newest)].clone())
    }
}

fn remember(list: &mut Vec<(usize, Vec<u8>)>, frame: (usize, Vec<u8>)) {
    if list.len() == REMEMBERED {
        list.remove(0);
    }
    list.push(frame);
}

fn plain_client(host: usize, is_v4: bool) -> IpAddr {
    ip(&if is_v4 { format!("198.51.100.{}", 7 + host) } else { format!("2001:db8:c::{}", 7 + host) })
}

/// Somebody who sends requests; now and then somebody who cannot.
fn client(chance: &mut Chance, is_v4: bool) -> IpAddr {
    let odd = match (chance.below(60), is_v4) {
        (0, true) => "10.1.0.11",
        (0, false) => "fd01::11",
        (1, true) => "10.0.0.2",
        (1, false) => "fd00::2",
        (2, true) => "192.0.2.20",
        (2, false) => "2001:db8::20",
        (3, true) => "127.0.0.1",
        (3, false) => "::1",
        (4, true) => "224.0.0.5",
        (4, false) => "ff02::1",
        (5, true) => "255.255.255.255",
        (5, false) => "::",
        // On the balancer's own link.
        (6..12, true) => "10.0.0.77",
        (6..12, false) => "fd00::77",
        _ => return plain_client(chance.below(3), is_v4),
    };
    ip(odd)
}

/// Whether requests that come from there are served.
fn is_client(addr: IpAddr) -> bool {
    let text = addr.to_string();
    ["198.51.100.", "2001:db8:c::", "10.0.0.77", "fd00::77"].iter().any(|net| text.starts_with(net))
}

fn is_vip(world: &World, addr: IpAddr) -> bool {
    world.services.iter().any(|service| service.vip == addr)
}

fn is_plain(addr: IpAddr) -> bool {
    let text = addr.to_string();
    !["127.", "224.", "255.", "0."].iter().any(|odd| text.starts_with(odd))
        && !text.starts_with("ff")
        && !text.starts_with("::")
}

fn datagram(chance: &mut Chance, src: Socket, dst: Socket) -> Ip {
    let len = payload(chance, src.0, 8);
    let mut l4 = [src.1.to_be_bytes(), dst.1.to_be_bytes()].concat();
    l4.extend((8 + len as u16).to_be_bytes());
    l4.extend([0, 0]);
    l4.extend((0..len).map(|i| (i as u8).wrapping_mul(17)));
    match chance.below(8) {
        // None at all, which IPv6 does not have.
        0 => {}
        // One that is sent as all ones because it is 0.
        1 if len >= 2 => {
            fix_l4(src.0, dst.0, UDP, &mut l4);
            let check = word(&l4, 6) as u32;
            let filler = word(&l4, 8) as u32 + check;
            l4[8..10].copy_from_slice(&((filler % 0xffff) as u16).to_be_bytes());
            fix_l4(src.0, dst.0, UDP, &mut l4);
        }
        _ => fix_l4(src.0, dst.0, UDP, &mut l4),
    }
    dress(chance, Ip::new(src.0, dst.0, UDP, l4))
}

/// How many bytes go behind a header of `header` bytes: few, or about as many as some MTU takes.
fn payload(chance: &mut Chance, src: IpAddr, header: usize) -> usize {
    if !chance.one_in(5) {
        return chance.pick(&[0, 1, 2, 7, 100, 536]);
    }
    let mtu = chance.pick(&[1400, 1500]);
    let tunnel = chance.pick(&[0, 0, 20, 24, 28, 40, 44, 48]);
    let ip_len = if src.is_ipv4() { 20 } else { 40 };
    mtu + chance.below(3) - 1 - tunnel - ip_len - header
}

/// What may be different about a packet that is right.
fn dress(chance: &mut Chance, packet: Ip) -> Ip {
    let mut packet = packet.tos(chance.pick(&[0, 0, 0xb8, 3, 0x29]));
    packet.ttl = chance.pick(&[64, 64, 61, 128, 255, 64, 64, 2, 1, 0]);
    if chance.below(10) < 7 {
        packet.ttl = 64;
    }
    packet.id = chance.next() as u16;
    if chance.one_in(4) {
        packet = packet.fragment(0);
    }
    match (chance.below(16), packet.src.is_ipv4()) {
        (0, true) => packet = packet.options(&[1, 1, 1, 1, 7, 3, 4, 0]),
        (0, false) => packet = packet.extension(0, &[0, 1, 4, 0, 0, 0, 0]),
        (1, false) => packet = packet.extension(60, &[0, 1, 4, 0, 0, 0, 0]).extension(43, &[0, 4, 0, 0, 0, 0, 0]),
        (2 | 3, _) if matches!(packet.protocol, TCP | UDP | ICMP | ICMP6) => packet = packet.wrong_checksum(),
        _ => {}
    }
    packet
}

/// The frame that brings a packet to a port, and the port.
fn enter(world: &World, port: usize, packet: &Ip) -> (usize, Vec<u8>) {
    let text = packet.src.to_string();
    let near = ["10.0.0.", "fd00::", "10.1.0.", "fd01::"].iter().any(|net| text.starts_with(net));
    let from = if near { packet.src } else { ip(if packet.src.is_ipv4() { "10.0.0.1" } else { "fd00::1" }) };
    let tags: Vec<u16> = world.ports[port].vlan.into_iter().collect();
    (port, ethernet(own_mac(port), mac_of(from), &tags, ethertype(packet.src), &packet.bytes()))
}

/// Now and then a frame arrives broken, tagged, padded or at the wrong place.
fn spoil(frame: Vec<u8>, chance: &mut Chance) -> Vec<u8> {
    let mut spoiled = frame.clone();
    match chance.below(40) {
        0 => spoiled.extend(vec![0xee; 1 + chance.below(30)]),
        1 => spoiled.truncate(chance.below(frame.len())),
        2 => drop(spoiled.splice(12..12, [0x81, 0, 0, chance.pick(&[0, 7, 100])])),
        3 => spoiled[..6].copy_from_slice(&chance.pick(&[[2, 0, 0, 0, 0, 9], BROADCAST])),
        4 => spoiled[12 + chance.below(2)] ^= 1 << chance.below(8),
        5 | 6 => {
            let at = 14 + chance.below(frame.len().min(80) - 14);
            spoiled[at] ^= 1 << chance.below(8);
        }
        7 | 8 => {
            let at = 14 + chance.below(frame.len().min(80) - 14);
            spoiled[at] = chance.next() as u8;
            let has_header =
                frame.len() > 34 && spoiled[12..14] == [8, 0] && usize::from(spoiled[14] & 15) * 4 <= frame.len() - 14;
            if has_header && spoiled[14] & 15 >= 5 {
                fix_header(&mut spoiled[14..]);
            }
        }
        _ => {}
    }
    if is_of_interest(&spoiled) { spoiled } else { frame }
}

/// Whether the reference knows what to do with a frame. Fragments have tests of their own.
fn is_of_interest(frame: &[u8]) -> bool {
    match read::frame(frame) {
        Ok(read::Frame { content: Content::Arp(_), .. }) => true,
        Ok(read::Frame { content: Content::Ip(ip), .. }) => !ip.is_fragment,
        Err(_) => !mentions_fragment(frame),
    }
}

/// Whether a frame that cannot be read might be a fragment.
fn mentions_fragment(frame: &[u8]) -> bool {
    let start = if frame.get(12..14) == Some(&[0x81, 0]) { 18 } else { 14 };
    let ip = frame.get(start..).unwrap_or_default();
    match ip.first().map(|first| first >> 4) {
        Some(4) => ip.len() < 8 || word(ip, 6) & 0x3fff != 0,
        _ => ip.iter().take(64).any(|&byte| byte == 44),
    }
}

/// The IP packet of a frame, or the one in its tunnel; `None` if it cannot be read.
fn whole(frame: &[u8]) -> Option<read::Ip> {
    let Ok(read::Frame { content: Content::Ip(ip), .. }) = read::frame(frame) else { return None };
    let upper = ip.upper();
    let between = match ip.protocol {
        4 | 41 => 0,
        47 => 4,
        UDP if !ip.is_fragment && word(upper, 2) == usize::from(tunnel::GUE_PORT) => 8,
        _ => return Some(ip),
    };
    let inner = upper.get(between..).filter(|inner| inner.len() >= 20)?;
    let kind = if inner[0] >> 4 == 4 { packet::IPV4 } else { packet::IPV6 };
    whole(&ethernet(BROADCAST, BROADCAST, &[], kind, inner))
}

fn word32(bytes: &[u8], at: usize) -> u32 {
    (word(bytes, at) as u32) << 16 | word(bytes, at + 2) as u32
}

/// The sequence number behind a segment.
fn end_of(ip: &read::Ip) -> u32 {
    let data = ip.upper().len() - usize::from(ip.upper()[12] >> 4) * 4;
    let counted = (ip.tcp_flags() & SYN != 0) as u32 + (ip.tcp_flags() & FIN != 0) as u32;
    word32(ip.upper(), 4).wrapping_add(data as u32).wrapping_add(counted)
}

/// A first sequence number, the same every time and near the end for some.
fn isn(socket: Socket) -> u32 {
    if socket.1.is_multiple_of(2) { u32::MAX - 40 } else { 0x1000_0000 }
}
