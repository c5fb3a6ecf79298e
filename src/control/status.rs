//! What the API answers with, field by field; the names are stable.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use super::host::{Host, HostClass};
pub use super::memory::TableMemory;
pub use super::stats::{LatencyNs, Quantiles, Rates, Stats};

/// `GET /v1/status`: the process.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Status {
    /// Version of the program.
    pub version: String,
    /// Commit that it was built from; `unknown` outside a checkout.
    pub revision: String,
    /// DPDK that it was built with; `none` without.
    pub dpdk: String,
    /// Process number.
    pub pid: u32,
    /// Seconds since the start.
    pub uptime_s: f64,
    /// Number of the snapshot that control published last.
    pub generation: u64,
    /// The file given at start, which SIGHUP and a reload without a file read.
    pub config: String,
    /// The file that the running configuration came from.
    pub loaded: String,
    /// Seconds since it was loaded.
    pub loaded_s: f64,
    /// How many workers there are.
    pub workers: u16,
    /// What backs the connection tables.
    #[serde(default)]
    pub tables: Option<TableMemory>,
    /// Changes over the API that are in no file: a reload or a restart undoes them.
    #[serde(default)]
    pub edits: u64,
    /// Why the last reload was refused or taken back, if it was.
    pub reload_error: Option<String>,
    /// The reload that waits for confirmation.
    #[serde(default)]
    pub unconfirmed: Option<Unconfirmed>,
}

/// A reload that is taken back unless it is confirmed in time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Unconfirmed {
    /// The file that was loaded.
    pub path: String,
    /// The file that what ran before came from, and runs again then.
    pub before: String,
    /// Seconds that are left.
    pub left_s: f64,
}

/// `GET /v1/services`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Services {
    /// In the order of the configuration.
    pub services: Vec<ServiceStatus>,
}

/// One service with its backends.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ServiceStatus {
    /// As configured.
    pub name: String,
    /// The address that clients connect to.
    pub vip: String,
    /// The port that clients connect to; `null` for every port.
    pub port: Option<u16>,
    /// `tcp` or `udp`.
    pub protocol: String,
    /// How packets reach the backends.
    pub mode: String,
    /// How new connections get their backend.
    pub scheduler: String,
    /// Backends that take new connections.
    pub backends_up: usize,
    /// Packets of all its backends.
    pub packets: u64,
    /// Bytes of all its backends.
    pub bytes: u64,
    /// Connections open now.
    pub connections: u64,
    /// Whether a reload has removed it, and its backends keep their connections.
    #[serde(default)]
    pub removed: bool,
    /// In the order of the configuration, and behind them those that a reload has removed.
    pub backends: Vec<BackendStatus>,
}

/// `GET /v1/backends`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Backends {
    /// Those of all services, in the order of the configuration.
    pub backends: Vec<BackendStatus>,
}

/// One backend.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct BackendStatus {
    /// Its service's name.
    pub service: String,
    /// As configured, unique in its service.
    pub name: String,
    /// The real server.
    pub address: String,
    /// The port that packets reach it on; `null` where the client's stays.
    pub port: Option<u16>,
    /// Share of new connections: by command, else by the configuration.
    pub weight: u16,
    /// What it does, all taken together: `up`, `drain` or `down`.
    pub state: String,
    /// Seconds since it is so.
    pub since_s: f64,
    /// Why it is so.
    pub reason: String,
    /// What the administrator wants, by command, else by the configuration: `up`, `drain` or `down`.
    pub wanted: String,
    /// Whether commands have made state or weight differ from the configuration.
    #[serde(default)]
    pub by_command: bool,
    /// `primary`, `backup` or `last-resort`; empty for one that a reload has removed.
    #[serde(default)]
    pub role: String,
    /// Whether it gets new connections now.
    #[serde(default)]
    pub admits: bool,
    /// Whether a reload has removed it, and it keeps its connections.
    #[serde(default)]
    pub removed: bool,
    /// What its health checks say: `up`, `down`, `unknown` before the first result, or `unchecked`.
    pub health: String,
    /// Packets to it and, through NAT, from it.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Connections open now.
    pub connections: u64,
    /// Connections ever opened.
    pub connections_total: u64,
    /// What the scheduler `lrt` goes by, in nanoseconds: how long the backend takes to answer, smoothed; `null` for other
    /// schedulers.
    #[serde(default)]
    pub response_time_ns: Option<u64>,
}

/// `GET /v1/connections`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Connections {
    /// In no order.
    pub connections: Vec<ConnectionStatus>,
    /// Whether there are more than were asked for.
    pub truncated: bool,
}

