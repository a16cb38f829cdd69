//! Shows what is counted.

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::header::CONTENT_TYPE;

use super::Control;
use super::denial::ControlDenial;
use crate::metrics::Metrics;

/// Where it is shown.
pub(super) const PATH: &str = "/metrics";

const TEXT: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// `GET /metrics`
pub(super) async fn metrics(State(control): State<Control>) -> Result<Response, ControlDenial> {
    let text = control.metrics.aside(Metrics::text).await;
    let text = text.ok_or(ControlDenial::ShuttingDown)?;
    Ok(([(CONTENT_TYPE, TEXT)], text).into_response())
}
