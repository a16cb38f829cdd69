//! What a call that was sent, and that brought no whole answer, says about who is at the other end.

use std::error::Error;
use std::io;

use super::CallError;

/// What bytes are that no HTTP client can read, as a TLS port sends them to one without TLS.
pub(in crate::wechat) const NOT_HTTP: &str = "it is not HTTP: is it a TLS port?";

/// Tells what does not speak HTTP, and what ends connections, from silence.
///
/// Whatever it is, it may have passed the call on.
pub(super) fn lost(error: &(dyn Error + 'static)) -> CallError {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<reqwest::Error>()
            && error.is_timeout()
        {
            return CallError::NoAnswer;
        }
        if let Some(error) = error.downcast_ref::<hyper::Error>() {
            // A request's own body may fail as well, which says nothing about WeChat.
            return match () {
                () if error.is_parse() => CallError::NotWeChat(NOT_HTTP),
                () if error.is_user() || error.is_timeout() => CallError::NoAnswer,
                () => CallError::BrokenOff,
            };
        }
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return match error.kind() == io::ErrorKind::TimedOut {
                true => CallError::NoAnswer,
                false => CallError::BrokenOff,
            };
        }
        cause = error.source();
    }
    CallError::NoAnswer
}
