//! The IP header that a packet has on the other side (RFC 7915 sections 4.1 and 5.1).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::TranslateError;
use crate::wire::ethernet::EtherType;
use crate::wire::ipv4::{self, Ipv4Packet, Ipv4Repr};
use crate::wire::ipv6::{self, Ipv6Repr};
use crate::wire::parse::{Fragment, Kind, Parsed, Quote};
use crate::wire::protocol;

/// Length of an IPv6 fragment header in bytes (RFC 8200 section 4.5).
const FRAGMENT_LEN: usize = 8;
/// IPv4 packets up to this length may be fragmented on their way, as their IPv6 sender counts on 1280 bytes to get through
/// (RFC 7915 section 5.1).
const DF_ABOVE: usize = 1260;

/// The addresses on the other side.
#[derive(Clone, Copy, Debug)]
pub(super) enum Pair {
    /// Source and destination.
    V4(Ipv4Addr, Ipv4Addr),
    /// The same.
    V6(Ipv6Addr, Ipv6Addr),
}

/// What of an IP header goes over to the other version.
#[derive(Clone, Copy, Debug)]
pub(super) struct Carried {
    pub traffic_class: u8,
    /// As it is to be written.
    pub ttl: u8,
    /// The upper layer.
    pub protocol: u8,
    /// Length of what stands behind all the headers of this layer, in bytes.
    pub payload_len: u16,
    /// Of a fragment.
    pub piece: Option<Piece>,
}

/// Which piece of a packet a fragment is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece {
    pub id: u32,
    /// In bytes.
    pub offset: u16,
    pub more: bool,
}

impl Pair {
    /// The addresses of a packet that came as `from`.
    pub(super) fn across(from: Kind, src: IpAddr, dst: IpAddr) -> Result<Self, TranslateError> {
        match (from, src, dst) {
            (Kind::V6, IpAddr::V4(src), IpAddr::V4(dst)) => Ok(Self::V4(src, dst)),
            (Kind::V4, IpAddr::V6(src), IpAddr::V6(dst)) => Ok(Self::V6(src, dst)),
            _ => Err(TranslateError::Families { src, dst }),
        }
    }

    pub(super) fn addresses(&self) -> (IpAddr, IpAddr) {
        match *self {
            Self::V4(src, dst) => (src.into(), dst.into()),
            Self::V6(src, dst) => (src.into(), dst.into()),
        }
    }

    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::V4(..) => Kind::V4,
            Self::V6(..) => Kind::V6,
        }
    }

    /// Length of the header in bytes, with the fragment header of IPv6.
    pub(super) fn header_len(&self, carried: &Carried) -> usize {
        match self {
            Self::V4(..) => ipv4::HEADER_LEN,
            Self::V6(..) if carried.piece.is_some() => ipv6::HEADER_LEN + FRAGMENT_LEN,
            Self::V6(..) => ipv6::HEADER_LEN,
        }
    }

    /// Whether routers must not fragment the packet. A packet with a fragment header came from a host that lets them
    /// (RFC 7915 section 5.1.1).
    pub(super) fn is_df(&self, carried: &Carried) -> bool {
        match self {
            Self::V4(..) => carried.piece.is_none() && ipv4::HEADER_LEN + usize::from(carried.payload_len) > DF_ABOVE,
            Self::V6(..) => true,
        }
    }

    /// Says in the last two of a frame's `l3` bytes what follows them.
    pub(super) fn put_ethertype(&self, frame: &mut [u8], l3: usize) {
        let EtherType(ethertype) = match self {
            Self::V4(..) => EtherType::IPV4,
            Self::V6(..) => EtherType::IPV6,
        };
        if let Some(place) = frame.get_mut(..l3).and_then(|l2| l2.last_chunk_mut()) {
            *place = ethertype.to_be_bytes();
        }
    }

    /// Writes the header at the start of `ip`, where there is room for it; `id` is for IPv4 packets that have none.
    pub(super) fn emit(&self, carried: &Carried, id: u16, ip: &mut [u8]) {
        match *self {
            Self::V4(src, dst) => self.emit_v4(src, dst, carried, id, ip),
            Self::V6(src, dst) => emit_v6(src, dst, carried, ip),
        }
    }

    fn emit_v4(&self, src: Ipv4Addr, dst: Ipv4Addr, carried: &Carried, id: u16, ip: &mut [u8]) {
        let repr = Ipv4Repr {
            src,
            dst,
            protocol: carried.protocol,
            ttl: carried.ttl,
            traffic_class: carried.traffic_class,
            id: carried.ipv4_id(id),
            df: self.is_df(carried),
            payload_len: carried.payload_len,
        };
        if repr.emit(ip).is_some()
            && let Some(piece) = carried.piece
            && let Ok(mut header) = Ipv4Packet::new_checked(ip)
        {
            header.set_fragment(piece.offset, piece.more);
            header.fill_checksum();
        }
    }
}

fn emit_v6(src: Ipv6Addr, dst: Ipv6Addr, carried: &Carried, ip: &mut [u8]) {
    let Carried { traffic_class, ttl: hop_limit, protocol, payload_len, piece } = *carried;
    let (next_header, payload_len) = match piece {
        Some(_) => (protocol::FRAGMENT, payload_len.saturating_add(FRAGMENT_LEN as u16)),
        None => (protocol, payload_len),
    };
    // Flow label 0 (RFC 7915 section 4.1).
    let repr = Ipv6Repr { src, dst, next_header, hop_limit, traffic_class, flow_label: 0, payload_len };
    if let Some(at) = repr.emit(ip)
        && let Some(piece) = piece
        && let Some(header) = ip.get_mut(at..).and_then(|ip| ip.first_chunk_mut::<FRAGMENT_LEN>())
    {
        let [high, low] = (piece.offset & 0xFFF8 | u16::from(piece.more)).to_be_bytes();
        let [a, b, c, d] = piece.id.to_be_bytes();
        *header = [protocol, 0, high, low, a, b, c, d];
    }
}

