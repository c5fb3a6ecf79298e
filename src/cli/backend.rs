//! `tidegate backend`: changes what backends of the running tidegate do.

use super::args::BackendAction;
use super::client::{Client, read};
use super::failure::Failure;
use super::{names, output};
use crate::control::status::{Action, BackendReport, BackendRequest, Backends};

/// Asks for it, and prints what has changed.
///
/// # Errors
/// Why nothing has.
pub fn backend(action: BackendAction, client: &Client) -> Result<(), Failure> {
    let (action, names, weight) = match action {
        BackendAction::Drain(names) => (Action::Drain, names, None),
        BackendAction::Up(names) => (Action::Up, names, None),
        BackendAction::Down(names) => (Action::Down, names, None),
        BackendAction::Weight { names, weight } => (Action::Weight, names, Some(weight)),
        BackendAction::Reset(names) => (Action::Reset, names, None),
    };
    if let [name] = names.names.as_slice() {
        return one(BackendRequest { backend: name.clone(), action, weight }, client);
    }
    // Whoever is misspelt is found before anything happens to the others.
    let all = read::<Backends>(&client.get("/v1/backends")?)?.backends;
    let found = names::find(&names.names, &all)?;
    found
        .into_iter()
        .try_for_each(|backend| one(BackendRequest { backend: names::full(backend), action, weight }, client))
}

fn one(request: BackendRequest, client: &Client) -> Result<(), Failure> {
    let report: BackendReport = client.post("/v1/backends", &request)?;
    for warning in &report.warnings {
        output::error_line(&format!("warning: {warning}"));
    }
    if report.changes.is_empty() {
        return output::print(&format!("{}/{}: nothing to change\n", report.service, report.backend));
    }
    output::print(&report.changes.iter().map(|change| format!("{change}\n")).collect::<String>())
}
