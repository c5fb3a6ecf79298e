//! Two small TCP ends with the functions between them, over links that lose, repeat and reorder: the backend gets the header and
//! the client's stream, exactly, and the client is never told of bytes that it has not sent.

use proptest::prelude::*;

use super::tests::{Tcp, ends, frame, read};
use super::*;
use crate::lb::packet::HeapPacket;
use crate::lb::testing::checksums_are_right;
use crate::wire::parse::parse;
use flags::{ACK, FIN, PSH, SYN};

/// A byte that probes carry and no stream has.
const GARBAGE: u8 = 0xEE;
const BACKEND_ISN: u32 = 77_000;
/// Largest segment of the client's.
const MSS: usize = 40;

/// xorshift64*.
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 16
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    fn percent(&mut self, n: usize) -> bool {
        self.below(100) < n
    }
}

/// Offsets are from the first byte of the stream on; the FIN is one more.
struct Client {
    isn: u32,
    stream: Vec<u8>,
    is_open: bool,
    acked: usize,
    sent: usize,
}

impl Client {
    fn end(&self) -> usize {
        self.stream.len() + 1
    }

    /// Everything from `from` to `to`, the FIN if it is in there.
    fn segment(&self, from: usize, to: usize) -> Tcp {
        let data = self.stream[from.min(self.stream.len())..to.min(self.stream.len())].to_vec();
        let fin = if from < to && to == self.end() { FIN } else { 0 };
        let seq = self.isn.wrapping_add(1 + from as u32);
        Tcp {
            seq,
            ack: BACKEND_ISN + 1,
            flags: ACK | fin | if data.is_empty() { 0 } else { PSH },
            data,
            ..Tcp::default()
        }
    }

    fn new_segment(&mut self, len: usize) -> Tcp {
        let (from, to) = (self.sent, self.end().min(self.sent + len));
        self.sent = to;
        self.segment(from, to)
    }

    /// One of the things that a stack may send at this time.
    fn send(&mut self, rng: &mut Rng) -> Tcp {
        if !self.is_open {
            // Now and then with Fast Open, and data that is not to get through.
            let (options, data) = match rng.below(3) {
                0 => (vec![34, 6, 1, 2, 3, 4], self.stream[..self.stream.len().min(9)].to_vec()),
                _ => (vec![2, 4, 5, 0xb4], vec![]),
            };
            return Tcp { seq: self.isn, flags: SYN, options, data, ..Tcp::default() };
        }
        let in_flight = self.sent - self.acked;
        match rng.below(8) {
            0..3 if self.sent < self.end() => {
                let len = 1 + rng.below(MSS);
                self.new_segment(len)
            }
            // The oldest again, and any piece again, cut as it was not cut before.
            3 | 4 if in_flight > 0 => self.segment(self.acked, self.acked + in_flight.min(1 + rng.below(MSS))),
            5 if in_flight > 0 => {
                let from = self.acked + rng.below(in_flight);
                self.segment(from, self.sent.min(from + 1 + rng.below(MSS)))
            }
            // A probe of an idle connection, with a byte or without.
            6 if in_flight == 0 => {
                let data = vec![GARBAGE; rng.below(2)];
                let seq = self.isn.wrapping_add(self.acked as u32);
                Tcp { seq, ack: BACKEND_ISN + 1, flags: ACK, data, ..Tcp::default() }
            }
            _ => Tcp { flags: ACK, data: vec![], ..self.segment(self.sent, self.sent) },
        }
    }

    /// Takes what the backend says; `has` tells whether the backend really has bytes of the stream.
    fn receive(&mut self, tcp: &Tcp, header_len: usize, has: impl Fn(usize) -> bool) {
        assert_ne!(tcp.flags & ACK, 0);
        let offset = |number: u32| i64::from(number.wrapping_sub(self.isn.wrapping_add(1)) as i32);
        let acked = offset(tcp.ack);
        assert!(acked <= self.sent as i64, "{acked} of {} acknowledged", self.sent);
        // Old acknowledgments may come late, but none so old that a stack would answer.
        assert!(acked >= -(header_len as i64), "{acked}");
        if tcp.flags & SYN != 0 && !self.is_open {
            assert_eq!(acked, 0);
            self.is_open = true;
        }
        self.acked = self.acked.max(acked.try_into().unwrap_or(0));
        let bytes = frame(false, false, tcp);
        for option in TcpPacket::new_checked(&bytes[34..]).unwrap().options() {
            let TcpOption::Sack(blocks) = option else { continue };
            for block in blocks.chunks(8) {
                let edge = |at: usize| offset(u32::from_be_bytes(block[at..at + 4].try_into().unwrap()));
                assert!(
                    edge(0) < edge(4) && edge(4) <= self.sent as i64,
                    "{} to {} of {}",
                    edge(0),
                    edge(4),
                    self.sent
                );
                // The byte of a probe lies before the stream.
                assert!((edge(0).max(0)..edge(4)).all(|at| has(at as usize)), "{} to {}", edge(0), edge(4));
            }
        }
    }
}

