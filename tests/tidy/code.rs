//! Rules about Rust code.

use super::{Source, assert_none, rust_sources};

const FILE_LINES_MAX: usize = 600;
/// Files beyond this are named, but do not fail.
const FILE_LINES_LONG: usize = 400;
const FUNCTION_LINES_MAX: usize = 70;

/// Directory or file, what it may not name of this crate, and whether it may use `dpdk_ffi`.
const LAYERS: &[(&str, &[&str], bool)] = &[
    ("src/wire/", &["lb", "dataplane", "control", "cli", "run"], false),
    ("src/lb/", &["dataplane", "control", "cli", "run"], false),
    ("src/dataplane/", &["control", "cli", "run"], true),
    ("src/control/", &["dataplane", "cli", "run"], false),
    ("src/cli/", &["wire", "lb", "dataplane"], false),
    ("src/run.rs", &["cli"], true),
    ("pktgen/", &[], true),
];

/// Where `unsafe` may be used.
const UNSAFE: &[&str] = &["dpdk-ffi/", "src/lb/arch/", "src/lb/memory.rs"];

#[test]
fn layers_point_one_way() {
    let mut faults = Vec::new();
    for source in rust_sources() {
        let Some((_, forbidden, ffi)) = LAYERS.iter().find(|(place, ..)| source.path.starts_with(place)) else {
            continue;
        };
        for (number, line) in code_lines(&source) {
            for module in forbidden.iter().filter(|module| names_module(&line, module)) {
                faults.push(format!("{}:{number} uses {module}", source.path));
            }
            if !ffi && has_word(&line, "dpdk_ffi") {
                faults.push(format!("{}:{number} uses dpdk_ffi", source.path));
            }
        }
    }
    assert_none("wire < lb < dataplane, control < cli; only dataplane, run.rs and pktgen use dpdk_ffi", &faults);
}

/// Whether a line names `crate::module`, alone or in a list in braces.
fn names_module(line: &str, module: &str) -> bool {
    line.match_indices("crate::").any(|(at, found)| {
        let rest = &line[at + found.len()..];
        match rest.strip_prefix('{') {
            None => starts_with_word(rest, module),
            // What stands behind a nested brace belongs to another module.
            Some(list) => list.split(',').any(|part| starts_with_word(part.trim_start(), module)),
        }
    })
}

#[test]
fn files_have_a_purpose_and_a_size() {
    let mut faults = Vec::new();
    for source in rust_sources() {
        let lines = source.text.lines().count();
        if lines > FILE_LINES_MAX {
            faults.push(format!("{}: {lines} lines, at most {FILE_LINES_MAX}", source.path));
        } else if lines > FILE_LINES_LONG {
            println!("long: {} has {lines} lines", source.path);
        }
        if !source.text.starts_with("//! ") {
            faults.push(format!("{}: begins without a `//!` line that says what it is for", source.path));
        }
    }
    assert_none("one sentence at the top, and not too long", &faults);
}

#[test]
fn functions_fit_on_a_page() {
    let mut faults = Vec::new();
    for source in rust_sources() {
        for (name, line, len) in functions(&blank(&source.text)) {
            if len > FUNCTION_LINES_MAX {
                faults.push(format!("{}:{line} {name} has {len} lines", source.path));
            }
        }
    }
    assert_none(&format!("functions have at most {FUNCTION_LINES_MAX} lines"), &faults);
}

#[test]
fn the_packet_path_has_no_clock_and_does_not_print() {
    let words = ["Instant", "SystemTime", "println", "eprintln", "print", "eprint", "dbg", "tracing", "log"];
    let mut faults = Vec::new();
    for source in rust_sources().iter().filter(|s| s.path.starts_with("src/wire/") || s.path.starts_with("src/lb/")) {
        for (number, line) in code_lines(source) {
            // Macros and paths only: a variable may be called `log`.
            let used = |word: &&&str| line.contains(&format!("{word}!")) || line.contains(&format!("{word}::"));
            for word in words.iter().filter(used).filter(|word| has_word(&line, word)) {
                faults.push(format!("{}:{number} uses {word}", source.path));
            }
        }
    }
    assert_none("time is an argument in wire and lb, and nothing is printed", &faults);
}

#[test]
fn unsafe_stays_where_it_is_watched() {
    let mut faults = Vec::new();
    for source in rust_sources() {
        let is_watched = UNSAFE.iter().any(|place| source.path.starts_with(place));
        if is_watched {
            continue;
        }
        let lines = code_lines(&source).into_iter().filter(|(_, line)| has_word(line, "unsafe"));
        faults.extend(lines.map(|(number, _)| format!("{}:{number}", source.path)));
    }
    assert_none(
        "unsafe only in dpdk-ffi, in what one kind of processor does better and in the memory of the tables",
        &faults,
    );
}

