//! Views and emitted headers of IP, TCP, UDP, GRE, Ethernet and ARP, against captures, the oracle and each other.

use std::net::Ipv4Addr;

use etherparse::PacketBuilder;
use proptest::prelude::*;

use super::frames::{plain, reference_checksum, spec};
use super::hex;
use crate::wire::arp::{Arp, ArpError};
use crate::wire::checksum::{finish, pseudo_v4, pseudo_v6};
use crate::wire::ethernet::{self, EtherType, MacAddr};
use crate::wire::gre::{self, Gre, GreError};
use crate::wire::ipv4::{Ipv4Error, Ipv4Packet, Ipv4Repr};
use crate::wire::ipv6::{Ipv6Error, Ipv6Packet, Ipv6Repr};
use crate::wire::parse::{Kind, ParseError, parse};
use crate::wire::tcp::{TcpError, TcpOption, TcpPacket, flags};
use crate::wire::udp::{UdpPacket, UdpRepr};

/// The start of a TCP connection that Linux 6 opened; its checksum is only that of the pseudo-header.
const SYN: &str = "42be034845380ea0b9f2c27608004500003c475740004006cd500a0909010a090902b10c0050dcb1875e00000000a002faf026430000\
                   020405b40402080a69d6a63a000000000103030a";

#[test]
fn mac_addresses_are_read_and_shown() {
    let mac: MacAddr = "02:00:00:Ab:cD:0f".parse().unwrap();
    assert_eq!(mac, MacAddr([2, 0, 0, 0xAB, 0xCD, 0x0F]));
    assert_eq!(mac.to_string(), "02:00:00:ab:cd:0f");
    assert_eq!("02-00-00-ab-cd-0f".parse(), Ok(mac));
    for wrong in [
        "",
        "02:00:00:00:00",
        "02:00:00:00:00:01:02",
        "02:00:00:00:00:+1",
        "2:0:0:0:0:1",
        "02:00-00:00:00:01",
        "é:00:00:00:00:1",
    ] {
        let error = wrong.parse::<MacAddr>().unwrap_err();
        assert!(error.to_string().contains(wrong) && error.to_string().contains("02:00:00:00:00:01"));
    }
    assert!(MacAddr::BROADCAST.is_multicast() && !MacAddr::BROADCAST.is_unicast() && !MacAddr::ZERO.is_unicast());
    assert!(mac.is_unicast());
    let (v4, v6) = (Ipv4Addr::new(224, 129, 2, 3), "ff02::1:ff48:4538".parse().unwrap());
    assert_eq!(MacAddr::ipv4_multicast(v4).to_string(), "01:00:5e:01:02:03");
    assert_eq!(MacAddr::ipv6_multicast(v6).to_string(), "33:33:ff:48:45:38");
}

#[test]
fn ethernet_headers_are_emitted() {
    let (dst, src) = (MacAddr([1; 6]), MacAddr([2; 6]));
    let mut buf = [0xEE; 20];
    assert_eq!(ethernet::emit(&mut buf, dst, src, None, EtherType::IPV4), Some(14));
    assert_eq!(buf[..16], [1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 8, 0, 0xEE, 0xEE]);
    assert_eq!(ethernet::emit(&mut buf, src, dst, Some(0x1064), EtherType::IPV6), Some(18));
    assert_eq!(buf[12..], [0x81, 0, 0, 0x64, 0x86, 0xDD, 0xEE, 0xEE]);
    assert_eq!((ethernet::dst(&buf), ethernet::src(&buf)), (Some(src), Some(dst)));
    assert_eq!(ethernet::emit(&mut buf[..17], dst, src, Some(1), EtherType::ARP), None);
    assert_eq!(ethernet::emit(&mut buf[..13], dst, src, None, EtherType::ARP), None);
    assert_eq!((ethernet::dst(&buf[..13]), ethernet::src(&buf[..13])), (None, None));
    assert_eq!(buf[12..14], [0x81, 0], "what does not fit must not be written in part");
}

