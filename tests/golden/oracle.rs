//! Judges what came out by the rules that every packet may rely on, from the packets alone: a second parser and plain
//! arithmetic, nothing of the product's.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};

use serde_json::Value;

use crate::case::{Case, Expect, Input, Kind};
use crate::packet::*;
use crate::pieces::whole;
use crate::view::{View, quoted};

/// What a rule that is broken looks like.
pub type Check = Result<(), String>;

/// Turns a condition into a broken rule.
pub fn rule(holds: bool, what: impl Into<String>) -> Check {
    if holds { Ok(()) } else { Err(what.into()) }
}

pub fn same<T: PartialEq + std::fmt::Debug>(what: &str, got: T, wanted: T) -> Check {
    rule(got == wanted, format!("{what} is {got:?}, not {wanted:?}"))
}

/// True for frames that the balancer sends unasked: questions to neighbours and announcements.
pub fn is_own(frame: &[u8]) -> bool {
    let from_us = (0..2).any(|port| frame[6..12] == own_mac(port));
    let tagged = frame[12..14] == [0x81, 0];
    let rest = &frame[if tagged { 16 } else { 12 }..];
    let arp_request = rest.starts_with(&[8, 6]) && rest[2 + 6..2 + 8] == [0, 1];
    let solicitation = rest.starts_with(&[0x86, 0xdd]) && rest[2 + 6] == ICMP6 && rest[2 + 40] == 135;
    from_us && (arp_request || solicitation)
}

/// The address that such a frame is about.
fn asked(frame: &[u8]) -> IpAddr {
    let tagged = frame[12..14] == [0x81, 0];
    let rest = &frame[if tagged { 18 } else { 14 }..];
    if rest[0] >> 4 == 6 {
        let bytes: [u8; 16] = rest[48..64].try_into().expect("sixteen bytes");
        return IpAddr::from(bytes);
    }
    let bytes: [u8; 4] = rest[24..28].try_into().expect("four bytes");
    IpAddr::from(bytes)
}

/// Which flow a frame that came out belongs to: its addresses and ports behind a tunnel header, if there is one.
pub fn flow_of(frame: &[u8]) -> String {
    let Ok(view) = View::read(frame) else { return format!("not ip: {frame:02x?}") };
    let view = match view.protocol {
        47 => {
            let inner = &view.packet[view.l4 + 4..];
            let ethertype = if inner[0] >> 4 == 6 { IPV6 } else { IPV4 };
            match View::read(&ethernet(BROADCAST, BROADCAST, &[], ethertype, inner)) {
                Ok(view) => view,
                Err(error) => return error,
            }
        }
        _ => view,
    };
    // What waits for a first fragment is let go after a burst, and only the first one has ports: each is by itself.
    if view.fragment().is_some() {
        return format!("fragment: {frame:02x?}");
    }
    let upper = view.upper();
    // An error belongs to the flow that it quotes.
    let which = match view.protocol {
        TCP | UDP => upper[..4].to_vec(),
        ICMP | ICMP6 => upper[8..].iter().copied().take(48).collect(),
        _ => Vec::new(),
    };
    format!("{} {} {} {which:02x?}", view.protocol, view.src, view.dst)
}

/// Of the frames that must come out of a port, in order: whether each is an answer of ours, or forwarded.
pub fn answers(case: &Case, port: usize) -> Vec<bool> {
    let judge = Judge::new(case);
    let outputs = case.inputs.iter().filter(|input| !matches!(input.expect, Expect::Drop(_) | Expect::Host));
    let outputs = outputs.filter(|input| judge.out_port(input) == port);
    outputs.flat_map(|input| std::iter::repeat_n(is_answer(&input.expect), frames_of(&input.expect))).collect()
}

/// How many frames come out.
fn frames_of(expect: &Expect) -> usize {
    if let Expect::Pieces { count, .. } = expect { *count } else { 1 }
}

