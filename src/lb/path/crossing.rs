//! Takes packets from one IP version to the other (RFC 7915).
//!
//! The addresses and ports on the other side are the caller's; everything else follows from the packet. Whatever fails
//! leaves the packet as it was.

mod error;
mod header;
mod kinds;
mod message;

pub(super) use error::TranslateError;
pub(super) use message::{ErrorEnds, translate_error};

use std::net::{IpAddr, SocketAddr};

use crate::lb::packet::Packet;
use crate::wire::checksum::{self, Delta};
use crate::wire::ipv6;
use crate::wire::parse::{Fragment, Kind, Parsed};
use crate::wire::protocol;
use crate::wire::udp::UdpPacket;
use header::{Carried, Pair};

/// The smallest MTU that IPv6 has (RFC 8200 section 5), in bytes.
const IPV6_MTU_MIN: u16 = 1280;
/// The smallest MTU that IPv4 has (RFC 791 section 3.2), in bytes.
const IPV4_MTU_MIN: u16 = 68;
/// How much longer the IPv6 header is than the IPv4 header, in bytes.
pub(super) const GROWTH: u16 = 20;

/// Where a packet goes on the other side.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ends {
    /// Source, of the other family than the packet's.
    pub src: SocketAddr,
    /// Destination, of the same family as the source.
    pub dst: SocketAddr,
    /// Bytes of the largest packet on the link that it leaves by.
    pub mtu: u16,
    /// Identification of an IPv4 packet made from an IPv6 packet that had none; nobody can guess it (RFC 7739).
    pub id: u16,
}

/// Makes a TCP or UDP packet one of the other family, with one less in its TTL, and returns what [`parse`] would say of it
/// then. The link-layer header stays what it was, but for the ethertype.
///
/// The TTL is above 1. Upper-layer checksums stay as right or as wrong as they were.
///
/// # Errors
/// What stands in the way; the packet is as it was. [`TranslateError::TooBig`] is what the sender should be told.
///
/// [`parse`]: crate::wire::parse::parse
#[inline(never)]
pub(super) fn translate<P: Packet>(packet: &mut P, parsed: &Parsed, ends: &Ends) -> Result<Parsed, TranslateError> {
    let frame = packet.bytes();
    let pair = Pair::across(parsed.kind, ends.src.ip(), ends.dst.ip())?;
    if !matches!(parsed.protocol, protocol::TCP | protocol::UDP) {
        return Err(TranslateError::Protocol(parsed.protocol));
    }
    let carried = Carried::of_packet(frame, parsed)?;
    let ip_len = fitting_len(parsed, &pair, &carried, ends.mtu)?;
    check_upper_layer(frame, parsed)?;
    let addresses = addresses_delta(frame, parsed, &pair);

    let new = pair.header_len(&carried);
    let l3 = usize::from(parsed.l3);
    make_room(packet, l3, usize::from(parsed.l4).saturating_sub(l3), new)?;
    packet.truncate(l3 + usize::from(ip_len));
    let frame = packet.bytes_mut();
    pair.put_ethertype(frame, l3);
    if let Some((_, ip)) = frame.split_at_mut_checked(l3) {
        pair.emit(&carried, ends.id, ip);
        if let (Some(l4), true) = (ip.get_mut(new..), parsed.fragment != Fragment::Later) {
            rewrite_upper_layer(l4, parsed.protocol, addresses, (ends.src.port(), ends.dst.port()));
            fill_udp_checksum(l4, parsed.protocol, &pair);
        }
    }
    Ok(describe(parsed, &pair, &carried, ip_len, ends))
}

/// Length of the packet on the other side, if its link takes it.
fn fitting_len(parsed: &Parsed, pair: &Pair, carried: &Carried, mtu: u16) -> Result<u16, TranslateError> {
    let header_len = pair.header_len(carried);
    let len = header_len + usize::from(carried.payload_len);
    if let Ok(len) = u16::try_from(len)
        && len <= mtu
    {
        return Ok(len);
    }
    // What the sender is told is in terms of its own packets, and nothing that its family need not heed (RFC 7915
    // sections 4 and 5; RFC 8200 section 5).
    let told = match pair {
        Pair::V6(..) if parsed.df => {
            let growth = header_len.saturating_sub(ipv6::HEADER_LEN) as u16 + GROWTH;
            Some(mtu.saturating_sub(growth).max(IPV4_MTU_MIN))
        }
        Pair::V4(..) if parsed.ip_len > IPV6_MTU_MIN => Some(mtu.saturating_add(GROWTH).max(IPV6_MTU_MIN)),
        _ => None,
    };
    Err(match told {
        Some(mtu) => TranslateError::TooBig { mtu },
        None => TranslateError::MustFragment { len: len as u32, mtu },
    })
}

