//! Single packets, with the bytes around what changes, and each decision.

use std::net::SocketAddr;

use proptest::prelude::*;

use super::*;
use crate::lb::packet::HeapPacket;
use crate::lb::testing::{Frame, checksums_are_right, l4_checksum_is_right};
use crate::wire::parse::parse;
use flags::{ACK, FIN, PSH, RST, SYN, URG};

/// What a TCP header says besides the ports.
#[derive(Clone, Debug, Default)]
pub struct Tcp {
    pub seq: u32,
    pub ack: u32,
    pub flags: u8,
    pub urgent: u16,
    /// Padded to whole words with zeros.
    pub options: Vec<u8>,
    pub data: Vec<u8>,
}

pub fn ends(v6: bool) -> Ends {
    let [client, vip] =
        if v6 { ["[2001:db8::7]:40000", "[2001:db8:1::a]:80"] } else { ["198.51.100.7:40000", "192.0.2.10:80"] };
    Ends::new(client.parse().unwrap(), vip.parse().unwrap()).unwrap()
}

/// A frame between client and VIP, in either direction.
pub fn frame(v6: bool, from_client: bool, tcp: &Tcp) -> Vec<u8> {
    edited(v6, from_client, tcp, |frame| frame)
}

/// The same with something else about it.
fn edited(v6: bool, from_client: bool, tcp: &Tcp, change: impl FnOnce(Frame) -> Frame) -> Vec<u8> {
    let (client, vip) = (ends(v6).client(), ends(v6).vip());
    let (src, dst) = if from_client { (client, vip) } else { (vip, client) };
    segment(src, dst, tcp, change)
}

/// A frame between any two ends.
pub fn segment(src: SocketAddr, dst: SocketAddr, tcp: &Tcp, change: impl FnOnce(Frame) -> Frame) -> Vec<u8> {
    let mut l4 = Vec::new();
    l4.extend(src.port().to_be_bytes());
    l4.extend(dst.port().to_be_bytes());
    l4.extend(tcp.seq.to_be_bytes());
    l4.extend(tcp.ack.to_be_bytes());
    l4.extend([((5 + tcp.options.len().div_ceil(4)) as u8) << 4, tcp.flags, 2, 0, 0, 0]);
    l4.extend(tcp.urgent.to_be_bytes());
    l4.extend(&tcp.options);
    l4.resize(20 + tcp.options.len().next_multiple_of(4), 0);
    l4.extend(&tcp.data);
    let len = l4.len();
    let pseudo = match (src, dst) {
        (SocketAddr::V4(s), SocketAddr::V4(d)) => checksum::pseudo_v4(*s.ip(), *d.ip(), 6, len as u16),
        (SocketAddr::V6(s), SocketAddr::V6(d)) => checksum::pseudo_v6(*s.ip(), *d.ip(), 6, len as u32),
        _ => unreachable!(),
    };
    TcpPacket::new_checked(&mut l4[..]).unwrap().fill_checksum(pseudo);
    let frame = change(Frame::tcp(&src.to_string(), &dst.to_string(), tcp.flags));
    frame.frame_with(&frame.packet_with(&l4))
}

/// The TCP header and what follows it in the IP packet.
pub fn read(frame: &[u8]) -> Tcp {
    let parsed = parsed(frame);
    let tcp = TcpPacket::new_checked(&frame[usize::from(parsed.l4)..parsed.ip_end()]).unwrap();
    Tcp {
        seq: tcp.seq(),
        ack: tcp.ack(),
        flags: tcp.flags(),
        urgent: u16::from_be_bytes([frame[usize::from(parsed.l4) + 18], frame[usize::from(parsed.l4) + 19]]),
        options: frame[usize::from(parsed.l4) + 20..usize::from(parsed.l4) + tcp.header_len()].to_vec(),
        data: tcp.payload().to_vec(),
    }
}

fn parsed(frame: &[u8]) -> Parsed {
    parse(frame, frame.len()).unwrap_or_else(|error| panic!("{error}: {frame:02x?}"))
}

fn header(v6: bool) -> Vec<u8> {
    let mut header = vec![0; ends(v6).header_len()];
    ends(v6).emit(&mut header).unwrap();
    header
}

