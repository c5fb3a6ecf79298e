//! Cases of what changes with time, with events, with a full table and with several workers.

use crate::case::*;
use crate::packet::*;

const VIP: &str = "192.0.2.10:80";
const NATVIP: &str = "192.0.2.20:80";
const ALL: &[&str] = &["10.1.0.11", "10.1.0.12", "10.1.0.13"];
const NAMED: &[&str] = &["b1 10.1.0.11", "b2 10.1.0.12", "b3 10.1.0.13"];
const ONE: &[&str] = &["10.0.0.11:8080"];

const fn gre(to: &'static [&'static str]) -> Expect {
    Expect::Gre { from: "10.0.0.2", to }
}

fn base(lines: &str) -> String {
    dataplane("") + &wan("", &["10.0.0.11", "10.0.0.12"]) + &service("web", "192.0.2.10 80", "tcp", "gre", lines, NAMED)
}

fn client(port: u16) -> String {
    format!("198.51.100.7:{port}")
}

/// A backend fails: its connections go elsewhere, the others stay, and it comes back for new ones.
pub fn backend_down() -> Case {
    let mut case = Case::new("backend-down", base(""));
    for port in 1..=12 {
        case.send(&tcp(&client(port), VIP, SYN, b""), gre(ALL));
    }
    case.event(0.5, "\"backend\": \"web/b1\", \"state\": \"down\"").at_ms(600);
    for port in 1..=18 {
        case.send(&tcp(&client(port), VIP, ACK, b"data"), gre(&ALL[1..])).moves();
    }
    case.event(1.0, "\"backend\": \"web/b1\", \"state\": \"up\"").at_ms(1100);
    for port in 1..=18 {
        case.send(&tcp(&client(port), VIP, ACK, b"more"), gre(&ALL[1..]));
    }
    for port in 101..=112 {
        case.send(&tcp(&client(port), VIP, SYN, b""), gre(ALL));
    }
    case.any_connections().run(NEEDS_EVENTS);
    case
}

/// A backend is drained: its connections stay, new ones go elsewhere.
pub fn backend_drain() -> Case {
    let mut case = Case::new("backend-drain", base(""));
    for port in 1..=12 {
        case.send(&tcp(&client(port), VIP, SYN, b""), gre(ALL));
    }
    case.event(0.5, "\"backend\": \"web/b2\", \"state\": \"drain\"").at_ms(600);
    for port in 1..=12 {
        case.send(&tcp(&client(port), VIP, ACK, b"data"), gre(ALL));
    }
    for port in 13..=24 {
        case.send(&tcp(&client(port), VIP, SYN, b""), gre(&["10.1.0.11", "10.1.0.13"]));
    }
    case.event(1.0, "\"backend\": \"web/b2\", \"state\": \"up\"").at_ms(1100);
    for port in 13..=24 {
        case.send(&tcp(&client(port), VIP, ACK, b"data"), gre(&["10.1.0.11", "10.1.0.13"]));
    }
    case.connections(24, 0, 0).run(NEEDS_EVENTS);
    case
}

