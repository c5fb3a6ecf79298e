//! ARP and neighbour discovery: answers for our addresses and VIPs, questions for next hops, announcements.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::At;
use super::content;
use super::icmp::answers_for;
use super::punt;
use crate::lb::ids::PortId;
use crate::lb::neighbor::Learned;
use crate::lb::packet::Packet;
use crate::lb::shard::{Outgoing, OutgoingFrame};
use crate::lb::snapshot::{Local, Port, Snapshot};
use crate::lb::verdict::{DropReason, Verdict};
use crate::wire::arp::{self, Arp};
use crate::wire::ethernet::{EtherType, MacAddr};
use crate::wire::icmpv6::{NeighborAdvert, NeighborSolicit, solicited_node};
use crate::wire::ipv6::Ipv6Repr;
use crate::wire::parse::Parsed;
use crate::wire::protocol;

/// RFC 4861 11.2: neighbour discovery is never forwarded.
const HOP_LIMIT: u8 = 255;

/// The verdict of an ARP message (RFC 826).
pub(super) fn arp<P: Packet>(at: &mut At, packet: &mut P, parsed: &Parsed) -> Verdict {
    let message = packet.bytes().get(usize::from(parsed.l3)..).map(Arp::parse);
    let (Some(Ok(message)), Some(port)) = (message, at.snapshot.port(at.port)) else {
        return Verdict::Drop(DropReason::NeighborInvalid);
    };
    if !message.sha.is_unicast() || message.sha == port.mac {
        return Verdict::Drop(DropReason::NeighborInvalid);
    }
    if answers_for(at, message.spa.into()) {
        return conflict(at, message.spa.into());
    }
    if message.is_gratuitous() {
        learn(at, message.spa.into(), message.sha, false);
        return punt::neighbor(at, packet, parsed);
    }
    let to_us = answers_for(at, message.tpa.into());
    let to_own = to_us && is_own(at, message.tpa.into());
    let asks = message.operation == Arp::REQUEST;
    // RFC 826: who asks us will be spoken to; everybody else's answers matter only where we asked.
    let create = to_us && asks && port.is_on_link(message.spa.into());
    if !message.spa.is_unspecified() {
        learn(at, message.spa.into(), message.sha, create);
    }
    if !asks {
        return if to_own { punt::neighbor(at, packet, parsed) } else { Verdict::Drop(DropReason::NeighborUpdate) };
    }
    if !to_us {
        return Verdict::Drop(DropReason::NotOurs);
    }
    let mut frame = [0; OutgoingFrame::MAX];
    let built = content::header(&mut frame, port, message.sha, EtherType::ARP)
        .and_then(|l2_len| Some(l2_len + message.reply(port.mac).emit(frame.get_mut(l2_len..)?)?));
    answer(at, packet, built.and_then(|len| frame.get(..len)))
}

/// The verdict of a neighbour solicitation (RFC 4861 7.2.3, 7.2.4).
pub(super) fn solicited<P: Packet>(
    at: &mut At,
    packet: &mut P,
    parsed: &Parsed,
    src: Ipv6Addr,
    dst: Ipv6Addr,
) -> Verdict {
    let message = packet.bytes().get(usize::from(parsed.l4)..parsed.ip_end());
    let message = message.map(|m| NeighborSolicit::parse(m, src, dst, parsed.ttl));
    let (Some(Ok(message)), Some(port)) = (message, at.snapshot.port(at.port)) else {
        return Verdict::Drop(DropReason::NeighborInvalid);
    };
    if src.is_multicast() || is_own_echo(packet, port) {
        return Verdict::Drop(DropReason::NeighborInvalid);
    }
    if answers_for(at, src.into()) {
        return conflict(at, src.into());
    }
    if !answers_for(at, message.target.into()) {
        return Verdict::Drop(DropReason::NotOurs);
    }
    let to_mac = match message.source_link {
        Some(mac) if mac.is_unicast() => {
            learn(at, src.into(), mac, port.is_on_link(src.into()));
            mac
        }
        _ => crate::wire::ethernet::src(packet.bytes()).unwrap_or_default(),
    };
    let (reply, to) = message.reply(src, port.mac);
    let to_mac = if to.is_multicast() { MacAddr::ipv6_multicast(to) } else { to_mac };
    let mut frame = [0; OutgoingFrame::MAX];
    let len = discovery(&mut frame, port, to_mac, message.target, to, |buf| reply.emit(buf, message.target, to));
    answer(at, packet, len.and_then(|len| frame.get(..len)))
}

