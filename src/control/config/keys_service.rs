//! The keys of `[[service]]` and of the tables below it that are not about checks.

use super::keys::{FLAG, IDLE_TIME, Kind, RELOAD, TableDoc, key, words};
use super::words::{ClientAddress, DrainAction, Echo, Mode, MtuPolicy, OnRemove, Protocol, Role, Scheduler, State};

/// `[[service]]`.
pub static SERVICE: TableDoc = TableDoc {
    heading: "[[service]]",
    keys: &[
        key("name", Kind::Name, "required", RELOAD, "Unique name"),
        key("vip", Kind::Address, "required", RELOAD, "Address that clients connect to; not a port's own"),
        key("port", Kind::Int { min: 1, max: 65_535 }, "every port", RELOAD, "Port that clients connect to"),
        key("protocol", Kind::Word(words::<Protocol>), "\"tcp\"", RELOAD, "What clients speak"),
        key("mode", Kind::Word(words::<Mode>), "required", RELOAD, "How packets get to the backend"),
        key("scheduler", Kind::Word(words::<Scheduler>), "\"maglev\"", RELOAD, "How a connection gets its backend"),
        key(
            "persistence",
            IDLE_TIME,
            "off",
            RELOAD,
            "How long all new connections of a client's address go to the backend of its last one",
        ),
        key(
            "tunnel_source",
            Kind::Address,
            "the leaving port's first address",
            RELOAD,
            "Outer source of the tunnel to backends of its family",
        ),
        key(
            "tunnel_dscp",
            Kind::Other {
                what: "integer or string",
                range: "0 to 63, or `\"copy\"`",
                expected: "\"copy\" or an integer from 0 to 63",
            },
            "\"copy\"",
            RELOAD,
            "DSCP of outer headers; `copy` takes the packet's own",
        ),
        key("tunnel_ttl", Kind::Int { min: 1, max: 255 }, "64", RELOAD, "TTL or hop limit of outer headers"),
        key("gue_port", Kind::Int { min: 1, max: 65_535 }, "6080", RELOAD, "UDP port that backends take GUE on"),
        key(
            "mtu_policy",
            Kind::Word(words::<MtuPolicy>),
            "\"signal\"",
            RELOAD,
            "What becomes of packets that do not fit: `signal` tells the sender, `fragment` sends the tunnel's packets in pieces, `clamp` is `signal` and lowers the MSS of SYNs",
        ),
        key(
            "local_addresses",
            Kind::Addresses,
            "[]",
            RELOAD,
            "Addresses that full-nat connects from, one of the backends' family at least; answered for in ARP and ND",
        ),
        key(
            "local_ports",
            Kind::Other {
                what: "string",
                range: "\"FIRST-LAST\", 1 to 65535",
                expected: "a range of ports from 1 to 65535 such as \"1024-65535\"",
            },
            "\"1024-65535\"",
            RELOAD,
            "Ports of `local_addresses` that full-nat connects from, never one that a VIP there has",
        ),
        key(
            "reset_idle",
            FLAG,
            "false",
            RELOAD,
            "`nat`, `full-nat`: both ends of an established TCP connection that was idle for too long get a RST",
        ),
        key(
            "reset_unknown",
            FLAG,
            "false",
            RELOAD,
            "`nat`, `full-nat`: a TCP packet that belongs to no connection is answered with a RST, not dropped",
        ),
        key(
            "client_address",
            Kind::Word(words::<ClientAddress>),
            "\"none\"",
            RELOAD,
            "full-nat with TCP: how backends learn the client's address: `proxy-v2` puts a PROXY protocol header before the client's first byte, `toa` a TCP option into its first segments",
        ),
        key(
            "maglev_size",
            Kind::Prime { min: 2, max: 5_000_011 },
            "65537",
            RELOAD,
            "Slots of the lookup table; shares are within 1 % from 65 slots a backend on",
        ),
        key(
            "unreachable",
            FLAG,
            "false",
            RELOAD,
            "Whether clients are told by ICMP port unreachable that no backend takes new connections, rate limited",
        ),
        key("echo", Kind::Word(words::<Echo>), "\"answer\"", RELOAD, "Who answers pings; `backend` in mode nat"),
        key(
            "drain_timeout",
            Kind::Duration { min_ms: 0, max_ms: 604_800_000, step_ms: 1 },
            "0",
            RELOAD,
            "How long a backend that drains may keep its connections; 0 for as long as they last",
        ),
        key(
            "drain_action",
            Kind::Word(words::<DrainAction>),
            "\"close\"",
            RELOAD,
            "What becomes of those that are left after `drain_timeout`: `close` ends them, `leave` lets them be",
        ),
        key(
            "on_remove",
            Kind::Word(words::<OnRemove>),
            "\"close\"",
            RELOAD,
            "What a reload does with the connections of backends that it removes, or with the whole service: `close` ends them, `drain` lets them go on as if the backend drained",
        ),
        key("timeouts", Kind::Table("[service.timeouts]"), "all defaults", RELOAD, "When connections are forgotten"),
        key("health", Kind::Table("[service.health]"), "no checks", RELOAD, "How backends are checked"),
        key(
            "passive",
            Kind::Table("[service.passive]"),
            "not done",
            RELOAD,
            "What clients' connections say of backends",
        ),
        key("backend", Kind::Tables("[[service.backend]]"), "none", RELOAD, "Backends"),
    ],
};

/// `[service.timeouts]`.
pub static TIMEOUTS: TableDoc = TableDoc {
    heading: "[service.timeouts]",
    keys: &[
        key("tcp_syn", IDLE_TIME, "30", RELOAD, "TCP, handshake not finished"),
        key("tcp_established", IDLE_TIME, "7440", RELOAD, "TCP, handshake finished"),
        key("tcp_fin", IDLE_TIME, "10", RELOAD, "TCP, closing or closed"),
        key(
            "udp",
            IDLE_TIME,
            "300",
            RELOAD,
            "UDP, both directions seen, or a second packet where replies pass by elsewhere",
        ),
        key("udp_oneway", IDLE_TIME, "60", RELOAD, "UDP, only the client seen"),
        key("icmp_echo", IDLE_TIME, "60", RELOAD, "ICMP echo"),
    ],
};

/// `[[service.backend]]`.
pub static BACKEND: TableDoc = TableDoc {
    heading: "[[service.backend]]",
    keys: &[
        key("name", Kind::Name, "required", RELOAD, "Unique in the service; commands say SERVICE/BACKEND"),
        key("address", Kind::Address, "required", RELOAD, "Where packets go"),
        key(
            "port",
            Kind::Int { min: 1, max: 65_535 },
            "the VIP's port",
            RELOAD,
            "Port that packets reach it on; only the NAT modes can change it",
        ),
        key(
            "weight",
            Kind::Int { min: 0, max: 65_535 },
            "100",
            RELOAD,
            "Share of new connections relative to the others; 0 gets none",
        ),
        key(
            "connections_max",
            Kind::Int { min: 1, max: 1_000_000_000 },
            "no limit",
            RELOAD,
            "Connections that it may have open; further ones go to the next backend",
        ),
        key(
            "state",
            Kind::Word(words::<State>),
            "\"up\"",
            RELOAD,
            "What the administrator wants; `drain` keeps connections and takes no new ones",
        ),
        key(
            "role",
            Kind::Word(words::<Role>),
            "\"primary\"",
            RELOAD,
            "Who gets new connections: `backup` when no primary one can take any, `last-resort` when no backup can either, whatever its health says",
        ),
    ],
};
