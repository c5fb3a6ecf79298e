//! The API over a real socket, and where that socket goes.

mod description;
mod edits;
mod tcp;

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde_json::Value;

use super::*;
use crate::control::fixture::{Answering, CONFIG, CONNECTIONS, edited, file, manager};
use crate::control::serve::{self, Ended, ServeOptions};
use crate::lb::handle::WorkerHandle;
use crate::lb::latency::PacketClass;
use crate::lb::snapshot::Snapshot;
use crate::lb::verdict::DropReason;

/// A management thread with its socket, and workers that answer if asked to.
struct Bench {
    dir: tempfile::TempDir,
    socket: PathBuf,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<Ended>>,
    workers: Vec<WorkerHandle>,
    snapshot: Arc<Snapshot>,
    _answering: Option<Answering>,
}

impl Bench {
    fn start(workers_answer: bool) -> Self {
        Self::start_with(workers_answer, |_| CONFIG.to_owned())
    }

    /// The configuration may name files of the directory that it is given.
    fn start_with(workers_answer: bool, config: impl FnOnce(&Path) -> String) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = file(dir.path(), "tidegate.toml", &config(dir.path()));
        let manager = manager(&path);
        let socket = dir.path().join("run/api.sock");
        let handles = manager.worker_handles();
        handles[0].counters.drop_one(DropReason::NoService);
        handles[0].latency.record(PacketClass::Forward, 100, 1000);
        let snapshot = manager.snapshot();
        let b1 = snapshot.backends().find(|b| &*b.name == "b1").unwrap().id;
        handles[1].counters.backend(b1).unwrap().packets.add(3);
        let answering = workers_answer.then(|| Answering::start(&handles, b1));
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let options = ServeOptions { socket: Some(socket.clone()), for_seconds: Some(60.0), ..Default::default() };
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(serve::run(manager, options, async { _ = stopped.await })).unwrap()
        });
        let started = Instant::now();
        while UnixStream::connect(&socket).is_err() {
            assert!(started.elapsed() < Duration::from_secs(5), "no socket");
            std::thread::sleep(Duration::from_millis(5));
        }
        Self { dir, socket, stop: Some(stop), thread: Some(thread), workers: handles, snapshot, _answering: answering }
    }

    fn request(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        let mut stream = UnixStream::connect(&self.socket).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let len = body.len();
        let head = format!("{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {len}\r\n\r\n");
        // A refusal may close the connection before the whole body is sent.
        _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes()));
        let mut answer = Vec::new();
        _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{path}: {answer:?}"));
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, serde_json::from_str(body).unwrap_or_else(|error| panic!("{path}: {error}: {body}")))
    }

    fn get(&self, path: &str) -> Value {
        let (status, value) = self.request("GET", path, "");
        assert_eq!(status, 200, "{path}: {value}");
        value
    }

    fn stop(&mut self) -> Ended {
        _ = self.stop.take().unwrap().send(());
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            _ = thread.join();
        }
    }
}

