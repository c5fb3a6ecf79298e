//! Where full-NAT connects to a backend from: a local address and port whose replies come back to this worker.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::family::Family;
use super::{At, Origin};
use crate::lb::clock::Tick;
use crate::lb::local_ports::PoolKey;
use crate::lb::shard::Shard;
use crate::lb::snapshot::{Backend, Local, Mode, Snapshot};
use crate::lb::steer;
use crate::lb::table::{Entry, Notes, Table, TableHasher};
use crate::lb::verdict::{DropReason, Verdict};
use crate::wire::parse::FiveTuple;

/// Replaces the source of a request by a local address and port that no other connection to the same end has; they are
/// the caller's to give back if nothing comes of it.
#[inline(never)]
pub(super) fn choose<A: Family>(
    at: &mut At,
    inside: FiveTuple<A>,
    backend: &Backend,
) -> Result<FiveTuple<A>, DropReason> {
    let (snapshot, worker) = (at.snapshot, at.shard.worker);
    let rss = backend.hop.and_then(|hop| snapshot.port(hop.port)).and_then(|port| port.rss.as_deref());
    // Clients are spread over the addresses, and try the others where one is used up.
    let pools = &backend.local_pools;
    let first = (u32::from(inside.sport) as usize).checked_rem(pools.len()).unwrap_or(0);
    for &pool in pools.iter().cycle().skip(first).take(pools.len()) {
        let mut found = None;
        let Shard { local_ports, steer, hasher, v4, v6, .. } = &mut *at.shard;
        let port = local_ports.take(pool, |key, port| {
            let Some(local) = A::of_either(key.local) else { return false };
            let owner = match rss {
                Some(rss) => rss.worker(key.remote, key.local, inside.dport, port),
                None => Some(steer::by_client(steer, key.local, port, inside.protocol, snapshot.workers)),
            };
            if owner != Some(worker) || is_of_a_vip(snapshot, key, port) {
                return false;
            }
            let new = FiveTuple { src: local, sport: port, ..inside };
            // Pools may share a remote end, where a service has every port, and a new one does not know who was there before.
            if is_taken(v4, v6, hasher, &new.reversed()) {
                return false;
            }
            found = Some(new);
            true
        });
        if port.is_some()
            && let Some(new) = found
        {
            return Ok(new);
        }
    }
    Err(DropReason::PortsExhausted)
}

/// Whether a connection has these replies, also one that is over but not given back yet.
fn is_taken<A: Family>(v4: &Table<Ipv4Addr>, v6: &Table<Ipv6Addr>, hasher: &TableHasher, reply: &FiveTuple<A>) -> bool {
    if !A::table_of(v4, v6).is_unknown(hasher.hash(reply), reply) {
        return true;
    }
    // A client of the other IP version has its connection in the other table.
    if let Some(reply) = A::mapped(reply) {
        return !v6.is_unknown(hasher.hash(&reply), &reply);
    }
    let ends = (reply.src.into().to_canonical(), reply.dst.into().to_canonical());
    let (IpAddr::V4(src), IpAddr::V4(dst)) = ends else { return false };
    let FiveTuple { sport, dport, protocol, .. } = *reply;
    let reply = FiveTuple { src, dst, sport, dport, protocol };
    !v4.is_unknown(hasher.hash(&reply), &reply)
}

/// Whether clients connect to this port of a local address (CVE-2021-3773).
fn is_of_a_vip(snapshot: &Snapshot, key: &PoolKey, port: u16) -> bool {
    matches!(snapshot.local(key.local), Some(Local::Vip { .. }))
        && snapshot.find_service(key.local, key.protocol, port).is_some()
}

/// Gives a local port back of which no connection came; `reply` is the five-tuple that would have come back.
#[cold]
pub(super) fn give_back<A: Family>(shard: &mut Shard, mode: Mode, reply: &FiveTuple<A>, now: Tick) {
    if mode == Mode::FullNat {
        shard.local_ports.give_back(&PoolKey::of(reply), reply.dport, now);
    }
}

/// Counts a reply of full-NAT, and whether another worker had to hand it over.
#[inline]
pub(super) fn note_reply<A>(at: &At, entry: &Entry<A>) {
    if entry.notes.has(Notes::LOCAL) {
        at.shard.counters.local_replies.add(1);
        if at.origin == Origin::Ring {
            at.shard.counters.local_handoffs.add(1);
        }
    }
}

/// The verdict of a packet to an address of ours that no connection knows and no service is for.
#[cold]
pub(super) fn stray<A: Family>(at: &At, key: &FiveTuple<A>) -> Verdict {
    let (src, dst) = (key.src.into(), key.dst.into());
    if !matches!(at.snapshot.local(dst), Some(Local::Local | Local::Vip { local: true, .. })) {
        return Verdict::Drop(DropReason::NoService);
    }
    // A NIC may have put it elsewhere than it told: the owner is whom the port was chosen for.
    let rss = at.snapshot.port(at.port).and_then(|port| port.rss.as_deref());
    match rss.and_then(|rss| rss.worker(src, dst, key.sport, key.dport)) {
        Some(owner) if owner != at.shard.worker && at.origin == Origin::Port => Verdict::Handoff(owner),
        _ => Verdict::Drop(DropReason::NoConnection),
    }
}
