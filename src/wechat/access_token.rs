//! Keeps the access_token of each app for as long as it is good, so that WeChat is asked once in two hours.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex as Lock, PoisonError};
use std::time::Duration;

use aws_lc_rs::digest::{Digest, SHA256, digest};
use tokio::sync::Mutex;

use super::stable_token::Given;
use super::{AnswerError, ApiError, Client, Trouble, advice};
use crate::clock::Clock;
use crate::config::App;
use crate::secret::Secret;

/// In its last five minutes WeChat gives another token, and the old one goes on being good.
const OVERLAP: Duration = Duration::from_secs(300);
/// How soon after a token was read because WeChat had refused one it makes no sense to do so again.
const SETTLED_MS: u64 = 5_000;
/// How long WeChat is left alone after it gave no token.
const REST_MS: u64 = 5_000;
const REST_MISCONFIGURED_MS: u64 = 30_000;
/// What WeChat says of a wrong secret, at this endpoint in both ways.
const WRONG_SECRET: [i64; 2] = [40125, 40001];

/// The access_tokens of all apps; clones share them.
#[derive(Clone)]
pub struct AccessTokens {
    places: Arc<Lock<HashMap<String, Arc<Place>>>>,
    clock: Clock,
}

/// What is kept for one app.
struct Place {
    /// The digest of where WeChat is, the appid and the secret: with another secret it is another place.
    whose: Digest,
    /// Locked while WeChat is asked, so that everybody else waits for that answer.
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    kept: Option<Kept>,
    /// Why WeChat gave none, and until when it is not asked again.
    resting: Option<(ApiError, u64)>,
}

/// A token; times are in milliseconds since the Unix epoch.
struct Kept {
    token: Secret,
    read: u64,
    /// Whether it was read because WeChat had refused one.
    again: bool,
    /// When another one is asked for.
    renew: u64,
    ends: u64,
}

impl AccessTokens {
    /// Keeps nothing yet.
    pub fn new(clock: Clock) -> Self {
        Self {
            places: Arc::default(),
            clock,
        }
    }

    /// Returns the app's token, which is asked for where none is kept or the one that is kept ends soon.
    pub async fn of(&self, wechat: &Client, app: &App) -> Result<Secret, ApiError> {
        self.token(wechat, app, None).await
    }

    /// Returns the token to use in place of one that WeChat refused, or the same again where WeChat has no other.
    pub async fn in_place_of(
        &self,
        refused: &Secret,
        wechat: &Client,
        app: &App,
    ) -> Result<Secret, ApiError> {
        self.token(wechat, app, Some(refused)).await
    }

    /// Forgets all apps but these.
    pub fn keep(&self, apps: &[App]) {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        places.retain(|appid, _| apps.iter().any(|app| app.appid == *appid));
    }

    async fn token(
        &self,
        wechat: &Client,
        app: &App,
        refused: Option<&Secret>,
    ) -> Result<Secret, ApiError> {
        let place = self.place(wechat, app);
        let mut state = place.state.lock().await;
        let now = self.clock.unix_ms();
        if let Some(kept) = &state.kept
            && kept.is_fresh(now, refused)
        {
            return Ok(kept.token.clone());
        }
        if let Some((error, until)) = &state.resting
            && now < *until
        {
            return state.until_it_ends(now, refused).ok_or(error.clone());
        }
        match ask(wechat, app).await {
            Ok(given) => {
                let kept = Kept::new(given, now, refused.is_some());
                let token = kept.token.clone();
                (state.kept, state.resting) = (Some(kept), None);
                Ok(token)
            }
            Err(error) => {
                report(app, &error);
                state.resting = Some((error.clone(), now.saturating_add(rest_ms(&error))));
                state.until_it_ends(now, refused).ok_or(error)
            }
        }
    }

    fn place(&self, wechat: &Client, app: &App) -> Arc<Place> {
        let whose = [wechat.api_base(), &app.appid, app.secret.expose()];
        let whose = digest(
            &SHA256,
            zeroize::Zeroizing::new(whose.join("\0")).as_bytes(),
        );
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let known = places.get(&app.appid);
        if let Some(place) = known.filter(|place| place.whose.as_ref() == whose.as_ref()) {
            return Arc::clone(place);
        }
        let place = Arc::new(Place {
            whose,
            state: Mutex::default(),
        });
        places.insert(app.appid.clone(), Arc::clone(&place));
        place
    }
}

impl fmt::Debug for AccessTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AccessTokens(…)")
    }
}

impl State {
    /// Returns a token that is about to end, where there is no other.
    fn until_it_ends(&self, now: u64, refused: Option<&Secret>) -> Option<Secret> {
        let kept = self.kept.as_ref()?;
        let good = now < kept.ends && refused != Some(&kept.token);
        good.then(|| kept.token.clone())
    }
}

impl Kept {
    fn new(given: Given, now: u64, again: bool) -> Self {
        let Given { token, left } = given;
        let overlap = OVERLAP.min(left / 2);
        // Not all nodes at once, and well before the end.
        let early = overlap.mul_f64(1.0 - 0.8 * fastrand::f64());
        Self {
            token,
            read: now,
            again,
            renew: now.saturating_add(millis(left.saturating_sub(early))),
            ends: now.saturating_add(millis(left)),
        }
    }

    fn is_fresh(&self, now: u64, refused: Option<&Secret>) -> bool {
        // A clock that was set back makes nothing last longer.
        let known_since = now.checked_sub(self.read);
        if refused == Some(&self.token) {
            return self.again && known_since.is_some_and(|since| since < SETTLED_MS);
        }
        known_since.is_some() && now < self.renew
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn rest_ms(error: &ApiError) -> u64 {
    if is_ours(error) {
        return REST_MISCONFIGURED_MS;
    }
    error.trouble().pause().map_or(0, millis).max(REST_MS)
}

/// Says whether the operator must act; at this endpoint 40001 says that the secret is wrong.
fn is_ours(error: &ApiError) -> bool {
    matches!(
        error.trouble(),
        Trouble::Misconfigured | Trouble::TokenStale
    )
}

fn says_wrong_secret(errcode: i64) -> bool {
    WRONG_SECRET.contains(&errcode)
}

/// Asks for a token with the app's secret, and with its previous one where WeChat does not take that.
async fn ask(wechat: &Client, app: &App) -> Result<Given, ApiError> {
    let refused = match wechat.stable_token(app, &app.secret).await {
        Err(error) if error.errcode().is_some_and(says_wrong_secret) => error,
        done => return done,
    };
    let Some(previous) = &app.previous_secret else {
        return Err(refused);
    };
    let given = wechat.stable_token(app, previous).await?;
    tracing::error!(
        app = app.name,
        errcode = refused.errcode(),
        "WeChat refuses the app's secret, and gave an access_token for its previous_secret: \
         put the secret that WeChat's console shows into the configuration, and reload"
    );
    Ok(given)
}

fn report(app: &App, error: &ApiError) {
    let (rid, address) = match error {
        ApiError::Answer(AnswerError::Errcode { rid, address, .. }) => (rid.as_deref(), *address),
        ApiError::Answer(AnswerError::Invalid(_) | AnswerError::NotAnObject)
        | ApiError::Call(_) => (None, None),
    };
    let (app, address) = (app.name.as_str(), address.map(tracing::field::display));
    let advice = error.errcode().and_then(advice);
    if is_ours(error) {
        tracing::error!(app, rid, address, advice, %error, "WeChat gives no access_token");
    } else {
        tracing::warn!(app, rid, %error, "WeChat gave no access_token");
    }
}
