//! ICMP that comes in: echo, and errors on their way to the end that they concern (rules 22 to 25, P6 and P8).

use proptest::prelude::*;

use crate::lb::connection::flags::*;
use crate::lb::testing::*;
use crate::lb::verdict::{DropReason, Verdict};

const C4: &str = "198.51.100.7:40000";
const C6: &str = "[2001:db8:c::7]:40000";
/// Somewhere on the way.
const ROUTER4: &str = "203.0.113.9";
const ROUTER6: &str = "2001:db8:9::9";

fn host(end: &str) -> String {
    crate::lb::testing::end(end).0.to_string()
}

/// An error of the family of `to`, about this packet.
fn error(from_v4: bool, to: &str, kind: [u8; 2], quote: &[u8]) -> Frame {
    if from_v4 {
        icmp4(ROUTER4, &host(to), kind, [0, 0, 5, 0x14], quote)
    } else {
        icmp6(ROUTER6, &host(to), kind, [0, 0, 5, 0x14], quote)
    }
}

/// The kinds that must be passed on, and the two that must not.
const KINDS4: [[u8; 2]; 5] = [[3, 4], [3, 1], [3, 3], [11, 0], [12, 0]];
const KINDS6: [[u8; 2]; 4] = [[1, 4], [2, 0], [3, 0], [4, 1]];

fn kinds(v4: bool) -> &'static [[u8; 2]] {
    if v4 { &KINDS4 } else { &KINDS6 }
}

#[test]
fn echo_requests_are_answered_with_their_payload() {
    let mut net = Net::new(all_modes());
    let payload: Vec<u8> = (0..=255).collect();
    for to in ["192.0.2.10", "192.0.2.20", "192.0.2.30", "10.0.0.2", "10.1.0.254"] {
        for (len, ttl, padding) in [(0, 1, 18), (1, 255, 17), (256, 64, 0)] {
            let ask = icmp4("198.51.100.7", to, [8, 0], [1, 2, 3, 4], &payload[..len])
                .with(|f| (f.ttl, f.padding, f.options.1) = (ttl, padding, vec![1; 4]));
            let sent = net.expect(0, &ask.build(), &[("replies", 1)]);
            let reply = sent.reply();
            checksums_are_right(reply);
            let expected = icmp4(to, "198.51.100.7", [0, 0], [1, 2, 3, 4], &payload[..len])
                .with(|f| (f.src_mac, f.dst_mac, f.padding, f.options.1) = (WAN, ROUTER, padding, vec![1; 4]));
            assert_eq!(reply, expected.build(), "own TTL, the rest exchanged");
        }
    }
    for to in ["2001:db8::10", "2001:db8::21", "fd00::2", "fe80::ff:fe00:2"] {
        let ask = icmp6("2001:db8:c::7", to, [128, 0], [1, 2, 3, 4], &payload).with(|f| f.ttl = 3);
        let sent = net.expect(0, &ask.build(), &[("replies", 1)]);
        checksums_are_right(sent.reply());
        let expected = icmp6(to, "2001:db8:c::7", [129, 0], [1, 2, 3, 4], &payload)
            .with(|f| (f.src_mac, f.dst_mac) = (WAN, ROUTER));
        assert_eq!(sent.frame, expected.build());
    }
}

#[test]
fn echo_to_groups_is_not_answered() {
    let mut net = Net::new(all_modes());
    let all_nodes = icmp6("2001:db8:c::7", "ff02::1", [128, 0], [0; 4], b"")
        .with(|f| f.dst_mac = crate::wire::ethernet::MacAddr([0x33, 0x33, 0, 0, 0, 1]));
    net.expect_drop(0, &all_nodes.build(), DropReason::NotOurs);
    // Nor is one for us in a frame for everybody.
    let odd = icmp6("2001:db8:c::7", "2001:db8::10", [128, 0], [0; 4], b"").with(|f| f.dst_mac = all_nodes.dst_mac);
    net.expect_drop(0, &odd.build(), DropReason::NotOurs);
}

