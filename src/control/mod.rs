//! Everything that may block: configuration, health, stats, the API.

pub mod config;
