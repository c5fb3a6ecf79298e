//! Memory of the tables: in hugepages where the machine has them, near its worker, and touched at start.
//!
//! A lookup in a large table touches another page nearly every time. With pages of 4 KiB it then waits for the page
//! tables as well as for the memory; one entry of the processor's address cache covers a page of 2 MiB.

#![allow(unsafe_code)]

use std::io::{BufRead, BufReader};
use std::iter::Sum;
use std::mem::MaybeUninit;
use std::ops::{Deref, DerefMut};
use std::ptr::{NonNull, null_mut};
use std::{fs, slice};

use libc::{c_int, c_ulong, c_void};

/// Bytes of a hugepage. Larger ones gain nothing more that could be measured, and are seldom there.
pub const HUGEPAGE_BYTES: usize = 2 << 20;
/// Blocks below this come from the allocator: the address cache holds their few pages anyway.
pub const MAPPED_MIN_BYTES: usize = 1 << 20;
/// No page is smaller on the platforms that there are.
const PAGE_BYTES: usize = 4096;
/// NUMA nodes that a mask can name, as many as the kernel knows at most.
const NODES_MAX: usize = 1024;

/// The memory of the connection tables is not to be had.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("no memory for {} MiB of connection tables; lower dataplane.connections", .bytes >> 20)]
pub struct OutOfMemory {
    /// How many bytes there had to be.
    pub bytes: u64,
}

/// Where memory should come from.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Place {
    /// The NUMA node that is preferred; `None` leaves it to the system.
    pub node: Option<u16>,
    /// Whether reserved hugepages may be taken. Transparent ones are asked for in any case.
    pub hugepages: bool,
}

/// What a block's memory turned out to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Backing {
    /// Reserved hugepages of so many bytes each.
    HugePages(usize),
    /// Pages that the kernel made huge by itself, as far as it had any when the block was filled.
    Transparent {
        /// Bytes of the block that are in such pages; the rest is in plain ones.
        bytes: usize,
    },
    /// Pages of the usual size.
    Plain,
}

/// Bytes by what they are backed with.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Footprint {
    /// In reserved hugepages.
    pub hugepage_bytes: u64,
    /// In pages that the kernel made huge by itself.
    pub transparent_bytes: u64,
    /// In pages of the usual size.
    pub plain_bytes: u64,
}

impl Sum for Footprint {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |a, b| Self {
            hugepage_bytes: a.hugepage_bytes + b.hugepage_bytes,
            transparent_bytes: a.transparent_bytes + b.transparent_bytes,
            plain_bytes: a.plain_bytes + b.plain_bytes,
        })
    }
}

/// An array of fixed size in memory of its own; used as the slice that it derefs to.
pub struct Block<T> {
    // Points to `len` initialised values that nobody else has, in `mapping` or, without one, in a box that was leaked.
    values: NonNull<T>,
    len: usize,
    backing: Backing,
    mapping: Option<Mapping>,
}

// SAFETY: a block owns its values and its mapping alone, as a box does; nothing in it is bound to a thread.
unsafe impl<T: Send> Send for Block<T> {}
// SAFETY: a shared block gives only shared slices of its values.
unsafe impl<T: Sync> Sync for Block<T> {}

impl<T: Copy + 'static> Block<T> {
    /// `len` times `value`. All pages are touched, so that none is left for the packet path to wait for.
    ///
    /// # Errors
    /// The system does not give that much memory.
    pub fn filled(len: usize, value: T, place: Place) -> Result<Self, OutOfMemory> {
        const { assert!(align_of::<T>() <= PAGE_BYTES, "mappings are aligned to pages") };
        let refused = OutOfMemory { bytes: (len as u64).saturating_mul(size_of::<T>() as u64) };
        let bytes = len.checked_mul(size_of::<T>()).filter(|&bytes| isize::try_from(bytes).is_ok()).ok_or(refused)?;
        if bytes < MAPPED_MIN_BYTES {
            return Self::boxed(len, value, refused);
        }
        let hugepages = if place.hugepages { Mapping::in_hugepages(bytes, place.node) } else { None };
        let (mapping, is_huge) = match hugepages {
            Some(mapping) => (mapping, true),
            None => (Mapping::in_pages(bytes, place.node).ok_or(refused)?, false),
        };
        let values = mapping.start.cast::<T>();
        // SAFETY: the mapping has `len * size_of::<T>()` writable bytes from `start`, which is aligned to a page and so
        // for `T`; nobody else has them, and values that may be uninitialised need no initialisation.
        unsafe { slice::from_raw_parts_mut(values.cast::<MaybeUninit<T>>().as_ptr(), len) }
            .fill(MaybeUninit::new(value));
        let backing = match is_huge {
            true => Backing::HugePages(HUGEPAGE_BYTES),
            false => match mapping.transparent_bytes().min(bytes) {
                0 => Backing::Plain,
                bytes => Backing::Transparent { bytes },
            },
        };
        Ok(Self { values, len, backing, mapping: Some(mapping) })
    }

    fn boxed(len: usize, value: T, refused: OutOfMemory) -> Result<Self, OutOfMemory> {
        let mut all = Vec::new();
        all.try_reserve_exact(len).map_err(|_| refused)?;
        all.resize(len, value);
        let values = NonNull::from(Box::leak(all.into_boxed_slice())).cast::<T>();
        Ok(Self { values, len, backing: Backing::Plain, mapping: None })
    }
}

