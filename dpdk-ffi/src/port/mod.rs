//! A network device that is set up and running.

mod error;
mod setup;

use std::cell::Cell;
use std::ffi::c_int;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::sync::Arc;

use crate::rss::{RssFields, RssState};
use crate::{DeviceInfo, Eal, Errno, MbufBurst, Mempool, PortId, PortStats, RxQueue, TxQueue, XStat, ffi, stats};

pub use error::PortError;
pub use setup::{Offloads, PortConfig};

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
    /// When the port is in use, the device cannot do what is wanted, or the driver refuses. The port can then be
    /// tried again, unless it was started and only its promiscuous mode failed: that closes it.
    pub fn start(eal: &Eal, id: PortId, config: &PortConfig, pools: &[Mempool]) -> Result<StartedPort, PortError> {
        let mut control = eal.control();
        let info = id.read_info()?;
        if control.ports.contains(&id.0) {
            return Err(PortError::InUse { name: info.name });
        }
        let offloads = setup::set_up(id, config, &info, pools)?;
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
        setup::check_mtu(mtu, self.info())?;
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
        // SAFETY: every field, of which later releases have more, is a number or a pointer, for which zeros are a value.
        let mut conf: ffi::rte_eth_rss_conf = unsafe { MaybeUninit::zeroed().assume_init() };
        (conf.rss_key, conf.rss_key_len) = (key.as_mut_ptr(), rss_key_len);
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

    /// Takes back what the driver would forget: net_ring closes without a look at what is in its rings.
    fn empty_rings(&mut self) {
        if self.info.driver != "net_ring" {
            return;
        }
        let mut burst = MbufBurst::<64>::new();
        for queue in 0..self.rx_queues {
            // SAFETY: the port is started, the queue was set up, and its only object is gone.
            while unsafe { burst.fill(|slots, count| ffi::dpdk_ffi_rx_burst(self.id.0, queue, slots, count)) } > 0 {
                burst.clear();
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.empty_rings();
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

/// Groups of 64 entries that cover a table, each entry marked as meant.
fn reta_groups(table_len: u16) -> Vec<ffi::rte_eth_rss_reta_entry64> {
    let groups = usize::from(table_len).div_ceil(ffi::RTE_ETH_RETA_GROUP_SIZE as usize);
    vec![ffi::rte_eth_rss_reta_entry64 { mask: u64::MAX, reta: [0; ffi::RTE_ETH_RETA_GROUP_SIZE as usize] }; groups]
}
