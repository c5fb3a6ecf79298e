//! What a worker's shard knows that bears on one packet, copied, so that the packet can be put through a shard that holds just
//! that: as the worker would decide, and without any effect there.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::clock::{Now, Tick};
use super::fragments::{BucketCopy, Datagram, Fragments, Upper};
use super::ids::{BackendId, WorkerId};
use super::limiter::Limiter;
use super::neighbor::{Learned, NeighborRow};
use super::path_mtu::PathMtu;
use super::punt::PuntLimits;
use super::shard::Shard;
use super::snapshot::Snapshot;
use super::table::{Address, Entry, Slot, Table, TableHasher};
use super::team::Team;
use crate::wire::parse::FiveTuple;

/// What may bear on a packet.
#[derive(Clone, Debug, Default)]
pub struct Question {
    /// Connections that may know it, by the five-tuple of the packets that they are for. The first is the packet's own.
    pub v4: Vec<FiveTuple<Ipv4Addr>>,
    /// The same for the table of IPv6.
    pub v6: Vec<FiveTuple<Ipv6Addr>>,
    /// Its datagram, if it is a fragment: source, destination, identification and protocol.
    pub datagram: Option<(IpAddr, IpAddr, u32, u8)>,
    /// Backends that it may go to.
    pub backends: Vec<BackendId>,
    /// Pools of local ports that it may get one of.
    pub pools: Vec<u32>,
    /// The service and the client that it may be remembered by.
    pub client: Option<(u64, IpAddr)>,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Excerpt {
    /// Whose it is.
    pub worker: WorkerId,
    /// When.
    pub now: Now,
    /// What the first fragment of its datagram has said.
    pub upper: Option<Upper>,
    datagrams: Option<BucketCopy>,
    v4: Vec<Copied<Ipv4Addr>>,
    v6: Vec<Copied<Ipv6Addr>>,
    has_victim: bool,
    connections_max: u64,
    connections_active: u64,
    neighbors: Vec<NeighborRow>,
    path_mtus: Vec<(BackendId, u16)>,
    empty_pools: Vec<u32>,
    limits: Limits,
}

/// What may still be sent or passed on in this second.
#[derive(Clone, Debug)]
struct Limits {
    echo: Limiter,
    errors: Limiter,
    defence: Limiter,
    punts: PuntLimits,
}

/// An entry with the one of its other direction, each with the moment at which it ends.
#[derive(Clone, Copy, Debug)]
struct Copied<A> {
    own: (Entry<A>, Tick),
    pair: Option<(Entry<A>, Tick)>,
}

impl Excerpt {
    /// Whether a connection here may know the packet.
    pub fn has_connection(&self) -> bool {
        !self.v4.is_empty() || !self.v6.is_empty()
    }
}

impl Shard {
    /// Copies what bears on a packet.
    pub fn excerpt(&self, question: &Question, now: Now) -> Excerpt {
        let tick = now.tick();
        let has_victim = match (question.v4.first(), question.v6.first()) {
            (Some(tuple), _) => self.v4.has_victim(self.hasher.hash(tuple), tick),
            (None, Some(tuple)) => self.v6.has_victim(self.hasher.hash(tuple), tick),
            (None, None) => false,
        };
        let datagram = datagram(&self.fragments, question);
        let upper = datagram.and_then(|datagram| self.fragments.ports_of(&datagram, now));
        let mtu = |&id: &BackendId| match self.path_mtus.peek(id, now) {
            PathMtu::Known(mtu) => Some((id, mtu)),
            PathMtu::Unknown | PathMtu::Forgotten => None,
        };
        Excerpt {
            worker: self.worker,
            now,
            upper,
            datagrams: datagram.and_then(|datagram| self.fragments.copy(&datagram)),
            v4: copied(&self.v4, &self.hasher, &question.v4, tick),
            v6: copied(&self.v6, &self.hasher, &question.v6, tick),
            has_victim,
            connections_max: self.connections_max,
            connections_active: self.counters.connections_active.get(),
            neighbors: self.neighbors.rows().collect(),
            path_mtus: question.backends.iter().filter_map(mtu).collect(),
            limits: Limits {
                echo: self.echo.clone(),
                errors: self.errors.clone(),
                defence: self.defence.clone(),
                punts: self.punts.clone(),
            },
            empty_pools: question.pools.iter().copied().filter(|&pool| self.local_ports.is_empty(pool)).collect(),
        }
    }

