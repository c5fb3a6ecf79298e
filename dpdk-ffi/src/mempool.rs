//! Pools of mbufs.

use std::ffi::CString;
use std::ptr::NonNull;
use std::sync::Arc;

use thiserror::Error;

use crate::eal::Eal;
use crate::{Errno, Mbuf, MbufBurst, ffi};

/// Bytes that DPDK keeps free in front of a received frame.
pub const HEADROOM: u16 = ffi::RTE_PKTMBUF_HEADROOM as u16;
/// Data room of an mbuf for frames of up to 2048 bytes, headroom included.
pub const DATA_ROOM_DEFAULT: u16 = 2048 + HEADROOM;

/// A pool could not be made.
#[derive(Debug, Error)]
pub enum MempoolError {
    /// The name has a NUL byte.
    #[error("mempool name {0:?} must have no NUL byte")]
    Name(String),
    /// The data room leaves no byte for the frame.
    #[error("mempool {name}: data room of {data_room} bytes must be more than the headroom of {HEADROOM}")]
    DataRoom {
        /// Name of the pool.
        name: String,
        /// Bytes asked for.
        data_room: u16,
    },
    /// DPDK refused: `EEXIST` for a name in use, `ENOMEM` for too little memory, `EINVAL` for a cache that is more
    /// than 512 or than two thirds of the count.
    #[error("mempool {name}: cannot make {count} mbufs with data room of {data_room} bytes: {errno}")]
    Create {
        /// Name of the pool.
        name: String,
        /// Mbufs asked for.
        count: u32,
        /// Bytes asked for in each.
        data_room: u16,
        /// Why.
        errno: Errno,
    },
}

/// A pool of mbufs; clones are handles to the same pool, which outlives its mbufs.
///
/// The memory goes back when the last handle is gone and the last mbuf is back. That is looked at when a handle goes
/// or a pool is made, on the main lcore and while no worker runs, so that nobody can be just giving one back.
#[derive(Clone, Debug)]
pub struct Mempool(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    pool: RawPool,
    name: String,
    capacity: u32,
    data_room: u16,
    eal: Eal,
}

impl Mempool {
    /// Makes a pool of `count` mbufs (best one less than a power of two), of which each lcore may cache `cache`, and
    /// each with `data_room` bytes, headroom included; on a socket, or on any.
    ///
    /// # Errors
    /// When the name is taken or odd, the sizes do not fit together, or the memory does not suffice.
    pub fn new(
        eal: &Eal,
        name: &str,
        count: u32,
        cache: u32,
        data_room: u16,
        socket: Option<u32>,
    ) -> Result<Self, MempoolError> {
        eal.sweep_pools();
        let c_name = CString::new(name).map_err(|_| MempoolError::Name(name.to_owned()))?;
        if data_room <= HEADROOM {
            return Err(MempoolError::DataRoom { name: name.to_owned(), data_room });
        }
        // SAFETY: EAL is up, since the caller has an Eal; the name ends in NUL, and DPDK copies it.
        let pool = unsafe {
            ffi::rte_pktmbuf_pool_create(c_name.as_ptr(), count, cache, 0, data_room, crate::eal::socket_arg(socket))
        };
        let pool = NonNull::new(pool).map(RawPool).ok_or_else(|| MempoolError::Create {
            name: name.to_owned(),
            count,
            data_room,
            errno: Errno::last(),
        })?;
        Ok(Self(Arc::new(Inner { pool, name: name.to_owned(), capacity: count, data_room, eal: eal.clone() })))
    }

    /// Takes one mbuf, of one empty segment; `None` when the pool is empty.
    #[inline]
    pub fn alloc(&self) -> Option<Mbuf> {
        // SAFETY: the pool lives as long as self. The mbuf is ours alone, and the pool will outlive it.
        unsafe { NonNull::new(ffi::dpdk_ffi_mbuf_alloc(self.as_ptr())).map(|mbuf| Mbuf::from_raw(mbuf)) }
    }

    /// Adds mbufs to the burst until it is full; false, and none added, when the pool has less.
    #[inline]
    pub fn alloc_burst<const N: usize>(&self, burst: &mut MbufBurst<N>) -> bool {
        let wanted = burst.room();
        // SAFETY: the call writes `count` owned mbufs, or none at all.
        let added = unsafe {
            burst.fill(|slots, count| {
                let result = ffi::dpdk_ffi_mbuf_alloc_bulk(self.as_ptr(), slots, u32::from(count));
                if result == 0 { count } else { 0 }
            })
        };
        added == wanted
    }

    /// Name that it was made with.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Number of mbufs in all.
    pub fn capacity(&self) -> u32 {
        self.0.capacity
    }

    /// Bytes in each mbuf, headroom included.
    pub fn data_room(&self) -> u16 {
        self.0.data_room
    }

    /// Mbufs that can be taken, those in caches of lcores included; a snapshot while others take and give.
    pub fn available(&self) -> u32 {
        // SAFETY: the pool lives as long as self; its counters may be read at any time.
        unsafe { ffi::rte_mempool_avail_count(self.as_ptr()) }
    }

    /// Mbufs that are out; a snapshot while others take and give.
    pub fn in_use(&self) -> u32 {
        self.0.pool.in_use()
    }

    #[inline]
    pub(crate) fn as_ptr(&self) -> *mut ffi::rte_mempool {
        self.0.pool.0.as_ptr()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.eal.retire_pool(RawPool(self.pool.0));
    }
}

/// A pool without an owner that counts.
// Invariant: points to a pool that has not been freed.
#[derive(Debug)]
pub(crate) struct RawPool(NonNull<ffi::rte_mempool>);

// SAFETY: mempools may be used from every thread.
unsafe impl Send for RawPool {}
// SAFETY: as above.
unsafe impl Sync for RawPool {}

impl RawPool {
    pub(crate) fn in_use(&self) -> u32 {
        // SAFETY: the pool has not been freed; its counters may be read at any time.
        unsafe { ffi::rte_mempool_in_use_count(self.0.as_ptr()) }
    }

    /// Frees the pool, which must have all its mbufs back and no other user.
    pub(crate) unsafe fn free(self) {
        // SAFETY: the caller's promise.
        unsafe { ffi::rte_mempool_free(self.0.as_ptr()) };
    }
}
