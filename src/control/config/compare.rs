//! Two configurations compared: what a reload takes over, and what it cannot.

use std::collections::HashMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use toml::Value;
use utoipa::ToSchema;

use super::keys::{self, TableDoc};
use super::model::{Backend, Config, Port, Service};
use super::model_health::{Health, Passive};
use super::written::{self, Row, socket};

/// One key with another value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KeyChange {
    /// The key, behind its table's name where a service has such a table: `weight`, `timeouts.udp`.
    pub key: String,
    /// Its value before, as people read it; what holds without the key where it is left out.
    pub old: String,
    /// Its value after.
    pub new: String,
}

/// `weight 100 -> 50`.
impl fmt::Display for KeyChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} -> {}", self.key, self.old, self.new)
    }
}

/// Some of them as a part of a sentence.
pub fn listed(changes: &[KeyChange]) -> String {
    changes.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// What stands for a secret.
const SECRET: &str = "(secret)";
const OTHER_SECRET: &str = "(another secret)";

impl Config {
    /// The \[init\] keys that differ in `new`, such as `dataplane.workers` or `port wan: mtu`; empty if a reload can take
    /// `new` over.
    pub fn needs_restart(&self, new: &Self) -> Vec<KeyChange> {
        let tables = [
            ("dataplane.", &keys::DATAPLANE, written::dataplane(&self.dataplane), written::dataplane(&new.dataplane)),
            ("control.", &keys::CONTROL, written::control(&self.control), written::control(&new.control)),
            ("control.api.", &keys::API, written::api(&self.control.api), written::api(&new.control.api)),
            ("host.", &keys::HOST, written::host(&self.host), written::host(&new.host)),
        ];
        let mut differ: Vec<KeyChange> =
            tables.iter().flat_map(|(prefix, doc, old, new)| key_changes(prefix, doc, old, new)).collect();
        let whole = |name: &str, old: &str, new: &str| KeyChange {
            key: format!("port {name}"),
            old: old.to_owned(),
            new: new.to_owned(),
        };
        for port in &self.ports {
            match new.ports.iter().find(|other| other.name == port.name) {
                Some(other) => differ.extend(port_changes(port, other)),
                None => differ.push(whole(&port.name, "present", "removed")),
            }
        }
        let names = |config: &Self| config.ports.iter().map(|port| port.name.clone()).collect::<Vec<_>>();
        let (old_names, new_names) = (names(self), names(new));
        let added: Vec<&String> = new_names.iter().filter(|name| !old_names.contains(name)).collect();
        differ.extend(added.iter().map(|name| whole(name, "absent", "added")));
        let same_ports = added.is_empty() && old_names.len() == new_names.len();
        if same_ports && old_names != new_names {
            differ.push(KeyChange {
                key: "order of ports".to_owned(),
                old: old_names.join(" "),
                new: new_names.join(" "),
            });
        }
        differ
    }
}

fn port_changes(old: &Port, new: &Port) -> Vec<KeyChange> {
    key_changes(&format!("port {}: ", old.name), &keys::PORT, &written::port(old), &written::port(new))
}

/// The keys of a table that differ; `prefix` comes before their names.
fn key_changes(prefix: &str, doc: &TableDoc, old: &[Row], new: &[Row]) -> Vec<KeyChange> {
    let value = |rows: &[Row], key: &str| rows.iter().find(|(name, _)| *name == key).map(|(_, value)| value.clone());
    let differs = |key: &&keys::KeyDoc| value(old, key.name) != value(new, key.name);
    let change = |key: &keys::KeyDoc| {
        let (old, new) = (value(old, key.name), value(new, key.name));
        let both_secret = key.is_secret() && matches!((&old, &new), (Some(Some(_)), Some(Some(_))));
        let shown = |value| shown(key, value);
        let new = if both_secret { OTHER_SECRET.to_owned() } else { shown(new) };
        KeyChange { key: format!("{prefix}{}", key.name), old: shown(old), new }
    };
    doc.keys.iter().filter(differs).map(change).collect()
}

/// A value for people: text as it is where it is plain.
fn shown(key: &keys::KeyDoc, value: Option<Option<Value>>) -> String {
    match value {
        // A key that this kind of table does not have.
        None => "left out".to_owned(),
        Some(None) => key.default.to_owned(),
        Some(Some(_)) if key.is_secret() => SECRET.to_owned(),
        Some(Some(Value::String(text))) if !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic()) => text,
        Some(Some(value)) => value.to_string(),
    }
}

