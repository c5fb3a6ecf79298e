//! Answers to ARP requests and neighbour solicitations, so that others find the generator's addresses.

use std::net::IpAddr;

use tidegate::wire::arp::Arp;
use tidegate::wire::ethernet::{self, EtherType, MacAddr};
use tidegate::wire::icmpv6::NeighborSolicit;
use tidegate::wire::ipv6::Ipv6Repr;
use tidegate::wire::protocol;

use crate::frame::FRAME_LEN_MIN;
use crate::seen::Seen;

/// Longest answer: VLAN tag, IPv6, and an advertisement with one option.
const ANSWER_LEN_MAX: usize = 90;

/// The addresses of one port.
#[derive(Clone, Debug)]
pub struct Neighbor {
    mac: MacAddr,
    addresses: Vec<IpAddr>,
}

/// An answer, padded.
#[derive(Clone, Copy, Debug)]
pub struct Answer {
    bytes: [u8; ANSWER_LEN_MAX],
    len: usize,
}

impl Answer {
    /// The frame.
    #[must_use]
    pub fn frame(&self) -> &[u8] {
        self.bytes.get(..self.len.max(FRAME_LEN_MIN)).unwrap_or_default()
    }
}

impl Neighbor {
    /// All `addresses` are at `mac`.
    #[must_use]
    pub const fn new(mac: MacAddr, addresses: Vec<IpAddr>) -> Self {
        Self { mac, addresses }
    }

    /// The answer to an ARP packet that begins at `offset`, if it asks for one of the addresses.
    #[must_use]
    pub fn answer_arp(&self, frame: &[u8], offset: usize) -> Option<Answer> {
        let arp = Arp::parse(frame.get(offset..)?).ok()?;
        if arp.operation != Arp::REQUEST || !self.addresses.contains(&arp.tpa.into()) {
            return None;
        }
        let mut bytes = [0; ANSWER_LEN_MAX];
        let start = ethernet::emit(&mut bytes, arp.sha, self.mac, vlan_of(frame, offset), EtherType::ARP)?;
        let len = arp.reply(self.mac).emit(bytes.get_mut(start..)?)?;
        Some(Answer { bytes, len: start + len })
    }

    /// The answer to a neighbour solicitation, if the packet is one for one of the addresses.
    #[must_use]
    pub fn answer_solicit(&self, frame: &[u8], seen: &Seen) -> Option<Answer> {
        let (IpAddr::V6(src), IpAddr::V6(dst), protocol::ICMPV6) =
            (seen.tuple.src, seen.tuple.dst, seen.parsed.protocol)
        else {
            return None;
        };
        let solicit = NeighborSolicit::parse(seen.l4(frame), src, dst, seen.parsed.ttl).ok()?;
        if !self.addresses.contains(&solicit.target.into()) {
            return None;
        }
        let (advert, to) = solicit.reply(src, self.mac);
        let to_mac = if to.is_multicast() { MacAddr::ipv6_multicast(to) } else { seen.macs.1 };
        let mut bytes = [0; ANSWER_LEN_MAX];
        let start = ethernet::emit(&mut bytes, to_mac, self.mac, seen.parsed.vlan_id(), EtherType::IPV6)?;
        let message_len = advert.emit(bytes.get_mut(start + 40..)?, solicit.target, to)?;
        let header = Ipv6Repr {
            src: solicit.target,
            dst: to,
            next_header: protocol::ICMPV6,
            // RFC 4861 section 7.1.2: others are not believed.
            hop_limit: 255,
            traffic_class: 0,
            flow_label: 0,
            payload_len: message_len as u16,
        };
        let header_len = header.emit(bytes.get_mut(start..)?)?;
        Some(Answer { bytes, len: start + header_len + message_len })
    }
}

/// The VLAN of a frame whose packet begins at `offset`.
fn vlan_of(frame: &[u8], offset: usize) -> Option<u16> {
    let tag = frame.get(14..16).filter(|_| offset == ethernet::HEADER_LEN + ethernet::TAG_LEN)?;
    let id = u16::from_be_bytes(tag.try_into().ok()?) & 0x0fff;
    (id != 0).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seen::{Unseen, see};
    use std::net::{Ipv4Addr, Ipv6Addr};
    use tidegate::wire::icmpv6::{NeighborAdvert, solicited_node};

    const OWN: MacAddr = MacAddr([2, 0, 0, 0, 0, 9]);
    const OTHER: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
    const V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1);

    fn neighbor() -> Neighbor {
        Neighbor::new(OWN, vec!["10.0.0.1".parse().unwrap(), V6.into()])
    }

    fn arp_for(address: [u8; 4], vlan: Option<u16>) -> Option<Vec<u8>> {
        let mut frame = vec![0; 64];
        let start = ethernet::emit(&mut frame, MacAddr::BROADCAST, OTHER, vlan, EtherType::ARP).unwrap();
        Arp::request(OTHER, Ipv4Addr::new(10, 0, 0, 2), address.into()).emit(&mut frame[start..]).unwrap();
        let Err(Unseen::Arp(offset)) = see(&mut frame, 64) else { panic!("no ARP") };
        neighbor().answer_arp(&frame, offset).map(|answer| answer.frame().to_vec())
    }

    #[test]
    fn arp_is_answered_for_own_addresses() {
        for vlan in [None, Some(7)] {
            let answer = arp_for([10, 0, 0, 1], vlan).unwrap();
            assert_eq!((&answer[..6], &answer[6..12], answer.len()), (&OTHER.0[..], &OWN.0[..], 60));
            let start = ethernet::header_len(vlan);
            assert_eq!(vlan_of(&answer, start), vlan);
            let arp = Arp::parse(&answer[start..]).unwrap();
            assert_eq!((arp.operation, arp.sha, arp.spa), (Arp::REPLY, OWN, Ipv4Addr::new(10, 0, 0, 1)));
        }
        assert!(arp_for([10, 0, 0, 3], None).is_none());
    }

    #[test]
    fn solicitations_are_answered_for_own_addresses() {
        for (target, is_answered) in [(V6, true), (Ipv6Addr::LOCALHOST, false)] {
            let src = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2);
            let dst = solicited_node(target);
            let mut frame = vec![0; 86];
            ethernet::emit(&mut frame, MacAddr::ipv6_multicast(dst), OTHER, None, EtherType::IPV6).unwrap();
            let header = Ipv6Repr {
                src,
                dst,
                next_header: protocol::ICMPV6,
                hop_limit: 255,
                traffic_class: 0,
                flow_label: 0,
                payload_len: 32,
            };
            header.emit(&mut frame[14..]).unwrap();
            let solicit = NeighborSolicit { target, source_link: Some(OTHER) };
            assert_eq!(solicit.emit(&mut frame[54..], src, dst), Some(32));
            let seen = see(&mut frame, 86).unwrap();
            let answer = neighbor().answer_solicit(&frame, &seen).map(|answer| answer.frame().to_vec());
            assert_eq!(answer.is_some(), is_answered);
            let Some(mut answer) = answer else { continue };
            let len = answer.len();
            let seen = see(&mut answer, len).unwrap();
            assert_eq!((seen.macs, seen.tuple.dst), ((OTHER, OWN), src.into()));
            let advert = NeighborAdvert::parse(seen.l4(&answer), V6, src, seen.parsed.ttl).unwrap();
            assert_eq!((advert.target, advert.target_link, advert.solicited), (V6, Some(OWN), true));
        }
    }
}
