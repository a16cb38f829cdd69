//! Tokens that are good at the relay alone and for one app alone: they stand in for WeChat's access_token, and are none.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderValue;

use crate::clock::Clock;
use crate::config::App;

/// What each begins with; WeChat's begin with a number.
const PREFIX: &str = "mrt1.";
/// How long one lives that goes to a backend with a request, and how much of that is left when it is used again.
const LIVES: Duration = Duration::from_secs(900);
const FRESH_SECS: u64 = 600;
/// A longer one cannot be ours: an appid has 64 characters at most.
const LONGEST: usize = 256;

/// Makes such tokens and checks them; all nodes of one store have the same key.
#[derive(Clone)]
pub struct RelayTokens {
    /// It has more than a kilobyte, and what is being called holds several clones.
    key: Arc<hmac::Key>,
    clock: Clock,
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
    /// Takes the key.
    pub fn new(key: hmac::Key, clock: Clock) -> Self {
        let key = Arc::new(key);
        Self { key, clock }
    }

    /// Returns whether a text means to be such a token.
    pub fn is_one(text: &str) -> bool {
        text.starts_with(PREFIX)
    }

    /// Makes a token for an app.
    pub fn issue(&self, appid: &str, lives: Duration) -> String {
        self.until(
            appid,
            self.clock.unix_secs().saturating_add(lives.as_secs()),
        )
    }

    fn until(&self, appid: &str, expires: u64) -> String {
        let body = [&expires.to_be_bytes(), appid.as_bytes()].concat();
        let tag = hmac::sign(&self.key, &body);
        let [body, tag] = [&body, tag.as_ref()].map(|bytes| URL_SAFE_NO_PAD.encode(bytes));
        format!("{PREFIX}{body}.{tag}")
    }

    /// Returns the appid of the app for which a token is good now.
    pub fn check(&self, text: &str) -> Result<String, RelayTokenError> {
        let invalid = RelayTokenError::Invalid;
        let parts = text.strip_prefix(PREFIX).filter(|_| text.len() <= LONGEST);
        let (body, tag) = parts.and_then(|it| it.split_once('.')).ok_or(invalid)?;
        let read = |text| URL_SAFE_NO_PAD.decode(text).map_err(|_| invalid);
        let (body, tag) = (read(body)?, read(tag)?);
        hmac::verify(&self.key, &body, &tag).map_err(|_| invalid)?;
        let (expires, appid) = body.split_first_chunk().ok_or(invalid)?;
        if u64::from_be_bytes(*expires) <= self.clock.unix_secs() {
            return Err(RelayTokenError::Expired);
        }
        String::from_utf8(appid.to_vec()).map_err(|_| invalid)
    }
}

impl std::fmt::Debug for RelayTokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RelayTokens(…)")
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
        let mut token = HeaderValue::try_from(self.tokens.until(&app.appid, expires)).ok()?;
        token.set_sensitive(true);
        app.fresh.store(Some(Arc::new((expires, token.clone()))));
        Some(token)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tokens(seed: u8) -> RelayTokens {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &[seed; 32]);
        RelayTokens::new(key, Clock::system())
    }

    #[test]
    fn a_token_is_good_for_its_app_for_its_time_and_under_its_key() {
        let here = tokens(1);
        let token = here.issue("wx1", LIVES);
        assert!(RelayTokens::is_one(&token));
        assert_eq!(here.check(&token), Ok("wx1".to_owned()));
        assert_eq!(tokens(2).check(&token), Err(RelayTokenError::Invalid));
        here.clock.advance(LIVES);
        assert_eq!(here.check(&token), Err(RelayTokenError::Expired));
    }

    proptest! {
        #[test]
        fn nothing_that_was_changed_is_good(at in 0_usize..60, to in "[A-Za-z0-9._-]") {
            let here = tokens(1);
            let mut token = here.issue("wx1", LIVES);
            let before = token.clone();
            let at = at % token.len();
            token.replace_range(at..=at, &to);
            prop_assert!(token == before || here.check(&token).is_err());
        }

        #[test]
        fn arbitrary_text_is_refused(text in "(mrt1\\.)?\\PC{0,40}") {
            prop_assert!(tokens(1).check(&text).is_err());
        }
    }
}
