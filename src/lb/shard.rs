//! Everything that one worker changes on the packet path; bounded at start, and locked by nobody.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use super::capture::Eye;
use super::clients::Clients;
use super::clock::{Now, Tick};
use super::connection::{Direction, Phase};
use super::counters::Counters;
use super::fragments::Fragments;
use super::hash::{HashKey, hash_words};
use super::ids::{BackendId, PortId, WorkerId};
use super::lane::Lane;
use super::limiter::Limiter;
use super::local_ports::{LocalPorts, PoolKey};
use super::memory::{Footprint, Place};
use super::neighbor::{NeighborEvent, NeighborSlot, Neighbors};
use super::news::News;
use super::path::{Meta, Plan, Reset, solicit};
use super::path_mtu::{PathMtu, PathMtus};
use super::probe::ProbePorts;
use super::punt::{PuntLimits, PuntRates};
use super::snapshot::{Backend, Snapshot};
use super::stopwatch::Stopwatch;
use super::table::{Address, Entry, Notes, OutOfMemory, Probe, Slot, Table, TableHasher};
use super::team::Team;

/// Sizes and keys of a shard.
#[derive(Clone, Debug)]
pub struct ShardConfig {
    /// Whose shard it is.
    pub worker: WorkerId,
    /// Connections it may track, of each family.
    pub connections_max: usize,
    /// Whether an IPv4 service is configured; without one the table is small.
    pub v4: bool,
    /// Whether an IPv6 service is configured; without one the table is small.
    pub v6: bool,
    /// Whether a NAT service is configured: its connections take two entries each.
    pub nat: bool,
    /// Backend slots.
    pub backends_max: usize,
    /// Client addresses, over all workers, whose backend is remembered.
    pub clients_max: usize,
    /// Next hops.
    pub neighbors_max: usize,
    /// Seconds that a local port of full-NAT rests before another connection to the same end may have it.
    pub local_port_rest_s: u16,
    /// What may go to the host.
    pub punt_rates: PuntRates,
    /// Datagrams in fragments; 0 drops them all.
    pub fragments_max: usize,
    /// Where the memory of the connection tables should come from.
    pub place: Place,
    /// Random at every start, the same for all workers: keys of the table and of steering derive from it.
    pub boot_key: HashKey,
}

impl ShardConfig {
    /// Memory of its connection tables, in bytes.
    pub fn table_bytes(&self) -> u64 {
        self.tables_bytes().into_iter().sum()
    }

    /// Memory of each of its connection tables, in bytes.
    pub fn tables_bytes(&self) -> [u64; 2] {
        let (v4, v6) = (self.entries(self.v4), self.entries(self.v6));
        [Table::<Ipv4Addr>::bytes_for(v4), Table::<Ipv6Addr>::bytes_for(v6)]
    }

    /// Entries of a family that has services, or that has none.
    fn entries(&self, wanted: bool) -> usize {
        let entries = self.connections_max * if self.nat { 2 } else { 1 };
        if wanted { entries } else { entries.min(SMALL_TABLE) }
    }
}

/// Entries of a family that has no service yet; a reload may add one.
const SMALL_TABLE: usize = 4096;
/// Frames that may wait to be sent on our own account.
const OUTBOX_MAX: usize = 64;
/// Sent on our own account in a second, and at once.
const ECHO_RATE: (u32, u32) = (10_000, 1_000);
const ERROR_RATE: (u32, u32) = (1_000, 100);
const DEFENCE_RATE: (u32, u32) = (1, 10);

/// A frame that we send unasked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// The port it leaves by.
    pub port: PortId,
    /// The whole frame, without FCS.
    pub frame: OutgoingFrame,
}

/// A short frame without an allocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutgoingFrame {
    bytes: [u8; Self::MAX],
    len: u8,
}

impl OutgoingFrame {
    /// Longest frame: an IPv6 neighbour advertisement on a VLAN is 90 bytes.
    pub const MAX: usize = 96;

    /// Lets `fill` write the frame; `None` if it could not.
    pub fn build(fill: impl FnOnce(&mut [u8]) -> Option<usize>) -> Option<Self> {
        let mut bytes = [0; Self::MAX];
        let len = fill(&mut bytes)?;
        Some(Self { bytes, len: u8::try_from(len.min(Self::MAX)).ok()? })
    }

