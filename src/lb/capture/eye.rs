//! What one worker holds while somebody looks on: the packets of the burst that it works on, as they came.

use std::sync::Arc;

use super::filter::{kind, kind_of};
use super::{Glance, Shot, Tap};
use crate::lb::clock::Now;
use crate::lb::ids::{PortId, WorkerId};
use crate::lb::packet::Packet;
use crate::lb::path::BURST;
use crate::lb::snapshot::Snapshot;
use crate::lb::verdict::Verdict;

/// Bytes that are kept of each packet in case that it matches only when it leaves: all headers that are rewritten.
const HEAD_BYTES: usize = 96;

/// See the module.
#[derive(Debug)]
pub struct Eye {
    tap: Arc<Tap>,
    worker: WorkerId,
    /// Of the packets of the burst.
    heads: Box<[Head; BURST]>,
    seen: [Seen; BURST],
    /// Which of `seen` are something, as bits.
    any: u32,
    /// Of which packets the beginning is kept, as bits.
    kept: u32,
    /// What the tap's `rewritten` said of the burst.
    sees_rewritten: bool,
    sees_long_way: bool,
    /// A slot that was taken in vain.
    spare: Option<Box<Shot>>,
}

/// The beginning of a packet as it came.
#[derive(Clone, Copy, Debug)]
struct Head {
    bytes: [u8; HEAD_BYTES],
    copied: usize,
    frame_len: usize,
}

/// What is known of a packet before its verdict.
#[derive(Debug, Default)]
enum Seen {
    /// It does not match as it came.
    #[default]
    Nothing,
    /// It may match, and is copied.
    Copy(Box<Shot>),
    /// It may match, and there was no slot.
    NoSlot,
}

impl Eye {
    /// For one worker.
    pub fn new(tap: Arc<Tap>, worker: WorkerId) -> Self {
        let heads = Box::new([Head { bytes: [0; HEAD_BYTES], copied: 0, frame_len: 0 }; BURST]);
        Self {
            tap,
            worker,
            heads,
            seen: Default::default(),
            any: 0,
            kept: 0,
            sees_rewritten: false,
            sees_long_way: false,
            spare: None,
        }
    }

    /// Gives all slots back, at the end.
    pub fn close(mut self) {
        let seen = self.seen.iter_mut().map(std::mem::take);
        let copies = seen.filter_map(|seen| if let Seen::Copy(shot) = seen { Some(shot) } else { None });
        copies.chain(self.spare.take()).for_each(|shot| self.tap.give_back(shot));
    }

    /// What can be said of a packet at first sight; `None` if it will do to look at it when it has its verdict, because it is
    /// then as it came.
    #[inline]
    pub(in crate::lb) fn glance(&self) -> Option<&Glance> {
        let filter = &self.tap.filter;
        (filter.kinds & !kind::UNCHANGED != 0).then(|| filter.glance())
    }

    /// Looks at a burst as it came; `may` has at least those that match as they came, as bits.
    #[inline(never)]
    pub fn before<P: Packet>(&mut self, snapshot: &Snapshot, packets: &[P], may: u32) {
        let is_known = self.tap.rewritten.knows(snapshot);
        self.sees_rewritten = self.tap.rewritten.is_any();
        self.sees_long_way = self.tap.rewritten.is_any_on_the_long_way();
        if !is_known {
            (0..).zip(packets).for_each(|(at, packet)| self.keep(at, packet));
        }
        for at in bits(may) {
            let Some(packet) = packets.get(at) else { continue };
            self.keep(at, packet);
            let Self { tap, seen, any, spare, .. } = self;
            let Some(place) = seen.get_mut(at) else { continue };
            if tap.filter.may_match(packet.bytes(), packet.frame_len()) {
                *any |= 1 << at;
                *place = match spare.take().or_else(|| tap.slot()) {
                    Some(mut shot) => {
                        shot.before.copy(packet);
                        Seen::Copy(shot)
                    }
                    None => Seen::NoSlot,
                };
            }
        }
    }

