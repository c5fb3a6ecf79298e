//! The command line: arguments in, text out.

mod args;
mod backend;
mod client;
mod failure;
mod logging;
mod output;
mod plan;
mod reload;
mod replay;
mod run;
mod show;
mod table;

use std::path::Path;
use std::process::ExitCode;

use clap::Parser;

use crate::control::config;
use args::{Args, Command};
use client::Client;
use failure::Failure;

/// Runs the command that the process's arguments name, and gives its exit status: 0 done, 1 failed while running, 2
/// wrong usage, 78 bad configuration.
pub fn main() -> ExitCode {
    let args = Args::parse();
    match dispatch(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

fn dispatch(args: Args) -> Result<(), Failure> {
    let Args { socket, log, command } = args;
    match command {
        Command::Run(run) => {
            logging::start(log);
            run::run(run, socket)
        }
        Command::Check { file } => check(&file),
        Command::Replay(replay) => {
            logging::start(log);
            replay::replay(replay)
        }
        Command::Show(show) => show::show(&show, &Client::new(socket)),
        Command::Backend { action } => backend::backend(action, &Client::new(socket)),
        Command::Plan(plan) => plan::plan(&plan, &Client::new(socket)),
        Command::Reload { file, confirm } => reload::reload(file.as_deref(), confirm, &Client::new(socket)),
        Command::Confirm => reload::confirm(&Client::new(socket)),
        Command::Rollback => reload::roll_back(&Client::new(socket)),
    }
}

fn check(file: &Path) -> Result<(), Failure> {
    let report = config::check(file)?;
    for warning in &report.warnings {
        output::error_line(&format!("warning: {warning}"));
    }
    output::print(&format!("{report}\n"))
}
