//! The packet path: a burst in, one verdict a packet out.
//!
//! A burst goes through in stages, so that the memory that one packet waits for is fetched while the others are worked
//! on: parse all, hash all and fetch their buckets, find all their places and fetch those, rewrite all.

mod choice;
pub mod client_address;
mod content;
mod crossed;
mod crossing;
mod echo;
mod echo_nat;
mod egress;
mod errors;
mod family;
mod fast;
mod flow;
mod fragments;
mod glance;
mod icmp;
mod local;
mod lookups;
mod nat;
mod neighbor;
mod owners;
mod partial;
mod pieces;
mod probe;
mod punt;
mod reasons;
mod reset;
mod seen;
mod segment;
mod tell;
mod tunnel;
mod tunnel_error;
mod untunnel;
mod watch;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub use egress::complete;
pub use lookups::{arrival, question};
pub use neighbor::{announcements, solicit};
pub use probe::send_probe;
pub use reset::{Reset, send as send_reset};

use super::clock::{Now, Tick};
use super::hash;
use super::ids::{PortId, ServiceId};
use super::packet::Packet;
use super::shard::Shard;
use super::snapshot::{Service, Snapshot};
use super::table::{Probe, Slot};
use super::trace::Step;
use super::verdict::{DropReason, Verdict};
use crate::wire::ethernet::{self, MacAddr};
use crate::wire::parse::{FiveTuple, Fragment, Kind, ParseError, Parsed, parse};
use crate::wire::protocol;
use family::Family;
use glance::Inlet;

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

/// What became of a burst.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Processed {
    /// How many packets have got their verdict.
    pub count: usize,
    /// Their bytes, as received.
    pub bytes: u64,
    /// Set if every packet of the burst that is not for another worker has the verdict `Tx` with this port, which saves
    /// looking at each.
    pub all_to: Option<PortId>,
    /// Whether some are for another worker.
    pub handed: bool,
}

/// What the stages know of one packet.
#[derive(Clone, Copy, Default)]
pub struct Meta {
    probe: Probe,
    /// Of a plain packet: the first eight bytes of its IP header as they lie there, read as a little-endian word.
    start: u64,
    hint: Slot,
    /// Of a packet to be sent: its lane.
    lane: u32,
    /// Of a plain packet: its length in bytes.
    ip_len: u16,
    /// Of a plain packet.
    ttl: u8,
    came: Came,
    work: Work,
    /// Which packet this is about, if the packets of other workers are taken out.
    at: u8,
}

/// How a packet came.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
struct Came {
    port: PortId,
    /// Of a plain packet: the offset of its IP header.
    l3: u8,
}

/// What is found out beforehand for a packet that seems to open a connection.
#[derive(Clone, Copy, Default)]
pub struct Plan {
    service: Option<ServiceId>,
    /// See [`hash_for`].
    hash: u64,
}

/// What is left to do with a packet; after the first stage one bit each, so that a byte says which there are in a burst.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
#[repr(u8)]
enum Work {
    /// It has its verdict.
    #[default]
    Done = 1,
    /// TCP or UDP over IPv4, for the connection table, in the form that nearly every packet has.
    Plain4 = 2,
    /// The same over IPv6.
    Plain6 = 4,
    /// TCP or UDP over IPv4 with options, or otherwise out of the ordinary.
    Flow4 = 8,
    /// The same over IPv6.
    Flow6 = 16,
    /// Everything rare: ARP, ICMP, what is not served.
    Rare = 32,
    /// It has its verdict: it belongs to another worker.
    Handed = 64,
    /// Its lane is known; the rewriting of an IPv4 packet is left. The first stage does not say so, nor the next.
    Send4 = 128,
    /// The same for IPv6.
    Send6 = 129,
}

/// The bits of what the connection tables are asked for.
const V4: u8 = Work::Plain4 as u8 | Work::Flow4 as u8;
const V6: u8 = Work::Plain6 as u8 | Work::Flow6 as u8;

/// A burst's packets and their verdicts, for the last stages.
struct Burst<'a, P> {
    packets: &'a mut [P],
    verdicts: &'a mut [Verdict],
    /// Whether the metas are of some of the packets, which [`Meta::at`] says, and not of one after the other.
    handed: bool,
}