fn is_answer(expect: &Expect) -> bool {
    use Expect::*;
    matches!(expect, Refused | Exceeded | TooBig(_) | Echo | Arp | Advert)
}

/// Judges a whole case: `outputs` by port, and the figures.
pub fn judge(case: &Case, outputs: &[Vec<Vec<u8>>], stats: &Value) -> Check {
    let mut asks = Vec::new();
    let mut left: Vec<VecDeque<&Vec<u8>>> = Vec::new();
    for (port, frames) in outputs.iter().enumerate() {
        asks.extend(frames.iter().filter(|f| is_own(f)).map(|f| (port, asked(f))));
        left.push(frames.iter().filter(|f| !is_own(f)).collect());
    }
    let wanted: Vec<_> = case.asks.iter().map(|&(port, addr)| (port, ip(addr))).collect();
    same("the list of questions to neighbours", asks, wanted)?;
    let mut judge = Judge::new(case);
    let punted = case.inputs.iter().filter(|input| matches!(input.expect, Expect::Host)).count() as u64;
    let (mut sent, mut answered) = (0u64, 0u64);
    let mut drops: HashMap<&str, u64> = HashMap::new();
    for (number, input) in case.inputs.iter().enumerate() {
        let failed = |what: String| format!("packet {}, {:?}: {what}", number + 1, input.expect);
        if let Expect::Drop(reason) = input.expect {
            *drops.entry(reason).or_default() += 1;
            continue;
        }
        if matches!(input.expect, Expect::Host) {
            continue;
        }
        let port = judge.out_port(input);
        if is_answer(&input.expect) {
            answered += 1
        } else {
            sent += 1
        }
        let queue = &mut left[port];
        if matches!(input.expect, Expect::Pieces { .. }) {
            let pieces: Vec<_> = queue.drain(..frames_of(&input.expect).min(queue.len())).collect();
            let frame = whole(&pieces).map_err(failed)?;
            judge.one(input, port, &frame).map_err(failed)?;
            continue;
        }
        // Several workers race, so any frame that fits will do; else it is the next one.
        let places = if case.run == crate::case::Run::Flows { queue.len() } else { queue.len().min(1) };
        let mut why = "nothing came out".to_owned();
        let place = (0..places).find(|&place| match judge.one(input, port, queue[place]) {
            Ok(()) => true,
            Err(error) => {
                why = error;
                false
            }
        });
        queue.remove(place.ok_or_else(|| failed(why))?);
    }
    let rest: usize = left.iter().map(VecDeque::len).sum();
    same("the number of frames that no packet accounts for", rest, 0)?;
    same("punts", stats["punts"].as_u64(), Some(punted))?;
    figures(case, stats, (sent, answered, &drops))
}

/// What the packets say about the figures.
fn figures(case: &Case, stats: &Value, (sent, answered, drops): (u64, u64, &HashMap<&str, u64>)) -> Check {
    let figure = |name: &str| stats[name].as_u64().unwrap_or(u64::MAX);
    same("rx_packets", figure("rx_packets"), case.inputs.len() as u64)?;
    same("tx_packets", figure("tx_packets"), sent)?;
    same("replies", figure("replies"), answered)?;
    same("held", figure("held"), 0)?;
    let counted: HashMap<&str, u64> = stats["drops"]
        .as_object()
        .ok_or("drops is no object")?
        .iter()
        .map(|(reason, count)| (reason.as_str(), count.as_u64().unwrap_or(u64::MAX)))
        .collect();
    same("drops", &counted, drops)?;
    let total =
        figure("tx_packets") + figure("replies") + figure("punts") + figure("held") + counted.values().sum::<u64>();
    same("the sum of all verdicts", total, figure("rx_packets"))?;
    let connections = |name: &str| stats["connections"][name].as_u64().unwrap_or(u64::MAX);
    let got = (connections("created"), connections("expired"), connections("evicted"));
    same("connections created, expired and evicted", got, case.connections.unwrap_or(got))?;
    let open: u64 = backends(stats).map(|b| b["connections"].as_u64().unwrap_or(u64::MAX)).sum();
    rule(open <= connections("active"), "backends have more connections than there are")
}

