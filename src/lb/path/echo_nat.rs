//! Pings of a VIP that go through NAT to a backend and back (RFC 5508 3.1), where the service wants that.
//!
//! Such a query is a connection like others: the identifier is the client's port, and the other port is 0.

use super::family::Family;
use super::flow::{self, First};
use super::{At, choice, egress, errors, nat, planned};
use crate::lb::connection::{Direction, Phase};
use crate::lb::packet::Packet;
use crate::lb::snapshot::{Backend, Snapshot};
use crate::lb::table::{Entry, Slot};
use crate::lb::trace::Step;
use crate::lb::verdict::{DropReason, Verdict};
use crate::wire::parse::{FiveTuple, Kind, Parsed};
use crate::wire::{icmp, icmpv6, protocol};

/// The tuple of an echo request or reply; `None` for every other message.
pub(super) fn tuple<A: Family>(parsed: &Parsed, frame: &[u8]) -> Option<FiveTuple<A>> {
    let message = frame.get(usize::from(parsed.l4)..)?.first_chunk::<{ icmp::HEADER_LEN }>()?;
    let id = u16::from_be_bytes([message[4], message[5]]);
    let (sport, dport) = match (parsed.kind, message[0]) {
        (Kind::V4, icmp::kind::ECHO_REQUEST) | (Kind::V6, icmpv6::kind::ECHO_REQUEST) => (id, 0),
        (Kind::V4, icmp::kind::ECHO_REPLY) | (Kind::V6, icmpv6::kind::ECHO_REPLY) => (0, id),
        _ => return None,
    };
    Some(FiveTuple { sport, dport, ..A::key(parsed, frame) })
}

/// Whether a packet with this tuple may be of such a query, which decides whether it goes to the query's owner.
pub(super) fn may_be_ours<A: Family>(snapshot: &Snapshot, key: &FiveTuple<A>) -> bool {
    let dst = key.dst.into();
    snapshot.passes_echo && (snapshot.local(dst).is_none() || snapshot.find_service(dst, key.protocol, 0).is_some())
}

/// An echo request to a VIP; `None`, and nothing has changed, if no service there passes it on.
pub(super) fn request<A: Family, P: Packet>(at: &mut At, packet: &mut P, parsed: &Parsed) -> Option<Verdict> {
    let key = tuple::<A>(parsed, packet.bytes())?;
    let snapshot = at.snapshot;
    let service = snapshot.service(snapshot.find_service(key.dst.into(), key.protocol, 0)?)?;
    if !at.shard.echo.allow(at.now) {
        return Some(Verdict::Drop(DropReason::EchoLimited));
    }
    if parsed.ttl <= 1 {
        return Some(errors::time_exceeded(at, packet, parsed));
    }
    let hash = at.shard.hasher.hash(&key);
    if let Some((slot, backend)) = known(at, hash, &key) {
        A::table(at.shard).entry(slot).into_iter().for_each(|entry| flow::note_connection(at, packet, entry, slot));
        refresh::<A>(at, slot, backend);
        return Some(send(at, packet, parsed, &key, backend));
    }
    if let Some(slot) = A::table(at.shard).find(hash, &key, at.now.tick()) {
        // Its backend is gone or down.
        flow::close::<A>(at, slot);
    }
    let plan = planned(snapshot, &key);
    let backend = match flow::service_for(snapshot, packet, &key, plan)
        .and_then(|service| choice::backend_for(at, packet, service, &key, plan, Some(First::Echo)))
    {
        Ok(backend) => backend,
        Err(reason @ (DropReason::NoBackend | DropReason::BackendsFull)) if service.unreachable => {
            return Some(errors::unreachable(at, packet, parsed, reason));
        }
        Err(reason) => return Some(Verdict::Drop(reason)),
    };
    // What does not fit leaves no connection behind.
    if parsed.ip_len > backend.mtu {
        return Some(errors::too_big(at, packet, parsed, backend.mtu));
    }
    let Some(new) = to(backend, &key) else { return Some(Verdict::Drop(DropReason::NoBackend)) };
    flow::make_room::<A>(at, hash, &key, at.now.tick());
    if let Err(reason) = flow::open(at, &key, hash, backend, &new, First::Echo.phase()) {
        return Some(Verdict::Drop(reason));
    }
    packet.note(|| Step::Opened(Phase::IcmpEcho));
    choice::note_opened(at, service, backend, Some(First::Echo));
    Some(send(at, packet, parsed, &key, backend))
}

