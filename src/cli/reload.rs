//! `tidegate reload`, and `confirm` and `rollback`, which end one that waits.

use std::path::Path;

use super::client::Client;
use super::failure::Failure;
use super::output;
use crate::control::status::{Confirmed, ReloadReport, ReloadRequest, Unconfirmed};

/// Has a file taken over, for good or until it is confirmed.
///
/// # Errors
/// Why nothing has changed.
pub fn reload(file: Option<&Path>, confirm_s: Option<u32>, client: &Client) -> Result<(), Failure> {
    // The other process has another working directory.
    let path = file.map(output::absolute).transpose()?;
    let report = client.post("/v1/reload", &ReloadRequest { path, confirm_s })?;
    print(&report, "")
}

/// Has a reload that waits stay.
///
/// # Errors
/// None waits.
pub fn confirm(client: &Client) -> Result<(), Failure> {
    let Confirmed { path } = client.post("/v1/confirm", &())?;
    output::print(&format!("{path}: confirmed\n"))
}

/// Has a reload that waits taken back.
///
/// # Errors
/// Why nothing has changed.
pub fn roll_back(client: &Client) -> Result<(), Failure> {
    let report = client.post("/v1/rollback", &())?;
    print(&report, "runs again, ")
}

fn print(report: &ReloadReport, how: &str) -> Result<(), Failure> {
    for warning in &report.warnings {
        output::error_line(&format!("warning: {warning}"));
    }
    let mut text = format!("{}: {how}{}\n", report.path, report.summary);
    for change in &report.changes {
        text.push_str(&format!("  {change}\n"));
    }
    if let Some(Unconfirmed { before, left_s, .. }) = &report.unconfirmed {
        let seconds = left_s.ceil();
        text.push_str(&format!(
            "`tidegate confirm` within {seconds} s, or what was of {before} runs again; a restart before that reads the \
             file that it is started with as it is\n"
        ));
    }
    output::print(&text)
}
