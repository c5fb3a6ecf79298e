//! Profiles, good and bad, and the documentation of their keys.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tidegate::control::config::keys::{KeyDoc, TableDoc};
use toml::de::DeValue;

use super::keys::TABLES;
use super::{Mode, Profile, Rate, TrafficKind};
use crate::frame::Protocol;
use crate::traffic::Order;

const PORT: &str = "[[port]]\ndevice = 'net_null0'\ngateway_mac = '02:00:00:00:00:02'\n";

fn with_traffic(keys: &str) -> String {
    format!("{PORT}[traffic]\n{keys}\n")
}

fn good(text: &str) -> Profile {
    Profile::parse(text, "p.toml").unwrap_or_else(|errors| panic!("{errors}"))
}

fn errors(text: &str) -> String {
    Profile::parse(text, "p.toml").map_or_else(|errors| errors.to_string(), |_| panic!("{text} is good"))
}

#[test]
fn defaults_are_what_the_documentation_says() {
    let profile = good(&with_traffic("servers = ['192.0.2.10']"));
    assert_eq!((profile.duration, profile.wait, profile.workers), (None, Duration::from_secs(1), 1));
    assert_eq!((profile.seed, profile.mbufs, profile.link_timeout), (1, 16_384, Duration::from_secs(10)));
    assert_eq!((profile.ports[0].name.as_str(), profile.ports[0].mode), ("port0", Mode::Client));
    let traffic = profile.traffic.unwrap();
    assert_eq!((traffic.kind, traffic.protocol, traffic.rate), (TrafficKind::Packets, Protocol::Udp, Rate::Max));
    assert_eq!((traffic.flows.count(), traffic.order, traffic.frame_lens), (1000, Order::RoundRobin, vec![60]));
    assert_eq!(traffic.servers, ["192.0.2.10:80".parse().unwrap()]);
    let search = profile.rfc2544;
    assert_eq!(search.packet_sizes, [64, 128, 256, 512, 1024, 1280, 1518]);
    assert_eq!((search.trial.as_secs(), search.wait.as_secs(), search.pause.as_secs()), (60, 2, 5));
    assert!((search.resolution - 0.01).abs() < 1e-12 && search.loss_tolerance == 0.0);
}

#[test]
fn values_are_read_with_their_units() {
    let profile = good(&format!(
        "duration = '2m'\nwait = 0.25\nworkers = 1\n{}",
        with_traffic(
            "servers = ['[2001:db8::1]:443']\nkind = 'connections'\ncps = '1.5k'\ncc = 10\nflows = 64\npacket_size = [128]"
        )
    ));
    assert_eq!((profile.duration, profile.wait), (Some(Duration::from_secs(120)), Duration::from_millis(250)));
    let traffic = profile.traffic.unwrap();
    assert_eq!((traffic.rate, traffic.concurrent_max, traffic.protocol), (Rate::PerSecond(1500.0), 10, Protocol::Tcp));
    assert!(traffic.flows.is_ipv6());
    for (text, rate) in
        [("1000", 1e3), ("1.5e6", 1.5e6), ("'10k'", 1e4), ("'2.5M'", 2.5e6), ("'0.2G'", 2e8), ("1_0", 10.0)]
    {
        let profile = good(&with_traffic(&format!("servers = ['192.0.2.1']\npps = {text}")));
        assert_eq!(profile.traffic.unwrap().rate, Rate::PerSecond(rate), "{text}");
    }
    let imix = good(&with_traffic("servers = ['192.0.2.1']\npacket_size = 'imix'")).traffic.unwrap();
    assert_eq!((imix.frame_lens.len(), imix.frame_lens.iter().max()), (12, Some(&1514)));
}

#[test]
fn headers_that_outgrow_the_smallest_frame_have_their_room() {
    for (keys, len) in [
        ("servers = ['[2001:db8::1]']", 62),
        ("servers = ['[2001:db8::1]']\nprotocol = 'tcp'", 74),
        ("servers = ['[2001:db8::1]']\nkind = 'syn_flood'", 78),
        ("servers = ['192.0.2.1']\nkind = 'syn_flood'", 60),
    ] {
        assert_eq!(good(&with_traffic(keys)).traffic.unwrap().frame_lens, [len], "{keys}");
    }
}

