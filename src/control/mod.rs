//! Everything that may block: configuration, health, stats, the API.

pub mod api;
pub mod checksums;
pub mod compile;
pub mod config;
#[cfg(test)]
mod fixture;
mod gauge;
pub mod health;
pub mod host;
pub mod manager;
pub mod memory;
mod quantiles;
#[cfg(test)]
mod random;
mod recovery;
pub mod registry;
pub mod replay;
pub mod serve;
pub mod stats;
pub mod status;
pub mod text;
mod views;
