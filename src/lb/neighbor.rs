//! Next hops and their MAC addresses, as one worker knows them.
//!
//! Each worker asks for the next hops it needs and keeps its own answers; an answer that arrives at another worker is
//! passed on as a [`Learned`]. The states follow RFC 4861 7.3 in short: asked for, known, known but due for
//! confirmation.

use std::collections::HashMap;
use std::net::IpAddr;

use super::clock::{Now, Tick};
use super::ids::PortId;
use crate::wire::ethernet::MacAddr;

/// A next hop's place, with the generation that tells it from a later one in the same place.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct NeighborSlot {
    index: u16,
    generation: u16,
}

/// An answer seen by one worker, for the others.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Learned {
    /// The port it was seen on.
    pub port: PortId,
    /// Whose address.
    pub addr: IpAddr,
    /// The answer.
    pub mac: MacAddr,
}

/// What the timers ask for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NeighborEvent {
    /// Send an ARP request or a neighbour solicitation; to the MAC address given, or to everybody.
    Solicit(PortId, IpAddr, Option<MacAddr>),
    /// It was learned: what waits for it may go.
    Resolved(NeighborSlot),
    /// It never answered: what waits for it is lost.
    Failed(NeighborSlot),
}

/// One line of `tidegate show neighbors`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NeighborRow {
    /// The port behind which it is.
    pub port: PortId,
    /// Its address.
    pub addr: IpAddr,
    /// Its MAC address, once known.
    pub mac: Option<MacAddr>,
    /// `static`, `reachable`, `probing` or `incomplete`.
    pub state: &'static str,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Free,
    Incomplete { tries: u8, next: Now },
    Reachable { confirmed: Now },
    Probing { tries: u8, next: Now },
    Static,
}

#[derive(Clone, Copy, Debug)]
struct Neighbor {
    mac: MacAddr,
    port: PortId,
    generation: u16,
    used: bool,
    state: State,
    addr: IpAddr,
}

/// See the module.
pub struct Neighbors {
    all: Box<[Neighbor]>,
    index: HashMap<(PortId, IpAddr), u16>,
    /// The one that was asked for last, which is the next one as a rule: a gateway.
    recent: u16,
    free: Vec<u16>,
    tick_at: usize,
    /// See [`Neighbors::version`].
    version: u32,
    /// See [`Neighbors::stamp`].
    stamp: u32,
    stamped: Tick,
}

const S: u64 = 1_000_000_000;
/// RFC 4861 10: MAX_MULTICAST_SOLICIT transmissions, RETRANS_TIMER apart.
const TRIES: u8 = 3;
const RETRY_NS: u64 = S;
/// RFC 4861 10: REACHABLE_TIME.
const REACHABLE_NS: u64 = 30 * S;
/// Unused this long, it is forgotten.
const IDLE_NS: u64 = 300 * S;

