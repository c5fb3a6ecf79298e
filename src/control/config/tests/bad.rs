//! What is said of bad files.

use super::{PORT, errors, good, parse, service};

/// The whole text as it is printed.
fn printed(text: &str) -> String {
    parse(text).expect_err(text).to_string()
}

/// The only message.
fn error(text: &str) -> String {
    let mut errors = errors(text);
    assert_eq!(errors.len(), 1, "{errors:#?}\nin\n{text}");
    errors.remove(0)
}

/// The only message of a service `web` in `mode`.
fn service_error(mode: &str, keys: &str, backend: &str) -> String {
    error(&service(mode, keys, backend))
}

#[test]
fn errors_of_every_table_are_shown_at_once_with_their_places() {
    let text = r#"[dataplane]
worker = 2
mbufs = "many"

[[port]]
name = "wan"
device = "net_tap0,iface=tidegate0"
addresses = ["10.0.0.2/24", "10.0.1.2/33"]
mtu = 15_000

[[services]]
name = "web"

[[service]]
name = "web"
vip = "192.0.2.10"
mode = "ipipip"
scheduler = "magleff"

[[service.backend]]
name = "b1"
adress = "10.0.0.11"
"#;
    let expected = r#"t.toml:2:1: unknown key `worker` in [dataplane], did you mean `workers`?
  2 | worker = 2
    | ^^^^^^
t.toml:3:9: `mbufs` must be an integer from 256 to 16777216, not "many"
  3 | mbufs = "many"
    |         ^^^^^^
t.toml:8:29: `addresses` must be a list of at most 64 addresses such as "10.0.0.2/24", not with "10.0.1.2/33"
  8 | addresses = ["10.0.0.2/24", "10.0.1.2/33"]
    |                             ^^^^^^^^^^^^^
t.toml:9:7: `mtu` must be an integer from 576 to 9600, not 15000
  9 | mtu = 15_000
    |       ^^^^^^
t.toml:11:3: unknown key `services` in the file, did you mean `service`?
  11 | [[services]]
     |   ^^^^^^^^
t.toml:17:8: `mode` must be one of nat, full-nat, gre, ipip, gue, dsr, not "ipipip", did you mean `ipip`?
  17 | mode = "ipipip"
     |        ^^^^^^^^
t.toml:18:13: `scheduler` must be one of rr, wrr, sh, lc, wlc, lrt, maglev, not "magleff", did you mean `maglev`?
  18 | scheduler = "magleff"
     |             ^^^^^^^^^
t.toml:20:1: [[service.backend]] needs `address`: an IPv4 or IPv6 address
  20 | [[service.backend]]
     | ^^^^^^^^^^^^^^^^^^^
t.toml:22:1: unknown key `adress` in [[service.backend]], did you mean `address`?
  22 | adress = "10.0.0.11"
     | ^^^^^^"#;
    assert_eq!(printed(text), expected);
}

#[test]
fn every_syntax_error_is_shown() {
    let text = "[dataplane]\nworkers = \nmbufs = 1 2\neal = []\neal = []\n[[port]\n";
    let lines: Vec<usize> =
        parse(text).unwrap_err().iter().map(|error| error.place.as_ref().map_or(0, |place| place.line)).collect();
    assert_eq!(lines, [2, 3, 5, 6]);
    assert_eq!(printed("a = 1\na = 2\n"), "t.toml:2:1: duplicate key\n  2 | a = 2\n    | ^");
}

#[test]
fn keys_in_the_wrong_table_are_sent_home() {
    let text = service("gre", "weight = 5\ncolour = 'red'", "address = '10.1.0.1'");
    let known = "name, vip, port, protocol, mode, scheduler, persistence, tunnel_source, \
                 tunnel_dscp, tunnel_ttl, gue_port, mtu_policy, local_addresses, local_ports, \
                 reset_idle, reset_unknown, client_address, maglev_size, unreachable, echo, drain_timeout, drain_action, on_remove, timeouts, health, passive, backend";
    assert_eq!(
        errors(&text),
        [
            "unknown key `weight` in [[service]]; it belongs in [[service.backend]]".to_owned(),
            format!("unknown key `colour` in [[service]]; it knows {known}"),
        ]
    );
}

