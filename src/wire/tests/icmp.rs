//! ICMP of both families against captures and the oracle.

use std::net::Ipv6Addr;

use proptest::prelude::*;

use super::frames::{Spec, Upper, plain, reference_checksum, spec};
use super::hex;
use crate::wire::checksum::{finish, pseudo_v6};
use crate::wire::parse::{Kind, Quote, parse, parse_quote};
use crate::wire::{icmp, icmpv6};

/// An echo request of ping and the reply of Linux 6, from the ICMP header on.
const REQUEST: &str = "08005b9a1a93000126de036b0000000094b5040000000000101112131415161718191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f\
                       3031323334353637";
const REPLY: &str = "0000639a1a93000126de036b0000000094b5040000000000101112131415161718191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f\
                     3031323334353637";
/// The same in IPv6, from fd09::1 to fd09::2 and back.
const REQUEST_V6: &str = "800046ee1a97000126de036b0000000036cc040000000000101112131415161718191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f\
                          3031323334353637";
const REPLY_V6: &str = "810045ee1a97000126de036b0000000036cc040000000000101112131415161718191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f\
                        3031323334353637";

fn client() -> Ipv6Addr {
    "fd09::1".parse().unwrap()
}

fn server() -> Ipv6Addr {
    "fd09::2".parse().unwrap()
}

#[test]
fn a_captured_request_becomes_the_captured_reply() {
    let mut message = hex(REQUEST);
    let mut view = icmp::IcmpPacket::new_checked(&mut message[..]).unwrap();
    assert!(view.is_checksum_valid());
    assert_eq!(
        (view.kind(), view.code(), view.identifier(), view.sequence()),
        (icmp::kind::ECHO_REQUEST, 0, 0x1A93, 1)
    );
    view.turn_into_reply();
    assert_eq!(message, hex(REPLY));
    let mut buf = [0; 64];
    assert_eq!(icmp::emit_echo(&mut buf, icmp::kind::ECHO_REPLY, 0x1A93, 1, &message[8..]), Some(64));
    assert_eq!(buf[..], message);
    assert_eq!(icmp::emit_echo(&mut buf[..63], icmp::kind::ECHO_REPLY, 0x1A93, 1, &message[8..]), None);

    let mut message = hex(REQUEST_V6);
    let mut view = icmpv6::Icmpv6Packet::new_checked(&mut message[..]).unwrap();
    assert!(view.is_checksum_valid(client(), server()));
    assert_eq!((view.kind(), view.identifier(), view.sequence()), (icmpv6::kind::ECHO_REQUEST, 0x1A97, 1));
    view.turn_into_reply();
    assert!(view.is_checksum_valid(server(), client()));
    assert_eq!(message, hex(REPLY_V6));
    let path = (server(), client());
    assert_eq!(icmpv6::emit_echo(&mut buf, path, icmpv6::kind::ECHO_REPLY, 0x1A97, 1, &message[8..]), Some(64));
    assert_eq!(buf[..], message);
}

#[test]
fn a_wrong_checksum_stays_wrong_in_the_reply() {
    let mut message = hex(REQUEST);
    message[3] ^= 1;
    let mut view = icmp::IcmpPacket::new_checked(&mut message[..]).unwrap();
    view.turn_into_reply();
    assert!(!view.is_checksum_valid());
}

#[test]
fn a_reply_of_nothing_but_zeros_has_a_right_checksum() {
    for identifier in [0, 7] {
        let mut message = [0; 24];
        icmp::emit_echo(&mut message, icmp::kind::ECHO_REQUEST, identifier, 0, &[0; 16]);
        let mut view = icmp::IcmpPacket::new_checked(&mut message[..]).unwrap();
        view.replace_identifier(0);
        view.turn_into_reply();
        assert!(view.is_checksum_valid());
        assert_eq!(message, [&[0, 0, 0xff, 0xff][..], &[0; 20]].concat()[..]);
    }
}

