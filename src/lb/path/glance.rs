//! A first look at what nearly every packet is: TCP or UDP for us, whole, without options or extension headers.
//!
//! It reads a few whole words and decides as [`first_look`](super::first_look) would, or not at all; a test holds the two
//! against each other.

use super::{Meta, Work};
use crate::lb::connection::flags;
use crate::lb::snapshot::Port;
use crate::wire::checksum;
use crate::wire::protocol;

/// What frames for a port begin with.
#[derive(Clone, Copy)]
pub(super) struct Inlet {
    /// The port's MAC address as it lies in a frame.
    mac: u64,
    vlan: Option<u16>,
}

const MAC: u64 = 0xffff_ffff_ffff;
const TAG_LEN: usize = 4;

impl Inlet {
    /// Of a port that there is not: no frame has such an address.
    pub(super) const NONE: Self = Self { mac: u64::MAX, vlan: None };

    pub(super) fn of(port: &Port) -> Self {
        let [a, b, c, d, e, f] = port.mac.0;
        Self { mac: u64::from_le_bytes([a, b, c, d, e, f, 0, 0]), vlan: port.vlan }
    }

    /// What is to be done with a frame, noted in `meta`; `Done`, and `meta` without meaning, if it needs a closer look.
    #[inline(always)]
    pub(super) fn glance(&self, frame: &[u8], frame_len: usize, meta: &mut Meta) -> Work {
        match self.vlan {
            None => self.untagged(frame, frame_len, meta),
            Some(vlan) => self.tagged(vlan, frame, frame_len, meta),
        }
        .unwrap_or(Work::Done)
    }

    #[inline(always)]
    fn untagged(&self, frame: &[u8], frame_len: usize, meta: &mut Meta) -> Option<Work> {
        meta.l3 = 14;
        packet_in(word(frame) & MAC == self.mac, frame, frame_len, meta)
    }

    #[inline(never)]
    fn tagged(&self, vlan: u16, frame: &[u8], frame_len: usize, meta: &mut Meta) -> Option<Work> {
        let (ethernet, _) = frame.split_first_chunk::<16>()?;
        let tag = [ethernet[12], ethernet[13], ethernet[14] & 0x0f, ethernet[15]];
        let [high, low] = vlan.to_be_bytes();
        meta.l3 = 18;
        let is_ours = tag == [0x81, 0x00, high, low] && word(frame) & MAC == self.mac;
        // Without its tag the frame would begin four bytes later.
        packet_in(is_ours, frame.get(TAG_LEN..)?, frame_len - TAG_LEN, meta)
    }
}

/// A packet that lies behind 14 bytes, of which the last two are its ethertype.
#[inline(always)]
fn packet_in(is_ours: bool, frame: &[u8], frame_len: usize, meta: &mut Meta) -> Option<Work> {
    // The shortest that is looked at: Ethernet, IPv4 and UDP.
    let head = frame.first_chunk::<42>()?;
    match [head[12], head[13]] {
        _ if !is_ours => None,
        [0x08, 0x00] => ipv4(head, frame, frame_len, meta),
        [0x86, 0xdd] => ipv6(frame, frame_len, meta),
        _ => None,
    }
}

#[inline(always)]
fn ipv4(head: &[u8; 42], frame: &[u8], frame_len: usize, meta: &mut Meta) -> Option<Work> {
    let (first, second, last) = (word(&head[14..]), word(&head[22..]), word(&head[26..]) >> 32);
    // Version 4 with a header of 5 words, and neither "more fragments" nor an offset.
    let is_plain = first & 0xff3f_0000_0000_00ff == 0x45;
    let ip_len = (first >> 16) as u16;
    let ip_len = ip_len.swap_bytes();
    if !is_plain
        || usize::from(ip_len) + 14 > frame_len
        || !checksum::is_header_sum(halves(first) + halves(second) + last)
    {
        return None;
    }
    let protocol = (second >> 8) as u8;
    let len = usize::from(ip_len).checked_sub(20)?;
    let (ports, is_within) = upper_layer(protocol, &head[34..], frame.get(34..), len, false)?;
    meta.probe.words.addresses[0] = second >> 32 | last << 32;
    meta.probe.words.ends = ports | u64::from(protocol) << 32;
    meta.ip_len = ip_len;
    meta.ttl = second as u8;
    Some(if is_within { Work::Plain4 } else { Work::Flow4 })
}

#[inline(always)]
fn ipv6(frame: &[u8], frame_len: usize, meta: &mut Meta) -> Option<Work> {
    let head = frame.first_chunk::<62>()?;
    let first = word(&head[14..]);
    let payload_len = ((first >> 32) as u16).swap_bytes();
    let ip_len = payload_len.checked_add(40)?;
    if first & 0xf0 != 0x60 || usize::from(ip_len) + 14 > frame_len {
        return None;
    }
    let protocol = (first >> 48) as u8;
    let (ports, is_within) = upper_layer(protocol, &head[54..], frame.get(54..), payload_len.into(), true)?;
    meta.probe.words.addresses = [word(&head[22..]), word(&head[30..]), word(&head[38..]), word(&head[46..])];
    meta.probe.words.ends = ports | u64::from(protocol) << 32;
    meta.ip_len = ip_len;
    meta.ttl = (first >> 56) as u8;
    Some(if is_within { Work::Plain6 } else { Work::Flow6 })
}

/// Both ports, the source above, of a TCP or UDP header that is right; `start` is its first eight bytes, and `len` bytes of
/// the packet are left for it. False for a TCP segment that opens or ends a connection.
#[inline(always)]
fn upper_layer(protocol: u8, start: &[u8], header: Option<&[u8]>, len: usize, is_v6: bool) -> Option<(u64, bool)> {
    let start = word(start);
    let ports = u64::from((start as u32).swap_bytes());
    match protocol {
        protocol::UDP => {
            let udp_len = usize::from(((start >> 32) as u16).swap_bytes());
            let is_unchecked = is_v6 && start >> 48 == 0;
            (udp_len >= 8 && udp_len <= len && !is_unchecked).then_some((ports, true))
        }
        protocol::TCP => {
            let tcp = header?.first_chunk::<20>()?;
            let header_len = usize::from(tcp[12] >> 4) * 4;
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

/// The sum of both 32-bit halves, for a checksum.
#[inline(always)]
fn halves(word: u64) -> u64 {
    (word & 0xffff_ffff) + (word >> 32)
}
