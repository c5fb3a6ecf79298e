//! Turns the configuration, and what health checks and commands say beside it, into a snapshot for the workers.

use std::sync::Arc;

use super::config::{self, Config, State};
use super::ghosts::Ghost;
use super::overrides::Overrides;
use super::registry::{BackendKey, Registry, RegistryFull};
use crate::lb::connection::Timeouts;
use crate::lb::hash::HashKey;
use crate::lb::ids::{BackendId, ServiceId, WorkerId};
use crate::lb::memory::Place;
use crate::lb::shard::ShardConfig;
use crate::lb::snapshot::{
    BackendSpec, BuildError, ClientAddress, Mode, MtuPolicy, PortSpec, ServiceSpec, Snapshot, SnapshotSpec, TunnelSpec,
};
use crate::lb::steer::Rss;
use crate::wire::ethernet::MacAddr;
use crate::wire::protocol;

/// Backends over all services; sizes the workers' counters at start.
pub const BACKENDS_MAX: usize = 1 << 17;

/// What only the running port knows.
#[derive(Clone, Debug)]
pub struct PortFacts {
    /// The MAC address it uses.
    pub mac: MacAddr,
    /// Whether the host takes what is for own addresses and not served here.
    pub host: bool,
    /// How its NIC spreads packets over the workers; `None` if it does not.
    pub rss: Option<Arc<Rss>>,
}

/// Why a configuration cannot be put into service.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// Too many backends.
    #[error(transparent)]
    Backends(#[from] RegistryFull),
    /// The packet path's tables could not be built.
    #[error(transparent)]
    Build(#[from] BuildError),
}

/// Makes snapshots, one after the other.
#[derive(Debug)]
pub struct Compiler {
    workers: u16,
    ports: Vec<PortFacts>,
    hash_key: HashKey,
    registry: Registry,
    generation: u64,
}

impl Compiler {
    /// `ports` are in the order of the configuration; `hash_key` is for consistent hashing.
    pub fn new(workers: u16, ports: Vec<PortFacts>, hash_key: HashKey) -> Self {
        Self { workers, ports, hash_key, registry: Registry::default(), generation: 0 }
    }

    /// One for a look ahead at `config`, which may need a restart: it knows the same backends, and this one's work goes on
    /// as if nothing had been asked.
    pub fn look_ahead(&self, config: &Config) -> Self {
        let known = |(at, port): (usize, &config::Port)| {
            let unknown = || PortFacts { mac: port.mac.unwrap_or(UNKNOWN_MAC), host: false, rss: None };
            self.ports.get(at).cloned().unwrap_or_else(unknown)
        };
        Self {
            workers: self.workers,
            ports: config.ports.iter().enumerate().map(known).collect(),
            hash_key: config.dataplane.hash_key.map_or(self.hash_key, |key| HashKey::from_bytes(key.0)),
            registry: self.registry.clone(),
            generation: self.generation,
        }
    }

    /// The snapshot of `config` and `overrides`; costly parts are taken over from `previous` where they are the same.
    ///
    /// # Errors
    /// See [`CompileError`]; nothing has changed then.
    pub fn compile(
        &mut self,
        config: &Config,
        overrides: &Overrides,
        previous: Option<&Snapshot>,
    ) -> Result<Snapshot, CompileError> {
        let backends = config.services.iter().flat_map(|s| s.backends.iter().map(|b| backend_key(s, b)));
        let keys: Vec<BackendKey> = backends.chain(overrides.ghosts.iter().map(Ghost::key)).collect();
        let mut registry = self.registry.clone();
        let mut ids = registry.assign(&keys, BACKENDS_MAX)?.into_iter();
        let mut services: Vec<_> = config.services.iter().map(|s| service(s, overrides, &mut ids)).collect();
        services.extend(overrides.ghosts.iter().zip(ids).map(|(ghost, id)| retired(ghost, overrides, id)));
        let spec = SnapshotSpec {
            generation: self.generation + 1,
            workers: self.workers,
            hash_key: self.hash_key,
            ports: config.ports.iter().zip(&self.ports).map(|(p, facts)| port(p, facts)).collect(),
            services,
        };
        let snapshot = Snapshot::build(spec, previous)?;
        self.registry = registry;
        self.generation = snapshot.generation;
        Ok(snapshot)
    }

    /// The same where nothing differs from `previous` but what `overrides` say of backends of the services `changed`, by
    /// their places in `config`.
    ///
    /// # Errors
    /// See [`CompileError`]; nothing has changed then.
    pub fn amend(
        &mut self,
        config: &Config,
        overrides: &Overrides,
        previous: &Snapshot,
        changed: &[usize],
    ) -> Result<Snapshot, CompileError> {
        let amended = |&place: &usize| {
            let (id, config) = (ServiceId(place as u32), config.services.get(place)?);
            let ids = &previous.service(id).filter(|s| *s.name == *config.name)?.backends;
            let same = ids.len() == config.backends.len();
            same.then(|| (id, service(config, overrides, &mut ids.iter().copied())))
        };
        let amended: Option<Vec<_>> = changed.iter().map(amended).collect();
        let Some(amended) = amended.filter(|_| previous.generation == self.generation) else {
            return self.compile(config, overrides, Some(previous));
        };
        let snapshot = previous.amended(self.generation + 1, self.hash_key, amended)?;
        self.generation = snapshot.generation;
        Ok(snapshot)
    }

    /// The number of a backend in the newest snapshot.
    pub fn id(&self, service: &config::Service, backend: &config::Backend) -> Option<BackendId> {
        self.registry.id(&backend_key(service, backend))
    }
}

/// Of a port that does not run.
const UNKNOWN_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 0]);

