//! Each finding from answers that have it, and from those that do not.

use super::*;
use crate::control::status::{
    BackendStatus, ConnectionStatus, DropStatus, NeighborStatus, PortStatus, ServiceStatus, Unconfirmed, WorkerStatus,
};

/// One service in mode gre with a backend that is up, behind a port that works.
fn well() -> Seen {
    let backend = BackendStatus {
        service: "web".into(),
        name: "b1".into(),
        address: "10.1.0.11".into(),
        state: "up".into(),
        wanted: "up".into(),
        health: "up".into(),
        admits: true,
        ..Default::default()
    };
    let service = ServiceStatus {
        name: "web".into(),
        vip: "192.0.2.10".into(),
        port: Some(80),
        protocol: "tcp".into(),
        mode: "gre".into(),
        backends_up: 1,
        backends: vec![backend],
        ..Default::default()
    };
    let port = PortStatus {
        name: "wan".into(),
        device: "0000:01:00.0".into(),
        link_up: true,
        mtu: 1600,
        rss: true,
        rx_packets: 50_000,
        mbufs_in_use: 10,
        mbufs_total: 1000,
        ..Default::default()
    };
    let worker = |id| WorkerStatus { id, rx_packets: 25_000, connections_max: 100, ..Default::default() };
    Seen {
        status: Status { uptime_s: 60.0, config: "/etc/tidegate.toml".into(), ..Default::default() },
        services: Services { services: vec![service] },
        workers: Workers { seconds: 1.0, workers: vec![worker(0), worker(1)] },
        ports: Ports { ports: vec![port] },
        between_s: 1.0,
        ..Default::default()
    }
}

/// The only finding after a change to what is well.
fn found(change: impl FnOnce(&mut Seen)) -> Finding {
    let mut seen = well();
    change(&mut seen);
    let mut found = findings(&seen);
    assert_eq!(found.len(), 1, "{found:#?}");
    found.remove(0)
}

fn drop(reason: &str, count: u64) -> DropStatus {
    let reason = *crate::lb::verdict::DropReason::ALL.iter().find(|r| r.label() == reason).unwrap();
    DropStatus {
        reason: reason.label().into(),
        meaning: reason.meaning().into(),
        cause: reason.cause().into(),
        cure: reason.cure().into(),
        count,
    }
}

#[test]
fn what_is_well_has_no_finding() {
    assert_eq!(findings(&well()), []);
}

#[test]
fn the_machine_and_its_neighbours() {
    let stalled = found(|seen| seen.workers.workers[1].stalled = true);
    assert!(stalled.grade == Grade::Fault && stalled.what.contains("worker 1"), "{stalled:?}");
    let link = found(|seen| seen.ports.ports[0].link_up = false);
    assert!(link.what.contains("wan") && link.mend.contains("ip link set"), "{link:?}");
    let hop = found(|seen| {
        for worker in 0..2 {
            let (port, address, state) = ("wan".into(), "10.0.0.1".into(), "incomplete".into());
            seen.neighbors.neighbors.push(NeighborStatus { port, address, mac: None, state, worker });
        }
    });
    assert!(hop.what.contains("10.0.0.1") && hop.what.contains("ARP") && hop.grade == Grade::Fault, "{hop:?}");
    let buffers = found(|seen| seen.ports.ports[0].mbufs_in_use = 950);
    assert!(buffers.mend.contains("dataplane.mbufs"), "{buffers:?}");
    assert!(found(|seen| seen.ports.ports[0].rx_no_mbuf = 1).what.contains("no buffer was free"));
    assert!(found(|seen| seen.ports.ports[0].rx_missed = 100).what.contains("the NIC lost 100"));
}

#[test]
fn backends_and_the_ways_to_them() {
    let down = |seen: &mut Seen, reason: &str| {
        let backend = &mut seen.services.services[0].backends[0];
        (backend.state, backend.health, backend.reason) = ("down".into(), "down".into(), reason.into());
        let other = BackendStatus { name: "b2".into(), reason: String::new(), health: "up".into(), ..backend.clone() };
        seen.services.services[0].backends.push(other);
    };
    let reason = "timed out after 400 ms: no connection (VIP 192.0.2.10 by gre)";
    let vip = found(|seen| {
        down(seen, reason);
        seen.answers.insert(("web".into(), "b1".into()), true);
    });
    assert!(vip.what.contains("answers on its own address, but not on the VIP"), "{vip:?}");
    assert!(vip.mend.contains("backend-check.sh gre 192.0.2.10"), "{vip:?}");
    let gone = found(|seen| {
        down(seen, reason);
        seen.answers.insert(("web".into(), "b1".into()), false);
    });
    assert!(gone.what.contains("web/b1 at 10.1.0.11 is down") && gone.why == reason, "{gone:?}");
    let none = found(|seen| {
        let service = &mut seen.services.services[0];
        service.backends_up = 0;
        (service.backends[0].state, service.backends[0].wanted) = ("down".into(), "down".into());
    });
    assert!(none.grade == Grade::Fault && none.what.contains("no backend that takes new connections"), "{none:?}");
}

