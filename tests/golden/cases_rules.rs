//! Cases that hold single rules of `docs/rules.md` over their whole range.

use crate::case::*;
use crate::packet::*;

const VIP: &str = "192.0.2.10:80";
const NATVIP: &str = "192.0.2.20:80";
const ONE: &[&str] = &["10.0.0.11:8080"];
const TO: Expect = Expect::Gre { from: "10.0.0.2", to: &["10.1.0.11"] };

fn config(lines: &str) -> String {
    dataplane(lines)
        + &wan("", &["10.0.0.11"])
        + &service("web", "192.0.2.10 80", "tcp", "gre", "", &["b1 10.1.0.11"])
        + &service("web6", "2001:db8::10 80", "tcp", "gre", "", &["b1 10.1.0.11"])
        + &service("nat", "192.0.2.20 80", "tcp", "nat", "", &["n1 10.0.0.11;port = 8080"])
}

/// A TCP segment with these numbers.
fn segment(from: &str, to: &str, flags: u8, (at, acknowledges): (u32, u32), payload: &[u8]) -> Ip {
    let mut packet = tcp(from, to, flags, payload);
    packet.l4[4..8].copy_from_slice(&at.to_be_bytes());
    packet.l4[8..12].copy_from_slice(&acknowledges.to_be_bytes());
    fix_l4(packet.src, packet.dst, TCP, &mut packet.l4);
    packet
}

/// Every protocol number, over both families (rule 5).
pub fn protocols() -> Case {
    let mut case = Case::new("protocols", config(""));
    for number in 0..=255 {
        let v4 = match number {
            ICMP => "icmp_checksum",
            TCP => "tcp_offset",
            UDP => "udp_length",
            _ => "no_service",
        };
        case.send(&Ip::new(ip("198.51.100.7"), ip("192.0.2.10"), number, vec![0; 40]), Expect::Drop(v4));
        let v6 = match number {
            // Of zeros, so the next one would be a hop-by-hop header in the wrong place.
            0 | 43 | 44 | 60 => "ip6_extension",
            ICMP6 => "icmp_checksum",
            TCP => "tcp_offset",
            UDP => "udp_length",
            _ => "no_service",
        };
        case.send(&Ip::new(ip("2001:db8:c::7"), ip("2001:db8::10"), number, vec![0; 40]), Expect::Drop(v6));
    }
    case
}

/// Frames cut at every length, and every length that the header of a whole one can claim in its neighbourhood (rules 1, 5).
pub fn lengths() -> Case {
    let mut case = Case::new("lengths", config(""));
    let syn = tcp("198.51.100.7:1", VIP, SYN, b"");
    let whole = syn.frame_from(ip("10.0.0.1"));
    for len in 14..whole.len() {
        let reason = if len < 34 { "runt" } else { "ip_total_long" };
        case.frame(0, whole[..len].to_vec(), Expect::Drop(reason));
    }
    for total in (0..=80).chain([0x0100, 0x2800, 0x7fff, 0x8000, 0xffff]) {
        let mut frame = whole.clone();
        frame[16..18].copy_from_slice(&u16::to_be_bytes(total));
        fix_header(&mut frame[14..]);
        let expect = match total {
            0..20 => Expect::Drop("ip_total_short"),
            20..40 => Expect::Drop("l4_truncated"),
            40 => TO,
            _ => Expect::Drop("ip_total_long"),
        };
        case.frame(0, frame, expect);
    }
    let syn6 = tcp("[2001:db8:c::7]:1", "[2001:db8::10]:80", SYN, b"");
    let whole = syn6.frame_from(ip("fd00::1"));
    for len in 14..whole.len() {
        let reason = if len < 54 { "runt" } else { "ip_total_long" };
        case.frame(0, whole[..len].to_vec(), Expect::Drop(reason));
    }
    for payload in (0..=40).chain([0x0100, 0x1400, 0x7fff, 0x8000, 0xffff]) {
        let mut frame = whole.clone();
        frame[18..20].copy_from_slice(&u16::to_be_bytes(payload));
        let expect = match payload {
            0 => Expect::Drop("ip6_jumbo"),
            1..20 => Expect::Drop("l4_truncated"),
            20 => TO,
            _ => Expect::Drop("ip_total_long"),
        };
        case.frame(0, frame, expect);
    }
    case.connections(2, 0, 0);
    case
}

