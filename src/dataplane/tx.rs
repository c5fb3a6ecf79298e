//! What leaves by one port: collected to bursts, sent with a bounded wait, counted by what it was.

use dpdk_ffi::{Mbuf, MbufBurst, Mempool, MpProducer, RingConsumer, TxQueue};

use crate::lb::counters::Counters;
use crate::lb::ids::PortId;
use crate::lb::path::BURST;
use crate::lb::pieces::{PIECES_MAX, Piece, Pieces};
use crate::lb::verdict::DropReason;

/// What a leaving packet counts as.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Class {
    /// Forwarded.
    Forward,
    /// Our answer.
    Reply,
    /// A later piece of a forwarded packet that was too long.
    Rest,
    /// Ours, unasked; not an input packet.
    Own,
    /// The host's; not an input packet.
    Host,
}

impl Class {
    /// Carried in the mbuf's port field while it goes from one worker to another.
    fn code(self) -> u16 {
        self as u16
    }

    fn of(code: u16) -> Self {
        match code {
            0 => Self::Forward,
            1 => Self::Reply,
            2 => Self::Rest,
            3 => Self::Own,
            _ => Self::Host,
        }
    }
}

/// How this worker's packets reach a port.
pub(super) enum Way {
    /// By a transmit queue of its own, which also sends what other workers put into the ring.
    Queue(TxQueue, Option<RingConsumer>),
    /// Through the ring of a worker that has a queue.
    Ring(MpProducer),
    /// The device has no transmit queue: what leaves here goes nowhere, as `net_pcap` without an output does.
    Nowhere,
}

/// The ways to the wires of all ports; ports that share a device share one.
pub(super) struct Wires {
    tx: Vec<Tx>,
    /// Which of them is a port's.
    by_port: Box<[u8]>,
}

impl Wires {
    /// `devices` says which device each port is on, by its place in `tx`.
    pub(super) fn new(tx: Vec<Tx>, devices: &[usize]) -> Self {
        Self { tx, by_port: devices.iter().map(|&device| device as u8).collect() }
    }

    /// The way to a port's wire.
    #[inline]
    pub(super) fn get_mut(&mut self, port: PortId) -> Option<&mut Tx> {
        let &place = self.by_port.get(port.index())?;
        self.tx.get_mut(usize::from(place))
    }

    /// Whether there is such a port.
    #[inline]
    pub(super) fn has(&self, port: PortId) -> bool {
        port.index() < self.by_port.len()
    }

    /// Each once.
    #[inline]
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Tx> {
        self.tx.iter_mut()
    }
}

/// See the module.
pub(super) struct Tx {
    way: Way,
    forward: MbufBurst<BURST>,
    from_ring: MbufBurst<BURST>,
}

/// How often a full queue is tried again before packets are dropped; a device that moves at all has room by then.
const TRIES: u32 = 1000;

impl Tx {
    pub(super) fn new(way: Way) -> Self {
        Self { way, forward: MbufBurst::new(), from_ring: MbufBurst::new() }
    }

    /// Takes a packet that leaves here.
    #[inline]
    pub(super) fn send(&mut self, class: Class, mbuf: Mbuf, counters: &Counters) {
        send(&mut self.way, &mut self.forward, class, mbuf, counters);
    }

    /// Takes a forwarded packet that is too long, and sends it in pieces that fit an MTU; `id` is the identification of IPv6 fragments.
    /// All of them go out or none, as far as there are buffers.
    #[cold]
    pub(super) fn send_in_pieces(&mut self, mbuf: &Mbuf, mtu: u16, pool: &Mempool, id: u32, counters: &Counters) {
        let Some(pieces) = Pieces::new(mbuf.data(), mtu, id) else {
            return counters.drop_one(DropReason::TooBig);
        };
        let mut burst = MbufBurst::<PIECES_MAX>::new();
        for piece in pieces {
            let Some(copy) = copy_of(&piece, mbuf, pool) else { return counters.drop_one(DropReason::NoBuffer) };
            if burst.push(copy).is_err() {
                return counters.drop_one(DropReason::TooBig);
            }
        }
        for (number, piece) in burst.drain().enumerate() {
            if number == 0 {
                counters.fragments_sent.add(1);
                self.send(Class::Forward, piece, counters);
                // In order: the others do not wait for company.
                self.flush(counters);
            } else {
                self.send(Class::Rest, piece, counters);
            }
        }
    }

