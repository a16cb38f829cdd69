//! Tells of one of the last exchanges what was decided, and what should be done about it.
//!
//! Only what `request/recent` keeps is told, and none of that is a secret. Whoever has a secret for some apps is told of these only,
//! and of what was refused on a route that is for these only before it was known whose it is.

use std::time::{Duration, UNIX_EPOCH};

use axum::extract::{Path, State};
use axum::{Extension, Json};
use serde::Serialize;

use super::Control;
use super::calls::Limited;
use super::denial::ControlDenial;
use crate::request::{Found, RequestId, RouteName, advice};

/// What is told.
#[derive(Serialize)]
pub(super) struct Explained {
    request_id: String,
    /// The trace that it is part of.
    trace_id: Option<String>,
    /// When it ended.
    ended: String,
    decision: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    /// The status of the response; `null` where there was none.
    status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request: Option<String>,
    route: Option<Route>,
    credential: &'static str,
    app: Option<String>,
    session: Option<String>,
    client: Option<String>,
    elapsed_ms: f64,
    upstream_ms: Option<f64>,
    /// What the client was told.
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_fault: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    errcode: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after: Option<u64>,
    client_should: &'static str,
    operator_should: &'static str,
}

/// A route, as it is configured.
#[derive(Serialize)]
struct Route {
    host: Option<String>,
    path: String,
    upstream: String,
}

/// `GET /v1/requests/{id}`
pub(super) async fn explain(
    State(control): State<Control>,
    limited: Option<Extension<Limited>>,
    Path(id): Path<String>,
) -> Result<Json<Explained>, ControlDenial> {
    if !RequestId::is_fit(&id) {
        return Err(ControlDenial::BadRequest(
            "A request id is up to 128 letters, digits, -, _ and .",
        ));
    }
    let found = control
        .recent
        .find(&id)
        .ok_or(ControlDenial::RequestUnknown)?;
    // Not even that there was one.
    if !may_know(limited.as_deref(), &found) {
        return Err(ControlDenial::RequestUnknown);
    }
    let ago = found.entry.ended.elapsed();
    let ended = Duration::from_millis(control.clock.unix_ms()).saturating_sub(ago);
    let ended = humantime::format_rfc3339_millis(UNIX_EPOCH + ended).to_string();
    Ok(Json(Explained::of(id, ended, found)))
}

/// Says whether whoever asks may know of an exchange.
pub(super) fn may_know(limited: Option<&Limited>, found: &Found) -> bool {
    let Some(limited) = limited else {
        return true;
    };
    let is_theirs = |app: &str| limited.check_app(app).is_ok();
    match (&found.app, &found.route) {
        (Some(app), _) => is_theirs(app),
        // It was refused before it was known whose it is.
        (None, Some(route)) => route.apps.iter().all(|app| is_theirs(app)),
        (None, None) => limited.has_all_apps(),
    }
}

impl Explained {
    fn of(request_id: String, ended: String, found: Found) -> Self {
        let Found { entry, route, app } = found;
        let ms = |micros: u32| f64::from(micros) / 1000.0;
        let denial = entry.refused.as_ref().map(|refused| &refused.denial);
        let response = denial.map(|denial| denial.response());
        let reason = response.map(|(_, code, _)| code);
        let should = reason.map(advice);
        let request = entry.refused.as_ref().map(|refused| &refused.request);
        Self {
            request_id,
            trace_id: entry.trace.id(),
            ended,
            decision: reason.map_or(entry.what.0, |_| "refused"),
            reason,
            status: Some(entry.status).filter(|status| *status > 0),
            request: request
                .filter(|request| request.len() > 1)
                .map(|request| request.to_string()),
            route: route.map(Route::from),
            credential: entry.credential.as_str(),
            app,
            session: entry.session.map(|session| session.to_string()),
            client: entry.client.map(|client| client.to_string()),
            elapsed_ms: ms(entry.took_us),
            upstream_ms: Some(entry.upstream_us).filter(|us| *us < u32::MAX).map(ms),
            message: response.map(|(_, _, message)| message),
            token_fault: denial.and_then(|denial| denial.token_fault()),
            errcode: denial.and_then(|denial| denial.errcode()),
            retry_after: denial.and_then(|denial| denial.retry_after_secs()),
            client_should: should.map_or("", |should| should.client),
            operator_should: match (should, entry.status) {
                (Some(should), _) => should.operator,
                (None, 0) => "Nothing: the client left before it was answered.",
                (None, 500..) => {
                    "Look at the backend's log at this time: the answer is its own, which Menshen passed on."
                }
                (None, _) => "",
            },
        }
    }
}

impl From<RouteName> for Route {
    fn from(name: RouteName) -> Self {
        Self {
            host: name.host,
            path: name.path,
            upstream: name.upstream,
        }
    }
}
