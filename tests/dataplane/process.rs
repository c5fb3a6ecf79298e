//! One `tidegate run` with files of its own.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// Longer than anything takes on a busy machine with few cores.
const PATIENCE: Duration = Duration::from_secs(60);

/// A directory with a configuration, from which `tidegate run` can be started any number of times.
pub struct Setup {
    pub dir: TempDir,
    config: String,
}

/// A process that runs; killed when dropped.
pub struct Running {
    child: Option<Child>,
    stats: PathBuf,
    log: PathBuf,
    socket: PathBuf,
}

/// How it ended.
pub struct Ended {
    pub status: Option<i32>,
    pub stats: Value,
    pub log: String,
}

impl Setup {
    /// With `workers` workers and the sections that follow.
    pub fn new(workers: usize, sections: &str) -> Self {
        let dir = TempDir::new().unwrap();
        let mut config = String::new();
        writeln!(config, "[dataplane]\nworkers = {workers}\nconnections = 20_000\nmbufs = 16384").unwrap();
        writeln!(config, "eal = [\"--no-huge\", \"-m\", \"256\", \"--no-pci\"]\nidle = \"sleep\"").unwrap();
        writeln!(config, "[control]\nsocket = \"{}\"\ngrace = \"0s\"", dir.path().join("api").display()).unwrap();
        // What one test does to a backend is no other one's business.
        writeln!(config, "state_file = \"{}\"", dir.path().join("state.json").display()).unwrap();
        config.push_str(sections);
        let setup = Self { dir, config };
        setup.write_config(&setup.config);
        setup
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn config(&self) -> &str {
        &self.config
    }

    /// Replaces a part of the configuration.
    pub fn edit(&mut self, from: &str, to: &str) {
        assert!(self.config.contains(from), "{from}");
        self.config = self.config.replacen(from, to, 1);
        self.write_config(&self.config);
    }

    pub fn write_config(&self, text: &str) {
        // In the place of the sections, paths of the directory are written as `DIR`.
        let text = text.replace("DIR", &self.dir.path().display().to_string());
        std::fs::write(self.path("tidegate.toml"), text).unwrap();
    }

    /// Starts it, and waits until it runs.
    pub fn start(&self, args: &[&str]) -> Running {
        let (stats, log) = (self.path("stats.json"), self.path("log"));
        let _ = std::fs::remove_file(&stats);
        let output = std::fs::File::create(&log).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_tidegate"))
            .args(["run", "--config"])
            .arg(self.path("tidegate.toml"))
            .arg("--stats")
            .arg(&stats)
            .args(args)
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .spawn()
            .unwrap();
        let mut running = Running { child: Some(child), stats, log, socket: self.path("api") };
        // The API is the last to come.
        running.wait_until("it runs", |r| r.log().contains("API on "));
        running
    }

    /// Runs it for some seconds and to its end.
    pub fn run_for(&self, seconds: &str) -> Ended {
        self.start(&["--for", seconds]).wait()
    }
}

impl Running {
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Polls until `done`; panics with the log if that does not come, or the process ends before.
    pub fn wait_until(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !done(self) {
            assert!(Instant::now() < end, "waited in vain until {what}:\n{}", self.log());
            let child = self.child.as_mut().unwrap();
            if let Some(status) = child.try_wait().unwrap() {
                assert!(done(self), "ended with {status} before {what}:\n{}", self.log());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Sends a signal by its name.
    pub fn signal(&self, name: &str) {
        let pid = self.child.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args(["-s", name, &pid]).status().unwrap().success());
    }

    /// CPU time of all its threads so far.
    pub fn cpu_time(&self) -> Duration {
        let tasks = format!("/proc/{}/task", self.child.as_ref().unwrap().id());
        let of = |task: std::fs::DirEntry| {
            let text = std::fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
            text.split(' ').next().and_then(|ns| ns.parse().ok()).unwrap_or(0)
        };
        Duration::from_nanos(std::fs::read_dir(tasks).unwrap().flatten().map(of).sum())
    }

    /// Another command of the same program, over the socket.
    pub fn ask(&self, args: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_tidegate")).arg("--socket").arg(&self.socket).args(args).output().unwrap()
    }

    /// The answer of a `show` command.
    pub fn show(&self, what: &str) -> Value {
        let output = self.ask(&["show", what, "--json"]);
        assert!(output.status.success(), "show {what}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Waits for its end.
    pub fn wait(mut self) -> Ended {
        let end = Instant::now() + PATIENCE;
        let mut child = self.child.take().unwrap();
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status.code();
            }
            if Instant::now() >= end {
                let _ = child.kill();
                let _ = child.wait();
                panic!("did not end:\n{}", self.log());
            }
            std::thread::sleep(Duration::from_millis(10));
        };
        let stats = std::fs::read(&self.stats).ok().and_then(|text| serde_json::from_slice(&text).ok());
        Ended { status, stats: stats.unwrap_or(Value::Null), log: self.log() }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Ended {
    pub fn number(&self, pointer: &str) -> u64 {
        let value = self.stats.pointer(pointer).and_then(Value::as_u64);
        value.unwrap_or_else(|| panic!("no {pointer} in {}\n{}", self.stats, self.log))
    }

    pub fn drops(&self) -> u64 {
        self.stats["drops"].as_object().unwrap().values().filter_map(Value::as_u64).sum()
    }

    /// Ended well, each packet has its verdict, and each packet buffer is back.
    pub fn assert_sound(&self) {
        assert_eq!(self.status, Some(0), "{}", self.log);
        let verdicts = ["/tx_packets", "/replies", "/punts", "/held"].map(|p| self.number(p)).iter().sum::<u64>();
        assert_eq!(self.number("/rx_packets"), verdicts + self.drops(), "{}\n{}", self.stats, self.log);
        assert_eq!(self.number("/held"), 0);
        assert_eq!(self.number("/mbufs_in_use"), 0, "{}", self.log);
        assert_eq!(self.number("/mbufs_total"), 16384);
        assert!(!self.log.contains("panicked"), "{}", self.log);
        let workers = self.stats["workers"].as_array().unwrap();
        for (total, each) in [("/rx_packets", "rx_packets"), ("/tx_packets", "tx_packets"), ("/handoffs", "handoffs")] {
            let sum: u64 = workers.iter().map(|w| w[each].as_u64().unwrap()).sum();
            assert_eq!(self.number(total), sum, "{total}");
        }
    }
}