/// The sizes of one worker's shard: connections are shared out evenly.
pub fn shard_config(config: &Config, worker: WorkerId, boot_key: HashKey) -> ShardConfig {
    let has = |v4: bool| config.services.iter().any(|s| s.vip.is_ipv4() == v4);
    // Connections between the IP versions are kept with those of IPv6.
    let crosses = |s: &config::Service| {
        s.mode == config::Mode::FullNat && s.backends.iter().any(|b| b.address.is_ipv4() != s.vip.is_ipv4())
    };
    ShardConfig {
        worker,
        connections_max: (config.dataplane.connections as usize).div_ceil(config.dataplane.workers.count()),
        v4: has(true),
        v6: has(false) || config.services.iter().any(crosses),
        nat: config.services.iter().any(|s| s.mode.is_nat()),
        backends_max: BACKENDS_MAX,
        neighbors_max: NEIGHBORS_MAX,
        local_port_rest_s: config.dataplane.local_port_rest_s,
        punt_rates: config.host,
        clients_max: config.dataplane.persistence_clients as usize,
        fragments_max: config.dataplane.fragments as usize,
        place: Place::default(),
        boot_key,
    }
}

/// Next hops that each worker can know.
const NEIGHBORS_MAX: usize = 4096;

/// Connections may stay with a backend over a reload only if they would be made just so again: same VIP, same mode.
pub(super) fn backend_key(service: &config::Service, backend: &config::Backend) -> BackendKey {
    BackendKey {
        service: service.name.clone(),
        vip: (service.vip, service.protocol, service.port),
        mode: service.mode,
        client_address: service.client_address,
        address: backend.address,
        port: backend.port,
    }
}

/// A share of a weight is never nothing, for that would be no new connection at all.
fn weight(weight: u16, percent: Option<u8>) -> u32 {
    let whole = u32::from(weight);
    percent.map_or(whole, |percent| (whole * u32::from(percent) / 100).max(1).min(whole))
}

