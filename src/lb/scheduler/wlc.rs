//! `wlc`: the backend with the fewest open connections for its weight, the new one counted in.

use super::least::{Least, Load};
use super::{Asked, Member, Schedule};

/// See the module.
#[derive(Debug)]
pub struct Wlc(Least);

impl Schedule for Wlc {
    fn build(members: &[Member], workers: u16, previous: Option<&Self>) -> Self {
        Self(Least::new(members, workers, previous.map(|previous| &previous.0)))
    }

    fn pick(&self, asked: &Asked<'_>) -> Option<usize> {
        // Without the new one, idle backends would be equal, and a light one as likely to be overloaded by it as a heavy one.
        self.0.pick(asked, |member, open| Load { work: open + 1, weight: member.weight.into() })
    }

    fn opened(&self, asked: &Asked<'_>, index: usize) {
        self.0.opened(asked, index);
    }
}
