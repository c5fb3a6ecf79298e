//! Asks the API of the running tidegate.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use super::failure::Failure;
use crate::control::api::Places;
use crate::control::status::ApiError;

/// Longer than anything that the API takes.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(90);
/// Bytes of the longest answer: a million connections.
const ANSWER_BYTES_MAX: usize = 1 << 30;

/// See the module.
#[derive(Debug)]
pub struct Client {
    socket: Option<PathBuf>,
    patience: Duration,
}

impl Client {
    /// Asks at `socket`, or at the usual places.
    pub fn new(socket: Option<PathBuf>) -> Self {
        Self { socket, patience: ANSWER_TIME_MAX }
    }

    /// Waits so long for an answer.
    pub fn with_patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// The body of the answer to a GET.
    ///
    /// # Errors
    /// Why there is none.
    pub fn get(&self, path: &str) -> Result<String, Failure> {
        self.send(Request::get(path).header("host", "tidegate").body(Full::default()))
    }

    /// The answer to a POST of `body`.
    ///
    /// # Errors
    /// Why there is none.
    pub fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, Failure> {
        let strange = |error: serde_json::Error| Failure::running(format!("error: {path}: {error}"));
        let body = serde_json::to_vec(body).map_err(strange)?;
        let request = Request::post(path).header("host", "tidegate").header("content-type", "application/json");
        let answer = self.send(request.body(Full::from(body)))?;
        serde_json::from_str(&answer).map_err(strange)
    }

    /// The body of the answer to a request without one.
    ///
    /// # Errors
    /// Why there is none.
    pub fn exchange(&self, method: Method, path: &str) -> Result<String, Failure> {
        self.send(Request::builder().method(method).uri(path).header("host", "tidegate").body(Full::default()))
    }

    /// Gives the answer to a POST of `body` to `each`, piece by piece, until it ends. After Ctrl-C a DELETE asks for the
    /// end, so that what comes is whole; after another one the process ends.
    ///
    /// # Errors
    /// Why there is no answer, or why it is not whole; what `each` failed with.
    pub fn stream(
        &self,
        path: &str,
        body: &impl Serialize,
        mut each: impl FnMut(&[u8]) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let failed = |error: &dyn std::fmt::Display| Failure::running(format!("error: {path}: {error}"));
        let body = serde_json::to_vec(body).map_err(|error| failed(&error))?;
        let request = Request::post(path).header("host", "tidegate").header("content-type", "application/json");
        let request = request.body(Full::<Bytes>::from(body)).map_err(|error| failed(&error))?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.map_err(|error| failed(&error))?.block_on(async {
            let (stream, _) = self.connect().await?;
            let (mut sender, connection) =
                http1::handshake(TokioIo::new(stream)).await.map_err(|error| failed(&error))?;
            tokio::spawn(connection);
            let mut response = sender.send_request(request).await.map_err(|error| failed(&error))?;
            if !response.status().is_success() {
                let body = Limited::new(response.body_mut(), ANSWER_BYTES_MAX).collect().await;
                let body = body.map_err(|error| failed(&error))?.to_bytes();
                return Err(refusal(response.status(), String::from_utf8_lossy(&body).into_owned()));
            }
            let mut asked = false;
            loop {
                let frame = tokio::select! {
                    frame = response.frame() => frame,
                    _ = tokio::signal::ctrl_c(), if !asked => {
                        asked = true;
                        self.ask_to_end(path).await?;
                        continue;
                    }
                    _ = tokio::signal::ctrl_c(), if asked => return Err(failed(&"interrupted, so what was written is not whole")),
                };
                match frame {
                    Some(Ok(frame)) => each(frame.data_ref().map(|data| &data[..]).unwrap_or_default())?,
                    Some(Err(error)) => return Err(failed(&format!("the running tidegate has ended: {error}"))),
                    None => return Ok(()),
                }
            }
        })
    }

    async fn ask_to_end(&self, path: &str) -> Result<(), Failure> {
        let (stream, _) = self.connect().await?;
        let request = Request::delete(path).header("host", "tidegate").body(Full::default());
        let failed = |error: AnyError| Failure::running(format!("error: {path}: {error}"));
        exchange(stream, request.map_err(|error| failed(error.into()))?).await.map_err(failed)?;
        Ok(())
    }

