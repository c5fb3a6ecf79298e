//! Random packets that go from one IP version to the other, against frames built from scratch.

use proptest::prelude::*;

use super::crossing::{ID, TO_V4, TO_V6, crossed, ends};
use super::fuzz::{apply, change, seeds};
use crate::lb::packet::{HeapPacket, Packet};
use crate::lb::path::crossing::{Ends, ErrorEnds, TranslateError, translate, translate_error};
use crate::lb::testing::*;
use crate::wire::parse::{Kind, Parsed, parse};

const C4: &str = "198.51.100.7:40000";
const V4: &str = "192.0.2.10:443";
const C6: &str = "[2001:db8:c::7]:40000";
const V6: &str = "[2001:db8::10]:443";

/// A frame with these VLAN tags around a packet.
pub(super) fn ethernet(vlan: &[u16], packet: &[u8]) -> Vec<u8> {
    let frame = if packet[0] >> 4 == 4 { Frame::ack(C4, V4) } else { Frame::ack(C6, V6) };
    frame.with(|f| f.vlan = vlan.to_vec()).frame_with(packet)
}

/// Checks what is said of a packet that crossed, and that one that did not is as it was.
#[track_caller]
pub(super) fn with_parse<P: Packet>(
    before: &[u8],
    packet: &P,
    result: Result<Parsed, TranslateError>,
) -> Result<(), TranslateError> {
    match result {
        Ok(after) => {
            let frame = packet.bytes();
            assert_eq!(parse(frame, frame.len()), Ok(after), "{before:02x?} became {frame:02x?}");
            assert_eq!(after.ip_end(), frame.len(), "no padding");
            Ok(())
        }
        Err(error) => {
            assert_eq!(packet.bytes(), before, "changed in spite of {error}");
            Err(error)
        }
    }
}

/// A packet and its counterpart, each built from scratch.
#[derive(Clone, Debug)]
struct Both {
    from: Frame,
    to: Frame,
}

/// Without options, fragments or faults.
fn both() -> impl Strategy<Value = Both> {
    let payload = prop_oneof![
        3 => prop::collection::vec(any::<u8>(), 0..64),
        1 => prop::collection::vec(any::<u8>(), 1180..1290),
        1 => prop::collection::vec(any::<u8>(), 0..2001),
    ];
    let vlan = prop_oneof![Just(vec![]), Just(vec![7]), Just(vec![0, 7])];
    (any::<bool>(), any::<bool>(), payload, any::<(u8, u8, u16, bool)>(), 2u8.., vlan).prop_map(
        |(is_v4, is_tcp, payload, (tos, flags, id, df), ttl, vlan)| {
            let fill = |f: Frame| f.with(|f| (f.payload, f.tos, f.vlan) = (payload.clone(), tos, vlan.clone()));
            let frame = |src, dst| fill(if is_tcp { Frame::tcp(src, dst, flags) } else { Frame::udp(src, dst) });
            let (src, dst, [to_src, to_dst]) = if is_v4 { (C4, V4, TO_V6) } else { (C6, V6, TO_V4) };
            let from = frame(src, dst).with(|f| (f.id, f.df, f.ttl) = (id, df, ttl));
            let len = payload.len() + if is_tcp { 40 } else { 28 };
            let to = frame(to_src, to_dst).with(|f| (f.id, f.df, f.ttl) = (ID, len > 1260, ttl - 1));
            Both { from, to }
        },
    )
}

