//! Several VLANs on one device, stacks of tags, and frames that are longer than usual.

use crate::case::{Case, Expect, dataplane, lan, service, wan};
use crate::packet::*;

const CLIENT: &str = "198.51.100.7:40000";
const CLIENT6: &str = "[2001:db8:c::7]:40000";
const NAT: Expect = Expect::Nat(&["10.1.0.11:8080"]);
const NAT6: Expect = Expect::Nat(&["[fd00:1::11]:8080"]);
const BACK: Expect = Expect::Back("192.0.2.20:80");
const GRE: Expect = Expect::Gre { from: "10.1.0.2", to: &["10.1.0.12"] };
const MISMATCH: Expect = Expect::Drop("vlan_mismatch");

/// Clients' port and backends' port, with these lines.
fn config(wan_lines: &str, lan_lines: &str) -> String {
    dataplane("")
        + &wan(wan_lines, &[])
        + &lan(lan_lines, &["10.1.0.11", "10.1.0.12", "fd00:1::11"])
        + &service("web", "192.0.2.10 80", "tcp", "gre", "", &["b1 10.1.0.12"])
        + &service("nat", "192.0.2.20 80", "tcp", "nat", "", &["b1 10.1.0.11;port = 8080"])
        + &service("nat6", "2001:db8::20 80", "tcp", "nat", "", &["b1 fd00:1::11;port = 8080"])
        + &service("big", "192.0.2.20 53", "udp", "nat", "", &["b1 10.1.0.11;port = 8080"])
        + &service("tunnel", "192.0.2.10 53", "udp", "gre", "", &["b1 10.1.0.12"])
}

/// Both ports on the first one's device.
fn shared(name: &'static str, wan_vlan: Option<u16>, lan_vlan: Option<u16>) -> Case {
    let line = |vlan: Option<u16>| vlan.map_or(String::new(), |vlan| format!("vlan = {vlan}\n"));
    let mac = |port: usize| own_mac(port).map(|b| format!("{b:02x}")).join(":");
    let config = config(&line(wan_vlan), &line(lan_vlan))
        .replace("net_pcap1,rx_pcap=@IN.lan@,tx_pcap=@OUT.lan@", "net_pcap0,rx_pcap=@IN.wan@,tx_pcap=@OUT.wan@")
        .replace(&mac(1), &mac(0));
    let mut case = Case::new(name, config);
    (case.vlans, case.shares_device) = (vec![wan_vlan, lan_vlan], true);
    case
}

/// A frame to the device, from the clients' gateway or from a host of the backends' network.
fn frame(tags: &[u16], packet: &Ip) -> Vec<u8> {
    let is_near = ["10.1.0.", "fd00:1::"].iter().any(|net| packet.src.to_string().starts_with(net));
    let gateway = ip(if packet.src.is_ipv4() { "10.0.0.1" } else { "fd00::1" });
    let from = mac_of(if is_near { packet.src } else { gateway });
    ethernet(own_mac(0), from, tags, ethertype(packet.src), &packet.bytes())
}

fn asks(tags: &[u16], from: &str, about: &str) -> Vec<u8> {
    let mac = mac_of(ip(from));
    ethernet(BROADCAST, mac, tags, ARP, &arp(1, (mac, from), ([0; 6], about)))
}

/// What goes both ways between a clients' VLAN and a backends' VLAN on one device; `None` is no tag.
fn traffic(case: &mut Case, wan_tags: &[u16], lan_tags: &[u16]) {
    case.frame(0, frame(wan_tags, &tcp(CLIENT, "192.0.2.20:80", SYN, b"")), NAT);
    case.frame(1, frame(lan_tags, &tcp("10.1.0.11:8080", CLIENT, SYN | ACK, b"")), BACK);
    case.frame(0, frame(wan_tags, &tcp(CLIENT, "192.0.2.20:80", ACK, b"data")), NAT);
    case.frame(0, frame(wan_tags, &tcp(CLIENT6, "[2001:db8::20]:80", SYN, b"")), NAT6);
    let back6 = tcp("[fd00:1::11]:8080", CLIENT6, SYN | ACK, b"");
    case.frame(1, frame(lan_tags, &back6), Expect::Back("[2001:db8::20]:80"));
    case.frame(0, frame(wan_tags, &tcp(CLIENT, "192.0.2.10:80", SYN, b"")), GRE);
    case.frame(0, frame(wan_tags, &udp(CLIENT, "192.0.2.10:53", &[1; 1449])), Expect::TooBig(1476));
    case.frame(0, frame(wan_tags, &tcp(CLIENT, "192.0.2.20:80", ACK, b"").ttl(1)), Expect::Exceeded);
    let echo = |from: &str, to: &str| icmp(from, to, 8, 0, 7, b"x");
    case.frame(0, frame(wan_tags, &echo("198.51.100.7", "192.0.2.10")), Expect::Echo);
    case.frame(1, frame(lan_tags, &echo("10.1.0.11", "10.1.0.2")), Expect::Echo);
    // Each VLAN has its own neighbours, and its own address to ask for.
    case.frame(0, asks(wan_tags, "10.0.0.50", "10.0.0.2"), Expect::Arp);
    case.frame(1, asks(lan_tags, "10.1.0.50", "10.1.0.2"), Expect::Arp);
    case.frame(0, asks(wan_tags, "10.0.0.50", "10.1.0.2"), Expect::Drop("not_ours"));
    case.frame(1, asks(lan_tags, "10.1.0.50", "10.0.0.2"), Expect::Drop("not_ours"));
    case.connections(4, 0, 0);
}

