//! A manager with workers that only count and answer, for the tests of the management side.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam::queue::ArrayQueue;

use super::compile::{Compiler, PortFacts, shard_config};
use super::config::Config;
use super::manager::{Manager, Parts};
use super::overrides::Overrides;
use super::state_file::StateFile;
use super::status::PortStatus;
use crate::lb::clients::Clients;
use crate::lb::clock::Now;
use crate::lb::connection::Phase;
use crate::lb::counters::Counters;
use crate::lb::handle::{REQUESTS_MAX, Request, WorkerHandle};
use crate::lb::hash::HashKey;
use crate::lb::ids::{BackendId, PortId, WorkerId};
use crate::lb::memory::Footprint;
use crate::lb::neighbor::NeighborRow;
use crate::lb::publish::Published;
use crate::lb::shard::{ConnectionRow, Shard, ShardConfig};
use crate::lb::team::Team;
use crate::wire::ethernet::MacAddr;

/// A service with three backends and another without any.
pub const CONFIG: &str = r#"
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
[service.health]
type = "tcp"
[[service.backend]]
name = "b1"
address = "10.1.0.11"
port = 8080
[[service.backend]]
name = "b2"
address = "10.1.0.12"
weight = 50
[[service.backend]]
name = "b3"
address = "10.1.0.13"
state = "drain"
[[service]]
name = "dns"
vip = "2001:db8:53::53"
protocol = "udp"
mode = "gre"
[[service.backend]]
name = "d1"
address = "2001:db8:1::1"
"#;

/// TSC cycles a second of the workers here.
pub const TSC_HZ: u64 = 1_000_000_000;

/// Writes `text` to a file of `dir`.
pub fn file(dir: &Path, name: &str, text: &str) -> PathBuf {
    let path = dir.join(name);
    std::fs::write(&path, text).unwrap();
    path
}

/// [`CONFIG`] with each first text replaced by the second.
pub fn edited(edits: &[(&str, &str)]) -> String {
    let mut text = CONFIG.to_owned();
    for (from, to) in edits {
        assert!(text.contains(from), "{from}");
        text = text.replacen(from, to, 1);
    }
    text
}

/// A manager of the file at `path`, with two workers whose answers nobody gives.
pub fn manager(path: &Path) -> Manager {
    let config = Config::load(path).unwrap_or_else(|errors| panic!("{errors}"));
    let facts =
        config.ports.iter().map(|_| PortFacts { mac: MacAddr([2, 0, 0, 0, 0, 1]), host: false, rss: None }).collect();
    let mut compiler = Compiler::new(2, facts, HashKey::from_bytes([7; 16]));
    let first = compiler.compile(&config, &Overrides::default(), None).unwrap();
    let mut workers: Vec<WorkerHandle> = (0..2).map(worker).collect();
    let counters = workers.iter().map(|worker| worker.counters.clone()).collect();
    let team = Arc::new(Team::new(counters, Clients::new(64, HashKey::from_bytes([7; 16]))));
    workers.iter_mut().for_each(|worker| worker.team = team.clone());
    let ports: Vec<PortStatus> = config
        .ports
        .iter()
        .map(|port| PortStatus { name: port.name.clone(), link_up: true, rx_packets: 7, ..Default::default() })
        .collect();
    Manager::new(Parts {
        config_path: path.to_owned(),
        config,
        compiler,
        overrides: Overrides::default(),
        state_file: StateFile::default(),
        published: Arc::new(Published::new(Arc::new(first))),
        workers,
        ports: Arc::new(move || ports.clone()),
        tsc_hz: Some(TSC_HZ),
        boot_key: HashKey::from_bytes([9; 16]),
    })
}

fn worker(id: u16) -> WorkerHandle {
    WorkerHandle {
        id: WorkerId(id),
        cpu: Some(u32::from(id) + 2),
        counters: Arc::new(Counters::new(64)),
        team: Arc::default(),
        latency: Arc::default(),
        connections_max: 1000,
        table_bytes: 4096,
        table_memory: Some(Footprint { hugepage_bytes: 2 << 20, ..Footprint::default() }),
        requests: Arc::new(ArrayQueue::new(REQUESTS_MAX)),
    }
}

/// Threads that turn as workers do; they end with this.
pub struct Answering {
    end: Arc<AtomicBool>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

/// Connections of each answering worker, four to a page.
pub const CONNECTIONS: usize = 20;

impl Answering {
    /// Each worker has [`CONNECTIONS`] connections of `backend`, and one neighbour.
    pub fn start(workers: &[WorkerHandle], backend: BackendId) -> Self {
        let end = Arc::new(AtomicBool::new(false));
        let spawn = |worker: &WorkerHandle| {
            let (worker, end) = (worker.clone(), end.clone());
            std::thread::spawn(move || {
                while !end.load(Ordering::Relaxed) {
                    worker.counters.turns.add(1);
                    while let Some(request) = worker.requests.pop() {
                        answer(&worker, request, backend);
                    }
                    std::thread::sleep(Duration::from_millis(1));
                }
            })
        };
        let threads = workers.iter().map(spawn).collect();
        Self { end, threads }
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().unwrap();
        }
    }
}

/// A small one in which nothing is known.
fn shard_of_tests() -> ShardConfig {
    let dir = tempfile::tempdir().unwrap();
    let config = Config::load(&file(dir.path(), "small.toml", &format!("[dataplane]\nconnections = 1000\n{CONFIG}")));
    shard_config(&config.unwrap(), WorkerId(0), HashKey::from_bytes([9; 16]))
}

fn answer(worker: &WorkerHandle, request: Request, backend: BackendId) {
    match request {
        Request::Connections { from, buckets, reply } => {
            // As if a page of buckets held four connections.
            let first = from / buckets * 4;
            let rows = (first..(first + 4).min(CONNECTIONS)).map(|n| ConnectionRow {
                client: ([198, 51, 100, 7].into(), 40_000 + n as u16),
                vip: ([192, 0, 2, 10].into(), 80),
                protocol: 6,
                backend,
                phase: Phase::TcpEstablished,
                left_s: 60,
            });
            let next = (first + 4 < CONNECTIONS).then_some(from + buckets);
            _ = reply.send((rows.collect(), next));
        }
        Request::Excerpt { question, reply } => {
            let shard = Shard::new(&ShardConfig { worker: worker.id, ..shard_of_tests() }).unwrap();
            _ = reply.send(Box::new(shard.excerpt(&question, Now::from_ns(1_000_000_000))));
        }
        Request::Capture { reply, .. } => _ = reply.send((None, Now::default())),
        Request::Neighbors { reply } => {
            let mac = (worker.id.0 == 0).then_some(MacAddr([2, 0, 0, 0, 0, 9]));
            let state = if mac.is_some() { "reachable" } else { "incomplete" };
            _ = reply.send(vec![NeighborRow { port: PortId(0), addr: [10, 0, 0, 1].into(), mac, state }]);
        }
    }
}
