//! Refresh tokens: how one is made, recognised without a look-up, and followed by its successor.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::{hmac, rand};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::id::SessionId;
use super::rotation::REMEMBERED;
use super::user::User;
use crate::secret::Secret;

/// How many rotations a store may lose, in a failover or with an older copy of its file, and still know the token that follows.
///
/// A token costs as many HMACs when it comes back.
pub(super) const LOST_AT_MOST: u32 = 16;

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
///
/// Its text holds no secret of its own but that of the token [`LOST_AT_MOST`] rotations before it (at first, the session's first
/// one), from which those in between follow under a key. So a store that lost rotations recognises a token before it, and whoever
/// has no token of the session cannot make one that any store knows, not even with the seal key.
pub(super) struct Genuine {
    /// The token itself.
    last: Link,
    /// The tokens before it that it proves to follow, newest first.
    before: Vec<Link>,
}

/// One token in the order of a session's tokens.
struct Link {
    sid: SessionId,
    /// Whose session it is, so that a store finds everything of theirs without asking first.
    user: User,
    generation: u32,
    secret: Zeroizing<[u8; SECRET_BYTES]>,
}

impl Genuine {
    pub(super) fn sid(&self) -> SessionId {
        self.last.sid
    }

    pub(super) fn user(&self) -> User {
        self.last.user
    }

    pub(super) fn generation(&self) -> u32 {
        self.last.generation
    }

    pub(super) fn fingerprint(&self) -> Fingerprint {
        self.last.fingerprint()
    }

    /// Returns its fingerprint and those of the tokens before it that it proves to follow, newest first.
    pub(super) fn fingerprints(&self) -> Vec<Fingerprint> {
        let before = self.before.iter().map(Link::fingerprint);
        std::iter::once(self.fingerprint()).chain(before).collect()
    }
}

impl Link {
    fn fingerprint(&self) -> Fingerprint {
        let mut out = [0; 16];
        let hash = digest(&SHA256, self.body().as_ref());
        for (to, from) in out.iter_mut().zip(hash.as_ref()) {
            *to = *from;
        }
        out
    }

    fn body(&self) -> Zeroizing<Vec<u8>> {
        self.body_as(self.generation)
    }

    fn copy(&self) -> Self {
        Self {
            secret: self.secret.clone(),
            ..*self
        }
    }

    /// Returns what a token's text holds that is of this generation, and whose secrets begin with this one.
    fn body_as(&self, generation: u32) -> Zeroizing<Vec<u8>> {
        let mut body = Zeroizing::new(Vec::with_capacity(BODY_BYTES + TAG_BYTES));
        body.extend_from_slice(self.sid.as_bytes());
        body.extend_from_slice(self.user.as_bytes());
        body.extend_from_slice(&generation.to_be_bytes());
        body.extend_from_slice(self.secret.as_ref());
        body
    }
}

/// The keys of refresh tokens.
pub(super) struct RefreshKey {
    /// Tags what was made here.
    tag: hmac::Key,
    /// Derives each token's secret from the token before it.
    next: hmac::Key,
}

impl RefreshKey {
    pub(super) fn new(tag: hmac::Key, next: hmac::Key) -> Self {
        Self { tag, next }
    }

    /// Makes the first token of a session.
    pub(super) fn first(&self, sid: SessionId, user: User) -> Result<Genuine, Unspecified> {
        let mut secret = Zeroizing::new([0; SECRET_BYTES]);
        rand::fill(secret.as_mut())?;
        let last = Link {
            sid,
            user,
            generation: 0,
            secret,
        };
        Ok(Genuine {
            last,
            before: Vec::new(),
        })
    }

    /// Derives the token that follows; the same one every time, so that it need not be stored.
    pub(super) fn successor(&self, token: Genuine) -> Genuine {
        let Genuine { last, mut before } = token;
        let next = self.next(&last);
        before.insert(0, last);
        before.truncate(LOST_AT_MOST as usize);
        Genuine { last: next, before }
    }

    /// Returns whether a token that was replaced leads to the current one of its session.
    pub(super) fn leads_to(
        &self,
        replaced: &Genuine,
        generation: u32,
        current: &Fingerprint,
    ) -> bool {
        let steps = generation.saturating_sub(replaced.generation());
        if steps as usize > REMEMBERED {
            return false;
        }
        let mut link = replaced.last.copy();
        for _ in 0..steps {
            link = self.next(&link);
        }
        link.generation == generation && link.fingerprint().ct_eq(current).into()
    }

    fn next(&self, link: &Link) -> Link {
        let derived = hmac::sign(&self.next, &link.body());
        let mut secret = Zeroizing::new([0; SECRET_BYTES]);
        secret.copy_from_slice(derived.as_ref());
        Link {
            sid: link.sid,
            user: link.user,
            generation: link.generation.wrapping_add(1),
            secret,
        }
    }

    /// Writes a token as its client will see it.
    pub(super) fn text(&self, token: &Genuine) -> RefreshToken {
        let oldest = token.before.last().unwrap_or(&token.last);
        let mut bytes = oldest.body_as(token.generation());
        let tag = hmac::sign(&self.tag, &bytes);
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
        let expected = hmac::sign(&self.tag, body);
        let expected = expected.as_ref().first_chunk::<TAG_BYTES>()?;
        if !bool::from(expected.as_slice().ct_eq(tag)) {
            return None;
        }
        let (sid, rest) = body.split_first_chunk()?;
        let (user, rest) = rest.split_first_chunk()?;
        let sid = SessionId::from_bytes(*sid);
        self.followed(sid, User::from_bytes(*user), rest)
    }

