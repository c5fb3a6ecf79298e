//! Owning Rust wrappers over the part of DPDK that tidegate uses.
//!
//! Ownership is the API. An [`Mbuf`] frees itself, so it can be neither leaked by an early return nor freed twice; a
//! queue is handed out once and polled through `&mut`; what a queue or a ring does not take stays with the caller, in
//! order; a [`Port`] stops and closes after its last queue is gone; a [`Mempool`] is freed when its last mbuf is back.
//!
//! Supported: DPDK 22.11 up to 24.11, shared libraries, found by pkg-config. The build needs the Debian packages
//! libdpdk-dev, libclang-dev, pkg-config and gcc, and names the one that is missing.
//!
//! ```no_run
//! use dpdk_ffi::{Eal, Mempool, MbufBurst, Port, PortConfig, PortId};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let eal = Eal::init(&["--no-huge".into(), "--no-pci".into(), "--vdev=net_null0".into()])?;
//! let pool = Mempool::new(&eal, "packets", 8191, 256, dpdk_ffi::DATA_ROOM_DEFAULT, None)?;
//! let id = PortId::by_name(&eal, "net_null0")?;
//! let mut started = Port::start(&eal, id, &PortConfig::default(), &[pool])?;
//! let mut burst = MbufBurst::<32>::new();
//! started.rx_queues[0].burst(&mut burst);
//! started.tx_queues[0].burst(&mut burst);
//! burst.clear(); // What the port did not take.
//! # Ok(())
//! # }
//! ```
#![allow(unsafe_code, reason = "this crate is the boundary to C; each block names the invariant that it rests on")]

mod burst;
pub mod clock;
mod device;
mod eal;
mod errno;
mod ffi;
mod lcore;
mod mbuf;
mod mempool;
mod port;
mod queue;
mod ring;
mod rss;
mod stats;
mod tap;

pub use burst::{Drain, MbufBurst};
pub use device::{DeviceInfo, PortId};
pub use eal::{Eal, EalError, LogLevel};
pub use errno::Errno;
pub use lcore::{LcoreError, LcoreHandle, LcoreId};
pub use mbuf::{Checksum, Mbuf, Segments};
pub use mempool::{DATA_ROOM_DEFAULT, HEADROOM, Mempool, MempoolError};
pub use port::{Link, Offloads, Port, PortConfig, PortError, StartedPort};
pub use queue::{RxQueue, TxQueue};
pub use ring::{MpProducer, RingConsumer, RingError, RingProducer, SpProducer, mpsc, spsc};
pub use rss::{RssConfig, RssFields, RssState};
pub use stats::{PortStats, XStat};
pub use tap::attach_tap;

/// Version of DPDK whose headers this crate was built with, such as `22.11.11`; [`Eal::dpdk_version`] is the one
/// that was loaded.
pub const DPDK_VERSION: &str = env!("DPDK_FFI_VERSION");