    /// Whether some packets that take the short way may match as they leave.
    #[inline]
    pub(in crate::lb) fn sees_rewritten(&self) -> bool {
        self.sees_rewritten
    }

    /// Whether packets may that go to or come from the backend in a slot.
    #[inline]
    pub(in crate::lb) fn may_match_rewritten(&self, slot: u32) -> bool {
        self.tap.rewritten.has(slot)
    }

    /// [`keep`](Self::keep)s a TCP or UDP packet that is about to take the long way, if it may match then.
    #[inline]
    pub(in crate::lb) fn keep_flow<P: Packet>(&mut self, at: usize, packet: &P) {
        if self.sees_long_way {
            self.keep(at, packet);
        }
    }

    /// Keeps the beginning of a packet that is about to be rewritten, and may match then.
    #[inline(never)]
    pub(in crate::lb) fn keep<P: Packet>(&mut self, at: usize, packet: &P) {
        if self.kept & 1 << at == 0
            && let Some(head) = self.heads.get_mut(at)
        {
            head.keep(packet.bytes(), packet.frame_len());
            self.kept |= 1 << at;
        }
    }

    /// Looks at the same burst with its verdicts, before the packets go. `all_sent` if all of them took the short way.
    #[inline(never)]
    pub fn after<P: Packet>(
        &mut self,
        now: Now,
        packets: &[P],
        verdicts: &[Verdict],
        all_sent: bool,
        port_of: impl Fn(&P) -> PortId,
    ) {
        let (any, kept) = (std::mem::take(&mut self.any), std::mem::take(&mut self.kept));
        let kinds = self.tap.filter.kinds;
        let may = match kinds & !kind::UNCHANGED {
            0 if all_sent => 0,
            0 => of_kinds(verdicts, kinds),
            // All others match as they came, or not at all.
            _ => kept,
        };
        let glance = self.tap.filter.glance();
        let hits = |&at: &usize| packets.get(at).is_some_and(|packet| glance.may_match(packet.bytes()));
        let hits = bits(may & !any).filter(hits).fold(0, |hits, at| hits | 1 << at);
        for at in bits(hits | any) {
            let (Some(packet), Some(&verdict)) = (packets.get(at), verdicts.get(at)) else { continue };
            if any & 1 << at != 0 {
                self.decided(at, packet, verdict, now, &port_of);
            } else if kind_of(verdict) & kinds != 0
                && self.tap.filter.matches(packet.bytes(), packet.frame_len(), verdict)
            {
                self.matches_late(at, packet, verdict, now, &port_of);
            }
        }
    }

    /// A packet that waited and is dropped now, which nobody looked at again.
    #[cold]
    pub fn dropped<P: Packet>(&mut self, now: Now, packet: &P, verdict: Verdict, came_by: PortId) {
        let filter = &self.tap.filter;
        if kind_of(verdict) & filter.kinds != 0 && filter.matches(packet.bytes(), packet.frame_len(), verdict) {
            self.matches_late(BURST, packet, verdict, now, &|_: &P| came_by);
        }
    }

    /// A packet that may match by how it came has its verdict.
    #[cold]
    fn decided<P: Packet>(
        &mut self,
        at: usize,
        packet: &P,
        verdict: Verdict,
        now: Now,
        port_of: &impl Fn(&P) -> PortId,
    ) {
        let seen = self.seen.get_mut(at).map(std::mem::take).unwrap_or_default();
        let filter = &self.tap.filter;
        let matches = kind_of(verdict) & filter.kinds != 0
            && self.is_of_port(verdict, port_of(packet))
            && (!filter.asks_verdict
                || self.heads.get(at).is_some_and(|head| filter.matches(head.bytes(), head.frame_len, verdict))
                || filter.matches(packet.bytes(), packet.frame_len(), verdict));
        match seen {
            Seen::Nothing => {}
            Seen::NoSlot if matches => self.tap.lose(),
            Seen::NoSlot => {}
            Seen::Copy(shot) if matches && self.tap.is_allowed() => {
                self.show(shot, packet, verdict, now, port_of);
            }
            Seen::Copy(shot) => {
                if let Some(shot) = self.spare.replace(shot) {
                    self.tap.give_back(shot);
                }
            }
        }
    }

