//! Cases of what is answered, refused or left alone, whatever the mode.

use crate::case::*;
use crate::packet::*;

const VIP: &str = "192.0.2.10";
const B4: &[&str] = &["10.1.0.11", "10.1.0.12"];
const B6: &[&str] = &["fd00:1::11", "fd00:1::12"];
const NAMED4: &[&str] = &["b1 10.1.0.11", "b2 10.1.0.12"];
const NAMED6: &[&str] = &["b1 fd00:1::11", "b2 fd00:1::12"];
const TO4: Expect = Expect::Gre { from: "10.0.0.2", to: B4 };
const TO6: Expect = Expect::Gre { from: "fd00::2", to: B6 };
const CLIENT: &str = "198.51.100.7:4000";
const CLIENT6: &str = "[2001:db8:c::7]:4000";

/// One GRE service of each family and protocol, and NAT beside it.
fn config(port_lines: &str) -> String {
    dataplane("")
        + &wan(port_lines, &["10.0.0.11", "fd00::11"])
        + &service("web", "192.0.2.10 80", "tcp", "gre", "", NAMED4)
        + &service("dns", "192.0.2.10 53", "udp", "gre", "", NAMED4)
        + &service("web6", "2001:db8::10 80", "tcp", "gre", "", NAMED6)
        + &service("dns6", "2001:db8::10 53", "udp", "gre", "", NAMED6)
        + &service("nat", "192.0.2.20 80", "tcp", "nat", "", &["n1 10.0.0.11;port = 8080"])
        + &service("nat6", "2001:db8::20 80", "tcp", "nat", "", &["n1 fd00::11;port = 8080"])
}

/// A frame to us from the gateway.
fn raw(ethertype: u16, payload: &[u8]) -> Vec<u8> {
    ethernet(own_mac(0), mac_of(ip("10.0.0.1")), &[], ethertype, payload)
}

/// An ARP message from the host with that address, to all.
fn arp_frame(operation: u16, sender: &str, target: &str) -> Vec<u8> {
    let mac = mac_of(ip(sender));
    ethernet(BROADCAST, mac, &[], ARP, &arp(operation, (mac, sender), ([0; 6], target)))
}

