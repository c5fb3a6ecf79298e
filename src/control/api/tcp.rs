//! The API on TCP, with TLS or without: bounded in connections, and in the time of each.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tracing::debug;

use super::attempts::Source;
use super::door::Caller;
use super::{pause_after, serve_one};
use crate::control::config::Identity;
use crate::control::serve::Shared;

/// How long the handshake of TLS may take.
const HANDSHAKE_TIME_MAX: Duration = Duration::from_secs(5);

/// The address is taken, or not ours.
#[derive(Debug, thiserror::Error)]
#[error("{address}: the API cannot listen there: {error}; choose another place with `[control.api] listen`")]
pub struct TcpError {
    address: SocketAddr,
    error: std::io::Error,
}

/// Listens at `address`. Needs a tokio runtime.
///
/// # Errors
/// Why it cannot.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, TcpError> {
    TcpListener::bind(address).await.map_err(|error| TcpError { address, error })
}

/// Serves on `listener` until it is aborted.
pub async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let router = super::router(shared.clone());
    let slots = &shared.door().slots;
    let mut connections = JoinSet::new();
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                // With all places in the hands of clients that have the token, the newest is turned away.
                let Some(slot) = slots.take(Source::of(peer.ip())) else { continue };
                let caller = Caller::Tcp { address: peer.ip().to_canonical(), is_trusted: slot.is_trusted.clone() };
                let (id, router) = (slot.id(), router.clone());
                let identity = shared.identity();
                let task = connections.spawn(async move {
                    serve_client(stream, identity, router, caller).await;
                    drop(slot);
                });
                slots.runs(id, task);
            }
            Err(error) => pause_after(&error).await,
        }
        while connections.try_join_next().is_some() {}
    }
}

async fn serve_client(stream: TcpStream, identity: Option<Identity>, router: axum::Router, caller: Caller) {
    // Answers are written whole, so there is nothing to wait for.
    if let Err(error) = stream.set_nodelay(true) {
        debug!("a client of the API is gone: {error}");
        return;
    }
    let Some(identity) = identity else { return serve_one(stream, router, caller).await };
    let handshake = TlsAcceptor::from(identity.server()).accept(stream);
    match tokio::time::timeout(HANDSHAKE_TIME_MAX, handshake).await {
        Ok(Ok(stream)) => serve_one(stream, router, caller).await,
        Ok(Err(error)) => debug!("TLS with a client of the API failed: {error}"),
        Err(_) => debug!("a client of the API did not finish the TLS handshake in time"),
    }
}
