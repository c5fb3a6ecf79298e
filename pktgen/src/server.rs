//! The other end of the traffic: answers each packet by itself, without remembering anything, so that it has room for
//! any number of connections.

use std::net::IpAddr;

use tidegate::wire::checksum::{checksum, combine, finish, finish_udp, pseudo_v4, pseudo_v6, sum};
use tidegate::wire::ethernet::MacAddr;
use tidegate::wire::parse::Fragment;
use tidegate::wire::protocol;
use tidegate::wire::tcp::{HEADER_LEN, TcpPacket, flags};

use crate::rng::hash;
use crate::seen::Seen;
use crate::spread::{Spread, Target};
use crate::template::put;

const TTL: u8 = 64;
/// Kind, length and value of the maximum segment size option (RFC 9293 section 3.2), for an ordinary Ethernet.
const MSS_OPTION: [u8; 4] = [2, 4, 0x05, 0xa0];

/// What was answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServerCounts {
    /// SYNs, answered by SYN and ACK.
    pub syns: u64,
    /// Data segments, acknowledged.
    pub data_segments: u64,
    /// FINs, answered by FIN and ACK.
    pub fins: u64,
    /// RSTs, which have no answer.
    pub resets: u64,
    /// Datagrams, echoed.
    pub datagrams: u64,
    /// Packets whose checksum is wrong, which have no answer.
    pub bad_checksums: u64,
}

/// A server of every address and port.
#[derive(Debug)]
pub struct Server {
    mac: MacAddr,
    /// Where answers go; `None` for where the question came from.
    gateway_mac: Option<MacAddr>,
    seed: u64,
    counts: ServerCounts,
    spread: Spread,
}

impl Server {
    /// A server that has the address `mac` on the link.
    #[must_use]
    pub fn new(mac: MacAddr, gateway_mac: Option<MacAddr>, seed: u64) -> Self {
        Self { mac, gateway_mac, seed, counts: ServerCounts::default(), spread: Spread::new(0) }
    }

    /// What was answered so far.
    #[must_use]
    pub const fn counts(&self) -> ServerCounts {
        self.counts
    }

    /// The addresses that SYNs and datagrams were sent to.
    #[must_use]
    pub const fn spread(&self) -> &Spread {
        &self.spread
    }

