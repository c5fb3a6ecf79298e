//! Prepared headers that become a packet by a copy and a few fields.

use std::net::{IpAddr, SocketAddr};

use tidegate::wire::checksum::{combine, finish, finish_udp, sum};
use tidegate::wire::parse::FiveTuple;
use tidegate::wire::protocol;
use tidegate::wire::{ipv6, tcp, udp};

use crate::conversation::Segment;
use crate::frame::{FRAME_LEN_MIN, Frame, Link, headers_len};
use crate::stamp::{self, Stamp};

/// Room for the longest headers: VLAN, IPv6, and TCP with one option.
const HEAD_MAX: usize = 96;

/// Who sends a packet; made once, so that its part of the checksums is known.
#[derive(Clone, Copy, Debug)]
pub struct Source {
    /// IPv4 in the first four bytes.
    address: [u8; 16],
    port: u16,
    /// Partial checksum of the address.
    sum: u32,
}

impl Source {
    /// A client's address and port.
    #[must_use]
    pub fn new(address: IpAddr, port: u16) -> Self {
        let mut bytes = [0; 16];
        match address {
            IpAddr::V4(v4) => put(&mut bytes, 0, &v4.octets()),
            IpAddr::V6(v6) => bytes = v6.octets(),
        }
        Self { address: bytes, port, sum: sum(&bytes) }
    }
}

/// The fields of TCP that differ between segments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Numbers {
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgment number.
    pub ack: u32,
    /// Flags.
    pub flags: u8,
}

/// The headers of all packets to one server, without what differs between them.
#[derive(Clone, Debug)]
pub struct Template {
    head: [u8; HEAD_MAX],
    head_len: usize,
    /// Offsets of the headers.
    l3: usize,
    l4: usize,
    is_ipv6: bool,
    is_tcp: bool,
    /// Partial checksum of the IPv4 header.
    ip_sum: u32,
    /// Partial checksum of pseudo-header and header.
    l4_sum: u32,
}

impl Template {
    /// Headers of UDP, of TCP, or of a TCP SYN with its option. `None` where they do not fit, which no headers are.
    #[must_use]
    pub fn new(link: Link, server: SocketAddr, protocol: u8, is_syn: bool) -> Option<Self> {
        let nobody = if server.is_ipv6() { IpAddr::from([0_u8; 16]) } else { IpAddr::from([0_u8; 4]) };
        let tuple = FiveTuple { src: nobody, dst: server.ip(), sport: 0, dport: server.port(), protocol };
        let flags = if is_syn { tcp::flags::SYN } else { 0 };
        let is_tcp = protocol == protocol::TCP;
        let segment = is_tcp.then_some(Segment { seq: 0, ack: 0, flags, has_data: false });
        let mut frame = Vec::new();
        if !(Frame { link, tuple, segment, ip_id: 0, payload: &[] }).build(&mut frame) {
            return None;
        }
        let head_len = headers_len(link.vlan, server.is_ipv6(), segment.as_ref());
        let l4_len = head_len - headers_len(link.vlan, server.is_ipv6(), None) + udp::HEADER_LEN;
        let l4 = head_len - l4_len;
        let l3 = l4 - if server.is_ipv6() { ipv6::HEADER_LEN } else { 20 };
        frame.truncate(head_len);
        // Lengths, checksums and flags are written into each packet.
        if server.is_ipv6() {
            put(&mut frame, l3 + 4, &[0; 2])
        } else {
            put(&mut frame, l3 + 2, &[0; 2])
        }
        if !server.is_ipv6() {
            put(&mut frame, l3 + 10, &[0; 2]);
        }
        if is_tcp {
            put(&mut frame, l4 + 13, &[0]);
            put(&mut frame, l4 + 16, &[0; 2]);
        } else {
            put(&mut frame, l4 + 4, &[0; 4]);
        }
        let part = |from: usize, to: usize| frame.get(from..to).map_or(0, sum);
        let destination = if server.is_ipv6() { part(l3 + 24, l3 + 40) } else { part(l3 + 16, l3 + 20) };
        let ip_sum = part(l3, l4);
        let l4_sum = combine(combine(destination, part(l4, head_len)), u32::from(protocol));
        let mut head = [0; HEAD_MAX];
        head.get_mut(..head_len)?.copy_from_slice(&frame);
        Some(Self { head, head_len, l3, l4, is_ipv6: server.is_ipv6(), is_tcp, ip_sum, l4_sum })
    }

    /// Length of the headers in bytes.
    #[inline]
    #[must_use]
    pub const fn head_len(&self) -> usize {
        self.head_len
    }

    /// Length in bytes of a frame with that payload.
    #[inline]
    #[must_use]
    pub fn frame_len(&self, payload_len: usize) -> usize {
        (self.head_len + payload_len).max(FRAME_LEN_MIN)
    }

