//! What `tidegate explain` says of each frame of a case against what `tidegate replay` made of them.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// Holds explanations to the figures and the frames of the replay of the same case: each frame has its verdict, drops are
/// the same by reason, and what left is all that came out but for what the appliance sends unasked.
pub fn agrees(name: &str, explained: &Value, figures: &Value, out: &[(String, Vec<Vec<u8>>)]) {
    let explained = explained.as_array().unwrap();
    assert_eq!(json!(explained.len()), figures["rx_packets"], "{name}: frames");
    let mut drops: BTreeMap<&str, u64> = BTreeMap::new();
    let mut replies = 0;
    let mut left: BTreeMap<(&str, &str), i64> = BTreeMap::new();
    for (number, frame) in explained.iter().enumerate() {
        assert_eq!(frame["frame"], json!(number + 1), "{name}");
        assert!(!frame["steps"].as_array().unwrap().is_empty(), "{name}: nothing is said of frame {}", number + 1);
        match frame["verdict"].as_str().unwrap() {
            "drop" => *drops.entry(frame["drop"]["reason"].as_str().unwrap()).or_default() += 1,
            "reply" => replies += 1,
            "tx" | "punt" => {}
            other => panic!("{name}: frame {} ends as {other}", number + 1),
        }
        for sent in frame["left"].as_array().unwrap() {
            *left.entry((sent["port"].as_str().unwrap(), sent["bytes"].as_str().unwrap())).or_default() += 1;
        }
    }
    assert_eq!(json!(drops), figures["drops"], "{name}: drops");
    assert_eq!(json!(replies), figures["replies"], "{name}: replies");
    let mut unasked = 0;
    let came: Vec<(&str, String)> =
        out.iter().flat_map(|(port, frames)| frames.iter().map(|frame| (port.as_str(), hex(frame)))).collect();
    for (port, frame) in &came {
        match left.get_mut(&(*port, frame.as_str())) {
            Some(count) if *count > 0 => *count -= 1,
            _ => unasked += 1,
        }
    }
    let missing: Vec<_> = left.iter().filter(|(_, count)| **count > 0).collect();
    assert!(missing.is_empty(), "{name}: said to have left, but did not: {missing:?}");
    assert_eq!(json!(unasked), figures["originated"], "{name}: frames that explain knows nothing of");
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
