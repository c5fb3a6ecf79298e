//! The binary with wrong input: each message says what and where, then what to do, and nothing panics.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A directory with a configuration and a capture that work, to be spoiled.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/gre-v4-over-v4");
        fs::copy(golden.join("in.pcap"), place.path("in.pcap")).unwrap();
        let config = fs::read_to_string(golden.join("config.toml")).unwrap();
        let config = config.replace("@IN.wan@", &place.name("in.pcap")).replace("@OUT.wan@", &place.name("sent.pcap"));
        fs::write(place.path("config.toml"), config).unwrap();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn name(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> String {
        fs::write(self.path(name), bytes).unwrap();
        self.name(name)
    }

    /// The configuration with one text in it replaced, in a file of its own.
    fn config(&self, name: &str, from: &str, to: &str) -> String {
        let text = fs::read_to_string(self.path("config.toml")).unwrap();
        assert!(text.contains(from), "{from} is not in the configuration");
        self.write(name, text.replace(from, to))
    }

    /// Replays `in.pcap` with `more` arguments.
    fn replay(&self, more: &[&str]) -> Said {
        let (config, input) = (self.name("config.toml"), self.name("in.pcap"));
        tidegate(&[&["replay", "--config", &config, "--in", &input], more].concat())
    }

    /// Runs `config` for a moment.
    #[cfg(feature = "dpdk")]
    fn run(&self, config: &str, more: &[&str]) -> Said {
        let socket = self.name("socket");
        tidegate(&[&["--socket", &socket, "run", "--config", config, "--for", "0.2"], more].concat())
    }

    /// Runs with another device.
    #[cfg(feature = "dpdk")]
    fn run_on(&self, device: &str) -> Said {
        let old = format!("net_pcap0,rx_pcap={},tx_pcap={}", self.name("in.pcap"), self.name("sent.pcap"));
        self.run(&self.config("device.toml", &old, device), &["--", "--no-huge"])
    }
}

/// How a command ended.
struct Said {
    command: String,
    status: i32,
    stderr: String,
}

impl Said {
    fn of(command: String, output: Output) -> Self {
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!stderr.contains("panicked at"), "{command}:\n{stderr}");
        let status = output.status.code().unwrap_or_else(|| panic!("{command}: {}\n{stderr}", output.status));
        Self { command, status, stderr }
    }

    /// Ended with `status`, and one line says each of `parts`.
    #[track_caller]
    fn is(&self, status: i32, parts: &[&str]) {
        let Self { command, stderr, .. } = self;
        assert_eq!(self.status, status, "{command}:\n{stderr}");
        let fits = |line: &str| parts.iter().all(|part| line.contains(part));
        assert!(parts.is_empty() || stderr.lines().any(fits), "{command}: no line says {parts:?}:\n{stderr}");
    }
}

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("TIDEGATE_")) {
        command.env_remove(name);
    }
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn tidegate(args: &[&str]) -> Said {
    let said = command(args).output().unwrap();
    Said::of(args.join(" "), said)
}

// ---- captures --------------------------------------------------------------------------------------------------

