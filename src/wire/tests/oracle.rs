//! Agreement with an independent parser.

use std::net::{Ipv4Addr, Ipv6Addr};

use etherparse::{IpSlice, NetSlice, SlicedPacket, TransportSlice};
use proptest::prelude::*;

use super::frames::{Spec, spec};
use crate::wire::parse::{FiveTuple, Fragment, Kind, Parsed, parse};

/// Compares all that both parsers tell about a frame that both take.
fn compare(frame: &[u8], parsed: &Parsed, sliced: &SlicedPacket<'_>) -> Result<(), TestCaseError> {
    let ids: Vec<u16> = sliced.vlan_ids().iter().map(|id| id.value()).collect();
    prop_assert_eq!(usize::from(parsed.tags), ids.len());
    prop_assert_eq!(parsed.vlan_id(), ids.iter().copied().find(|&id| id != 0));
    prop_assert_eq!(usize::from(parsed.vids), ids.iter().filter(|&&id| id != 0).count());
    let ip = match sliced.net.as_ref() {
        Some(NetSlice::Ipv4(ip)) => IpSlice::Ipv4(ip.clone()),
        Some(NetSlice::Ipv6(ip)) => IpSlice::Ipv6(ip.clone()),
        _ => {
            prop_assert_eq!(parsed.kind, Kind::Arp);
            return Ok(());
        }
    };
    match &ip {
        IpSlice::Ipv4(ip) => {
            let header = ip.header();
            prop_assert_eq!(parsed.kind, Kind::V4);
            prop_assert_eq!(parsed.ip_len, header.total_len());
            prop_assert_eq!(parsed.ip_id, header.identification());
            prop_assert_eq!(parsed.ttl, header.ttl());
            prop_assert_eq!(parsed.df, header.dont_fragment());
            prop_assert_eq!(parsed.more_fragments, header.more_fragments());
            prop_assert_eq!(parsed.fragment_offset, header.fragments_offset().value() * 8);
            prop_assert_eq!(parsed.traffic_class >> 2, header.dcp().value());
            prop_assert_eq!(parsed.traffic_class & 3, header.ecn().value());
        }
        IpSlice::Ipv6(ip) => {
            let header = ip.header();
            prop_assert_eq!(parsed.kind, Kind::V6);
            prop_assert_eq!(parsed.ip_len, header.payload_length() + 40);
            prop_assert_eq!(parsed.ttl, header.hop_limit());
            prop_assert_eq!(parsed.traffic_class, header.traffic_class());
        }
    }
    let payload = ip.payload();
    let l4 = payload.payload.as_ptr() as usize - frame.as_ptr() as usize;
    prop_assert_eq!(usize::from(parsed.l4), l4);
    prop_assert_eq!(usize::from(parsed.l4_len()), payload.payload.len());
    prop_assert_eq!(parsed.protocol, payload.ip_number.0);
    prop_assert_eq!(parsed.fragment != Fragment::None, payload.fragmented);
    let (sport, dport, flags) = match &sliced.transport {
        Some(TransportSlice::Tcp(tcp)) => (tcp.source_port(), tcp.destination_port(), tcp.slice()[13]),
        Some(TransportSlice::Udp(udp)) => (udp.source_port(), udp.destination_port(), 0),
        _ => (0, 0, 0),
    };
    if !payload.fragmented {
        prop_assert_eq!((parsed.sport, parsed.dport, parsed.tcp_flags), (sport, dport, flags));
    }
    match ip.source_addr() {
        std::net::IpAddr::V4(src) => prop_assert_eq!(parsed.five_tuple_v4(frame).src, src),
        std::net::IpAddr::V6(src) => prop_assert_eq!(parsed.five_tuple_v6(frame).src, src),
    }
    match ip.destination_addr() {
        std::net::IpAddr::V4(dst) => prop_assert_eq!(parsed.five_tuple_v4(frame).dst, dst),
        std::net::IpAddr::V6(dst) => prop_assert_eq!(parsed.five_tuple_v6(frame).dst, dst),
    }
    Ok(())
}

/// Compares with what the frame was made from.
fn compare_spec(spec: &Spec, frame: &[u8], parsed: &Parsed) -> Result<(), TestCaseError> {
    prop_assert_eq!((usize::from(parsed.l3), usize::from(parsed.l4)), (spec.l3(), spec.l4()));
    let ports = matches!(spec.protocol(), 6 | 17) && !spec.is_later();
    let (sport, dport) = if ports { (spec.sport, spec.dport) } else { (0, 0) };
    let protocol = spec.protocol();
    if spec.v6 {
        let (src, dst) = (Ipv6Addr::from(spec.src), Ipv6Addr::from(spec.dst));
        prop_assert_eq!(parsed.five_tuple_v6(frame), FiveTuple { src, dst, sport, dport, protocol });
    } else {
        let src = Ipv4Addr::from(*spec.src.first_chunk::<4>().unwrap());
        let dst = Ipv4Addr::from(*spec.dst.first_chunk::<4>().unwrap());
        prop_assert_eq!(parsed.five_tuple_v4(frame), FiveTuple { src, dst, sport, dport, protocol });
    }
    let (fragment, offset, more, id) = match spec.fragment {
        None | Some((0, false, _)) => (Fragment::None, 0, false, 0),
        Some((0, true, id)) => (Fragment::First, 0, true, id),
        Some((offset, more, id)) => (Fragment::Later, offset * 8, more, id),
    };
    let id = if spec.v6 { id } else { id & 0xFFFF };
    prop_assert_eq!(
        (parsed.fragment, parsed.fragment_offset, parsed.more_fragments, parsed.fragment_id),
        (fragment, offset, more, id)
    );
    prop_assert_eq!(parsed.ip_end() + usize::from(spec.padding), frame.len());
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn valid_frames_are_parsed_as_built_and_as_the_oracle_does(spec in spec()) {
        let frame = spec.build_padded();
        let parsed = parse(&frame, frame.len()).map_err(|error| TestCaseError::fail(error.to_string()))?;
        compare_spec(&spec, &frame, &parsed)?;
        let sliced = SlicedPacket::from_ethernet(&frame).map_err(|error| TestCaseError::fail(error.to_string()))?;
        compare(&frame, &parsed, &sliced)?;
    }

    #[test]
    fn mutated_frames_that_both_take_are_taken_alike(
        spec in spec(),
        mutations in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut frame = spec.build_padded();
        for (index, value) in mutations {
            // Changes to the headers are worth more than changes to the payload.
            let at = index.index(frame.len().min(spec.l4() + 20));
            frame[at] = value;
        }
        // An unchanged header checksum would refuse nearly all changes to IPv4 headers.
        if !spec.v6 && frame[spec.l3()] & 0x0F >= 5 {
            let end = spec.l3() + 4 * usize::from(frame[spec.l3()] & 0x0F);
            if end <= frame.len() {
                frame[spec.l3() + 10..spec.l3() + 12].fill(0);
                let check = super::frames::reference_checksum(&frame[spec.l3()..end]);
                frame[spec.l3() + 10..spec.l3() + 12].copy_from_slice(&check.to_be_bytes());
            }
        }
        // The oracle takes an authentication header and mobility for extension headers, we for upper layers.
        if let (Ok(parsed), Ok(sliced)) = (parse(&frame, frame.len()), SlicedPacket::from_ethernet(&frame))
            && !matches!(parsed.protocol, 51 | 135 | 139 | 140)
            && !(parsed.fragment == Fragment::Later && parsed.kind == Kind::V6)
        {
            compare(&frame, &parsed, &sliced)?;
        }
    }
}
