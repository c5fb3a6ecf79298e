//! The same traffic through two balancers, one of which knows no short way: nobody can tell them apart.

use std::cell::Cell;
use std::collections::HashMap;
use std::net::IpAddr;

use proptest::prelude::*;
use proptest::test_runner::{TestError, TestRunner};

use super::fuzz::{Change, apply, change};
use crate::lb::clock::Now;
use crate::lb::connection::flags::*;
use crate::lb::ids::{BackendId, PortId};
use crate::lb::neighbor::Learned;
use crate::lb::path::{BURST, Origin, Work};
use crate::lb::snapshot::{BackendSpec, SnapshotSpec};
use crate::lb::testing::*;
use crate::lb::verdict::Verdict;
use crate::wire::parse::FiveTuple;

/// Every mode in every family: the VIP, whether it is UDP, and where NAT sends it.
const SERVICES: [(&str, bool, &str); 13] = [
    ("192.0.2.10:80", false, "10.1.0.{}:8080"),
    ("192.0.2.10:53", true, "10.1.0.{}:8080"),
    ("[2001:db8::10]:80", false, "[fd01::{}]:8080"),
    ("[2001:db8::10]:53", true, "[fd01::{}]:8080"),
    ("192.0.2.20:80", false, ""),
    ("192.0.2.20:53", true, ""),
    ("192.0.2.21:80", false, ""),
    ("[2001:db8::20]:80", false, ""),
    ("[2001:db8::21]:80", false, ""),
    ("[2001:db8::21]:53", true, ""),
    ("192.0.2.30:80", false, ""),
    ("[2001:db8::30]:80", false, ""),
    ("192.0.2.40:7000", true, "10.1.0.5:7000"),
];

/// One client's packets to one service. There are few, so that most packets meet a connection.
#[derive(Clone, Copy, Debug)]
struct Flow {
    service: usize,
    client: u8,
}

const CLIENTS: u8 = 3;

impl Flow {
    fn all() -> impl Iterator<Item = Self> {
        (0..SERVICES.len()).flat_map(|service| (0..CLIENTS).map(move |client| Self { service, client }))
    }

    fn traffic(self, kind: Kind) -> Traffic {
        Traffic { flow: self, kind, tos: 0x2e, id: 9, df: false, class: 0, padding: 0 }
    }

    fn client(self) -> String {
        let n = self.client;
        let vip = SERVICES[self.service].0;
        if vip.starts_with('[') { format!("[2001:db8:c::{n}]:4000{n}") } else { format!("198.51.100.{n}:4000{n}") }
    }

    fn request(self, flags: u8) -> Frame {
        let (vip, is_udp, _) = SERVICES[self.service];
        if is_udp { Frame::udp(&self.client(), vip) } else { Frame::tcp(&self.client(), vip, flags) }
    }

    /// From a backend, if replies pass here; it may be one that the connection does not have.
    fn reply(self, backend: u8, flags: u8) -> Option<Frame> {
        let (_, is_udp, backends) = SERVICES[self.service];
        let (backend, client) = (backends.replace("{}", &backend.to_string()), self.client());
        if backend.is_empty() {
            return None;
        }
        let frame = if is_udp { Frame::udp(&backend, &client) } else { Frame::tcp(&backend, &client, flags) };
        Some(frame.on_lan(backend_mac(1)))
    }
}

/// A packet of a flow, and what is odd about it.
#[derive(Clone, Debug)]
struct Traffic {
    flow: Flow,
    kind: Kind,
    tos: u8,
    id: u16,
    df: bool,
    class: u16,
    padding: usize,
}

#[derive(Clone, Debug)]
enum Kind {
    Data(usize),
    Flags(u8),
    Reply(u8, u8),
    Ttl(u8),
    Checksum(u16),
    ForeignMac,
    Options,
    Vlan(u16),
    NoChecksum,
    Icmp,
    Mutated(Vec<Change>),
}

