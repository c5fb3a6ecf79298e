//! `tidegate run`.

use std::path::PathBuf;

use super::args::Run;
use super::failure::Failure;

/// Balances packets until it is told to end.
///
/// # Errors
/// Why it could not.
pub fn run(args: Run, socket: Option<PathBuf>) -> Result<(), Failure> {
    start(args, socket)
}

#[cfg(feature = "dpdk")]
fn start(args: Run, socket: Option<PathBuf>) -> Result<(), Failure> {
    let Run { config, for_seconds, stats, eal } = args;
    let options = crate::run::RunOptions { config, for_seconds, stats, socket, eal };
    crate::run::run(&options).map_err(|error| match error {
        crate::run::RunError::Config(errors) => errors.into(),
        error if error.is_config() => Failure::configuration(format!("error: {error}")),
        error => Failure::running(format!("error: {error}")),
    })
}

#[cfg(not(feature = "dpdk"))]
fn start(args: Run, _socket: Option<PathBuf>) -> Result<(), Failure> {
    // The same exit status for a bad file as every other build has.
    crate::control::config::Config::load(&args.config)?;
    Err(Failure::running(
        "error: this tidegate was built without DPDK and cannot run; build it with `cargo build --release`",
    ))
}
