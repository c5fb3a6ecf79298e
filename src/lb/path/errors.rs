//! Turns a packet that cannot go on into the ICMP error that its sender is due (RFC 1812 4.3.2, RFC 4443 2.4).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::At;
use super::content;
use super::echo::TTL;
use super::family::Family;
use crate::lb::packet::Packet;
use crate::lb::verdict::{DropReason, Verdict};
use crate::wire::ethernet::{self, EtherType, MacAddr};
use crate::wire::icmp::{self, IcmpError};
use crate::wire::icmpv6::{self, Icmpv6Error};
use crate::wire::ipv4::Ipv4Repr;
use crate::wire::ipv6::Ipv6Repr;
use crate::wire::parse::{Fragment, Kind, Parsed};
use crate::wire::protocol;

/// Largest error with its Ethernet header: IPv6 errors are at most 1280 bytes (RFC 4443 2.4 c).
const FRAME_MAX: usize = 1280 + ethernet::HEADER_LEN + ethernet::TAG_LEN;

/// TTL or hop limit ran out on forwarding.
#[cold]
pub(super) fn time_exceeded<P: Packet>(at: &mut At, packet: &mut P, parsed: &Parsed) -> Verdict {
    let reason = DropReason::TtlExceeded;
    match parsed.kind {
        Kind::V4 => v4(at, packet, parsed, IcmpError::TimeExceeded, reason),
        _ => v6(at, packet, parsed, Icmpv6Error::TimeExceeded, reason),
    }
}

/// The packet does not fit; `mtu` in bytes is what does. Without DF there is no error, and the packet is dropped.
#[cold]
pub(super) fn too_big<P: Packet>(at: &mut At, packet: &mut P, parsed: &Parsed, mtu: u16) -> Verdict {
    let reason = DropReason::TooBig;
    match parsed.kind {
        Kind::V4 if !parsed.df => Verdict::Drop(reason),
        Kind::V4 => v4(at, packet, parsed, IcmpError::FragmentationNeeded { mtu }, reason),
        _ => v6(at, packet, parsed, Icmpv6Error::PacketTooBig { mtu: mtu.into() }, reason),
    }
}

/// No errors about errors, later fragments, group addresses or sources that are nobody (RFC 1122 3.2.2).
fn is_due<A: Family>(at: &mut At, frame: &[u8], parsed: &Parsed, src: A) -> bool {
    let is_icmp_error = match (parsed.protocol, frame.get(usize::from(parsed.l4))) {
        (protocol::ICMP, Some(&kind)) => icmp::is_error(kind),
        (protocol::ICMPV6, Some(&kind)) => icmpv6::is_error(kind),
        _ => false,
    };
    let to_group = ethernet::dst(frame).is_none_or(MacAddr::is_multicast);
    let due = !is_icmp_error && parsed.fragment != Fragment::Later && !to_group && !src.is_martian();
    due && at.shard.errors.allow(at.now)
}

fn v4<P: Packet>(at: &mut At, packet: &mut P, parsed: &Parsed, error: IcmpError, reason: DropReason) -> Verdict {
    let key = parsed.five_tuple_v4(packet.bytes());
    if !is_due::<Ipv4Addr>(at, packet.bytes(), parsed, key.src) {
        return Verdict::Drop(reason);
    }
    let done = build(at, packet, parsed, key.src.into(), EtherType::IPV4, |frame, source, quoted| {
        let source = Ipv4Addr::of(source.unwrap_or(key.dst.into()))?;
        let (ip, message) = frame.split_at_mut_checked(crate::wire::ipv4::HEADER_LEN)?;
        let len = icmp::emit_error(message, error, quoted)?;
        let header = Ipv4Repr {
            src: source,
            dst: key.src,
            protocol: protocol::ICMP,
            ttl: TTL,
            // RFC 1812 4.3.2.5: errors go with precedence internetwork control.
            traffic_class: 0xc0,
            id: 0,
            df: false,
            payload_len: u16::try_from(len).ok()?,
        };
        Some(header.emit(ip)? + len)
    });
    verdict(at, done, reason)
}

fn v6<P: Packet>(at: &mut At, packet: &mut P, parsed: &Parsed, error: Icmpv6Error, reason: DropReason) -> Verdict {
    let key = parsed.five_tuple_v6(packet.bytes());
    if !is_due::<Ipv6Addr>(at, packet.bytes(), parsed, key.src) {
        return Verdict::Drop(reason);
    }
    let done = build(at, packet, parsed, key.src.into(), EtherType::IPV6, |frame, source, quoted| {
        let source = Ipv6Addr::of(source.unwrap_or(key.dst.into()))?;
        let (ip, message) = frame.split_at_mut_checked(crate::wire::ipv6::HEADER_LEN)?;
        let len = icmpv6::emit_error(message, source, key.src, error, quoted)?;
        let header = Ipv6Repr {
            src: source,
            dst: key.src,
            next_header: protocol::ICMPV6,
            hop_limit: TTL,
            traffic_class: 0,
            flow_label: 0,
            payload_len: u16::try_from(len).ok()?,
        };
        Some(header.emit(ip)? + len)
    });
    verdict(at, done, reason)
}

/// Builds the error's frame, back to the host that the packet came from, and makes it the packet's content. `fill`
/// gets the place of the IP packet, our address to speak from, and the packet to quote.
fn build<P: Packet>(
    at: &At,
    packet: &mut P,
    parsed: &Parsed,
    to: IpAddr,
    ethertype: EtherType,
    fill: impl FnOnce(&mut [u8], Option<IpAddr>, &[u8]) -> Option<usize>,
) -> Option<()> {
    let port = at.snapshot.port(at.port)?;
    // As much as can be quoted.
    packet.pull(FRAME_MAX);
    let old = packet.bytes();
    let quoted = old.get(usize::from(parsed.l3)..parsed.ip_end().min(old.len()))?;
    let mut frame = [0; FRAME_MAX];
    let l2_len = content::header(&mut frame, port, ethernet::src(old)?, ethertype)?;
    let ip_len = fill(frame.get_mut(l2_len..)?, port.source_for(to), quoted)?;
    content::replace(packet, frame.get(..l2_len + ip_len)?).then_some(())
}

fn verdict(at: &At, done: Option<()>, reason: DropReason) -> Verdict {
    match done {
        Some(()) => Verdict::Reply(at.port),
        None => Verdict::Drop(reason),
    }
}
