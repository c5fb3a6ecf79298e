//! Ends, reloads and odd devices, with traffic that does not stop.

use std::time::Duration;

use crate::process::{Running, Setup};
use crate::traffic::{sections, write};

/// The same packets again and again, as fast as they are taken; what is sent goes nowhere.
const ENDLESS: &str = "net_pcap0,rx_pcap=DIR/in.pcap,infinite_rx=1";

fn endless(workers: usize, mode: &str) -> Setup {
    let setup = Setup::new(workers, &sections(ENDLESS, mode));
    write(&setup.path("in.pcap"), 0..1024, 1);
    setup
}

fn received(running: &Running) -> u64 {
    running.show("workers")["workers"].as_array().unwrap().iter().map(|w| w["rx_packets"].as_u64().unwrap()).sum()
}

fn wait_for_traffic(running: &mut Running) {
    let before = received(running);
    running.wait_until("more packets come", |r| received(r) > before + 10_000);
}

#[test]
fn sigterm_ends_well_under_full_load() {
    for (workers, signal) in [(1, "TERM"), (2, "INT"), (4, "TERM")] {
        let setup = endless(workers, "nat");
        let mut running = setup.start(&[]);
        wait_for_traffic(&mut running);
        running.signal(signal);
        let ended = running.wait();
        ended.assert_sound();
        assert!(ended.number("/tx_packets") > 0);
        assert_eq!(ended.number("/connections/created"), 1024, "{workers} workers: {}", ended.stats);
    }
}

#[test]
fn reloads_keep_connections_and_refuse_bad_files() {
    let setup = endless(2, "gre");
    let mut running = setup.start(&[]);
    wait_for_traffic(&mut running);

    setup.write_config(&setup.config().replace("port = 80", "port = eighty"));
    running.signal("HUP");
    running.wait_until("the bad file is refused", |r| r.log().contains("reload refused"));
    wait_for_traffic(&mut running);
    assert_eq!(running.show("services")["services"].as_array().unwrap().len(), 4);
    assert!(!running.ask(&["reload"]).status.success());

    let more = "[[service]]\nname = \"more\"\nvip = \"192.0.2.20\"\nport = 80\nmode = \"gre\"\n\
        [[service.backend]]\nname = \"b\"\naddress = \"10.1.0.11\"\n";
    setup.write_config(&format!("{}{more}", setup.config()));
    running.signal("HUP");
    running.wait_until("the good file is taken", |r| r.show("services")["services"].as_array().unwrap().len() == 5);
    wait_for_traffic(&mut running);
    for round in 0..20 {
        let text = if round % 2 == 0 { setup.config().to_owned() } else { format!("{}{more}", setup.config()) };
        setup.write_config(&text);
        assert!(running.ask(&["reload"]).status.success());
    }
    wait_for_traffic(&mut running);
    running.signal("TERM");
    let ended = running.wait();
    ended.assert_sound();
    assert_eq!(ended.number("/connections/created"), 1024, "no reload has cost a connection");
    assert_eq!(ended.number("/connections/active"), 1024);
}

#[test]
fn a_plan_comes_true_and_a_reload_that_nobody_confirms_goes_back() {
    let setup = endless(2, "gre");
    let mut running = setup.start(&[]);
    running.wait_until("all connections are there", |r| active(r) == 1024);
    let gone = of_t4(&running, "b11");
    assert!(gone > 40 && gone + of_t4(&running, "b12") + of_t4(&running, "b13") == 256, "{gone}");
    let (new, old) = (setup.path("new.toml"), setup.path("tidegate.toml"));
    let removed = "[[service.backend]]\nname = \"b11\"\naddress = \"10.1.0.11\"\n";
    std::fs::write(&new, std::fs::read_to_string(&old).unwrap().replacen(removed, "", 1)).unwrap();
    let (new, old) = (new.to_str().unwrap(), old.to_str().unwrap());

    let output = running.ask(&["plan", new, "--json"]);
    assert_eq!(output.status.code(), Some(2));
    let plan: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&plan["connections"]["total"], &plan["connections"]["touched"]),
        (&1024.into(), &gone.into()),
        "{plan}"
    );
    assert_eq!(plan["slots"].as_array().unwrap().len(), 1, "{plan}");
    assert_eq!(of_t4(&running, "b11"), gone, "nothing has changed");

    // In a tunnel mode each connection that ends opens again elsewhere with its next packet.
    assert!(running.ask(&["reload", new, "--confirm", "2"]).status.success());
    running.wait_until("the clients have other backends", |r| of_t4(r, "b12") + of_t4(r, "b13") == 256);
    running.wait_until("it is taken back", |r| r.show("status")["unconfirmed"].is_null());
    assert_eq!(running.show("status")["loaded"], old);
    assert!(running.log().contains("new.toml taken back, not confirmed in time"), "{}", running.log());
    wait_for_traffic(&mut running);
    assert_eq!(running.show("services")["services"][0]["backends"].as_array().unwrap().len(), 3);
    assert_eq!(of_t4(&running, "b11"), 0, "who has a backend stays there");

    // The end of the process leaves no trace of a reload that waits.
    assert!(running.ask(&["reload", new, "--confirm", "1h"]).status.success());
    running.signal("TERM");
    let ended = running.wait();
    ended.assert_sound();
    assert_eq!(ended.number("/connections/created"), 1024 + gone);
    assert!(ended.log.contains("had to be confirmed: the next start reads"), "{}", ended.log);
}

