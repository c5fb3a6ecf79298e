//! The `tidegate` binary as its users meet it: exit statuses, messages and tables.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod shell;
#[path = "../support/mod.rs"]
mod support;
mod views;

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use tidegate::control::config::Config;
use tidegate::control::serve::{ServeOptions, serve};
use tidegate::lb::clock::Now;
use tidegate::lb::handle::{Request, WorkerHandle};
use tidegate::lb::ids::BackendId;
use tidegate::lb::latency::PacketClass;
use tidegate::lb::verdict::DropReason;

const CONFIG: &str = r#"
[[port]]
name = "wan"
device = "net_null0"
addresses = ["10.0.0.2/24", "2001:db8::2/64"]
gateway = "10.0.0.1"
gateway6 = "2001:db8::1"
[[service]]
name = "web"
vip = "192.0.2.10"
port = 80
mode = "nat"
[[service.backend]]
name = "b1"
address = "10.1.0.11"
port = 8080
[[service.backend]]
name = "b2"
address = "10.1.0.12"
weight = 7
state = "drain"
[[service]]
name = "web6"
vip = "2001:db8:80::80"
port = 80
mode = "gre"
[[service.backend]]
name = "b1"
address = "2001:db8:1::11"
"#;

/// The command without the variables that would change its mind.
fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        if name.starts_with("TIDEGATE_") || ["NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE"].contains(&name.as_str()) {
            command.env_remove(name);
        }
    }
    command.args(args).stdin(Stdio::null());
    command
}

fn tidegate(args: &[&str]) -> Output {
    command(args).output().unwrap()
}

