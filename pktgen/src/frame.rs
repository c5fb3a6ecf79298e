//! Frames as bytes: Ethernet, IP, TCP or UDP, with all checksums.

use crate::conversation::Segment;
use std::net::IpAddr;
use tidegate::wire::checksum::{combine, finish, pseudo_v4, pseudo_v6, sum};
use tidegate::wire::ethernet::{self, EtherType, MacAddr};
use tidegate::wire::ipv4::{self, Ipv4Repr};
use tidegate::wire::ipv6::{self, Ipv6Repr};
use tidegate::wire::parse::FiveTuple;
use tidegate::wire::udp::{self, UdpPacket, UdpRepr};
use tidegate::wire::{protocol, tcp};

/// Shortest Ethernet frame in bytes, without the frame check sequence.
pub const FRAME_LEN_MIN: usize = 60;
/// Length of the frame check sequence in bytes, which the sizes of profiles include and frames in memory do not.
pub const FCS_LEN: u16 = 4;
/// Longest frame that is generated, in bytes without the frame check sequence.
pub const FRAME_LEN_MAX: usize = 9000;

const TTL: u8 = 64;
const WINDOW: u16 = 65_535;
/// Kind and length of the maximum segment size option (RFC 9293 section 3.2).
const MSS_OPTION: [u8; 2] = [2, 4];
const MSS_OPTION_LEN: usize = 4;
/// Largest packet on an ordinary Ethernet, which the maximum segment size is announced for.
const MTU: usize = 1500;

/// The link layer, the same in all frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// Destination address.
    pub dst: MacAddr,
    /// Source address.
    pub src: MacAddr,
    /// VLAN of a tagged frame.
    pub vlan: Option<u16>,
}

/// What makes a frame. TCP takes its fields from `segment`; without one it is UDP.
#[derive(Debug, Clone, Copy)]
pub struct Frame<'a> {
    /// The link layer.
    pub link: Link,
    /// Addresses and ports.
    pub tuple: FiveTuple<IpAddr>,
    /// The fields of TCP.
    pub segment: Option<Segment>,
    /// Identification in the IPv4 header.
    pub ip_id: u16,
    /// What is behind the headers.
    pub payload: &'a [u8],
}

/// Length of all headers in bytes: what a frame without payload takes, but for padding.
#[must_use]
pub fn headers_len(vlan: Option<u16>, is_ipv6: bool, segment: Option<&Segment>) -> usize {
    let ip_len = if is_ipv6 { ipv6::HEADER_LEN } else { ipv4::HEADER_LEN };
    ethernet::header_len(vlan) + ip_len + l4_header_len(segment)
}

