//! What a snapshot is built from: plain values that were already checked.

use std::net::IpAddr;
use std::sync::Arc;

use crate::lb::connection::Timeouts;
use crate::lb::hash::HashKey;
use crate::lb::ids::BackendId;
use crate::lb::steer::Rss;
use crate::wire::ethernet::MacAddr;

/// How a packet reaches its backend.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Mode {
    /// Destination address and port replaced; replies pass here and get the VIP back.
    Nat,
    /// In a GRE tunnel (RFC 2784); replies go straight to the client.
    Gre,
    /// By MAC address alone; replies go straight to the client.
    Dsr,
}

impl Mode {
    /// The word in configuration and outputs.
    pub fn label(self) -> &'static str {
        match self {
            Mode::Nat => "nat",
            Mode::Gre => "gre",
            Mode::Dsr => "dsr",
        }
    }

    /// True if replies pass the balancer.
    #[inline]
    pub fn is_nat(self) -> bool {
        self == Mode::Nat
    }
}

/// How a backend that does not see the client's address learns it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Default)]
pub enum ClientAddress {
    /// Not at all.
    #[default]
    None,
    /// In a PROXY protocol header before the client's first byte.
    ProxyV2,
    /// In a TCP option of the client's first segments.
    Toa,
}

/// Everything of one snapshot.
#[derive(Clone, Debug)]
pub struct SnapshotSpec {
    /// Grows by one with every snapshot published.
    pub generation: u64,
    /// Number of workers.
    pub workers: u16,
    /// The group's key for consistent hashing.
    pub hash_key: HashKey,
    /// In the order of the configuration.
    pub ports: Vec<PortSpec>,
    /// In the order of the configuration.
    pub services: Vec<ServiceSpec>,
}

/// One port.
#[derive(Clone, Debug)]
pub struct PortSpec {
    /// As configured.
    pub name: Arc<str>,
    /// The address it sends from and answers to.
    pub mac: MacAddr,
    /// Own addresses with prefix lengths in bits.
    pub addresses: Vec<(IpAddr, u8)>,
    /// Next hops off-link.
    pub gateways: Vec<IpAddr>,
    /// Largest IP packet in bytes.
    pub mtu: u16,
    /// VLAN identifier of all its traffic.
    pub vlan: Option<u16>,
    /// Next hops that are not asked for.
    pub neighbors: Vec<(IpAddr, MacAddr)>,
    /// Whether the device is trusted to keep the packets of a connection on one queue even if it does not say how.
    pub is_placed: bool,
    /// How the NIC spreads packets over workers; `None` if it does not, or not knowably.
    pub rss: Option<Arc<Rss>>,
}

/// One service.
#[derive(Clone, Debug)]
pub struct ServiceSpec {
    /// As configured, unique.
    pub name: Arc<str>,
    /// The address that clients connect to.
    pub vip: IpAddr,
    /// The port that clients connect to; `None` for every port.
    pub port: Option<u16>,
    /// IP protocol number: 6 or 17.
    pub protocol: u8,
    /// How packets reach the backends.
    pub mode: Mode,
    /// How the backends learn the client's address.
    pub client_address: ClientAddress,
    /// Outer source address of tunnels; `None` for the leaving port's first address of the family.
    pub tunnel_source: Option<IpAddr>,
    /// Slots of the Maglev table; prime.
    pub maglev_size: u32,
    /// Idle times.
    pub timeouts: Timeouts,
    /// In the order of the configuration.
    pub backends: Vec<BackendSpec>,
}

/// One backend of a service.
#[derive(Clone, Debug)]
pub struct BackendSpec {
    /// The same for the same backend in every snapshot.
    pub id: BackendId,
    /// As configured, unique in its service.
    pub name: Arc<str>,
    /// The real server.
    pub address: IpAddr,
    /// Its port; `None` for the VIP's.
    pub port: Option<u16>,
    /// Share of new connections.
    pub weight: u32,
    /// Whether it gets packets of connections that it already has: not down.
    pub serves: bool,
    /// Whether it gets new connections: up, and not draining.
    pub admits: bool,
}
