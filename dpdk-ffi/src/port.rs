//! A network device that is set up and running.

use std::cell::Cell;
use std::ffi::c_int;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::Arc;

use thiserror::Error;

use crate::rss::{RssConfig, RssFields, RssState};
use crate::{DeviceInfo, Eal, Errno, Mempool, PortId, PortStats, RxQueue, TxQueue, XStat, ffi, stats};

/// A port could not be found, set up or asked.
#[derive(Debug, Error)]
pub enum PortError {
    /// No device of that name.
    #[error("port {name} does not exist; there are {known:?}")]
    NotFound {
        /// What was asked for.
        name: String,
        /// What there is.
        known: Vec<String>,
    },
    /// The device could not be attached.
    #[error("device {devargs:?} cannot be attached: {errno}")]
    Probe {
        /// The device with its arguments.
        devargs: String,
        /// Why.
        errno: Errno,
    },
    /// The port is started already.
    #[error("port {name} is in use already")]
    InUse {
        /// Name of the device.
        name: String,
    },
    /// No queue is asked for.
    #[error(
        "port {name}: {rx_queues} receive and {tx_queues} transmit queues are wanted, at least 1 of each is needed"
    )]
    NoQueues {
        /// Name of the device.
        name: String,
        /// Receive queues asked for.
        rx_queues: u16,
        /// Transmit queues asked for.
        tx_queues: u16,
    },
    /// The device has less receive queues.
    #[error("port {name}: {wanted} receive queues are wanted, {driver} has {max} here")]
    RxQueues {
        /// Name of the device.
        name: String,
        /// Its driver.
        driver: String,
        /// Queues asked for.
        wanted: u16,
        /// Queues it has.
        max: u16,
    },
    /// The device has less transmit queues.
    #[error("port {name}: {wanted} transmit queues are wanted, {driver} has {max} here")]
    TxQueues {
        /// Name of the device.
        name: String,
        /// Its driver.
        driver: String,
        /// Queues asked for.
        wanted: u16,
        /// Queues it has.
        max: u16,
    },
    /// The device does not do that MTU.
    #[error("port {name}: MTU of {wanted} bytes is wanted, possible is {min} to {max}")]
    Mtu {
        /// Name of the device.
        name: String,
        /// Bytes asked for.
        wanted: u16,
        /// Least, in bytes.
        min: u16,
        /// Greatest, in bytes.
        max: u16,
    },
    /// The hash key has not the device's length.
    #[error("port {name}: RSS key of {wanted} bytes is wanted, the device's has {device}")]
    RssKey {
        /// Name of the device.
        name: String,
        /// Bytes given.
        wanted: usize,
        /// Bytes needed.
        device: u8,
    },
    /// The table names a queue that there is not, or has not the device's length.
    #[error(
        "port {name}: redirection table of {len} entries up to queue {queue_max}: {table_len} entries are needed, with queues below {rx_queues}"
    )]
    Reta {
        /// Name of the device.
        name: String,
        /// Entries given.
        len: usize,
        /// The greatest queue among them.
        queue_max: u16,
        /// Entries needed.
        table_len: u16,
        /// Receive queues of the port.
        rx_queues: u16,
    },
    /// No pool to receive into is given.
    #[error("port {name}: a mempool to receive into is needed, none is given")]
    NoPool {
        /// Name of the device.
        name: String,
    },
    /// DPDK or the driver refused.
    #[error("port {name}: cannot {what}: {errno}")]
    Call {
        /// Name of the device.
        name: String,
        /// What was tried.
        what: &'static str,
        /// Why.
        errno: Errno,
    },
}

/// What is wanted of a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortConfig {
    /// Receive queues.
    pub rx_queues: u16,
    /// Transmit queues.
    pub tx_queues: u16,
    /// Descriptors of each receive queue; moved into the device's range.
    pub rx_desc: u16,
    /// Descriptors of each transmit queue; moved into the device's range.
    pub tx_desc: u16,
    /// MTU in bytes; `None` for DPDK's default of 1500.
    pub mtu: Option<u16>,
    /// RSS; left off on a device that has none of the wanted fields.
    pub rss: Option<RssConfig>,
    /// Offloads that are wanted; those that the device lacks are left off.
    pub offloads: Offloads,
    /// Receive frames to any address; left off on a device that cannot choose.
    pub promiscuous: bool,
}

