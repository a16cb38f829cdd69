//! The audit lines of logins and logouts. A user is named as in the access lines: by a digest, unless openids are configured.

use std::time::Instant;

use super::Logins;
use super::caller::{Caller, WechatErrorDetails};
use super::choose::referred;
use super::redeem::{Redeemer, Refused};
use crate::request::{Denial, RequestId};
use crate::session::{DIGEST_LENGTH, Opened, SessionId};
use crate::token::Verified;
use crate::wechat::advice;

const OTHER_APPS_CODE: &str = "the code may be of the app that the Referer names, which is not the one it was tried with: is it configured?";

/// A user, as a line names one.
#[derive(Debug)]
pub(super) struct Named {
    session: SessionId,
    openid: String,
}

impl Logins {
    /// Names whoever a session was opened for.
    pub(super) fn named(&self, opened: &Opened) -> Named {
        let session = &opened.session;
        self.name(session.id, &session.identity.openid)
    }

    fn name(&self, session: SessionId, openid: &str) -> Named {
        let digest = || session.to_string().chars().take(DIGEST_LENGTH).collect();
        Named {
            session,
            openid: if self.shows_openids {
                openid.to_owned()
            } else {
                digest()
            },
        }
    }

    /// Counts a login and says in the log how it went.
    pub(super) fn report(
        &self,
        redeemer: &Redeemer,
        referer: Option<&str>,
        caller: &Caller,
        outcome: Result<&Named, &Denial>,
        started: Instant,
    ) {
        let (id, trace_id) = (&caller.id, caller.trace_id.as_deref());
        let client = caller.address.map(tracing::field::display);
        let took = started.elapsed();
        let elapsed_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let told = outcome.err().map_or("ok", Denial::code);
        self.metrics.login(redeemer.name(), told, took);
        match outcome {
            Ok(Named { session, openid }) => {
                tracing::info!(
                    target: "menshen::audit",
                    event = "login",
                    request_id = %id,
                    trace_id,
                    client,
                    app = redeemer.name(),
                    session = %session,
                    openid,
                    elapsed_ms,
                    "login granted"
                );
            }
            Err(denial) => {
                let WechatErrorDetails { rid, errmsg, cause } = caller.said();
                let errcode = denial.errcode();
                let foreign = referred(referer).filter(|appid| *appid != redeemer.appid());
                let foreign = foreign.filter(|_| matches!(denial, Denial::CodeInvalid(_)));
                let advice = match foreign {
                    Some(_) => Some(OTHER_APPS_CODE),
                    None => errcode.and_then(advice),
                };
                if let Denial::WechatMisconfigured(_) | Denial::WechatError(_) = denial
                    && let Some(logins) = redeemer.warning_due(Refused::Login(errcode))
                {
                    let what = match errcode {
                        Some(_) => "WeChat refuses logins for what no other code cures",
                        None => "WeChat's answers to logins are no valid ones",
                    };
                    tracing::warn!(
                        app = redeemer.name(),
                        errcode,
                        errmsg,
                        rid,
                        cause,
                        advice,
                        logins,
                        "{what}"
                    );
                }
                // A client can have this written as often as it likes.
                tracing::info!(
                    target: "menshen::audit",
                    event = "login",
                    request_id = %id,
                    trace_id,
                    client,
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

    /// Says that a web-view took a login over with a ticket, or that it may not.
    pub(super) fn tell_ticket(&self, app: &str, caller: &Caller, outcome: &Result<Opened, Denial>) {
        let named = outcome.as_ref().ok().map(|opened| self.named(opened));
        tracing::info!(
            target: "menshen::audit",
            event = "login",
            request_id = %caller.id,
            trace_id = caller.trace_id.as_deref(),
            client = caller.address.map(tracing::field::display),
            app,
            session = named.as_ref().map(|named| tracing::field::display(named.session)),
            openid = named.as_ref().map(|named| named.openid.as_str()),
            reason = outcome.as_ref().err().map(Denial::code),
            "ticket used"
        );
    }

    /// Says that a user ended a session, or all of theirs.
    pub(super) fn tell_logout(&self, who: &Verified, everywhere: bool, id: &RequestId) {
        let openid = String::from_utf8_lossy(who.openid().as_bytes());
        let Named { session, openid } = self.name(*who.session(), &openid);
        tracing::info!(
            target: "menshen::audit",
            event = "session_ended",
            request_id = %id,
            by = "user",
            app = self.app_name(who),
            session = %session,
            openid,
            everywhere,
            "a user logged out"
        );
    }
}
