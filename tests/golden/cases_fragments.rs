//! Cases of datagrams in fragments: rule 4, and what rules 3, 5, 25 and 32 say of them.

use crate::case::*;
use crate::packet::*;

const C4: &str = "198.51.100.7:40000";
const C6: &str = "[2001:db8:c::7]:40000";
const G4: &str = "192.0.2.10:53";
const G6: &str = "[2001:db8::10]:53";
const N4: &str = "192.0.2.20:53";
const N6: &str = "[2001:db8::20]:53";
const D4: &str = "192.0.2.30:53";
const D6: &str = "[2001:db8::30]:53";
const ALL: &[&str] = &["10.1.0.11", "10.1.0.12", "10.1.0.13"];
const NAMED: &[&str] = &["b1 10.1.0.11", "b2 10.1.0.12", "b3 10.1.0.13"];
const ON_LINK: &[&str] = &["10.0.0.11", "10.0.0.12", "fd00::11", "fd00::12"];
/// Bytes of data in a fragment; with a tunnel's header around it, it fits.
const STEP: usize = 1200;

fn services() -> String {
    service("gre4", "192.0.2.10 53", "udp", "gre", "", NAMED)
        + &service("gre6", "2001:db8::10 53", "udp", "gre", "", NAMED)
        + &service("nat4", "192.0.2.20 53", "udp", "nat", "", &["n1 10.0.0.11;port = 5353", "n2 10.0.0.12;port = 5353"])
        + &service("nat6", "2001:db8::20 53", "udp", "nat", "", &["n1 fd00::11;port = 5353", "n2 fd00::12;port = 5353"])
        + &service("dsr4", "192.0.2.30 53", "udp", "dsr", "", &["d1 10.0.0.11", "d2 10.0.0.12"])
        + &service("dsr6", "2001:db8::30 53", "udp", "dsr", "", &["d1 fd00::11", "d2 fd00::12"])
        + &service("tcp4", "192.0.2.10 80", "tcp", "gre", "", NAMED)
        + &service("tcp6", "2001:db8::10 80", "tcp", "gre", "", NAMED)
        + &service("tcpn", "192.0.2.20 80", "tcp", "nat", "", &["n1 10.0.0.11;port = 8080", "n2 10.0.0.12;port = 8080"])
}

fn config(lines: &str) -> String {
    dataplane(lines) + &wan("", ON_LINK) + &services()
}

/// What becomes of a packet to a VIP.
fn to(vip: &str) -> Expect {
    match vip {
        N4 => Expect::Nat(&["10.0.0.11:5353", "10.0.0.12:5353"]),
        N6 => Expect::Nat(&["[fd00::11]:5353", "[fd00::12]:5353"]),
        D4 => Expect::Direct(&["10.0.0.11", "10.0.0.12"]),
        D6 => Expect::Direct(&["fd00::11", "fd00::12"]),
        "192.0.2.20:80" => Expect::Nat(&["10.0.0.11:8080", "10.0.0.12:8080"]),
        _ => Expect::Gre { from: "10.0.0.2", to: ALL },
    }
}

const VIPS: [&str; 6] = [G4, G6, N4, N6, D4, D6];

fn client_of(vip: &str, port: u16) -> String {
    if vip.starts_with('[') { format!("[2001:db8:c::7]:{port}") } else { format!("198.51.100.7:{port}") }
}

fn bytes(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 7 + i / 250) as u8).collect()
}

/// One fragment: `len` bytes of the packet's upper layer from `at` on.
fn cut(whole: &Ip, id: u16, at: usize, len: usize, more: bool) -> Ip {
    let mut piece = whole.clone();
    piece.id = id;
    piece.l4 = whole.l4[at.min(whole.l4.len())..(at + len).min(whole.l4.len())].to_vec();
    match whole.src.is_ipv4() {
        true => piece.fragment((at / 8) as u16 | if more { MF } else { 0 }),
        false => piece.extension(44, &v6_header(at as u16 | u16::from(more), id)),
    }
}

fn v6_header(field: u16, id: u16) -> Vec<u8> {
    [&[0][..], &field.to_be_bytes(), &[0xab, 0xcd], &id.to_be_bytes()].concat()
}

