//! IPIP and GUE, and what becomes of packets that no longer fit a tunnel (rules 6 to 11).

use std::net::IpAddr;

use proptest::prelude::*;

use crate::lb::connection::flags::*;
use crate::lb::path::{Origin, Work};
use crate::lb::snapshot::{Mode, MtuPolicy, SnapshotSpec};
use crate::lb::testing::*;
use crate::lb::verdict::{DropReason, Verdict};

pub const C4: &str = "198.51.100.7:40000";
pub const C6: &str = "[2001:db8:c::7]:40000";
/// VIP, client, and whether the backends are IPv4.
const TUNNELS: [(&str, &str, bool); 4] = [
    ("192.0.2.20:80", C4, true),
    ("192.0.2.21:80", C4, false),
    ("[2001:db8::20]:80", C6, true),
    ("[2001:db8::21]:80", C6, false),
];
const MODES: [Mode; 3] = [Mode::Gre, Mode::Ipip, Mode::Gue];

/// All modes, with `mode` and `policy` where there is GRE.
fn tunnels(mode: Mode, policy: MtuPolicy) -> SnapshotSpec {
    let mut all = all_modes();
    for service in all.services.iter_mut().filter(|service| service.mode == Mode::Gre) {
        (service.mode, service.mtu_policy) = (mode, policy);
    }
    all
}

/// What an outer header says, and what follows it.
struct Outer {
    src: IpAddr,
    dst: IpAddr,
    protocol: u8,
    class: u8,
    df: bool,
    label: u32,
    payload: Vec<u8>,
}

fn outer_of(frame: &[u8]) -> Outer {
    let ip = &frame[14..];
    let word = |at: usize| u16::from_be_bytes([ip[at], ip[at + 1]]);
    if frame[12..14] == [8, 0] {
        assert_eq!((ip[0], internet_checksum(&[&ip[..20]]), usize::from(word(2))), (0x45, 0, ip.len()));
        let address = |at: usize| IpAddr::from(*ip[at..].first_chunk::<4>().unwrap());
        Outer {
            src: address(12),
            dst: address(16),
            protocol: ip[9],
            class: ip[1],
            df: ip[6] & 0x40 != 0,
            label: 0,
            payload: ip[20..].to_vec(),
        }
    } else {
        assert_eq!((frame[12], ip[0] >> 4, usize::from(word(4))), (0x86, 6, ip.len() - 40));
        let address = |at: usize| IpAddr::from(*ip[at..].first_chunk::<16>().unwrap());
        let label = u32::from_be_bytes([0, ip[1] & 15, ip[2], ip[3]]);
        let (class, payload) = (ip[0] << 4 | ip[1] >> 4, ip[40..].to_vec());
        Outer { src: address(8), dst: address(24), protocol: ip[6], class, df: true, label, payload }
    }
}

fn overhead(mode: Mode, v4: bool) -> usize {
    let upper = [(Mode::Gre, 4), (Mode::Ipip, 0), (Mode::Gue, 8)].into_iter().find(|(m, _)| *m == mode).unwrap().1;
    upper + if v4 { 20 } else { 40 }
}

fn protocol(mode: Mode, inner_v4: bool) -> u8 {
    match mode {
        Mode::Gre => 47,
        Mode::Gue => 17,
        _ if inner_v4 => 4,
        _ => 41,
    }
}

#[test]
fn all_four_family_combinations_carry_the_packet_as_it_is() {
    for (mode, (vip, client, v4)) in MODES.into_iter().flat_map(|mode| TUNNELS.map(|tunnel| (mode, tunnel))) {
        let mut net = Net::new(tunnels(mode, MtuPolicy::Signal));
        let frame = Frame::syn(client, vip).with(|f| (f.tos, f.padding) = (0xb9, 20));
        let sent = net.expect(0, &frame.build(), &[("tx", 1), ("created", 1), ("active", 1)]);
        let outer = outer_of(sent.tx().1);
        let inner_v4 = client == C4;
        assert_eq!(outer.protocol, protocol(mode, inner_v4));
        let upper = overhead(mode, v4) - if v4 { 20 } else { 40 };
        assert_eq!(outer.payload[upper..], frame.packet(), "byte-identical, and without the padding");
        assert_eq!((outer.class, outer.df), (0xb9, true));
        assert_eq!(outer.src, ip(if v4 { "10.1.0.254" } else { "fd01::fe" }));
        assert!([3, 4].iter().any(|n| outer.dst == ip(&if v4 { format!("10.1.0.{n}") } else { format!("fd01::{n}") })));
        // The same again goes the same way and counts as the same connection.
        assert_eq!(net.expect(0, &frame.build(), &[("tx", 1)]).frame, sent.frame);
        // TTL and DF as with GRE.
        net.expect_drop(0, &Frame::ack(client, vip).with(|f| f.ttl = 0).build(), DropReason::TtlExceeded);
        let no_df = net.send(0, &Frame::ack(client, vip).with(|f| f.df = false).build());
        assert_eq!(outer_of(no_df.tx().1).df, !(v4 && inner_v4));
    }
}