/// What a NIC does instead of the CPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offloads {
    /// Check IPv4, TCP and UDP checksums of received frames.
    pub rx_checksum: bool,
    /// Receive and transmit frames of several segments, as an MTU above the mbuf's room needs.
    pub multi_segment: bool,
}

/// State of the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// Whether it is up.
    pub up: bool,
    /// Megabits a second; `None` when the device does not know.
    pub speed_mbps: Option<u32>,
    /// Whether it sends and receives at once.
    pub full_duplex: bool,
}

/// A started port with its queues, in their order.
#[derive(Debug)]
pub struct StartedPort {
    /// For everything but frames.
    pub port: Port,
    /// Its receive queues.
    pub rx_queues: Vec<RxQueue>,
    /// Its transmit queues.
    pub tx_queues: Vec<TxQueue>,
}

/// A started port; it is stopped and closed when this and the last of its queues is gone.
///
/// It can move to another thread, but not be shared, as drivers do not expect two calls at a time.
#[derive(Debug)]
pub struct Port {
    running: Arc<Running>,
    not_sync: PhantomData<Cell<()>>,
}

impl Port {
    /// Sets a port up and starts it; receive queue `i` takes its mbufs from pool `i` modulo the number of pools.
    ///
    /// # Errors
    /// When the port is in use, the device cannot do what is wanted, or the driver refuses; the port can then be
    /// tried again.
    pub fn start(eal: &Eal, id: PortId, config: &PortConfig, pools: &[Mempool]) -> Result<StartedPort, PortError> {
        let mut control = eal.control();
        let info = id.read_info()?;
        if control.ports.contains(&id.0) {
            return Err(PortError::InUse { name: info.name });
        }
        check(config, &info, pools)?;
        let (offloads, rss) = (possible_offloads(config.offloads, &info), possible_rss(config.rss.as_ref(), &info));
        configure(id, config, &info, offloads, rss)?;
        set_up_queues(id, config, &info, pools)?;
        let failed = |what| move |errno| PortError::Call { name: id.name(), what, errno };
        // SAFETY: the port is set up, and the lock keeps other changes of it away.
        Errno::check(unsafe { ffi::rte_eth_dev_start(id.0) }).map_err(failed("start it"))?;
        control.ports.push(id.0);
        drop(control);
        let rx_queues = config.rx_queues;
        let running = Running { id, info, offloads, rx_queues, pools: pools.to_vec(), eal: eal.clone() };
        let mut port = Self { running: Arc::new(running), not_sync: PhantomData };
        match port.set_promiscuous(config.promiscuous) {
            Ok(()) | Err(PortError::Call { errno: Errno::ENOTSUP, .. }) => (),
            Err(error) => return Err(error),
        }
        Ok(StartedPort {
            rx_queues: (0..config.rx_queues).map(|queue| RxQueue::new(&port.running, queue)).collect(),
            tx_queues: (0..config.tx_queues).map(|queue| TxQueue::new(&port.running, queue)).collect(),
            port,
        })
    }

    /// Its number.
    pub fn id(&self) -> PortId {
        self.running.id
    }

    /// What the device is and can do.
    pub fn info(&self) -> &DeviceInfo {
        &self.running.info
    }

    /// The offloads that are on.
    pub fn offloads(&self) -> Offloads {
        self.running.offloads
    }

    /// The pools that it receives into.
    pub fn pools(&self) -> &[Mempool] {
        &self.running.pools
    }

    /// Its Ethernet address.
    ///
    /// # Errors
    /// When the driver refuses.
    pub fn mac(&self) -> Result<[u8; 6], PortError> {
        let mut mac = ffi::rte_ether_addr { addr_bytes: [0; 6] };
        // SAFETY: DPDK checks the number and writes six bytes.
        self.call("read the MAC address", unsafe { ffi::rte_eth_macaddr_get(self.number(), &raw mut mac) })?;
        Ok(mac.addr_bytes)
    }

