//! Sends the host's health checks of VIPs, each by the backend that it is to check.

use dpdk_ffi::{Mbuf, MbufBurst};

use super::host::FRAMES_AT_ONCE;
use super::sample;
use super::tx::Class;
use super::worker::Worker;
use crate::lb::clock::Now;
use crate::lb::path;
use crate::lb::pending::Pending;
use crate::lb::snapshot::Snapshot;
use crate::lb::verdict::Verdict;

impl Worker {
    /// Sends all of `probes`, or counts those that do not leave as frames of the host's that were dropped.
    #[cold]
    pub(super) fn send_probes(
        &mut self,
        snapshot: &Snapshot,
        now: Now,
        probes: &mut MbufBurst<FRAMES_AT_ONCE>,
        held: &mut Pending<Mbuf>,
    ) {
        for mut mbuf in probes.drain() {
            let port = sample::port_of(&mbuf);
            let verdict = path::send_probe(&mut self.shard, snapshot, now, port, &mut mbuf);
            let counters = &self.shard.counters;
            match verdict {
                Verdict::Tx(port) => match self.tx.get_mut(port) {
                    Some(tx) => tx.send(Class::Host, mbuf, counters),
                    None => counters.host_tx_dropped.add(1),
                },
                Verdict::Hold(slot) => {
                    let bytes = mbuf.frame_len() as u64;
                    match held.hold(slot, port, sample::note_now(mbuf)) {
                        Ok(()) => {
                            // It leaves, or is dropped, as one that a port received.
                            counters.rx_packets.add(1);
                            counters.rx_bytes.add(bytes);
                            counters.held.add(1);
                        }
                        Err(_) => counters.host_tx_dropped.add(1),
                    }
                }
                _ => counters.host_tx_dropped.add(1),
            }
        }
    }
}