/// A configuration takes another's place: backends come, go and change their weight, a service comes and one goes.
/// Connections of backends that stay do so too.
pub fn config_swap() -> Case {
    let before = base("") + &service("old", "192.0.2.30 80", "tcp", "gre", "", &["b1 10.1.0.11"]);
    let backends = &["b4 10.1.0.14", "b3 10.1.0.13;weight = 10", "b2 10.1.0.12"];
    let after = dataplane("")
        + &wan("", &["10.0.0.11", "10.0.0.12"])
        + &service("new", "192.0.2.40 80", "tcp", "gre", "", &["b1 10.1.0.11"])
        + &service("web", "192.0.2.10 80", "tcp", "gre", "", backends);
    const STAY: &[&str] = &["10.1.0.12", "10.1.0.13", "10.1.0.14"];
    let mut case = Case::new("config-swap", before);
    for port in 1..=12 {
        case.send(&tcp(&client(port), VIP, SYN, b""), gre(ALL));
    }
    case.send(&tcp(&client(1), "192.0.2.30:80", SYN, b""), gre(&ALL[..1]));
    case.send(&tcp(&client(1), "192.0.2.40:80", SYN, b""), Expect::Drop("not_ours"));
    case.event(0.5, "\"config\": \"new.toml\"").at_ms(600);
    for port in 1..=12 {
        case.send(&tcp(&client(port), VIP, ACK, b"data"), gre(STAY)).moves();
    }
    for port in 101..=106 {
        case.send(&tcp(&client(port), VIP, SYN, b""), gre(STAY));
    }
    case.send(&tcp(&client(1), "192.0.2.30:80", ACK, b""), Expect::Drop("not_ours"));
    case.send(&tcp(&client(1), "192.0.2.40:80", SYN, b""), gre(&ALL[..1]));
    // The administrator's word on a backend of the new configuration, and back to the old one.
    case.event(1.0, "\"backend\": \"web/b4\", \"state\": \"down\"").at_ms(1100);
    for port in 1..=12 {
        case.send(&tcp(&client(port), VIP, ACK, b"data"), gre(&STAY[..2])).moves();
    }
    case.files.insert("new.toml", after);
    case.any_connections().run(NEEDS_EVENTS);
    case
}

/// No backend: by configuration, and by events one after the other.
pub fn no_backend() -> Case {
    let config = base("")
        + &service("down", "192.0.2.30 80", "tcp", "gre", "", &["b1 10.1.0.11;state = \"down\""])
        + &service("drained", "192.0.2.31 80", "tcp", "nat", "", &["b1 10.0.0.11;state = \"drain\""])
        + &service("unweighted", "192.0.2.32 80", "udp", "gre", "", &["b1 10.1.0.11;weight = 0"])
        + &service("empty", "192.0.2.33 80", "tcp", "dsr", "", &[]);
    let mut case = Case::new("no-backend", config);
    let none = Expect::Drop("no_backend");
    case.send(&tcp(&client(1), "192.0.2.30:80", SYN, b""), none.clone());
    case.send(&tcp(&client(1), "192.0.2.30:80", ACK, b""), none.clone());
    case.send(&tcp(&client(1), "192.0.2.31:80", SYN, b""), none.clone());
    case.send(&tcp(&client(1), "192.0.2.31:80", ACK, b""), Expect::Drop("no_connection"));
    case.send(&udp(&client(1), "192.0.2.32:80", b""), none.clone());
    case.send(&tcp(&client(1), "192.0.2.33:80", SYN, b""), none.clone());
    let about = tcp("192.0.2.30:80", &client(1), ACK, b"").bytes();
    case.send(&icmp("203.0.113.1", "192.0.2.30", 3, 4, 1400, &about), none);
    case.send(&icmp("198.51.100.7", "192.0.2.30", 8, 0, 1, b"a VIP answers all the same"), Expect::Echo);
    case
}

/// One backend after the other goes, until none is left.
pub fn no_backend_left() -> Case {
    let mut case = Case::new("no-backend-left", base(""));
    case.send(&tcp(&client(1), VIP, SYN, b""), gre(ALL));
    for (at, name, left) in [(1.0, "b1", &ALL[1..]), (2.0, "b2", &ALL[2..]), (3.0, "b3", &[])] {
        case.event(at, &format!("\"backend\": \"web/{name}\", \"state\": \"down\"")).at_ms((at * 1000.0) as u64 + 10);
        let expect = if left.is_empty() { Expect::Drop("no_backend") } else { gre(left) };
        case.send(&tcp(&client(1), VIP, ACK, b""), expect.clone()).moves();
        case.send(&tcp(&client(2), VIP, SYN, b""), expect).moves();
    }
    case.event(4.0, "\"backend\": \"web/b2\", \"state\": \"up\"").at_ms(4010);
    case.send(&tcp(&client(1), VIP, ACK, b""), gre(&ALL[1..2])).moves();
    case.any_connections().run(NEEDS_EVENTS);
    case
}

