//! Cases of ICMP, named after the rules that they hold: see `docs/decisions/path-mtu.md` for what is believed.

use crate::case::*;
use crate::packet::*;

const GRE4: &str = "192.0.2.10:80";
const GRE6: &str = "[2001:db8::10]:80";
const NAT4: &str = "192.0.2.20:80";
const NAT6: &str = "[2001:db8::20]:80";
const DSR4: &str = "192.0.2.30:80";
const CLIENT4: &str = "198.51.100.7:4000";
const CLIENT6: &str = "[2001:db8:c::7]:4000";
const ROUTER4: &str = "203.0.113.1";
const ROUTER6: &str = "2001:db8:f::1";
const B4: &[&str] = &["10.1.0.11", "10.1.0.12", "10.1.0.13"];
const B6: &[&str] = &["fd00:1::11", "fd00:1::12", "fd00:1::13"];
const N4: &[&str] = &["10.0.0.11:8080", "10.0.0.12:8080"];
const N6: &[&str] = &["[fd00::11]:8080", "[fd00::12]:8080"];
const D4: &[&str] = &["10.0.0.11", "10.0.0.12"];
const TO4: Expect = Expect::Gre { from: "10.0.0.2", to: B4 };
const TO6: Expect = Expect::Gre { from: "fd00::2", to: B6 };

/// Every mode; `lines` is for each service.
fn config(lines: &str, gre4: &[&str], gre6: &[&str]) -> String {
    dataplane("")
        + &wan("", &["10.0.0.11", "10.0.0.12", "fd00::11", "fd00::12"])
        + &service("gre", "192.0.2.10 80", "tcp", "gre", lines, gre4)
        + &service("gre6", "2001:db8::10 80", "tcp", "gre", lines, gre6)
        + &service(
            "nat",
            "192.0.2.20 80",
            "tcp",
            "nat",
            lines,
            &["n1 10.0.0.11;port = 8080", "n2 10.0.0.12;port = 8080"],
        )
        + &service(
            "nat6",
            "2001:db8::20 80",
            "tcp",
            "nat",
            lines,
            &["n1 fd00::11;port = 8080", "n2 fd00::12;port = 8080"],
        )
        + &service("dsr", "192.0.2.30 80", "tcp", "dsr", lines, &["d1 10.0.0.11", "d2 10.0.0.12"])
}

const NAMED4: &[&str] = &["b1 10.1.0.11", "b2 10.1.0.12", "b3 10.1.0.13"];
const NAMED6: &[&str] = &["b1 fd00:1::11", "b2 fd00:1::12", "b3 fd00:1::13"];

/// A VIP of each mode, its client, what becomes of requests, and of errors.
fn ways() -> [(&'static str, &'static str, Expect, Expect); 5] {
    [
        (GRE4, CLIENT4, TO4, TO4),
        (GRE6, CLIENT6, TO6, TO6),
        (NAT4, CLIENT4, Expect::Nat(N4), Expect::ErrorToBackend(N4)),
        (NAT6, CLIENT6, Expect::Nat(N6), Expect::ErrorToBackend(N6)),
        (DSR4, CLIENT4, Expect::Direct(D4), Expect::Direct(D4)),
    ]
}

fn host(end: &str) -> String {
    end.parse::<std::net::SocketAddr>().map_or_else(|_| panic!("{end}"), |end| end.ip().to_string())
}

fn is_v4(end: &str) -> bool {
    !end.starts_with('[')
}

/// An error from somewhere on the way; kinds of IPv4 and of IPv6.
fn error(to: &str, kind4: (u8, u8), kind6: (u8, u8), rest: u32, quote: &[u8]) -> Ip {
    match is_v4(to) {
        true => icmp(ROUTER4, &host(to), kind4.0, kind4.1, rest, quote),
        false => icmp(ROUTER6, &host(to), kind6.0, kind6.1, rest, quote),
    }
}

/// What is no longer on its way, between bursts: so many packets that a burst ends.
fn a_burst_apart(case: &mut Case) {
    for _ in 0..40 {
        case.send(&udp("198.51.100.8:1", "192.0.2.99:9", b""), Expect::Drop("not_ours"));
    }
}

/// TTL and hop limit 1: time exceeded where we are a router, and nothing where we are none.
pub fn rule_2_ttl() -> Case {
    let mut case = Case::new("rule-2-ttl", config("", NAMED4, NAMED6));
    for (vip, client, request, _) in ways() {
        let is_nat = matches!(request, Expect::Nat(_));
        case.send(&tcp(client, vip, SYN, b"").ttl(2), request.clone());
        for ttl in [1, 1] {
            let expect = if is_nat { Expect::Exceeded } else { request.clone() };
            case.send(&tcp(client, vip, ACK, &[7; 1200]).ttl(ttl), expect);
        }
        // No error about an error.
        let about = error(vip, (11, 0), (3, 0), 0, &tcp(vip, client, ACK, b"").bytes()).ttl(1);
        let expect = if is_nat { Expect::Drop("ttl_exceeded") } else { request };
        case.send(&about, expect);
    }
    case.connections(5, 0, 0);
    case
}

