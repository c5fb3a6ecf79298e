//! Stamps the build with what `tidegate --version` says: git revision and DPDK version.

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=PKG_CONFIG_PATH");
    println!("cargo::rustc-env=TIDEGATE_VERSION={}", env!("CARGO_PKG_VERSION"));
    println!("cargo::rustc-env=GIT_REVISION={}", git_revision().unwrap_or_else(|| "unknown".to_owned()));
    println!("cargo::rustc-env=DPDK_VERSION={}", dpdk_version().unwrap_or_else(|| "none".to_owned()));
}

/// Twelve digits of the commit; `None` outside a checkout of this project.
fn git_revision() -> Option<String> {
    // A source archive unpacked inside another project's checkout is not that project's revision.
    let top = output("git", &["rev-parse", "--show-toplevel"])?;
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).canonicalize().ok()?;
    if Path::new(&top).canonicalize().ok()? != here {
        return None;
    }
    watch_git();
    output("git", &["rev-parse", "--short=12", "HEAD"])
}

/// A commit or a checkout changes `HEAD` or the branch that it names; a linked worktree has them in two directories.
fn watch_git() {
    let mut names = vec!["HEAD".to_owned(), "packed-refs".to_owned()];
    names.extend(output("git", &["symbolic-ref", "--quiet", "HEAD"]));
    for name in names {
        // A file that does not exist would make every build run this again.
        if let Some(path) = output("git", &["rev-parse", "--git-path", &name]).filter(|path| Path::new(path).exists()) {
            println!("cargo::rerun-if-changed={path}");
        }
    }
}

/// Of the library that the build links; `None` when it links none.
fn dpdk_version() -> Option<String> {
    std::env::var_os("CARGO_FEATURE_DPDK")?;
    output("pkg-config", &["--modversion", "libdpdk"])
}

/// What the command prints, trimmed; `None` if it is missing, fails or prints nothing.
fn output(command: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(command).args(arguments).output().ok().filter(|output| output.status.success())?;
    let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (!text.is_empty()).then_some(text)
}
