//! `pktgen run`: sends the traffic of a profile, and reports what came of it.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use dpdk_ffi::clock;
use serde::Serialize;
use thiserror::Error;
use tidegate::control::config::Errors;

use crate::device::{DeviceError, Devices};
use crate::engine::{self, EngineError, Watcher};
use crate::profile::Profile;
use crate::report::Report;
use crate::stop::Stop;

/// Arguments of `pktgen run`.
#[derive(Debug, Clone, clap::Args)]
pub struct RunArgs {
    /// Profile, see docs/pktgen.md
    pub profile: PathBuf,
    /// Send for so many seconds, in place of the profile's duration
    #[arg(long = "for", value_name = "SECONDS", value_parser = seconds, allow_negative_numbers = true)]
    pub for_seconds: Option<f64>,
    #[command(flatten)]
    /// Where the report goes
    pub output: OutputArgs,
    /// Arguments for DPDK's EAL, after those of the profile
    #[arg(last = true, value_name = "EAL ARGS")]
    pub eal: Vec<String>,
}

/// Where the report goes.
#[derive(Debug, Clone, clap::Args)]
pub struct OutputArgs {
    /// Write the report to this file, and lines for people to standard output
    #[arg(
        long,
        value_name = "FILE",
        help = "Write the report to this file as JSON, and lines for people to standard output"
    )]
    pub json: Option<PathBuf>,
    /// Say nothing while it runs
    #[arg(long, short)]
    pub quiet: bool,
}

/// Why a run did not come to its end.
#[derive(Debug, Error)]
pub enum RunError {
    /// The profile is wrong.
    #[error("{0}")]
    Profile(#[from] Errors),
    /// The profile does not go with the command.
    #[error("{file}: {message}")]
    Unfit {
        /// The profile.
        file: String,
        /// What is wrong, and what would be right.
        message: &'static str,
    },
    /// The ports did not come up.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// It stopped in the middle.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// Signals cannot be caught.
    #[error("cannot catch signals: {0}")]
    Signals(io::Error),
    /// The report cannot be written.
    #[error("cannot write {}: {source}; choose a place that has room and may be written to", path.display())]
    Output {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

impl RunError {
    /// What the command exits with: 1 if it failed while running, 78 for a bad profile.
    #[must_use]
    pub const fn exit_status(&self) -> u8 {
        if matches!(self, Self::Profile(_) | Self::Unfit { .. }) { 78 } else { 1 }
    }
}

/// Sends, receives, reports.
///
/// # Errors
/// See [`RunError`].
pub fn run(arguments: &RunArgs) -> Result<(), RunError> {
    let mut profile = Profile::load(&arguments.profile)?;
    if let Some(seconds) = arguments.for_seconds {
        profile.duration = Some(Duration::from_secs_f64(seconds));
    }
    arguments.output.check()?;
    let stop = Stop::on_signals().map_err(RunError::Signals)?;
    let mut watcher = Teller { stop, quiet: arguments.output.quiet };
    let mut devices = Devices::start(&profile, &arguments.eal, &mut |line| watcher.say(&line))?;
    devices.wait_for_links(profile.link_timeout, &|| watcher.is_over())?;
    let outcome = engine::run(&mut devices, &profile, clock::tsc() as u16, &mut watcher)?;
    let report = Report::new(&arguments.profile.to_string_lossy(), &profile, &devices, &outcome);
    engine::give_back(&mut devices, outcome.lanes);
    arguments.output.write(&report, &report.to_string())
}

impl OutputArgs {
    /// Finds out before the run whether the report can be written after it.
    ///
    /// # Errors
    /// When it cannot.
    pub fn check(&self) -> Result<(), RunError> {
        let Some(path) = &self.json else { return Ok(()) };
        File::create(path).map(|_| ()).map_err(|source| RunError::Output { path: path.clone(), source })
    }

    /// Writes `report` where it is wanted; `lines` are for people, if they are not in the way.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, report: &impl Serialize, lines: &str) -> Result<(), RunError> {
        match &self.json {
            Some(path) => {
                let failed = |source| RunError::Output { path: path.clone(), source };
                write_json(report, File::create(path).map_err(failed)?).map_err(failed)?;
                to_stdout(|out| out.write_all(lines.as_bytes()))
            }
            None => to_stdout(|out| write_json(report, out)),
        }
    }
}

fn write_json(report: &impl Serialize, mut out: impl Write) -> io::Result<()> {
    let text = serde_json::to_string_pretty(report)?;
    writeln!(out, "{text}")?;
    out.flush()
}

fn to_stdout(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), RunError> {
    let mut out = io::stdout().lock();
    match write(&mut out).and_then(|()| out.flush()) {
        Err(source) if source.kind() != ErrorKind::BrokenPipe => {
            Err(RunError::Output { path: Path::new("standard output").to_owned(), source })
        }
        // Whoever does not want the report has closed the pipe.
        _ => Ok(()),
    }
}

/// Says on standard error what goes on.
#[derive(Debug)]
pub struct Teller {
    /// Ends the run.
    pub stop: Stop,
    /// Says nothing.
    pub quiet: bool,
}

impl Teller {
    /// A line about what goes on.
    pub fn say(&self, line: &str) {
        if !self.quiet {
            // If that fails there is nobody to tell.
            let _ = writeln!(io::stderr().lock(), "{line}");
        }
    }
}

impl Watcher for Teller {
    fn is_over(&self) -> bool {
        self.stop.is_wanted()
    }

    fn line(&mut self, seconds: u64, line: &str) {
        self.say(&format!("{seconds:4} s  {line}"));
    }
}

/// A number of seconds for `--for`.
fn seconds(text: &str) -> Result<f64, String> {
    let seconds = text.strip_suffix('s').unwrap_or(text).parse::<f64>().ok();
    let good = seconds.filter(|seconds| (0.001..=1e8).contains(seconds));
    good.ok_or_else(|| "not a number of seconds above 0, such as 10 or 0.5".to_owned())
}
