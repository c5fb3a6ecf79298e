//! The `pktgen pcap` command from outside: the capture that it writes and how it fails.

// The functions around the tests are test code too, which clippy's own exception does not see.
#![allow(clippy::unwrap_used, clippy::panic)]

use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::Read;
use std::net::IpAddr;
use std::process::{Command, Output, Stdio};
use tidegate::lb::hash::{HashKey, hash_bytes};
use tidegate::wire::parse::parse;
use tidegate::wire::pcap::Reader;

fn pktgen(arguments: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pktgen"));
    command.args(arguments.split_whitespace());
    command
}

/// The bytes of the capture that these arguments make.
fn capture(arguments: &str) -> Vec<u8> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("out.pcap");
    let output = pktgen("pcap").args(arguments.split_whitespace()).arg("--out").arg(&path).output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{arguments}: {output:?}");
    std::fs::read(path).unwrap()
}

/// What an independent parser reads in a frame.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    timestamp_ns: u64,
    frame_len: usize,
    tuple: (IpAddr, u16, IpAddr, u16, u8),
    /// Sequence and acknowledgement number, and the flags in the order SYN, ACK, PSH, FIN.
    tcp: Option<(u32, u32, [bool; 4])>,
    payload: Vec<u8>,
}

impl Seen {
    /// Parses a frame and asserts that its checksums are right.
    fn new(timestamp_ns: u64, frame: &[u8]) -> Self {
        let packet = SlicedPacket::from_ethernet(frame).unwrap();
        let (src, dst): (IpAddr, IpAddr) = match packet.net.as_ref().unwrap() {
            NetSlice::Ipv4(ip) => {
                let header = ip.header().to_header();
                assert_eq!(header.calc_header_checksum(), header.header_checksum);
                (header.source.into(), header.destination.into())
            }
            NetSlice::Ipv6(ip) => (ip.header().source().into(), ip.header().destination().into()),
            other => panic!("{other:?}"),
        };
        let (tcp, sport, dport, protocol, payload) = match packet.transport.as_ref().unwrap() {
            TransportSlice::Tcp(tcp) => {
                let right = match (src, dst) {
                    (IpAddr::V4(src), IpAddr::V4(dst)) => tcp.calc_checksum_ipv4(src.octets(), dst.octets()).unwrap(),
                    (IpAddr::V6(src), IpAddr::V6(dst)) => tcp.calc_checksum_ipv6(src.octets(), dst.octets()).unwrap(),
                    _ => panic!("two families"),
                };
                assert_eq!(tcp.checksum(), right);
                let flags = [tcp.syn(), tcp.ack(), tcp.psh(), tcp.fin()];
                let fields = (tcp.sequence_number(), tcp.acknowledgment_number(), flags);
                (Some(fields), tcp.source_port(), tcp.destination_port(), 6, tcp.payload())
            }
            TransportSlice::Udp(udp) => {
                let (header, payload) = (udp.to_header(), udp.payload());
                let right = match (src, dst) {
                    (IpAddr::V4(src), IpAddr::V4(dst)) => {
                        header.calc_checksum_ipv4_raw(src.octets(), dst.octets(), payload).unwrap()
                    }
                    (IpAddr::V6(src), IpAddr::V6(dst)) => {
                        header.calc_checksum_ipv6_raw(src.octets(), dst.octets(), payload).unwrap()
                    }
                    _ => panic!("two families"),
                };
                assert_eq!(udp.checksum(), right);
                (None, udp.source_port(), udp.destination_port(), 17, payload)
            }
            other => panic!("{other:?}"),
        };
        let tuple = (src, sport, dst, dport, protocol);
        Self { timestamp_ns, frame_len: frame.len(), tuple, tcp, payload: payload.to_vec() }
    }
}

fn frames(arguments: &str) -> Vec<Seen> {
    let bytes = capture(arguments);
    let mut reader = Reader::new(&bytes[..]).unwrap();
    let mut frames = Vec::new();
    while let Some(record) = reader.next_record().unwrap() {
        assert!(!record.is_cut());
        parse(record.data, record.data.len()).unwrap_or_else(|error| panic!("{arguments}: {error:?}"));
        frames.push(Seen::new(record.timestamp_ns, record.data));
    }
    frames
}

