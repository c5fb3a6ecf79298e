//! Several ports on one device, told apart by their VLAN.

use dpdk_ffi::{Mbuf, RxQueue};

use super::devices::PortSetup;
use crate::lb::ids::PortId;
use crate::lb::vlan::{VLAN_BYTES, Vlans};

/// A receive queue, and the port of what comes by it.
pub(super) struct Inlet {
    pub port: PortId,
    pub queue: RxQueue,
    /// Where several ports share the device: which of them it is.
    pub vlans: Option<Vlans>,
}

/// Notes on each packet which port it came by, where [`port_of`](super::sample::port_of) reads it.
#[inline(never)]
pub(super) fn sort(vlans: &Vlans, packets: &mut [Mbuf]) {
    for mbuf in packets {
        // Nearly always true at once.
        mbuf.pull(VLAN_BYTES);
        let port = vlans.port_of(mbuf.data());
        mbuf.set_port(u16::from(port.0));
    }
}

/// The ports of each device, devices in the order of their first ports.
pub(super) fn by_device(ports: &[PortSetup]) -> Vec<Vec<PortId>> {
    let mut devices: Vec<(&str, Vec<PortId>)> = Vec::new();
    for (port, id) in ports.iter().zip(0..) {
        match devices.iter_mut().find(|(device, _)| *device == port.device) {
            Some((_, ids)) => ids.push(PortId(id)),
            None => devices.push((&port.device, vec![PortId(id)])),
        }
    }
    devices.into_iter().map(|(_, ids)| ids).collect()
}

#[cfg(test)]
mod tests {
    use super::super::host::{HostMode, HostSetup};
    use super::*;

    #[test]
    fn ports_of_one_device_are_together() {
        let port = |device: &str| PortSetup {
            name: String::new(),
            device: device.to_owned(),
            mac: None,
            mtu: 1500,
            vlan: None,
            host: HostSetup { mode: HostMode::Off, device: String::new(), addresses: Vec::new(), mtu: 1500 },
        };
        let ports = ["a", "b", "a", "c", "b", "a"].map(port);
        assert_eq!(
            by_device(&ports),
            [&[0, 2, 5][..], &[1, 4], &[3]].map(|ids| ids.iter().map(|&id| PortId(id)).collect::<Vec<_>>())
        );
        assert!(by_device(&[]).is_empty());
    }
}
