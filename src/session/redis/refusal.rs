//! Says in plain words why Redis cannot be used.

use redis::{ErrorKind, RedisError, ServerErrorKind};

/// Returns the reason as a part of a sentence.
pub(super) fn reason(error: &RedisError, tls: bool) -> String {
    let kind = error.kind();
    // A script is refused as a whole, with an error that has no kind of its own.
    let in_script = error
        .detail()
        .is_some_and(|text| text.contains("can't run this command"));
    if kind == ErrorKind::AuthenticationFailed {
        "the user or the password is wrong".to_owned()
    } else if in_script || kind == ErrorKind::Server(ServerErrorKind::NoPerm) {
        format!("its user lacks a permission: {error}")
    } else if error.is_timeout() && tls {
        "it does not answer in time, or speaks no TLS".to_owned()
    } else if error.is_timeout() {
        "it does not answer in time".to_owned()
    } else if tls && error.is_io_error() && !error.is_connection_refusal() {
        format!("the connection or its TLS failed: {error}")
    } else {
        error.to_string()
    }
}
