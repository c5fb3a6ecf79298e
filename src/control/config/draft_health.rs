//! One `[service.health]` as the model's values.

use std::path::PathBuf;
use std::time::Duration;

use tokio_rustls::rustls::pki_types::ServerName;
use toml::Spanned;

use super::draft::split;
use super::keys;
use super::keys_health::{COMMAND_WORDS_MAX, PAYLOAD_BYTES_MAX, types_of};
use super::model_health::{DnsCheck, Health, HealthCheck, HttpCheck, Passive, Statuses, TlsCheck, UdpCheck};
use super::reader::{Reader, is_text};
use super::source::Span;
use super::values::{dns_answer, dns_name, payload, statuses};
use super::words::{DnsCode, DnsRecord, HealthTarget, HealthType, Word};

/// Places of what is checked against other things.
#[derive(Default)]
pub struct HealthSpans {
    /// The table, where there is one that needs `port` and has none.
    pub without_port: Option<Span>,
    /// A `target` that only tunnel and direct modes have.
    pub vip: Option<Span>,
    pub ca_file: Option<Span>,
    pub command: Option<Span>,
}

/// Reads the table of a service, and notes everything that is wrong with a value by itself.
pub fn read(service: &mut Reader<'_, '_, '_>) -> Option<(Health, HealthSpans)> {
    let mut table = service.table("health", &keys::HEALTH)?;
    let has_type = table.has("type");
    let (kind, _) = split(table.word("type"));
    let (interval_ms, _) = split(table.duration_ms("interval"));
    let (timeout_ms, timeout_span) = split(table.duration_ms("timeout"));
    let interval_ms = interval_ms.unwrap_or(2000);
    if let (Some(timeout), Some(span)) = (timeout_ms, timeout_span)
        && timeout > interval_ms
    {
        let message =
            format!("`timeout` is {timeout}ms, longer than the interval of {interval_ms}ms: checks would overlap");
        table.findings.error(&span, message);
    }
    let (rise, _) = split(table.int("rise"));
    let (fall, _) = split(table.int("fall"));
    let (jitter, _) = split(table.int("jitter"));
    let (panic_threshold, _) = split(table.int("panic_threshold"));
    let (slow_start_ms, _) = split(table.duration_ms("slow_start"));
    let (flap_hold_ms, _) = split(table.duration_ms("flap_hold"));
    let (flap_hold_max_ms, _) = split(table.duration_ms("flap_hold_max"));
    let (port, _) = split(table.int("port"));
    let (target, target_span) = split(table.word("target"));
    let mut spans =
        HealthSpans { vip: target_span.filter(|_| target == Some(HealthTarget::Vip)), ..Default::default() };
    // Of a type that nobody knows, nobody knows the keys either; all the same each value must be good.
    let kind_or_default = kind.unwrap_or(HealthType::Tcp);
    if kind.is_some() || !has_type {
        refuse_keys_of_others(&mut table, kind_or_default);
    }
    let check = read_check(&mut table, kind, &mut spans);
    let needs_port = !matches!(kind_or_default, HealthType::Ping | HealthType::Exec);
    spans.without_port = (needs_port && !table.has("port")).then(|| table.header());
    let health = Health {
        check,
        interval: Duration::from_millis(interval_ms),
        timeout: Duration::from_millis(timeout_ms.unwrap_or(interval_ms.min(1000))),
        rise: rise.unwrap_or(2),
        fall: fall.unwrap_or(3),
        jitter_percent: jitter.unwrap_or(10),
        panic_threshold_percent: panic_threshold.unwrap_or(0),
        slow_start: Duration::from_millis(slow_start_ms.unwrap_or(0)),
        flap_hold: Duration::from_millis(flap_hold_ms.unwrap_or(10_000)),
        flap_hold_max: Duration::from_millis(flap_hold_max_ms.unwrap_or(300_000)),
        port,
        target: target.unwrap_or(HealthTarget::Auto),
    };
    Some((health, spans))
}

/// Reads `[service.passive]` of a service, and notes everything that is wrong with a value by itself.
pub fn read_passive(service: &mut Reader<'_, '_, '_>) -> Option<Passive> {
    let mut table = service.table("passive", &keys::PASSIVE)?;
    let mut ms = |name, default| Duration::from_millis(table.duration_ms(name).map_or(default, Spanned::into_inner));
    let (hold, hold_max) = (ms("hold", 10_000), ms("hold_max", 300_000));
    Some(Passive {
        share_percent: table.int("share").map_or(50, Spanned::into_inner),
        openings: table.int("openings").map_or(20, Spanned::into_inner),
        hold,
        hold_max,
        held_max_percent: table.int("held_max").map_or(50, Spanned::into_inner),
    })
}

/// Notes each key that this type of check does not use, and each that it cannot do without.
fn refuse_keys_of_others(table: &mut Reader<'_, '_, '_>, kind: HealthType) {
    for key in keys::HEALTH.keys {
        let types = types_of(key);
        let Some(span) = table.key_span(key.name) else { continue };
        if !types.is_empty() && !types.contains(&kind.word()) {
            let types = types.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(" or ");
            let message = format!("`{}` is for health checks of type {types} only", key.name);
            table.findings.error(&span, message);
        } else if key.name == "port" && kind == HealthType::Ping {
            table.findings.error(&span, "`port` is of no use to health checks of type \"ping\"");
        } else if key.name == "target" && matches!(kind, HealthType::Ping | HealthType::Exec) {
            let message = format!("`target` is of no use to health checks of type \"{kind}\"");
            table.findings.error(&span, message);
        }
    }
    match kind {
        HealthType::Dns => table.require("query"),
        HealthType::Exec => table.require("command"),
        _ => {}
    }
}

