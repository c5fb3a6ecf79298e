//! The build says in one sentence what is missing, and which Debian package brings it.
#![allow(clippy::unwrap_used, reason = "functions of tests, which clippy knows by their attribute only")]

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

#[path = "../build/require.rs"]
#[allow(dead_code, reason = "the build script uses the rest")]
mod require;

use require::{Missing, check_compiler, find_dpdk, version_of};

/// A pkg-config that answers with one version and those libraries.
fn fake_pkg_config(name: &str, version: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
    let script = format!(
        "#!/bin/sh\ncase $1 in --modversion) echo {version};; --cflags) echo '-include rte_config.h -march=corei7';;\n\
         --variable=pcfiledir) echo /opt/pc;; --libs) echo '-L/opt/dpdk -Wl,--as-needed -lrte_node -lrte_ethdev -lrte_eal -lbsd';; esac\n"
    );
    fs::write(&path, script).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

#[test]
fn no_pkg_config() {
    let error = find_dpdk(OsStr::new("/nowhere/pkg-config")).unwrap_err();
    assert_eq!(error.to_string(), "pkg-config is missing: install the Debian package pkg-config");
}

#[test]
fn no_libdpdk() {
    let error = find_dpdk(OsStr::new("/bin/false")).unwrap_err();
    assert_eq!(error.to_string(), "DPDK's headers are missing: install the Debian package libdpdk-dev");
}

#[test]
fn libdpdk_too_old() {
    let error = find_dpdk(fake_pkg_config("old", "21.11.9").as_os_str()).unwrap_err();
    assert_eq!(error.to_string(), "DPDK 21.11.9 is too old: install libdpdk-dev 22.11 or newer (Debian 12 has it)");
}

#[test]
fn no_compiler() {
    let error = check_compiler(OsStr::new("/nowhere/cc")).unwrap_err();
    assert_eq!(error.to_string(), "the C compiler /nowhere/cc is missing: install the Debian package gcc");
    assert_eq!(check_compiler(OsStr::new("cc")), Ok(()));
}

#[test]
fn no_libclang() {
    assert_eq!(Missing::Libclang.to_string(), "libclang is missing: install the Debian package libclang-dev");
}

#[test]
fn all_flags_and_only_the_libraries_that_are_called() {
    let dpdk = find_dpdk(fake_pkg_config("new", "24.11.0-rc1").as_os_str()).unwrap();
    assert_eq!(dpdk.version, "24.11.0-rc1");
    assert_eq!(dpdk.cflags, ["-include", "rte_config.h", "-march=corei7"]);
    assert_eq!(dpdk.pc_file.to_str(), Some("/opt/pc/libdpdk.pc"));
    assert_eq!(dpdk.link_dirs, ["/opt/dpdk"]);
    assert_eq!(dpdk.libraries, ["rte_ethdev", "rte_eal"]);
}

#[test]
fn versions_compare_by_year_then_month() {
    assert_eq!(version_of("22.11.11"), Ok((22, 11)));
    assert!(version_of("22.07.0").unwrap() < require::OLDEST);
    assert!(version_of("23.03.0").unwrap() > require::OLDEST);
    assert!(version_of("25.03.0").unwrap() > require::NEWEST);
    assert_eq!(version_of("next"), Err(Missing::OddVersion("next".into())));
}
