//! ICMP that comes in: echo requests are answered, errors go to the connection that they quote.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::egress;
use super::family::Family;
use super::flow;
use super::nat::{self, End};
use super::{At, crossed, echo, echo_nat, hash_for, neighbor, owners, punt, tunnel, tunnel_error};
use crate::lb::connection::Direction;
use crate::lb::packet::Packet;
use crate::lb::path_mtu::{MTU_MIN_4, MTU_MIN_6};
use crate::lb::snapshot::{Backend, Local};
use crate::lb::table::Entry;
use crate::lb::trace::Step;
use crate::lb::verdict::{DropReason, Verdict};
use crate::wire::checksum::Delta;
use crate::wire::ethernet::{self, MacAddr};
use crate::wire::icmp::{self, IcmpPacket};
use crate::wire::icmpv6::{self, Icmpv6Packet};
use crate::wire::parse::{FiveTuple, Kind, Parsed, Quote, QuoteError, parse_quote};

/// Length of the header before the quoted packet.
const HEADER_LEN: usize = icmp::HEADER_LEN;

/// The verdict of an ICMP message over IPv4.
pub(super) fn v4<P: Packet>(at: &mut At, packet: &mut P, parsed: &Parsed) -> Verdict {
    let key = parsed.five_tuple_v4(packet.bytes());
    let Some(message) = message(packet.bytes(), parsed) else { return Verdict::Drop(DropReason::Runt) };
    let Ok(view) = IcmpPacket::new_checked(message) else { return Verdict::Drop(DropReason::L4Truncated) };
    let (kind, is_right) = (view.kind(), view.is_checksum_valid());
    dispatch::<Ipv4Addr, P>(
        at,
        packet,
        parsed,
        key,
        Kinds {
            is_echo: kind == icmp::kind::ECHO_REQUEST,
            is_echo_reply: kind == icmp::kind::ECHO_REPLY,
            is_error: is_passed_on(kind),
            is_right,
        },
    )
}

/// The verdict of an ICMPv6 message, neighbour discovery included.
pub(super) fn v6<P: Packet>(at: &mut At, packet: &mut P, parsed: &Parsed) -> Verdict {
    let key = parsed.five_tuple_v6(packet.bytes());
    let Some(message) = message(packet.bytes(), parsed) else { return Verdict::Drop(DropReason::Runt) };
    let Ok(view) = Icmpv6Packet::new_checked(message) else { return Verdict::Drop(DropReason::L4Truncated) };
    let kind = view.kind();
    match kind {
        icmpv6::kind::NEIGHBOR_SOLICIT => return neighbor::solicited(at, packet, parsed, key.src, key.dst),
        icmpv6::kind::NEIGHBOR_ADVERT => return neighbor::advertised(at, packet, parsed, key.src, key.dst),
        _ => {}
    }
    // Groups are for neighbour discovery; nothing else is taken from a frame that more than one host got.
    if ethernet::dst(packet.bytes()).is_none_or(MacAddr::is_multicast) {
        return punt::or_drop(at, packet, parsed, DropReason::NotOurs);
    }
    let is_right = view.is_checksum_valid(key.src, key.dst);
    let kinds = Kinds {
        is_echo: kind == icmpv6::kind::ECHO_REQUEST,
        is_echo_reply: kind == icmpv6::kind::ECHO_REPLY,
        is_error: icmpv6::is_error(kind),
        is_right,
    };
    dispatch::<Ipv6Addr, P>(at, packet, parsed, key, kinds)
}

/// Errors that the end of a connection should know. Redirects are for routers' neighbours alone (RFC 1812 5.2.7.2), and
/// nobody may act on a source quench any more (RFC 6633).
fn is_passed_on(kind: u8) -> bool {
    icmp::is_error(kind) && !matches!(kind, icmp::kind::REDIRECT | icmp::kind::SOURCE_QUENCH)
}

