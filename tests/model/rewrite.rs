//! What NAT changes in packets: translation by RFC 3022, every checksum worked out from the whole packet.

use std::net::IpAddr;

use crate::packet::{UDP, checksum_at, fix_header, fix_l4, l4_sum, octets, ones_sum};
use crate::read::{Ip, Quote, word};

/// An address and a port.
pub type Socket = (IpAddr, u16);

/// A TCP or UDP packet from `src` to `dst`, one hop older.
///
/// A right checksum is worked out anew. A wrong one stays as wrong as it was, so that its receiver notices (rule 8).
pub fn translate(ip: &Ip, src: Socket, dst: Socket) -> Vec<u8> {
    let mut bytes = ip.bytes.clone();
    put_addresses(&mut bytes, ip.is_v4, src.0, dst.0);
    bytes[ip.ttl_at()] -= 1;
    if ip.is_v4 {
        fix_header(&mut bytes);
    }
    if ip.is_later() {
        return bytes;
    }
    put(&mut bytes, ip.l4, src.1);
    put(&mut bytes, ip.l4 + 2, dst.1);
    if ip.is_fragment {
        follow(&mut bytes[ip.l4..], ip.protocol, ip.ends(), (src, dst));
        return bytes;
    }
    let has_none = ip.protocol == UDP && word(ip.upper(), 6) == 0;
    if has_none {
        return bytes;
    }
    keep_error(&mut bytes[ip.l4..ip.l4 + ip.covered().len()], ip, src.0, dst.0);
    bytes
}

/// Gives what `ip` carries, with new ports and between new addresses, a checksum that is as far from right as that of `ip` was.
pub fn keep_error(upper: &mut [u8], ip: &Ip, src: IpAddr, dst: IpAddr) {
    let (at, error) = (checksum_at(ip.protocol), ip.l4_error());
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
}

/// An ICMP error through NAT: it goes from `src` to `dst` and quotes a packet from `quoted.0` to `quoted.1`.
pub fn translate_error(ip: &Ip, quote: &Quote, src: IpAddr, dst: IpAddr, quoted: (Socket, Socket)) -> Vec<u8> {
    let mut bytes = ip.bytes.clone();
    put_addresses(&mut bytes, ip.is_v4, src, dst);
    bytes[ip.ttl_at()] -= 1;
    if ip.is_v4 {
        fix_header(&mut bytes);
    }
    let message = &mut bytes[ip.l4..];
    translate_quote(&mut message[8..], quote, quoted);
    fix_l4(src, dst, ip.protocol, message);
    bytes
}

fn translate_quote(bytes: &mut [u8], quote: &Quote, (src, dst): (Socket, Socket)) {
    put_addresses(bytes, quote.is_v4, src.0, dst.0);
    if quote.is_v4 {
        fix_header(bytes);
    }
    put(bytes, quote.l4, src.1);
    put(bytes, quote.l4 + 2, dst.1);
    if let Some(ends) = quote.ends.filter(|_| quote.end >= quote.l4 + checksum_at(quote.protocol) + 2) {
        follow(&mut bytes[quote.l4..], quote.protocol, ends, (src, dst));
    }
}

/// Where what a checksum covers is not all there it can only follow the change: for each word that it covers, by as much as that
/// has changed.
pub fn follow(upper: &mut [u8], protocol: u8, (was_src, was_dst): (Socket, Socket), (src, dst): (Socket, Socket)) {
    let at = checksum_at(protocol);
    let check = word(upper, at) as u16;
    if protocol == UDP && check == 0 {
        return;
    }
    let words = |ends: [Socket; 2]| {
        ends.iter().flat_map(|(address, port)| [octets(*address), port.to_be_bytes().to_vec()].concat()).collect()
    };
    let (gone, come): (Vec<u8>, Vec<u8>) = (words([was_src, was_dst]), words([src, dst]));
    let gone: Vec<u8> = gone.iter().map(|byte| !byte).collect();
    let sum = ones_sum(&[(!check).to_be_bytes().to_vec(), gone, come].concat());
    put(upper, at, if protocol == UDP && sum == 0xffff { 0xffff } else { !sum });
}

fn put(bytes: &mut [u8], at: usize, value: u16) {
    bytes[at..at + 2].copy_from_slice(&value.to_be_bytes());
}

fn put_addresses(bytes: &mut [u8], is_v4: bool, src: IpAddr, dst: IpAddr) {
    let (first, len) = if is_v4 { (12, 4) } else { (8, 16) };
    bytes[first..first + 2 * len].copy_from_slice(&[octets(src), octets(dst)].concat());
}
