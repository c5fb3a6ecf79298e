//! What a request gets that is not served.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};

use crate::control::status::ApiError;

/// A status, and what is wrong and would be right.
#[derive(Debug)]
pub struct Refusal(pub StatusCode, pub String);

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.0, Json(ApiError { error: self.1 })).into_response()
    }
}
