//! Answers `cgi-bin/token` and `cgi-bin/stable_token` in WeChat's place, with a token that is good at the relay alone.

use std::time::Duration;

use axum::Json;
use axum::body::{Body, to_bytes};
use axum::response::{IntoResponse as _, Response};
use serde::{Deserialize, Serialize};

use super::admission::Credentials;
use super::names::values;
use crate::config::App;
use crate::control::Control;
use crate::control::denial::ControlDenial;
use crate::control::guard::MAX_BODY;

/// As long as WeChat's last, since clients count on it.
const LIVES: Duration = Duration::from_secs(7200);

/// A token, in WeChat's words.
#[derive(Serialize)]
struct Given {
    access_token: String,
    expires_in: u64,
}

#[derive(Default, Deserialize)]
struct Asked {
    appid: Option<String>,
    secret: Option<String>,
}

/// Reads what a client says of itself, in the query or in JSON.
pub(super) async fn credentials(query: &str, body: Body) -> Result<Credentials, ControlDenial> {
    let limit = usize::try_from(MAX_BODY).unwrap_or(usize::MAX);
    let body = to_bytes(body, limit).await;
    let body = body.map_err(|_| ControlDenial::BodyTooLarge)?;
    let asked: Asked = match body.is_empty() {
        true => Asked::default(),
        false => serde_json::from_slice(&body)
            .map_err(|_| ControlDenial::BadRequest("The body is not a JSON object."))?,
    };
    let in_query = |name| values(query, name).into_iter().next();
    let given = |text: &String| !text.is_empty();
    Ok(Credentials {
        appid: asked.appid.or_else(|| in_query("appid")).filter(given),
        secret: asked.secret.or_else(|| in_query("secret")).filter(given),
    })
}

/// Gives a token.
pub(super) fn give(control: &Control, app: &App) -> Result<Response, ControlDenial> {
    let issued = control.relay_tokens().issue(&app.appid, LIVES);
    let given = Given {
        access_token: issued.map_err(|_| ControlDenial::Internal)?,
        expires_in: LIVES.as_secs(),
    };
    Ok(Json(given).into_response())
}
