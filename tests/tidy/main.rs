//! Holds what the compiler does not: layers, sizes, words, and that scripts and documents are what they say.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests, which clippy knows by their attribute only")]

mod code;
mod text;

use std::path::{Path, PathBuf};
use std::process::Command;

/// A file of the repository.
struct Source {
    /// From the top of the repository on, with `/` between its parts.
    path: String,
    text: String,
}

fn top() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// All text files that are, or are about to be, in the repository.
fn sources() -> Vec<Source> {
    let mut paths = Vec::new();
    let listed = Command::new("git")
        .args(["-C", &top().display().to_string(), "ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .output();
    match listed {
        Ok(output) if output.status.success() => {
            let names = String::from_utf8(output.stdout).unwrap();
            paths.extend(names.split_terminator('\0').map(str::to_owned));
        }
        // A copy without git's data.
        _ => walk(&top(), "", &mut paths),
    }
    assert!(paths.len() > 100, "only {} files found", paths.len());
    paths.sort();
    let read = |path: String| {
        let text = std::fs::read_to_string(top().join(&path)).ok()?;
        Some(Source { path, text })
    };
    paths.into_iter().filter_map(read).collect()
}

/// The Rust files among them.
fn rust_sources() -> Vec<Source> {
    let mut sources = sources();
    sources.retain(|s| s.path.ends_with(".rs"));
    sources
}

fn walk(dir: &Path, prefix: &str, paths: &mut Vec<String>) {
    for entry in std::fs::read_dir(dir).unwrap().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = format!("{prefix}{name}");
        if !entry.file_type().unwrap().is_dir() {
            paths.push(path);
        } else if name != ".git" && name != "target" {
            walk(&entry.path(), &format!("{path}/"), paths);
        }
    }
}

/// Fails with all of `faults`, if there are any.
fn assert_none(rule: &str, faults: &[String]) {
    assert!(faults.is_empty(), "{rule}:\n  {}", faults.join("\n  "));
}
