//! What must hold of a frame that the balancer sends, next to the one that came in.

use std::net::IpAddr;

use tidegate::lb::snapshot::{Local, Snapshot};
use tidegate::wire::checksum::{combine, is_valid, sum};
use tidegate::wire::parse::{Fragment, Kind, ParseError, Parsed, parse};
use tidegate::wire::protocol::{GRE, ICMP, ICMPV6, TCP, UDP};

use super::frames::pseudo;

/// A frame with its headers read.
struct Read<'a> {
    frame: &'a [u8],
    parsed: Parsed,
}

impl<'a> Read<'a> {
    fn new(frame: &'a [u8]) -> Self {
        let parsed =
            parse(frame, frame.len()).unwrap_or_else(|e| panic!("sent what cannot be read: {e}\n{frame:02x?}"));
        Self { frame, parsed }
    }

    fn addresses(&self) -> (IpAddr, IpAddr) {
        match self.parsed.kind {
            Kind::V4 => {
                let tuple = self.parsed.five_tuple_v4(self.frame);
                (tuple.src.into(), tuple.dst.into())
            }
            _ => {
                let tuple = self.parsed.five_tuple_v6(self.frame);
                (tuple.src.into(), tuple.dst.into())
            }
        }
    }

    fn ip(&self) -> &'a [u8] {
        &self.frame[usize::from(self.parsed.l3)..self.parsed.ip_end()]
    }

    fn l4(&self) -> &'a [u8] {
        &self.frame[usize::from(self.parsed.l4)..self.parsed.ip_end()]
    }

    /// Whether the upper layer's checksum is right; `None` where there is none.
    fn is_right(&self) -> Option<bool> {
        let (l4, (src, dst)) = (self.l4(), self.addresses());
        let protocol = self.parsed.protocol;
        // One fragment does not tell.
        if self.parsed.fragment != Fragment::None {
            return None;
        }
        let len = match protocol {
            UDP if l4[6..8] == [0, 0] => return None,
            UDP => usize::from(u16::from_be_bytes([l4[4], l4[5]])),
            _ => l4.len(),
        };
        let pseudo = if protocol == ICMP { 0 } else { pseudo(src, dst, protocol, len) };
        matches!(protocol, TCP | UDP | ICMP | ICMPV6).then(|| is_valid(combine(pseudo, sum(&l4[..len]))))
    }
}

/// A packet that was forwarded: `input` is how it came.
pub fn forwarded(input: &[u8], output: &[u8], mtu: u16, snapshot: &Snapshot) {
    // Tunnels may do without a checksum over IPv6 (RFC 6935), and do where the packet is in several segments.
    if parse(output, output.len()) == Err(ParseError::UdpChecksumZero) {
        return;
    }
    let (input, output) = (Read::new(input), Read::new(output));
    assert!(output.parsed.ip_len <= mtu, "{} bytes for an MTU of {mtu}", output.parsed.ip_len);
    let is_gue = output.parsed.protocol == UDP && output.parsed.dport == 6080 && input.parsed.dport != 6080;
    match output.parsed.protocol {
        GRE => tunneled(&input, &output, 4, snapshot),
        4 | 41 => tunneled(&input, &output, 0, snapshot),
        _ if is_gue => tunneled(&input, &output, 8, snapshot),
        TCP | UDP => translated(&input, &output, snapshot),
        _ => assert_eq!(output.is_right(), Some(true), "an ICMP message with a wrong checksum"),
    }
}

/// P3 and P4: a legal header, and the packet as it came.
fn tunneled(input: &Read, output: &Read, header: usize, snapshot: &Snapshot) {
    let (header, inner) = output.l4().split_at(header);
    if output.parsed.protocol == GRE {
        let expected: u16 = if input.parsed.kind == Kind::V4 { 0x0800 } else { 0x86dd };
        assert_eq!(header, [[0, 0], expected.to_be_bytes()].concat());
    }
    // It is worked out from the one inside, and wrong with it.
    assert!(output.is_right() != Some(false) || input.is_right() == Some(false), "the checksum of a tunnel header");
    assert!(inner == input.ip(), "the inner packet was changed");
    let header_len = usize::from(output.parsed.l4 - output.parsed.l3);
    assert_eq!(header_len, if output.parsed.kind == Kind::V4 { 20 } else { 40 }, "outer options");
    let (src, dst) = output.addresses();
    assert!(matches!(snapshot.local(src), Some(Local::Own(_))), "tunnelled from {src}");
    assert!(snapshot.backends().any(|b| b.address == dst), "tunnelled to {dst}");
    assert!(output.frame.len() == output.parsed.ip_end(), "padding went into the tunnel");
}