/// One connection.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ConnectionStatus {
    /// `tcp` or `udp`.
    pub protocol: String,
    /// Client's address and port.
    pub client: String,
    /// VIP and port.
    pub vip: String,
    /// The service's name; `null` if it is gone from the configuration.
    pub service: Option<String>,
    /// The backend's name; `null` if it is gone from the configuration.
    pub backend: Option<String>,
    /// The backend's address and port, if that is known.
    pub backend_address: Option<String>,
    /// `syn`, `established`, `fin`, `udp_oneway` or `udp`.
    pub state: String,
    /// Seconds until it ends if nothing more comes.
    pub left_s: u16,
    /// The worker that owns it.
    pub worker: u16,
}

/// `GET /v1/ports`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Ports {
    /// In the order of the configuration.
    pub ports: Vec<PortStatus>,
}

/// One port, as its driver tells it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PortStatus {
    /// As configured.
    pub name: String,
    /// As configured: PCI address or vdev.
    pub device: String,
    /// The driver's name.
    pub driver: String,
    /// Its own MAC address.
    pub mac: String,
    /// Whether the link is up.
    pub link_up: bool,
    /// Speed of the link in Mbit/s; `null` where the driver does not know.
    pub speed_mbps: Option<u32>,
    /// Largest IP packet in bytes.
    pub mtu: u16,
    /// Its VLAN; `null` for untagged traffic. Ports of one device have that device's counters.
    #[serde(default)]
    pub vlan: Option<u16>,
    /// Receive queues in use.
    pub rx_queues: u16,
    /// Transmit queues in use.
    pub tx_queues: u16,
    /// Whether the NIC spreads packets over the queues.
    pub rss: bool,
    /// Packets received.
    pub rx_packets: u64,
    /// Their bytes.
    pub rx_bytes: u64,
    /// Packets transmitted.
    pub tx_packets: u64,
    /// Their bytes.
    pub tx_bytes: u64,
    /// Packets that the NIC lost because no worker took them in time.
    pub rx_missed: u64,
    /// Packets lost because no packet buffer was free.
    #[serde(default)]
    pub rx_no_mbuf: u64,
    /// Faulty packets received.
    pub rx_errors: u64,
    /// Packets that could not be transmitted.
    pub tx_errors: u64,
    /// What the host's network stack has of it.
    #[serde(default)]
    pub host: PortHost,
    /// Packet buffers in use in the port's pool.
    pub mbufs_in_use: u64,
    /// Packet buffers of the pool.
    pub mbufs_total: u64,
}

/// The host's end of a port.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PortHost {
    /// The kernel's device that stands for the port; `null` where there is none.
    pub device: Option<String>,
    /// Why there is none.
    pub reason: Option<String>,
    /// Packets that the kernel took.
    pub to_host: u64,
    /// Frames that the kernel sent.
    pub from_host: u64,
    /// Packets that the kernel did not take.
    pub errors: u64,
}

/// `GET /v1/workers`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Workers {
    /// What the rates are taken over: the last second or so; in the first one, the time since the start.
    pub seconds: f64,
    /// In order of number.
    pub workers: Vec<WorkerStatus>,
}

/// One worker; the rates are over [`Workers::seconds`], the counts since the start.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct WorkerStatus {
    /// Its number.
    pub id: u16,
    /// The CPU that it is pinned to.
    pub cpu: Option<u32>,
    /// Packets taken from ports.
    pub rx_packets: u64,
    /// Packets forwarded.
    pub tx_packets: u64,
    /// Packets answered by the balancer itself.
    pub replies: u64,
    /// Packets dropped.
    pub drops: u64,
    /// Packets passed to other workers.
    pub handoffs: u64,
    /// Packets that opened or changed a connection, at most one a burst, and came with a partial checksum, which no receiver takes.
    #[serde(default)]
    pub partial_checksums: u64,
    /// Connections open now.
    pub connections: u64,
    /// Connections that it may track.
    pub connections_max: u64,
    /// How busy it is.
    #[serde(flatten)]
    pub rates: Rates,
    /// Number of the snapshot that it uses.
    pub generation: u64,
    /// Whether its loop has stopped turning.
    pub stalled: bool,
}

/// `GET /v1/drops`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Drops {
    /// In the order of the packet path's checks.
    pub drops: Vec<DropStatus>,
    /// What went to the host's network stack, and what was beyond its limits.
    #[serde(default)]
    pub host: Host,
}

