//! The reference: what a balancer does with one packet, written to be read and not to be fast. Tables are maps, a packet is
//! read whole, and nothing of the product is used but its answer to the one question that is its own to answer: which
//! backend a new connection gets.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use crate::crossing::{self, Refusal};
use crate::discovery;
use crate::fragments::Fragments;
use crate::local;
use crate::packet::{ICMP6, TCP, UDP, fix_header, mac_of};
use crate::read::{self, Content, Frame, Ip};
use crate::rewrite::{self, Socket};
use crate::tcp::{Direction, Phase, Sequences, after_udp, is_middle, is_syn};
use crate::tunnel::{self, Entropy};
use crate::world::{Mode, Service, State, World};

/// How long a local port of full-NAT rests after its connection.
const REST_S: u64 = 120;

/// What becomes of a packet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Fate {
    /// Leaves by a port.
    Sent(usize, Vec<u8>),
    /// Leaves by a port, cut into pieces that fit; the frame before that, without its identification.
    InPieces(usize, Vec<u8>),
    /// Waits for the MAC address of the next hop, which is asked for.
    Held,
    /// Waits for the first fragment of its datagram.
    Waits,
    /// Answered by the port it came in by.
    Answered(Vec<u8>),
    /// Dropped under this reason.
    Dropped(&'static str),
}

/// Protocol, source and destination.
pub type Tuple = (u8, Socket, Socket);

/// What is the product's own to choose.
pub trait Choices {
    /// The backend for a new connection with this tuple, if any.
    fn backend(&self, service: &Service, tuple: Tuple) -> Option<IpAddr>;

    /// The local address and port from which full-NAT has sent the packet on.
    fn local_end(&self) -> Option<Socket>;

    /// The identification of the IPv4 packet that was sent on.
    fn identification(&self) -> u16;

    /// What makes the flow of the packet that was sent on differ from others, and the UDP checksum of GUE.
    fn entropy(&self, mode: Mode) -> (Entropy, u16);
}

pub type Choose<'a> = &'a dyn Choices;

/// Where a connection goes. A new configuration with the same leaves it alone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Home {
    service: &'static str,
    vip: (IpAddr, Option<u16>),
    pub mode: Mode,
    pub address: IpAddr,
    port: Option<u16>,
}

#[derive(Clone, Debug)]
pub struct Connection {
    /// `None` once a configuration has come without it.
    home: Option<Home>,
    pub client: Socket,
    pub vip: Socket,
    /// What NAT replaces the VIP by.
    pub server: Socket,
    /// What full-NAT replaces the client by; nobody can know before a packet was sent on.
    pub local: Option<Socket>,
    phase: Phase,
    sequences: Sequences,
    /// The second in which it is over.
    ends_s: u64,
}

pub struct Reference {
    pub world: World,
    pub now_ns: u64,
    connections: BTreeMap<u64, Connection>,
    by_tuple: HashMap<Tuple, (u64, Direction)>,
    /// When the connections ended that full-NAT had from a local to a remote end.
    freed: HashMap<Tuple, u64>,
    /// What each flow had in the outer headers of its tunnel.
    entropies: HashMap<(Mode, IpAddr, Tuple), Entropy>,
    pub fragments: Fragments,
    pub created: u64,
    pub adopted: u64,
    pub stateless: u64,
}

impl Reference {
    pub fn new(world: World, now_ns: u64) -> Self {
        let (connections, by_tuple) = (BTreeMap::new(), HashMap::new());
        let (freed, entropies) = (HashMap::new(), HashMap::new());
        Self {
            world,
            now_ns,
            connections,
            by_tuple,
            freed,
            entropies,
            fragments: Fragments::default(),
            created: 0,
            adopted: 0,
            stateless: 0,
        }
    }

    /// Another configuration. Connections stay with backends that are the same in it.
    pub fn reload(&mut self, world: World) {
        self.world = world;
        for connection in self.connections.values_mut() {
            let is_there = |home: &Home| self.world.services.iter().any(|service| homes(service).any(|h| h == *home));
            connection.home = connection.home.take().filter(is_there);
        }
    }

