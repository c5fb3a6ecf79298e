//! The management side as a process: signals, health checks and the log that they leave.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tidegate::control::config::Config;
use tidegate::control::serve::{Ended, ServeOptions, serve};

/// Names the directory to the process that [`serving_process`] is run in.
const DIRECTORY: &str = "SIGNALS_TEST_DIRECTORY";
const LIMIT: Duration = Duration::from_secs(20);

/// Not a test of its own: the process that the tests here send signals to. Returns from `serve` are written to its
/// log, and then it drains for longer than the tests last.
#[test]
fn serving_process() {
    let Some(dir) = std::env::var_os(DIRECTORY) else { return };
    let dir = Path::new(&dir);
    let log = std::fs::File::create(dir.join("log")).unwrap();
    tracing_subscriber::fmt().with_ansi(false).with_writer(std::sync::Mutex::new(log)).init();
    let path = dir.join("tidegate.toml");
    let mut config = Config::load(&path).unwrap();
    // A file cannot name the loopback interface, and a test has no other server to check.
    let backends = config.services.iter_mut().flat_map(|service| &mut service.backends);
    backends.for_each(|backend| backend.address = Ipv4Addr::LOCALHOST.into());
    let (manager, _) = support::manager(config, &path);
    let options = ServeOptions { socket: Some(dir.join("api.sock")), for_seconds: Some(30.0), ..Default::default() };
    let ended = serve(manager, options).unwrap();
    assert!(ended != Ended::TimeUp);
    tracing::info!("ended by {ended:?}");
    std::thread::sleep(LIMIT * 2);
}

struct Process {
    dir: tempfile::TempDir,
    child: Child,
}

impl Process {
    fn start(config: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("tidegate.toml"), config).unwrap();
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "serving_process", "--nocapture"])
            .env(DIRECTORY, dir.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let process = Self { dir, child };
        support::wait_for_socket(&process.dir.path().join("api.sock"));
        process
    }

    fn signal(&self, name: &str) {
        let status = Command::new("kill").args([name, &self.child.id().to_string()]).status().unwrap();
        assert!(status.success());
    }

    fn write_config(&self, config: &str) {
        std::fs::write(self.dir.path().join("tidegate.toml"), config).unwrap();
    }

    /// Waits for a line of the log with these words, and gives it.
    fn logged(&self, words: &str) -> String {
        let started = Instant::now();
        loop {
            let log = std::fs::read_to_string(self.dir.path().join("log")).unwrap();
            if let Some(line) = log.lines().find(|line| line.contains(words)) {
                return line.to_owned();
            }
            assert!(started.elapsed() < LIMIT, "no {words:?} in:\n{log}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

fn config(backends: &[u16]) -> String {
    let backend =
        |port: &u16| format!("[[service.backend]]\nname = \"p{port}\"\naddress = \"10.0.0.9\"\nport = {port}\n");
    let backends: String = backends.iter().map(backend).collect();
    format!(
        "[[port]]\nname = \"wan\"\ndevice = \"net_null0\"\naddresses = [\"10.0.0.2/24\"]\ngateway = \"10.0.0.1\"\n\
         [[service]]\nname = \"web\"\nvip = \"192.0.2.10\"\nport = 80\nmode = \"nat\"\n\
         [service.health]\ntype = \"tcp\"\ninterval = \"50ms\"\nfall = 2\nrise = 2\n{backends}"
    )
}

#[test]
fn the_first_signal_ends_the_loop_and_the_second_the_process() {
    let mut process = Process::start(&config(&[]));
    process.signal("-TERM");
    process.logged("ended by Signal(\"SIGTERM\")");
    assert!(!process.dir.path().join("api.sock").exists());
    process.signal("-INT");
    let started = Instant::now();
    let status = process.child.wait().unwrap();
    assert_eq!((status.code(), status.signal()), (Some(1), None));
    assert!(started.elapsed() < LIMIT);
}

#[test]
fn sighup_reloads_or_says_why_not() {
    let process = Process::start(&config(&[]));
    process.write_config(&config(&[8080]));
    process.signal("-HUP");
    assert!(process.logged("+1 backend").contains("(generation 2)"));
    process.write_config(&config(&[]).replace("port = 80\n", "port = 80000\n"));
    process.signal("-HUP");
    assert!(process.logged("reload refused, the running configuration stays").contains("tidegate.toml:"));
}

#[test]
fn health_checks_take_backends_out_and_bring_them_back() {
    let listen = |port: u16| TcpListener::bind(("127.0.0.1", port)).unwrap();
    let (stays, goes) = (listen(0), listen(0));
    let port = goes.local_addr().unwrap().port();
    let process = Process::start(&config(&[stays.local_addr().unwrap().port(), port]));
    drop(goes);
    let line = process.logged(&format!("backend web/p{port} down after "));
    assert!(line.contains("WARN") && line.contains("s: connection refused, 1 of 2 left"), "{line}");
    let _again = listen(port);
    let line = process.logged(&format!("backend web/p{port} up after "));
    assert!(line.contains("s: accepts connections, 2 of 2 up"), "{line}");
}
