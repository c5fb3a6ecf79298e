//! Runs on a ring that hands what is sent straight back.

use super::process::{Setup, manual_of_reports};

const RING: &str = "[[port]]\ndevice = 'net_ring0'\ngateway_mac = '02:00:00:00:00:02'\n";

fn with_traffic(head: &str, traffic: &str) -> String {
    format!("wait = 0.2\n{head}{RING}[traffic]\nservers = ['192.0.2.10:80']\n{traffic}\n")
}

#[test]
fn every_packet_comes_back_and_is_measured() {
    for (head, traffic) in [
        ("", "flows = 100\npps = 20_000"),
        ("workers = 2\n", "flows = 100\npps = 20_000\npacket_size = 'imix'\norder = 'random'"),
        ("mbufs = 4096\n", "protocol = 'tcp'\nopen = true\nflows = 10\npps = 5000\npacket_size = [100, 1518, 9018]"),
    ] {
        let setup = Setup::new();
        let ended = setup.pktgen("run", &with_traffic(&format!("duration = 0.5\n{head}"), traffic), &[]);
        ended.assert_lossless();
        let backends = ended.backends("/backends");
        assert_eq!((backends.len(), backends[0].0.as_str()), (1, "02:00:00:00:00:02"));
        assert_eq!(ended.report["ended_by"], "duration");
        assert!(ended.float("/sent/pps") <= ended.float("/sent/target_pps") * 1.02, "{:#}", ended.report);
        assert!(ended.log.contains("sent ") && ended.log.contains("latency"), "{}", ended.log);
    }
}

#[test]
fn ipv6_and_vlans_come_back_as_well() {
    for (from, to) in [
        ("'192.0.2.10:80'", "'[2001:db8::10]:80', '[2001:db8::11]:81'"),
        ("[traffic]", "vlan = 7\n[traffic]\nprotocol = 'tcp'"),
    ] {
        let setup = Setup::new();
        let profile = with_traffic("", "packets = 500\npps = 10_000\npacket_size = [100, 1000]").replace(from, to);
        let ended = setup.pktgen("run", &profile, &[]);
        ended.assert_lossless();
        assert_eq!(ended.number("/received/stamped"), 500, "{:#}", ended.report);
    }
}

#[test]
fn the_rate_is_kept_over_the_time() {
    let setup = Setup::new();
    let ended = setup.pktgen("run", &with_traffic("duration = 2\n", "pps = 10_000"), &[]);
    ended.assert_lossless();
    // What was due while something else had the CPU is told apart.
    let due = ended.number("/sent/packets") + ended.number("/sent/missed");
    let expected = 10_000.0 * ended.float("/seconds");
    assert!((due as f64 - expected).abs() <= expected * 0.01, "{:#}", ended.report);
}

#[test]
fn a_number_of_packets_ends_a_run() {
    let setup = Setup::new();
    let ended = setup.pktgen("run", &with_traffic("", "packets = 1000\npps = 'max'\nflows = 7"), &[]);
    ended.assert_lossless();
    assert_eq!((ended.number("/sent/packets"), &ended.report["ended_by"]), (1000, &"packets".into()));
}

#[test]
fn a_flood_counts_without_stamps() {
    let setup = Setup::new();
    let ended = setup.pktgen("run", &with_traffic("", "kind = 'syn_flood'\npackets = 5000\npps = 50_000"), &[]);
    ended.assert_good();
    assert_eq!((ended.number("/sent/packets"), ended.number("/received/packets")), (5000, 5000));
    assert_eq!((ended.number("/received/stamped"), ended.number("/lost")), (0, 0));
    assert!(ended.report["latency_ns"].is_null());
}

