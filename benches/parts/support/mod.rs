//! What the benches share: cases of traffic, and a balancer that they run through burst by burst.

pub mod frames;

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use tidegate::lb::capture::filter::Filter;
use tidegate::lb::capture::{Eye, Tap};
use tidegate::lb::clock::Now;
use tidegate::lb::connection::Timeouts;
use tidegate::lb::hash::HashKey;
use tidegate::lb::ids::{BackendId, PortId, WorkerId};
use tidegate::lb::memory::Place;
use tidegate::lb::packet::{HeapPacket, Packet};
use tidegate::lb::path::{BURST, Origin, process};
use tidegate::lb::punt::PuntRates;
use tidegate::lb::scheduler::Kind as Scheduler;
use tidegate::lb::shard::{Shard, ShardConfig};
use tidegate::lb::snapshot::{BackendSpec, ClientAddress, Mode, PortSpec, ServiceSpec, Snapshot, SnapshotSpec};
use tidegate::lb::verdict::{DropReason, Verdict};
use tidegate::wire::ethernet::MacAddr;

use frames::{Family, Frames, L4, Step};

/// The packets of a case.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// The client's, of established connections.
    Established,
    /// The backends', of established connections; in NAT alone.
    Reply,
    /// Each opens a connection in a table with room for it.
    New,
}

/// One kind of traffic through one mode. The name is made like those of `bench.sh` and stays the same.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Case {
    pub mode: Mode,
    pub family: Family,
    pub l4: L4,
    pub kind: Kind,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (family, l4) = (self.family.label(), self.l4.label());
        let kind = match self.kind {
            Kind::Established => "est",
            Kind::Reply => "reply",
            Kind::New => "new",
        };
        write!(f, "{}-{l4}{family}-{kind}", self.mode.label())
    }
}

/// Every case of `kind`, in a fixed order.
pub fn cases(kind: Kind) -> Vec<Case> {
    let modes: &[Mode] = if kind == Kind::Reply { &[Mode::Nat] } else { &[Mode::Gre, Mode::Nat, Mode::Dsr] };
    let mut cases = Vec::new();
    for &mode in modes {
        for family in [Family::V4, Family::V6] {
            cases.push(Case { mode, family, l4: L4::Tcp, kind });
        }
        // The other transport once a mode: what differs is the same for both families.
        if kind != Kind::Reply {
            cases.push(Case { mode, family: Family::V4, l4: L4::Udp, kind });
        }
    }
    cases
}

const BACKENDS: u8 = 8;
/// Where the client's packets come in, and where the backends are.
const WAN: PortId = PortId(0);
const LAN: PortId = PortId(1);

fn mac(n: u8) -> MacAddr {
    MacAddr([2, 0, 0, 0, 0, n])
}