/// Offsets are from the first byte of the header on.
struct Backend {
    isn: Option<u32>,
    is_open: bool,
    expected: Vec<u8>,
    has: Vec<bool>,
    next: usize,
}

impl Backend {
    /// The answer, with whatever selective acknowledgments there are to give.
    fn receive(&mut self, tcp: &Tcp, rng: &mut Rng) -> Option<Tcp> {
        if tcp.flags & SYN != 0 {
            assert!(tcp.data.is_empty(), "data before the header");
            let isn = *self.isn.get_or_insert(tcp.seq);
            assert_eq!(isn, tcp.seq);
            let open = if self.is_open { (BACKEND_ISN + 1, ACK) } else { (BACKEND_ISN, SYN | ACK) };
            return Some(Tcp { seq: open.0, ack: self.ack(), flags: open.1, ..Tcp::default() });
        }
        let isn = self.isn?;
        assert_eq!(tcp.ack, BACKEND_ISN + 1, "what the client acknowledges is left alone");
        let from = tcp.seq.wrapping_sub(isn.wrapping_add(1)) as i32;
        let to = i64::from(from) + tcp.data.len() as i64 + i64::from(tcp.flags & FIN != 0);
        self.is_open |= from >= 0;
        let mut repeated = None::<(usize, usize)>;
        for at in i64::from(from).max(0)..to {
            let (at, byte) = (at as usize, tcp.data.get((at - i64::from(from)) as usize));
            let is_new = at >= self.next && !self.has[at];
            // The FIN stands behind the last byte and nowhere else.
            let right = self.expected.get(at) == byte;
            assert!(right || at < self.next && byte == Some(&GARBAGE), "{byte:?} at {at} of {}", self.expected.len());
            if is_new {
                self.has[at] = true;
            } else {
                repeated = Some((repeated.map_or(at, |(first, _)| first), at + 1));
            }
        }
        self.next += self.has[self.next..].iter().take_while(|has| **has).count();
        let blocks = self.blocks(repeated);
        let options = sack(isn.wrapping_add(1), &blocks, rng.below(4));
        Some(Tcp { seq: BACKEND_ISN + 1, ack: self.ack(), flags: ACK, options, ..Tcp::default() })
    }

    fn ack(&self) -> u32 {
        self.isn.unwrap_or(0).wrapping_add(1 + self.next as u32)
    }

    /// What arrived twice, then what arrived too early (RFC 2883 section 4, RFC 2018 section 4).
    fn blocks(&self, repeated: Option<(usize, usize)>) -> Vec<(usize, usize)> {
        let mut blocks: Vec<_> = repeated.into_iter().collect();
        let mut at = self.next;
        while let Some(from) = (at..self.has.len()).find(|&at| self.has[at]) {
            at = (from..self.has.len()).find(|&at| !self.has[at]).unwrap_or(self.has.len());
            blocks.push((from, at));
        }
        blocks.truncate(4);
        blocks
    }
}

/// The option behind `lead` bytes of padding, if there is something to say.
fn sack(first: u32, blocks: &[(usize, usize)], lead: usize) -> Vec<u8> {
    if blocks.is_empty() {
        return Vec::new();
    }
    let mut options = vec![1; lead];
    options.extend([5, 2 + 8 * blocks.len() as u8]);
    for &(from, to) in blocks {
        options.extend(first.wrapping_add(from as u32).to_be_bytes());
        options.extend(first.wrapping_add(to as u32).to_be_bytes());
    }
    options
}

struct World {
    v6: bool,
    rng: Rng,
    client: Client,
    backend: Backend,
    progress: Option<Progress>,
    /// Frames from the client, to the backend, from the backend, to the client.
    links: [Vec<Vec<u8>>; 4],
    header_len: usize,
}

impl World {
    fn new(v6: bool, seed: u64, isn: u32, len: usize) -> Self {
        let mut rng = Rng(seed | 1);
        let stream: Vec<u8> = (0..len).map(|_| rng.next() as u8 & 0x7f).collect();
        let header_len = ends(v6).header_len();
        let mut expected = vec![0; header_len];
        ends(v6).emit(&mut expected).unwrap();
        expected.extend(&stream);
        // A FIN takes a place as well.
        let has = vec![false; expected.len() + 1];
        Self {
            v6,
            rng,
            client: Client { isn, stream, is_open: false, acked: 0, sent: 0 },
            backend: Backend { isn: None, is_open: false, expected, has, next: 0 },
            progress: None,
            links: Default::default(),
            header_len,
        }
    }

