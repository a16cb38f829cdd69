//! Renews the access_token: one call for all who wait, and never by force while the token is good.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::endpoint::{Asking, Given, Verdict};
use super::entry::Entry;
use super::forced_renewal::{CLASSICS, FORCES};
use super::status::Failure;
use super::token::{Kept, millis};
use super::{AccessToken, AccessTokens, Reason};
use crate::config::App;
use crate::secret::Secret;
use crate::wechat::{AnswerError, ApiError, Client, FailureClass, advice};

/// How long WeChat is left alone after it gave no token.
const REST_MS: u64 = 5_000;
const REST_MISCONFIGURED_MS: u64 = 30_000;
/// How soon after WeChat was asked because of a refusal it makes no sense to ask again.
const SETTLED_MS: u64 = 5_000;
/// What WeChat says of a wrong secret, at this endpoint in both ways.
const WRONG_SECRET: [i64; 2] = [40125, 40001];

/// What a renewal works on.
pub(super) struct Renewal<'r> {
    pub(super) entry: &'r Entry,
    pub(super) wechat: &'r Client,
    pub(super) app: &'r App,
    pub(super) reason: Reason,
    /// The token that is not to come back.
    pub(super) refused: Option<&'r Secret>,
}

impl AccessTokens {
    /// Asks for another token behind an answer, unless somebody does.
    pub(super) fn renew_behind(&self, entry: &Arc<Entry>, wechat: &Client, app: &App) {
        if entry.behind.swap(true, Ordering::AcqRel) {
            return;
        }
        let (tokens, entry) = (self.clone(), Arc::clone(entry));
        let (wechat, app) = (wechat.clone(), app.clone());
        tokio::spawn(async move {
            // What goes wrong has been reported, and the old token serves.
            let _ = tokens.renew(&entry, &wechat, &app, Reason::Due, None).await;
            entry.behind.store(false, Ordering::Release);
        });
    }

    /// Returns another token than the one that is refused, or one that is fresh; where there is none, one that is still good.
    pub(super) async fn renew(
        &self,
        entry: &Entry,
        wechat: &Client,
        app: &App,
        reason: Reason,
        refused: Option<&Secret>,
    ) -> Result<AccessToken, ApiError> {
        let _asking = entry.asking.lock().await;
        let now = self.now();
        let has_looked = reason != Reason::Due || self.has_looked(entry, now);
        let is_needless = |kept: &Kept| match refused {
            Some(refused) => kept.token != *refused && kept.is_good(now),
            None => kept.is_fresh(now) && has_looked,
        };
        {
            let state = entry.state();
            if let Some(kept) = state.kept.as_ref().filter(|kept| is_needless(kept)) {
                return Ok(kept.given(now));
            }
            // Somebody who waited here has been told the same a moment ago.
            let asked = state.doubt.asked.and_then(|at| now.checked_sub(at));
            if refused.is_some()
                && asked.is_some_and(|age| age < SETTLED_MS)
                && let Some(kept) = state.kept.as_ref().filter(|kept| kept.is_good(now))
            {
                return Ok(kept.given(now));
            }
            if let Some((error, until)) = &state.resting
                && now < *until
            {
                let error = error.clone();
                drop(state);
                return entry.other_than(refused, now).ok_or(error);
            }
        }
        let renewal = Renewal {
            entry,
            wechat,
            app,
            reason,
            refused,
        };
        let renewed = if entry.is_classic() {
            self.renew_classic(&renewal, false).await
        } else {
            self.renew_stable(&renewal, Asking::Stable).await
        };
        match renewed {
            Ok(()) => entry.other_than(None, self.now()).ok_or(ApiError::Turn),
            Err(error) => self.fail(&renewal, error),
        }
    }

    /// Returns what is to be used in place of a token, which may be the same again.
    pub(super) async fn replace(
        &self,
        entry: &Entry,
        refused: &Secret,
        wechat: &Client,
        app: &App,
        reason: Reason,
    ) -> Result<AccessToken, ApiError> {
        let now = self.now();
        if let Some(other) = entry.other_than(Some(refused), now) {
            return Ok(other);
        }
        let renewed = self
            .renew(entry, wechat, app, reason, Some(refused))
            .await?;
        if renewed.token != *refused {
            return Ok(renewed);
        }
        let _asking = entry.asking.lock().await;
        let now = self.now();
        if let Some(other) = entry.other_than(Some(refused), now) {
            return Ok(other);
        }
        let said = entry.state().doubt.said(now);
        let verdict = match said {
            Some(said) => said,
            None => {
                let verdict = wechat.probe_token(app, refused).await;
                entry.state().doubt.says(verdict, now);
                verdict
            }
        };
        if entry.state().doubt.is_over(verdict) {
            let renewal = Renewal {
                entry,
                wechat,
                app,
                reason,
                refused: Some(refused),
            };
            self.replace_by_force(&renewal, verdict).await;
        }
        entry
            .other_than(None, self.now())
            .ok_or_else(|| AnswerError::Invalid("WeChat has no other access_token").into())
    }

