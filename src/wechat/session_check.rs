//! Asks WeChat whether a user's session_key is good, and for another one.

use std::time::Instant;

use super::open_data::sign;
use super::{AccessTokens, AnswerError, ApiError, Client, FailureClass, Fields};
use crate::config::App;
use crate::secret::Secret;

const CHECK: &str = "/wxa/checksession";
const RESET: &str = "/wxa/resetusersessionkey";

/// A user of an app, and their session_key as far as is known.
#[derive(Clone, Copy, Debug)]
pub struct KeyHolder<'a> {
    /// The app.
    pub app: &'a App,
    /// WeChat's id of the user in this app.
    pub openid: &'a str,
    /// The key, with which the calls are signed; it is not sent.
    pub session_key: &'a Secret,
}

impl Client {
    /// Returns whether WeChat still knows a user's session_key.
    pub async fn check_session(
        &self,
        tokens: &AccessTokens,
        user: KeyHolder<'_>,
    ) -> Result<bool, ApiError> {
        match self.call_signed(CHECK, tokens, user).await {
            Ok(_) => Ok(true),
            Err(error) if error.class() == FailureClass::SessionKeyStale => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Has WeChat replace a user's session_key, and returns the new one, which ends when the old one would have.
    pub async fn reset_session_key(
        &self,
        tokens: &AccessTokens,
        user: KeyHolder<'_>,
    ) -> Result<Secret, ApiError> {
        let fields = self.call_signed(RESET, tokens, user).await?;
        if fields.text("openid")? != user.openid {
            return Err(AnswerError::Invalid("it is about another user").into());
        }
        Ok(fields.secret("session_key")?)
    }

    /// Makes a call; with another access_token once more where WeChat takes the first for a bad one.
    async fn call_signed(
        &self,
        path: &'static str,
        tokens: &AccessTokens,
        user: KeyHolder<'_>,
    ) -> Result<Fields, ApiError> {
        let token = tokens.of(self, user.app).await?;
        match self.call_once(path, &token.token, user).await {
            Err(error) if error.says_stale() => {
                let other = tokens.in_place_of(&token.token, path, self, user.app);
                let other = other.await?;
                if other.token == token.token {
                    return Err(error);
                }
                self.call_once(path, &other.token, user).await
            }
            done => done,
        }
    }

    async fn call_once(
        &self,
        path: &'static str,
        token: &Secret,
        user: KeyHolder<'_>,
    ) -> Result<Fields, ApiError> {
        let started = Instant::now();
        let called = self.ask_signed(path, token, user).await;
        self.count(user.app, path, &called, Some(started.elapsed()));
        called
    }

    async fn ask_signed(
        &self,
        path: &str,
        token: &Secret,
        user: KeyHolder<'_>,
    ) -> Result<Fields, ApiError> {
        let call = self.get(
            path,
            &[
                ("access_token", token.expose()),
                ("openid", user.openid),
                ("signature", &sign(user.session_key, b"")),
                ("sig_method", "hmac_sha256"),
            ],
        );
        let fields: Fields = call.fields::<ApiError>().await?;
        fields.says_ok()?;
        Ok(fields)
    }
}
