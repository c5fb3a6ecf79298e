//! What the build needs from the machine, and the one sentence that says which Debian package brings what is missing.

use std::ffi::OsStr;
use std::fmt;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Oldest DPDK whose API the wrappers are written for.
pub const OLDEST: (u32, u32) = (22, 11);
/// Newest DPDK whose API the wrappers are written for.
pub const NEWEST: (u32, u32) = (24, 11);
/// The libraries that the wrappers call; a release that has merged one of them into another just does not list it.
const LIBRARIES: [&str; 7] = ["rte_ethdev", "rte_net", "rte_mbuf", "rte_mempool", "rte_ring", "rte_eal", "rte_log"];

/// What pkg-config says about the installed DPDK.
#[derive(Debug)]
pub struct Dpdk {
    /// The version as written in libdpdk.pc, such as `22.11.11`.
    pub version: String,
    /// Where pkg-config has it from.
    pub pc_file: PathBuf,
    /// Compiler flags, all of them: `-include` and `-march` matter to struct layouts.
    pub cflags: Vec<String>,
    /// Directories to search for libraries.
    pub link_dirs: Vec<String>,
    /// Libraries to link, without `lib` and suffix.
    pub libraries: Vec<String>,
}

/// Something that the build needs and the machine does not have.
#[derive(Debug, PartialEq, Eq)]
pub enum Missing {
    /// pkg-config does not run.
    PkgConfig,
    /// pkg-config knows no libdpdk.
    Libdpdk,
    /// libdpdk is older than the wrappers.
    TooOld(String),
    /// libdpdk has a version that is not two numbers.
    OddVersion(String),
    /// No C compiler runs; holds the one that was tried.
    Compiler(String),
    /// bindgen finds no libclang.
    Libclang,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (major, minor) = OLDEST;
        match self {
            Self::PkgConfig => write!(f, "pkg-config is missing: install the Debian package pkg-config"),
            Self::Libdpdk => write!(f, "DPDK's headers are missing: install the Debian package libdpdk-dev"),
            Self::TooOld(version) => {
                write!(f, "DPDK {version} is too old: install libdpdk-dev {major}.{minor} or newer (Debian 12 has it)")
            }
            Self::OddVersion(version) => {
                write!(f, "DPDK version {version:?} is not understood: install the Debian package libdpdk-dev")
            }
            Self::Compiler(tried) => write!(f, "the C compiler {tried} is missing: install the Debian package gcc"),
            Self::Libclang => write!(f, "libclang is missing: install the Debian package libclang-dev"),
        }
    }
}

/// Asks pkg-config (the command may be another one, as in a cross build) for DPDK and refuses what is too old.
pub fn find_dpdk(pkg_config: &OsStr) -> Result<Dpdk, Missing> {
    let version = ask(pkg_config, "--modversion")?.trim().to_owned();
    if version_of(&version)? < OLDEST {
        return Err(Missing::TooOld(version));
    }
    let pc_file = Path::new(ask(pkg_config, "--variable=pcfiledir")?.trim()).join("libdpdk.pc");
    let words = |text: String| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let cflags = words(ask(pkg_config, "--cflags")?);
    let libs = words(ask(pkg_config, "--libs")?);
    let strip = |prefix: &str| libs.iter().filter_map(|word| word.strip_prefix(prefix)).collect::<Vec<_>>();
    let link_dirs = strip("-L").into_iter().map(str::to_owned).collect();
    let libraries = strip("-l").into_iter().filter(|name| LIBRARIES.contains(name)).map(str::to_owned).collect();
    Ok(Dpdk { version, pc_file, cflags, link_dirs, libraries })
}

/// Year and month of a version such as `22.11.11` or `24.11.0-rc1`.
pub fn version_of(text: &str) -> Result<(u32, u32), Missing> {
    let mut numbers = text.split('.').map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => Ok((major, minor)),
        _ => Err(Missing::OddVersion(text.to_owned())),
    }
}

/// Refuses a C compiler that does not run.
pub fn check_compiler(compiler: &OsStr) -> Result<(), Missing> {
    let runs = Command::new(compiler).arg("--version").output().is_ok();
    if runs { Ok(()) } else { Err(Missing::Compiler(compiler.to_string_lossy().into_owned())) }
}

fn ask(pkg_config: &OsStr, what: &str) -> Result<String, Missing> {
    match Command::new(pkg_config).args([what, "libdpdk"]).output() {
        Ok(output) if output.status.success() => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        Err(error) if error.kind() == ErrorKind::NotFound => Err(Missing::PkgConfig),
        Ok(_) | Err(_) => Err(Missing::Libdpdk),
    }
}