/// P4, P7 and P8: addresses, ports, TTL and checksums only; what was right is right, and what was wrong is wrong.
fn translated(input: &Read, output: &Read, snapshot: &Snapshot) {
    if input.ip() == output.ip() {
        return;
    }
    if input.parsed.kind != output.parsed.kind {
        return crossed(input, output, snapshot);
    }
    assert_eq!(input.parsed.protocol, output.parsed.protocol);
    assert_eq!(output.parsed.ttl, input.parsed.ttl - 1);
    assert_eq!(input.is_right(), output.is_right(), "the checksum");
    let ((old_src, old_dst), (src, dst)) = (input.addresses(), output.addresses());
    match (old_src == src, old_dst == dst) {
        (true, _) => assert!(snapshot.backends().any(|b| b.address == dst), "sent to {dst}"),
        (false, true) => assert!(matches!(snapshot.local(src), Some(Local::Vip { .. })), "replied from {src}"),
        (false, false) => both(old_dst, src, dst, snapshot),
    }
    let same = |read: &Read| {
        let mut ip = read.ip().to_vec();
        let l4 = usize::from(read.parsed.l4 - read.parsed.l3);
        let is_v4 = read.parsed.kind == Kind::V4;
        ip[if is_v4 { 8 } else { 7 }] = 0;
        ip[if is_v4 { 10..20 } else { 8..40 }].fill(0);
        // Later fragments have no header there.
        if read.parsed.fragment != Fragment::Later {
            ip[l4..l4 + 4].fill(0);
            let check = l4 + if read.parsed.protocol == TCP { 16 } else { 6 };
            ip[check..check + 2].fill(0);
        }
        ip
    };
    assert!(same(input) == same(output), "more than addresses, ports, TTL and checksums was changed");
}

/// Full-NAT: to a backend from a local address, or from the VIP what came to a local address.
fn both(old_dst: IpAddr, src: IpAddr, dst: IpAddr, snapshot: &Snapshot) {
    let is_local = |addr| matches!(snapshot.local(addr), Some(Local::Local));
    let is_request = is_local(src) && snapshot.backends().any(|b| b.address == dst);
    let is_reply = is_local(old_dst) && matches!(snapshot.local(src), Some(Local::Vip { .. }));
    assert!(is_request || is_reply, "from {src} to {dst}, and to {old_dst} before");
}

/// Full-NAT between the families: another header, the same data, and a checksum as right as before.
fn crossed(input: &Read, output: &Read, snapshot: &Snapshot) {
    let ((_, old_dst), (src, dst)) = (input.addresses(), output.addresses());
    both(old_dst, src, dst, snapshot);
    assert_eq!((output.parsed.protocol, output.parsed.ttl), (input.parsed.protocol, input.parsed.ttl - 1));
    // What is cut in other places is not compared piece by piece.
    if input.parsed.fragment != Fragment::None || output.parsed.fragment != Fragment::None {
        return;
    }
    // IPv6 has no UDP without a checksum.
    assert_eq!(output.is_right(), input.is_right().or(Some(true)), "the checksum");
    let data = |read: &Read| match read.parsed.protocol {
        TCP => [&read.l4()[4..16], &read.l4()[18..]].concat(),
        _ => [&read.l4()[4..6], &read.l4()[8..]].concat(),
    };
    assert!(data(input) == data(output), "more than the headers was changed");
}

/// A frame of our own, or our answer.
pub fn ours(frame: &[u8]) {
    let read = Read::new(frame);
    if read.parsed.kind != Kind::Arp {
        assert_eq!(read.is_right(), Some(true), "an ICMP message with a wrong checksum");
        assert!(read.parsed.ttl > 1);
    }
}
