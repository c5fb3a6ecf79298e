//! What is used up is counted, harms nothing else, and works again when there is more.

use dpdk_ffi::{DATA_ROOM_DEFAULT, MbufBurst, Mempool, Port, PortConfig, PortId as Device, StartedPort};

use super::{Bench, POOL_LEN, Plan, RING_LEN, eal, name};
use crate::dataplane::tx::Way;
use crate::lb::clock::Now;
use crate::lb::ids::PortId;
use crate::lb::neighbor::Learned;
use crate::lb::news::News;
use crate::lb::path::BURST;
use crate::lb::shard::Outgoing;
use crate::lb::snapshot::Mode;
use crate::lb::testing::*;
use crate::lb::verdict::DropReason as R;

const GRE: &str = "192.0.2.20:80";

fn client(n: usize) -> String {
    format!("198.51.100.{}:{}", n / 1000, 2000 + n % 1000)
}

fn syns(from: usize, count: usize, vip: &str) -> Vec<Vec<u8>> {
    (from..from + count).map(|n| Frame::syn(&client(n), vip).build()).collect()
}

fn send(bench: &mut Bench, frames: &[Vec<u8>]) {
    bench.send(0, &frames.iter().map(Vec::as_slice).collect::<Vec<_>>());
}

/// A virtual device with one queue each way.
fn device(devargs: &str, pool: &Mempool) -> StartedPort {
    let ids = Device::probe(eal(), devargs).unwrap();
    Port::start(eal(), ids[0], &PortConfig::default(), std::slice::from_ref(pool)).unwrap()
}

/// Of the first worker.
fn sent(bench: &Bench) -> u64 {
    bench.workers[0].shard.counters.tx_packets.get()
}

#[test]
fn a_transmit_queue_that_takes_nothing_costs_only_its_packets() {
    let pool = Mempool::new(eal(), &name("large"), 2047, 32, DATA_ROOM_DEFAULT, None).unwrap();
    // What is sent on a ring device waits there to be received, and here nobody does.
    let StartedPort { port: _port, mut rx_queues, mut tx_queues } = device(&name("net_ring_full"), &pool);
    let way = Way::Queue(tx_queues.remove(0), None);
    let ways = vec![Way::Nowhere, way];
    let mut bench = Bench::new(Plan { ways, pool: Some(pool), ..Plan::new(all_modes()) });
    let mut total = 0;
    while bench.drops(R::TxFull) < 3 * BURST as u64 {
        assert!(total < 1900, "the ring of the driver must fill before the pool is empty");
        send(&mut bench, &syns(total, BURST, GRE));
        total += BURST;
    }
    let in_device = u64::from(bench.pool.in_use());
    assert_eq!(sent(&bench), in_device, "what the device took");
    assert_eq!(in_device + bench.drops(R::TxFull), total as u64);
    let mut back = MbufBurst::<BURST>::new();
    let mut received = 0;
    while rx_queues[0].burst(&mut back) > 0 {
        received += back.len() as u64;
        back.clear();
    }
    assert_eq!(received, in_device);
    // All goes on as before.
    let lost = bench.drops(R::TxFull);
    send(&mut bench, &syns(total, BURST, GRE));
    assert_eq!((rx_queues[0].burst(&mut back), bench.drops(R::TxFull)), (BURST, lost));
    back.clear();
    bench.assert_level("tx ring");
}

#[test]
fn an_empty_pool_stops_our_own_frames_and_nothing_else() {
    let names = ["10.1.0.101", "10.1.0.102"];
    let mut all = all_modes();
    all.services.push(service("silent", Mode::Nat, 6, ("192.0.2.60", 80), 50, &names));
    let mut bench = Bench::new(Plan::new(all));
    let StartedPort { port: _port, mut rx_queues, .. } = device(&name("net_null_dry"), &bench.pool);
    let counters = bench.workers[0].shard.counters.clone();
    let packets: Vec<_> = syns(0, 4, "192.0.2.60:80").iter().map(|frame| bench.mbuf(frame).unwrap()).collect();
    let kept: Vec<_> = std::iter::from_fn(|| bench.pool.alloc()).collect();
    assert_eq!(bench.pool.available(), 0);
    // Packets that are there already are forwarded, held or dropped as ever; our question for their next hop finds no buffer.
    packets.into_iter().for_each(|mbuf| bench.send_mbuf(0, mbuf));
    assert_eq!(counters.held.get(), 4);
    let asked = counters.originated.get();
    assert!(asked > 0);
    assert_eq!(counters.unsent.get(), asked, "each counted");
    assert_eq!(u64::from(bench.pool.in_use()), u64::from(POOL_LEN));
    // A device without buffers gives nothing, and gives again when there are some.
    let mut burst = MbufBurst::<BURST>::new();
    assert_eq!(rx_queues[0].burst(&mut burst), 0);
    drop(kept);
    assert_eq!(rx_queues[0].burst(&mut burst), BURST);
    drop(burst);
    // The question is asked again, with a buffer now.
    bench.pass_ms(1500);
    assert!(counters.originated.get() > asked);
    assert_eq!(counters.unsent.get(), asked);
    bench.assert_level("empty pool");
    assert_eq!(bench.drops(R::NeighborUnresolved), 4);
}

