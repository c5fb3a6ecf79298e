//! A management side without ports, for the commands to talk to.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam::queue::ArrayQueue;
use tidegate::control::compile::{Compiler, PortFacts};
use tidegate::control::config::Config;
use tidegate::control::manager::{Manager, Parts};
use tidegate::control::overrides::Overrides;
use tidegate::control::state_file::StateFile;
use tidegate::control::status::PortStatus;
use tidegate::lb::counters::Counters;
use tidegate::lb::handle::{REQUESTS_MAX, WorkerHandle};
use tidegate::lb::hash::HashKey;
use tidegate::lb::ids::WorkerId;
use tidegate::lb::publish::Published;
use tidegate::wire::ethernet::MacAddr;

/// A manager of `config`, which is said to be in the file at `path`, with one port and one worker.
pub fn manager(config: Config, path: &Path) -> (Manager, WorkerHandle) {
    let facts = vec![PortFacts { mac: MacAddr([2, 0, 0, 0, 0, 1]), host: false, rss: None }];
    let mut compiler = Compiler::new(1, facts, HashKey::from_bytes([7; 16]));
    let snapshot = Arc::new(compiler.compile(&config, &Overrides::default(), None).unwrap());
    let worker = WorkerHandle {
        id: WorkerId(0),
        cpu: Some(3),
        counters: Arc::new(Counters::new(64)),
        team: Arc::default(),
        latency: Arc::default(),
        connections_max: 1000,
        table_bytes: 4096,
        table_memory: None,
        requests: Arc::new(ArrayQueue::new(REQUESTS_MAX)),
    };
    let manager = Manager::new(Parts {
        config_path: PathBuf::from(path),
        config,
        compiler,
        overrides: Overrides::default(),
        state_file: StateFile::default(),
        published: Arc::new(Published::new(snapshot)),
        workers: vec![worker.clone()],
        ports: Arc::new(|| vec![PortStatus { name: "wan".into(), device: "net_null0".into(), ..Default::default() }]),
        tsc_hz: None,
        boot_key: HashKey::from_bytes([9; 16]),
    });
    (manager, worker)
}

/// Waits until somebody listens there.
pub fn wait_for_socket(socket: &Path) {
    let started = Instant::now();
    while std::os::unix::net::UnixStream::connect(socket).is_err() {
        assert!(started.elapsed() < Duration::from_secs(10), "no socket at {}", socket.display());
        std::thread::sleep(Duration::from_millis(5));
    }
}
