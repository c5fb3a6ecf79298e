//! Metrics against their table, the format, and the clock.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use super::*;
use crate::control::api::DoorCounts;
use crate::control::config::Config;
use crate::control::fixture::{edited, file, manager};
use crate::lb::counters::Counters;
use crate::lb::latency::PacketClass;
use crate::lb::verdict::DropReason;

fn basis() -> Basis {
    let dir = tempfile::tempdir().unwrap();
    let config = edited(&[("mode = \"nat\"\n", "mode = \"nat\"\nscheduler = \"lrt\"\n")]);
    let mut manager = manager(&file(dir.path(), "tidegate.toml", &config));
    manager.reload(None).unwrap();
    manager.watch_workers();
    manager
        .set_health(&[crate::control::manager::HealthChange {
            service: "web".to_owned(),
            backend: "b2".to_owned(),
            healthy: false,
            reason: "refused".to_owned(),
        }])
        .unwrap();
    let workers = manager.worker_handles();
    workers[0].counters.rx_packets.add(5);
    workers[1].counters.rx_packets.add(6);
    workers[1].counters.drop_one(DropReason::Runt);
    workers[1].counters.busy_cycles.add(crate::control::fixture::TSC_HZ / 4);
    workers[0].latency.record(PacketClass::New, 900, 3);
    workers[1].latency.record(PacketClass::New, 30_000, 1);
    let b1 = manager.snapshot().backends().find(|b| &*b.name == "b1").unwrap().id;
    workers[0].counters.backend(b1).unwrap().packets.add(40);
    workers[1].counters.backend(b1).unwrap().packets.add(2);
    manager.metric_sources(DoorCounts { connections: 3, ..DoorCounts::default() }).prepare()
}

fn text() -> String {
    Pages::new(basis()).collect()
}

/// Name without a histogram's suffix, labels and value of a line.
fn sample(line: &str) -> (&str, Vec<(&str, &str)>, f64) {
    let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line}"));
    let (name, labels) = series.split_once('{').unwrap_or((series, ""));
    let labels = labels.trim_end_matches('}').split(',').filter(|label| !label.is_empty());
    let labels = labels.map(|label| {
        let (name, value) = label.split_once('=').unwrap_or_else(|| panic!("{line}"));
        (name, value.strip_prefix('"').and_then(|v| v.strip_suffix('"')).unwrap_or_else(|| panic!("{line}")))
    });
    (name, labels.collect(), value.parse().unwrap_or_else(|_| panic!("{line}")))
}

#[test]
fn the_text_has_every_metric_of_the_table_and_no_other() {
    let text = text();
    let table: BTreeMap<&str, &Family> = families().map(|family| (family.name, family)).collect();
    let mut series = HashSet::new();
    let mut heads = Vec::new();
    let mut with_values = BTreeSet::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, help) = help.split_once(' ').unwrap();
            let family = table.get(name).unwrap_or_else(|| panic!("{name} is not in the table"));
            assert_eq!(help, format!("{}.", family.help));
            assert_eq!(lines.next(), Some(&*format!("# TYPE {name} {}", family.kind().word())));
            heads.push(name);
            continue;
        }
        let (name, labels, value) = sample(line);
        let family = table[heads.last().copied().unwrap_or_default()];
        let suffixes: &[&str] = if family.kind() == Kind::Histogram { &["_bucket", "_sum", "_count"] } else { &[""] };
        assert!(
            suffixes.iter().any(|suffix| name == format!("{}{suffix}", family.name)),
            "{line} under {}",
            family.name
        );
        let mut known: Vec<&str> = family.labels.to_vec();
        if name.ends_with("_sum") || name.ends_with("_count") {
            known.retain(|label| *label != "le");
        }
        assert_eq!(labels.iter().map(|(label, _)| *label).collect::<Vec<_>>(), known, "{line}");
        assert!(value >= 0.0 && series.insert(line.rsplit_once(' ').unwrap().0), "{line}");
        with_values.insert(family.name);
    }
    assert_eq!(heads, families().map(|family| family.name).collect::<Vec<_>>());
    // What drivers and backends have not told here.
    let without: Vec<&str> = heads.into_iter().filter(|name| !with_values.contains(name)).collect();
    assert_eq!(without, ["tidegate_port_speed_bytes_per_second", "tidegate_backend_response_time_seconds"]);
}

