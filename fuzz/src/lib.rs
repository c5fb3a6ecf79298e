//! What the fuzz targets do with an input; the smoke test of the main crate does the same without a fuzzer.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a target fails by panicking, and is no library for others"
)]

pub mod buffer;
pub mod chance;
pub mod check;
pub mod config;
pub mod frames;
pub mod input;
pub mod long;
pub mod mutate;
pub mod network;
pub mod parse;
pub mod path;
pub mod seeds;
