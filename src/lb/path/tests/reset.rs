//! RSTs: which ones count (rule 19), and those that we send ourselves (rules 17 and 21).

use super::nat::ends;
use crate::lb::connection::flags::*;
use crate::lb::snapshot::SnapshotSpec;
use crate::lb::testing::*;
use crate::lb::verdict::DropReason;

const CLIENT: &str = "198.51.100.7:40000";

fn tcp(src: &str, dst: &str, flags: u8, seq: u32, ack: u32, payload: &[u8]) -> Frame {
    Frame { seq, ack, payload: payload.to_vec(), ..Frame::tcp(src, dst, flags) }
}

/// A connection through NAT or full-NAT: what both ends look like to the balancer.
struct Connection {
    net: Net,
    vip: &'static str,
    backend: String,
    /// What the backend answers to.
    peer: String,
}

impl Connection {
    fn open(spec: SnapshotSpec, vip: &'static str, isn: u32) -> Self {
        let mut net = Net::new(spec);
        let sent = net.send(0, &tcp(CLIENT, vip, SYN, isn, 0, b"").build());
        let (peer, backend) = ends(sent.tx().1);
        Self { net, vip, backend: backend.to_string(), peer: peer.to_string() }
    }

    fn established(spec: SnapshotSpec, vip: &'static str) -> Self {
        let mut it = Self::open(spec, vip, 1000);
        it.reply(SYN | ACK, 9000, 1001, b"");
        it.request(ACK, 1001, 9001, b"");
        it.request(ACK, 1001, 9001, b"four");
        it.reply(ACK, 9001, 1005, b"answer");
        it
    }

    fn request(&mut self, flags: u8, seq: u32, ack: u32, payload: &[u8]) {
        self.net.send(0, &tcp(CLIENT, self.vip, flags, seq, ack, payload).build()).tx();
    }

    fn reply(&mut self, flags: u8, seq: u32, ack: u32, payload: &[u8]) {
        let frame = tcp(&self.backend, &self.peer, flags, seq, ack, payload).on_lan(backend_mac(1));
        self.net.send(1, &frame.build()).tx();
    }

    /// Whether the connection is in its last ten seconds.
    fn is_closing(&mut self) -> bool {
        self.net.pass_s(12);
        self.net.pass_s(1);
        self.net.active() == 0
    }
}

const VIPS: [&str; 2] = ["192.0.2.10:80", "192.0.2.50:80"];

#[test]
fn a_rst_counts_only_under_the_next_number() {
    for vip in VIPS {
        // From the client: 1005 follows what it has sent, and is what the backend expects.
        for (seq, counts) in [(1005, true), (1004, false), (1006, false), (1001, false), (0, false), (u32::MAX, false)]
        {
            let mut it = Connection::established(all_modes(), vip);
            it.request(RST, seq, 0, b"");
            assert_eq!(it.is_closing(), counts, "{vip} client {seq}");
        }
        // From the backend: 9007 follows its answer, 9001 is what the client has said last to expect.
        for (seq, counts) in [(9007, true), (9001, true), (9006, false), (9008, false), (1005, false)] {
            let mut it = Connection::established(all_modes(), vip);
            it.reply(RST | ACK, seq, 1005, b"");
            assert_eq!(it.is_closing(), counts, "{vip} backend {seq}");
        }
    }
}

#[test]
fn a_sweep_of_rsts_loses_nothing() {
    let mut it = Connection::established(all_modes(), VIPS[0]);
    // One in each window of 64 KB, from the client's side and as if from the backend.
    for step in 0..=u32::from(u16::MAX) {
        let seq = step << 16 | 7;
        let from_client = tcp(CLIENT, it.vip, RST, seq, 0, b"").build();
        it.net.send(0, &from_client).tx();
    }
    assert!(!it.is_closing());
    it.request(ACK, 1005, 9007, b"goes on");
}

#[test]
fn a_forged_segment_does_not_lead_the_way_for_a_rst() {
    let mut it = Connection::established(all_modes(), VIPS[0]);
    it.request(ACK, 0x7000_0000, 9001, b"forged");
    it.request(RST, 0x7000_0006, 9001, b"");
    assert!(!it.is_closing());
}

