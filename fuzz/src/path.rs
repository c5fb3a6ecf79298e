//! Any traffic through the whole packet path, on several shards, while snapshots change: one verdict a packet, counters
//! that add up, and outputs that are legal.

use std::sync::Arc;

use tidegate::control::compile::{Compiler, PortFacts, shard_config};
use tidegate::control::overrides::Overrides;
use tidegate::lb::clock::Now;
use tidegate::lb::hash::HashKey;
use tidegate::lb::ids::{PortId, WorkerId};
use tidegate::lb::packet::Packet;
use tidegate::lb::path::{self, BURST, Origin};
use tidegate::lb::pending::Pending;
use tidegate::lb::pieces::{Pieces, is_too_long};
use tidegate::lb::shard::{Shard, ShardConfig};
use tidegate::lb::snapshot::Snapshot;
use tidegate::lb::verdict::{DropReason, Verdict};
use tidegate::wire::arp::Arp;
use tidegate::wire::ethernet::{EtherType, MacAddr};
use tidegate::wire::parse::{Kind, parse};
use tidegate::wire::tcp::flags;

use super::check;
use super::frames::{Flow, echo, icmp_error, link_frame, v4};
use super::input::Input;
use super::network::{LAN, PEER, SERVICES, WAN, client, config, link, services};

pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let mut run = Run::new(&mut input);
    // A bound on the work for one input; each choice takes a byte at least.
    for _ in 0..250 {
        if input.is_empty() {
            break;
        }
        run.step(&mut input);
    }
    run.finish();
}

/// A packet in two segments, of which only the first can be seen at once, as in a chain of mbufs.
struct Frame {
    buffer: Vec<u8>,
    start: usize,
    /// End of the first segment.
    seen: usize,
    port: PortId,
    /// As it came in.
    came: Vec<u8>,
}

/// Tight, so that running out of it is tried as well.
const HEADROOM: usize = 64;

impl Frame {
    fn new(came: Vec<u8>, port: usize, seen: usize) -> Self {
        let mut buffer = vec![0; HEADROOM];
        buffer.extend_from_slice(&came);
        let seen = HEADROOM + seen.min(came.len());
        Self { buffer, start: HEADROOM, seen, port: PortId(port as u8), came }
    }

    fn whole(&self) -> &[u8] {
        &self.buffer[self.start..]
    }
}

impl Packet for Frame {
    fn bytes(&self) -> &[u8] {
        &self.buffer[self.start..self.seen]
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.buffer[self.start..self.seen]
    }

    fn frame_len(&self) -> usize {
        self.buffer.len() - self.start
    }

    fn grow_front(&mut self, n: usize) -> bool {
        let start = self.start.checked_sub(n);
        self.start = start.unwrap_or(self.start);
        start.is_some()
    }

    fn shrink_front(&mut self, n: usize) {
        assert!(n <= self.seen - self.start, "took away more than the first segment has");
        self.start += n;
    }

    fn truncate(&mut self, len: usize) {
        self.buffer.truncate(self.start + len);
        self.seen = self.seen.min(self.buffer.len());
    }
}

struct Worker {
    shard: Shard,
    pending: Pending<Frame>,
    /// What a poll loop counts in its shard, kept here.
    verdicts: u64,
}

struct Run {
    family: usize,
    compiler: Compiler,
    snapshot: Arc<Snapshot>,
    workers: Vec<Worker>,
    now_ns: u64,
    burst: Vec<Frame>,
    received: u64,
    /// The last frames sent, with the port that they left by; what is answered and quoted.
    sent: Vec<(usize, Vec<u8>)>,
}

