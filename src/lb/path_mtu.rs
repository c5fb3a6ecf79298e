//! What routers have said of the paths to backends behind tunnels: how large a packet gets through (RFC 1191, RFC 8201).
//!
//! This is the soft state of RFC 2003 section 5.1. It ends by itself, and nothing has to look for its end: what still fits
//! does so before and after, and what does not fit comes here to ask.

use super::clock::Now;
use super::ids::BackendId;

/// How long a router's word counts (RFC 1191 section 6.3, RFC 8201 section 4), in seconds.
const AGE_S: u64 = 600;
/// No smaller MTU is believed: every IPv4 host takes packets of 576 bytes (RFC 791 section 3.1), every IPv6 link those of
/// 1280 (RFC 8200 section 5).
pub const MTU_MIN_4: u16 = 576;
/// The same for IPv6.
pub const MTU_MIN_6: u16 = 1280;

/// See the module; by backend slot.
#[derive(Debug)]
pub struct PathMtus {
    all: Box<[Known]>,
    /// Whether anything was ever learned: most balancers never hear of a narrow path.
    any: bool,
}

#[derive(Clone, Copy, Default, Debug)]
struct Known {
    backend: BackendId,
    /// In seconds on the clock of [`Now`]; 0 for nothing known.
    until_s: u32,
    mtu: u16,
}

/// What is known of a path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PathMtu {
    /// Nothing.
    Unknown,
    /// What was known has just been forgotten, because its time is over.
    Forgotten,
    /// Packets of so many bytes get through.
    Known(u16),
}

impl PathMtus {
    /// Room for `backends_max` backend slots.
    pub fn new(backends_max: usize) -> Self {
        Self { all: vec![Known::default(); backends_max].into_boxed_slice(), any: false }
    }

    /// What is known of the path to a backend.
    #[inline]
    pub fn look(&mut self, backend: BackendId, now: Now) -> PathMtu {
        if self.any { self.look_up(backend, now) } else { PathMtu::Unknown }
    }

    #[cold]
    fn look_up(&mut self, backend: BackendId, now: Now) -> PathMtu {
        let known = self.all.get_mut(backend.slot()).filter(|known| known.until_s != 0 && known.backend == backend);
        let Some(known) = known else { return PathMtu::Unknown };
        if u64::from(known.until_s) > seconds(now) {
            return PathMtu::Known(known.mtu);
        }
        *known = Known::default();
        PathMtu::Forgotten
    }

    /// As [`Self::look`], and forgets nothing.
    pub fn peek(&self, backend: BackendId, now: Now) -> PathMtu {
        match self.all.get(backend.slot()) {
            Some(known) if known.backend == backend && u64::from(known.until_s) > seconds(now) => {
                PathMtu::Known(known.mtu)
            }
            _ => PathMtu::Unknown,
        }
    }

    /// Takes in that no more than `mtu` bytes get through to a backend. A word that would widen the path is an old one and
    /// changes nothing (RFC 1191 section 6.3). True if something is new, be it only how long it counts.
    pub fn learn(&mut self, backend: BackendId, mtu: u16, now: Now) -> bool {
        let narrower = match self.look(backend, now) {
            PathMtu::Known(known) => mtu <= known,
            PathMtu::Unknown | PathMtu::Forgotten => true,
        };
        let until_s = u32::try_from(seconds(now) + AGE_S).unwrap_or(u32::MAX);
        let Some(place) = self.all.get_mut(backend.slot()).filter(|_| narrower) else { return false };
        let is_new = (place.backend, place.mtu, place.until_s) != (backend, mtu, until_s);
        *place = Known { backend, until_s, mtu };
        self.any = true;
        is_new
    }
}

fn seconds(now: Now) -> u64 {
    now.ns() / 1_000_000_000
}

/// The MTU to try next when a router did not say what would fit, by the size that did not: the next of the common sizes
/// (RFC 1191 section 7.1), but none that would not be believed.
pub fn plateau_below(len: u16) -> u16 {
    const PLATEAUS: [u16; 9] = [32_000, 17_914, 8_166, 4_352, 2_002, 1_492, 1_006, 576, 0];
    PLATEAUS.into_iter().find(|&plateau| plateau < len).unwrap_or(0).max(MTU_MIN_4)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(s: u64) -> Now {
        Now::from_ns(s * 1_000_000_000)
    }

    #[test]
    fn a_path_only_narrows_until_its_time_is_over() {
        let (id, other) = (BackendId::new(3, 1), BackendId::new(3, 2));
        let mut paths = PathMtus::new(4);
        assert_eq!(paths.look(id, at(0)), PathMtu::Unknown);
        assert!(paths.learn(id, 1400, at(10)));
        assert!(!paths.learn(id, 1400, at(10)), "the same again is no news");
        assert!(!paths.learn(id, 1450, at(20)));
        assert_eq!(paths.look(id, at(609)), PathMtu::Known(1400));
        assert_eq!(paths.look(other, at(20)), PathMtu::Unknown, "another backend in the same place");
        assert!(paths.learn(id, 1300, at(20)));
        assert_eq!(paths.look(id, at(619)), PathMtu::Known(1300));
        assert_eq!(paths.look(id, at(620)), PathMtu::Forgotten);
        assert_eq!(paths.look(id, at(620)), PathMtu::Unknown);
        assert!(paths.learn(id, 1450, at(621)));
        assert!(paths.learn(other, 1480, at(622)), "what was there before is nobody's");
        assert_eq!(paths.look(id, at(623)), PathMtu::Unknown);
        assert!(!paths.learn(BackendId::new(9, 0), 1400, at(0)), "beyond the size given at start");
    }

    #[test]
    fn plateaus_go_down_to_what_is_believed() {
        let steps = [(65_535, 32_000), (1500, 1492), (1492, 1006), (1006, 576), (577, 576), (576, 576), (0, 576)];
        for (len, plateau) in steps {
            assert_eq!(plateau_below(len), plateau, "{len}");
        }
    }
}
