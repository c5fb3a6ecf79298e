//! Blocks of all sizes: what is in them, what they are backed with, and what is left of them.

use std::net::Ipv6Addr;

use super::*;

const MIB: usize = 1 << 20;
const NEAR: Place = Place { node: Some(0), hugepages: true };

/// As large as two cache lines, and aligned to one.
#[derive(Clone, Copy, PartialEq, Debug)]
#[repr(align(64))]
struct Line([u32; 20]);

fn is_filled<T: Copy + PartialEq + 'static>(len: usize, value: T, other: T, place: Place) -> Block<T> {
    let mut block = Block::filled(len, value, place).unwrap();
    assert_eq!(block.len(), len);
    assert!(block.iter().all(|v| *v == value));
    assert!(block.as_ptr().is_aligned());
    if let Some(last) = block.last_mut() {
        *last = other;
        assert!(block.last().is_some_and(|v| *v == other));
    }
    let footprint = block.footprint();
    let bytes = footprint.hugepage_bytes + footprint.transparent_bytes + footprint.plain_bytes;
    assert_eq!(bytes, (len * size_of::<T>()) as u64);
    block
}

#[test]
fn every_place_of_a_block_holds_the_value() {
    let sizes = [0, 1, 4095, MIB - 1, MIB, MIB + 1, 2 * MIB, 2 * MIB + 1, 5 * MIB, 16 * MIB];
    for place in [Place::default(), NEAR, Place { node: None, ..NEAR }, Place { node: Some(u16::MAX), ..NEAR }] {
        for bytes in sizes {
            is_filled(bytes, 0xa5u8, 7, place);
            is_filled(bytes / 16, Ipv6Addr::LOCALHOST, Ipv6Addr::UNSPECIFIED, place);
            is_filled(bytes / size_of::<Line>(), Line([9; 20]), Line([1; 20]), place);
        }
        is_filled(3 * MIB, (), (), place);
    }
}

#[test]
fn small_blocks_take_no_mapping() {
    let small = is_filled(MAPPED_MIN_BYTES - 1, 1u8, 2, NEAR);
    assert!(small.mapping.is_none() && small.backing() == Backing::Plain);
    assert!(is_filled(MAPPED_MIN_BYTES, 1u8, 2, Place::default()).mapping.is_some());
}

#[test]
fn a_block_may_go_to_another_thread() {
    let mut block = is_filled(3 * MIB, 1u8, 1, Place::default());
    let block = std::thread::spawn(move || {
        block[MIB] = 2;
        block
    });
    assert_eq!(block.join().unwrap().iter().filter(|&&v| v == 2).count(), 1);
}

#[test]
fn too_much_is_an_error_and_not_the_end() {
    for place in [Place::default(), NEAR] {
        // More than any machine has, than an address space holds, than a slice may have, than can be counted.
        for len in [1 << 50, 1 << 60, (isize::MAX as usize) + 1, usize::MAX] {
            assert_eq!(Block::filled(len, 0u8, place).err(), Some(OutOfMemory { bytes: len as u64 }));
        }
        assert_eq!(Block::filled(usize::MAX / 2, 0u64, place).err(), Some(OutOfMemory { bytes: u64::MAX }));
    }
}

/// The only test that takes so much that others do not matter.
#[test]
fn a_block_that_goes_gives_its_memory_back() {
    let before = resident_bytes();
    let block = is_filled(128 * MIB, 1u8, 1, Place::default());
    let (huge, during) = (block.footprint().transparent_bytes, resident_bytes());
    assert!(during > before + 96 * MIB, "{before} {during}");
    drop(block);
    let after = resident_bytes();
    assert!(after + 96 * MIB < during, "{before} {during} {after}, {huge} bytes in transparent hugepages");
}

#[test]
fn without_free_hugepages_other_memory_does() {
    // More than any machine has.
    assert!([None, Some(0)].into_iter().all(|node| Mapping::in_hugepages(1 << 46, node).is_none()));
    // More than are free; where that is much, only the test by hand goes on.
    let len = (free() + 2) * HUGEPAGE_BYTES;
    if len > 256 * MIB {
        return;
    }
    let block = is_filled(len, 1u8, 2, NEAR);
    assert!(!matches!(block.backing(), Backing::HugePages(_)), "{:?}", block.backing());
}

/// Needs 64 free hugepages that nobody else takes: `sysctl -w vm.nr_hugepages=64`.
#[test]
#[ignore = "takes hugepages that must have been reserved before"]
fn with_free_hugepages_a_block_is_in_them() {
    let free_before = free();
    assert!(free_before >= 64, "{free_before} free hugepages");
    let block = is_filled(100 * MIB + 1, 1u8, 2, NEAR);
    assert_eq!(block.backing(), Backing::HugePages(HUGEPAGE_BYTES));
    assert_eq!(free(), free_before - 51);
    let rest = is_filled((free_before - 51) * HUGEPAGE_BYTES, 1u32 << 9, 2, Place { node: None, ..NEAR });
    // Four times as large as what is left.
    assert!(!matches!(rest.backing(), Backing::HugePages(_)));
    let rest = is_filled((free_before - 51) * HUGEPAGE_BYTES, 1u8, 2, Place { node: None, ..NEAR });
    assert_eq!((rest.backing(), free()), (Backing::HugePages(HUGEPAGE_BYTES), 0));
    let unasked = is_filled(4 * MIB, 1u8, 2, Place::default());
    assert!(!matches!(unasked.backing(), Backing::HugePages(_)));
    drop((block, rest));
    assert_eq!(free(), free_before);
    assert!(!matches!(is_filled(4 * MIB, 1u8, 2, Place::default()).backing(), Backing::HugePages(_)));
}

#[test]
fn the_kernels_words_about_a_mapping_are_read() {
    let smaps = "7f0000000000-7f0000200000 ---p 00000000 00:00 0 \nAnonHugePages:         0 kB\n\
        7f0000200000-7f0000800000 rw-p 00000000 00:00 0 \nRss:  5000 kB\nAnonHugePages:      4096 kB\nVmFlags: rd\n\
        7f0000800000-7f0000a00000 rw-p 00000000 00:00 0 \nAnonHugePages:      2048 kB\n";
    let bytes = |address| anon_hugepage_bytes(smaps.lines().map(str::to_owned), address);
    assert_eq!((bytes(0x7f00_0020_0000), bytes(0x7f00_0080_0000)), (4 * MIB, 2 * MIB));
    assert_eq!((bytes(0x7f00_0000_0000), bytes(0x20_0000), anon_hugepage_bytes(std::iter::empty(), 0)), (0, 0, 0));
}

#[test]
fn footprints_add_up() {
    let part = |bytes, backing| {
        let mut block = Block::filled(bytes, 0u8, Place::default()).unwrap();
        block.backing = backing;
        block.footprint()
    };
    let all = [part(10, Backing::Plain), part(20, Backing::HugePages(1)), part(9, Backing::Transparent { bytes: 4 })];
    let wanted = Footprint { hugepage_bytes: 20, transparent_bytes: 4, plain_bytes: 15 };
    assert_eq!(all.into_iter().sum::<Footprint>(), wanted);
}

fn free() -> usize {
    let text = fs::read_to_string("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages");
    text.ok().and_then(|t| t.trim().parse().ok()).unwrap_or(0)
}

fn resident_bytes() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).unwrap();
    line.trim().strip_suffix("kB").unwrap().trim().parse::<usize>().unwrap() << 10
}