#[test]
fn tables_of_the_wrong_shape_say_how_they_are_written() {
    assert_eq!(error("[port]\nname = 'wan'"), "`port` must be a list of tables, each written [[port]], not a table");
    assert_eq!(
        error(&format!("[[dataplane]]\n{PORT}")),
        "`dataplane` must be a table, written [dataplane], not a list"
    );
    assert_eq!(
        error(&format!("service = [1]\n{PORT}")),
        "`service` must be a list of tables, each written [[service]], not 1"
    );
    assert_eq!(error(""), "there is no [[port]]; at least one is needed");
    assert_eq!(error("port = []"), "there is no [[port]]; at least one is needed");
    assert_eq!(error(&"[[port]]\n".repeat(33)), "`port` has 33 entries; at most 32 are possible");
}

#[test]
fn dataplane_and_control_values() {
    let of = |keys: &str| error(&format!("{keys}\n{PORT}"));
    let workers = "`workers` must be 1 to 64, or a list of lcores from 0 to 127, not";
    for (value, shown) in
        [("0", "0"), ("65", "65"), ("[]", "0 lcores"), ("'2'", "\"2\""), ("[128]", "128"), ("[-1]", "-1")]
    {
        assert_eq!(of(&format!("[dataplane]\nworkers = {value}")), format!("{workers} {shown}"));
    }
    assert_eq!(of("[dataplane]\nworkers = [2, 3, 2]"), "lcore 2 is in `workers` twice");
    assert_eq!(of("[dataplane]\nworkers = 4\nconnections = 3"), "4 workers need at least as many `connections`, not 3");
    assert_eq!(of("[dataplane]\nconnections = 0"), "`connections` must be an integer from 1 to 1000000000, not 0");
    assert_eq!(of("[dataplane]\nhash_key = 'abc'"), "`hash_key` must be a string of 32 hex digits, not \"abc\"");
    assert_eq!(
        of("[dataplane]\nidle = 'spinn'"),
        "`idle` must be one of auto, spin, sleep, not \"spinn\", did you mean `spin`?"
    );
    assert_eq!(of("[dataplane]\nidle = 1"), "`idle` must be one of auto, spin, sleep, not 1");
    let time = "must be a time from 0s to 3600s, in seconds or with a unit such as \"500ms\", not";
    assert_eq!(of("[control]\ngrace = '10'"), format!("`grace` {time} \"10\""));
    assert_eq!(of("[control]\ngrace = nan"), format!("`grace` {time} nan"));
    for path in ["state.json", "/var/lib/", "", "/a\\u0007b"] {
        let message = of(&format!("[control]\nstate_file = \"{path}\""));
        assert!(
            message.starts_with("`state_file` must be the path of a file from / on, or \"none\", not"),
            "{message}"
        );
    }
    let path = "a".repeat(108);
    assert!(of(&format!("[control]\nsocket = '{path}'")).starts_with("`socket` must be a string of 1 to 107 bytes"));
}

