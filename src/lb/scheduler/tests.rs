//! Schedulers on the packet path, with several workers.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;
use crate::lb::connection::flags::*;
use crate::lb::path::Origin;
use crate::lb::snapshot::{Mode, SnapshotSpec};
use crate::lb::testing::*;
use crate::lb::verdict::{DropReason, Verdict};

const VIP4: &str = "192.0.2.1";
const VIP6: &str = "2001:db8::1";
/// Those that know what they have done before.
const WITH_MEMORY: [Kind; 5] = [Kind::Rr, Kind::Wrr, Kind::Lc, Kind::Wlc, Kind::Lrt];

/// A service over IPv4 and one over IPv6, by the same scheduler, whose backends have these weights. Nothing is handed from
/// worker to worker.
fn services(kind: Kind, mode: Mode, weights: &[u32], workers: u16) -> SnapshotSpec {
    let address = |v6: bool, n: usize| if v6 { format!("fd01::{n}") } else { format!("10.1.0.{n}") };
    let one = |v6: bool, slot| {
        let addresses: Vec<String> = (1..=weights.len()).map(|n| address(v6, n)).collect();
        let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
        let mut service =
            service(if v6 { "v6" } else { "v4" }, mode, 6, (if v6 { VIP6 } else { VIP4 }, 80), slot, &addresses);
        service.scheduler = kind;
        service.maglev_size = 4099;
        service.backends.iter_mut().zip(weights).for_each(|(backend, &weight)| backend.weight = weight);
        service
    };
    let mut spec = spec(vec![one(false, 0), one(true, weights.len())]);
    spec.workers = workers;
    spec.ports.iter_mut().for_each(|port| port.is_placed = true);
    spec
}

/// One of 200 hosts.
fn client(v6: bool, n: u32) -> String {
    let (host, port) = (1 + n % 200, 1024 + n);
    if v6 { format!("[2001:db8:c::{host:x}]:{port}") } else { format!("198.51.100.{host}:{port}") }
}

fn packet(client: &str, flags: u8) -> Vec<u8> {
    let vip = if client.starts_with('[') { format!("[{VIP6}]:80") } else { format!("{VIP4}:80") };
    Frame::tcp(client, &vip, flags).build()
}

/// Which backend got a packet, by the MAC address that it was sent to: from 0 on.
fn send(net: &mut Net, worker: u16, client: &str, flags: u8) -> usize {
    usize::from(net.send_to(worker, 0, &packet(client, flags)).tx().1[5]) - 1
}

fn spread(numbers: &[u64]) -> u64 {
    numbers.iter().max().unwrap() - numbers.iter().min().unwrap()
}

#[test]
fn one_worker_takes_turns_in_order_whichever_way_its_packets_take() {
    for mode in [Mode::Gre, Mode::Nat] {
        for v6 in [false, true] {
            let mut net = Net::new(services(Kind::Rr, mode, &[1, 0, 100, 7], 1));
            // The first ones go the long way, since no lane is known; later ones the short one.
            let turns: Vec<usize> = (0..9).map(|n| send(&mut net, 0, &client(v6, n), SYN)).collect();
            assert_eq!(turns, [0, 2, 3, 0, 2, 3, 0, 2, 3], "{mode:?}, IPv6: {v6}");
            // Repeated, they use up nobody's turn.
            let again: Vec<usize> = (0..9).map(|n| send(&mut net, 0, &client(v6, n), SYN)).collect();
            assert_eq!(again, turns);
            assert_eq!(send(&mut net, 0, &client(v6, 100), SYN), 0);
        }
    }
}