const TIMEOUTS: &str = "[service.timeouts]\ntcp_syn = 2\ntcp_established = 10\ntcp_fin = 3\nudp_oneway = 2\nudp = 5\n";

fn timed() -> String {
    dataplane("")
        + &wan("", &["10.0.0.11"])
        + &service("tcp", "192.0.2.20 80", "tcp", "nat", TIMEOUTS, &["b1 10.0.0.11;port = 8080"])
        + &service("udp", "192.0.2.20 80", "udp", "nat", TIMEOUTS, &["b1 10.0.0.11;port = 8080"])
        + &service("gre", "192.0.2.10 80", "udp", "gre", TIMEOUTS, NAMED)
}

/// Idle times in each state: alive within them, gone some seconds after.
pub fn timeouts() -> Case {
    let mut case = Case::new("timeouts", timed());
    let nat = Expect::Nat(ONE);
    let (half, open, closing) = (client(1), client(2), client(3));
    case.send(&tcp(&half, NATVIP, SYN, b""), nat.clone());
    case.send(&tcp(&open, NATVIP, SYN, b""), nat.clone());
    case.send(&tcp(&open, NATVIP, ACK, b""), nat.clone());
    case.send(&tcp(&closing, NATVIP, SYN, b""), nat.clone());
    case.send(&tcp(&closing, NATVIP, ACK, b""), nat.clone());
    case.send(&tcp(ONE[0], &closing, FIN | ACK, b""), Expect::Back(NATVIP));
    case.send(&udp(&client(4), NATVIP, b"one way"), nat.clone());
    case.send(&udp(&client(5), NATVIP, b"both"), nat.clone());
    case.send(&udp(ONE[0], &client(5), b"ways"), Expect::Back(NATVIP));
    case.send(&udp(&client(6), VIP, b"tunnel"), gre(ALL));
    // Just within each time.
    case.at_ms(1990);
    case.send(&tcp(ONE[0], &half, SYN | ACK, b""), Expect::Back(NATVIP));
    case.send(&udp(ONE[0], &client(4), b"now both"), Expect::Back(NATVIP));
    case.at_ms(2980);
    case.send(&tcp(&closing, NATVIP, ACK, b""), nat.clone());
    case.at_ms(4980);
    case.send(&udp(ONE[0], &client(5), b"a reply keeps it"), Expect::Back(NATVIP));
    // The half-open one is gone, and the closing one soon.
    case.at_ms(5500);
    case.send(&tcp(&half, NATVIP, ACK, b""), Expect::Drop("no_connection"));
    case.send(&tcp(ONE[0], &half, SYN | ACK, b""), Expect::Drop("not_ours"));
    case.at_ms(8100);
    case.send(&tcp(&closing, NATVIP, ACK, b""), Expect::Drop("no_connection"));
    case.at_ms(9900);
    case.send(&tcp(ONE[0], &open, ACK, b"a reply keeps it"), Expect::Back(NATVIP));
    case.send(&udp(&client(5), NATVIP, b"still here"), nat.clone());
    case.at_ms(19_800);
    case.send(&tcp(&open, NATVIP, ACK, b"still here"), nat.clone());
    case.send(&udp(ONE[0], &client(5), b"too late"), Expect::Drop("not_ours"));
    // New ones under old tuples.
    case.send(&udp(&client(5), NATVIP, b"anew"), nat.clone());
    case.send(&tcp(&half, NATVIP, SYN, b""), nat);
    case.at_ms(60_000);
    case.send(&tcp(&open, NATVIP, ACK, b""), Expect::Drop("no_connection"));
    case.connections(8, 8, 0).run(NEEDS_TIME);
    case
}

