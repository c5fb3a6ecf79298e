//! A received frame as the generator sees it: without the tunnel that it came through.

use std::net::{IpAddr, SocketAddr};

use tidegate::wire::checksum::{combine, is_valid, pseudo_v4, pseudo_v6, sum};
use tidegate::wire::ethernet::{self, MacAddr};
use tidegate::wire::gre::Gre;
use tidegate::wire::parse::{FiveTuple, Fragment, Kind, Parsed, parse};
use tidegate::wire::protocol;

use crate::template::put;

/// IPv4 in IP (RFC 2003, RFC 2473).
const IPV4_IN_IP: u8 = 4;

/// What is in a frame.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// The innermost packet; its offsets count from `start`.
    pub parsed: Parsed,
    /// Where the innermost frame begins: 0, or where a tunnel left room for an Ethernet header in front of its packet.
    pub start: usize,
    /// Destination of the tunnel's outer header.
    pub outer: Option<IpAddr>,
    /// Addresses on the link, destination first.
    pub macs: (MacAddr, MacAddr),
    /// Five-tuple of the innermost packet.
    pub tuple: FiveTuple<IpAddr>,
}

/// Why a frame is of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unseen {
    /// An ARP packet, whose offset this is.
    Arp(usize),
    /// The headers are wrong.
    Malformed,
}

/// Looks into the `frame_len` bytes of a frame, of which `frame` is the first segment.
///
/// An Ethernet header is written over what is in front of a tunnelled packet.
///
/// # Errors
/// When there is no right IP packet in it.
#[inline]
pub fn see(frame: &mut [u8], frame_len: usize) -> Result<Seen, Unseen> {
    let macs = frame
        .first_chunk::<12>()
        .map(|&[a, b, c, d, e, f, g, h, i, j, k, l]| (MacAddr([a, b, c, d, e, f]), MacAddr([g, h, i, j, k, l])));
    let macs = macs.ok_or(Unseen::Malformed)?;
    let parsed = parse(frame, frame_len).map_err(|_| Unseen::Malformed)?;
    let tuple = tuple_of(&parsed, frame).ok_or(Unseen::Arp(usize::from(parsed.l3)))?;
    let seen = Seen { parsed, start: 0, outer: None, macs, tuple };
    match parsed.protocol {
        protocol::GRE | IPV4_IN_IP | protocol::IPV6 if parsed.fragment == Fragment::None => unwrap(seen, frame),
        _ => Ok(seen),
    }
}

/// The packet inside a tunnel.
fn unwrap(outer: Seen, frame: &mut [u8]) -> Result<Seen, Unseen> {
    let (l4, end) = (usize::from(outer.parsed.l4), outer.parsed.ip_end());
    let packet = frame.get(l4..end).ok_or(Unseen::Malformed)?;
    let (ethertype, header_len) = match outer.parsed.protocol {
        IPV4_IN_IP => (ethernet::EtherType::IPV4, 0),
        protocol::IPV6 => (ethernet::EtherType::IPV6, 0),
        _ => Gre::parse(packet).map(|gre| (gre.protocol, gre.header_len)).map_err(|_| Unseen::Malformed)?,
    };
    let start = (l4 + header_len).checked_sub(ethernet::HEADER_LEN).ok_or(Unseen::Malformed)?;
    let inner = frame.get_mut(start..end).ok_or(Unseen::Malformed)?;
    let (MacAddr(dst), MacAddr(src)) = outer.macs;
    put(inner, 0, &dst);
    put(inner, 6, &src);
    put(inner, 12, &ethertype.0.to_be_bytes());
    let parsed = parse(inner, inner.len()).map_err(|_| Unseen::Malformed)?;
    let tuple = tuple_of(&parsed, inner).ok_or(Unseen::Malformed)?;
    Ok(Seen { parsed, start, outer: Some(outer.tuple.dst), tuple, ..outer })
}

fn tuple_of(parsed: &Parsed, frame: &[u8]) -> Option<FiveTuple<IpAddr>> {
    match parsed.kind {
        Kind::V4 => {
            let FiveTuple { src, dst, sport, dport, protocol } = parsed.five_tuple_v4(frame);
            Some(FiveTuple { src: src.into(), dst: dst.into(), sport, dport, protocol })
        }
        Kind::V6 => {
            let FiveTuple { src, dst, sport, dport, protocol } = parsed.five_tuple_v6(frame);
            Some(FiveTuple { src: src.into(), dst: dst.into(), sport, dport, protocol })
        }
        Kind::Arp => None,
    }
}

impl Seen {
    /// Destination address and port.
    #[inline]
    #[must_use]
    pub const fn destination(&self) -> SocketAddr {
        SocketAddr::new(self.tuple.dst, self.tuple.dport)
    }