/// The message without padding, if it lies in one piece.
fn message<'a>(frame: &'a [u8], parsed: &Parsed) -> Option<&'a [u8]> {
    frame.get(usize::from(parsed.l4)..parsed.ip_end())
}

struct Kinds {
    is_echo: bool,
    is_echo_reply: bool,
    is_error: bool,
    is_right: bool,
}

fn dispatch<A: Family, P: Packet>(
    at: &mut At,
    packet: &mut P,
    parsed: &Parsed,
    key: FiveTuple<A>,
    kinds: Kinds,
) -> Verdict {
    let is_local = at.snapshot.local(key.dst.into()).is_some();
    if !kinds.is_right {
        return Verdict::Drop(DropReason::IcmpChecksum);
    }
    match kinds {
        _ if is_local && key.src.is_martian() => Verdict::Drop(DropReason::Martian),
        Kinds { is_echo: true, .. } if let Some(punted) = punt::take(at, packet, parsed) => punted,
        Kinds { is_echo: true, .. } if is_local && let Some(passed) = echo_nat::request::<A, P>(at, packet, parsed) => {
            passed
        }
        Kinds { is_echo: true, .. } if is_local && parsed.kind == Kind::V4 => echo::v4(at, packet, parsed),
        Kinds { is_echo: true, .. } if is_local => echo::v6(at, packet, parsed),
        Kinds { is_error: true, .. } => match error::<A, P>(at, packet, parsed, key) {
            Verdict::Drop(reason @ DropReason::IcmpNoConnection) => punt::or_drop(at, packet, parsed, reason),
            verdict => verdict,
        },
        Kinds { is_echo_reply: true, .. }
            if !is_local && let Some(passed) = echo_nat::reply::<A, P>(at, packet, parsed) =>
        {
            passed
        }
        _ if is_local => punt::or_drop(at, packet, parsed, DropReason::IcmpNotServed),
        _ => Verdict::Drop(DropReason::NotOurs),
    }
}

/// The quoted packet and what it is, or why that cannot be told. Extensions behind it are no part of it.
pub(super) fn quote<'a>(frame: &'a [u8], parsed: &Parsed) -> Result<(&'a [u8], Quote), DropReason> {
    let message = message(frame, parsed).ok_or(DropReason::IcmpQuote)?;
    let len = match parsed.kind {
        Kind::V4 => IcmpPacket::new_checked(message).map(|view| view.quote().len()),
        _ => Icmpv6Packet::new_checked(message).map(|view| view.quote().len()),
    };
    let bytes = len.ok().and_then(|len| message.get(HEADER_LEN..HEADER_LEN + len)).ok_or(DropReason::IcmpQuote)?;
    match parse_quote(bytes) {
        Ok(quote) => Ok((bytes, quote)),
        Err(QuoteError::Checksum(_)) => Err(DropReason::IcmpChecksum),
        Err(_) => Err(DropReason::IcmpQuote),
    }
}

/// The tuple of a quoted packet's connection, seen from the other end: source, destination, ports and protocol; `None`
/// if the message is not an error or quotes neither ports nor an echo.
pub(super) fn quoted_reversed(parsed: &Parsed, frame: &[u8]) -> Option<(IpAddr, IpAddr, u16, u16, u8)> {
    let kind = *frame.get(usize::from(parsed.l4))?;
    let is_error = match parsed.kind {
        Kind::V4 => icmp::is_error(kind),
        _ => icmpv6::is_error(kind),
    };
    let (bytes, q) = quote(frame, parsed).ok().filter(|(_, q)| is_error && q.names_flow() && q.kind == parsed.kind)?;
    Some(match q.kind {
        Kind::V4 => {
            let t = q.five_tuple_v4(bytes).reversed();
            (t.src.into(), t.dst.into(), t.sport, t.dport, t.protocol)
        }
        _ => {
            let t = q.five_tuple_v6(bytes).reversed();
            (t.src.into(), t.dst.into(), t.sport, t.dport, t.protocol)
        }
    })
}