#[test]
fn the_header_goes_before_the_data_and_nothing_else_changes() {
    for v6 in [false, true] {
        for data in [&b""[..], b"G", b"GET / HTTP/1.1"] {
            let sent = Tcp { seq: 5, ack: 6, flags: ACK, options: vec![1, 1, 1], data: data.to_vec(), urgent: 0 };
            let before = edited(v6, true, &sent, |f| f.with(|f| (f.vlan, f.padding) = (vec![7], 6)));
            let mut packet = HeapPacket::new(&before);
            let now = insert_proxy(&mut packet, &parsed(&before), ends(v6), 1500).unwrap();
            let after = packet.bytes();
            checksums_are_right(&after[..now.ip_end()]);
            assert_eq!(now, parsed(after));
            assert_eq!(after.len(), before.len() + ends(v6).header_len());
            assert_eq!(after[now.ip_end()..], [0xaa; 6], "padding stays behind the packet");
            assert_eq!(after[..usize::from(now.l3)], before[..usize::from(now.l3)]);
            let got = read(after);
            assert_eq!((got.seq, got.ack, &got.options), (5, 6, &vec![1, 1, 1, 0]));
            assert_eq!(got.flags, if data.is_empty() { PSH | ACK } else { ACK });
            assert_eq!(got.data, [&header(v6), data].concat());
        }
    }
}

#[test]
fn urgent_data_stays_where_it_is_in_the_stream() {
    for (urgent, expected) in [(3, 31), (u16::MAX - 1, u16::MAX)] {
        let sent = Tcp { flags: ACK | URG, urgent, data: b"abc".to_vec(), ..Tcp::default() };
        let before = frame(false, true, &sent);
        let mut packet = HeapPacket::new(&before);
        insert_proxy(&mut packet, &parsed(&before), ends(false), 1500).unwrap();
        checksums_are_right(packet.bytes());
        assert_eq!(read(packet.bytes()).urgent, expected);
    }
}

#[test]
fn what_cannot_be_done_changes_nothing() {
    let segment = Tcp { flags: ACK, data: vec![7; 1000], ..Tcp::default() };
    let before = frame(false, true, &segment);
    let refused = |change: &dyn Fn(&mut HeapPacket, &mut Parsed) -> u16| {
        let (mut packet, mut now) = (HeapPacket::new(&before), parsed(&before));
        let mtu = change(&mut packet, &mut now);
        let whole = packet.bytes().to_vec();
        let result = insert_proxy(&mut packet, &now, ends(false), mtu);
        let option = insert_toa(&mut packet, &now, ends(false).client(), mtu);
        assert_eq!(packet.bytes(), whole);
        (result.unwrap_err(), option.is_some())
    };
    assert_eq!(refused(&|_, _| 1067 - 28).0, Refused::TooLong { len: 1068, mtu: 1039 });
    assert_eq!(refused(&|_, _| 1047), (Refused::TooLong { len: 1068, mtu: 1047 }, false));
    assert_eq!(
        refused(&|_, parsed| {
            parsed.protocol = 17;
            1500
        }),
        (Refused::NotTcp(17), false)
    );
    assert_eq!(
        refused(&|_, parsed| {
            parsed.fragment = Fragment::First;
            1500
        }),
        (Refused::NotTcp(6), false)
    );
    let no_room = |packet: &mut HeapPacket, _: &mut Parsed| {
        // The frame is moved to where nothing is left before it.
        assert!(packet.grow_front(crate::lb::packet::HEADROOM));
        let len = packet.frame_len() - crate::lb::packet::HEADROOM;
        packet.bytes_mut().copy_within(crate::lb::packet::HEADROOM.., 0);
        packet.truncate(len);
        1500
    };
    assert_eq!(refused(&no_room), (Refused::NoRoom(28), false));
    let cut = |packet: &mut HeapPacket, _: &mut Parsed| {
        packet.truncate(50);
        1500
    };
    assert_eq!(refused(&cut), (Refused::NotContiguous(50), false));
}

#[test]
fn the_option_goes_before_the_others() {
    for v6 in [false, true] {
        let client = ends(v6).client();
        // Behind the end of the list nothing is read.
        let sent = Tcp {
            flags: ACK,
            options: vec![1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2, 0],
            data: b"odd".to_vec(),
            ..Tcp::default()
        };
        let before = frame(v6, true, &sent);
        let mut packet = HeapPacket::new(&before);
        let now = insert_toa(&mut packet, &parsed(&before), client, 1500).unwrap();
        checksums_are_right(packet.bytes());
        assert_eq!(now, parsed(packet.bytes()));
        let got = read(packet.bytes());
        assert_eq!((got.flags, &got.data[..]), (ACK, &b"odd"[..]));
        let tcp = TcpPacket::new_checked(&packet.bytes()[usize::from(now.l4)..]).unwrap();
        let options: Vec<_> = tcp.options().collect();
        assert_eq!(toa::client_of(&options[0]), Some(client));
        assert_eq!(options[1..], [TcpOption::Timestamps { value: 1, echo: 2 }]);
    }
}

