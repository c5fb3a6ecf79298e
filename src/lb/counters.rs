//! Counters with one writer, a worker, and any number of readers.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::ids::BackendId;
use super::punt::PuntClass;
use super::response_times::{Measured, Meter};
use super::verdict::DropReason;

/// A number that one thread changes and others may read at any time.
///
/// The writer loads and stores without a locked instruction, which is what makes it cost nothing; a second writer
/// would lose counts.
#[derive(Default, Debug)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds; only the owning worker may call this.
    #[inline]
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }

    /// Takes away, stopping at zero; for gauges.
    #[inline]
    pub fn sub(&self, n: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).saturating_sub(n), Ordering::Relaxed);
    }

    /// Overwrites; for gauges.
    #[inline]
    pub fn set(&self, n: u64) {
        self.0.store(n, Ordering::Relaxed);
    }

    /// The value now.
    #[inline]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A small number that one thread moves up and down by one and others may read at any time: half as wide as a [`Counter`], so
/// that many lie in a cache line.
#[derive(Default, Debug)]
struct Gauge(AtomicU32);

impl Gauge {
    #[inline]
    fn rise(&self) {
        self.0.store(self.0.load(Ordering::Relaxed).saturating_add(1), Ordering::Relaxed);
    }

    #[inline]
    fn fall(&self) {
        self.0.store(self.0.load(Ordering::Relaxed).saturating_sub(1), Ordering::Relaxed);
    }
}

/// What one worker counts for one backend.
#[derive(Default, Debug)]
pub struct BackendCounters {
    /// Packets sent to the backend and, through NAT, back from it.
    pub packets: Counter,
    /// Their bytes, from the Ethernet header, as received.
    pub bytes: Counter,
    /// Connections ever opened.
    pub connections_total: Counter,
}

/// How a backend answers TCP connections through NAT that clients open, as one worker sees it. Only handshakes touch it.
#[derive(Default, Debug)]
pub struct HandshakeCounters {
    /// Connections that a SYN has opened.
    pub opened: Counter,
    /// Those of them to which the backend has said something.
    pub answered: Counter,
    /// Those to which it has said RST.
    pub refused: Counter,
}

