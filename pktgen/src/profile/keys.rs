//! Every key of a profile, with its type, range, default and meaning: the parser, the messages and the test of the
//! documentation read this one table.

use tidegate::control::config::keys::{KeyDoc, Kind, TableDoc, When, words};

use super::model::{Mode, TrafficKind};
use crate::frame::Protocol;
use crate::traffic::Order;

/// Largest packet size in bytes, frame check sequence included.
pub const PACKET_SIZE_MAX: u16 = 9018;
/// Smallest packet size in bytes, frame check sequence included.
pub const PACKET_SIZE_MIN: u16 = 64;
/// Most sizes in a list.
pub const SIZES_MAX: usize = 64;
/// Most servers.
pub const SERVERS_MAX: usize = 4096;
/// Most ports.
pub const PORTS_MAX: usize = 2;
/// Most addresses that a port answers for.
pub const ADDRESSES_MAX: usize = 256;
/// Most flows.
pub const FLOWS_MAX: i64 = 16_777_216;
/// Highest rate in packets or connections a second.
pub const RATE_MAX: u64 = 1_000_000_000;
/// Most arguments for EAL.
pub const EAL_ARGS_MAX: usize = 256;

const fn key(name: &'static str, kind: Kind, default: &'static str, meaning: &'static str) -> KeyDoc {
    KeyDoc { name, kind, default, when: When::Init, meaning }
}

const DAY_MS: u64 = 86_400_000;
const RATE: Kind = Kind::Other {
    what: "rate",
    range: "1 to 1000000000, or `\"max\"`",
    expected: "a rate from 1 to 1000000000 a second, such as 1_000_000, \"1.5M\" or \"max\"",
};
const SIZES: Kind = Kind::Other {
    what: "integer, list or word",
    range: "64 to 9018, at most 64 of them, or `\"imix\"`",
    expected: "a size from 64 to 9018 bytes, a list of at most 64 sizes, or \"imix\"",
};
const SIZE_LIST: Kind = Kind::Other {
    what: "list",
    range: "1 to 64 sizes from 64 to 9018",
    expected: "a list of 1 to 64 sizes from 64 to 9018 bytes",
};
const PREFIX: Kind = Kind::Other {
    what: "network",
    range: "IPv4 or IPv6",
    expected: "a network such as \"198.18.0.0/15\" or \"2001:db8:c::/64\"",
};
const SERVERS: Kind = Kind::Other {
    what: "list",
    range: "1 to 4096 of one address family",
    expected: "a list of 1 to 4096 servers such as \"192.0.2.10:80\" or \"[2001:db8::10]:80\"",
};
const ADDRESSES: Kind = Kind::Other {
    what: "list",
    range: "at most 256, IPv4 or IPv6",
    expected: "a list of at most 256 IPv4 or IPv6 addresses",
};
const FLAG: Kind =
    Kind::Other { what: "boolean", range: "`true`, `false`", expected: "true or false, without quotation marks" };
const PERCENT: Kind = Kind::Other { what: "number", range: "0 to 100", expected: "a percentage from 0 to 100" };
const STEP: Kind = Kind::Other { what: "number", range: "0.01 to 50", expected: "a percentage from 0.01 to 50" };

/// The file itself.
pub static ROOT: TableDoc = TableDoc {
    heading: "",
    keys: &[
        key(
            "duration",
            Kind::Duration { min_ms: 100, max_ms: 30 * DAY_MS, step_ms: 1 },
            "until Ctrl-C",
            "How long to send; `--for` takes its place",
        ),
        key(
            "wait",
            Kind::Duration { min_ms: 0, max_ms: 60_000, step_ms: 1 },
            "1",
            "How long to receive what is late before loss is counted",
        ),
        key("seed", Kind::Int { min: 0, max: i64::MAX }, "1", "Decides addresses, ports and all that is random"),
        key(
            "workers",
            Kind::Int { min: 1, max: 2 },
            "1",
            "Poll loops, a core each: 2 are one a port, or on one port one that sends and one that receives",
        ),
        key("mbufs", Kind::Int { min: 2048, max: 4_194_304 }, "16_384", "Packet buffers"),
        key(
            "link_timeout",
            Kind::Duration { min_ms: 0, max_ms: 600_000, step_ms: 1 },
            "10",
            "How long to wait for the links to come up",
        ),
        key("eal", Kind::Texts, "[]", "Arguments for EAL; those after `--` on the command line follow them"),
        key("port", Kind::Tables("[[port]]"), "required", "Network ports; one or two"),
        key("traffic", Kind::Table("[traffic]"), "none", "What a client sends; servers need none"),
        key("rfc2544", Kind::Table("[rfc2544]"), "all defaults", "The search of `pktgen rfc2544`"),
    ],
};

