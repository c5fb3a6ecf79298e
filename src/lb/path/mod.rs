//! The packet path: a burst in, one verdict a packet out.
//!
//! A burst goes through in stages, so that the memory that one packet waits for is fetched while the others are worked
//! on: parse all, hash all and fetch their buckets, find all their places and fetch those, rewrite all.

mod content;
mod echo;
mod egress;
mod errors;
mod family;
mod flow;
mod icmp;
mod nat;
mod neighbor;
mod reasons;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub use egress::complete;
pub use neighbor::{announcements, solicit};

use super::clock::Now;
use super::ids::{PortId, WorkerId};
use super::packet::Packet;
use super::shard::Shard;
use super::snapshot::{Local, Snapshot};
use super::steer;
use super::table::Slot;
use super::verdict::{DropReason, Verdict};
use crate::wire::ethernet::MacAddr;
use crate::wire::parse::{Fragment, Kind, Parsed, parse};
use crate::wire::protocol;
use family::Family;

/// Most packets in one call.
pub const BURST: usize = 32;

/// Where a burst comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Origin {
    /// A port: packets may belong to other workers.
    Port,
    /// Another worker's ring: they belong here.
    Ring,
}

/// What the stages know of one packet.
#[derive(Clone, Copy, Default)]
pub struct Meta {
    parsed: Option<Parsed>,
    port: PortId,
    work: Work,
    hash: u64,
    hint: Slot,
}

/// What is left to do with a packet after the first stage.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Work {
    /// It has its verdict.
    #[default]
    Done,
    /// TCP or UDP over IPv4, for the connection table.
    Flow4,
    /// TCP or UDP over IPv6.
    Flow6,
    /// Everything rare: ARP, ICMP, what is not served.
    Rare,
}

/// Gives each of `packets` its verdict and rewrites it accordingly.
///
/// `port_of` says which port a packet came in by. At most [`BURST`] packets are looked at, and as many as `verdicts`
/// has places; the number is returned.
pub fn process<P: Packet>(
    shard: &mut Shard,
    snapshot: &Snapshot,
    now: Now,
    origin: Origin,
    port_of: impl Fn(&P) -> PortId,
    packets: &mut [P],
    verdicts: &mut [Verdict],
) -> usize {
    let mut metas = std::mem::take(&mut shard.metas);
    let count = packets.len().min(verdicts.len()).min(metas.len());
    let steer = origin == Origin::Port && snapshot.workers > 1;
    for ((packet, meta), verdict) in packets.iter().zip(&mut *metas).zip(&mut *verdicts) {
        *verdict = first_look(shard, snapshot, packet, port_of(packet), steer, meta);
    }
    for (packet, meta) in packets.iter().zip(&mut *metas).take(count) {
        match (meta.work, meta.parsed) {
            (Work::Flow4, Some(parsed)) => meta.hash = fetch_bucket::<Ipv4Addr>(shard, &parsed, packet.bytes()),
            (Work::Flow6, Some(parsed)) => meta.hash = fetch_bucket::<Ipv6Addr>(shard, &parsed, packet.bytes()),
            _ => {}
        }
    }
    for meta in metas.iter_mut().take(count) {
        match meta.work {
            Work::Flow4 => meta.hint = shard.v4.candidate(meta.hash),
            Work::Flow6 => meta.hint = shard.v6.candidate(meta.hash),
            _ => {}
        }
    }
    for ((packet, meta), verdict) in packets.iter_mut().zip(&*metas).zip(&mut *verdicts) {
        let Some(parsed) = meta.parsed else { continue };
        let mut at = At { shard, snapshot, now, port: meta.port };
        match meta.work {
            Work::Done => {}
            Work::Flow4 => *verdict = flow::flow::<Ipv4Addr, P>(&mut at, packet, &parsed, meta.hash, meta.hint),
            Work::Flow6 => *verdict = flow::flow::<Ipv6Addr, P>(&mut at, packet, &parsed, meta.hash, meta.hint),
            Work::Rare => *verdict = rare(&mut at, packet, &parsed),
        }
    }
    shard.metas = metas;
    count
}

/// What every step of the last stage needs besides the packet.
pub(super) struct At<'a> {
    shard: &'a mut Shard,
    snapshot: &'a Snapshot,
    now: Now,
    /// The port that the packet came in by.
    port: PortId,
}

#[inline]
fn fetch_bucket<A: Family>(shard: &Shard, parsed: &Parsed, frame: &[u8]) -> u64 {
    let hash = A::tuple_hash(shard.table_key, &A::key(parsed, frame));
    A::table(shard).prefetch_bucket(hash);
    hash
}

