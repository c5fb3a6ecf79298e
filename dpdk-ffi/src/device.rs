//! What DPDK knows of a network device before it is started.

use std::ffi::{CStr, CString, c_char};
use std::fmt;
use std::mem::MaybeUninit;

use crate::rss::RssFields;
use crate::{Eal, Errno, PortError, ffi};

/// DPDK's number of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortId(pub(crate) u16);

/// Bytes of a hash key, unless a driver says otherwise.
const RSS_KEY_LEN_USUAL: u8 = 40;

/// What a device is and can do.
#[derive(Clone, Debug)]
pub struct DeviceInfo {
    /// Name in DPDK, such as `0000:03:00.0` or `net_tap0`.
    pub name: String,
    /// Driver, such as `net_ixgbe`.
    pub driver: String,
    /// Socket that the device is on, when it is on one.
    pub socket: Option<u32>,
    /// Receive queues at most.
    pub rx_queues_max: u16,
    /// Transmit queues at most.
    pub tx_queues_max: u16,
    /// Least and greatest number of receive descriptors.
    pub rx_desc_range: (u16, u16),
    /// Least and greatest number of transmit descriptors.
    pub tx_desc_range: (u16, u16),
    /// Smallest MTU, in bytes.
    pub mtu_min: u16,
    /// Greatest MTU, in bytes.
    pub mtu_max: u16,
    /// Header fields that the device can hash; none means that it has no RSS.
    pub rss_fields: RssFields,
    /// Bytes of its hash key; 0 when it has no RSS.
    pub rss_key_len: u8,
    /// Entries of its redirection table; 0 when it has none.
    pub reta_len: u16,
    /// Receive offloads, `RTE_ETH_RX_OFFLOAD_*`.
    pub rx_offloads: u64,
    /// Transmit offloads, `RTE_ETH_TX_OFFLOAD_*`.
    pub tx_offloads: u64,
}

impl PortId {
    /// Every port that DPDK knows and no other driver owns, as a bonding device does its members.
    pub fn all(eal: &Eal) -> Vec<Self> {
        let _control = eal.control();
        ports().collect()
    }

    /// The port of a device.
    ///
    /// # Errors
    /// When there is none of that name; the error lists those there are.
    pub fn by_name(eal: &Eal, name: &str) -> Result<Self, PortError> {
        let _control = eal.control();
        let not_found = || PortError::NotFound { name: name.to_owned(), known: ports().map(Self::name).collect() };
        let c_name = CString::new(name).map_err(|_| not_found())?;
        let mut id = 0;
        // SAFETY: the name ends in NUL, and the number is written to a local.
        let result = unsafe { ffi::rte_eth_dev_get_port_by_name(c_name.as_ptr(), &raw mut id) };
        Errno::check(result).map(|_| Self(id)).map_err(|_| not_found())
    }

    /// Attaches a device, given as for EAL's `--vdev` or `--allow` (`net_tap0,iface=tap0`, `0000:03:00.0`), and
    /// returns the ports it brings.
    ///
    /// # Errors
    /// When DPDK refuses (`EEXIST` for a device that is already there), or no driver makes a port of it.
    pub fn probe(eal: &Eal, devargs: &str) -> Result<Vec<Self>, PortError> {
        let failed = |errno| PortError::Probe { devargs: devargs.to_owned(), errno };
        let c_devargs = CString::new(devargs).map_err(|_| failed(Errno::EINVAL))?;
        let _control = eal.control();
        let before: Vec<Self> = ports().collect();
        // DPDK says nothing about a device that is attached again.
        let name = devargs.split_once(',').map_or(devargs, |(name, _)| name);
        if before.iter().any(|id| id.name() == name) {
            return Err(failed(Errno::EEXIST));
        }
        // SAFETY: the string ends in NUL, and DPDK copies it; the lock keeps other changes of the tables away.
        Errno::check(unsafe { ffi::rte_dev_probe(c_devargs.as_ptr()) }).map_err(failed)?;
        let new: Vec<Self> = ports().filter(|id| !before.contains(id)).collect();
        if new.is_empty() { Err(failed(Errno::ENODEV)) } else { Ok(new) }
    }

