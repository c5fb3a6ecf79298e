//! Packet buffers that are used again and again, so that making a frame asks for no memory.

use tidegate::lb::ids::PortId;
use tidegate::lb::packet::Packet;

/// Longest frame that is made.
pub const FRAME_MAX: usize = 2048;
/// Room before a frame; some have less, so that running out of it is tried as well.
pub const HEADROOM: usize = 128;

/// A frame in one or two segments, of which only the first can be seen, and how it came in.
pub struct Buffer(Box<Content>);

struct Content {
    bytes: [u8; HEADROOM + FRAME_MAX],
    start: usize,
    /// End of the first segment.
    seen: usize,
    end: usize,
    /// Where the room before the frame begins.
    front: usize,
    port: PortId,
    came: [u8; FRAME_MAX],
    came_len: usize,
}

impl Default for Buffer {
    fn default() -> Self {
        Self(Box::new(Content {
            bytes: [0; HEADROOM + FRAME_MAX],
            start: HEADROOM,
            seen: HEADROOM,
            end: HEADROOM,
            front: 0,
            port: PortId(0),
            came: [0; FRAME_MAX],
            came_len: 0,
        }))
    }
}

impl Buffer {
    /// Takes in a frame that came by `port`, the first segment of which has at most `seen` bytes, with `room` bytes before it.
    pub fn fill(&mut self, frame: &[u8], port: usize, seen: usize, room: usize) {
        let c = &mut *self.0;
        c.start = HEADROOM;
        c.front = HEADROOM - room.min(HEADROOM);
        c.end = HEADROOM + frame.len();
        c.seen = HEADROOM + seen.min(frame.len());
        c.port = PortId(port as u8);
        c.came_len = frame.len();
        c.bytes[HEADROOM..c.end].copy_from_slice(frame);
        c.came[..frame.len()].copy_from_slice(frame);
    }

    pub fn port(&self) -> PortId {
        self.0.port
    }

    /// As it came in.
    pub fn came(&self) -> &[u8] {
        &self.0.came[..self.0.came_len]
    }

    /// All segments.
    pub fn whole(&self) -> &[u8] {
        &self.0.bytes[self.0.start..self.0.end]
    }
}

impl Packet for Buffer {
    #[inline]
    fn bytes(&self) -> &[u8] {
        &self.0.bytes[self.0.start..self.0.seen]
    }

    #[inline]
    fn bytes_mut(&mut self) -> &mut [u8] {
        let c = &mut *self.0;
        &mut c.bytes[c.start..c.seen]
    }

    #[inline]
    fn frame_len(&self) -> usize {
        self.0.end - self.0.start
    }

    #[inline]
    fn grow_front(&mut self, n: usize) -> bool {
        let has_room = self.0.start - self.0.front >= n;
        self.0.start -= if has_room { n } else { 0 };
        has_room
    }

    #[inline]
    fn shrink_front(&mut self, n: usize) {
        assert!(n <= self.0.seen - self.0.start, "took away more than the first segment has");
        self.0.start += n;
    }

    #[inline]
    fn truncate(&mut self, len: usize) {
        self.0.end = self.0.end.min(self.0.start + len);
        self.0.seen = self.0.seen.min(self.0.end);
    }
}
