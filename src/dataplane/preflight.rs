//! What keeps the data plane from starting, found before EAL fails on it with less to say.

use std::path::Path;

use super::arguments::is_pci;
use crate::lb::memory::{Footprint, HUGEPAGE_BYTES};
use crate::wire::pcap::{self, PcapError};

/// How bad a finding is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Severity {
    /// It will not start.
    Error,
    /// It starts, but not as it could.
    Warning,
}

/// One thing that is wrong, and the command that mends it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// How bad.
    pub severity: Severity,
    /// What is wrong.
    pub what: String,
    /// What to do about it.
    pub mend: String,
}

impl Finding {
    fn error(what: String, mend: impl Into<String>) -> Self {
        Self { severity: Severity::Error, what, mend: mend.into() }
    }

    fn warning(what: String, mend: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, what, mend: mend.into() }
    }
}

/// Free 2 MB and 1 GB hugepages in bytes.
pub fn free_hugepage_bytes() -> u64 {
    let Ok(sizes) = std::fs::read_dir("/sys/kernel/mm/hugepages") else { return 0 };
    let bytes = sizes.flatten().filter_map(|size| {
        let kib: u64 = size.file_name().to_str()?.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok()?;
        let free: u64 = std::fs::read_to_string(size.path().join("free_hugepages")).ok()?.trim().parse().ok()?;
        Some(kib * 1024 * free)
    });
    bytes.sum()
}

/// What the connection tables may take of the free hugepages, in bytes: those of 2 MB, less what packet buffers take.
pub fn free_table_bytes(buffer_bytes: u64) -> u64 {
    (pages_2mb("free_hugepages") * HUGEPAGE_BYTES as u64).saturating_sub(buffer_bytes)
}

/// The command that reserves hugepages for the connection tables beside those in use, if they miss some; packet buffers
/// that have none either need `buffer_bytes` of them.
pub fn reserve_for_tables(tables: Footprint, buffer_bytes: u64) -> Option<String> {
    // A few plain pages are in every address cache anyway, and transparent hugepages are as good.
    if tables.plain_bytes < 8 << 20 {
        return None;
    }
    // A block is in hugepages as a whole or not at all; each is rounded up.
    let bytes = tables.plain_bytes + tables.transparent_bytes + buffer_bytes;
    let used = pages_2mb("nr_hugepages").saturating_sub(pages_2mb("free_hugepages"));
    let pages = used + bytes.div_ceil(HUGEPAGE_BYTES as u64) + 8;
    // Those that are reserved already stay so.
    let pages = pages.max(pages_2mb("nr_hugepages"));
    Some(format!("echo {pages} > {PAGES_2MB}/nr_hugepages"))
}

const PAGES_2MB: &str = "/sys/kernel/mm/hugepages/hugepages-2048kB";