#[test]
fn every_identifier_is_replaced_with_its_checksum() {
    let (mut v4, mut v6) = (hex(REQUEST), hex(REQUEST_V6));
    for identifier in 0..=u16::MAX {
        let mut view = icmp::IcmpPacket::new_checked(&mut v4[..]).unwrap();
        view.replace_identifier(identifier);
        assert!(view.identifier() == identifier && view.is_checksum_valid());
        let mut view = icmpv6::Icmpv6Packet::new_checked(&mut v6[..]).unwrap();
        view.replace_identifier(identifier);
        assert!(view.identifier() == identifier && view.is_checksum_valid(client(), server()));
    }
}

#[test]
fn types_are_told_apart() {
    let errors: Vec<u8> = (0..=255).filter(|&kind| icmp::is_error(kind)).collect();
    assert_eq!(errors, [3, 4, 5, 11, 12]);
    assert!(icmpv6::is_error(0) && icmpv6::is_error(127) && !icmpv6::is_error(128) && !icmpv6::is_error(255));
}

#[test]
fn errors_are_cut_to_what_they_may_be() {
    let packet = Spec { payload: vec![7; 1400], upper: Upper::Udp, ..plain() }.build()[14..].to_vec();
    let mut buf = [0; 1500];
    let error = icmp::IcmpError::FragmentationNeeded { mtu: 1476 };
    let len = icmp::emit_error(&mut buf, error, &packet).unwrap();
    assert_eq!(20 + len, 576);
    assert_eq!(buf[..2], [3, 4]);
    assert_eq!(buf[4..8], [0, 0, 5, 196]);
    let view = icmp::IcmpPacket::new_checked(&buf[..len]).unwrap();
    assert_eq!((view.mtu(), view.quote()), (1476, &packet[..548]));
    let error = icmpv6::Icmpv6Error::PacketTooBig { mtu: 0x0001_0456 };
    let len = icmpv6::emit_error(&mut buf, server(), client(), error, &packet).unwrap();
    assert_eq!(40 + len, 1280);
    assert_eq!((buf[0], &buf[4..8]), (2, &[0, 1, 4, 0x56][..]));
    assert_eq!(icmpv6::emit_error(&mut buf[..len - 1], server(), client(), error, &packet), None);
}

#[test]
fn extensions_behind_a_quote_are_left_out() {
    let mut message = vec![3, 1, 0, 0, 0, 32, 0, 0];
    message.extend([9; 128 + 12]);
    assert_eq!(icmp::IcmpPacket::new_checked(&message[..]).unwrap().quote().len(), 128);
    // A length beyond the message, below the least that is quoted, or in a type that has none, means nothing.
    message[5] = 31;
    assert_eq!(icmp::IcmpPacket::new_checked(&message[..]).unwrap().quote().len(), 140);
    message[5] = 36;
    assert_eq!(icmp::IcmpPacket::new_checked(&message[..]).unwrap().quote().len(), 140);
    message[..6].copy_from_slice(&[5, 1, 0, 0, 0, 32]);
    assert_eq!(icmp::IcmpPacket::new_checked(&message[..]).unwrap().quote().len(), 140);
    message[..6].copy_from_slice(&[3, 0, 0, 0, 16, 0]);
    assert_eq!(icmpv6::Icmpv6Packet::new_checked(&message[..]).unwrap().quote().len(), 128);
    message[4] = 15;
    assert_eq!(icmpv6::Icmpv6Packet::new_checked(&message[..]).unwrap().quote().len(), 140);
    message[0] = 2;
    assert_eq!(icmpv6::Icmpv6Packet::new_checked(&message[..]).unwrap().quote().len(), 140);
}

#[test]
fn a_quoted_echo_has_its_identifier_for_a_port() {
    let message = |kind: u8| [kind, 0, 0, 0, 0x12, 0x34, 0, 1, b'x'];
    let quote = |protocol: u8, upper: &[u8]| {
        let mut bytes =
            [&[0x45, 0, 0, 20 + upper.len() as u8, 0, 0, 0, 0, 64, protocol, 0, 0], &[10; 8][..], upper].concat();
        let check = reference_checksum(&bytes[..20]).to_be_bytes();
        bytes[10..12].copy_from_slice(&check);
        parse_quote(&bytes).unwrap()
    };
    let facts = |q: Quote| (q.is_echo, q.names_flow(), q.has_ports(), q.sport, q.dport);
    assert_eq!(facts(quote(1, &message(8))), (true, true, false, 0x1234, 0));
    assert_eq!(facts(quote(1, &message(0))), (true, true, false, 0, 0x1234));
    for (protocol, kind) in [(1, 13), (1, 3), (1, 128), (58, 8), (58, 128), (47, 8)] {
        assert_eq!(facts(quote(protocol, &message(kind))), (false, false, false, 0, 0), "{protocol} {kind}");
    }
}

