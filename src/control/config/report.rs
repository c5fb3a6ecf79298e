//! What `tidegate check` says of a good file.

use std::fmt;
use std::path::Path;

use super::compare::counted;
use super::errors::{Diagnostic, Errors};
use super::model::Config;
use super::source::printable;

/// A good file: what is in it, and what is odd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The file as it was named to us.
    pub file: String,
    /// How many ports.
    pub ports: usize,
    /// How many services.
    pub services: usize,
    /// How many backends over all services.
    pub backends: usize,
    /// What is allowed but probably not meant.
    pub warnings: Vec<Diagnostic>,
}

/// Reads and checks the file at `path`.
///
/// # Errors
/// Everything that is wrong with it, or why it cannot be read.
pub fn check(path: &Path) -> Result<Report, Errors> {
    let Config { ports, services, warnings, .. } = Config::load(path)?;
    let backends = services.iter().map(|service| service.backends.len()).sum();
    let file = printable(&path.to_string_lossy());
    Ok(Report { file, ports: ports.len(), services: services.len(), backends, warnings })
}

/// One line, without the warnings: `config/gre.toml: ok, 1 port, 2 services, 6 backends`.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ports = counted(self.ports, "port");
        let services = counted(self.services, "service");
        let backends = counted(self.backends, "backend");
        write!(f, "{}: ok, {ports}, {services}, {backends}", self.file)
    }
}
