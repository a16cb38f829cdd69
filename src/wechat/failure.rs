//! Why a call of WeChat's failed, and what that means for whoever asked.

use std::net::IpAddr;
use std::time::Duration;

use self::CallFailure as F;
use super::errcode::is_operators;
use super::{AnswerError, CallError};

/// Why a call brought nothing that can be used.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CallFailure {
    /// The call brought no answer.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The answer is an error or no answer.
    #[error(transparent)]
    Answer(#[from] AnswerError),
}

impl CallFailure {
    /// Returns WeChat's number, where WeChat gave one.
    pub fn errcode(&self) -> Option<i64> {
        match self {
            Self::Answer(AnswerError::Errcode { errcode, .. }) => Some(*errcode),
            Self::Answer(AnswerError::Invalid(_) | AnswerError::NotAnObject) | Self::Call(_) => {
                None
            }
        }
    }
}

/// Why there is no good answer to a call with an access_token.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ApiError {
    /// The call, or that for the access_token, failed.
    #[error(transparent)]
    Failed(#[from] CallFailure),
    /// The store in which nodes share an access_token does not answer.
    #[error("the store of access_tokens does not answer")]
    Store,
    /// Another node asks for the access_token, and has not had an answer yet.
    #[error("another node asks for the access_token")]
    Turn,
}

/// What such an error means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureClass {
    /// WeChat has not seen the call.
    Unreachable,
    /// WeChat may have carried the call out, and nobody knows.
    NoAnswer,
    /// The access_token is not good any more, or was another app's.
    TokenStale,
    /// The session_key with which the call was signed is not the user's any more.
    SessionKeyStale,
    /// The store in which access_tokens are shared does not answer.
    StoreAway,
    /// WeChat is busy or a quota is used up, for about this long.
    Busy(Duration),
    /// The appid, the secret, this machine's address, the account or our call is at fault; the operator must act.
    Misconfigured,
    /// Nothing we know.
    Unknown,
}

/// The day's quota is over at midnight; an operator may have it reset before.
const DAY_QUOTA: Duration = Duration::from_secs(600);
const MINUTE_QUOTA: Duration = Duration::from_secs(60);
const BUSY: Duration = Duration::from_secs(1);

impl ApiError {
    /// Returns what the error means.
    pub fn class(&self) -> FailureClass {
        match self {
            Self::Store => FailureClass::StoreAway,
            Self::Turn => FailureClass::Busy(BUSY),
            Self::Failed(F::Call(CallError::Unreachable(_))) => FailureClass::Unreachable,
            Self::Failed(F::Call(CallError::NoAnswer | CallError::BrokenOff)) => {
                FailureClass::NoAnswer
            }
            Self::Failed(
                F::Call(
                    CallError::NotAnAnswer(_) | CallError::Gateway(_) | CallError::NotWeChat(_),
                )
                | F::Answer(AnswerError::Invalid(_) | AnswerError::NotAnObject),
            ) => FailureClass::Unknown,
            Self::Failed(F::Answer(AnswerError::Errcode { errcode, .. })) => meaning(*errcode),
        }
    }

    /// Returns the word under which the call is counted; a number that nobody knows is not one.
    pub(super) fn counted_as(&self) -> String {
        let word = match self {
            Self::Store => "store",
            Self::Turn => "turn",
            Self::Failed(F::Call(CallError::Unreachable(_))) => "unreachable",
            Self::Failed(F::Call(CallError::NoAnswer | CallError::BrokenOff)) => "no_answer",
            Self::Failed(
                F::Call(
                    CallError::NotAnAnswer(_) | CallError::Gateway(_) | CallError::NotWeChat(_),
                )
                | F::Answer(AnswerError::Invalid(_) | AnswerError::NotAnObject),
            ) => "invalid",
            Self::Failed(F::Answer(AnswerError::Errcode { errcode, .. })) => {
                if meaning(*errcode) != FailureClass::Unknown {
                    return errcode.to_string();
                }
                "other"
            }
        };
        word.to_owned()
    }

    /// Returns WeChat's number, where WeChat gave one.
    pub fn errcode(&self) -> Option<i64> {
        match self {
            Self::Failed(failure) => failure.errcode(),
            Self::Store | Self::Turn => None,
        }
    }

    /// Returns the id under which WeChat finds the call in its own logs.
    pub fn rid(&self) -> Option<&str> {
        if let Self::Failed(F::Answer(AnswerError::Errcode { rid, .. })) = self {
            rid.as_deref()
        } else {
            None
        }
    }

    /// Returns the address from which WeChat saw the call, where it refuses it for that.
    pub fn address(&self) -> Option<IpAddr> {
        if let Self::Failed(F::Answer(AnswerError::Errcode { address, .. })) = self {
            *address
        } else {
            None
        }
    }

    /// Returns whether WeChat refuses the access_token.
    pub fn says_stale(&self) -> bool {
        self.class() == FailureClass::TokenStale
    }
}

impl From<CallError> for ApiError {
    fn from(error: CallError) -> Self {
        Self::Failed(error.into())
    }
}

impl From<AnswerError> for ApiError {
    fn from(error: AnswerError) -> Self {
        Self::Failed(error.into())
    }
}

impl FailureClass {
    /// Returns how long it will last, where that is known.
    pub fn pause(self) -> Option<Duration> {
        if let Self::Busy(pause) = self {
            Some(pause)
        } else {
            None
        }
    }
}

fn meaning(errcode: i64) -> FailureClass {
    match errcode {
        40001 | 40014 | 42001 => FailureClass::TokenStale,
        87009 => FailureClass::SessionKeyStale,
        -1 => FailureClass::Busy(BUSY),
        45011 => FailureClass::Busy(MINUTE_QUOTA),
        45009 => FailureClass::Busy(DAY_QUOTA),
        _ if is_operators(errcode) => FailureClass::Misconfigured,
        _ => FailureClass::Unknown,
    }
}