/// Whether the client sends it, flags, its number, what it acknowledges, and its data.
type Segment = (bool, u8, u32, u32, &'static [u8]);

/// The usual handshake.
const OPENING: &[Segment] = &[(true, SYN, 100, 0, b""), (false, SYN | ACK, 900, 101, b""), (true, ACK, 101, 901, b"")];

/// How it goes on and ends.
const WAYS: &[&[Segment]] = &[
    // Orderly, by the client, and then by the server.
    &[
        (true, FIN | ACK, 101, 901, b""),
        (false, ACK, 901, 102, b""),
        (false, FIN | ACK, 901, 102, b""),
        (true, ACK, 102, 902, b""),
    ],
    &[(false, FIN | ACK, 901, 101, b""), (true, FIN | ACK, 101, 902, b""), (false, ACK, 902, 102, b"")],
    // Both at once.
    &[
        (true, FIN | ACK, 101, 901, b""),
        (false, FIN | ACK, 901, 101, b""),
        (true, ACK, 102, 902, b""),
        (false, ACK, 902, 102, b""),
    ],
    // Half closed: the server goes on sending, and the client acknowledging.
    &[
        (true, FIN | ACK, 101, 901, b""),
        (false, ACK, 901, 102, b"much"),
        (true, ACK, 102, 905, b""),
        (false, FIN | ACK, 905, 102, b"more"),
        (true, ACK, 102, 910, b""),
    ],
    // Lost and sent again, out of order, a keep-alive, a zero window probe, urgent data, and ECN's flags.
    &[
        (true, ACK, 105, 901, b"second"),
        (true, ACK, 101, 901, b"one."),
        (false, ACK, 901, 111, b""),
        (false, ACK, 900, 111, b""),
        (true, ACK, 110, 901, b"x"),
        (true, ACK | 0x20, 111, 901, b"!"),
        (false, ACK | 0x40, 901, 112, b""),
        (true, ACK | 0x80, 112, 901, b""),
    ],
    // The SYN and the answer come again after all, and a second FIN.
    &[
        (true, SYN, 100, 0, b""),
        (false, SYN | ACK, 900, 101, b""),
        (true, ACK, 101, 901, b"data"),
        (true, FIN | ACK, 105, 901, b""),
        (true, FIN | ACK, 105, 901, b""),
        (false, FIN | ACK, 901, 106, b""),
    ],
];

/// How else it can begin.
const BEGINNINGS: &[&[Segment]] = &[
    // Both open at once (RFC 9293 3.5, figure 8).
    &[
        (true, SYN, 100, 0, b""),
        (false, SYN, 900, 0, b""),
        (true, SYN | ACK, 100, 901, b""),
        (false, SYN | ACK, 900, 101, b""),
        (true, ACK, 101, 901, b""),
        (false, ACK, 901, 101, b"data"),
    ],
    // With data in the SYN (RFC 7413), and with ECN asked for (RFC 3168).
    &[(true, SYN, 100, 0, b"early"), (false, SYN | ACK, 900, 106, b""), (true, ACK | 8, 106, 901, b"rest")],
    &[(true, SYN | 0xc0, 100, 0, b""), (false, SYN | ACK | 0x40, 900, 101, b""), (true, ACK, 101, 901, b"")],
    // The SYN is lost behind the balancer, and comes again under another number.
    &[
        (true, SYN, 100, 0, b""),
        (true, SYN, 5000, 0, b""),
        (false, SYN | ACK, 900, 5001, b""),
        (true, ACK, 5001, 901, b""),
    ],
    // A number from before (RFC 9293 3.5, figure 9): the server says what it knows, and the client resets that.
    &[
        (true, SYN, 100, 0, b""),
        (false, ACK, 7000, 300, b""),
        (true, RST, 300, 0, b""),
        (true, SYN, 100, 0, b""),
        (false, SYN | ACK, 900, 101, b""),
    ],
    // All numbers around the end of their range.
    &[
        (true, SYN, u32::MAX, 0, b""),
        (false, SYN | ACK, u32::MAX - 1, 0, b""),
        (true, ACK, 0, u32::MAX, b"data"),
        (false, ACK, u32::MAX, 4, b"more"),
        (true, FIN | ACK, 4, 3, b""),
    ],
];

/// Every way in which a TCP connection can rightly begin, go on and end passes, through NAT both ways (rule 18).
pub fn tcp_sequences() -> Case {
    let mut case = Case::new("tcp-sequences", config(""));
    let all = WAYS.iter().map(|way| [OPENING, way].concat()).chain(BEGINNINGS.iter().map(|way| way.to_vec()));
    for (number, segments) in all.enumerate() {
        let from = format!("198.51.100.7:{}", 4000 + number);
        for (is_client, flags, at, acknowledges, data) in segments {
            if is_client {
                case.send(&segment(&from, NATVIP, flags, (at, acknowledges), data), Expect::Nat(ONE));
                case.send(&segment(&from, VIP, flags, (at, acknowledges), data), TO);
            } else {
                case.send(&segment(ONE[0], &from, flags, (at, acknowledges), data), Expect::Back(NATVIP));
            }
        }
    }
    // In one of them a RST ends the first connection of two.
    case.connections(25, 0, 0);
    case
}

/// RSTs that are not exactly the next number change nothing, however many there are; one that is ends the connection after
/// its time (rules 19 and 20).
pub fn resets() -> Case {
    let mut case = Case::new("resets", config(""));
    let nat = || Expect::Nat(ONE);
    let (open, refused) = ("198.51.100.7:1", "198.51.100.7:2");
    case.send(&segment(open, NATVIP, SYN, (1000, 0), b""), nat());
    case.send(&segment(ONE[0], open, SYN | ACK, (5000, 1001), b""), Expect::Back(NATVIP));
    case.send(&segment(open, NATVIP, ACK, (1001, 5001), b""), nat());
    case.send(&segment(open, VIP, SYN, (1000, 0), b""), TO);
    case.send(&segment(open, VIP, ACK, (1001, 5001), b""), TO);
    for at in [0, 999, 1000, 1002, 1003, 5001, 66_537, 0x8000_0000, u32::MAX] {
        case.send(&segment(open, NATVIP, RST, (at, 0), b""), nat());
        case.send(&segment(ONE[0], open, RST | ACK, (at + u32::from(at == 5001), 1001), b""), Expect::Back(NATVIP));
    }
    // One direction shows too little to tell, so there it is never believed.
    case.send(&segment(open, VIP, RST, (1001, 0), b""), TO);
    // Longer than a closing connection lives.
    case.at_ms(15_000);
    case.send(&segment(open, NATVIP, ACK, (1001, 5001), b"data"), nat());
    case.send(&segment(ONE[0], open, ACK, (5001, 1005), b"answer"), Expect::Back(NATVIP));
    case.send(&segment(open, VIP, ACK, (1001, 5001), b"data"), TO);
    case.send(&segment(ONE[0], open, RST, (5007, 0), b""), Expect::Back(NATVIP));
    // A refused SYN, and one more at once, which is a new connection.
    case.send(&segment(refused, NATVIP, SYN, (70_000, 0), b""), nat());
    case.send(&segment(ONE[0], refused, RST | ACK, (0, 70_001), b""), Expect::Back(NATVIP));
    case.send(&segment(refused, NATVIP, SYN, (10, 0), b""), nat());
    case.send(&segment(ONE[0], refused, SYN | ACK, (20, 11), b""), Expect::Back(NATVIP));
    case.send(&segment(refused, NATVIP, ACK, (11, 21), b""), nat());
    // What was reset is there for a while, and then gone. A stray SYN of the backend does not bring it back.
    case.at_ms(20_000);
    case.send(&segment(ONE[0], open, SYN, (1, 0), b""), Expect::Back(NATVIP));
    case.at_ms(32_000);
    case.send(&segment(open, NATVIP, ACK, (1005, 5007), b""), Expect::Drop("no_connection"));
    case.send(&segment(ONE[0], open, SYN, (1, 0), b""), Expect::Drop("not_ours"));
    case.send(&segment(refused, NATVIP, ACK, (11, 21), b"still open"), nat());
    case.connections(4, 1, 0).run(NEEDS_TIME);
    case
}

/// A client uses its port again: a SYN on a connection that closes opens the next one at once, whatever its number (rule 15).
pub fn port_reuse() -> Case {
    let mut case = Case::new("port-reuse", config(""));
    let client = "198.51.100.7:1";
    for at in [4_000_000_000u32, 5, 3_000_000_000, 2_999_999_999, 0] {
        let next = at.wrapping_add(1);
        case.send(&segment(client, NATVIP, SYN, (at, 0), b""), Expect::Nat(ONE));
        case.send(&segment(ONE[0], client, SYN | ACK, (!at, next), b""), Expect::Back(NATVIP));
        case.send(&segment(client, NATVIP, ACK, (next, (!at).wrapping_add(1)), b"data"), Expect::Nat(ONE));
        case.send(&segment(client, NATVIP, FIN | ACK, (next + 4, (!at).wrapping_add(1)), b""), Expect::Nat(ONE));
        case.send(&segment(client, VIP, SYN, (at, 0), b""), TO);
        case.send(&segment(client, VIP, ACK, (next, 7), b""), TO);
        case.send(&segment(client, VIP, FIN | ACK, (next, 7), b""), TO);
    }
    case.connections(10, 0, 0);
    case
}

/// A flood of SYNs through NAT beside connections that are open: each of them goes on (rule 33).
pub fn syn_flood() -> Case {
    let mut case = Case::new("syn-flood", config("connections = 200\n"));
    let open: Vec<String> = (1..=8).map(|port| format!("198.51.100.7:{port}")).collect();
    let data = |case: &mut Case| {
        for client in &open {
            case.send(&tcp(client, NATVIP, ACK, b"data"), Expect::Nat(ONE));
            case.send(&tcp(ONE[0], client, ACK, b"answer"), Expect::Back(NATVIP));
        }
    };
    for client in &open {
        case.send(&tcp(client, NATVIP, SYN, b""), Expect::Nat(ONE));
        case.send(&tcp(ONE[0], client, SYN | ACK, b""), Expect::Back(NATVIP));
    }
    data(&mut case);
    for flood in 0..6u16 {
        for port in 0..80 {
            let from = format!("198.51.100.{}:{}", 100 + flood, 2000 + port);
            case.send(&tcp(&from, NATVIP, SYN, b""), Expect::Nat(ONE));
        }
        data(&mut case);
    }
    // As many as there is room for, and the rest made place.
    case.connections(488, 0, 288);
    case
}
