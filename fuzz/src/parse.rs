//! Any bytes as headers: what is read is within the bytes, and two ways to read the same thing agree.

use std::net::Ipv6Addr;

use tidegate::wire::arp::Arp;
use tidegate::wire::gre::Gre;
use tidegate::wire::icmpv6::{Icmpv6Packet, NeighborAdvert, NeighborSolicit};
use tidegate::wire::ipv4::Ipv4Packet;
use tidegate::wire::ipv6::Ipv6Packet;
use tidegate::wire::parse::{Fragment, Kind, Parsed, Quote, TAGS_MAX, parse, parse_quote};
use tidegate::wire::pcap::Reader;
use tidegate::wire::protocol::{TCP, UDP};
use tidegate::wire::tcp::{TcpOption, TcpPacket};
use tidegate::wire::udp::UdpPacket;

use super::input::Input;

pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    // How much of the frame is in later segments, and where it is cut to look whether less says something else.
    let (beyond, cut) = (usize::from(input.u8()), usize::from(input.u16()));
    let bytes = input.bytes(usize::MAX);
    frame(bytes, beyond, cut);
    quote(bytes, cut);
    neighbors(bytes);
    tcp(bytes);
    if let Ok(gre) = Gre::parse(bytes) {
        assert!(gre.header_len <= bytes.len());
    }
    captures(bytes);
}

fn frame(frame: &[u8], beyond: usize, cut: usize) {
    let frame_len = frame.len() + beyond;
    let Ok(parsed) = parse(frame, frame_len) else { return };
    let (l3, l4) = (usize::from(parsed.l3), usize::from(parsed.l4));
    assert_eq!(l3, 14 + 4 * usize::from(parsed.tags));
    assert!(parsed.tags <= TAGS_MAX && parsed.vids <= parsed.tags);
    assert_eq!(parsed.vlan_id().is_some(), parsed.vids > 0);
    assert!(l3 <= l4 && l4 <= frame.len() && parsed.ip_end() <= frame_len);
    assert_eq!(l4 + usize::from(parsed.l4_len()), parsed.ip_end());
    match parsed.kind {
        Kind::V4 => v4(&parsed, &frame[l3..]),
        Kind::V6 => v6(&parsed, &frame[l3..]),
        Kind::Arp => assert_eq!((parsed.sport, parsed.dport, parsed.protocol), (0, 0, 0)),
    }
    if parsed.fragment == Fragment::None {
        upper_layer(&parsed, &frame[l4..]);
    }
    if parsed.fragment == Fragment::Later {
        assert_eq!((parsed.sport, parsed.dport, parsed.tcp_flags), (0, 0, 0));
    }
    // Padding says nothing, and neither does a shorter first segment.
    let mut padded = frame.to_vec();
    padded.extend([0xaa; 9]);
    assert_eq!(parse(&padded, frame_len + 9), Ok(parsed));
    if let Ok(less) = parse(&frame[..cut.min(frame.len())], frame_len) {
        assert_eq!(less, parsed);
    }
}

fn v4(parsed: &Parsed, packet: &[u8]) {
    let view = Ipv4Packet::new_checked(packet).unwrap();
    assert!(view.is_checksum_valid());
    let tuple = parsed.five_tuple_v4(&[&vec![0; usize::from(parsed.l3)][..], packet].concat());
    assert_eq!((view.src(), view.dst(), view.protocol()), (tuple.src, tuple.dst, parsed.protocol));
    assert_eq!((view.ttl(), view.df(), view.total_len()), (parsed.ttl, parsed.df, parsed.ip_len));
    assert_eq!(view.header_len(), usize::from(parsed.l4 - parsed.l3));
    assert_eq!((view.id(), view.traffic_class()), (parsed.ip_id, parsed.traffic_class));
    assert_eq!(view.more_fragments() || view.fragment_offset() > 0, parsed.fragment != Fragment::None);
}

fn v6(parsed: &Parsed, packet: &[u8]) {
    let view = Ipv6Packet::new_checked(packet).unwrap();
    let tuple = parsed.five_tuple_v6(&[&vec![0; usize::from(parsed.l3)][..], packet].concat());
    assert_eq!((view.src(), view.dst()), (tuple.src, tuple.dst));
    assert_eq!((view.hop_limit(), view.traffic_class()), (parsed.ttl, parsed.traffic_class));
    assert_eq!(usize::from(view.payload_len()) + 40, usize::from(parsed.ip_len));
    assert!(parsed.df && parsed.l4 - parsed.l3 >= 40);
}

