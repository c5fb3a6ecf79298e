//! What one worker has learned and the others should know.

use super::ids::BackendId;
use super::neighbor::Learned;

/// One piece of news.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum News {
    /// The MAC address of a next hop.
    Neighbor(Learned),
    /// The largest packet, in bytes with its tunnel headers, that gets through to a backend.
    PathMtu(BackendId, u16),
}

impl From<Learned> for News {
    fn from(learned: Learned) -> Self {
        Self::Neighbor(learned)
    }
}
