//! The `http` check against servers that answer what they should not.

use std::io::{Read, Write};
use std::sync::mpsc::{Receiver, channel};

use super::*;
use crate::control::config::{HttpCheck, Statuses};

/// Answers every client with `answer` after its request, and gives the requests.
fn server(answer: &'static [u8]) -> (SocketAddr, Receiver<String>) {
    let (listener, address) = listen();
    let (sender, requests) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = [0; 4096];
            let Ok(len) = stream.read(&mut request) else { continue };
            if len == 0 || sender.send(String::from_utf8_lossy(&request[..len]).into_owned()).is_err() {
                continue;
            }
            _ = stream.write_all(answer);
        }
    });
    (address, requests)
}

fn spec(status: std::ops::RangeInclusive<u16>) -> HttpCheck {
    HttpCheck { path: "/healthz?full=1".into(), host: None, status: Statuses(vec![status]), body: None, tls: None }
}

async fn http(check: &HttpCheck, address: SocketAddr) -> Outcome {
    run(HealthCheck::Http(check.clone()), address).await
}

#[tokio::test]
async fn the_status_alone_counts() {
    let (address, requests) = server(b"HTTP/1.1 204 No Content\r\n\r\n");
    assert_eq!(http(&spec(200..=299), address).await, good("status 204"));
    let request = requests.recv().unwrap();
    assert!(request.starts_with("GET /healthz?full=1 HTTP/1.1\r\n"), "{request}");
    assert!(request.contains(&format!("host: {address}\r\n")), "{request}");
    assert!(request.contains("connection: close\r\n") && request.contains("user-agent: tidegate/"), "{request}");
    assert_eq!(http(&spec(200..=200), address).await, failed("status 204, expected 200"));
    let (address, requests) = server(b"HTTP/1.1 503 Busy\r\ncontent-length: 3\r\n\r\nno\n");
    let status = Statuses(vec![200..=299, 301..=301]);
    let named = HttpCheck { host: Some("www.example".into()), status, ..spec(0..=0) };
    assert_eq!(http(&named, address).await, failed("status 503, expected 200-299 or 301"));
    assert!(requests.recv().unwrap().contains("host: www.example\r\n"));
    let others = HttpCheck { status: Statuses(vec![200..=200, 500..=503]), ..spec(0..=0) };
    assert_eq!(http(&others, address).await, good("status 503"));
    assert_eq!(http(&spec(200..=299), refusing()).await, failed("connection refused"));
}

#[tokio::test]
async fn the_body_need_not_end_where_it_does_not_matter() {
    let (address, _requests) = server(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\nand then nothing");
    assert_eq!(http(&spec(200..=200), address).await, good("status 200"));
    let found = HttpCheck { body: Some("then".into()), ..spec(200..=200) };
    assert_eq!(http(&found, address).await, good("status 200 with a good body"));
}

#[tokio::test]
async fn the_body_must_have_its_text() {
    let chunks: &[u8] = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nREA\xff\r\n5\r\nREADY\r\n0\r\n\r\n";
    let (address, _requests) = server(chunks);
    let with = |text: &str| HttpCheck { body: Some(text.into()), ..spec(200..=200) };
    assert_eq!(http(&with("READY"), address).await, good("status 200 with a good body"));
    assert_eq!(http(&with("READY."), address).await, failed("no body match: status 200 without \"READY.\""));
    let (address, _requests) = server(b"HTTP/1.1 500 No\r\ncontent-length: 5\r\n\r\nREADY");
    assert_eq!(http(&with("READY"), address).await, failed("status 500, expected 200"), "the status comes first");
    let (address, _requests) = server(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nREA");
    assert_eq!(http(&with("READY"), address).await, failed("the connection was closed without an answer"));
}

#[tokio::test]
async fn a_text_is_found_across_the_pieces_of_a_body_and_not_beyond_what_is_read() {
    let page = |before: usize| -> &'static [u8] {
        let body = [vec![b'R'; before], b"READY".to_vec(), vec![b'.'; 70_000]].concat();
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
        Box::leak([head.into_bytes(), body].concat().into_boxed_slice())
    };
    let check = HttpCheck { body: Some("READY".into()), ..spec(200..=200) };
    for before in [0, 1000, 30_001, 65_536 - 5] {
        let (address, _requests) = server(page(before));
        assert_eq!(http(&check, address).await, good("status 200 with a good body"), "{before}");
    }
    let (address, _requests) = server(page(65_536 - 4));
    assert_eq!(http(&check, address).await, failed("no body match: status 200 without \"READY\""));
}

#[tokio::test]
async fn what_is_wrong_with_an_answer_is_told_apart() {
    let (address, _requests) = server(b"SSH-2.0-OpenSSH_9.2\r\n");
    assert_eq!(http(&spec(200..=200), address).await, failed("the answer is not HTTP/1"));
    let (address, _requests) = server(b"");
    assert_eq!(http(&spec(200..=200), address).await, failed("the connection was closed without an answer"));
    let endless: &'static [u8] =
        Box::leak([b"HTTP/1.1 200 OK\r\nx: ".as_slice(), &vec![b'a'; 100_000]].concat().into_boxed_slice());
    let (address, _requests) = server(endless);
    assert_eq!(http(&spec(200..=200), address).await, failed("the answer's headers are longer than 32768 bytes"));
}

#[tokio::test]
async fn who_hangs_has_failed_after_the_timeout() {
    // Accepted by the kernel, read by nobody.
    let (_listener, address) = listen();
    let started = Instant::now();
    assert_eq!(http(&spec(200..=200), address).await, failed("timed out after 300 ms: no answer"));
    assert!((SHORT..SHORT * 3).contains(&started.elapsed()), "{:?}", started.elapsed());
}