#[test]
fn each_fault_is_named_at_its_place() {
    let server = "servers = ['192.0.2.1']\n";
    let cases = [
        (
            with_traffic(&format!("{server}flws = 3")),
            "p.toml:6:1: unknown key `flws` in [traffic], did you mean `flows`?",
        ),
        (
            format!("durration = 3\n{}", with_traffic(server)),
            "p.toml:1:1: unknown key `durration` in the file, did you mean `duration`?",
        ),
        (format!("duration = '3 s'\n{}", with_traffic(server)), "p.toml:1:12: `duration` must be a time from 100ms to"),
        (with_traffic(&format!("{server}pps = 0")), "`pps` must be a rate from 1 to 1000000000 a second"),
        (with_traffic(&format!("{server}pps = 'fast'")), "such as 1_000_000, \"1.5M\" or \"max\", not \"fast\""),
        (with_traffic(&format!("{server}packet_size = 63")), "`packet_size` must be a size from 64 to 9018 bytes"),
        (with_traffic(&format!("{server}packet_size = []")), "`packet_size` must be a size from 64 to 9018 bytes"),
        (
            with_traffic("servers = ['[2001:db8::1]']\npacket_size = 64"),
            "packets of 64 bytes are too small: their headers and check sequence take 66",
        ),
        (
            with_traffic("servers = ['192.0.2.1', '[2001:db8::1]']"),
            "[2001:db8::1]:80 is not of the address family of 192.0.2.1:80",
        ),
        (with_traffic("servers = ['198.18.0.1']"), "198.18.0.1:80 is in the network of the clients, 198.18.0.0/15"),
        (with_traffic("servers = []"), "`servers` is empty"),
        (with_traffic("flows = 3"), "[traffic] needs `servers`"),
        (with_traffic("servers = ['192.0.2.1:0']"), "`servers` must be a list of 1 to 4096 servers"),
        (
            with_traffic(&format!("{server}flows = 70000\nclients = '10.0.0.1/32'")),
            "70000 flows are too many for the clients of 10.0.0.1/32",
        ),
        (with_traffic(&format!("{server}kind = 'conections'")), "did you mean `connections`?"),
        (
            with_traffic(&format!("{server}kind = 'connections'\npps = 5")),
            "`pps` is for packets; connections have `cps`",
        ),
        (with_traffic(&format!("{server}cps = 5")), "`cps` is for traffic of kind connections"),
        (
            with_traffic(&format!("{server}kind = 'syn_flood'\nprotocol = 'udp'")),
            "`syn_flood` is made of TCP; leave `protocol` out",
        ),
        (with_traffic(&format!("{server}open = true")), "`open` is for TCP traffic of kind packets"),
        (
            with_traffic(&format!("{server}verify = 'yes'")),
            "`verify` must be true or false, without quotation marks, not \"yes\"",
        ),
        (PORT.to_owned(), "there is no [traffic], which a client port needs"),
        (format!("{PORT}mode = 'server'\n[traffic]\n{server}"), "so nobody sends this traffic"),
        (format!("{PORT}{}", with_traffic(server).replace("null0", "null1")), "two ports are clients"),
        (with_traffic(server).replace("gateway_mac", "#"), "[[port]] needs `gateway_mac`"),
        (with_traffic(server).replace("device", "#"), "[[port]] needs `device`"),
        (String::new(), "there is no [[port]]; one or two are needed"),
        (format!("workers = 2\n{PORT}mode = 'server'\n"), "two workers need two ports"),
        (
            format!("{}[rfc2544]\nresolution = 0\n", with_traffic(server)),
            "`resolution` must be a percentage from 0.01 to 50, not 0",
        ),
        (format!("{}[rfc2544]\nsizes = 64\n", with_traffic(server)), "`sizes` must be a list of 1 to 64 sizes"),
        ("[traffic\n".to_owned(), "p.toml:1:"),
    ];
    for (text, expected) in cases {
        let found = errors(&text);
        assert!(found.contains(expected), "{text}\ngives\n{found}\nwithout\n{expected}");
    }
}

#[test]
fn all_faults_are_found_at_once() {
    let found = errors(&with_traffic("servers = ['x']\nflows = 0\npps = 0\nbogus = 1"));
    assert!(["`servers`", "`flows`", "`pps`", "`bogus`"].iter().all(|part| found.contains(part)), "{found}");
}

fn top(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

#[test]
fn every_sample_is_good() {
    let mut count = 0;
    for entry in std::fs::read_dir(top("pktgen/profiles")).unwrap().flatten() {
        let path = entry.path();
        if let Err(errors) = Profile::load(&path) {
            panic!("{errors}");
        }
        count += 1;
    }
    assert!(count >= 6, "{count}");
}

/// What docs/pktgen.md says of a key.
fn row(key: &KeyDoc) -> String {
    let default =
        if DeValue::parse(key.default).is_ok() { format!("`{}`", key.default) } else { key.default.to_owned() };
    let (kind, range) = (key.kind.type_text(), key.kind.range_text());
    format!("| `{}` | {kind} | {range} | {default} | {} |", key.name, key.meaning)
}

fn heading(table: &TableDoc) -> String {
    if table.heading.is_empty() { "### The file".to_owned() } else { format!("### `{}`", table.heading) }
}

#[test]
fn the_manual_has_every_key_and_no_other() {
    let manual = std::fs::read_to_string(top("docs/pktgen.md")).unwrap();
    for table in TABLES {
        let expected: Vec<String> = table.keys.iter().map(row).collect();
        let (_, rest) = manual
            .split_once(&format!("\n{}\n", heading(table)))
            .unwrap_or_else(|| panic!("no {}:\n{}", heading(table), expected.join("\n")));
        let section = rest.split("\n#").next().unwrap_or_default();
        let rows: Vec<&str> = section.lines().filter(|line| line.starts_with("| `")).collect();
        assert_eq!(rows, expected, "under {}:\n{}", heading(table), expected.join("\n"));
        let names: BTreeSet<&str> = table.keys.iter().map(|key| key.name).collect();
        assert_eq!(names.len(), table.keys.len());
    }
}