/// Reads the keys of all types, so that all that is wrong is noted; gives those of `kind`.
fn read_check(table: &mut Reader<'_, '_, '_>, kind: Option<HealthType>, spans: &mut HealthSpans) -> HealthCheck {
    let mut http = read_http(table);
    let tls = read_tls(table, spans);
    let udp = read_udp(table);
    let dns = read_dns(table);
    let command = read_command(table, spans);
    match kind.unwrap_or(HealthType::Tcp) {
        HealthType::Tcp => HealthCheck::Tcp,
        HealthType::Http => HealthCheck::Http(http),
        HealthType::Https => {
            http.tls = Some(tls);
            HealthCheck::Http(http)
        }
        HealthType::Udp => HealthCheck::Udp(udp),
        HealthType::Dns => HealthCheck::Dns(dns),
        HealthType::Ping => HealthCheck::Ping,
        HealthType::Exec => HealthCheck::Exec(command),
    }
}

fn read_http(table: &mut Reader<'_, '_, '_>) -> HttpCheck {
    let path = table.text("path").filter(|path| {
        // A space or a control character would end the request line early (RFC 9112 section 3).
        let good = path.get_ref().starts_with('/') && path.get_ref().bytes().all(|b| b.is_ascii_graphic());
        if !good {
            let message = "`path` must begin with / and have no spaces; other characters are written as %XX";
            table.findings.error(&path.span(), message);
        }
        good
    });
    let host = table.text("host").filter(|host| {
        let good = host.get_ref().bytes().all(|b| b.is_ascii_graphic());
        if !good {
            table.findings.error(&host.span(), "`host` must be a host name or an address, without spaces");
        }
        good
    });
    let status = table.read("status", |value, _| statuses(value));
    HttpCheck {
        path: path.map_or_else(|| "/".into(), Spanned::into_inner),
        host: host.map(Spanned::into_inner),
        status: Statuses(status.map_or_else(|| vec![200..=399], Spanned::into_inner)),
        body: table.text("body").map(Spanned::into_inner),
        tls: None,
    }
}

fn read_tls(table: &mut Reader<'_, '_, '_>, spans: &mut HealthSpans) -> TlsCheck {
    let sni = table.text("sni").filter(|sni| {
        // RFC 6066 section 3 leaves addresses out.
        let good = matches!(ServerName::try_from(sni.get_ref().as_str()), Ok(ServerName::DnsName(_)));
        if !good {
            let message = format!("`sni` must be a DNS name such as \"www.example.com\", not \"{}\"", sni.get_ref());
            table.findings.error(&sni.span(), message);
        }
        good
    });
    let verify = table.flag("verify").is_none_or(Spanned::into_inner);
    let (ca_file, ca_file_span) = split(table.text("ca_file"));
    if let (false, Some(span)) = (verify, &ca_file_span) {
        table.findings.error(span, "`ca_file` has no effect with verify = false: leave one of them out");
    }
    spans.ca_file = ca_file_span.filter(|_| verify);
    TlsCheck {
        sni: sni.map(Spanned::into_inner),
        is_unverified: !verify,
        ca_file: ca_file.map(PathBuf::from),
        authority: None,
    }
}

fn read_udp(table: &mut Reader<'_, '_, '_>) -> UdpCheck {
    let mut read = |name| table.parsed(name, |text| payload(text, PAYLOAD_BYTES_MAX)).map(Spanned::into_inner);
    UdpCheck { send: read("send").unwrap_or_default(), expect: read("expect") }
}

fn read_dns(table: &mut Reader<'_, '_, '_>) -> DnsCheck {
    let query = table.text("query").and_then(|query| {
        let good = dns_name(query.get_ref());
        if good.is_none() {
            let message =
                "`query` must be a DNS name: labels of 1 to 63 characters with dots between them, at most 253 in all";
            table.findings.error(&query.span(), message);
        }
        good
    });
    let record = table.word("record").map_or(DnsRecord::A, Spanned::into_inner);
    let code = table.word("rcode").map_or(DnsCode::NoError, Spanned::into_inner);
    let answer = table.text("answer").and_then(|answer| {
        let read = dns_answer(record, answer.get_ref());
        if let Err(expected) = &read {
            let message = format!("`answer` of record {record} must be {expected}, not \"{}\"", answer.get_ref());
            table.findings.error(&answer.span(), message);
        }
        if code != DnsCode::NoError {
            let message = format!("`answer` has no effect with rcode = \"{code}\": leave one of them out");
            table.findings.error(&answer.span(), message);
        }
        read.ok()
    });
    DnsCheck { query: query.unwrap_or_default(), record, code, answer }
}

fn read_command(table: &mut Reader<'_, '_, '_>, spans: &mut HealthSpans) -> Vec<String> {
    let Some((value, key)) = table.value("command") else { return Vec::new() };
    let read = value.get_ref().as_array().map(|words| words.iter().map(|word| word.get_ref().as_str()));
    // An argument may be empty, and the program's path may not.
    let is_word = |word: &str| word.is_empty() || is_text(word, keys::TEXT_BYTES_MAX);
    let words: Option<Vec<&str>> = read.and_then(Iterator::collect);
    let good = words.filter(|words| {
        words.len() <= COMMAND_WORDS_MAX
            && words.first().is_some_and(|path| path.starts_with('/'))
            && words.iter().all(|word| is_word(word))
    });
    let Some(words) = good else {
        table.refuse("command", value, &key.kind);
        return Vec::new();
    };
    spans.command = Some(value.span());
    words.into_iter().map(str::to_owned).collect()
}