    /// Takes a whole burst of forwarded packets.
    #[inline]
    pub(super) fn send_all(&mut self, burst: &mut MbufBurst<BURST>, counters: &Counters) {
        // Packets of an earlier burst go first, as they came.
        self.flush(counters);
        transmit(&mut self.way, burst, Class::Forward, counters);
    }

    /// Sends what was collected; true if there was anything.
    #[inline]
    pub(super) fn flush(&mut self, counters: &Counters) -> bool {
        let any = !self.forward.is_empty();
        if any {
            transmit(&mut self.way, &mut self.forward, Class::Forward, counters);
        }
        any
    }

    /// Sends what other workers have put into the ring; true if there was anything.
    #[inline]
    pub(super) fn relay(&mut self, counters: &Counters) -> bool {
        let Way::Queue(_, Some(ring)) = &mut self.way else { return false };
        if ring.dequeue_burst(&mut self.from_ring) == 0 {
            return false;
        }
        for mbuf in self.from_ring.drain() {
            let class = Class::of(mbuf.port());
            send(&mut self.way, &mut self.forward, class, mbuf, counters);
        }
        self.flush(counters);
        true
    }
}

/// One piece of a frame in a buffer of its own; `None` if there is none, or it is too short.
fn copy_of(piece: &Piece, mbuf: &Mbuf, pool: &Mempool) -> Option<Mbuf> {
    let mut copy = pool.alloc()?;
    let len = piece.data.len();
    let is_copied = copy.extend_from_slice(piece.header()) && mbuf.copy_out(piece.data.start, copy.append(len)?) == len;
    is_copied.then_some(copy)
}

#[inline]
fn send(way: &mut Way, forward: &mut MbufBurst<BURST>, class: Class, mbuf: Mbuf, counters: &Counters) {
    if class == Class::Forward {
        if forward.is_full() {
            transmit(way, forward, Class::Forward, counters);
        }
        // There is room now, so nothing comes back.
        let _ = forward.push(mbuf);
        return;
    }
    let mut one = MbufBurst::<1>::new();
    let _ = one.push(mbuf);
    transmit(way, &mut one, class, counters);
}

/// Sends all of `burst`, or drops and counts what the port does not take.
fn transmit<const N: usize>(way: &mut Way, burst: &mut MbufBurst<N>, class: Class, counters: &Counters) {
    match way {
        Way::Queue(queue, _) => {
            let (before, bytes) = (burst.len() as u64, bytes_of(burst));
            retry(burst, |burst| queue.burst(burst));
            let (left, bytes_left) = if burst.is_empty() { (0, 0) } else { (burst.len() as u64, bytes_of(burst)) };
            count(counters, class, before - left, bytes - bytes_left);
        }
        Way::Ring(ring) => {
            for mbuf in burst.as_mut_slice() {
                mbuf.set_port(class.code());
            }
            retry(burst, |burst| ring.enqueue_burst(burst));
        }
        Way::Nowhere => {}
    }
    match class {
        Class::Forward | Class::Reply => {}
        // The first piece stands for the whole packet in every sum.
        Class::Own | Class::Rest => {
            counters.unsent.add(burst.len() as u64);
            burst.clear();
        }
        Class::Host => {
            counters.host_tx_dropped.add(burst.len() as u64);
            burst.clear();
        }
    }
    for _unsent in burst.drain() {
        counters.drop_one(DropReason::TxFull);
    }
}

/// Puts until all is taken, or the bound is reached.
pub(super) fn retry<const N: usize>(burst: &mut MbufBurst<N>, mut put: impl FnMut(&mut MbufBurst<N>) -> usize) {
    for tries in 0..TRIES {
        put(burst);
        if burst.is_empty() {
            return;
        }
        // Whoever holds the device or the ring up may share this CPU.
        if tries % 64 == 63 { std::thread::yield_now() } else { std::hint::spin_loop() }
    }
}

fn bytes_of<const N: usize>(burst: &MbufBurst<N>) -> u64 {
    burst.as_slice().iter().map(|m| m.frame_len() as u64).sum()
}

fn count(counters: &Counters, class: Class, packets: u64, bytes: u64) {
    match class {
        Class::Forward => {
            counters.tx_packets.add(packets);
            counters.tx_bytes.add(bytes);
        }
        Class::Reply => counters.replies.add(packets),
        Class::Rest => {
            counters.tx_bytes.add(bytes);
            counters.fragments_sent.add(packets);
        }
        Class::Own => {}
        Class::Host => counters.host_tx.add(packets),
    }
}