#[test]
fn captured_arp_is_read_and_written_alike() {
    let request = hex("ffffffffffff0ea0b9f2c276080600010800060400010ea0b9f2c2760a0909010000000000000a090902");
    let reply = hex("0ea0b9f2c27642be034845380806000108000604000242be034845380a0909020ea0b9f2c2760a090901");
    assert_eq!(parse(&request, request.len()).unwrap().kind, Kind::Arp);
    let asked = Arp::parse(&request[14..]).unwrap();
    let (sha, spa) = (MacAddr([0x0E, 0xA0, 0xB9, 0xF2, 0xC2, 0x76]), Ipv4Addr::new(10, 9, 9, 1));
    assert_eq!(asked, Arp::request(sha, spa, Ipv4Addr::new(10, 9, 9, 2)));
    let mut buf = [0; 28];
    assert_eq!(asked.emit(&mut buf), Some(28));
    assert_eq!(buf, request[14..]);
    asked.reply(MacAddr([0x42, 0xBE, 0x03, 0x48, 0x45, 0x38])).emit(&mut buf).unwrap();
    assert_eq!(buf, reply[14..]);
    assert!(Arp::request(sha, spa, spa).is_gratuitous() && !asked.is_gratuitous());
    assert_eq!(asked.emit(&mut [0; 27]), None);
}

#[test]
fn arp_of_other_links_is_refused() {
    let mut buf = [0; 40];
    Arp::request(MacAddr([2; 6]), Ipv4Addr::LOCALHOST, Ipv4Addr::BROADCAST).emit(&mut buf).unwrap();
    assert!(Arp::parse(&buf).is_ok());
    let with = |at: usize, value: u8| {
        let mut other = buf;
        other[at] = value;
        Arp::parse(&other)
    };
    assert_eq!(with(1, 6), Err(ArpError::Hardware(6, 6)));
    assert_eq!(with(4, 8), Err(ArpError::Hardware(1, 8)));
    assert_eq!(with(3, 1), Err(ArpError::Protocol(0x0801, 4)));
    assert_eq!(with(5, 16), Err(ArpError::Protocol(0x0800, 16)));
    assert_eq!(Arp::parse(&buf[..27]), Err(ArpError::Truncated(27)));
}

#[test]
fn a_captured_syn_shows_its_options() {
    let frame = hex(SYN);
    let parsed = parse(&frame, frame.len()).unwrap();
    assert_eq!((parsed.sport, parsed.dport, parsed.tcp_flags, parsed.df), (45_324, 80, flags::SYN, true));
    let tcp = TcpPacket::new_checked(&frame[34..]).unwrap();
    assert_eq!((tcp.seq(), tcp.ack(), tcp.window(), tcp.header_len()), (0xDCB1_875E, 0, 64_240, 40));
    let expected = [
        TcpOption::Mss(1460),
        TcpOption::SackPermitted,
        TcpOption::Timestamps { value: 0x69D6_A63A, echo: 0 },
        TcpOption::WindowScale(10),
    ];
    assert!(tcp.options().eq(expected));
    // The kernel left the sum of the pseudo-header for the hardware to go on from.
    let pseudo = pseudo_v4(Ipv4Addr::new(10, 9, 9, 1), Ipv4Addr::new(10, 9, 9, 2), 6, 40);
    assert_eq!(tcp.checksum(), !finish(pseudo));
    assert!(!tcp.is_checksum_valid(pseudo));
}

#[test]
fn malformed_options_end_the_list() {
    let options = |bytes: &[u8]| {
        let mut tcp = vec![0; 20];
        tcp.extend(bytes);
        tcp.resize(tcp.len().next_multiple_of(4), 0);
        tcp[12] = (tcp.len() / 4) as u8 * 16;
        TcpPacket::new_checked(tcp).unwrap().options().map(|option| format!("{option:?}")).collect::<Vec<_>>()
    };
    assert_eq!(options(&[1, 1, 3, 3, 7, 0, 3, 3, 9]), ["WindowScale(7)"]);
    assert_eq!(options(&[2, 0, 1, 1]).len(), 0);
    assert_eq!(options(&[2, 1, 1, 1]).len(), 0);
    assert_eq!(options(&[1, 1, 1, 2]).len(), 0);
    assert_eq!(options(&[2, 5, 1, 1]).len(), 0);
    assert_eq!(options(&[2, 3, 1, 1]), ["Unknown { kind: 2, data: [1] }"]);
    assert_eq!(
        options(&[30, 2, 254, 4, 8, 9]),
        ["Unknown { kind: 30, data: [] }", "Unknown { kind: 254, data: [8, 9] }"]
    );
    assert_eq!(options(&[5, 10, 1, 2, 3, 4, 5, 6, 7, 8]), ["Sack([1, 2, 3, 4, 5, 6, 7, 8])"]);
    assert_eq!(options(&[5, 6, 1, 2, 3, 4]), ["Unknown { kind: 5, data: [1, 2, 3, 4] }"]);
    assert_eq!(TcpPacket::new_checked([0u8; 20]).err(), Some(TcpError::DataOffset(0)));
    let error = TcpPacket::new_checked([0x60u8; 20]).unwrap_err();
    assert_eq!(error.to_string(), "tcp header of 24 bytes in 20 bytes");
}

