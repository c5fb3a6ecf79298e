//! The programs of a test, in a directory of their own; killed by their ids when dropped.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// Longer than anything takes on a busy machine with few cores.
const PATIENCE: Duration = Duration::from_secs(60);

/// Poll loops take whole CPUs, so the tests of this program take turns.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A directory with the files of one test.
pub struct Setup {
    dir: TempDir,
    _turn: MutexGuard<'static, ()>,
}

/// A program that runs.
pub struct Running {
    name: &'static str,
    child: Child,
    log: PathBuf,
    /// testpmd ends when nobody can press Enter any more.
    _stdin: Option<ChildStdin>,
}

/// A run of pktgen that is over.
pub struct Ended {
    pub status: Option<i32>,
    pub report: Value,
    pub log: String,
}

impl Setup {
    pub fn new() -> Self {
        let turn = turn();
        Self { dir: TempDir::new().unwrap(), _turn: turn }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a file, in whose text `DIR` stands for the directory.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, text.replace("DIR", &self.dir.path().display().to_string())).unwrap();
        path
    }

    /// Starts pktgen with a profile, which gets little memory.
    pub fn start_pktgen(&self, command: &str, profile: &str, arguments: &[&str]) -> Running {
        let text = format!("eal = [\"--no-huge\", \"-m\", \"192\", \"--no-pci\"]\nlink_timeout = 60\n{profile}");
        let path = self.write("profile.toml", &text);
        let mut process = Command::new(env!("CARGO_BIN_EXE_pktgen"));
        process.arg(command).arg(path).arg("--json").arg(self.path("report.json")).args(arguments);
        self.start("pktgen", process)
    }

    /// Runs pktgen to its end.
    pub fn pktgen(&self, command: &str, profile: &str, arguments: &[&str]) -> Ended {
        self.start_pktgen(command, profile, arguments).wait(self)
    }

    /// Runs pktgen to its end, with testpmd at the other end of its memif; `None`, loudly, where there is no testpmd.
    ///
    /// A client of a memif connects when it starts and never again, so the server, pktgen, has to be there first.
    pub fn pktgen_with_testpmd(&self, mode: &str, command: &str, profile: &str) -> Option<Ended> {
        if Command::new("dpdk-testpmd").arg("--help").stdin(Stdio::null()).output().is_err() {
            println!("################ SKIPPED: dpdk-testpmd is not installed (package dpdk-dev)");
            return None;
        }
        let mut pktgen = self.start_pktgen(command, profile, &[]);
        pktgen.wait_until("its port is up", |log| log.contains("port wire: "));
        let mut process = Command::new("dpdk-testpmd");
        process.args(["--no-huge", "-m", "192", "--no-pci", "--no-shconf", "--no-telemetry"]);
        process.arg(format!("--lcores=0@({0}),1@({0})", cpus()));
        let socket = self.path("wire.sock");
        process.arg(format!("--vdev=net_memif0,role=client,id=0,socket={},socket-abstract=no", socket.display()));
        // It does not throw away what came before it was ready.
        process.args(["--", "--total-num-mbufs=8192", "--no-flush-rx"]).arg(format!("--forward-mode={mode}"));
        let _testpmd = self.start("testpmd", process);
        Some(pktgen.wait(self))
    }

    /// Starts tidegate with a configuration.
    pub fn start_tidegate(&self, config: &str) -> Running {
        let head = "[dataplane]\nworkers = 1\nconnections = 20_000\nmbufs = 16384\n\
                    eal = [\"--no-huge\", \"-m\", \"256\", \"--no-pci\"]\nidle = \"sleep\"\n\
                    [control]\nsocket = \"DIR/api\"\ngrace = \"0s\"\n";
        let path = self.write("tidegate.toml", &format!("{head}{config}"));
        let mut process = Command::new(tidegate());
        process.arg("run").arg("--config").arg(path).arg("--stats").arg(self.path("stats.json"));
        let mut running = self.start("tidegate", process);
        running.wait_until("it runs", |log| log.contains("API on "));
        running
    }

    /// Ends tidegate and reads its figures.
    pub fn stop_tidegate(&self, running: Running) -> Value {
        running.signal("TERM");
        let status = running.wait_for_end();
        assert_eq!(status, Some(0));
        serde_json::from_slice(&std::fs::read(self.path("stats.json")).unwrap()).unwrap()
    }

    fn start(&self, name: &'static str, mut process: Command) -> Running {
        let log = self.path(&format!("{name}.log"));
        let output = File::create(&log).unwrap();
        process.stdin(Stdio::piped()).stdout(output.try_clone().unwrap()).stderr(output);
        let mut child = process.spawn().unwrap_or_else(|error| panic!("{name}: {error}"));
        let stdin = child.stdin.take();
        Running { name, child, log, _stdin: stdin }
    }
}

