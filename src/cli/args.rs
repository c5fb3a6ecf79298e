//! The arguments, each also as an environment variable.

use std::path::PathBuf;

use clap::builder::FalseyValueParser;
use clap::{ArgAction, Parser, Subcommand, ValueEnum};
use clap_complete::engine::ArgValueCandidates;

use super::capture::Capture;
use super::color::Color;
use super::completion;
use crate::control::status::CONFIRM_S_MAX;

pub use super::show::Show;

const VERSION: &str =
    concat!(env!("TIDEGATE_VERSION"), " (git ", env!("GIT_REVISION"), ", DPDK ", env!("DPDK_VERSION"), ")");

const AFTER_HELP: &str = "\
Every option can also be set by the environment variable named beside it; the command line wins over the environment, \
and that over the configuration file.

Exit status: 0 done, 1 failed while running, 2 wrong usage or, from plan, that there is something to do, 78 bad configuration.

Examples:
  tidegate check /etc/tidegate.toml    # say what is wrong with a file
  tidegate show services               # what runs, as `ipvsadm -ln` shows it
  tidegate sh serv                     # the same: any unique abbreviation will do
  tidegate backend drain web/b1        # no new connections for one backend";

/// A DPDK poll-mode packet load balancer.
#[derive(Debug, Parser)]
#[command(name = "tidegate", version = VERSION, after_help = AFTER_HELP, max_term_width = 100,
    infer_subcommands = true, arg_required_else_help = true)]
pub struct Args {
    /// Unix socket of the running tidegate: where `run` listens, and where the other commands ask
    #[arg(long, global = true, env = "TIDEGATE_SOCKET", value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// Log to standard error what is at least as grave as this
    #[arg(long, global = true, env = "TIDEGATE_LOG", value_name = "LEVEL", default_value = "info")]
    pub log: Level,
    /// Whether output has colours
    #[arg(long, global = true, alias = "colour", env = "TIDEGATE_COLOR", value_name = "WHEN", default_value = "auto")]
    pub color: Color,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Balance packets until SIGTERM or SIGINT; SIGHUP reloads the configuration
    Run(Run),
    /// Check a configuration file, without any port
    Check {
        /// Configuration file
        #[arg(env = "TIDEGATE_CONFIG")]
        file: PathBuf,
    },
    /// Put packets from capture files through the packet path, without any port, in the captures' own time
    Replay(Replay),
    /// Say what is wrong, the worst first, and what mends it; exit status 1 if something is
    Doctor(Doctor),
    /// Explain what becomes of a packet and why, step by step; without --config, in the running tidegate
    Explain(Explain),
    /// Show what a running tidegate does
    Show(Show),
    /// Watch a running tidegate live: services, backends, workers, drops, latency; drain backends by key
    Top,
    /// Change what a backend of a running tidegate does, at once and until it is changed again or the file says the same
    #[command(arg_required_else_help = true)]
    Backend {
        /// What to do.
        #[command(subcommand)]
        action: BackendAction,
    },
    /// Say what a configuration file would change, and change nothing; exit status 2 if it would
    Plan(Plan),
    /// Let a running tidegate take over a configuration file: all of it, or nothing
    Reload {
        /// Configuration file; the one given at start if left out
        file: Option<PathBuf>,
        /// Go back to the configuration before unless `tidegate confirm` comes within this time
        #[arg(long, env = "TIDEGATE_CONFIRM", value_name = "SECONDS", value_parser = window)]
        confirm: Option<u32>,
    },
    /// Show packets of a running tidegate as they come and as they leave, with what was decided
    Capture(Capture),
    /// Let a reload stay that waits for its confirmation
    Confirm,
    /// Take a reload back that waits for its confirmation
    Rollback,
    /// Print a script by which a shell completes commands, options and the names of services and backends
    Completions {
        /// The shell
        shell: completion::Shell,
    },
    /// Print the manual page, or write the pages of all commands into a directory
    Man {
        /// Directory for the pages; it must exist
        #[arg(value_name = "DIR")]
        directory: Option<PathBuf>,
    },
}

/// What can be done to a backend.
#[derive(Debug, Subcommand)]
pub enum BackendAction {
    /// Give them no new connections; old ones stay
    Drain(BackendNames),
    /// Let them take connections while they are healthy
    Up(BackendNames),
    /// Send them nothing any more
    Down(BackendNames),
    /// Give them another share of new connections
    Weight {
        /// Which ones.
        #[command(flatten)]
        names: BackendNames,
        /// Relative to the others; 0 for no new connections
        #[arg(value_name = "N", value_parser = weight)]
        weight: u16,
    },
    /// Go back to the state and the weight of the file
    Reset(BackendNames),
}

