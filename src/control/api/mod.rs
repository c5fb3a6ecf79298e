//! HTTP with JSON over a Unix socket and TCP: how the command line and other programs look in and steer.

mod ask;
mod attempts;
mod body;
mod capture;
mod door;
mod edits;
mod openapi;
mod page;
mod plain;
mod refusal;
mod routes;
mod slots;
mod socket;
mod stream;
mod table;
pub mod tcp;

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::extract::Request;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tracing::{debug, warn};

pub(super) use ask::{NoAnswer, ask};
pub use door::{Caller, Door, DoorCounts};
pub use routes::router;
pub use socket::{Places, Socket, SocketError, bind};
pub use tcp::TcpError;

use super::serve::Shared;

/// Clients of the Unix socket served at once; more wait to be accepted.
const CONNECTIONS_MAX: usize = 64;
/// How long a client may take to send a request's head, and how long it may stay without one.
const HEAD_TIME_MAX: Duration = Duration::from_secs(10);
/// Bytes of the longest head.
const HEAD_BYTES_MAX: usize = 32 << 10;
/// How long a connection may last: the request in work is finished then, and the client connects again.
const CONNECTION_TIME_MAX: Duration = Duration::from_secs(60);
/// The same of one that follows the events, which is resumed where it was, or a capture.
const FOLLOW_TIME_MAX: Duration = Duration::from_secs(3600);
/// What a connection gets beyond that to finish.
const FINISH_TIME_MAX: Duration = Duration::from_secs(10);

/// Serves on `socket` until it is aborted, which also removes the socket's file.
pub async fn serve(socket: Socket, shared: Arc<Shared>) {
    let router = router(shared);
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    loop {
        let Ok(permit) = permits.clone().acquire_owned().await else { return };
        match socket.listener.accept().await {
            Ok((stream, _)) => {
                let router = router.clone();
                connections.spawn(async move {
                    serve_one(stream, router, Caller::Socket).await;
                    drop(permit);
                });
            }
            Err(error) => pause_after(&error).await,
        }
        while connections.try_join_next().is_some() {}
    }
}

/// Most likely the process has no file descriptor left; trying at once would only burn the CPU.
async fn pause_after(error: &io::Error) {
    warn!("the API cannot accept a client: {error}");
    tokio::time::sleep(Duration::from_millis(200)).await;
}

async fn serve_one(stream: impl AsyncRead + AsyncWrite + Unpin, router: axum::Router, caller: Caller) {
    let router = TowerToHyperService::new(router);
    let follows = stream::Follows::default();
    let extension = follows.clone();
    let service = service_fn(move |mut request: Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(caller.clone());
        request.extensions_mut().insert(extension.clone());
        router.call(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME_MAX)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let ended = match tokio::time::timeout(CONNECTION_TIME_MAX, connection.as_mut()).await {
        Ok(ended) => ended,
        Err(_) if follows.0.load(Ordering::Relaxed) => {
            tokio::time::timeout(FOLLOW_TIME_MAX, connection).await.unwrap_or(Ok(()))
        }
        Err(_) => {
            connection.as_mut().graceful_shutdown();
            tokio::time::timeout(FINISH_TIME_MAX, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        debug!("a client of the API left early: {error}");
    }
}

#[cfg(test)]
mod tests;
