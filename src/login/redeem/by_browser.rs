//! What redeeming a browser's code takes besides: its state is used up, and the user's profile fetched.

use super::failure::Failure;
use super::redeemer::{Redeemer, Refused};
use super::redemption::Redemption;
use crate::config::AppKind;
use crate::login::trace::end_call;
use crate::login::web::LONGEST_FLOW;
use crate::request::Denial;
use crate::session::{Claim, CodeUse, Holder, Profile};
use crate::wechat::{Redeemed, advice};

impl Redemption {
    /// Marks the state as used, so that no other code is accepted with it.
    pub(super) async fn spend(&self, holder: Holder) -> Result<(), Failure> {
        let Some(mark) = self.spends else {
            return Ok(());
        };
        let Redeemer {
            state, sessions, ..
        } = &*self.redeemer;
        if !state.spent.take(mark) {
            return Err(Failure::final_one(Denial::CodeUsed(None)));
        }
        match sessions.claim(mark, holder, LONGEST_FLOW).await {
            Ok(Claim::Yours) => Ok(()),
            Ok(_) => Err(Failure::final_one(Denial::CodeUsed(None))),
            Err(error) => Err(Failure::unspent(error.into())),
        }
    }

    /// Returns what a session that is stored now makes of the code, and of the state that was spent for it.
    pub(super) fn use_of_code(&self) -> CodeUse {
        CodeUse {
            code: self.mark,
            first: self.sender,
            keep: self.replay(),
            spends: self.spends.map(|mark| (mark, LONGEST_FLOW)),
        }
    }

    /// Fetches the profile of a user who agreed to show it; a login without one is better than none.
    pub(super) async fn profile(&self, redeemed: &Redeemed) -> Option<Profile> {
        let Redeemer {
            wechat,
            profiles,
            clock,
            config,
            ..
        } = &*self.redeemer;
        let token = redeemed.user_token.as_ref().filter(|_| *profiles)?;
        let left = self.deadline.saturating_duration_since(clock.instant());
        let limit = left.max(config.least_for_call);
        let trace = self.caller.trace.as_ref();
        let span = trace.map(|trace| trace.call("userinfo", wechat.authority(), 0));
        let fetched = wechat.profile(&redeemed.identity, token, limit).await;
        let result = if fetched.is_ok() { "ok" } else { "error" };
        end_call(
            span,
            result,
            fetched.as_ref().err().and_then(|error| error.errcode()),
        );
        fetched
            .inspect_err(|error| {
                // A call that does not reach WeChat is a warning of its own; what WeChat refuses is none yet.
                if let Some(errcode) = error.errcode()
                    && let Some(profiles) = self.redeemer.warning_due(Refused::Profile(errcode))
                {
                    let app = self.redeemer.name();
                    let advice = advice(errcode);
                    tracing::warn!(app, errcode, advice, profiles, "WeChat refuses users' profiles");
                }
                tracing::info!(request_id = %self.caller.id, %error, "a profile could not be fetched");
            })
            .ok()
    }
}

/// Returns the word for where the codes of such an app are redeemed.
pub(super) fn endpoint(kind: AppKind) -> &'static str {
    match kind {
        AppKind::MiniProgram => "jscode2session",
        AppKind::OfficialAccount(_) | AppKind::Website => "oauth2_access_token",
    }
}