fn active(running: &Running) -> u64 {
    running.show("workers")["workers"].as_array().unwrap().iter().map(|w| w["connections"].as_u64().unwrap()).sum()
}

/// Connections of a backend of the first service.
fn of_t4(running: &Running, name: &str) -> u64 {
    let backends = running.show("backends")["backends"].as_array().unwrap().clone();
    let found = backends.iter().find(|b| b["service"] == "t4" && b["name"] == name);
    found.map_or(0, |b| b["connections"].as_u64().unwrap())
}

#[test]
fn a_kill_leaves_nothing_in_the_way() {
    let setup = endless(2, "nat");
    let mut running = setup.start(&[]);
    wait_for_traffic(&mut running);
    running.signal("KILL");
    let ended = running.wait();
    assert_eq!(ended.status, None, "ended by a signal");
    let mut again = setup.start(&[]);
    wait_for_traffic(&mut again);
    again.signal("TERM");
    again.wait().assert_sound();
}

#[test]
fn two_instances_run_side_by_side() {
    let (first, second) = (endless(1, "nat"), endless(1, "gre"));
    let (mut a, mut b) = (first.start(&[]), second.start(&[]));
    wait_for_traffic(&mut a);
    wait_for_traffic(&mut b);
    for running in [a, b] {
        running.signal("TERM");
        running.wait().assert_sound();
    }
}

#[test]
fn null_devices_work() {
    // It gives buffers as they are, mostly zeros: nothing in them is for us, and every one is counted.
    let setup = Setup::new(2, &sections("net_null0,size=64", "nat"));
    let mut running = setup.start(&[]);
    wait_for_traffic(&mut running);
    let tables = running.show("status")["tables"].clone();
    running.signal("TERM");
    let ended = running.wait();
    ended.assert_sound();
    // All of the tables is in some memory, and the operator is told in which.
    let backed: Option<u64> =
        ["hugepage_bytes", "transparent_bytes", "plain_bytes"].map(|b| tables[b].as_u64()).into_iter().sum();
    assert_eq!(backed, Some(ended.number("/connections/bytes")));
    assert_eq!(ended.stats["connections"]["memory"], tables);
    assert_eq!(tables["hugepage_bytes"], 0, "--no-huge was given");
    assert!(ended.log.contains("\nconnection tables: "), "{}", ended.log);
    assert_eq!(ended.drops(), ended.number("/rx_packets"));
    assert!(ended.number("/drops/unknown_ethertype") > ended.drops() / 2, "{}", ended.stats);
}

#[test]
fn ring_devices_work() {
    // What is sent on a ring device comes in again: our own announcements, which are nobody's conflict.
    let setup = Setup::new(2, &sections("net_ring0", "nat"));
    let ended = setup.run_for("1");
    ended.assert_sound();
    assert!(ended.number("/rx_packets") > 0, "{}", ended.stats);
}

#[test]
fn time_is_up_when_it_is_up() {
    let setup = endless(1, "gre");
    let start = std::time::Instant::now();
    let ended = setup.run_for("0.5");
    ended.assert_sound();
    assert!(start.elapsed() >= Duration::from_millis(500));
    assert!(ended.stats["seconds"].as_f64().unwrap() >= 0.5);
}