/// UDP without a checksum has to get one for IPv6, which takes the whole datagram (RFC 7915 section 4.5).
fn check_upper_layer(frame: &[u8], parsed: &Parsed) -> Result<(), TranslateError> {
    if parsed.kind != Kind::V4 || parsed.protocol != protocol::UDP || parsed.fragment == Fragment::Later {
        return Ok(());
    }
    let l4 = usize::from(parsed.l4);
    let here = frame.get(l4..).unwrap_or_default();
    let Ok(udp) = UdpPacket::new_checked(here) else { return Err(TranslateError::NotContiguous(l4)) };
    match udp.checksum() {
        0 if parsed.fragment != Fragment::None => Err(TranslateError::FragmentWithoutChecksum),
        0 if usize::from(udp.total_len()) > here.len() => {
            Err(TranslateError::NotContiguous(l4 + usize::from(udp.total_len())))
        }
        _ => Ok(()),
    }
}

/// What the new addresses do to the upper layer's checksum.
fn addresses_delta(frame: &[u8], parsed: &Parsed, new: &Pair) -> Delta {
    let (src, dst): (IpAddr, IpAddr) = match parsed.kind {
        Kind::V4 => {
            let old = parsed.five_tuple_v4(frame);
            (old.src.into(), old.dst.into())
        }
        _ => {
            let old = parsed.five_tuple_v6(frame);
            (old.src.into(), old.dst.into())
        }
    };
    let (new_src, new_dst) = new.addresses();
    Delta::default().replace_ip(src, new_src).replace_ip(dst, new_dst)
}

/// Changes the length of the header behind the first `l3` bytes from `old` to `new` bytes and moves those along.
fn make_room<P: Packet>(packet: &mut P, l3: usize, old: usize, new: usize) -> Result<(), TranslateError> {
    if let Some(growth @ 1..) = new.checked_sub(old) {
        if !packet.grow_front(growth) {
            return Err(TranslateError::NoHeadroom(growth));
        }
        if let Some(start) = packet.bytes_mut().get_mut(..growth + l3) {
            start.copy_within(growth.., 0);
        }
    } else {
        let shrinkage = old - new;
        if let Some(start) = packet.bytes_mut().get_mut(..shrinkage + l3) {
            start.copy_within(..l3, shrinkage);
        }
        packet.shrink_front(shrinkage);
    }
    Ok(())
}

/// Puts the ports, and keeps the checksum as right or as wrong as it was, as far as they are there.
fn rewrite_upper_layer(l4: &mut [u8], protocol: u8, addresses: Delta, ports: (u16, u16)) {
    let Some(place) = l4.first_chunk_mut::<4>() else { return };
    let old = u32::from_be_bytes(*place);
    let new = u32::from(ports.0) << 16 | u32::from(ports.1);
    *place = new.to_be_bytes();
    let delta = addresses.replace_u32(old, new);
    let Some(place) = checksum_at(protocol).and_then(|at| l4.get_mut(at..)?.first_chunk_mut()) else { return };
    let check = u16::from_be_bytes(*place);
    *place = if protocol == protocol::UDP { delta.apply_udp(check) } else { delta.apply(check) }.to_be_bytes();
}

/// Where the upper layer's header has its checksum.
fn checksum_at(protocol: u8) -> Option<usize> {
    match protocol {
        protocol::TCP => Some(16),
        protocol::UDP => Some(6),
        _ => None,
    }
}

/// Works out the checksum of a whole UDP datagram that goes to IPv6 without one.
fn fill_udp_checksum(l4: &mut [u8], protocol: u8, pair: &Pair) {
    if let (&Pair::V6(src, dst), protocol::UDP) = (pair, protocol)
        && let Ok(mut udp) = UdpPacket::new_checked(l4)
        && udp.checksum() == 0
    {
        udp.fill_checksum(checksum::pseudo_v6(src, dst, protocol::UDP, udp.total_len().into()));
    }
}

/// What there is to say of the packet on the other side.
fn describe(parsed: &Parsed, pair: &Pair, carried: &Carried, ip_len: u16, ends: &Ends) -> Parsed {
    let l4 = parsed.l3 + pair.header_len(carried) as u16;
    let ports = match parsed.fragment {
        Fragment::Later => (0, 0),
        _ => (ends.src.port(), ends.dst.port()),
    };
    let ip_id = match pair {
        Pair::V4(..) => carried.ipv4_id(ends.id),
        Pair::V6(..) => 0,
    };
    let fragment_id = match pair {
        _ if parsed.fragment == Fragment::None => 0,
        Pair::V4(..) => ip_id.into(),
        Pair::V6(..) => parsed.fragment_id,
    };
    Parsed {
        kind: pair.kind(),
        l4,
        ip_len,
        ip_id,
        fragment_id,
        sport: ports.0,
        dport: ports.1,
        ttl: carried.ttl,
        df: pair.is_df(carried),
        ..*parsed
    }
}
