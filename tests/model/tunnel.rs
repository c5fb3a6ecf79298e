//! Headers of tunnels: GRE by RFC 2784, IP in IP by RFC 2003, 2473 and 4213, and GUE, of which variant 1 is UDP and then the
//! packet at once.

use std::net::IpAddr;

use crate::packet::{UDP, fix_header, fix_l4, l4_sum};
use crate::read::{Ip, word};
use crate::world::Mode;

/// The port that backends take GUE on.
pub const GUE_PORT: u16 = 6080;

/// What the product chooses by itself so that flows take different ways (RFC 6438, RFC 8086).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Entropy {
    /// Of an outer IPv6 header.
    pub label: u32,
    /// Of GUE.
    pub source_port: u16,
}

/// Bytes that a tunnel to this address adds.
pub fn overhead(mode: Mode, to: IpAddr) -> usize {
    let between = match mode {
        Mode::Gre => 4,
        Mode::Gue => 8,
        _ => 0,
    };
    between + if to.is_ipv4() { 20 } else { 40 }
}

/// A packet in a tunnel. `check` is what GUE has as its UDP checksum, if that is one of those that it may be.
pub fn wrap(mode: Mode, ip: &Ip, (from, to): (IpAddr, IpAddr), entropy: Entropy, check: u16) -> Vec<u8> {
    let between = match mode {
        Mode::Gre => [[0, 0], if ip.is_v4 { [0x08, 0x00] } else { [0x86, 0xdd] }].concat(),
        Mode::Gue => udp_header(ip, (from, to), entropy.source_port, check),
        _ => Vec::new(),
    };
    let protocol = match mode {
        Mode::Gre => 47,
        Mode::Gue => UDP,
        _ if ip.is_v4 => 4,
        _ => 41,
    };
    let len = (between.len() + ip.bytes.len()) as u16;
    // GRE leaves the label alone.
    let label = if mode == Mode::Gre { 0 } else { entropy.label };
    [outer_header(ip, (from, to), protocol, len, label), between, ip.bytes.clone()].concat()
}

fn outer_header(ip: &Ip, ends: (IpAddr, IpAddr), protocol: u8, len: u16, label: u32) -> Vec<u8> {
    match ends {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            // Where fragmenting is forbidden, an identification has no meaning.
            let (id, flags) = if ip.df() { ([0, 0], 0x40) } else { ([ip.bytes[4], ip.bytes[5]], 0) };
            let mut header = vec![0x45, ip.class()];
            header.extend((20 + len).to_be_bytes());
            header.extend(id);
            header.extend([flags, 0, 64, protocol, 0, 0]);
            header.extend(from.octets());
            header.extend(to.octets());
            fix_header(&mut header);
            header
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let mut header = (6 << 28 | u32::from(ip.class()) << 20 | label).to_be_bytes().to_vec();
            header.extend(len.to_be_bytes());
            header.extend([protocol, 64]);
            header.extend(from.octets());
            header.extend(to.octets());
            header
        }
        _ => panic!("a tunnel between two families"),
    }
}

/// Over IPv4 there is no checksum, over IPv6 there is one. It is right where the packet's own is; where that is wrong, it may be
/// as wrong, as the backend drops the packet then, one header earlier or later.
fn udp_header(ip: &Ip, (from, to): (IpAddr, IpAddr), source_port: u16, check: u16) -> Vec<u8> {
    let mut datagram = [source_port.to_be_bytes(), GUE_PORT.to_be_bytes()].concat();
    datagram.extend(((8 + ip.bytes.len()) as u16).to_be_bytes());
    datagram.extend([0, 0]);
    datagram.extend(&ip.bytes);
    if from.is_ipv6() {
        fix_l4(from, to, UDP, &mut datagram);
        let right = word(&datagram, 6) as u16;
        datagram[6..8].copy_from_slice(&check.to_be_bytes());
        let error = l4_sum(from, to, UDP, &datagram) % 0xffff;
        let is_as_wrong = ip.has_checksum() && error == ip.l4_error() && check != 0;
        if !is_as_wrong {
            datagram[6..8].copy_from_slice(&right.to_be_bytes());
        }
    }
    datagram.truncate(8);
    datagram
}