impl Neighbors {
    /// Room for `max` next hops (at most 65,535).
    pub fn new(max: usize) -> Self {
        let max = max.min(usize::from(u16::MAX));
        let free = Neighbor {
            mac: MacAddr::default(),
            port: PortId(0),
            generation: 0,
            used: false,
            state: State::Free,
            addr: IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED),
        };
        Self {
            all: vec![free; max].into_boxed_slice(),
            index: HashMap::with_capacity(max),
            recent: 0,
            free: (0..max as u16).rev().collect(),
            tick_at: 0,
            version: 1,
            stamp: 1,
            stamped: Tick::default(),
        }
    }

    /// Changes whenever a MAC address that was given out may have become wrong; never 0.
    #[inline]
    pub fn version(&self) -> u32 {
        self.version
    }

    /// Makes everything that was prepared under the version so far outdated.
    pub fn outdate(&mut self) {
        self.version = self.version.wrapping_add(1).max(1);
        self.stamp = self.stamp.wrapping_add(1).max(1);
    }

    /// Changes with the version, and with every second; never 0. Whoever compares this once a packet need not ask
    /// whether a next hop was said to be in use this second.
    #[inline]
    pub fn stamp(&mut self, now: Tick) -> u32 {
        if self.stamped != now {
            self.stamped = now;
            self.stamp = self.stamp.wrapping_add(1).max(1);
        }
        self.stamp
    }

    /// Notes that a next hop whose MAC address is known under the present version is in use.
    #[inline]
    pub fn touch(&mut self, slot: NeighborSlot) {
        if let Some(n) = self.all.get_mut(usize::from(slot.index)) {
            n.used = true;
        }
    }

    /// The MAC address, if the slot is still this next hop's and it is known.
    #[inline]
    pub fn mac(&mut self, slot: NeighborSlot) -> Option<MacAddr> {
        let n = self.all.get_mut(usize::from(slot.index))?;
        if n.generation != slot.generation {
            return None;
        }
        n.used = true;
        match n.state {
            State::Free | State::Incomplete { .. } => None,
            _ => Some(n.mac),
        }
    }

    /// True while the slot belongs to the next hop it was given for.
    #[inline]
    pub fn is_current(&self, slot: NeighborSlot) -> bool {
        self.all.get(usize::from(slot.index)).is_some_and(|n| n.generation == slot.generation)
    }

    /// The port behind which the slot's next hop is.
    pub fn port(&self, slot: NeighborSlot) -> Option<PortId> {
        self.all.get(usize::from(slot.index)).filter(|n| n.generation == slot.generation).map(|n| n.port)
    }

    /// The slot of a next hop, if there is one.
    pub fn find(&self, port: PortId, addr: IpAddr) -> Option<NeighborSlot> {
        let &index = self.index.get(&(port, addr))?;
        Some(NeighborSlot { index, generation: self.all.get(usize::from(index))?.generation })
    }

    /// The slot of a next hop; a new one is asked for by the next [`Self::tick`], and `true` says that it is new.
    /// `None` when the table is full.
    pub fn find_or_ask(&mut self, port: PortId, addr: IpAddr, now: Now) -> Option<(NeighborSlot, bool)> {
        if let Some(n) = self.all.get(usize::from(self.recent))
            && (n.port, n.addr) == (port, addr)
            && n.state != State::Free
        {
            return Some((NeighborSlot { index: self.recent, generation: n.generation }, false));
        }
        if let Some(slot) = self.find(port, addr) {
            self.recent = slot.index;
            return Some((slot, false));
        }
        let next = Now::from_ns(now.ns() + RETRY_NS);
        self.create(port, addr, State::Incomplete { tries: 1, next }).map(|slot| (slot, true))
    }

    /// Takes in an answer. With `create`, also one that was not asked for, while half of the places are free: nobody may
    /// crowd out the next hops that are needed. Returns the slot whose waiting packets may go.
    pub fn learn(&mut self, learned: Learned, create: bool, now: Now) -> Option<NeighborSlot> {
        let slot = match self.find(learned.port, learned.addr) {
            Some(slot) => slot,
            None if create && self.free.len() > self.all.len() / 2 => {
                self.create(learned.port, learned.addr, State::Reachable { confirmed: now })?
            }
            None => return None,
        };
        let n = self.all.get_mut(usize::from(slot.index))?;
        if n.state == State::Static {
            return None;
        }
        let waited = matches!(n.state, State::Incomplete { .. });
        let moved = n.mac != learned.mac && !waited;
        n.mac = learned.mac;
        n.state = State::Reachable { confirmed: now };
        if moved {
            self.outdate();
        }
        waited.then_some(slot)
    }

    /// Makes the static entries just these; those that were static before and are not named are forgotten.
    pub fn set_static(&mut self, entries: impl Iterator<Item = (PortId, IpAddr, MacAddr)>) {
        self.outdate();
        for index in 0..self.all.len() {
            if self.all.get(index).is_some_and(|n| n.state == State::Static) {
                self.forget(index);
            }
        }
        for (port, addr, mac) in entries {
            if let Some(slot) = self.find(port, addr) {
                self.forget(usize::from(slot.index));
            }
            if let Some(slot) = self.create(port, addr, State::Static)
                && let Some(n) = self.all.get_mut(usize::from(slot.index))
            {
                n.mac = mac;
            }
        }
    }

    /// Runs the timers of the next `count` places and says what they ask for.
    pub fn tick(&mut self, count: usize, now: Now, mut event: impl FnMut(NeighborEvent)) {
        for _ in 0..count.min(self.all.len()) {
            let index = self.tick_at;
            self.tick_at = if index + 1 == self.all.len() { 0 } else { index + 1 };
            self.tick_one(index, now, &mut event);
        }
    }

    /// All that is known, for `tidegate show neighbors`.
    pub fn rows(&self) -> impl Iterator<Item = NeighborRow> {
        self.all.iter().filter(|n| n.state != State::Free).map(|n| NeighborRow {
            port: n.port,
            addr: n.addr,
            mac: (!matches!(n.state, State::Incomplete { .. })).then_some(n.mac),
            state: match n.state {
                State::Static => "static",
                State::Reachable { .. } => "reachable",
                State::Probing { .. } => "probing",
                State::Incomplete { .. } | State::Free => "incomplete",
            },
        })
    }

    /// Places there are.
    pub fn capacity(&self) -> usize {
        self.all.len()
    }

    fn tick_one(&mut self, index: usize, now: Now, event: &mut impl FnMut(NeighborEvent)) {
        let Some(n) = self.all.get_mut(index) else { return };
        let slot = NeighborSlot { index: index as u16, generation: n.generation };
        let again = Now::from_ns(now.ns() + RETRY_NS);
        match n.state {
            State::Incomplete { tries, next } if now >= next => {
                if tries < TRIES {
                    n.state = State::Incomplete { tries: tries + 1, next: again };
                    event(NeighborEvent::Solicit(n.port, n.addr, None));
                } else {
                    self.forget(index);
                    event(NeighborEvent::Failed(slot));
                }
            }
            State::Reachable { confirmed } => {
                let age = now.ns().saturating_sub(confirmed.ns());
                if n.used && age >= REACHABLE_NS {
                    n.used = false;
                    n.state = State::Probing { tries: 1, next: again };
                    event(NeighborEvent::Solicit(n.port, n.addr, Some(n.mac)));
                } else if age >= IDLE_NS {
                    self.forget(index);
                }
            }
            // The old answer serves until the new one is overdue, so traffic never stops for a confirmation.
            State::Probing { tries, next } if now >= next => {
                if tries < TRIES {
                    n.state = State::Probing { tries: tries + 1, next: again };
                    event(NeighborEvent::Solicit(n.port, n.addr, None));
                } else {
                    self.forget(index);
                }
            }
            _ => {}
        }
    }

    fn create(&mut self, port: PortId, addr: IpAddr, state: State) -> Option<NeighborSlot> {
        let index = self.free.pop()?;
        let n = self.all.get_mut(usize::from(index))?;
        *n = Neighbor { port, addr, state, mac: MacAddr::default(), used: false, generation: n.generation };
        self.index.insert((port, addr), index);
        Some(NeighborSlot { index, generation: n.generation })
    }

    fn forget(&mut self, index: usize) {
        if let Some(n) = self.all.get_mut(index) {
            self.index.remove(&(n.port, n.addr));
            let was_known = !matches!(n.state, State::Incomplete { .. });
            n.state = State::Free;
            n.generation = n.generation.wrapping_add(1);
            self.free.push(index as u16);
            if was_known {
                self.outdate();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PORT: PortId = PortId(0);
    const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 9]);

    fn addr(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    fn at(s: u64) -> Now {
        Now::from_ns(s * S)
    }

    fn events(n: &mut Neighbors, s: u64) -> Vec<NeighborEvent> {
        let mut events = Vec::new();
        n.tick(usize::MAX, at(s), |e| events.push(e));
        events
    }

    #[test]
    fn asks_three_times_and_gives_up() {
        let mut n = Neighbors::new(4);
        let (slot, new) = n.find_or_ask(PORT, addr(1), at(0)).unwrap();
        assert!(new);
        assert_eq!(n.mac(slot), None);
        assert_eq!(events(&mut n, 0), []);
        let ask = NeighborEvent::Solicit(PORT, addr(1), None);
        assert_eq!(events(&mut n, 1), [ask]);
        assert_eq!(events(&mut n, 2), [ask]);
        assert_eq!(events(&mut n, 3), [NeighborEvent::Failed(slot)]);
        assert!(n.find_or_ask(PORT, addr(1), at(4)).unwrap().1, "asked anew");
    }

    #[test]
    fn the_one_asked_for_last_is_not_taken_for_another() {
        let mut n = Neighbors::new(4);
        let (first, _) = n.find_or_ask(PORT, addr(1), at(0)).unwrap();
        let (second, _) = n.find_or_ask(PORT, addr(2), at(0)).unwrap();
        let (elsewhere, _) = n.find_or_ask(PortId(PORT.0 + 1), addr(1), at(0)).unwrap();
        for _ in 0..2 {
            for (port, last, slot) in
                [(PORT, 1, first), (PORT, 1, first), (PORT, 2, second), (PortId(PORT.0 + 1), 1, elsewhere)]
            {
                assert_eq!(n.find_or_ask(port, addr(last), at(0)), Some((slot, false)));
            }
        }
    }

    #[test]
    fn an_answer_resolves_and_is_confirmed_without_a_gap() {
        let mut n = Neighbors::new(4);
        let learned = Learned { port: PORT, addr: addr(1), mac: MAC };
        assert_eq!(n.learn(learned, false, at(0)), None, "not asked for");
        let (slot, _) = n.find_or_ask(PORT, addr(1), at(0)).unwrap();
        assert_eq!(n.learn(learned, false, at(1)), Some(slot));
        assert_eq!(n.mac(slot), Some(MAC));
        assert_eq!(events(&mut n, 31), [NeighborEvent::Solicit(PORT, addr(1), Some(MAC))]);
        assert_eq!(n.mac(slot), Some(MAC), "still served while being confirmed");
        n.learn(learned, false, at(32));
        assert_eq!(events(&mut n, 33), []);
    }

    #[test]
    fn a_reused_place_is_not_taken_for_the_old_neighbor() {
        let mut n = Neighbors::new(1);
        let (old, _) = n.find_or_ask(PORT, addr(1), at(0)).unwrap();
        assert!(n.find_or_ask(PORT, addr(2), at(0)).is_none(), "full is an answer");
        for s in 1..=3 {
            events(&mut n, s);
        }
        n.learn(Learned { port: PORT, addr: addr(2), mac: MAC }, true, at(4));
        assert_eq!(n.mac(old), None);
        assert!(!n.is_current(old));
    }

    #[test]
    fn static_entries_stay_and_follow_the_configuration() {
        let mut n = Neighbors::new(4);
        n.set_static([(PORT, addr(1), MAC)].into_iter());
        let slot = n.find(PORT, addr(1)).unwrap();
        n.learn(Learned { port: PORT, addr: addr(1), mac: MacAddr([2; 6]) }, true, at(0));
        assert_eq!(events(&mut n, 10_000), []);
        assert_eq!(n.mac(slot), Some(MAC), "an answer on the wire does not override the administrator");
        n.set_static(std::iter::empty());
        assert_eq!(n.mac(slot), None);
        assert_eq!(n.rows().count(), 0);
    }
}
