//! The `http` check: a GET is answered with a good status, and a body that has what it must have.

use std::net::SocketAddr;

use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use super::fault::{Deadline, Fault};
use crate::control::config::HttpCheck;

/// Bytes of the longest status line and headers that are read.
const HEAD_BYTES_MAX: usize = 32 << 10;
/// Bytes of the body that are read, at the most, where it matters.
const BODY_BYTES_MAX: usize = 64 << 10;

/// Asks on `stream`, a connection to `address` in plain text or inside of TLS.
pub async fn check(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    address: SocketAddr,
    check: &HttpCheck,
    deadline: &Deadline,
) -> Result<String, Fault> {
    let handshake = http1::Builder::new().max_buf_size(HEAD_BYTES_MAX).handshake(TokioIo::new(stream));
    let (mut sender, connection) = handshake.await.map_err(|error| explain(&error))?;
    let request = request(check, address)?;
    let exchange = async {
        let response = sender.send_request(request).await.map_err(|error| explain(&error))?;
        judge(response, check).await
    };
    // Both halves in this one task: dropping them at the end closes the connection, whatever is left of the body.
    let mut connection = std::pin::pin!(connection);
    let mut exchange = std::pin::pin!(exchange);
    let both = async {
        tokio::select! {
            biased;
            judged = &mut exchange => judged,
            ended = &mut connection => match ended {
                Ok(()) => exchange.await,
                Err(error) => Err(explain(&error)),
            },
        }
    };
    deadline.wait("no answer", both).await
}

fn request(check: &HttpCheck, address: SocketAddr) -> Result<Request<Empty<Bytes>>, Fault> {
    let host = check.host.clone().unwrap_or_else(|| address.to_string());
    Request::get(&check.path)
        .header("host", host)
        .header("user-agent", concat!("tidegate/", env!("CARGO_PKG_VERSION")))
        .header("accept", "*/*")
        .header("connection", "close")
        .body(Empty::new())
        .map_err(|error| Fault::Local(format!("the request cannot be made: {error}")))
}

async fn judge(response: Response<Incoming>, check: &HttpCheck) -> Result<String, Fault> {
    let status = response.status().as_u16();
    if !check.status.contains(status) {
        return Err(Fault::Backend(format!("status {status}, expected {}", check.status)));
    }
    let Some(wanted) = &check.body else { return Ok(format!("status {status}")) };
    if body_has(response.into_body(), wanted.as_bytes()).await? {
        return Ok(format!("status {status} with a good body"));
    }
    Err(Fault::Backend(format!("no body match: status {status} without {wanted:?}")))
}

/// Whether `wanted`, which is not empty, is in what is read of the body.
async fn body_has(mut body: Incoming, wanted: &[u8]) -> Result<bool, Fault> {
    let mut left = BODY_BYTES_MAX;
    // What came last, in case the text begins in one piece and ends in the next.
    let mut window: Vec<u8> = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|error| explain(&error))?.into_data() else { continue };
        let piece = data.get(..left.min(data.len())).unwrap_or_default();
        left -= piece.len();
        window.extend_from_slice(piece);
        if window.windows(wanted.len()).any(|part| part == wanted) {
            return Ok(true);
        }
        if left == 0 {
            break;
        }
        window.drain(..window.len().saturating_sub(wanted.len() - 1));
    }
    Ok(false)
}

fn explain(error: &hyper::Error) -> Fault {
    let source = std::error::Error::source(error).and_then(|source| source.downcast_ref::<std::io::Error>());
    if let Some(io) = source {
        return io.raw_os_error().map_or_else(|| io.kind().into(), std::io::Error::from_raw_os_error).into();
    }
    Fault::Backend(if error.is_incomplete_message() {
        "the connection was closed without an answer".to_owned()
    } else if error.is_parse_too_large() {
        format!("the answer's headers are longer than {HEAD_BYTES_MAX} bytes")
    } else if error.is_parse() {
        "the answer is not HTTP/1".to_owned()
    } else {
        error.to_string()
    })
}
