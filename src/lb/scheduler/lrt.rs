//! `lrt`: the backend whose open connections, the new one counted in, times its response time are the least for its weight.

use super::least::{Least, Load};
use super::{Asked, Member, Schedule};

/// See the module.
#[derive(Debug)]
pub struct Lrt(Least);

impl Schedule for Lrt {
    fn build(members: &[Member], workers: u16, previous: Option<&Self>) -> Self {
        Self(Least::new(members, workers, previous.map(|previous| &previous.0)))
    }

    fn pick(&self, asked: &Asked<'_>) -> Option<usize> {
        let time_ns = |member: &Member| u64::from(asked.team.times.of(member.id).max(1));
        self.0.pick(asked, |member, open| Load { work: (open + 1) * time_ns(member), weight: member.weight.into() })
    }

    fn opened(&self, asked: &Asked<'_>, index: usize) {
        self.0.opened(asked, index);
    }
}
