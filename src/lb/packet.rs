//! What the packet path needs of a packet buffer, whatever holds it: an mbuf, a capture's record, a test's bytes.

use super::trace::Step;

/// A frame from its Ethernet header on.
pub trait Packet {
    /// Whether the decisions about it are wanted. It takes the long way then, which says all of them.
    const EXPLAINED: bool = false;

    /// Takes down a decision, if such is wanted.
    #[inline(always)]
    fn note(&self, _step: impl FnOnce() -> Step) {}

    /// The first contiguous piece; all headers that are read lie in it.
    fn bytes(&self) -> &[u8];

    /// The same, to change.
    fn bytes_mut(&mut self) -> &mut [u8];

    /// Length of the whole frame in bytes, all pieces together.
    fn frame_len(&self) -> usize;

    /// Copies the beginning of the frame, from all pieces, and says how many bytes that were.
    fn copy_out(&self, out: &mut [u8]) -> usize {
        let bytes = self.bytes();
        out.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
        bytes.len().min(out.len())
    }

    /// Fetches what a header that is put before the packet will be written to; has no effect but time.
    #[inline]
    fn prefetch_front(&self) {}

    /// Adds `n` bytes of any content at the front; false, and nothing changed, if there is no room.
    fn grow_front(&mut self, n: usize) -> bool;

    /// Takes `n` bytes away at the front; `n` is at most the first piece's length.
    fn shrink_front(&mut self, n: usize);

    /// Keeps the `len` bytes behind the first `cut`, with `add` bytes of any content before them; the first piece as it is
    /// then, or `None` if there is no room, and then nothing else is to be done with the packet. The frame has
    /// `cut + len` bytes at least, and the first piece `cut`.
    #[inline]
    fn keep(&mut self, cut: usize, len: usize, add: usize) -> Option<&mut [u8]> {
        self.truncate(cut + len);
        if add > cut {
            if !self.grow_front(add - cut) {
                return None;
            }
        } else {
            self.shrink_front(cut - add);
        }
        Some(self.bytes_mut())
    }

    /// Cuts the frame to `len` bytes; nothing if it is shorter.
    fn truncate(&mut self, len: usize);

    /// Brings the first `n` bytes of the frame, or all of it if it is shorter, into the first piece; false, and nothing
    /// changed, if there is no room. Bytes move, so this is for what is rare.
    #[inline]
    fn pull(&mut self, n: usize) -> bool {
        self.bytes().len() >= n.min(self.frame_len())
    }
}

/// Room that every buffer keeps before the frame: the longest tunnel header and a VLAN tag fit with ease.
pub const HEADROOM: usize = 128;

/// A packet in ordinary memory, for captures, tests and benchmarks.
#[derive(Clone, Debug)]
pub struct HeapPacket {
    buffer: Vec<u8>,
    start: usize,
}

impl HeapPacket {
    /// A copy of `frame` with [`HEADROOM`] before it.
    pub fn new(frame: &[u8]) -> Self {
        let mut buffer = vec![0; HEADROOM + frame.len()];
        buffer[HEADROOM..].copy_from_slice(frame);
        Self { buffer, start: HEADROOM }
    }

    /// Adds bytes at the end.
    pub fn extend_from_slice(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }
}

impl Packet for HeapPacket {
    fn bytes(&self) -> &[u8] {
        self.buffer.get(self.start..).unwrap_or_default()
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        self.buffer.get_mut(self.start..).unwrap_or_default()
    }

    fn frame_len(&self) -> usize {
        self.buffer.len() - self.start
    }

    fn grow_front(&mut self, n: usize) -> bool {
        match self.start.checked_sub(n) {
            Some(start) => {
                self.start = start;
                true
            }
            None => false,
        }
    }

    fn shrink_front(&mut self, n: usize) {
        self.start = (self.start + n).min(self.buffer.len());
    }

    fn truncate(&mut self, len: usize) {
        self.buffer.truncate((self.start + len).min(self.buffer.len()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heap_packet_grows_into_its_headroom_and_no_further() {
        let mut packet = HeapPacket::new(&[1, 2, 3, 4]);
        assert!(packet.grow_front(HEADROOM));
        assert!(!packet.grow_front(1));
        assert_eq!(packet.frame_len(), HEADROOM + 4);
        packet.shrink_front(HEADROOM + 1);
        assert_eq!(packet.bytes(), [2, 3, 4]);
        packet.truncate(2);
        assert_eq!((packet.bytes(), packet.frame_len()), (&[2, 3][..], 2));
        packet.truncate(10);
        assert_eq!(packet.frame_len(), 2);
    }
}
