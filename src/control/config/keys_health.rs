//! The keys of `[service.health]`.

use super::keys::{FLAG, KeyDoc, Kind, RELOAD, TEXT_BYTES_MAX, TableDoc, key, words};
use super::words::{DnsCode, DnsRecord, HealthTarget, HealthType};

/// Bytes of the longest datagram that a `udp` check sends or looks for.
pub const PAYLOAD_BYTES_MAX: usize = 512;
/// Parts of the longest list of good status codes.
pub const STATUSES_MAX: usize = 64;
/// Most arguments of an `exec` check's command, its path included.
pub const COMMAND_WORDS_MAX: usize = 64;

const CHECKS_IN_A_ROW: Kind = Kind::Int { min: 1, max: 100 };
const PAYLOAD: Kind = Kind::Other {
    what: "string",
    range: "at most 512 bytes",
    expected: "a string of at most 512 bytes, or \"hex:\" with two hex digits for each of them",
};
const COMMAND: Kind = Kind::Other {
    what: "list",
    range: "1 to 64 strings",
    expected: "a list of 1 to 64 strings, the first of them a path from / on",
};

/// `[service.health]`. A meaning that begins with types is of a key for these types only.
pub static HEALTH: TableDoc = TableDoc {
    heading: "[service.health]",
    keys: &[
        key("type", Kind::Word(words::<HealthType>), "\"tcp\"", RELOAD, "What one check does"),
        key(
            "interval",
            Kind::Duration { min_ms: 50, max_ms: 3_600_000, step_ms: 1 },
            "2",
            RELOAD,
            "From the start of one check to the start of the next",
        ),
        key(
            "timeout",
            Kind::Duration { min_ms: 10, max_ms: 3_600_000, step_ms: 1 },
            "1, or interval if that is shorter",
            RELOAD,
            "A check that takes longer has failed; never longer than the interval",
        ),
        key("rise", CHECKS_IN_A_ROW, "2", RELOAD, "Good checks in a row that bring a backend up"),
        key("fall", CHECKS_IN_A_ROW, "3", RELOAD, "Failed checks in a row that take a backend down"),
        key(
            "jitter",
            Kind::Int { min: 0, max: 50 },
            "10",
            RELOAD,
            "Percent of the interval by which a check may begin sooner, so that checks of many backends spread",
        ),
        key(
            "panic_threshold",
            Kind::Int { min: 0, max: 100 },
            "0",
            RELOAD,
            "When fewer than this percent of the backends that are wanted up are healthy, all of them serve",
        ),
        key(
            "slow_start",
            Kind::Duration { min_ms: 0, max_ms: 3_600_000, step_ms: 1 },
            "0",
            RELOAD,
            "How long the weight of a backend that was down and comes back grows to all of it, in ten steps or one a second",
        ),
        key(
            "flap_hold",
            Kind::Duration { min_ms: 0, max_ms: 3_600_000, step_ms: 1 },
            "10",
            RELOAD,
            "How long a backend is held down that fell three times within a minute, twice as long each time that it falls again soon; 0 for never",
        ),
        key(
            "flap_hold_max",
            Kind::Duration { min_ms: 0, max_ms: 86_400_000, step_ms: 1 },
            "\"5m\"",
            RELOAD,
            "The longest of these times",
        ),
        key(
            "port",
            Kind::Int { min: 1, max: 65_535 },
            "the backend's port",
            RELOAD,
            "Port that is checked, of no use to `ping`; required if the service has every port, but for `ping` and `exec`",
        ),
        key(
            "target",
            Kind::Word(words::<HealthTarget>),
            "\"auto\"",
            RELOAD,
            "Tunnel modes and dsr: checks go to the VIP by the backend's tunnel (`vip`) or to its own address; `auto` is `vip` where the port has a host path",
        ),
        key("path", Kind::Text(TEXT_BYTES_MAX), "\"/\"", RELOAD, "`http`, `https`: target of the request, from `/` on"),
        key("host", Kind::Text(255), "address and port", RELOAD, "`http`, `https`: the `Host` header"),
        key(
            "status",
            Kind::Status,
            "\"200-399\"",
            RELOAD,
            "`http`, `https`: good status, a range of them, or a list of both",
        ),
        key(
            "body",
            Kind::Text(TEXT_BYTES_MAX),
            "not read",
            RELOAD,
            "`http`, `https`: text that must be in the first 64 KiB of the body",
        ),
        key(
            "sni",
            Kind::Text(253),
            "the name in `host`, else none",
            RELOAD,
            "`https`: server name that is asked for, and that the certificate must have",
        ),
        key(
            "verify",
            FLAG,
            "true",
            RELOAD,
            "`https`: whether the certificate must be valid, from a trusted authority, and have the server's name, or its address without one",
        ),
        key(
            "ca_file",
            Kind::Text(TEXT_BYTES_MAX),
            "those that the system trusts",
            RELOAD,
            "`https`: PEM file of the trusted authorities, read at start and at each reload",
        ),
        key("send", PAYLOAD, "\"\"", RELOAD, "`udp`: the datagram that is sent"),
        key(
            "expect",
            PAYLOAD,
            "no answer",
            RELOAD,
            "`udp`: what an answer must contain, \"\" for any answer; without it all is good but ICMP port unreachable",
        ),
        key("query", Kind::Text(254), "required", RELOAD, "`dns`: name that is asked for"),
        key("record", Kind::Word(words::<DnsRecord>), "\"A\"", RELOAD, "`dns`: type of the records that are asked for"),
        key("rcode", Kind::Word(words::<DnsCode>), "\"noerror\"", RELOAD, "`dns`: code that the answer must have"),
        key(
            "answer",
            Kind::Text(255),
            "any, or none",
            RELOAD,
            "`dns`: what one record of the answer must be, as in a zone file: an address, a name, a text",
        ),
        key("command", COMMAND, "required", RELOAD, "`exec`: program with its arguments; exit status 0 is good"),
    ],
};

const HOLD: Kind = Kind::Duration { min_ms: 1000, max_ms: 86_400_000, step_ms: 1 };

/// `[service.passive]`.
pub static PASSIVE: TableDoc = TableDoc {
    heading: "[service.passive]",
    keys: &[
        key(
            "share",
            Kind::Int { min: 1, max: 100 },
            "50",
            RELOAD,
            "Percent of a backend's new connections that are not answered or refused from which on it is held down",
        ),
        key("openings", Kind::Int { min: 5, max: 1_000_000 }, "20", RELOAD, "New connections that it takes to judge"),
        key(
            "hold",
            HOLD,
            "10",
            RELOAD,
            "How long a backend is held down, twice as long each time that it fails again soon",
        ),
        key("hold_max", HOLD, "\"5m\"", RELOAD, "The longest of these times"),
        key(
            "held_max",
            Kind::Int { min: 0, max: 100 },
            "50",
            RELOAD,
            "Percent of the service's backends that may be held down at a time",
        ),
    ],
};

/// The types that a key is for; empty if it is for all.
pub fn types_of(key: &KeyDoc) -> Vec<&'static str> {
    let Some((types, _)) = key.meaning.split_once(": ").filter(|_| key.meaning.starts_with('`')) else {
        return Vec::new();
    };
    types.split(", ").map(|name| name.trim_matches('`')).collect()
}
