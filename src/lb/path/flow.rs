//! TCP and UDP packets: the connection table first, the service's scheduler when it does not know them.

use std::net::{Ipv6Addr, SocketAddr};

use super::egress::{self, Leaving};
use super::family::Family;
use super::seen::next_seen;
use super::segment::Segment;
use super::{At, Meta, Plan, choice, crossed, errors, local, nat, partial, planned, punt, reset, tell, tunnel};
use crate::lb::clock::Tick;
use crate::lb::connection::{Direction, Phase, State, flags, is_syn, next_tcp, next_udp};
use crate::lb::packet::Packet;
use crate::lb::snapshot::{Backend, ClientAddress, Mode, Service, Snapshot};
use crate::lb::table::{Entry, Notes, Removed, Slot, Table};
use crate::lb::trace::{Beginning, Step};
use crate::lb::verdict::{DropReason, Verdict};
use crate::wire::parse::{FiveTuple, Kind, Parsed};
use crate::wire::protocol;

/// The verdict of a TCP or UDP packet.
#[inline]
pub(super) fn flow<A: Family, P: Packet>(
    at: &mut At,
    packet: &mut P,
    parsed: &Parsed,
    meta: &Meta,
    plan: Plan,
) -> Verdict {
    let key = A::key(parsed, packet.bytes());
    if at.snapshot.crosses && key.dst.is_mapped() {
        // Only our own table has such keys.
        return Verdict::Drop(DropReason::Martian);
    }
    let tick = at.now.tick();
    if let Some(slot) = A::table(at.shard).find_at(meta.hint, meta.probe.hash, &key, tick)
        && let Some(verdict) = known(at, packet, parsed, &key, slot)
    {
        return verdict;
    }
    // The plan was made where nothing had the connection's tag.
    let plan = if meta.hint.is_some() { planned(at.snapshot, &key) } else { plan };
    miss(at, packet, parsed, key, meta.probe.hash, plan)
}

/// [`known`] for a caller that is rare, so that the usual one has it to itself.
#[cold]
#[inline(never)]
pub(super) fn known_across<P: Packet>(
    at: &mut At,
    packet: &mut P,
    parsed: &Parsed,
    key: &FiveTuple<Ipv6Addr>,
    slot: Slot,
) -> Option<Verdict> {
    known(at, packet, parsed, key, slot)
}

/// The verdict of a packet of the connection at `slot`, unless that is over.
#[inline(always)]
fn known<A: Family, P: Packet>(
    at: &mut At,
    packet: &mut P,
    parsed: &Parsed,
    key: &FiveTuple<A>,
    slot: Slot,
) -> Option<Verdict> {
    let entry = *A::table(at.shard).entry(slot)?;
    note_connection(at, packet, &entry, slot);
    match at.snapshot.backend(entry.backend).filter(|b| b.serves) {
        Some(backend) if !reopens(&entry, parsed) => Some(hit(at, packet, parsed, key, slot, entry, backend)),
        // Its backend is gone or down, or the client starts over: it is a new packet to the service.
        backend => {
            packet.note(|| if backend.is_some() { Step::Reopened } else { Step::BackendGone(entry.backend) });
            close::<A>(at, slot);
            None
        }
    }
}

/// Says that a packet is of the connection whose entry is at `slot`.
#[inline(always)]
pub(super) fn note_connection<A: Family>(at: &At, packet: &impl Packet, entry: &Entry<A>, slot: Slot) {
    packet.note(|| Step::Connection {
        backend: entry.backend,
        direction: entry.state.direction(),
        phase: entry.state.phase(),
        left_s: A::table(at.shard).deadline(slot).left_s(at.now.tick()),
    });
}

/// A SYN on a connection that is closing opens a new one at once.
#[inline]
fn reopens<A: Family>(entry: &Entry<A>, parsed: &Parsed) -> bool {
    parsed.protocol == protocol::TCP
        && is_syn(parsed.tcp_flags)
        && entry.state.phase() == Phase::TcpFin
        && entry.state.direction() == Direction::Request
}

