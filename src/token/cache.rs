//! The cache in front of verification: a token that was seen before costs one look-up.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::rand;
use foldhash::fast::RandomState;
use moka::sync::Cache;

use super::verify::MAX_TOKEN_BYTES;
use super::{TokenError, Verified, Verifier};
use crate::clock::Clock;

/// The tag of the whole token under a key that nobody knows; the cache itself holds no token.
type Tag = [u8; 16];

/// Checks tokens, remembering those that passed.
#[derive(Debug)]
pub struct Tokens {
    verifier: Verifier,
    seen: Cache<Tag, Arc<Verified>, RandomState>,
    key: LessSafeKey,
    clock: Clock,
}

/// The system gave no random bytes.
#[derive(Debug, thiserror::Error)]
#[error("the system gives no random bytes")]
pub struct NoRandomness;

impl Tokens {
    /// Puts a cache of at most `max_tokens` in front of `verifier`; entries leave after `ttl` at the latest.
    pub fn new(
        verifier: Verifier,
        max_tokens: u64,
        ttl: Duration,
        clock: Clock,
    ) -> Result<Self, NoRandomness> {
        let mut key = [0; 16];
        rand::fill(&mut key).map_err(|_| NoRandomness)?;
        let key = UnboundKey::new(&AES_128_GCM, &key).map_err(|_| NoRandomness)?;
        let seen = Cache::builder()
            .max_capacity(max_tokens)
            .time_to_live(ttl)
            // Nobody can choose a tag, so the table needs no protection from chosen keys.
            .build_with_hasher(RandomState::default());
        Ok(Self {
            verifier,
            seen,
            key: LessSafeKey::new(key),
            clock,
        })
    }

    /// Returns what a token says if it is valid now.
    pub fn check(&self, token: &str) -> Result<Arc<Verified>, TokenError> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(TokenError::Invalid("too long"));
        }
        let tag = self.tag(token)?;
        if let Some(verified) = self.seen.get(&tag) {
            if verified.expires() > self.clock.unix_secs() {
                return Ok(verified);
            }
            self.seen.invalidate(&tag);
            return Err(TokenError::Expired);
        }
        let verified = Arc::new(self.verifier.verify(token)?);
        self.seen.insert(tag, Arc::clone(&verified));
        Ok(verified)
    }

    /// Authenticates a token with GMAC: AES-GCM over no plaintext.
    ///
    /// Its nonce may stay the same, as nothing is encrypted and no tag ever leaves the process. What is left is a
    /// universal hash under a secret key: two tokens of up to 4 KiB meet with a probability below 2^-119.
    fn tag(&self, token: &str) -> Result<Tag, TokenError> {
        let nonce = Nonce::assume_unique_for_key([0; 12]);
        let tag = self
            .key
            .seal_in_place_separate_tag(nonce, Aad::from(token.as_bytes()), &mut [])
            .map_err(|_| TokenError::Invalid("not taggable"))?;
        tag.as_ref()
            .try_into()
            .map_err(|_| TokenError::Invalid("not taggable"))
    }

    /// Forgets every token, so that each is verified again.
    pub fn forget(&self) {
        self.seen.invalidate_all();
    }

    /// Says whether a token names one of our keys, whatever else is wrong with it.
    pub fn is_ours(&self, token: &str) -> bool {
        self.verifier.is_ours(token)
    }
}
