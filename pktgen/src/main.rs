//! The `pktgen` command.

use clap::{Parser, Subcommand};
use pktgen::pcap_command::{self, PcapArgs};
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
}

fn main() -> ExitCode {
    let Command::Pcap(arguments) = Arguments::parse().command;
    match pcap_command::run(&arguments) {
        Ok(Some(summary)) => {
            // Whoever does not want the summary has closed the pipe.
            let _ = writeln!(std::io::stdout(), "{summary}");
            ExitCode::SUCCESS
        }
        Ok(None) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "pktgen: {error}");
            ExitCode::from(error.exit_status())
        }
    }
}
