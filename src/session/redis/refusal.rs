//! Says in plain words why Redis cannot be used.

use redis::{ErrorKind, RedisError, ServerErrorKind};

use super::link::is_lost;
use crate::config::RedisServer;
use crate::session::OpenError;

/// Returns what to tell, and whether it may pass without anybody's doing.
pub(super) fn refusal(error: &RedisError, server: &RedisServer) -> OpenError {
    let reason = reason(error, server.tls);
    let name = server.to_string();
    let stays = error.kind() == ErrorKind::AuthenticationFailed || is_of_tls(error, server.tls);
    if is_lost(error) && !stays {
        OpenError::RedisAway {
            server: name,
            reason,
        }
    } else {
        OpenError::Redis {
            server: name,
            reason,
        }
    }
}

/// The driver does not tell failures of TLS from others of a connection that was made.
fn is_of_tls(error: &RedisError, tls: bool) -> bool {
    tls && error.is_io_error() && !error.is_timeout() && !error.is_connection_refusal()
}

/// Returns the reason as a part of a sentence.
fn reason(error: &RedisError, tls: bool) -> String {
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
    } else if is_of_tls(error, tls) {
        format!("the connection or its TLS failed: {error}")
    } else {
        error.to_string()
    }
}
