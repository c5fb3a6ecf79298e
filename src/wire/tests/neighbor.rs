//! Neighbour discovery against captures, and each check of RFC 4861 section 7.1.

use std::net::Ipv6Addr;

use proptest::prelude::*;

use super::hex;
use crate::wire::ethernet::MacAddr;
use crate::wire::icmpv6::{Icmpv6Packet, NeighborAdvert, NeighborError, NeighborSolicit, solicited_node};
use crate::wire::parse::parse;

/// What Linux 6 sent: a solicitation, the answer, duplicate address detection with a nonce, and an answer without an address.
const SOLICIT: &str = "3333ff0000020ea0b9f2c27686dd6000000000203afffd090000000000000000000000000001ff0200000000000000000001ff000002\
                       8700f47c00000000fd09000000000000000000000000000201010ea0b9f2c276";
const ADVERT: &str = "0ea0b9f2c27642be0348453886dd6000000000203afffd090000000000000000000000000002fd090000000000000000000000000001\
                      8800934260000000fd090000000000000000000000000002020142be03484538";
const PROBE: &str = "3333ff48453842be0348453886dd6000000000203aff00000000000000000000000000000000ff0200000000000000000001ff484538\
                     8700731200000000fe8000000000000040be03fffe4845380e0161a121d4a9d7";
const BARE_ADVERT: &str = "42be034845380ea0b9f2c27686dd6000000000183afffd090000000000000000000000000001fe8000000000000040be03fffe484538\
                           8800b6d740000000fd090000000000000000000000000001";

/// Source, destination, hop limit and message of a frame.
fn open(frame: &[u8]) -> (Ipv6Addr, Ipv6Addr, u8, &[u8]) {
    let parsed = parse(frame, frame.len()).unwrap();
    let tuple = parsed.five_tuple_v6(frame);
    (tuple.src, tuple.dst, parsed.ttl, &frame[usize::from(parsed.l4)..parsed.ip_end()])
}

fn ip(text: &str) -> Ipv6Addr {
    text.parse().unwrap()
}

#[test]
fn captured_messages_are_read_and_written_alike() {
    let (solicit, advert) = (hex(SOLICIT), hex(ADVERT));
    let (src, dst, hop_limit, message) = open(&solicit);
    let asked = NeighborSolicit::parse(message, src, dst, hop_limit).unwrap();
    let client_mac = MacAddr([0x0E, 0xA0, 0xB9, 0xF2, 0xC2, 0x76]);
    assert_eq!(asked, NeighborSolicit { target: ip("fd09::2"), source_link: Some(client_mac) });
    assert_eq!(dst, solicited_node(asked.target));
    let mut buf = [0xEE; 33];
    assert_eq!(asked.emit(&mut buf, src, dst), Some(32));
    assert_eq!(buf[..32], *message);

    let (src, dst, hop_limit, message) = open(&advert);
    let (answer, to) = asked.reply(ip("fd09::1"), MacAddr([0x42, 0xBE, 0x03, 0x48, 0x45, 0x38]));
    assert_eq!(NeighborAdvert::parse(message, src, dst, hop_limit), Ok(answer));
    assert_eq!(to, dst);
    assert_eq!(answer.emit(&mut buf, src, dst), Some(32));
    assert_eq!(buf[..32], *message);
    assert_eq!(answer.emit(&mut buf[..31], src, dst), None);

    let bare = hex(BARE_ADVERT);
    let (src, dst, hop_limit, message) = open(&bare);
    let answer = NeighborAdvert::parse(message, src, dst, hop_limit).unwrap();
    assert_eq!(
        answer,
        NeighborAdvert { router: false, solicited: true, replace: false, target: ip("fd09::1"), target_link: None }
    );
    assert_eq!(answer.emit(&mut buf, src, dst), Some(24));
    assert_eq!(buf[..24], *message);
}

#[test]
fn a_probe_is_answered_to_all_nodes() {
    let frame = hex(PROBE);
    let (src, dst, hop_limit, message) = open(&frame);
    let probe = NeighborSolicit::parse(message, src, dst, hop_limit).unwrap();
    assert_eq!(probe, NeighborSolicit { target: ip("fe80::40be:3ff:fe48:4538"), source_link: None });
    let (answer, to) = probe.reply(src, MacAddr([2; 6]));
    assert_eq!(to, ip("ff02::1"));
    assert!(!answer.solicited && answer.replace && answer.target_link == Some(MacAddr([2; 6])));
    let mut buf = [0; 32];
    let len = answer.emit(&mut buf, probe.target, to).unwrap();
    assert_eq!(NeighborAdvert::parse(&buf[..len], probe.target, to, 255), Ok(answer));
}

/// The captured frame after a change, its checksum mended.
fn changed(frame: &str, src: &str, dst: &str, edit: impl FnOnce(&mut Vec<u8>)) -> (Vec<u8>, Ipv6Addr, Ipv6Addr) {
    let frame = hex(frame);
    let mut message = open(&frame).3.to_vec();
    edit(&mut message);
    let (src, dst) = (ip(src), ip(dst));
    Icmpv6Packet::new_checked(&mut message[..]).unwrap().fill_checksum(src, dst);
    (message, src, dst)
}

