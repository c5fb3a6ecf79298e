//! Captures of many flows, and what came of them.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::Path;

use tidegate::wire::ethernet::MacAddr;
use tidegate::wire::parse::{FiveTuple, Kind, Parsed, parse};
use tidegate::wire::pcap::{Reader, Resolution, Writer};
use tidegate::wire::tcp::flags;

use crate::frames::{Flow, Link, v4, v6};

pub const OWN: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);
pub const ROUTER: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);

/// Port and services of the tests: TCP and UDP, IPv4 and IPv6, in one mode.
pub fn sections(device: &str, mode: &str) -> String {
    let mut text = format!(
        r#"
[[port]]
name = "wan"
device = "{device}"
addresses = ["10.0.0.2/24", "fd00::2/64"]
gateway = "10.0.0.1"
gateway6 = "fd00::1"
mac = "{OWN}"
neighbors = {{ "10.0.0.1" = "{ROUTER}", "fd00::1" = "{ROUTER}" }}
"#
    );
    for (name, vip, protocol) in [
        ("t4", "192.0.2.10", "tcp"),
        ("u4", "192.0.2.10", "udp"),
        ("t6", "2001:db8::10", "tcp"),
        ("u6", "2001:db8::10", "udp"),
    ] {
        let net = if vip.contains(':') { "2001:db8:1::" } else { "10.1.0." };
        text += &format!(
            "[[service]]\nname = \"{name}\"\nvip = \"{vip}\"\nport = 80\nprotocol = \"{protocol}\"\nmode = \"{mode}\"\n"
        );
        for host in 11..14 {
            text += &format!("[[service.backend]]\nname = \"b{host}\"\naddress = \"{net}{host}\"\n");
        }
    }
    text
}

/// Flow number `n`; all four kinds take turns.
fn flow(n: u16) -> Flow {
    let is_v4 = n & 1 == 0;
    let src = if is_v4 { v4(198, 18, (n >> 8) as u8, n as u8) } else { v6(0xc, n) };
    let dst = if is_v4 { v4(192, 0, 2, 10) } else { v6(0, 0x10) };
    Flow { src: (src, 1024 + n), dst: (dst, 80), tcp_flags: (n & 2 == 0).then_some(flags::SYN), ttl: 64 }
}

/// The same with the clients in VLAN 100 and the backends untagged, both on the one device.
pub fn shared_sections(device: &str, mode: &str) -> String {
    let neighbors: Vec<String> =
        (11..14).map(|n| format!("\"10.1.0.{n}\" = \"{ROUTER}\", \"2001:db8:1::{n}\" = \"{ROUTER}\"")).collect();
    let lan = format!(
        "[[port]]\nname = \"lan\"\ndevice = \"{device}\"\nmac = \"{OWN}\"\n\
         addresses = [\"10.1.0.2/24\", \"2001:db8:1::2/64\"]\nneighbors = {{ {} }}\n",
        neighbors.join(", ")
    );
    let text = sections(device, mode).replacen("gateway =", "vlan = 100\ngateway =", 1);
    text.replacen("[[service]]", &format!("{lan}[[service]]"), 1)
}

/// `packets` packets of each of `flows`; TCP flows begin with their SYN.
pub fn frames(flows: impl Iterator<Item = u16> + Clone, packets: usize) -> Vec<Vec<u8>> {
    tagged_frames(flows, packets, None)
}

/// The same on a VLAN.
pub fn tagged_frames(flows: impl Iterator<Item = u16> + Clone, packets: usize, vlan: Option<u16>) -> Vec<Vec<u8>> {
    let link = Link { dst: OWN, src: ROUTER, vlan };
    let rounds = (0..packets).flat_map(|round| flows.clone().map(move |n| (round, n)));
    let frame = |(round, n)| {
        let mut flow = flow(n);
        if round > 0 {
            flow.tcp_flags = flow.tcp_flags.map(|_| flags::ACK);
        }
        flow.frame(link, 18)
    };
    rounds.map(frame).collect()
}

/// Writes them to a capture; returns how many they are.
pub fn write_frames(path: &Path, frames: &[Vec<u8>]) -> u64 {
    let mut writer = Writer::new(std::fs::File::create(path).unwrap(), Resolution::Micros).unwrap();
    for (at, frame) in (0..).zip(frames) {
        writer.write(at, frame).unwrap();
    }
    writer.finish().unwrap();
    frames.len() as u64
}

/// Both together.
pub fn write(path: &Path, flows: impl Iterator<Item = u16> + Clone, packets: usize) -> u64 {
    write_frames(path, &frames(flows, packets))
}

/// A client's address and port, and the protocol.
type Client = (IpAddr, u16, u8);

/// How often each client's packets went to each backend, with every checksum that is looked at on the way right.
pub fn backends_by_client(path: &Path) -> HashMap<Client, HashMap<IpAddr, usize>> {
    let bytes = std::fs::read(path).unwrap();
    let mut reader = Reader::new(bytes.as_slice()).unwrap();
    let mut found: HashMap<Client, HashMap<IpAddr, usize>> = HashMap::new();
    while let Some(record) = reader.next_record().unwrap() {
        let frame = record.data;
        let parsed = parse(frame, frame.len()).unwrap();
        let outer = tuple(&parsed, frame);
        // A backend's tunnel ends with the GRE header of four bytes; before the inner packet stands a frame's header.
        let inner = match parsed.protocol {
            47 => {
                let mut inner = frame[..14].to_vec();
                inner[12..14].copy_from_slice(&frame[usize::from(parsed.l4) + 2..usize::from(parsed.l4) + 4]);
                inner.extend_from_slice(&frame[usize::from(parsed.l4) + 4..parsed.ip_end()]);
                tuple(&parse(&inner, inner.len()).unwrap(), &inner)
            }
            _ => outer,
        };
        *found.entry((inner.src, inner.sport, inner.protocol)).or_default().entry(outer.dst).or_default() += 1;
    }
    found
}

fn tuple(parsed: &Parsed, frame: &[u8]) -> FiveTuple<IpAddr> {
    let wide = |src: IpAddr, dst: IpAddr| FiveTuple {
        src,
        dst,
        sport: parsed.sport,
        dport: parsed.dport,
        protocol: parsed.protocol,
    };
    match parsed.kind {
        Kind::V4 => {
            let t = parsed.five_tuple_v4(frame);
            wide(t.src.into(), t.dst.into())
        }
        _ => {
            let t = parsed.five_tuple_v6(frame);
            wide(t.src.into(), t.dst.into())
        }
    }
}
