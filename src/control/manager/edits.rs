//! How a change over the API gets into service.

use serde_json::json;
use tracing::{info, warn};

use super::{Manager, ReloadError};
use crate::control::config::Config;
use crate::control::edit::{Basis, EditError};
use crate::control::events::EventKind;
use crate::control::status::ReloadReport;

impl Manager {
    /// What a change starts from; `if_match` names the state of the configuration that it is meant for.
    ///
    /// # Errors
    /// It is another one.
    pub fn edit_basis(&self, if_match: Option<&str>) -> Result<Basis, EditError> {
        let etag = self.etag();
        // RFC 9110 section 13.1.1: a list, or any.
        let is_met = |list: &str| list.split(',').any(|wanted| matches!(wanted.trim(), "*") || wanted.trim() == etag);
        if if_match.is_some_and(|list| !is_met(list)) {
            return Err(EditError::Stale);
        }
        Ok(Basis { config: self.config.clone(), loaded: self.loaded.clone() })
    }

    /// The name of the state of the configuration.
    pub fn etag(&self) -> String {
        self.reloads.etag()
    }

    /// Takes over what was made of [`Self::edit_basis`], as a reload does, or changes nothing.
    ///
    /// # Errors
    /// Why nothing has changed.
    pub fn take_over_edit(&mut self, config: Config) -> Result<ReloadReport, ReloadError> {
        if let Some(waits) = self.unconfirmed() {
            return Err(ReloadError::Unconfirmed(waits));
        }
        let (path, edits) = (self.loaded.clone(), self.edits);
        let mut report = self.apply(&path, config)?;
        self.edits = edits + 1;
        self.reloads.note(|counts| &mut counts.done);
        report.edits = self.edits;
        let ReloadReport { path, summary, generation, .. } = &report;
        let message = format!("changed over the API: {summary} (generation {generation})");
        info!(path, summary, generation, "{message}");
        report.warnings.iter().for_each(|warning| warn!("{warning}"));
        let fields = json!({ "path": path, "summary": summary, "generation": generation });
        self.events.push(EventKind::Reload, &message, fields);
        Ok(report)
    }

    /// From now on the file has every change.
    pub fn edits_are_written(&mut self) {
        self.edits = 0;
        info!("{} has the changes over the API now", self.loaded.display());
    }
}