/// All fragments of a packet, in order.
fn pieces(whole: &Ip, id: u16) -> Vec<Ip> {
    let len = whole.l4.len();
    (0..len).step_by(STEP).map(|at| cut(whole, id, at, STEP, at + STEP < len)).collect()
}

fn datagram(vip: &str, port: u16, len: usize) -> Ip {
    udp(&client_of(vip, port), vip, &bytes(len))
}

/// In order, before and behind whole packets of the same connection, in every mode; answers through NAT as well; fragments
/// with options before the upper layer; TCP.
pub fn fragments() -> Case {
    let mut case = Case::new("fragments", config(""));
    for (id, vip) in (1..).zip(VIPS) {
        for piece in pieces(&datagram(vip, 40_000, 4000), id) {
            case.send(&piece, to(vip));
        }
        case.send(&udp(&client_of(vip, 40_000), vip, b"whole"), to(vip));
        for piece in pieces(&datagram(vip, 40_000, 9000), 100 + id) {
            case.send(&piece, to(vip));
        }
    }
    for (id, whole) in (1..).zip([datagram(N4, 1, 3000).wrong_checksum(), datagram(N4, 1, 3000), datagram(N6, 1, 3000)])
    {
        let with_options = if id == 2 { whole.options(&[7, 7, 4, 0, 0, 0, 0, 0]) } else { whole };
        for piece in pieces(&with_options, 200 + id) {
            let vip = if id == 3 { N6 } else { N4 };
            case.send(&piece, to(vip));
        }
    }
    // TCP: with a connection, without one, and without one where another node may have had it.
    let one = "192.0.2.20:80";
    case.send(&tcp("198.51.100.9:1", one, SYN, b""), to(one));
    for piece in pieces(&tcp("198.51.100.9:1", one, ACK, &bytes(3000)), 300) {
        case.send(&piece, to(one));
    }
    for piece in pieces(&tcp("198.51.100.9:2", one, ACK, &bytes(3000)), 301) {
        case.send(&piece, Expect::Drop("no_connection"));
    }
    for piece in pieces(&tcp("198.51.100.9:3", "192.0.2.10:80", ACK, &bytes(3000)), 302) {
        case.send(&piece, to(G4));
    }
    case.connections(10, 0, 0).run(Run::Flows);
    case
}

/// Answers through NAT in fragments come from the VIP.
pub fn fragments_back() -> Case {
    let config = dataplane("")
        + &wan("", &["10.0.0.11", "fd00::11"])
        + &service("nat4", "192.0.2.20 53", "udp", "nat", "", &["n1 10.0.0.11;port = 5353"])
        + &service("nat6", "2001:db8::20 53", "udp", "nat", "", &["n1 fd00::11;port = 5353"]);
    let mut case = Case::new("fragments-back", config);
    for (client, vip, backend) in [(C4, N4, "10.0.0.11:5353"), (C6, N6, "[fd00::11]:5353")] {
        let there = if vip == N4 { Expect::Nat(&["10.0.0.11:5353"]) } else { Expect::Nat(&["[fd00::11]:5353"]) };
        case.send(&udp(client, vip, b"how much?"), there);
        for (id, whole) in (7..).zip([udp(backend, client, &bytes(4000)), udp(backend, client, &bytes(64_000))]) {
            for piece in pieces(&whole, id) {
                case.send(&piece, Expect::Back(vip));
            }
        }
        // Nobody knows of this one.
        let stray = udp(backend, &client_of(vip, 9), &bytes(3000));
        for piece in pieces(&stray, 99) {
            case.send(&piece, Expect::Drop("not_ours"));
        }
    }
    case.connections(2, 0, 0).run(Run::Flows);
    case
}

