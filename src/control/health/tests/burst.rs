//! A thousand backends of which half flap, from their checks to the snapshots.

use super::*;
use crate::control::fixture::{file, manager};
use crate::control::manager::Manager;

const BACKENDS: usize = 1000;

fn config(keys: &str) -> String {
    let mut text = format!(
        "[[port]]\nname = 'wan'\ndevice = 'net_null0'\naddresses = ['10.0.0.2/24']\ngateway = '10.0.0.1'\n[[service]]\n\
         name = 'web'\nvip = '192.0.2.10'\nport = 80\nmode = 'gre'\nmaglev_size = 1009\n[service.health]\n{keys}\n"
    );
    for n in 0..BACKENDS {
        text += &format!("[[service.backend]]\nname = 'b{n}'\naddress = '10.1.{}.{}'\n", n / 250, n % 250 + 1);
    }
    text
}

/// The management loop for so long, while every other backend changes each few milliseconds; how many snapshots that made.
async fn run(manager: &mut Manager, time: Duration) -> u64 {
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let accepting = tokio::spawn(async move { while listener.accept().await.is_ok() {} });
    let mut supervisor = Supervisor::default();
    for n in 0..BACKENDS {
        let mut target = target_of(HealthCheck::Tcp, address);
        (target.health.interval, target.health.timeout) = (Duration::from_secs(3600), Duration::from_secs(60));
        supervisor.start(key(&format!("b{n}")), target, None);
    }
    let serials: Vec<u64> = (0..BACKENDS).map(|n| supervisor.tasks[&key(&format!("b{n}"))].serial).collect();
    let sender = supervisor.sender.clone();
    let flapping = tokio::spawn(async move {
        for turn in 0_usize.. {
            for n in (0..BACKENDS).step_by(2) {
                let healthy = (turn + n / 2) % 3 != 0;
                let event = Event { key: key(&format!("b{n}")), serial: serials[n], healthy, reason: "flaps".into() };
                _ = sender.send(event).await;
            }
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
    });
    let first = manager.snapshot().generation;
    let end = Instant::now() + time;
    while let Ok(changes) = tokio::time::timeout_at(end, supervisor.changes()).await {
        manager.set_health(&changes).unwrap();
        supervisor.rest();
        let snapshot = manager.snapshot();
        let steady = snapshot.backends().filter(|b| b.name[1..].parse::<usize>().unwrap() % 2 == 1);
        assert_eq!(steady.filter(|b| b.serves && b.admits).count(), BACKENDS / 2, "the others serve all the time");
    }
    flapping.abort();
    accepting.abort();
    manager.snapshot().generation - first
}

#[tokio::test]
async fn however_many_flap_there_are_fifty_snapshots_a_second_at_the_most() {
    let dir = tempfile::tempdir().unwrap();
    let mut manager = manager(&file(dir.path(), "t.toml", &config("flap_hold = 0")));
    let started = Instant::now();
    let snapshots = run(&mut manager, Duration::from_secs(2)).await;
    let bound = started.elapsed().as_millis() as u64 / 20 + 1;
    assert!((2..=bound).contains(&snapshots), "{snapshots} of at most {bound}");
}

#[tokio::test]
async fn who_flaps_is_soon_out_of_it_and_makes_no_snapshots_any_more() {
    let dir = tempfile::tempdir().unwrap();
    let mut manager = manager(&file(dir.path(), "t.toml", &config("flap_hold = 60")));
    let held =
        |manager: &Manager| manager.backends().backends.iter().filter(|b| b.reason.starts_with("flapping: ")).count();
    let started = Instant::now();
    while held(&manager) < BACKENDS / 2 {
        assert!(started.elapsed() < Duration::from_secs(30), "{} are held", held(&manager));
        run(&mut manager, Duration::from_millis(500)).await;
    }
    assert_eq!(run(&mut manager, Duration::from_secs(1)).await, 0);
}
