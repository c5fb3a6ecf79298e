//! `maglev`: consistent hashing of the whole flow; the lookup table is every service's, whatever its scheduler.

use super::{Asked, Member, Schedule};

/// See the module.
#[derive(Debug)]
pub struct Maglev;

impl Schedule for Maglev {
    fn build(_members: &[Member], _workers: u16, _previous: Option<&Self>) -> Self {
        Self
    }

    fn pick(&self, asked: &Asked<'_>) -> Option<usize> {
        asked.by_hash()
    }
}