/// Gives each of `packets` its verdict and rewrites it accordingly.
///
/// `port_of` says which port a packet came in by. At most [`BURST`] packets are looked at, and as many as `verdicts`
/// has places.
#[inline(never)]
pub fn process<P: Packet>(
    shard: &mut Shard,
    snapshot: &Snapshot,
    now: Now,
    origin: Origin,
    port_of: impl Fn(&P) -> PortId,
    packets: &mut [P],
    verdicts: &mut [Verdict],
) -> Processed {
    let mut all = std::mem::take(&mut shard.metas);
    let count = packets.len().min(verdicts.len()).min(all.len());
    let metas = all.get_mut(..count).unwrap_or_default();
    let packets = packets.get_mut(..count).unwrap_or_default();
    let steer = origin == Origin::Port && snapshot.workers > 1;
    let Looked { bytes, mut kinds } = look(snapshot, &port_of, packets, metas);
    if let Some(eye) = &mut shard.eye {
        watch::before(eye, snapshot, kinds, packets, metas);
    }
    if P::EXPLAINED || takes_long_way(shard) {
        metas.iter_mut().for_each(|meta| meta.work = Work::Done);
        kinds |= Work::Done as u8;
    }
    if kinds & Work::Done as u8 != 0 {
        kinds |= look_closer(shard, snapshot, steer, packets, metas, verdicts);
    }
    if steer && snapshot.steers {
        kinds |= owners::hand_over(shard, snapshot, metas, verdicts);
    }
    let handed = kinds & Work::Handed as u8 != 0;
    let metas = if handed { owners::own(metas) } else { metas };
    let (tick, mut all_to) = (now.tick(), None);
    if kinds & V4 != 0 {
        find::<Ipv4Addr>(shard, tick, kinds, metas);
        all_to =
            fast::forward::<Ipv4Addr, P>(shard, snapshot.translates, tick, metas, Burst { packets, verdicts, handed });
    }
    if all_to.is_none() && kinds & V6 != 0 {
        find::<Ipv6Addr>(shard, tick, kinds, metas);
        all_to =
            fast::forward::<Ipv6Addr, P>(shard, snapshot.translates, tick, metas, Burst { packets, verdicts, handed });
    }
    if all_to.is_none() && metas.iter().any(|meta| meta.work != Work::Done) {
        all_to = finish(shard, snapshot, now, origin, metas, Burst { packets, verdicts, handed });
    }
    shard.metas = all;
    if let Some(eye) = &mut shard.eye {
        eye.after(now, packets, verdicts, all_to.is_some() && !handed, port_of);
    }
    Processed { count, bytes, all_to, handed }
}

/// The last stages, for packets that no connection knows or that are out of the ordinary. Says by which port all of the burst
/// leaves, if it is all of it and one port.
#[inline(never)]
fn finish<P: Packet>(
    shard: &mut Shard,
    snapshot: &Snapshot,
    now: Now,
    origin: Origin,
    metas: &mut [Meta],
    burst: Burst<P>,
) -> Option<PortId> {
    let Burst { packets, verdicts, handed } = burst;
    let mut all_to = None;
    let mut plans = std::mem::take(&mut shard.plans);
    plan::<Ipv4Addr>(snapshot, metas, &mut plans);
    plan::<Ipv6Addr>(snapshot, metas, &mut plans);
    shard.checksum_seen = false;
    let mut opened = 0;
    for (at, (meta, plan)) in metas.iter_mut().zip(&*plans).enumerate().filter(|(_, (meta, _))| meta.work != Work::Done)
    {
        let place = if handed { usize::from(meta.at) } else { at };
        let (Some(packet), Some(verdict)) = (packets.get_mut(place), verdicts.get_mut(place)) else { continue };
        let at = &mut At { shard, snapshot, now, origin, port: meta.came.port };
        let kind = meta.work as u8;
        if fast::open::<Ipv4Addr, P>(at, packet, meta, *plan) || fast::open::<Ipv6Addr, P>(at, packet, meta, *plan) {
            opened |= kind;
        } else {
            match &mut at.shard.eye {
                Some(eye) if meta.work == Work::Rare => eye.keep(place, packet),
                Some(eye) => eye.keep_flow(place, packet),
                None => {}
            }
            *verdict = closer_look(at, packet, meta, *plan);
        }
    }
    // Only now, because until here each packet has to find the table as those before it have left it.
    if opened & V4 != 0 {
        all_to = fast::send_on::<Ipv4Addr, P>(shard, snapshot.translates, metas, Burst { packets, verdicts, handed });
    }
    if opened & V6 != 0 {
        all_to = all_to.or(fast::send_on::<Ipv6Addr, P>(
            shard,
            snapshot.translates,
            metas,
            Burst { packets, verdicts, handed },
        ));
    }
    shard.plans = plans;
    all_to
}

