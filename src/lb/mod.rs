//! The load balancer as pure functions over a shard and a snapshot: no I/O, no clock, no DPDK.

pub mod hash;
pub mod maglev;
pub mod toeplitz;