    /// The frame's bytes.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }
}

/// Identifications of fragments: no two alike among 65,536 in a row, also in their lower half, and hard to foretell
/// (RFC 6864 4.3, RFC 7739 5.4).
struct FragmentIds {
    key: u64,
    count: u32,
}

impl FragmentIds {
    fn new(key: HashKey, worker: WorkerId) -> Self {
        let start = hash_words(key, &[worker.0.into()]);
        Self { key: start, count: (start >> 32) as u32 }
    }

    fn next(&mut self) -> u32 {
        self.count = self.count.wrapping_add(1);
        let mut halves = [self.count as u16, (self.count >> 16) as u16];
        // Each step can be undone, so different counts stay different; the lower half depends on the lower half alone.
        for round in 0..3 {
            let key = (self.key >> (16 * round)) as u16;
            halves[0] = (halves[0] ^ key).wrapping_mul(0x9e37 | 1);
            halves[0] ^= halves[0] >> 7;
        }
        let [low, high] = halves.map(u32::from);
        high << 16 | low
    }
}

/// See the module.
pub struct Shard {
    /// Whose shard it is.
    pub worker: WorkerId,
    /// Read by the management thread at any time.
    pub counters: Arc<Counters>,
    /// All workers, this one among them.
    pub team: Arc<Team>,
    /// Next hops.
    pub neighbors: Neighbors,
    /// Frames to send, in order; the poll loop empties it every turn.
    pub outbox: Vec<Outgoing>,
    /// What this worker learned, for the other workers.
    pub learned: Vec<News>,
    /// Next hops that answered, or gave up on: what is held for them moves.
    pub settled: Vec<(NeighborSlot, bool)>,
    /// Datagrams that come in fragments.
    pub fragments: Fragments,
    /// Whose health check is sent from which port number.
    pub probes: Arc<ProbePorts>,
    pub(super) stopwatch: Stopwatch,
    /// Where the sweep of the team's clients goes on, at the first worker.
    clients_swept: usize,
    pub(super) v4: Table<Ipv4Addr>,
    pub(super) v6: Table<Ipv6Addr>,
    pub(super) connections_max: u64,
    pub(super) hasher: TableHasher,
    /// For the choice of an owner, see [`steer`](super::steer).
    pub(super) steer: TableHasher,
    /// By backend slot: where its next hop is, under the snapshot of this generation's lower half.
    pub(super) backend_hops: Box<[(u32, Option<NeighborSlot>)]>,
    /// By backend slot.
    pub(super) lanes: Box<[Lane]>,
    pub(super) path_mtus: PathMtus,
    pub(super) echo: Limiter,
    pub(super) errors: Limiter,
    pub(super) defence: Limiter,
    /// Full-NAT's ports.
    pub(super) local_ports: LocalPorts,
    /// RSTs to send when a sweep is over.
    resets: Vec<Reset>,
    /// Whether a checksum of this burst was looked at, see `path::partial`.
    pub(super) checksum_seen: bool,
    pub(super) punts: PuntLimits,
    pub(super) metas: Box<[Meta]>,
    pub(super) plans: Box<[Plan]>,
    pub(super) clients: Box<[Probe]>,
    /// Off, every packet takes the long way, which tests hold the short one to.
    /// What it looks at packets with, if anybody asked for them.
    pub eye: Option<Box<Eye>>,
    #[cfg(test)]
    pub(super) short_way: bool,
    fragment_ids: FragmentIds,
    last_tick: Now,
}

/// One line of `tidegate show connections`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionRow {
    /// Client's address and port.
    pub client: (IpAddr, u16),
    /// VIP and port.
    pub vip: (IpAddr, u16),
    /// IP protocol number.
    pub protocol: u8,
    /// Who serves it.
    pub backend: BackendId,
    /// How far it has come.
    pub phase: Phase,
    /// Seconds until it ends if nothing more comes.
    pub left_s: u16,
}

