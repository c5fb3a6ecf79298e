//! Replaces the whole content of a packet, when it is turned into our answer.

use crate::lb::packet::Packet;
use crate::lb::snapshot::Port;
use crate::wire::ethernet::{self, EtherType, MacAddr};

/// Makes `frame` the packet's content; false, and the packet unusable, if there is no room.
pub(super) fn replace<P: Packet>(packet: &mut P, frame: &[u8]) -> bool {
    // Where the packet is in pieces, a short first one has more room behind it than before it.
    packet.pull(frame.len());
    // Later pieces are not needed: all that is kept was copied into `frame`.
    packet.truncate(packet.bytes().len());
    let have = packet.bytes().len();
    if frame.len() > have {
        if !packet.grow_front(frame.len() - have) {
            return false;
        }
    } else {
        packet.shrink_front(have - frame.len());
    }
    packet.bytes_mut().copy_from_slice(frame);
    true
}

/// Turns the Ethernet header of a packet for us round, back to its sender.
pub(super) fn turn_round(frame: &mut [u8], own: MacAddr) {
    if let Some([dst, src]) =
        frame.first_chunk_mut::<12>().map(|c| c.as_chunks_mut::<6>().0).and_then(|c| c.first_chunk_mut())
    {
        *dst = *src;
        *src = own.0;
    }
}

/// Writes an Ethernet header from `port` and says where the payload begins.
pub(super) fn header(buf: &mut [u8], port: &Port, dst: MacAddr, ethertype: EtherType) -> Option<usize> {
    ethernet::emit(buf, dst, port.mac, port.vlan, ethertype)
}