    /// Sets its Ethernet address.
    ///
    /// # Errors
    /// When the address is not of one station, or the driver refuses (`ENOTSUP`).
    pub fn set_mac(&mut self, mac: [u8; 6]) -> Result<(), PortError> {
        let mut mac = ffi::rte_ether_addr { addr_bytes: mac };
        let what = "set the MAC address";
        // SAFETY: DPDK checks the number and reads six bytes.
        self.call(what, unsafe { ffi::rte_eth_dev_default_mac_addr_set(self.number(), &raw mut mac) })
    }

    /// Its MTU, in bytes.
    ///
    /// # Errors
    /// When the driver refuses.
    pub fn mtu(&self) -> Result<u16, PortError> {
        let mut mtu = 0;
        // SAFETY: DPDK checks the number and writes an integer.
        self.call("read the MTU", unsafe { ffi::rte_eth_dev_get_mtu(self.number(), &raw mut mtu) })?;
        Ok(mtu)
    }

    /// Sets its MTU, in bytes.
    ///
    /// # Errors
    /// When it is out of the device's range, or the driver refuses: some do (`EBUSY`) while the port runs.
    pub fn set_mtu(&mut self, mtu: u16) -> Result<(), PortError> {
        check_mtu(mtu, self.info())?;
        // SAFETY: DPDK checks the number.
        self.call("set the MTU", unsafe { ffi::rte_eth_dev_set_mtu(self.number(), mtu) })
    }

    /// State of its link, without waiting for one that is coming up.
    ///
    /// # Errors
    /// When the driver refuses.
    pub fn link(&self) -> Result<Link, PortError> {
        let mut link = ffi::dpdk_ffi_link { speed_mbps: 0, is_up: 0, is_full_duplex: 0 };
        // SAFETY: DPDK checks the number, and the shim fills the struct.
        self.call("read the link state", unsafe { ffi::dpdk_ffi_link(self.number(), &raw mut link) })?;
        Ok(Link {
            up: link.is_up != 0,
            // DPDK says u32::MAX for unknown, and 0 for a link that is down.
            speed_mbps: Some(link.speed_mbps).filter(|speed| *speed != u32::MAX && *speed != 0),
            full_duplex: link.is_full_duplex != 0,
        })
    }

    /// The counters that every port has.
    ///
    /// # Errors
    /// When the driver refuses.
    pub fn stats(&self) -> Result<PortStats, PortError> {
        stats::read(self.number()).map_err(|errno| self.failed("read the counters", errno))
    }

    /// The counters that the driver has, by name.
    ///
    /// # Errors
    /// When the driver refuses.
    pub fn xstats(&self) -> Result<Vec<XStat>, PortError> {
        stats::read_all(self.number()).map_err(|errno| self.failed("read the driver's counters", errno))
    }

    /// Sets all counters to 0.
    ///
    /// # Errors
    /// When the driver refuses.
    pub fn reset_stats(&mut self) -> Result<(), PortError> {
        stats::reset(self.number()).map_err(|errno| self.failed("reset the counters", errno))
    }

    /// What the port does for RSS; `None` when it does not choose queues.
    ///
    /// # Errors
    /// When the driver refuses.
    pub fn rss(&self) -> Result<Option<RssState>, PortError> {
        if self.info().rss_fields.is_empty() || self.info().reta_len == 0 {
            return Ok(None);
        }
        let rss_key_len = self.info().rss_key_len;
        // Some drivers write a key of their own length without a look at ours, so there is room for the longest.
        let mut key = vec![0; usize::from(u8::MAX)];
        let mut conf = ffi::rte_eth_rss_conf { rss_key: key.as_mut_ptr(), rss_key_len, rss_hf: 0 };
        // SAFETY: DPDK checks the number, and the key has room for any length that its u8 can say.
        match Errno::check(unsafe { ffi::rte_eth_dev_rss_hash_conf_get(self.number(), &raw mut conf) }) {
            Err(Errno::ENOTSUP) => return Ok(None),
            result => result.map_err(|errno| self.failed("read the RSS key", errno))?,
        };
        key.truncate(usize::from(rss_key_len));
        Ok(Some(RssState { fields: RssFields::from_bits(conf.rss_hf), key, reta: self.reta()? }))
    }

