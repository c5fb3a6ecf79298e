//! testpmd as the device under test, over a memif.

use super::process::Setup;

const PORT: &str = "[[port]]\nname = 'wire'\nmac = '02:00:00:00:00:01'\ngateway_mac = '02:00:00:00:00:02'\n\
                    device = 'net_memif0,role=server,id=0,socket=DIR/wire.sock,socket-abstract=no'\n";

fn profile(head: &str, traffic: &str) -> String {
    format!("{head}{PORT}[traffic]\nservers = ['192.0.2.10:80']\n{traffic}\n")
}

#[test]
fn what_testpmd_turns_round_comes_back() {
    let setup = Setup::new();
    let traffic = "flows = 64\npps = 2000\npacket_size = 'imix'";
    let profile = profile("duration = 1\n", traffic);
    let Some(ended) = setup.pktgen_with_testpmd("macswap", "run", &profile) else { return };
    ended.assert_lossless();
    // It came to our own address, with the destination on IP as it was sent.
    let backends = ended.backends("/backends");
    assert_eq!((backends.len(), backends[0].0.as_str(), backends[0].2), (1, "02:00:00:00:00:01", 64));
    assert_eq!(ended.report["ports"][0]["driver"], "net_memif");
}

#[test]
fn answers_of_testpmd_are_told_from_forwarded_packets() {
    let setup = Setup::new();
    let profile = profile("duration = 0.5\n", "flows = 64\npps = 2000");
    let Some(ended) = setup.pktgen_with_testpmd("5tswap", "run", &profile) else { return };
    ended.assert_lossless();
    assert_eq!(ended.number("/received/returned"), ended.number("/sent/packets"));
    assert!(ended.backends("/backends").is_empty());
}

#[test]
fn a_search_finds_a_rate_that_testpmd_forwards() {
    let setup = Setup::new();
    let search =
        "[rfc2544]\nsizes = [64, 1518]\ntrial = 0.5\nwait = 0.5\npause = 0\nrate_max = 4000\nresolution = 20\n";
    let profile = format!("{}{search}", profile("", "flows = 16"));
    let Some(ended) = setup.pktgen_with_testpmd("macswap", "rfc2544", &profile) else { return };
    ended.assert_good();
    for size in ended.report["sizes"].as_array().unwrap() {
        let trials = size["trials"].as_array().unwrap();
        assert!(!trials.is_empty() && trials[0]["target_pps"] == 4000.0, "{:#}", ended.report);
        for trial in trials {
            let number = |key: &str| trial[key].as_u64().unwrap();
            assert_eq!(number("sent"), number("received") + number("lost"));
            assert_eq!(trial["good"], number("lost") == 0);
        }
        let best = trials.iter().filter(|t| t["good"] == true).map(|t| t["offered_pps"].as_f64().unwrap());
        let best = best.fold(0.0, f64::max);
        assert!(best > 0.0 && size["throughput_pps"].as_f64() == Some(best), "{:#}", ended.report);
    }
}
