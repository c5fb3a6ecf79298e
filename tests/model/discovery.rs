//! The reference's way with neighbours: ARP by RFC 826 and 5227, neighbour discovery by RFC 4861 section 7.

use std::net::IpAddr;

use crate::local::addresses;
use crate::packet::{self, ICMP6, IPV6, Mac, octets};
use crate::read::{Frame, Ip, word};
use crate::world::{Port, Service, World};

/// Whether an address is answered for on a port: its own ones, and those of services.
fn is_ours(world: &World, port: &Port, addr: &[u8]) -> bool {
    let of_service = |service: &Service| {
        let all = [vec![service.vip], service.local_addresses()].concat();
        all.into_iter().any(|own| octets(own) == addr)
    };
    addresses(port).any(|own| octets(own) == addr) || world.services.iter().any(of_service)
}

fn tags(port: &Port) -> Vec<u16> {
    port.vlan.into_iter().collect()
}

fn mac_at(bytes: &[u8], at: usize) -> Mac {
    [0, 1, 2, 3, 4, 5].map(|byte| bytes[at + byte])
}

/// Whether a station can have this address, and it is not the port's.
fn is_stations(mac: Mac) -> bool {
    mac[0] & 1 == 0 && mac != [0; 6]
}

/// The answer to an ARP message, or why there is none.
pub fn arp(world: &World, number: usize, message: &[u8]) -> Result<Vec<u8>, &'static str> {
    let port = &world.ports[number];
    let (sender, target) = (&message[8..18], &message[24..28]);
    let mac = mac_at(sender, 0);
    if message[..6] != [0, 1, 8, 0, 6, 4] || !is_stations(mac) || mac == port.mac {
        return Err("neighbor_invalid");
    }
    let operation = word(message, 6);
    if is_ours(world, port, &sender[6..]) {
        return Err("address_conflict");
    }
    if &sender[6..] == target || operation != 1 {
        return Err("neighbor_update");
    }
    if !is_ours(world, port, target) {
        return Err("not_ours");
    }
    let mut answer = message[..7].to_vec();
    answer.push(2);
    answer.extend(port.mac);
    answer.extend(target);
    answer.extend(sender);
    Ok(packet::ethernet(mac, port.mac, &tags(port), packet::ARP, &answer))
}

/// The answer to a solicitation or an advertisement, or why there is none.
pub fn discovery(world: &World, number: usize, frame: &Frame, ip: &Ip) -> Result<Vec<u8>, &'static str> {
    let port = &world.ports[number];
    let (message, is_question) = (ip.upper(), ip.upper()[0] == 135);
    let link = checked(ip, is_question).ok_or("neighbor_invalid")?;
    // One of ours that a switch has sent back says nothing.
    if frame.src_mac == port.mac || (is_question && octets(ip.src)[0] == 0xff) {
        return Err("neighbor_invalid");
    }
    let target = &message[8..24];
    let speaks_for = if is_question { octets(ip.src) } else { target.to_vec() };
    if is_ours(world, port, &speaks_for) {
        return Err("address_conflict");
    }
    if !is_question {
        return Err("neighbor_update");
    }
    if !is_ours(world, port, target) {
        return Err("not_ours");
    }
    // To whoever asks for itself, and to all where nobody has an address yet (7.2.4).
    let is_probe = is_unspecified(ip.src);
    let to = if is_probe { packet::ip("ff02::1") } else { ip.src };
    let to_mac = match link.filter(|mac| is_stations(*mac)) {
        _ if is_probe => [0x33, 0x33, 0, 0, 0, 1],
        Some(mac) => mac,
        None => frame.src_mac,
    };
    let flags = if is_probe { 0x2000_0000 } else { 0x6000_0000 };
    let mut from = [0; 16];
    from.copy_from_slice(target);
    let body = [target, &[2, 1], &port.mac].concat();
    let advert = packet::icmp(&IpAddr::from(from).to_string(), &to.to_string(), 136, 0, flags, &body).ttl(255);
    Ok(packet::ethernet(to_mac, port.mac, &tags(port), IPV6, &advert.bytes()))
}

fn is_unspecified(addr: IpAddr) -> bool {
    octets(addr).iter().all(|byte| *byte == 0)
}

/// The link-layer address that a message tells, if it passes the checks of sections 7.1.1 and 7.1.2.
fn checked(ip: &Ip, is_question: bool) -> Option<Option<Mac>> {
    let message = ip.upper();
    if ip.ttl() != 255 || !ip.is_l4_right() || message.len() < 24 || message[1] != 0 || message[8] == 0xff {
        return None;
    }
    let (mut link, mut at) = (None, 24);
    while at < message.len() {
        let len = message.get(at + 1).map_or(0, |len| usize::from(*len) * 8);
        if len == 0 || at + len > message.len() {
            return None;
        }
        if message[at] == if is_question { 1 } else { 2 } && len == 8 {
            link = Some(mac_at(message, at + 2));
        }
        at += len;
    }
    let dst = octets(ip.dst);
    let is_group = dst[0] == 0xff;
    let is_solicited_node = dst[..13] == [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff];
    let is_sound = match is_question {
        true => !is_unspecified(ip.src) || (is_solicited_node && link.is_none()),
        false => !(is_group && message[4] & 0x40 != 0),
    };
    is_sound.then_some(link)
}

/// Whether a packet is one of these.
pub fn is_discovery(ip: &Ip) -> bool {
    !ip.is_v4 && ip.protocol == ICMP6 && matches!(ip.upper()[0], 135 | 136)
}
