//! The life of connections: states, timeouts, limits, and what becomes of backends (rules 15 to 21, 32, 33, P2 and P5).

use std::collections::{HashMap, HashSet};

use crate::lb::connection::flags::*;
use crate::lb::connection::{Phase, Timeouts};
use crate::lb::ids::BackendId;
use crate::lb::path::Origin;
use crate::lb::snapshot::{Mode, SnapshotSpec};
use crate::lb::testing::*;
use crate::lb::verdict::{DropReason, Verdict};

const C4: &str = "198.51.100.7:40000";
const NAT: &str = "192.0.2.10:80";
const NAT_UDP: &str = "192.0.2.10:53";
const GRE: &str = "192.0.2.20:80";
const GRE_UDP: &str = "192.0.2.20:53";
const DSR: &str = "192.0.2.30:80";

/// The only connection's phase and time left.
fn phase(net: &Net) -> Option<(Phase, u16)> {
    let (rows, _) = net.shards[0].connections(0, usize::MAX, net.now);
    assert!(rows.len() <= 1);
    rows.first().map(|row| (row.phase, row.left_s))
}

/// Sends for the client.
fn ask(net: &mut Net, vip: &str, flags: u8) -> Sent {
    net.send(0, &Frame::tcp(C4, vip, flags).build())
}

/// Sends for the one NAT backend.
fn answer(net: &mut Net, flags: u8) -> Sent {
    net.send(1, &Frame::tcp("10.1.0.1:8080", C4, flags).on_lan(backend_mac(1)).build())
}

/// All modes, one backend each.
fn single() -> SnapshotSpec {
    let mut all = all_modes();
    for service in &mut all.services {
        service.backends.truncate(1);
    }
    all
}

#[test]
fn tcp_through_nat_from_syn_to_the_end() {
    let mut net = Net::new(single());
    ask(&mut net, NAT, SYN).tx();
    assert_eq!(phase(&net), Some((Phase::TcpSyn, 30)));
    answer(&mut net, SYN | ACK).tx();
    assert_eq!(phase(&net), Some((Phase::TcpSyn, 30)), "the client has not shown its address yet");
    ask(&mut net, NAT, ACK).tx();
    assert_eq!(phase(&net), Some((Phase::TcpEstablished, 7440)));
    net.pass_s(7000);
    answer(&mut net, ACK).tx();
    assert_eq!(phase(&net), Some((Phase::TcpEstablished, 7440)), "replies refresh as requests do");
    answer(&mut net, FIN | ACK).tx();
    assert_eq!(phase(&net), Some((Phase::TcpFin, 10)), "both directions are short now");
    ask(&mut net, NAT, ACK).tx();
    ask(&mut net, NAT, FIN | ACK).tx();
    answer(&mut net, ACK).tx();
    assert_eq!(phase(&net), Some((Phase::TcpFin, 10)), "not deleted at the packet (RFC 7857)");
    let ((), changes) = net.changes(|net| net.pass_s(10));
    assert!(changes.is_empty());
    let ((), changes) = net.changes(|net| net.pass_s(1));
    assert_eq!(changes, [("active".into(), -1), ("expired".into(), 1)].into());
    assert_eq!(phase(&net), None);
    assert_eq!(net.figures()["connections_total 0"], 1);
    assert!(!net.figures().contains_key("connections 0"));
}

#[test]
fn a_reset_changes_nothing_where_its_sequence_is_not_known() {
    for vip in [NAT, GRE, DSR] {
        let mut net = Net::new(single());
        ask(&mut net, vip, SYN).tx();
        ask(&mut net, vip, ACK).tx();
        let before = phase(&net);
        assert_eq!(before, Some((Phase::TcpEstablished, 7440)));
        for flags in [RST, RST | ACK, RST | FIN, RST | SYN] {
            ask(&mut net, vip, flags).tx();
            assert_eq!(phase(&net), before, "{vip} {flags:#x}");
        }
    }
    let mut net = Net::new(single());
    ask(&mut net, NAT, SYN).tx();
    answer(&mut net, RST | ACK).tx();
    assert_eq!(phase(&net), Some((Phase::TcpSyn, 30)));
}