/// Whether an MTU that an error tells can be true (RFC 8201 4, RFC 791 3.1). 0 is of a router older than RFC 1191: hosts
/// know what to do (section 5 there). Every other error is believed.
fn is_believed(frame: &[u8], parsed: &Parsed) -> bool {
    let Some(message) = message(frame, parsed) else { return true };
    if parsed.kind == Kind::V4 {
        return IcmpPacket::new_checked(message).is_ok_and(|view| {
            let is_about_mtu =
                (view.kind(), view.code()) == (icmp::kind::DESTINATION_UNREACHABLE, icmp::code::FRAGMENTATION_NEEDED);
            !is_about_mtu || view.mtu() == 0 || view.mtu() >= MTU_MIN_4
        });
    }
    Icmpv6Packet::new_checked(message)
        .is_ok_and(|view| view.kind() != icmpv6::kind::PACKET_TOO_BIG || view.mtu() >= MTU_MIN_6.into())
}

/// An error, about a packet of some connection or of a tunnel of ours.
fn error<A: Family, P: Packet>(at: &mut At, packet: &mut P, parsed: &Parsed, key: FiveTuple<A>) -> Verdict {
    let unknown = if at.snapshot.local(key.dst.into()).is_some() {
        Verdict::Drop(DropReason::IcmpNoConnection)
    } else {
        Verdict::Drop(DropReason::NotOurs)
    };
    let quoted = match quote(packet.bytes(), parsed) {
        Ok((_, quoted)) => quoted,
        Err(reason) => return Verdict::Drop(reason),
    };
    if let Some(verdict) = tunnel_error::about_ours(at, packet, parsed, key.dst.into()) {
        return verdict;
    }
    let Some((src, dst, sport, dport, protocol)) = quoted_reversed(parsed, packet.bytes()) else { return unknown };
    let (Some(src), Some(dst)) = (A::of(src), A::of(dst)) else { return unknown };
    let tuple = FiveTuple { src, dst, sport, dport, protocol };
    let hash = at.shard.hasher.hash(&tuple);
    let table = A::table(at.shard);
    packet.note(|| Step::Quoted { src: flow::end(src, sport), dst: flow::end(dst, dport), protocol });
    let found = table.find(hash, &tuple, at.now.tick()).and_then(|slot| Some((slot, *table.entry(slot)?)));
    found.iter().for_each(|(slot, entry)| flow::note_connection(at, packet, entry, *slot));
    let found = found.map(|(_, entry)| entry);
    if found.is_none()
        && at.snapshot.crosses
        && key.dst == tuple.dst
        && let Some(mapped) = A::mapped(&tuple)
        && let Some(verdict) = across(at, packet, parsed, &quoted, &mapped)
    {
        return verdict;
    }
    let is_for_us = found.is_some() || matches!(at.snapshot.local(key.dst.into()), Some(Local::Vip { .. }));
    if is_for_us && !is_believed(packet.bytes(), parsed) {
        return Verdict::Drop(DropReason::IcmpMtu);
    }
    let backend = found.and_then(|e| at.snapshot.backend(e.backend)).filter(|b| b.serves);
    match (found, backend) {
        // What the quoted packet's sender gets must be addressed to it.
        (Some(entry), Some(backend)) => match entry.state.direction() {
            Direction::Request if key.dst == tuple.dst => {
                to_backend(at, packet, parsed, key.src, &quoted, &entry, backend)
            }
            Direction::Reply if key.dst == tuple.dst => to_client(at, packet, parsed, &quoted, &entry, backend),
            _ => unknown,
        },
        (None, _) if let Some(next) = owners::next_to_ask(at.shard, at.snapshot, at.port, tuple.dst.into()) => {
            Verdict::Handoff(next)
        }
        _ if key.dst == tuple.dst => by_hash(at, packet, parsed, key.src, &tuple).unwrap_or(unknown),
        _ => unknown,
    }
}

