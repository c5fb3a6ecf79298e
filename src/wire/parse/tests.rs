//! Tests of every refusal, of the short way against the general one, and of quotes.

use std::net::Ipv4Addr;

use proptest::prelude::*;

use super::super::tests::frames::{Spec, Upper, plain, reference_checksum, spec};
use super::*;

fn parse_whole(frame: &[u8]) -> Result<Parsed, ParseError> {
    parse(frame, frame.len())
}

/// Changes the bytes of the frame from its IPv4 header on and mends the header checksum.
fn edited(spec: &Spec, edit: impl FnOnce(&mut [u8])) -> Vec<u8> {
    let mut frame = spec.build();
    let l3 = spec.l3();
    edit(&mut frame[l3..]);
    if !spec.v6 {
        let end = (l3 + 4 * usize::from(frame[l3] & 0x0F)).min(frame.len());
        frame[l3 + 10..l3 + 12].fill(0);
        let check = reference_checksum(&frame[l3..end]);
        frame[l3 + 10..l3 + 12].copy_from_slice(&check.to_be_bytes());
    }
    frame
}

fn v6() -> Spec {
    Spec { v6: true, ..plain() }
}

fn udp() -> Spec {
    Spec { upper: Upper::Udp, payload: vec![9; 4], ..plain() }
}

#[test]
fn parsed_is_half_a_cache_line() {
    assert_eq!(size_of::<Parsed>(), 32);
}

#[test]
fn ethernet_is_refused_for_its_reason() {
    let frame = plain().build();
    assert_eq!(parse_whole(&[]), Err(ParseError::EthernetTruncated(0)));
    assert_eq!(parse_whole(&frame[..13]), Err(ParseError::EthernetTruncated(13)));
    assert_eq!(parse_whole(&frame[..14]), Err(ParseError::Runt(14)));
    assert_eq!(parse_whole(&frame[..33]), Err(ParseError::Runt(33)));
    let mut other = frame.clone();
    other[12..14].copy_from_slice(&[0x88, 0xCC]);
    assert_eq!(parse_whole(&other), Err(ParseError::UnknownEtherType(0x88CC)));
    // An 802.3 length is no type that is known.
    other[12..14].copy_from_slice(&[0, 38]);
    assert_eq!(parse_whole(&other), Err(ParseError::UnknownEtherType(38)));
    assert_eq!(parse_whole(&other[..14]), Err(ParseError::UnknownEtherType(38)));
}

#[test]
fn tags_are_walked_to_their_bound() {
    let tagged = |ids: &[u16]| Spec { tags: ids.iter().map(|&id| (0x8100, id)).collect(), ..plain() }.build();
    let parsed = parse_whole(&tagged(&[0, 0xE064, 7, 0])).unwrap();
    assert_eq!((parsed.vlan_id(), parsed.tags, parsed.vids, parsed.l3), (Some(100), 4, 2, 30));
    assert_eq!(parse_whole(&tagged(&[0xE000])).unwrap().vlan_id(), None);
    assert_eq!(parse_whole(&tagged(&[1, 2, 3, 4, 5])), Err(ParseError::TooManyTags));
    assert_eq!(parse_whole(&tagged(&[1])[..17]), Err(ParseError::EthernetTruncated(17)));
    assert_eq!(parse_whole(&tagged(&[1])[..18]), Err(ParseError::Runt(18)));
}

#[test]
fn arp_gives_its_offset() {
    let mut frame = vec![0xFF; 12];
    frame.extend([0x81, 0, 0, 5, 8, 6]);
    frame.extend([0; 28]);
    let parsed = parse_whole(&frame).unwrap();
    assert_eq!((parsed.kind, parsed.l3, parsed.vlan, parsed.ip_end()), (Kind::Arp, 18, 5, 46));
    assert_eq!(parse_whole(&frame[..45]), Err(ParseError::Runt(45)));
    assert_eq!(parse(&frame[..45], 46), Err(ParseError::NotContiguous(46)));
}

#[test]
fn ipv4_is_refused_for_its_reason() {
    let refused = |edit: fn(&mut [u8])| parse_whole(&edited(&plain(), edit)).unwrap_err();
    assert_eq!(refused(|ip| ip[0] = 0x65), ParseError::Ipv4Version(6));
    assert_eq!(refused(|ip| ip[0] = 0x44), ParseError::Ipv4HeaderLength(4));
    assert_eq!(refused(|ip| ip[2..4].copy_from_slice(&[0, 19])), ParseError::Ipv4TotalLengthShort(19));
    assert_eq!(refused(|ip| ip[0] = 0x4F), ParseError::Ipv4TotalLengthShort(40));
    assert_eq!(refused(|ip| ip[2..4].copy_from_slice(&[0, 41])), ParseError::Ipv4TotalLengthLong(41));
    let mut frame = plain().build();
    let check = u16::from_be_bytes([frame[24], frame[25]]);
    for wrong in (0..=u16::MAX).filter(|&wrong| wrong != check) {
        frame[24..26].copy_from_slice(&wrong.to_be_bytes());
        assert_eq!(parse_whole(&frame), Err(ParseError::Ipv4Checksum(wrong)));
    }
}