    /// Writes a token for where it is sealed: without the tag, which the seal is as good as, and without its user, whom the session
    /// names.
    pub(super) fn shorten(token: &RefreshToken) -> Option<Zeroizing<Vec<u8>>> {
        let bytes = Zeroizing::new(URL_SAFE_NO_PAD.decode(token.expose()).ok()?);
        let (body, _tag) = bytes.split_first_chunk::<BODY_BYTES>()?;
        let (sid, rest) = body.split_first_chunk::<16>()?;
        let (_user, rest) = rest.split_first_chunk::<16>()?;
        Some(Zeroizing::new([sid.as_slice(), rest].concat()))
    }

    /// Reads whose session a shortened token is of.
    pub(super) fn sid_of_short(short: &[u8]) -> Option<SessionId> {
        let (sid, _) = short.split_first_chunk()?;
        Some(SessionId::from_bytes(*sid))
    }

    /// Reads what [`Self::shorten`] wrote, of a session of this user; only what came from a seal may be read.
    pub(super) fn lengthen(&self, short: &[u8], user: User) -> Option<Genuine> {
        let (sid, rest) = short.split_first_chunk()?;
        self.followed(SessionId::from_bytes(*sid), user, rest)
    }

    /// Derives the token that a text is of from the generation and the secret in it.
    fn followed(&self, sid: SessionId, user: User, rest: &[u8]) -> Option<Genuine> {
        let (generation, secret) = rest.split_first_chunk()?;
        let generation = u32::from_be_bytes(*generation);
        let mut last = Link {
            sid,
            user,
            generation: generation.saturating_sub(LOST_AT_MOST),
            secret: Zeroizing::new(secret.try_into().ok()?),
        };
        let mut before = Vec::with_capacity(LOST_AT_MOST as usize);
        while last.generation < generation {
            let next = self.next(&last);
            before.push(last);
            last = next;
        }
        before.reverse();
        Some(Genuine { last, before })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(seed: u8) -> RefreshKey {
        let [tag, next] =
            [seed, 100 + seed].map(|seed| hmac::Key::new(hmac::HMAC_SHA256, &[seed; 32]));
        RefreshKey::new(tag, next)
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
        let token = key(1).text(&first());
        let [next, again] = [(); 2].map(|()| key(1).successor(key(1).recognise(&token).unwrap()));
        assert_eq!(next.fingerprint(), again.fingerprint());
        let prints = key(1).successor(next).fingerprints();
        let known = key(1).recognise(&token).unwrap();
        assert_eq!(prints[1..], [again.fingerprint(), known.fingerprint()]);
        assert!(prints[0] != prints[1] && prints[1] != prints[2]);
    }

    #[test]
    fn a_token_proves_to_follow_those_before_it_and_is_no_longer_for_that() {
        let (key, mut token) = (key(1), first());
        let mut prints = vec![token.fingerprint()];
        for generation in 0..LOST_AT_MOST + 4 {
            assert_eq!(token.generation(), generation);
            let text = key.text(&token);
            assert_eq!(text.expose().len(), TEXT_CHARS);
            let known = key.recognise(&text).unwrap();
            assert_eq!(known.fingerprints(), token.fingerprints());
            let provable: Vec<Fingerprint> = prints.iter().rev().copied().collect();
            let most = provable.len().min(LOST_AT_MOST as usize + 1);
            assert_eq!(known.fingerprints(), provable[..most]);
            token = key.successor(token);
            prints.push(token.fingerprint());
        }
    }

    #[test]
    fn a_replaced_token_leads_to_those_that_follow_it_and_no_other_does() {
        let key = key(1);
        let (token, other) = (key.text(&first()), first());
        let mut later = key.recognise(&token).unwrap();
        let token = key.recognise(&token).unwrap();
        for _ in 0..3 {
            later = key.successor(later);
            let (generation, print) = (later.generation(), later.fingerprint());
            assert!(key.leads_to(&token, generation, &print));
            assert!(!key.leads_to(&token, generation + 1, &print));
            assert!(!key.leads_to(&token, generation - 1, &print));
            // Another one of the same session, with the right tag, as whoever has the keys can make.
            assert!(!key.leads_to(&other, generation, &print));
        }
        assert!(!key.leads_to(&token, u32::MAX, &later.fingerprint()));
    }

    #[test]
    fn a_shortened_token_is_the_same_with_its_user() {
        let (key, mut token) = (key(1), first());
        for _ in 0..LOST_AT_MOST + 2 {
            let short = RefreshKey::shorten(&key.text(&token)).unwrap();
            assert_eq!(short.len(), 52);
            assert_eq!(RefreshKey::sid_of_short(&short), Some(token.sid()));
            let known = key.lengthen(&short, token.user()).unwrap();
            assert_eq!(known.fingerprints(), token.fingerprints());
            for cut in [0, 15, 19, 51] {
                assert!(key.lengthen(&short[..cut], token.user()).is_none());
            }
            token = key.successor(token);
        }
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
