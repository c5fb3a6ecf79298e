//! What the balancer changes in packets: translation by RFC 3022 and tunnel headers by RFC 2784, every checksum worked
//! out from the whole packet.

use std::net::IpAddr;

use crate::packet::{TCP, UDP, checksum_at, fix_header, fix_l4, l4_sum, octets, ones_sum};
use crate::read::{Ip, Quote, word};

/// Which end of a packet is replaced.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    Src,
    Dst,
}

/// An address and a port.
pub type Socket = (IpAddr, u16);

/// A TCP or UDP packet with one end replaced and one hop older.
///
/// A right checksum is worked out anew. A wrong one stays as wrong as it was, so that its receiver notices (rule 8).
pub fn translate(ip: &Ip, end: End, to: Socket) -> Vec<u8> {
    let mut bytes = ip.bytes.clone();
    put_address(&mut bytes, ip.is_v4, end, to.0);
    put(&mut bytes, ip.l4 + if end == End::Dst { 2 } else { 0 }, to.1);
    bytes[ip.ttl_at()] -= 1;
    if ip.is_v4 {
        fix_header(&mut bytes);
    }
    let at = checksum_at(ip.protocol);
    let has_none = ip.protocol == UDP && word(ip.upper(), at) == 0;
    if has_none {
        return bytes;
    }
    let (src, dst) = if end == End::Src { (to.0, ip.dst) } else { (ip.src, to.0) };
    let error = ip.l4_error();
    let upper = &mut bytes[ip.l4..ip.l4 + ip.covered().len()];
    if error == 0 {
        fix_l4(src, dst, ip.protocol, upper);
    } else {
        put(upper, at, 0);
        // The one value of the field that leaves the same error: their sum is that of the rest, negated.
        let rest = u32::from(l4_sum(src, dst, ip.protocol, upper) % 0xffff);
        let check = (0xffff + u32::from(error) - rest) % 0xffff;
        let is_all_zeros = check == 0 && ip.protocol == UDP;
        put(upper, at, if is_all_zeros { 0xffff } else { check as u16 });
    }
    bytes
}

/// An ICMP error through NAT: one end of the packet around it, and the other end of the quoted one. `was` and `to` are what
/// the quoted end was and what it becomes; `outside` is what the packet's own end becomes.
pub fn translate_error(ip: &Ip, quote: &Quote, end: End, outside: IpAddr, was: Socket, to: Socket) -> Vec<u8> {
    let mut bytes = ip.bytes.clone();
    put_address(&mut bytes, ip.is_v4, end, outside);
    bytes[ip.ttl_at()] -= 1;
    if ip.is_v4 {
        fix_header(&mut bytes);
    }
    let quoted_end = if end == End::Src { End::Dst } else { End::Src };
    let (src, dst) = if end == End::Src { (outside, ip.dst) } else { (ip.src, outside) };
    let message = &mut bytes[ip.l4..];
    translate_quote(&mut message[8..], quote, quoted_end, was, to);
    fix_l4(src, dst, ip.protocol, message);
    bytes
}

fn translate_quote(bytes: &mut [u8], quote: &Quote, end: End, was: Socket, to: Socket) {
    put_address(bytes, quote.is_v4, end, to.0);
    if quote.is_v4 {
        fix_header(bytes);
    }
    put(bytes, quote.l4 + if end == End::Dst { 2 } else { 0 }, to.1);
    // What the checksum covers is cut off, so it can only follow the change: for each word that it covers, by as much as
    // that has changed.
    let at = quote.l4 + checksum_at(quote.protocol);
    if !matches!(quote.protocol, TCP | UDP) || bytes.len() < at + 2 {
        return;
    }
    let check = word(bytes, at) as u16;
    if quote.protocol == UDP && check == 0 {
        return;
    }
    let changed = |socket: Socket| [octets(socket.0), socket.1.to_be_bytes().to_vec()].concat();
    let gone: Vec<u8> = changed(was).iter().map(|byte| !byte).collect();
    let sum = ones_sum(&[(!check).to_be_bytes().to_vec(), gone, changed(to)].concat());
    let check = if quote.protocol == UDP && !sum == 0 { 0xffff } else { !sum };
    put(bytes, at, check);
}

/// A packet in a GRE tunnel.
pub fn gre(ip: &Ip, from: IpAddr, to: IpAddr) -> Vec<u8> {
    let mut outer = match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let total = (24 + ip.bytes.len()) as u16;
            // Where fragmenting is forbidden, an identification has no meaning.
            let (id, flags) = if ip.df() { ([0, 0], 0x40) } else { ([ip.bytes[4], ip.bytes[5]], 0) };
            let mut header = vec![0x45, ip.class()];
            header.extend(total.to_be_bytes());
            header.extend(id);
            header.extend([flags, 0, 64, 47, 0, 0]);
            header.extend(from.octets());
            header.extend(to.octets());
            fix_header(&mut header);
            header
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let mut header = vec![0x60 | ip.class() >> 4, ip.class() << 4, 0, 0];
            header.extend(((4 + ip.bytes.len()) as u16).to_be_bytes());
            header.extend([47, 64]);
            header.extend(from.octets());
            header.extend(to.octets());
            header
        }
        _ => panic!("a tunnel between two families"),
    };
    outer.extend([0, 0]);
    outer.extend(if ip.is_v4 { [0x08, 0x00] } else { [0x86, 0xdd] });
    outer.extend(&ip.bytes);
    outer
}

/// Bytes that a tunnel to this address adds.
pub fn gre_overhead(to: IpAddr) -> usize {
    if to.is_ipv4() { 24 } else { 44 }
}

fn put(bytes: &mut [u8], at: usize, value: u16) {
    bytes[at..at + 2].copy_from_slice(&value.to_be_bytes());
}

fn put_address(bytes: &mut [u8], is_v4: bool, end: End, to: IpAddr) {
    let (first, len) = if is_v4 { (12, 4) } else { (8, 16) };
    let at = if end == End::Dst { first + len } else { first };
    bytes[at..at + len].copy_from_slice(&octets(to));
}
