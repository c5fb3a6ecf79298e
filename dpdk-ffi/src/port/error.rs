//! Why a port cannot be had.

use thiserror::Error;

use crate::Errno;

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
