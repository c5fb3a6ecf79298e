//! Each key of `[service.health]`, good, bad and with checks that have no use for it.

use super::super::keys_health::types_of;
use super::super::{
    DnsCheck, DnsCode, DnsRecord, Health, HealthCheck, HealthTarget, HealthType, HttpCheck, Statuses, TlsCheck,
    UdpCheck, Word, keys,
};
use super::{errors, good, service};

fn text(keys: &str) -> String {
    service("gre", &format!("[service.health]\n{keys}"), "address = '10.1.0.1'")
}

/// The only fault of a service with these keys in its `[service.health]`.
fn fault(keys: &str) -> String {
    let mut found = errors(&text(keys));
    assert_eq!(found.len(), 1, "{keys}: {found:?}");
    found.remove(0)
}

fn health(keys: &str) -> Health {
    good(&text(keys)).services[0].health.clone().unwrap()
}

/// A value that is good for each key that is for some types only.
const GOOD: [(&str, &str); 14] = [
    ("path", "'/x'"),
    ("host", "'h'"),
    ("status", "200"),
    ("body", "'ok'"),
    ("sni", "'a.example'"),
    ("verify", "false"),
    ("ca_file", "'/x'"),
    ("send", "'x'"),
    ("expect", "''"),
    ("query", "'a.example'"),
    ("record", "'AAAA'"),
    ("rcode", "'refused'"),
    ("answer", "'192.0.2.1'"),
    ("command", "['/bin/sh']"),
];

#[test]
fn keys_of_other_types_are_refused_by_name() {
    let special: Vec<&str> =
        keys::HEALTH.keys.iter().filter(|key| !types_of(key).is_empty()).map(|key| key.name).collect();
    assert_eq!(special, GOOD.map(|(name, _)| name));
    let mut refused = 0;
    for (kind, _) in HealthType::WORDS {
        let required = match *kind {
            "dns" => "query = 'a.example'\n",
            "exec" => "command = ['/bin/sh']\n",
            _ => "",
        };
        for (name, value) in GOOD.iter().filter(|(name, _)| !required.starts_with(name)) {
            let types = types_of(keys::HEALTH.key(name).unwrap());
            let keys = format!("type = '{kind}'\n{required}{name} = {value}");
            if types.contains(kind) {
                // A file that is not there has its own message.
                assert!(*name == "ca_file" || super::parse(&text(&keys)).is_ok(), "{keys}");
            } else {
                let types = types.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(" or ");
                assert_eq!(fault(&keys), format!("`{name}` is for health checks of type {types} only"));
                refused += 1;
            }
        }
    }
    assert!(refused > 60, "{refused}");
    assert_eq!(
        fault("path = '/x'"),
        "`path` is for health checks of type \"http\" or \"https\" only",
        "tcp by default"
    );
    assert_eq!(fault("type = 'ping'\nport = 7"), "`port` is of no use to health checks of type \"ping\"");
}

