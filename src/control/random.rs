//! Random configurations that are good, for property tests.

use std::collections::HashSet;
use std::fmt::Write;

/// Numbers that look random and follow from a seed (splitmix64).
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// 0 to `n - 1`.
    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    /// True in one of `n` cases.
    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub fn of<'a>(&mut self, all: &[&'a str]) -> &'a str {
        all[self.below(all.len())]
    }

    /// Each of the lines with an even chance.
    fn some(&mut self, text: &mut String, lines: &[&str]) {
        for line in lines {
            if self.one_in(2) {
                writeln!(text, "{line}").unwrap();
            }
        }
    }
}

/// The ports of [`crate::lb::testing::ports`].
pub const PORTS: &str = r#"
[[port]]
name = "wan"
device = "net_null0"
addresses = ["10.0.0.2/24", "fd00::2/64"]
gateway = "10.0.0.1"
gateway6 = "fd00::1"
[[port]]
name = "lan"
device = "net_null1"
addresses = ["10.1.0.254/24", "fd01::fe/64"]
"#;

/// A whole file.
pub fn file(random: &mut Random) -> String {
    let mut text = "[dataplane]\n".to_owned();
    let workers = ["workers = 2", "workers = [3, 1]", "", ""];
    writeln!(text, "{}", random.of(&workers)).unwrap();
    let keys = [
        "connections = 12345",
        "local_port_rest = '2m'",
        "mbufs = 8192",
        "fragments = 0",
        "persistence_clients = 2048",
        "eal = ['--no-huge', '-m', '512', 'a \"b\" \\\\ c']",
        "hash_key = '000102030405060708090A0B0C0D0E0F'",
        "idle = 'spin'",
        "[control]",
        "socket = '/run/x y.sock'",
        "grace = 0.25",
        "state_file = 'none'",
        "[control.api]",
        "listen = '[2001:db8::1]:9300'",
        "open_reads = false",
        "[host]",
        "icmp = 0",
        "other = 999",
    ];
    // A key must not get into the table of another.
    for part in [0..8, 9..12, 13..15, 16..18] {
        if part.start > 0 {
            writeln!(text, "{}", keys[part.start - 1]).unwrap();
        }
        random.some(&mut text, &keys[part]);
    }
    text.push_str(PORTS);
    random.some(
        &mut text,
        &[
            "mtu = 9000",
            "mac = '02-00-00-00-00-0A'",
            "vlan = 7",
            "decapsulate_from = ['10.9.0.1/16', 'fd09::/32']",
            "spread = 'queues'",
            "neighbors = { '10.1.0.1' = '02:00:00:00:00:01', 'fe80::1' = '02:00:00:00:00:01' }",
            "host = 'off'",
            "host_device = 'tg.x'",
        ],
    );
    services(random, &mut text, true);
    text
}

/// Services on the addresses of [`PORTS`]; with `all_keys` also what no packet shows.
pub fn services(random: &mut Random, text: &mut String, all_keys: bool) {
    let mut taken = HashSet::new();
    let mut pinged = HashSet::new();
    // Services that may share an end have to agree on them.
    let local_ports = if all_keys { random.of(&["", "local_ports = '2000-3000'"]) } else { "" };
    for n in 0..6 {
        let is_v6 = random.one_in(3);
        let vip =
            if is_v6 { format!("2001:db8::{}", random.below(2)) } else { format!("192.0.2.1{}", random.below(3)) };
        let protocol = random.of(&["tcp", "tcp", "udp"]);
        let port = [None, Some(80), Some(80), Some(443)][random.below(4)];
        let mode = random.of(&["nat", "nat", "full-nat", "gre", "ipip", "gue", "dsr"]);
        if random.one_in(3) || !taken.insert((vip.clone(), protocol, port)) {
            continue;
        }
        writeln!(text, "\n[[service]]\nname = 's{n}'\nvip = '{vip}'\nprotocol = '{protocol}'\nmode = '{mode}'")
            .unwrap();
        writeln!(text, "maglev_size = {}", random.of(&["251", "251", "509"])).unwrap();
        if let Some(port) = port {
            writeln!(text, "port = {port}").unwrap();
        }
        if mode == "full-nat" {
            let more = random.of(&["", ", '10.1.0.101'"]);
            writeln!(text, "local_addresses = ['10.1.0.100', 'fd01::100'{more}]\n{local_ports}").unwrap();
        }
        if mode == "full-nat" && protocol == "tcp" && random.one_in(3) {
            writeln!(text, "client_address = '{}'", random.of(&["toa", "proxy-v2"])).unwrap();
        }
        if mode == "nat" && random.one_in(4) && pinged.insert(vip.clone()) {
            writeln!(text, "echo = 'backend'").unwrap();
        }
        if all_keys {
            service_keys(random, text, port.is_some());
        }
        backends(random, text, mode, is_v6, port.is_some());
    }
}

