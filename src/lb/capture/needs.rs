//! What is needed of a packet for a filter to be true of it, as far as that can be said at first sight.

use std::net::IpAddr;

use super::filter::{End, Expression, Net, Test};
use super::glance::{Field, Fields, Lanes, Word};
use super::view::Carries;
use super::written::What;

/// What is needed of packets of one IP version with headers in their usual places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Needs {
    /// Cannot be said at first sight.
    Unknown,
    /// One of these; nothing can match where there is none.
    OneOf(Vec<Lanes>),
}

/// Comparisons of one packet at first sight.
const LANES_MAX: usize = 4;
/// Bytes of the Ethernet header.
const L2_LEN: u8 = 14;

impl Needs {
    /// At least one, which may be one that is always or never there.
    pub(super) fn lanes(self) -> Vec<Lanes> {
        let all = |fields, what| vec![Lanes { at: 0, in_frame: fields, word: Word::Ends, in_word: fields, what }];
        match self {
            Self::OneOf(all) if !all.is_empty() => all,
            Self::OneOf(_) => all(Fields::NOWHERE, What::Nothing),
            Self::Unknown => all(Fields::EVERYWHERE, What::Anything),
        }
    }

    pub(super) fn of(expression: &Expression, negated: bool, version: Carries) -> Self {
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
            Test::Protocol(number) => protocol(number, version),
            Test::Host(end, net) => host(end, net, version),
            Test::Port(end, first, last) if first == last => port(end, first, version),
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

    /// How few packets it lets through: the more, the fewer.
    fn rank(&self) -> u32 {
        let rank = |lanes: &Lanes| match lanes.what {
            What::Anything => 0,
            What::Protocol(_) => 1,
            What::Port(_) => 2,
            What::Host(_) => 3,
            What::Nothing => u32::MAX,
        };
        match self {
            Self::Unknown => 0,
            Self::OneOf(all) => all.iter().map(rank).min().unwrap_or(u32::MAX),
        }
    }
}

fn of_ends<'a>(end: End, source: Field<'a>, destination: Field<'a>) -> Fields {
    match end {
        End::Source => Fields::new(&[source]),
        End::Destination | End::Both => Fields::new(&[destination]),
        End::Either => Fields::new(&[source, destination]),
    }
}

fn protocol(number: u8, version: Carries) -> Needs {
    let (at, place) = if version == Carries::V4 { (L2_LEN + 8, 1) } else { (L2_LEN + 6, 0) };
    let fields = |place| Fields::new(&[(place, &[number], &[0xFF])]);
    let what = What::Protocol(number);
    Needs::OneOf(vec![Lanes { at, in_frame: fields(place), word: Word::Ends, in_word: fields(4), what }])
}

fn port(end: End, number: u16, version: Carries) -> Needs {
    let at = L2_LEN + if version == Carries::V4 { 20 } else { 40 };
    let (there, here, all) = (number.to_be_bytes(), number.to_le_bytes(), [0xFF; 2]);
    let in_frame = of_ends(end, (0, &there, &all), (2, &there, &all));
    // As numbers.
    let in_word = Fields::new(&[(0, &here, &all), (2, &here, &all)]);
    Needs::OneOf(vec![Lanes { at, in_frame, word: Word::Ends, in_word, what: What::Port(number) }])
}

fn host(end: End, net: Net, version: Carries) -> Needs {
    let what = What::Host(net);
    match (net.address, version) {
        (IpAddr::V4(address), Carries::V4) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(net.prefix)).unwrap_or(0).to_be_bytes();
            let address = address.octets();
            let (source, destination): (Field, Field) = ((0, &address, &mask), (4, &address, &mask));
            let (in_frame, in_word) = (of_ends(end, source, destination), Fields::new(&[source, destination]));
            Needs::OneOf(vec![Lanes { at: L2_LEN + 12, in_frame, word: Word::First, in_word, what }])
        }
        (IpAddr::V6(address), Carries::V6) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(net.prefix)).unwrap_or(0).to_be_bytes();
            let address = address.octets();
            // The half that tells more.
            let upper = net.prefix <= 64;
            let half = if upper { 0..8 } else { 8..16 };
            let (Some(address), Some(mask)) = (address.get(half.clone()), mask.get(half)) else {
                return Needs::Unknown;
            };
            let in_word = Fields::new(&[(0, address, mask)]);
            let of = |at: u8, word, is_end: bool| {
                let in_frame = if is_end { in_word } else { Fields::NOWHERE };
                Lanes { at: L2_LEN + at, in_frame, word, in_word, what }
            };
            let (is_source, is_destination) = (matches!(end, End::Source | End::Either), end != End::Source);
            let source = if upper { of(8, Word::First, is_source) } else { of(16, Word::Second, is_source) };
            let destination =
                if upper { of(24, Word::Third, is_destination) } else { of(32, Word::Fourth, is_destination) };
            Needs::OneOf(vec![source, destination])
        }
        // An address of the other version is in no such packet.
        _ => Needs::OneOf(Vec::new()),
    }
}
