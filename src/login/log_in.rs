//! Logs a user in: a code goes in, a session is stored, a token comes out.

use std::time::{Duration, Instant};

use super::choose::choose;
use super::{Grant, LoginBody};
use crate::clock::Clock;
use crate::config::App;
use crate::request::Denial;
use crate::session::{Apps, Opened, Sessions, StoreError};
use crate::token::{Issuer, Verified};
use crate::wechat::{AnswerError, CallError, Client, Code, CodeError, RedeemError, Refusal, class};

/// WeChat's quotas count minutes and its busy spells are shorter.
const RETRY_BUSY: Duration = Duration::from_secs(1);
const RETRY_QUOTA: Duration = Duration::from_secs(60);

/// Everything a login needs.
pub struct Logins {
    pub(super) apps: Vec<App>,
    /// The same as the sessions know them.
    pub(super) known: Apps,
    pub(super) wechat: Client,
    pub(super) sessions: Sessions,
    pub(super) issuer: Issuer,
    pub(super) clock: Clock,
}

impl Logins {
    /// Puts the parts together.
    pub fn new(
        apps: Vec<App>,
        wechat: Client,
        sessions: Sessions,
        issuer: Issuer,
        clock: Clock,
    ) -> Self {
        let pairs = apps.iter().map(|app| (&*app.name, &*app.appid));
        Self {
            known: Apps::new(pairs),
            apps,
            wechat,
            sessions,
            issuer,
            clock,
        }
    }

    /// Logs in with a body that a client sent to the login endpoint.
    pub async fn log_in(&self, body: LoginBody, referer: Option<&str>) -> Result<Grant, Denial> {
        let code = body.code.as_deref().unwrap_or("");
        self.log_in_with(code, body.app.as_deref(), None, referer)
            .await
    }

    /// Logs in with a code, among the apps that `allowed` holds.
    pub async fn log_in_with(
        &self,
        code: &str,
        app: Option<&str>,
        allowed: Option<&[usize]>,
        referer: Option<&str>,
    ) -> Result<Grant, Denial> {
        let started = Instant::now();
        let code = Code::parse(code)?;
        let index = choose(&self.apps, allowed, app, referer)?;
        let app = self.apps.get(index).ok_or(Denial::AppUnknown)?;
        let outcome = self.redeem_and_open(app, &code).await;
        let elapsed_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        match &outcome {
            Ok(_) => tracing::info!(app = app.name, elapsed_ms, "login granted"),
            Err(denial) => tracing::warn!(
                app = app.name,
                reason = denial.code(),
                errcode = denial.errcode(),
                elapsed_ms,
                "login refused"
            ),
        }
        outcome
    }

    /// Returns the name of the app that a token is for.
    pub fn app_name(&self, who: &Verified) -> Option<&str> {
        self.apps.get(who.app()).map(|app| app.name.as_str())
    }

    /// Returns the seconds that a token is still valid.
    pub fn secs_left(&self, who: &Verified) -> u64 {
        who.expires().saturating_sub(self.clock.unix_secs())
    }

    async fn redeem_and_open(&self, app: &App, code: &Code) -> Result<Grant, Denial> {
        // WeChat redeems a code once, so it is left alone while its session could not be stored.
        if !self.sessions.is_available() {
            return Err(Denial::StoreUnavailable);
        }
        let redeemed = self.wechat.redeem(app, code).await.map_err(|error| {
            let rid = rid(&error);
            tracing::debug!(app = app.name, rid, %error, "code not redeemed");
            denial(&error)
        })?;
        let opened = self
            .sessions
            .open_session(redeemed.identity, &redeemed.session_key)
            .await
            .map_err(|error| {
                tracing::error!(%error, "a login could not be stored");
                Denial::StoreUnavailableCodeSpent
            })?;
        self.grant(opened)
    }

    pub(super) fn grant(&self, opened: Opened) -> Result<Grant, Denial> {
        let issued = self.issuer.issue(&opened.session).map_err(|error| {
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

fn rid(error: &RedeemError) -> Option<&str> {
    match error {
        RedeemError::Answer(AnswerError::Errcode { rid, .. }) => rid.as_deref(),
        RedeemError::Answer(AnswerError::Invalid(_)) | RedeemError::Call(_) => None,
    }
}

fn denial(error: &RedeemError) -> Denial {
    match error {
        // Nothing was sent, so the code is still good.
        RedeemError::Call(CallError::Unreachable) => Denial::WechatBusy(None, RETRY_BUSY),
        RedeemError::Call(CallError::NoAnswer) => Denial::WechatTimeout,
        RedeemError::Call(CallError::NotAnAnswer(_))
        | RedeemError::Answer(AnswerError::Invalid(_)) => Denial::WechatError(None),
        RedeemError::Answer(AnswerError::Errcode { errcode, .. }) => refusal(*errcode),
    }
}

fn refusal(errcode: i64) -> Denial {
    match class(errcode) {
        Refusal::CodeInvalid => Denial::CodeInvalid(errcode),
        Refusal::CodeUsed => Denial::CodeUsed(errcode),
        Refusal::UserBlocked => Denial::UserBlocked(errcode),
        Refusal::Busy if errcode == -1 => Denial::WechatBusy(Some(errcode), RETRY_BUSY),
        Refusal::Busy => Denial::WechatBusy(Some(errcode), RETRY_QUOTA),
        Refusal::Misconfigured => Denial::WechatMisconfigured(errcode),
        Refusal::Unknown => Denial::WechatError(Some(errcode)),
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
