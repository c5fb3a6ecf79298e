//! The dashboard and the alerts know the metrics that there are, and leave none out without a reason.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::Command;

use tidegate::control::metrics::{Family, Kind, families};
use tidegate::lb::verdict::DropReason;

/// Metrics that neither shows, and why.
const UNUSED: &[(&str, &str)] = &[
    ("tidegate_workers", "the panels have a line a worker"),
    ("tidegate_config_loaded_time_seconds", "the generation shows that something changed"),
    ("tidegate_reload_last_time_seconds", "the alert is about whether it failed"),
    ("tidegate_host_transmitted_packets_total", "the kernel counts what it sends"),
    ("tidegate_host_unsent_packets_total", "the kernel sends it again"),
    ("tidegate_originated_packets_total", "ARP and neighbour discovery, of interest in a fault only"),
    ("tidegate_originated_unsent_packets_total", "of interest in a fault only"),
    ("tidegate_clients_evicted_total", "matters only with `persistence`"),
    ("tidegate_local_replies_total", "part of the packets"),
    ("tidegate_connection_table_bytes", "fixed at start"),
    ("tidegate_table_hugepage_bytes", "fixed at start"),
    ("tidegate_table_transparent_bytes", "fixed at start"),
    ("tidegate_table_plain_bytes", "fixed at start"),
    ("tidegate_worker_turns_total", "the busy share says it better"),
    ("tidegate_worker_generation", "of interest in a fault only"),
    ("tidegate_worker_cpu", "fixed at start"),
    ("tidegate_port_speed_bytes_per_second", "not every driver knows it"),
    ("tidegate_port_mtu_bytes", "fixed at start"),
    ("tidegate_port_rx_queues", "fixed at start"),
    ("tidegate_port_tx_queues", "fixed at start"),
];

fn read(file: &str) -> String {
    std::fs::read_to_string(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap()
}

/// The expressions of the dashboard, and those of its variables.
fn of_dashboard() -> Vec<String> {
    let dashboard: serde_json::Value = serde_json::from_str(&read("config/grafana-dashboard.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let mut ids = BTreeSet::new();
    assert!(panels.iter().all(|panel| ids.insert(panel["id"].as_u64().unwrap()) && panel["title"].is_string()));
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let targets = panels.iter().flat_map(|panel| panel["targets"].as_array().into_iter().flatten());
    let variables = dashboard["templating"]["list"].as_array().unwrap().iter().filter(|v| v["type"] == "query");
    targets.map(|target| text(&target["expr"])).chain(variables.map(|v| text(&v["query"]))).collect()
}

/// The expressions of the alerts; the file is plain enough to be read line by line.
fn of_alerts() -> Vec<String> {
    let text = read("config/alerts.yml");
    let mut expressions: Vec<String> = Vec::new();
    let (mut alerts, mut is_folded) = (0, false);
    for line in text.lines() {
        let trimmed = line.trim();
        alerts += usize::from(trimmed.starts_with("- alert: "));
        if let Some(expression) = trimmed.strip_prefix("expr: ") {
            is_folded = expression == ">-";
            expressions.push(if is_folded { String::new() } else { expression.to_owned() });
        } else if is_folded && line.starts_with("          ") {
            expressions.last_mut().unwrap().push_str(trimmed);
        } else {
            is_folded = false;
        }
    }
    assert!(alerts > 10 && alerts == expressions.len(), "{alerts} alerts, {} expressions", expressions.len());
    expressions
}

/// The metrics that an expression names.
fn named(expression: &str) -> impl Iterator<Item = &str> {
    let words = expression.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words.filter(|word| word.starts_with("tidegate_"))
}

fn family<'f>(table: &BTreeMap<&str, &'f Family>, name: &str) -> Option<&'f Family> {
    let of_histogram = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| {
        table.get(name.strip_suffix(suffix)?).copied().filter(|family| family.kind() == Kind::Histogram)
    });
    table.get(name).copied().or(of_histogram)
}

#[test]
fn what_they_name_exists_and_is_used_as_what_it_is() {
    let table: BTreeMap<&str, &Family> = families().map(|family| (family.name, family)).collect();
    let mut used = BTreeSet::new();
    for expression in of_dashboard().iter().chain(&of_alerts()) {
        assert!(named(expression).next().is_some(), "{expression}");
        for name in named(expression) {
            let family = family(&table, name).unwrap_or_else(|| panic!("{name} is no metric: {expression}"));
            used.insert(family.name);
            // A counter by itself says little, and the rate of a gauge nothing.
            let is_rated = ["rate(", "increase("].iter().any(|f| expression.contains(&format!("{f}{name}")));
            assert_eq!(is_rated, family.kind() != Kind::Gauge, "{name} in {expression}");
        }
        let open = expression.matches(['(', '{', '[']).count();
        assert_eq!(open, expression.matches([')', '}', ']']).count(), "{expression}");
    }
    let left_out: Vec<&str> = table.keys().copied().filter(|name| !used.contains(name)).collect();
    let reasons: BTreeSet<&str> = UNUSED.iter().map(|(name, _)| *name).collect();
    let missing: Vec<_> = left_out.iter().filter(|name| !reasons.contains(**name)).collect();
    assert!(missing.is_empty(), "neither in config/grafana-dashboard.json nor in config/alerts.yml: {missing:?}");
    let needless: Vec<_> = reasons.iter().filter(|name| !left_out.contains(name)).collect();
    assert!(needless.is_empty(), "used, or no metric: {needless:?}");
}

#[test]
fn reasons_in_alerts_are_those_of_drops() {
    let known: BTreeSet<&str> = DropReason::ALL.iter().map(|reason| reason.label()).collect();
    let mut found = 0;
    for expression in of_alerts().iter().filter(|expression| expression.contains("tidegate_drops_total")) {
        let (_, reasons) = expression.split_once("reason=").unwrap();
        for reason in reasons.trim_start_matches('~').split('"').nth(1).unwrap().split('|') {
            assert!(known.contains(reason), "{reason}");
            found += 1;
        }
    }
    assert!(found > 5);
}

#[test]
fn prometheus_takes_the_rules_where_it_is_installed() {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("config/alerts.yml");
    match Command::new("promtool").args(["check", "rules"]).arg(&file).output() {
        Ok(output) => assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr)),
        Err(_) => {
            println!("promtool is not installed (Debian: prometheus); what the other tests see of the rules is all")
        }
    }
}
