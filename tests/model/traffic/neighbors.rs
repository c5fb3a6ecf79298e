//! Neighbour discovery as hosts send it, and as they must not.

use crate::chance::Chance;
use crate::packet::{self, BROADCAST, ethernet, icmp, ip, mac_of, octets, own_mac};
use crate::read::word;
use crate::world::World;

/// A solicitation or an advertisement, most often a right one.
pub fn discovery(chance: &mut Chance, world: &World, port: usize) -> Vec<u8> {
    let hosts = ["fd00::1", "fd00::77", "fd01::11", "2001:db8:c::7", "fd00::2", "fd01::2", "2001:db8::26"];
    let targets =
        ["fd00::2", "fd01::2", "2001:db8::10", "2001:db8::26", "fd01::100", "fd00::77", "2001:db8::99", "ff02::1"];
    let mac = own_mac(port);
    let own = format!("fe80::aa:ff:fe{:02x}:{:x}", mac[3], word(&mac, 4));
    let target = if chance.one_in(6) { own } else { chance.pick(&targets).to_owned() };
    let from = if chance.one_in(8) { "::" } else { chance.pick(&hosts) };
    let from_mac =
        if chance.one_in(20) { own_mac(port) } else { mac_of(ip(if from == "::" { "fd00::77" } else { from })) };
    let is_question = chance.below(4) > 0;
    let wanted = octets(ip(&target));
    let group = format!("ff02::1:ff{:02x}:{:x}", wanted[13], word(&wanted, 14));
    let to = match chance.below(4) {
        0 => target.clone(),
        1 if !is_question => "ff02::1".to_owned(),
        _ => group,
    };
    let mut body = wanted;
    let kind = if is_question == chance.one_in(12) { 2 } else { 1 };
    match chance.below(8) {
        0 => {}
        1 => body.extend(chance.pick(&[
            [kind, 0, 1, 2, 3, 4, 5, 6],
            [14, 1, 1, 2, 3, 4, 5, 6],
            [kind, 2, 1, 2, 3, 4, 5, 6],
        ])),
        2 => body.extend([&[14, 1, 9, 9, 9, 9, 9, 9, kind, 1][..], &from_mac].concat()),
        3 => body.extend([kind, 1, 0x33, 0x33, 0, 0, 0, 1]),
        _ if from != "::" || chance.one_in(4) => body.extend([&[kind, 1][..], &from_mac].concat()),
        _ => {}
    }
    let flags = chance.pick(&[0, 0x6000_0000, 0x2000_0000, 0xe000_0000]);
    let code = u8::from(chance.one_in(20));
    let mut packet = icmp(from, &to, if is_question { 135 } else { 136 }, code, flags, &body).ttl(255);
    if chance.one_in(16) {
        packet = packet.ttl(chance.pick(&[64, 254, 1]));
    }
    if chance.one_in(16) {
        packet = packet.wrong_checksum();
    }
    let low = octets(ip(&to));
    let to_mac = match chance.below(12) {
        0 => BROADCAST,
        1 => mac,
        _ if low[0] != 0xff => mac,
        _ => [0x33, 0x33, low[12], low[13], low[14], low[15]],
    };
    let tags: Vec<u16> = world.ports[port].vlan.into_iter().collect();
    ethernet(to_mac, from_mac, &tags, packet::IPV6, &packet.bytes())
}