#[test]
fn every_flow_is_there_and_every_frame_is_right() {
    for protocol in ["udp", "tcp --kind syn", "tcp --kind established", "tcp --kind handshake", "tcp --kind mixed"] {
        for family in ["4", "6", "4 --vlan 100"] {
            for rest in ["", "--imix --order random --payload random", "--size 300 --payload zeros --packets 1001"] {
                let arguments = format!("--flows 150 --protocol {protocol} --family {family} {rest}");
                let frames = frames(&arguments);
                let tuples: HashSet<_> = frames.iter().map(|frame| frame.tuple).collect();
                assert_eq!(tuples.len(), 150, "{arguments}");
                let expected = match (rest.contains("1001"), protocol) {
                    (true, _) => 1001,
                    (false, "tcp --kind handshake" | "tcp --kind mixed") => 750,
                    (false, _) => 150,
                };
                assert_eq!(frames.len(), expected, "{arguments}");
                assert!(frames.iter().all(|frame| frame.frame_len >= 60 && frame.tuple.0.is_ipv6() == (family == "6")));
                if rest.starts_with("--size") {
                    let as_asked = |frame: &Seen| frame.payload.is_empty() || frame.frame_len == 300;
                    assert!(frames.iter().all(as_asked) && frames.iter().any(|frame| frame.frame_len == 300));
                }
            }
        }
    }
}

#[test]
fn same_arguments_make_the_same_bytes_in_every_version() {
    let sets = [
        ("--flows 100 --packets 500", 0xe733_430e_1f87_f308),
        ("--flows 100 --protocol tcp --family 6 --order random --payload random --imix", 0x450f_b95a_ae85_a95d),
        (
            "--flows 100 --protocol tcp --kind mixed --seed 7 --vip 192.0.2.1:443 --client 10.0.0.0/30 --size 9000",
            0x0e49_bbf5_3283_29cf,
        ),
    ];
    let key = HashKey::from_bytes([0; 16]);
    let found = sets.map(|(arguments, _)| {
        let bytes = capture(arguments);
        assert_eq!(bytes, capture(arguments));
        assert_ne!(bytes, capture(&format!("{} --seed 8", arguments.replace("--seed 7", ""))));
        hash_bytes(key, &bytes)
    });
    assert_eq!(found, sets.map(|(_, hash)| hash), "{found:#x?}");
}

#[test]
fn connections_are_complete_and_in_sequence() {
    for order in ["round-robin", "random"] {
        let mut flows: HashMap<_, Vec<Seen>> = HashMap::new();
        let arguments = "--flows 20 --packets 240 --protocol tcp --data-segments 2 --imix --order";
        for frame in frames(&format!("{arguments} {order}")) {
            flows.entry(frame.tuple).or_default().push(frame);
        }
        for flow in flows.values() {
            // Two connections of six segments each, one after the other.
            assert_eq!(flow.len(), 12);
            for connection in flow.chunks(6) {
                let flags: Vec<_> = connection.iter().map(|frame| frame.tcp.unwrap().2.map(u8::from)).collect();
                let expected = [[1, 0, 0, 0], [0, 1, 0, 0], [0, 1, 1, 0], [0, 1, 1, 0], [0, 1, 0, 1], [0, 1, 0, 0]];
                assert_eq!(flags, expected);
                for pair in connection.windows(2) {
                    let [(before, _, [syn, .., fin]), (after, ..)] = [pair[0].tcp.unwrap(), pair[1].tcp.unwrap()];
                    let taken = pair[0].payload.len() as u32 + u32::from(syn) + u32::from(fin);
                    assert_eq!(after.wrapping_sub(before), taken);
                }
                let acks: Vec<u32> = connection.iter().map(|frame| frame.tcp.unwrap().1).collect();
                assert!(acks[0] == 0 && acks[1..5].iter().all(|ack| *ack == acks[1]));
                assert_eq!(acks[5].wrapping_sub(acks[1]), 1);
            }
            assert_ne!(flow[0].tcp.unwrap().0, flow[6].tcp.unwrap().0);
        }
    }
}

#[test]
fn the_mix_is_seven_four_one() {
    let mut lengths: BTreeMap<usize, usize> = BTreeMap::new();
    for frame in frames("--flows 24 --packets 1200 --imix") {
        *lengths.entry(frame.frame_len).or_default() += 1;
    }
    assert_eq!(lengths, BTreeMap::from([(60, 700), (590, 400), (1514, 100)]));
}

#[test]
fn timestamps_follow_the_rate_and_payloads_the_numbers() {
    let frames = frames("--flows 3 --packets 9 --rate 3000000");
    let timestamps: Vec<u64> = frames.iter().map(|frame| frame.timestamp_ns).collect();
    assert_eq!(timestamps, [0, 333, 666, 1000, 1333, 1666, 2000, 2333, 2666]);
    for (packet, frame) in (0_u64..).zip(&frames) {
        assert_eq!(frame.payload[..16], [(packet % 3).to_be_bytes(), packet.to_be_bytes()].concat());
    }
}

