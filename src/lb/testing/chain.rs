//! A frame in pieces, as a chain of mbufs is.

use std::collections::VecDeque;

use super::super::ids::PortId;
use super::super::packet::{HEADROOM, HeapPacket, Packet};

/// See the module. The first piece has [`HEADROOM`] before it, and its buffer ends where an mbuf's does.
#[derive(Clone, Debug)]
pub struct Chain {
    first: HeapPacket,
    rest: VecDeque<Vec<u8>>,
    pub port: PortId,
}

/// Bytes that the first piece can have, without the headroom.
const ROOM: usize = 2048;

impl Chain {
    /// `frame` cut at these places, in any order and as often as they come; what lies behind its end counts for the end.
    pub fn new(port: u8, frame: &[u8], cuts: &[usize]) -> Self {
        let mut cuts: Vec<usize> = cuts.iter().map(|&cut| cut.min(frame.len())).collect();
        cuts.sort_unstable();
        let ends = cuts.iter().copied().chain([frame.len()]);
        let starts = [0].into_iter().chain(cuts.iter().copied());
        let mut pieces: VecDeque<Vec<u8>> = starts.zip(ends).map(|(from, to)| frame[from..to].to_vec()).collect();
        let first = HeapPacket::new(&pieces.pop_front().unwrap_or_default());
        Self { first, rest: pieces, port: PortId(port) }
    }

    /// All bytes.
    pub fn whole(&self) -> Vec<u8> {
        self.first.bytes().iter().chain(self.rest.iter().flatten()).copied().collect()
    }
}

impl Packet for Chain {
    fn bytes(&self) -> &[u8] {
        self.first.bytes()
    }
    fn bytes_mut(&mut self) -> &mut [u8] {
        self.first.bytes_mut()
    }
    fn frame_len(&self) -> usize {
        self.first.frame_len() + self.rest.iter().map(Vec::len).sum::<usize>()
    }
    fn grow_front(&mut self, n: usize) -> bool {
        self.first.grow_front(n)
    }
    fn shrink_front(&mut self, n: usize) {
        assert!(n <= self.first.frame_len(), "more than the first piece is taken away");
        self.first.shrink_front(n);
    }
    fn truncate(&mut self, len: usize) {
        let mut left = len.saturating_sub(self.first.frame_len());
        self.first.truncate(len);
        for piece in &mut self.rest {
            piece.truncate(left);
            left -= piece.len();
        }
    }
    fn pull(&mut self, n: usize) -> bool {
        let n = n.min(self.frame_len());
        if n > ROOM + HEADROOM {
            return false;
        }
        while self.first.frame_len() < n
            && let Some(mut piece) = self.rest.pop_front()
        {
            let take = piece.len().min(n - self.first.frame_len());
            self.first.extend_from_slice(&piece[..take]);
            if take < piece.len() {
                piece.drain(..take);
                self.rest.push_front(piece);
            }
        }
        true
    }
}
