//! Brings ports up: finds or attaches the device, sets it up, and says what it turned out to be.

use std::sync::Arc;

use dpdk_ffi::{Eal, Mempool, Offloads, Port, PortConfig, PortError, PortId, RssConfig, RssFields, RxQueue, TxQueue};

use super::arguments::is_pci;
use super::host::HostSetup;
use crate::lb::ids::WorkerId;
use crate::lb::steer::Rss;
use crate::lb::toeplitz::{Reta, Toeplitz};
use crate::wire::ethernet::MacAddr;

/// A port as it is wanted.
#[derive(Clone, Debug)]
pub struct PortSetup {
    /// As configured.
    pub name: String,
    /// PCI address or vdev with its arguments.
    pub device: String,
    /// The MAC address to take; `None` for the device's.
    pub mac: Option<MacAddr>,
    /// Largest IP packet in bytes.
    pub mtu: u16,
    /// VLAN identifier of its traffic.
    pub vlan: Option<u16>,
    /// The host's end of it.
    pub host: HostSetup,
}

/// A port as it is.
#[derive(Clone, Debug)]
pub struct PortReport {
    /// As configured.
    pub name: String,
    /// As configured.
    pub device: String,
    /// DPDK's name of the driver.
    pub driver: String,
    /// The address it uses.
    pub mac: MacAddr,
    /// Queues in use.
    pub rx_queues: u16,
    /// Queues in use; fewer than workers means that some send through others.
    pub tx_queues: u16,
    /// How the NIC spreads packets, if it does.
    pub rss: Option<Arc<Rss>>,
    /// Which device it is on, counted in the order of their first ports.
    pub place: usize,
    /// The kernel's device that stands for the port, if there is one.
    pub host: Option<String>,
    /// Why there is none.
    pub host_reason: Option<String>,
    /// Whether health checks of VIPs can be sent by that device.
    pub has_probes: bool,
    /// What an operator should know.
    pub notes: Vec<String>,
}

/// A device that runs.
pub(super) struct Started {
    /// Of its first port.
    pub report: PortReport,
    /// All that share it.
    pub ports: Vec<crate::lb::ids::PortId>,
    pub port: Port,
    pub rx: Vec<RxQueue>,
    pub tx: Vec<TxQueue>,
    /// Whether there is anybody to announce addresses to.
    pub announces: bool,
}

/// The device's name within DPDK: a PCI address, or what stands before a vdev's arguments.
fn device_name(device: &str) -> &str {
    device.split(',').next().unwrap_or(device)
}

/// What a device has to serve.
#[derive(Clone, Copy)]
pub(super) struct Needs {
    pub workers: u16,
    /// Whether packets may be in several buffers when they leave.
    pub chains: bool,
}

