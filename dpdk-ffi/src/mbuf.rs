//! One frame in DPDK's own memory.

use std::fmt;
use std::marker::PhantomData;
use std::ptr::{self, NonNull};
use std::slice;

use crate::ffi;

/// A frame that was received or allocated: a chain of one or more segments, given back to its pool when dropped.
///
/// Bytes that [`prepend`](Self::prepend) and [`append`](Self::append) bring in hold whatever was in the buffer before.
// Invariant: points to the head of a chain that nothing else refers to, each segment with a reference count of one,
// whose pool is alive (a pool is freed only after all its mbufs are back).
#[repr(transparent)]
pub struct Mbuf(NonNull<ffi::rte_mbuf>);

// SAFETY: the handle owns its chain alone, and DPDK's pools accept mbufs back from any thread.
unsafe impl Send for Mbuf {}

/// What the NIC says about a received checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksum {
    /// It was not looked at.
    Unknown,
    /// It is right.
    Good,
    /// It is wrong.
    Bad,
    /// It is not in the frame, but the data is known to be intact, as between virtual machines.
    Absent,
}

impl Mbuf {
    /// Takes ownership of a chain; see the invariant above.
    pub(crate) unsafe fn from_raw(mbuf: NonNull<ffi::rte_mbuf>) -> Self {
        Self(mbuf)
    }

    /// The bytes of the first segment.
    #[inline]
    pub fn data(&self) -> &[u8] {
        let head = self.head();
        // SAFETY: DPDK keeps data_off + data_len within the buffer, which lives as long as the mbuf and is written
        // only through &mut self; pool memory is mapped zeroed, so every byte of it is initialised.
        unsafe { slice::from_raw_parts(head.data(), usize::from(head.data_len())) }
    }

    /// The bytes of the first segment.
    #[inline]
    pub fn data_mut(&mut self) -> &mut [u8] {
        let head = self.head();
        // SAFETY: as in data(), and &mut self makes it the only reference.
        unsafe { slice::from_raw_parts_mut(head.data(), usize::from(head.data_len())) }
    }

    /// Bytes in all segments.
    #[inline]
    pub fn frame_len(&self) -> usize {
        self.head().pkt_len() as usize
    }

    /// Number of segments, at least one.
    #[inline]
    pub fn segment_count(&self) -> usize {
        usize::from(self.head().nb_segs())
    }