/// Two ports on one device, each with its VLAN; nothing else on the wire is for them.
pub fn vlan_trunk() -> Case {
    let mut case = shared("vlan-trunk", Some(100), Some(200));
    traffic(&mut case, &[100], &[200]);
    let again = tcp(CLIENT, "192.0.2.20:80", ACK, b"again");
    // A priority, and a priority tag before the VLAN's.
    case.frame(0, frame(&[0xe064], &again), NAT);
    case.frame(0, frame(&[0xe000, 100], &again), NAT);
    for tags in [&[][..], &[0xe000], &[101], &[4095], &[100, 200], &[200, 100], &[101, 100]] {
        case.frame(0, frame(tags, &again), MISMATCH);
    }
    case.frame(0, asks(&[300], "10.0.0.50", "10.0.0.2"), MISMATCH);
    case
}

/// One port for untagged frames, the other for a VLAN on the same device.
pub fn vlan_beside_untagged() -> Case {
    let mut case = shared("vlan-beside-untagged", None, Some(200));
    traffic(&mut case, &[], &[200]);
    let again = tcp(CLIENT, "192.0.2.20:80", ACK, b"again");
    // A tag that only carries a priority is none.
    case.frame(0, frame(&[0xe000], &again), NAT);
    case.frame(0, frame(&[0xe000, 0], &again), NAT);
    for tags in [&[100][..], &[0, 100], &[200, 300], &[300, 200]] {
        case.frame(0, frame(tags, &again), MISMATCH);
    }
    case
}

/// Stacks of tags of every kind: looked behind up to four, and taken only for the port's own VLAN.
pub fn vlan_stacks() -> Case {
    let mut case = Case::new("vlan-stacks", config("vlan = 100\n", ""));
    case.vlans = vec![Some(100), None];
    let syn = tcp(CLIENT, "192.0.2.20:80", SYN, b"");
    let stack = |kinds: &[(u16, u16)]| {
        let mut frame = [&own_mac(0)[..], &mac_of(ip("10.0.0.1"))].concat();
        for (kind, tag) in kinds {
            frame.extend(kind.to_be_bytes());
            frame.extend(tag.to_be_bytes());
        }
        frame.extend(IPV4.to_be_bytes());
        frame.extend(syn.bytes());
        frame
    };
    const C: u16 = 0x8100;
    const S: u16 = 0x88a8;
    const OLD: u16 = 0x9100;
    for taken in [
        &[(C, 100)][..],
        &[(S, 100)],
        &[(OLD, 100)],
        &[(S, 0), (C, 100)],
        &[(S, 0xe000), (OLD, 0), (C, 0x2064)],
        &[(C, 100), (C, 0)],
    ] {
        case.frame(0, stack(taken), NAT);
    }
    for refused in [
        &[(C, 99)][..],
        &[(S, 100), (C, 100)],
        &[(S, 100), (C, 7)],
        &[(S, 7), (C, 100)],
        &[(C, 0), (C, 0), (C, 0), (C, 0)],
        &[(C, 100), (C, 0), (C, 0), (C, 1)],
    ] {
        case.frame(0, stack(refused), MISMATCH);
    }
    case.frame(0, stack(&[(C, 100), (C, 0), (C, 0), (C, 0), (C, 0)]), Expect::Drop("vlan_stack"));
    case.frame(0, stack(&[(S, 0); 6]), Expect::Drop("vlan_stack"));
    // Cut in the middle of a tag.
    case.frame(0, stack(&[(S, 0), (C, 100)])[..17].to_vec(), Expect::Drop("runt"));
    // The other port is for untagged frames, and a stack of priorities is none.
    let back = tcp("10.1.0.11:8080", CLIENT, SYN | ACK, b"");
    let untagged = |tags: &[u16]| ethernet(own_mac(1), mac_of(back.src), tags, IPV4, &back.bytes());
    case.frame(1, untagged(&[]), BACK);
    case.frame(1, untagged(&[0, 0xe000, 0]), BACK);
    case.frame(1, untagged(&[100]), MISMATCH);
    case.connections(1, 0, 0);
    case
}

