//! Everything that may block: configuration, health, stats, the API.

pub mod compile;
pub mod config;
pub mod registry;
pub mod stats;