impl Shard {
    /// An empty shard; allocates and touches all that it will ever use.
    ///
    /// # Errors
    /// The system does not give the memory.
    pub fn new(config: &ShardConfig) -> Result<Self, OutOfMemory> {
        let counters = Arc::new(Counters::new(config.backends_max));
        let clients = Clients::new(config.clients_max, config.boot_key.derive(b"clients"));
        Ok(Self {
            worker: config.worker,
            team: Arc::new(Team::new(vec![counters.clone()], clients)),
            clients_swept: 0,
            stopwatch: Stopwatch::new(config.backends_max),
            counters,
            neighbors: Neighbors::new(config.neighbors_max),
            outbox: Vec::with_capacity(OUTBOX_MAX),
            learned: Vec::with_capacity(OUTBOX_MAX),
            settled: Vec::with_capacity(config.neighbors_max),
            probes: Arc::default(),
            fragments: Fragments::new(config.fragments_max, config.boot_key.derive(b"fragments")),
            v4: Table::new(config.entries(config.v4), config.place)?,
            v6: Table::new(config.entries(config.v6), config.place)?,
            connections_max: config.connections_max as u64,
            hasher: TableHasher::new(config.boot_key.derive(b"table")),
            steer: TableHasher::new(config.boot_key.derive(b"steer")),
            backend_hops: vec![(0, None); config.backends_max].into_boxed_slice(),
            lanes: vec![Lane::default(); config.backends_max].into_boxed_slice(),
            path_mtus: PathMtus::new(config.backends_max),
            echo: Limiter::new(ECHO_RATE.0, ECHO_RATE.1),
            errors: Limiter::new(ERROR_RATE.0, ERROR_RATE.1),
            defence: Limiter::new(DEFENCE_RATE.0, DEFENCE_RATE.1),
            local_ports: LocalPorts::new(
                config.boot_key.derive(b"ports").derive(&config.worker.0.to_be_bytes()),
                config.connections_max.max(1 << 16),
                config.local_port_rest_s,
            ),
            resets: Vec::with_capacity(RESETS_MAX),
            checksum_seen: false,
            punts: PuntLimits::new(config.punt_rates),
            metas: vec![Meta::default(); super::path::BURST].into_boxed_slice(),
            clients: vec![Probe::default(); super::path::BURST].into_boxed_slice(),
            plans: vec![Plan::default(); super::path::BURST].into_boxed_slice(),
            eye: None,
            #[cfg(test)]
            short_way: true,
            fragment_ids: FragmentIds::new(config.boot_key.derive(b"fragments"), config.worker),
            last_tick: Now::default(),
        })
    }

    /// An identification for the fragments of one packet.
    pub fn fragment_id(&mut self) -> u32 {
        self.fragment_ids.next()
    }

    /// Memory of the connection tables in bytes.
    pub fn table_bytes(&self) -> usize {
        self.v4.bytes() + self.v6.bytes()
    }

    /// The same bytes by what they are backed with.
    pub fn table_footprint(&self) -> Footprint {
        [self.v4.footprint(), self.v6.footprint()].into_iter().sum()
    }

    /// Connections it may track.
    pub fn capacity(&self) -> u64 {
        self.connections_max
    }

    /// Goes over to another snapshot; `previous` is the one in use so far.
    pub fn adopt(&mut self, snapshot: &Snapshot, previous: Option<&Snapshot>) {
        let ports = || snapshot.ports().flat_map(|(id, p)| p.neighbors.iter().map(move |&(a, m)| (id, a, m)));
        self.neighbors.set_static(ports());
        for id in snapshot.new_backends(previous) {
            self.counters.reset_backend(id);
        }
        self.local_ports.adopt(snapshot.local_pools().iter().cloned());
        self.counters.generation.set(snapshot.generation);
    }

