//! Health checks on their way to a VIP by one backend, and the answers on their way back to the host.
//!
//! See [`probe`](crate::lb::probe) for the addresses. No connection is entered: whose packet it is, its port number says.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::family::Family;
use super::icmp::{quote, quoted_reversed, rewrite_message};
use super::nat::{self, End};
use super::{At, Origin, flow, reasons, tunnel};
use crate::lb::clock::Now;
use crate::lb::ids::PortId;
use crate::lb::packet::Packet;
use crate::lb::probe::{host_end, stand_in};
use crate::lb::shard::Shard;
use crate::lb::snapshot::{Backend, Local, Mode, Snapshot};
use crate::lb::verdict::{DropReason, Verdict};
use crate::wire::checksum::Delta;
use crate::wire::parse::{FiveTuple, Fragment, Kind, Parsed, parse};
use crate::wire::protocol;

/// The verdict of a frame that the host sent to a stand-in address: it leaves for the VIP by the backend whose check it
/// belongs to, or waits for that one's MAC address; else it is dropped.
#[cold]
pub fn send_probe<P: Packet>(
    shard: &mut Shard,
    snapshot: &Snapshot,
    now: Now,
    port: PortId,
    packet: &mut P,
) -> Verdict {
    let parsed = match parse(packet.bytes(), packet.frame_len()) {
        Ok(parsed) => parsed,
        Err(error) => return Verdict::Drop(reasons::of(error)),
    };
    let at = &mut At { shard, snapshot, now, origin: Origin::Port, port };
    let verdict = match parsed.kind {
        Kind::V4 => send::<Ipv4Addr, P>(at, packet, &parsed),
        Kind::V6 => send::<Ipv6Addr, P>(at, packet, &parsed),
        Kind::Arp => None,
    };
    match verdict {
        // An error for its sender would have to go to the host; its kernel sends again, until the check ends.
        Some(Verdict::Reply(_)) => Verdict::Drop(DropReason::TooBig),
        Some(verdict) => verdict,
        None => Verdict::Drop(DropReason::NotOurs),
    }
}

fn send<A: Family, P: Packet>(at: &mut At, packet: &mut P, parsed: &Parsed) -> Option<Verdict> {
    if !has_ports(parsed) {
        return None;
    }
    let key = A::key(parsed, packet.bytes());
    let (snapshot, is_v4) = (at.snapshot, parsed.kind == Kind::V4);
    let backend = snapshot.backend(at.shard.probes.backend(key.sport)?)?;
    let is_known = stand_in(at.port, is_v4) == Some(key.dst.into()) && backend.hop?.port == at.port;
    if !is_known {
        return None;
    }
    let vip = snapshot.service(backend.service)?.vip;
    let own = own_address(snapshot, backend, vip)?;
    let new = FiveTuple { src: A::of(own)?, dst: A::of(vip)?, ..key };
    nat::rewrite(packet.bytes_mut(), parsed, &key, &new);
    match backend.mode {
        Mode::Gre | Mode::Ipip | Mode::Gue => Some(tunnel::send(at, packet, parsed, backend)),
        Mode::Dsr => Some(flow::direct(at, packet, parsed, backend)),
        Mode::Nat | Mode::FullNat => None,
    }
}

/// What a backend's server is to answer to: an own address on the port to it, of the VIP's family.
fn own_address(snapshot: &Snapshot, backend: &Backend, vip: IpAddr) -> Option<IpAddr> {
    let to = if backend.address.is_ipv4() == vip.is_ipv4() { backend.address } else { vip };
    snapshot.port(backend.hop?.port)?.source_for(to)
}

/// Gives a packet that answers a check, or an ICMP error about one, the addresses that the host knows it by; the port of
/// the device that it is for. `None`, and nothing has changed, for every other packet.
#[cold]
pub(super) fn answer<P: Packet>(at: &At, packet: &mut P, parsed: &Parsed) -> Option<PortId> {
    match (parsed.kind, parsed.protocol) {
        (Kind::V4, protocol::ICMP) => error::<Ipv4Addr, P>(at, packet, parsed),
        (Kind::V6, protocol::ICMPV6) => error::<Ipv6Addr, P>(at, packet, parsed),
        (Kind::V4, _) => answer_of::<Ipv4Addr, P>(at, packet, parsed),
        (Kind::V6, _) => answer_of::<Ipv6Addr, P>(at, packet, parsed),
        (Kind::Arp, _) => None,
    }
}

fn answer_of<A: Family, P: Packet>(at: &At, packet: &mut P, parsed: &Parsed) -> Option<PortId> {
    if !has_ports(parsed) {
        return None;
    }
    let key = A::key(parsed, packet.bytes());
    let port = checked(at, key.dst.into(), key.dport, key.src.into())?;
    let new = FiveTuple { src: of_host::<A>(stand_in, port)?, dst: of_host::<A>(host_end, port)?, ..key };
    nat::rewrite(packet.bytes_mut(), parsed, &key, &new);
    put_mac(at, packet, port)?;
    Some(port)
}

/// A server's kernel says, for example, that nobody takes the datagram: the host's looks for the packet in the quote.
fn error<A: Family, P: Packet>(at: &At, packet: &mut P, parsed: &Parsed) -> Option<PortId> {
    if parsed.fragment != Fragment::None {
        return None;
    }
    let (vip, own, vport, number, _) = quoted_reversed(parsed, packet.bytes())?;
    let port = checked(at, own, number, vip)?;
    let (_, quoted) = quote(packet.bytes(), parsed).ok()?;
    let (own, vip) = (A::of(own)?, A::of(vip)?);
    let (end, target) = (of_host::<A>(host_end, port)?, of_host::<A>(stand_in, port)?);
    let frame = packet.bytes_mut();
    rewrite_message(frame, parsed, &quoted, End::Src, (own, number), (end, number), Delta::default());
    rewrite_message(frame, parsed, &quoted, End::Dst, (vip, vport), (target, vport), Delta::default());
    put_mac(at, packet, port)?;
    Some(port)
}

/// The port by which the check went out that used `own` and `number` towards `vip`, if there is one.
fn checked(at: &At, own: IpAddr, number: u16, vip: IpAddr) -> Option<PortId> {
    let backend = at.snapshot.backend(at.shard.probes.backend(number)?)?;
    let is_its_vip = at.snapshot.service(backend.service)?.vip == vip;
    let is_own = matches!(at.snapshot.local(own), Some(Local::Own(_)));
    (is_its_vip && is_own).then_some(backend.hop?.port)
}

fn of_host<A: Family>(address: impl Fn(PortId, bool) -> Option<IpAddr>, port: PortId) -> Option<A> {
    A::of(address(port, A::LEN == 4)?)
}

/// The host's device takes frames to its own MAC address, by whichever port they came.
fn put_mac<P: Packet>(at: &At, packet: &mut P, port: PortId) -> Option<()> {
    let mac = at.snapshot.port(port)?.mac;
    *packet.bytes_mut().first_chunk_mut()? = mac.0;
    Some(())
}

fn has_ports(parsed: &Parsed) -> bool {
    matches!(parsed.protocol, protocol::TCP | protocol::UDP) && parsed.fragment == Fragment::None
}
