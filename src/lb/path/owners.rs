//! Which worker a packet belongs to, where the device has not seen to that itself.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::family::Family;
use super::{Meta, Work, echo_nat, icmp};
use crate::lb::ids::{PortId, WorkerId};
use crate::lb::shard::Shard;
use crate::lb::snapshot::{Local, Snapshot};
use crate::lb::steer;
use crate::lb::table::Probe;
use crate::lb::verdict::Verdict;
use crate::wire::parse::{FiveTuple, Kind, Parsed};
use crate::wire::protocol;

/// What decides about the owner of a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum By {
    /// Whoever received it keeps it.
    Arrival,
    /// Its source is the client.
    Source,
    /// Its destination is the client.
    Destination,
}

impl By {
    /// For a packet of a flow to `dst` that came by a port; `is_placed` if the device keeps connections on one queue.
    fn of(snapshot: &Snapshot, port: PortId, dst: IpAddr, protocol: u8, dport: u16) -> Self {
        let port = snapshot.port(port);
        let is_placed = port.is_some_and(|port| port.is_placed);
        match snapshot.local(dst) {
            // A reply to a local port, which was chosen so that the NIC brings it to its owner.
            Some(Local::Local) if port.is_some_and(|port| port.rss.is_some()) => Self::Arrival,
            Some(Local::Local) => Self::Destination,
            Some(Local::Vip { local: true, .. }) if snapshot.find_service(dst, protocol, dport).is_none() => {
                Self::Destination
            }
            // The device has placed the packets itself.
            Some(Local::Vip { nat: false, .. }) if is_placed => Self::Arrival,
            // Nothing is served there.
            Some(Local::Own(_)) => Self::Arrival,
            Some(Local::Vip { .. }) => Self::Source,
            None => Self::Destination,
        }
    }
}

/// Gives the packets of flows that belong to other workers their verdict. The bit of `Handed` if there are any.
pub(super) fn hand_over(shard: &mut Shard, snapshot: &Snapshot, metas: &mut [Meta], verdicts: &mut [Verdict]) -> u8 {
    let mut clients = std::mem::take(&mut shard.clients);
    let mut kinds = 0;
    let has = |metas: &[Meta], kinds: [Work; 2]| metas.iter().any(|meta| kinds.contains(&meta.work));
    if has(metas, [Work::Plain4, Work::Flow4]) {
        kinds |= hand_over_of::<Ipv4Addr>(shard, snapshot, metas, &mut clients, verdicts);
    }
    if has(metas, [Work::Plain6, Work::Flow6]) {
        kinds |= hand_over_of::<Ipv6Addr>(shard, snapshot, metas, &mut clients, verdicts);
    }
    shard.clients = clients;
    kinds & Work::Handed as u8
}

#[inline(never)]
fn hand_over_of<A: Family>(
    shard: &Shard,
    snapshot: &Snapshot,
    metas: &mut [Meta],
    clients: &mut [Probe],
    verdicts: &mut [Verdict],
) -> u8 {
    // Most packets of a burst go to the same few addresses: the last answer is often the next one.
    let (mut last, mut any) = (None, false);
    for (meta, client) in metas.iter().zip(&mut *clients) {
        client.words.ends = 0;
        if meta.work != A::PLAIN && meta.work != A::FLOW {
            continue;
        }
        let tuple: FiveTuple<A> = meta.probe.words.tuple();
        let by = match last {
            Some((port, dst, dport, by)) if port == meta.came.port && dst == tuple.dst && dport == tuple.dport => by,
            _ => By::of(snapshot, meta.came.port, tuple.dst.into(), tuple.protocol, tuple.dport),
        };
        last = Some((meta.came.port, tuple.dst, tuple.dport, by));
        client.words = match by {
            By::Arrival => continue,
            By::Source => steer::client(tuple.src, tuple.sport, tuple.protocol),
            By::Destination => steer::client(tuple.dst, tuple.dport, tuple.protocol),
        };
        any = true;
    }
    if !any {
        return 0;
    }
    shard.steer.hash_all::<A>(clients.iter_mut().take(metas.len()));
    let mut kinds = 0;
    for ((meta, client), verdict) in metas.iter_mut().zip(clients).zip(verdicts) {
        // No client has all words zero: its protocol is among them.
        if client.words.ends != 0 {
            let owner = steer::owner(client.hash, snapshot.workers);
            // What stays gets another verdict later. No branch, because nobody could foretell it.
            *verdict = Verdict::Handoff(owner);
            meta.work = if owner == shard.worker { meta.work } else { Work::Handed };
        }
        kinds |= meta.work as u8;
    }
    kinds
}

