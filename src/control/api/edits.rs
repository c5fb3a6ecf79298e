//! Routes that change the configuration: services and backends that come and go, or the whole text.

use std::sync::Arc;

use axum::Extension;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use serde::Deserialize;
use serde_json::Value;

use super::door::Caller;
use super::refusal::Refusal;
use super::routes::{bad_query, is_set, read, refused};
use crate::control::config::FILE_BYTES_MAX;
use crate::control::edit::{Change, EditError, Request};
use crate::control::serve::Shared;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WriteQuery {
    /// Present for the file to have the change as well.
    write: Option<String>,
}

type Written = Result<Query<WriteQuery>, QueryRejection>;
type Body = Result<Bytes, BytesRejection>;

/// What all of them need.
pub struct Asked {
    shared: Arc<Shared>,
    caller: Caller,
    if_match: Option<String>,
    write: bool,
}

impl Asked {
    fn new(shared: Arc<Shared>, caller: Caller, headers: &HeaderMap, query: Written) -> Result<Self, Refusal> {
        let Query(query) = query.map_err(bad_query)?;
        let if_match = match headers.get(header::IF_MATCH).map(|value| value.to_str()) {
            None => None,
            Some(Ok(text)) => Some(text.to_owned()),
            Some(Err(_)) => return Err(Refusal(StatusCode::BAD_REQUEST, "`If-Match` is not ASCII".to_owned())),
        };
        Ok(Self { shared, caller, if_match, write: is_set(query.write.as_deref()) })
    }

    async fn change(self, change: Change) -> Result<Response, Refusal> {
        let Self { shared, caller, if_match, write } = self;
        let request = Request { change, write, if_match, may_bring_commands: caller.is_socket() };
        let report = shared.edit(request).await.map_err(not_edited)?;
        let etag = shared.manager().etag();
        Ok(([(header::ETAG, etag)], Json(report)).into_response())
    }
}

fn not_edited(error: EditError) -> Refusal {
    let status = match error {
        EditError::Stale => StatusCode::PRECONDITION_FAILED,
        EditError::Missing(_) => StatusCode::NOT_FOUND,
        EditError::Exists(_) | EditError::File(..) => StatusCode::CONFLICT,
        EditError::Shape(_) => StatusCode::BAD_REQUEST,
        EditError::Commands => StatusCode::FORBIDDEN,
        EditError::Reload(error) => return refused(error),
    };
    Refusal(status, error.to_string())
}

/// `PUT /v1/config`.
pub async fn put_config(
    State(shared): State<Arc<Shared>>,
    Extension(caller): Extension<Caller>,
    query: Written,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let asked = Asked::new(shared, caller, &headers, query)?;
    let body = body.map_err(|rejection| Refusal(rejection.status(), rejection.body_text()))?;
    if body.len() > FILE_BYTES_MAX {
        let message = format!("the text is too large: at most {FILE_BYTES_MAX} bytes");
        return Err(Refusal(StatusCode::PAYLOAD_TOO_LARGE, message));
    }
    if body.trim_ascii().is_empty() {
        let message = "the body is empty: it must be the text of a configuration file";
        return Err(Refusal(StatusCode::BAD_REQUEST, message.to_owned()));
    }
    let is_json =
        headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
    let text = if is_json {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Text {
            text: String,
        }
        let bad =
            |error| Refusal(StatusCode::BAD_REQUEST, format!("the body is not like {{\"text\": \"...\"}}: {error}"));
        serde_json::from_slice::<Text>(&body).map_err(bad)?.text
    } else {
        let bad = |_| Refusal(StatusCode::BAD_REQUEST, "the text is not UTF-8".to_owned());
        String::from_utf8(body.to_vec()).map_err(bad)?
    };
    asked.change(Change::Whole(text)).await
}

/// `POST /v1/services`.
pub async fn add_service(
    State(shared): State<Arc<Shared>>,
    Extension(caller): Extension<Caller>,
    query: Written,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let keys = table(body, "{\"name\": \"web\", \"vip\": \"192.0.2.10\", \"port\": 80, \"mode\": \"nat\"}")?;
    Asked::new(shared, caller, &headers, query)?.change(Change::AddService(keys)).await
}

/// `DELETE /v1/services/SERVICE`.
pub async fn remove_service(
    State(shared): State<Arc<Shared>>,
    Extension(caller): Extension<Caller>,
    Path(service): Path<String>,
    query: Written,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    Asked::new(shared, caller, &headers, query)?.change(Change::RemoveService(service)).await
}

/// `POST /v1/services/SERVICE/backends`.
pub async fn add_backend(
    State(shared): State<Arc<Shared>>,
    Extension(caller): Extension<Caller>,
    Path(service): Path<String>,
    query: Written,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let keys = table(body, "{\"name\": \"b1\", \"address\": \"10.1.0.11\"}")?;
    Asked::new(shared, caller, &headers, query)?.change(Change::AddBackend(service, keys)).await
}

/// `DELETE /v1/services/SERVICE/backends/BACKEND`.
pub async fn remove_backend(
    State(shared): State<Arc<Shared>>,
    Extension(caller): Extension<Caller>,
    Path((service, backend)): Path<(String, String)>,
    query: Written,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    Asked::new(shared, caller, &headers, query)?.change(Change::RemoveBackend(service, backend)).await
}

fn table(body: Body, shape: &str) -> Result<Value, Refusal> {
    let missing = || Refusal(StatusCode::BAD_REQUEST, format!("the body is not like {shape}: it is empty"));
    let keys = read::<Value>(body, shape)?.ok_or_else(missing)?;
    if !keys.get("name").is_some_and(Value::is_string) {
        return Err(Refusal(StatusCode::BAD_REQUEST, format!("the body is not like {shape}: it has no `name`")));
    }
    Ok(keys)
}