/// A SYN on a tuple whose connection is closing opens a new one at once; a SYN on an open one does not.
pub fn syn_on_closing() -> Case {
    let config = base("") + &service("nat", "192.0.2.20 80", "tcp", "nat", "", &["n1 10.0.0.11;port = 8080"]);
    let mut case = Case::new("syn-on-closing", config);
    let nat = Expect::Nat(ONE);
    for round in 0..3 {
        case.send(&tcp(&client(1), NATVIP, SYN, b""), nat.clone());
        case.send(&tcp(ONE[0], &client(1), SYN | ACK, b""), Expect::Back(NATVIP));
        case.send(&tcp(&client(1), NATVIP, ACK, b""), nat.clone());
        // Repeated, stray and forged ones change nothing.
        case.send(&tcp(&client(1), NATVIP, SYN, b""), nat.clone());
        case.send(&tcp(&client(1), NATVIP, RST, b""), nat.clone());
        case.send(&tcp(ONE[0], &client(1), RST | ACK, b""), Expect::Back(NATVIP));
        if round % 2 == 0 {
            case.send(&tcp(&client(1), NATVIP, FIN | ACK, b""), nat.clone());
        }
        case.send(&tcp(ONE[0], &client(1), FIN | ACK, b""), Expect::Back(NATVIP));
        case.send(&tcp(&client(1), NATVIP, ACK, b""), nat.clone());
    }
    for _ in 0..2 {
        client_side(&mut case, &client(2), VIP, &gre(ALL));
    }
    case.connections(5, 0, 0);
    case
}

/// Room for four connections, all open: tunnels go on by the hash, NAT refuses.
fn full(name: &'static str, mode: &str, backends: &[&str], expect: Expect, beyond: Expect) -> Case {
    let config = dataplane("connections = 4\n")
        + &wan("", &["10.0.0.11"])
        + &service("web", "192.0.2.10 80", "tcp", mode, "", backends);
    let mut case = Case::new(name, config);
    for port in 1..=4 {
        case.send(&tcp(&client(port), VIP, SYN, b""), expect.clone());
        case.send(&tcp(&client(port), VIP, ACK, b""), expect.clone());
    }
    for port in 5..=9 {
        case.send(&tcp(&client(port), VIP, SYN, b""), beyond.clone());
    }
    for port in 1..=4 {
        case.send(&tcp(&client(port), VIP, ACK, b"open ones go on"), expect.clone());
    }
    // One closes, and its own client may come again.
    case.send(&tcp(&client(1), VIP, FIN | ACK, b""), expect.clone());
    case.send(&tcp(&client(1), VIP, SYN, b""), expect);
    case.connections(5, 0, 0);
    case
}

pub fn table_full_gre() -> Case {
    full("table-full-gre", "gre", NAMED, gre(ALL), gre(ALL))
}

pub fn table_full_nat() -> Case {
    full("table-full-nat", "nat", &["b1 10.0.0.11;port = 8080"], Expect::Nat(ONE), Expect::Drop("table_full"))
}

fn unknown_hops() -> String {
    dataplane("")
        + &wan("", &[])
        + &service("four", "192.0.2.20 80", "tcp", "nat", "", &["b1 10.0.0.21;port = 8080"])
        + &service("six", "2001:db8::20 80", "tcp", "nat", "", &["b1 fd00::21;port = 8080"])
}

/// Next hops that never answer: asked for three times, and what waits is dropped.
pub fn neighbor_silent() -> Case {
    let mut case = Case::new("neighbor-silent", unknown_hops());
    for port in 1..=16 {
        case.send(&tcp(&client(port), NATVIP, SYN, b""), Expect::Drop("neighbor_unresolved"));
    }
    case.send(&tcp(&client(17), NATVIP, SYN, b""), Expect::Drop("neighbor_queue_full"));
    case.send(&tcp("[2001:db8:c::7]:1", "[2001:db8::20]:80", SYN, b""), Expect::Drop("neighbor_unresolved"));
    for _ in 0..3 {
        case.asks.extend([(0, "10.0.0.21"), (0, "fd00::21")]);
    }
    case.connections(18, 0, 0).run(Run::AsksVary);
    case
}

