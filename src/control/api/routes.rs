//! The router, and what most routes do.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, Query, State};
use axum::http::{StatusCode, header};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Json, Response};
use axum::{Extension, Router};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::door::{self, Caller};
use super::refusal::Refusal;
use super::table::{ROUTES, Route};
use super::{ask, page};
use crate::control::confirm::RollbackError;
use crate::control::explain::{ExplainError, ExplainRequest};
use crate::control::manager::{CommandError, Manager, ReloadError};
use crate::control::serve::Shared;
use crate::control::status::{BackendRequest, CONFIRM_S_MAX, PlanRequest, Ports, ReloadRequest};

/// Bytes of the largest request body.
const BODY_BYTES_MAX: usize = 1 << 20;
/// Connections shown when no limit is given, and at most.
const CONNECTIONS_DEFAULT: usize = 1000;
const CONNECTIONS_MAX: usize = 1_000_000;
/// How long workers and drivers may take with their answer.
const WORK_TIME_MAX: Duration = Duration::from_secs(30);

pub(super) type App = State<Arc<Shared>>;
pub(super) type Answer = Result<Response, Refusal>;

/// Everything that the API can be asked, each part by those who may.
pub fn router(shared: Arc<Shared>) -> Router {
    let add = |router: Router<Arc<Shared>>, route: &Route| {
        let guard = from_fn_with_state((shared.clone(), route.right), door::guard);
        router.route(route.path, (route.handler)().route_layer(guard))
    };
    let nowhere = "no such path; /v1/openapi.json has all that there are";
    ROUTES
        .iter()
        .fold(page::router(), add)
        .method_not_allowed_fallback(wrong_method)
        .fallback(async || Refusal(StatusCode::NOT_FOUND, nowhere.into()))
        .layer(from_fn_with_state(shared.clone(), door::bounded))
        .layer(DefaultBodyLimit::disable())
        .with_state(shared)
}

async fn wrong_method() -> Refusal {
    let why = "this path needs another method; /v1/openapi.json has all that there are";
    Refusal(StatusCode::METHOD_NOT_ALLOWED, why.into())
}