/// What becomes of a service or backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Fate {
    /// It is new.
    Added,
    /// It is gone.
    Removed,
    /// Something of it differs.
    Changed,
}

/// A service or backend that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Change {
    /// What becomes of it.
    pub fate: Fate,
    /// The service's name.
    pub service: String,
    /// The backend's name; `null` for the service itself.
    pub backend: Option<String>,
    /// What and where it is, such as `tcp 192.0.2.10:80 nat` or `10.0.0.11:8080`.
    pub place: String,
    /// The keys that differ; empty where it is new or gone.
    pub keys: Vec<KeyChange>,
}

impl Change {
    /// What it is of: `service web`, `backend web/b1`.
    pub fn subject(&self) -> String {
        match &self.backend {
            Some(backend) => format!("backend {}/{backend}", self.service),
            None => format!("service {}", self.service),
        }
    }

    /// Lines that begin with `+`, `-` or `~`: one, or one for each key.
    pub fn lines(&self) -> Vec<String> {
        let (subject, place) = (self.subject(), &self.place);
        match self.fate {
            Fate::Added => vec![format!("+ {subject} {place}")],
            Fate::Removed => vec![format!("- {subject} {place}")],
            Fate::Changed => self.keys.iter().map(|key| format!("~ {subject}: {key}")).collect(),
        }
    }
}

/// What a reload changes; `Display` is one line such as `+1 service, -2 backends, 3 weights`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diff {
    changes: Vec<Change>,
}

/// What a reload from `old` to `new` changes; \[init\] keys are for [`Config::needs_restart`].
pub fn diff(old: &Config, new: &Config) -> Diff {
    let mut diff = Diff::default();
    let old_services = by_name(&old.services, |service| &service.name);
    let new_services = by_name(&new.services, |service| &service.name);
    for service in old.services.iter().filter(|service| !new_services.contains_key(service.name.as_str())) {
        diff.service(service, Fate::Removed, Vec::new());
        diff.backends(&service.name, &service.backends, &[]);
    }
    for service in &new.services {
        match old_services.get(service.name.as_str()) {
            Some(before) => {
                let keys = service_changes(before, service);
                if !keys.is_empty() {
                    diff.service(service, Fate::Changed, keys);
                }
                diff.backends(&service.name, &before.backends, &service.backends);
            }
            None => {
                diff.service(service, Fate::Added, Vec::new());
                diff.backends(&service.name, &[], &service.backends);
            }
        }
    }
    diff
}

impl Diff {
    /// Whether nothing differs.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// Every service and backend that differs.
    pub fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// Each change as a line that begins with `+`, `-` or `~`.
    pub fn lines(&self) -> Vec<String> {
        self.changes.iter().flat_map(Change::lines).collect()
    }

    fn service(&mut self, service: &Service, fate: Fate, keys: Vec<KeyChange>) {
        let Service { name, vip, port, protocol, mode, .. } = service;
        let place = format!("{protocol} {} {mode}", socket(*vip, *port));
        self.changes.push(Change { fate, service: name.clone(), backend: None, place, keys });
    }

    fn backends(&mut self, service: &str, old: &[Backend], new: &[Backend]) {
        let old_names = by_name(old, |backend| &backend.name);
        let new_names = by_name(new, |backend| &backend.name);
        let change = |backend: &Backend, fate, keys| Change {
            fate,
            service: service.to_owned(),
            backend: Some(backend.name.clone()),
            place: socket(backend.address, backend.port),
            keys,
        };
        let gone = old.iter().filter(|backend| !new_names.contains_key(backend.name.as_str()));
        self.changes.extend(gone.map(|backend| change(backend, Fate::Removed, Vec::new())));
        for backend in new {
            let Some(before) = old_names.get(backend.name.as_str()) else {
                self.changes.push(change(backend, Fate::Added, Vec::new()));
                continue;
            };
            let keys = key_changes("", &keys::BACKEND, &written::backend(before), &written::backend(backend));
            if !keys.is_empty() {
                self.changes.push(change(backend, Fate::Changed, keys));
            }
        }
    }

    fn count(&self, is_backend: bool, fate: Fate) -> usize {
        self.changes.iter().filter(|change| change.backend.is_some() == is_backend && change.fate == fate).count()
    }

    /// Backends of which one of `keys` differs.
    fn count_keys(&self, is_counted: impl Fn(&str) -> bool) -> usize {
        let backends = self.changes.iter().filter(|change| change.backend.is_some());
        backends.filter(|change| change.keys.iter().any(|change| is_counted(&change.key))).count()
    }
}

