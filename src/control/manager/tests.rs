//! All or nothing, health results, and what is said of both.

mod leaving;
mod operate;

use super::*;
use crate::control::fixture::{CONFIG, TSC_HZ, edited, file, manager};
use crate::lb::snapshot::Snapshot;
use crate::lb::verdict::DropReason;

struct Bench {
    _dir: tempfile::TempDir,
    path: PathBuf,
    manager: Manager,
}

fn bench() -> Bench {
    let dir = tempfile::tempdir().unwrap();
    let path = file(dir.path(), "tidegate.toml", CONFIG);
    let manager = manager(&path);
    Bench { _dir: dir, path, manager }
}

fn change(backend: &str, healthy: bool, reason: &str) -> HealthChange {
    HealthChange { service: "web".into(), backend: backend.into(), healthy, reason: reason.into() }
}

/// Service, backend, whether it serves and admits, in the snapshot's order.
fn served(snapshot: &Snapshot) -> Vec<(String, bool, bool)> {
    snapshot.backends().map(|b| (b.name.to_string(), b.serves, b.admits)).collect()
}

fn state(manager: &Manager, name: &str) -> (String, String) {
    let backends = manager.backends().backends;
    let backend = backends.iter().find(|b| b.name == name).unwrap();
    (backend.state.clone(), backend.reason.clone())
}

#[test]
fn a_good_file_is_taken_over_and_what_changed_is_said() {
    let Bench { _dir, path, mut manager } = bench();
    let before = manager.snapshot();
    let b1 = before.backends().find(|b| &*b.name == "b1").unwrap().id;
    let b2 = "[[service.backend]]\nname = \"b2\"\naddress = \"10.1.0.12\"\nweight = 50\n";
    let b4 = "[[service.backend]]\nname = \"b4\"\naddress = \"10.1.0.14\"\n";
    std::fs::write(&path, edited(&[(b2, b4), ("port = 8080\n", "port = 8080\nweight = 3\n")])).unwrap();
    let report = manager.reload(None).unwrap();
    assert_eq!(report.summary, "+1 backend, -1 backend, 1 weight");
    let lines = ["- backend web/b2 10.1.0.12", "~ backend web/b1: weight 100 -> 3", "+ backend web/b4 10.1.0.14"];
    assert_eq!(report.changes, lines);
    let after = manager.snapshot();
    assert_eq!((before.generation, after.generation, report.generation), (1, 2, 2));
    assert_eq!(after.backends().find(|b| &*b.name == "b1").unwrap().id, b1, "connections go on");
    assert_eq!(manager.status().loaded, path.display().to_string());
}

#[test]
fn a_bad_file_changes_nothing_and_says_where() {
    let Bench { _dir, path, mut manager } = bench();
    let weight = manager.config().services[0].backends[1].weight;
    std::fs::write(&path, edited(&[("weight = 50", "weight = 7"), ("\"b3\"", "\"b1\"")])).unwrap();
    let error = manager.reload(None).unwrap_err();
    assert!(matches!(error, ReloadError::Config(_)), "{error}");
    assert!(error.to_string().contains("tidegate.toml:"), "{error}");
    assert_eq!(manager.snapshot().generation, 1);
    assert_eq!(manager.config().services[0].backends[1].weight, weight);
    assert_eq!(manager.status().reload_error, Some(error.to_string()));
    std::fs::remove_file(&path).unwrap();
    assert!(matches!(manager.reload(None), Err(ReloadError::Config(_))), "a missing file");
    std::fs::write(&path, CONFIG).unwrap();
    manager.reload(None).unwrap();
    assert_eq!(manager.status().reload_error, None);
}

#[test]
fn what_is_fixed_at_start_is_refused_by_name() {
    let Bench { _dir, path, mut manager } = bench();
    let text = edited(&[("weight = 50", "weight = 7"), ("net_null0\"", "net_null0\"\nmtu = 1400")]);
    std::fs::write(&path, format!("[dataplane]\nworkers = 2\n{text}")).unwrap();
    let error = manager.reload(None).unwrap_err();
    let ReloadError::NeedsRestart { keys, .. } = &error else { panic!("{error}") };
    assert_eq!(keys.iter().map(|key| key.key.as_str()).collect::<Vec<_>>(), ["dataplane.workers", "port wan: mtu"]);
    assert!(error.to_string().contains("dataplane.workers 1 -> 2, port wan: mtu 1500 -> 1400; restart"), "{error}");
    assert_eq!((manager.snapshot().generation, manager.config().services[0].backends[1].weight), (1, 50));
}

#[test]
fn another_file_is_loaded_once_and_the_next_reload_is_of_the_first() {
    let Bench { _dir, path, mut manager } = bench();
    let other = file(path.parent().unwrap(), "other.toml", &edited(&[("weight = 50", "weight = 7")]));
    assert_eq!(manager.reload(Some(&other)).unwrap().summary, "1 weight");
    let status = manager.status();
    assert_eq!((status.config, status.loaded), (path.display().to_string(), other.display().to_string()));
    assert_eq!(manager.reload(None).unwrap().changes, ["~ backend web/b2: weight 7 -> 50"]);
}

