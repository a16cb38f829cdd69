//! The cache in front of verification: a token that was seen before costs one look-up.

use std::sync::Arc;

use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::rand;
use foldhash::fast::RandomState;
use quick_cache::UnitWeighter;
use quick_cache::sync::{Cache, DefaultLifecycle};

use super::verify::MAX_TOKEN_BYTES;
use super::{TokenError, Verified, Verifier};
use crate::clock::Clock;

/// The tag of the whole token under a key that nobody knows; the cache itself holds no token.
type Tag = [u8; 16];

/// Of tokens that had to make room, the cache remembers half as many tags as it is told to expect, each in a place like that
/// of a token; so it is told to expect so many times fewer than there may be.
const EXPECTED_PART: u64 = 64;

/// Checks tokens, remembering those that passed.
#[derive(Debug)]
pub struct Tokens {
    verifier: Verifier,
    seen: Cache<Tag, Arc<Verified>, UnitWeighter, RandomState>,
    key: LessSafeKey,
    clock: Clock,
}

/// The system gave no random bytes.
#[derive(Debug, thiserror::Error)]
#[error("the system gives no random bytes")]
pub struct NoRandomness;

impl Tokens {
    /// Puts a cache of at most `max_tokens` in front of `verifier`.
    pub fn new(verifier: Verifier, max_tokens: u64, clock: Clock) -> Result<Self, NoRandomness> {
        let mut key = [0; 16];
        rand::fill(&mut key).map_err(|_| NoRandomness)?;
        let key = UnboundKey::new(&AES_128_GCM, &key).map_err(|_| NoRandomness)?;
        let expected = usize::try_from(max_tokens / EXPECTED_PART).unwrap_or(usize::MAX);
        let seen = Cache::with(
            expected,
            max_tokens,
            UnitWeighter,
            // Nobody can choose a tag, so the table needs no protection from chosen keys.
            RandomState::default(),
            DefaultLifecycle::default(),
        );
        Ok(Self {
            verifier,
            seen,
            key: LessSafeKey::new(key),
            clock,
        })
    }

    /// Returns what a token says if it is valid now.
    ///
    /// That it is text is looked at only where it is verified: one that was seen before was.
    pub fn check(&self, token: &[u8]) -> Result<Arc<Verified>, TokenError> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(TokenError::Invalid("too long"));
        }
        let tag = self.tag(token)?;
        if let Some(verified) = self.seen.get(&tag) {
            if verified.expires() > self.clock.unix_secs() {
                return Ok(verified);
            }
            self.seen.remove(&tag);
            return Err(TokenError::Expired);
        }
        let text = str::from_utf8(token).map_err(|_| TokenError::Invalid("not text"))?;
        let verified = Arc::new(self.verifier.verify(text)?);
        self.seen.insert(tag, Arc::clone(&verified));
        Ok(verified)
    }

    /// Authenticates a token with GMAC: AES-GCM over no plaintext.
    ///
    /// Its nonce may stay the same, as nothing is encrypted and no tag ever leaves the process. What is left is a
    /// universal hash under a secret key: two tokens of up to 4 KiB meet with a probability below 2^-119.
    fn tag(&self, token: &[u8]) -> Result<Tag, TokenError> {
        let nonce = Nonce::assume_unique_for_key([0; 12]);
        let tag = self
            .key
            .seal_in_place_separate_tag(nonce, Aad::from(token), &mut [])
            .map_err(|_| TokenError::Invalid("not taggable"))?;
        tag.as_ref()
            .try_into()
            .map_err(|_| TokenError::Invalid("not taggable"))
    }

    /// Forgets every token, so that each is verified again.
    pub fn forget(&self) {
        self.seen.clear();
    }

    /// Says whether a token names one of our keys, whatever else is wrong with it.
    pub fn is_ours(&self, token: &str) -> bool {
        self.verifier.is_ours(token)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::{Algorithm, App};
    use crate::secret::Secret;
    use crate::session::{Identity, Session, Source};
    use crate::token::{Issuer, load_or_make};

    #[test]
    fn no_more_tokens_are_remembered_than_are_allowed() {
        const MOST: u64 = 100;
        let (folder, clock) = (tempfile::tempdir().unwrap(), Clock::system());
        let keys = load_or_make(&folder.path().join("keys"), Algorithm::Hs256, &clock);
        let (keys, ttl) = (Arc::new(keys.unwrap()), Duration::from_secs(60));
        let app = App {
            name: "shop".to_owned(),
            appid: "wx1".to_owned(),
            secret: Secret::new("secret"),
            previous_secret: None,
            quota_per_minute: None,
        };
        let verifier = Verifier::new(&keys, "menshen", &[app], ttl, clock.clone());
        let tokens = Tokens::new(verifier, MOST, clock.clone()).unwrap();
        let issuer = Issuer::new(keys, "menshen".to_owned(), ttl, clock);
        for number in 0..10 * MOST {
            let session = Session {
                id: "7C8rKJ8lkYfec2gPmTWQdw".parse().unwrap(),
                identity: Identity {
                    app: "shop".to_owned(),
                    appid: "wx1".to_owned(),
                    openid: format!("user-{number}"),
                    unionid: None,
                    source: Source::MiniProgram,
                },
                created: 0,
                expires: u64::MAX,
            };
            let token = issuer.issue(&session).unwrap().token;
            tokens.check(token.expose().as_bytes()).unwrap();
        }
        assert!((1..=MOST as usize).contains(&tokens.seen.len()));
        tokens.forget();
        assert!(tokens.seen.is_empty());
    }
}
