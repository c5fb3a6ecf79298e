//! tidegate as the device under test, over memifs.

use super::process::{Ended, Setup};

/// One port, the way to everywhere, and its other end.
const ONE_PORT: &str = "[[port]]\nname = 'wan'\ndevice = 'net_memif0,role=server,id=0,socket=DIR/wan.sock,socket-abstract=no'\n\
                        addresses = ['10.0.0.2/24']\ngateway = '10.0.0.1'\nmac = '02:00:00:00:00:02'\n";
const STATIC: &str = "neighbors = { '10.0.0.1' = '02:00:00:00:00:01' }\n";
/// The backends' network.
const SECOND_PORT: &str = "[[port]]\nname = 'lan'\ndevice = 'net_memif1,role=server,id=1,socket=DIR/lan.sock,socket-abstract=no'\n\
                           addresses = ['10.1.0.2/24']\nmac = '02:00:00:00:01:02'\n";

const CLIENTS: &str = "[[port]]\nname = 'clients'\nmac = '02:00:00:00:00:01'\ngateway_mac = '02:00:00:00:00:02'\n\
                       device = 'net_memif0,role=client,id=0,socket=DIR/wan.sock,socket-abstract=no'\naddresses = ['10.0.0.1']\n";
const BACKENDS: &str = "[[port]]\nname = 'backends'\nmode = 'server'\nmac = '02:00:00:00:01:01'\n\
                        device = 'net_memif1,role=client,id=1,socket=DIR/lan.sock,socket-abstract=no'\n\
                        addresses = ['10.1.0.11', '10.1.0.12', '10.1.0.13']\n";

fn service(protocol: &str, mode: &str) -> String {
    let mut text = format!(
        "[[service]]\nname = '{protocol}'\nvip = '192.0.2.10'\nport = 80\nprotocol = '{protocol}'\nmode = '{mode}'\n"
    );
    for host in 11..14 {
        text += &format!("[[service.backend]]\nname = 'b{host}'\naddress = '10.1.0.{host}'\n");
    }
    text
}

/// Each of three backends of one weight has its third of `total`, as far as chance and Maglev's table allow.
fn assert_even(shares: &[(String, u64, u64)], of: fn(&(String, u64, u64)) -> u64, total: u64) {
    assert_eq!(shares.len(), 3, "{shares:?}");
    assert_eq!(shares.iter().map(of).sum::<u64>(), total, "{shares:?}");
    let third = total as f64 / 3.0;
    // Six standard deviations of a binomial share, and the 1 % that the table may be off.
    let allowed = 6.0 * (total as f64 * 2.0 / 9.0).sqrt() + third * 0.01;
    for share in shares {
        assert!((of(share) as f64 - third).abs() <= allowed, "{shares:?}: {third} each, {allowed} more or less");
    }
}

#[test]
fn flows_spread_over_the_backends_of_a_tunnel() {
    let setup = Setup::new();
    let tidegate = setup.start_tidegate(&format!("{ONE_PORT}{STATIC}{}", service("udp", "gre")));
    let traffic = "[traffic]\nservers = ['192.0.2.10:80']\nflows = 2000\npps = 6000\npackets = 6000\n";
    let ended = setup.pktgen("run", &format!("{CLIENTS}{traffic}"), &[]);
    ended.assert_lossless();
    let backends = ended.backends("/backends");
    let addresses: Vec<&str> = backends.iter().map(|(address, ..)| address.as_str()).collect();
    assert_eq!(addresses, ["10.1.0.11", "10.1.0.12", "10.1.0.13"]);
    assert_eq!(ended.report["backends"][0]["by"], "outer_address");
    assert_even(&backends, |(_, _, flows)| *flows, 2000);
    assert!(backends.iter().all(|(_, packets, flows)| *packets == flows * 3), "a flow's packets go one way");
    assert_eq!(ended.number("/flows_moved"), 0);
    let stats = setup.stop_tidegate(tidegate);
    assert_eq!(stats["tx_packets"], 6000, "{stats:#}");
}