#[inline(always)]
fn hit<A: Family, P: Packet>(
    at: &mut At,
    packet: &mut P,
    parsed: &Parsed,
    key: &FiveTuple<A>,
    slot: Slot,
    entry: Entry<A>,
    backend: &Backend,
) -> Verdict {
    let (phase, direction) = (entry.state.phase(), entry.state.direction());
    if backend.client_address != ClientAddress::None
        && direction == Direction::Reply
        && let Some(request) = A::table(at.shard).entry(entry.pair)
        && tell::is_due(request)
        && let Err(reason) = tell::reply::<A, P>(at, packet, parsed, entry.pair, backend)
    {
        return Verdict::Drop(reason);
    }
    let next = match parsed.protocol {
        protocol::TCP if entry.pair.is_some() => next_seen(at, packet.bytes(), parsed, slot, &entry),
        protocol::TCP => next_tcp(phase, direction, parsed.tcp_flags),
        _ => next_udp(phase, direction, entry.pair.is_some()),
    };
    let deadline = at.now.tick().plus(backend.timeouts.of(next));
    let table = A::table_mut(at.shard);
    if next != phase {
        packet.note(|| Step::Phase { from: phase, to: next });
        set_phase(table, slot, next, deadline);
        set_phase(table, entry.pair, next, deadline);
    }
    table.refresh(slot, deadline, next.is_evictable());
    if backend.is_timed && phase == Phase::TcpSyn {
        choice::note_answer(at, parsed, slot, &entry, backend);
    }
    if next != phase || parsed.tcp_flags & flags::SYN != 0 {
        // The other end's first packet is among these.
        partial::note(at, parsed, packet.bytes());
    }
    let frame_len = packet.frame_len();
    tunnel::clamp(at, packet, parsed, backend);
    let verdict = match nat::other_side(at, &entry, backend) {
        None => Verdict::Drop(DropReason::NoConnection),
        Some(new) if direction == Direction::Request => forward(at, packet, parsed, key, &new, backend, slot),
        Some(new) => {
            local::note_reply(at, &entry);
            reply(at, packet, parsed, key, &new)
        }
    };
    count(at, backend, frame_len, verdict);
    verdict
}

fn set_phase<A: Family>(table: &mut Table<A>, slot: Slot, phase: Phase, deadline: Tick) {
    if let Some(entry) = table.entry_mut(slot) {
        entry.state = entry.state.with_phase(phase);
        table.refresh(slot, deadline, phase.is_evictable());
    }
}

/// Counts a packet for its backend if it goes there or comes from there, `frame_len` bytes as received.
#[inline]
pub(super) fn count(at: &At, backend: &Backend, frame_len: usize, verdict: Verdict) {
    if matches!(verdict, Verdict::Tx(_) | Verdict::Hold(_) | Verdict::Fragment(_))
        && let Some(counters) = at.shard.counters.backend(backend.id)
    {
        counters.packets.add(1);
        counters.bytes.add(frame_len as u64);
    }
}

/// Ends a connection, both directions.
pub(super) fn close<A: Family>(at: &mut At, slot: Slot) {
    let table = A::table_mut(at.shard);
    if let Some(entry) = table.remove(slot) {
        let pair = table.remove_pair(&entry);
        at.shard.closed(at.snapshot, at.now.tick(), &entry, pair.as_ref());
    }
}

