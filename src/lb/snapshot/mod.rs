//! What the packet path reads and never writes: one immutable picture of the configuration and of health.

mod amend;
mod arrivals;
mod build;
mod index;
mod outer;
mod routes;
mod spec;
mod tables;

use std::net::{IpAddr, Ipv6Addr};
use std::ops::RangeInclusive;
use std::sync::Arc;

use arrivals::Arrivals;
pub use build::BuildError;
use index::{Index, Key};
pub use outer::{Encap, Inner, OUTER_MAX, Outer, TunnelSpec, Vary, varied4, vary4, vary6};
pub use routes::{Hop, Routes};
pub use spec::{BackendSpec, ClientAddress, Mode, MtuPolicy, PortSpec, ServiceSpec, SnapshotSpec};
use tables::LookupTable;

use super::connection::Timeouts;
use super::hash::HashKey;
use super::ids::{BackendId, PortId, ServiceId, WorkerId};
use super::local_ports::PoolKey;
use super::scheduler::{Asked, Kind, Member, Scheduler};
use super::steer::Rss;
use super::team::Team;
use crate::wire::ethernet::MacAddr;
use crate::wire::protocol;

/// See the module. Built by [`Snapshot::build`].
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Grows by one with every snapshot published.
    pub generation: u64,
    /// Number of workers.
    pub workers: u16,
    /// Where packets leave.
    pub routes: Routes,
    /// Whether some service is in a NAT mode.
    pub translates: bool,
    /// Whether some service in full-NAT has a VIP and a backend of different IP versions.
    pub crosses: bool,
    /// Whether pings of some VIP go to backends.
    pub passes_echo: bool,
    /// Whether there may be packets of flows that came to another worker than their owner.
    pub steers: bool,
    /// The key under which five-tuples are hashed for consistent hashing.
    pub flow_key: HashKey,
    ports: Box<[Port]>,
    services: Box<[Service]>,
    backends: Box<[Option<Backend>]>,
    by_vip: Index<ServiceId>,
    /// The other end of each tunnel, in order.
    tunnel_ends: Box<[(IpAddr, BackendId)]>,
    locals: Index<Local>,
    vips: Box<[IpAddr]>,
    local_pools: Box<[(PoolKey, RangeInclusive<u16>)]>,
    new_backends: Arrivals<BackendId>,
    new_vips: Arrivals<IpAddr>,
}

/// One port as the packet path sees it.
#[derive(Clone, Debug)]
pub struct Port {
    /// As configured.
    pub name: Arc<str>,
    /// Source address of what leaves here.
    pub mac: MacAddr,
    /// Own addresses with prefix lengths in bits; IPv6 ports also have their link-local address.
    pub addresses: Vec<(IpAddr, u8)>,
    /// Largest IP packet in bytes.
    pub mtu: u16,
    /// VLAN identifier of all its traffic.
    pub vlan: Option<u16>,
    /// Next hops that are not asked for.
    pub neighbors: Vec<(IpAddr, MacAddr)>,
    /// Networks, with prefix lengths in bits, whose tunnels to our addresses are taken off.
    pub outer_tier: Vec<(IpAddr, u8)>,
    /// Whether the device keeps the packets of a connection on one queue, as far as they come by this port.
    pub is_placed: bool,
    /// Whether the host takes what came by this port, is for an own address and not served here.
    pub host: bool,
    /// How the NIC spreads packets over workers, if it says so.
    pub rss: Option<Arc<Rss>>,
}

impl Port {
    /// The own address to speak to `to` with: one of its network if there is one, else the first of its family.
    pub fn source_for(&self, to: IpAddr) -> Option<IpAddr> {
        let same_family = || self.addresses.iter().filter(|(a, _)| a.is_ipv4() == to.is_ipv4());
        let near = same_family().find(|&&(a, prefix_len)| in_network(to, a, prefix_len));
        near.or_else(|| same_family().next()).map(|&(a, _)| a)
    }

