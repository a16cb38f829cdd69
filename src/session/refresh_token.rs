//! Refresh tokens: how one is made, recognised without a look-up, and followed by its successor.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::{hmac, rand};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::id::SessionId;
use super::user::User;
use crate::secret::Secret;

const SECRET_BYTES: usize = 32;
const TAG_BYTES: usize = 16;
const BODY_BYTES: usize = 16 + 16 + 4 + SECRET_BYTES;
const TEXT_CHARS: usize = 112;

/// A refresh token as a client sees it: opaque, and redacted in `Debug`.
#[derive(Clone, Debug)]
pub struct RefreshToken(Secret);

impl RefreshToken {
    /// Takes what a client sent; only the store can tell whether it is a refresh token.
    pub fn from_client(text: impl Into<String>) -> Self {
        Self(Secret::new(text))
    }

    pub(super) fn secret(&self) -> &Secret {
        &self.0
    }

    /// Opens the token, to be sent to its client.
    pub fn expose(&self) -> &str {
        self.0.expose()
    }
}

/// The first half of SHA-256 of a refresh token; all that is stored of one.
pub(super) type Fingerprint = [u8; 16];

/// A refresh token whose tag was checked, or which was made here.
pub(super) struct Genuine {
    sid: SessionId,
    /// Whose session it is, so that a store finds everything of theirs without asking first.
    user: User,
    generation: u32,
    secret: Zeroizing<[u8; SECRET_BYTES]>,
}

impl Genuine {
    pub(super) fn sid(&self) -> SessionId {
        self.sid
    }

    pub(super) fn user(&self) -> User {
        self.user
    }

    pub(super) fn generation(&self) -> u32 {
        self.generation
    }

    pub(super) fn fingerprint(&self) -> Fingerprint {
        let mut out = [0; 16];
        let hash = digest(&SHA256, self.body().as_ref());
        for (to, from) in out.iter_mut().zip(hash.as_ref()) {
            *to = *from;
        }
        out
    }

    fn body(&self) -> Zeroizing<Vec<u8>> {
        let mut body = Zeroizing::new(Vec::with_capacity(BODY_BYTES + TAG_BYTES));
        body.extend_from_slice(self.sid.as_bytes());
        body.extend_from_slice(self.user.as_bytes());
        body.extend_from_slice(&self.generation.to_be_bytes());
        body.extend_from_slice(self.secret.as_ref());
        body
    }
}

/// The key that tags refresh tokens and derives each successor from the token before it.
pub(super) struct RefreshKey(hmac::Key);

impl RefreshKey {
    pub(super) fn new(key: hmac::Key) -> Self {
        Self(key)
    }

    /// Makes the first token of a session.
    pub(super) fn first(&self, sid: SessionId, user: User) -> Result<Genuine, Unspecified> {
        let mut secret = Zeroizing::new([0; SECRET_BYTES]);
        rand::fill(secret.as_mut())?;
        Ok(Genuine {
            sid,
            user,
            generation: 0,
            secret,
        })
    }

    /// Derives the token that follows; the same one every time, so that it need not be stored.
    pub(super) fn successor(&self, token: &Genuine) -> Genuine {
        let derived = self.mac(b"next", &token.body());
        let mut secret = Zeroizing::new([0; SECRET_BYTES]);
        secret.copy_from_slice(derived.as_ref());
        Genuine {
            sid: token.sid,
            user: token.user,
            generation: token.generation.wrapping_add(1),
            secret,
        }
    }

    /// Writes a token as its client will see it.
    pub(super) fn text(&self, token: &Genuine) -> RefreshToken {
        let mut bytes = token.body();
        let tag = self.mac(b"tag", &bytes);
        bytes.extend(tag.as_ref().iter().take(TAG_BYTES));
        RefreshToken(Secret::new(URL_SAFE_NO_PAD.encode(bytes.as_slice())))
    }

    /// Recognises a token that was made with this key; costs the same for every other text.
    pub(super) fn recognise(&self, token: &RefreshToken) -> Option<Genuine> {
        let text = token.expose();
        if text.len() != TEXT_CHARS {
            return None;
        }
        let bytes = Zeroizing::new(URL_SAFE_NO_PAD.decode(text).ok()?);
        let (body, tag) = bytes.split_first_chunk::<BODY_BYTES>()?;
        let expected = self.mac(b"tag", body);
        let expected = expected.as_ref().first_chunk::<TAG_BYTES>()?;
        if !bool::from(expected.as_slice().ct_eq(tag)) {
            return None;
        }
        let (sid, rest) = body.split_first_chunk()?;
        let (user, rest) = rest.split_first_chunk()?;
        let (generation, secret) = rest.split_first_chunk()?;
        Some(Genuine {
            sid: SessionId::from_bytes(*sid),
            user: User::from_bytes(*user),
            generation: u32::from_be_bytes(*generation),
            secret: Zeroizing::new(*secret.first_chunk()?),
        })
    }

    fn mac(&self, label: &[u8], body: &[u8]) -> hmac::Tag {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(label);
        context.update(body);
        context.sign()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(seed: u8) -> RefreshKey {
        RefreshKey::new(hmac::Key::new(hmac::HMAC_SHA256, &[seed; 32]))
    }

    fn first() -> Genuine {
        let user = User::new("wx1", "alice");
        key(1).first(SessionId::from_bytes([7; 16]), user).unwrap()
    }

    #[test]
    fn a_token_is_recognised_by_the_key_that_made_it() {
        let token = first();
        let known = key(1).recognise(&key(1).text(&token)).unwrap();
        assert_eq!(known.sid(), token.sid());
        assert_eq!(known.user(), token.user());
        assert_eq!(known.generation(), token.generation());
        assert_eq!(known.fingerprint(), token.fingerprint());
    }

    #[test]
    fn a_token_of_another_key_is_not_recognised() {
        assert!(key(2).recognise(&key(1).text(&first())).is_none());
    }

    #[test]
    fn a_token_with_one_byte_changed_is_not_recognised() {
        let text = key(1).text(&first()).expose().to_owned();
        let bytes = URL_SAFE_NO_PAD.decode(&text).unwrap();
        for at in 0..bytes.len() {
            let mut forged = bytes.clone();
            forged[at] ^= 1;
            let forged = RefreshToken::from_client(URL_SAFE_NO_PAD.encode(forged));
            assert!(key(1).recognise(&forged).is_none(), "byte {at}");
        }
    }

    #[test]
    fn a_successor_is_the_same_each_time_and_differs_from_its_token() {
        let token = first();
        let next = key(1).successor(&token);
        assert_eq!(key(1).successor(&token).fingerprint(), next.fingerprint());
        assert_ne!(next.fingerprint(), token.fingerprint());
        assert_ne!(key(1).successor(&next).fingerprint(), next.fingerprint());
    }

    #[test]
    fn a_token_is_not_in_its_debug_form() {
        let text = key(1).text(&first());
        assert!(!format!("{text:?}").contains(text.expose()));
    }

    proptest! {
        #[test]
        fn no_text_is_a_token_by_chance(text in "\\PC{0,200}|[A-Za-z0-9_-]{110,114}") {
            prop_assert!(key(1).recognise(&RefreshToken::from_client(text)).is_none());
        }
    }
}