fn backends(stats: &Value) -> impl Iterator<Item = &Value> {
    let services = stats["services"].as_array().into_iter().flatten();
    services.flat_map(|service| service["backends"].as_array().into_iter().flatten())
}

struct Judge<'a> {
    case: &'a Case,
    /// The backend of each connection so far.
    backends: HashMap<String, String>,
    /// The ports of each datagram in fragments, which its first one alone tells.
    ports: HashMap<String, (u16, u16)>,
}

impl<'a> Judge<'a> {
    fn new(case: &'a Case) -> Self {
        let firsts =
            case.inputs.iter().filter_map(|input| View::read(&input.frame).ok()).filter(|view| !view.is_later());
        let ports = firsts.filter_map(|view| Some((view.datagram()?, (view.port_at(0), view.port_at(2))))).collect();
        Self { case, backends: HashMap::new(), ports }
    }

    /// The ports of a packet, whether or not it has them.
    fn ports(&self, view: &View) -> (u16, u16) {
        let known = view.datagram().and_then(|datagram| self.ports.get(&datagram));
        known.copied().unwrap_or((view.port_at(0), view.port_at(2)))
    }

    /// The port and MAC address of the next hop.
    fn hop(&self, to: IpAddr) -> (usize, Mac) {
        let text = to.to_string();
        let on = |net: &str| text.starts_with(net);
        if on("10.0.0.") || on("fd00::") {
            return (0, mac_of(to));
        }
        if self.case.vlans.len() > 1 && (on("10.1.0.") || on("fd00:1::")) {
            return (1, mac_of(to));
        }
        (0, mac_of(ip(if to.is_ipv4() { "10.0.0.1" } else { "fd00::1" })))
    }

    fn out_port(&self, input: &Input) -> usize {
        use Expect::*;
        let to = match &input.expect {
            Gre { to, .. } | Tunnel { to, .. } | Clamped { to, .. } | Pieces { to, .. } | Direct(to) => ip(to[0]),
            Nat(to) | FullNat { to, .. } | ErrorToBackend(to) => socket(to[0]).ip(),
            Becomes(packet) => packet.dst,
            Back(_) => View::read(&input.frame).map_or(ip("10.0.0.1"), |view| view.dst),
            ErrorToClient(_, client) => socket(client).ip(),
            TunnelError(_) => {
                View::read(&input.frame).and_then(|view| carried(&view)).map_or(ip("10.0.0.1"), |c| c.src)
            }
            _ => return input.port,
        };
        self.hop(to).0
    }

