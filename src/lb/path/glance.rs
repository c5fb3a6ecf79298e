//! A first look at what nearly every packet is: TCP or UDP for us, whole, without options or extension headers.
//!
//! It reads a few whole words and decides as [`first_look`](super::first_look) would, or not at all; a test holds the two
//! against each other.

use super::{Came, Looked, Meta, Work};
use crate::lb::connection::flags;
use crate::lb::ids::PortId;
use crate::lb::packet::Packet;
use crate::lb::snapshot::Port;
use crate::wire::checksum;
use crate::wire::protocol;

/// What frames for a port begin with.
#[derive(Clone, Copy)]
pub(super) struct Inlet {
    /// The port's MAC address as it lies in a frame, in the upper six bytes.
    mac: u64,
    vlan: Option<u16>,
}

const TAG_LEN: usize = 4;
const L2_LEN: u8 = 14;

impl Inlet {
    /// Of a port that there is not: no frame has such an address.
    pub(super) const NONE: Self = Self { mac: 1, vlan: None };

    pub(super) fn of(port: &Port) -> Self {
        let [a, b, c, d, e, f] = port.mac.0;
        Self { mac: u64::from_le_bytes([0, 0, a, b, c, d, e, f]), vlan: port.vlan }
    }

    /// What is to be done with packets that came by this port, noted in `metas`: `Done`, and the rest without meaning, where
    /// a closer look is needed.
    #[inline(never)]
    pub(super) fn glance<P: Packet>(&self, port: PortId, packets: &[P], metas: &mut [Meta]) -> Looked {
        match self.vlan {
            None => self.glance_behind(0, Came { port, l3: L2_LEN }, packets, metas),
            // The tag is looked at apart, so that it takes no time where there is none.
            Some(vlan) => {
                let [high, low] = vlan.to_be_bytes();
                let is_tagged = |frame: &[u8]| {
                    frame.get(12..16).is_some_and(|tag| [tag[0], tag[1], tag[2] & 0x0f, tag[3]] == [0x81, 0, high, low])
                };
                let mut looked = self.glance_behind(TAG_LEN, Came { port, l3: L2_LEN + TAG_LEN as u8 }, packets, metas);
                looked.kinds = 0;
                for (packet, meta) in packets.iter().zip(metas) {
                    if !is_tagged(packet.bytes()) {
                        meta.work = Work::Done;
                    }
                    looked.kinds |= meta.work as u8;
                }
                looked
            }
        }
    }

    /// The same for packets whose ethertype is `tag_len` bytes further behind than without a tag.
    #[inline(always)]
    fn glance_behind<P: Packet>(&self, tag_len: usize, came: Came, packets: &[P], metas: &mut [Meta]) -> Looked {
        let mut looked = Looked::default();
        for (packet, meta) in packets.iter().zip(&mut *metas) {
            packet.prefetch_front();
            let frame_len = packet.frame_len();
            looked.bytes += frame_len as u64;
            meta.came = came;
            meta.work = self.ipv4(tag_len, packet.bytes(), frame_len, meta).unwrap_or(Work::Done);
            looked.kinds |= meta.work as u8;
        }
        // In a loop of its own: both in one would have too few registers.
        if looked.kinds & Work::Done as u8 != 0 {
            looked.kinds = 0;
            for (packet, meta) in packets.iter().zip(metas) {
                if meta.work == Work::Done {
                    meta.work = self.ipv6(tag_len, packet.bytes(), packet.frame_len(), meta).unwrap_or(Work::Done);
                }
                looked.kinds |= meta.work as u8;
            }
        }
        looked
    }

    /// Whether a frame begins with the port's address.
    #[inline(always)]
    fn is_ours(&self, frame: &[u8]) -> bool {
        (word(frame) << 16) == self.mac
    }

