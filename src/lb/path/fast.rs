//! The short way of plain packets whose connection is known and does not change by them: bucket, entry, lane and packet are
//! all the memory that such a packet touches.
//!
//! It does what [`flow`](super::flow) does, or nothing at all; a test holds the two against each other.

use super::family::Family;
use super::nat::{self, End, Place};
use super::{Meta, Work};
use crate::lb::clock::Tick;
use crate::lb::ids::PortId;
use crate::lb::lane::{Change, Lane};
use crate::lb::packet::Packet;
use crate::lb::shard::Shard;
use crate::lb::verdict::{DropReason, Verdict};

/// Finds the lanes of those packets with `work` that can take the short way; the others are left as they are. True if one
/// of them is to be translated.
#[inline(never)]
pub(super) fn find_lanes<A: Family>(shard: &mut Shard, now: Tick, work: Work, metas: &mut [Meta]) -> bool {
    let version = shard.neighbors.version();
    let (table, lanes, neighbors) = A::parts(shard);
    let (entries, buckets) = table.parts();
    let mut any_translated = false;
    for meta in metas.iter_mut().filter(|m| m.work == work) {
        let Some(entry) = entries.get(meta.hint.index()).filter(|e| e.has(&meta.probe.words)) else { continue };
        let Some(bucket) = buckets.get_mut(meta.hint.bucket()) else { continue };
        let Some(lane) = lanes.get_mut(entry.backend.slot()) else { continue };
        let deadline = bucket.deadline(meta.hint.place());
        let timeout_s = lane.steady_s(version, entry.backend, entry.state);
        let fits = meta.ttl > lane.ttl_min && meta.ip_len <= lane.ip_len_max;
        if timeout_s == 0 || !fits || deadline.reached(now) {
            continue;
        }
        if lane.is_unseen(now) {
            neighbors.touch(lane.neighbor);
        }
        let renewed = now.plus(timeout_s);
        // A line that says so already is not written, which spares the memory bus.
        if renewed != deadline {
            bucket.set_deadline(meta.hint.place(), renewed);
        }
        any_translated |= lane.change == Change::Translate;
        meta.lane = entry.backend.slot() as u32;
        meta.work = Work::Lane;
    }
    any_translated
}

/// Rewrites addresses and ports of the packets in NAT that have found their lane.
#[inline(never)]
pub(super) fn translate<A: Family, P: Packet>(shard: &mut Shard, packets: &mut [P], metas: &[Meta]) {
    let (table, lanes, _) = A::parts(shard);
    for (packet, meta) in packets.iter_mut().zip(metas).filter(|(_, m)| m.work == Work::Lane) {
        let is_nat = lanes.get(meta.lane as usize).is_some_and(|l| l.change == Change::Translate);
        let Some(entry) = table.entry(meta.hint).filter(|_| is_nat && meta.probe.is_v6 == A::IS_V6) else { continue };
        let l3 = usize::from(meta.l3);
        let place = Place { l3, l4: l3 + A::HEADER_LEN, ttl: meta.ttl, protocol: entry.protocol };
        let (old, new) = ((entry.dst, entry.dport), (entry.translated, entry.translated_port));
        nat::rewrite_at::<A>(packet.bytes_mut(), place, End::Dst, old, new);
    }
}

/// Sends on what has found its lane: those packets are done afterwards and have their verdict. Says by which port all of
/// the burst leaves, if it is all of it and one port.
#[inline(never)]
pub(super) fn forward<P: Packet>(
    shard: &Shard,
    packets: &mut [P],
    metas: &mut [Meta],
    verdicts: &mut [Verdict],
) -> Option<PortId> {
    let (lanes, backends) = (&*shard.lanes, shard.counters.backends());
    let mut all_to = None;
    let mut others = metas.is_empty();
    for ((packet, meta), verdict) in packets.iter_mut().zip(metas).zip(verdicts) {
        let slot = meta.lane as usize;
        let (Work::Lane, Some(lane), Some(counters)) = (meta.work, lanes.get(slot), backends.get(slot)) else {
            others = true;
            continue;
        };
        meta.work = Work::Done;
        let frame_len = packet.frame_len();
        if !write(lane, packet, meta, frame_len) {
            *verdict = Verdict::Drop(DropReason::NoHeadroom);
            others = true;
            continue;
        }
        *verdict = Verdict::Tx(lane.port);
        counters.packets.add(1);
        counters.bytes.add(frame_len as u64);
        others |= *all_to.get_or_insert(lane.port) != lane.port;
    }
    all_to.filter(|_| !others)
}

/// Puts the headers of a lane before a packet; false if there is no room.
#[inline(always)]
fn write<P: Packet>(lane: &Lane, packet: &mut P, meta: &Meta, frame_len: usize) -> bool {
    let l3 = usize::from(meta.l3);
    let end = l3 + usize::from(meta.ip_len);
    if frame_len > end && !matches!(lane.change, Change::Mac | Change::Translate) {
        // Ethernet padding is no part of the packet and must not follow it into the tunnel.
        packet.truncate(end);
    }
    let Some(frame) = packet.exchange_front(l3, lane.header_len()) else { return false };
    lane.write(frame, meta.ip_len, meta.probe.is_v6);
    true
}
