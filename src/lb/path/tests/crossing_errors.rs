//! ICMP errors that go from one IP version to the other.

use super::crossing::{ID, bytes, socket};
use super::crossing_random::{ethernet, with_parse};
use crate::lb::packet::{HeapPacket, Packet};
use crate::lb::path::crossing::{ErrorEnds, TranslateError, translate_error};
use crate::lb::testing::*;
use crate::lb::verdict::DropReason;
use crate::wire::parse::{Kind, QuoteError, parse};

/// Between backend and balancer, and between client and VIP.
const LOCAL4: &str = "10.1.0.100:1025";
const BACKEND4: &str = "10.1.0.1:8443";
const LOCAL6: &str = "[fd01::100]:1025";
const BACKEND6: &str = "[fd01::1]:8443";
const CLIENT4: &str = "198.51.100.7:40000";
const VIP4: &str = "192.0.2.10:443";
const CLIENT6: &str = "[2001:db8:c::7]:40000";
const VIP6: &str = "[2001:db8::10]:443";
const ROUTER4: &str = "10.1.0.9";
const ROUTER6: &str = "2001:db8:9::9";

/// To the client of the family that the frame is not of.
fn ends(kind: Kind, mtu: u16) -> ErrorEnds {
    let [client, vip] = if kind == Kind::V4 { [CLIENT6, VIP6] } else { [CLIENT4, VIP4] }.map(socket);
    ErrorEnds { src: vip.ip(), dst: client.ip(), quoted_src: client, quoted_dst: vip, mtu, id: ID }
}

fn crossed_with_mtu(frame: &[u8], mtu: u16) -> Result<Vec<u8>, TranslateError> {
    let parsed = parse(frame, frame.len()).unwrap();
    let mut packet = HeapPacket::new(frame);
    let result = translate_error(&mut packet, &parsed, &ends(parsed.kind, mtu));
    with_parse(frame, &packet, result)?;
    checksums_are_right(packet.bytes());
    Ok(packet.bytes().to_vec())
}

fn crossed(frame: &[u8]) -> Result<Vec<u8>, TranslateError> {
    crossed_with_mtu(frame, 1500)
}

/// Name, the packet, and what it is on the other side, all made by scapy.
const ERRORS: &[(&str, &str, &str)] = &[
    (
        "port unreachable 4 to 6",
        "45c0003800010000400165960a0100090a0100640303939a000000004504002f000500003d06695a0a0100640a010001 \
         040120fb11223344",
        "6c00000000383a3f20010db800000000000000000000001020010db8000c000000000000000000070104fe6400000000 \
         60400000001b063d20010db8000c0000000000000000000720010db80000000000000000000000109c4001bb11223344",
    ),
    (
        "fragmentation needed 4 to 6",
        "4500004b00010000400166430a0100090a01006403040c0c000005784500002f000540003d06295e0a0100640a010001 \
         040120fb11223344556677885010100097e600007061796c6f6164",
        "60000000004b3a3f20010db800000000000000000000001020010db8000c00000000000000000007020036220000058c \
         60000000001b063d20010db8000c0000000000000000000720010db80000000000000000000000109c4001bb11223344 \
         5566778850101000d7b800007061796c6f6164",
    ),
    (
        "time exceeded 4 to 6, a cut checksum is left out",
        "45000041000100004001664d0a0100090a0100640b00c79d000000004500002f000500003d06695e0a0100640a010001 \
         040120fb11223344556677885010100097",
        "6000000000403a3f20010db800000000000000000000001020010db8000c000000000000000000070300cfa100000000 \
         60000000001b063d20010db8000c0000000000000000000720010db80000000000000000000000109c4001bb11223344 \
         5566778850101000",
    ),
    (
        "parameter problem 4 to 6",
        "45000044000100004001664a0a0100090a0100640c00bdb7080000004500002f000500003d06695e0a0100640a010001 \
         040120fb11223344556677885010100097e60000",
        "6000000000443a3f20010db800000000000000000000001020010db8000c000000000000000000070400f6dd00000007 \
         60000000001b063d20010db8000c0000000000000000000720010db80000000000000000000000109c4001bb11223344 \
         5566778850101000d7b80000",
    ),
    (
        "packet too big 6 to 4",
        "6000000000443a4020010db8000900000000000000000009fd0100000000000000000000000001000200232d00000500 \
         60800000001b063dfd010000000000000000000000000100fd010000000000000000000000000001040120fb11223344 \
         5566778850101000b1480000",
        "45000044beef00003f01d084c000020ac63364070304a1a6000004ec4508002f000000003d06917cc6336407c000020a \
         9c4001bb11223344556677885010100047080000",
    ),
    (
        "packet too big about a fragment 6 to 4",
        "6000000000483a4020010db8000900000000000000000009fd0100000000000000000000000001000200a09b00000578 \
         6000000000182c3cfd010000000000000000000000000100fd0100000000000000000000000000011100000100010009 \
         040114e900306e0e0001020304050607",
        "45000040beef00003f01d088c000020ac6336407030455a80000055c45000024000920003c11727bc6336407c000020a \
         9c4001bb0030f7bb0001020304050607",
    ),
    (
        "address unreachable 6 to 4, extension headers quoted",
        "62000000004f3a4020010db8000900000000000000000009fd0100000000000000000000000001000103cafd00000000 \
         60000000001f3c3cfd010000000000000000000000000100fd0100000000000000000000000000010600010431323334 \
         040120fb1122334455667788501010009b1700006f6464",
        "45200047beef00003f01d061c000020ac63364070301e961000000004500002b000000003c069288c6336407c000020a \
         9c4001bb11223344556677885010100030d700006f6464",
    ),
    (
        "next header unknown 6 to 4",
        "6000000000343a4020010db8000900000000000000000009fd0100000000000000000000000001000401496400000006 \
         60000000001b063dfd010000000000000000000000000100fd010000000000000000000000000001040120fb",
        "45000034beef00003f01d094c000020ac633640703025f02000000004500002f000000003d069184c6336407c000020a \
         9c4001bb",
    ),
];