#[test]
fn mss_is_clamped_at_odd_places_too() {
    let (src, dst) = (Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2));
    for padding in 0..4 {
        let mut packet = vec![0x11; 40];
        packet[12] = 0xA0;
        packet[20..40].fill(1);
        packet[20 + padding..24 + padding].copy_from_slice(&[2, 4, 0x05, 0xB4]);
        packet.extend([7; 9]);
        let pseudo = pseudo_v4(src, dst, 6, packet.len() as u16);
        let mut tcp = TcpPacket::new_checked(&mut packet[..]).unwrap();
        tcp.fill_checksum(pseudo);
        assert!(!tcp.clamp_mss(1460) && tcp.options().eq([TcpOption::Mss(1460)]));
        assert!(tcp.clamp_mss(1436) && tcp.options().eq([TcpOption::Mss(1436)]));
        assert!(tcp.is_checksum_valid(pseudo), "{padding} bytes of padding");
        assert_eq!(packet[40..], [7; 9]);
    }
    let mut without = [0; 20];
    without[12] = 0x50;
    assert!(!TcpPacket::new_checked(&mut without[..]).unwrap().clamp_mss(1));
}

#[test]
fn views_refuse_what_is_too_short() {
    let frame = plain().build();
    assert!(matches!(Ipv4Packet::new_checked(&frame[14..33]), Err(Ipv4Error::Truncated(_))));
    assert!(Ipv4Packet::new_checked(&frame[14..34]).is_ok());
    assert_eq!(Ipv4Packet::new_checked([0x60; 60]).err(), Some(Ipv4Error::Version(6)));
    assert_eq!(Ipv4Packet::new_checked([0x44; 60]).err(), Some(Ipv4Error::HeaderLength(4)));
    assert!(matches!(Ipv4Packet::new_checked([0x4F; 59]), Err(Ipv4Error::Truncated(_))));
    assert!(matches!(Ipv6Packet::new_checked([0x60; 39]), Err(Ipv6Error::Truncated(_))));
    assert_eq!(Ipv6Packet::new_checked([0x45; 40]).err(), Some(Ipv6Error::Version(4)));
    assert!(UdpPacket::new_checked([0; 7]).is_err() && UdpPacket::new_checked([0; 8]).is_ok());
}

#[test]
fn every_ttl_is_decremented_with_its_checksum() {
    for ttl in 0..=255u8 {
        let mut frame = crate::wire::tests::frames::Spec { ttl, ..plain() }.build();
        let mut ip = Ipv4Packet::new_checked(&mut frame[14..]).unwrap();
        assert_eq!(ip.decrement_ttl(), ttl.saturating_sub(1));
        assert!(ip.is_checksum_valid());
        assert_eq!(ip.ttl(), ttl.saturating_sub(1));
    }
}