    /// True if tunnels from `source` are taken off.
    pub fn takes_off(&self, source: IpAddr) -> bool {
        self.outer_tier.iter().any(|&(a, prefix_len)| in_network(source, a, prefix_len))
    }

    /// True if `to` is on one of the port's networks.
    pub fn is_on_link(&self, to: IpAddr) -> bool {
        self.addresses.iter().any(|&(a, prefix_len)| in_network(to, a, prefix_len))
    }
}

/// Whether `a` lies in the network of `prefix_len` bits around `b`.
pub(in crate::lb) fn in_network(a: IpAddr, b: IpAddr, prefix_len: u8) -> bool {
    match (a, b) {
        (IpAddr::V4(a), IpAddr::V4(b)) => {
            (u32::from(a) ^ u32::from(b)).checked_shr(32 - u32::from(prefix_len.min(32))).unwrap_or(0) == 0
        }
        (IpAddr::V6(a), IpAddr::V6(b)) => {
            (u128::from(a) ^ u128::from(b)).checked_shr(128 - u32::from(prefix_len.min(128))).unwrap_or(0) == 0
        }
        _ => false,
    }
}

/// An address that is ours.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Local {
    /// Of one port.
    Own(PortId),
    /// Of services; says whether one of them is in a NAT mode, which decides how its packets are spread over workers.
    Vip {
        /// True if a NAT service has this VIP.
        nat: bool,
        /// True if full-NAT connects from this address too.
        local: bool,
    },
    /// Full-NAT connects to backends from it.
    Local,
}

/// One service as the packet path sees it.
#[derive(Clone, Debug)]
pub struct Service {
    /// As configured, unique but for those that are retired.
    pub name: Arc<str>,
    /// Whether it is gone from the configuration, and here only for the connections that it has.
    pub is_retired: bool,
    /// The address that clients connect to.
    pub vip: IpAddr,
    /// The port that clients connect to; `None` for every port.
    pub port: Option<u16>,
    /// IP protocol number: 6 or 17.
    pub protocol: u8,
    /// How packets reach the backends.
    pub mode: Mode,
    /// NAT modes: whether a TCP packet that no connection knows is answered with a RST.
    pub reset_unknown: bool,
    /// Whether clients are told that no backend takes new connections.
    pub unreachable: bool,
    /// What becomes of packets that do not fit.
    pub mtu_policy: MtuPolicy,
    /// In the order of the configuration.
    pub backends: Box<[BackendId]>,
    /// Whether consistent hashing alone gives new connections their backend.
    pub is_by_hash: bool,
    /// Whether that goes by the client's address alone.
    pub is_by_client: bool,
    /// Whether some backend may have a limited number of connections.
    pub is_limited: bool,
    /// Seconds that a client's address stays with its backend after its last new connection; 0: not at all.
    pub persistence_s: u16,
    /// Stands for the service where clients are remembered; the same as long as its name.
    pub number: u64,
    members: Box<[Member]>,
    scheduler: Arc<Scheduler>,
    lookup: LookupTable,
}

impl Service {
    /// Fetches what [`Self::pick`] will read.
    #[inline]
    pub fn prefetch_pick(&self, hash: u64) {
        self.lookup.table.prefetch(hash);
    }

    /// The backend that the consistent hash gives; `None` if none takes new connections.
    #[inline]
    pub fn pick(&self, hash: u64) -> Option<BackendId> {
        self.backends.get(usize::from(self.lookup.table.lookup(hash)?)).copied()
    }

    /// The slot of the lookup table that a hash falls into; 0 if there is none.
    pub fn slot_of(&self, hash: u64) -> usize {
        self.lookup.table.slot_of(hash)
    }

    /// Which scheduler it has.
    pub fn scheduler(&self) -> Kind {
        self.scheduler.kind()
    }

    /// Whether the scheduler goes by response times.
    pub fn wants_times(&self) -> bool {
        self.scheduler.kind() == Kind::Lrt
    }

    /// Whether the packet path sees how long backends take to answer a SYN.
    pub fn sees_answers(&self) -> bool {
        self.mode.is_nat() && self.protocol == protocol::TCP
    }