    /// The bytes of every segment, in order.
    pub fn segments(&self) -> Segments<'_> {
        Segments { next: Some(self.head()), mbuf: PhantomData }
    }

    /// Copies bytes from `offset` of the frame on into `out`, across segments; returns how many there were.
    pub fn copy_out(&self, offset: usize, out: &mut [u8]) -> usize {
        let mut skip = offset;
        let mut filled = 0;
        for segment in self.segments() {
            let bytes = segment.get(skip..).unwrap_or_default();
            skip = skip.saturating_sub(segment.len());
            let room = out.get_mut(filled..).unwrap_or_default();
            let count = bytes.len().min(room.len());
            for (to, from) in room.iter_mut().zip(bytes) {
                *to = *from;
            }
            filled += count;
        }
        filled
    }

    /// Gathers the frame in its first segment; false, and nothing changed, when that has not the room.
    pub fn linearize(&mut self) -> bool {
        // SAFETY: the chain is valid and owned by self; the segments that DPDK frees are no longer in the chain.
        unsafe { ffi::dpdk_ffi_mbuf_linearize(self.0.as_ptr()) == 0 }
    }

    /// Brings the first `n` bytes of the frame, or all of it if it is shorter, into the first segment, and frees segments
    /// that are empty then; false, and nothing changed, when its buffer is shorter. Bytes in front of the frame are
    /// used up only where those behind the segment are not enough.
    #[inline]
    pub fn pull(&mut self, n: usize) -> bool {
        let n = n.min(self.frame_len());
        n <= usize::from(self.head().data_len()) || self.pull_in_chain(n)
    }

    #[inline(never)]
    fn pull_in_chain(&mut self, n: usize) -> bool {
        let mut head = self.head();
        let (buf_len, have) = (usize::from(head.buf_len()), usize::from(head.data_len()));
        if n > buf_len {
            return false;
        }
        let latest = buf_len - n;
        if usize::from(head.data_off()) > latest {
            let from = head.data();
            // Not cut: smaller than the offset that was there.
            head.set_data_off(latest as u16);
            // SAFETY: both places lie in the head's buffer, the new one in front of the old one; copy allows the overlap.
            unsafe { ptr::copy(from, head.data(), have) };
        }
        let mut filled = have;
        while let Some(mut segment) = head.next() {
            let take = usize::from(segment.data_len()).min(n - filled);
            // SAFETY: n bytes from the head's data on lie in its buffer, and take bytes in the segment's.
            unsafe { ptr::copy_nonoverlapping(segment.data(), head.data().add(filled), take) };
            filled += take;
            // Neither is cut: take is at most the segment's length.
            segment.set_data_off(segment.data_off() + take as u16);
            segment.set_data_len(segment.data_len() - take as u16);
            if segment.data_len() > 0 {
                break;
            }
            let rest = segment.take_next();
            head.set_next_raw(rest.map_or(ptr::null_mut(), |rest| rest.0.as_ptr()));
            head.set_nb_segs(head.nb_segs() - 1);
            // SAFETY: the segment was just unlinked on both sides, so this is the only reference to it.
            unsafe { ffi::dpdk_ffi_mbuf_free(segment.0.as_ptr()) };
        }
        // Not cut: at most the buffer's length.
        head.set_data_len(filled as u16);
        true
    }

    /// Puts the frame of `tail` behind this one, as it is, segment by segment.
    ///
    /// # Errors
    /// `tail` itself, when together they have more segments or bytes than a chain can have.
    pub fn chain(&mut self, tail: Self) -> Result<(), Self> {
        let (mut head, other) = (self.head(), tail.head());
        let (Some(segments), Some(bytes)) =
            (head.nb_segs().checked_add(other.nb_segs()), head.pkt_len().checked_add(other.pkt_len()))
        else {
            return Err(tail);
        };
        self.last().set_next_raw(other.0.as_ptr());
        head.set_nb_segs(segments);
        head.set_pkt_len(bytes);
        // The chain owns its segments now.
        std::mem::forget(tail);
        Ok(())
    }

    /// Free bytes in front of the first segment.
    #[inline]
    pub fn headroom(&self) -> usize {
        usize::from(self.head().data_off())
    }

    /// Free bytes behind the last segment.
    #[inline]
    pub fn tailroom(&self) -> usize {
        usize::from(self.last().tailroom())
    }

    /// Grows the frame by `n` bytes in front; false, and nothing changed, when the headroom is less.
    #[inline]
    pub fn prepend(&mut self, n: usize) -> bool {
        let mut head = self.head();
        let (Ok(count), Some(len)) = (u16::try_from(n), checked_len(head.data_len(), n)) else { return false };
        let Some(data_off) = head.data_off().checked_sub(count) else { return false };
        let pkt_len = head.pkt_len();
        head.set_data_off(data_off);
        head.set_data_len(len);
        head.set_pkt_len(pkt_len + u32::from(count));
        true
    }

    /// Shrinks the frame by `n` bytes in front; false, and nothing changed, when the first segment is shorter.
    #[inline]
    pub fn adj(&mut self, n: usize) -> bool {
        let mut head = self.head();
        let Ok(count) = u16::try_from(n) else { return false };
        let Some(len) = head.data_len().checked_sub(count) else { return false };
        let (data_off, pkt_len) = (head.data_off(), head.pkt_len());
        head.set_data_off(data_off + count);
        head.set_data_len(len);
        head.set_pkt_len(pkt_len - u32::from(count));
        true
    }

    /// Keeps the `len` bytes behind the first `cut` of the frame, with `add` bytes of any content before them, and frees
    /// segments that are no longer needed; the first segment as it is then. `None`, and nothing changed, when the
    /// frame is shorter, the first segment has not all of the `cut` bytes, or the headroom is less.
    #[inline]
    pub fn keep(&mut self, cut: usize, len: usize, add: usize) -> Option<&mut [u8]> {
        let mut head = self.head();
        let data_len = usize::from(head.data_len());
        if head.nb_segs() != 1 {
            return self.keep_in_chain(cut, len, add);
        }
        // In this order, so that no sum overflows, whatever the numbers are.
        if cut > data_len || len > data_len - cut {
            return None;
        }
        let start = usize::from(head.data_off()) + cut;
        if add > start {
            return None;
        }
        // Neither is cut: the data ends within the 65,535 bytes that a buffer has at most.
        head.set_data_off((start - add) as u16);
        head.set_data_len((len + add) as u16);
        head.set_pkt_len((len + add) as u32);
        Some(self.data_mut())
    }

    #[inline(never)]
    fn keep_in_chain(&mut self, cut: usize, len: usize, add: usize) -> Option<&mut [u8]> {
        let mut head = self.head();
        if cut > usize::from(head.data_len()) || len > self.frame_len() - cut {
            return None;
        }
        let start = usize::from(head.data_off()) + cut;
        if add > start || add > usize::from(u16::MAX) - usize::from(head.data_len()) {
            return None;
        }
        self.truncate(cut + len);
        // As in keep(); truncate() may have cut the first segment as well.
        let kept = usize::from(head.data_len()) - cut;
        head.set_data_off((start - add) as u16);
        head.set_data_len((kept + add) as u16);
        head.set_pkt_len((len + add) as u32);
        Some(self.data_mut())
    }

    /// Cuts the frame to `len` bytes and frees segments that are no longer needed; a shorter frame stays as it is.
    #[inline]
    pub fn truncate(&mut self, len: usize) {
        if len >= self.frame_len() {
            return;
        }
        let mut left = len;
        let mut kept = 1;
        let mut segment = self.head();
        while left > usize::from(segment.data_len()) {
            let Some(next) = segment.next() else { break };
            left -= usize::from(segment.data_len());
            segment = next;
            kept += 1;
        }
        // The loop leaves at most this segment's own length, and the frame's length is a u32, so neither is cut.
        segment.set_data_len(left as u16);
        let rest = segment.take_next();
        let mut head = self.head();
        head.set_pkt_len(len as u32);
        head.set_nb_segs(kept);
        if let Some(rest) = rest {
            // SAFETY: the rest of the chain was just unlinked, so this is the only reference to it. Freeing walks the
            // next pointers, not nb_segs, which is meaningful in the head alone.
            unsafe { ffi::dpdk_ffi_mbuf_free(rest.0.as_ptr()) };
        }
    }

    /// Grows the frame by `n` bytes behind the last segment and returns them; `None`, and nothing changed, when the
    /// tailroom is less.
    #[inline]
    pub fn append(&mut self, n: usize) -> Option<&mut [u8]> {
        let mut last = self.last();
        let old_len = last.data_len();
        let len = checked_len(old_len, n)?;
        if n > usize::from(last.tailroom()) {
            return None;
        }
        last.set_data_len(len);
        let mut head = self.head();
        let pkt_len = head.pkt_len();
        head.set_pkt_len(pkt_len + u32::from(len - old_len));
        // SAFETY: the n bytes lie behind the old data and within the tailroom of the last segment's buffer.
        Some(unsafe { slice::from_raw_parts_mut(last.data().add(usize::from(old_len)), n) })
    }

    /// Appends a copy of `bytes`; false, and nothing changed, when the tailroom is less.
    #[inline]
    pub fn extend_from_slice(&mut self, bytes: &[u8]) -> bool {
        match self.append(bytes.len()) {
            Some(room) => {
                room.copy_from_slice(bytes);
                true
            }
            None => false,
        }
    }

    /// Number of the port that it came from, or what [`set_port`](Self::set_port) made of it; `u16::MAX` at first.
    #[inline]
    pub fn port(&self) -> u16 {
        self.head().port()
    }

    /// Notes a port number on it, as a mark that travels with the frame.
    #[inline]
    pub fn set_port(&mut self, port: u16) {
        self.head().set_port(port);
    }

    /// Notes a number on it that travels with the frame, in the place of the hash that the NIC computed.
    #[inline]
    pub fn set_mark(&mut self, mark: u32) {
        self.head().set_rss_hash(mark);
    }

    /// What [`set_mark`](Self::set_mark) noted; whatever the NIC or an earlier frame left there if it did not.
    #[inline]
    pub fn mark(&self) -> u32 {
        self.head().rss_hash()
    }

    /// The offload flags, `RTE_MBUF_F_*`.
    #[inline]
    pub fn ol_flags(&self) -> u64 {
        self.head().ol_flags()
    }

    /// What the NIC says about the IPv4 header checksum.
    #[inline]
    pub fn ip_checksum(&self) -> Checksum {
        checksum(
            self.ol_flags(),
            u64::from(ffi::RTE_MBUF_F_RX_IP_CKSUM_BAD),
            u64::from(ffi::RTE_MBUF_F_RX_IP_CKSUM_GOOD),
        )
    }

    /// What the NIC says about the TCP, UDP or SCTP checksum.
    #[inline]
    pub fn l4_checksum(&self) -> Checksum {
        checksum(
            self.ol_flags(),
            u64::from(ffi::RTE_MBUF_F_RX_L4_CKSUM_BAD),
            u64::from(ffi::RTE_MBUF_F_RX_L4_CKSUM_GOOD),
        )
    }

    /// The hash that the NIC computed to choose the queue, when it says so, and until a mark takes its place.
    #[inline]
    pub fn rss_hash(&self) -> Option<u32> {
        let has = self.ol_flags() & u64::from(ffi::RTE_MBUF_F_RX_RSS_HASH) != 0;
        has.then(|| self.head().rss_hash())
    }

    /// Asks the CPU to load the first cache line of the data; a hint without any effect but time.
    #[inline]
    pub fn prefetch(&self) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: a prefetch touches no memory that the program can observe, and faults on no address.
        unsafe {
            core::arch::x86_64::_mm_prefetch::<{ core::arch::x86_64::_MM_HINT_T0 }>(self.head().data().cast());
        }
    }

    /// Asks the CPU to load the descriptor, which the other methods read; a hint without any effect but time.
    #[inline]
    pub fn prefetch_header(&self) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as for prefetch(). A descriptor takes two cache lines.
        unsafe {
            let header = self.0.as_ptr().cast::<i8>().cast_const();
            core::arch::x86_64::_mm_prefetch::<{ core::arch::x86_64::_MM_HINT_T0 }>(header);
            core::arch::x86_64::_mm_prefetch::<{ core::arch::x86_64::_MM_HINT_T0 }>(header.wrapping_add(64));
        }
    }

    /// Asks the CPU to load the cache line in front of the data, for headers to be written there; a hint without any
    /// effect but time.
    #[inline]
    pub fn prefetch_before(&self) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as for prefetch(); the address is computed without a claim that it is inside of anything.
        unsafe {
            let before = self.head().data().wrapping_sub(1);
            core::arch::x86_64::_mm_prefetch::<{ core::arch::x86_64::_MM_HINT_T0 }>(before.cast());
        }
    }

    #[inline]
    fn head(&self) -> Segment {
        Segment(self.0)
    }

    #[inline]
    fn last(&self) -> Segment {
        let mut segment = self.head();
        if segment.nb_segs() > 1 {
            while let Some(next) = segment.next() {
                segment = next;
            }
        }
        segment
    }
}