/// A packet that no connection knows.
#[inline(never)]
fn miss<A: Family, P: Packet>(
    at: &mut At,
    packet: &mut P,
    parsed: &Parsed,
    key: FiveTuple<A>,
    hash: u64,
    plan: Plan,
) -> Verdict {
    packet.note(|| Step::NoConnection);
    let mapped = if at.snapshot.crosses { A::mapped(&key) } else { None };
    if let Some(mapped) = &mapped
        && let Some(verdict) = crossed::known(at, packet, parsed, mapped)
    {
        return verdict;
    }
    let service = match service_for(at.snapshot, packet, &key, plan) {
        Ok(service) => service,
        Err(DropReason::NoService) => {
            return punt::take(at, packet, parsed).unwrap_or_else(|| local::stray(at, &key));
        }
        Err(reason) => return Verdict::Drop(reason),
    };
    let first = match first_packet(parsed.protocol, parsed.tcp_flags, service.mode) {
        Ok(first) => first,
        Err(DropReason::NoConnection) if service.reset_unknown => return reset::unknown(at, packet, parsed),
        Err(reason) => return Verdict::Drop(reason),
    };
    // A packet that goes nowhere must not leave a connection behind.
    if let Some(verdict) = ends_here(at, packet, parsed, service) {
        return verdict;
    }
    let mut backend = match choice::backend_for(at, packet, service, &key, plan, first) {
        Ok(backend) => backend,
        Err(reason @ (DropReason::NoBackend | DropReason::BackendsFull)) if service.unreachable => {
            return errors::unreachable(at, packet, parsed, reason);
        }
        Err(reason) => return Verdict::Drop(reason),
    };
    if let Some(mapped) = mapped
        && backend.mode == Mode::FullNat
        && backend.address.is_ipv6()
    {
        return miss(at, packet, parsed, mapped, at.shard.hasher.hash(&mapped), plan);
    }
    if first.is_some() {
        make_room::<A>(at, hash, &key, at.now.tick());
    }
    let new = match translation(at, packet, &key, backend) {
        Ok(new) => new,
        Err(reason) => return Verdict::Drop(reason),
    };
    let mut slot = Slot::NONE;
    match first.map(|first| open(at, &key, hash, backend, &new, first.phase())) {
        Some(Ok(opened)) => {
            packet.note(|| Step::Opened(first.map_or(Phase::TcpSyn, First::phase)));
            slot = opened;
            choice::note_opened(at, service, backend, first);
            choice::note_syn(at, backend, first, slot);
        }
        Some(Err(reason)) if service.mode.is_nat() => return Verdict::Drop(reason),
        opened => {
            packet.note(|| Step::Stateless(opened.and_then(Result::err)));
            at.shard.counters.stateless.add(1);
            // All further packets will come here as well, and only the hash says the same every time.
            backend = choice::by_hash(at, service, &key, plan).unwrap_or(backend);
        }
    }
    at.shard.counters.adopted.add(u64::from(slot.is_some() && first == Some(First::Adopted)));
    send_first(at, packet, parsed, &key, &new, backend, slot)
}

/// The verdict of a packet whose TTL does not let it go on.
#[inline(always)]
fn ends_here<P: Packet>(at: &mut At, packet: &mut P, parsed: &Parsed, service: &Service) -> Option<Verdict> {
    if service.mode.is_nat() && parsed.ttl <= 1 {
        return Some(errors::time_exceeded(at, packet, parsed));
    }
    (parsed.ttl == 0).then_some(Verdict::Drop(DropReason::TtlExceeded))
}

/// Sends a packet that no connection knew to its backend; `slot` is where its connection is now, if it has one.
#[inline(always)]
fn send_first<A: Family, P: Packet>(
    at: &mut At,
    packet: &mut P,
    parsed: &Parsed,
    key: &FiveTuple<A>,
    new: &FiveTuple<A>,
    backend: &Backend,
    slot: Slot,
) -> Verdict {
    partial::note(at, parsed, packet.bytes());
    // Only TCP has numbers to note.
    if backend.mode.is_nat() && parsed.protocol == protocol::TCP {
        note_first::<A>(at, packet.bytes(), parsed, slot);
    }
    let frame_len = packet.frame_len();
    tunnel::clamp(at, packet, parsed, backend);
    let verdict = forward(at, packet, parsed, key, new, backend, slot);
    count(at, backend, frame_len, verdict);
    verdict
}

/// The service of a packet that no connection knows, or why it gets none.
#[inline]
pub(super) fn service_for<'a, A: Family>(
    snapshot: &'a Snapshot,
    packet: &impl Packet,
    key: &FiveTuple<A>,
    plan: Plan,
) -> Result<&'a Service, DropReason> {
    let service = plan.service.and_then(|id| snapshot.service(id));
    let service = service.ok_or_else(|| super::not_served(snapshot, key.dst.into()))?;
    plan.service.into_iter().for_each(|id| packet.note(|| Step::Service(id)));
    if key.src.is_martian() {
        return Err(DropReason::Martian);
    }
    if snapshot.local(key.src.into()).is_some() { Err(DropReason::Looped) } else { Ok(service) }
}

