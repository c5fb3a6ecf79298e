//! `tidegate doctor` asks a running balancer that has several things wrong, and names each.

use std::net::Ipv4Addr;
use std::process::Command;

use serde_json::Value;
use tidegate::wire::checksum;
use tidegate::wire::parse::{Kind, parse};
use tidegate::wire::protocol;

use crate::process::Setup;
use crate::traffic::{ROUTER, frames, sections, write_frames};

const ENDLESS: &str = "net_pcap0,rx_pcap=DIR/in.pcap,infinite_rx=1";

/// As a sender leaves it to its NIC: the sum over the pseudo-header alone.
fn with_partial_checksum(mut frame: Vec<u8>) -> Vec<u8> {
    let parsed = parse(&frame, frame.len()).unwrap();
    if parsed.kind == Kind::V4 && parsed.protocol == protocol::TCP {
        let tuple = parsed.five_tuple_v4(&frame);
        let (src, dst): (Ipv4Addr, Ipv4Addr) = (tuple.src, tuple.dst);
        let sum = checksum::pseudo_v4(src, dst, protocol::TCP, parsed.l4_len()) as u16;
        let at = usize::from(parsed.l4) + 16;
        frame[at..at + 2].copy_from_slice(&sum.to_be_bytes());
    }
    frame
}

fn found(running: &crate::process::Running) -> (Option<i32>, Vec<(String, String)>) {
    let output = running.ask(&["doctor", "--json"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let found: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    let word = |finding: &Value, key: &str| finding[key].as_str().unwrap().to_owned();
    let rows = found.as_array().unwrap().iter().map(|finding| {
        assert!(!word(finding, "mend").is_empty() && !word(finding, "why").is_empty(), "{finding}");
        (word(finding, "grade"), word(finding, "what"))
    });
    (output.status.code(), rows.collect())
}

#[test]
fn what_is_wrong_is_named_the_worst_first() {
    let mut setup = Setup::new(1, &sections(ENDLESS, "nat"));
    // Nobody answers for the gateway, behind which all backends are.
    let neighbors = format!("neighbors = {{ \"10.0.0.1\" = \"{ROUTER}\", \"fd00::1\" = \"{ROUTER}\" }}\n");
    setup.edit(&neighbors, "");
    let all: Vec<_> = frames(0..256, 1).into_iter().map(with_partial_checksum).collect();
    write_frames(&setup.path("in.pcap"), &all);
    let mut running = setup.start(&[]);
    running.wait_until("the gateway is given up", |r| {
        let drops = r.show("drops");
        drops["drops"].as_array().unwrap().iter().any(|drop| drop["reason"] == "neighbor_queue_full")
    });
    let (status, rows) = found(&running);
    assert_eq!(status, Some(1), "{rows:?}");
    let has = |grade: &str, words: &str| rows.iter().any(|(of, what)| of == grade && what.contains(words));
    assert!(has("fault", "next hop 10.0.0.1 on port wan does not answer ARP"), "{rows:?}");
    assert!(has("fault", "next hop fd00::1 on port wan does not answer neighbour discovery"), "{rows:?}");
    assert!(has("fault", "partial checksums"), "{rows:?}");
    assert!(has("fault", "service t4: requests go out and no reply comes back"), "{rows:?}");
    assert!(has("warning", "packets dropped as neighbor_queue_full"), "{rows:?}");
    let grades: Vec<&str> = rows.iter().map(|(grade, _)| grade.as_str()).collect();
    let order = |grade: &&str| ["fault", "warning", "note"].iter().position(|known| known == grade);
    assert!(grades.iter().map(order).is_sorted(), "{grades:?}");
    let text = String::from_utf8(running.ask(&["doctor"]).stdout).unwrap();
    assert!(text.contains("\nfault: next hop 10.0.0.1") && text.contains("  to mend  "), "{text}");
}

#[test]
fn a_file_is_looked_at_before_it_runs() {
    let setup = Setup::new(1, &sections("net_null0", "gre"));
    let doctor = |path| {
        let output =
            Command::new(env!("CARGO_BIN_EXE_tidegate")).args(["doctor", "--config"]).arg(path).output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap() + &String::from_utf8_lossy(&output.stderr))
    };
    let (status, text) = doctor(setup.path("tidegate.toml"));
    assert!(status == Some(0) && text.contains("Nothing is wrong."), "{text}");
    let device = setup.config().replacen("net_null0", "0000:ff:1f.7", 1);
    std::fs::write(setup.path("other.toml"), device).unwrap();
    let (status, text) = doctor(setup.path("other.toml"));
    assert!(status == Some(1) && text.contains("fault: ") && text.contains("0000:ff:1f.7"), "{text}");
    std::fs::write(setup.path("bad.toml"), "nonsense = 1").unwrap();
    assert_eq!(doctor(setup.path("bad.toml")).0, Some(78));
}
