//! The configuration file: read, checked as a whole, and compared with another.

mod check_local;
mod check_ports;
mod check_services;
mod compare;
mod draft;
mod draft_service;
mod errors;
pub mod keys;
mod load;
mod model;
mod net;
pub mod reader;
mod report;
mod route;
pub mod source;
pub mod suggest;
pub mod values;
mod words;

pub use compare::{Diff, diff};
pub use errors::{Diagnostic, Errors, Place};
pub use load::{FILE_BYTES_MAX, parse_table, read_text};
pub use model::{Backend, Config, Control, Dataplane, Health, HealthCheck, Port, Service, Timeouts, Workers};
pub use net::{IpNet, same_family};
pub use report::{Report, check};
pub use route::Route;
pub use words::{
    ClientAddress, Echo, HealthType, HostPath, Idle, Mode, MtuPolicy, Protocol, Scheduler, Spread, State, Word,
};

#[cfg(test)]
mod tests;