/// Quotes of every form to the connection's backend, and those that tell no connection counted.
pub fn rule_22_quotes() -> Case {
    let mut case = Case::new("rule-22-quotes", config("", NAMED4, NAMED6));
    for (vip, client, request, about) in ways() {
        case.send(&tcp(client, vip, SYN, b""), request);
        let quoted = tcp(vip, client, ACK, &[7; 300]);
        let unreachable = |quote: &[u8], rest| error(vip, (3, 1), (1, 3), rest, quote);
        let whole = quoted.bytes();
        let header = if is_v4(vip) { 20 } else { 40 };
        for len in [header + 4, header + 7, header + 8, header + 9, header + 19, header + 20, 200, whole.len()] {
            case.send(&unreachable(&whole[..len], 0), about.clone());
        }
        for len in [0, 1, header - 1, header, header + 3] {
            case.send(&unreachable(&whole[..len], 0), Expect::Drop("icmp_quote"));
        }
        // Behind the quote, which is filled up, are extensions (RFC 4884): they stay.
        let mut extended = whole[..100].to_vec();
        extended.resize(128, 0);
        extended.extend([0x20, 0, 0x8a, 0xb1, 0, 8, 1, 1, 0x12, 0x34, 0x51, 0x01]);
        let length = if is_v4(vip) { 32 << 16 } else { 16 << 24 };
        case.send(&unreachable(&extended, length), about.clone());
        case.send(&unreachable(&whole, 0).wrong_checksum(), Expect::Drop("icmp_checksum"));
        if is_v4(vip) {
            case.send(&unreachable(&quoted.clone().options(&[1; 40]).bytes()[..68], 0), about.clone());
            case.send(&unreachable(&quoted.clone().fragment(MF).bytes(), 0), about);
            case.send(&unreachable(&quoted.clone().fragment(MF | 9).bytes(), 0), Expect::Drop("icmp_no_connection"));
            let mut bad = whole.clone();
            bad[10] ^= 0x40;
            case.send(&unreachable(&bad, 0), Expect::Drop("icmp_checksum"));
        }
        let echo = icmp(&host(vip), &host(client), if is_v4(vip) { 0 } else { 129 }, 0, 7, b"echo");
        case.send(&unreachable(&echo.bytes(), 0), Expect::Drop("icmp_no_connection"));
    }
    // Our own tunnel packets: the inner packet's sender is told, whoever serves it.
    let tunnels = [
        ("10.0.0.2", "10.1.0.11", tcp(CLIENT4, GRE4, ACK, &[7; 90])),
        ("fd00::2", "fd00:1::12", tcp(CLIENT6, GRE6, ACK, &[7; 90])),
    ];
    for (from, to, inner) in tunnels {
        let outer = gre(from, to, &inner).bytes();
        let from_router = |len: usize| match ip(from).is_ipv4() {
            true => icmp(ROUTER4, from, 3, 1, 0, &outer[..len]),
            false => icmp(ROUTER6, from, 1, 0, 0, &outer[..len]),
        };
        let headers = outer.len() - inner.bytes().len();
        let enough = headers + inner.bytes().len() - inner.l4.len() + 8;
        case.send(&from_router(outer.len()), Expect::TunnelError(None));
        case.send(&from_router(enough), Expect::TunnelError(None));
        for len in [headers - 4, headers - 3, headers, headers + 1, enough - 1] {
            case.send(&from_router(len), Expect::Drop("icmp_tunnel"));
        }
        // To a stranger, or for somebody else.
        let foreign = gre(from, if ip(from).is_ipv4() { "10.1.0.99" } else { "fd00:1::99" }, &inner).bytes();
        let (router, kind) = if ip(from).is_ipv4() { (ROUTER4, 3) } else { (ROUTER6, 1) };
        case.send(&icmp(router, from, kind, 1, 0, &foreign), Expect::Drop("icmp_no_connection"));
    }
    case.connections(5, 0, 0);
    case
}

