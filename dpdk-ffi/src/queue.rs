//! The queues of a started port, each for one thread at a time.

use std::sync::Arc;

use crate::port::Running;
use crate::{MbufBurst, PortId, ffi};

/// A receive queue; there is one object for each, and the port runs at least as long as it lives.
#[derive(Debug)]
pub struct RxQueue {
    port: u16,
    queue: u16,
    _running: Arc<Running>,
}

/// A transmit queue; there is one object for each, and the port runs at least as long as it lives.
#[derive(Debug)]
pub struct TxQueue {
    port: u16,
    queue: u16,
    _running: Arc<Running>,
}

impl RxQueue {
    /// To be called once for each queue that was set up.
    pub(crate) fn new(running: &Arc<Running>, queue: u16) -> Self {
        Self { port: running.id().get(), queue, _running: Arc::clone(running) }
    }

    /// Adds received frames to the burst, as many as there are and it has room for; returns how many.
    ///
    /// Some drivers give nothing to a burst with room for less than 4, or give multiples of 4 only.
    #[inline]
    pub fn burst<const N: usize>(&mut self, burst: &mut MbufBurst<N>) -> usize {
        // SAFETY: the port is started while `_running` lives, the queue was set up, and &mut self of its only object
        // keeps other threads away. The mbufs that DPDK writes are owned by who received them.
        unsafe { burst.fill(|slots, count| ffi::dpdk_ffi_rx_burst(self.port, self.queue, slots, count)) }
    }

    /// The port that it belongs to.
    pub fn port(&self) -> PortId {
        PortId(self.port)
    }

    /// Its number within the port.
    pub fn queue(&self) -> u16 {
        self.queue
    }
}

impl TxQueue {
    /// To be called once for each queue that was set up.
    pub(crate) fn new(running: &Arc<Running>, queue: u16) -> Self {
        Self { port: running.id().get(), queue, _running: Arc::clone(running) }
    }

    /// Transmits frames from the front of the burst, as many as the queue takes, and returns how many; the others
    /// stay in the burst, in order.
    ///
    /// A frame of several segments needs a port with [`Offloads::multi_segment`](crate::Offloads::multi_segment).
    #[inline]
    pub fn burst<const N: usize>(&mut self, burst: &mut MbufBurst<N>) -> usize {
        // SAFETY: as for RxQueue::burst. DPDK owns the mbufs that it has taken, from the first one on.
        unsafe { burst.take_front(|slots, count| ffi::dpdk_ffi_tx_burst(self.port, self.queue, slots, count)) }
    }

    /// The port that it belongs to.
    pub fn port(&self) -> PortId {
        PortId(self.port)
    }

    /// Its number within the port.
    pub fn queue(&self) -> u16 {
        self.queue
    }
}