impl Carried {
    /// Of a packet that is forwarded: one less in its TTL, and no route of its sender's left.
    pub(super) fn of_packet(frame: &[u8], parsed: &Parsed) -> Result<Self, TranslateError> {
        let (l3, l4) = (usize::from(parsed.l3), usize::from(parsed.l4));
        let headers = frame.get(l3..l4).ok_or(TranslateError::NotContiguous(l4))?;
        let piece = match parsed.kind {
            Kind::V4 => {
                source_route(headers.get(ipv4::HEADER_LEN..).unwrap_or_default())?;
                let Parsed { fragment_id: id, fragment_offset: offset, more_fragments: more, .. } = *parsed;
                (parsed.fragment != Fragment::None).then_some(Piece { id, offset, more })
            }
            _ => {
                let chain = Chain::walk(headers);
                if let Some((left, pointer)) = chain.segments_left {
                    return Err(TranslateError::SegmentsLeft { left, pointer });
                }
                // A later fragment may hold any of them; its protocol says so.
                if let (Some(header), true) = (chain.behind_fragment, parsed.fragment != Fragment::None) {
                    return Err(TranslateError::ExtensionInFragment(header));
                }
                chain.piece
            }
        };
        Ok(Self {
            traffic_class: parsed.traffic_class,
            ttl: parsed.ttl.saturating_sub(1),
            protocol: parsed.protocol,
            payload_len: parsed.l4_len(),
            piece,
        })
    }

    /// Of a packet that an ICMP error quotes; `quote` begins with its IP header, which is there.
    pub(super) fn of_quote(quote: &[u8], parsed: &Quote) -> Self {
        let headers = quote.get(..usize::from(parsed.l4)).unwrap_or_default();
        let (traffic_class, piece) = match parsed.kind {
            Kind::V4 => Ipv4Packet::new_checked(headers).map_or((0, None), |ip| {
                let piece = Piece { id: ip.id().into(), offset: ip.fragment_offset(), more: ip.more_fragments() };
                (ip.traffic_class(), (parsed.fragment != Fragment::None).then_some(piece))
            }),
            _ => {
                let [first, second] = headers.first_chunk().copied().unwrap_or_default();
                (first << 4 | second >> 4, Chain::walk(headers).piece)
            }
        };
        // Longer packets have no header in the other version; that they are cut here is for the quote's length field only.
        const LEN_MAX: u32 = 65_535 - (ipv6::HEADER_LEN + FRAGMENT_LEN) as u32;
        Self {
            traffic_class,
            ttl: parsed.ttl,
            protocol: parsed.protocol,
            payload_len: parsed.ip_len.saturating_sub(parsed.l4.into()).min(LEN_MAX) as u16,
            piece,
        }
    }

    /// The identification that an IPv4 header gets: that of the fragment header, of which 16 bits are left.
    pub(super) fn ipv4_id(&self, id: u16) -> u16 {
        self.piece.map_or(id, |piece| piece.id as u16)
    }
}

/// Refuses a loose or strict source route that has not come to its end (RFC 791 section 3.1). All other options are
/// left out on the other side.
fn source_route(mut options: &[u8]) -> Result<(), TranslateError> {
    const END: u8 = 0;
    const NO_OPERATION: u8 = 1;
    const LOOSE: u8 = 131;
    const STRICT: u8 = 137;
    while let Some((&kind, rest)) = options.split_first() {
        let len = match (kind, rest.first()) {
            (END, _) => return Ok(()),
            (NO_OPERATION, _) => 1,
            // What has no sound length cannot be read, nor anything behind it.
            (_, None | Some(..2)) => return Ok(()),
            (_, Some(&len)) => usize::from(len),
        };
        let pointer = usize::from(rest.get(1).copied().unwrap_or(0));
        if matches!(kind, LOOSE | STRICT) && pointer <= len {
            return Err(TranslateError::SourceRoute(kind));
        }
        options = options.get(len..).unwrap_or_default();
    }
    Ok(())
}

/// What IPv6 extension headers say that counts on the other side.
#[derive(Default)]
struct Chain {
    piece: Option<Piece>,
    /// An extension header behind the fragment header.
    behind_fragment: Option<u8>,
    /// Of a routing header that still routes, and where it says so.
    segments_left: Option<(u8, u16)>,
}

impl Chain {
    /// Walks over an IPv6 header with its extension headers and nothing behind them.
    fn walk(headers: &[u8]) -> Self {
        let mut chain = Self::default();
        let mut next = headers.get(6).copied().unwrap_or(protocol::NO_NEXT_HEADER);
        let mut at = ipv6::HEADER_LEN;
        while let Some(&[following, units, high, low, a, b, c, d]) = headers.get(at..).and_then(|h| h.first_chunk()) {
            if chain.piece.is_some() {
                chain.behind_fragment.get_or_insert(next);
            }
            let mut len = 8 + 8 * usize::from(units);
            match next {
                protocol::FRAGMENT => {
                    let field = u16::from_be_bytes([high, low]);
                    let id = u32::from_be_bytes([a, b, c, d]);
                    chain.piece.get_or_insert(Piece { id, offset: field & 0xFFF8, more: field & 1 != 0 });
                    len = FRAGMENT_LEN;
                }
                protocol::ROUTING if low != 0 => {
                    chain.segments_left.get_or_insert((low, at as u16 + 3));
                }
                _ => {}
            }
            (next, at) = (following, at + len);
        }
        chain
    }
}
