//! Rules about everything that is not code: dependencies, words, scripts, the README.

use std::collections::HashSet;
use std::process::{Command, Stdio};

use super::{Source, assert_none, sources, top};

#[test]
fn each_dependency_has_its_reason() {
    let mut faults = Vec::new();
    for source in sources().iter().filter(|s| s.path.ends_with("Cargo.toml")) {
        let mut in_dependencies = false;
        let mut above = "";
        for line in source.text.lines() {
            if line.starts_with('[') {
                in_dependencies = line.trim_end_matches(']').ends_with("dependencies");
                // A section of one dependency: [dependencies.name].
                let reason_missing = line.contains("dependencies.") && !is_sentence(above);
                faults.extend(reason_missing.then(|| format!("{}: {line}", source.path)));
            } else if in_dependencies && line.contains('=') && !line.starts_with([' ', '#', ']']) && !is_sentence(above)
            {
                faults.push(format!("{}: {line}", source.path));
            }
            above = line;
        }
    }
    assert_none("each dependency has a sentence of reason above it", &faults);
}

fn is_sentence(line: &str) -> bool {
    line.starts_with("# ") && line.ends_with('.')
}

/// Words that say how something came about or where it was made, and not what it is. Split, so that they do not find
/// themselves; those that begin and end with a letter are looked for as whole words, whatever their case.
const DENIED: &[(&str, &str)] = &[
    ("ses", "sion"),
    ("ses", "sions"),
    ("cla", "ude"),
    ("anthro", "pic"),
    ("ai-gene", "rated"),
    ("language mo", "del"),
    ("hel", "per"),
    ("hel", "pers"),
    ("sub-ag", "ent"),
    ("/wo", "rk/"),
    ("/ro", "ot/"),
    ("static.cra", "tes.io"),
    ("index.cra", "tes.io"),
    ("deb.deb", "ian.org"),
    ("pypi", ".org"),
    ("files.python", "hosted.org"),
];

#[test]
fn nothing_tells_how_it_was_made() {
    let mut faults = Vec::new();
    for source in sources().iter().filter(|s| !s.path.ends_with("Cargo.lock")) {
        for (number, line) in source.text.lines().enumerate() {
            let lower = line.to_lowercase();
            let denied = DENIED.iter().map(|(a, b)| format!("{a}{b}")).filter(|word| has_phrase(&lower, word));
            let issue = names_issue(&lower).then(|| "the number of an issue".to_owned());
            faults.extend(denied.chain(issue).map(|word| format!("{}:{}: {word}", source.path, number + 1)));
        }
    }
    assert_none("words that have no place here", &faults);
}

/// Whether `phrase` is in `line`, not as a part of a longer word.
fn has_phrase(line: &str, phrase: &str) -> bool {
    let is_letter = |c: char| c.is_alphanumeric();
    line.match_indices(phrase).any(|(at, _)| {
        let before = !(phrase.starts_with(is_letter) && line[..at].ends_with(is_letter));
        let after = !(phrase.ends_with(is_letter) && line[at + phrase.len()..].starts_with(is_letter));
        before && after
    })
}

/// Whether a line refers to a numbered issue: `#12` as a word, or the word with a number behind it.
fn names_issue(line: &str) -> bool {
    let digits = |text: &str| text.chars().take_while(char::is_ascii_digit).count();
    let hash = line.match_indices('#').any(|(at, _)| {
        let (before, after) = (&line[..at], &line[at + 1..]);
        let len = digits(after);
        let ends = !after[len..].starts_with(|c: char| c.is_alphanumeric() || c == '"' || c == '#');
        (1..5).contains(&len) && ends && (before.is_empty() || before.ends_with([' ', '(']))
    });
    let word = concat!("iss", "ue ");
    hash || line.match_indices(word).any(|(at, _)| digits(line[at + word.len()..].trim_start_matches('#')) > 0)
}

#[test]
fn scripts_can_be_parsed() {
    let mut faults = Vec::new();
    let mut count = 0;
    for source in sources() {
        let first = source.text.lines().next().unwrap_or_default();
        let is_bash = first.starts_with("#!") && first.ends_with("bash") || source.path.ends_with(".sh");
        if !is_bash {
            continue;
        }
        count += 1;
        let output =
            Command::new("bash").arg("-n").arg(top().join(&source.path)).stdin(Stdio::null()).output().unwrap();
        if !output.status.success() {
            faults.push(String::from_utf8_lossy(&output.stderr).into_owned());
        }
    }
    assert!(count > 5, "only {count} scripts found");
    assert_none("bash takes every script", &faults);
}

#[test]
fn the_readme_names_what_there_is() {
    let sources = sources();
    let Some(readme) = sources.iter().find(|s| s.path == "README.md") else { return };
    let mut faults = Vec::new();
    for word in readme.text.split(|c: char| c.is_whitespace() || "`()[]<>,;\"'".contains(c)) {
        let word = word.trim_end_matches(['.', ':']).split('#').next().unwrap_or_default();
        let is_path = word.starts_with("./") || ["docs/", "config/", "tests/"].iter().any(|dir| word.starts_with(dir));
        let path = word.trim_start_matches("./");
        // What the build makes is not there before it.
        if is_path && !path.starts_with("target/") && !path.contains('*') && !top().join(path).exists() {
            faults.push(format!("{word} does not exist"));
        }
    }
    faults.extend(unknown_commands(readme));
    assert_none("README.md", &faults);
}

/// Commands of tidegate's that its own help does not know.
fn unknown_commands(readme: &Source) -> Vec<String> {
    let help = Command::new(env!("CARGO_BIN_EXE_tidegate")).arg("--help").output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let known: HashSet<&str> = help.lines().filter_map(|l| l.strip_prefix("  ")?.split_whitespace().next()).collect();
    assert!(known.contains("run"), "{help}");
    let calls = code_of(&readme.text).into_iter().filter_map(|line| {
        let after = line
            .split_once("tidegate ")
            .filter(|(before, _)| before.is_empty() || before.ends_with(' ') || before.ends_with('/'))?;
        after.1.split_whitespace().next().map(str::to_owned)
    });
    let is_command = |word: &String| word.chars().all(|c| c.is_ascii_lowercase());
    calls
        .filter(is_command)
        .filter(|w| !known.contains(w.as_str()))
        .map(|w| format!("tidegate {w}: no such command"))
        .collect()
}

/// Lines of code blocks, and what stands between single backquotes.
fn code_of(text: &str) -> Vec<String> {
    let mut code = Vec::new();
    let mut in_block = false;
    for line in text.lines() {
        if line.starts_with("```") {
            in_block = !in_block;
        } else if in_block || line.starts_with("    ") {
            code.push(line.trim().to_owned());
        } else {
            code.extend(line.split('`').skip(1).step_by(2).map(str::to_owned));
        }
    }
    code
}

#[test]
fn the_reader_of_words_is_right() {
    assert!(names_issue("see \u{23}12") && names_issue("(\u{23}3)") && names_issue(concat!("iss", "ue 4 says")));
    assert!(!names_issue("r#\"1\"# x") && !names_issue("tests/a.md#1st") && !names_issue("no issue of ours"));
    assert!(has_phrase("a helping hand", "helping") && !has_phrase("possession", concat!("ses", "sion")));
    assert!(is_sentence("# For this.") && !is_sentence("# For this") && !is_sentence("serde = \"1\""));
    assert_eq!(code_of("a `b c` d\n```\ntidegate run\n```\n"), ["b c", "tidegate run"]);
}
