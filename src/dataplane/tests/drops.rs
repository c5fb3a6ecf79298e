//! Ten times the pool through every reason to drop leaves every packet buffer in its place.

use std::collections::BTreeSet;

use super::{Bench, POOL_LEN, Plan};
use crate::dataplane::tx::Way;
use crate::lb::path::tests::drops::{malformed, unwanted};
use crate::lb::snapshot::{ClientAddress, Mode, SnapshotSpec};
use crate::lb::testing::*;
use crate::lb::verdict::DropReason as R;

const CLIENT: &str = "198.51.100.7:40000";
const NAT: &str = "192.0.2.10:80";

/// How packets come to be dropped for a reason.
struct Scenario {
    reason: R,
    plan: Plan,
    /// Sent once, before.
    first: Vec<Vec<u8>>,
    /// Sent again and again.
    frames: Vec<Vec<u8>>,
    /// Virtual time from one round of `frames` to the next, in milliseconds.
    pause_ms: u64,
}

impl Scenario {
    fn new(reason: R, spec: SnapshotSpec, frames: Vec<Vec<u8>>) -> Self {
        Self { reason, plan: Plan::new(spec), first: Vec::new(), frames, pause_ms: 0 }
    }

    fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }
}

/// Reasons that no packet can be made to have here, and why.
const EXCUSED: [(R, &str); 1] =
    [(R::NoBuffer, "the pool is empty then, so there is no room for packets that could be lost from it")];

fn syn(client: &str, vip: &str) -> Vec<u8> {
    Frame::syn(client, vip).build()
}

/// Ports with a host.
fn with_host() -> SnapshotSpec {
    let mut all = all_modes();
    all.ports.iter_mut().for_each(|port| port.host = true);
    all
}

/// A fragment of 64 bytes of a datagram to GRE, with this identification and in this place.
fn fragment(id: u16, place: u16) -> Vec<u8> {
    let whole = Frame::udp(CLIENT, "192.0.2.20:53").with(|f| (f.id, f.fragment, f.payload) = (id, place, vec![0; 56]));
    whole.build()
}

/// Later fragments of as many datagrams that never begin.
fn orphans(first: u16, count: u16) -> Vec<Vec<u8>> {
    (first..first + count).map(|id| fragment(id, 0x2010)).collect()
}

/// A port that takes the tunnels of another tier off.
fn outer_tier() -> SnapshotSpec {
    let mut all = all_modes();
    all.ports[0].outer_tier = vec![(ip("10.0.0.0"), 24)];
    all
}

/// What this tier sends.
fn tunnelled(protocol: u8, tos: u8, inner: &[u8]) -> Vec<u8> {
    let outer = Frame::udp("10.0.0.9:0", "10.0.0.2:0").with(|f| (f.protocol, f.tos) = (protocol, tos));
    outer.frame_with(&outer.packet_with(inner))
}

/// SYNs of many clients.
fn flood(vip: &str) -> Vec<Vec<u8>> {
    (0..200).map(|n| syn(&format!("198.51.100.{}:{}", n % 50, 2000 + n), vip)).collect()
}

/// Backends of which nobody knows the MAC address.
fn silent() -> SnapshotSpec {
    let names: Vec<String> = (1..=50).map(|n| format!("10.1.0.{}", 100 + n)).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut all = all_modes();
    all.services.push(service("silent", Mode::Nat, 6, ("192.0.2.60", 80), 45, &names));
    all
}

