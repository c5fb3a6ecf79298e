//! A packet that takes down what the packet path decides about it.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use crate::control::replay::{Arrived, Listener};
use crate::lb::ids::PortId;
use crate::lb::snapshot::Snapshot;
use crate::lb::trace::Step;
use crate::lb::verdict::Verdict;

/// Most decisions about one packet; a packet that is handed on and waits has a few dozen.
const STEPS_MAX: usize = 256;

/// What became of one frame.
pub(super) struct Record {
    /// From 1.
    pub number: usize,
    pub port: PortId,
    /// As it came.
    pub frame: Vec<u8>,
    /// What was in service then.
    pub snapshot: Arc<Snapshot>,
    pub steps: Vec<Step>,
    /// What left for it, and by which ports.
    pub left: Vec<(PortId, Vec<u8>)>,
    /// What would leave once its next hop has said where it is.
    pub waits: Option<(PortId, Vec<u8>)>,
}

impl Record {
    pub(super) fn new(number: usize, port: PortId, frame: &[u8], snapshot: &Arc<Snapshot>) -> Self {
        let (steps, left, snapshot) = (Vec::new(), Vec::new(), snapshot.clone());
        Self { number, port, frame: frame.to_vec(), snapshot, steps, left, waits: None }
    }

    /// Takes back what became of it while it waited for a next hop, if so `wanted`.
    pub(super) fn stops_at_hold(&mut self, wanted: bool) {
        let held = self.steps.iter().position(|step| matches!(step, Step::Verdict(Verdict::Hold(_))));
        if let Some(at) = held.filter(|_| wanted) {
            self.steps.truncate(at + 1);
        }
    }
}

/// See the module. Without a record it only goes the way of those that have one.
pub(super) type Explained = Arrived<Recorded>;

/// Where the decisions about a packet go.
pub(super) type Recorded = Option<Rc<RefCell<Record>>>;

impl Listener for Recorded {
    const ASKS: bool = true;

    fn note(&self, step: impl FnOnce() -> Step) {
        let Some(record) = self else { return };
        let step = step();
        let steps = &mut record.borrow_mut().steps;
        if steps.len() < STEPS_MAX {
            steps.push(step);
        }
    }

    fn leaves(&self, port: PortId, frame: &[u8]) {
        if let Some(record) = self {
            record.borrow_mut().left.push((port, frame.to_vec()));
        }
    }

    fn waits(&self, port: PortId, frame: &[u8]) {
        if let Some(record) = self {
            record.borrow_mut().waits = Some((port, frame.to_vec()));
        }
    }
}