pub(super) async fn view<T: Serialize>(State(shared): App, of: fn(&mut Manager) -> T) -> Response {
    let value = of(&mut shared.manager());
    Json(value).into_response()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DropsQuery {
    /// Present, whatever its value, for the reasons that never occurred, too.
    all: Option<String>,
}

pub(super) async fn drops(State(shared): App, query: Result<Query<DropsQuery>, QueryRejection>) -> Answer {
    let Query(query) = query.map_err(bad_query)?;
    Ok(Json(shared.manager().drops(is_set(query.all.as_deref()))).into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HistoryQuery {
    /// Steps at most.
    points: Option<usize>,
}

pub(super) async fn history(State(shared): App, query: Result<Query<HistoryQuery>, QueryRejection>) -> Answer {
    const POINTS: usize = 360;
    let Query(query) = query.map_err(bad_query)?;
    let history = shared.manager().history.history(query.points.unwrap_or(POINTS));
    Ok(Json(history).into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ConfigQuery {
    /// Present, whatever its value, to have secrets as they are.
    secrets: Option<String>,
}

pub(super) async fn config(
    State(shared): App,
    Extension(caller): Extension<Caller>,
    query: Result<Query<ConfigQuery>, QueryRejection>,
) -> Answer {
    let Query(query) = query.map_err(bad_query)?;
    let secrets = is_set(query.secrets.as_deref());
    if secrets && !caller.is_socket() {
        return Err(Refusal(StatusCode::FORBIDDEN, "secrets are told on the Unix socket only".to_owned()));
    }
    let (etag, text) = {
        let manager = shared.manager();
        (manager.etag(), manager.config_text(secrets))
    };
    Ok(([(header::ETAG, etag)], Json(text)).into_response())
}

/// Whether a flag is in the query, and not as an explicit no.
pub(super) fn is_set(value: Option<&str>) -> bool {
    value.is_some_and(|value| value != "false" && value != "0")
}

pub(super) async fn ports(State(shared): App) -> Answer {
    let callback = shared.manager().ports_callback();
    let ports = blocking(move || callback()).await?;
    Ok(Json(Ports { ports }).into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ConnectionsQuery {
    limit: Option<usize>,
}

pub(super) async fn connections(State(shared): App, query: Result<Query<ConnectionsQuery>, QueryRejection>) -> Answer {
    let Query(query) = query.map_err(bad_query)?;
    let limit = query.limit.unwrap_or(CONNECTIONS_DEFAULT);
    if limit > CONNECTIONS_MAX {
        return Err(Refusal(
            StatusCode::BAD_REQUEST,
            format!("limit={limit} is too much: at most {CONNECTIONS_MAX} connections are shown"),
        ));
    }
    let (workers, snapshot) = {
        let manager = shared.manager();
        (manager.worker_handles(), manager.snapshot())
    };
    let answer = blocking(move || ask::connections(&workers, &snapshot, limit)).await?;
    Ok(Json(answer.map_err(unavailable)?).into_response())
}

pub(super) async fn neighbors(State(shared): App) -> Answer {
    let (workers, snapshot) = {
        let manager = shared.manager();
        (manager.worker_handles(), manager.snapshot())
    };
    let answer = blocking(move || ask::neighbors(&workers, &snapshot)).await?;
    Ok(Json(answer.map_err(unavailable)?).into_response())
}

pub(super) async fn reload(
    State(shared): App,
    Extension(caller): Extension<Caller>,
    body: Result<Bytes, BytesRejection>,
) -> Answer {
    let request: ReloadRequest = read(body, "{\"path\": \"FILE\", \"confirm_s\": 60}")?.unwrap_or_default();
    may_name_files(&caller, request.path.as_deref())?;
    if request.confirm_s.is_some_and(|seconds| !(1..=CONFIRM_S_MAX).contains(&seconds)) {
        let message = format!("`confirm_s` must be 1 to {CONFIRM_S_MAX} seconds");
        return Err(Refusal(StatusCode::BAD_REQUEST, message));
    }
    let report = shared.reload(request).await.map_err(refused)?;
    Ok(Json(report).into_response())
}

pub(super) async fn confirm(State(shared): App) -> Answer {
    let confirmed = shared.manager().confirm();
    Ok(Json(confirmed.map_err(|error| Refusal(StatusCode::CONFLICT, error.to_string()))?).into_response())
}

pub(super) async fn roll_back(State(shared): App) -> Answer {
    let report = shared.roll_back().await.map_err(|error| match error {
        RollbackError::NothingWaits(error) => Refusal(StatusCode::CONFLICT, error.to_string()),
        RollbackError::Reload(error) => refused(error),
    })?;
    Ok(Json(report).into_response())
}

pub(super) async fn command(State(shared): App, body: Result<Bytes, BytesRejection>) -> Answer {
    let shape = "{\"backend\": \"SERVICE/BACKEND\", \"action\": \"drain\"}";
    let missing = || Refusal(StatusCode::BAD_REQUEST, format!("the body is not like {shape}: it is empty"));
    let request: BackendRequest = read(body, shape)?.ok_or_else(missing)?;
    let report = shared.command(&request).await.map_err(|error| {
        let status = match &error {
            CommandError::Unknown(_) => StatusCode::NOT_FOUND,
            CommandError::Meaning(_) => StatusCode::BAD_REQUEST,
            CommandError::Compile(_) => StatusCode::CONFLICT,
        };
        Refusal(status, error.to_string())
    })?;
    Ok(Json(report).into_response())
}

pub(super) async fn plan(
    State(shared): App,
    Extension(caller): Extension<Caller>,
    body: Result<Bytes, BytesRejection>,
) -> Answer {
    const SHAPE: &str = "{\"path\": \"FILE\"} or {\"text\": \"[[port]] ...\"}";
    let request: PlanRequest = read(body, SHAPE)?.unwrap_or_default();
    if request.path.is_some() && request.text.is_some() {
        return Err(Refusal(StatusCode::BAD_REQUEST, format!("the body is not like {SHAPE}: it has both")));
    }
    may_name_files(&caller, request.path.as_deref())?;
    let plan = blocking(move || shared.plan(request)).await?.map_err(refused)?;
    Ok(Json(plan).into_response())
}

/// Messages show lines of the file that is named, whatever it is.
fn may_name_files(caller: &Caller, path: Option<&Path>) -> Result<(), Refusal> {
    if path.is_some() && !caller.is_socket() {
        let why = "files of this machine are named on the Unix socket only; leave `path` out, or send the text";
        return Err(Refusal(StatusCode::FORBIDDEN, why.to_owned()));
    }
    Ok(())
}

pub(super) async fn explain(State(shared): App, body: Result<Bytes, BytesRejection>) -> Answer {
    let shape =
        "{\"packet\": \"tcp 198.51.100.7:40000 > 192.0.2.10:80\"} or {\"frames\": [\"0200...\"], \"port\": \"wan\"}";
    let request: ExplainRequest = read(body, shape)?.unwrap_or_default();
    let live = shared.manager().live();
    let explained = blocking(move || live.explain(&request)).await?;
    let explained = explained.map_err(|error| {
        let status = match &error {
            ExplainError::Meaning(_) => StatusCode::BAD_REQUEST,
            ExplainError::Path(error) if error.is_usage() => StatusCode::BAD_REQUEST,
            ExplainError::NoAnswer(_) | ExplainError::Memory(_) | ExplainError::Path(_) => {
                StatusCode::SERVICE_UNAVAILABLE
            }
        };
        Refusal(status, error.to_string())
    })?;
    Ok(Json(explained).into_response())
}

/// The body as JSON; `None` if there is none.
pub(super) fn read<T: DeserializeOwned>(
    body: Result<Bytes, BytesRejection>,
    shape: &str,
) -> Result<Option<T>, Refusal> {
    let body = body.map_err(|rejection| Refusal(rejection.status(), rejection.body_text()))?;
    if body.len() > BODY_BYTES_MAX {
        let message = format!("the body is too large: at most {BODY_BYTES_MAX} bytes");
        return Err(Refusal(StatusCode::PAYLOAD_TOO_LARGE, message));
    }
    if body.trim_ascii().is_empty() {
        return Ok(None);
    }
    // A list of the values in their order would do for serde as well.
    if !body.trim_ascii_start().starts_with(b"{") {
        return Err(Refusal(StatusCode::BAD_REQUEST, format!("the body is not like {shape}: it is no object")));
    }
    let bad = |error| Refusal(StatusCode::BAD_REQUEST, format!("the body is not like {shape}: {error}"));
    serde_json::from_slice(&body).map(Some).map_err(bad)
}

pub(super) fn refused(error: ReloadError) -> Refusal {
    let status = match &error {
        ReloadError::Config(_) | ReloadError::NotAFile(_) => StatusCode::UNPROCESSABLE_ENTITY,
        ReloadError::NeedsRestart { .. } | ReloadError::Compile { .. } | ReloadError::Unconfirmed(_) => {
            StatusCode::CONFLICT
        }
    };
    Refusal(status, error.to_string())
}

pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Refusal> {
    let ended = tokio::time::timeout(WORK_TIME_MAX, tokio::task::spawn_blocking(work)).await;
    let late = || Refusal(StatusCode::SERVICE_UNAVAILABLE, "the answer takes too long; try again".to_owned());
    ended.map_err(|_| late())?.map_err(|_| late())
}

pub(super) fn bad_query(rejection: QueryRejection) -> Refusal {
    Refusal(StatusCode::BAD_REQUEST, rejection.body_text())
}

fn unavailable(error: ask::NoAnswer) -> Refusal {
    Refusal(StatusCode::SERVICE_UNAVAILABLE, error.to_string())
}
