//! Several workers: each connection has one owner, both directions of it and the errors about it.

use std::sync::Arc;

use proptest::prelude::*;

use crate::lb::connection::flags::*;
use crate::lb::ids::WorkerId;
use crate::lb::path::Origin;
use crate::lb::snapshot::SnapshotSpec;
use crate::lb::steer::Rss;
use crate::lb::testing::*;
use crate::lb::toeplitz::{MICROSOFT_KEY, Reta, Toeplitz};
use crate::lb::verdict::Verdict;

fn workers(n: u16) -> SnapshotSpec {
    let mut all = all_modes();
    all.workers = n;
    all
}

fn rss(n: u16) -> Arc<Rss> {
    Arc::new(Rss {
        toeplitz: Toeplitz::new(&MICROSOFT_KEY).unwrap(),
        reta: Reta::in_turn(128, n).unwrap(),
        queue_workers: (0..n).map(WorkerId).collect(),
    })
}

fn client(v4: bool, host: u8, port: u16) -> String {
    if v4 { format!("198.51.100.{host}:{port}") } else { format!("[2001:db8:c::{host:x}]:{port}") }
}

fn host_of(text: &str) -> String {
    end(text).0.to_string()
}

fn error(to: &str, quote: &[u8]) -> Frame {
    if end(to).0.is_ipv4() {
        icmp4("203.0.113.9", &host_of(to), [3, 4], [0, 0, 5, 0], quote)
    } else {
        icmp6("2001:db8:9::9", &host_of(to), [2, 0], [0, 0, 5, 0], quote)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn one_worker_sees_all_of_a_nat_connection(
        n in 2u16..9,
        which in 0usize..4,
        host: u8,
        port in 1u16..,
        arrivals in prop::array::uniform5(0u16..64),
        with_rss: bool,
    ) {
        let (vip, protocol, v4) =
            [("192.0.2.10:80", 6, true), ("192.0.2.10:53", 17, true), ("[2001:db8::10]:80", 6, false), ("[2001:db8::10]:53", 17, false)][which];
        let mut all = workers(n);
        if with_rss {
            all.ports[0].rss = Some(rss(n));
            all.ports[1].rss = Some(rss(n));
        }
        let mut net = Net::new(all);
        let client = client(v4, host, port);
        let packet = |src: &str, dst: &str, flags| {
            if protocol == 6 { Frame::tcp(src, dst, flags) } else { Frame::udp(src, dst) }
        };
        // Whichever worker the NIC gives them to.
        let [a, b, c, d, e] = arrivals.map(|a| a % n);
        let request = net.send_to(a, 0, &packet(&client, vip, SYN).build());
        let owner = request.worker;
        let backend_no = request.tx().1[5];
        let backend = if v4 { format!("10.1.0.{backend_no}:8080") } else { format!("[fd01::{backend_no}]:8080") };
        let again = net.send_to(b, 0, &packet(&client, vip, ACK).build());
        let reply = net.send_to(c, 1, &packet(&backend, &client, ACK).on_lan(backend_mac(1)).build());
        let about_reply = net.send_to(d, 0, &error(vip, &packet(vip, &client, ACK).packet()).build());
        let about_request = net.send_to(e, 1, &error(&client, &packet(&client, &backend, ACK).packet()).on_lan(ROUTER).build());
        for sent in [&again, &reply, &about_reply, &about_request] {
            prop_assert_eq!(sent.worker, owner);
            prop_assert!(matches!(sent.verdict, Verdict::Tx(_)), "{:?}", sent.verdict);
        }
        let figures = net.figures();
        prop_assert_eq!(figures["created"], 1);
        let handed = [a, b, c, d, e].iter().filter(|&&w| w != owner).count() as i64;
        prop_assert_eq!(figures.get("handoffs").copied().unwrap_or(0), handed);
    }

    #[test]
    fn without_rss_tunnel_packets_and_errors_find_one_owner(
        n in 2u16..9, v4: bool, host: u8, port in 1u16.., a in 0u16..64, b in 0u16..64,
    ) {
        let vip = if v4 { "192.0.2.20:80" } else { "[2001:db8::21]:80" };
        let mut net = Net::new(workers(n));
        let client = client(v4, host, port);
        let request = net.send_to(a % n, 0, &Frame::syn(&client, vip).build());
        let error = net.send_to(b % n, 0, &error(vip, &Frame::ack(vip, &client).packet()).build());
        prop_assert_eq!(request.worker, error.worker);
        prop_assert_eq!(&request.tx().1[..6], &error.tx().1[..6]);
        prop_assert!(!net.figures().contains_key("stateless"));
    }

    #[test]
    fn with_rss_tunnel_packets_stay_and_errors_follow_the_nic(
        n in 2u16..9, v4: bool, host: u8, port in 1u16.., anywhere in 0u16..64,
    ) {
        let vip = if v4 { "192.0.2.20:80" } else { "[2001:db8::21]:80" };
        let mut all = workers(n);
        let rss = rss(n);
        all.ports[0].rss = Some(rss.clone());
        let mut net = Net::new(all);
        let client = client(v4, host, port);
        let (c, v) = (end(&client), end(vip));
        let nic = rss.worker(c.0, v.0, c.1, v.1).unwrap();
        // The NIC's choice stands, even if it were another than this hash says.
        let stays = net.burst(anywhere % n, Origin::Port, &[TestPacket::new(0, &Frame::ack(&client, vip).build())]).remove(0);
        prop_assert!(matches!(stays.verdict, Verdict::Tx(_)));
        let request = net.send_to(nic.0, 0, &Frame::syn(&client, vip).build());
        prop_assert_eq!(request.worker, nic.0);
        let error = net.send_to(anywhere % n, 0, &error(vip, &Frame::ack(vip, &client).packet()).build());
        prop_assert_eq!(error.worker, nic.0);
        prop_assert_eq!(&request.tx().1[..6], &error.tx().1[..6]);
    }

    /// The device keeps connections together, but nobody knows how: errors ask one worker after the other.
    #[test]
    fn packets_stay_on_a_trusted_queue_and_errors_find_them(
        n in 2u16..9, v4: bool, host: u8, port in 1u16.., there in 0u16..64, arrives in 0u16..64, known: bool,
    ) {
        let vip = if v4 { "192.0.2.20:80" } else { "[2001:db8::21]:80" };
        let mut all = workers(n);
        all.ports[0].is_placed = true;
        let mut net = Net::new(all);
        let client = client(v4, host, port);
        let mut request = None;
        if known {
            let sent = net.send_to(there % n, 0, &Frame::syn(&client, vip).build());
            prop_assert_eq!(sent.worker, there % n);
            prop_assert!(!net.figures().contains_key("handoffs"));
            request = Some(sent.tx().1[..6].to_vec());
        }
        let error = net.send_to(arrives % n, 0, &error(vip, &Frame::ack(vip, &client).packet()).build());
        // The last one that is asked falls back on the hash.
        prop_assert_eq!(error.worker, if known { there % n } else { n - 1 });
        prop_assert_eq!(net.figures().get("stateless").copied(), (!known).then_some(1));
        if let Some(request) = request {
            prop_assert_eq!(&request[..], &error.tx().1[..6]);
        }
    }

    /// A NAT connection has two directions, and the device knows of one each.
    #[test]
    fn nat_packets_are_handed_over_even_from_trusted_queues(
        n in 2u16..9, host: u8, port in 1u16.., arrivals in prop::array::uniform3(0u16..64),
    ) {
        let mut all = workers(n);
        all.ports.iter_mut().for_each(|port| port.is_placed = true);
        let mut net = Net::new(all);
        let (client, vip) = (client(true, host, port), "192.0.2.10:80");
        let [a, b, c] = arrivals.map(|a| a % n);
        let request = net.send_to(a, 0, &Frame::syn(&client, vip).build());
        let backend = format!("10.1.0.{}:8080", request.tx().1[5]);
        let again = net.send_to(b, 0, &Frame::ack(&client, vip).build());
        let reply = net.send_to(c, 1, &Frame::ack(&backend, &client).on_lan(backend_mac(1)).build());
        prop_assert_eq!((again.worker, reply.worker), (request.worker, request.worker));
    }
}

/// Bursts of packets for several workers keep the order of each flow, and every packet its own verdict.
#[test]
fn packets_of_other_workers_are_taken_out_of_the_middle_of_bursts() {
    for rounds in 0..40 {
        let mut net = Net::new(workers(3));
        let clients: Vec<_> = (0..32).map(|k| client(k % 5 != 0, 7, 1000 + 40 * rounds + k)).collect();
        let vip = |client: &str| if client.starts_with('[') { "[2001:db8::21]:80" } else { "192.0.2.20:80" };
        let alone: Vec<_> = clients.iter().map(|c| net.send(0, &Frame::syn(c, vip(c)).build()).worker).collect();
        for _ in 0..2 {
            // Every fourth IPv4 packet has options, which is another way into the same choice.
            let options =
                |k: usize, c: &str| if k.is_multiple_of(4) && !c.starts_with('[') { vec![1; 4] } else { Vec::new() };
            let frame = |(k, c): (usize, &String)| Frame::ack(c, vip(c)).with(|f| f.options.1 = options(k, c)).build();
            let frames: Vec<_> = clients.iter().enumerate().map(frame).collect();
            let packets: Vec<_> = frames.iter().map(|frame| TestPacket::new(0, frame)).collect();
            let sent = net.burst(1, Origin::Port, &packets);
            for ((sent, frame), &owner) in sent.iter().zip(&frames).zip(&alone) {
                if owner == 1 {
                    let inner = &frame[14..];
                    assert!(matches!(sent.verdict, Verdict::Tx(_)) && sent.frame.ends_with(inner));
                } else {
                    assert_eq!((sent.verdict, &sent.frame), (Verdict::Handoff(WorkerId(owner)), frame));
                }
            }
            assert!(sent.iter().filter(|sent| matches!(sent.verdict, Verdict::Handoff(_))).count() > 5);
        }
    }
}

#[test]
fn connections_spread_over_the_workers() {
    let mut net = Net::new(workers(4));
    for port in 1000..3000 {
        net.send(0, &Frame::syn(&client(true, 7, port), "192.0.2.10:80").build()).tx();
    }
    for shard in &net.shards {
        let n = shard.counters.connections_created.get();
        assert!((400..600).contains(&n), "{n} of 2000 on one of four");
    }
}

#[test]
fn what_has_no_connection_is_dealt_with_where_it_arrives() {
    let mut net = Net::new(workers(4));
    for worker in 0..4 {
        for frame in [
            icmp4("198.51.100.7", "192.0.2.10", [8, 0], [0; 4], b"x").build(),
            arp(1, ROUTER, "10.0.0.1", "10.0.0.2"),
            Frame::syn("198.51.100.7:1", "10.0.0.2:22").build(),
            Frame::udp("198.51.100.7:1", "192.0.2.10:0").with(|f| f.protocol = 47).build(),
            error("192.0.2.10:0", b"").build(),
            Frame::syn("198.51.100.7:1", "192.0.2.10:80").with(|f| f.dst_mac = LAN).build(),
            vec![0; 20],
        ] {
            let sent = net.burst(worker, Origin::Port, &[TestPacket::new(0, &frame)]).remove(0);
            assert!(!matches!(sent.verdict, Verdict::Handoff(_)), "{frame:02x?}");
        }
    }
}

#[test]
fn a_packet_handed_over_is_never_handed_on() {
    let mut net = Net::new(workers(4));
    for worker in 0..4 {
        let packet = TestPacket::new(0, &Frame::syn("198.51.100.7:1", "192.0.2.20:80").build());
        let sent = net.burst(worker, Origin::Ring, &[packet]).remove(0);
        assert!(matches!(sent.verdict, Verdict::Tx(_)));
    }
}