fn traffic() -> impl Strategy<Value = Traffic> {
    let flow = (0..SERVICES.len(), 0..CLIENTS).prop_map(|(service, client)| Flow { service, client });
    let kind = prop_oneof![
        24 => prop_oneof![4 => 0usize..100, 1 => 1380usize..1480].prop_map(Kind::Data),
        2 => any::<u8>().prop_map(Kind::Flags),
        2 => prop::sample::select(vec![SYN, FIN | ACK, RST, ACK | RST, 0x18]).prop_map(Kind::Flags),
        6 => (1u8..3, prop::sample::select(vec![ACK, SYN | ACK, FIN | ACK, RST])).prop_map(|(n, f)| Kind::Reply(n, f)),
        2 => (0u8..4).prop_map(Kind::Ttl),
        1 => any::<u16>().prop_map(Kind::Checksum),
        1 => Just(Kind::ForeignMac),
        1 => Just(Kind::Options),
        1 => prop_oneof![Just(0), any::<u16>()].prop_map(Kind::Vlan),
        1 => Just(Kind::NoChecksum),
        1 => Just(Kind::Icmp),
        2 => prop::collection::vec(change(), 1..4).prop_map(Kind::Mutated),
    ];
    let padding = prop_oneof![3 => Just(0), 1 => 1usize..30];
    (flow, kind, any::<u8>(), any::<u16>(), any::<bool>(), 0u16..16, padding).prop_map(
        |(flow, kind, tos, id, df, class, padding)| Traffic { flow, kind, tos, id, df, class: class << 12, padding },
    )
}

impl Traffic {
    fn packet(&self, vlans: [Option<u16>; 2]) -> TestPacket {
        let (flow, mut options, mut port) = (self.flow, (0, Vec::new()), 0);
        let v4 = !flow.client().starts_with('[');
        let mut frame = flow.request(ACK);
        match self.kind {
            Kind::Data(len) => frame.payload = vec![0x5a; len],
            Kind::Flags(flags) => frame = flow.request(flags),
            Kind::Reply(backend, flags) => {
                if let Some(reply) = flow.reply(backend, flags) {
                    (frame, port) = (reply, 1);
                }
            }
            Kind::Ttl(ttl) => frame.ttl = ttl,
            Kind::Checksum(check) => frame.l4_checksum = Some(check),
            Kind::NoChecksum => frame.l4_checksum = Some(0),
            Kind::ForeignMac => frame.dst_mac = ROUTER,
            Kind::Options => options = if v4 { (0, vec![1; 8]) } else { (60, vec![6, 0, 1, 4, 0, 0, 0, 0]) },
            Kind::Icmp => {
                let (vip, quote) = (frame.dst.0.to_string(), Frame::ack(SERVICES[flow.service].0, &flow.client()));
                frame = match v4 {
                    true => icmp4("203.0.113.9", &vip, [3, 4], [0, 0, 5, 0], &quote.packet()),
                    false => icmp6("2001:db8:9::9", &vip, [2, 0], [0, 0, 5, 0], &quote.packet()),
                };
            }
            Kind::Vlan(_) | Kind::Mutated(_) => {}
        }
        frame.vlan = vlans[port].map(|id| id | self.class).into_iter().collect();
        if let Kind::Vlan(tci) = self.kind {
            frame.vlan.insert(0, tci);
        }
        (frame.tos, frame.id, frame.df, frame.padding) = (self.tos, self.id, self.df, self.padding);
        frame.options = options;
        let mut bytes = frame.build();
        if let Kind::Mutated(changes) = &self.kind {
            changes.iter().for_each(|change| apply(&mut bytes, change));
        }
        TestPacket::new(port as u8, &bytes)
    }
}