impl Frame<'_> {
    /// Writes the frame into `frame` in place of what was there, padded with zeros to 60 bytes. Returns false, with
    /// `frame` without meaning, where an IP packet cannot be so long or the two addresses are of different families.
    #[must_use]
    pub fn build(&self, frame: &mut Vec<u8>) -> bool {
        let l4_len = l4_header_len(self.segment.as_ref()) + self.payload.len();
        let headers_len = headers_len(self.link.vlan, self.tuple.dst.is_ipv6(), self.segment.as_ref());
        frame.clear();
        frame.resize(headers_len + self.payload.len(), 0);
        let written = self.write(frame, l4_len).is_some();
        frame.resize(frame.len().max(FRAME_LEN_MIN), 0);
        written
    }

    fn write(&self, frame: &mut [u8], l4_len: usize) -> Option<()> {
        let payload_len = u16::try_from(l4_len).ok()?;
        let FiveTuple { src, dst, protocol, .. } = self.tuple;
        let ethertype = if dst.is_ipv6() { EtherType::IPV6 } else { EtherType::IPV4 };
        let l3 = ethernet::emit(frame, self.link.dst, self.link.src, self.link.vlan, ethertype)?;
        let packet = frame.get_mut(l3..)?;
        let (ip_len, pseudo) = match (src, dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                let header =
                    Ipv4Repr { src, dst, protocol, ttl: TTL, traffic_class: 0, id: self.ip_id, df: true, payload_len };
                (header.emit(packet)?, pseudo_v4(src, dst, protocol, payload_len))
            }
            (IpAddr::V6(src), IpAddr::V6(dst)) => {
                let (next_header, hop_limit) = (protocol, TTL);
                let header =
                    Ipv6Repr { src, dst, next_header, hop_limit, traffic_class: 0, flow_label: 0, payload_len };
                (header.emit(packet)?, pseudo_v6(src, dst, protocol, u32::from(payload_len)))
            }
            _ => return None,
        };
        let l4 = packet.get_mut(ip_len..)?;
        let payload_at = l4_header_len(self.segment.as_ref());
        l4.get_mut(payload_at..)?.copy_from_slice(self.payload);
        match &self.segment {
            Some(segment) => self.write_tcp(segment, l4, pseudo),
            None => self.write_udp(l4, pseudo),
        }
    }

    fn write_udp(&self, l4: &mut [u8], pseudo: u32) -> Option<()> {
        let (sport, dport) = (self.tuple.sport, self.tuple.dport);
        UdpRepr { sport, dport, payload_len: u16::try_from(self.payload.len()).ok()? }.emit(l4)?;
        UdpPacket::new_checked(l4).ok()?.fill_checksum(pseudo);
        Some(())
    }

    fn write_tcp(&self, segment: &Segment, l4: &mut [u8], pseudo: u32) -> Option<()> {
        let header_len = l4_header_len(Some(segment));
        let ip_len = if self.tuple.dst.is_ipv6() { ipv6::HEADER_LEN } else { ipv4::HEADER_LEN };
        let mss = (MTU - ip_len - tcp::HEADER_LEN) as u16;
        let ports = self.tuple.sport.to_be_bytes().into_iter().chain(self.tuple.dport.to_be_bytes());
        let numbers = segment.seq.to_be_bytes().into_iter().chain(segment.ack.to_be_bytes());
        let control = [(header_len as u8 / 4) << 4, segment.flags].into_iter().chain(WINDOW.to_be_bytes());
        // Checksum, filled in below, and urgent pointer; then the option, which only a SYN has room for.
        let rest = [0; 4].into_iter().chain(MSS_OPTION).chain(mss.to_be_bytes());
        let header = ports.chain(numbers).chain(control).chain(rest);
        for (to, from) in l4.get_mut(..header_len)?.iter_mut().zip(header) {
            *to = from;
        }
        let check = finish(combine(pseudo, sum(l4)));
        l4.get_mut(16..18)?.copy_from_slice(&check.to_be_bytes());
        Some(())
    }
}

fn l4_header_len(segment: Option<&Segment>) -> usize {
    match segment {
        Some(segment) if segment.is_syn() => tcp::HEADER_LEN + MSS_OPTION_LEN,
        Some(_) => tcp::HEADER_LEN,
        None => udp::HEADER_LEN,
    }
}

/// The protocol that traffic is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Protocol {
    /// Datagrams.
    #[default]
    Udp,
    /// Connections; see `--kind`.
    Tcp,
}

impl Protocol {
    /// The IP protocol number.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Udp => protocol::UDP,
            Self::Tcp => protocol::TCP,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::{NetSlice, SlicedPacket, TransportSlice};
    use proptest::prelude::*;
    use tidegate::wire::tcp::flags;

    fn build(frame: &Frame<'_>) -> Vec<u8> {
        let mut bytes = vec![0xee; 3];
        assert!(frame.build(&mut bytes));
        bytes
    }

    fn tuple(is_ipv6: bool, src: u128, dst: u128, protocol: u8) -> FiveTuple<IpAddr> {
        let address = |bits: u128| {
            if is_ipv6 { IpAddr::V6(bits.into()) } else { IpAddr::V4((bits as u32).into()) }
        };
        FiveTuple { src: address(src), dst: address(dst), sport: 40_000, dport: 80, protocol }
    }

    const LINK: Link = Link { dst: MacAddr([2, 0, 0, 0, 0, 2]), src: MacAddr([2, 0, 0, 0, 0, 1]), vlan: None };

