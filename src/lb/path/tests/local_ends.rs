//! Full-NAT's local ports where a reload gives services other pools, and where two services have pools towards one end.

use std::net::SocketAddr;
use std::ops::RangeInclusive;

use super::nat::ends;
use crate::lb::snapshot::{Mode, ServiceSpec, SnapshotSpec};
use crate::lb::testing::*;
use crate::lb::verdict::DropReason;

const BACKEND: &str = "10.1.0.1:53";
/// A service for one port, one for every port, and one for clients of IPv6, all to the same backend.
const ONE: (&str, u16) = ("192.0.2.50", 53);
const EVERY: (&str, u16) = ("192.0.2.51", 0);
const ACROSS: (&str, u16) = ("2001:db8::50", 53);

fn of(vips: &[(&str, u16)], ports: RangeInclusive<u16>) -> SnapshotSpec {
    let make = |(slot, (name, vip)): (usize, (&str, (&str, u16)))| {
        let backend = if vip.1 == 0 { "10.1.0.1" } else { BACKEND };
        let service = service(name, Mode::FullNat, 17, vip, slot, &[backend]);
        ServiceSpec { local_ports: ports.clone(), local_addresses: vec![ip("10.1.0.100")], ..service }
    };
    let all = [("one", ONE), ("every", EVERY), ("across", ACROSS)];
    spec(all.into_iter().enumerate().filter(|(_, (_, vip))| vips.contains(vip)).map(make).collect())
}

/// The `n`th client's packet to a VIP's port 53.
fn ask(n: u16, vip: (&str, u16)) -> Vec<u8> {
    let is_v4 = !vip.0.contains(':');
    let client = if is_v4 { "198.51.100.7" } else { "[2001:db8:c::7]" };
    let vip = if is_v4 { format!("{}:53", vip.0) } else { format!("[{}]:53", vip.0) };
    Frame::udp(&format!("{client}:{}", 10_000 + n), &vip).build()
}

/// Where it connects from.
fn local(net: &mut Net, n: u16, vip: (&str, u16)) -> SocketAddr {
    let sent = net.send(0, &ask(n, vip));
    let (local, backend) = ends(sent.tx().1);
    assert_eq!(backend, BACKEND.parse().unwrap());
    local
}

fn in_use(net: &mut Net) -> u64 {
    net.pass_s(1);
    net.shards[0].counters.local_ports.get()
}

#[test]
fn what_is_older_than_its_pool_is_counted_and_rests_all_the_same() {
    let mut net = Net::new(of(&[ONE], 7000..=7000));
    assert_eq!(local(&mut net, 0, ONE).port(), 7000);
    net.reload(of(&[ONE], 7000..=7001));
    assert_eq!(local(&mut net, 1, ONE).port(), 7001);
    net.expect_drop(0, &ask(2, ONE), DropReason::PortsExhausted);
    assert_eq!(in_use(&mut net), 2);
    // Only the first ends, and its port rests before somebody else has it.
    net.pass_s(40);
    net.expect(0, &ask(1, ONE), &[("tx", 1)]);
    net.pass_s(21);
    assert_eq!((in_use(&mut net), net.active()), (1, 1));
    net.expect_drop(0, &ask(3, ONE), DropReason::PortsExhausted);
    for _ in 0..5 {
        net.pass_s(20);
        net.expect(0, &ask(1, ONE), &[("tx", 1)]);
        net.expect_drop(0, &ask(3, ONE), DropReason::PortsExhausted);
    }
    net.pass_s(25);
    assert_eq!(local(&mut net, 4, ONE).port(), 7000);
    assert_eq!(in_use(&mut net), 2);
}

#[test]
fn a_port_that_a_reload_took_away_does_not_come_back() {
    let mut net = Net::new(of(&[ONE], 7000..=7000));
    local(&mut net, 0, ONE);
    net.reload(of(&[ONE], 8000..=8000));
    // Over, and its rest would be, too.
    for _ in 0..200 {
        net.pass_s(1);
    }
    assert_eq!((in_use(&mut net), net.active()), (0, 0));
    assert_eq!(local(&mut net, 1, ONE).port(), 8000);
    net.expect_drop(0, &ask(2, ONE), DropReason::PortsExhausted);
}

#[test]
fn nothing_is_left_of_a_service_that_went() {
    let mut net = Net::new(of(&[ONE, ACROSS], 7000..=7009));
    local(&mut net, 0, ONE);
    local(&mut net, 1, ACROSS);
    net.reload(of(&[EVERY], 7000..=7009));
    assert_eq!((in_use(&mut net), net.active()), (2, 2));
    net.pass_s(61);
    net.pass_s(1);
    assert_eq!((in_use(&mut net), net.active()), (0, 0));
    let (rows, _) = net.shards[0].connections(0, usize::MAX, net.now);
    assert!(rows.is_empty(), "{rows:?}");
}

#[test]
fn two_services_share_an_end_and_lose_no_port() {
    for (first, second) in [(ONE, EVERY), (EVERY, ONE), (ACROSS, EVERY), (EVERY, ACROSS)] {
        let mut net = Net::new(of(&[first, second], 7000..=7000));
        // Each round the other one is refused the port, and none may lose it for that.
        for round in 0..3 {
            assert_eq!(local(&mut net, round, first).port(), 7000);
            net.expect_drop(0, &ask(100, second), DropReason::PortsExhausted);
            for _ in 0..61 {
                net.pass_s(1);
            }
            net.pass_s(1);
            net.expect_drop(0, &ask(100, second), DropReason::PortsExhausted);
            net.pass_s(121);
            net.pass_s(1);
            assert_eq!(local(&mut net, 200 + round, second).port(), 7000, "{second:?} in round {round}");
            net.expect_drop(0, &ask(100, first), DropReason::PortsExhausted);
            net.pass_s(61);
            net.pass_s(1);
            net.pass_s(122);
        }
    }
}
