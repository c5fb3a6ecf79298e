//! Cases of the modes that leave packets as they are: GRE and DSR.

use crate::case::*;
use crate::packet::*;

const VIP4: &str = "192.0.2.10";
const B4: &[&str] = &["10.1.0.11", "10.1.0.12", "10.1.0.13"];
const B6: &[&str] = &["fd00:1::11", "fd00:1::12", "fd00:1::13"];
const NAMED4: &[&str] = &["b1 10.1.0.11", "b2 10.1.0.12", "b3 10.1.0.13"];
const NAMED6: &[&str] = &["b1 fd00:1::11", "b2 fd00:1::12", "b3 fd00:1::13"];
const TO4: Expect = Expect::Gre { from: "10.0.0.2", to: B4 };
const TO6: Expect = Expect::Gre { from: "fd00::2", to: B6 };

/// TCP and UDP from both families' clients to one family's backends.
fn families(name: &'static str, vip6: bool, backends6: bool) -> Case {
    let vip = if vip6 { "2001:db8::10" } else { VIP4 };
    let (named, expect) = if backends6 { (NAMED6, TO6) } else { (NAMED4, TO4) };
    let config = dataplane("")
        + &wan("", &[])
        + &service("web", &format!("{vip} 80"), "tcp", "gre", "", named)
        + &service("dns", &format!("{vip} 53"), "udp", "gre", "", named);
    let mut case = Case::new(name, config);
    let at = |host: u32, port: u32| match vip6 {
        true => format!("[2001:db8:c::{host:x}]:{port}"),
        false => format!("198.51.100.{host}:{port}"),
    };
    let to = |port: u16| if vip6 { format!("[{vip}]:{port}") } else { format!("{vip}:{port}") };
    for client in 1..=6 {
        client_side(&mut case, &at(client, 40_000 + client), &to(80), &expect);
    }
    for client in 1..=6 {
        case.send(&udp(&at(client, 50_000), &to(53), b"question"), expect.clone());
        case.send(&udp(&at(client, 50_000), &to(53), b""), expect.clone());
    }
    case.connections(12, 0, 0);
    case
}

pub fn gre_v4_over_v4() -> Case {
    families("gre-v4-over-v4", false, false)
}

pub fn gre_v6_over_v4() -> Case {
    families("gre-v6-over-v4", true, false)
}

pub fn gre_v4_over_v6() -> Case {
    families("gre-v4-over-v6", false, true)
}

pub fn gre_v6_over_v6() -> Case {
    families("gre-v6-over-v6", true, true)
}

/// The largest packet that fits each tunnel, one byte more, and one more without DF, which goes in pieces.
pub fn gre_mtu() -> Case {
    let config = dataplane("")
        + &wan("", &[])
        + &service("44", "192.0.2.44 9", "udp", "gre", "", NAMED4)
        + &service("46", "192.0.2.46 9", "udp", "gre", "", NAMED6)
        + &service("64", "2001:db8::64 9", "udp", "gre", "", NAMED4)
        + &service("66", "2001:db8::66 9", "udp", "gre", "", NAMED6);
    let mut case = Case::new("gre-mtu", config);
    let client = |v6: bool| if v6 { "[2001:db8:c::7]:4000" } else { "198.51.100.7:4000" };
    let of_len =
        |v6: bool, vip: &str, len: usize| udp(client(v6), vip, &vec![0x5a; len - 8 - if v6 { 40 } else { 20 }]);
    let services = [
        ("192.0.2.44:9", 1476, TO4),
        ("192.0.2.46:9", 1456, TO6),
        ("[2001:db8::64]:9", 1476, TO4),
        ("[2001:db8::66]:9", 1456, TO6),
    ];
    for (vip, fits, expect) in services {
        let v6 = vip.starts_with('[');
        case.send(&of_len(v6, vip, fits), expect.clone());
        case.send(&of_len(v6, vip, fits + 1), Expect::TooBig(fits as u32));
        case.send(&of_len(v6, vip, 1500), Expect::TooBig(fits as u32));
        if !v6 {
            let Expect::Gre { from, to } = expect else { continue };
            let pieces = Expect::Pieces { count: 2, kind: Kind::Gre, from, to };
            case.send(&of_len(v6, vip, fits + 1).fragment(0), pieces);
            case.send(&of_len(v6, vip, fits).fragment(0), expect);
        }
    }
    case.connections(4, 0, 0);
    case
}

