//! `tidegate doctor`: asks the running balancer, or looks at what a configuration needs, and prints what is wrong.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;

use super::args::Doctor;
use super::client::Client;
use super::failure::Failure;
use super::output;
use crate::control::config::Config;
use crate::control::doctor::{Finding, Grade, Seen, findings};
use crate::control::status::{Drops, PlanRequest, Services};

/// Between the two looks at the drops.
const LOOK: Duration = Duration::from_secs(1);
/// How long a backend may take to answer at its own address, and how many are asked.
const ANSWER_TIME_MAX: Duration = Duration::from_millis(500);
const ASKED_MAX: usize = 8;
/// Connections that are looked at.
const CONNECTIONS: usize = 2000;

/// Prints what is wrong.
///
/// # Errors
/// Without a message, that something is; else why that cannot be told.
pub fn doctor(args: &Doctor, client: &Client) -> Result<(), Failure> {
    let (found, of) = match &args.config {
        Some(file) => (examine(file)?, format!("{}, on this machine", file.display())),
        None => {
            let seen = ask(client)?;
            let uptime = crate::control::text::duration(Duration::from_secs_f64(seen.status.uptime_s.clamp(0.0, 1e9)));
            let of = format!("process {}, {} old, {}", seen.status.pid, uptime, seen.status.config);
            (findings(&seen), of)
        }
    };
    let text = if args.json {
        serde_json::to_string_pretty(&found).map_err(|error| Failure::running(format!("error: {error}")))? + "\n"
    } else {
        render(&found, &of)
    };
    output::print(&text)?;
    if found.iter().any(|finding| finding.grade != Grade::Note) { Err(Failure::found()) } else { Ok(()) }
}

fn render(found: &[Finding], of: &str) -> String {
    let mut text = format!("{of}\n");
    for Finding { grade, what, why, mend } in found {
        text.push_str(&format!("\n{}: {what}\n  why      {why}\n  to mend  {mend}\n", grade.label()));
    }
    let count = |grade| found.iter().filter(|finding| finding.grade == grade).count();
    let (faults, warnings) = (count(Grade::Fault), count(Grade::Warning));
    match (faults, warnings) {
        (0, 0) => text.push_str("\nNothing is wrong.\n"),
        _ => text.push_str(&format!("\n{faults} faults, {warnings} warnings\n")),
    }
    text
}

fn read<T: DeserializeOwned>(client: &Client, path: &str) -> Result<T, Failure> {
    let strange = |error| Failure::running(format!("error: {path}: {error}; use the running tidegate's own version"));
    serde_json::from_str(&client.get(path)?).map_err(strange)
}

fn ask(client: &Client) -> Result<Seen, Failure> {
    let (before, began) = (read::<Drops>(client, "/v1/drops")?, Instant::now());
    let status: crate::control::status::Status = read(client, "/v1/status")?;
    let services: Services = read(client, "/v1/services")?;
    let plan = client.post("/v1/plan", &PlanRequest { path: Some(status.config.clone().into()), text: None }).ok();
    let answers = own_answers(&services);
    std::thread::sleep(LOOK.saturating_sub(began.elapsed()));
    Ok(Seen {
        between_s: began.elapsed().as_secs_f64(),
        drops: [before, read(client, "/v1/drops")?],
        workers: read(client, "/v1/workers")?,
        ports: read(client, "/v1/ports")?,
        neighbors: read(client, "/v1/neighbors")?,
        connections: read(client, &format!("/v1/connections?limit={CONNECTIONS}"))?,
        status,
        services,
        plan,
        answers,
    })
}

/// Whether backends whose checks of the VIP fail answer at their own address: TCP only, where asking has a meaning.
fn own_answers(services: &Services) -> HashMap<(String, String), bool> {
    let all = services.services.iter().filter(|service| service.protocol == "tcp");
    let failing = all.flat_map(|service| service.backends.iter().map(move |backend| (service, backend)));
    let failing = failing.filter(|(_, b)| b.health == "down" && b.reason.contains("(VIP ")).take(ASKED_MAX);
    let asked = failing.filter_map(|(service, backend)| {
        let address: IpAddr = backend.address.parse().ok()?;
        let end = SocketAddr::new(address, backend.port.or(service.port)?);
        let answers = TcpStream::connect_timeout(&end, ANSWER_TIME_MAX).is_ok();
        Some(((backend.service.clone(), backend.name.clone()), answers))
    });
    asked.collect()
}

/// What keeps a configuration from running on this machine.
fn examine(file: &Path) -> Result<Vec<Finding>, Failure> {
    let config = Config::load(file)?;
    let warnings = config.warnings.iter().map(|warning| Finding {
        grade: Grade::Warning,
        what: warning.to_string(),
        why: "it is allowed, and probably not meant".to_owned(),
        mend: format!("edit {}, then `tidegate check {}`", file.display(), file.display()),
    });
    let mut found: Vec<Finding> = warnings.collect();
    found.extend(machine(&config));
    found.sort_by_key(|finding| finding.grade);
    Ok(found)
}

#[cfg(feature = "dpdk")]
fn machine(config: &Config) -> Vec<Finding> {
    let found = crate::run::examine(config).into_iter().map(|(stops, what, mend)| Finding {
        grade: if stops { Grade::Fault } else { Grade::Warning },
        what,
        why: if stops { "it would not start" } else { "it would start, but not run as it could" }.to_owned(),
        mend,
    });
    found.collect()
}

#[cfg(not(feature = "dpdk"))]
fn machine(_config: &Config) -> Vec<Finding> {
    vec![Finding {
        grade: Grade::Fault,
        what: "this tidegate was built without DPDK and cannot run".to_owned(),
        why: "it is for replays and explanations alone".to_owned(),
        mend: "cargo build --release".to_owned(),
    }]
}