/// What the first stage says of a burst.
#[derive(Default)]
struct Looked {
    /// Bytes of all packets.
    bytes: u64,
    /// The bit of each kind of work that there is.
    kinds: u8,
}

/// The first stage: what each packet is.
#[inline(never)]
fn look<P: Packet>(snapshot: &Snapshot, port_of: impl Fn(&P) -> PortId, packets: &[P], metas: &mut [Meta]) -> Looked {
    let mut looked = Looked::default();
    let (mut left, mut places) = (packets, metas);
    // What came by one port is looked at in one go.
    while let Some(port) = left.first().map(&port_of) {
        let same = left.iter().take_while(|&packet| port_of(packet) == port).count();
        let (now, later) = left.split_at_checked(same).unwrap_or((left, &[]));
        let (now_places, later_places) = std::mem::take(&mut places).split_at_mut_checked(same).unwrap_or_default();
        let found = snapshot.port(port).map_or(Inlet::NONE, Inlet::of).glance(port, now, now_places);
        looked = Looked { bytes: looked.bytes + found.bytes, kinds: looked.kinds | found.kinds };
        (left, places) = (later, later_places);
    }
    looked
}

/// Goes on with it for the packets that a glance was not enough for; the bit of each kind of work that they are.
#[inline(never)]
fn look_closer<P: Packet>(
    shard: &mut Shard,
    snapshot: &Snapshot,
    steer: bool,
    packets: &mut [P],
    metas: &mut [Meta],
    verdicts: &mut [Verdict],
) -> u8 {
    let mut eye = shard.eye.take();
    let mut kinds = 0;
    for (at, ((packet, meta), verdict)) in packets.iter_mut().zip(metas).zip(verdicts).enumerate() {
        if meta.work == Work::Done {
            if let Some(eye) = &mut eye {
                eye.keep(at, packet);
            }
            *verdict = first_look(shard, snapshot, packet, steer, meta);
            kinds |= meta.work as u8;
        }
    }
    shard.eye = eye;
    kinds
}

/// Tests hold the short way to the long one.
#[inline(always)]
fn takes_long_way(_shard: &Shard) -> bool {
    #[cfg(test)]
    return !_shard.short_way;
    #[cfg(not(test))]
    false
}

/// The next stages: in which bucket each connection of a family is, and in which place of it.
fn find<A: Family>(shard: &Shard, now: Tick, kinds: u8, metas: &mut [Meta]) {
    if kinds & !(A::PLAIN as u8 | A::FLOW as u8 | Work::Handed as u8) == 0 {
        find_of::<A>(shard, now, metas, |_| true);
    } else {
        find_of::<A>(shard, now, metas, |meta| meta.work == A::PLAIN || meta.work == A::FLOW);
    }
}

/// [`find`] for the packets of which `is_of` is true.
#[inline(never)]
fn find_of<A: Family>(shard: &Shard, now: Tick, metas: &mut [Meta], is_of: impl Fn(&Meta) -> bool) {
    let table = A::table(shard);
    shard.hasher.hash_all::<A>(metas.iter_mut().filter(|m| is_of(m)).map(|m| &mut m.probe));
    for meta in metas.iter_mut().filter(|m| is_of(m)) {
        table.prefetch_bucket(meta.probe.hash);
    }
    for meta in metas.iter_mut().filter(|m| is_of(m)) {
        meta.hint = table.candidate(meta.probe.hash, now);
    }
}

