//! Tunnel and direct modes: the packet itself is left alone (rules 3, 7, 8 and 11).

use std::net::IpAddr;

use proptest::prelude::*;

use crate::lb::connection::flags::*;
use crate::lb::testing::*;
use crate::lb::verdict::{DropReason, Verdict};
use crate::wire::ethernet::MacAddr;

const C4: &str = "198.51.100.7:40000";
const C6: &str = "[2001:db8:c::7]:40000";

/// VIP, client and backends of each tunnel service.
const TUNNELS: [(&str, &str, [&str; 2], &str); 4] = [
    ("192.0.2.20:80", C4, ["10.1.0.3", "10.1.0.4"], "10.1.0.254"),
    ("192.0.2.21:80", C4, ["fd01::3", "fd01::4"], "fd01::fe"),
    ("[2001:db8::20]:80", C6, ["10.1.0.3", "10.1.0.4"], "10.1.0.254"),
    ("[2001:db8::21]:80", C6, ["fd01::3", "fd01::4"], "fd01::fe"),
];

#[test]
fn all_four_family_combinations_carry_the_packet_as_it_is() {
    for (vip, client, backends, source) in TUNNELS {
        let mut net = Net::new(all_modes());
        let frame = Frame::syn(client, vip).with(|f| (f.tos, f.padding) = (0xb9, 20));
        let created = [("tx", 1), ("created", 1), ("active", 1)];
        let sent = net.expect(0, &frame.build(), &created);
        let (port, out) = sent.tx();
        let (src, dst, class, df, inner) = tunnel_of(out);
        assert_eq!(port, 1);
        assert_eq!(inner, frame.packet(), "byte-identical, and without the padding");
        assert_eq!(src, ip(source));
        let n = backends.iter().position(|b| ip(b) == dst).unwrap();
        assert_eq!(out[..12], [backend_mac(3 + n as u8).0, LAN.0].concat());
        assert_eq!(class, 0xb9, "DSCP and ECN go along");
        assert!(df.is_none_or(|df| df));
        // The same again goes the same way and counts as the same connection.
        assert_eq!(net.expect(0, &frame.build(), &[("tx", 1)]).frame, sent.frame);
    }
}

#[test]
fn the_inner_df_decides_for_the_outer_one() {
    let mut net = Net::new(all_modes());
    for df in [false, true] {
        let out = net.send(0, &Frame::syn(C4, "192.0.2.20:80").with(|f| f.df = df).build());
        assert_eq!(tunnel_of(out.tx().1).3, Some(df));
    }
    let out = net.send(0, &Frame::syn(C6, "[2001:db8::20]:80").build());
    assert_eq!(tunnel_of(out.tx().1).3, Some(true), "routers may not fragment IPv6");
}

#[test]
fn the_tunnel_source_is_the_configured_one() {
    let mut all = all_modes();
    all.services[4].tunnel_source = Some(ip("10.0.0.100"));
    let mut net = Net::new(all);
    let out = net.send(0, &Frame::syn(C4, "192.0.2.20:80").build());
    assert_eq!(tunnel_of(out.tx().1).0, ip("10.0.0.100"));
}

#[test]
fn direct_mode_changes_mac_addresses_alone() {
    for (vip, client) in [("192.0.2.30:80", C4), ("[2001:db8::30]:80", C6)] {
        let mut net = Net::new(all_modes());
        let frame = Frame::syn(client, vip).with(|f| f.ttl = 1);
        let sent = net.expect(0, &frame.build(), &[("tx", 1), ("created", 1), ("active", 1)]);
        let (port, out) = sent.tx();
        assert_eq!(port, 1);
        assert!([backend_mac(3), backend_mac(4)].iter().any(|m| out[..6] == m.0));
        assert_eq!(out[6..12], LAN.0);
        assert_eq!(out[12..], frame.build()[12..], "the rest, TTL included, is as it was");
    }
}