/// Which backends.
#[derive(Debug, clap::Args)]
pub struct BackendNames {
    /// As `show backends` names it, or its ADDRESS:PORT if no other backend has them
    #[arg(value_name = "SERVICE/BACKEND", required = true, add = ArgValueCandidates::new(completion::backends))]
    pub names: Vec<String>,
}

/// `tidegate run`.
#[derive(Debug, clap::Args)]
pub struct Run {
    /// Configuration file
    #[arg(long, env = "TIDEGATE_CONFIG", value_name = "FILE")]
    pub config: PathBuf,
    /// End after this many seconds
    #[arg(long = "for", env = "TIDEGATE_FOR", value_name = "SECONDS", value_parser = seconds, allow_negative_numbers = true)]
    pub for_seconds: Option<f64>,
    /// Write the figures to this file at the end, as JSON
    #[arg(long, env = "TIDEGATE_STATS", value_name = "FILE")]
    pub stats: Option<PathBuf>,
    /// Arguments for DPDK's EAL, after those of the configuration file
    #[arg(last = true, value_name = "EAL ARGS")]
    pub eal: Vec<String>,
}

/// `tidegate replay`.
#[derive(Debug, clap::Args)]
pub struct Replay {
    /// Configuration file; each port needs its `mac`
    #[arg(long, env = "TIDEGATE_CONFIG", value_name = "FILE")]
    pub config: PathBuf,
    /// Capture of what a port receives; once a port
    #[arg(long = "in", env = "TIDEGATE_IN", value_name = "[PORT=]IN.pcap", required = true, value_parser = port_file)]
    pub inputs: Vec<(Option<String>, PathBuf)>,
    /// Where to write what a port transmits; once a port
    #[arg(long = "out", env = "TIDEGATE_OUT", value_name = "[PORT=]OUT.pcap", value_parser = port_file)]
    pub outputs: Vec<(Option<String>, PathBuf)>,
    /// Write the figures to this file at the end, as JSON
    #[arg(long, env = "TIDEGATE_STATS", value_name = "FILE")]
    pub stats: Option<PathBuf>,
    /// Changes on the way, as JSON lines: {"at": 1.5, "backend": "web/b1", "state": "down"}
    #[arg(long, env = "TIDEGATE_EVENTS", value_name = "FILE")]
    pub events: Option<PathBuf>,
}

/// `tidegate doctor`.
#[derive(Debug, clap::Args)]
pub struct Doctor {
    /// Look at what this file needs on this machine, without running it; without it, the running tidegate is asked
    #[arg(long, env = "TIDEGATE_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Print JSON
    #[arg(long, env = "TIDEGATE_JSON", value_parser = FalseyValueParser::new(), action = ArgAction::SetTrue)]
    pub json: bool,
}

/// `tidegate explain`.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("what").required(true).args(["packet", "pcap"]))]
pub struct Explain {
    /// Configuration file, as if just started; without it, the running tidegate is asked
    #[arg(long, env = "TIDEGATE_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// A packet, described: "tcp 198.51.100.7:40000 > 192.0.2.10:80", and behind that any of: syn ack fin rst psh,
    /// ttl N, length N, df
    #[arg(long, env = "TIDEGATE_PACKET", value_name = "PACKET")]
    pub packet: Option<String>,
    /// Capture of what a port receives; once a port
    #[arg(long, env = "TIDEGATE_PCAP", value_name = "[PORT=]FILE", value_parser = port_file)]
    pub pcap: Vec<(Option<String>, PathBuf)>,
    /// Explain this frame alone, counted from 1; those before it have passed by then
    #[arg(long, env = "TIDEGATE_FRAME", value_name = "N", requires = "pcap", value_parser = clap::value_parser!(u32).range(1..))]
    pub frame: Option<u32>,
    /// The port that the packet comes by; the one that its sender is behind if left out
    #[arg(long, env = "TIDEGATE_PORT", value_name = "PORT", conflicts_with = "pcap")]
    pub port: Option<String>,
    /// Changes on the way, as for replay
    #[arg(long, env = "TIDEGATE_EVENTS", value_name = "FILE", requires = "config")]
    pub events: Option<PathBuf>,
    /// Print JSON
    #[arg(long, env = "TIDEGATE_JSON", value_parser = FalseyValueParser::new(), action = ArgAction::SetTrue)]
    pub json: bool,
}