impl Running {
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Polls until its output is as it should be; panics with that if it does not come to it.
    pub fn wait_until(&mut self, what: &str, done: impl Fn(&str) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !done(&self.log()) {
            assert!(Instant::now() < end, "{}: waited in vain until {what}:\n{}", self.name, self.log());
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none(), "{} ended before {what}:\n{}", self.name, self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Sends a signal by its name.
    pub fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &id]).status().unwrap().success());
    }

    /// Waits for the end of pktgen, and reads its report.
    pub fn wait(self, setup: &Setup) -> Ended {
        let path = self.log.clone();
        let status = self.wait_for_end();
        let report = std::fs::read(setup.path("report.json")).ok().and_then(|text| serde_json::from_slice(&text).ok());
        let log = std::fs::read_to_string(path).unwrap_or_default();
        Ended { status, report: report.unwrap_or(Value::Null), log }
    }

    fn wait_for_end(mut self) -> Option<i32> {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(Instant::now() < end, "{} did not end:\n{}", self.name, self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Ended {
    /// It came to its end.
    pub fn assert_good(&self) {
        assert_eq!(self.status, Some(0), "{}", self.log);
        assert!(self.report.is_object() && !self.log.contains("panicked"), "{}", self.log);
        assert_documented(&self.report);
    }

    pub fn number(&self, pointer: &str) -> u64 {
        let value = self.report.pointer(pointer).and_then(Value::as_u64);
        value.unwrap_or_else(|| panic!("no {pointer} in {:#}\n{}", self.report, self.log))
    }

    pub fn float(&self, pointer: &str) -> f64 {
        let value = self.report.pointer(pointer).and_then(Value::as_f64);
        value.unwrap_or_else(|| panic!("no {pointer} in {:#}\n{}", self.report, self.log))
    }

    /// Every backend below `pointer`: address, packets and flows.
    pub fn backends(&self, pointer: &str) -> Vec<(String, u64, u64)> {
        let backends = self.report.pointer(pointer).and_then(Value::as_array).unwrap();
        let number = |backend: &Value, key: &str| backend[key].as_u64().unwrap();
        let backend = |b: &Value| (b["address"].as_str().unwrap().to_owned(), number(b, "packets"), number(b, "flows"));
        backends.iter().map(backend).collect()
    }

    /// What was sent came back, each packet once, and was measured.
    pub fn assert_lossless(&self) {
        self.assert_good();
        assert!(self.number("/sent/packets") > 0, "{:#}", self.report);
        assert_eq!(self.number("/received/packets"), self.number("/sent/packets"), "{:#}\n{}", self.report, self.log);
        for none in ["/lost", "/duplicated", "/reordered", "/received/bad_checksums", "/received/stale"] {
            assert_eq!(self.number(none), 0, "{none} in {:#}", self.report);
        }
        assert_eq!(self.number("/latency_ns/count"), self.number("/received/stamped"));
        let quantiles = ["min", "p50", "p90", "p99", "p999", "max"].map(|q| self.number(&format!("/latency_ns/{q}")));
        assert!(quantiles.is_sorted() && quantiles[0] > 0, "{quantiles:?}");
    }
}

/// Runs pktgen with arguments that it may not like.
pub fn pktgen(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_pktgen")).args(arguments).stdin(Stdio::null()).output().unwrap()
}

/// docs/pktgen.md, from its report fields on.
pub fn manual_of_reports() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/pktgen.md");
    let manual = std::fs::read_to_string(path).unwrap();
    manual.split_once("## The report of `pktgen run`").unwrap().1.to_owned()
}

/// Every field of a report is in the manual.
fn assert_documented(value: &Value) {
    static MANUAL: OnceLock<String> = OnceLock::new();
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                assert!(
                    MANUAL.get_or_init(manual_of_reports).contains(&format!("`{name}`")),
                    "{name} is not documented"
                );
                assert_documented(value);
            }
        }
        Value::Array(items) => items.iter().for_each(assert_documented),
        _ => {}
    }
}

/// The CPUs that this process may use, as EAL writes them.
fn cpus() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap().trim().to_owned()
}

/// tidegate's binary, beside pktgen's; built if need be.
fn tidegate() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        let path = Path::new(env!("CARGO_BIN_EXE_pktgen")).with_file_name("tidegate");
        if !path.exists() {
            let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
            let mut build = Command::new(cargo);
            build.args(["build", "--quiet", "-p", "tidegate", "--bin", "tidegate"]);
            if path.parent().is_some_and(|profile| profile.ends_with("release")) {
                build.arg("--release");
            }
            assert!(build.current_dir(env!("CARGO_MANIFEST_DIR")).status().unwrap().success());
        }
        path
    })
}
