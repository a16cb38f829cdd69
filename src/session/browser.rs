//! What browsers keep for us: texts that nobody else can read or make, and sessions that go on by them.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::store::Store as _;
use super::{Apps, Opened, RefreshError, RefreshToken, Sessions, StoreError};
use crate::secret::Secret;

/// How many refreshes a browser may have missed and still go on: each takes an HMAC to make up for.
const MOST_MISSED: u32 = 1000;

/// The longest text that is opened.
const LONGEST: usize = 8192;

impl Sessions {
    /// Seals a text for a purpose; every node of one store opens it, for the same purpose alone.
    pub fn seal_for(&self, purpose: &str, text: &Secret) -> Result<String, StoreError> {
        let sealed = self.shared.keys.browsers.seal(purpose.as_bytes(), text)?;
        Ok(URL_SAFE_NO_PAD.encode(sealed))
    }

    /// Opens what was sealed for a purpose; `None` for everything else.
    pub fn open_sealed(&self, purpose: &str, text: &str) -> Option<Secret> {
        if text.len() > LONGEST {
            return None;
        }
        let sealed = URL_SAFE_NO_PAD.decode(text).ok()?;
        self.shared.keys.browsers.open(purpose.as_bytes(), &sealed)
    }

    /// Refreshes a session by a token of it that a browser keeps, whether or not others have followed that one.
    ///
    /// A browser that leaves a page loses answers, and the token in them, without an error that anybody could act on. So a token
    /// that was replaced does not end the session here. It never leaves its sealed cookie.
    pub async fn go_on(&self, token: &RefreshToken, apps: &Apps) -> Result<Opened, RefreshError> {
        let key = &self.shared.keys.refresh;
        let mut known = key.recognise(token).ok_or(RefreshError::Invalid)?;
        if self.revoked().contains(&known.sid()) {
            return Err(RefreshError::Ended);
        }
        let found = self.shared.store.session(known.sid()).await?;
        let generation = found.ok_or(RefreshError::Ended)?.rotation.generation;
        if generation.saturating_sub(known.generation()) > MOST_MISSED {
            return Err(RefreshError::Invalid);
        }
        while known.generation() < generation {
            known = key.successor(known);
        }
        self.refresh(&key.text(&known), apps).await
    }
}
