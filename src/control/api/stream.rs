//! `GET /v1/events`: what happens, as it happens, as server-sent events or as lines of JSON.

use std::convert::Infallible;
use std::fmt::Write;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Extension;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use hyper::body::Frame;
use serde::Deserialize;
use tokio::sync::mpsc;

use super::door::Caller;
use super::refusal::Refusal;
use super::routes::bad_query;
use crate::control::events::{Event, Events};
use crate::control::serve::Shared;

/// Events sent at once.
const BATCH: usize = 64;
/// Without events something is sent so often, to find out whether the client is there still.
const QUIET_MAX: Duration = Duration::from_secs(15);
/// Clients that follow over each of the socket and TCP.
pub const FOLLOWERS_MAX: usize = 32;

/// Set for a connection that follows: it may last longer than others.
#[derive(Clone, Debug, Default)]
pub struct Follows(pub Arc<AtomicBool>);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventsQuery {
    /// Number of the last event that the client has; as `Last-Event-ID`.
    after: Option<u64>,
}

/// `GET /v1/events`.
pub async fn events(
    State(shared): State<Arc<Shared>>,
    Extension(caller): Extension<Caller>,
    Extension(follows): Extension<Follows>,
    headers: HeaderMap,
    query: Result<Query<EventsQuery>, QueryRejection>,
) -> Result<Response, Refusal> {
    let Query(query) = query.map_err(bad_query)?;
    let place = shared.door().followers(&caller).try_acquire_owned().map_err(|_| {
        let message = format!("{FOLLOWERS_MAX} clients follow already; close one of them");
        Refusal(StatusCode::SERVICE_UNAVAILABLE, message)
    })?;
    follows.0.store(true, Ordering::Relaxed);
    let events = shared.manager().events.clone();
    let header = headers.get(HeaderName::from_static("last-event-id")).and_then(|value| value.to_str().ok());
    // Without a number, from now on.
    let after = query.after.or_else(|| header.and_then(|text| text.trim().parse().ok()));
    let after = after.unwrap_or_else(|| events.last());
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let as_lines = accept.contains("json");
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        follow(&events, after, as_lines, &sender).await;
        drop(place);
    });
    let kind = if as_lines { "application/x-ndjson" } else { "text/event-stream" };
    let headers = [(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "no-store")];
    Ok((headers, Body::new(Received(receiver))).into_response())
}

/// Sends until the client is gone. One that does not read is waited for, and told afterwards what it has missed.
async fn follow(events: &Events, mut after: u64, as_lines: bool, sender: &mpsc::Sender<Bytes>) {
    let mut newest = events.follow();
    // The head of the answer is sent with the first bytes of its body.
    let mut text = if as_lines { String::new() } else { ": events follow\n\n".to_owned() };
    loop {
        newest.mark_unchanged();
        for event in events.after(after, BATCH) {
            after = event.id;
            write(&event, as_lines, &mut text);
        }
        if !text.is_empty() {
            if sender.send(Bytes::from(std::mem::take(&mut text))).await.is_err() {
                return;
            }
            continue;
        }
        tokio::select! {
            () = sender.closed() => return,
            changed = newest.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(QUIET_MAX) => text.push_str(if as_lines { "\n" } else { ": quiet\n\n" }),
        }
    }
}

fn write(event: &Event, as_lines: bool, text: &mut String) {
    let Ok(json) = serde_json::to_string(event) else { return };
    // Writing to a string cannot fail. JSON has no line breaks.
    _ = match as_lines {
        true => writeln!(text, "{json}"),
        false => write!(text, "id: {}\nevent: {}\ndata: {json}\n\n", event.id, event.kind.word()),
    };
}

struct Received(mpsc::Receiver<Bytes>);

impl HttpBody for Received {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx).map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
    }
}
