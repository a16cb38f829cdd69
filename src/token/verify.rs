//! Verifies tokens: the only place that decodes one.

use std::borrow::Borrow;
use std::collections::{HashMap, HashSet};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderValue;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{DecodingKey, Validation};
use serde::de::DeserializeOwned;

use super::signed_url::URL_TYPE;
use super::{Claims, KeyRing, RelayTokens, SignedUrl};
use crate::clock::Clock;
use crate::config::App;
use crate::session::{SessionId, Source};

/// A longer token cannot be one of ours: every claim in it has a bound.
pub(super) const MAX_TOKEN_BYTES: usize = 4096;

/// Its signature is not of the key that it names.
pub(super) const FORGED: TokenError = TokenError::Invalid("signature");
/// It has no signature, or it is signed with our key and not for us.
pub(super) const NOT_OURS: TokenError = TokenError::Invalid("signature or claims");

/// How far ahead another node's clock may be.
const NOT_BEFORE_LEEWAY_SECS: u64 = 60;

/// Why a token was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It was ours and its time is over.
    #[error("the token has expired")]
    Expired,
    /// It is not a token of ours; the text says what gave it away, for the log.
    #[error("the token is invalid: {0}")]
    Invalid(&'static str),
}

impl TokenError {
    /// Returns whether the signature is wrong, which anybody can make as many of as they like.
    pub fn is_forgery(&self) -> bool {
        *self == FORGED
    }
}

/// A token's content after its signature, issuer, audience, app and lifetime were checked.
///
/// Holding one is the proof that the check happened. The values that become headers are kept ready-made.
#[derive(Clone, Debug)]
pub struct Verified {
    // As small as they can be: the cache may hold a million of these.
    app: u32,
    source: Source,
    session: SessionId,
    expires: u64,
    openid: HeaderValue,
    unionid: Option<HeaderValue>,
    session_text: HeaderValue,
    profile: Option<Box<ShownProfile>>,
}

/// What a user shows of themselves, percent-encoded.
#[derive(Clone, Debug)]
struct ShownProfile {
    nickname: Option<HeaderValue>,
    picture: Option<HeaderValue>,
}

impl Verified {
    /// Returns the app's index in the configuration.
    pub fn app(&self) -> usize {
        self.app as usize
    }

    /// Returns how the user logged in.
    pub fn source(&self) -> Source {
        self.source
    }

    /// Returns the session's id.
    pub fn session(&self) -> &SessionId {
        &self.session
    }

    /// Returns the session's id as a header value.
    pub fn session_text(&self) -> &HeaderValue {
        &self.session_text
    }

    /// Returns the moment from which the token is no longer valid, in Unix seconds.
    pub fn expires(&self) -> u64 {
        self.expires
    }

    /// Returns the openid.
    pub fn openid(&self) -> &HeaderValue {
        &self.openid
    }

    /// Returns the unionid, when WeChat gave one.
    pub fn unionid(&self) -> Option<&HeaderValue> {
        self.unionid.as_ref()
    }

    /// Returns the nickname, percent-encoded, where it is known.
    pub fn nickname(&self) -> Option<&HeaderValue> {
        self.profile.as_ref()?.nickname.as_ref()
    }

    /// Returns the address of the picture, percent-encoded, where it is known.
    pub fn picture(&self) -> Option<&HeaderValue> {
        self.profile.as_ref()?.picture.as_ref()
    }
}

/// Decodes a JWT of this `typ` with the key that it names. Other kinds of JWT are signed with the same keys; the type keeps them apart.
pub(super) fn signed_claims<'k, C, V>(
    token: &str,
    kind: &str,
    find: impl FnOnce(&str) -> Option<(&'k DecodingKey, V)>,
) -> Result<C, TokenError>
where
    C: DeserializeOwned,
    V: Borrow<Validation>,
{
    let header =
        jsonwebtoken::decode_header(token).map_err(|_| TokenError::Invalid("not a JWT"))?;
    if header.typ.as_deref() != Some(kind) {
        return Err(TokenError::Invalid("typ"));
    }
    // RFC 7515 has a token refused that asks for an extension nobody here understands.
    if header.crit.is_some() {
        return Err(TokenError::Invalid("crit"));
    }
    let found = header.kid.as_deref().and_then(find);
    let (key, validation) = found.ok_or(TokenError::Invalid("unknown kid"))?;
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place that decodes tokens"
    )]
    let decoded = jsonwebtoken::decode(token, key, validation.borrow());
    let decoded = decoded.map_err(|error| {
        let forged = matches!(error.kind(), ErrorKind::InvalidSignature);
        if forged { FORGED } else { NOT_OURS }
    })?;
    Ok(decoded.claims)
}

/// Checks tokens against the keys and apps of this configuration.
pub struct Verifier {
    keys: HashMap<String, (DecodingKey, Validation)>,
    /// Name and appid of each app, by index.
    apps: Vec<(String, String)>,
    ttl_secs: u64,
    clock: Clock,
}