#[test]
fn what_is_no_file_is_not_read() {
    let Bench { mut manager, .. } = bench();
    assert!(matches!(manager.reload(Some(Path::new("/dev/zero"))), Err(ReloadError::NotAFile(_))));
    assert!(matches!(manager.reload(Some(Path::new("/"))), Err(ReloadError::Config(_))));
}

#[test]
fn health_results_reach_the_packet_path_with_one_snapshot_for_all() {
    let Bench { mut manager, .. } = bench();
    assert_eq!(state(&manager, "b1"), ("up".into(), "no health check result yet".into()));
    assert_eq!(state(&manager, "d1"), ("up".into(), "not checked".into()));
    manager.set_health(&[change("b1", true, "accepts connections")]).unwrap();
    assert_eq!(manager.snapshot().generation, 1, "nothing changes for the packets");
    assert_eq!(state(&manager, "b1"), ("up".into(), "health check: accepts connections".into()));
    let down = [change("b1", false, "connection refused"), change("b3", false, "no answer in 1 s")];
    manager.set_health(&down).unwrap();
    assert_eq!(manager.snapshot().generation, 2);
    let expected = [("b1", false, false), ("b2", true, true), ("b3", false, false), ("d1", true, true)];
    assert_eq!(served(&manager.snapshot()), expected.map(|(name, serves, admits)| (name.to_owned(), serves, admits)));
    assert_eq!(state(&manager, "b1"), ("down".into(), "health check: connection refused".into()));
    assert_eq!(manager.services().services[0].backends_up, 1);
    manager.set_health(&[change("b3", true, "accepts connections")]).unwrap();
    assert_eq!(state(&manager, "b3"), ("drain".into(), "configuration".into()), "the administrator's word stays");
}

#[test]
fn too_few_healthy_backends_are_as_good_as_all() {
    let dir = tempfile::tempdir().unwrap();
    let text = |threshold: u8| {
        let health = format!("type = \"tcp\"\npanic_threshold = {threshold}");
        edited(&[("type = \"tcp\"", &health)])
    };
    let path = file(dir.path(), "tidegate.toml", &text(51));
    let mut manager = manager(&path);
    let refused = |name| change(name, false, "connection refused");
    let admitted = |manager: &Manager| -> Vec<String> {
        served(&manager.snapshot()).into_iter().filter(|(.., admits)| *admits).map(|(name, ..)| name).collect()
    };
    // Two are wanted up; b3 is drained and counts for nothing.
    manager.set_health(&[refused("b3")]).unwrap();
    assert_eq!(
        (admitted(&manager), state(&manager, "b3").0),
        (vec!["b1".into(), "b2".into(), "d1".into()], "down".into())
    );
    manager.set_health(&[refused("b1")]).unwrap();
    assert_eq!(admitted(&manager), ["b1", "b2", "d1"], "one of two is less than 51 %");
    let reason = "health check: connection refused; serves all the same, too few are healthy";
    assert_eq!(state(&manager, "b1"), ("up".into(), reason.into()));
    assert_eq!(state(&manager, "b3").0, "drain", "never more than the administrator wants");
    manager.set_health(&[change("b1", true, "accepts connections")]).unwrap();
    assert_eq!(state(&manager, "b3").0, "down");
    manager.set_health(&[refused("b2")]).unwrap();
    assert_eq!(admitted(&manager), ["b1", "b2", "d1"]);
    // With another threshold one of two is enough, and without any it takes none at all.
    std::fs::write(&path, text(50)).unwrap();
    manager.reload(None).unwrap();
    assert_eq!((admitted(&manager), state(&manager, "b2").0), (vec!["b1".into(), "d1".into()], "down".into()));
    manager.set_health(&[refused("b1")]).unwrap();
    assert_eq!(admitted(&manager), ["b1", "b2", "d1"], "none of two");
    std::fs::write(&path, text(0)).unwrap();
    manager.reload(None).unwrap();
    assert_eq!(admitted(&manager), ["d1"]);
}

#[test]
fn a_backend_that_comes_back_grows_to_its_weight() {
    let dir = tempfile::tempdir().unwrap();
    let slow = edited(&[("type = \"tcp\"", "type = \"tcp\"\nslow_start = \"200ms\"")]);
    let mut manager = manager(&file(dir.path(), "tidegate.toml", &slow));
    let picks = |manager: &Manager, name: &str| {
        let snapshot = manager.snapshot();
        let service = snapshot.services().iter().find(|service| &*service.name == "web").unwrap();
        let backend = snapshot.backends().find(|b| &*b.name == name).unwrap().id;
        let hashes = (0..10_000_u64).map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        hashes.filter(|&hash| service.pick(hash) == Some(backend)).count()
    };
    let whole = picks(&manager, "b2");
    manager.set_health(&[change("b2", false, "connection refused")]).unwrap();
    manager.set_health(&[change("b2", true, "accepts connections")]).unwrap();
    let (state, reason) = state(&manager, "b2");
    assert_eq!(
        (state.as_str(), reason.as_str()),
        ("up", "health check: accepts connections; 10 % of its weight for now")
    );
    let small = picks(&manager, "b2");
    assert!(small > 0 && small * 5 < whole, "{small} of {whole}");
    std::thread::sleep(Duration::from_millis(250));
    manager.pass_time().unwrap();
    assert_eq!(picks(&manager, "b2"), whole, "as if it had never been away");
    assert_eq!(self::state(&manager, "b2").1, "health check: accepts connections");
    let generation = manager.snapshot().generation;
    manager.pass_time().unwrap();
    assert_eq!(manager.snapshot().generation, generation, "no snapshot for nothing");
}