    /// Makes the answer out of the packet, in its place. Returns the length of the answer in bytes, which begins at
    /// `seen.start` and may need padding; `None` when the packet has no answer.
    pub fn answer(&mut self, frame: &mut [u8], seen: &Seen) -> Option<usize> {
        if seen.parsed.fragment != Fragment::None {
            return None;
        }
        if seen.is_checksum_right(frame) == Some(false) {
            self.counts.bad_checksums += 1;
            return None;
        }
        let l4_len = match seen.parsed.protocol {
            protocol::TCP => self.answer_tcp(frame, seen)?,
            protocol::UDP => {
                self.counts.datagrams += 1;
                self.count(seen);
                usize::from(seen.parsed.l4_len())
            }
            _ => return None,
        };
        let frame = frame.get_mut(seen.start..)?;
        let (l3, l4) = (usize::from(seen.parsed.l3), usize::from(seen.parsed.l4));
        let MacAddr(dst) = self.gateway_mac.unwrap_or(seen.macs.1);
        put(frame, 0, &dst);
        put(frame, 6, &self.mac.0);
        put(frame, l4, &seen.tuple.dport.to_be_bytes());
        put(frame, l4 + 2, &seen.tuple.sport.to_be_bytes());
        let ip_len = l4 - l3 + l4_len;
        let pseudo = match (seen.tuple.src, seen.tuple.dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                put(frame, l3 + 2, &(ip_len as u16).to_be_bytes());
                put(frame, l3 + 8, &[TTL]);
                put(frame, l3 + 10, &[0, 0]);
                put(frame, l3 + 12, &dst.octets());
                put(frame, l3 + 16, &src.octets());
                let check = checksum(frame.get(l3..l4)?);
                put(frame, l3 + 10, &check.to_be_bytes());
                pseudo_v4(dst, src, seen.parsed.protocol, l4_len as u16)
            }
            (IpAddr::V6(src), IpAddr::V6(dst)) => {
                put(frame, l3 + 4, &((ip_len - 40) as u16).to_be_bytes());
                put(frame, l3 + 7, &[TTL]);
                put(frame, l3 + 8, &dst.octets());
                put(frame, l3 + 24, &src.octets());
                pseudo_v6(dst, src, seen.parsed.protocol, l4_len as u32)
            }
            _ => return None,
        };
        let at = if seen.parsed.protocol == protocol::TCP { 16 } else { 6 };
        put(frame, l4 + at, &[0, 0]);
        let whole = combine(pseudo, sum(frame.get(l4..l4 + l4_len)?));
        let check = if seen.parsed.protocol == protocol::TCP { finish(whole) } else { finish_udp(whole) };
        put(frame, l4 + at, &check.to_be_bytes());
        Some(l4 + l4_len)
    }

    /// Writes the answer's TCP header, but for ports and checksum; returns its length.
    fn answer_tcp(&mut self, frame: &mut [u8], seen: &Seen) -> Option<usize> {
        let segment = seen.l4(frame);
        let tcp = TcpPacket::new_checked(segment).ok()?;
        let (seq, ack, flags_in) = (tcp.seq(), tcp.ack(), tcp.flags());
        let data_len = (segment.len() - tcp.header_len()) as u32;
        let has_room = tcp.header_len() >= HEADER_LEN + MSS_OPTION.len();
        let is_syn = flags_in & flags::SYN != 0;
        let (answer_seq, answer_ack, answer_flags) = if flags_in & flags::RST != 0 {
            self.counts.resets += 1;
            return None;
        } else if is_syn {
            if flags_in & flags::ACK != 0 {
                return None;
            }
            self.counts.syns += 1;
            self.count(seen);
            let initial = hash(self.seed, u64::from(seen.tuple.sport) << 32 | u64::from(seq)) as u32;
            (initial, seq.wrapping_add(1), flags::SYN | flags::ACK)
        } else if flags_in & flags::FIN != 0 {
            self.counts.fins += 1;
            (ack, seq.wrapping_add(data_len).wrapping_add(1), flags::FIN | flags::ACK)
        } else if data_len > 0 {
            self.counts.data_segments += 1;
            (ack, seq.wrapping_add(data_len), flags::ACK)
        } else {
            return None;
        };
        let header_len = if is_syn && has_room { HEADER_LEN + MSS_OPTION.len() } else { HEADER_LEN };
        let header = frame.get_mut(seen.start + usize::from(seen.parsed.l4)..)?;
        put(header, 4, &answer_seq.to_be_bytes());
        put(header, 8, &answer_ack.to_be_bytes());
        put(header, 12, &[(header_len as u8 / 4) << 4, answer_flags, 0xff, 0xff]);
        // The urgent pointer; the checksum before it is filled in later.
        put(header, 18, &[0, 0]);
        if header_len > HEADER_LEN {
            put(header, HEADER_LEN, &MSS_OPTION);
        }
        Some(header_len)
    }

    fn count(&mut self, seen: &Seen) {
        self.spread.count(Target::Address(seen.destination()), None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conversation::Segment;
    use crate::frame::{Frame, Link};
    use crate::seen::see;
    use tidegate::wire::ipv4::Ipv4Repr;
    use tidegate::wire::parse::FiveTuple;

    const LINK: Link = Link { dst: MacAddr([2, 0, 0, 0, 0, 2]), src: MacAddr([2, 0, 0, 0, 0, 1]), vlan: None };
    const OWN: MacAddr = MacAddr([2, 0, 0, 0, 0, 9]);

    fn question(is_ipv6: bool, segment: Option<Segment>, payload: &[u8]) -> Vec<u8> {
        let address = |n: u8| -> IpAddr { if is_ipv6 { [n; 16].into() } else { [n; 4].into() } };
        let protocol = if segment.is_some() { 6 } else { 17 };
        let tuple = FiveTuple { src: address(0x20), dst: address(0x21), sport: 4000, dport: 80, protocol };
        let mut frame = Vec::new();
        assert!(Frame { link: LINK, tuple, segment, ip_id: 1, payload }.build(&mut frame));
        frame
    }

    /// The answer's flags, sequence and acknowledgment number relative to the question, and its data.
    fn answer(server: &mut Server, mut frame: Vec<u8>) -> Option<(Seen, Vec<u8>)> {
        let len = frame.len();
        let seen = see(&mut frame, len).unwrap();
        let len = server.answer(&mut frame, &seen)?;
        frame.truncate(len);
        let answer = see(&mut frame, len).unwrap();
        assert_eq!(answer.is_checksum_right(&frame), Some(true));
        assert_eq!(answer.tuple, seen.tuple.reversed());
        assert_eq!(answer.macs, (LINK.src, OWN));
        Some((answer, frame))
    }

    #[test]
    fn a_connection_is_answered_step_by_step() {
        for is_ipv6 in [false, true] {
            let mut server = Server::new(OWN, None, 1);
            let mut ask = |flags, seq, ack, data: &[u8]| {
                let segment = Segment { seq, ack, flags, has_data: true };
                let (seen, frame) = answer(&mut server, question(is_ipv6, Some(segment), data))?;
                let tcp = TcpPacket::new_checked(seen.l4(&frame)).unwrap();
                Some((tcp.flags(), tcp.seq(), tcp.ack(), tcp.header_len(), seen.payload(&frame).len()))
            };
            let (syn_ack, initial, ack, header_len, _) = ask(flags::SYN, 100, 0, &[]).unwrap();
            assert_eq!((syn_ack, ack, header_len), (flags::SYN | flags::ACK, 101, 24));
            assert_eq!(ask(flags::ACK, 101, initial + 1, &[]), None);
            let data = ask(flags::ACK | flags::PSH, 101, initial + 1, b"hello");
            assert_eq!(data, Some((flags::ACK, initial + 1, 106, 20, 0)));
            let fin = ask(flags::ACK | flags::FIN, 106, initial + 1, &[]);
            assert_eq!(fin, Some((flags::ACK | flags::FIN, initial + 1, 107, 20, 0)));
            assert_eq!(ask(flags::RST, 107, 0, &[]), None);
            assert_eq!(ask(flags::SYN | flags::ACK, 1, 1, &[]), None);
            let counts = server.counts();
            assert_eq!((counts.syns, counts.data_segments, counts.fins, counts.resets), (1, 1, 1, 1));
            let shares = server.spread().shares();
            assert_eq!((shares.len(), shares[0].packets), (1, 1));
        }
    }

    #[test]
    fn datagrams_come_back() {
        for is_ipv6 in [false, true] {
            let mut server = Server::new(OWN, None, 1);
            let (seen, frame) = answer(&mut server, question(is_ipv6, None, b"echo of this payload")).unwrap();
            assert_eq!(seen.payload(&frame), b"echo of this payload");
            assert_eq!(server.counts().datagrams, 1);
        }
    }

    #[test]
    fn a_wrong_checksum_has_no_answer() {
        let mut server = Server::new(OWN, None, 1);
        let mut frame = question(false, None, b"echo of this payload");
        frame[45] ^= 1;
        assert!(answer(&mut server, frame).is_none());
        assert_eq!((server.counts().bad_checksums, server.counts().datagrams), (1, 0));
    }

    #[test]
    fn what_came_through_a_tunnel_is_answered_without_it() {
        let inner = question(false, Some(Segment { seq: 7, ack: 0, flags: flags::SYN, has_data: false }), &[]);
        let mut frame = inner[..14].to_vec();
        frame.resize(34, 0);
        let outer = Ipv4Repr {
            src: [10, 0, 0, 1].into(),
            dst: [10, 1, 0, 11].into(),
            protocol: protocol::GRE,
            ttl: 64,
            traffic_class: 0,
            id: 0,
            df: true,
            payload_len: 4 + 44,
        };
        assert_eq!(outer.emit(&mut frame[14..]), Some(20));
        frame.extend([0, 0, 8, 0]);
        frame.extend(&inner[14..58]);
        let mut server = Server::new(OWN, None, 1);
        let len = frame.len();
        let seen = see(&mut frame, len).unwrap();
        let len = server.answer(&mut frame, &seen).unwrap();
        let mut answer = frame[seen.start..seen.start + len].to_vec();
        let found = see(&mut answer, len).unwrap();
        assert_eq!((found.tuple, found.macs), (seen.tuple.reversed(), (LINK.src, OWN)));
        assert_eq!((found.is_checksum_right(&answer), found.parsed.tcp_flags), (Some(true), flags::SYN | flags::ACK));
        assert_eq!(server.spread().shares()[0].target.to_string(), "33.33.33.33:80");
    }

    #[test]
    fn answers_go_to_the_gateway_if_there_is_one() {
        let gateway = MacAddr([2, 0, 0, 0, 0, 7]);
        let mut server = Server::new(OWN, Some(gateway), 1);
        let mut frame = question(false, None, b"x");
        let seen = see(&mut frame, 60).unwrap();
        assert_eq!(server.answer(&mut frame, &seen), Some(43));
        assert_eq!(frame[..6], gateway.0);
    }
}