#[test]
fn the_option_is_left_out_where_the_header_is_full() {
    for (v6, most) in [(false, 32), (true, 20)] {
        for (len, fits) in [(most, true), (most + 4, false), (40, false)] {
            let before = frame(v6, true, &Tcp { flags: ACK, options: vec![1; len], ..Tcp::default() });
            let mut packet = HeapPacket::new(&before);
            let now = insert_toa(&mut packet, &parsed(&before), ends(v6).client(), 1500);
            assert_eq!(now.is_some(), fits, "{len} bytes of options");
            assert_eq!(packet.bytes() == before, !fits);
        }
    }
}

#[test]
fn a_syn_loses_its_data_and_the_options_that_go_with_it() {
    for v6 in [false, true] {
        let options =
            [&[2, 4, 5, 0xb4][..], &[34, 6, 1, 2, 3, 4, 1, 1], &[254, 6, 0xf9, 0x89, 1, 2, 1, 1], &[30, 4, 0, 1]]
                .concat();
        let before = frame(v6, true, &Tcp { seq: 9, flags: SYN, options, data: b"stolen!".to_vec(), ..Tcp::default() });
        let mut packet = HeapPacket::new(&before);
        let now = bare_syn(&mut packet, &parsed(&before)).unwrap();
        checksums_are_right(packet.bytes());
        assert_eq!(now, parsed(packet.bytes()));
        let got = read(packet.bytes());
        assert_eq!((got.seq, got.flags, got.data), (9, SYN, vec![]));
        assert_eq!(got.options, [&[2, 4, 5, 0xb4][..], &[1; 20]].concat());
    }
    // Most have none of it.
    let before = frame(false, true, &Tcp { flags: SYN, options: vec![2, 4, 5, 0xb4], ..Tcp::default() });
    let mut packet = HeapPacket::new(&before);
    assert_eq!(bare_syn(&mut packet, &parsed(&before)), Ok(parsed(&before)));
    assert_eq!(packet.bytes(), before);
}

#[test]
fn numbers_wrap() {
    let shifted = |seq, by| {
        let mut bytes = frame(false, true, &Tcp { seq, flags: ACK, ..Tcp::default() });
        let now = parsed(&bytes);
        shift_seq(&mut bytes, &now, by).unwrap();
        checksums_are_right(&bytes);
        read(&bytes).seq
    };
    assert_eq!(shifted(10, 28), 38);
    assert_eq!(shifted(u32::MAX, 28), 27);
    let acked = |ack, floor| {
        let mut bytes = frame(true, false, &Tcp { ack, flags: ACK, ..Tcp::default() });
        let now = parsed(&bytes);
        shift_ack(&mut bytes, &now, 52, floor).unwrap();
        checksums_are_right(&bytes);
        read(&bytes).ack
    };
    assert_eq!(acked(100, None), 48);
    assert_eq!(acked(10, None), 10u32.wrapping_sub(52));
    assert_eq!(acked(1000, Some(1000)), 1000, "the header is not acknowledged yet");
    assert_eq!(acked(1051, Some(1000)), 1000);
    assert_eq!(acked(1052, Some(1000)), 1000);
    assert_eq!(acked(1053, Some(1000)), 1001);
    let floor = u32::MAX - 9;
    assert_eq!(acked(floor.wrapping_add(51), Some(floor)), floor);
    assert_eq!(acked(floor.wrapping_add(60), Some(floor)), floor + 8);
    assert_eq!(acked(floor.wrapping_add(100), Some(floor)), 38);
    assert_eq!(acked(floor - 1, Some(floor)), floor, "never below");
}

#[test]
fn without_ack_nothing_is_acknowledged() {
    let before = frame(false, false, &Tcp { seq: 7, ack: 5000, flags: RST, ..Tcp::default() });
    let mut bytes = before.clone();
    let now = parsed(&bytes);
    shift_ack(&mut bytes, &now, 28, None).unwrap();
    assert_eq!(bytes, before);
}

