//! What a client gets for a login or a refresh.

use serde::Serialize;

use crate::session::RefreshToken;
use crate::token::{Issued, RawToken};

/// A token and the means to get the next one.
#[derive(Debug)]
pub struct Grant {
    /// The token.
    pub token: RawToken,
    /// Its lifetime in seconds.
    pub expires_in_secs: u64,
    /// The refresh token.
    pub refresh: RefreshToken,
    /// The session's remaining lifetime in seconds.
    pub refresh_expires_in_secs: u64,
}

#[derive(Serialize)]
struct GrantBody<'a> {
    token: &'a str,
    token_type: &'static str,
    expires_in: u64,
    refresh_token: &'a str,
    refresh_expires_in: u64,
}

impl Grant {
    pub(super) fn new(issued: Issued, refresh: RefreshToken, refresh_expires_in_secs: u64) -> Self {
        Self {
            token: issued.token,
            expires_in_secs: issued.expires_in.as_secs(),
            refresh,
            refresh_expires_in_secs,
        }
    }

    /// Returns the JSON that a client gets.
    pub fn body(&self) -> Vec<u8> {
        let body = GrantBody {
            token: self.token.expose(),
            token_type: "Bearer",
            expires_in: self.expires_in_secs,
            refresh_token: self.refresh.expose(),
            refresh_expires_in: self.refresh_expires_in_secs,
        };
        serde_json::to_vec(&body).unwrap_or_default()
    }
}
