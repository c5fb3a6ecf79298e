//! The short way of plain packets whose connection is known and does not change by them: bucket, entry, lane and packet are
//! all the memory that such a packet touches.
//!
//! It does what [`flow`](super::flow) does, or nothing at all; a test holds the two against each other.

use super::family::Family;
use super::flow::{self, First};
use super::nat::{self, End, Place};
use super::segment::Segment;
use super::{At, Burst, Meta, Plan, Work, choice, crossed, watch};
use crate::lb::arch::prefetch;
use crate::lb::clock::Tick;
use crate::lb::counters::BackendCounters;
use crate::lb::ids::PortId;
use crate::lb::lane::{Change, Lane};
use crate::lb::packet::Packet;
use crate::lb::shard::Shard;
use crate::lb::snapshot::{MtuPolicy, Service};
use crate::lb::table::{Group, Table};
use crate::lb::verdict::{DropReason, Verdict};
use crate::wire::parse::FiveTuple;
use crate::wire::protocol;

/// Sends on what can take the short way: those packets are done afterwards and have their verdict. Says by which port all
/// of the burst leaves, if it is all of it and one port.
///
/// In two rounds, because each alone has enough registers, and so short a way from one packet to the next that the
/// processor waits for several entries at once.
pub(super) fn forward<A: Family, P: Packet>(
    shard: &mut Shard,
    translates: bool,
    now: Tick,
    metas: &mut [Meta],
    burst: Burst<P>,
) -> Option<PortId> {
    check::<A>(shard, now, metas);
    send_on::<A, P>(shard, translates, metas, burst)
}

/// Sends on all packets whose lane is known. Says by which port all of the burst leaves, if it is all of it and one port.
pub(super) fn send_on<A: Family, P: Packet>(
    shard: &mut Shard,
    translates: bool,
    metas: &mut [Meta],
    burst: Burst<P>,
) -> Option<PortId> {
    if let Some(eye) = &mut shard.eye {
        watch::keep_rewritten::<A, P>(eye, metas, &burst);
    }
    // Where there is no NAT, its rewriting does not take registers from the rest. No lane translates then: a new snapshot
    // makes all lanes outdated.
    match (translates, burst.handed) {
        (false, false) => send::<A, P, false, false>(shard, metas, burst),
        (false, true) => send::<A, P, false, true>(shard, metas, burst),
        (true, false) => send::<A, P, true, false>(shard, metas, burst),
        (true, true) => send::<A, P, true, true>(shard, metas, burst),
    }
}

/// Finds the lane of each packet that has one, and renews its connection.
#[inline(never)]
fn check<A: Family>(shard: &mut Shard, now: Tick, metas: &mut [Meta]) {
    let stamp = shard.neighbors.stamp(now);
    let (table, lanes, neighbors, _) = A::parts(shard);
    let groups = table.groups();
    for meta in metas {
        // Whatever stops here is for a closer look.
        if meta.work != A::PLAIN {
            continue;
        }
        let Some(Group { bucket, entries }) = groups.get_mut(meta.hint.bucket()) else { continue };
        let Some(entry) = entries.get(meta.hint.place()).filter(|e| e.has(&meta.probe.words)) else { continue };
        let Some(lane) = lanes.get_mut(entry.backend.slot()) else { continue };
        if !lane.is_way(stamp, entry.backend) && !lane.renew(neighbors, stamp, entry.backend) {
            continue;
        }
        if meta.ttl <= lane.ttl_min || meta.ip_len > lane.ip_len_max {
            continue;
        }
        let steady = lane.steady(entry.state);
        let (deadline, renewed) = (bucket.deadline(meta.hint.place()), now.plus(steady));
        // A line that says so already is of a connection that lives, and not written, which spares the memory bus.
        if renewed != deadline {
            if steady == Lane::UNSTEADY || deadline.reached(now) {
                continue;
            }
            bucket.set_deadline(meta.hint.place(), renewed);
        }
        // Its other half, which the next round reads.
        prefetch(lane);
        meta.lane = entry.backend.slot() as u32;
        meta.work = A::SEND;
    }
}

/// Opens a connection for a packet that none knows, if nothing about that is out of the ordinary and its backend has a lane;
/// false, and nothing done, if not. The sending is left. NAT, where replies have to find their way, is for [`flow`].
#[inline(never)]
pub(super) fn open<A: Family, P: Packet>(at: &mut At, packet: &P, meta: &mut Meta, plan: Plan) -> bool {
    let l3 = usize::from(meta.came.l3);
    if meta.hint.is_some() || l3 == 0 || (meta.work != A::PLAIN && meta.work != A::FLOW) {
        return false;
    }
    // So is what changes the options of a SYN.
    let is_special = |service: &Service| service.mode.is_nat() || service.mtu_policy == MtuPolicy::Clamp;
    if plan.service.and_then(|id| at.snapshot.service(id)).is_none_or(is_special) {
        return false;
    }
    let (key, hash): (FiveTuple<A>, u64) = (meta.probe.words.tuple(), meta.probe.hash);
    let tcp_flags = packet.bytes().get(l3 + A::HEADER_LEN + 13).copied().unwrap_or(0);
    let Ok(service) = flow::service_for(at.snapshot, packet, &key, plan) else { return false };
    // What goes nowhere, or is known after all, must not leave a trace where clients are remembered.
    if meta.ttl == 0 || !A::table(at.shard).is_unknown(hash, &key) || crossed::is_known(at, &key) {
        return false;
    }
    let Ok(Some(first)) = flow::first_packet(key.protocol, tcp_flags, service.mode) else { return false };
    let Ok(backend) = choice::backend_for(at, packet, service, &key, plan, Some(first)) else { return false };
    let now = at.now.tick();
    let stamp = at.shard.neighbors.stamp(now);
    let (_, lanes, neighbors, _) = A::parts(at.shard);
    let Some(lane) = lanes.get_mut(backend.id.slot()) else { return false };
    let has_lane = lane.is_way(stamp, backend.id) || lane.renew(neighbors, stamp, backend.id);
    let fits = meta.ttl > lane.ttl_min && meta.ip_len <= lane.ip_len_max;
    if !has_lane || !fits {
        return false;
    }
    if flow::open(at, &key, hash, backend, &key, first.phase()).is_err() {
        return false;
    }
    choice::note_opened(at, service, backend, Some(first));
    if first == First::Adopted {
        at.shard.counters.adopted.add(1);
    }
    meta.lane = backend.id.slot() as u32;
    meta.work = A::SEND;
    true
}

