//! What is read of captures in either format.

use std::path::{Path, PathBuf};

use super::captures::{Inputs, captured};
use crate::control::config::Config;
use crate::control::random::PORTS;
use crate::lb::ids::PortId;
use crate::wire::pcapng::{self, Direction, Interface, Packet};

fn saved(dir: &Path, file: &[u8]) -> PathBuf {
    let path = dir.join("c.pcapng");
    std::fs::write(&path, file).unwrap();
    path
}

/// As `tidegate capture -w` writes it: frames of so many bytes that come or leave by interfaces of these names.
fn file(frames: &[(&str, Direction, u8)]) -> Vec<u8> {
    let mut file = Vec::new();
    pcapng::section(&mut file, "tidegate");
    for &(name, ..) in frames {
        pcapng::interface(&mut file, &Interface { name, ..Interface::default() });
    }
    for (number, &(_, direction, len)) in (0..).zip(frames) {
        let (frame_len, timestamp_ns) = (len.into(), 1_700_000_000_000_000_001 + u64::from(number));
        let data = &vec![len; len.into()];
        let packet = Packet { interface: number, timestamp_ns, frame_len, data, direction, id: 0, comment: "" };
        pcapng::packet(&mut file, &packet);
    }
    file
}

#[test]
fn a_pcapng_file_gives_each_port_what_came_by_it() {
    let dir = tempfile::tempdir().unwrap();
    let (came, left) = (Direction::In, Direction::Out);
    let frames =
        [("wan", came, 60), ("wan (out)", left, 61), ("lan", came, 62), ("lan (out)", left, 63), ("eth0", came, 64)];
    let path = saved(dir.path(), &file(&frames));
    let config = Config::parse(PORTS, "t.toml").unwrap();
    let read = |ports: &[&str]| {
        let files: Vec<_> = ports.iter().map(|&port| (Some(port.to_owned()), path.clone())).collect();
        let inputs = Inputs::load(&config, &files).unwrap();
        inputs.frames().map(|(port, frame)| (port.0, frame.len())).collect::<Vec<_>>()
    };
    // What is no port of ours may be captured anywhere.
    assert_eq!(read(&["wan"]), [(0, 60), (0, 64)]);
    assert_eq!(read(&["lan"]), [(1, 62), (1, 64)]);
    let lens = |port| captured(port, &path).unwrap().iter().map(Vec::len).collect::<Vec<_>>();
    assert_eq!((lens(None), lens(Some("lan")), lens(Some("dmz"))), (vec![60, 62, 64], vec![62], vec![60, 62, 64]));
    let inputs = Inputs::load(&config, &[(Some("wan".to_owned()), path)]).unwrap();
    assert_eq!((inputs.start_ns(), inputs.batches().next().unwrap().port), (1_700_000_000_000_000_001, PortId(0)));
}

#[test]
fn a_damaged_pcapng_file_is_named_with_what_would_help() {
    let dir = tempfile::tempdir().unwrap();
    let whole = file(&[("wan", Direction::In, 60)]);
    let path = saved(dir.path(), &whole[..whole.len() - 4]);
    let said = captured(None, &path).unwrap_err().to_string();
    assert!(
        said.contains("c.pcapng: the block at byte ") && said.contains("is cut") && said.contains("editcap"),
        "{said}"
    );
}
