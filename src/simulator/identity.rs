//! The openid and unionid of a simulated user: the same for the same name, in every run.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

// Public on purpose: what a test writes down about a user must hold on every machine.
const OPENID_KEY: &[u8] = b"menshen simulator openid";
const UNIONID_KEY: &[u8] = b"menshen simulator unionid";
const DIGEST_CHARS: usize = 27;

/// Returns who this user is in one app.
pub(super) fn openid(appid: &str, user: &str) -> String {
    derived(OPENID_KEY, appid, user)
}

/// Returns who this user is in all apps of one Open Platform account.
pub(super) fn unionid(open_platform: &str, user: &str) -> String {
    derived(UNIONID_KEY, open_platform, user)
}

fn derived(key: &[u8], scope: &str, user: &str) -> String {
    let mut hmac = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key));
    hmac.update(scope.as_bytes());
    hmac.update(b"|");
    hmac.update(user.as_bytes());
    let digest = URL_SAFE_NO_PAD.encode(hmac.sign());
    std::iter::once('o')
        .chain(digest.chars().take(DIGEST_CHARS))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_openid_looks_like_one_from_wechat() {
        let openid = openid("wx0123456789abcdef", "alice");
        assert_eq!(openid.len(), 28);
        assert!(openid.starts_with('o'));
    }

    #[test]
    fn an_openid_is_the_same_in_every_run() {
        assert_eq!(openid("wx1", "alice"), "oDYbDql-YP0DuCigQ5EPuOd523HP");
    }

    #[test]
    fn a_user_has_another_openid_in_another_app() {
        assert_ne!(openid("wx1", "alice"), openid("wx2", "alice"));
    }

    #[test]
    fn a_unionid_differs_from_an_openid_of_the_same_scope() {
        assert_ne!(openid("same", "alice"), unionid("same", "alice"));
    }
}
