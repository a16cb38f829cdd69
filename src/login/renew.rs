//! Renews a token: the refresh token is rotated and a new token issued.

use super::{Grant, Logins, RefreshBody};
use crate::request::Denial;
use crate::session::{RefreshError, RefreshToken};

impl Logins {
    /// Exchanges a refresh token for its successor and a new token.
    pub async fn renew(&self, body: RefreshBody) -> Result<Grant, Denial> {
        let text = body
            .refresh_token
            .ok_or(Denial::BadRequest("The refresh_token is missing."))?;
        let token = RefreshToken::from_client(text);
        let opened = self.sessions.refresh(&token).await?;
        // A user whose app is no longer configured has nothing to be let into.
        let known = self.apps.iter().any(|app| {
            app.name == opened.session.identity.app && app.appid == opened.session.identity.appid
        });
        if !known {
            return Err(Denial::SessionEnded);
        }
        self.grant(opened)
    }
}

impl From<RefreshError> for Denial {
    fn from(error: RefreshError) -> Self {
        match error {
            RefreshError::Invalid => Self::RefreshInvalid,
            RefreshError::Reused => Self::RefreshReused,
            RefreshError::Ended => Self::SessionEnded,
            RefreshError::Store(error) => Self::from(error),
        }
    }
}