#[test]
fn timeouts_are_kept_to_the_second_in_every_state() {
    let seconds = [3, 100, 7, 5, 40, 9];
    let make = || {
        let mut all = single();
        for service in &mut all.services {
            service.timeouts = Timeouts::new(seconds);
        }
        Net::new(all)
    };
    type Open = fn(&mut Net);
    let udp = |net: &mut Net, vip: &str| net.send(0, &Frame::udp(C4, vip).build()).tx().0;
    let cases: [(Phase, Open); 8] = [
        (Phase::TcpSyn, |net| _ = ask(net, NAT, SYN)),
        (Phase::TcpSyn, |net| _ = ask(net, GRE, SYN)),
        (Phase::TcpEstablished, |net| {
            ask(net, NAT, SYN);
            ask(net, NAT, ACK);
        }),
        (Phase::TcpEstablished, |net| {
            ask(net, DSR, SYN);
            ask(net, DSR, ACK);
        }),
        (Phase::TcpFin, |net| {
            ask(net, GRE, SYN);
            ask(net, GRE, ACK);
            ask(net, GRE, FIN | ACK);
        }),
        (Phase::UdpOneway, |net| _ = net.send(0, &Frame::udp(C4, NAT_UDP).build())),
        (Phase::UdpOneway, |net| _ = net.send(0, &Frame::udp(C4, GRE_UDP).build())),
        (Phase::Udp, |net| {
            net.send(0, &Frame::udp(C4, NAT_UDP).build());
            net.send(1, &Frame::udp("10.1.0.1:8080", C4).on_lan(backend_mac(1)).build()).tx();
        }),
    ];
    for (expected, open) in cases {
        let mut net = make();
        open(&mut net);
        let timeout = seconds[expected as usize];
        assert_eq!(phase(&net), Some((expected, timeout)));
        // Cut to whole seconds, it ends between its time and a second later, never before.
        net.pass_s(u64::from(timeout));
        assert_eq!(net.active(), 1, "{expected:?}");
        net.pass_s(1);
        assert_eq!(net.active(), 0, "{expected:?}");
    }
    // Where replies do not pass here, a second packet shows that somebody listens; requests alone show nothing in NAT.
    let mut net = make();
    udp(&mut net, GRE_UDP);
    udp(&mut net, GRE_UDP);
    assert_eq!(phase(&net), Some((Phase::Udp, 40)));
    let mut net = make();
    udp(&mut net, NAT_UDP);
    udp(&mut net, NAT_UDP);
    assert_eq!(phase(&net), Some((Phase::UdpOneway, 5)));
}

#[test]
fn time_that_is_over_counts_before_the_sweep_comes_by() {
    let mut net = Net::new(single());
    ask(&mut net, NAT, SYN).tx();
    // The clock alone moves on; no timer has run.
    net.now = crate::lb::clock::Now::from_ns(net.now.ns() + 31_000_000_000);
    net.expect_drop(0, &Frame::ack(C4, NAT).build(), DropReason::NoConnection);
    net.expect_drop(1, &Frame::tcp("10.1.0.1:8080", C4, SYN | ACK).on_lan(backend_mac(1)).build(), DropReason::NotOurs);
    // A new SYN replaces what is left of it at once.
    let changed = [("tx", 1), ("created", 1), ("expired", 1)];
    net.expect(0, &Frame::syn(C4, NAT).build(), &changed);
    assert_eq!(net.active(), 1);
}

#[test]
fn pauses_of_any_length_end_connections() {
    for pause_s in [7_442, 20_000, 32_768, 40_000, 65_536, 65_536 + 100, 500_000, 10_000_000] {
        let mut net = Net::new(single());
        ask(&mut net, GRE, SYN).tx();
        ask(&mut net, GRE, ACK).tx();
        net.pass_s(1);
        net.pass_s(pause_s);
        assert_eq!(net.active(), 0, "{pause_s}");
    }
}