#[test]
fn captures_that_cannot_be_replayed() {
    let place = Place::new();
    let good = fs::read(place.path("in.pcap")).unwrap();
    let changed = |at: usize, bytes: &[u8]| {
        let mut all = good.clone();
        all[at..at + bytes.len()].copy_from_slice(bytes);
        all
    };
    let first = 24 + 16 + u32::from_le_bytes(good[32..36].try_into().unwrap()) as usize;
    let second = format!("byte {first}");
    let keep = format!("head -c {first}");
    let pcapng = [&[0x0a, 0x0d, 0x0d, 0x0a, 28, 0, 0, 0, 0x4d, 0x3c, 0x2b, 0x1a][..], &[0; 16]].concat();
    let cases: &[(&str, Vec<u8>, &[&str])] = &[
        ("cut-in-data", good[..first + 16 + 9].to_vec(), &["record 2", &second, "is cut", &keep]),
        ("cut-in-header", good[..first + 7].to_vec(), &["record 2", &second, "is cut", &keep]),
        ("empty", Vec::new(), &["not a capture", "0 bytes", "pktgen pcap"]),
        ("short", good[..23].to_vec(), &["not a capture", "23 bytes"]),
        ("text", b"this is a text and no capture".to_vec(), &["not a capture"]),
        ("cooked", changed(20, &[113]), &["link type 113", "Linux cooked", "ethernet", "tcpdump -i eth0"]),
        ("pcapng", pcapng, &["pcapng", "editcap -F pcap"]),
        ("damaged", changed(first + 8, &[0xff; 4]), &["record 2", &second, "length 4294967295", "damaged"]),
        ("version", changed(4, &[9]), &["version 9.4", "2.4"]),
    ];
    for (name, bytes, parts) in cases {
        let input = place.write(name, bytes);
        let said = tidegate(&[
            "replay",
            "--config",
            &place.name("config.toml"),
            "--in",
            &input,
            "--out",
            &place.name("out.pcap"),
            "--stats",
            &place.name("stats.json"),
        ]);
        said.is(1, &[&[input.as_str()], *parts].concat());
        assert!(
            !place.path("out.pcap").exists() && !place.path("stats.json").exists(),
            "{name}: something was written"
        );
    }
}

#[test]
fn files_that_cannot_be_read_or_written() {
    let place = Place::new();
    let config = place.name("config.toml");
    for (missing, why) in [(place.name("missing.pcap"), "No such file"), (place.name(""), "Is a directory")] {
        tidegate(&["replay", "--config", &config, "--in", &missing]).is(1, &[&missing, "cannot read", why, "capture"]);
    }
    let nowhere = place.name("nowhere/out");
    place.replay(&["--out", &nowhere]).is(1, &[&nowhere, "cannot write", "No such file", "choose"]);
    place.replay(&["--out", &place.name("")]).is(1, &["cannot write", "Is a directory"]);
    place.replay(&["--out", "/dev/full"]).is(1, &["/dev/full", "cannot write", "No space left"]);
    let out = place.name("out.pcap");
    place.replay(&["--out", &out, "--stats", &nowhere]).is(1, &[&nowhere, "cannot write", "choose"]);
    assert!(!place.path("out.pcap").exists(), "figures that cannot be written are found before the work");
    place.replay(&["--events", &place.name("missing")]).is(1, &["missing", "cannot read", "JSON lines"]);
}

#[test]
fn outputs_that_would_destroy_inputs() {
    let place = Place::new();
    let before = fs::read(place.path("in.pcap")).unwrap();
    let (input, config, out) = (place.name("in.pcap"), place.name("config.toml"), place.name("out.pcap"));
    fs::hard_link(&input, place.path("link.pcap")).unwrap();
    place.replay(&["--out", &input]).is(2, &["--out", &input, "--in names this file", "another"]);
    place.replay(&["--out", &place.name("link.pcap")]).is(2, &["--in names this file"]);
    place.replay(&["--out", &config]).is(2, &["--config names this file"]);
    place.replay(&["--stats", &input]).is(2, &["--stats", "--in names this file"]);
    place.replay(&["--out", &out, "--stats", &out]).is(2, &["--stats", "--out names this file"]);
    assert_eq!(fs::read(place.path("in.pcap")).unwrap(), before);
    assert!(!place.path("out.pcap").exists());
    place.replay(&["--out", "/dev/null", "--stats", "/dev/null"]).is(0, &[]);
}

#[test]
fn ports_that_do_not_fit_the_configuration() {
    let place = Place::new();
    let input = place.name("in.pcap");
    place.replay(&["--in", &input]).is(2, &["--in", "second file for one port"]);
    place.replay(&["--out", &format!("lan={}", place.name("out.pcap"))]).is(2, &["--out lan", "no such port", "wan"]);
    place.replay(&["--out", "wan="]).is(2, &["--out", "PORT=FILE"]);
    let two =
        "[[port]]\nname = \"lan\"\ndevice = \"net_null1\"\nmac = \"02:00:00:00:00:09\"\n\n[[port]]\nname = \"wan\"";
    let config = place.config("two.toml", "[[port]]\nname = \"wan\"", two);
    tidegate(&["replay", "--config", &config, "--in", &input]).is(2, &["--in", "which port", "lan, wan"]);
}