/// Every ECN code point, some DSCPs, DF and TTLs: copied to the outer header, or left alone.
pub fn gre_outer_header() -> Case {
    let config = dataplane("")
        + &wan("", &[])
        + &service("44", "192.0.2.44 9", "udp", "gre", "", NAMED4)
        + &service("46", "192.0.2.46 9", "udp", "gre", "", NAMED6)
        + &service("64", "2001:db8::64 9", "udp", "gre", "", NAMED4)
        + &service("66", "2001:db8::66 9", "udp", "gre", "", NAMED6);
    let mut case = Case::new("gre-outer-header", config);
    for (vip, client, expect) in [
        ("192.0.2.44:9", "198.51.100.7:4000", TO4),
        ("192.0.2.46:9", "198.51.100.7:4000", TO6),
        ("[2001:db8::64]:9", "[2001:db8:c::7]:4000", TO4),
        ("[2001:db8::66]:9", "[2001:db8:c::7]:4000", TO6),
    ] {
        for tos in [0x00, 0x01, 0x02, 0x03, 0xb8, 0xfc, 0xff] {
            case.send(&udp(client, vip, b"x").tos(tos), expect.clone());
        }
        case.send(&udp(client, vip, b"no DF").fragment(0), expect.clone());
        case.send(&udp(client, vip, b"last hop").ttl(1), expect.clone());
        case.send(&udp(client, vip, b"ttl 255").ttl(255), expect);
        case.send(&udp(client, vip, b"ttl 0").ttl(0), Expect::Drop("ttl_exceeded"));
    }
    case.connections(4, 0, 0);
    case
}

/// Padding and trailers are no part of a packet.
pub fn gre_padding() -> Case {
    let config = dataplane("")
        + &wan("", &[])
        + &service("web", "192.0.2.10 80", "tcp", "gre", "", NAMED4)
        + &service("dns", "192.0.2.10 53", "udp", "gre", "", NAMED6)
        + &service("web6", "2001:db8::10 80", "tcp", "gre", "", NAMED4);
    let mut case = Case::new("gre-padding", config);
    let gateway = ip("10.0.0.1");
    for port in 0..4 {
        let from = format!("198.51.100.7:{}", 4000 + port);
        case.frame(0, padded(tcp(&from, "192.0.2.10:80", SYN, b"").frame_from(gateway)), TO4);
        case.frame(0, padded(udp(&from, "192.0.2.10:53", b"").frame_from(gateway)), TO6);
        let from6 = format!("[2001:db8:c::7]:{}", 4000 + port);
        let mut trailer = tcp(&from6, "[2001:db8::10]:80", SYN, b"").frame_from(ip("fd00::1"));
        trailer.extend([0xdd; 100]);
        case.frame(0, trailer, TO4);
    }
    case.connections(12, 0, 0);
    case
}

/// Packets in the middle of connections that another node had: the hash finds the backend that a SYN would get.
pub fn gre_stray() -> Case {
    let config = dataplane("") + &wan("", &[]) + &service("web", "192.0.2.10 80", "tcp", "gre", "", NAMED4);
    let mut case = Case::new("gre-stray", config);
    for host in 1..=5 {
        let from = |port: u16| format!("198.51.100.{host}:{port}");
        // Taken over.
        case.send(&tcp(&from(1), "192.0.2.10:80", ACK, b"data"), TO4);
        case.send(&tcp(&from(1), "192.0.2.10:80", ACK, b"more"), TO4);
        // Sent on, without a trace; the SYN that follows opens.
        case.send(&tcp(&from(2), "192.0.2.10:80", ACK | FIN, b""), TO4);
        case.send(&tcp(&from(3), "192.0.2.10:80", RST, b""), TO4);
        case.send(&tcp(&from(3), "192.0.2.10:80", RST | ACK, b""), TO4);
        case.send(&tcp(&from(3), "192.0.2.10:80", SYN | ACK, b""), TO4);
        case.send(&tcp(&from(3), "192.0.2.10:80", 0, b""), TO4);
        case.send(&tcp(&from(3), "192.0.2.10:80", SYN | FIN, b""), TO4);
        case.send(&tcp(&from(3), "192.0.2.10:80", SYN, b""), TO4);
    }
    case.connections(10, 0, 0);
    case
}

pub fn gre_tunnel_source() -> Case {
    let source = "tunnel_source = \"10.0.0.99\"\n";
    let config = dataplane("") + &wan("", &[]) + &service("web", "192.0.2.10 80", "tcp", "gre", source, NAMED4);
    let mut case = Case::new("gre-tunnel-source", config);
    for port in 1..=4 {
        let from = format!("198.51.100.7:{port}");
        case.send(&tcp(&from, "192.0.2.10:80", SYN, b""), Expect::Gre { from: "10.0.0.99", to: B4 });
    }
    case.connections(4, 0, 0);
    case
}

