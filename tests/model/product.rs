//! The product as the reference sees it: frames in, fates out, and the choice of a backend.

use std::cell::RefCell;
use std::net::IpAddr;
use std::sync::Arc;

use tidegate::control::compile::{Compiler, PortFacts, shard_config};
use tidegate::control::config::Config;
use tidegate::control::overrides::Overrides;
use tidegate::lb::clock::Now;
use tidegate::lb::hash::HashKey;
use tidegate::lb::ids::{PortId, WorkerId};
use tidegate::lb::packet::{HeapPacket, Packet};
use tidegate::lb::path::{BURST, Origin, process};
use tidegate::lb::shard::{Shard, ShardConfig};
use tidegate::lb::snapshot::Snapshot;
use tidegate::lb::verdict::{DropReason, Verdict};
use tidegate::lb::waiting::Waiting;
use tidegate::wire::ethernet::MacAddr;

use crate::packet::{SYN, mac_of, own_mac, tcp, udp};
use crate::read::{self, Content};
use crate::reference::{Fate, Tuple, without_id};
use crate::world::{Service, World};

/// A frame and the port that it came in by.
struct Buffer {
    heap: HeapPacket,
    port: PortId,
}

impl Packet for Buffer {
    fn bytes(&self) -> &[u8] {
        self.heap.bytes()
    }
    fn bytes_mut(&mut self) -> &mut [u8] {
        self.heap.bytes_mut()
    }
    fn frame_len(&self) -> usize {
        self.heap.frame_len()
    }
    fn grow_front(&mut self, n: usize) -> bool {
        self.heap.grow_front(n)
    }
    fn shrink_front(&mut self, n: usize) {
        self.heap.shrink_front(n);
    }
    fn truncate(&mut self, len: usize) {
        self.heap.truncate(len);
    }
}

pub struct Product {
    compiler: Compiler,
    snapshot: Arc<Snapshot>,
    shards: Vec<Shard>,
    waiting: Vec<Waiting<Buffer>>,
    sizes: ShardConfig,
    alone: RefCell<Option<Alone>>,
    pub now_ns: u64,
}

/// A worker of its own, with a time of its own, for questions.
struct Alone {
    shard: Shard,
    now_ns: u64,
}

impl Product {
    pub fn new(world: &World, config: &Config, now_ns: u64) -> Self {
        let facts =
            world.ports.iter().map(|port| PortFacts { mac: MacAddr(port.mac), host: false, rss: None }).collect();
        let mut compiler = Compiler::new(world.workers as u16, facts, HashKey::from_bytes([3; 16]));
        let snapshot = Arc::new(compiler.compile(config, &Overrides::default(), None).unwrap());
        let sizes = shard_config(config, WorkerId(0), HashKey::from_bytes([7; 16]));
        // Room for all that a sequence opens, and no more: a table is touched when it is made.
        let sizes = ShardConfig {
            connections_max: 400,
            backends_max: 128,
            neighbors_max: 64,
            fragments_max: 256,
            v4: true,
            v6: true,
            nat: true,
            ..sizes
        };
        let shards = (0..world.workers).map(|worker| shard(&sizes, worker, &snapshot)).collect();
        let waiting = (0..world.workers).map(|_| Waiting::default()).collect();
        Self { compiler, snapshot, shards, waiting, sizes, alone: RefCell::default(), now_ns }
    }

    pub fn reload(&mut self, config: &Config) {
        let next = self.compiler.compile(config, &Overrides::default(), Some(&self.snapshot)).unwrap();
        self.shards.iter_mut().for_each(|shard| shard.adopt(&next, Some(&self.snapshot)));
        self.snapshot = Arc::new(next);
        self.alone = RefCell::default();
    }

    /// Puts a burst into the first worker and follows each packet to its end.
    pub fn burst(&mut self, frames: &[(usize, Vec<u8>)]) -> Vec<Fate> {
        let mut packets: Vec<Buffer> = frames.iter().map(buffer).collect();
        let verdicts = self.process(0, Origin::Port, &mut packets);
        let packets = packets.into_iter().zip(verdicts).zip(frames);
        let fates: Vec<Fate> = packets.map(|((packet, verdict), frame)| self.end(0, packet, verdict, frame)).collect();
        for shard in &mut self.shards {
            shard.tick(&self.snapshot, Now::from_ns(self.now_ns));
            shard.outbox.clear();
            shard.learned.clear();
            shard.settled.clear();
        }
        fates
    }

    /// Follows a packet to its end, from worker to worker: a fragment goes home first, and to its owner from there.
    fn end(&mut self, worker: usize, packet: Buffer, verdict: Verdict, frame: &(usize, Vec<u8>)) -> Fate {
        match verdict {
            Verdict::Handoff(owner) => {
                assert!(owner.index() != worker && packet.bytes() == frame.1, "changed, or handed to itself");
                let mut handed = buffer(frame);
                let verdict = self.process(owner.index(), Origin::Ring, std::slice::from_mut(&mut handed))[0];
                self.end(owner.index(), handed, verdict, frame)
            }
            Verdict::Await(tag) => {
                assert!(packet.bytes() == frame.1, "changed while it waits");
                let now = Now::from_ns(self.now_ns);
                let counters = &self.shards[worker].counters;
                let oldest = self.waiting[worker].hold(counters, tag, packet.port, now, packet);
                assert!(oldest.is_none(), "there is room for all");
                Fate::Waits
            }
            verdict => fate(&packet, verdict),
        }
    }