#[test]
fn a_syn_on_a_closing_connection_opens_a_new_one_at_once() {
    for vip in [NAT, GRE, DSR] {
        let mut net = Net::new(single());
        for flags in [SYN, ACK, FIN | ACK] {
            ask(&mut net, vip, flags).tx();
        }
        let (sent, changes) = net.changes(|net| ask(net, vip, SYN));
        sent.tx();
        assert_eq!(changes, [("created".into(), 1), ("tx".into(), 1)].into(), "{vip}");
        assert_eq!(phase(&net), Some((Phase::TcpSyn, 30)));
        // The reply direction is the new connection's.
        if vip == NAT {
            answer(&mut net, SYN | ACK).tx();
        }
        ask(&mut net, vip, ACK).tx();
        assert_eq!(phase(&net), Some((Phase::TcpEstablished, 7440)));
    }
}

#[test]
fn a_stray_syn_does_not_disturb_an_open_connection() {
    for vip in [NAT, GRE] {
        let mut net = Net::new(single());
        for flags in [SYN, SYN, ACK, SYN, SYN | ACK, SYN | FIN] {
            ask(&mut net, vip, flags).tx();
        }
        assert_eq!(net.figures()["created"], 1);
        assert_eq!(phase(&net), Some((Phase::TcpEstablished, 7440)));
    }
}

#[test]
fn a_burst_with_the_same_new_flow_opens_one_connection() {
    for vip in [NAT, GRE, DSR] {
        let mut net = Net::new(all_modes());
        let packets: Vec<_> = (0..32).map(|_| TestPacket::new(0, &Frame::syn(C4, vip).build())).collect();
        let (sent, changes) = net.changes(|net| net.burst(0, Origin::Port, &packets));
        assert_eq!(changes, [("active".into(), 1), ("created".into(), 1), ("tx".into(), 32)].into());
        assert_eq!(sent.iter().map(|s| &s.frame).collect::<HashSet<_>>().len(), 1);
    }
    // Opening, data, ending and opening again, and another connection's packets between, in one burst.
    let mut net = Net::new(all_modes());
    let of = |client: &str, flags| TestPacket::new(0, &Frame::tcp(client, NAT, flags).build());
    let other = "198.51.100.8:1";
    let flags = [SYN, ACK, FIN | ACK, SYN, ACK];
    let packets: Vec<_> = flags.iter().flat_map(|&f| [of(C4, f), of(other, f)]).collect();
    let (_, changes) = net.changes(|net| net.burst(0, Origin::Port, &packets));
    assert_eq!(changes, [("active".into(), 2), ("created".into(), 4), ("tx".into(), 10)].into());
}

#[test]
fn connections_keep_their_backend_whatever_happens_to_others() {
    for mode in [Mode::Gre, Mode::Nat, Mode::Dsr] {
        let names = ["10.1.0.1", "10.1.0.2", "10.1.0.3", "10.1.0.4"];
        let make = |backends: &[&str]| spec(vec![service("s", mode, 6, ("192.0.2.1", 80), 0, backends)]);
        let full = make(&names);
        let mut net = Net::new(full.clone());
        let clients: Vec<String> = (1..200).map(|n| format!("198.51.100.7:{n}")).collect();
        let send = |net: &mut Net, client: &str, flags| {
            let sent = net.send(0, &Frame::tcp(client, "192.0.2.1:80", flags).build());
            sent.tx().1[..6].to_vec()
        };
        let before: HashMap<_, _> = clients.iter().map(|c| (c, send(&mut net, c, SYN))).collect();
        assert_eq!(before.values().collect::<HashSet<_>>().len(), 4, "all take part");
        let all_same = |net: &mut Net| clients.iter().all(|c| send(net, c, ACK) == before[c]);
        assert!(all_same(&mut net));
        // One drains, one comes, weights change: nobody moves.
        let mut changed = make(&["10.1.0.1", "10.1.0.2", "10.1.0.3", "10.1.0.4", "10.1.0.5"]);
        changed.services[0].backends[1].admits = false;
        changed.services[0].backends[2].weight = 1;
        net.reload(changed.clone());
        assert!(all_same(&mut net));
        // New connections pass the draining one by.
        for n in 1..200 {
            assert_ne!(send(&mut net, &format!("198.51.100.8:{n}"), SYN), backend_mac(2).0);
        }
        // One goes down: its connections move, or end in NAT; nobody else's do.
        changed.services[0].backends[0].serves = false;
        changed.services[0].backends[0].admits = false;
        net.reload(changed.clone());
        let active = net.active();
        let mut gone = 0;
        for client in &clients {
            let was_first = before[client] == backend_mac(1).0;
            let sent = net.send(0, &Frame::ack(client, "192.0.2.1:80").build());
            match sent.verdict {
                Verdict::Drop(reason) => {
                    assert!(was_first && mode == Mode::Nat);
                    assert_eq!(reason, DropReason::NoConnection);
                    gone += 1;
                }
                _ => assert_eq!(sent.tx().1[..6] == before[client][..], !was_first, "{client}"),
            }
        }
        assert_eq!(net.active(), active - gone);
        assert_eq!(gone > 0, mode == Mode::Nat);
        // A removed backend's slot given to another server: no old connection goes there.
        let mut replaced = make(&["10.1.0.6", "10.1.0.2", "10.1.0.3", "10.1.0.4", "10.1.0.5"]);
        replaced.services[0].backends[0].id = BackendId::new(0, 1);
        replaced.services[0].backends[3].serves = true;
        net.reload(replaced);
        for client in clients.iter().filter(|c| before[c] != backend_mac(1).0) {
            assert_eq!(send(&mut net, client, ACK), before[client]);
        }
        let counters = net.shards[0].counters.clone();
        assert_eq!(counters.connections(BackendId::new(0, 1)), 0, "a new backend begins at 0");
        net.pass_s(10_000);
        assert_eq!(net.active(), 0);
        assert!(net.figures().keys().all(|k| !k.starts_with("connections ")), "{:?}", net.figures());
    }
}