#[test]
fn a_reload_keeps_the_health_of_who_stays_only() {
    let Bench { _dir, path, mut manager } = bench();
    manager.set_health(&["b1", "b2"].map(|name| change(name, false, "connection refused"))).unwrap();
    std::fs::write(&path, edited(&[("10.1.0.12", "10.1.0.99")])).unwrap();
    manager.reload(None).unwrap();
    assert_eq!(state(&manager, "b1").0, "down");
    assert_eq!(state(&manager, "b2"), ("up".into(), "no health check result yet".into()), "another server");
    manager.set_health(&[change("b2", false, "connection refused")]).unwrap();
    std::fs::write(&path, edited(&[("[service.health]\ntype = \"tcp\"\n", "")])).unwrap();
    manager.reload(None).unwrap();
    assert_eq!(state(&manager, "b1"), ("up".into(), "not checked".into()), "nobody would bring it up again");
}

#[test]
fn since_tells_how_long_a_state_holds() {
    let Bench { _dir, path, mut manager } = bench();
    manager.set_health(&[change("b1", false, "connection refused")]).unwrap();
    std::thread::sleep(Duration::from_millis(60));
    std::fs::write(&path, edited(&[("weight = 50", "weight = 7")])).unwrap();
    manager.reload(None).unwrap();
    manager.set_health(&[change("b2", false, "connection refused")]).unwrap();
    let backends = manager.backends().backends;
    assert!(backends[0].since_s >= 0.06, "a reload does not begin it anew: {}", backends[0].since_s);
    assert!(backends[1].since_s < 0.06, "{}", backends[1].since_s);
}

#[test]
fn a_worker_that_does_not_turn_is_noticed_after_five_looks() {
    let Bench { mut manager, .. } = bench();
    let stalled = |manager: &mut Manager| manager.workers().workers.iter().map(|w| w.stalled).collect::<Vec<_>>();
    for _ in 0..6 {
        manager.workers[0].counters.turns.add(1);
        manager.watch_workers();
    }
    assert_eq!(stalled(&mut manager), [false, true]);
    manager.workers[1].counters.turns.add(1);
    manager.watch_workers();
    assert_eq!(stalled(&mut manager), [false, false]);
}

#[test]
fn rates_are_over_the_last_second_whoever_asks() {
    let Bench { mut manager, .. } = bench();
    let work = |manager: &Manager, scale: u64| {
        let counters = &manager.workers[0].counters;
        counters.rx_packets.add(1_000 * scale);
        counters.turns.add(100 * scale);
        counters.busy_turns.add(10 * scale);
        counters.busy_packets.add(1_000 * scale);
        counters.busy_cycles.add(TSC_HZ / 100 * scale);
        counters.sleep_cycles.add(TSC_HZ / 50 * scale);
    };
    work(&manager, 1);
    let first = manager.workers().workers[0].rates;
    assert_eq!((first.packets_per_burst, first.cycles_per_packet), (Some(100.0), Some(10_000.0)), "since the start");
    let mut now = Instant::now();
    for scale in [0, 30] {
        now += Duration::from_secs(1);
        work(&manager, scale);
        manager.gauges.look(now, &manager.workers, manager.tsc_hz);
    }
    for _ in 0..2 {
        // Too early to be a look of its own, as is every question.
        work(&manager, 5);
        manager.gauges.look(now + Duration::from_millis(10), &manager.workers, manager.tsc_hz);
        let answer = manager.workers();
        let (busy, idle) = (answer.workers[0].rates, answer.workers[1].rates);
        assert!((answer.seconds - 1.0).abs() < 1e-9, "{}", answer.seconds);
        assert_eq!((busy.packets_per_s, busy.busy_turns_share), (30_000.0, Some(0.1)));
        let near = |share: Option<f64>, wanted: f64| (share.unwrap() - wanted).abs() < 1e-9;
        assert!(near(busy.busy_share, 0.3) && near(busy.sleep_share, 0.6), "{busy:?}");
        assert_eq!((idle.packets_per_burst, idle.cycles_per_packet, idle.busy_share), (None, None, Some(0.0)));
    }
}

#[test]
fn drops_are_summed_over_workers() {
    let Bench { manager, .. } = bench();
    assert!(manager.drops(false).drops.is_empty());
    assert_eq!(manager.drops(true).drops.len(), DropReason::COUNT);
    manager.workers.iter().for_each(|worker| worker.counters.drop_one(DropReason::NoBackend));
    let drops = manager.drops(false).drops;
    assert_eq!(drops.len(), 1);
    assert_eq!((drops[0].reason.as_str(), drops[0].count), ("no_backend", 2));
}
