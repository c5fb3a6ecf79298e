//! What errors quote, in every form and cut at every length, in every mode (rules 22 and 24).

use proptest::prelude::*;

use crate::lb::connection::flags::*;
use crate::lb::testing::*;
use crate::lb::verdict::{DropReason, Verdict};

const C4: &str = "198.51.100.7:40000";
const C6: &str = "[2001:db8:c::7]:40000";

/// A VIP of each mode and family, its protocol, and whether its backends are behind NAT.
const VIPS: [(&str, u8, bool); 12] = [
    ("192.0.2.10:80", 6, true),
    ("192.0.2.10:53", 17, true),
    ("[2001:db8::10]:80", 6, true),
    ("[2001:db8::10]:53", 17, true),
    ("192.0.2.20:80", 6, false),
    ("192.0.2.20:53", 17, false),
    ("192.0.2.21:80", 6, false),
    ("[2001:db8::20]:80", 6, false),
    ("[2001:db8::21]:80", 6, false),
    ("[2001:db8::21]:53", 17, false),
    ("192.0.2.30:80", 6, false),
    ("[2001:db8::30]:80", 6, false),
];

fn is_v4(vip: &str) -> bool {
    !vip.starts_with('[')
}

fn client_of(vip: &str) -> &'static str {
    if is_v4(vip) { C4 } else { C6 }
}

fn packet(src: &str, dst: &str, protocol: u8) -> Frame {
    let frame = if protocol == 6 { Frame::tcp(src, dst, ACK) } else { Frame::udp(src, dst) };
    frame.with(|f| (f.payload, f.ttl) = (b"some data that is quoted, and then".repeat(5), 9))
}

/// Opens a connection; the MAC address of its backend.
fn open(net: &mut Net, vip: &str, protocol: u8) -> Vec<u8> {
    let first = if protocol == 6 { Frame::syn(client_of(vip), vip) } else { Frame::udp(client_of(vip), vip) };
    net.send(0, &first.build()).tx().1[..6].to_vec()
}

fn error(vip: &str, kind: [u8; 2], word: [u8; 4], body: &[u8]) -> Frame {
    let to = end(vip).0.to_string();
    if is_v4(vip) { icmp4("203.0.113.9", &to, kind, word, body) } else { icmp6("2001:db8:9::9", &to, kind, word, body) }
}

fn unreachable(vip: &str) -> [u8; 2] {
    if is_v4(vip) { [3, 1] } else { [1, 3] }
}

/// The quote of a frame that came out, and what came before it.
fn quote_in(frame: &[u8], vip: &str, nat: bool, len: usize) -> Vec<u8> {
    assert!(nat);
    frame[if is_v4(vip) { 42 } else { 62 }..][..len].to_vec()
}

/// Quotes with all that may stand before the ports.
fn forms(vip: &str, protocol: u8) -> Vec<Frame> {
    let plain = packet(vip, client_of(vip), protocol);
    let mut forms = vec![plain.clone()];
    if is_v4(vip) {
        forms.extend([4, 20, 40].map(|n| plain.clone().with(|f| f.options.1 = vec![1; n])));
        forms.push(plain.with(|f| f.fragment = 0x2000));
    } else {
        let headers: [&[u8]; 3] = [&[0; 8], &[0, 2, 1, 20, 0, 0, 0, 0], &[0, 0, 0, 1, 0, 0, 0, 9]];
        for (kind, header) in [60, 43, 44].into_iter().zip(headers) {
            let mut header = header.to_vec();
            header[0] = protocol;
            header.resize((usize::from(if kind == 44 { 0 } else { header[1] }) + 1) * 8, 0);
            forms.push(plain.clone().with(|f| f.options = (kind, header)));
        }
    }
    forms
}