impl Run {
    fn new(input: &mut Input) -> Self {
        let (family, count, size) = (input.below(2), 1 + input.below(4), input.below(64));
        let boot_key = HashKey::from_bytes([7; 16]);
        let fact = |mac| PortFacts { mac, host: false, rss: None };
        let mut compiler = Compiler::new(count as u16, vec![fact(WAN), fact(LAN)], HashKey::from_bytes([3; 16]));
        let first = compiler.compile(config(family, 0), &Overrides::default(), None).unwrap();
        let worker = |index| {
            let sizes = shard_config(config(family, 0), WorkerId(index as u16), boot_key);
            // Small, so that it gets full.
            let sizes = ShardConfig {
                connections_max: 2 + size,
                backends_max: 64,
                neighbors_max: 5,
                fragments_max: 16,
                ..sizes
            };
            let mut shard = Shard::new(&sizes).unwrap();
            shard.adopt(&first, None);
            Worker { shard, pending: Pending::default(), verdicts: 0 }
        };
        let workers = (0..count).map(worker).collect();
        let snapshot = Arc::new(first);
        let (burst, sent) = (Vec::new(), Vec::new());
        Self { family, compiler, snapshot, workers, now_ns: 1_000_000_000, burst, received: 0, sent }
    }

    fn step(&mut self, input: &mut Input) {
        match input.below(16) {
            0..6 => self.request(input),
            6 => self.raw(input),
            7 | 8 => self.answer(input),
            9 => self.error(input),
            10 => self.ping(input),
            11 => self.arp(input),
            12 => self.wait(input),
            13 => self.reload(input),
            _ => self.process(),
        }
    }

    /// A packet to a service, or nearly so.
    fn request(&mut self, input: &mut Input) {
        let (vip, port, is_tcp) = services()[input.below(SERVICES)];
        let src = (client(input.below(8), vip.is_ipv4()), 1024 + input.u16() % 8);
        let tcp_flags = [flags::SYN, flags::ACK, flags::ACK | flags::FIN, flags::RST, flags::SYN | flags::ACK, 0];
        let ttl = [64, 64, 64, 1, 0, 255][input.below(6)];
        let tcp_flags = is_tcp.then(|| tcp_flags[input.below(6)]);
        let flow = Flow { src, dst: (vip, port), tcp_flags, ttl };
        let payload = [0, 1, 18, 1400, 1430, 1452, 1460, 1480][input.below(8)];
        let in_port = input.below(8) / 7;
        let frame = flow.frame(link(in_port, self.family), payload);
        self.send(frame, in_port, input);
    }

    fn raw(&mut self, input: &mut Input) {
        let (in_port, len) = (input.below(2), usize::from(input.u8()));
        let mut frame = link_frame(link(in_port, self.family), EtherType(input.u16()), &[]);
        frame.extend_from_slice(input.bytes(len));
        self.send(frame, in_port, input);
    }

    /// What the receiver of a sent TCP or UDP packet answers.
    fn answer(&mut self, input: &mut Input) {
        let Some((port, flow)) = self.pick(input).and_then(|(port, frame)| Some((port, flow_of(&frame)?))) else {
            return;
        };
        let tcp_flags = [flags::SYN | flags::ACK, flags::ACK, flags::FIN | flags::ACK, flags::RST, flags::SYN];
        let tcp_flags = flow.tcp_flags.map(|_| tcp_flags[input.below(5)]);
        let back = Flow { src: flow.dst, dst: flow.src, tcp_flags, ttl: 64 };
        let frame = back.frame(link(port, self.family), input.below(40));
        self.send(frame, port, input);
    }

    /// An ICMP error about something that was sent.
    fn error(&mut self, input: &mut Input) {
        let Some((port, frame)) = self.pick(input) else { return };
        let Ok(parsed) = parse(&frame, frame.len()) else { return };
        let Some(flow) = flow_of(&frame) else { return };
        let about = &frame[usize::from(parsed.l3)..parsed.ip_end()];
        // From the host itself or from a router on the way, and now and then to somebody else.
        let src = if input.below(2) == 0 { flow.dst.0 } else { client(input.below(8), flow.src.0.is_ipv4()) };
        let dst = if input.below(8) == 0 { client(6, flow.src.0.is_ipv4()) } else { flow.src.0 };
        let (quote_max, choice) = (20 + usize::from(input.u8()), input.u8());
        let frame = icmp_error(link(port, self.family), src, dst, about, quote_max, choice);
        self.send(frame, port, input);
    }

