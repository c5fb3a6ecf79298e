//! Cases of IPIP and GUE, of packets that do not fit a tunnel, and of tunnels that end here.

use crate::case::*;
use crate::packet::*;

const B4: &[&str] = &["10.1.0.11", "10.1.0.12", "10.1.0.13"];
const B6: &[&str] = &["fd00:1::11", "fd00:1::12", "fd00:1::13"];
const NAMED4: &[&str] = &["b1 10.1.0.11", "b2 10.1.0.12", "b3 10.1.0.13"];
const NAMED6: &[&str] = &["b1 fd00:1::11", "b2 fd00:1::12", "b3 fd00:1::13"];
/// VIP, client, and whether the backends are IPv6.
const COMBINATIONS: [(&str, &str, bool); 4] = [
    ("192.0.2.44", "198.51.100.7", false),
    ("192.0.2.46", "198.51.100.7", true),
    ("2001:db8::64", "2001:db8:c::7", false),
    ("2001:db8::66", "2001:db8:c::7", true),
];

fn ends(v6: bool) -> (&'static str, &'static [&'static str]) {
    if v6 { ("fd00::2", B6) } else { ("10.0.0.2", B4) }
}

fn at(address: &str, port: u32) -> String {
    if address.contains(':') { format!("[{address}]:{port}") } else { format!("{address}:{port}") }
}

/// A TCP and a UDP service for each combination, with these lines.
fn all(name: &'static str, kind: Kind, lines: &str) -> Case {
    let mode = match kind {
        Kind::Gre => "gre",
        Kind::Ipip => "ipip",
        Kind::Gue => "gue",
    };
    let mut config = dataplane("") + &wan("", &[]);
    for (number, (vip, _, v6)) in COMBINATIONS.into_iter().enumerate() {
        let named = if v6 { NAMED6 } else { NAMED4 };
        config += &service(&format!("tcp{number}"), &format!("{vip} 80"), "tcp", mode, lines, named);
        config += &service(&format!("udp{number}"), &format!("{vip} 53"), "udp", mode, lines, named);
    }
    Case::new(name, config)
}

/// Conversations of each combination, packets of the largest size that fits, and one byte more.
fn conversations(name: &'static str, kind: Kind, len: usize) -> Case {
    let mut case = all(name, kind, "");
    for (vip, client, v6) in COMBINATIONS {
        let (from, to) = ends(v6);
        let expect = Expect::Tunnel { kind, from, to };
        for port in 40_000..40_004 {
            client_side(&mut case, &at(client, port), &at(vip, 80), &expect);
        }
        let headers = if client.contains(':') { 48 } else { 28 };
        let fits = 1500 - len - if v6 { 40 } else { 20 };
        let of_len = |len: usize| udp(&at(client, 5000), &at(vip, 53), &vec![0x5a; len - headers]);
        case.send(&of_len(fits).tos(0xb9), expect.clone());
        case.send(&of_len(fits + 1), Expect::TooBig(fits as u32));
        case.send(&of_len(fits).ttl(0), Expect::Drop("ttl_exceeded"));
        case.send(&udp(&at(client, 5000), &at(vip, 53), b"odd"), expect.clone());
        if headers == 28 {
            case.send(&of_len(fits + 1).fragment(0), Expect::Pieces { count: 2, kind, from, to });
            case.send(&of_len(fits).fragment(0), expect);
        }
    }
    case.connections(20, 0, 0);
    case
}

pub fn ipip() -> Case {
    conversations("ipip", Kind::Ipip, 0)
}

pub fn gue() -> Case {
    conversations("gue", Kind::Gue, 8)
}

/// DSCP and TTL as the service wants them, ECN as the packet has it.
pub fn tunnel_marks() -> Case {
    let mut case = all("tunnel-marks", Kind::Gue, "tunnel_dscp = 46\ntunnel_ttl = 3\n");
    case.marks = (Some(46), 3);
    for (vip, client, v6) in COMBINATIONS {
        let (from, to) = ends(v6);
        for tos in [0x00, 0x01, 0x22, 0xff] {
            let expect = Expect::Tunnel { kind: Kind::Gue, from, to };
            case.send(&udp(&at(client, 5000), &at(vip, 53), b"question").tos(tos), expect);
        }
    }
    case.connections(4, 0, 0);
    case
}

/// All that does not fit goes in pieces.
pub fn mtu_fragment() -> Case {
    let mut case = all("mtu-fragment", Kind::Ipip, "mtu_policy = \"fragment\"\n");
    for (vip, client, v6) in COMBINATIONS {
        let (from, to) = ends(v6);
        let headers = if client.contains(':') { 48 } else { 28 };
        let fits = if v6 { 1460 } else { 1480 };
        for len in [fits, fits + 1, 1500] {
            let packet = udp(&at(client, 5000), &at(vip, 53), &vec![0xa5; len - headers]);
            let expect = match len > fits {
                true => Expect::Pieces { count: 2, kind: Kind::Ipip, from, to },
                false => Expect::Tunnel { kind: Kind::Ipip, from, to },
            };
            case.send(&packet, expect);
        }
    }
    case.connections(4, 0, 0);
    case
}

/// A SYN that announces this segment size.
fn syn(from: &str, to: &str, mss: u16) -> Ip {
    let mut packet = tcp(from, to, SYN, b"");
    packet.l4.extend([2, 4]);
    packet.l4.extend(mss.to_be_bytes());
    packet.l4[12] = 0x60;
    let (src, dst) = (packet.src, packet.dst);
    fix_l4(src, dst, TCP, &mut packet.l4);
    packet
}

/// Lowered where it is too high, and never raised.
pub fn mss_clamp() -> Case {
    let mut case = all("mss-clamp", Kind::Gre, "mtu_policy = \"clamp\"\n");
    for (vip, client, v6) in COMBINATIONS {
        let (from, to) = ends(v6);
        let fits = 1500 - if v6 { 44 } else { 24 } - if client.contains(':') { 60 } else { 40 };
        for (port, mss) in [(1, 1460), (2, fits + 1), (3, fits), (4, 536)] {
            let expect = match mss > fits {
                true => Expect::Clamped { kind: Kind::Gre, from, to, mss: fits },
                false => Expect::Tunnel { kind: Kind::Gre, from, to },
            };
            case.send(&syn(&at(client, port), &at(vip, 80), mss), expect);
        }
        case.send(&tcp(&at(client, 9), &at(vip, 80), SYN, b""), Expect::Tunnel { kind: Kind::Gre, from, to });
    }
    case.connections(20, 0, 0);
    case
}

/// GRE and IPIP from an outer tier, and from others.
pub fn outer_tier() -> Case {
    let config = dataplane("")
        + &wan("decapsulate_from = [\"10.9.0.0/16\", \"fd09::/16\"]\n", &[])
        + &service("web", "192.0.2.44 80", "tcp", "gre", "", NAMED4)
        + &service("web6", "2001:db8::66 80", "tcp", "ipip", "", NAMED6);
    let mut case = Case::new("outer-tier", config);
    let wrapped = |from: &str, own: &str, gre: bool, inner: &Ip| {
        let v4 = inner.src.is_ipv4();
        let protocol = if gre {
            47
        } else if v4 {
            4
        } else {
            41
        };
        let header: &[u8] = match (gre, v4) {
            (false, _) => &[],
            (true, true) => &[0, 0, 8, 0],
            (true, false) => &[0, 0, 0x86, 0xdd],
        };
        Ip::new(ip(from), ip(own), protocol, [header, &inner.bytes()].concat())
    };
    for (vip, client, kind, (from, to)) in [
        ("192.0.2.44", "198.51.100.7", Kind::Gre, ends(false)),
        ("2001:db8::66", "2001:db8:c::7", Kind::Ipip, ends(true)),
    ] {
        for (source, own) in [("10.9.1.1", "10.0.0.2"), ("fd09::1", "fd00::2")] {
            for gre in [false, true] {
                let expect = Expect::Tunnel { kind, from, to };
                let inner = tcp(&at(client, 4000), &at(vip, 80), SYN, b"");
                case.tunnelled(&wrapped(source, own, gre, &inner), &inner, expect.clone());
                // The same connection without a tunnel.
                case.send(&tcp(&at(client, 4000), &at(vip, 80), ACK, b"plain"), expect);
                let other = if source.contains(':') { "fd08::1" } else { "10.8.1.1" };
                case.send(&wrapped(other, own, gre, &inner), Expect::Drop("no_service"));
                let stray = tcp(&at(client, 4000), &at(client, 80), SYN, b"");
                case.send(&wrapped(source, own, gre, &stray), Expect::Drop("tunnel_not_vip"));
                case.send(&wrapped(source, own, gre, &inner).tos(3), Expect::Drop("tunnel_congested"));
                let nothing = Ip::new(ip(source), ip(own), if gre { 47 } else { 4 }, vec![0x55; 60]);
                case.send(&nothing, Expect::Drop("tunnel_invalid"));
            }
        }
    }
    case.connections(2, 0, 0);
    case
}
