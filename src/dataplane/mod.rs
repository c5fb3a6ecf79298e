//! The poll loops and what they stand on: EAL, ports, queues, rings. The only user of `dpdk-ffi`.

mod adapt;
mod arguments;
mod devices;
mod host;
mod idle;
mod numa;
mod preflight;
mod probe;
mod sample;
mod shared;
mod start;
#[cfg(test)]
mod tests;
mod tx;
mod worker;

pub use arguments::{EalPlan, allowed_cpus, is_pci, worker_cpus};
pub use devices::{PortReport, PortSetup};
pub use host::{HostMode, HostSetup, HostTraffic};
pub use idle::Idle;
pub use numa::numa_node;
pub use preflight::{Finding, Severity, free_hugepage_bytes, free_table_bytes, preflight, reserve_for_tables};
pub use start::{Dataplane, DataplaneError, Running, Setup, port_stats};
