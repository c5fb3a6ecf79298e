//! What a snapshot is built from: plain values that were already checked.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;

use super::outer::{Encap, TunnelSpec};
use crate::lb::connection::Timeouts;
use crate::lb::hash::HashKey;
use crate::lb::ids::BackendId;
use crate::lb::scheduler;
use crate::lb::steer::Rss;
use crate::wire::ethernet::MacAddr;

/// How a packet reaches its backend.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Mode {
    /// Destination address and port replaced; replies pass here and get the VIP back.
    Nat,
    /// Both ends replaced: the backend sees a local address, so replies pass here whatever its routes are.
    FullNat,
    /// In a GRE tunnel (RFC 2784); replies go straight to the client.
    Gre,
    /// In an IP tunnel (RFC 2003, RFC 2473); replies go straight to the client.
    Ipip,
    /// In a UDP tunnel (GUE); replies go straight to the client.
    Gue,
    /// By MAC address alone; replies go straight to the client.
    Dsr,
}

/// What becomes of packets that do not fit the way to their backend (RFC 4459).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Default)]
pub enum MtuPolicy {
    /// Their senders are told what does fit; those that routers may fragment are sent in pieces.
    #[default]
    Signal,
    /// They are sent in pieces, all of them.
    Fragment,
    /// As `Signal`, and TCP is told of smaller segments when it opens a connection.
    Clamp,
}

impl Mode {
    /// The word in configuration and outputs.
    pub fn label(self) -> &'static str {
        match self {
            Mode::Nat => "nat",
            Mode::FullNat => "full-nat",
            Mode::Gre => "gre",
            Mode::Ipip => "ipip",
            Mode::Gue => "gue",
            Mode::Dsr => "dsr",
        }
    }

    /// The tunnel, if there is one.
    #[inline]
    pub fn encap(self) -> Option<Encap> {
        match self {
            Mode::Nat | Mode::FullNat | Mode::Dsr => None,
            Mode::Gre => Some(Encap::Gre),
            Mode::Ipip => Some(Encap::Ipip),
            Mode::Gue => Some(Encap::Gue),
        }
    }

    /// True if replies pass the balancer.
    #[inline]
    pub fn is_nat(self) -> bool {
        matches!(self, Mode::Nat | Mode::FullNat)
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
    /// Networks, with prefix lengths in bits, whose tunnels to our addresses are taken off.
    pub outer_tier: Vec<(IpAddr, u8)>,
    /// Whether the device is trusted to keep the packets of a connection on one queue even if it does not say how.
    pub is_placed: bool,
    /// Whether the host takes what is for own addresses and not served here.
    pub host: bool,
    /// How the NIC spreads packets over workers; `None` if it does not, or not knowably.
    pub rss: Option<Arc<Rss>>,
}

/// One service.
#[derive(Clone, Debug)]
pub struct ServiceSpec {
    /// As configured, unique but for those that are retired.
    pub name: Arc<str>,
    /// Whether it is gone from the configuration: its connections go on, and nothing new comes to it. Behind all others.
    pub is_retired: bool,
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
    /// Full-NAT: addresses that connections to backends come from.
    pub local_addresses: Vec<IpAddr>,
    /// Full-NAT: ports of those addresses.
    pub local_ports: RangeInclusive<u16>,
    /// NAT modes: whether both ends get a RST when an established TCP connection has been idle for too long.
    pub reset_idle: bool,
    /// NAT modes: whether a TCP packet that no connection knows is answered with a RST.
    pub reset_unknown: bool,
    /// Whether clients are told that no backend takes new connections.
    pub unreachable: bool,
    /// Mode NAT: whether pings of the VIP go to its backends, instead of being answered; one service a VIP at most.
    pub passes_echo: bool,
    /// The rest of what tunnels are made of.
    pub tunnel: TunnelSpec,
    /// What becomes of packets that do not fit.
    pub mtu_policy: MtuPolicy,
    /// How a new connection gets its backend.
    pub scheduler: scheduler::Kind,
    /// Seconds that a client's address stays with its backend after its last new connection; 0: not at all.
    pub persistence_s: u16,
    /// Slots of the Maglev table; prime.
    pub maglev_size: u32,
    /// Idle times.
    pub timeouts: Timeouts,
    /// In the order of the configuration.
    pub backends: Vec<BackendSpec>,
}

impl ServiceSpec {
    /// Whether it is in full-NAT and has a backend of the other IP version than its VIP.
    pub fn crosses(&self) -> bool {
        self.mode == Mode::FullNat && self.backends.iter().any(|b| b.address.is_ipv4() != self.vip.is_ipv4())
    }
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
    /// Connections that it may have open; 0: any number.
    pub connections_max: u32,
    /// Whether it gets packets of connections that it already has: not down.
    pub serves: bool,
    /// Whether it gets new connections: up, and not draining.
    pub admits: bool,
}