    /// Sets the redirection table: the queue of each value of the hash modulo the table's length.
    ///
    /// # Errors
    /// When the length is not the device's, a queue does not exist, or the driver refuses.
    pub fn set_reta(&mut self, reta: &[u16]) -> Result<(), PortError> {
        let (table_len, rx_queues) = (self.info().reta_len, self.running.rx_queues);
        let queue_max = reta.iter().copied().max().unwrap_or(0);
        if reta.len() != usize::from(table_len) || queue_max >= rx_queues {
            let name = self.info().name.clone();
            return Err(PortError::Reta { name, len: reta.len(), queue_max, table_len, rx_queues });
        }
        let mut groups = reta_groups(table_len);
        for (group, queues) in groups.iter_mut().zip(reta.chunks(ffi::RTE_ETH_RETA_GROUP_SIZE as usize)) {
            for (entry, queue) in group.reta.iter_mut().zip(queues) {
                *entry = *queue;
            }
        }
        // SAFETY: DPDK checks the number, and the groups have table_len entries.
        let result = unsafe { ffi::rte_eth_dev_rss_reta_update(self.number(), groups.as_mut_ptr(), table_len) };
        self.call("set the redirection table", result)
    }

    /// Whether it receives frames to any address.
    pub fn promiscuous(&self) -> bool {
        // SAFETY: DPDK checks the number.
        unsafe { ffi::rte_eth_promiscuous_get(self.number()) == 1 }
    }

    /// Sets whether it receives frames to any address.
    ///
    /// # Errors
    /// When the driver refuses (`ENOTSUP`).
    pub fn set_promiscuous(&mut self, on: bool) -> Result<(), PortError> {
        let set = if on { ffi::rte_eth_promiscuous_enable } else { ffi::rte_eth_promiscuous_disable };
        // SAFETY: DPDK checks the number.
        self.call("set promiscuous mode", unsafe { set(self.number()) })
    }

    /// Whether it receives frames to any multicast address.
    pub fn all_multicast(&self) -> bool {
        // SAFETY: DPDK checks the number.
        unsafe { ffi::rte_eth_allmulticast_get(self.number()) == 1 }
    }

    /// Sets whether it receives frames to any multicast address.
    ///
    /// # Errors
    /// When the driver refuses (`ENOTSUP`).
    pub fn set_all_multicast(&mut self, on: bool) -> Result<(), PortError> {
        let set = if on { ffi::rte_eth_allmulticast_enable } else { ffi::rte_eth_allmulticast_disable };
        // SAFETY: DPDK checks the number.
        self.call("set all-multicast mode", unsafe { set(self.number()) })
    }

    fn reta(&self) -> Result<Vec<u16>, PortError> {
        let table_len = self.info().reta_len;
        let mut groups = reta_groups(table_len);
        // SAFETY: DPDK checks the number, and the groups have table_len entries.
        let result = unsafe { ffi::rte_eth_dev_rss_reta_query(self.number(), groups.as_mut_ptr(), table_len) };
        self.call("read the redirection table", result)?;
        Ok(groups.iter().flat_map(|group| group.reta).take(usize::from(table_len)).collect())
    }

    fn number(&self) -> u16 {
        self.running.id.0
    }

    fn call(&self, what: &'static str, result: c_int) -> Result<(), PortError> {
        Errno::check(result).map(|_| ()).map_err(|errno| self.failed(what, errno))
    }

    fn failed(&self, what: &'static str, errno: Errno) -> PortError {
        PortError::Call { name: self.info().name.clone(), what, errno }
    }
}

impl Default for PortConfig {
    fn default() -> Self {
        Self {
            rx_queues: 1,
            tx_queues: 1,
            rx_desc: 1024,
            tx_desc: 1024,
            mtu: None,
            rss: None,
            offloads: Offloads::default(),
            promiscuous: false,
        }
    }
}

