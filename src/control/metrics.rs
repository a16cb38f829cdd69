//! Shows what is counted.

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::header::CONTENT_TYPE;

use super::Control;

/// Where it is shown.
pub(super) const PATH: &str = "/metrics";

const TEXT: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// `GET /metrics`
pub(super) async fn metrics(State(control): State<Control>) -> Response {
    ([(CONTENT_TYPE, TEXT)], control.metrics.text()).into_response()
}
