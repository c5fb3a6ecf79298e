//! Which bytes of a datagram its fragments have covered, in constant memory.

/// Runs that one datagram may be in at a time. Fragments that come in order, forwards or backwards, are one run and their
/// last one another; 64 KiB in packets of 1,280 bytes are about 14 when wholly shuffled, and 27 if every other one is late.
const RUNS_MAX: usize = 32;

/// One fragment's place in its datagram, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    start: u16,
    end: u16,
    is_last: bool,
}

impl Piece {
    /// A fragment with `len` bytes at `start`; `None` if no sound sender makes such a one: it is empty, it goes beyond the
    /// largest datagram, or more follow and its length is no multiple of 8 (RFC 791 3.2, RFC 8200 4.5).
    pub fn new(start: u16, len: u16, is_last: bool) -> Option<Self> {
        let end = start.checked_add(len)?;
        (len > 0 && (is_last || len.is_multiple_of(8))).then_some(Self { start, end, is_last })
    }

    fn len(self) -> u16 {
        self.end - self.start
    }
}

/// What a fragment is to those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Added {
    /// Its bytes were not there yet.
    New,
    /// A fragment at the same place and of the same length was there.
    Again,
    /// It shares some bytes with another one, or they disagree about where the datagram ends.
    Overlap,
    /// The datagram is in more runs than are kept.
    Scattered,
}

/// Fragments of one length, one behind the other.
#[derive(Clone, Copy, Debug, Default)]
struct Run {
    start: u16,
    end: u16,
    /// Of each of them.
    len: u16,
}

impl Run {
    fn meets(self, piece: Piece) -> bool {
        piece.start < self.end && self.start < piece.end
    }

    fn holds(self, piece: Piece) -> bool {
        let is_on_grid = piece.start.checked_sub(self.start).is_some_and(|at| at.is_multiple_of(self.len));
        is_on_grid && piece.len() == self.len
    }
}

/// See the module.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pieces {
    runs: [Run; RUNS_MAX],
    count: u8,
    /// Where the datagram ends; 0 while its last fragment is missing.
    end: u16,
    /// Bytes in all runs.
    covered: u16,
}

impl Pieces {
    /// Forgets all.
    pub fn clear(&mut self) {
        // The runs beyond the count mean nothing.
        (self.count, self.end, self.covered) = (0, 0, 0);
    }

    /// Whether every byte was there.
    pub fn is_complete(&self) -> bool {
        self.end != 0 && self.covered == self.end
    }

    /// Takes in one more fragment; nothing changes unless it is [`Added::New`].
    pub fn add(&mut self, piece: Piece) -> Added {
        let runs = self.runs.get(..usize::from(self.count)).unwrap_or_default();
        if let Some(run) = runs.iter().find(|run| run.meets(piece)) {
            let agrees = piece.is_last == (self.end == piece.end);
            return if agrees && run.holds(piece) { Added::Again } else { Added::Overlap };
        }
        let is_beyond = self.end != 0 && (piece.is_last || piece.end > self.end);
        let is_short = piece.is_last && runs.iter().any(|run| run.end > piece.end);
        if is_beyond || is_short {
            return Added::Overlap;
        }
        let before = runs.iter().position(|run| run.end == piece.start && run.len == piece.len());
        let after = runs.iter().position(|run| run.start == piece.end && run.len == piece.len());
        if !self.put(piece, before, after) {
            return Added::Scattered;
        }
        // No two runs share a byte, so this ends below 65,536.
        self.covered += piece.len();
        if piece.is_last {
            self.end = piece.end;
        }
        Added::New
    }

