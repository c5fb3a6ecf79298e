//! ICMP errors of our own: who is told what, from which address, and how often (RFC 1812 4.3.2, RFC 4443 2.4).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::At;
use super::content;
use super::echo::TTL;
use super::family::Family;
use crate::lb::packet::Packet;
use crate::lb::path_mtu::MTU_MIN_6;
use crate::lb::trace::{Step, Told, Untold};
use crate::lb::verdict::{DropReason, Verdict};
use crate::wire::ethernet::{self, EtherType, MacAddr};
use crate::wire::icmp::{self, IcmpError};
use crate::wire::icmpv6::{self, Icmpv6Error};
use crate::wire::ipv4::{self, Ipv4Repr};
use crate::wire::ipv6::{self, Ipv6Repr};
use crate::wire::parse::{Fragment, Kind, Parsed};
use crate::wire::protocol;

/// Largest error with its Ethernet header: IPv6 errors are at most 1280 bytes (RFC 4443 2.4 c).
pub(super) const FRAME_MAX: usize = 1280 + ethernet::HEADER_LEN + ethernet::TAG_LEN;

/// What a sender is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Trouble {
    /// TTL or hop limit ran out on forwarding.
    TimeExceeded,
    /// The packet does not fit; so many bytes would.
    TooBig(u16),
    /// The way to the backend is broken.
    HostUnreachable,
    /// Nobody serves what was asked for.
    PortUnreachable,
}

impl Trouble {
    fn told(self) -> Told {
        match self {
            Self::TimeExceeded => Told::TimeExceeded,
            Self::TooBig(mtu) => Told::TooBig(mtu),
            Self::HostUnreachable => Told::HostUnreachable,
            Self::PortUnreachable => Told::PortUnreachable,
        }
    }
}

/// TTL or hop limit ran out on forwarding.
#[cold]
pub(super) fn time_exceeded<P: Packet>(at: &mut At, packet: &mut P, parsed: &Parsed) -> Verdict {
    answer(at, packet, parsed, Trouble::TimeExceeded, DropReason::TtlExceeded)
}

/// The packet does not fit; `mtu` in bytes is what does. Without DF there is no error, and the packet is dropped.
#[cold]
pub(super) fn too_big<P: Packet>(at: &mut At, packet: &mut P, parsed: &Parsed, mtu: u16) -> Verdict {
    match parsed.kind {
        Kind::V4 if !parsed.df => {
            packet.note(|| Step::Trouble(Told::TooBig(mtu)));
            packet.note(|| Step::Untold(Untold::WithoutDf));
            Verdict::Drop(DropReason::TooBig)
        }
        _ => answer(at, packet, parsed, Trouble::TooBig(mtu), DropReason::TooBig),
    }
}

/// No backend takes new connections, for `reason`. The VIP stands for a host, and it is that host's port at which nobody is (RFC 1122
/// 3.2.2.1): what RFC 1812 5.2.7.1 gives to routers is about networks and hosts.
#[cold]
pub(super) fn unreachable<P: Packet>(at: &mut At, packet: &mut P, parsed: &Parsed, reason: DropReason) -> Verdict {
    answer(at, packet, parsed, Trouble::PortUnreachable, reason)
}

/// Turns a packet into the error that its sender is due, back to the host that it came from; else it is dropped for
/// `reason`.
fn answer<P: Packet>(at: &mut At, packet: &mut P, parsed: &Parsed, trouble: Trouble, reason: DropReason) -> Verdict {
    let (src, dst) = match parsed.kind {
        Kind::V4 => super::addresses::<Ipv4Addr>(parsed, packet.bytes()),
        _ => super::addresses::<Ipv6Addr>(parsed, packet.bytes()),
    };
    packet.note(|| Step::Trouble(trouble.told()));
    if !is_due(packet.bytes(), parsed) {
        packet.note(|| Step::Untold(Untold::NotDue));
        return Verdict::Drop(reason);
    }
    if let Err(untold) = may_tell(at, src) {
        packet.note(|| Step::Untold(untold));
        return Verdict::Drop(reason);
    }
    match build(at, packet, parsed, (src, dst), trouble) {
        Some(()) => Verdict::Reply(at.port),
        None => Verdict::Drop(reason),
    }
}

/// No errors about errors, redirects, later fragments, or packets for groups (RFC 1122 3.2.2, RFC 4443 2.4 e).
fn is_due(frame: &[u8], parsed: &Parsed) -> bool {
    let is_icmp_error = match (parsed.protocol, frame.get(usize::from(parsed.l4))) {
        (protocol::ICMP, Some(&kind)) => icmp::is_error(kind),
        (protocol::ICMPV6, Some(&kind)) => icmpv6::is_error(kind) || kind == icmpv6::kind::REDIRECT,
        _ => false,
    };
    let to_group = ethernet::dst(frame).is_none_or(MacAddr::is_multicast);
    !is_icmp_error && parsed.fragment != Fragment::Later && !to_group
}

