//! Every reason to drop a packet is one that some test provokes: a golden case, or a test that is named here.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use tidegate::lb::verdict::DropReason;

/// What no capture can bring about: it takes buffers, queues and rings, or more packets than a golden case should have.
const ELSEWHERE: [(&str, &str); 7] = [
    ("no_headroom", "buffers_without_headroom_are_dropped_not_overrun"),
    ("neighbor_table_full", "a_full_neighbour_table_is_a_reason"),
    ("echo_limited", "echo_is_rate_limited"),
    ("no_buffer", "a_packet_that_finds_no_buffers_for_its_pieces_is_counted"),
    ("punt_full", "ten_times_the_pool_through_every_reason_leaves_its_level"),
    ("tx_full", "a_transmit_queue_that_takes_nothing_costs_only_its_packets"),
    ("ring_full", "a_worker_that_stands_still_costs_what_is_its_own"),
];

fn top() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Reasons in the golden cases' figures, with a case of each.
fn golden() -> BTreeMap<String, String> {
    let mut met = BTreeMap::new();
    for case in std::fs::read_dir(top().join("tests/golden")).unwrap() {
        let case = case.unwrap().path();
        let Ok(text) = std::fs::read_to_string(case.join("stats.json")) else { continue };
        let stats: serde_json::Value = serde_json::from_str(&text).unwrap();
        for (reason, count) in stats["drops"].as_object().unwrap() {
            if count.as_u64() > Some(0) {
                met.insert(reason.clone(), case.file_name().unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    met
}

/// The source of the test function with this name, below `directory`.
fn source_of(test: &str, directory: &Path) -> Option<String> {
    std::fs::read_dir(directory).unwrap().find_map(|entry| {
        let path = entry.unwrap().path();
        if path.is_dir() {
            return source_of(test, &path);
        }
        let text = std::fs::read_to_string(&path).ok().filter(|_| path.extension().is_some_and(|it| it == "rs"))?;
        let head = format!("#[test]\nfn {test}()");
        text.contains(&head).then_some(text)
    })
}

#[test]
fn every_reason_is_provoked_by_a_test() {
    let golden = golden();
    let elsewhere: BTreeMap<&str, &str> = ELSEWHERE.into_iter().collect();
    let mut faults = Vec::new();
    for reason in DropReason::ALL {
        match (golden.get(reason.label()), elsewhere.get(reason.label())) {
            (Some(_), None) => {}
            (None, Some(test)) => match source_of(test, &top().join("src")) {
                None => faults.push(format!("{}: there is no test {test}", reason.label())),
                Some(text)
                    if !text.contains(&format!("R::{reason:?}"))
                        && !text.contains(&format!("DropReason::{reason:?}")) =>
                {
                    faults.push(format!("{}: the file of {test} does not name it", reason.label()));
                }
                Some(_) => {}
            },
            (Some(case), Some(_)) => {
                faults.push(format!("{}: {case} provokes it, so it needs no other test", reason.label()))
            }
            (None, None) => faults.push(format!("{}: no golden case and no test provokes it", reason.label())),
        }
    }
    let known: BTreeSet<&str> = DropReason::ALL.iter().map(|reason| reason.label()).collect();
    faults.extend(elsewhere.keys().filter(|it| !known.contains(*it)).map(|it| format!("there is no reason {it}")));
    faults.extend(golden.keys().filter(|it| !known.contains(it.as_str())).map(|it| format!("there is no reason {it}")));
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
