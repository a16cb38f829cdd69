//! What is known of a denial besides its sentence: when to try again, what the log is told, and the JSON.

use std::time::Duration;

use serde::Serialize;

use super::{Denial, Errcode};

/// How long a client should wait before it asks an unavailable store again.
const STORE_RETRY: Duration = Duration::from_secs(5);

/// How long a client should wait before it connects again: nobody knows when a connection ends.
const PLACE_RETRY: Duration = Duration::from_secs(5);

/// The JSON of a refusal, of a client's request as of a backend's.
#[derive(Serialize)]
pub struct RefusalBody<'a> {
    /// The stable code.
    pub error: &'a str,
    /// A sentence for people.
    pub message: &'a str,
    /// The request's id.
    pub request_id: &'a str,
    /// WeChat's number, where WeChat gave one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub errcode: Option<Errcode>,
    /// What is wrong with a configuration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problems: Option<&'a [String]>,
}

impl RefusalBody<'_> {
    /// Returns it as it is sent.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }
}

/// Returns the whole seconds of a `Retry-After`, rounded up: who comes a fraction too early is refused again.
pub fn retry_after_secs(pause: Duration) -> u64 {
    let begun = u64::from(pause.subsec_nanos() > 0);
    pause.as_secs().saturating_add(begun).max(1)
}

impl Denial {
    /// Returns whether it says that a session is over, or that there is none.
    pub fn ends_session(&self) -> bool {
        matches!(
            self,
            Self::SessionEnded
                | Self::TokenExpired
                | Self::TokenInvalid(_)
                | Self::TokenSchemeRepeated
                | Self::RefreshInvalid
                | Self::RefreshReused
        )
    }

    /// Returns what is wrong with a token, for the log.
    pub fn token_fault(&self) -> Option<&'static str> {
        if let Self::TokenInvalid(why)
        | Self::SignatureInvalid(why)
        | Self::StateInvalid(why)
        | Self::TicketInvalid(why) = self
        {
            return Some(why);
        }
        matches!(self, Self::TokenSchemeRepeated).then_some("two schemes")
    }

    /// Returns the whole seconds after which trying again makes sense.
    pub fn retry_after_secs(&self) -> Option<u64> {
        if let Self::WechatBusy(_, after)
        | Self::WechatUnreachable(after)
        | Self::NotWechat(after)
        | Self::TooManyRequests(after) = self
        {
            return Some(retry_after_secs(*after));
        }
        if matches!(self, Self::TooManyConnections | Self::ProxyBusy) {
            return Some(PLACE_RETRY.as_secs());
        }
        (*self == Self::StoreUnavailable).then_some(STORE_RETRY.as_secs())
    }

    /// Returns WeChat's number, where WeChat gave one.
    pub fn errcode(&self) -> Option<Errcode> {
        if let Self::CodeInvalid(n)
        | Self::CodeNotSimulated(n)
        | Self::UserBlocked(n)
        | Self::WechatMisconfigured(n) = self
        {
            return Some(*n);
        }
        if let Self::CodeUsed(n) | Self::WechatError(n) | Self::WechatBusy(n, _) = self {
            return *n;
        }
        None
    }

    /// Returns the JSON that a client gets.
    pub fn body(&self, request_id: &str) -> Vec<u8> {
        let (_, error, message) = self.response();
        let body = RefusalBody {
            error,
            message,
            request_id,
            errcode: self.errcode(),
            problems: None,
        };
        body.to_json()
    }
}
