//! Logs a user in: a code goes in, a session is stored, a token comes out.

use std::sync::Arc;
use std::time::Instant;

use super::caller::Caller;
use super::choose::choose;
use super::redeem::Redeemer;
use super::web::WebLogins;
use super::{Grant, LoginBody, LoginState, Nonce};
use crate::clock::Clock;
use crate::config::{App, Config};
use crate::metrics::Metrics;
use crate::request::Denial;
use crate::session::{Apps, Opened, Sessions, StoreError};
use crate::token::{Issuer, Verified};
use crate::wechat::{Client, Code, CodeError};

/// Everything a login needs.
pub struct Logins {
    pub(super) apps: Vec<App>,
    /// The same as the sessions know them.
    pub(super) known: Apps,
    pub(super) redeemers: Vec<Arc<Redeemer>>,
    pub(super) web: WebLogins,
    pub(super) state: Arc<LoginState>,
    pub(super) metrics: Metrics,
    /// Whether the log has openids, and not their digests.
    pub(super) shows_openids: bool,
    pub(super) sessions: Sessions,
    pub(super) issuer: Issuer,
    pub(super) clock: Clock,
}

impl Logins {
    /// Puts the parts together; `state` is what stays over a reload.
    pub fn new(
        config: &Config,
        wechat: &Client,
        sessions: Sessions,
        issuer: Issuer,
        state: &Arc<LoginState>,
        clock: Clock,
    ) -> Self {
        let redeemer = |app: &App| {
            Arc::new(Redeemer::new(
                app,
                config.headers.profile,
                &config.login,
                wechat.clone(),
                sessions.clone(),
                Arc::clone(state),
                clock.clone(),
            ))
        };
        let pairs = config.apps.iter().map(|app| (&*app.name, &*app.appid));
        Self {
            known: Apps::new(pairs),
            web: WebLogins::new(config),
            redeemers: config.apps.iter().map(redeemer).collect(),
            apps: config.apps.clone(),
            metrics: state.metrics.clone(),
            shows_openids: config.log.openids,
            state: Arc::clone(state),
            sessions,
            issuer,
            clock,
        }
    }

    /// Logs in with a body that a client sent to the login endpoint.
    pub async fn log_in(
        &self,
        body: LoginBody,
        referer: Option<&str>,
        caller: &Caller,
    ) -> Result<Grant, Denial> {
        let caller = Caller {
            nonce: body.nonce().map(Nonce::parse).transpose()?,
            ..caller.clone()
        };
        self.log_in_with(body.code(), body.app(), None, referer, &caller)
            .await
    }

    /// Logs in with a code, among the apps that `allowed` holds.
    pub async fn log_in_with(
        &self,
        code: &str,
        app: Option<&str>,
        allowed: Option<&[usize]>,
        referer: Option<&str>,
        caller: &Caller,
    ) -> Result<Grant, Denial> {
        let started = Instant::now();
        let code = Code::parse(code)?;
        let index = choose(&self.apps, allowed, app, referer)?;
        let redeemer = self.redeemers.get(index).ok_or(Denial::AppUnknown)?;
        let redeemed = redeemer.redeem(&code, caller).await;
        let outcome = redeemed.and_then(|opened| {
            let named = self.named(&opened);
            Ok((named, self.grant(opened)?))
        });
        let told = outcome.as_ref().map(|(named, _)| named);
        self.report(redeemer, referer, caller, told, started);
        outcome.map(|(_, grant)| grant)
    }

    /// Returns the name of the app that a token is for.
    pub fn app_name(&self, who: &Verified) -> Option<&str> {
        self.apps.get(who.app()).map(|app| app.name.as_str())
    }

    /// Returns the seconds that a token is still valid.
    pub fn secs_left(&self, who: &Verified) -> u64 {
        who.expires().saturating_sub(self.clock.unix_secs())
    }

    pub(super) fn grant(&self, opened: Opened) -> Result<Grant, Denial> {
        let profile = opened.profile.as_ref();
        let issued = self
            .issuer
            .issue_with(&opened.session, profile)
            .map_err(|error| {
                tracing::error!(%error, "no token could be issued");
                Denial::Internal
            })?;
        let left = opened
            .session
            .expires
            .saturating_sub(self.clock.unix_secs());
        Ok(Grant::new(issued, opened.refresh, left))
    }
}

impl From<CodeError> for Denial {
    fn from(error: CodeError) -> Self {
        match error {
            CodeError::Missing => Self::CodeMissing,
            CodeError::Malformed => Self::BadRequest("The code holds what no code holds."),
        }
    }
}

impl From<StoreError> for Denial {
    fn from(_: StoreError) -> Self {
        Self::StoreUnavailable
    }
}
