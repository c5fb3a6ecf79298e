//! What a capture gets to see of a burst, at the least cost: the words that the first look has read already.

use super::family::Family;
use super::{Burst, Meta, V4, V6, Work};
use crate::lb::capture::{Eye, Glance, Lanes, Word};
use crate::lb::packet::Packet;
use crate::lb::snapshot::Snapshot;
use crate::lb::table::Words;

/// Lets an eye look at a burst after the first look, whose `kinds` these are, and before anything is rewritten.
#[inline]
pub(super) fn before<P: Packet>(eye: &mut Eye, snapshot: &Snapshot, kinds: u8, packets: &[P], metas: &[Meta]) {
    if let Some(glance) = eye.glance() {
        let may = candidates(glance, kinds, packets, metas);
        eye.before(snapshot, packets, may);
    }
}

/// The packets that may match as they came, as bits.
#[inline(never)]
fn candidates<P: Packet>(glance: &Glance, kinds: u8, packets: &[P], metas: &[Meta]) -> u32 {
    // Nearly every burst is of one kind, and of no packet that may match.
    let of_kind = match kinds {
        kinds if kinds & !V4 == 0 => Some(&glance.v4),
        kinds if kinds & !V6 == 0 => Some(&glance.v6),
        _ => None,
    };
    if of_kind.is_some_and(|all| all.iter().all(|lanes| none(lanes, metas))) {
        return 0;
    }
    let any = |lanes: &[Lanes], meta: &Meta| lanes.iter().any(|lanes| lanes.may_match(&meta.probe.words));
    packets.iter().zip(metas).enumerate().fold(0, |may, (at, (packet, meta))| {
        let may_match = match meta.work {
            Work::Plain4 | Work::Flow4 => any(&glance.v4, meta),
            Work::Plain6 | Work::Flow6 => any(&glance.v6, meta),
            Work::Done | Work::Rare | Work::Handed | Work::Send4 | Work::Send6 => glance.may_match(packet.bytes()),
        };
        may | u32::from(may_match) << at
    })
}

/// Whether no packet may match; a loop for each of the words, so that none has to ask which one it is.
fn none(lanes: &Lanes, metas: &[Meta]) -> bool {
    let fields = lanes.in_word;
    let none = |word: fn(&Words) -> u64| fields.are_in_none(metas.iter().map(|meta| word(&meta.probe.words)));
    match lanes.word {
        Word::First => none(|words| words.addresses[0]),
        Word::Second => none(|words| words.addresses[1]),
        Word::Third => none(|words| words.addresses[2]),
        Word::Fourth => none(|words| words.addresses[3]),
        Word::Ends => none(|words| words.ends),
    }
}

/// Keeps the beginning of packets that are about to be sent the short way and may match then.
#[inline]
pub(super) fn keep_rewritten<A: Family, P: Packet>(eye: &mut Eye, metas: &[Meta], burst: &Burst<P>) {
    if !eye.sees_rewritten() {
        return;
    }
    for (at, meta) in metas.iter().enumerate().filter(|(_, meta)| meta.work == A::SEND) {
        if eye.may_match_rewritten(meta.lane) {
            let at = if burst.handed { usize::from(meta.at) } else { at };
            burst.packets.get(at).into_iter().for_each(|packet| eye.keep(at, packet));
        }
    }
}
