//! The connection table of one worker and one address family.
//!
//! Bucketed open addressing: a connection lives in one of two buckets, chosen by a keyed hash, each a cache line of
//! tags. It is allocated and touched at start and never grows. Full is an answer, not an event.

mod bucket;
mod entry;
mod hasher;
mod key;

pub use bucket::Bucket;
use bucket::PLACES;
pub use entry::{Address, Entry, Notes};
pub use hasher::{Probe, TableHasher};
pub use key::{Words, ends};

use super::arch::prefetch;
use super::clock::Tick;
use super::connection::Phase;
pub use super::memory::OutOfMemory;
use super::memory::{Block, Footprint, Place};
use crate::wire::parse::FiveTuple;

/// Where an entry lives; stays valid until the entry is removed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Slot(u32);

impl Default for Slot {
    fn default() -> Self {
        Self::NONE
    }
}

impl Slot {
    /// No entry.
    pub const NONE: Slot = Slot(u32::MAX);
    const PLACE_BITS: u32 = 4;

    #[inline]
    fn new(bucket: usize, place: usize) -> Self {
        Slot(((bucket as u32) << Self::PLACE_BITS) | place as u32)
    }

    /// Which bucket.
    #[inline(always)]
    pub fn bucket(self) -> usize {
        (self.0 >> Self::PLACE_BITS) as usize
    }

    /// Which place in its bucket.
    #[inline(always)]
    pub fn place(self) -> usize {
        (self.0 & ((1 << Self::PLACE_BITS) - 1)) as usize
    }

    /// True unless this is [`Slot::NONE`].
    #[inline]
    pub fn is_some(self) -> bool {
        self != Self::NONE
    }
}

/// An insertion found both buckets full of connections that may not be pushed out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Full;

/// A new entry, and the one that gave its place.
#[derive(Debug)]
pub struct Inserted<A> {
    /// Where the new entry is.
    pub slot: Slot,
    /// Had to leave: timed out, or half-open and oldest. Its other direction, if any, is the caller's to remove.
    pub removed: Option<Removed<A>>,
}

/// An entry that left the table.
#[derive(Debug, Clone, Copy)]
pub struct Removed<A> {
    /// What it held.
    pub entry: Entry<A>,
    /// True if its time was over; false if it was pushed out.
    pub expired: bool,
}

/// See the module.
pub struct Table<A> {
    groups: Block<Group<A>>,
    sweep_at: usize,
}

/// A bucket and what its places hold, side by side, so that a lookup walks the page tables once: where a virtual
/// machine's memory is made of small pages, that takes as long as the memory itself.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub struct Group<A> {
    /// The line that is searched.
    pub bucket: Bucket,
    /// By place. Two more than there are places: so a group is an odd number of cache lines, and the buckets of a table spread
    /// over all sets of a cache. With 14, all of them are in an eighth of the sets, and each look-up of a burst pushes out
    /// what another has fetched (8 % of the time with 512 K connections).
    pub entries: [Entry<A>; STRIDE],
}

/// Share of the places that connections may take. Measured: up to here both buckets of a new one are practically never
/// full, whatever came and went before; at 75 % one insertion in 300,000 fails, at 80 % one in 2,000.
const LOAD_PERCENT: usize = 70;
/// A connection goes to its first bucket while that holds fewer, else to the emptier of its two.
const HOME_FIRST: u32 = 10;
/// Entries that a group has room for.
const STRIDE: usize = 16;
/// So many buckets before it looks at one, a sweep has it fetched.
const SWEEP_AHEAD: usize = 8;

impl<A: Address> Table<A> {
    /// A table in which `entries_max` entries find a place, in memory from `place`. Touches all of its memory, so that
    /// no page fault is left for the packet path.
    ///
    /// # Errors
    /// The system does not give that much memory.
    pub fn new(entries_max: usize, place: Place) -> Result<Self, OutOfMemory> {
        let free = Group { bucket: Bucket::default(), entries: [Entry::empty(); STRIDE] };
        Ok(Self { groups: Block::filled(Self::buckets_for(entries_max), free, place)?, sweep_at: 0 })
    }

    /// Memory of a table for so many entries, in bytes.
    pub fn bytes_for(entries_max: usize) -> u64 {
        (Self::buckets_for(entries_max) * size_of::<Group<A>>()) as u64
    }

    fn buckets_for(entries_max: usize) -> usize {
        // Two more, because small tables are less even.
        (entries_max * 100).div_ceil(LOAD_PERCENT * PLACES) + 2
    }