/// ARP, neighbour discovery and echo for VIPs and own addresses.
pub fn arp_nd_echo() -> Case {
    let mut case = Case::new("arp-nd-echo", config(""));
    case.frame(0, arp_frame(1, "10.0.0.50", "10.0.0.2"), Expect::Arp);
    case.frame(0, padded(arp_frame(1, "10.0.0.50", "192.0.2.10")), Expect::Arp);
    case.frame(0, arp_frame(1, "10.0.0.50", "10.0.0.51"), Expect::Drop("not_ours"));
    // Gratuitous, and a probe before an address is taken (RFC 5227).
    case.frame(0, arp_frame(1, "10.0.0.50", "10.0.0.50"), Expect::Drop("neighbor_update"));
    case.frame(0, arp_frame(1, "0.0.0.0", "192.0.2.20"), Expect::Arp);
    case.frame(0, arp_frame(2, "10.0.0.50", "10.0.0.2"), Expect::Drop("neighbor_update"));
    case.frame(0, arp_frame(1, "192.0.2.10", "10.0.0.1"), Expect::Drop("address_conflict"));
    case.frame(0, arp_frame(1, "10.0.0.2", "10.0.0.1"), Expect::Drop("address_conflict"));
    case.asks.push((0, "10.0.0.2"));
    let mut broken = arp_frame(1, "10.0.0.50", "10.0.0.2");
    broken[14 + 4] = 8;
    case.frame(0, broken, Expect::Drop("neighbor_invalid"));
    let mut group = arp_frame(1, "10.0.0.50", "10.0.0.2");
    group[14 + 8] = 0x01;
    case.frame(0, group, Expect::Drop("neighbor_invalid"));

    case.frame(0, solicitation("fd00::50", "fd00::2"), Expect::Advert);
    case.frame(0, solicitation("fd00::50", "2001:db8::10"), Expect::Advert);
    case.frame(0, solicitation("fd00::50", "fd00::51"), Expect::Drop("not_ours"));
    case.frame(0, solicitation("::", "2001:db8::20"), Expect::Advert);
    let mut routed = solicitation("fd00::50", "fd00::2");
    routed[14 + 7] = 254;
    case.frame(0, routed, Expect::Drop("neighbor_invalid"));
    let mut wrong = solicitation("fd00::50", "fd00::2");
    wrong[14 + 42] ^= 1;
    case.frame(0, wrong, Expect::Drop("neighbor_invalid"));
    let advert = [&octets(ip("fd00::50"))[..], &[2, 1], &mac_of(ip("fd00::50"))].concat();
    case.send(&icmp("fd00::50", "fd00::2", 136, 0, 0x6000_0000, &advert).ttl(255), Expect::Drop("neighbor_update"));

    for to in ["10.0.0.2", VIP, "192.0.2.20"] {
        case.send(&icmp("198.51.100.7", to, 8, 0, 0x0007_0001, b"odd"), Expect::Echo);
        case.send(&icmp("198.51.100.7", to, 8, 0, 0x0007_0002, &[0x5a; 1472]).ttl(1), Expect::Echo);
    }
    for to in ["fd00::2", "2001:db8::10"] {
        case.send(&icmp("2001:db8:c::7", to, 128, 0, 0x0007_0001, b"odd"), Expect::Echo);
    }
    case.frame(0, padded(icmp("198.51.100.7", VIP, 8, 0, 1, b"").frame_from(ip("10.0.0.1"))), Expect::Echo);
    case.send(&icmp("198.51.100.7", VIP, 8, 0, 1, b"wrong").wrong_checksum(), Expect::Drop("icmp_checksum"));
    case.send(&icmp("2001:db8:c::7", "2001:db8::10", 128, 0, 1, b"x").wrong_checksum(), Expect::Drop("icmp_checksum"));
    case.send(&icmp("198.51.100.7", "192.0.2.99", 8, 0, 1, b""), Expect::Drop("not_ours"));
    case.send(&icmp("198.51.100.7", VIP, 0, 0, 1, b"a reply"), Expect::Drop("icmp_not_served"));
    case.send(&icmp("198.51.100.7", VIP, 13, 0, 1, &[0; 12]), Expect::Drop("icmp_not_served"));
    case.send(&icmp("2001:db8:c::7", "2001:db8::10", 129, 0, 1, b""), Expect::Drop("icmp_not_served"));
    case.send(&icmp("127.0.0.1", VIP, 8, 0, 1, b""), Expect::Drop("martian"));
    case
}

