//! Maps a failed redemption to a refusal, how long it is replayed, and whether another node may try the code.

use std::time::Duration;

use super::single_flight::Outcome;
use crate::login::caller::WechatErrorDetails;
use crate::login::queue::CallOutcome;
use crate::request::Denial;
use crate::wechat::{
    AnswerError, CallError, CallFailure, ErrcodeClass, Redeemed, UnreachableCause, class,
};

/// How long other refusals of WeChat are repeated without asking.
const REFUSAL_TTL: Duration = Duration::from_secs(60);
/// How long a code is good: nobody need ask again about one that may be spent.
const CODE_LASTS: Duration = Duration::from_secs(300);

/// What happens to a code in the end, when it does not become a session.
pub(super) struct Failure {
    pub(super) outcome: Outcome,
    /// How long whoever repeats the code is told the same without asking.
    pub(super) keep: Duration,
    pub(super) claim: Release,
}

/// What becomes of the claim that this node has to a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Release {
    /// It stays, as the code may be spent.
    Kept,
    /// It is given back, so that another node may redeem the code, or is told of the refusal.
    GivenBack,
    /// Another node is told that the session could not be stored.
    NotStored,
}

impl Failure {
    /// The code can be redeemed later.
    pub(super) fn unspent(denial: Denial) -> Self {
        Self {
            outcome: Outcome::Refused(denial),
            keep: Duration::ZERO,
            claim: Release::GivenBack,
        }
    }

    /// Nobody knows whether the code can be redeemed, so nobody tries.
    pub(super) fn unknown(denial: Denial) -> Self {
        Self {
            outcome: Outcome::Refused(denial),
            keep: CODE_LASTS,
            claim: Release::Kept,
        }
    }

    /// The code is redeemed, and brought nothing that lasts.
    pub(super) fn not_stored() -> Self {
        Self {
            claim: Release::NotStored,
            ..Self::unknown(Denial::LoginNotStored)
        }
    }

    /// The code will never be redeemed.
    pub(super) fn final_one(denial: Denial) -> Self {
        Self {
            outcome: Outcome::Refused(denial),
            keep: REFUSAL_TTL,
            claim: Release::GivenBack,
        }
    }

    /// Nobody waits any more.
    pub(super) fn abandoned() -> Self {
        Self {
            outcome: Outcome::Abandoned,
            keep: Duration::ZERO,
            claim: Release::GivenBack,
        }
    }
}

/// Returns what a call brought, for the log.
pub(super) fn said(error: &CallFailure) -> WechatErrorDetails {
    match error {
        CallFailure::Answer(AnswerError::Errcode { rid, errmsg, .. }) => WechatErrorDetails {
            rid: rid.clone(),
            errmsg: errmsg.clone(),
            cause: None,
        },
        CallFailure::Call(CallError::Unreachable(cause)) => unreachable(*cause),
        CallFailure::Answer(AnswerError::Invalid(_) | AnswerError::NotAnObject)
        | CallFailure::Call(
            CallError::NoAnswer
            | CallError::BrokenOff
            | CallError::NotAnAnswer(_)
            | CallError::Gateway(_)
            | CallError::NotWeChat(_),
        ) => WechatErrorDetails {
            cause: Some(error.to_string()),
            ..WechatErrorDetails::default()
        },
    }
}

/// Returns what there is to log of a call that did not reach WeChat, or was not made for that.
pub(super) fn unreachable(cause: UnreachableCause) -> WechatErrorDetails {
    WechatErrorDetails {
        cause: Some(cause.to_string()),
        ..WechatErrorDetails::default()
    }
}

/// Returns whether a call surely did not spend the code, or WeChat at least asks for another.
pub(super) fn is_unspent(error: &CallFailure) -> bool {
    match error {
        CallFailure::Call(CallError::Unreachable(_)) => true,
        CallFailure::Call(
            CallError::NoAnswer
            | CallError::BrokenOff
            | CallError::NotAnAnswer(_)
            | CallError::Gateway(_)
            | CallError::NotWeChat(_),
        )
        | CallFailure::Answer(AnswerError::Invalid(_) | AnswerError::NotAnObject) => false,
        CallFailure::Answer(AnswerError::Errcode { errcode, .. }) => {
            class(*errcode) == ErrcodeClass::Busy
        }
    }
}

/// Returns what a call says about those to come.
pub(super) fn call_outcome(called: &Result<Redeemed, CallFailure>) -> CallOutcome {
    match called {
        // A gateway's page is what comes before WeChat is well again: those to come would lose their codes to it.
        Err(CallFailure::Call(_) | CallFailure::Answer(AnswerError::NotAnObject)) => {
            CallOutcome::NoAnswer
        }
        Err(CallFailure::Answer(AnswerError::Errcode { errcode, .. })) => match class(*errcode) {
            ErrcodeClass::Busy => CallOutcome::Busy,
            ErrcodeClass::MinuteQuota => CallOutcome::MinuteQuota,
            ErrcodeClass::DayQuota => CallOutcome::DayQuota,
            ErrcodeClass::CodeInvalid
            | ErrcodeClass::CodeUsed
            | ErrcodeClass::UserBlocked
            | ErrcodeClass::Misconfigured
            | ErrcodeClass::Unknown => CallOutcome::Answered,
        },
        Ok(_) | Err(CallFailure::Answer(AnswerError::Invalid(_))) => CallOutcome::Answered,
    }
}

/// Returns the word under which a call is counted; a number that nobody knows is not one.
pub(super) fn counted_as(called: &Result<Redeemed, CallFailure>) -> String {
    let word = match called {
        Ok(_) => "ok",
        Err(CallFailure::Answer(AnswerError::Errcode { errcode, .. })) => match class(*errcode) {
            ErrcodeClass::Unknown => "other",
            ErrcodeClass::CodeInvalid
            | ErrcodeClass::CodeUsed
            | ErrcodeClass::UserBlocked
            | ErrcodeClass::Busy
            | ErrcodeClass::MinuteQuota
            | ErrcodeClass::DayQuota
            | ErrcodeClass::Misconfigured => return errcode.to_string(),
        },
        Err(CallFailure::Answer(AnswerError::Invalid(_) | AnswerError::NotAnObject))
        | Err(CallFailure::Call(
            CallError::NotAnAnswer(_) | CallError::Gateway(_) | CallError::NotWeChat(_),
        )) => "invalid",
        Err(CallFailure::Call(CallError::Unreachable(_))) => "unreachable",
        Err(CallFailure::Call(CallError::NoAnswer | CallError::BrokenOff)) => "no_answer",
    };
    word.to_owned()
}