/// Looks ahead for packets that no connection seems to know: their services' lookup tables are larger than the caches.
#[inline(never)]
fn plan<A: Family>(snapshot: &Snapshot, metas: &[Meta], plans: &mut [Plan]) {
    for (meta, plan) in metas.iter().zip(plans) {
        if (meta.work == A::PLAIN || meta.work == A::FLOW) && !meta.hint.is_some() {
            *plan = planned::<A>(snapshot, &meta.probe.words.tuple());
        }
    }
}

#[inline(always)]
fn planned<A: Family>(snapshot: &Snapshot, key: &FiveTuple<A>) -> Plan {
    let id = snapshot.find_service(key.dst.into(), key.protocol, key.dport);
    let service = id.and_then(|id| snapshot.service(id));
    let hash = hash_for(snapshot, service, key);
    if let Some(service) = service {
        service.prefetch_pick(hash);
    }
    Plan { service: id, hash }
}

/// What a service's consistent hashing goes by, under its key: the packet's five-tuple, or its client's address alone.
#[inline(always)]
fn hash_for<A: Family>(snapshot: &Snapshot, service: Option<&Service>, key: &FiveTuple<A>) -> u64 {
    match service {
        Some(service) if service.is_by_client => client_hash(snapshot, key.src.into()),
        _ => A::tuple_hash(snapshot.flow_key, key),
    }
}

/// Apart, so that it takes no registers where it is not needed.
#[inline(never)]
fn client_hash(snapshot: &Snapshot, client: IpAddr) -> u64 {
    hash::client(snapshot.flow_key, client, 0, 0)
}

/// The verdict of a packet that the short way is not for.
#[inline(never)]
fn closer_look<P: Packet>(at: &mut At, packet: &mut P, meta: &Meta, plan: Plan) -> Verdict {
    if packet.bytes().len() < packet.frame_len() {
        pieces::gather(packet);
    }
    // Used where it was written: copied as a whole at once, it would be read before its small fields have arrived.
    let result = parse(packet.bytes(), packet.frame_len());
    let parsed = match &result {
        Ok(parsed) => parsed,
        Err(error) => return Verdict::Drop(reasons::of(*error)),
    };
    let verdict = match meta.work {
        Work::Plain4 | Work::Flow4 => flow::flow::<Ipv4Addr, P>(at, packet, parsed, meta, plan),
        Work::Plain6 | Work::Flow6 => flow::flow::<Ipv6Addr, P>(at, packet, parsed, meta, plan),
        Work::Done | Work::Rare | Work::Handed | Work::Send4 | Work::Send6 => rare(at, packet, parsed),
    };
    if matches!(verdict, Verdict::Reply(_)) { answered(at, packet, verdict) } else { verdict }
}

/// Whoever says that it has our MAC address gets no answer: a switch would bring it back to us.
#[cold]
fn answered<P: Packet>(at: &At, packet: &P, verdict: Verdict) -> Verdict {
    let own = at.snapshot.port(at.port).map(|port| port.mac);
    if own.is_some() && own == ethernet::dst(packet.bytes()) { Verdict::Drop(DropReason::Looped) } else { verdict }
}

/// What every step of the last stage needs besides the packet.
pub(super) struct At<'a> {
    shard: &'a mut Shard,
    snapshot: &'a Snapshot,
    now: Now,
    origin: Origin,
    /// The port that the packet came in by.
    port: PortId,
}

#[cold]
fn malformed<P: Packet>(packet: &P, error: ParseError) -> Verdict {
    packet.note(|| Step::Malformed(error));
    Verdict::Drop(reasons::of(error))
}