#[test]
fn errors_find_the_backend_from_eight_bytes_on_and_are_counted_below() {
    for (vip, protocol, nat) in VIPS {
        let mut net = Net::new(all_modes());
        let backend = open(&mut net, vip, protocol);
        for form in forms(vip, protocol) {
            let quote = form.packet();
            let l4 = if is_v4(vip) { 20 } else { 40 } + form.options.1.len();
            for cut in 0..=quote.len() {
                let message = error(vip, unreachable(vip), [0; 4], &quote[..cut]);
                if cut < l4 + 4 {
                    net.expect_drop(0, &message.build(), DropReason::IcmpQuote);
                    continue;
                }
                let sent = net.expect(0, &message.build(), &[("tx", 1)]);
                let (_, out) = sent.tx();
                assert_eq!(out[..6], backend, "{vip} {cut}");
                if nat {
                    checksums_are_right(out);
                } else {
                    assert!(out.ends_with(&message.packet()));
                }
            }
        }
        assert_eq!(net.active(), 1);
    }
}

#[test]
fn later_fragments_and_what_has_no_ports_are_counted() {
    for (vip, protocol, _) in VIPS {
        let mut net = Net::new(all_modes());
        open(&mut net, vip, protocol);
        let plain = packet(vip, client_of(vip), protocol);
        let later = if is_v4(vip) {
            plain.clone().with(|f| f.fragment = 0x2001)
        } else {
            plain.clone().with(|f| f.options = (44, vec![protocol, 0, 0, 9, 0, 0, 0, 9]))
        };
        let echo = plain.clone().with(|f| f.protocol = if is_v4(vip) { 1 } else { 58 });
        let gre = plain.clone().with(|f| f.protocol = 47);
        let ipip = plain.clone().with(|f| f.protocol = 4);
        for quoted in [later, echo, gre, ipip] {
            let quote = quoted.packet();
            for cut in 60..quote.len() {
                let message = error(vip, unreachable(vip), [0; 4], &quote[..cut]);
                net.expect_drop(0, &message.build(), DropReason::IcmpNoConnection);
            }
        }
    }
}

/// RFC 4884 section 7: version 2, checksum, one object.
fn extension() -> Vec<u8> {
    let mut bytes = vec![0x20, 0, 0, 0, 0, 8, 1, 1, 0x12, 0x34, 0x51, 0x01];
    let check = internet_checksum(&[&bytes]);
    bytes[2..4].copy_from_slice(&check.to_be_bytes());
    bytes
}

#[test]
fn extensions_and_the_padding_before_them_survive_translation() {
    for (vip, protocol, nat) in VIPS {
        for quoted_len in [40, 60, 128, 131] {
            let mut net = Net::new(all_modes());
            open(&mut net, vip, protocol);
            let headers = if is_v4(vip) { 20 } else { 40 } + if protocol == 6 { 20 } else { 8 };
            let quoted = packet(vip, client_of(vip), protocol).with(|f| f.payload.truncate(100));
            let whole = quoted.clone().with(|f| f.payload.truncate(quoted_len.max(headers) - headers)).packet();
            // A short packet is padded with zeros, a longer one is cut.
            let mut body = if whole.len() < 128 { whole.clone() } else { quoted.packet() };
            let quote_len = body.len().min(128);
            body.resize(128, 0);
            let (word, body) = if is_v4(vip) {
                ([0, 32, 0, 0], [body, extension()].concat())
            } else {
                ([16, 0, 0, 0], [body, extension()].concat())
            };
            let message = error(vip, unreachable(vip), word, &body);
            let sent = net.expect(0, &message.build(), &[("tx", 1)]);
            let out = sent.tx().1;
            if !nat {
                assert!(out.ends_with(&message.packet()));
                continue;
            }
            checksums_are_right(out);
            let got = quote_in(out, vip, nat, body.len());
            assert_eq!(got[quote_len..], body[quote_len..], "padding and extension");
            let l4 = if is_v4(vip) { 34 } else { 54 };
            assert_eq!(out[l4 + 4..l4 + 8], word, "the length");
        }
    }
}

