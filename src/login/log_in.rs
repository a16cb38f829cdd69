//! Logs a user in: a code goes in, a session is stored, a token comes out.

use std::sync::Arc;
use std::time::Instant;

use super::caller::{Caller, Said};
use super::choose::{choose, referred};
use super::redeem::Redeemer;
use super::web::WebLogins;
use super::{Grant, LoginBody, LoginState, Nonce};
use crate::clock::Clock;
use crate::config::{App, Config};
use crate::metrics::Metrics;
use crate::request::Denial;
use crate::session::{Apps, Opened, Sessions, StoreError};
use crate::token::{Issuer, Verified};
use crate::wechat::{Client, Code, CodeError, advice};

const OTHER_APPS_CODE: &str = "the code may be of the app that the Referer names, which is not the one it was tried with: is it configured?";

/// Everything a login needs.
pub struct Logins {
    pub(super) apps: Vec<App>,
    /// The same as the sessions know them.
    pub(super) known: Apps,
    pub(super) redeemers: Vec<Arc<Redeemer>>,
    pub(super) web: WebLogins,
    pub(super) state: Arc<LoginState>,
    metrics: Metrics,
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
        let outcome = redeemed.and_then(|opened| self.grant(opened));
        self.report(redeemer, referer, caller, outcome.as_ref().err(), started);
        outcome
    }

    /// Counts a login and says in the log how it went.
    pub(super) fn report(
        &self,
        redeemer: &Redeemer,
        referer: Option<&str>,
        caller: &Caller,
        refused: Option<&Denial>,
        started: Instant,
    ) {
        let id = &caller.id;
        let took = started.elapsed();
        let elapsed_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let told = refused.map_or("ok", Denial::code);
        self.metrics.login(redeemer.name(), told, took);
        match refused {
            None => {
                tracing::info!(request_id = %id, app = redeemer.name(), elapsed_ms, "login granted");
            }
            Some(denial) => {
                let Said { rid, errmsg, cause } = caller.said();
                let errcode = denial.errcode();
                let foreign = referred(referer).filter(|appid| *appid != redeemer.appid());
                let foreign = foreign.filter(|_| matches!(denial, Denial::CodeInvalid(_)));
                let advice = match foreign {
                    Some(_) => Some(OTHER_APPS_CODE),
                    None => errcode.and_then(advice),
                };
                tracing::warn!(
                    request_id = %id,
                    app = redeemer.name(),
                    reason = denial.code(),
                    errcode,
                    errmsg,
                    rid,
                    cause,
                    referer_appid = foreign,
                    advice,
                    elapsed_ms,
                    "login refused"
                );
            }
        }
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
    fn from(error: StoreError) -> Self {
        tracing::error!(%error, "the session store failed");
        Self::StoreUnavailable
    }
}
