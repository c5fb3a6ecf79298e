//! `lc`: the backend with the fewest open connections, whatever its weight, as long as that is not 0.

use super::least::{Least, Load};
use super::{Asked, Member, Schedule};

/// See the module.
#[derive(Debug)]
pub struct Lc(Least);

impl Schedule for Lc {
    fn build(members: &[Member], workers: u16, previous: Option<&Self>) -> Self {
        Self(Least::new(members, workers, previous.map(|previous| &previous.0)))
    }

    fn pick(&self, asked: &Asked<'_>) -> Option<usize> {
        self.0.pick(asked, |_, open| Load { work: open, weight: 1 })
    }

    fn opened(&self, asked: &Asked<'_>, index: usize) {
        self.0.opened(asked, index);
    }
}
