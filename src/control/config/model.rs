//! The configuration as plain, validated values.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use super::errors::Diagnostic;
use super::model_api::Api;
use super::model_health::{Health, Passive};
use super::net::IpNet;
use super::words::{
    ClientAddress, DrainAction, Echo, HostPath, Idle, Mode, MtuPolicy, OnRemove, Protocol, Role, Scheduler, Spread,
    State,
};
use crate::lb::punt::PuntRates;
use crate::wire::ethernet::MacAddr;

/// One configuration file, checked: names are unique, every backend has a next hop, every value is in its range.
#[derive(Clone, Debug)]
pub struct Config {
    /// Worker threads and memory.
    pub dataplane: Dataplane,
    /// The management side.
    pub control: Control,
    /// In the order of the file, which is the order of port indexes.
    pub ports: Vec<Port>,
    /// What each worker may pass to the host.
    pub host: PuntRates,
    /// In the order of the file.
    pub services: Vec<Service>,
    /// What is allowed but probably not meant.
    pub warnings: Vec<Diagnostic>,
}

/// `[dataplane]`, fixed at start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dataplane {
    /// How many workers, or on which lcores.
    pub workers: Workers,
    /// Tracked connections over all workers; at least one a worker.
    pub connections: u32,
    /// Seconds that a local port of full-nat rests after its connection: 1..=32000.
    pub local_port_rest_s: u16,
    /// Packet buffers a socket.
    pub mbufs: u32,
    /// Datagrams in fragments that each worker knows; 0 drops fragments.
    pub fragments: u32,
    /// Client addresses whose backend is remembered, over all workers.
    pub persistence_clients: u32,
    /// Arguments for EAL; those on the command line come after them.
    pub eal: Vec<String>,
    /// The group's shared key for consistent hashing; `None` means random per boot.
    pub hash_key: Option<GroupKey>,
    /// What a worker does while there is no traffic.
    pub idle: Idle,
}

impl Default for Dataplane {
    fn default() -> Self {
        Self {
            workers: Workers::Count(1),
            connections: 1_000_000,
            local_port_rest_s: 120,
            mbufs: 65_536,
            fragments: 4096,
            persistence_clients: 262_144,
            eal: Vec::new(),
            hash_key: None,
            idle: Idle::Auto,
        }
    }
}

/// A key that the balancers of a group share. Its bytes are a secret, and in no log.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct GroupKey(pub [u8; 16]);

impl fmt::Debug for GroupKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// The poll loops: how many, or their lcores.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Workers {
    /// This many, on the first lcores that EAL offers; 1..=64.
    Count(u16),
    /// One on each of these lcores: not empty, no duplicates, in the order of the file.
    Lcores(Vec<u16>),
}

impl Workers {
    /// How many workers there are: 1..=64.
    pub fn count(&self) -> usize {
        match self {
            Self::Count(count) => usize::from(*count),
            Self::Lcores(lcores) => lcores.len(),
        }
    }
}

/// `[control]`, fixed at start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Control {
    /// Path of the Unix socket that the commands talk to.
    pub socket: PathBuf,
    /// How long SIGTERM lets connections end before the process does; zero means at once.
    pub grace: Duration,
    /// Where commands about backends are kept over a restart; `None` means nowhere.
    pub state_file: Option<PathBuf>,
    /// The API on TCP.
    pub api: Api,
}

impl Default for Control {
    fn default() -> Self {
        Self {
            socket: PathBuf::from("/run/tidegate/tidegate.sock"),
            grace: Duration::ZERO,
            state_file: Some(PathBuf::from("/var/lib/tidegate/state.json")),
            api: Api::default(),
        }
    }
}

/// `[[port]]`, fixed at start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// Unique among ports.
    pub name: String,
    /// PCI address or vdev with its arguments, as EAL takes it.
    pub device: String,
    /// Own addresses with their networks, in the order of the file; the first of a family is the source of tunnels.
    pub addresses: Vec<IpNet>,
    /// Next hop of IPv4 destinations that are on no port's network.
    pub gateway: Option<Ipv4Addr>,
    /// Next hop of IPv6 destinations that are on no port's network; may be link-local.
    pub gateway6: Option<Ipv6Addr>,
    /// Bytes of the largest IP packet: 576..=9600.
    pub mtu: u16,
    /// `None` means the device's own; `replay` needs one.
    pub mac: Option<MacAddr>,
    /// VLAN identifier of all traffic on the port, 1..=4094; `None` means untagged.
    pub vlan: Option<u16>,
    /// Networks of an outer tier of balancers, whose tunnels to our addresses are taken off.
    pub decapsulate_from: Vec<IpNet>,
    /// How its packets are spread over the workers.
    pub spread: Spread,
    /// Static neighbours; others are resolved by ARP and ND.
    pub neighbors: BTreeMap<IpAddr, MacAddr>,
    /// Whether the kernel gets what is for own addresses and not served.
    pub host: HostPath,
    /// Name of the kernel's device for it; `None` means `tg-` and the port's name, cut to 15 bytes.
    pub host_device: Option<String>,
}