    /// The upper-layer packet, without Ethernet's padding; `frame` must be the one that was looked into.
    #[inline]
    #[must_use]
    pub fn l4<'f>(&self, frame: &'f [u8]) -> &'f [u8] {
        let (l4, end) = (self.start + usize::from(self.parsed.l4), self.start + self.parsed.ip_end());
        frame.get(l4..end).unwrap_or_default()
    }

    /// The payload of UDP or TCP; `frame` must be the one that was looked into.
    #[inline]
    #[must_use]
    pub fn payload<'f>(&self, frame: &'f [u8]) -> &'f [u8] {
        let l4 = self.l4(frame);
        let header_len = match self.parsed.protocol {
            protocol::TCP => l4.get(12).map_or(0, |offset| usize::from(offset >> 4) * 4),
            protocol::UDP => 8,
            _ => return &[],
        };
        l4.get(header_len..).unwrap_or_default()
    }

    /// Whether the checksum of UDP or TCP is right, or is left out as UDP over IPv4 may; `None` where it cannot be told.
    #[inline]
    #[must_use]
    pub fn is_checksum_right(&self, frame: &[u8]) -> Option<bool> {
        let l4 = self.l4(frame);
        if self.parsed.fragment != Fragment::None || l4.len() != usize::from(self.parsed.l4_len()) {
            return None;
        }
        let protocol = self.parsed.protocol;
        match (protocol, self.tuple.src) {
            (protocol::UDP, IpAddr::V4(_)) if l4.get(6..8) == Some(&[0, 0]) => return Some(true),
            (protocol::UDP | protocol::TCP, _) => {}
            _ => return None,
        }
        let pseudo = match (self.tuple.src, self.tuple.dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => pseudo_v4(src, dst, protocol, l4.len() as u16),
            (IpAddr::V6(src), IpAddr::V6(dst)) => pseudo_v6(src, dst, protocol, l4.len() as u32),
            _ => return None,
        };
        Some(is_valid(combine(pseudo, sum(l4))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Frame, Link};
    use tidegate::wire::ipv4::Ipv4Repr;

    const LINK: Link = Link { dst: MacAddr([2, 0, 0, 0, 0, 2]), src: MacAddr([2, 0, 0, 0, 0, 1]), vlan: None };

    fn frame(is_ipv6: bool) -> Vec<u8> {
        let address = |n: u8| -> IpAddr { if is_ipv6 { [n; 16].into() } else { [n; 4].into() } };
        let tuple = FiveTuple { src: address(0x20), dst: address(0x21), sport: 4000, dport: 80, protocol: 17 };
        let mut bytes = Vec::new();
        assert!(Frame { link: LINK, tuple, segment: None, ip_id: 1, payload: b"payload of a test" }.build(&mut bytes));
        bytes
    }

    /// The frame's packet behind an outer IPv4 header.
    fn tunnelled(inner: &[u8], protocol: u8, header: &[u8]) -> Vec<u8> {
        let packet = parse(inner, inner.len()).unwrap();
        let body = [header, &inner[14..packet.ip_end()]].concat();
        let mut frame = inner[..12].to_vec();
        frame.extend([8, 0]);
        frame.resize(34, 0);
        let repr = Ipv4Repr {
            src: [10, 0, 0, 1].into(),
            dst: [10, 1, 0, 11].into(),
            protocol,
            payload_len: body.len() as u16,
            ttl: 64,
            traffic_class: 0,
            id: 0,
            df: true,
        };
        assert_eq!(repr.emit(&mut frame[14..]), Some(20));
        frame.extend(body);
        frame
    }

    #[test]
    fn tunnels_are_taken_off() {
        let outer = Some(IpAddr::from([10, 1, 0, 11]));
        for (is_ipv6, protocol, header, start) in [
            (false, 47, &[0, 0, 8, 0][..], 24),
            (true, 47, &[0, 0, 0x86, 0xdd], 24),
            (false, 4, &[], 20),
            (true, 41, &[], 20),
        ] {
            let plain = frame(is_ipv6);
            let mut bytes = tunnelled(&plain, protocol, header);
            let len = bytes.len();
            let seen = see(&mut bytes, len).unwrap();
            assert_eq!((seen.outer, seen.start, seen.macs), (outer, start, (LINK.dst, LINK.src)));
            assert_eq!((seen.tuple.sport, seen.tuple.dport), (4000, 80));
            assert_eq!(seen.payload(&bytes), b"payload of a test");
            assert_eq!(seen.is_checksum_right(&bytes), Some(true));
            assert_eq!(bytes[start..], plain[..len - start], "a whole frame stands there");
        }
    }

    #[test]
    fn plain_frames_stay_as_they_are() {
        let mut bytes = frame(false);
        let before = bytes.clone();
        let seen = see(&mut bytes, before.len()).unwrap();
        assert_eq!((seen.outer, seen.start, bytes), (None, 0, before.clone()));
        let mut wrong = before;
        wrong[50] ^= 1;
        let len = wrong.len();
        assert_eq!(see(&mut wrong, len).unwrap().is_checksum_right(&wrong), Some(false));
    }

    #[test]
    fn what_is_wrong_is_refused() {
        let mut cut = frame(false);
        cut.truncate(30);
        assert_eq!(see(&mut cut, 30).unwrap_err(), Unseen::Malformed);
        let mut gre = tunnelled(&frame(false), 47, &[0x10, 0, 8, 0]);
        let len = gre.len();
        assert_eq!(see(&mut gre, len).unwrap_err(), Unseen::Malformed);
        let mut arp = vec![0; 60];
        put(&mut arp, 12, &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
        assert_eq!(see(&mut arp, 60).unwrap_err(), Unseen::Arp(14));
        assert_eq!(see(&mut [0; 5], 5).unwrap_err(), Unseen::Malformed);
    }
}