    /// The addresses, once the checksums of IP and of the transport were asserted.
    fn checked_addresses(net: &NetSlice<'_>, transport: &TransportSlice<'_>) -> (IpAddr, IpAddr) {
        match net {
            NetSlice::Ipv4(ip) => {
                let header = ip.header().to_header();
                let (src, dst) = (header.source, header.destination);
                assert_eq!(header.calc_header_checksum(), header.header_checksum);
                match transport {
                    TransportSlice::Tcp(tcp) => assert_eq!(tcp.calc_checksum_ipv4(src, dst), Ok(tcp.checksum())),
                    TransportSlice::Udp(udp) => {
                        let right = udp.to_header().calc_checksum_ipv4_raw(src, dst, udp.payload());
                        assert_eq!(right, Ok(udp.checksum()));
                    }
                    other => panic!("{other:?}"),
                }
                (src.into(), dst.into())
            }
            NetSlice::Ipv6(ip) => {
                let header = ip.header().to_header();
                let (src, dst) = (header.source, header.destination);
                match transport {
                    TransportSlice::Tcp(tcp) => assert_eq!(tcp.calc_checksum_ipv6(src, dst), Ok(tcp.checksum())),
                    TransportSlice::Udp(udp) => {
                        let right = udp.to_header().calc_checksum_ipv6_raw(src, dst, udp.payload());
                        assert_eq!(right, Ok(udp.checksum()));
                    }
                    other => panic!("{other:?}"),
                }
                (src.into(), dst.into())
            }
            other => panic!("{other:?}"),
        }
    }

    proptest! {
        #[test]
        fn an_independent_parser_finds_every_field_and_the_checksums_right(
            is_ipv6: bool, addresses: (u128, u128), vlan in prop::option::of(1_u16..4095), ip_id: u16,
            fields in prop::option::of((any::<u32>(), any::<u32>(), prop::sample::select(vec![flags::SYN, flags::ACK]))),
            payload in prop::collection::vec(any::<u8>(), 0..1500),
        ) {
            let segment = fields.map(|(seq, ack, flags)| Segment { seq, ack, flags, has_data: true });
            let tuple = tuple(is_ipv6, addresses.0, addresses.1, if segment.is_some() { 6 } else { 17 });
            let bytes = build(&Frame { link: Link { vlan, ..LINK }, tuple, segment, ip_id, payload: &payload });
            let expected_len = headers_len(vlan, is_ipv6, segment.as_ref()) + payload.len();
            prop_assert_eq!(bytes.len(), expected_len.max(60));
            let parsed = SlicedPacket::from_ethernet(&bytes).unwrap();
            prop_assert_eq!(parsed.vlan_ids().first().map(|id| id.value()), vlan);
            let net = parsed.net.unwrap();
            prop_assert_eq!(checked_addresses(&net, parsed.transport.as_ref().unwrap()), (tuple.src, tuple.dst));
            if let NetSlice::Ipv4(ip) = net {
                prop_assert_eq!((ip.header().identification(), ip.header().dont_fragment()), (ip_id, true));
            }
            match (parsed.transport.unwrap(), segment) {
                (TransportSlice::Tcp(tcp), Some(segment)) => {
                    prop_assert_eq!((tcp.source_port(), tcp.destination_port()), (40_000, 80));
                    prop_assert_eq!((tcp.sequence_number(), tcp.acknowledgment_number()), (segment.seq, segment.ack));
                    prop_assert_eq!((tcp.syn(), tcp.ack()), (segment.is_syn(), !segment.is_syn()));
                    prop_assert_eq!(tcp.payload(), &payload);
                }
                (TransportSlice::Udp(udp), None) => {
                    prop_assert_eq!((udp.source_port(), udp.destination_port()), (40_000, 80));
                    prop_assert_eq!(udp.payload(), &payload);
                }
                _ => prop_assert!(false, "another protocol"),
            }
        }
    }

    #[test]
    fn a_syn_announces_its_segment_size() {
        for (is_ipv6, mss) in [(false, 1460), (true, 1440)] {
            let segment = Some(Segment { seq: 1, ack: 0, flags: flags::SYN, has_data: false });
            let bytes = build(&Frame { link: LINK, tuple: tuple(is_ipv6, 1, 2, 6), segment, ip_id: 0, payload: &[] });
            let Some(TransportSlice::Tcp(tcp)) = SlicedPacket::from_ethernet(&bytes).unwrap().transport else {
                panic!("no TCP");
            };
            let options: Vec<_> = tcp.options_iterator().collect();
            assert_eq!(options, [Ok(etherparse::TcpOptionElement::MaximumSegmentSize(mss))]);
        }
    }

    #[test]
    fn what_fits_no_packet_is_refused() {
        let mut bytes = Vec::new();
        let frame = Frame { link: LINK, tuple: tuple(false, 1, 2, 17), segment: None, ip_id: 0, payload: &[0; 65_508] };
        assert!(!frame.build(&mut bytes));
        let mixed = FiveTuple { src: tuple(true, 1, 2, 17).src, ..frame.tuple };
        assert!(!Frame { tuple: mixed, payload: &[], ..frame }.build(&mut bytes));
    }
}
