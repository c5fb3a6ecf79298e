//! Cases of NAT.

use crate::case::*;
use crate::packet::*;

const WEB: &[&str] = &["10.0.0.11:8080", "10.0.0.12:8080"];
const ONE: &[&str] = &["10.0.0.11:8080"];
const ONE6: &[&str] = &["[fd00::11]:8080"];
const HOSTS: &[&str] = &["10.0.0.11", "10.0.0.12", "fd00::11", "fd00::12"];
const VIP: &str = "192.0.2.20:80";
const VIP6: &str = "[2001:db8::20]:80";

/// Services with one backend each, whose answers a case can know; and one with two.
fn services() -> String {
    service("web", "192.0.2.10 80", "tcp", "nat", "", &["b1 10.0.0.11;port = 8080", "b2 10.0.0.12;port = 8080"])
        + &service("tcp", "192.0.2.20 80", "tcp", "nat", "", &["b1 10.0.0.11;port = 8080"])
        + &service("tcp6", "2001:db8::20 80", "tcp", "nat", "", &["b1 fd00::11;port = 8080"])
        + &service("udp", "192.0.2.20 80", "udp", "nat", "", &["b1 10.0.0.11;port = 8080"])
        + &service("udp6", "2001:db8::20 80", "udp", "nat", "", &["b1 fd00::11;port = 8080"])
}

fn one_arm(name: &'static str) -> Case {
    Case::new(name, dataplane("") + &wan("", HOSTS) + &services())
}

