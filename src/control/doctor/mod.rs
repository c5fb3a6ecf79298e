//! `tidegate doctor`: what is wrong with a running balancer, most likely first, and the command that mends it.
//!
//! Each finding is a function of what the API has said; nothing here asks anybody.

mod backends;
mod machine;
mod traffic;

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::plan::Plan;
use super::status::{Connections, Drops, Neighbors, Ports, Services, Status, Workers};

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Grade {
    /// Packets are lost, or nothing is balanced.
    Fault,
    /// It works, but not as it should.
    Warning,
    /// Good to know.
    Note,
}

impl Grade {
    /// The word in outputs.
    pub fn label(self) -> &'static str {
        match self {
            Self::Fault => "fault",
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// How bad: `fault`, `warning` or `note`.
    pub grade: Grade,
    /// What is wrong, and where.
    pub what: String,
    /// What is behind it as a rule.
    pub why: String,
    /// What mends it: a command, where there is one.
    pub mend: String,
}

impl Finding {
    fn new(grade: Grade, what: impl Into<String>, why: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { grade, what: what.into(), why: why.into(), mend: mend.into() }
    }
}

/// What is known of a running balancer.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// The process.
    pub status: Status,
    /// Services and backends.
    pub services: Services,
    /// Workers.
    pub workers: Workers,
    /// Ports.
    pub ports: Ports,
    /// Drops, a moment ago and now.
    pub drops: [Drops; 2],
    /// Seconds between the two.
    pub between_s: f64,
    /// Next hops.
    pub neighbors: Neighbors,
    /// Some of the connections.
    pub connections: Connections,
    /// What the file on disk would change; `None` if it cannot be read.
    pub plan: Option<Plan>,
    /// Backends that were asked at their own address, as their service's clients ask the VIP, and whether somebody answered; by
    /// service and name.
    pub answers: HashMap<(String, String), bool>,
}

/// Everything that can be found, in the order of what is looked at first.
const CHECKS: &[fn(&Seen, &mut Vec<Finding>)] = &[
    machine::workers,
    machine::links,
    machine::next_hops,
    backends::services,
    backends::down,
    traffic::silence,
    backends::replies,
    machine::buffers,
    traffic::partial,
    traffic::tables,
    traffic::one_worker,
    traffic::drops,
    backends::tunnels,
    machine::configuration,
];

/// What is wrong, the worst first.
pub fn findings(seen: &Seen) -> Vec<Finding> {
    let mut found = Vec::new();
    CHECKS.iter().for_each(|check| check(seen, &mut found));
    found.sort_by_key(|finding| finding.grade);
    found
}

#[cfg(test)]
mod tests;
