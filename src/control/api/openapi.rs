//! The API's description, OpenAPI 3.1: made from the table of routes and from the types of bodies.

use std::sync::OnceLock;

use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};
use utoipa::OpenApi;

use super::door::Right;
use super::table::{Answer, Body, ROUTES, Route};
use crate::control::{capture, events, explain, history, plan, status};

/// Bodies by name, with everything that is in them.
#[derive(OpenApi)]
#[openapi(components(schemas(
    capture::CaptureRequest,
    capture::CaptureStatus,
    events::Event,
    explain::Explanation,
    explain::ExplainRequest,
    history::History,
    plan::Plan,
    status::ApiError,
    status::BackendReport,
    status::BackendRequest,
    status::Backends,
    status::ConfigText,
    status::Confirmed,
    status::Connections,
    status::Drops,
    status::Latency,
    status::Neighbors,
    status::PlanRequest,
    status::Ports,
    status::ReloadReport,
    status::ReloadRequest,
    status::Services,
    status::Stats,
    status::Status,
    status::Wellness,
    status::Workers,
)))]
struct Schemas;

/// `GET /v1/openapi.json`.
pub async fn serve() -> Response {
    static TEXT: OnceLock<String> = OnceLock::new();
    let text = TEXT.get_or_init(|| document().to_string());
    ([(header::CONTENT_TYPE, "application/json")], text.as_str()).into_response()
}

/// The whole of it.
pub fn document() -> Value {
    let mut paths: Map<String, Value> = Map::new();
    for route in &ROUTES {
        let methods = paths.entry(route.path).or_insert_with(|| json!({}));
        methods[route.method] = operation(route);
    }
    let schemas = serde_json::to_value(Schemas::openapi()).unwrap_or_default();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "tidegate",
            "version": env!("TIDEGATE_VERSION"),
            "description": "Everything that a running tidegate can be asked; docs/api.md says who may ask what.",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{ "url": "/" }],
        "paths": paths,
        "components": {
            "schemas": schemas["components"]["schemas"],
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } },
        },
    })
}

fn operation(route: &Route) -> Value {
    let path = route.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let in_path =
        path.map(|name| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }));
    let query = route.query.iter().map(|(name, kind, meaning)| {
        let schema = if *kind == "integer" { json!({ "type": kind, "minimum": 0 }) } else { json!({ "type": kind }) };
        json!({ "name": name, "in": "query", "required": false, "description": meaning, "schema": schema })
    });
    let changes_config = route.errors.contains(&412);
    let if_match = changes_config.then(|| {
        let meaning = "State of the configuration that the change is meant for, as `ETag` had it";
        json!({ "name": "If-Match", "in": "header", "required": false, "description": meaning,
                "schema": { "type": "string" } })
    });
    let mut operation = json!({
        "summary": route.summary,
        "operationId": id(route),
        "parameters": in_path.chain(query).chain(if_match).collect::<Vec<_>>(),
        "responses": responses(route),
        "security": match route.right {
            Right::Open => json!([]),
            Right::Figures => json!([{}, { "token": [] }]),
            Right::Private | Right::Change => json!([{ "token": [] }]),
        },
    });
    let json_body = |schema: Value, required| json!({ "required": required, "content": { "application/json": { "schema": schema } } });
    let body = match route.body {
        Body::None => return operation,
        Body::Optional(schema) => json_body(reference(schema), false),
        Body::Json(schema) => json_body(reference(schema), true),
        Body::Keys(table) => {
            let meaning = format!("The keys of {table}, see docs/configuration.md");
            json_body(
                json!({ "type": "object", "description": meaning, "required": ["name"],
                              "properties": { "name": { "type": "string" } } }),
                true,
            )
        }
        Body::Config => json!({ "required": true, "content": {
            "application/toml": { "schema": { "type": "string" } },
            "application/json": { "schema": { "type": "object", "required": ["text"], "additionalProperties": false,
                                              "properties": { "text": { "type": "string" } } } },
        } }),
    };
    operation["requestBody"] = body;
    operation
}

/// Such as `get_v1_services`.
fn id(route: &Route) -> String {
    let path: String = route.path.chars().filter(|c| !matches!(c, '{' | '}')).collect();
    format!("{}{}", route.method, path.replace(['/', '.'], "_"))
}

fn reference(schema: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{schema}") })
}

fn responses(route: &Route) -> Value {
    let json_content = |schema: &str| json!({ "application/json": { "schema": reference(schema) } });
    let content = match route.answer {
        Answer::Json(schema) => json_content(schema),
        Answer::List(schema) => {
            let list = json!({ "type": "array", "items": reference(schema) });
            json!({ "application/json": { "schema": list } })
        }
        Answer::Wellness => json_content("Wellness"),
        Answer::Text(kind) => json!({ kind: { "schema": { "type": "string" } } }),
        Answer::Events => json!({
            "text/event-stream": { "schema": { "type": "string" } },
            "application/x-ndjson": { "schema": reference("Event") },
        }),
        Answer::Description => json!({ "application/json": { "schema": { "type": "object" } } }),
    };
    let mut responses = Map::new();
    responses.insert("200".to_owned(), json!({ "description": "All is well", "content": content }));
    let takes = !route.query.is_empty() || !matches!(route.body, Body::None) || route.path.contains('{');
    let body: &[u16] = if matches!(route.body, Body::None) { &[] } else { &[408, 413] };
    let of_input: &[u16] = if takes { &[400] } else { &[] };
    for status in [401, 403, 429, 503].iter().chain(of_input).chain(body).chain(route.errors) {
        let schema = match (route.answer, status) {
            (Answer::Wellness, 503) => "Wellness",
            _ => "ApiError",
        };
        let answer = json!({ "description": meaning(*status), "content": json_content(schema) });
        responses.insert(status.to_string(), answer);
    }
    Value::Object(responses)
}

fn meaning(status: u16) -> &'static str {
    match status {
        400 => "The request is not understood",
        401 => "The token is missing or wrong",
        403 => "Not for clients over TCP",
        404 => "There is no such service or backend",
        408 => "The body came too slowly",
        409 => "It cannot be done now, or not without a restart",
        412 => "The configuration is another one by now",
        413 => "The body is too large",
        422 => "The configuration is bad",
        429 => "Too many wrong tokens came from this address",
        _ => "Not now: something does not move, or too much is asked for at once",
    }
}
