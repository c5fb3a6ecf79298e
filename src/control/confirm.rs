//! A reload that is taken back by itself unless somebody confirms it in time.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::json;
use tracing::{error, info, warn};

use super::config::Config;
use super::events::EventKind;
use super::manager::{Manager, ReloadError};
use super::overrides::Overrides;
use super::status::{Confirmed, ReloadReport, Unconfirmed};
use super::text;

/// A reload that waits, and what it is to be taken back to.
pub(super) struct Pending {
    /// The file that was loaded.
    loaded: PathBuf,
    until: Instant,
    before: Before,
}

/// What ran before a reload.
pub(super) struct Before {
    loaded: PathBuf,
    config: Config,
    overrides: Overrides,
    edits: u64,
}

/// Nobody can confirm or take back what does not wait.
#[derive(Debug, thiserror::Error)]
#[error("no reload waits for confirmation; `tidegate reload --confirm SECONDS` makes one that does")]
pub struct NothingWaits;

/// Why nothing was taken back.
#[derive(Debug, thiserror::Error)]
pub enum RollbackError {
    /// There is nothing to take back.
    #[error(transparent)]
    NothingWaits(#[from] NothingWaits),
    /// What ran before cannot be put into service again.
    #[error(transparent)]
    Reload(#[from] ReloadError),
}

impl Manager {
    /// What runs now, to go back to.
    pub(super) fn before(&self) -> Before {
        Before {
            loaded: self.loaded.clone(),
            config: Config::clone(&self.config),
            overrides: self.overrides.clone(),
            edits: self.edits,
        }
    }

    /// From now on the reload that just took the place of `before` waits for confirmation.
    pub(super) fn wait_for_confirmation(&mut self, before: Before, window: Duration) {
        self.pending = Some(Pending { loaded: self.loaded.clone(), until: Instant::now() + window, before });
        if let Some(Unconfirmed { path, before, left_s }) = self.unconfirmed() {
            warn!("reload of {path} waits {left_s:.0} s for `tidegate confirm`; without it {before} runs again");
        }
    }

    /// The reload that waits for confirmation.
    pub fn unconfirmed(&self) -> Option<Unconfirmed> {
        let Pending { loaded, until, before } = self.pending.as_ref()?;
        Some(Unconfirmed {
            path: loaded.display().to_string(),
            before: before.loaded.display().to_string(),
            left_s: until.saturating_duration_since(Instant::now()).as_secs_f64(),
        })
    }

    /// When the reload that waits is taken back.
    pub fn unconfirmed_until(&self) -> Option<Instant> {
        Some(self.pending.as_ref()?.until)
    }

    /// Lets the reload that waits stay.
    ///
    /// # Errors
    /// None waits.
    pub fn confirm(&mut self) -> Result<Confirmed, NothingWaits> {
        let pending = self.pending.take().ok_or(NothingWaits)?;
        let path = pending.loaded.display().to_string();
        let message = format!("reload of {path} confirmed, it stays");
        info!("{message}");
        self.events.push(EventKind::Confirmed, &message, json!({ "path": path }));
        Ok(Confirmed { path })
    }

    /// Takes the reload that waits back, by command.
    ///
    /// # Errors
    /// None waits, or what ran before cannot be put into service again.
    pub fn roll_back(&mut self) -> Result<ReloadReport, RollbackError> {
        let pending = self.pending.take().ok_or(NothingWaits)?;
        Ok(self.take_back(pending, "by command")?)
    }

    /// Takes the reload that waits back if its time is over; whether it did.
    pub fn roll_back_if_due(&mut self) -> bool {
        let Some(pending) = self.pending.take_if(|pending| pending.until <= Instant::now()) else { return false };
        // What goes wrong is logged there, and there is nobody to tell.
        self.take_back(pending, "not confirmed in time").is_ok()
    }

    fn take_back(&mut self, pending: Pending, why: &str) -> Result<ReloadReport, ReloadError> {
        let Pending { loaded, before: Before { loaded: path, config, overrides, edits }, .. } = pending;
        self.overrides.restore_commands(&overrides);
        let refused = loaded.display();
        match self.apply(&path, config) {
            Ok(report) => {
                let ReloadReport { path, summary, generation, .. } = &report;
                let message = format!(
                    "reload of {refused} taken back, {why}: {path} runs again: {summary} (generation {generation})"
                );
                warn!("{message}");
                self.edits = edits;
                let fields = json!({ "path": path, "summary": summary, "generation": generation, "reason": why });
                self.events.push(EventKind::Rollback, &message, fields);
                self.reload_error = Some(format!("{refused}: taken back, {why}"));
                self.reloads.note(|counts| &mut counts.taken_back);
                Ok(report)
            }
            Err(error) => {
                error!("reload of {refused} cannot be taken back, {why}: it stays: {error}");
                self.reload_error = Some(error.to_string());
                Err(error)
            }
        }
    }

    /// Says what becomes of a reload that waits when the process ends.
    pub(super) fn note_end(&self) {
        if self.edits > 0 {
            let (edits, loaded) = (self.edits, self.loaded.display());
            warn!(
                "changes over the API that are in no file, and that the next start does not know: {edits}; beside {loaded}"
            );
        }
        if let Some(Unconfirmed { path, left_s, .. }) = self.unconfirmed() {
            let left = text::duration(Duration::try_from_secs_f64(left_s).unwrap_or_default());
            let config = self.config_path.display();
            warn!(
                "ends {left} before the reload of {path} had to be confirmed: the next start reads {config} as it is"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::config::State;
    use crate::control::fixture::{CONFIG, edited, file, manager};

    const WINDOW: Duration = Duration::from_secs(600);

    #[test]
    fn what_ran_before_comes_back_with_its_commands() {
        let dir = tempfile::tempdir().unwrap();
        let path = file(dir.path(), "tidegate.toml", CONFIG);
        let mut manager = manager(&path);
        manager.overrides.set_state("web", "b2", State::Drain);
        let without = edited(&[("[[service.backend]]\nname = \"b2\"\naddress = \"10.1.0.12\"\nweight = 50\n", "")]);
        let other = file(dir.path(), "other.toml", &without);
        let loaded = crate::control::manager::load(&other);
        manager.take_over(&other, loaded, Some(WINDOW)).unwrap();
        assert_eq!(
            (manager.config().services[0].backends.len(), manager.status().loaded),
            (2, other.display().to_string())
        );
        assert!(manager.unconfirmed_until().is_some() && !manager.roll_back_if_due());
        // The file of before may be gone or be another one by now.
        std::fs::write(&path, "nonsense").unwrap();
        let report = manager.roll_back().unwrap();
        assert_eq!((report.summary.as_str(), report.path), ("+1 backend", path.display().to_string()));
        let status = manager.status();
        assert_eq!((status.loaded, status.unconfirmed), (path.display().to_string(), None));
        let b2 = &manager.config().services[0].backends[1];
        assert_eq!((b2.weight, manager.overrides.effective(&manager.config().services[0], b2)), (50, State::Drain));
        assert!(matches!(manager.roll_back(), Err(RollbackError::NothingWaits(_))));
    }

    #[test]
    fn one_reload_waits_at_a_time_and_a_refused_one_does_not_wait() {
        let dir = tempfile::tempdir().unwrap();
        let path = file(dir.path(), "tidegate.toml", CONFIG);
        let mut manager = manager(&path);
        let bad = file(dir.path(), "bad.toml", "nonsense");
        let loaded = crate::control::manager::load(&bad);
        assert!(manager.take_over(&bad, loaded, Some(WINDOW)).is_err());
        assert_eq!(manager.unconfirmed(), None);
        let loaded = crate::control::manager::load(&path);
        manager.take_over(&path, loaded, Some(WINDOW)).unwrap();
        let error = manager.reload(None).unwrap_err().to_string();
        assert!(error.contains("waits for confirmation for 600 s more; `tidegate confirm` lets it stay"), "{error}");
        assert_eq!(manager.confirm().unwrap().path, path.display().to_string());
        assert_eq!(
            manager.confirm().unwrap_err().to_string().split(';').next(),
            Some("no reload waits for confirmation")
        );
        manager.reload(None).unwrap();
    }
}
