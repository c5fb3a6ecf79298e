//! The `udp` check: answers, silence and ICMP.

use super::*;
use crate::control::config::UdpCheck;

/// Answers each datagram with what `answer` makes of it, in order.
async fn server(answer: impl Fn(&[u8]) -> Vec<Vec<u8>> + Send + 'static) -> SocketAddr {
    let socket = tokio::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut datagram = [0; 1024];
        while let Ok((len, from)) = socket.recv_from(&mut datagram).await {
            for answer in answer(&datagram[..len]) {
                socket.send_to(&answer, from).await.unwrap();
            }
        }
    });
    address
}

/// Where nobody listens.
async fn unreachable() -> SocketAddr {
    tokio::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap().local_addr().unwrap()
}

async fn udp(send: &[u8], expect: Option<&[u8]>, address: SocketAddr) -> Outcome {
    run(HealthCheck::Udp(UdpCheck { send: send.to_vec(), expect: expect.map(<[u8]>::to_vec) }), address).await
}

#[tokio::test]
async fn an_answer_must_have_what_is_expected() {
    let address = server(|datagram| vec![[b"<", datagram, b">"].concat()]).await;
    assert_eq!(udp(b"\x00hi", Some(b"\x00hi>"), address).await, good("answers"));
    assert_eq!(udp(b"", Some(b""), address).await, good("answers"), "any answer");
    let without = failed("timed out after 300 ms: no answer with what is expected");
    assert_eq!(udp(b"hi", Some(b"ho"), address).await, without);
    let second = server(|_| vec![b"late".to_vec(), b"good".to_vec()]).await;
    assert_eq!(udp(b"hi", Some(b"good"), second).await, good("answers"));
}

#[tokio::test]
async fn port_unreachable_is_a_fault_at_once_and_silence_where_an_answer_is_expected() {
    let started = Instant::now();
    for expect in [None, Some(b"x".as_slice())] {
        assert_eq!(udp(b"hi", expect, unreachable().await).await, failed("port unreachable"));
    }
    assert!(started.elapsed() < SHORT, "{:?}", started.elapsed());
    let silent = server(|_| vec![]).await;
    assert_eq!(udp(b"hi", Some(b""), silent).await, failed("timed out after 300 ms: no answer"));
    assert_eq!(udp(b"hi", None, silent).await, good("not refused in 300 ms"));
    let talkative = server(|_| vec![vec![]]).await;
    assert_eq!(udp(b"hi", None, talkative).await, good("answers"));
}
