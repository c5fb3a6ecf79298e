//! Checks against real listeners on the loopback interface.

mod burst;
mod dns;
mod exec;
mod http;
mod https;
mod many;
mod ping;
mod udp;
mod way;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::check::Check;
use super::*;
use crate::control::config::{Config, Health, HealthCheck, HealthTarget};
use crate::control::fixture::{edited, file};

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

fn health(check: HealthCheck) -> Health {
    let interval = Duration::from_secs(1);
    Health {
        check,
        interval,
        timeout: SHORT,
        rise: 1,
        fall: 1,
        jitter_percent: 0,
        panic_threshold_percent: 0,
        slow_start: Duration::ZERO,
        flap_hold: Duration::ZERO,
        flap_hold_max: Duration::ZERO,
        port: None,
        target: HealthTarget::Auto,
    }
}

/// Of a service over UDP, unless its check is changed.
fn target_of(check: HealthCheck, address: SocketAddr) -> Target {
    Target {
        address: address.ip(),
        port: Some(address.port()),
        over_tcp: false,
        health: health(check),
        way: Way::Address,
    }
}

fn check_of(target: Target) -> Check {
    Check::new(&key("b1"), target, Arc::default())
}

/// One check, with [`SHORT`] as its timeout.
async fn run(check: HealthCheck, address: SocketAddr) -> Outcome {
    check_of(target_of(check, address)).run().await
}

fn by_address(_: &Service, _: &Backend) -> Way {
    Way::Address
}

fn key(backend: &str) -> Key {
    ("web".to_owned(), backend.to_owned())
}

fn good(how: &str) -> Outcome {
    Outcome::Good(how.to_owned())
}

fn failed(reason: &str) -> Outcome {
    Outcome::Failed(reason.to_owned())
}

#[tokio::test]
async fn tcp_is_good_when_a_connection_opens() {
    let (_listener, address) = listen();
    assert_eq!(run(HealthCheck::Tcp, address).await, good("accepts connections"));
    assert_eq!(run(HealthCheck::Tcp, refusing()).await, failed("connection refused"));
}

#[tokio::test]
async fn a_backend_that_drops_everything_has_failed_after_the_timeout() {
    // A full backlog: the kernel drops further SYNs.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
    socket.listen(0).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    let mut held = Vec::new();
    while let Ok(Ok(stream)) = timeout(SHORT, tokio::net::TcpStream::connect(address)).await {
        held.push(stream);
        assert!(held.len() < 10);
    }
    let started = Instant::now();
    assert_eq!(run(HealthCheck::Tcp, address).await, failed("timed out after 300 ms: no connection"));
    assert!((SHORT..SHORT * 3).contains(&started.elapsed()), "{:?}", started.elapsed());
}

fn target(address: SocketAddr, rise: u16, fall: u16) -> Target {
    let interval = Duration::from_millis(30);
    let timeout = Duration::from_millis(25);
    let health = Health { interval, timeout, rise, fall, jitter_percent: 10, ..health(HealthCheck::Tcp) };
    Target { health, ..target_of(HealthCheck::Tcp, address) }
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
    // Three intervals, each a tenth shorter at the most.
    assert!(started.elapsed() >= Duration::from_millis(80), "{:?}", started.elapsed());
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
    supervisor.sync(&config(&[]), by_address, nothing_known);
    let before: HashMap<String, u64> = serials(&supervisor).iter().map(|(name, n)| (name.to_string(), *n)).collect();
    assert_eq!(supervisor.len(), 3, "service dns has no checks, and a drained backend has");
    let b3 = "[[service.backend]]\nname = \"b3\"\naddress = \"10.1.0.13\"\nstate = \"drain\"\n";
    let b4 = "[[service.backend]]\nname = \"b4\"\naddress = \"10.1.0.14\"\n";
    let changed = [(b3, b4), ("10.1.0.12", "10.1.0.99"), ("port = 8080\n", "port = 8080\nweight = 1\n")];
    supervisor.sync(&config(&changed), by_address, nothing_known);
    let after = serials(&supervisor);
    assert_eq!(after.iter().map(|(name, _)| *name).collect::<Vec<_>>(), ["b1", "b2", "b4"]);
    assert_eq!(after[0].1, before["b1"], "its weight is nothing to the checks");
    assert!(after[1].1 > before["b2"] && !before.contains_key("b4"));
    supervisor.sync(&config(&[("type = \"tcp\"", "type = \"tcp\"\nrise = 5")]), by_address, nothing_known);
    assert!(serials(&supervisor)[0].1 > before["b1"], "another check is another task");
    supervisor.sync(&config(&[("[service.health]\ntype = \"tcp\"\n", "")]), by_address, nothing_known);
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

#[tokio::test]
async fn checks_tell_how_long_they_take() {
    let (_listener, address) = listen();
    let mut supervisor = Supervisor::default();
    supervisor.start(key("b1"), target(address, 1, 1), None);
    supervisor.start(key("b2"), target(refusing(), 1, 1), None);
    while supervisor.measured(&key("b1")).count < 3 {
        _ = timeout(SHORT, supervisor.changes()).await;
    }
    let measured = supervisor.measured(&key("b1"));
    let mean = Duration::from_nanos(measured.sum_ns / measured.count);
    assert!((Duration::from_micros(1)..SHORT).contains(&mean), "{mean:?}");
    assert_eq!(supervisor.measured(&key("b2")), Measured::default(), "only answers are measured");
    // From there to what the packet path reads, of a service where answers do not pass.
    let dir = tempfile::tempdir().unwrap();
    let edits = [("mode = \"nat\"\n", "mode = \"nat\"\nprotocol = \"udp\"\nscheduler = \"lrt\"\n")];
    let path = file(dir.path(), "t.toml", &edited(&edits));
    let mut manager = crate::control::fixture::manager(&path);
    manager.keep_times(|key| supervisor.measured(key));
    let backend = manager.backends().backends.into_iter().find(|b| b.name == "b1").unwrap();
    assert!(backend.response_time_ns.is_some_and(|ns| (1_000..300_000_000).contains(&ns)), "{backend:?}");
}