    /// Memory of the table in bytes.
    pub fn bytes(&self) -> usize {
        size_of_val(&*self.groups)
    }

    /// The same bytes by what they are backed with.
    pub fn footprint(&self) -> Footprint {
        self.groups.footprint()
    }

    /// Buckets there are, the unit of [`Self::sweep`].
    pub fn buckets(&self) -> usize {
        self.groups.len()
    }

    /// Fetches the bucket that a lookup of `hash` reads first.
    #[inline(always)]
    pub fn prefetch_bucket(&self, hash: u64) {
        if let Some(group) = self.groups.get(self.home(hash)) {
            prefetch(&group.bucket);
        }
    }

    /// The first entry whose tag fits, and fetches it; a hint for [`Self::find_at`].
    #[inline(always)]
    pub fn candidate(&self, hash: u64, now: Tick) -> Slot {
        let home = self.home(hash);
        let Some(group) = self.groups.get(home) else { return Slot::NONE };
        let Some(place) = group.bucket.matches(tag(hash)).next() else {
            self.prefetch_for_insert(group, home, hash, now);
            return Slot::NONE;
        };
        if let Some(entry) = group.entries.get(place) {
            prefetch(entry);
        }
        Slot::new(home, place)
    }

    /// All of it, by [`Slot::bucket`].
    #[inline(always)]
    pub fn groups(&mut self) -> &mut [Group<A>] {
        &mut self.groups
    }

    fn bucket(&self, number: usize) -> Option<&Bucket> {
        Some(&self.groups.get(number)?.bucket)
    }

    fn bucket_mut(&mut self, number: usize) -> Option<&mut Bucket> {
        Some(&mut self.groups.get_mut(number)?.bucket)
    }

    /// Fetches what an insertion under `hash` will want: the other bucket if it may have to be looked at, and the entry to
    /// be written.
    #[inline(never)]
    fn prefetch_for_insert(&self, group: &Group<A>, home: usize, hash: u64, now: Tick) {
        let bucket = &group.bucket;
        if (bucket.has_overflow() || bucket.used_count() >= HOME_FIRST)
            && let Some(other) = self.bucket(self.other(home, tag(hash)))
        {
            prefetch(other);
        }
        // The free one, or, if it must take somebody's place, that one.
        for place in [bucket.free(), bucket.first_to_leave(now)] {
            if let Some(entry) = place.and_then(|place| group.entries.get(place)) {
                prefetch(entry);
            }
        }
    }

    /// As [`Self::find`], trying `hint` first.
    #[inline]
    pub fn find_at(&self, hint: Slot, hash: u64, key: &FiveTuple<A>, now: Tick) -> Option<Slot> {
        // The table may have changed since the hint was taken: the tag says whether the place is in use at all.
        if hint.is_some() && self.entry(hint).is_some_and(|e| e.is(key)) && self.is_alive(hint, now) {
            return Some(hint);
        }
        self.find(hash, key, now)
    }

    /// The live entry with this key.
    pub fn find(&self, hash: u64, key: &FiveTuple<A>, now: Tick) -> Option<Slot> {
        let home = self.home(hash);
        if let Some(slot) = self.find_in(home, tag(hash), key) {
            return self.is_alive(slot, now).then_some(slot);
        }
        if !self.bucket(home)?.has_overflow() {
            return None;
        }
        let slot = self.find_in(self.other(home, tag(hash)), tag(hash), key)?;
        self.is_alive(slot, now).then_some(slot)
    }

    /// The entry with this key whose time is over, in both directions, but which no sweep has met yet.
    pub fn find_dead(&self, hash: u64, key: &FiveTuple<A>, now: Tick) -> Option<Slot> {
        let (home, tag) = (self.home(hash), tag(hash));
        let slot = self.find_in(home, tag, key).or_else(|| {
            // As in `find`: most buckets have nobody elsewhere, and the other one is another wait for memory.
            let elsewhere = self.bucket(home).is_some_and(Bucket::has_overflow);
            elsewhere.then(|| self.find_in(self.other(home, tag), tag, key)).flatten()
        })?;
        (!self.is_alive(slot, now)).then_some(slot)
    }

    /// True if there is no entry with this key, alive or not. Most often the bucket's line alone says so.
    #[inline]
    pub fn is_unknown(&self, hash: u64, key: &FiveTuple<A>) -> bool {
        let (home, tag) = (self.home(hash), tag(hash));
        let Some(bucket) = self.bucket(home) else { return false };
        (bucket.matches(tag).next().is_none() || self.find_in(home, tag, key).is_none())
            && (!bucket.has_overflow() || self.find_in(self.other(home, tag), tag, key).is_none())
    }

