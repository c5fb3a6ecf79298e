//! Connections through full-NAT whose two sides are of different IP versions.
//!
//! Both directions of such a connection live in the IPv6 table, in which an IPv4 end has its mapped address (RFC 4291
//! 2.5.5.2). Packets that carry one are dropped, so the keys cannot be another connection's.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use super::crossing::{Ends, ErrorEnds, GROWTH, TranslateError, translate, translate_error};
use super::egress;
use super::family::Family;
use super::flow;
use super::{At, errors};
use crate::lb::packet::Packet;
use crate::lb::snapshot::{Backend, Hop};
use crate::lb::trace::Step;
use crate::lb::verdict::{DropReason, Verdict};
use crate::wire::parse::{FiveTuple, Kind, Parsed};

/// The verdict of an IPv4 packet, if its connection is one of these.
#[cold]
pub(super) fn known<P: Packet>(
    at: &mut At,
    packet: &mut P,
    parsed: &Parsed,
    key: &FiveTuple<Ipv6Addr>,
) -> Option<Verdict> {
    let hash = at.shard.hasher.hash(key);
    let slot = Ipv6Addr::table(at.shard).find(hash, key, at.now.tick())?;
    flow::known_across(at, packet, parsed, key, slot)
}

/// Whether an IPv4 packet may be of one of these; a service that has taken the place of a removed one does not cross itself.
#[inline]
pub(super) fn is_known<A: Family>(at: &At, key: &FiveTuple<A>) -> bool {
    let is_known = |key| !Ipv6Addr::table(at.shard).is_unknown(at.shard.hasher.hash(&key), &key);
    at.snapshot.crosses && A::mapped(key).is_some_and(is_known)
}

/// Whether a packet has to change its IP version to have this five-tuple.
#[inline]
pub(super) fn is_across<A: Family>(parsed: &Parsed, new: &FiveTuple<A>) -> bool {
    A::IS_V6 && (parsed.kind == Kind::V4) != new.dst.is_mapped()
}

/// Sends a packet on as one of the other IP version, to a backend or, without one, to a client.
#[cold]
pub(super) fn send<A: Family, P: Packet>(
    at: &mut At,
    packet: &mut P,
    parsed: &Parsed,
    new: &FiveTuple<A>,
    backend: Option<&Backend>,
) -> Verdict {
    packet.note(|| Step::Crosses);
    let (src, dst) = ends(new);
    let Some(Way { hop, mtu, id }) = way(at, dst.ip(), backend) else { return Verdict::Drop(DropReason::NoRoute) };
    match translate(packet, parsed, &Ends { src, dst, mtu, id }) {
        Ok(parsed) => leave(at, packet, &parsed, hop, backend),
        Err(TranslateError::TooBig { mtu }) => errors::too_big(at, packet, parsed, mtu),
        Err(error) => Verdict::Drop(error.reason()),
    }
}

/// Sends an ICMP error on as one of the other IP version, to the end whose packets come as the reverse of `new`.
#[cold]
pub(super) fn error<A: Family, P: Packet>(
    at: &mut At,
    packet: &mut P,
    parsed: &Parsed,
    new: &FiveTuple<A>,
    backend: Option<&Backend>,
) -> Verdict {
    packet.note(|| Step::Crosses);
    let (quoted_dst, quoted_src) = ends(new);
    // Routers of the other side have addresses that nobody on this one can use.
    let (src, dst) = (quoted_dst.ip(), quoted_src.ip());
    let Some(Way { hop, mtu, id }) = way(at, dst, backend) else { return Verdict::Drop(DropReason::NoRoute) };
    match translate_error(packet, parsed, &ErrorEnds { src, dst, quoted_src, quoted_dst, mtu, id }) {
        Ok(parsed) => leave(at, packet, &parsed, hop, backend),
        Err(error) => Verdict::Drop(error.reason()),
    }
}

/// Source and destination, each in its own IP version.
fn ends<A: Family>(tuple: &FiveTuple<A>) -> (SocketAddr, SocketAddr) {
    let end = |address: A, port| SocketAddr::new(address.into().to_canonical(), port);
    (end(tuple.src, tuple.sport), end(tuple.dst, tuple.dport))
}

/// How a packet leaves: its next hop, the largest packet there in bytes, and an identification that nobody can guess.
struct Way {
    hop: Hop,
    mtu: u16,
    id: u16,
}

fn way(at: &mut At, dst: IpAddr, backend: Option<&Backend>) -> Option<Way> {
    let hop = match backend {
        Some(backend) => backend.hop,
        None => at.snapshot.routes.find(dst),
    }?;
    let mtu = at.snapshot.port(hop.port).map_or(0, |port| port.mtu);
    Some(Way { hop, mtu, id: at.shard.local_ports.draw() as u16 })
}

fn leave<P: Packet>(at: &mut At, packet: &mut P, parsed: &Parsed, hop: Hop, backend: Option<&Backend>) -> Verdict {
    let leaving = flow::plain(parsed);
    match backend {
        Some(backend) => egress::to_backend(at, packet, parsed, backend, &leaving),
        None => egress::to_hop(at, packet, hop, &leaving).0,
    }
}

/// The largest packet of a client that still fits the backend's port, in bytes, so that nothing is added to one that will not.
pub(super) fn mtu_for_client(parsed: &Parsed, backend: &Backend) -> u16 {
    match (parsed.kind, backend.address) {
        (Kind::V4, IpAddr::V6(_)) => backend.mtu.saturating_sub(GROWTH),
        (Kind::V6, IpAddr::V4(_)) => backend.mtu.saturating_add(GROWTH),
        _ => backend.mtu,
    }
}
