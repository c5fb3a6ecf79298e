//! What goes to the host's own network stack: its classes, and how much of each may go there.
//!
//! Each class has a bucket of its own, and its own queue behind it, so that a flood of one leaves the others alone.

use super::clock::Now;
use super::limiter::Limiter;
use crate::wire::protocol;

macro_rules! punt_classes {
    ($($variant:ident $label:literal $rate:literal $meaning:literal)*) => {
        /// What a packet for the host is, as far as limits go.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        #[repr(u8)]
        pub enum PuntClass {
            $(#[doc = $meaning] $variant,)*
        }

        impl PuntClass {
            /// Every class, in the order of importance.
            pub const ALL: &[PuntClass] = &[$(PuntClass::$variant,)*];

            /// The word in configuration, stats and the command line.
            pub fn label(self) -> &'static str {
                match self { $(PuntClass::$variant => $label,)* }
            }
        }

        impl Default for PuntRates {
            fn default() -> Self {
                Self([$($rate,)*])
            }
        }
    };
}

punt_classes! {
    Control "control" 20_000 "Routing protocols: BGP, BFD, OSPF, VRRP, PIM, RIP, LDP."
    Management "management" 50_000 "TCP to and from the host's own programs, such as SSH and health checks."
    Neighbor "neighbor" 2_000 "ARP, neighbour discovery, IGMP and MLD."
    Icmp "icmp" 1_000 "ICMP messages to own addresses."
    Other "other" 2_000 "Everything else: UDP, other protocols, fragments."
}

impl PuntClass {
    /// Number of classes.
    pub const COUNT: usize = Self::ALL.len();

    /// Index into counters and queues.
    #[inline]
    pub fn index(self) -> usize {
        self as usize
    }

    /// The class of a whole IP packet; ports are 0 where there are none.
    pub(super) fn of(protocol: u8, sport: u16, dport: u16) -> Self {
        const BGP: u16 = 179;
        const LDP: u16 = 646;
        let either = |port| sport == port || dport == port;
        match protocol {
            protocol::TCP if either(BGP) || either(LDP) => Self::Control,
            protocol::TCP => Self::Management,
            // BFD (RFC 5881, 5883), RIP and RIPng (RFC 2453, 2080), LDP (RFC 5036).
            protocol::UDP if matches!(dport, 3784 | 3785 | 4784 | 520 | 521 | LDP) => Self::Control,
            protocol::EIGRP | protocol::OSPF | protocol::PIM | protocol::VRRP => Self::Control,
            protocol::ICMP | protocol::ICMPV6 => Self::Icmp,
            protocol::IGMP => Self::Neighbor,
            _ => Self::Other,
        }
    }
}

/// Packets a second that a worker passes to the host, by class.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PuntRates(pub [u32; PuntClass::COUNT]);

/// At once: as many as a queue to the host holds, so that no burst of one class fills it beyond that.
pub const PUNT_BURST: u32 = 512;

/// The buckets of one worker.
#[derive(Clone, Debug)]
pub(super) struct PuntLimits([Limiter; PuntClass::COUNT]);

impl PuntLimits {
    pub(super) fn new(rates: PuntRates) -> Self {
        Self(rates.0.map(|rate| Limiter::new(rate, (rate / 4).clamp(u32::from(rate > 0), PUNT_BURST))))
    }

    /// True if one more of the class may go now; takes its token.
    pub(super) fn allow(&mut self, class: PuntClass, now: Now) -> bool {
        self.0.get_mut(class.index()).is_some_and(|limiter| limiter.allow(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_and_indexes_are_in_order() {
        for (index, class) in PuntClass::ALL.iter().enumerate() {
            assert_eq!(class.index(), index);
            assert!(class.label().chars().all(|c| c.is_ascii_lowercase()));
        }
    }

    #[test]
    fn routing_protocols_are_a_class_of_their_own() {
        let of = |protocol, sport, dport| PuntClass::of(protocol, sport, dport).label();
        assert_eq!(
            [of(6, 40_000, 179), of(6, 179, 40_000), of(6, 40_000, 22), of(6, 80, 40_000)],
            ["control", "control", "management", "management"]
        );
        assert_eq!([of(17, 49_152, 3784), of(17, 3784, 9), of(17, 40_000, 53)], ["control", "other", "other"]);
        assert_eq!(
            [of(89, 0, 0), of(112, 0, 0), of(2, 0, 0), of(1, 0, 0), of(58, 0, 0), of(47, 0, 0)],
            ["control", "control", "neighbor", "icmp", "icmp", "other"]
        );
    }

    #[test]
    fn a_flood_of_one_class_takes_nothing_from_another() {
        let mut limits = PuntLimits::new(PuntRates::default());
        let at = |ms: u64| Now::from_ns(1_000_000_000 + ms * 1_000_000);
        let mut floods = 0;
        for ms in 0..1000 {
            floods += (0..100).filter(|_| limits.allow(PuntClass::Icmp, at(ms))).count();
            assert!((0..20).all(|_| limits.allow(PuntClass::Control, at(ms))), "{ms}");
            assert!((0..2).all(|_| limits.allow(PuntClass::Neighbor, at(ms))), "{ms}");
        }
        assert_eq!(floods, 250 + 999);
    }

    #[test]
    fn a_rate_of_nothing_lets_nothing_pass() {
        let mut limits = PuntLimits::new(PuntRates([0; PuntClass::COUNT]));
        assert!(PuntClass::ALL.iter().all(|&class| !limits.allow(class, Now::from_ns(u64::MAX / 2))));
    }
}
