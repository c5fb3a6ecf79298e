//! Fragments: each is forwarded by itself, as its datagram's first one would be, whose ports all of them go by.
//!
//! They meet at the datagram's home worker, which looks at what is forged or doubled and learns the ports; from there they
//! go on to the worker that owns the connection, the first one before those behind it.

use std::net::IpAddr;

use super::family::Family;
use super::{At, Meta, Origin, Plan, flow, owners, planned, punt};
use crate::lb::fragments::{Datagram, Piece, Upper};
use crate::lb::ids::WorkerId;
use crate::lb::packet::Packet;
use crate::lb::snapshot::{Local, Snapshot};
use crate::lb::trace::Step;
use crate::lb::verdict::{DropReason, Verdict};
use crate::wire::parse::{Fragment, Parsed, fragment_data};
use crate::wire::protocol;

/// The verdict of a fragment.
#[cold]
pub(super) fn fragment<A: Family, P: Packet>(at: &mut At, packet: &mut P, parsed: &Parsed) -> Verdict {
    let key = A::key(parsed, packet.bytes());
    if let Some(reason) = refused(at, parsed, key.dst.into()) {
        return punt::or_drop(at, packet, parsed, reason);
    }
    let datagram = at.shard.fragments.datagram(key.src, key.dst, parsed.fragment_id, parsed.protocol);
    let home = datagram.home(at.snapshot.workers);
    packet.note(|| Step::Fragment { home });
    match at.origin {
        _ if home == at.shard.worker => at_home::<A, P>(at, packet, parsed, &datagram),
        Origin::Port => Verdict::Handoff(home),
        // Nobody but the home worker hands fragments on.
        Origin::Ring => from_home::<A, P>(at, packet, parsed, &datagram),
    }
}

/// Why a fragment is not even looked at.
fn refused(at: &At, parsed: &Parsed, dst: IpAddr) -> Option<DropReason> {
    match at.snapshot.local(dst) {
        // For the host, if for anybody.
        Some(Local::Own(_)) => return Some(DropReason::Fragment),
        // Only NAT has something to do with what is not for us: replies.
        None if dst.is_multicast() || !at.snapshot.translates => return Some(DropReason::NotOurs),
        _ => {}
    }
    let is_flow = match (parsed.fragment, parsed.protocol) {
        (_, protocol::TCP | protocol::UDP) => true,
        // In IPv6 the upper layer is behind the options, which only the first fragment has.
        (Fragment::Later, protocol::DESTINATION_OPTIONS) => true,
        _ => false,
    };
    (!is_flow || !at.shard.fragments.is_on()).then_some(DropReason::Fragment)
}

/// A fragment at its datagram's home worker.
fn at_home<A: Family, P: Packet>(at: &mut At, packet: &mut P, parsed: &Parsed, datagram: &Datagram) -> Verdict {
    at.shard.counters.fragments.add(1);
    let piece = fragment_data(parsed, packet.bytes())
        .and_then(|len| Piece::new(parsed.fragment_offset, len, !parsed.more_fragments));
    let Some(piece) = piece else { return Verdict::Drop(DropReason::FragmentInvalid) };
    let known = if parsed.fragment == Fragment::First {
        let upper = upper::<A>(at, packet, parsed);
        at.shard.fragments.first(datagram, piece, upper, at.now).map(|()| Some(upper))
    } else {
        at.shard.fragments.later(datagram, piece, at.now)
    };
    let upper = match known {
        Ok(Some(upper)) => upper,
        Ok(None) => return Verdict::Await(datagram.tag()),
        Err(reason) => return Verdict::Drop(reason),
    };
    match upper.owner {
        Some(owner) if owner == at.shard.worker => forward::<A, P>(at, packet, parsed, upper),
        Some(owner) => Verdict::Handoff(owner),
        None => ask::<A, P>(at, packet, parsed, upper, datagram.home(at.snapshot.workers)),
    }
}

/// A fragment that the home worker has looked at.
fn from_home<A: Family, P: Packet>(at: &mut At, packet: &mut P, parsed: &Parsed, datagram: &Datagram) -> Verdict {
    let upper = if parsed.fragment == Fragment::First {
        let upper = upper::<A>(at, packet, parsed);
        at.shard.fragments.note(datagram, upper, at.now);
        upper
    } else {
        match at.shard.fragments.ports_of(datagram, at.now) {
            Some(upper) => upper,
            // The first one was lost on the way here, or too many came behind it.
            None => return Verdict::Drop(DropReason::FragmentTableFull),
        }
    };
    match upper.owner {
        Some(_) => forward::<A, P>(at, packet, parsed, upper),
        None => ask::<A, P>(at, packet, parsed, upper, datagram.home(at.snapshot.workers)),
    }
}

/// What a first fragment says of all.
fn upper<A: Family>(at: &At, packet: &impl Packet, parsed: &Parsed) -> Upper {
    let key = A::key(parsed, packet.bytes());
    let owner = owners::of_flow(at.shard, at.snapshot, &key, at.port);
    Upper { sport: key.sport, dport: key.dport, protocol: key.protocol, owner }
}

/// The device has placed the connection at a worker that cannot be told: all are asked in turn, from the home worker on.
fn ask<A: Family, P: Packet>(at: &mut At, packet: &mut P, parsed: &Parsed, upper: Upper, home: WorkerId) -> Verdict {
    let key = A::key(&with_ports(parsed, upper), packet.bytes());
    let hash = at.shard.hasher.hash(&key);
    let next = next(at.snapshot, at.shard.worker);
    if next == home || A::table(at.shard).find(hash, &key, at.now.tick()).is_some() {
        return forward::<A, P>(at, packet, parsed, upper);
    }
    Verdict::Handoff(next)
}

fn next(snapshot: &Snapshot, worker: WorkerId) -> WorkerId {
    WorkerId((worker.0 + 1) % snapshot.workers.max(1))
}

/// Goes the way of every packet, with the ports of the first fragment.
fn forward<A: Family, P: Packet>(at: &mut At, packet: &mut P, parsed: &Parsed, upper: Upper) -> Verdict {
    packet.note(|| Step::FragmentPorts { sport: upper.sport, dport: upper.dport });
    let parsed = &with_ports(parsed, upper);
    let key = A::key(parsed, packet.bytes());
    let mut meta = Meta { work: A::FLOW, ..Meta::default() };
    meta.came.port = at.port;
    meta.probe.of(&key);
    meta.probe.hash = at.shard.hasher.hash(&key);
    meta.hint = A::table(at.shard).candidate(meta.probe.hash, at.now.tick());
    let plan = if meta.hint.is_some() { Plan::default() } else { planned(at.snapshot, &key) };
    flow::flow::<A, P>(at, packet, parsed, &meta, plan)
}

/// The fragment as if it had the upper layer's header, but for its flags.
fn with_ports(parsed: &Parsed, upper: Upper) -> Parsed {
    Parsed { sport: upper.sport, dport: upper.dport, protocol: upper.protocol, ..*parsed }
}