/// All counters of one worker.
#[derive(Debug)]
pub struct Counters {
    /// Packets taken from ports.
    pub rx_packets: Counter,
    /// Their bytes, from the Ethernet header.
    pub rx_bytes: Counter,
    /// Packets forwarded, counted when the port took them.
    pub tx_packets: Counter,
    /// Their bytes.
    pub tx_bytes: Counter,
    /// Packets answered by ourselves: ARP, neighbour discovery, echo, ICMP errors.
    pub replies: Counter,
    /// Packets handed to the host's network stack.
    pub punts: Counter,
    /// Frames of the host's that left by a port. Not part of `tx_packets`.
    pub host_tx: Counter,
    /// Frames of the host's that the port did not take, or for which there was no buffer.
    pub host_tx_dropped: Counter,
    /// Packets passed to the worker that owns their connection.
    pub handoffs: Counter,
    /// Frames we sent unasked: ARP requests, solicitations, announcements.
    pub originated: Counter,
    /// Of those, frames that found no packet buffer or no room in a transmit queue.
    pub unsent: Counter,
    /// ICMP errors that were due to a sender and not sent, because there were too many.
    pub errors_limited: Counter,
    /// Packets without a connection that tunnel modes forwarded by the consistent hash.
    pub stateless: Counter,
    /// Packets in the middle of a TCP connection that tunnel modes took over, because another node may have owned it.
    pub adopted: Counter,
    /// Frames that packets were sent in that were too long for their port; each packet counts once in `tx_packets`.
    pub fragments_sent: Counter,
    /// Connections open now.
    pub connections_active: Counter,
    /// Connections ever opened.
    pub connections_created: Counter,
    /// Connections ended by their timeout.
    pub connections_expired: Counter,
    /// Half-open connections that gave their place to newer ones.
    pub connections_evicted: Counter,
    /// Replies to local ports of full-NAT.
    pub local_replies: Counter,
    /// Those of them that arrived at another worker than their connection's.
    pub local_handoffs: Counter,
    /// Clients whose backend is forgotten before its time, for want of room.
    pub clients_evicted: Counter,
    /// Local ports that connections have now.
    pub local_ports: Counter,
    /// Local ports that rest now.
    pub local_ports_resting: Counter,
    /// Packets that opened or changed a connection, one a burst, and came with a partial checksum.
    pub partial_checksums: Counter,
    /// The port by which the last of them came.
    pub partial_port: Counter,
    /// Packets that wait now: for their next hop's MAC address, and fragments for the first one of their datagram.
    pub held: Counter,
    /// Fragments of TCP and UDP that were looked at, at the home worker of their datagram.
    pub fragments: Counter,
    /// Fragments that wait for the first one of their datagram now.
    pub fragments_waiting: Counter,
    /// Turns of the poll loop.
    pub turns: Counter,
    /// Turns that found packets.
    pub busy_turns: Counter,
    /// Packets that those turns found, in ports and in the rings of other workers.
    pub busy_packets: Counter,
    /// TSC cycles spent in turns that found packets.
    pub busy_cycles: Counter,
    /// TSC cycles spent asleep for want of packets.
    pub sleep_cycles: Counter,
    /// Generation of the snapshot in use.
    pub generation: Counter,
    punted: [Counter; PuntClass::COUNT],
    punt_limited: [Counter; PuntClass::COUNT],
    drops: [Counter; DropReason::COUNT],
    backends: Box<[BackendCounters]>,
    /// Connections open now, by slot. Apart from the rest, because other workers read them at every new connection.
    connections: Box<[Gauge]>,
    handshakes: Box<[HandshakeCounters]>,
    /// By slot.
    responses: Box<[Meter]>,
}

impl Counters {
    /// All zero, with room for `backends_max` backend slots.
    pub fn new(backends_max: usize) -> Self {
        let zero = Counter::default;
        Self {
            rx_packets: zero(),
            rx_bytes: zero(),
            tx_packets: zero(),
            tx_bytes: zero(),
            replies: zero(),
            punts: zero(),
            host_tx: zero(),
            host_tx_dropped: zero(),
            handoffs: zero(),
            originated: zero(),
            unsent: zero(),
            errors_limited: zero(),
            stateless: zero(),
            adopted: zero(),
            fragments_sent: zero(),
            connections_active: zero(),
            connections_created: zero(),
            connections_expired: zero(),
            connections_evicted: zero(),
            local_replies: zero(),
            local_handoffs: zero(),
            clients_evicted: zero(),
            local_ports: zero(),
            local_ports_resting: zero(),
            partial_checksums: zero(),
            partial_port: zero(),
            held: zero(),
            fragments: zero(),
            fragments_waiting: zero(),
            turns: zero(),
            busy_turns: zero(),
            busy_packets: zero(),
            busy_cycles: zero(),
            sleep_cycles: zero(),
            generation: zero(),
            punted: std::array::from_fn(|_| zero()),
            punt_limited: std::array::from_fn(|_| zero()),
            drops: std::array::from_fn(|_| zero()),
            backends: (0..backends_max).map(|_| BackendCounters::default()).collect(),
            connections: (0..backends_max).map(|_| Gauge::default()).collect(),
            handshakes: (0..backends_max).map(|_| HandshakeCounters::default()).collect(),
            responses: (0..backends_max).map(|_| Meter::default()).collect(),
        }
    }

    /// Counts one dropped packet.
    #[inline]
    pub fn drop_one(&self, reason: DropReason) {
        self.drops[reason.index()].add(1);
    }

    /// Counts one packet handed to the host.
    pub fn punt_one(&self, class: PuntClass) {
        self.punts.add(1);
        self.punted[class.index()].add(1);
    }

