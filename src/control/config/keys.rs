//! Every key the parser knows, with its type, range, default and meaning: the parser, the messages and the tests of the
//! documentation read this one table.

pub use super::keys_api::API;
pub use super::keys_health::{HEALTH, PASSIVE};
pub use super::keys_service::{BACKEND, SERVICE, TIMEOUTS};
use super::words::{HostPath, Idle, Spread, Word};

/// One table of the file.
#[derive(Debug)]
pub struct TableDoc {
    /// As it is written in the file, such as `[[service.backend]]`; empty for the file itself.
    pub heading: &'static str,
    /// Its keys, in the order of the documentation.
    pub keys: &'static [KeyDoc],
}

/// One key.
#[derive(Debug)]
pub struct KeyDoc {
    /// As it is written.
    pub name: &'static str,
    /// What its value may be.
    pub kind: Kind,
    /// TOML text of the default, or in words what happens without the key.
    pub default: &'static str,
    /// Whether a reload can change it.
    pub when: When,
    /// One sentence without its full stop.
    pub meaning: &'static str,
}

/// When a change takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// At the next start.
    Init,
    /// At a reload.
    Reload,
}

/// What a value may be.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// `min..=max`.
    Int {
        /// Smallest.
        min: i64,
        /// Largest.
        max: i64,
    },
    /// Seconds as a number, or a number with a unit as text; both limits in milliseconds.
    Duration {
        /// Shortest.
        min_ms: u64,
        /// Longest.
        max_ms: u64,
        /// Resolution: 1 or 1000.
        step_ms: u64,
    },
    /// One of a closed list of words: those that this version supports, and those that it knows.
    Word(fn() -> [Vec<&'static str>; 2]),
    /// 1 to 64 of `A-Z a-z 0-9 . _ -`.
    Name,
    /// Text without control characters, of 1 to this many bytes.
    Text(usize),
    /// IPv4 or IPv6 address.
    Address,
    /// IPv4 address.
    Address4,
    /// IPv6 address.
    Address6,
    /// MAC address of one station.
    Mac,
    /// 32 hex digits.
    HexKey,
    /// A count, or a list of lcores.
    Workers,
    /// HTTP status, a range of them or a list of both.
    Status,
    /// A list of texts.
    Texts,
    /// A list of addresses.
    Addresses,
    /// A list of addresses with the length of their prefix.
    Networks,
    /// Address to MAC address.
    Neighbors,
    /// A prime in `min..=max`.
    Prime {
        /// Smallest.
        min: i64,
        /// Largest.
        max: i64,
    },
    /// A table, by its heading.
    Table(&'static str),
    /// Any number of tables, by their heading.
    Tables(&'static str),
    /// What only its own reader understands, in words.
    Other {
        /// The type.
        what: &'static str,
        /// The range.
        range: &'static str,
        /// What a value must be.
        expected: &'static str,
    },
}

/// Most workers.
pub const WORKERS_MAX: usize = 64;
/// Highest lcore that DPDK is built for.
pub const LCORE_MAX: u16 = 127;
/// Most ports that DPDK is built for.
pub const PORTS_MAX: usize = 32;
/// Most own addresses of a port.
pub const ADDRESSES_MAX: usize = 64;
/// Most static neighbours of a port.
pub const NEIGHBORS_MAX: usize = 65_536;
/// Most services.
pub const SERVICES_MAX: usize = 16_384;
/// Most backends of a service.
pub const BACKENDS_MAX: usize = 16_384;
/// Most arguments for EAL.
pub const EAL_ARGS_MAX: usize = 256;
/// Bytes of the longest text in a list.
pub const TEXT_BYTES_MAX: usize = 1024;

/// `true` or `false`.
pub(super) const FLAG: Kind = Kind::Other { what: "boolean", range: "true, false", expected: "true or false" };
/// How long something may stay idle.
pub(super) const IDLE_TIME: Kind = Kind::Duration { min_ms: 1000, max_ms: 32_000_000, step_ms: 1000 };
const INIT: When = When::Init;
pub(super) const RELOAD: When = When::Reload;

pub(super) const fn key(
    name: &'static str,
    kind: Kind,
    default: &'static str,
    when: When,
    meaning: &'static str,
) -> KeyDoc {
    KeyDoc { name, kind, default, when, meaning }
}

/// The file itself.
pub static ROOT: TableDoc = TableDoc {
    heading: "",
    keys: &[
        key("dataplane", Kind::Table("[dataplane]"), "all defaults", INIT, "Worker threads and memory"),
        key("control", Kind::Table("[control]"), "all defaults", INIT, "The management side"),
        key("port", Kind::Tables("[[port]]"), "required", INIT, "Network ports; at least one"),
        key("host", Kind::Table("[host]"), "all defaults", INIT, "What may go to the host's network stack"),
        key("service", Kind::Tables("[[service]]"), "none", RELOAD, "Services"),
    ],
};

/// `[dataplane]`.
pub static DATAPLANE: TableDoc = TableDoc {
    heading: "[dataplane]",
    keys: &[
        key("workers", Kind::Workers, "1", INIT, "Poll loops: how many, or a list of the lcores they run on"),
        key(
            "connections",
            Kind::Int { min: 1, max: 1_000_000_000 },
            "1_000_000",
            INIT,
            "Tracked connections over all workers; at least one a worker",
        ),
        key(
            "local_port_rest",
            IDLE_TIME,
            "120",
            INIT,
            "How long a local port of full-nat rests after its connection, before another one to the same backend may have it (RFC 6888 REQ-8)",
        ),
        key("mbufs", Kind::Int { min: 256, max: 16_777_216 }, "65_536", INIT, "Packet buffers of each NUMA socket"),
        key(
            "fragments",
            Kind::Int { min: 0, max: 65_536 },
            "4096",
            INIT,
            "Datagrams in fragments that each worker can know; 0 drops fragments",
        ),
        key(
            "persistence_clients",
            Kind::Int { min: 1024, max: 67_108_864 },
            "262_144",
            INIT,
            "Client addresses whose backend is remembered for `persistence`, over all workers and services; 8 bytes each",
        ),
        key("eal", Kind::Texts, "[]", INIT, "Arguments for EAL; those after `--` on the command line follow them"),
        key(
            "hash_key",
            Kind::HexKey,
            "random per boot",
            INIT,
            "The group's shared key for consistent hashing; all nodes of a group need the same",
        ),
        key(
            "idle",
            Kind::Word(words::<Idle>),
            "\"auto\"",
            INIT,
            "What a worker does without traffic: `spin` polls on, `auto` slows down in steps to naps of 100 us, `sleep` naps sooner and up to 200 us",
        ),
    ],
};

/// `[control]`.
pub static CONTROL: TableDoc = TableDoc {
    heading: "[control]",
    keys: &[
        // A Unix socket's path has 108 bytes with its final zero.
        key(
            "socket",
            Kind::Text(107),
            "\"/run/tidegate/tidegate.sock\"",
            INIT,
            "Unix socket that the commands talk to",
        ),
        key(
            "grace",
            Kind::Duration { min_ms: 0, max_ms: 3_600_000, step_ms: 1 },
            "0",
            INIT,
            "How long SIGTERM waits for connections to end",
        ),
        key(
            "state_file",
            Kind::Other {
                what: "string",
                range: "a path from / on, or `\"none\"`",
                expected: "the path of a file from / on, or \"none\"",
            },
            "\"/var/lib/tidegate/state.json\"",
            INIT,
            "Where `tidegate backend` keeps what it changed, so that a restart does not undo it",
        ),
        key("api", Kind::Table("[control.api]"), "all defaults", INIT, "The API on TCP"),
    ],
};

/// `[[port]]`.
pub static PORT: TableDoc = TableDoc {
    heading: "[[port]]",
    keys: &[
        key("name", Kind::Name, "required", INIT, "Unique name"),
        key("device", Kind::Text(TEXT_BYTES_MAX), "required", INIT, "PCI address, or vdev with its arguments"),
        key(
            "addresses",
            Kind::Networks,
            "[]",
            INIT,
            "Own addresses; the first of a family is the source of tunnels that leave here",
        ),
        key("gateway", Kind::Address4, "none", INIT, "Next hop of IPv4 traffic that is on no port's network"),
        key("gateway6", Kind::Address6, "none", INIT, "Next hop of IPv6 traffic that is on no port's network"),
        key(
            "mtu",
            Kind::Int { min: 576, max: 9600 },
            "1500",
            INIT,
            "Bytes of the largest IP packet; at least 1280 with IPv6 on the port",
        ),
        key("mac", Kind::Mac, "the device's own", INIT, "Own MAC address; `replay` needs it"),
        key("vlan", Kind::Int { min: 1, max: 4094 }, "untagged", INIT, "VLAN of all traffic on the port"),
        key(
            "decapsulate_from",
            Kind::Networks,
            "[]",
            INIT,
            "Networks of an outer tier of balancers: GRE and IPIP from there to an own address is taken off, and the packet inside is balanced",
        ),
        key(
            "spread",
            Kind::Word(words::<Spread>),
            "\"auto\"",
            INIT,
            "How packets get to the worker that owns their connection: `auto` trusts the RSS of a device that tells how it hashes, and hands over in software else; `queues` trusts the device's queues in any case (tunnels and dsr; nat is always handed over)",
        ),
        key(
            "neighbors",
            Kind::Neighbors,
            "{}",
            INIT,
            "Static neighbours, address to MAC address; others are resolved by ARP and ND",
        ),
        key(
            "host",
            Kind::Word(words::<HostPath>),
            "\"auto\"",
            INIT,
            "Whether the kernel gets what is for own addresses and not served (SSH, BGP, ping): `auto` where that can be and disturbs nothing, and in no `replay`",
        ),
        key(
            "host_device",
            Kind::Text(15),
            "\"tg-\" and the port's name, cut to 15 bytes",
            INIT,
            "Name of the kernel's device for it",
        ),
    ],
};

const PUNT_RATE: Kind = Kind::Int { min: 0, max: 1_000_000 };

/// `[host]`; its keys are the labels of [`PuntClass`](crate::lb::punt::PuntClass).
pub static HOST: TableDoc = TableDoc {
    heading: "[host]",
    keys: &[
        key("control", PUNT_RATE, "20_000", INIT, "Routing protocols: BGP, BFD, OSPF, VRRP, PIM, RIP, LDP"),
        key("management", PUNT_RATE, "50_000", INIT, "All other TCP, such as SSH and health checks"),
        key("neighbor", PUNT_RATE, "2_000", INIT, "ARP, neighbour discovery, IGMP, MLD"),
        key("icmp", PUNT_RATE, "1_000", INIT, "ICMP messages to own addresses"),
        key("other", PUNT_RATE, "2_000", INIT, "Everything else: UDP, other protocols, fragments"),
    ],
};

/// Every table, in the order of the documentation.
pub static TABLES: [&TableDoc; 11] =
    [&ROOT, &DATAPLANE, &CONTROL, &API, &PORT, &HOST, &SERVICE, &TIMEOUTS, &HEALTH, &PASSIVE, &BACKEND];

/// The words of `W` that this version supports, and those that it only knows.
pub fn words<W: Word>() -> [Vec<&'static str>; 2] {
    let (supported, known): (Vec<_>, Vec<_>) = W::WORDS.iter().partition(|(_, value)| W::SUPPORTED.contains(value));
    [supported, known].map(|words| words.into_iter().map(|(word, _)| word).collect())
}

impl TableDoc {
    /// The row of `name`.
    pub fn key(&self, name: &str) -> Option<&'static KeyDoc> {
        self.keys.iter().find(|key| key.name == name)
    }

    /// How messages name the table.
    pub fn place(&self) -> &'static str {
        if self.heading.is_empty() { "the file" } else { self.heading }
    }
}

impl KeyDoc {
    /// Whether the value is for nobody else's eyes.
    pub fn is_secret(&self) -> bool {
        matches!(self.kind, Kind::HexKey)
    }
}

impl When {
    /// As the documentation marks it.
    pub fn mark(self) -> &'static str {
        match self {
            Self::Init => "[init]",
            Self::Reload => "[reload]",
        }
    }
}