#[test]
fn each_bad_value_says_what_would_be_good() {
    assert_eq!(
        fault("type = 'htp'"),
        "`type` must be one of tcp, http, https, udp, dns, ping, exec, not \"htp\", did you mean `http`?"
    );
    assert_eq!(
        fault("interval = '1s'\ntimeout = 2"),
        "`timeout` is 2000ms, longer than the interval of 1000ms: checks would overlap"
    );
    assert!(fault("interval = '49ms'").starts_with("`interval` must be a time from 50ms to 3600s, in seconds or"));
    assert_eq!(fault("rise = 0"), "`rise` must be an integer from 1 to 100, not 0");
    assert_eq!(fault("jitter = 51"), "`jitter` must be an integer from 0 to 50, not 51");
    let path = "`path` must begin with / and have no spaces; other characters are written as %XX";
    assert_eq!(fault("type = 'http'\npath = 'x'"), path);
    assert_eq!(fault("type = 'http'\npath = '/a b'"), path);
    assert_eq!(fault("type = 'http'\nhost = 'a b'"), "`host` must be a host name or an address, without spaces");
    let status = "`status` must be a status from 100 to 599, a range such as \"200-399\", or a list of them, not";
    assert_eq!(fault("type = 'http'\nstatus = '2xx'"), format!("{status} \"2xx\""));
    assert_eq!(fault("type = 'http'\nstatus = [200, 99]"), format!("{status} a list"));
    let sni = "`sni` must be a DNS name such as \"www.example.com\", not";
    assert_eq!(fault("type = 'https'\nsni = '10.0.0.1'"), format!("{sni} \"10.0.0.1\""));
    assert_eq!(fault("type = 'https'\nverify = 'no'"), "`verify` must be true or false, not \"no\"");
    assert_eq!(
        fault("type = 'https'\nverify = false\nca_file = '/x'"),
        "`ca_file` has no effect with verify = false: leave one of them out"
    );
    let payload = "must be a string of at most 512 bytes, or \"hex:\" with two hex digits for each of them, not";
    assert_eq!(fault("type = 'udp'\nsend = 'hex:0'"), format!("`send` {payload} \"hex:0\""));
    assert_eq!(fault("type = 'udp'\nexpect = 7"), format!("`expect` {payload} 7"));
    assert!(fault(&format!("type = 'udp'\nsend = '{}'", "x".repeat(513))).starts_with("`send` must be"));
    let every_port = text("").replace("port = 80", "");
    assert_eq!(errors(&every_port), ["[service.health] needs `port`: service `web` has every port of its VIP"]);
}

#[test]
fn bad_queries_and_commands_say_what_would_be_good() {
    assert_eq!(
        fault("type = 'dns'"),
        "[service.health] needs `query`: a string of 1 to 254 bytes without control characters"
    );
    let query = "`query` must be a DNS name: labels of 1 to 63 characters with dots between them, at most 253 in all";
    assert_eq!(fault("type = 'dns'\nquery = 'a..b'"), query);
    let dns = |keys: &str| fault(&format!("type = 'dns'\nquery = 'a.example'\n{keys}"));
    assert_eq!(
        dns("record = 'AAA'"),
        "`record` must be one of A, AAAA, CNAME, MX, NS, PTR, SOA, SRV, TXT, not \"AAA\", did you mean `AAAA`?"
    );
    assert_eq!(dns("answer = '::1'"), "`answer` of record A must be an IPv4 address, not \"::1\"");
    assert_eq!(dns("record = 'SOA'\nanswer = 'x'"), "`answer` of record SOA must be left out, not \"x\"");
    assert_eq!(
        dns("rcode = 'nxdomain'\nanswer = '192.0.2.1'"),
        "`answer` has no effect with rcode = \"nxdomain\": leave one of them out"
    );
    let command = "a list of 1 to 64 strings, the first of them a path from / on";
    assert_eq!(fault("type = 'exec'"), format!("[service.health] needs `command`: {command}"));
    for bad in ["[]", "['sh']", "['/bin/sh', 1]", "'/bin/sh'", &format!("[{}]", "'/bin/sh',".repeat(65))] {
        let message = fault(&format!("type = 'exec'\ncommand = {bad}"));
        assert!(message.starts_with(&format!("`command` must be {command}, not ")), "{message}");
    }
    assert_eq!(
        fault("type = 'exec'\ncommand = ['/nowhere/check']"),
        "`command` /nowhere/check cannot be run: No such file or directory (os error 2)"
    );
    assert_eq!(fault("type = 'exec'\ncommand = ['/etc']"), "`command` /etc is not a regular file");
    assert_eq!(
        fault("type = 'exec'\ncommand = ['/etc/passwd']"),
        "`command` /etc/passwd is not executable: chmod +x it"
    );
    assert_eq!(
        fault("type = 'https'\nca_file = '/nowhere/ca.pem'"),
        "`ca_file` /nowhere/ca.pem cannot be read: No such file or directory (os error 2)"
    );
    assert!(fault("type = 'https'\nca_file = '/etc/passwd'").starts_with("`ca_file` /etc/passwd has no certificate"));
}

