//! Backends that a reload has removed while they had connections, which they keep until those end.

use std::collections::HashSet;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use super::compile::backend_key;
use super::config::{Backend, Config, DrainAction, OnRemove, Service};
use super::registry::BackendKey;
use super::text;

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ghost {
    /// Its service as it was, without its backends.
    pub service: Arc<Service>,
    /// Itself as it was.
    pub backend: Backend,
    /// When it was removed.
    pub since: Instant,
    /// When its last connections are closed; `None` if they may take their time.
    pub closes_at: Option<Instant>,
}

impl Ghost {
    /// What makes it itself again if a reload brings it back.
    pub fn key(&self) -> BackendKey {
        backend_key(&self.service, &self.backend)
    }

    fn note(&self, said: String) -> Note {
        Note { service: self.service.name.clone(), backend: self.backend.name.clone(), said }
    }
}

/// What is to be said of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// The service's name.
    pub service: String,
    /// The backend's name.
    pub backend: String,
    /// The rest of the sentence.
    pub said: String,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { service, backend, said } = self;
        write!(f, "backend {service}/{backend} {said}")
    }
}

/// See the module; in the order of their removal.
pub type Ghosts = Arc<Vec<Ghost>>;

/// Who is there after a reload from `old` to `new`, and what is to be said of it. `serving` has the connections of a
/// backend, if they get packets.
pub fn after(
    ghosts: &Ghosts,
    old: &Config,
    new: &Config,
    serving: impl Fn(&Service, &Backend) -> Option<u64>,
    now: Instant,
) -> (Ghosts, Vec<Note>) {
    let all = |config: &Config| -> Vec<BackendKey> {
        config.services.iter().flat_map(|s| s.backends.iter().map(|b| backend_key(s, b))).collect()
    };
    let there: HashSet<BackendKey> = all(new).into_iter().collect();
    let taken = taken(new);
    let may_stay =
        |s: &Service, b: &Backend| !taken.contains(&s.vip) && !new.services.iter().any(|n| n.vip == b.address);
    let mut notes = Vec::new();
    let mut left: Vec<Ghost> = Vec::new();
    for ghost in ghosts.iter() {
        let connections = serving(&ghost.service, &ghost.backend).unwrap_or(0);
        if there.contains(&ghost.key()) {
            let connections = text::counted(connections, "connection");
            notes.push(ghost.note(format!("is back, and has {connections} still")));
        } else if may_stay(&ghost.service, &ghost.backend) {
            left.push(ghost.clone());
        }
    }
    for service in &old.services {
        let setting = new.services.iter().find(|s| s.name == service.name).unwrap_or(service);
        if setting.on_remove != OnRemove::Drain {
            continue;
        }
        let alone = Arc::new(Service { backends: Vec::new(), ..service.clone() });
        for backend in service.backends.iter().filter(|b| !there.contains(&backend_key(service, b))) {
            let connections = serving(service, backend).filter(|n| *n > 0 && may_stay(service, backend));
            let Some(connections) = connections else { continue };
            let has_end = setting.drain_action == DrainAction::Close && !setting.drain_timeout.is_zero();
            let ghost = Ghost {
                service: alone.clone(),
                backend: backend.clone(),
                since: now,
                closes_at: has_end.then(|| now + setting.drain_timeout),
            };
            let end = if has_end {
                format!(", at most for {}", text::duration(setting.drain_timeout))
            } else {
                String::new()
            };
            let connections = text::counted(connections, "connection");
            notes.push(ghost.note(format!("is removed and drains: {connections} stay{end}")));
            left.push(ghost);
        }
    }
    (Arc::new(left), notes)
}

/// Addresses that cannot be a VIP beside what `config` has: its packets would go in circles.
fn taken(config: &Config) -> HashSet<IpAddr> {
    let services = || config.services.iter();
    let backends = services().flat_map(|s| s.backends.iter().map(|b| b.address));
    backends.chain(services().flat_map(|s| s.local_addresses.iter().copied())).collect()
}

/// Who is left of them at `now`, and what is to be said of those that go; `None` if all stay.
pub fn look(
    ghosts: &Ghosts,
    connections: impl Fn(&Service, &Backend) -> u64,
    now: Instant,
) -> Option<(Ghosts, Vec<Note>)> {
    let mut notes = Vec::new();
    let stays = |ghost: &&Ghost| {
        let left = connections(&ghost.service, &ghost.backend);
        let after = text::duration(now.saturating_duration_since(ghost.since));
        let is_over = ghost.closes_at.is_some_and(|end| now >= end);
        if left == 0 {
            notes.push(ghost.note(format!("was removed by a reload and is gone after {after}: no connection left")));
        } else if is_over {
            let left = text::counted(left, "connection");
            notes.push(ghost.note(format!("was removed by a reload and is gone after {after}: {left} closed")));
        }
        left > 0 && !is_over
    };
    let left: Vec<Ghost> = ghosts.iter().filter(stays).cloned().collect();
    (left.len() < ghosts.len()).then_some((Arc::new(left), notes))
}