    #[inline(always)]
    fn ipv4(&self, tag_len: usize, frame: &[u8], frame_len: usize, meta: &mut Meta) -> Option<Work> {
        // The shortest that is looked at: Ethernet, IPv4 and UDP.
        let head = frame.get(tag_len..)?.first_chunk::<42>()?;
        // Ethertype, and version 4 with a header of 5 words; neither "more fragments" nor an offset.
        let is_plain = half(&head[12..]) & 0x00ff_ffff == 0x0045_0008 && half(&head[18..]) & 0xff3f_0000 == 0;
        let (first, second, addresses) = (word(&head[14..]), word(&head[22..]), word(&head[26..]));
        let ip_len = ((first >> 16) as u16).swap_bytes();
        if !is_plain
            || !self.is_ours(frame)
            || usize::from(ip_len) + tag_len + 14 > frame_len
            || !checksum::is_header_sum(wide_sum([first, second, addresses >> 32]))
        {
            return None;
        }
        let protocol = (second >> 8) as u8;
        let tcp = frame.get(tag_len + 34..);
        let (ports, is_within) = upper_layer(protocol, &head[34..], tcp, i32::from(ip_len) - 20, false)?;
        meta.probe.words.addresses[0] = addresses;
        meta.probe.words.ends = ports | u64::from(protocol) << 32;
        meta.start = first;
        meta.ip_len = ip_len;
        meta.ttl = second as u8;
        Some(if is_within { Work::Plain4 } else { Work::Flow4 })
    }

    #[inline(always)]
    fn ipv6(&self, tag_len: usize, frame: &[u8], frame_len: usize, meta: &mut Meta) -> Option<Work> {
        let head = frame.get(tag_len..)?.first_chunk::<62>()?;
        let first = word(&head[14..]);
        let payload_len = ((first >> 32) as u16).swap_bytes();
        // A packet of more than 65,535 bytes has no length that the rest could do with.
        let ip_len = payload_len.checked_add(40)?;
        let is_plain = half(&head[12..]) & 0x00f0_ffff == 0x0060_dd86;
        if !is_plain || !self.is_ours(frame) || usize::from(ip_len) + tag_len + 14 > frame_len {
            return None;
        }
        let protocol = (first >> 48) as u8;
        let tcp = frame.get(tag_len + 54..);
        let (ports, is_within) = upper_layer(protocol, &head[54..], tcp, payload_len.into(), true)?;
        meta.probe.words.addresses = [word(&head[22..]), word(&head[30..]), word(&head[38..]), word(&head[46..])];
        meta.probe.words.ends = ports | u64::from(protocol) << 32;
        meta.start = first;
        meta.ip_len = ip_len;
        meta.ttl = (first >> 56) as u8;
        Some(if is_within { Work::Plain6 } else { Work::Flow6 })
    }
}

/// Both ports, the source above, of a TCP or UDP header that is right; `start` is its first eight bytes, and `len` bytes of
/// the packet are left for it, less than none if there is no room at all. False for a TCP segment that opens or ends a connection.
#[inline(always)]
fn upper_layer(protocol: u8, start: &[u8], header: Option<&[u8]>, len: i32, is_v6: bool) -> Option<(u64, bool)> {
    let start = word(start);
    let ports = u64::from((start as u32).swap_bytes());
    match protocol {
        protocol::UDP => {
            let udp_len = i32::from(((start >> 32) as u16).swap_bytes());
            let is_unchecked = is_v6 && start >> 48 == 0;
            (udp_len >= 8 && udp_len <= len && !is_unchecked).then_some((ports, true))
        }
        protocol::TCP => {
            let tcp = header?.first_chunk::<20>()?;
            let header_len = i32::from(tcp[12] >> 4) * 4;
            let is_within = tcp[13] & (flags::SYN | flags::FIN | flags::RST) == 0;
            (header_len >= 20 && header_len <= len).then_some((ports, is_within))
        }
        _ => None,
    }
}

/// The first eight bytes, the first one lowest; 0 if there are less.
#[inline(always)]
fn word(bytes: &[u8]) -> u64 {
    bytes.first_chunk().map_or(0, |chunk| u64::from_le_bytes(*chunk))
}

/// The first four bytes likewise.
#[inline(always)]
fn half(bytes: &[u8]) -> u32 {
    bytes.first_chunk().map_or(0, |chunk| u32::from_le_bytes(*chunk))
}

/// The sum of some words with its carries added again, for a checksum.
#[inline(always)]
fn wide_sum<const N: usize>(words: [u64; N]) -> u64 {
    words.into_iter().fold(0, |sum, word| {
        let (sum, carry) = sum.overflowing_add(word);
        sum + u64::from(carry)
    })
}
