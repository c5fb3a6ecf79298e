//! Which packets a capture is to show: tests joined by and, or and not, made to a list of steps that a worker walks.

use std::net::IpAddr;

use super::glance::Glance;
use super::view::{Carries, View};
use crate::lb::verdict::{DropReason, Verdict};

/// Which end of a packet a test is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// Where it comes from.
    Source,
    /// Where it goes to.
    Destination,
    /// One of them.
    Either,
    /// Both of them.
    Both,
}

/// A comparison, as in `tcp[tcpflags] & tcp-syn != 0`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Compare {
    /// Equal.
    Equal,
    /// Not equal.
    Unequal,
}

/// An address with the bits of it that count.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Net {
    /// With zeros behind the prefix.
    pub address: IpAddr,
    /// Bits that count.
    pub prefix: u8,
}

/// One thing that is true of a packet or not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Test {
    /// Always true.
    Any,
    /// What it carries.
    Carries(Carries),
    /// Whether it is tagged, and with which VLAN.
    Vlan(Option<u16>),
    /// The upper layer.
    Protocol(u8),
    /// Its addresses.
    Host(End, Net),
    /// Its MAC addresses.
    Mac(End, [u8; 6]),
    /// Its ports, with the first and the last that count.
    Port(End, u16, u16),
    /// Its length in bytes, at the least and at the most.
    Len(u32, u32),
    /// TCP's flags under a mask.
    TcpFlags(u8, Compare, u8),
    /// What became of it, as bits of [`kind`].
    Verdict(u8),
    /// Why it was dropped.
    Reason(DropReason),
}

/// Tests, joined.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Expression {
    /// One test.
    Test(Test),
    /// The opposite.
    Not(Box<Expression>),
    /// Both.
    And(Box<Expression>, Box<Expression>),
    /// One of them at least.
    Or(Box<Expression>, Box<Expression>),
}

/// Kinds of verdicts as bits.
pub mod kind {
    /// Leaves, whole or in pieces.
    pub const FORWARD: u8 = 1;
    /// Is our answer.
    pub const REPLY: u8 = 2;
    /// Goes to the host.
    pub const PUNT: u8 = 4;
    /// Goes to another worker.
    pub const HANDOFF: u8 = 8;
    /// Waits for its next hop.
    pub const HOLD: u8 = 16;
    /// Waits for its datagram's first fragment.
    pub const AWAIT: u8 = 32;
    /// Is dropped.
    pub const DROP: u8 = 64;
    /// All of them.
    pub const ALL: u8 = 127;
    /// Those that leave the packet as it came.
    pub const UNCHANGED: u8 = PUNT | HANDOFF | AWAIT | DROP;
    /// Those that come a second time, with what became of the packet then.
    pub const FOR_NOW: u8 = HANDOFF | AWAIT;
}

/// The bit of a verdict.
#[inline]
pub fn kind_of(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Tx(_) | Verdict::Fragment(_) => kind::FORWARD,
        Verdict::Reply(_) => kind::REPLY,
        Verdict::Punt(..) => kind::PUNT,
        Verdict::Handoff(_) => kind::HANDOFF,
        Verdict::Hold(_) => kind::HOLD,
        Verdict::Await(_) => kind::AWAIT,
        Verdict::Drop(_) => kind::DROP,
    }
}

/// More tests than a worker looks at.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "the filter has {0} tests: at most {STEPS_MAX} are looked at, so name a network or a range of ports instead of each one"
)]
pub struct TooLong(usize);

/// Tests of the longest filter.
pub const STEPS_MAX: usize = 100;

/// See the module.
#[derive(Clone, Debug)]
pub struct Filter {
    whole: Program,
    /// The same before there is a verdict: true of each packet that some verdict makes match.
    possible: Program,
    /// What can be said at first sight.
    glance: Glance,
    /// Kinds of verdicts that can match.
    pub kinds: u8,
    /// Whether the verdict matters beyond its kind being shown at all.
    pub asks_verdict: bool,
}

impl Filter {
    /// Makes the steps.
    ///
    /// # Errors
    /// See [`TooLong`].
    pub fn new(expression: &Expression) -> Result<Self, TooLong> {
        let tests = expression.count();
        if tests > STEPS_MAX {
            return Err(TooLong(tests));
        }
        let (matching, _) = expression.kinds();
        // What comes again is shown then, so that each packet is shown once; unless it is asked for.
        let hidden = kind::FOR_NOW & !expression.named_kinds();
        Ok(Self {
            whole: Program::of(expression, false),
            possible: Program::of(expression, true),
            glance: Glance::of(expression),
            kinds: matching & !hidden,
            asks_verdict: expression.has_verdict(),
        })
    }

    /// What can be said at first sight.
    #[inline]
    pub(in crate::lb) fn glance(&self) -> &Glance {
        &self.glance
    }

    /// False if no verdict can make this frame match.
    pub fn may_match(&self, bytes: &[u8], frame_len: usize) -> bool {
        self.glance.may_match(bytes) && self.possible.is_true(&View::of(bytes, frame_len), None)
    }

    /// Whether this frame with this verdict matches.
    pub fn matches(&self, bytes: &[u8], frame_len: usize, verdict: Verdict) -> bool {
        self.whole.is_true(&View::of(bytes, frame_len), Some(verdict))
    }
}

/// Where to go on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Next {
    Step(u8),
    Match,
    NoMatch,
}

#[derive(Clone, Copy, Debug)]
struct Step {
    test: Test,
    yes: Next,
    no: Next,
}

/// Steps that each lead to one that stands before them, so that every walk ends.
#[derive(Clone, Debug)]
struct Program {
    steps: Box<[Step]>,
    first: Next,
}

