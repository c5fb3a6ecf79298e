//! Limits of connections, clients that stay where they are, and response times.

use std::collections::HashSet;

use crate::lb::clock::Now;
use crate::lb::connection::flags::*;
use crate::lb::ids::BackendId;
use crate::lb::response_times::{Keeper, Measured};
use crate::lb::scheduler::Kind;
use crate::lb::snapshot::{Mode, SnapshotSpec};
use crate::lb::testing::*;
use crate::lb::verdict::{DropReason, Verdict};

/// Two services of three backends each, by the same scheduler; nothing is handed from worker to worker.
fn services(kind: Kind, mode: Mode, workers: u16) -> SnapshotSpec {
    let one = |name, vip, slot, net: &str| {
        let addresses = [1, 2, 3].map(|n| format!("{net}{n}"));
        let mut service = service(name, mode, 6, (vip, 80), slot, &addresses.each_ref().map(String::as_str));
        service.scheduler = kind;
        service
    };
    let mut spec = spec(vec![one("v4", "192.0.2.1", 0, "10.1.0."), one("v6", "2001:db8::1", 3, "fd01::")]);
    spec.workers = workers;
    spec.ports.iter_mut().for_each(|port| port.is_placed = true);
    spec
}

fn frame(client: &str, flags: u8) -> Vec<u8> {
    Frame::tcp(client, if client.starts_with('[') { "[2001:db8::1]:80" } else { "192.0.2.1:80" }, flags).build()
}

/// The backend that a packet goes to, from 0 on.
fn send(net: &mut Net, worker: u16, client: &str, flags: u8) -> usize {
    usize::from(net.send_to(worker, 0, &frame(client, flags)).tx().1[5]) - 1
}

fn client(v6: bool, host: u32, port: u32) -> String {
    if v6 { format!("[2001:db8:c::{host:x}]:{port}") } else { format!("198.51.100.{host}:{port}") }
}

fn pass_us(net: &mut Net, us: u64) {
    net.now = Now::from_ns(net.now.ns() + us * 1000);
}

#[test]
fn a_backend_at_its_limit_gets_nothing_more_and_another_one_does() {
    for kind in Kind::ALL {
        for (mode, v6) in [(Mode::Gre, false), (Mode::Gre, true), (Mode::Nat, false)] {
            let mut spec = services(*kind, mode, 2);
            spec.services.iter_mut().for_each(|service| service.backends[1].connections_max = 4);
            let mut net = Net::new(spec);
            let mut counts = [0; 3];
            for n in 0..90 {
                counts[send(&mut net, (n % 2) as u16, &client(v6, n, 4000 + n), SYN)] += 1;
            }
            assert_eq!((counts[1], counts.iter().sum::<u32>()), (4, 90), "{kind:?} {mode:?}");
            assert!(counts[0] > 20 && counts[2] > 20, "the others share the rest: {kind:?} {counts:?}");
            // What is over makes room again.
            net.pass_s(40);
            assert_eq!(net.active(), 0);
            let again = (0..90).filter(|&n| send(&mut net, (n % 2) as u16, &client(v6, n, 5000 + n), SYN) == 1);
            assert_eq!(again.count(), 4, "{kind:?} {mode:?}");
        }
    }
}

#[test]
fn where_all_are_full_nobody_gets_a_connection_and_the_old_ones_go_on() {
    for kind in Kind::ALL {
        for is_told in [false, true] {
            let mut spec = services(*kind, Mode::Nat, 1);
            spec.services[0].unreachable = is_told;
            spec.services[0].backends.iter_mut().for_each(|backend| backend.connections_max = 2);
            let mut net = Net::new(spec);
            let homes: Vec<usize> = (0..6).map(|n| send(&mut net, 0, &client(false, n, 4000), SYN)).collect();
            assert_eq!([0, 1, 2].map(|b| homes.iter().filter(|&&home| home == b).count()), [2; 3], "{kind:?}");
            let refused = net.send(0, &frame(&client(false, 9, 4000), SYN));
            match is_told {
                true => assert!(matches!(refused.verdict, Verdict::Reply(_)), "{:?}", refused.verdict),
                false => assert_eq!(refused.dropped(), DropReason::BackendsFull, "{kind:?}"),
            }
            for (n, &home) in (0..).zip(&homes) {
                assert_eq!(send(&mut net, 0, &client(false, n, 4000), ACK), home, "{kind:?}");
            }
        }
    }
}