/// The last fragment first, and two datagrams of different connections mixed: what comes before the ports are known waits.
pub fn fragments_out_of_order() -> Case {
    let mut case = Case::new("fragments-out-of-order", config(""));
    for (id, vip) in (1..).zip(VIPS) {
        for piece in pieces(&datagram(vip, 40_000, 8000), id).iter().rev() {
            case.send(piece, to(vip));
        }
        let (one, other) = (pieces(&datagram(vip, 1, 6000), 100 + id), pieces(&datagram(vip, 2, 6000), 200 + id));
        for at in [3, 0, 4, 1, 5, 2] {
            if let (Some(a), Some(b)) = (one.get(at), other.get(5 - at)) {
                case.send(a, to(vip)).send(b, to(vip));
            }
        }
        case.send(&udp(&client_of(vip, 1), vip, b"whole"), to(vip));
    }
    case.connections(18, 0, 0).run(Run::Flows);
    case
}

/// Fragments that the network has doubled pass, each time it does.
pub fn fragments_doubled() -> Case {
    let mut case = Case::new("fragments-doubled", config(""));
    for (id, vip) in (1..).zip(VIPS) {
        let all = pieces(&datagram(vip, 40_000, 4000), id);
        for piece in &all {
            case.send(piece, to(vip)).send(piece, to(vip));
        }
        for piece in &all {
            case.send(piece, to(vip));
        }
        let all = pieces(&datagram(vip, 40_000, 4000), 100 + id);
        for piece in [&all[2], &all[2], &all[0], &all[0], &all[1]] {
            case.send(piece, to(vip));
        }
    }
    case.connections(6, 0, 0).run(Run::Flows);
    case
}

/// Fragments that overlap end their datagram, what waits included; others do not suffer.
pub fn fragments_overlap() -> Case {
    let mut case = Case::new("fragments-overlap", config(""));
    let overlap = || Expect::Drop("fragment_overlap");
    for (id, vip) in (1..).zip([G4, G6, N4, N6]) {
        let whole = datagram(vip, 40_000, 6000);
        let all = pieces(&whole, id);
        case.send(&all[0], to(vip)).send(&all[1], to(vip));
        case.send(&cut(&whole, id, 1208, 1200, true), overlap());
        for piece in &all {
            case.send(piece, overlap());
        }
        // Another first fragment, an end that contradicts, and one within another.
        let bad = [(0, 1208, true), (2400, 1200, false), (8, 8, true)];
        for (other, (at, len, more)) in (0..).zip(bad) {
            let id = id + 100 * (other + 1);
            let all = pieces(&whole, id);
            case.send(&all[0], to(vip)).send(&all[2], to(vip));
            case.send(&cut(&whole, id, at, len, more), overlap());
            case.send(&all[1], overlap());
        }
        let all = pieces(&whole, 500 + id);
        case.send(&all[2], overlap()).send(&all[3], overlap());
        case.send(&cut(&whole, 500 + id, 2392, 16, true), overlap());
        case.send(&all[0], overlap());
        case.send(&udp(&client_of(vip, 40_000), vip, b"whole"), to(vip));
    }
    case.connections(4, 0, 0).run(Run::Flows);
    case
}

/// Datagrams of which a part never comes: what has ports is sent on, what has none is dropped when its time is over.
pub fn fragments_never_complete() -> Case {
    let mut case = Case::new("fragments-never-complete", config("fragments = 64\n"));
    for (id, vip) in (1..).zip(VIPS) {
        let all = pieces(&datagram(vip, 40_000, 6000), id);
        case.send(&all[0], to(vip)).send(&all[2], to(vip)).send(&all[3], to(vip));
        for piece in &pieces(&datagram(vip, 40_000, 6000), 100 + id)[2..] {
            case.send(piece, Expect::Drop("fragment_timeout"));
        }
    }
    case.connections(6, 0, 0).run(Run::Flows);
    case
}

