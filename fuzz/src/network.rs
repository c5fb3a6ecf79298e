//! The network around the packet path: two ports, services of every mode and family, and configurations that follow on
//! each other.

use std::net::IpAddr;
use std::sync::LazyLock;

use tidegate::control::config::Config;
use tidegate::wire::ethernet::MacAddr;

use super::frames::{Link, v4, v6};

pub const WAN: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);
pub const LAN: MacAddr = MacAddr([2, 0, 0, 0, 0, 3]);
/// The host on each network that all frames come from.
pub const PEER: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
pub const LAN_VLAN: u16 = 100;

/// How many services there are.
pub const SERVICES: usize = 14;

/// VIP, port and whether it is TCP, for each service.
pub fn services() -> [(IpAddr, u16, bool); SERVICES] {
    [
        (v4(192, 0, 2, 10), 80, true),
        (v4(192, 0, 2, 10), 53, false),
        (v6(0, 0x10), 80, true),
        (v4(192, 0, 2, 20), 443, true),
        (v6(0, 0x20), 53, false),
        (v4(192, 0, 2, 21), 80, true),
        (v4(192, 0, 2, 30), 80, true),
        (v6(0, 0x30), 53, false),
        (v4(192, 0, 2, 40), 80, true),
        (v4(192, 0, 2, 40), 53, false),
        (v6(0, 0x40), 80, true),
        (v4(192, 0, 2, 50), 80, true),
        (v6(0, 0x50), 53, false),
        (v4(192, 0, 2, 51), 53, false),
    ]
}

/// Who sends requests: clients, and some who cannot be clients.
pub fn client(choice: usize, is_v4: bool) -> IpAddr {
    match (choice, is_v4) {
        (0..5, true) => v4(198, 18, 0, 1 + choice as u8),
        (0..5, false) => v6(0xc, 1 + choice as u16),
        (5, true) => v4(10, 1, 0, 11),
        (5, false) => "fd01::11".parse().unwrap(),
        (6, true) => v4(10, 0, 0, 2),
        (6, false) => "fd00::2".parse().unwrap(),
        (_, true) => v4(127, 0, 0, 1),
        (_, false) => "ff02::1".parse().unwrap(),
    }
}

/// The link layer of frames that come in by a port.
pub fn link(port: usize, family: usize) -> Link {
    let vlan = (port == 1 && family == 1).then_some(LAN_VLAN);
    Link { dst: if port == 0 { WAN } else { LAN }, src: PEER, vlan }
}

/// Families of configurations: within one, all can follow on each other without a restart.
pub const FAMILIES: usize = 2;
pub const VARIANTS: usize = 7;

pub fn config(family: usize, variant: usize) -> &'static Config {
    static CONFIGS: LazyLock<Vec<Config>> = LazyLock::new(|| {
        let all = (0..FAMILIES).flat_map(|family| (0..VARIANTS).map(move |variant| text(family, variant)));
        all.map(|text| Config::parse(&text, "fuzz.toml").unwrap_or_else(|e| panic!("{e}\n{text}"))).collect()
    });
    &CONFIGS[family % FAMILIES * VARIANTS + variant % VARIANTS]
}

/// The configuration as a file.
pub fn text(family: usize, variant: usize) -> String {
    // The second family has to ask for its next hops, and a tagged port with a smaller MTU.
    let (known, lan) = if family == 0 {
        ("neighbors = { \"10.0.0.1\" = \"02:00:00:00:00:01\", \"fd00::1\" = \"02:00:00:00:00:01\" }", "mtu = 1500")
    } else {
        ("", "vlan = 100\nmtu = 1400")
    };
    let mut text = format!(
        "[dataplane]\nworkers = 4\nconnections = 1000\n\
         [[port]]\nname = \"wan\"\ndevice = \"net_null0\"\nmac = \"{WAN}\"\naddresses = [\"10.0.0.2/24\", \"fd00::2/64\"]\n\
         gateway = \"10.0.0.1\"\ngateway6 = \"fd00::1\"\n{known}\n\
         [[port]]\nname = \"lan\"\ndevice = \"net_null1\"\nmac = \"{LAN}\"\naddresses = [\"10.1.0.2/24\", \"fd01::2/64\"]\n\
         {lan}\nneighbors = {{ \"10.1.0.11\" = \"{PEER}\", \"fd01::11\" = \"{PEER}\" }}\n"
    );
    for (index, (vip, port, is_tcp)) in services().into_iter().enumerate() {
        // NAT goes away in one variant, and is a tunnel in another.
        let mode = match (index, variant) {
            (0..3, 4) => continue,
            (0..3, 5) => "gre",
            (0..3, _) => "nat",
            (3..6, _) => "gre",
            (6..8, _) => "dsr",
            (8..11, _) => "full-nat",
            (11, _) => "ipip",
            _ => "gue",
        };
        // One service takes every port of its VIP.
        let port = if index == 3 { String::new() } else { format!("port = {port}\n") };
        let protocol = if is_tcp { "tcp" } else { "udp" };
        // Few ports, so that they run out; and they rest.
        let echo = if mode == "nat" && index == 0 { "echo = \"backend\"\n" } else { "" };
        let local = if mode == "full-nat" {
            "local_addresses = [\"10.1.0.100\", \"10.1.0.101\"]\nlocal_ports = \"2000-2007\"\n"
        } else {
            ""
        };
        text += &format!(
            "[[service]]\nname = \"s{index}\"\nvip = \"{vip}\"\n{port}protocol = \"{protocol}\"\nmode = \"{mode}\"\n\
             {local}{echo}maglev_size = 251\n[service.timeouts]\ntcp_syn = 3\ntcp_established = 60\ntcp_fin = 2\nudp = 20\nudp_oneway = 5\n"
        );
        backends(&mut text, index, mode, variant);
    }
    text
}

fn backends(text: &mut String, service: usize, mode: &str, variant: usize) {
    // Two tunnels and one full-NAT lead to the other family.
    let is_v4 = matches!(service, 0 | 1 | 3 | 4 | 6 | 8 | 9 | 10 | 12);
    for host in 11..14 {
        let state = match (host, variant) {
            (12, 1) => continue,
            (11, 2) => "down",
            (13, 3) => "drain",
            // Nobody is left.
            (_, 6) if service == 0 => "drain",
            _ => "up",
        };
        let net = if is_v4 { "10.1.0." } else { "fd01::" };
        let port = if mode.ends_with("nat") && host == 11 { "port = 8080\n" } else { "" };
        *text +=
            &format!("[[service.backend]]\nname = \"b{host}\"\naddress = \"{net}{host}\"\n{port}state = \"{state}\"\n");
    }
}