#[test]
fn ports_by_themselves() {
    let of = |from: &str, to: &str| error(&PORT.replace(from, to));
    assert_eq!(of("name = \"wan\"", ""), "[[port]] needs `name`: 1 to 64 of the characters A-Z a-z 0-9 . _ -");
    assert!(of("\"net_null0\"", "''").starts_with("`device` must be a string of 1 to 1024 bytes"));
    assert_eq!(
        of("10.0.0.2/24", "10.0.0.0/24"),
        "`addresses` cannot hold 10.0.0.0/24: that is the address of the network, not of a host in it"
    );
    assert_eq!(
        of("10.0.0.2/24", "10.0.0.255/24"),
        "`addresses` cannot hold 10.0.0.255/24: that is the network's broadcast address"
    );
    assert_eq!(of("10.0.0.2/24", "127.0.0.1/8"), "`addresses` cannot be 127.0.0.1: that is a loopback address");
    assert_eq!(of("fd00::2/64", "ff02::2/64"), "`addresses` cannot be ff02::2: that is a multicast address");
    assert_eq!(
        of("gateway = \"10.0.0.1\"", "gateway = \"10.0.1.1\""),
        "`gateway` 10.0.1.1 is in no network of port `wan`"
    );
    assert_eq!(of("gateway = \"10.0.0.1\"", "gateway = \"10.0.0.2\""), "`gateway` 10.0.0.2 is the port's own address");
    assert_eq!(
        of("gateway = \"10.0.0.1\"", "gateway = \"10.0.0.255\""),
        "`gateway` 10.0.0.255 is the network's broadcast address"
    );
    assert_eq!(
        of("gateway = \"10.0.0.1\"", "gateway = \"fd00::1\""),
        "`gateway` must be an IPv4 address, not \"fd00::1\""
    );
    assert_eq!(of("\"fd00::1\"", "\"10.0.0.1\""), "`gateway6` must be an IPv6 address, not \"10.0.0.1\"");
    assert_eq!(of("\"fd00::1\"", "\"fd01::1\""), "`gateway6` fd01::1 is in no network of port `wan`");
    let with = |keys: &str| error(&format!("{PORT}{keys}\n"));
    assert_eq!(with("mtu = 1279"), "`mtu` must be 1280 or more on a port with IPv6 (RFC 8200 section 5), not 1279");
    assert_eq!(with("vlan = 4095"), "`vlan` must be an integer from 1 to 4094, not 4095");
    assert_eq!(with("vlan = 0"), "`vlan` must be an integer from 1 to 4094, not 0");
    let mac = "the MAC address of one station, such as \"02:00:00:00:00:01\", not";
    assert_eq!(with("mac = '01:00:00:00:00:00'"), format!("`mac` must be {mac} \"01:00:00:00:00:00\""));
    assert_eq!(with("neighbors = { '10.0.0.1' = 7 }"), format!("neighbor 10.0.0.1 must have {mac} 7"));
    assert_eq!(with("neighbors = { 'x' = 7 }"), "`neighbors` must be of IPv4 or IPv6 addresses, not \"x\"");
    assert_eq!(with("neighbors = { '10.0.0.2' = '02:00:00:00:00:01' }"), "neighbor 10.0.0.2 is the port's own address");
    let twice = "neighbors = { 'fd00::9' = '02:00:00:00:00:01', 'FD00:0::9' = '02:00:00:00:00:02' }";
    assert_eq!(with(twice), "neighbor fd00::9 is there twice");
    assert_eq!(
        with("decapsulate_from = ['10.9.0.0/33']"),
        "`decapsulate_from` must be a list of at most 64 addresses such as \"10.0.0.2/24\", not with \"10.9.0.0/33\""
    );
    assert_eq!(
        with("decapsulate_from = ['::/0']"),
        "`decapsulate_from` cannot hold ::/0: anybody could send packets past the edge then"
    );
    let small = PORT.replace(", \"fd00::2/64\"", "").replace("gateway6 = \"fd00::1\"", "mtu = 576");
    assert!(parse(&small).is_ok());
}

#[test]
fn ports_against_each_other() {
    let second = |keys: &str| errors(&format!("{PORT}[[port]]\n{keys}"));
    assert_eq!(
        second("name = 'wan'\ndevice = 'net_null0,size=64'\naddresses = ['10.1.0.2/24']"),
        [
            "port name `wan` is there twice",
            "device `net_null0,size=64` is there twice with no `vlan`; ports that share a device need a `vlan` each, one of them may have none",
            "`device` is net_null0,size=64, but net_null0 on port `wan`, which has the same device"
        ]
    );
    assert_eq!(
        second("name = 'lan'\ndevice = 'net_null1'\naddresses = ['10.0.0.2/24', '10.0.0.3/24', 'fe80::2/64']"),
        [
            "address 10.0.0.2 is already on port `wan`",
            "network 10.0.0.0/24 is already on port `wan`; a packet to it leaves by one port only"
        ]
    );
    for (other, net) in [("10.0.128.2/17", "10.0.0.2/16"), ("10.0.0.130/25", "10.0.0.2/24")] {
        let wide = PORT.replace("10.0.0.2/24", net);
        let found = errors(&format!("{wide}[[port]]\nname = 'lan'\ndevice = 'net_null1'\naddresses = ['{other}']"));
        let message = format!(
            "network {other} overlaps {net} of port `wan`; a packet to what is in both leaves by one port only"
        );
        assert_eq!(found, [message]);
    }
    let pci = PORT.replace("net_null0", "03:00.0")
        + "[[port]]\nname = 'b'\ndevice = '0000:03:00.0'\naddresses = ['10.1.0.2/24']";
    assert_eq!(
        errors(&pci),
        [
            "device `0000:03:00.0` is there twice with no `vlan`; ports that share a device need a `vlan` each, one of them may have none",
            "`device` is 0000:03:00.0, but 03:00.0 on port `wan`, which has the same device"
        ]
    );
}

