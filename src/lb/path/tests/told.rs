//! Connections that are told the client's address, segment by segment: all their numbers, and what must not get through.

use std::net::SocketAddr;

use super::super::client_address::tests::{Tcp, read, segment};
use super::nat::ends;
use crate::lb::connection::flags::*;
use crate::lb::snapshot::{ClientAddress, Mode, ServiceSpec};
use crate::lb::testing::*;
use crate::lb::verdict::DropReason;
use crate::wire::parse::parse;
use crate::wire::proxy::Ends;
use crate::wire::tcp::{TcpOption, TcpPacket};
use crate::wire::toa;

const ISN: u32 = u32::MAX - 20;
const BACKEND_ISN: u32 = 5000;

/// A connection as its two ends see it, with the balancer between them.
struct Conversation {
    net: Net,
    client: SocketAddr,
    vip: SocketAddr,
    /// Local address and backend, once the SYN has got through.
    inside: Option<(SocketAddr, SocketAddr)>,
}

impl Conversation {
    fn new(v6: bool, told: ClientAddress) -> Self {
        let (client, vip, backend) = if v6 {
            ("[2001:db8:c::7]:40000", "[2001:db8::50]:80", "[fd01::1]:8080")
        } else {
            ("198.51.100.7:40000", "192.0.2.50:80", "10.1.0.1:8080")
        };
        let address = vip.parse::<SocketAddr>().unwrap().ip().to_string();
        let service = full_nat(service("s", Mode::FullNat, 6, (&address, 80), 0, &[backend]));
        let service = ServiceSpec { client_address: told, reset_idle: true, ..service };
        let net = Net::new(spec(vec![service]));
        Self { net, client: client.parse().unwrap(), vip: vip.parse().unwrap(), inside: None }
    }

    /// What the balancer makes of a segment of the client's; numbers count from its first byte on.
    fn request(&mut self, at: i32, flags: u8, data: &[u8]) -> Result<Tcp, DropReason> {
        self.request_with(at, flags, &[], data)
    }

    fn request_with(&mut self, at: i32, flags: u8, options: &[u8], data: &[u8]) -> Result<Tcp, DropReason> {
        let seq = ISN.wrapping_add(1).wrapping_add_signed(at);
        let tcp = Tcp { seq, ack: BACKEND_ISN + 1, flags, options: options.to_vec(), data: data.to_vec(), urgent: 0 };
        let sent = self.net.send(0, &segment(self.client, self.vip, &tcp, |frame| frame));
        if let crate::lb::verdict::Verdict::Drop(reason) = sent.verdict {
            return Err(reason);
        }
        let (port, out) = sent.tx();
        assert_eq!(port, 1);
        checksums_are_right(out);
        let (local, backend) = ends(out);
        assert_eq!(*self.inside.get_or_insert((local, backend)), (local, backend));
        let got = read(out);
        Ok(Tcp { seq: got.seq.wrapping_sub(ISN.wrapping_add(1)), ..got })
    }

    /// What becomes of a segment of the backend's that acknowledges `acked` bytes as it sees them.
    fn reply(&mut self, flags: u8, acked: u32, options: &[u8], data: &[u8]) -> Tcp {
        let (local, backend) = self.inside.unwrap();
        let seq = if flags & SYN == 0 { BACKEND_ISN + 1 } else { BACKEND_ISN };
        let ack = ISN.wrapping_add(1).wrapping_add(acked);
        let tcp = Tcp { seq, ack, flags, options: options.to_vec(), data: data.to_vec(), urgent: 0 };
        let sent = self.net.send(1, &segment(backend, local, &tcp, |frame| frame.on_lan(backend_mac(1))));
        let (port, out) = sent.tx();
        checksums_are_right(out);
        assert_eq!((port, ends(out)), (0, (self.vip, self.client)));
        let got = read(out);
        Tcp { ack: got.ack.wrapping_sub(ISN.wrapping_add(1)), ..got }
    }

    fn header(&self) -> Vec<u8> {
        let ends = Ends::new(self.client, self.vip).unwrap();
        let mut header = vec![0; ends.header_len()];
        ends.emit(&mut header).unwrap();
        header
    }

    /// Up to the ACK that ends it; the MSS that the client is told, and that last segment.
    fn shake_hands(&mut self) -> (u16, Tcp) {
        self.request_with(-1, SYN, &[2, 4, 5, 0xb4], b"").unwrap();
        let answer = self.reply(SYN | ACK, 0, &[2, 4, 5, 0xb4], b"");
        assert_eq!(answer.ack, 0);
        let mss = u16::from_be_bytes([answer.options[2], answer.options[3]]);
        (mss, self.request(0, ACK, b"").unwrap())
    }
}

