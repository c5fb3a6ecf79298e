//! Explanations by the state of the running workers, which hear of it by one question each and are not changed.
//!
//! What a worker knows that bears on the packet is copied into a shard of its own, and the packet goes through that.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::record::{Explained, Record};
use super::tuple::Described;
use super::{Explanation, explain, port_for};
use crate::control::api::{NoAnswer, ask};
use crate::control::compile::shard_config;
use crate::control::config::Config;
use crate::control::replay::{Engine, Outputs, ReplayError};
use crate::lb::excerpt::{Excerpt, Question};
use crate::lb::handle::{Request, WorkerHandle};
use crate::lb::hash::HashKey;
use crate::lb::ids::{PortId, WorkerId};
use crate::lb::path;
use crate::lb::shard::{Shard, ShardConfig};
use crate::lb::snapshot::Snapshot;
use crate::lb::table::OutOfMemory;
use crate::lb::team::Team;

/// Body of `POST /v1/explain`: a packet that is described, or frames of a capture.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ExplainRequest {
    /// As `tidegate explain --packet` takes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub packet: Option<String>,
    /// Whole frames, two hexadecimal digits a byte.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub frames: Vec<String>,
    /// The port that they come by; the one that the described packet's sender is behind, or the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<String>,
}

/// Frames in one request at most: each is a question to every worker.
pub const REQUEST_FRAMES_MAX: usize = 256;

