//! Frames of many flows, built with a library that the product does not use.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use etherparse::{NetSlice, PacketBuilder, SlicedPacket, TransportSlice};
use tidegate::wire::ethernet::MacAddr;

/// IPv4 or IPv6.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Family {
    V4,
    V6,
}

impl Family {
    pub fn label(self) -> &'static str {
        match self {
            Family::V4 => "4",
            Family::V6 => "6",
        }
    }
}

/// TCP or UDP.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum L4 {
    Tcp,
    Udp,
}

impl L4 {
    pub fn label(self) -> &'static str {
        match self {
            L4::Tcp => "tcp",
            L4::Udp => "udp",
        }
    }

    pub fn protocol(self) -> u8 {
        match self {
            L4::Tcp => 6,
            L4::Udp => 17,
        }
    }
}

/// Which packet of a connection, for TCP: the one with SYN, or one with ACK alone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    First,
    Later,
}

pub const VIP_PORT: u16 = 80;
/// So many clients differ in IPv4 address or port.
pub const CLIENTS_MAX: usize = 1 << 25;

pub fn vip(family: Family) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::new(192, 0, 2, 10).into(),
        Family::V6 => Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x10).into(),
    }
}

/// Address and port of client `n`, none twice below [`CLIENTS_MAX`].
pub fn client(family: Family, n: usize) -> (IpAddr, u16) {
    assert!(n < CLIENTS_MAX);
    let n = n as u32;
    // Neighbours in the list are no neighbours in every field.
    let mixed = n.wrapping_mul(0x9e37_79b1);
    let port = 1024 + (n >> 17 << 7) + (mixed >> 25);
    let address = match family {
        // All of the network for benchmarks (RFC 2544 appendix C.2.2); the port has the rest of the number.
        Family::V4 => Ipv4Addr::from_bits(Ipv4Addr::new(198, 18, 0, 0).to_bits() | n & 0x1_ffff).into(),
        Family::V6 => {
            let network = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 0).to_bits();
            Ipv6Addr::from_bits(network | u128::from(mixed) << 32 | u128::from(n)).into()
        }
    };
    (address, port as u16)
}

/// Frames of one length behind each other, as in the ring of a driver.
pub struct Frames {
    bytes: Vec<u8>,
    len: usize,
}

impl Frames {
    /// The same packet of each of `count` clients' connections, from `source` to `destination`.
    pub fn requests(family: Family, l4: L4, step: Step, count: usize, source: MacAddr, destination: MacAddr) -> Self {
        let frame = |n| build((source, destination), client(family, n), (vip(family), VIP_PORT), (l4, step, false));
        Self::joined((0..count).map(frame))
    }

    /// What the receivers of these frames answer.
    pub fn replies(sent: &[Vec<u8>], l4: L4, step: Step) -> Self {
        Self::joined(sent.iter().map(|frame| {
            let (from, to) = ends(frame);
            let macs = (mac_at(frame, 0), mac_at(frame, 6));
            build(macs, to, from, (l4, step, true))
        }))
    }

    fn joined(frames: impl Iterator<Item = Vec<u8>>) -> Self {
        let (mut bytes, mut len) = (Vec::new(), 0);
        for frame in frames {
            assert!(len == 0 || len == frame.len(), "all of one length");
            len = frame.len();
            bytes.extend(frame);
        }
        Self { bytes, len }
    }

    pub fn count(&self) -> usize {
        self.bytes.len() / self.len
    }

    #[inline]
    pub fn get(&self, n: usize) -> &[u8] {
        &self.bytes[n * self.len..][..self.len]
    }
}

fn mac_at(frame: &[u8], at: usize) -> MacAddr {
    MacAddr(frame[at..at + 6].try_into().unwrap())
}

/// Source and destination of a frame.
fn ends(frame: &[u8]) -> ((IpAddr, u16), (IpAddr, u16)) {
    let sliced = SlicedPacket::from_ethernet(frame).unwrap();
    let (src, dst): (IpAddr, IpAddr) = match sliced.net.unwrap() {
        NetSlice::Ipv4(ip) => (ip.header().source_addr().into(), ip.header().destination_addr().into()),
        NetSlice::Ipv6(ip) => (ip.header().source_addr().into(), ip.header().destination_addr().into()),
        NetSlice::Arp(_) => panic!("arp has no ports"),
    };
    let (sport, dport) = match sliced.transport.unwrap() {
        TransportSlice::Tcp(tcp) => (tcp.source_port(), tcp.destination_port()),
        TransportSlice::Udp(udp) => (udp.source_port(), udp.destination_port()),
        other => panic!("{other:?} has no ports"),
    };
    ((src, sport), (dst, dport))
}

/// The shortest frame, 60 bytes over IPv4, and as long a payload over IPv6 as `pktgen` sends at least.
fn build(macs: (MacAddr, MacAddr), from: (IpAddr, u16), to: (IpAddr, u16), what: (L4, Step, bool)) -> Vec<u8> {
    let ethernet = PacketBuilder::ethernet2(macs.0.0, macs.1.0);
    let (ip, is_v6) = match (from.0, to.0) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => (ethernet.ipv4(src.octets(), dst.octets(), 64), false),
        (IpAddr::V6(src), IpAddr::V6(dst)) => (ethernet.ipv6(src.octets(), dst.octets(), 64), true),
        other => panic!("{other:?} are of two families"),
    };
    let (l4, step, is_reply) = what;
    let mut frame = Vec::new();
    match l4 {
        L4::Tcp => {
            let payload = if is_v6 { &[0; 4][..] } else { &[0; 6][..] };
            let tcp = ip.tcp(from.1, to.1, 1, 1024);
            let tcp = if step == Step::First { tcp.syn() } else { tcp };
            let tcp = if step == Step::Later || is_reply { tcp.ack(1) } else { tcp };
            tcp.write(&mut frame, payload).unwrap();
        }
        L4::Udp => {
            let payload = if is_v6 { &[0; 4][..] } else { &[0; 18][..] };
            ip.udp(from.1, to.1).write(&mut frame, payload).unwrap();
        }
    }
    frame
}