/// The verdict of a neighbour advertisement (RFC 4861 7.2.5).
pub(super) fn advertised<P: Packet>(
    at: &mut At,
    packet: &mut P,
    parsed: &Parsed,
    src: Ipv6Addr,
    dst: Ipv6Addr,
) -> Verdict {
    let message = packet.bytes().get(usize::from(parsed.l4)..parsed.ip_end());
    let message = message.map(|m| NeighborAdvert::parse(m, src, dst, parsed.ttl));
    let (Some(Ok(message)), Some(port)) = (message, at.snapshot.port(at.port)) else {
        return Verdict::Drop(DropReason::NeighborInvalid);
    };
    if is_own_echo(packet, port) {
        return Verdict::Drop(DropReason::NeighborInvalid);
    }
    if answers_for(at, message.target.into()) {
        return conflict(at, message.target.into());
    }
    let mac = message.target_link.or_else(|| crate::wire::ethernet::src(packet.bytes()));
    // Without the override flag another MAC address does not replace a known one (RFC 4861 7.2.5).
    let known = at.shard.neighbors.find(at.port, message.target.into()).and_then(|n| at.shard.neighbors.mac(n));
    let mac = mac.filter(|&mac| mac.is_unicast() && (message.replace || known.is_none_or(|k| k == mac)));
    if let Some(mac) = mac {
        learn(at, message.target.into(), mac, false);
    }
    // What is said to all is heard there as well.
    if dst.is_multicast() || is_own(at, dst.into()) {
        return punt::neighbor(at, packet, parsed);
    }
    Verdict::Drop(DropReason::NeighborUpdate)
}

/// Whether an address is a port's, and not a VIP.
fn is_own(at: &At, addr: IpAddr) -> bool {
    matches!(at.snapshot.local(addr), Some(Local::Own(_)))
}

/// Whether a frame is one of ours that a switch sent back: taken for a conflict it would be answered for ever.
fn is_own_echo<P: Packet>(packet: &P, port: &Port) -> bool {
    crate::wire::ethernet::src(packet.bytes()) == Some(port.mac)
}

fn learn(at: &mut At, addr: IpAddr, mac: MacAddr, create: bool) {
    let learned = Learned { port: at.port, addr, mac };
    if let Some(slot) = at.shard.neighbors.learn(learned, create, at.now) {
        at.shard.settle(slot);
    }
    at.shard.tell_others(learned.into());
}

/// Somebody else has an address of ours: RFC 5227 2.4 (b), defend it with one announcement, seldom, because the other
/// may do the same. A VIP that is not of the link is shared by a group of balancers where routers spread it, and each
/// announces it when it starts: that is seen, and not answered.
fn conflict(at: &mut At, addr: IpAddr) -> Verdict {
    if let Some(port) = at.snapshot.port(at.port)
        && port.is_on_link(addr)
        && at.shard.defence.allow(at.now)
        && let Some(frame) = announcement(port, addr)
    {
        let port = at.port;
        at.shard.originate(Outgoing { port, frame });
    }
    Verdict::Drop(DropReason::AddressConflict)
}

fn answer<P: Packet>(at: &At, packet: &mut P, frame: Option<&[u8]>) -> Verdict {
    match frame {
        Some(frame) if content::replace(packet, frame) => Verdict::Reply(at.port),
        _ => Verdict::Drop(DropReason::NoHeadroom),
    }
}