/// What takes more than one frame into the usual network.
fn scenarios() -> Vec<Scenario> {
    let new = Scenario::new;
    let mut without_backends = all_modes();
    without_backends.services.iter_mut().flat_map(|s| &mut s.backends).for_each(|b| b.admits = false);
    let mut without_ways = all_modes();
    without_ways.ports[0].gateways.clear();
    without_ways.services.push(service("far", Mode::Dsr, 6, ("192.0.2.55", 80), 50, &["203.0.113.1"]));
    let mut twins = all_modes();
    twins.services.push(service("twin", Mode::Nat, 6, ("192.0.2.70", 80), 60, &["10.1.0.1:8080", "10.1.0.2:8080"]));
    let mut few_ports = all_modes();
    few_ports.services.iter_mut().for_each(|s| s.local_ports = 7000..=7009);
    let datagrams = (0..50).map(|n| Frame::udp(&format!("198.51.100.7:{}", 1000 + n), "192.0.2.50:53").build());
    let mut told = all_modes();
    let tcp = told.services.iter_mut().filter(|s| s.protocol == 6);
    tcp.for_each(|s| s.client_address = ClientAddress::ProxyV2);
    // Data from before the first byte, so that its end lies where the header belongs.
    let forged = Frame { seq: 991, ack: 1, payload: vec![0; 20], ..Frame::ack(CLIENT, "192.0.2.50:80") };
    let begun = Frame { seq: 1000, ..Frame::syn(CLIENT, "192.0.2.50:80") };
    // A source route that goes on has no counterpart in IPv6 (RFC 7915 section 4.1).
    let routed = Frame::udp(CLIENT, "192.0.2.51:53").with(|f| f.options = (0, vec![131, 7, 4, 10, 0, 0, 9, 0]));
    let mut steered = all_modes();
    steered.workers = 2;
    let open = |n: usize| format!("198.51.100.9:{}", 1000 + n);
    let opened = (0..8).map(|n| syn(&open(n), NAT)).chain((0..8).map(|n| Frame::ack(&open(n), NAT).build()));
    let echo = icmp4("198.51.100.7", "192.0.2.10", [8, 0], [0, 1, 0, 1], b"ping").build();
    let large = Frame::udp(CLIENT, "192.0.2.10:53").with(|f| (f.payload, f.df) = (vec![0; 1473], false)).build();
    let (many, one) = (orphans(0, 200), orphans(0, 1));
    let known = (0..3000).map(|id| fragment(id, 0x2000)).collect();
    let about_vip = Frame::ack("192.0.2.20:80", CLIENT).packet();
    let too_small = icmp4("203.0.113.9", "192.0.2.20", [3, 4], [0, 0, 0, 100], &about_vip);
    let ours = Frame::udp("10.1.0.254:0", "10.1.0.3:0").with(|f| f.protocol = 47);
    let ours = ours.packet_with(&[&[0, 0, 8, 0][..], &Frame::syn(CLIENT, "192.0.2.20:80").packet()].concat());
    let of_no_concern = icmp4("203.0.113.9", "10.1.0.254", [3, 3], [0; 4], &ours);
    let nowhere = || vec![Way::Nowhere, Way::Nowhere];
    vec![
        new(R::NoBackend, without_backends, vec![syn(CLIENT, NAT), syn(CLIENT, "192.0.2.20:80")]),
        new(R::BackendsFull, limited(), flood("192.0.2.20:80")),
        new(R::NoRoute, without_ways, vec![syn(CLIENT, "192.0.2.55:80")]),
        new(R::NoHeadroom, all_modes(), vec![syn(CLIENT, "192.0.2.20:80")]).with(|s| s.plan.headroom = 10),
        new(R::TooBig, all_modes(), vec![large]),
        new(R::IcmpMtu, all_modes(), vec![too_small.build()]),
        new(R::IcmpTunnel, all_modes(), vec![of_no_concern.build()]),
        new(R::TunnelInvalid, outer_tier(), vec![tunnelled(47, 0, &[0x55; 60])]),
        new(R::TunnelNotVip, outer_tier(), vec![tunnelled(4, 0, &Frame::syn(CLIENT, "203.0.113.1:80").packet())]),
        new(R::TunnelCongested, outer_tier(), vec![tunnelled(4, 3, &Frame::syn(CLIENT, NAT).packet())]),
        new(R::FragmentOverlap, all_modes(), vec![fragment(1, 0x2001)]).with(|s| s.first = vec![fragment(1, 0x2000)]),
        new(R::FragmentTimeout, all_modes(), one).with(|s| s.pause_ms = 1100),
        new(R::FragmentQueueFull, all_modes(), many),
        // A flood of them takes no place from a datagram that has begun.
        new(R::FragmentTableFull, all_modes(), orphans(5000, 200)).with(|s| s.first = known),
        new(R::TableFull, all_modes(), flood(NAT)).with(|s| {
            s.plan.connections = 8;
            s.first = opened.collect();
        }),
        new(R::TupleConflict, twins, flood("192.0.2.70:80")).with(|s| s.first = flood(NAT)),
        new(R::PortsExhausted, few_ports, datagrams.collect()),
        new(R::ProxyForged, told, vec![forged.build()]).with(|s| s.first = vec![begun.build()]),
        new(R::Untranslatable, all_modes(), vec![routed.build()]),
        new(R::PuntLimited, with_host(), vec![syn(CLIENT, "10.0.0.2:22")]),
        // No device of the kernel's takes them here.
        new(R::PuntFull, with_host(), vec![syn(CLIENT, "10.0.0.2:22")]).with(|s| s.pause_ms = 100),
        new(R::AddressConflict, all_modes(), vec![arp(1, ROUTER, "10.0.0.2", "10.0.0.1")]),
        new(R::EchoLimited, all_modes(), vec![echo]),
        new(R::NeighborTableFull, silent(), flood("192.0.2.60:80")),
        new(R::NeighborQueueFull, silent(), flood("192.0.2.60:80")),
        new(R::NeighborUnresolved, silent(), flood("192.0.2.60:80")).with(|s| s.pause_ms = 500),
        new(R::TxFull, all_modes(), flood("192.0.2.20:80")).with(|s| s.plan.ways = nowhere()),
        new(R::RingFull, steered, flood("192.0.2.20:80")),
    ]
}

