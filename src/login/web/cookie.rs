//! Writes our cookies.

use std::time::Duration;

use http::HeaderValue;

use crate::request::{LOGIN_COOKIE, PLAIN_LOGIN_COOKIE, PLAIN_SESSION_COOKIE, SESSION_COOKIE};

/// How much of a state is in the name of its cookie: enough to tell the logins of one browser apart.
const STATE_CHARS: usize = 12;

/// Returns the name of the session's cookie.
pub(super) fn session_name(https: bool) -> &'static str {
    match https {
        true => SESSION_COOKIE,
        false => PLAIN_SESSION_COOKIE,
    }
}

/// Returns what the names of logins' cookies begin with.
pub(super) fn login_prefix(https: bool) -> &'static str {
    match https {
        true => LOGIN_COOKIE,
        false => PLAIN_LOGIN_COOKIE,
    }
}

/// Returns the name of the cookie that binds a login to its browser.
pub(super) fn login_name(state: &str, https: bool) -> String {
    let begin = state.get(..STATE_CHARS).unwrap_or(state);
    format!("{}{begin}", login_prefix(https))
}

/// Returns the line that sets a cookie, which no script reads and no other site's request brings.
pub(super) fn set(name: &str, value: &str, lasts: Duration, https: bool) -> Option<HeaderValue> {
    let secs = lasts.as_secs();
    let secure = if https { "; Secure" } else { "" };
    let line = format!("{name}={value}; Path=/; Max-Age={secs}; HttpOnly; SameSite=Lax{secure}");
    let mut line = HeaderValue::from_str(&line).ok()?;
    line.set_sensitive(true);
    Some(line)
}

/// Returns the line that takes a session's cookie away.
pub fn expired_session_cookie(https: bool) -> Option<HeaderValue> {
    set(session_name(https), "", Duration::ZERO, https)
}
