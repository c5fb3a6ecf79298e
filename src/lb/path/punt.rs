//! Which packets are for the host's own network stack: those to own addresses that nothing here serves.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{At, addresses, probe};
use crate::lb::ids::PortId;
use crate::lb::packet::Packet;
use crate::lb::punt::PuntClass;
use crate::lb::snapshot::{Local, Snapshot};
use crate::lb::verdict::{DropReason, Verdict};
use crate::wire::ethernet::{self, MacAddr};
use crate::wire::icmp;
use crate::wire::icmpv6;
use crate::wire::parse::{Fragment, Kind, Parsed};
use crate::wire::protocol;

/// Whether a packet that came by `port` and that nothing here claims is for the host: one to an own address, of whichever
/// port, or one to a group of routers on the link, fragments included.
#[cold]
pub(super) fn is_for_host(snapshot: &Snapshot, port: PortId, parsed: &Parsed, frame: &[u8]) -> bool {
    // A switch may send back what we sent to a group.
    if !snapshot.port(port).is_some_and(|own| own.host && ethernet::src(frame) != Some(own.mac)) {
        return false;
    }
    let (src, dst) = match parsed.kind {
        Kind::V4 => addresses::<Ipv4Addr>(parsed, frame),
        Kind::V6 => addresses::<Ipv6Addr>(parsed, frame),
        Kind::Arp => return false,
    };
    // To all hosts in Ethernet's eyes and to one in IP's, or the other way round: nobody honest sends that.
    let to_group = ethernet::dst(frame).is_none_or(MacAddr::is_multicast);
    let is_ours = if to_group { is_link_group(dst) } else { matches!(snapshot.local(dst), Some(Local::Own(_))) };
    is_ours && may_speak(src, to_group) && !tells_routes(parsed, frame)
}

/// The groups that routers of a link speak to each other in: 224.0.0.0/24 (RFC 5771 4) and ff02::/16 (RFC 4291 2.7).
fn is_link_group(dst: IpAddr) -> bool {
    match dst {
        IpAddr::V4(a) => matches!(a.octets(), [224, 0, 0, _]),
        IpAddr::V6(a) => a.segments().first() == Some(&0xff02),
    }
}

/// Whether a host may send from there. Without an address yet, it may ask groups (RFC 3376 4.2.13, RFC 3590).
fn may_speak(src: IpAddr, to_group: bool) -> bool {
    if src.is_unspecified() {
        return to_group;
    }
    let is_this_network = matches!(src, IpAddr::V4(a) if a.is_broadcast() || a.octets().first() == Some(&0));
    !src.is_multicast() && !src.is_loopback() && !is_this_network
}

/// Where the appliance's packets go is the operator's to say, not that of whoever is on the link: redirects and router
/// advertisements stay outside.
fn tells_routes(parsed: &Parsed, frame: &[u8]) -> bool {
    const V4: [u8; 3] = [icmp::kind::REDIRECT, 9, 10];
    const V6: [u8; 3] = [icmpv6::kind::ROUTER_SOLICIT, icmpv6::kind::ROUTER_ADVERT, icmpv6::kind::REDIRECT];
    let kind = frame.get(usize::from(parsed.l4)).filter(|_| parsed.fragment != Fragment::Later);
    kind.is_some_and(|kind| match parsed.protocol {
        protocol::ICMP => V4.contains(kind),
        protocol::ICMPV6 => V6.contains(kind),
        _ => false,
    })
}

/// Passes a packet to the host if it is for that, and drops it for `reason` if not.
#[cold]
pub(super) fn or_drop<P: Packet>(at: &mut At, packet: &mut P, parsed: &Parsed, reason: DropReason) -> Verdict {
    take(at, packet, parsed).unwrap_or(Verdict::Drop(reason))
}

/// The verdict of a packet that is for the host; `None`, and nothing has changed, for every other.
#[cold]
pub(super) fn take<P: Packet>(at: &mut At, packet: &mut P, parsed: &Parsed) -> Option<Verdict> {
    let frame = packet.bytes();
    if !is_for_host(at.snapshot, at.port, parsed, frame) {
        return None;
    }
    let class = class_of(parsed, frame);
    let port = at.port;
    Some(match probe::answer(at, packet, parsed) {
        Some(device) => punt(at, packet, parsed, PuntClass::Management, device),
        None => punt(at, packet, parsed, class, port),
    })
}

/// Passes an ARP or neighbour discovery message on that was taken in here already: the host's stack asks by itself, and
/// hears the answers as well.
#[cold]
pub(super) fn neighbor<P: Packet>(at: &mut At, packet: &mut P, parsed: &Parsed) -> Verdict {
    if at.snapshot.port(at.port).is_some_and(|own| own.host) {
        let port = at.port;
        punt(at, packet, parsed, PuntClass::Neighbor, port)
    } else {
        Verdict::Drop(DropReason::NeighborUpdate)
    }
}

fn class_of(parsed: &Parsed, frame: &[u8]) -> PuntClass {
    // Whose ports are elsewhere must not pass for what it is not.
    if parsed.fragment != Fragment::None {
        return PuntClass::Other;
    }
    let to_group = ethernet::dst(frame).is_none_or(MacAddr::is_multicast);
    match parsed.protocol {
        // Listener discovery; errors and echoes to groups are not for anybody.
        protocol::ICMPV6 if to_group => PuntClass::Neighbor,
        protocol => PuntClass::of(protocol, parsed.sport, parsed.dport),
    }
}

/// Passes a packet to the host's device of `port`.
fn punt<P: Packet>(at: &mut At, packet: &mut P, parsed: &Parsed, class: PuntClass, port: PortId) -> Verdict {
    if !at.shard.punts.allow(class, at.now) {
        at.shard.counters.punt_limited(class).add(1);
        return Verdict::Drop(DropReason::PuntLimited);
    }
    take_tags_off(packet, usize::from(parsed.l3));
    Verdict::Punt(port, class)
}

/// The host's end of a tagged port is an untagged device.
fn take_tags_off<P: Packet>(packet: &mut P, l3: usize) {
    const ADDRESSES: usize = 12;
    let Some(tags) = l3.checked_sub(ethernet::HEADER_LEN).filter(|&len| len > 0) else { return };
    if let Some(head) = packet.bytes_mut().get_mut(..tags + ADDRESSES) {
        head.copy_within(..ADDRESSES, tags);
        packet.shrink_front(tags);
    }
}