/// A question for the MAC address of `addr`, to `mac` if it is only to be confirmed; `None` if the port has no address
/// to ask from.
pub fn solicit(snapshot: &Snapshot, id: PortId, addr: IpAddr, mac: Option<MacAddr>) -> Option<Outgoing> {
    let port = snapshot.port(id)?;
    let frame = match addr {
        IpAddr::V4(target) => {
            // A port without an address asks as RFC 5227 2.1.1 does, so that nobody learns a wrong one.
            let source = port.source_for(addr).and_then(v4).unwrap_or(Ipv4Addr::UNSPECIFIED);
            OutgoingFrame::build(|buf| {
                let l2_len = content::header(buf, port, mac.unwrap_or(MacAddr::BROADCAST), EtherType::ARP)?;
                Some(l2_len + Arp::request(port.mac, source, target).emit(buf.get_mut(l2_len..)?)?)
            })
        }
        IpAddr::V6(target) => {
            let source = v6(port.source_for(addr)?)?;
            let to = if mac.is_some() { target } else { solicited_node(target) };
            let to_mac = mac.unwrap_or(MacAddr::ipv6_multicast(to));
            let question = NeighborSolicit { target, source_link: Some(port.mac) };
            OutgoingFrame::build(|buf| discovery(buf, port, to_mac, source, to, |m| question.emit(m, source, to)))
        }
    };
    Some(Outgoing { port: id, frame: frame? })
}

/// Gratuitous ARP and unsolicited advertisements for every own address and VIP, so that switches and neighbours send
/// here at once (RFC 5227 3, RFC 4861 7.2.6). A VIP is announced on the ports whose networks hold it. One that is in
/// no port's network is announced on all: a router may have it as a host route on any link, and we answer for it there.
pub fn announcements(snapshot: &Snapshot, previous: Option<&Snapshot>) -> Vec<Outgoing> {
    let mut out = Vec::new();
    let vips = snapshot.new_vips(previous);
    for (id, port) in snapshot.ports() {
        // Its own addresses are announced at the start alone.
        let own = port.addresses.iter().map(|&(a, _)| a).filter(|_| previous.is_none());
        let near = vips.iter().copied().filter(|&vip| port.is_on_link(vip) || !snapshot.is_on_link(vip));
        out.extend(own.chain(near).filter_map(|addr| Some(Outgoing { port: id, frame: announcement(port, addr)? })));
    }
    out
}

fn announcement(port: &Port, addr: IpAddr) -> Option<OutgoingFrame> {
    match addr {
        IpAddr::V4(addr) => OutgoingFrame::build(|buf| {
            let l2_len = content::header(buf, port, MacAddr::BROADCAST, EtherType::ARP)?;
            Some(l2_len + Arp::request(port.mac, addr, addr).emit(buf.get_mut(l2_len..)?)?)
        }),
        IpAddr::V6(addr) => {
            let to = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
            let message = NeighborAdvert::announce(addr, port.mac);
            let to_mac = MacAddr::ipv6_multicast(to);
            OutgoingFrame::build(|buf| discovery(buf, port, to_mac, addr, to, |m| message.emit(m, addr, to)))
        }
    }
}

/// A frame with a neighbour discovery message.
fn discovery(
    buf: &mut [u8],
    port: &Port,
    to_mac: MacAddr,
    src: Ipv6Addr,
    dst: Ipv6Addr,
    message: impl FnOnce(&mut [u8]) -> Option<usize>,
) -> Option<usize> {
    let l2_len = content::header(buf, port, to_mac, EtherType::IPV6)?;
    let (ip, rest) = buf.get_mut(l2_len..)?.split_at_mut_checked(crate::wire::ipv6::HEADER_LEN)?;
    let len = message(rest)?;
    let header = Ipv6Repr {
        src,
        dst,
        next_header: protocol::ICMPV6,
        hop_limit: HOP_LIMIT,
        traffic_class: 0,
        flow_label: 0,
        payload_len: u16::try_from(len).ok()?,
    };
    Some(l2_len + header.emit(ip)? + len)
}

fn v4(addr: IpAddr) -> Option<Ipv4Addr> {
    match addr {
        IpAddr::V4(a) => Some(a),
        IpAddr::V6(_) => None,
    }
}

fn v6(addr: IpAddr) -> Option<Ipv6Addr> {
    match addr {
        IpAddr::V6(a) => Some(a),
        IpAddr::V4(_) => None,
    }
}

const _: () = assert!(arp::LEN + 18 <= OutgoingFrame::MAX);
