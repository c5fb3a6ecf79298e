//! How a command ends that could not do its work.

use std::process::ExitCode;

use super::output;
use crate::control::config::Errors;

/// Exit status of a command that failed while running.
const RUNNING: u8 = 1;
/// Exit status of a command that was called wrongly.
const USAGE: u8 = 2;
/// Exit status of `plan` when there is something to do. The same number as wrong usage, so a caller tells them
/// apart by the output: with the one comes a plan on standard output, with the other a message on standard error.
const CHANGES: u8 = 2;
/// Exit status for a bad configuration: EX_CONFIG of sysexits.h.
const CONFIGURATION: u8 = 78;
/// What a shell shows for a process that SIGPIPE has ended: 128 + 13.
const BROKEN_PIPE: u8 = 141;

/// An exit status, and what to tell the user.
#[derive(Debug, PartialEq, Eq)]
pub struct Failure {
    status: u8,
    message: String,
}

impl Failure {
    /// Something that had begun did not succeed.
    pub fn running(message: impl Into<String>) -> Self {
        Self { status: RUNNING, message: message.into() }
    }

    /// The arguments do not fit what they are for.
    pub fn usage(message: impl Into<String>) -> Self {
        Self { status: USAGE, message: message.into() }
    }

    /// The configuration is not usable.
    pub fn configuration(message: impl Into<String>) -> Self {
        Self { status: CONFIGURATION, message: message.into() }
    }

    /// A plan was made, and there is something to do.
    pub fn changes() -> Self {
        Self { status: CHANGES, message: String::new() }
    }

    /// A look was taken, and something is wrong, which the output says.
    pub fn found() -> Self {
        Self { status: RUNNING, message: String::new() }
    }

    /// Whoever read the output has gone, which is no reason for a message.
    pub fn broken_pipe() -> Self {
        Self { status: BROKEN_PIPE, message: String::new() }
    }

    /// What the user is told.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Tells the user, and gives the exit status.
    pub fn report(&self) -> ExitCode {
        if !self.message.is_empty() {
            output::error_line(&self.message);
        }
        ExitCode::from(self.status)
    }
}

impl From<Errors> for Failure {
    fn from(errors: Errors) -> Self {
        Self::configuration(errors.to_string())
    }
}