#[test]
fn every_view_answers_with_its_figures() {
    let bench = Bench::start(true);
    let services = &bench.get("/v1/services")["services"];
    assert_eq!(
        (&services[0]["name"], &services[0]["vip"], &services[0]["port"]),
        (&"web".into(), &"192.0.2.10".into(), &80.into())
    );
    assert_eq!((&services[0]["packets"], &services[0]["backends_up"]), (&3.into(), &2.into()));
    assert_eq!(
        (&services[1]["port"], &services[1]["mode"], &services[1]["protocol"]),
        (&Value::Null, &"gre".into(), &"udp".into())
    );
    let backends = &bench.get("/v1/backends")["backends"];
    assert_eq!(backends.as_array().unwrap().len(), 4);
    assert_eq!((&backends[0]["packets"], &backends[0]["port"]), (&3.into(), &8080.into()));
    assert_eq!((&backends[2]["state"], &backends[2]["reason"]), (&"drain".into(), &"configuration".into()));
    assert_eq!(bench.get("/v1/ports")["ports"][0]["rx_packets"], 7);
    let workers = bench.get("/v1/workers");
    assert_eq!((&workers["workers"][1]["id"], &workers["workers"][1]["cpu"]), (&1.into(), &3.into()));
    let drops = &bench.get("/v1/drops")["drops"];
    assert_eq!((&drops[0]["reason"], &drops[0]["count"], &drops[1]), (&"no_service".into(), &1.into(), &Value::Null));
    assert_eq!(bench.get("/v1/drops?all")["drops"].as_array().unwrap().len(), DropReason::COUNT);
    let latency = &bench.get("/v1/latency")["latency_ns"];
    assert_eq!((&latency["count"], &latency["classes"]["forward"]["count"]), (&1000.into(), &1000.into()));
    assert!((100..108).contains(&latency["p99"].as_u64().unwrap()), "{latency}");
    let status = bench.get("/v1/status");
    assert_eq!((&status["generation"], &status["workers"]), (&1.into(), &2.into()));
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    let stats = bench.get("/v1/stats");
    for memory in [&status["tables"], &stats["connections"]["memory"]] {
        assert_eq!((&memory["hugepage_bytes"], &memory["plain_bytes"]), (&(4 << 20).into(), &0.into()));
    }
    assert_eq!((&stats["drops"]["no_service"], &stats["connections"]["capacity"]), (&1.into(), &2000.into()));
}

#[test]
fn workers_are_asked_page_by_page() {
    let bench = Bench::start(true);
    let answer = bench.get("/v1/connections");
    let rows = answer["connections"].as_array().unwrap();
    assert_eq!((rows.len(), &answer["truncated"]), (2 * CONNECTIONS, &false.into()));
    let first = &rows[0];
    assert_eq!((&first["client"], &first["vip"]), (&"198.51.100.7:40000".into(), &"192.0.2.10:80".into()));
    assert_eq!(
        (&first["service"], &first["backend"], &first["backend_address"]),
        (&"web".into(), &"b1".into(), &"10.1.0.11:8080".into())
    );
    assert_eq!(
        (&first["state"], &first["worker"], &rows[CONNECTIONS]["worker"]),
        (&"established".into(), &0.into(), &1.into())
    );
    let limited = bench.get("/v1/connections?limit=5");
    assert_eq!((limited["connections"].as_array().unwrap().len(), &limited["truncated"]), (5, &true.into()));
    let exact = bench.get(&format!("/v1/connections?limit={}", 2 * CONNECTIONS));
    assert_eq!(exact["truncated"], false);
    let neighbors = &bench.get("/v1/neighbors")["neighbors"];
    assert_eq!((&neighbors[0]["port"], &neighbors[0]["mac"]), (&"wan".into(), &"02:00:00:00:00:09".into()));
    assert_eq!((&neighbors[1]["mac"], &neighbors[1]["state"]), (&Value::Null, &"incomplete".into()));
}

#[test]
fn workers_that_do_not_answer_do_not_hold_up_the_rest() {
    let bench = Bench::start(false);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| bench.request("GET", "/v1/connections", ""));
        std::thread::sleep(Duration::from_millis(100));
        let started = Instant::now();
        bench.get("/v1/status");
        assert!(started.elapsed() < Duration::from_millis(500), "{:?}", started.elapsed());
        let (status, answer) = waiting.join().unwrap();
        assert_eq!(status, 503);
        assert!(answer["error"].as_str().unwrap().starts_with("worker 0 does not answer"), "{answer}");
    });
}

