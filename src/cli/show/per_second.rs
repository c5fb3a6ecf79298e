//! Figures per second, as tables and as JSON.

use serde_json::{Value, json};

use super::args::What;
use super::look::Look;
use super::{backends, balance, machine, services};
use crate::cli::client::read;
use crate::cli::failure::Failure;
use crate::cli::rates::{self, BackendsBefore, PortFlow};
use crate::cli::table::Table;
use crate::control::status::{BackendStatus, Backends, Drops, PortStatus, Ports, Services};

/// Two answers to the same question.
pub struct PerSecond<'b> {
    /// The earlier one.
    pub before: &'b str,
    /// The later one.
    pub now: &'b str,
    /// The time between them.
    pub seconds: f64,
}

impl PerSecond<'_> {
    /// For people.
    pub fn table(&self, what: &What, look: Look) -> Result<Table, Failure> {
        let mut table = match what {
            What::Services(names) => {
                let before: Services = read(self.before)?;
                let before = BackendsBefore::new(before.services.iter().flat_map(|s| &s.backends), self.seconds);
                balance::services(&services(self.now, &names.names)?.services, look, Some(&before))
            }
            What::Backends(names) => {
                let before: Backends = read(self.before)?;
                let before = BackendsBefore::new(before.backends.iter(), self.seconds);
                balance::backends(&backends(self.now, &names.names)?.backends, look, Some(&before))
            }
            What::Ports => {
                let (before, now): (Ports, Ports) = (read(self.before)?, read(self.now)?);
                machine::port_rates(&self.ports(&before, &now), look)
            }
            _ => {
                let before: Drops = read(self.before)?;
                machine::drops(&read(self.now)?, look, Some((&before, self.seconds)))
            }
        };
        table.line(format!("Over {:.1} s.", self.seconds));
        Ok(table)
    }

    /// For programs.
    pub fn json(&self, what: &What) -> Result<String, Failure> {
        let rows = match what {
            What::Services(names) => {
                let before: Services = read(self.before)?;
                let before = BackendsBefore::new(before.services.iter().flat_map(|s| &s.backends), self.seconds);
                let now = services(self.now, &names.names)?.services;
                let row = |service: &crate::control::status::ServiceStatus| {
                    let backends: Vec<Value> = service.backends.iter().map(|b| backend_row(b, &before)).collect();
                    let flow = service.backends.iter().filter_map(|b| before.flow(b)).sum::<rates::Flow>();
                    json!({ "name": service.name, "rates": flow, "backends": backends })
                };
                now.iter().map(row).collect::<Vec<_>>()
            }
            What::Backends(names) => {
                let before: Backends = read(self.before)?;
                let before = BackendsBefore::new(before.backends.iter(), self.seconds);
                backends(self.now, &names.names)?.backends.iter().map(|b| backend_row(b, &before)).collect()
            }
            What::Ports => {
                let (before, now): (Ports, Ports) = (read(self.before)?, read(self.now)?);
                let rows = self.ports(&before, &now);
                rows.iter().map(|(port, flow)| json!({ "name": port.name, "rates": flow })).collect()
            }
            _ => {
                let (before, now): (Drops, Drops) = (read(self.before)?, read(self.now)?);
                let rate = |drop| rates::of_drop(&before.drops, drop, self.seconds);
                now.drops.iter().map(|d| json!({ "reason": d.reason, "packets_per_s": rate(d) })).collect()
            }
        };
        Ok(format!("{}\n", json!({ "seconds": self.seconds, what.word(): rows })))
    }

    fn ports<'p>(&self, before: &Ports, now: &'p Ports) -> Vec<(&'p PortStatus, Option<PortFlow>)> {
        let flow = |port: &PortStatus| {
            let before = before.ports.iter().find(|before| before.name == port.name)?;
            Some(rates::of_port(before, port, self.seconds))
        };
        now.ports.iter().map(|port| (port, flow(port))).collect()
    }
}

/// `rates` is `null` for one that was not there before.
fn backend_row(backend: &BackendStatus, before: &BackendsBefore<'_>) -> Value {
    json!({ "service": backend.service, "name": backend.name, "rates": before.flow(backend) })
}