/// Errors with no connection behind them: by the hash of what they quote, or nowhere.
pub fn rule_23_no_connection() -> Case {
    let mut case = Case::new("rule-23-no-connection", config("", NAMED4, NAMED6));
    for (vip, client, request, about) in ways() {
        let is_nat = matches!(request, Expect::Nat(_));
        for port in 5000..5004 {
            let client = client.replace("4000", &port.to_string());
            let quoted = tcp(vip, &client, ACK, &[7; 300]).bytes();
            let unknown = if is_nat { Expect::Drop("icmp_no_connection") } else { about.clone() };
            case.send(&error(vip, (3, 4), (2, 0), 1400, &quoted), unknown);
            // The connection that comes behind it has the same backend.
            case.send(&tcp(&client, vip, SYN, b""), request.clone());
            case.send(&error(vip, (3, 4), (2, 0), 1400, &quoted), about.clone());
        }
        let elsewhere = error(
            if is_v4(vip) { "192.0.2.99:1" } else { "[2001:db8::99]:1" },
            (3, 4),
            (2, 0),
            1400,
            &tcp(vip, client, ACK, b"").bytes(),
        );
        case.send(&elsewhere, Expect::Drop("not_ours"));
    }
    case.connections(20, 0, 0);
    case
}

/// Forged MTUs are not believed, and no error ends a connection: all go on as before.
pub fn rule_24_state() -> Case {
    let mut case = Case::new("rule-24-state", config("", NAMED4, NAMED6));
    for (vip, client, request, about) in ways() {
        case.send(&tcp(client, vip, SYN, b""), request.clone());
        case.send(&tcp(client, vip, ACK, b"data"), request.clone());
        let quoted = tcp(vip, client, ACK, &[7; 300]).bytes();
        let tell = |mtu| error(vip, (3, 4), (2, 0), mtu, &quoted);
        let min = if is_v4(vip) { 576 } else { 1280 };
        for mtu in [1, 68, 296, min - 1] {
            case.send(&tell(mtu), Expect::Drop("icmp_mtu"));
        }
        case.send(&tell(min), about.clone());
        // 0 is what routers say that are older than RFC 1191.
        case.send(&tell(0), if is_v4(vip) { about.clone() } else { Expect::Drop("icmp_mtu") });
        for code in 0..16 {
            case.send(&error(vip, (3, code), (1, code % 8), 1400, &quoted), about.clone());
        }
        case.send(&tcp(client, vip, ACK, b"more"), request.clone());
        case.send(&tcp(client, vip, ACK, &[7; 1200]), request);
    }
    case.connections(5, 0, 0);
    case
}

/// A router between us and a backend has a narrow link: the sender is told at once, and from then on by us.
pub fn rule_24_tunnel_path() -> Case {
    let mut case = Case::new("rule-24-tunnel-path", config("", &["b1 10.1.0.11"], &["b1 fd00:1::11"]));
    let tunnels = [
        (GRE4, CLIENT4, "10.0.0.2", "10.1.0.11", Expect::Gre { from: "10.0.0.2", to: &["10.1.0.11"] }, 24, 20),
        (GRE6, CLIENT6, "fd00::2", "fd00:1::11", Expect::Gre { from: "fd00::2", to: &["fd00:1::11"] }, 44, 40),
    ];
    for (vip, client, from, backend, request, overhead, header) in tunnels {
        let of_len = |len: usize| tcp(client, vip, ACK, &vec![7; len - header - 20]);
        let narrow = |mtu: u32, outer: &[u8]| match is_v4(vip) {
            true => icmp(ROUTER4, from, 3, 4, mtu, outer),
            false => icmp(ROUTER6, from, 2, 0, mtu, outer),
        };
        case.send(&tcp(client, vip, SYN, b""), request.clone());
        case.send(&of_len(1500 - overhead), request.clone());
        let outer = gre(from, backend, &of_len(1500 - overhead)).bytes();
        for forged in [1, if is_v4(vip) { 575 } else { 1279 }, 1500, 9000] {
            case.send(&narrow(forged, &outer[..200]), Expect::Drop("icmp_mtu"));
        }
        a_burst_apart(&mut case);
        case.send(&of_len(1500 - overhead), request.clone());
        let left = 1400 - overhead;
        case.send(&narrow(1400, &outer[..500]), Expect::TunnelError(Some(left as u32)));
        a_burst_apart(&mut case);
        case.send(&of_len(left), request.clone());
        case.send(&of_len(left + 1), Expect::TooBig(left as u32));
        case.send(&of_len(1500 - overhead), Expect::TooBig(left as u32));
        // A wider path is not believed before ten minutes are over.
        case.send(&narrow(1450, &outer[..500]), Expect::TunnelError(Some(1450 - overhead as u32)));
        a_burst_apart(&mut case);
        case.send(&of_len(left + 1), Expect::TooBig(left as u32));
        case.send(&of_len(left), request);
    }
    case.connections(2, 0, 0);
    case
}