impl Kind {
    /// The type, as the documentation says it.
    pub fn type_text(&self) -> &'static str {
        match self {
            Self::Int { .. } | Self::Prime { .. } => "integer",
            Self::Duration { .. } => "duration",
            Self::Word(_) => "word",
            Self::Name | Self::Text(_) | Self::HexKey => "string",
            Self::Address | Self::Address4 | Self::Address6 => "address",
            Self::Mac => "MAC address",
            Self::Workers => "integer or list",
            Self::Status => "integer, string or list",
            Self::Texts | Self::Addresses | Self::Networks => "list",
            Self::Neighbors | Self::Table(_) => "table",
            Self::Tables(_) => "tables",
            Self::Other { what, .. } => what,
        }
    }

    /// The range, as the documentation says it.
    pub fn range_text(&self) -> String {
        match self {
            Self::Int { min, max } => format!("{min} to {max}"),
            Self::Prime { min, max } => format!("a prime, {min} to {max}"),
            Self::Duration { min_ms, max_ms, .. } => format!("{} to {}", duration(*min_ms), duration(*max_ms)),
            Self::Word(words) => {
                let [supported, known] = words().map(|words| words.join(", "));
                if known.is_empty() { supported } else { format!("{supported}; not yet: {known}") }
            }
            Self::Name => "1 to 64 of A-Z a-z 0-9 . _ -".into(),
            Self::Text(bytes_max) => format!("1 to {bytes_max} bytes"),
            Self::Address => "IPv4 or IPv6".into(),
            Self::Address4 => "IPv4".into(),
            Self::Address6 => "IPv6".into(),
            Self::Mac => "of one station".into(),
            Self::HexKey => "32 hex digits".into(),
            Self::Workers => format!("1 to {WORKERS_MAX}; lcores 0 to {LCORE_MAX}"),
            Self::Status => "100 to 599".into(),
            Self::Texts => format!("at most {EAL_ARGS_MAX}"),
            Self::Addresses => format!("at most {ADDRESSES_MAX}, IPv4 or IPv6"),
            Self::Networks => format!("at most {ADDRESSES_MAX}, with prefix length"),
            Self::Neighbors => format!("at most {NEIGHBORS_MAX}"),
            Self::Table(heading) | Self::Tables(heading) => (*heading).into(),
            Self::Other { range, .. } => (*range).into(),
        }
    }

    /// What a value must be, for a message: "must be ...".
    pub fn expected(&self) -> String {
        match self {
            Self::Int { min, max } => format!("an integer from {min} to {max}"),
            Self::Prime { min, max } => format!("a prime from {min} to {max}"),
            Self::Duration { min_ms, max_ms, step_ms } => {
                let (min, max) = (duration(*min_ms), duration(*max_ms));
                let (whole, example) = if *step_ms == 1000 { ("whole ", "\"2m\"") } else { ("", "\"500ms\"") };
                format!("a time from {min} to {max}, in {whole}seconds or with a unit such as {example}")
            }
            Self::Word(words) => {
                let [supported, _] = words();
                format!("one of {}", supported.join(", "))
            }
            Self::Name => "1 to 64 of the characters A-Z a-z 0-9 . _ -".into(),
            Self::Text(bytes_max) => format!("a string of 1 to {bytes_max} bytes without control characters"),
            Self::Address => "an IPv4 or IPv6 address".into(),
            Self::Address4 => "an IPv4 address".into(),
            Self::Address6 => "an IPv6 address".into(),
            Self::Mac => "the MAC address of one station, such as \"02:00:00:00:00:01\"".into(),
            Self::HexKey => "a string of 32 hex digits".into(),
            Self::Workers => format!("1 to {WORKERS_MAX}, or a list of lcores from 0 to {LCORE_MAX}"),
            Self::Status => "a status from 100 to 599, a range such as \"200-399\", or a list of them".into(),
            Self::Texts => format!("a list of at most {EAL_ARGS_MAX} strings"),
            Self::Addresses => format!("a list of at most {ADDRESSES_MAX} IPv4 or IPv6 addresses"),
            Self::Networks => format!("a list of at most {ADDRESSES_MAX} addresses such as \"10.0.0.2/24\""),
            Self::Neighbors => {
                format!(
                    "a table of at most {NEIGHBORS_MAX} neighbours such as {{ \"10.0.0.1\" = \"02:00:00:00:00:01\" }}"
                )
            }
            Self::Table(heading) => format!("a table, written {heading}"),
            Self::Tables(heading) => format!("a list of tables, each written {heading}"),
            Self::Other { expected, .. } => (*expected).into(),
        }
    }
}

fn duration(ms: u64) -> String {
    if ms.is_multiple_of(1000) { format!("{}s", ms / 1000) } else { format!("{ms}ms") }
}
