//! Packets of an outer tier of balancers, taken out of their tunnels.

use super::encap::{C4, C6};
use crate::lb::connection::flags::*;
use crate::lb::ids::PortId;
use crate::lb::path::Origin;
use crate::lb::snapshot::SnapshotSpec;
use crate::lb::testing::*;
use crate::lb::verdict::{DropReason, Verdict};

/// Tunnels from 10.9.0.0/16 and fd09::/16 are taken off on the first port.
fn tiers() -> SnapshotSpec {
    let mut all = all_modes();
    all.ports[0].outer_tier = vec![(ip("10.9.0.0"), 16), (ip("fd09::"), 16)];
    all
}

const SOURCE4: &str = "10.9.3.4:0";
const SOURCE6: &str = "[fd09::34]:0";
const OWN4: &str = "10.0.0.2:0";
const OWN6: &str = "[fd00::2]:0";

/// `packet` in a tunnel of this protocol; GRE with these flags.
fn tunnelled(src: &str, dst: &str, protocol: u8, flags: u16, packet: &[u8]) -> Frame {
    let ethertype: [u8; 2] = if packet[0] >> 4 == 4 { [8, 0] } else { [0x86, 0xdd] };
    let gre = [&flags.to_be_bytes()[..], &ethertype].concat();
    let payload = if protocol == 47 { [&gre, packet].concat() } else { packet.to_vec() };
    Frame::udp(src, dst).with(|f| (f.protocol, f.payload) = (protocol, payload))
}

fn ipip(packet: &[u8]) -> u8 {
    if packet[0] >> 4 == 4 { 4 } else { 41 }
}

const VIPS: [(&str, &str); 6] = [
    ("192.0.2.10:80", C4),
    ("192.0.2.20:80", C4),
    ("192.0.2.30:80", C4),
    ("[2001:db8::10]:80", C6),
    ("[2001:db8::20]:80", C6),
    ("[2001:db8::30]:80", C6),
];

#[test]
fn what_comes_in_a_tunnel_is_balanced_as_if_it_had_come_plain() {
    for (vip, client) in VIPS {
        for (src, dst) in [(SOURCE4, OWN4), (SOURCE6, OWN6)] {
            for is_gre in [false, true] {
                let (mut plain, mut tunnel) = (Net::new(tiers()), Net::new(tiers()));
                let frames = [Frame::syn(client, vip), Frame::ack(client, vip), Frame::tcp(client, vip, FIN | ACK)];
                for frame in frames {
                    let packet = frame.packet();
                    let protocol = if is_gre { 47 } else { ipip(&packet) };
                    let wrapped = tunnelled(src, dst, protocol, 0, &packet).with(|f| f.padding = 9);
                    let expected = plain.send(0, &frame.build());
                    let sent = tunnel.send(0, &wrapped.build());
                    assert_eq!(
                        (sent.verdict, &sent.frame),
                        (expected.verdict, &expected.frame),
                        "{vip} {src} {is_gre}"
                    );
                    sent.tx();
                }
                assert_eq!(plain.active(), tunnel.active());
            }
        }
    }
    // With a checksum, and with a tag.
    let packet = Frame::syn(C4, "192.0.2.20:80").packet();
    let mut net = Net::new(tiers());
    let mut checked = tunnelled(SOURCE4, OWN4, 47, 0x8000, &packet);
    checked.payload.splice(4..4, [0; 4]);
    let check = internet_checksum(&[&checked.payload]);
    checked.payload[4..6].copy_from_slice(&check.to_be_bytes());
    assert_eq!(tunnel_of(net.send(0, &checked.build()).tx().1).4, packet);
    checked.payload[30] ^= 1;
    net.expect_drop(0, &checked.build(), DropReason::TunnelInvalid);
    let mut all = tiers();
    all.ports[0].vlan = Some(7);
    let tagged = tunnelled(SOURCE4, OWN4, 4, 0, &packet).with(|f| f.vlan = vec![7]);
    assert_eq!(tunnel_of(Net::new(all).send(0, &tagged.build()).tx().1).4, packet);
}

#[test]
fn errors_and_echo_requests_come_in_tunnels_too() {
    let mut net = Net::new(tiers());
    net.send(0, &Frame::syn(C4, "192.0.2.20:80").build()).tx();
    let quote = Frame::ack("192.0.2.20:80", C4).packet();
    let error = icmp4("203.0.113.9", "192.0.2.20", [3, 4], [0, 0, 5, 0], &quote).packet();
    let sent = net.send(0, &tunnelled(SOURCE4, OWN4, 4, 0, &error).build());
    assert_eq!(tunnel_of(sent.tx().1).4, error);
    let echo = icmp4("198.51.100.7", "192.0.2.20", [8, 0], [0, 1, 0, 1], b"ping").packet();
    let sent = net.send(0, &tunnelled(SOURCE4, OWN4, 47, 0, &echo).build());
    checksums_are_right(sent.reply());
}

