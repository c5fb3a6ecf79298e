//! `tidegate replay`: captures through the packet path in virtual time, the same bytes out for the same bytes in.

mod captures;
mod engine;
mod events;
mod files;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use super::commands::Commands;
use super::compile::{CompileError, Compiler, PortFacts, shard_config};
use super::config::{Config, Errors, HostPath};
use super::memory;
use super::overrides::Overrides;
use super::stats::Stats;
use crate::lb::hash::HashKey;
use crate::lb::ids::WorkerId;
use crate::lb::publish::Published;
use crate::lb::table::OutOfMemory;
use crate::wire::pcap::PcapError;
use captures::{Inputs, Outputs};
use engine::Engine;
use events::{Action, Event};

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
        PcapError::Pcapng => "then replay that".to_owned(),
        _ => "name a capture, for example one made with `pktgen pcap` or `tcpdump -w`".to_owned(),
    }
}

/// The key that stands in for the random one, so that a replay without `hash_key` gives the same bytes every time.
const KEY: HashKey = HashKey::from_bytes(*b"tidegate replay ");

/// Replays.
///
/// # Errors
/// See [`ReplayError`].
pub fn replay(options: &ReplayOptions) -> Result<ReplaySummary, ReplayError> {
    let mut config = Config::load(&options.config)?;
    let file = || options.config.display().to_string();
    let facts = config.ports.iter().map(|port| match port.mac {
        Some(mac) => Ok(PortFacts { mac, host: port.host == HostPath::On, rss: None }),
        None => Err(ReplayError::NoMac { file: file(), port: port.name.clone() }),
    });
    let facts = facts.collect::<Result<Vec<_>, _>>()?;
    let hash_key = config.dataplane.hash_key.map_or(KEY, HashKey::from_bytes);
    let workers = config.dataplane.workers.count() as u16;
    let mut compiler = Compiler::new(workers, facts, hash_key);
    let mut overrides = Overrides::of(Commands::default(), &config);
    let first =
        compiler.compile(&config, &overrides, None).map_err(|source| ReplayError::Compile { file: file(), source })?;
    let events = match &options.events {
        Some(path) => events::load(path, &config)?,
        None => Vec::new(),
    };
    files::check_distinct(options)?;
    let inputs = Inputs::load(&config, &options.inputs)?;
    let unwritten = |path: &PathBuf, source| ReplayError::Write { path: path.clone(), source };
    options.stats.as_ref().map_or(Ok(()), |path| Stats::check_path(path).map_err(|e| unwritten(path, e)))?;
    let shards: Vec<_> = (0..workers).map(|w| shard_config(&config, WorkerId(w), KEY)).collect();
    memory::check(&shards, 0)?;
    let published = Published::new(Arc::new(first));
    let mut engine = Engine::new(&shards, &published)?;
    let mut outputs = Outputs::open(&config, &options.outputs, inputs.resolution())?;

    let start_ns = inputs.start_ns();
    let mut events = events.into_iter().peekable();
    let mut apply = |event: Event, engine: &mut Engine| -> Result<(), ReplayError> {
        let failed = |message: String| ReplayError::Event {
            path: options.events.clone().unwrap_or_default(),
            line: event.line,
            message,
        };
        match event.action {
            Action::State { service, backend, state } => overrides.set_state(&service, &backend, state),
            Action::Config(next) => {
                overrides.retain(&next);
                config = *next;
            }
        }
        overrides.judge(&config);
        let snapshot = compiler.compile(&config, &overrides, Some(&published.current()));
        published.publish(Arc::new(snapshot.map_err(|source| failed(source.to_string()))?));
        engine.adopt(&published);
        Ok(())
    };
    for batch in inputs.batches() {
        let at_ns = batch.timestamp_ns.saturating_sub(start_ns);
        while let Some(event) = events.next_if(|e| e.at_ns <= at_ns) {
            engine.advance(event.at_ns, &mut outputs, start_ns)?;
            apply(event, &mut engine)?;
        }
        engine.advance(at_ns, &mut outputs, start_ns)?;
        engine.feed(batch.port, batch.frames, &mut outputs, batch.timestamp_ns)?;
    }
    for event in events {
        engine.advance(event.at_ns, &mut outputs, start_ns)?;
        apply(event, &mut engine)?;
    }
    let stats = engine.finish(&mut outputs, start_ns)?;
    outputs.finish()?;
    if let Some(path) = &options.stats {
        stats.write(path).map_err(|source| unwritten(path, source))?;
    }
    Ok(ReplaySummary { stats })
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