#[test]
fn replies_of_a_backend_that_went_down_end_there() {
    let mut all = single();
    let mut net = Net::new(all.clone());
    ask(&mut net, NAT, SYN).tx();
    all.services[0].backends[0].serves = false;
    net.reload(all);
    let (sent, changes) = net.changes(|net| answer(net, SYN | ACK));
    assert_eq!(sent.dropped(), DropReason::NotOurs);
    assert_eq!(changes, [("active".into(), -1), ("drop not_ours".into(), 1)].into());
}

#[test]
fn a_full_table_is_a_reason_in_nat_and_the_hash_elsewhere() {
    for (vip, reason) in [(NAT, Some(DropReason::TableFull)), (GRE, None), (DSR, None)] {
        let mut net = Net::with_connections(all_modes(), 50);
        for n in 0..50 {
            let client = format!("198.51.100.7:{}", 1000 + n);
            net.send(0, &Frame::syn(&client, vip).build()).tx();
            net.send(0, &Frame::ack(&client, vip).build()).tx();
        }
        assert_eq!(net.active(), 50);
        for n in 0..100 {
            let syn = Frame::syn(&format!("203.0.113.1:{}", 1000 + n), vip).build();
            match reason {
                Some(reason) => net.expect_drop(0, &syn, reason),
                None => _ = net.expect(0, &syn, &[("tx", 1), ("stateless", 1)]),
            }
        }
        for n in 0..50 {
            net.expect(0, &Frame::ack(&format!("198.51.100.7:{}", 1000 + n), vip).build(), &[("tx", 1)]);
        }
        // The last free place and room again.
        net.pass_s(8000);
        assert_eq!(net.active(), 0);
        net.send(0, &Frame::syn(C4, vip).build()).tx();
        assert_eq!(net.active(), 1);
    }
}

