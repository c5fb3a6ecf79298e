//! EAL and the ports of a profile, brought up.

use std::time::{Duration, Instant};

use dpdk_ffi::{
    Eal, EalError, HEADROOM, Mempool, MempoolError, Port, PortConfig, PortError, PortId, RxQueue, TxQueue, clock,
};
use thiserror::Error;
use tidegate::dataplane::{EalPlan, Severity, allowed_cpus, free_hugepage_bytes, is_pci, preflight, worker_cpus};
use tidegate::wire::ethernet::MacAddr;

use crate::profile::{self, Profile};

/// Why the ports did not come up.
#[derive(Debug, Error)]
pub enum DeviceError {
    /// The machine is not ready; each line says what is wrong and what mends it.
    #[error("{}", .0.join("\n"))]
    Machine(Vec<String>),
    /// EAL did not start.
    #[error("{0}; DPDK's lines above say why: correct `eal` in the profile, or what stands behind `--`")]
    Eal(#[from] EalError),
    /// EAL's arguments leave fewer lcores than loops.
    #[error("EAL has {have} worker lcores for {want} workers; leave `-l` and `--lcores` out of the EAL arguments")]
    TooFewLcores {
        /// Lcores there are.
        have: usize,
        /// Loops there are to be.
        want: usize,
    },
    /// No memory for packet buffers.
    #[error("packet buffers: {0}; lower `mbufs` in the profile or give EAL more memory (`-m` in MiB)")]
    Buffers(#[from] MempoolError),
    /// A port did not come up.
    #[error("port {port}: {source}; DPDK's lines above say why: correct `device = \"{device}\"` in the profile")]
    Port {
        /// As in the profile.
        port: String,
        /// As in the profile.
        device: String,
        /// Why.
        source: PortError,
    },
    /// Nobody is at the other end.
    #[error("port {port}: the link is still down after {seconds} s; start the other end, or raise `link_timeout`")]
    LinkDown {
        /// As in the profile.
        port: String,
        /// How long it was waited for.
        seconds: f64,
    },
}

/// A port that runs.
#[derive(Debug)]
pub struct Device {
    /// As in the profile.
    pub name: String,
    /// As in the profile.
    pub device: String,
    /// DPDK's name of the driver.
    pub driver: String,
    /// Its address.
    pub mac: MacAddr,
    /// For everything but frames.
    pub port: Port,
    /// All its receive queues.
    pub rx: Vec<RxQueue>,
    /// Its transmit queue.
    pub tx: Option<TxQueue>,
}

/// Everything that DPDK has for a profile.
#[derive(Debug)]
pub struct Devices {
    /// In the order of the profile.
    pub ports: Vec<Device>,
    /// Packet buffers.
    pub pool: Mempool,
    /// Ticks of the time stamp counter in a second.
    pub hz: u64,
    /// Last, so that it goes after everything that stands on it.
    pub eal: Eal,
}

/// Buffers that each lcore keeps at hand.
const POOL_CACHE: u32 = 256;
/// Bytes of an mbuf beside its data room: its header, and that of the pool.
const MBUF_OVERHEAD: u64 = 256;
/// Largest frame without its check sequence on an ordinary Ethernet, with a VLAN tag.
const FRAME_LEN_USUAL: u16 = 1518;
/// Between two looks at a link.
const LINK_LOOK: Duration = Duration::from_millis(20);

impl Devices {
    /// Starts EAL and the ports; `eal` are arguments for EAL behind those of the profile. Once per process, on the thread
    /// that will stop them.
    ///
    /// # Errors
    /// See [`DeviceError`].
    pub fn start(profile: &Profile, eal: &[String], say: &mut dyn FnMut(String)) -> Result<Self, DeviceError> {
        let given: Vec<String> = profile.eal.iter().chain(eal).cloned().collect();
        let devices: Vec<String> = profile.ports.iter().map(|port| port.device.clone()).collect();
        let data_room = data_room(profile);
        let buffer_bytes = u64::from(profile.mbufs) * (u64::from(data_room) + MBUF_OVERHEAD);
        let no_huge = given.iter().any(|argument| argument == "--no-huge");
        check_machine(&devices, buffer_bytes, no_huge, say)?;
        let cpus = allowed_cpus();
        let plan = EalPlan {
            given,
            devices,
            worker_cpus: worker_cpus(profile.workers, &cpus),
            cpus,
            hugepages: free_hugepage_bytes() >= buffer_bytes + (64 << 20),
            buffer_bytes,
        };
        let arguments = plan.arguments();
        say(format!("EAL arguments: {}", arguments.join(" ")));
        let eal = Eal::init(&arguments)?;
        let (have, want) = (eal.worker_lcores().len(), profile.workers);
        if have < want {
            return Err(DeviceError::TooFewLcores { have, want });
        }
        let pool = Mempool::new(&eal, "mbufs", profile.mbufs, POOL_CACHE, data_room, None)?;
        let mut ports = Vec::new();
        for port in &profile.ports {
            let failed = |source| DeviceError::Port { port: port.name.clone(), device: port.device.clone(), source };
            let started = start(&eal, port, longest(profile), &pool).map_err(failed)?;
            say(format!("port {}: {} ({}), {}", started.name, started.device, started.driver, started.mac));
            ports.push(started);
        }
        let hz = clock::tsc_hz(&eal);
        Ok(Self { ports, pool, hz, eal })
    }

    /// Waits until every link is up, or `is_over` says that nobody wants it any more.
    ///
    /// # Errors
    /// When a link is down after `timeout`.
    pub fn wait_for_links(&self, timeout: Duration, is_over: &dyn Fn() -> bool) -> Result<(), DeviceError> {
        let end = Instant::now() + timeout;
        // A device that does not tell is taken for one that works.
        let is_down = |device: &&Device| device.port.link().is_ok_and(|link| !link.up);
        while let Some(device) = self.ports.iter().find(is_down) {
            if is_over() {
                return Ok(());
            }
            if Instant::now() >= end {
                return Err(DeviceError::LinkDown { port: device.name.clone(), seconds: timeout.as_secs_f64() });
            }
            std::thread::sleep(LINK_LOOK);
        }
        Ok(())
    }
}

/// Longest frame that is sent, in bytes.
fn longest(profile: &Profile) -> u16 {
    let of_traffic = profile.traffic.iter().flat_map(|traffic| traffic.frame_lens.iter().copied());
    let of_trials = profile.rfc2544.packet_sizes.iter().copied();
    of_traffic.chain(of_trials).max().unwrap_or(0)
}

fn data_room(profile: &Profile) -> u16 {
    HEADROOM + longest(profile).max(2048).next_multiple_of(64)
}

/// Refuses what cannot work, and says what could work better.
fn check_machine(
    devices: &[String],
    buffer_bytes: u64,
    no_huge: bool,
    say: &mut dyn FnMut(String),
) -> Result<(), DeviceError> {
    let lines = |severity: Severity| -> Vec<String> {
        let findings = preflight(devices, buffer_bytes, no_huge).into_iter().filter(|f| f.severity == severity);
        findings.map(|finding| format!("{}; to mend it: {}", finding.what, finding.mend)).collect()
    };
    for warning in lines(Severity::Warning) {
        say(format!("warning: {warning}"));
    }
    let errors = lines(Severity::Error);
    if errors.is_empty() { Ok(()) } else { Err(DeviceError::Machine(errors)) }
}

fn start(eal: &Eal, port: &profile::Port, longest: u16, pool: &Mempool) -> Result<Device, PortError> {
    let name = port.device.split(',').next().unwrap_or(&port.device);
    // A device that EAL's own arguments brought is taken as it is.
    let id = match PortId::by_name(eal, name) {
        Ok(id) => id,
        Err(missing) if is_pci(&port.device) => return Err(missing),
        Err(missing) => PortId::probe(eal, &port.device)?.first().copied().ok_or(missing)?,
    };
    let info = id.info(eal)?;
    // These spread packets over all queues that the device has, configured or not: one left unpolled would lose its share.
    let all = ["net_pcap", "net_af_packet", "net_af_xdp", "net_ring"].contains(&info.driver.as_str());
    let mtu = longest.saturating_sub(14);
    let config = PortConfig {
        rx_queues: if all { info.rx_queues_max.max(1) } else { 1 },
        mtu: (longest > FRAME_LEN_USUAL && (info.mtu_min..=info.mtu_max).contains(&mtu)).then_some(mtu),
        promiscuous: true,
        ..PortConfig::default()
    };
    let started = Port::start(eal, id, &config, std::slice::from_ref(pool))?;
    let mut running = started.port;
    // Neighbour discovery comes by multicast; a device that cannot say so delivers it anyway or has none.
    let _ = running.set_all_multicast(true);
    let own = MacAddr(running.mac()?);
    Ok(Device {
        name: port.name.clone(),
        device: port.device.clone(),
        driver: info.driver,
        mac: port.mac.unwrap_or(own),
        port: running,
        rx: started.rx_queues,
        tx: started.tx_queues.into_iter().next(),
    })
}