#[test]
fn selective_acknowledgments_move_along() {
    // The first block says that the header arrived twice, which is none of the client's concern (RFC 2883).
    let block = |left: u32, right: u32| [left.to_be_bytes(), right.to_be_bytes()].concat();
    for lead in 0..4 {
        let mut options = vec![1; lead];
        options.extend([5, 18]);
        options.extend(block(1000, 1028));
        options.extend(block(1100, 1200));
        let mut bytes =
            frame(false, false, &Tcp { ack: 1050, flags: ACK, options, data: b"odd".to_vec(), ..Tcp::default() });
        let now = parsed(&bytes);
        shift_ack(&mut bytes, &now, 28, Some(1000)).unwrap();
        checksums_are_right(&bytes);
        assert_eq!(read(&bytes).ack, 1022);
        let tcp = TcpPacket::new_checked(&bytes[usize::from(now.l4)..]).unwrap();
        let options: Vec<_> = tcp.options().collect();
        assert_eq!(options, [TcpOption::Sack(&block(1072, 1172))]);
    }
}

#[test]
fn a_glance_tells_headers_without_selective_acknowledgments() {
    let of = |options: &[u8]| {
        let bytes = frame(false, false, &Tcp { flags: ACK, options: options.to_vec(), ..Tcp::default() });
        is_sack_free(&bytes[34..])
    };
    assert!(of(&[]));
    assert!(of(&[1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2]));
    assert!(!of(&[1, 1, 5, 10, 0, 0, 0, 1, 0, 0, 0, 2]));
    assert!(!of(&[1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2, 1, 1, 5, 10, 0, 0, 0, 1, 0, 0, 0, 2]));
    assert!(!is_sack_free(&[0; 12]));
}

#[test]
fn a_client_is_told_of_less_room() {
    let shrink = |told| [false, true].map(|v6| mss_shrink(told, ends(v6).client().ip()));
    assert_eq!(shrink(ClientAddress::None), [0, 0]);
    assert_eq!(shrink(ClientAddress::ProxyV2), [28, 52]);
    assert_eq!(shrink(ClientAddress::Toa), [8, 20]);
}

fn progress(stage: Stage) -> Progress {
    Progress { stage, first: 1000 }
}

#[test]
fn each_segment_has_its_action() {
    use Action::*;
    use Stage::*;
    // Sequence number relative to the first byte, bytes of data, flags; before the header is sent, until it is acknowledged,
    // and from then on.
    let cases = [
        (-1, 0, SYN, [Bare, Bare, Bare]),
        (-1, 9, SYN, [Bare, Bare, Bare]),
        (0, 0, ACK, [Insert, Insert, Shift]),
        (0, 9, ACK | PSH, [Insert, Insert, Shift]),
        (0, 0, ACK | FIN, [Insert, Insert, Shift]),
        (0, 9, ACK | FIN, [Insert, Insert, Shift]),
        (0, 9, 0, [Insert, Insert, Shift]),
        (9, 0, ACK, [Shift, Shift, Shift]),
        (9, 9, ACK, [Shift, Shift, Shift]),
        (9, 0, ACK | FIN, [Shift, Shift, Shift]),
        // Probes.
        (-1, 0, ACK, [Plain, Plain, Shift]),
        (-1, 1, ACK, [Plain, Plain, Shift]),
        // A RST before and behind the header.
        (0, 0, RST, [Plain, Shift, Shift]),
        (0, 0, RST | ACK, [Plain, Shift, Shift]),
        (-1, 0, RST, [Plain, Plain, Shift]),
        (9, 0, RST, [Shift, Shift, Shift]),
        // Bytes of the client's own in the place of the header.
        (-1, 2, ACK, [Refuse { beyond: 1 }, Refuse { beyond: 1 }, Shift]),
        (-1, 1, ACK | FIN, [Refuse { beyond: 1 }, Refuse { beyond: 1 }, Shift]),
        (-100, 1100, ACK, [Refuse { beyond: 1000 }, Refuse { beyond: 1000 }, Shift]),
        (-100, 100, ACK, [Plain, Plain, Shift]),
    ];
    for (offset, data_len, tcp_flags, expected) in cases {
        for first in [1000, 0, 50, u32::MAX, u32::MAX - 50, 1 << 31] {
            let segment = Segment { seq: u32::wrapping_add_signed(first, offset), data_len, flags: tcp_flags };
            for (stage, expected) in [Unsent, Sent, Taken].into_iter().zip(expected) {
                let action = Progress { stage, first }.request(segment);
                assert_eq!(action, expected, "{offset} {data_len} {tcp_flags:#x} {stage:?} from {first}");
            }
        }
    }
}

