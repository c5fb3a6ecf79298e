//! Who may ask what: the socket everything, clients over TCP what is open, and the rest with the token.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::sync::Semaphore;
use tracing::warn;

use super::attempts::{Attempts, Source};
use super::body;
use super::refusal::Refusal;
use super::slots::Slots;
use super::stream::FOLLOWERS_MAX;
use crate::control::config::{Api, Token};
use crate::control::serve::Shared;

/// TCP connections at once.
pub const TCP_CONNECTIONS_MAX: usize = 256;
/// KiB of large answers that clients over TCP may have waiting for them.
const ANSWERS_KIB_MAX: usize = 64 << 10;

/// Where a request comes from.
#[derive(Clone, Debug)]
pub enum Caller {
    /// The Unix socket: its file's mode says who that can be.
    Socket,
    /// A client over TCP.
    Tcp {
        /// Its address.
        address: IpAddr,
        /// Set once it has shown the token on this connection.
        is_trusted: Arc<AtomicBool>,
    },
}

impl Caller {
    /// Whether it may name files and see secrets.
    pub fn is_socket(&self) -> bool {
        matches!(self, Self::Socket)
    }
}

/// What a request wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Right {
    /// To know whether all is well: for everybody.
    Open,
    /// Figures that name no client: for everybody, unless the configuration says otherwise.
    Figures,
    /// What names clients or is of the inside: with the token.
    Private,
    /// To change something: with the token.
    Change,
}

/// Who is let in, and what became of those who were not.
pub struct Door {
    access: Mutex<Access>,
    attempts: Mutex<Attempts>,
    /// TCP connections.
    pub slots: Arc<Slots>,
    answers: Arc<Semaphore>,
    socket_followers: Arc<Semaphore>,
    tcp_followers: Arc<Semaphore>,
    refused: [AtomicU64; REFUSED.len()],
}

/// Why requests over TCP are refused, as the label of a metric.
const REFUSED: [&str; 4] = ["no_token", "wrong_token", "slowed_down", "large_answers"];

/// What of the configuration matters here.
#[derive(Clone, Default)]
struct Access {
    token: Option<Token>,
    open_reads: bool,
}