/// A backend's echo reply to a client; `None`, and nothing has changed, if it answers no query of ours.
pub(super) fn reply<A: Family, P: Packet>(at: &mut At, packet: &mut P, parsed: &Parsed) -> Option<Verdict> {
    if !at.snapshot.passes_echo {
        return None;
    }
    let key = tuple::<A>(parsed, packet.bytes())?;
    let (slot, backend) = known(at, at.shard.hasher.hash(&key), &key)?;
    let new = from(at.snapshot, backend, &key)?;
    A::table(at.shard).entry(slot).into_iter().for_each(|entry| flow::note_connection(at, packet, entry, slot));
    packet.note(|| Step::ToClient(flow::end(new.dst, 0)));
    refresh::<A>(at, slot, backend);
    if parsed.ttl <= 1 {
        return Some(errors::time_exceeded(at, packet, parsed));
    }
    let Some(hop) = A::route(&at.snapshot.routes, new.dst) else { return Some(Verdict::Drop(DropReason::NoRoute)) };
    let mtu = at.snapshot.port(hop.port).map_or(0, |port| port.mtu);
    if parsed.ip_len > mtu {
        return Some(errors::too_big(at, packet, parsed, mtu));
    }
    rewrite(packet.bytes_mut(), parsed, &key, &new);
    let frame_len = packet.frame_len();
    let verdict = egress::to_hop(at, packet, hop, &flow::plain(parsed)).0;
    flow::count(at, backend, frame_len, verdict);
    Some(verdict)
}

/// The tuple that a packet of a known connection leaves with: [`nat::other_side`], where there may be a query.
pub(super) fn other_side<A: Family>(at: &At, entry: &Entry<A>, backend: &Backend) -> Option<FiveTuple<A>> {
    match (entry.protocol, entry.state.direction()) {
        (protocol::ICMP | protocol::ICMPV6, Direction::Request) => to(backend, &entry.key()),
        (protocol::ICMP | protocol::ICMPV6, Direction::Reply) => from(at.snapshot, backend, &entry.key()),
        _ => nat::other_side(at, entry, backend),
    }
}

/// The query that a message is of, if its backend still serves.
fn known<'a, A: Family>(at: &At<'a>, hash: u64, key: &FiveTuple<A>) -> Option<(Slot, &'a Backend)> {
    let table = A::table(at.shard);
    let slot = table.find(hash, key, at.now.tick())?;
    let backend = at.snapshot.backend(table.entry(slot)?.backend)?;
    backend.serves.then_some((slot, backend))
}

fn refresh<A: Family>(at: &mut At, slot: Slot, backend: &Backend) {
    let deadline = at.now.tick().plus(backend.timeouts.of(Phase::IcmpEcho));
    A::table_mut(at.shard).refresh(slot, deadline, Phase::IcmpEcho.is_evictable());
}

fn to<A: Family>(backend: &Backend, key: &FiveTuple<A>) -> Option<FiveTuple<A>> {
    Some(FiveTuple { dst: A::of(backend.address)?, ..*key })
}

fn from<A: Family>(snapshot: &Snapshot, backend: &Backend, key: &FiveTuple<A>) -> Option<FiveTuple<A>> {
    Some(FiveTuple { src: A::of(snapshot.service(backend.service)?.vip)?, ..*key })
}

fn send<A: Family, P: Packet>(
    at: &mut At,
    packet: &mut P,
    parsed: &Parsed,
    key: &FiveTuple<A>,
    backend: &Backend,
) -> Verdict {
    packet.note(|| Step::To { backend: backend.id, mode: backend.mode });
    if parsed.ip_len > backend.mtu {
        return errors::too_big(at, packet, parsed, backend.mtu);
    }
    let Some(new) = to(backend, key) else { return Verdict::Drop(DropReason::NoBackend) };
    rewrite(packet.bytes_mut(), parsed, key, &new);
    let frame_len = packet.frame_len();
    let verdict = egress::to_backend(at, packet, parsed, backend, &flow::plain(parsed));
    flow::count(at, backend, frame_len, verdict);
    verdict
}

/// Replaces the addresses, which ICMPv6 sums as well (RFC 4443 2.3).
fn rewrite<A: Family>(frame: &mut [u8], parsed: &Parsed, old: &FiveTuple<A>, new: &FiveTuple<A>) {
    let addresses = nat::rewrite_ip(frame, parsed, (old.src, new.src), (old.dst, new.dst));
    let check = usize::from(parsed.l4) + 2;
    if parsed.kind == Kind::V6
        && let Some(check) = frame.get_mut(check..).and_then(|at| at.first_chunk_mut())
    {
        *check = addresses.apply(u16::from_be_bytes(*check)).to_be_bytes();
    }
}