#[test]
fn random_order_gives_each_flow_one_frame_a_round() {
    let frames = frames("--flows 50 --packets 150 --order random");
    let order: Vec<Vec<_>> = frames.chunks(50).map(|round| round.iter().map(|frame| frame.tuple).collect()).collect();
    assert!(order.iter().all(|round| round.iter().collect::<HashSet<_>>().len() == 50));
    assert!(order[0] != order[1] && order[1] != order[2]);
}

#[test]
fn addresses_are_those_asked_for() {
    let bytes = capture("--flows 1 --dst-mac 02:00:00:00:00:aa --src-mac 02:00:00:00:00:bb --vip [2001:db8::9]:443");
    assert_eq!(bytes[40..54], [2, 0, 0, 0, 0, 0xaa, 2, 0, 0, 0, 0, 0xbb, 0x86, 0xdd]);
    let frame = &frames("--flows 1 --vip [2001:db8::9]:443 --client 2001:db8:1::7")[0];
    assert_eq!(frame.tuple.0, "2001:db8:1::7".parse::<IpAddr>().unwrap());
    assert_eq!((frame.tuple.2, frame.tuple.3), ("2001:db8::9".parse::<IpAddr>().unwrap(), 443));
}

/// Asserts the exit status, and that standard error has one line with `text` (before what clap adds to its own).
fn assert_fails(output: &Output, status: i32, text: &str) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "{stderr}");
    assert!(stderr.lines().next().is_some_and(|line| line.contains(text)), "{stderr} has not `{text}`");
    assert!(stderr.starts_with("error: ") || stderr.trim_end().lines().count() == 1, "{stderr}");
    assert!(output.stdout.is_empty());
}

#[test]
fn wrong_usage_is_refused_with_status_2() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("never.pcap");
    for (arguments, text) in [
        ("--flows 0", "0 is not in 1.."),
        ("--flows 10 --packets 9", "--packets 9 is less than --flows 10"),
        ("--flows 1 --size 59", "--size 59 is not possible, frames have 60 to 9000 bytes"),
        ("--flows 1 --size 9001", "--size 9001 is not possible"),
        ("--flows 1 --size 61 --family 6", "--size 61 is too small, the headers take 62 bytes"),
        ("--flows 1 --size 73 --family 6 --protocol tcp", "the headers take 74 bytes"),
        ("--flows 1 --size 77 --family 6 --protocol tcp --kind syn", "the headers take 78 bytes"),
        ("--flows 1 --size 60 --imix", "cannot be used with"),
        ("--flows 1 --kind syn", "--kind is for TCP"),
        ("--flows 64513 --client 10.0.0.1", "64513 flows are too many for the clients of 10.0.0.1/32: 64512 differ"),
        ("--flows 1 --client 10.0.0.1/8", "the network is 10.0.0.0/8"),
        ("--flows 1 --vip 2001:db8::1", "[2001:db8::10]:80"),
        ("--flows 1 --family 5", "--family 5 is no IP version"),
        ("--flows 1 --family 6 --vip 192.0.2.1", "--family 6 does not go with 192.0.2.1:80"),
        ("--flows 1 --client 10.0.0.0/8 --vip [::1]", "clients 10.0.0.0/8 and VIP ::1 are not of one address family"),
        ("--flows 1 --dst-mac 02:00", "02:00"),
        ("--flows 1 --rate 0", "0 is not in 1.."),
        ("", "--flows"),
    ] {
        let output = pktgen("pcap").args(arguments.split_whitespace()).arg("--out").arg(&path).output().unwrap();
        if arguments.is_empty() {
            assert_eq!(output.status.code(), Some(2));
            assert!(String::from_utf8_lossy(&output.stderr).contains(text));
        } else {
            assert_fails(&output, 2, text);
        }
    }
    assert!(!path.exists(), "a refused command leaves no file");
}

#[test]
fn failed_output_is_reported_with_status_1() {
    let output = pktgen("pcap --flows 1 --out /nonexistent/out.pcap").output().unwrap();
    assert_fails(&output, 1, "cannot write /nonexistent/out.pcap: No such file");
    let output = pktgen("pcap --flows 1 --out /dev/full").output().unwrap();
    assert_fails(&output, 1, "cannot write /dev/full: No space left");
}

#[test]
fn a_closed_pipe_is_quiet() {
    let mut child = pktgen("pcap --flows 100000 --size 1000 --out -")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let mut start = [0; 24];
    stdout.read_exact(&mut start).unwrap();
    drop(stdout);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
}

#[test]
fn standard_output_gets_the_capture_alone() {
    let output = pktgen("pcap --flows 10 --out -").output().unwrap();
    assert_eq!(output.stdout, capture("--flows 10"));
}
