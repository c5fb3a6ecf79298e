//! The `pktgen` command.

use clap::{Parser, Subcommand};
use pktgen::pcap_command::{self, PcapArgs};
use pktgen::rfc2544_command::{self, Rfc2544Args};
use pktgen::run_command::{self, RunArgs};
use std::fmt::Display;
use std::io::Write;
use std::process::ExitCode;

/// Makes the traffic that tidegate is tested and measured with.
#[derive(Debug, Parser)]
#[command(version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write a capture file. The same arguments always make the same bytes.
    Pcap(Box<PcapArgs>),
    /// Send the traffic of a profile on DPDK ports, and report what came of it.
    Run(Box<RunArgs>),
    /// Find the highest rate without loss by binary search, for each packet size (RFC 2544 section 26.1).
    Rfc2544(Box<Rfc2544Args>),
}

fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Pcap(arguments) => match pcap_command::run(&arguments) {
            Ok(Some(summary)) => {
                // Whoever does not want the summary has closed the pipe.
                let _ = writeln!(std::io::stdout(), "{summary}");
                ExitCode::SUCCESS
            }
            Ok(None) => ExitCode::SUCCESS,
            Err(error) => fail(&error, error.exit_status()),
        },
        Command::Rfc2544(arguments) => match rfc2544_command::run(&arguments) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(&error, error.exit_status()),
        },
        Command::Run(arguments) => match run_command::run(&arguments) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(&error, error.exit_status()),
        },
    }
}

fn fail(error: &dyn Display, status: u8) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "pktgen: {error}");
    ExitCode::from(status)
}