    fn ping(&mut self, input: &mut Input) {
        let vip = services()[input.below(SERVICES)].0;
        let to = if input.below(3) == 0 { client(6, vip.is_ipv4()) } else { vip };
        let frame = echo(link(0, self.family), client(input.below(8), vip.is_ipv4()), to, input.below(100));
        self.send(frame, 0, input);
    }

    /// ARP from the networks' hosts: questions, answers and claims.
    fn arp(&mut self, input: &mut Input) {
        let port = input.below(2);
        let hosts = [v4(10, 0, 0, 1), v4(10, 1, 0, 12), v4(10, 1, 0, 13), v4(10, 0, 0, 2), v4(192, 0, 2, 10)];
        let host = |input: &mut Input| match hosts[input.below(5)] {
            std::net::IpAddr::V4(host) => host,
            std::net::IpAddr::V6(_) => std::net::Ipv4Addr::UNSPECIFIED,
        };
        let message = Arp {
            operation: 1 + u16::from(input.u8() % 3),
            sha: PEER,
            spa: host(input),
            tha: MacAddr::ZERO,
            tpa: host(input),
        };
        let mut bytes = [0; 28];
        message.emit(&mut bytes);
        let mut link = link(port, self.family);
        if input.below(2) == 0 {
            link.dst = MacAddr::BROADCAST;
        }
        self.send(link_frame(link, EtherType::ARP, &bytes), port, input);
    }

    /// One of the frames that were sent, the newest first.
    fn pick(&self, input: &mut Input) -> Option<(usize, Vec<u8>)> {
        let index = usize::from(input.u8());
        self.sent.iter().rev().nth(index % self.sent.len().max(1)).cloned()
    }

    /// Puts a frame into the burst, changed in up to three places, cut, padded, or in two segments.
    fn send(&mut self, mut frame: Vec<u8>, port: usize, input: &mut Input) {
        let how = input.u8();
        let mut seen = usize::MAX;
        match how {
            0..160 => {}
            160..220 if !frame.is_empty() => {
                for _ in 0..1 + how % 3 {
                    let at = usize::from(input.u16()) % frame.len().min(120);
                    frame[at] ^= input.u8();
                }
            }
            220..235 => frame.truncate(usize::from(input.u8())),
            235..245 => frame.extend_from_slice(&[0x55; 20]),
            _ => seen = usize::from(input.u8()),
        }
        self.burst.push(Frame::new(frame, port, seen));
        if self.burst.len() == BURST {
            self.process();
        }
    }

    fn process(&mut self) {
        let burst = std::mem::take(&mut self.burst);
        self.received += burst.len() as u64;
        self.dispatch(0, Origin::Port, burst);
        self.turn();
    }

    fn dispatch(&mut self, worker: usize, origin: Origin, mut burst: Vec<Frame>) {
        // Nobody can own it, so that a place that was left out shows.
        const UNSET: Verdict = Verdict::Handoff(WorkerId(u16::MAX));
        let mut verdicts = [UNSET; BURST];
        let (now, snapshot) = (self.now(), self.snapshot.clone());
        let shard = &mut self.workers[worker].shard;
        let count = path::process(shard, &snapshot, now, origin, |f: &Frame| f.port, &mut burst, &mut verdicts).count;
        assert_eq!(count, burst.len());
        assert!(verdicts[..count].iter().all(|&v| v != UNSET) && verdicts[count..].iter().all(|&v| v == UNSET));
        for (frame, verdict) in burst.into_iter().zip(verdicts) {
            self.carry_out(worker, frame, verdict);
        }
    }