/// `[[service]]`, taken over by a reload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Unique among services.
    pub name: String,
    /// The address that clients connect to; never a port's own.
    pub vip: IpAddr,
    /// `None` means every port of the address; a service with the port wins over it.
    pub port: Option<u16>,
    /// What clients speak.
    pub protocol: Protocol,
    /// How packets get to the backend.
    pub mode: Mode,
    /// How a new connection gets its backend.
    pub scheduler: Scheduler,
    /// Seconds that a client's address stays with its backend after its last new connection, 1..=32000.
    pub persistence_s: Option<u16>,
    /// Outer source of the tunnel for backends of its family, in place of the leaving port's first address.
    pub tunnel_source: Option<IpAddr>,
    /// DSCP of outer headers, 0..=63; `None` means the packet's own.
    pub tunnel_dscp: Option<u8>,
    /// TTL and hop limit of outer headers, 1..=255.
    pub tunnel_ttl: u8,
    /// UDP port that backends take GUE on.
    pub gue_port: u16,
    /// What becomes of packets that do not fit.
    pub mtu_policy: MtuPolicy,
    /// Addresses that full-nat connects from.
    pub local_addresses: Vec<IpAddr>,
    /// Ports that full-nat connects from, inside 1..=65535.
    pub local_ports: RangeInclusive<u16>,
    /// Whether both ends of an established TCP connection through NAT that was idle for too long get a RST.
    pub reset_idle: bool,
    /// Whether a TCP packet that no connection through NAT knows is answered with a RST.
    pub reset_unknown: bool,
    /// How full-nat tells backends who the client is; `None` in other modes and for other protocols than TCP.
    pub client_address: ClientAddress,
    /// Slots of the Maglev lookup table: a prime, not smaller than the number of backends.
    pub maglev_size: u32,
    /// Whether clients are told that no backend takes new connections.
    pub unreachable: bool,
    /// Who answers pings of the VIP; one service of a VIP alone may pass them on.
    pub echo: Echo,
    /// How long a backend may drain; zero for as long as it takes.
    pub drain_timeout: Duration,
    /// What becomes of its last connections then.
    pub drain_action: DrainAction,
    /// What becomes of the connections of backends that a reload removes.
    pub on_remove: OnRemove,
    /// When idle connections are forgotten.
    pub timeouts: Timeouts,
    /// `None` means no health checks: backends are as their `state` says.
    pub health: Option<Health>,
    /// `None` means that connections which backends do not answer are not looked at.
    pub passive: Option<Passive>,
    /// In the order of the file; may be empty.
    pub backends: Vec<Backend>,
}

impl Service {
    /// The port that packets reach `backend` on: its own, else the VIP's; `None` leaves the client's as it is.
    pub fn backend_port(&self, backend: &Backend) -> Option<u16> {
        backend.port.or(self.port)
    }
}

/// `[[service.backend]]`: one real server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    /// Unique in the service; `SERVICE/BACKEND` names it in commands.
    pub name: String,
    /// Where packets go.
    pub address: IpAddr,
    /// `None` means the VIP's port.
    pub port: Option<u16>,
    /// Share of new connections relative to the others; 0 gets none.
    pub weight: u16,
    /// Connections that it may have open, 1 at least.
    pub connections_max: Option<u32>,
    /// What the administrator wants.
    pub state: State,
    /// Whether it waits for others to fail.
    pub role: Role,
}

/// `[service.timeouts]`: seconds without a packet after which a connection is forgotten, each 1..=32000.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// Handshake not finished.
    pub tcp_syn_s: u16,
    /// Handshake finished (RFC 5382 REQ-5).
    pub tcp_established_s: u16,
    /// After FIN or a RST that counts.
    pub tcp_fin_s: u16,
    /// Both directions seen.
    pub udp_s: u16,
    /// Only the client has been seen.
    pub udp_oneway_s: u16,
    /// ICMP echo through the balancer.
    pub icmp_echo_s: u16,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { tcp_syn_s: 30, tcp_established_s: 7440, tcp_fin_s: 10, udp_s: 300, udp_oneway_s: 60, icmp_echo_s: 60 }
    }
}
