//! What is predicted is what then happens: to tables, and to connections that real packets have opened.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};

use proptest::prelude::*;

use super::*;
use crate::control::compile::shard_config;
use crate::control::random::{PORTS, Random, services};
use crate::lb::clock::Now;
use crate::lb::handle::WorkerHandle;
use crate::lb::ids::{BackendId, PortId, WorkerId};
use crate::lb::packet::Packet;
use crate::lb::path::{Origin, process};
use crate::lb::shard::{Shard, ShardConfig};
use crate::lb::testing::{Frame, TestPacket};
use crate::lb::verdict::{DropReason, Verdict};

fn parse(text: &str) -> Config {
    Config::parse(text, "t.toml").unwrap_or_else(|errors| panic!("{errors}\nin\n{text}"))
}

/// [`PORTS`] whose next hops need no asking.
fn known_ports() -> String {
    let hosts: Vec<String> =
        (1..10).map(|n| format!("'10.1.0.{n}' = '02:00:00:00:01:0{n}', 'fd01::{n}' = '02:00:00:00:01:0{n}'")).collect();
    let known = format!("neighbors = {{ {} }}\nmac = '02:00:00:00:00:03'", hosts.join(", "));
    let router = "neighbors = { '10.0.0.1' = '02:00:00:00:00:01', 'fd00::1' = '02:00:00:00:00:01' }\n\
                  mac = '02:00:00:00:00:02'";
    let text = PORTS.replace("device = \"net_null0\"", &format!("device = 'net_null0'\n{router}"));
    text.replace("device = \"net_null1\"", &format!("device = 'net_null1'\n{known}"))
}

/// Random services on them.
fn random_config(random: &mut Random, drains: bool) -> Config {
    let mut text = known_ports();
    services(random, &mut text, false);
    if drains {
        text = text.replace("maglev_size = 251", "maglev_size = 251\non_remove = 'drain'");
    }
    parse(&text)
}

/// One worker with everything that it has, and connections through it.
struct Bench {
    basis: Basis,
    shard: Shard,
    now: Now,
}

type Ends = (SocketAddr, SocketAddr, u8);

impl Bench {
    fn new(config: Config) -> Self {
        let mut basis = Basis::of_file(config, "before").unwrap();
        let config = ShardConfig {
            connections_max: 1000,
            v4: true,
            v6: true,
            nat: true,
            backends_max: 100,
            neighbors_max: 64,
            ..shard_config(&basis.config, WorkerId(0), HashKey::from_bytes([9; 16]))
        };
        let mut shard = Shard::new(&config).unwrap();
        shard.adopt(&basis.snapshot, None);
        let worker = WorkerHandle {
            id: WorkerId(0),
            cpu: None,
            counters: shard.counters.clone(),
            latency: Arc::default(),
            team: Arc::default(),
            connections_max: 1000,
            table_bytes: 0,
            table_memory: None,
            requests: Arc::new(crossbeam::queue::ArrayQueue::new(1)),
        };
        basis.workers = Some(vec![worker]);
        Self { basis, shard, now: Now::from_ns(1_000_000_000) }
    }

    fn send(&mut self, snapshot: &Snapshot, frame: &Frame) -> Verdict {
        let mut packets = [TestPacket::new(0, &frame.build())];
        let mut verdicts = [Verdict::Drop(DropReason::RingFull)];
        let port = |_: &TestPacket| PortId(0);
        process(&mut self.shard, snapshot, self.now, Origin::Port, port, &mut packets, &mut verdicts);
        assert!(packets[0].frame_len() > 0);
        verdicts[0]
    }

    /// Which backend each connection has.
    fn connections(&self) -> BTreeMap<Ends, BackendId> {
        let (rows, more) = self.shard.connections(0, usize::MAX, self.now);
        assert_eq!(more, None);
        let socket = |(address, port): (IpAddr, u16)| SocketAddr::new(address, port);
        rows.iter().map(|row| ((socket(row.client), socket(row.vip), row.protocol), row.backend)).collect()
    }