/// Parses, and sorts out what has its verdict already.
#[inline]
fn first_look<P: Packet>(
    shard: &Shard,
    snapshot: &Snapshot,
    packet: &P,
    port: PortId,
    steer: bool,
    meta: &mut Meta,
) -> Verdict {
    meta.work = Work::Done;
    meta.parsed = None;
    meta.port = port;
    let frame = packet.bytes();
    let parsed = match parse(frame, packet.frame_len()) {
        Ok(parsed) => parsed,
        Err(error) => return Verdict::Drop(reasons::of(error)),
    };
    let Some(own) = snapshot.port(port) else { return Verdict::Drop(DropReason::ForeignMac) };
    if parsed.vlan_id() != own.vlan || parsed.vids > 1 {
        return Verdict::Drop(DropReason::VlanMismatch);
    }
    let to_us = frame.first_chunk::<6>() == Some(&own.mac.0);
    let work = match (parsed.kind, parsed.protocol) {
        (Kind::V4, protocol::TCP | protocol::UDP) => Work::Flow4,
        (Kind::V6, protocol::TCP | protocol::UDP) => Work::Flow6,
        _ => Work::Rare,
    };
    if !to_us {
        let group = frame.first_chunk::<6>().is_some_and(|&mac| MacAddr(mac).is_multicast());
        let asks_for_neighbor = parsed.kind == Kind::Arp || parsed.protocol == protocol::ICMPV6;
        if !(group && asks_for_neighbor) {
            return Verdict::Drop(if group { DropReason::NotOurs } else { DropReason::ForeignMac });
        }
    }
    if parsed.fragment != Fragment::None {
        return Verdict::Drop(DropReason::Fragment);
    }
    if steer && let Some(owner) = owner(shard, snapshot, &parsed, frame, port).filter(|&o| o != shard.worker) {
        return Verdict::Handoff(owner);
    }
    meta.work = work;
    meta.parsed = Some(parsed);
    Verdict::Drop(DropReason::NotOurs)
}

/// The worker that owns the connection of a packet; `None` for packets without one.
fn owner(shard: &Shard, snapshot: &Snapshot, parsed: &Parsed, frame: &[u8], port: PortId) -> Option<WorkerId> {
    let (src, dst) = match parsed.kind {
        Kind::V4 => addresses::<Ipv4Addr>(parsed, frame),
        Kind::V6 => addresses::<Ipv6Addr>(parsed, frame),
        Kind::Arp => return None,
    };
    let is_flow = matches!(parsed.protocol, protocol::TCP | protocol::UDP);
    let (src, dst, sport, dport, protocol) = if is_flow {
        (src, dst, parsed.sport, parsed.dport, parsed.protocol)
    } else {
        // An error belongs to the connection that it quotes; the quote shows a packet of the other direction.
        icmp::quoted_reversed(parsed, frame)?
    };
    let rss = snapshot.port(port).and_then(|p| p.rss.as_ref());
    match (snapshot.local(dst), rss) {
        // The NIC has placed the packets themselves; where it places them is worked out for the errors about them.
        (Some(Local::Vip { nat: false }), Some(_)) if is_flow => None,
        (Some(Local::Vip { nat: false }), Some(rss)) => rss.worker(src, dst, sport, dport),
        // Nothing is served there.
        (Some(Local::Own(_)), _) => None,
        (Some(Local::Vip { .. }), _) => Some(steer::by_client(shard.steer_key, src, sport, protocol, snapshot.workers)),
        (None, _) => Some(steer::by_client(shard.steer_key, dst, dport, protocol, snapshot.workers)),
    }
}

fn addresses<A: Family>(parsed: &Parsed, frame: &[u8]) -> (IpAddr, IpAddr) {
    let key = A::key(parsed, frame);
    (key.src.into(), key.dst.into())
}

#[cold]
fn rare<P: Packet>(at: &mut At, packet: &mut P, parsed: &Parsed) -> Verdict {
    match (parsed.kind, parsed.protocol) {
        (Kind::Arp, _) => neighbor::arp(at, packet, parsed),
        (Kind::V4, protocol::ICMP) => icmp::v4(at, packet, parsed),
        (Kind::V6, protocol::ICMPV6) => icmp::v6(at, packet, parsed),
        (Kind::V4, _) => Verdict::Drop(not_served(at.snapshot, addresses::<Ipv4Addr>(parsed, packet.bytes()).1)),
        (Kind::V6, _) => Verdict::Drop(not_served(at.snapshot, addresses::<Ipv6Addr>(parsed, packet.bytes()).1)),
    }
}

/// Why a packet to `dst` that nothing claims is dropped.
fn not_served(snapshot: &Snapshot, dst: IpAddr) -> DropReason {
    if snapshot.local(dst).is_some() { DropReason::NoService } else { DropReason::NotOurs }
}

#[cfg(test)]
mod tests;