#[test]
fn an_upper_layer_that_ends_before_its_checksum_does_not_change_what_follows() {
    // Eight bytes of TCP are all that this packet has: what stands where its checksum would be is padding.
    let mut net = Net::new(all_modes());
    open(&mut net, "192.0.2.10:80", 6);
    let short = packet("192.0.2.10:80", C4, 6).with(|f| f.payload.clear());
    let mut quote = short.packet_with(&short.packet()[20..28]);
    quote.resize(128, 0);
    let body = [quote, extension()].concat();
    let sent = net.expect(0, &error("192.0.2.10:80", [11, 0], [0, 32, 0, 0], &body).build(), &[("tx", 1)]);
    checksums_are_right(sent.tx().1);
    assert_eq!(sent.frame[42 + 28..], body[28..]);
}

#[test]
fn lengths_that_old_senders_leave_are_not_taken_for_that_of_the_quote() {
    for (vip, protocol, _) in VIPS {
        let mut net = Net::new(all_modes());
        let backend = open(&mut net, vip, protocol);
        let quote = packet(vip, client_of(vip), protocol).packet();
        for n in 0..=255 {
            let word = if is_v4(vip) { [0, n, 0, 0] } else { [n, 0, 0, 0] };
            let sent = net.send(0, &error(vip, unreachable(vip), word, &quote[..100]).build());
            assert_eq!(sent.tx().1[..6], backend, "{n}");
        }
    }
}

#[test]
fn wrong_checksums_go_nowhere() {
    for (vip, protocol, _) in VIPS {
        let mut net = Net::new(all_modes());
        open(&mut net, vip, protocol);
        let quote = packet(vip, client_of(vip), protocol).packet();
        for cut in [48, 49, quote.len()] {
            let mut frame = error(vip, unreachable(vip), [0; 4], &quote[..cut]).build();
            *frame.last_mut().unwrap() ^= 1;
            net.expect_drop(0, &frame, DropReason::IcmpChecksum);
        }
    }
}

#[test]
fn mtus_that_cannot_be_are_not_passed_on() {
    for (vip, protocol, nat) in VIPS {
        let v4 = is_v4(vip);
        let tell = |mtu: u32, to: &str, quote: &[u8]| {
            let (from4, from6) = ("203.0.113.9", "2001:db8:9::9");
            if v4 {
                icmp4(from4, to, [3, 4], mtu.to_be_bytes(), quote)
            } else {
                icmp6(from6, to, [2, 0], mtu.to_be_bytes(), quote)
            }
        };
        let min = if v4 { 576 } else { 1280 };
        for is_known in [false, true] {
            let mut net = Net::new(all_modes());
            if is_known {
                open(&mut net, vip, protocol);
            } else if nat {
                continue;
            }
            let to = end(vip).0.to_string();
            let quote = packet(vip, client_of(vip), protocol).packet();
            for mtu in [1, 67, 68, min - 1] {
                net.expect_drop(0, &tell(mtu, &to, &quote).build(), DropReason::IcmpMtu);
            }
            net.send(0, &tell(min, &to, &quote).build()).tx();
            // An old router's 0 is for hosts to make sense of (RFC 1191 5); IPv6 has no such routers.
            match v4 {
                true => _ = net.send(0, &tell(0, &to, &quote).build()).tx(),
                false => net.expect_drop(0, &tell(0, &to, &quote).build(), DropReason::IcmpMtu),
            }
        }
        if nat {
            // About what NAT sent on, to the client.
            let mut net = Net::new(all_modes());
            let n = open(&mut net, vip, protocol)[5];
            let backend = if v4 { format!("10.1.0.{n}:8080") } else { format!("[fd01::{n}]:8080") };
            let quote = packet(client_of(vip), &backend, protocol).packet();
            let to = end(client_of(vip)).0.to_string();
            let about = |mtu| tell(mtu, &to, &quote).on_lan(backend_mac(n)).build();
            net.expect_drop(1, &about(min - 1), DropReason::IcmpMtu);
            net.expect(1, &about(min), &[("tx", 1)]);
        }
    }
}

