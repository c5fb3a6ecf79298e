//! What happens during a replay: JSON lines in order of time.

use std::path::Path;

use serde::Deserialize;

use super::ReplayError;
use crate::control::config::{Config, State, listed};

/// One line.
pub(super) struct Event {
    /// Where it stands, from 1.
    pub line: usize,
    /// Nanoseconds after the first packet.
    pub at_ns: u64,
    pub action: Action,
}

pub(super) enum Action {
    /// An administrator's word on a backend.
    State { service: String, backend: String, state: State },
    /// Another configuration.
    Config(Box<Config>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    at: f64,
    backend: Option<String>,
    state: Option<String>,
    config: Option<String>,
}

/// Reads and checks all events before anything is replayed. A configuration's path is relative to the events' file.
pub(super) fn load(path: &Path, config: &Config) -> Result<Vec<Event>, ReplayError> {
    let text = std::fs::read_to_string(path).map_err(|source| ReplayError::Read {
        path: path.to_owned(),
        source,
        wanted: "a file of JSON lines",
    })?;
    let mut events: Vec<Event> = Vec::new();
    let mut known: Vec<(String, String)> = names(config);
    for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let failed = |message: String| ReplayError::Event { path: path.to_owned(), line: index + 1, message };
        if !line.trim_start().starts_with('{') {
            return Err(failed(format!("not a JSON object: one a line is meant, such as {EXAMPLE}")));
        }
        // The line that serde_json counts is always the first.
        let wrong = |e: serde_json::Error| e.to_string().replace(" at line 1 column", ", at column");
        let parsed: Line =
            serde_json::from_str(line).map_err(|e| failed(format!("{}; write it like {EXAMPLE}", wrong(e))))?;
        if !(parsed.at >= 0.0 && parsed.at <= 1e9) {
            return Err(failed(format!("at {}: seconds from the first packet are meant, 0 to 1e9", parsed.at)));
        }
        let at_ns = (parsed.at * 1e9).round() as u64;
        if events.last().is_some_and(|e| e.at_ns > at_ns) {
            return Err(failed(format!("at {}: events go in order of time", parsed.at)));
        }
        let action = action(parsed, path, config, &mut known).map_err(|e| match e {
            Refused::Line(message) => failed(message),
            Refused::Whole(error) => error,
        })?;
        events.push(Event { line: index + 1, at_ns, action });
    }
    Ok(events)
}

const EXAMPLE: &str = r#"{"at": 1.5, "backend": "web/b1", "state": "down"}"#;

enum Refused {
    Line(String),
    Whole(ReplayError),
}

fn action(line: Line, path: &Path, first: &Config, known: &mut Vec<(String, String)>) -> Result<Action, Refused> {
    match line {
        Line { backend: Some(name), state: Some(state), config: None, .. } => {
            let state = match state.as_str() {
                "up" => State::Up,
                "down" => State::Down,
                "drain" => State::Drain,
                other => return Err(Refused::Line(format!("state \"{other}\": up, down or drain is meant"))),
            };
            let (service, backend) = name
                .split_once('/')
                .ok_or_else(|| Refused::Line(format!("backend \"{name}\": SERVICE/BACKEND is meant")))?;
            if !known.iter().any(|(s, b)| s == service && b == backend) {
                let all = known.iter().map(|(s, b)| format!("{s}/{b}")).collect::<Vec<_>>().join(", ");
                return Err(Refused::Line(format!("backend \"{name}\" is not in the configuration; there are: {all}")));
            }
            Ok(Action::State { service: service.to_owned(), backend: backend.to_owned(), state })
        }
        Line { backend: None, state: None, config: Some(file), .. } => {
            let file = path.parent().unwrap_or(Path::new(".")).join(file);
            let config = Config::load(&file).map_err(|e| Refused::Whole(e.into()))?;
            // What a reload may not change stays as it was at first, so that is what counts.
            let restart = first.needs_restart(&config);
            if !restart.is_empty() {
                let (file, keys) = (file.display(), listed(&restart));
                return Err(Refused::Line(format!(
                    "{file} changes what needs a restart: {keys}; leave that as it was"
                )));
            }
            *known = names(&config);
            Ok(Action::Config(Box::new(config)))
        }
        _ => Err(Refused::Line("either \"backend\" and \"state\", or \"config\", is meant".to_owned())),
    }
}

fn names(config: &Config) -> Vec<(String, String)> {
    let all = config.services.iter().flat_map(|s| s.backends.iter().map(|b| (s.name.clone(), b.name.clone())));
    all.collect()
}
