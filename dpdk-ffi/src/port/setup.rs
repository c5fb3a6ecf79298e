//! How a port is set up before it starts.

use std::mem::MaybeUninit;
use std::ptr;

use crate::rss::{RssConfig, RssFields};
use crate::{DeviceInfo, Errno, Mempool, PortError, PortId, ffi};

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
    /// RSS; left off on a device that has none of the wanted fields. Without it the driver chooses the queue.
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
    /// Receive frames of several segments, as an MTU above the mbuf's room needs.
    pub scatter: bool,
    /// Transmit frames of several segments.
    pub multi_segment: bool,
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

/// Sets a port up, ready to start, and returns the offloads that are on.
///
/// The caller holds the lock on DPDK's tables, and the port is not running.
pub(super) fn set_up(
    id: PortId,
    config: &PortConfig,
    info: &DeviceInfo,
    pools: &[Mempool],
) -> Result<Offloads, PortError> {
    check(config, info, pools)?;
    let offloads = possible_offloads(config.offloads, info);
    configure(id, config, info, offloads)?;
    set_up_queues(id, config, info, pools)?;
    Ok(offloads)
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

pub(super) fn check_mtu(mtu: u16, info: &DeviceInfo) -> Result<(), PortError> {
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
        scatter: wanted.scatter && info.rx_offloads & RX_SCATTER != 0,
        multi_segment: wanted.multi_segment && info.tx_offloads & TX_MULTI_SEGS != 0,
    }
}

fn possible_rss<'a>(wanted: Option<&'a RssConfig>, info: &DeviceInfo) -> Option<(RssFields, Option<&'a [u8]>)> {
    let rss = wanted?;
    let fields = rss.fields & info.rss_fields;
    (!fields.is_empty()).then_some((fields, rss.key.as_deref()))
}

fn configure(id: PortId, config: &PortConfig, info: &DeviceInfo, offloads: Offloads) -> Result<(), PortError> {
    // SAFETY: every field is a number, a bit-field or a pointer, for which zeros are a value: DPDK's defaults.
    let mut conf: ffi::rte_eth_conf = unsafe { MaybeUninit::zeroed().assume_init() };
    // DPDK takes 0 for its default of 1500.
    conf.rxmode.mtu = u32::from(config.mtu.unwrap_or(0));
    if offloads.rx_checksum {
        conf.rxmode.offloads |= RX_CHECKSUM;
    }
    if offloads.scatter {
        conf.rxmode.offloads |= RX_SCATTER;
    }
    if offloads.multi_segment {
        conf.txmode.offloads |= TX_MULTI_SEGS;
    }
    let rss = possible_rss(config.rss.as_ref(), info);
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