/// More than may wait for a datagram's first fragment, and more datagrams at a time than there is room for: those that
/// have begun keep theirs, and whole packets do not notice.
pub fn fragments_full() -> Case {
    let mut case = Case::new("fragments-full", config("fragments = 8\n"));
    let whole = datagram(G4, 40_000, 6000);
    for k in 0..70 {
        let reason = if k < 64 { "fragment_timeout" } else { "fragment_queue_full" };
        // Twice the same, so that there are few gaps.
        case.send(&cut(&whole, 1, 1200 + k / 2 * 8, 8, true), Expect::Drop(reason));
    }
    case.at_ms(20_000);
    let all: Vec<Vec<Ip>> = (1..=8).map(|port| pieces(&datagram(G4, port, 3000), 100 + port)).collect();
    all.iter().for_each(|pieces| _ = case.send(&pieces[0], to(G4)));
    for piece in &pieces(&datagram(G4, 17, 6000), 200)[1..] {
        case.send(piece, Expect::Drop("fragment_table_full"));
    }
    case.send(&udp(&client_of(G4, 17), G4, b"whole"), to(G4));
    all.iter().flat_map(|pieces| &pieces[1..]).for_each(|piece| _ = case.send(piece, to(G4)));
    case.connections(9, 0, 0).run(NEEDS_TIME);
    case
}

/// The first fragment comes when nobody waits for it any more, and the rest of a datagram after 15 seconds.
pub fn fragments_too_late() -> Case {
    let mut case = Case::new("fragments-too-late", config(""));
    for (id, vip) in (1..).zip([G4, N6]) {
        let at_ms = u64::from(id) * 100_000;
        let all = pieces(&datagram(vip, 40_000, 6000), id);
        case.at_ms(at_ms).send(&all[3], Expect::Drop("fragment_timeout"));
        case.at_ms(at_ms + 1500).send(&all[0], to(vip)).send(&all[1], to(vip));
        case.at_ms(at_ms + 14_000).send(&all[2], to(vip));
        case.at_ms(at_ms + 18_000).send(&all[4], Expect::Drop("fragment_timeout"));
    }
    case.connections(2, 0, 0).run(NEEDS_TIME);
    case
}

/// Fragments that hide the ports or the flags (RFC 1858, RFC 3128), that nobody makes, and those of other protocols.
pub fn fragments_refused() -> Case {
    let mut case = Case::new("fragments-refused", config(""));
    let (tiny, invalid, other) =
        (Expect::Drop("tiny_fragment"), Expect::Drop("fragment_invalid"), Expect::Drop("fragment"));
    for (vip, whole) in [
        ("192.0.2.10:80", tcp(C4, "192.0.2.10:80", SYN, &bytes(200))),
        ("[2001:db8::10]:80", tcp(C6, "[2001:db8::10]:80", SYN, &bytes(200))),
    ] {
        case.send(&cut(&whole, 1, 0, 8, true), tiny.clone());
        case.send(&cut(&whole, 1, 0, 16, true), tiny.clone());
        case.send(&cut(&whole, 1, 8, 32, true), tiny.clone());
        case.send(&cut(&whole, 1, 8, 212, false), tiny.clone());
        case.send(&cut(&whole, 1, 24, 12, true), invalid.clone());
        case.send(&cut(&whole, 2, 0, 44, true), invalid.clone());
        let mut beyond = cut(&whole, 1, 0, 80, false);
        match vip.starts_with('[') {
            false => beyond = beyond.fragment(8191),
            true => beyond.extensions[0].1 = v6_header(0xfff8, 1),
        }
        case.send(&beyond, invalid.clone());
        // An atomic fragment is whole (RFC 6946).
        if vip.starts_with('[') {
            case.send(&cut(&whole, 3, 0, 220, false), to(vip));
        }
    }
    for whole in [
        icmp("198.51.100.7", "192.0.2.10", 8, 0, 1, &bytes(3000)),
        icmp("2001:db8:c::7", "2001:db8::10", 128, 0, 1, &bytes(3000)),
        Ip::new(ip("198.51.100.7"), ip("192.0.2.10"), 132, bytes(3000)),
    ] {
        for piece in pieces(&whole, 4) {
            case.send(&piece, other.clone());
        }
    }
    for (dst, reason) in [("192.0.2.10:54", "no_service"), ("10.0.0.2:53", "fragment"), ("192.0.2.99:53", "not_ours")] {
        for piece in pieces(&udp(C4, dst, &bytes(3000)), 5) {
            case.send(&piece, Expect::Drop(reason));
        }
    }
    case.connections(1, 0, 0);
    case
}