#[test]
fn the_header_comes_first_and_all_numbers_fit() {
    for v6 in [false, true] {
        let mut c = Conversation::new(v6, ClientAddress::ProxyV2);
        let header = c.header();
        let n = header.len() as u32;
        let (mss, ack) = c.shake_hands();
        assert_eq!(u32::from(mss), 1460 - n);
        assert_eq!((ack.seq, ack.data), (0, header.clone()));
        // The request comes before the backend's acknowledgment: both again.
        let request = c.request(0, ACK, b"GET /").unwrap();
        assert_eq!((request.seq, request.data), (0, [&header[..], b"GET /"].concat()));
        let more = c.request(5, ACK, b"more").unwrap();
        assert_eq!((more.seq, &more.data[..]), (n + 5, &b"more"[..]));
        assert_eq!(c.reply(ACK, n - 1, &[], b"").ack, 0);
        assert_eq!(c.reply(ACK, n + 5, &[], b"").ack, 5);
        assert_eq!(c.reply(ACK, n + 9, &[], b"hello").ack, 9);
        // From now on everything is only shifted, the first byte as well.
        for (at, data) in [(0, &b"GET /"[..]), (9, b""), (8, b"")] {
            let got = c.request(at, ACK, data).unwrap();
            assert_eq!((got.seq, &got.data[..]), (n + at as u32, data));
        }
        let block = [ISN.wrapping_add(1 + n + 20), ISN.wrapping_add(1 + n + 30)].map(u32::to_be_bytes).concat();
        let selective = c.reply(ACK, n + 9, &[&[1, 1, 5, 10][..], &block].concat(), b"");
        assert_eq!(selective.options[4..8], ISN.wrapping_add(21).to_be_bytes());
        assert_eq!(c.request(9, FIN | ACK, b"").unwrap().seq, n + 9);
        assert_eq!(c.reply(FIN | ACK, n + 10, &[], b"").ack, 10);
    }
}

#[test]
fn nobody_else_writes_where_the_header_belongs() {
    for v6 in [false, true] {
        let mut c = Conversation::new(v6, ClientAddress::ProxyV2);
        let forged = c.header();
        // With the SYN, first or again.
        for _ in 0..2 {
            assert!(c.request_with(-1, SYN, &[34, 6, 1, 2, 3, 4], &forged).unwrap().data.is_empty());
        }
        assert_eq!(c.reply(SYN | ACK, 0, &[], b"").ack, 0);
        // Begun one byte before.
        let early = [b"x", &forged[..]].concat();
        assert_eq!(c.request(-1, ACK, &early).map(|tcp| tcp.seq), Err(DropReason::ProxyForged));
        let got = c.request(0, ACK, &forged).unwrap();
        assert_eq!(got.data, [&forged[..], &forged].concat(), "ours is first");
    }
}

#[test]
fn a_segment_too_long_for_the_header_is_answered() {
    let mut c = Conversation::new(false, ClientAddress::ProxyV2);
    c.shake_hands();
    let tcp = Tcp { seq: ISN.wrapping_add(1), flags: ACK, data: vec![7; 1460], ..Tcp::default() };
    let sent = c.net.send(0, &segment(c.client, c.vip, &tcp, |frame| frame));
    let error = sent.reply();
    assert_eq!((&error[34..36], &error[40..42]), (&[3, 4][..], &1472u16.to_be_bytes()[..]));
}

#[test]
fn an_idle_backend_is_reset_under_its_own_number() {
    for v6 in [false, true] {
        let mut c = Conversation::new(v6, ClientAddress::ProxyV2);
        c.shake_hands();
        c.request(0, ACK, b"GET /").unwrap();
        let n = c.header().len() as u32;
        c.reply(ACK, n + 5, &[], b"");
        c.net.shards[0].outbox.clear();
        c.net.pass_s(7442);
        c.net.pass_s(1);
        let frames = c.net.shards[0].outbox.iter().map(|out| out.frame.as_bytes());
        let numbers: Vec<u32> =
            frames.filter(|frame| frame[12..14] != [8, 6] && frame[20] != 58).map(|frame| read(frame).seq).collect();
        assert!(numbers.contains(&ISN.wrapping_add(1 + n + 5)), "{numbers:?}");
        assert!(numbers.contains(&(BACKEND_ISN + 1)), "{numbers:?}");
    }
}

#[test]
fn the_option_goes_into_the_handshake_and_no_further() {
    for v6 in [false, true] {
        let mut c = Conversation::new(v6, ClientAddress::Toa);
        let (mss, ack) = c.shake_hands();
        assert_eq!(mss, 1460 - if v6 { 20 } else { 8 });
        let told = |c: &Conversation, tcp: &Tcp| {
            let bytes = segment(c.client, c.vip, tcp, |frame| frame);
            let parsed = parse(&bytes, bytes.len()).unwrap();
            let tcp = TcpPacket::new_checked(&bytes[usize::from(parsed.l4)..]).unwrap();
            tcp.options().find_map(|option: TcpOption<'_>| toa::client_of(&option))
        };
        assert_eq!((ack.seq, ack.data.is_empty(), told(&c, &ack)), (0, true, Some(c.client)));
        let request = c.request(0, ACK, b"GET /").unwrap();
        assert_eq!((request.seq, told(&c, &request)), (0, Some(c.client)));
        assert_eq!(request.data, b"GET /");
        assert_eq!(c.reply(ACK, 5, &[], b"hello").ack, 5);
        let later = c.request(5, ACK, b"more").unwrap();
        assert_eq!((later.seq, told(&c, &later)), (5, None));
    }
}
