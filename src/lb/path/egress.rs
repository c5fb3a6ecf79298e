//! The last step of every forwarded packet: its Ethernet header, and the tunnel header before it.

use super::At;
use super::solicit;
use crate::lb::ids::PortId;
use crate::lb::lane::Lane;
use crate::lb::neighbor::NeighborSlot;
use crate::lb::packet::Packet;
use crate::lb::path_mtu::PathMtu;
use crate::lb::snapshot::{Backend, Hop};
use crate::lb::trace::Step;
use crate::lb::verdict::{DropReason, Verdict};
use crate::wire::ethernet::{self, EtherType, MacAddr};
use crate::wire::parse::Parsed;
use crate::wire::protocol;

/// What goes out, besides the packet itself.
pub(super) struct Leaving<'a> {
    /// Offset of the IP header in the packet as it came in.
    pub l3: usize,
    /// Of the outermost IP header.
    pub ethertype: u16,
    /// A tunnel's headers, to stand before the IP header; else empty.
    pub outer: &'a [u8],
}

/// Sends to a backend; its next hop is remembered in the shard.
#[inline]
pub(super) fn to_backend<P: Packet>(
    at: &mut At,
    packet: &mut P,
    parsed: &Parsed,
    backend: &Backend,
    leaving: &Leaving,
) -> Verdict {
    let Some(hop) = backend.hop else { return Verdict::Drop(DropReason::NoRoute) };
    let generation = at.snapshot.generation as u32;
    let known = at.shard.backend_hops.get(backend.id.slot()).filter(|(of, _)| *of == generation);
    if let Some(slot) = known.and_then(|(_, slot)| *slot)
        && let Some(mac) = at.shard.neighbors.mac(slot)
    {
        packet.note(|| Step::Hop { port: hop.port, next: hop.next, mac: Some(mac) });
        prepare_lane(at, parsed, backend, hop.port, (slot, mac));
        return write(at, packet, hop.port, leaving, mac).unwrap_or(Verdict::Tx(hop.port));
    }
    let (verdict, slot) = to_hop(at, packet, hop, leaving);
    if let Some(place) = at.shard.backend_hops.get_mut(backend.id.slot()) {
        *place = (generation, slot);
    }
    verdict
}

/// Prepares the short way for the packets that follow this one.
#[inline]
fn prepare_lane(at: &mut At, parsed: &Parsed, backend: &Backend, id: PortId, hop: (NeighborSlot, MacAddr)) {
    let version = at.shard.neighbors.version();
    let Some(lane) = at.shard.lanes.get_mut(backend.id.slot()) else { return };
    // An ICMP error may be of the other family than the service.
    let is_flow = matches!(parsed.protocol, protocol::TCP | protocol::UDP);
    if lane.is_current(version, backend.id) || !backend.serves || !is_flow {
        return;
    }
    if let Some(port) = at.snapshot.port(id)
        && let Some(mut new) = Lane::new(version, backend, (id, port), hop, parsed)
    {
        if let PathMtu::Known(mtu) = at.shard.path_mtus.look(backend.id, at.now) {
            new.ip_len_max = new.ip_len_max.saturating_sub(backend.mtu.saturating_sub(mtu));
        }
        *lane = new;
    }
}

/// Sends to a next hop. The slot is what to remember for the next packet to it.
pub(super) fn to_hop<P: Packet>(
    at: &mut At,
    packet: &mut P,
    hop: Hop,
    leaving: &Leaving,
) -> (Verdict, Option<NeighborSlot>) {
    let Some((slot, new)) = at.shard.neighbors.find_or_ask(hop.port, hop.next, at.now) else {
        return (Verdict::Drop(DropReason::NeighborTableFull), None);
    };
    if new && let Some(out) = solicit(at.snapshot, hop.port, hop.next, None) {
        at.shard.originate(out);
    }
    let mac = at.shard.neighbors.mac(slot);
    packet.note(|| Step::Hop { port: hop.port, next: hop.next, mac });
    let done = match mac {
        Some(_) => Verdict::Tx(hop.port),
        None => Verdict::Hold(slot),
    };
    (write(at, packet, hop.port, leaving, mac.unwrap_or_default()).unwrap_or(done), Some(slot))
}

/// Replaces the old Ethernet header by the leaving port's and puts the tunnel header behind it; a verdict only if that
/// failed.
#[inline]
fn write<P: Packet>(at: &At, packet: &mut P, port: PortId, leaving: &Leaving, mac: MacAddr) -> Option<Verdict> {
    let Some(own) = at.snapshot.port(port) else { return Some(Verdict::Drop(DropReason::NoRoute)) };
    let l2_len = ethernet::header_len(own.vlan);
    let need = l2_len + leaving.outer.len();
    if need > leaving.l3 {
        if !packet.grow_front(need - leaving.l3) {
            return Some(Verdict::Drop(DropReason::NoHeadroom));
        }
    } else if need < leaving.l3 {
        packet.shrink_front(leaving.l3 - need);
    }
    let frame = packet.bytes_mut();
    ethernet::emit(frame, mac, own.mac, own.vlan, EtherType(leaving.ethertype));
    if let Some(place) = frame.get_mut(l2_len..need) {
        place.copy_from_slice(leaving.outer);
    }
    None
}

/// Completes a held packet with the MAC address that was waited for, and says by which port it leaves.
pub fn complete<P: Packet>(packet: &mut P, mac: MacAddr) {
    if let Some(dst) = packet.bytes_mut().first_chunk_mut() {
        *dst = mac.0;
    }
}
