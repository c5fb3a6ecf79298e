//! The configuration file: read, checked as a whole, and compared with another.

mod authority;
mod check_api;
mod check_files;
mod check_local;
mod check_ports;
mod check_services;
mod compare;
mod draft;
mod draft_health;
mod draft_service;
mod errors;
mod identity;
pub mod keys;
mod keys_api;
mod keys_health;
mod keys_service;
mod load;
mod model;
mod model_api;
mod model_health;
mod net;
mod print;
pub mod reader;
mod report;
mod route;
mod small_file;
pub mod source;
pub mod suggest;
mod token;
pub mod values;
mod words;
mod written;

pub use authority::Authority;
pub use compare::{Change, Diff, Fate, KeyChange, diff, listed};
pub use errors::{Diagnostic, Errors, Place};
pub use identity::Identity;
pub use load::{FILE_BYTES_MAX, parse_table, read_text};
pub use model::{Backend, Config, Control, Dataplane, GroupKey, Port, Service, Timeouts, Workers};
pub use model_api::Api;
pub use model_health::{DnsCheck, Health, HealthCheck, HttpCheck, Passive, Statuses, TlsCheck, UdpCheck};
pub use net::{IpNet, same_family};
pub use print::Printing;
pub use report::{Report, check};
pub use route::Route;
pub use token::Token;
pub use words::{
    ClientAddress, DnsCode, DnsRecord, DrainAction, Echo, HealthTarget, HealthType, HostPath, Idle, Mode, MtuPolicy,
    OnRemove, Protocol, Role, Scheduler, Spread, State, Word,
};

#[cfg(test)]
mod tests;