#[test]
fn a_flow_overflows_to_the_same_backend_each_time() {
    for kind in [Kind::Maglev, Kind::Sh] {
        let mut spec = services(kind, Mode::Gre, 1);
        let plain = Net::new(spec.clone());
        spec.services[0].backends[0].connections_max = 1;
        let mut net = Net::new(spec);
        let mut unlimited = plain;
        let mut overflows = HashSet::new();
        for n in 1..100 {
            let client = client(false, n, 4000);
            let (home, got) = (send(&mut unlimited, 0, &client, SYN), send(&mut net, 0, &client, SYN));
            assert!(home == got || home == 0, "only those of the full one move");
            if home != got {
                overflows.insert((n, got));
            }
        }
        assert!(
            overflows.iter().any(|&(_, got)| got == 1) && overflows.iter().any(|&(_, got)| got == 2),
            "they spread"
        );
        net.pass_s(40);
        // Somebody has the only place again, and the rest find where they were.
        send(&mut net, 0, &(1..200).map(|n| client(true, n, 1)).next().unwrap(), SYN);
        let first = (1..100).find(|&n| send(&mut unlimited, 0, &client(false, n, 4000), SYN) == 0).unwrap();
        assert_eq!(send(&mut net, 0, &client(false, first, 4000), SYN), 0);
        for (n, got) in overflows.into_iter().filter(|&(n, _)| n != first) {
            assert_eq!(send(&mut net, 0, &client(false, n, 4000), SYN), got);
        }
    }
}

#[test]
fn a_client_stays_with_its_backend_over_all_ports_and_workers() {
    for kind in Kind::ALL {
        for v6 in [false, true] {
            let mut spec = services(*kind, Mode::Gre, 4);
            spec.services.iter_mut().for_each(|service| service.persistence_s = 600);
            let mut net = Net::new(spec);
            let mut used = HashSet::new();
            for host in 1..20 {
                let first = send(&mut net, 0, &client(v6, host, 1000), SYN);
                used.insert(first);
                for port in 1001..1012 {
                    assert_eq!(send(&mut net, (port % 4) as u16, &client(v6, host, port), SYN), first, "{kind:?}");
                }
            }
            assert_eq!(used.len(), 3, "{kind:?}");
        }
    }
}

#[test]
fn a_client_is_free_when_its_time_is_over_which_each_new_connection_begins_anew() {
    let mut spec = services(Kind::Rr, Mode::Gre, 1);
    spec.services[0].persistence_s = 100;
    let mut net = Net::new(spec);
    assert_eq!(send(&mut net, 0, &client(false, 1, 1), SYN), 0);
    for port in 2..5 {
        net.pass_s(99);
        assert_eq!(send(&mut net, 0, &client(false, 1, port), SYN), 0);
    }
    net.pass_s(101);
    // The turns have gone on when it was its turn; the next one's is now.
    let turns: Vec<usize> = (10..13).map(|host| send(&mut net, 0, &client(false, host, 1), SYN)).collect();
    assert_eq!(turns, [1, 2, 0]);
    assert_eq!(send(&mut net, 0, &client(false, 1, 9), SYN), 1);
}

#[test]
fn a_client_whose_backend_takes_nothing_more_stays_with_another_one() {
    let full = {
        let mut spec = services(Kind::Rr, Mode::Nat, 2);
        spec.services[0].persistence_s = 600;
        spec
    };
    for (what, change) in [("weight", 0), ("drain", 1), ("limit", 2)] {
        let mut net = Net::new(full.clone());
        let home = send(&mut net, 0, &client(false, 1, 1), SYN);
        let mut changed = full.clone();
        let backend = &mut changed.services[0].backends[home];
        match change {
            0 => backend.weight = 0,
            1 => backend.admits = false,
            _ => backend.connections_max = 1,
        }
        net.reload(changed);
        let other = send(&mut net, 1, &client(false, 1, 2), SYN);
        assert_ne!(other, home, "{what}");
        assert_eq!(send(&mut net, 0, &client(false, 1, 1), ACK), home, "{what}: what is open stays");
        // Back again, it has lost the client.
        net.reload(full.clone());
        assert!((3..9).all(|port| send(&mut net, (port % 2) as u16, &client(false, 1, port), SYN) == other), "{what}");
    }
}

#[test]
fn persistence_of_one_service_is_nothing_to_another() {
    let mut spec = services(Kind::Rr, Mode::Gre, 1);
    spec.services[1].vip = ip("192.0.2.2");
    spec.services.iter_mut().for_each(|service| service.persistence_s = 60);
    let mut net = Net::new(spec);
    let mut to = |vip: &str, host: u32| {
        let frame = Frame::tcp(&client(false, host, 7), vip, SYN).build();
        usize::from(net.send(0, &frame).tx().1[5]) - 1
    };
    assert_eq!([1, 2, 3].map(|host| to("192.0.2.1:80", host)), [0, 1, 2]);
    assert_eq!([3, 2, 1].map(|host| to("192.0.2.2:80", host)), [0, 1, 2]);
}

