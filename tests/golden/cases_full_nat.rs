//! Cases of full-NAT, over one IP version and from one to the other, and of what backends are told of their clients.
//!
//! A service has one local port, so that what a backend gets and where it answers is known, in every run. How ports are drawn
//! out of many is for replay, whose key is always the same.

use crate::case::*;
use crate::packet::*;

/// Nobody can foretell the local ports.
const DRAWS: Run = Run::Skip("run draws local ports under a key of its own");

/// The ends of one service: the client's, the VIP's, the local and the backend's.
pub struct Ends {
    pub client: &'static str,
    pub vip: &'static str,
    pub local: &'static str,
    pub server: &'static str,
}

/// Over IPv4, over IPv6, from IPv4 to IPv6 and from IPv6 to IPv4.
const V4: Ends =
    Ends { client: "198.51.100.7:40001", vip: "192.0.2.20:80", local: "10.0.0.100:50001", server: "10.0.0.11:8080" };
const V6: Ends = Ends {
    client: "[2001:db8:c::7]:40001",
    vip: "[2001:db8::20]:80",
    local: "[fd00::100]:50001",
    server: "[fd00::11]:8080",
};
const V4_TO_V6: Ends =
    Ends { client: "198.51.100.7:40001", vip: "192.0.2.21:80", local: "[fd00::101]:50002", server: "[fd00::12]:8080" };
const V6_TO_V4: Ends = Ends {
    client: "[2001:db8:c::7]:40001",
    vip: "[2001:db8::21]:80",
    local: "10.0.0.101:50002",
    server: "10.0.0.12:8080",
};
pub const ALL: [Ends; 4] = [V4, V6, V4_TO_V6, V6_TO_V4];

/// Address and port of an end.
fn parts(end: &str) -> (&str, &str) {
    let (address, port) = end.rsplit_once(':').expect("a port");
    (address.trim_matches(['[', ']']), port)
}

/// A service with one backend and one local port.
fn one(name: &str, protocol: &str, ends: &Ends, lines: &str) -> String {
    let (vip, port) = parts(ends.vip);
    let (local, local_port) = parts(ends.local);
    let (server, server_port) = parts(ends.server);
    let lines = format!("local_addresses = [\"{local}\"]\nlocal_ports = \"{local_port}-{local_port}\"\n{lines}");
    let backend = format!("b1 {server};port = {server_port}");
    service(&format!("{name}-{protocol}"), &format!("{vip} {port}"), protocol, "full-nat", &lines, &[&backend])
}

pub fn one_arm(name: &'static str, protocols: &[&str], lines: &str) -> Case {
    let hosts = ["10.0.0.11", "10.0.0.12", "fd00::11", "fd00::12"];
    let services = ["v4", "v6", "v4-to-v6", "v6-to-v4"].iter().zip(&ALL);
    let services = services.flat_map(|(name, ends)| protocols.iter().map(move |p| one(name, p, ends, lines)));
    Case::new(name, dataplane("") + &wan("", &hosts) + &services.collect::<String>())
}

/// What a packet is on the other side: one hop older and, out of IPv6, one that may be fragmented if it is short (RFC 7915
/// section 5.1).
pub fn across(packet: Ip, was: &Ip) -> Expect {
    let mut packet = packet.ttl(was.ttl - 1).tos(was.tos);
    if was.src.is_ipv4() == packet.src.is_ipv4() {
        packet.id = was.id;
        packet.fragment = was.fragment;
        packet.options.clone_from(&was.options);
        packet.extensions.clone_from(&was.extensions);
    } else if packet.src.is_ipv4() {
        packet.fragment = if packet.bytes().len() > 1260 { DF } else { 0 };
    }
    Expect::Becomes(Box::new(packet))
}