/// Next hops that answer: what waits goes out, in order, and what follows at once.
pub fn neighbor_answers() -> Case {
    let mut case = Case::new("neighbor-answers", unknown_hops());
    for port in 1..=5 {
        case.send(&tcp(&client(port), NATVIP, SYN, b""), Expect::Nat(&["10.0.0.21:8080"]));
    }
    case.send(&tcp("[2001:db8:c::7]:1", "[2001:db8::20]:80", SYN, b""), Expect::Nat(&["[fd00::21]:8080"]));
    case.asks.extend([(0, "10.0.0.21"), (0, "fd00::21")]);
    let mac = mac_of(ip("10.0.0.21"));
    let answer = arp(2, (mac, "10.0.0.21"), (own_mac(0), "10.0.0.2"));
    // Somebody else's answer resolves nothing.
    let other = arp(2, (mac_of(ip("10.0.0.22")), "10.0.0.22"), (own_mac(0), "10.0.0.2"));
    case.frame(0, ethernet(own_mac(0), mac_of(ip("10.0.0.22")), &[], ARP, &other), Expect::Drop("neighbor_update"));
    case.frame(0, ethernet(own_mac(0), mac, &[], ARP, &answer), Expect::Drop("neighbor_update"));
    case.send(&tcp(&client(6), NATVIP, SYN, b""), Expect::Nat(&["10.0.0.21:8080"]));
    let option = [&octets(ip("fd00::21"))[..], &[2, 1], &mac_of(ip("fd00::21"))].concat();
    let advert = icmp("fd00::21", "fd00::2", 136, 0, 0x6000_0000, &option).ttl(255);
    case.send(&advert, Expect::Drop("neighbor_update"));
    case.send(&tcp("[2001:db8:c::7]:2", "[2001:db8::20]:80", SYN, b""), Expect::Nat(&["[fd00::21]:8080"]));
    // `run` takes all of it as one burst, in which the packets behind the answers go out first.
    case.connections(8, 0, 0).run(Run::Flows);
    case
}

/// Two workers: connections, their replies and the errors about them meet on the worker that owns them.
pub fn two_workers() -> Case {
    let config = dataplane("workers = 2\n")
        + &wan("", &["10.0.0.11"])
        + &service("web", "192.0.2.10 80", "tcp", "gre", "", NAMED)
        + &service("nat", "192.0.2.20 80", "tcp", "nat", "", &["n1 10.0.0.11;port = 8080"])
        + &service("dns", "192.0.2.20 53", "udp", "nat", "", &["n1 10.0.0.11"]);
    let mut case = Case::new("two-workers", config);
    for port in 1..=5 {
        let client = client(port);
        client_side(&mut case, &client, VIP, &gre(ALL));
        let about = tcp(VIP, &client, ACK, b"").bytes();
        case.send(&icmp("203.0.113.1", "192.0.2.10", 3, 4, 1400, &about[..28]), gre(ALL));
        case.send(&tcp(&client, NATVIP, SYN, b""), Expect::Nat(ONE));
        case.send(&tcp(ONE[0], &client, SYN | ACK, b""), Expect::Back(NATVIP));
        case.send(&tcp(&client, NATVIP, ACK, b"data"), Expect::Nat(ONE));
        let about = tcp(&client, ONE[0], ACK, b"").bytes();
        let client_port = ["198.51.100.7:1", "198.51.100.7:2", "198.51.100.7:3", "198.51.100.7:4", "198.51.100.7:5"];
        let seen = Expect::ErrorToClient(NATVIP, client_port[usize::from(port) - 1]);
        case.send(&icmp("10.0.0.11", "198.51.100.7", 3, 3, 0, &about[..28]), seen);
        case.send(&udp(&client, "192.0.2.20:53", b"question"), Expect::Nat(&["10.0.0.11:53"]));
        case.send(&udp("10.0.0.11:53", &client, b"answer"), Expect::Back("192.0.2.20:53"));
    }
    case.send(&icmp("198.51.100.7", "192.0.2.10", 8, 0, 1, b"x"), Expect::Echo);
    case.send(&tcp(&client(9), NATVIP, ACK, b""), Expect::Drop("no_connection"));
    case.connections(15, 0, 0).run(Run::Flows);
    case
}
