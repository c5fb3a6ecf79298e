//! How many checks may run at the same moment, and what is said when this host cannot keep up.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::sync::Semaphore;
use tracing::warn;

/// Open files that the process asks for, as far as it may.
const FILES_WANTED: u64 = 16_384;
/// Those of them that are left for everything else.
const FILES_FOR_OTHERS: u64 = 512;
/// Checks with a socket at the same moment, at the most.
const SOCKETS_MAX: u64 = 4096;
/// Programs at the same moment.
const PROGRAMS_MAX: usize = 32;
/// Least time between two lines about checks that could not be run.
const REPORTS_EVERY: Duration = Duration::from_secs(10);

/// Shared by all checks.
pub struct Limits {
    /// One for each check that has a socket.
    pub sockets: Arc<Semaphore>,
    /// One for each check that runs a program.
    pub programs: Arc<Semaphore>,
    /// Checks that could not be run since the last line about them, and when that was.
    not_run: Mutex<(u64, Option<Instant>)>,
}

impl Default for Limits {
    fn default() -> Self {
        let sockets = usize::try_from(sockets_max(files_max())).unwrap_or(usize::MAX);
        Self {
            sockets: Arc::new(Semaphore::new(sockets)),
            programs: Arc::new(Semaphore::new(PROGRAMS_MAX)),
            not_run: Mutex::default(),
        }
    }
}

impl Limits {
    /// Logs that a check could not be run, and why; many of them in one line.
    pub fn not_run(&self, service: &str, backend: &str, why: &str) {
        let mut state = self.not_run.lock().unwrap_or_else(PoisonError::into_inner);
        let (count, reported) = &mut *state;
        *count += 1;
        if reported.is_some_and(|at| at.elapsed() < REPORTS_EVERY) {
            return;
        }
        let others =
            if *count > 1 { format!(" ({count} checks like this since the last line)") } else { String::new() };
        warn!("the check of {service}/{backend} could not be run: {why}; nothing is concluded from it{others}");
        (*count, *reported) = (0, Some(Instant::now()));
    }
}

/// Raises this process's limit of open files where that is possible, which is 1,024 in most shells, and gives it.
fn files_max() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let now = limit.current.unwrap_or(u64::MAX);
    let wanted = FILES_WANTED.min(limit.maximum.unwrap_or(u64::MAX));
    if wanted <= now {
        return now;
    }
    let raised = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum: limit.maximum });
    if raised.is_ok() { wanted } else { now }
}

fn sockets_max(files: u64) -> u64 {
    files.saturating_sub(FILES_FOR_OTHERS).clamp(files / 2, SOCKETS_MAX.max(files / 2)).clamp(16, SOCKETS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_keep_files_for_themselves() {
        assert_eq!([64, 256, 1024, 4096, 16_384, 1 << 40].map(sockets_max), [32, 128, 512, 3584, 4096, 4096]);
    }

    #[test]
    fn the_limit_of_open_files_is_raised_as_far_as_it_may_be() {
        let limit = getrlimit(Resource::Nofile);
        let raised = files_max();
        assert!(raised >= limit.maximum.unwrap_or(u64::MAX).min(FILES_WANTED), "{raised} of {limit:?}");
    }
}