#[test]
fn packets_from_a_tunnels_own_ends_are_not_tunnelled() {
    for mode in MODES {
        let mut all = tunnels(mode, MtuPolicy::Signal);
        all.services.retain(|s| &*s.name == "gre44");
        all.services[0].backends.truncate(1);
        let mut net = Net::new(all);
        let syn = |src: &str| Frame::syn(src, "192.0.2.20:80").on_lan(backend_mac(3)).build();
        for src in ["10.1.0.3:9", "10.1.0.254:9", "192.0.2.20:9"] {
            net.expect_drop(1, &syn(src), DropReason::Looped);
        }
    }
}

/// DSCP set by the service, ECN still the packet's (rule 6).
#[test]
fn dscp_and_ttl_are_the_services() {
    for (mode, (vip, client, v4)) in MODES.into_iter().flat_map(|mode| TUNNELS.map(|tunnel| (mode, tunnel))) {
        let mut all = tunnels(mode, MtuPolicy::Signal);
        for service in &mut all.services {
            (service.tunnel.dscp, service.tunnel.ttl) = (Some(46), 3);
        }
        let mut net = Net::new(all);
        // By the long way, and by the short one.
        for tos in [0x00, 0x01, 0x23, 0xff, 0x00, 0x02] {
            let out = net.send(0, &Frame::ack(client, vip).with(|f| f.tos = tos).build());
            let frame = out.tx().1;
            assert_eq!(outer_of(frame).class, 46 << 2 | tos & 3, "{mode:?} {vip}");
            assert_eq!(frame[if v4 { 14 + 8 } else { 14 + 7 }], 3);
        }
    }
}

/// Rule 10, and errors about a flow go the flow's way.
#[test]
fn source_ports_and_flow_labels_are_the_flows() {
    let mut net = Net::new(tunnels(Mode::Gue, MtuPolicy::Signal));
    for (vip, client, v4) in TUNNELS {
        let out = net.send(0, &Frame::syn(client, vip).build());
        let of = |frame: &[u8]| {
            let outer = outer_of(frame);
            let port = |at: usize| u16::from_be_bytes([outer.payload[at], outer.payload[at + 1]]);
            assert_eq!((port(2), usize::from(port(4))), (6080, outer.payload.len()));
            assert!(port(0) >= 49_152);
            (port(0), outer.label)
        };
        let way = of(out.tx().1);
        assert_eq!(way.1 == 0, v4);
        let quote = Frame::ack(vip, client).packet();
        let error = match client == C4 {
            true => icmp4("203.0.113.9", "192.0.2.20", [3, 4], [0, 0, 5, 0], &quote),
            false => icmp6("2001:db8:9::9", "2001:db8::20", [2, 0], [0, 0, 5, 0], &quote),
        };
        let error = error.with(|f| f.dst.0 = end(vip).0);
        let error = match client == C4 {
            true => error,
            false => icmp6("2001:db8:9::9", &end(vip).0.to_string(), [2, 0], [0, 0, 5, 0], &quote),
        };
        let out = net.send(0, &error.build());
        assert_eq!(of(out.tx().1), way, "{vip}");
        assert_eq!(outer_of(out.tx().1).payload[8..], error.packet());
        let other = net.send(0, &Frame::syn(&client.replace("40000", "40001"), vip).build());
        assert_ne!(of(other.tx().1), way);
    }
}