    fn carry_out(&mut self, worker: usize, frame: Frame, verdict: Verdict) {
        let count = self.workers.len();
        let w = &mut self.workers[worker];
        let is_final = !matches!(verdict, Verdict::Handoff(_) | Verdict::Hold(_) | Verdict::Await(_));
        w.verdicts += u64::from(is_final);
        let now = Now::from_ns(self.now_ns);
        match verdict {
            Verdict::Tx(port) => self.sent(frame, port),
            Verdict::Fragment(port) => self.sent_in_pieces(frame, port),
            Verdict::Reply(port) => {
                assert_eq!(port, frame.port);
                check::ours(frame.whole());
            }
            Verdict::Punt(..) => unreachable!("no port has a host"),
            Verdict::Drop(reason) => assert!(DropReason::ALL.contains(&reason)),
            Verdict::Hold(slot) => {
                let port = w.shard.neighbors.port(slot).expect("held for nobody");
                w.verdicts += u64::from(w.pending.hold(slot, port, frame).is_err());
            }
            Verdict::Await(tag) => {
                let oldest = w.pending.fragments.hold(&w.shard.counters, tag, frame.port, now, frame);
                w.verdicts += u64::from(oldest.is_some());
            }
            Verdict::Handoff(owner) => {
                // Fragments go on from their home worker to the owner; one that went in a circle would fill the stack.
                assert!(owner.index() != worker && owner.index() < count, "{owner:?}");
                self.dispatch(owner.index(), Origin::Ring, vec![frame]);
            }
        }
    }

    /// A frame that is too long for its port: right as a whole, and its pieces fit.
    fn sent_in_pieces(&mut self, frame: Frame, port: PortId) {
        let out = self.snapshot.port(port).expect("sent by a port that is not there");
        let whole = frame.whole();
        assert!(is_too_long(whole, whole.len(), out.mtu));
        check::forwarded(&frame.came, whole, u16::MAX, &self.snapshot);
        let mut end = None;
        // Without the path's own memory: the identification matters to IPv6 alone.
        for piece in Pieces::new(whole, out.mtu, 7).expect("sent in pieces, but cannot be cut") {
            assert!(piece.header().len() + piece.data.len() <= usize::from(out.mtu) + 18);
            assert!(end.is_none_or(|end| end == piece.data.start));
            end = Some(piece.data.end);
        }
        assert_eq!(end, Some(whole.len()));
    }

    fn sent(&mut self, frame: Frame, port: PortId) {
        let out = self.snapshot.port(port).expect("sent by a port that is not there");
        let whole = frame.whole();
        assert_eq!(whole[6..12], out.mac.0);
        check::forwarded(&frame.came, whole, out.mtu, &self.snapshot);
        if self.sent.len() == 16 {
            self.sent.remove(0);
        }
        self.sent.push((port.index(), whole.to_vec()));
    }

    /// Lets go on what waited for first fragments that have come, and drops what waited for too long.
    fn reunite(&mut self, worker: usize) {
        while let Some(tag) = self.workers[worker].shard.fragments.woken() {
            let Worker { shard, pending, .. } = &mut self.workers[worker];
            let mut burst = Vec::new();
            if !pending.fragments.take(&shard.counters, tag, BURST, |_, frame| burst.push(frame)) {
                shard.fragments.is_awake();
            }
            self.dispatch(worker, Origin::Ring, burst);
        }
        let now = self.now();
        let Worker { shard, pending, verdicts } = &mut self.workers[worker];
        let before = pending.fragments.len();
        pending.fragments.expire(&shard.counters, now, drop);
        *verdicts += (before - pending.fragments.len()) as u64;
    }

