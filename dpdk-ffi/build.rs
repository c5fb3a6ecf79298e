//! Finds DPDK, compiles the shim, and writes the declarations of the names that the wrappers use.

use std::env;
use std::ffi::OsString;
use std::panic;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[path = "build/require.rs"]
mod require;

use require::{Dpdk, Missing};

const FUNCTIONS: &[&str] = &[
    "dpdk_ffi_.*",
    "rte_dev_probe",
    "rte_eal_(cleanup|get_lcore_state|has_hugepages|init|remote_launch|wait_lcore)",
    "rte_eth_allmulticast_(disable|enable|get)",
    "rte_eth_dev_(adjust_nb_rx_tx_desc|close|configure|default_mac_addr_set|get_mtu|get_name_by_port)",
    "rte_eth_dev_(get_port_by_name|info_get|is_valid_port|rss_hash_conf_get|rss_reta_query|rss_reta_update)",
    "rte_eth_dev_(set_mtu|socket_id|start|stop)",
    "rte_eth_find_next_owned_by",
    "rte_eth_macaddr_get",
    "rte_eth_promiscuous_(disable|enable|get)",
    "rte_eth_(rx|tx)_queue_setup",
    "rte_eth_stats_(get|reset)",
    "rte_eth_xstats_(get|get_names|reset)",
    "rte_get_(main_lcore|next_lcore|tsc_hz)",
    "rte_lcore_to_socket_id",
    "rte_log_set_global_level",
    "rte_mempool_(avail_count|free|in_use_count)",
    "rte_pktmbuf_(free_bulk|pool_create)",
    "rte_ring_(create|free)",
    "rte_strerror",
    "rte_version",
];

const CONSTANTS: &[&str] = &[
    "DPDK_FFI_.*",
    "RTE_ETH_MQ_RX_(NONE|RSS)",
    "RTE_ETH_NAME_MAX_LEN",
    "RTE_ETH_RETA_GROUP_SIZE",
    "RTE_ETH_RSS_(IPV4|IPV6|FRAG_IPV[46]|NONFRAG_IPV[46]_(TCP|UDP|SCTP|OTHER)|L[34]_(SRC|DST)_ONLY)",
    "RTE_ETH_RX_OFFLOAD_(IPV4_CKSUM|RSS_HASH|SCATTER|TCP_CKSUM|UDP_CKSUM)",
    "RTE_ETH_TX_OFFLOAD_MULTI_SEGS",
    "RTE_ETH_XSTATS_NAME_SIZE",
    "RTE_MAX_LCORE",
    "RTE_MBUF_F_RX_((IP|L4)_CKSUM_(BAD|GOOD|MASK|NONE)|RSS_HASH)",
    "RTE_PKTMBUF_HEADROOM",
    "RING_F_(SC_DEQ|SP_ENQ)",
];

/// Structs that are only pointed to. Their fields are DPDK's own, or are read by offset (`src/mbuf.rs`).
const POINTED_TO: &[&str] = &["rte_device", "rte_mbuf", "rte_mempool", "rte_ring"];

/// Structs that rustc refuses to lay out: packed ones that hold aligned ones.
const OPAQUE: &[&str] = &["rte_arp_hdr", "rte_arp_ipv4", "rte_gtp_psc_generic_hdr", "rte_l2tpv2_combined_msg_hdr"];

fn main() -> ExitCode {
    match build() {
        Ok(()) => ExitCode::SUCCESS,
        Err(missing) => {
            println!("cargo::error={missing}");
            ExitCode::FAILURE
        }
    }
}

