//! What goes through the engine: a packet, the port that it came in by, and who wants to hear of it.

use crate::lb::ids::PortId;
use crate::lb::packet::{HeapPacket, Packet};
use crate::lb::trace::Step;

/// See the module.
pub(in crate::control) trait Frame: Packet + Sized {
    /// The port that it came in by.
    fn port(&self) -> PortId;

    /// Hears of a frame that leaves for it.
    fn leaves(&self, port: PortId, frame: &[u8]);

    /// Hears of a frame that would leave for it, but for the MAC address that it is for.
    fn waits(&self, port: PortId, frame: &[u8]);
}

/// Who hears what becomes of a packet.
pub(in crate::control) trait Listener {
    /// Whether the decisions about it are wanted; see [`Packet::EXPLAINED`].
    const ASKS: bool = false;

    /// Hears of a decision.
    fn note(&self, _step: impl FnOnce() -> Step) {}

    /// Hears of a frame that leaves for it.
    fn leaves(&self, _port: PortId, _frame: &[u8]) {}

    /// Hears of a frame that would leave for it, but for the MAC address that it is for.
    fn waits(&self, _port: PortId, _frame: &[u8]) {}
}

/// Nobody asks.
impl Listener for () {}

/// A packet that came, and its listener.
pub(in crate::control) struct Arrived<L = ()> {
    port: PortId,
    packet: HeapPacket,
    listener: L,
}

impl<L> Arrived<L> {
    pub(in crate::control) fn new(port: PortId, frame: &[u8], listener: L) -> Self {
        Self { port, packet: HeapPacket::new(frame), listener }
    }
}

impl<L: Listener> Frame for Arrived<L> {
    fn port(&self) -> PortId {
        self.port
    }

    fn leaves(&self, port: PortId, frame: &[u8]) {
        self.listener.leaves(port, frame);
    }

    fn waits(&self, port: PortId, frame: &[u8]) {
        self.listener.waits(port, frame);
    }
}

impl<L: Listener> Packet for Arrived<L> {
    const EXPLAINED: bool = L::ASKS;

    fn note(&self, step: impl FnOnce() -> Step) {
        self.listener.note(step);
    }

    fn bytes(&self) -> &[u8] {
        self.packet.bytes()
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        self.packet.bytes_mut()
    }

    fn frame_len(&self) -> usize {
        self.packet.frame_len()
    }

    fn grow_front(&mut self, n: usize) -> bool {
        self.packet.grow_front(n)
    }

    fn shrink_front(&mut self, n: usize) {
        self.packet.shrink_front(n);
    }

    fn truncate(&mut self, len: usize) {
        self.packet.truncate(len);
    }
}
