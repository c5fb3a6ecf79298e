//! `tidegate explain`: what becomes of a packet and why, for people and as JSON.

use super::args::Explain;
use super::client::Client;
use super::failure::Failure;
use super::output;
use super::replay;
use crate::control::explain::{
    self, Asked, Change, Described, DescribedError, ExplainRequest, Explanation, Left, REQUEST_FRAMES_MAX,
};

/// Has it explained, and prints it.
///
/// # Errors
/// Why it could not.
pub fn explain(args: &Explain, client: &Client) -> Result<(), Failure> {
    let explained = match &args.config {
        Some(config) => {
            let asked = match &args.packet {
                Some(packet) => Asked::Packet(packet.parse().map_err(wrong)?, args.port.clone()),
                None => Asked::Captures(args.pcap.clone(), args.frame.map_or(0, |frame| frame as usize)),
            };
            explain::of_config(config, &asked, args.events.as_deref()).map_err(replay::failure)?
        }
        None => live(args, client)?,
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

fn wrong(error: DescribedError) -> Failure {
    Failure::usage(format!("error: --packet {error}"))
}

/// Has the running tidegate explain it, each frame as if it came now.
fn live(args: &Explain, client: &Client) -> Result<Vec<Explanation>, Failure> {
    let mut request = ExplainRequest { packet: args.packet.clone(), port: args.port.clone(), ..Default::default() };
    if let Some(packet) = &args.packet {
        packet.parse::<Described>().map_err(wrong)?;
        return client.post("/v1/explain", &request);
    }
    let mut explained: Vec<Explanation> = Vec::new();
    for (port, path) in &args.pcap {
        let frames = explain::frames(port.as_deref(), path).map_err(replay::failure)?;
        let chosen = match args.frame.map(|number| number as usize) {
            Some(number) if number > frames.len() => {
                return Err(Failure::usage(format!("error: --frame {number}: there are {} frames", frames.len())));
            }
            Some(number) => number - 1..number,
            None => 0..frames.len(),
        };
        for (number, chunk) in
            (chosen.start..).step_by(REQUEST_FRAMES_MAX).zip(frames[chosen].chunks(REQUEST_FRAMES_MAX))
        {
            (request.port, request.frames) = (port.clone(), chunk.to_vec());
            let part: Vec<Explanation> = client.post("/v1/explain", &request)?;
            explained.extend(part.into_iter().map(|said| Explanation { frame: said.frame + number, ..said }));
        }
    }
    Ok(explained)
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
