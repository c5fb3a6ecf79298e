//! What one worker holds while somebody looks on: the packets of the burst that it works on, as they came.

use std::sync::Arc;

use super::filter::{kind, kind_of};
use super::{Shot, Tap};
use crate::lb::clock::Now;
use crate::lb::ids::{PortId, WorkerId};
use crate::lb::packet::Packet;
use crate::lb::path::BURST;
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
        Self { tap, worker, heads, seen: Default::default(), any: 0, spare: None }
    }

    /// Gives all slots back, at the end.
    pub fn close(mut self) {
        let seen = self.seen.iter_mut().map(std::mem::take);
        let copies = seen.filter_map(|seen| if let Seen::Copy(shot) = seen { Some(shot) } else { None });
        copies.chain(self.spare.take()).for_each(|shot| self.tap.give_back(shot));
    }

    /// Looks at a burst as it came.
    #[inline(never)]
    pub fn before<P: Packet>(&mut self, packets: &[P]) {
        let tap = &self.tap;
        let changes = tap.filter.kinds & !kind::UNCHANGED != 0;
        if !changes {
            // What it is after will be as it came.
            return;
        }
        for (at, (packet, head)) in packets.iter().zip(&mut *self.heads).enumerate() {
            let bytes = packet.bytes();
            head.frame_len = packet.frame_len();
            head.keep(bytes);
            if tap.filter.may_match(bytes, head.frame_len) {
                let slot = self.spare.take().or_else(|| tap.slot());
                let seen = match slot {
                    Some(mut shot) => {
                        shot.before.copy(packet);
                        Seen::Copy(shot)
                    }
                    None => Seen::NoSlot,
                };
                self.any |= 1 << at;
                if let Some(place) = self.seen.get_mut(at) {
                    *place = seen;
                }
            }
        }
    }

    /// Looks at the same burst with its verdicts, before the packets go.
    #[inline(never)]
    pub fn after<P: Packet>(&mut self, now: Now, packets: &[P], verdicts: &[Verdict], port_of: impl Fn(&P) -> PortId) {
        let any = std::mem::take(&mut self.any);
        let kinds = self.tap.filter.kinds;
        for (at, (packet, &verdict)) in packets.iter().zip(verdicts).enumerate() {
            let kind = kind_of(verdict);
            if any & 1 << at != 0 {
                self.decided(at, packet, verdict, now, &port_of);
            } else if kind & kinds != 0 && self.tap.filter.matches_at_last(packet.bytes(), packet.frame_len(), verdict)
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
    #[inline]
    fn keep(&mut self, bytes: &[u8]) {
        if let Some(first) = bytes.first_chunk::<HEAD_BYTES>() {
            self.bytes = *first;
            self.copied = HEAD_BYTES;
        } else if let (Some(first), Some(room)) = (bytes.first_chunk::<60>(), self.bytes.first_chunk_mut::<60>()) {
            // Short frames are as long as this, or nearly.
            *room = *first;
            self.copied = bytes.len();
            self.bytes.iter_mut().zip(bytes).skip(60).for_each(|(to, from)| *to = *from);
        } else {
            self.copied = bytes.len();
            self.bytes.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
        }
    }

    fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.copied).unwrap_or_default()
    }
}
