//! A configuration put into service without ports, and what comes and happens there in virtual time.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::ReplayError;
use super::captures::{Inputs, Outputs};
use super::engine::Engine;
use super::events::{self, Action, Event};
use super::frame::Frame;
use crate::control::commands::Commands;
use crate::control::compile::{Compiler, PortFacts, shard_config};
use crate::control::config::{Config, HostPath};
use crate::control::memory;
use crate::control::overrides::Overrides;
use crate::control::stats::Stats;
use crate::lb::hash::HashKey;
use crate::lb::ids::{PortId, WorkerId};
use crate::lb::publish::Published;
use crate::lb::shard::ShardConfig;
use crate::lb::snapshot::Snapshot;
use crate::wire::ethernet::MacAddr;

/// The key that stands in for the random one, so that a replay without `hash_key` gives the same bytes every time.
pub(in crate::control) const KEY: HashKey = HashKey::from_bytes(*b"tidegate replay ");

/// Like a device with one queue, every port is polled by the first worker.
const FIRST: usize = 0;

/// See the module.
pub(in crate::control) struct Stage {
    config: Config,
    compiler: Compiler,
    overrides: Overrides,
    published: Published,
    shards: Vec<ShardConfig>,
    events: Vec<Event>,
    events_path: PathBuf,
}

/// A frame at the moment when it comes in.
pub(in crate::control) struct Came<'a> {
    /// Which one, from 0, in the order of time.
    pub index: usize,
    /// By this port.
    pub port: PortId,
    pub frame: &'a [u8],
    /// What is in service then.
    pub snapshot: &'a Arc<Snapshot>,
}

impl Stage {
    /// With these MAC addresses of the ports, in order. Events are read and checked.
    pub(in crate::control) fn new(
        file: &Path,
        config: Config,
        macs: Vec<MacAddr>,
        events: Option<&Path>,
    ) -> Result<Self, ReplayError> {
        let facts = config.ports.iter().zip(macs);
        let facts = facts.map(|(port, mac)| PortFacts { mac, host: port.host == HostPath::On, rss: None }).collect();
        let hash_key = config.dataplane.hash_key.map_or(KEY, |key| HashKey::from_bytes(key.0));
        let workers = config.dataplane.workers.count() as u16;
        let mut compiler = Compiler::new(workers, facts, hash_key);
        let overrides = Overrides::of(Commands::default(), &config);
        let first = compiler.compile(&config, &overrides, None);
        let first = first.map_err(|source| ReplayError::Compile { file: file.display().to_string(), source })?;
        let events_path = events.map(Path::to_owned).unwrap_or_default();
        let events = events.map_or(Ok(Vec::new()), |path| events::load(path, &config))?;
        let shards = (0..workers).map(|w| shard_config(&config, WorkerId(w), KEY)).collect();
        let published = Published::new(Arc::new(first));
        Ok(Self { config, compiler, overrides, published, shards, events, events_path })
    }

    pub(in crate::control) fn config(&self) -> &Config {
        &self.config
    }

    /// Whether the machine has the memory that [`Self::play`] takes.
    pub(in crate::control) fn check_memory(&self) -> Result<(), ReplayError> {
        Ok(memory::check(&self.shards, 0)?)
    }

    /// Lets everything happen, in order of time. `make` makes packets of frames.
    pub(in crate::control) fn play<F: Frame>(
        self,
        inputs: &Inputs,
        outputs: &mut Outputs,
        mut make: impl FnMut(Came) -> F,
    ) -> Result<Stats, ReplayError> {
        self.play_with(inputs, outputs, |_, _, came| make(came))
    }

    /// As [`Self::play`]; `make` sees the configuration and the engine as they are then.
    pub(in crate::control) fn play_with<F: Frame>(
        mut self,
        inputs: &Inputs,
        outputs: &mut Outputs,
        mut make: impl FnMut(&Config, &Engine<F>, Came) -> F,
    ) -> Result<Stats, ReplayError> {
        let mut engine = Engine::new(&self.shards, &self.published)?;
        let start_ns = inputs.start_ns();
        let mut events = std::mem::take(&mut self.events).into_iter().peekable();
        let mut index = 0;
        for batch in inputs.batches() {
            let at_ns = batch.timestamp_ns.saturating_sub(start_ns);
            while let Some(event) = events.next_if(|e| e.at_ns <= at_ns) {
                engine.advance(event.at_ns, outputs, start_ns)?;
                self.apply(event, &mut engine)?;
            }
            engine.advance(at_ns, outputs, start_ns)?;
            let (port, snapshot) = (batch.port, &self.published.current());
            let frames = (index..).zip(&batch.frames);
            let frames = frames
                .map(|(index, frame)| make(&self.config, &engine, Came { index, port, frame, snapshot }))
                .collect();
            index += batch.frames.len();
            engine.feed(FIRST, frames, outputs, batch.timestamp_ns)?;
        }
        for event in events {
            engine.advance(event.at_ns, outputs, start_ns)?;
            self.apply(event, &mut engine)?;
        }
        engine.finish(outputs, start_ns)
    }

    fn apply<F: Frame>(&mut self, event: Event, engine: &mut Engine<F>) -> Result<(), ReplayError> {
        let Self { config, compiler, overrides, published, events_path, .. } = self;
        match event.action {
            Action::State { service, backend, state } => overrides.set_state(&service, &backend, state),
            Action::Config(next) => {
                overrides.retain(&next);
                *config = *next;
            }
        }
        overrides.judge(config);
        let snapshot = compiler.compile(config, overrides, Some(&published.current()));
        let snapshot = snapshot.map_err(|source| ReplayError::Event {
            path: events_path.clone(),
            line: event.line,
            message: source.to_string(),
        })?;
        published.publish(Arc::new(snapshot));
        engine.adopt(published);
        Ok(())
    }
}