/// Packets in bursts such that nothing follows in one burst with a SYN of its connection. Those that take the short way go
/// first, so that behind a FIN and a SYN they would still belong to the connection that ends. A client sends no more before
/// the SYN is answered.
fn apart(traffic: &[Traffic]) -> Vec<&[Traffic]> {
    let is_own = |t: &Traffic| matches!(t.kind, Kind::Mutated(_));
    let is_syn = |t: &Traffic| matches!(t.kind, Kind::Flags(flags) if flags & SYN != 0);
    let same = |a: &Traffic, b: &Traffic| (a.flow.service, a.flow.client) == (b.flow.service, b.flow.client);
    let (mut bursts, mut from) = (Vec::new(), 0);
    for (at, packet) in traffic.iter().enumerate() {
        let before = &traffic[from..at];
        // What is mutated may have become anything.
        if before.last().is_some_and(is_own) || before.iter().any(|b| is_syn(b) && same(b, packet)) {
            bursts.push(before);
            from = at;
        }
    }
    bursts.push(&traffic[from..]);
    bursts
}

#[derive(Clone, Debug)]
enum Step {
    Burst(Vec<Traffic>),
    /// Nothing but plain packets of a few connections, as traffic mostly is.
    Stream(Vec<(Flow, usize)>),
    Pass(u64),
    /// Time passes before the timers get their turn.
    Late(u64),
    /// A backend's health changes.
    Health {
        service: usize,
        backend: usize,
        serves: bool,
        admits: bool,
    },
    /// Another backend takes the slot.
    Successor {
        service: usize,
        backend: usize,
    },
    Mtu(u16),
    /// An entry of the configuration, or none.
    Static {
        neighbor: usize,
        mac: Option<u8>,
    },
    Learned {
        v6: bool,
        backend: u8,
        mac: u8,
    },
    Announced {
        backend: u8,
        mac: u8,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let flow = (0..SERVICES.len(), 0..CLIENTS).prop_map(|(service, client)| Flow { service, client });
    let pauses = vec![1, 1, 1, 5, 11, 12, 29, 31, 32, 33, 61, 62, 299, 301, 302, 7441, 7442, 40_000, 65_536];
    let (service, backend) = (0..SERVICES.len(), 0usize..2);
    prop_oneof![
        10 => prop::collection::vec(traffic(), 1..=BURST).prop_map(Step::Burst),
        10 => prop::collection::vec((flow, 0usize..1400), 1..=BURST).prop_map(Step::Stream),
        4 => prop::sample::select(pauses).prop_map(Step::Pass),
        2 => prop::sample::select(vec![1, 11, 31, 61, 301, 7441]).prop_map(Step::Late),
        1 => (service.clone(), backend.clone(), any::<bool>(), any::<bool>())
            .prop_map(|(service, backend, serves, admits)| Step::Health { service, backend, serves, admits }),
        1 => (service, backend).prop_map(|(service, backend)| Step::Successor { service, backend }),
        1 => (1280u16..=1500).prop_map(Step::Mtu),
        1 => (0usize..18, prop::option::of(1u8..6)).prop_map(|(neighbor, mac)| Step::Static { neighbor, mac }),
        2 => (any::<bool>(), 1u8..6, 1u8..6).prop_map(|(v6, backend, mac)| Step::Learned { v6, backend, mac }),
        1 => (1u8..6, 1u8..6).prop_map(|(backend, mac)| Step::Announced { backend, mac }),
    ]
}

/// Both balancers, which are given the same.
struct Both {
    short: Net,
    long: Net,
    spec: SnapshotSpec,
    vlans: [Option<u16>; 2],
    forwarded: u64,
    took_short_way: u64,
}

impl Both {
    fn new(mut spec: SnapshotSpec, vlans: [Option<u16>; 2], connections: usize) -> Self {
        for (port, vlan) in spec.ports.iter_mut().zip(vlans) {
            port.vlan = vlan;
        }
        let net = || Net::with_connections(spec.clone(), connections);
        let (short, mut long) = (net(), net());
        long.shards.iter_mut().for_each(|shard| shard.short_way = false);
        Self { short, long, spec, vlans, forwarded: 0, took_short_way: 0 }
    }

