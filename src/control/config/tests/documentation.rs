//! The documentation against the key table, in both directions.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use toml::de::DeValue;

use super::super::keys::{KeyDoc, Kind, TABLES, TableDoc};
use super::{PORT, good, parse};

fn read(path: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What docs/configuration.md says of a key.
fn markdown_row(key: &KeyDoc) -> String {
    let (kind, range, mark) = (key.kind.type_text(), key.kind.range_text(), key.when.mark());
    let default = if is_toml(key.default) { format!("`{}`", key.default) } else { key.default.to_owned() };
    format!("| `{}` | {kind} | {range} | {default} | {mark} | {} |", key.name, key.meaning)
}

/// What config/reference.toml says above a key.
fn reference_comment(key: &KeyDoc) -> String {
    let (kind, range, mark) = (key.kind.type_text(), key.kind.range_text(), key.when.mark());
    format!("# {}\n# {kind}: {}; default: {}; {mark}\n", key.meaning, range.replace('`', ""), key.default)
}

fn is_toml(text: &str) -> bool {
    DeValue::parse(text).is_ok()
}

fn is_table(key: &KeyDoc) -> bool {
    matches!(key.kind, Kind::Table(_) | Kind::Tables(_))
}

/// The part of `text` under the line `heading`, up to the next line that begins with `end`.
fn section<'t>(text: &'t str, heading: &str, end: &str) -> &'t str {
    let (_, rest) = text.split_once(&format!("\n{heading}\n")).unwrap_or_else(|| panic!("no line {heading}"));
    rest.split_once(&format!("\n{end}")).map_or(rest, |(section, _)| section)
}

fn markdown_heading(table: &TableDoc) -> String {
    if table.heading.is_empty() { "## The file".into() } else { format!("## `{}`", table.heading) }
}

#[test]
fn the_manual_has_every_key_and_no_other() {
    let manual = read("docs/configuration.md");
    for table in TABLES {
        let section = section(&manual, &markdown_heading(table), "## ");
        let rows: Vec<&str> = section.lines().filter(|line| line.starts_with("| `")).collect();
        let expected: Vec<String> = table.keys.iter().map(markdown_row).collect();
        assert_eq!(rows, expected, "under {}:\n{}", table.heading, expected.join("\n"));
    }
}

/// The key of `key = value` or `#key = value`; prose has a space after its `#`.
fn reference_key(line: &str) -> Option<&str> {
    let line = line.strip_prefix('#').unwrap_or(line);
    let (key, _) = line.split_once(" = ")?;
    (!key.is_empty() && !key.contains(' ') && !key.starts_with('#')).then_some(key)
}

#[test]
fn the_reference_file_has_every_key_and_no_other() {
    let reference = read("config/reference.toml");
    for table in TABLES.iter().filter(|table| !table.heading.is_empty()) {
        let section = section(&reference, table.heading, "[");
        let known: BTreeSet<&str> = table.keys.iter().filter(|key| !is_table(key)).map(|key| key.name).collect();
        let there: BTreeSet<&str> = section.lines().filter_map(reference_key).collect();
        assert_eq!(there, known, "under {}", table.heading);
        for key in table.keys.iter().filter(|key| !is_table(key)) {
            let comment = reference_comment(key);
            let at = section.find(&comment).unwrap_or_else(|| panic!("{} lacks\n{comment}{}", table.heading, key.name));
            let after = section.get(at + comment.len()..).and_then(|rest| rest.lines().next()).unwrap_or("");
            assert_eq!(reference_key(after), Some(key.name), "under {}", table.heading);
        }
    }
}

#[test]
fn each_line_that_the_reference_file_comments_out_works() {
    let reference = read("config/reference.toml");
    let mut tried = 0;
    for (index, line) in reference.lines().enumerate() {
        if !line.starts_with('#') || reference_key(line).is_none() {
            continue;
        }
        let edited: Vec<&str> = reference
            .lines()
            .enumerate()
            .map(|(at, line)| if at == index { line.strip_prefix('#').unwrap_or(line) } else { line })
            .collect();
        if let Err(errors) = parse(&edited.join("\n")) {
            panic!("{errors}");
        }
        tried += 1;
    }
    assert!(tried >= 5, "{tried}");
}

#[test]
fn defaults_are_what_the_key_table_says() {
    let mut with_defaults = String::new();
    let mut with_tables = String::new();
    for table in TABLES.iter().filter(|table| !table.heading.is_empty()) {
        let required = match table.heading {
            "[[port]]" => PORT.trim_start().trim_start_matches("[[port]]\n").replace("addresses", "#addresses"),
            "[[service]]" => {
                "name = 'web'\nvip = '192.0.2.10'\nport = 80\nmode = 'gre'\ntunnel_source = '10.0.0.9'".into()
            }
            "[[service.backend]]" => "name = 'b1'\naddress = '10.1.0.11'".into(),
            _ => String::new(),
        };
        let required = required.replace("gateway", "#gateway");
        let head = format!("{}\n{required}\n", table.heading);
        with_tables.push_str(&head);
        with_defaults.push_str(&head);
        for key in table.keys.iter().filter(|key| is_toml(key.default) && !matches!(key.name, "path" | "status")) {
            with_defaults.push_str(&format!("{} = {}\n", key.name, key.default));
        }
    }
    // Without addresses nothing has a next hop, so both get the same ones on a second port.
    let second = PORT.replace("wan", "second").replace("net_null0", "net_null1");
    let (explicit, implicit) = (good(&format!("{second}{with_defaults}")), good(&format!("{second}{with_tables}")));
    assert!(with_defaults.len() > with_tables.len() + 300);
    assert_eq!(explicit.dataplane, implicit.dataplane);
    assert_eq!(explicit.control, implicit.control);
    assert_eq!(explicit.ports, implicit.ports);
    assert_eq!(explicit.services, implicit.services);
    assert_eq!(good(PORT).dataplane, implicit.dataplane);
    assert_eq!(good(PORT).control, implicit.control);

    let http = |keys: &str| {
        good(&super::service("gre", &format!("[service.health]\ntype = 'http'\n{keys}"), "address = '10.1.0.1'"))
    };
    let health = TABLES.iter().find(|table| table.heading == "[service.health]").unwrap();
    let defaults = ["path", "status"].map(|name| format!("{name} = {}", health.key(name).unwrap().default));
    assert_eq!(http(&defaults.join("\n")).services, http("").services);
}

#[test]
fn key_names_are_unique_in_their_table() {
    for table in TABLES {
        let names: BTreeSet<&str> = table.keys.iter().map(|key| key.name).collect();
        assert_eq!(names.len(), table.keys.len(), "{}", table.heading);
        assert!(table.keys.iter().all(|key| !key.meaning.ends_with('.') && !key.meaning.contains('|')));
    }
}
