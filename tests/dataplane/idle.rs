//! Workers without traffic leave the CPU to others, and say so.

use std::time::Duration;

use serde_json::Value;

use crate::process::{Running, Setup};
use crate::traffic::{sections, write};

const FEW: &str = "net_pcap0,rx_pcap=DIR/in.pcap,tx_pcap=DIR/out.pcap";

fn start(idle: &str, device: &str) -> (Setup, Running) {
    let mut setup = Setup::new(1, &sections(device, "gre"));
    write(&setup.path("in.pcap"), 0..64, 1);
    setup.edit("idle = \"sleep\"", &format!("idle = \"{idle}\""));
    let mut running = setup.start(&[]);
    running.wait_until("packets are out", |r| r.show("workers")["workers"][0]["tx_packets"].as_u64() >= Some(64));
    (setup, running)
}

/// The gauges, over a second that began after this call.
fn next_second(running: &mut Running) -> Value {
    std::thread::sleep(Duration::from_millis(2_100));
    let answer = running.show("workers");
    let seconds = answer["seconds"].as_f64().unwrap();
    assert!((0.5..30.0).contains(&seconds), "{answer}");
    answer["workers"][0].clone()
}

#[test]
fn workers_without_traffic_sleep() {
    for idle in ["auto", "sleep"] {
        let (_setup, mut running) = start(idle, FEW);
        let before = running.cpu_time();
        let worker = next_second(&mut running);
        let used = running.cpu_time() - before;
        // On an idle machine about a tenth; this one may have much else to do.
        assert!(used > Duration::ZERO && used < Duration::from_millis(1_050), "{idle}: {used:?} of CPU in 2.1 s");
        assert!(worker["sleep_share"].as_f64().unwrap() > 0.5, "{idle}: {worker}");
        assert!(worker["busy_share"].as_f64().unwrap() < 0.1, "{idle}: {worker}");
        assert_eq!((&worker["packets_per_burst"], &worker["cycles_per_packet"]), (&Value::Null, &Value::Null));
        running.signal("TERM");
        let ended = running.wait();
        ended.assert_sound();
        assert!(ended.number("/workers/0/sleep_cycles") > 0);
        assert!(ended.stats["workers"][0]["packets_per_burst"].as_f64().unwrap() > 1.0, "{}", ended.stats);
    }
}

#[test]
fn spinning_workers_never_sleep() {
    let (_setup, mut running) = start("spin", FEW);
    let worker = next_second(&mut running);
    assert_eq!((&worker["sleep_share"], &worker["busy_turns_share"]), (&0.0.into(), &0.0.into()), "{worker}");
    running.signal("TERM");
    running.wait().assert_sound();
}

#[test]
fn busy_workers_say_so() {
    let (_setup, mut running) = start("auto", "net_pcap0,rx_pcap=DIR/in.pcap,infinite_rx=1");
    let worker = next_second(&mut running);
    let number = |key: &str| worker[key].as_f64().unwrap_or_else(|| panic!("no {key} in {worker}"));
    assert!(number("busy_share") > 0.9 && number("busy_turns_share") > 0.9 && number("sleep_share") < 0.1, "{worker}");
    assert!((1.0..=32.0).contains(&number("packets_per_burst")), "{worker}");
    // What a packet costs times how many there were is the time that was spent.
    assert!(number("cycles_per_packet") > 10.0 && number("packets_per_s") > 10_000.0, "{worker}");
    running.signal("TERM");
    running.wait().assert_sound();
}