/// A conversation with data both ways; `server` is where the backend answers from.
fn conversation(case: &mut Case, client: &str, vip: &'static str, server: &str, to: &'static [&'static str]) {
    case.send(&tcp(client, vip, SYN, b""), Expect::Nat(to));
    case.send(&tcp(server, client, SYN | ACK, b""), Expect::Back(vip));
    case.send(&tcp(client, vip, ACK, b""), Expect::Nat(to));
    case.send(&tcp(client, vip, ACK | 8, b"GET / HTTP/1.1\r\n\r\n"), Expect::Nat(to));
    case.send(&tcp(server, client, ACK | 8, b"HTTP/1.1 200 OK\r\n\r\nodd"), Expect::Back(vip));
    case.send(&tcp(server, client, ACK | FIN, b""), Expect::Back(vip));
    case.send(&tcp(client, vip, ACK | FIN, b""), Expect::Nat(to));
    case.send(&tcp(server, client, ACK, b""), Expect::Back(vip));
}

pub fn nat_one_arm() -> Case {
    let mut case = one_arm("nat-one-arm");
    conversation(&mut case, "198.51.100.7:40001", VIP, ONE[0], ONE);
    conversation(&mut case, "[2001:db8:c::7]:40001", VIP6, ONE6[0], ONE6);
    conversation(&mut case, "198.51.100.8:80", VIP, ONE[0], ONE);
    for client in ["198.51.100.7:53", "198.51.100.8:65535"] {
        case.send(&udp(client, VIP, b"question"), Expect::Nat(ONE));
        case.send(&udp(ONE[0], client, b"an answer"), Expect::Back(VIP));
        case.send(&udp(client, VIP, b""), Expect::Nat(ONE));
    }
    case.send(&udp("[2001:db8:c::7]:53", VIP6, b"question"), Expect::Nat(ONE6));
    case.send(&udp(ONE6[0], "[2001:db8:c::7]:53", b"an answer"), Expect::Back(VIP6));
    for port in 1..=8 {
        client_side(&mut case, &format!("198.51.100.9:{port}"), "192.0.2.10:80", &Expect::Nat(WEB));
    }
    // What no connection knows.
    case.send(&tcp("198.51.100.10:1", VIP, ACK, b""), Expect::Drop("no_connection"));
    case.send(&tcp("198.51.100.10:1", VIP, SYN | ACK, b""), Expect::Drop("no_connection"));
    case.send(&tcp("198.51.100.10:1", VIP, RST, b""), Expect::Drop("no_connection"));
    case.send(&tcp("10.0.0.11:8080", "198.51.100.10:1", ACK, b""), Expect::Drop("not_ours"));
    case.send(&tcp("10.0.0.11:8081", "198.51.100.7:40001", ACK, b""), Expect::Drop("not_ours"));
    case.send(&udp("10.0.0.12:8080", "198.51.100.7:53", b""), Expect::Drop("not_ours"));
    case.connections(14, 0, 0);
    case
}

pub fn nat_two_arm() -> Case {
    const TO: &[&str] = &["10.1.0.11:8080"];
    const TO6: &[&str] = &["[fd00:1::11]:8080"];
    let config = dataplane("")
        + &wan("", &[])
        + &lan("mtu = 1400\n", &["10.1.0.11", "fd00:1::11"])
        + &service("tcp", "192.0.2.20 80", "tcp", "nat", "", &["b1 10.1.0.11;port = 8080"])
        + &service("udp", "192.0.2.20 80", "udp", "nat", "", &["b1 10.1.0.11;port = 8080"])
        + &service("tcp6", "2001:db8::20 80", "tcp", "nat", "", &["b1 fd00:1::11;port = 8080"]);
    let mut case = Case::new("nat-two-arm", config);
    // All from one port first: `run` polls one after the other.
    for client in ["198.51.100.7:1025", "198.51.100.8:1026"] {
        case.send(&tcp(client, VIP, SYN, b""), Expect::Nat(TO));
        case.send(&tcp(client, VIP, ACK, b"data"), Expect::Nat(TO));
        case.send(&udp(client, VIP, b"question"), Expect::Nat(TO));
    }
    case.send(&tcp("[2001:db8:c::7]:1025", VIP6, SYN, b""), Expect::Nat(TO6));
    case.send(&udp("198.51.100.7:1025", VIP, &[1; 1372]), Expect::Nat(TO));
    case.send(&udp("198.51.100.7:1025", VIP, &[2; 1373]), Expect::TooBig(1400));
    case.send(&udp("198.51.100.7:1025", VIP, &[3; 1373]).fragment(0), Expect::Drop("too_big"));
    case.send(&tcp("[2001:db8:c::7]:1025", VIP6, ACK, &[4; 1341]), Expect::TooBig(1400));
    // Clients do not get at the backends' addresses, and the port's own address is no service.
    case.send(&tcp("198.51.100.7:1", "10.1.0.11:8080", SYN, b""), Expect::Drop("not_ours"));
    case.send(&tcp("198.51.100.7:1", "10.1.0.2:80", SYN, b""), Expect::Drop("no_service"));
    for client in ["198.51.100.7:1025", "198.51.100.8:1026"] {
        case.send_lan(&tcp(TO[0], client, SYN | ACK, b""), Expect::Back(VIP));
        case.send_lan(&tcp(TO[0], client, ACK, b"answer"), Expect::Back(VIP));
        case.send_lan(&udp(TO[0], client, &[5; 1472]), Expect::Back(VIP));
    }
    case.send_lan(&tcp(TO6[0], "[2001:db8:c::7]:1025", SYN | ACK, b""), Expect::Back(VIP6));
    case.send_lan(&tcp(TO[0], "198.51.100.7:1025", ACK, b"").ttl(1), Expect::Exceeded);
    case.send_lan(&icmp("10.1.0.11", "10.1.0.2", 8, 0, 1, b"ping"), Expect::Echo);
    case.frame(
        1,
        ethernet(
            BROADCAST,
            mac_of(ip("10.1.0.11")),
            &[],
            ARP,
            &arp(1, (mac_of(ip("10.1.0.11")), "10.1.0.11"), ([0; 6], "10.1.0.2")),
        ),
        Expect::Arp,
    );
    // The other port's address is not asked for here.
    case.frame(
        1,
        ethernet(
            BROADCAST,
            mac_of(ip("10.1.0.11")),
            &[],
            ARP,
            &arp(1, (mac_of(ip("10.1.0.11")), "10.1.0.11"), ([0; 6], "10.0.0.2")),
        ),
        Expect::Drop("not_ours"),
    );
    case.connections(5, 0, 0);
    case
}

/// UDP without a checksum, with one that becomes 0 by translation, and with one that is sent as 0xffff.
pub fn nat_udp_checksum() -> Case {
    let mut case = one_arm("nat-udp-checksum");
    let client = "198.51.100.7:4000";
    let without = |mut packet: Ip| {
        packet.l4[6..8].fill(0);
        packet
    };
    case.send(&without(udp(client, VIP, b"none")), Expect::Nat(ONE));
    case.send(&without(udp(ONE[0], client, b"none")), Expect::Back(VIP));
    case.send(&without(udp("[2001:db8:c::7]:4000", VIP6, b"none")), Expect::Drop("udp6_no_checksum"));
    // The payload that gives the checksum 0xffff, which stands for 0, between these two.
    let special = |from: &str, to: &str| {
        (0..=0xffffu16).map(u16::to_be_bytes).find(|w| udp(from, to, w).l4[6..8] == [0xff, 0xff]).expect("one of all")
    };
    case.send(&udp(client, VIP, &special(client, VIP)), Expect::Nat(ONE));
    case.send(&udp(client, VIP, &special(client, ONE[0])), Expect::Nat(ONE));
    case.send(&udp(ONE[0], client, &special(ONE[0], client)), Expect::Back(VIP));
    case.send(&udp(ONE[0], client, &special(VIP, client)), Expect::Back(VIP));
    let client6 = "[2001:db8:c::7]:4000";
    case.send(&udp(client6, VIP6, &special(client6, VIP6)), Expect::Nat(ONE6));
    case.send(&udp(client6, VIP6, &special(client6, ONE6[0])), Expect::Nat(ONE6));
    case.send(&udp(ONE6[0], client6, &special(VIP6, client6)), Expect::Back(VIP6));
    // UDP-Lite's habit of a length below the packet's: the rest is the sender's business.
    let mut short = udp(client, VIP, b"1234567");
    short.l4.extend(b"behind");
    case.send(&without(short), Expect::Nat(ONE));
    case.connections(2, 0, 0);
    case
}

/// A checksum that is wrong stays wrong by as much.
pub fn nat_wrong_checksum() -> Case {
    let mut case = one_arm("nat-wrong-checksum");
    for (client, vip, to, protocol) in [
        ("198.51.100.7:4000", VIP, ONE, TCP),
        ("[2001:db8:c::7]:4000", VIP6, ONE6, TCP),
        ("198.51.100.7:4000", VIP, ONE, UDP),
        ("[2001:db8:c::7]:4000", VIP6, ONE6, UDP),
    ] {
        let packet = |from: &str, dst: &str, flags: u8| match protocol {
            TCP => tcp(from, dst, flags, b"payload"),
            _ => udp(from, dst, b"payload"),
        };
        case.send(&packet(client, vip, SYN), Expect::Nat(to));
        case.send(&packet(client, vip, ACK).wrong_checksum(), Expect::Nat(to));
        case.send(&packet(to[0], client, ACK).wrong_checksum(), Expect::Back(vip));
        case.send(&packet(to[0], client, ACK), Expect::Back(vip));
    }
    let mut zero = tcp("198.51.100.7:4000", VIP, ACK, b"checksum 0 is an ordinary value in TCP");
    zero.l4[16..18].fill(0);
    case.send(&zero, Expect::Nat(ONE));
    case.connections(4, 0, 0);
    case
}

/// TTL and hop limit are decremented once, and their end is answered, in both directions.
pub fn nat_ttl() -> Case {
    let mut case = one_arm("nat-ttl");
    for (client, vip, to) in [("198.51.100.7:4000", VIP, ONE), ("[2001:db8:c::7]:4000", VIP6, ONE6)] {
        case.send(&tcp(client, vip, SYN, b"").ttl(1), Expect::Exceeded);
        case.send(&tcp(client, vip, SYN, b"").ttl(0), Expect::Exceeded);
        case.send(&tcp(client, vip, SYN, b"").ttl(2), Expect::Nat(to));
        case.send(&tcp(client, vip, ACK, &[9; 900]).ttl(255), Expect::Nat(to));
        case.send(&tcp(client, vip, ACK, &[9; 900]).ttl(1), Expect::Exceeded);
        case.send(&tcp(to[0], client, SYN | ACK, b"").ttl(2), Expect::Back(vip));
        case.send(&tcp(to[0], client, ACK, &[9; 1400]).ttl(1), Expect::Exceeded);
    }
    case.connections(2, 0, 0);
    case
}

/// ICMP errors, translated inside and outside.
pub fn icmp_errors_nat() -> Case {
    let mut case = one_arm("icmp-errors-nat");
    let (client, client6) = ("198.51.100.7:4000", "[2001:db8:c::7]:4000");
    case.send(&tcp(client, VIP, SYN, b""), Expect::Nat(ONE));
    case.send(&udp(client, VIP, b"question"), Expect::Nat(ONE));
    case.send(&tcp(client6, VIP6, SYN, b""), Expect::Nat(ONE6));
    case.send(&udp(client6, VIP6, b"question"), Expect::Nat(ONE6));
    let options = [7, 7, 4, 0, 0, 0, 0, 0];
    let (router, router6) = ("203.0.113.1", "2001:db8:f::1");
    for (about, is_tcp) in [(tcp(VIP, client, ACK, &[7; 601]), true), (udp(VIP, client, &[7; 100]), false)] {
        let bytes = about.clone().options(&options).bytes();
        let lengths = if is_tcp { [36, 37, 47, 500] } else { [36, 37, 41, bytes.len()] };
        for len in lengths {
            case.send(&icmp(router, "192.0.2.20", 3, 4, 1400, &bytes[..len]), Expect::ErrorToBackend(ONE));
        }
        case.send(&icmp(router, "192.0.2.20", 11, 0, 0, &about.bytes()[..28]), Expect::ErrorToBackend(ONE));
        // The quoted checksum is what it is.
        case.send(&icmp(router, "192.0.2.20", 3, 3, 0, &about.wrong_checksum().bytes()), Expect::ErrorToBackend(ONE));
    }
    for about in [tcp(VIP6, client6, ACK, &[7; 601]), udp(VIP6, client6, &[7; 101])] {
        let bytes = about.bytes();
        for len in [48, 49, 60, 100, bytes.len()] {
            let error = icmp(router6, "2001:db8::20", 2, 0, 1300, &bytes[..len.min(bytes.len())]);
            case.send(&error, Expect::ErrorToBackend(ONE6));
        }
    }
    // From behind the balancer to the client: about what NAT sent to the backend.
    let out = Expect::ErrorToClient(VIP, client);
    case.send(&icmp("10.0.0.11", "198.51.100.7", 3, 3, 0, &udp(client, ONE[0], b"question").bytes()), out.clone());
    case.send(&icmp("10.0.0.1", "198.51.100.7", 3, 4, 1300, &tcp(client, ONE[0], ACK, &[7; 99]).bytes()), out.clone());
    case.send(&icmp("10.0.0.1", "198.51.100.7", 11, 0, 0, &tcp(client, ONE[0], ACK, b"").bytes()[..28]), out);
    let about = udp(client6, ONE6[0], b"question").bytes();
    case.send(&icmp("fd00::11", "2001:db8:c::7", 1, 4, 0, &about), Expect::ErrorToClient(VIP6, client6));
    refused_errors(&mut case, client);
    case.connections(4, 0, 0);
    case
}

/// Errors that nobody gets.
fn refused_errors(case: &mut Case, client: &str) {
    let router = "203.0.113.1";
    let about = tcp(VIP, client, ACK, b"").bytes();
    let unknown = tcp(VIP, "198.51.100.99:1", ACK, b"").bytes();
    case.send(&icmp(router, "192.0.2.20", 3, 4, 1400, &unknown), Expect::Drop("icmp_no_connection"));
    case.send(&icmp(router, "192.0.2.10", 3, 4, 1400, &about), Expect::Drop("icmp_no_connection"));
    case.send(&icmp(router, "198.51.100.99", 3, 4, 1400, &about), Expect::Drop("not_ours"));
    case.send(&icmp(router, "192.0.2.20", 3, 4, 1400, &about).wrong_checksum(), Expect::Drop("icmp_checksum"));
    case.send(&icmp(router, "192.0.2.20", 3, 4, 1400, &about[..22]), Expect::Drop("icmp_quote"));
    case.send(&icmp(router, "192.0.2.20", 3, 4, 1400, &about).ttl(1), Expect::Drop("ttl_exceeded"));
    // About a later fragment: it has no ports to tell the connection by.
    let later = tcp(VIP, client, ACK, &[7; 64]).fragment(100).bytes();
    case.send(&icmp(router, "192.0.2.20", 11, 1, 0, &later), Expect::Drop("icmp_no_connection"));
    let about_icmp = icmp("192.0.2.20", "198.51.100.7", 0, 0, 7, b"echo").bytes();
    case.send(&icmp(router, "192.0.2.20", 11, 0, 0, &about_icmp), Expect::Drop("icmp_no_connection"));
}

/// One client port to one backend through two VIPs: replies could not be told apart.
pub fn nat_tuple_conflict() -> Case {
    let config = dataplane("")
        + &wan("", HOSTS)
        + &service("a", "192.0.2.20 80", "tcp", "nat", "", &["b1 10.0.0.11;port = 8080"])
        + &service("b", "192.0.2.21 80", "tcp", "nat", "", &["b1 10.0.0.11;port = 8080"]);
    let mut case = Case::new("nat-tuple-conflict", config);
    let client = "198.51.100.7:4000";
    case.send(&tcp(client, VIP, SYN, b""), Expect::Nat(ONE));
    case.send(&tcp(client, "192.0.2.21:80", SYN, b""), Expect::Drop("tuple_conflict"));
    case.send(&tcp(client, VIP, ACK, b""), Expect::Nat(ONE));
    case.send(&tcp(client, "192.0.2.21:80", SYN, b""), Expect::Drop("tuple_conflict"));
    case.send(&tcp("198.51.100.7:4001", "192.0.2.21:80", SYN, b""), Expect::Nat(ONE));
    case.send(&tcp(ONE[0], "198.51.100.7:4001", SYN | ACK, b""), Expect::Back("192.0.2.21:80"));
    case.send(&tcp(ONE[0], client, SYN | ACK, b""), Expect::Back(VIP));
    // Once the first is closing, the second may have it.
    case.send(&tcp(client, VIP, FIN | ACK, b""), Expect::Nat(ONE));
    case.send(&tcp(client, "192.0.2.21:80", SYN, b""), Expect::Nat(ONE));
    case.send(&tcp(ONE[0], client, SYN | ACK, b""), Expect::Back("192.0.2.21:80"));
    case.connections(3, 0, 0);
    case
}

/// No gateway, so no way back to a client that is elsewhere.
pub fn nat_no_route() -> Case {
    let own = "addresses = [\"10.0.0.2/24\", \"fd00::2/64\"]\n";
    let config = dataplane("") + &port(0, "wan", own, "", HOSTS) + &services();
    let mut case = Case::new("nat-no-route", config);
    for (client, vip, to) in [("198.51.100.7:4000", VIP, ONE), ("[2001:db8:c::7]:4000", VIP6, ONE6)] {
        case.send(&tcp(client, vip, SYN, b""), Expect::Nat(to));
        case.send(&tcp(to[0], client, SYN | ACK, b""), Expect::Drop("no_route"));
    }
    let about = udp("198.51.100.7:4000", ONE[0], b"").bytes();
    case.send(&udp("198.51.100.7:4000", VIP, b""), Expect::Nat(ONE));
    case.send(&icmp("10.0.0.11", "198.51.100.7", 3, 3, 0, &about), Expect::Drop("no_route"));
    case.connections(3, 0, 0);
    case
}
