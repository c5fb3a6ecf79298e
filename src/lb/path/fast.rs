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
use crate::lb::table::Entry;
use crate::lb::verdict::{DropReason, Verdict};

/// Sends on what can take the short way: those packets are done afterwards and have their verdict. Says by which port all
/// of the burst leaves, if it is all of it and one port.
#[inline(never)]
pub(super) fn forward<A: Family, P: Packet>(
    shard: &mut Shard,
    now: Tick,
    packets: &mut [P],
    metas: &mut [Meta],
    verdicts: &mut [Verdict],
) -> Option<PortId> {
    let version = shard.neighbors.version();
    let (table, lanes, neighbors, counters) = A::parts(shard);
    let (entries, buckets) = table.parts();
    let backends = counters.backends();
    let (mut all_to, mut others) = (None, metas.is_empty());
    for ((packet, meta), verdict) in packets.iter_mut().zip(metas).zip(verdicts) {
        // Whatever stops here is for a closer look.
        let is_others = std::mem::replace(&mut others, true);
        if meta.work != A::PLAIN {
            continue;
        }
        let Some(entry) = entries.get(meta.hint.index()).filter(|e| e.has(&meta.probe.words)) else { continue };
        let Some(bucket) = buckets.get_mut(meta.hint.bucket()) else { continue };
        let slot = entry.backend.slot();
        let (Some(lane), Some(counters)) = (lanes.get_mut(slot), backends.get(slot)) else { continue };
        let deadline = bucket.deadline(meta.hint.place());
        let timeout_s = lane.steady_s(version, entry.backend, entry.state);
        let fits = meta.ttl > lane.ttl_min && meta.ip_len <= lane.ip_len_max;
        if timeout_s == 0 || !fits || deadline.reached(now) {
            continue;
        }
        let renewed = now.plus(timeout_s);
        // A line that says so already is not written, which spares the memory bus.
        if renewed != deadline {
            bucket.set_deadline(meta.hint.place(), renewed);
        }
        if lane.is_unseen(now) {
            neighbors.touch(lane.neighbor);
        }
        meta.work = Work::Done;
        let frame_len = packet.frame_len();
        if lane.change == Change::Translate {
            translate(packet, meta, entry);
        }
        if !write::<A, P>(lane, packet, meta, frame_len) {
            *verdict = Verdict::Drop(DropReason::NoHeadroom);
            continue;
        }
        *verdict = Verdict::Tx(lane.port);
        counters.packets.add(1);
        counters.bytes.add(frame_len as u64);
        others = is_others | (*all_to.get_or_insert(lane.port) != lane.port);
    }
    all_to.filter(|_| !others)
}

/// Rewrites address and port of a packet in NAT.
#[inline(always)]
fn translate<A: Family, P: Packet>(packet: &mut P, meta: &Meta, entry: &Entry<A>) {
    let l3 = usize::from(meta.l3);
    let place = Place { l3, l4: l3 + A::HEADER_LEN, ttl: meta.ttl, protocol: entry.protocol };
    let (old, new) = ((entry.dst, entry.dport), (entry.translated, entry.translated_port));
    nat::rewrite_at::<A>(packet.bytes_mut(), place, End::Dst, old, new);
}

/// Puts the headers of a lane before a packet; false if there is no room.
#[inline(always)]
fn write<A: Family, P: Packet>(lane: &Lane, packet: &mut P, meta: &Meta, frame_len: usize) -> bool {
    let l3 = usize::from(meta.l3);
    let end = l3 + usize::from(meta.ip_len);
    if frame_len > end && !matches!(lane.change, Change::Mac | Change::Translate) {
        // Ethernet padding is no part of the packet and must not follow it into the tunnel.
        packet.truncate(end);
    }
    let Some(frame) = packet.exchange_front(l3, lane.header_len()) else { return false };
    lane.write(frame, meta.ip_len, A::IS_V6);
    true
}
