//! Two configurations compared: what a reload takes over, and what it cannot.

use std::collections::HashMap;
use std::fmt;

use super::model::{Backend, Config, Port, Service};

impl Config {
    /// The \[init\] keys that differ in `new`, such as `dataplane.workers` or `port wan: mtu`; empty if a reload can take
    /// `new` over.
    pub fn needs_restart(&self, new: &Self) -> Vec<String> {
        let (old_dataplane, new_dataplane) = (&self.dataplane, &new.dataplane);
        let tables = [
            ("dataplane.workers", old_dataplane.workers != new_dataplane.workers),
            ("dataplane.connections", old_dataplane.connections != new_dataplane.connections),
            ("dataplane.local_port_rest", old_dataplane.local_port_rest_s != new_dataplane.local_port_rest_s),
            ("dataplane.mbufs", old_dataplane.mbufs != new_dataplane.mbufs),
            ("dataplane.fragments", old_dataplane.fragments != new_dataplane.fragments),
            ("dataplane.eal", old_dataplane.eal != new_dataplane.eal),
            ("dataplane.hash_key", old_dataplane.hash_key != new_dataplane.hash_key),
            ("dataplane.idle", old_dataplane.idle != new_dataplane.idle),
            ("control.socket", self.control.socket != new.control.socket),
            ("control.grace", self.control.grace != new.control.grace),
            ("host", self.host != new.host),
        ];
        let mut differ: Vec<String> =
            tables.into_iter().filter(|(_, differs)| *differs).map(|(key, _)| key.to_owned()).collect();
        for port in &self.ports {
            match new.ports.iter().find(|other| other.name == port.name) {
                Some(other) => {
                    differ.extend(port_changes(port, other).map(|key| format!("port {}: {key}", port.name)));
                }
                None => differ.push(format!("port {}: removed", port.name)),
            }
        }
        let names = |config: &Self| config.ports.iter().map(|port| port.name.clone()).collect::<Vec<_>>();
        let (old_names, new_names) = (names(self), names(new));
        let added: Vec<&String> = new_names.iter().filter(|name| !old_names.contains(name)).collect();
        differ.extend(added.iter().map(|name| format!("port {name}: added")));
        let same_ports = added.is_empty() && old_names.len() == new_names.len();
        if same_ports && old_names != new_names {
            differ.push("port: order".to_owned());
        }
        differ
    }
}

fn port_changes(old: &Port, new: &Port) -> impl Iterator<Item = &'static str> {
    let keys = [
        ("device", old.device != new.device),
        ("addresses", old.addresses != new.addresses),
        ("gateway", old.gateway != new.gateway),
        ("gateway6", old.gateway6 != new.gateway6),
        ("mtu", old.mtu != new.mtu),
        ("mac", old.mac != new.mac),
        ("vlan", old.vlan != new.vlan),
        ("decapsulate_from", old.decapsulate_from != new.decapsulate_from),
        ("spread", old.spread != new.spread),
        ("neighbors", old.neighbors != new.neighbors),
        ("host", old.host != new.host),
        ("host_device", old.host_device != new.host_device),
    ];
    keys.into_iter().filter(|(_, differs)| *differs).map(|(key, _)| key)
}

/// What a reload changes; `Display` is one line such as `+1 service, -2 backends, 3 weights`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diff {
    /// Services that are new.
    pub services_added: usize,
    /// Services that are gone.
    pub services_removed: usize,
    /// Services of which something besides the backends differs.
    pub services_changed: usize,
    /// Backends that are new, those of new services included.
    pub backends_added: usize,
    /// Backends that are gone, those of gone services included.
    pub backends_removed: usize,
    /// Backends with another address or port.
    pub backends_changed: usize,
    /// Backends with another weight.
    pub weights: usize,
    /// Backends with another state.
    pub states: usize,
    lines: Vec<String>,
}

/// What a reload from `old` to `new` changes; \[init\] keys are for [`Config::needs_restart`].
pub fn diff(old: &Config, new: &Config) -> Diff {
    let mut diff = Diff::default();
    let old_services = by_name(&old.services, |service| &service.name);
    let new_services = by_name(&new.services, |service| &service.name);
    for service in old.services.iter().filter(|service| !new_services.contains_key(service.name.as_str())) {
        diff.services_removed += 1;
        diff.lines.push(format!("- service {}", service.name));
        diff.backends(service, &service.backends, &[]);
    }
    for service in &new.services {
        match old_services.get(service.name.as_str()) {
            Some(before) => {
                let keys: Vec<&str> = service_changes(before, service).collect();
                if !keys.is_empty() {
                    diff.services_changed += 1;
                    diff.lines.push(format!("~ service {}: {}", service.name, keys.join(", ")));
                }
                diff.backends(service, &before.backends, &service.backends);
            }
            None => {
                diff.services_added += 1;
                diff.lines.push(format!("+ service {}", service.name));
                diff.backends(service, &[], &service.backends);
            }
        }
    }
    diff
}

