//! Whether a port gets a device of the kernel's, and why not.

use std::net::IpAddr;

use super::netlink::{DeviceAddress, Netlink};
use super::tap::{Tap, TapError, TapSetup};
use crate::dataplane::devices::PortReport;
use crate::lb::ids::PortId;

/// What is wanted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HostMode {
    /// Where it can be had and disturbs nothing.
    Auto,
    /// In any case.
    On,
    /// In no case.
    Off,
}

/// The host's end of a port as it is wanted.
#[derive(Clone, Debug)]
pub struct HostSetup {
    /// Whether there should be one.
    pub mode: HostMode,
    /// Name of the kernel's device.
    pub device: String,
    /// Own addresses with prefix lengths in bits.
    pub addresses: Vec<(IpAddr, u8)>,
    /// Largest IP packet in bytes.
    pub mtu: u16,
}

/// What became of it.
pub(in crate::dataplane) enum Choice {
    Device(Tap),
    /// None, for this reason.
    None(String),
}

/// Drivers that lead nowhere: what comes in is a file, nothing, or this program's own.
const NOT_A_NETWORK: [&str; 3] = ["net_null", "net_pcap", "net_ring"];
/// Drivers whose other end is this kernel.
const OF_THE_KERNEL: [&str; 3] = ["net_tap", "net_tun", "net_virtio_user"];
const AF_PACKET: &str = "net_af_packet";

/// Opens the device of port `id` if there is to be one, and notes in `report` what an operator should know.
pub(in crate::dataplane) fn choose(id: PortId, setup: &HostSetup, report: &mut PortReport) -> Result<Choice, TapError> {
    if setup.mode == HostMode::Off {
        return Ok(Choice::None("`host` is \"off\"".into()));
    }
    if setup.addresses.is_empty() {
        return Ok(Choice::None("the port has no addresses".into()));
    }
    if setup.mode == HostMode::Auto {
        if NOT_A_NETWORK.contains(&report.driver.as_str()) {
            return Ok(Choice::None(format!("{} is no network", report.driver)));
        }
        if let Some(reason) = disturbed(report, setup, &addresses()) {
            report.notes.push(format!("no host path: {reason}"));
            return Ok(Choice::None(reason));
        }
    }
    let tap = TapSetup {
        name: setup.device.clone(),
        port: id,
        mac: report.mac,
        mtu: setup.mtu,
        addresses: setup.addresses.clone(),
    };
    match Tap::open(&tap) {
        Ok(tap) => {
            report.notes.extend(hints(report, setup));
            if let Err(error) = &tap.probes {
                let note = format!(
                    "no health checks of VIPs by {}: the kernel refuses their addresses: {error}",
                    setup.device
                );
                report.notes.push(note);
            }
            report.has_probes = tap.probes.is_ok();
            report.host = Some(setup.device.clone());
            Ok(Choice::Device(tap))
        }
        Err(error) if setup.mode == HostMode::Auto => {
            report.notes.push(format!("no host path: {error}"));
            Ok(Choice::None(error.to_string()))
        }
        Err(error) => Err(error),
    }
}

/// The addresses that the kernel has now; without any there is nothing to be in the way of.
fn addresses() -> Vec<DeviceAddress> {
    Netlink::open().and_then(|mut netlink| netlink.addresses()).unwrap_or_default()
}

/// Why a device for the port would disturb what works without it.
fn disturbed(report: &PortReport, setup: &HostSetup, known: &[DeviceAddress]) -> Option<String> {
    let driver = &report.driver;
    if driver == AF_PACKET {
        let device = interface(&report.device).unwrap_or("DEVICE");
        return Some(format!(
            "the kernel sees all frames of {device} itself; `host = \"on\"` is for when it leaves them alone: {}",
            silence(device)
        ));
    }
    if OF_THE_KERNEL.contains(&driver.as_str()) {
        return Some(format!("the other end of a {driver} device is this kernel, which would speak to itself"));
    }
    let clash = |&(own, own_len): &(IpAddr, u8)| {
        let other = known.iter().find(|other| {
            own == other.address || own.is_ipv4() && is_one_network((own, own_len), (other.address, other.prefix_len))
        })?;
        let DeviceAddress { device, address, prefix_len } = other;
        Some(if own == *address {
            format!("the kernel has {own} on {device} already; take it off there, or set `host = \"off\"`")
        } else {
            // Linux answers ARP on each device for the addresses of all.
            format!(
                "the kernel has {address}/{prefix_len} on {device}, in the port's own network, and would answer ARP there for \
                 {own}; `sysctl -w net.ipv4.conf.{device}.arp_ignore=1 net.ipv4.conf.{device}.arp_announce=2` keeps it from \
                 that, then set `host = \"on\"`"
            )
        })
    };
    setup.addresses.iter().find_map(clash)
}

/// What to do, beside what is done.
fn hints(report: &PortReport, setup: &HostSetup) -> Vec<String> {
    let mut hints = Vec::new();
    if report.driver == AF_PACKET
        && let Some(device) = interface(&report.device)
        && !is_silent(device)
    {
        hints.push(format!(
            "the kernel sees all frames of {device} itself, and must leave them alone: {}",
            silence(device)
        ));
    }
    if setup.addresses.iter().any(|(a, _)| a.is_ipv4()) {
        let device = &setup.device;
        hints.push(format!(
            "the kernel has the port's own networks on {device}; a way beyond them is yours to set, as with `ip route add \
             NETWORK via GATEWAY dev {device}`"
        ));
    }
    hints
}