/// Whether a sender can be told of anything: its address is a host's and not ours, and it is not too much in this second.
pub(super) fn may_tell(at: &mut At, sender: IpAddr) -> Result<(), Untold> {
    let is_martian = match sender {
        IpAddr::V4(a) => a.is_martian(),
        IpAddr::V6(a) => a.is_martian(),
    };
    if is_martian || at.snapshot.local(sender).is_some() {
        return Err(Untold::NoSender);
    }
    if at.shard.errors.allow(at.now) {
        return Ok(());
    }
    at.shard.counters.errors_limited.add(1);
    Err(Untold::Limited)
}

/// Builds the error's frame, back to the host that the packet came from, and makes it the packet's content.
fn build<P: Packet>(
    at: &At,
    packet: &mut P,
    parsed: &Parsed,
    (src, dst): (IpAddr, IpAddr),
    trouble: Trouble,
) -> Option<()> {
    let port = at.snapshot.port(at.port)?;
    // As much as can be quoted.
    packet.pull(FRAME_MAX);
    let old = packet.bytes();
    let quoted = old.get(usize::from(parsed.l3)..parsed.ip_end().min(old.len()))?;
    let from = match trouble {
        // It is the host who speaks here, by the address that it was asked at (RFC 1122 3.2.2, RFC 4443 2.2 a).
        Trouble::PortUnreachable => dst,
        _ => port.source_for(src).unwrap_or(dst),
    };
    let ethertype = if src.is_ipv4() { EtherType::IPV4 } else { EtherType::IPV6 };
    let mut frame = [0; FRAME_MAX];
    let l2_len = content::header(&mut frame, port, ethernet::src(old)?, ethertype)?;
    let ip_len = write(frame.get_mut(l2_len..)?, from, src, trouble, quoted)?;
    content::replace(packet, frame.get(..l2_len + ip_len)?).then_some(())
}

/// Writes the IP packet of an error about `quoted`, and returns its length in bytes; `None` unless both addresses are of
/// one family.
pub(super) fn write(buf: &mut [u8], from: IpAddr, to: IpAddr, trouble: Trouble, quoted: &[u8]) -> Option<usize> {
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => write4(buf, from, to, trouble, quoted),
        (IpAddr::V6(from), IpAddr::V6(to)) => write6(buf, from, to, trouble, quoted),
        _ => None,
    }
}

fn write4(buf: &mut [u8], src: Ipv4Addr, dst: Ipv4Addr, trouble: Trouble, quoted: &[u8]) -> Option<usize> {
    let error = match trouble {
        Trouble::TimeExceeded => IcmpError::TimeExceeded,
        Trouble::TooBig(mtu) => IcmpError::FragmentationNeeded { mtu },
        Trouble::HostUnreachable => IcmpError::Unreachable { code: icmp::code::HOST_UNREACHABLE },
        Trouble::PortUnreachable => IcmpError::Unreachable { code: icmp::code::PORT_UNREACHABLE },
    };
    let (ip, message) = buf.split_at_mut_checked(ipv4::HEADER_LEN)?;
    let len = icmp::emit_error(message, error, quoted)?;
    let header = Ipv4Repr {
        src,
        dst,
        protocol: protocol::ICMP,
        ttl: TTL,
        // RFC 1812 4.3.2.5: errors go with precedence internetwork control.
        traffic_class: 0xc0,
        id: 0,
        df: false,
        payload_len: u16::try_from(len).ok()?,
    };
    Some(header.emit(ip)? + len)
}

fn write6(buf: &mut [u8], src: Ipv6Addr, dst: Ipv6Addr, trouble: Trouble, quoted: &[u8]) -> Option<usize> {
    let error = match trouble {
        Trouble::TimeExceeded => Icmpv6Error::TimeExceeded,
        // Less would not be believed (RFC 8201 4), and does not have to be: it is for the tunnel to cope with 1280.
        Trouble::TooBig(mtu) => Icmpv6Error::PacketTooBig { mtu: mtu.max(MTU_MIN_6).into() },
        Trouble::HostUnreachable => Icmpv6Error::Unreachable { code: icmpv6::code::ADDRESS_UNREACHABLE },
        Trouble::PortUnreachable => Icmpv6Error::Unreachable { code: icmpv6::code::PORT_UNREACHABLE },
    };
    let (ip, message) = buf.split_at_mut_checked(ipv6::HEADER_LEN)?;
    let len = icmpv6::emit_error(message, src, dst, error, quoted)?;
    let header = Ipv6Repr {
        src,
        dst,
        next_header: protocol::ICMPV6,
        hop_limit: TTL,
        traffic_class: 0,
        flow_label: 0,
        payload_len: u16::try_from(len).ok()?,
    };
    Some(header.emit(ip)? + len)
}