/// Checksums as far from right as they were.
fn as_wrong(right: Ip, was: &Ip) -> Ip {
    let mut packet = right;
    let error = u32::from(l4_sum(was.src, was.dst, was.protocol, &was.l4) % 0xffff);
    let at = checksum_at(packet.protocol);
    let check = u32::from(packet.l4[at]) << 8 | u32::from(packet.l4[at + 1]);
    packet.l4[at..at + 2].copy_from_slice(&(((check + error) % 0xffff) as u16).to_be_bytes());
    packet
}

impl Ends {
    /// A packet of the client's, which `make` makes between two ends.
    fn there(&self, case: &mut Case, dress: fn(Ip) -> Ip, make: impl Fn(&str, &str) -> Ip) {
        let packet = dress(make(self.client, self.vip));
        case.send(&packet, across(make(self.local, self.server), &packet));
    }

    /// A packet of the backend's.
    fn back(&self, case: &mut Case, dress: fn(Ip) -> Ip, make: impl Fn(&str, &str) -> Ip) {
        let packet = dress(make(self.server, self.local));
        case.send(&packet, across(make(self.vip, self.client), &packet));
    }
}

fn as_is(packet: Ip) -> Ip {
    packet
}

/// Another DSCP and ECN, and the largest TTL.
fn dressed(packet: Ip) -> Ip {
    packet.tos(0xb9).ttl(255)
}

pub fn full_nat() -> Case {
    let mut case = one_arm("full-nat", &["tcp", "udp"], "");
    for ends in &ALL {
        let size = if ends.client.starts_with('[') { 1440 } else { 1420 };
        ends.there(&mut case, as_is, |from, to| tcp(from, to, SYN, b""));
        ends.back(&mut case, as_is, |from, to| tcp(from, to, SYN | ACK, b""));
        ends.there(&mut case, dressed, |from, to| tcp(from, to, ACK, b""));
        ends.there(&mut case, as_is, |from, to| tcp(from, to, ACK | 8, &vec![0x5a; size]));
        ends.back(&mut case, dressed, |from, to| tcp(from, to, ACK | 8, b"HTTP/1.1 200 OK\r\n\r\nodd"));
        ends.back(&mut case, as_is, |from, to| tcp(from, to, ACK, &[0xa5; 1200]));
        ends.there(&mut case, as_is, |from, to| udp(from, to, b"question"));
        ends.back(&mut case, as_is, |from, to| udp(from, to, b"an answer"));
        ends.there(&mut case, as_is, |from, to| udp(from, to, b""));
    }
    for ends in &ALL {
        ends.there(&mut case, as_is, |from, to| tcp(from, to, ACK | FIN, b""));
        ends.back(&mut case, as_is, |from, to| tcp(from, to, ACK | FIN, b""));
        ends.there(&mut case, as_is, |from, to| tcp(from, to, ACK, b""));
    }
    // The only local port is taken, as long as that connection is there.
    for client in ["198.51.100.8:40001", "198.51.100.7:40002"] {
        case.send(&tcp(client, V4.vip, SYN, b""), Expect::Drop("ports_exhausted"));
        case.send(&udp(client, V4_TO_V6.vip, b""), Expect::Drop("ports_exhausted"));
    }
    // What no connection knows.
    case.send(&tcp("198.51.100.9:1", V4.vip, ACK, b""), Expect::Drop("no_connection"));
    case.send(&tcp(V4.server, "10.0.0.100:50002", ACK, b""), Expect::Drop("no_connection"));
    case.send(&tcp("10.0.0.13:8080", V4.local, ACK, b""), Expect::Drop("no_connection"));
    case.send(&udp(V4_TO_V6.server, "[fd00::101]:50001", b""), Expect::Drop("no_connection"));
    // Backends look for the local addresses.
    let question = arp(1, (mac_of(ip("10.0.0.11")), "10.0.0.11"), ([0; 6], "10.0.0.100"));
    case.frame(0, ethernet(BROADCAST, mac_of(ip("10.0.0.11")), &[], ARP, &question), Expect::Arp);
    case.frame(0, solicitation("fd00::12", "fd00::101"), Expect::Advert);
    case.connections(8, 0, 0);
    case
}