/// What a started port and its queues share.
// Invariant: the port is started, and its number is in the list of those that are owned.
#[derive(Debug)]
pub(crate) struct Running {
    id: PortId,
    info: DeviceInfo,
    offloads: Offloads,
    rx_queues: u16,
    /// Kept until the port has given its mbufs back.
    pools: Vec<Mempool>,
    eal: Eal,
}

impl Running {
    pub(crate) fn id(&self) -> PortId {
        self.id
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut control = self.eal.control();
        // SAFETY: the Port and all queues are gone, so nothing uses the port. A driver that fails to stop is closed
        // all the same; there is nobody left to tell.
        unsafe {
            ffi::rte_eth_dev_stop(self.id.0);
            ffi::rte_eth_dev_close(self.id.0);
        }
        control.ports.retain(|id| *id != self.id.0);
    }
}

fn check(config: &PortConfig, info: &DeviceInfo, pools: &[Mempool]) -> Result<(), PortError> {
    let name = || info.name.clone();
    let PortConfig { rx_queues, tx_queues, .. } = *config;
    if rx_queues == 0 || tx_queues == 0 {
        return Err(PortError::NoQueues { name: name(), rx_queues, tx_queues });
    }
    let driver = info.driver.clone();
    if rx_queues > info.rx_queues_max {
        return Err(PortError::RxQueues { name: name(), driver, wanted: rx_queues, max: info.rx_queues_max });
    }
    if tx_queues > info.tx_queues_max {
        return Err(PortError::TxQueues { name: name(), driver, wanted: tx_queues, max: info.tx_queues_max });
    }
    if pools.is_empty() {
        return Err(PortError::NoPool { name: name() });
    }
    config.mtu.map_or(Ok(()), |mtu| check_mtu(mtu, info))?;
    match config.rss.as_ref().and_then(|rss| rss.key.as_ref()) {
        Some(key) if !info.rss_fields.is_empty() && key.len() != usize::from(info.rss_key_len) => {
            Err(PortError::RssKey { name: name(), wanted: key.len(), device: info.rss_key_len })
        }
        _ => Ok(()),
    }
}

fn check_mtu(mtu: u16, info: &DeviceInfo) -> Result<(), PortError> {
    if (info.mtu_min..=info.mtu_max).contains(&mtu) {
        return Ok(());
    }
    Err(PortError::Mtu { name: info.name.clone(), wanted: mtu, min: info.mtu_min, max: info.mtu_max })
}

const RX_CHECKSUM: u64 =
    (ffi::RTE_ETH_RX_OFFLOAD_IPV4_CKSUM | ffi::RTE_ETH_RX_OFFLOAD_TCP_CKSUM | ffi::RTE_ETH_RX_OFFLOAD_UDP_CKSUM) as u64;
const RX_SCATTER: u64 = ffi::RTE_ETH_RX_OFFLOAD_SCATTER as u64;
const RX_RSS_HASH: u64 = ffi::RTE_ETH_RX_OFFLOAD_RSS_HASH as u64;
const TX_MULTI_SEGS: u64 = ffi::RTE_ETH_TX_OFFLOAD_MULTI_SEGS as u64;

fn possible_offloads(wanted: Offloads, info: &DeviceInfo) -> Offloads {
    Offloads {
        rx_checksum: wanted.rx_checksum && info.rx_offloads & RX_CHECKSUM == RX_CHECKSUM,
        multi_segment: wanted.multi_segment && info.tx_offloads & TX_MULTI_SEGS != 0,
    }
}

fn possible_rss<'a>(wanted: Option<&'a RssConfig>, info: &DeviceInfo) -> Option<(RssFields, Option<&'a [u8]>)> {
    let rss = wanted?;
    let fields = rss.fields & info.rss_fields;
    (!fields.is_empty()).then_some((fields, rss.key.as_deref()))
}