fn upper_layer(parsed: &Parsed, l4: &[u8]) {
    match parsed.protocol {
        TCP => {
            let fixed = l4.first_chunk::<20>().unwrap();
            assert_eq!(fixed[..4], [parsed.sport.to_be_bytes(), parsed.dport.to_be_bytes()].concat());
            assert_eq!(fixed[13], parsed.tcp_flags);
            assert!(usize::from(fixed[12] >> 4) * 4 <= usize::from(parsed.l4_len()));
        }
        UDP => {
            let view = UdpPacket::new_checked(l4).unwrap();
            assert_eq!((view.sport(), view.dport()), (parsed.sport, parsed.dport));
            assert!((8..=parsed.l4_len()).contains(&view.total_len()));
            assert!(parsed.kind == Kind::V4 || view.checksum() != 0);
        }
        _ => assert_eq!((parsed.sport, parsed.dport, parsed.tcp_flags), (0, 0, 0)),
    }
}

fn quote(quote: &[u8], cut: usize) {
    let Ok(parsed) = parse_quote(quote) else { return };
    let l4 = usize::from(parsed.l4);
    assert!(l4 + usize::from(parsed.l4_available) <= quote.len());
    let tuple = |q: &Quote| (q.kind, q.protocol, q.fragment, q.sport, q.dport, q.l4, q.ip_len, q.ttl);
    if parsed.has_ports() {
        assert_eq!(quote[l4..l4 + 4], [parsed.sport.to_be_bytes(), parsed.dport.to_be_bytes()].concat());
    } else if parsed.is_echo {
        let id = u16::from_be_bytes([quote[l4 + 4], quote[l4 + 5]]);
        assert!([(id, 0), (0, id)].contains(&(parsed.sport, parsed.dport)), "{id} {parsed:?}");
    } else {
        assert_eq!((parsed.sport, parsed.dport), (0, 0));
    }
    if let Ok(less) = parse_quote(&quote[..cut.min(quote.len())]) {
        assert_eq!(tuple(&less), tuple(&parsed));
    }
}

fn neighbors(bytes: &[u8]) {
    if let Ok(arp) = Arp::parse(bytes) {
        let mut again = [0; 28];
        assert_eq!(arp.emit(&mut again), Some(28));
        assert_eq!(again, bytes[..28]);
    }
    let Some((addresses, message)) = bytes.split_first_chunk::<32>() else { return };
    let (src, dst) = addresses.split_at(16);
    let address = |bytes: &[u8]| Ipv6Addr::from_bits(bytes.iter().fold(0, |bits, &b| bits << 8 | u128::from(b)));
    let (src, dst) = (address(src), address(dst));
    let mut message = message.to_vec();
    // Without this no random message would get past its checksum.
    if let Ok(mut view) = Icmpv6Packet::new_checked(&mut message[..]) {
        view.fill_checksum(src, dst);
        assert!(view.is_checksum_valid(src, dst));
    }
    let mut buf = [0; 64];
    if let Ok(solicit) = NeighborSolicit::parse(&message, src, dst, 255) {
        let len = solicit.emit(&mut buf, src, dst).unwrap();
        assert_eq!(NeighborSolicit::parse(&buf[..len], src, dst, 255), Ok(solicit));
        assert!(NeighborSolicit::parse(&message, src, dst, 254).is_err());
    }
    if let Ok(advert) = NeighborAdvert::parse(&message, src, dst, 255) {
        let len = advert.emit(&mut buf, src, dst).unwrap();
        assert_eq!(NeighborAdvert::parse(&buf[..len], src, dst, 255), Ok(advert));
    }
}

fn tcp(bytes: &[u8]) {
    let mut bytes = bytes.to_vec();
    let Ok(mut view) = TcpPacket::new_checked(&mut bytes[..]) else { return };
    assert!((20..=60).contains(&view.header_len()));
    // The shortest options are one byte of padding, which is skipped, and two bytes.
    assert!(view.options().count() <= 20);
    let first = |options: tidegate::wire::tcp::TcpOptions| {
        options.into_iter().find_map(|o| if let TcpOption::Mss(mss) = o { Some(mss) } else { None })
    };
    let before = first(view.options());
    view.fill_checksum(0);
    let clamped = view.clamp_mss(1200);
    assert_eq!(clamped, before.is_some_and(|mss| mss > 1200));
    assert_eq!(first(view.options()), before.map(|mss| mss.min(1200)));
    assert!(view.is_checksum_valid(0));
}

fn captures(bytes: &[u8]) {
    let Ok(mut reader) = Reader::new(bytes) else { return };
    while let Ok(Some(record)) = reader.next_record() {
        assert!(record.data.len() <= bytes.len());
    }
}
