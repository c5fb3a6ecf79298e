//! The client's address on its way to backends of full-NAT, through the whole packet path.

use super::nat::ends;
use crate::lb::connection::flags::*;
use crate::lb::snapshot::{ClientAddress, SnapshotSpec};
use crate::lb::testing::*;

/// Length of a PROXY header over IPv4 and IPv6 (proxy-protocol.txt 2.2).
const HEADER: [u32; 2] = [28, 52];

fn spec(told: ClientAddress) -> SnapshotSpec {
    let mut all = all_modes();
    all.services.iter_mut().filter(|s| s.protocol == 6).for_each(|s| s.client_address = told);
    all
}

/// Sequence number, acknowledgment number, flags, TCP header and data of a frame without tags.
fn tcp(frame: &[u8]) -> (u32, u32, u8, &[u8], &[u8]) {
    let (l4, end) = if frame[14] >> 4 == 4 {
        (34, 14 + usize::from(u16::from_be_bytes([frame[16], frame[17]])))
    } else {
        (54, 54 + usize::from(u16::from_be_bytes([frame[18], frame[19]])))
    };
    let word = |at: usize| u32::from_be_bytes(*frame[l4 + at..].first_chunk().unwrap());
    let data = l4 + usize::from(frame[l4 + 12] >> 4) * 4;
    (word(4), word(8), frame[l4 + 13], &frame[l4..data], &frame[data..end])
}

struct Ends {
    net: Net,
    client: &'static str,
    vip: &'static str,
    peer: String,
    backend: String,
}

impl Ends {
    fn open(told: ClientAddress, v6: bool) -> Self {
        let (client, vip) =
            if v6 { ("[2001:db8:c::7]:40000", "[2001:db8::50]:80") } else { ("198.51.100.7:40000", "192.0.2.50:80") };
        let mut net = Net::new(spec(told));
        let syn = Frame { seq: 1000, ack: 0, payload: Vec::new(), ..Frame::syn(client, vip) };
        let sent = net.send(0, &syn.build());
        let (peer, backend) = ends(sent.tx().1);
        assert_eq!(tcp(sent.tx().1).0, 1000);
        Self { net, client, vip, peer: peer.to_string(), backend: backend.to_string() }
    }

    fn request(&mut self, flags: u8, seq: u32, ack: u32, data: &[u8]) -> Vec<u8> {
        let frame = Frame { seq, ack, payload: data.to_vec(), ..Frame::tcp(self.client, self.vip, flags) };
        let sent = self.net.send(0, &frame.build());
        checksums_are_right(sent.tx().1);
        sent.frame
    }

    fn reply(&mut self, flags: u8, seq: u32, ack: u32, data: &[u8]) -> Vec<u8> {
        let frame = Frame { seq, ack, payload: data.to_vec(), ..Frame::tcp(&self.backend, &self.peer, flags) };
        let sent = self.net.send(1, &frame.on_lan(backend_mac(1)).build());
        checksums_are_right(sent.tx().1);
        sent.frame
    }
}