// ---- events ----------------------------------------------------------------------------------------------------

#[test]
fn events_that_make_no_sense() {
    let place = Place::new();
    let restart = place.config("restart.toml", "connections = 1000", "connections = 2000");
    let bad = place.config("bad.toml", "192.0.2.10", "192.0.2.300");
    let event = |rest: &str| format!("{{\"at\": 1, {rest}}}");
    let cases: &[(String, i32, &[&str])] = &[
        ("{\"at\": 2, \"backend\": \"web/b1\", \"state\": \"up\"}".into(), 1, &[":3: ", "at 1", "order of time"]),
        (
            event("\"backend\": \"web/b9\", \"state\": \"up\""),
            1,
            &[":2: ", "web/b9", "not in the configuration", "web/b1"],
        ),
        (event("\"backend\": \"b1\", \"state\": \"up\""), 1, &[":2: ", "\"b1\"", "SERVICE/BACKEND"]),
        (event("\"backend\": \"web/b1\", \"state\": \"off\""), 1, &[":2: ", "\"off\"", "up, down or drain"]),
        (event("\"backend\": \"web/b1\""), 1, &[":2: ", "\"backend\" and \"state\", or \"config\""]),
        (event("\"backend\": \"web/b1\", \"state\": \"up\", \"config\": \"x\""), 1, &[":2: ", "or \"config\""]),
        (event("\"backends\": \"web/b1\""), 1, &[":2: ", "unknown field `backends`", "column"]),
        ("{\"at\": -1, \"config\": \"config.toml\"}".into(), 1, &[":2: ", "at -1", "seconds from the first packet"]),
        ("{\"at\": \"soon\", \"config\": \"x\"}".into(), 1, &[":2: ", "\"soon\"", "write it like"]),
        ("{\"at\": 1, \"backend\":".into(), 1, &[":2: ", "column 20", "write it like"]),
        ("[1, 2]".into(), 1, &[":2: ", "not a JSON object", "such as"]),
        ("down".into(), 1, &[":2: ", "not a JSON object"]),
        (event("\"config\": \"missing.toml\""), 78, &["missing.toml", "cannot read", "No such file"]),
        (event("\"config\": \"bad.toml\""), 78, &[&bad, "192.0.2.300", "IPv4 or IPv6"]),
        (event("\"config\": \"restart.toml\""), 1, &[":2: ", &restart, "needs a restart", "dataplane.connections"]),
    ];
    for (line, status, parts) in cases {
        // A good line before and after.
        let good = event("\"backend\": \"web/b1\", \"state\": \"down\"");
        let first = good.replace("1,", "0.001,");
        let events = place.write("events.jsonl", format!("{first}\n{line}\n{good}\n"));
        let said = place.replay(&["--out", &place.name("out.pcap"), "--events", &events]);
        said.is(*status, parts);
        assert!(*status == 78 || said.stderr.contains(&events), "{line}: the file is not named");
        assert!(!place.path("out.pcap").exists(), "{line}: something was written");
    }
}

// ---- configuration and arguments -------------------------------------------------------------------------------

#[test]
fn configurations_that_are_wrong() {
    let place = Place::new();
    let input = place.name("in.pcap");
    let config = place.config("no-mac.toml", "mac = \"02:aa:00:00:00:01\"\n", "");
    tidegate(&["replay", "--config", &config, "--in", &input]).is(78, &[&config, "wan", "no `mac`", "set `mac"]);
    let commands = |config: &str| {
        [
            tidegate(&["check", config]),
            tidegate(&["replay", "--config", config, "--in", &input]),
            tidegate(&["run", "--config", config]),
        ]
    };
    let typo = place.config("typo.toml", "protocol = \"tcp\"", "protocoll = \"tcp\"");
    for said in commands(&typo) {
        said.is(78, &["typo.toml:", "`protocoll`", "did you mean `protocol`"]);
    }
    let same = "[[port]]\nname = \"b\"\ndevice = \"net_pcap0,rx_pcap=x\"\n\n[[port]]\nname = \"wan\"";
    for said in commands(&place.config("same.toml", "[[port]]\nname = \"wan\"", same)) {
        said.is(78, &["same.toml:", "is there twice with no `vlan`"]);
    }
    for said in commands(&place.write("broken.toml", "[[port]\nname =")) {
        said.is(78, &["broken.toml:1:"]);
    }
    for said in commands(&place.name("missing.toml")) {
        said.is(78, &["missing.toml", "cannot read the file", "No such file"]);
    }
    for said in commands(&place.name("")) {
        said.is(78, &["cannot read the file", "Is a directory"]);
    }
    for said in commands(&place.write("binary.toml", [0, 159, 146, 150])) {
        said.is(78, &["binary.toml"]);
    }
}