/// The same with IPv4 options, which stay, and behind which the ports are found.
pub fn ip_options() -> Case {
    let config = dataplane("")
        + &wan("", &["10.0.0.11"])
        + &service("gre", "192.0.2.10 80", "tcp", "gre", "", NAMED4)
        + &service("nat", "192.0.2.20 80", "tcp", "nat", "", &["n1 10.0.0.11;port = 8080"])
        + &service("dsr", "192.0.2.30 80", "tcp", "dsr", "", &["d1 10.0.0.11"]);
    let mut case = Case::new("ip-options", config);
    let options: [&[u8]; 4] = [&[1, 1, 1, 0], &[7, 7, 4, 0, 0, 0, 0, 0], &[0x94, 4, 0, 0], &[1; 40]];
    for (port, options) in options.into_iter().enumerate() {
        let from = format!("198.51.100.7:{}", 4000 + port);
        case.send(&tcp(&from, "192.0.2.10:80", SYN, b"").options(options), TO4);
        case.send(&tcp(&from, "192.0.2.10:80", ACK, b"no options"), TO4);
        case.send(&tcp(&from, "192.0.2.20:80", SYN, b"").options(options), Expect::Nat(&["10.0.0.11:8080"]));
        case.send(&tcp("10.0.0.11:8080", &from, SYN | ACK, b"").options(options), Expect::Back("192.0.2.20:80"));
        case.send(&tcp(&from, "192.0.2.30:80", SYN, b"").options(options), Expect::Direct(&["10.0.0.11"]));
        case.send(&icmp("198.51.100.7", "192.0.2.10", 8, 0, 7, b"echo").options(options), Expect::Echo);
    }
    case.connections(12, 0, 0);
    case
}

const D4: &[&str] = &["10.0.0.11", "10.0.0.12"];
const D6: &[&str] = &["fd00::11", "fd00::12"];

pub fn dsr() -> Case {
    let config = dataplane("")
        + &wan("", &[D4, D6].concat())
        + &service("web", "192.0.2.10 80", "tcp", "dsr", "", &["b1 10.0.0.11", "b2 10.0.0.12"])
        + &service("dns6", "2001:db8::10 53", "udp", "dsr", "", &["b1 fd00::11", "b2 fd00::12"]);
    let mut case = Case::new("dsr", config);
    for client in 1..=6 {
        client_side(&mut case, &format!("198.51.100.{client}:40000"), "192.0.2.10:80", &Expect::Direct(D4));
        let from = format!("[2001:db8:c::{client}]:40000");
        case.send(&udp(&from, "[2001:db8::10]:53", b"question"), Expect::Direct(D6));
        case.send(&udp(&from, "[2001:db8::10]:53", b"again").ttl(1), Expect::Direct(D6));
    }
    // A client on the backends' own network, and padding that may stay.
    case.frame(0, padded(tcp("10.0.0.50:1", "192.0.2.10:80", SYN, b"").frame()), Expect::Direct(D4));
    case.send(&tcp("198.51.100.7:9", "192.0.2.10:80", SYN, b"").ttl(0), Expect::Drop("ttl_exceeded"));
    case.connections(13, 0, 0);
    case
}

/// A service for every port of an address, and one for a single port of it, which wins.
pub fn whole_address() -> Case {
    let config = dataplane("")
        + &wan("", &["10.0.0.14"])
        + &service("all", VIP4, "tcp", "gre", "", &["b1 10.1.0.11"])
        + &service("ssh", "192.0.2.10 22", "tcp", "gre", "", &["b2 10.1.0.12"])
        + &service("all-udp", VIP4, "udp", "gre", "", &["b3 10.1.0.13"])
        + &service("all-nat", "192.0.2.20", "tcp", "nat", "", &["b4 10.0.0.14"])
        + &service("one-nat", "192.0.2.20 80", "tcp", "nat", "", &["b4 10.0.0.14;port = 8080"]);
    let mut case = Case::new("whole-address", config);
    let gre = |to| Expect::Gre { from: "10.0.0.2", to };
    for (port, tcp_to) in [(1, B4), (21, B4), (23, B4), (65535, B4)] {
        case.send(&tcp("198.51.100.7:4000", &format!("192.0.2.10:{port}"), SYN, b""), gre(&tcp_to[..1]));
    }
    case.send(&tcp("198.51.100.7:4000", "192.0.2.10:22", SYN, b""), gre(&["10.1.0.12"]));
    case.send(&udp("198.51.100.7:4000", "192.0.2.10:22", b"udp"), gre(&["10.1.0.13"]));
    case.send(&udp("198.51.100.7:4000", "192.0.2.10:0", b"port 0"), gre(&["10.1.0.13"]));
    case.send(&tcp("198.51.100.7:4000", "192.0.2.20:25", SYN, b""), Expect::Nat(&["10.0.0.14:25"]));
    case.send(&tcp("198.51.100.7:4000", "192.0.2.20:80", SYN, b""), Expect::Nat(&["10.0.0.14:8080"]));
    case.send(&tcp("198.51.100.7:4000", "192.0.2.20:443", SYN, b""), Expect::Nat(&["10.0.0.14:443"]));
    case.send(&tcp("10.0.0.14:25", "198.51.100.7:4000", SYN | ACK, b""), Expect::Back("192.0.2.20:25"));
    case.send(&tcp("10.0.0.14:8080", "198.51.100.7:4000", SYN | ACK, b""), Expect::Back("192.0.2.20:80"));
    case.send(&tcp("10.0.0.14:443", "198.51.100.7:4000", SYN | ACK, b""), Expect::Back("192.0.2.20:443"));
    case.send(&udp("198.51.100.7:4000", "192.0.2.20:80", b"udp"), Expect::Drop("no_service"));
    case.connections(10, 0, 0);
    case
}

