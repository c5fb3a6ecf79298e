//! Backends that drain, that a reload removes, that are held down, and that stand in for others.

use super::*;
use crate::control::status::{Action, BackendRequest, BackendStatus};

const B2: &str = "[[service.backend]]\nname = \"b2\"\naddress = \"10.1.0.12\"\nweight = 50\n";

fn of(edits: &[(&str, &str)]) -> Bench {
    let dir = tempfile::tempdir().unwrap();
    let path = file(dir.path(), "tidegate.toml", &edited(edits));
    let manager = manager(&path);
    Bench { _dir: dir, path, manager }
}

fn connections(manager: &Manager, name: &str, n: u64) {
    let snapshot = manager.snapshot();
    let id = snapshot.backends().find(|b| &*b.name == name).unwrap().id;
    let counters = &manager.workers[0].counters;
    (0..counters.connections(id)).for_each(|_| counters.closed(id));
    (0..n).for_each(|_| counters.opened(id));
}

fn drain(manager: &mut Manager, name: &str) {
    let request = BackendRequest { backend: name.into(), action: Action::Drain, weight: None };
    manager.command(&request).unwrap();
}

fn row(manager: &Manager, name: &str) -> Option<BackendStatus> {
    manager.backends().backends.into_iter().find(|b| b.name == name)
}

#[test]
fn what_is_left_of_a_drain_is_closed_at_its_end_or_left() {
    for (action, expected) in [("close", false), ("leave", true)] {
        let keys = format!("mode = \"nat\"\ndrain_timeout = \"100ms\"\ndrain_action = \"{action}\"");
        let Bench { mut manager, .. } = of(&[("mode = \"nat\"", &keys)]);
        connections(&manager, "b1", 3);
        drain(&mut manager, "web/b1");
        manager.pass_time().unwrap();
        assert_eq!(served(&manager.snapshot())[0], ("b1".into(), true, false));
        std::thread::sleep(Duration::from_millis(120));
        manager.pass_time().unwrap();
        assert_eq!(served(&manager.snapshot())[0], ("b1".into(), expected, false), "{action}");
        let (state, reason) = state(&manager, "b1");
        match expected {
            true => assert_eq!((state.as_str(), reason.as_str()), ("drain", "by command, the file says up")),
            false => assert_eq!((state.as_str(), reason.as_str()), ("down", "drained for 0 s")),
        }
        let up = BackendRequest { backend: "web/b1".into(), action: Action::Up, weight: None };
        manager.command(&up).unwrap();
        drain(&mut manager, "web/b1");
        assert_eq!(served(&manager.snapshot())[0], ("b1".into(), true, false), "counted anew");
    }
}

#[test]
fn a_removed_backend_keeps_its_connections_until_they_end() {
    let keys = "mode = \"nat\"\non_remove = \"drain\"";
    let Bench { _dir, path, mut manager } = of(&[("mode = \"nat\"", keys)]);
    connections(&manager, "b2", 4);
    let id = manager.snapshot().backends().find(|b| &*b.name == "b2").unwrap().id;
    let [with, without] =
        [vec![("mode = \"nat\"", keys)], vec![("mode = \"nat\"", keys), (B2, "")]].map(|e| edited(&e));
    std::fs::write(&path, &without).unwrap();
    let report = manager.reload(None).unwrap();
    let note = "~ backend web/b2 is removed and drains: 4 connections stay";
    assert_eq!(report.changes.last().map(String::as_str), Some(note));
    let snapshot = manager.snapshot();
    let ghost = snapshot.backend(id).unwrap();
    assert!(ghost.serves && !ghost.admits);
    assert!(snapshot.services().iter().all(|s| s.is_retired || !s.backends.contains(&id)));
    let b2 = row(&manager, "b2").unwrap();
    assert_eq!((b2.state.as_str(), b2.reason.as_str(), b2.connections), ("drain", "removed by reload", 4));
    assert_eq!(manager.services().services[0].connections, 4);
    assert_eq!(manager.stats().services.len(), 2);
    // Back again, it is itself.
    std::fs::write(&path, &with).unwrap();
    let report = manager.reload(None).unwrap();
    assert_eq!(report.changes.last().unwrap(), "~ backend web/b2 is back, and has 4 connections still");
    assert_eq!(manager.snapshot().backends().find(|b| &*b.name == "b2").unwrap().id, id);
    assert_eq!(manager.backends().backends.len(), 4);
    // And gone when nothing is left.
    std::fs::write(&path, &without).unwrap();
    manager.reload(None).unwrap();
    manager.pass_time().unwrap();
    assert!(manager.snapshot().backend(id).is_some());
    connections(&manager, "b2", 0);
    manager.pass_time().unwrap();
    assert!(manager.snapshot().backend(id).is_none() && row(&manager, "b2").is_none());
}

