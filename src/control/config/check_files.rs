//! The files that a configuration names, checked and read.

use std::collections::HashMap;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use super::authority::Authority;
use super::draft::Draft;
use super::model_health::{HealthCheck, HttpCheck};
use super::source::Findings;

/// Notes each file that is of no use, and puts what is in the others into the configuration.
pub fn check(draft: &mut Draft, findings: &mut Findings) {
    // Many services have the same one.
    let mut authorities: HashMap<PathBuf, Result<Authority, String>> = HashMap::new();
    for (service, spans) in draft.config.services.iter_mut().zip(&draft.services) {
        match service.health.as_mut().map(|health| &mut health.check) {
            Some(HealthCheck::Http(HttpCheck { tls: Some(tls), .. })) => {
                let (Some(path), Some(span)) = (&tls.ca_file, &spans.health.ca_file) else { continue };
                match authorities.entry(path.clone()).or_insert_with(|| Authority::read(path)) {
                    Ok(authority) => tls.authority = Some(authority.clone()),
                    Err(fault) => findings.error(span, format!("`ca_file` {} {fault}", path.display())),
                }
            }
            Some(HealthCheck::Exec(command)) => {
                let (Some(path), Some(span)) = (command.first(), &spans.health.command) else { continue };
                if let Some(fault) = not_a_program(path) {
                    findings.error(span, format!("`command` {path} {fault}"));
                }
            }
            _ => {}
        }
    }
}

/// Why the file at `path` cannot be run, as the end of a sentence.
fn not_a_program(path: &str) -> Option<String> {
    match std::fs::metadata(path) {
        Ok(metadata) if !metadata.is_file() => Some("is not a regular file".to_owned()),
        Ok(metadata) if metadata.permissions().mode() & 0o111 == 0 => Some("is not executable: chmod +x it".to_owned()),
        Ok(_) => None,
        Err(error) => Some(format!("cannot be run: {error}")),
    }
}
