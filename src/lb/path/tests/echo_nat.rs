//! Pings of a VIP that a backend answers, and the errors about them (rules 23 to 25).

use proptest::prelude::*;

use crate::lb::connection::{Phase, Timeouts};
use crate::lb::snapshot::SnapshotSpec;
use crate::lb::testing::*;
use crate::lb::verdict::{DropReason, Verdict};

/// A VIP in NAT of each IP version, a client, and where the backends are.
const ENDS: [(&str, &str, &str); 2] =
    [("192.0.2.10", "198.51.100.7", "10.1.0."), ("2001:db8::10", "2001:db8:c::7", "fd01::")];
/// The services that have these VIPs.
const NAMES: [&str; 2] = ["nat4", "nat6"];
const WORD: [u8; 4] = [0xab, 0xcd, 0, 5];

fn passing(workers: u16) -> SnapshotSpec {
    let mut all = all_modes();
    all.workers = workers;
    for service in &mut all.services {
        service.passes_echo = NAMES.contains(&&*service.name);
        service.timeouts = Timeouts::new([30, 7440, 10, 60, 300, 9]);
    }
    all
}

fn echo(src: &str, dst: &str, is_reply: bool, word: [u8; 4], payload: &[u8]) -> Frame {
    match (src.contains('.'), is_reply) {
        (true, false) => icmp4(src, dst, [8, 0], word, payload),
        (true, true) => icmp4(src, dst, [0, 0], word, payload),
        (false, false) => icmp6(src, dst, [128, 0], word, payload),
        (false, true) => icmp6(src, dst, [129, 0], word, payload),
    }
}

fn ask(vip: &str, client: &str) -> Frame {
    echo(client, vip, false, WORD, b"as long as it takes")
}

fn answer(backend: &str, client: &str) -> Frame {
    echo(backend, client, true, WORD, b"as long as it takes").on_lan(backend_mac(1))
}

/// Sends the client's ping; the backend that has it now.
fn open(net: &mut Net, vip: &str, client: &str, lan: &str) -> String {
    let sent = net.send(0, &ask(vip, client).build());
    format!("{lan}{}", sent.tx().1[5])
}

#[test]
fn a_ping_goes_to_a_backend_and_comes_back_as_from_the_vip() {
    for (vip, client, lan) in ENDS {
        for len in [0, 1, 2, 700] {
            let payload = vec![0x5a; len];
            let mut net = Net::new(passing(1));
            let sent = net.expect(
                0,
                &echo(client, vip, false, WORD, &payload).build(),
                &[("tx", 1), ("created", 1), ("active", 1)],
            );
            let (port, out) = sent.tx();
            let n = out[5];
            let backend = format!("{lan}{n}");
            let mut expected = echo(client, &backend, false, WORD, &payload);
            (expected.ttl, expected.dst_mac, expected.src_mac) = (63, backend_mac(n), LAN);
            checksums_are_right(out);
            assert_eq!((port, out), (1, &expected.build()[..]), "{vip} {len}");

            let reply = echo(&backend, client, true, WORD, &payload).on_lan(backend_mac(n));
            let sent = net.expect(1, &reply.build(), &[("tx", 1)]);
            let mut expected = echo(vip, client, true, WORD, &payload);
            (expected.ttl, expected.dst_mac, expected.src_mac) = (63, ROUTER, WAN);
            checksums_are_right(sent.tx().1);
            assert_eq!(sent.tx(), (0, &expected.build()[..]), "{vip} {len}");
        }
    }
}

#[test]
fn all_pings_of_a_run_go_to_one_backend_until_it_is_down() {
    for (vip, client, lan) in ENDS {
        let mut net = Net::new(passing(1));
        let first = open(&mut net, vip, client, lan);
        for sequence in 0..50 {
            let next = echo(client, vip, false, [WORD[0], WORD[1], 0, sequence], b"");
            assert_eq!(format!("{lan}{}", net.send(0, &next.build()).tx().1[5]), first);
        }
        assert_eq!(net.active(), 1);
        let mut spec = passing(1);
        for backend in spec.services.iter_mut().flat_map(|s| &mut s.backends) {
            let is_first = backend.address.to_string() == first;
            (backend.serves, backend.admits) = (!is_first, !is_first);
        }
        net.reload(spec);
        net.expect_drop(1, &answer(&first, client).build(), DropReason::NotOurs);
        let other = open(&mut net, vip, client, lan);
        assert_ne!(other, first);
        net.send(1, &answer(&other, client).build()).tx();
        assert_eq!(net.active(), 1, "what was to the other one is gone");
    }
}

#[test]
fn a_query_is_forgotten_after_its_own_time() {
    for (vip, client, lan) in ENDS {
        let mut net = Net::new(passing(1));
        let backend = open(&mut net, vip, client, lan);
        let row = net.shards[0].connections(0, usize::MAX / 2, net.now).0.remove(0);
        assert_eq!((row.phase, row.left_s), (Phase::IcmpEcho, 9));
        net.pass_s(8);
        net.send(1, &answer(&backend, client).build()).tx();
        net.pass_s(9);
        assert_eq!(net.active(), 1, "the reply counts as well");
        net.pass_s(1);
        assert_eq!(net.active(), 0);
        net.expect_drop(1, &answer(&backend, client).build(), DropReason::NotOurs);
    }
}