/// A frame for every way in which a header can be wrong.
pub fn malformed() -> Case {
    let mut case = Case::new("malformed", config(""));
    let v4 = tcp(CLIENT, "192.0.2.10:80", SYN, b"payload").bytes();
    let v6 = tcp(CLIENT6, "[2001:db8::10]:80", SYN, b"payload").bytes();
    let changed = |packet: &[u8], at: usize, bytes: &[u8]| {
        let mut packet = packet.to_vec();
        packet[at..at + bytes.len()].copy_from_slice(bytes);
        packet
    };
    let fixed = |mut packet: Vec<u8>| {
        fix_header(&mut packet);
        packet
    };
    for len in [1, 13, 14, 15, 33] {
        case.frame(0, raw(IPV4, &v4)[..len].to_vec(), Expect::Drop("runt"));
    }
    case.frame(0, raw(IPV6, &v6)[..53].to_vec(), Expect::Drop("runt"));
    case.frame(
        0,
        raw(ARP, &arp(1, (mac_of(ip("10.0.0.1")), "10.0.0.1"), ([0; 6], "10.0.0.2"))[..27]),
        Expect::Drop("runt"),
    );
    case.frame(0, raw(0x8847, &v4), Expect::Drop("unknown_ethertype"));
    case.frame(0, raw(0x0004, &v4), Expect::Drop("unknown_ethertype"));
    let tagged = |tags: &[u16]| ethernet(own_mac(0), mac_of(ip("10.0.0.1")), tags, IPV4, &v4);
    case.frame(0, tagged(&[1, 2, 3, 4, 5]), Expect::Drop("vlan_stack"));
    case.frame(0, tagged(&[7]), Expect::Drop("vlan_mismatch"));
    case.frame(0, ethernet([2, 0, 0, 0, 0, 9], [2; 6], &[], IPV4, &v4), Expect::Drop("foreign_mac"));
    case.frame(0, ethernet(BROADCAST, [2; 6], &[], IPV4, &v4), Expect::Drop("not_ours"));
    case.frame(0, raw(IPV4, &changed(&v4, 0, &[0x65])), Expect::Drop("ip_version"));
    case.frame(0, raw(IPV6, &changed(&v6, 0, &[0x40])), Expect::Drop("ip_version"));
    case.frame(0, raw(IPV4, &changed(&v4, 0, &[0x44])), Expect::Drop("ip_header_length"));
    case.frame(0, raw(IPV4, &fixed(changed(&v4, 2, &[0, 19]))), Expect::Drop("ip_total_short"));
    case.frame(0, raw(IPV4, &fixed(changed(&v4, 2, &[0, v4.len() as u8 + 1]))), Expect::Drop("ip_total_long"));
    case.frame(0, raw(IPV4, &fixed(changed(&v4, 2, &[0xff, 0xff]))), Expect::Drop("ip_total_long"));
    case.frame(0, raw(IPV6, &changed(&v6, 4, &[0, v6.len() as u8])), Expect::Drop("ip_total_long"));
    case.frame(0, raw(IPV4, &changed(&v4, 8, &[77])), Expect::Drop("ip_checksum"));
    case.frame(0, raw(IPV6, &changed(&v6, 4, &[0, 0])), Expect::Drop("ip6_jumbo"));
    case.frame(0, raw(IPV4, &fixed(changed(&v4, 2, &[0, 39]))), Expect::Drop("l4_truncated"));
    case.frame(0, raw(IPV6, &changed(&v6, 4, &[0, 19])), Expect::Drop("l4_truncated"));
    case.frame(0, raw(IPV4, &changed(&v4, 32, &[0x40])), Expect::Drop("tcp_offset"));
    case.frame(0, raw(IPV4, &changed(&v4, 32, &[0xf0])), Expect::Drop("tcp_offset"));
    let datagram = udp(CLIENT, "192.0.2.10:53", b"question").bytes();
    case.frame(0, raw(IPV4, &changed(&datagram, 24, &[0, 7])), Expect::Drop("udp_length"));
    case.frame(0, raw(IPV4, &changed(&datagram, 24, &[0, 17])), Expect::Drop("udp_length"));
    let datagram6 = udp(CLIENT6, "[2001:db8::10]:53", b"question").bytes();
    case.frame(0, raw(IPV6, &changed(&datagram6, 46, &[0, 0])), Expect::Drop("udp6_no_checksum"));
    case.frame(0, raw(IPV4, &icmp("198.51.100.7", VIP, 8, 0, 0, b"").bytes()[..27]), Expect::Drop("ip_total_long"));
    // Every protocol that is not served, to a VIP and elsewhere.
    for protocol in [0, 2, 4, 41, 47, 50, 58, 89, 132, 255] {
        let packet = Ip::new(ip("198.51.100.7"), ip(VIP), protocol, vec![0; 40]);
        case.send(&packet, Expect::Drop("no_service"));
    }
    case.send(&Ip::new(ip("198.51.100.7"), ip("192.0.2.99"), 47, vec![0; 40]), Expect::Drop("not_ours"));
    // A packet that is right, to show that the others did no harm.
    case.send(&tcp(CLIENT, "192.0.2.10:80", SYN, b""), TO4);
    case.connections(1, 0, 0);
    case
}

/// What is for nobody here.
pub fn not_served() -> Case {
    let mut case = Case::new("not-served", config(""));
    case.send(&tcp(CLIENT, "192.0.2.10:81", SYN, b""), Expect::Drop("no_service"));
    case.send(&udp(CLIENT, "192.0.2.10:80", b""), Expect::Drop("no_service"));
    case.send(&tcp(CLIENT, "10.0.0.2:80", SYN, b""), Expect::Drop("no_service"));
    case.send(&tcp(CLIENT6, "[fd00::2]:80", SYN, b""), Expect::Drop("no_service"));
    case.send(&tcp(CLIENT, "192.0.2.11:80", SYN, b""), Expect::Drop("not_ours"));
    case.send(&tcp(CLIENT6, "[2001:db8::11]:80", SYN, b""), Expect::Drop("not_ours"));
    case.send(&tcp(CLIENT, "10.1.0.11:80", SYN, b""), Expect::Drop("not_ours"));
    case
}

