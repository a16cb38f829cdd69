//! The browsers that brought a secret to the status page, each known by a random cookie.
//!
//! What is kept is a digest of the cookie and one of the secret: whose secret it is, is looked up anew at each request, so that a
//! reload that takes a secret away ends its logins too. They are gone when the process is.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_lc_rs::digest::{Digest, SHA256, digest};
use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use subtle::ConstantTimeEq as _;
use tokio::time::Instant;

use crate::control::known::SecretDigest;

/// The most at a time, in all and with one secret; the oldest makes room for another one.
const MOST: usize = 100;
const MOST_OF_A_SECRET: usize = 20;
/// How long one lasts.
pub(super) const LASTS: Duration = Duration::from_secs(12 * 3600);

/// The logins, oldest first.
#[derive(Debug, Default)]
pub struct PageLogins(Mutex<VecDeque<Login>>);

#[derive(Debug)]
struct Login {
    cookie: Digest,
    secret: SecretDigest,
    until: Instant,
}

impl PageLogins {
    /// Begins a login with this secret, and returns its cookie; `None` where the system has no random bytes.
    pub(super) fn begin(&self, secret: SecretDigest, now: Instant) -> Option<String> {
        let mut random = [0; 32];
        rand::fill(&mut random).ok()?;
        let cookie = URL_SAFE_NO_PAD.encode(random);
        let mut logins = self.locked();
        logins.retain(|login| login.until > now);
        // So that whoever has a secret for a little ends nobody else's.
        let mut of_secret = logins.iter().filter(|login| login.secret.is_same(&secret));
        if of_secret.clone().count() >= MOST_OF_A_SECRET
            && let Some(oldest) = of_secret.next().map(|login| login.cookie)
        {
            logins.retain(|login| !is_of(login, &oldest));
        }
        while logins.len() >= MOST {
            logins.pop_front();
        }
        logins.push_back(Login {
            cookie: digest(&SHA256, cookie.as_bytes()),
            secret,
            until: now + LASTS,
        });
        Some(cookie)
    }

    /// Returns the secret with which a login began that has not ended.
    pub(super) fn secret(&self, cookie: &str, now: Instant) -> Option<SecretDigest> {
        let cookie = digest(&SHA256, cookie.as_bytes());
        let logins = self.locked();
        let found = logins
            .iter()
            .find(|login| login.until > now && is_of(login, &cookie));
        found.map(|login| login.secret)
    }

    /// Ends a login.
    pub(super) fn end(&self, cookie: &str) {
        let cookie = digest(&SHA256, cookie.as_bytes());
        self.locked().retain(|login| !is_of(login, &cookie));
    }

    fn locked(&self) -> MutexGuard<'_, VecDeque<Login>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_of(login: &Login, cookie: &Digest) -> bool {
    login.cookie.as_ref().ct_eq(cookie.as_ref()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_lasts_its_time_and_ends_when_it_is_told_to() {
        let (logins, now) = (PageLogins::default(), Instant::now());
        let begin = || logins.begin(SecretDigest::of(b"secret"), now).unwrap();
        let (one, other) = (begin(), begin());
        assert_ne!(one, other);
        assert_eq!(one.len(), 43);
        assert!(logins.secret(&one, now).is_some());
        assert!(logins.secret(&one, now + LASTS).is_none());
        assert!(logins.secret("", now).is_none());
        logins.end(&one);
        assert!(logins.secret(&one, now).is_none());
        assert!(logins.secret(&other, now).is_some());
    }

    #[test]
    fn there_are_no_more_than_so_many() {
        let (logins, now) = (PageLogins::default(), Instant::now());
        let begin = |secret: usize| {
            let secret = SecretDigest::of(&secret.to_be_bytes());
            logins.begin(secret, now).unwrap()
        };
        let good = |cookie: &String| logins.secret(cookie, now).is_some();
        let other = begin(MOST);
        let cookies: Vec<String> = (0..=MOST_OF_A_SECRET).map(|_| begin(0)).collect();
        assert!(!good(&cookies[0]) && cookies[1..].iter().all(good) && good(&other));
        let cookies: Vec<String> = (0..=MOST).map(begin).collect();
        assert_eq!(cookies.iter().filter(|cookie| good(cookie)).count(), MOST);
        assert!(!good(&other));
    }
}