#[test]
fn connections_to_oneself_complete() {
    let setup = Setup::new();
    let profile = with_traffic(
        "",
        "kind = 'connections'\ncps = 'max'\ncc = 64\nflows = 500\npackets = 2000\npacket_size = 200\ndata_segments = 3",
    )
    .replace("[traffic]", "mode = 'both'\n[traffic]");
    let ended = setup.pktgen("run", &profile, &[]);
    ended.assert_good();
    for (pointer, count) in [
        ("/connections/opened", 2000),
        ("/connections/established", 2000),
        ("/connections/completed", 2000),
        ("/connections/data_segments", 6000),
        ("/connections/unfinished", 0),
        ("/connections/reset", 0),
        ("/connections/timed_out", 0),
        ("/received/bad_checksums", 0),
        ("/server/bad_checksums", 0),
    ] {
        assert_eq!(ended.number(pointer), count, "{pointer} in {:#}", ended.report);
    }
    assert!(ended.number("/server/syns") >= 2000 && ended.number("/server/fins") >= 2000);
    assert_eq!(ended.backends("/server/backends")[0].0, "192.0.2.10:80");
    assert!(ended.number("/connections/handshake_ns/count") > 0 && ended.float("/connections/cps") > 0.0);
}

#[test]
fn control_c_ends_a_run_with_its_report() {
    let setup = Setup::new();
    let mut running = setup.start_pktgen("run", &with_traffic("", "pps = 1000"), &[]);
    running.wait_until("a line a second", |log| log.contains("   1 s  sent"));
    running.signal("INT");
    let ended = running.wait(&setup);
    ended.assert_lossless();
    assert_eq!(ended.report["ended_by"], "signal");
}

#[test]
fn the_time_of_the_command_line_takes_the_place_of_the_profiles() {
    let setup = Setup::new();
    let ended = setup.pktgen("run", &with_traffic("duration = '1h'\n", "pps = 1000"), &["--for", "0.3", "--quiet"]);
    ended.assert_lossless();
    assert!((0.3..30.0).contains(&ended.float("/seconds")));
    assert!(!ended.log.contains("EAL arguments"), "{}", ended.log);
}

#[test]
fn a_search_on_a_ring_is_limited_by_the_highest_rate() {
    let setup = Setup::new();
    let search = "[rfc2544]\nsizes = [64, 512]\ntrial = 0.3\nwait = 0.2\npause = 0\nrate_max = 5000\nresolution = 10\n";
    let ended = setup.pktgen("rfc2544", &format!("{}{search}", with_traffic("", "")), &[]);
    ended.assert_good();
    for (at, size) in [64, 512].into_iter().enumerate() {
        let found = |key: &str| ended.report["sizes"][at][key].clone();
        assert_eq!(found("packet_size"), size);
        let pps = found("throughput_pps").as_f64().unwrap();
        assert!(pps > 0.0 && pps <= 5100.0, "{pps}");
        assert!(found("latency_ns")["count"].as_u64().unwrap() > 0);
        assert!(found("trials").as_array().unwrap().iter().all(|trial| trial["good"] == true));
    }
    assert!(ended.log.contains("pps") && ended.log.contains("note"), "{}", ended.log);
}

#[test]
fn the_manual_names_no_field_that_there_is_not() {
    let setup = Setup::new();
    let run = setup.pktgen("run", &with_traffic("", "packets = 10"), &[]).report;
    let search = "[rfc2544]\nsizes = [64]\ntrial = 0.1\nwait = 0\npause = 0\nrate_max = 500\n";
    let rfc2544 = setup.pktgen("rfc2544", &format!("{}{search}", with_traffic("", "")), &[]).report;
    let mut count = 0;
    let manual = manual_of_reports();
    let (of_run, of_rfc2544) = manual.split_once("## The search of").unwrap();
    for (section, report) in [(of_run, &run), (of_rfc2544, &rfc2544)] {
        for row in section.lines().filter(|line| line.starts_with("| `")) {
            let names = row.split('|').nth(1).unwrap().split('`').skip(1).step_by(2);
            for name in names {
                let of_size = report["sizes"].get(0).is_some_and(|size| size.get(name).is_some());
                assert!(of_size || report.get(name).is_some(), "{name} is in the manual only");
                count += 1;
            }
        }
    }
    assert!(count >= 20, "{count}");
}