/// Sources that nobody has, and packets that would go round.
pub fn martians_and_loops() -> Case {
    let config = dataplane("")
        + &wan("", &["10.0.0.11"])
        + &service("web", "192.0.2.10 80", "tcp", "gre", "", &["b1 10.1.0.11"])
        + &service("web6", "2001:db8::10 80", "tcp", "gre", "", &["b1 fd00:1::11"])
        + &service("nat", "192.0.2.20 80", "tcp", "nat", "", &["b1 10.0.0.11"]);
    let mut case = Case::new("martians-and-loops", config);
    let martians = ["127.0.0.1:1", "0.0.0.0:1", "0.1.2.3:1", "224.0.0.1:1", "239.255.0.1:1", "255.255.255.255:1"];
    for from in martians {
        case.send(&tcp(from, "192.0.2.10:80", SYN, b""), Expect::Drop("martian"));
        case.send(&tcp(from, "192.0.2.20:80", SYN, b"").ttl(1), Expect::Drop("martian"));
    }
    for from in ["[::]:1", "[::1]:1", "[ff02::1]:1"] {
        case.send(&tcp(from, "[2001:db8::10]:80", SYN, b""), Expect::Drop("martian"));
    }
    for from in ["10.0.0.2:1", "192.0.2.10:1", "192.0.2.20:1", "10.1.0.11:1"] {
        case.send(&tcp(from, "192.0.2.10:80", SYN, b""), Expect::Drop("looped"));
    }
    for from in ["[fd00::2]:1", "[2001:db8::10]:1", "[fd00:1::11]:1"] {
        case.send(&tcp(from, "[2001:db8::10]:80", SYN, b""), Expect::Drop("looped"));
    }
    case.send(&tcp("10.0.0.11:1", "192.0.2.20:80", SYN, b""), Expect::Drop("looped"));
    case
}

/// Extension headers are walked, and stay as they are; some are refused.
pub fn ip6_extensions() -> Case {
    let mut case = Case::new("ip6-extensions", config(""));
    let pad: &[u8] = &[0, 1, 4, 0, 0, 0, 0];
    let long = [&[4, 1, 36][..], &[0; 36]].concat();
    let routing: &[u8] = &[0, 4, 0, 0, 0, 0, 0];
    let gre = |port: u16| tcp(&format!("[2001:db8:c::7]:{port}"), "[2001:db8::10]:80", SYN, b"data");
    case.send(&gre(1).extension(0, pad), TO6);
    case.send(&gre(2).extension(60, &long), TO6);
    case.send(&gre(3).extension(0, pad).extension(60, pad).extension(43, routing).extension(60, pad), TO6);
    case.send(&gre(1), TO6);
    let nat = |flags| tcp(CLIENT6, "[2001:db8::20]:80", flags, b"data");
    case.send(&nat(SYN).extension(0, pad), Expect::Nat(&["[fd00::11]:8080"]));
    case.send(&nat(ACK).extension(60, &long).wrong_checksum(), Expect::Nat(&["[fd00::11]:8080"]));
    let back = tcp("[fd00::11]:8080", CLIENT6, SYN | ACK, b"");
    case.send(&back.extension(60, pad), Expect::Back("[2001:db8::20]:80"));
    case.send(&nat(ACK).extension(0, pad).ttl(1), Expect::Exceeded);
    let echo = icmp("2001:db8:c::7", "2001:db8::10", 128, 0, 1, b"x");
    case.send(&echo.extension(60, pad), Expect::Echo);
    let refused = Expect::Drop("ip6_extension");
    case.send(&gre(9).extension(60, pad).extension(0, pad), refused.clone());
    case.send(&gre(9).extension(43, &[0, 0, 1, 0, 0, 0, 0]), refused.clone());
    let nine = (0..9).fold(gre(9), |packet, _| packet.extension(60, pad));
    case.send(&nine, refused.clone());
    case.send(&gre(9).extension(44, &[0; 7]).extension(44, &[0; 7]), refused.clone());
    case.send(&gre(9).extension(60, &[200, 1, 4, 0, 0, 0, 0]), refused);
    case.send(
        &Ip::new(ip("2001:db8:c::7"), ip("2001:db8::10"), 59, Vec::new()).extension(60, pad),
        Expect::Drop("no_service"),
    );
    case.connections(4, 0, 0);
    case
}

