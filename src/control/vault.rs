//! Opens, checks and signs with a user's session_key, which itself goes nowhere.

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Response};
use http::HeaderValue;
use http::header::CONTENT_TYPE;
use serde::{Deserialize, Serialize};

use super::Control;
use super::body::object;
use super::denial::ControlDenial;
use super::path::User;
use crate::session::SessionKeys;
use crate::wechat::{self, Owner};

/// What a page gets from WeChat's client, encrypted.
#[derive(Deserialize)]
struct Encrypted {
    encrypted_data: String,
    iv: String,
}

/// What a page gets from WeChat's client, signed.
#[derive(Deserialize)]
struct Signed {
    raw_data: String,
    signature: String,
}

/// What WeChat wants to have signed.
#[derive(Deserialize)]
struct ToSign {
    data: String,
}

/// Whether something is what it should be.
#[derive(Serialize)]
pub(super) struct Validity {
    pub(super) valid: bool,
}

/// A signature, and what WeChat calls the way in which it was made.
#[derive(Serialize)]
pub(super) struct Signature {
    signature: String,
    sig_method: &'static str,
}

/// `POST /v1/apps/{app}/users/{openid}/decrypt`
///
/// Answers what was encrypted, as WeChat wrote it.
pub(super) async fn decrypt(
    State(control): State<Control>,
    Path((app, openid)): Path<(String, String)>,
    body: Body,
) -> Result<Response, ControlDenial> {
    let user = User::of(&control, &app, openid)?;
    let Encrypted { encrypted_data, iv } = object(body).await?;
    let (appid, openid) = (user.appid(), user.openid());
    control.failures.check(appid, openid)?;
    let keys = keys(&control, &user).await?;
    let owner = Owner { appid, openid };
    let opened = wechat::decrypt(&keys, owner, &encrypted_data, &iv).map_err(|_| {
        control.failures.count(appid, openid);
        ControlDenial::DecryptFailed
    })?;
    let json = HeaderValue::from_static("application/json");
    Ok(([(CONTENT_TYPE, json)], opened).into_response())
}

/// `POST /v1/apps/{app}/users/{openid}/verify`
pub(super) async fn verify(
    State(control): State<Control>,
    Path((app, openid)): Path<(String, String)>,
    body: Body,
) -> Result<Json<Validity>, ControlDenial> {
    let user = User::of(&control, &app, openid)?;
    let Signed {
        raw_data,
        signature,
    } = object(body).await?;
    let keys = keys(&control, &user).await?;
    let valid = wechat::is_signed(&keys, &raw_data, &signature);
    Ok(Json(Validity { valid }))
}

/// `POST /v1/apps/{app}/users/{openid}/sign`
pub(super) async fn sign(
    State(control): State<Control>,
    Path((app, openid)): Path<(String, String)>,
    body: Body,
) -> Result<Json<Signature>, ControlDenial> {
    let user = User::of(&control, &app, openid)?;
    let ToSign { data } = object(body).await?;
    let keys = keys(&control, &user).await?;
    Ok(Json(Signature {
        signature: wechat::sign(&keys.latest, data.as_bytes()),
        sig_method: "hmac_sha256",
    }))
}

/// Returns the session_keys of a user who is logged in.
pub(super) async fn keys(control: &Control, user: &User) -> Result<SessionKeys, ControlDenial> {
    let keys = control.sessions.session_keys(user.appid(), user.openid());
    keys.await?.ok_or(ControlDenial::SessionKeyUnknown)
}
