//! `tidegate show`: the API's answers as tables.

mod args;
mod balance;
mod look;
mod machine;
mod per_second;

use std::time::Instant;

use serde::Serialize;

pub use args::{Show, What};

use super::client::{Client, read};
use super::failure::Failure;
use super::names::Filter;
use super::output;
use super::table::{Layout, Table};
use super::terminal;
use super::watch;
use crate::control::status::*;
use look::Look;

/// Asks and prints: once, or until it is ended from outside.
///
/// # Errors
/// Why there is no answer.
pub fn show(args: &Show, client: &Client) -> Result<(), Failure> {
    let view = View { args, client };
    view.check()?;
    let mut before = args.rate.map(|rate| view.sample().inspect(|_| std::thread::sleep(rate))).transpose()?;
    let Some(every) = args.watch else { return output::print(&view.text(&mut before)?) };
    watch::watch(every, || view.text(&mut before))
}

struct View<'a> {
    args: &'a Show,
    client: &'a Client,
}

/// An answer, and when it came.
struct Sample {
    body: String,
    at: Instant,
}

impl View<'_> {
    /// Whether the options fit what is shown.
    fn check(&self) -> Result<(), Failure> {
        let what = &self.args.what;
        let word = what.word();
        let counts =
            matches!(what, What::Services(_) | What::Backends(_) | What::Ports | What::Workers | What::Drops { .. });
        if self.args.rate.is_some() && !counts {
            return Err(Failure::usage(format!(
                "error: --rate is not for {word}: services, backends, ports, workers and drops have figures per second"
            )));
        }
        if self.args.sort.is_some() && matches!(what, What::Status | What::Config { .. }) {
            return Err(Failure::usage(format!("error: --sort is not for {word}, which has no columns")));
        }
        Ok(())
    }

    fn sample(&self) -> Result<Sample, Failure> {
        Ok(Sample { body: self.client.get(&self.args.what.path())?, at: Instant::now() })
    }

    /// What is to be printed now. With a sample `before`, what has happened since, and the next text is about what
    /// happens from now on.
    fn text(&self, before: &mut Option<Sample>) -> Result<String, Failure> {
        let now = self.sample()?;
        // Workers count per second by themselves.
        let rates = before.as_ref().filter(|_| self.args.what != What::Workers);
        let text = match rates {
            None if self.args.json => self.json(&now.body)?,
            None => self.tables(&now.body)?,
            Some(before) => {
                let seconds = now.at.saturating_duration_since(before.at).as_secs_f64();
                let rates = per_second::PerSecond { before: &before.body, now: &now.body, seconds };
                if self.args.json {
                    rates.json(&self.args.what)?
                } else {
                    self.finish(rates.table(&self.args.what, self.look())?)?
                }
            }
        };
        if before.is_some() {
            *before = Some(now);
        }
        Ok(text)
    }

    fn look(&self) -> Look {
        Look { exact: self.args.exact }
    }

    fn finish(&self, table: Table) -> Result<String, Failure> {
        let layout = Layout { width: terminal::size().map(|(columns, _)| columns), sort: self.args.sort.clone() };
        table.render_with(&layout).map_err(|error| Failure::usage(format!("error: {error}")))
    }

    /// The answer as it came, without what is not asked for.
    fn json(&self, body: &str) -> Result<String, Failure> {
        Ok(match &self.args.what {
            What::Services(names) if !names.names.is_empty() => to_json(&services(body, &names.names)?)?,
            What::Backends(names) if !names.names.is_empty() => to_json(&backends(body, &names.names)?)?,
            What::Connections { limit, names } if !names.names.is_empty() => {
                let mut answer = self.connections(body, &names.names)?;
                answer.truncated |= answer.connections.len() > *limit;
                answer.connections.truncate(*limit);
                to_json(&answer)?
            }
            _ => format!("{body}\n"),
        })
    }

    /// Those whose backend is named. Without any, the names may be of nobody.
    fn connections(&self, body: &str, names: &[String]) -> Result<Connections, Failure> {
        let filter = Filter::new(names);
        let mut answer: Connections = read(body)?;
        answer.connections.retain(|row| {
            filter.takes_named(row.service.as_deref(), row.backend.as_deref(), row.backend_address.as_deref())
        });
        if answer.connections.is_empty() && !filter.is_empty() {
            filter.check(read::<Backends>(&self.client.get("/v1/backends")?)?.backends.iter())?;
        }
        Ok(answer)
    }

    fn tables(&self, body: &str) -> Result<String, Failure> {
        let look = self.look();
        let table = match &self.args.what {
            What::Services(names) => balance::services(&services(body, &names.names)?.services, look, None),
            What::Backends(names) => balance::backends(&backends(body, &names.names)?.backends, look, None),
            What::Connections { limit, names } => balance::connections(&self.connections(body, &names.names)?, *limit),
            What::Ports => machine::ports(&read(body)?, look),
            What::Workers => machine::workers(&read(body)?, look),
            What::Drops { .. } => machine::drops(&read(body)?, look, None),
            What::Latency => machine::latency(&read(body)?, look),
            What::Neighbors => machine::neighbors(&read(body)?),
            What::Status => return Ok(machine::status(&read(body)?)),
            What::Config { .. } => return Ok(read::<ConfigText>(body)?.text),
        };
        self.finish(table)
    }
}

/// Those that are named, with the backends that are.
fn services(body: &str, names: &[String]) -> Result<Services, Failure> {
    let mut answer: Services = read(body)?;
    let filter = Filter::new(names);
    if filter.is_empty() {
        return Ok(answer);
    }
    let is_named = |service: &ServiceStatus| names.contains(&service.name);
    // A service that is named may have no backend to tell so.
    let others: Vec<String> =
        names.iter().filter(|name| !answer.services.iter().any(|service| service.name == **name)).cloned().collect();
    Filter::new(&others).check(answer.services.iter().flat_map(|service| &service.backends))?;
    for service in &mut answer.services {
        service.backends.retain(|backend| filter.takes(backend));
    }
    answer.services.retain(|service| is_named(service) || !service.backends.is_empty());
    Ok(answer)
}

fn backends(body: &str, names: &[String]) -> Result<Backends, Failure> {
    let mut answer: Backends = read(body)?;
    let filter = Filter::new(names);
    filter.check(answer.backends.iter())?;
    answer.backends.retain(|backend| filter.takes(backend));
    Ok(answer)
}

fn to_json(value: &impl Serialize) -> Result<String, Failure> {
    let text = serde_json::to_string(value).map_err(|error| Failure::running(format!("error: {error}")))?;
    Ok(text + "\n")
}
