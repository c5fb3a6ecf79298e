//! The memory of the connection tables: whether it is there, asked before others need it, and what it turned out to be.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::lb::memory::{Footprint, HUGEPAGE_BYTES, MAPPED_MIN_BYTES, OutOfMemory};
use crate::lb::shard::ShardConfig;

/// Bytes of the connection tables by what they are backed with, as it was at start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TableMemory {
    /// In reserved hugepages of 2 MB.
    pub hugepage_bytes: u64,
    /// In hugepages that the kernel made by itself.
    pub transparent_bytes: u64,
    /// In pages of the usual size.
    pub plain_bytes: u64,
}

impl From<Footprint> for TableMemory {
    fn from(footprint: Footprint) -> Self {
        let Footprint { hugepage_bytes, transparent_bytes, plain_bytes } = footprint;
        Self { hugepage_bytes, transparent_bytes, plain_bytes }
    }
}

impl std::fmt::Display for TableMemory {
    /// Such as `806 MiB in 2 MB hugepages, 24 MiB in plain pages`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let parts = [
            (self.hugepage_bytes, "2 MB hugepages"),
            (self.transparent_bytes, "transparent hugepages"),
            (self.plain_bytes, "plain pages"),
        ];
        // The small tables of a family without services are not worth a word.
        let parts: Vec<_> = parts.iter().filter(|(bytes, _)| *bytes >= 1 << 20).collect();
        if parts.is_empty() {
            return f.write_str("less than 1 MiB");
        }
        let parts = parts.into_iter().map(|(bytes, pages)| format!("{} MiB in {pages}", bytes >> 20));
        f.write_str(&parts.collect::<Vec<_>>().join(", "))
    }
}

/// Looks at the tables of all shards together; `hugepage_bytes` are in free hugepages of 2 MB that nobody else will take.
///
/// # Errors
/// The machine has not that much memory left.
pub fn check(shards: &[ShardConfig], hugepage_bytes: u64) -> Result<(), OutOfMemory> {
    // Where the system does not say, the allocation will.
    let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let tables = shards.iter().flat_map(|shard| shard.tables_bytes().map(|bytes| (bytes, shard.place.hugepages)));
    fits(outside_hugepages(tables, hugepage_bytes), available_bytes(&meminfo))
}

/// Bytes of the tables that find no room in so many bytes of hugepages; each comes with whether it may be there.
fn outside_hugepages(tables: impl Iterator<Item = (u64, bool)>, hugepage_bytes: u64) -> u64 {
    let mut free_bytes = hugepage_bytes;
    let outside = tables.filter(|&(bytes, may)| {
        // Tags and entries are blocks of their own, each rounded up.
        let rounded_bytes = bytes.saturating_add(2 * HUGEPAGE_BYTES as u64);
        let fits = may && bytes >= 2 * MAPPED_MIN_BYTES as u64 && rounded_bytes <= free_bytes;
        if fits {
            free_bytes -= rounded_bytes;
        }
        !fits
    });
    outside.fold(0, |sum, (bytes, _)| sum.saturating_add(bytes))
}

fn fits(bytes: u64, available_bytes: Option<u64>) -> Result<(), OutOfMemory> {
    if available_bytes.is_some_and(|available| bytes > available) { Err(OutOfMemory { bytes }) } else { Ok(()) }
}

/// From the text of `/proc/meminfo`. Hugepages that are reserved do not count as available there.
fn available_bytes(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn tables_fit_into_what_is_available() {
        let meminfo = "MemTotal:       2048 kB\nMemFree:           1 kB\nMemAvailable:   1024 kB\n";
        let available = available_bytes(meminfo);
        assert_eq!(available, Some(1 << 20));
        assert_eq!(fits(1 << 20, available), Ok(()));
        let error = fits((1 << 20) + 1, available).unwrap_err();
        assert_eq!(error.to_string(), "no memory for 1 MiB of connection tables; lower dataplane.connections");
    }

    #[test]
    fn without_a_word_from_the_system_nothing_is_refused() {
        for meminfo in ["", "MemTotal: 5 kB\n", "MemAvailable: many kB\n"] {
            assert_eq!(fits(u64::MAX, available_bytes(meminfo)), Ok(()));
        }
    }

    #[test]
    fn what_is_in_hugepages_needs_no_other_memory() {
        let outside = |tables: &[(u64, bool)], free| outside_hugepages(tables.iter().copied(), free);
        let tables = [(100 * MIB, true), (200 * MIB, true)];
        assert_eq!(outside(&tables, 0), 300 * MIB);
        assert_eq!(outside(&tables, 104 * MIB), 200 * MIB);
        assert_eq!(outside(&tables, 103 * MIB), 300 * MIB);
        assert_eq!(outside(&tables, 308 * MIB), 0);
        assert_eq!(outside(&[(100 * MIB, false), (MIB, true)], u64::MAX), 101 * MIB);
        assert_eq!(outside(&[(u64::MAX, true), (u64::MAX, true)], u64::MAX - 1), u64::MAX);
    }

    #[test]
    fn the_memory_is_told_part_by_part() {
        let told = |hugepages, transparent, plain| {
            let [hugepage_bytes, transparent_bytes, plain_bytes] = [hugepages * MIB, transparent * MIB, plain];
            TableMemory::from(Footprint { hugepage_bytes, transparent_bytes, plain_bytes }).to_string()
        };
        assert_eq!(told(806, 0, 1000), "806 MiB in 2 MB hugepages");
        assert_eq!(told(0, 30, 24 * MIB), "30 MiB in transparent hugepages, 24 MiB in plain pages");
        assert_eq!(told(0, 0, MIB - 1), "less than 1 MiB");
    }
}
