//! Health checks of a VIP through the tunnel to one backend: whose check has which port, and the addresses that the host
//! speaks from and to for them.
//!
//! The host's kernel cannot send to a VIP by one backend's tunnel. It sends to a stand-in address on the port's device
//! instead, from a port number that a check has leased; the packet path puts the VIP and an own address in their places,
//! and the other way round in what comes back. `docs/decisions/health-checks.md` says why.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};

use super::ids::{BackendId, PortId};
use crate::wire::ethernet::MacAddr;

/// First of the port numbers that checks are sent from, to 65535; no kernel picks these by itself.
pub const FIRST_PORT: u16 = 61_440;
const PORTS: usize = (u16::MAX - FIRST_PORT) as usize + 1;
/// Where frames to stand-in addresses go on the host's devices: locally administered, and on no wire.
pub const STAND_IN_MAC: MacAddr = MacAddr([0x02, 0x74, 0x67, 0x76, 0x69, 0x70]);
/// Prefix lengths of [`host_end`].
pub const PREFIX_LENS: [u8; 2] = [30, 64];
/// Four addresses for each port's device, out of the range for one link (RFC 3927).
const PORTS_MAX: u8 = 63;

/// The address that the host checks from on the device of `port`, of IPv4 or IPv6; `None` beyond 63 ports.
pub fn host_end(port: PortId, is_v4: bool) -> Option<IpAddr> {
    address(port, is_v4, 1)
}

/// The address that stands for VIPs on the device of `port`; `None` beyond 63 ports.
pub fn stand_in(port: PortId, is_v4: bool) -> Option<IpAddr> {
    address(port, is_v4, 2)
}

fn address(port: PortId, is_v4: bool, end: u8) -> Option<IpAddr> {
    if port.0 > PORTS_MAX {
        return None;
    }
    // IPv6 addresses of a link are told apart by their device.
    let v6 = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0x7467, 0x7669, u16::from(end));
    let v4 = Ipv4Addr::new(169, 254, 116, port.0 * 4 + end);
    Some(if is_v4 { v4.into() } else { v6.into() })
}

/// Which backend each leased port number checks; shared by the management thread, which leases, and all workers.
#[derive(Debug)]
pub struct ProbePorts {
    /// 0 for none yet; else the backend's number, and whether it is leased now.
    backends: Box<[AtomicU64]>,
    next: AtomicU16,
}

/// A port number that no other check gets until this is dropped.
#[derive(Debug)]
pub struct Lease {
    ports: Arc<ProbePorts>,
    port: u16,
}

const USED: u64 = 1 << 32;
const LEASED: u64 = 1 << 33;

impl Default for ProbePorts {
    fn default() -> Self {
        Self { backends: (0..PORTS).map(|_| AtomicU64::new(0)).collect(), next: AtomicU16::new(0) }
    }
}

impl ProbePorts {
    /// Leases a port number for a check of `backend`, the one whose last lease is the longest ago if there is a choice;
    /// `None` if all are taken.
    pub fn lease(self: &Arc<Self>, backend: BackendId) -> Option<Lease> {
        let value = LEASED | USED | u64::from(backend.bits());
        (0..PORTS).find_map(|_| {
            let at = usize::from(self.next.fetch_add(1, Ordering::Relaxed)) % PORTS;
            let slot = self.backends.get(at)?;
            let free = slot.load(Ordering::Relaxed);
            if free & LEASED != 0 {
                return None;
            }
            slot.compare_exchange(free, value, Ordering::Relaxed, Ordering::Relaxed).ok()?;
            Some(Lease { ports: self.clone(), port: FIRST_PORT + at as u16 })
        })
    }

    /// The backend that packets from this port number check, or did last: what ends a connection may leave after the
    /// check. `None` for every other port number.
    pub fn backend(&self, port: u16) -> Option<BackendId> {
        let value = self.slot(port)?.load(Ordering::Relaxed);
        (value & USED != 0).then(|| BackendId::from_bits(value as u32))
    }

    fn slot(&self, port: u16) -> Option<&AtomicU64> {
        self.backends.get(usize::from(port.checked_sub(FIRST_PORT)?))
    }
}

impl Lease {
    /// The port number.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(slot) = self.ports.slot(self.port) {
            slot.fetch_and(!LEASED, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_check_has_a_port_of_its_own_until_it_ends() {
        let ports = Arc::new(ProbePorts::default());
        let (a, b) = (BackendId::new(0, 0), BackendId::new(BackendId::SLOTS_MAX - 1, 4095));
        let first = ports.lease(a).unwrap();
        let second = ports.lease(b).unwrap();
        assert_ne!(first.port(), second.port());
        assert_eq!((ports.backend(first.port()), ports.backend(second.port())), (Some(a), Some(b)));
        assert_eq!((ports.backend(80), ports.backend(first.port() + 2)), (None, None));
        let number = first.port();
        drop(first);
        assert_eq!(ports.backend(number), Some(a), "the end of its connection still gets there");
        assert_ne!(ports.lease(a).map(|lease| lease.port()), Some(number), "what is late of the last one finds nobody");
    }

    #[test]
    fn all_are_leased_before_there_is_none_left() {
        let ports = Arc::new(ProbePorts::default());
        let mut leases: Vec<Lease> = (0..PORTS).map(|n| ports.lease(BackendId::new(n, 1)).unwrap()).collect();
        assert!(ports.lease(BackendId::new(0, 0)).is_none());
        assert!(leases.iter().enumerate().all(|(n, lease)| ports.backend(lease.port()) == Some(BackendId::new(n, 1))));
        leases.swap_remove(77);
        assert!(ports.lease(BackendId::new(0, 0)).is_some() && leases.len() == PORTS - 1);
    }

    #[test]
    fn devices_have_networks_of_their_own() {
        let v4 = |port| (host_end(PortId(port), true), stand_in(PortId(port), true));
        assert_eq!(v4(0), (Some(IpAddr::from([169, 254, 116, 1])), Some(IpAddr::from([169, 254, 116, 2]))));
        assert_eq!(v4(63).1, Some(IpAddr::from([169, 254, 116, 254])));
        assert_eq!((v4(64), host_end(PortId(200), false)), ((None, None), None));
        assert_ne!(host_end(PortId(3), false), stand_in(PortId(3), false));
    }
}
