//! What a lane writes against the headers that are worked out for each packet.

use proptest::prelude::*;

use super::*;
use crate::lb::clock::Tick;
use crate::lb::ids::PortId;
use crate::lb::snapshot::{Mode, Snapshot, TunnelSpec};
use crate::lb::testing::*;
use crate::wire::parse::parse;

const LAN_ID: PortId = PortId(1);

/// All modes, the second port on this VLAN.
fn snapshot(vlan: Option<u16>) -> Snapshot {
    snapshot_of(vlan, Mode::Gre, TunnelSpec::default())
}

/// The same with this instead of plain GRE.
fn snapshot_of(vlan: Option<u16>, mode: Mode, tunnel: TunnelSpec) -> Snapshot {
    let mut spec = all_modes();
    // Full-NAT has no lanes.
    spec.services.retain(|service| service.mode != Mode::FullNat);
    for service in spec.services.iter_mut().filter(|service| service.mode == Mode::Gre) {
        (service.mode, service.tunnel) = (mode, tunnel);
    }
    spec.ports[1].vlan = vlan;
    Snapshot::build(spec, None).unwrap()
}

/// The lane that this packet would prepare.
fn lane(snapshot: &Snapshot, backend: &Backend, mac: MacAddr, parsed: &Parsed) -> Lane {
    let port = snapshot.port(LAN_ID).unwrap();
    Lane::new(5, backend, (LAN_ID, port), (NeighborSlot::default(), mac), parsed).unwrap()
}

/// A packet as it leaves by way of `lane`, with something else in the place of the header before.
fn written(lane: &Lane, packet: &[u8], parsed: &Parsed, rubbish: u8) -> Vec<u8> {
    let mut frame = vec![rubbish; lane.header_len()];
    frame.extend(packet);
    let start = packet.first_chunk().map_or(0, |start| u64::from_le_bytes(*start));
    lane.write(&mut frame, start, parsed.ip_len, parsed.kind == Kind::V6, &words(packet, parsed));
    frame
}

/// The five-tuple of an IP packet.
fn words(packet: &[u8], parsed: &Parsed) -> Words {
    let frame = [vec![0; usize::from(parsed.l3)], packet[..packet.len().min(64)].to_vec()].concat();
    if parsed.kind == Kind::V6 {
        Words::of(&parsed.five_tuple_v6(&frame))
    } else {
        Words::of(&parsed.five_tuple_v4(&frame))
    }
}

/// The same, worked out piece by piece.
fn expected(snapshot: &Snapshot, backend: &Backend, mac: MacAddr, packet: &[u8], parsed: &Parsed) -> Vec<u8> {
    let port = snapshot.port(LAN_ID).unwrap();
    let inner = if parsed.kind == Kind::V6 { 0x86dd } else { 0x0800 };
    let ethertype = backend.outer.as_ref().map_or(inner, Outer::ethertype);
    let mut frame = [mac.0, port.mac.0].concat();
    if let Some(id) = port.vlan {
        frame.extend([0x81, 0, (id >> 8) as u8, id as u8]);
    }
    frame.extend(ethertype.to_be_bytes());
    if let Some(outer) = &backend.outer {
        let entropy = outer.vary().entropy(&words(packet, parsed), parsed.kind == Kind::V6);
        let inner = Inner { entropy, ..Inner::of(parsed) };
        frame.extend(&outer.header(&inner, packet)[..outer.overhead()]);
    }
    frame.extend(packet);
    frame
}