    /// The fates of fragments that need not wait any longer, in the order in which they came.
    pub fn release(&mut self) -> Vec<Fate> {
        let mut fates = Vec::new();
        for worker in 0..self.shards.len() {
            while let Some(tag) = self.shards[worker].fragments.woken() {
                let mut woken = Vec::new();
                let counters = &self.shards[worker].counters;
                self.waiting[worker].take(counters, tag, BURST, |port, packet| woken.push((port, packet)));
                self.shards[worker].fragments.is_awake();
                for (port, mut packet) in woken {
                    let frame = (port.index(), packet.bytes().to_vec());
                    let verdict = self.process(worker, Origin::Ring, std::slice::from_mut(&mut packet))[0];
                    fates.push(self.end(worker, packet, verdict, &frame));
                }
            }
        }
        fates
    }

    /// How many fragments have waited in vain until now.
    pub fn timed_out(&mut self) -> usize {
        let now = Now::from_ns(self.now_ns);
        let waits = |all: &[Waiting<Buffer>]| all.iter().map(Waiting::len).sum::<usize>();
        let before = waits(&self.waiting);
        for (waiting, shard) in self.waiting.iter_mut().zip(&self.shards) {
            waiting.expire(&shard.counters, now, drop);
        }
        before - waits(&self.waiting)
    }

    fn process(&mut self, worker: usize, origin: Origin, packets: &mut [Buffer]) -> Vec<Verdict> {
        process_on(&mut self.shards[worker], &self.snapshot, self.now_ns, origin, packets)
    }

    /// The backend for a new connection with this tuple: where a worker sends it that knows of no other.
    pub fn choose(&self, service: &Service, (protocol, src, dst): Tuple) -> Option<IpAddr> {
        let mut alone = self.alone.borrow_mut();
        let Alone { shard, now_ns } = alone.get_or_insert_with(|| Alone {
            shard: shard(&ShardConfig { connections_max: 4, ..self.sizes.clone() }, 0, &self.snapshot),
            now_ns: self.now_ns,
        });
        let text = |(addr, port): (IpAddr, u16)| std::net::SocketAddr::new(addr, port).to_string();
        let packet = match protocol {
            6 => tcp(&text(src), &text(dst), SYN, b""),
            _ => udp(&text(src), &text(dst), b""),
        };
        let mut packets = [buffer(&(0, packet.frame_from("10.0.0.1".parse().unwrap())))];
        let verdict = process_on(shard, &self.snapshot, *now_ns, Origin::Ring, &mut packets)[0];
        // It forgets this one before the next.
        *now_ns += 1_000_000_000_000;
        shard.sweep_all(&self.snapshot, Now::from_ns(*now_ns));
        match verdict {
            Verdict::Drop(DropReason::NoBackend) => return None,
            Verdict::Drop(DropReason::Looped) => return Some(src.0),
            _ => {}
        }
        let Fate::Sent(_, out) = fate(&packets[0], verdict) else {
            panic!("{verdict:?} for a new connection from {src:?} to {}", service.name)
        };
        let frame = read::frame(&out).unwrap();
        let Content::Ip(ip) = &frame.content else { panic!("not ip: {out:02x?}") };
        let is_it =
            |address: IpAddr| if ip.dst == dst.0 { frame.dst_mac == mac_of(address) } else { ip.dst == address };
        let backend = service.backends.iter().find(|backend| is_it(backend.address));
        Some(backend.unwrap_or_else(|| panic!("{} is no backend of {}", ip.dst, service.name)).address)
    }

    /// Connections opened, taken over, packets sent on without one, and connections open now.
    pub fn figures(&mut self) -> [u64; 4] {
        let now = Now::from_ns(self.now_ns);
        let mut sum = [0; 4];
        for shard in &mut self.shards {
            shard.sweep_all(&self.snapshot, now);
            let c = &shard.counters;
            let all = [&c.connections_created, &c.adopted, &c.stateless, &c.connections_active];
            sum.iter_mut().zip(all).for_each(|(sum, counter)| *sum += counter.get());
        }
        sum
    }
}

fn shard(sizes: &ShardConfig, worker: usize, snapshot: &Snapshot) -> Shard {
    let mut shard = Shard::new(&ShardConfig { worker: WorkerId(worker as u16), ..sizes.clone() }).unwrap();
    shard.adopt(snapshot, None);
    shard
}

fn buffer((port, frame): &(usize, Vec<u8>)) -> Buffer {
    Buffer { heap: HeapPacket::new(frame), port: PortId(*port as u8) }
}

fn process_on(
    shard: &mut Shard,
    snapshot: &Snapshot,
    now_ns: u64,
    origin: Origin,
    packets: &mut [Buffer],
) -> Vec<Verdict> {
    assert!(packets.len() <= BURST);
    // Nobody can own it, so that a place that was left out shows.
    let mut verdicts = vec![Verdict::Handoff(WorkerId(u16::MAX)); packets.len()];
    let now = Now::from_ns(now_ns);
    let done = process(shard, snapshot, now, origin, |packet: &Buffer| packet.port, packets, &mut verdicts);
    assert_eq!(done.count, packets.len());
    verdicts
}

fn fate(packet: &Buffer, verdict: Verdict) -> Fate {
    let frame = || packet.bytes().to_vec();
    match verdict {
        Verdict::Tx(port) => Fate::Sent(port.index(), frame()),
        Verdict::Reply(port) => {
            assert_eq!(port, packet.port, "answered by another port");
            assert_eq!(packet.bytes()[6..12], own_mac(port.index()));
            Fate::Answered(frame())
        }
        Verdict::Drop(reason) => Fate::Dropped(reason.label()),
        Verdict::Hold(_) => Fate::Held,
        Verdict::Fragment(port) => Fate::InPieces(port.index(), without_id(&frame())),
        Verdict::Await(_) | Verdict::Punt(..) => panic!("{verdict:?} in a world without such"),
        Verdict::Handoff(owner) => panic!("handed to {owner:?} by its owner"),
    }
}
