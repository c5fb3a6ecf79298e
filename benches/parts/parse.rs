//! Frames to header offsets.

use std::fmt;
use std::hint::black_box;

use divan::Bencher;
use divan::counter::ItemsCount;
use etherparse::{
    IpHeaders, Ipv4Extensions, Ipv4Header, Ipv4Options, Ipv6Extensions, Ipv6Header, PacketBuilder, VlanId, ip_number,
};
use tidegate::wire::parse::parse;

/// What a frame looks like.
#[derive(Clone, Copy, Debug)]
enum Shape {
    PlainV4,
    PlainV6,
    TaggedV4,
    TaggedV6,
    OptionsV4,
    ExtensionV6,
}

const SHAPES: [Shape; 6] =
    [Shape::PlainV4, Shape::PlainV6, Shape::TaggedV4, Shape::TaggedV6, Shape::OptionsV4, Shape::ExtensionV6];

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Shape::PlainV4 => "plain_v4",
            Shape::PlainV6 => "plain_v6",
            Shape::TaggedV4 => "tagged_v4",
            Shape::TaggedV6 => "tagged_v6",
            Shape::OptionsV4 => "options_v4",
            Shape::ExtensionV6 => "extension_v6",
        })
    }
}

const FRAMES: usize = 32;

fn frame(shape: Shape, n: u8) -> Vec<u8> {
    let (src4, dst4) = ([198, 18, 0, n], [192, 0, 2, 10]);
    let (src6, dst6) = ([0x20, 1, 0xd, 0xb8, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, n], [0x20; 16]);
    let ethernet = PacketBuilder::ethernet2([2; 6], [4; 6]);
    let vlan = VlanId::try_new(100).unwrap();
    let ip = match shape {
        Shape::PlainV4 => ethernet.ipv4(src4, dst4, 64),
        Shape::PlainV6 => ethernet.ipv6(src6, dst6, 64),
        Shape::TaggedV4 => ethernet.single_vlan(vlan).ipv4(src4, dst4, 64),
        Shape::TaggedV6 => ethernet.single_vlan(vlan).ipv6(src6, dst6, 64),
        Shape::OptionsV4 => {
            let mut header = Ipv4Header::new(0, 64, ip_number::TCP, src4, dst4).unwrap();
            // Router alert (RFC 2113).
            header.options = Ipv4Options::from([0x94, 4, 0, 0]);
            ethernet.ip(IpHeaders::Ipv4(header, Ipv4Extensions::default()))
        }
        Shape::ExtensionV6 => {
            let header = Ipv6Header { source: src6, destination: dst6, hop_limit: 64, ..Default::default() };
            // Padding options to the least length of an extension header (RFC 8200 section 4.2).
            let padding = etherparse::Ipv6RawExtHeader::new_raw(ip_number::TCP, &[1, 4, 0, 0, 0, 0]).unwrap();
            let extensions = Ipv6Extensions { hop_by_hop_options: Some(padding), ..Default::default() };
            ethernet.ip(IpHeaders::Ipv6(header, extensions))
        }
    };
    let mut frame = Vec::new();
    ip.tcp(40_000, 80, 1, 1024).ack(1).write(&mut frame, &[0; 6]).unwrap();
    frame
}

/// 32 frames of TCP.
#[divan::bench(args = SHAPES)]
fn burst(bencher: Bencher<'_, '_>, shape: Shape) {
    let frames: Vec<_> = (0..FRAMES).map(|n| frame(shape, n as u8)).collect();
    assert!(frames.iter().all(|f| parse(f, f.len()).is_ok_and(|p| (p.sport, p.dport) == (40_000, 80))));
    bencher.counter(ItemsCount::new(FRAMES)).bench_local(|| {
        for frame in &frames {
            let _ = black_box(parse(black_box(frame), frame.len()));
        }
    });
}
