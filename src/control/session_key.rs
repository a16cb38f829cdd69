//! Asks WeChat whether a user's session_key is good, and for another one, which nobody but the store gets.

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use serde::Serialize;

use super::Control;
use super::denial::ControlDenial;
use super::path::User;
use super::vault::{Validity, keys};
use crate::wechat::{AccessTokens, ApiError, Client, KeyHolder, Transport};

/// How WeChat's API is called.
#[derive(Clone, Debug)]
pub struct WeChatApi {
    /// The client.
    pub client: Client,
    /// The access_tokens.
    pub tokens: AccessTokens,
    /// What the relay calls with.
    pub transport: Transport<Body>,
}

/// What a reset did.
#[derive(Serialize)]
pub(super) struct Reset {
    reset: bool,
}

/// `POST /v1/apps/{app}/users/{openid}/check-session`
pub(super) async fn check(
    State(control): State<Control>,
    Path((app, openid)): Path<(String, String)>,
) -> Result<Json<Validity>, ControlDenial> {
    let user = User::of(&control, &app, openid)?;
    let keys = keys(&control, &user).await?;
    let api = control.known.wechat();
    let holder = KeyHolder {
        app: &user.app,
        openid: user.openid(),
        session_key: &keys.latest,
    };
    let valid = api.client.check_session(&api.tokens, holder).await?;
    Ok(Json(Validity { valid }))
}

/// `POST /v1/apps/{app}/users/{openid}/reset-session-key`
pub(super) async fn reset(
    State(control): State<Control>,
    Path((app, openid)): Path<(String, String)>,
) -> Result<Json<Reset>, ControlDenial> {
    let user = User::of(&control, &app, openid)?;
    // On a task of its own: a key that WeChat has given must be stored, whether or not the caller still waits.
    let resets = control.resets.clone();
    let reset = resets.spawn(async move { replace(&control, &user).await });
    reset.await.map_err(|_| ControlDenial::ShuttingDown)??;
    Ok(Json(Reset { reset: true }))
}

async fn replace(control: &Control, user: &User) -> Result<(), ControlDenial> {
    let old = keys(control, user).await?.latest;
    let api = control.known.wechat();
    let holder = KeyHolder {
        app: &user.app,
        openid: user.openid(),
        session_key: &old,
    };
    let new = api.client.reset_session_key(&api.tokens, holder).await?;
    let (appid, openid) = (user.appid(), user.openid());
    let stored = control
        .sessions
        .replace_session_key(appid, openid, &old, &new);
    match stored.await {
        Ok(true) => {}
        // A later login has brought a later key, or the user has logged out.
        Ok(false) => tracing::info!(
            app = user.app.name,
            "a session_key was reset and is not needed"
        ),
        Err(error) => {
            tracing::error!(
                app = user.app.name,
                %error,
                "WeChat has reset a session_key, and the new one could not be stored; the user's next login brings it"
            );
            return Err(ControlDenial::ResetNotStored);
        }
    }
    Ok(())
}

impl From<ApiError> for ControlDenial {
    fn from(error: ApiError) -> Self {
        Self::WeChat(error)
    }
}
