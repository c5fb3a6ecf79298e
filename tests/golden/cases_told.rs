//! Cases of what backends behind full-NAT are told of their clients: by PROXY protocol headers and by TCP options.

use std::net::SocketAddr;

use crate::case::*;
use crate::cases_full_nat::{ALL, Ends, across, one_arm};
use crate::packet::*;

/// Sequence and acknowledgment number.
type Numbers = (u32, u32);

/// A TCP segment between two ends.
fn segment(from: &str, to: &str, (seq, ack): Numbers, flags: u8, options: &[u8], data: &[u8]) -> Ip {
    let mut packet = tcp(from, to, flags, &[options, data].concat());
    packet.l4[4..8].copy_from_slice(&seq.to_be_bytes());
    packet.l4[8..12].copy_from_slice(&ack.to_be_bytes());
    packet.l4[12] = (5 + options.len() as u8 / 4) << 4;
    fix_l4(packet.src, packet.dst, TCP, &mut packet.l4);
    packet
}

/// What differs between a segment that comes in and the one that leaves.
#[derive(Clone, Copy)]
struct Segment<'a> {
    numbers: Numbers,
    flags: u8,
    options: &'a [u8],
    data: &'a [u8],
}

fn plain(numbers: Numbers, flags: u8, data: &[u8]) -> Segment<'_> {
    Segment { numbers, flags, options: &[], data }
}

fn between(from: &str, to: &str, Segment { numbers, flags, options, data }: Segment) -> Ip {
    segment(from, to, numbers, flags, options, data)
}

/// The client sends `was`, and the backend gets `is`.
fn there(case: &mut Case, ends: &Ends, was: Segment, is: Segment) {
    let packet = between(ends.client, ends.vip, was);
    case.send(&packet, across(between(ends.local, ends.server, is), &packet));
}

/// The backend sends `was`, and the client gets `is`.
fn back(case: &mut Case, ends: &Ends, was: Segment, is: Segment) {
    let packet = between(ends.server, ends.local, was);
    case.send(&packet, across(between(ends.vip, ends.client, is), &packet));
}

/// The option of the largest segment, and that selective acknowledgments may come.
fn mss(bytes: u16) -> [u8; 8] {
    let [high, low] = bytes.to_be_bytes();
    [2, 4, high, low, 1, 1, 4, 2]
}

/// A PROXY protocol header, version 2, as haproxy's proxy-protocol.txt has it in section 2.2.
fn proxy_header(ends: &Ends) -> Vec<u8> {
    let (client, vip): (SocketAddr, SocketAddr) = (ends.client.parse().unwrap(), ends.vip.parse().unwrap());
    let mut header = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    header.extend(if client.is_ipv4() { [0x21, 0x11, 0, 12] } else { [0x21, 0x21, 0, 36] });
    header.extend([octets(client.ip()), octets(vip.ip())].concat());
    header.extend(client.port().to_be_bytes());
    header.extend(vip.port().to_be_bytes());
    header
}

/// An acknowledgment of 1010 to 1019 beside the one in the header, seen `by` bytes later.
fn sack(by: u32) -> Vec<u8> {
    let edge = |number: u32| (number + by).to_be_bytes();
    [&[1, 1, 5, 10][..], &edge(1010), &edge(1020)].concat()
}

/// The header before the client's first byte, as often as that comes until it is acknowledged; later numbers are moved.
pub fn client_address_proxy() -> Case {
    let mut case = one_arm("client-address-proxy", &["tcp"], "client_address = \"proxy-v2\"\n");
    for ends in &ALL {
        proxied(&mut case, ends, &proxy_header(ends));
    }
    case.connections(4, 0, 0);
    case
}

