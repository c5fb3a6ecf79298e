//! Cases of what gives a new connection its backend.

use crate::case::*;
use crate::packet::*;

const VIP4: &str = "192.0.2.10:80";
const VIP6: &str = "[2001:db8::10]:80";
const B4: [&[&str]; 3] = [&["10.1.0.11"], &["10.1.0.12"], &["10.1.0.13"]];
const B6: [&[&str]; 3] = [&["fd00:1::11"], &["fd00:1::12"], &["fd00:1::13"]];

/// Two services by one scheduler, over IPv4 and IPv6, with the same three weights.
fn both(name: &'static str, scheduler: &str, weights: [u32; 3]) -> Case {
    with(name, &format!("scheduler = \"{scheduler}\"\n"), weights, "")
}

/// The same with lines of the services and of each backend.
fn with(name: &'static str, lines: &str, weights: [u32; 3], of_backend: &str) -> Case {
    let backends = |addresses: [&[&str]; 3]| {
        let backend = |n: usize| format!("b{} {};weight = {};{of_backend}", n + 1, addresses[n][0], weights[n]);
        [0, 1, 2].map(backend)
    };
    let service = |name, vip, addresses| {
        let backends = backends(addresses);
        service(name, vip, "tcp", "gre", lines, &backends.each_ref().map(String::as_str))
    };
    let config =
        dataplane("") + &wan("", &[]) + &service("v4", "192.0.2.10 80", B4) + &service("v6", "2001:db8::10 80", B6);
    Case::new(name, config)
}

/// To this backend of the service of the client's family.
fn to(v6: bool, backend: usize) -> Expect {
    if v6 {
        Expect::Gre { from: "fd00::2", to: B6[backend] }
    } else {
        Expect::Gre { from: "10.0.0.2", to: B4[backend] }
    }
}

fn client(v6: bool, host: u32, port: u32) -> String {
    if v6 { format!("[2001:db8:c::{host:x}]:{port}") } else { format!("198.51.100.{host}:{port}") }
}

/// Client number `n` opens a connection and goes on with it; both are for this backend.
fn open(case: &mut Case, v6: bool, n: u32, backend: usize) {
    let (client, vip) = (client(v6, 1 + n % 3, 40_000 + n), if v6 { VIP6 } else { VIP4 });
    case.send(&tcp(&client, vip, SYN, b""), to(v6, backend));
    case.send(&tcp(&client, vip, ACK, b""), to(v6, backend));
}

/// In turn; the weight plays no part, unless it is 0.
pub fn scheduler_rr() -> Case {
    let mut case = both("scheduler-rr", "rr", [100, 0, 300]);
    for v6 in [false, true] {
        (0..8).zip([0, 2].into_iter().cycle()).for_each(|(n, backend)| open(&mut case, v6, n, backend));
    }
    case.connections(16, 0, 0);
    case
}

/// In turn by weight, the heavy one's turns apart from each other.
pub fn scheduler_wrr() -> Case {
    let mut case = both("scheduler-wrr", "wrr", [300, 100, 200]);
    for v6 in [false, true] {
        let turns = [0, 2, 0, 1, 2, 0].into_iter().cycle();
        (0..15).zip(turns).for_each(|(n, backend)| open(&mut case, v6, n, backend));
    }
    case.connections(30, 0, 0);
    case
}

/// All connections of a client's address to one backend.
pub fn scheduler_sh() -> Case {
    let mut case = both("scheduler-sh", "sh", [100; 3]);
    for (v6, homes) in [(false, SH_HOMES_4), (true, SH_HOMES_6)] {
        for n in 0..36 {
            open(&mut case, v6, n, homes[n as usize % 3]);
        }
    }
    case.connections(72, 0, 0);
    case
}

/// Where the hash under the case's key puts the three clients.
const SH_HOMES_4: [usize; 3] = [0, 2, 1];
const SH_HOMES_6: [usize; 3] = [1, 0, 1];

