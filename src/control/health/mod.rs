//! Health checks: one task a backend, and the results that change something.

mod check;
mod dns;
mod dns_message;
mod exec;
mod fault;
mod http;
mod limits;
mod ping;
mod target;
mod task;
mod tcp;
mod tls;
mod udp;
mod way;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;

pub use fault::Outcome;
pub use target::Target;
pub use task::Standing;
pub use way::{Doors, Way, Ways};

use check::Check;
use limits::Limits;

use super::config::{Backend, Config, Service};
use super::manager::{HealthChange, Key};
use crate::lb::response_times::{Measured, Meter};

/// The least time between two snapshots for results of health checks.
const REST: Duration = Duration::from_millis(20);
/// Results that may wait to be taken over; a task with one more waits.
const RESULTS_MAX: usize = 4096;

/// Runs the checks that the configuration asks for. Lives on a tokio runtime.
pub struct Supervisor {
    tasks: HashMap<Key, Task>,
    limits: Arc<Limits>,
    doors: Doors,
    serial: u64,
    sender: mpsc::Sender<Event>,
    events: mpsc::Receiver<Event>,
    /// Results that came and were not given yet.
    waiting: Vec<Event>,
    /// Before this moment none is given.
    rests_until: Option<Instant>,
}

/// A result, with the task that it comes from.
pub(super) struct Event {
    key: Key,
    serial: u64,
    healthy: bool,
    reason: String,
}

struct Task {
    target: Target,
    /// How long its good checks took.
    times: Arc<Meter>,
    serial: u64,
    handle: JoinHandle<()>,
}

impl Drop for Task {
    fn drop(&mut self) {
        self.handle.abort();
    }
}

impl Default for Supervisor {
    fn default() -> Self {
        Self::new(Doors::default())
    }
}

impl Supervisor {
    /// Without any check yet.
    pub fn new(doors: Doors) -> Self {
        let (sender, events) = mpsc::channel(RESULTS_MAX);
        Self {
            tasks: HashMap::new(),
            limits: Arc::default(),
            doors,
            serial: 0,
            sender,
            events,
            waiting: Vec::new(),
            rests_until: None,
        }
    }

    /// What checks of VIPs stand on.
    pub fn doors(&self) -> &Doors {
        &self.doors
    }

    /// Starts, ends and changes checks so that they are those of `config` and go the `way` of each backend; the others go on
    /// undisturbed. A check that starts goes on from what `health` says of its backend: `None` is taken for good.
    pub fn sync(
        &mut self,
        config: &Config,
        way: impl Fn(&Service, &Backend) -> Way,
        health: impl Fn(&str, &str) -> Option<bool>,
    ) {
        let mut wanted: HashMap<Key, Target> = HashMap::new();
        for service in &config.services {
            for backend in &service.backends {
                if let Some(target) = Target::of(service, backend, way(service, backend)) {
                    wanted.insert((service.name.clone(), backend.name.clone()), target);
                }
            }
        }
        self.tasks.retain(|key, task| wanted.get(key) == Some(&task.target));
        for (key, target) in wanted {
            if !self.tasks.contains_key(&key) {
                let known = health(&key.0, &key.1);
                self.start(key, target, known);
            }
        }
    }

    /// How long the good checks of a backend have taken.
    pub fn measured(&self, key: &Key) -> Measured {
        self.tasks.get(key).map_or_else(Measured::default, |task| task.times.measured())
    }

    /// How many backends are checked.
    pub fn len(&self) -> usize {
        self.tasks.len()
    }

    /// Whether no backend is checked.
    pub fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    /// Waits for results, and gives all that are there; after [`Self::rest`], not before its time is over. May be
    /// given up and called again.
    pub async fn changes(&mut self) -> Vec<HealthChange> {
        if self.waiting.is_empty() {
            // The supervisor keeps a sender, so that the channel never ends.
            self.waiting.extend(self.events.recv().await);
        }
        if let Some(end) = self.rests_until {
            tokio::time::sleep_until(end).await;
        }
        self.waiting.extend(std::iter::from_fn(|| self.events.try_recv().ok()));
        // A task that was ended may have left a result behind.
        let is_current = |event: &Event| self.tasks.get(&event.key).is_some_and(|task| task.serial == event.serial);
        let change =
            |Event { key: (service, backend), healthy, reason, .. }| HealthChange { service, backend, healthy, reason };
        self.waiting.drain(..).filter(is_current).map(change).collect()
    }

    /// Lets results gather for a moment: of backends that all change at once, there is to be one snapshot and not one each.
    pub fn rest(&mut self) {
        self.rests_until = Some(Instant::now() + REST);
    }

    fn start(&mut self, key: Key, target: Target, known: Option<bool>) {
        self.serial += 1;
        let serial = self.serial;
        let sender = self.sender.clone();
        let (limits, ports) = (self.limits.clone(), self.doors.ports.clone());
        let name = key.clone();
        let report = move |healthy, reason| {
            let event = Event { key: name.clone(), serial, healthy, reason };
            let sender = sender.clone();
            // Fails only when the supervisor is gone, and the task with it.
            async move { _ = sender.send(event).await }
        };
        let times = Arc::new(Meter::default());
        let check = Check::new(&key, target.clone(), ports);
        let handle = tokio::spawn(task::run(key.clone(), check, known, (limits, times.clone()), report));
        self.tasks.insert(key, Task { target, times, serial, handle });
    }
}

#[cfg(test)]
mod tests;