/// Headers that stay behind, checksums that are wrong or not there, packets that are too old or too long, and fragments.
pub fn full_nat_across() -> Case {
    let mut case = one_arm("full-nat-across", &["tcp", "udp"], "");
    for ends in [&V4_TO_V6, &V6_TO_V4] {
        ends.there(&mut case, as_is, |from, to| tcp(from, to, SYN, b""));
        ends.there(&mut case, as_is, |from, to| udp(from, to, b"first"));
    }
    let (there4, there6) = ((V4_TO_V6.client, V4_TO_V6.vip), (V6_TO_V4.client, V6_TO_V4.vip));
    let over6 = |flags, data: &[u8]| tcp(V4_TO_V6.local, V4_TO_V6.server, flags, data);
    let over4 = |flags, data: &[u8]| tcp(V6_TO_V4.local, V6_TO_V4.server, flags, data);
    // Options and extension headers are left out.
    let packet = tcp(there4.0, there4.1, ACK, b"options").options(&[1, 1, 1, 1, 7, 3, 4, 0]);
    case.send(&packet, across(over6(ACK, b"options"), &packet));
    let packet = tcp(there6.0, there6.1, ACK, b"extensions");
    let packet = packet.extension(0, &[0, 1, 4, 0, 0, 0, 0]).extension(60, &[0, 1, 4, 0, 0, 0, 0]);
    case.send(&packet, across(over4(ACK, b"extensions"), &packet));
    // A source route with an address left, and a routing header that still routes.
    let routed = tcp(there4.0, there4.1, ACK, b"").options(&[0x83, 7, 4, 10, 0, 0, 9, 0]);
    case.send(&routed, Expect::Drop("untranslatable"));
    // Checksums.
    let packet = tcp(there4.0, there4.1, ACK, b"wrong").wrong_checksum();
    case.send(&packet, across(as_wrong(over6(ACK, b"wrong"), &packet), &packet));
    let packet = tcp(there6.0, there6.1, ACK, b"wrong").wrong_checksum();
    case.send(&packet, across(as_wrong(over4(ACK, b"wrong"), &packet), &packet));
    let mut packet = udp(there4.0, there4.1, b"none");
    packet.l4[6..8].fill(0);
    case.send(&packet, across(udp(V4_TO_V6.local, V4_TO_V6.server, b"none"), &packet));
    // Too old; and a packet of the other version is 20 bytes longer.
    case.send(&tcp(there4.0, there4.1, ACK, b"").ttl(1), Expect::Exceeded);
    case.send(&tcp(V6_TO_V4.server, V6_TO_V4.local, ACK, b"").ttl(1), Expect::Exceeded);
    case.send(&tcp(there4.0, there4.1, ACK, &[1; 1441]), Expect::TooBig(1480));
    case.send(&tcp(there4.0, there4.1, ACK, &[1; 1441]).fragment(0), Expect::Drop("too_big"));
    case.send(&tcp(V6_TO_V4.server, V6_TO_V4.local, ACK, &[1; 1441]), Expect::TooBig(1480));
    let packet = tcp(there6.0, there6.1, ACK, &[1; 1440]);
    case.send(&packet, across(over4(ACK, &[1; 1440]), &packet));
    // Errors go over with what they quote; who says so has no address on the other side.
    quoted_across(&mut case);
    case.connections(4, 0, 0);
    case
}

/// The header and the first 8 bytes behind it, as a router quotes them.
fn quote(packet: Ip) -> Vec<u8> {
    let bytes = packet.bytes();
    let len = if packet.src.is_ipv4() { 28 } else { 48 };
    bytes[..len].to_vec()
}