/// A connection's SYN and its answer after so many microseconds.
fn handshake(net: &mut Net, client: &str, answered_after_us: [u64; 3]) -> usize {
    let backend = send(net, 0, client, SYN);
    pass_us(net, answered_after_us[backend]);
    let from = format!("10.1.0.{}:80", backend + 1);
    net.send(1, &Frame::tcp(&from, client, SYN | ACK).on_lan(backend_mac(backend as u8 + 1)).build()).tx();
    send(net, 0, client, ACK);
    backend
}

fn look(keeper: &mut Keeper, net: &Net, probed: impl Fn(BackendId) -> Measured) {
    let team = &net.shards[0].team;
    keeper.look(&net.snapshot, team.workers(), probed, &team.times);
}

fn times(net: &Net) -> [u32; 3] {
    [0, 1, 2].map(|slot| net.shards[0].team.times.of(BackendId::new(slot, 0)))
}

#[test]
fn connections_follow_the_time_from_syn_to_its_answer() {
    let mut net = Net::new(services(Kind::Lrt, Mode::Nat, 1));
    let (mut keeper, after_us) = (Keeper::default(), [200, 1000, 400]);
    for n in 0..3 {
        handshake(&mut net, &client(false, n, 1), after_us);
    }
    look(&mut keeper, &net, |_| Measured::default());
    assert_eq!(times(&net), [200_000, 1_000_000, 400_000]);
    let mut counts = [0; 3];
    for n in 3..163 {
        counts[handshake(&mut net, &client(false, n, 1), after_us)] += 1;
    }
    // Connections times time come out even: 10 to 2 to 5.
    let share = |part: i32| 163 * part / 17;
    let near = counts.iter().zip([share(10), share(2), share(5)]).all(|(&count, share)| (count - share).abs() <= 3);
    assert!(near, "{counts:?}");
}

#[test]
fn only_a_syn_that_was_sent_once_is_measured() {
    let mut net = Net::new(services(Kind::Lrt, Mode::Nat, 1));
    let counted = |net: &Net| net.shards[0].counters.responses(BackendId::new(0, 0)).count;
    let answer = |net: &mut Net, client: &str| {
        net.send(1, &Frame::tcp("10.1.0.1:80", client, SYN | ACK).on_lan(backend_mac(1)).build()).tx();
    };
    let again = client(false, 1, 1);
    send(&mut net, 0, &again, SYN);
    pass_us(&mut net, 900);
    send(&mut net, 0, &again, SYN);
    answer(&mut net, &again);
    assert_eq!(counted(&net), 0);
    (2..4).for_each(|n| _ = send(&mut net, 0, &client(false, n, 1), SYN));
    let once = client(false, 4, 1);
    assert_eq!(send(&mut net, 0, &once, SYN), 0);
    pass_us(&mut net, 250);
    answer(&mut net, &once);
    // A second answer is of no use.
    answer(&mut net, &once);
    let measured = net.shards[0].counters.responses(BackendId::new(0, 0));
    assert_eq!(measured, Measured { count: 1, sum_ns: 250_000 });
    // Other schedulers measure nothing.
    let mut net = Net::new(services(Kind::Lc, Mode::Nat, 1));
    (0..9).for_each(|n| _ = handshake(&mut net, &client(false, n, 1), [5; 3]));
    assert_eq!(counted(&net), 0);
}

#[test]
fn where_no_answers_pass_health_checks_tell_the_times() {
    let mut net = Net::new(services(Kind::Lrt, Mode::Gre, 2));
    let mut keeper = Keeper::default();
    let probed = |id: BackendId| Measured { count: 2, sum_ns: [2_000, 2_000_000, 6_000][id.slot() % 3] };
    look(&mut keeper, &net, probed);
    assert_eq!(times(&net), [1_000, 1_000_000, 3_000]);
    let counts = (0..100).fold([0; 3], |mut counts, n| {
        counts[send(&mut net, (n % 2) as u16, &client(n % 3 == 0, n, 1), SYN)] += 1;
        counts
    });
    assert_eq!(counts[1], 0, "{counts:?}");
    assert!(counts[0] > 2 * counts[2] && counts[2] > 10, "{counts:?}");
}
