//! How often the configuration has changed, and by which name its present state goes.

use std::time::{SystemTime, UNIX_EPOCH};

/// See the module.
#[derive(Clone, Copy, Debug)]
pub(in crate::control) struct Reloads {
    /// Taken over.
    pub(in crate::control) done: u64,
    /// Refused, with everything as it was.
    pub(in crate::control) refused: u64,
    /// Taken back, by command or for want of a confirmation.
    pub(in crate::control) taken_back: u64,
    /// When the last one of them was.
    pub(in crate::control) last: Option<SystemTime>,
    started: SystemTime,
}

impl Default for Reloads {
    fn default() -> Self {
        Self { done: 0, refused: 0, taken_back: 0, last: None, started: SystemTime::now() }
    }
}

impl Reloads {
    /// Counts one that happens now.
    pub(in crate::control) fn note(&mut self, which: impl Fn(&mut Self) -> &mut u64) {
        *which(self) += 1;
        self.last = Some(SystemTime::now());
    }

    /// Another one whenever the configuration is another one, also after a restart.
    pub(in crate::control) fn etag(&self) -> String {
        let started = self.started.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        format!("\"{started:x}-{}\"", self.done + self.taken_back)
    }
}
