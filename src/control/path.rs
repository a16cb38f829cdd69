//! What a path names, checked before anybody looks for it.

use std::sync::Arc;

use super::Control;
use super::denial::ControlDenial;
use crate::config::App;
use crate::session::{LONGEST_TEXT, SessionId};

/// A user of an app that is configured.
pub(super) struct User {
    pub(super) app: Arc<App>,
    openid: OpenId,
}

impl User {
    /// Checks what a path names.
    pub(super) fn of(control: &Control, app: &str, openid: String) -> Result<Self, ControlDenial> {
        let openid = OpenId::parse(openid)?;
        let app = control.known.app(app).ok_or(ControlDenial::AppUnknown)?;
        Ok(Self { app, openid })
    }

    pub(super) fn appid(&self) -> &str {
        &self.app.appid
    }

    pub(super) fn openid(&self) -> &str {
        &self.openid.0
    }
}

/// A user of an app as WeChat writes one: letters, digits, `-` and `_`.
///
/// Anything else is refused and not undone, so that nothing on the way here can have read it in another way.
struct OpenId(String);

impl OpenId {
    /// Checks a part of a path.
    fn parse(text: String) -> Result<Self, ControlDenial> {
        if is_wechat_id(&text) {
            Ok(Self(text))
        } else {
            Err(ControlDenial::BadRequest(
                "An openid is up to 512 letters, digits, - and _.",
            ))
        }
    }
}

/// Returns whether a text is written as WeChat writes openids and unionids.
pub(super) fn is_wechat_id(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    (1..=LONGEST_TEXT).contains(&text.len()) && text.bytes().all(allowed)
}

/// Checks a part of a path that names a session.
pub(super) fn session_id(text: &str) -> Result<SessionId, ControlDenial> {
    let wrong = |_| ControlDenial::BadRequest("A session id is 22 characters of base64url.");
    text.parse().map_err(wrong)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_openid_is_taken_as_it_is_or_not_at_all(text in "\\PC{0,8}|[a-z0-9_-]{1,600}|[ -~]{1,4}") {
            let plain = text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
            let fits = plain && (1..=512).contains(&text.len());
            let parsed = OpenId::parse(text.clone()).ok();
            prop_assert_eq!(parsed.map(|openid| openid.0), fits.then_some(text));
        }
    }
}