/// What a balancer in NAT mode must not do to connections.
fn assert_all_completed(ended: &Ended, count: u64) {
    ended.assert_good();
    for key in ["opened", "established", "completed"] {
        assert_eq!(ended.number(&format!("/connections/{key}")), count, "{:#}\n{}", ended.report, ended.log);
    }
    for none in ["/connections/reset", "/connections/timed_out", "/received/bad_checksums", "/server/bad_checksums"] {
        assert_eq!(ended.number(none), 0, "{none} in {:#}", ended.report);
    }
    assert!(ended.number("/connections/handshake_ns/count") > 0);
}

#[test]
fn connections_complete_through_nat_with_two_ports() {
    let setup = Setup::new();
    // Neighbours are resolved by ARP here, which pktgen answers.
    let tidegate = setup.start_tidegate(&format!("{ONE_PORT}{SECOND_PORT}{}", service("tcp", "nat")));
    let traffic = "[traffic]\nkind = 'connections'\nservers = ['192.0.2.10:80']\nflows = 2000\ncps = 1500\n\
                   packets = 1500\npacket_size = 200\nretransmit_timeout = 2\n";
    let ended = setup.pktgen("run", &format!("wait = 10\n{CLIENTS}{BACKENDS}{traffic}"), &[]);
    assert_all_completed(&ended, 1500);
    let backends = ended.backends("/server/backends");
    assert!(backends.iter().all(|(address, ..)| address.ends_with(":80")));
    // A SYN that was sent again counts again.
    let syns = ended.number("/server/syns");
    assert!(syns >= 1500 && syns <= 1500 + ended.number("/connections/retransmits"));
    assert_even(&backends, |(_, packets, _)| *packets, syns);
    let stats = setup.stop_tidegate(tidegate);
    assert_eq!(stats["connections"]["created"], 1500, "{stats:#}");
}

#[test]
fn datagrams_come_back_through_nat_on_one_port() {
    let setup = Setup::new();
    let tidegate = setup.start_tidegate(&format!("{ONE_PORT}{STATIC}{}", service("udp", "nat")));
    let traffic = "[traffic]\nservers = ['192.0.2.10:80']\nflows = 50\npps = 2000\npackets = 1000\n";
    let ended = setup.pktgen("run", &format!("{CLIENTS}mode = 'both'\n{traffic}"), &[]);
    ended.assert_lossless();
    assert_eq!(ended.number("/received/returned"), 1000, "echoed by the backend, and back from the VIP");
    assert_eq!((ended.number("/server/datagrams"), ended.backends("/server/backends").len()), (1000, 3));
    let stats = setup.stop_tidegate(tidegate);
    assert_eq!(stats["tx_packets"], 2000, "{stats:#}");
}

#[test]
fn nat_is_seen_by_a_port_that_only_receives() {
    let setup = Setup::new();
    let neighbors = "neighbors = { '10.1.0.11' = '02:00:00:00:01:01', '10.1.0.12' = '02:00:00:00:01:01', '10.1.0.13' = '02:00:00:00:01:01' }\n";
    let tidegate =
        setup.start_tidegate(&format!("{ONE_PORT}{STATIC}{SECOND_PORT}{neighbors}{}", service("udp", "nat")));
    let traffic =
        "[traffic]\nservers = ['192.0.2.10:80']\nflows = 600\npps = 2000\npackets = 1200\npacket_size = 128\n";
    let sink = BACKENDS.replace("'server'", "'receive'");
    let ended = setup.pktgen("run", &format!("workers = 2\n{CLIENTS}{sink}{traffic}"), &[]);
    ended.assert_lossless();
    let backends = ended.backends("/backends");
    assert_eq!((backends[0].0.as_str(), &ended.report["backends"][0]["by"]), ("10.1.0.11:80", &"address".into()));
    assert_even(&backends, |(_, _, flows)| *flows, 600);
    setup.stop_tidegate(tidegate);
}