#[test]
fn a_whole_burst_takes_turns_as_well() {
    let mut net = Net::new(services(Kind::Rr, Mode::Gre, &[1; 4], 1));
    for n in 0..4 {
        send(&mut net, 0, &client(false, n), SYN);
    }
    let packets: Vec<_> = (100..132).map(|n| TestPacket::new(0, &packet(&client(false, n), SYN))).collect();
    let sent = net.burst(0, Origin::Port, &packets);
    let turns: Vec<usize> = sent.iter().map(|sent| usize::from(sent.tx().1[5]) - 1).collect();
    assert_eq!(turns, (0..32).map(|n| n % 4).collect::<Vec<_>>());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn turns_are_fair_over_all_workers(
        workers in 1u16..=5, backends in 1usize..=9, v6: bool, by in prop::collection::vec(0u16..5, 1..300),
    ) {
        let mut net = Net::new(services(Kind::Rr, Mode::Gre, &vec![3; backends], workers));
        let mut counts = vec![0; backends];
        for (n, worker) in (0..).zip(by) {
            counts[send(&mut net, worker % workers, &client(v6, n), SYN)] += 1;
            prop_assert!(spread(&counts) <= u64::from(workers), "{counts:?}");
        }
    }

    #[test]
    fn shares_follow_the_weights_over_all_workers(
        workers in 1u16..=4, weights in prop::collection::vec(0u32..6, 2..9), v6: bool, by in prop::collection::vec(0u16..4, 200),
    ) {
        let total: u32 = weights.iter().sum();
        prop_assume!(total > 0);
        for kind in [Kind::Wrr, Kind::Wlc] {
            let mut net = Net::new(services(kind, Mode::Gre, &weights, workers));
            let mut counts = vec![0_u32; weights.len()];
            for (n, &worker) in (0..).zip(&by) {
                counts[send(&mut net, worker % workers, &client(v6, n), SYN)] += 1;
            }
            for (&count, &weight) in counts.iter().zip(&weights) {
                let off = f64::from(count) - by.len() as f64 * f64::from(weight) / f64::from(total);
                // A worker begins anywhere in the round, so that it may be off by one turn at either end.
                prop_assert!(off.abs() <= 2.0 * f64::from(workers), "{kind:?}: {counts:?} for {weights:?}");
            }
        }
    }

    #[test]
    fn the_fewest_connections_are_those_of_all_workers(
        workers in 1u16..=4, v6: bool, steps in prop::collection::vec((0u16..4, any::<bool>(), 0usize..1000), 1..200),
    ) {
        let mut net = Net::new(services(Kind::Lc, Mode::Gre, &[5; 5], workers));
        let mut open: Vec<(u16, String, usize)> = Vec::new();
        for (n, (worker, ends, which)) in (0..).zip(steps) {
            if ends && !open.is_empty() {
                // A FIN and its time end one.
                let (worker, client, _) = open.swap_remove(which % open.len());
                send(&mut net, worker, &client, ACK);
                send(&mut net, worker, &client, FIN | ACK);
                net.pass_s(12);
            }
            let mut counts = [0_u64; 5];
            open.iter().for_each(|&(_, _, backend)| counts[backend] += 1);
            let client = client(v6, n);
            let backend = send(&mut net, worker % workers, &client, SYN);
            send(&mut net, worker % workers, &client, ACK);
            prop_assert_eq!(Some(&counts[backend]), counts.iter().min(), "{} of {:?}", backend, counts);
            open.push((worker % workers, client, backend));
        }
    }
}

#[test]
fn those_with_equal_load_take_turns() {
    for kind in [Kind::Lc, Kind::Wlc] {
        let mut net = Net::new(services(kind, Mode::Gre, &[2; 6], 1));
        // Each connection is over before the next one comes, so that the load is always equal.
        let mut counts = [0_u64; 6];
        for n in 0..60 {
            let client = client(false, n);
            counts[send(&mut net, 0, &client, SYN)] += 1;
            net.pass_s(32);
            assert_eq!(net.active(), 0);
        }
        assert_eq!(counts, [10; 6], "{kind:?}");
    }
}

#[test]
fn weighted_least_connections_prefers_the_heavy_one_when_all_are_idle() {
    let mut net = Net::new(services(Kind::Wlc, Mode::Gre, &[1, 1, 4], 1));
    let backends: Vec<usize> = (0..6).map(|n| send(&mut net, 0, &client(false, n), SYN)).collect();
    assert_eq!(backends.iter().filter(|&&backend| backend == 2).count(), 4);
    assert_eq!(backends[..3], [2, 2, 2]);
}

#[test]
fn a_client_address_has_one_backend_whatever_its_port_and_worker() {
    for v6 in [false, true] {
        let home = |net: &mut Net, host: u32, port: u32| {
            let client = if v6 {
                format!("[2001:db8:c::{host:x}]:{port}")
            } else {
                format!("198.51.{}.{}:{port}", host >> 8, host & 255)
            };
            send(net, (port % 3) as u16, &client, SYN)
        };
        let mut full = Net::with_connections(services(Kind::Sh, Mode::Gre, &[100; 9], 3), 20_000);
        let mut homes = HashMap::new();
        let mut counts = [0_u64; 9];
        for host in 1..2000 {
            let first = home(&mut full, host, 1000);
            assert!((1001..1004).all(|port| home(&mut full, host, port) == first));
            counts[first] += 1;
            homes.insert(host, first);
        }
        assert!(counts.iter().all(|&count| (170..280).contains(&count)), "{counts:?}");
        // Without one of them, its clients move, and hardly any others.
        let mut weights = [100; 9];
        weights[4] = 0;
        let mut less = Net::with_connections(services(Kind::Sh, Mode::Gre, &weights, 3), 20_000);
        let (mut stay, mut moved) = (0, 0);
        for host in (1..2000).filter(|host| homes[host] != 4) {
            let same = home(&mut less, host, 1000) == homes[&host];
            (stay, moved) = (stay + i32::from(same), moved + i32::from(!same));
        }
        assert!(moved * 20 < stay, "{moved} of {stay} moved");
    }
}

