//! Tells a backend behind full-NAT who the client is: by a PROXY protocol header before the client's first byte, or by a TCP
//! option. Why it is done this way is in `docs/decisions/client-address.md`.
//!
//! Nothing here reads a table: a caller keeps a [`Progress`] for each connection. Only packets of connections that are not
//! [`Stage::Taken`] need [`request`] and [`reply`]; from then on every request's sequence number grows by the header's
//! length, and every reply's acknowledgment number, and its selective ones, shrink by it.

mod progress;

use std::net::{IpAddr, SocketAddr};

pub use progress::{Action, Progress, Segment, Stage};

use crate::lb::packet::Packet;
use crate::lb::snapshot::ClientAddress;
use crate::wire::checksum::{self, Delta};
use crate::wire::parse::{Fragment, Kind, Parsed};
use crate::wire::protocol;
use crate::wire::proxy::Ends;
use crate::wire::tcp::{HEADER_LEN, OPTIONS_MAX, TcpOption, TcpPacket, flags};
use crate::wire::{proxy, toa};

/// By how many bytes the MSS that a client is told must be less than the backend's, so that its first segment still fits with
/// what is added to it: the whole header, or the option, which no sender leaves room for by itself (RFC 6691 section 3).
pub fn mss_shrink(told: ClientAddress, client: IpAddr) -> u16 {
    match told {
        ClientAddress::None => 0,
        ClientAddress::ProxyV2 => proxy::header_len(client) as u16,
        ClientAddress::Toa => toa::option_len(client) as u16,
    }
}

/// Option kinds that let data or meaning past the handshake: Multipath TCP (RFC 8684) and TCP Fast Open (RFC 7413).
const MULTIPATH: u8 = 30;
const FAST_OPEN: u8 = 34;

/// Why a packet cannot go on as it should; it is unchanged. Lengths are in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The packet would not fit through the leaving port.
    #[error("packet of {len} bytes with the client's address: at most {mtu} fit")]
    TooLong {
        /// Of the IP packet with what was to be added.
        len: usize,
        /// The largest IP packet.
        mtu: u16,
    },
    /// The buffer has no room before the frame.
    #[error("no room for {0} bytes before the frame")]
    NoRoom(usize),
    /// The bytes to be changed do not lie in the first segment of the buffer.
    #[error("tcp header, or data of a syn, beyond the first {0} bytes of the buffer")]
    NotContiguous(usize),
    /// Fragments and other protocols have no TCP header to change.
    #[error("not a whole tcp packet: protocol {0}")]
    NotTcp(u8),
    /// Data that would reach the backend in the place of the header: a client that forges its own address.
    #[error("data up to {0} bytes beyond the place of the proxy header")]
    InPlaceOfHeader(u32),
}

/// Does with a client's packet what its connection's progress asks for, and returns what the packet is now. Its addresses and
/// ports may be replaced before or after.
///
/// # Errors
/// See [`Refused`]; the packet is to be dropped. For [`Refused::TooLong`] the client can be told an MTU that is smaller by
/// the header's length (RFC 1191, RFC 8201).
pub fn request<P: Packet>(
    packet: &mut P,
    parsed: &Parsed,
    progress: &mut Progress,
    ends: Ends,
    mtu: u16,
) -> Result<Parsed, Refused> {
    let segment = Segment::of(packet.bytes(), parsed)?;
    match progress.request(segment) {
        Action::Plain => Ok(*parsed),
        Action::Bare => bare_syn(packet, parsed),
        Action::Shift => {
            shift_seq(packet.bytes_mut(), parsed, ends.header_len() as u32)?;
            Ok(*parsed)
        }
        Action::Insert => {
            let parsed = insert_proxy(packet, parsed, ends, mtu)?;
            progress.header_was_sent();
            Ok(parsed)
        }
        Action::Refuse { beyond } => Err(Refused::InPlaceOfHeader(beyond)),
    }
}

/// Makes a backend's packet acknowledge what the client has sent, and notes when the backend has the whole header, which
/// has `header_len` bytes.
///
/// # Errors
/// See [`Refused`]; the packet is to be dropped.
pub fn reply(frame: &mut [u8], parsed: &Parsed, progress: &mut Progress, header_len: usize) -> Result<(), Refused> {
    let segment = Segment::of(frame, parsed)?;
    let ack = tcp(frame, parsed)?.ack();
    let floor = progress.reply(segment.flags, ack, header_len as u32);
    shift_ack(frame, parsed, header_len as u32, floor)
}

