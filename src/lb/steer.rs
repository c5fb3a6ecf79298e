//! Which worker owns a packet's connection.
//!
//! Where the NIC spreads packets by RSS, its choice stands for tunnel modes, and this module computes the same choice
//! for packets that the NIC cannot place: ICMP errors. Where it does not, and for NAT in every case, the owner follows
//! from the client's address and port alone, which both directions of a connection carry.

use std::iter;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::ids::WorkerId;
use super::table::{Address, Probe, TableHasher, Words, ends};
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

/// What is hashed of a client, for [`TableHasher::hash_all`] and [`owner`].
#[inline(always)]
pub fn client<A: Address>(address: A, port: u16, protocol: u8) -> Words {
    Words { addresses: A::join(address, A::UNSPECIFIED), ends: ends(port, 0, protocol) }
}

/// The worker that owns the connections of a client by its hash.
#[inline(always)]
pub fn owner(hash: u64, workers: u16) -> WorkerId {
    WorkerId((((hash >> 32) * u64::from(workers)) >> 32) as u16)
}

/// The worker that owns the connections of this client address and port.
pub fn by_client(hasher: &TableHasher, address: IpAddr, port: u16, protocol: u8, workers: u16) -> WorkerId {
    let mut probe = Probe::default();
    match address {
        IpAddr::V4(address) => {
            probe.words = client(address, port, protocol);
            hasher.hash_all::<Ipv4Addr>(iter::once(&mut probe));
        }
        IpAddr::V6(address) => {
            probe.words = client(address, port, protocol);
            hasher.hash_all::<Ipv6Addr>(iter::once(&mut probe));
        }
    }
    owner(probe.hash, workers)
}