fn build() -> Result<(), Missing> {
    for file in ["shim.c", "shim.h", "build/require.rs"] {
        println!("cargo::rerun-if-changed={file}");
    }
    for variable in ["PKG_CONFIG", "PKG_CONFIG_PATH", "PKG_CONFIG_LIBDIR", "LIBCLANG_PATH"] {
        println!("cargo::rerun-if-env-changed={variable}");
    }
    let pkg_config = env::var_os("PKG_CONFIG").unwrap_or_else(|| OsString::from("pkg-config"));
    let dpdk = require::find_dpdk(&pkg_config)?;
    if require::version_of(&dpdk.version)? > require::NEWEST {
        let (major, minor) = require::NEWEST;
        println!("cargo::warning=DPDK {} is newer than {major}.{minor}, the newest that was tried", dpdk.version);
    }
    // Constants and offsets must follow an upgrade of DPDK.
    println!("cargo::rerun-if-changed={}", dpdk.pc_file.display());
    compile_shim(&dpdk)?;
    write_bindings(&dpdk)?;
    for dir in &dpdk.link_dirs {
        println!("cargo::rustc-link-search=native={dir}");
    }
    for library in &dpdk.libraries {
        println!("cargo::rustc-link-lib=dylib={library}");
    }
    println!("cargo::metadata=VERSION={}", dpdk.version);
    println!("cargo::rustc-env=DPDK_FFI_VERSION={}", dpdk.version);
    Ok(())
}

fn compile_shim(dpdk: &Dpdk) -> Result<(), Missing> {
    let mut shim = cc::Build::new();
    // The shim is the packet path's way into DPDK, so a debug build optimises it as well.
    shim.file("shim.c").opt_level(3).warnings(true).extra_warnings(false);
    for flag in &dpdk.cflags {
        shim.flag(flag);
    }
    // Asked without warnings, as the sentence about a missing compiler says it all.
    match shim.clone().cargo_warnings(false).try_get_compiler() {
        Ok(compiler) => require::check_compiler(compiler.path().as_os_str())?,
        Err(_) => return Err(Missing::Compiler(String::from("cc"))),
    }
    shim.compile("dpdk_ffi_shim");
    Ok(())
}

fn write_bindings(dpdk: &Dpdk) -> Result<(), Missing> {
    // bindgen panics when it cannot load libclang; the sentence below says more than its message.
    let hook = panic::take_hook();
    panic::set_hook(Box::new(|_| ()));
    let libclang = panic::catch_unwind(bindgen::clang_version);
    panic::set_hook(hook);
    libclang.map_err(|_| Missing::Libclang)?;

    let out_dir = env::var_os("OUT_DIR").map(PathBuf::from).unwrap_or_default();
    let mut builder = bindgen::Builder::default()
        .header("shim.h")
        .clang_args(&dpdk.cflags)
        // Without it the offload and RSS bits vanish: they are macros that call other macros.
        .clang_macro_fallback()
        .clang_macro_fallback_build_dir(&out_dir)
        .use_core()
        .generate_comments(false)
        .layout_tests(false)
        .prepend_enum_name(false)
        .derive_debug(false)
        .allowlist_type("rte_eth_(conf|dev_info|rss_conf|rss_reta_entry64|stats|xstat|xstat_name)")
        .allowlist_type("rte_ether_addr|dpdk_ffi_mbuf_offset");
    for name in FUNCTIONS {
        builder = builder.allowlist_function(name);
    }
    for name in CONSTANTS {
        builder = builder.allowlist_var(name);
    }
    for name in POINTED_TO {
        let declaration = format!("#[repr(C)] pub struct {name} {{ _private: [u8; 0] }}");
        builder = builder.blocklist_type(name).raw_line(declaration);
    }
    for name in OPAQUE {
        builder = builder.opaque_type(name);
    }
    write_to(&builder, &out_dir.join("bindings.rs"));
    Ok(())
}

#[allow(clippy::panic, reason = "a build script has nobody to hand an unforeseen error to")]
fn write_to(builder: &bindgen::Builder, path: &Path) {
    match builder.clone().generate().map(|bindings| bindings.write_to_file(path)) {
        Ok(Ok(())) => (),
        Ok(Err(error)) => panic!("cannot write {}: {error}", path.display()),
        Err(error) => panic!("cannot read DPDK's headers: {error}"),
    }
}