impl<T> Block<T> {
    /// What the memory turned out to be.
    pub fn backing(&self) -> Backing {
        self.backing
    }

    /// The block's bytes by what they are backed with.
    pub fn footprint(&self) -> Footprint {
        let bytes = size_of_val(&**self) as u64;
        match self.backing {
            Backing::HugePages(_) => Footprint { hugepage_bytes: bytes, ..Footprint::default() },
            Backing::Transparent { bytes: huge } => {
                let transparent_bytes = (huge as u64).min(bytes);
                Footprint { transparent_bytes, plain_bytes: bytes - transparent_bytes, ..Footprint::default() }
            }
            Backing::Plain => Footprint { plain_bytes: bytes, ..Footprint::default() },
        }
    }
}

impl<T> Deref for Block<T> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        // SAFETY: `values` points to `len` initialised values that live as long as the block, see its field.
        unsafe { slice::from_raw_parts(self.values.as_ptr(), self.len) }
    }
}

impl<T> DerefMut for Block<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as for `deref`, and whoever has the block mutably is the only one who has its values.
        unsafe { slice::from_raw_parts_mut(self.values.as_ptr(), self.len) }
    }
}

impl<T> Drop for Block<T> {
    fn drop(&mut self) {
        // Values are `Copy`, so that a mapping goes without a look at them.
        if self.mapping.is_none() {
            // SAFETY: without a mapping, `values` is a leaked box of `len` values, which is taken back only here.
            drop(unsafe { Box::from_raw(std::ptr::slice_from_raw_parts_mut(self.values.as_ptr(), self.len)) });
        }
    }
}

/// Pages of our own, given back when it goes.
struct Mapping {
    // What was mapped, all of it ours.
    base: NonNull<u8>,
    mapped_bytes: usize,
    // What may be used of it: `bytes` readable and writable bytes inside, aligned to a hugepage.
    start: NonNull<u8>,
    bytes: usize,
}

impl Mapping {
    /// Reserved hugepages, if enough of them are free.
    fn in_hugepages(bytes: usize, node: Option<u16>) -> Option<Self> {
        let rounded_bytes = bytes.checked_next_multiple_of(HUGEPAGE_BYTES)?;
        // The kernel would rather take pages of another node than refuse; near memory of any kind is better than that.
        if node.and_then(free_hugepages).is_some_and(|free| free < rounded_bytes / HUGEPAGE_BYTES) {
            return None;
        }
        // Without MAP_NORESERVE the pages are set aside for us here, or it fails.
        let mapping = Self::new(rounded_bytes, libc::PROT_READ | libc::PROT_WRITE, libc::MAP_HUGETLB | HUGE_2MB)?;
        mapping.prefer(node);
        // A limit of a control group is met only now: as an error here, as SIGBUS at the first touch otherwise.
        mapping.populate(rounded_bytes).then_some(mapping)
    }

