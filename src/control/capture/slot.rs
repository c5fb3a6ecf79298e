//! One capture at a time, and what is known of it or of the last one.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::request::CaptureStatus;

/// See the module.
#[derive(Debug, Default)]
pub struct Captures {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    status: CaptureStatus,
    /// Ends the one that runs.
    asked: Option<Arc<Notify>>,
}

impl Captures {
    /// The one that runs, or the last one.
    pub fn status(&self) -> CaptureStatus {
        self.state().status.clone()
    }

    /// Asks the one that runs to end; false if there is none.
    pub fn stop(&self) -> bool {
        let state = self.state();
        // Waits for who is not listening at this moment.
        state.asked.as_ref().map(|asked| asked.notify_one()).is_some()
    }

    /// Takes the only place; the filter of who has it if it is taken.
    pub(super) fn claim(self: &Arc<Self>, filter: &str) -> Result<Claim, String> {
        let mut state = self.state();
        if state.asked.is_some() {
            return Err(shown(&state.status.filter).to_owned());
        }
        let asked = Arc::new(Notify::new());
        state.asked = Some(asked.clone());
        state.status = CaptureStatus { running: true, filter: filter.to_owned(), ..CaptureStatus::default() };
        Ok(Claim { captures: self.clone(), asked, filter: shown(filter).to_owned() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A filter that lets everything through, in words.
fn shown(filter: &str) -> &str {
    if filter.is_empty() { "all packets" } else { filter }
}

/// The place; free again when it is dropped.
#[derive(Debug)]
pub(super) struct Claim {
    captures: Arc<Captures>,
    asked: Arc<Notify>,
    filter: String,
}

impl Claim {
    pub(super) fn filter(&self) -> &str {
        &self.filter
    }

    pub(super) fn asked(&self) -> Arc<Notify> {
        self.asked.clone()
    }

    pub(super) fn update(&self, status: CaptureStatus) {
        self.captures.state().status = status;
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut state = self.captures.state();
        state.asked = None;
        state.status.running = false;
    }
}
