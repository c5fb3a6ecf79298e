//! Time in the balancer is measured for each class of packets, and only where it happened.

use std::net::Ipv4Addr;

use serde_json::Value;
use tidegate::wire::arp::{self, Arp};
use tidegate::wire::ethernet::EtherType;

use crate::frames::{Flow, Link, echo, link_frame, v4};
use crate::process::{Ended, Running, Setup};
use crate::traffic::{OWN, ROUTER, frames, sections, write_frames};

/// Busy turns of which one is measured, as documented.
const EVERY: u64 = 61;
const FROM_ROUTER: Link = Link { dst: OWN, src: ROUTER, vlan: None };
const ENDLESS: &str = "net_pcap0,rx_pcap=DIR/in.pcap,infinite_rx=1";

fn count(ended: &Ended, class: &str) -> u64 {
    ended.number(&format!("/latency_ns/classes/{class}/count"))
}

/// Packets like those of a busy network: 1,024 connections, and now and then somebody who asks for us.
fn mixed(path: &std::path::Path) {
    let mut all = frames(0..1024, 1);
    for n in 0..32 {
        all.insert(n * 32, echo(FROM_ROUTER, v4(198, 18, 0, n as u8 + 1), v4(192, 0, 2, 10), 18));
    }
    write_frames(path, &all);
}

fn wait_for_samples(running: &mut Running, packets: u64) {
    running.wait_until("enough packets are measured", |r| {
        r.show("latency")["latency_ns"]["count"].as_u64().unwrap() > packets
    });
}

/// Quantiles of something measured are in order; of nothing, 0.
fn assert_in_order(quantiles: &Value) {
    let keys = ["p50", "p90", "p99", "p999", "max"].map(|key| quantiles[key].as_u64().unwrap());
    assert!(keys.is_sorted(), "{quantiles}");
    assert_eq!(keys[0] > 0, quantiles["count"] != 0, "{quantiles}");
}

#[test]
fn known_and_new_connections_and_answers_are_told_apart() {
    let setup = Setup::new(1, &sections(ENDLESS, "gre"));
    mixed(&setup.path("in.pcap"));
    let mut running = setup.start(&[]);
    wait_for_samples(&mut running, 20_000);
    let latency = running.show("latency");
    assert_eq!((&latency["sample_every"], &latency["workers"][0]["id"]), (&EVERY.into(), &0.into()));
    running.signal("TERM");
    let ended = running.wait();
    ended.assert_sound();
    let [forward, new, handoff, answer, held] =
        ["forward", "new", "handoff", "answer", "held"].map(|class| count(&ended, class));
    // The first turn with packets is measured, and all that it forwards is new.
    assert!((1..=1024).contains(&new), "{new}");
    assert!(answer > 0, "{}", ended.stats);
    assert_eq!((handoff, held), (0, 0));
    assert_eq!(ended.number("/latency_ns/count"), forward + new + answer);
    assert_eq!(ended.number("/workers/0/latency_ns/count"), forward + new + answer);
    let share = (forward + new) as f64 * EVERY as f64 / ended.number("/tx_packets") as f64;
    assert!((0.8..1.2).contains(&share), "measured {share} of what one turn in {EVERY} has");
    assert_in_order(&ended.stats["latency_ns"]);
    for quantiles in ended.stats["latency_ns"]["classes"].as_object().unwrap().values() {
        assert_in_order(quantiles);
    }
}

#[test]
fn packets_of_another_worker_are_measured_from_their_reception_on() {
    let setup = Setup::new(2, &sections(ENDLESS, "nat"));
    write_frames(&setup.path("in.pcap"), &frames(0..1024, 1));
    let mut running = setup.start(&[]);
    running.wait_until("both workers have measured", |r| {
        let latency = r.show("latency");
        (0..2).all(|worker| latency["workers"][worker]["latency_ns"]["count"].as_u64().unwrap() > 5_000)
    });
    running.signal("TERM");
    let ended = running.wait();
    ended.assert_sound();
    // One queue: the first worker receives everything, the second lives on what it hands over.
    let (first, second) = (ended.number("/workers/0/latency_ns/count"), ended.number("/workers/1/latency_ns/count"));
    assert_eq!(second, count(&ended, "handoff"), "{}", ended.stats);
    assert_eq!(first, count(&ended, "forward") + count(&ended, "new"), "{}", ended.stats);
    assert!(second * EVERY < ended.number("/handoffs") * 2, "{}", ended.stats);
    // The wait in the ring is a part of it.
    let p50 = |class: &str| ended.number(&format!("/latency_ns/classes/{class}/p50"));
    assert!(p50("handoff") > p50("forward"), "{}", ended.stats);
}

#[test]
fn who_waits_for_a_neighbour_is_measured_apart() {
    let neighbors = format!("neighbors = {{ \"10.0.0.1\" = \"{ROUTER}\", \"fd00::1\" = \"{ROUTER}\" }}\n");
    let device = "net_pcap0,rx_pcap=DIR/in.pcap,tx_pcap=DIR/out.pcap";
    let setup = Setup::new(1, &sections(device, "gre").replace(&neighbors, ""));
    let flow = |n: u8| Flow { src: (v4(198, 18, 0, n), 1024), dst: (v4(192, 0, 2, 10), 80), tcp_flags: None, ttl: 64 };
    let reply = Arp {
        operation: Arp::REPLY,
        sha: ROUTER,
        spa: Ipv4Addr::new(10, 0, 0, 1),
        tha: OWN,
        tpa: Ipv4Addr::new(10, 0, 0, 2),
    };
    let mut body = [0; arp::LEN];
    reply.emit(&mut body);
    write_frames(
        &setup.path("in.pcap"),
        &[
            flow(1).frame(FROM_ROUTER, 18),
            flow(2).frame(FROM_ROUTER, 18),
            link_frame(FROM_ROUTER, EtherType::ARP, &body),
            flow(1).frame(FROM_ROUTER, 18),
        ],
    );
    let mut running = setup.start(&[]);
    running.wait_until("all are out", |r| r.show("workers")["workers"][0]["tx_packets"] == 3);
    running.signal("TERM");
    let ended = running.wait();
    ended.assert_sound();
    assert_eq!(count(&ended, "held"), 2, "{}", ended.stats);
    assert_in_order(&ended.stats["latency_ns"]["classes"]["held"]);
    assert_eq!((count(&ended, "new"), count(&ended, "forward")), (0, 1), "{}", ended.stats);
    assert_eq!(ended.number("/latency_ns/count"), 1, "the total is without those that waited for somebody else");
}