fn quoted_across(case: &mut Case) {
    let (v6, v4) = (&V4_TO_V6, &V6_TO_V4);
    let data = &[1; 1380];
    // About a backend's packet, which a router on the client's side quotes: it does not fit.
    let was = quote(tcp(v6.vip, v6.client, ACK, data).ttl(5));
    let is = quote(tcp(v6.server, v6.local, ACK, data).ttl(5));
    let error = icmp("203.0.113.9", "192.0.2.21", 3, 4, 1400, &was);
    case.send(&error, across(icmp("fd00::101", "fd00::12", 2, 0, 1420, &is), &error));
    let was = quote(tcp(v4.vip, v4.client, ACK, data).ttl(5));
    let is = quote(tcp(v4.server, v4.local, ACK, data).ttl(5).fragment(DF));
    let error = icmp("2001:db8:9::9", "2001:db8::21", 2, 0, 1300, &was);
    case.send(&error, across(icmp("10.0.0.101", "10.0.0.12", 3, 4, 1280, &quote_id(is, 0)), &error));
    // About a client's packet, which the backend itself refuses.
    let was = quote(udp(v6.local, v6.server, b"first").ttl(60));
    let is = quote(udp(v6.client, v6.vip, b"first").ttl(60).fragment(0));
    let error = icmp("fd00::12", "fd00::101", 1, 4, 0, &was);
    case.send(&error, across(icmp("192.0.2.21", "198.51.100.7", 3, 3, 0, &quote_id(is, 0)), &error));
    let was = quote(udp(v4.local, v4.server, b"first").ttl(60).fragment(0));
    let is = quote(udp(v4.client, v4.vip, b"first").ttl(60));
    let error = icmp("10.0.0.12", "10.0.0.101", 3, 3, 0, &was);
    case.send(&error, across(icmp("2001:db8::21", "2001:db8:c::7", 1, 4, 0, &is), &error));
    // Without a counterpart on the other side (RFC 7915 section 4.2): an unknown code, and a bad length.
    let was = quote(tcp(v6.vip, v6.client, ACK, data).ttl(5));
    case.send(&icmp("203.0.113.9", "192.0.2.21", 3, 14, 0, &was), Expect::Drop("untranslatable"));
}

/// A quoted IPv4 header with an identification.
fn quote_id(mut quote: Vec<u8>, id: u16) -> Vec<u8> {
    quote[4..6].copy_from_slice(&id.to_be_bytes());
    fix_header(&mut quote[..20]);
    quote
}

/// Local ports out of many, from two addresses, to two backends: nobody shares an outside tuple, and each keeps its own.
pub fn full_nat_ports() -> Case {
    const LOCALS: &[&str] = &["10.0.0.100", "10.0.0.101"];
    const WEB: &[&str] = &["10.0.0.11:8080", "10.0.0.12:8080"];
    let lines = "local_addresses = [\"10.0.0.100\", \"10.0.0.101\"]\n";
    let backends = ["b1 10.0.0.11;port = 8080", "b2 10.0.0.12;port = 8080"];
    let config = dataplane("")
        + &wan("", &["10.0.0.11", "10.0.0.12"])
        + &service("tcp", "192.0.2.20 80", "tcp", "full-nat", lines, &backends)
        + &service("udp", "192.0.2.20 80", "udp", "full-nat", lines, &backends)
        // Not to be drawn for replies: it would be taken for a client's.
        + &service("vip", "10.0.0.101 2000", "tcp", "full-nat", "local_addresses = [\"10.0.0.102\"]\n", &backends);
    let mut case = Case::new("full-nat-ports", config);
    let expect = || Expect::FullNat { from: LOCALS, to: WEB };
    for port in 1..=12 {
        for host in ["198.51.100.7", "198.51.100.8"] {
            let client = format!("{host}:{port}");
            case.send(&tcp(&client, V4.vip, SYN, b""), expect());
            case.send(&tcp(&client, V4.vip, ACK, b"data"), expect());
            case.send(&udp(&client, V4.vip, b"question"), expect());
        }
    }
    case.send(&tcp("198.51.100.7:1", V4.vip, ACK, b"more"), expect());
    case.run(DRAWS);
    case.connections(48, 0, 0);
    case
}
