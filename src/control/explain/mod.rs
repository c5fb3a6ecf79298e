//! `tidegate explain`: what the packet path decides about a packet, step by step, in words.
//!
//! It is the packet path itself that says so: a packet that is to be explained takes the way of all others and takes down
//! what is decided on it.

mod fields;
mod live;
mod record;
mod tuple;
mod words;

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::config::{Config, Port};
use super::replay::{Came, Inputs, Outputs, ReplayError, Stage, captured};
use crate::lb::ids::{BackendId, PortId};
use crate::lb::trace::Step;
use crate::lb::verdict::Verdict;
use crate::wire::ethernet::{self, MacAddr};
pub use fields::Change;
pub use live::{ExplainError, ExplainRequest, Live, REQUEST_FRAMES_MAX};
use record::{Explained, Record};
pub use tuple::{Described, DescribedError};
pub use words::Line;
use words::{States, Words};

/// What became of one frame, and why.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Explanation {
    /// Which frame of the capture, from 1.
    pub frame: usize,
    /// The port that it came by.
    pub port: String,
    /// The frame, as people write it.
    pub packet: String,
    /// Each decision, in order.
    pub steps: Vec<Line>,
    /// `tx`, `reply`, `punt`, `hold`, `await` or `drop`.
    pub verdict: String,
    /// The verdict in a sentence.
    pub text: String,
    /// The service it was for, if that is known.
    pub service: Option<String>,
    /// The backend that it was for or from, if that is known.
    pub backend: Option<String>,
    /// Of a drop.
    pub drop: Option<Dropped>,
    /// What left, in order: the packet, its fragments, or an answer.
    pub left: Vec<Left>,
}

/// Why a packet was dropped.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Dropped {
    /// The word of the counter.
    pub reason: String,
    /// What it means.
    pub meaning: String,
    /// What is behind it as a rule.
    pub cause: String,
    /// What to do about it.
    pub cure: String,
}

/// A frame that left.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Left {
    /// By which port.
    pub port: String,
    /// As people write it.
    pub packet: String,
    /// The whole frame, two hexadecimal digits a byte.
    pub bytes: String,
    /// What differs from the frame that came; empty for an answer, which is another packet.
    pub changes: Vec<Change>,
}

/// The frames of a capture that came by a port, as an [`ExplainRequest`] has them.
///
/// # Errors
/// It cannot be read.
pub fn frames(port: Option<&str>, path: &Path) -> Result<Vec<String>, ReplayError> {
    Ok(captured(port, path)?.iter().map(|frame| hex(frame)).collect())
}