    /// Ordinary memory, so aligned that the kernel can use hugepages for it if it likes.
    fn in_pages(bytes: usize, node: Option<u16>) -> Option<Self> {
        let rounded_bytes = bytes.checked_next_multiple_of(HUGEPAGE_BYTES)?;
        // Room to align, and inaccessible pages on both sides: they keep the kernel from merging it with its neighbours,
        // which would hide how it is backed.
        let mut mapping = Self::new(rounded_bytes.checked_add(2 * HUGEPAGE_BYTES)?, libc::PROT_NONE, 0)?;
        let address = mapping.base.as_ptr() as usize;
        let offset = (address + 1).next_multiple_of(HUGEPAGE_BYTES) - address;
        // SAFETY: the offset is at most one hugepage, and two more than `rounded_bytes` are mapped.
        mapping.start = unsafe { mapping.base.add(offset) };
        mapping.bytes = rounded_bytes;
        let start = mapping.start.as_ptr().cast::<c_void>();
        // SAFETY: all of it is inside our mapping, and no reference to it exists yet.
        if unsafe { libc::mprotect(start, rounded_bytes, libc::PROT_READ | libc::PROT_WRITE) } != 0 {
            return None;
        }
        // SAFETY: advice changes how our own pages are backed, and not what they hold. A refusal leaves plain pages.
        unsafe { libc::madvise(start, rounded_bytes, libc::MADV_HUGEPAGE) };
        mapping.prefer(node);
        mapping.populate(bytes).then_some(mapping)
    }

    fn new(bytes: usize, protection: c_int, flags: c_int) -> Option<Self> {
        let flags = flags | libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: a new anonymous mapping at an address that the kernel chooses touches nothing that exists.
        let base = unsafe { libc::mmap(null_mut(), bytes, protection, flags, -1, 0) };
        if base == libc::MAP_FAILED {
            return None;
        }
        let base = NonNull::new(base.cast::<u8>())?;
        Some(Self { base, mapped_bytes: bytes, start: base, bytes })
    }

    /// Asks for pages of that NUMA node. Not every machine and container lets us; then they come from wherever.
    fn prefer(&self, node: Option<u16>) {
        const BITS: usize = c_ulong::BITS as usize;
        let mut mask = [0 as c_ulong; NODES_MAX / BITS];
        let Some(node) = node.map(usize::from) else { return };
        let Some(word) = mask.get_mut(node / BITS) else { return };
        *word |= 1 << (node % BITS);
        // SAFETY: the range is our own, and the mask has NODES_MAX bits (the kernel takes one off). Policies do not
        // change what memory holds.
        unsafe {
            libc::syscall(
                libc::SYS_mbind,
                self.start.as_ptr(),
                self.bytes,
                libc::MPOL_PREFERRED as c_ulong,
                mask.as_ptr(),
                NODES_MAX + 1,
                0 as c_ulong,
            )
        };
    }

    /// Touches the first `bytes`; false if the system has not that much.
    fn populate(&self, bytes: usize) -> bool {
        // SAFETY: pages of our own that are writable get their memory now instead of at the first write.
        let status = unsafe { libc::madvise(self.start.as_ptr().cast(), bytes, libc::MADV_POPULATE_WRITE) };
        // Linux before 5.14 does not know it; there the first write has to do.
        status == 0 || std::io::Error::last_os_error().raw_os_error() == Some(libc::EINVAL)
    }

    /// How much of it the kernel has made huge so far.
    fn transparent_bytes(&self) -> usize {
        let Ok(file) = fs::File::open("/proc/self/smaps") else { return 0 };
        let lines = BufReader::new(file).lines().map_while(Result::ok);
        anon_hugepage_bytes(lines, self.start.as_ptr() as usize)
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: it is ours alone, and a block's values are not used after the block. It cannot fail for a whole mapping.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.mapped_bytes) };
    }
}

/// 2 MiB, whatever the machine's default is.
const HUGE_2MB: c_int = libc::MAP_HUGE_2MB;

/// Hugepages of that NUMA node that nobody uses; `None` if the system does not say.
fn free_hugepages(node: u16) -> Option<usize> {
    let path = format!("/sys/devices/system/node/node{node}/hugepages/hugepages-2048kB/free_hugepages");
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// From the lines of `smaps`, for the mapping that begins at `address`.
fn anon_hugepage_bytes(lines: impl Iterator<Item = String>, address: usize) -> usize {
    let begins = format!("{address:08x}-");
    let mut lines = lines.skip_while(|line| !line.starts_with(&begins));
    let value =
        lines.find_map(|line| Some(line.strip_prefix("AnonHugePages:")?.trim().strip_suffix("kB")?.trim().parse()));
    value.and_then(Result::ok).map_or(0, |kib: usize| kib << 10)
}

#[cfg(test)]
mod tests;
