//! How backends are checked, as plain, validated values.

use std::fmt;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use super::authority::Authority;
use super::words::{DnsCode, DnsRecord, HealthTarget};

/// `[service.health]`: how backends are checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// What one check does.
    pub check: HealthCheck,
    /// From the start of one check to the start of the next, at the most.
    pub interval: Duration,
    /// A check that takes longer has failed; never longer than `interval`.
    pub timeout: Duration,
    /// Good checks in a row that bring a backend up.
    pub rise: u16,
    /// Failed checks in a row that take a backend down.
    pub fall: u16,
    /// Percent of `interval` by which a check may begin sooner: 0..=50.
    pub jitter_percent: u8,
    /// When fewer than so many percent of the backends that are wanted up are healthy, all serve: 0..=100.
    pub panic_threshold_percent: u8,
    /// How long the weight of a backend that comes back grows; zero for at once.
    pub slow_start: Duration,
    /// How long a backend is held down whose health changes too often, the first time; zero for never.
    pub flap_hold: Duration,
    /// The longest hold; each is twice as long as the one before.
    pub flap_hold_max: Duration,
    /// Where checks go; `None` means the port that traffic goes to.
    pub port: Option<u16>,
    /// Which address they go to, in tunnel and direct modes.
    pub target: HealthTarget,
}

/// `[service.passive]`: what connections of clients say of backends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passive {
    /// Percent of openings that are not answered or refused from which on a backend is held down: 1..=100.
    pub share_percent: u8,
    /// Openings that it takes to judge.
    pub openings: u32,
    /// How long a backend is held down, the first time.
    pub hold: Duration,
    /// The longest hold; each is twice as long as the one before.
    pub hold_max: Duration,
    /// Percent of a service's backends that may be held at a time: 0..=100.
    pub held_max_percent: u8,
}

/// What a health check does, `type` in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HealthCheck {
    /// A TCP connection opens.
    Tcp,
    /// `GET` answers as it should.
    Http(HttpCheck),
    /// A datagram is answered, or at least not refused.
    Udp(UdpCheck),
    /// A DNS query is answered as it should.
    Dns(DnsCheck),
    /// An ICMP echo is answered.
    Ping,
    /// A program ends with exit status 0; its path, and its arguments.
    Exec(Vec<String>),
}

/// `type = "http"` and `"https"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpCheck {
    /// Target of the request, beginning with `/`.
    pub path: String,
    /// `Host` header; `None` means the address and port that are checked.
    pub host: Option<String>,
    /// Good status codes.
    pub status: Statuses,
    /// What the body must contain; `None` if the body does not matter.
    pub body: Option<String>,
    /// `None` means plain HTTP.
    pub tls: Option<TlsCheck>,
}

/// What a TLS server must show.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsCheck {
    /// Server name to ask for and to find in the certificate; `None` means the name in `Host`.
    pub sni: Option<String>,
    /// Whether its certificate may be anything.
    pub is_unverified: bool,
    /// Where the trusted authorities are; `None` means those of the system.
    pub ca_file: Option<PathBuf>,
    /// What was in `ca_file`.
    pub authority: Option<Authority>,
}

/// `type = "udp"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UdpCheck {
    /// The datagram.
    pub send: Vec<u8>,
    /// What an answer must contain; `None` means that none is needed.
    pub expect: Option<Vec<u8>>,
}

/// `type = "dns"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsCheck {
    /// Name to ask for, without the dot at its end.
    pub query: String,
    /// Type of the records to ask for.
    pub record: DnsRecord,
    /// Code that the answer must have.
    pub code: DnsCode,
    /// What one record of the answer must be, in lower case where case does not matter; `None` if it does not matter.
    pub answer: Option<String>,
}

/// Good HTTP status codes: ranges inside 100..=599, at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statuses(pub Vec<RangeInclusive<u16>>);

impl Statuses {
    /// Whether `status` is one of them.
    pub fn contains(&self, status: u16) -> bool {
        self.0.iter().any(|range| range.contains(&status))
    }
}

/// As an operator says it: `200-299 or 404`.
impl fmt::Display for Statuses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, range) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { " or " };
            write!(f, "{separator}{}", range.start())?;
            if range.start() != range.end() {
                write!(f, "-{}", range.end())?;
            }
        }
        Ok(())
    }
}