#[test]
fn ports_on_one_device() {
    let lan = "[[port]]\nname = 'lan'\ndevice = 'net_null0'\naddresses = ['10.1.0.2/24']\n";
    let of = |keys: &str| errors(&format!("{PORT}{lan}{keys}"));
    for keys in ["vlan = 7", "vlan = 7\nmtu = 1500\nspread = 'auto'"] {
        assert_eq!(good(&format!("{PORT}{lan}{keys}")).ports.len(), 2);
    }
    assert_eq!(of("vlan = 7\nmtu = 1400"), ["`mtu` is 1400, but 1500 on port `wan`, which has the same device"]);
    assert_eq!(
        of("vlan = 7\nmac = '02:00:00:00:00:01'"),
        ["`mac` is 02:00:00:00:00:01, but left out on port `wan`, which has the same device"]
    );
    assert_eq!(
        of("vlan = 7\nspread = 'queues'"),
        ["`spread` is queues, but auto on port `wan`, which has the same device"]
    );
    let third = lan.replace("lan", "dmz").replace("10.1", "10.2");
    assert_eq!(good(&format!("{PORT}{lan}vlan = 7\n{third}vlan = 8")).ports.len(), 3);
    assert_eq!(
        error(&format!("{PORT}{lan}vlan = 7\n{third}vlan = 7")),
        "device `net_null0` is there twice with `vlan` 7; ports that share a device need a `vlan` each, one of them may have none"
    );
}

#[test]
fn services_by_themselves() {
    let backend = "address = '10.1.0.1'";
    let of = |keys: &str| service_error("gre", keys, backend);
    assert_eq!(
        service_error("gree", "", backend),
        "`mode` must be one of nat, full-nat, gre, ipip, gue, dsr, not \"gree\", did you mean `gre`?"
    );
    assert_eq!(of("tunnel_dscp = 64"), "`tunnel_dscp` must be \"copy\" or an integer from 0 to 63, not 64");
    assert_eq!(of("tunnel_dscp = 'af11'"), "`tunnel_dscp` must be \"copy\" or an integer from 0 to 63, not \"af11\"");
    assert_eq!(of("tunnel_ttl = 0"), "`tunnel_ttl` must be an integer from 1 to 255, not 0");
    assert_eq!(of("gue_port = 0"), "`gue_port` must be an integer from 1 to 65535, not 0");
    assert_eq!(
        of("mtu_policy = 'clam'"),
        "`mtu_policy` must be one of signal, fragment, clamp, not \"clam\", did you mean `clamp`?"
    );
    assert_eq!(
        of("scheduler = 'wlcc'"),
        "`scheduler` must be one of rr, wrr, sh, lc, wlc, lrt, maglev, not \"wlcc\", did you mean `wlc`?"
    );
    assert_eq!(of("protocol = 'sctp'"), "`protocol` must be one of tcp, udp, not \"sctp\"");
    assert_eq!(of("maglev_size = 65536"), "`maglev_size` must be a prime from 2 to 5000011, not 65536");
    assert_eq!(
        of("timeouts = { udp = 0 }"),
        "`udp` must be a time from 1s to 32000s, in whole seconds or with a unit such as \"2m\", not 0"
    );
    for value in ["32001", "0.5", "'1500ms'", "'9h'"] {
        assert!(
            of(&format!("timeouts = {{ tcp_syn = {value} }}"))
                .starts_with("`tcp_syn` must be a time from 1s to 32000s")
        );
    }
    assert_eq!(
        of("timeouts = { tcp = 5 }"),
        "unknown key `tcp` in [service.timeouts]; it knows tcp_syn, tcp_established, tcp_fin, udp, udp_oneway, icmp_echo"
    );
    let few = "address = '10.1.0.1'\n[[service.backend]]\nname = 'b2'\naddress = '10.1.0.2'\n[[service.backend]]\nname = 'b3'\naddress = '10.1.0.3'";
    assert_eq!(service_error("gre", "maglev_size = 2", few), "`maglev_size` must be at least the 3 backends, not 2");
    let missing = format!("{PORT}[[service]]\n");
    assert_eq!(errors(&missing).len(), 3);
    assert!(errors(&missing).iter().all(|message| message.starts_with("[[service]] needs `")));
}

