//! The configuration as the file writes it: each table as its keys with their values.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use toml::Value;

use super::model::{Backend, Control, Dataplane, GroupKey, Port, Service, Timeouts, Workers};
use super::model_api::Api;
use super::model_health::{DnsCheck, Health, HealthCheck, HttpCheck, Passive, Statuses, TlsCheck, UdpCheck};
use super::words::{DnsRecord, HealthType, Word};
use crate::lb::punt::{PuntClass, PuntRates};

/// A key and its value; `None` stands for a key that is left out.
pub type Row = (&'static str, Option<Value>);

/// `[dataplane]`.
pub fn dataplane(dataplane: &Dataplane) -> Vec<Row> {
    // Taken apart whole, here and below, so that a new field cannot be forgotten.
    let Dataplane {
        workers,
        connections,
        local_port_rest_s,
        mbufs,
        fragments,
        persistence_clients,
        eal,
        hash_key,
        idle,
    } = dataplane;
    let workers = match workers {
        Workers::Count(count) => int(*count),
        Workers::Lcores(lcores) => Value::Array(lcores.iter().map(|&lcore| int(lcore)).collect()),
    };
    let hex = |key: &GroupKey| key.0.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    vec![
        ("workers", Some(workers)),
        ("connections", Some(int(*connections))),
        ("local_port_rest", Some(seconds(*local_port_rest_s))),
        ("mbufs", Some(int(*mbufs))),
        ("fragments", Some(int(*fragments))),
        ("persistence_clients", Some(int(*persistence_clients))),
        ("eal", Some(texts(eal))),
        ("hash_key", hash_key.as_ref().map(|key| Value::String(hex(key)))),
        ("idle", Some(word(*idle))),
    ]
}

/// `[control]`.
pub fn control(control: &Control) -> Vec<Row> {
    let Control { socket, grace, state_file, api: _ } = control;
    let state_file = state_file.as_ref().map_or_else(|| text("none"), |path| text(path.to_string_lossy()));
    vec![
        ("socket", Some(text(socket.to_string_lossy()))),
        ("grace", Some(time(*grace))),
        ("state_file", Some(state_file)),
    ]
}

/// `[control.api]`, without what is in its files.
pub fn api(api: &Api) -> Vec<Row> {
    let Api { listen, token_file, tls_cert, tls_key, open_reads, token: _, identity: _ } = api;
    let path = |path: &Option<PathBuf>| path.as_ref().map(|path| text(path.to_string_lossy()));
    vec![
        ("listen", listen.map(text)),
        ("token_file", path(token_file)),
        ("tls_cert", path(tls_cert)),
        ("tls_key", path(tls_key)),
        ("open_reads", Some(Value::Boolean(*open_reads))),
    ]
}

/// `[host]`.
pub fn host(rates: &PuntRates) -> Vec<Row> {
    PuntClass::ALL.iter().zip(&rates.0).map(|(class, &rate)| (class.label(), Some(int(rate)))).collect()
}

/// `[[port]]`.
pub fn port(port: &Port) -> Vec<Row> {
    let Port {
        name,
        device,
        addresses,
        gateway,
        gateway6,
        mtu,
        mac,
        vlan,
        decapsulate_from,
        spread,
        neighbors,
        host,
        host_device,
    } = port;
    let neighbors = neighbors.iter().map(|(address, mac)| (address.to_string(), text(mac))).collect();
    vec![
        ("name", Some(text(name))),
        ("device", Some(text(device))),
        ("addresses", Some(texts(addresses))),
        ("gateway", gateway.map(text)),
        ("gateway6", gateway6.map(text)),
        ("mtu", Some(int(*mtu))),
        ("mac", mac.map(text)),
        ("vlan", vlan.map(int)),
        ("decapsulate_from", Some(texts(decapsulate_from))),
        ("spread", Some(word(*spread))),
        ("neighbors", Some(Value::Table(neighbors))),
        ("host", Some(word(*host))),
        ("host_device", host_device.as_ref().map(text)),
    ]
}

/// `[[service]]` without the tables in it.
pub fn service(service: &Service) -> Vec<Row> {
    let Service {
        name,
        vip,
        port,
        protocol,
        mode,
        scheduler,
        persistence_s,
        tunnel_source,
        tunnel_dscp,
        tunnel_ttl,
        gue_port,
        mtu_policy,
        local_addresses,
        local_ports,
        reset_idle,
        reset_unknown,
        client_address,
        maglev_size,
        unreachable,
        echo,
        drain_timeout,
        drain_action,
        on_remove,
        timeouts: _,
        health: _,
        passive: _,
        backends: _,
    } = service;
    vec![
        ("name", Some(text(name))),
        ("vip", Some(text(vip))),
        ("port", port.map(int)),
        ("protocol", Some(word(*protocol))),
        ("mode", Some(word(*mode))),
        ("scheduler", Some(word(*scheduler))),
        ("persistence", persistence_s.map(seconds)),
        ("tunnel_source", tunnel_source.map(text)),
        ("tunnel_dscp", Some(tunnel_dscp.map_or_else(|| text("copy"), int))),
        ("tunnel_ttl", Some(int(*tunnel_ttl))),
        ("gue_port", Some(int(*gue_port))),
        ("mtu_policy", Some(word(*mtu_policy))),
        ("local_addresses", Some(texts(local_addresses))),
        ("local_ports", Some(text(format_args!("{}-{}", local_ports.start(), local_ports.end())))),
        ("reset_idle", Some(Value::Boolean(*reset_idle))),
        ("reset_unknown", Some(Value::Boolean(*reset_unknown))),
        ("client_address", Some(word(*client_address))),
        ("maglev_size", Some(int(*maglev_size))),
        ("unreachable", Some(Value::Boolean(*unreachable))),
        ("echo", Some(word(*echo))),
        ("drain_timeout", Some(time(*drain_timeout))),
        ("drain_action", Some(word(*drain_action))),
        ("on_remove", Some(word(*on_remove))),
    ]
}

/// `[service.timeouts]`.
pub fn timeouts(timeouts: &Timeouts) -> Vec<Row> {
    let Timeouts { tcp_syn_s, tcp_established_s, tcp_fin_s, udp_s, udp_oneway_s, icmp_echo_s } = *timeouts;
    let rows = [
        ("tcp_syn", tcp_syn_s),
        ("tcp_established", tcp_established_s),
        ("tcp_fin", tcp_fin_s),
        ("udp", udp_s),
        ("udp_oneway", udp_oneway_s),
        ("icmp_echo", icmp_echo_s),
    ];
    rows.into_iter().map(|(key, value)| (key, Some(seconds(value)))).collect()
}

/// `[service.health]`: the keys that the type of check has.
pub fn health(health: &Health) -> Vec<Row> {
    let Health {
        check,
        interval,
        timeout,
        rise,
        fall,
        jitter_percent,
        panic_threshold_percent,
        slow_start,
        flap_hold,
        flap_hold_max,
        port,
        target,
    } = health;
    let mut rows = vec![
        ("type", Some(word(health_type(check)))),
        ("interval", Some(time(*interval))),
        ("timeout", Some(time(*timeout))),
        ("rise", Some(int(*rise))),
        ("fall", Some(int(*fall))),
        ("jitter", Some(int(*jitter_percent))),
        ("panic_threshold", Some(int(*panic_threshold_percent))),
        ("slow_start", Some(time(*slow_start))),
        ("flap_hold", Some(time(*flap_hold))),
        ("flap_hold_max", Some(time(*flap_hold_max))),
        ("port", port.map(int)),
    ];
    if !matches!(check, HealthCheck::Ping | HealthCheck::Exec(_)) {
        rows.push(("target", Some(word(*target))));
    }
    match check {
        HealthCheck::Tcp | HealthCheck::Ping => {}
        HealthCheck::Http(http) => rows.extend(http_rows(http)),
        HealthCheck::Udp(UdpCheck { send, expect }) => {
            rows.extend([("send", Some(payload(send))), ("expect", expect.as_deref().map(payload))]);
        }
        HealthCheck::Dns(DnsCheck { query, record, code, answer }) => rows.extend([
            ("query", Some(dns_name(query))),
            ("record", Some(word(*record))),
            ("rcode", Some(word(*code))),
            ("answer", answer.as_deref().map(|answer| dns_answer(*record, answer))),
        ]),
        HealthCheck::Exec(command) => rows.push(("command", Some(texts(command)))),
    }
    rows
}

/// `[service.passive]`.
pub fn passive(passive: &Passive) -> Vec<Row> {
    let Passive { share_percent, openings, hold, hold_max, held_max_percent } = passive;
    vec![
        ("share", Some(int(*share_percent))),
        ("openings", Some(int(*openings))),
        ("hold", Some(time(*hold))),
        ("hold_max", Some(time(*hold_max))),
        ("held_max", Some(int(*held_max_percent))),
    ]
}

fn http_rows(check: &HttpCheck) -> Vec<Row> {
    let HttpCheck { path, host, status, body, tls } = check;
    let mut rows = vec![
        ("path", Some(text(path))),
        ("host", host.as_ref().map(text)),
        ("status", Some(statuses(status))),
        ("body", body.as_ref().map(text)),
    ];
    // What is in `ca_file` is no part of the file.
    if let Some(TlsCheck { sni, is_unverified, ca_file, authority: _ }) = tls {
        let ca_file = ca_file.as_ref().map(|path| text(path.to_string_lossy()));
        rows.extend([
            ("sni", sni.as_ref().map(text)),
            ("verify", Some(Value::Boolean(!is_unverified))),
            ("ca_file", ca_file),
        ]);
    }
    rows
}

/// `[[service.backend]]`.
pub fn backend(backend: &Backend) -> Vec<Row> {
    let Backend { name, address, port, weight, connections_max, state, role } = backend;
    vec![
        ("name", Some(text(name))),
        ("address", Some(text(address))),
        ("port", port.map(int)),
        ("weight", Some(int(*weight))),
        ("connections_max", connections_max.map(int)),
        ("state", Some(word(*state))),
        ("role", Some(word(*role))),
    ]
}

/// `type`.
pub fn health_type(check: &HealthCheck) -> HealthType {
    match check {
        HealthCheck::Tcp => HealthType::Tcp,
        HealthCheck::Http(HttpCheck { tls: None, .. }) => HealthType::Http,
        HealthCheck::Http(HttpCheck { tls: Some(_), .. }) => HealthType::Https,
        HealthCheck::Udp(_) => HealthType::Udp,
        HealthCheck::Dns(_) => HealthType::Dns,
        HealthCheck::Ping => HealthType::Ping,
        HealthCheck::Exec(_) => HealthType::Exec,
    }
}

fn int(value: impl Into<i64>) -> Value {
    Value::Integer(value.into())
}

fn text(value: impl ToString) -> Value {
    Value::String(value.to_string())
}

fn texts<T: std::fmt::Display>(values: &[T]) -> Value {
    Value::Array(values.iter().map(text).collect())
}

fn word(value: impl Word) -> Value {
    text(value.word())
}

fn seconds(seconds: u16) -> Value {
    text(format_args!("{seconds}s"))
}

fn time(time: Duration) -> Value {
    let ms = time.as_millis();
    if ms.is_multiple_of(1000) { text(format_args!("{}s", ms / 1000)) } else { text(format_args!("{ms}ms")) }
}

fn statuses(Statuses(ranges): &Statuses) -> Value {
    let range = |range: &std::ops::RangeInclusive<u16>| match (range.start(), range.end()) {
        (first, last) if first == last => int(*first),
        (first, last) => text(format_args!("{first}-{last}")),
    };
    match ranges.as_slice() {
        [one] => range(one),
        all => Value::Array(all.iter().map(range).collect()),
    }
}

/// As text where it is text and does not look like digits.
fn payload(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(plain) if !plain.starts_with("hex:") => text(plain),
        _ => text(format_args!("hex:{}", bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>())),
    }
}

/// The root's name is its dot, which other names do without.
fn dns_name(name: &str) -> Value {
    text(if name.is_empty() { "." } else { name })
}

fn dns_answer(record: DnsRecord, answer: &str) -> Value {
    let ends_in_root = record != DnsRecord::Txt && (answer.is_empty() || answer.ends_with(' '));
    if ends_in_root { text(format_args!("{answer}.")) } else { text(answer) }
}

/// The address and port as one, for people.
pub fn socket(address: IpAddr, port: Option<u16>) -> String {
    port.map_or_else(|| address.to_string(), |port| std::net::SocketAddr::new(address, port).to_string())
}