    /// Bounded work between bursts: ends connections whose time is over and runs the neighbours' timers.
    pub fn tick(&mut self, snapshot: &Snapshot, now: Now) {
        let passed_ns = now.ns().saturating_sub(self.last_tick.ns());
        if passed_ns < TICK_NS {
            return;
        }
        let last = std::mem::replace(&mut self.last_tick, now);
        // Ticks compare rightly for 9 hours; a capture or a suspended machine may pass more at once.
        for pause in (1..=2).map(|n| n * PAUSE_NS).take_while(|&pause| pause < passed_ns) {
            self.sweep_all(snapshot, Now::from_ns(last.ns() + pause));
        }
        // A whole round takes about a second, and after a long pause one round is made at once.
        let share = |n: usize| ((n as u64).saturating_mul(passed_ns) / SWEEP_NS).min(n as u64) as usize + 1;
        let limit = if passed_ns > SWEEP_NS { usize::MAX } else { SWEEP_MAX };
        self.sweep(snapshot, share(self.v4.buckets()).min(limit), share(self.v6.buckets()).min(limit), now);
        if self.worker.index() == 0 {
            let clients = &self.team.clients;
            let count =
                if passed_ns > SWEEP_NS { usize::MAX } else { share(clients.buckets()).div_ceil(CLIENT_ROUND_S) };
            self.clients_swept = clients.sweep(self.clients_swept, count, now.tick());
        }
        let Self { neighbors, outbox, settled, counters, .. } = self;
        neighbors.tick(share(neighbors.capacity()), now, |event| match event {
            NeighborEvent::Solicit(port, addr, mac) => {
                if let Some(out) = solicit(snapshot, port, addr, mac).filter(|_| outbox.len() < OUTBOX_MAX) {
                    counters.originated.add(1);
                    outbox.push(out);
                }
            }
            NeighborEvent::Resolved(slot) => settled.push((slot, true)),
            NeighborEvent::Failed(slot) => settled.push((slot, false)),
        });
    }

    /// Ends everything whose time is over, however much it is; for the end of a replay.
    pub fn sweep_all(&mut self, snapshot: &Snapshot, now: Now) {
        self.sweep(snapshot, usize::MAX, usize::MAX, now);
    }

    fn sweep(&mut self, snapshot: &Snapshot, v4: usize, v6: usize, now: Now) {
        self.local_ports.wake(now.tick(), WAKE_MAX);
        let Self { v4: table4, v6: table6, counters, local_ports, resets, .. } = self;
        let (counters, tick) = (&**counters, now.tick());
        table4.sweep(v4, tick, |entry, pair| timed_out(counters, local_ports, resets, snapshot, tick, entry, pair));
        table6.sweep(v6, tick, |entry, pair| timed_out(counters, local_ports, resets, snapshot, tick, entry, pair));
        counters.local_ports.set(local_ports.in_use());
        counters.local_ports_resting.set(local_ports.resting() as u64);
        while let Some(reset) = self.resets.pop() {
            super::path::send_reset(self, snapshot, now, &reset);
        }
    }

    /// Counts a connection's end and gives back what it held; `pair` is the entry of its other direction.
    pub(super) fn closed<A: Address + Into<IpAddr>>(
        &mut self,
        snapshot: &Snapshot,
        now: Tick,
        entry: &Entry<A>,
        pair: Option<&Entry<A>>,
    ) {
        closed(&self.counters, &mut self.local_ports, snapshot, now, entry, pair);
    }

    /// Takes in what another worker learned.
    pub fn hear(&mut self, news: impl Into<News>, now: Now) {
        match news.into() {
            News::Neighbor(learned) => {
                if let Some(slot) = self.neighbors.learn(learned, false, now) {
                    self.settle(slot);
                }
            }
            News::PathMtu(backend, mtu) => _ = self.narrow(backend, mtu, now),
        }
    }

    /// The largest packet in bytes, with its tunnel headers, that gets through to a backend.
    #[inline]
    pub(super) fn path_mtu(&mut self, backend: &Backend, now: Now) -> u16 {
        match self.path_mtus.look(backend.id, now) {
            PathMtu::Unknown => return backend.mtu,
            PathMtu::Known(mtu) => return mtu.min(backend.mtu),
            PathMtu::Forgotten => {}
        }
        self.outdate_lane(backend.id);
        backend.mtu
    }

    /// Takes in that no more than `mtu` bytes get through to a backend; true if that is news.
    pub(super) fn narrow(&mut self, backend: BackendId, mtu: u16, now: Now) -> bool {
        let is_new = self.path_mtus.learn(backend, mtu, now);
        if is_new {
            self.outdate_lane(backend);
        }
        is_new
    }

    fn outdate_lane(&mut self, backend: BackendId) {
        if let Some(lane) = self.lanes.get_mut(backend.slot()) {
            lane.outdate();
        }
    }

    /// Queues a frame of our own; false if too many wait already.
    pub fn originate(&mut self, out: Outgoing) -> bool {
        if self.outbox.len() >= OUTBOX_MAX {
            return false;
        }
        self.counters.originated.add(1);
        self.outbox.push(out);
        true
    }

