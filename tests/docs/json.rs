//! docs/json.md is made of the comments on the structs that are serialised, and has the fields that answers have.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::Path;

use serde::Serialize;
use tidegate::control::doctor::{Finding, Grade};
use tidegate::control::events::{Event, EventKind};
use tidegate::control::{capture, explain, history, host, stats, status};

use crate::holds;

/// Files with structs that are answers, in the order in which a name is looked for.
const FILES: [&str; 13] = [
    "status",
    "stats",
    "quantiles",
    "gauge",
    "host",
    "memory",
    "explain/mod",
    "explain/words",
    "explain/fields",
    "doctor/mod",
    "events",
    "history",
    "capture/request",
];

/// What is asked for, and the file and struct of the answer.
const ANSWERS: [(&str, &str, &str); 18] = [
    ("tidegate show status --json", "status", "Status"),
    ("tidegate show services --json", "status", "Services"),
    ("tidegate show backends --json", "status", "Backends"),
    ("tidegate show connections --json", "status", "Connections"),
    ("tidegate show ports --json", "status", "Ports"),
    ("tidegate show workers --json", "status", "Workers"),
    ("tidegate show drops --json", "status", "Drops"),
    ("tidegate show latency --json", "status", "Latency"),
    ("tidegate show neighbors --json", "status", "Neighbors"),
    ("tidegate show config --json", "status", "ConfigText"),
    ("the file of `--stats`, and `/v1/stats`", "stats", "Stats"),
    ("`POST /v1/reload`", "status", "ReloadReport"),
    ("`POST /v1/backends`", "status", "BackendReport"),
    ("Each of the list of `tidegate explain --json`, and of `POST /v1/explain`", "explain/mod", "Explanation"),
    ("Each of the list of `tidegate doctor --json`", "doctor/mod", "Finding"),
    ("Each of `GET /v1/events`", "events", "Event"),
    ("`GET /v1/history`", "history", "History"),
    ("`GET /v1/capture`", "capture/request", "CaptureStatus"),
];

struct Field {
    name: String,
    kind: String,
    meaning: String,
    /// Its own fields stand in its place.
    is_flat: bool,
    may_be_left_out: bool,
}

type Structs = BTreeMap<(String, String), Vec<Field>>;

/// The public structs of the files, with their fields in order.
fn structs() -> Structs {
    let mut structs = Structs::new();
    for file in FILES {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/control").join(file).with_extension("rs");
        let text = std::fs::read_to_string(path).unwrap();
        let (mut name, mut meaning, mut attributes) = (None, String::new(), String::new());
        for line in text.lines() {
            if let Some(begun) = line.strip_prefix("pub struct ").and_then(|rest| rest.strip_suffix(" {")) {
                name = Some(begun.to_owned());
                structs.insert((file.to_owned(), begun.to_owned()), Vec::new());
                (meaning, attributes) = (String::new(), String::new());
            } else if line == "}" {
                name = None;
            } else if let Some(name) = &name {
                let line = line.trim();
                if let Some(more) = line.strip_prefix("/// ") {
                    write!(meaning, "{}{more}", if meaning.is_empty() { "" } else { " " }).unwrap();
                } else if line.starts_with("#[serde") {
                    attributes.push_str(line);
                } else if let Some((field, kind)) =
                    line.strip_prefix("pub ").and_then(|rest| rest.strip_suffix(',')?.split_once(": "))
                {
                    structs.get_mut(&(file.to_owned(), name.clone())).unwrap().push(Field {
                        name: field.to_owned(),
                        kind: kind.to_owned(),
                        meaning: std::mem::take(&mut meaning),
                        is_flat: attributes.contains("flatten"),
                        may_be_left_out: attributes.contains("skip_serializing_if"),
                    });
                    attributes.clear();
                }
            }
        }
    }
    structs
}

/// Where the struct of this name is, seen from `file`.
fn place(structs: &Structs, file: &str, name: &str) -> Option<(String, String)> {
    let places = std::iter::once(file).chain(FILES).map(|file| (file.to_owned(), name.to_owned()));
    places.into_iter().find(|place| structs.contains_key(place))
}

/// Without structs that are flattened: their fields in their places.
fn fields<'a>(structs: &'a Structs, place_of: &(String, String)) -> Vec<&'a Field> {
    let mut all = Vec::new();
    for field in &structs[place_of] {
        match place(structs, &place_of.0, &field.kind) {
            Some(inner) if field.is_flat => all.extend(fields(structs, &inner)),
            _ => all.push(field),
        }
    }
    all
}

/// The type in words; names of structs are left to the reader of `inner`.
fn words(kind: &str, inner: &mut Option<String>) -> String {
    if let Some(kind) = kind.strip_prefix("Option<").and_then(|rest| rest.strip_suffix('>')) {
        return format!("{} or null", words(kind, inner));
    }
    if let Some(kind) = kind.strip_prefix("Vec<").and_then(|rest| rest.strip_suffix('>')) {
        return format!("list of {}", words(kind, inner));
    }
    if let Some(kind) = kind.strip_prefix("BTreeMap<String, ").and_then(|rest| rest.strip_suffix('>')) {
        return format!("object of {}", words(kind, inner));
    }
    match kind {
        // Enums are sent as words.
        "String" | "EventKind" | "Grade" => "string".to_owned(),
        "bool" => "boolean".to_owned(),
        "f32" | "f64" => "number".to_owned(),
        "u8" | "u16" | "u32" | "u64" | "usize" => "integer".to_owned(),
        "serde_json::Value" | "Map<String, Value>" => "object".to_owned(),
        _ => {
            *inner = Some(kind.to_owned());
            "object".to_owned()
        }
    }
}

