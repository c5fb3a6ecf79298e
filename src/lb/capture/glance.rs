//! A look at fixed places of a frame that rules nearly every one out before its headers are walked.
//!
//! A filter is true only where one of a few fields has one of a few values. Eight bytes of the frame are compared with
//! them at once, without a branch for each: a lane that is equal is zero after the exclusive or, and taking one away
//! from it then sets its highest bit.

use std::net::IpAddr;

use super::filter::{End, Expression, Net, Test};
use super::view::Carries;
use crate::wire::protocol;

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Glance {
    v4: Needs,
    v6: Needs,
}

/// What is needed of packets of one IP version with headers in their usual places.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Needs {
    /// Cannot be said at first sight.
    Unknown,
    /// One of these; nothing can match where there is none.
    OneOf(Vec<Lanes>),
}

/// Fields in eight bytes of the packet, one of which has to have its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
struct Lanes {
    /// From the network header on.
    offset: usize,
    mask: u64,
    value: u64,
    /// The lowest bit of each field.
    ones: u64,
    /// The highest bit of each field.
    highs: u64,
    /// How few packets it lets through: the more, the fewer.
    rank: u32,
}

/// Comparisons of one packet at first sight.
const LANES_MAX: usize = 4;

impl Glance {
    pub(super) fn of(expression: &Expression) -> Self {
        let needs = |version| Needs::of(expression, false, version);
        Self { v4: needs(Carries::V4), v6: needs(Carries::V6) }
    }

    /// False only if the frame does not match.
    #[inline]
    pub(super) fn may_match(&self, frame: &[u8]) -> bool {
        let Some(head) = frame.first_chunk::<24>() else { return true };
        let mut l3 = 14;
        let mut kind = [head[12], head[13], head[14]];
        if kind[..2] == [0x81, 0x00] {
            l3 = 18;
            kind = [head[16], head[17], head[18]];
        }
        match kind {
            [0x08, 0x00, 0x45] => self.v4.may_match(frame, l3),
            [0x86, 0xDD, _] => {
                let next = frame.get(l3 + 6).copied().unwrap_or_default();
                // Behind an extension header everything has other places.
                !matches!(next, protocol::TCP | protocol::UDP | protocol::ICMPV6) || self.v6.may_match(frame, l3)
            }
            _ => true,
        }
    }
}

impl Needs {
    #[inline]
    fn may_match(&self, frame: &[u8], l3: usize) -> bool {
        match self {
            Self::Unknown => true,
            Self::OneOf(all) => all.iter().any(|lanes| lanes.may_match(frame, l3)),
        }
    }

    fn of(expression: &Expression, negated: bool, version: Carries) -> Self {
        match expression {
            Expression::Not(inner) => Self::of(inner, !negated, version),
            Expression::Test(test) => Self::of_test(test, negated, version),
            Expression::And(a, b) | Expression::Or(a, b) => {
                let (a, b) = (Self::of(a, negated, version), Self::of(b, negated, version));
                if matches!(expression, Expression::And(..)) == negated { a.or(b) } else { a.and(b) }
            }
        }
    }

    fn of_test(test: &Test, negated: bool, version: Carries) -> Self {
        let never = || Self::OneOf(Vec::new());
        if negated {
            return if *test == Test::Carries(version) || *test == Test::Any { never() } else { Self::Unknown };
        }
        match *test {
            Test::Carries(what) if what != version => never(),
            Test::Protocol(number) => {
                let offset = if version == Carries::V4 { 8 } else { 6 };
                let place = if version == Carries::V4 { 1 } else { 0 };
                Self::OneOf(vec![Lanes::of(offset, &[(place, &[number], &[0xFF])], 1)])
            }
            Test::Host(end, net) => host(end, net, version),
            Test::Port(end, first, last) if first == last => {
                let (offset, port, all) =
                    (if version == Carries::V4 { 20 } else { 40 }, first.to_be_bytes(), [0xFF; 2]);
                let (source, destination): (Field, Field) = ((0, &port, &all), (2, &port, &all));
                Self::OneOf(vec![Lanes::of(offset, &of_ends(end, source, destination), 2)])
            }
            _ => Self::Unknown,
        }
    }

    /// The one that lets fewer packets through.
    fn and(self, other: Self) -> Self {
        if self.rank() >= other.rank() { self } else { other }
    }

    fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::OneOf(mut a), Self::OneOf(b)) if a.len() + b.len() <= LANES_MAX => {
                a.extend(b);
                Self::OneOf(a)
            }
            _ => Self::Unknown,
        }
    }

    fn rank(&self) -> u32 {
        match self {
            Self::Unknown => 0,
            Self::OneOf(all) => all.iter().map(|lanes| lanes.rank).min().unwrap_or(u32::MAX),
        }
    }
}

/// First byte, value and mask of a field.
type Field<'a> = (usize, &'a [u8], &'a [u8]);

fn of_ends<'a>(end: End, source: Field<'a>, destination: Field<'a>) -> Vec<Field<'a>> {
    match end {
        End::Source => vec![source],
        End::Destination | End::Both => vec![destination],
        End::Either => vec![source, destination],
    }
}

fn host(end: End, net: Net, version: Carries) -> Needs {
    match (net.address, version) {
        (IpAddr::V4(address), Carries::V4) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(net.prefix)).unwrap_or(0).to_be_bytes();
            let address = address.octets();
            let (source, destination): (Field, Field) = ((0, &address, &mask), (4, &address, &mask));
            Needs::OneOf(vec![Lanes::of(12, &of_ends(end, source, destination), 3)])
        }
        (IpAddr::V6(address), Carries::V6) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(net.prefix)).unwrap_or(0).to_be_bytes();
            let address = address.octets();
            // The half that tells more.
            let half = if net.prefix > 64 { 8 } else { 0 };
            let (Some(address), Some(mask)) = (address.get(half..half + 8), mask.get(half..half + 8)) else {
                return Needs::Unknown;
            };
            let at = |offset: usize| Lanes::of(offset + half, &[(0, address, mask)], 3);
            Needs::OneOf(match end {
                End::Source => vec![at(8)],
                End::Destination | End::Both => vec![at(24)],
                End::Either => vec![at(8), at(24)],
            })
        }
        // An address of the other version is in no such packet.
        _ => Needs::OneOf(Vec::new()),
    }
}

impl Lanes {
    fn of(offset: usize, fields: &[Field], rank: u32) -> Self {
        let mut lanes = Self { offset, rank, ..Self::default() };
        for &(at, value, mask) in fields {
            for (place, (value, mask)) in (at..).zip(value.iter().zip(mask)) {
                lanes.value |= u64::from(value & mask) << (8 * place);
                lanes.mask |= u64::from(*mask) << (8 * place);
            }
            lanes.ones |= 1 << (8 * at);
            lanes.highs |= 1 << (8 * (at + value.len()) - 1);
        }
        lanes
    }

    /// True also where too little of the packet is there to say.
    #[inline]
    fn may_match(&self, frame: &[u8], l3: usize) -> bool {
        let at = l3 + self.offset;
        let Some(&window) = frame.get(at..).and_then(|rest| rest.first_chunk::<8>()) else { return true };
        let unequal = (u64::from_le_bytes(window) & self.mask) ^ self.value;
        unequal.wrapping_sub(self.ones) & !unequal & self.highs != 0
    }
}