    fn each(&mut self, mut act: impl FnMut(&mut Net)) {
        act(&mut self.short);
        act(&mut self.long);
    }

    /// One burst into both, handed on where it belongs to other workers.
    fn burst(&mut self, worker: u16, packets: &[TestPacket]) {
        let workers = self.spec.workers;
        let sent = self.one_burst(worker, Origin::Port, packets);
        for owner in 0..workers {
            let of_owner = |(_, s): &(&TestPacket, &Sent)| matches!(s.verdict, Verdict::Handoff(w) if w.0 == owner);
            let handed: Vec<_> = packets.iter().zip(&sent).filter(of_owner).map(|(p, _)| p.clone()).collect();
            self.one_burst(owner, Origin::Ring, &handed);
        }
    }

    fn one_burst(&mut self, worker: u16, origin: Origin, packets: &[TestPacket]) -> Vec<Sent> {
        let (short, long) = (self.short.burst(worker, origin, packets), self.long.burst(worker, origin, packets));
        for (n, (a, b)) in short.iter().zip(&long).enumerate() {
            let input = packets[n].heap.clone();
            assert_eq!(a.verdict, b.verdict, "packet {n} of {}: {input:02x?}", packets.len());
            assert_eq!(a.frame, b.frame, "packet {n} of {}: {input:02x?}", packets.len());
        }
        let is_tx = |s: &Sent| matches!(s.verdict, Verdict::Tx(_));
        let metas = |net: &Net| -> Vec<_> {
            net.shards[usize::from(worker)].metas.iter().take(packets.len()).map(|m| m.work).collect()
        };
        assert!(!metas(&self.long).iter().any(|w| matches!(w, Work::Plain4 | Work::Plain6)));
        let done = short.iter().zip(metas(&self.short)).filter(|(s, work)| is_tx(s) && *work == Work::Done);
        self.took_short_way += done.count() as u64;
        self.forwarded += short.iter().filter(|s| is_tx(s)).count() as u64;
        short
    }

    fn run(&mut self, step: &Step, worker: u16) {
        match step {
            Step::Burst(traffic) => {
                for burst in apart(traffic) {
                    let packets: Vec<_> = burst.iter().map(|t| t.packet(self.vlans)).collect();
                    self.burst(worker, &packets);
                }
            }
            Step::Stream(flows) => {
                let plain = |&(flow, len): &(Flow, usize)| flow.traffic(Kind::Data(len)).packet(self.vlans);
                let packets: Vec<_> = flows.iter().map(plain).collect();
                self.burst(worker, &packets);
            }
            Step::Pass(s) => self.each(|net| {
                // The timers run more often than a long pause says, but not so often that a test would take long.
                for part in [s / 2, s - s / 2] {
                    net.pass_s(part);
                }
            }),
            Step::Late(s) => self.each(|net| net.now = Now::from_ns(net.now.ns() + s * 1_000_000_000)),
            Step::Learned { v6, backend, mac } => {
                let addr = ip(&if *v6 { format!("fd01::{backend}") } else { format!("10.1.0.{backend}") });
                let learned = Learned { port: PortId(1), addr, mac: backend_mac(*mac) };
                self.each(|net| {
                    let now = net.now;
                    for shard in &mut net.shards {
                        shard.neighbors.learn(learned, true, now);
                    }
                });
            }
            // In a burst of its own: what comes in one burst with it may still go the old way.
            Step::Announced { backend, mac } => {
                let mut frame = arp(2, backend_mac(*mac), &format!("10.1.0.{backend}"), "10.1.0.254");
                frame[..6].copy_from_slice(&LAN.0);
                if let Some(id) = self.vlans[1] {
                    frame.splice(12..12, [0x81, 0, (id >> 8) as u8, id as u8]);
                }
                self.burst(worker, &[TestPacket::new(1, &frame)]);
            }
            Step::Health { .. } | Step::Successor { .. } | Step::Mtu(_) | Step::Static { .. } => self.reload(step),
        }
    }