    /// Whether `out` is what `input` must become.
    fn one(&mut self, input: &Input, port: usize, out: &[u8]) -> Check {
        match input.expect {
            Expect::Arp => return self.arp_reply(input, out),
            Expect::Advert => return self.advert(input, out),
            _ => {}
        }
        let was = View::read(input.inside.as_ref().unwrap_or(&input.frame))?;
        let is = View::read(out)?;
        same("source MAC address", is.src_mac, self.case.own_mac(port))?;
        // An answer in place may keep a tag that only carries a priority.
        let tags = is.vlans.iter().copied().filter(|&vid| vid != 0 || !matches!(input.expect, Expect::Echo));
        same("VLAN tags", tags.collect::<Vec<_>>(), self.case.vlans[port].into_iter().collect())?;
        match &input.expect {
            Expect::Gre { from, to } => self.tunnel(input, &was, &is, (Kind::Gre, from, to)),
            Expect::Tunnel { kind, from, to } | Expect::Pieces { kind, from, to, .. } => {
                self.tunnel(input, &was, &is, (*kind, from, to))
            }
            Expect::Clamped { kind, from, to, mss } => {
                let mut lowered = View::read(input.inside.as_ref().unwrap_or(&input.frame))?;
                let at = lowered.l4 + 22;
                lowered.packet[at..at + 2].copy_from_slice(&mss.to_be_bytes());
                let (src, dst, l4) = (lowered.src, lowered.dst, lowered.l4);
                fix_l4(src, dst, TCP, &mut lowered.packet[l4..]);
                self.tunnel(input, &lowered, &is, (*kind, from, to))
            }
            Expect::Direct(to) => self.direct(input, &was, &is, to),
            Expect::Nat(to) => self.nat(input, &was, &is, to),
            Expect::FullNat { from, to } => self.full_nat(input, &was, &is, (from, to)),
            Expect::Becomes(packet) => self.becomes(&was, &is, packet),
            Expect::Back(vip) => self.back(&was, &is, socket(vip)),
            Expect::ErrorToBackend(to) => self.error_to_backend(&was, &is, to),
            Expect::ErrorToClient(vip, client) => self.error_to_client(&was, &is, socket(vip), socket(client)),
            Expect::TunnelError(mtu) => {
                let inner = carried(&was)?;
                same("next hop", is.dst_mac, self.hop(inner.src).1)?;
                own_error(port, &inner, &is, if mtu.is_some() { TOO_BIG } else { NO_HOST }, *mtu)
            }
            Expect::Refused => {
                same("next hop", is.dst_mac, was.src_mac)?;
                same("source", is.src, was.dst)?;
                error_about(&was, &is, NO_PORT, None)
            }
            Expect::Exceeded => answered_error(input, &was, &is, EXCEEDED, None),
            Expect::TooBig(mtu) => answered_error(input, &was, &is, TOO_BIG, Some(*mtu)),
            _ => echo(&was, &is),
        }
    }

    /// P5, and P6 for errors: the same connection, the same backend.
    fn sticks(&mut self, input: &Input, was: &View, backend: String, to: &[&str]) -> Check {
        let (src, dst, protocol, ports) = match was.protocol {
            TCP | UDP => (was.src, was.dst, was.protocol, self.ports(was)),
            _ if matches!(was.upper()[0], 8 | 128) => (was.src, was.dst, was.protocol, (was.port_at(4), 0)),
            // What an error quotes went the other way.
            _ => {
                let (src, dst, protocol, l4) = quoted(&was.upper()[8..])?;
                let port = |at: usize| u16::from_be_bytes([was.upper()[8 + l4 + at], was.upper()[9 + l4 + at]]);
                (dst, src, protocol, (port(2), port(0)))
            }
        };
        let known = self.backends.entry(format!("{protocol} {src} {dst} {ports:?}")).or_insert(backend.clone());
        if input.moves && !to.contains(&known.as_str()) {
            known.clone_from(&backend);
        }
        same("the connection's backend", &backend, &*known)
    }

