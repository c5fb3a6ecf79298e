//! Every packet comes out, on one worker or several, with one queue or two.

use std::collections::HashMap;

use crate::process::{Ended, Setup};
use crate::traffic::{backends_by_client, sections, shared_sections, tagged_frames, write, write_frames};

const FLOWS: u16 = 1024;
/// Of each flow; all together fit into one ring between two workers, so that none is dropped for that.
const PACKETS: usize = 3;

#[test]
fn one_worker_loses_nothing() {
    for mode in ["nat", "gre"] {
        let ended = one_queue(1, mode);
        assert_eq!(ended.number("/handoffs"), 0);
    }
}

#[test]
fn two_workers_share_one_queue() {
    for mode in ["nat", "gre"] {
        handed_over(&one_queue(2, mode));
    }
}

#[test]
fn three_workers_share_one_queue() {
    handed_over(&one_queue(3, "nat"));
}

#[test]
fn four_workers_share_one_queue() {
    handed_over(&one_queue(4, "gre"));
}

/// A capture through one receive queue; asserts what holds for any number of workers.
fn one_queue(workers: usize, mode: &str) -> Ended {
    let setup = Setup::new(workers, &sections("net_pcap0,rx_pcap=DIR/in.pcap,tx_pcap=DIR/out.pcap", mode));
    let packets = write(&setup.path("in.pcap"), 0..FLOWS, PACKETS);
    let mut running = setup.start(&[]);
    running.wait_until("all packets are out", |r| {
        let total = |name| sum(&r.show("workers"), name);
        total("tx_packets") + total("drops") >= packets
    });
    running.signal("TERM");
    let ended = running.wait();
    ended.assert_sound();
    assert_eq!((ended.number("/rx_packets"), ended.drops()), (packets, 0), "{}", ended.stats);
    assert_eq!(ended.number("/tx_packets"), packets);
    assert_eq!(ended.number("/connections/created"), u64::from(FLOWS), "each flow has one owner");
    assert_eq!(ended.number("/connections/active"), u64::from(FLOWS));
    one_backend_each(&backends_by_client(&setup.path("out.pcap")));
    ended
}

/// Each flow has all its packets, all to the same backend, and no backend goes without.
fn one_backend_each<C>(found: &HashMap<C, HashMap<std::net::IpAddr, usize>>) {
    assert_eq!(found.len(), usize::from(FLOWS));
    let mut backends: HashMap<std::net::IpAddr, usize> = HashMap::new();
    for by_backend in found.values() {
        assert_eq!(by_backend.values().collect::<Vec<_>>(), [&PACKETS], "{by_backend:?}");
        backends.extend(by_backend);
    }
    assert!(backends.len() >= 3, "{backends:?}");
}

/// More workers than queues: packets went over rings, and every worker has connections of its own.
fn handed_over(ended: &Ended) {
    let handoffs = ended.number("/handoffs");
    assert!(handoffs > 0 && handoffs < ended.number("/rx_packets"), "{handoffs}");
    for worker in ended.stats["workers"].as_array().unwrap() {
        assert!(worker["connections"].as_u64().unwrap() > 0, "{worker}");
    }
}

fn sum(workers: &serde_json::Value, name: &str) -> u64 {
    let rows = workers["workers"].as_array().unwrap();
    rows.iter().map(|w| w[name].as_u64().unwrap_or_else(|| panic!("no {name} in {w}"))).sum()
}

#[test]
fn two_queues_on_two_workers() {
    let device = "net_pcap0,rx_pcap=DIR/a.pcap,rx_pcap=DIR/b.pcap,tx_pcap=DIR/out0.pcap,tx_pcap=DIR/out1.pcap";
    let setup = Setup::new(2, &sections(device, "nat"));
    let packets =
        write(&setup.path("a.pcap"), 0..FLOWS / 2, PACKETS) + write(&setup.path("b.pcap"), FLOWS / 2..FLOWS, PACKETS);
    let mut running = setup.start(&[]);
    running.wait_until("all packets are out", |r| sum(&r.show("workers"), "tx_packets") >= packets);
    running.signal("TERM");
    let ended = running.wait();
    ended.assert_sound();
    assert_eq!((ended.number("/tx_packets"), ended.drops()), (packets, 0), "{}", ended.stats);
    assert_eq!(ended.number("/connections/created"), u64::from(FLOWS));
    handed_over(&ended);
    for worker in ended.stats["workers"].as_array().unwrap() {
        assert_eq!(worker["rx_packets"], packets / 2, "each polls one queue");
    }
    let mut found = backends_by_client(&setup.path("out0.pcap"));
    let other = backends_by_client(&setup.path("out1.pcap"));
    assert!(!found.is_empty() && !other.is_empty(), "each sends by its own queue");
    found.extend(other);
    one_backend_each(&found);
}

#[test]
fn two_ports_share_one_device() {
    for workers in [1, 2] {
        let device = "net_pcap0,rx_pcap=DIR/in.pcap,tx_pcap=DIR/out.pcap";
        let setup = Setup::new(workers, &shared_sections(device, "nat"));
        let mut frames = tagged_frames(0..FLOWS, PACKETS, Some(100));
        let strays = tagged_frames(0..32, 1, Some(101));
        frames.extend_from_slice(&strays);
        let packets = write_frames(&setup.path("in.pcap"), &frames);
        let mut running = setup.start(&[]);
        running.wait_until("all packets are out", |r| {
            let total = |name| sum(&r.show("workers"), name);
            total("tx_packets") + total("drops") >= packets
        });
        let ports = running.show("ports");
        let rows = ports["ports"].as_array().unwrap();
        let shown: Vec<_> = rows.iter().map(|p| (p["name"].as_str().unwrap(), p["vlan"].as_u64())).collect();
        assert_eq!(shown, [("wan", Some(100)), ("lan", None)]);
        assert!(rows.iter().all(|p| p["rx_packets"] == packets), "each has the counters of the device: {ports}");
        running.signal("TERM");
        let ended = running.wait();
        ended.assert_sound();
        assert_eq!(ended.number("/drops/vlan_mismatch"), strays.len() as u64);
        assert_eq!((ended.number("/tx_packets"), ended.drops()), (packets - 32, 32), "{}", ended.stats);
        assert_eq!(ended.number("/connections/created"), u64::from(FLOWS));
        one_backend_each(&backends_by_client(&setup.path("out.pcap")));
        if workers == 2 {
            handed_over(&ended);
        }
    }
}

#[test]
fn two_queues_on_one_worker_and_on_three() {
    for workers in [1, 3] {
        let device = "net_pcap0,rx_pcap=DIR/a.pcap,rx_pcap=DIR/b.pcap,tx_pcap=DIR/out.pcap";
        let setup = Setup::new(workers, &sections(device, "gre"));
        write(&setup.path("a.pcap"), 0..64, PACKETS);
        write(&setup.path("b.pcap"), 64..128, PACKETS);
        let ended = setup.run_for("2");
        ended.assert_sound();
        assert_eq!(ended.number("/tx_packets"), 128 * PACKETS as u64, "{workers} workers: {}", ended.log);
    }
}