/// Attaches and starts the device of a port.
pub(super) fn start(eal: &Eal, setup: &PortSetup, needs: Needs, pool: &Mempool) -> Result<Started, PortError> {
    let Needs { workers, chains } = needs;
    // A device that EAL's own arguments brought is taken as it is.
    let id = match PortId::by_name(eal, device_name(&setup.device)) {
        Ok(id) => id,
        Err(_) if is_pci(&setup.device) => PortId::by_name(eal, device_name(&setup.device))?,
        Err(missing) => PortId::probe(eal, &setup.device)?.first().copied().ok_or(missing)?,
    };
    let info = id.info(eal)?;
    // These spread packets over all queues that the device has, configured or not: one left unpolled would lose its share.
    let all = ["net_pcap", "net_af_packet", "net_af_xdp", "net_ring"].contains(&info.driver.as_str());
    let rx_queues = if all { info.rx_queues_max } else { workers.min(info.rx_queues_max) };
    let tx_queues = workers.min(info.tx_queues_max);
    let spreads = rx_queues > 1 && info.reta_len > 0;
    let config = PortConfig {
        rx_queues,
        tx_queues,
        mtu: (info.mtu_max >= setup.mtu && info.mtu_min <= setup.mtu).then_some(setup.mtu),
        rss: spreads.then(|| RssConfig { fields: rss_fields(), key: None }),
        // A buffer holds the largest packet, so nothing needs to be scattered. Checksums: docs/decisions/checksums.md.
        offloads: Offloads { multi_segment: chains, ..Offloads::default() },
        ..PortConfig::default()
    };
    let started = Port::start(eal, id, &config, std::slice::from_ref(pool))?;
    let mut port = started.port;
    let mut notes = Vec::new();
    let mac = set_mac(&mut port, setup.mac, &mut notes)?;
    // Neighbour discovery comes by multicast; a device that cannot say so delivers it anyway or has none.
    let _ = port.set_all_multicast(true);
    let rss = if spreads { read_rss(&port, workers) } else { None };
    if rx_queues < workers {
        notes.push(format!("{rx_queues} receive queue(s) for {workers} workers: the others get packets handed over"));
    } else if workers > 1 && rss.is_none() {
        let note =
            "no RSS: packets are spread over the workers in software, unless `spread` says that the queues do it";
        notes.push(note.to_owned());
    }
    if tx_queues < workers {
        notes.push(format!("{tx_queues} transmit queue(s) for {workers} workers: the others send through them"));
    }
    if config.mtu.is_none() {
        let (min, max, wanted) = (info.mtu_min, info.mtu_max, setup.mtu);
        let note = format!(
            "the driver names an MTU of {min} to {max}, not {wanted}: longer packets pass if the interface itself takes them"
        );
        notes.push(note);
    }
    let report = PortReport {
        name: setup.name.clone(),
        device: setup.device.clone(),
        driver: info.driver.clone(),
        mac,
        rx_queues,
        tx_queues,
        rss,
        place: 0,
        host: None,
        host_reason: None,
        has_probes: false,
        notes,
    };
    // A capture file has no neighbours, and what it holds is compared byte by byte.
    let announces = info.driver != "net_pcap";
    Ok(Started { report, ports: Vec::new(), port, rx: started.rx_queues, tx: started.tx_queues, announces })
}

/// What the NIC hashes: addresses, and ports where there are any.
fn rss_fields() -> RssFields {
    let v4 = RssFields::IPV4 | RssFields::IPV4_TCP | RssFields::IPV4_UDP;
    v4 | RssFields::IPV6 | RssFields::IPV6_TCP | RssFields::IPV6_UDP
}

fn set_mac(port: &mut Port, wanted: Option<MacAddr>, notes: &mut Vec<String>) -> Result<MacAddr, PortError> {
    let own = MacAddr(port.mac()?);
    if port.info().driver == "net_tap" {
        // The driver gives the kernel's end of the TAP device the same address. The two ends are neighbours, so they
        // need two, and the kernel hands every frame over whatever its address.
        let [a, b, c, d, e, f] = own.0;
        return Ok(wanted.filter(|&mac| mac != own).unwrap_or(MacAddr([a | 2, b, c, d, e, f ^ 1])));
    }
    let Some(wanted) = wanted.filter(|&mac| mac != own) else { return Ok(own) };
    if port.set_mac(wanted.0).is_err() {
        notes.push(format!("the device keeps its MAC address {own}; {wanted} is served in promiscuous mode"));
        let _ = port.set_promiscuous(true);
    }
    Ok(wanted)
}

/// How the NIC spreads packets, where it tells; queue `q` is polled by worker `q`.
fn read_rss(port: &Port, workers: u16) -> Option<Arc<Rss>> {
    let state = port.rss().ok()??;
    let toeplitz = Toeplitz::new(&state.key).ok()?;
    let reta = Reta::new(&state.reta).ok()?;
    Some(Arc::new(Rss { toeplitz, reta, queue_workers: (0..workers).map(WorkerId).collect() }))
}