    /// Has WeChat give another token, where that may happen again today.
    async fn replace_by_force(&self, renewal: &Renewal<'_>, verdict: Verdict) {
        let entry = renewal.entry;
        let classic = entry.is_classic();
        let budget = if classic { CLASSICS } else { FORCES };
        let may = self.shared.store.spend(entry.slot, budget).await;
        if !may.unwrap_or(false) {
            return;
        }
        tracing::warn!(
            app = renewal.app.name,
            reason = renewal.reason.as_str(),
            ?verdict,
            "WeChat refuses an access_token and has no newer one: another one is forced"
        );
        let forced = if classic {
            self.renew_classic(renewal, true).await
        } else {
            self.renew_stable(renewal, Asking::Forced).await
        };
        if let Err(error) = forced {
            // The caller gets the old one back, and WeChat's own words for it.
            let _ = self.fail(renewal, error);
        }
    }

    /// Returns a token that is still good although WeChat gave no other, and remembers why.
    fn fail(&self, renewal: &Renewal<'_>, error: ApiError) -> Result<AccessToken, ApiError> {
        let Renewal {
            entry,
            app,
            refused,
            ..
        } = renewal;
        let now = self.now();
        report(app, &error);
        {
            let mut state = entry.state();
            state.resting = Some((error.clone(), now.saturating_add(rest_ms(&error))));
            state.failure = Some(Failure::new(&error, now / 1000));
        }
        entry.other_than(*refused, now).ok_or(error)
    }

    /// Stores the token, and counts it if it is new.
    pub(super) fn adopt(&self, renewal: &Renewal<'_>, kept: Kept, how: Option<&'static str>) {
        if renewal.entry.adopt(kept) {
            let reason = how.unwrap_or(renewal.reason.as_str());
            self.shared
                .metrics
                .access_token_renewed(&renewal.app.name, reason);
        }
    }

    pub(super) fn now(&self) -> u64 {
        self.shared.clock.unix_ms()
    }

    /// Returns whether it is known what other nodes did of late, or matters to nobody.
    fn has_looked(&self, entry: &Entry, now: u64) -> bool {
        !self.shared.store.is_shared() || !entry.is_classic() || entry.has_looked(now)
    }
}

fn rest_ms(error: &ApiError) -> u64 {
    if is_ours(error) {
        return REST_MISCONFIGURED_MS;
    }
    error.class().pause().map_or(0, millis).max(REST_MS)
}

/// Returns whether the operator must act; at this endpoint 40001 says that the secret is wrong.
fn is_ours(error: &ApiError) -> bool {
    matches!(
        error.class(),
        FailureClass::Misconfigured | FailureClass::TokenStale
    )
}

fn says_wrong_secret(errcode: i64) -> bool {
    WRONG_SECRET.contains(&errcode)
}

/// Asks for a token with the app's secret, and with its previous one where WeChat does not take that.
pub(super) async fn ask(wechat: &Client, app: &App, asking: Asking) -> Result<Given, ApiError> {
    let refused = match wechat.token(app, &app.secret, asking).await {
        Err(error) if error.errcode().is_some_and(says_wrong_secret) => error,
        done => return done,
    };
    let Some(previous) = &app.previous_secret else {
        return Err(refused);
    };
    let given = wechat.token(app, previous, asking).await?;
    tracing::error!(
        app = app.name,
        errcode = refused.errcode(),
        "WeChat refuses the app's secret, and gave an access_token for its previous_secret: \
         put the secret that WeChat's console shows into the configuration, and reload"
    );
    Ok(given)
}

fn report(app: &App, error: &ApiError) {
    let (rid, address) = (error.rid(), error.address());
    let (app, address) = (app.name.as_str(), address.map(tracing::field::display));
    let advice = error.errcode().and_then(advice);
    if is_ours(error) {
        tracing::error!(app, rid, address, advice, %error, "WeChat gives no access_token");
    } else {
        tracing::warn!(app, rid, %error, "WeChat gave no access_token");
    }
}
