//! The `http` check: a GET is answered with a good status.

use std::net::SocketAddr;
use std::ops::RangeInclusive;

use http_body_util::Empty;
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::check::Fault;

/// Bytes of the longest status line and headers that are read.
const HEAD_BYTES_MAX: usize = 32 << 10;

/// Good when the status is in `status`; the body is not read. `host` is the `Host` header, the address without one.
pub async fn check(
    address: SocketAddr,
    path: &str,
    host: Option<&str>,
    status: &RangeInclusive<u16>,
) -> Result<String, Fault> {
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(HEAD_BYTES_MAX)
        .handshake::<_, Empty<Bytes>>(TokioIo::new(stream))
        .await
        .map_err(|error| explain(&error))?;
    let host = host.map_or_else(|| address.to_string(), str::to_owned);
    let request = Request::get(path)
        .header("host", host)
        .header("user-agent", concat!("tidegate/", env!("CARGO_PKG_VERSION")))
        .header("accept", "*/*")
        .header("connection", "close")
        .body(Empty::new())
        .map_err(|error| Fault::Answer(format!("the request cannot be made: {error}")))?;
    // Both halves in this one task: dropping them at the end closes the connection, whatever is left of the body.
    let mut connection = std::pin::pin!(connection);
    let mut answer = std::pin::pin!(sender.send_request(request));
    let response = tokio::select! {
        biased;
        response = &mut answer => response,
        ended = &mut connection => match ended {
            Ok(()) => answer.await,
            Err(error) => Err(error),
        },
    };
    let got = response.map_err(|error| explain(&error))?.status().as_u16();
    if status.contains(&got) {
        return Ok(format!("HTTP status {got}"));
    }
    Err(Fault::Answer(format!("HTTP status {got}, not {}", expected(status))))
}

fn expected(status: &RangeInclusive<u16>) -> String {
    let (first, last) = (status.start(), status.end());
    if first == last { first.to_string() } else { format!("{first} to {last}") }
}

fn explain(error: &hyper::Error) -> Fault {
    let source = std::error::Error::source(error).and_then(|source| source.downcast_ref::<std::io::Error>());
    if let Some(io) = source {
        return Fault::Io(io.raw_os_error().map_or_else(|| io.kind().into(), std::io::Error::from_raw_os_error));
    }
    if error.is_incomplete_message() {
        return Fault::Answer("the connection was closed without an answer".to_owned());
    }
    if error.is_parse_too_large() {
        return Fault::Answer(format!("the answer's headers are longer than {HEAD_BYTES_MAX} bytes"));
    }
    if error.is_parse() {
        return Fault::Answer("the answer is not HTTP/1".to_owned());
    }
    Fault::Answer(error.to_string())
}
