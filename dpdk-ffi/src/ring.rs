//! Bounded queues of mbufs between threads.

use std::ffi::CString;
use std::ptr::NonNull;
use std::sync::Arc;

use thiserror::Error;

use crate::eal::{self, Eal};
use crate::{Errno, MbufBurst, ffi};

/// A ring could not be made.
#[derive(Debug, Error)]
pub enum RingError {
    /// The name has a NUL byte.
    #[error("ring name {0:?} must have no NUL byte")]
    Name(String),
    /// DPDK refused: `EINVAL` for a size that is no power of two, `EEXIST` for a name in use, `ENOMEM`.
    #[error("ring {name}: cannot make one of size {size} (a power of two): {errno}")]
    Create {
        /// Name of the ring.
        name: String,
        /// Slots asked for.
        size: u32,
        /// Why.
        errno: Errno,
    },
}

/// The end of a ring that puts mbufs in; with `MULTI` it can be cloned, one for each thread.
#[derive(Debug)]
pub struct RingProducer<const MULTI: bool>(Arc<Ring>);

/// The one producer of a ring made by [`spsc`].
pub type SpProducer = RingProducer<false>;
/// One of the producers of a ring made by [`mpsc`].
pub type MpProducer = RingProducer<true>;

/// The only end of a ring that takes mbufs out.
#[derive(Debug)]
pub struct RingConsumer(Arc<Ring>);

/// Makes a ring for one producer and one consumer, of `size` slots (a power of two, one of which stays empty).
///
/// # Errors
/// When the name is taken or odd, the size is no power of two, or the memory does not suffice.
pub fn spsc(eal: &Eal, name: &str, size: u32, socket: Option<u32>) -> Result<(SpProducer, RingConsumer), RingError> {
    let ring = Arc::new(Ring::new(eal, name, size, socket, ffi::RING_F_SP_ENQ | ffi::RING_F_SC_DEQ)?);
    Ok((RingProducer(Arc::clone(&ring)), RingConsumer(ring)))
}

/// Makes a ring for many producers and one consumer, of `size` slots (a power of two, one of which stays empty).
///
/// # Errors
/// When the name is taken or odd, the size is no power of two, or the memory does not suffice.
pub fn mpsc(eal: &Eal, name: &str, size: u32, socket: Option<u32>) -> Result<(MpProducer, RingConsumer), RingError> {
    let ring = Arc::new(Ring::new(eal, name, size, socket, ffi::RING_F_SC_DEQ)?);
    Ok((RingProducer(Arc::clone(&ring)), RingConsumer(ring)))
}

impl<const MULTI: bool> RingProducer<MULTI> {
    /// Puts in as many mbufs from the front of the burst as there is room for, and returns how many; the others stay
    /// in the burst, in order.
    #[inline]
    pub fn enqueue_burst<const N: usize>(&mut self, burst: &mut MbufBurst<N>) -> usize {
        let ring = self.0.raw.as_ptr();
        // SAFETY: the ring lives as long as self. A single producer is not cloned and is used through &mut, so its
        // calls do not meet. The ring owns what it has taken.
        unsafe {
            burst.take_front(|slots, count| ffi::dpdk_ffi_ring_enqueue_burst(ring, slots, u32::from(count)) as u16)
        }
    }

    /// Mbufs in the ring; a snapshot.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the ring is empty; a snapshot.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Mbufs that the ring holds at most.
    pub fn capacity(&self) -> usize {
        self.0.capacity
    }
}

impl Clone for MpProducer {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl RingConsumer {
    /// Adds mbufs from the ring to the burst until it is full or the ring is empty; returns how many.
    #[inline]
    pub fn dequeue_burst<const N: usize>(&mut self, burst: &mut MbufBurst<N>) -> usize {
        let ring = self.0.raw.as_ptr();
        // SAFETY: the ring lives as long as self, and this is its only consumer, used through &mut. What it writes to
        // the slots is what the ring owned.
        unsafe { burst.fill(|slots, count| ffi::dpdk_ffi_ring_dequeue_burst(ring, slots, u32::from(count)) as u16) }
    }

    /// Mbufs in the ring; a snapshot.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the ring is empty; a snapshot.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Mbufs that the ring holds at most.
    pub fn capacity(&self) -> usize {
        self.0.capacity
    }
}

// Invariant: points to a ring that has not been freed, and whatever is in it is an owned mbuf.
#[derive(Debug)]
struct Ring {
    raw: NonNull<ffi::rte_ring>,
    /// One slot stays empty.
    capacity: usize,
    eal: Eal,
}

// SAFETY: an rte_ring is made to be used from several threads; the ends above keep to the number of users it was made
// for.
unsafe impl Send for Ring {}
// SAFETY: as above.
unsafe impl Sync for Ring {}

impl Ring {
    fn new(eal: &Eal, name: &str, size: u32, socket: Option<u32>, flags: u32) -> Result<Self, RingError> {
        let c_name = CString::new(name).map_err(|_| RingError::Name(name.to_owned()))?;
        let failed = |errno| RingError::Create { name: name.to_owned(), size, errno };
        // DPDK takes 0 for a power of two as well.
        let capacity = size.checked_sub(1).filter(|capacity| *capacity > 0).ok_or_else(|| failed(Errno::EINVAL))?;
        let _control = eal.control();
        // SAFETY: EAL is up, since the caller has an Eal; the name ends in NUL, and DPDK copies it.
        let ring = unsafe { ffi::rte_ring_create(c_name.as_ptr(), size, eal::socket_arg(socket), flags) };
        let raw = NonNull::new(ring).ok_or_else(|| failed(Errno::last()))?;
        Ok(Self { raw, capacity: capacity as usize, eal: eal.clone() })
    }

    fn len(&self) -> usize {
        // SAFETY: the ring has not been freed; its counters may be read at any time.
        unsafe { ffi::dpdk_ffi_ring_count(self.raw.as_ptr()) as usize }
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        let ring = self.raw.as_ptr();
        let mut left = MbufBurst::<64>::new();
        // SAFETY: both ends are gone, so nobody else uses the ring, and what it writes to the slots is what it owned.
        while unsafe { left.fill(|slots, count| ffi::dpdk_ffi_ring_dequeue_burst(ring, slots, count.into()) as u16) }
            > 0
        {
            left.clear();
        }
        let _control = self.eal.control();
        // SAFETY: the ring is empty and has no other user.
        unsafe { ffi::rte_ring_free(self.raw.as_ptr()) };
    }
}
