//! Frames as tests want them: right by default, and wrong where they say so. Written apart from `wire`, as a second
//! opinion on it.

use std::net::IpAddr;

use super::super::connection::flags;
use super::{ROUTER, WAN, end};
use crate::wire::ethernet::MacAddr;

/// A TCP, UDP or other packet in an Ethernet frame.
#[derive(Clone, Debug)]
pub struct Frame {
    pub dst_mac: MacAddr,
    pub src_mac: MacAddr,
    pub vlan: Vec<u16>,
    pub src: (IpAddr, u16),
    pub dst: (IpAddr, u16),
    pub protocol: u8,
    pub flags: u8,
    pub seq: u32,
    pub ack: u32,
    pub ttl: u8,
    pub df: bool,
    pub tos: u8,
    pub id: u16,
    /// Upper 3 bits flags, lower 13 the offset; instead of `df` where not 0.
    pub fragment: u16,
    /// IPv4 options, or IPv6 extension headers with the kind of the first one.
    pub options: (u8, Vec<u8>),
    pub payload: Vec<u8>,
    /// What replaces a right L4 checksum.
    pub l4_checksum: Option<u16>,
    /// Ethernet padding.
    pub padding: usize,
}

impl Frame {
    fn new(protocol: u8, src: &str, dst: &str) -> Self {
        Self {
            dst_mac: WAN,
            src_mac: ROUTER,
            vlan: Vec::new(),
            src: end(src),
            dst: end(dst),
            protocol,
            flags: 0,
            seq: 1,
            ack: 2,
            ttl: 64,
            df: true,
            tos: 0,
            id: 0x1234,
            fragment: 0,
            options: (0, Vec::new()),
            payload: b"payload".to_vec(),
            l4_checksum: None,
            padding: 0,
        }
    }

    pub fn tcp(src: &str, dst: &str, flags: u8) -> Self {
        Self { flags, ..Self::new(6, src, dst) }
    }

    pub fn syn(src: &str, dst: &str) -> Self {
        Self { payload: Vec::new(), ..Self::tcp(src, dst, flags::SYN) }
    }

    pub fn ack(src: &str, dst: &str) -> Self {
        Self::tcp(src, dst, flags::ACK)
    }

    pub fn udp(src: &str, dst: &str) -> Self {
        Self::new(17, src, dst)
    }

    /// From one of the second port's hosts.
    pub fn on_lan(self, src_mac: MacAddr) -> Self {
        Self { dst_mac: super::LAN, src_mac, ..self }
    }

    pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    /// The L4 header and payload.
    fn l4(&self) -> Vec<u8> {
        let mut l4 = Vec::new();
        let check_at = match self.protocol {
            6 => {
                l4.extend(self.src.1.to_be_bytes());
                l4.extend(self.dst.1.to_be_bytes());
                l4.extend(self.seq.to_be_bytes());
                l4.extend(self.ack.to_be_bytes());
                l4.extend([0x50, self.flags, 1, 0, 0, 0, 0, 0]);
                Some(16)
            }
            17 => {
                l4.extend(self.src.1.to_be_bytes());
                l4.extend(self.dst.1.to_be_bytes());
                l4.extend((8 + self.payload.len() as u16).to_be_bytes());
                l4.extend([0, 0]);
                Some(6)
            }
            _ => None,
        };
        l4.extend(&self.payload);
        if let Some(at) = check_at {
            let right = match internet_checksum(&[&self.pseudo(l4.len()), &l4]) {
                0 if self.protocol == 17 => 0xffff,
                check => check,
            };
            l4[at..at + 2].copy_from_slice(&self.l4_checksum.unwrap_or(right).to_be_bytes());
        }
        l4
    }

    fn pseudo(&self, len: usize) -> Vec<u8> {
        pseudo(self.src.0, self.dst.0, self.protocol, len)
    }

    /// The IP packet alone.
    pub fn packet(&self) -> Vec<u8> {
        self.packet_with(&self.l4())
    }

