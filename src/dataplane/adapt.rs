//! Mbufs as the packet path sees packets.

use dpdk_ffi::Mbuf;

use crate::lb::packet::Packet;

impl Packet for Mbuf {
    #[inline]
    fn bytes(&self) -> &[u8] {
        self.data()
    }

    #[inline]
    fn bytes_mut(&mut self) -> &mut [u8] {
        self.data_mut()
    }

    #[inline]
    fn frame_len(&self) -> usize {
        Mbuf::frame_len(self)
    }

    fn copy_out(&self, out: &mut [u8]) -> usize {
        Mbuf::copy_out(self, 0, out)
    }

    #[inline]
    fn grow_front(&mut self, n: usize) -> bool {
        self.prepend(n)
    }

    #[inline]
    fn shrink_front(&mut self, n: usize) {
        // The packet path only takes away headers that it has read, so the bytes are there.
        self.adj(n);
    }

    #[inline]
    fn prefetch_front(&self) {
        self.prefetch_before();
    }

    #[inline]
    fn keep(&mut self, cut: usize, len: usize, add: usize) -> Option<&mut [u8]> {
        Mbuf::keep(self, cut, len, add)
    }

    #[inline]
    fn truncate(&mut self, len: usize) {
        Mbuf::truncate(self, len);
    }

    #[inline]
    fn pull(&mut self, n: usize) -> bool {
        Mbuf::pull(self, n)
    }
}
