//! The `dns` check against servers of the tests' own.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::control::config::{DnsCheck, DnsCode, DnsRecord};

/// The query as an answer with these flags and this many address records, the last of them 192.0.2.1.
fn answer(query: &[u8], flags: [u8; 2], records: u8) -> Vec<u8> {
    let mut answer = query.to_vec();
    answer[2..4].copy_from_slice(&flags);
    answer[7] = records;
    for last in (1..=records).rev() {
        answer.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, last]);
    }
    answer
}

/// Answers over UDP, and with four records over TCP.
async fn server(flags: [u8; 2], records: u8) -> SocketAddr {
    // Both under one number.
    let (udp, tcp) = loop {
        let tcp = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        if let Ok(udp) = tokio::net::UdpSocket::bind(tcp.local_addr().unwrap()).await {
            break (udp, tcp);
        }
    };
    let address = tcp.local_addr().unwrap();
    tokio::spawn(async move {
        let mut query = [0; 512];
        while let Ok((len, from)) = udp.recv_from(&mut query).await {
            // Somebody guesses first.
            let mut wrong = answer(&query[..len], [0x81, 0x82], 0);
            wrong[0] ^= 1;
            udp.send_to(&wrong, from).await.unwrap();
            udp.send_to(&answer(&query[..len], flags, records), from).await.unwrap();
        }
    });
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = tcp.accept().await {
            let mut query = vec![0; usize::from(stream.read_u16().await.unwrap())];
            stream.read_exact(&mut query).await.unwrap();
            let answer = answer(&query, [0x81, 0x80], 4);
            stream.write_u16(answer.len() as u16).await.unwrap();
            stream.write_all(&answer).await.unwrap();
        }
    });
    address
}

fn spec(code: DnsCode, answer: Option<&str>) -> HealthCheck {
    let answer = answer.map(str::to_owned);
    HealthCheck::Dns(DnsCheck { query: "www.Example.com".into(), record: DnsRecord::A, code, answer })
}

#[tokio::test]
async fn code_and_record_must_be_right() {
    let address = server([0x81, 0x80], 2).await;
    assert_eq!(run(spec(DnsCode::NoError, None), address).await, good("answers noerror"));
    assert_eq!(run(spec(DnsCode::NoError, Some("192.0.2.1")), address).await, good("answers 192.0.2.1"));
    let other = failed("192.0.2.2, 192.0.2.1, expected 192.0.2.9");
    assert_eq!(run(spec(DnsCode::NoError, Some("192.0.2.9")), address).await, other);
    assert_eq!(run(spec(DnsCode::NxDomain, None), address).await, failed("noerror, expected nxdomain"));
    let address = server([0x81, 0x85], 0).await;
    assert_eq!(run(spec(DnsCode::Refused, None), address).await, good("answers refused"));
    assert_eq!(run(spec(DnsCode::NoError, Some("192.0.2.1")), address).await, failed("refused, expected noerror"));
    let address = server([0x81, 0x80], 0).await;
    let none = failed("no A record, expected 192.0.2.1");
    assert_eq!(run(spec(DnsCode::NoError, Some("192.0.2.1")), address).await, none);
    let address = server([0x81, 0x80], 9).await;
    let many = failed("192.0.2.9, 192.0.2.8, 192.0.2.7 and 6 more, expected 192.0.2.99");
    assert_eq!(run(spec(DnsCode::NoError, Some("192.0.2.99")), address).await, many);
}

#[tokio::test]
async fn what_does_not_fit_is_asked_for_over_tcp() {
    let address = server([0x83, 0x80], 0).await;
    assert_eq!(run(spec(DnsCode::NoError, None), address).await, good("answers noerror"));
    assert_eq!(run(spec(DnsCode::NoError, Some("192.0.2.4")), address).await, good("answers 192.0.2.4"));
    let mut over_tcp = target_of(spec(DnsCode::NoError, Some("192.0.2.3")), server([0x81, 0x82], 0).await);
    over_tcp.over_tcp = true;
    assert_eq!(check_of(over_tcp).run().await, good("answers 192.0.2.3"));
}

#[tokio::test]
async fn a_server_that_is_gone_or_silent_has_failed() {
    let socket = tokio::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = socket.local_addr().unwrap();
    assert_eq!(run(spec(DnsCode::NoError, None), address).await, failed("timed out after 300 ms: no answer"));
    drop(socket);
    // The kernel sends so many ICMP messages a second, to all tests together, and anybody may get the port.
    let (mut said, mut tries) = (failed("timed out after 300 ms: no answer"), 0);
    while said == failed("timed out after 300 ms: no answer") && tries < 10 {
        said = run(spec(DnsCode::NoError, None), address).await;
        tries += 1;
    }
    assert_eq!(said, failed("port unreachable"));
}