/// For metrics.
#[derive(Clone, Copy, Debug)]
pub struct DoorCounts {
    /// TCP connections now.
    pub connections: u64,
    /// Those that were closed for newer ones.
    pub evicted: u64,
    /// Requests by the reason of their refusal.
    pub refused: [(&'static str, u64); REFUSED.len()],
}

impl Default for DoorCounts {
    fn default() -> Self {
        Self { connections: 0, evicted: 0, refused: REFUSED.map(|reason| (reason, 0)) }
    }
}

impl Door {
    /// As the configuration wants it.
    pub fn new(api: &Api) -> Self {
        let door = Self {
            access: Mutex::default(),
            attempts: Mutex::new(Attempts::new(Instant::now())),
            slots: Arc::new(Slots::new(TCP_CONNECTIONS_MAX)),
            answers: Arc::new(Semaphore::new(ANSWERS_KIB_MAX)),
            socket_followers: Arc::new(Semaphore::new(FOLLOWERS_MAX)),
            tcp_followers: Arc::new(Semaphore::new(FOLLOWERS_MAX)),
            refused: Default::default(),
        };
        door.renew(api);
        door
    }

    /// Takes over what a reload has read.
    pub fn renew(&self, api: &Api) {
        let access = Access { token: api.token.clone(), open_reads: api.open_reads };
        *self.access.lock().unwrap_or_else(PoisonError::into_inner) = access;
    }

    /// Places of clients that follow the events.
    pub fn followers(&self, caller: &Caller) -> Arc<Semaphore> {
        if caller.is_socket() { self.socket_followers.clone() } else { self.tcp_followers.clone() }
    }

    /// How often what happened.
    pub fn counts(&self) -> DoorCounts {
        let (connections, evicted) = self.slots.counts();
        let mut refused = REFUSED.map(|reason| (reason, 0));
        for ((_, to), from) in refused.iter_mut().zip(&self.refused) {
            *to = from.load(Ordering::Relaxed);
        }
        DoorCounts { connections, evicted, refused }
    }

    /// Lets a request pass, or says why not.
    fn judge(&self, right: Right, request: &Request) -> Result<(), Denied> {
        let (address, is_trusted) = match request.extensions().get::<Caller>() {
            Some(Caller::Socket) => return Ok(()),
            Some(Caller::Tcp { address, is_trusted }) => (*address, is_trusted),
            None => return Err(Denied::NoTokenSet),
        };
        let Access { token, open_reads } = self.access.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let given = request.headers().get(header::AUTHORIZATION);
        let is_open = right == Right::Open || right == Right::Figures && open_reads;
        match (token, given) {
            (None, _) if is_open => Ok(()),
            (None, _) => Err(Denied::NoTokenSet),
            (Some(_), None) if is_open => Ok(()),
            (Some(_), None) => Err(Denied::NoToken),
            // A wrong token is wrong also where none is needed: who sends one is to know.
            (Some(token), Some(given)) => {
                self.check(&token, given, address)?;
                is_trusted.store(true, Ordering::Relaxed);
                Ok(())
            }
        }
    }

    fn check(&self, token: &Token, given: &HeaderValue, address: IpAddr) -> Result<(), Denied> {
        let (source, now) = (Source::of(address), Instant::now());
        let mut attempts = self.attempts.lock().unwrap_or_else(PoisonError::into_inner);
        attempts.may_try(source, now).map_err(Denied::SlowedDown)?;
        if bearer(given).is_some_and(|given| token.is(given)) {
            return Ok(());
        }
        let said = attempts.failed(source, now);
        drop(attempts);
        if let Some(count) = said {
            let client = address.to_string();
            warn!(client, count, "requests to the API with a wrong token: {count}, the last from {client}");
        }
        Err(Denied::Wrong)
    }

    fn count(&self, reason: &str) {
        let at = REFUSED.iter().position(|known| *known == reason);
        if let Some(count) = at.and_then(|at| self.refused.get(at)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Why a request over TCP is not let in.
enum Denied {
    NoTokenSet,
    NoToken,
    Wrong,
    SlowedDown(Duration),
}

impl Denied {
    /// As in [`REFUSED`].
    fn reason(&self) -> &'static str {
        match self {
            Self::NoTokenSet | Self::NoToken => "no_token",
            Self::Wrong => "wrong_token",
            Self::SlowedDown(_) => "slowed_down",
        }
    }
}

impl IntoResponse for Denied {
    fn into_response(self) -> Response {
        let (status, why) = match &self {
            Self::NoTokenSet => (
                StatusCode::FORBIDDEN,
                "over TCP only open figures can be read, since no `[control.api] token_file` is set; use the Unix socket",
            ),
            Self::NoToken => (StatusCode::UNAUTHORIZED, "this needs the token: `Authorization: Bearer TOKEN`"),
            Self::Wrong => (StatusCode::UNAUTHORIZED, "the token is wrong"),
            Self::SlowedDown(_) => {
                (StatusCode::TOO_MANY_REQUESTS, "too many wrong tokens came from this address; try again later")
            }
        };
        let mut response = Refusal(status, why.to_owned()).into_response();
        let headers = response.headers_mut();
        if status == StatusCode::UNAUTHORIZED {
            // RFC 9110 section 11.6.1: a 401 says how to do it right.
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"tidegate\""));
        }
        if let Self::SlowedDown(wait) = self {
            headers.insert(header::RETRY_AFTER, wait.as_secs().max(1).into());
        }
        response
    }
}

/// The token of `Bearer TOKEN` (RFC 6750 section 2.1); the word may be in any case (RFC 9110 section 11.1).
fn bearer(value: &HeaderValue) -> Option<&[u8]> {
    let (scheme, token) = value.as_bytes().split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
}

/// Guards all routes of a kind.
pub async fn guard(State((shared, right)): State<(Arc<Shared>, Right)>, request: Request, next: Next) -> Response {
    match shared.door().judge(right, &request) {
        Ok(()) => next.run(request).await,
        Err(denied) => {
            shared.door().count(denied.reason());
            denied.into_response()
        }
    }
}

/// Keeps what clients over TCP can make us hold in memory within bounds: a body comes in time or not at all, and a large
/// answer waits for its reader only while there is room.
pub async fn bounded(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    let is_tcp = matches!(request.extensions().get(), Some(Caller::Tcp { .. }));
    let request = match body::received(request).await {
        Ok(request) => request,
        Err(refusal) => return refusal.into_response(),
    };
    let response = next.run(request).await;
    if !is_tcp {
        return response;
    }
    let door = shared.door();
    body::budgeted(response, &door.answers).unwrap_or_else(|| {
        let why = "too many large answers wait for their readers; try again".to_owned();
        door.count("large_answers");
        Refusal(StatusCode::SERVICE_UNAVAILABLE, why).into_response()
    })
}
