//! The words that the configuration chooses from, and which of them this version can do.

use std::fmt;

pub use crate::lb::scheduler::Kind as Scheduler;

/// An enum that is written as one of a few words.
pub trait Word: Sized + Copy + PartialEq + 'static {
    /// Every word with its value, in the order of the documentation.
    const WORDS: &'static [(&'static str, Self)];
    /// What this version can do; the other words are known, and refused.
    const SUPPORTED: &'static [Self];

    /// The word of this value.
    fn word(self) -> &'static str {
        Self::WORDS.iter().find(|(_, value)| *value == self).map_or("", |(word, _)| word)
    }
}

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$value_doc:meta])* $value:ident = $word:literal,)+ } supported: $($ok:ident)+) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name { $($(#[$value_doc])* $value,)+ }

        impl Word for $name {
            const WORDS: &'static [(&'static str, Self)] = &[$(($word, Self::$value)),+];
            const SUPPORTED: &'static [Self] = &[$(Self::$ok),+];
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.word())
            }
        }
    };
}

words! {
    /// What clients speak.
    Protocol {
        /// RFC 9293.
        Tcp = "tcp",
        /// RFC 768.
        Udp = "udp",
    }
    supported: Tcp Udp
}

words! {
    /// How a packet gets to its backend.
    Mode {
        /// The destination is rewritten; replies come back through the balancer.
        Nat = "nat",
        /// Source and destination are rewritten.
        FullNat = "full-nat",
        /// Wrapped in GRE (RFC 2784); the backend answers the client directly.
        Gre = "gre",
        /// Wrapped in IP (RFC 2003, RFC 2473); the backend answers directly.
        Ipip = "ipip",
        /// Wrapped in UDP; the backend answers directly.
        Gue = "gue",
        /// Only the destination MAC address changes; the backend is on-link and answers directly.
        Dsr = "dsr",
    }
    supported: Nat FullNat Gre Ipip Gue Dsr
}

impl Mode {
    /// Whether the packet is wrapped in an outer IP header.
    pub fn is_tunnel(self) -> bool {
        matches!(self, Self::Gre | Self::Ipip | Self::Gue)
    }

    /// Whether addresses of the packet are rewritten.
    pub fn is_nat(self) -> bool {
        matches!(self, Self::Nat | Self::FullNat)
    }
}

words! {
    /// Where health checks go in the modes in which backends have the VIP.
    HealthTarget {
        /// To the VIP, by the backend's tunnel, where the host path leads there; else to the backend's own address.
        Auto = "auto",
        /// To the VIP, or nowhere.
        Vip = "vip",
        /// To the backend's own address.
        Address = "address",
    }
    supported: Auto Vip Address
}

words! {
    /// How the client's address reaches a backend that sees another source.
    ClientAddress {
        /// Not at all.
        None = "none",
        /// In a PROXY protocol header, version 2, before the client's first byte.
        ProxyV2 = "proxy-v2",
        /// In the TCP option that TOA modules read.
        Toa = "toa",
    }
    supported: None ProxyV2 Toa
}

words! {
    /// Who answers pings of a VIP.
    Echo {
        /// The balancer.
        Answer = "answer",
        /// A backend, through NAT.
        Backend = "backend",
    }
    supported: Answer Backend
}

words! {
    /// What becomes of packets that do not fit the way to their backend (RFC 4459).
    MtuPolicy {
        /// The sender is told; packets without DF are sent in pieces.
        Signal = "signal",
        /// All are sent in pieces.
        Fragment = "fragment",
        /// As `signal`, and SYNs announce segments that fit.
        Clamp = "clamp",
    }
    supported: Signal Fragment Clamp
}

impl Word for Scheduler {
    const WORDS: &'static [(&'static str, Self)] = Self::WORDS;
    const SUPPORTED: &'static [Self] = Self::ALL;
}

impl fmt::Display for Scheduler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.label())
    }
}

words! {
    /// What the administrator wants of a backend.
    State {
        /// Takes connections while it is healthy.
        Up = "up",
        /// No new connections, old ones stay.
        Drain = "drain",
        /// Nothing is sent to it.
        Down = "down",
    }
    supported: Up Drain Down
}