#[test]
fn padding_is_not_part_of_the_packet() {
    let padded = |len: usize, edit: fn(&mut [u8])| {
        let mut frame = edited(&Spec { payload: vec![], ..udp() }, edit);
        frame.resize(len, 0);
        parse_whole(&frame)
    };
    assert_eq!(padded(60, |_| {}).unwrap().ip_end(), 42);
    assert_eq!(padded(60, |ip| ip[25] = 9), Err(ParseError::UdpLength(9)));
    let no_ports = padded(60, |ip| ip[2..4].copy_from_slice(&[0, 20]));
    assert_eq!(no_ports, Err(ParseError::L4Truncated { protocol: UDP, len: 0 }));
}

#[test]
fn upper_layers_are_refused_for_their_reason() {
    for base in [plain(), v6()] {
        let l4 = base.l4() - base.l3();
        let tcp = |words: u8| parse_whole(&edited(&base, |ip| ip[l4 + 12] = words << 4));
        assert_eq!(tcp(4), Err(ParseError::TcpDataOffset(4)));
        assert_eq!(tcp(6), Err(ParseError::TcpDataOffset(6)));
        assert!(tcp(5).is_ok());
        let udp = Spec { upper: Upper::Udp, payload: vec![9; 4], ..base.clone() };
        let with_len =
            |len: u16| parse_whole(&edited(&udp, |ip| ip[l4 + 4..l4 + 6].copy_from_slice(&len.to_be_bytes())));
        assert_eq!(with_len(7), Err(ParseError::UdpLength(7)));
        assert_eq!(with_len(13), Err(ParseError::UdpLength(13)));
        assert_eq!(with_len(0), Err(ParseError::UdpLength(0)));
        assert!(with_len(8).is_ok() && with_len(12).is_ok());
        let unchecked = parse_whole(&edited(&udp, |ip| ip[l4 + 6..l4 + 8].fill(0)));
        assert_eq!(unchecked.err(), base.v6.then_some(ParseError::UdpChecksumZero));
    }
    for (spec, header_len) in [(plain(), 20), (udp(), 8), (Spec { upper: Upper::Icmp, ..plain() }, 8)] {
        for len in 0..header_len {
            let total: u16 = 20 + len;
            let frame = edited(&spec, |ip| ip[2..4].copy_from_slice(&total.to_be_bytes()));
            let expected = ParseError::L4Truncated { protocol: spec.protocol(), len };
            assert_eq!(parse_whole(&frame), Err(expected));
            assert_eq!(parse_whole(&frame[..34 + usize::from(len)]), Err(expected));
        }
    }
}

#[test]
fn ipv6_is_refused_for_its_reason() {
    let refused = |edit: fn(&mut [u8])| parse_whole(&edited(&v6(), edit)).unwrap_err();
    assert_eq!(refused(|ip| ip[0] = 0x45), ParseError::Ipv6Version(4));
    assert_eq!(refused(|ip| ip[5] = 21), ParseError::Ipv6PayloadLong(21));
    assert_eq!(refused(|ip| ip[5] = 0), ParseError::Ipv6Jumbo(TCP));
    let empty = edited(&v6(), |ip| {
        ip[5] = 0;
        ip[6] = 59;
    });
    assert_eq!(parse_whole(&empty).unwrap().protocol, 59);
    let giant = edited(&v6(), |ip| ip[4..6].fill(0xFF));
    assert_eq!(parse(&giant, 70_000), Err(ParseError::Ipv6TooLong(0xFFFF)));
}