    fn reload(&mut self, step: &Step) {
        fn backend(spec: &mut SnapshotSpec, service: usize, n: usize) -> &mut BackendSpec {
            let all = &mut spec.services[service].backends;
            let n = n % all.len();
            &mut all[n]
        }
        let spec = &mut self.spec;
        match *step {
            Step::Health { service, backend: n, serves, admits } => {
                let backend = backend(spec, service, n);
                (backend.serves, backend.admits) = (serves, serves && admits);
            }
            Step::Successor { service, backend: n } => {
                let backend = backend(spec, service, n);
                backend.id = BackendId::new(backend.id.slot(), backend.id.generation().wrapping_add(1));
            }
            Step::Mtu(mtu) => spec.ports[1].mtu = mtu,
            Step::Static { neighbor, mac } => {
                let addr = ip(&format!("{}{}", ["10.1.0.", "fd01::"][neighbor % 2], neighbor / 2 + 1));
                let neighbors = &mut spec.ports[1].neighbors;
                neighbors.retain(|n| n.0 != addr);
                neighbors.extend(mac.map(|mac| (addr, backend_mac(mac))));
            }
            _ => {}
        }
        let spec = self.spec.clone();
        self.each(|net| net.reload(spec.clone()));
    }

    /// Everything that can be seen from outside.
    fn compare(&mut self) {
        assert_eq!(self.short.figures(), self.long.figures());
        let now = self.short.now;
        assert_eq!(now, self.long.now);
        for (short, long) in self.short.shards.iter_mut().zip(&mut self.long.shards) {
            assert_eq!(short.connections(0, usize::MAX, now), long.connections(0, usize::MAX, now));
            assert_eq!(short.outbox, long.outbox);
            assert_eq!(short.learned, long.learned);
            assert_eq!(short.settled, long.settled);
            assert!(short.neighbors.rows().eq(long.neighbors.rows()));
            for shard in [short, long] {
                shard.outbox.clear();
                shard.learned.clear();
                shard.settled.clear();
            }
        }
    }

    /// Opens these flows, so that what follows meets connections.
    fn open(&mut self, flows: &[Flow], burst_max: usize) {
        for flags in [SYN, ACK, ACK] {
            let packets: Vec<_> = flows.iter().map(|&f| f.traffic(Kind::Flags(flags)).packet(self.vlans)).collect();
            for burst in packets.chunks(burst_max) {
                self.burst(0, burst);
            }
            self.compare();
        }
    }
}

/// What one run begins with.
#[derive(Clone, Debug)]
struct Start {
    vlans: [Option<u16>; 2],
    statics: usize,
    workers: u16,
    start_s: u64,
}

fn start() -> impl Strategy<Value = Start> {
    let vlan = || prop_oneof![2 => Just(None), 1 => (1u16..4095).prop_map(Some)];
    let statics = prop_oneof![2 => Just(18usize), 1 => 0usize..18];
    // The clock of the table starts at 0, or shortly before it winds round.
    let start_s = prop_oneof![Just(0u64), Just(1), Just(65_500), 1u64..100_000];
    (vlan(), vlan(), statics, prop_oneof![3 => Just(1u16), 1 => Just(2)], start_s)
        .prop_map(|(wan, lan, statics, workers, start_s)| Start { vlans: [wan, lan], statics, workers, start_s })
}

impl Start {
    fn both(&self, connections: usize) -> Both {
        let mut spec = scheduled(all_modes(), self.start_s);
        spec.workers = self.workers;
        spec.ports[1].neighbors.truncate(self.statics);
        let mut both = Both::new(spec, self.vlans, connections);
        let start_s = self.start_s;
        both.each(|net| net.now = Now::from_ns(start_s * 1_000_000_000));
        both
    }
}

type Steps = Vec<(Step, u16)>;

/// Runs each case's steps, after all flows were opened in bursts of so many packets at most. Returns how many packets were
/// forwarded, and how many of them the short way.
fn run_cases(
    cases: u32,
    steps: impl Strategy<Value = (Start, Steps)>,
    connections: usize,
    burst_max: usize,
) -> (u64, u64) {
    let (forwarded, took_short_way) = (Cell::new(0), Cell::new(0));
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(cases) };
    let flows: Vec<_> = Flow::all().collect();
    let result = TestRunner::new(config).run(&steps, |(start, steps)| {
        let mut both = start.both(connections);
        both.open(&flows, burst_max);
        for (step, worker) in &steps {
            both.run(step, worker % start.workers);
            both.compare();
        }
        forwarded.set(forwarded.get() + both.forwarded);
        took_short_way.set(took_short_way.get() + both.took_short_way);
        both.each(|net| net.pass_s(40_000));
        both.compare();
        Ok(())
    });
    if let Err(TestError::Fail(why, case)) = &result {
        panic!("{why}\n{case:?}");
    }
    result.unwrap();
    (forwarded.get(), took_short_way.get())
}