    /// Whether a backend takes new connections as far as this snapshot and its limit say.
    pub fn takes(&self, team: &Team, id: BackendId) -> bool {
        self.members.iter().find(|member| member.id == id).is_some_and(|member| member.takes(team))
    }

    /// Whether some backend takes new connections but for its limit.
    pub fn is_full(&self) -> bool {
        self.is_limited && self.members.iter().any(|member| member.weight > 0)
    }

    /// The backend that the scheduler gives a new connection; `None` if none takes new connections. Asked again, it says the
    /// same, until [`Self::note_opened`].
    #[inline(never)]
    pub fn schedule(&self, worker: WorkerId, team: &Team, hash: u64) -> Option<BackendId> {
        let index = self.scheduler.pick(&self.asked(worker, team, hash))?;
        self.members.get(index).map(|member| member.id)
    }

    /// Tells the scheduler that a connection to `backend` is open.
    #[inline(never)]
    pub fn note_opened(&self, worker: WorkerId, team: &Team, backend: BackendId) {
        if let Some(index) = self.members.iter().position(|member| member.id == backend) {
            self.scheduler.opened(&self.asked(worker, team, 0), index);
        }
    }

    fn asked<'a>(&'a self, worker: WorkerId, team: &'a Team, hash: u64) -> Asked<'a> {
        Asked { worker, hash, table: &self.lookup.table, members: &self.members, team }
    }

    /// The backend of each slot of the consistent hash; none at all if no backend takes new connections.
    pub fn slots(&self) -> impl Iterator<Item = Option<BackendId>> {
        self.lookup.table.slots().iter().map(|&index| self.backends.get(usize::from(index)).copied())
    }

    /// Whether both services share one table, so that no slot can differ.
    pub fn has_table_of(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.lookup.table, &other.lookup.table)
    }
}

/// One backend as the packet path sees it.
#[derive(Clone, Debug)]
pub struct Backend {
    /// The same in every snapshot.
    pub id: BackendId,
    /// Whose backend it is.
    pub service: ServiceId,
    /// How packets reach it.
    pub mode: Mode,
    /// How it learns the client's address.
    pub client_address: ClientAddress,
    /// Whether it gets packets of connections that it already has.
    pub serves: bool,
    /// Whether it gets new connections.
    pub admits: bool,
    /// Whether the time from a SYN to its answer is measured.
    pub is_timed: bool,
    /// Its port, host order; 0 for the VIP's.
    pub port: u16,
    /// Idle times of its connections.
    pub timeouts: Timeouts,
    /// The real server.
    pub address: IpAddr,
    /// Where its packets leave.
    pub hop: Option<Hop>,
    /// Full-NAT: the pools of local ports towards it, by number in [`Snapshot::local_pools`].
    pub local_pools: Box<[u32]>,
    /// NAT modes: whether both ends get a RST when an established TCP connection has been idle for too long.
    pub reset_idle: bool,
    /// Largest IP packet on the leaving port, in bytes.
    pub mtu: u16,
    /// The tunnel to it, in tunnel modes.
    pub outer: Option<Outer>,
    /// What becomes of packets that do not fit.
    pub mtu_policy: MtuPolicy,
    /// As configured, unique in its service.
    pub name: Arc<str>,
}

impl Snapshot {
    /// A copy whose schedulers go on by themselves from where these are.
    pub fn detached(&self) -> Self {
        let mut copy = self.clone();
        for service in &mut copy.services {
            let (kind, members) = (service.scheduler.kind(), &service.members);
            service.scheduler = Arc::new(Scheduler::build(kind, members, self.workers, Some(&service.scheduler)));
        }
        copy
    }

    /// The port with this number.
    #[inline]
    pub fn port(&self, id: PortId) -> Option<&Port> {
        self.ports.get(id.index())
    }

