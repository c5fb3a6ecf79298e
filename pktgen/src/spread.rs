//! Which backend got how much, by what its packets say.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use tidegate::wire::ethernet::MacAddr;

/// Most backends that are told apart.
const TARGETS_MAX: usize = 4096;
/// Slots of the table that finds them, a power of two.
const SLOTS: usize = TARGETS_MAX * 2;
/// No backend yet.
const NONE: u16 = u16::MAX;

/// What tells a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Target {
    /// Destination of the outer header of a tunnel.
    Outer(IpAddr),
    /// Destination that NAT has written.
    Address(SocketAddr),
    /// Destination on the link, where the IP addresses are as they were sent.
    Mac(MacAddr),
}

impl Target {
    /// The way in which it was found, as the report says it.
    #[must_use]
    pub const fn by(self) -> &'static str {
        match self {
            Self::Outer(_) => "outer_address",
            Self::Address(_) => "address",
            Self::Mac(_) => "mac",
        }
    }

    fn hash(self) -> usize {
        let number = |address: IpAddr| match address {
            IpAddr::V4(v4) => u128::from(v4.to_bits()),
            IpAddr::V6(v6) => v6.to_bits(),
        };
        let bits = match self {
            Self::Outer(address) => number(address) ^ 1 << 127,
            Self::Address(address) => number(address.ip()) ^ u128::from(address.port()) << 96,
            Self::Mac(MacAddr([a, b, c, d, e, f])) => u128::from(u64::from_be_bytes([0, 1, a, b, c, d, e, f])),
        };
        let folded = (bits as u64) ^ ((bits >> 64) as u64).rotate_left(29);
        (folded.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as usize % SLOTS
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Outer(address) => address.fmt(f),
            Self::Address(address) => address.fmt(f),
            Self::Mac(mac) => mac.fmt(f),
        }
    }
}

/// What one backend got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// Which.
    pub target: Target,
    /// Packets.
    pub packets: u64,
    /// Flows of which the last packet went there.
    pub flows: u64,
}

/// What each backend got.
#[derive(Clone, Debug)]
pub struct Spread {
    shares: Vec<Share>,
    /// Where a target is in `shares`, found by its hash; [`NONE`] for a free slot.
    slots: Vec<u16>,
    /// By flow, where its last packet went.
    of_flow: Vec<u16>,
    moved: u64,
    untold: u64,
}

impl Spread {
    /// Nothing seen of `flows` flows.
    #[must_use]
    pub fn new(flows: u32) -> Self {
        Self { shares: Vec::new(), slots: vec![NONE; SLOTS], of_flow: vec![NONE; flows as usize], moved: 0, untold: 0 }
    }

    /// Counts a packet, of a flow where that is known.
    #[inline]
    pub fn count(&mut self, target: Target, flow: Option<u32>) {
        let last = flow.and_then(|flow| self.of_flow.get(flow as usize)).copied().unwrap_or(NONE);
        // A flow stays with its backend, so its next packet finds it without a search.
        if let Some(share) = self.shares.get_mut(usize::from(last)).filter(|share| share.target == target) {
            share.packets += 1;
            return;
        }
        let Some(place) = self.place(target) else {
            self.untold += 1;
            return;
        };
        let slot = flow.and_then(|flow| self.of_flow.get_mut(flow as usize));
        let before = slot.map(|slot| std::mem::replace(slot, place));
        if let Some(share) = self.shares.get_mut(usize::from(place)) {
            share.packets += 1;
            share.flows += u64::from(before.is_some());
        }
        if let Some(share) = before.and_then(|before| self.shares.get_mut(usize::from(before))) {
            share.flows -= 1;
            self.moved += 1;
        }
    }

    /// Where the target is, which is made if need be; `None` when there are too many.
    fn place(&mut self, target: Target) -> Option<u16> {
        let first = target.hash();
        for at in (0..SLOTS).map(|step| (first + step) % SLOTS) {
            let slot = self.slots.get_mut(at)?;
            if *slot == NONE {
                if self.shares.len() == TARGETS_MAX {
                    return None;
                }
                *slot = self.shares.len() as u16;
                self.shares.push(Share { target, packets: 0, flows: 0 });
                return Some(*slot);
            }
            if self.shares.get(usize::from(*slot)).is_some_and(|share| share.target == target) {
                return Some(*slot);
            }
        }
        None
    }

    /// Every backend, in the order of their addresses.
    #[must_use]
    pub fn shares(&self) -> Vec<Share> {
        let mut shares = self.shares.clone();
        shares.sort_by_key(|share| share.target);
        shares
    }

    /// How often a flow's packet went to another backend than the one before it.
    #[must_use]
    pub const fn moved(&self) -> u64 {
        self.moved
    }

    /// Packets of backends beyond those that are told apart.
    #[must_use]
    pub const fn untold(&self) -> u64 {
        self.untold
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outer(n: u32) -> Target {
        Target::Outer(IpAddr::V4(n.into()))
    }

    #[test]
    fn packets_and_flows_are_counted_by_backend() {
        let mut spread = Spread::new(4);
        for (target, flow) in [(1, 0), (2, 1), (1, 0), (1, 2), (2, 3), (1, 0)] {
            spread.count(outer(target), Some(flow));
        }
        spread.count(outer(2), None);
        let found: Vec<_> = spread.shares().iter().map(|s| (s.target, s.packets, s.flows)).collect();
        assert_eq!(found, [(outer(1), 4, 2), (outer(2), 3, 2)]);
        assert_eq!((spread.moved(), spread.untold()), (0, 0));
    }

    #[test]
    fn a_flow_that_moves_is_noticed() {
        let mut spread = Spread::new(1);
        [1, 1, 2, 2, 1].into_iter().for_each(|target| spread.count(outer(target), Some(0)));
        assert_eq!(spread.moved(), 2);
        assert_eq!(spread.shares().iter().map(|s| s.flows).collect::<Vec<_>>(), [1, 0]);
    }

    #[test]
    fn kinds_of_targets_are_apart_and_their_number_is_bounded() {
        let mut spread = Spread::new(0);
        let mac = |n: u32| Target::Mac(MacAddr((u64::from(n) << 16).to_be_bytes()[..6].try_into().unwrap()));
        let address = |n: u32| Target::Address(SocketAddr::from((std::net::Ipv4Addr::from(n), 80)));
        (0..2000).for_each(|n| [outer(n), mac(n), address(n)].into_iter().for_each(|t| spread.count(t, Some(9))));
        assert_eq!(spread.shares().len(), 4096);
        assert_eq!(spread.untold(), 6000 - 4096);
        assert!(spread.shares().iter().all(|share| share.packets == 1));
    }
}
