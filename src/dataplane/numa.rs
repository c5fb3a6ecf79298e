//! Which memory is near a CPU.

use std::path::Path;

/// The NUMA node of a CPU; `None` where the system tells of no nodes.
pub fn numa_node(cpu: u32) -> Option<u16> {
    node_in(&Path::new("/sys/devices/system/cpu").join(format!("cpu{cpu}")))
}

/// From the directory of a CPU, which has an entry named after its node.
fn node_in(cpu: &Path) -> Option<u16> {
    let entries = std::fs::read_dir(cpu).ok()?.flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.strip_prefix("node")?.parse().ok()).next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_node_is_read_from_the_directory_of_the_cpu() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["cache", "node", "nodes7", "power"] {
            std::fs::create_dir(directory.path().join(name)).unwrap();
        }
        assert_eq!(node_in(directory.path()), None);
        std::fs::create_dir(directory.path().join("node12")).unwrap();
        assert_eq!(node_in(directory.path()), Some(12));
        assert_eq!(numa_node(u32::MAX), None);
    }
}