#[test]
fn echo_is_rate_limited() {
    let mut net = Net::new(all_modes());
    let ask = icmp4("198.51.100.7", "192.0.2.10", [8, 0], [0; 4], b"x").build();
    for _ in 0..1000 {
        net.send(0, &ask).reply();
    }
    net.expect_drop(0, &ask, DropReason::EchoLimited);
    let ask6 = icmp6("2001:db8:c::7", "2001:db8::10", [128, 0], [0; 4], b"x").build();
    net.expect_drop(0, &ask6, DropReason::EchoLimited);
    net.pass_s(1);
    net.send(0, &ask).reply();
}

#[test]
fn our_own_errors_are_rate_limited() {
    let mut net = Net::new(all_modes());
    let dying = Frame::syn(C4, "192.0.2.10:80").with(|f| f.ttl = 1).build();
    for _ in 0..100 {
        net.send(0, &dying).reply();
    }
    net.expect(0, &dying, &[("drop ttl_exceeded", 1), ("errors_limited", 1)]);
    let big = Frame::ack(C4, "192.0.2.20:80").with(|f| f.payload = vec![0; 1450]).build();
    assert_eq!(net.send(0, &big).dropped(), DropReason::TooBig);
    net.pass_s(1);
    net.send(0, &dying).reply();
}

#[test]
fn errors_reach_the_backend_of_the_connection_through_tunnels() {
    for (vip, client, v4) in [
        ("192.0.2.20:80", C4, true),
        ("192.0.2.21:80", C4, true),
        ("192.0.2.30:80", C4, true),
        ("[2001:db8::20]:80", C6, false),
        ("[2001:db8::21]:80", C6, false),
        ("[2001:db8::30]:80", C6, false),
    ] {
        for port in 0..20 {
            let client = client.replace("40000", &(40000 + port).to_string());
            let mut net = Net::new(all_modes());
            let request = net.send(0, &Frame::syn(&client, vip).build());
            // Cut to the 8 bytes that are enough, or whole.
            let quote = Frame::ack(vip, &client).packet();
            let headers = if v4 { 20 } else { 40 };
            for &kind in kinds(v4) {
                for quote in [&quote[..], &quote[..headers + 8], &quote[..headers + 4]] {
                    let error = error(v4, vip, kind, quote);
                    let sent = net.expect(0, &error.build(), &[("tx", 1)]);
                    assert_eq!(sent.tx().1[..12], request.tx().1[..12], "the same backend");
                    assert!(sent.frame.ends_with(&error.packet()), "byte-identical");
                }
            }
            // What the hash would say is not asked while the connection is known: drained, it still gets them.
            let figures = net.figures();
            assert!(!figures.contains_key("stateless"));
            assert_eq!(figures["active"], 1, "no error changes the connection");
        }
    }
}

#[test]
fn errors_without_a_connection_go_by_the_hash_in_tunnel_modes_alone() {
    for (vip, client, v4, tunnel) in [
        ("192.0.2.20:80", C4, true, true),
        ("192.0.2.30:80", C4, true, true),
        ("[2001:db8::21]:80", C6, false, true),
        ("192.0.2.10:80", C4, true, false),
        ("[2001:db8::10]:80", C6, false, false),
    ] {
        let quote = Frame::ack(vip, client).packet();
        let error = error(v4, vip, kinds(v4)[0], &quote).build();
        let mut net = Net::new(all_modes());
        if !tunnel {
            net.expect_drop(0, &error, DropReason::IcmpNoConnection);
            continue;
        }
        let sent = net.expect(0, &error, &[("tx", 1), ("stateless", 1)]);
        let request = net.send(0, &Frame::syn(client, vip).build());
        assert_eq!(sent.tx().1[..12], request.tx().1[..12], "RFC 7690: where the connection is or will be");
        // Nobody left to tell.
        let mut all = all_modes();
        for backend in all.services.iter_mut().flat_map(|s| &mut s.backends) {
            (backend.serves, backend.admits) = (false, false);
        }
        Net::new(all).expect_drop(0, &error, DropReason::NoBackend);
    }
}

