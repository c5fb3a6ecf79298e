//! `tidegate replay`: captures through the packet path in virtual time, the same bytes out for the same bytes in.

mod captures;
mod engine;
mod events;
mod files;
mod frame;
mod stage;

use std::fmt;
use std::path::{Path, PathBuf};

use super::compile::CompileError;
use super::config::{Config, Errors};
use super::stats::Stats;
use crate::lb::table::OutOfMemory;
use crate::wire::ethernet::MacAddr;
use crate::wire::pcap::PcapError;
use crate::wire::pcapng::read::PcapngError;
pub(super) use captures::{Inputs, Outputs, captured};
pub(super) use engine::Engine;
pub(super) use frame::{Arrived, Listener};
#[cfg(test)]
pub(super) use stage::KEY;
pub(super) use stage::{Came, Stage};

/// What to replay; a port's name may be left out when there is only one.
#[derive(Clone, Debug, Default)]
pub struct ReplayOptions {
    /// The configuration; its ports need a `mac`.
    pub config: PathBuf,
    /// Captures of what arrives, by port.
    pub inputs: Vec<(Option<String>, PathBuf)>,
    /// Captures to write, by port.
    pub outputs: Vec<(Option<String>, PathBuf)>,
    /// Where the figures go.
    pub stats: Option<PathBuf>,
    /// What happens on the way, one JSON object a line.
    pub events: Option<PathBuf>,
}

/// What became of the packets, for people.
#[derive(Clone, Debug)]
pub struct ReplaySummary {
    /// All figures.
    pub stats: Stats,
}

/// Why a replay did not happen; no output file has been written then, unless it is the writing that failed.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] Errors),
    /// The configuration cannot be put into service.
    #[error("{file}: {source}")]
    Compile {
        /// Which file.
        file: String,
        /// Why.
        source: CompileError,
    },
    /// Without a device there is no address to take over.
    #[error("{file}: port {port} has no `mac`: replay has no device to ask; set `mac = \"02:00:00:00:00:01\"`")]
    NoMac {
        /// Which file.
        file: String,
        /// Which port.
        port: String,
    },
    /// The connection tables are too large for the machine.
    #[error(transparent)]
    Memory(#[from] OutOfMemory),
    /// `--in` or `--out` does not fit the configuration.
    #[error("{0}")]
    Usage(String),
    /// A file cannot be read.
    #[error("{path}: cannot read the file: {source}; name {wanted} that exists")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
        /// What it should have been.
        wanted: &'static str,
    },
    /// A file cannot be written.
    #[error("{path}: cannot write the file: {source}; choose a place that has room and may be written to")]
    Write {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A capture cannot be read.
    #[error("{path}: {source}; {}", mend(.source))]
    Capture {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: PcapError,
    },
    /// A pcapng capture cannot be read.
    #[error("{path}: {source}; `editcap -F pcap` may save what is whole, or name another capture")]
    Pcapng {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: PcapngError,
    },
    /// An event cannot be carried out.
    #[error("{path}:{line}: {message}")]
    Event {
        /// The events' file.
        path: PathBuf,
        /// Which line, from 1.
        line: usize,
        /// What is wrong with it, and what would be right.
        message: String,
    },
}

impl ReplayError {
    /// True if the configuration is at fault.
    pub fn is_config(&self) -> bool {
        matches!(self, Self::Config(_) | Self::Compile { .. } | Self::NoMac { .. })
    }

    /// True if the command's arguments are at fault.
    pub fn is_usage(&self) -> bool {
        matches!(self, Self::Usage(_))
    }
}

/// What to do about a capture that cannot be read.
fn mend(error: &PcapError) -> String {
    match error {
        // The records before it are whole.
        PcapError::RecordTruncated { offset, .. } | PcapError::RecordLength { offset, .. } => {
            format!("`head -c {offset}` of the file is a whole capture of what is before it")
        }
        PcapError::LinkType(_) => "capture on one interface, as with `tcpdump -i eth0`".to_owned(),
        _ => "name a capture, for example one made with `pktgen pcap` or `tcpdump -w`".to_owned(),
    }
}

/// Replays.
///
/// # Errors
/// See [`ReplayError`].
pub fn replay(options: &ReplayOptions) -> Result<ReplaySummary, ReplayError> {
    let config = Config::load(&options.config)?;
    let macs = macs(&config, &options.config)?;
    let stage = Stage::new(&options.config, config, macs, options.events.as_deref())?;
    files::check_distinct(options)?;
    let inputs = Inputs::load(stage.config(), &options.inputs)?;
    let unwritten = |path: &PathBuf, source| ReplayError::Write { path: path.clone(), source };
    options.stats.as_ref().map_or(Ok(()), |path| Stats::check_path(path).map_err(|e| unwritten(path, e)))?;
    stage.check_memory()?;
    let mut outputs = Outputs::open(stage.config(), &options.outputs, inputs.resolution())?;
    let stats = stage.play(&inputs, &mut outputs, |came| Arrived::new(came.port, came.frame, ()))?;
    outputs.finish()?;
    if let Some(path) = &options.stats {
        stats.write(path).map_err(|source| unwritten(path, source))?;
    }
    Ok(ReplaySummary { stats })
}

/// The ports' MAC addresses as configured.
fn macs(config: &Config, file: &Path) -> Result<Vec<MacAddr>, ReplayError> {
    let missing = |port: &str| ReplayError::NoMac { file: file.display().to_string(), port: port.to_owned() };
    config.ports.iter().map(|port| port.mac.ok_or_else(|| missing(&port.name))).collect()
}

impl fmt::Display for ReplaySummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let s = &self.stats;
        write!(
            f,
            "{} packets in {:.3} s of capture: {} sent, {} answered, {} dropped; {} connections opened",
            s.rx_packets,
            s.seconds,
            s.tx_packets,
            s.replies,
            s.drops_total(),
            s.connections.created
        )?;
        for (reason, count) in &s.drops {
            write!(f, "\n  dropped {count}: {reason}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