#[test]
fn more_connections_than_there_is_memory_for() {
    let place = Place::new();
    let config = place.config("huge.toml", "connections = ", "connections = 1_000_000_000 # ");
    let (input, output) = (place.name("in.pcap"), place.name("out.pcap"));
    let args = ["replay", "--config", &config, "--in", &input, "--out", &output];
    // So that it fails on the largest machine.
    let said = Command::new("sh")
        .args(["-c", "ulimit -v 4000000; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_tidegate")])
        .args(args)
        .output()
        .unwrap();
    Said::of(args.join(" "), said).is(1, &["no memory", "MiB", "lower dataplane.connections"]);
    assert!(!place.path("out.pcap").exists());
}

#[test]
fn arguments_that_are_wrong() {
    let place = Place::new();
    let config = place.name("config.toml");
    for bad in ["0", "-1", "-0.5", "nan", "inf", "soon", ""] {
        tidegate(&["run", "--config", &config, "--for", bad]).is(2, &["--for", &format!("'{bad}'"), "above 0"]);
    }
    tidegate(&["run", "--config", &config, "--frobnicate"]).is(2, &["--frobnicate"]);
    tidegate(&["replay", "--config", &config]).is(2, &["required"]);
    tidegate(&["run"]).is(2, &["required"]);
    tidegate(&["balance"]).is(2, &["balance"]);
    tidegate(&["show", "weather"]).is(2, &["weather"]);
    tidegate(&["check"]).is(2, &["required"]);
    tidegate(&[]).is(2, &["Usage: tidegate"]);
}

#[test]
fn nobody_to_ask() {
    let place = Place::new();
    let socket = place.name("socket");
    for args in [&["show", "services"][..], &["show", "connections", "--json"], &["reload"], &["reload", "x.toml"]] {
        tidegate(&[args, &["--socket", &socket]].concat()).is(1, &[&socket, "no tidegate answers", "tidegate run"]);
    }
    let file = place.write("a-file", "no socket");
    tidegate(&["show", "drops", "--socket", &file]).is(1, &[&file]);
}

// ---- run -------------------------------------------------------------------------------------------------------

#[cfg(feature = "dpdk")]
#[test]
fn devices_that_do_not_work() {
    let place = Place::new();
    let (input, sent) = (place.name("in.pcap"), place.name("sent.pcap"));
    let pcap = |rx: &str, tx: &str| place.run_on(&format!("net_pcap0,rx_pcap={rx},tx_pcap={tx}"));
    let missing = place.name("missing.pcap");
    pcap(&missing, &sent).is(1, &[&missing, "does not exist", "pktgen pcap"]);
    let text = place.write("text", "this is a text and no capture");
    pcap(&text, &sent).is(1, &[&text, "not a capture", "pktgen pcap"]);
    let mut cooked = fs::read(&input).unwrap();
    cooked[20] = 113;
    let cooked = place.write("cooked", cooked);
    pcap(&cooked, &sent).is(1, &[&cooked, "link type 113", "Ethernet"]);
    pcap(&input, &place.name("nowhere/out")).is(1, &["cannot be written", "there is no directory", "nowhere"]);
    pcap(&input, &place.name("")).is(1, &["cannot be written", "is a directory"]);
    place.run_on("net_pcap0").is(1, &["net_pcap0", "names no capture", "rx_pcap=in.pcap"]);
    // What only DPDK knows.
    for device in ["net_nosuch0", "net_pcap0,iface=nosuch0", "net_null0,size=abc", "nosuch0"] {
        place.run_on(device).is(1, &["error: port wan", &format!("device = \"{device}\""), "lines above", "correct"]);
    }
    place.run_on("net_af_packet0,iface=nosuch0").is(1, &["nosuch0", "does not exist", "ip link"]);
    place.run_on("0000:ff:1f.7").is(1, &["no PCI device 0000:ff:1f.7", "dpdk-devbind.py"]);
}

