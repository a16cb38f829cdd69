//! A user as stores know one: a digest of appid and openid, in few bytes; and a unionid, in the same way.

use aws_lc_rs::digest::{SHA256, digest};

/// The first half of SHA-256 over [`user_name`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct User([u8; 16]);

impl User {
    pub(super) fn new(appid: &str, openid: &str) -> Self {
        Self(half_of_sha256(&user_name(appid, openid)))
    }

    pub(super) const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    pub(super) const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

/// A unionid as stores find users by it: the first half of its SHA-256.
#[derive(Clone, Copy, Debug)]
pub(super) struct UnionidDigest([u8; 16]);

impl UnionidDigest {
    pub(super) fn new(unionid: &str) -> Self {
        Self(half_of_sha256(unionid.as_bytes()))
    }

    pub(super) const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

fn half_of_sha256(bytes: &[u8]) -> [u8; 16] {
    let mut out = [0; 16];
    for (to, from) in out.iter_mut().zip(digest(&SHA256, bytes).as_ref()) {
        *to = *from;
    }
    out
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