#[test]
fn all_else_is_treated_as_ever() {
    let packet = Frame::syn(C4, "192.0.2.20:80").packet();
    for protocol in [4, 41, 47] {
        let mut net = Net::new(tiers());
        // From others, to others, by another port, or with the setting off.
        net.expect_drop(0, &tunnelled("10.8.0.1:0", OWN4, protocol, 0, &packet).build(), DropReason::NoService);
        net.expect_drop(0, &tunnelled(SOURCE4, "192.0.2.20:0", protocol, 0, &packet).build(), DropReason::NoService);
        net.expect_drop(0, &tunnelled(SOURCE4, "10.7.7.7:0", protocol, 0, &packet).build(), DropReason::NotOurs);
        let on_lan = tunnelled(SOURCE4, "10.1.0.254:0", protocol, 0, &packet).on_lan(backend_mac(3));
        net.expect_drop(1, &on_lan.build(), DropReason::NoService);
        let mut off = Net::new(all_modes());
        off.expect_drop(0, &tunnelled(SOURCE4, OWN4, protocol, 0, &packet).build(), DropReason::NoService);
    }
    let mut net = Net::new(tiers());
    let foreign = tunnelled(SOURCE4, OWN4, 4, 0, &packet).with(|f| f.dst_mac = backend_mac(9));
    net.expect_drop(0, &foreign.build(), DropReason::ForeignMac);
    net.expect_drop(0, &Frame::udp(SOURCE4, OWN4).build(), DropReason::NoService);
}

#[test]
fn what_is_wrong_inside_is_counted() {
    let packet = Frame::syn(C4, "192.0.2.20:80").packet();
    let of = |protocol: u8, flags: u16, packet: &[u8], reason: DropReason| {
        Net::new(tiers()).expect_drop(0, &tunnelled(SOURCE4, OWN4, protocol, flags, packet).build(), reason);
    };
    of(47, 0x2000, &packet, DropReason::TunnelInvalid);
    of(47, 0x0001, &packet, DropReason::TunnelInvalid);
    of(41, 0, &packet, DropReason::TunnelInvalid);
    of(4, 0, &packet[..19], DropReason::TunnelInvalid);
    of(4, 0, &packet[..20], DropReason::IpTotalLong);
    of(4, 0, &packet[..packet.len() - 1], DropReason::IpTotalLong);
    of(47, 0, &[0x55; 60], DropReason::TunnelInvalid);
    let mut wrong = packet.clone();
    wrong[10] ^= 1;
    of(4, 0, &wrong, DropReason::IpChecksum);
    let elsewhere = Frame::syn(C4, "198.51.100.80:80").packet();
    of(47, 0, &elsewhere, DropReason::TunnelNotVip);
    // One level, not more; and nobody but a client sends to a VIP.
    let twice = tunnelled(SOURCE4, OWN4, 4, 0, &packet).packet();
    of(4, 0, &twice, DropReason::TunnelNotVip);
    let to_vip = tunnelled(SOURCE4, "192.0.2.20:0", 4, 0, &packet).packet();
    of(4, 0, &to_vip, DropReason::NoService);
    of(4, 0, &Frame::syn("10.0.0.2:9", "192.0.2.20:80").packet(), DropReason::Looped);
    of(4, 0, &Frame::syn("127.0.0.1:9", "192.0.2.20:80").packet(), DropReason::Martian);
    let empty = Frame::udp(SOURCE4, OWN4).with(|f| (f.protocol, f.payload) = (47, vec![0, 0]));
    Net::new(tiers()).expect_drop(0, &empty.build(), DropReason::TunnelInvalid);
}

/// RFC 6040 4.2, on the way in.
#[test]
fn congestion_met_in_the_tunnel_is_passed_on() {
    for (vip, client) in [("192.0.2.20:80", C4), ("[2001:db8::20]:80", C6)] {
        let mut net = Net::new(tiers());
        for (inner, outer, expected) in [
            (2u8, 3u8, Some(3u8)),
            (1, 3, Some(3)),
            (0, 3, None),
            (2, 1, Some(1)),
            (1, 2, Some(1)),
            (3, 0, Some(3)),
            (0, 2, Some(0)),
        ] {
            let frame = Frame::syn(client, vip).with(|f| f.tos = 0xb8 | inner);
            let packet = frame.packet();
            let wrapped = tunnelled(SOURCE4, OWN4, ipip(&packet), 0, &packet).with(|f| f.tos = outer);
            let sent = net.send(0, &wrapped.build());
            match expected {
                Some(ecn) => {
                    let (_, _, class, _, carried) = tunnel_of(sent.tx().1);
                    assert_eq!(class, 0xb8 | ecn);
                    assert_eq!(carried, frame.with(|f| f.tos = 0xb8 | ecn).packet());
                }
                None => assert_eq!(sent.dropped(), DropReason::TunnelCongested),
            }
        }
    }
}

/// The inner tuple decides about the owner, even where a device places connections by itself.
#[test]
fn workers_own_what_is_inside() {
    let mut all = tiers();
    all.workers = 4;
    all.ports[0].is_placed = true;
    all.services.retain(|service| !service.mode.is_nat());
    let mut net = Net::new(all);
    let mut owners = std::collections::HashSet::new();
    for port in 0..40 {
        let client = format!("198.51.100.7:{}", 1000 + port);
        let mut owner = None;
        for arrival in 0..4u16 {
            let frame = Frame::ack(&client, "192.0.2.20:80");
            let wrapped = tunnelled(SOURCE4, OWN4, 4, 0, &frame.packet()).build();
            for bytes in [frame.build(), wrapped] {
                let sent = net.burst(arrival, Origin::Port, &[TestPacket::new(0, &bytes)]).remove(0);
                let worker = match sent.verdict {
                    Verdict::Handoff(worker) => {
                        // What is handed on is plain already.
                        assert_eq!(sent.frame, frame.build());
                        let packet = TestPacket { port: PortId(0), ..TestPacket::new(0, &sent.frame) };
                        net.burst(worker.0, Origin::Ring, &[packet]).remove(0).tx();
                        worker.0
                    }
                    _ => {
                        sent.tx();
                        arrival
                    }
                };
                assert_eq!(*owner.get_or_insert(worker), worker);
            }
        }
        owners.extend(owner);
    }
    assert_eq!(owners.len(), 4);
    assert_eq!(net.active(), 40);
}
