//! `tidegate explain`: what becomes of a packet and why, for people and as JSON.

use super::args::Explain;
use super::client::Client;
use super::failure::Failure;
use super::output;
use super::replay;
use crate::control::explain::{self, Asked, Change, Explanation, Left};

/// Has it explained, and prints it.
///
/// # Errors
/// Why it could not.
pub fn explain(args: &Explain, _client: &Client) -> Result<(), Failure> {
    let asked = match &args.packet {
        Some(packet) => Asked::Packet(packet.clone(), args.port.clone()),
        None => Asked::Captures(args.pcap.clone(), args.frame.map_or(0, |frame| frame as usize)),
    };
    let explained = match &args.config {
        Some(config) => explain::of_config(config, &asked, args.events.as_deref()).map_err(replay::failure)?,
        None => return Err(Failure::usage("error: --config FILE is needed")),
    };
    let text = if args.json {
        serde_json::to_string_pretty(&explained).map_err(|error| Failure::running(format!("error: {error}")))? + "\n"
    } else if explained.is_empty() {
        "There is no frame in the capture.\n".to_owned()
    } else {
        explained.iter().map(|explanation| render(explanation, args.packet.is_none())).collect::<Vec<_>>().join("\n")
    };
    output::print(&text)
}

fn render(explanation: &Explanation, is_numbered: bool) -> String {
    let Explanation { frame, port, packet, steps, text, drop, left, .. } = explanation;
    let number = if is_numbered { format!("frame {frame}, ") } else { String::new() };
    let mut lines = vec![format!("{number}port {port}: {packet}")];
    let mut line = |what: &str, text: &str| lines.push(format!("  {what:<12} {text}"));
    steps.iter().for_each(|step| line(&step.what, &step.text));
    line("verdict", text);
    if let Some(drop) = drop {
        line("meaning", &drop.meaning);
        line("cause", &drop.cause);
        line("to do", &drop.cure);
    }
    for Left { port, packet, changes, .. } in left {
        line("sent", &format!("by port {port}: {packet}"));
        let width = changes.iter().map(|change| change.field.len()).max().unwrap_or(0);
        changes.iter().for_each(|change| line("", &changed(change, width)));
    }
    lines.join("\n") + "\n"
}

fn changed(Change { field, before, after }: &Change, width: usize) -> String {
    let text = match (before, after) {
        (Some(before), Some(after)) => format!("{before} -> {after}"),
        (None, Some(after)) => format!("new: {after}"),
        (Some(before), None) => format!("gone: {before}"),
        (None, None) => String::new(),
    };
    format!("{field:<width$}  {text}")
}
