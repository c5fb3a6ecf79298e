//! What `/metrics` shows: each metric by name, type and meaning, and how its values are had.

mod backends;
mod basis;
mod family;
mod pages;
mod ports;
mod process;
mod workers;

pub use basis::Basis;
pub use family::{Family, Kind};
pub use pages::Pages;

/// How Prometheus knows the format.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Every metric, in the order in which they are shown.
pub fn families() -> impl Iterator<Item = &'static Family> {
    let process = process::FAMILIES.iter().chain(&workers::FAMILIES).chain(&workers::BY_CLASS);
    process.chain(&ports::FAMILIES).chain(&backends::SERVICES).chain(&backends::BACKENDS)
}

#[cfg(test)]
mod tests;