/// Parses, and sorts out what has its verdict already; the verdict given means nothing where work is left.
fn first_look<P: Packet>(shard: &Shard, snapshot: &Snapshot, packet: &mut P, steer: bool, meta: &mut Meta) -> Verdict {
    meta.work = Work::Done;
    // What this says of a packet is not all that the short way needs.
    meta.came.l3 = 0;
    let port = meta.came.port;
    if packet.bytes().len() < packet.frame_len() {
        pieces::gather(packet);
    }
    let frame = packet.bytes();
    let parsed = &match parse(frame, packet.frame_len()) {
        Ok(parsed) => parsed,
        Err(error) => return malformed(packet, error),
    };
    packet.note(|| Step::Parsed(*parsed));
    let Some(own) = snapshot.port(port) else { return Verdict::Drop(DropReason::ForeignMac) };
    if parsed.vlan_id() != own.vlan || parsed.vids > 1 {
        packet.note(|| Step::Vlan { found: parsed.vlan, port: own.vlan });
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
            if group && punt::is_for_host(snapshot, port, parsed, frame) {
                meta.work = Work::Rare;
            }
            packet.note(|| Step::Mac { found: ethernet::dst(frame).unwrap_or_default(), port: own.mac });
            return Verdict::Drop(if group { DropReason::NotOurs } else { DropReason::ForeignMac });
        }
    }
    // Their places are found out where the shard may change.
    if parsed.fragment != Fragment::None {
        meta.work = Work::Rare;
        return Verdict::Drop(DropReason::Fragment);
    }
    if !own.outer_tier.is_empty()
        && let Some(taken) = untunnel::take_off(snapshot, own, packet, parsed)
    {
        // What is inside is for a VIP, where no tunnel ends: this is done once at most.
        return match taken {
            Ok(()) => {
                packet.note(|| Step::TunnelOff);
                first_look(shard, snapshot, packet, steer, meta)
            }
            Err(reason) => Verdict::Drop(reason),
        };
    }
    let frame = packet.bytes();
    // Flows are for `owners::hand_over`, all at once.
    if steer
        && let Some(owner) = owners::of_message(shard, snapshot, parsed, frame, port).filter(|&o| o != shard.worker)
    {
        return Verdict::Handoff(owner);
    }
    match work {
        Work::Flow4 => meta.probe.of(&parsed.five_tuple_v4(frame)),
        Work::Flow6 => meta.probe.of(&parsed.five_tuple_v6(frame)),
        _ => {}
    }
    meta.work = work;
    Verdict::Drop(DropReason::NotOurs)
}

fn addresses<A: Family>(parsed: &Parsed, frame: &[u8]) -> (IpAddr, IpAddr) {
    let key = A::key(parsed, frame);
    (key.src.into(), key.dst.into())
}

#[cold]
fn rare<P: Packet>(at: &mut At, packet: &mut P, parsed: &Parsed) -> Verdict {
    // No such message comes by this link, and an answer of that length could not leave by it. The kernel's answers fit:
    // AF_PACKET gives what was several fragments as one frame.
    let is_message = matches!(parsed.protocol, protocol::ICMP | protocol::ICMPV6);
    if is_message && at.snapshot.port(at.port).is_some_and(|port| parsed.ip_len > port.mtu) {
        return punt::or_drop(at, packet, parsed, DropReason::TooBig);
    }
    match (parsed.kind, parsed.protocol) {
        (Kind::V4, _) if parsed.fragment != Fragment::None => fragments::fragment::<Ipv4Addr, P>(at, packet, parsed),
        (Kind::V6, _) if parsed.fragment != Fragment::None => fragments::fragment::<Ipv6Addr, P>(at, packet, parsed),
        (Kind::Arp, _) => neighbor::arp(at, packet, parsed),
        (Kind::V4, protocol::ICMP) => icmp::v4(at, packet, parsed),
        (Kind::V6, protocol::ICMPV6) => icmp::v6(at, packet, parsed),
        (Kind::V4, _) => {
            let reason = not_served(at.snapshot, addresses::<Ipv4Addr>(parsed, packet.bytes()).1);
            punt::or_drop(at, packet, parsed, reason)
        }
        (Kind::V6, _) => {
            let reason = not_served(at.snapshot, addresses::<Ipv6Addr>(parsed, packet.bytes()).1);
            punt::or_drop(at, packet, parsed, reason)
        }
    }
}

/// Why a packet to `dst` that nothing claims is dropped.
fn not_served(snapshot: &Snapshot, dst: IpAddr) -> DropReason {
    if snapshot.local(dst).is_some() { DropReason::NoService } else { DropReason::NotOurs }
}

#[cfg(test)]
pub(crate) mod tests;