#[test]
fn errors_about_drained_backends_follow_the_connection() {
    let mut all = all_modes();
    let mut net = Net::new(all.clone());
    let vip = "192.0.2.20:80";
    let request = net.send(0, &Frame::syn(C4, vip).build());
    let backend = u8::from(request.tx().1[5] == 4);
    all.services[4].backends[usize::from(backend)].admits = false;
    net.reload(all);
    let sent = net.send(0, &error(true, vip, [3, 4], &Frame::ack(vip, C4).packet()).build());
    assert_eq!(sent.tx().1[..6], request.tx().1[..6]);
}

/// The NAT services' VIPs and clients.
const NATS: [(&str, &str, u8, bool); 4] = [
    ("192.0.2.10:80", C4, 6, true),
    ("192.0.2.10:53", C4, 17, true),
    ("[2001:db8::10]:80", C6, 6, false),
    ("[2001:db8::10]:53", C6, 17, false),
];

fn packet(src: &str, dst: &str, protocol: u8, flags: u8) -> Frame {
    let mut frame = if protocol == 6 { Frame::tcp(src, dst, flags) } else { Frame::udp(src, dst) };
    frame.payload = b"some data that is quoted".to_vec();
    frame
}

/// Opens a connection and says which backend has it.
fn open(net: &mut Net, vip: &str, client: &str, protocol: u8) -> (String, Vec<u8>) {
    let sent = net.send(0, &packet(client, vip, protocol, SYN).build());
    let n = sent.tx().1[5];
    let v4 = vip.starts_with('1');
    (if v4 { format!("10.1.0.{n}:8080") } else { format!("[fd01::{n}]:8080") }, sent.frame)
}

#[test]
fn errors_about_replies_reach_the_nat_backend_as_it_knows_them() {
    for (vip, client, protocol, v4) in NATS {
        let mut net = Net::new(all_modes());
        let (backend, _) = open(&mut net, vip, client, protocol);
        // What the backend sent, as the client's side saw it, and as the backend did.
        let outside = packet(vip, client, protocol, ACK).with(|f| f.ttl = 9).packet();
        let inside = packet(&backend, client, protocol, ACK).with(|f| f.ttl = 9).packet();
        let headers = if v4 { 20 } else { 40 };
        for len in headers + 4..=outside.len() {
            for &kind in kinds(v4) {
                let sent = net.expect(0, &error(v4, vip, kind, &outside[..len]).build(), &[("tx", 1)]);
                checksums_are_right(sent.tx().1);
                let mut expected = error(v4, &backend, kind, &inside[..len]);
                (expected.ttl, expected.dst_mac, expected.src_mac) = (63, backend_mac(sent.frame[5]), LAN);
                let l4_check = headers + if protocol == 6 { 16 } else { 6 };
                // A checksum that is cut in two cannot be corrected.
                if len != l4_check + 1 {
                    assert_eq!(sent.frame, expected.build(), "{vip} {kind:?} {len}");
                }
            }
        }
        assert_eq!(net.active(), 1);
    }
}

