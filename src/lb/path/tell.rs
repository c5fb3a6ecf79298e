//! Joins [`client_address`] to connections: what the first packets of one through full-NAT tell the backend about its client.

use std::net::SocketAddr;

use super::client_address::{self, Progress, Refused, Segment, Stage};
use super::family::Family;
use super::{At, crossed, errors};
use crate::lb::packet::Packet;
use crate::lb::snapshot::{Backend, ClientAddress};
use crate::lb::table::{Entry, Notes, Slot};
use crate::lb::verdict::{DropReason, Verdict};
use crate::wire::parse::{Kind, Parsed};
use crate::wire::protocol;
use crate::wire::proxy::Ends;
use crate::wire::tcp::{TcpOption, TcpPacket, flags};

/// What a request's entry says at its start.
pub(super) fn notes_of(backend: &Backend, protocol: u8) -> Notes {
    let tells = backend.client_address != ClientAddress::None && protocol == protocol::TCP;
    if tells { Notes::TELLS } else { Notes::NONE }
}

fn client<A: Family>(request: &Entry<A>) -> SocketAddr {
    SocketAddr::new(request.src.into().to_canonical(), request.sport)
}

fn ends<A: Family>(request: &Entry<A>) -> Option<Ends> {
    Ends::new(client(request), SocketAddr::new(request.dst.into().to_canonical(), request.dport))
}

/// How far a connection has come. Until the header is taken, the entry's `next` stays the number of the first byte.
fn progress<A>(request: &Entry<A>) -> Progress {
    let stage = match () {
        () if !request.notes.has(Notes::TELLS) => Stage::Taken,
        () if request.notes.has(Notes::TOLD) => Stage::Sent,
        () => Stage::Unsent,
    };
    Progress { stage, first: request.next }
}

fn note<A>(request: &mut Entry<A>, told: ClientAddress, progress: Progress) {
    if progress.stage == Stage::Taken {
        request.notes.remove(Notes::TELLS);
        request.notes.remove(Notes::TOLD);
        if told == ClientAddress::ProxyV2 {
            request.notes.add(Notes::SHIFTS);
        }
        return;
    }
    request.notes.remove(Notes::SHIFTS);
    request.notes.remove(Notes::TOLD);
    request.notes.add(Notes::TELLS);
    request.notes.add(Notes::SENT);
    if progress.stage == Stage::Sent {
        request.notes.add(Notes::TOLD);
    }
    request.next = progress.first;
}

/// Whether packets of a connection, whose request's entry this is, are changed.
#[inline]
pub(super) fn is_due<A>(request: &Entry<A>) -> bool {
    request.notes.has(Notes::TELLS) || request.notes.has(Notes::SHIFTS)
}

/// Changes a request and says what it is then, or how it ends.
#[cold]
pub(super) fn request<A: Family, P: Packet>(
    at: &mut At,
    packet: &mut P,
    parsed: &Parsed,
    slot: Slot,
    backend: &Backend,
) -> Result<Parsed, Verdict> {
    let Some(&entry) = A::table(at.shard).entry(slot) else { return Ok(*parsed) };
    let mut progress = progress(&entry);
    let mtu = crossed::mtu_for_client(parsed, backend);
    let done = match backend.client_address {
        ClientAddress::None => return Ok(*parsed),
        ClientAddress::Toa => {
            let wanted = progress.wants_option(parsed.tcp_flags);
            let told = wanted.then(|| client_address::insert_toa(packet, parsed, client(&entry), mtu)).flatten();
            return Ok(told.unwrap_or(*parsed));
        }
        ClientAddress::ProxyV2 => {
            let Some(ends) = ends(&entry) else { return Ok(*parsed) };
            client_address::request(packet, parsed, &mut progress, ends, mtu).map_err(|e| (e, ends))
        }
    };
    match done {
        Ok(parsed) => {
            if entry.notes.has(Notes::TELLS)
                && let Some(entry) = A::table_mut(at.shard).entry_mut(slot)
            {
                note(entry, backend.client_address, progress);
            }
            Ok(parsed)
        }
        Err((Refused::TooLong { mtu, .. }, ends)) => {
            Err(errors::too_big(at, packet, parsed, mtu.saturating_sub(ends.header_len() as u16)))
        }
        Err((Refused::NoRoom(_), _)) => Err(Verdict::Drop(DropReason::NoHeadroom)),
        Err((Refused::NotContiguous(_), _)) => Err(Verdict::Drop(DropReason::Runt)),
        Err((Refused::NotTcp(_), _)) => Err(Verdict::Drop(DropReason::Fragment)),
        Err((Refused::InPlaceOfHeader(_), _)) => Err(Verdict::Drop(DropReason::ProxyForged)),
    }
}

/// Makes a reply speak of what the client has sent; a reason if it cannot.
#[cold]
pub(super) fn reply<A: Family, P: Packet>(
    at: &mut At,
    packet: &mut P,
    parsed: &Parsed,
    slot: Slot,
    backend: &Backend,
) -> Result<(), DropReason> {
    let Some(&entry) = A::table(at.shard).entry(slot) else { return Ok(()) };
    let mut progress = progress(&entry);
    let frame = packet.bytes_mut();
    match backend.client_address {
        ClientAddress::None => return Ok(()),
        ClientAddress::Toa => {
            if let (Ok(segment), Some(tcp)) = (Segment::of(frame, parsed), tcp(frame, parsed)) {
                progress.reply_to_option(segment, tcp.ack());
            }
        }
        ClientAddress::ProxyV2 => {
            let Some(ends) = ends(&entry) else { return Ok(()) };
            match client_address::reply(frame, parsed, &mut progress, ends.header_len()) {
                Ok(()) => {}
                Err(Refused::NotTcp(_)) => return Err(DropReason::Fragment),
                Err(_) => return Err(DropReason::Runt),
            }
        }
    }
    if parsed.tcp_flags & (flags::SYN | flags::ACK) == flags::SYN | flags::ACK {
        let shrink = client_address::mss_shrink(backend.client_address, client(&entry).ip());
        shrink_mss(frame, parsed, shrink);
    }
    let told = backend.client_address;
    if let Some(entry) = A::table_mut(at.shard).entry_mut(slot) {
        note(entry, told, progress);
    }
    Ok(())
}

fn tcp<'a>(frame: &'a mut [u8], parsed: &Parsed) -> Option<TcpPacket<&'a mut [u8]>> {
    TcpPacket::new_checked(frame.get_mut(usize::from(parsed.l4)..)?).ok()
}

/// Leaves room in the client's segments for what is added to the first of them.
fn shrink_mss(frame: &mut [u8], parsed: &Parsed, by: u16) {
    // Who names none sends at most 536 bytes (RFC 9293 3.7.1), or 1220, and that leaves room.
    let Some(mut tcp) = tcp(frame, parsed) else { return };
    let told = tcp.options().find_map(|option| match option {
        TcpOption::Mss(mss) => Some(mss),
        _ => None,
    });
    let least = if parsed.kind == Kind::V4 { 536 } else { 1220 };
    if let Some(mss) = told.filter(|&mss| mss > least) {
        tcp.clamp_mss(mss.saturating_sub(by).max(least));
    }
}
