//! Rewrites addresses and ports, and keeps every checksum as right or as wrong as it was (RFC 3022 4.1, RFC 1624).

use super::At;
use super::family::Family;
use crate::lb::connection::Direction;
use crate::lb::snapshot::{Backend, Mode};
use crate::lb::table::Entry;
use crate::wire::checksum::Delta;
use crate::wire::parse::{EXTENSION_BYTES_MAX, FiveTuple, Fragment, Parsed};
use crate::wire::protocol;

/// Which end of a packet is replaced.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// Source address and port.
    Src,
    /// Destination address and port.
    Dst,
}

/// The five-tuple of a request as the backend gets it from the client itself; `None` if the families differ.
#[inline]
pub(super) fn inside<A: Family>(backend: &Backend, key: &FiveTuple<A>) -> Option<FiveTuple<A>> {
    let dport = if backend.port == 0 { key.dport } else { backend.port };
    let dst = if backend.mode == Mode::FullNat { A::of_either(backend.address) } else { A::of(backend.address) };
    Some(FiveTuple { dst: dst?, dport, ..*key })
}

/// The five-tuple that a packet of a known connection leaves with: its own where nothing is replaced.
#[inline]
pub(super) fn other_side<A: Family>(at: &At, entry: &Entry<A>, backend: &Backend) -> Option<FiveTuple<A>> {
    let key = entry.key();
    match (backend.mode, entry.state.direction()) {
        // The other entry is another wait for memory; here all that it says follows from the backend.
        (Mode::Nat, Direction::Request) => inside(backend, &key),
        (Mode::Nat, Direction::Reply) => {
            let service = at.snapshot.service(backend.service)?;
            Some(FiveTuple { src: A::of(service.vip)?, sport: service.port.unwrap_or(key.sport), ..key })
        }
        (Mode::FullNat, _) => Some(A::table(at.shard).entry(entry.pair)?.key().reversed()),
        _ => Some(key),
    }
}

/// Replaces what differs between two five-tuples in a TCP or UDP packet and takes one from its TTL. Of a later fragment only
/// the addresses: the datagram's ports and checksum are in the first one, which changes by the same, so that both are right
/// when it is put together.
#[inline(always)]
pub(super) fn rewrite<A: Family>(frame: &mut [u8], parsed: &Parsed, old: &FiveTuple<A>, new: &FiveTuple<A>) {
    if parsed.fragment == Fragment::Later {
        rewrite_ip(frame, parsed, (old.src, new.src), (old.dst, new.dst));
        return;
    }
    let place = Place { l3: parsed.l3.into(), l4: parsed.l4.into(), ttl: parsed.ttl, protocol: parsed.protocol };
    let (src, dst) = ((old.src, old.sport), (old.dst, old.dport));
    let (new_src, new_dst) = ((new.src, new.sport), (new.dst, new.dport));
    if dst == new_dst {
        return rewrite_at(frame, place, End::Src, src, new_src);
    }
    if src != new_src {
        put_end::<A>(frame, &place, End::Src, src, new_src);
    }
    rewrite_at(frame, place, End::Dst, dst, new_dst);
}

/// Replaces one end of a TCP or UDP packet.
#[cold]
fn put_end<A: Family>(frame: &mut [u8], place: &Place, end: End, old: (A, u16), new: (A, u16)) {
    let address = A::replace(Delta::default(), old.0, new.0);
    if let Some(ip) = frame.get_mut(place.l3..) {
        put_address(ip, end, new.0);
        A::fix_header(ip, address);
    }
    let Some(l4) = frame.get_mut(place.l4..) else { return };
    put_port(l4, end, new.1);
    fix_l4(l4, place.protocol, address.replace_u16(old.1, new.1));
}

/// Where the headers of a packet are, and what the rewrite has to know of them.
pub(super) struct Place {
    /// Offset of the IP header.
    pub l3: usize,
    /// Offset of the TCP or UDP header.
    pub l4: usize,
    pub ttl: u8,
    pub protocol: u8,
}

/// Replaces one end of a TCP or UDP packet and takes one from its TTL.
#[inline(always)]
pub(super) fn rewrite_at<A: Family>(frame: &mut [u8], place: Place, end: End, old: (A, u16), new: (A, u16)) {
    let Place { l3, l4, ttl, protocol } = place;
    let address = A::replace(Delta::default(), old.0, new.0);
    if let Some(ip) = frame.get_mut(l3..) {
        put_address(ip, end, new.0);
        let ttl = decrement_ttl::<A>(ip, ttl);
        A::fix_header(ip, address.and(ttl));
    }
    let ports = address.replace_u16(old.1, new.1);
    let Some(l4) = frame.get_mut(l4..) else { return };
    put_port(l4, end, new.1);
    fix_l4(l4, protocol, ports);
}