/// An error over IPv4 about a connection whose other side is IPv6, if it is about one.
#[cold]
fn across<P: Packet>(
    at: &mut At,
    packet: &mut P,
    parsed: &Parsed,
    quoted: &Quote,
    tuple: &FiveTuple<Ipv6Addr>,
) -> Option<Verdict> {
    let table = Ipv6Addr::table(at.shard);
    let slot = table.find(at.shard.hasher.hash(tuple), tuple, at.now.tick())?;
    let entry = *table.entry(slot)?;
    flow::note_connection(at, packet, &entry, slot);
    let backend = at.snapshot.backend(entry.backend).filter(|b| b.serves)?;
    if !is_believed(packet.bytes(), parsed) {
        return Some(Verdict::Drop(DropReason::IcmpMtu));
    }
    Some(match entry.state.direction() {
        Direction::Request => to_backend(at, packet, parsed, tuple.src, quoted, &entry, backend),
        Direction::Reply => to_client(at, packet, parsed, quoted, &entry, backend),
    })
}

/// No connection: the hash of the quoted tuple finds the backend in tunnel modes (RFC 7690).
fn by_hash<A: Family, P: Packet>(
    at: &mut At,
    packet: &mut P,
    parsed: &Parsed,
    from: A,
    tuple: &FiveTuple<A>,
) -> Option<Verdict> {
    let id = at.snapshot.find_service(tuple.dst.into(), tuple.protocol, tuple.dport)?;
    let service = at.snapshot.service(id).filter(|s| !s.mode.is_nat())?;
    let hash = hash_for(at.snapshot, Some(service), tuple);
    packet.note(|| Step::Service(id));
    packet.note(|| Step::ByHash { hash, slot: service.slot_of(hash), backend: service.pick(hash) });
    let backend = service.pick(hash).and_then(|id| at.snapshot.backend(id));
    let Some(backend) = backend else { return Some(Verdict::Drop(DropReason::NoBackend)) };
    at.shard.counters.stateless.add(1);
    Some(unchanged(at, packet, parsed, from.into(), backend))
}

/// Sends an error to a backend that replies to clients by itself.
fn unchanged<P: Packet>(at: &mut At, packet: &mut P, parsed: &Parsed, from: IpAddr, backend: &Backend) -> Verdict {
    if from == backend.address || at.snapshot.local(from).is_some() {
        return Verdict::Drop(DropReason::Looped);
    }
    packet.note(|| Step::To { backend: backend.id, mode: backend.mode });
    match backend.mode.encap() {
        Some(_) => tunnel::send(at, packet, parsed, backend),
        None => flow::direct(at, packet, parsed, backend),
    }
}

/// About a packet from the VIP to the client: the backend that sent it gets to know.
fn to_backend<A: Family, P: Packet>(
    at: &mut At,
    packet: &mut P,
    parsed: &Parsed,
    from: A,
    quoted: &Quote,
    entry: &Entry<A>,
    backend: &Backend,
) -> Verdict {
    if !backend.mode.is_nat() {
        return unchanged(at, packet, parsed, from.into(), backend);
    }
    packet.note(|| Step::To { backend: backend.id, mode: backend.mode });
    if parsed.ttl <= 1 {
        return Verdict::Drop(DropReason::TtlExceeded);
    }
    let Some(new) = echo_nat::other_side(at, entry, backend) else {
        return Verdict::Drop(DropReason::IcmpNoConnection);
    };
    if crossed::is_across(parsed, &new) {
        return crossed::error(at, packet, parsed, &new, Some(backend));
    }
    if parsed.ip_len > backend.mtu {
        return Verdict::Drop(DropReason::TooBig);
    }
    // A backend of full-NAT may know no way to the router, and takes packets from local addresses.
    let source = if new.src == entry.src { from } else { new.src };
    rewrite(packet.bytes_mut(), parsed, quoted, entry, &new, (from, source));
    egress::to_backend(at, packet, parsed, backend, &flow::plain(parsed))
}