impl fmt::Display for Diff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = [
            ("+", self.count(false, Fate::Added), "service"),
            ("-", self.count(false, Fate::Removed), "service"),
            ("~", self.count(false, Fate::Changed), "service"),
            ("+", self.count(true, Fate::Added), "backend"),
            ("-", self.count(true, Fate::Removed), "backend"),
            ("~", self.count_keys(|key| !matches!(key, "weight" | "state")), "backend"),
            ("", self.count_keys(|key| key == "weight"), "weight"),
            ("", self.count_keys(|key| key == "state"), "state"),
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

fn service_changes(old: &Service, new: &Service) -> Vec<KeyChange> {
    let mut changes = key_changes("", &keys::SERVICE, &written::service(old), &written::service(new));
    let (old_timeouts, new_timeouts) = (written::timeouts(&old.timeouts), written::timeouts(&new.timeouts));
    changes.extend(key_changes("timeouts.", &keys::TIMEOUTS, &old_timeouts, &new_timeouts));
    changes.extend(health_changes(old.health.as_ref(), new.health.as_ref()));
    changes.extend(passive_changes(old.passive.as_ref(), new.passive.as_ref()));
    changes
}

fn passive_changes(old: Option<&Passive>, new: Option<&Passive>) -> Vec<KeyChange> {
    if let (Some(old), Some(new)) = (old, new) {
        return key_changes("passive.", &keys::PASSIVE, &written::passive(old), &written::passive(new));
    }
    let shown = |passive: Option<&Passive>| if passive.is_some() { "done" } else { "not done" }.to_owned();
    let change = KeyChange { key: "passive".to_owned(), old: shown(old), new: shown(new) };
    (old != new).then_some(change).into_iter().collect()
}

fn health_changes(old: Option<&Health>, new: Option<&Health>) -> Vec<KeyChange> {
    let one = |key: &str, old: String, new: String| vec![KeyChange { key: key.to_owned(), old, new }];
    match (old, new) {
        (Some(old), Some(new)) => {
            let keys = key_changes("health.", &keys::HEALTH, &written::health(old), &written::health(new));
            if keys.is_empty() && old != new {
                return one("health.ca_file", "its content".to_owned(), "other content".to_owned());
            }
            keys
        }
        (None, None) => Vec::new(),
        (old, new) => {
            let shown = |health: Option<&Health>| {
                health.map_or_else(|| "no checks".to_owned(), |health| written::health_type(&health.check).to_string())
            };
            one("health", shown(old), shown(new))
        }
    }
}

fn by_name<T>(items: &[T], name: impl Fn(&T) -> &str) -> HashMap<&str, &T> {
    // The name is borrowed from the item, so that the lookup costs no copies.
    items.iter().map(|item| (name(item), item)).collect()
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
        assert_eq!(base.needs_restart(&base.clone()), []);
        assert_eq!(diff(&base, &base).to_string(), "no changes");
        assert!(diff(&base, &base).is_empty());
    }

    #[test]
    fn every_init_key_is_named() {
        let base = config(BASE);
        let restart = |edits: &[(&str, &str)]| {
            let keys = base.needs_restart(&changed(edits));
            keys.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
        };
        let dataplane = "workers = [2]\nconnections = 10\nlocal_port_rest = 60\nmbufs = 512\nfragments = 0\npersistence_clients = 1024\neal = ['--no-pci']\nidle = 'spin'\n\
                         hash_key = '000102030405060708090a0b0c0d0e0f'\n[control]\nsocket = '/s'\ngrace = 1\nstate_file = 'none'\n[host]\nicmp = 1";
        assert_eq!(
            restart(&[("workers = 1", dataplane)]),
            "dataplane.workers 1 -> [2]; dataplane.connections 1000000 -> 10; dataplane.local_port_rest 120s -> 60s; \
             dataplane.mbufs 65536 -> 512; dataplane.fragments 4096 -> 0; dataplane.persistence_clients 262144 -> 1024; dataplane.eal [] -> [\"--no-pci\"]; \
             dataplane.hash_key random per boot -> (secret); dataplane.idle auto -> spin; \
             control.socket /run/tidegate/tidegate.sock -> /s; control.grace 0s -> 1s; \
             control.state_file /var/lib/tidegate/state.json -> none; host.icmp 1000 -> 1"
        );
        let port = "device = 'net_null9'\nmtu = 1400\nmac = '02:00:00:00:00:01'\nvlan = 7\nspread = 'queues'\ndecapsulate_from = ['10.0.0.0/24']\ngateway = '10.0.0.1'\n\
                    gateway6 = 'fe80::1'\nneighbors = { '10.0.0.3' = '02:00:00:00:00:03' }\n\
                    host = 'on'\nhost_device = 'h'";
        let all = restart(&[("device = \"net_null0\"", port), ("10.0.0.2/24", "10.0.0.4/24")]);
        let expected = [
            "device net_null0 -> net_null9",
            "addresses [\"10.0.0.2/24\"] -> [\"10.0.0.4/24\"]",
            "gateway none -> 10.0.0.1",
            "gateway6 none -> fe80::1",
            "mtu 1500 -> 1400",
            "mac the device's own -> 02:00:00:00:00:01",
            "vlan untagged -> 7",
            "decapsulate_from [] -> [\"10.0.0.0/24\"]",
            "spread auto -> queues",
            "neighbors {} -> { \"10.0.0.3\" = \"02:00:00:00:00:03\" }",
            "host auto -> on",
            "host_device \"tg-\" and the port's name, cut to 15 bytes -> h",
        ];
        assert_eq!(all, expected.map(|key| format!("port wan: {key}")).join("; "));
        assert_eq!(restart(&[("\"lan\"", "\"dmz\"")]), "port lan present -> removed; port dmz absent -> added");
        let (wan, lan) = (r#""wan""#, r#""lan""#);
        let swapped = [(wan, "'x'"), (lan, wan), ("'x'", lan)];
        assert!(restart(&swapped).ends_with("order of ports wan lan -> lan wan"), "{}", restart(&swapped));
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
            "~ service web: port 80 -> 81",
            "~ backend web/b1: weight 100 -> 50",
            "~ backend web/b2: state up -> drain",
            "+ service dns udp 192.0.2.53:53 dsr",
            "+ backend dns/d 10.1.0.53",
        ];
        assert_eq!(grown.lines(), lines);
        let renamed = diff_of(&[("\"web\"", "\"www\"")]);
        assert_eq!(renamed.to_string(), "+1 service, -1 service, +2 backends, -2 backends");
        let moved = diff_of(&[("10.1.0.11\"", "10.1.0.99\"\nport = 8080"), ("\"b2\"", "\"b3\"")]);
        assert_eq!(moved.to_string(), "+1 backend, -1 backend, ~1 backend");
        let lines = [
            "- backend web/b2 10.1.0.12",
            "~ backend web/b1: address 10.1.0.11 -> 10.1.0.99",
            "~ backend web/b1: port the VIP's port -> 8080",
            "+ backend web/b3 10.1.0.12",
        ];
        assert_eq!(moved.lines(), lines);
    }

    #[test]
    fn every_key_is_shown_before_and_after() {
        let checked =
            |health: &str| changed(&[("mode = \"nat\"", &format!("mode = 'nat'\n[service.health]\n{health}"))]);
        let lines = |old: &Config, new: &Config| diff(old, new).lines();
        let (none, tcp) = (config(BASE), checked("type = 'tcp'"));
        assert_eq!(lines(&none, &tcp), ["~ service web: health no checks -> tcp"]);
        let http = checked("type = 'http'\nhost = 'www.example.com'\ninterval = '500ms'\nbody = 'all is well'");
        let expected = [
            "type tcp -> http",
            "interval 2s -> 500ms",
            "timeout 1s -> 500ms",
            "path left out -> /",
            "host left out -> www.example.com",
            "status left out -> 200-399",
            "body left out -> \"all is well\"",
        ];
        assert_eq!(lines(&tcp, &http), expected.map(|key| format!("~ service web: health.{key}")));
        let timed = changed(&[("mode = \"nat\"", "mode = 'nat'\ntimeouts = { udp = '2m' }\nreset_idle = true")]);
        let expected = ["~ service web: reset_idle false -> true", "~ service web: timeouts.udp 300s -> 120s"];
        assert_eq!(lines(&none, &timed), expected);
    }

    #[test]
    fn secrets_are_not_shown() {
        let keyed = |key: &str| changed(&[("workers = 1", &format!("hash_key = '{}'", key.repeat(16)))]);
        let change = &keyed("ab").needs_restart(&keyed("cd"))[0];
        assert_eq!(change.to_string(), "dataplane.hash_key (secret) -> (another secret)");
        let gone = &keyed("ab").needs_restart(&changed(&[]))[0];
        assert_eq!(gone.to_string(), "dataplane.hash_key (secret) -> random per boot");
    }
}
