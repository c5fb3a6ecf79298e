//! Outer headers through another library's eyes.

use etherparse::{Ipv4HeaderSlice, Ipv6HeaderSlice, UdpHeaderSlice};
use proptest::prelude::*;

use super::*;
use crate::lb::testing::{Frame, internet_checksum, ip};
use crate::wire::parse::parse;

/// A packet and what is known of it.
fn packet(v4: bool, is_udp: bool, class: u8, len: usize, df: bool, id: u16) -> (Vec<u8>, Inner) {
    let (src, dst) = if v4 { ("198.51.100.7:1", "192.0.2.1:2") } else { ("[2001:db8::7]:1", "[2001:db8::1]:2") };
    let frame = if is_udp { Frame::udp(src, dst) } else { Frame::ack(src, dst) };
    let frame = frame.with(|f| (f.tos, f.df, f.id, f.payload) = (class, df, id, vec![0x5c; len]));
    let bytes = frame.build();
    (frame.packet(), Inner::of(&parse(&bytes, bytes.len()).unwrap()))
}

/// Of what is between outer IP header and packet: the bytes, and the length that the outer header has to say.
fn check_between(
    outer: &Outer,
    upper: &[u8],
    packet: &[u8],
    inner: &Inner,
    spec: &TunnelSpec,
) -> Result<(), TestCaseError> {
    let v4 = packet[0] >> 4 == 4;
    match outer.vary().encap {
        Encap::Ipip => prop_assert!(upper.is_empty()),
        Encap::Gre => prop_assert_eq!(upper, if v4 { [0, 0, 0x08, 0x00] } else { [0, 0, 0x86, 0xdd] }),
        Encap::Gue => {
            let udp = UdpHeaderSlice::from_slice(upper).unwrap();
            prop_assert_eq!(udp.destination_port(), spec.gue_port);
            prop_assert_eq!(udp.source_port(), 49_152 + (inner.entropy >> 16) as u16 % 16_384);
            prop_assert_eq!(usize::from(udp.length()), 8 + packet.len());
            if outer.is_v4() {
                prop_assert_eq!(udp.checksum(), 0);
            }
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn outer_headers_are_right(
        encap in prop::sample::select(vec![Encap::Gre, Encap::Ipip, Encap::Gue]),
        outer_v4: bool,
        (inner_v4, is_udp, class, df, id) in any::<(bool, bool, u8, bool, u16)>(),
        len in prop_oneof![0usize..1500, 60_000usize..65_400],
        (a, b) in any::<(u128, u128)>(),
        (entropy, gue_port) in any::<(u32, u16)>(),
        ttl in 1u8..,
        dscp in prop::option::of(0u8..64),
    ) {
        let address = |n: u128| -> IpAddr {
            if outer_v4 { Ipv4Addr::from(n as u32).into() } else { Ipv6Addr::from(n).into() }
        };
        let spec = TunnelSpec { gue_port, ttl, dscp };
        let outer = Outer::new(encap, &spec, (address(a), address(b)), !inner_v4, 7).unwrap();
        let (packet, inner) = packet(inner_v4, is_udp, class, len, df, id);
        let inner = Inner { entropy, ..inner };
        let header = &outer.header(&inner, &packet)[..outer.overhead()];
        let protocol = match (encap, inner_v4) {
            (Encap::Gre, _) => 47,
            (Encap::Gue, _) => 17,
            (Encap::Ipip, true) => 4,
            (Encap::Ipip, false) => 41,
        };
        let class = dscp.map_or(class, |dscp| dscp << 2 | class & 3);
        if outer_v4 {
            prop_assert_eq!((outer.overhead(), outer.ethertype()), (20 + encap.header_len(), 0x0800));
            let h = Ipv4HeaderSlice::from_slice(header).unwrap();
            prop_assert_eq!(h.header_checksum(), h.to_header().calc_header_checksum());
            prop_assert_eq!(usize::from(h.total_len()), outer.overhead() + packet.len());
            prop_assert_eq!((h.dcp().value(), h.ecn().value()), (class >> 2, class & 3));
            prop_assert_eq!(h.dont_fragment(), df || !inner_v4, "RFC 2003 3.1");
            prop_assert!(!h.more_fragments() && h.fragments_offset().value() == 0);
            prop_assert_eq!(h.identification(), if df || !inner_v4 { 0 } else { id });
            prop_assert_eq!((h.protocol().0, h.ttl(), h.ihl()), (protocol, ttl, 5));
            prop_assert_eq!((IpAddr::from(h.source_addr()), IpAddr::from(h.destination_addr())), (address(a), address(b)));
            check_between(&outer, &header[20..], &packet, &inner, &spec)?;
        } else {
            prop_assert_eq!((outer.overhead(), outer.ethertype()), (40 + encap.header_len(), 0x86dd));
            let h = Ipv6HeaderSlice::from_slice(header).unwrap();
            prop_assert_eq!(usize::from(h.payload_length()), encap.header_len() + packet.len());
            prop_assert_eq!(h.traffic_class(), class);
            prop_assert_eq!(h.flow_label().value(), if encap == Encap::Gre { 0 } else { entropy & 0xf_ffff });
            prop_assert_eq!((h.next_header().0, h.hop_limit()), (protocol, ttl));
            prop_assert_eq!((IpAddr::from(h.source_addr()), IpAddr::from(h.destination_addr())), (address(a), address(b)));
            check_between(&outer, &header[40..], &packet, &inner, &spec)?;
            if encap == Encap::Gue {
                let pseudo = [&header[8..40], &(8 + packet.len() as u32).to_be_bytes(), &[0, 0, 0, 17]].concat();
                prop_assert_eq!(internet_checksum(&[&pseudo, &header[40..], &packet]), 0);
                prop_assert_ne!(&header[46..48], [0, 0]);
            }
        }
    }

    #[test]
    fn the_sum_of_a_packet_is_that_of_all_its_bytes(
        v4: bool,
        is_udp: bool,
        class: u8,
        payload in prop::collection::vec(any::<u8>(), 0..200),
        port: u16,
        unchecked: bool,
    ) {
        let src = if v4 { format!("198.51.100.7:{port}") } else { format!("[2001:db8::7]:{port}") };
        let dst = if v4 { "192.0.2.1:80" } else { "[2001:db8::1]:80" };
        let frame = if is_udp { Frame::udp(&src, dst) } else { Frame::ack(&src, dst) };
        let unchecked = unchecked && is_udp && v4;
        let frame = frame.with(|f| (f.tos, f.payload, f.l4_checksum) = (class, payload, unchecked.then_some(0)));
        let packet = frame.packet();
        let all = internet_checksum(&[&packet]);
        let same = |sum: u32| checksum::finish(sum) % 0xffff == all % 0xffff;
        prop_assert!(packet_sum(&packet, packet.len()).is_some_and(same));
        // With the headers alone the result is the same, or there is none.
        let headers = packet_sum(&packet[..if v4 { 28 } else { 48 }], packet.len());
        let is_known = !unchecked || packet.len() == 28;
        prop_assert_eq!(headers.map(same), is_known.then_some(true));
    }
}

#[test]
fn what_a_checksum_says_nothing_of_is_added_up() {
    let frame = Frame::udp("198.51.100.7:1", "192.0.2.1:2");
    let mut longer = frame.packet_with(&[&frame.packet()[20..], &[9; 5]].concat());
    let len = longer.len();
    assert_eq!(packet_sum(&longer[..30], len), None, "bytes behind the datagram");
    assert_eq!(packet_sum(&longer, len).map(checksum::finish), Some(internet_checksum(&[&longer])));
    longer[6] = 0x20;
    assert_eq!(packet_sum(&longer[..30], len), None, "a fragment");
    assert_eq!(packet_sum(&[], 0), Some(0));
    assert_eq!(packet_sum(&[0x45; 19], 40), None);
    assert_eq!(packet_sum(&[0x60; 39], 79), None);
}

#[test]
fn every_traffic_class_has_a_right_checksum() {
    for encap in [Encap::Gre, Encap::Ipip, Encap::Gue] {
        let ends = (ip("10.0.0.2"), ip("10.1.0.3"));
        let outer = Outer::new(encap, &TunnelSpec::default(), ends, false, 0).unwrap();
        for traffic_class in 0..=255 {
            for ip_len in [20, 21, 40, 576, 1476, 65_507] {
                for df in [false, true] {
                    let inner = Inner { traffic_class, ip_len, id: [0xff; 2], df, entropy: 0 };
                    let header = outer.header(&inner, &[0x45]);
                    let h = Ipv4HeaderSlice::from_slice(&header[..20]).unwrap();
                    assert_eq!(
                        h.header_checksum(),
                        h.to_header().calc_header_checksum(),
                        "{traffic_class} {ip_len} {df}"
                    );
                }
            }
        }
    }
}

/// Rule 10: flows are spread evenly, and each has its own way.
#[test]
fn flows_are_spread_over_source_ports_and_labels() {
    let ends = (ip("10.0.0.2"), ip("10.1.0.3"));
    let vary = |seed| Outer::new(Encap::Gue, &TunnelSpec::default(), ends, false, seed).unwrap().vary();
    let (mut by_port, mut by_label) = ([0u32; 16], [0u32; 16]);
    let mut same = 0;
    for n in 0..16_000u16 {
        // One client's ports in turn are the hardest case.
        let words =
            Words { addresses: [0x0100_0002_0703_33c6, 0, 0, 0], ends: crate::lb::table::ends(1024 + n, 80, 6) };
        let entropy = vary(7).entropy(&words, false);
        by_port[(entropy >> 16) as usize % 16] += 1;
        by_label[entropy as usize % 16] += 1;
        same += u32::from(entropy == vary(8).entropy(&words, false));
    }
    assert!(by_port.iter().chain(&by_label).all(|n| (850..1150).contains(n)), "{by_port:?} {by_label:?}");
    assert!(same < 5, "another seed gives other ways");
}
