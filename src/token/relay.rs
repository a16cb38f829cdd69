//! Tokens that are good at the relay alone and for one app alone: they stand in for WeChat's access_token, and are none.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use http::HeaderValue;
use jsonwebtoken::{Header, Validation};
use serde::{Deserialize, Serialize};

use super::verify::signed_claims;
use super::{IssueError, KeyRing};
use crate::clock::Clock;
use crate::config::App;

/// What each begins with; WeChat's begin with a number.
const PREFIX: &str = "mrt1.";
/// The `typ` of what follows, which keeps it apart from tokens of sessions, signed URLs and assertions.
const RELAY_TYPE: &str = "menshen-relay";
/// How long one lives that goes to a backend with a request, and how much of that is left when it is used again.
const LIVES: Duration = Duration::from_secs(900);
const FRESH_SECS: u64 = 600;
/// A longer one cannot be ours: an appid has 64 characters at most, and a signature of RSA 683.
const LONGEST: usize = 1024;

/// Makes such tokens and checks them, with the keys that sign tokens of sessions.
#[derive(Clone, Debug)]
pub struct RelayTokens {
    keys: Arc<KeyRing>,
    clock: Clock,
}

/// What is signed. None of it is a claim that others look at.
#[derive(Deserialize, Serialize)]
struct Claims {
    /// The appid.
    relay: String,
    exp: u64,
}

/// Why a token is not good at the relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RelayTokenError {
    /// It is none of ours.
    #[error("the token is none of this relay's")]
    Invalid,
    /// It was ours and its time is over.
    #[error("the token has expired")]
    Expired,
}

impl RelayTokens {
    /// Takes the keys.
    pub fn new(keys: Arc<KeyRing>, clock: Clock) -> Self {
        Self { keys, clock }
    }

    /// Returns whether a text means to be such a token.
    pub fn is_one(text: &str) -> bool {
        text.starts_with(PREFIX)
    }

    /// Makes a token for an app.
    pub fn issue(&self, appid: &str, lives: Duration) -> Result<String, IssueError> {
        let now = self.clock.unix_secs();
        self.until(appid, now.saturating_add(lives.as_secs()))
    }

    fn until(&self, appid: &str, expires: u64) -> Result<String, IssueError> {
        let key = self.keys.signing(self.clock.unix_ms());
        let mut header = Header::new(key.algorithm);
        header.typ = Some(RELAY_TYPE.to_owned());
        header.kid = Some(key.kid.clone());
        let claims = Claims {
            relay: appid.to_owned(),
            exp: expires,
        };
        let signed = jsonwebtoken::encode(&header, &claims, &key.private)?;
        Ok(format!("{PREFIX}{signed}"))
    }

    /// Returns the appid of the app for which a token is good now.
    pub fn check(&self, text: &str) -> Result<String, RelayTokenError> {
        let invalid = RelayTokenError::Invalid;
        let token = text.strip_prefix(PREFIX).filter(|_| text.len() <= LONGEST);
        let token = token.ok_or(invalid)?;
        let decoded = signed_claims(token, RELAY_TYPE, |kid| {
            let key = self.keys.find(kid)?;
            // The key, not the token, says which algorithm is used.
            let mut validation = Validation::new(key.algorithm);
            validation.required_spec_claims = HashSet::new();
            // The time is compared below with our own clock, which tests can move.
            validation.validate_exp = false;
            Some((&key.check, validation))
        });
        let Claims { relay, exp } = decoded.map_err(|_| invalid)?;
        if exp <= self.clock.unix_secs() {
            return Err(RelayTokenError::Expired);
        }
        Ok(relay)
    }
}

/// The tokens that go to backends with requests: one for each app, which is used again while it is fresh.
#[derive(Debug)]
pub struct RelayHeaders {
    tokens: RelayTokens,
    apps: Vec<ForApp>,
}

#[derive(Debug)]
struct ForApp {
    appid: String,
    /// The app from which it is shared.
    owner: Option<usize>,
    /// The latest token and its end.
    fresh: ArcSwapOption<(u64, HeaderValue)>,
}

