//! The documentation against the key table, in both directions.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use toml::de::DeValue;

use super::super::keys::{KeyDoc, Kind, TABLES, TableDoc};
use super::super::keys_health::{HEALTH, types_of};
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
    // A file of authorities has to be there.
    let directory = tempfile::tempdir().unwrap();
    let authorities = directory.path().join("ca.pem");
    fs::write(&authorities, rcgen::generate_simple_self_signed(["a.example".to_owned()]).unwrap().cert.pem()).unwrap();
    let token = directory.path().join("token");
    fs::write(&token, "0123456789abcdef").unwrap();
    let identity = directory.path().join("api.pem");
    let own = rcgen::generate_simple_self_signed(["a.example".to_owned()]).unwrap();
    fs::write(&identity, own.cert.pem() + &own.signing_key.serialize_pem()).unwrap();
    let files = [
        ("/etc/ssl/certs/own-ca.pem", &authorities),
        ("/etc/tidegate/token", &token),
        ("/etc/tidegate/api.pem", &identity),
    ];
    let reference = files.iter().fold(reference, |text, (from, to)| text.replace(from, &to.display().to_string()));
    let mut tried = 0;
    for (index, line) in reference.lines().enumerate() {
        let Some(key) = reference_key(line).filter(|_| line.starts_with('#')) else { continue };
        let mut edited: Vec<&str> = reference
            .lines()
            .enumerate()
            .map(|(at, line)| if at == index { line.strip_prefix('#').unwrap_or(line) } else { line })
            .collect();
        let types = HEALTH.key(key).map(types_of).unwrap_or_default();
        let other_type = types.first().map(|kind| format!("type = \"{kind}\"\nquery = \"a.example\""));
        if let Some(other_type) = other_type.as_deref().filter(|_| !types.contains(&"https")) {
            // The key of another type of health check, which has no use for the keys of this one.
            for line in &mut edited {
                match reference_key(line) {
                    Some("type") => *line = other_type,
                    Some("path" | "status" | "verify") => *line = "",
                    _ => {}
                }
            }
        }
        let edited = edited.join("\n");
        let edited =
            if types == ["dns"] && key != "query" { edited } else { edited.replace("\nquery = \"a.example\"\n", "\n") };
        if let Err(errors) = parse(&edited) {
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
            "[[service]]" => "name = 'web'\nvip = '192.0.2.10'\nport = 80\nmode = 'nat'".into(),
            "[[service.backend]]" => "name = 'b1'\naddress = '10.1.0.11'".into(),
            _ => String::new(),
        };
        let required = required.replace("gateway", "#gateway");
        let head = format!("{}\n{required}\n", table.heading);
        with_tables.push_str(&head);
        with_defaults.push_str(&head);
        for key in table.keys.iter().filter(|key| is_toml(key.default) && types_of(key).is_empty()) {
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

    for kind in ["http", "https", "udp", "dns"] {
        let with = |keys: &str| {
            let required = if kind == "dns" { "query = 'a.example'" } else { "" };
            let health = format!("[service.health]\ntype = '{kind}'\n{required}\n{keys}");
            good(&super::service("gre", &health, "address = '10.1.0.1'"))
        };
        let its_own = HEALTH.keys.iter().filter(|key| types_of(key).contains(&kind) && is_toml(key.default));
        let defaults: Vec<String> = its_own.map(|key| format!("{} = {}", key.name, key.default)).collect();
        assert!(!defaults.is_empty(), "{kind}");
        assert_eq!(with(&defaults.join("\n")).services, with("").services);
    }
}

#[test]
fn key_names_are_unique_in_their_table() {
    for table in TABLES {
        let names: BTreeSet<&str> = table.keys.iter().map(|key| key.name).collect();
        assert_eq!(names.len(), table.keys.len(), "{}", table.heading);
        assert!(table.keys.iter().all(|key| !key.meaning.ends_with('.') && !key.meaning.contains('|')));
    }
}