    fn tunnel(&mut self, input: &Input, was: &View, is: &View, (kind, from, to): (Kind, &str, &[&str])) -> Check {
        rule(to.iter().any(|&b| ip(b) == is.dst), format!("{} is no backend of this service", is.dst))?;
        same("next hop", is.dst_mac, self.hop(is.dst).1)?;
        same("outer source", is.src, ip(from))?;
        same("outer header length", is.l4, if is.src.is_ipv4() { 20 } else { 40 })?;
        same("bytes behind the packet", is.trailer, 0)?;
        let (dscp, ttl) = self.case.marks;
        same("outer TTL", is.ttl, ttl)?;
        same("outer DSCP and ECN", is.tos, dscp.map_or(was.tos, |dscp| dscp << 2 | was.tos & 3))?;
        let in_pieces = matches!(input.expect, Expect::Pieces { .. });
        if is.src.is_ipv4() {
            same("outer DF", is.df, was.df && !in_pieces)?;
        }
        let (protocol, len) = match (kind, was.src.is_ipv4()) {
            (Kind::Gre, _) => (47, 4),
            (Kind::Ipip, true) => (4, 0),
            (Kind::Ipip, false) => (41, 0),
            (Kind::Gue, _) => (UDP, 8),
        };
        same("outer protocol", is.protocol, protocol)?;
        let (between, inner) = is.upper().split_at(len);
        match kind {
            Kind::Ipip => {}
            Kind::Gre => {
                same("GRE flags and version", &between[..2], &[0, 0][..])?;
                same("GRE protocol", &between[2..], &ethertype(was.src).to_be_bytes()[..])?;
            }
            Kind::Gue => {
                let word = |at: usize| u16::from_be_bytes([between[at], between[at + 1]]);
                rule(word(0) >= 49_152, "a source port that is not dynamic")?;
                same("GUE's port", word(2), 6080)?;
                same("UDP length", usize::from(word(4)), is.upper().len())?;
                match is.src.is_ipv4() {
                    true => same("UDP checksum", word(6), 0)?,
                    false => same("the UDP checksum's sum", is.l4_sum(), 0xffff)?,
                }
            }
        }
        same("the inner packet", inner, &was.packet[..])?;
        rule(in_pieces || is.packet.len() <= self.case.mtu(), "longer than the MTU")?;
        self.sticks(input, was, is.dst.to_string(), to)
    }

    fn direct(&mut self, input: &Input, was: &View, is: &View, to: &[&str]) -> Check {
        let found = to.iter().find(|&&b| mac_of(ip(b)) == is.dst_mac);
        let backend = found.ok_or_else(|| format!("{:02x?} is no backend of this service", is.dst_mac))?;
        same("the packet", &is.packet, &was.packet)?;
        self.sticks(input, was, (*backend).to_owned(), to)
    }

    fn nat(&mut self, input: &Input, was: &View, is: &View, to: &[&str]) -> Check {
        // A later fragment has no port to tell two backends with one address apart, nor has a ping.
        let named = to.iter().map(|&b| socket(b)).find(|b| b.ip() == is.dst).filter(|_| !was.has_ports());
        let now = named.unwrap_or(SocketAddr::new(is.dst, is.port_at(2)));
        rule(to.iter().any(|&b| socket(b) == now), format!("{now} is no backend of this service"))?;
        same("next hop", is.dst_mac, self.hop(is.dst).1)?;
        let mut wanted = was.packet.clone();
        put_address(&mut wanted, true, now.ip());
        if was.has_ports() {
            wanted[was.l4 + 2..was.l4 + 4].copy_from_slice(&now.port().to_be_bytes());
        }
        translated(was, is, wanted)?;
        self.sticks(input, was, now.to_string(), to)
    }

    /// Rule 13: a local end is a connection's own, and keeps being it.
    fn full_nat(&mut self, input: &Input, was: &View, is: &View, (from, to): (&[&str], &[&str])) -> Check {
        let (local, server) = (SocketAddr::new(is.src, is.port_at(0)), SocketAddr::new(is.dst, is.port_at(2)));
        rule(from.iter().any(|&a| ip(a) == local.ip()), format!("{local} is no local address"))?;
        rule(local.port() >= 1024, format!("{local} is not for clients"))?;
        rule(!self.case.config.contains(&format!("{}\"\nport = {}\n", local.ip(), local.port())), "a VIP's port")?;
        rule(to.iter().any(|&b| socket(b) == server), format!("{server} is no backend of this service"))?;
        same("next hop", is.dst_mac, self.hop(is.dst).1)?;
        let mut wanted = was.packet.clone();
        put_address(&mut wanted, false, local.ip());
        put_address(&mut wanted, true, server.ip());
        wanted[was.l4..was.l4 + 2].copy_from_slice(&local.port().to_be_bytes());
        wanted[was.l4 + 2..was.l4 + 4].copy_from_slice(&server.port().to_be_bytes());
        translated(was, is, wanted)?;
        let outside = format!("{} {local} to {server}", was.protocol);
        self.sticks(input, was, outside.clone(), &[])?;
        same("connections with this outside tuple", self.backends.values().filter(|o| **o == outside).count(), 1)
    }