/// Errors about what backends sent to clients, through tunnels and by MAC address: to the backend of the connection
/// quoted, known or not.
pub fn icmp_errors_tunnel() -> Case {
    let config = dataplane("")
        + &wan("", &[D4, D6].concat())
        + &service("gre", "192.0.2.10 80", "tcp", "gre", "", NAMED4)
        + &service("gre6", "2001:db8::10 80", "tcp", "gre", "", NAMED6)
        + &service("dsr", "192.0.2.30 53", "udp", "dsr", "", &["b1 10.0.0.11", "b2 10.0.0.12"]);
    let mut case = Case::new("icmp-errors-tunnel", config);
    let (router, router6) = ("203.0.113.1", "2001:db8:f::1");
    for port in 4000..4006 {
        let client = format!("198.51.100.7:{port}");
        case.send(&tcp(&client, "192.0.2.10:80", SYN, b""), TO4);
        let about = tcp("192.0.2.10:80", &client, ACK, &[7; 600]);
        case.send(&icmp(router, VIP4, 3, 4, 1400, &about.bytes()[..28]), TO4);
        case.send(&icmp(router, VIP4, 11, 0, 0, &about.bytes()[..548]), TO4);
        case.send(&icmp(router, VIP4, 3, 1, 0, &about.options(&[1, 1, 1, 0]).bytes()[..32]), TO4);
        let client6 = format!("[2001:db8:c::7]:{port}");
        // The error first: the SYN behind it must find the same backend.
        let about = tcp("[2001:db8::10]:80", &client6, ACK, &[7; 1300]).bytes();
        case.send(&icmp(router6, "2001:db8::10", 2, 0, 1300, &about[..1232]), TO6);
        case.send(&icmp(router6, "2001:db8::10", 1, 4, 0, &about[..48]), TO6);
        case.send(&tcp(&client6, "[2001:db8::10]:80", SYN, b""), TO6);
        let about = udp("192.0.2.30:53", &client, b"answer").bytes();
        case.send(&icmp(router, "192.0.2.30", 3, 3, 0, &about), Expect::Direct(D4));
        case.send(&udp(&client, "192.0.2.30:53", b"question"), Expect::Direct(D4));
    }
    let about = tcp("192.0.2.10:80", "198.51.100.7:4000", ACK, b"").bytes();
    let error = |to: &str, quote: &[u8]| icmp(router, to, 3, 4, 1400, quote);
    case.send(&error(VIP4, &about[..20]), Expect::Drop("icmp_quote"));
    case.send(&error(VIP4, &about[..23]), Expect::Drop("icmp_quote"));
    case.send(&error(VIP4, &about[..3]), Expect::Drop("icmp_quote"));
    case.send(&error(VIP4, b""), Expect::Drop("icmp_quote"));
    case.send(&error(VIP4, &about).wrong_checksum(), Expect::Drop("icmp_checksum"));
    let mut bad_quote = about.clone();
    bad_quote[10] ^= 0x40;
    case.send(&error(VIP4, &bad_quote), Expect::Drop("icmp_checksum"));
    // About somebody else's packet, and to somebody else than it came from.
    let foreign = tcp("192.0.2.99:80", "198.51.100.7:4000", ACK, b"").bytes();
    case.send(&error(VIP4, &foreign), Expect::Drop("icmp_no_connection"));
    case.send(&error("10.0.0.2", &about), Expect::Drop("icmp_no_connection"));
    case.send(&error("192.0.2.99", &about), Expect::Drop("not_ours"));
    // From ourselves it would go round; redirects and source quenches are for nobody.
    case.send(&icmp("10.0.0.2", VIP4, 3, 4, 1400, &about), Expect::Drop("looped"));
    case.send(&icmp(router, VIP4, 5, 1, 0, &about), Expect::Drop("icmp_not_served"));
    case.send(&icmp(router, VIP4, 4, 0, 0, &about), Expect::Drop("icmp_not_served"));
    case.connections(18, 0, 0);
    case
}
