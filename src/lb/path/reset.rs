//! RSTs of our own: to who sends what no connection knows, and to both ends of one that was idle for too long.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::At;
use super::content;
use super::echo::TTL;
use super::family::Family;
use super::segment::Segment;
use crate::lb::clock::Now;
use crate::lb::connection::flags;
use crate::lb::packet::Packet;
use crate::lb::shard::{Outgoing, OutgoingFrame, Shard};
use crate::lb::snapshot::{Port, Snapshot};
use crate::lb::table::{Entry, Notes};
use crate::lb::trace::{Step, Told};
use crate::lb::verdict::{DropReason, Verdict};
use crate::wire::checksum;
use crate::wire::ethernet::{self, EtherType, MacAddr};
use crate::wire::ipv4::Ipv4Repr;
use crate::wire::ipv6::Ipv6Repr;
use crate::wire::parse::{FiveTuple, Kind, Parsed};
use crate::wire::protocol;
use crate::wire::proxy;

/// A RST as it leaves: from and to whom, and its numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reset {
    src: (IpAddr, u16),
    dst: (IpAddr, u16),
    seq: u32,
    /// With the ACK flag, if there is something to acknowledge.
    ack: Option<u32>,
}

impl Reset {
    /// To the end whose packets `to` is for, as if from the other end, whose packets `from` is for; both of one connection.
    pub fn of<A: Copy + Into<IpAddr>>(to: &Entry<A>, from: &Entry<A>) -> Self {
        // Exactly what the receiver expects, or it would answer and stay (RFC 5961 3.2); a backend counts the header that the
        // client has not sent.
        let seq = if to.notes.has(Notes::ACKED) { to.ack } else { from.next };
        let header_len =
            if from.notes.has(Notes::SHIFTS) { proxy::header_len(from.src.into().to_canonical()) as u32 } else { 0 };
        let seq = seq.wrapping_add(header_len);
        let ack = to.notes.has(Notes::SENT).then_some(to.next);
        // Each side is of one IP version, whatever the other is.
        let end = |address: A, port| (address.into().to_canonical(), port);
        Self { src: end(to.dst, to.dport), dst: end(to.src, to.sport), seq, ack }
    }

    /// Writes the whole frame and says how long it is.
    fn emit(&self, buf: &mut [u8], port: &Port, dst_mac: MacAddr) -> Option<usize> {
        match (self.src.0, self.dst.0) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                let l2_len = content::header(buf, port, dst_mac, EtherType::IPV4)?;
                let (ip, tcp) = buf.get_mut(l2_len..)?.split_at_mut_checked(20)?;
                self.emit_tcp(tcp, checksum::pseudo_v4(src, dst, protocol::TCP, 20))?;
                let header = Ipv4Repr {
                    src,
                    dst,
                    protocol: protocol::TCP,
                    ttl: TTL,
                    traffic_class: 0,
                    id: 0,
                    df: true,
                    payload_len: 20,
                };
                header.emit(ip)?;
                Some(l2_len + 40)
            }
            (IpAddr::V6(src), IpAddr::V6(dst)) => {
                let l2_len = content::header(buf, port, dst_mac, EtherType::IPV6)?;
                let (ip, tcp) = buf.get_mut(l2_len..)?.split_at_mut_checked(40)?;
                self.emit_tcp(tcp, checksum::pseudo_v6(src, dst, protocol::TCP, 20))?;
                let header = Ipv6Repr {
                    src,
                    dst,
                    next_header: protocol::TCP,
                    hop_limit: TTL,
                    traffic_class: 0,
                    flow_label: 0,
                    payload_len: 20,
                };
                header.emit(ip)?;
                Some(l2_len + 60)
            }
            _ => None,
        }
    }

    fn emit_tcp(&self, buf: &mut [u8], pseudo: u32) -> Option<()> {
        let header = buf.first_chunk_mut::<20>()?;
        *header = [0; 20];
        header[0..2].copy_from_slice(&self.src.1.to_be_bytes());
        header[2..4].copy_from_slice(&self.dst.1.to_be_bytes());
        header[4..8].copy_from_slice(&self.seq.to_be_bytes());
        header[8..12].copy_from_slice(&self.ack.unwrap_or(0).to_be_bytes());
        header[12] = 5 << 4;
        header[13] = flags::RST | if self.ack.is_some() { flags::ACK } else { 0 };
        let check = checksum::finish(checksum::combine(pseudo, checksum::sum(header)));
        header[16..18].copy_from_slice(&check.to_be_bytes());
        Some(())
    }
}

/// Answers a TCP packet that no connection knows (RFC 9293 3.10.7.1).
#[cold]
pub(super) fn unknown<P: Packet>(at: &mut At, packet: &mut P, parsed: &Parsed) -> Verdict {
    let reason = DropReason::NoConnection;
    let done = match parsed.kind {
        Kind::V4 => answer::<Ipv4Addr, P>(at, packet, parsed),
        _ => answer::<Ipv6Addr, P>(at, packet, parsed),
    };
    packet.note(|| Step::Trouble(Told::Reset));
    if done.is_some() { Verdict::Reply(at.port) } else { Verdict::Drop(reason) }
}

fn answer<A: Family, P: Packet>(at: &mut At, packet: &mut P, parsed: &Parsed) -> Option<()> {
    let FiveTuple { src, dst, sport, dport, .. } = A::key(parsed, packet.bytes());
    let segment = Segment::of(packet.bytes(), parsed)?;
    // No RST about a RST, and not as many as somebody likes.
    if segment.flags & flags::RST != 0 || src.is_martian() || !at.shard.errors.allow(at.now) {
        return None;
    }
    let (seq, ack) = if segment.flags & flags::ACK != 0 { (segment.ack, None) } else { (0, Some(segment.end)) };
    let reset = Reset { src: (dst.into(), dport), dst: (src.into(), sport), seq, ack };
    let port = at.snapshot.port(at.port)?;
    let mut frame = [0; OutgoingFrame::MAX];
    let len = reset.emit(&mut frame, port, ethernet::src(packet.bytes())?)?;
    content::replace(packet, frame.get(..len)?).then_some(())
}

/// Sends a RST unasked; nothing if the next hop is not known.
pub fn send(shard: &mut Shard, snapshot: &Snapshot, now: Now, reset: &Reset) {
    let Some(hop) = snapshot.routes.find(reset.dst.0) else { return };
    let known = shard.neighbors.find(hop.port, hop.next).and_then(|slot| shard.neighbors.mac(slot));
    if let (Some(port), Some(mac)) = (snapshot.port(hop.port), known)
        && shard.errors.allow(now)
        && let Some(frame) = OutgoingFrame::build(|buf| reset.emit(buf, port, mac))
    {
        shard.originate(Outgoing { port: hop.port, frame });
    }
}