#[test]
fn errors_are_what_another_library_makes_of_them() {
    for (name, from, to) in ERRORS {
        let crossed = crossed(&ethernet(&[], &bytes(from))).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(crossed, ethernet(&[], &bytes(to)), "{name}");
    }
}

/// An error about a packet from the local address to the backend, and about the same as client and VIP know it.
fn quotes(is_v4: bool, payload: usize) -> (Vec<u8>, Vec<u8>) {
    let frame = |src, dst| Frame::ack(src, dst).with(|f| (f.ttl, f.tos, f.payload) = (50, 8, vec![9; payload]));
    // An IPv4 quote that was made from IPv6 has no identification, and DF as routers may see it.
    let v4 = |src, dst| frame(src, dst).with(|f| (f.id, f.df) = (0, f.payload.len() + 40 > 1260)).packet();
    let v6 = |src, dst| frame(src, dst).packet();
    if is_v4 { (v4(LOCAL4, BACKEND4), v6(CLIENT6, VIP6)) } else { (v6(LOCAL6, BACKEND6), v4(CLIENT4, VIP4)) }
}

fn error4(kind: [u8; 2], word: [u8; 4], quote: &[u8]) -> Vec<u8> {
    icmp4(ROUTER4, "10.1.0.100", kind, word, quote).build()
}

fn error6(kind: [u8; 2], word: [u8; 4], quote: &[u8]) -> Vec<u8> {
    icmp6(ROUTER6, "fd01::100", kind, word, quote).build()
}

#[test]
fn quotes_are_cut_at_every_length() {
    let host = |text: &str| end(text).0.to_string();
    for payload in [30, 1400] {
        for is_v4 in [true, false] {
            let (quote, there) = quotes(is_v4, payload);
            let (old, new) = if is_v4 { (20, 40) } else { (40, 20) };
            for len in 0..=quote.len() {
                let result = crossed(&if is_v4 {
                    error4([3, 3], [0; 4], &quote[..len])
                } else {
                    error6([1, 4], [0; 4], &quote[..len])
                });
                if len < old + 4 {
                    assert!(matches!(result, Err(TranslateError::Quote(_))), "{len}: {result:?}");
                    continue;
                }
                let most = if is_v4 { 1280 - 48 } else { 576 - 28 };
                // Half a checksum cannot be changed, and tells nobody anything.
                let kept = if len == old + 17 { len - 1 } else { len };
                let expected = &there[..(kept - old + new).min(most)];
                let expected = if is_v4 {
                    icmp6(&host(VIP6), &host(CLIENT6), [1, 4], [0; 4], expected)
                } else {
                    icmp4(&host(VIP4), &host(CLIENT4), [3, 3], [0; 4], expected)
                };
                let expected = expected.with(|f| (f.ttl, f.id, f.df) = (63, ID, false)).build();
                assert_eq!(result.unwrap(), expected, "{len}");
            }
        }
    }
}