#[test]
fn extension_headers_are_walked_to_their_bound() {
    let with = |extensions: &[(u8, u8)]| parse_whole(&Spec { extensions: extensions.to_vec(), ..v6() }.build());
    assert_eq!(with(&[(0, 0), (60, 0), (43, 0), (60, 0)]).unwrap().dport, 80);
    assert_eq!(with(&[(60, 0); 8]).unwrap().dport, 80);
    assert_eq!(with(&[(60, 0); 9]), Err(ExtensionError::TooLong.into()));
    assert_eq!(with(&[(60, 63)]).unwrap().l4, 14 + 40 + 512);
    assert_eq!(with(&[(60, 63), (60, 0)]), Err(ExtensionError::TooLong.into()));
    assert_eq!(with(&[(60, 0), (0, 0)]), Err(ExtensionError::HopByHopNotFirst.into()));
    let routing = Spec { extensions: vec![(43, 0)], ..v6() };
    let old = |left: u8| parse_whole(&edited(&routing, |ip| ip[42..44].copy_from_slice(&[0, left])));
    assert_eq!(old(1), Err(ExtensionError::RoutingType0(1).into()));
    // With nothing left to route the header is ignored (RFC 5095 section 3, RFC 8200 section 4.4).
    assert_eq!(old(0).unwrap().dport, 80);
    let cut = Spec { extensions: vec![(60, 1)], upper: Upper::Other(253), payload: vec![], ..v6() };
    assert_eq!(parse_whole(&edited(&cut, |ip| ip[41] = 2)), Err(ExtensionError::Truncated(60).into()));
    assert_eq!(parse_whole(&edited(&cut, |ip| ip[5] = 7)), Err(ExtensionError::Truncated(60).into()));
    let twice = Spec { extensions: vec![(60, 0)], fragment: Some((0, true, 1)), ..v6() };
    let as_fragment = edited(&twice, |ip| {
        ip[6] = 44;
        ip[42..44].fill(0);
    });
    assert_eq!(parse_whole(&as_fragment), Err(ExtensionError::FragmentTwice.into()));
}

#[test]
fn evil_fragments_are_refused() {
    for base in [plain(), v6()] {
        let l4 = u16::try_from(base.l4() - base.l3()).unwrap() + if base.v6 { 8 } else { 0 };
        let fragment = |offset, more, payload: usize| Spec {
            fragment: Some((offset, more, 9)),
            payload: vec![0x50; payload],
            ..base.clone()
        };
        assert_eq!(parse_whole(&fragment(1, true, 8).build()), Err(ParseError::FragmentOffsetOne));
        assert_eq!(parse_whole(&fragment(1, false, 8).build()), Err(ParseError::FragmentOffsetOne));
        assert!(parse_whole(&fragment(2, false, 8).build()).is_ok());
        let udp_at_one = Spec { upper: Upper::Udp, ..fragment(1, false, 8) };
        assert!(parse_whole(&udp_at_one.build()).is_ok());
        for len in [0, 8, 16, 19] {
            let field = if base.v6 { l4 - 40 + len } else { l4 + len };
            let at = if base.v6 { 4 } else { 2 };
            let frame = edited(&fragment(0, true, 0), |ip| ip[at..at + 2].copy_from_slice(&field.to_be_bytes()));
            assert_eq!(parse_whole(&frame), Err(ParseError::TinyFragment(len)));
        }
        // The options may go on in the second fragment.
        let split = edited(&fragment(0, true, 4), |ip| ip[usize::from(l4) + 12] = 0xF0);
        assert_eq!(parse_whole(&split).unwrap().fragment, Fragment::First);
        assert_eq!(parse_whole(&fragment(8191, false, 8).build()), Err(ParseError::FragmentBeyond(65_528)));
        assert!(parse_whole(&fragment(8191, false, 7).build()).is_ok());
    }
}

#[test]
fn an_atomic_fragment_is_a_whole_packet() {
    let parsed = parse_whole(&Spec { fragment: Some((0, false, 77)), ..v6() }.build()).unwrap();
    assert_eq!((parsed.fragment, parsed.fragment_id, parsed.dport, parsed.l4), (Fragment::None, 0, 80, 62));
}

#[test]
fn headers_in_two_segments_are_refused_and_payload_may_be() {
    for spec in [plain(), udp(), v6(), Spec { extensions: vec![(0, 0)], ..v6() }, Spec { option_words: 3, ..plain() }] {
        let frame = spec.build();
        let header_len = spec.l4() + if spec.upper == Upper::Udp { 8 } else { 20 };
        let whole = parse_whole(&frame).unwrap();
        assert_eq!(parse(&frame[..header_len], frame.len()), Ok(whole));
        for len in 0..header_len {
            let error = parse(&frame[..len], frame.len()).unwrap_err();
            let split =
                matches!(error, ParseError::NotContiguous(_) | ParseError::Extension(ExtensionError::NotContiguous(_)));
            assert!(split, "{len} bytes: {error}");
        }
    }
}

#[test]
fn quotes_tell_the_connection_from_eight_bytes_on() {
    for spec in [plain(), udp(), v6(), Spec { option_words: 5, ..udp() }, Spec { extensions: vec![(60, 1)], ..v6() }] {
        let packet = &spec.build()[14..];
        let l4 = spec.l4() - 14;
        for len in 0..=packet.len() {
            let parsed = parse_quote(&packet[..len]);
            assert_eq!(parsed.is_ok(), len >= l4 + 4, "{len} bytes: {parsed:?}");
            let Ok(quote) = parsed else { continue };
            assert_eq!((usize::from(quote.l4), usize::from(quote.l4_available)), (l4, len - l4));
            assert_eq!((quote.sport, quote.dport, quote.protocol), (spec.sport, spec.dport, spec.protocol()));
            assert!(quote.has_ports());
        }
    }
}