    /// Packets of a class handed to the host.
    pub fn punted(&self, class: PuntClass) -> u64 {
        self.punted[class.index()].get()
    }

    /// Packets of a class beyond its rate.
    pub fn punt_limited(&self, class: PuntClass) -> &Counter {
        &self.punt_limited[class.index()]
    }

    /// Packets dropped for this reason.
    pub fn drops(&self, reason: DropReason) -> u64 {
        self.drops[reason.index()].get()
    }

    /// Packets dropped for any reason.
    pub fn drops_total(&self) -> u64 {
        self.drops.iter().map(Counter::get).sum()
    }

    /// The counters of a backend's slot; `None` only for a slot beyond the size given at start.
    #[inline]
    pub fn backend(&self, id: BackendId) -> Option<&BackendCounters> {
        self.backends.get(id.slot())
    }

    /// The handshakes of a backend's slot, as [`Self::backend`].
    #[inline]
    pub fn handshakes(&self, id: BackendId) -> Option<&HandshakeCounters> {
        self.handshakes.get(id.slot())
    }

    /// Of all backends, by slot.
    #[inline]
    pub fn backends(&self) -> &[BackendCounters] {
        &self.backends
    }

    /// Connections of a backend that are open now.
    #[inline]
    pub fn connections(&self, id: BackendId) -> u32 {
        self.connections.get(id.slot()).map_or(0, |open| open.0.load(Ordering::Relaxed))
    }

    /// Says how many connections of a backend are open.
    pub(super) fn set_connections(&self, id: BackendId, count: u32) {
        if let Some(open) = self.connections.get(id.slot()) {
            open.0.store(count, Ordering::Relaxed);
        }
    }

    /// Counts a connection that a backend has got.
    #[inline]
    pub fn opened(&self, id: BackendId) {
        self.connections_created.add(1);
        self.connections_active.add(1);
        if let (Some(backend), Some(open)) = (self.backend(id), self.connections.get(id.slot())) {
            backend.connections_total.add(1);
            open.rise();
        }
    }

    /// Counts a connection of a backend's that is over.
    pub fn closed(&self, id: BackendId) {
        if let Some(open) = self.connections.get(id.slot()) {
            open.fall();
        }
    }

    /// Counts an answer of a backend's and how long it took.
    pub fn responded(&self, id: BackendId, ns: u64) {
        if let Some(responses) = self.responses.get(id.slot()) {
            responses.add(ns);
        }
    }

    /// The answers of a backend that were measured.
    pub fn responses(&self, id: BackendId) -> Measured {
        self.responses.get(id.slot()).map_or_else(Measured::default, Meter::measured)
    }

    /// Zeroes a backend's counters when its slot gets another backend.
    pub fn reset_backend(&self, id: BackendId) {
        if let Some(open) = self.connections.get(id.slot()) {
            open.0.store(0, Ordering::Relaxed);
        }
        if let Some(responses) = self.responses.get(id.slot()) {
            responses.reset();
        }
        if let Some(counters) = self.backend(id) {
            counters.packets.set(0);
            counters.bytes.set(0);
            counters.connections_total.set(0);
        }
        if let Some(HandshakeCounters { opened, answered, refused }) = self.handshakes(id) {
            [opened, answered, refused].into_iter().for_each(|counter| counter.set(0));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gauges_stop_at_zero_and_drops_add_up() {
        let counters = Counters::new(2);
        counters.held.sub(1);
        assert_eq!(counters.held.get(), 0);
        counters.drop_one(DropReason::Runt);
        counters.drop_one(DropReason::Runt);
        counters.drop_one(DropReason::TxFull);
        assert_eq!((counters.drops(DropReason::Runt), counters.drops_total()), (2, 3));
        let id = BackendId::new(1, 3);
        counters.backend(id).unwrap().packets.add(5);
        counters.reset_backend(id);
        assert_eq!(counters.backend(id).unwrap().packets.get(), 0);
        assert!(counters.backend(BackendId::new(2, 0)).is_none());
    }
}
