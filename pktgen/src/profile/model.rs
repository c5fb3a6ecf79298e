//! A profile as the program uses it: every value checked, every default filled in.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use tidegate::control::config::Word;
use tidegate::wire::ethernet::MacAddr;

use crate::flows::Flows;
use crate::frame::Protocol;
use crate::traffic::Order;

/// A whole profile.
#[derive(Clone, Debug)]
pub struct Profile {
    /// How long to send; `None` until Ctrl-C.
    pub duration: Option<Duration>,
    /// How long to receive what is late.
    pub wait: Duration,
    /// Decides all that is random.
    pub seed: u64,
    /// Poll loops, 1 or 2.
    pub workers: usize,
    /// Packet buffers.
    pub mbufs: u32,
    /// How long to wait for the links to come up.
    pub link_timeout: Duration,
    /// Arguments for EAL.
    pub eal: Vec<String>,
    /// One or two.
    pub ports: Vec<Port>,
    /// What the client port sends; there is one exactly if there is a client port.
    pub traffic: Option<Traffic>,
    /// The search for the zero-loss rate.
    pub rfc2544: Rfc2544,
}

/// A network port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// In messages.
    pub name: String,
    /// PCI address or vdev.
    pub device: String,
    /// What it does.
    pub mode: Mode,
    /// Source address; `None` for the device's own.
    pub mac: Option<MacAddr>,
    /// Where frames go; a client has one.
    pub gateway_mac: Option<MacAddr>,
    /// What ARP and neighbour solicitations are answered for.
    pub addresses: Vec<IpAddr>,
    /// Tag of what a client sends.
    pub vlan: Option<u16>,
}

/// What a port does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Sends the traffic, and receives.
    Client,
    /// Answers.
    Server,
    /// Both; what is sent to the clients' network is for the client.
    Both,
    /// Receives only.
    Receive,
}

impl Mode {
    /// Whether it sends the traffic.
    #[must_use]
    pub const fn is_client(self) -> bool {
        matches!(self, Self::Client | Self::Both)
    }

    /// Whether it answers.
    #[must_use]
    pub const fn is_server(self) -> bool {
        matches!(self, Self::Server | Self::Both)
    }
}

impl Word for Mode {
    const WORDS: &'static [(&'static str, Self)] =
        &[("client", Self::Client), ("server", Self::Server), ("both", Self::Both), ("receive", Self::Receive)];
    const SUPPORTED: &'static [Self] = &[Self::Client, Self::Server, Self::Both, Self::Receive];
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrafficKind {
    /// Packets of the flows, whatever comes back.
    Packets,
    /// SYNs from random sources.
    SynFlood,
    /// Whole TCP connections.
    Connections,
}

impl Word for TrafficKind {
    const WORDS: &'static [(&'static str, Self)] =
        &[("packets", Self::Packets), ("syn_flood", Self::SynFlood), ("connections", Self::Connections)];
    const SUPPORTED: &'static [Self] = &[Self::Packets, Self::SynFlood, Self::Connections];
}

impl fmt::Display for TrafficKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

impl Word for Protocol {
    const WORDS: &'static [(&'static str, Self)] = &[("udp", Self::Udp), ("tcp", Self::Tcp)];
    const SUPPORTED: &'static [Self] = &[Self::Udp, Self::Tcp];
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

impl Word for Order {
    const WORDS: &'static [(&'static str, Self)] = &[("round-robin", Self::RoundRobin), ("random", Self::Random)];
    const SUPPORTED: &'static [Self] = &[Self::RoundRobin, Self::Random];
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// Events a second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rate {
    /// As fast as it goes.
    Max,
    /// So many.
    PerSecond(f64),
}

impl Rate {
    /// The number, if there is one.
    #[must_use]
    pub const fn per_second(self) -> Option<f64> {
        match self {
            Self::Max => None,
            Self::PerSecond(rate) => Some(rate),
        }
    }
}

/// What the client port sends.
#[derive(Clone, Debug)]
pub struct Traffic {
    /// What.
    pub kind: TrafficKind,
    /// Of what.
    pub protocol: Protocol,
    /// Packets or connections a second.
    pub rate: Rate,
    /// Connections at once at most.
    pub concurrent_max: u32,
    /// The clients, each with the first server.
    pub flows: Flows,
    /// Address and port of each server.
    pub servers: Vec<std::net::SocketAddr>,
    /// Which flow is next.
    pub order: Order,
    /// Lengths of frames without their check sequence, taken in turn.
    pub frame_lens: Vec<u16>,
    /// Length of the longest headers that are sent, in bytes.
    pub header_len_max: u16,
    /// Packets or connections in all.
    pub packets_max: Option<u64>,
    /// Whether flows of TCP packets begin with a SYN.
    pub open: bool,
    /// Of each connection.
    pub data_segments: u16,
    /// Until a segment is repeated.
    pub retransmit_timeout: Duration,
    /// Whether checksums of received packets are looked at.
    pub verify: bool,
}

/// The search for the zero-loss rate.
#[derive(Clone, Debug, PartialEq)]
pub struct Rfc2544 {
    /// Packet sizes in bytes, frame check sequence included.
    pub packet_sizes: Vec<u16>,
    /// How long a trial sends.
    pub trial: Duration,
    /// How long it receives what is late.
    pub wait: Duration,
    /// How long between trials.
    pub pause: Duration,
    /// The highest rate.
    pub rate_max: Rate,
    /// Where the search ends, as a share of the highest rate.
    pub resolution: f64,
    /// Share of packets that may be lost.
    pub loss_tolerance: f64,
}