/// A port on a VLAN: its tag comes and goes, and nothing else is taken.
pub fn vlan_port() -> Case {
    let mut case = Case::new("vlan-port", config("vlan = 100\n"));
    case.vlans = vec![Some(100)];
    let frame = |tags: &[u16], packet: &Ip| {
        ethernet(own_mac(0), mac_of(ip("10.0.0.1")), tags, ethertype(packet.src), &packet.bytes())
    };
    let syn = tcp(CLIENT, "192.0.2.10:80", SYN, b"");
    let syn6 = tcp(CLIENT6, "[2001:db8::10]:80", SYN, b"");
    case.frame(0, frame(&[100], &syn), TO4);
    case.frame(0, padded(frame(&[100], &syn)), TO4);
    case.frame(0, frame(&[100], &syn6), TO6);
    // Priority 7, and a priority tag before the VLAN's.
    case.frame(0, frame(&[0xe064], &syn), TO4);
    case.frame(0, frame(&[0xe000, 100], &syn), TO4);
    case.frame(0, frame(&[100], &tcp(CLIENT, "192.0.2.20:80", SYN, b"")), Expect::Nat(&["10.0.0.11:8080"]));
    let back = tcp("10.0.0.11:8080", CLIENT, SYN | ACK, b"");
    case.frame(0, frame(&[100], &back), Expect::Back("192.0.2.20:80"));
    case.frame(0, frame(&[100], &icmp("198.51.100.7", VIP, 8, 0, 1, b"x")), Expect::Echo);
    case.frame(0, frame(&[100], &udp(CLIENT, "192.0.2.10:53", &[1; 1449])), Expect::TooBig(1476));
    let mac = mac_of(ip("10.0.0.50"));
    let question = arp(1, (mac, "10.0.0.50"), ([0; 6], "10.0.0.2"));
    case.frame(0, ethernet(BROADCAST, mac, &[100], ARP, &question), Expect::Arp);
    for tags in [&[][..], &[101], &[0], &[100, 200], &[100, 100]] {
        case.frame(0, frame(tags, &syn), Expect::Drop("vlan_mismatch"));
    }
    case.frame(0, ethernet(BROADCAST, mac, &[], ARP, &question), Expect::Drop("vlan_mismatch"));
    case.connections(4, 0, 0);
    case
}

/// A tag with VID 0 only carries a priority (IEEE 802.1Q): the packet is an untagged one.
pub fn priority_tag() -> Case {
    let mut case = Case::new("priority-tag", config(""));
    let frame =
        |packet: &Ip| ethernet(own_mac(0), mac_of(ip("10.0.0.1")), &[0xe000], ethertype(packet.src), &packet.bytes());
    case.frame(0, frame(&tcp(CLIENT, "192.0.2.10:80", SYN, b"")), TO4);
    case.frame(0, frame(&tcp(CLIENT6, "[2001:db8::10]:80", SYN, b"")), TO6);
    case.frame(0, frame(&tcp(CLIENT, "192.0.2.20:80", SYN, b"")), Expect::Nat(&["10.0.0.11:8080"]));
    case.frame(0, frame(&tcp("10.0.0.11:8080", CLIENT, SYN | ACK, b"")), Expect::Back("192.0.2.20:80"));
    case.frame(0, frame(&udp(CLIENT, "192.0.2.10:53", &[1; 1449])), Expect::TooBig(1476));
    case.frame(0, frame(&icmp("198.51.100.7", VIP, 8, 0, 1, b"x")), Expect::Echo);
    let mac = mac_of(ip("10.0.0.50"));
    let question = arp(1, (mac, "10.0.0.50"), ([0; 6], "10.0.0.2"));
    case.frame(0, ethernet(BROADCAST, mac, &[], ARP, &question), Expect::Arp);
    case.connections(4, 0, 0);
    case
}
