//! What one worker knows of datagrams that come in fragments: their ports, once the first fragment was seen, and which of
//! their bytes were.
//!
//! Nothing is put together: each fragment is forwarded by itself. The memory is fixed at start. A datagram has a bucket by a
//! keyed hash, so that nobody outside can aim at one, and there it takes the place of what is worth least.

mod pieces;
#[cfg(test)]
mod tests;

pub use pieces::Piece;
use pieces::{Added, Pieces};

use super::clock::Now;
use super::hash::HashKey;
use super::ids::WorkerId;
use super::table::{Address, Probe, TableHasher, Words};
use super::verdict::DropReason;

/// Which datagram a fragment is of: addresses and identification, with the protocol in IPv4 (RFC 791 2.3) and without it in
/// IPv6 (RFC 8200 4.5).
#[derive(Clone, Copy, Debug, Default)]
pub struct Datagram {
    addresses: [u64; 4],
    /// Protocol above, identification below.
    id: u64,
    hash: u64,
    is_v6: bool,
}

impl Datagram {
    /// The worker at which all fragments of a datagram meet first, as they carry nothing that leads to their owner.
    pub fn home(&self, workers: u16) -> WorkerId {
        super::steer::owner(self.hash, workers)
    }

    /// For what waits for its first fragment.
    pub fn tag(&self) -> DatagramTag {
        DatagramTag::of(self.hash as u32)
    }

    fn is(&self, other: &Self) -> bool {
        (self.addresses, self.id, self.is_v6) == (other.addresses, other.id, other.is_v6)
    }
}

/// Some bits of a datagram's hash. Two datagrams may share it: what is released too early waits again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DatagramTag([u16; 2]);

impl DatagramTag {
    pub(super) const fn of(bits: u32) -> Self {
        Self([bits as u16, (bits >> 16) as u16])
    }
}

/// What only the first fragment tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Upper {
    /// Source port.
    pub sport: u16,
    /// Destination port.
    pub dport: u16,
    /// TCP or UDP.
    pub protocol: u8,
    /// The worker that owns the connection, if that can be told.
    pub owner: Option<WorkerId>,
}

/// How far a datagram has come, from what is worth least to what is worth most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    /// Nothing lives here.
    #[default]
    Free,
    /// The first fragment is missing.
    Orphan,
    /// Every byte was seen: what follows is sent again, or of another datagram with the same identification.
    Complete,
    /// Fragments overlapped: nothing more of it is taken.
    Poisoned,
    /// The ports are known.
    Known,
    /// The ports are known from the home worker, which has looked at the rest.
    Noted,
}

/// What is looked at to find a datagram; those of a bucket are one cache line.
#[derive(Clone, Copy, Debug, Default)]
struct Head {
    /// From this moment on it is free.
    until: u32,
    tag: u16,
    stage: Stage,
    /// How many fragments were told to wait for the first one.
    waiting: u8,
}

#[derive(Clone, Copy, Debug, Default)]
#[repr(align(64))]
struct Bucket([Head; PLACES]);

#[derive(Clone, Copy, Debug, Default)]
struct Body {
    datagram: Datagram,
    upper: Upper,
    pieces: Pieces,
}

/// What is known of the datagrams of a bucket, for [`Fragments::paste`].
#[derive(Clone, Copy, Debug)]
pub struct BucketCopy {
    heads: Bucket,
    bodies: [Body; PLACES],
}

/// Datagrams in a bucket.
const PLACES: usize = 8;
/// Most datagrams that a worker can be configured to know, which takes 20 MB.
pub const DATAGRAMS_MAX: u32 = 65_536;
/// Fragments of one datagram that may wait: 64 KiB in packets of 1,280 bytes, the last one first.
const WAITING_MAX: u8 = 64;
/// Datagrams whose fragments can be released between two looks of the poll loop, two bursts' worth.
const WOKEN_MAX: usize = 2 * super::path::BURST;

