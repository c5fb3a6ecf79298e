//! Checksums that were left to a NIC: counted where connections open or change, and never repaired.

use crate::lb::connection::flags::*;
use crate::lb::testing::*;

/// The frame with the sum of its pseudo-header in the place of its checksum, as the kernel leaves it.
fn partial(frame: Frame) -> Vec<u8> {
    let (src, dst) = (frame.src.0, frame.dst.0);
    let octets = |ip: std::net::IpAddr| match ip {
        std::net::IpAddr::V4(a) => a.octets().to_vec(),
        std::net::IpAddr::V6(a) => a.octets().to_vec(),
    };
    let whole = frame.clone().with(|f| f.l4_checksum = Some(0));
    let packet = whole.packet();
    let l3 = if src.is_ipv4() { 20 } else { 40 };
    let len = (packet.len() - l3) as u32;
    let protocol = u32::from(frame.protocol);
    let pseudo = [octets(src), octets(dst), len.to_be_bytes().to_vec(), protocol.to_be_bytes().to_vec()].concat();
    frame.with(|f| f.l4_checksum = Some(!internet_checksum(&[&pseudo]))).build()
}

fn counted(net: &Net) -> u64 {
    net.shards[0].counters.partial_checksums.get()
}

const NAT: [(&str, &str, &str); 2] =
    [("198.51.100.7:40000", "192.0.2.10", "10.1.0"), ("[2001:db8:c::7]:40000", "[2001:db8::10]", "[fd01::")];

#[test]
fn packets_that_open_connections_are_counted_in_every_mode() {
    for (client, vips) in [
        ("198.51.100.7:40000", ["192.0.2.10:80", "192.0.2.10:53", "192.0.2.20:80", "192.0.2.30:80"]),
        ("[2001:db8:c::7]:40000", ["[2001:db8::10]:80", "[2001:db8::10]:53", "[2001:db8::21]:80", "[2001:db8::30]:80"]),
    ] {
        for vip in vips {
            let frame = if vip.ends_with(":53") { Frame::udp(client, vip) } else { Frame::syn(client, vip) };
            let frame = frame.with(|f| f.payload = b"some data".to_vec());
            let mut net = Net::new(all_modes());
            let sent = net.send(0, &partial(frame.clone()));
            sent.tx();
            assert_eq!((counted(&net), net.shards[0].counters.partial_port.get()), (1, 0), "{vip}");
            let mut net = Net::new(all_modes());
            net.send(0, &frame.clone().build()).tx();
            net.send(0, &frame.with(|f| f.l4_checksum = Some(0x1234)).build()).tx();
            assert_eq!(counted(&net), 0, "right, and wrong otherwise: {vip}");
        }
    }
}

#[test]
fn a_backend_that_does_so_is_found_by_its_first_answer() {
    for (client, vip, net_of) in NAT {
        let mut net = Net::new(all_modes());
        let vip = format!("{vip}:80");
        let sent = net.send(0, &Frame::syn(client, &vip).build());
        let n = if sent.tx().1[..6] == backend_mac(1).0 { 1 } else { 2 };
        let backend = if net_of.starts_with('[') { format!("{net_of}{n}]:8080") } else { format!("{net_of}.{n}:8080") };
        let answer = partial(Frame::tcp(&backend, client, SYN | ACK).on_lan(backend_mac(n)));
        let sent = net.send(1, &answer);
        assert_eq!(sent.tx().0, 0);
        assert_eq!((counted(&net), net.shards[0].counters.partial_port.get()), (1, 1), "{backend}");
        assert!(!l4_checksum_is_right(&sent.frame), "as wrong as before");
    }
}

/// The checksum of the TCP packet in an untagged frame without options.
fn checksum_of(frame: &[u8]) -> u16 {
    let at = if frame[12..14] == [8, 0] { 14 + 20 + 16 } else { 14 + 40 + 16 };
    u16::from_be_bytes([frame[at], frame[at + 1]])
}

#[test]
fn a_right_checksum_that_looks_partial_is_not_counted() {
    for (client, vip) in [("198.51.100.7", "192.0.2.20:80"), ("[2001:db8:c::7]", "[2001:db8::10]:80")] {
        for port in (1024..60_000).step_by(997) {
            let with = |word: u16| {
                let payload = [&b"some data!"[..], &word.to_be_bytes()].concat();
                Frame::syn(&format!("{client}:{port}"), vip).with(|f| f.payload = payload)
            };
            // The word that makes the right checksum that of the pseudo-header: in one's complement, what both lack.
            let pseudo = checksum_of(&partial(with(0)));
            let lacks = u32::from(!pseudo) + u32::from(checksum_of(&with(0).build()));
            let frame = with((lacks & 0xffff) as u16 + (lacks >> 16) as u16).build();
            assert_eq!(checksum_of(&frame), pseudo);
            assert!(l4_checksum_is_right(&frame));
            let mut net = Net::new(all_modes());
            net.send(0, &frame).tx();
            assert_eq!(counted(&net), 0);
        }
    }
}
