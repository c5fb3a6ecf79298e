//! First inputs for each target: small ones that reach far.

use tidegate::wire::arp::Arp;
use tidegate::wire::ethernet::EtherType;
use tidegate::wire::icmpv6::NeighborSolicit;
use tidegate::wire::tcp::flags;

use super::frames::{Flow, echo, icmp_error, link_frame, v4, v6};
use super::network::{FAMILIES, LAN, VARIANTS, link, text};

/// Name of the target, name of the seed, and its bytes.
pub fn all() -> Vec<(&'static str, String, Vec<u8>)> {
    let mut seeds = Vec::new();
    for (name, frame) in frames() {
        // No later segment, and no cut.
        seeds.push(("parse", name, [&[0, 0xff, 0xff], frame.as_slice()].concat()));
    }
    for (name, steps) in [("nat", nat()), ("tunnel", tunnel()), ("reload", reload()), ("neighbors", neighbors())] {
        for workers in 0..2 {
            for family in 0..2 {
                let bytes = [&[family, 3 * workers, 20], steps.as_slice()].concat();
                seeds.push(("path", format!("{name}-{family}-{}", 1 + 3 * workers), bytes));
            }
        }
    }
    for family in 0..FAMILIES {
        seeds.push(("config", format!("family-{family}"), text(family, 0).into_bytes()));
    }
    seeds.push(("config", "variant".to_owned(), text(0, VARIANTS - 1).into_bytes()));
    seeds
}

fn frames() -> Vec<(String, Vec<u8>)> {
    let (a, b, a6, b6) = (v4(198, 18, 0, 1), v4(192, 0, 2, 10), v6(0xc, 1), v6(0, 0x10));
    let tcp = Flow { src: (a, 1024), dst: (b, 80), tcp_flags: Some(flags::SYN), ttl: 64 };
    let udp = Flow { tcp_flags: None, ..tcp };
    let tcp6 = Flow { src: (a6, 1024), dst: (b6, 80), ..tcp };
    let (plain, tagged) = (link(0, 0), link(1, 1));
    let quoted = tcp.frame(plain, 8);
    let mut arp = [0; 28];
    let asked = Arp::request(LAN, [10, 0, 0, 2].into(), [10, 0, 0, 1].into());
    asked.emit(&mut arp);
    // Solicitations are read as addresses, then the message.
    let mut solicit = vec![0; 32 + 32];
    solicit[..16].copy_from_slice(&[0xfe; 16]);
    solicit[16..32].copy_from_slice(&[0xfd; 16]);
    let question = NeighborSolicit { target: "fd00::2".parse().unwrap(), source_link: Some(LAN) };
    question.emit(&mut solicit[32..], "fe80::1".parse().unwrap(), "fd00::2".parse().unwrap());
    // A TCP header by itself, with options.
    let mut options = vec![0; 32];
    options[12] = 8 << 4;
    options[20..32].copy_from_slice(&[2, 4, 5, 0xb4, 1, 3, 3, 7, 4, 2, 0, 0]);
    let frames = [
        ("tcp4", tcp.frame(plain, 4)),
        ("udp4", udp.frame(plain, 4)),
        ("tcp6", tcp6.frame(plain, 4)),
        ("udp6-tagged", Flow { tcp_flags: None, ..tcp6 }.frame(tagged, 4)),
        ("tcp4-tagged", tcp.frame(tagged, 4)),
        ("echo4", echo(plain, a, b, 8)),
        ("echo6", echo(plain, a6, b6, 8)),
        ("error4", icmp_error(plain, b, a, &quoted[14..], 28, 0)),
        ("error6", icmp_error(plain, b6, a6, &tcp6.frame(plain, 8)[14..], 48, 0)),
        ("arp", link_frame(plain, EtherType::ARP, &arp)),
        ("arp-message", arp.to_vec()),
        ("quote4", quoted[14..42].to_vec()),
        ("solicit", solicit),
        ("tcp-options", options),
    ];
    frames.into_iter().map(|(name, frame)| (name.to_owned(), frame)).collect()
}

/// A request of client 0 to a service: service, client, port, TTL and, for TCP, flags, then no payload, by the first port,
/// unchanged.
fn request(service: u8, flags: Option<u8>) -> Vec<u8> {
    let mut step = vec![0, service, 0, 0, 1, 0];
    step.extend(flags);
    step.extend([0, 0, 0]);
    step
}

const PROCESS: u8 = 15;

/// The newest packet is answered, with the flags of that number for TCP.
fn answer(newest: u8, flags: Option<u8>) -> Vec<u8> {
    let mut step = vec![7, newest];
    step.extend(flags);
    step.extend([4, 0]);
    step
}

/// Connections through NAT: opened, answered, used, and ended.
fn nat() -> Vec<u8> {
    let mut steps = Vec::new();
    for service in [0, 2] {
        for (request_flags, answer_flags) in [(0, 0), (1, 1), (2, 2)] {
            steps.extend(request(service, Some(request_flags)));
            steps.push(PROCESS);
            steps.extend(answer(0, Some(answer_flags)));
            steps.push(PROCESS);
        }
    }
    steps.extend(request(1, None));
    steps.push(PROCESS);
    // An error about the first packet, from its receiver to its sender, whole.
    steps.extend([9, 0, 0, 1, 255, 0, 0, PROCESS]);
    steps
}

fn tunnel() -> Vec<u8> {
    let mut steps = Vec::new();
    for (service, is_tcp) in [(3, true), (4, false), (5, true), (6, true), (7, false)] {
        for flags in 0..3 {
            steps.extend(request(service, is_tcp.then_some(flags)));
        }
        steps.push(PROCESS);
    }
    steps
}

/// The same connections under each configuration, and after a while.
fn reload() -> Vec<u8> {
    let mut steps = Vec::new();
    for variant in 0..VARIANTS as u8 {
        steps.extend([nat(), tunnel()].concat());
        steps.extend([13, variant]);
    }
    steps.extend([12, 0xff, 0xff, 0]);
    steps.extend(nat());
    steps
}

/// Next hops that are asked for, answer, and go away again.
fn neighbors() -> Vec<u8> {
    let mut steps = nat();
    // From the router and from a backend: an answer to everybody, then a question.
    for (port, host) in [(0, 0), (1, 1), (1, 2)] {
        steps.extend([11, port, 1, host, 3, 0, 0, PROCESS]);
        steps.extend([11, port, 0, host, 3, 0, 0, PROCESS]);
    }
    steps.extend(tunnel());
    steps.extend([12, 0x40, 0, 3]);
    steps.extend([10, 0, 1, 0, 8, 0, PROCESS]);
    steps
}