fn port(port: &config::Port, facts: &PortFacts) -> PortSpec {
    let gateway4 = port.gateway.map(Into::into);
    let gateway6 = port.gateway6.map(Into::into);
    PortSpec {
        name: port.name.as_str().into(),
        mac: facts.mac,
        addresses: port.addresses.iter().map(|a| (a.address(), a.prefix_len())).collect(),
        gateways: gateway4.into_iter().chain(gateway6).collect(),
        mtu: port.mtu,
        vlan: port.vlan,
        neighbors: port.neighbors.iter().map(|(&address, &mac)| (address, mac)).collect(),
        outer_tier: port.decapsulate_from.iter().map(|net| (net.network(), net.prefix_len())).collect(),
        is_placed: port.spread == config::Spread::Queues,
        host: facts.host,
        rss: facts.rss.clone(),
    }
}

fn mode_spec(mode: config::Mode) -> Mode {
    match mode {
        config::Mode::Nat => Mode::Nat,
        config::Mode::FullNat => Mode::FullNat,
        config::Mode::Gre => Mode::Gre,
        config::Mode::Ipip => Mode::Ipip,
        config::Mode::Gue => Mode::Gue,
        config::Mode::Dsr => Mode::Dsr,
    }
}

fn backend_spec(
    backend: &config::Backend,
    id: BackendId,
    mode: Mode,
    weight: u32,
    [serves, admits]: [bool; 2],
) -> BackendSpec {
    BackendSpec {
        id,
        name: backend.name.as_str().into(),
        address: backend.address,
        port: if mode.is_nat() { backend.port } else { None },
        weight,
        connections_max: backend.connections_max.unwrap_or(0),
        serves,
        admits,
    }
}

/// A service for a backend that a reload has removed: its connections go on, and no packet finds it anew.
fn retired(ghost: &Ghost, overrides: &Overrides, id: BackendId) -> ServiceSpec {
    let spec = service(&ghost.service, overrides, &mut std::iter::empty());
    let backends = vec![backend_spec(&ghost.backend, id, spec.mode, 0, [true, false])];
    ServiceSpec { is_retired: true, passes_echo: false, maglev_size: 2, backends, ..spec }
}

fn service(service: &config::Service, overrides: &Overrides, ids: &mut impl Iterator<Item = BackendId>) -> ServiceSpec {
    let mode = mode_spec(service.mode);
    let backends = service.backends.iter().zip(ids).map(|(b, id)| {
        let weight = weight(overrides.weight(service, b), overrides.share_served(service, b));
        let serves = overrides.effective(service, b) != State::Down;
        backend_spec(b, id, mode, weight, [serves, overrides.admits(service, b)])
    });
    let t = service.timeouts;
    ServiceSpec {
        name: service.name.as_str().into(),
        is_retired: false,
        vip: service.vip,
        port: service.port,
        protocol: match service.protocol {
            config::Protocol::Tcp => protocol::TCP,
            config::Protocol::Udp => protocol::UDP,
        },
        mode,
        client_address: match service.client_address {
            config::ClientAddress::None => ClientAddress::None,
            config::ClientAddress::ProxyV2 => ClientAddress::ProxyV2,
            config::ClientAddress::Toa => ClientAddress::Toa,
        },
        tunnel_source: service.tunnel_source,
        local_addresses: service.local_addresses.clone(),
        local_ports: service.local_ports.clone(),
        reset_idle: service.reset_idle,
        reset_unknown: service.reset_unknown,
        tunnel: TunnelSpec { gue_port: service.gue_port, ttl: service.tunnel_ttl, dscp: service.tunnel_dscp },
        mtu_policy: match service.mtu_policy {
            config::MtuPolicy::Signal => MtuPolicy::Signal,
            config::MtuPolicy::Fragment => MtuPolicy::Fragment,
            config::MtuPolicy::Clamp => MtuPolicy::Clamp,
        },
        unreachable: service.unreachable,
        passes_echo: service.echo == config::Echo::Backend,
        scheduler: service.scheduler,
        persistence_s: service.persistence_s.unwrap_or(0),
        maglev_size: service.maglev_size,
        timeouts: Timeouts::new([
            t.tcp_syn_s,
            t.tcp_established_s,
            t.tcp_fin_s,
            t.udp_oneway_s,
            t.udp_s,
            t.icmp_echo_s,
        ]),
        backends: backends.collect(),
    }
}