    /// The number, as in [`crate::Mbuf::port`].
    pub fn get(self) -> u16 {
        self.0
    }

    /// What the device is and can do.
    ///
    /// # Errors
    /// When the port is gone.
    pub fn info(self, eal: &Eal) -> Result<DeviceInfo, PortError> {
        let _control = eal.control();
        self.read_info()
    }

    /// Name of the device; empty when the port is gone.
    pub(crate) fn name(self) -> String {
        let mut name = [0 as c_char; ffi::RTE_ETH_NAME_MAX_LEN as usize];
        // SAFETY: DPDK writes a string of at most RTE_ETH_NAME_MAX_LEN bytes with its NUL, or nothing.
        unsafe {
            ffi::rte_eth_dev_get_name_by_port(self.0, name.as_mut_ptr());
            CStr::from_ptr(name.as_ptr()).to_string_lossy().into_owned()
        }
    }

    /// As [`info`](Self::info), for a caller that holds the lock.
    pub(crate) fn read_info(self) -> Result<DeviceInfo, PortError> {
        let info = self.raw_info()?;
        // SAFETY: the driver's name is a constant string; the number is checked by DPDK.
        let (driver, socket) = unsafe { (CStr::from_ptr(info.driver_name), ffi::rte_eth_dev_socket_id(self.0)) };
        Ok(DeviceInfo {
            name: self.name(),
            driver: driver.to_string_lossy().into_owned(),
            socket: u32::try_from(socket).ok(),
            rx_queues_max: info.max_rx_queues,
            tx_queues_max: info.max_tx_queues,
            rx_desc_range: (info.rx_desc_lim.nb_min, info.rx_desc_lim.nb_max),
            tx_desc_range: (info.tx_desc_lim.nb_min, info.tx_desc_lim.nb_max),
            mtu_min: info.min_mtu,
            mtu_max: mtu_max(&info),
            rss_fields: RssFields::from_bits(info.flow_type_rss_offloads),
            // A driver that does not say reads and writes keys of the usual length.
            rss_key_len: match (info.hash_key_size, info.flow_type_rss_offloads) {
                (0, 1..) => RSS_KEY_LEN_USUAL,
                (len, _) => len,
            },
            reta_len: info.reta_size,
            rx_offloads: info.rx_offload_capa,
            tx_offloads: info.tx_offload_capa,
        })
    }

    fn raw_info(self) -> Result<ffi::rte_eth_dev_info, PortError> {
        let mut info = MaybeUninit::zeroed();
        // SAFETY: DPDK checks the number and fills the struct.
        let result = unsafe { ffi::rte_eth_dev_info_get(self.0, info.as_mut_ptr()) };
        Errno::check(result).map_err(|errno| PortError::Call {
            name: self.name(),
            what: "read device information",
            errno,
        })?;
        // SAFETY: every field is a number or a pointer, for which zeros are a value, and DPDK has filled it.
        Ok(unsafe { info.assume_init() })
    }
}

impl fmt::Display for PortId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// As DPDK checks it: where a driver does not say, by the longest frame that it takes with header and FCS.
fn mtu_max(info: &ffi::rte_eth_dev_info) -> u16 {
    const OVERHEAD: u32 = 18;
    if info.max_mtu != u16::MAX || info.max_rx_pktlen == 0 {
        return info.max_mtu;
    }
    u16::try_from(info.max_rx_pktlen.saturating_sub(OVERHEAD)).unwrap_or(u16::MAX)
}

fn ports() -> impl Iterator<Item = PortId> {
    let next = |from: u16| {
        // SAFETY: DPDK checks the range of the number; 0 is RTE_ETH_DEV_NO_OWNER.
        let id = unsafe { ffi::rte_eth_find_next_owned_by(from, 0) };
        // Past the last port it is RTE_MAX_ETHPORTS, so the cast never cuts; DPDK's own port numbers are u16.
        u16::try_from(id).ok().map(PortId)
    };
    let mut from = 0;
    std::iter::from_fn(move || {
        let id = next(from)?;
        from = id.0.checked_add(1)?;
        // SAFETY: DPDK checks the range of the number.
        let valid = unsafe { ffi::rte_eth_dev_is_valid_port(id.0) } != 0;
        valid.then_some(id)
    })
}