/// Puts pieces together again, as the backend's host does; the frame is as before it was cut.
fn joined(pieces: &[Vec<u8>]) -> Vec<u8> {
    let v4 = pieces[0][12] == 8;
    let at = if v4 { 34 } else { 62 };
    let data: Vec<u8> = pieces.iter().flat_map(|p| &p[at..]).copied().collect();
    let mut frame = pieces[0][..at].to_vec();
    if v4 {
        frame[16..18].copy_from_slice(&(20 + data.len() as u16).to_be_bytes());
        frame[20..22].fill(0);
        frame[24..26].fill(0);
        let check = internet_checksum(&[&frame[14..34]]);
        frame[24..26].copy_from_slice(&check.to_be_bytes());
    } else {
        let next = frame[54];
        frame[20] = next;
        frame[18..20].copy_from_slice(&(data.len() as u16).to_be_bytes());
        frame.truncate(54);
    }
    frame.extend(data);
    frame
}

/// The largest packet that fits, and one byte more (rule 8).
#[test]
fn each_tunnel_has_its_edge() {
    let edges = |mode: Mode| TUNNELS.map(|(.., v4)| 1500 - overhead(mode, v4));
    assert_eq!(edges(Mode::Gre), [1476, 1456, 1476, 1456]);
    assert_eq!(edges(Mode::Ipip), [1480, 1460, 1480, 1460]);
    assert_eq!(edges(Mode::Gue), [1472, 1452, 1472, 1452]);
    for mode in MODES {
        for ((vip, client, v4), fits) in TUNNELS.into_iter().zip(edges(mode)) {
            for policy in [MtuPolicy::Signal, MtuPolicy::Fragment, MtuPolicy::Clamp] {
                let mut net = Net::new(tunnels(mode, policy));
                net.send(0, &Frame::syn(client, vip).build()).tx();
                let headers = if client == C4 { 40 } else { 60 };
                let of_len = |len: usize, df: bool| {
                    Frame::ack(client, vip)
                        .with(|f| (f.df, f.payload) = (df, (0..len - headers).map(|n| n as u8).collect()))
                };
                let out = net.expect(0, &of_len(fits, true).build(), &[("tx", 1)]);
                assert_eq!(out.frame.len(), 1514);
                for (len, df) in [(fits + 1, true), (1500, true), (fits + 1, false), (1500, false)] {
                    let frame = of_len(len, df);
                    let may_be_cut = policy == MtuPolicy::Fragment || (client == C4 && !df);
                    if !may_be_cut {
                        let sent = net.expect(0, &frame.build(), &[("replies", 1)]);
                        let reply = sent.reply();
                        let mtu = match client == C4 {
                            true => u16::from_be_bytes([reply[40], reply[41]]),
                            false => u16::from_be_bytes([reply[60], reply[61]]),
                        };
                        assert_eq!(usize::from(mtu), fits);
                        continue;
                    }
                    let sent = net.expect(0, &frame.build(), &[("tx", 1)]);
                    let (port, pieces) = sent.pieces(1500);
                    assert_eq!((port, pieces.len()), (1, 2));
                    assert!(pieces.iter().all(|piece| piece.len() <= 1514));
                    assert_eq!(pieces[0].len(), 14 + if v4 { 1500 } else { 1496 });
                    let whole = outer_of(&joined(&pieces));
                    assert!(!whole.df || !v4);
                    assert_eq!(whole.payload[overhead(mode, v4) - if v4 { 20 } else { 40 }..], frame.packet());
                }
            }
        }
    }
}

#[test]
fn fragments_of_different_packets_have_different_identifications() {
    let mut net = Net::new(tunnels(Mode::Ipip, MtuPolicy::Fragment));
    // All packets of the client have the same one.
    let frame = Frame::ack(C4, "192.0.2.20:80").with(|f| f.payload = vec![7; 1460]).build();
    let mut seen = std::collections::HashSet::new();
    let mut steps = std::collections::HashMap::new();
    let mut last = 0u16;
    for _ in 0..65_536 {
        let sent = net.send(0, &frame);
        let id = u16::from_be_bytes([sent.frame[18], sent.frame[19]]);
        assert!(seen.insert(id), "{id} again after {}", seen.len());
        *steps.entry(id.wrapping_sub(last)).or_insert(0) += 1;
        last = id;
    }
    assert!(steps.values().all(|n| *n < 20_000), "no one can tell the next from the last");
}

