//! Short-lived JWTs that tell one upstream who the user is, for backends that want proof.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use jsonwebtoken::Header;
use moka::sync::Cache;
use serde::Serialize;

use super::{IssueError, KeyRing, Verified};
use crate::clock::Clock;
use crate::config::App;
use crate::session::SessionId;

/// The lifetime of an assertion, in seconds.
const LIVES_SECS: u64 = 120;
/// What is left of an assertion that is used again, at least, in seconds.
const FRESH_SECS: u64 = 60;
const MAX_KEPT: u64 = 100_000;

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    aud: &'a str,
    sub: &'a str,
    appid: &'a str,
    app: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    unionid: Option<&'a str>,
    sid: &'a str,
    src: &'a str,
    iat: u64,
    nbf: u64,
    exp: u64,
}

/// Signs assertions and uses each again while it is fresh.
#[derive(Debug)]
pub struct Assertions {
    keys: Arc<KeyRing>,
    issuer: String,
    /// Name and appid of each app, by index.
    apps: Vec<(String, String)>,
    /// The latest assertion of each session for each upstream, with its `exp`.
    fresh: Cache<(SessionId, usize), (u64, HeaderValue)>,
    clock: Clock,
}

impl Assertions {
    /// Makes a signer of assertions.
    pub fn new(keys: Arc<KeyRing>, issuer: String, apps: &[App], clock: Clock) -> Self {
        Self {
            keys,
            issuer,
            apps: apps
                .iter()
                .map(|app| (app.name.clone(), app.appid.clone()))
                .collect(),
            fresh: Cache::builder()
                .max_capacity(MAX_KEPT)
                .time_to_live(Duration::from_secs(LIVES_SECS))
                .build(),
            clock,
        }
    }

    /// Returns an assertion about `who` for the upstream with this index and name.
    pub fn assert(
        &self,
        who: &Verified,
        upstream: usize,
        audience: &str,
    ) -> Result<HeaderValue, IssueError> {
        let slot = (*who.session(), upstream);
        let now = self.clock.unix_secs();
        // By our clock, as the backend checks it: the cache's own stands still while a machine sleeps.
        if let Some((exp, fresh)) = self.fresh.get(&slot)
            && now.saturating_add(FRESH_SECS) <= exp
        {
            return Ok(fresh);
        }
        let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let (app, appid) = self
            .apps
            .get(who.app())
            .map_or(("", ""), |(name, appid)| (name, appid));
        let openid = text(who.openid());
        let unionid = who.unionid().map(text);
        let exp = now + LIVES_SECS;
        let claims = Claims {
            iss: &self.issuer,
            aud: audience,
            sub: &openid,
            appid,
            app,
            unionid: unionid.as_deref(),
            sid: &who.session().to_string(),
            src: who.source().as_str(),
            iat: now,
            nbf: now,
            exp,
        };
        let key = self.keys.signing(self.clock.unix_ms());
        let mut header = Header::new(key.algorithm);
        header.kid = Some(key.kid.clone());
        // Not "JWT": an assertion must never be taken for a session token.
        header.typ = Some("assertion+jwt".to_owned());
        let signed = jsonwebtoken::encode(&header, &claims, &key.private)?;
        let mut value = HeaderValue::try_from(signed)
            .map_err(|_| jsonwebtoken::errors::ErrorKind::InvalidToken)
            .map_err(jsonwebtoken::errors::Error::from)?;
        value.set_sensitive(true);
        self.fresh.insert(slot, (exp, value.clone()));
        Ok(value)
    }
}
