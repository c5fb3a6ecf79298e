//! `tidegate plan`: what a configuration would change, for people and as JSON.

use super::args::Plan as PlanArgs;
use super::client::Client;
use super::failure::Failure;
use super::output;
use super::table::Table;
use crate::control::config::{Change, Config};
use crate::control::plan::{Basis, Plan, Touched};
use crate::control::status::PlanRequest;

/// Works it out, or has the running tidegate do that, and prints it.
///
/// # Errors
/// Why there is no plan; and, without a message, that there is something to do.
pub fn plan(args: &PlanArgs, client: &Client) -> Result<(), Failure> {
    let plan: Plan = match &args.from {
        Some(from) => {
            // Both files first, so that what is wrong in the second does not wait for the first.
            let (old, new) = (Config::load(from), Config::load(&args.file));
            let (old, new) = (old?, new?);
            let failed =
                |name: &str, error: &dyn std::fmt::Display| Failure::running(format!("error: {name}: {error}"));
            let (from, file) = (from.display().to_string(), args.file.display().to_string());
            let basis = Basis::of_file(old, &from).map_err(|error| failed(&from, &error))?;
            basis.plan(&file, &new).map_err(|error| failed(&file, &error))?
        }
        None => {
            let path = Some(output::absolute(&args.file)?);
            client.post("/v1/plan", &PlanRequest { path, text: None })?
        }
    };
    for warning in &plan.warnings {
        output::error_line(&format!("warning: {warning}"));
    }
    let text = if args.json {
        serde_json::to_string_pretty(&plan).map_err(|error| Failure::running(format!("error: {error}")))? + "\n"
    } else {
        render(&plan)
    };
    output::print(&text)?;
    if plan.is_empty() { Ok(()) } else { Err(Failure::changes()) }
}

fn render(plan: &Plan) -> String {
    let mut text = format!("{}: {}\n", plan.path, plan.summary);
    let mut line = |words: String| text.push_str(&format!("{words}\n"));
    for change in plan.changes.iter().flat_map(Change::lines) {
        line(format!("  {change}"));
    }
    if !plan.restart.is_empty() {
        line("needs a restart, a reload will be refused:".to_owned());
        plan.restart.iter().for_each(|key| line(format!("  ~ {key}")));
    }
    if !plan.slots.is_empty() {
        line(slots(plan));
    }
    match &plan.connections {
        Some(touched) => line(connections(touched, !plan.restart.is_empty())),
        None => line("connections: none are known, nothing running was asked".to_owned()),
    }
    plan.notes.iter().for_each(|note| line(format!("note: {note}")));
    line(format!("compared with {}", plan.from));
    text
}

fn slots(plan: &Plan) -> String {
    let mut table = Table::new(&["TABLE OF SERVICE", ">SLOTS", ">MOVE", ">SHARE"]);
    for slots in &plan.slots {
        let share = format!("{:.2}%", slots.share * 100.0);
        table.row([slots.service.clone(), slots.slots.to_string(), slots.moved.to_string(), share]);
    }
    table.render().trim_end().to_owned()
}

fn connections(touched: &Touched, restarts: bool) -> String {
    let Touched { total, touched, backends } = touched;
    if restarts {
        return format!("connections: the restart ends all {total}");
    }
    let mut text = format!("connections: {touched} of {total} end");
    for backend in backends {
        let (service, name, count) = (&backend.service, &backend.backend, backend.connections);
        text.push_str(&format!("\n  {count} of {service}/{name}: {}", backend.why.text()));
    }
    text
}
