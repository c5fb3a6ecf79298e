//! The one fate of each packet.

pub use super::drop_reason::DropReason;
use super::fragments::DatagramTag;
use super::ids::{PortId, WorkerId};
use super::neighbor::NeighborSlot;
use super::punt::PuntClass;

/// What becomes of a packet. Input packets are the sum of verdicts, always.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Leaves by this port.
    Tx(PortId),
    /// Leaves by this port, but is too long for it: to be sent in pieces, see [`pieces`](super::pieces).
    Fragment(PortId),
    /// Was turned into our answer to its sender; leaves by this port.
    Reply(PortId),
    /// Is complete but for the next hop's MAC address, which is being asked for: wait in the shard's bounded queue. It
    /// ends as `Tx` or as a drop.
    Hold(NeighborSlot),
    /// A fragment whose datagram's first one has not come yet: wait in the worker's bounded queue. It goes through the
    /// packet path again, or ends as a drop.
    Await(DatagramTag),
    /// Belongs to another worker's shard; that one gives it its final verdict.
    Handoff(WorkerId),
    /// Is for the host's own network stack, through this port's device there; the VLAN tag is off.
    Punt(PortId, PuntClass),
    /// Freed and counted.
    Drop(DropReason),
}