#[test]
fn a_syn_flood_breaks_no_established_connection() {
    for vip in [NAT, GRE, DSR, "[2001:db8::10]:80"] {
        let v4 = !vip.starts_with('[');
        let address = |n: u32| {
            let [_, b, c, d] = n.to_be_bytes();
            if v4 { format!("198.{b}.{c}.{d}:999") } else { format!("[2001:db8:c::{b:x}:{c:x}:{d:x}]:999") }
        };
        let mut net = Net::with_connections(all_modes(), 400);
        for n in 0..300 {
            net.send(0, &Frame::syn(&address(n), vip).build()).tx();
            net.send(0, &Frame::ack(&address(n), vip).build()).tx();
        }
        let mut opened = 0;
        for n in 1000..6000 {
            let sent = net.send(0, &Frame::syn(&address(n), vip).build());
            match sent.verdict {
                Verdict::Drop(reason) => assert_eq!(reason, DropReason::TableFull),
                _ => opened += 1,
            }
        }
        let figures = net.figures();
        assert_eq!(figures["active"], 400);
        assert!(figures["evicted"] > 4000, "{figures:?}");
        assert!(opened > 4900, "newcomers still get in: {opened}");
        assert_eq!(figures["created"] - figures["evicted"], 400);
        for n in 0..300 {
            net.expect(0, &Frame::ack(&address(n), vip).build(), &[("tx", 1)]);
        }
        // The handshake of an honest client completes in the middle of it.
        net.send(0, &Frame::syn(&address(9000), vip).build()).tx();
        net.send(0, &Frame::ack(&address(9000), vip).build()).tx();
        for n in 6000..7000 {
            net.send(0, &Frame::syn(&address(n), vip).build());
        }
        net.expect(0, &Frame::ack(&address(9000), vip).build(), &[("tx", 1)]);
        let per_backend: i64 =
            net.figures().iter().filter(|(k, _)| k.starts_with("connections ")).map(|(_, n)| *n).sum();
        assert_eq!(per_backend, 400, "gauges follow evictions");
    }
}

#[test]
fn at_the_limit_either_direction_may_find_the_place() {
    use crate::wire::parse::FiveTuple;
    let bits = |text: &str| match end(text) {
        (std::net::IpAddr::V4(addr), port) => (addr, port),
        _ => panic!("not ipv4"),
    };
    let (mut either, mut only_request) = (0, 0);
    for n in 0..300u16 {
        let mut net = Net::with_connections(single(), 40);
        for port in 0..40 {
            let client = format!("203.0.113.1:{}", 1000 + 40 * n + port);
            net.send(0, &Frame::syn(&client, NAT).build()).tx();
            if port > 3 {
                net.send(0, &Frame::ack(&client, NAT).build()).tx();
            }
        }
        let ((client, cport), (vip, vport), (backend, bport)) = (bits(C4), bits(NAT), bits("10.1.0.1:8080"));
        let shard = &net.shards[0];
        let request = FiveTuple { src: client, dst: vip, sport: cport, dport: vport, protocol: 6 };
        let reply = FiveTuple { src: backend, dst: client, sport: bport, dport: cport, protocol: 6 };
        let [request, reply] =
            [request, reply].map(|tuple| shard.v4.has_victim(shard.hasher.hash(&tuple), net.now.tick()));
        let sent = net.send(0, &Frame::syn(C4, NAT).build());
        assert_eq!(matches!(sent.verdict, Verdict::Tx(_)), request || reply, "{request} {reply}");
        either += u16::from(request || reply);
        only_request += u16::from(request && !reply);
        assert_eq!(net.active(), 40);
    }
    assert!(either < 300 && only_request > 0, "{either} {only_request}");
}

#[test]
fn both_families_share_the_limit() {
    let mut net = Net::with_connections(all_modes(), 40);
    for n in 0..30 {
        net.send(0, &Frame::udp(&format!("198.51.100.7:{}", 1000 + n), NAT_UDP).build()).tx();
        net.send(0, &Frame::udp(&format!("[2001:db8:c::7]:{}", 1000 + n), "[2001:db8::10]:53").build());
    }
    assert_eq!(net.active(), 40);
}

#[test]
fn rows_name_each_connection_once_from_the_clients_side() {
    let mut net = Net::new(all_modes());
    for n in 0..200 {
        net.send(0, &Frame::syn(&format!("198.51.100.7:{}", 1000 + n), NAT).build()).tx();
        net.send(0, &Frame::syn(&format!("[2001:db8:c::7]:{}", 1000 + n), "[2001:db8::21]:80").build()).tx();
    }
    let mut rows = Vec::new();
    let mut from = Some(0);
    while let Some(at) = from {
        let (some, next) = net.shards[0].connections(at, 7, net.now);
        rows.extend(some);
        from = next;
    }
    assert_eq!(rows.len(), 400);
    let clients: HashSet<_> = rows.iter().map(|r| r.client).collect();
    assert_eq!(clients.len(), 400);
    assert!(rows.iter().all(|r| r.vip == end(NAT) || r.vip == end("[2001:db8::21]:80")));
    assert!(rows.iter().all(|r| (r.protocol, r.left_s) == (6, 30)));
}