/// Numbered lines without comments and without the content of strings.
fn code_lines(source: &Source) -> Vec<(usize, String)> {
    blank(&source.text).lines().enumerate().map(|(i, line)| (i + 1, line.to_owned())).collect()
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn starts_with_word(text: &str, word: &str) -> bool {
    text.strip_prefix(word).is_some_and(|rest| !rest.starts_with(is_word))
}

fn has_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| !line[..at].ends_with(is_word) && starts_with_word(&line[at..], word))
}

/// Replaces comments and the content of strings and characters by spaces; lines stay where they are.
fn blank(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let len = skipped(&chars[at..], at > 0 && is_word(chars[at - 1]));
        if len == 0 {
            out.push(chars[at]);
            at += 1;
        } else {
            out.extend(chars[at..at + len].iter().map(|&c| if c == '\n' { c } else { ' ' }));
            at += len;
        }
    }
    out
}

/// How many characters the comment, string or character at the start of `rest` has; 0 if there is none.
fn skipped(rest: &[char], in_word: bool) -> usize {
    match rest {
        ['/', '/', ..] => rest.iter().position(|&c| c == '\n').unwrap_or(rest.len()),
        ['/', '*', ..] => end_of(rest, &['*', '/'], 2),
        ['"', ..] => quoted(rest, '"'),
        ['b', '"', ..] if !in_word => 1 + quoted(&rest[1..], '"'),
        ['r', '"' | '#', ..] if !in_word => raw(rest, 1),
        ['b', 'r', '"' | '#', ..] if !in_word => raw(rest, 2),
        // A lifetime has no second quote behind one character.
        ['\'', '\\', ..] => quoted(rest, '\''),
        ['\'', _, '\'', ..] => 3,
        _ => 0,
    }
}

fn quoted(rest: &[char], quote: char) -> usize {
    let mut at = 1;
    while at < rest.len() && rest[at] != quote {
        at += if rest[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(rest.len())
}

fn raw(rest: &[char], prefix: usize) -> usize {
    let hashes = rest[prefix..].iter().take_while(|&&c| c == '#').count();
    if rest.get(prefix + hashes) != Some(&'"') {
        return 0;
    }
    let mut end = vec!['"'];
    end.extend(std::iter::repeat_n('#', hashes));
    end_of(rest, &end, prefix + hashes + 1)
}

fn end_of(rest: &[char], end: &[char], from: usize) -> usize {
    let found = (from..rest.len()).find(|&at| rest[at..].starts_with(end));
    found.map_or(rest.len(), |at| at + end.len())
}

/// Name, first line and number of lines of each function in blanked text.
fn functions(text: &str) -> Vec<(String, usize, usize)> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices("fn ") {
        if text[..at].ends_with(is_word) {
            continue;
        }
        let name: String = text[at + 3..].chars().take_while(|&c| is_word(c)).collect();
        // A declaration without a body ends in a semicolon outside all brackets; a type such as `fn ()` has no name.
        let Some(open) = body(&text[at..]).filter(|_| !name.is_empty()) else { continue };
        let mut depth = 0;
        let end = text[at + open..].char_indices().find(|&(_, c)| {
            depth += i32::from(c == '{') - i32::from(c == '}');
            depth == 0
        });
        let end = end.map_or(text.len(), |(offset, _)| at + open + offset);
        let line = text[..at].matches('\n').count() + 1;
        found.push((name, line, text[at..end].matches('\n').count() + 1));
    }
    found
}

/// Where the body of the function at the start of `text` opens.
fn body(text: &str) -> Option<usize> {
    let mut depth = 0;
    for (at, c) in text.char_indices() {
        match c {
            '(' | '[' => depth += 1,
            ')' | ']' => depth -= 1,
            '{' if depth == 0 => return Some(at),
            ';' if depth == 0 => return None,
            _ => {}
        }
    }
    None
}

#[test]
fn the_reader_of_code_is_right() {
    let text =
        "fn a() { /* } */ let c = '{'; }\nfn b<'a>(x: [u8; 3]) -> &'a str\n{\n \"}\\\"}\"; r#\"}\"#;\n}\nfn c();\n";
    assert_eq!(functions(&blank(text)), [("a".to_owned(), 1, 1), ("b".to_owned(), 2, 4)]);
    assert_eq!(blank("a // unsafe\nb \"unsafe\""), "a          \nb         ");
    assert!(names_module("use crate::lb::ids;", "lb") && names_module("use crate::{wire, lb::ids};", "lb"));
    assert!(!names_module("use crate::lb::control;", "control") && !names_module("use crate::label;", "lb"));
    assert!(has_word("x unsafe {", "unsafe") && !has_word("not_unsafe unsafe_code", "unsafe"));
}