#[test]
fn errors_about_requests_reach_the_client_as_from_the_vip() {
    for (vip, client, protocol, v4) in NATS {
        let mut net = Net::new(all_modes());
        let (backend, _) = open(&mut net, vip, client, protocol);
        let inside = packet(client, &backend, protocol, SYN).with(|f| f.ttl = 9).packet();
        let outside = packet(client, vip, protocol, SYN).with(|f| f.ttl = 9).packet();
        let headers = if v4 { 20 } else { 40 };
        for len in headers + 4..=inside.len() {
            for &kind in kinds(v4) {
                let from_backend = error(v4, client, kind, &inside[..len]).on_lan(backend_mac(1));
                let sent = net.expect(1, &from_backend.build(), &[("tx", 1)]);
                let (port, out) = sent.tx();
                assert_eq!(port, 0);
                checksums_are_right(out);
                let word = [0, 0, 5, 0x14];
                let mut expected = if v4 {
                    icmp4(&host(vip), &host(client), kind, word, &outside[..len])
                } else {
                    icmp6(&host(vip), &host(client), kind, word, &outside[..len])
                };
                (expected.ttl, expected.dst_mac, expected.src_mac) = (63, ROUTER, WAN);
                let l4_check = headers + if protocol == 6 { 16 } else { 6 };
                if len != l4_check + 1 {
                    assert_eq!(out, expected.build(), "{vip} {kind:?} {len}");
                }
            }
        }
    }
}

#[test]
fn quoted_options_and_long_extension_headers_are_stepped_over() {
    let mut net = Net::new(all_modes());
    let (backend, _) = open(&mut net, "192.0.2.10:80", C4, 6);
    let options = |src: &str| packet(src, C4, 6, ACK).with(|f| f.options.1 = vec![1; 40]).packet();
    let sent = net.send(0, &error(true, "192.0.2.10:80", [3, 4], &options("192.0.2.10:80")).build());
    checksums_are_right(sent.tx().1);
    assert_eq!(sent.frame[42..], options(&backend));

    let (backend, _) = open(&mut net, "[2001:db8::10]:80", C6, 6);
    // 8 headers of 64 bytes are the most that is walked.
    for count in 1..=8usize {
        let header = |next: u8| [&[next, 7, 1, 60][..], &[0; 60]].concat();
        let chain: Vec<u8> = (1..=count).flat_map(|n| header(if n == count { 6 } else { 60 })).collect();
        let quoted = |src: &str| packet(src, C6, 6, ACK).with(|f| f.options = (60, chain.clone())).packet();
        let sent = net.send(0, &error(false, "[2001:db8::10]:80", [2, 0], &quoted("[2001:db8::10]:80")).build());
        checksums_are_right(sent.tx().1);
        assert_eq!(sent.frame[62..], quoted(&backend), "{count}");
    }
}

#[test]
fn udp_without_a_checksum_is_quoted_without() {
    let mut net = Net::new(all_modes());
    let vip = "192.0.2.10:53";
    let (backend, _) = open(&mut net, vip, C4, 17);
    let quoted = |src: &str| packet(src, C4, 17, 0).with(|f| f.l4_checksum = Some(0)).packet();
    let sent = net.send(0, &error(true, vip, [3, 3], &quoted(vip)).build());
    checksums_are_right(sent.tx().1);
    assert_eq!(sent.frame[42..], quoted(&backend));
}

#[test]
fn an_error_must_be_addressed_to_the_sender_of_what_it_quotes() {
    for (vip, client, protocol, v4) in NATS {
        let mut net = Net::new(all_modes());
        let (backend, _) = open(&mut net, vip, client, protocol);
        let to_client = packet(vip, client, protocol, ACK).packet();
        let to_backend = packet(client, &backend, protocol, SYN).packet();
        let other_vip = if v4 { "192.0.2.20:80" } else { "[2001:db8::20]:80" };
        net.expect_drop(0, &error(v4, other_vip, kinds(v4)[0], &to_client).build(), DropReason::IcmpNoConnection);
        net.expect_drop(0, &error(v4, vip, kinds(v4)[0], &to_backend).build(), DropReason::IcmpNoConnection);
        net.expect_drop(0, &error(v4, client, kinds(v4)[0], &to_client).build(), DropReason::NotOurs);
        // Not the direction that it travelled in.
        let reversed = packet(client, vip, protocol, ACK).packet();
        assert!(matches!(net.send(0, &error(v4, vip, kinds(v4)[0], &reversed).build()).verdict, Verdict::Drop(_)));
    }
}

