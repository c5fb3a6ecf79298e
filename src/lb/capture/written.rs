//! What is written into packets, and so whether one may match as it leaves that did not as it came.
//!
//! For nearly every packet that is something which a snapshot holds: outer headers of tunnels, backends' addresses and ports
//! in requests, VIPs and their ports in replies. So it is known beforehand for which backends' packets a second look may
//! find anything. Those that are no TCP or UDP, or whose headers are out of the ordinary, are looked at twice in any case.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::filter::Net;
use super::glance::Glance;
use super::view::View;
use crate::lb::ids::BackendId;
use crate::lb::snapshot::{Backend, Mode, Snapshot, in_network};
use crate::wire::protocol;

/// A field and its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::lb) enum What {
    /// Nothing is known.
    Anything,
    /// No packet has it.
    Nothing,
    /// An address.
    Host(Net),
    /// A port number.
    Port(u16),
    /// The IP protocol.
    Protocol(u8),
}

impl Glance {
    /// Whether one of the fields may get its value on the short way to or from a backend.
    fn may_be_written(&self, snapshot: &Snapshot, backend: &Backend) -> bool {
        let service = snapshot.service(backend.service);
        let outer = backend.outer.as_ref().map(|outer| View::of_ip(outer.prepared()));
        self.v4.iter().chain(&self.v6).any(|lanes| match lanes.what {
            What::Anything => true,
            What::Nothing => false,
            What::Host(net) => {
                let source = outer.and_then(|view| view.addresses()).map(|(source, _)| source);
                let all = [Some(backend.address), source, service.map(|service| service.vip)];
                all.into_iter().flatten().any(|address| in_network(address, net.address, net.prefix))
            }
            What::Port(number) => match outer {
                // The source port of a tunnel over UDP is as good as random.
                Some(view) => view.protocol == protocol::UDP,
                None => number == backend.port || service.is_some_and(|service| service.port == Some(number)),
            },
            What::Protocol(number) => outer.is_some_and(|view| view.protocol == number),
        })
    }

    /// Whether one of the fields may get its value on the long way from elsewhere than from a backend or from the other end
    /// of the packet: answers have an own address and may be ICMP, full-NAT takes clients from its table, and what an outer
    /// tier sends has a packet inside.
    fn may_be_written_otherwise(&self, snapshot: &Snapshot) -> bool {
        let own = |net: Net| {
            let addresses = snapshot.ports().flat_map(|(_, port)| &port.addresses);
            addresses.into_iter().any(|&(address, _)| in_network(address, net.address, net.prefix))
        };
        snapshot.services().iter().any(|service| service.mode == Mode::FullNat)
            || snapshot.ports().any(|(_, port)| !port.outer_tier.is_empty())
            || self.v4.iter().chain(&self.v6).any(|lanes| match lanes.what {
                What::Anything | What::Protocol(protocol::ICMP | protocol::ICMPV6) => true,
                What::Host(net) => own(net),
                What::Nothing | What::Port(_) | What::Protocol(_) => false,
            })
    }
}

/// The backends whose packets may match as they leave, as one snapshot after the other says: once one may, it stays here, so
/// that nobody who asks meanwhile misses it.
#[derive(Debug)]
pub(super) struct Rewritten {
    /// Of the snapshot that was looked at last.
    generation: AtomicU64,
    any: AtomicBool,
    /// Whether what takes the long way may match for another reason.
    otherwise: AtomicBool,
    /// A bit for each slot.
    slots: Box<[AtomicU64]>,
}

/// The generation of no snapshot.
const NO_SNAPSHOT: u64 = u64::MAX;

impl Default for Rewritten {
    fn default() -> Self {
        let slots = (0..BackendId::SLOTS_MAX.div_ceil(64)).map(|_| AtomicU64::new(0)).collect();
        Self {
            generation: AtomicU64::new(NO_SNAPSHOT),
            any: AtomicBool::new(false),
            otherwise: AtomicBool::new(false),
            slots,
        }
    }
}

impl Rewritten {
    /// Adds what a snapshot may make match of the filter that `glance` is of.
    pub(super) fn adopt(&self, snapshot: &Snapshot, glance: &Glance) {
        if glance.may_be_written_otherwise(snapshot) {
            self.otherwise.store(true, Ordering::Relaxed);
        }
        for backend in snapshot.backends().filter(|backend| glance.may_be_written(snapshot, backend)) {
            if let Some(bits) = self.slots.get(backend.id.slot() / 64) {
                bits.fetch_or(1 << (backend.id.slot() % 64), Ordering::Relaxed);
                self.any.store(true, Ordering::Relaxed);
            }
        }
        self.generation.store(snapshot.generation, Ordering::Release);
    }

