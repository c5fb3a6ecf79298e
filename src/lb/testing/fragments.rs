//! Cuts packets into fragments as a sender does, puts them together as a receiver does, and lets those that waited go on.

use std::collections::BTreeMap;

use super::super::path::{BURST, Origin};
use super::super::verdict::Verdict;
use super::Frame;
use super::frame::internet_checksum;
use super::net::{Net, Sent, TestPacket};

/// The fragments of a packet, each with at most `step` bytes of what is fragmented: payload in IPv4, and in IPv6 all behind
/// the fixed header.
pub fn fragments(whole: &Frame, step: usize, id: u32) -> Vec<Vec<u8>> {
    let packet = whole.with_id(id as u16).packet();
    let header_len = if whole.src.0.is_ipv4() { usize::from(packet[0] & 15) * 4 } else { 40 };
    let (header, data) = packet.split_at(header_len);
    let count = data.len().div_ceil(step);
    let one = |(index, piece): (usize, &[u8])| {
        whole.frame_with(&fragment(header, id, index * step, piece, index + 1 < count))
    };
    data.chunks(step).enumerate().map(one).collect()
}

/// One fragment's packet: `header` is that of the whole one.
pub fn fragment(header: &[u8], id: u32, at: usize, piece: &[u8], more: bool) -> Vec<u8> {
    let mut packet = header.to_vec();
    let field = (at as u16) | u16::from(more);
    if header[0] >> 4 == 4 {
        packet[2..4].copy_from_slice(&((header.len() + piece.len()) as u16).to_be_bytes());
        packet[6..8].copy_from_slice(&((at / 8) as u16 | u16::from(more) << 13).to_be_bytes());
        packet[10..12].fill(0);
        let check = internet_checksum(&[&packet]);
        packet[10..12].copy_from_slice(&check.to_be_bytes());
    } else {
        packet[4..6].copy_from_slice(&((8 + piece.len()) as u16).to_be_bytes());
        packet.extend([packet[6], 0]);
        packet[6] = 44;
        packet.extend(field.to_be_bytes());
        packet.extend(id.to_be_bytes());
    }
    packet.extend(piece);
    packet
}

/// The whole packet, out of the fragments of one: its header as in the first one, but for what says that it is one.
pub fn reassembled(packets: &[Vec<u8>]) -> Vec<u8> {
    let mut pieces = BTreeMap::new();
    let mut header = Vec::new();
    for packet in packets {
        let v4 = packet[0] >> 4 == 4;
        let header_len = if v4 { usize::from(packet[0] & 15) * 4 } else { 40 };
        let (this, data) = packet.split_at(header_len);
        let (at, data) = if v4 {
            (usize::from(u16::from_be_bytes([this[6] & 0x1f, this[7]])) * 8, data)
        } else {
            (usize::from(u16::from_be_bytes([data[2], data[3] & 0xf8])), &data[8..])
        };
        if at == 0 {
            header = this.to_vec();
            if !v4 {
                header[6] = packet[40];
            }
        }
        pieces.insert(at, data.to_vec());
    }
    let mut data = Vec::new();
    for (at, piece) in pieces {
        assert_eq!(at, data.len(), "a hole or an overlap");
        data.extend(piece);
    }
    if header[0] >> 4 == 4 {
        let len = (header.len() + data.len()) as u16;
        header[2..4].copy_from_slice(&len.to_be_bytes());
        header[6..8].fill(0);
        header[10..12].fill(0);
        let check = internet_checksum(&[&header]);
        header[10..12].copy_from_slice(&check.to_be_bytes());
    } else {
        header[4..6].copy_from_slice(&(data.len() as u16).to_be_bytes());
    }
    [header, data].concat()
}

impl Frame {
    fn with_id(&self, id: u16) -> Self {
        self.clone().with(|f| {
            f.id = id;
            f.df = false;
        })
    }

    /// A fragment without anything of the upper layer that this would have.
    pub fn later(src: &str, dst: &str, id: u32, at: usize, len: usize, more: bool) -> Vec<u8> {
        let whole = Self::udp(src, dst).with(|f| f.payload = Vec::new()).with_id(id as u16);
        let packet = whole.packet();
        let header_len = if whole.src.0.is_ipv4() { 20 } else { 40 };
        whole.frame_with(&fragment(&packet[..header_len], id, at, &vec![0x5a; len], more))
    }
}

impl Net {
    /// Takes a fragment in at a worker; what came out because of it, released ones included.
    pub fn fragment(&mut self, worker: u16, port: u8, frame: &[u8]) -> Vec<Sent> {
        let mut all = vec![self.send_to(worker, port, frame)];
        all.extend(self.reunite());
        all.retain(|sent| !matches!(sent.verdict, Verdict::Await(_)));
        all
    }

    /// Lets go on what waited for first fragments that have come.
    pub fn reunite(&mut self) -> Vec<Sent> {
        let mut all = Vec::new();
        for worker in 0..self.shards.len() {
            while let Some(tag) = self.shards[worker].fragments.woken() {
                let mut packets = Vec::new();
                let counters = self.shards[worker].counters.clone();
                let put = |port, packet: TestPacket| packets.push(TestPacket { port, ..packet });
                if !self.waiting[worker].take(&counters, tag, BURST, put) {
                    self.shards[worker].fragments.is_awake();
                }
                for sent in self.burst(worker as u16, Origin::Ring, &packets) {
                    all.push(self.hand_on(sent));
                }
                // They came in once.
                counters.rx_packets.sub(packets.len() as u64);
            }
        }
        all
    }

    fn hand_on(&mut self, mut sent: Sent) -> Sent {
        for _ in 0..self.snapshot.workers {
            let Verdict::Handoff(owner) = sent.verdict else { break };
            let packet = TestPacket::new(sent.port.0, &sent.frame);
            sent = self.burst(owner.0, Origin::Ring, &[packet]).remove(0);
        }
        assert!(!matches!(sent.verdict, Verdict::Handoff(_)), "handed on and on");
        sent
    }
}
