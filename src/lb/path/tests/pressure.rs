//! At the brim: what was open stays open, whatever is thrown at a full table.

use std::collections::HashMap;

use crate::lb::connection::flags::*;
use crate::lb::path::{BURST, Origin};
use crate::lb::testing::*;
use crate::lb::verdict::{DropReason, Verdict};

const CONNECTIONS: usize = 600;
/// A TCP service in each mode and family, and the UDP ones that see both directions or need none.
const VIPS: [&str; 6] =
    ["192.0.2.10:80", "[2001:db8::10]:80", "192.0.2.20:80", "[2001:db8::21]:80", "192.0.2.30:80", "[2001:db8::30]:80"];

fn client(vip: &str, n: usize) -> String {
    let (host, port) = (n / 200, 1024 + n % 200 * 300 + n % 7);
    if vip.starts_with('[') { format!("[2001:db8:c::{host:x}]:{port}") } else { format!("198.51.100.{host}:{port}") }
}

/// Where a packet went: the port, and all that is before the client's packet. NAT counts by the address it wrote.
fn way(sent: &Sent) -> (u8, Vec<u8>) {
    let (port, frame) = sent.tx();
    (port, frame[..6].to_vec())
}

fn burst(net: &mut Net, frames: &[Frame]) -> Vec<Sent> {
    let packets: Vec<_> = frames.iter().map(|f| TestPacket::new(0, &f.build())).collect();
    packets.chunks(BURST).flat_map(|burst| net.burst(0, Origin::Port, burst)).collect()
}

/// The memory of the shard, and where it is: neither may change.
fn memory(net: &Net) -> (usize, [usize; 5]) {
    let shard = &net.shards[0];
    let places = [
        shard.lanes.as_ptr().addr(),
        shard.metas.as_ptr().addr(),
        shard.outbox.as_ptr().addr(),
        shard.learned.as_ptr().addr(),
        shard.settled.as_ptr().addr(),
    ];
    (shard.table_bytes(), places)
}

/// Opens connections until the shard has all it may have; half of them are said to be open by their second packet.
fn full(vip: &str) -> (Net, HashMap<usize, (u8, Vec<u8>)>) {
    let mut net = Net::with_connections(all_modes(), CONNECTIONS);
    let all = |flags| (0..CONNECTIONS).map(move |n| Frame::tcp(&client(vip, n), vip, flags)).collect::<Vec<_>>();
    burst(&mut net, &all(SYN)).iter().for_each(|s| assert_eq!(s.tx().0, 1));
    let ways = burst(&mut net, &all(ACK)).iter().map(way).enumerate().collect();
    assert_eq!(net.active(), CONNECTIONS as u64);
    (net, ways)
}

#[test]
fn a_flood_at_full_capacity_moves_no_open_connection() {
    for vip in VIPS {
        let (mut net, ways) = full(vip);
        let before = memory(&net);
        for round in 0..20 {
            let flood: Vec<_> =
                (0..500).map(|n| Frame::syn(&client(vip, CONNECTIONS + round * 500 + n), vip)).collect();
            for sent in burst(&mut net, &flood) {
                match sent.verdict {
                    Verdict::Drop(reason) => assert_eq!(reason, DropReason::TableFull, "{vip}"),
                    // Tunnels need no connection: the hash alone finds the backend.
                    verdict => {
                        assert!(matches!(verdict, Verdict::Tx(_)) && !vip.contains("10]") && !vip.contains(".10:"))
                    }
                }
            }
            let data: Vec<_> = (0..CONNECTIONS).map(|n| Frame::ack(&client(vip, n), vip)).collect();
            for (n, sent) in burst(&mut net, &data).iter().enumerate() {
                assert_eq!(way(sent), ways[&n], "connection {n} of {vip}");
            }
            assert_eq!(net.active(), CONNECTIONS as u64);
            net.pass_s(1);
        }
        assert_eq!(memory(&net), before, "{vip}");
        assert_eq!(net.figures().get("evicted"), None);
    }
}

#[test]
fn a_flood_pushes_out_half_open_connections_alone() {
    for vip in VIPS {
        let (mut net, ways) = full(vip);
        // A third ends, and half-open ones take their places.
        let ended = CONNECTIONS / 3;
        let fins: Vec<_> = (0..ended).map(|n| Frame::tcp(&client(vip, n), vip, FIN | ACK)).collect();
        burst(&mut net, &fins);
        net.pass_s(12);
        assert_eq!(net.active(), (CONNECTIONS - ended) as u64);
        let before = memory(&net);
        let mut forwarded = 0;
        for round in 0..20 {
            let flood: Vec<_> =
                (0..500).map(|n| Frame::syn(&client(vip, CONNECTIONS + round * 500 + n), vip)).collect();
            forwarded += burst(&mut net, &flood).iter().filter(|s| matches!(s.verdict, Verdict::Tx(_))).count();
            let data: Vec<_> = (ended..CONNECTIONS).map(|n| Frame::ack(&client(vip, n), vip)).collect();
            for (n, sent) in (ended..).zip(burst(&mut net, &data)) {
                assert_eq!(way(&sent), ways[&n], "connection {n} of {vip}");
            }
            assert!(net.active() <= CONNECTIONS as u64);
        }
        assert_eq!(memory(&net), before, "{vip}");
        assert!(net.figures()["evicted"] > 5000, "{:?}", net.figures());
        assert!(forwarded > 9000, "{forwarded} of 10,000 new clients were served");
    }
}

/// NAT of UDP is the one state that takes the short way and may be pushed out.
#[test]
fn a_pushed_out_connection_is_not_found_by_an_old_hint() {
    let vip = "192.0.2.10:53";
    let mut net = Net::with_connections(all_modes(), 40);
    let udp = |n: usize| Frame::udp(&client(vip, n), vip);
    for n in 0..2000 {
        let frames = [udp(n), udp(n + 1), udp(n), udp(n.saturating_sub(39)), udp(n + 2), udp(n)];
        for (frame, sent) in frames.iter().zip(burst(&mut net, &frames)) {
            let Verdict::Tx(_) = sent.verdict else {
                assert_eq!(sent.dropped(), DropReason::TableFull);
                continue;
            };
            // The client's packet, to one of the two backends, and right to the last bit.
            checksums_are_right(&sent.frame);
            let backend = sent.frame[5];
            assert!(backend == 1 || backend == 2);
            assert_eq!(sent.frame[30..34], [10, 1, 0, backend], "the address belongs to the MAC address");
            assert_eq!(sent.frame[26..30], frame.build()[26..30]);
            assert_eq!(sent.frame[34..36], frame.src.1.to_be_bytes());
        }
        assert!(net.active() <= 40);
    }
}