#[test]
fn no_message_ends_a_connection_changes_its_state_or_keeps_it() {
    for (vip, protocol, nat) in VIPS {
        let mut net = Net::new(all_modes());
        let n = open(&mut net, vip, protocol)[5];
        let rows = |net: &Net| net.shards[0].connections(0, 1 << 20, net.now).0;
        let before = rows(&net);
        assert_eq!(before.len(), 1);
        net.pass_s(7);
        let backend = if is_v4(vip) { format!("10.1.0.{n}:8080") } else { format!("[fd01::{n}]:8080") };
        let about_reply = packet(vip, client_of(vip), protocol).packet();
        let about_request = packet(client_of(vip), &backend, protocol).packet();
        for kind in 0..=255 {
            for code in [0, 1, 2, 3, 4, 9, 10, 13, 255] {
                for word in [[0; 4], [0, 0, 5, 0x14]] {
                    net.send(0, &error(vip, [kind, code], word, &about_reply).build());
                    if nat {
                        let to = client_of(vip);
                        net.send(1, &error(to, [kind, code], word, &about_request).on_lan(backend_mac(n)).build());
                    }
                }
            }
        }
        for row in &before {
            assert!(row.left_s > 7);
        }
        let after: Vec<_> =
            before.iter().map(|row| crate::lb::shard::ConnectionRow { left_s: row.left_s - 7, ..*row }).collect();
        assert_eq!(rows(&net), after, "{vip}");
        assert_eq!(net.active(), 1);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    /// Whatever a quote says: right backend or counted, and a right checksum where there was one.
    #[test]
    fn garbled_quotes_reach_the_right_backend_or_are_counted(
        which in 0..VIPS.len(),
        form in any::<prop::sample::Index>(),
        kind in any::<prop::sample::Index>(),
        second in any::<[u8; 4]>(),
        is_second_zero: bool,
        cut in 0usize..240,
        garble in prop::collection::vec((0usize..120, any::<u8>()), 0..4),
        wrong_checksum in prop::bool::weighted(0.1),
    ) {
        let (vip, protocol, nat) = VIPS[which];
        let mut net = Net::new(all_modes());
        let backend = open(&mut net, vip, protocol);
        let forms = forms(vip, protocol);
        let mut quote = forms[form.index(forms.len())].packet();
        quote.truncate(cut);
        for &(at, value) in &garble {
            if let Some(byte) = quote.get_mut(at) {
                *byte = value;
            }
        }
        let kinds: &[[u8; 2]] = if is_v4(vip) { &[[3, 4], [3, 1], [3, 3], [11, 0], [12, 0]] } else { &[[1, 4], [2, 0], [3, 0], [4, 1]] };
        let word = if is_second_zero { [0; 4] } else { second };
        let mut frame = error(vip, kinds[kind.index(kinds.len())], word, &quote).build();
        if wrong_checksum {
            *frame.last_mut().unwrap() ^= 0x5a;
        }
        let sent = net.send(0, &frame);
        match sent.verdict {
            Verdict::Tx(_) => {
                prop_assert!(!wrong_checksum);
                if nat {
                    checksums_are_right(&sent.frame);
                    prop_assert_eq!(&sent.frame[..6], &backend[..], "only a connection is a reason to translate");
                } else {
                    prop_assert!(sent.frame.ends_with(&quote));
                    if garble.is_empty() {
                        prop_assert_eq!(&sent.frame[..6], &backend[..]);
                    }
                }
            }
            Verdict::Drop(reason) => {
                use DropReason::*;
                prop_assert!(matches!(reason, IcmpChecksum | IcmpQuote | IcmpMtu | IcmpNoConnection), "{:?}", reason);
                prop_assert!(!wrong_checksum || reason == IcmpChecksum);
            }
            other => prop_assert!(false, "{:?}", other),
        }
        net.figures();
        prop_assert_eq!(net.active(), 1);
    }
}