impl Diff {
    /// Whether nothing differs.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Each change as a line that begins with `+`, `-` or `~`.
    pub fn lines(&self) -> &[String] {
        &self.lines
    }

    fn backends(&mut self, service: &Service, old: &[Backend], new: &[Backend]) {
        let old_names = by_name(old, |backend| &backend.name);
        let new_names = by_name(new, |backend| &backend.name);
        let service = &service.name;
        for backend in old.iter().filter(|backend| !new_names.contains_key(backend.name.as_str())) {
            self.backends_removed += 1;
            self.lines.push(format!("- backend {service}/{}", backend.name));
        }
        for backend in new {
            let Backend { name, address, port, weight, state } = backend;
            let Some(before) = old_names.get(name.as_str()) else {
                self.backends_added += 1;
                self.lines.push(format!("+ backend {service}/{name} {}", at(backend)));
                continue;
            };
            if (before.address, before.port) != (*address, *port) {
                self.backends_changed += 1;
                self.lines.push(format!("~ backend {service}/{name}: {} -> {}", at(before), at(backend)));
            }
            if before.weight != *weight {
                self.weights += 1;
                self.lines.push(format!("~ backend {service}/{name}: weight {} -> {weight}", before.weight));
            }
            if before.state != *state {
                self.states += 1;
                self.lines.push(format!("~ backend {service}/{name}: state {} -> {state}", before.state));
            }
        }
    }
}

impl fmt::Display for Diff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = [
            ("+", self.services_added, "service"),
            ("-", self.services_removed, "service"),
            ("~", self.services_changed, "service"),
            ("+", self.backends_added, "backend"),
            ("-", self.backends_removed, "backend"),
            ("~", self.backends_changed, "backend"),
            ("", self.weights, "weight"),
            ("", self.states, "state"),
        ];
        let parts: Vec<String> = counts
            .into_iter()
            .filter(|(_, count, _)| *count > 0)
            .map(|(sign, count, noun)| format!("{sign}{}", counted(count, noun)))
            .collect();
        f.write_str(if parts.is_empty() { "no changes" } else { "" })?;
        f.write_str(&parts.join(", "))
    }
}

/// `1 port`, `2 ports`.
pub fn counted(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

fn service_changes(old: &Service, new: &Service) -> impl Iterator<Item = &'static str> {
    let keys = [
        ("vip", old.vip != new.vip),
        ("port", old.port != new.port),
        ("protocol", old.protocol != new.protocol),
        ("mode", old.mode != new.mode),
        ("scheduler", old.scheduler != new.scheduler),
        ("tunnel_source", old.tunnel_source != new.tunnel_source),
        ("tunnel_dscp", old.tunnel_dscp != new.tunnel_dscp),
        ("tunnel_ttl", old.tunnel_ttl != new.tunnel_ttl),
        ("gue_port", old.gue_port != new.gue_port),
        ("mtu_policy", old.mtu_policy != new.mtu_policy),
        ("local_addresses", old.local_addresses != new.local_addresses),
        ("local_ports", old.local_ports != new.local_ports),
        ("reset_idle", old.reset_idle != new.reset_idle),
        ("reset_unknown", old.reset_unknown != new.reset_unknown),
        ("client_address", old.client_address != new.client_address),
        ("maglev_size", old.maglev_size != new.maglev_size),
        ("unreachable", old.unreachable != new.unreachable),
        ("echo", old.echo != new.echo),
        ("timeouts", old.timeouts != new.timeouts),
        ("health", old.health != new.health),
    ];
    keys.into_iter().filter(|(_, differs)| *differs).map(|(key, _)| key)
}

fn by_name<T>(items: &[T], name: impl Fn(&T) -> &str) -> HashMap<&str, &T> {
    // The name is borrowed from the item, so that the lookup costs no copies.
    items.iter().map(|item| (name(item), item)).collect()
}