/// How a packet opens its connection.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum First {
    Syn,
    /// In the middle of a TCP connection that another node may have owned.
    Adopted,
    Udp,
    /// A ping.
    Echo,
}

impl First {
    /// One packet proves nothing, so all begin in a phase that gives way to others: a flood of single ACKs must not fill
    /// the table for hours. An adopted connection is established with its second packet.
    pub(super) fn phase(self) -> Phase {
        match self {
            First::Syn | First::Adopted => Phase::TcpSyn,
            First::Udp => Phase::UdpOneway,
            First::Echo => Phase::IcmpEcho,
        }
    }

    pub(super) fn beginning(self) -> Beginning {
        match self {
            First::Syn => Beginning::Syn,
            First::Adopted => Beginning::Adopted,
            First::Udp => Beginning::Udp,
            First::Echo => Beginning::Echo,
        }
    }
}

/// How a packet opens its connection; `None` to forward it without one.
#[inline]
pub(super) fn first_packet(protocol: u8, tcp_flags: u8, mode: Mode) -> Result<Option<First>, DropReason> {
    if protocol != protocol::TCP {
        return Ok(Some(First::Udp));
    }
    if is_syn(tcp_flags) {
        return Ok(Some(First::Syn));
    }
    if mode.is_nat() {
        return Err(DropReason::NoConnection);
    }
    // In tunnel modes another node may have owned the connection; the consistent hash finds the same backend. What can
    // only be stray or an ending leaves no trace in the table.
    let middle = tcp_flags & (flags::RST | flags::SYN | flags::FIN | flags::ACK) == flags::ACK;
    Ok(middle.then_some(First::Adopted))
}

/// Notes the numbers of the packet that has just opened the connection at `slot`.
fn note_first<A: Family>(at: &mut At, frame: &[u8], parsed: &Parsed, slot: Slot) {
    if let Some(segment) = Segment::of(frame, parsed)
        && let Some(entry) = A::table_mut(at.shard).entry_mut(slot)
    {
        segment.note(entry, true);
    }
}

/// What a new connection's first packet becomes: its own five-tuple where nothing is replaced.
fn translation<A: Family>(
    at: &mut At,
    packet: &impl Packet,
    key: &FiveTuple<A>,
    backend: &Backend,
) -> Result<FiveTuple<A>, DropReason> {
    if !backend.mode.is_nat() {
        return Ok(*key);
    }
    let new = nat::inside(backend, key).ok_or(DropReason::NoBackend)?;
    if backend.mode != Mode::FullNat {
        return Ok(new);
    }
    local::choose(at, new, backend).inspect(|new| packet.note(|| Step::LocalEnd(end(new.src, new.sport))))
}

/// Enters a connection into the table, in which nothing has its key, and says where that is.
pub(super) fn open<A: Family>(
    at: &mut At,
    key: &FiveTuple<A>,
    hash: u64,
    backend: &Backend,
    new: &FiveTuple<A>,
    phase: Phase,
) -> Result<Slot, DropReason> {
    let tick = at.now.tick();
    let deadline = tick.plus(backend.timeouts.of(phase));
    let mut request = entry(key, State::new(phase, Direction::Request), backend);
    request.notes.add(tell::notes_of(backend, key.protocol));
    let slot = if backend.mode.is_nat() {
        let opened = open_pair(at, hash, request, new.reversed(), backend, deadline);
        let slot = opened.inspect_err(|_| local::give_back(at.shard, backend.mode, &new.reversed(), tick))?;
        if key.protocol == protocol::TCP
            && let Some(handshakes) = at.shard.counters.handshakes(backend.id)
        {
            handshakes.opened.add(1);
        }
        slot
    } else {
        let replace = is_full(at);
        insert(at, hash, request, deadline, phase.is_evictable(), replace)?
    };
    at.shard.counters.opened(backend.id);
    Ok(slot)
}