#[test]
fn a_packet_too_long_for_any_ip_packet_is_signalled() {
    let mut all = tunnels(Mode::Gue, MtuPolicy::Fragment);
    all.ports[1].mtu = 9000;
    let mut net = Net::new(all);
    let longest = Frame::udp(C4, "192.0.2.20:53").with(|f| f.payload = vec![0; 65_535 - 28]);
    assert_eq!(net.send(0, &longest.build()).reply()[40..42], 8972u16.to_be_bytes());
}

/// A SYN with options in front of its MSS, at an odd offset.
fn syn_with(flags: u8, src: &str, dst: &str, mss: Option<u16>) -> Frame {
    let frame = Frame::tcp(src, dst, flags);
    let options = match mss {
        Some(mss) => [&[1, 2, 4][..], &mss.to_be_bytes(), &[4, 2, 0]].concat(),
        None => vec![1; 8],
    };
    // The harness writes headers of 20 bytes, so options are payload that the data offset covers.
    frame.with(|f| f.payload = options)
}

/// With the data offset that covers the options, and the checksum right again.
fn built(frame: &Frame) -> Vec<u8> {
    let mut bytes = frame.build();
    let l4 = if frame.src.0.is_ipv4() { 34 } else { 54 };
    bytes[l4 + 12] = 0x70;
    let check = u16::from_be_bytes([bytes[l4 + 16], bytes[l4 + 17]]);
    let check = crate::wire::checksum::update(check, 0x5000 | u16::from(frame.flags), 0x7000 | u16::from(frame.flags));
    bytes[l4 + 16..l4 + 18].copy_from_slice(&check.to_be_bytes());
    checksums_are_right(&bytes);
    bytes
}

fn mss_of(packet: &[u8]) -> u16 {
    let l4 = if packet[0] >> 4 == 4 { 20 } else { 40 };
    u16::from_be_bytes([packet[l4 + 23], packet[l4 + 24]])
}

/// Rule 9.
#[test]
fn segment_sizes_are_lowered_to_what_fits() {
    for (vip, client, v4) in TUNNELS {
        for mode in MODES {
            let mut net = Net::new(tunnels(mode, MtuPolicy::Clamp));
            let fits = (1500 - overhead(mode, v4) - if client == C4 { 40 } else { 60 }) as u16;
            let ethernet = if v4 { [8, 0] } else { [0x86, 0xdd] };
            let upper = overhead(mode, v4);
            // The first one opens the connection, the second one meets it.
            for announced in [fits + 1, 1460, 65_535, fits, 536] {
                let frame = built(&syn_with(SYN, client, vip, Some(announced)));
                let sent = net.send(0, &frame);
                let out = sent.tx().1;
                assert_eq!(out[12..14], ethernet);
                let inner = &out[14 + upper..];
                assert_eq!(mss_of(inner), announced.min(fits));
                checksums_are_right(&[&frame[..14], inner].concat());
                if announced <= fits {
                    assert_eq!(inner, &frame[14..], "never raised");
                }
            }
            for frame in [built(&syn_with(SYN, client, vip, None)), built(&syn_with(ACK, client, vip, Some(9000)))] {
                assert!(net.send(0, &frame).tx().1.ends_with(&frame[14..]), "nothing to lower");
            }
        }
    }
    let mut net = Net::new(tunnels(Mode::Gre, MtuPolicy::Signal));
    let frame = built(&syn_with(SYN, C4, "192.0.2.20:80", Some(9000)));
    assert!(net.send(0, &frame).tx().1.ends_with(&frame[14..]), "only where it is wanted");
}

