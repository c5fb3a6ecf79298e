//! Datagrams in fragments.

use std::net::SocketAddr;

use super::{Step, Traffic, client, enter};
use crate::chance::Chance;
use crate::packet::{self, ACK, FIN, Ip, RST, SYN, UDP};
use crate::rewrite::Socket;
use crate::world::{Mode, World};

/// Puts the fragments of a datagram between other steps: in order, out of order, some of them twice or not at all.
pub fn scatter(chance: &mut Chance, steps: &mut Vec<Step>) {
    let (datagram, start) = (chance.next(), chance.below(steps.len()));
    let mut pieces: Vec<usize> = (0..PIECES).collect();
    match chance.below(6) {
        0 | 1 => pieces.reverse(),
        2 => pieces.rotate_left(chance.below(PIECES)),
        3 => pieces.push(chance.below(PIECES)),
        4 => drop(pieces.remove(chance.below(PIECES))),
        _ => {}
    }
    let mut at = start;
    for piece in pieces {
        let odd = if chance.one_in(10) { chance.next() | 1 } else { 0 };
        steps.insert(at.min(steps.len()), Step::Fragment { datagram, piece, odd });
        // Most often close to each other, as they are on the wire.
        at += if chance.one_in(3) { 1 + chance.below(4) } else { 1 };
    }
}

/// Fragments that a datagram is in.
const PIECES: usize = 3;

impl Traffic {
    /// One of the fragments of a datagram that a client sends to a service, or a backend to a client.
    pub fn fragment(&self, datagram: u64, piece: usize, odd: u64, world: &World) -> Option<(usize, Vec<u8>)> {
        let (mut chance, mut odd_chance) = (Chance(datagram), Chance(odd));
        let chance = &mut chance;
        let service = self.service(chance, world);
        let is_v4 = service.vip.is_ipv4();
        let client = (client(chance, is_v4), self.client_port(chance));
        let vip = (service.vip, service.port.unwrap_or(443));
        let server = service.backends.first().map(|backend| (backend.address, backend.port.unwrap_or(vip.1)))?;
        let answers = service.mode == Mode::Nat && chance.one_in(4);
        let (src, dst, port) = if answers { (server, client, world.ports.len() - 1) } else { (client, vip, 0) };
        let size = chance.pick(&[40, 64, 100, 1000, 3200]);
        let packet = match service.is_tcp != chance.one_in(20) {
            true => {
                let flags = chance.pick(&[SYN, ACK, ACK, ACK | 8, FIN | ACK, RST]);
                packet::tcp(&text(src), &text(dst), flags, &vec![7; size])
            }
            false => packet::udp(&text(src), &text(dst), &vec![9; size]),
        };
        let packet = if chance.one_in(8) { packet.wrong_checksum() } else { packet };
        let mut packet =
            if chance.one_in(8) && packet.protocol == UDP && is_v4 { without_checksum(packet) } else { packet };
        packet.id = chance.pick(&[7, 8, 9]);
        packet.ttl = chance.pick(&[64, 64, 64, 64, 64, 2, 1, 0]);
        let hop_by_hop = chance.one_in(8);
        // Where the three of them begin, in units of 8 bytes.
        let all = packet.l4.len();
        let first = chance.pick(&[24, 24, 24, 16, 8]).min(all / 16 * 8);
        let second = first + (all - first) / 16 * 8;
        let (mut start, mut end) = match piece {
            0 => (0, first),
            1 => (first, second),
            _ => (second, all),
        };
        match odd_chance.below(if odd == 0 { 1 } else { 6 }) {
            1 => start = start.saturating_sub(8),
            2 => end = (end + 8).min(all),
            3 => end = end.saturating_sub(3).max(start),
            4 => packet.l4[0] ^= 1,
            5 => packet.protocol = odd_chance.pick(&[1, 58, 60, 47]),
            _ => {}
        }
        let more = end < all;
        packet.l4 = packet.l4[start..end].to_vec();
        if packet.src.is_ipv4() {
            packet.fragment = u16::from(more) << 13 | (start / 8) as u16;
        } else {
            let field = (start as u16 | u16::from(more)).to_be_bytes();
            if hop_by_hop {
                packet = packet.extension(0, &[0, 1, 4, 0, 0, 0, 0]);
            }
            let id = packet.id as u8;
            packet = packet.extension(44, &[0, field[0], field[1], 0, 0, 0, id]);
        }
        Some(enter(world, port, &packet))
    }
}

fn text((addr, port): Socket) -> String {
    SocketAddr::new(addr, port).to_string()
}

fn without_checksum(mut packet: Ip) -> Ip {
    packet.l4[6..8].fill(0);
    packet
}