/// `[[port]]`.
pub static PORT: TableDoc = TableDoc {
    heading: "[[port]]",
    keys: &[
        key("name", Kind::Name, "\"port0\", \"port1\"", "Name in messages and in the report"),
        key("device", Kind::Text(1024), "required", "PCI address, or vdev with its arguments"),
        key("mode", Kind::Word(words::<Mode>), "\"client\"", "What the port does, see above"),
        key("mac", Kind::Mac, "the device's own", "Source MAC address"),
        key("gateway_mac", Kind::Mac, "none", "MAC address that frames go to; a client needs it"),
        key("addresses", ADDRESSES, "[]", "Addresses that ARP and neighbour solicitations are answered for"),
        key("vlan", Kind::Int { min: 1, max: 4094 }, "untagged", "VLAN of what a client sends"),
    ],
};

/// `[traffic]`.
pub static TRAFFIC: TableDoc = TableDoc {
    heading: "[traffic]",
    keys: &[
        key("kind", Kind::Word(words::<TrafficKind>), "\"packets\"", "What is sent, see above"),
        key("protocol", Kind::Word(words::<Protocol>), "\"udp\"; tcp for the other kinds", "What packets are made of"),
        key("pps", RATE, "\"max\"", "Packets a second, of `packets` and `syn_flood`"),
        key("cps", RATE, "1000", "New connections a second, of `connections`"),
        key("cc", Kind::Int { min: 1, max: FLOWS_MAX }, "flows", "Connections at once at most, of `connections`"),
        key("clients", PREFIX, "\"198.18.0.0/15\"", "Network that clients have their addresses from"),
        key("servers", SERVERS, "required", "Addresses and ports that clients send to; flows take them in turn"),
        key("flows", Kind::Int { min: 1, max: FLOWS_MAX }, "1000", "Distinct clients, by address and port"),
        key("order", Kind::Word(words::<Order>), "\"round-robin\"", "Which flow a packet belongs to"),
        key(
            "packet_size",
            SIZES,
            "64, or a little more than the headers",
            "Bytes of a frame with its check sequence; a list is taken in turn, `imix` is 7:4:1 of 64, 594 and 1518",
        ),
        key(
            "packets",
            Kind::Int { min: 1, max: i64::MAX },
            "no end",
            "End after so many packets, or connections of `connections`",
        ),
        key("open", FLAG, "false", "The first packet of each TCP flow of `packets` is a SYN"),
        key("data_segments", Kind::Int { min: 0, max: 65_535 }, "1", "Data segments of each connection"),
        key(
            "retransmit_timeout",
            Kind::Duration { min_ms: 1, max_ms: 60_000, step_ms: 1 },
            "1",
            "How long a client waits for an answer before it repeats a segment, at most 3 times",
        ),
        key("verify", FLAG, "true", "Whether the TCP and UDP checksums of received packets are looked at"),
    ],
};

/// `[rfc2544]`.
pub static RFC2544: TableDoc = TableDoc {
    heading: "[rfc2544]",
    keys: &[
        key("sizes", SIZE_LIST, "[64, 128, 256, 512, 1024, 1280, 1518]", "Packet sizes that are tried, in their order"),
        key(
            "trial",
            Kind::Duration { min_ms: 100, max_ms: DAY_MS, step_ms: 1 },
            "60",
            "How long each trial sends (RFC 2544 section 24 asks for 60 s)",
        ),
        key(
            "wait",
            Kind::Duration { min_ms: 0, max_ms: 60_000, step_ms: 1 },
            "2",
            "How long a trial receives what is late (section 23 asks for 2 s)",
        ),
        key(
            "pause",
            Kind::Duration { min_ms: 0, max_ms: 60_000, step_ms: 1 },
            "5",
            "How long to wait between trials (section 23 asks for 5 s)",
        ),
        key("rate_max", RATE, "\"max\"", "Packets a second at most; `max` is what the generator reaches"),
        key("resolution", STEP, "1", "The search ends within this percentage of the highest rate"),
        key("loss_tolerance", PERCENT, "0", "Percentage of packets that may be lost in a good trial"),
    ],
};

/// Every table, in the order of the documentation.
pub static TABLES: [&TableDoc; 4] = [&ROOT, &PORT, &TRAFFIC, &RFC2544];