/// Backends that may have one connection each.
fn limited() -> SnapshotSpec {
    let mut spec = all_modes();
    spec.services.iter_mut().flat_map(|s| &mut s.backends).for_each(|b| b.connections_max = 1);
    spec
}

/// Every reason with what causes it; the frames that do so by themselves are those of the packet path's own tests.
fn all() -> Vec<Scenario> {
    let mut all = scenarios();
    for &reason in R::ALL {
        let frames = malformed().into_iter().chain(unwanted()).filter(|(earned, _)| *earned == reason);
        let frames: Vec<_> = frames.map(|(_, frame)| frame).collect();
        if !frames.is_empty() {
            all.push(Scenario::new(reason, all_modes(), frames));
        }
    }
    all
}

#[test]
fn ten_times_the_pool_through_every_reason_leaves_its_level() {
    let wanted = 10 * u64::from(POOL_LEN);
    for Scenario { reason, plan, first, frames, pause_ms } in all() {
        let mut bench = Bench::new(plan);
        let frames: Vec<&[u8]> = frames.iter().map(Vec::as_slice).collect();
        bench.send(0, &first.iter().map(Vec::as_slice).collect::<Vec<_>>());
        // Packets that earn another verdict at first, as long as a limit or a queue lasts, are not counted.
        let mut rounds = 0;
        while bench.drops(reason) < wanted {
            bench.send(0, &frames);
            if pause_ms > 0 {
                bench.pass_ms(pause_ms);
            }
            rounds += frames.len() as u64;
            assert!(rounds < 100 * wanted, "{reason:?}: {} of {rounds} packets", bench.drops(reason));
        }
        bench.assert_level(reason.label());
    }
}

#[test]
fn no_reason_is_without_its_packets() {
    let met: BTreeSet<&str> = all().iter().map(|s| s.reason.label()).collect();
    let excused: BTreeSet<&str> = EXCUSED.iter().map(|(reason, _)| reason.label()).collect();
    for reason in R::ALL.iter().map(|reason| reason.label()) {
        let (has, needs_none) = (met.contains(reason), excused.contains(reason));
        assert!(has != needs_none, "{reason} needs a frame in malformed() or unwanted(), a scenario, or an excuse");
    }
}

#[test]
fn packets_in_pieces_are_given_back_whole() {
    let mut bench = Bench::new(Plan::new(all_modes()));
    let frames: Vec<_> = malformed().into_iter().chain(unwanted()).map(|(_, frame)| frame).collect();
    let sent = [syn(CLIENT, NAT), syn(CLIENT, "192.0.2.20:80"), Frame::syn(CLIENT, NAT).with(|f| f.ttl = 1).build()];
    let mut rounds = 0;
    while bench.workers[0].shard.counters.drops_total() < 10 * u64::from(POOL_LEN) {
        for frame in frames.iter().chain(&sent) {
            let cut = rounds % frame.len();
            let mut mbuf = bench.mbuf(&frame[..cut]).unwrap();
            for piece in frame[cut..].chunks(frame.len() / 2 + 1) {
                let tail = bench.mbuf(piece).unwrap();
                mbuf.chain(tail).unwrap();
            }
            bench.send_mbuf(0, mbuf);
            rounds += 1;
        }
    }
    bench.assert_level("pieces");
}
