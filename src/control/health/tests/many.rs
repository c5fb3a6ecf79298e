//! Thousands of backends: well, dead, hanging and flapping.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::control::config::{HttpCheck, Statuses};

const BACKENDS: u16 = 2000;

/// Each has an address of its own in 127.0.0.0/8.
fn address(number: u16, port: u16) -> SocketAddr {
    let [high, low] = (number + 1).to_be_bytes();
    SocketAddr::from(([127, 9, high, low], port))
}

fn ok_on_http() -> HealthCheck {
    let status = Statuses(vec![200..=200]);
    HealthCheck::Http(HttpCheck { path: "/".into(), host: None, status, body: None, tls: None })
}

/// The last result of each backend, as soon as `wanted` of them have had one.
async fn results(supervisor: &mut Supervisor, wanted: usize) -> HashMap<String, HealthChange> {
    let mut results = HashMap::new();
    while results.len() < wanted {
        for change in next(supervisor).await {
            results.insert(change.backend.clone(), change);
        }
    }
    results
}

#[tokio::test]
async fn two_thousand_backends_have_their_results_within_seconds() {
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).await.unwrap();
    let (alive, dead) = (listener.local_addr().unwrap().port(), refusing().port());
    let accepting = tokio::spawn(async move { while listener.accept().await.is_ok() {} });
    let threads = || std::fs::read_dir("/proc/self/task").unwrap().count();
    let before = threads();
    let mut supervisor = Supervisor::default();
    let started = Instant::now();
    for number in 0..BACKENDS {
        let port = if number % 2 == 0 { alive } else { dead };
        let mut target = target_of(HealthCheck::Tcp, address(number, port));
        (target.health.timeout, target.health.fall) = (Duration::from_secs(1), 2);
        supervisor.start(key(&format!("b{number}")), target, None);
    }
    let results = results(&mut supervisor, BACKENDS.into()).await;
    let took = started.elapsed();
    for number in 0..BACKENDS {
        let result = &results[&format!("b{number}")];
        let reason = if number % 2 == 0 { "accepts connections" } else { "connection refused" };
        assert_eq!((result.healthy, result.reason.as_str()), (number % 2 == 0, reason), "{result:?}");
    }
    // The first check within a second, the second one an interval of a second later, and room for slow machines.
    assert!(took < Duration::from_secs(10), "{took:?}");
    // The other tests of this process have theirs.
    assert!(threads() < before + 50, "{} threads after {before}", threads());
    accepting.abort();
}

#[tokio::test]
async fn backends_that_hang_do_not_hold_up_those_that_do_not() {
    // Accepted by the kernel, read by nobody.
    let (_listener, hanging) = listen();
    let mut supervisor = Supervisor::default();
    // As many as their listener takes in its backlog.
    for number in 0..100 {
        let target = target_of(ok_on_http(), hanging);
        supervisor.start(key(&format!("h{number}")), target, None);
    }
    let (_listener, address) = listen();
    supervisor.start(key("b1"), target(address, 1, 1), None);
    let started = Instant::now();
    let results = results(&mut supervisor, 101).await;
    assert!(results["b1"].healthy);
    let hung = results.values().filter(|result| result.backend.starts_with('h')).collect::<Vec<_>>();
    assert!(
        hung.iter().all(|result| !result.healthy && result.reason.starts_with("timed out after 300 ms")),
        "{hung:?}"
    );
    assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_flapping_backend_changes_only_after_so_many_checks_in_a_row() {
    // Every other check is refused, as its address answers with either of two programs.
    let turn = Arc::new(AtomicUsize::new(0));
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let turns = turn.clone();
    tokio::spawn(async move {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        while let Ok((mut stream, _)) = listener.accept().await {
            let number = turns.fetch_add(1, Ordering::Relaxed);
            let status = if number.is_multiple_of(2) { "200 OK" } else { "500 No" };
            _ = stream.read(&mut [0; 1024]).await;
            _ = stream.write_all(format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n").as_bytes()).await;
        }
    });
    let mut flapping = target(address, 2, 2);
    flapping.health = Health { check: ok_on_http(), timeout: Duration::from_secs(5), ..flapping.health };
    let mut supervisor = Supervisor::default();
    supervisor.start(key("b1"), flapping, None);
    assert!(next(&mut supervisor).await[0].healthy);
    while turn.load(Ordering::Relaxed) < 20 {
        assert!(timeout(Duration::from_millis(20), supervisor.changes()).await.is_err(), "one bad check is nothing");
    }
}

#[test]
fn checks_begin_sooner_and_never_later_than_the_interval() {
    let mut target = target_of(HealthCheck::Tcp, refusing());
    (target.health.interval, target.health.jitter_percent) = (Duration::from_secs(10), 20);
    let check = check_of(target.clone());
    let started = Instant::now();
    let wait = |share| check.next_after(started, share) - started;
    assert_eq!((wait(0.0), wait(0.5), wait(1.0)), (secs(10.0), secs(9.0), secs(8.0)));
    target.health.jitter_percent = 0;
    assert_eq!(check_of(target).next_after(started, 0.9) - started, secs(10.0));
}

fn secs(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}
