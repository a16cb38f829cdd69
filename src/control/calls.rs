//! Which call each path is, and whether a caller's secret is good for it.
//!
//! One table lists method, path as the router has it, and the name by which a configuration allows the call. A call that
//! is missing in the table is refused to every secret that is not good for everything, so that a call which was forgotten
//! here is not open to all. An app that is not among a caller's is refused before it is looked up, so that callers do not
//! learn which apps exist. `DELETE /v1/sessions/SESSION` names no app: for a caller with apps, the session's own app is
//! looked up. Neither does `GET /v1/unionids/UNIONID/users`, which tells such a caller of users in its own apps alone.

use std::sync::Arc;

use axum::Extension;
use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{MatchedPath, RawPathParams, Request};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use http::Method;

use super::denial::ControlDenial;
use super::status;
use crate::config::{Call, Caller};

/// The calls that there are, by method and path as the router lists it.
///
/// What is missing here is refused to everybody whose secret is not good for all calls. Who may use the relay is said by the relay
/// itself, since a call names its app there in several ways.
const CALLS: [(Method, &str, Call); 16] = [
    (Method::GET, "/metrics", Call::Metrics),
    (Method::GET, status::DOCUMENT, Call::Status),
    (
        Method::GET,
        "/v1/apps/{app}/access-token",
        Call::AccessToken,
    ),
    (
        Method::POST,
        "/v1/apps/{app}/access-token/refresh",
        Call::AccessToken,
    ),
    (
        Method::POST,
        "/v1/apps/{app}/users/{openid}/phone-number",
        Call::PhoneNumber,
    ),
    (
        Method::GET,
        "/v1/apps/{app}/users/{openid}/sessions",
        Call::ListSessions,
    ),
    (
        Method::DELETE,
        "/v1/apps/{app}/users/{openid}/sessions",
        Call::EndSessions,
    ),
    (Method::DELETE, "/v1/sessions/{session}", Call::EndSessions),
    (Method::GET, "/v1/unionids/{unionid}/users", Call::ListUsers),
    (
        Method::POST,
        "/v1/apps/{app}/users/{openid}/decrypt",
        Call::Decrypt,
    ),
    (
        Method::POST,
        "/v1/apps/{app}/users/{openid}/verify",
        Call::Verify,
    ),
    (
        Method::POST,
        "/v1/apps/{app}/users/{openid}/sign",
        Call::Sign,
    ),
    (
        Method::POST,
        "/v1/apps/{app}/users/{openid}/check-session",
        Call::CheckSession,
    ),
    (
        Method::POST,
        "/v1/apps/{app}/users/{openid}/reset-session-key",
        Call::ResetSessionKey,
    ),
    (Method::POST, "/v1/reload", Call::Reload),
    (Method::GET, "/v1/requests/{request}", Call::ExplainRequest),
];

/// Whose secret came with a request, where that is not good for everything.
#[derive(Clone, Debug)]
pub(super) struct Limited(Arc<Caller>);

impl Limited {
    pub(super) fn new(caller: &Arc<Caller>) -> Self {
        Self(Arc::clone(caller))
    }

    /// Returns the caller's name.
    pub(super) fn name(&self) -> &str {
        &self.0.name
    }

    /// Refuses an app that the secret is not good for. A call whose path names no app has to ask this itself.
    pub(super) fn check_app(&self, name: &str) -> Result<(), ControlDenial> {
        let apps = self.0.apps.as_ref();
        match apps.is_none_or(|apps| apps.iter().any(|app| app == name)) {
            true => Ok(()),
            false => Err(ControlDenial::AppNotAllowed),
        }
    }

    /// Returns the calls that the secret is good for.
    pub(super) fn calls(&self) -> &[Call] {
        &self.0.calls
    }

    /// Returns whether the secret is good for every app.
    pub(super) fn has_all_apps(&self) -> bool {
        self.0.apps.is_none()
    }

    /// Refuses a call that the secret is not good for.
    pub(super) fn check_call(&self, call: Call) -> Result<(), ControlDenial> {
        match self.0.calls.contains(&call) {
            true => Ok(()),
            false => Err(ControlDenial::CallNotAllowed),
        }
    }

    fn check(
        &self,
        method: &Method,
        path: &str,
        params: &RawPathParams,
    ) -> Result<(), ControlDenial> {
        if status::is_everybodys(path) {
            return Ok(());
        }
        self.check_call(call(method, path).ok_or(ControlDenial::CallNotAllowed)?)?;
        let mut apps = params.iter().filter(|(name, _)| *name == "app");
        apps.try_for_each(|(_, app)| self.check_app(app))
    }
}

fn call(method: &Method, path: &str) -> Option<Call> {
    // The router answers HEAD by what answers GET.
    let asked = if method == Method::HEAD {
        &Method::GET
    } else {
        method
    };
    let mut calls = CALLS.iter();
    let found = calls.find(|(method, listed, _)| method == asked && *listed == path);
    found.map(|(_, _, call)| *call)
}

/// Refuses a call that a caller's secret is not good for; what is not there is left to the router.
pub(super) async fn permit(
    path: Option<MatchedPath>,
    limited: Option<Extension<Limited>>,
    params: Result<RawPathParams, RawPathParamsRejection>,
    request: Request,
    next: Next,
) -> Response {
    if let (Some(path), Some(Extension(limited))) = (path, limited) {
        let checked = match &params {
            Ok(params) => limited.check(request.method(), path.as_str(), params),
            Err(_) => Err(ControlDenial::CallNotAllowed),
        };
        if let Err(refusal) = checked {
            return refusal.into_response();
        }
    }
    next.run(request).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_call_that_a_configuration_can_name_is_in_the_table() {
        for named in Call::all().filter(|call| *call != Call::Relay) {
            assert!(CALLS.iter().any(|(_, _, call)| *call == named), "{named:?}");
        }
    }

    #[test]
    fn a_call_is_known_by_its_method_and_path() {
        assert_eq!(call(&Method::HEAD, "/metrics"), Some(Call::Metrics));
        assert_eq!(call(&Method::POST, "/metrics"), None);
        assert_eq!(call(&Method::GET, "/v1/reload"), None);
        assert_eq!(call(&Method::GET, "/"), None);
    }
}