#[test]
fn the_short_way_leads_to_the_same_place() {
    let steps = prop::collection::vec((step(), 0u16..2), 1..40);
    let (forwarded, short) = run_cases(150, (start(), steps), 1000, BURST);
    assert!(short * 3 > forwarded && short > 10_000, "only {short} of {forwarded} took the short way");
}

/// Who comes first matters where no place is left, and within a burst those go first who take the short way. So here every
/// packet is a burst.
#[test]
fn the_short_way_leads_to_the_same_place_in_a_full_table() {
    for connections in [3, 20] {
        let one = (traffic(), 0u16..2).prop_map(|(traffic, worker)| (Step::Burst(vec![traffic]), worker));
        let is_burst = |step: &Step| matches!(step, Step::Burst(_) | Step::Stream(_));
        let other = (step(), 0u16..2).prop_filter("more than one packet", move |(step, _)| !is_burst(step));
        let steps = prop::collection::vec(prop_oneof![12 => one, 1 => other], 1..200);
        let (forwarded, short) = run_cases(60, (start(), steps), connections, 1);
        assert!(short > 100, "only {short} of {forwarded} took the short way");
    }
}

/// What the fast stages and the slow ones do to one connection in one burst adds up in any order.
#[test]
fn ends_and_answers_in_the_middle_of_a_burst() {
    let kinds = [
        Kind::Data(10),
        Kind::Flags(FIN | ACK),
        Kind::Flags(SYN),
        Kind::Flags(RST),
        Kind::Reply(1, ACK),
        Kind::Reply(2, FIN | ACK),
        Kind::Ttl(1),
        Kind::Options,
    ];
    for vlans in [[None, None], [Some(3), None], [None, Some(4)]] {
        let mut both = Both::new(all_modes(), vlans, 100);
        for flow in (0..SERVICES.len()).map(|service| Flow { service, client: 1 }) {
            // A SYN behind a FIN is another story, see `apart`.
            let is_fin = |n| matches!(n, 1 | 5);
            for (a, b) in (0..64).map(|n| (n / 8, n % 8)).filter(|&(a, b)| !(is_fin(a) && b == 2)) {
                both.each(|net| net.pass_s(40));
                both.open(&[flow], 1);
                let burst = [&kinds[0], &kinds[a], &kinds[0], &kinds[b], &kinds[0]];
                let packets: Vec<_> = burst.iter().map(|&kind| flow.traffic(kind.clone()).packet(vlans)).collect();
                for pause in [0, 5, 11] {
                    both.each(|net| net.pass_s(pause));
                    both.burst(0, &packets);
                    both.compare();
                }
            }
        }
    }
}

