//! What a port has counted.

use std::ffi::{CStr, c_char};
use std::mem::MaybeUninit;

use crate::{Errno, ffi};

/// Counters that every port has, since its start or the last reset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortStats {
    /// Frames received.
    pub rx_packets: u64,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Frames that the device dropped because no descriptor was free.
    pub rx_missed: u64,
    /// Frames that the device received with an error.
    pub rx_errors: u64,
    /// Frames that were dropped because no mbuf was free.
    pub rx_no_mbuf: u64,
    /// Frames transmitted.
    pub tx_packets: u64,
    /// Bytes transmitted.
    pub tx_bytes: u64,
    /// Frames that the device could not transmit.
    pub tx_errors: u64,
}

/// One of the counters that a driver has of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct XStat {
    /// The driver's name of it.
    pub name: String,
    /// What it counted.
    pub value: u64,
}

pub(crate) fn read(port: u16) -> Result<PortStats, Errno> {
    let mut stats = MaybeUninit::<ffi::rte_eth_stats>::zeroed();
    // SAFETY: DPDK checks the number and fills the struct, whose fields are integers.
    let stats = unsafe {
        Errno::check(ffi::rte_eth_stats_get(port, stats.as_mut_ptr()))?;
        stats.assume_init()
    };
    Ok(PortStats {
        rx_packets: stats.ipackets,
        rx_bytes: stats.ibytes,
        rx_missed: stats.imissed,
        rx_errors: stats.ierrors,
        rx_no_mbuf: stats.rx_nombuf,
        tx_packets: stats.opackets,
        tx_bytes: stats.obytes,
        tx_errors: stats.oerrors,
    })
}

pub(crate) fn read_all(port: u16) -> Result<Vec<XStat>, Errno> {
    // SAFETY: without a place to write, DPDK only counts.
    let count = Errno::check(unsafe { ffi::rte_eth_xstats_get_names(port, std::ptr::null_mut(), 0) })?;
    let mut names = vec![ffi::rte_eth_xstat_name { name: [0; ffi::RTE_ETH_XSTATS_NAME_SIZE as usize] }; count as usize];
    let mut values = vec![ffi::rte_eth_xstat { id: 0, value: 0 }; count as usize];
    // SAFETY: DPDK writes at most `count` elements to each.
    let (named, counted) = unsafe {
        let named = Errno::check(ffi::rte_eth_xstats_get_names(port, names.as_mut_ptr(), count as u32))?;
        (named, Errno::check(ffi::rte_eth_xstats_get(port, values.as_mut_ptr(), count as u32))?)
    };
    // A driver whose counters have become more since they were counted says so by a greater number.
    names.truncate(named as usize);
    values.truncate(counted as usize);
    let with_name = |stat: &ffi::rte_eth_xstat| {
        let name = names.get(usize::try_from(stat.id).ok()?)?;
        Some(XStat { name: text(&name.name), value: stat.value })
    };
    Ok(values.iter().filter_map(with_name).collect())
}

pub(crate) fn reset(port: u16) -> Result<(), Errno> {
    // SAFETY: DPDK checks the number.
    Errno::check(unsafe { ffi::rte_eth_stats_reset(port) })?;
    // SAFETY: as above. Drivers without counters of their own refuse, and then there is nothing to reset.
    match Errno::check(unsafe { ffi::rte_eth_xstats_reset(port) }) {
        Ok(_) | Err(Errno::ENOTSUP) => Ok(()),
        Err(errno) => Err(errno),
    }
}

fn text(chars: &[c_char]) -> String {
    let bytes: Vec<u8> = chars.iter().map(|&c| c as u8).collect();
    CStr::from_bytes_until_nul(&bytes).map(|text| text.to_string_lossy().into_owned()).unwrap_or_default()
}
