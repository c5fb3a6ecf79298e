//! Metrics of ports, as their drivers tell them.

use super::family::{Family, Source, Value};
use crate::control::status::PortStatus;

const fn port(name: &'static str, help: &'static str, of: fn(&PortStatus) -> Option<Value>) -> Family {
    Family { name, labels: &["port"], help, source: Source::Port(of) }
}

/// By port.
pub(super) static FAMILIES: [Family; 15] = [
    port("tidegate_port_link_up", "1 if the link is up", |p| Some(p.link_up.into())),
    port("tidegate_port_speed_bytes_per_second", "Speed of the link", |p| {
        p.speed_mbps.map(|mbps| (u64::from(mbps) * 125_000).into())
    }),
    port("tidegate_port_mtu_bytes", "Largest IP packet", |p| Some(u64::from(p.mtu).into())),
    port("tidegate_port_rx_queues", "Receive queues in use", |p| Some(u64::from(p.rx_queues).into())),
    port("tidegate_port_tx_queues", "Transmit queues in use", |p| Some(u64::from(p.tx_queues).into())),
    port("tidegate_port_received_packets_total", "Packets received", |p| Some(p.rx_packets.into())),
    port("tidegate_port_received_bytes_total", "Bytes received", |p| Some(p.rx_bytes.into())),
    port("tidegate_port_transmitted_packets_total", "Packets transmitted", |p| Some(p.tx_packets.into())),
    port("tidegate_port_transmitted_bytes_total", "Bytes transmitted", |p| Some(p.tx_bytes.into())),
    port("tidegate_port_missed_packets_total", "Packets that the NIC lost because no worker took them in time", |p| {
        Some(p.rx_missed.into())
    }),
    port("tidegate_port_no_buffer_packets_total", "Packets lost because no packet buffer was free", |p| {
        Some(p.rx_no_mbuf.into())
    }),
    port("tidegate_port_receive_errors_total", "Faulty packets received", |p| Some(p.rx_errors.into())),
    port("tidegate_port_transmit_errors_total", "Packets that could not be transmitted", |p| Some(p.tx_errors.into())),
    port("tidegate_port_host_packets_total", "Packets of the port that the kernel took", |p| {
        Some(p.host.to_host.into())
    }),
    port("tidegate_port_host_errors_total", "Packets of the port that the kernel did not take", |p| {
        Some(p.host.errors.into())
    }),
];