#[test]
fn quotes_are_refused_for_their_reason() {
    let packet = plain().build()[14..].to_vec();
    let refused = |edit: fn(&mut [u8])| parse_quote(&edited(&plain(), edit)[14..]).unwrap_err();
    assert_eq!(parse_quote(&[]), Err(QuoteError::Truncated(0)));
    assert_eq!(parse_quote(&packet[..19]), Err(QuoteError::Truncated(19)));
    assert_eq!(refused(|ip| ip[0] = 0x50), QuoteError::Version(5));
    assert_eq!(refused(|ip| ip[0] = 0x43), QuoteError::HeaderLength(3));
    assert_eq!(refused(|ip| ip[2..4].copy_from_slice(&[0, 10])), QuoteError::TotalLength(10));
    let mut wrong = packet.clone();
    wrong[10] ^= 1;
    let check = u16::from_be_bytes([wrong[10], wrong[11]]);
    assert_eq!(parse_quote(&wrong), Err(QuoteError::Checksum(check)));
    // A total length beyond the quote is the rule, one within it ends the packet.
    let long = edited(&plain(), |ip| ip[2..4].copy_from_slice(&[0x05, 0xDC]));
    assert_eq!(parse_quote(&long[14..]).unwrap().ip_len, 1500);
    assert_eq!(refused(|ip| ip[2..4].copy_from_slice(&[0, 23])), QuoteError::L4Truncated { protocol: TCP, len: 3 });
    let later = Spec { fragment: Some((4, true, 1)), payload: vec![1; 3], ..plain() };
    let quote = parse_quote(&later.build()[14..]).unwrap();
    assert_eq!((quote.fragment, quote.has_ports(), quote.sport), (Fragment::Later, false, 0));
    let echo = Spec { upper: Upper::Icmp, ..plain() }.build();
    assert_eq!(parse_quote(&echo[14..42]).unwrap().protocol, 1);
    assert_eq!(parse_quote(&echo[14..41]), Err(QuoteError::L4Truncated { protocol: 1, len: 7 }));
}

#[test]
fn five_tuples_turn_around() {
    let frame = plain().build();
    let tuple = parse_whole(&frame).unwrap().five_tuple_v4(&frame);
    let expected = FiveTuple {
        src: Ipv4Addr::new(192, 0, 2, 10),
        dst: Ipv4Addr::new(10, 1, 2, 3),
        sport: 80,
        dport: 40_000,
        protocol: TCP,
    };
    assert_eq!(tuple.reversed(), expected);
    assert_eq!(tuple.reversed().reversed(), tuple);
}

/// Holds for every input: what is given lies within the frame, and both ways agree.
fn check_any(frame: &[u8], frame_len: usize) -> Result<(), TestCaseError> {
    let result = parse(frame, frame_len);
    prop_assert_eq!(result, general::parse(frame, frame_len));
    if let Ok(parsed) = result {
        prop_assert!(14 <= parsed.l3 && parsed.l3 <= parsed.l4);
        prop_assert!(usize::from(parsed.l4) <= parsed.ip_end() && parsed.ip_end() <= frame_len);
        prop_assert!(usize::from(parsed.l4) <= frame.len());
        parsed.five_tuple_v4(frame);
        parsed.five_tuple_v6(frame);
    }
    Ok(())
}

fn check_any_quote(bytes: &[u8]) -> Result<(), TestCaseError> {
    if let Ok(quote) = parse_quote(bytes) {
        prop_assert!(usize::from(quote.l4) + usize::from(quote.l4_available) <= bytes.len());
        quote.five_tuple_v4(bytes);
        quote.five_tuple_v6(bytes);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn any_bytes_are_parsed_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..150), frame_len in 0..200usize) {
        check_any(&bytes, frame_len)?;
        check_any(&bytes, bytes.len())?;
        check_any_quote(&bytes)?;
    }

    #[test]
    fn mutated_frames_are_parsed_without_panic_and_alike_on_both_ways(
        spec in spec(),
        mutations in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut in any::<prop::sample::Index>(),
        whole in any::<bool>(),
        extra in 0..3usize,
    ) {
        let mut frame = spec.build_padded();
        for (index, value) in mutations {
            let at = index.index(frame.len());
            frame[at] = value;
        }
        let frame_len = frame.len() + extra;
        if !whole {
            frame.truncate(cut.index(frame.len()));
        }
        check_any(&frame, frame_len)?;
        check_any(&frame, frame.len())?;
        check_any_quote(frame.get(14..).unwrap_or_default())?;
    }
}
