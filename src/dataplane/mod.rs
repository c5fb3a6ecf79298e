//! The poll loops and what they stand on: EAL, ports, queues, rings. The only user of `dpdk-ffi`.

mod adapt;
mod arguments;
mod devices;
mod preflight;
mod start;
mod tx;
mod worker;

pub use arguments::{EalPlan, worker_cpus};
pub use devices::{PortReport, PortSetup};
pub use preflight::{Finding, Severity, free_hugepage_bytes, preflight};
pub use start::{Dataplane, DataplaneError, Running, Setup, port_stats};
pub use worker::Idle;
