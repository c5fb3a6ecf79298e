//! The configuration file: read, checked as a whole, and compared with another.

mod errors;
mod mac;
mod model;
mod net;
mod words;

pub use errors::{Diagnostic, Errors, Place};
pub use mac::MacAddr;
pub use model::{Backend, Config, Control, Dataplane, Health, HealthCheck, Port, Service, Timeouts, Workers};
pub use net::{IpNet, same_family};
pub use words::{HealthType, Idle, Mode, Protocol, Scheduler, State, Word};
