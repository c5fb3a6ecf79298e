//! Keeps a replay from writing over what it reads, or twice to one file.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::{ReplayError, ReplayOptions};

/// What tells one file from another.
#[derive(PartialEq, Eq)]
enum Identity {
    /// Device and inode of a file that exists.
    Existing(u64, u64),
    /// Where a new one would be.
    New(PathBuf),
}

/// Refuses an output that is an input, the configuration, the events or another output.
///
/// # Errors
/// Which file was named twice.
pub(super) fn check_distinct(options: &ReplayOptions) -> Result<(), ReplayError> {
    let all = |files: &[(Option<String>, PathBuf)]| files.iter().map(|(_, path)| path.clone()).collect::<Vec<_>>();
    let mut taken: Vec<(Identity, &str)> = Vec::new();
    let reads = [("--config", vec![options.config.clone()]), ("--in", all(&options.inputs))];
    let reads = reads.into_iter().chain([("--events", options.events.iter().cloned().collect())]);
    for (flag, paths) in reads {
        taken.extend(paths.iter().filter_map(|path| Some((identity(path)?, flag))));
    }
    for (flag, paths) in [("--out", all(&options.outputs)), ("--stats", options.stats.iter().cloned().collect())] {
        for path in paths {
            let Some(identity) = identity(&path) else { continue };
            if let Some((_, other)) = taken.iter().find(|(known, _)| *known == identity) {
                let path = path.display();
                return Err(ReplayError::Usage(format!(
                    "{flag} {path}: {other} names this file; write to another one"
                )));
            }
            taken.push((identity, flag));
        }
    }
    Ok(())
}

/// `None` for what is no file that writing could spoil, such as `/dev/null`.
fn identity(path: &Path) -> Option<Identity> {
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_file() => Some(Identity::Existing(metadata.dev(), metadata.ino())),
        Ok(_) => None,
        Err(_) => Some(Identity::New(std::path::absolute(path).ok()?)),
    }
}