#[test]
fn each_type_is_read_with_its_defaults_and_its_keys() {
    assert_eq!(health("type = 'ping'\njitter = 0").jitter_percent, 0);
    assert_eq!((health("").jitter_percent, health("").check), (10, HealthCheck::Tcp));
    let plain = HttpCheck {
        path: "/".into(),
        host: None,
        status: Statuses(vec![200..=399]),
        body: None,
        tls: Some(TlsCheck::default()),
    };
    assert_eq!(health("type = 'https'").check, HealthCheck::Http(plain.clone()));
    let keys = "type = 'https'\nbody = 'ok'\nstatus = [200, '300-302']\nsni = 'a.example'\nverify = false";
    let tls = TlsCheck { sni: Some("a.example".into()), is_unverified: true, ..TlsCheck::default() };
    let full =
        HttpCheck { status: Statuses(vec![200..=200, 300..=302]), body: Some("ok".into()), tls: Some(tls), ..plain };
    assert_eq!(full.status.to_string(), "200 or 300-302");
    assert_eq!(health(keys).check, HealthCheck::Http(full));
    assert_eq!(health("type = 'udp'").check, HealthCheck::Udp(UdpCheck { send: vec![], expect: None }));
    let udp = UdpCheck { send: vec![0, 0xff], expect: Some(b"PONG\r\n".to_vec()) };
    assert_eq!(health("type = 'udp'\nsend = 'hex:00ff'\nexpect = \"PONG\\r\\n\"").check, HealthCheck::Udp(udp));
    let dns = DnsCheck { query: "a.Example".into(), record: DnsRecord::A, code: DnsCode::NoError, answer: None };
    assert_eq!(health("type = 'dns'\nquery = 'a.Example.'").check, HealthCheck::Dns(dns.clone()));
    let dns = DnsCheck { record: DnsRecord::Mx, answer: Some("10 mail.example".into()), ..dns };
    assert_eq!(
        health("type = 'dns'\nquery = 'a.Example'\nrecord = 'MX'\nanswer = '10 Mail.example.'").check,
        HealthCheck::Dns(dns)
    );
    let exec = ["/bin/sh", "-c", ""].map(str::to_owned).to_vec();
    assert_eq!(health("type = 'exec'\ncommand = ['/bin/sh', '-c', '']").check, HealthCheck::Exec(exec));
}

#[test]
fn pings_and_commands_need_no_port() {
    for keys in ["type = 'ping'", "type = 'exec'\ncommand = ['/bin/sh']"] {
        assert_eq!(good(&text(keys).replace("port = 80", "")).services[0].health.as_ref().unwrap().port, None);
    }
}

#[test]
fn checks_go_to_the_vip_where_backends_have_it() {
    assert_eq!(health("").target, HealthTarget::Auto);
    assert_eq!(health("target = 'vip'").target, HealthTarget::Vip);
    assert_eq!(health("type = 'dns'\nquery = 'a.example'\ntarget = 'address'").target, HealthTarget::Address);
    for kind in ["type = 'ping'", "type = 'exec'\ncommand = ['/bin/sh']"] {
        let name = kind.split('\'').nth(1).unwrap();
        let expected = format!("`target` is of no use to health checks of type \"{name}\"");
        assert_eq!(fault(&format!("{kind}\ntarget = 'vip'")), expected);
    }
    for mode in ["nat", "full-nat"] {
        let locals = if mode == "nat" { "" } else { "local_addresses = ['10.1.0.77']\n" };
        let of =
            |target| service(mode, &format!("{locals}[service.health]\ntarget = '{target}'"), "address = '10.1.0.1'");
        let expected =
            format!("`target = \"vip\"` is for tunnel modes and dsr: in mode {mode} backends do not have the VIP");
        assert_eq!(errors(&of("vip")), [expected]);
        good(&of("auto"));
    }
}
