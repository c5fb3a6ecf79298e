//! Looks at frames through another library's eyes.

use std::net::IpAddr;

use etherparse::{NetSlice, SlicedPacket, TransportSlice};

/// What etherparse finds in an Ethernet frame.
fn slices(frame: &[u8]) -> (NetSlice<'_>, Option<TransportSlice<'_>>) {
    let sliced = SlicedPacket::from_ethernet(frame).unwrap_or_else(|e| panic!("{e}: {frame:02x?}"));
    (sliced.net.unwrap(), sliced.transport)
}

/// Checks lengths and every checksum of an Ethernet frame with an IP packet, by full recomputation.
#[track_caller]
pub fn checksums_are_right(frame: &[u8]) {
    let (net, _) = slices(frame);
    if let NetSlice::Ipv4(v4) = &net {
        let header = v4.header().to_header();
        assert_eq!(header.header_checksum, header.calc_header_checksum(), "ipv4 header of {frame:02x?}");
    }
    assert!(l4_checksum_is_right(frame), "l4 checksum of {frame:02x?}");
}

/// Whether the L4 checksum is right, or absent where it may be.
#[track_caller]
pub fn l4_checksum_is_right(frame: &[u8]) -> bool {
    let (net, transport) = slices(frame);
    match (&net, transport) {
        (NetSlice::Ipv4(ip), Some(TransportSlice::Tcp(tcp))) => {
            let h = ip.header();
            tcp.checksum()
                == tcp.to_header().calc_checksum_ipv4_raw(h.source(), h.destination(), tcp.payload()).unwrap()
        }
        (NetSlice::Ipv6(ip), Some(TransportSlice::Tcp(tcp))) => {
            let h = ip.header();
            tcp.checksum()
                == tcp.to_header().calc_checksum_ipv6_raw(h.source(), h.destination(), tcp.payload()).unwrap()
        }
        (NetSlice::Ipv4(ip), Some(TransportSlice::Udp(udp))) => {
            let h = ip.header();
            let right = udp.to_header().calc_checksum_ipv4_raw(h.source(), h.destination(), udp.payload()).unwrap();
            udp.checksum() == 0 || udp.checksum() == right
        }
        (NetSlice::Ipv6(ip), Some(TransportSlice::Udp(udp))) => {
            let h = ip.header();
            udp.checksum()
                == udp.to_header().calc_checksum_ipv6_raw(h.source(), h.destination(), udp.payload()).unwrap()
        }
        (_, Some(TransportSlice::Icmpv4(icmp))) => super::frame::internet_checksum(&[icmp.slice()]) == 0,
        (NetSlice::Ipv6(ip), Some(TransportSlice::Icmpv6(icmp))) => {
            icmp.is_checksum_valid(ip.header().source(), ip.header().destination())
        }
        (_, other) => panic!("nothing with a checksum: {other:?}"),
    }
}

/// Source, destination, traffic class, DF (`None` for IPv6) and inner packet of a GRE frame; checks RFC 2784.
#[track_caller]
pub fn tunnel_of(frame: &[u8]) -> (IpAddr, IpAddr, u8, Option<bool>, Vec<u8>) {
    let (net, _) = slices(frame);
    let (src, dst, class, df, payload): (IpAddr, IpAddr, _, _, _) = match &net {
        NetSlice::Ipv4(ip) => {
            let h = ip.header();
            assert_eq!(h.ihl(), 5, "outer header without options");
            assert_eq!(h.header_checksum(), h.to_header().calc_header_checksum());
            assert_eq!(h.protocol().0, 47);
            assert_eq!(usize::from(h.total_len()), frame.len() - 14, "no padding in a tunnel");
            assert!(!h.is_fragmenting_payload());
            let class = h.dcp().value() << 2 | h.ecn().value();
            (h.source_addr().into(), h.destination_addr().into(), class, Some(h.dont_fragment()), ip.payload().payload)
        }
        NetSlice::Ipv6(ip) => {
            let h = ip.header();
            assert_eq!(h.next_header().0, 47);
            assert_eq!(usize::from(h.payload_length()), frame.len() - 54, "no padding in a tunnel");
            (h.source_addr().into(), h.destination_addr().into(), h.traffic_class(), None, ip.payload().payload)
        }
        NetSlice::Arp(_) => panic!("arp"),
    };
    let inner = &payload[4..];
    let protocol = if inner[0] >> 4 == 4 { [0x08, 0x00] } else { [0x86, 0xdd] };
    assert_eq!(payload[..4], [0, 0, protocol[0], protocol[1]], "flags and version 0, protocol by the inner family");
    (src, dst, class, df, inner.to_vec())
}