impl Program {
    fn of(expression: &Expression, possible: bool) -> Self {
        let mut steps = Vec::new();
        let first = Writer { steps: &mut steps, possible }.write(expression, Next::Match, Next::NoMatch, false);
        Self { steps: steps.into(), first }
    }

    fn is_true(&self, view: &View, verdict: Option<Verdict>) -> bool {
        let mut next = self.first;
        while let Next::Step(at) = next {
            let Some(step) = self.steps.get(usize::from(at)) else { return false };
            next = if step.test.is_true(view, verdict) { step.yes } else { step.no };
        }
        next == Next::Match
    }
}

struct Writer<'a> {
    steps: &'a mut Vec<Step>,
    possible: bool,
}

impl Writer<'_> {
    /// Writes what leads to `yes` or `no`, and says where it begins.
    fn write(&mut self, expression: &Expression, yes: Next, no: Next, negated: bool) -> Next {
        match expression {
            // As if it were what is needed.
            Expression::Test(Test::Verdict(_) | Test::Reason(_)) if self.possible => {
                if negated {
                    no
                } else {
                    yes
                }
            }
            Expression::Test(Test::Any) => yes,
            Expression::Test(test) => {
                self.steps.push(Step { test: *test, yes, no });
                Next::Step((self.steps.len() - 1) as u8)
            }
            Expression::Not(inner) => self.write(inner, no, yes, !negated),
            Expression::And(a, b) => {
                let then = self.write(b, yes, no, negated);
                self.write(a, then, no, negated)
            }
            Expression::Or(a, b) => {
                let otherwise = self.write(b, yes, no, negated);
                self.write(a, yes, otherwise, negated)
            }
        }
    }
}

impl Expression {
    fn count(&self) -> usize {
        match self {
            Self::Test(_) => 1,
            Self::Not(inner) => inner.count(),
            Self::And(a, b) | Self::Or(a, b) => a.count() + b.count(),
        }
    }

    fn tests(&self, each: &mut impl FnMut(&Test)) {
        match self {
            Self::Test(test) => each(test),
            Self::Not(inner) => inner.tests(each),
            Self::And(a, b) | Self::Or(a, b) => {
                a.tests(each);
                b.tests(each);
            }
        }
    }

    fn has_verdict(&self) -> bool {
        let mut found = false;
        self.tests(&mut |test| found |= matches!(test, Test::Verdict(_) | Test::Reason(_)));
        found
    }

    /// Kinds of verdicts that some test names.
    fn named_kinds(&self) -> u8 {
        let mut named = 0;
        self.tests(&mut |test| {
            if let Test::Verdict(kinds) = test {
                named |= kinds;
            }
        });
        named
    }

    /// Kinds of verdicts with which this may be true, and with which it may be false.
    fn kinds(&self) -> (u8, u8) {
        match self {
            Self::Test(Test::Verdict(kinds)) => (*kinds, kind::ALL & !kinds),
            Self::Test(Test::Reason(_)) => (kind::DROP, kind::ALL),
            Self::Test(_) => (kind::ALL, kind::ALL),
            Self::Not(inner) => {
                let (yes, no) = inner.kinds();
                (no, yes)
            }
            Self::And(a, b) => {
                let (a, b) = (a.kinds(), b.kinds());
                (a.0 & b.0, a.1 | b.1)
            }
            Self::Or(a, b) => {
                let (a, b) = (a.kinds(), b.kinds());
                (a.0 | b.0, a.1 & b.1)
            }
        }
    }
}

impl Test {
    fn is_true(&self, view: &View, verdict: Option<Verdict>) -> bool {
        match *self {
            Self::Any => true,
            Self::Carries(what) => view.carries == what,
            Self::Vlan(id) => view.vlan.is_some() && (id.is_none() || view.vlan == id),
            Self::Protocol(number) => matches!(view.carries, Carries::V4 | Carries::V6) && view.protocol == number,
            Self::Host(end, net) => {
                view.addresses().is_some_and(|(src, dst)| end.holds(net.contains(src), net.contains(dst)))
            }
            Self::Mac(end, mac) => {
                let at = |from: usize| view.bytes.get(from..from + 6) == Some(&mac[..]);
                end.holds(at(6), at(0))
            }
            Self::Port(end, first, last) => view.ports().is_some_and(|(src, dst)| {
                let range = first..=last;
                end.holds(range.contains(&src), range.contains(&dst))
            }),
            Self::Len(least, most) => (least as usize..=most as usize).contains(&view.frame_len),
            Self::TcpFlags(mask, compare, value) => view.tcp_flags().is_some_and(|flags| match compare {
                Compare::Equal => flags & mask == value,
                Compare::Unequal => flags & mask != value,
            }),
            Self::Verdict(kinds) => verdict.is_some_and(|verdict| kind_of(verdict) & kinds != 0),
            Self::Reason(reason) => verdict == Some(Verdict::Drop(reason)),
        }
    }
}

impl End {
    fn holds(self, source: bool, destination: bool) -> bool {
        match self {
            Self::Source => source,
            Self::Destination => destination,
            Self::Either => source || destination,
            Self::Both => source && destination,
        }
    }
}

impl Net {
    fn contains(self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(net), IpAddr::V4(address)) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.prefix)).unwrap_or(0);
                (net.to_bits() ^ address.to_bits()) & mask == 0
            }
            (IpAddr::V6(net), IpAddr::V6(address)) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.prefix)).unwrap_or(0);
                (net.to_bits() ^ address.to_bits()) & mask == 0
            }
            _ => false,
        }
    }
}
