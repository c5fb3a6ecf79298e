//! Which worker owns a packet's connection.
//!
//! Where the NIC spreads packets by RSS, its choice stands for tunnel modes, and this module computes the same choice
//! for packets that the NIC cannot place: ICMP errors. Where it does not, and for NAT in every case, the owner follows
//! from the client's address and port alone, which both directions of a connection carry.

use std::net::IpAddr;

use super::hash::{self, HashKey};
use super::ids::WorkerId;
use super::toeplitz::{Reta, Toeplitz};

/// How a NIC spreads packets over its queues, and which worker polls which queue.
pub struct Rss {
    /// The hash under the port's own key.
    pub toeplitz: Toeplitz,
    /// Its redirection table.
    pub reta: Reta,
    /// By queue number.
    pub queue_workers: Vec<WorkerId>,
}

impl std::fmt::Debug for Rss {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The key's tables would fill pages and help nobody.
        f.debug_struct("Rss").field("queue_workers", &self.queue_workers).finish_non_exhaustive()
    }
}

impl Rss {
    /// The worker that the NIC gives a packet with this five-tuple to; `None` if the families differ or the table
    /// names a queue that nobody polls.
    pub fn worker(&self, src: IpAddr, dst: IpAddr, sport: u16, dport: u16) -> Option<WorkerId> {
        let hash = match (src, dst) {
            (IpAddr::V4(s), IpAddr::V4(d)) => self.toeplitz.hash_v4(s.into(), d.into(), sport, dport),
            (IpAddr::V6(s), IpAddr::V6(d)) => self.toeplitz.hash_v6(s.into(), d.into(), sport, dport),
            _ => return None,
        };
        self.queue_workers.get(usize::from(self.reta.queue(hash))).copied()
    }
}

/// The worker that owns the connections of this client address and port.
#[inline]
pub fn by_client(key: HashKey, client: IpAddr, port: u16, protocol: u8, workers: u16) -> WorkerId {
    let hash = hash::client(key, client, port, protocol);
    WorkerId((((hash >> 32) * u64::from(workers)) >> 32) as u16)
}