    pub(super) fn settle(&mut self, slot: NeighborSlot) {
        if self.settled.len() < self.settled.capacity() {
            self.settled.push((slot, true));
        }
    }

    pub(super) fn tell_others(&mut self, news: News) {
        if self.learned.len() < OUTBOX_MAX {
            self.learned.push(news);
        }
    }

    /// Connections of `buckets` buckets from bucket `from` on, both families, for `show`; `None` in the second place
    /// when there are no more.
    pub fn connections(&self, from: usize, buckets: usize, now: Now) -> (Vec<ConnectionRow>, Option<usize>) {
        let mut rows: Vec<_> = rows(&self.v4, from, buckets, now).collect();
        rows.extend(self::rows(&self.v6, from, buckets, now));
        let next = from + buckets;
        let more = next < self.v4.buckets().max(self.v6.buckets());
        (rows, more.then_some(next))
    }
}

/// Local ports that one sweep may make free again.
const WAKE_MAX: usize = 256;
/// RSTs that one sweep may send; more connections than that end without.
const RESETS_MAX: usize = 16;
/// How often the timers run, a whole round of them, and the most buckets that one turn looks at.
const TICK_NS: u64 = 100_000;
const SWEEP_NS: u64 = 1_000_000_000;
const SWEEP_MAX: usize = 256;
/// Seconds that a round over the team's clients takes: nobody waits for it.
const CLIENT_ROUND_S: usize = 60;
/// A connection is over when it was not used for two of these.
const PAUSE_NS: u64 = 16_384 * 1_000_000_000;

/// A connection that was idle for too long: see [`Shard::closed`], and who is to be told.
fn timed_out<A: Address + Into<IpAddr>>(
    counters: &Counters,
    local_ports: &mut LocalPorts,
    resets: &mut Vec<Reset>,
    snapshot: &Snapshot,
    now: Tick,
    entry: &Entry<A>,
    pair: Option<&Entry<A>>,
) {
    counters.connections_expired.add(1);
    if let Some(pair) = pair
        && entry.state.phase() == Phase::TcpEstablished
        && resets.len() + 2 <= RESETS_MAX
        && snapshot.backend(entry.backend).is_some_and(|backend| backend.reset_idle)
    {
        // What each end gets looks like the other's: from where its packets came, under the number that comes next.
        resets.extend([(entry, pair), (pair, entry)].map(|(own, other)| Reset::of(own, other)));
    }
    closed(counters, local_ports, snapshot, now, entry, pair);
}

fn closed<A: Address + Into<IpAddr>>(
    counters: &Counters,
    local_ports: &mut LocalPorts,
    snapshot: &Snapshot,
    now: Tick,
    entry: &Entry<A>,
    pair: Option<&Entry<A>>,
) {
    counters.connections_active.sub(1);
    // The slot of a backend that is gone may count for another one already.
    if snapshot.backend(entry.backend).is_some() {
        counters.closed(entry.backend);
    }
    if entry.notes.has(Notes::LOCAL) {
        let reply = [Some(entry), pair].into_iter().flatten().find(|e| e.state.direction() == Direction::Reply);
        if let Some(reply) = reply {
            local_ports.give_back(&PoolKey::of(&reply.key()), reply.dport, now);
        }
    }
}

fn rows<A: Address + Into<IpAddr>>(
    table: &Table<A>,
    from: usize,
    buckets: usize,
    now: Now,
) -> impl Iterator<Item = ConnectionRow> {
    let tick = now.tick();
    let requests = |(_, e): &(Slot, &Entry<A>)| e.state.direction() == Direction::Request;
    table.entries_from(from, buckets, tick).filter(requests).map(move |(slot, e)| {
        let reply = if e.pair.is_some() { table.deadline(e.pair).left_s(tick) } else { 0 };
        ConnectionRow {
            client: (e.src.into().to_canonical(), e.sport),
            vip: (e.dst.into().to_canonical(), e.dport),
            protocol: e.protocol,
            backend: e.backend,
            phase: e.state.phase(),
            // Timeouts have a second more than configured, see `Timeouts::new`.
            left_s: table.deadline(slot).left_s(tick).max(reply).saturating_sub(1),
        }
    })
}