#[test]
fn values_are_those_of_the_counters() {
    let text = text();
    for line in [
        "tidegate_received_packets_total{worker=\"0\"} 5",
        "tidegate_received_packets_total{worker=\"1\"} 6",
        "tidegate_drops_total{reason=\"runt\"} 1",
        "tidegate_drops_total{reason=\"no_service\"} 0",
        "tidegate_worker_busy_seconds_total{worker=\"1\"} 0.25",
        "tidegate_latency_seconds_bucket{class=\"new\",le=\"0.0000005\"} 0",
        "tidegate_latency_seconds_bucket{class=\"new\",le=\"0.000001\"} 3",
        "tidegate_latency_seconds_bucket{class=\"new\",le=\"+Inf\"} 4",
        "tidegate_latency_seconds_count{class=\"new\"} 4",
        "tidegate_service_backends{service=\"web\"} 3",
        "tidegate_service_backends_up{service=\"web\"} 1",
        "tidegate_backend_packets_total{service=\"web\",backend=\"b1\"} 42",
        "tidegate_backend_up{service=\"web\",backend=\"b2\"} 0",
        "tidegate_backend_healthy{service=\"web\",backend=\"b2\"} 0",
        "tidegate_backend_draining{service=\"web\",backend=\"b3\"} 1",
        "tidegate_backend_weight{service=\"web\",backend=\"b2\"} 50",
        "tidegate_reloads_total{state=\"done\"} 1",
        "tidegate_config_generation 3",
        "tidegate_port_received_packets_total{port=\"wan\"} 7",
        "tidegate_api_connections 3",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
    assert!(!text.contains("tidegate_backend_healthy{service=\"dns\""), "it is not checked");
}

#[test]
fn names_say_the_type_and_the_unit() {
    let labels =
        ["service", "backend", "port", "worker", "reason", "class", "state", "le", "version", "revision", "dpdk"];
    let mut names = HashSet::new();
    for family in families() {
        let Family { name, help, .. } = family;
        assert!(name.starts_with("tidegate_") && names.insert(*name), "{name}");
        assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{name}");
        assert!(!help.ends_with('.') && !help.contains(['|', '\n', '\\']) && help.len() > 5, "{name}: {help}");
        assert!(family.labels.iter().all(|label| labels.contains(label)), "{name}");
        for unit in ["_ms", "_ns", "_us", "_s", "_percent", "_mbps", "_kib"] {
            assert!(!name.trim_end_matches("_total").ends_with(unit), "{name} has no base unit");
        }
        let is_time = name.contains("_time") || name.contains("latency");
        assert!(!is_time || name.trim_end_matches("_total").ends_with("_seconds"), "{name}");
    }
}

/// A scrape of 100,000 backends: in pages, and soon. Of fewer where nothing is optimized.
#[test]
fn as_many_backends_as_there_may_be_are_written_soon_and_in_pages() {
    const BACKENDS: usize = if cfg!(debug_assertions) { 20_000 } else { 100_000 };
    let mut basis = basis();
    let mut config = Config::clone(&basis.config);
    let template = config.services[0].backends[0].clone();
    config.services[0].backends = (0..BACKENDS)
        .map(|n| {
            let [_, a, b, c] = u32::try_from(n).unwrap().to_be_bytes();
            let address = IpAddr::from([10, a, b, c]);
            crate::control::config::Backend { name: format!("backend-{n}"), address, ..template.clone() }
        })
        .collect();
    basis.config = Arc::new(config);
    basis.rest.workers.iter_mut().for_each(|worker| worker.counters = Arc::new(Counters::new(BACKENDS)));
    let row = |place| basis::BackendRow {
        service: 0,
        place,
        id: crate::lb::ids::BackendId::new(place, 0),
        state: crate::control::config::State::Up,
        admits: true,
        weight: 1,
        healthy: Some(true),
        is_held: false,
        is_timed: false,
    };
    basis.backends = (0..BACKENDS).map(row).collect();
    let started = Instant::now();
    let (mut bytes, mut lines, mut longest) = (0, 0, 0);
    for page in Pages::new(basis) {
        bytes += page.len();
        lines += page.bytes().filter(|b| *b == b'\n').count();
        longest = longest.max(page.len());
    }
    let took = started.elapsed();
    println!("{lines} lines, {bytes} bytes in {took:?}");
    assert!(lines > 13 * BACKENDS && longest < 80 << 10, "{lines} lines, a page of {longest} bytes");
    let limit = if cfg!(debug_assertions) { 5.0 } else { 1.0 };
    assert!(took.as_secs_f64() < limit, "{took:?}");
}
