//! Says in plain words why Redis cannot be used.

use redis::{ErrorKind, RedisError, ServerErrorKind};

use super::trouble::RedisState;
use crate::config::RedisServer;
use crate::session::OpenError;

/// Returns what to tell, and whether it may pass without another configuration.
pub(super) fn refusal(error: &RedisError, server: &RedisServer) -> OpenError {
    let stays = |trouble: RedisState| {
        // A file may hold another password when it is read again. Of a Cluster it is a text only that speaks of one.
        let of_password = trouble == RedisState::Password && is_of_password(error);
        of_password && !server.password_may_change()
            || trouble == RedisState::Away && is_of_tls(error, server.tls)
    };
    let trouble = RedisState::of(error).filter(|trouble| !stays(*trouble));
    let reason = reason(error, server.tls);
    let server = server.to_string();
    match trouble {
        None => OpenError::Redis { server, reason },
        Some(RedisState::Away) => OpenError::RedisAway { server, reason },
        Some(RedisState::Password) => OpenError::RedisRefuses { server, reason },
        Some(trouble) => OpenError::RedisRefuses {
            server,
            reason: trouble.sentence().to_owned(),
        },
    }
}

fn is_of_password(error: &RedisError) -> bool {
    error.kind() == ErrorKind::AuthenticationFailed || error.code().is_some()
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