fn configure(
    id: PortId,
    config: &PortConfig,
    info: &DeviceInfo,
    offloads: Offloads,
    rss: Option<(RssFields, Option<&[u8]>)>,
) -> Result<(), PortError> {
    // SAFETY: every field is a number, a bit-field or a pointer, for which zeros are a value: DPDK's defaults.
    let mut conf: ffi::rte_eth_conf = unsafe { MaybeUninit::zeroed().assume_init() };
    // DPDK takes 0 for its default of 1500.
    conf.rxmode.mtu = u32::from(config.mtu.unwrap_or(0));
    if offloads.rx_checksum {
        conf.rxmode.offloads |= RX_CHECKSUM;
    }
    if offloads.multi_segment {
        // Drivers that scatter anyway do not have the receive flag.
        conf.rxmode.offloads |= RX_SCATTER & info.rx_offloads;
        conf.txmode.offloads |= TX_MULTI_SEGS;
    }
    let mut key = rss.and_then(|(_, key)| key).map(<[u8]>::to_vec);
    if let Some((fields, _)) = rss {
        conf.rxmode.mq_mode = ffi::RTE_ETH_MQ_RX_RSS;
        conf.rxmode.offloads |= RX_RSS_HASH & info.rx_offloads;
        conf.rx_adv_conf.rss_conf.rss_hf = fields.bits();
        if let Some(key) = key.as_mut() {
            conf.rx_adv_conf.rss_conf.rss_key = key.as_mut_ptr();
            conf.rx_adv_conf.rss_conf.rss_key_len = u8::try_from(key.len()).unwrap_or(0);
        }
    }
    // SAFETY: the caller holds the lock and the port is not running; DPDK copies the struct, and drivers copy the key
    // at start at the latest. The key is kept until then, see below.
    let result = unsafe { ffi::rte_eth_dev_configure(id.0, config.rx_queues, config.tx_queues, &raw const conf) };
    // Some drivers read the key through the copied struct when the port starts, so it stays for the process: a few
    // tens of bytes for a port that has a key of its own.
    key.map(Vec::leak);
    Errno::check(result).map(|_| ()).map_err(|errno| PortError::Call { name: id.name(), what: "configure it", errno })
}

fn set_up_queues(id: PortId, config: &PortConfig, info: &DeviceInfo, pools: &[Mempool]) -> Result<(), PortError> {
    let failed = |what| move |errno| PortError::Call { name: id.name(), what, errno };
    let (mut rx_desc, mut tx_desc) = (config.rx_desc, config.tx_desc);
    // SAFETY: DPDK checks the number and writes two integers.
    let result = unsafe { ffi::rte_eth_dev_adjust_nb_rx_tx_desc(id.0, &raw mut rx_desc, &raw mut tx_desc) };
    Errno::check(result).map_err(failed("choose the number of descriptors"))?;
    // DPDK takes -1 for any socket, in an unsigned argument.
    let socket = info.socket.unwrap_or(u32::MAX);
    for (queue, pool) in (0..config.rx_queues).zip(pools.iter().cycle()) {
        // SAFETY: the port is configured with that queue. The pool is kept by the port once it is started; before
        // that a queue holds the pool's address only, and a pool with mbufs out is not freed.
        let result = unsafe { ffi::rte_eth_rx_queue_setup(id.0, queue, rx_desc, socket, ptr::null(), pool.as_ptr()) };
        Errno::check(result).map_err(failed("set up a receive queue"))?;
    }
    for queue in 0..config.tx_queues {
        // SAFETY: the port is configured with that queue.
        let result = unsafe { ffi::rte_eth_tx_queue_setup(id.0, queue, tx_desc, socket, ptr::null()) };
        Errno::check(result).map_err(failed("set up a transmit queue"))?;
    }
    Ok(())
}

/// Groups of 64 entries that cover a table, each entry marked as meant.
fn reta_groups(table_len: u16) -> Vec<ffi::rte_eth_rss_reta_entry64> {
    let groups = usize::from(table_len).div_ceil(ffi::RTE_ETH_RETA_GROUP_SIZE as usize);
    vec![ffi::rte_eth_rss_reta_entry64 { mask: u64::MAX, reta: [0; ffi::RTE_ETH_RETA_GROUP_SIZE as usize] }; groups]
}