#[test]
fn a_refused_syn_closes() {
    for (ack, counts) in [(1001, true), (1000, false), (1002, false)] {
        let mut it = Connection::open(all_modes(), VIPS[1], 1000);
        it.reply(RST | ACK, 0, ack, b"");
        assert_eq!(it.is_closing(), counts, "{ack}");
    }
    // Numbers go round.
    let mut it = Connection::open(all_modes(), VIPS[1], u32::MAX);
    it.reply(RST | ACK, 0, 0, b"");
    assert!(it.is_closing());
}

#[test]
fn a_syn_that_comes_again_with_another_number_counts() {
    let mut it = Connection::open(all_modes(), VIPS[0], 5_000_000);
    it.request(SYN, 1000, 0, b"");
    it.reply(RST | ACK, 0, 1001, b"");
    assert!(it.is_closing());
}

#[test]
fn tunnels_see_one_direction_and_close_nothing() {
    let mut net = Net::new(all_modes());
    let (client, vip) = (CLIENT, "192.0.2.20:80");
    for (flags, seq) in [(SYN, 1000), (ACK, 1001), (RST, 1001)] {
        net.send(0, &tcp(client, vip, flags, seq, 9001, b"").build()).tx();
    }
    net.pass_s(12);
    net.pass_s(1);
    assert_eq!(net.active(), 1);
}

fn with_resets() -> SnapshotSpec {
    let mut all = all_modes();
    all.services.iter_mut().for_each(|service| (service.reset_idle, service.reset_unknown) = (true, true));
    all
}

#[test]
fn idle_connections_are_reset_at_both_ends_where_wanted() {
    for (spec, wanted) in [(all_modes(), 0), (with_resets(), 2)] {
        for vip in VIPS {
            let mut it = Connection::established(spec.clone(), vip);
            it.net.shards[0].outbox.clear();
            it.net.pass_s(7442);
            it.net.pass_s(1);
            assert_eq!(it.net.active(), 0);
            let frames: Vec<Vec<u8>> = it.net.shards[0]
                .outbox
                .iter()
                .filter(|out| out.frame.as_bytes()[12..14] == [8, 0])
                .map(|out| [&[out.port.0], out.frame.as_bytes()].concat())
                .collect();
            assert_eq!(frames.len(), wanted);
            for frame in &frames {
                let (port, frame) = (frame[0], &frame[1..]);
                checksums_are_right(frame);
                let (src, dst) = ends(frame);
                let (src, dst) = (src.to_string(), dst.to_string());
                let (seq, ack) = (&frame[38..42], &frame[42..46]);
                if port == 0 {
                    assert_eq!((src.as_str(), dst.as_str()), (vip, CLIENT));
                    assert_eq!((seq, ack), (&9001u32.to_be_bytes()[..], &1005u32.to_be_bytes()[..]));
                } else {
                    assert_eq!((src, dst), (it.peer.clone(), it.backend.clone()));
                    assert_eq!((seq, ack), (&1005u32.to_be_bytes()[..], &9007u32.to_be_bytes()[..]));
                }
                assert_eq!(frame[47], RST | ACK);
            }
        }
    }
}

#[test]
fn what_no_connection_knows_gets_a_rst_where_wanted() {
    let mut net = Net::new(with_resets());
    let sent = net.expect(0, &tcp(CLIENT, VIPS[0], ACK, 77, 99, b"x").build(), &[("replies", 1)]);
    let frame = sent.reply();
    checksums_are_right(frame);
    assert_eq!(ends(frame), (VIPS[0].parse().unwrap(), CLIENT.parse().unwrap()));
    assert_eq!((&frame[38..46], frame[47]), (&[0, 0, 0, 99, 0, 0, 0, 0][..], RST));
    let sent = net.expect(0, &tcp(CLIENT, VIPS[0], FIN, 77, 0, b"x").build(), &[("replies", 1)]);
    assert_eq!((&sent.reply()[38..46], sent.reply()[47]), (&[0, 0, 0, 0, 0, 0, 0, 79][..], RST | ACK));
    net.expect_drop(0, &tcp(CLIENT, VIPS[0], RST, 77, 0, b"").build(), DropReason::NoConnection);
    // At a rate.
    let many: u64 = (0..300)
        .map(|_| net.send(0, &tcp(CLIENT, VIPS[0], ACK, 1, 1, b"").build()))
        .filter(|s| matches!(s.verdict, crate::lb::verdict::Verdict::Reply(_)))
        .count() as u64;
    assert!((50..200).contains(&many), "{many}");
}