fn at(backend: &Backend) -> String {
    match backend.port {
        Some(port) => std::net::SocketAddr::new(backend.address, port).to_string(),
        None => backend.address.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: &str = r#"
[dataplane]
workers = 1
[[port]]
name = "wan"
device = "net_null0"
addresses = ["10.0.0.2/24"]
[[port]]
name = "lan"
device = "net_null1"
addresses = ["10.1.0.2/24"]
[[service]]
name = "web"
vip = "192.0.2.10"
port = 80
mode = "nat"
[[service.backend]]
name = "b1"
address = "10.1.0.11"
weight = 100
[[service.backend]]
name = "b2"
address = "10.1.0.12"
"#;

    fn config(text: &str) -> Config {
        Config::parse(text, "test.toml").unwrap_or_else(|errors| panic!("{errors}"))
    }

    fn changed(edits: &[(&str, &str)]) -> Config {
        let mut text = BASE.to_owned();
        for (from, to) in edits {
            assert!(text.contains(from), "{from}");
            text = text.replacen(from, to, 1);
        }
        config(&text)
    }

    #[test]
    fn nothing_differs_from_itself() {
        let base = config(BASE);
        assert_eq!(base.needs_restart(&base.clone()), Vec::<String>::new());
        assert_eq!(diff(&base, &base).to_string(), "no changes");
        assert!(diff(&base, &base).is_empty());
    }

    #[test]
    fn every_init_key_is_named() {
        let base = config(BASE);
        let restart = |edits: &[(&str, &str)]| base.needs_restart(&changed(edits)).join("; ");
        let dataplane = "workers = [2]\nconnections = 10\nlocal_port_rest = 60\nmbufs = 512\nfragments = 0\neal = ['--no-pci']\nidle = 'spin'\n\
                         hash_key = '000102030405060708090a0b0c0d0e0f'\n[control]\nsocket = '/s'\ngrace = 1\n[host]\nicmp = 1";
        assert_eq!(
            restart(&[("workers = 1", dataplane)]),
            "dataplane.workers; dataplane.connections; dataplane.local_port_rest; dataplane.mbufs; dataplane.fragments; dataplane.eal; dataplane.hash_key; \
             dataplane.idle; control.socket; control.grace; host"
        );
        let port = "device = 'net_null9'\nmtu = 1400\nmac = '02:00:00:00:00:01'\nvlan = 7\nspread = 'queues'\ndecapsulate_from = ['10.0.0.0/24']\ngateway = '10.0.0.1'\n\
                    gateway6 = 'fe80::1'\nneighbors = { '10.0.0.3' = '02:00:00:00:00:03' }\n\
                    host = 'on'\nhost_device = 'h'";
        assert_eq!(
            restart(&[("device = \"net_null0\"", port), ("10.0.0.2/24", "10.0.0.4/24")]),
            [
                "device",
                "addresses",
                "gateway",
                "gateway6",
                "mtu",
                "mac",
                "vlan",
                "decapsulate_from",
                "spread",
                "neighbors",
                "host",
                "host_device"
            ]
            .map(|key| format!("port wan: {key}"))
            .join("; ")
        );
        assert_eq!(restart(&[("\"lan\"", "\"dmz\"")]), "port lan: removed; port dmz: added");
        let (wan, lan) = (r#""wan""#, r#""lan""#);
        let swapped = [(wan, "'x'"), (lan, wan), ("'x'", lan)];
        assert!(restart(&swapped).ends_with("port: order"), "{}", restart(&swapped));
        assert_eq!(restart(&[("weight = 100", "weight = 1")]), "");
    }

    #[test]
    fn changes_are_counted_and_listed() {
        let base = config(BASE);
        let diff_of = |edits: &[(&str, &str)]| diff(&base, &changed(edits));
        let more = "address = \"10.1.0.12\"\nstate = 'drain'\n[[service]]\nname = 'dns'\nvip = '192.0.2.53'\nport = 53\n\
                    protocol = 'udp'\nmode = 'dsr'\n[[service.backend]]\nname = 'd'\naddress = '10.1.0.53'";
        let grown = [("address = \"10.1.0.12\"", more), ("weight = 100", "weight = 50"), ("port = 80", "port = 81")];
        let grown = diff_of(&grown);
        assert_eq!(grown.to_string(), "+1 service, ~1 service, +1 backend, 1 weight, 1 state");
        let lines = [
            "~ service web: port",
            "~ backend web/b1: weight 100 -> 50",
            "~ backend web/b2: state up -> drain",
            "+ service dns",
            "+ backend dns/d 10.1.0.53",
        ];
        assert_eq!(grown.lines(), lines);
        let renamed = diff_of(&[("\"web\"", "\"www\"")]);
        assert_eq!(renamed.to_string(), "+1 service, -1 service, +2 backends, -2 backends");
        let moved = diff_of(&[("10.1.0.11\"", "10.1.0.99\"\nport = 8080"), ("\"b2\"", "\"b3\"")]);
        assert_eq!(moved.to_string(), "+1 backend, -1 backend, ~1 backend");
        assert_eq!(moved.lines().get(1).map(String::as_str), Some("~ backend web/b1: 10.1.0.11 -> 10.1.0.99:8080"));
    }
}
