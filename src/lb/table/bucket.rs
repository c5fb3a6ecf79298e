//! One cache line of the connection table: tags to search and deadlines to expire by.

use crate::lb::arch;
use crate::lb::clock::Tick;

/// Places for connections in a bucket.
pub const PLACES: usize = 14;
const ALL: u16 = (1 << PLACES) - 1;
const LANES: usize = 16;
/// In the tags: how many connections belong here by their hash and live in their other bucket.
const OVERFLOW: usize = 14;
/// In the tags: places whose connection belongs to the other bucket by its hash, one bit each.
const DISPLACED: usize = 15;

/// Tags and deadlines of up to 14 connections. A lookup, a refresh and an expiry scan touch only this line.
#[derive(Clone, Copy, Default, Debug)]
#[repr(C, align(64))]
pub struct Bucket {
    /// 16 bits of each connection's hash, 0 = free. The last two are not places, so that 16 lanes load at once: see
    /// [`OVERFLOW`] and [`DISPLACED`].
    tags: [u16; LANES],
    /// In seconds. The last two are none, as with the tags: see [`EVICTABLE`].
    deadlines: [u16; LANES],
}

/// In the deadlines: places whose connection may be pushed out by a newer one, one bit each.
const EVICTABLE: usize = 14;

/// Set bits are places; iterates from the lowest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Places(u16);

impl Iterator for Places {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        if self.0 == 0 {
            return None;
        }
        let place = self.0.trailing_zeros() as usize;
        self.0 &= self.0 - 1;
        Some(place)
    }
}

impl Bucket {
    /// Places whose tag is `tag`.
    #[inline]
    pub fn matches(&self, tag: u16) -> Places {
        Places(arch::matches(&self.tags, tag) & ALL)
    }

    /// Places in use.
    #[inline]
    pub fn used(&self) -> Places {
        Places(self.matches(0).0 ^ ALL)
    }

    /// How many places are in use.
    #[inline]
    pub fn used_count(&self) -> u32 {
        self.used().0.count_ones()
    }

    /// A free place.
    #[inline]
    pub fn free(&self) -> Option<usize> {
        self.matches(0).next()
    }

    /// Places in use whose own deadline has passed.
    #[inline]
    pub fn reached(&self, now: Tick) -> Places {
        Places(arch::reached(&self.deadlines, now.0) & self.used().0)
    }

    /// Of the connections that may be pushed out, the one that ends first.
    #[inline]
    pub fn first_to_leave(&self, now: Tick) -> Option<usize> {
        arch::first(&self.deadlines, now.0, self.evictable().0)
    }

    /// Places whose connection may be pushed out.
    pub fn evictable(&self) -> Places {
        Places(self.deadlines[EVICTABLE] & self.used().0)
    }

    /// True if some connection of this bucket lives in its other one.
    #[inline]
    pub fn has_overflow(&self) -> bool {
        self.tags[OVERFLOW] != 0
    }

    /// Counts a connection that went to (`+1`) or left (`-1`) its other bucket.
    pub fn change_overflow(&mut self, by: i16) {
        self.tags[OVERFLOW] = self.tags[OVERFLOW].saturating_add_signed(by);
    }

    /// The tag at `place`; 0 when free.
    #[inline]
    pub fn tag(&self, place: usize) -> u16 {
        self.tags.get(place).copied().unwrap_or(0)
    }

    /// Whether the connection at `place` belongs to the other bucket.
    pub fn is_displaced(&self, place: usize) -> bool {
        self.tags[DISPLACED] & (1 << place) != 0
    }

    /// When the connection at `place` ends.
    #[inline]
    pub fn deadline(&self, place: usize) -> Tick {
        Tick(self.deadlines.get(place).copied().unwrap_or(0))
    }

    /// Sets when the connection at `place` ends.
    #[inline]
    pub fn set_deadline(&mut self, place: usize, deadline: Tick) {
        if let Some(at) = self.deadlines.get_mut(place) {
            *at = deadline.0;
        }
    }

    /// Sets whether the connection at `place` may be pushed out.
    #[inline]
    pub fn set_evictable(&mut self, place: usize, evictable: bool) {
        let bit = 1u16 << place;
        let all = &mut self.deadlines[EVICTABLE];
        *all = if evictable { *all | bit } else { *all & !bit };
    }

    /// Takes `place` for a connection.
    pub fn occupy(&mut self, place: usize, tag: u16, displaced: bool, deadline: Tick, evictable: bool) {
        if let Some(at) = self.tags.get_mut(place) {
            *at = tag;
        }
        let bit = 1u16 << place;
        let all = &mut self.tags[DISPLACED];
        *all = if displaced { *all | bit } else { *all & !bit };
        self.set_deadline(place, deadline);
        self.set_evictable(place, evictable);
    }

    /// Frees `place`.
    pub fn vacate(&mut self, place: usize) {
        self.occupy(place, 0, false, Tick(0), false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_one_cache_line() {
        assert_eq!(size_of::<Bucket>(), 64);
        assert_eq!(align_of::<Bucket>(), 64);
    }

    #[test]
    fn places_are_found_by_tag_and_given_back() {
        let mut bucket = Bucket::default();
        for place in 0..PLACES {
            assert_eq!(bucket.free(), Some(place));
            bucket.occupy(place, 7 + (place as u16 % 2), place == 3, Tick(9), place == 5);
        }
        assert_eq!(bucket.free(), None);
        assert_eq!(bucket.matches(8).collect::<Vec<_>>(), [1, 3, 5, 7, 9, 11, 13]);
        assert_eq!(bucket.evictable().collect::<Vec<_>>(), [5]);
        assert!(bucket.is_displaced(3) && !bucket.is_displaced(4));
        bucket.vacate(5);
        assert_eq!(bucket.free(), Some(5));
        assert_eq!(bucket.evictable().count(), 0);
        assert_eq!(bucket.used().count(), 13);
    }
}
