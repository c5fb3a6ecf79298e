//! ICMP errors about tunnel packets of our own: how narrow the path is, and what the inner packet's sender should know
//! (RFC 2003 section 4, RFC 2473 section 8).
//!
//! Which tunnel it is makes no difference here: what comes before the inner packet is as long as the backend's prepared
//! headers are, and must be the same as far as those do not vary.

use std::net::IpAddr;

use super::At;
use super::content;
use super::egress::{self, Leaving};
use super::errors::{self, Trouble};
use super::icmp::quote;
use crate::lb::news::News;
use crate::lb::packet::Packet;
use crate::lb::path_mtu::{MTU_MIN_4, MTU_MIN_6, plateau_below};
use crate::lb::snapshot::{Backend, Snapshot};
use crate::lb::trace::Step;
use crate::lb::verdict::{DropReason, Verdict};
use crate::wire::ethernet::{self, EtherType};
use crate::wire::icmp::{self, IcmpPacket};
use crate::wire::icmpv6::{self, Icmpv6Packet};
use crate::wire::parse::{Fragment, Kind, Parsed, Quote, QuoteError, parse_quote};
use crate::wire::{ipv4, ipv6, protocol};

/// As much of an inner packet's upper layer lets its sender find the connection (RFC 792).
const L4_MIN: u16 = 8;
/// A backend may be in many services: the path is the same for all, but work on one packet is bounded.
const BACKENDS_MAX: usize = 64;

/// The verdict, if the error to `to` is about a packet that one of our tunnels carried; `None` if it is not.
pub(super) fn about_ours<P: Packet>(at: &mut At, packet: &mut P, parsed: &Parsed, to: IpAddr) -> Option<Verdict> {
    let (outer, sent) = quote(packet.bytes(), parsed).ok()?;
    let carried = Carried::of(at.snapshot, outer, &sent, to)?;
    packet.note(|| Step::AboutTunnel);
    let trouble = match told(packet.bytes(), parsed, outer, &sent) {
        Told::Nothing => return Some(Verdict::Drop(DropReason::IcmpTunnel)),
        Told::Impossible => return Some(Verdict::Drop(DropReason::IcmpMtu)),
        Told::Narrow(mtu) => {
            learn(at, outer, &sent, mtu);
            Trouble::TooBig(usable(mtu, carried.vip, carried.overhead).saturating_sub(carried.overhead))
        }
        Told::Broken => Trouble::HostUnreachable,
    };
    Some(relay(at, packet, parsed, &carried, trouble).unwrap_or(Verdict::Drop(DropReason::IcmpTunnel)))
}

/// What a router or the tunnel's other end tells.
#[derive(Clone, Copy)]
enum Told {
    /// No more than so many bytes get through.
    Narrow(u16),
    /// Something about an MTU that cannot be true.
    Impossible,
    /// Nothing gets through.
    Broken,
    /// Nothing for the inner packet's sender. It must not hear of what only we can mend: source routes, ports, fragments
    /// of outer packets (RFC 2003 section 4).
    Nothing,
}

fn told(frame: &[u8], parsed: &Parsed, outer: &[u8], sent: &Quote) -> Told {
    let message = frame.get(usize::from(parsed.l4)..).unwrap_or_default();
    match parsed.kind {
        Kind::V4 => IcmpPacket::new_checked(message).map_or(Told::Nothing, |view| told4(&view, outer, sent)),
        _ => Icmpv6Packet::new_checked(message).map_or(Told::Nothing, |view| told6(&view, sent)),
    }
}

fn told4(view: &IcmpPacket<&[u8]>, outer: &[u8], sent: &Quote) -> Told {
    use icmp::code::{FRAGMENTATION_NEEDED, PORT_UNREACHABLE, SOURCE_ROUTE_FAILED, TTL_EXCEEDED};
    use icmp::kind::{DESTINATION_UNREACHABLE, TIME_EXCEEDED};
    match (view.kind(), view.code()) {
        // Without DF a router would have made fragments.
        (DESTINATION_UNREACHABLE, FRAGMENTATION_NEEDED) if outer.get(6).is_none_or(|flags| flags & 0x40 == 0) => {
            Told::Impossible
        }
        (DESTINATION_UNREACHABLE, FRAGMENTATION_NEEDED) => match view.mtu() {
            // From a router that is older than RFC 1191, see its section 5.
            0 => narrow(plateau_below(clamp(sent.ip_len)), MTU_MIN_4, sent),
            mtu => narrow(mtu, MTU_MIN_4, sent),
        },
        // An outer header without ports is nobody's to say this of.
        (DESTINATION_UNREACHABLE, PORT_UNREACHABLE) if sent.protocol != protocol::UDP => Told::Nothing,
        (DESTINATION_UNREACHABLE, SOURCE_ROUTE_FAILED) => Told::Nothing,
        (DESTINATION_UNREACHABLE, _) | (TIME_EXCEEDED, TTL_EXCEEDED) => Told::Broken,
        _ => Told::Nothing,
    }
}

