//! Issues tokens: the claims are set here and nowhere else.

use std::sync::Arc;
use std::time::Duration;

use jsonwebtoken::Header;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::signed_url::URL_TYPE;
use super::{Claims, KeyRing, RawToken, SignedUrl, UrlUser};
use crate::clock::Clock;
use crate::session::{Profile, Session};

/// What a header cannot hold, or what would end a value for some who read it; the rest stays readable.
const NOT_IN_HEADERS: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~')
    .remove(b'/')
    .remove(b':');

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
        self.issue_with(session, None)
    }

    /// Issues one that also says what the user shows of themselves.
    pub fn issue_with(
        &self,
        session: &Session,
        profile: Option<&Profile>,
    ) -> Result<Issued, IssueError> {
        let now = self.clock.unix_secs();
        let lives = self.ttl.as_secs().min(session.expires.saturating_sub(now));
        let encoded = |text: &String| {
            let encoded = utf8_percent_encode(text, NOT_IN_HEADERS).to_string();
            Some(encoded).filter(|text| !text.is_empty())
        };
        let claims = Claims {
            nickname: profile.and_then(|profile| encoded(&profile.nickname)),
            picture: profile.and_then(|profile| encoded(&profile.picture)),
            url: None,
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
        Ok(Issued {
            token: RawToken::new(self.sign(None, &claims)?),
            expires_in: Duration::from_secs(lives),
        })
    }

    /// Signs what is good for one URL alone, as its user, and for no longer than a token.
    pub fn sign_url(
        &self,
        user: &UrlUser<'_>,
        url: &SignedUrl<'_>,
        lives: Duration,
    ) -> Result<Issued, IssueError> {
        let now = self.clock.unix_secs();
        let lives = lives.min(self.ttl).as_secs();
        let claims = Claims {
            iss: self.name.clone(),
            aud: user.appid.to_owned(),
            sub: user.openid.to_owned(),
            app: user.app.to_owned(),
            unionid: user.unionid.map(str::to_owned),
            nickname: None,
            picture: None,
            url: Some(url.digest()),
            sid: user.session.to_string(),
            src: user.source.as_str().to_owned(),
            iat: now,
            nbf: now,
            exp: now.saturating_add(lives),
        };
        Ok(Issued {
            token: RawToken::new(self.sign(Some(URL_TYPE), &claims)?),
            expires_in: Duration::from_secs(lives),
        })
    }

    fn sign(&self, kind: Option<&str>, claims: &Claims) -> Result<String, IssueError> {
        let key = self.keys.signing(self.clock.unix_ms());
        let mut header = Header::new(key.algorithm);
        if let Some(kind) = kind {
            header.typ = Some(kind.to_owned());
        }
        header.kid = Some(key.kid.clone());
        Ok(jsonwebtoken::encode(&header, claims, &key.private)?)
    }
}
