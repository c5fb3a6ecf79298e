//! Who gets a new connection: the client's last backend where the service wants that, else the scheduler's choice.

use super::family::Family;
use super::flow::First;
use super::{At, Plan};
use crate::lb::clients::Kept;
use crate::lb::connection::{Direction, flags};
use crate::lb::ids::BackendId;
use crate::lb::packet::Packet;
use crate::lb::snapshot::{Backend, Service};
use crate::lb::table::{Entry, Slot};
use crate::lb::trace::Step;
use crate::lb::verdict::DropReason;
use crate::wire::parse::{FiveTuple, Parsed};

/// The backend for a new connection, or why it gets none. Asked again for the same packet, it says the same.
#[inline]
pub(super) fn backend_for<'a, A: Family, P: Packet>(
    at: &At<'a>,
    packet: &P,
    service: &Service,
    key: &FiveTuple<A>,
    plan: Plan,
    first: Option<First>,
) -> Result<&'a Backend, DropReason> {
    packet.note(|| Step::Begins(first.map(First::beginning)));
    let picked = if service.is_by_hash || !is_new(first) {
        let picked = service.pick(plan.hash);
        packet.note(|| Step::ByHash { hash: plan.hash, slot: service.slot_of(plan.hash), backend: picked });
        picked.ok_or(DropReason::NoBackend)
    } else {
        choose(at, packet, service, key, plan)
    };
    let backend = at.snapshot.backend(picked?).ok_or(DropReason::NoBackend)?;
    if backend.address == key.src.into() { Err(DropReason::Looped) } else { Ok(backend) }
}

/// The backend that the hash alone gives, which is the same for all packets of a flow.
#[inline(never)]
pub(super) fn by_hash<'a, A: Family>(
    at: &At<'a>,
    service: &Service,
    key: &FiveTuple<A>,
    plan: Plan,
) -> Option<&'a Backend> {
    let backend = at.snapshot.backend(service.pick(plan.hash)?)?;
    (backend.address != key.src.into()).then_some(backend)
}

/// Whether a packet opens a connection that no other node may have owned: where that may be, only the hash is known to both.
#[inline]
fn is_new(first: Option<First>) -> bool {
    matches!(first, Some(First::Syn | First::Udp | First::Echo))
}

#[inline(never)]
fn choose<A: Family, P: Packet>(
    at: &At,
    packet: &P,
    service: &Service,
    key: &FiveTuple<A>,
    plan: Plan,
) -> Result<BackendId, DropReason> {
    let chosen = match service.persistence_s {
        0 => schedule(at, packet, service, plan),
        _ => persist(at, packet, service, key, plan),
    };
    chosen.ok_or(if service.is_full() { DropReason::BackendsFull } else { DropReason::NoBackend })
}

#[inline(always)]
fn schedule<P: Packet>(at: &At, packet: &P, service: &Service, plan: Plan) -> Option<BackendId> {
    let picked = service.schedule(at.shard.worker, &at.shard.team, plan.hash);
    packet.note(|| Step::ByScheduler(picked));
    picked
}

/// The backend that the client's address had last, if that takes new connections, else another one, that it has from now on.
fn persist<A: Family, P: Packet>(
    at: &At,
    packet: &P,
    service: &Service,
    key: &FiveTuple<A>,
    plan: Plan,
) -> Option<BackendId> {
    let (team, tick) = (&at.shard.team, at.now.tick());
    let client = team.clients.key_of(service.number, key.src.into());
    // Another client's entry may look like this one's, but then its backend is most likely another service's.
    let is_ours = |id| at.snapshot.backend(id).is_some_and(|backend| Some(backend.service) == plan.service);
    let was = team.clients.find(client, tick, is_ours);
    let kept = was.filter(|&id| service.takes(team, id));
    was.into_iter().for_each(|backend| packet.note(|| Step::ByClient { backend, taken: kept.is_some() }));
    let chosen = match kept {
        Some(id) => id,
        None => schedule(at, packet, service, plan)?,
    };
    match team.clients.keep(client, was, chosen, (tick, service.persistence_s), is_ours) {
        Kept::New => Some(chosen),
        Kept::Evicting => {
            at.shard.counters.clients_evicted.add(1);
            Some(chosen)
        }
        Kept::Other(other) => Some(other).filter(|&id| service.takes(team, id)).or(Some(chosen)),
    }
}

/// Tells the scheduler that a connection is open.
#[inline]
pub(super) fn note_opened(at: &At, service: &Service, backend: &Backend, first: Option<First>) {
    if !service.is_by_hash && is_new(first) {
        service.note_opened(at.shard.worker, &at.shard.team, backend.id);
    }
}

/// Begins to measure how long the backend takes to answer the SYN whose connection is at `slot`.
#[inline]
pub(super) fn note_syn(at: &mut At, backend: &Backend, first: Option<First>, slot: Slot) {
    if backend.is_timed && first == Some(First::Syn) {
        start(at, backend, slot);
    }
}

#[inline(never)]
fn start(at: &mut At, backend: &Backend, slot: Slot) {
    if let Some(ns) = at.shard.stopwatch.start(backend.id, slot, at.now) {
        at.shard.counters.responded(backend.id, ns);
    }
}

/// Looks whether a packet of a half-open connection, whose own entry is at `slot`, is what the measuring waits for.
#[cold]
pub(super) fn note_answer<A: Family>(at: &mut At, parsed: &Parsed, slot: Slot, entry: &Entry<A>, backend: &Backend) {
    let stopwatch = &mut at.shard.stopwatch;
    match (entry.state.direction(), parsed.tcp_flags & (flags::SYN | flags::ACK | flags::RST)) {
        (Direction::Request, flags::SYN) => stopwatch.forget(backend.id, slot),
        (Direction::Reply, SYN_ACK) => {
            if let Some(ns) = stopwatch.stop(backend.id, entry.pair, at.now) {
                at.shard.counters.responded(backend.id, ns);
            }
        }
        _ => {}
    }
}

const SYN_ACK: u8 = flags::SYN | flags::ACK;
