//! Valid frames, as a start for what mutates them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use tidegate::wire::checksum::{combine, finish, finish_udp, pseudo_v4, pseudo_v6, sum};
use tidegate::wire::ethernet::{self, EtherType, MacAddr};
use tidegate::wire::icmp::{self, IcmpError};
use tidegate::wire::icmpv6::{self, Icmpv6Error};
use tidegate::wire::ipv4::Ipv4Repr;
use tidegate::wire::ipv6::Ipv6Repr;
use tidegate::wire::protocol;

/// The link layer of a frame.
#[derive(Clone, Copy, Debug)]
pub struct Link {
    pub dst: MacAddr,
    pub src: MacAddr,
    pub vlan: Option<u16>,
}

/// A TCP or UDP packet: UDP unless there are TCP flags.
#[derive(Clone, Copy, Debug)]
pub struct Flow {
    pub src: (IpAddr, u16),
    pub dst: (IpAddr, u16),
    pub tcp_flags: Option<u8>,
    pub ttl: u8,
}

impl Flow {
    /// The frame, with `payload` bytes behind its headers.
    pub fn frame(&self, link: Link, payload: usize) -> Vec<u8> {
        let mut l4 = match self.tcp_flags {
            Some(flags) => {
                let mut tcp = vec![0; 20];
                tcp[12..14].copy_from_slice(&[5 << 4, flags]);
                tcp[14..16].copy_from_slice(&[0xff, 0xff]);
                tcp
            }
            None => {
                let mut udp = vec![0; 8];
                udp[4..6].copy_from_slice(&(8 + payload as u16).to_be_bytes());
                udp
            }
        };
        l4[..2].copy_from_slice(&self.src.1.to_be_bytes());
        l4[2..4].copy_from_slice(&self.dst.1.to_be_bytes());
        l4.extend((0..payload).map(|i| i as u8));
        let protocol = if self.tcp_flags.is_some() { protocol::TCP } else { protocol::UDP };
        let total = combine(pseudo(self.src.0, self.dst.0, protocol, l4.len()), sum(&l4));
        match protocol {
            protocol::TCP => l4[16..18].copy_from_slice(&finish(total).to_be_bytes()),
            _ => l4[6..8].copy_from_slice(&finish_udp(total).to_be_bytes()),
        }
        ip_frame(link, self.src.0, self.dst.0, protocol, self.ttl, &l4)
    }
}

/// The sum of a pseudo-header; 0 where the families differ.
pub fn pseudo(src: IpAddr, dst: IpAddr, protocol: u8, len: usize) -> u32 {
    match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => pseudo_v4(src, dst, protocol, len as u16),
        (IpAddr::V6(src), IpAddr::V6(dst)) => pseudo_v6(src, dst, protocol, len as u32),
        _ => 0,
    }
}

/// A frame with `l4` behind its IP header; mixed families give an empty one.
pub fn ip_frame(link: Link, src: IpAddr, dst: IpAddr, protocol: u8, ttl: u8, l4: &[u8]) -> Vec<u8> {
    let payload_len = l4.len() as u16;
    let mut header = [0; 40];
    let (ethertype, len) = match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            let repr = Ipv4Repr { src, dst, protocol, ttl, traffic_class: 0, id: 7, df: true, payload_len };
            (EtherType::IPV4, repr.emit(&mut header))
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            let (next_header, hop_limit) = (protocol, ttl);
            let repr = Ipv6Repr { src, dst, next_header, hop_limit, traffic_class: 0, flow_label: 0, payload_len };
            (EtherType::IPV6, repr.emit(&mut header))
        }
        _ => return Vec::new(),
    };
    let mut frame = link_frame(link, ethertype, &header[..len.unwrap_or(0)]);
    frame.extend_from_slice(l4);
    frame
}

/// A frame with any content.
pub fn link_frame(link: Link, ethertype: EtherType, content: &[u8]) -> Vec<u8> {
    let mut frame = vec![0; ethernet::header_len(link.vlan)];
    ethernet::emit(&mut frame, link.dst, link.src, link.vlan, ethertype);
    frame.extend_from_slice(content);
    frame
}

/// An echo request.
pub fn echo(link: Link, src: IpAddr, dst: IpAddr, payload: usize) -> Vec<u8> {
    let mut message = vec![0; 8 + payload];
    let data = vec![0x5a; payload];
    let protocol = match (src, dst) {
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            icmpv6::emit_echo(&mut message, (src, dst), icmpv6::kind::ECHO_REQUEST, 1, 2, &data);
            protocol::ICMPV6
        }
        _ => {
            icmp::emit_echo(&mut message, icmp::kind::ECHO_REQUEST, 1, 2, &data);
            protocol::ICMP
        }
    };
    ip_frame(link, src, dst, protocol, 64, &message)
}

/// An ICMP error from `src` to `dst` about the IP packet `about`, of which at most `quote_max` bytes are quoted.
pub fn icmp_error(link: Link, src: IpAddr, dst: IpAddr, about: &[u8], quote_max: usize, choice: u8) -> Vec<u8> {
    let about = &about[..about.len().min(quote_max)];
    let mut message = vec![0; 8 + about.len()];
    let (protocol, len) = match (src, dst) {
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            let error = match choice % 3 {
                0 => Icmpv6Error::PacketTooBig { mtu: 1280 },
                1 => Icmpv6Error::TimeExceeded,
                _ => Icmpv6Error::Unreachable { code: choice },
            };
            (protocol::ICMPV6, icmpv6::emit_error(&mut message, src, dst, error, about))
        }
        _ => {
            let error = match choice % 3 {
                0 => IcmpError::FragmentationNeeded { mtu: 576 },
                1 => IcmpError::TimeExceeded,
                _ => IcmpError::Unreachable { code: choice },
            };
            (protocol::ICMP, icmp::emit_error(&mut message, error, about))
        }
    };
    ip_frame(link, src, dst, protocol, 64, &message[..len.unwrap_or(0)])
}

pub fn v4(a: u8, b: u8, c: u8, d: u8) -> IpAddr {
    Ipv4Addr::new(a, b, c, d).into()
}

pub fn v6(net: u16, host: u16) -> IpAddr {
    Ipv6Addr::new(0x2001, 0xdb8, net, 0, 0, 0, 0, host).into()
}