fn backend_address(family: Family, n: u8) -> IpAddr {
    match family {
        Family::V4 => [10, 1, 0, n].into(),
        Family::V6 => [0xfd01, 0, 0, 0, 0, 0, 0, u16::from(n)].into(),
    }
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Clients behind a router on the first port, backends in the second's network, all next hops known.
fn ports() -> Vec<PortSpec> {
    let backends = (1..=BACKENDS)
        .flat_map(|n| [Family::V4, Family::V6].map(|family| (backend_address(family, n), MacAddr([2, 0, 0, 0, 1, n]))));
    let port = |name: &str, n, addresses: [(&str, u8); 2], gateways: &[&str], neighbors| PortSpec {
        name: name.into(),
        mac: mac(n),
        addresses: addresses.map(|(a, len)| (address(a), len)).to_vec(),
        gateways: gateways.iter().map(|a| address(a)).collect(),
        mtu: 1500,
        vlan: None,
        neighbors,
        outer_tier: Vec::new(),
        is_placed: false,
        host: false,
        rss: None,
    };
    let routers = ["10.0.0.1", "fd00::1"];
    vec![
        port("wan", 2, [("10.0.0.2", 24), ("fd00::2", 64)], &routers, routers.map(|r| (address(r), mac(1))).to_vec()),
        port("lan", 3, [("10.1.0.254", 24), ("fd01::fe", 64)], &[], backends.collect()),
    ]
}

fn service(case: Case) -> ServiceSpec {
    let backend = |n: u8| BackendSpec {
        id: BackendId::new(usize::from(n) - 1, 0),
        name: format!("b{n}").into(),
        address: backend_address(case.family, n),
        port: (case.mode == Mode::Nat).then_some(8080),
        weight: 100,
        connections_max: 0,
        serves: true,
        admits: true,
    };
    ServiceSpec {
        name: "web".into(),
        is_retired: false,
        vip: frames::vip(case.family),
        port: Some(frames::VIP_PORT),
        protocol: case.l4.protocol(),
        mode: case.mode,
        client_address: ClientAddress::None,
        tunnel_source: None,
        local_addresses: Vec::new(),
        local_ports: 1024..=65_535,
        reset_idle: false,
        reset_unknown: false,
        unreachable: false,
        passes_echo: false,
        tunnel: Default::default(),
        mtu_policy: Default::default(),
        scheduler: Scheduler::Maglev,
        persistence_s: 0,
        maglev_size: 65_537,
        timeouts: Timeouts::default(),
        backends: (1..=BACKENDS).map(backend).collect(),
    }
}

/// A balancer with one worker, and the frames of one case in the order in which they come round.
pub struct Rig {
    shard: Shard,
    snapshot: Snapshot,
    now: Now,
    port: PortId,
    frames: Frames,
    packets: Vec<HeapPacket>,
    verdicts: Vec<Verdict>,
}

/// No packet gets this verdict, so one that got none shows.
const UNSET: Verdict = Verdict::Drop(DropReason::RingFull);

impl Rig {
    /// With `flows` (a multiple of [`BURST`]) connections: in the table, unless the case is about new ones.
    pub fn new(case: Case, flows: usize) -> Self {
        assert_eq!(flows % BURST, 0, "whole bursts");
        let spec = SnapshotSpec {
            generation: 1,
            workers: 1,
            hash_key: HashKey::from_bytes([7; 16]),
            ports: ports(),
            services: vec![service(case)],
        };
        let snapshot = Snapshot::build(spec, None).unwrap();
        let mut shard = Shard::new(&ShardConfig {
            worker: WorkerId(0),
            // A table with room: in a full one the second bucket is looked at more often.
            connections_max: 4 * flows,
            v4: case.family == Family::V4,
            v6: case.family == Family::V6,
            nat: case.mode.is_nat(),
            backends_max: usize::from(BACKENDS),
            clients_max: 1024,
            fragments_max: 4096,
            neighbors_max: 64,
            local_port_rest_s: 120,
            punt_rates: PuntRates::default(),
            place: Place::default(),
            boot_key: HashKey::from_bytes([9; 16]),
        })
        .unwrap();
        shard.adopt(&snapshot, None);
        let frames = Frames::requests(case.family, case.l4, Step::First, flows, mac(1), mac(2));
        let packets = (0..BURST).map(|n| HeapPacket::new(frames.get(n))).collect();
        let now = Now::from_ns(1_000_000_000);
        let mut rig = Self { shard, snapshot, now, port: WAN, frames, packets, verdicts: vec![UNSET; BURST] };
        if case.kind != Kind::New {
            rig.establish(case, flows);
        }
        rig
    }

    /// Opens all connections, and leaves the frames of their later packets.
    fn establish(&mut self, case: Case, flows: usize) {
        let opened = self.round();
        if case.mode.is_nat() {
            (self.port, self.frames) = (LAN, Frames::replies(&opened, case.l4, Step::First));
            self.round();
        }
        self.port = WAN;
        self.frames = Frames::requests(case.family, case.l4, Step::Later, flows, mac(1), mac(2));
        // A second round prepares what the first packets in the new state prepare.
        self.round();
        self.round();
        if case.kind == Kind::Reply {
            (self.port, self.frames) = (LAN, Frames::replies(&opened, case.l4, Step::Later));
            self.round();
        }
        assert_eq!(self.shard.counters.connections_active.get(), flows as u64);
    }

    /// Runs every frame once and returns what was sent.
    fn round(&mut self) -> Vec<Vec<u8>> {
        let mut sent = Vec::with_capacity(self.frames.count());
        for burst in 0..self.bursts() {
            self.load(burst);
            assert_eq!(self.run(), BURST);
            self.check();
            sent.extend(self.packets.iter().map(|p| p.bytes().to_vec()));
        }
        sent
    }

    /// Bursts until the first one comes again.
    pub fn bursts(&self) -> usize {
        self.frames.count() / BURST
    }

    /// Copies the frames of a burst into its packets, as a driver does.
    #[inline]
    pub fn load(&mut self, burst: usize) {
        let first = burst % self.bursts() * BURST;
        for (n, packet) in self.packets.iter_mut().enumerate() {
            let frame = self.frames.get(first + n);
            // What went before the packet is taken away; nothing is ever cut off its end.
            packet.shrink_front(packet.frame_len() - frame.len());
            packet.bytes_mut().copy_from_slice(frame);
        }
    }

    /// The packet path itself, for the burst that was loaded; how many packets it took.
    #[inline]
    pub fn run(&mut self) -> usize {
        let Self { shard, snapshot, now, port, packets, verdicts, .. } = self;
        let port = *port;
        process(shard, snapshot, *now, Origin::Port, |_: &HeapPacket| port, packets, verdicts).count
    }

    /// Lets somebody look on from now on.
    pub fn watch(&mut self, filter: Filter) {
        let tap = Arc::new(Tap::new(filter, None, 64, 256));
        tap.adopt(&self.snapshot);
        self.shard.eye = Some(Box::new(Eye::new(tap, self.shard.worker)));
    }

    /// Panics unless every packet of the burst was sent on.
    pub fn check(&mut self) {
        for verdict in &mut self.verdicts {
            let found = std::mem::replace(verdict, UNSET);
            assert!(matches!(found, Verdict::Tx(_)), "{found:?}");
        }
    }

    /// Lets all connections end, so that the same packets open them again.
    pub fn forget(&mut self) {
        self.now = Now::from_ns(self.now.ns() + 20_000 * 1_000_000_000);
        self.shard.sweep_all(&self.snapshot, self.now);
        assert_eq!(self.shard.counters.connections_active.get(), 0);
    }
}
