//! Everything that a newcomer copies out of README.md works as it stands there.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use tidegate::control::config::{Config, Mode};

const TOP: &str = env!("CARGO_MANIFEST_DIR");

fn readme() -> String {
    std::fs::read_to_string(Path::new(TOP).join("README.md")).unwrap()
}

/// The indented blocks, without the indentation.
fn blocks(text: &str) -> Vec<String> {
    let mut blocks = vec![String::new()];
    for line in text.lines() {
        match line.strip_prefix("    ") {
            Some(code) => {
                let block = blocks.last_mut().unwrap();
                block.push_str(code);
                block.push('\n');
            }
            None if blocks.last().is_some_and(|block| !block.is_empty()) => blocks.push(String::new()),
            None => (),
        }
    }
    blocks.retain(|block| !block.is_empty());
    blocks
}

/// The port with which every configuration begins, and the services of each mode.
fn snippets() -> (String, Vec<String>) {
    let (mut ports, mut services) = (Vec::new(), Vec::new());
    for block in blocks(&readme()) {
        if block.contains("[[port]]") {
            ports.push(block);
        } else if block.contains("[[service]]") {
            services.push(block);
        }
    }
    assert_eq!(ports.len(), 1, "one port snippet: {ports:?}");
    (ports.remove(0), services)
}

/// The configuration that `text` is, which must be good, without a warning.
fn good(text: &str) -> Config {
    let config = Config::parse(text, "README.md").unwrap_or_else(|errors| panic!("{errors}\n{text}"));
    assert_eq!(config.warnings, [], "{text}");
    config
}

/// What stands between pairs of `mark` in `text`.
fn quoted(text: &str, mark: char) -> Vec<&str> {
    text.split(mark).skip(1).step_by(2).collect()
}

#[test]
fn the_smallest_configuration_of_each_mode_is_good() {
    let (port, services) = snippets();
    let mut modes = BTreeSet::new();
    for service in &services {
        let config = good(&format!("{port}{service}"));
        assert_eq!(config.services.len(), 1, "{service}");
        modes.insert(config.services[0].mode.to_string());
    }
    let all: BTreeSet<String> = [Mode::Nat, Mode::FullNat, Mode::Gre, Mode::Ipip, Mode::Gue, Mode::Dsr]
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(modes, all);
}

#[test]
fn the_smallest_configurations_take_what_the_text_adds() {
    let (port, services) = snippets();
    // The devices that the comment offers beside the first one.
    let line = port.lines().find(|line| line.starts_with("device")).unwrap();
    let devices = quoted(line, '"');
    assert!(devices.len() >= 3, "{line}");
    for device in &devices {
        let config = good(&format!("{}{}", port.replacen(devices[0], device, 1), services[0]));
        assert_eq!(config.ports[0].device, *device);
    }
    for service in services {
        // A service without `port`, its own and its backends', takes every port of its VIP.
        let lines = service.lines().filter(|line| !line.starts_with("port = ")).collect::<Vec<_>>();
        let config = good(&format!("{port}{}\n", lines.join("\n")));
        assert_eq!(config.services[0].port, None);
        // Health checks of every type.
        for kind in ["tcp", "http", "https", "udp", "dns", "ping", "exec"] {
            let required = match kind {
                "dns" => "query = \"www.example.com\"",
                "exec" => "command = [\"/bin/sh\", \"-c\", \"exit 0\"]",
                _ => "",
            };
            let health = format!("[service.health]\ntype = \"{kind}\"\n{required}\n");
            assert!(good(&format!("{port}{service}{health}")).services[0].health.is_some());
        }
    }
}

/// What `tidegate` says when it is asked for help about `words`; `None` if it does not know them.
fn help(words: &[&str]) -> Option<String> {
    let output = Command::new(env!("CARGO_BIN_EXE_tidegate")).args(words).arg("--help").output().unwrap();
    output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
}

/// The calls of tidegate in README.md, each without what stands before the command and after a `#`.
fn calls() -> Vec<String> {
    let text = readme();
    let blocks = blocks(&text);
    let mut lines: Vec<&str> = blocks.iter().flat_map(|block| block.lines()).collect();
    for paragraph in text.lines().filter(|line| !line.starts_with("    ")) {
        lines.extend(quoted(paragraph, '`'));
    }
    let call = |line: &str| {
        let (before, call) = line.split('#').next()?.split_once("tidegate ")?;
        let begins = before.is_empty() || before.ends_with("sudo ") || before.ends_with("target/release/");
        begins.then(|| call.trim().to_owned())
    };
    lines.into_iter().filter_map(call).collect()
}

#[test]
fn every_call_is_known_to_the_help() {
    let calls = calls();
    for call in &calls {
        let mut words: Vec<&str> = call.split_whitespace().collect();
        let command = words.remove(0);
        let text = help(&[command]).unwrap_or_else(|| panic!("tidegate {command}: no such command, in: {call}"));
        let mut texts = vec![text];
        if let Some(choice) = words.first().filter(|word| word.contains('|')) {
            texts = choice
                .split('|')
                .map(|what| {
                    help(&[command, what]).unwrap_or_else(|| panic!("tidegate {command} {what}: no such command"))
                })
                .collect();
        }
        for option in words.iter().map(|word| word.trim_matches(['[', ']'])).filter(|word| word.starts_with("--")) {
            let known = |text: &String| text.split_whitespace().any(|word| word.trim_end_matches(',') == option);
            assert!(texts.iter().all(known), "tidegate {command} has no {option}, in: {call}");
        }
        for file in words.iter().filter(|word| word.contains('/') && word.ends_with(".toml")) {
            good(&std::fs::read_to_string(Path::new(TOP).join(file)).unwrap());
        }
    }
    let named: BTreeSet<&str> = calls.iter().filter_map(|call| call.split_whitespace().next()).collect();
    assert_eq!(
        named,
        BTreeSet::from(["backend", "check", "completions", "man", "plan", "reload", "replay", "run", "show", "top"])
    );
}

#[test]
fn the_list_of_what_can_be_shown_is_whole() {
    let calls = calls();
    let list = calls.iter().find_map(|call| call.strip_prefix("show ")?.split_whitespace().next()).unwrap();
    let named: BTreeSet<&str> = list.split('|').collect();
    let text = help(&["show"]).unwrap();
    let commands = text.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let known: BTreeSet<&str> =
        commands.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help").collect();
    assert_eq!(named, known);
}

#[test]
fn a_fault_in_a_snippet_would_be_seen() {
    assert_eq!(blocks("a\n\n    b\n    c\n\n    d\ne\n"), ["b\nc\n", "d\n"]);
    let (port, services) = snippets();
    let bad = format!("{port}{}", services[0]).replacen("address =", "adress =", 1);
    assert!(Config::parse(&bad, "README.md").is_err());
    assert!(help(&["shwo"]).is_none());
}
