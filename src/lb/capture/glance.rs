//! A look at fixed places of a frame that rules nearly every one out before its headers are walked.
//!
//! A filter is true only where one of a few fields has one of a few values. Eight bytes of the frame, or the words that
//! the packet path has made of them, are compared with them at once, without a branch for each: a lane that is equal is
//! zero after the exclusive or, and taking one away from it then sets its highest bit.

use super::filter::Expression;
use super::needs::Needs;
use super::view::Carries;
use super::written::What;
use crate::lb::table::Words;
use crate::wire::protocol;

/// See the module.
#[derive(Clone, Debug)]
pub(in crate::lb) struct Glance {
    /// What is needed of IPv4 packets: one of these.
    pub v4: Vec<Lanes>,
    /// The same for IPv6.
    pub v6: Vec<Lanes>,
}

/// Fields that lie close together, one of which has to have its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::lb) struct Lanes {
    /// Where the fields are, in bytes from the beginning of a frame without a VLAN tag, and their values there.
    pub at: u8,
    pub in_frame: Fields,
    /// Where the fields are among the words of a five-tuple, and their values there: at either end, so that what is turned
    /// round for an answer is found as well.
    pub word: Word,
    pub in_word: Fields,
    /// The fields and values again, to think about.
    pub what: What,
}

/// One of the words of a five-tuple.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::lb) enum Word {
    /// Of the addresses.
    First,
    Second,
    Third,
    Fourth,
    /// Ports and protocol.
    Ends,
}

/// Values in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(in crate::lb) struct Fields {
    mask: u64,
    value: u64,
    /// The lowest bit of each field.
    ones: u64,
    /// The highest bit of each field.
    highs: u64,
}

/// Bytes of a VLAN tag.
const TAG_LEN: usize = 4;
/// EtherType of IPv4.
const V4: [u8; 2] = [0x08, 0x00];
/// First byte of an IPv4 header without options.
const V4_FIRST: u8 = 0x45;
/// EtherType of IPv6.
const V6: [u8; 2] = [0x86, 0xDD];
/// EtherType of a VLAN tag.
const TAG: [u8; 2] = [0x81, 0x00];

impl Glance {
    pub(super) fn of(expression: &Expression) -> Self {
        let lanes = |version| Needs::of(expression, false, version).lanes();
        Self { v4: lanes(Carries::V4), v6: lanes(Carries::V6) }
    }

    /// False only if the frame does not match.
    pub(in crate::lb) fn may_match(&self, frame: &[u8]) -> bool {
        let Some(head) = frame.first_chunk::<24>() else { return true };
        let (tag_len, kind, first, next) = if head[12..14] == TAG {
            let Some(head) = frame.first_chunk::<{ 24 + TAG_LEN }>() else { return true };
            (TAG_LEN, [head[16], head[17]], head[18], head[24])
        } else {
            (0, [head[12], head[13]], head[14], head[20])
        };
        match kind {
            V4 if first == V4_FIRST => self.v4.iter().any(|lanes| lanes.may_match_frame(frame, tag_len)),
            V6 if !is_extension(next) => self.v6.iter().any(|lanes| lanes.may_match_frame(frame, tag_len)),
            _ => true,
        }
    }
}

/// Behind an extension header everything has other places.
fn is_extension(next: u8) -> bool {
    matches!(next, protocol::HOP_BY_HOP | protocol::ROUTING | protocol::FRAGMENT | protocol::DESTINATION_OPTIONS)
}

impl Lanes {
    /// True also where too little of the frame is there to say.
    fn may_match_frame(&self, frame: &[u8], tag_len: usize) -> bool {
        let at = usize::from(self.at) + tag_len;
        let window = frame.get(at..at + 8).and_then(|window| window.first_chunk::<8>());
        window.is_none_or(|&window| self.in_frame.are_in(u64::from_le_bytes(window)))
    }

    /// Whether a five-tuple may match.
    pub(in crate::lb) fn may_match(&self, words: &Words) -> bool {
        self.in_word.are_in(self.word.of(words))
    }
}

impl Word {
    /// This one of them.
    pub(in crate::lb) fn of(self, words: &Words) -> u64 {
        match self {
            Self::First => words.addresses[0],
            Self::Second => words.addresses[1],
            Self::Third => words.addresses[2],
            Self::Fourth => words.addresses[3],
            Self::Ends => words.ends,
        }
    }
}

/// First byte, value and mask of a field.
pub(super) type Field<'a> = (usize, &'a [u8], &'a [u8]);

impl Fields {
    /// In no word.
    pub(super) const NOWHERE: Self = Self { mask: 0, value: 0, ones: 0, highs: 0 };
    /// In every word.
    pub(super) const EVERYWHERE: Self = Self { mask: 0, value: 0, ones: 1, highs: 1 << 63 };

    /// In a word that is read from its bytes as a little-endian number.
    pub(super) fn new(fields: &[Field]) -> Self {
        let mut all = Self::NOWHERE;
        for &(at, value, mask) in fields {
            for (place, (value, mask)) in (at..).zip(value.iter().zip(mask)) {
                all.value |= u64::from(value & mask) << (8 * place);
                all.mask |= u64::from(*mask) << (8 * place);
            }
            all.ones |= 1 << (8 * at);
            all.highs |= 1 << (8 * (at + value.len()) - 1);
        }
        all
    }

    /// Whether one of the fields has its value; also true of a few words where none has.
    fn are_in(&self, word: u64) -> bool {
        self.marks(word) & self.highs != 0
    }

    /// Whether that is so of no word, without a branch for each.
    #[inline(always)]
    pub(in crate::lb) fn are_in_none(&self, words: impl Iterator<Item = u64>) -> bool {
        words.fold(0, |marks, word| marks | self.marks(word)) & self.highs == 0
    }

    /// Has the highest bit of each field that has its value.
    #[inline(always)]
    fn marks(&self, word: u64) -> u64 {
        let unequal = (word & self.mask) ^ self.value;
        unequal.wrapping_sub(self.ones) & !unequal
    }
}
