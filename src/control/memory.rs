//! Whether the connection tables fit into the machine, asked before they take memory that others need.

use crate::lb::shard::ShardConfig;
use crate::lb::table::OutOfMemory;

/// Looks at the tables of all shards together.
///
/// # Errors
/// The machine has not that much memory left.
pub fn check(shards: &[ShardConfig]) -> Result<(), OutOfMemory> {
    // Where the system does not say, the allocation will.
    let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    fits(shards.iter().map(ShardConfig::table_bytes).sum(), available_bytes(&meminfo))
}

fn fits(bytes: u64, available_bytes: Option<u64>) -> Result<(), OutOfMemory> {
    if available_bytes.is_some_and(|available| bytes > available) { Err(OutOfMemory { bytes }) } else { Ok(()) }
}

/// From the text of `/proc/meminfo`.
fn available_bytes(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
