//! The host's end of ports: what is for own addresses goes to the kernel, and what the kernel sends leaves by the port.

mod choice;
mod ferry;
mod mailbox;
mod netlink;
mod tap;

use dpdk_ffi::{Mbuf, MbufBurst, Mempool};

pub use choice::{HostMode, HostSetup};
pub use ferry::HostTraffic;
pub use tap::TapError;

pub(super) use choice::{Choice, choose};
pub(super) use ferry::Ferry;

use super::tx::{Class, Wires};
use crate::lb::counters::Counters;
use crate::lb::ids::PortId;
use crate::lb::probe::STAND_IN_MAC;
use crate::lb::punt::{PUNT_BURST, PuntClass};
use crate::lb::snapshot::Snapshot;
use crate::lb::verdict::DropReason;
use crate::wire::ethernet;
use ferry::Work;
use mailbox::{Receiver, Sender, mailbox};
pub(super) use tap::Tap;

/// A worker's end.
pub(super) struct HostEnd {
    /// By class.
    punts: Vec<Sender>,
    /// Of the worker that sends for the kernel.
    frames: Option<Receiver>,
}

/// Room for a frame in bytes, at least: AF_PACKET puts fragments together, and gives frames longer than the MTU.
const FRAME_LEN: usize = 2048;
/// Frames that the kernel may have on their way to a worker.
const FRAMES: usize = 256;
/// Of those, sent in one round of chores.
pub(super) const FRAMES_AT_ONCE: usize = 64;
/// Where a VLAN tag belongs.
const TAG_AT: usize = 12;

/// Makes the queues and starts the thread; the end of each worker. The first one sends for the kernel.
pub(super) fn connect(
    taps: Vec<Tap>,
    ports: usize,
    workers: usize,
    mtu_max: u16,
) -> std::io::Result<(Ferry, Vec<HostEnd>)> {
    let frame_len_max = (usize::from(mtu_max) + ethernet::HEADER_LEN + ethernet::TAG_LEN).max(FRAME_LEN);
    let (to_port, from_host) = mailbox(FRAMES, frame_len_max);
    let mut punts: Vec<Vec<Receiver>> = PuntClass::ALL.iter().map(|_| Vec::new()).collect();
    let mut ends: Vec<HostEnd> = Vec::with_capacity(workers);
    for _ in 0..workers {
        let queues = punts.iter_mut().map(|of_class| {
            let (sender, receiver) = mailbox(PUNT_BURST as usize, frame_len_max);
            of_class.push(receiver);
            sender
        });
        ends.push(HostEnd { punts: queues.collect(), frames: None });
    }
    if let Some(first) = ends.first_mut() {
        first.frames = Some(from_host);
    }
    let traffic = (0..ports).map(|_| HostTraffic::default()).collect();
    Ok((Ferry::start(Work { taps, punts, frames: to_port, traffic })?, ends))
}

impl HostEnd {
    /// Copies a packet for the kernel, or says why that cannot be: too many of its class wait already, or it is longer than
    /// anything that a port may receive.
    #[cold]
    pub(super) fn punt(&mut self, port: PortId, class: PuntClass, mbuf: &Mbuf) -> Result<(), DropReason> {
        let (mut is_long, len) = (false, mbuf.frame_len());
        let copy = |room: &mut [u8]| {
            is_long = len > room.len();
            (!is_long).then(|| mbuf.copy_out(0, room))
        };
        match self.punts.get_mut(class.index()).is_some_and(|queue| queue.put(port, copy)) {
            true => Ok(()),
            false if is_long => Err(DropReason::TooBig),
            false => Err(DropReason::PuntFull),
        }
    }

    /// Sends what the kernel has to send, but for its health checks of VIPs, which go into `probes` as they are, each with
    /// its port.
    pub(super) fn send(
        &mut self,
        snapshot: &Snapshot,
        pool: &Mempool,
        tx: &mut Wires,
        counters: &Counters,
        probes: &mut MbufBurst<FRAMES_AT_ONCE>,
    ) {
        let Some(frames) = &mut self.frames else { return };
        for _ in 0..FRAMES_AT_ONCE {
            let taken = frames.take(|port, frame| {
                if ethernet::dst(frame) == Some(STAND_IN_MAC) {
                    let probe = pool.alloc().and_then(|mbuf| filled(mbuf, None, frame));
                    return match probe {
                        Some(mut mbuf) => {
                            mbuf.set_port(port.0.into());
                            // It has room for all that one round takes.
                            let _ = probes.push(mbuf);
                        }
                        None => counters.host_tx_dropped.add(1),
                    };
                }
                let vlan = snapshot.port(port).and_then(|own| own.vlan);
                match (pool.alloc().and_then(|mbuf| filled(mbuf, vlan, frame)), tx.get_mut(port)) {
                    (Some(mbuf), Some(tx)) => tx.send(Class::Host, mbuf, counters),
                    _ => counters.host_tx_dropped.add(1),
                }
            });
            if !taken {
                break;
            }
        }
    }
}

/// The frame in a buffer, with the port's tag.
fn filled(mut mbuf: Mbuf, vlan: Option<u16>, frame: &[u8]) -> Option<Mbuf> {
    let (addresses, rest) = frame.split_at_checked(TAG_AT)?;
    let [high, low] = vlan.unwrap_or(0).to_be_bytes();
    let tag = [0x81, 0, high, low];
    let tag = if vlan.is_some() { &tag[..] } else { &[] };
    [addresses, tag, rest].into_iter().all(|part| mbuf.extend_from_slice(part)).then_some(mbuf)
}