/// Echo requests are answered; errors only to those who may have them.
pub fn rule_25_own_messages() -> Case {
    let mut case = Case::new("rule-25-own-messages", config("unreachable = true\n", &[], &[]));
    for (vip, client, request, _) in ways() {
        let (from, to) = (host(client), host(vip));
        let kind = if is_v4(vip) { 8 } else { 128 };
        for (payload, ttl) in [(&b""[..], 64), (&b"odd"[..], 1), (&[0x5a; 1400], 255)] {
            case.send(&icmp(&from, &to, kind, 0, 0x0102_0304, payload).ttl(ttl), Expect::Echo);
        }
        if matches!(request, Expect::Gre { .. }) {
            // There is no backend, and this service says so.
            case.send(&tcp(client, vip, SYN, b""), Expect::Refused);
            case.send(&tcp(client, vip, ACK, &[7; 1300]), Expect::Refused);
            let about = error(vip, (3, 1), (1, 3), 0, &tcp(vip, client, ACK, b"").bytes());
            case.send(&about, Expect::Drop("no_backend"));
        } else {
            case.send(&tcp(client, vip, SYN, b""), request);
        }
    }
    for nobody in ["0.0.0.0:1", "127.0.0.1:1", "224.0.0.1:1", "255.255.255.255:1"] {
        case.send(&tcp(nobody, GRE4, SYN, b""), Expect::Drop("martian"));
    }
    case.send(&tcp("10.0.0.2:1", GRE4, SYN, b""), Expect::Drop("looped"));
    let to_all = ethernet(BROADCAST, mac_of(ip("10.0.0.1")), &[], IPV4, &tcp(CLIENT4, GRE4, SYN, b"").bytes());
    case.frame(0, to_all, Expect::Drop("not_ours"));
    case.connections(3, 0, 0);
    case
}

/// Pings that a backend answers: one backend for all of one identifier, its answers as from the VIP.
pub fn pings_through_nat() -> Case {
    let mut case = Case::new("pings-through-nat", {
        let backends4: &[&str] = &["n1 10.0.0.11;port = 8080", "n2 10.0.0.12;port = 8080"];
        let backends6: &[&str] = &["n1 fd00::11;port = 8080", "n2 fd00::12;port = 8080"];
        dataplane("")
            + &wan("", &["10.0.0.11", "10.0.0.12", "fd00::11", "fd00::12"])
            + &service("nat", "192.0.2.20 80", "tcp", "nat", "echo = \"backend\"\n", backends4)
            + &service("nat6", "2001:db8::20 80", "tcp", "nat", "echo = \"backend\"\n", backends6)
            + &service("one", "192.0.2.22 80", "tcp", "nat", "echo = \"backend\"\n", &backends4[..1])
            + &service("one6", "2001:db8::22 80", "tcp", "nat", "echo = \"backend\"\n", &backends6[..1])
            + &service("more", "192.0.2.21 80", "tcp", "nat", "", backends4)
    });
    for (vip, client, to) in [(NAT4, CLIENT4, N4), (NAT6, CLIENT6, N6)] {
        let (from, vip_host) = (host(client), host(vip));
        let (ask, answer) = if is_v4(vip) { (8, 0) } else { (128, 129) };
        for id in 0..6u32 {
            for (number, payload) in [(1, &b""[..]), (2, &b"odd"[..]), (3, &[0x5a; 1400])] {
                let word = id << 16 | number;
                case.send(&icmp(&from, &vip_host, ask, 0, word, payload), Expect::Nat(to));
            }
        }
        // Of the service with one backend it is known who answers.
        let (one, backend) = if is_v4(vip) { ("192.0.2.22", N4[0]) } else { ("2001:db8::22", N6[0]) };
        for id in [6, 7, 0xffff] {
            let word = id << 16 | 1;
            case.send(
                &icmp(&from, one, ask, 0, word, b"odd"),
                Expect::Nat(if is_v4(vip) { &N4[..1] } else { &N6[..1] }),
            );
            let back = Expect::Back(if is_v4(vip) { "192.0.2.22:80" } else { "[2001:db8::22]:80" });
            case.send(&icmp(&host(backend), &from, answer, 0, word, b"odd"), back);
        }
        case.send(&icmp(&host(backend), &from, answer, 0, 9 << 16, b"nobody asked"), Expect::Drop("not_ours"));
        case.send(&icmp(&from, &vip_host, ask, 0, 1, b"").ttl(1), Expect::Exceeded);
    }
    case.send(&icmp("198.51.100.7", "192.0.2.21", 8, 0, 1, b"the other VIP"), Expect::Echo);
    case.connections(18, 0, 0);
    case
}

/// A GRE packet as the balancer sends it.
fn gre(from: &str, to: &str, inner: &Ip) -> Ip {
    let l4 = [&[0, 0][..], &ethertype(inner.src).to_be_bytes(), &inner.bytes()].concat();
    Ip::new(ip(from), ip(to), 47, l4)
}