    /// True if an insertion under `hash` could take the place of a connection that is over or half-open.
    pub fn has_victim(&self, hash: u64, now: Tick) -> bool {
        let home = self.home(hash);
        self.victim(home, self.other(home, tag(hash)), now).is_some()
    }

    fn find_in(&self, bucket: usize, tag: u16, key: &FiveTuple<A>) -> Option<Slot> {
        let places = self.bucket(bucket)?.matches(tag);
        places.map(|place| Slot::new(bucket, place)).find(|&slot| self.entry(slot).is_some_and(|e| e.is(key)))
    }

    /// The entry at `slot`.
    #[inline]
    pub fn entry(&self, slot: Slot) -> Option<&Entry<A>> {
        self.groups.get(slot.bucket())?.entries.get(slot.place())
    }

    /// The entry at `slot`, to change all but its key.
    #[inline]
    pub fn entry_mut(&mut self, slot: Slot) -> Option<&mut Entry<A>> {
        self.groups.get_mut(slot.bucket())?.entries.get_mut(slot.place())
    }

    /// Lets the entry live until `deadline`, and says whether it may be pushed out.
    #[inline]
    pub fn refresh(&mut self, slot: Slot, deadline: Tick, evictable: bool) {
        if let Some(bucket) = self.bucket_mut(slot.bucket()) {
            bucket.set_deadline(slot.place(), deadline);
            bucket.set_evictable(slot.place(), evictable);
        }
    }

    /// When the entry's own direction times out.
    pub fn deadline(&self, slot: Slot) -> Tick {
        self.bucket(slot.bucket()).map_or(Tick(0), |b| b.deadline(slot.place()))
    }

    /// True while either direction of the connection has time left.
    #[inline]
    pub fn is_alive(&self, slot: Slot, now: Tick) -> bool {
        let Some(bucket) = self.bucket(slot.bucket()) else { return false };
        if bucket.tag(slot.place()) == 0 {
            return false;
        }
        if !bucket.deadline(slot.place()).reached(now) {
            return true;
        }
        // Each direction refreshes only its own line; the connection lives as long as the later of the two.
        let pair = self.entry(slot).map_or(Slot::NONE, |e| e.pair);
        pair.is_some() && !self.deadline(pair).reached(now)
    }

    /// Puts in an entry whose key is not in the table; a dead one with the same key must have been removed. With
    /// `replace`, it may only take the place of another.
    ///
    /// # Errors
    /// [`Full`] if both buckets hold only connections that are alive and not half-open.
    pub fn insert(
        &mut self,
        hash: u64,
        entry: Entry<A>,
        deadline: Tick,
        evictable: bool,
        replace: bool,
        now: Tick,
    ) -> Result<Inserted<A>, Full> {
        let (home, tag) = (self.home(hash), tag(hash));
        let other = self.other(home, tag);
        let mut removed = None;
        let free = if replace { None } else { self.free_for(home, other) };
        let slot = match free {
            Some(slot) => slot,
            None => {
                let victim = self.victim(home, other, now).ok_or(Full)?;
                let expired = !self.is_alive(victim, now);
                removed = self.remove(victim).map(|entry| Removed { entry, expired });
                victim
            }
        };
        let displaced = slot.bucket() != home;
        if displaced && let Some(bucket) = self.bucket_mut(home) {
            bucket.change_overflow(1);
        }
        if let Some(bucket) = self.bucket_mut(slot.bucket()) {
            bucket.occupy(slot.place(), tag, displaced, deadline, evictable);
        }
        if let Some(place) = self.entry_mut(slot) {
            *place = entry;
        }
        Ok(Inserted { slot, removed })
    }

    /// Removes the entry at `slot`; `None` if there is none.
    #[inline]
    pub fn remove(&mut self, slot: Slot) -> Option<Entry<A>> {
        let entry = *self.entry(slot)?;
        self.vacate(slot).then_some(entry)
    }

    /// Removes the entry at `slot` without reading it, which spares the wait for its memory; false if there is none.
    #[inline]
    pub fn vacate(&mut self, slot: Slot) -> bool {
        let Some(bucket) = self.bucket_mut(slot.bucket()) else { return false };
        let tag = bucket.tag(slot.place());
        if tag == 0 {
            return false;
        }
        let displaced = bucket.is_displaced(slot.place());
        bucket.vacate(slot.place());
        if let Some(place) = self.entry_mut(slot) {
            // No protocol, so that nobody takes it for a connection who comes with an old hint.
            *place = Entry::empty();
        }
        if displaced {
            let home = self.other(slot.bucket(), tag);
            if let Some(home) = self.bucket_mut(home) {
                home.change_overflow(-1);
            }
        }
        true
    }

