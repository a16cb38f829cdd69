//! Keeps the access_token of each app for as long as it is good, in one place for all nodes.
//!
//! # Layout
//! `entry` is what is kept for one app, `token` one token, `renewal` how another one is had: `stable` and `classic` in the two ways of
//! WeChat, `endpoint` by the calls for it. `forced_renewal` says when a token that WeChat or a backend refuses is worth replacing by
//! force, `status` what an operator sees.

mod classic;
mod endpoint;
mod entry;
mod forced_renewal;
mod renewal;
mod stable;
mod status;
mod token;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex as Lock, PoisonError, Weak};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};

use self::entry::{Entry, Readiness};
use super::{ApiError, Client};
use crate::clock::Clock;
use crate::config::{App, TokenKind};
use crate::metrics::Metrics;
use crate::secret::Secret;
use crate::session::Sessions;

pub use status::{Failure, TokenStatus};

/// The access_tokens of all apps; clones share them.
#[derive(Clone)]
pub struct AccessTokens {
    shared: Arc<KeeperParts>,
}

struct KeeperParts {
    entries: Lock<HashMap<String, Arc<Entry>>>,
    clock: Clock,
    store: Sessions,
    metrics: Metrics,
}

/// A token, and how long it is good for.
#[derive(Clone, Debug)]
pub struct AccessToken {
    /// The token.
    pub token: Secret,
    /// How long it is good for.
    pub left: Duration,
}

/// Why another token is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reason {
    /// There is none.
    First,
    /// The one that there is ends soon.
    Due,
    /// WeChat refused it at a call.
    Refused,
    /// A backend says that it is stale.
    Reported,
}

impl Reason {
    fn as_str(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Due => "due",
            Self::Refused => "refused",
            Self::Reported => "reported",
        }
    }
}

impl AccessTokens {
    /// Keeps nothing yet but what is in the store.
    pub fn new(clock: Clock, store: Sessions, metrics: Metrics) -> Self {
        let shared = Arc::new(KeeperParts {
            entries: Lock::default(),
            clock,
            store,
            metrics: metrics.clone(),
        });
        let known = Arc::downgrade(&shared);
        metrics.look(move |metrics| tell(&known, metrics));
        Self { shared }
    }

    /// Returns the app's token. Where the one that is kept ends soon, another is asked for behind the answer.
    pub async fn of(&self, wechat: &Client, app: &App) -> Result<AccessToken, ApiError> {
        let entry = self.entry(wechat, app);
        let now = self.shared.clock.unix_ms();
        match entry.readiness(now, self.shared.store.is_shared()) {
            Readiness::Fresh(token) => Ok(token),
            Readiness::Due(token) => {
                self.renew_behind(&entry, wechat, app);
                Ok(token)
            }
            Readiness::Old => self.renew(&entry, wechat, app, Reason::Due, None).await,
            Readiness::Nothing => self.renew(&entry, wechat, app, Reason::First, None).await,
        }
    }

    /// Returns the token to use in place of one that WeChat refused at a path, or the same again where WeChat has no other.
    pub async fn in_place_of(
        &self,
        refused: &Secret,
        path: &str,
        wechat: &Client,
        app: &App,
    ) -> Result<AccessToken, ApiError> {
        let entry = self.entry(wechat, app);
        entry.doubt(refused, path);
        self.replace(&entry, refused, wechat, app, Reason::Refused)
            .await
    }

    /// Returns the token to use in place of one that a backend says is stale, which counts for nothing where WeChat takes it.
    pub async fn reported(
        &self,
        stale: &Secret,
        wechat: &Client,
        app: &App,
    ) -> Result<AccessToken, ApiError> {
        let entry = self.entry(wechat, app);
        self.replace(&entry, stale, wechat, app, Reason::Reported)
            .await
    }

    /// Takes notice that WeChat took a token.
    pub fn worked(&self, token: &Secret, wechat: &Client, app: &App) {
        self.entry(wechat, app).trust(token);
    }

    /// Has tokens that end soon replaced, of apps whose token somebody has asked for.
    pub fn keep_fresh(&self, wechat: &Client, apps: &[Arc<App>]) {
        let now = self.shared.clock.unix_ms();
        let shared = self.shared.store.is_shared();
        for app in apps {
            let entry = self.entry(wechat, app);
            if let Readiness::Due(_) | Readiness::Old = entry.readiness(now, shared) {
                self.renew_behind(&entry, wechat, app);
            }
        }
    }

    /// Returns how it stands with each app's token.
    pub fn statuses(&self) -> Vec<TokenStatus> {
        let now = self.shared.clock.unix_ms();
        let entries = self.shared.entries();
        let mut statuses: Vec<TokenStatus> = entries.values().map(|it| it.status(now)).collect();
        statuses.retain(TokenStatus::says_something);
        statuses.sort_by(|one, other| one.app.cmp(&other.app));
        statuses
    }

    /// Forgets all apps but these.
    pub fn keep(&self, apps: &[App]) {
        let mut entries = self.shared.entries();
        entries.retain(|appid, _| apps.iter().any(|app| app.appid == *appid));
    }

    fn entry(&self, wechat: &Client, app: &App) -> Arc<Entry> {
        let kind = match app.access_token {
            TokenKind::Stable => "stable",
            TokenKind::Classic => "classic",
        };
        let whose = [wechat.api_base(), &app.appid, kind, app.secret.expose()];
        let whose = digest(
            &SHA256,
            zeroize::Zeroizing::new(whose.join("\0")).as_bytes(),
        );
        let mut entries = self.shared.entries();
        let known = entries.get(&app.appid);
        if let Some(entry) = known.filter(|entry| entry.is_of(&whose)) {
            return Arc::clone(entry);
        }
        // Who changes the secret, or WeChat, begins anew in the store as well.
        let mark: String = whose.as_ref().iter().map(|b| format!("{b:02x}")).collect();
        let slot = self.shared.store.slot(&["access_token", &mark]);
        let entry = Arc::new(Entry::new(app, whose, slot));
        entries.insert(app.appid.clone(), Arc::clone(&entry));
        entry
    }
}

impl KeeperParts {
    fn entries(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<Entry>>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes down how it stands with each token.
fn tell(known: &Weak<KeeperParts>, metrics: &Metrics) {
    let Some(shared) = known.upgrade() else {
        return;
    };
    for status in (AccessTokens { shared }).statuses() {
        let errcode = status
            .failure
            .as_ref()
            .map(|failure| failure.counted.as_str());
        metrics.access_token(&status.app, status.age_secs, status.left_secs, errcode);
    }
}

impl fmt::Debug for AccessTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AccessTokens(…)")
    }
}