#[test]
fn errors_that_cannot_be_matched_are_counted() {
    let mut net = Net::new(all_modes());
    let vip = "192.0.2.10:80";
    open(&mut net, vip, C4, 6);
    let about = |quote: &[u8]| error(true, vip, [3, 4], quote).build();
    let whole = packet(vip, C4, 6, ACK);
    // A later fragment, an ICMP message, our own GRE packet, and IPv6 in an ICMPv4 error: no ports to tell.
    for quote in [
        whole.clone().with(|f| f.fragment = 0x2010).packet(),
        icmp4("192.0.2.10", "198.51.100.7", [8, 0], [0; 4], b"data").packet(),
        whole.clone().with(|f| f.protocol = 47).packet(),
        packet("[2001:db8::10]:80", C6, 6, ACK).packet(),
    ] {
        net.expect_drop(0, &about(&quote), DropReason::IcmpNoConnection);
    }
    // A first fragment has them.
    let first = whole.clone().with(|f| f.fragment = 0x2000).packet();
    net.send(0, &about(&first)).tx();
    // TTL used up: no error about an error.
    for ttl in [0, 1] {
        let dying = error(true, vip, [3, 4], &whole.packet()).with(|f| f.ttl = ttl);
        net.expect_drop(0, &dying.build(), DropReason::TtlExceeded);
    }
    // Too big for the tunnel, with DF: again no error about an error.
    let quote = Frame::ack("192.0.2.20:80", C4).with(|f| f.payload = vec![0; 1420]).packet();
    let big = error(true, "192.0.2.20:80", [3, 1], &quote);
    assert!(big.packet().len() > 1476);
    assert_eq!(net.send(0, &big.build()).dropped(), DropReason::TooBig);
}

#[test]
fn a_later_fragment_in_a_quote_counts_nowhere_else() {
    let mut net = Net::new(all_modes());
    let quote = Frame::ack("192.0.2.20:80", C4).with(|f| f.fragment = 0x2010).packet();
    net.expect_drop(0, &error(true, "192.0.2.20:80", [3, 4], &quote).build(), DropReason::IcmpNoConnection);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn quotes_may_be_cut_and_garbled_anywhere(
        which in 0usize..4,
        tunnel: bool,
        to_backend: bool,
        kind_at in 0usize..5,
        cut in 0usize..120,
        garble in prop::collection::vec((0usize..120, any::<u8>()), 0..3),
    ) {
        let (vip, client, protocol, v4) = NATS[which];
        let vip = if tunnel { if v4 { "192.0.2.20:80" } else { "[2001:db8::21]:80" } } else { vip };
        let protocol = if tunnel { 6 } else { protocol };
        let mut net = Net::new(all_modes());
        net.send(0, &packet(client, vip, protocol, SYN).build()).tx();
        let backend = if v4 { "10.1.0.1:8080" } else { "[fd01::1]:8080" };
        let mut quote = if to_backend { packet(vip, client, protocol, ACK) } else { packet(client, backend, protocol, SYN) }.packet();
        quote.truncate(cut);
        for (at, value) in garble {
            if let Some(byte) = quote.get_mut(at) {
                *byte = value;
            }
        }
        let kind = kinds(v4)[kind_at % kinds(v4).len()];
        let error = error(v4, if to_backend { vip } else { client }, kind, &quote);
        let sent = net.send(u8::from(!to_backend), &if to_backend { error.build() } else { error.on_lan(backend_mac(1)).build() });
        if let Verdict::Tx(_) = sent.verdict {
            if tunnel && to_backend {
                prop_assert!(sent.frame.ends_with(&quote));
            } else {
                checksums_are_right(&sent.frame);
            }
        }
        net.figures();
        prop_assert_eq!(net.active(), 1, "whatever it says, the connection stays");
    }
}