/// `tidegate plan`.
#[derive(Debug, clap::Args)]
pub struct Plan {
    /// Configuration file to look at
    #[arg(value_name = "NEW.toml")]
    pub file: PathBuf,
    /// Compare with this file, and ask no running tidegate
    #[arg(long, env = "TIDEGATE_FROM", value_name = "OLD.toml")]
    pub from: Option<PathBuf>,
    /// Print JSON
    #[arg(long, env = "TIDEGATE_JSON", action = ArgAction::SetTrue, value_parser = FalseyValueParser::new())]
    pub json: bool,
}

/// How grave log lines are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Level {
    /// Something failed
    Error,
    /// Something is odd
    Warn,
    /// Something changed
    Info,
    /// Every health check, too
    Debug,
    /// Everything
    Trace,
}

fn weight(text: &str) -> Result<u16, String> {
    text.parse().map_err(|_| "the weight comes last, a whole number from 0 to 65535".to_owned())
}

fn seconds(text: &str) -> Result<f64, String> {
    let seconds = text.strip_suffix('s').unwrap_or(text).parse::<f64>().ok();
    let good = seconds.filter(|seconds| seconds.is_finite() && *seconds > 0.0);
    good.ok_or_else(|| "not a number of seconds above 0, such as 10 or 0.5".to_owned())
}

/// Whole seconds, with or without their unit, or minutes or hours.
fn window(text: &str) -> Result<u32, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit_s = match unit {
        "" | "s" => Some(1),
        "m" => Some(60),
        "h" => Some(3600),
        _ => None,
    };
    let seconds = number.parse::<u32>().ok().zip(unit_s).and_then(|(number, unit_s)| number.checked_mul(unit_s));
    let good = seconds.filter(|seconds| (1..=CONFIRM_S_MAX).contains(seconds));
    good.ok_or_else(|| "not a time from 1s to 24h in whole seconds, such as 60, 90s or 2m".to_owned())
}

/// `PORT=FILE`, or `FILE`; a path with a `=` in a file's name needs a `/` before it.
fn port_file(text: &str) -> Result<(Option<String>, PathBuf), String> {
    let (port, file) = match text.split_once('=') {
        Some((port, file)) if !port.contains('/') => (Some(port.to_owned()), file),
        _ => (None, text),
    };
    if file.is_empty() || port.as_deref() == Some("") {
        return Err("neither FILE nor PORT=FILE".to_owned());
    }
    Ok((port, PathBuf::from(file)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_sound() {
        Args::command().debug_assert();
    }

    #[test]
    fn every_option_has_its_environment_variable() {
        fn walk(command: &clap::Command) {
            for arg in command.get_arguments() {
                let id = arg.get_id().as_str();
                let named = arg.get_long().is_some() && !["help", "version"].contains(&id);
                let variable = arg.get_env().and_then(|name| name.to_str()).unwrap_or_default();
                assert!(!named || variable.starts_with("TIDEGATE_"), "--{id} of {}", command.get_name());
            }
            command.get_subcommands().for_each(walk);
        }
        walk(&Args::command());
    }

    #[test]
    fn eal_arguments_come_after_two_dashes() {
        let args = ["tidegate", "run", "--config", "f", "--for", "2.5", "--", "--no-huge", "-m", "64"];
        let Command::Run(run) = Args::try_parse_from(args).unwrap().command else { panic!("not run") };
        assert_eq!((run.eal, run.for_seconds), (vec!["--no-huge".into(), "-m".into(), "64".into()], Some(2.5)));
    }

    #[test]
    fn ports_and_files_are_told_apart() {
        assert_eq!(port_file("wan=a.pcap"), Ok((Some("wan".into()), "a.pcap".into())));
        assert_eq!(port_file("a.pcap"), Ok((None, "a.pcap".into())));
        assert_eq!(port_file("./a=b.pcap"), Ok((None, "./a=b.pcap".into())));
        assert!(port_file("wan=").is_err() && port_file("=a").is_err() && port_file("").is_err());
    }

    #[test]
    fn windows_are_whole_seconds_up_to_a_day() {
        assert_eq!(["60", "60s", "2m", "24h"].map(window), [Ok(60), Ok(60), Ok(120), Ok(86_400)]);
        for bad in ["", "0", "0s", "-1", "1.5", "25h", "1d", "s", "60 s", "99999999999", "4294967295h", "2ä"] {
            assert!(window(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn seconds_are_above_zero() {
        assert_eq!((seconds("10"), seconds("0.5s")), (Ok(10.0), Ok(0.5)));
        for bad in ["0", "-1", "inf", "nan", "1m", ""] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
    }
}