    /// All ports, in the order of the configuration.
    pub fn ports(&self) -> impl Iterator<Item = (PortId, &Port)> {
        self.ports.iter().enumerate().map(|(i, p)| (PortId(i as u8), p))
    }

    /// All services, in the order of the configuration.
    pub fn services(&self) -> &[Service] {
        &self.services
    }

    /// The service with this number.
    #[inline]
    pub fn service(&self, id: ServiceId) -> Option<&Service> {
        self.services.get(id.index())
    }

    /// The backend, unless it is gone from the configuration.
    #[inline]
    pub fn backend(&self, id: BackendId) -> Option<&Backend> {
        self.backends.get(id.slot())?.as_ref().filter(|b| b.id == id)
    }

    /// All backends.
    pub fn backends(&self) -> impl Iterator<Item = &Backend> {
        self.backends.iter().flatten()
    }

    /// The backends that tunnels to this address lead to.
    pub fn tunnels_to(&self, end: IpAddr) -> impl Iterator<Item = &Backend> {
        let first = self.tunnel_ends.partition_point(|&(address, _)| address < end);
        let ends = self.tunnel_ends.get(first..).unwrap_or_default();
        ends.iter().take_while(move |&&(address, _)| address == end).filter_map(|&(_, id)| self.backend(id))
    }

    /// The service for packets to this address, protocol and port; one for the exact port before one for every port.
    pub fn find_service(&self, vip: IpAddr, protocol: u8, port: u16) -> Option<ServiceId> {
        let find = |port| self.by_vip.get(&Key::new(vip, protocol, port));
        find(port).or_else(|| find(ANY_PORT))
    }

    /// Whether and how an address is ours.
    #[inline]
    pub fn local(&self, addr: IpAddr) -> Option<Local> {
        self.locals.get(&Key::new(addr, 0, 0))
    }

    /// True if `addr` is on a network of some port.
    pub fn is_on_link(&self, addr: IpAddr) -> bool {
        self.ports.iter().any(|port| port.is_on_link(addr))
    }

    /// The pools of local ports that full-NAT takes from, and which ports they have.
    pub fn local_pools(&self) -> &[(PoolKey, RangeInclusive<u16>)] {
        &self.local_pools
    }

    /// The backends that a worker which goes over from `previous` to this snapshot has not met; all of them if it comes from
    /// nowhere or from too long ago.
    pub fn new_backends<'a>(&'a self, previous: Option<&'a Snapshot>) -> impl Iterator<Item = BackendId> {
        let known = previous.and_then(|previous| self.new_backends.since(previous.generation));
        let all = if known.is_none() { Some(self.backends().map(|backend| backend.id)) } else { None };
        let is_new = move |id: &BackendId| previous.is_none_or(|previous| previous.backend(*id).is_none());
        known.into_iter().flatten().chain(all.into_iter().flatten()).filter(is_new)
    }

    /// The VIPs and local addresses that came since `previous`, in order; all of them if that is too long ago or nothing.
    pub fn new_vips(&self, previous: Option<&Snapshot>) -> Vec<IpAddr> {
        let known = previous.and_then(|previous| self.new_vips.since(previous.generation));
        let mut vips: Vec<IpAddr> = match known {
            Some(known) => known.filter(|&vip| self.local(vip).is_some()).collect(),
            None => self.vips().collect(),
        };
        vips.sort_unstable();
        vips.dedup();
        vips
    }

    /// All VIPs and local addresses, each once.
    pub fn vips(&self) -> impl Iterator<Item = IpAddr> {
        self.vips.iter().copied()
    }
}

/// Port 0 cannot be connected to, so it stands for every port.
const ANY_PORT: u16 = 0;

/// The link-local address that a port with IPv6 addresses has by its MAC address (RFC 4291 appendix A).
pub fn link_local(mac: MacAddr) -> Ipv6Addr {
    let m = mac.0;
    let bytes = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, m[0] ^ 2, m[1], m[2], 0xff, 0xfe, m[3], m[4], m[5]];
    Ipv6Addr::from(bytes)
}

#[cfg(test)]
mod tests;