/// The kernel's interface under an AF_PACKET device.
fn interface(device: &str) -> Option<&str> {
    device.split(',').find_map(|argument| argument.trim().strip_prefix("iface="))
}

/// The commands that make the kernel leave an interface's frames alone.
fn silence(device: &str) -> String {
    format!(
        "`ip link set {device} arp off; sysctl -w net.ipv4.conf.{device}.rp_filter=1 net.ipv6.conf.{device}.disable_ipv6=1`"
    )
}

fn is_silent(device: &str) -> bool {
    let is = |path: String, wanted: &str| std::fs::read_to_string(path).is_ok_and(|value| value.trim() == wanted);
    is(format!("/proc/sys/net/ipv4/conf/{device}/rp_filter"), "1")
        && (is(format!("/proc/sys/net/ipv6/conf/{device}/disable_ipv6"), "1")
            || !std::path::Path::new("/proc/sys/net/ipv6").exists())
}

/// Whether one of two IPv4 networks lies in the other.
fn is_one_network(a: (IpAddr, u8), b: (IpAddr, u8)) -> bool {
    let (IpAddr::V4(x), IpAddr::V4(y)) = (a.0, b.0) else { return false };
    let shift = 32 - u32::from(a.1.min(b.1).min(32));
    (x.to_bits() ^ y.to_bits()).checked_shr(shift).unwrap_or(0) == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::ethernet::MacAddr;

    fn report(device: &str, driver: &str) -> PortReport {
        PortReport {
            name: "wan".into(),
            device: device.into(),
            driver: driver.into(),
            mac: MacAddr([2, 0, 0, 0, 0, 2]),
            rx_queues: 1,
            tx_queues: 1,
            rss: None,
            place: 0,
            host: None,
            host_reason: None,
            has_probes: false,
            notes: Vec::new(),
        }
    }

    fn setup(mode: HostMode, addresses: &[&str]) -> HostSetup {
        let parse = |text: &&str| text.split_once('/').and_then(|(a, len)| Some((a.parse().ok()?, len.parse().ok()?)));
        HostSetup { mode, device: "tg-wan".into(), addresses: addresses.iter().filter_map(parse).collect(), mtu: 1500 }
    }

    fn known(device: &str, address: &str) -> DeviceAddress {
        let addresses = setup(HostMode::Auto, &[address]).addresses;
        let (address, prefix_len) = addresses[0];
        DeviceAddress { device: device.into(), address, prefix_len }
    }

    #[test]
    fn auto_stays_away_from_what_the_kernel_has() {
        let nic = report("0000:03:00.0", "net_ixgbe");
        let why =
            |addresses: &[&str], known: &[DeviceAddress]| disturbed(&nic, &setup(HostMode::Auto, addresses), known);
        let own = ["10.0.0.2/24", "fd00::2/64"];
        assert_eq!(why(&own, &[]), None);
        assert_eq!(
            why(&own, &[known("eth0", "10.0.1.2/24"), known("lo", "127.0.0.1/8"), known("eth0", "fd00::9/64")]),
            None
        );
        assert!(why(&own, &[known("eth0", "fd00::2/128")]).is_some_and(|why| why.contains("fd00::2 on eth0")));
        for other in ["10.0.0.2/32", "10.0.0.9/24", "10.0.0.9/25", "10.9.9.9/8"] {
            assert!(why(&own, &[known("eth0", other)]).is_some_and(|why| why.contains("eth0")), "{other}");
        }
    }

    #[test]
    fn auto_stays_away_from_what_is_no_network_or_the_kernels() {
        for (device, driver) in [
            ("net_null0", "net_null"),
            ("net_pcap0,rx_pcap=x", "net_pcap"),
            ("net_tap0,iface=tidegate0", "net_tap"),
            ("net_af_packet0,iface=veth0", "net_af_packet"),
        ] {
            let mut report = report(device, driver);
            let choice = choose(PortId(0), &setup(HostMode::Auto, &["10.0.0.2/24"]), &mut report);
            assert!(matches!(choice, Ok(Choice::None(_))), "{device}");
            assert_eq!(report.host, None);
        }
        let mut nic = report("0000:03:00.0", "net_ixgbe");
        for setup in [setup(HostMode::Off, &["10.0.0.2/24"]), setup(HostMode::On, &[])] {
            assert!(matches!(choose(PortId(0), &setup, &mut nic), Ok(Choice::None(_))));
        }
        assert_eq!(nic.notes, Vec::<String>::new());
    }

    #[test]
    fn what_cannot_be_had_is_an_error_only_where_it_was_asked_for() {
        let mut nic = report("0000:03:00.0", "net_ixgbe");
        // A name that no kernel takes.
        let bad =
            |mode| HostSetup { device: "a name that is much too long".into(), ..setup(mode, &["198.18.99.2/24"]) };
        assert!(choose(PortId(0), &bad(HostMode::On), &mut nic).is_err());
        assert!(matches!(choose(PortId(0), &bad(HostMode::Auto), &mut nic), Ok(Choice::None(_))));
        assert!(nic.notes.len() == 1 && nic.notes[0].starts_with("no host path: "), "{:?}", nic.notes);
    }
}
