//! What goes through the engine: a packet, and the port that it came in by.

use crate::lb::ids::PortId;
use crate::lb::packet::{HeapPacket, Packet};

/// See the module.
pub(in crate::control) trait Frame: Packet + Sized {
    /// The port that it came in by.
    fn port(&self) -> PortId;

    /// Hears of a frame that leaves for it.
    fn leaves(&self, _port: PortId, _frame: &[u8]) {}

    /// Hears of a frame that would leave for it, but for the MAC address that it is for.
    fn waits(&self, _port: PortId, _frame: &[u8]) {}
}

/// A packet that nobody asks about.
pub(super) struct Arrived {
    port: PortId,
    packet: HeapPacket,
}

impl Arrived {
    pub(super) fn new(port: PortId, frame: &[u8]) -> Self {
        Self { port, packet: HeapPacket::new(frame) }
    }
}

impl Frame for Arrived {
    fn port(&self) -> PortId {
        self.port
    }
}

impl Packet for Arrived {
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
