//! The routes under `/v1`.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post};
use serde::{Deserialize, Serialize};

use super::ask;
use crate::control::manager::{CommandError, Manager, ReloadError};
use crate::control::serve::Shared;
use crate::control::status::{ApiError, BackendRequest, Ports, ReloadRequest};

/// Bytes of the largest request body.
const BODY_BYTES_MAX: usize = 1 << 20;
/// Connections shown when no limit is given, and at most.
const CONNECTIONS_DEFAULT: usize = 1000;
const CONNECTIONS_MAX: usize = 1_000_000;
/// How long workers and drivers may take with their answer.
const WORK_TIME_MAX: Duration = Duration::from_secs(30);

type App = State<Arc<Shared>>;
type Answer = Result<Response, Refusal>;

/// What a request gets that is not served.
struct Refusal(StatusCode, String);

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.0, Json(ApiError { error: self.1 })).into_response()
    }
}

/// Everything that the API can be asked.
pub fn router(shared: Arc<Shared>) -> Router {
    let v1 = Router::new()
        .route("/status", get(|app: App| view(app, |m| m.status())))
        .route("/stats", get(|app: App| view(app, |m| m.stats())))
        .route("/services", get(|app: App| view(app, |m| m.services())))
        .route("/backends", get(|app: App| view(app, |m| m.backends())).post(command))
        .route("/workers", get(|app: App| view(app, |m| m.workers())))
        .route("/latency", get(|app: App| view(app, |m| m.latency())))
        .route("/drops", get(drops))
        .route("/ports", get(ports))
        .route("/connections", get(connections))
        .route("/neighbors", get(neighbors))
        .route("/reload", post(reload))
        .method_not_allowed_fallback(async || {
            Refusal(
                StatusCode::METHOD_NOT_ALLOWED,
                "this path needs another method: POST for reload and backends, else GET".into(),
            )
        });
    Router::new()
        .nest("/v1", v1)
        .fallback(async || Refusal(StatusCode::NOT_FOUND, "no such path; those that exist begin with /v1/".into()))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(shared)
}

async fn view<T: Serialize>(State(shared): App, of: fn(&mut Manager) -> T) -> Response {
    let value = of(&mut shared.manager());
    Json(value).into_response()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DropsQuery {
    /// Present, whatever its value, for the reasons that never occurred, too.
    all: Option<String>,
}

async fn drops(State(shared): App, query: Result<Query<DropsQuery>, QueryRejection>) -> Answer {
    let Query(query) = query.map_err(bad_query)?;
    let all = query.all.is_some_and(|value| value != "false" && value != "0");
    Ok(Json(shared.manager().drops(all)).into_response())
}

async fn ports(State(shared): App) -> Answer {
    let callback = shared.manager().ports_callback();
    let ports = blocking(move || callback()).await?;
    Ok(Json(Ports { ports }).into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ConnectionsQuery {
    limit: Option<usize>,
}

async fn connections(State(shared): App, query: Result<Query<ConnectionsQuery>, QueryRejection>) -> Answer {
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

async fn neighbors(State(shared): App) -> Answer {
    let (workers, snapshot) = {
        let manager = shared.manager();
        (manager.worker_handles(), manager.snapshot())
    };
    let answer = blocking(move || ask::neighbors(&workers, &snapshot)).await?;
    Ok(Json(answer.map_err(unavailable)?).into_response())
}

async fn reload(State(shared): App, body: Result<Bytes, BytesRejection>) -> Answer {
    let body = body.map_err(|rejection| Refusal(rejection.status(), rejection.body_text()))?;
    let request: ReloadRequest = if body.trim_ascii().is_empty() {
        ReloadRequest::default()
    } else {
        serde_json::from_slice(&body).map_err(|error| {
            Refusal(StatusCode::BAD_REQUEST, format!("the body is not like {{\"path\": \"FILE\"}}: {error}"))
        })?
    };
    let report = shared.reload(request.path).await.map_err(|error| {
        let status = match &error {
            ReloadError::Config(_) | ReloadError::NotAFile(_) => StatusCode::UNPROCESSABLE_ENTITY,
            ReloadError::NeedsRestart { .. } | ReloadError::Compile { .. } => StatusCode::CONFLICT,
        };
        Refusal(status, error.to_string())
    })?;
    Ok(Json(report).into_response())
}

async fn command(State(shared): App, body: Result<Bytes, BytesRejection>) -> Answer {
    let body = body.map_err(|rejection| Refusal(rejection.status(), rejection.body_text()))?;
    let request: BackendRequest = serde_json::from_slice(&body).map_err(|error| {
        let like = "{\"backend\": \"SERVICE/BACKEND\", \"action\": \"drain\"}";
        Refusal(StatusCode::BAD_REQUEST, format!("the body is not like {like}: {error}"))
    })?;
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

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Refusal> {
    let ended = tokio::time::timeout(WORK_TIME_MAX, tokio::task::spawn_blocking(work)).await;
    let late = || Refusal(StatusCode::SERVICE_UNAVAILABLE, "the answer takes too long; try again".to_owned());
    ended.map_err(|_| late())?.map_err(|_| late())
}

fn bad_query(rejection: QueryRejection) -> Refusal {
    Refusal(StatusCode::BAD_REQUEST, rejection.body_text())
}

fn unavailable(error: ask::NoAnswer) -> Refusal {
    Refusal(StatusCode::SERVICE_UNAVAILABLE, error.to_string())
}