/// Why nothing was explained.
#[derive(Debug, thiserror::Error)]
pub enum ExplainError {
    /// The request does not say what it should.
    #[error("{0}")]
    Meaning(String),
    /// A worker did not say what it knows.
    #[error(transparent)]
    NoAnswer(#[from] NoAnswer),
    /// There is no memory for the copies.
    #[error(transparent)]
    Memory(#[from] OutOfMemory),
    /// The packet path's surroundings failed.
    #[error(transparent)]
    Path(#[from] ReplayError),
}

/// What an explanation is made of.
pub struct Live {
    /// What runs.
    pub config: Arc<Config>,
    /// What is in service.
    pub snapshot: Arc<Snapshot>,
    /// Who decides.
    pub workers: Vec<WorkerHandle>,
    /// Of all workers' tables.
    pub boot_key: HashKey,
    /// What is known of backends, by service and name.
    pub states: HashMap<(String, String), String>,
}

impl Live {
    /// Explains each packet as if it came now. Blocks until the workers have answered.
    ///
    /// # Errors
    /// See [`ExplainError`].
    pub fn explain(&self, request: &ExplainRequest) -> Result<Vec<Explanation>, ExplainError> {
        let frames = self.frames(request)?;
        (1..).zip(frames).map(|(number, (port, frame))| self.explain_one(number, port, &frame)).collect()
    }

    fn frames(&self, request: &ExplainRequest) -> Result<Vec<(PortId, Vec<u8>)>, ExplainError> {
        let meaning = ExplainError::Meaning;
        let named = request.port.as_deref();
        match (&request.packet, request.frames.as_slice()) {
            (Some(packet), []) => {
                let described: Described = packet.parse().map_err(|error| meaning(format!("{error}")))?;
                let id = port_for(&self.config, &described, named)?;
                let port = self.snapshot.port(id);
                let (mac, vlan) = port.map_or_else(Default::default, |port| (port.mac, port.vlan));
                Ok(vec![(id, described.frame(mac, vlan))])
            }
            (None, frames @ [_, ..]) if frames.len() <= REQUEST_FRAMES_MAX => {
                let names = || self.config.ports.iter().map(|port| port.name.as_str());
                let found = named.map_or(Some(0), |name| names().position(|port| port == name));
                let found = found.ok_or_else(|| {
                    let (name, all) = (named.unwrap_or_default(), names().collect::<Vec<_>>().join(", "));
                    meaning(format!("port {name}: no such port; there are: {all}"))
                })?;
                let frames = frames.iter().map(|frame| Ok((PortId(found as u8), bytes(frame).map_err(meaning)?)));
                frames.collect()
            }
            (None, [_, ..]) => Err(meaning(format!("too many frames: {REQUEST_FRAMES_MAX} at most in one request"))),
            _ => Err(meaning("either `packet` or `frames` is meant, and one frame at least".to_owned())),
        }
    }

    fn explain_one(&self, number: usize, port: PortId, frame: &[u8]) -> Result<Explanation, ExplainError> {
        let (question, excerpts) = self.excerpts(port, frame)?;
        let Self { config, snapshot, boot_key, .. } = self;
        let copy = Copy { config, snapshot, boot_key: *boot_key, question: &question, excerpts: &excerpts };
        let team = self.workers.first().map(|worker| &*worker.team);
        let record = copy.put_through(number, port, frame, team.unwrap_or(&Team::default()))?;
        let states = |service: &str, backend: &str| self.states.get(&(service.to_owned(), backend.to_owned())).cloned();
        Ok(explain(&record, &states))
    }

    /// What each worker knows. Where a fragment's connection is, its datagram's home worker has to say first.
    fn excerpts(&self, port: PortId, frame: &[u8]) -> Result<(Arc<Question>, Vec<Excerpt>), ExplainError> {
        let question = Arc::new(path::question(&self.snapshot, port, frame, None));
        let excerpts = self.ask(&question)?;
        match excerpts.iter().find_map(|excerpt| excerpt.upper) {
            None => Ok((question, excerpts)),
            upper => {
                let question = Arc::new(path::question(&self.snapshot, port, frame, upper));
                let excerpts = self.ask(&question)?;
                Ok((question, excerpts))
            }
        }
    }

    fn ask(&self, question: &Arc<Question>) -> Result<Vec<Excerpt>, ExplainError> {
        let of = |worker| {
            let asked = ask(worker, |reply| Request::Excerpt { question: question.clone(), reply });
            asked.map(|excerpt| *excerpt).map_err(ExplainError::from)
        };
        self.workers.iter().map(of).collect()
    }
}

/// What workers know that bears on one packet.
pub(super) struct Copy<'a> {
    pub config: &'a Config,
    pub snapshot: &'a Snapshot,
    pub boot_key: HashKey,
    pub question: &'a Question,
    /// Of each worker.
    pub excerpts: &'a [Excerpt],
}

impl Copy<'_> {
    /// Lets the packet go its way; `live` is the workers' team.
    pub(super) fn put_through(
        &self,
        number: usize,
        port: PortId,
        frame: &[u8],
        live: &Team,
    ) -> Result<Record, ExplainError> {
        let snapshot = Arc::new(self.snapshot.detached());
        let now = self.excerpts.first().map(|first| first.now).unwrap_or_default();
        let mut engine = Engine::of(self.shards(&snapshot, live)?, snapshot.clone(), now);
        let record = Rc::new(RefCell::new(Record::new(number, port, frame, &snapshot)));
        let packet = Explained::new(port, frame, Some(record.clone()));
        let receiver = path::arrival(&snapshot, port, frame);
        let receiver = receiver.or_else(|| self.excerpts.iter().position(Excerpt::has_connection)).unwrap_or(0);
        engine.feed(receiver, vec![packet], &mut Outputs::none(), 0)?;
        drop(engine);
        let mut record = record.replace(Record::new(number, port, &[], &snapshot));
        record.stops_at_hold(true);
        Ok(record)
    }

    /// Shards that hold just what was copied.
    fn shards(&self, snapshot: &Snapshot, live: &Team) -> Result<Vec<Shard>, ExplainError> {
        let backends_max = snapshot.backends().map(|backend| backend.id.slot() + 1).max().unwrap_or(1);
        let entries = (self.question.v4.len() + self.question.v6.len()) * 4 + 1024;
        let small = |worker: WorkerId| ShardConfig {
            connections_max: entries,
            backends_max,
            clients_max: 1,
            fragments_max: (self.config.dataplane.fragments as usize).min(64),
            ..shard_config(self.config, worker, self.boot_key)
        };
        let shards = self.excerpts.iter().map(|excerpt| Shard::new(&small(excerpt.worker)));
        let mut shards = shards.collect::<Result<Vec<_>, _>>()?;
        Team::form(shards.iter_mut());
        for (shard, excerpt) in shards.iter_mut().zip(self.excerpts) {
            shard.adopt(snapshot, None);
            shard.restore(excerpt, self.question, snapshot, live);
        }
        Ok(shards)
    }
}

/// Bytes from their hexadecimal digits.
fn bytes(text: &str) -> Result<Vec<u8>, String> {
    let wrong = || "a frame is not two hexadecimal digits a byte".to_owned();
    let digits = text.as_bytes();
    if !digits.len().is_multiple_of(2) || digits.is_empty() {
        return Err(wrong());
    }
    let pairs = digits.chunks_exact(2).map(|pair| {
        let pair = std::str::from_utf8(pair).ok().filter(|pair| pair.bytes().all(|byte| byte.is_ascii_hexdigit()));
        pair.and_then(|pair| u8::from_str_radix(pair, 16).ok()).ok_or_else(wrong)
    });
    pairs.collect()
}