proptest! {
    #[test]
    fn an_emitted_error_quotes_what_was_parsed(spec in spec(), mtu in any::<u16>(), code in 0..16u8) {
        let frame = spec.build();
        let packet = &frame[spec.l3()..];
        let mut buf = vec![0xEE; 2000];
        let errors = [
            (icmp::IcmpError::FragmentationNeeded { mtu }, [3, 4], mtu),
            (icmp::IcmpError::TimeExceeded, [11, 0], 0),
            (icmp::IcmpError::Unreachable { code }, [3, code], 0),
        ];
        for (error, kind_code, mtu) in errors {
            let len = icmp::emit_error(&mut buf, error, packet).unwrap();
            let view = icmp::IcmpPacket::new_checked(&buf[..len]).unwrap();
            prop_assert_eq!(reference_checksum(&buf[..len]), 0);
            prop_assert!(view.is_checksum_valid() && icmp::is_error(view.kind()));
            prop_assert_eq!(([view.kind(), view.code()], view.mtu()), (kind_code, mtu));
            let parsed = parse(&frame, frame.len()).unwrap();
            let quote = parse_quote(view.quote()).unwrap();
            prop_assert_eq!((quote.protocol, quote.fragment, quote.ttl), (parsed.protocol, parsed.fragment, parsed.ttl));
            prop_assert_eq!(quote.ip_len, u32::from(parsed.ip_len));
            // An echo's identifier is a port in a quote alone.
            let quote = Quote { sport: parsed.sport, dport: parsed.dport, ..quote };
            match parsed.kind {
                Kind::V4 => prop_assert_eq!(quote.five_tuple_v4(view.quote()), parsed.five_tuple_v4(&frame)),
                _ => prop_assert_eq!(quote.five_tuple_v6(view.quote()), parsed.five_tuple_v6(&frame)),
            }
        }
        let errors = [
            (icmpv6::Icmpv6Error::PacketTooBig { mtu: mtu.into() }, [2, 0], mtu),
            (icmpv6::Icmpv6Error::TimeExceeded, [3, 0], 0),
            (icmpv6::Icmpv6Error::Unreachable { code }, [1, code], 0),
        ];
        for (error, kind_code, mtu) in errors {
            let len = icmpv6::emit_error(&mut buf, server(), client(), error, packet).unwrap();
            let view = icmpv6::Icmpv6Packet::new_checked(&buf[..len]).unwrap();
            prop_assert_eq!(([view.kind(), view.code()], view.mtu()), (kind_code, u32::from(mtu)));
            prop_assert_eq!(view.quote(), packet);
            let oracle = etherparse::Icmpv6Slice::from_slice(&buf[..len]).unwrap();
            prop_assert!(oracle.is_checksum_valid(server().octets(), client().octets()));
            prop_assert!(view.is_checksum_valid(server(), client()));
        }
    }

    #[test]
    fn filled_checksums_are_valid(mut message in prop::collection::vec(any::<u8>(), 8..90)) {
        let mut view = icmp::IcmpPacket::new_checked(&mut message[..]).unwrap();
        view.fill_checksum();
        prop_assert_eq!(reference_checksum(&message), 0);
        let mut view = icmpv6::Icmpv6Packet::new_checked(&mut message[..]).unwrap();
        view.fill_checksum(client(), server());
        let pseudo = finish(pseudo_v6(client(), server(), 58, message.len() as u32));
        let summed = [&(!pseudo).to_be_bytes()[..], &message].concat();
        prop_assert_eq!(reference_checksum(&summed), 0);
    }
}
