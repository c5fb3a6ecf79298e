//! `rr`: each backend in turn, whatever its weight, as long as that is not 0.

use super::turns::Turns;
use super::{Asked, Member, Schedule};

/// See the module.
#[derive(Debug)]
pub struct Rr(Turns);

impl Schedule for Rr {
    fn build(members: &[Member], workers: u16, previous: Option<&Self>) -> Self {
        let order = (0..).zip(members).filter(|(_, member)| member.weight > 0).map(|(index, _)| index).collect();
        Self(Turns::new(order, workers, previous.map(|previous| &previous.0)))
    }

    fn pick(&self, asked: &Asked<'_>) -> Option<usize> {
        self.0.pick(asked)
    }

    fn opened(&self, asked: &Asked<'_>, index: usize) {
        self.0.opened(asked, index);
    }
}