    /// Connections that are not over.
    pub fn active(&self) -> usize {
        self.connections.values().filter(|connection| self.now_s() < connection.ends_s).count()
    }

    fn now_s(&self) -> u64 {
        self.now_ns / 1_000_000_000
    }

    /// What becomes of a frame that comes in by `port`.
    pub fn step(&mut self, port: usize, frame: &[u8], choose: Choose) -> Fate {
        match self.frame(port, frame, choose).unwrap_or_else(Fate::Dropped) {
            // Whoever says that it has our MAC address gets no answer: a switch would bring it back to us.
            Fate::Answered(answer) if answer[..6] == self.world.ports[port].mac => Fate::Dropped("looped"),
            fate => fate,
        }
    }

    fn frame(&mut self, port: usize, bytes: &[u8], choose: Choose) -> Result<Fate, &'static str> {
        let frame = read::frame(bytes)?;
        let own = &self.world.ports[port];
        if frame.vids != own.vlan.map(usize::from).into_iter().collect::<Vec<_>>() {
            return Err("vlan_mismatch");
        }
        if frame.dst_mac != own.mac {
            let is_question = match &frame.content {
                Content::Arp(_) => true,
                Content::Ip(ip) => !ip.is_v4 && ip.protocol == ICMP6,
            };
            let is_group = frame.dst_mac[0] & 1 == 1;
            match (is_group, is_question) {
                (true, true) => {}
                (true, false) => return Err("not_ours"),
                (false, _) => return Err("foreign_mac"),
            }
        }
        let ip = match &frame.content {
            Content::Arp(message) => return discovery::arp(&self.world, port, message).map(Fate::Answered),
            Content::Ip(ip) => ip,
        };
        // No message of that length comes by this link, and no answer to it could leave.
        if matches!(ip.protocol, 1 | 58) && ip.bytes.len() > self.world.ports[port].mtu {
            return Err("too_big");
        }
        if ip.is_fragment {
            return self.fragment(port, bytes, &frame, ip, choose);
        }
        if discovery::is_discovery(ip) {
            return discovery::discovery(&self.world, port, &frame, ip).map(Fate::Answered);
        }
        // Nothing else is taken from a frame that more than one host got.
        if frame.dst_mac[0] & 1 == 1 {
            return Err("not_ours");
        }
        match ip.protocol {
            TCP | UDP => self.flow(port, &frame, ip, choose),
            1 if ip.is_v4 => self.icmp(port, bytes, &frame, ip, choose),
            58 if !ip.is_v4 => self.icmp(port, bytes, &frame, ip, choose),
            _ => Err(self.nobodys(ip.dst)),
        }
    }

    /// Why a packet that nothing claims is dropped.
    fn nobodys(&self, dst: IpAddr) -> &'static str {
        if self.is_local(dst) { "no_service" } else { "not_ours" }
    }

    /// The same for TCP and UDP, of which full-NAT's own addresses get replies.
    fn nobodys_flow(&self, dst: IpAddr) -> &'static str {
        let is_own_end = self.world.services.iter().any(|service| service.local_addresses().contains(&dst));
        if is_own_end { "no_connection" } else { self.nobodys(dst) }
    }

    pub fn is_vip(&self, addr: IpAddr) -> bool {
        self.world.services.iter().any(|service| service.vip == addr)
    }

    /// Whether an address is one of ours: a port's, or a VIP.
    pub fn is_local(&self, addr: IpAddr) -> bool {
        let of_service = |service: &Service| service.vip == addr || service.local_addresses().contains(&addr);
        self.world.services.iter().any(of_service)
            || self.world.ports.iter().any(|port| local::addresses(port).any(|own| own == addr))
    }

    // ---- TCP and UDP ---------------------------------------------------------------------------------------------

    pub fn flow(&mut self, port: usize, frame: &Frame, ip: &Ip, choose: Choose) -> Result<Fate, &'static str> {
        let (src, dst) = ip.ends();
        if let Some((id, direction)) = self.find((ip.protocol, src, dst)) {
            let connection = &self.connections[&id];
            // A SYN on a closing connection is the next one, at once (rule 15).
            let begins_anew = ip.protocol == TCP
                && is_syn(ip.tcp_flags())
                && connection.phase == Phase::Fin
                && direction == Direction::Request;
            if self.serving(connection).is_some() && !begins_anew {
                return self.known(port, frame, ip, id, direction, choose);
            }
            self.remove(id);
        }
        self.unknown(port, frame, ip, choose)
    }

    /// The connection of a tuple and which way the tuple goes, unless it is over.
    pub fn find(&mut self, tuple: Tuple) -> Option<(u64, Direction)> {
        let &(id, direction) = self.by_tuple.get(&tuple)?;
        if self.connections[&id].ends_s <= self.now_s() {
            self.remove(id);
            return None;
        }
        Some((id, direction))
    }

    pub fn connection(&self, id: u64) -> &Connection {
        &self.connections[&id]
    }

    fn remove(&mut self, id: u64) {
        let ends_s = self.connections.remove(&id).map_or(0, |connection| connection.ends_s);
        let over_s = ends_s.min(self.now_s());
        self.freed
            .extend(self.by_tuple.iter().filter(|(_, of)| **of == (id, Direction::Reply)).map(|(t, _)| (*t, over_s)));
        self.by_tuple.retain(|_, (other, _)| *other != id);
    }

    /// Where a connection goes, unless that is gone or down.
    pub fn serving(&self, connection: &Connection) -> Option<Home> {
        let home = connection.home.clone()?;
        let service = self.world.services.iter().find(|service| service.name == home.service)?;
        let backend = service.backends.iter().zip(homes(service)).find(|(_, other)| *other == home)?.0;
        (backend.state != State::Down).then_some(home)
    }

    fn known(
        &mut self,
        port: usize,
        frame: &Frame,
        ip: &Ip,
        id: u64,
        direction: Direction,
        choose: Choose,
    ) -> Result<Fate, &'static str> {
        let now_s = self.now_s();
        let home = self.serving(&self.connections[&id]).ok_or("no_backend")?;
        let sees_replies = home.mode.is_nat();
        let idle = self.world.services.iter().find(|s| s.name == home.service).map(|s| s.idle).ok_or("no_service")?;
        let connection = self.connections.get_mut(&id).ok_or("no_connection")?;
        connection.phase = match ip.protocol {
            TCP => connection.sequences.after(connection.phase, direction, ip, sees_replies),
            _ => after_udp(connection.phase, direction, sees_replies),
        };
        // Whole seconds: a connection is never over before its time, and at the end of that second at the latest.
        connection.ends_s = now_s + connection.phase.idle_s(&idle) + 1;
        match direction {
            Direction::Request => self.request(port, frame, ip, &home, id, choose),
            Direction::Reply => self.back(port, frame, ip, id, choose),
        }
    }

    fn unknown(&mut self, port: usize, frame: &Frame, ip: &Ip, choose: Choose) -> Result<Fate, &'static str> {
        let (src, dst) = ip.ends();
        let service = self.service(dst, ip.protocol).ok_or_else(|| self.nobodys_flow(ip.dst))?.clone();
        if local::is_martian(ip.src) {
            return Err("martian");
        }
        if self.is_local(ip.src) {
            return Err("looped");
        }
        let is_nat = service.mode.is_nat();
        let flags = ip.tcp_flags();
        let opens = ip.protocol == UDP || is_syn(flags);
        // Another balancer may have owned the connection; the consistent hash finds its backend again (rule 21).
        let adopts = !opens && !is_nat && is_middle(flags);
        if is_nat && !opens {
            return Err("no_connection");
        }
        // Nothing is remembered of a packet that goes nowhere.
        if is_nat && ip.ttl() <= 1 {
            return Ok(self.time_exceeded(port, frame, ip));
        }
        if ip.ttl() == 0 {
            return Err("ttl_exceeded");
        }
        let address = self.choose(&service, (ip.protocol, src, dst), choose)?;
        if address == ip.src {
            return Err("looped");
        }
        let home = homes(&service).find(|home| home.address == address).ok_or("no_backend")?;
        let server = if is_nat { (address, home.port.unwrap_or(dst.1)) } else { dst };
        if opens || adopts {
            let id = self.open(ip, &service, home.clone(), server)?;
            self.adopted += u64::from(adopts);
            self.request(port, frame, ip, &home, id, choose)
        } else {
            self.stateless += 1;
            self.forward(port, frame, ip, &home, (src, dst), choose)
        }
    }

    /// Sends a client's packet of a connection on.
    fn request(
        &mut self,
        port: usize,
        frame: &Frame,
        ip: &Ip,
        home: &Home,
        id: u64,
        choose: Choose,
    ) -> Result<Fate, &'static str> {
        if home.mode == Mode::FullNat && self.connections[&id].local.is_none() {
            self.note_local(ip.protocol, id, choose);
        }
        let connection = &self.connections[&id];
        // Of a later fragment nobody can see the port, and here each service has one address.
        let service = self.world.services.iter().find(|service| service.name == home.service);
        let address = service.and_then(|service| service.local_addresses().first().copied());
        let src = connection.local.or(address.map(|address| (address, 0))).unwrap_or(connection.client);
        self.forward(port, frame, ip, home, (src, connection.server), choose)
    }

    /// Full-NAT has chosen where it connects from. It may be any end that nobody else uses, and that nobody has used for
    /// two minutes (rules 13 and 14).
    pub fn note_local(&mut self, protocol: u8, id: u64, choose: Choose) {
        let Some(local) = choose.local_end() else { return };
        let Connection { vip, server, .. } = self.connections[&id];
        let service = self.service(vip, protocol);
        let is_allowed = service.is_some_and(|service| service.local_addresses().contains(&local.0));
        assert!(is_allowed && local.1 >= 1024, "connected from {local:?}");
        assert!(self.service(local, protocol).is_none(), "{local:?} is a VIP's");
        let back = (protocol, server, local);
        assert!(self.find(back).is_none(), "two connections between {local:?} and {server:?}");
        let freed = self.freed.get(&back).copied();
        assert!(freed.is_none_or(|s| s + REST_S <= self.now_s()), "{local:?} to {server:?} has not rested");
        self.by_tuple.insert(back, (id, Direction::Reply));
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.local = Some(local);
        }
    }

    /// The service of a destination: one for the port before one for every port.
    pub fn service(&self, dst: Socket, protocol: u8) -> Option<&Service> {
        let of_vip = || self.world.services.iter().filter(|s| s.vip == dst.0 && s.protocol() == protocol);
        of_vip().find(|s| s.port == Some(dst.1)).or_else(|| of_vip().find(|s| s.port.is_none()))
    }

    /// Asks for a backend; it has to be one that takes new connections (P2).
    pub fn choose(&self, service: &Service, tuple: Tuple, choose: Choose) -> Result<IpAddr, &'static str> {
        let takes_new = |address: IpAddr| {
            service.backends.iter().any(|b| b.address == address && b.state == State::Up && b.weight > 0)
        };
        match choose.backend(service, tuple) {
            Some(address) if takes_new(address) => Ok(address),
            Some(address) => panic!("{}: {address} was chosen, which takes no new connections", service.name),
            None if service.backends.iter().any(|b| takes_new(b.address)) => {
                panic!("{}: nobody was chosen, although some take new connections", service.name)
            }
            None => Err("no_backend"),
        }
    }

    fn open(&mut self, ip: &Ip, service: &Service, home: Home, server: Socket) -> Result<u64, &'static str> {
        let (client, vip) = ip.ends();
        let there = (ip.protocol, client, vip);
        let back = (home.mode == Mode::Nat).then_some((ip.protocol, server, client));
        if let Some((other, _)) = back.and_then(|back| self.find(back)) {
            // Replies could not be told apart, unless the other one is as good as over.
            let other_connection = &self.connections[&other];
            if other_connection.phase != Phase::Fin && self.serving(other_connection).is_some() {
                return Err("tuple_conflict");
            }
            self.remove(other);
        }
        let phase = if ip.protocol == TCP { Phase::Syn } else { Phase::UdpOneway };
        let mut sequences = Sequences::default();
        if ip.protocol == TCP {
            sequences.after(phase, Direction::Request, ip, true);
        }
        let id = self.created;
        let ends_s = self.now_s() + phase.idle_s(&service.idle) + 1;
        let home = Some(home);
        self.connections.insert(id, Connection { home, client, vip, server, local: None, phase, sequences, ends_s });
        self.by_tuple.insert(there, (id, Direction::Request));
        self.by_tuple.extend(back.map(|back| (back, (id, Direction::Reply))));
        self.created += 1;
        Ok(id)
    }

    // ---- ways out ------------------------------------------------------------------------------------------------

    /// Sends a packet to a backend; NAT gives it new ends.
    pub fn forward(
        &mut self,
        port: usize,
        frame: &Frame,
        ip: &Ip,
        home: &Home,
        ends: (Socket, Socket),
        choose: Choose,
    ) -> Result<Fate, &'static str> {
        let (out, hop) = self.route(home.address).ok_or("no_route")?;
        let mtu = self.world.ports[out].mtu;
        match home.mode {
            Mode::Nat | Mode::FullNat => {
                if ip.ttl() <= 1 {
                    return Ok(self.time_exceeded(port, frame, ip));
                }
                if ip.is_v4 != ends.1.0.is_ipv4() {
                    return self.across(port, frame, ip, (out, hop), ends, choose);
                }
                if ip.bytes.len() > mtu {
                    return self.too_big(port, frame, ip, mtu);
                }
                let to = rewrite::translate(ip, ends.0, ends.1);
                Ok(self.sent(out, hop, &[to, frame.trailer.clone()].concat()))
            }
            _ if ip.ttl() == 0 => Err("ttl_exceeded"),
            Mode::Gre | Mode::Ipip | Mode::Gue => {
                let overhead = tunnel::overhead(home.mode, home.address);
                let is_long = ip.bytes.len() + overhead > mtu;
                // What its sender lets routers cut is cut here.
                if is_long && ip.df() {
                    return self.too_big(port, frame, ip, mtu - overhead);
                }
                let own = self.world.ports[out].addresses.iter().map(|(address, _)| *address);
                let from = own.clone().find(|own| own.is_ipv4() == home.address.is_ipv4()).ok_or("no_route")?;
                let (entropy, check) = self.entropy(ip, home, choose);
                match self.sent(out, hop, &tunnel::wrap(home.mode, ip, (from, home.address), entropy, check)) {
                    Fate::Sent(out, frame) if is_long => Ok(Fate::InPieces(out, without_id(&frame))),
                    fate => Ok(fate),
                }
            }
            Mode::Dsr if ip.bytes.len() > mtu => self.too_big(port, frame, ip, mtu),
            // Padding stays where the packet stays one of Ethernet's; into a tunnel it does not go (rule 1).
            Mode::Dsr => Ok(self.sent(out, hop, &[&ip.bytes[..], &frame.trailer].concat())),
        }
    }

    /// What the product makes of a flow: always the same, and the same for errors about it, so that all take one way (rule 10).
    fn entropy(&mut self, ip: &Ip, home: &Home, choose: Choose) -> (Entropy, u16) {
        let (seen, check) = choose.entropy(home.mode);
        assert!(home.mode != Mode::Gue || seen.source_port >= 49_152, "{} is no dynamic port", seen.source_port);
        let quoted = || {
            let quote = local::is_error(ip).then(|| read::quote(&ip.upper()[8..]).ok())??;
            let (sender, receiver) = quote.ends.filter(|_| quote.is_v4 == ip.is_v4)?;
            Some((quote.protocol, receiver, sender))
        };
        let plain = || match ip.has_ports() && !ip.is_fragment {
            true => (ip.protocol, ip.ends().0, ip.ends().1),
            false => (ip.protocol, (ip.src, 0), (ip.dst, 0)),
        };
        let flow = if ip.has_ports() { plain() } else { quoted().unwrap_or_else(plain) };
        (*self.entropies.entry((home.mode, home.address, flow)).or_insert(seen), check)
    }

    /// Sends a backend's packet to the client, as from the VIP (P7).
    fn back(&mut self, port: usize, frame: &Frame, ip: &Ip, id: u64, choose: Choose) -> Result<Fate, &'static str> {
        let Connection { client, vip, .. } = self.connections[&id];
        if ip.ttl() <= 1 {
            return Ok(self.time_exceeded(port, frame, ip));
        }
        let (out, hop) = self.route(client.0).ok_or("no_route")?;
        if ip.is_v4 != client.0.is_ipv4() {
            return self.across(port, frame, ip, (out, hop), (vip, client), choose);
        }
        let mtu = self.world.ports[out].mtu;
        if ip.bytes.len() > mtu {
            return self.too_big(port, frame, ip, mtu);
        }
        Ok(self.sent(out, hop, &[rewrite::translate(ip, vip, client), frame.trailer.clone()].concat()))
    }

    /// Sends a packet on as one of the other IP version.
    fn across(
        &self,
        port: usize,
        frame: &Frame,
        ip: &Ip,
        (out, hop): (usize, IpAddr),
        (src, dst): (Socket, Socket),
        choose: Choose,
    ) -> Result<Fate, &'static str> {
        match crossing::packet(ip, src, dst, self.world.ports[out].mtu, choose.identification()) {
            Ok(packet) => Ok(self.sent(out, hop, &packet)),
            Err(Refusal::Untranslatable) => Err("untranslatable"),
            Err(Refusal::TooBig(None)) => Err("too_big"),
            Err(Refusal::TooBig(Some(mtu))) => self.too_big(port, frame, ip, mtu),
        }
    }

    /// The port that a destination is reached by, and the next hop's address on the link.
    pub fn route(&self, to: IpAddr) -> Option<(usize, IpAddr)> {
        let ports = || self.world.ports.iter().enumerate();
        let near = ports().find(|(_, port)| port.addresses.iter().any(|&(own, len)| local::is_near(to, own, len)));
        if let Some((out, _)) = near {
            return Some((out, to));
        }
        let gateway = |port: &crate::world::Port| port.gateways.iter().copied().find(|g| g.is_ipv4() == to.is_ipv4());
        ports().find_map(|(out, port)| Some((out, gateway(port)?)))
    }

    pub fn sent(&self, out: usize, hop: IpAddr, packet: &[u8]) -> Fate {
        let port = &self.world.ports[out];
        if !port.neighbors.contains(&hop) {
            return Fate::Held;
        }
        Fate::Sent(out, local::ethernet(port, mac_of(hop), packet))
    }

    fn time_exceeded(&self, port: usize, frame: &Frame, ip: &Ip) -> Fate {
        let kind = if ip.is_v4 { [11, 0] } else { [3, 0] };
        // No errors about later fragments (RFC 1122 section 3.2.2).
        if ip.is_later() {
            return Fate::Dropped("ttl_exceeded");
        }
        Fate::Answered(local::error(&self.world.ports[port], frame, ip, kind, 0))
    }

    /// Without DF there is nobody to tell: the sender expects fragmentation.
    pub fn too_big(&self, port: usize, frame: &Frame, ip: &Ip, mtu: usize) -> Result<Fate, &'static str> {
        // No errors about errors.
        if !ip.df() || ip.is_later() || (!ip.has_ports() && local::is_error(ip)) {
            return Err("too_big");
        }
        let kind = if ip.is_v4 { [3, 4] } else { [2, 0] };
        Ok(Fate::Answered(local::error(&self.world.ports[port], frame, ip, kind, mtu)))
    }
}

/// A frame whose outer IPv4 header has no identification, which is the sender's to choose.
pub fn without_id(frame: &[u8]) -> Vec<u8> {
    let mut frame = frame.to_vec();
    let start = if frame[12..14] == [0x81, 0] { 18 } else { 14 };
    if frame[start] >> 4 == 4 {
        frame[start + 4..start + 6].fill(0);
        fix_header(&mut frame[start..]);
    }
    frame
}

/// Where the connections of a service can go.
pub fn homes(service: &Service) -> impl Iterator<Item = Home> {
    let (name, vip, mode) = (service.name, (service.vip, service.port), service.mode);
    service.backends.iter().map(move |b| Home { service: name, vip, mode, address: b.address, port: b.port })
}
