//! What good files become.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::wire::ethernet::MacAddr;

use super::super::{
    ClientAddress, GroupKey, HealthCheck, HttpCheck, Idle, Mode, Protocol, Spread, State, Statuses, Workers, check,
};
use super::{Config, PORT, good, parse, service, warnings};

/// Samples that the operator's guide names.
const SAMPLES: [&str; 7] = ["dsr", "gre", "laptop", "nat-one-arm", "nat-two-arm", "physical-nic", "reference"];

fn sample_path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config").join(format!("{name}.toml"))
}

#[test]
fn every_sample_is_good_without_warnings() {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(sample_path("x").parent().unwrap()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            let config = Config::load(&path).unwrap_or_else(|errors| panic!("{errors}"));
            assert_eq!(config.warnings, [], "{}", path.display());
            found.insert(path.file_stem().unwrap().to_string_lossy().into_owned());
        }
    }
    assert!(SAMPLES.iter().all(|name| found.contains(*name)), "{found:?}");
}

#[test]
fn every_sample_but_the_real_nic_runs_without_hugepages_and_replays() {
    for name in SAMPLES.iter().filter(|name| **name != "physical-nic") {
        let config = Config::load(&sample_path(name)).unwrap();
        assert_eq!(config.dataplane.eal, ["--no-huge", "-m", "512", "--no-pci"], "{name}");
        assert!(config.ports.iter().all(|port| port.mac.is_some()), "{name}");
        assert!(config.ports.iter().all(|port| port.device.starts_with("net_")), "{name}");
    }
}

#[test]
fn reports_are_one_line() {
    let report = check(&sample_path("gre")).unwrap();
    assert!(report.to_string().ends_with("config/gre.toml: ok, 1 port, 2 services, 6 backends"), "{report}");
    assert_eq!(check(&sample_path("nat-two-arm")).unwrap().ports, 2);
}

/// Each key with a value that is not its default.
const EVERY_VALUE: &str = r#"
[dataplane]
workers = [2, 0x3]
connections = 2_000
mbufs = 512
eal = ["--no-huge", "-m", "64"]
hash_key = "000102030405060708090a0b0c0d0e0F"
idle = "spin"
[control]
socket = "t.sock"
grace = "1500ms"
state_file = "none"
[[port]]
name = "wan"
device = "0000:03:00.0"
addresses = ["10.0.0.2/24", "fd00::2/64"]
gateway = "10.0.0.1"
gateway6 = "fe80::1"
mtu = 9_000
mac = "02:00:00:00:00:02"
vlan = 4094
spread = "queues"
neighbors = { "10.0.0.1" = "02:00:00:00:00:01", "fe80::1" = "02-00-00-00-00-03" }
[[service]]
name = "a.b_c-D"
vip = "2001:db8::1"
port = 53
protocol = "udp"
mode = "gre"
scheduler = "maglev"
tunnel_source = "10.0.0.9"
maglev_size = 251
unreachable = true
timeouts = { udp = 5, udp_oneway = "2m", tcp_established = 32000 }
[service.health]
type = "http"
interval = 0.5
rise = 1
fall = 100
port = 8080
path = "/h?x=1"
host = "h:80"
status = 204
[[service.backend]]
name = "b1"
address = "10.1.0.11"
port = 53
weight = 0
state = "drain"
[[service.backend]]
name = "b2"
address = "fd01::2"
"#;

#[test]
fn every_value_is_read() {
    let config = good(EVERY_VALUE);
    assert_eq!(config.warnings, []);
    assert_eq!(config.dataplane.workers, Workers::Lcores(vec![2, 3]));
    assert_eq!((config.dataplane.connections, config.dataplane.mbufs), (2000, 512));
    assert_eq!(config.dataplane.eal, ["--no-huge", "-m", "64"]);
    assert_eq!(config.dataplane.hash_key, Some(GroupKey(std::array::from_fn(|n| n as u8))));
    assert!(!format!("{config:?}").contains("14, 15"), "the key is a secret");
    assert_eq!(config.dataplane.idle, Idle::Spin);
    assert_eq!(
        (config.control.socket.as_path(), config.control.grace, &config.control.state_file),
        (Path::new("t.sock"), Duration::from_millis(1500), &None)
    );
    let port = &config.ports[0];
    assert_eq!(
        (port.name.as_str(), port.device.as_str(), port.mtu, port.vlan),
        ("wan", "0000:03:00.0", 9000, Some(4094))
    );
    assert_eq!(port.addresses.iter().map(|net| net.to_string()).collect::<Vec<_>>(), ["10.0.0.2/24", "fd00::2/64"]);
    assert_eq!(port.mac, Some(MacAddr([2, 0, 0, 0, 0, 2])));
    assert_eq!(port.spread, Spread::Queues);
    assert_eq!(port.neighbors[&"fe80::1".parse().unwrap()], MacAddr([2, 0, 0, 0, 0, 3]));
    let service = &config.services[0];
    assert_eq!((service.protocol, service.mode, service.port), (Protocol::Udp, Mode::Gre, Some(53)));
    assert_eq!((service.maglev_size, service.tunnel_source), (251, Some("10.0.0.9".parse().unwrap())));
    assert!(service.unreachable);
    let timeouts = service.timeouts;
    assert_eq!(
        (timeouts.udp_s, timeouts.udp_oneway_s, timeouts.tcp_established_s, timeouts.tcp_syn_s),
        (5, 120, 32000, 30)
    );
    let health = service.health.clone().unwrap();
    assert_eq!((health.interval, health.timeout), (Duration::from_millis(500), Duration::from_millis(500)));
    assert_eq!((health.rise, health.fall, health.port), (1, 100, Some(8080)));
    let status = Statuses(vec![204..=204]);
    let http = HttpCheck { path: "/h?x=1".into(), host: Some("h:80".into()), status, body: None, tls: None };
    assert_eq!(health.check, HealthCheck::Http(http));
    let [b1, b2] = service.backends.as_slice() else { panic!("two backends") };
    assert_eq!((b1.name.as_str(), b1.port, b1.weight, b1.state), ("b1", Some(53), 0, State::Drain));
    assert_eq!((b2.address.to_string().as_str(), b2.port, b2.weight, b2.state), ("fd01::2", None, 100, State::Up));
    assert_eq!(service.backend_port(b2), Some(53));
}