    /// Opens connections from some clients to every service.
    fn open(&mut self, clients: u16) {
        let snapshot = self.basis.snapshot.clone();
        for service in snapshot.services() {
            for n in 0..clients {
                // A service of every port is asked for one that another service may have.
                let vip = SocketAddr::new(service.vip, service.port.unwrap_or(if n % 2 == 0 { 443 } else { 9 }));
                let frame = first(client(service.vip, n), vip, service.protocol);
                self.send(&snapshot, &frame);
            }
        }
    }

    /// Goes over to another configuration, as a reload does, and sends another packet of each connection: those that did
    /// not reach the backend of before, by its number in the snapshot of before.
    fn ended_by(&mut self, next: &Snapshot) -> HashMap<BackendId, u64> {
        let before = self.connections();
        self.shard.adopt(next, Some(&self.basis.snapshot));
        let mut ended = HashMap::new();
        for (&(client, vip, protocol), &backend) in &before {
            let created = self.shard.counters.connections_created.get();
            let verdict = self.send(next, &another(client, vip, protocol));
            let is_new = self.shard.counters.connections_created.get() > created;
            // Nothing of a client's gets to a server before the PROXY header does, reload or not.
            let is_sent = matches!(verdict, Verdict::Tx(_) | Verdict::Drop(DropReason::ProxyForged));
            // Of a VIP that nobody serves any more, the table is not even asked.
            if is_new || !is_sent || self.connections().get(&(client, vip, protocol)) != Some(&backend) {
                *ended.entry(backend).or_default() += 1;
            }
        }
        ended
    }
}

fn client(vip: IpAddr, n: u16) -> SocketAddr {
    let address: &str = if vip.is_ipv4() { "198.51.100.7" } else { "2001:db8:c::7" };
    SocketAddr::new(address.parse().unwrap(), 40_000 + n)
}

fn first(client: SocketAddr, vip: SocketAddr, protocol: u8) -> Frame {
    let (client, vip) = (client.to_string(), vip.to_string());
    if protocol == 6 { Frame::syn(&client, &vip) } else { Frame::udp(&client, &vip) }
}

fn another(client: SocketAddr, vip: SocketAddr, protocol: u8) -> Frame {
    let (client, vip) = (client.to_string(), vip.to_string());
    if protocol == 6 { Frame::ack(&client, &vip) } else { Frame::udp(&client, &vip) }
}

/// The share of hashes for which two services pick different servers, by asking them.
fn asked_share(before: &Snapshot, after: &Snapshot, name: &str, sizes: (u32, u32)) -> f64 {
    let service = |snapshot: &Snapshot| snapshot.services().iter().position(|s| &*s.name == name).unwrap();
    let (old, new) = (&before.services()[service(before)], &after.services()[service(after)]);
    let parts = if sizes.0 == sizes.1 { u128::from(sizes.0) } else { u128::from(sizes.0) * u128::from(sizes.1) };
    let place = |snapshot: &Snapshot, id: Option<BackendId>| {
        id.and_then(|id| snapshot.backend(id)).map(|backend| (backend.address, backend.port))
    };
    let differs = |part: &u128| {
        let hash = (((part * 2 + 1) << 63) / parts) as u64;
        place(before, old.pick(hash)) != place(after, new.pick(hash))
    };
    (0..parts).filter(differs).count() as f64 / parts as f64
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn a_plan_says_what_a_reload_does(seed: u64) {
        comes_true(seed, false)?;
    }

    #[test]
    fn a_plan_knows_who_drains(seed: u64) {
        comes_true(seed, true)?;
    }
}

