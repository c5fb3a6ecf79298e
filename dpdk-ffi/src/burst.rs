//! A reusable array of the mbufs that travel together.

use std::fmt;
use std::mem::{self, MaybeUninit};
use std::ops::Range;
use std::ptr;
use std::slice;

use crate::Mbuf;
use crate::ffi;
use crate::mbuf;

/// Up to `N` mbufs, owned; made once and used for every burst, so that the packet path allocates nothing.
// Invariant: slots 0..len hold mbufs, the others hold nothing; len <= N.
pub struct MbufBurst<const N: usize> {
    slots: [MaybeUninit<Mbuf>; N],
    len: usize,
}

impl<const N: usize> MbufBurst<N> {
    const FITS: () = assert!(N > 0 && N <= u16::MAX as usize, "a burst holds 1 to 65535 mbufs");

    /// An empty burst.
    pub const fn new() -> Self {
        let () = Self::FITS;
        Self { slots: [const { MaybeUninit::uninit() }; N], len: 0 }
    }

    /// Number of mbufs in it.
    #[inline]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether it holds none.
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether it holds `N`.
    #[inline]
    pub const fn is_full(&self) -> bool {
        self.len == N
    }

    /// How many more it can hold.
    #[inline]
    pub const fn room(&self) -> usize {
        N - self.len
    }

    /// The mbufs, first one first.
    #[inline]
    pub fn as_slice(&self) -> &[Mbuf] {
        // SAFETY: slots 0..len hold mbufs, and MaybeUninit has their layout.
        unsafe { slice::from_raw_parts(self.slots.as_ptr().cast(), self.len) }
    }

    /// The mbufs, first one first; they can be changed and swapped in place.
    #[inline]
    pub fn as_mut_slice(&mut self) -> &mut [Mbuf] {
        // SAFETY: slots 0..len hold mbufs, and MaybeUninit has their layout.
        unsafe { slice::from_raw_parts_mut(self.slots.as_mut_ptr().cast(), self.len) }
    }

    /// Adds one at the end; gives it back when the burst is full.
    ///
    /// # Errors
    /// The mbuf itself.
    #[inline]
    pub fn push(&mut self, mbuf: Mbuf) -> Result<(), Mbuf> {
        match self.slots.get_mut(self.len) {
            Some(slot) => {
                slot.write(mbuf);
                self.len += 1;
                Ok(())
            }
            None => Err(mbuf),
        }
    }

    /// Takes the last one.
    #[inline]
    pub fn pop(&mut self) -> Option<Mbuf> {
        let last = self.len.checked_sub(1)?;
        self.len = last;
        // SAFETY: the slot held an mbuf and is now outside of 0..len, so this is its only owner.
        Some(unsafe { self.slots.as_ptr().add(last).cast::<Mbuf>().read() })
    }

    /// Takes all of them, first one first; those that the iterator has not yielded when it goes are freed.
    #[inline]
    pub fn drain(&mut self) -> Drain<'_, N> {
        let left = 0..mem::take(&mut self.len);
        Drain { burst: self, left }
    }

    /// Frees all of them.
    #[inline]
    pub fn clear(&mut self) {
        let count = mem::take(&mut self.len);
        if count > 0 {
            // SAFETY: slots 0..count held mbufs, which the burst has just given up.
            unsafe { mbuf::free_bulk(self.slots.as_mut_ptr().cast(), count) };
        }
    }

    /// Lets `fill` write mbufs to the free slots; it gets where and how many at most, and returns how many.
    ///
    /// `fill` must have written that many owned mbufs from the first free slot on.
    #[inline]
    pub(crate) unsafe fn fill(&mut self, fill: impl FnOnce(*mut *mut ffi::rte_mbuf, u16) -> u16) -> usize {
        if self.is_full() {
            return 0;
        }
        // SAFETY: len < N, so the pointer is within the array.
        let free = unsafe { self.slots.as_mut_ptr().add(self.len) };
        let added = usize::from(fill(free.cast(), self.room() as u16));
        debug_assert!(added <= self.room());
        self.len += added;
        added
    }

    /// Lets `take` have mbufs from the front; it gets where and how many, and returns how many it took. The others
    /// move to the front.
    ///
    /// `take` must have become the owner of that many mbufs from the first slot on, and of no other.
    #[inline]
    pub(crate) unsafe fn take_front(&mut self, take: impl FnOnce(*mut *mut ffi::rte_mbuf, u16) -> u16) -> usize {
        if self.len == 0 {
            return 0;
        }
        let taken = usize::from(take(self.slots.as_mut_ptr().cast(), self.len as u16));
        debug_assert!(taken <= self.len);
        self.len -= taken;
        if self.len > 0 && taken > 0 {
            let slots = self.slots.as_mut_ptr();
            // SAFETY: the mbufs left are in slots taken..taken + len, all within the array; copy allows the overlap.
            unsafe { ptr::copy(slots.add(taken), slots, self.len) };
        }
        taken
    }
}

impl<const N: usize> Default for MbufBurst<N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const N: usize> Drop for MbufBurst<N> {
    fn drop(&mut self) {
        self.clear();
    }
}

impl<const N: usize> fmt::Debug for MbufBurst<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.as_slice()).finish()
    }
}

/// The mbufs of a burst, one by one.
// Invariant: the slots in `left` hold mbufs that this iterator owns; the burst's own length is zero.
#[derive(Debug)]
pub struct Drain<'a, const N: usize> {
    burst: &'a mut MbufBurst<N>,
    left: Range<usize>,
}

impl<const N: usize> Iterator for Drain<'_, N> {
    type Item = Mbuf;

    #[inline]
    fn next(&mut self) -> Option<Mbuf> {
        let slot = self.left.next()?;
        // SAFETY: the slot held an mbuf and has just left the range, so this is its only owner.
        Some(unsafe { self.burst.slots.as_ptr().add(slot).cast::<Mbuf>().read() })
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        self.left.size_hint()
    }
}

impl<const N: usize> ExactSizeIterator for Drain<'_, N> {}

impl<const N: usize> Drop for Drain<'_, N> {
    #[inline]
    fn drop(&mut self) {
        if !self.left.is_empty() {
            // SAFETY: the slots in the range hold mbufs that this iterator owns and does not use again.
            unsafe { mbuf::free_bulk(self.burst.slots.as_mut_ptr().add(self.left.start).cast(), self.left.len()) };
        }
    }
}