/// Puts a PROXY header between the TCP header and the data, and sets PSH where there was no data, because the header is some.
/// Returns what the packet is now; offsets stay as they were. TCP and IP checksums are as right or as wrong as before.
///
/// # Errors
/// See [`Refused`]; the packet is unchanged.
pub fn insert_proxy<P: Packet>(packet: &mut P, parsed: &Parsed, ends: Ends, mtu: u16) -> Result<Parsed, Refused> {
    let header_len = tcp(packet.bytes_mut(), parsed)?.header_len();
    let has_data = usize::from(parsed.l4_len()) > header_len;
    let (at, added) = (usize::from(parsed.l4) + header_len, ends.header_len());
    let mut parsed = open_gap(packet, parsed, at, added, mtu)?;
    let frame = packet.bytes_mut();
    let gap = frame.get_mut(at..at + added).unwrap_or_default();
    ends.emit(gap);
    let mut delta = added_delta(gap);
    let Some(header) = frame.get_mut(usize::from(parsed.l4)..) else { return Ok(parsed) };
    if let (false, Some(byte)) = (has_data, header.get_mut(13)) {
        let old = *byte;
        *byte |= flags::PSH;
        delta = delta.replace_u16(old.into(), (*byte).into());
        parsed.tcp_flags = *byte;
    }
    add_urgent(header, added as u16, &mut delta);
    apply(header, delta);
    Ok(parsed)
}

/// Puts the option that TOA modules read into the TCP header, and returns what the packet is now; `None`, and nothing changed,
/// where there is no room for it in the header, in the buffer or through the leaving port.
///
/// It stands before the other options: behind them, an end of the option list would hide it.
pub fn insert_toa<P: Packet>(packet: &mut P, parsed: &Parsed, client: SocketAddr, mtu: u16) -> Option<Parsed> {
    let header_len = tcp(packet.bytes_mut(), parsed).ok()?.header_len();
    let added = toa::option_len(client.ip());
    if header_len + added > HEADER_LEN + OPTIONS_MAX {
        return None;
    }
    let at = usize::from(parsed.l4) + HEADER_LEN;
    let parsed = open_gap(packet, parsed, at, added, mtu).ok()?;
    let frame = packet.bytes_mut();
    let gap = frame.get_mut(at..at + added)?;
    toa::emit(gap, client);
    let mut delta = added_delta(gap);
    let header = frame.get_mut(usize::from(parsed.l4)..)?;
    if let Some(offset) = header.get_mut(12) {
        let old = *offset;
        *offset = ((header_len + added) as u8 / 4) << 4 | old & 0x0F;
        delta = delta.replace_u16(u16::from(old) << 8, u16::from(*offset) << 8);
    }
    apply(header, delta);
    Some(parsed)
}

/// Adds `by` to the sequence number, modulo 2^32.
///
/// # Errors
/// [`Refused::NotTcp`], [`Refused::NotContiguous`].
pub fn shift_seq(frame: &mut [u8], parsed: &Parsed, by: u32) -> Result<(), Refused> {
    let mut tcp = tcp(frame, parsed)?;
    let seq = tcp.seq().wrapping_add(by);
    tcp.replace_seq(seq);
    Ok(())
}

/// Takes `by` from the acknowledgment number and from the edges of selective acknowledgments, modulo 2^32, but nothing goes
/// below `floor`. Without ACK (RFC 9293 section 3.1) nothing is acknowledged, and nothing changed.
///
/// A floor makes sense within 2^31 bytes of it, so there is none once the header is taken.
///
/// # Errors
/// [`Refused::NotTcp`], [`Refused::NotContiguous`].
pub fn shift_ack(frame: &mut [u8], parsed: &Parsed, by: u32, floor: Option<u32>) -> Result<(), Refused> {
    let mut tcp = tcp(frame, parsed)?;
    if tcp.flags() & flags::ACK == 0 {
        return Ok(());
    }
    let shift = |number: u32| match floor {
        Some(floor) if (number.wrapping_sub(floor) as i32) < by as i32 => floor,
        _ => number.wrapping_sub(by),
    };
    let ack = shift(tcp.ack());
    tcp.replace_ack(ack);
    tcp.map_sack(shift);
    Ok(())
}

/// Whether a TCP header has no selective acknowledgments, seen at a glance: no options, or the timestamps alone as every stack
/// in use writes them (RFC 7323 appendix A). False for what it cannot tell.
#[inline]
pub fn is_sack_free(tcp: &[u8]) -> bool {
    match tcp.get(12).map(|offset| offset >> 4) {
        Some(5) => true,
        Some(8) => tcp.get(HEADER_LEN..HEADER_LEN + 4) == Some(&[1, 1, 8, 10]),
        _ => false,
    }
}