    fn client_sends(&mut self) {
        let tcp = self.client.send(&mut self.rng);
        self.links[0].push(frame(self.v6, true, &tcp));
    }

    /// Takes one frame off a link to where it goes.
    fn arrive(&mut self, link: usize, bytes: &[u8]) {
        let out = match link {
            0 => self.forward(bytes),
            1 => self.backend.receive(&read(bytes), &mut self.rng).map(|tcp| frame(self.v6, false, &tcp)),
            2 => self.back(bytes),
            _ => {
                let (has, header_len) = (&self.backend.has, self.header_len);
                self.client.receive(&read(bytes), header_len, |at| has[header_len + at]);
                None
            }
        };
        if let Some(bytes) = out {
            checksums_are_right(&bytes);
            self.links[link + 1].push(bytes);
        }
    }

    fn forward(&mut self, bytes: &[u8]) -> Option<Vec<u8>> {
        let mut packet = HeapPacket::new(bytes);
        let parsed = parse(bytes, bytes.len()).unwrap();
        let segment = Segment::of(bytes, &parsed).unwrap();
        let progress = self.progress.get_or_insert(Progress::new(segment.seq));
        let now = request(&mut packet, &parsed, progress, ends(self.v6), 1500).unwrap();
        assert_eq!(now, parse(packet.bytes(), packet.frame_len()).unwrap());
        Some(packet.bytes().to_vec())
    }

    fn back(&mut self, bytes: &[u8]) -> Option<Vec<u8>> {
        let mut bytes = bytes.to_vec();
        let parsed = parse(&bytes, bytes.len()).unwrap();
        reply(&mut bytes, &parsed, self.progress.as_mut().unwrap(), self.header_len).unwrap();
        Some(bytes)
    }

    /// Anything that may happen on the way: any frame next, lost, or delivered and still there.
    fn step(&mut self) {
        let link = self.rng.below(5);
        if link == 4 || self.links[link].is_empty() {
            return self.client_sends();
        }
        let at = self.rng.below(self.links[link].len());
        let bytes = if self.rng.percent(15) { self.links[link][at].clone() } else { self.links[link].swap_remove(at) };
        if !self.rng.percent(20) {
            self.arrive(link, &bytes);
        }
        // What is old enough has left the network.
        let count = self.links[link].len();
        self.links[link].drain(..count.saturating_sub(20));
    }

    /// The links become good ones; the client sends what is missing until all is acknowledged.
    fn finish(&mut self) {
        for _ in 0..200 {
            for link in 0..4 {
                for bytes in std::mem::take(&mut self.links[link]) {
                    self.arrive(link, &bytes);
                }
            }
            let is_taken = self.progress.is_some_and(|progress| progress.stage == Stage::Taken);
            if self.client.acked == self.client.end() && is_taken {
                return;
            }
            let client = &mut self.client;
            let tcp = if !client.is_open {
                Tcp { seq: client.isn, flags: SYN, ..Tcp::default() }
            } else if client.acked < client.sent {
                client.segment(client.acked, client.sent.min(client.acked + MSS))
            } else {
                client.new_segment(MSS)
            };
            self.links[0].push(frame(self.v6, true, &tcp));
        }
        panic!("{} of {} acknowledged, {:?}", self.client.acked, self.client.end(), self.progress);
    }
}

/// A whole connection; how many segments it took is not looked at.
fn run(v6: bool, seed: u64, isn: u32, len: usize, steps: usize) {
    let mut world = World::new(v6, seed, isn, len);
    for _ in 0..steps {
        world.step();
    }
    world.finish();
    assert_eq!(world.backend.next, world.header_len + len + 1, "header, stream and FIN");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn the_backend_gets_the_header_and_the_stream(
        v6 in any::<bool>(),
        seed in any::<u64>(),
        isn in prop_oneof![any::<u32>(), (u32::MAX - 400)..=u32::MAX, Just(0), Just(i32::MAX as u32)],
        len in prop_oneof![Just(0usize), 1usize..300],
        steps in 0usize..250,
    ) {
        run(v6, seed, isn, len, steps);
    }
}

#[test]
fn a_stream_without_faults_arrives() {
    for len in [0, 1, 500] {
        run(false, 1, 100, len, 0);
        run(true, 1, u32::MAX, len, 0);
    }
}