    /// Writes a packet to `frame`, all of which it takes, with `payload_len` bytes of payload: the stamp as far as there
    /// is one and room for it, then zeros. `frame` must have [`frame_len`](Self::frame_len) bytes.
    #[inline]
    pub fn write(&self, frame: &mut [u8], source: &Source, numbers: Numbers, payload_len: usize, stamp: Option<Stamp>) {
        let (Some(head), Some((to, payload))) =
            (self.head.get(..self.head_len), frame.split_at_mut_checked(self.head_len))
        else {
            return;
        };
        to.copy_from_slice(head);
        let l4_len = (self.head_len - self.l4 + payload_len) as u16;
        let mut l4_sum = combine(self.l4_sum, source.sum + u32::from(source.port) + u32::from(l4_len));
        match stamp.filter(|_| payload_len >= stamp::LEN) {
            Some(stamp) => {
                let bytes = stamp.to_bytes();
                l4_sum = combine(l4_sum, sum(&bytes));
                put(payload, 0, &bytes);
                payload.get_mut(stamp::LEN..).unwrap_or_default().fill(0);
            }
            None => payload.fill(0),
        }
        if self.is_ipv6 {
            put(to, self.l3 + 4, &l4_len.to_be_bytes());
            put(to, self.l3 + 8, &source.address);
        } else {
            let [a, b, c, d, ..] = source.address;
            let ip_len = (self.l4 - self.l3) as u16 + l4_len;
            let check = finish(combine(self.ip_sum, source.sum + u32::from(ip_len)));
            put(to, self.l3 + 2, &ip_len.to_be_bytes());
            put(to, self.l3 + 10, &check.to_be_bytes());
            put(to, self.l3 + 12, &[a, b, c, d]);
        }
        put(to, self.l4, &source.port.to_be_bytes());
        if self.is_tcp {
            let Numbers { seq, ack, flags } = numbers;
            let words = (seq >> 16) + (seq & 0xffff) + (ack >> 16) + (ack & 0xffff) + u32::from(flags);
            put(to, self.l4 + 4, &seq.to_be_bytes());
            put(to, self.l4 + 8, &ack.to_be_bytes());
            put(to, self.l4 + 13, &[flags]);
            put(to, self.l4 + 16, &finish(combine(l4_sum, words)).to_be_bytes());
        } else {
            // The length stands in the header as well as in the pseudo-header.
            let check = finish_udp(combine(l4_sum, u32::from(l4_len)));
            put(to, self.l4 + 4, &l4_len.to_be_bytes());
            put(to, self.l4 + 6, &check.to_be_bytes());
        }
    }
}

/// Writes `bytes` at an offset; nothing where they do not fit.
#[inline]
pub fn put(to: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(to) = to.get_mut(at..).and_then(|to| to.get_mut(..bytes.len())) {
        to.copy_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tidegate::wire::ethernet::MacAddr;

    const LINK: Link = Link { dst: MacAddr([2, 0, 0, 0, 0, 2]), src: MacAddr([2, 0, 0, 0, 0, 1]), vlan: None };

    proptest! {
        #[test]
        fn is_what_the_frame_builder_makes(
            is_ipv6: bool, src: u128, dst: u128, ports: (u16, u16), vlan in prop::option::of(1_u16..4095),
            tcp in prop::option::of((any::<u32>(), any::<u32>(), any::<u8>())),
            payload_len in 0_usize..1400, stamped: bool,
        ) {
            let address = |bits: u128| if is_ipv6 { IpAddr::V6(bits.into()) } else { IpAddr::V4((bits as u32).into()) };
            let protocol = if tcp.is_some() { 6 } else { 17 };
            let link = Link { vlan, ..LINK };
            let segment = tcp.map(|(seq, ack, flags)| Segment { seq, ack, flags, has_data: true });
            let server = SocketAddr::new(address(dst), ports.1);
            let is_syn = segment.is_some_and(|segment| segment.is_syn());
            let template = Template::new(link, server, protocol, is_syn).unwrap();
            let stamp = stamped.then_some(Stamp { run: 7, flow: 8, seq: 9, ns: 10 });
            let numbers = tcp.map_or_else(Numbers::default, |(seq, ack, flags)| Numbers { seq, ack, flags });
            let mut found = vec![0xee; template.frame_len(payload_len)];
            template.write(&mut found, &Source::new(address(src), ports.0), numbers, payload_len, stamp);

            let mut payload = vec![0; payload_len];
            if let (Some(stamp), true) = (stamp, payload_len >= stamp::LEN) {
                payload[..stamp::LEN].copy_from_slice(&stamp.to_bytes());
            }
            let tuple = FiveTuple { src: address(src), dst: address(dst), sport: ports.0, dport: ports.1, protocol };
            let mut expected = Vec::new();
            let is_built = Frame { link, tuple, segment, ip_id: 0, payload: &payload }.build(&mut expected);
            prop_assert!(is_built);
            prop_assert_eq!(found, expected);
        }
    }
}