fn packet(v6: bool, is_udp: bool, tos: u8, id: u16, df: bool, len: usize, ttl: u8) -> (Vec<u8>, Parsed) {
    let (client, vip) =
        if v6 { ("[2001:db8:c::7]:40000", "[2001:db8::20]:80") } else { ("198.51.100.7:40000", "192.0.2.20:80") };
    let frame = if is_udp { Frame::udp(client, vip) } else { Frame::ack(client, vip) };
    let frame = frame.with(|f| (f.tos, f.id, f.df, f.ttl, f.payload) = (tos, id, df, ttl, vec![0x77; len]));
    let bytes = frame.build();
    (frame.packet(), parse(&bytes, bytes.len()).unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_lane_writes_what_is_worked_out_for_each_packet(
        vlan in prop_oneof![Just(None), (1u16..4095).prop_map(Some)],
        mode in prop::sample::select(vec![Mode::Gre, Mode::Ipip, Mode::Gue]),
        tunnel in (1u16.., 1u8.., prop::option::of(0u8..64))
            .prop_map(|(gue_port, ttl, dscp)| TunnelSpec { gue_port, ttl, dscp }),
        mac: [u8; 6],
        first in (any::<bool>(), any::<u8>(), any::<u16>(), any::<bool>(), 0usize..1400, any::<u8>()),
        packets in prop::collection::vec(
            (any::<bool>(), any::<u8>(), any::<u16>(), any::<bool>(), prop_oneof![0usize..1400, 60_000usize..65_400], any::<u8>()),
            1..4,
        ),
        rubbish: u8,
    ) {
        let (snapshot, mac) = (snapshot_of(vlan, mode, tunnel), MacAddr(mac));
        let mut tunnels = 0;
        for service in snapshot.services() {
            let v6 = service.vip.is_ipv6();
            let make = |(is_udp, tos, id, df, len, ttl)| packet(v6, is_udp, tos, id, df, len, ttl);
            // The packet that a lane is made from has no say in what it writes.
            let (_, prepared_from) = make(first);
            for backend in snapshot.backends().filter(|b| service.pick(0) == Some(b.id)) {
                let lane = lane(&snapshot, backend, mac, &prepared_from);
                tunnels += usize::from(backend.outer.is_some());
                prop_assert_eq!(lane.port, LAN_ID);
                prop_assert_eq!(usize::from(lane.ip_len_max), 1500 - backend.outer.as_ref().map_or(0, Outer::overhead));
                for &values in &packets {
                    let (packet, parsed) = make(values);
                    let (found, wanted) =
                        (written(&lane, &packet, &parsed, rubbish), expected(&snapshot, backend, mac, &packet, &parsed));
                    let headers = lane.header_len() + 8;
                    prop_assert_eq!(found.len(), wanted.len());
                    prop_assert!(found == wanted, "{:02x?} instead of {:02x?}", &found[..headers], &wanted[..headers]);
                }
            }
        }
        prop_assert_eq!(tunnels, 6);
    }
}

/// The sum of the outer header meets every traffic class and every length that there is.
#[test]
fn every_class_and_every_length_has_a_right_outer_header() {
    for mode in [Mode::Gre, Mode::Ipip] {
        every_class_and_every_length(&snapshot_of(None, mode, TunnelSpec::default()));
    }
}

fn every_class_and_every_length(snapshot: &Snapshot) {
    let backend = snapshot.backends().find(|b| b.id.slot() == 8).unwrap();
    let outer = backend.outer.as_ref().unwrap();
    let (packet, mut parsed) = packet(false, false, 0, 0, false, 0, 64);
    let lane = lane(snapshot, backend, backend_mac(3), &parsed);
    let mut check = |tos: u8, len: u16, id: u16, df: bool| {
        let mut packet = packet.clone();
        packet[1] = tos;
        packet[2..4].copy_from_slice(&len.to_be_bytes());
        packet[4..6].copy_from_slice(&id.to_be_bytes());
        packet[6] = u8::from(df) << 6;
        (parsed.traffic_class, parsed.ip_len, parsed.ip_id, parsed.df) = (tos, len, id, df);
        let found = written(&lane, &packet, &parsed, 0);
        assert_eq!(found[14..lane.header_len()], outer.header(&Inner::of(&parsed), &packet)[..outer.overhead()]);
        assert_eq!(internet_checksum(&[&found[14..34]]), 0, "{tos} {len} {id} {df}");
    };
    for tos in 0..=255 {
        check(tos, 40, 7, false);
    }
    for value in 0..=u16::MAX {
        check(0xb8, value.min(u16::MAX - 24), 0xffff - value, value % 2 == 0);
        check(0, 1000, value, false);
    }
}

/// The first half is read with the packet, the second one with the connection.
#[test]
fn a_lane_has_two_cache_lines() {
    assert_eq!((size_of::<Lane>(), std::mem::offset_of!(Lane, way)), (128, 64));
}

#[test]
fn a_lane_is_for_one_backend_and_one_version() {
    let snapshot = snapshot(None);
    let (_, parsed) = packet(false, false, 0, 0, true, 0, 64);
    for service in snapshot.services() {
        let backend = snapshot.backend(service.pick(0).unwrap()).unwrap();
        let lane = lane(&snapshot, backend, ROUTER, &parsed);
        let next = BackendId::new(backend.id.slot(), backend.id.generation() + 1);
        assert!(lane.is_current(5, backend.id));
        assert!(!lane.is_current(6, backend.id) && !lane.is_current(5, next));
        for phase in Phase::ALL {
            let steady = match phase {
                Phase::TcpSyn | Phase::TcpFin | Phase::IcmpEcho => Lane::UNSTEADY,
                Phase::UdpOneway if !service.mode.is_nat() => Lane::UNSTEADY,
                _ => backend.timeouts.of(phase),
            };
            assert_eq!(lane.steady(State::new(phase, Direction::Request)), steady, "{phase:?}");
            let reply = State::new(phase, Direction::Reply);
            assert_eq!(lane.steady(reply), Lane::UNSTEADY, "replies have a way of their own");
        }
    }
    let none = Lane::default();
    assert!((1..100).all(|version| !none.is_current(version, BackendId::default())), "no version is 0");
}

/// One comparison stands for the backend, the neighbour table's version and whether the next hop was said to be in use.
#[test]
fn a_lane_is_renewed_once_a_second_and_after_every_change_of_next_hops() {
    let snapshot = snapshot(None);
    let backend = snapshot.backends().next().unwrap();
    let (_, parsed) = packet(false, false, 0, 0, true, 0, 64);
    let mut neighbors = Neighbors::new(4);
    let port = snapshot.port(LAN_ID).unwrap();
    let hop = (NeighborSlot::default(), ROUTER);
    let mut lane = Lane::new(neighbors.version(), backend, (LAN_ID, port), hop, &parsed).unwrap();
    let other = BackendId::new(backend.id.slot(), backend.id.generation() + 1);
    for second in 1..4 {
        let stamp = neighbors.stamp(Tick(second));
        assert_eq!(stamp, neighbors.stamp(Tick(second)));
        assert!(!lane.is_way(stamp, backend.id), "its next hop was not said to be in use in this second");
        assert!(!lane.renew(&mut neighbors, stamp, other));
        assert!(lane.renew(&mut neighbors, stamp, backend.id));
        assert!(lane.is_way(stamp, backend.id) && !lane.is_way(stamp, other));
    }
    neighbors.outdate();
    let stamp = neighbors.stamp(Tick(3));
    assert!(!lane.is_way(stamp, backend.id), "in the same second");
    assert!(!lane.renew(&mut neighbors, stamp, backend.id));
    assert!(!Lane::default().is_way(stamp, BackendId::default()));
}