#[test]
fn only_the_whole_header_is_taken() {
    for (ack, tcp_flags, taken) in [
        (1000, SYN | ACK, false),
        (1000, ACK, false),
        (1027, ACK, false),
        (1028, ACK, true),
        (1100, ACK | FIN, true),
        (1028, RST, false),
        (999, ACK, false),
    ] {
        for stage in [Stage::Unsent, Stage::Sent] {
            let mut progress = progress(stage);
            assert_eq!(progress.reply(tcp_flags, ack, 28), Some(1000));
            assert_eq!(progress.stage, if taken { Stage::Taken } else { stage }, "{ack} {tcp_flags:#x}");
        }
    }
    // A backend that was started anew answers a SYN, and needs the header again.
    for stage in [Stage::Unsent, Stage::Sent, Stage::Taken] {
        let mut progress = progress(stage);
        assert_eq!(progress.reply(SYN | ACK, 5000, 28), Some(5000));
        assert_eq!(progress, Progress { stage: Stage::Unsent, first: 5000 });
    }
    // Gigabytes later the old number would be a floor above everything.
    assert_eq!(progress(Stage::Taken).reply(ACK, 5, 28), None);
}

#[test]
fn the_option_goes_with_each_segment_that_may_complete_the_handshake() {
    for (tcp_flags, wanted) in
        [(SYN, false), (ACK, true), (ACK | PSH, true), (ACK | FIN, true), (RST | ACK, false), (RST, false)]
    {
        assert_eq!(progress(Stage::Unsent).wants_option(tcp_flags), wanted, "{tcp_flags:#x}");
        assert!(!progress(Stage::Taken).wants_option(tcp_flags));
    }
    for (tcp_flags, data_len, ack, taken) in [
        (SYN | ACK, 0, 1000, false),
        (ACK, 0, 1000, false),
        (ACK, 5, 1000, true),
        (ACK, 0, 1001, true),
        (ACK | FIN, 0, 1000, true),
        (RST | ACK, 0, 1001, false),
    ] {
        let mut progress = progress(Stage::Unsent);
        progress.reply_to_option(Segment { seq: 7, data_len, flags: tcp_flags }, ack);
        assert_eq!(progress.stage == Stage::Taken, taken, "{tcp_flags:#x} {data_len} {ack}");
    }
}

/// One of the functions; whether it was done.
type Change<'a> = &'a dyn Fn(&mut HeapPacket, &Parsed) -> bool;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    /// From-scratch sums over whole packets, for every length and content, and wrong ones stay wrong.
    #[test]
    fn checksums_are_what_a_whole_sum_gives(
        v6 in any::<bool>(),
        numbers in any::<(u32, u32, u16, u32)>(),
        tcp_flags in any::<u8>(),
        words in 0usize..=10,
        seed in proptest::collection::vec(any::<u8>(), 40),
        data in proptest::collection::vec(any::<u8>(), 0..300),
        off in 1u16..0xfffe,
    ) {
        let (seq, ack, urgent, by) = numbers;
        let sent = Tcp { seq, ack, flags: tcp_flags, urgent, options: seed[..words * 4].to_vec(), data };
        let right = frame(v6, true, &sent);
        let at = usize::from(parsed(&right).l4) + 16;
        let mut wrong = right.clone();
        let check = u16::from_be_bytes([wrong[at], wrong[at + 1]]);
        // Neither zero more nor zero less: the two zeros of the sum are one.
        let faulty = check.checked_add(off).unwrap_or_else(|| check.wrapping_add(off).wrapping_add(1));
        wrong[at..at + 2].copy_from_slice(&faulty.to_be_bytes());
        for (bytes, is_right) in [(right, true), (wrong, false)] {
            let start = HeapPacket::new(&bytes);
            let changes: [Change<'_>; 5] = [
                &|packet, parsed| insert_proxy(packet, parsed, ends(v6), 1500).is_ok(),
                &|packet, parsed| {
                    let fits = words * 4 + toa::option_len(ends(v6).client().ip()) <= 40;
                    assert_eq!(insert_toa(packet, parsed, ends(v6).client(), 1500).is_some(), fits);
                    true
                },
                &|packet, parsed| bare_syn(packet, parsed).is_ok(),
                &|packet, parsed| shift_seq(packet.bytes_mut(), parsed, by).is_ok(),
                &|packet, parsed| shift_ack(packet.bytes_mut(), parsed, by, Some(by ^ ack)).is_ok(),
            ];
            for change in changes {
                let mut packet = start.clone();
                prop_assert!(change(&mut packet, &parsed(&bytes)));
                prop_assert_eq!(packet.bytes().len(), parsed(packet.bytes()).ip_end());
                prop_assert_eq!(l4_checksum_is_right(packet.bytes()), is_right);
            }
        }
    }
}