    /// A packet matches by how it leaves, or only with its verdict.
    #[cold]
    fn matches_late<P: Packet>(
        &mut self,
        at: usize,
        packet: &P,
        verdict: Verdict,
        now: Now,
        port_of: &impl Fn(&P) -> PortId,
    ) {
        if !self.is_of_port(verdict, port_of(packet)) || !self.tap.is_allowed() {
            return;
        }
        let Some(mut shot) = self.spare.take().or_else(|| self.tap.slot()) else { return self.tap.lose() };
        match self.heads.get(at).filter(|_| kind_of(verdict) & kind::UNCHANGED == 0) {
            // The whole frame if it did not grow longer than what is kept of it.
            Some(head) => shot.before.copy_bytes(head.bytes(), head.frame_len),
            None => shot.before.copy(packet),
        }
        self.show(shot, packet, verdict, now, port_of);
    }

    fn show<P: Packet>(
        &mut self,
        mut shot: Box<Shot>,
        packet: &P,
        verdict: Verdict,
        now: Now,
        port_of: &impl Fn(&P) -> PortId,
    ) {
        (shot.at, shot.verdict, shot.worker, shot.came_by) = (now, verdict, self.worker, port_of(packet));
        if kind_of(verdict) & kind::UNCHANGED == 0 {
            shot.after.copy(packet);
        } else {
            shot.after.copy_bytes(&[], 0);
        }
        self.tap.show(shot);
    }

    fn is_of_port(&self, verdict: Verdict, came_by: PortId) -> bool {
        self.tap.port.is_none_or(|port| {
            let leaves_by = match verdict {
                Verdict::Tx(out) | Verdict::Fragment(out) | Verdict::Reply(out) | Verdict::Punt(out, _) => Some(out),
                Verdict::Hold(_) | Verdict::Await(_) | Verdict::Handoff(_) | Verdict::Drop(_) => None,
            };
            came_by == port || leaves_by == Some(port)
        })
    }
}

impl Head {
    /// Lengths are known beforehand wherever frames have one of the usual, so that all of it is a few wide loads.
    #[inline(always)]
    fn keep(&mut self, bytes: &[u8], frame_len: usize) {
        self.frame_len = frame_len;
        if let Some(first) = bytes.first_chunk::<HEAD_BYTES>() {
            self.bytes = *first;
            self.copied = HEAD_BYTES;
        } else {
            self.keep_short(bytes);
        }
    }

    #[inline(never)]
    fn keep_short(&mut self, bytes: &[u8]) {
        self.copied = bytes.len();
        let (first, last) = (bytes.first_chunk::<48>(), bytes.last_chunk::<48>());
        let rest = bytes.len().checked_sub(48);
        let room = rest.and_then(|rest| self.bytes.get_mut(rest..)?.first_chunk_mut::<48>());
        if let (Some(first), Some(last), Some(room)) = (first, last, room) {
            // One over the other.
            *room = *last;
            if let Some(room) = self.bytes.first_chunk_mut::<48>() {
                *room = *first;
            }
        } else {
            self.bytes.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
        }
    }

    fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.copied).unwrap_or_default()
    }
}

/// The numbers of the bits that are set, from the lowest on.
fn bits(mut set: u32) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let at = set.trailing_zeros();
        set &= set.wrapping_sub(1);
        (at < u32::BITS).then_some(at as usize)
    })
}

/// The verdicts of these kinds, as bits.
#[inline]
fn of_kinds(verdicts: &[Verdict], kinds: u8) -> u32 {
    let of_kinds = |(at, &verdict): (usize, &Verdict)| u32::from(kind_of(verdict) & kinds != 0) << at;
    verdicts.iter().enumerate().map(of_kinds).fold(0, |all, one| all | one)
}