/// `fragments = 0`.
pub fn fragments_off() -> Case {
    let mut case = Case::new("fragments-off", config("fragments = 0\n"));
    for vip in VIPS {
        for piece in pieces(&datagram(vip, 40_000, 4000), 1) {
            case.send(&piece, Expect::Drop("fragment"));
        }
    }
    case
}

/// Fragments say nothing of which worker owns the connection, and yet all get there.
pub fn fragments_two_workers() -> Case {
    let mut case = Case::new("fragments-two-workers", config("workers = 2\n"));
    for (id, vip) in (1..).zip(VIPS) {
        for port in 1..=4 {
            let id = 10 * id + port;
            case.send(&udp(&client_of(vip, port), vip, b"whole"), to(vip));
            let all = pieces(&datagram(vip, port, 5000), id);
            match port {
                1 => all.iter().for_each(|piece| _ = case.send(piece, to(vip))),
                2 => all.iter().rev().for_each(|piece| _ = case.send(piece, to(vip))),
                3 => [2, 0, 1, 4, 3].iter().for_each(|&at| _ = case.send(&all[at], to(vip))),
                _ => all[1..].iter().for_each(|piece| _ = case.send(piece, Expect::Drop("fragment_timeout"))),
            }
        }
    }
    case.connections(24, 0, 0).run(Run::Flows);
    case
}

/// A backend fails, and comes back, while datagrams are on their way: each goes on with its connection.
pub fn fragments_backend_down() -> Case {
    let mut case = Case::new("fragments-backend-down", config(""));
    let all: Vec<Vec<Ip>> = (1..=12).map(|port| pieces(&datagram(G4, port, 6000), port)).collect();
    let gre = |to| Expect::Gre { from: "10.0.0.2", to };
    for pieces in &all {
        case.send(&pieces[0], gre(ALL)).send(&pieces[1], gre(ALL));
    }
    case.event(0.5, "\"backend\": \"gre4/b1\", \"state\": \"down\"").at_ms(600);
    for pieces in &all {
        case.send(&pieces[2], gre(&ALL[1..])).moves().send(&pieces[3], gre(&ALL[1..]));
    }
    case.event(1.0, "\"backend\": \"gre4/b1\", \"state\": \"up\"").at_ms(1100);
    for (port, pieces) in (1..).zip(&all) {
        case.send(&pieces[4], gre(&ALL[1..])).send(&pieces[5], gre(&ALL[1..]));
        case.send(&udp(&client_of(G4, port), G4, b"whole"), gre(&ALL[1..]));
    }
    case.any_connections().run(NEEDS_EVENTS);
    case
}

/// Another configuration takes over between two fragments: more backends, which would get new connections.
pub fn fragments_config_swap() -> Case {
    let mut case = Case::new("fragments-config-swap", config(""));
    let more = "b1 10.1.0.11 b4 10.1.0.14 b5 10.1.0.15 b3 10.1.0.13 b2 10.1.0.12";
    let words: Vec<&str> = more.split(' ').collect();
    let backends: Vec<String> = words.chunks(2).map(|pair| pair.join(" ")).collect();
    let backends: Vec<&str> = backends.iter().map(String::as_str).collect();
    let new = dataplane("") + &wan("", ON_LINK) + &service("gre4", "192.0.2.10 53", "udp", "gre", "", &backends);
    let all: Vec<Vec<Ip>> = (1..=12).map(|port| pieces(&datagram(G4, port, 6000), port)).collect();
    for pieces in &all {
        case.send(&pieces[0], to(G4)).send(&pieces[1], to(G4));
    }
    case.event(0.5, "\"config\": \"new.toml\"").at_ms(600);
    for pieces in &all {
        for piece in &pieces[2..] {
            case.send(piece, to(G4));
        }
    }
    // What no connection goes by any more is refused as whole packets are.
    let gone = pieces(&datagram(N4, 1, 4000), 77);
    case.send(&gone[0], Expect::Drop("not_ours")).send(&gone[1], Expect::Drop("not_ours"));
    case.files.insert("new.toml", new);
    case.connections(12, 0, 0).run(NEEDS_EVENTS);
    case
}