impl Drop for Mbuf {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: the chain is owned by self alone and is not used after this.
        unsafe { ffi::dpdk_ffi_mbuf_free(self.0.as_ptr()) };
    }
}

impl fmt::Debug for Mbuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mbuf")
            .field("frame_len", &self.frame_len())
            .field("segments", &self.segment_count())
            .field("port", &self.port())
            .finish_non_exhaustive()
    }
}

/// The bytes of a frame, segment by segment.
#[derive(Debug)]
pub struct Segments<'a> {
    next: Option<Segment>,
    mbuf: PhantomData<&'a Mbuf>,
}

impl<'a> Iterator for Segments<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<Self::Item> {
        let segment = self.next?;
        self.next = segment.next();
        // SAFETY: as in Mbuf::data(); the iterator borrows the mbuf, so the chain neither goes nor changes.
        Some(unsafe { slice::from_raw_parts(segment.data(), usize::from(segment.data_len())) })
    }
}

/// Frees mbufs together, which costs one call for each run of them that shares a pool.
///
/// Every mbuf must be owned by the caller, who does not use it afterwards.
#[inline]
pub(crate) unsafe fn free_bulk(mbufs: *mut Mbuf, count: usize) {
    // SAFETY: Mbuf is transparent over the pointer, and the caller owns each one. Counts are burst sizes, which fit.
    unsafe { ffi::rte_pktmbuf_free_bulk(mbufs.cast(), count as u32) };
}