    fn becomes(&self, was: &View, is: &View, packet: &Ip) -> Check {
        same("next hop", is.dst_mac, self.hop(is.dst).1)?;
        let mut wanted = packet.bytes();
        // Out of IPv6, what may be fragmented has an identification that nobody can guess (RFC 7915 section 5.1).
        if was.src.is_ipv6() && packet.src.is_ipv4() {
            wanted[4..6].copy_from_slice(&is.packet[4..6]);
            fix_header(&mut wanted[..20]);
        }
        same("the packet", &is.packet, &wanted)
    }

    fn back(&mut self, was: &View, is: &View, vip: SocketAddr) -> Check {
        same("next hop", is.dst_mac, self.hop(is.dst).1)?;
        let mut wanted = was.packet.clone();
        put_address(&mut wanted, false, vip.ip());
        if was.has_ports() {
            wanted[was.l4..was.l4 + 2].copy_from_slice(&vip.port().to_be_bytes());
        }
        translated(was, is, wanted)
    }

    fn error_to_backend(&mut self, was: &View, is: &View, to: &[&str]) -> Check {
        let (src, _, _, l4) = quoted(is.upper().get(8..).ok_or("no ICMP error")?)?;
        let at = 8 + l4;
        let now = SocketAddr::new(src, u16::from_be_bytes([is.upper()[at], is.upper()[at + 1]]));
        rule(to.iter().any(|&b| socket(b) == now), format!("quotes {now}, no backend of this service"))?;
        same("destination", is.dst, now.ip())?;
        same("source", is.src, was.src)?;
        same("next hop", is.dst_mac, self.hop(is.dst).1)?;
        error_through_nat(was, is, false, now)?;
        // The quote is of a packet to the client, so the connection is the other way round.
        let (vip, client, protocol, l4) = quoted(&was.upper()[8..])?;
        let port = |at: usize| u16::from_be_bytes([was.upper()[8 + l4 + at], was.upper()[9 + l4 + at]]);
        let key = format!("{protocol} {client} {vip} {:?}", (port(2), port(0)));
        same("the connection's backend", Some(&now.to_string()), self.backends.get(&key))
    }

    fn error_to_client(&mut self, was: &View, is: &View, vip: SocketAddr, client: SocketAddr) -> Check {
        same("destination", is.dst, client.ip())?;
        same("source", is.src, vip.ip())?;
        same("next hop", is.dst_mac, self.hop(is.dst).1)?;
        error_through_nat(was, is, true, vip)
    }

    fn arp_reply(&self, input: &Input, out: &[u8]) -> Check {
        let tags = self.case.vlans[input.port].map_or(0, |_| 4);
        let (asked, said) = (&input.frame[14 + tags..], &out[14 + tags..]);
        same("destination MAC address", &out[..6], &asked[8..14])?;
        same("source MAC address", &out[6..12], &self.case.own_mac(input.port)[..])?;
        same("length", out.len(), 42 + tags)?;
        same("ethertype", &out[12 + tags..14 + tags], &ARP.to_be_bytes()[..])?;
        same("operation", &said[..8], &[0, 1, 8, 0, 6, 4, 0, 2][..])?;
        same("sender", &said[8..18], &[&self.case.own_mac(input.port)[..], &asked[24..28]].concat()[..])?;
        same("target", &said[18..28], &asked[8..18])
    }

