//! `tidegate run`.

use std::path::PathBuf;

use super::args::Run;
use super::failure::Failure;
use crate::control::config::Config;

/// Balances packets until it is told to end.
///
/// # Errors
/// Why it could not.
pub fn run(args: Run, socket: Option<PathBuf>) -> Result<(), Failure> {
    // First, so that a bad file is told apart from everything that needs the machine.
    Config::load(&args.config)?;
    start(args, socket)
}

#[cfg(feature = "dpdk")]
fn start(args: Run, socket: Option<PathBuf>) -> Result<(), Failure> {
    let Run { config, for_seconds, stats, eal } = args;
    crate::run::run(crate::run::RunOptions { config, for_seconds, stats, socket, eal })
        .map_err(|error| Failure::running(format!("error: {error}")))
}

#[cfg(not(feature = "dpdk"))]
fn start(_args: Run, _socket: Option<PathBuf>) -> Result<(), Failure> {
    Err(Failure::running(
        "error: this tidegate was built without DPDK and cannot run; build it with `cargo build --release`",
    ))
}
