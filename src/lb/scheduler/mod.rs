//! How a new connection gets its backend: a file for each scheduler, and a line for it in the list below.
//!
//! A scheduler answers with an index into the service's members, and hears of the connection once it is open: what is asked
//! twice for one packet, or comes to nothing, uses up nobody's turn.

mod least;
mod turns;

use super::hash::reduce;
use super::ids::{BackendId, WorkerId};
use super::maglev::Maglev as LookupTable;
use super::team::Team;

/// A backend as schedulers see it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Member {
    /// Which backend.
    pub id: BackendId,
    /// Share of new connections; 0: none.
    pub weight: u32,
    /// Connections it may have open; 0: any number.
    pub connections_max: u32,
}

impl Member {
    /// Whether it takes one more connection.
    #[inline]
    pub fn takes(&self, team: &Team) -> bool {
        self.weight > 0 && self.has_room(|| team.connections(self.id))
    }

    /// Whether it may have one more connection than it has open.
    #[inline]
    fn has_room(&self, open: impl FnOnce() -> u64) -> bool {
        self.connections_max == 0 || open() < u64::from(self.connections_max)
    }
}

/// What is known where a new connection asks for its backend.
pub struct Asked<'a> {
    /// Who asks.
    pub worker: WorkerId,
    /// The hash that the service goes by: of the whole flow, or of the client's address.
    pub hash: u64,
    /// The service's table of consistent hashing, with an index into the members in each slot.
    pub table: &'a LookupTable,
    /// All backends of the service, in the order of the configuration.
    pub members: &'a [Member],
    /// All workers.
    pub team: &'a Team,
}

impl Asked<'_> {
    /// Whether a backend takes one more connection.
    #[inline]
    fn takes(&self, index: usize) -> bool {
        self.members.get(index).is_some_and(|member| member.takes(self.team))
    }

    /// Consistent hashing. Whose backend is full goes by another hash, and another, so that a flow overflows to the same ones
    /// each time and a full backend's clients spread over all others.
    fn by_hash(&self) -> Option<usize> {
        let hashes = (0..HASHES).map(|n| (self.hash ^ n).wrapping_mul(if n == 0 { 1 } else { SPREAD }));
        let mut indices = hashes.filter_map(|hash| self.table.lookup(hash)).map(usize::from);
        indices.find(|&index| self.takes(index)).or_else(|| self.any())
    }

    /// Any backend that takes one more, the hash's own choice of where to begin.
    fn any(&self) -> Option<usize> {
        let first = reduce(self.hash, self.members.len());
        (first..self.members.len()).chain(0..first).find(|&index| self.takes(index))
    }
}

/// Hashes that are tried for one whose backend takes one more connection.
const HASHES: u64 = 8;
/// Makes another hash of one: odd, and its high bits depend on all bits below.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// What a scheduler does.
trait Schedule: Sized {
    /// Off the packet path. `previous` is the one of the same kind that this one takes over from, if there is one.
    fn build(members: &[Member], workers: u16, previous: Option<&Self>) -> Self;

    /// The backend for a new connection. Asked again, it says the same, until a connection is open.
    fn pick(&self, asked: &Asked<'_>) -> Option<usize>;

    /// A connection to the backend `index` is open.
    fn opened(&self, _asked: &Asked<'_>, _index: usize) {}
}

macro_rules! schedulers {
    ($($(#[$doc:meta])* $name:ident $module:ident $label:literal;)+) => {
        $(mod $module;)+

        /// Which scheduler.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Kind { $($(#[$doc])* $name,)+ }

        impl Kind {
            /// Each one and its word, in the order of the documentation.
            pub const WORDS: &[(&str, Self)] = &[$(($label, Self::$name),)+];
            /// Each one.
            pub const ALL: &[Self] = &[$(Self::$name,)+];
        }

        /// A service's scheduler, with what it remembers.
        #[derive(Debug)]
        pub enum Scheduler { $($(#[$doc])* $name($module::$name),)+ }

        impl Scheduler {
            /// A scheduler for these backends, all in the order of the configuration. `previous` is the service's one so far.
            pub fn build(kind: Kind, members: &[Member], workers: u16, previous: Option<&Self>) -> Self {
                match kind {
                    $(Kind::$name => {
                        let previous = match previous {
                            Some(Self::$name(previous)) => Some(previous),
                            _ => None,
                        };
                        Self::$name(Schedule::build(members, workers, previous))
                    })+
                }
            }

            /// Which one it is.
            pub fn kind(&self) -> Kind {
                match self { $(Self::$name(_) => Kind::$name,)+ }
            }

            /// The backend for a new connection. Asked again, it says the same, until a connection is open.
            pub fn pick(&self, asked: &Asked<'_>) -> Option<usize> {
                match self { $(Self::$name(scheduler) => scheduler.pick(asked),)+ }
            }

            /// A connection to the backend `index` is open.
            pub fn opened(&self, asked: &Asked<'_>, index: usize) {
                match self { $(Self::$name(scheduler) => scheduler.opened(asked, index),)+ }
            }
        }
    };
}

schedulers! {
    /// In turn.
    Rr rr "rr";
    /// In turn, by weight.
    Wrr wrr "wrr";
    /// By the client's address.
    Sh sh "sh";
    /// The fewest connections.
    Lc lc "lc";
    /// The fewest connections by weight.
    Wlc wlc "wlc";
    /// The least response time, with connections and weight.
    Lrt lrt "lrt";
    /// Consistent hashing of the whole flow.
    Maglev maglev "maglev";
}

impl Kind {
    /// The word in configuration and outputs.
    pub fn label(self) -> &'static str {
        Self::WORDS.iter().find(|(_, kind)| *kind == self).map_or("", |(word, _)| word)
    }

    /// Whether the hash alone decides, so that every node and every worker says the same without having spoken.
    pub fn is_by_hash(self) -> bool {
        matches!(self, Self::Sh | Self::Maglev)
    }

    /// Whether the hash that counts is that of the client's address alone.
    pub fn is_by_client(self) -> bool {
        self == Self::Sh
    }
}

#[cfg(test)]
mod tests;
