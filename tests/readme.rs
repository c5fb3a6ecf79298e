//! Everything that a newcomer copies out of README.md and docs/ works as it stands there.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use tidegate::control::config::{Config, Mode};

const TOP: &str = env!("CARGO_MANIFEST_DIR");

fn page(name: &str) -> String {
    std::fs::read_to_string(Path::new(TOP).join(name)).unwrap()
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

/// The port with which every configuration of a page begins, and its services.
fn snippets(name: &str) -> (String, Vec<String>) {
    let (mut ports, mut services) = (Vec::new(), Vec::new());
    for block in blocks(&page(name)) {
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
fn the_first_configuration_is_good() {
    let (port, services) = snippets("README.md");
    let [service] = services.as_slice() else { panic!("one service, not {services:?}") };
    assert_eq!(good(&format!("{port}{service}")).services.len(), 1);
    let (port_there, services_there) = snippets("docs/modes.md");
    assert!(port_there == port && services_there.contains(service), "docs/modes.md has it as well");
}

#[test]
fn the_smallest_configuration_of_each_mode_is_good() {
    let (port, services) = snippets("docs/modes.md");
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
    let (port, services) = snippets("docs/modes.md");
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

/// The calls of tidegate on a page, each without what stands before the command and after a `#`.
fn calls(text: &str) -> Vec<String> {
    let blocks = blocks(text);
    let mut lines: Vec<&str> = blocks.iter().flat_map(|block| block.lines()).collect();
    for paragraph in text.lines().filter(|line| !line.starts_with("    ")) {
        lines.extend(quoted(paragraph, '`'));
    }
    let call = |line: &str| {
        let (before, call) = line.split('#').next()?.split_once("tidegate ")?;
        let begins =
            ["", "sudo ", "target/release/", "sudo target/release/"].contains(&before) || before.ends_with("&& ");
        begins.then(|| call.trim().to_owned())
    };
    lines.into_iter().filter_map(call).collect()
}

/// Fails unless the help has the command and the options of a call, and its configuration files are good.
fn known(call: &str) {
    let mut words: Vec<&str> = call.split_whitespace().collect();
    let command = words.remove(0);
    let text = help(&[command]).unwrap_or_else(|| panic!("tidegate {command}: no such command, in: {call}"));
    let mut texts = Vec::new();
    if let Some(choice) = words.first().filter(|word| word.starts_with(|c: char| c.is_ascii_lowercase())) {
        let all: Vec<_> = choice.split('|').map(|what| help(&[command, what])).collect();
        if choice.contains('|') {
            assert!(all.iter().all(Option::is_some), "tidegate {command} does not know all of {choice}");
        }
        if all.iter().all(Option::is_some) {
            texts = all.into_iter().flatten().collect();
        }
    }
    for option in words.iter().map(|word| word.trim_matches(['[', ']'])).filter(|word| word.starts_with("--")) {
        // Some take a value only behind an equals sign.
        let words = |text: &String| text.split([' ', '\n', ',', '[', '=']).any(|word| word == option);
        let is_known = words(&text) || !texts.is_empty() && texts.iter().all(words);
        assert!(is_known, "tidegate {command} has no {option}, in: {call}");
    }
    for file in words.iter().filter(|word| word.starts_with("config/") && word.ends_with(".toml")) {
        good(&page(file));
    }
}

#[test]
fn every_call_is_known_to_the_help() {
    let calls = calls(&page("README.md"));
    calls.iter().for_each(|call| known(call));
    let named: BTreeSet<&str> = calls.iter().filter_map(|call| call.split_whitespace().next()).collect();
    assert_eq!(
        named,
        BTreeSet::from([
            "backend",
            "capture",
            "check",
            "completions",
            "doctor",
            "explain",
            "man",
            "plan",
            "reload",
            "replay",
            "run",
            "show",
            "top"
        ])
    );
}

#[test]
fn every_call_on_other_pages_is_known_to_the_help() {
    for entry in std::fs::read_dir(Path::new(TOP).join("docs")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|it| it == "md") {
            calls(&std::fs::read_to_string(&path).unwrap()).iter().for_each(|call| known(call));
        }
    }
}

/// The lines to copy from a page, without comments; the drawing has words in it and is none.
fn commands(name: &str) -> Vec<String> {
    let text = page(name);
    let blocks = blocks(&text).into_iter().filter(|block| !block.contains("+--"));
    let lines = blocks.flat_map(|block| block.lines().map(str::to_owned).collect::<Vec<_>>());
    lines.map(|line| line.split(" #").next().unwrap_or_default().trim_end().to_owned()).collect()
}

#[test]
fn the_korean_page_has_the_same_commands_in_the_same_order() {
    let english = commands("README.md");
    assert!(english.len() > 25, "{english:?}");
    assert_eq!(english, commands("README.ko.md"));
    let headings = |name: &str| page(name).lines().filter(|line| line.starts_with("## ")).count();
    assert_eq!(headings("README.md"), headings("README.ko.md"));
}

#[test]
fn the_list_of_what_can_be_shown_is_whole() {
    let calls = calls(&page("README.md"));
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
    let (port, services) = snippets("docs/modes.md");
    let bad = format!("{port}{}", services[0]).replacen("address =", "adress =", 1);
    assert!(Config::parse(&bad, "README.md").is_err());
    assert!(help(&["shwo"]).is_none());
}