/// Takes the data from a SYN, and the options that make both ends count on it: bytes that come with a SYN would stand where the
/// header belongs. The client sends them again once the handshake is over (RFC 7413 section 3).
///
/// # Errors
/// See [`Refused`]; the packet is unchanged.
pub fn bare_syn<P: Packet>(packet: &mut P, parsed: &Parsed) -> Result<Parsed, Refused> {
    let mut parsed = *parsed;
    let header_len = tcp(packet.bytes_mut(), &parsed)?.header_len();
    let (at, end) = (usize::from(parsed.l4) + header_len, parsed.ip_end());
    let contiguous = packet.bytes().len();
    if at < end {
        let data = packet.bytes().get(at..end).ok_or(Refused::NotContiguous(contiguous))?;
        let data_len = data.len() as u16;
        let delta = Delta::default().replace_u16(checksum::sum(data) as u16, 0).replace_u16(data_len, 0);
        packet.truncate(at);
        parsed.ip_len = set_ip_len(packet.bytes_mut(), &parsed, parsed.ip_len - data_len);
        if let Some(header) = packet.bytes_mut().get_mut(usize::from(parsed.l4)..) {
            apply(header, delta);
        }
    }
    // The experimental form of Fast Open (RFC 7413 appendix A) shares its kind with others.
    let unwanted = |option: &TcpOption<'_>| match option {
        TcpOption::Unknown { kind: MULTIPATH | FAST_OPEN, .. } => true,
        TcpOption::Unknown { kind: 254, data } => data.starts_with(&[0xF9, 0x89]),
        _ => false,
    };
    tcp(packet.bytes_mut(), &parsed)?.blank_options(unwanted);
    Ok(parsed)
}

/// The TCP header of a whole packet, with what is behind it in the first piece of the buffer.
fn tcp<'a>(frame: &'a mut [u8], parsed: &Parsed) -> Result<TcpPacket<&'a mut [u8]>, Refused> {
    if parsed.protocol != protocol::TCP || parsed.fragment != Fragment::None || parsed.kind == Kind::Arp {
        return Err(Refused::NotTcp(parsed.protocol));
    }
    let contiguous = frame.len();
    let bytes = frame.get_mut(usize::from(parsed.l4)..).unwrap_or_default();
    TcpPacket::new_checked(bytes).map_err(|_| Refused::NotContiguous(contiguous))
}

/// Moves the first `at` bytes of the frame `added` bytes forward and counts the gap behind them to the IP packet.
fn open_gap<P: Packet>(packet: &mut P, parsed: &Parsed, at: usize, added: usize, mtu: u16) -> Result<Parsed, Refused> {
    let len = usize::from(parsed.ip_len) + added;
    if len > usize::from(mtu) {
        return Err(Refused::TooLong { len, mtu });
    }
    if !packet.grow_front(added) {
        return Err(Refused::NoRoom(added));
    }
    let frame = packet.bytes_mut();
    if frame.len() >= added + at {
        frame.copy_within(added..added + at, 0);
    }
    let ip_len = set_ip_len(frame, parsed, len as u16);
    Ok(Parsed { ip_len, ..*parsed })
}

/// Writes the length of the IP packet, and corrects the header's checksum; returns the length.
fn set_ip_len(frame: &mut [u8], parsed: &Parsed, ip_len: u16) -> u16 {
    let Some(ip) = frame.get_mut(usize::from(parsed.l3)..) else { return ip_len };
    if parsed.kind == Kind::V4 {
        put_u16(ip, 2, ip_len);
        if let Some(check) = ip.get_mut(10..12).and_then(|place| place.first_chunk_mut()) {
            *check = checksum::update(u16::from_be_bytes(*check), parsed.ip_len, ip_len).to_be_bytes();
        }
    } else if let Some(place) = ip.get_mut(4..6).and_then(|place| place.first_chunk_mut()) {
        // Whatever the payload length counts, extension headers among it, grows and shrinks alike.
        let payload_len = u16::from_be_bytes(*place).wrapping_add(ip_len).wrapping_sub(parsed.ip_len);
        *place = payload_len.to_be_bytes();
    }
    ip_len
}

/// What new bytes at an even offset do to the TCP checksum, the length in the pseudo-header included.
fn added_delta(bytes: &[u8]) -> Delta {
    Delta::default().replace_u16(0, checksum::sum(bytes) as u16).replace_u16(0, bytes.len() as u16)
}

/// Urgent data moves away from the sequence number by what is put before it (RFC 9293 section 3.8.5).
fn add_urgent(tcp: &mut [u8], added: u16, delta: &mut Delta) {
    let is_urgent = tcp.get(13).is_some_and(|bits| bits & flags::URG != 0);
    let Some(place) = tcp.get_mut(18..20).and_then(|place| place.first_chunk_mut()).filter(|_| is_urgent) else {
        return;
    };
    let old = u16::from_be_bytes(*place);
    let new = old.saturating_add(added);
    *place = new.to_be_bytes();
    *delta = delta.replace_u16(old, new);
}

/// Corrects the checksum of a TCP header.
fn apply(tcp: &mut [u8], delta: Delta) {
    if let Some(check) = tcp.get_mut(16..18).and_then(|place| place.first_chunk_mut()) {
        *check = delta.apply(u16::from_be_bytes(*check)).to_be_bytes();
    }
}

fn put_u16(bytes: &mut [u8], at: usize, value: u16) {
    if let Some(place) = bytes.get_mut(at..).and_then(|bytes| bytes.first_chunk_mut()) {
        *place = value.to_be_bytes();
    }
}

#[cfg(test)]
mod simulation;
#[cfg(test)]
pub(super) mod tests;
