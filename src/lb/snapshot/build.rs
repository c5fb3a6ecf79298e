//! Builds a snapshot, off the packet path.

use std::collections::HashMap;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;

use super::arrivals::Arrivals;
use super::index::{Index, Key};
use super::tables::{LookupTable, tables};
use super::{ANY_PORT, Backend, Local, Mode, Outer, Port, Routes, Service, Snapshot, link_local};
use super::{BackendSpec, PortSpec, ServiceSpec, SnapshotSpec};
use crate::lb::hash::{HashKey, hash_bytes};
use crate::lb::ids::{PortId, ServiceId};
use crate::lb::local_ports::PoolKey;
use crate::lb::maglev::MaglevError;
use crate::lb::scheduler::{Kind, Member, Scheduler};
use crate::wire::protocol;

/// Why a snapshot could not be built. The configuration's checks find these first and name the line.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The consistent hash refused the backends.
    #[error("service {service}: {source}")]
    Maglev {
        /// Which service.
        service: Arc<str>,
        /// Why.
        source: MaglevError,
    },
    /// A tunnel needs an own address of the backend's family.
    #[error("service {service}, backend {backend}: no own address of the family of {address} to tunnel from")]
    TunnelSource {
        /// Which service.
        service: Arc<str>,
        /// Which backend.
        backend: Arc<str>,
        /// The backend's address.
        address: IpAddr,
    },
}

impl Snapshot {
    /// Builds the snapshot of `spec`. Consistent-hash tables of `previous` are taken over where nothing that they
    /// depend on has changed, because they are the costly part.
    ///
    /// # Errors
    /// See [`BuildError`].
    pub fn build(spec: SnapshotSpec, previous: Option<&Snapshot>) -> Result<Snapshot, BuildError> {
        let translates = spec.services.iter().any(|service| service.mode.is_nat());
        let mut snapshot = Snapshot {
            generation: spec.generation,
            workers: spec.workers,
            routes: routes(&spec.ports),
            steers: steers(&spec),
            translates,
            crosses: spec.services.iter().any(ServiceSpec::crosses),
            passes_echo: spec.services.iter().any(|service| service.passes_echo),
            flow_key: spec.hash_key.derive(b"flow"),
            ports: spec.ports.into_iter().map(port).collect(),
            services: Box::default(),
            backends: Box::default(),
            by_vip: Index::new([].into_iter()),
            tunnel_ends: Box::default(),
            locals: Index::new([].into_iter()),
            vips: Box::default(),
            local_pools: Box::default(),
            new_backends: Arrivals::default(),
            new_vips: Arrivals::default(),
        };
        let mut pools = Pools::default();
        let mut locals = HashMap::new();
        let mut by_vip = Vec::with_capacity(spec.services.len());
        for (id, port) in snapshot.ports.iter().enumerate() {
            for &(address, _) in &port.addresses {
                locals.insert(address, Local::Own(PortId(id as u8)));
            }
        }
        let table_key = spec.hash_key.derive(b"maglev");
        let old: HashMap<&str, &Service> = previous
            .filter(|p| p.flow_key == snapshot.flow_key)
            .map(|p| p.services.iter().filter(|s| !s.is_retired).map(|s| (&*s.name, s)).collect())
            .unwrap_or_default();
        let tables = tables(&spec.services, table_key, &old)?;
        let slots = spec.services.iter().flat_map(|s| &s.backends).map(|b| b.id.slot() + 1).max().unwrap_or(0);
        let mut backends: Vec<Option<Backend>> = (0..slots).map(|_| None).collect();
        let mut services = Vec::with_capacity(spec.services.len());
        for (index, (service, lookup)) in spec.services.into_iter().zip(tables).enumerate() {
            let id = ServiceId(index as u32);
            if !service.is_retired {
                by_vip.extend(keys_of(&service).map(|key| (key, id)));
            }
            add_vip(&mut locals, service.vip, service.mode);
            service.local_addresses.iter().for_each(|&address| add_local(&mut locals, address));
            for backend in &service.backends {
                let mut built = snapshot.build_backend(id, &service, backend)?;
                built.local_pools = pools.towards(&service, backend);
                if let Some(place) = backends.get_mut(backend.id.slot()) {
                    *place = Some(built);
                }
            }
            services.push(build_service(service, lookup, table_key, snapshot.workers, &old));
        }
        snapshot.by_vip = Index::new(by_vip.into_iter());
        snapshot.local_pools = pools.all.into();
        let is_vip = |(&address, &local): (&IpAddr, &Local)| (!matches!(local, Local::Own(_))).then_some(address);
        snapshot.vips = locals.iter().filter_map(is_vip).collect();
        snapshot.locals = Index::new(locals.into_iter().map(|(address, local)| (Key::new(address, 0, 0), local)));
        snapshot.services = services.into();
        let is_tunnel = |backend: &&Backend| backend.outer.is_some();
        let mut ends: Vec<_> = backends.iter().flatten().filter(is_tunnel).map(|b| (b.address, b.id)).collect();
        ends.sort_unstable();
        snapshot.tunnel_ends = ends.into();
        snapshot.backends = backends.into();
        snapshot.note_arrivals(previous);
        Ok(snapshot)
    }