fn told6(view: &Icmpv6Packet<&[u8]>, sent: &Quote) -> Told {
    use icmpv6::code::{HOP_LIMIT_EXCEEDED, UNKNOWN_NEXT_HEADER};
    use icmpv6::kind::{DESTINATION_UNREACHABLE, PACKET_TOO_BIG, PARAMETER_PROBLEM, TIME_EXCEEDED};
    match (view.kind(), view.code()) {
        (PACKET_TOO_BIG, _) => narrow(clamp(view.mtu()), MTU_MIN_6, sent),
        (DESTINATION_UNREACHABLE, _) | (TIME_EXCEEDED, HOP_LIMIT_EXCEEDED) => Told::Broken,
        // What protocol unreachable is in IPv4: the other end does not know the tunnel.
        (PARAMETER_PROBLEM, UNKNOWN_NEXT_HEADER) => Told::Broken,
        _ => Told::Nothing,
    }
}

/// An MTU can be true if it is not below `min`, and too small for the packet quoted (RFC 5927 section 7.2).
fn narrow(mtu: u16, min: u16, sent: &Quote) -> Told {
    if mtu >= min && u32::from(mtu) < sent.ip_len { Told::Narrow(mtu) } else { Told::Impossible }
}

/// What the quoted tunnel packet carried, as far as it is quoted.
struct Carried {
    /// The family of the service.
    is_v4: bool,
    vip: IpAddr,
    /// Bytes of the tunnel's headers.
    overhead: u16,
    /// Its length in bytes.
    len: u32,
    /// Where it is in the quote.
    start: usize,
    end: usize,
    /// Its sender, if enough of it is quoted for an error about it.
    sender: Option<IpAddr>,
}

impl Carried {
    /// Believes a quote only if it is of what we may have sent: outer headers as to this backend, of a length that fits,
    /// and, as far as that is quoted, a packet for this backend's service inside.
    fn of(snapshot: &Snapshot, outer: &[u8], sent: &Quote, to: IpAddr) -> Option<Self> {
        let (src, dst) = ends(outer, sent);
        if src != to {
            return None;
        }
        snapshot.tunnels_to(dst).take(BACKENDS_MAX).find_map(|backend| Self::to(snapshot, backend, outer, sent))
    }

    fn to(snapshot: &Snapshot, backend: &Backend, outer: &[u8], sent: &Quote) -> Option<Self> {
        let (service, overhead) = (snapshot.service(backend.service)?, overhead(backend, outer, sent)?);
        let end = usize::from(sent.l4) + usize::from(sent.l4_available);
        let start = usize::from(overhead).min(end);
        let inner = outer.get(start..end)?;
        let (is_v4, vip) = (service.vip.is_ipv4(), service.vip);
        let len = sent.ip_len.checked_sub(overhead.into())?;
        if !is_start(inner, vip, len) {
            return None;
        }
        let sender = match parse_quote(inner) {
            Ok(quoted) if quoted.has_ports() => {
                let is_for_service =
                    quoted.protocol == service.protocol && service.port.is_none_or(|port| port == quoted.dport);
                let enough = quoted.l4_available >= L4_MIN;
                is_for_service.then(|| enough.then_some(ends(inner, &quoted).0))?
            }
            // An error that was passed on: no errors about errors. Or a later fragment.
            Ok(_) => None,
            // Cut too early to tell more.
            Err(QuoteError::Truncated(_) | QuoteError::L4Truncated { .. } | QuoteError::Extension(_)) => None,
            Err(_) => return None,
        };
        Some(Self { is_v4, vip, overhead, len, start, end, sender })
    }
}

/// The length of the tunnel headers, if the quote begins with those to this backend.
fn overhead(backend: &Backend, outer: &[u8], sent: &Quote) -> Option<u16> {
    let prepared = backend.outer.as_ref()?.prepared();
    // What is the same in every packet: protocol and addresses, and behind them what GRE has.
    let (ip_len, protocol_at, fixed) = match sent.kind {
        Kind::V4 => (ipv4::HEADER_LEN, 9, 12..20),
        _ => (ipv6::HEADER_LEN, 6, 8..40),
    };
    let same = |range: std::ops::Range<usize>| outer.get(range.clone()) == prepared.get(range);
    let is_same = same(0..1) || (sent.kind == Kind::V6 && outer.first()? >> 4 == 6 && prepared.first()? >> 4 == 6);
    let is_ours = is_same
        && usize::from(sent.l4) == ip_len
        && same(protocol_at..protocol_at + 1)
        && same(fixed)
        && sent.fragment == Fragment::None
        && sent.ip_len <= u32::from(backend.mtu);
    // Flags and version of GRE are zero (RFC 2784 section 2).
    let gre_is_plain = || outer.get(ip_len..).is_none_or(|gre| gre.iter().take(2).all(|&byte| byte == 0));
    let is_ours = is_ours && (sent.protocol != protocol::GRE || gre_is_plain());
    is_ours.then_some(u16::try_from(prepared.len()).ok()?)
}