fn service_keys(random: &mut Random, text: &mut String, has_port: bool) {
    random.some(
        text,
        &[
            "persistence = '10m'",
            "tunnel_source = '10.0.0.2'",
            "tunnel_ttl = 7",
            "gue_port = 6081",
            "mtu_policy = 'clamp'",
            "reset_idle = true",
            "reset_unknown = true",
            "unreachable = true",
            "drain_timeout = '90s'",
            "drain_action = 'leave'",
            "on_remove = 'drain'",
        ],
    );
    let dscp = random.of(&["", "tunnel_dscp = 0", "tunnel_dscp = 'copy'", "tunnel_dscp = 46"]);
    writeln!(text, "{dscp}").unwrap();
    if random.one_in(2) {
        writeln!(text, "[service.timeouts]").unwrap();
        random.some(text, &["tcp_syn = 5", "tcp_established = '1h'", "tcp_fin = 1", "udp = '2m'", "icmp_echo = 32000"]);
    }
    if random.one_in(3) {
        return;
    }
    writeln!(text, "[service.health]").unwrap();
    let kinds = [
        "type = 'tcp'",
        "type = 'ping'",
        "type = 'http'\npath = '/x?y=%20'\nstatus = [200, '300-399', '404']\nbody = 'a # \"b\"'",
        "type = 'https'\nsni = 'www.example.com'\nhost = 'x'\nstatus = 204",
        "type = 'https'\nverify = false",
        "type = 'udp'\nsend = 'hex:00ff0a'\nexpect = ''",
        "type = 'udp'\nsend = \"hex:6865783a\"\nexpect = \"a\\u0000\\n'\\\"\"",
        "type = 'dns'\nquery = '.'\nrecord = 'NS'\nanswer = 'A.Root-Servers.net.'",
        "type = 'dns'\nquery = 'x.example.'\nrecord = 'MX'\nanswer = '0  .'",
        "type = 'dns'\nquery = 'x'\nrecord = 'TXT'\nanswer = 'spaces  '",
        "type = 'dns'\nquery = 'x'\nrcode = 'nxdomain'",
    ];
    let kind = random.of(&kinds);
    writeln!(text, "{kind}").unwrap();
    if !has_port && !kind.contains("ping") {
        writeln!(text, "port = 8080").unwrap();
    }
    writeln!(text, "{}", random.of(&["", "interval = '300ms'", "interval = 5\ntimeout = '1500ms'"])).unwrap();
    random.some(
        text,
        &[
            "rise = 1",
            "fall = 9",
            "jitter = 0",
            "panic_threshold = 50",
            "slow_start = '1m'",
            "flap_hold = 0",
            "flap_hold_max = '1h'",
        ],
    );
    if !kind.contains("ping") {
        random.some(text, &["target = 'address'"]);
    }
}

fn backends(random: &mut Random, text: &mut String, mode: &str, is_v6: bool, has_port: bool) {
    let mut places = HashSet::new();
    for n in 0..6 {
        let crosses = !matches!(mode, "nat" | "dsr") && random.one_in(3);
        let last = random.below(7) + 1;
        let address = if is_v6 != crosses { format!("fd01::{last}") } else { format!("10.1.0.{last}") };
        if random.one_in(3) || !places.insert(address.clone()) {
            continue;
        }
        writeln!(text, "[[service.backend]]\nname = 'b{n}'\naddress = '{address}'").unwrap();
        if has_port && matches!(mode, "nat" | "full-nat") && random.one_in(3) {
            writeln!(text, "port = {}", random.of(&["8080", "8081"])).unwrap();
        }
        random.some(text, &["connections_max = 1000"]);
        let states = ["state = 'drain'", "state = 'down'", "", "", "", ""];
        writeln!(text, "{}", random.of(&["role = 'backup'", "role = 'last-resort'", "", "", ""])).unwrap();
        writeln!(text, "{}\n{}", random.of(&["weight = 0", "weight = 50", "", "", ""]), random.of(&states)).unwrap();
    }
}