#[test]
fn a_small_link_gets_a_small_error() {
    let (quote, _) = quotes(true, 1400);
    let frame = error4([3, 3], [0; 4], &quote);
    assert_eq!(crossed_with_mtu(&frame, 1000).unwrap().len(), 14 + 1000);
    assert_eq!(crossed_with_mtu(&frame, 9000).unwrap().len(), 14 + 1280);
}

/// Type and code of the counterpart and the word behind its checksum.
fn head(crossed: Result<Vec<u8>, TranslateError>) -> Option<([u8; 2], [u8; 4])> {
    let frame = match crossed {
        Ok(frame) => frame,
        Err(error) => {
            assert!(matches!(error, TranslateError::NoCounterpart { .. }), "{error}");
            assert_eq!(error.reason(), DropReason::Untranslatable);
            return None;
        }
    };
    let at = if frame[12..14] == [8, 0] { 34 } else { 54 };
    Some(([frame[at], frame[at + 1]], frame[at + 4..at + 8].try_into().unwrap()))
}

#[test]
fn icmpv4_errors_have_the_counterparts_of_rfc_7915_4_2() {
    let (quote, _) = quotes(true, 10);
    for kind in (0..=255).filter(|kind| !matches!(kind, 4 | 12)) {
        for code in 0..=255 {
            let expected = match (kind, code) {
                (3, 2) => Some(([4, 1], [0, 0, 0, 6])),
                (3, 4) => Some(([2, 0], [0, 0, 5, 0xdc])),
                (3, 3) => Some(([1, 4], [0; 4])),
                (3, 9 | 10 | 13 | 15) => Some(([1, 1], [0; 4])),
                (3, 0 | 1 | 5..=8 | 11 | 12) => Some(([1, 0], [0; 4])),
                (11, code) => Some(([3, code], [0; 4])),
                _ => None,
            };
            // An MTU of 1480, which the other codes do not look at.
            assert_eq!(head(crossed(&error4([kind, code], [0, 0, 5, 0xc8], &quote))), expected, "{kind} {code}");
        }
    }
    let pointers: &[(&[u8], u8)] =
        &[(&[0], 0), (&[1], 1), (&[2, 3], 4), (&[8], 7), (&[9], 6), (&[12, 13, 14, 15], 8), (&[16, 17, 18, 19], 24)];
    for code in 0..4 {
        for pointer in 0..=255 {
            let found = pointers.iter().find(|(from, _)| matches!(code, 0 | 2) && from.contains(&pointer));
            let expected = found.map(|&(_, to)| ([4, 0], [0, 0, 0, to]));
            assert_eq!(head(crossed(&error4([12, code], [pointer, 0, 0, 0], &quote))), expected, "{code} {pointer}");
        }
    }
    assert_eq!(head(crossed(&error4([4, 0], [0; 4], &quote))), None);
}

#[test]
fn icmpv6_errors_have_the_counterparts_of_rfc_7915_5_2() {
    let (quote, _) = quotes(false, 10);
    for kind in (0..=255).filter(|&kind| kind != 4) {
        for code in 0..=255 {
            let expected = match (kind, code) {
                (1, 0 | 2 | 3) => Some(([3, 1], [0; 4])),
                (1, 1) => Some(([3, 10], [0; 4])),
                (1, 4) => Some(([3, 3], [0; 4])),
                (2, _) => Some(([3, 4], [0, 0, 5, 0xb4])),
                (3, code) => Some(([11, code], [0; 4])),
                _ => None,
            };
            assert_eq!(head(crossed(&error6([kind, code], [0, 0, 5, 0xc8], &quote))), expected, "{kind} {code}");
        }
    }
    let pointer4 = |pointer: u8| {
        Some(match pointer {
            0 => 0,
            1 => 1,
            4 | 5 => 2,
            6 => 9,
            7 => 8,
            8..24 => 12,
            24..40 => 16,
            _ => return None,
        })
    };
    for pointer in 0..=255 {
        let expected = pointer4(pointer).map(|to| ([12, 0], [to, 0, 0, 0]));
        assert_eq!(head(crossed(&error6([4, 0], [0, 0, 0, pointer], &quote))), expected, "{pointer}");
    }
    assert_eq!(head(crossed(&error6([4, 0], [0, 0, 1, 0], &quote))), None);
    assert_eq!(head(crossed(&error6([4, 1], [0, 0, 0, 6], &quote))), Some(([3, 2], [0; 4])));
    assert_eq!(head(crossed(&error6([4, 2], [0, 0, 0, 48], &quote))), None);
}