/// Looks at a random change and then makes it.
fn comes_true(seed: u64, drains: bool) -> Result<(), TestCaseError> {
    let mut random = Random(seed);
    let (old, new) = (random_config(&mut random, drains), random_config(&mut random, drains));
    let mut bench = Bench::new(old);
    bench.open(8);
    for service in &bench.basis.config.services {
        for backend in &service.backends {
            if random.one_in(8) {
                // After the connections, so that some are of backends that are on their way out.
                let state = [State::Down, State::Drain][random.below(2)];
                bench.basis.overrides.set_state(&service.name, &backend.name, state);
            }
        }
    }
    let Basis { config, overrides, compiler, snapshot, .. } = &mut bench.basis;
    *snapshot = Arc::new(compiler.compile(config, overrides, Some(snapshot)).unwrap());
    bench.shard.adopt(&bench.basis.snapshot, Some(&bench.basis.snapshot));
    let open = bench.connections().len() as u64;
    let plan = bench.basis.plan("new.toml", &new).unwrap();

    // What a reload does, in its own words.
    let Carried { overrides, .. } = bench.basis.carried(&new);
    let before = bench.basis.snapshot.clone();
    let after = bench.basis.compiler.compile(&new, &overrides, Some(&before)).unwrap();
    let is_down = |id: BackendId| before.backend(id).is_some_and(|backend| !backend.serves);
    let ended = bench.ended_by(&after);

    let touched = plan.connections.as_ref().unwrap();
    prop_assert_eq!(touched.total, open);
    let predicted: BTreeMap<(String, String), u64> =
        touched.backends.iter().map(|b| ((b.service.clone(), b.backend.clone()), b.connections)).collect();
    let name = |id: BackendId| {
        let backend = before.backend(id).unwrap();
        (before.service(backend.service).unwrap().name.to_string(), backend.name.to_string())
    };
    // A backend that was down already has nothing to lose, unless it goes for good.
    let real = |(id, _): &(&BackendId, &u64)| !is_down(**id) || after.backend(**id).is_none();
    let happened: BTreeMap<(String, String), u64> =
        ended.iter().filter(real).map(|(&id, &count)| (name(id), count)).collect();
    prop_assert_eq!(
        &predicted,
        &happened,
        "{:#?}\nfrom {:#?}\nto {:#?}",
        plan,
        bench.basis.config.services,
        new.services
    );
    prop_assert_eq!(touched.touched, happened.values().sum::<u64>());

    for service in &new.services {
        let Some(old) = bench.basis.config.services.iter().find(|old| old.name == service.name) else { continue };
        // The others do not go by the table.
        let is_by_hash = |service: &Service| service.scheduler.is_by_hash();
        if !is_by_hash(old) || !is_by_hash(service) {
            continue;
        }
        let share = asked_share(&before, &after, &service.name, (old.maglev_size, service.maglev_size));
        let moved = plan.slots.iter().find(|slots| slots.service == service.name);
        let predicted = moved.map_or(0.0, |slots| slots.share);
        prop_assert!((predicted - share).abs() < 1e-9, "{}: {} predicted, {} happened", service.name, predicted, share);
        if let (Some(moved), true) = (moved, old.maglev_size == service.maglev_size) {
            prop_assert_eq!(f64::from(moved.moved), (share * f64::from(moved.slots)).round());
        }
    }
    if plan.is_empty() {
        prop_assert!(plan.slots.is_empty() && touched.touched == 0);
    }
    prop_assert!(plan.restart.is_empty());
    Ok(())
}

const BASE: &str = "\n[[service]]\nname = 'web'\nvip = '192.0.2.10'\nport = 80\nmode = 'nat'\n\
    [[service.backend]]\nname = 'b1'\naddress = '10.1.0.1'\n[[service.backend]]\nname = 'b2'\naddress = '10.1.0.2'\n";

fn basis(config: &str) -> Basis {
    Basis::of_file(parse(config), "old.toml").unwrap()
}