#[test]
fn a_reload_reports_or_says_what_is_wrong() {
    let bench = Bench::start(false);
    let path = file(bench.dir.path(), "tidegate.toml", &edited(&[("weight = 50", "weight = 7")]));
    let (status, report) = bench.request("POST", "/v1/reload", "");
    assert_eq!((status, &report["summary"], &report["generation"]), (200, &"1 weight".into(), &2.into()));
    let bad = file(bench.dir.path(), "bad.toml", &edited(&[("weight = 50", "weigth = 50")]));
    let body = serde_json::json!({ "path": bad }).to_string();
    let (status, answer) = bench.request("POST", "/v1/reload", &body);
    assert_eq!(status, 422);
    assert!(answer["error"].as_str().unwrap().contains("bad.toml:"), "{answer}");
    std::fs::write(&path, edited(&[("net_null0", "net_null1")])).unwrap();
    let (status, answer) = bench.request("POST", "/v1/reload", "{}");
    assert_eq!(status, 409);
    assert!(answer["error"].as_str().unwrap().contains("port wan: device"), "{answer}");
    assert_eq!(bench.get("/v1/status")["generation"], 2);
}

#[test]
fn a_backend_is_changed_by_command() {
    let bench = Bench::start(false);
    let post = |body: &str| bench.request("POST", "/v1/backends", body);
    let (status, report) = post(r#"{"backend": "web/b1", "action": "drain"}"#);
    assert_eq!((status, &report["generation"]), (200, &2.into()));
    assert_eq!(report["changes"][0], "web/b1: up -> drain, by command; 0 connections stay");
    let (status, report) = post(r#"{"backend": "web/b1", "action": "weight", "weight": 5}"#);
    assert_eq!((status, &report["service"], &report["backend"]), (200, &"web".into(), &"b1".into()));
    let backend = &bench.get("/v1/backends")["backends"][0];
    assert_eq!(
        (&backend["state"], &backend["weight"], &backend["by_command"]),
        (&"drain".into(), &5.into(), &true.into())
    );
    let (status, answer) = post(r#"{"backend": "web/b7", "action": "drain"}"#);
    assert_eq!(status, 404);
    assert!(answer["error"].as_str().unwrap().contains("did you mean web/b1?"), "{answer}");
}

#[test]
fn a_plan_tells_what_a_file_would_change_and_changes_nothing() {
    let bench = Bench::start(false);
    bench.workers[1].counters.connections_active.set(5);
    let b1 = bench.snapshot.backends().find(|b| &*b.name == "b1").unwrap().id;
    (0..4).for_each(|_| bench.workers[1].counters.opened(b1));
    let text = edited(&[("10.1.0.11", "10.1.0.99"), ("weight = 50", "weight = 60"), ("net_null0", "net_null1")]);
    let path = file(bench.dir.path(), "new.toml", &text);
    for body in [serde_json::json!({ "path": path }), serde_json::json!({ "text": text })] {
        let (status, plan) = bench.request("POST", "/v1/plan", &body.to_string());
        assert_eq!(status, 200, "{plan}");
        assert_eq!(plan["summary"], "~1 backend, 1 weight");
        assert_eq!(plan["changes"][1]["keys"][0]["new"], "60");
        assert_eq!(
            (&plan["restart"][0]["key"], &plan["restart"][0]["old"]),
            (&"port wan: device".into(), &"net_null0".into())
        );
        assert!(plan["slots"][0]["share"].as_f64().is_some_and(|share| share > 0.3), "{plan}");
        let connections = &plan["connections"];
        assert_eq!((&connections["total"], &connections["touched"]), (&9.into(), &9.into()), "it needs a restart");
        let b1 = &connections["backends"][0];
        assert_eq!((&b1["backend"], &b1["connections"], &b1["why"]), (&"b1".into(), &4.into(), &"replaced".into()));
    }
    // Without a file it is the one that a reload would read.
    let (status, plan) = bench.request("POST", "/v1/plan", "");
    assert_eq!((status, &plan["summary"], &plan["connections"]["touched"]), (200, &"no changes".into(), &0.into()));
    let (status, answer) = bench.request("POST", "/v1/plan", "{\"text\": \"[[prot]]\"}");
    assert_eq!(status, 422);
    assert!(answer["error"].as_str().unwrap().starts_with("text:1:3: unknown key `prot`"), "{answer}");
    assert_eq!(bench.get("/v1/status")["generation"], 1);
}

#[test]
fn a_reload_that_nobody_confirms_is_taken_back() {
    let bench = Bench::start(false);
    let weight = || bench.get("/v1/backends")["backends"][1]["weight"].clone();
    let other = file(bench.dir.path(), "other.toml", &edited(&[("weight = 50", "weight = 7")]));
    let reload = |seconds: u64| {
        let body = serde_json::json!({ "path": other, "confirm_s": seconds }).to_string();
        bench.request("POST", "/v1/reload", &body)
    };
    assert_eq!(bench.request("POST", "/v1/confirm", "").0, 409);
    assert_eq!(bench.request("POST", "/v1/rollback", "").0, 409);
    assert_eq!((reload(0).0, reload(86_401).0), (400, 400));

    // By itself.
    let (status, report) = reload(1);
    assert_eq!((status, weight()), (200, 7.into()));
    assert!(report["unconfirmed"]["before"].as_str().unwrap().ends_with("tidegate.toml"), "{report}");
    let answer = bench.get("/v1/status");
    assert!((0.0..=1.0).contains(&answer["unconfirmed"]["left_s"].as_f64().unwrap()), "{answer}");
    let (status, answer) = bench.request("POST", "/v1/reload", "");
    assert_eq!(status, 409);
    assert!(answer["error"].as_str().unwrap().contains("tidegate confirm"), "{answer}");
    let started = Instant::now();
    while weight() != 50 {
        assert!(started.elapsed() < Duration::from_secs(5), "not taken back");
        std::thread::sleep(Duration::from_millis(20));
    }
    let status = bench.get("/v1/status");
    assert!(
        status["loaded"].as_str().unwrap().ends_with("/tidegate.toml") && status["unconfirmed"].is_null(),
        "{status}"
    );
    assert!(status["reload_error"].as_str().unwrap().ends_with("other.toml: taken back, not confirmed in time"));

    // By command.
    assert_eq!((reload(60).0, weight()), (200, 7.into()));
    let (status, report) = bench.request("POST", "/v1/rollback", "");
    assert_eq!((status, &report["summary"], weight()), (200, &"1 weight".into(), 50.into()));

    // Not at all.
    assert_eq!((reload(1).0, bench.request("POST", "/v1/confirm", "").0), (200, 200));
    std::thread::sleep(Duration::from_millis(1300));
    assert_eq!(weight(), 7);
    assert_eq!(bench.request("POST", "/v1/reload", "").0, 200, "the next reload is free to come");
}

#[test]
fn what_is_not_served_gets_an_error_as_json() {
    let bench = Bench::start(false);
    let huge = "x".repeat((1 << 20) + 1);
    let cases = [
        ("GET", "/v1/nothing", "", 404),
        ("POST", "/page.js", "", 405),
        ("POST", "/v1/workers", "", 405),
        ("GET", "/v1/reload", "", 405),
        ("GET", "/v1/connections?limit=many", "", 400),
        ("GET", "/v1/connections?limit=1000001", "", 400),
        ("GET", "/v1/connections?limits=1", "", 400),
        ("POST", "/v1/reload", "not json", 400),
        ("POST", "/v1/reload", "{\"file\": \"x\"}", 400),
        ("POST", "/v1/reload", "[null, null]", 400),
        ("PUT", "/v1/config", " ", 400),
        ("POST", "/v1/reload", &huge, 413),
        ("POST", "/v1/backends", "", 400),
        ("POST", "/v1/backends", "{\"backend\": \"web/b1\", \"action\": \"explode\"}", 400),
        ("POST", "/v1/backends", "{\"backend\": \"web/b1\", \"action\": \"weight\"}", 400),
        ("POST", "/v1/backends", "{\"backend\": \"web/b1\", \"action\": \"weight\", \"weight\": 65536}", 400),
        ("GET", "/v1/plan", "", 405),
        ("POST", "/v1/plan", "{\"text\": \"\", \"path\": \"x\"}", 400),
        ("POST", "/v1/plan", "{\"file\": \"x\"}", 400),
        ("POST", "/v1/plan", "{\"path\": \"/nonexistent\"}", 422),
    ];
    for (method, path, body, expected) in cases {
        let (status, answer) = bench.request(method, path, body);
        assert_eq!(status, expected, "{method} {path}");
        assert!(answer["error"].as_str().is_some_and(|error| !error.is_empty()), "{method} {path}: {answer}");
    }
}

#[test]
fn slow_clients_do_not_disturb_others() {
    let bench = Bench::start(false);
    let slow: Vec<UnixStream> = (0..40)
        .map(|_| {
            let mut stream = UnixStream::connect(&bench.socket).unwrap();
            stream.write_all(b"GET /v1/status HTTP/1.1\r\nhost:").unwrap();
            stream
        })
        .collect();
    let started = Instant::now();
    bench.get("/v1/services");
    assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
    drop(slow);
}

#[test]
fn the_socket_is_for_the_group_and_goes_with_the_process() {
    let mut bench = Bench::start(false);
    assert_eq!(mode(&bench.socket), 0o660);
    assert_eq!(mode(bench.socket.parent().unwrap()), 0o755 & !umask());
    assert_eq!(bench.stop(), Ended::TimeUp);
    assert!(!bench.socket.exists());
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn umask() -> u32 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("Umask:")).unwrap();
    u32::from_str_radix(line.trim(), 8).unwrap()
}

fn places(dir: &Path) -> Places {
    Places {
        default: dir.join("run/tidegate.sock"),
        runtime_dir: Some(dir.join("user")),
        temporary_dir: dir.join("tmp"),
        uid: 1234,
    }
}

#[tokio::test]
async fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("api.sock");
    drop(UnixListener::bind(&path).unwrap());
    let socket = bind(&path, true, &places(dir.path())).await.unwrap();
    let error = bind(&path, true, &places(dir.path())).await.unwrap_err();
    assert!(matches!(error, SocketError::InUse(_)), "{error}");
    let text = error.to_string();
    assert!(text.contains(path.to_str().unwrap()) && text.contains("`[control] socket`"), "{text}");
    // Another one has taken the name; it is left alone.
    std::fs::remove_file(&path).unwrap();
    let _other = UnixListener::bind(&path).unwrap();
    drop(socket);
    assert!(path.exists());
}

#[tokio::test]
async fn a_file_in_the_way_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let path = file(dir.path(), "api.sock", "precious");
    let error = bind(&path, true, &places(dir.path())).await.unwrap_err();
    assert!(matches!(error, SocketError::NotASocket(_)), "{error}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
}

#[tokio::test]
async fn more_instances_at_the_built_in_place_get_their_own() {
    let dir = tempfile::tempdir().unwrap();
    let places = places(dir.path());
    let first = bind(&places.default, false, &places).await.unwrap();
    assert!(first.notes.is_empty() && first.path == places.default);
    let second = bind(&places.default, false, &places).await.unwrap();
    assert_eq!(second.path, dir.path().join(format!("run/tidegate-{}.sock", std::process::id())));
    assert!(second.notes[0].contains("--socket"), "{:?}", second.notes);
    UnixStream::connect(&second.path).unwrap();
}

#[tokio::test]
async fn without_the_right_to_the_built_in_place_there_is_another() {
    let dir = tempfile::tempdir().unwrap();
    // Not even root may put a file here.
    let denied = Path::new("/sys/tidegate.sock");
    let places = places(dir.path());
    let refusal = bind(denied, true, &places).await.unwrap_err();
    assert!(matches!(refusal, SocketError::Refused(..)), "{refusal}");
    assert!(refusal.to_string().contains("/sys/tidegate.sock: cannot listen there"), "{refusal}");
    let socket = bind(denied, false, &places).await.unwrap();
    assert_eq!(socket.path, dir.path().join("user/tidegate.sock"));
    assert!(socket.notes[0].contains("/sys/tidegate.sock"), "{:?}", socket.notes);
    let nowhere = Places { runtime_dir: None, ..places };
    assert_eq!(nowhere.fallback(), dir.path().join("tmp/tidegate-1234.sock"));
}
