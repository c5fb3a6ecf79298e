//! A poll loop: what comes in on its ports is looked at and answered, and what is due is sent.

use std::sync::Arc;

use dpdk_ffi::{Mbuf, MbufBurst, Mempool, RxQueue, TxQueue, clock};

use crate::clock::Clock;
use crate::flows::Flows;
use crate::frame::FRAME_LEN_MIN;
use crate::lane_client::ClientLane;
use crate::lane_sender::SenderLane;
use crate::live::{Control, Live, Phase};
use crate::neighbor::Neighbor;
use crate::profile::Mode;
use crate::receiver::Receiver;
use crate::seen::{Seen, Unseen, see};
use crate::server::Server;

/// Packets that are taken at once.
pub const BURST: usize = 32;
/// How often a full queue is tried again before answers are dropped.
const TRIES: u32 = 1000;
/// Turns without any work after which others may have the CPU.
const IDLE_TURNS: u32 = 256;

/// A port, as far as this loop has to do with it.
#[derive(Debug)]
pub struct LanePort {
    /// Its place in the profile.
    pub place: usize,
    /// What it does.
    pub mode: Mode,
    /// Queues to receive from.
    pub rx: Vec<RxQueue>,
    /// What leaves here.
    pub out: Out,
    /// Answers traffic.
    pub server: Option<Server>,
    /// Answers ARP and the like.
    pub neighbor: Neighbor,
    /// The clients of a port that is both.
    pub clients: Option<Flows>,
}

/// A transmit queue with what is collected for it.
#[derive(Debug)]
pub struct Out {
    /// `None` on a loop that only receives.
    pub tx: Option<TxQueue>,
    burst: MbufBurst<BURST>,
    /// Frames that the device did not take.
    pub dropped: u64,
    /// Frames that it took.
    pub sent: u64,
}

impl Out {
    /// Nothing collected.
    #[must_use]
    pub const fn new(tx: Option<TxQueue>) -> Self {
        Self { tx, burst: MbufBurst::new(), dropped: 0, sent: 0 }
    }

    /// Takes a frame that leaves here.
    pub fn send(&mut self, mbuf: Mbuf) {
        if self.burst.is_full() {
            self.flush();
        }
        // There is room now, so nothing comes back.
        let _ = self.burst.push(mbuf);
    }

    /// Takes a copy of a frame that leaves here.
    pub fn send_copy(&mut self, pool: &Mempool, frame: &[u8]) {
        let copy = pool.alloc().and_then(|mut mbuf| mbuf.extend_from_slice(frame).then_some(mbuf));
        match copy {
            Some(mbuf) => self.send(mbuf),
            None => self.dropped += 1,
        }
    }

    /// Sends what was collected; a device that has no room for long loses it.
    pub fn flush(&mut self) {
        if let Some(tx) = &mut self.tx {
            for tries in 0..TRIES {
                if self.burst.is_empty() {
                    return;
                }
                self.sent += tx.burst(&mut self.burst) as u64;
                if tries % 64 == 63 {
                    std::thread::yield_now();
                }
            }
        }
        self.dropped += self.burst.len() as u64;
        self.burst.clear();
    }
}

/// See the module.
#[derive(Debug)]
pub struct Lane {
    /// Its ports.
    pub ports: Vec<LanePort>,
    /// What it knows of the packets that came.
    pub receiver: Receiver,
    /// Sends packets by the first of its ports.
    pub sender: Option<SenderLane>,
    /// Opens connections by the first of its ports.
    pub client: Option<ClientLane>,
    /// Where frames are made.
    pub pool: Mempool,
    /// Time of the run.
    pub clock: Clock,
    /// How far the run is.
    pub control: Arc<Control>,
    /// Its counters.
    pub live: Arc<Live>,
}

impl Lane {
    /// Runs until it is told to stop, and comes back with all that it has counted.
    #[must_use]
    pub fn run(mut self) -> Self {
        let mut idle_turns = 0;
        loop {
            let phase = self.control.phase();
            if phase == Phase::Stopped {
                break;
            }
            let is_busy = self.turn(phase);
            idle_turns = if is_busy { 0 } else { idle_turns + 1 };
            if idle_turns >= IDLE_TURNS {
                // Whoever is to answer may wait for this CPU.
                std::thread::yield_now();
            }
        }
        self.finish();
        self
    }