#[test]
fn gre_headers_follow_rfc_2784() {
    let mut buf = [0xEE; 8];
    assert_eq!(gre::emit(&mut buf, EtherType::IPV6), Some(4));
    assert_eq!(buf[..5], [0, 0, 0x86, 0xDD, 0xEE]);
    assert_eq!(Gre::parse(&buf), Ok(Gre { protocol: EtherType::IPV6, header_len: 4 }));
    assert_eq!(gre::emit(&mut buf[..3], EtherType::IPV4), None);
    assert_eq!(Gre::parse(&buf[..3]), Err(GreError::Truncated(3)));
    assert_eq!(Gre::parse(&[0x20, 0, 8, 0]), Err(GreError::Flags(0x2000)));
    assert_eq!(Gre::parse(&[0x04, 0, 8, 0]), Err(GreError::Flags(0x0400)));
    assert_eq!(Gre::parse(&[0, 1, 8, 0]), Err(GreError::Version(1)));
    assert_eq!(Gre::parse(&[0, 0, 8, 6]), Err(GreError::Protocol(0x0806)));
    // Bits 6 to 12 are reserved and ignored on receipt.
    assert!(Gre::parse(&[0x03, 0xF8, 8, 0]).is_ok());
    let mut summed = vec![0x80, 0, 8, 0, 0, 0, 0, 0, 1, 2, 3];
    let check = reference_checksum(&summed);
    summed[4..6].copy_from_slice(&check.to_be_bytes());
    assert_eq!(Gre::parse(&summed), Ok(Gre { protocol: EtherType::IPV4, header_len: 8 }));
    summed[10] ^= 1;
    assert_eq!(Gre::parse(&summed), Err(GreError::Checksum(check)));
    assert_eq!(Gre::parse(&summed[..7]), Err(GreError::Truncated(7)));
}