/// Moves what stays here to the front, in its order, so that later stages meet nothing else: a loop that skips half of its
/// packets at random guesses wrong every second time.
pub(super) fn own(metas: &mut [Meta]) -> &mut [Meta] {
    let mut count = 0;
    for at in 0..metas.len() {
        let Some(&meta) = metas.get(at) else { break };
        if let Some(place) = metas.get_mut(count) {
            *place = Meta { at: at as u8, ..meta };
        }
        count += usize::from(meta.work != Work::Handed);
    }
    metas.get_mut(..count).unwrap_or_default()
}

/// The worker that owns the connection that an ICMP error is about, or the query that an echo is of; `None` for every other
/// packet.
pub(super) fn of_message(
    shard: &Shard,
    snapshot: &Snapshot,
    parsed: &Parsed,
    frame: &[u8],
    port: PortId,
) -> Option<WorkerId> {
    if !matches!((parsed.kind, parsed.protocol), (Kind::V4, protocol::ICMP) | (Kind::V6, protocol::ICMPV6)) {
        return None;
    }
    // The quote shows a packet of the other direction.
    let (src, dst, sport, dport, protocol) =
        icmp::quoted_reversed(parsed, frame).or_else(|| echo(snapshot, parsed, frame))?;
    let by = By::of(snapshot, port, dst, protocol, dport);
    let port = snapshot.port(port)?;
    let by_client = |address, port| Some(steer::by_client(&shard.steer, address, port, protocol, snapshot.workers));
    match (by, &port.rss) {
        (By::Source, _) => by_client(src, sport),
        (By::Destination, _) => by_client(dst, dport),
        (By::Arrival, _) if matches!(snapshot.local(dst), Some(Local::Own(_))) => None,
        // Where the device places the packets of the connection is worked out.
        (By::Arrival, Some(rss)) => rss.worker(src, dst, sport, dport),
        // Nobody knows that: all are asked in turn, see `next_to_ask`.
        (By::Arrival, None) => Some(WorkerId(0)),
    }
}

/// The tuple of an echo that may go through NAT.
fn echo(snapshot: &Snapshot, parsed: &Parsed, frame: &[u8]) -> Option<(IpAddr, IpAddr, u16, u16, u8)> {
    fn of<A: Family>(snapshot: &Snapshot, parsed: &Parsed, frame: &[u8]) -> Option<(IpAddr, IpAddr, u16, u16, u8)> {
        let t = echo_nat::tuple::<A>(parsed, frame).filter(|tuple| echo_nat::may_be_ours(snapshot, tuple))?;
        Some((t.src.into(), t.dst.into(), t.sport, t.dport, t.protocol))
    }
    match parsed.kind {
        Kind::V4 => of::<Ipv4Addr>(snapshot, parsed, frame),
        _ => of::<Ipv6Addr>(snapshot, parsed, frame),
    }
}

/// The worker that owns the connection of a packet that came by a port; `None` if the device has placed it and does not say
/// how.
pub(super) fn of_flow<A: Family>(
    shard: &Shard,
    snapshot: &Snapshot,
    key: &FiveTuple<A>,
    port: PortId,
) -> Option<WorkerId> {
    let (src, dst): (IpAddr, IpAddr) = (key.src.into(), key.dst.into());
    let by = By::of(snapshot, port, dst, key.protocol, key.dport);
    let rss = &snapshot.port(port)?.rss;
    let by_client = |address, port| Some(steer::by_client(&shard.steer, address, port, key.protocol, snapshot.workers));
    match by {
        _ if snapshot.workers <= 1 => Some(shard.worker),
        By::Source => by_client(src, key.sport),
        By::Destination => by_client(dst, key.dport),
        By::Arrival => rss.as_ref().and_then(|rss| rss.worker(src, dst, key.sport, key.dport)),
    }
}

/// Who may have the connection that an error is about, if this worker has not, on a port whose device keeps
/// connections on one queue but does not say on which; `None` if everybody was asked.
pub(super) fn next_to_ask(shard: &Shard, snapshot: &Snapshot, port: PortId, dst: IpAddr) -> Option<WorkerId> {
    let port = snapshot.port(port)?;
    let is_unknown =
        port.is_placed && port.rss.is_none() && matches!(snapshot.local(dst), Some(Local::Vip { nat: false, .. }));
    Some(WorkerId(shard.worker.0 + 1)).filter(|next| is_unknown && next.0 < snapshot.workers)
}