/// Options or extension headers of an unimportant kind for a frame, in front of this upper layer.
fn options(is_v4: bool, protocol: u8, n: usize) -> (u8, Vec<u8>) {
    if is_v4 {
        return (0, vec![1; n * 4]);
    }
    let header = |next, len: u8| [vec![next, len, 1, 4 + len * 8], vec![0; 4 + usize::from(len) * 8]].concat();
    match n {
        0 => (0, Vec::new()),
        1 => (60, header(protocol, 2)),
        2 => (0, [header(60, 0), header(protocol, 1)].concat()),
        3 => (43, vec![protocol, 0, 4, 0, 0, 0, 0, 0]),
        _ => (0, [header(43, 0), vec![60, 0, 4, 0, 0, 0, 0, 0], header(protocol, 0)].concat()),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn what_crosses_is_what_would_be_built_there(both in both(), n in 0usize..5, padding in 0usize..9) {
        let Both { from, to } = both;
        let is_v4 = from.src.0.is_ipv4();
        let from = from.with(|f| {
            f.options = options(is_v4, f.protocol, n);
            f.padding = padding;
        });
        prop_assert_eq!(crossed(&from.build(), u16::MAX).unwrap(), to.build());
        if from.protocol == 17 && is_v4 {
            let unchecked = from.with(|f| f.l4_checksum = Some(0));
            prop_assert_eq!(crossed(&unchecked.build(), u16::MAX).unwrap(), to.build());
        }
    }

    #[test]
    fn there_and_back_is_the_same_packet_but_for_its_ttl(both in both()) {
        let from = both.from;
        // What IPv6 does not carry is as the way back makes it.
        let from = from.with(|f| {
            let header_len = if f.protocol == 6 { 40 } else { 28 };
            (f.id, f.df) = (ID, f.payload.len() + header_len > 1260);
            f.ttl = f.ttl.max(3);
        });
        let frame = from.build();
        let there = crossed(&frame, u16::MAX).unwrap();
        let parsed = parse(&there, there.len()).unwrap();
        let (src, dst) = (from.src.into(), from.dst.into());
        let mut packet = HeapPacket::new(&there);
        let result = translate(&mut packet, &parsed, &Ends { src, dst, mtu: u16::MAX, id: ID });
        with_parse(&there, &packet, result).unwrap();
        let expected = from.clone().with(|f| f.ttl -= 2).build();
        prop_assert_eq!(packet.bytes(), expected);
    }

    #[test]
    fn wrong_checksums_stay_wrong(both in both(), check in 1u16..) {
        let frame = both.from.with(|f| f.l4_checksum = Some(check)).build();
        let crossed = crossed(&frame, u16::MAX).unwrap();
        prop_assert_eq!(l4_checksum_is_right(&crossed), l4_checksum_is_right(&frame));
    }

    #[test]
    fn fragments_are_the_pieces_of_what_would_be_built_there(
        both in both(),
        sizes in prop::collection::vec(3usize..60, 1..6),
        id in any::<u32>(),
    ) {
        let Both { from, to } = both;
        let is_v4 = from.src.0.is_ipv4();
        let l3_len = |is_v4: bool| if is_v4 { 20 } else { 40 };
        let (whole, expected) = (from.packet()[l3_len(is_v4)..].to_vec(), to.packet()[l3_len(!is_v4)..].to_vec());
        let id = if is_v4 { id & 0xffff } else { id };
        let (mut at, mut sizes) = (0, sizes.into_iter().cycle());
        while at < whole.len() {
            let end = (at + sizes.next().unwrap() * 8).min(whole.len());
            let more = end < whole.len();
            // An IPv4 packet that is whole has no fragment header on the other side; one of IPv6 may have one all the same.
            let is_piece = at != 0 || more || !is_v4;
            let place = |frame: &Frame, is_v4: bool, id: u32| {
                frame.clone().with(|f| {
                    let offset = at as u16;
                    f.df = false;
                    if is_v4 {
                        (f.id, f.fragment) = (id as u16, offset >> 3 | u16::from(more) << 13);
                    } else if is_piece {
                        let field = (offset | u16::from(more)).to_be_bytes();
                        f.options = (44, [&[f.protocol, 0][..], &field, &id.to_be_bytes()].concat());
                    }
                })
            };
            let piece = place(&from, is_v4, id);
            let frame = piece.frame_with(&piece.packet_with(&whole[at..end]));
            let there = place(&to, !is_v4, id & 0xffff);
            let there = there.frame_with(&there.packet_with(&expected[at..end]));
            prop_assert_eq!(crossed(&frame, u16::MAX).unwrap(), there);
            at = end;
        }
    }

    #[test]
    fn nothing_leaves_that_does_not_fit(both in both(), mtu in 576u16..1600) {
        let frame = both.from.build();
        let parsed = parse(&frame, frame.len()).unwrap();
        match crossed(&frame, mtu) {
            Ok(there) => prop_assert!(there.len() - usize::from(parsed.l3) <= usize::from(mtu)),
            Err(TranslateError::TooBig { mtu: told }) => {
                prop_assert!(told < parsed.ip_len);
                // What is as long as the sender was told does fit, where it is more than IPv6 hosts may always send.
                let shorter = both.from.with(|f| f.payload.truncate(f.payload.len() - usize::from(parsed.ip_len - told)));
                prop_assert!(crossed(&shorter.build(), mtu).is_ok() || told == 1280);
            }
            Err(TranslateError::MustFragment { len, .. }) => {
                prop_assert!(len > mtu.into() && (!parsed.df || parsed.kind == Kind::V6 && parsed.ip_len <= 1280));
            }
            Err(other) => return Err(TestCaseError::fail(other.to_string())),
        }
    }

    #[test]
    fn mutated_frames_cross_soundly_or_stay_as_they_are(
        frame in any::<prop::sample::Index>(),
        changes in prop::collection::vec(change(), 0..6),
        mtu in prop_oneof![Just(1500u16), 0u16..100, any::<u16>()],
    ) {
        let seeds = seeds();
        let mut frame = frame.get(&seeds).1.clone();
        for change in &changes {
            apply(&mut frame, change);
        }
        let Ok(parsed) = parse(&frame, frame.len()) else { return Ok(()) };
        let packet = || HeapPacket::new(&frame);
        let mut flow = packet();
        let ends = ends(&parsed, mtu);
        let result = translate(&mut flow, &parsed, &ends);
        let _ = with_parse(&frame, &flow, result);
        if matches!(parsed.protocol, 1 | 58) {
            let mut message = packet();
            let (src, dst) = (ends.dst.ip(), ends.src.ip());
            let ends = ErrorEnds { src, dst, quoted_src: ends.src, quoted_dst: ends.dst, mtu, id: ID };
            let result = translate_error(&mut message, &parsed, &ends);
            if with_parse(&frame, &message, result).is_ok() {
                checksums_are_right(message.bytes());
            }
        }
    }
}

#[test]
fn every_length_crosses() {
    for (src, dst, [to_src, to_dst]) in [(C4, V4, TO_V6), (C6, V6, TO_V4)] {
        for len in 0..2000usize {
            let payload: Vec<u8> = (0..len).map(|n| (n * 7 + len) as u8).collect();
            for is_tcp in [false, true] {
                let frame = |src, dst| {
                    let frame = if is_tcp { Frame::ack(src, dst) } else { Frame::udp(src, dst) };
                    frame.with(|f| f.payload = payload.clone())
                };
                let len = len + if is_tcp { 40 } else { 28 };
                let expected = frame(to_src, to_dst).with(|f| (f.ttl, f.id, f.df) = (63, ID, len > 1260));
                assert_eq!(crossed(&frame(src, dst).build(), u16::MAX).unwrap(), expected.build());
            }
        }
    }
}
