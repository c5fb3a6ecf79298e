//! `docs/rules.md` names a test for every rule, and every name in it is that of a test.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

const RULES: std::ops::RangeInclusive<u8> = 1..=34;

/// Rules that a part of the packet path is still to come for.
const NOT_YET: &[u8] = &[];

fn top() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Number and last column of each row of the tables.
fn rows(text: &str) -> Vec<(u8, String)> {
    let cells = |line: &str| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>();
    let row = |line: &str| {
        let cells = cells(line);
        Some((cells.first()?.parse().ok()?, cells.last()?.clone()))
    };
    text.lines().filter(|line| line.starts_with('|')).filter_map(row).collect()
}

/// What stands between backquotes.
fn names(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

/// The names of all functions in Rust files below a directory.
fn functions(directory: &Path, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            functions(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            let after = text.split("fn ").skip(1);
            found.extend(after.filter_map(|rest| rest.split(['(', '<']).next()).map(str::to_owned));
        }
    }
}

fn is_case(name: &str) -> bool {
    top().join("tests/golden").join(name).join("config.toml").exists()
}

#[test]
fn every_rule_is_held_by_tests_that_exist() {
    let text = std::fs::read_to_string(top().join("docs/rules.md")).unwrap();
    let mut known = BTreeSet::new();
    ["src", "tests"].iter().for_each(|directory| functions(&top().join(directory), &mut known));
    let mut faults = Vec::new();
    let mut held: BTreeMap<u8, usize> = BTreeMap::new();
    for (rule, tests) in rows(&text) {
        for name in names(&tests) {
            if !is_case(name) && !known.contains(name) {
                faults.push(format!("rule {rule}: there is no case and no test {name}"));
            }
            *held.entry(rule).or_default() += 1;
        }
    }
    for rule in RULES {
        match (held.contains_key(&rule), NOT_YET.contains(&rule)) {
            (false, false) => faults.push(format!("rule {rule} is held by nothing")),
            (true, true) => faults.push(format!("rule {rule} is held now: take it out of NOT_YET")),
            _ => {}
        }
    }
    faults.extend(held.keys().filter(|rule| !RULES.contains(rule)).map(|rule| format!("there is no rule {rule}")));
    assert!(faults.is_empty(), "docs/rules.md:\n{}", faults.join("\n"));
}

#[test]
fn a_name_that_is_wrong_would_be_seen() {
    let table = "| rule | held by |\n|---|---|\n| 1 | `a-case` `a_test` |\n";
    assert_eq!(rows(table), [(1, "`a-case` `a_test`".to_owned())]);
    assert_eq!(names("`a-case` `a_test`"), ["a-case", "a_test"]);
    assert!(is_case("nat-ttl") && !is_case("nat-tttl"));
    let mut known = BTreeSet::new();
    functions(&top().join("tests"), &mut known);
    assert!(known.contains("a_name_that_is_wrong_would_be_seen") && !known.contains(concat!("no_", "test")));
}
