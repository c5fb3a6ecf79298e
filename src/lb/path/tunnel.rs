//! Packets on their way into tunnels: the outer header, and what becomes of those that do not fit (RFC 4459).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::egress::{self, Leaving};
use super::{At, errors, icmp};
use crate::lb::connection::flags;
use crate::lb::packet::Packet;
use crate::lb::snapshot::{Backend, Inner, MtuPolicy, Outer, Vary};
use crate::lb::table::Words;
use crate::lb::trace::Step;
use crate::lb::verdict::{DropReason, Verdict};
use crate::wire::parse::{FiveTuple, Fragment, Kind, Parsed};
use crate::wire::protocol;
use crate::wire::tcp::TcpPacket;

/// Sends a packet as it is, but for a tunnel's headers before it.
#[inline]
pub(super) fn send<P: Packet>(at: &mut At, packet: &mut P, parsed: &Parsed, backend: &Backend) -> Verdict {
    let Some(outer) = &backend.outer else { return Verdict::Drop(DropReason::NoRoute) };
    if parsed.ttl == 0 {
        return Verdict::Drop(DropReason::TtlExceeded);
    }
    let mtu = at.shard.path_mtu(backend, at.now);
    packet.note(|| Step::Fits { len: usize::from(parsed.ip_len) + outer.overhead(), mtu });
    if usize::from(parsed.ip_len) + outer.overhead() > usize::from(mtu) {
        return too_long(at, packet, parsed, backend, outer, mtu);
    }
    wrap(at, packet, parsed, backend, outer, Inner::of(parsed))
}

/// It does not fit: in pieces, if that is allowed, else its sender is told.
#[cold]
fn too_long<P: Packet>(
    at: &mut At,
    packet: &mut P,
    parsed: &Parsed,
    backend: &Backend,
    outer: &Outer,
    mtu: u16,
) -> Verdict {
    let (inner, len) = (Inner::of(parsed), usize::from(parsed.ip_len) + outer.overhead());
    let fits_here = len <= usize::from(backend.mtu);
    // What is only too long for a link further on is cut by the router before it, which IPv6 routers do not do.
    let may_be_cut = (!inner.df || backend.mtu_policy == MtuPolicy::Fragment) && (outer.is_v4() || !fits_here);
    // The outer packet has a length of 16 bits as well.
    if !may_be_cut || len > usize::from(u16::MAX) {
        return errors::too_big(at, packet, parsed, mtu.saturating_sub(outer.overhead() as u16));
    }
    // Packets of many clients become packets between two hosts, so that their own identifications could meet (RFC 6864 4.3).
    packet.note(|| Step::Pieces);
    let id = (at.shard.fragment_id() as u16).to_be_bytes();
    match wrap(at, packet, parsed, backend, outer, Inner { df: false, id, ..inner }) {
        Verdict::Tx(port) if !fits_here => Verdict::Fragment(port),
        other => other,
    }
}

#[inline]
fn wrap<P: Packet>(
    at: &mut At,
    packet: &mut P,
    parsed: &Parsed,
    backend: &Backend,
    outer: &Outer,
    mut inner: Inner,
) -> Verdict {
    // Ethernet padding is no part of the packet and must not follow it into the tunnel.
    packet.truncate(parsed.ip_end());
    let frame = packet.bytes();
    if outer.has_entropy() {
        inner.entropy = entropy(&outer.vary(), frame, parsed);
    }
    let header = outer.header(&inner, frame.get(usize::from(parsed.l3)..).unwrap_or_default());
    let outer_bytes = header.get(..outer.overhead()).unwrap_or_default();
    let leaving = Leaving { l3: usize::from(parsed.l3), ethertype: outer.ethertype(), outer: outer_bytes };
    egress::to_backend(at, packet, parsed, backend, &leaving)
}

/// The same for all packets of a flow, and for errors about it, so that they take one way and keep their order.
fn entropy(vary: &Vary, frame: &[u8], parsed: &Parsed) -> u32 {
    if matches!(parsed.protocol, protocol::ICMP | protocol::ICMPV6)
        && let Some((src, dst, sport, dport, protocol)) = icmp::quoted_reversed(parsed, frame)
    {
        return match (src, dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                vary.entropy(&Words::of(&FiveTuple { src, dst, sport, dport, protocol }), false)
            }
            (IpAddr::V6(src), IpAddr::V6(dst)) => {
                vary.entropy(&Words::of(&FiveTuple { src, dst, sport, dport, protocol }), true)
            }
            _ => 0,
        };
    }
    // Only the first fragment has ports, so none of them counts.
    let has_ports = parsed.fragment == Fragment::None;
    let ports = |port: u16| if has_ports { port } else { 0 };
    match parsed.kind {
        Kind::V4 => {
            let tuple: FiveTuple<Ipv4Addr> = parsed.five_tuple_v4(frame);
            let tuple = FiveTuple { sport: ports(tuple.sport), dport: ports(tuple.dport), ..tuple };
            vary.entropy(&Words::of(&tuple), false)
        }
        _ => {
            let tuple: FiveTuple<Ipv6Addr> = parsed.five_tuple_v6(frame);
            let tuple = FiveTuple { sport: ports(tuple.sport), dport: ports(tuple.dport), ..tuple };
            vary.entropy(&Words::of(&tuple), true)
        }
    }
}

/// Lowers the segment size that a SYN of a connection to `backend` announces to what fits, if the service wants that.
#[inline]
pub(super) fn clamp<P: Packet>(at: &At, packet: &mut P, parsed: &Parsed, backend: &Backend) {
    let is_syn = parsed.protocol == protocol::TCP && parsed.tcp_flags & flags::SYN != 0;
    if is_syn && backend.mtu_policy == MtuPolicy::Clamp {
        clamp_syn(at, packet, parsed, backend);
    }
}

#[cold]
fn clamp_syn<P: Packet>(at: &At, packet: &mut P, parsed: &Parsed, backend: &Backend) {
    let there = backend.mtu.saturating_sub(backend.outer.as_ref().map_or(0, Outer::overhead) as u16);
    // Where replies pass here, what one end announces is for packets that the other sends.
    let back = at.snapshot.port(at.port).filter(|_| backend.mode.is_nat()).map_or(u16::MAX, |port| port.mtu);
    clamp_mss(packet.bytes_mut(), parsed, there.min(back));
}

/// Lowers the segment size that a SYN announces to what fits into packets of `mtu` bytes (RFC 6691 2), and says whether it did.
pub(super) fn clamp_mss(frame: &mut [u8], parsed: &Parsed, mtu: u16) -> bool {
    const TCP_LEN: u16 = 20;
    let ip_len = if parsed.kind == Kind::V4 { 20 } else { 40 };
    let segment = frame.get_mut(usize::from(parsed.l4)..).unwrap_or_default();
    TcpPacket::new_checked(segment).is_ok_and(|mut tcp| tcp.clamp_mss(mtu.saturating_sub(ip_len + TCP_LEN)))
}