/// Packets up to an MTU of 9000.
pub fn jumbo_frames() -> Case {
    let mut case = Case::new("jumbo-frames", config("mtu = 9000\n", "mtu = 9000\n"));
    let data = |len: usize| (0..len).map(|n| (n / 251) as u8 ^ n as u8).collect::<Vec<_>>();
    let question = |vip: &str, len: usize| udp(CLIENT, vip, &data(len - 28));
    for len in [1500, 1501, 2048, 2049, 4096, 8999, 9000] {
        case.send(&question("192.0.2.20:53", len), NAT);
    }
    case.send(&question("192.0.2.20:53", 9001), Expect::TooBig(9000));
    for len in [1500, 8975, 8976] {
        case.send(&question("192.0.2.10:53", len), GRE);
    }
    case.send(&question("192.0.2.10:53", 8977), Expect::TooBig(8976));
    case.send(&udp(CLIENT, "192.0.2.20:53", &data(8972)).wrong_checksum(), NAT);
    case.send_lan(&udp("10.1.0.11:8080", CLIENT, &data(8972)), Expect::Back("192.0.2.20:53"));
    case.send(&tcp(CLIENT, "192.0.2.20:80", SYN, &data(8960)), NAT);
    case.send(&tcp(CLIENT6, "[2001:db8::20]:80", SYN, &data(8940)), NAT6);
    case.send(&icmp("198.51.100.7", "192.0.2.10", 8, 0, 1, &data(8972)), Expect::Echo);
    case.send(&question("192.0.2.20:53", 9000).ttl(1), Expect::Exceeded);
    case.connections(4, 0, 0);
    case
}

/// Frames that are longer than the MTU and than a packet buffer: those that cannot go on are answered or dropped, and what only
/// has a long trailer goes on.
pub fn longer_than_mtu() -> Case {
    let mut case = Case::new("longer-than-mtu", config("", ""));
    let data = |len: usize| (0..len).map(|n| (n / 251) as u8 ^ n as u8).collect::<Vec<_>>();
    for len in [1501, 2035, 2049, 2177, 4100, 9000, 20_000] {
        let mut question = udp(CLIENT, "192.0.2.20:53", &data(len - 28));
        case.send(&question, Expect::TooBig(1500));
        case.send(&udp(CLIENT, "192.0.2.10:53", &data(len - 28)), Expect::TooBig(1476));
        question.fragment &= !DF;
        case.send(&question, Expect::Drop("too_big"));
        case.send(&tcp(CLIENT6, "[2001:db8::20]:80", SYN, &data(len - 60)), Expect::TooBig(1500));
        case.send(&icmp("198.51.100.7", "192.0.2.10", 8, 0, 1, &data(len - 28)), Expect::Drop("too_big"));
    }
    case.send(&udp(CLIENT, "192.0.2.20:53", &data(5000)).ttl(1), Expect::Exceeded);
    let with_trailer = |packet: Ip, len: usize| {
        let mut frame = packet.frame_from(ip(if packet.src.is_ipv4() { "10.0.0.1" } else { "fd00::1" }));
        frame.resize(frame.len() + len, 0x5a);
        frame
    };
    for len in [100, 2000, 2100, 5000] {
        case.frame(0, with_trailer(tcp(CLIENT, "192.0.2.10:80", SYN, b"data"), len), GRE);
        case.frame(0, with_trailer(tcp(CLIENT, "192.0.2.20:80", SYN, b"data"), len), NAT);
        case.frame(0, with_trailer(icmp("198.51.100.7", "192.0.2.10", 8, 0, 1, b"ping"), len), Expect::Echo);
        case.frame(0, with_trailer(udp(CLIENT, "192.0.2.10:53", &[7; 1449]), len), Expect::TooBig(1476));
        case.frame(0, with_trailer(tcp(CLIENT, "192.0.2.20:80", ACK, b"").ttl(1), len), Expect::Exceeded);
    }
    let mut wrong = with_trailer(tcp(CLIENT, "192.0.2.20:80", ACK, b""), 4000);
    wrong[24] ^= 1;
    case.frame(0, wrong, Expect::Drop("ip_checksum"));
    case.connections(5, 0, 0);
    case
}