#[test]
fn files_alone_are_compared_and_what_is_not_known_is_said() {
    let text = format!("{PORTS}{BASE}");
    let same = basis(&text).plan("new.toml", &parse(&text)).unwrap();
    assert!(same.is_empty() && same.slots.is_empty() && same.connections.is_none());
    assert_eq!((same.from.as_str(), same.path.as_str(), same.summary.as_str()), ("old.toml", "new.toml", "no changes"));
    assert!(same.notes[0].contains("sample key") && same.notes[1].contains("healthy"), "{:?}", same.notes);
    let heavier =
        basis(&text).plan("new.toml", &parse(&text.replace("'10.1.0.2'", "'10.1.0.2'\nweight = 300"))).unwrap();
    assert_eq!(heavier.changes[0].lines(), ["~ backend web/b2: weight 100 -> 300"]);
    let MovedSlots { slots, moved, share, .. } = heavier.slots[0];
    // A half before, a quarter afterwards.
    assert_eq!(slots, 65_537);
    assert!((0.249..0.27).contains(&share) && moved.abs_diff(slots / 4) < slots / 50, "{:?}", heavier.slots);
    let keyed = |text: &str, key: &str| format!("[dataplane]\nhash_key = '{}'\n{text}", key.repeat(16));
    let same = basis(&keyed(&text, "ab")).plan("new.toml", &parse(&keyed(&text, "ab"))).unwrap();
    assert_eq!(same.notes.len(), 1);
}

#[test]
fn another_key_needs_a_restart_and_moves_half_of_two_backends() {
    let keyed = |key: &str| format!("[dataplane]\nhash_key = '{}'\n{PORTS}{BASE}", key.repeat(16));
    let plan = basis(&keyed("ab")).plan("new.toml", &parse(&keyed("cd"))).unwrap();
    assert_eq!(plan.restart.len(), 1);
    assert!(!plan.is_empty() && plan.changes.is_empty());
    assert!((0.48..0.52).contains(&plan.slots[0].share), "{:?}", plan.slots);
}

#[test]
fn a_restart_ends_every_connection_and_other_ports_are_no_hindrance() {
    let text = format!("{}{BASE}", known_ports());
    let mut bench = Bench::new(parse(&text));
    bench.open(5);
    assert_eq!(bench.connections().len(), 5);
    let more = "[[port]]\nname = 'dmz'\ndevice = 'net_null2'\naddresses = ['10.2.0.2/24']\n";
    let new = parse(&format!("{more}{text}").replace("address = '10.1.0.2'", "address = '10.2.0.9'"));
    let plan = bench.basis.plan("new.toml", &new).unwrap();
    assert_eq!(plan.restart[0].to_string(), "port dmz absent -> added");
    assert_eq!((plan.connections.as_ref().unwrap().total, plan.connections.unwrap().touched), (5, 5));
    assert_eq!(plan.changes[0].lines(), ["~ backend web/b2: address 10.1.0.2 -> 10.2.0.9"]);
}

#[test]
fn connections_end_for_a_reason() {
    let text = format!("{}{BASE}", known_ports());
    let why = |from: &str, to: &str| {
        let mut bench = Bench::new(parse(&text));
        bench.open(64);
        let plan = bench.basis.plan("new.toml", &parse(&text.replace(from, to))).unwrap();
        let touched = plan.connections.unwrap();
        assert_eq!(touched.touched, touched.backends.iter().map(|b| b.connections).sum::<u64>());
        touched.backends.iter().map(|b| (b.backend.clone(), b.why)).collect::<Vec<_>>()
    };
    let (b1, b2) = (|why| ("b1".to_owned(), why), |why| ("b2".to_owned(), why));
    assert_eq!(
        why("name = 'b2'\naddress = '10.1.0.2'", "name = 'b2'\naddress = '10.1.0.2'\nstate = 'down'"),
        [b2(Why::Down)]
    );
    assert_eq!(why("address = '10.1.0.2'", "address = '10.1.0.2'\nstate = 'drain'"), []);
    assert_eq!(why("address = '10.1.0.2'", "address = '10.1.0.3'"), [b2(Why::Replaced)]);
    assert_eq!(why("[[service.backend]]\nname = 'b2'\naddress = '10.1.0.2'\n", ""), [b2(Why::Removed)]);
    assert_eq!(why("port = 80", "port = 81"), [b1(Why::Replaced), b2(Why::Replaced)]);
    assert_eq!(why("'web'", "'www'"), [b1(Why::Removed), b2(Why::Removed)]);
    // The same server under another name is the same server.
    assert_eq!(why("'b2'", "'b3'"), []);
}