#[test]
fn replies_that_do_not_come_back() {
    let connection = |state: &str| ConnectionStatus {
        protocol: "tcp".into(),
        client: "198.51.100.7:1".into(),
        vip: "192.0.2.10:80".into(),
        service: Some("web".into()),
        backend: Some("b1".into()),
        backend_address: None,
        state: state.into(),
        left_s: 30,
        worker: 0,
    };
    let seen = |mode: &str, states: &[&str]| {
        let mut seen = well();
        seen.services.services[0].mode = mode.into();
        seen.connections.connections = states.iter().map(|state| connection(state)).collect();
        findings(&seen)
    };
    let alone = seen("nat", &["syn"; 10]);
    assert!(alone.len() == 1 && alone[0].mend.contains("ip route replace default via"), "{alone:?}");
    assert_eq!(seen("nat", &[["syn"; 9].as_slice(), &["established"]].concat()), [], "one reply is enough");
    assert_eq!(seen("gre", &["syn"; 10]), [], "replies do not pass here");
    assert_eq!(seen("nat", &["syn"; 3]), [], "too few to say");
}

#[test]
fn traffic_and_its_drops() {
    let silent = found(|seen| {
        seen.ports.ports[0].rx_packets = 0;
        seen.workers.workers.iter_mut().for_each(|worker| worker.rx_packets = 0);
    });
    assert!(silent.what.contains("received nothing since the start"), "{silent:?}");
    let partial = found(|seen| seen.workers.workers[0].partial_checksums = 3);
    assert!(partial.mend.contains("ethtool -K"), "{partial:?}");
    let table = found(|seen| seen.workers.workers[0].connections = 95);
    assert!(table.grade == Grade::Warning && table.what.contains("95 %"), "{table:?}");
    let one = found(|seen| {
        seen.workers.workers[1].rx_packets = 100;
        seen.ports.ports[0].rss = false;
    });
    assert!(one.what.contains("worker 0 receives 99 %") && one.why.contains("port wan has no RSS"), "{one:?}");
    let growing = found(|seen| {
        seen.drops[0].drops.push(drop("no_route", 5));
        seen.drops[1].drops.push(drop("no_route", 25));
    });
    assert!(growing.grade == Grade::Warning && growing.what.contains("20 a second now"), "{growing:?}");
    let over = found(|seen| seen.drops.iter_mut().for_each(|drops| drops.drops.push(drop("no_route", 5))));
    assert!(over.grade == Grade::Note && over.what.contains("none of them now"), "{over:?}");
    let mut seen = well();
    seen.drops.iter_mut().for_each(|drops| drops.drops.push(drop("neighbor_update", 5)));
    assert_eq!(findings(&seen), [], "such packets are meant to be dropped");
}

#[test]
fn tunnels_that_full_packets_do_not_fit() {
    let note = found(|seen| seen.ports.ports[0].mtu = 1500);
    assert!(note.grade == Grade::Note && note.mend.contains("1524"), "{note:?}");
    let mut seen = well();
    seen.ports.ports[0].mtu = 1500;
    seen.drops.iter_mut().for_each(|drops| drops.drops.push(drop("too_big", 5)));
    assert!(
        findings(&seen).iter().any(|f| f.grade == Grade::Warning && f.what.contains("do not fit the tunnel of web"))
    );
    seen.services.services[0].mode = "dsr".into();
    assert!(findings(&seen).iter().all(|finding| !finding.what.contains("do not fit the tunnel")));
}

#[test]
fn what_it_was_told() {
    let refused = found(|seen| seen.status.reload_error = Some("a.toml:3:1: unknown key\nmore".into()));
    assert!(
        refused.what.ends_with("a.toml:3:1: unknown key") && refused.mend.contains("tidegate check"),
        "{refused:?}"
    );
    let waits = found(|seen| {
        seen.status.unconfirmed = Some(Unconfirmed { path: "b.toml".into(), before: "a.toml".into(), left_s: 12.3 });
    });
    assert!(waits.what.contains("13 s") && waits.mend.contains("confirm"), "{waits:?}");
    assert!(found(|seen| seen.status.edits = 2).what.starts_with("2 changes over the API"));
}

#[test]
fn the_worst_comes_first() {
    let mut seen = well();
    seen.status.edits = 1;
    seen.ports.ports[0].link_up = false;
    seen.workers.workers[0].connections = 95;
    let grades: Vec<_> = findings(&seen).iter().map(|finding| finding.grade).collect();
    assert_eq!(grades, [Grade::Fault, Grade::Warning, Grade::Note]);
}