fn entry<A: Family>(key: &FiveTuple<A>, state: State, backend: &Backend) -> Entry<A> {
    Entry {
        src: key.src,
        dst: key.dst,
        sport: key.sport,
        dport: key.dport,
        protocol: key.protocol,
        state,
        backend: backend.id,
        notes: if backend.mode == Mode::FullNat { Notes::LOCAL } else { Notes::NONE },
        ..Entry::empty()
    }
}

/// Removes what is left of an older connection with the same key.
pub(super) fn make_room<A: Family>(at: &mut At, hash: u64, key: &FiveTuple<A>, tick: Tick) {
    if let Some(slot) = A::table(at.shard).find_dead(hash, key, tick) {
        at.shard.counters.connections_expired.add(1);
        close::<A>(at, slot);
    }
}

/// True if a new connection has to take the place of another.
fn is_full(at: &At) -> bool {
    at.shard.counters.connections_active.get() >= at.shard.connections_max
}

/// Enters both directions of a connection through NAT.
fn open_pair<A: Family>(
    at: &mut At,
    hash: u64,
    mut request: Entry<A>,
    reverse: FiveTuple<A>,
    backend: &Backend,
    deadline: Tick,
) -> Result<Slot, DropReason> {
    let tick = at.now.tick();
    let phase = request.state.phase();
    let reverse_hash = at.shard.hasher.hash(&reverse);
    make_room::<A>(at, reverse_hash, &reverse, tick);
    if let Some(other) = A::table(at.shard).find(reverse_hash, &reverse, tick) {
        // The same client port to the same backend through another VIP: replies could not be told apart.
        if is_in_use(at, A::table(at.shard).entry(other)) {
            return Err(DropReason::TupleConflict);
        }
        close::<A>(at, other);
    }
    let reply = entry(&reverse, State::new(phase, Direction::Reply), backend);
    // One connection more needs one connection less, whichever of the two places it is found at.
    let replace = is_full(at) && A::table(at.shard).has_victim(reverse_hash, tick);
    // Neither may push the other out while only one of them is in.
    request.pair = insert(at, reverse_hash, reply, deadline, false, replace)?;
    let replace = is_full(at);
    let slot = match insert(at, hash, request, deadline, phase.is_evictable(), replace) {
        Ok(slot) => slot,
        Err(reason) => {
            A::table_mut(at.shard).remove(request.pair);
            return Err(reason);
        }
    };
    let table = A::table_mut(at.shard);
    if let Some(reply) = table.entry_mut(request.pair) {
        reply.pair = slot;
    }
    table.refresh(request.pair, deadline, phase.is_evictable());
    Ok(slot)
}

/// Whether a connection may still carry packets: it is not closing, and its backend serves.
fn is_in_use<A: Family>(at: &At, entry: Option<&Entry<A>>) -> bool {
    entry.is_some_and(|e| e.state.phase() != Phase::TcpFin && at.snapshot.backend(e.backend).is_some_and(|b| b.serves))
}

/// Enters one direction; with `replace` it must take the place of another connection.
fn insert<A: Family>(
    at: &mut At,
    hash: u64,
    entry: Entry<A>,
    deadline: Tick,
    evictable: bool,
    replace: bool,
) -> Result<Slot, DropReason> {
    let tick = at.now.tick();
    let inserted = A::table_mut(at.shard).insert(hash, entry, deadline, evictable, replace, tick);
    let inserted = inserted.map_err(|_| DropReason::TableFull)?;
    if let Some(Removed { entry, expired }) = inserted.removed {
        let pair = A::table_mut(at.shard).remove_pair(&entry);
        let counters = &at.shard.counters;
        if expired {
            counters.connections_expired.add(1)
        } else {
            counters.connections_evicted.add(1)
        }
        at.shard.closed(at.snapshot, tick, &entry, pair.as_ref());
    }
    Ok(inserted.slot)
}

