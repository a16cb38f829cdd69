//! A user as stores know one: a digest of appid and openid, in few bytes.

use aws_lc_rs::digest::{SHA256, digest};

/// The first half of SHA-256 over [`user_name`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct User([u8; 16]);

impl User {
    pub(super) fn new(appid: &str, openid: &str) -> Self {
        let hash = digest(&SHA256, &user_name(appid, openid));
        let mut out = [0; 16];
        for (to, from) in out.iter_mut().zip(hash.as_ref()) {
            *to = *from;
        }
        Self(out)
    }

    pub(super) const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    pub(super) const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

/// Joins appid and openid; unambiguous, as neither may hold a NUL.
pub(super) fn user_name(appid: &str, openid: &str) -> Vec<u8> {
    [appid.as_bytes(), openid.as_bytes()].join(&0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_openid_in_two_apps_is_two_users() {
        assert_ne!(User::new("wx1", "alice"), User::new("wx2", "alice"));
        assert_ne!(User::new("wx1", "alice"), User::new("wx", "1alice"));
    }
}