/// Replaces both ends of an IP header, each old by new, and takes one from its TTL; a checksum of the upper layer is the
/// caller's.
pub(super) fn rewrite_ip<A: Family>(frame: &mut [u8], parsed: &Parsed, src: (A, A), dst: (A, A)) -> Delta {
    let addresses = A::replace(A::replace(Delta::default(), src.0, src.1), dst.0, dst.1);
    if let Some(ip) = frame.get_mut(usize::from(parsed.l3)..) {
        put_address(ip, End::Src, src.1);
        put_address(ip, End::Dst, dst.1);
        let ttl = decrement_ttl::<A>(ip, parsed.ttl);
        A::fix_header(ip, addresses.and(ttl));
    }
    addresses
}

/// Replaces one end of a packet quoted in an ICMP error, as far as it is there, and says what that does to the checksum
/// of the message around it.
pub(super) fn rewrite_quote<A: Family>(
    quote: &mut [u8],
    l4: usize,
    protocol: u8,
    end: End,
    old: (A, u16),
    new: (A, u16),
) -> Delta {
    let before: Vec16 = Vec16::take(quote, l4);
    put_address(quote, end, new.0);
    let address = A::replace(Delta::default(), old.0, new.0);
    A::fix_header(quote, address);
    if let Some(l4) = quote.get_mut(l4..) {
        match protocol {
            // An identifier is where it was, and of these only ICMPv6 sums the addresses.
            protocol::ICMP => {}
            protocol::ICMPV6 => fix_l4(l4, protocol, address),
            _ => {
                put_port(l4, end, new.1);
                fix_l4(l4, protocol, address.replace_u16(old.1, new.1));
            }
        }
    }
    before.changes(quote, l4)
}

#[inline]
fn put_address<A: Family>(ip: &mut [u8], end: End, new: A) {
    let from = A::SRC + if end == End::Dst { A::LEN } else { 0 };
    if let Some(place) = ip.get_mut(from..from + A::LEN) {
        new.put(place);
    }
}

#[inline]
fn put_port(l4: &mut [u8], end: End, new: u16) {
    let from = if end == End::Dst { 2 } else { 0 };
    if let Some(place) = l4.get_mut(from..from + 2).and_then(|p| p.first_chunk_mut()) {
        *place = new.to_be_bytes();
    }
}

#[inline]
fn decrement_ttl<A: Family>(ip: &mut [u8], old: u8) -> Delta {
    let new = old.saturating_sub(1);
    if let Some(ttl) = ip.get_mut(A::TTL) {
        *ttl = new;
    }
    // In IPv4 the TTL is the upper half of a checksummed word; IPv6 headers have no checksum to correct.
    Delta::default().replace_u16(u16::from(old) << 8, u16::from(new) << 8)
}

#[inline]
fn fix_l4(l4: &mut [u8], protocol: u8, delta: Delta) {
    let place = match protocol {
        protocol::TCP => l4.get_mut(16..18),
        protocol::UDP => l4.get_mut(6..8),
        protocol::ICMPV6 => l4.get_mut(2..4),
        _ => None,
    };
    let Some(place) = place.and_then(|p| p.first_chunk_mut()) else { return };
    let check = u16::from_be_bytes(*place);
    let fixed = if protocol == protocol::UDP { delta.apply_udp(check) } else { delta.apply(check) };
    *place = fixed.to_be_bytes();
}

/// The words of a quote's headers before it was changed.
struct Vec16 {
    words: [u16; Self::MAX],
    len: usize,
}

impl Vec16 {
    /// The longest headers that are walked, IPv6 with its extensions, and 20 bytes of TCP; nothing is changed beyond.
    const MAX: usize = (40 + EXTENSION_BYTES_MAX + 20) / 2;

    fn take(quote: &[u8], l4: usize) -> Self {
        let mut words = [0; Self::MAX];
        let mut len = 0;
        for (word, bytes) in words.iter_mut().zip(quote.chunks(2).take(Self::wanted(l4))) {
            *word = word_of(bytes);
            len += 1;
        }
        Self { words, len }
    }

    fn wanted(l4: usize) -> usize {
        (l4 + 20).div_ceil(2)
    }

    fn changes(&self, quote: &[u8], l4: usize) -> Delta {
        let old = self.words.iter().take(self.len);
        old.zip(quote.chunks(2).take(Self::wanted(l4)))
            .fold(Delta::default(), |delta, (&old, new)| delta.replace_u16(old, word_of(new)))
    }
}

/// A quote cut at an odd length is summed as if a zero byte followed (RFC 1071 4.1).
fn word_of(bytes: &[u8]) -> u16 {
    u16::from_be_bytes([bytes.first().copied().unwrap_or(0), bytes.get(1).copied().unwrap_or(0)])
}
