//! Commands: what they change, how long they last, and what is said of them.

use super::*;
use crate::control::config::State;
use crate::control::status::{Action, BackendReport, BackendRequest};

fn request(name: &str, action: Action, weight: Option<u16>) -> BackendRequest {
    BackendRequest { backend: name.to_owned(), action, weight }
}

fn command(manager: &mut Manager, name: &str, action: Action) -> BackendReport {
    manager.command(&request(name, action, None)).unwrap()
}

#[test]
fn a_command_works_at_once_and_says_what_it_changed() {
    let Bench { mut manager, .. } = bench();
    let b1 = manager.snapshot().backends().find(|b| &*b.name == "b1").unwrap().id;
    manager.workers.iter().for_each(|w| (0..6).for_each(|_| w.counters.opened(b1)));
    let drained = command(&mut manager, "web/b1", Action::Drain);
    assert_eq!(drained.changes, ["web/b1: up -> drain, by command; 12 connections stay"]);
    assert_eq!((drained.generation, manager.snapshot().generation), (2, 2));
    assert_eq!(served(&manager.snapshot())[0], ("b1".into(), true, false));
    assert_eq!(state(&manager, "b1"), ("drain".into(), "by command, the file says up".into()));
    let again = command(&mut manager, "10.1.0.11:8080", Action::Drain);
    assert_eq!((again.changes.len(), again.generation), (0, 2), "nothing to change, no snapshot");
    let down = command(&mut manager, "web/b1", Action::Down);
    assert_eq!(down.changes, ["web/b1: drain -> down, by command; 12 connections end"]);
    assert_eq!(served(&manager.snapshot())[0], ("b1".into(), false, false));
    let up = command(&mut manager, "web/b1", Action::Up);
    assert_eq!(up.changes, ["web/b1: down -> up, as the file says"]);
    assert_eq!(manager.overrides.commands(), &Commands::default(), "that ends the difference");
}

#[test]
fn weights_and_states_go_back_to_the_file_together() {
    let Bench { mut manager, .. } = bench();
    let weight = manager.command(&request("web/b2", Action::Weight, Some(7))).unwrap();
    assert_eq!(weight.changes, ["web/b2: weight 50 -> 7, by command; the file says 50"]);
    let raised = command(&mut manager, "web/b3", Action::Up);
    assert_eq!(raised.changes, ["web/b3: drain -> up, by command"]);
    let backends = manager.backends().backends;
    assert_eq!((backends[1].weight, backends[1].by_command, backends[0].by_command), (7, true, false));
    assert!(backends[1].reason.ends_with("; weight by command, the file says 50"), "{}", backends[1].reason);
    command(&mut manager, "web/b2", Action::Down);
    let reset = command(&mut manager, "web/b2", Action::Reset);
    let expected = ["web/b2: down -> up, as the file says", "web/b2: weight 7 -> 50, as the file says"];
    assert_eq!(reset.changes, expected);
    assert_eq!(manager.overrides.commands().iter().count(), 1);
}

#[test]
fn a_command_about_nobody_or_without_its_weight_changes_nothing() {
    let Bench { mut manager, .. } = bench();
    for (name, action, weight, expected) in [
        ("web/b9", Action::Drain, None, "no backend web/b9, did you mean web/b1?; see `tidegate show backends`"),
        (
            "web/b1",
            Action::Weight,
            None,
            "`weight` needs the new weight, from 0 to 65535; `reset` goes back to the file's",
        ),
        ("web/b1", Action::Up, Some(5), "a weight is for the action `weight` only"),
    ] {
        assert_eq!(manager.command(&request(name, action, weight)).unwrap_err().to_string(), expected);
    }
    assert_eq!(manager.snapshot().generation, 1);
}

#[test]
fn the_last_one_that_goes_is_warned_of_and_health_has_its_say() {
    let Bench { mut manager, .. } = bench();
    manager.set_health(&[change("b1", false, "connection refused")]).unwrap();
    let drained = command(&mut manager, "web/b2", Action::Drain);
    assert_eq!(drained.warnings, ["no backend of service web takes new connections now"]);
    assert_eq!(
        command(&mut manager, "web/b1", Action::Drain).changes,
        [
            "web/b1: up -> drain, by command; it is down: health check: connection refused; drain by command, the file says up"
        ]
    );
    let up = command(&mut manager, "web/b1", Action::Up);
    assert_eq!(up.changes, ["web/b1: drain -> up, as the file says; it is down: health check: connection refused"]);
}

#[test]
fn a_reload_keeps_commands_and_forgets_those_that_are_over() {
    let Bench { _dir, path, mut manager } = bench();
    for (name, action) in [("web/b1", Action::Drain), ("web/b2", Action::Down), ("web/b3", Action::Up)] {
        command(&mut manager, name, action);
    }
    let b2 = "[[service.backend]]\nname = \"b2\"\naddress = \"10.1.0.12\"\nweight = 50\n";
    std::fs::write(&path, edited(&[(b2, ""), ("state = \"drain\"", "")])).unwrap();
    let report = manager.reload(None).unwrap();
    let expected = [
        "the command about backend web/b2 (down, the file says up) is over: it is gone",
        "the command about backend web/b3 (up, the file says drain) is over: the new file says the same",
        "1 backend differs from the file by command: web/b1 drain, the file says up",
    ];
    assert_eq!(report.warnings, expected);
    assert_eq!(state(&manager, "b1").0, "drain");
    std::fs::write(&path, CONFIG).unwrap();
    manager.reload(None).unwrap();
    assert_eq!(state(&manager, "b2").0, "up", "another one of that name");
}

#[test]
fn what_is_not_kept_yet_is_kept_once() {
    let Bench { _dir, path, mut manager } = bench();
    command(&mut manager, "web/b1", Action::Drain);
    assert!(manager.unkept().is_none(), "this one has no state file");
    let mut config = Config::clone(&manager.config);
    config.control.state_file = Some(path.with_file_name("state.json"));
    manager.state_file = StateFile::open(&config, &path).0;
    let (file, commands) = manager.unkept().unwrap();
    assert_eq!(commands.get("web", "b1").state, Some(State::Drain));
    file.write(&commands).unwrap();
    assert!(manager.unkept().is_none());
    command(&mut manager, "web/b1", Action::Up);
    assert_eq!(manager.unkept().unwrap().1, Commands::default());
    assert_eq!(StateFile::open(&config, &path).1, commands, "what the next start finds");
}