    /// Puts into a new shard, which has adopted the snapshot, what another one knows. `live` is that one's team, of which all
    /// that bears on the packet is copied, too.
    pub fn restore(&mut self, excerpt: &Excerpt, question: &Question, snapshot: &Snapshot, live: &Team) {
        let (now, tick) = (excerpt.now, excerpt.now.tick());
        put(&mut self.v4, &self.hasher, &excerpt.v4, tick);
        put(&mut self.v6, &self.hasher, &excerpt.v6, tick);
        self.connections_max = excerpt.connections_max;
        self.counters.connections_active.set(excerpt.connections_active);
        if excerpt.has_victim {
            self.put_victim(question, tick);
        }
        for row in &excerpt.neighbors {
            match row.mac {
                Some(mac) => _ = self.neighbors.learn(Learned { port: row.port, addr: row.addr, mac }, true, now),
                None => _ = self.neighbors.find_or_ask(row.port, row.addr, now),
            }
        }
        let Limits { echo, errors, defence, punts } = excerpt.limits.clone();
        (self.echo, self.errors, self.defence, self.punts) = (echo, errors, defence, punts);
        for &(id, mtu) in &excerpt.path_mtus {
            self.path_mtus.learn(id, mtu, now);
        }
        for &pool in &excerpt.empty_pools {
            self.local_ports.exhaust(pool);
        }
        if let (Some(datagram), Some(copy)) = (datagram(&self.fragments, question), &excerpt.datagrams) {
            self.fragments.paste(&datagram, copy);
        }
        if let Some(counters) = live.workers().get(excerpt.worker.index()) {
            for &id in &question.backends {
                self.counters.set_connections(id, counters.connections(id));
            }
        }
        self.restore_team(question, snapshot, live, tick);
    }

    /// What all workers share: the first one brings it.
    fn restore_team(&self, question: &Question, snapshot: &Snapshot, live: &Team, tick: Tick) {
        if self.worker.index() != 0 {
            return;
        }
        question.backends.iter().for_each(|&id| self.team.times.copy(id, &live.times));
        let Some((service, address)) = question.client else { return };
        let is_ours =
            |id| snapshot.backend(id).and_then(|b| snapshot.service(b.service)).is_some_and(|s| s.number == service);
        let client = live.clients.key_of(service, address);
        if let Some(backend) = live.clients.find(client, tick, is_ours) {
            self.team.clients.keep(client, None, backend, (tick, 1), is_ours);
        }
    }

    /// A half-open connection of nobody's, where the packet's own would go.
    fn put_victim(&mut self, question: &Question, tick: Tick) {
        let deadline = tick.plus(1);
        let Self { v4, v6, hasher, .. } = self;
        let _ = match (question.v4.first(), question.v6.first()) {
            (Some(tuple), _) => v4.insert(hasher.hash(tuple), Entry::empty(), deadline, true, false, tick).map(drop),
            (None, Some(tuple)) => v6.insert(hasher.hash(tuple), Entry::empty(), deadline, true, false, tick).map(drop),
            (None, None) => return,
        };
    }
}

/// The datagram of the question's fragment.
fn datagram(fragments: &Fragments, question: &Question) -> Option<Datagram> {
    let (src, dst, id, protocol) = question.datagram?;
    match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => Some(fragments.datagram(src, dst, id, protocol)),
        (IpAddr::V6(src), IpAddr::V6(dst)) => Some(fragments.datagram(src, dst, id, protocol)),
        _ => None,
    }
}

fn copied<A: Address>(table: &Table<A>, hasher: &TableHasher, tuples: &[FiveTuple<A>], tick: Tick) -> Vec<Copied<A>> {
    let of = |slot: Slot| Some((*table.entry(slot)?, table.deadline(slot)));
    // One that is over but not swept yet still counts for its backend, until a new one takes its place.
    let found = tuples.iter().filter_map(|tuple| {
        let hash = hasher.hash(tuple);
        table.find(hash, tuple, tick).or_else(|| table.find_dead(hash, tuple, tick))
    });
    found.filter_map(|slot| of(slot).map(|own| Copied { own, pair: of(own.0.pair) })).collect()
}

fn put<A: Address>(table: &mut Table<A>, hasher: &TableHasher, copies: &[Copied<A>], tick: Tick) {
    for copy in copies {
        let ((mut own, deadline), key) = (copy.own, copy.own.0.key());
        if !table.is_unknown(hasher.hash(&key), &key) {
            // The other direction of one that was put in.
            continue;
        }
        let mut insert = |entry: Entry<A>, deadline| {
            let evictable = entry.state.phase().is_evictable();
            table.insert(hasher.hash(&entry.key()), entry, deadline, evictable, false, tick).map(|put| put.slot)
        };
        let pair = copy.pair.map(|(pair, deadline)| insert(Entry { pair: Slot::NONE, ..pair }, deadline));
        own.pair = pair.and_then(Result::ok).unwrap_or(Slot::NONE);
        if let Ok(slot) = insert(own, deadline)
            && let Some(pair) = table.entry_mut(own.pair)
        {
            pair.pair = slot;
        }
    }
}