#[test]
fn options_and_extension_headers_go_along() {
    let mut net = Net::new(all_modes());
    let options = Frame::syn(C4, "192.0.2.20:80").with(|f| f.options.1 = vec![1; 40]);
    let out = net.send(0, &options.build());
    let first = tunnel_of(out.tx().1);
    assert_eq!(first.4, options.packet());
    let plain = net.expect(0, &Frame::ack(C4, "192.0.2.20:80").build(), &[("tx", 1)]);
    assert_eq!(tunnel_of(plain.tx().1).1, first.1, "ports are found behind the options");

    let hop = [60u8, 0, 1, 4, 0, 0, 0, 0];
    let destination = [6u8, 1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let chain = Frame::syn(C6, "[2001:db8::21]:80").with(|f| f.options = (0, [&hop[..], &destination].concat()));
    let out = net.send(0, &chain.build());
    let first = tunnel_of(out.tx().1);
    assert_eq!(first.4, chain.packet());
    let plain = net.expect(0, &Frame::ack(C6, "[2001:db8::21]:80").build(), &[("tx", 1)]);
    assert_eq!(tunnel_of(plain.tx().1).1, first.1);
    // An atomic fragment is a whole packet (RFC 6946).
    let atomic = Frame::ack(C6, "[2001:db8::21]:80").with(|f| f.options = (44, vec![6, 0, 0, 0, 1, 2, 3, 4]));
    assert_eq!(tunnel_of(net.send(0, &atomic.build()).tx().1).1, first.1);
}

#[test]
fn ttl_0_is_never_forwarded_and_1_is_left_as_it_is() {
    for (vip, client, ..) in
        TUNNELS.into_iter().chain([("192.0.2.30:80", C4, ["", ""], ""), ("[2001:db8::30]:80", C6, ["", ""], "")])
    {
        let mut net = Net::new(all_modes());
        net.expect_drop(0, &Frame::syn(client, vip).with(|f| f.ttl = 0).build(), DropReason::TtlExceeded);
        let one = Frame::syn(client, vip).with(|f| f.ttl = 1);
        let sent = net.send(0, &one.build());
        assert!(sent.tx().1.ends_with(&one.packet()));
        // A connection that exists changes nothing about that.
        net.expect_drop(0, &Frame::ack(client, vip).with(|f| f.ttl = 0).build(), DropReason::TtlExceeded);
    }
}

#[test]
fn packets_from_the_tunnels_own_ends_are_not_tunnelled() {
    let mut all = all_modes();
    all.services.retain(|s| &*s.name == "gre44");
    all.services[0].backends.truncate(1);
    let mut net = Net::new(all);
    net.expect_drop(1, &Frame::syn("10.1.0.3:9", "192.0.2.20:80").on_lan(backend_mac(3)).build(), DropReason::Looped);
    net.expect_drop(1, &Frame::syn("10.1.0.254:9", "192.0.2.20:80").on_lan(LAN).build(), DropReason::Looped);
    let error = |src: &str| {
        let quote = Frame::ack("192.0.2.20:80", C4).packet();
        icmp4(src, "192.0.2.20", [3, 1], [0; 4], &quote).on_lan(backend_mac(3)).build()
    };
    // Without a connection and with one.
    for _ in 0..2 {
        for src in ["10.1.0.3", "10.1.0.254", "192.0.2.20"] {
            assert_eq!(net.send(1, &error(src)).dropped(), DropReason::Looped, "{src}");
        }
        net.send(0, &Frame::syn(C4, "192.0.2.20:80").build()).tx();
    }
}

#[test]
fn what_no_longer_fits_is_told_the_mtu_that_does() {
    for ((vip, client, ..), mtu) in TUNNELS.into_iter().zip([1476u16, 1456, 1476, 1456]) {
        let mut net = Net::new(all_modes());
        net.send(0, &Frame::syn(client, vip).build()).tx();
        let headers = if client == C4 { 40 } else { 60 };
        let of_len = |len: u16| Frame::ack(client, vip).with(|f| f.payload = vec![7; usize::from(len) - headers]);
        let fits = net.expect(0, &of_len(mtu).build(), &[("tx", 1)]);
        assert_eq!(fits.frame.len(), 1514);
        let big = of_len(mtu + 1);
        let sent = net.expect(0, &big.build(), &[("replies", 1)]);
        let reply = sent.reply();
        checksums_are_right(reply);
        assert_eq!(reply[..12], [ROUTER.0, WAN.0].concat());
        if client == C4 {
            assert_eq!(reply[14 + 9], 1);
            assert_eq!(reply[26..34], [10, 0, 0, 2, 198, 51, 100, 7], "from our address on that side to the sender");
            let icmp = &reply[34..];
            assert_eq!((icmp[0], icmp[1], u16::from_be_bytes([icmp[6], icmp[7]])), (3, 4, mtu));
            assert!(reply.len() <= 14 + 576, "RFC 1812 4.3.2.3");
            assert_eq!(icmp[8..], big.packet()[..icmp.len() - 8]);
        } else {
            assert_eq!(IpAddr::from(*reply[22..38].first_chunk::<16>().unwrap()), ip("fd00::2"));
            let icmp = &reply[54..];
            assert_eq!((icmp[0], icmp[1], &icmp[4..8]), (2, 0, &u32::from(mtu).to_be_bytes()[..]));
            assert_eq!(reply.len(), 14 + 1280, "RFC 4443 2.4 c");
            assert_eq!(icmp[8..], big.packet()[..icmp.len() - 8]);
        }
    }
}

#[test]
fn direct_mode_tells_the_leaving_ports_mtu() {
    let mut all = all_modes();
    all.ports[1].mtu = 1400;
    let mut net = Net::new(all);
    let sent = net.send(0, &Frame::syn(C4, "192.0.2.30:80").with(|f| f.payload = vec![0; 1361]).build());
    assert_eq!(sent.reply()[40..42], 1400u16.to_be_bytes());
    net.send(0, &Frame::syn(C4, "192.0.2.30:80").with(|f| f.payload = vec![0; 1360]).build()).tx();
}

#[test]
fn stray_packets_are_adopted_by_the_hash() {
    for (vip, client, ..) in TUNNELS {
        let (mut fresh, mut net) = (Net::new(all_modes()), Net::new(all_modes()));
        let of = |sent: &Sent| tunnel_of(sent.tx().1).1;
        let opened = fresh.send(0, &Frame::syn(client, vip).build());
        // Another node had it: this one finds the same backend, and keeps it from then on.
        let stray = Frame::ack(client, vip).build();
        let adopted = net.expect(0, &stray, &[("tx", 1), ("created", 1), ("active", 1), ("adopted", 1)]);
        assert_eq!(of(&opened), of(&adopted));
        net.expect(0, &stray, &[("tx", 1)]);
        // What ends a connection, or never was part of one, passes without a trace.
        let other = client.replace("40000", "40001");
        for flags in [RST, RST | ACK, FIN | ACK, SYN | ACK, FIN, 0, SYN | FIN, 0xff] {
            net.expect(0, &Frame::tcp(&other, vip, flags).build(), &[("tx", 1), ("stateless", 1)]);
        }
    }
}

#[test]
fn one_stray_packet_holds_no_place_for_long() {
    let mut net = Net::with_connections(all_modes(), 100);
    let vip = "192.0.2.20:80";
    net.send(0, &Frame::syn(C4, vip).build()).tx();
    net.send(0, &Frame::ack(C4, vip).build()).tx();
    // A flood of single ACKs from everywhere.
    for n in 0..5000u32 {
        let [.., a, b] = n.to_be_bytes();
        net.send(0, &Frame::ack(&format!("203.0.{a}.{b}:1"), vip).build()).tx();
    }
    assert_eq!(net.active(), 100);
    net.pass_s(32);
    assert_eq!(net.active(), 1, "the established one alone");
    net.expect(0, &Frame::ack(C4, vip).build(), &[("tx", 1)]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn any_packet_is_carried_unchanged(
        which in 0usize..6,
        port: u16,
        flags: u8,
        ttl in 1u8..,
        tos: u8,
        df: bool,
        id: u16,
        options in prop::collection::vec(Just(1u8), 0..10),
        payload in prop::collection::vec(any::<u8>(), 0..1300),
        l4_checksum: Option<u16>,
        padding in 0usize..50,
    ) {
        let (vip, v4) = [
            ("192.0.2.20:80", true), ("192.0.2.21:80", true), ("[2001:db8::20]:80", false),
            ("[2001:db8::21]:80", false), ("192.0.2.30:80", true), ("[2001:db8::30]:80", false),
        ][which];
        let client = if v4 { format!("198.51.100.7:{port}") } else { format!("[2001:db8:c::7]:{port}") };
        let frame = Frame::tcp(&client, vip, flags).with(|f| {
            (f.ttl, f.tos, f.df, f.id, f.payload, f.l4_checksum, f.padding) = (ttl, tos, df, id, payload, l4_checksum, padding);
            if v4 {
                f.options.1 = options.repeat(4);
            }
        });
        let mut net = Net::new(all_modes());
        let sent = net.send(0, &frame.build());
        let (_, out) = sent.tx();
        if which < 4 {
            let (_, _, class, outer_df, inner) = tunnel_of(out);
            prop_assert_eq!(inner, frame.packet());
            prop_assert_eq!(class, tos);
            prop_assert!(outer_df.is_none_or(|outer| outer == (df || !v4)));
        } else {
            prop_assert_eq!(&out[12..], &frame.build()[12..]);
        }
        let figures = net.figures();
        prop_assert_eq!(figures.iter().filter(|(k, _)| k.starts_with("bytes")).map(|(_, n)| *n).sum::<i64>(), frame.build().len() as i64);
    }
}

#[test]
fn neighbours_that_are_not_known_are_asked_for() {
    let mut all = all_modes();
    all.ports[1].neighbors.clear();
    let mut net = Net::new(all);
    let frame = Frame::syn(C4, "192.0.2.20:80");
    let sent = net.expect(0, &frame.build(), &[("held", 1), ("originated", 1), ("created", 1), ("active", 1)]);
    let Verdict::Hold(slot) = sent.verdict else { panic!("{:?}", sent.verdict) };
    // Complete but for the MAC address.
    let (_, dst, _, _, inner) = tunnel_of(&sent.frame);
    assert_eq!((inner, &sent.frame[..6]), (frame.packet(), &[0; 6][..]));
    let question = net.shards[0].outbox.pop().unwrap();
    let n = if dst == ip("10.1.0.3") { 3 } else { 4 };
    assert_eq!(question.port.0, 1);
    assert_eq!(question.frame.as_bytes()[..6], [0xff; 6]);
    assert_eq!(question.frame.as_bytes()[38..42], [10, 1, 0, n]);
    // A second packet waits too and asks nothing.
    net.expect(0, &Frame::ack(C4, "192.0.2.20:80").build(), &[("held", 1)]);
    let answer = arp(2, backend_mac(n), &dst.to_string(), "10.1.0.254");
    let answer = [&LAN.0[..], &answer[6..]].concat();
    net.expect(1, &answer, &[("drop neighbor_update", 1)]);
    assert_eq!(net.shards[0].settled, [(slot, true)]);
    assert_eq!(net.shards[0].learned.len(), 1, "the other workers get to know");
    assert_eq!(net.shards[0].neighbors.mac(slot), Some(backend_mac(n)));
    let mut held = TestPacket::new(0, &sent.frame);
    crate::lb::path::complete(&mut held, backend_mac(n));
    let now = net.expect(0, &frame.build(), &[("tx", 1)]);
    assert_eq!(now.frame, crate::lb::packet::Packet::bytes(&held));
}

#[test]
fn neighbours_that_never_answer_are_given_up() {
    let mut all = all_modes();
    all.ports[1].neighbors.clear();
    let mut net = Net::new(all);
    let sent = net.send(0, &Frame::syn(C4, "192.0.2.30:80").build());
    let Verdict::Hold(slot) = sent.verdict else { panic!("{:?}", sent.verdict) };
    for _ in 0..4 {
        net.pass_s(1);
    }
    assert_eq!(net.shards[0].settled, [(slot, false)]);
    assert_eq!(net.shards[0].outbox.len(), 3, "asked three times");
    assert_ne!(net.shards[0].outbox[0].frame.as_bytes()[..6], MacAddr::ZERO.0);
    assert!(!net.shards[0].neighbors.is_current(slot));
    assert!(matches!(net.send(0, &Frame::ack(C4, "192.0.2.30:80").build()).verdict, Verdict::Hold(new) if new != slot));
}
