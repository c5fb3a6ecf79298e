//! Takes ICMP errors from one IP version to the other (RFC 7915 sections 4.2, 4.3, 5.2 and 5.3).

use std::net::{IpAddr, SocketAddr};

use super::header::{Carried, Pair};
use super::{IPV6_MTU_MIN, TranslateError, checksum_at, kinds, rewrite_upper_layer};
use crate::lb::packet::Packet;
use crate::wire::checksum::Delta;
use crate::wire::ethernet;
use crate::wire::icmp::{self, IcmpPacket};
use crate::wire::icmpv6::Icmpv6Packet;
use crate::wire::parse::{Fragment, Kind, Parsed, Quote, TAGS_MAX, parse_quote};
use crate::wire::protocol;

/// Length of the header before the quoted packet, in either version.
const HEADER_LEN: usize = icmp::HEADER_LEN;
/// What ICMPv4 errors are at most, in bytes (RFC 1812 section 4.3.2.3); every link takes that.
const IPV4_ERROR_MAX: u16 = 576;
/// Longest link-layer header that is parsed, in bytes.
const L2_MAX: usize = ethernet::HEADER_LEN + ethernet::TAG_LEN * TAGS_MAX as usize;
const FRAME_MAX: usize = L2_MAX + IPV6_MTU_MIN as usize;

/// Whom an error is about on the other side, and between whom it goes there.
#[derive(Clone, Copy, Debug)]
pub(in crate::lb::path) struct ErrorEnds {
    /// Who says so.
    pub src: IpAddr,
    /// Who gets to know: the sender of the quoted packet.
    pub dst: IpAddr,
    /// Source of the quoted packet, as its sender knows it.
    pub quoted_src: SocketAddr,
    /// Destination of the quoted packet, as its sender knows it.
    pub quoted_dst: SocketAddr,
    /// Bytes of the largest packet on the link that the error leaves by.
    pub mtu: u16,
    /// Identification of an IPv4 packet; nobody can guess it.
    pub id: u16,
}

/// Makes an ICMP error one of the other family, with one less in its TTL, and returns what [`parse`] would say of it then.
///
/// The TTL is above 1 and the checksum right; the new one is made anew. Extensions behind the quoted packet (RFC 4884) are
/// left out, and so is what is beyond the length that errors may have. The quoted packet keeps its TTL and, if that can be
/// seen in the quote, the rightness of its checksum.
///
/// # Errors
/// What stands in the way; the packet is as it was.
///
/// [`parse`]: crate::wire::parse::parse
#[cold]
pub(in crate::lb::path) fn translate_error<P: Packet>(
    packet: &mut P,
    parsed: &Parsed,
    ends: &ErrorEnds,
) -> Result<Parsed, TranslateError> {
    let frame = packet.bytes();
    if parsed.fragment != Fragment::None {
        return Err(TranslateError::FragmentedMessage);
    }
    let protocol = if parsed.kind == Kind::V4 { protocol::ICMP } else { protocol::ICMPV6 };
    if parsed.protocol != protocol {
        return Err(TranslateError::Protocol(parsed.protocol));
    }
    let outer = Pair::across(parsed.kind, ends.src, ends.dst)?;
    let inner = Pair::across(parsed.kind, ends.quoted_src.ip(), ends.quoted_dst.ip())?;
    let end = parsed.ip_end().min(frame.len());
    let message =
        frame.get(usize::from(parsed.l4)..end).ok_or(TranslateError::NotContiguous(usize::from(parsed.l4)))?;
    let message = Message::read(parsed, message, ends.mtu)?;

    // The new message is written beside the old one, which is read on the way.
    let mut new = [0; FRAME_MAX];
    let l3 = usize::from(parsed.l3);
    let room = l3 + usize::from(error_len_max(&outer, ends.mtu));
    let built = new.get_mut(..room).and_then(|new| {
        let (l2, ip) = new.split_at_mut_checked(l3)?;
        l2.copy_from_slice(frame.get(..l3)?);
        outer.put_ethertype(l2, l3);
        message.emit(parsed, &outer, &inner, ends, ip)
    });
    let (carried, ip_len) = built.ok_or(TranslateError::NotContiguous(l3))?;
    let frame = new.get(..l3 + usize::from(ip_len)).unwrap_or_default();
    replace(packet, frame)?;
    let ip_id = if outer.kind() == Kind::V4 { ends.id } else { 0 };
    Ok(Parsed {
        kind: outer.kind(),
        l4: parsed.l3 + outer.header_len(&carried) as u16,
        ip_len,
        ip_id,
        protocol: carried.protocol,
        ttl: carried.ttl,
        df: outer.is_df(&carried),
        ..*parsed
    })
}

/// An error that came in.
struct Message<'a> {
    /// Its first bytes on the other side.
    head: kinds::Head,
    quote: Quote,
    /// The quoted packet from its IP header on, as far as it is there.
    quoted: &'a [u8],
    carried: Carried,
}