#[test]
fn a_removed_service_goes_on_for_its_connections_alone() {
    let keys = "mode = \"nat\"\non_remove = \"drain\"\ndrain_timeout = \"100ms\"";
    let text = edited(&[("mode = \"nat\"", keys)]);
    let Bench { _dir, path, mut manager } = of(&[("mode = \"nat\"", keys)]);
    connections(&manager, "b1", 2);
    let (head, _) = text.split_once("[[service]]").unwrap();
    let (_, dns) = text.rsplit_once("[[service]]").unwrap();
    std::fs::write(&path, format!("{head}[[service]]{dns}")).unwrap();
    manager.reload(None).unwrap();
    let snapshot = manager.snapshot();
    let vip = "192.0.2.10".parse().unwrap();
    assert_eq!(snapshot.find_service(vip, 6, 80), None, "nothing new comes");
    assert!(snapshot.local(vip).is_some(), "and its packets are still for us");
    let services = manager.services().services;
    assert_eq!((services.len(), services[1].name.as_str(), services[1].removed), (2, "web", true));
    let names: Vec<_> = services[1].backends.iter().map(|b| (b.name.as_str(), b.reason.as_str())).collect();
    assert_eq!(names, [("b1", "removed by reload, for 0 s at most")], "those without connections are gone");
    std::thread::sleep(Duration::from_millis(120));
    manager.pass_time().unwrap();
    assert_eq!((manager.services().services.len(), manager.snapshot().local(vip)), (1, None));
}

#[test]
fn without_the_key_a_reload_ends_connections_as_before() {
    let Bench { _dir, path, mut manager } = bench();
    connections(&manager, "b2", 4);
    std::fs::write(&path, edited(&[(B2, "")])).unwrap();
    assert_eq!(manager.reload(None).unwrap().changes.len(), 1);
    assert!(row(&manager, "b2").is_none());
}

#[test]
fn who_flaps_is_held_and_the_rest_serves_with_few_snapshots() {
    let Bench { _dir, path, mut manager } = bench();
    let flap = |manager: &mut Manager, healthy| {
        manager.set_health(&[change("b1", healthy, if healthy { "accepts connections" } else { "refused" })]).unwrap();
    };
    for _ in 0..100 {
        flap(&mut manager, true);
        flap(&mut manager, false);
    }
    assert!(manager.snapshot().generation <= 7, "{}", manager.snapshot().generation);
    flap(&mut manager, true);
    let held = "flapping: down 3 times in a minute, held for 10 s";
    assert_eq!(state(&manager, "b1"), ("down".into(), held.into()));
    assert_eq!(served(&manager.snapshot())[1], ("b2".into(), true, true));
    assert_eq!(row(&manager, "b1").unwrap().health, "up", "as its checks say");
    let text = |address: &str| edited(&[("weight = 50", "weight = 7"), ("10.1.0.11", address)]);
    std::fs::write(&path, text("10.1.0.11")).unwrap();
    manager.reload(None).unwrap();
    assert_eq!(state(&manager, "b1").1, held, "a reload alone is no reason");
    std::fs::write(&path, text("10.1.0.99")).unwrap();
    manager.reload(None).unwrap();
    assert_eq!(
        state(&manager, "b1"),
        ("up".into(), "no health check result yet".into()),
        "another server of that name"
    );
    manager.pass_time().unwrap();
    assert_eq!(state(&manager, "b1").0, "up");
}

#[test]
fn who_does_not_answer_clients_is_held() {
    let passive = "[service.passive]\n[service.health]";
    let Bench { mut manager, .. } = of(&[("[service.health]", passive)]);
    let id = manager.snapshot().backends().find(|b| &*b.name == "b1").unwrap().id;
    manager.pass_time().unwrap();
    let handshakes = manager.workers[1].counters.handshakes(id).unwrap();
    handshakes.opened.add(50);
    handshakes.answered.add(2);
    manager.pass_time().unwrap();
    manager.pass_time().unwrap();
    let reason = "passive check: 48 of 50 connections not answered, held for 10 s";
    assert_eq!(state(&manager, "b1"), ("down".into(), reason.into()));
    assert_eq!(served(&manager.snapshot())[0], ("b1".into(), false, false));
}

#[test]
fn a_backup_shows_whether_it_stands_by() {
    let Bench { mut manager, .. } = of(&[("weight = 50", "weight = 50\nrole = \"backup\"")]);
    manager.set_health(&[change("b1", true, "fine"), change("b2", true, "fine")]).unwrap();
    assert_eq!(state(&manager, "b2"), ("up".into(), "health check: fine; backup, stands by".into()));
    assert_eq!((manager.services().services[0].backends_up, row(&manager, "b2").unwrap().admits), (1, false));
    manager.set_health(&[change("b1", false, "refused")]).unwrap();
    assert_eq!(served(&manager.snapshot())[1], ("b2".into(), true, true));
    assert_eq!(state(&manager, "b2").1, "health check: fine; backup, takes connections");
    manager.set_health(&[change("b1", true, "fine")]).unwrap();
    assert_eq!(served(&manager.snapshot())[1], ("b2".into(), true, false), "its connections stay");
}