/// Packets dropped for one reason.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DropStatus {
    /// The word in stats and metrics.
    pub reason: String,
    /// One sentence.
    pub meaning: String,
    /// What is behind it as a rule.
    #[serde(default)]
    pub cause: String,
    /// What to do about it.
    #[serde(default)]
    pub cure: String,
    /// Packets.
    pub count: u64,
}

/// `GET /v1/latency`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Latency {
    /// Time in the balancer, from the receive burst to the end of the transmit burst, since the start.
    pub latency_ns: LatencyNs,
    /// Of one busy turn of the poll loop in this many, every packet is measured; of the class `held`, all are.
    pub sample_every: u32,
    /// In order of number.
    pub workers: Vec<WorkerLatency>,
}

/// The part of one worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WorkerLatency {
    /// Its number.
    pub id: u16,
    /// Of all sampled packets that it sent.
    pub latency_ns: Quantiles,
}

/// `GET /v1/neighbors`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Neighbors {
    /// By worker, port and address.
    pub neighbors: Vec<NeighborStatus>,
}

/// One next hop as one worker knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
pub struct NeighborStatus {
    /// The port behind which it is.
    pub port: String,
    /// Its address.
    pub address: String,
    /// Its MAC address, once known.
    pub mac: Option<String>,
    /// `static`, `reachable`, `probing` or `incomplete`.
    pub state: String,
    /// Who knows it.
    pub worker: u16,
}

/// Body of `POST /v1/reload`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReloadRequest {
    /// The file to load; the one given at start if left out.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub path: Option<std::path::PathBuf>,
    /// Seconds after which it is taken back unless it is confirmed before; left out, it stays.
    #[serde(default)]
    pub confirm_s: Option<u32>,
}

/// Longest time in seconds that a reload can wait for its confirmation: a day.
pub const CONFIRM_S_MAX: u32 = 86_400;

/// Body of `POST /v1/plan`: one of the two.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PlanRequest {
    /// The file to look at.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub path: Option<std::path::PathBuf>,
    /// What would be in it.
    #[serde(default)]
    pub text: Option<String>,
}

/// `GET /v1/config`: what is in use, as a file that loads.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ConfigText {
    /// The file that it came from.
    pub loaded: String,
    /// TOML, with what commands have changed as comments.
    pub text: String,
    /// The same, read: tables, lists and values.
    pub config: serde_json::Value,
    /// Backends that do something else than the file says, by command.
    pub by_command: Vec<String>,
}

/// What a confirmation did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Confirmed {
    /// The file whose configuration stays.
    pub path: String,
}

/// Body of `POST /v1/backends`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BackendRequest {
    /// `SERVICE/BACKEND`, or the backend's address and port if no other has them.
    pub backend: String,
    /// What to do.
    pub action: Action,
    /// The new weight, for `weight`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<u16>,
}

/// What can be done to a backend by command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// No new connections, old ones stay.
    Drain,
    /// Takes connections while it is healthy.
    Up,
    /// Nothing is sent to it.
    Down,
    /// Another share of new connections.
    Weight,
    /// State and weight of the file again.
    Reset,
}

/// What a command did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BackendReport {
    /// The service's name.
    pub service: String,
    /// The backend's name.
    pub backend: String,
    /// Number of the newest snapshot.
    pub generation: u64,
    /// Each change as a line; empty if nothing was to be changed.
    pub changes: Vec<String>,
    /// What the operator should know beside that.
    pub warnings: Vec<String>,
}

/// What a reload did.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ReloadReport {
    /// The file that was loaded.
    pub path: String,
    /// Number of the snapshot that holds it.
    pub generation: u64,
    /// Changes over the API that are in no file: a reload or a restart undoes them.
    #[serde(default)]
    pub edits: u64,
    /// One line, such as `+1 service, -2 backends, 3 weights`.
    pub summary: String,
    /// Each change as a line that begins with `+`, `-` or `~`.
    pub changes: Vec<String>,
    /// What is allowed but probably not meant.
    pub warnings: Vec<String>,
    /// Set if it is taken back unless it is confirmed in time.
    #[serde(default)]
    pub unconfirmed: Option<Unconfirmed>,
}

/// `GET /healthz` and `GET /readyz`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Wellness {
    /// Whether there is nothing to complain of.
    pub ok: bool,
    /// What there is.
    pub reasons: Vec<String>,
}

/// Body of every answer that is not 2xx.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ApiError {
    /// What is wrong, and what would be right.
    pub error: String,
}
