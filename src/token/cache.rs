//! The cache in front of verification: a token that was seen before costs one look-up.
//!
//! A verification costs some 100 µs. The key of an entry is AES-GCM's MAC over the whole token, under a key that is drawn
//! at the start: a universal hash under a secret key, by which two tokens collide with a probability below 2^-119, in a
//! quarter of SHA-256's time. A plain hash would let an attacker search for collisions; the token itself would stay in
//! memory. Each look-up compares the expiry with the clock. The tags of tokens with a wrong signature are cached as well,
//! apart. A reload empties both caches. The cache keeps no times, so that an expired entry stays until it is evicted.

use std::sync::Arc;

use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::rand;
use foldhash::fast::RandomState;
use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{Lifecycle, UnitWeighter};

use super::verify::{FORGED, MAX_TOKEN_BYTES, NOT_OURS};
use super::{SignedUrl, TokenError, Verified, Verifier};
use crate::clock::Clock;
use crate::metrics::Count;

/// The tag of the whole token under a key that nobody knows; the cache itself holds no token.
type Tag = [u8; 16];

/// For evicted tokens the cache keeps tags (ghost entries), half as many as the entries it expects, each as large as an entry.
/// It is told to expect this part of its capacity, so that they stay few.
const EXPECTED_PART: u64 = 64;

/// The most tokens that are known to have a wrong signature, or claims that are not for us.
const MOST_REFUSED: usize = 4096;

/// Checks tokens, remembering those that passed, and of late those whose signature was checked in vain.
#[derive(Debug)]
pub struct Tokens {
    verifier: Verifier,
    seen: Cache<Tag, Arc<Verified>, UnitWeighter, RandomState, Evictions>,
    uses: Arc<CacheUses>,
    /// What does not change while the keys stay the same; a reload makes another of these.
    refused: Cache<Tag, TokenError, UnitWeighter, RandomState>,
    key: LessSafeKey,
    clock: Clock,
}

/// What is known of a token without another look at its signature.
#[derive(Debug)]
pub enum Recalled<'t> {
    /// It was found valid before, and still is.
    Valid(Arc<Verified>),
    /// It has to be verified.
    Unseen(Unseen<'t>),
}

/// A token that has to be verified.
#[derive(Debug)]
pub struct Unseen<'t> {
    token: &'t [u8],
    tag: Tag,
}

/// How often the cache had a token, and what had to make room; a reload begins with another cache, and counts on.
#[derive(Debug, Default)]
pub struct CacheUses {
    /// Tokens that it had, those with a wrong signature included.
    pub hits: Count,
    /// Tokens that it had not.
    pub misses: Count,
    /// Tokens that had to make room for others.
    pub evictions: Count,
}

/// Counts what has to make room.
#[derive(Clone, Debug)]
struct Evictions(Arc<CacheUses>);

impl Lifecycle<Tag, Arc<Verified>> for Evictions {
    type RequestState = ();

    fn on_evict(&self, _state: &mut (), _tag: Tag, _verified: Arc<Verified>) {
        self.0.evictions.add(1);
    }
}

/// The system gave no random bytes.
#[derive(Debug, thiserror::Error)]
#[error("the system gives no random bytes")]
pub struct NoRandomness;

impl Tokens {
    /// Puts a cache of at most `max_tokens` in front of `verifier`.
    pub fn new(verifier: Verifier, max_tokens: u64, clock: Clock) -> Result<Self, NoRandomness> {
        Self::counted(verifier, max_tokens, clock, Arc::default())
    }