#[test]
fn a_proxy_header_comes_first_and_all_numbers_follow() {
    for v6 in [false, true] {
        let header = HEADER[usize::from(v6)];
        let mut it = Ends::open(ClientAddress::ProxyV2, v6);
        assert_eq!(tcp(&it.reply(SYN | ACK, 9000, 1001, b"")).1, 1001);
        let first = it.request(ACK, 1001, 9001, b"");
        let (seq, ack, flags, _, data) = tcp(&first);
        assert_eq!((seq, ack, flags & ACK, data.len() as u32), (1001, 9001, ACK, header));
        assert_eq!(data[..12], *b"\r\n\r\n\0\r\nQUIT\n");
        let client = end(it.client);
        let (at, is_there) = if v6 {
            (
                48,
                data[16..32]
                    == *match client.0 {
                        std::net::IpAddr::V6(a) => a.octets(),
                        _ => panic!(),
                    }
                    .as_slice(),
            )
        } else {
            (24, data[16..20] == [198, 51, 100, 7])
        };
        assert!(is_there && data[at..at + 2] == client.1.to_be_bytes());
        // The request comes before the header is acknowledged: it goes once more.
        let again = it.request(ACK, 1001, 9001, b"GET /");
        assert_eq!((tcp(&again).0, tcp(&again).4.len() as u32), (1001, header + 5));
        // What is acknowledged of the header is nothing to the client.
        let reply = it.reply(ACK, 9001, 1001 + header, b"");
        assert_eq!((tcp(&reply).0, tcp(&reply).1), (9001, 1001));
        let reply = it.reply(ACK, 9001, 1006 + header, b"200");
        assert_eq!(tcp(&reply).1, 1006);
        let more = it.request(ACK, 1006, 9004, b"GET /2");
        assert_eq!((tcp(&more).0, tcp(&more).4), (1006 + header, &b"GET /2"[..]));
        // A RST is held against the numbers of its own side.
        it.request(RST, 1012, 0, b"");
        it.net.pass_s(12);
        it.net.pass_s(1);
        assert_eq!(it.net.active(), 0);
    }
}

#[test]
fn a_backend_that_forgets_gets_a_rst_under_its_own_number() {
    let mut all = spec(ClientAddress::ProxyV2);
    all.services.iter_mut().for_each(|s| s.reset_idle = true);
    let mut it = Ends::open(ClientAddress::ProxyV2, false);
    it.net.reload(all);
    it.reply(SYN | ACK, 9000, 1001, b"");
    it.request(ACK, 1001, 9001, b"");
    it.reply(ACK, 9001, 1029, b"");
    it.net.shards[0].outbox.clear();
    it.net.pass_s(7442);
    it.net.pass_s(1);
    let numbers: Vec<(u8, u32)> = it.net.shards[0]
        .outbox
        .iter()
        .filter(|o| o.frame.as_bytes()[12] == 8 && o.frame.as_bytes()[13] == 0)
        .map(|o| (o.port.0, tcp(o.frame.as_bytes()).0))
        .collect();
    assert!(numbers.contains(&(1, 1029)) && numbers.contains(&(0, 9001)), "{numbers:?}");
}

#[test]
fn the_option_goes_with_what_may_complete_the_handshake() {
    let mut it = Ends::open(ClientAddress::Toa, false);
    it.reply(SYN | ACK, 9000, 1001, b"");
    for data in [&b""[..], b"GET /"] {
        let first = it.request(ACK, 1001, 9001, data);
        let (seq, _, _, header, behind) = tcp(&first);
        assert_eq!((seq, header.len(), behind), (1001, 28, data));
        assert_eq!(header[20..28], [254, 8, 0x9c, 0x40, 198, 51, 100, 7]);
    }
    it.reply(ACK, 9001, 1006, b"");
    let later = it.request(ACK, 1006, 9001, b"more");
    assert_eq!((tcp(&later).0, tcp(&later).3.len()), (1006, 20));
}

#[test]
fn others_are_told_nothing() {
    let mut it = Ends::open(ClientAddress::None, false);
    it.reply(SYN | ACK, 9000, 1001, b"");
    let first = it.request(ACK, 1001, 9001, b"GET /");
    assert_eq!((tcp(&first).3.len(), tcp(&first).4), (20, &b"GET /"[..]));
}

#[test]
fn nothing_of_the_client_gets_to_the_place_of_the_header() {
    let mut it = Ends::open(ClientAddress::ProxyV2, false);
    it.reply(SYN | ACK, 9000, 1001, b"");
    let forged = Frame { seq: 995, ack: 9001, payload: vec![b'x'; 20], ..Frame::tcp(it.client, it.vip, ACK) };
    it.net.expect_drop(0, &forged.build(), crate::lb::verdict::DropReason::ProxyForged);
    // A probe of an old number has nothing there.
    let probe = it.request(ACK, 1000, 9001, b"");
    assert_eq!((tcp(&probe).0, tcp(&probe).4.len()), (1000, 0));
}
