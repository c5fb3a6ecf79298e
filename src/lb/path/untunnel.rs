//! Packets that an outer tier of balancers sends here in tunnels: taken out of them, to be balanced like any other.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::addresses;
use crate::lb::packet::Packet;
use crate::lb::snapshot::{Local, Port, Snapshot};
use crate::lb::verdict::DropReason;
use crate::wire::checksum::Delta;
use crate::wire::ethernet::{EtherType, HEADER_LEN, TAG_LEN};
use crate::wire::gre::Gre;
use crate::wire::parse::{Kind, Parsed, TAGS_MAX};
use crate::wire::protocol;

/// Longest Ethernet header.
const L2_MAX: usize = HEADER_LEN + TAG_LEN * TAGS_MAX as usize;

/// Takes a tunnel off that ends here, if `port` has an outer tier and the packet comes from there; `None` for every other
/// packet. The packet is then what its inside would have been as a frame of its own, for a VIP, and still to be parsed.
#[cold]
pub(super) fn take_off<P: Packet>(
    snapshot: &Snapshot,
    port: &Port,
    packet: &mut P,
    parsed: &Parsed,
) -> Option<Result<(), DropReason>> {
    if !matches!(parsed.protocol, protocol::GRE | protocol::IPV4 | protocol::IPV6) {
        return None;
    }
    let (src, dst) = match parsed.kind {
        Kind::V4 => addresses::<Ipv4Addr>(parsed, packet.bytes()),
        Kind::V6 => addresses::<Ipv6Addr>(parsed, packet.bytes()),
        Kind::Arp => return None,
    };
    let ends_here = matches!(snapshot.local(dst), Some(Local::Own(_))) && port.takes_off(src);
    ends_here.then(|| strip(snapshot, packet, parsed))
}

fn strip<P: Packet>(snapshot: &Snapshot, packet: &mut P, parsed: &Parsed) -> Result<(), DropReason> {
    let (l3, l4) = (usize::from(parsed.l3), usize::from(parsed.l4));
    // Ethernet padding is no part of what is inside.
    packet.truncate(parsed.ip_end());
    let is_whole = packet.bytes().len() == packet.frame_len();
    let frame = packet.bytes_mut();
    let (ethertype, start) = inside(frame.get(l4..).unwrap_or_default(), parsed.protocol, is_whole)?;
    let start = l4 + start;
    let inner = frame.get_mut(start..).unwrap_or_default();
    let dst = destination(inner, ethertype).ok_or(DropReason::TunnelInvalid)?;
    if !matches!(snapshot.local(dst), Some(Local::Vip { .. })) {
        return Err(DropReason::TunnelNotVip);
    }
    take_over_ecn(inner, parsed.traffic_class)?;
    let mut l2 = [0; L2_MAX];
    let header = l2.get_mut(..l3).ok_or(DropReason::TunnelInvalid)?;
    header.copy_from_slice(frame.get(..l3).unwrap_or_default());
    if let Some(place) = header.last_chunk_mut() {
        *place = ethertype.0.to_be_bytes();
    }
    packet.shrink_front(start - l3);
    if let Some(place) = packet.bytes_mut().get_mut(..l3) {
        place.copy_from_slice(header);
    }
    Ok(())
}

/// What is inside, and where; `is_whole` if `payload` is all that there is.
fn inside(payload: &[u8], carried: u8, is_whole: bool) -> Result<(EtherType, usize), DropReason> {
    match carried {
        protocol::IPV4 => Ok((EtherType::IPV4, 0)),
        protocol::IPV6 => Ok((EtherType::IPV6, 0)),
        _ => {
            let gre = Gre::parse(payload).map_err(|_| DropReason::TunnelInvalid)?;
            // A checksum over several pieces of a buffer is not worth its code: nobody sends one.
            let is_checked = gre.header_len == crate::wire::gre::HEADER_LEN || is_whole;
            if is_checked { Ok((gre.protocol, gre.header_len)) } else { Err(DropReason::TunnelInvalid) }
        }
    }
}

/// Where the packet inside goes; `None` if its header is cut or of another version. All else is for the parser.
fn destination(inner: &[u8], ethertype: EtherType) -> Option<IpAddr> {
    let version = inner.first()? >> 4;
    match ethertype {
        EtherType::IPV4 if version == 4 => {
            inner.get(16..)?.first_chunk::<4>().map(|&octets| Ipv4Addr::from(octets).into())
        }
        EtherType::IPV6 if version == 6 => {
            inner.get(24..)?.first_chunk::<16>().map(|&octets| Ipv6Addr::from(octets).into())
        }
        _ => None,
    }
}

const CE: u8 = 3;
const ECT_1: u8 = 1;
const NOT_ECT: u8 = 0;

/// The ECN field of a packet taken out of a tunnel; `None` if congestion has to be told to somebody who does not know ECN, which
/// is done by dropping it (RFC 6040 4.2).
fn ecn_inside(inner: u8, outer: u8) -> Option<u8> {
    match (inner & 3, outer & 3) {
        (NOT_ECT, CE) => None,
        (NOT_ECT, _) => Some(NOT_ECT),
        (_, CE) => Some(CE),
        (CE, _) => Some(CE),
        (_, ECT_1) => Some(ECT_1),
        (inner, _) => Some(inner),
    }
}

fn take_over_ecn(inner: &mut [u8], outer: u8) -> Result<(), DropReason> {
    let Some([first, second]) = inner.first_chunk().copied() else { return Err(DropReason::TunnelInvalid) };
    let is_v4 = first >> 4 == 4;
    let shift = if is_v4 { 0 } else { 4 };
    let ecn = ecn_inside(second >> shift, outer).ok_or(DropReason::TunnelCongested)?;
    let changed = second & !(3 << shift) | ecn << shift;
    if changed == second {
        return Ok(());
    }
    if let Some(place) = inner.get_mut(1) {
        *place = changed;
    }
    if let Some(check) = inner.get_mut(10..12).filter(|_| is_v4).and_then(|bytes| bytes.first_chunk_mut()) {
        let delta = Delta::default().replace_u16(second.into(), changed.into());
        *check = delta.apply(u16::from_be_bytes(*check)).to_be_bytes();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 6040 figure 4, row by row.
    #[test]
    fn ecn_is_that_of_rfc_6040() {
        let (ect_0, drop) = (2, None);
        let rows = [
            (NOT_ECT, [Some(NOT_ECT), Some(NOT_ECT), Some(NOT_ECT), drop]),
            (ect_0, [Some(ect_0), Some(ect_0), Some(ECT_1), Some(CE)]),
            (ECT_1, [Some(ECT_1), Some(ECT_1), Some(ECT_1), Some(CE)]),
            (CE, [Some(CE), Some(CE), Some(CE), Some(CE)]),
        ];
        for (inner, row) in rows {
            assert_eq!([NOT_ECT, ect_0, ECT_1, CE].map(|outer| ecn_inside(inner, outer)), row, "{inner}");
        }
    }
}