    fn send(&self, request: hyper::http::Result<Request<Full<Bytes>>>) -> Result<String, Failure> {
        let request = request.map_err(|error| Failure::running(format!("error: {error}")))?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| Failure::running(format!("error: cannot start: {error}")))?;
        let (status, body) = runtime.block_on(async {
            let (stream, path) = self.connect().await?;
            let lost = |why: String| {
                Failure::running(format!("error: {}: {why}; see the log of that tidegate", path.display()))
            };
            match tokio::time::timeout(self.patience, exchange(stream, request)).await {
                Ok(answer) => answer.map_err(|error| lost(format!("no answer from the running tidegate: {error}"))),
                Err(_) => Err(lost(format!("no answer in {:.0?}", self.patience))),
            }
        })?;
        if status.is_success() {
            return Ok(body);
        }
        Err(refusal(status, body))
    }

    async fn connect(&self) -> Result<(UnixStream, PathBuf), Failure> {
        let places = Places::of_process();
        let candidates = self.socket.clone().map_or_else(|| places.candidates(), |socket| vec![socket]);
        let mut tried = Vec::new();
        for path in candidates {
            let connected = match &self.socket {
                None => trusted(&path, places.uid),
                Some(_) => Ok(()),
            };
            let connected = match connected {
                Ok(()) => UnixStream::connect(&path).await,
                Err(error) => Err(error),
            };
            match connected {
                Ok(stream) => return Ok((stream, path)),
                Err(error) => tried.push((path, error)),
            }
        }
        Err(nobody(&tried))
    }
}

fn refusal(status: StatusCode, body: String) -> Failure {
    let said = serde_json::from_str::<ApiError>(&body).map_or(body, |answer| answer.error);
    match status {
        StatusCode::UNPROCESSABLE_ENTITY => Failure::configuration(said),
        // Who was named is not there.
        StatusCode::NOT_FOUND => Failure::usage(format!("error: {said}")),
        _ => Failure::running(format!("error: {said}")),
    }
}

/// Everybody may put a socket into `/tmp`; only root's and the user's own are asked unless one is named.
fn trusted(path: &Path, uid: u32) -> io::Result<()> {
    let owner = fs::metadata(path)?.uid();
    if owner == 0 || owner == uid || uid == 0 {
        return Ok(());
    }
    Err(io::Error::new(ErrorKind::PermissionDenied, "it is another user's"))
}

fn nobody(tried: &[(PathBuf, io::Error)]) -> Failure {
    let why = |error: &io::Error| match error.kind() {
        ErrorKind::NotFound => "no such file".to_owned(),
        ErrorKind::ConnectionRefused => "nobody listens".to_owned(),
        ErrorKind::PermissionDenied if error.raw_os_error().is_some() => "permission denied".to_owned(),
        _ => error.to_string(),
    };
    let places: Vec<String> =
        tried.iter().map(|(path, error)| format!("{} ({})", path.display(), why(error))).collect();
    let denied = tried.iter().any(|(_, error)| error.kind() == ErrorKind::PermissionDenied);
    let advice = if denied {
        "ask as root or as a member of the socket's group, or name another socket with --socket"
    } else {
        "start one with `tidegate run --config FILE`, or name its socket with --socket"
    };
    Failure::running(format!("error: no tidegate answers at {}; {advice}", places.join(", ")))
}

/// An answer as what it is expected to be.
///
/// # Errors
/// It is something else.
pub fn read<T: DeserializeOwned>(body: &str) -> Result<T, Failure> {
    serde_json::from_str(body).map_err(|error| {
        Failure::running(format!(
            "error: the running tidegate answers in another way than this one expects ({error}); use its own version"
        ))
    })
}

type AnyError = Box<dyn std::error::Error + Send + Sync>;

async fn exchange(stream: UnixStream, request: Request<Full<Bytes>>) -> Result<(StatusCode, String), AnyError> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let response = sender.send_request(request).await?;
    let status = response.status();
    let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await?.to_bytes();
    Ok((status, String::from_utf8(body.to_vec())?))
}