/// What a backend gets with a request.
#[derive(Debug)]
pub struct RelayHeader {
    /// For the app whose backend it is.
    pub own: HeaderValue,
    /// For the user's app, where that one is shared from the other.
    pub from: Option<HeaderValue>,
}

impl RelayHeaders {
    /// Prepares them for these apps.
    pub fn new(tokens: RelayTokens, apps: &[App]) -> Self {
        let apps = apps.iter().map(|app| ForApp {
            appid: app.appid.clone(),
            owner: app.shared_from,
            fresh: ArcSwapOption::empty(),
        });
        Self {
            tokens,
            apps: apps.collect(),
        }
    }

    /// Returns what goes with a request of a user of the app with this index.
    pub fn of(&self, app: usize) -> Option<RelayHeader> {
        let user = self.apps.get(app)?;
        let owner = user.owner.and_then(|owner| self.apps.get(owner));
        Some(match owner {
            Some(owner) => RelayHeader {
                own: self.token(owner)?,
                from: self.token(user),
            },
            None => RelayHeader {
                own: self.token(user)?,
                from: None,
            },
        })
    }

    fn token(&self, app: &ForApp) -> Option<HeaderValue> {
        let now = self.tokens.clock.unix_secs();
        if let Some(fresh) = &*app.fresh.load()
            && now.saturating_add(FRESH_SECS) <= fresh.0
            && fresh.0 <= now.saturating_add(LIVES.as_secs())
        {
            return Some(fresh.1.clone());
        }
        let expires = now.saturating_add(LIVES.as_secs());
        let token = self.tokens.until(&app.appid, expires).ok()?;
        let mut token = HeaderValue::try_from(token).ok()?;
        token.set_sensitive(true);
        app.fresh.store(Some(Arc::new((expires, token.clone()))));
        Some(token)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use proptest::prelude::*;

    use super::*;
    use crate::config::Algorithm;
    use crate::token::load_or_make;

    fn tokens() -> RelayTokens {
        let (folder, clock) = (tempfile::tempdir().unwrap(), Clock::system());
        let keys = load_or_make(&folder.path().join("keys"), Algorithm::Es256, &clock);
        RelayTokens::new(Arc::new(keys.unwrap()), clock)
    }

    #[test]
    fn a_token_is_good_for_its_app_for_its_time_and_under_its_key() {
        let here = tokens();
        let token = here.issue("wx1", LIVES).unwrap();
        assert!(RelayTokens::is_one(&token) && token.len() <= LONGEST);
        assert_eq!(here.check(&token), Ok("wx1".to_owned()));
        assert_eq!(tokens().check(&token), Err(RelayTokenError::Invalid));
        here.clock.advance(LIVES);
        assert_eq!(here.check(&token), Err(RelayTokenError::Expired));
    }

    #[test]
    fn what_the_same_key_signed_for_something_else_is_refused() {
        let here = tokens();
        let key = here.keys.signing(here.clock.unix_ms());
        for kind in [Some("JWT"), Some("menshen-url"), None] {
            let mut header = Header::new(key.algorithm);
            header.typ = kind.map(str::to_owned);
            header.kid = Some(key.kid.clone());
            let claims = Claims {
                relay: "wx1".to_owned(),
                exp: u64::MAX,
            };
            let signed = jsonwebtoken::encode(&header, &claims, &key.private).unwrap();
            let token = format!("{PREFIX}{signed}");
            assert_eq!(
                here.check(&token),
                Err(RelayTokenError::Invalid),
                "{kind:?}"
            );
        }
    }

    #[test]
    fn nothing_that_was_changed_is_good() {
        let here = tokens();
        let token = here.issue("wx1", LIVES).unwrap();
        for at in 0..token.len() {
            for to in ["A", "b", "0", "-", "_", "."] {
                let mut changed = token.clone();
                changed.replace_range(at..=at, to);
                assert!(
                    changed == token || here.check(&changed).is_err(),
                    "{at} {to}"
                );
            }
        }
    }

    proptest! {
        #[test]
        fn arbitrary_text_is_refused(text in "(mrt1\\.)?\\PC{0,40}") {
            static TOKENS: LazyLock<RelayTokens> = LazyLock::new(tokens);
            prop_assert!(TOKENS.check(&text).is_err());
        }
    }
}
