//! Issues tokens: the claims are set here and nowhere else.

use std::sync::Arc;
use std::time::Duration;

use jsonwebtoken::Header;

use super::{Claims, KeyRing, RawToken};
use crate::clock::Clock;
use crate::session::Session;

/// A token could not be signed.
#[derive(Debug, thiserror::Error)]
#[error("the token could not be signed")]
pub struct IssueError(#[from] jsonwebtoken::errors::Error);

/// A fresh token.
#[derive(Debug)]
pub struct Issued {
    /// The token.
    pub token: RawToken,
    /// Its lifetime.
    pub expires_in: Duration,
}

/// Signs tokens with the key whose time it is.
#[derive(Debug)]
pub struct Issuer {
    keys: Arc<KeyRing>,
    name: String,
    ttl: Duration,
    clock: Clock,
}

impl Issuer {
    /// Makes an issuer called `name` whose tokens live for `ttl`.
    pub fn new(keys: Arc<KeyRing>, name: String, ttl: Duration, clock: Clock) -> Self {
        Self {
            keys,
            name,
            ttl,
            clock,
        }
    }

    /// Issues a token for a stored session; it never outlives the session.
    pub fn issue(&self, session: &Session) -> Result<Issued, IssueError> {
        let now = self.clock.unix_secs();
        let lives = self.ttl.as_secs().min(session.expires.saturating_sub(now));
        let claims = Claims {
            iss: self.name.clone(),
            aud: session.identity.appid.clone(),
            sub: session.identity.openid.clone(),
            app: session.identity.app.clone(),
            unionid: session.identity.unionid.clone(),
            sid: session.id.to_string(),
            src: session.identity.source.as_str().to_owned(),
            iat: now,
            nbf: now,
            exp: now.saturating_add(lives),
        };
        let key = self.keys.signing(self.clock.unix_ms());
        let mut header = Header::new(key.algorithm);
        header.kid = Some(key.kid.clone());
        Ok(Issued {
            token: RawToken::new(jsonwebtoken::encode(&header, &claims, &key.private)?),
            expires_in: Duration::from_secs(lives),
        })
    }
}