/// Sends a request to its backend in the backend's mode; `slot` is its connection's, if NAT has one for it.
#[inline]
pub(super) fn forward<A: Family, P: Packet>(
    at: &mut At,
    packet: &mut P,
    parsed: &Parsed,
    key: &FiveTuple<A>,
    new: &FiveTuple<A>,
    backend: &Backend,
    slot: Slot,
) -> Verdict {
    packet.note(|| Step::To { backend: backend.id, mode: backend.mode });
    match backend.mode {
        Mode::Gre | Mode::Ipip | Mode::Gue => tunnel::send(at, packet, parsed, backend),
        Mode::Dsr => direct(at, packet, parsed, backend),
        Mode::Nat | Mode::FullNat => {
            if parsed.ttl <= 1 {
                return errors::time_exceeded(at, packet, parsed);
            }
            let across = crossed::is_across(parsed, new);
            packet.note(|| Step::Fits { len: parsed.ip_len.into(), mtu: backend.mtu });
            if parsed.ip_len > backend.mtu && !across {
                return errors::too_big(at, packet, parsed, backend.mtu);
            }
            let told;
            let parsed = if backend.client_address != ClientAddress::None
                && A::table(at.shard).entry(slot).is_some_and(tell::is_due)
            {
                packet.note(|| Step::Tells(backend.client_address));
                match tell::request::<A, P>(at, packet, parsed, slot, backend) {
                    Ok(new) => told = new,
                    Err(verdict) => return verdict,
                }
                &told
            } else {
                parsed
            };
            if across {
                return crossed::send(at, packet, parsed, new, Some(backend));
            }
            nat::rewrite(packet.bytes_mut(), parsed, key, new);
            egress::to_backend(at, packet, parsed, backend, &plain(parsed))
        }
    }
}

/// Sends a packet as it is, to the backend's MAC address.
pub(super) fn direct<P: Packet>(at: &mut At, packet: &mut P, parsed: &Parsed, backend: &Backend) -> Verdict {
    if parsed.ttl == 0 {
        return Verdict::Drop(DropReason::TtlExceeded);
    }
    packet.note(|| Step::Fits { len: parsed.ip_len.into(), mtu: backend.mtu });
    if parsed.ip_len > backend.mtu {
        return errors::too_big(at, packet, parsed, backend.mtu);
    }
    egress::to_backend(at, packet, parsed, backend, &plain(parsed))
}

/// An end of a connection, as it is outside of the tables.
pub(super) fn end<A: Family>(address: A, port: u16) -> SocketAddr {
    SocketAddr::new(address.into().to_canonical(), port)
}

/// Sends a backend's packet to the client, as from the VIP.
#[inline]
fn reply<A: Family, P: Packet>(
    at: &mut At,
    packet: &mut P,
    parsed: &Parsed,
    key: &FiveTuple<A>,
    new: &FiveTuple<A>,
) -> Verdict {
    packet.note(|| Step::ToClient(end(new.dst, new.dport)));
    if parsed.ttl <= 1 {
        return errors::time_exceeded(at, packet, parsed);
    }
    if crossed::is_across(parsed, new) {
        return crossed::send(at, packet, parsed, new, None);
    }
    let Some(hop) = A::route(&at.snapshot.routes, new.dst) else { return Verdict::Drop(DropReason::NoRoute) };
    let mtu = at.snapshot.port(hop.port).map_or(0, |p| p.mtu);
    packet.note(|| Step::Fits { len: parsed.ip_len.into(), mtu });
    if parsed.ip_len > mtu {
        return errors::too_big(at, packet, parsed, mtu);
    }
    nat::rewrite(packet.bytes_mut(), parsed, key, new);
    egress::to_hop(at, packet, hop, &plain(parsed)).0
}

/// A packet that leaves without a tunnel.
#[inline]
pub(super) fn plain(parsed: &Parsed) -> Leaving<'static> {
    let ethertype = if parsed.kind == Kind::V6 { 0x86dd } else { 0x0800 };
    Leaving { l3: usize::from(parsed.l3), ethertype, outer: &[] }
}