/// Rewrites and counts the packets whose lane is known.
#[inline(never)]
fn send<A: Family, P: Packet, const TRANSLATES: bool, const HANDED: bool>(
    shard: &mut Shard,
    metas: &mut [Meta],
    burst: Burst<P>,
) -> Option<PortId> {
    let Burst { packets, verdicts, .. } = burst;
    let (table, lanes, _, counters) = A::parts(shard);
    let both = lanes.len().min(counters.backends().len());
    let (lanes, backends) =
        (lanes.get(..both).unwrap_or_default(), counters.backends().get(..both).unwrap_or_default());
    let mut sender = Sender { table, lanes, backends, left: Left::default() };
    let count = metas.len();
    if HANDED {
        for meta in metas.iter_mut().filter(|meta| meta.work == A::SEND) {
            let at = usize::from(meta.at);
            if let (Some(packet), Some(verdict)) = (packets.get_mut(at), verdicts.get_mut(at)) {
                sender.send::<P, TRANSLATES>(packet, meta, verdict);
            }
        }
    } else {
        for ((packet, meta), verdict) in packets.iter_mut().zip(metas).zip(verdicts) {
            if meta.work == A::SEND {
                sender.send::<P, TRANSLATES>(packet, meta, verdict);
            }
        }
    }
    sender.left.all_by(count)
}

/// What the second round needs besides the packet.
struct Sender<'a, A> {
    table: &'a mut Table<A>,
    lanes: &'a [Lane],
    /// As many as lanes.
    backends: &'a [BackendCounters],
    left: Left,
}

impl<A: Family> Sender<'_, A> {
    #[inline(always)]
    fn send<P: Packet, const TRANSLATES: bool>(&mut self, packet: &mut P, meta: &mut Meta, verdict: &mut Verdict) {
        meta.work = Work::Done;
        let lane = meta.lane as usize;
        let (Some(lane), Some(counters)) = (self.lanes.get(lane), self.backends.get(lane)) else { return };
        let frame_len = packet.frame_len();
        if TRANSLATES && lane.change == Change::Translate {
            translate(lane, packet, meta, self.table);
        }
        if apply::<A, P>(lane, packet, meta, frame_len) {
            *verdict = Verdict::Tx(lane.port);
            counters.packets.add(1);
            counters.bytes.add(frame_len as u64);
            self.left.note(lane.port);
        } else {
            *verdict = Verdict::Drop(DropReason::NoHeadroom);
        }
    }
}

/// By which ports packets have left.
struct Left {
    count: usize,
    /// All their numbers, by bitwise or and by bitwise and: the same if it was one port.
    any: u8,
    every: u8,
}

impl Default for Left {
    fn default() -> Self {
        Self { count: 0, any: 0, every: u8::MAX }
    }
}

impl Left {
    #[inline(always)]
    fn note(&mut self, port: PortId) {
        self.count += 1;
        self.any |= port.0;
        self.every &= port.0;
    }

    /// The port, if all of a burst of `len` packets left by one.
    fn all_by(&self, len: usize) -> Option<PortId> {
        (self.count == len && self.any == self.every).then_some(PortId(self.any))
    }
}

/// Gives a packet the headers of its lane; false if there is no room for them.
#[inline(always)]
fn apply<A: Family, P: Packet>(lane: &Lane, packet: &mut P, meta: &Meta, frame_len: usize) -> bool {
    let l3 = usize::from(meta.came.l3);
    // Ethernet padding is no part of the packet and must not follow it into a tunnel.
    let len = if lane.is_tunnel() { usize::from(meta.ip_len) } else { frame_len - l3 };
    let Some(frame) = packet.keep(l3, len, lane.header_len()) else { return false };
    lane.write(frame, meta.start, meta.ip_len, A::IS_V6, &meta.probe.words);
    true
}

/// Rewrites address and port of a packet in NAT, and notes what it says of its direction.
#[inline(always)]
fn translate<A: Family, P: Packet>(lane: &Lane, packet: &mut P, meta: &Meta, table: &mut Table<A>) {
    let Some(entry) = table.entry_mut(meta.hint) else { return };
    let l3 = usize::from(meta.came.l3);
    let l4 = l3 + A::HEADER_LEN;
    let place = Place { l3, l4, ttl: meta.ttl, protocol: entry.protocol };
    let len = usize::from(meta.ip_len) - A::HEADER_LEN;
    if entry.protocol == protocol::TCP
        && let Some(segment) = Segment::at(packet.bytes(), l4, len)
    {
        segment.note(entry, false);
    }
    let (address, port) = lane.inside();
    let port = if port == 0 { entry.dport } else { port };
    nat::rewrite_at::<A>(packet.bytes_mut(), place, End::Dst, (entry.dst, entry.dport), (A::take(address), port));
}
