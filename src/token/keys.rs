//! The signing keys: one signs at a time, all verify, and the public ones can be published.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jsonwebtoken::jwk::{Jwk, JwkSet, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm as JwtAlgorithm, DecodingKey, EncodingKey};
use zeroize::Zeroizing;

use super::kid::{signer, signs_from_ms};
use crate::config::Algorithm;
use crate::secret::Secret;

/// As many bytes as HS256 puts out, which RFC 7518, section 3.2, asks for: a shorter secret can be guessed from any token.
const LEAST_SHARED: usize = 32;

/// A key that can sign, with its id.
pub struct SigningKey {
    pub(super) kid: String,
    pub(super) algorithm: JwtAlgorithm,
    pub(super) private: EncodingKey,
    pub(super) check: DecodingKey,
    public: Option<Jwk>,
    signs_from_ms: u64,
}

impl SigningKey {
    /// Reads a key: PKCS#8 in PEM, or 32 or more bytes in base64 for HS256; `None` for anything else, or a weaker key.
    pub fn parse(kid: String, algorithm: Algorithm, text: &Secret) -> Option<Self> {
        let pem = text.expose().as_bytes();
        // What EC, Ed25519 and RSA keys must be is checked below, where the public half is made.
        let (jwt, private) = match algorithm {
            Algorithm::Es256 => (JwtAlgorithm::ES256, EncodingKey::from_ec_pem(pem)),
            Algorithm::EdDsa => (JwtAlgorithm::EdDSA, EncodingKey::from_ed_pem(pem)),
            Algorithm::Rs256 => (JwtAlgorithm::RS256, EncodingKey::from_rsa_pem(pem)),
            Algorithm::Hs256 => return Self::shared(kid, text),
        };
        let private = private.ok()?;
        let mut jwk = Jwk::from_encoding_key(&private, jwt).ok()?;
        jwk.common.key_id = Some(kid.clone());
        jwk.common.key_algorithm = Some(key_algorithm(algorithm));
        jwk.common.public_key_use = Some(PublicKeyUse::Signature);
        Some(Self {
            signs_from_ms: signs_from_ms(&kid),
            kid,
            algorithm: jwt,
            private,
            check: DecodingKey::from_jwk(&jwk).ok()?,
            public: Some(jwk),
        })
    }

    fn shared(kid: String, text: &Secret) -> Option<Self> {
        let secret = Zeroizing::new(STANDARD.decode(text.expose().trim()).ok()?);
        // A disk that was full leaves a file as long as the key, of one byte.
        let is_random = secret.iter().any(|byte| secret.first() != Some(byte));
        (secret.len() >= LEAST_SHARED && is_random).then(|| Self {
            signs_from_ms: signs_from_ms(&kid),
            kid,
            algorithm: JwtAlgorithm::HS256,
            private: EncodingKey::from_secret(&secret),
            check: DecodingKey::from_secret(&secret),
            public: None,
        })
    }

    /// Returns whether others can verify what it signs without being able to sign themselves.
    pub fn is_public(&self) -> bool {
        self.public.is_some()
    }

    /// Returns the name of its algorithm, which tokens carry as `alg`.
    pub fn algorithm(&self) -> String {
        format!("{:?}", self.algorithm)
    }

    /// Returns the key's id, which tokens carry as `kid`.
    pub fn kid(&self) -> &str {
        &self.kid
    }
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SigningKey")
            .field("kid", &self.kid)
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
    }
}

fn key_algorithm(algorithm: Algorithm) -> KeyAlgorithm {
    match algorithm {
        Algorithm::Es256 => KeyAlgorithm::ES256,
        Algorithm::EdDsa => KeyAlgorithm::EdDSA,
        Algorithm::Rs256 => KeyAlgorithm::RS256,
        Algorithm::Hs256 => KeyAlgorithm::HS256,
    }
}

/// Every key that verifies, one of which signs at a time.
#[derive(Debug)]
pub struct KeyRing {
    oldest: SigningKey,
    /// The others, by age.
    newer: Vec<SigningKey>,
}

impl KeyRing {
    /// Makes a ring of the oldest key and the others by age.
    pub fn new(oldest: SigningKey, newer: Vec<SigningKey>) -> Self {
        Self { oldest, newer }
    }

    /// Returns the key that signs at `now_ms`, in milliseconds since the Unix epoch.
    pub fn signing(&self, now_ms: u64) -> &SigningKey {
        signer(&self.oldest, &self.newer, |key| key.signs_from_ms, now_ms)
    }

    /// Finds a key by its id.
    pub fn find(&self, kid: &str) -> Option<&SigningKey> {
        self.iter().find(|key| key.kid == kid)
    }

    /// Iterates over every key, the oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &SigningKey> {
        std::iter::once(&self.oldest).chain(&self.newer)
    }

    /// Iterates over every key with its state at `now_ms`, the oldest first.
    pub fn states(&self, now_ms: u64) -> impl Iterator<Item = (&SigningKey, &'static str)> {
        let signing = self.signing(now_ms).kid();
        self.iter().map(move |key| {
            let state = if key.kid == signing {
                "signing"
            } else if key.signs_from_ms > now_ms {
                "next"
            } else {
                "verifying"
            };
            (key, state)
        })
    }

    /// Counts the keys that signed before, the one that signs at `now_ms`, and those that will.
    pub fn by_state(&self, now_ms: u64) -> [(&'static str, usize); 3] {
        let later = self.iter().filter(|key| key.signs_from_ms > now_ms).count();
        // Of a ring whose keys are all to come, the first signs already.
        let next = later.min(self.newer.len());
        [
            ("verifying", self.newer.len() - next),
            ("signing", 1),
            ("next", next),
        ]
    }

    /// Finds a shared key (HS256) among the one that signs at `now_ms` and those that will.
    pub fn shared_signer(&self, now_ms: u64) -> Option<&SigningKey> {
        let later = self.newer.iter().filter(|key| key.signs_from_ms > now_ms);
        std::iter::once(self.signing(now_ms))
            .chain(later)
            .find(|key| !key.is_public())
    }

    /// Returns the public keys; a shared secret (HS256) is never among them.
    pub fn jwks(&self) -> JwkSet {
        JwkSet {
            keys: self.iter().filter_map(|key| key.public.clone()).collect(),
        }
    }
}
