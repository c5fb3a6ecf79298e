//! A whole configuration as a file that loads: every key, with the value that it has or what holds without it.

use std::fmt::Write;

use super::keys::{self, TableDoc};
use super::model::{Backend, Config, Service};
use super::written::{self, Row};

/// What is printed beside the file's own keys.
pub struct Printing<'a> {
    /// Whether secrets are printed; without them the text loads as if they were left out.
    pub secrets: bool,
    /// What else is known of a backend, as the text of comment lines.
    pub notes: &'a dyn Fn(&Service, &Backend) -> Vec<String>,
}

impl Config {
    /// The configuration as a file that loads as the same configuration.
    pub fn print(&self, printing: &Printing<'_>) -> String {
        let mut text = String::new();
        let mut table = |doc: &TableDoc, rows: &[Row], notes: &[String]| {
            let separator = if text.is_empty() { "" } else { "\n" };
            // Writing to a string cannot fail.
            _ = writeln!(text, "{separator}{}", doc.heading);
            for note in notes {
                _ = writeln!(text, "# {note}");
            }
            for (name, value) in rows {
                _ = writeln!(text, "{}", line(doc, name, value.as_ref(), printing.secrets));
            }
        };
        table(&keys::DATAPLANE, &written::dataplane(&self.dataplane), &[]);
        table(&keys::CONTROL, &written::control(&self.control), &[]);
        table(&keys::API, &written::api(&self.control.api), &[]);
        table(&keys::HOST, &written::host(&self.host), &[]);
        for port in &self.ports {
            table(&keys::PORT, &written::port(port), &[]);
        }
        for service in &self.services {
            table(&keys::SERVICE, &written::service(service), &[]);
            table(&keys::TIMEOUTS, &written::timeouts(&service.timeouts), &[]);
            if let Some(health) = &service.health {
                table(&keys::HEALTH, &written::health(health), &[]);
            }
            if let Some(passive) = &service.passive {
                table(&keys::PASSIVE, &written::passive(passive), &[]);
            }
            for backend in &service.backends {
                table(&keys::BACKEND, &written::backend(backend), &(printing.notes)(service, backend));
            }
        }
        text
    }
}

fn line(doc: &TableDoc, name: &str, value: Option<&toml::Value>, secrets: bool) -> String {
    let key = doc.key(name);
    let is_secret = key.is_some_and(|key| key.is_secret());
    match value {
        Some(_) if is_secret && !secrets => format!("# {name} is set, and a secret: --secrets shows it"),
        Some(value) => format!("{name} = {value}"),
        None => format!("# {name} is left out: {}", key.map_or("", |key| key.default)),
    }
}
