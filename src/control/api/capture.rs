//! The route that packets of the running balancer come by.

use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use axum::Extension;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use hyper::body::Frame;

use super::refusal::Refusal;
use super::routes::{Answer, App, blocking, read};
use super::stream::Follows;
use crate::control::capture::{self, CaptureError, CaptureRequest, Format, Stream};

/// POST: packets until the client goes, or what it asked for is done.
pub(super) async fn start(
    State(shared): App,
    Extension(follows): Extension<Follows>,
    body: Result<Bytes, BytesRejection>,
) -> Answer {
    let request: CaptureRequest = read(body, "{\"filter\": \"tcp port 80\", \"count\": 100}")?.unwrap_or_default();
    let (workers, published) = {
        let manager = shared.manager();
        (manager.worker_handles(), manager.published())
    };
    let settings = request.settings(&published.current()).map_err(refused)?;
    let runtime = tokio::runtime::Handle::current();
    let captures = shared.captures.clone();
    let started = blocking(move || capture::start(&captures, settings, workers, published, &runtime)).await?;
    let kind = match request.format {
        Format::Pcapng => "application/x-pcapng",
        Format::Text => "text/plain; charset=utf-8",
    };
    let stream = started.map_err(refused)?;
    follows.0.store(true, Ordering::Relaxed);
    Ok(([(header::CONTENT_TYPE, kind)], Body::new(Chunks(stream))).into_response())
}

/// GET: the capture that runs, or the last one.
pub(super) async fn status(State(shared): App) -> Response {
    Json(shared.captures.status()).into_response()
}

/// DELETE: ends the one that runs, in order.
pub(super) async fn stop(State(shared): App) -> Answer {
    if shared.captures.stop() {
        return Ok(Json(shared.captures.status()).into_response());
    }
    Err(Refusal(StatusCode::CONFLICT, "no capture runs".to_owned()))
}

fn refused(error: CaptureError) -> Refusal {
    let status = match &error {
        CaptureError::Filter(_) | CaptureError::TooLong(_) | CaptureError::Port { .. } | CaptureError::Range { .. } => {
            StatusCode::BAD_REQUEST
        }
        CaptureError::Busy(_) => StatusCode::CONFLICT,
        CaptureError::NoAnswer(_) => StatusCode::SERVICE_UNAVAILABLE,
    };
    Refusal(status, error.to_string())
}

/// A body that is not known in advance.
struct Chunks(Stream);

impl hyper::body::Body for Chunks {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.0.poll_recv(cx).map(|chunk| chunk.map(|chunk| Ok(Frame::data(chunk))))
    }
}
