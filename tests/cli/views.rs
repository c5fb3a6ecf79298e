//! What `show` can do beside showing everything once: filters, order, units, rates, colours, watching.

use std::io::Read;
use std::process::Stdio;
use std::time::Duration;

use crate::{Running, command, run, start};

fn show(running: &Running, args: &[&str]) -> (i32, String, String) {
    run(&[&["--socket", &running.socket, "show"], args].concat())
}

/// The first words of the lines that are backends.
fn rows(out: &str) -> Vec<&str> {
    out.lines().filter_map(|line| line.split_whitespace().next()).filter(|word| word.contains('/')).collect()
}

#[test]
fn commands_may_be_shortened_as_long_as_they_stay_unique() {
    let running = start();
    let whole = show(&running, &["backends", "--exact"]);
    assert_eq!(whole.0, 0);
    let words = |out: &str| out.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let (status, short, _) = run(&["--socket", &running.socket, "sh", "b", "--exact"]);
    assert_eq!((status, words(&short)[..12].to_vec()), (0, words(&whole.1)[..12].to_vec()));
    assert_eq!(run(&["--socket", &running.socket, "back", "dr", "web/b1"]).0, 0);
    let (status, _, error) = show(&running, &["s"]);
    assert_eq!((status, error.as_str()), (2, "error: `s` may be services or status\n"));
    let (status, _, error) = run(&["re"]);
    assert_eq!((status, error.as_str()), (2, "error: `re` may be replay or reload\n"));
    let (status, _, error) = show(&running, &["fire"]);
    assert_eq!(status, 2);
    assert!(error.starts_with("error: `tidegate show` has no `fire`; there are services, backends, "), "{error}");
    for (args, meant) in
        [(&["shwo"][..], "'show'"), (&["show", "servics"], "'services'"), (&["show", "--jsno"], "'--json'")]
    {
        let (status, _, error) = run(args);
        assert!(status == 2 && error.contains(meant), "{args:?}: {error}");
    }
}

#[test]
fn views_are_limited_to_what_is_named() {
    let running = start();
    let all = |args: &[&str]| show(&running, args).1;
    assert_eq!(rows(&all(&["backends"])), ["web/b1", "web/b2", "web6/b1"]);
    assert_eq!(rows(&all(&["backends", "web"])), ["web/b1", "web/b2"]);
    assert_eq!(rows(&all(&["backends", "b1"])), ["web/b1", "web6/b1"]);
    assert_eq!(rows(&all(&["backends", "web/b2", "2001:db8:1::11"])), ["web/b2", "web6/b1"]);
    let services = all(&["services", "web6"]);
    assert!(services.contains("web6\n") && !services.contains("192.0.2.10"), "{services}");
    let json: serde_json::Value = serde_json::from_str(&all(&["backends", "10.1.0.11:8080", "--json"])).unwrap();
    assert_eq!((json["backends"].as_array().unwrap().len(), &json["backends"][0]["name"]), (1, &"b1".into()));
    let (status, out, error) = show(&running, &["services", "wbe"]);
    let said = "error: no service or backend wbe, did you mean web?; see `tidegate show services`\n";
    assert_eq!((status, out.as_str(), error.as_str()), (2, "", said));
    assert_eq!(show(&running, &["connections", "wbe"]), (2, String::new(), said.to_owned()));
    let (status, out, _) = show(&running, &["connections", "web"]);
    assert!(status == 0 && out.ends_with("\nThere are none.\n"), "{out}");
}

#[test]
fn rows_are_sorted_by_a_column_and_numbers_are_whole_if_asked_for() {
    let running = start();
    let (_, out, _) = show(&running, &["backends", "--sort", "weight", "--exact"]);
    assert_eq!(rows(&out), ["web/b1", "web6/b1", "web/b2"]);
    assert!(out.contains("  123456  9876543210  "), "{out}");
    let (status, _, error) = show(&running, &["backends", "--sort", "byte$"]);
    assert!(status == 2 && error.contains("no column byte$, did you mean bytes?; there are backend, "), "{error}");
    let (status, _, error) = show(&running, &["status", "--sort", "state"]);
    assert!(status == 2 && error.contains("--sort is not for status"), "{error}");
}