impl<'a> Message<'a> {
    fn read(parsed: &Parsed, message: &'a [u8], mtu: u16) -> Result<Self, TranslateError> {
        let too_short = TranslateError::NotContiguous(usize::from(parsed.l4) + HEADER_LEN);
        let v4 = IcmpPacket::new_checked(message).map_err(|_| too_short)?;
        let v6 = Icmpv6Packet::new_checked(message).map_err(|_| too_short)?;
        // The views are made anew for each use because what they lend lives no longer than they do.
        let quoted_len = if parsed.kind == Kind::V4 { v4.quote().len() } else { v6.quote().len() };
        let quoted = message.get(HEADER_LEN..HEADER_LEN + quoted_len).ok_or(too_short)?;
        let quote = parse_quote(quoted)?;
        if quote.kind != parsed.kind {
            return Err(TranslateError::QuoteFamily);
        }
        if !matches!(quote.protocol, protocol::TCP | protocol::UDP) {
            return Err(TranslateError::Protocol(quote.protocol));
        }
        let carried = Carried::of_quote(quoted, &quote);
        let head = match parsed.kind {
            Kind::V4 => kinds::to_v6(&v4, &quote, mtu),
            _ => kinds::to_v4(&v6, carried.piece.is_some(), mtu),
        };
        let head = head.ok_or(TranslateError::NoCounterpart { kind: v4.kind(), code: v4.code() })?;
        let quoted = quoted.get(..quote.ip_len as usize).unwrap_or(quoted);
        Ok(Self { head, quote, quoted, carried })
    }

    /// Writes the packet into `ip`, which is as long as it may be, and returns what its header says and its length.
    fn emit(
        &self,
        parsed: &Parsed,
        outer: &Pair,
        inner: &Pair,
        ends: &ErrorEnds,
        ip: &mut [u8],
    ) -> Option<(Carried, u16)> {
        let protocol = match outer {
            Pair::V4(..) => protocol::ICMP,
            Pair::V6(..) => protocol::ICMPV6,
        };
        let (traffic_class, ttl) = (parsed.traffic_class, parsed.ttl.saturating_sub(1));
        let mut carried = Carried { traffic_class, ttl, protocol, payload_len: 0, piece: None };
        let (ip, message) = ip.split_at_mut_checked(outer.header_len(&carried))?;
        let (head, quote) = message.split_at_mut_checked(HEADER_LEN)?;
        head.copy_from_slice(&self.head);
        let quote_len = self.emit_quote(inner, ends, quote)?;
        let message = message.get_mut(..HEADER_LEN + quote_len)?;
        carried.payload_len = message.len() as u16;
        match *outer {
            Pair::V4(..) => IcmpPacket::new_checked(message).ok()?.fill_checksum(),
            Pair::V6(src, dst) => Icmpv6Packet::new_checked(message).ok()?.fill_checksum(src, dst),
        }
        let ip_len = (ip.len() + HEADER_LEN + quote_len) as u16;
        outer.emit(&carried, ends.id, ip);
        Some((carried, ip_len))
    }

    /// Writes the quoted packet, cut to the room there is, and returns its length.
    fn emit_quote(&self, inner: &Pair, ends: &ErrorEnds, place: &mut [u8]) -> Option<usize> {
        // The identification that the packet had with its sender is not known here.
        inner.emit(&self.carried, 0, place);
        let (header, rest) = place.split_at_mut_checked(inner.header_len(&self.carried))?;
        let data = self.quoted.get(usize::from(self.quote.l4)..)?;
        // One byte of a checksum cannot be changed, and tells nobody anything.
        let half_checksum = checksum_at(self.quote.protocol).map(|at| at + 1).filter(|_| self.quote.has_ports());
        let len = data.len().min(rest.len());
        let len = if Some(len) == half_checksum { len - 1 } else { len };
        let upper = rest.get_mut(..len)?;
        upper.copy_from_slice(data.get(..len)?);
        if self.quote.has_ports() {
            let ports = (ends.quoted_src.port(), ends.quoted_dst.port());
            rewrite_upper_layer(upper, self.quote.protocol, self.addresses_delta(inner), ports);
        }
        Some(header.len() + len)
    }

    fn addresses_delta(&self, new: &Pair) -> Delta {
        let (src, dst): (IpAddr, IpAddr) = match self.quote.kind {
            Kind::V4 => {
                let old = self.quote.five_tuple_v4(self.quoted);
                (old.src.into(), old.dst.into())
            }
            _ => {
                let old = self.quote.five_tuple_v6(self.quoted);
                (old.src.into(), old.dst.into())
            }
        };
        let (new_src, new_dst) = new.addresses();
        Delta::default().replace_ip(src, new_src).replace_ip(dst, new_dst)
    }
}

/// How long an error may be, in bytes (RFC 4443 section 2.4 c, RFC 1812 section 4.3.2.3).
fn error_len_max(pair: &Pair, mtu: u16) -> u16 {
    match pair {
        Pair::V4(..) => IPV4_ERROR_MAX,
        Pair::V6(..) => mtu.clamp(IPV4_ERROR_MAX, IPV6_MTU_MIN),
    }
}

/// Makes `frame` the packet's content, or leaves it as it is.
fn replace<P: Packet>(packet: &mut P, frame: &[u8]) -> Result<(), TranslateError> {
    if let Some(growth @ 1..) = frame.len().checked_sub(packet.bytes().len())
        && !packet.grow_front(growth)
    {
        return Err(TranslateError::NoHeadroom(growth));
    }
    packet.truncate(frame.len());
    if let Some(place) = packet.bytes_mut().get_mut(..frame.len()) {
        place.copy_from_slice(frame);
    }
    Ok(())
}