/// One of the figures about hugepages of 2 MB.
fn pages_2mb(figure: &str) -> u64 {
    let text = std::fs::read_to_string(Path::new(PAGES_2MB).join(figure));
    text.ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

/// Looks at the machine: `devices` as configured, `needs_bytes` for packet buffers, and whether hugepages were given up.
pub fn preflight(devices: &[String], needs_bytes: u64, no_huge: bool) -> Vec<Finding> {
    let mut findings: Vec<Finding> = devices.iter().flat_map(|device| check_device(device)).collect();
    let physical = devices.iter().any(|d| is_pci(d));
    let free = free_hugepage_bytes();
    if no_huge || free >= needs_bytes + (64 << 20) {
        return findings;
    }
    let pages = (needs_bytes + (128 << 20)).div_ceil(2 << 20);
    let mend = format!("echo {pages} > /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages");
    let what = format!("{} MiB of free hugepages, {} MiB wanted", free >> 20, (needs_bytes >> 20) + 64);
    findings.push(if physical {
        Finding::error(format!("{what}: a physical NIC needs them"), mend)
    } else {
        Finding::warning(format!("{what}: running on ordinary memory, which is slower"), mend)
    });
    findings
}

fn check_device(device: &str) -> Vec<Finding> {
    if is_pci(device) {
        return check_pci(device.split(',').next().unwrap_or(device));
    }
    let (driver, arguments) = device.split_once(',').unwrap_or((device, ""));
    let argument = |name: &str| -> Vec<String> {
        let pairs = arguments.split(',').filter_map(|a| a.split_once('='));
        pairs.filter(|(key, _)| *key == name).map(|(_, value)| value.to_owned()).collect()
    };
    let mut findings = Vec::new();
    if !VIRTUAL.iter().any(|known| driver.starts_with(known)) {
        let mend = format!("name a PCI address, or a vdev such as {}", VIRTUAL.join("0, "));
        findings.push(Finding::warning(format!("device \"{device}\" is of no driver that is known here"), mend));
    }
    if driver.starts_with("net_pcap") {
        if !PCAP_ENDS.iter().any(|end| arguments.split(',').any(|a| a.split('=').next() == Some(end))) {
            let what = format!("device \"{device}\" names no capture");
            findings.push(Finding::error(what, format!("write \"{driver},rx_pcap=in.pcap,tx_pcap=out.pcap\"")));
        }
        findings.extend(argument("rx_pcap").iter().filter_map(|file| check_capture(file, device)));
        findings.extend(argument("tx_pcap").iter().filter_map(|file| check_output(file, device)));
    }
    if ["net_af_packet", "net_af_xdp", "net_tap"].iter().any(|d| driver.starts_with(d)) && !is_root() {
        let what = format!("device \"{device}\" needs root (CAP_NET_RAW and CAP_NET_ADMIN)");
        findings.push(Finding::error(what, "run as root, with `sudo`"));
    }
    if driver.starts_with("net_af_packet") || driver.starts_with("net_af_xdp") {
        for iface in argument("iface") {
            findings.extend(check_interface(&iface, device));
        }
    }
    findings
}

/// What a net_pcap device may stand on.
const PCAP_ENDS: [&str; 6] = ["rx_pcap", "tx_pcap", "rx_iface", "rx_iface_in", "tx_iface", "iface"];

/// DPDK takes any link type for Ethernet, and says little about what is no capture.
fn check_capture(file: &str, device: &str) -> Option<Finding> {
    let mend = "name an Ethernet capture, for example one made with `pktgen pcap`";
    let failed = |why: String| Some(Finding::error(format!("capture {file} of device \"{device}\": {why}"), mend));
    if !Path::new(file).exists() {
        return failed("it does not exist".to_owned());
    }
    match std::fs::File::open(file).map(pcap::Reader::new) {
        Err(error) => failed(error.to_string()),
        // libpcap reads these, too.
        Ok(Ok(_) | Err(PcapError::Pcapng)) => None,
        Ok(Err(error)) => failed(error.to_string()),
    }
}

fn check_output(file: &str, device: &str) -> Option<Finding> {
    let path = Path::new(file);
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let why = if path.is_dir() {
        "it is a directory".to_owned()
    } else if !directory.is_dir() {
        format!("there is no directory {}", directory.display())
    } else {
        return None;
    };
    let what = format!("capture {file} of device \"{device}\" cannot be written: {why}");
    Some(Finding::error(what, "name a file in a directory that exists"))
}

fn check_interface(iface: &str, device: &str) -> Vec<Finding> {
    let path = Path::new("/sys/class/net").join(iface);
    if !path.exists() {
        let what = format!("interface {iface} of device \"{device}\" does not exist");
        return vec![Finding::error(what, "see `ip link` for those that do; `ip link add` makes a veth")];
    }
    let state = std::fs::read_to_string(path.join("operstate")).unwrap_or_default();
    if state.trim() == "down" {
        let what = format!("interface {iface} of device \"{device}\" is down: nothing will come in");
        return vec![Finding::warning(what, format!("ip link set {iface} up"))];
    }
    Vec::new()
}

/// Drivers of devices without hardware, as DPDK names them.
const VIRTUAL: [&str; 8] =
    ["net_af_packet", "net_af_xdp", "net_tap", "net_pcap", "net_memif", "net_virtio_user", "net_ring", "net_null"];

/// Kernel drivers through which DPDK reaches a NIC: those made for it, and those that share it with the kernel.
const USABLE: [&str; 6] = ["vfio-pci", "igb_uio", "uio_pci_generic", "mlx4_core", "mlx5_core", "mana"];

fn check_pci(address: &str) -> Vec<Finding> {
    let full = if address.matches(':').count() == 1 { format!("0000:{address}") } else { address.to_owned() };
    let path = Path::new("/sys/bus/pci/devices").join(&full);
    if !path.exists() {
        let what = format!("there is no PCI device {full}");
        return vec![Finding::error(what, "see `dpdk-devbind.py --status-dev net` for those that are there")];
    }
    let driver = std::fs::read_link(path.join("driver")).ok();
    let driver = driver.as_deref().and_then(Path::file_name).and_then(|d| d.to_str()).unwrap_or("no driver");
    let mut findings = Vec::new();
    if !USABLE.contains(&driver) {
        let mend = format!("modprobe vfio-pci && dpdk-devbind.py --bind=vfio-pci {full}");
        findings
            .push(Finding::error(format!("PCI device {full} is bound to {driver}, which keeps it from DPDK"), mend));
    }
    if !is_root() {
        let what = format!("PCI device {full} needs root, or rights to its vfio group");
        findings.push(Finding::warning(what, "run as root, with `sudo`"));
    }
    findings
}

/// Whether the process may do as it likes.
pub fn is_root() -> bool {
    // The owner of our own entry in /proc is the effective user.
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|m| m.uid() == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_device_that_cannot_work_is_named_with_the_command_that_mends_it() {
        let one = |device: &str| {
            let findings = preflight(&[device.to_owned()], 0, true);
            findings.into_iter().map(|f| format!("{} | {}", f.what, f.mend)).collect::<Vec<_>>().join("\n")
        };
        assert!(one("net_pcap0,rx_pcap=/no/such.pcap").contains("/no/such.pcap"));
        assert!(one("net_af_packet0,iface=nosuch0").contains("interface nosuch0"));
        assert!(one("0000:ff:1f.7").contains("no PCI device 0000:ff:1f.7"));
        assert!(one("net_foo0").contains("no driver that is known"));
        assert_eq!(one("net_null0"), "");
    }

    #[test]
    fn tables_without_hugepages_come_with_the_command_that_reserves_them() {
        let tables =
            |transparent_bytes, plain_bytes| Footprint { transparent_bytes, plain_bytes, hugepage_bytes: 1 << 30 };
        assert_eq!(reserve_for_tables(tables(1 << 30, 1 << 20), 0), None);
        let pages = |command: Option<String>| {
            let command = command.unwrap();
            let (pages, file) = command.strip_prefix("echo ").unwrap().split_once(" > ").unwrap();
            assert_eq!(file, "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages");
            pages.parse::<u64>().unwrap()
        };
        let wanted = (1 << 40) + (1 << 30);
        assert!(pages(reserve_for_tables(tables(1 << 30, 1 << 40), 0)) >= wanted / (2 << 20));
        assert!(pages(reserve_for_tables(tables(0, 1 << 30), 1 << 40)) >= wanted / (2 << 20));
    }

    #[test]
    fn missing_hugepages_matter_only_where_they_are_wanted() {
        let wants = u64::MAX / 4;
        let findings = preflight(&["net_null0".into()], wants, false);
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].severity, Severity::Warning);
        assert!(findings[0].mend.contains("nr_hugepages"));
        assert_eq!(preflight(&["net_null0".into()], wants, true), []);
    }
}