/// How long a datagram is known from its first fragment on (RFC 791 3.2). Receivers wait longer, 30 or 60 seconds, but what
/// is 15 seconds behind the rest of its datagram is lost in every other sense.
const KNOWN: u32 = moments(15_000);
/// How long the first fragment is waited for.
const ORPHAN: u32 = moments(super::waiting::WAIT_NS / 1_000_000);
/// How long a complete datagram is known. Short, because at a high rate IPv4 identifications come round within seconds
/// (RFC 4963); what the network doubles comes within it.
const COMPLETE: u32 = moments(1_000);
/// How long nothing is taken of a datagram whose fragments overlapped. In IPv6 as long as any receiver waits (RFC 8200 4.5),
/// in IPv4 short for the same reason as above.
const POISONED: [u32; 2] = [moments(1_000), moments(60_000)];

/// See the module.
pub struct Fragments {
    heads: Box<[Bucket]>,
    bodies: Box<[[Body; PLACES]]>,
    hasher: TableHasher,
    /// Of datagrams for which fragments wait and need not any longer.
    woken: Vec<DatagramTag>,
}

/// A datagram's place.
type Place = (usize, usize);

impl Fragments {
    /// Room for at least `max` datagrams, for none at all if `max` is 0. All workers need the same key.
    pub fn new(max: usize, key: HashKey) -> Self {
        let buckets = if max == 0 { 0 } else { max.div_ceil(PLACES).next_power_of_two() };
        Self {
            heads: vec![Bucket::default(); buckets].into_boxed_slice(),
            bodies: vec![[Body::default(); PLACES]; buckets].into_boxed_slice(),
            hasher: TableHasher::new(key),
            woken: Vec::with_capacity(WOKEN_MAX),
        }
    }

    /// Whether fragments are taken at all.
    pub fn is_on(&self) -> bool {
        !self.heads.is_empty()
    }

    /// Datagrams that there is room for.
    pub fn capacity(&self) -> usize {
        self.heads.len() * PLACES
    }

    /// The datagram of a fragment; `protocol` means nothing in IPv6.
    pub fn datagram<A: Address>(&self, src: A, dst: A, id: u32, protocol: u8) -> Datagram {
        let protocol = if A::IS_V6 { 0 } else { protocol };
        let (addresses, id) = (A::join(src, dst), u64::from(id) | u64::from(protocol) << 32);
        let mut probe = Probe { words: Words { addresses, ends: id }, hash: 0 };
        self.hasher.hash_all::<A>(std::iter::once(&mut probe));
        Datagram { addresses, id, hash: probe.hash, is_v6: A::IS_V6 }
    }

    /// A first fragment has come home.
    ///
    /// # Errors
    /// It, or the whole datagram, is not to be forwarded.
    pub fn first(&mut self, of: &Datagram, piece: Piece, upper: Upper, now: Now) -> Result<(), DropReason> {
        let now = moment(now);
        let found = self.find(of, now);
        let place = match found {
            Some(place) => place,
            None => self.take_place(of, now, Stage::Known).ok_or(DropReason::FragmentTableFull)?,
        };
        let Some((head, body)) = self.at(place) else { return Err(DropReason::FragmentTableFull) };
        match head.stage {
            _ if found.is_none() => {}
            Stage::Poisoned => return Err(DropReason::FragmentOverlap),
            Stage::Orphan => {}
            Stage::Known if body.upper == upper => return self.add(place, piece, now),
            // Other bytes in the place of those that were there.
            Stage::Known if of.is_v6 => {
                self.poison(place, now);
                return Err(DropReason::FragmentOverlap);
            }
            // The identification has come round, or this is sent once more.
            _ => body.pieces.clear(),
        }
        (head.stage, head.until, body.upper) = (Stage::Known, now.wrapping_add(KNOWN), upper);
        self.wake(place);
        self.add(place, piece, now)
    }