/// The fewest connections: what has ended makes room.
pub fn scheduler_lc() -> Case {
    let mut case = both("scheduler-lc", "lc", [100, 1, 7]);
    for v6 in [false, true] {
        (0..6).zip([0, 1, 2].into_iter().cycle()).for_each(|(n, backend)| open(&mut case, v6, n, backend));
        let vip = if v6 { VIP6 } else { VIP4 };
        for n in [1, 4] {
            case.send(&tcp(&client(v6, 1 + n % 3, 40_000 + n), vip, FIN | ACK, b""), to(v6, 1));
        }
    }
    // Closing, they count until their time is over.
    open(&mut case, false, 10, 0);
    case.at_ms(13_000);
    for v6 in [false, true] {
        (20..23).zip([1, 1, 2]).for_each(|(n, backend)| open(&mut case, v6, n, backend));
    }
    case.connections(19, 4, 0).run(NEEDS_TIME);
    case
}

/// The fewest connections by weight, the new one counted in.
pub fn scheduler_wlc() -> Case {
    let mut case = both("scheduler-wlc", "wlc", [100, 0, 300]);
    for v6 in [false, true] {
        (0..8).zip([2, 2, 0, 2].into_iter().cycle()).for_each(|(n, backend)| open(&mut case, v6, n, backend));
    }
    case.connections(16, 0, 0);
    case
}

/// The faster one, from SYN to SYN-ACK, gets more: one needs a millisecond for that and one a hundred.
pub fn scheduler_lrt() -> Case {
    const VIP: &str = "192.0.2.10:80";
    const TO: [&[&str]; 2] = [&["10.0.0.11:80"], &["10.0.0.12:80"]];
    let config = dataplane("")
        + &wan("", &["10.0.0.11", "10.0.0.12"])
        + &service("v4", "192.0.2.10 80", "tcp", "nat", "scheduler = \"lrt\"\n", &["b1 10.0.0.11", "b2 10.0.0.12"]);
    let mut case = Case::new("scheduler-lrt", config);
    let handshake = |case: &mut Case, port: u32, backend: usize| {
        let (client, server) = (format!("198.51.100.7:{port}"), TO[backend][0]);
        case.send(&tcp(&client, VIP, SYN, b""), Expect::Nat(TO[backend]));
        if backend == 1 {
            case.at_ms(110);
        }
        case.send(&tcp(server, &client, SYN | ACK, b""), Expect::Back(VIP));
        case.send(&tcp(&client, VIP, ACK, b""), Expect::Nat(TO[backend]));
    };
    handshake(&mut case, 1, 0);
    case.at_ms(10);
    handshake(&mut case, 2, 1);
    // Once a second the times are put together.
    case.at_ms(1500);
    (10..18).for_each(|port| handshake(&mut case, port, 0));
    case.connections(10, 0, 0).run(NEEDS_TIME);
    case
}

/// Two connections for each backend; who comes then has to wait until one is over.
pub fn connections_max() -> Case {
    let mut case = with("connections-max", "scheduler = \"rr\"\n", [100, 1, 100], "connections_max = 2");
    for v6 in [false, true] {
        (0..6).zip([0, 1, 2].into_iter().cycle()).for_each(|(n, backend)| open(&mut case, v6, n, backend));
        let vip = if v6 { VIP6 } else { VIP4 };
        case.send(&tcp(&client(v6, 9, 1), vip, SYN, b""), Expect::Drop("backends_full"));
        // In the middle of a connection, as from another node, they are not new.
        case.send(
            &tcp(&client(v6, 9, 2), vip, FIN | ACK, b""),
            Expect::Gre {
                from: if v6 { "fd00::2" } else { "10.0.0.2" },
                to: if v6 {
                    &["fd00:1::11", "fd00:1::12", "fd00:1::13"]
                } else {
                    &["10.1.0.11", "10.1.0.12", "10.1.0.13"]
                },
            },
        );
    }
    case.connections(12, 0, 0);
    case
}

/// In turn, but for clients who have been here; where it is their backend's turn anyway, they use it up.
pub fn persistence() -> Case {
    let mut case = with("persistence", "scheduler = \"rr\"\npersistence = \"1m\"\n", [100; 3], "");
    for v6 in [false, true] {
        let vip = if v6 { VIP6 } else { VIP4 };
        for (host, port) in [(1, 1), (2, 1), (1, 2), (1, 3), (3, 1), (4, 1), (2, 2), (5, 1), (4, 2), (3, 2)] {
            let home = [0, 1, 2, 0, 2][host as usize - 1];
            case.send(&tcp(&client(v6, host, port), vip, SYN, b""), to(v6, home));
            case.send(&tcp(&client(v6, host, port), vip, ACK, b""), to(v6, home));
        }
    }
    case.connections(20, 0, 0);
    case
}
