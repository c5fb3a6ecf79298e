//! The packet path's decisions in words.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::fields::{mac, protocol_name};
use crate::lb::connection::Direction;
use crate::lb::ids::{BackendId, PortId, ServiceId};
use crate::lb::snapshot::{Backend, ClientAddress, Service, Snapshot};
use crate::lb::trace::{Beginning, Step, Told, Untold};
use crate::lb::verdict::Verdict;
use crate::wire::parse::{Fragment, Kind, Parsed};
use crate::wire::protocol;

/// One decision.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Line {
    /// What it was about, in a word or two.
    pub what: String,
    /// What was decided, and by what.
    pub text: String,
}

/// What is known of a backend beside the snapshot: its state and the reason for it, by service and name.
pub(super) type States<'a> = &'a dyn Fn(&str, &str) -> Option<String>;

/// What words are made of.
pub(super) struct Words<'a> {
    pub snapshot: &'a Snapshot,
    pub states: States<'a>,
}

impl Words<'_> {
    /// A decision in words; `None` for one that another line says.
    pub(super) fn line(&self, step: &Step) -> Option<Line> {
        let (what, text) = match *step {
            Step::Worker(worker) if self.snapshot.workers > 1 => ("worker", format!("worker {} looks at it", worker.0)),
            Step::Worker(_) => return None,
            Step::Malformed(error) => ("parse", error.to_string()),
            Step::Parsed(parsed) => ("parse", headers(&parsed)),
            Step::Vlan { found, port } => ("vlan", vlan(found, port)),
            Step::Mac { found, port } => ("mac", format!("to {found}, and the port is {port}")),
            Step::TunnelOff => ("tunnel", "the outer tier's tunnel is taken off; what is inside goes on".to_owned()),
            Step::Fragment { home } => ("fragment", format!("its datagram's fragments meet at worker {}", home.0)),
            Step::FragmentPorts { sport, dport } => {
                ("fragment", format!("of a datagram from port {sport} to port {dport}, as its first fragment says"))
            }
            Step::Quoted { src, dst, protocol } => {
                ("icmp", format!("an error about {} {dst} > {src}", protocol_name(protocol)))
            }
            Step::AboutTunnel => ("icmp", "an error about a tunnel packet of ours".to_owned()),
            Step::Connection { .. }
            | Step::BackendGone(_)
            | Step::Reopened
            | Step::Phase { .. }
            | Step::NoConnection
            | Step::Opened(_)
            | Step::Stateless(_)
            | Step::Begins(_) => return self.connection(step),
            Step::Service(id) => ("service", self.service(id)),
            Step::ByHash { hash, slot, backend } => ("scheduler", self.by_hash(hash, slot, backend)),
            Step::ByScheduler(backend) => ("scheduler", self.by_scheduler(backend)),
            Step::ByClient { backend, taken } => {
                let goes = if taken { "gets this connection as well" } else { "does not take new connections now" };
                ("persistence", format!("the client had {} last, which {goes}", self.name(backend)))
            }
            Step::LocalEnd(end) => ("local end", format!("the backend will see the connection come from {end}")),
            Step::To { backend, mode } => ("backend", format!("{}, by {}", self.backend(backend), mode.label())),
            Step::ToClient(client) => ("client", format!("a reply, to {client}")),
            Step::Crosses => ("ip version", "translated between IPv4 and IPv6".to_owned()),
            Step::Tells(ClientAddress::ProxyV2) => ("client", "the backend is told by a PROXY header".to_owned()),
            Step::Tells(ClientAddress::Toa) => ("client", "the backend is told by a TCP option".to_owned()),
            Step::Tells(ClientAddress::None) => return None,
            Step::Fits { len, mtu } if len > usize::from(mtu) => {
                ("mtu", format!("{len} bytes, and {mtu} fit: too long"))
            }
            Step::Fits { len, mtu } => ("mtu", format!("{len} bytes of the {mtu} that fit")),
            Step::Pieces => ("mtu", "may be sent in pieces".to_owned()),
            Step::Hop { port, next, mac: address } => {
                ("next hop", format!("{next} by port {}, MAC address {}", self.port(port), mac(address)))
            }
            Step::Trouble(told) => ("answer", told_in_words(told)),
            Step::Untold(untold) => ("answer", untold_in_words(untold).to_owned()),
            Step::Verdict(Verdict::Handoff(worker)) => {
                ("worker", format!("handed over to worker {}, whose connection it is", worker.0))
            }
            Step::Verdict(_) => return None,
        };
        Some(Line { what: what.to_owned(), text })
    }

    /// What is said of the connection table.
    fn connection(&self, step: &Step) -> Option<Line> {
        let text = match *step {
            Step::Connection { backend, direction, phase, left_s } => {
                let way = if direction == Direction::Reply { "replies" } else { "requests" };
                let (phase, name) = (phase.label(), self.name(backend));
                format!("one knows its {way}: state {phase}, backend {name}, {left_s} s until it would end")
            }
            Step::BackendGone(_) => "over, because its backend is gone or down".to_owned(),
            Step::Reopened => "over: it was closing, and a SYN opens a new one at once".to_owned(),
            Step::Phase { from, to } => format!("its state goes from {} to {}", from.label(), to.label()),
            Step::NoConnection => "none knows it".to_owned(),
            Step::Opened(phase) => format!("entered into the table, state {}", phase.label()),
            Step::Stateless(None) => "none is opened for such a packet: it goes by the hash alone".to_owned(),
            Step::Stateless(Some(reason)) => format!("not entered ({}): it goes by the hash alone", reason.label()),
            Step::Begins(Some(beginning)) => match beginning {
                Beginning::Syn => "a SYN opens one".to_owned(),
                Beginning::Adopted => "in the middle of one that another node may have had: taken over".to_owned(),
                Beginning::Udp => "a first datagram opens one".to_owned(),
                Beginning::Echo => "a ping opens one".to_owned(),
            },
            _ => return None,
        };
        Some(Line { what: "connection".to_owned(), text })
    }

    fn service(&self, id: ServiceId) -> String {
        let Some(service) = self.snapshot.service(id) else { return "gone".to_owned() };
        let port = service.port.map_or_else(|| "*".to_owned(), |port| port.to_string());
        let vip = if service.vip.is_ipv6() { format!("[{}]", service.vip) } else { service.vip.to_string() };
        let (mode, scheduler) = (service.mode.label(), service.scheduler().label());
        format!(
            "{}: {} {vip}:{port}, mode {mode}, scheduler {scheduler}",
            service.name,
            protocol_name(service.protocol)
        )
    }

    fn by_hash(&self, hash: u64, slot: usize, backend: Option<BackendId>) -> String {
        match backend {
            Some(backend) => {
                let of = self.service_of(backend).map_or(0, |service| service.slots().count());
                format!("hash {hash:016x} falls into slot {slot} of {of}: {}", self.name(backend))
            }
            None => "no backend takes new connections".to_owned(),
        }
    }

    fn by_scheduler(&self, backend: Option<BackendId>) -> String {
        match backend {
            Some(backend) => {
                let scheduler = self.service_of(backend).map_or("", |service| service.scheduler().label());
                format!("{scheduler}: {}", self.name(backend))
            }
            None => "no backend takes new connections".to_owned(),
        }
    }

    fn service_of(&self, backend: BackendId) -> Option<&Service> {
        self.snapshot.service(self.snapshot.backend(backend)?.service)
    }

    /// `service/backend`.
    pub(super) fn name(&self, id: BackendId) -> String {
        let backend = self.snapshot.backend(id);
        let service = self.service_of(id);
        match backend.zip(service) {
            Some((backend, service)) => format!("{}/{}", service.name, backend.name),
            None => "a backend that is gone".to_owned(),
        }
    }

    fn backend(&self, id: BackendId) -> String {
        let Some(backend) = self.snapshot.backend(id) else { return self.name(id) };
        let port = if backend.port == 0 { String::new() } else { format!(" port {}", backend.port) };
        let service = self.service_of(id).map(|service| &*service.name).unwrap_or_default();
        let state = (self.states)(service, &backend.name).unwrap_or_else(|| state(backend).to_owned());
        format!("{} at {}{port}, {state}", self.name(id), backend.address)
    }

    /// A port's name.
    pub(super) fn port(&self, id: PortId) -> String {
        self.snapshot.port(id).map_or_else(|| id.0.to_string(), |port| port.name.to_string())
    }
}

