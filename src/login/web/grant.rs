//! A session in a browser's cookie: a token, and sealed beside it what the session goes on by.

use std::time::Duration;

use http::HeaderValue;
use serde::{Deserialize, Serialize};

use super::cookie;
use crate::login::{Grant, Logins};
use crate::request::{COOKIE_SEPARATOR, Denial};
use crate::secret::Secret;
use crate::session::{Opened, Profile};
use crate::token::RawToken;

const PURPOSE: &str = "the cookie of a session";

/// A session for a browser.
#[derive(Debug)]
pub struct WebGrant {
    /// The token.
    pub token: RawToken,
    /// The line that has the browser keep it.
    pub cookie: HeaderValue,
}

/// What is sealed.
#[derive(Deserialize, Serialize)]
struct Kept {
    #[serde(rename = "r")]
    refresh: String,
    /// No store keeps the profile, so it goes round with the browser.
    #[serde(rename = "n", default, skip_serializing_if = "Option::is_none")]
    nickname: Option<String>,
    #[serde(rename = "p", default, skip_serializing_if = "Option::is_none")]
    picture: Option<String>,
}

impl Kept {
    /// Writes it. What is base64 alone is sealed as bytes: a cookie comes with every request.
    fn written(&self) -> Option<Secret> {
        if self.nickname.is_none() && self.picture.is_none() {
            return Some(Secret::new(self.refresh.as_str()));
        }
        serde_json::to_string(self).ok().map(Secret::new)
    }

    fn read(text: &str) -> Option<Self> {
        if text.starts_with('{') {
            return serde_json::from_str(text).ok();
        }
        Some(Self {
            refresh: text.to_owned(),
            nickname: None,
            picture: None,
        })
    }
}

impl Logins {
    /// Has a session go on by what its cookie keeps.
    pub async fn renew_cookie(&self, sealed: &str, https: bool) -> Result<WebGrant, Denial> {
        let kept = self.sessions.open_sealed(PURPOSE, sealed);
        let kept = kept.and_then(|kept| Kept::read(kept.expose()));
        let kept = kept.ok_or(Denial::TokenInvalid("a cookie that is not ours"))?;
        let refresh = Secret::new(kept.refresh);
        let mut opened = self.sessions.go_on(&refresh, &self.known).await?;
        opened.profile = match (kept.nickname, kept.picture) {
            (None, None) => None,
            (nickname, picture) => Some(Profile {
                nickname: nickname.unwrap_or_default(),
                picture: picture.unwrap_or_default(),
            }),
        };
        self.grant_to_browser(opened, https)
    }

    pub(super) fn grant_to_browser(&self, opened: Opened, https: bool) -> Result<WebGrant, Denial> {
        let profile = opened.profile.clone();
        let Grant {
            token,
            refresh,
            refresh_expires_in_secs,
            ..
        } = self.grant(opened)?;
        let kept = Kept {
            refresh: self.sessions.for_browser(&refresh)?.expose().to_owned(),
            nickname: profile.as_ref().map(|profile| profile.nickname.clone()),
            picture: profile.map(|profile| profile.picture),
        };
        let kept = kept.written().ok_or(Denial::Internal)?;
        let sealed = self.sessions.seal_for(PURPOSE, &kept)?;
        let value = format!("{}{}{sealed}", token.expose(), char::from(COOKIE_SEPARATOR));
        let lasts = Duration::from_secs(refresh_expires_in_secs);
        let line = cookie::set(cookie::session_name(https), &value, lasts, https);
        Ok(WebGrant {
            token,
            cookie: line.ok_or(Denial::Internal)?,
        })
    }
}
