//! Checks against real listeners on the loopback interface.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::check::{self, Outcome};
use super::*;
use crate::control::config::{Config, Health, HealthCheck};
use crate::control::fixture::edited;

const SHORT: Duration = Duration::from_millis(300);

fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// An address where nobody listens.
fn refusing() -> SocketAddr {
    listen().1
}

/// Answers every client with `answer` after its request, and gives the first request.
fn server(answer: &'static [u8]) -> (SocketAddr, std::sync::mpsc::Receiver<String>) {
    let (listener, address) = listen();
    let (sender, requests) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = [0; 4096];
            let Ok(len) = stream.read(&mut request) else { continue };
            if len == 0 || sender.send(String::from_utf8_lossy(&request[..len]).into_owned()).is_err() {
                continue;
            }
            _ = stream.write_all(answer);
        }
    });
    (address, requests)
}

fn http(status: std::ops::RangeInclusive<u16>) -> HealthCheck {
    HealthCheck::Http { path: "/healthz?full=1".into(), host: None, status }
}

async fn run(check: &HealthCheck, address: SocketAddr) -> Outcome {
    check::run(check, address, SHORT).await
}

fn failed(reason: &str) -> Outcome {
    Outcome::Failed(reason.to_owned())
}

#[tokio::test]
async fn tcp_is_good_when_a_connection_opens() {
    let (_listener, address) = listen();
    assert_eq!(run(&HealthCheck::Tcp, address).await, Outcome::Good("accepts connections".into()));
    assert_eq!(run(&HealthCheck::Tcp, refusing()).await, failed("connection refused"));
}

#[tokio::test]
async fn http_goes_by_the_status_alone() {
    let (address, requests) = server(b"HTTP/1.1 204 No Content\r\n\r\n");
    assert_eq!(run(&http(200..=299), address).await, Outcome::Good("HTTP status 204".into()));
    let request = requests.recv().unwrap();
    assert!(request.starts_with("GET /healthz?full=1 HTTP/1.1\r\n"), "{request}");
    assert!(request.contains(&format!("host: {address}\r\n")), "{request}");
    assert!(request.contains("connection: close\r\n") && request.contains("user-agent: tidegate/"), "{request}");
    assert_eq!(run(&http(200..=200), address).await, failed("HTTP status 204, not 200"));
    let (address, requests) = server(b"HTTP/1.1 503 Busy\r\ncontent-length: 3\r\n\r\nno\n");
    let named = HealthCheck::Http { path: "/".into(), host: Some("www.example".into()), status: 200..=399 };
    assert_eq!(run(&named, address).await, failed("HTTP status 503, not 200 to 399"));
    assert!(requests.recv().unwrap().contains("host: www.example\r\n"));
    assert_eq!(run(&http(200..=299), refusing()).await, failed("connection refused"));
}