#[test]
fn mtus_are_in_terms_of_the_family_that_hears_them() {
    let (quote, _) = quotes(true, 1400);
    let told6 = |told: u16, mtu| {
        let [high, low] = told.to_be_bytes();
        let (_, [_, _, high, low]) = head(crossed_with_mtu(&error4([3, 4], [0, 0, high, low], &quote), mtu)).unwrap();
        u16::from_be_bytes([high, low])
    };
    assert_eq!(
        [told6(1400, 1500), told6(1500, 1500), told6(1259, 1500), told6(65_535, 9000)],
        [1420, 1500, 1280, 9000]
    );
    // A router that does not say: the plateau below 1440 would be 1006.
    assert_eq!(told6(0, 1500), 1280);
    let (quote, _) = quotes(true, 1500);
    let silent = error4([3, 4], [0; 4], &quote);
    assert_eq!(head(crossed_with_mtu(&silent, 1600)), Some(([2, 0], [0, 0, 5, 0xe8])), "plateau 1492");

    let (quote, _) = quotes(false, 1400);
    let told4 = |told: u32, mtu| {
        let (_, [_, _, high, low]) = head(crossed_with_mtu(&error6([2, 0], told.to_be_bytes(), &quote), mtu)).unwrap();
        u16::from_be_bytes([high, low])
    };
    assert_eq!([told4(1400, 1500), told4(1500, 1400), told4(70_000, 9000), told4(0, 1500)], [1380, 1400, 9000, 68]);
}

#[test]
fn extensions_behind_the_quote_are_left_out() {
    let extension = [0x20, 0, 0, 0, 0, 4, 1, 1];
    let padded = |quote: &[u8], len: usize| [quote, &vec![0; len - quote.len()], &extension].concat();
    // The length in words of four bytes for IPv4 and of eight for IPv6 (RFC 4884 section 4).
    let (quote, _) = quotes(true, 10);
    let with = crossed(&error4([3, 1], [0, 32, 0, 0], &padded(&quote, 128))).unwrap();
    assert_eq!(with, crossed(&error4([3, 1], [0; 4], &quote)).unwrap());
    let (quote, _) = quotes(false, 10);
    let with = crossed(&error6([1, 3], [16, 0, 0, 0], &padded(&quote, 128))).unwrap();
    assert_eq!(with, crossed(&error6([1, 3], [0; 4], &quote)).unwrap());
}

#[test]
fn what_cannot_be_told_on_the_other_side_stays() {
    let (quote4, quote6) = (quotes(true, 10).0, quotes(false, 10).0);
    assert_eq!(crossed(&error4([3, 3], [0; 4], &quote6)), Err(TranslateError::QuoteFamily));
    assert_eq!(crossed(&error6([1, 4], [0; 4], &quote4)), Err(TranslateError::QuoteFamily));
    let ping = icmp4("10.1.0.100", "10.1.0.1", [8, 0], [0; 4], b"ping").packet();
    assert_eq!(crossed(&error4([3, 3], [0; 4], &ping)), Err(TranslateError::Protocol(1)));
    let mut wrong = quote4.clone();
    wrong[8] ^= 1;
    let error = crossed(&error4([3, 3], [0; 4], &wrong)).unwrap_err();
    assert!(matches!(error, TranslateError::Quote(QuoteError::Checksum(_))));
    assert_eq!(error.reason(), DropReason::IcmpChecksum);
    let piece = icmp4(ROUTER4, "10.1.0.100", [3, 3], [0; 4], &quote4).with(|f| f.fragment = 0x2000).build();
    assert_eq!(crossed(&piece), Err(TranslateError::FragmentedMessage));
}

#[test]
fn a_wrong_checksum_in_a_quote_stays_wrong_and_none_stays_none() {
    for (check, is_right) in [(0, true), (0x1234, false)] {
        let quote = Frame::udp(LOCAL4, BACKEND4).with(|f| f.l4_checksum = Some(check)).packet();
        let frame = crossed(&error4([3, 3], [0; 4], &quote)).unwrap();
        let inner = &frame[62..];
        if is_right {
            assert_eq!(inner[46..48], [0, 0]);
        } else {
            assert!(!l4_checksum_is_right(&ethernet(&[], inner)));
        }
    }
}
