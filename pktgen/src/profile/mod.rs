//! Profiles: what `pktgen run` and `pktgen rfc2544` are told in a TOML file.

pub mod keys;
mod model;
mod read;
#[cfg(test)]
mod tests;

pub use model::{Mode, Port, Profile, Rate, Rfc2544, Traffic, TrafficKind};
