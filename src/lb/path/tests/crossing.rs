//! Packets that go from one IP version to the other, against packets that another library made.

use std::net::SocketAddr;

use super::crossing_random::{ethernet, with_parse};
use crate::lb::packet::{HeapPacket, Packet};
use crate::lb::path::crossing::{Ends, TranslateError, translate};
use crate::lb::testing::*;
use crate::lb::verdict::DropReason;
use crate::wire::parse::{ParseError, Parsed, parse};

/// Ends on the other side of IPv4 packets, and of IPv6 packets.
pub(super) const TO_V6: [&str; 2] = ["[fd01::100]:1025", "[fd01::1]:8443"];
pub(super) const TO_V4: [&str; 2] = ["10.1.0.100:1025", "10.1.0.1:8443"];
pub(super) const ID: u16 = 0xbeef;

pub(super) fn socket(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// To the family that the frame is not of.
pub(super) fn ends(parsed: &Parsed, mtu: u16) -> Ends {
    let [src, dst] = if parsed.kind == crate::wire::parse::Kind::V4 { TO_V6 } else { TO_V4 };
    Ends { src: socket(src), dst: socket(dst), mtu, id: ID }
}

/// The frame on the other side, if it gets there.
pub(super) fn crossed(frame: &[u8], mtu: u16) -> Result<Vec<u8>, TranslateError> {
    let parsed = parse(frame, frame.len()).unwrap();
    let mut packet = HeapPacket::new(frame);
    let result = translate(&mut packet, &parsed, &ends(&parsed, mtu));
    with_parse(frame, &packet, result).map(|()| packet.bytes().to_vec())
}

pub(super) fn bytes(hex: &str) -> Vec<u8> {
    let digit = |c: &u8| char::from(*c).to_digit(16).unwrap() as u8;
    let digits: Vec<u8> = hex.bytes().filter(|c| *c != b' ').collect();
    digits.chunks(2).map(|pair| digit(&pair[0]) << 4 | digit(&pair[1])).collect()
}

/// Name, the packet, and what it is on the other side, all made by scapy.
const PACKETS: &[(&str, &str, &str)] = &[
    (
        "tcp 4 to 6",
        "45ba003f0007400040064db3c6336407c000020a9c4001bb1122334455667788a0021000c8ff0000020405b40402080a \
         0000000100000002010303076f6464",
        "6ba00000002b063ffd010000000000000000000000000100fd010000000000000000000000000001040120fb11223344 \
         55667788a002100033400000020405b40402080a0000000100000002010303076f6464",
    ),
    (
        "tcp 6 to 4",
        "62b12345001a064020010db8000c0000000000000000000720010db80000000000000000000000109c4001bb11223344 \
         556677885018100050ee000068656c6c6f21",
        "452b002ebeef00003f06a8490a0100640a010001040120fb112233445566778850181000111c000068656c6c6f21",
    ),
    (
        "udp 4 to 6",
        "45000021000700000211cc80c6336407c000020a9c400035000d27317175657279",
        "60000000000d1101fd010000000000000000000000000100fd010000000000000000000000000001040114e9000d9bfd \
         7175657279",
    ),
    (
        "udp without checksum 4 to 6",
        "450000210007000040118e80c6336407c000020a9c400035000d00007175657279",
        "60000000000d113ffd010000000000000000000000000100fd010000000000000000000000000001040114e9000d9bfd \
         7175657279",
    ),
    (
        "udp 6 to 4",
        "600000000008114020010db8000c0000000000000000000720010db80000000000000000000000109c400035000807d4",
        "4500001cbeef00003f11a87b0a0100640a010001040114e90008d28d",
    ),
    (
        "ipv4 options are left out",
        "480000340007000040062d63c6336407c000020a9404000001070708c00002019c4001bb112233445566778850101000 \
         043f0000",
        "600000000014063ffd010000000000000000000000000100fd010000000000000000000000000001040120fb11223344 \
         55667788501010006e7f0000",
    ),
    (
        "ipv6 extension headers are left out",
        "600000000039004020010db8000c0000000000000000000720010db80000000000000000000000102b00050200000100 \
         3c0204000000000020010db80000000000000000000000991101010a3132333435363738393001009c40003500098fd1 \
         78",
        "4500001dbeef00003f11a87a0a0100640a010001040114e900095a8b78",
    ),
    (
        "atomic fragment",
        "6000000000112c4020010db8000c0000000000000000000720010db800000000000000000000001011000000abcd1234 \
         9c40003500098fd178",
        "4500001d123400003f1155360a0100640a010001040114e900095a8b78",
    ),
    (
        "first fragment 4 to 6",
        "450000244321200040112b63c6336407c000020a9c4000350030f9410001020304050607",
        "6000000000182c3ffd010000000000000000000000000100fd0100000000000000000000000000011100000100004321 \
         040114e900306e0e0001020304050607",
    ),
    (
        "middle fragment 4 to 6",
        "450000244321200240112b61c6336407c000020a08090a0b0c0d0e0f1011121314151617",
        "6000000000182c3ffd010000000000000000000000000100fd0100000000000000000000000000011100001100004321 \
         08090a0b0c0d0e0f1011121314151617",
    ),
    (
        "last fragment 4 to 6",
        "450000244321000440114b5fc6336407c000020a18191a1b1c1d1e1f2021222324252627",
        "6000000000182c3ffd010000000000000000000000000100fd0100000000000000000000000000011100002000004321 \
         18191a1b1c1d1e1f2021222324252627",
    ),
    (
        "first fragment 6 to 4",
        "6000000000182c4020010db8000c0000000000000000000720010db800000000000000000000001011000001abcd4321 \
         9c400035003089f20001020304050607",
        "45000024432120003f1104420a0100640a010001040114e9003054ac0001020304050607",
    ),
    (
        "middle fragment 6 to 4",
        "6000000000182c4020010db8000c0000000000000000000720010db800000000000000000000001011000011abcd4321 \
         08090a0b0c0d0e0f1011121314151617",
        "45000024432120023f1104400a0100640a01000108090a0b0c0d0e0f1011121314151617",
    ),
    (
        "last fragment 6 to 4",
        "6000000000182c4020010db8000c0000000000000000000720010db800000000000000000000001011000020abcd4321 \
         18191a1b1c1d1e1f2021222324252627",
        "45000024432100043f11243e0a0100640a01000118191a1b1c1d1e1f2021222324252627",
    ),
];

#[test]
fn packets_are_what_another_library_makes_of_them() {
    for (name, from, to) in PACKETS {
        let (from, to) = (ethernet(&[], &bytes(from)), ethernet(&[], &bytes(to)));
        let parsed = parse(&from, from.len()).unwrap();
        // Every field that is the caller's is as in the vector, but for the destination port of UDP.
        let mut ends = ends(&parsed, 1500);
        if parsed.protocol == 17 {
            ends.dst.set_port(5353);
        }
        let mut packet = HeapPacket::new(&from);
        let result = translate(&mut packet, &parsed, &ends);
        with_parse(&from, &packet, result).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(packet.bytes(), to, "{name}");
    }
}

/// The error for a frame, which must also be whole afterwards.
#[track_caller]
fn error(frame: &Frame, mtu: u16) -> TranslateError {
    crossed(&frame.build(), mtu).unwrap_err()
}

const C4: &str = "198.51.100.7:40000";
const V4: &str = "192.0.2.10:443";
const C6: &str = "[2001:db8:c::7]:40000";
const V6: &str = "[2001:db8::10]:443";

#[test]
fn source_routes_that_are_not_at_their_end_do_not_cross() {
    for kind in [131, 137] {
        let with = |pointer| Frame::ack(C4, V4).with(|f| f.options.1 = vec![1, kind, 7, pointer, 192, 0, 2, 1]);
        assert_eq!(error(&with(4), 1500), TranslateError::SourceRoute(kind));
        assert_eq!(error(&with(4), 1500).reason(), DropReason::Untranslatable);
        crossed(&with(8).build(), 1500).unwrap();
    }
    // Behind the end of the list, or behind an option without a sound length, there is nothing.
    for options in [vec![0, 131, 3, 1], vec![7, 1, 131, 3, 1, 0, 0, 0], vec![1, 1, 1, 131]] {
        crossed(&Frame::ack(C4, V4).with(|f| f.options.1 = options).build(), 1500).unwrap();
    }
}

#[test]
fn routing_headers_that_still_route_do_not_cross() {
    let with = |before: &[u8], left| {
        let first = if before.is_empty() { 43 } else { 60 };
        let chain = [before, &[6, 0, 4, left, 0, 0, 0, 0]].concat();
        Frame::ack(C6, V6).with(|f| f.options = (first, chain))
    };
    crossed(&with(&[], 0).build(), 1500).unwrap();
    assert_eq!(error(&with(&[], 1), 1500), TranslateError::SegmentsLeft { left: 1, pointer: 43 });
    let option = [43, 0, 1, 4, 0, 0, 0, 0];
    assert_eq!(error(&with(&option, 2), 1500), TranslateError::SegmentsLeft { left: 2, pointer: 51 });
}

#[test]
fn what_cannot_be_said_in_the_other_version_does_not_cross() {
    // The first fragment, with destination options behind the fragment header.
    let options = vec![60, 0, 0, 1, 0, 0, 0, 9, 17, 0, 1, 4, 0, 0, 0, 0];
    let first = Frame::udp(C6, V6).with(|f| (f.options, f.payload) = ((44, options.clone()), vec![0; 8]));
    assert_eq!(error(&first, 1500), TranslateError::ExtensionInFragment(60));
    // The same in a packet that is whole all the same.
    let whole = [60, 0, 0, 0, 0, 0, 0, 9, 17, 0, 1, 4, 0, 0, 0, 0];
    crossed(&first.clone().with(|f| f.options.1 = whole.to_vec()).build(), 1500).unwrap();
    // A later one, which names the options.
    let later = first.with(|f| f.options.1 = vec![60, 0, 0, 9, 0, 0, 0, 9]);
    assert_eq!(error(&later, 1500), TranslateError::Protocol(60));

    let unchecked = Frame::udp(C4, V4).with(|f| (f.l4_checksum, f.fragment) = (Some(0), 0x2000));
    assert_eq!(error(&unchecked, 1500), TranslateError::FragmentWithoutChecksum);
    assert_eq!(error(&icmp4("192.0.2.1", "192.0.2.2", [8, 0], [0; 4], b"ping"), 1500), TranslateError::Protocol(1));
    assert_eq!(error(&icmp6("2001:db8::1", "2001:db8::2", [128, 0], [0; 4], b""), 1500), TranslateError::Protocol(58));
}

#[test]
fn both_ends_are_of_the_other_family() {
    for (frame, src, dst) in
        [(Frame::ack(C4, V4), TO_V4[0], TO_V6[1]), (Frame::ack(C4, V4), C4, V4), (Frame::ack(C6, V6), TO_V6[0], V4)]
    {
        let frame = frame.build();
        let parsed = parse(&frame, frame.len()).unwrap();
        let mut packet = HeapPacket::new(&frame);
        let ends = Ends { src: socket(src), dst: socket(dst), mtu: 1500, id: 0 };
        let families = TranslateError::Families { src: ends.src.ip(), dst: ends.dst.ip() };
        assert_eq!(translate(&mut packet, &parsed, &ends), Err(families));
        assert_eq!(packet.bytes(), frame);
    }
}

#[test]
fn senders_are_told_what_fits_in_their_own_terms() {
    let v4 = |df, len: usize| Frame::ack(C4, V4).with(|f| (f.df, f.payload) = (df, vec![1; len - 40]));
    let v6 = |len: usize| Frame::ack(C6, V6).with(|f| f.payload = vec![1; len - 60]);
    crossed(&v4(true, 1480).build(), 1500).unwrap();
    assert_eq!(error(&v4(true, 1481), 1500), TranslateError::TooBig { mtu: 1480 });
    assert_eq!(error(&v4(false, 1481), 1500), TranslateError::MustFragment { len: 1501, mtu: 1500 });
    let piece = v4(false, 1480).with(|f| f.fragment = 0x6000);
    assert_eq!(error(&piece, 1500), TranslateError::TooBig { mtu: 1472 });
    crossed(&v6(1520).build(), 1500).unwrap();
    assert_eq!(error(&v6(1521), 1500), TranslateError::TooBig { mtu: 1520 });
    // No IPv6 host sends less than 1280 bytes for being told to (RFC 8200 section 5).
    assert_eq!(error(&v6(1281), 1000), TranslateError::TooBig { mtu: 1280 });
    assert_eq!(error(&v6(1280), 1000), TranslateError::MustFragment { len: 1260, mtu: 1000 });
    assert_eq!(error(&v6(1280), 1000).reason(), DropReason::TooBig);
}

#[test]
fn routers_may_fragment_what_ipv6_hosts_count_on() {
    let df = |len: usize| {
        let frame = crossed(&Frame::ack(C6, V6).with(|f| f.payload = vec![1; len - 60]).build(), 1500).unwrap();
        frame[20] & 0x40 != 0
    };
    assert_eq!((df(1280), df(1281)), (false, true));
}

#[test]
fn padding_is_left_behind_and_tags_stay() {
    let frame = Frame::syn(C4, V4).with(|f| (f.padding, f.vlan) = (6, vec![0, 9])).build();
    let crossed = crossed(&frame, 1500).unwrap();
    assert_eq!(crossed.len(), 22 + 60);
    assert_eq!(crossed[..20], frame[..20]);
    assert_eq!(crossed[20..22], [0x86, 0xdd]);
    checksums_are_right(&crossed);
}

/// A frame in two pieces, of which only the first can be read.
#[derive(Clone)]
pub(super) struct Pieces {
    first: HeapPacket,
    rest: usize,
}

impl Packet for Pieces {
    fn bytes(&self) -> &[u8] {
        self.first.bytes()
    }
    fn bytes_mut(&mut self) -> &mut [u8] {
        self.first.bytes_mut()
    }
    fn frame_len(&self) -> usize {
        self.first.frame_len() + self.rest
    }
    fn grow_front(&mut self, n: usize) -> bool {
        self.first.grow_front(n)
    }
    fn shrink_front(&mut self, n: usize) {
        self.first.shrink_front(n);
    }
    fn truncate(&mut self, len: usize) {
        self.rest = len.saturating_sub(self.first.frame_len()).min(self.rest);
        self.first.truncate(len);
    }
}

#[test]
fn a_frame_in_pieces_crosses_by_its_first_one() {
    for frame in [Frame::ack(C4, V4), Frame::udp(C4, V4), Frame::ack(C6, V6), Frame::udp(C6, V6)] {
        let frame = frame.with(|f| (f.payload, f.padding) = (vec![7; 1000], 5)).build();
        let whole = crossed(&frame, 1500).unwrap();
        let parsed = parse(&frame, frame.len()).unwrap();
        for first in [usize::from(parsed.l4) + 20, 100, 500] {
            let mut packet = Pieces { first: HeapPacket::new(&frame[..first]), rest: frame.len() - first };
            let after = translate(&mut packet, &parsed, &ends(&parsed, 1500)).unwrap();
            assert_eq!(packet.bytes(), &whole[..packet.bytes().len()]);
            assert_eq!(packet.frame_len(), whole.len());
            assert_eq!(after, parse(&whole, whole.len()).unwrap());
        }
    }
}

#[test]
fn a_missing_udp_checksum_needs_the_whole_datagram_in_reach() {
    let frame = Frame::udp(C4, V4).with(|f| (f.payload, f.l4_checksum) = (vec![7; 1000], Some(0))).build();
    let parsed = parse(&frame, frame.len()).unwrap();
    let mut packet = Pieces { first: HeapPacket::new(&frame[..500]), rest: frame.len() - 500 };
    let result = translate(&mut packet, &parsed, &ends(&parsed, 1500));
    assert_eq!(result, Err(TranslateError::NotContiguous(34 + 1008)));
    assert_eq!((packet.bytes(), packet.frame_len()), (&frame[..500], frame.len()));
    assert_eq!(parse(&frame[..30], frame.len()), Err(ParseError::NotContiguous(34)), "headers are always in reach");
}

#[test]
fn without_headroom_nothing_is_changed() {
    let frame = Frame::ack(C4, V4).with(|f| f.padding = 4).build();
    let parsed = parse(&frame, frame.len()).unwrap();
    let mut packet = HeapPacket::new(&frame);
    while packet.grow_front(1) {}
    let used = packet.frame_len() - frame.len();
    packet.bytes_mut().copy_within(used.., 0);
    packet.truncate(frame.len());
    assert_eq!(translate(&mut packet, &parsed, &ends(&parsed, 1500)), Err(TranslateError::NoHeadroom(20)));
    assert_eq!(packet.bytes(), frame);
}

#[test]
fn a_udp_checksum_that_comes_to_zero_is_sent_as_ones() {
    // One word of payload makes up for everything else, on the other side.
    for (src, dst, [to_src, to_dst]) in [(C4, V4, TO_V6), (C6, V6, TO_V4)] {
        let other = Frame::udp(to_src, to_dst).with(|f| f.payload = vec![0, 0]).packet();
        let at = other.len() - 4;
        let word = other[at..at + 2].to_vec();
        for given in [None, Some(0)] {
            let frame = Frame::udp(src, dst).with(|f| (f.payload, f.l4_checksum) = (word.clone(), given));
            if given.is_some() && src == C6 {
                continue;
            }
            let crossed = crossed(&frame.build(), 1500).unwrap();
            assert_eq!(crossed[crossed.len() - 4..crossed.len() - 2], [0xff, 0xff]);
            checksums_are_right(&crossed);
        }
    }
}