impl Verifier {
    /// Makes a verifier for tokens that `issuer` signed with one of `keys` for one of `apps`, at most `ttl` ago.
    pub fn new(keys: &KeyRing, issuer: &str, apps: &[App], ttl: Duration, clock: Clock) -> Self {
        let audience: Vec<&str> = apps.iter().map(|app| app.appid.as_str()).collect();
        let keys = keys
            .iter()
            .map(|key| {
                // The key, not the token, says which algorithm is used.
                let mut validation = Validation::new(key.algorithm);
                validation.set_audience(&audience);
                validation.set_issuer(&[issuer]);
                validation.required_spec_claims =
                    HashSet::from(["exp", "nbf", "aud", "iss", "sub"].map(str::to_owned));
                // Both times are compared below with our own clock, which tests can move.
                validation.validate_exp = false;
                validation.validate_nbf = false;
                (key.kid.clone(), (key.check.clone(), validation))
            })
            .collect();
        let apps = apps
            .iter()
            .map(|app| (app.name.clone(), app.appid.clone()))
            .collect();
        Self {
            keys,
            apps,
            ttl_secs: ttl.as_secs(),
            clock,
        }
    }

    /// Checks everything about a token that does not need a store.
    pub fn verify(&self, token: &str) -> Result<Verified, TokenError> {
        let claims = self.claims_of(token, "JWT")?;
        if claims.url.is_some() {
            return Err(TokenError::Invalid("url"));
        }
        self.check(&claims)
    }

    /// Checks everything about the signature of a URL that does not need a store.
    pub fn verify_url(&self, signature: &str, url: &SignedUrl<'_>) -> Result<Verified, TokenError> {
        let claims = self.claims_of(signature, URL_TYPE)?;
        if claims.url != Some(url.digest()) {
            return Err(TokenError::Invalid("another URL's"));
        }
        self.check(&claims)
    }

    fn claims_of(&self, token: &str, kind: &str) -> Result<Claims, TokenError> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(TokenError::Invalid("too long"));
        }
        if RelayTokens::is_one(token) {
            return Err(TokenError::Invalid("a token of the relay's"));
        }
        signed_claims(token, kind, |kid| {
            let (key, validation) = self.keys.get(kid)?;
            Some((key, validation))
        })
    }

    /// Returns whether a token names one of our keys, whatever else is wrong with it.
    pub fn is_ours(&self, token: &str) -> bool {
        token.len() <= MAX_TOKEN_BYTES
            && jsonwebtoken::decode_header(token)
                .ok()
                .and_then(|header| header.kid)
                .is_some_and(|kid| self.keys.contains_key(&kid))
    }

    fn check(&self, claims: &Claims) -> Result<Verified, TokenError> {
        let now = self.clock.unix_secs();
        if claims.nbf > now.saturating_add(NOT_BEFORE_LEEWAY_SECS) {
            return Err(TokenError::Invalid("nbf"));
        }
        // A revocation is kept for the ttl of today, which a token from before it was lowered must not outlive.
        let expires = claims.exp.min(claims.iat.saturating_add(self.ttl_secs));
        if expires <= now {
            return Err(TokenError::Expired);
        }
        let app = self
            .apps
            .iter()
            .position(|(name, appid)| *name == claims.app && *appid == claims.aud)
            .and_then(|app| u32::try_from(app).ok())
            .ok_or(TokenError::Invalid("app"))?;
        if claims.sub.is_empty() {
            return Err(TokenError::Invalid("sub"));
        }
        let unionid = claims.unionid.as_deref();
        // They share one piece of memory, for as many of these are kept as there are users.
        let texts = [&claims.sub, unionid.unwrap_or_default(), &claims.sid].concat();
        let mut texts = Bytes::from(texts.into_bytes());
        let mut header = |text: &str| {
            HeaderValue::from_maybe_shared(texts.split_to(text.len()))
                .map_err(|_| TokenError::Invalid("not a header value"))
        };
        let shown = |text: &Option<String>| {
            let value = text.as_deref().map(HeaderValue::from_str).transpose();
            value.map_err(|_| TokenError::Invalid("not a header value"))
        };
        let profile = match (&claims.nickname, &claims.picture) {
            (None, None) => None,
            (nickname, picture) => Some(Box::new(ShownProfile {
                nickname: shown(nickname)?,
                picture: shown(picture)?,
            })),
        };
        Ok(Verified {
            app,
            profile,
            source: Source::from_name(&claims.src).ok_or(TokenError::Invalid("src"))?,
            session: claims.sid.parse().map_err(|_| TokenError::Invalid("sid"))?,
            expires,
            openid: header(&claims.sub)?,
            unionid: unionid.map(&mut header).transpose()?,
            session_text: header(&claims.sid)?,
        })
    }
}

impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Verifier")
            .field("kids", &self.keys.keys())
            .field("apps", &self.apps)
            .finish_non_exhaustive()
    }
}