/// One segment of a chain that an `Mbuf` owns, and the only place that knows where its fields are.
// Invariant: used only while the owning Mbuf is borrowed, so the pointer is valid and not shared with another thread.
#[derive(Clone, Copy, Debug)]
struct Segment(NonNull<ffi::rte_mbuf>);

macro_rules! field {
    ($get:ident, $type:ty, $offset:ident) => {
        #[inline(always)]
        fn $get(self) -> $type {
            // SAFETY: the offset is the C compiler's own, the width is asserted in shim.c, and see the invariant.
            unsafe { self.0.as_ptr().byte_add(ffi::$offset as usize).cast::<$type>().read() }
        }
    };
    ($get:ident, $set:ident, $type:ty, $offset:ident) => {
        field!($get, $type, $offset);

        #[inline(always)]
        fn $set(&mut self, value: $type) {
            // SAFETY: as for reading; writers come from &mut Mbuf.
            unsafe { self.0.as_ptr().byte_add(ffi::$offset as usize).cast::<$type>().write(value) }
        }
    };
}

impl Segment {
    field!(buf_addr, *mut u8, DPDK_FFI_MBUF_BUF_ADDR);
    field!(buf_len, u16, DPDK_FFI_MBUF_BUF_LEN);
    field!(next_raw, set_next_raw, *mut ffi::rte_mbuf, DPDK_FFI_MBUF_NEXT);
    field!(data_off, set_data_off, u16, DPDK_FFI_MBUF_DATA_OFF);
    field!(data_len, set_data_len, u16, DPDK_FFI_MBUF_DATA_LEN);
    field!(pkt_len, set_pkt_len, u32, DPDK_FFI_MBUF_PKT_LEN);
    field!(nb_segs, set_nb_segs, u16, DPDK_FFI_MBUF_NB_SEGS);
    field!(port, set_port, u16, DPDK_FFI_MBUF_PORT);
    field!(ol_flags, u64, DPDK_FFI_MBUF_OL_FLAGS);
    field!(rss_hash, set_rss_hash, u32, DPDK_FFI_MBUF_RSS_HASH);