/// Rows for `at` and what is in it, each field by its path.
fn rows(text: &mut String, structs: &Structs, at: &(String, String), path: &str) {
    for field in fields(structs, at) {
        let mut inner = None;
        let kind = words(&field.kind, &mut inner);
        let end = if kind.contains("list of") { "[]" } else { "" };
        let key = if kind.contains("object of") { ".NAME" } else { "" };
        let left_out = if field.may_be_left_out { "; may be left out" } else { "" };
        // A comment may name a Rust item in brackets.
        let meaning = field.meaning.replace("[`", "`").replace("`]", "`");
        writeln!(text, "| `{path}{}{end}{key}` | {kind}{left_out} | {meaning} |", field.name).unwrap();
        if let Some(inner) = inner {
            let inner = place(structs, &at.0, &inner).unwrap_or_else(|| panic!("no struct {inner} in {FILES:?}"));
            rows(text, structs, &inner, &format!("{path}{}{end}{key}.", field.name));
        }
    }
}

#[test]
fn every_field_of_every_answer_has_its_line() {
    let structs = structs();
    let mut text = "# JSON\n\n\
        What programs get: `--json` of the commands, the answers of the [API](api.md), and the file of `--stats`. Names are stable: fields are\n\
        added, and none is renamed or given another meaning within a version of the API (`/v1`). Counts are since the start of the process. Of\n\
        `show services` and `show backends` with names, `--json` has those alone. A plan's fields are in [reload.md](reload.md).\n"
        .to_owned();
    for (question, file, name) in ANSWERS {
        let title = if question.contains('`') { question.to_owned() } else { format!("`{question}`") };
        writeln!(text, "\n## {title}\n\n| field | type | meaning |\n|---|---|---|").unwrap();
        rows(&mut text, &structs, &(file.to_owned(), name.to_owned()), "");
    }
    holds("docs/json.md", &text);
}

/// Fields of a value as it is sent.
fn sent<T: Serialize + Default>() -> BTreeSet<String> {
    sent_of(&T::default())
}

fn sent_of(value: &impl Serialize) -> BTreeSet<String> {
    let value = serde_json::to_value(value).unwrap();
    value.as_object().unwrap().keys().cloned().collect()
}

#[test]
fn the_fields_are_those_that_are_sent() {
    let structs = structs();
    let mut seen = BTreeSet::new();
    let mut check = |file: &str, name: &str, sent: BTreeSet<String>| {
        let at = (file.to_owned(), name.to_owned());
        let known: BTreeSet<String> = fields(&structs, &at).iter().map(|field| field.name.clone()).collect();
        let must = fields(&structs, &at).into_iter().filter(|field| !field.may_be_left_out);
        assert!(!known.is_empty() && sent.is_subset(&known), "{name}: {sent:?} are sent, {known:?} are documented");
        assert!(must.into_iter().all(|field| sent.contains(&field.name)), "{name}: only {sent:?} are sent");
        seen.insert(at);
    };
    macro_rules! check {
        ($($file:ident: $($name:ident)*;)*) => {
            $($(check(stringify!($file), stringify!($name), sent::<$file::$name>());)*)*
        };
    }
    check! {
        status: Status Unconfirmed Services ServiceStatus Backends BackendStatus Connections ConnectionStatus Ports PortStatus
            PortHost Workers WorkerStatus Drops DropStatus Latency WorkerLatency Neighbors NeighborStatus ConfigText
            BackendReport ReloadReport;
        stats: Stats Connections Worker Service BackendStats;
        host: Host HostClass;
    }
    check("quantiles", "Quantiles", sent::<stats::Quantiles>());
    check("quantiles", "LatencyNs", sent::<stats::LatencyNs>());
    check("quantiles", "Classes", sent::<stats::Classes>());
    check("gauge", "Rates", sent::<stats::Rates>());
    check("memory", "TableMemory", sent::<status::TableMemory>());
    check("explain/mod", "Explanation", sent::<explain::Explanation>());
    check("explain/mod", "Dropped", sent::<explain::Dropped>());
    check("explain/mod", "Left", sent::<explain::Left>());
    check("explain/words", "Line", sent::<explain::Line>());
    check("explain/fields", "Change", sent::<explain::Change>());
    check("history", "History", sent::<history::History>());
    check("capture/request", "CaptureStatus", sent::<capture::CaptureStatus>());
    let event =
        Event { id: 1, time_s: 1.0, kind: EventKind::Health, message: String::new(), fields: serde_json::Map::new() };
    check("events", "Event", sent_of(&event));
    let nothing = String::new;
    let finding = Finding { grade: Grade::Fault, what: nothing(), why: nothing(), mend: nothing() };
    check("doctor/mod", "Finding", sent_of(&finding));
    // Every struct that the page has.
    for (_, file, name) in ANSWERS {
        let mut left = vec![(file.to_owned(), name.to_owned())];
        while let Some(at) = left.pop() {
            assert!(seen.contains(&at), "{at:?} is on the page and not compared");
            for field in fields(&structs, &at) {
                let mut inner = None;
                words(&field.kind, &mut inner);
                left.extend(inner.and_then(|inner| place(&structs, &at.0, &inner)));
            }
        }
    }
}
