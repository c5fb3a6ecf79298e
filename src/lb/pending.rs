//! Packets that wait: those that are complete but for their next hop's MAC address, and fragments.

use std::collections::VecDeque;

use super::ids::PortId;
use super::neighbor::NeighborSlot;
use super::waiting::Waiting;

/// Packets that may wait in all, and for one next hop. RFC 4861 7.2.2 asks for one at least; a few more keep the start
/// of a connection together.
const TOTAL_MAX: usize = 256;
const EACH_MAX: usize = 16;

/// Waiting packets, in the order in which they came.
pub struct Pending<P> {
    waiting: VecDeque<(NeighborSlot, PortId, P)>,
    /// Those that wait for the first fragment of their datagram.
    pub fragments: Waiting<P>,
}

impl<P> Default for Pending<P> {
    fn default() -> Self {
        Self { waiting: VecDeque::with_capacity(TOTAL_MAX), fragments: Waiting::default() }
    }
}

impl<P> Pending<P> {
    /// Lets a packet wait that will leave by `port`.
    ///
    /// # Errors
    /// Gives the packet back if too many wait already.
    pub fn hold(&mut self, slot: NeighborSlot, port: PortId, packet: P) -> Result<(), P> {
        let same = self.waiting.iter().filter(|(s, ..)| *s == slot).count();
        if self.waiting.len() >= TOTAL_MAX || same >= EACH_MAX {
            return Err(packet);
        }
        self.waiting.push_back((slot, port, packet));
        Ok(())
    }

    /// Takes out the packets that wait for `slot`, in order.
    pub fn release(&mut self, slot: NeighborSlot, mut each: impl FnMut(PortId, P)) {
        for _ in 0..self.waiting.len() {
            match self.waiting.pop_front() {
                Some((s, port, packet)) if s == slot => each(port, packet),
                Some(other) => self.waiting.push_back(other),
                None => break,
            }
        }
    }

    /// Takes out everything that waits for next hops.
    pub fn drain(&mut self) -> impl Iterator<Item = P> {
        self.waiting.drain(..).map(|(.., packet)| packet)
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.waiting.len() + self.fragments.len()
    }

    /// True if none waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.fragments.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lb::clock::Now;
    use crate::lb::neighbor::Neighbors;

    #[test]
    fn keeps_order_and_bounds() {
        let mut neighbors = Neighbors::new(300);
        let slots: Vec<_> = (0..300u16)
            .filter_map(|i| {
                let addr = std::net::IpAddr::from([10, 0, (i >> 8) as u8, i as u8]);
                neighbors.find_or_ask(PortId(0), addr, Now::default()).map(|(slot, _)| slot)
            })
            .collect();
        let mut pending = Pending::default();
        for i in 0..20usize {
            let held = pending.hold(slots[0], PortId(1), i);
            assert_eq!(held.is_ok(), i < EACH_MAX, "the bound for one next hop");
        }
        pending.hold(slots[1], PortId(2), 100).unwrap();
        let mut got = Vec::new();
        pending.release(slots[0], |port, p| got.push((port.0, p)));
        assert_eq!(got, (0..16).map(|i| (1, i)).collect::<Vec<_>>());
        for (i, &slot) in slots.iter().enumerate().skip(2) {
            let held = pending.hold(slot, PortId(0), i);
            assert_eq!(held.is_ok(), i < TOTAL_MAX + 1, "the bound for all");
        }
        assert_eq!(pending.drain().count(), TOTAL_MAX);
        assert!(pending.is_empty());
    }
}