#[tokio::test]
async fn http_needs_no_end_of_the_body() {
    let (address, _requests) = server(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\nand then nothing");
    assert_eq!(run(&http(200..=200), address).await, Outcome::Good("HTTP status 200".into()));
}

#[tokio::test]
async fn http_tells_apart_what_is_wrong_with_an_answer() {
    let (address, _requests) = server(b"SSH-2.0-OpenSSH_9.2\r\n");
    assert_eq!(run(&http(200..=200), address).await, failed("the answer is not HTTP/1"));
    let (address, _requests) = server(b"");
    assert_eq!(run(&http(200..=200), address).await, failed("the connection was closed without an answer"));
    let endless: &'static [u8] =
        Box::leak([b"HTTP/1.1 200 OK\r\nx: ".as_slice(), &vec![b'a'; 100_000]].concat().into_boxed_slice());
    let (address, _requests) = server(endless);
    assert_eq!(run(&http(200..=200), address).await, failed("the answer's headers are longer than 32768 bytes"));
}

#[tokio::test]
async fn who_hangs_has_failed_after_the_timeout() {
    // Accepted by the kernel, read by nobody.
    let (_listener, address) = listen();
    let started = Instant::now();
    assert_eq!(run(&http(200..=200), address).await, failed("no answer in 300 ms"));
    assert!((SHORT..SHORT * 3).contains(&started.elapsed()), "{:?}", started.elapsed());
}

fn target(address: SocketAddr, rise: u16, fall: u16) -> Target {
    let interval = Duration::from_millis(30);
    let timeout = Duration::from_millis(25);
    Target { address, health: Health { check: HealthCheck::Tcp, interval, timeout, rise, fall, port: None } }
}

async fn next(supervisor: &mut Supervisor) -> Vec<HealthChange> {
    timeout(Duration::from_secs(5), supervisor.changes()).await.expect("a result in time")
}

#[tokio::test]
async fn a_backend_goes_down_and_comes_back() {
    let (listener, address) = listen();
    let mut supervisor = Supervisor::default();
    let key = ("web".to_owned(), "b1".to_owned());
    supervisor.start(key, target(address, 2, 3), None);
    let change = |healthy, reason: &str| {
        vec![HealthChange { service: "web".into(), backend: "b1".into(), healthy, reason: reason.into() }]
    };
    assert_eq!(next(&mut supervisor).await, change(true, "accepts connections"));
    drop(listener);
    assert_eq!(next(&mut supervisor).await, change(false, "connection refused"));
    let _listener = TcpListener::bind(address).unwrap();
    assert_eq!(next(&mut supervisor).await, change(true, "accepts connections"));
    // It stays so, and nothing more is said.
    assert!(timeout(Duration::from_millis(200), supervisor.changes()).await.is_err());
}

#[tokio::test]
async fn fall_counts_from_the_first_check_on() {
    let mut supervisor = Supervisor::default();
    let started = Instant::now();
    supervisor.start(("web".into(), "b1".into()), target(refusing(), 1, 4), None);
    assert!(!next(&mut supervisor).await[0].healthy);
    // Three intervals, each a twentieth shorter at the most.
    assert!(started.elapsed() >= Duration::from_millis(85), "{:?}", started.elapsed());
}

fn config(edits: &[(&str, &str)]) -> Config {
    Config::parse(&edited(edits), "test.toml").unwrap_or_else(|errors| panic!("{errors}"))
}

fn serials(supervisor: &Supervisor) -> Vec<(&str, u64)> {
    let mut serials: Vec<_> = supervisor.tasks.iter().map(|(key, task)| (key.1.as_str(), task.serial)).collect();
    serials.sort_unstable();
    serials
}

#[tokio::test]
async fn a_reload_leaves_the_checks_that_stay_alone() {
    let mut supervisor = Supervisor::default();
    let nothing_known = |_: &str, _: &str| None;
    supervisor.sync(&config(&[]), nothing_known);
    let before: HashMap<String, u64> = serials(&supervisor).iter().map(|(name, n)| (name.to_string(), *n)).collect();
    assert_eq!(supervisor.len(), 3, "service dns has no checks, and a drained backend has");
    let b3 = "[[service.backend]]\nname = \"b3\"\naddress = \"10.1.0.13\"\nstate = \"drain\"\n";
    let b4 = "[[service.backend]]\nname = \"b4\"\naddress = \"10.1.0.14\"\n";
    let changed = [(b3, b4), ("10.1.0.12", "10.1.0.99"), ("port = 8080\n", "port = 8080\nweight = 1\n")];
    supervisor.sync(&config(&changed), nothing_known);
    let after = serials(&supervisor);
    assert_eq!(after.iter().map(|(name, _)| *name).collect::<Vec<_>>(), ["b1", "b2", "b4"]);
    assert_eq!(after[0].1, before["b1"], "its weight is nothing to the checks");
    assert!(after[1].1 > before["b2"] && !before.contains_key("b4"));
    supervisor.sync(&config(&[("type = \"tcp\"", "type = \"tcp\"\nrise = 5")]), nothing_known);
    assert!(serials(&supervisor)[0].1 > before["b1"], "another check is another task");
    supervisor.sync(&config(&[("[service.health]\ntype = \"tcp\"\n", "")]), nothing_known);
    assert!(supervisor.is_empty());
}

#[tokio::test]
async fn results_of_ended_checks_are_forgotten() {
    let mut supervisor = Supervisor::default();
    let key = ("web".to_owned(), "b1".to_owned());
    supervisor.start(key.clone(), target(refusing(), 1, 1), None);
    tokio::time::sleep(Duration::from_millis(200)).await;
    let (_listener, address) = listen();
    supervisor.tasks.remove(&key);
    supervisor.start(key, target(address, 1, 1), None);
    let mut changes = next(&mut supervisor).await;
    if changes.is_empty() {
        changes = next(&mut supervisor).await;
    }
    assert_eq!(changes.len(), 1);
    assert!(changes[0].healthy);
}