#[test]
fn what_cannot_be_passed_on_is_told_or_counted_and_leaves_nothing() {
    for (vip, client, _) in ENDS {
        let mut net = Net::new(passing(1));
        let expired = ask(vip, client).with(|f| f.ttl = 1);
        net.expect(0, &expired.build(), &[("replies", 1)]);
        let long = echo(client, vip, false, WORD, &[0; 1300]);
        let mut narrow = passing(1);
        narrow.ports[1].mtu = 1280;
        let mut net_narrow = Net::new(narrow);
        net_narrow.expect(0, &long.with(|f| f.fragment = 0x4000).build(), &[("replies", 1)]);
        assert_eq!((net.active(), net_narrow.active()), (0, 0));

        net.expect_drop(
            1,
            &answer(if vip.contains(':') { "fd01::1" } else { "10.1.0.1" }, client).build(),
            DropReason::NotOurs,
        );
        net.expect_drop(0, &ask(vip, client).with(|f| f.payload[4] ^= 1).build(), DropReason::IcmpChecksum);
        let mut spec = passing(1);
        spec.services.iter_mut().flat_map(|s| &mut s.backends).for_each(|b| b.admits = false);
        net.reload(spec.clone());
        net.expect_drop(0, &ask(vip, client).build(), DropReason::NoBackend);
        spec.services.iter_mut().for_each(|s| s.unreachable = true);
        net.reload(spec);
        net.expect(0, &ask(vip, client).build(), &[("replies", 1)]);
        assert_eq!(net.active(), 0);
    }
}

#[test]
fn pings_are_rate_limited_on_their_way_to_backends_too() {
    let mut net = Net::new(passing(1));
    let mut limited = 0;
    for id in 0..60_000u16 {
        let [high, low] = id.to_be_bytes();
        let sent = net.send(0, &echo(ENDS[0].1, ENDS[0].0, false, [high, low, 0, 0], b"").build());
        limited += u32::from(matches!(sent.verdict, Verdict::Drop(DropReason::EchoLimited)));
    }
    assert!(limited > 0);
    assert!(net.active() < 60_000);
}

#[test]
fn vips_of_other_services_answer_as_before() {
    let mut net = Net::new(passing(1));
    for (client, vip) in [(ENDS[0].1, "192.0.2.20"), (ENDS[0].1, "192.0.2.40"), (ENDS[1].1, "2001:db8::21")] {
        net.expect(0, &ask(vip, client).build(), &[("replies", 1)]);
    }
    assert_eq!(net.active(), 0);
}

#[test]
fn errors_about_pings_reach_the_end_that_sent_them() {
    let [router4, router6] = ["203.0.113.9", "2001:db8:9::9"];
    let word = [0, 0, 5, 0x14];
    for (vip, client, lan) in ENDS {
        let v4 = vip.contains('.');
        let error = |from: &str, to: &str, quote: &[u8]| {
            if v4 { icmp4(from, to, [11, 0], word, quote) } else { icmp6(from, to, [3, 0], word, quote) }
        };
        let router = if v4 { router4 } else { router6 };
        let mut net = Net::new(passing(1));
        let backend = open(&mut net, vip, client, lan);
        let n = backend.as_bytes()[backend.len() - 1] - b'0';
        let inside = echo(client, &backend, false, WORD, b"some").packet();
        let outside = echo(client, vip, false, WORD, b"some").packet();
        let (answer_in, answer_out) =
            (echo(&backend, client, true, WORD, b"some").packet(), echo(vip, client, true, WORD, b"some").packet());
        for len in inside.len() - 4..=inside.len() {
            let sent =
                net.expect(1, &error(router, client, &inside[..len]).on_lan(backend_mac(1)).build(), &[("tx", 1)]);
            let mut expected = error(vip, client, &outside[..len]);
            (expected.ttl, expected.dst_mac, expected.src_mac) = (63, ROUTER, WAN);
            checksums_are_right(sent.tx().1);
            assert_eq!(sent.tx(), (0, &expected.build()[..]), "{vip} {len}");

            let sent = net.expect(0, &error(router, vip, &answer_out[..len]).build(), &[("tx", 1)]);
            let mut expected = error(router, &backend, &answer_in[..len]);
            (expected.ttl, expected.dst_mac, expected.src_mac) = (63, backend_mac(n), LAN);
            checksums_are_right(sent.tx().1);
            assert_eq!(sent.tx(), (1, &expected.build()[..]), "{vip} {len}");
        }
        // Of another identifier, of a query that nobody made.
        let stray = echo(client, &backend, false, [1, 2, 3, 4], b"some").packet();
        net.expect_drop(1, &error(router, client, &stray).on_lan(backend_mac(1)).build(), DropReason::NotOurs);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn one_worker_sees_all_of_a_query(n in 2u16..9, which in 0usize..2, id: u16, arrivals in prop::array::uniform4(0u16..64)) {
        let (vip, client, lan) = ENDS[which];
        let mut net = Net::new(passing(n));
        let [high, low] = id.to_be_bytes();
        let word = [high, low, 0, 1];
        let [a, b, c, d] = arrivals.map(|a| a % n);
        let request = net.send_to(a, 0, &echo(client, vip, false, word, b"some").build());
        let backend = format!("{lan}{}", request.tx().1[5]);
        let again = net.send_to(b, 0, &echo(client, vip, false, word, b"some").build());
        let reply = net.send_to(c, 1, &echo(&backend, client, true, word, b"some").on_lan(backend_mac(1)).build());
        let quote = echo(client, &backend, false, word, b"some").packet();
        let error = match which {
            0 => icmp4("203.0.113.9", client, [11, 0], [0; 4], &quote),
            _ => icmp6("2001:db8:9::9", client, [3, 0], [0; 4], &quote),
        };
        let error = net.send_to(d, 1, &error.on_lan(backend_mac(1)).build());
        for sent in [&again, &reply, &error] {
            prop_assert_eq!(sent.worker, request.worker);
            prop_assert!(matches!(sent.verdict, Verdict::Tx(_)), "{:?}", sent.verdict);
        }
        prop_assert_eq!(net.figures()["created"], 1);
    }
}
