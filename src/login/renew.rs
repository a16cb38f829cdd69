//! Renews a token: the refresh token is rotated and a new token issued.

use super::{Grant, Logins, RefreshBody};
use crate::request::Denial;
use crate::session::{RefreshError, RefreshToken};

impl Logins {
    /// Exchanges a refresh token for its successor and a new token.
    pub async fn renew(&self, body: RefreshBody) -> Result<Grant, Denial> {
        let text = body
            .refresh_token()
            .ok_or(Denial::BadRequest("The refresh_token is missing."))?;
        let token = RefreshToken::from_client(text);
        let opened = self.sessions.refresh(&token, &self.known).await?;
        self.grant(opened)
    }
}

impl From<RefreshError> for Denial {
    fn from(error: RefreshError) -> Self {
        match error {
            RefreshError::Invalid => Self::RefreshInvalid,
            RefreshError::Reused => Self::RefreshReused,
            RefreshError::Ended => Self::SessionEnded,
            RefreshError::AppUnknown => Self::AppUnknown,
            RefreshError::Store(error) => Self::from(error),
        }
    }
}
