//! `tidegate capture`: packets of the running tidegate to a file, to another program or in lines.

use std::fs::File;
use std::io::{ErrorKind, IsTerminal, Write};
use std::path::{Path, PathBuf};

use clap::builder::FalseyValueParser;
use clap::{ArgAction, Args};
use hyper::Method;

use super::client::Client;
use super::failure::Failure;
use super::output;
use crate::control::capture::{CaptureRequest, CaptureStatus, Format, parse};

const PATH: &str = "/v1/capture";

/// `tidegate capture`.
#[derive(Debug, Args)]
pub struct Capture {
    /// Which packets, in the words of tcpdump, and `drop`, `drop REASON`, `verdict WORD`; all of them if left out
    #[arg(value_name = "FILTER", trailing_var_arg = true)]
    pub filter: Vec<String>,
    /// Write a pcapng file, `-` for standard output, instead of lines
    #[arg(short = 'w', long, env = "TIDEGATE_WRITE", value_name = "FILE.pcapng")]
    pub write: Option<PathBuf>,
    /// End after so many packets
    #[arg(short = 'c', long, env = "TIDEGATE_COUNT", value_name = "N")]
    pub count: Option<u64>,
    /// Only packets that come in or leave by this port
    #[arg(long, env = "TIDEGATE_PORT", value_name = "NAME")]
    pub port: Option<String>,
    /// Keep so many bytes of each frame at the most
    #[arg(short = 's', long, env = "TIDEGATE_SNAPLEN", value_name = "BYTES")]
    pub snaplen: Option<u32>,
    /// End after so many seconds
    #[arg(long, env = "TIDEGATE_SECONDS", value_name = "N")]
    pub seconds: Option<u32>,
    /// End before the output is longer than this, such as 100M
    #[arg(long, env = "TIDEGATE_MAX_SIZE", value_name = "BYTES", value_parser = size)]
    pub max_size: Option<u64>,
    /// Take so many packets a second at the most, over all workers; 50000 if left out
    #[arg(long, env = "TIDEGATE_RATE", value_name = "N")]
    pub rate: Option<u32>,
    /// Let so many packets wait to be written; what finds it full is counted and not written
    #[arg(long, env = "TIDEGATE_BUFFER", value_name = "PACKETS")]
    pub buffer: Option<u32>,
    /// End the capture that runs, whoever began it
    #[arg(long, env = "TIDEGATE_STOP", action = ArgAction::SetTrue, value_parser = FalseyValueParser::new())]
    pub stop: bool,
}

/// Captures until Ctrl-C, or what was asked for is done.
///
/// # Errors
/// Why not.
pub fn capture(args: Capture, client: &Client) -> Result<(), Failure> {
    if args.stop {
        return client.exchange(Method::DELETE, PATH).map(drop);
    }
    let filter = args.filter.join(" ");
    // Before anybody is asked, so that a misspelt word is wrong usage.
    parse(&filter).map_err(|error| Failure::usage(format!("error: filter: {error}")))?;
    let mut sink = Sink::open(args.write.as_deref())?;
    let request = CaptureRequest {
        filter,
        port: args.port,
        snaplen: args.snaplen,
        count: args.count,
        seconds: args.seconds,
        bytes_max: args.max_size,
        rate: args.rate,
        buffer: args.buffer,
        format: if args.write.is_some() { Format::Pcapng } else { Format::Text },
    };
    client.stream(PATH, &request, |chunk| sink.write(chunk))?;
    // Whoever has another capture by now has its own figures; then nothing is said.
    if let Ok(status) = serde_json::from_str::<CaptureStatus>(&client.get(PATH)?)
        && !status.running
    {
        output::error_line(&summary(&status));
    }
    Ok(())
}

fn summary(status: &CaptureStatus) -> String {
    let CaptureStatus { packets, lost, limited, .. } = status;
    let mut text = format!("{packets} packets captured");
    if *lost > 0 {
        text += &format!(", {lost} not, because the buffer was full (see --buffer, or narrow the filter)");
    }
    if *limited > 0 {
        text += &format!(", {limited} not, because they were too many a second (see --rate)");
    }
    text
}

/// Where the output goes.
enum Sink {
    Stdout,
    File(File, PathBuf),
}

impl Sink {
    fn open(file: Option<&Path>) -> Result<Self, Failure> {
        match file {
            Some(path) if path == Path::new("-") => {
                if std::io::stdout().is_terminal() {
                    return Err(Failure::usage(
                        "error: a pcapng file is nothing for a terminal; leave -w out for lines, or pipe it: \
                         tidegate capture -w - | tshark -r -",
                    ));
                }
                Ok(Self::Stdout)
            }
            Some(path) => match File::create(path) {
                Ok(file) => Ok(Self::File(file, path.to_owned())),
                Err(error) => Err(Failure::running(format!("error: {}: {error}", path.display()))),
            },
            None => Ok(Self::Stdout),
        }
    }

    /// A whole chunk at once, so that whoever reads along sees it.
    fn write(&mut self, chunk: &[u8]) -> Result<(), Failure> {
        match self {
            Self::Stdout => {
                let mut out = std::io::stdout().lock();
                out.write_all(chunk).and_then(|()| out.flush()).map_err(|error| match error.kind() {
                    ErrorKind::BrokenPipe => Failure::broken_pipe(),
                    _ => Failure::running(format!("error: cannot write to standard output: {error}")),
                })
            }
            Self::File(file, path) => file.write_all(chunk).map_err(|error| {
                Failure::running(format!("error: {}: {error}; the capture has ended", path.display()))
            }),
        }
    }
}

/// Bytes, also with k, M or G for thousands, millions and thousand millions.
fn size(text: &str) -> Result<u64, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let factor = match unit {
        "" => Some(1),
        "k" | "K" => Some(1_000),
        "M" => Some(1_000_000),
        "G" => Some(1_000_000_000),
        _ => None,
    };
    let bytes = number.parse::<u64>().ok().zip(factor).and_then(|(number, factor)| number.checked_mul(factor));
    bytes.filter(|&bytes| bytes >= 4096).ok_or_else(|| "not a size of 4096 bytes or more, such as 100M".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        assert_eq!(["4096", "10k", "100M", "2G"].map(size), [Ok(4096), Ok(10_000), Ok(100_000_000), Ok(2_000_000_000)]);
        for bad in ["", "0", "4095", "1.5M", "10m", "M", "99999999999999G", "2ä"] {
            assert!(size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_summary_says_what_is_missing_and_why() {
        let status = CaptureStatus { packets: 7, ..CaptureStatus::default() };
        assert_eq!(summary(&status), "7 packets captured");
        let text = summary(&CaptureStatus { lost: 2, limited: 3, ..status });
        assert!(
            text.contains("2 not, because the buffer was full") && text.contains("3 not, because they were too many")
        );
    }
}
