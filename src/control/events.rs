//! What has happened of late, for those who follow it: bounded, with numbers, and nobody waits for a reader.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::sync::watch;
use utoipa::ToSchema;

/// Events that are kept for those who come back.
const KEPT_MAX: usize = 1024;

/// What kinds there are, as the API names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// A backend's health checks say something else.
    Health,
    /// A backend is held down, or is not any more.
    Hold,
    /// A service has all its backends serve, or its backups, or not any more.
    Service,
    /// A backend was changed by command.
    Command,
    /// A configuration was taken over.
    Reload,
    /// A configuration was refused.
    ReloadFailed,
    /// A reload was taken back.
    Rollback,
    /// A reload was confirmed.
    Confirmed,
    /// A removed backend drains, or is gone.
    Removed,
    /// A burst of drops or the like, or its end.
    Flood,
    /// A worker's loop has stopped, or turns again.
    Worker,
    /// A port's link went down, or came up.
    Link,
    /// Events before this one are gone: the reader was too slow, or has been away for too long.
    Lost,
}

impl EventKind {
    /// As in JSON.
    pub fn word(self) -> &'static str {
        match self {
            Self::Health => "health",
            Self::Hold => "hold",
            Self::Service => "service",
            Self::Command => "command",
            Self::Reload => "reload",
            Self::ReloadFailed => "reload_failed",
            Self::Rollback => "rollback",
            Self::Confirmed => "confirmed",
            Self::Removed => "removed",
            Self::Flood => "flood",
            Self::Worker => "worker",
            Self::Link => "link",
            Self::Lost => "lost",
        }
    }
}

/// One event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Event {
    /// Its number, one more than that of the event before it; they start anew with the process.
    pub id: u64,
    /// Seconds since 1970.
    pub time_s: f64,
    /// What it is about.
    pub kind: EventKind,
    /// One sentence, as in the log.
    pub message: String,
    /// What else there is, by name, as in the log.
    pub fields: Map<String, Value>,
}

/// See the module.
#[derive(Debug)]
pub struct Events {
    ring: Mutex<Ring>,
    /// The newest number.
    newest: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Ring {
    last: u64,
    kept: VecDeque<Event>,
}

impl Default for Events {
    fn default() -> Self {
        Self { ring: Mutex::default(), newest: watch::Sender::new(0) }
    }
}

impl Events {
    /// Notes one that happens now; `fields` are a JSON object.
    pub fn push(&self, kind: EventKind, message: &str, fields: Value) {
        let fields = if let Value::Object(fields) = fields { fields } else { Map::new() };
        let id = {
            let mut ring = self.ring();
            ring.last += 1;
            let event = Event { id: ring.last, time_s: now_s(), kind, message: message.to_owned(), fields };
            if ring.kept.len() >= KEPT_MAX {
                ring.kept.pop_front();
            }
            ring.kept.push_back(event);
            ring.last
        };
        self.newest.send_replace(id);
    }

    /// Number of the newest one.
    pub fn last(&self) -> u64 {
        self.ring().last
    }

    /// The next ones after number `after`, at most `max`; the first one says how many are gone, if some are.
    pub fn after(&self, after: u64, max: usize) -> Vec<Event> {
        let ring = self.ring();
        // A number of before a restart: all there is, is new.
        let after = if after > ring.last { 0 } else { after };
        let gone = ring.kept.front().map_or(0, |oldest| (oldest.id - 1).saturating_sub(after));
        let lost = (gone > 0).then(|| Event {
            id: after + gone,
            time_s: now_s(),
            kind: EventKind::Lost,
            message: format!("{gone} events before this one are gone"),
            fields: Map::from_iter([("count".to_owned(), gone.into())]),
        });
        let skipped = usize::try_from((after + gone + 1).saturating_sub(ring.kept.front().map_or(0, |e| e.id)));
        lost.into_iter().chain(ring.kept.iter().skip(skipped.unwrap_or(0)).take(max).cloned()).collect()
    }

    /// Tells when there are more.
    pub fn follow(&self) -> watch::Receiver<u64> {
        self.newest.subscribe()
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn now_s() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn ids(events: &[Event]) -> Vec<u64> {
        events.iter().map(|event| event.id).collect()
    }

    #[test]
    fn events_have_numbers_and_are_had_from_one_on() {
        let events = Events::default();
        assert_eq!((events.after(0, 10), events.last()), (vec![], 0));
        for n in 1..=5 {
            events.push(EventKind::Health, &format!("event {n}"), json!({ "n": n }));
        }
        assert_eq!(ids(&events.after(0, 10)), [1, 2, 3, 4, 5]);
        assert_eq!(ids(&events.after(3, 10)), [4, 5]);
        assert_eq!(ids(&events.after(1, 2)), [2, 3]);
        assert_eq!(ids(&events.after(5, 10)), [0; 0]);
        assert_eq!(ids(&events.after(99, 10)), [1, 2, 3, 4, 5], "a number of an earlier process");
        let event = &events.after(4, 1)[0];
        assert_eq!((event.message.as_str(), &event.fields["n"]), ("event 5", &json!(5)));
    }

    #[test]
    fn who_is_too_slow_is_told_how_many_are_gone() {
        let events = Events::default();
        let count = KEPT_MAX as u64 + 100;
        (0..count).for_each(|_| events.push(EventKind::Flood, "flood", json!({})));
        let after = events.after(40, 2);
        assert_eq!((after[0].kind, &after[0].fields["count"]), (EventKind::Lost, &json!(60)));
        assert_eq!(ids(&after), [100, 101, 102], "the notice has the number to go on from");
        assert_eq!(events.ring().kept.len(), KEPT_MAX);
    }
}
