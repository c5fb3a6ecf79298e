//! Recognises packets whose TCP or UDP checksum was left to a NIC that never saw them.
//!
//! Such a field holds the sum of the pseudo-header alone, for the NIC to add the rest to it, as Linux does on veth, TAP and
//! virtio devices. No receiver takes such a packet. It is forwarded all the same, as wrong as it came.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::At;
use super::family::Family;
use crate::wire::checksum;
use crate::wire::parse::{Kind, Parsed};
use crate::wire::protocol;

/// Counts a TCP or UDP packet if it is such a one. For the first packets of connections, and one a burst: a device that does
/// this does it to all packets, so that a few tell, and looking at each would take time.
#[inline(always)]
pub(super) fn note(at: &mut At, parsed: &Parsed, frame: &[u8]) {
    if !std::mem::replace(&mut at.shard.checksum_seen, true) {
        look(at, parsed, frame);
    }
}

#[cold]
fn look(at: &At, parsed: &Parsed, frame: &[u8]) {
    if looks_partial(parsed, frame) {
        count(at, parsed, frame);
    }
}

/// One packet of 65,536 with a right checksum looks so, too.
fn count(at: &At, parsed: &Parsed, frame: &[u8]) {
    let Some(upper) = frame.get(usize::from(parsed.l4)..parsed.ip_end()) else { return };
    if !checksum::is_valid(checksum::combine(pseudo(parsed, frame), checksum::sum(upper))) {
        let counters = &at.shard.counters;
        counters.partial_checksums.add(1);
        counters.partial_port.set(u64::from(at.port.0));
    }
}

fn looks_partial(parsed: &Parsed, frame: &[u8]) -> bool {
    let place = usize::from(parsed.l4) + if parsed.protocol == protocol::UDP { 6 } else { 16 };
    let Some(&check) = frame.get(place..).and_then(|at| at.first_chunk::<2>()) else { return false };
    let check = u16::from_be_bytes(check);
    // 0 says that there is no checksum.
    check != 0 && !check == checksum::finish(pseudo(parsed, frame))
}

fn pseudo(parsed: &Parsed, frame: &[u8]) -> u32 {
    let (protocol, len) = (parsed.protocol, parsed.l4_len());
    if parsed.kind == Kind::V4 {
        let key = Ipv4Addr::key(parsed, frame);
        checksum::pseudo_v4(key.src, key.dst, protocol, len)
    } else {
        let key = Ipv6Addr::key(parsed, frame);
        checksum::pseudo_v6(key.src, key.dst, protocol, len.into())
    }
}
