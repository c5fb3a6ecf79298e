//! Everything that may block: configuration, health, stats, the API.

pub mod api;
pub mod by_backend;
pub mod capture;
pub mod checksums;
pub mod commands;
pub mod compile;
pub mod config;
pub mod confirm;
pub mod doctor;
mod drains;
pub mod edit;
pub mod events;
pub mod explain;
#[cfg(test)]
mod fixture;
mod flaps;
mod floods;
mod gauge;
pub mod ghosts;
pub mod health;
pub mod history;
mod holds;
pub mod host;
mod links;
pub mod manager;
pub mod memory;
pub mod metrics;
pub mod overrides;
mod passive;
pub mod plan;
mod quantiles;
#[cfg(test)]
mod random;
mod recovery;
pub mod registry;
pub mod replay;
pub mod serve;
pub mod state_file;
pub mod stats;
pub mod status;
pub mod text;
mod views;
