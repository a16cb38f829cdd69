//! What browsers keep for us: texts that nobody else can read or make, and sessions that go on by them.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use zeroize::Zeroizing;

use super::refresh_token::RefreshKey;
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

    /// Returns what a browser keeps, sealed, of a refresh token: no more than it must, as it is sent with every request.
    pub fn for_browser(&self, token: &RefreshToken) -> Result<Secret, StoreError> {
        let short = RefreshKey::shorten(token).ok_or(StoreError::Cryptography)?;
        Ok(Secret::new(STANDARD.encode(short.as_slice())))
    }

    /// Refreshes a session by what a browser keeps of a token of it, whether or not others have followed that one.
    ///
    /// A browser that leaves a page loses answers, and the token in them, without an error that anybody could act on. So a token
    /// that was replaced does not end the session here. It never leaves its sealed cookie.
    pub async fn go_on(&self, kept: &Secret, apps: &Apps) -> Result<Opened, RefreshError> {
        let key = &self.shared.keys.refresh;
        let short = STANDARD.decode(kept.expose()).map(Zeroizing::new);
        let short = short.map_err(|_| RefreshError::Invalid)?;
        let sid = RefreshKey::sid_of_short(&short).ok_or(RefreshError::Invalid)?;
        if self.revoked().contains(&sid) {
            return Err(RefreshError::Ended);
        }
        let found = self.shared.store.session(sid).await?;
        let found = found.ok_or(RefreshError::Ended)?;
        let generation = found.rotation.generation;
        let known = key.lengthen(&short, found.identity.user());
        let mut known = known.ok_or(RefreshError::Invalid)?;
        if generation.saturating_sub(known.generation()) > MOST_MISSED {
            return Err(RefreshError::Invalid);
        }
        while known.generation() < generation {
            known = key.successor(known);
        }
        self.refresh(&key.text(&known), apps).await
    }
}