#[test]
fn nat_lowers_both_directions() {
    let mut all = all_modes();
    all.ports[1].mtu = 1400;
    for service in all.services.iter_mut().filter(|service| service.mode == Mode::Nat) {
        service.mtu_policy = MtuPolicy::Clamp;
    }
    let mut net = Net::new(all);
    for (vip, client, mss) in [("192.0.2.10:80", C4, 1360), ("[2001:db8::10]:80", C6, 1340)] {
        let sent = net.send(0, &built(&syn_with(SYN, client, vip, Some(1460))));
        let (_, out) = sent.tx();
        assert_eq!(mss_of(&out[14..]), mss);
        checksums_are_right(out);
        let parsed = crate::wire::parse::parse(out, out.len()).unwrap();
        let backend = match parsed.kind {
            crate::wire::parse::Kind::V4 => IpAddr::from(parsed.five_tuple_v4(out).dst),
            _ => IpAddr::from(parsed.five_tuple_v6(out).dst),
        };
        let from = std::net::SocketAddr::new(backend, parsed.dport).to_string();
        let answer = syn_with(SYN | ACK, &from, client, Some(1460)).on_lan(backend_mac(1));
        let sent = net.send(1, &built(&answer));
        let (port, out) = sent.tx();
        assert_eq!((port, mss_of(&out[14..])), (0, mss));
        checksums_are_right(out);
    }
}

/// One packet of a flow, as the next test wants it.
fn any_frame() -> impl Strategy<Value = Frame> {
    let kind = prop_oneof![
        12 => prop_oneof![0usize..100, 1380usize..1480].prop_map(|len| (ACK, len)),
        2 => Just((SYN, 0)),
        1 => prop::sample::select(vec![FIN | ACK, RST, 0]).prop_map(|flags| (flags, 5)),
    ];
    let odd =
        (any::<u8>(), any::<u16>(), any::<bool>(), prop_oneof![9 => Just(64u8), 1 => 0u8..3], 0usize..9, any::<bool>());
    (0..6usize, 0..3u8, kind, odd).prop_map(|(which, client, (flags, len), (tos, id, df, ttl, padding, unchecked))| {
        let (vip, is_udp) = [
            ("192.0.2.20:80", false),
            ("192.0.2.21:80", false),
            ("[2001:db8::20]:80", false),
            ("[2001:db8::21]:80", false),
            ("192.0.2.20:53", true),
            ("[2001:db8::21]:53", true),
        ][which];
        let v4 = !vip.starts_with('[');
        let client = if v4 {
            format!("198.51.100.{client}:4000{client}")
        } else {
            format!("[2001:db8:c::{client}]:4000{client}")
        };
        let frame = if is_udp { Frame::udp(&client, vip) } else { Frame::tcp(&client, vip, flags) };
        let unchecked = (unchecked && is_udp && v4).then_some(0);
        frame.with(|f| {
            (f.tos, f.id, f.df, f.ttl, f.padding, f.l4_checksum) = (tos, id, df, ttl, padding, unchecked);
            f.payload = vec![0x3c; len];
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// As `short_way` has it for the other modes.
    #[test]
    fn the_short_way_leads_to_the_same_place(
        mode in prop::sample::select(MODES.to_vec()),
        policy in prop::sample::select(vec![MtuPolicy::Signal, MtuPolicy::Fragment, MtuPolicy::Clamp]),
        dscp in prop::option::of(0u8..64),
        vlans in prop::array::uniform2(prop::option::of(1u16..4095)),
        bursts in prop::collection::vec(prop::collection::vec(any_frame(), 1..20), 1..8),
    ) {
        let mut all = tunnels(mode, policy);
        for service in &mut all.services {
            service.tunnel.dscp = dscp;
        }
        for (port, vlan) in all.ports.iter_mut().zip(vlans) {
            port.vlan = vlan;
        }
        let (mut short, mut long) = (Net::new(all.clone()), Net::new(all));
        long.shards[0].short_way = false;
        for burst in bursts {
            let packets: Vec<_> = burst
                .into_iter()
                .map(|frame| TestPacket::new(0, &frame.with(|f| f.vlan = vlans[0].into_iter().collect()).build()))
                .collect();
            let (a, b) = (short.burst(0, Origin::Port, &packets), long.burst(0, Origin::Port, &packets));
            for (a, b) in a.iter().zip(&b) {
                prop_assert_eq!(a.verdict, b.verdict);
                // The identification of a packet sent in pieces is the next one.
                if !matches!(a.verdict, Verdict::Fragment(_)) {
                    prop_assert_eq!(&a.frame, &b.frame);
                }
            }
            prop_assert_eq!(short.figures(), long.figures());
            prop_assert!(long.shards[0].metas.iter().all(|m| !matches!(m.work, Work::Send4 | Work::Send6)));
        }
    }
}
