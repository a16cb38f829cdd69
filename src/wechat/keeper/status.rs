//! The status of an app's access_token, for those who run Menshen.

use std::net::IpAddr;

use crate::config::TokenKind;
use crate::wechat::{ApiError, advice};

/// The status of an app's token.
#[derive(Clone, Debug)]
pub struct TokenStatus {
    /// The app's name.
    pub app: String,
    /// Which of WeChat's two kinds it is.
    pub kind: TokenKind,
    /// How long this process has had it; `None` where there is none.
    pub age_secs: Option<u64>,
    /// How long it is good for.
    pub left_secs: Option<u64>,
    /// Why there is no newer one, where the last try failed.
    pub failure: Option<Failure>,
}

/// Why there is no newer token.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The word under which it is counted, or WeChat's number.
    pub counted: String,
    /// What happened, in words.
    pub error: String,
    /// WeChat's number, where WeChat gave one.
    pub errcode: Option<i64>,
    /// The address from which WeChat saw the call, where it refuses it for that.
    pub address: Option<IpAddr>,
    /// What the operator must do.
    pub advice: Option<&'static str>,
    /// When it happened, in seconds since the Unix epoch.
    pub at: u64,
}

impl TokenStatus {
    /// Returns whether anybody has asked for the token.
    pub(super) fn says_something(&self) -> bool {
        self.age_secs.is_some() || self.failure.is_some()
    }
}

impl Failure {
    pub(super) fn new(error: &ApiError, at: u64) -> Self {
        Self {
            counted: error.counted_as(),
            error: error.to_string(),
            errcode: error.errcode(),
            address: error.address(),
            advice: error.errcode().and_then(advice),
            at,
        }
    }
}