#[cfg(feature = "dpdk")]
#[test]
fn eal_arguments_that_do_not_work() {
    let place = Place::new();
    let config = place.name("config.toml");
    for args in [&["--nonsense"][..], &["--no-huge", "--lcores", "all"], &["-l", "999"], &["--in-memory", "--no-huge"]]
    {
        place.run(&config, &[&["--"], args].concat()).is(1, &["error: EAL", args[0], "dataplane.eal"]);
    }
    place.run(&config, &["--", "--no-huge", "-m", "1"]).is(1, &["error: packet buffers", "mbufs", "-m"]);
    place.run(&config, &["--", "--no-huge", "-l", "0"]).is(1, &["0 worker lcores", "1 worker", "leave"]);
    place.run(&config, &["--", "--no-huge", "--help"]).is(1, &["--help", "leave it out"]);
}

#[cfg(feature = "dpdk")]
#[test]
fn places_where_run_cannot_write() {
    let place = Place::new();
    let config = place.name("config.toml");
    let nowhere = place.name("nowhere/stats.json");
    place
        .run(&config, &["--stats", &nowhere, "--", "--no-huge"])
        .is(1, &[&nowhere, "--stats", "cannot write", "choose"]);
    assert!(!place.path("sent.pcap").exists(), "packets were sent before the figures' place was looked at");
    let on =
        |socket: &str| tidegate(&["--socket", socket, "run", "--config", &config, "--for", "0.2", "--", "--no-huge"]);
    let file = place.write("a-file", "no socket");
    on(&file).is(1, &[&file, "not a socket", "--socket"]);
    on("/proc/tidegate.sock").is(1, &["/proc/tidegate.sock", "cannot listen", "--socket"]);
    on(&place.name(&"long".repeat(40))).is(1, &["cannot listen", "--socket"]);
    assert!(!place.path("sent.pcap").exists(), "packets were sent before the socket was looked at");
    assert_eq!(fs::read(&file).unwrap(), b"no socket");
}

/// Ends the process whatever becomes of the test.
#[cfg(feature = "dpdk")]
struct Running(std::process::Child);

#[cfg(feature = "dpdk")]
impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[cfg(feature = "dpdk")]
#[test]
fn a_second_instance_on_the_same_socket_leaves_the_first_alone() {
    use std::time::{Duration, Instant};
    let place = Place::new();
    let (config, socket) = (place.config("first.toml", "sent.pcap", "first.pcap"), place.name("socket"));
    let args = ["--socket", &socket, "run", "--config", &config, "--for", "60", "--", "--no-huge"];
    let first = Running(command(&args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    let started = Instant::now();
    while tidegate(&["show", "status", "--socket", &socket]).status != 0 {
        assert!(started.elapsed() < Duration::from_secs(30), "the first does not start");
        std::thread::sleep(Duration::from_millis(50));
    }
    place
        .run(&place.name("config.toml"), &["--", "--no-huge"])
        .is(1, &[&socket, "another process listens", "--socket"]);
    assert!(!place.path("sent.pcap").exists(), "the second one sent packets");
    // The first one still answers, and another place will do for the second.
    tidegate(&["show", "status", "--socket", &socket]).is(0, &[]);
    let other = place.name("other");
    tidegate(&["--socket", &other, "run", "--config", &place.name("config.toml"), "--for", "0.2", "--", "--no-huge"])
        .is(0, &[]);
    assert!(place.path("sent.pcap").exists());
    drop(first);
}