    /// A later fragment has come home. `None` if it has to wait for the first one.
    ///
    /// # Errors
    /// It, or the whole datagram, is not to be forwarded.
    pub fn later(&mut self, of: &Datagram, piece: Piece, now: Now) -> Result<Option<Upper>, DropReason> {
        let now = moment(now);
        let place = match self.find(of, now) {
            Some(place) => place,
            None => self.take_place(of, now, Stage::Orphan).ok_or(DropReason::FragmentTableFull)?,
        };
        let Some((head, body)) = self.at(place) else { return Err(DropReason::FragmentTableFull) };
        match head.stage {
            Stage::Poisoned => return Err(DropReason::FragmentOverlap),
            Stage::Orphan if head.waiting >= WAITING_MAX => return Err(DropReason::FragmentQueueFull),
            // Not what was there: the first fragments of another datagram with this identification are out of order.
            Stage::Complete if !of.is_v6 && body.pieces.add(piece) != Added::Again => {
                body.pieces.clear();
                (head.stage, head.until, head.waiting) = (Stage::Orphan, now.wrapping_add(ORPHAN), 0);
            }
            _ => {}
        }
        let (stage, upper) = (head.stage, body.upper);
        self.add(place, piece, now)?;
        if stage != Stage::Orphan {
            return Ok(Some(upper));
        }
        if let Some((head, _)) = self.at(place) {
            head.waiting += 1;
        }
        Ok(None)
    }

    /// Notes what the first fragment of a datagram says, which another worker is home to.
    pub fn note(&mut self, of: &Datagram, upper: Upper, now: Now) {
        let now = moment(now);
        let place = self.find(of, now).or_else(|| self.take_place(of, now, Stage::Noted));
        if let Some((head, body)) = place.and_then(|place| self.at(place)) {
            (head.stage, head.until, body.upper) = (Stage::Noted, now.wrapping_add(KNOWN), upper);
        }
    }

    /// What the first fragment of a datagram has said, if it was seen here.
    pub fn ports_of(&self, of: &Datagram, now: Now) -> Option<Upper> {
        let (bucket, place) = self.find(of, moment(now))?;
        let stage = self.heads.get(bucket)?.0.get(place)?.stage;
        let is_known = matches!(stage, Stage::Known | Stage::Noted | Stage::Complete);
        is_known.then_some(self.bodies.get(bucket)?.get(place)?.upper)
    }

    /// The bucket that a datagram is in, or would come into.
    pub fn copy(&self, of: &Datagram) -> Option<BucketCopy> {
        let bucket = self.bucket_of(of);
        Some(BucketCopy { heads: *self.heads.get(bucket)?, bodies: *self.bodies.get(bucket)? })
    }

    /// Takes over that bucket from elsewhere, under the same key.
    pub fn paste(&mut self, of: &Datagram, copy: &BucketCopy) {
        let bucket = self.bucket_of(of);
        if let (Some(heads), Some(bodies)) = (self.heads.get_mut(bucket), self.bodies.get_mut(bucket)) {
            (*heads, *bodies) = (copy.heads, copy.bodies);
        }
    }

    /// The next datagram for which fragments wait and need not any longer: they go through the packet path again.
    pub fn woken(&mut self) -> Option<DatagramTag> {
        self.woken.last().copied()
    }

    /// All that waited for the last one named is out.
    pub fn is_awake(&mut self) {
        self.woken.pop();
    }

    /// Adds a fragment to its datagram.
    fn add(&mut self, place: Place, piece: Piece, now: u32) -> Result<(), DropReason> {
        let Some((head, body)) = self.at(place) else { return Ok(()) };
        match body.pieces.add(piece) {
            Added::New | Added::Again => {}
            Added::Scattered => return Err(DropReason::FragmentInvalid),
            Added::Overlap => {
                self.poison(place, now);
                return Err(DropReason::FragmentOverlap);
            }
        }
        if head.stage == Stage::Known && body.pieces.is_complete() {
            (head.stage, head.until) = (Stage::Complete, now.wrapping_add(COMPLETE));
        }
        Ok(())
    }

    /// Takes nothing more of a datagram, and what waits neither (RFC 8200 4.5).
    fn poison(&mut self, place: Place, now: u32) {
        let Some((head, body)) = self.at(place) else { return };
        let time = POISONED[usize::from(body.datagram.is_v6)];
        (head.stage, head.until) = (Stage::Poisoned, now.wrapping_add(time));
        self.wake(place);
    }