    /// Removes the other direction of a connection that ended; it comes back only where the end may need it: for the local
    /// port that it holds, and for who is to be told that an established connection is over.
    #[inline]
    pub fn remove_pair(&mut self, entry: &Entry<A>) -> Option<Entry<A>> {
        if entry.notes.has(Notes::LOCAL) || entry.state.phase() == Phase::TcpEstablished {
            return self.remove(entry.pair);
        }
        if entry.pair.is_some() {
            self.vacate(entry.pair);
        }
        None
    }

    /// Looks at the next `count` buckets in turn and removes what has timed out, both directions at once; calls `gone`
    /// once a connection, with its first entry found and what [`Self::remove_pair`] says of the other one.
    pub fn sweep(&mut self, count: usize, now: Tick, mut gone: impl FnMut(&Entry<A>, Option<&Entry<A>>)) {
        for _ in 0..count.min(self.groups.len()) {
            let at = self.sweep_at;
            self.sweep_at = if at + 1 == self.groups.len() { 0 } else { at + 1 };
            if let Some(group) = self.groups.get(at + SWEEP_AHEAD) {
                prefetch(&group.bucket);
            }
            let Some(bucket) = self.bucket(at) else { continue };
            for place in bucket.used() {
                let slot = Slot::new(at, place);
                if self.is_alive(slot, now) {
                    continue;
                }
                if let Some(entry) = self.remove(slot) {
                    let pair = self.remove_pair(&entry);
                    gone(&entry, pair.as_ref());
                }
            }
        }
    }

    /// Live entries of `count` buckets from bucket `from` on, in table order.
    pub fn entries_from(&self, from: usize, count: usize, now: Tick) -> impl Iterator<Item = (Slot, &Entry<A>)> {
        let buckets = from..from.saturating_add(count).min(self.groups.len());
        buckets
            .flat_map(|b| self.bucket(b).into_iter().flat_map(move |k| k.used().map(move |p| Slot::new(b, p))))
            .filter(move |&slot| self.is_alive(slot, now))
            .filter_map(|slot| Some((slot, self.entry(slot)?)))
    }

    /// A free place for a new connection. Filling the first bucket to the brim before the second is looked at would
    /// leave too many full pairs.
    fn free_for(&self, home: usize, other: usize) -> Option<Slot> {
        let used = |bucket: usize| self.bucket(bucket).map_or(u32::MAX, Bucket::used_count);
        let at_home = used(home);
        let bucket = if at_home < HOME_FIRST || at_home <= used(other) { home } else { other };
        Some(Slot::new(bucket, self.bucket(bucket)?.free()?))
    }

    /// Who leaves when both buckets are full: somebody timed out, else the half-open connection that ends first.
    fn victim(&self, home: usize, other: usize, now: Tick) -> Option<Slot> {
        let over = |b: usize| {
            let places = self.bucket(b).map(|k| k.reached(now));
            places.into_iter().flatten().map(move |p| Slot::new(b, p)).find(|&slot| !self.is_alive(slot, now))
        };
        if let Some(dead) = over(home).or_else(|| over(other)) {
            return Some(dead);
        }
        let first = |b: usize| self.bucket(b)?.first_to_leave(now).map(|p| Slot::new(b, p));
        // Nobody can choose the two buckets, so that the one at home leaves is no favour to anybody.
        first(home).or_else(|| first(other))
    }

    #[inline]
    fn home(&self, hash: u64) -> usize {
        // The high half picks the bucket by multiplication, so any number of buckets works; the low bits are the tag.
        (((hash >> 32) * self.groups.len() as u64) >> 32) as usize
    }

    /// The other bucket of a connection with this tag; applied twice it is the first one again, so that an entry's home
    /// can be told from where it lives.
    #[inline]
    fn other(&self, bucket: usize, tag: u16) -> usize {
        let n = self.groups.len() as u64;
        let mixed = ((u64::from(tag).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) * n) >> 32;
        let sum = mixed + n - bucket as u64;
        (if sum >= n { sum - n } else { sum }) as usize
    }
}

#[inline]
fn tag(hash: u64) -> u16 {
    (hash as u16).max(1)
}

#[cfg(test)]
mod tests;
