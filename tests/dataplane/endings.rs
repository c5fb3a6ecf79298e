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