/// About a packet from the client as NAT sent it on: the client gets to know, and sees only the VIP.
fn to_client<A: Family, P: Packet>(
    at: &mut At,
    packet: &mut P,
    parsed: &Parsed,
    quoted: &Quote,
    entry: &Entry<A>,
    backend: &Backend,
) -> Verdict {
    if parsed.ttl <= 1 {
        return Verdict::Drop(DropReason::TtlExceeded);
    }
    let Some(new) = echo_nat::other_side(at, entry, backend) else {
        return Verdict::Drop(DropReason::IcmpNoConnection);
    };
    if crossed::is_across(parsed, &new) {
        return crossed::error(at, packet, parsed, &new, None);
    }
    packet.note(|| Step::ToClient(flow::end(new.dst, new.dport)));
    let Some(hop) = A::route(&at.snapshot.routes, new.dst) else { return Verdict::Drop(DropReason::NoRoute) };
    if at.snapshot.port(hop.port).is_none_or(|p| parsed.ip_len > p.mtu) {
        return Verdict::Drop(DropReason::TooBig);
    }
    let from = A::key(parsed, packet.bytes()).src;
    // Routers behind the balancer have addresses that clients need not know (RFC 5508 REQ-4 b).
    rewrite(packet.bytes_mut(), parsed, quoted, entry, &new, (from, new.src));
    egress::to_hop(at, packet, hop, &flow::plain(parsed)).0
}

/// Translates an error about a packet of the other direction than `entry`, whose packets leave as `new`; `from` is its
/// source, and what becomes of that.
fn rewrite<A: Family>(
    frame: &mut [u8],
    parsed: &Parsed,
    quoted: &Quote,
    entry: &Entry<A>,
    new: &FiveTuple<A>,
    from: (A, A),
) {
    let outer = nat::rewrite_ip(frame, parsed, from, (entry.dst, new.dst));
    rewrite_message(frame, parsed, quoted, End::Src, (entry.dst, entry.dport), (new.dst, new.dport), outer);
    if (entry.src, entry.sport) != (new.src, new.sport) {
        let done = Delta::default();
        rewrite_message(frame, parsed, quoted, End::Dst, (entry.src, entry.sport), (new.src, new.sport), done);
    }
}

/// Replaces one end of the quoted packet and corrects the message's checksum. `outer` is the change of the message's
/// own addresses, which ICMPv6 sums too.
pub(super) fn rewrite_message<A: Family>(
    frame: &mut [u8],
    parsed: &Parsed,
    quoted: &Quote,
    end: End,
    old: (A, u16),
    new: (A, u16),
    outer: Delta,
) {
    let range = usize::from(parsed.l4)..parsed.ip_end();
    let Some((header, quote)) = frame.get_mut(range).and_then(|m| m.split_at_mut_checked(HEADER_LEN)) else { return };
    // Neither the padding nor the extensions behind the quoted packet are its own (RFC 4884 section 3).
    let len = usize::from(quoted.l4) + usize::from(quoted.l4_available);
    let Some(quote) = quote.get_mut(..len) else { return };
    let mut delta = nat::rewrite_quote(quote, usize::from(quoted.l4), quoted.protocol, end, old, new);
    if parsed.kind == Kind::V6 {
        delta = delta.and(outer);
    }
    if let Some(check) = header.get_mut(2..4).and_then(|c| c.first_chunk_mut()) {
        *check = delta.apply(u16::from_be_bytes(*check)).to_be_bytes();
    }
}

/// Whether an address is a VIP, for the neighbour code.
pub(super) fn answers_for(at: &At, addr: IpAddr) -> bool {
    match at.snapshot.local(addr) {
        // Ports that share a device have the same link-local address.
        Some(Local::Own(port)) => port == at.port || has_address(at, addr),
        Some(Local::Vip { .. } | Local::Local) => true,
        None => false,
    }
}

fn has_address(at: &At, addr: IpAddr) -> bool {
    at.snapshot.port(at.port).is_some_and(|port| port.addresses.iter().any(|&(own, _)| own == addr))
}
