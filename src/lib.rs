//! tidegate: a DPDK poll-mode packet load balancer appliance.
//!
//! The layers point one way: `wire` (bytes and fields) under `lb` (the load balancer as pure functions) under
//! `dataplane` (ports, queues, workers) under `control` (everything that may block) under `cli`.

pub mod cli;
pub mod control;
#[cfg(feature = "dpdk")]
pub mod dataplane;
pub mod lb;
#[cfg(feature = "dpdk")]
pub mod run;
pub mod wire;