#[test]
fn a_packet_that_finds_no_buffers_for_its_pieces_is_counted() {
    let mut bench = Bench::new(Plan::new(all_modes()));
    let counters = bench.workers[0].shard.counters.clone();
    // With the tunnel's header it is twelve bytes too long, and it may be cut.
    let frame = Frame::udp(&client(0), "192.0.2.20:53").with(|f| (f.payload, f.df) = (vec![0; 1460], false)).build();
    let packet = bench.mbuf(&frame).unwrap();
    let kept: Vec<_> = std::iter::from_fn(|| bench.pool.alloc()).collect();
    bench.send_mbuf(0, packet);
    assert_eq!((bench.drops(R::NoBuffer), counters.fragments_sent.get()), (1, 0));
    drop(kept);
    send(&mut bench, &[frame]);
    assert_eq!(bench.drops(R::NoBuffer), 1);
    assert!(counters.fragments_sent.get() > 0);
    bench.assert_level("pieces without buffers");
}

#[test]
fn a_worker_that_stands_still_costs_what_is_its_own() {
    let mut all = all_modes();
    all.workers = 2;
    let mut bench = Bench::new(Plan::new(all));
    let frames = syns(0, 800, GRE);
    send(&mut bench, &frames);
    let counters: Vec<_> = bench.workers.iter().map(|w| w.shard.counters.clone()).collect();
    let (handed, lost) = (counters[0].handoffs.get(), bench.drops(R::RingFull));
    assert_eq!(lost, handed - u64::from(RING_LEN), "the ring is full, and the rest is counted");
    assert!(handed > 200 && handed < 600, "{handed}");
    assert_eq!(counters[0].connections_created.get(), 800 - handed, "the others are as ever");
    // It turns again: what waited is done, and nothing is lost any more.
    while bench.turn(1) > 0 {}
    assert_eq!(counters[1].connections_created.get(), u64::from(RING_LEN));
    for few in frames.chunks(BURST) {
        send(&mut bench, few);
        while bench.turn(1) > 0 {}
    }
    assert_eq!(bench.drops(R::RingFull), lost);
    assert_eq!(counters[1].connections_created.get(), handed);
    bench.assert_level("hand-over ring");
}

#[test]
fn a_full_neighbour_queue_recovers_with_the_neighbour() {
    let mut all = all_modes();
    all.services.push(service("silent", Mode::Gre, 6, ("192.0.2.60", 80), 50, &["10.1.0.101"]));
    let mut bench = Bench::new(Plan::new(all));
    let counters = bench.workers[0].shard.counters.clone();
    send(&mut bench, &syns(0, 100, "192.0.2.60:80"));
    assert_eq!((counters.held.get(), bench.drops(R::NeighborQueueFull)), (16, 84));
    assert_eq!(bench.pool.in_use(), 16);
    // Others do not suffer.
    send(&mut bench, &syns(0, 100, GRE));
    assert_eq!((counters.held.get(), bench.drops(R::NeighborQueueFull)), (16, 84));
    let learned = Learned { port: PortId(1), addr: ip("10.1.0.101"), mac: backend_mac(101) };
    bench.workers[0].heard.push(News::Neighbor(learned)).unwrap();
    bench.turn(0);
    assert_eq!((counters.held.get(), bench.pool.in_use()), (0, 0), "what waited has left");
    send(&mut bench, &syns(200, 100, "192.0.2.60:80"));
    assert_eq!((counters.held.get(), bench.drops(R::NeighborQueueFull)), (0, 84));
    assert_eq!(bench.drops(R::NeighborUnresolved), 0);
    bench.assert_level("neighbour queue");
}

#[test]
fn a_full_connection_table_recovers_with_time() {
    let vip = "192.0.2.10:80";
    let mut bench = Bench::new(Plan { connections: 64, ..Plan::new(all_modes()) });
    let counters = bench.workers[0].shard.counters.clone();
    let acks = |from: usize, count: usize| {
        (from..from + count).map(|n| Frame::ack(&client(n), vip).build()).collect::<Vec<_>>()
    };
    send(&mut bench, &syns(0, 64, vip));
    send(&mut bench, &acks(0, 64));
    let full = counters.connections_active.get();
    send(&mut bench, &syns(100, 500, vip));
    assert!(bench.drops(R::TableFull) > 0);
    assert!(counters.connections_active.get() <= 64);
    let before = bench.drops(R::NoConnection);
    send(&mut bench, &acks(0, 64));
    assert_eq!(bench.drops(R::NoConnection) - before, 64 - full, "what was open stays open");
    bench.now = Now::from_ns(bench.now.ns() + 8_000 * 1_000_000_000);
    (0..2000).for_each(|_| bench.pass_ms(10));
    assert_eq!(counters.connections_active.get(), 0);
    let lost = bench.drops(R::TableFull);
    send(&mut bench, &syns(1000, 40, vip));
    assert_eq!((counters.connections_active.get(), bench.drops(R::TableFull)), (40, lost));
    bench.assert_level("connection table");
}

#[test]
fn our_own_frames_that_find_no_room_are_counted() {
    let mut bench = Bench::new(Plan { ways: vec![Way::Nowhere, Way::Nowhere], ..Plan::new(all_modes()) });
    let frame = crate::lb::path::solicit(&bench.snapshot, PortId(0), ip("10.0.0.77"), None).unwrap();
    for _ in 0..10 {
        bench.workers[0].shard.originate(Outgoing { ..frame.clone() });
    }
    bench.turn(0);
    let counters = &bench.workers[0].shard.counters;
    assert_eq!((counters.originated.get(), counters.unsent.get(), counters.drops_total()), (10, 10, 0));
    bench.assert_level("own frames");
}