#[test]
fn solicitations_are_refused_for_their_reason() {
    let check = |src: &str, dst: &str, edit: fn(&mut Vec<u8>)| {
        let (message, src, dst) = changed(SOLICIT, src, dst, edit);
        NeighborSolicit::parse(&message, src, dst, 255).err()
    };
    let group = "ff02::1:ff00:2";
    assert_eq!(check("fd09::1", group, |_| {}), None);
    assert_eq!(check("fd09::1", "fd09::2", |_| {}), None);
    assert_eq!(check("fd09::1", group, |m| m.truncate(23)), Some(NeighborError::Truncated(23)));
    assert_eq!(check("fd09::1", group, |m| m[0] = 136), Some(NeighborError::Type(136)));
    assert_eq!(check("fd09::1", group, |m| m[1] = 1), Some(NeighborError::Code(1)));
    assert_eq!(check("fd09::1", group, |m| m[25] = 0), Some(NeighborError::OptionLength(1)));
    assert_eq!(check("fd09::1", group, |m| m[25] = 2), Some(NeighborError::OptionLength(1)));
    assert_eq!(check("fd09::1", group, |m| m.push(77)), Some(NeighborError::OptionLength(77)));
    assert_eq!(check("fd09::1", group, |m| m.extend([9, 0])), Some(NeighborError::OptionLength(9)));
    let multicast = NeighborError::MulticastTarget(ip("ff09::2"));
    assert_eq!(check("fd09::1", group, |m| m[8] = 0xFF), Some(multicast));
    assert_eq!(check("::", "fd09::2", |m| m.truncate(24)), Some(NeighborError::ProbeDestination(ip("fd09::2"))));
    assert_eq!(check("::", "ff02::1", |m| m.truncate(24)), Some(NeighborError::ProbeDestination(ip("ff02::1"))));
    assert_eq!(check("::", group, |_| {}), Some(NeighborError::ProbeSourceLink));
    assert_eq!(check("::", group, |m| m.truncate(24)), None);
    let (message, src, dst) = changed(SOLICIT, "fd09::1", group, |_| {});
    assert_eq!(NeighborSolicit::parse(&message, src, dst, 254), Err(NeighborError::HopLimit(254)));
    assert_eq!(NeighborSolicit::parse(&message, dst, dst, 255), Err(NeighborError::Checksum));
}

#[test]
fn advertisements_are_refused_for_their_reason() {
    let check = |dst: &str, edit: fn(&mut Vec<u8>)| {
        let (message, src, dst) = changed(ADVERT, "fd09::2", dst, edit);
        NeighborAdvert::parse(&message, src, dst, 255).err()
    };
    assert_eq!(check("fd09::1", |_| {}), None);
    assert_eq!(check("ff02::1", |_| {}), Some(NeighborError::SolicitedMulticast(ip("ff02::1"))));
    assert_eq!(check("ff02::1", |m| m[4] = 0x20), None);
    assert_eq!(check("fd09::1", |m| m[0] = 135), Some(NeighborError::Type(135)));
    assert_eq!(check("fd09::1", |m| m[1] = 9), Some(NeighborError::Code(9)));
    assert_eq!(check("fd09::1", |m| m[25] = 0), Some(NeighborError::OptionLength(2)));
    assert_eq!(check("fd09::1", |m| m[8] = 0xFF), Some(NeighborError::MulticastTarget(ip("ff09::2"))));
    let (message, src, dst) = changed(ADVERT, "fd09::2", "fd09::1", |_| {});
    assert_eq!(NeighborAdvert::parse(&message, src, dst, 1), Err(NeighborError::HopLimit(1)));
    assert_eq!(NeighborAdvert::parse(&message[..20], src, dst, 255), Err(NeighborError::Truncated(20)));
    // A link-layer address that is not one of Ethernet is not taken for one.
    let (message, src, dst) = changed(ADVERT, "fd09::2", "fd09::1", |m| {
        m[25] = 2;
        m.extend([0; 8]);
    });
    assert_eq!(NeighborAdvert::parse(&message, src, dst, 255).unwrap().target_link, None);
}

proptest! {
    #[test]
    fn what_is_emitted_is_parsed(
        (src, dst, target) in any::<([u8; 16], [u8; 16], [u8; 16])>(),
        (router, solicited, replace) in any::<(bool, bool, bool)>(),
        link in prop::option::of(any::<[u8; 6]>()),
    ) {
        // The first bits keep the addresses out of multicast.
        let unicast = |mut octets: [u8; 16]| { octets[0] = 0x20; Ipv6Addr::from(octets) };
        let (src, dst, target, link) = (unicast(src), unicast(dst), unicast(target), link.map(MacAddr));
        let mut buf = [0; 40];
        let solicit = NeighborSolicit { target, source_link: link };
        let len = solicit.emit(&mut buf, src, dst).unwrap();
        prop_assert_eq!(NeighborSolicit::parse(&buf[..len], src, dst, 255), Ok(solicit));
        let advert = NeighborAdvert { router, solicited, replace, target, target_link: link };
        let len = advert.emit(&mut buf, src, dst).unwrap();
        prop_assert_eq!(NeighborAdvert::parse(&buf[..len], src, dst, 255), Ok(advert));
    }

    #[test]
    fn any_options_are_read_without_panic(options in prop::collection::vec(0..4u8, 0..60)) {
        let (message, src, dst) = changed(SOLICIT, "fd09::1", "fd09::2", |m| {
            m.truncate(24);
            m.extend(&options);
        });
        match NeighborSolicit::parse(&message, src, dst, 255) {
            Ok(_) => prop_assert_eq!(options.len() % 8, 0),
            Err(error) => prop_assert!(matches!(error, NeighborError::OptionLength(_))),
        }
    }
}