    /// Whether the rest holds for this snapshot.
    pub(super) fn knows(&self, snapshot: &Snapshot) -> bool {
        self.generation.load(Ordering::Acquire) == snapshot.generation
    }

    /// Whether some packet may match that takes the short way.
    pub(super) fn is_any(&self) -> bool {
        self.any.load(Ordering::Relaxed)
    }

    /// Whether some TCP or UDP packet may match that takes the long way.
    pub(super) fn is_any_on_the_long_way(&self) -> bool {
        self.is_any() || self.otherwise.load(Ordering::Relaxed)
    }

    #[inline]
    pub(super) fn has(&self, slot: u32) -> bool {
        let bits = self.slots.get(slot as usize / 64).map_or(0, |bits| bits.load(Ordering::Relaxed));
        bits >> (slot % 64) & 1 != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lb::capture::filter::{End, Expression, Test};
    use crate::lb::snapshot::{Mode, SnapshotSpec};
    use crate::lb::testing::all_modes;

    fn build(spec: SnapshotSpec) -> Snapshot {
        Snapshot::build(spec, None).unwrap()
    }

    fn is_written(spec: &SnapshotSpec, test: Test) -> bool {
        let (glance, snapshot) = (Glance::of(&Expression::Test(test)), build(spec.clone()));
        snapshot.backends().any(|backend| glance.may_be_written(&snapshot, backend))
    }

    fn with_mode(mode: Mode) -> SnapshotSpec {
        let mut spec = all_modes();
        spec.services.retain(|service| service.mode == Mode::Gre);
        spec.services.iter_mut().for_each(|service| service.mode = mode);
        spec
    }

    #[test]
    fn answers_full_nat_and_outer_tiers_write_what_no_backend_has() {
        let otherwise = |spec: &SnapshotSpec, test: Test| {
            Glance::of(&Expression::Test(test)).may_be_written_otherwise(&build(spec.clone()))
        };
        let host = |address: &str| Test::Host(End::Source, Net { address: address.parse().unwrap(), prefix: 32 });
        let mut gre = with_mode(Mode::Gre);
        assert!(!otherwise(&gre, host("198.51.100.7")) && !otherwise(&gre, Test::Port(End::Either, 80, 80)));
        assert!(otherwise(&gre, host("10.0.0.2")) && otherwise(&gre, Test::Protocol(protocol::ICMP)));
        assert!(otherwise(&all_modes(), host("198.51.100.7")));
        gre.ports[0].outer_tier = vec![("192.0.2.128".parse().unwrap(), 25)];
        assert!(otherwise(&gre, host("198.51.100.7")));
    }

    #[test]
    fn what_a_snapshot_holds_may_be_written_and_nothing_else() {
        let host = |address: &str, prefix| {
            let net = Net { address: address.parse().unwrap(), prefix };
            is_written(&all_modes(), Test::Host(End::Either, net))
        };
        // A VIP, a backend, a port's address as a tunnel's source, and strangers.
        assert!(host("192.0.2.10", 32) && host("10.1.0.1", 32) && host("10.1.0.254", 32) && host("192.0.0.0", 8));
        assert!(!host("198.51.100.7", 32) && !host("2001:db8:c::7", 128) && !host("203.0.113.0", 24));
        let port = |spec: &SnapshotSpec, number| is_written(spec, Test::Port(End::Either, number, number));
        assert!(port(&all_modes(), 80) && port(&all_modes(), 8080) && !port(&all_modes(), 9));
        assert!(!port(&with_mode(Mode::Ipip), 80), "a tunnel leaves ports alone");
        assert!(port(&with_mode(Mode::Gue), 9), "the source port of GUE is any");
        for (mode, number) in [(Mode::Gre, protocol::GRE), (Mode::Ipip, protocol::IPV4), (Mode::Gue, protocol::UDP)] {
            let written = |number| is_written(&with_mode(mode), Test::Protocol(number));
            assert!(written(number) && !written(protocol::TCP), "{mode:?}");
        }
        // What cannot be said at first sight.
        assert!(is_written(&all_modes(), Test::Len(0, 100)));
    }
}