    /// Does the same, and counts there how often it is of use.
    pub fn counted(
        verifier: Verifier,
        max_tokens: u64,
        clock: Clock,
        uses: Arc<CacheUses>,
    ) -> Result<Self, NoRandomness> {
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
            Evictions(Arc::clone(&uses)),
        );
        let refused = Cache::with(
            MOST_REFUSED,
            MOST_REFUSED as u64,
            UnitWeighter,
            RandomState::default(),
            DefaultLifecycle::default(),
        );
        Ok(Self {
            verifier,
            seen,
            uses,
            refused,
            key: LessSafeKey::new(key),
            clock,
        })
    }

    /// Returns what a token says if it is valid now.
    pub fn check(&self, token: &[u8]) -> Result<Arc<Verified>, TokenError> {
        match self.recall(token)? {
            Recalled::Valid(verified) => Ok(verified),
            Recalled::Unseen(token) => self.verify(&token),
        }
    }

    /// Looks a token up. That it is text is looked at only where it is verified: one that was seen before was.
    pub fn recall<'t>(&self, token: &'t [u8]) -> Result<Recalled<'t>, TokenError> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(TokenError::Invalid("too long"));
        }
        let tag = self.tag(token)?;
        if let Some(verified) = self.seen.get(&tag) {
            self.uses.hits.add(1);
            if verified.expires() > self.clock.unix_secs() {
                return Ok(Recalled::Valid(verified));
            }
            self.seen.remove(&tag);
            return Err(TokenError::Expired);
        }
        if let Some(error) = self.refused.get(&tag) {
            self.uses.hits.add(1);
            return Err(error);
        }
        self.uses.misses.add(1);
        Ok(Recalled::Unseen(Unseen { token, tag }))
    }

    /// Verifies a token and remembers what came of it.
    pub fn verify(&self, token: &Unseen<'_>) -> Result<Arc<Verified>, TokenError> {
        let Unseen { token, tag } = *token;
        let text = str::from_utf8(token).map_err(|_| TokenError::Invalid("not text"))?;
        match self.verifier.verify(text) {
            Ok(verified) => {
                let verified = Arc::new(verified);
                self.seen.insert(tag, Arc::clone(&verified));
                Ok(verified)
            }
            Err(error) => {
                // Another time changes nothing about these, and they cost as much as a valid one.
                if error == FORGED || error == NOT_OURS {
                    self.refused.insert(tag, error);
                }
                Err(error)
            }
        }
    }

    /// Returns whose a signed URL is, if the signature is valid now and for this one.
    pub fn check_url(&self, signature: &str, url: &SignedUrl<'_>) -> Result<Verified, TokenError> {
        self.verifier.verify_url(signature, url)
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

    /// Returns how many tokens are remembered.
    pub fn remembered(&self) -> usize {
        self.seen.len()
    }

    /// Forgets every token, so that each is verified again.
    pub fn forget(&self) {
        self.seen.clear();
        self.refused.clear();
    }

    /// Returns whether a token names one of our keys, whatever else is wrong with it.
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

    const TTL: Duration = Duration::from_secs(60);

    fn app() -> App {
        App {
            name: "shop".to_owned(),
            kind: crate::config::AppKind::MiniProgram,
            appid: "wx1".to_owned(),
            secret: Secret::new("secret"),
            previous_secret: None,
            shared_from: None,
            access_token: crate::config::TokenKind::Stable,
            quota_per_minute: None,
        }
    }

    fn session(openid: &str) -> Session {
        Session {
            id: "7C8rKJ8lkYfec2gPmTWQdw".parse().unwrap(),
            identity: Identity {
                app: "shop".to_owned(),
                appid: "wx1".to_owned(),
                openid: openid.to_owned(),
                unionid: None,
                source: Source::MiniProgram,
            },
            created: 0,
            expires: u64::MAX,
        }
    }

    #[test]
    fn a_wrong_signature_is_checked_once_and_keeps_nothing_else_out() {
        let (folder, clock) = (tempfile::tempdir().unwrap(), Clock::system());
        let keys = load_or_make(&folder.path().join("keys"), Algorithm::Es256, &clock);
        let keys = Arc::new(keys.unwrap());
        let tokens = || {
            let verifier = Verifier::new(&keys, "menshen", &[app()], TTL, clock.clone());
            Tokens::new(verifier, 100, clock.clone()).unwrap()
        };
        let issuer = Issuer::new(Arc::clone(&keys), "menshen".to_owned(), TTL, clock.clone());
        let token = issuer.issue(&session("alice")).unwrap().token;
        let (body, _) = token.expose().rsplit_once('.').unwrap();
        let forged = |number: u64| format!("{body}.{number:0>85}A").into_bytes();
        let here = tokens();
        for _ in 0..3 {
            assert_eq!(here.check(&forged(1)).unwrap_err(), FORGED);
            assert_eq!(here.refused.len(), 1);
        }
        here.check(token.expose().as_bytes()).unwrap();
        // What time may change, or what costs no signature, is looked at each time.
        assert!(here.check(b"not a token").is_err());
        clock.advance(TTL);
        let expired = here.check(token.expose().as_bytes());
        assert_eq!(expired.unwrap_err(), TokenError::Expired);
        let elsewhere = tokens();
        let expired = elsewhere.check(token.expose().as_bytes());
        assert_eq!(expired.unwrap_err(), TokenError::Expired);
        assert_eq!((here.refused.len(), elsewhere.refused.len()), (1, 0));
        for number in 0..2 * MOST_REFUSED as u64 {
            here.refused
                .insert(here.tag(&forged(number)).unwrap(), FORGED);
        }
        assert!(here.refused.len() <= MOST_REFUSED);
        here.forget();
        assert!(here.refused.is_empty());
    }

    #[test]
    fn no_more_tokens_are_remembered_than_are_allowed() {
        const MOST: u64 = 100;
        let (folder, clock) = (tempfile::tempdir().unwrap(), Clock::system());
        let keys = load_or_make(&folder.path().join("keys"), Algorithm::Hs256, &clock);
        let (keys, ttl) = (Arc::new(keys.unwrap()), TTL);
        let verifier = Verifier::new(&keys, "menshen", &[app()], ttl, clock.clone());
        let tokens = Tokens::new(verifier, MOST, clock.clone()).unwrap();
        let issuer = Issuer::new(keys, "menshen".to_owned(), ttl, clock);
        for number in 0..10 * MOST {
            let session = session(&format!("user-{number}"));
            let token = issuer.issue(&session).unwrap().token;
            tokens.check(token.expose().as_bytes()).unwrap();
        }
        let remembered = tokens.remembered() as u64;
        assert!((1..=MOST).contains(&remembered));
        let counts = [
            &tokens.uses.hits,
            &tokens.uses.misses,
            &tokens.uses.evictions,
        ];
        assert_eq!(
            counts.map(Count::sum),
            [0, 10 * MOST, 10 * MOST - remembered]
        );
        tokens.forget();
        assert!(tokens.seen.is_empty());
    }
}
