//! What a token says, in the form it has on the wire.

use serde::{Deserialize, Serialize};

/// The claims of a session token; unverified until a [`super::Verified`] holds them.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Claims {
    /// Who issued it.
    pub iss: String,
    /// The appid it is for.
    pub aud: String,
    /// The openid.
    pub sub: String,
    /// The name of the app in the configuration.
    pub app: String,
    /// The unionid, when WeChat gave one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unionid: Option<String>,
    /// The nickname, percent-encoded, where it is to be sent on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nickname: Option<String>,
    /// The address of the picture, percent-encoded, where it is to be sent on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub picture: Option<String>,
    /// Of a signed URL, the digest of what it is for; tokens have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The session's id.
    pub sid: String,
    /// How the user logged in, as `X-WX-SOURCE` says it.
    pub src: String,
    /// Issued at, in Unix seconds.
    pub iat: u64,
    /// Not valid before, in Unix seconds.
    pub nbf: u64,
    /// Not valid from this moment on, in Unix seconds.
    pub exp: u64,
}