/// Exit status, standard output and standard error.
fn run(args: &[&str]) -> (i32, String, String) {
    let Output { status, stdout, stderr } = tidegate(args);
    (status.code().unwrap(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

fn file(dir: &Path, name: &str, text: &str) -> String {
    let path = dir.join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

/// A management thread for the commands to ask; it ends with the test process.
struct Running {
    dir: tempfile::TempDir,
    config: String,
    socket: String,
    workers: Vec<WorkerHandle>,
    /// web/b1.
    first: BackendId,
}

fn start() -> Running {
    let dir = tempfile::tempdir().unwrap();
    let path = file(dir.path(), "tidegate.toml", CONFIG);
    let (manager, worker) = support::manager(Config::load(Path::new(&path)).unwrap(), Path::new(&path));
    let snapshot = manager.snapshot();
    worker.counters.drop_one(DropReason::NoRoute);
    worker.latency.record(PacketClass::Forward, 900, 10);
    let b1 = snapshot.backends().next().unwrap().id;
    let counters = worker.counters.backend(b1).unwrap();
    counters.packets.add(123_456);
    counters.bytes.add(9_876_543_210);
    (0..12).for_each(|_| worker.counters.opened(b1));
    let socket = dir.path().join("api.sock");
    let options = ServeOptions { socket: Some(socket.clone()), for_seconds: Some(60.0), ..Default::default() };
    std::thread::spawn(move || serve(manager, options));
    let requests = worker.requests.clone();
    std::thread::spawn(move || {
        loop {
            match requests.pop() {
                Some(Request::Connections { reply, .. }) => _ = reply.send((Vec::new(), None)),
                Some(Request::Neighbors { reply }) => _ = reply.send(Vec::new()),
                // Whoever asks hears that nobody answers.
                Some(Request::Excerpt { .. }) => {}
                Some(Request::Capture { reply, .. }) => _ = reply.send((None, Now::default())),
                None => std::thread::sleep(Duration::from_millis(1)),
            }
        }
    });
    support::wait_for_socket(&socket);
    Running { dir, config: path, socket: socket.to_str().unwrap().to_owned(), workers: vec![worker], first: b1 }
}

#[test]
fn version_and_help_are_no_failures() {
    let (status, out, _) = run(&["--version"]);
    assert_eq!(status, 0);
    let expected = format!("tidegate {} (git ", env!("CARGO_PKG_VERSION"));
    assert!(out.starts_with(&expected) && out.contains(", DPDK "), "{out}");
    for command in ["run", "check", "replay", "show", "plan", "reload", "confirm", "rollback", "completions", "man"] {
        let (status, out, _) = run(&[command, "--help"]);
        assert!(status == 0 && out.contains("Usage: tidegate"), "{command}: {out}");
    }
}

#[test]
fn wrong_usage_is_status_2() {
    let cases: [&[&str]; 8] = [
        &[],
        &["fly"],
        &["run"],
        &["check"],
        &["run", "--config", "x.toml", "--for", "-1"],
        &["run", "--config", "x.toml", "--no-huge"],
        &["show", "everything"],
        &["replay", "--config", "x.toml"],
    ];
    for args in cases {
        let (status, _, error) = run(args);
        assert_eq!(status, 2, "{args:?}: {error}");
        assert!(!error.is_empty(), "{args:?}");
    }
    // Who does not know the commands yet is told which there are.
    for (args, command) in [(&[][..], "  drops "), (&["show"], "  drops "), (&["backend"], "  drain ")] {
        let (status, out, error) = run(args);
        let command = if args.is_empty() { "  show " } else { command };
        assert!(status == 2 && out.is_empty() && error.contains(command), "{args:?}: {error}");
    }
}

#[test]
fn a_good_file_is_checked_in_one_line() {
    let dir = tempfile::tempdir().unwrap();
    let path = file(dir.path(), "good.toml", CONFIG);
    let (status, out, error) = run(&["check", &path]);
    assert_eq!((status, error.as_str()), (0, ""));
    assert_eq!(out, format!("{path}: ok, 1 port, 2 services, 3 backends\n"));
}

#[test]
fn a_bad_or_missing_configuration_is_status_78() {
    let dir = tempfile::tempdir().unwrap();
    let bad = file(dir.path(), "bad.toml", &CONFIG.replace("weight = 7", "weigth = 7"));
    let missing = dir.path().join("missing.toml").to_str().unwrap().to_owned();
    let capture = file(dir.path(), "in.pcap", "");
    for path in [&bad, &missing] {
        let replay = format!("wan={capture}");
        let commands: [&[&str]; 3] =
            [&["check", path], &["run", "--config", path], &["replay", "--config", path, "--in", &replay]];
        for args in commands {
            let (status, out, error) = run(args);
            assert_eq!((status, out.as_str()), (78, ""), "{args:?}: {error}");
            assert!(error.starts_with(path.as_str()), "{args:?}: {error}");
        }
    }
    let (_, _, error) = run(&["check", &bad]);
    assert!(error.contains("bad.toml:20:1: ") && error.contains('^'), "{error}");
}

#[cfg(not(feature = "dpdk"))]
#[test]
fn run_without_dpdk_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let path = file(dir.path(), "good.toml", CONFIG);
    let (status, _, error) = run(&["run", "--config", &path, "--for", "1", "--", "--no-huge"]);
    assert_eq!(status, 1);
    assert!(error.contains("built without DPDK"), "{error}");
}

#[test]
fn without_a_running_tidegate_the_place_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("none.sock").to_str().unwrap().to_owned();
    for command in [["show", "services"].as_slice(), &["reload"], &["plan", "x.toml"], &["confirm"], &["rollback"]] {
        let (status, out, error) = run(&[&["--socket", &socket], command].concat());
        assert_eq!((status, out.as_str()), (1, ""));
        assert!(error.contains(&socket) && error.contains("`tidegate run --config FILE`"), "{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
}

#[test]
fn services_are_laid_out_as_vips_with_their_backends() {
    let Running { socket, dir: _dir, .. } = start();
    let (status, out, error) = run(&["show", "services", "--socket", &socket]);
    assert_eq!((status, error.as_str()), (0, ""));
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines[1], "tcp 192.0.2.10:80 maglev nat  web");
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let b1 = words(lines[2]);
    assert_eq!((b1[0].as_str(), b1[1].as_str(), b1[2].as_str()), ("10.1.0.11:8080", "b1", "up"), "{out}");
    assert_eq!(b1[5..], ["100", "12", "123K", "9.88G", "-", "not", "checked"], "{out}");
    assert_eq!(words(lines[3])[2], "drain");
    assert!(lines[3].ends_with("configuration") && lines[2].starts_with("  10."), "{out}");
    assert_eq!(lines[4], "tcp [2001:db8:80::80]:80 maglev gre  web6");
    assert!(lines[5].starts_with("  [2001:db8:1::11]:80 "), "{out}");
    assert_eq!(words(lines[6])[..4], ["total", "12", "123K", "9.88G"], "{out}");
    assert_eq!(lines[7..], ["2 services, 3 backends: 2 up, 1 drain"], "{out}");
    // Numbers end in the same column.
    let weight_end = |line: &str, weight: &str| line.find(&format!(" {weight} ")).unwrap() + weight.len();
    assert_eq!(weight_end(lines[2], "100"), weight_end(lines[3], "7"), "{out}");
}

#[test]
fn every_view_is_a_table_and_json() {
    let Running { socket, workers, dir: _dir, .. } = start();
    let views = [
        ("services", "SERVICE, BACKENDS"),
        ("backends", "web/b1"),
        ("connections", "CLIENT"),
        ("ports", "net_null0"),
        ("workers", "PACKETS/BURST"),
        ("drops", "no_route"),
        ("latency", "forward"),
        ("neighbors", "MAC"),
    ];
    for (view, expected) in views {
        let (status, out, error) = run(&["show", view, "--socket", &socket]);
        assert_eq!((status, error.as_str()), (0, ""), "{view}");
        assert!(out.contains(expected), "{view}: {out}");
        let (status, out, _) = run(&["show", view, "--json", "--socket", &socket]);
        let value: serde_json::Value = serde_json::from_str(&out).unwrap_or_else(|error| panic!("{view}: {error}"));
        let key = if view == "latency" { "latency_ns" } else { view };
        assert!(status == 0 && !value[key].is_null(), "{view}: {out}");
    }
    let (_, out, _) = run(&["show", "latency", "--socket", &socket]);
    let row = |name: &str| out.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name}: {out}"));
    assert!(["forward", "all but held", "sent by worker 0"].iter().all(|name| row(name).contains(" 10  ")), "{out}");
    assert!(row("forward").ends_with(" ns") && row("handoff").ends_with(" -"), "{out}");
    let (_, out, _) = run(&["show", "drops", "--all", "--json", "--socket", &socket]);
    let value: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(value["drops"].as_array().unwrap().len(), DropReason::COUNT);
    assert_eq!(workers[0].counters.drops(DropReason::NoRoute), 1);
}

#[test]
fn the_configuration_in_use_is_printed_as_a_file_that_loads() {
    let Running { dir, socket, config, .. } = start();
    let (status, _, error) = run(&["backend", "drain", "web/b1", "--socket", &socket]);
    assert_eq!(status, 0, "{error}");
    let (status, out, error) = run(&["show", "config", "--socket", &socket]);
    assert_eq!((status, error.as_str()), (0, ""));
    assert!(out.starts_with(&format!("# What runs, of {config}\n")), "{out}");
    let note = "\n[[service.backend]]\n# by command: drain, the file says up\nname = \"b1\"\n";
    assert!(out.contains(note) && out.contains("\nstate = \"up\"\n"), "{out}");
    let again = file(dir.path(), "again.toml", &out);
    let (status, out, _) = run(&["plan", &again, "--socket", &socket]);
    assert_eq!(status, 0, "{out}");
    let (_, out, _) = run(&["show", "config", "--json", "--secrets", "--socket", &socket]);
    let value: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(value["config"]["service"][0]["backend"][1]["weight"], 7);
    assert_eq!(value["by_command"][0], "web/b1 drain, the file says up");
}

#[test]
fn the_socket_may_come_from_the_environment() {
    let Running { socket, dir: _dir, .. } = start();
    let binary = env!("CARGO_BIN_EXE_tidegate");
    let with =
        |args: &[&str]| Command::new(binary).args(args).env("TIDEGATE_SOCKET", &socket).output().unwrap().status.code();
    assert_eq!(with(&["show", "status"]), Some(0));
    assert_eq!(with(&["show", "status", "--socket", "/nowhere/at/all.sock"]), Some(1), "the flag wins");
}

#[test]
fn reload_prints_what_changed_or_fails_whole() {
    let Running { dir, config, socket, .. } = start();
    std::fs::write(&config, CONFIG.replace("weight = 7", "weight = 70")).unwrap();
    let (status, out, error) = run(&["reload", "--socket", &socket]);
    assert_eq!((status, error.as_str()), (0, ""));
    assert_eq!(out, format!("{config}: 1 weight\n  ~ backend web/b2: weight 7 -> 70\n"));
    let bad = file(dir.path(), "bad.toml", &CONFIG.replace("weight = 7", "weight = -7"));
    let (status, out, error) = run(&["reload", &bad, "--socket", &socket]);
    assert_eq!((status, out.as_str()), (78, ""));
    assert!(error.contains("bad.toml:"), "{error}");
    let other = file(dir.path(), "other.toml", &CONFIG.replace("net_null0", "net_null1"));
    let (status, _, error) = run(&["reload", &other, "--socket", &socket]);
    assert_eq!(status, 1);
    assert!(error.contains("port wan: device") && error.contains("restart"), "{error}");
}

#[test]
fn a_plan_is_printed_and_its_status_says_whether_there_is_something_to_do() {
    let Running { dir, config, socket, workers, .. } = start();
    workers[0].counters.connections_active.set(12);
    let (status, out, error) = run(&["plan", &config, "--socket", &socket]);
    assert_eq!((status, error.as_str()), (0, ""));
    assert!(out.starts_with(&format!("{config}: no changes\nconnections: 0 of 12 end\n")), "{out}");
    let text = CONFIG.replace("10.1.0.11", "10.1.0.13").replace("weight = 7", "weight = 70");
    let new = file(dir.path(), "new.toml", &text);
    let (status, out, error) = run(&["plan", &new, "--socket", &socket]);
    assert_eq!((status, error.as_str()), (2, ""));
    let expected = format!(
        "{new}: ~1 backend, 1 weight\n  ~ backend web/b1: address 10.1.0.11 -> 10.1.0.13\n  ~ backend web/b2: weight 7 -> 70\n\
         TABLE OF SERVICE  SLOTS   MOVE    SHARE\nweb               65537  65537  100.00%\n\
         connections: 12 of 12 end\n  12 of web/b1: it becomes another server, or its service another one\n\
         compared with what runs, of {config}\n"
    );
    assert_eq!(out, expected);
    let (status, out, _) = run(&["plan", &new, "--from", &config, "--json"]);
    let plan: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (status, &plan["connections"], &plan["slots"][0]["moved"]),
        (2, &serde_json::Value::Null, &65_537.into())
    );
    let restart = file(dir.path(), "restart.toml", &CONFIG.replace("net_null0", "net_null1"));
    let (status, out, _) = run(&["plan", &restart, "--socket", &socket]);
    assert_eq!(status, 2);
    let words = "a reload will be refused:\n  ~ port wan: device net_null0 -> net_null1\nconnections: the restart ends all 12\n";
    assert!(out.contains(words), "{out}");
    let bad = file(dir.path(), "bad.toml", &CONFIG.replace("weight = 7", "weight = -7"));
    for args in
        [["plan", &bad, "--socket", &socket], ["plan", &bad, "--from", &config], ["plan", &config, "--from", &bad]]
    {
        let (status, out, error) = run(&args);
        assert_eq!((status, out.as_str()), (78, ""));
        assert!(error.contains("bad.toml:20:10: `weight` must be"), "{error}");
    }
    assert_eq!(run(&["plan"]).0, 2, "wrong usage, with a message on standard error and nothing else");
}

#[test]
fn a_reload_can_wait_for_its_confirmation() {
    let Running { dir, config, socket, .. } = start();
    let other = file(dir.path(), "other.toml", &CONFIG.replace("weight = 7", "weight = 70"));
    let asked = |args: &[&str]| run(&[args, &["--socket", &socket]].concat());
    let (status, _, error) = asked(&["confirm"]);
    assert_eq!(
        (status, error.as_str()),
        (1, "error: no reload waits for confirmation; `tidegate reload --confirm SECONDS` makes one that does\n")
    );
    let (status, out, _) = asked(&["reload", &other, "--confirm", "2m"]);
    assert_eq!(status, 0);
    assert!(out.contains("\n`tidegate confirm` within 120 s, or what was of ") && out.contains(&config), "{out}");
    assert!(asked(&["show", "status"]).1.contains(&format!("\nunconfirmed {other}: taken back in ")));
    let (status, _, error) = asked(&["reload"]);
    assert_eq!(status, 1);
    assert!(error.contains("`tidegate rollback` takes it back"), "{error}");
    let (status, out, _) = asked(&["rollback"]);
    assert_eq!((status, out), (0, format!("{config}: runs again, 1 weight\n  ~ backend web/b2: weight 70 -> 7\n")));
    assert!(asked(&["show", "status"]).1.contains(&format!("did not stay:\n{other}: taken back, by command\n")));
    asked(&["reload", &other, "--confirm", "60"]);
    assert_eq!(asked(&["confirm"]), (0, format!("{other}: confirmed\n"), String::new()));
    for bad in ["0", "soon", "25h"] {
        assert_eq!(asked(&["reload", "--confirm", bad]).0, 2, "{bad}");
    }
}

#[test]
fn a_reader_that_leaves_early_is_no_error() {
    let Running { socket, dir: _dir, .. } = start();
    let mut child = Command::new(env!("CARGO_BIN_EXE_tidegate"))
        .args(["show", "drops", "--all", "--socket", &socket])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(141), b"".as_slice()));
}
