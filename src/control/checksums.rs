//! Names senders that leave their checksums to a NIC that is not there.

use super::config::Config;
use crate::lb::handle::WorkerHandle;

/// What to do about it.
pub const PARTIAL_CURE: &str = "`ethtool -K DEV tx off` on the device at the sender's end, as for veth and virtio";

/// Says it once.
#[derive(Clone, Copy, Debug, Default)]
pub struct Partial {
    named: bool,
}

impl Partial {
    /// A line for the log when the first such packets have come.
    pub fn look(&mut self, config: &Config, workers: &[WorkerHandle]) -> Option<String> {
        let worker = workers.iter().find(|worker| worker.counters.partial_checksums.get() > 0)?;
        if std::mem::replace(&mut self.named, true) {
            return None;
        }
        let index = usize::try_from(worker.counters.partial_port.get()).ok();
        let port = index.and_then(|index| config.ports.get(index)).map_or("?", |port| &port.name);
        Some(format!(
            "port {port}: packets come with partial TCP or UDP checksums; they are forwarded, but no receiver takes them: {PARTIAL_CURE}"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::fixture;

    #[test]
    fn partial_checksums_are_named_once_with_their_port() {
        let dir = tempfile::tempdir().unwrap();
        let manager = fixture::manager(&fixture::file(dir.path(), "tidegate.toml", fixture::CONFIG));
        let workers = manager.worker_handles();
        let mut partial = Partial::default();
        assert_eq!(partial.look(manager.config(), &workers), None);
        workers[0].counters.partial_checksums.add(3);
        let line = partial.look(manager.config(), &workers).unwrap();
        assert!(line.starts_with("port wan: ") && line.contains("ethtool -K DEV tx off"), "{line}");
        workers[0].counters.partial_checksums.add(3);
        assert_eq!(partial.look(manager.config(), &workers), None);
    }
}