#[test]
fn rates_are_measured_between_two_looks() {
    let running = start();
    let (counters, first) = (running.workers[0].counters.clone(), running.first);
    let adding = std::thread::spawn(move || {
        for _ in 0..400 {
            counters.backend(first).unwrap().packets.add(10);
            std::thread::sleep(Duration::from_millis(2));
        }
    });
    let (status, out, error) = show(&running, &["backends", "--rate", "0.3", "--json"]);
    assert_eq!((status, error.as_str()), (0, ""));
    let value: serde_json::Value = serde_json::from_str(&out).unwrap();
    let rate = value["backends"][0]["rates"]["packets_per_s"].as_f64().unwrap();
    let seconds = value["seconds"].as_f64().unwrap();
    assert!(seconds >= 0.3 && rate > 0.0 && rate <= 4_000.0 / seconds, "{value}");
    assert_eq!(value["backends"][1]["rates"]["packets_per_s"], 0.0);
    for view in ["services", "backends", "ports", "drops"] {
        let (status, out, error) = show(&running, &[view, "--rate=0.1"]);
        assert!(status == 0 && out.contains("/S") && out.contains("\nOver 0."), "{view}: {out}{error}");
    }
    let (status, _, error) = show(&running, &["neighbors", "--rate"]);
    assert!(status == 2 && error.contains("--rate is not for neighbors"), "{error}");
    adding.join().unwrap();
}

#[test]
fn colours_are_for_terminals_unless_they_are_asked_for() {
    let running = start();
    let shown = |args: &[&str], variables: &[(&str, &str)]| {
        let args = [&["--socket", &running.socket, "show", "backends"], args].concat();
        let output = command(&args).envs(variables.iter().copied()).output().unwrap();
        String::from_utf8(output.stdout).unwrap().contains("\u{1b}[32mup\u{1b}[0m")
    };
    assert!(!shown(&[], &[]));
    assert!(shown(&["--color", "always"], &[("NO_COLOR", "1"), ("TERM", "dumb")]));
    assert!(shown(&[], &[("CLICOLOR_FORCE", "1")]));
    assert!(!shown(&[], &[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")]));
    assert!(!shown(&["--color=never"], &[("CLICOLOR_FORCE", "1")]));
    assert!(shown(&[], &[("TIDEGATE_COLOR", "always")]));
    // Faults of the arguments, too.
    let fault = |when: &str| String::from_utf8(command(&["shwo", "--color", when]).output().unwrap().stderr).unwrap();
    assert!(fault("always").contains('\u{1b}') && !fault("never").contains('\u{1b}'));
}

#[test]
fn a_watched_view_comes_block_by_block_until_its_reader_leaves() {
    let running = start();
    let mut child = command(&["--socket", &running.socket, "show", "drops", "--watch", "0.1"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut seen = String::new();
    let mut out = child.stdout.take().unwrap();
    while seen.matches("REASON").count() < 3 {
        let mut bytes = [0; 4096];
        let count = out.read(&mut bytes).unwrap();
        assert!(count > 0, "it ended: {seen}");
        seen.push_str(std::str::from_utf8(&bytes[..count]).unwrap());
    }
    assert!(seen.contains("\n\nREASON") && !seen.contains('\u{1b}'), "{seen:?}");
    drop(out);
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(141), b"".as_slice()));
}

#[test]
fn several_backends_change_together_or_none_does() {
    let running = start();
    let asked = |args: &[&str]| run(&[&["--socket", &running.socket, "backend"], args].concat());
    let (status, out, error) = asked(&["drain", "web/b1", "wbe6/b1", "web/b9"]);
    let said = "error: no backend wbe6/b1, did you mean web6/b1?; see `tidegate show backends`\n\
                error: no backend web/b9, did you mean web/b1?; see `tidegate show backends`\n";
    assert_eq!((status, out.as_str(), error.as_str()), (2, "", said));
    assert!(!show(&running, &["backends", "--json"]).1.contains("\"by_command\":true"));
    let (status, out, _) = asked(&["weight", "web/b1", "[2001:db8:1::11]:80", "50"]);
    assert_eq!(status, 0);
    assert!(out.contains("web/b1: weight 100 -> 50") && out.contains("web6/b1: weight 100 -> 50"), "{out}");
    assert_eq!(asked(&["weight", "web/b1"]).0, 2);
}
