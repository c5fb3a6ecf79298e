//! `tidegate replay`.

use super::args::Replay;
use super::failure::Failure;
use super::output;
use crate::control::replay::{self, ReplayError, ReplayOptions};

/// Puts captures through the packet path and prints what came of it.
///
/// # Errors
/// Why it could not.
pub fn replay(args: Replay) -> Result<(), Failure> {
    let Replay { config, inputs, outputs, stats, events } = args;
    let options = ReplayOptions { config, inputs, outputs, stats, events };
    let summary = replay::replay(&options).map_err(failure)?;
    output::print(&format!("{summary}\n"))
}

pub(super) fn failure(error: ReplayError) -> Failure {
    match error {
        ReplayError::Usage(message) => Failure::usage(format!("error: {message}")),
        error if error.is_config() => Failure::configuration(error.to_string()),
        error => Failure::running(format!("error: {error}")),
    }
}