fn state(backend: &Backend) -> &'static str {
    match (backend.serves, backend.admits) {
        (true, true) => "up",
        (true, false) => "takes no new connections",
        (false, _) => "down",
    }
}

/// What was read of a packet's headers.
fn headers(parsed: &Parsed) -> String {
    let (version, hops) = match parsed.kind {
        Kind::Arp => return "ARP".to_owned(),
        Kind::V4 => ("IPv4", "TTL"),
        Kind::V6 => ("IPv6", "hop limit"),
    };
    let vlan = if parsed.tags == 0 { String::new() } else { format!("VLAN {}, ", parsed.vlan) };
    let fragment = match parsed.fragment {
        Fragment::None => String::new(),
        Fragment::First => format!(", first fragment of datagram {}", parsed.fragment_id),
        Fragment::Later => format!(", fragment of datagram {} at {}", parsed.fragment_id, parsed.fragment_offset),
    };
    let ports = match parsed.protocol {
        protocol::TCP | protocol::UDP if parsed.fragment != Fragment::Later => {
            format!(", port {} to port {}", parsed.sport, parsed.dport)
        }
        _ => String::new(),
    };
    let df = if parsed.kind == Kind::V4 && parsed.df { ", DF" } else { "" };
    let protocol = protocol_name(parsed.protocol);
    format!("{vlan}{version}, {} bytes, {hops} {}{df}{fragment}, {protocol}{ports}", parsed.ip_len, parsed.ttl)
}

fn vlan(found: u16, port: Option<u16>) -> String {
    let of = |vlan: Option<u16>| vlan.map_or_else(|| "untagged".to_owned(), |vlan| format!("of VLAN {vlan}"));
    format!("the frame is {}, and the port is {}", of(Some(found).filter(|&vlan| vlan != 0)), of(port))
}

fn told_in_words(told: Told) -> String {
    match told {
        Told::TimeExceeded => "its sender is due an ICMP error: time exceeded".to_owned(),
        Told::TooBig(mtu) => format!("its sender is due an ICMP error: too big, {mtu} bytes would fit"),
        Told::HostUnreachable => "its sender is due an ICMP error: host unreachable".to_owned(),
        Told::PortUnreachable => "its sender is due an ICMP error: port unreachable".to_owned(),
        Told::Reset => "its sender is due a RST".to_owned(),
    }
}

fn untold_in_words(untold: Untold) -> &'static str {
    match untold {
        Untold::NotDue => "none is sent: it is an error itself, a later fragment, or went to a group",
        Untold::NoSender => "none is sent: its source is nobody's address, or ours",
        Untold::Limited => "none is sent: too many in this second",
        Untold::WithoutDf => "none is sent: IPv4 without DF",
    }
}