    fn advert(&self, input: &Input, out: &[u8]) -> Check {
        let (was, is) = (View::read(&input.frame)?, View::read(out)?);
        let target = &was.upper()[8..24];
        let is_probe = was.src.is_unspecified();
        let to = if is_probe { ip("ff02::1") } else { was.src };
        let to_mac = if is_probe { [0x33, 0x33, 0, 0, 0, 1] } else { was.src_mac };
        same("destination MAC address", is.dst_mac, to_mac)?;
        same("source MAC address", is.src_mac, self.case.own_mac(input.port))?;
        same("destination", is.dst, to)?;
        same("source", octets(is.src), target.to_vec())?;
        same("hop limit", is.ttl, 255)?;
        same("type and code", &is.upper()[..2], &[136, 0][..])?;
        same("the ICMP checksum's sum", is.l4_sum(), 0xffff)?;
        same("solicited flag", is.upper()[4] & 0x40 != 0, !is_probe)?;
        same("target", &is.upper()[8..24], target)?;
        same("its option", &is.upper()[24..], &[&[2, 1][..], &self.case.own_mac(input.port)].concat()[..])
    }
}

/// Type and code, in IPv4 and in IPv6.
type ErrorKind = [[u8; 2]; 2];
const EXCEEDED: ErrorKind = [[11, 0], [3, 0]];
const TOO_BIG: ErrorKind = [[3, 4], [2, 0]];
const NO_HOST: ErrorKind = [[3, 1], [1, 3]];
const NO_PORT: ErrorKind = [[3, 3], [1, 4]];

/// An error of our own about what came in, back to where that came from.
fn answered_error(input: &Input, was: &View, is: &View, kind: ErrorKind, mtu: Option<u32>) -> Check {
    same("next hop", is.dst_mac, was.src_mac)?;
    own_error(input.port, was, is, kind, mtu)
}

/// An error from the address of a port.
fn own_error(port: usize, was: &View, is: &View, kind: ErrorKind, mtu: Option<u32>) -> Check {
    let own: &[&str] = if port == 0 { &["10.0.0.2", "fd00::2"] } else { &["10.1.0.2", "fd00:1::2"] };
    rule(own.iter().any(|&a| ip(a) == is.src), format!("{} is not our address", is.src))?;
    error_about(was, is, kind, mtu)
}

/// An error about `was`, or about as much of it as is known.
fn error_about(was: &View, is: &View, kind: ErrorKind, mtu: Option<u32>) -> Check {
    same("destination", is.dst, was.src)?;
    same("protocol", is.protocol, if was.src.is_ipv4() { ICMP } else { ICMP6 })?;
    same("TTL", is.ttl, 64)?;
    rule(is.upper().len() >= 8, "no ICMP error")?;
    same("type and code", &is.upper()[..2], &kind[usize::from(!was.src.is_ipv4())][..])?;
    same("the ICMP checksum's sum", is.l4_sum(), 0xffff)?;
    same("MTU", is.upper()[4..8].to_vec(), mtu.unwrap_or(0).to_be_bytes().to_vec())?;
    let quote = &is.upper()[8..];
    rule(was.packet.starts_with(quote), "quotes something else")?;
    rule(quote.len() >= was.packet.len().min(was.l4 + 8), "quotes too little")?;
    rule(is.packet.len() <= if is.src.is_ipv4() { 576 } else { 1280 }, "quotes too much")
}

/// What the GRE packet carried that an error quotes, as far as it is quoted.
fn carried(error: &View) -> Result<View, String> {
    let (_, _, protocol, l4) = quoted(&error.upper()[8..])?;
    same("what is quoted", protocol, 47)?;
    let inner = &error.upper()[8 + l4 + 4..];
    let (src, dst, protocol, l4) = quoted(inner)?;
    let (dst_mac, src_mac, vlans) = (error.dst_mac, error.src_mac, Vec::new());
    Ok(View {
        dst_mac,
        src_mac,
        vlans,
        src,
        dst,
        protocol,
        ttl: 0,
        tos: 0,
        df: true,
        packet: inner.to_vec(),
        l4,
        trailer: 0,
    })
}

