//! `sh`: the client's address alone decides, by the same lookup table as `maglev`, so that few clients move with a change.

use super::{Asked, Member, Schedule};

/// See the module.
#[derive(Debug)]
pub struct Sh;

impl Schedule for Sh {
    fn build(_members: &[Member], _workers: u16, _previous: Option<&Self>) -> Self {
        Self
    }

    fn pick(&self, asked: &Asked<'_>) -> Option<usize> {
        asked.by_hash()
    }
}