    /// Remembers what `previous` did not have.
    fn note_arrivals(&mut self, previous: Option<&Snapshot>) {
        let (ids, vips) = (self.backends().map(|backend| backend.id), self.vips());
        (self.new_backends, self.new_vips) = match previous {
            None => (Arrivals::first(self.generation, ids), Arrivals::first(self.generation, vips)),
            Some(previous) => {
                let ids: Vec<_> = ids.filter(|&id| previous.backend(id).is_none()).collect();
                // Its own addresses a port has from the start.
                let vips: Vec<_> = vips
                    .filter(|&vip| !matches!(previous.local(vip), Some(Local::Vip { .. } | Local::Local)))
                    .collect();
                (previous.new_backends.then(self.generation, &ids), previous.new_vips.then(self.generation, &vips))
            }
        };
    }

    pub(super) fn build_backend(
        &self,
        id: ServiceId,
        service: &ServiceSpec,
        spec: &BackendSpec,
    ) -> Result<Backend, BuildError> {
        let hop = self.routes.find(spec.address);
        // A router would send a packet to the VIP straight back here.
        let hop = hop.filter(|h| service.mode != Mode::Dsr || h.next == spec.address);
        let egress = hop.and_then(|h| self.port(h.port));
        let seed = hash_bytes(self.flow_key.derive(b"entropy"), &[]) as u32;
        let outer = match (service.mode.encap(), egress) {
            (Some(encap), Some(port)) => {
                let first = port.addresses.iter().map(|&(a, _)| a).find(|a| a.is_ipv4() == spec.address.is_ipv4());
                let is_v6 = service.vip.is_ipv6();
                let source = service.tunnel_source.or(first);
                let outer = source.and_then(|a| Outer::new(encap, &service.tunnel, (a, spec.address), is_v6, seed));
                Some(outer.ok_or_else(|| BuildError::TunnelSource {
                    service: service.name.clone(),
                    backend: spec.name.clone(),
                    address: spec.address,
                })?)
            }
            _ => None,
        };
        Ok(Backend {
            id: spec.id,
            service: id,
            mode: service.mode,
            client_address: service.client_address,
            serves: spec.serves,
            admits: spec.admits,
            is_timed: service.scheduler == Kind::Lrt && service.mode.is_nat() && service.protocol == protocol::TCP,
            port: spec.port.unwrap_or(0),
            timeouts: service.timeouts,
            address: spec.address,
            hop,
            local_pools: Box::default(),
            reset_idle: service.reset_idle,
            // Without a port to leave by, that is the reason to give, not the size.
            mtu: egress.map_or(u16::MAX, |p| p.mtu),
            outer,
            mtu_policy: service.mtu_policy,
            name: spec.name.clone(),
        })
    }
}

/// Whether packets of flows may come to another worker than their owner.
fn steers(spec: &SnapshotSpec) -> bool {
    let any = |mode| spec.services.iter().any(|service| service.mode == mode);
    // Where the replies of full-NAT arrive is known only of a NIC that tells how it spreads them.
    let is_told = |port: &PortSpec| port.rss.is_some() && port.outer_tier.is_empty();
    let all_stay = if any(Mode::FullNat) { spec.ports.iter().all(is_told) } else { spec.ports.iter().all(is_placed) };
    spec.workers > 1 && (any(Mode::Nat) || !all_stay)
}

/// What packets to a service look like.
fn keys_of(service: &ServiceSpec) -> impl Iterator<Item = Key> + use<> {
    let of = |protocol, port| Key::new(service.vip, protocol, port);
    let icmp = if service.vip.is_ipv4() { protocol::ICMP } else { protocol::ICMPV6 };
    let echo = service.passes_echo.then(|| of(icmp, ANY_PORT));
    [of(service.protocol, service.port.unwrap_or(ANY_PORT))].into_iter().chain(echo)
}