/// An echo reply, in place of the request.
fn echo(was: &View, is: &View) -> Check {
    same("source", is.src, was.dst)?;
    same("destination", is.dst, was.src)?;
    same("next hop", is.dst_mac, was.src_mac)?;
    same("TTL", is.ttl, 64)?;
    same("type", is.upper()[0], if was.src.is_ipv4() { 0 } else { 129 })?;
    same("the ICMP checksum's sum", is.l4_sum(), 0xffff)?;
    same("identifier, number and payload", &is.upper()[4..], &was.upper()[4..])
}

/// P4 and P8 for NAT: `wanted` is what came in with the new address and port; TTL and checksums are still the old ones.
fn translated(was: &View, is: &View, mut wanted: Vec<u8>) -> Check {
    same("the packet's length", is.packet.len(), wanted.len())?;
    same("where the upper layer begins", is.l4, was.l4)?;
    let ttl_at = if was.src.is_ipv4() { 8 } else { 7 };
    wanted[ttl_at] -= 1;
    if was.src.is_ipv4() {
        fix_header(&mut wanted);
    }
    if was.is_later() {
        return same("the fragment", &is.packet, &wanted);
    }
    // In a first fragment this is the sum of a part; what the change adds to it is the same as for all.
    let at = was.l4 + checksum_at(was.protocol);
    let (before, after) = (&was.packet[at..at + 2], &is.packet[at..at + 2]);
    if was.protocol == UDP && before == [0, 0] {
        same("the UDP checksum that was not there", after, &[0, 0][..])?;
    } else {
        let residue = |view: &View| view.l4_sum() % 0xffff;
        same("how far the checksum is off", residue(is), residue(was))?;
        rule(was.protocol != UDP || after != [0, 0], "a computed UDP checksum was sent as none")?;
    }
    wanted[at..at + 2].copy_from_slice(after);
    same("the packet", &is.packet, &wanted)
}

fn put_address(packet: &mut [u8], is_destination: bool, addr: IpAddr) {
    let (first, len) = if addr.is_ipv4() { (12, 4) } else { (8, 16) };
    let at = first + if is_destination { len } else { 0 };
    packet[at..at + len].copy_from_slice(&octets(addr));
}

/// An error that NAT passed on: type, code and second word stay, the quote is of the packet as its sender sent it.
fn error_through_nat(was: &View, is: &View, is_destination: bool, now: SocketAddr) -> Check {
    same("TTL", is.ttl, was.ttl - 1)?;
    same("type and code", &is.upper()[..2], &was.upper()[..2])?;
    same("second word", &is.upper()[4..8], &was.upper()[4..8])?;
    same("the ICMP checksum's sum", is.l4_sum(), 0xffff)?;
    same("the message's length", is.upper().len(), was.upper().len())?;
    let (before, after) = (&was.upper()[8..], &is.upper()[8..]);
    let (.., protocol, l4) = quoted(before)?;
    let mut wanted = before.to_vec();
    put_address(&mut wanted, is_destination, now.ip());
    let at = l4 + if is_destination { 2 } else { 0 };
    wanted[at..at + 2].copy_from_slice(&now.port().to_be_bytes());
    if now.is_ipv4() {
        fix_header(&mut wanted);
    }
    let check = l4 + checksum_at(protocol);
    if let (Some(place), Some(now)) = (wanted.get_mut(check..check + 2), after.get(check..check + 2)) {
        place.copy_from_slice(now);
    }
    same("the quote", after, &wanted)?;
    let total = if now.is_ipv4() {
        usize::from(u16::from_be_bytes([before[2], before[3]]))
    } else {
        40 + usize::from(u16::from_be_bytes([before[4], before[5]]))
    };
    if before.len() == total {
        let sum = |quote: &[u8]| {
            let (src, dst, protocol, l4) = quoted(quote)?;
            Ok::<_, String>(l4_sum(src, dst, protocol, &quote[l4..]) % 0xffff)
        };
        same("how far the quoted checksum is off", sum(after)?, sum(before)?)?;
    }
    Ok(())
}

fn socket(text: &str) -> SocketAddr {
    text.parse().unwrap_or_else(|_| panic!("{text} is no address with a port"))
}