    /// Lengthens the run `before` or the one `after`, joins both, or begins one; false if there is no room.
    fn put(&mut self, piece: Piece, before: Option<usize>, after: Option<usize>) -> bool {
        let mut end = piece.end;
        let mut gone = None;
        if let (Some(_), Some(after)) = (before, after) {
            end = self.runs.get(after).map_or(end, |run| run.end);
            gone = Some(after);
        }
        let place = before.or(after).unwrap_or(usize::from(self.count));
        let Some(run) = self.runs.get_mut(place) else { return false };
        match (before, after) {
            (Some(_), _) => run.end = end,
            (None, Some(_)) => run.start = piece.start,
            (None, None) => {
                *run = Run { start: piece.start, end, len: piece.len() };
                self.count += 1;
            }
        }
        if let Some(gone) = gone {
            self.count -= 1;
            self.runs.swap(gone, usize::from(self.count));
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn piece(start: u16, len: u16, is_last: bool) -> Piece {
        Piece::new(start, len, is_last).unwrap()
    }

    #[test]
    fn pieces_that_nobody_sends_are_refused() {
        for (start, len, is_last) in [(0, 0, true), (8, 0, false), (0, 12, false), (65_528, 8, true)] {
            assert_eq!(Piece::new(start, len, is_last), None, "{start} {len} {is_last}");
        }
        assert!(Piece::new(65_528, 7, true).is_some());
        assert!(Piece::new(0, 1480, false).is_some());
    }

    #[test]
    fn contradictions_are_overlaps() {
        let all = |pieces: &[(u16, u16, bool)]| {
            let mut seen = Pieces::default();
            pieces.iter().map(|&(start, len, is_last)| seen.add(piece(start, len, is_last))).collect::<Vec<_>>()
        };
        use Added::*;
        assert_eq!(all(&[(0, 16, false), (8, 8, false)]), [New, Overlap], "inside another");
        assert_eq!(all(&[(8, 8, false), (0, 16, false)]), [New, Overlap], "around another");
        assert_eq!(all(&[(0, 16, false), (8, 16, false)]), [New, Overlap], "across its end");
        assert_eq!(all(&[(16, 8, true), (16, 8, false)]), [New, Overlap], "the last one is not the last");
        assert_eq!(all(&[(16, 8, false), (16, 8, true)]), [New, Overlap], "the last one was not the last");
        assert_eq!(all(&[(16, 8, true), (24, 8, false)]), [New, Overlap], "behind the last");
        assert_eq!(all(&[(16, 8, true), (24, 8, true)]), [New, Overlap], "two last ones");
        assert_eq!(all(&[(16, 8, true), (8, 8, true)]), [New, Overlap], "two last ones");
        assert_eq!(all(&[(24, 8, false), (16, 8, true)]), [New, Overlap], "the last before another");
        assert_eq!(all(&[(0, 8, false), (8, 8, false), (0, 8, false), (8, 8, false)]), [New, New, Again, Again]);
        assert_eq!(all(&[(0, 16, false), (16, 16, false), (8, 16, false)]), [New, New, Overlap], "off the grid");
        assert_eq!(all(&[(0, 16, false), (16, 5, true), (16, 5, true)]), [New, New, Again]);
    }

    #[test]
    fn a_datagram_in_too_many_runs_is_refused_and_goes_on() {
        let mut seen = Pieces::default();
        for run in 0..RUNS_MAX as u16 {
            assert_eq!(seen.add(piece(run * 16, 8, false)), Added::New);
        }
        assert_eq!(seen.add(piece(1000, 8, false)), Added::Scattered);
        assert_eq!(seen.add(piece(8, 8, false)), Added::New, "joins two runs");
        assert_eq!(seen.add(piece(1000, 8, false)), Added::New, "for which there is room now");
    }

    proptest! {
        /// Against a list of all fragments: what may be told by looking at each of them.
        #[test]
        fn pieces_are_what_a_list_of_them_says(
            pieces in prop::collection::vec((0u16..20, 1u16..5, 0u8..8), 1..14),
        ) {
            let mut seen = Pieces::default();
            let mut list: Vec<Piece> = Vec::new();
            for (start, len, last) in pieces {
                let new = piece(start * 8, len * 8, last == 0);
                let meets = |p: &&Piece| p.start < new.end && new.start < p.end;
                let end = list.iter().find(|p| p.is_last).map(|p| p.end);
                let contradicts = end.is_some_and(|end| new.is_last || new.end > end)
                    || new.is_last && list.iter().any(|p| p.end > new.end);
                let expected = match list.iter().find(meets) {
                    Some(&old) if old == new => Added::Again,
                    Some(_) => Added::Overlap,
                    None if contradicts => Added::Overlap,
                    None => Added::New,
                };
                prop_assert_eq!(seen.add(new), expected);
                if expected == Added::New {
                    list.push(new);
                }
                let end = list.iter().find(|p| p.is_last).map(|p| p.end);
                let is_complete = end == Some(list.iter().map(|p| p.len()).sum());
                prop_assert_eq!(seen.is_complete(), is_complete);
            }
        }

        #[test]
        fn fragments_in_any_order_complete_their_datagram(
            len in 1u16..65_500, mtu in 1232u16..=1480, order in any::<prop::sample::Index>(), by in 1usize..8,
        ) {
            let step = mtu / 8 * 8;
            let starts: Vec<u16> = (0..len).step_by(step.into()).collect();
            let all: Vec<_> =
                starts.iter().map(|&at| piece(at, step.min(len - at), at + step.min(len - at) == len)).collect();
            // Several ways through the network, each in its order.
            let ways = (0..by).flat_map(|way| all.iter().skip(way).step_by(by));
            let mut mixed: Vec<_> = ways.copied().collect();
            mixed.rotate_left(order.index(all.len()));
            let mut seen = Pieces::default();
            for (at, &piece) in mixed.iter().enumerate() {
                prop_assert!(!seen.is_complete());
                prop_assert_eq!(seen.add(piece), Added::New, "{}", at);
                prop_assert_eq!(seen.add(piece), Added::Again, "{}", at);
            }
            prop_assert!(seen.is_complete());
        }
    }
}
