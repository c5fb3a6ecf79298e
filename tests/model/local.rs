//! What the balancer says itself: answers to pings, and errors.

use std::net::IpAddr;

use crate::packet::{self, Mac, fix_header, fix_l4, octets};
use crate::read::{Frame, Ip};
use crate::world::Port;

/// TTL of what we send.
const TTL: u8 = 64;

/// The addresses of a port, with the link-local one that follows from its MAC address (RFC 4291 appendix A).
pub fn addresses(port: &Port) -> impl Iterator<Item = IpAddr> {
    let m = port.mac;
    let local = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, m[0] ^ 2, m[1], m[2], 0xff, 0xfe, m[3], m[4], m[5]];
    port.addresses.iter().map(|&(address, _)| address).chain([IpAddr::from(local)])
}

/// Whether two addresses share the first `len` bits.
pub fn is_near(a: IpAddr, b: IpAddr, len: u32) -> bool {
    let bits = |addr: IpAddr| octets(addr).into_iter().map(|byte| format!("{byte:08b}")).collect::<String>();
    a.is_ipv4() == b.is_ipv4() && bits(a)[..len as usize] == bits(b)[..len as usize]
}

/// Whether nobody can send from an address (RFC 1812 5.3.7).
pub fn is_martian(addr: IpAddr) -> bool {
    match addr {
        IpAddr::V4(a) => matches!(a.octets(), [0 | 127 | 224..=239, ..] | [255, 255, 255, 255]),
        IpAddr::V6(a) => matches!(a.segments(), [0xff00..=0xffff, ..] | [0, 0, 0, 0, 0, 0, 0, 0 | 1]),
    }
}

/// A frame from a port.
pub fn ethernet(port: &Port, to: Mac, packet: &[u8]) -> Vec<u8> {
    let ethertype = if packet[0] >> 4 == 4 { packet::IPV4 } else { packet::IPV6 };
    packet::ethernet(to, port.mac, &port.vlan.into_iter().collect::<Vec<_>>(), ethertype, packet)
}

/// The answer to an echo request: the same frame, turned round.
pub fn echo(port: &Port, bytes: &[u8], frame: &Frame, ip: &Ip) -> Vec<u8> {
    let mut answer = bytes.to_vec();
    answer[..6].copy_from_slice(&frame.src_mac);
    answer[6..12].copy_from_slice(&port.mac);
    let packet = &mut answer[frame.start..frame.start + ip.bytes.len()];
    let (first, len) = if ip.is_v4 { (12, 4) } else { (8, 16) };
    packet[first..first + len].copy_from_slice(&octets(ip.dst));
    packet[first + len..first + 2 * len].copy_from_slice(&octets(ip.src));
    packet[ip.ttl_at()] = TTL;
    if ip.is_v4 {
        fix_header(packet);
    }
    let message = &mut packet[ip.l4..];
    message[0] = if ip.is_v4 { 0 } else { 129 };
    fix_l4(ip.dst, ip.src, ip.protocol, message);
    answer
}

/// Whether an ICMP packet is an error, about which there are no others.
pub fn is_error(ip: &Ip) -> bool {
    let kind = ip.upper()[0];
    if ip.is_v4 { matches!(kind, 3 | 4 | 5 | 11 | 12) } else { kind < 128 }
}

/// An error about a packet that came in by `port`, to whom it came from (RFC 792, RFC 4443 section 3).
pub fn error(port: &Port, about: &Frame, ip: &Ip, kind: [u8; 2], mtu: usize) -> Vec<u8> {
    let own = || port.addresses.iter().filter(|(own, _)| own.is_ipv4() == ip.is_v4);
    let near = own().find(|&&(own, len)| is_near(ip.src, own, len));
    let from = near.or_else(|| own().next()).map_or(ip.dst, |(own, _)| *own);
    // 576 bytes for IPv4, 1280 for IPv6, all headers included.
    let quote = &ip.bytes[..ip.bytes.len().min(if ip.is_v4 { 576 - 28 } else { 1280 - 48 })];
    let mut message = vec![kind[0], kind[1], 0, 0];
    message.extend((mtu as u32).to_be_bytes());
    message.extend(quote);
    let protocol = if ip.is_v4 { packet::ICMP } else { packet::ICMP6 };
    fix_l4(from, ip.src, protocol, &mut message);
    let mut error = packet::Ip::new(from, ip.src, protocol, message).ttl(TTL);
    if ip.is_v4 {
        // Precedence internetwork control (RFC 1812 4.3.2.5).
        error = error.tos(0xc0).fragment(0);
        error.id = 0;
    }
    ethernet(port, about.src_mac, &error.bytes())
}
