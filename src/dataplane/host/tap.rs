//! The kernel's device that stands for a port: a TAP device with the port's MAC address, MTU and addresses.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;

use dpdk_ffi::attach_tap;
use rustix::fs::OFlags;

use super::netlink::Netlink;
use crate::lb::ids::PortId;
use crate::lb::probe::{PREFIX_LENS, STAND_IN_MAC, host_end, stand_in};
use crate::lb::snapshot::link_local;
use crate::wire::ethernet::MacAddr;

/// What the device is to be.
#[derive(Clone, Debug)]
pub(super) struct TapSetup {
    pub name: String,
    pub port: PortId,
    pub mac: MacAddr,
    pub mtu: u16,
    pub addresses: Vec<(IpAddr, u8)>,
}

/// Our end of the device, which goes with it.
pub(in crate::dataplane) struct Tap {
    file: File,
    pub port: PortId,
    /// Why health checks of VIPs cannot use it, if they cannot.
    pub probes: io::Result<()>,
}

/// Why there is no device.
#[derive(Debug, thiserror::Error)]
pub enum TapError {
    /// The kernel has no TUN driver.
    #[error("/dev/net/tun cannot be opened: {0}; `modprobe tun`, or start the container with --device /dev/net/tun")]
    NoDriver(io::Error),
    /// We may not make devices.
    #[error("no permission to make the device {0}; start tidegate as root or with CAP_NET_ADMIN")]
    Forbidden(String),
    /// Somebody else has it.
    #[error("there is a device {0} already; remove it, or give the port another `host_device`")]
    Taken(String),
    /// It cannot be made.
    #[error("device {name}: the kernel refuses to make it: {source}")]
    Make {
        /// Its name.
        name: String,
        /// Why.
        source: io::Error,
    },
    /// It cannot be set up.
    #[error("device {name}: the kernel refuses its {what}: {source}")]
    SetUp {
        /// Its name.
        name: String,
        /// MAC address and MTU, state, or which address.
        what: String,
        /// Why.
        source: io::Error,
    },
}

/// Whoever else has a way to a network keeps it: 0 is what other devices have for IPv4, 256 for IPv6.
const ROUTE_METRIC: u32 = 1024;

impl Tap {
    /// Makes the device and brings it up.
    pub(super) fn open(setup: &TapSetup) -> Result<Self, TapError> {
        let name = || setup.name.clone();
        let nonblocking = OFlags::NONBLOCK.bits().cast_signed();
        let tun = OpenOptions::new().read(true).write(true).custom_flags(nonblocking).open("/dev/net/tun");
        let file = tun.map_err(|error| match error.kind() {
            ErrorKind::PermissionDenied => TapError::Forbidden(name()),
            _ => TapError::NoDriver(error),
        })?;
        attach_tap(&file, &setup.name).map_err(|source| match source.kind() {
            ErrorKind::PermissionDenied => TapError::Forbidden(name()),
            ErrorKind::ResourceBusy | ErrorKind::AlreadyExists => TapError::Taken(name()),
            _ => TapError::Make { name: name(), source },
        })?;
        settle(&setup.name);
        let failed = |what: &str| {
            let what = what.to_owned();
            move |source| TapError::SetUp { name: name(), what, source }
        };
        let mut netlink = Netlink::open().map_err(failed("settings"))?;
        let index = netlink.index(&setup.name).map_err(failed("settings"))?;
        netlink.set_link(index, setup.mac, setup.mtu).map_err(failed("MAC address and MTU"))?;
        netlink.set_up(index).map_err(failed("being up"))?;
        for (address, prefix_len) in all_addresses(setup) {
            let added = netlink.add_address(index, address, prefix_len, ROUTE_METRIC);
            added.map_err(failed(&format!("address {address}/{prefix_len}")))?;
        }
        let probes = probe_ends(setup).try_for_each(|(end, prefix_len, stand_in)| {
            netlink.add_address(index, end, prefix_len, ROUTE_METRIC)?;
            netlink.set_neighbor(index, stand_in, STAND_IN_MAC)
        });
        Ok(Self { file, port: setup.port, probes })
    }

    /// A frame that the kernel sends; `None` if there is none now.
    pub(super) fn read(&self, room: &mut [u8]) -> Option<usize> {
        (&self.file).read(room).ok()
    }

    /// Lets the kernel receive a frame; false if it does not take it.
    pub(super) fn write(&self, frame: &[u8]) -> bool {
        (&self.file).write(frame).is_ok_and(|len| len == frame.len())
    }

    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Those of the configuration, and the link-local one that the packet path answers for.
fn all_addresses(setup: &TapSetup) -> Vec<(IpAddr, u8)> {
    let mut all = setup.addresses.clone();
    let link_local = IpAddr::V6(link_local(setup.mac));
    if all.iter().any(|(a, _)| a.is_ipv6()) && all.iter().all(|&(a, _)| a != link_local) {
        all.push((link_local, 64));
    }
    all
}

/// For each family: where health checks of VIPs are sent from, with its prefix length, and to.
fn probe_ends(setup: &TapSetup) -> impl Iterator<Item = (IpAddr, u8, IpAddr)> {
    let has_v6 = setup.addresses.iter().any(|(a, _)| a.is_ipv6());
    [true, false].into_iter().filter(move |&is_v4| is_v4 || has_v6).filter_map(|is_v4| {
        let prefix_len = PREFIX_LENS[usize::from(!is_v4)];
        Some((host_end(setup.port, is_v4)?, prefix_len, stand_in(setup.port, is_v4)?))
    })
}

/// Settings that keep the kernel from saying what nobody asked it. A machine may have some of them closed or missing; then
/// it says more than it should, and all works the same.
fn settle(name: &str) {
    let set = |path: &str, value: &str| _ = std::fs::write(path.replace('@', name), value);
    // Off by default in some containers, where addresses could not be set then.
    set("/proc/sys/net/ipv6/conf/@/disable_ipv6", "0");
    set("/proc/sys/net/ipv6/conf/@/accept_ra", "0");
    set("/proc/sys/net/ipv6/conf/@/router_solicitations", "0");
    set("/proc/sys/net/ipv6/conf/@/accept_dad", "0");
    // It asks in the name of the port's own address, never in that of another device's.
    set("/proc/sys/net/ipv4/conf/@/arp_announce", "2");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_link_local_address_goes_with_ipv6() {
        let setup = |addresses: &[&str]| TapSetup {
            name: "tg-wan".into(),
            port: PortId(0),
            mac: MacAddr([2, 0, 0, 0, 0, 2]),
            mtu: 1500,
            addresses: addresses.iter().filter_map(|a| Some((a.parse().ok()?, 64))).collect(),
        };
        assert_eq!(all_addresses(&setup(&["10.0.0.2"])).len(), 1);
        assert_eq!(probe_ends(&setup(&["10.0.0.2"])).count(), 1);
        assert_eq!(probe_ends(&setup(&["10.0.0.2", "fd00::2"])).count(), 2);
        let all = all_addresses(&setup(&["10.0.0.2", "fd00::2"]));
        assert_eq!(all.last().map(|(a, len)| (a.to_string(), *len)), Some(("fe80::ff:fe00:2".into(), 64)));
        assert_eq!(all_addresses(&setup(&["fd00::2", "fe80::ff:fe00:2"])).len(), 2);
    }
}