fn proxied(case: &mut Case, ends: &Ends, header: &[u8]) {
    let n = header.len() as u32;
    let with = |data: &[u8]| [header, data].concat();
    // Data that comes with a SYN would be in the header's place, so it stays behind, and so does the option that brings it.
    let syn = |options, data| Segment { numbers: (1000, 0), flags: SYN, options, data };
    there(case, ends, syn(&[2, 4, 5, 0xb4, 34, 2, 4, 2], b"early"), syn(&[2, 4, 5, 0xb4, 1, 1, 4, 2], b""));
    let syn_ack = |options| Segment { numbers: (5000, 1001), flags: SYN | ACK, options, data: b"" };
    back(case, ends, syn_ack(&mss(1460)), syn_ack(&mss(1460 - n as u16)));
    there(case, ends, plain((1001, 5001), ACK, b""), plain((1001, 5001), ACK | 8, header));
    // The header has no room in the largest segment.
    let (v4_client, v4_server) = (ends.client.starts_with('1'), ends.server.starts_with('1'));
    let (largest, fits) = match (v4_client, v4_server) {
        (true, true) => (1460, 1500),
        (false, false) => (1440, 1500),
        (true, false) => (1440, 1480),
        (false, true) => (1440, 1520),
    };
    let large = between(ends.client, ends.vip, plain((1001, 5001), ACK, &vec![b'x'; largest]));
    case.send(&large, Expect::TooBig(fits - n));
    there(case, ends, plain((1001, 5001), ACK | 8, b"GET"), plain((1001, 5001), ACK | 8, &with(b"GET")));
    // A probe repeats an old number; bytes from before the first one must not get where the header belongs.
    there(case, ends, plain((1000, 5001), ACK, b""), plain((1000, 5001), ACK, b""));
    let forged = between(ends.client, ends.vip, plain((999, 5001), ACK, b"xyz"));
    case.send(&forged, Expect::Drop("proxy_forged"));
    there(case, ends, plain((1004, 5001), ACK | 8, b" /"), plain((1004 + n, 5001), ACK | 8, b" /"));
    // A part of the header, all of it, and the client's bytes.
    back(case, ends, plain((5001, 1011), ACK, b""), plain((5001, 1001), ACK, b""));
    back(case, ends, plain((5001, 1001 + n), ACK, b""), plain((5001, 1001), ACK, b""));
    let selective = |by, options| Segment { numbers: (5001, 1004 + by), flags: ACK | 8, options, data: b"200 OK" };
    back(case, ends, selective(n, &sack(n)), selective(0, &sack(0)));
    // From here on all is in order.
    there(case, ends, plain((1001, 5007), ACK, b"GET"), plain((1001 + n, 5007), ACK, b"GET"));
    there(case, ends, plain((1006, 5007), ACK | FIN, b""), plain((1006 + n, 5007), ACK | FIN, b""));
    back(case, ends, plain((5007, 1007 + n), ACK | FIN, b""), plain((5007, 1007), ACK | FIN, b""));
    there(case, ends, plain((1007, 5008), ACK, b""), plain((1007 + n, 5008), ACK, b""));
}

/// The option that TOA modules read: its number, its length, port and address.
fn toa_option(ends: &Ends) -> Vec<u8> {
    let client: SocketAddr = ends.client.parse().unwrap();
    let address = octets(client.ip());
    [&[254, 4 + address.len() as u8][..], &client.port().to_be_bytes(), &address].concat()
}

/// The option in each segment that may complete the handshake, where there is room.
pub fn client_address_toa() -> Case {
    const TIMES: &[u8] = &[1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2];
    let mut case = one_arm("client-address-toa", &["tcp"], "client_address = \"toa\"\n");
    for ends in &ALL {
        let option = toa_option(ends);
        let syn = Segment { numbers: (1000, 0), flags: SYN, options: &mss(1460), data: b"" };
        there(&mut case, ends, syn, syn);
        let syn_ack = |options| Segment { numbers: (5000, 1001), flags: SYN | ACK, options, data: b"" };
        back(&mut case, ends, syn_ack(&mss(1460)), syn_ack(&mss(1460 - option.len() as u16)));
        let ack = |options, data| Segment { numbers: (1001, 5001), flags: ACK, options, data };
        there(&mut case, ends, ack(&[], b""), ack(&option, b""));
        let both = [&option[..], TIMES].concat();
        there(&mut case, ends, ack(TIMES, b"GET"), ack(&both, b"GET"));
        // No room in the header, nor in the largest packet.
        there(&mut case, ends, ack(&[1; 36], b"GET"), ack(&[1; 36], b"GET"));
        let largest = vec![b'x'; if ends.client.starts_with('1') { 1460 } else { 1440 }];
        if ends.client.starts_with('1') == ends.server.starts_with('1') {
            there(&mut case, ends, ack(&[], &largest), ack(&[], &largest));
        }
        back(&mut case, ends, plain((5001, 1001), ACK, b""), plain((5001, 1001), ACK, b""));
        there(&mut case, ends, ack(&[], b"GET"), ack(&option, b"GET"));
        // The backend acknowledges data, so it has seen the handshake's end.
        back(&mut case, ends, plain((5001, 1004), ACK, b"200"), plain((5001, 1004), ACK, b"200"));
        there(&mut case, ends, plain((1004, 5004), ACK, b" /"), plain((1004, 5004), ACK, b" /"));
        there(&mut case, ends, plain((1006, 5004), ACK | FIN, b""), plain((1006, 5004), ACK | FIN, b""));
    }
    case.connections(4, 0, 0);
    case
}