#[test]
fn client_addresses_are_told_where_they_are_replaced() {
    let of = |mode: &str, keys: &str| errors(&service(mode, keys, "address = '10.0.0.8'"));
    for (mode, word) in [("nat", "proxy-v2"), ("gre", "toa"), ("dsr", "proxy-v2")] {
        let message = format!(
            "`client_address` \"{word}\" is for mode full-nat: in mode {mode} backends see the client's own address; \
             leave it out"
        );
        assert_eq!(of(mode, &format!("client_address = '{word}'")), [message]);
    }
    let local = "local_addresses = ['10.0.0.9']\nclient_address = 'toa'";
    assert_eq!(good(&service("full-nat", local, "address = '10.0.0.8'")).services.len(), 1);
    assert_eq!(of("full-nat", &format!("{local}\nprotocol = 'udp'")).len(), 1);
    let messages = of("nat", "client_address = 'toa'\nprotocol = 'udp'");
    assert_eq!(messages.len(), 2);
    assert_eq!(messages[1], "`client_address` \"toa\" is for protocol tcp, not udp; leave it out or write \"none\"");
    assert_eq!(
        of("nat", "client_address = 'proxy-v1'"),
        ["`client_address` must be one of none, proxy-v2, toa, not \"proxy-v1\", did you mean `proxy-v2`?"]
    );
}

#[test]
fn pings_go_to_one_service_of_a_vip_and_through_nat() {
    let of = |mode: &str| service(mode, "echo = 'backend'", "address = '10.0.0.8'");
    let config = good(&of("nat"));
    assert_eq!(config.services[0].echo, super::super::Echo::Backend);
    for mode in ["gre", "dsr", "ipip"] {
        let message =
            format!("`echo` \"backend\" is for mode nat, not {mode}; leave it out, and tidegate answers pings");
        assert_eq!(errors(&of(mode)), [message]);
    }
    let second = of("nat").split_once("[[service]]").unwrap().1.replacen("name = '", "name = 'second-", 1);
    let second = second.replacen("port = 80", "port = 443", 1);
    let both = format!("{}\n[[service]]{second}", of("nat"));
    let messages = errors(&both);
    assert_eq!(messages.len(), 1, "{messages:?}");
    assert!(messages[0].starts_with("pings of 192.0.2.10 go to the backends of service `"), "{messages:?}");
}

#[test]
fn services_against_each_other_and_the_ports() {
    let base = service("gre", "", "address = '10.1.0.1'");
    let second = |name: &str, keys: &str| {
        errors(&format!("{base}[[service]]\nname = '{name}'\nvip = '192.0.2.10'\nmode = 'gre'\n{keys}"))
    };
    assert_eq!(second("web", "port = 81"), ["service name `web` is there twice"]);
    assert_eq!(second("b", "port = 80"), ["tcp 192.0.2.10:80 is already the VIP of service `web`"]);
    let every_port = base.replace("port = 80", "");
    let twice = format!("{every_port}[[service]]\nname = 'b'\nvip = '192.0.2.10'\nmode = 'gre'");
    assert_eq!(error(&twice), "tcp 192.0.2.10 (every port) is already the VIP of service `web`");
    let vip = |vip: &str| error(&base.replace("192.0.2.10", vip));
    assert_eq!(vip("10.0.0.2"), "`vip` cannot be 10.0.0.2: that is the own address of port `wan`");
    assert_eq!(vip("10.0.0.1"), "`vip` cannot be 10.0.0.1: that is the gateway of port `wan`");
    assert_eq!(vip("10.0.0.255"), "`vip` cannot be 10.0.0.255: that is the broadcast address of port `wan`");
    assert_eq!(vip("224.0.0.1"), "`vip` cannot be 224.0.0.1: that is a multicast address");
    assert_eq!(
        vip("::ffff:192.0.2.10"),
        "`vip` cannot be ::ffff:192.0.2.10: that is an IPv4 address in IPv6 form; write it as IPv4"
    );
    assert_eq!(vip("192.0.2.10/32"), "`vip` must be an IPv4 or IPv6 address, not \"192.0.2.10/32\"");
}