/// A next hop that only the short way uses is as much in use as any other.
#[test]
fn next_hops_in_use_are_confirmed() {
    let mut spec = all_modes();
    spec.ports[1].neighbors.clear();
    let mut both = Both::new(spec, [None, None], 1000);
    let flows: Vec<_> = Flow::all().collect();
    let learn = |both: &mut Both| {
        for (v6, backend) in (0..10).map(|n| (n >= 5, n % 5 + 1)) {
            both.run(&Step::Learned { v6, backend, mac: backend }, 0);
        }
    };
    learn(&mut both);
    both.open(&flows, BURST);
    let stream: Vec<_> = flows.iter().map(|&flow| (flow, 10)).collect();
    for round in 0..5 {
        both.run(&Step::Stream(stream[..BURST].to_vec()), 0);
        both.run(&Step::Stream(stream[BURST..].to_vec()), 0);
        both.compare();
        both.each(|net| net.pass_s(31));
        // The five of each family but those that only the hash could have chosen.
        let asked = both.short.shards[0].outbox.len();
        assert!(asked >= 8, "{asked} in round {round}");
        both.compare();
        learn(&mut both);
    }
    assert!(both.took_short_way > 5 * 30);
    // And nobody asks for what is not used any more.
    both.each(|net| net.pass_s(31));
    both.compare();
    learn(&mut both);
    both.each(|net| net.pass_s(31));
    assert!(both.short.shards[0].outbox.is_empty());
    both.compare();
}

/// Two flows with one tag in one bucket: the key alone tells them apart.
#[test]
fn connections_with_the_same_tag_are_told_apart() {
    for vip in ["192.0.2.20:80", "[2001:db8::21]:80", "192.0.2.10:80", "[2001:db8::10]:80"] {
        let v6 = vip.starts_with('[');
        let client = |n: u32| match v6 {
            true => format!("[2001:db8:c::{:x}]:{}", n >> 12, 1000 + (n & 0xfff)),
            false => format!("198.51.100.{}:{}", n >> 12, 1000 + (n & 0xfff)),
        };
        let mut both = Both::new(all_modes(), [None, None], 20);
        let shard = &both.short.shards[0];
        let buckets = if v6 { shard.v6.buckets() } else { shard.v4.buckets() } as u64;
        let place = |n| {
            let hash = match (end(&client(n)), end(vip)) {
                ((IpAddr::V4(src), sport), (IpAddr::V4(dst), dport)) => {
                    shard.hasher.hash(&FiveTuple { src, dst, sport, dport, protocol: 6 })
                }
                ((IpAddr::V6(src), sport), (IpAddr::V6(dst), dport)) => {
                    shard.hasher.hash(&FiveTuple { src, dst, sport, dport, protocol: 6 })
                }
                _ => panic!("mixed families"),
            };
            (((hash >> 32) * buckets) >> 32, hash as u16)
        };
        let mut seen = HashMap::new();
        let twins: Vec<_> = (0..20_000).filter_map(|n| Some((seen.insert(place(n), n)?, n))).take(5).collect();
        assert_eq!(twins.len(), 5);
        for (a, b) in twins {
            both.each(|net| net.pass_s(8000));
            let packets = |flags: &[(u32, u8)]| -> Vec<_> {
                let frame = |&(n, flags): &(u32, u8)| Frame::tcp(&client(n), vip, flags).build();
                flags.iter().map(|f| TestPacket::new(0, &frame(f))).collect()
            };
            for flags in [[(a, SYN), (a, ACK)], [(a, ACK), (b, ACK)], [(b, SYN), (a, ACK)], [(b, ACK), (a, ACK)]] {
                both.burst(0, &packets(&flags));
                both.compare();
            }
            both.burst(0, &packets(&[(a, ACK), (b, ACK), (b, ACK), (a, ACK)]));
            both.compare();
            assert_eq!(both.short.active(), 2);
        }
        assert!(both.took_short_way > 0);
    }
}