    /// What a poll loop does between bursts.
    fn turn(&mut self) {
        let (now, snapshot) = (self.now(), self.snapshot.clone());
        let mut learned = Vec::new();
        for (index, w) in self.workers.iter_mut().enumerate() {
            w.shard.tick(&snapshot, now);
            learned.extend(w.shard.learned.drain(..).map(|l| (index, l)));
        }
        (0..self.workers.len()).for_each(|worker| self.reunite(worker));
        let mut settled = Vec::new();
        for (index, w) in self.workers.iter_mut().enumerate() {
            learned.iter().filter(|(from, _)| *from != index).for_each(|&(_, l)| w.shard.hear(l, now));
            w.shard.outbox.drain(..).for_each(|out| check::ours(out.frame.as_bytes()));
            while let Some((slot, answered)) = w.shard.settled.pop() {
                let mac = if answered { w.shard.neighbors.mac(slot) } else { None };
                w.pending.release(slot, |port, mut frame| {
                    w.verdicts += 1;
                    if let Some(mac) = mac {
                        path::complete(&mut frame, mac);
                        settled.push((frame, port));
                    }
                });
            }
        }
        // A held packet was made for the snapshot of its time, so only its port is looked at again.
        for (frame, port) in settled {
            assert!(snapshot.port(port).is_some() && frame.whole().len() >= 14);
        }
    }

    fn wait(&mut self, input: &mut Input) {
        self.process();
        let ms = u64::from(input.u16()) * [1, 1, 1, 100][input.below(4)];
        self.now_ns += ms * 1_000_000;
        self.turn();
    }

    fn reload(&mut self, input: &mut Input) {
        self.process();
        let next = config(self.family, input.below(7));
        let next = self.compiler.compile(next, &Overrides::default(), Some(&self.snapshot)).unwrap();
        for w in &mut self.workers {
            w.shard.adopt(&next, Some(&self.snapshot));
        }
        self.snapshot = Arc::new(next);
        self.turn();
    }

    fn finish(mut self) {
        self.process();
        let (now, held) = (self.now(), self.workers.iter().map(|w| w.pending.len() as u64).sum::<u64>());
        assert_eq!(self.received, self.workers.iter().map(|w| w.verdicts).sum::<u64>() + held);
        for w in &mut self.workers {
            w.shard.sweep_all(&self.snapshot, now);
            connections(&w.shard, &self.snapshot, now);
        }
    }

    fn now(&self) -> Now {
        Now::from_ns(self.now_ns)
    }
}

/// What is counted of connections is what is in the table.
pub fn connections(shard: &Shard, snapshot: &Snapshot, now: Now) {
    let (rows, more) = shard.connections(0, usize::MAX / 2, now);
    assert_eq!(more, None);
    let counters = &shard.counters;
    let active = counters.connections_active.get();
    assert_eq!(active, rows.len() as u64, "active connections");
    assert!(active <= shard.capacity());
    let ended = counters.connections_expired.get() + counters.connections_evicted.get();
    assert!(counters.connections_created.get() >= active + ended);
    for backend in snapshot.backends() {
        let count = rows.iter().filter(|row| row.backend == backend.id).count() as u64;
        let counted = u64::from(counters.connections(backend.id));
        assert_eq!(counted, count, "connections of backend {} at {}", backend.name, backend.address);
    }
}

/// The flow of a frame, of the packet in the tunnel if there is one; nothing for what is neither TCP nor UDP.
fn flow_of(frame: &[u8]) -> Option<Flow> {
    let parsed = parse(frame, frame.len()).ok()?;
    let (src, dst) = match parsed.kind {
        Kind::V4 => {
            let tuple = parsed.five_tuple_v4(frame);
            (tuple.src.into(), tuple.dst.into())
        }
        Kind::V6 => {
            let tuple = parsed.five_tuple_v6(frame);
            (tuple.src.into(), tuple.dst.into())
        }
        Kind::Arp => return None,
    };
    let tcp_flags = match parsed.protocol {
        6 => Some(parsed.tcp_flags),
        17 => None,
        _ => return None,
    };
    Some(Flow { src: (src, parsed.sport), dst: (dst, parsed.dport), tcp_flags, ttl: parsed.ttl })
}