    /// Lets go what waits for a datagram.
    fn wake(&mut self, place: Place) {
        let Some((head, body)) = self.at(place) else { return };
        let tag = body.datagram.tag();
        if std::mem::take(&mut head.waiting) > 0 && self.woken.len() < WOKEN_MAX {
            self.woken.push(tag);
        }
    }

    fn at(&mut self, (bucket, place): Place) -> Option<(&mut Head, &mut Body)> {
        Some((self.heads.get_mut(bucket)?.0.get_mut(place)?, self.bodies.get_mut(bucket)?.get_mut(place)?))
    }

    fn bucket_of(&self, of: &Datagram) -> usize {
        of.hash as usize & self.heads.len().wrapping_sub(1)
    }

    fn find(&self, of: &Datagram, now: u32) -> Option<Place> {
        let bucket = self.bucket_of(of);
        let (heads, bodies) = (self.heads.get(bucket)?, self.bodies.get(bucket)?);
        let is = |head: &Head, body: &Body| head.tag == tag(of) && head.is_alive(now) && body.datagram.is(of);
        let place = heads.0.iter().zip(bodies).position(|(head, body)| is(head, body))?;
        Some((bucket, place))
    }

    /// The place of what is worth least in the bucket, made ready for a datagram that is not there; `None` if all of it is
    /// worth more than that.
    fn take_place(&mut self, of: &Datagram, now: u32, stage: Stage) -> Option<Place> {
        let bucket = self.bucket_of(of);
        let heads = &self.heads.get(bucket)?.0;
        // Of those that came within one moment any: always the same would be the newest.
        let start = (of.hash >> 40) as usize;
        let places = (start..start + PLACES).filter_map(|at| Some((at % PLACES, heads.get(at % PLACES)?)));
        let (place, head) = places.min_by_key(|(_, head)| head.worth(now))?;
        if head.is_alive(now) && !stage.replaces(head.stage) {
            return None;
        }
        let time = if stage == Stage::Orphan { ORPHAN } else { KNOWN };
        let (head, body) = self.at((bucket, place))?;
        *head = Head { until: now.wrapping_add(time), tag: tag(of), stage, waiting: 0 };
        (body.datagram, body.upper) = (*of, Upper::default());
        body.pieces.clear();
        Some((bucket, place))
    }
}

impl Stage {
    /// Whether a new datagram in this stage takes the place of one in another. One whose first fragment nobody has seen never
    /// does so with one whose first fragment came: a flood of them breaks no datagram that has begun.
    fn replaces(self, other: Self) -> bool {
        self != Self::Orphan || matches!(other, Self::Free | Self::Orphan | Self::Complete)
    }
}

impl Head {
    fn is_alive(&self, now: u32) -> bool {
        self.stage != Stage::Free && self.left(now) > 0
    }

    /// How long until it is free. Moments compare rightly for 4 years.
    fn left(&self, now: u32) -> i32 {
        self.until.wrapping_sub(now) as i32
    }

    /// Orders what may have to give its place: what is over first, then by stage, and of one stage the oldest.
    fn worth(&self, now: u32) -> (u8, i32) {
        // Both of the last are datagrams on their way.
        let stage = self.stage.min(Stage::Known) as u8;
        if self.is_alive(now) { (stage, self.left(now)) } else { (Stage::Free as u8, 0) }
    }
}

/// Bits of the hash that neither the bucket nor, alone, the home worker follows from.
fn tag(of: &Datagram) -> u16 {
    (of.hash >> 20) as u16
}

/// Time in units of 2^26 ns, 67 ms, which come round after 9 years: a place that nobody looks at for long is free all the same.
fn moment(now: Now) -> u32 {
    (now.ns() >> MOMENT_BITS) as u32
}

/// So many milliseconds, and less than two units more.
const fn moments(ms: u64) -> u32 {
    ((ms * 1_000_000) >> MOMENT_BITS) as u32 + 2
}

const MOMENT_BITS: u32 = 26;