    /// The IP packet around this instead of TCP or UDP.
    pub fn packet_with(&self, l4: &[u8]) -> Vec<u8> {
        let (kind, options) = &self.options;
        let mut p = Vec::new();
        match (self.src.0, self.dst.0) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                let header_len = 20 + options.len();
                let fragment = if self.fragment != 0 { self.fragment } else { u16::from(self.df) << 14 };
                p.extend([0x40 | (header_len / 4) as u8, self.tos]);
                p.extend(((header_len + l4.len()) as u16).to_be_bytes());
                p.extend(self.id.to_be_bytes());
                p.extend(fragment.to_be_bytes());
                p.extend([self.ttl, self.protocol, 0, 0]);
                p.extend(src.octets());
                p.extend(dst.octets());
                p.extend(options);
                let check = internet_checksum(&[&p]);
                p[10..12].copy_from_slice(&check.to_be_bytes());
            }
            (IpAddr::V6(src), IpAddr::V6(dst)) => {
                p.extend([0x60 | self.tos >> 4, self.tos << 4, 0, 0]);
                p.extend(((options.len() + l4.len()) as u16).to_be_bytes());
                p.extend([if options.is_empty() { self.protocol } else { *kind }, self.ttl]);
                p.extend(src.octets());
                p.extend(dst.octets());
                p.extend(options);
            }
            _ => panic!("mixed families"),
        }
        p.extend(l4);
        p
    }

    pub fn build(&self) -> Vec<u8> {
        self.frame_with(&self.packet())
    }

    /// An Ethernet frame around this IP packet.
    pub fn frame_with(&self, packet: &[u8]) -> Vec<u8> {
        let mut frame = [self.dst_mac.0, self.src_mac.0].concat();
        for id in &self.vlan {
            frame.extend([0x81, 0]);
            frame.extend(id.to_be_bytes());
        }
        frame.extend(if self.src.0.is_ipv4() { [0x08, 0] } else { [0x86, 0xdd] });
        frame.extend(packet);
        frame.extend(std::iter::repeat_n(0xaa, self.padding));
        frame
    }
}

/// RFC 1071, in the plainest way.
pub fn internet_checksum(pieces: &[&[u8]]) -> u16 {
    let mut bytes = pieces.concat();
    if bytes.len() % 2 == 1 {
        bytes.push(0);
    }
    let mut sum: u32 = bytes.chunks(2).map(|w| u32::from(w[0]) << 8 | u32::from(w[1])).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

fn pseudo(src: IpAddr, dst: IpAddr, protocol: u8, len: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    match (src, dst) {
        (IpAddr::V4(s), IpAddr::V4(d)) => {
            bytes.extend(s.octets());
            bytes.extend(d.octets());
            bytes.extend([0, protocol]);
            bytes.extend((len as u16).to_be_bytes());
        }
        (IpAddr::V6(s), IpAddr::V6(d)) => {
            bytes.extend(s.octets());
            bytes.extend(d.octets());
            bytes.extend((len as u32).to_be_bytes());
            bytes.extend([0, 0, 0, protocol]);
        }
        _ => panic!("mixed families"),
    }
    bytes
}

/// An ICMP message: type, code, the second word and what follows.
pub fn icmp4(src: &str, dst: &str, kind: [u8; 2], word: [u8; 4], body: &[u8]) -> Frame {
    let mut frame = Frame::new(1, &format!("{src}:0"), &format!("{dst}:0"));
    let mut message = [&[kind[0], kind[1], 0, 0][..], &word, body].concat();
    let check = internet_checksum(&[&message]);
    message[2..4].copy_from_slice(&check.to_be_bytes());
    frame.payload = message;
    frame
}

/// The same over IPv6.
pub fn icmp6(src: &str, dst: &str, kind: [u8; 2], word: [u8; 4], body: &[u8]) -> Frame {
    let mut frame = Frame::new(58, &format!("[{src}]:0"), &format!("[{dst}]:0"));
    let mut message = [&[kind[0], kind[1], 0, 0][..], &word, body].concat();
    let check = internet_checksum(&[&pseudo(frame.src.0, frame.dst.0, 58, message.len()), &message]);
    message[2..4].copy_from_slice(&check.to_be_bytes());
    frame.payload = message;
    frame
}

/// Neighbour discovery: type 135 or 136, flags, target, and a link-layer address option of this kind.
pub fn neighbor_message(src: &str, dst: &str, kind: u8, bits: u8, target: &str, link: Option<(u8, MacAddr)>) -> Frame {
    let IpAddr::V6(target) = super::ip(target) else { panic!("not ipv6") };
    let mut body = target.octets().to_vec();
    if let Some((option, mac)) = link {
        body.extend([option, 1]);
        body.extend(mac.0);
    }
    let mut frame = icmp6(src, dst, [kind, 0], [bits, 0, 0, 0], &body);
    frame.ttl = 255;
    if let IpAddr::V6(dst) = frame.dst.0
        && dst.is_multicast()
    {
        frame.dst_mac = MacAddr::ipv6_multicast(dst);
    }
    frame
}

/// An ARP message, to everybody if it is a request.
pub fn arp(operation: u16, sha: MacAddr, spa: &str, tpa: &str) -> Vec<u8> {
    let octets = |text: &str| match super::ip(text) {
        IpAddr::V4(a) => a.octets(),
        IpAddr::V6(_) => panic!("not ipv4"),
    };
    let dst = if operation == 1 { MacAddr::BROADCAST } else { WAN };
    let mut frame = [dst.0, sha.0].concat();
    frame.extend([8, 6, 0, 1, 8, 0, 6, 4]);
    frame.extend(operation.to_be_bytes());
    frame.extend(sha.0);
    frame.extend(octets(spa));
    frame.extend(if operation == 1 { [0; 6] } else { WAN.0 });
    frame.extend(octets(tpa));
    frame
}
