//! The load balancer as pure functions over a shard and a snapshot: no I/O, no clock, no DPDK.
//! Only its memory comes from the operating system, once, at start.

mod arch;
pub mod capture;
pub mod clients;
pub mod clock;
pub mod connection;
pub mod counters;
pub mod drop_reason;
pub mod excerpt;
pub mod fragments;
pub mod handle;
pub mod hash;
pub mod ids;
pub mod lane;
pub mod latency;
pub mod limiter;
pub mod local_ports;
pub mod maglev;
pub mod memory;
pub mod neighbor;
pub mod news;
pub mod packet;
pub mod path;
pub mod path_mtu;
pub mod pending;
pub mod pieces;
pub mod probe;
pub mod publish;
pub mod punt;
pub mod response_times;
pub mod scheduler;
pub mod shard;
pub mod snapshot;
pub mod steer;
pub mod stopwatch;
pub mod table;
pub mod team;
#[cfg(test)]
pub(crate) mod testing;
pub mod toeplitz;
pub mod trace;
pub mod verdict;
pub mod vlan;
pub mod waiting;