#[test]
fn drained_and_weightless_backends_keep_what_they_have_and_get_nothing_new() {
    for kind in Kind::ALL {
        for (weight, admits) in [(0, true), (100, false)] {
            let full = services(*kind, Mode::Nat, &[100; 3], 2);
            let mut net = Net::new(full.clone());
            let homes: Vec<usize> = (0..60).map(|n| send(&mut net, (n % 2) as u16, &client(false, n), SYN)).collect();
            assert!(homes.contains(&1), "{kind:?}");
            let mut changed = full;
            changed.services[0].backends[1].weight = weight;
            changed.services[0].backends[1].admits = admits;
            net.reload(changed);
            for (n, &home) in (0..).zip(&homes) {
                assert_eq!(send(&mut net, (n % 2) as u16, &client(false, n), ACK), home, "{kind:?}");
            }
            assert!((100..200).all(|n| send(&mut net, (n % 2) as u16, &client(false, n), SYN) != 1), "{kind:?}");
        }
        let mut net = Net::new(services(*kind, Mode::Nat, &[0; 3], 1));
        assert_eq!(net.send(0, &packet(&client(false, 1), SYN)).dropped(), DropReason::NoBackend);
    }
}

#[test]
fn what_finds_no_place_in_the_table_goes_the_same_way_every_time() {
    for kind in WITH_MEMORY {
        let mut net = Net::with_connections(services(kind, Mode::Gre, &[100; 5], 1), 4);
        for n in 0..4 {
            send(&mut net, 0, &client(false, n), SYN);
            send(&mut net, 0, &client(false, n), ACK);
        }
        for n in 10..40 {
            let homes: Vec<usize> =
                [SYN, ACK, SYN, ACK, FIN | ACK].map(|flags| send(&mut net, 0, &client(false, n), flags)).into();
            assert!(homes.iter().all(|&home| home == homes[0]), "{kind:?}: {homes:?}");
        }
        assert_eq!(net.figures()["stateless"], 150);
    }
}

#[test]
fn what_another_node_may_have_owned_goes_by_the_hash() {
    let mut by_hash = Net::new(services(Kind::Maglev, Mode::Gre, &[100; 7], 1));
    for kind in WITH_MEMORY {
        let mut net = Net::new(services(kind, Mode::Gre, &[100; 7], 1));
        for n in 0..100 {
            let client = client(n % 2 == 0, n);
            assert_eq!(send(&mut net, 0, &client, ACK), send(&mut by_hash, 0, &client, ACK), "{kind:?}");
        }
        // They were nobody's turn.
        if kind == Kind::Rr {
            assert_eq!(send(&mut net, 0, &client(false, 1000), SYN), 0);
        }
    }
}

#[test]
fn a_reload_that_changes_nothing_here_goes_on_where_it_was() {
    let full = services(Kind::Rr, Mode::Gre, &[100; 5], 1);
    let mut net = Net::new(full.clone());
    let mut turns: Vec<usize> = (0..3).map(|n| send(&mut net, 0, &client(false, n), SYN)).collect();
    let mut other = full.clone();
    other.services[1].backends[0].weight = 1;
    net.reload(other);
    turns.extend((3..6).map(|n| send(&mut net, 0, &client(false, n), SYN)));
    assert_eq!(turns, [0, 1, 2, 3, 4, 0]);
    // Nor does one that does.
    let mut less = full;
    less.services[0].backends[4].admits = false;
    net.reload(less);
    assert_eq!((6..10).map(|n| send(&mut net, 0, &client(false, n), SYN)).collect::<Vec<_>>(), [1, 2, 3, 0]);
}

#[test]
fn nothing_answers_where_nobody_is() {
    for kind in Kind::ALL {
        let mut net = Net::new(services(*kind, Mode::Nat, &[], 1));
        let sent = net.send(0, &packet(&client(true, 1), SYN));
        assert_eq!(sent.verdict, Verdict::Drop(DropReason::NoBackend), "{kind:?}");
    }
}
