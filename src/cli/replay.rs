//! `tidegate replay`.

use super::args::Replay;
use super::failure::Failure;
use super::output;
use crate::control::config::Config;
use crate::control::replay::ReplayOptions;

/// Puts captures through the packet path and prints what came of it.
///
/// # Errors
/// Why it could not.
pub fn replay(args: Replay) -> Result<(), Failure> {
    let Replay { config, inputs, outputs, stats, events } = args;
    Config::load(&config)?;
    let options = ReplayOptions { config, inputs, outputs, stats, events };
    let summary =
        crate::control::replay::replay(options).map_err(|error| Failure::running(format!("error: {error}")))?;
    output::print(&format!("{summary}\n"))
}