fn add_vip(locals: &mut HashMap<IpAddr, Local>, vip: IpAddr, mode: Mode) {
    let (nat, local) = match locals.get(&vip) {
        Some(&Local::Vip { nat, local }) => (nat, local),
        known => (false, known == Some(&Local::Local)),
    };
    // Full-NAT chooses a local port that brings replies back to whoever has the connection.
    locals.insert(vip, Local::Vip { nat: nat || mode == Mode::Nat, local });
}

fn add_local(locals: &mut HashMap<IpAddr, Local>, address: IpAddr) {
    match locals.get_mut(&address) {
        Some(Local::Vip { local, .. }) => *local = true,
        _ => _ = locals.insert(address, Local::Local),
    }
}

/// Pools of local ports, each once, whichever backends share it.
#[derive(Default)]
struct Pools {
    all: Vec<(PoolKey, RangeInclusive<u16>)>,
    numbers: HashMap<PoolKey, u32>,
}

impl Pools {
    /// The numbers of those towards a backend.
    fn towards(&mut self, service: &ServiceSpec, backend: &BackendSpec) -> Box<[u32]> {
        let of_family = |address: &&IpAddr| address.is_ipv4() == backend.address.is_ipv4();
        let remote_port = backend.port.or(service.port).unwrap_or(0);
        let key = |&local| PoolKey { local, remote: backend.address, remote_port, protocol: service.protocol };
        let keys: Vec<PoolKey> = service.local_addresses.iter().filter(of_family).map(key).collect();
        let number = |key| {
            *self.numbers.entry(key).or_insert_with(|| {
                self.all.push((key, service.local_ports.clone()));
                self.all.len() as u32 - 1
            })
        };
        keys.into_iter().map(number).collect()
    }
}

/// Whether a device keeps the packets of a connection on one queue. It does not look into tunnels.
fn is_placed(port: &PortSpec) -> bool {
    (port.is_placed || port.rss.is_some()) && port.outer_tier.is_empty()
}

fn port(spec: PortSpec) -> Port {
    let is_placed = is_placed(&spec);
    let mut addresses = spec.addresses;
    if addresses.iter().any(|(a, _)| a.is_ipv6()) {
        addresses.push((IpAddr::V6(link_local(spec.mac)), 64));
    }
    Port {
        name: spec.name,
        mac: spec.mac,
        addresses,
        mtu: spec.mtu,
        vlan: spec.vlan,
        neighbors: spec.neighbors,
        is_placed,
        outer_tier: spec.outer_tier,
        host: spec.host,
        rss: spec.rss,
    }
}

fn routes(ports: &[PortSpec]) -> Routes {
    let mut routes = Routes::default();
    for (index, port) in ports.iter().enumerate() {
        let id = PortId(index as u8);
        for &(address, prefix_len) in &port.addresses {
            routes.connect(id, address, prefix_len);
        }
        for &gateway in &port.gateways {
            routes.gateway(id, gateway);
        }
    }
    routes
}

pub(super) fn build_service(
    spec: ServiceSpec,
    lookup: LookupTable,
    key: HashKey,
    workers: u16,
    old: &HashMap<&str, &Service>,
) -> Service {
    let members = members(&spec);
    let number = hash_bytes(key.derive(b"service"), spec.name.as_bytes());
    let is_limited = members.iter().any(|member| member.connections_max > 0);
    let previous = old.get(&*spec.name);
    let scheduler = match previous.filter(|s| s.scheduler.kind() == spec.scheduler && *s.members == *members) {
        Some(service) => service.scheduler.clone(),
        None => {
            let previous = previous.map(|service| &*service.scheduler);
            Arc::new(Scheduler::build(spec.scheduler, &members, workers, previous))
        }
    };
    Service {
        name: spec.name,
        is_retired: spec.is_retired,
        vip: spec.vip,
        port: spec.port,
        protocol: spec.protocol,
        mode: spec.mode,
        reset_unknown: spec.reset_unknown,
        unreachable: spec.unreachable,
        mtu_policy: spec.mtu_policy,
        backends: spec.backends.iter().map(|b| b.id).collect(),
        is_by_hash: spec.scheduler.is_by_hash() && spec.persistence_s == 0 && !is_limited,
        is_limited,
        persistence_s: spec.persistence_s,
        number,
        is_by_client: spec.scheduler.is_by_client(),
        members,
        scheduler,
        lookup,
    }
}

/// The backends as schedulers see them.
fn members(spec: &ServiceSpec) -> Box<[Member]> {
    let member = |backend: &BackendSpec| Member {
        id: backend.id,
        weight: if backend.admits { backend.weight } else { 0 },
        connections_max: backend.connections_max,
    };
    spec.backends.iter().map(member).collect()
}