proptest! {
    #[test]
    fn emitted_ipv4_is_what_the_oracle_writes(
        (src, dst, ttl, id, df) in any::<([u8; 4], [u8; 4], u8, u16, bool)>(),
        traffic_class in any::<u8>(),
        payload in prop::collection::vec(any::<u8>(), 0..50),
    ) {
        let repr = Ipv4Repr {
            src: src.into(), dst: dst.into(), protocol: 47, ttl, traffic_class, id, df, payload_len: payload.len() as u16,
        };
        let mut oracle = etherparse::Ipv4Header::new(payload.len() as u16, ttl, etherparse::IpNumber::GRE, src, dst).unwrap();
        oracle.identification = id;
        oracle.dont_fragment = df;
        oracle.dscp = etherparse::IpDscp::try_new(traffic_class >> 2).unwrap();
        oracle.ecn = etherparse::IpEcn::try_new(traffic_class & 3).unwrap();
        oracle.header_checksum = oracle.calc_header_checksum();
        let mut buf = vec![0xEE; 20];
        prop_assert_eq!(repr.emit(&mut buf[..19]), None);
        prop_assert_eq!(repr.emit(&mut buf), Some(20));
        prop_assert_eq!(&buf[..], &oracle.to_bytes()[..]);
        buf.extend(&payload);
        buf.extend([0xEE; 3]);
        let view = Ipv4Packet::new_checked(&buf[..]).unwrap();
        prop_assert_eq!(view.payload(), &payload[..]);
        prop_assert_eq!(
            (view.src(), view.dst(), view.protocol(), view.ttl(), view.traffic_class(), view.id(), view.df(), view.total_len()),
            (repr.src, repr.dst, 47, ttl, traffic_class, id, df, 20 + repr.payload_len)
        );
    }

    #[test]
    fn ipv4_setters_change_their_field_alone(
        spec in spec(),
        (src, dst, traffic_class, id) in any::<([u8; 4], [u8; 4], u8, u16)>(),
        (df, offset, more, total_len, ttl) in (any::<bool>(), 0..0x2000u16, any::<bool>(), any::<u16>(), any::<u8>()),
    ) {
        let mut frame = super::frames::Spec { v6: false, tags: vec![], ..spec.clone() }.build();
        let mut ip = Ipv4Packet::new_checked(&mut frame[14..]).unwrap();
        let delta = ip.replace_src(src.into()).and(ip.replace_dst(dst.into()));
        prop_assert!(ip.is_checksum_valid());
        let pseudo = |src: [u8; 4], dst: [u8; 4]| finish(pseudo_v4(src.into(), dst.into(), 6, 40));
        let before = pseudo(*spec.src.first_chunk().unwrap(), *spec.dst.first_chunk().unwrap());
        prop_assert_eq!(delta.apply(before), pseudo(src, dst));
        ip.set_traffic_class(0);
        ip.set_ecn(traffic_class);
        ip.set_dscp(traffic_class >> 2);
        ip.set_id(id);
        ip.set_df(df);
        ip.set_fragment(offset << 3, more);
        ip.set_ttl(ttl);
        ip.set_protocol(99);
        ip.set_total_len(total_len);
        ip.fill_checksum();
        let oracle = etherparse::Ipv4HeaderSlice::from_slice(&frame[14..]).unwrap();
        prop_assert_eq!((oracle.source(), oracle.destination(), oracle.ttl(), oracle.protocol().0), (src, dst, ttl, 99));
        prop_assert_eq!((oracle.dcp().value(), oracle.ecn().value()), (traffic_class >> 2, traffic_class & 3));
        prop_assert_eq!((oracle.identification(), oracle.dont_fragment(), oracle.more_fragments()), (id, df, more));
        prop_assert_eq!((oracle.fragments_offset().value(), oracle.total_len()), (offset, total_len));
        prop_assert_eq!(oracle.header_checksum(), oracle.to_header().calc_header_checksum());
        let view = Ipv4Packet::new_checked(&frame[14..]).unwrap();
        prop_assert_eq!((view.fragment_offset(), view.more_fragments()), (offset << 3, more));
        prop_assert_eq!(view.options().len(), usize::from(spec.option_words) * 4);
    }

    #[test]
    fn emitted_ipv6_is_what_the_oracle_writes(
        (src, dst, hop_limit, traffic_class) in any::<([u8; 16], [u8; 16], u8, u8)>(),
        (flow_label, payload_len) in (0..1u32 << 20, any::<u16>()),
        other in any::<([u8; 16], [u8; 16], u8, u32)>(),
    ) {
        let repr = Ipv6Repr {
            src: src.into(), dst: dst.into(), next_header: 47, hop_limit, traffic_class, flow_label, payload_len,
        };
        let oracle = etherparse::Ipv6Header {
            traffic_class, flow_label: etherparse::Ipv6FlowLabel::try_new(flow_label).unwrap(), payload_length: payload_len,
            next_header: etherparse::IpNumber(47), hop_limit, source: src, destination: dst,
        };
        let mut buf = [0xEE; 41];
        prop_assert_eq!(repr.emit(&mut buf[..39]), None);
        prop_assert_eq!(repr.emit(&mut buf), Some(40));
        prop_assert_eq!(&buf[..40], &oracle.to_bytes()[..]);
        let view = Ipv6Packet::new_checked(&buf[..]).unwrap();
        prop_assert_eq!((view.traffic_class(), view.flow_label(), view.payload_len()), (traffic_class, flow_label, payload_len));

        let mut view = Ipv6Packet::new_checked(&mut buf[..]).unwrap();
        let delta = view.replace_src(other.0.into()).and(view.replace_dst(other.1.into()));
        let pseudo = |src: [u8; 16], dst: [u8; 16]| finish(pseudo_v6(src.into(), dst.into(), 6, 40));
        prop_assert_eq!(delta.apply(pseudo(src, dst)), pseudo(other.0, other.1));
        view.set_dscp(other.2 >> 2);
        view.set_ecn(other.2);
        view.set_flow_label(other.3);
        view.set_payload_len(9);
        view.set_next_header(17);
        view.decrement_hop_limit();
        let changed = etherparse::Ipv6Header::from_slice(&buf).unwrap().0;
        let expected = etherparse::Ipv6Header {
            traffic_class: other.2, flow_label: etherparse::Ipv6FlowLabel::try_new(other.3 & 0xF_FFFF).unwrap(), payload_length: 9,
            next_header: etherparse::IpNumber(17), hop_limit: hop_limit.saturating_sub(1), source: other.0, destination: other.1,
        };
        prop_assert_eq!(changed, expected);
    }

    #[test]
    fn transport_checksums_are_what_the_oracle_writes(
        (src, dst) in any::<([u8; 4], [u8; 4])>(),
        (sport, dport, seq, new_port) in any::<(u16, u16, u32, u16)>(),
        payload in prop::collection::vec(any::<u8>(), 0..60),
    ) {
        let mut frame = vec![];
        PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4(src, dst, 9).tcp(sport, dport, seq, 512).write(&mut frame, &payload).unwrap();
        let pseudo = pseudo_v4(src.into(), dst.into(), 6, (frame.len() - 34) as u16);
        let mut tcp = TcpPacket::new_checked(&mut frame[34..]).unwrap();
        prop_assert!(tcp.is_checksum_valid(pseudo));
        prop_assert_eq!((tcp.sport(), tcp.dport(), tcp.seq(), tcp.payload()), (sport, dport, seq, &payload[..]));
        let right = tcp.checksum();
        tcp.fill_checksum(pseudo);
        prop_assert_eq!(tcp.checksum(), right);
        tcp.set_dport(new_port);
        tcp.update_checksum(crate::wire::checksum::Delta::default().replace_u16(dport, new_port));
        prop_assert!(tcp.is_checksum_valid(pseudo));

        let mut frame = vec![];
        PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4(src, dst, 9).udp(sport, dport).write(&mut frame, &payload).unwrap();
        let mut emitted = [0; 8];
        UdpRepr { sport, dport, payload_len: payload.len() as u16 }.emit(&mut emitted).unwrap();
        prop_assert_eq!(&emitted[..6], &frame[34..40]);
        frame.extend([0xEE; 4]);
        let pseudo = pseudo_v4(src.into(), dst.into(), 17, (frame.len() - 38) as u16);
        let mut udp = UdpPacket::new_checked(&mut frame[34..]).unwrap();
        prop_assert!(udp.checksum() != 0 && udp.is_checksum_valid(pseudo));
        prop_assert_eq!((udp.sport(), udp.dport(), udp.payload()), (sport, dport, &payload[..]));
        let right = udp.checksum();
        udp.fill_checksum(pseudo);
        prop_assert_eq!(udp.checksum(), right);
        udp.set_sport(new_port);
        udp.update_checksum(crate::wire::checksum::Delta::default().replace_u16(sport, new_port));
        prop_assert!(udp.checksum() != 0 && udp.is_checksum_valid(pseudo));
        udp.set_checksum(0);
        udp.update_checksum(crate::wire::checksum::Delta::default().replace_u16(1, 2));
        prop_assert_eq!(udp.checksum(), 0);
    }

    #[test]
    fn an_encapsulated_packet_is_parsed_as_emitted(
        (src, dst, vlan) in (any::<[u8; 4]>(), any::<[u8; 4]>(), prop::option::of(1..4095u16)),
        inner in prop::collection::vec(any::<u8>(), 0..80),
    ) {
        let mut frame = vec![0; 18 + 20 + 4 + inner.len()];
        let l3 = ethernet::emit(&mut frame, MacAddr([2; 6]), MacAddr([4; 6]), vlan, EtherType::IPV4).unwrap();
        let repr = Ipv4Repr {
            src: src.into(), dst: dst.into(), protocol: 47, ttl: 64, traffic_class: 0, id: 0, df: true, payload_len: 4 + inner.len() as u16,
        };
        let l4 = l3 + repr.emit(&mut frame[l3..]).unwrap();
        let data = l4 + gre::emit(&mut frame[l4..], EtherType::IPV4).unwrap();
        frame[data..data + inner.len()].copy_from_slice(&inner);
        frame.truncate(data + inner.len());
        let parsed = parse(&frame, frame.len()).unwrap();
        prop_assert_eq!((usize::from(parsed.l3), usize::from(parsed.l4), parsed.vlan_id()), (l3, l4, vlan));
        prop_assert_eq!(usize::from(parsed.l4_len()), 4 + inner.len());
        prop_assert_eq!(parsed.five_tuple_v4(&frame).dst, repr.dst);
        prop_assert_eq!(Gre::parse(&frame[l4..]).unwrap().header_len, 4);
        frame[l3 + 8] ^= 1;
        prop_assert!(matches!(parse(&frame, frame.len()), Err(ParseError::Ipv4Checksum(_))));
    }
}

#[test]
fn headers_of_packets_too_long_are_not_emitted() {
    let any = Ipv4Addr::UNSPECIFIED;
    let repr =
        Ipv4Repr { src: any, dst: any, protocol: 4, ttl: 1, traffic_class: 0, id: 0, df: false, payload_len: 65_516 };
    assert_eq!(repr.emit(&mut [0; 20]), None);
    assert_eq!(Ipv4Repr { payload_len: 65_515, ..repr }.emit(&mut [0; 20]), Some(20));
    assert_eq!(UdpRepr { sport: 1, dport: 2, payload_len: 65_528 }.emit(&mut [0; 8]), None);
}
