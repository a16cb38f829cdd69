//! Lets a browser in that brings a secret, and forgets it again.

use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Json};
use http::header::{ORIGIN, SET_COOKIE};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use super::logins::LASTS;
use crate::config::Call;
use crate::control::Control;
use crate::control::body::object;
use crate::control::calls::Limited;
use crate::control::denial::ControlDenial;
use crate::control::exchange::{Asker, Peer};
use crate::control::guard::check_secret;
use crate::control::known::SecretDigest;
use crate::request::{CONTROL_COOKIE as COOKIE, our_cookie};
use crate::secret::Secret;

/// How long a secret may take to come.
const BODY_TIMEOUT: Duration = Duration::from_secs(5);

/// What the page has a use for.
const CALLS: [Call; 5] = [
    Call::Status,
    Call::ListSessions,
    Call::EndSessions,
    Call::ExplainRequest,
    Call::Reload,
];

/// What a browser brings.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Brought {
    secret: Secret,
}

/// Who looks at the page.
#[derive(Serialize)]
pub(in crate::control) struct Viewer {
    /// The name of a caller; `null` for whoever may do everything.
    name: Option<String>,
    /// Whether a secret was brought, so that it can be forgotten.
    logged_in: bool,
    /// What they may do here, by the names that the configuration has for it.
    calls: Vec<&'static str>,
    /// The apps whose users they may ask about.
    apps: Vec<String>,
    /// Whether these are all apps, so that what is everybody's may be seen too.
    all_apps: bool,
}

/// `POST /v1/status/login`
pub(in crate::control) async fn log_in(
    State(control): State<Control>,
    Extension(asker): Extension<Asker>,
    peer: Option<Extension<Peer>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ControlDenial> {
    if !control.known.asks_for_secret() {
        return Err(ControlDenial::BadRequest(
            "There is no secret to log in with.",
        ));
    }
    let peer = peer.map(|Extension(peer)| peer);
    peer.map_or(Ok(()), |peer| control.failures.check_secrets(&peer))?;
    // It comes from somebody who is nobody yet, and must not hold a connection for long.
    let read = timeout(BODY_TIMEOUT, object(body)).await;
    let Brought { secret } = read.unwrap_or(Err(ControlDenial::RequestTimeout))?;
    let secret = SecretDigest::of(secret.expose().as_bytes());
    let checked = check_secret(&control.known, &secret);
    if let (Err(_), Some(peer)) = (&checked, peer) {
        control.failures.count_secret(&peer);
    }
    if let Some(limited) = checked? {
        asker.is(&limited);
    }
    if let Some(old) = cookie(&headers) {
        control.page_logins.end(old);
    }
    let begun = control.page_logins.begin(secret, control.clock.instant());
    let cookie = begun.ok_or(ControlDenial::ShuttingDown)?;
    // Over plain HTTP, browsers would not keep it with that.
    let origin = headers.get(ORIGIN).map(HeaderValue::as_bytes);
    let is_https = origin.is_some_and(|origin| origin.starts_with(b"https://"));
    let secure = if is_https { "; Secure" } else { "" };
    let lasts = LASTS.as_secs();
    set_cookie(&format!("{COOKIE}={cookie}; Max-Age={lasts}{secure}"))
}

/// `POST /v1/status/logout`
pub(in crate::control) async fn log_out(
    State(control): State<Control>,
    headers: HeaderMap,
) -> Result<Response, ControlDenial> {
    if let Some(cookie) = cookie(&headers) {
        control.page_logins.end(cookie);
    }
    set_cookie(&format!("{COOKIE}=; Max-Age=0"))
}

fn set_cookie(value: &str) -> Result<Response, ControlDenial> {
    let value = format!("{value}; Path=/; HttpOnly; SameSite=Strict");
    let mut value = HeaderValue::try_from(value).map_err(|_| ControlDenial::ShuttingDown)?;
    value.set_sensitive(true);
    Ok((StatusCode::NO_CONTENT, [(SET_COOKIE, value)]).into_response())
}

/// Returns the cookie of a login.
pub(super) fn cookie(headers: &HeaderMap) -> Option<&str> {
    our_cookie(headers, COOKIE)
}

/// Says whose login a cookie is of, where their secret is not good for every call.
pub(in crate::control) fn logged_in(
    control: &Control,
    headers: &HeaderMap,
) -> Result<Option<Limited>, ControlDenial> {
    // Nobody guesses 256 bits, and a page whose login has ended asks on: these are not counted as wrong secrets.
    let cookie = cookie(headers).ok_or(ControlDenial::TokenMissing)?;
    let secret = control.page_logins.secret(cookie, control.clock.instant());
    let secret = secret.ok_or(ControlDenial::TokenMissing)?;
    check_secret(&control.known, &secret).map_err(|_| ControlDenial::TokenMissing)
}

/// `GET /v1/status/caller`
pub(in crate::control) async fn caller(
    State(control): State<Control>,
    limited: Option<Extension<Limited>>,
    headers: HeaderMap,
) -> Json<Viewer> {
    let limited = limited.map(|Extension(limited)| limited);
    let may = |call: &Call| {
        let exists = *call != Call::Reload || control.reload.is_some();
        exists
            && limited
                .as_ref()
                .is_none_or(|limited| limited.calls().contains(call))
    };
    let calls = CALLS.iter().filter(|call| may(call));
    let apps = control.known.apps().into_iter();
    let apps = apps.map(|app| app.name.clone());
    let is_theirs = |app: &String| {
        limited
            .as_ref()
            .is_none_or(|limited| limited.check_app(app).is_ok())
    };
    Json(Viewer {
        logged_in: control.known.asks_for_secret() && cookie(&headers).is_some(),
        calls: calls.map(|call| call.name()).collect(),
        apps: apps.filter(is_theirs).collect(),
        all_apps: limited.as_ref().is_none_or(Limited::has_all_apps),
        name: limited.as_ref().map(|limited| limited.name().to_owned()),
    })
}