#[test]
fn backends() {
    let gre = |backend: &str| service_error("gre", "", backend);
    assert_eq!(gre("address = '10.0.0.2'"), "backend `b1` cannot be 10.0.0.2: that is the own address of port `wan`");
    assert_eq!(
        gre("address = '192.0.2.10'"),
        "backend `b1` cannot be 192.0.2.10: that is the VIP of service `web`, and packets to it would come back"
    );
    assert_eq!(gre("address = '10.1.0.1'\nweight = 65536"), "`weight` must be an integer from 0 to 65535, not 65536");
    assert_eq!(
        gre("address = '10.1.0.1'\nstate = 'drained'"),
        "`state` must be one of up, drain, down, not \"drained\", did you mean `drain`?"
    );
    let second = "address = '10.1.0.1'\n[[service.backend]]\nname = 'b1'\naddress = '10.1.0.1'";
    assert_eq!(
        errors(&service("gre", "", second)),
        ["backend name `b1` is there twice", "10.1.0.1:80 is already a backend of service `web`"]
    );
    assert!(parse(&service("nat", "", &second.replace("name = 'b1'", "name = 'b2'\nport = 81"))).is_ok());
    // A port that the mode never uses makes no second server.
    assert_eq!(
        gre(&second.replace("name = 'b1'", "name = 'b2'\nport = 81")),
        "10.1.0.1:80 is already a backend of service `web`"
    );
}

#[test]
fn what_each_mode_needs_of_a_backend() {
    assert_eq!(
        service_error("nat", "", "address = 'fd00::9'"),
        "backend `b1` must be of the family of the VIP 192.0.2.10 in mode nat, not IPv6"
    );
    assert_eq!(
        service_error("dsr", "", "address = 'fd00::9'"),
        "backend `b1` must be of the family of the VIP 192.0.2.10 in mode dsr, not IPv6"
    );
    assert_eq!(
        service_error("dsr", "", "address = '10.1.0.1'"),
        "backend `b1` must be in a port's network in mode dsr, which 10.1.0.1 is not"
    );
    assert!(parse(&service("nat", "", "address = '10.0.0.9'\nport = 8080")).is_ok());
    let every_port = service("nat", "", "address = '10.0.0.9'\nport = 81").replace("port = 80", "");
    assert_eq!(error(&every_port), "backend `b1` cannot have a port: service `web` has every port of its VIP");
    for (vip, backend) in [("192.0.2.10", "fd01::9"), ("2001:db8::1", "10.1.0.1"), ("2001:db8::1", "fd01::9")] {
        let text = service("gre", "", &format!("address = '{backend}'")).replace("192.0.2.10", vip);
        assert!(parse(&text).is_ok(), "{vip} {backend}");
    }
}

#[test]
fn the_way_to_each_backend() {
    let v4_only = |text: &str| text.replace(", \"fd00::2/64\"", "").replace("gateway6 = \"fd00::1\"", "");
    let gre6 = v4_only(&service("gre", "", "address = 'fd01::9'"));
    assert_eq!(
        error(&gre6),
        "backend `b1` has no next hop: fd01::9 is in no port's network, and no port has a `gateway6`"
    );
    let link_local_gateway = gre6.replace("gateway = ", "gateway6 = \"fe80::1\"\ngateway = ");
    assert_eq!(
        error(&link_local_gateway),
        "the tunnel to backend `b1` has no source: port `wan` has no IPv6 address; add one, or set `tunnel_source`"
    );
    let with_source = link_local_gateway.replace("mode = 'gre'", "mode = 'gre'\ntunnel_source = 'fd00::7'");
    assert!(parse(&with_source).is_ok());
    let to_itself = with_source.replace("fd00::7", "fd01::9");
    assert_eq!(error(&to_itself), "backend `b1` cannot be fd01::9: that is the tunnel's source");
    let no_gateway = service("nat", "", "address = '10.1.0.1'").replace("gateway = \"10.0.0.1\"", "");
    assert_eq!(
        error(&no_gateway),
        "backend `b1` has no next hop: 10.1.0.1 is in no port's network, and no port has a `gateway`"
    );
}

#[test]
fn one_fault_is_one_error() {
    // A bad value has no consequences that are reported as well.
    let text = service("nat", "", "address = '10.1.0.1'\nport = 8080").replace("port = 80\n", "port = 'http'\n");
    assert_eq!(error(&text), "`port` must be an integer from 1 to 65535, not \"http\"");
    let text = service("nat", "", "address = '10.1.0'");
    assert_eq!(error(&text), "`address` must be an IPv4 or IPv6 address, not \"10.1.0\"");
    let text = service("nat", "", "address = '10.1.0.1'").replace("\"10.0.0.1\"", "\"10.0.0\"");
    assert_eq!(error(&text), "`gateway` must be an IPv4 address, not \"10.0.0\"");
    let text = service("gre", "", "address = '10.1.0.1'").replace("10.0.0.2/24", "10.0.0.2/240");
    assert_eq!(errors(&text).len(), 1, "{:?}", errors(&text));
}
