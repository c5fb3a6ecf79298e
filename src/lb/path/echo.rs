//! Answers echo requests to VIPs and own addresses (RFC 792, RFC 4443 4.2).

use super::At;
use super::content;
use crate::lb::packet::Packet;
use crate::lb::verdict::{DropReason, Verdict};
use crate::wire::icmp::IcmpPacket;
use crate::wire::icmpv6::Icmpv6Packet;
use crate::wire::ipv4::Ipv4Packet;
use crate::wire::ipv6::Ipv6Packet;
use crate::wire::parse::Parsed;

/// TTL and hop limit of what we send.
pub(super) const TTL: u8 = 64;

/// Turns the request into the reply, payload kept.
pub(super) fn v4<P: Packet>(at: &mut At, packet: &mut P, parsed: &Parsed) -> Verdict {
    if !at.shard.echo.allow(at.now) {
        return Verdict::Drop(DropReason::EchoLimited);
    }
    let done = rewrite(at, packet, parsed, |ip, message| {
        let mut ip = Ipv4Packet::new_checked(ip).ok()?;
        let (src, dst) = (ip.src(), ip.dst());
        ip.set_src(dst);
        ip.set_dst(src);
        ip.set_ttl(TTL);
        ip.fill_checksum();
        IcmpPacket::new_checked(message).ok()?.turn_into_reply();
        Some(())
    });
    verdict(at, done)
}

/// As [`v4`], for IPv6.
pub(super) fn v6<P: Packet>(at: &mut At, packet: &mut P, parsed: &Parsed) -> Verdict {
    if !at.shard.echo.allow(at.now) {
        return Verdict::Drop(DropReason::EchoLimited);
    }
    let done = rewrite(at, packet, parsed, |ip, message| {
        let mut ip = Ipv6Packet::new_checked(ip).ok()?;
        let (src, dst) = (ip.src(), ip.dst());
        ip.set_src(dst);
        ip.set_dst(src);
        ip.set_hop_limit(TTL);
        Icmpv6Packet::new_checked(message).ok()?.turn_into_reply();
        Some(())
    });
    verdict(at, done)
}

fn rewrite<P: Packet>(
    at: &At,
    packet: &mut P,
    parsed: &Parsed,
    turn: impl FnOnce(&mut [u8], &mut [u8]) -> Option<()>,
) -> Option<()> {
    let own = at.snapshot.port(at.port)?.mac;
    let frame = packet.bytes_mut();
    content::turn_round(frame, own);
    // Padding is no part of the message, nor of its checksum.
    let (headers, message) = frame.get_mut(..parsed.ip_end())?.split_at_mut_checked(usize::from(parsed.l4))?;
    turn(headers.get_mut(usize::from(parsed.l3)..)?, message)
}

fn verdict(at: &At, done: Option<()>) -> Verdict {
    match done {
        Some(()) => Verdict::Reply(at.port),
        None => Verdict::Drop(DropReason::Runt),
    }
}