    #[inline(always)]
    fn data(self) -> *mut u8 {
        // SAFETY: DPDK keeps data_off within the segment's buffer, which every mbuf of a pool has. Without the hint, whoever
        // makes an Option of a slice here compares the address with null again.
        unsafe {
            let data = self.buf_addr().add(usize::from(self.data_off()));
            std::hint::assert_unchecked(!data.is_null());
            data
        }
    }

    #[inline(always)]
    fn tailroom(self) -> u16 {
        self.buf_len().saturating_sub(self.data_off()).saturating_sub(self.data_len())
    }

    #[inline(always)]
    fn next(self) -> Option<Self> {
        NonNull::new(self.next_raw()).map(Self)
    }

    fn take_next(&mut self) -> Option<Self> {
        let next = self.next();
        self.set_next_raw(ptr::null_mut());
        next
    }
}

#[inline(always)]
fn checked_len(len: u16, n: usize) -> Option<u16> {
    u16::try_from(n).ok().and_then(|n| len.checked_add(n))
}

#[inline(always)]
fn checksum(flags: u64, bad: u64, good: u64) -> Checksum {
    match (flags & bad != 0, flags & good != 0) {
        (false, false) => Checksum::Unknown,
        (false, true) => Checksum::Good,
        (true, false) => Checksum::Bad,
        (true, true) => Checksum::Absent,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksum_states_follow_the_mask_of_both_bits() {
        let (bad, good) = (u64::from(ffi::RTE_MBUF_F_RX_L4_CKSUM_BAD), u64::from(ffi::RTE_MBUF_F_RX_L4_CKSUM_GOOD));
        assert_eq!(u64::from(ffi::RTE_MBUF_F_RX_L4_CKSUM_MASK), bad | good);
        assert_eq!(checksum(0, bad, good), Checksum::Unknown);
        assert_eq!(checksum(good, bad, good), Checksum::Good);
        assert_eq!(checksum(bad | 1, bad, good), Checksum::Bad);
        assert_eq!(checksum(u64::from(ffi::RTE_MBUF_F_RX_L4_CKSUM_NONE), bad, good), Checksum::Absent);
    }

    #[test]
    fn an_mbuf_is_one_pointer() {
        assert_eq!(size_of::<Option<Mbuf>>(), size_of::<usize>());
    }
}