#[test]
fn services_may_share_an_address_but_not_a_port() {
    let another = |keys: &str| format!("[[service]]\nname = 'web2'\nvip = '192.0.2.10'\nmode = 'gre'\n{keys}");
    let base = service("gre", "", "address = '10.1.0.1'");
    for keys in ["port = 81", "", "port = 80\nprotocol = 'udp'"] {
        good(&format!("{base}{}", another(keys)));
    }
    assert!(parse(&format!("{base}{}", another("port = 80"))).is_err());
}

#[test]
fn client_addresses_may_stay_untold_in_every_mode() {
    for mode in ["nat", "gre", "dsr"] {
        let config = good(&service(mode, "client_address = 'none'", "address = '10.0.0.8'"));
        assert_eq!(config.services[0].client_address, ClientAddress::None);
    }
}

#[test]
fn what_is_odd_is_a_warning() {
    assert_eq!(warnings(PORT), ["there is no [[service]]: nothing is balanced"]);
    let of = |mode: &str, keys: &str, backend: &str| warnings(&service(mode, keys, backend));
    assert_eq!(of("gre", "", "address = '10.1.0.1'"), [""; 0]);
    assert_eq!(
        of("gre", "", "address = '10.1.0.1'\nweight = 0"),
        ["service `web` has no weight above 0 on a backend that is up: no new connections"]
    );
    assert_eq!(
        of("gre", "", "address = '10.1.0.1'\nstate = 'down'"),
        ["service `web` has no backend with state up: no new connections"]
    );
    assert_eq!(
        of("nat", "tunnel_source = '10.0.0.2'\nlocal_addresses = ['10.0.0.9']", "address = '10.0.0.8'"),
        [
            "`tunnel_source` is for tunnel modes; mode nat does not use it",
            "`local_addresses` is for mode full-nat; mode nat does not use it"
        ]
    );
    assert_eq!(
        of("gre", "tunnel_source = 'fd00::7'", "address = '10.1.0.1'"),
        ["`tunnel_source` fd00::7 is not of the family of any backend"]
    );
    let tunnel = "tunnel_dscp = 46\ntunnel_ttl = 3\ngue_port = 6081\nmtu_policy = 'fragment'";
    assert_eq!(of("gue", tunnel, "address = '10.1.0.1'"), [""; 0]);
    assert_eq!(
        of("dsr", tunnel, "address = '10.0.0.9'"),
        [
            "`tunnel_dscp` is for tunnel modes; mode dsr does not use it",
            "`tunnel_ttl` is for tunnel modes; mode dsr does not use it",
            "`gue_port` is for mode gue; mode dsr does not use it",
            "`mtu_policy` fragment is for tunnel modes; in mode dsr it is signal"
        ]
    );
    assert_eq!(
        of("ipip", "protocol = 'udp'\nmtu_policy = 'clamp'", "address = '10.1.0.1'"),
        ["`mtu_policy` clamp is for TCP; for udp it is signal"]
    );
    assert_eq!(
        of("gre", "maglev_size = 67", "address = '10.1.0.1'\n[[service.backend]]\nname = 'b2'\naddress = '10.1.0.2'"),
        ["`maglev_size` 67 is less than 65 slots a backend: shares will be uneven"]
    );
    let head = "[[service]]\nname = 'web'\nvip = '192.0.2.10'\nmode = 'gre'";
    for mode in ["gre", "dsr"] {
        let message =
            format!("backend `b1`: port 8080 has no effect, mode {mode} never changes it; leave it out or write 80");
        assert_eq!(of(mode, "", "address = '10.0.0.9'\nport = 8080"), [message]);
    }
    assert_eq!(warnings(&format!("{PORT}{head}")), ["service `web` has no backends"]);
    let tail = |text: &str| {
        let service = service("gre", "", "address = '10.1.0.1'");
        warnings(&format!("{service}[[port]]\nname = 'p'\n{text}"))
    };
    assert_eq!(
        tail("device = 'eth0'\nneighbors = { '10.9.0.1' = '02:00:00:00:00:01' }"),
        [
            "port `p` has no addresses: nothing is sent out of it but to a gateway",
            "`eth0` is not a PCI address or vdev; for a kernel interface of that name write \"net_af_packet0,iface=eth0\"",
            "neighbor 10.9.0.1 is in no network of port `p`, so it is never used"
        ]
    );
    assert_eq!(
        tail("device = 'net_tap3'\naddresses = ['10.9.0.2/24']\ngateway = '10.9.0.1'"),
        ["`gateway` is not used: port `wan` has one already, and the first one wins"]
    );
}
