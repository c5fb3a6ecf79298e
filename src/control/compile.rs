//! Turns the configuration, and what health checks and commands say beside it, into a snapshot for the workers.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::config::{self, Config, State};
use super::registry::{BackendKey, Registry, RegistryFull};
use crate::lb::connection::Timeouts;
use crate::lb::hash::HashKey;
use crate::lb::ids::{BackendId, WorkerId};
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

/// What health checks and commands say of backends, beside the file.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    health: HashMap<(String, String), bool>,
    state: HashMap<(String, String), State>,
    /// Percent of its weight that a backend has while it comes back.
    shares: HashMap<(String, String), u8>,
    /// Services that serve all of their backends, since too few are healthy.
    panics: HashSet<String>,
}

impl Overrides {
    /// Notes what the health checks say of a backend; `None` if it is not checked.
    pub fn set_health(&mut self, service: &str, backend: &str, healthy: Option<bool>) {
        set(&mut self.health, service, backend, healthy);
    }

    /// Notes what a command says of a backend; `None` to go by the file again.
    pub fn set_state(&mut self, service: &str, backend: &str, state: Option<State>) {
        set(&mut self.state, service, backend, state);
    }

    /// What the health checks say.
    pub fn health(&self, service: &str, backend: &str) -> Option<bool> {
        self.health.get(&(service.to_owned(), backend.to_owned())).copied()
    }

    /// What a command said.
    pub fn state(&self, service: &str, backend: &str) -> Option<State> {
        self.state.get(&(service.to_owned(), backend.to_owned())).copied()
    }

    /// Notes which part of its weight a backend has, in percent; `None` for all of it.
    pub fn set_share(&mut self, (service, backend): &(String, String), percent: Option<u8>) {
        set(&mut self.shares, service, backend, percent);
    }

    /// Which part of its weight a backend has, in percent; `None` for all of it.
    pub fn share(&self, service: &str, backend: &str) -> Option<u8> {
        self.shares.get(&(service.to_owned(), backend.to_owned())).copied()
    }

    /// Finds out which services have so few healthy backends that all of them are to serve. To be called when health,
    /// states or the configuration have changed.
    pub fn judge(&mut self, config: &Config) {
        let panics = |service: &&config::Service| {
            let threshold = service.health.as_ref().map_or(0, |health| usize::from(health.panic_threshold_percent));
            let (healthy, wanted) = if threshold == 0 { return false } else { self.healthy(service) };
            healthy * 100 < threshold * wanted
        };
        self.panics = config.services.iter().filter(panics).map(|service| service.name.clone()).collect();
    }

    /// Whether a service serves all of its backends, since too few are healthy.
    pub fn panics(&self, service: &str) -> bool {
        self.panics.contains(service)
    }

    /// How many backends of a service are wanted up and healthy, and how many are wanted up.
    pub fn healthy(&self, service: &config::Service) -> (usize, usize) {
        let wanted = service.backends.iter().filter(|b| self.wanted(service, b) == State::Up);
        wanted.fold((0, 0), |(healthy, wanted), b| {
            let is_healthy = self.health(&service.name, &b.name) != Some(false);
            (healthy + usize::from(is_healthy), wanted + 1)
        })
    }

    fn wanted(&self, service: &config::Service, backend: &config::Backend) -> State {
        self.state(&service.name, &backend.name).unwrap_or(backend.state)
    }

    /// Forgets what is not in `config` any more.
    pub fn retain(&mut self, config: &Config) {
        let names: HashSet<(String, String)> =
            config.services.iter().flat_map(|s| s.backends.iter().map(|b| (s.name.clone(), b.name.clone()))).collect();
        self.health.retain(|name, _| names.contains(name));
        self.state.retain(|name, _| names.contains(name));
        self.shares.retain(|name, _| names.contains(name));
    }

    /// What the packet path does with a backend, all taken together: the administrator's word, and down if the checks
    /// say so, unless too few backends would be left.
    pub fn effective(&self, service: &config::Service, backend: &config::Backend) -> State {
        match self.health(&service.name, &backend.name) {
            Some(false) if !self.panics(&service.name) => State::Down,
            _ => self.wanted(service, backend),
        }
    }
}

fn set<T>(map: &mut HashMap<(String, String), T>, service: &str, backend: &str, value: Option<T>) {
    let name = (service.to_owned(), backend.to_owned());
    match value {
        Some(value) => _ = map.insert(name, value),
        None => _ = map.remove(&name),
    }
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
        let keys: Vec<BackendKey> =
            config.services.iter().flat_map(|s| s.backends.iter().map(|b| backend_key(s, b))).collect();
        let mut registry = self.registry.clone();
        let mut ids = registry.assign(&keys, BACKENDS_MAX)?.into_iter();
        let services = config.services.iter().map(|s| service(s, overrides, &mut ids)).collect();
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
}

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
        fragments_max: config.dataplane.fragments as usize,
        place: Place::default(),
        boot_key,
    }
}

/// Next hops that each worker can know.
const NEIGHBORS_MAX: usize = 4096;

/// Connections may stay with a backend over a reload only if they would be made just so again: same VIP, same mode.
fn backend_key(service: &config::Service, backend: &config::Backend) -> BackendKey {
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

fn service(service: &config::Service, overrides: &Overrides, ids: &mut impl Iterator<Item = BackendId>) -> ServiceSpec {
    let mode = match service.mode {
        config::Mode::Nat => Mode::Nat,
        config::Mode::FullNat => Mode::FullNat,
        config::Mode::Gre => Mode::Gre,
        config::Mode::Ipip => Mode::Ipip,
        config::Mode::Gue => Mode::Gue,
        config::Mode::Dsr => Mode::Dsr,
    };
    let backends = service.backends.iter().zip(ids).map(|(b, id)| {
        let state = overrides.effective(service, b);
        // Where dead ones serve as well, who is back is better than they are from the start.
        let share = overrides.share(&service.name, &b.name).filter(|_| !overrides.panics(&service.name));
        BackendSpec {
            id,
            name: b.name.as_str().into(),
            address: b.address,
            port: if mode.is_nat() { b.port } else { None },
            weight: weight(b.weight, share),
            serves: state != State::Down,
            admits: state == State::Up,
        }
    });
    let t = service.timeouts;
    ServiceSpec {
        name: service.name.as_str().into(),
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
