//! What is for own addresses and not served: the host's, where a port has one, and dropped or answered here where not.

use crate::case::*;
use crate::packet::*;

const VIP: &str = "192.0.2.10";
const CLIENT: &str = "198.51.100.7:4000";
const CLIENT6: &str = "[2001:db8:c::7]:4000";
const TO4: Expect = Expect::Gre { from: "10.0.0.2", to: &["10.1.0.11"] };

/// The same packets in both cases; `expect` says what becomes of those that a host would take, by why they are dropped
/// without one.
fn packets(name: &'static str, host: &str, expect: impl Fn(&'static str) -> Expect) -> Case {
    let config = dataplane("")
        + "\n[host]\nicmp = 8\n"
        + &wan(&format!("host = \"{host}\"\n"), &["10.0.0.11"])
        + &service("web", "192.0.2.10 80", "tcp", "gre", "", &["b1 10.1.0.11"])
        + &service("dns6", "2001:db8::10 53", "udp", "gre", "", &["b1 10.1.0.11"]);
    let mut case = Case::new(name, config);
    // SSH, BGP and OSPF, to an address and to a group, and what is nobody's.
    case.send(&tcp(CLIENT, "10.0.0.2:22", SYN, b""), expect("no_service"));
    case.send(&tcp(CLIENT6, "[fd00::2]:22", SYN, b""), expect("no_service"));
    case.send(&tcp("10.0.0.1:4000", "10.0.0.2:179", ACK, b"keepalive"), expect("no_service"));
    case.send(&Ip::new(ip("10.0.0.1"), ip("10.0.0.2"), 89, vec![0; 44]), expect("no_service"));
    let hello = Ip::new(ip("10.0.0.1"), ip("224.0.0.5"), 89, vec![0; 44]).bytes();
    case.frame(0, ethernet([1, 0, 0x5e, 0, 0, 5], mac_of(ip("10.0.0.1")), &[], IPV4, &hello), expect("not_ours"));
    case.send(&udp(CLIENT, "10.0.0.2:123", b"time"), expect("no_service"));
    case.send(&udp(CLIENT, "10.0.0.2:123", &[7; 64]).fragment(MF), expect("fragment"));
    // ICMP beside echo requests, and errors about what the host itself sent.
    case.send(&icmp("198.51.100.7", "10.0.0.2", 0, 0, 1, b"a reply"), expect("icmp_not_served"));
    let quote = tcp("10.0.0.2:5000", CLIENT, SYN, b"").bytes();
    case.send(&icmp("203.0.113.9", "10.0.0.2", 3, 4, 1280, &quote), expect("icmp_no_connection"));
    // Answers to ARP are for both; questions are answered here.
    let gateway = mac_of(ip("10.0.0.1"));
    let reply = arp(2, (gateway, "10.0.0.1"), (own_mac(0), "10.0.0.2"));
    case.frame(0, ethernet(own_mac(0), gateway, &[], ARP, &reply), expect("neighbor_update"));
    let question = arp(1, (gateway, "10.0.0.1"), ([0; 6], "10.0.0.2"));
    case.frame(0, ethernet(BROADCAST, gateway, &[], ARP, &question), Expect::Arp);
    // What is served, or a VIP's, or nobody's, is as ever.
    case.send(&tcp(CLIENT, "192.0.2.10:80", SYN, b""), TO4);
    case.send(&tcp(CLIENT, "192.0.2.10:22", SYN, b""), Expect::Drop("no_service"));
    case.send(&icmp("198.51.100.7", VIP, 8, 0, 1, b"ping"), Expect::Echo);
    case.send(&tcp(CLIENT, "192.0.2.99:22", SYN, b""), Expect::Drop("not_ours"));
    case.send(&icmp("10.0.0.1", "10.0.0.2", 5, 1, 0x0a00_0009, &quote), Expect::Drop("icmp_not_served"));
    case.connections(1, 0, 0);
    case
}

/// With a host; more echo requests than it may get do not take BGP's place.
pub fn host_on() -> Case {
    let mut case = packets("host-on", "on", |_| Expect::Host);
    // Two at once and eight in a second; two messages of the class have passed already.
    case.at_ms(1000);
    for number in 0..6 {
        let fits = number < 2;
        let ping = icmp("198.51.100.7", "10.0.0.2", 8, 0, number, b"ping");
        case.send(&ping, if fits { Expect::Host } else { Expect::Drop("punt_limited") });
        case.send(&tcp("10.0.0.1:4000", "10.0.0.2:179", ACK, b"keepalive"), Expect::Host);
    }
    case.run(NEEDS_HOST);
    case
}

/// Without one.
pub fn host_off() -> Case {
    let mut case = packets("host-off", "off", Expect::Drop);
    case.send(&icmp("198.51.100.7", "10.0.0.2", 8, 0, 1, b"ping"), Expect::Echo);
    case.send(&icmp("2001:db8:c::7", "fd00::2", 128, 0, 1, b"ping"), Expect::Echo);
    case
}