fn hex(frame: &[u8]) -> String {
    frame.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What is to be explained.
#[derive(Clone, Debug)]
pub enum Asked {
    /// A packet that is only described, and the port that it comes by; without one, the port that its sender is behind.
    Packet(Described, Option<String>),
    /// Frames of captures, by port, and which of them in the order of time, from 1; 0 for all.
    Captures(Vec<(Option<String>, PathBuf)>, usize),
}

/// Frames that are explained at once: enough for any capture that somebody reads the explanations of.
const FRAMES_MAX: usize = 100_000;

/// Puts what is asked through the packet path of a configuration that was just started, and explains it.
///
/// # Errors
/// See [`ReplayError`].
pub fn of_config(file: &Path, asked: &Asked, events: Option<&Path>) -> Result<Vec<Explanation>, ReplayError> {
    let config = Config::load(file)?;
    let (inputs, wanted) = match asked {
        Asked::Packet(described, port) => {
            let id = port_for(&config, described, port.as_deref())?;
            (Inputs::one(id, described.frame(mac_of(&config, id, None), vlan(&config, id))), 1)
        }
        Asked::Captures(files, wanted) => (Inputs::load(&config, files)?, *wanted),
    };
    let count = inputs.frames().count();
    if wanted > count {
        return Err(ReplayError::Usage(format!("--frame {wanted}: there are {count} frames")));
    }
    let macs = (0..config.ports.len() as u8).map(|id| {
        let first = inputs.frames().find(|(port, _)| port.0 == id).map(|(_, frame)| frame);
        mac_of(&config, PortId(id), first)
    });
    let macs = macs.collect();
    let stage = Stage::new(file, config, macs, events)?;
    stage.check_memory()?;
    let mut outputs = Outputs::open(stage.config(), &[], inputs.resolution())?;
    let mut records = Vec::new();
    stage.play(&inputs, &mut outputs, |came| {
        let number = came.index + 1;
        let is_wanted = if wanted == 0 { records.len() < FRAMES_MAX } else { number == wanted };
        let record = is_wanted.then(|| Rc::new(RefCell::new(begun(number, &came))));
        records.extend(record.clone());
        Explained::new(came.port, came.frame, record)
    })?;
    let is_alone = matches!(asked, Asked::Packet(..));
    let explained = records.iter().map(|record| {
        // Nobody is there who could answer, which says nothing of the packet.
        record.borrow_mut().stops_at_hold(is_alone);
        explain(&record.borrow(), &|_, _| None)
    });
    Ok(explained.collect())
}

fn begun(number: usize, came: &Came) -> Record {
    let Came { port, frame, snapshot, .. } = came;
    Record::new(number, *port, frame, snapshot)
}

/// The port's MAC address as configured, else the one that the first frame is for, as it would be in a capture made there.
fn mac_of(config: &Config, port: PortId, first: Option<&[u8]>) -> MacAddr {
    let configured = config.ports.get(port.index()).and_then(|port| port.mac);
    let taken = || first.and_then(ethernet::dst).filter(|mac| mac.is_unicast());
    configured.or_else(taken).unwrap_or(MacAddr([2, 0, 0, 0, 0, port.0 + 1]))
}

fn vlan(config: &Config, port: PortId) -> Option<u16> {
    config.ports.get(port.index()).and_then(|port| port.vlan)
}

/// The named port, else the one whose network the sender is in, else the one with a gateway, else the first.
fn port_for(config: &Config, described: &Described, name: Option<&str>) -> Result<PortId, ReplayError> {
    let ports = || config.ports.iter().zip(0..).map(|(port, id)| (port, PortId(id)));
    if let Some(name) = name {
        let names = || config.ports.iter().map(|port| port.name.as_str()).collect::<Vec<_>>().join(", ");
        let found = ports().find(|(port, _)| port.name == name).map(|(_, id)| id);
        return found.ok_or_else(|| ReplayError::Usage(format!("--port {name}: no such port; there are: {}", names())));
    }
    let (src, _) = described.ends();
    let near = |port: &Port| port.addresses.iter().any(|network| network.contains(src));
    let has_gateway = |port: &Port| if src.is_ipv4() { port.gateway.is_some() } else { port.gateway6.is_some() };
    let found = ports().find(|(port, _)| near(port)).or_else(|| ports().find(|(port, _)| has_gateway(port)));
    Ok(found.map_or(PortId(0), |(_, id)| id))
}

/// A record in words.
fn explain(record: &Record, states: States) -> Explanation {
    let words = Words { snapshot: &record.snapshot, states };
    let last = record.steps.iter().rev().find_map(|step| match step {
        Step::Verdict(verdict) => Some(*verdict),
        _ => None,
    });
    let backend = backend_of(&record.steps);
    let of_backend = backend.and_then(|id| record.snapshot.backend(id)).map(|backend| backend.service);
    let of_step = record.steps.iter().find_map(|step| if let Step::Service(id) = step { Some(*id) } else { None });
    let service = of_step.or(of_backend).and_then(|id| record.snapshot.service(id));
    let (verdict, text) = last.map_or(("none", "it has no verdict".to_owned()), |verdict| in_words(verdict, &words));
    Explanation {
        frame: record.number,
        port: words.port(record.port),
        packet: fields::summary(&record.frame),
        steps: lines(record, &words),
        verdict: verdict.to_owned(),
        text,
        service: service.map(|service| service.name.to_string()),
        backend: backend.map(|id| words.name(id)),
        drop: match last {
            Some(Verdict::Drop(reason)) => Some(Dropped {
                reason: reason.label().to_owned(),
                meaning: reason.meaning().to_owned(),
                cause: reason.cause().to_owned(),
                cure: reason.cure().to_owned(),
            }),
            _ => None,
        },
        left: left(record, &words, backend, last),
    }
}

/// What was decided, each thing once: a packet that changes its IP version asks for its service and backend twice.
fn lines(record: &Record, words: &Words) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    for line in record.steps.iter().filter_map(|step| words.line(step)) {
        let said = lines.iter().rev().take_while(|line| line.what != "worker").any(|said| *said == line);
        if !said {
            lines.push(line);
        }
    }
    lines
}

fn backend_of(steps: &[Step]) -> Option<BackendId> {
    steps.iter().rev().find_map(|step| match step {
        Step::To { backend, .. } | Step::Connection { backend, .. } => Some(*backend),
        _ => None,
    })
}

fn left(record: &Record, words: &Words, backend: Option<BackendId>, last: Option<Verdict>) -> Vec<Left> {
    let is_answer = matches!(last, Some(Verdict::Reply(_)));
    // Only what goes to a backend has a tunnel's headers, and an error about a tunnel comes out of one as a packet of its own.
    let to = record.steps.iter().any(|step| matches!(step, Step::To { .. }));
    let outer = backend.filter(|_| to).and_then(|id| record.snapshot.backend(id)?.outer.as_ref().map(|o| o.overhead()));
    let of = |(port, frame): &(PortId, Vec<u8>)| Left {
        port: words.port(*port),
        packet: fields::summary(frame),
        bytes: hex(frame),
        changes: if is_answer { Vec::new() } else { fields::changes(&record.frame, frame, outer.unwrap_or(0)) },
    };
    let waits = record.waits.iter().filter(|_| matches!(last, Some(Verdict::Hold(_))));
    record.left.iter().chain(waits).map(of).collect()
}

fn in_words(verdict: Verdict, words: &Words) -> (&'static str, String) {
    match verdict {
        Verdict::Tx(port) => ("tx", format!("leaves by port {}", words.port(port))),
        Verdict::Fragment(port) => ("tx", format!("leaves by port {} in fragments", words.port(port))),
        Verdict::Reply(port) => ("reply", format!("is answered, by port {}", words.port(port))),
        Verdict::Punt(port, class) => {
            ("punt", format!("goes to the host's network stack by port {}, class {}", words.port(port), class.label()))
        }
        Verdict::Hold(_) => {
            ("hold", "leaves as soon as its next hop says its MAC address, which is being asked for".to_owned())
        }
        Verdict::Await(_) => ("await", "waits for the first fragment of its datagram, a second at most".to_owned()),
        Verdict::Handoff(worker) => ("handoff", format!("is handed over to worker {}", worker.0)),
        Verdict::Drop(reason) => ("drop", format!("is dropped: {}", reason.label())),
    }
}

#[cfg(test)]
mod tests;
