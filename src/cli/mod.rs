//! The command line: arguments in, text out.

mod args;
mod backend;
mod capture;
mod client;
mod color;
mod completion;
mod doctor;
mod explain;
mod failure;
mod help;
mod logging;
mod man;
mod names;
mod output;
mod plan;
mod rates;
mod reload;
mod replay;
mod run;
mod show;
mod table;
mod terminal;
mod top;
mod units;
mod watch;
mod words;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, ValueEnum};

use crate::control::config;
use args::{Args, Command};
use client::Client;
use failure::Failure;

/// Runs the command that the process's arguments name, and gives its exit status: 0 done, 1 failed while running, 2
/// wrong usage, 78 bad configuration.
pub fn main() -> ExitCode {
    let done = completion::answer(command).and_then(|has_answered| match has_answered {
        true => Ok(()),
        false => parse(words::joined(std::env::args_os())).and_then(dispatch),
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

/// All that the command line takes, with its help.
fn command() -> clap::Command {
    help::with_examples(Args::command())
}

/// Help and faults of the arguments end the process here.
fn parse(args: Vec<OsString>) -> Result<Args, Failure> {
    let wish = words::color(&args, std::env::var_os("TIDEGATE_COLOR"));
    color::set(wish.and_then(|word| color::Color::from_str(&word, false).ok()).unwrap_or_default());
    let mut command = command();
    let parsed = command.try_get_matches_from_mut(&args).and_then(|matches| Args::from_arg_matches(&matches));
    parsed.map_err(|error| match words::unknown_command(&error, &command, &args) {
        Some(message) => Failure::usage(message),
        None => error.format(&mut command).exit(),
    })
}

fn dispatch(args: Args) -> Result<(), Failure> {
    let Args { socket, log, color: _, command } = args;
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
        Command::Doctor(doctor) => doctor::doctor(&doctor, &Client::new(socket)),
        Command::Explain(explain) => explain::explain(&explain, &Client::new(socket)),
        Command::Show(show) => show::show(&show, &Client::new(socket)),
        Command::Backend { action } => backend::backend(action, &Client::new(socket)),
        Command::Capture(capture) => capture::capture(capture, &Client::new(socket)),
        Command::Plan(plan) => plan::plan(&plan, &Client::new(socket)),
        Command::Reload { file, confirm } => reload::reload(file.as_deref(), confirm, &Client::new(socket)),
        Command::Confirm => reload::confirm(&Client::new(socket)),
        Command::Rollback => reload::roll_back(&Client::new(socket)),
        Command::Top => top::top(socket),
        Command::Completions { shell } => completion::completions(shell),
        Command::Man { directory } => man::man(directory.as_deref()),
    }
}

fn check(file: &Path) -> Result<(), Failure> {
    let report = config::check(file)?;
    for warning in &report.warnings {
        output::error_line(&format!("warning: {warning}"));
    }
    output::print(&format!("{report}\n"))
}
