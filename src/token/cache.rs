//! The cache in front of verification: a token that was seen before costs one look-up.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use moka::sync::Cache;

use super::{TokenError, Verified, Verifier};
use crate::clock::Clock;

/// SHA-256 of the whole token: two tokens cannot meet, and the cache holds no token.
type Digest = [u8; 32];

/// Checks tokens, remembering those that passed.
#[derive(Debug)]
pub struct Tokens {
    verifier: Verifier,
    seen: Cache<Digest, Arc<Verified>>,
    clock: Clock,
}

impl Tokens {
    /// Puts a cache of at most `max_tokens` in front of `verifier`; entries leave after `ttl` at the latest.
    pub fn new(verifier: Verifier, max_tokens: u64, ttl: Duration, clock: Clock) -> Self {
        let seen = Cache::builder()
            .max_capacity(max_tokens)
            .time_to_live(ttl)
            .build();
        Self {
            verifier,
            seen,
            clock,
        }
    }

    /// Returns what a token says if it is valid now.
    pub fn check(&self, token: &str) -> Result<Arc<Verified>, TokenError> {
        let mut key: Digest = [0; 32];
        key.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
        if let Some(verified) = self.seen.get(&key) {
            if verified.expires() > self.clock.unix_secs() {
                return Ok(verified);
            }
            self.seen.invalidate(&key);
            return Err(TokenError::Expired);
        }
        let verified = Arc::new(self.verifier.verify(token)?);
        self.seen.insert(key, Arc::clone(&verified));
        Ok(verified)
    }

    /// Says whether a token names one of our keys, whatever else is wrong with it.
    pub fn is_ours(&self, token: &str) -> bool {
        self.verifier.is_ours(token)
    }
}