    /// One look at everything; whether there was anything to do.
    fn turn(&mut self, phase: Phase) -> bool {
        let mut is_busy = false;
        for place in 0..self.ports.len() {
            is_busy |= self.receive(place);
        }
        let now = clock::tsc();
        if let (Some(sender), Some(port)) = (&mut self.sender, self.ports.first_mut()) {
            if let Some(tx) = &mut port.out.tx {
                is_busy |= sender.turn(tx, &self.pool, &self.clock, now, phase == Phase::Sending, &self.control);
            }
            self.live.sent.set(sender.counts.packets);
        }
        if let (Some(client), Some(port)) = (&mut self.client, self.ports.first_mut()) {
            is_busy |= client.turn(&mut port.out, &self.pool, &self.clock, now, phase == Phase::Sending, &self.control);
            let counts = client.connect.counts();
            self.live.opened.set(counts.opened);
            self.live.completed.set(counts.completed);
            self.live.failed.set(counts.timed_out + counts.reset);
            self.live.active.set(client.connect.active().into());
        }
        for port in &mut self.ports {
            port.out.flush();
        }
        is_busy
    }

    fn receive(&mut self, place: usize) -> bool {
        let Some(port) = self.ports.get_mut(place) else { return false };
        let mut any = false;
        for queue in 0..port.rx.len() {
            let mut burst = MbufBurst::<BURST>::new();
            let Some(rx) = port.rx.get_mut(queue) else { continue };
            if rx.burst(&mut burst) == 0 {
                continue;
            }
            any = true;
            let now_ns = self.clock.ns(clock::tsc());
            let frames = Frames {
                port: &mut *port,
                receiver: &mut self.receiver,
                client: self.client.as_mut(),
                pool: &self.pool,
                now_ns,
            };
            frames.take(&mut burst);
        }
        if any {
            self.live.received.set(self.receiver.counts.packets);
            self.live.unique.set(self.receiver.sequence().unique());
            if let Some(server) = &port.server {
                let counts = server.counts();
                self.live.answered.set(counts.syns + counts.data_segments + counts.fins + counts.datagrams);
            }
        }
        any
    }

    /// Gives back what could not be sent.
    fn finish(&mut self) {
        if let Some(sender) = &mut self.sender {
            sender.finish();
        }
    }
}

/// Received frames, and who may want them.
struct Frames<'l> {
    port: &'l mut LanePort,
    receiver: &'l mut Receiver,
    client: Option<&'l mut ClientLane>,
    pool: &'l Mempool,
    now_ns: u64,
}

impl Frames<'_> {
    fn take(mut self, burst: &mut MbufBurst<BURST>) {
        self.receiver.counts.frames += burst.len() as u64;
        if self.port.mode.is_server() {
            for mut mbuf in burst.drain() {
                if let Some((start, len)) = self.look(&mut mbuf) {
                    answer(&mut self.port.out, mbuf, start, len);
                }
            }
            return;
        }
        for mbuf in burst.as_slice().iter().skip(1) {
            mbuf.prefetch();
        }
        for mbuf in burst.as_mut_slice() {
            self.look(mbuf);
        }
        burst.clear();
    }

    /// Looks at a frame. If the server has made an answer of it, returns where that begins and how long it is.
    fn look(&mut self, mbuf: &mut Mbuf) -> Option<(usize, usize)> {
        let frame_len = mbuf.frame_len();
        self.receiver.counts.bytes += frame_len as u64;
        let frame = mbuf.data_mut();
        let seen = match see(frame, frame_len) {
            Ok(seen) => seen,
            Err(Unseen::Malformed) => {
                self.receiver.counts.malformed += 1;
                return None;
            }
            Err(Unseen::Arp(offset)) => {
                self.receiver.counts.other += 1;
                if let Some(answer) = self.port.neighbor.answer_arp(frame, offset) {
                    self.port.out.send_copy(self.pool, answer.frame());
                }
                return None;
            }
        };
        if let Some(answer) = self.port.neighbor.answer_solicit(frame, &seen) {
            self.receiver.counts.other += 1;
            self.port.out.send_copy(self.pool, answer.frame());
            return None;
        }
        if self.is_for_server(&seen) {
            let len = self.port.server.as_mut()?.answer(frame, &seen)?;
            return Some((seen.start, len));
        }
        match &mut self.client {
            Some(client) => {
                if !client.take(frame, &seen, self.now_ns) {
                    self.receiver.counts.other += 1;
                }
            }
            None => self.receiver.take(frame, &seen, self.now_ns),
        }
        None
    }

    fn is_for_server(&self, seen: &Seen) -> bool {
        match self.port.mode {
            Mode::Server => true,
            Mode::Both => !self.port.clients.as_ref().is_some_and(|clients| clients.has_client(seen.tuple.dst)),
            Mode::Client | Mode::Receive => false,
        }
    }
}

/// Cuts an answer out of the frame that it was made in, and sends it.
fn answer(out: &mut Out, mut mbuf: Mbuf, start: usize, len: usize) {
    if !mbuf.adj(start) {
        return;
    }
    mbuf.truncate(len);
    if len < FRAME_LEN_MIN {
        match mbuf.append(FRAME_LEN_MIN - len) {
            Some(padding) => padding.fill(0),
            None => return,
        }
    }
    out.send(mbuf);
}