/// Whether a packet of `len` bytes to `vip` can begin like this, which may be cut anywhere.
fn is_start(inner: &[u8], vip: IpAddr, len: u32) -> bool {
    let Some(first) = inner.first() else { return true };
    let word =
        |at: usize| inner.get(at..at + 2).and_then(|word| word.first_chunk()).map(|&word| u16::from_be_bytes(word));
    let (version, said, is_to_vip) = match vip {
        IpAddr::V4(vip) => (4, word(2).map(u32::from), inner.get(16..20).is_none_or(|dst| dst == vip.octets())),
        IpAddr::V6(vip) => {
            let said = word(4).map(|len| ipv6::HEADER_LEN as u32 + u32::from(len));
            (6, said, inner.get(24..40).is_none_or(|dst| dst == vip.octets()))
        }
    };
    first >> 4 == version && said.is_none_or(|said| said == len) && is_to_vip
}

/// Notes the path MTU of every backend behind the tunnel's other end.
fn learn(at: &mut At, outer: &[u8], sent: &Quote, mtu: u16) {
    let snapshot = at.snapshot;
    for backend in snapshot.tunnels_to(ends(outer, sent).1).take(BACKENDS_MAX) {
        let (Some(overhead), Some(service)) = (overhead(backend, outer, sent), snapshot.service(backend.service))
        else {
            continue;
        };
        let mtu = usable(mtu, service.vip, overhead);
        if at.shard.narrow(backend.id, mtu, at.now) {
            at.shard.tell_others(News::PathMtu(backend.id, mtu));
        }
    }
}

/// What is made of a path MTU: an IPv6 packet of 1280 bytes has to be taken by a tunnel whatever its path is like (RFC 2473
/// section 7.1).
fn usable(mtu: u16, vip: IpAddr, overhead: u16) -> u16 {
    if vip.is_ipv4() { mtu } else { mtu.max(MTU_MIN_6 + overhead) }
}

/// Turns the error into one about the inner packet, on its way to that one's sender; `None` if it is not due.
fn relay<P: Packet>(
    at: &mut At,
    packet: &mut P,
    parsed: &Parsed,
    carried: &Carried,
    trouble: Trouble,
) -> Option<Verdict> {
    let to = carried.sender?;
    let (bytes, _) = quote(packet.bytes(), parsed).ok()?;
    let inner = bytes.get(carried.start..carried.end)?;
    // What would have fitted is not told of: for IPv6 that may be less than the tunnel can carry.
    if matches!(trouble, Trouble::TooBig(mtu) if carried.len <= u32::from(mtu)) {
        return None;
    }
    let hop = at.snapshot.routes.find(to)?;
    let from = at.snapshot.port(hop.port)?.source_for(to).unwrap_or(carried.vip);
    errors::may_tell(at, to).ok()?;
    let mut frame = [0; errors::FRAME_MAX];
    let ip_len = errors::write(frame.get_mut(ethernet::HEADER_LEN..)?, from, to, trouble, inner)?;
    if !content::replace(packet, frame.get(..ethernet::HEADER_LEN + ip_len)?) {
        return Some(Verdict::Drop(DropReason::NoHeadroom));
    }
    let ethertype = if carried.is_v4 { EtherType::IPV4 } else { EtherType::IPV6 };
    let leaving = Leaving { l3: ethernet::HEADER_LEN, ethertype: ethertype.0, outer: &[] };
    Some(egress::to_hop(at, packet, hop, &leaving).0)
}

/// Source and destination of a quoted packet.
fn ends(bytes: &[u8], quoted: &Quote) -> (IpAddr, IpAddr) {
    match quoted.kind {
        Kind::V4 => {
            let tuple = quoted.five_tuple_v4(bytes);
            (tuple.src.into(), tuple.dst.into())
        }
        _ => {
            let tuple = quoted.five_tuple_v6(bytes);
            (tuple.src.into(), tuple.dst.into())
        }
    }
}

fn clamp(len: u32) -> u16 {
    u16::try_from(len).unwrap_or(u16::MAX)
}
