//! `tidegate backend`: changes what a backend of the running tidegate does.

use super::args::BackendAction;
use super::client::Client;
use super::failure::Failure;
use super::output;
use crate::control::status::{Action, BackendReport, BackendRequest};

/// Asks for it, and prints what has changed.
///
/// # Errors
/// Why nothing has.
pub fn backend(action: BackendAction, client: &Client) -> Result<(), Failure> {
    let (action, name, weight) = match action {
        BackendAction::Drain(name) => (Action::Drain, name, None),
        BackendAction::Up(name) => (Action::Up, name, None),
        BackendAction::Down(name) => (Action::Down, name, None),
        BackendAction::Weight { name, weight } => (Action::Weight, name, Some(weight)),
        BackendAction::Reset(name) => (Action::Reset, name, None),
    };
    let request = BackendRequest { backend: name.name, action, weight };
    let report: BackendReport = client.post("/v1/backends", &request)?;
    for warning in &report.warnings {
        output::error_line(&format!("warning: {warning}"));
    }
    if report.changes.is_empty() {
        return output::print(&format!("{}/{}: nothing to change\n", report.service, report.backend));
    }
    output::print(&report.changes.iter().map(|change| format!("{change}\n")).collect::<String>())
}