words! {
    /// Which backends get new connections first.
    Role {
        /// Always.
        Primary = "primary",
        /// When no primary one can take any.
        Backup = "backup",
        /// When nobody else can, whatever its health says.
        LastResort = "last-resort",
    }
    supported: Primary Backup LastResort
}

words! {
    /// What becomes of the last connections of a backend that has drained for long enough.
    DrainAction {
        /// Their packets make no connection any more.
        Close = "close",
        /// They stay.
        Leave = "leave",
    }
    supported: Close Leave
}

words! {
    /// What becomes of the connections of a backend that a reload removes.
    OnRemove {
        /// They end at once.
        Close = "close",
        /// They stay until they end by themselves, or until the drain's time is over.
        Drain = "drain",
    }
    supported: Close Drain
}

words! {
    /// What a worker does while there is no traffic.
    Idle {
        /// Polls, and sleeps for microseconds after a while without a packet.
        Auto = "auto",
        /// Polls always: the lowest latency, a whole core.
        Spin = "spin",
        /// Sleeps early: the least power, more latency.
        Sleep = "sleep",
    }
    supported: Auto Spin Sleep
}

words! {
    /// How the packets of a port are spread over the workers.
    Spread {
        /// By the device where it tells how it does that (RSS), else in software.
        Auto = "auto",
        /// By the device, which keeps the packets of a connection on one queue, even if it does not tell how.
        Queues = "queues",
    }
    supported: Auto Queues
}

words! {
    /// Whether the host's network stack gets what is for own addresses of a port and not served.
    HostPath {
        /// Where that can be and disturbs nothing.
        Auto = "auto",
        /// Yes, or there is no start.
        On = "on",
        /// No.
        Off = "off",
    }
    supported: Auto On Off
}

words! {
    /// What a health check does.
    HealthType {
        /// A TCP connection opens.
        Tcp = "tcp",
        /// An HTTP request gets a good status.
        Http = "http",
        /// As `http`, over TLS.
        Https = "https",
        /// A datagram is answered.
        Udp = "udp",
        /// A DNS query is answered.
        Dns = "dns",
        /// An ICMP echo is answered.
        Ping = "ping",
        /// A program ends well.
        Exec = "exec",
    }
    supported: Tcp Http Https Udp Dns Ping Exec
}

words! {
    /// Types of DNS records that a check can ask for (RFC 1035, RFC 2782, RFC 3596).
    DnsRecord {
        /// IPv4 address.
        A = "A",
        /// IPv6 address.
        Aaaa = "AAAA",
        /// Other name of.
        Cname = "CNAME",
        /// Mail server.
        Mx = "MX",
        /// Name server.
        Ns = "NS",
        /// Name of an address.
        Ptr = "PTR",
        /// Start of a zone.
        Soa = "SOA",
        /// Place of a service.
        Srv = "SRV",
        /// Text.
        Txt = "TXT",
    }
    supported: A Aaaa Cname Mx Ns Ptr Soa Srv Txt
}

words! {
    /// Response codes of DNS (RFC 1035 section 4.1.1).
    DnsCode {
        /// The name exists.
        NoError = "noerror",
        /// The query was not understood.
        FormErr = "formerr",
        /// The server could not answer.
        ServFail = "servfail",
        /// There is no such name.
        NxDomain = "nxdomain",
        /// The server does not do that.
        NotImp = "notimp",
        /// The server does not want to.
        Refused = "refused",
    }
    supported: NoError FormErr ServFail NxDomain NotImp Refused
}

impl DnsRecord {
    /// Its number on the wire.
    pub fn number(self) -> u16 {
        match self {
            Self::A => 1,
            Self::Ns => 2,
            Self::Cname => 5,
            Self::Soa => 6,
            Self::Ptr => 12,
            Self::Mx => 15,
            Self::Txt => 16,
            Self::Aaaa => 28,
            Self::Srv => 33,
        }
    }
}

impl DnsCode {
    /// Its number on the wire.
    pub fn number(self) -> u8 {
        self as u8
    }

    /// The code of a number; `None` for one without a name here.
    pub fn of_number(number: u8) -> Option<Self> {
        Self::WORDS.iter().map(|(_, code)| *code).find(|code| code.number() == number)
    }
}
